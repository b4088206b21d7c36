//! What durable state costs, beside hand-written code and other projects that do the same.
//!
//! ```text
//! cargo run --release -p martlet-bench-stores -- [--rounds N] [--seconds N] [--folder PATH] [--sync-delay MICROS]
//!     [--only sqlite|postgres|redis] [--peers PROGRAM]
//! ```
//!
//! All depends on the disk, so its fdatasync time is printed first. Subjects of a case take turns: in each round each of them
//! runs for `--seconds`; told are the medians, and how the slowest round was. `--sync-delay` adds to each sync what a slower disk
//! would take: on a folder in memory (`/dev/shm`) that is any disk one likes. PostgreSQL is measured when
//! `MARTLET_BENCH_POSTGRES_URL` names a server, which should have fsync, full_page_writes and synchronous_commit on.
//! Redis is started here with
//! `appendfsync always`, and again with `everysec`; where `MARTLET_TEST_REDIS_URL` names a server, whose keys may be used at will,
//! that one is measured as it is set. `--peers` names the program of the package in `peers`, which is built apart: its SQLite cannot share a program with ours.

#![expect(clippy::print_stdout, reason = "a benchmark speaks on stdout")]

mod batcher;
mod cpu;
mod peers;
mod postgres;
mod redis;
mod rounds;
mod slow;
mod sqlite;
mod work;

use lexopt::ValueExt;
use martlet_base::Clock;
use martlet_benches::Report;
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// The payload of a message: what a webhook sends.
pub(crate) const BODY: usize = 1_500;

pub(crate) fn body() -> bytes::Bytes {
    bytes::Bytes::from(vec![7; BODY])
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) folder: PathBuf,
    pub(crate) peers: Option<PathBuf>,
}

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut options = Options { rounds: 5, seconds: 1.0, folder: PathBuf::from("."), peers: None };
    let (mut only, mut delay) = (None, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            lexopt::Arg::Long("rounds") => options.rounds = parser.value()?.parse()?,
            lexopt::Arg::Long("seconds") => options.seconds = parser.value()?.parse()?,
            lexopt::Arg::Long("folder") => options.folder = parser.value()?.into(),
            lexopt::Arg::Long("peers") => options.peers = Some(parser.value()?.into()),
            lexopt::Arg::Long("only") => only = Some(parser.value()?.string()?),
            lexopt::Arg::Long("sync-delay") => delay = Some(parser.value()?.string()?.parse()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if let Some(micros) = delay.filter(|_| !slow::is_slow()) {
        let status = slow::again(micros, &args)?;
        return if status.success() { Ok(()) } else { Err("the run with a slower disk failed".into()) };
    }
    let folder = tempfile::tempdir_in(&options.folder)?;
    options.folder = folder.path().to_owned();
    let sync = sync_time(folder.path())?;
    println!("fdatasync of 4 KiB: median {:.3} ms, p99 {:.3} ms", millis(sync.0), millis(sync.1));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut report = Report::new("stores");
    report.figures("fdatasync", "ms", &[("disk", millis(sync.0))]);
    runtime.block_on(async {
        let wants = |name: &str| only.as_deref().is_none_or(|only| only == name);
        if wants("sqlite") {
            sqlite::run(&options, &mut report).await?;
        }
        if wants("redis") {
            redis::run(&options, &mut report).await?;
        }
        match std::env::var("MARTLET_BENCH_POSTGRES_URL") {
            _ if !wants("postgres") => {}
            Ok(url) => postgres::run(&url, &options, &mut report).await?,
            Err(_) => println!("\nPostgreSQL: not measured (MARTLET_BENCH_POSTGRES_URL names no server)"),
        }
        Outcome::Ok(())
    })?;
    report.write();
    Ok(())
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
