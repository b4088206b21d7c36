//! How long to pause before the next try.

use crate::ConfigError;
use crate::config::check;
use martlet_base::Rng;
use std::time::Duration;

/// How a pause is spread, so that callers that failed together do not come back together.
///
/// Below, `d` is the pause without jitter and `cap` is [`BackoffBuilder::max_delay`]. No jitter exceeds `cap`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Jitter {
    /// Exactly `d`.
    None,
    /// Evenly in `[0, d]`: the best spread, for herds; a pause may be close to nothing.
    Full,
    /// Evenly in `[d/2, d]`.
    Equal,
    /// Evenly in `[base, min(cap, 3 * previous pause)]`; the factor plays no part.
    Decorrelated,
    /// Evenly in `[c * (1 - p), c * (1 + p)]` with `c = min(d, cap / (1 + p))`, `p` in `[0, 1]`. Centred below the cap,
    /// so that callers at the cap stay spread instead of all pausing for exactly `cap`.
    Bounded(f64),
}

impl Default for Jitter {
    /// `Bounded(0.25)`.
    fn default() -> Self {
        Self::Bounded(0.25)
    }
}

/// Pauses that grow by a factor up to a hard ceiling. A pure function of the retry's number.
///
/// ```
/// use martlet_resilience::Backoff;
/// use std::time::Duration;
///
/// let backoff = Backoff::exponential(Duration::from_secs(1), 4.0).build()?;
/// assert_eq!(backoff.delay_without_jitter(2), Duration::from_secs(16));
/// assert_eq!(backoff.delay_without_jitter(u32::MAX), Duration::from_secs(60));
/// # Ok::<(), martlet_resilience::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(into = "file::BackoffFile", try_from = "file::BackoffFile"))]
pub struct Backoff {
    base: Duration,
    factor: f64,
    max_delay: Duration,
    jitter: Jitter,
}

impl Backoff {
    /// The first pause is `base`, each further one `factor` times longer; at most 60 s, jitter `Bounded(0.25)`.
    pub const fn exponential(base: Duration, factor: f64) -> BackoffBuilder {
        BackoffBuilder(Self {
            base,
            factor,
            max_delay: Duration::from_secs(60),
            jitter: Jitter::Bounded(0.25),
        })
    }

    /// The pause before retry number `retry` (0 is the first), jitter included. `previous` is the pause before the retry
    /// before it (zero for the first); only [`Jitter::Decorrelated`] looks at it.
    ///
    /// Never longer than [`max_delay`](BackoffBuilder::max_delay), for any argument.
    #[must_use]
    pub fn delay(&self, retry: u32, previous: Duration, rng: &Rng) -> Duration {
        let cap = self.max_delay.as_secs_f64();
        let plain = self.plain(retry);
        let between = |low: f64, high: f64| low + (high - low) * rng.next_f64();
        let seconds = match self.jitter {
            Jitter::None => plain,
            Jitter::Full => between(0.0, plain),
            Jitter::Equal => between(plain / 2.0, plain),
            Jitter::Decorrelated => {
                let base = self.base.as_secs_f64();
                between(base, cap.min(previous.as_secs_f64() * 3.0).max(base))
            }
            Jitter::Bounded(p) => {
                let centre = plain.min(cap / (1.0 + p));
                between(centre * (1.0 - p), centre * (1.0 + p))
            }
        };
        self.capped(seconds)
    }

    /// The shortest and the longest pause that can be drawn before retry number `retry` (0 is the first).
    #[must_use]
    pub fn bounds(&self, retry: u32) -> (Duration, Duration) {
        let (plain, cap) = (self.plain(retry), self.max_delay.as_secs_f64());
        let (least, most) = match self.jitter {
            Jitter::None => (plain, plain),
            Jitter::Full => (0.0, plain),
            Jitter::Equal => (plain / 2.0, plain),
            Jitter::Decorrelated => {
                let base = self.base.as_secs_f64();
                (base, (base * 3f64.powi(i32::try_from(retry).unwrap_or(i32::MAX))).min(cap))
            }
            Jitter::Bounded(p) => {
                let centre = plain.min(cap / (1.0 + p));
                (centre * (1.0 - p), centre * (1.0 + p))
            }
        };
        (self.capped(least), self.capped(most))
    }

    /// `min(max_delay, base * factor^retry)`.
    #[must_use]
    pub fn delay_without_jitter(&self, retry: u32) -> Duration {
        self.capped(self.plain(retry))
    }

    /// The jitter in use.
    #[must_use]
    pub const fn jitter(&self) -> Jitter {
        self.jitter
    }

    /// The longest pause.
    #[must_use]
    pub const fn max_delay(&self) -> Duration {
        self.max_delay
    }

    fn plain(&self, retry: u32) -> f64 {
        let exponent = i32::try_from(retry).unwrap_or(i32::MAX);
        (self.base.as_secs_f64() * self.factor.powi(exponent)).min(self.max_delay.as_secs_f64())
    }

    /// Seconds beyond what a `Duration` holds, and the last rounding error, end at the cap.
    fn capped(&self, seconds: f64) -> Duration {
        Duration::try_from_secs_f64(seconds).map_or(self.max_delay, |d| d.min(self.max_delay))
    }
}

/// Builds a [`Backoff`].
#[derive(Clone, Debug)]
#[must_use = "call build()"]
pub struct BackoffBuilder(Backoff);

impl BackoffBuilder {
    /// The longest pause, jitter included. 60 s unless set.
    pub const fn max_delay(mut self, max_delay: Duration) -> Self {
        self.0.max_delay = max_delay;
        self
    }

    /// The spread. [`Jitter::Bounded`]`(0.25)` unless set.
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.0.jitter = jitter;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// `base` is zero or above `max_delay`; `factor` is below 1 or not finite; a bounded jitter is outside `[0, 1]`.
    pub fn build(self) -> Result<Backoff, ConfigError> {
        let b = self.0;
        check(!b.base.is_zero(), "base", "must be above zero: a pause of zero is a busy loop")?;
        check(b.factor.is_finite() && b.factor >= 1.0, "factor", "must be a finite number, at least 1")?;
        check(b.base <= b.max_delay, "max_delay", "must not be below the first pause")?;
        if let Jitter::Bounded(p) = b.jitter {
            check((0.0..=1.0).contains(&p), "jitter", "a bounded jitter must be between 0 and 1")?;
        }
        Ok(b)
    }
}

#[cfg(feature = "serde")]
mod file {
    use super::*;
    use crate::config::duration;

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct BackoffFile {
        #[serde(with = "duration")]
        base: Duration,
        factor: f64,
        #[serde(default = "max_delay", with = "duration")]
        max_delay: Duration,
        #[serde(default)]
        jitter: Jitter,
    }

    fn max_delay() -> Duration {
        Duration::from_secs(60)
    }

    impl From<Backoff> for BackoffFile {
        fn from(b: Backoff) -> Self {
            Self { base: b.base, factor: b.factor, max_delay: b.max_delay, jitter: b.jitter }
        }
    }

    impl TryFrom<BackoffFile> for Backoff {
        type Error = ConfigError;
        fn try_from(f: BackoffFile) -> Result<Self, ConfigError> {
            Self::exponential(f.base, f.factor).max_delay(f.max_delay).jitter(f.jitter).build()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

    const CAP: Duration = Duration::from_secs(60);

    fn seed(jitter: Jitter) -> Backoff {
        Backoff::exponential(Duration::from_secs(1), 4.0).jitter(jitter).build().unwrap()
    }

    fn jitters() -> impl Strategy<Value = Jitter> {
        prop_oneof![
            Just(Jitter::None),
            Just(Jitter::Full),
            Just(Jitter::Equal),
            Just(Jitter::Decorrelated),
            (0.0..=1.0).prop_map(Jitter::Bounded),
        ]
    }

    proptest! {
        #[test]
        fn r9_no_delay_exceeds_the_cap(
            jitter in jitters(), retry: u32, previous in 0u64..u64::MAX, random: u64,
            base in 1u64..60_000_000_000, factor in 1.0f64..1e300, more: u64,
        ) {
            let cap = Duration::from_nanos(base.saturating_add(more));
            let backoff = Backoff::exponential(Duration::from_nanos(base), factor).max_delay(cap).jitter(jitter);
            let b = backoff.build().unwrap();
            let d = b.delay(retry, Duration::from_secs(previous), &Rng::seeded(random));
            prop_assert!(d <= cap, "{d:?}");
            prop_assert!(b.delay_without_jitter(retry) <= cap);
        }

        #[test]
        fn r3_each_jitter_keeps_its_law(retry in 0u32..4, random: u64) {
            let d = seed(Jitter::None).delay_without_jitter(retry);
            let draw = |jitter| seed(jitter).delay(retry, d, &Rng::seeded(random));
            prop_assert_eq!(draw(Jitter::None), d);
            prop_assert!(draw(Jitter::Full) <= d);
            prop_assert!((d / 2..=d).contains(&draw(Jitter::Equal)));
            prop_assert!((Duration::from_secs(1)..=CAP.min(3 * d)).contains(&draw(Jitter::Decorrelated)));
            let centre = d.min(CAP.mul_f64(1.0 / 1.25));
            let bounded = draw(Jitter::Bounded(0.25));
            prop_assert!((centre.mul_f64(0.7499)..=centre.mul_f64(1.2501)).contains(&bounded), "{bounded:?}");
        }
    }

    #[test]
    fn r3_callers_at_the_cap_stay_spread() {
        // google/adk-js #704: clamping after the jitter gives everybody exactly the cap.
        let rng = Rng::seeded(3);
        for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::Bounded(0.25)] {
            let b = seed(jitter);
            let delays: Vec<_> = (0..1_000).map(|_| b.delay(30, CAP, &rng)).collect();
            let at_cap = delays.iter().filter(|d| **d > CAP.mul_f64(0.999)).count();
            assert!(at_cap < 20, "{jitter:?}: {at_cap} of 1,000 pause for the cap");
        }
    }

    #[test]
    fn r3_a_jitter_does_not_compound_into_the_next_delay() {
        // slackhq/EitherNet #60
        let b = seed(Jitter::Bounded(0.25));
        let draw = |previous| b.delay(1, previous, &Rng::seeded(9));
        assert_eq!(draw(Duration::ZERO), draw(CAP));
    }

    #[test]
    fn c4_a_thousand_callers_spread_by_the_declared_law() {
        // Kolmogorov-Smirnov distance from the uniform law on [3 s, 5 s].
        let (b, rng) = (seed(Jitter::Bounded(0.25)), Rng::seeded(1));
        let mut x: Vec<f64> =
            (0..1_000).map(|_| (b.delay(1, Duration::ZERO, &rng).as_secs_f64() - 3.0) / 2.0).collect();
        x.sort_by(f64::total_cmp);
        let distance = x.iter().enumerate().map(|(i, x)| (x - i as f64 / 1_000.0).abs()).fold(0.0, f64::max);
        assert!(distance < 0.05, "{distance}");
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let s = Duration::from_secs;
        for (builder, field) in [
            (Backoff::exponential(s(0), 2.0), "base"),
            (Backoff::exponential(s(1), f64::NAN), "factor"),
            (Backoff::exponential(s(1), f64::INFINITY), "factor"),
            (Backoff::exponential(s(1), 0.5), "factor"),
            (Backoff::exponential(s(1), 2.0).max_delay(Duration::from_millis(1)), "max_delay"),
            (Backoff::exponential(s(1), 2.0).jitter(Jitter::Bounded(f64::NAN)), "jitter"),
            (Backoff::exponential(s(1), 2.0).jitter(Jitter::Bounded(1.5)), "jitter"),
        ] {
            assert_eq!(builder.build().unwrap_err().field(), field);
        }
    }
}
