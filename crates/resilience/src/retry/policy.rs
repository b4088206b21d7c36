//! How often and after which pauses.

use super::RetryBudget;
use crate::config::check;
use crate::{Backoff, ConfigError, Jitter};
use martlet_base::{Recovery, Rng};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// How often to retry and how long to pause. Cheap to clone; presets are [`seed`](Self::seed),
/// [`fast_transient`](Self::fast_transient), [`aws_standard`](Self::aws_standard) and [`never`](Self::never).
///
/// What may be retried at all is not a setting: see [`Retry`](crate::Retry).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(into = "file::PolicyFile", try_from = "file::PolicyFile"))]
pub struct RetryPolicy(Arc<Inner>);

#[derive(Clone, Debug, PartialEq)]
struct Inner {
    backoff: Backoff,
    throttled: Option<Backoff>,
    max_retries: u32,
    server_hint: ServerHint,
    min_useful: Duration,
    long_poll: bool,
    budget: Option<RetryBudget>,
}

/// What becomes of the pause that a server asks for. `pause` is the policy's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ServerHint {
    /// A floor: the longer of the two, plus up to a tenth of the server's so that the callers it sent away do not return
    /// together. Beyond `cap` nobody sleeps: the call stops with [`StopReason::RetryLater`](crate::StopReason::RetryLater).
    Floor {
        /// The longest pause that a server may order.
        #[cfg_attr(feature = "serde", serde(with = "crate::config::duration"))]
        cap: Duration,
    },
    /// Kept within `[pause, pause + slack]`, as the AWS SDKs of 2026 do: for a server whose hint is advice.
    Clamp {
        /// How far it may lengthen a pause.
        #[cfg_attr(feature = "serde", serde(with = "crate::config::duration"))]
        slack: Duration,
    },
}

impl ServerHint {
    pub(super) fn apply(self, pause: Duration, hint: Option<Duration>, rng: &Rng) -> Duration {
        let Some(hint) = hint else { return pause };
        match self {
            Self::Floor { .. } => hint.max(pause).saturating_add(hint.mul_f64(0.1 * rng.next_f64())),
            Self::Clamp { slack } => hint.clamp(pause, pause.saturating_add(slack)),
        }
    }
}

/// More than this many retries are work for a queue.
const MOST_RETRIES: u32 = 10_000;

impl RetryPolicy {
    /// The default: 3 retries after 1 s, 4 s and 16 s, each up to 25 % shorter or longer, no pause above 60 s; a server
    /// may order a pause of up to 300 s.
    #[must_use]
    pub fn seed() -> Self {
        Self::preset(Duration::from_secs(1), 4.0, 3)
    }

    /// For failures that pass quickly, such as a reset connection inside one data centre: 3 retries after 50, 100 and
    /// 200 ms; otherwise as [`seed`](Self::seed).
    #[must_use]
    pub fn fast_transient() -> Self {
        Self::preset(Duration::from_millis(50), 2.0, 3)
    }

    /// As the standard mode of the AWS SDKs of 2026: 2 retries after at most 50 and 100 ms, or 1 and 2 s when throttled, full
    /// jitter, no pause above 20 s; a server's hint lengthens a pause by at most 5 s; a [`RetryBudget`] of 500 without refill
    /// by time.
    #[must_use]
    pub fn aws_standard() -> Self {
        let backoff = |base| {
            Backoff::exponential(base, 2.0)
                .max_delay(Duration::from_secs(20))
                .jitter(Jitter::Full)
                .build()
                .expect("the presets are valid: a test builds each")
        };
        let budget = RetryBudget::builder().refill_per_second(0.0).build();
        Self(Arc::new(Inner {
            backoff: backoff(Duration::from_millis(50)),
            throttled: Some(backoff(Duration::from_secs(1))),
            max_retries: 2,
            server_hint: ServerHint::Clamp { slack: Duration::from_secs(5) },
            min_useful: Duration::ZERO,
            long_poll: false,
            budget: Some(budget.expect("the presets are valid: a test builds each")),
        }))
    }

    /// The first failure is final. (A refused credential is still renewed once: that is not a retry.)
    #[must_use]
    pub fn never() -> Self {
        Self::preset(Duration::from_secs(1), 4.0, 0)
    }

    /// A policy that starts from [`seed`](Self::seed).
    pub fn builder() -> RetryPolicyBuilder {
        RetryPolicyBuilder(Arc::unwrap_or_clone(Self::seed().0))
    }

    fn preset(base: Duration, factor: f64, max_retries: u32) -> Self {
        let backoff =
            Backoff::exponential(base, factor).build().expect("the presets are valid: a test builds each");
        Self(Arc::new(Inner {
            backoff,
            throttled: None,
            max_retries,
            server_hint: ServerHint::Floor { cap: Duration::from_secs(300) },
            min_useful: Duration::ZERO,
            long_poll: false,
            budget: None,
        }))
    }

    /// Retries after the first attempt.
    #[must_use]
    pub fn max_retries(&self) -> u32 {
        self.0.max_retries
    }

    /// What becomes of the pause that a server asks for.
    #[must_use]
    pub fn server_hint(&self) -> ServerHint {
        self.0.server_hint
    }

    /// An attempt with less time left is not begun.
    #[must_use]
    pub fn min_useful(&self) -> Duration {
        self.0.min_useful
    }

    /// Whether an empty budget stops a call only after the pause.
    #[must_use]
    pub fn long_poll(&self) -> bool {
        self.0.long_poll
    }

    /// What retries are paid from.
    #[must_use]
    pub fn budget(&self) -> Option<&RetryBudget> {
        self.0.budget.as_ref()
    }

    /// The pauses after a failure of this kind.
    #[must_use]
    pub fn backoff_for(&self, kind: Recovery) -> &Backoff {
        match &self.0.throttled {
            Some(throttled) if kind == Recovery::Throttled => throttled,
            _ => &self.0.backoff,
        }
    }

    /// The pauses.
    #[must_use]
    pub fn backoff(&self) -> &Backoff {
        &self.0.backoff
    }

    /// The pause before each retry, jitter left out.
    #[must_use]
    pub fn delays_without_jitter(&self) -> Vec<Duration> {
        (0..self.0.max_retries).map(|retry| self.0.backoff.delay_without_jitter(retry)).collect()
    }

    /// The policy in a sentence and a table of its pauses, for logs and `--help`.
    ///
    /// ```
    /// assert_eq!(
    ///     martlet_resilience::RetryPolicy::seed().explain(),
    ///     "3 retries after 1s, 4s, 16s (jitter 25 %); a server may order up to 300s
    /// retry        plain     at least      at most  latest start
    ///     1           1s        750ms        1.25s         1.25s
    ///     2           4s           3s           5s         6.25s
    ///     3          16s          12s          20s        26.25s
    /// ",
    /// );
    /// ```
    #[must_use]
    pub fn explain(&self) -> String {
        const SHOWN: u32 = 8;
        let Inner { backoff, max_retries, server_hint, .. } = &*self.0;
        if *max_retries == 0 {
            return "no retries".to_owned();
        }
        let mut delays: Vec<String> =
            (0..SHOWN.min(*max_retries)).map(|i| format!("{:?}", backoff.delay_without_jitter(i))).collect();
        if *max_retries > SHOWN {
            delays.push(format!("... at most {:?}", backoff.max_delay()));
        }
        let jitter = match backoff.jitter() {
            Jitter::None => "no jitter".to_owned(),
            Jitter::Full => "full jitter".to_owned(),
            Jitter::Equal => "equal jitter".to_owned(),
            Jitter::Decorrelated => "decorrelated jitter".to_owned(),
            Jitter::Bounded(p) => format!("jitter {} %", p * 100.0),
        };
        let retries = if *max_retries == 1 { "retry" } else { "retries" };
        let server = match server_hint {
            ServerHint::Floor { cap } => format!("a server may order up to {cap:?}"),
            ServerHint::Clamp { slack } => format!("a server may add up to {slack:?}"),
        };
        let mut text = format!("{max_retries} {retries} after {} ({jitter}); {server}\n", delays.join(", "));
        let title = |name: &str| if name.is_empty() { String::new() } else { format!("{name}: ") };
        let tables = [("", Some(backoff)), ("throttled", self.0.throttled.as_ref())];
        for (name, backoff) in tables.into_iter().filter_map(|(name, b)| Some((name, b?))) {
            let _ = writeln!(
                text,
                "{}retry {:>12} {:>12} {:>12} {:>13}",
                title(name),
                "plain",
                "at least",
                "at most",
                "latest start"
            );
            let mut latest = Duration::ZERO;
            for retry in 0..SHOWN.min(*max_retries) {
                let (least, most) = backoff.bounds(retry);
                latest = latest.saturating_add(most);
                let plain = backoff.delay_without_jitter(retry);
                // Padding a Debug does not work for durations.
                let [plain, least, most, latest] = [plain, least, most, latest].map(|d| format!("{d:?}"));
                let _ = writeln!(text, "{:>5} {plain:>12} {least:>12} {most:>12} {latest:>13}", retry + 1);
            }
        }
        text
    }
}

impl Default for RetryPolicy {
    /// [`RetryPolicy::seed`].
    fn default() -> Self {
        Self::seed()
    }
}

/// Builds a [`RetryPolicy`].
#[derive(Clone, Debug)]
#[must_use = "call build()"]
pub struct RetryPolicyBuilder(Inner);

impl RetryPolicyBuilder {
    /// The pauses.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.0.backoff = backoff;
        self
    }

    /// Retries after the first attempt; 0 is none. 3 unless set.
    pub const fn max_retries(mut self, max_retries: u32) -> Self {
        self.0.max_retries = max_retries;
        self
    }

    /// Other pauses after a throttled call. The same ones unless set.
    pub fn throttled_backoff(mut self, backoff: Backoff) -> Self {
        self.0.throttled = Some(backoff);
        self
    }

    /// The longest pause that a server may order; a longer one stops with
    /// [`StopReason::RetryLater`](crate::StopReason::RetryLater). 300 s unless set. The same as
    /// [`server_hint`](Self::server_hint) with [`ServerHint::Floor`].
    pub const fn max_server_delay(mut self, max_server_delay: Duration) -> Self {
        self.0.server_hint = ServerHint::Floor { cap: max_server_delay };
        self
    }

    /// What becomes of the pause that a server asks for: a floor of up to 300 s unless set.
    pub const fn server_hint(mut self, hint: ServerHint) -> Self {
        self.0.server_hint = hint;
        self
    }

    /// An attempt that would have less time than this until the deadline is not begun. 0 unless set.
    pub const fn min_useful(mut self, time: Duration) -> Self {
        self.0.min_useful = time;
        self
    }

    /// For operations that wait at the server for news and are called again as soon as they return: when the budget is empty, the call
    /// still pauses as it would have before the retry, and stops then ([`Retry::stop_at`](crate::Retry::stop_at)). Otherwise the caller
    /// would be back at once, and the pause the only thing that was saved. As the AWS SDKs of 2026 do; off unless set.
    pub const fn long_poll(mut self, on: bool) -> Self {
        self.0.long_poll = on;
        self
    }

    /// What retries are paid from. Calls of all clones of the policy share it; make one policy per account at a server.
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.0.budget = Some(budget);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// More than 10,000 retries: that is work for a queue.
    pub fn build(self) -> Result<RetryPolicy, ConfigError> {
        check(self.0.max_retries <= MOST_RETRIES, "max_retries", "must be at most 10,000")?;
        Ok(RetryPolicy(Arc::new(self.0)))
    }
}

/// The settings as they stand in a file: what is missing is that of the seed, what is unknown is an error. A budget in a
/// file is a new purse, and its settings only are written.
#[cfg(feature = "serde")]
mod file {
    use super::*;
    use crate::config::duration;
    use crate::retry::budget::BudgetOptions;

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct PolicyFile {
        #[serde(default = "backoff")]
        backoff: Backoff,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        throttled: Option<Backoff>,
        #[serde(default = "max_retries")]
        max_retries: u32,
        #[serde(default = "server_hint")]
        server_hint: ServerHint,
        #[serde(default, with = "duration")]
        min_useful: Duration,
        #[serde(default)]
        long_poll: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<BudgetOptions>,
    }

    fn backoff() -> Backoff {
        RetryPolicy::seed().backoff().clone()
    }
    fn max_retries() -> u32 {
        RetryPolicy::seed().max_retries()
    }
    fn server_hint() -> ServerHint {
        RetryPolicy::seed().server_hint()
    }

    impl From<RetryPolicy> for PolicyFile {
        fn from(policy: RetryPolicy) -> Self {
            let inner = Arc::unwrap_or_clone(policy.0);
            Self {
                backoff: inner.backoff,
                throttled: inner.throttled,
                max_retries: inner.max_retries,
                server_hint: inner.server_hint,
                min_useful: inner.min_useful,
                long_poll: inner.long_poll,
                budget: inner.budget.map(|budget| budget.options()),
            }
        }
    }

    impl TryFrom<PolicyFile> for RetryPolicy {
        type Error = ConfigError;
        fn try_from(f: PolicyFile) -> Result<Self, ConfigError> {
            RetryPolicyBuilder(Inner {
                backoff: f.backoff,
                throttled: f.throttled,
                max_retries: f.max_retries,
                server_hint: f.server_hint,
                min_useful: f.min_useful,
                long_poll: f.long_poll,
                budget: f.budget.map(RetryBudget::from_options).transpose()?,
            })
            .build()
        }
    }
}
