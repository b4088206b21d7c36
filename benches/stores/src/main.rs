//! What durable state costs, beside hand-written code that does the same.
//!
//! ```text
//! cargo run --release -p martlet-bench-stores -- [--seconds N] [--folder PATH] [--sync-delay MICROS]
//! ```
//!
//! All depends on the disk, so its fdatasync time is printed first. `--sync-delay` adds to each sync what a slower disk
//! would take: on a folder in memory (`/dev/shm`) that is any disk one likes. PostgreSQL is measured when
//! `MARTLET_BENCH_POSTGRES_URL` names a server, which should have fsync, full_page_writes and synchronous_commit on.

#![expect(clippy::print_stdout, reason = "a benchmark speaks on stdout")]

mod postgres;
mod slow;
mod sqlite;

use lexopt::ValueExt;
use martlet_base::{Clock, Moment};
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// The payload of a message: what a webhook sends.
pub(crate) const BODY: usize = 1_500;

/// Counts what is done until the time is over.
#[derive(Clone, Debug)]
pub(crate) struct Stopwatch {
    pub(crate) clock: Clock,
    started: Moment,
    pub(crate) until: Moment,
}

impl Stopwatch {
    pub(crate) fn start(seconds: u64) -> Self {
        let clock = Clock::system();
        let started = clock.now();
        Self { clock, started, until: started + Duration::from_secs(seconds) }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.clock.now() < self.until
    }

    /// So many a second.
    pub(crate) fn rate(&self, count: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate is told with three digits")]
        let count = count as f64;
        count / self.clock.now().since(self.started).as_secs_f64()
    }
}

fn main() -> Outcome {
    let (mut seconds, mut folder, mut delay) = (3, PathBuf::from("."), None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            lexopt::Arg::Long("seconds") => seconds = parser.value()?.string()?.parse()?,
            lexopt::Arg::Long("folder") => folder = parser.value()?.into(),
            lexopt::Arg::Long("sync-delay") => delay = Some(parser.value()?.string()?.parse()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if let Some(micros) = delay {
        let (seconds, folder) = (seconds.to_string(), folder.display().to_string());
        let status = slow::again(micros, &["--seconds", &seconds, "--folder", &folder])?;
        return if status.success() { Ok(()) } else { Err("the run with a slower disk failed".into()) };
    }
    let folder = tempfile::tempdir_in(&folder)?;
    let sync = sync_time(folder.path())?;
    println!("fdatasync of 4 KiB: median {:.3} ms, p99 {:.3} ms", millis(sync.0), millis(sync.1));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        sqlite::run(folder.path(), seconds).await?;
        match std::env::var("MARTLET_BENCH_POSTGRES_URL") {
            Ok(url) => postgres::run(&url, seconds).await,
            Err(_) => {
                println!("\nPostgreSQL: not measured (MARTLET_BENCH_POSTGRES_URL names no server)");
                Ok(())
            }
        }
    })
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Median and p99 of what a database does for each commit.
fn sync_time(folder: &Path) -> Outcome<(Duration, Duration)> {
    let clock = Clock::system();
    let mut file = File::create(folder.join("sync"))?;
    let mut times = Vec::new();
    for _ in 0..200 {
        file.write_all(&[7; 4096])?;
        let before = clock.now();
        file.sync_data()?;
        times.push(clock.now().since(before));
    }
    times.sort();
    Ok((times[times.len() / 2], times[times.len() * 99 / 100]))
}
