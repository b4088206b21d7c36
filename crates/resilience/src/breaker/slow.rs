//! Which calls are slow.

use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// What counts as a slow call.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum SlowCall {
    /// It took longer than this.
    Over(#[cfg_attr(feature = "serde", serde(with = "crate::config::duration"))] Duration),
    /// It took longer than so many times the usual. Usual is a slow average over about 256 successful calls; nothing is slow
    /// before 50 of them. A call counts into it as at most slow, so that an outage does not become the usual at once, but
    /// a server that has become slower for good does in the end.
    Baseline(f64),
}

/// So many calls until a baseline says anything (the alert rules use the same number).
const MIN_SAMPLES: u32 = 50;
const MOST_WEIGHT: u32 = 256;

pub(super) struct Slow {
    rule: SlowCall,
    baseline: AtomicU64,
    seen: AtomicU32,
}

impl Slow {
    pub(super) fn new(rule: SlowCall) -> Self {
        Self { rule, baseline: AtomicU64::new(0), seen: AtomicU32::new(0) }
    }

    /// Whether a call that took so long was slow. A successful one counts into the baseline.
    pub(super) fn judge(&self, took: Duration, succeeded: bool) -> bool {
        let factor = match self.rule {
            SlowCall::Over(limit) => return took > limit,
            SlowCall::Baseline(factor) => factor,
        };
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let baseline = self.baseline.load(Ordering::Relaxed);
        let seen = self.seen.load(Ordering::Relaxed);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates"
        )]
        let limit = (baseline as f64 * factor) as u64;
        let judged = seen >= MIN_SAMPLES;
        if succeeded {
            let sample = if judged { took.min(limit) } else { took };
            let weight = (seen + 1).min(MOST_WEIGHT);
            if seen < MOST_WEIGHT {
                self.seen.fetch_add(1, Ordering::Relaxed);
            }
            let moved = |b: u64| {
                let step = sample.abs_diff(b) / u64::from(weight);
                Some(if sample >= b { b.saturating_add(step) } else { b - step })
            };
            let _ = self.baseline.fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved);
        }
        judged && took > limit
    }

    /// The usual duration, once it is known.
    pub(super) fn baseline(&self) -> Option<Duration> {
        let known = self.seen.load(Ordering::Relaxed) >= MIN_SAMPLES;
        known.then(|| Duration::from_nanos(self.baseline.load(Ordering::Relaxed)))
    }
}
