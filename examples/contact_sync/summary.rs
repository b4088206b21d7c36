//! What a run ends with: a summary for people, and the same as JSON for programs.

use crate::meter::Tally;
use crate::simulators::Counted;
use martlet::pipeline::{Outcome, ReconcileReport, RunReport};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

pub(crate) struct Summary<'a> {
    pub(crate) report: &'a RunReport,
    pub(crate) reconciled: Option<&'a ReconcileReport>,
    pub(crate) tally: &'a Tally,
    /// What the simulators counted; a real platform does not count for us.
    pub(crate) counted: Option<Counted>,
    pub(crate) dead_letters: usize,
    pub(crate) elapsed: Duration,
}

impl Summary<'_> {
    fn violations(&self) -> u64 {
        self.counted.as_ref().map_or_else(|| self.tally.throttled, |counted| counted.violations)
    }

    /// Whether both sides agree and no rule was broken.
    pub(crate) fn is_good(&self) -> bool {
        let agree = self.report.dry_run || self.reconciled.is_some_and(ReconcileReport::is_reconciled);
        agree && self.violations() == 0 && matches!(self.report.outcome, Outcome::Complete)
    }

    pub(crate) fn json(&self) -> Value {
        let counts = &self.report.counts;
        let differences = |list: fn(&ReconcileReport) -> usize| self.reconciled.map(list);
        json!({
            "read": counts.read,
            "written": counts.written,
            "unchanged": counts.unchanged,
            "skipped": counts.skipped,
            "archived": counts.deleted,
            "rejected": counts.rejected,
            "dead_letters": self.dead_letters,
            "requests": self.tally.requests,
            "retries": self.tally.retries,
            "retry_amplification": (self.tally.amplification() * 1000.0).round() / 1000.0,
            "unknown_outcomes_repeated": self.tally.repeated_writes,
            "quota_wait_seconds": seconds(self.tally.quota_wait),
            "quota_violations": self.violations(),
            "quota_use_ratio": self.counted.as_ref().and_then(|counted| counted.quota_use_ratio),
            "resubscribed": self.counted.as_ref().map(|counted| counted.resubscribed),
            "reconciled": self.reconciled.map(ReconcileReport::is_reconciled),
            "missing": differences(|report| report.missing.len()),
            "extra": differences(|report| report.extra.len()),
            "changed": differences(|report| report.changed.len()),
            "seconds": seconds(self.elapsed),
            "peak_rss_mib": peak_rss_mib(),
            "resumed": self.report.resumed,
            "resumes_at": match self.report.outcome {
                Outcome::QuotaExhausted { resumes_at } => resumes_at.map(|at| at.to_string()),
                _ => None,
            },
            "duplicates": self.counted.as_ref().map(|counted| counted.duplicates),
            "rewrites": self.counted.as_ref().map(|counted| counted.rewrites),
            "faults_met": self.counted.as_ref().map(|counted| &counted.faults),
        })
    }

    pub(crate) fn text(&self) -> String {
        let counts = &self.report.counts;
        let mut out = String::new();
        let mut line = |name: &str, text: String| {
            let _ = writeln!(out, "{name:<12} {text}");
        };
        let kind = format!("{:?}", self.report.completeness).to_lowercase();
        let resumed = if self.report.resumed { ", resumed" } else { "" };
        let dry = if self.report.dry_run { ", dry run: nothing was written" } else { "" };
        line("run", format!("{kind}{resumed}{dry}, {:.1} s", self.elapsed.as_secs_f64()));
        line("read", format!("{} contacts", counts.read));
        line("written", counts.written.to_string());
        line("unchanged", counts.unchanged.to_string());
        let reasons: Vec<String> = self
            .report
            .skipped
            .iter()
            .map(|(reason, n)| format!("{n} {}", reason.replace('_', " ")))
            .collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        line("skipped", format!("{}{reasons}", counts.skipped));
        line("rejected", format!("{} ({} dead letters kept)", counts.rejected, self.dead_letters));
        line("archived", counts.deleted.to_string());
        let waited = self.tally.quota_wait.as_secs_f64();
        let (requests, retries) = (self.tally.requests, self.tally.retries);
        let amplification = self.tally.amplification();
        line(
            "requests",
            format!(
                "{requests} for {} calls ({amplification:.2} each), {retries} retries, {waited:.1} s waited for quota",
                self.tally.calls
            ),
        );
        for text in self.trouble() {
            line("trouble", text);
        }
        if let Some(counted) = &self.counted {
            let used = counted
                .quota_use_ratio
                .map_or_else(String::new, |r| format!(", {:.1} % of it used", r * 100.0));
            line("quota", format!("{} violations{used}", counted.violations));
            line("consent", format!("{} resubscribed", counted.resubscribed));
        }
        if let Some(report) = self.reconciled {
            let digest =
                |d: &martlet::pipeline::Digest| format!("{} members, checksum {:032x}", d.count, d.checksum);
            let verdict = if report.is_reconciled() { "both sides agree" } else { "the sides DIFFER" };
            line("reconciled", format!("{verdict}: {}", digest(&report.actual)));
            for (name, keys) in
                [("missing", &report.missing), ("extra", &report.extra), ("changed", &report.changed)]
            {
                if !keys.is_empty() {
                    let first: Vec<&str> = keys.iter().take(10).map(String::as_str).collect();
                    line(
                        name,
                        format!(
                            "{}: {}{}",
                            keys.len(),
                            first.join(" "),
                            if keys.len() > 10 { " .." } else { "" }
                        ),
                    );
                }
            }
        }
        match self.report.outcome {
            Outcome::Complete => {}
            Outcome::QuotaExhausted { resumes_at } => {
                let at =
                    resumes_at.map_or_else(|| "when it is full again".to_owned(), |at| format!("at {at}"));
                line("stopped", format!("a quota is spent; run again {at}: it goes on from here"));
            }
            _ => line("stopped", "as asked; run again: it goes on from here".into()),
        }
        out
    }
}

impl Summary<'_> {
    /// A line for each kind of trouble: what it was, what was done about it, and what it cost.
    fn trouble(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for ((platform, kind), trouble) in &self.tally.trouble {
            let times =
                if trouble.times == 1 { "once".to_owned() } else { format!("{} times", trouble.times) };
            let retried = trouble.retried;
            let paused = trouble.paused.as_secs_f64();
            let (what, done) = match kind.as_str() {
                "rate_limited" => ("rate limited", format!("{retried} sent again when it was allowed")),
                "ordered_pause" => ("ordered a pause", "nobody sent anything meanwhile".to_owned()),
                "server" => ("server error", format!("{retried} sent again")),
                "interrupted" => {
                    ("connection interrupted", format!("{retried} sent again, which is safe for these"))
                }
                "timeout" => ("no answer in time", format!("{retried} sent again, which is safe for these")),
                "connect" => ("no connection", format!("{retried} sent again")),
                "unauthenticated" => {
                    ("credential refused", format!("renewed {} times, then sent again", self.tally.renewals))
                }
                "quota_exhausted" => ("quota spent", "stopped, with a checkpoint".to_owned()),
                // An answer that says no to one contact or one lookup is the sync's everyday business.
                "not_found" => continue,
                other => {
                    (other, if retried > 0 { format!("{retried} sent again") } else { "reported".to_owned() })
                }
            };
            let cost = if paused > 0.0 { format!(", {paused:.1} s of pauses") } else { String::new() };
            lines.push(format!("{platform}: {what} {times}: {done}{cost}"));
        }
        if self.tally.repeated_writes > 0 {
            let n = self.tally.repeated_writes;
            lines.push(format!("{n} writes may have been applied before their answer was lost: repeated, because they are upserts"));
        }
        if self.tally.breaker_openings > 0 {
            lines.push(format!(
                "the circuit breaker opened {} times: nothing was sent meanwhile",
                self.tally.breaker_openings
            ));
        }
        if self.report.counts.rejected > 0 {
            let n = self.report.counts.rejected;
            lines.push(format!(
                "{n} contacts were refused: kept as dead letters, see contact_sync dead-letters"
            ));
        }
        if self.report.vanished > 0 {
            lines.push(format!(
                "{} contacts vanished from HubSpot's list and are not known to be gone",
                self.report.vanished
            ));
        }
        lines
    }
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// The most memory this process ever had, from the kernel; `None` where it does not say.
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .trim()
        .strip_suffix(" kB")?
        .parse()
        .ok()?;
    Some((kib / 1024.0 * 10.0).round() / 10.0)
}
