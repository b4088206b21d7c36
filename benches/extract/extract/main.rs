//! What it takes to get a list out of a paged API into SQLite and into a file of JSON lines, beside airbyte-cdk and dlt.
//!
//! `cargo bench -p martlet-benches-extract --bench extract` measures martlet alone; `cargo xtask peers` installs the peers into a
//! folder of their own and measures them beside it. `MARTLET_EXTRACT_RECORDS` and `MARTLET_EXTRACT_ROUNDS` say how much.
//!
//! The API is this program in another process; each subject is a process too, started anew for each round, in turns. What it
//! wrote is counted before its time counts.

mod martlet;
mod server;

use martlet_benches::{Report, start_server};
use martlet_core::base::Clock;
use serde::Deserialize;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Says to the process that it is the server (`serve`), or martlet's extraction (`sqlite`, `ndjson`).
const ROLE: &str = "MARTLET_EXTRACT_ROLE";
/// The interpreter that has the peers.
const PYTHON: &str = "MARTLET_EXTRACT_PYTHON";

/// Where records go.
const HOMES: [&str; 2] = ["sqlite", "ndjson"];

/// Name, script; the versions are those of `peers/requirements.txt`.
const PEERS: [(&str, &str); 2] = [("airbyte-cdk 7.39.1", "airbyte.py"), ("dlt 1.31.0", "dlt_rest_api.py")];

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match (std::env::var(ROLE).as_deref(), &args[..]) {
        (Ok("serve"), [records]) => Ok(server::run(records.parse()?)?),
        (Ok(home), [url, folder]) => martlet::run(home, url, Path::new(folder)),
        _ => measure(),
    }
}

fn number(variable: &str, default: u64) -> Outcome<u64> {
    std::env::var(variable).map_or(Ok(default), |text| Ok(text.parse()?))
}

fn measure() -> Outcome {
    let records = number("MARTLET_EXTRACT_RECORDS", 200_000)?;
    let rounds = number("MARTLET_EXTRACT_ROUNDS", 3)?;
    let (server, port) = start_server((ROLE, "serve"), &[&records.to_string()])?;
    let url = format!("http://127.0.0.1:{port}");
    let mut report = Report::new("extract");
    for home in HOMES {
        let subjects = subjects(home)?;
        let mut samples = vec![Vec::new(); subjects.len()];
        for _ in 0..rounds {
            for ((name, command), samples) in subjects.iter().zip(&mut samples) {
                let sample = take(command, &url, home, records);
                samples.push(sample.map_err(|problem| format!("{name} into {home}: {problem}"))?);
            }
        }
        let mut figures = |case: &str, unit, of: fn(&Sample) -> f64| {
            let values = subjects.iter().zip(&samples).map(|((name, _), samples)| {
                let mut values: Vec<f64> = samples.iter().map(of).collect();
                values.sort_by(f64::total_cmp);
                (*name, values[values.len() / 2])
            });
            report.figures(&format!("{home}_{case}"), unit, &values.collect::<Vec<_>>());
        };
        figures("wall", "s", |sample| sample.wall);
        figures("throughput", "records/s", |sample| sample.own.records / sample.own.seconds);
        figures("cpu", "s", |sample| sample.own.cpu_seconds);
        figures("peak_rss", "MiB", |sample| sample.own.peak_rss_mib);
    }
    drop(server);
    report.write();
    Ok(())
}

/// What a subject runs as; the URL and a folder follow.
type Program = Vec<OsString>;

fn subjects(home: &str) -> Outcome<Vec<(&'static str, Program)>> {
    let mut all = vec![("martlet", vec![std::env::current_exe()?.into_os_string()])];
    if let Some(python) = std::env::var_os(PYTHON) {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        all.extend(PEERS.map(|(name, script)| {
            (name, vec![python.clone(), scripts.join(script).into_os_string(), home.into()])
        }));
    }
    Ok(all)
}

/// What a subject tells of itself, in the last line of its stdout.
#[derive(Clone, Debug, Deserialize)]
struct Told {
    records: f64,
    /// From the first request to the last record written; without the start of the process.
    seconds: f64,
    cpu_seconds: f64,
    peak_rss_mib: f64,
}

#[derive(Clone, Debug)]
struct Sample {
    /// From the start of the process to its end, in seconds.
    wall: f64,
    own: Told,
}

fn take(program: &Program, url: &str, home: &str, records: u64) -> Outcome<Sample> {
    let folder = tempfile::tempdir()?;
    let clock = Clock::system();
    let began = clock.now();
    let run = Command::new(&program[0])
        .args(&program[1..])
        .arg(url)
        .arg(folder.path())
        .env(ROLE, home)
        .stderr(Stdio::inherit())
        .output()?;
    let wall = clock.now().since(began).as_secs_f64();
    if !run.status.success() {
        return Err(format!("it ended with {}", run.status).into());
    }
    let stdout = String::from_utf8(run.stdout)?;
    let own = serde_json::from_str(stdout.lines().last().unwrap_or_default())?;
    let written = match home {
        "sqlite" => rows(&folder.path().join("contacts.db"))?,
        _ => lines(&folder.path().join("contacts"))?,
    };
    if written != records {
        return Err(format!("it wrote {written} of {records} records").into());
    }
    Ok(Sample { wall, own })
}

/// The different records in a table `contacts`.
fn rows(file: &Path) -> Outcome<u64> {
    let sqlite = rusqlite::Connection::open(file)?;
    let count: i64 = sqlite.query_row("SELECT count(DISTINCT id) FROM contacts", [], |row| row.get(0))?;
    Ok(u64::try_from(count)?)
}

/// The different records in all files of a folder.
fn lines(folder: &Path) -> Outcome<u64> {
    #[derive(Deserialize)]
    struct Record {
        id: String,
    }
    let mut seen = std::collections::HashSet::new();
    for file in fs::read_dir(folder)? {
        for line in BufReader::new(fs::File::open(file?.path())?).lines() {
            let record: Record = serde_json::from_str(&line?)?;
            seen.insert(record.id);
        }
    }
    Ok(u64::try_from(seen.len())?)
}
