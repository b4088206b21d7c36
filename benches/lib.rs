//! What the benches share: a stop watch, a table, and the figures as JSON in `target/bench`.

#![expect(clippy::print_stdout, reason = "a bench speaks on stdout")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

/// One way to do what a case asks for.
pub struct Subject<'a> {
    name: &'static str,
    run: Box<dyn FnMut() + 'a>,
}

impl std::fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> Subject<'a> {
    /// `run` does it once; its result is kept from the optimiser.
    pub fn new<R>(name: &'static str, mut run: impl FnMut() -> R + 'a) -> Self {
        let run = Box::new(move || {
            black_box(run());
        });
        Self { name, run }
    }
}

/// The figures of one bench.
#[derive(Debug)]
pub struct Report {
    bench: &'static str,
    figures: Vec<Figure>,
}

#[derive(Debug)]
struct Figure {
    case: String,
    subject: &'static str,
    value: f64,
    unit: &'static str,
}

/// How long one sample runs: short, so that many fit between two interruptions.
const SAMPLE: Duration = Duration::from_millis(1);
/// How many samples there are of each subject.
const SAMPLES: usize = 401;

impl Report {
    /// An empty one; the name is that of the file.
    #[must_use]
    pub const fn new(bench: &'static str) -> Self {
        Self { bench, figures: Vec::new() }
    }

    /// Measures the subjects of one case in turn, so that a busy moment of the machine meets all of them, and keeps the lower
    /// quartile of each: nanoseconds for one run.
    pub fn case(&mut self, case: &str, mut subjects: Vec<Subject<'_>>) {
        let rounds: Vec<u32> = subjects.iter_mut().map(rounds).collect();
        let mut samples = vec![Vec::with_capacity(SAMPLES); subjects.len()];
        for _ in 0..SAMPLES {
            for ((subject, rounds), samples) in subjects.iter_mut().zip(&rounds).zip(&mut samples) {
                samples.push(time(subject, *rounds).as_secs_f64() * 1e9 / f64::from(*rounds));
            }
        }
        println!("{case}");
        for (subject, mut samples) in subjects.iter().zip(samples) {
            samples.sort_by(f64::total_cmp);
            let value = samples[SAMPLES / 4];
            println!("    {:<36} {value:>10.0} ns {:>12.0} /s", subject.name, 1e9 / value);
            self.figures.push(Figure { case: case.to_owned(), subject: subject.name, value, unit: "ns" });
        }
    }

    /// Takes in what a bench has measured by itself: a value for each subject, shown beside that of the first one.
    pub fn figures(&mut self, case: &str, unit: &'static str, values: &[(&'static str, f64)]) {
        println!("{case}");
        let first = values.first().map_or(0.0, |(_, value)| *value);
        for &(subject, value) in values {
            let (ratio, more) = (value / first, value - first);
            println!("    {subject:<36} {value:>10.2} {unit:<12} {ratio:>6.3} {more:>+10.2}");
            self.figures.push(Figure { case: case.to_owned(), subject, value, unit });
        }
    }

    /// Writes `target/bench/NAME.json`: a list of `{case, subject, value, unit}`.
    ///
    /// # Panics
    ///
    /// When the file cannot be written: without it the run was for nothing.
    pub fn write(&self) {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")), PathBuf::from);
        let figures: Vec<_> = self
            .figures
            .iter()
            .map(|Figure { case, subject, value, unit }| {
                json!({ "case": case, "subject": subject, "value": value, "unit": unit })
            })
            .collect();
        let folder = target.join("bench");
        std::fs::create_dir_all(&folder).expect("the bench writes its figures");
        let file = folder.join(format!("{}.json", self.bench));
        std::fs::write(&file, format!("{:#}\n", serde_json::Value::from(figures)))
            .expect("the bench writes its figures");
        println!("written to {}", file.display());
    }
}

fn time(subject: &mut Subject<'_>, rounds: u32) -> Duration {
    let start = Instant::now();
    (0..rounds).for_each(|_| (subject.run)());
    start.elapsed()
}

/// How many runs fill a sample.
fn rounds(subject: &mut Subject<'_>) -> u32 {
    let mut rounds = 1u32;
    while time(subject, rounds) < SAMPLE && rounds < 1 << 24 {
        rounds *= 2;
    }
    rounds
}

/// The calendar's time, for peers that read the clock themselves.
#[must_use]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// Starts this program once more, as the server of a bench, which [serves its parent](serve_parent): with an environment variable that
/// says so, and arguments. Gives the process and its port.
///
/// # Errors
/// When the process does not start, or does not tell a port.
pub fn start_server(role: (&str, &str), args: &[&str]) -> std::io::Result<(Child, u16)> {
    use std::io::{BufRead as _, BufReader, Error};
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).env(role.0, role.1).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = command.spawn()?;
    let stdout = server.stdout.take().ok_or_else(|| Error::other("the server has no stdout"))?;
    let mut port = String::new();
    BufReader::new(stdout).read_line(&mut port)?;
    Ok((server, port.trim().parse().map_err(Error::other)?))
}

/// For such a server, a process of its own: tells its port to the process that started it, on stdout, and ends with that one,
/// when stdin is closed.
///
/// # Errors
/// When nobody reads stdout.
pub fn serve_parent(port: u16) -> std::io::Result<()> {
    use std::io::{Read as _, Write as _};
    writeln!(std::io::stdout(), "{port}")?;
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    Ok(())
}
