//! Subjects that take turns.

use crate::Outcome;
use crate::cpu::Cpu;
use martlet_base::Clock;
use martlet_benches::Report;
use std::time::Duration;
use tokio::task::JoinSet;

/// What so many tasks do until the time is over, a second. `once` tells how much it has done; nothing: there is nothing left.
pub(crate) async fn tasks<F>(
    count: usize,
    seconds: f64,
    once: impl Fn() -> F + Clone + Send + 'static,
) -> Outcome<f64>
where
    F: Future<Output = Outcome<usize>> + Send,
{
    let clock = Clock::system();
    let started = clock.now();
    let until = started + Duration::from_secs_f64(seconds);
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (once, clock) = (once.clone(), clock.clone());
        tasks.spawn(async move {
            let mut total = 0;
            while clock.now() < until {
                match once().await? {
                    0 => break,
                    done => total += done,
                }
            }
            Outcome::Ok(total)
        });
    }
    let mut total = 0;
    while let Some(done) = tasks.join_next().await {
        total += done??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate is told with three digits")]
    let total = total as f64;
    Ok(total / clock.now().since(started).as_secs_f64())
}

/// The rates of subjects, round by round.
pub(crate) struct Rates {
    subjects: Vec<(&'static str, Vec<f64>, Cpu)>,
    seconds: f64,
    /// The first process of a server on this machine.
    server: Option<u32>,
}

impl Rates {
    /// Each runs for `seconds` in each round.
    pub(crate) fn new(seconds: f64, subjects: &[&'static str], server: Option<u32>) -> Self {
        let subjects = subjects.iter().map(|subject| (*subject, Vec::new(), Cpu::default())).collect();
        Self { subjects, seconds, server }
    }

    /// The next round of one subject, which tells its rate.
    pub(crate) async fn round(
        &mut self,
        name: &'static str,
        run: impl Future<Output = Outcome<f64>>,
    ) -> Outcome {
        let before = Cpu::now(self.server);
        let rate = run.await?;
        let took = Cpu::now(self.server).since(before);
        if let Some((_, rates, cpu)) = self.subjects.iter_mut().find(|(subject, ..)| *subject == name) {
            rates.push(rate);
            (cpu.client, cpu.server) = (cpu.client + took.client, cpu.server + took.server);
        }
        Ok(())
    }

    /// Tells the medians and the slowest round of each, and what a message cost of processor time.
    pub(crate) fn tell(mut self, case: &str, report: &mut Report) {
        self.subjects.retain(|(_, rates, _)| !rates.is_empty());
        for (_, rates, _) in &mut self.subjects {
            rates.sort_by(f64::total_cmp);
        }
        let told = |figure: fn(&[f64], Cpu, f64) -> f64| -> Vec<_> {
            let figure =
                |rates: &[f64], cpu| figure(rates, cpu, rates.iter().sum::<f64>() * self.seconds / 1e6);
            self.subjects.iter().map(|(subject, rates, cpu)| (*subject, figure(rates, *cpu))).collect()
        };
        println!();
        report.figures(case, "/s", &told(|rates, _, _| rates[rates.len() / 2]));
        report.figures(&format!("{case}, slowest round"), "/s", &told(|rates, _, _| rates[0]));
        if self.server.is_some() {
            report.figures(
                &format!("{case}, client CPU"),
                "us",
                &told(|_, cpu, millions| cpu.client / millions),
            );
            report.figures(
                &format!("{case}, server CPU"),
                "us",
                &told(|_, cpu, millions| cpu.server / millions),
            );
        }
    }
}
