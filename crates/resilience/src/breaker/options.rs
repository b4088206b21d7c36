use super::Breaker;
use super::slow::SlowCall;
use super::window::CountWindow;
use crate::config::check;
use crate::{Backoff, ConfigError, Jitter};
use martlet_base::Rng;
use std::sync::Arc;
use std::time::Duration;

/// The settings of a [`Breaker`]; made by [`Breaker::builder`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(into = "file::BreakerFile", try_from = "file::BreakerFile"))]
pub struct BreakerOptions {
    pub(super) name: Arc<str>,
    pub(super) window: BreakerWindow,
    pub(super) failure_rate: f64,
    pub(super) min_calls: u32,
    pub(super) consecutive_failures: Option<u32>,
    pub(super) slow_call: Option<(SlowCall, f64)>,
    pub(super) open_for: Duration,
    pub(super) max_open_for: Duration,
    pub(super) jitter: Jitter,
    pub(super) probes: u32,
    pub(super) half_open_timeout: Duration,
}

/// Which calls a breaker looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum BreakerWindow {
    /// Those of the last `length`, forgotten one of `buckets` slices at a time.
    Time {
        /// How far back.
        #[cfg_attr(feature = "serde", serde(with = "crate::config::duration"))]
        length: Duration,
        /// In how many slices, 1 to 128.
        buckets: u32,
    },
    /// The last so many, 1 to 100,000.
    Count {
        /// How many.
        calls: u32,
    },
}

impl BreakerOptions {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            window: BreakerWindow::Time { length: Duration::from_secs(30), buckets: 10 },
            failure_rate: 0.5,
            min_calls: 20,
            consecutive_failures: Some(10),
            slow_call: None,
            open_for: Duration::from_secs(5),
            max_open_for: Duration::from_secs(300),
            jitter: Jitter::Bounded(0.1),
            probes: 3,
            half_open_timeout: MIN_HALF_OPEN,
        }
    }

    /// A breaker with these settings, its own counts and the system's randomness.
    ///
    /// # Errors
    /// As [`BreakerBuilder::build`].
    pub fn build(self) -> Result<Breaker, ConfigError> {
        BreakerBuilder { options: self, rng: Rng::system() }.build()
    }

    pub(super) fn open_for(&self) -> Result<Backoff, ConfigError> {
        Backoff::exponential(self.open_for, 2.0)
            .max_delay(self.max_open_for)
            .jitter(self.jitter)
            .build()
            .map_err(|e| ConfigError::new("open_for", e.reason().to_owned()))
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check(!self.name.is_empty(), "name", "must not be empty")?;
        match self.window {
            BreakerWindow::Time { length, buckets } => {
                check((1..=128).contains(&buckets), "window", "must have between 1 and 128 buckets")?;
                let width = (length / buckets).as_nanos();
                check(width > 0, "window", "must be longer than its number of buckets in ns")?;
                check(width < u128::from(u64::MAX), "window", "must be shorter than 500 years")?;
            }
            BreakerWindow::Count { calls } => {
                let good = (1..=CountWindow::MOST).contains(&calls);
                check(good, "window", "must hold between 1 and 100,000 calls")?;
                check(calls >= self.min_calls, "min_calls", "must not be above the calls of the window")?;
            }
        }
        let share = |rate: f64| rate > 0.0 && rate <= 1.0;
        check(share(self.failure_rate), "failure_rate", "must be above 0, at most 1")?;
        check(self.min_calls > 0, "min_calls", "must be above zero")?;
        check(self.consecutive_failures != Some(0), "consecutive_failures", "must be above zero, or None")?;
        if let Some((rule, rate)) = self.slow_call {
            check(share(rate), "slow_call", "its share must be above 0, at most 1")?;
            let good = match rule {
                SlowCall::Over(limit) => !limit.is_zero(),
                SlowCall::Baseline(factor) => factor.is_finite() && factor > 1.0,
            };
            check(good, "slow_call", "must be a time above zero or a factor above 1")?;
        }
        check(self.probes > 0, "probes", "must be above zero: nothing else closes an open breaker")?;
        check(!self.half_open_timeout.is_zero(), "half_open_timeout", "must be above zero")?;
        self.open_for().map(drop)
    }
}

const MIN_HALF_OPEN: Duration = Duration::from_secs(30);

/// Builds a [`Breaker`].
#[derive(Clone, Debug)]
#[must_use = "call build()"]
pub struct BreakerBuilder {
    pub(super) options: BreakerOptions,
    pub(super) rng: Rng,
}

impl BreakerBuilder {
    /// Looks at the results of the last `length`, forgotten one of `buckets` slices at a time. 30 s in 10 unless set.
    pub const fn window(mut self, length: Duration, buckets: u32) -> Self {
        self.options.window = BreakerWindow::Time { length, buckets };
        self
    }

    /// Looks at the last so many calls instead, however old they are.
    pub const fn count_window(mut self, calls: u32) -> Self {
        self.options.window = BreakerWindow::Count { calls };
        self
    }

    /// Opens when at least this share of the window's calls failed, in `(0, 1]`. 0.5 unless set.
    pub const fn failure_rate(mut self, rate: f64) -> Self {
        self.options.failure_rate = rate;
        self
    }

    /// The rates say nothing before this many calls. 20 unless set.
    pub const fn min_calls(mut self, calls: u32) -> Self {
        self.options.min_calls = calls;
        self
    }

    /// Opens after this many failures in a row, however few calls there were; `None` turns the rule off. 10 unless set.
    pub fn consecutive_failures(mut self, failures: impl Into<Option<u32>>) -> Self {
        self.options.consecutive_failures = failures.into();
        self
    }

    /// Opens when at least `rate` of the window's calls were slow; `SlowCall::Baseline(2.0)` and 0.8 are good values where all
    /// calls are alike. A slow probe counts as failed. Off unless set.
    pub const fn slow_call(mut self, rule: SlowCall, rate: f64) -> Self {
        self.options.slow_call = Some((rule, rate));
        self
    }

    /// How long it stays open: `first`, then twice as long each time the probes fail, up to `max`; longer when the server
    /// said so ([`Report::retry_after`](super::Report::retry_after)). 5 s up to 300 s unless set.
    pub const fn open_for(mut self, first: Duration, max: Duration) -> Self {
        (self.options.open_for, self.options.max_open_for) = (first, max);
        self
    }

    /// How the open time is spread, so that many clients do not probe at once. [`Jitter::Bounded`]`(0.1)` unless set.
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.options.jitter = jitter;
        self
    }

    /// The randomness of the jitter; the system's unless set.
    pub fn rng(mut self, rng: Rng) -> Self {
        self.rng = rng;
        self
    }

    /// How many calls may probe whether the server is back. With up to 3, one failure opens it again; with more, their
    /// failure rate decides. 3 unless set.
    pub const fn probes(mut self, probes: u32) -> Self {
        self.options.probes = probes;
        self
    }

    /// Probes that have not come to a decision after this time count as failed, so that it cannot stay half open for
    /// ever. Set it to at least twice the time limit of a call. 30 s unless set.
    pub const fn half_open_timeout(mut self, timeout: Duration) -> Self {
        self.options.half_open_timeout = timeout;
        self
    }

    /// Sets [`half_open_timeout`](Self::half_open_timeout) from the time limit of a call: twice that, at least 30 s.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.options.half_open_timeout = timeout.saturating_mul(2).max(MIN_HALF_OPEN);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// A setting is zero, a rate is outside `(0, 1]`, or the longest open time is below the first.
    pub fn build(self) -> Result<Breaker, ConfigError> {
        self.options.check()?;
        Breaker::start(self.options, self.rng)
    }
}

/// The settings as they stand in a file: what is missing is the default, what is unknown is an error.
#[cfg(feature = "serde")]
mod file {
    use super::*;
    use crate::config::duration;

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct BreakerFile {
        name: String,
        #[serde(default = "window")]
        window: BreakerWindow,
        #[serde(default = "failure_rate")]
        failure_rate: f64,
        #[serde(default = "min_calls")]
        min_calls: u32,
        #[serde(default = "consecutive_failures")]
        consecutive_failures: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slow_call: Option<SlowRule>,
        #[serde(default = "open_for", with = "duration")]
        open_for: Duration,
        #[serde(default = "max_open_for", with = "duration")]
        max_open_for: Duration,
        #[serde(default = "jitter")]
        jitter: Jitter,
        #[serde(default = "probes")]
        probes: u32,
        #[serde(default = "half_open_timeout", with = "duration")]
        half_open_timeout: Duration,
    }

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct SlowRule {
        rule: SlowCall,
        rate: f64,
    }

    macro_rules! defaults {
        ($($field:ident: $type:ty),*) => {
            $(fn $field() -> $type { BreakerOptions::new("default").$field })*
        };
    }
    defaults!(
        window: BreakerWindow, failure_rate: f64, min_calls: u32, consecutive_failures: Option<u32>,
        open_for: Duration, max_open_for: Duration, jitter: Jitter, probes: u32, half_open_timeout: Duration
    );

    impl From<BreakerOptions> for BreakerFile {
        fn from(o: BreakerOptions) -> Self {
            Self {
                name: o.name.to_string(),
                window: o.window,
                failure_rate: o.failure_rate,
                min_calls: o.min_calls,
                consecutive_failures: o.consecutive_failures,
                slow_call: o.slow_call.map(|(rule, rate)| SlowRule { rule, rate }),
                open_for: o.open_for,
                max_open_for: o.max_open_for,
                jitter: o.jitter,
                probes: o.probes,
                half_open_timeout: o.half_open_timeout,
            }
        }
    }

    impl TryFrom<BreakerFile> for BreakerOptions {
        type Error = ConfigError;
        fn try_from(f: BreakerFile) -> Result<Self, ConfigError> {
            let options = Self {
                name: f.name.into(),
                window: f.window,
                failure_rate: f.failure_rate,
                min_calls: f.min_calls,
                consecutive_failures: f.consecutive_failures,
                slow_call: f.slow_call.map(|slow| (slow.rule, slow.rate)),
                open_for: f.open_for,
                max_open_for: f.max_open_for,
                jitter: f.jitter,
                probes: f.probes,
                half_open_timeout: f.half_open_timeout,
            };
            options.check().map(|()| options)
        }
    }
}
