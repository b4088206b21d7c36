//! What a call costs beside bare reqwest and beside its middleware with retries: CPU time, calls a second, allocations.
//!
//! `cargo bench -p martlet-benches-layers`, on Linux with two cores or more. The server is this program in another process, on
//! a core of its own; the subjects take turns on another one, so that a busy moment of the machine meets all of them.

mod server;
mod subjects;

use martlet_benches::{Report, start_server};
use martlet_core::base::Clock;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;
use std::error::Error;
use std::time::Duration;
use subjects::Subject;
use tokio::runtime::Runtime;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Every subject is measured so often in each case; the median counts.
const ROUNDS: usize = 41;
/// Calls of one measurement: some 100 ms.
const CALLS: u32 = 4_096;
/// Calls under way at once.
const CONCURRENCY: [u32; 3] = [1, 16, 64];
/// Says to the process that it is the server.
const SERVE: &str = "MARTLET_LAYER_OVERHEAD_SERVE";

fn main() -> Outcome {
    if std::env::var_os(SERVE).is_some() {
        pin(0)?;
        return Ok(server::run()?);
    }
    let (_server, port) = start_server((SERVE, "1"), &[])?;
    pin(1)?;
    // One thread: all that the client does, it does on its core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let subjects = Subject::all(&format!("http://127.0.0.1:{port}"))?;
    let mut report = Report::new("layer_overhead");
    for concurrency in CONCURRENCY {
        let mut samples = vec![Vec::with_capacity(ROUNDS); subjects.len()];
        for round in 0..=ROUNDS {
            for ((_, subject), samples) in subjects.iter().zip(&mut samples) {
                let sample = Sample::take(&runtime, subject, concurrency)?;
                // The first round opens the connections.
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
        let mut figures = |case: &str, unit, of: fn(&Sample) -> f64| {
            let values =
                subjects.iter().zip(&samples).map(|((name, _), samples)| (*name, median(samples, of)));
            report.figures(&format!("{case}_{concurrency}"), unit, &values.collect::<Vec<_>>());
        };
        figures("cpu_per_call", "us", |sample| sample.cpu);
        figures("throughput", "calls/s", |sample| sample.throughput);
        figures("allocations_per_call", "allocations", |sample| sample.allocations);
    }
    report.write();
    Ok(())
}

/// What calls cost in one measurement.
#[derive(Clone, Debug)]
struct Sample {
    /// User and system time, in microseconds a call.
    cpu: f64,
    /// Calls a second.
    throughput: f64,
    /// A call; one that grows counts again.
    allocations: f64,
}

impl Sample {
    fn take(runtime: &Runtime, subject: &Subject, concurrency: u32) -> Outcome<Self> {
        let mut outcome = Ok(());
        let clock = Clock::system();
        let (cpu, began) = (cpu_time()?, clock.now());
        let allocations = allocation_counter::measure(|| {
            outcome = runtime.block_on(calls(subject, concurrency));
        });
        let (cpu, wall) = (cpu_time()? - cpu, clock.now().since(began));
        outcome?;
        #[expect(clippy::cast_precision_loss, reason = "a few millions at most")]
        let allocations = allocations.count_total as f64;
        let calls = f64::from(CALLS);
        Ok(Self {
            cpu: cpu.as_secs_f64() * 1e6 / calls,
            throughput: calls / wall.as_secs_f64(),
            allocations: allocations / calls,
        })
    }
}

/// All calls of a measurement, so many at once.
async fn calls(subject: &Subject, concurrency: u32) -> Outcome {
    let tasks: Vec<_> = (0..concurrency)
        .map(|_| {
            let subject = subject.clone();
            tokio::spawn(async move {
                for _ in 0..CALLS / concurrency {
                    let length = subject.call().await?;
                    if length != server::BODY {
                        return Err(format!("an answer of {length} bytes").into());
                    }
                }
                Outcome::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

fn median(samples: &[Sample], of: fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What this process has used of its core, the kernel's work for it included.
fn cpu_time() -> Outcome<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros: i64 =
        [usage.user_time(), usage.system_time()].iter().map(|t| t.tv_sec() * 1_000_000 + t.tv_usec()).sum();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

/// Keeps this process on one core.
fn pin(core: usize) -> Outcome {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &cores).map_err(|e| format!("core {core}: {e}").into())
}
