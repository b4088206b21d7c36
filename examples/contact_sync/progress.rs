//! Progress: a bar with rate and remaining time on a terminal, plain lines otherwise.

use indicatif::{ProgressBar, ProgressStyle};
use martlet::base::Moment;
use martlet::{Clock, pipeline::Progress};
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

/// Plain lines come this often.
const EVERY: Duration = Duration::from_secs(2);

/// Shows how far a run is. On stderr: stdout is for the summary.
pub(crate) struct Display {
    clock: Clock,
    started: Moment,
    last: Mutex<Moment>,
    bar: Option<ProgressBar>,
    visible: bool,
}

impl Display {
    /// Quiet when stderr belongs to somebody else.
    pub(crate) fn new(clock: Clock, visible: bool) -> Self {
        let bar = (visible && std::io::stderr().is_terminal()).then(|| {
            let style = "{bar:32} {human_pos}/{human_len} contacts  {per_sec}  {msg}  {eta} left";
            ProgressBar::new(0)
                .with_style(ProgressStyle::with_template(style).expect("the template is a constant"))
        });
        let started = clock.now();
        Self { clock, started, last: Mutex::new(started), bar, visible }
    }

    pub(crate) fn show(&self, progress: &Progress) {
        let counts = &progress.counts;
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total.unwrap_or(counts.read).max(counts.read));
            bar.set_position(counts.settled());
            bar.set_message(format!("{} written", counts.written));
            return;
        }
        if !self.visible {
            return;
        }
        let now = self.clock.now();
        {
            let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if now.since(*last) < EVERY {
                return;
            }
            *last = now;
        }
        let line = plain(progress, now.since(self.started));
        // Nobody reads progress of a broken pipe.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for the eye")]
fn plain(progress: &Progress, elapsed: Duration) -> String {
    let (settled, read) = (progress.counts.settled(), progress.counts.read);
    let rate = settled as f64 / elapsed.as_secs_f64().max(0.001);
    let written = progress.counts.written;
    match progress.total {
        Some(total) if total > settled && rate > 0.0 => {
            let left = (total - settled) as f64 / rate;
            format!("{settled} of {total} contacts, {written} written, {rate:.0}/s, {left:.0} s left")
        }
        _ => format!("{settled} of {read} contacts, {written} written, {rate:.0}/s"),
    }
}
