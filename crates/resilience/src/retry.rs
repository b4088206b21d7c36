//! Whether and when to try again.

use crate::config::check;
use crate::{Backoff, ConfigError, Jitter};
use martlet_base::{Clock, Deadline, Delivery, Fault, Moment, Recovery, Rng, Timestamp};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How often to retry and how long to pause. Cheap to clone; presets are [`seed`](Self::seed),
/// [`fast_transient`](Self::fast_transient) and [`never`](Self::never).
///
/// What may be retried at all is not a setting: see [`Retry`].
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy(Arc<Inner>);

#[derive(Clone, Debug, PartialEq)]
struct Inner {
    backoff: Backoff,
    max_retries: u32,
    max_server_delay: Duration,
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
        Self(Arc::new(Inner { backoff, max_retries, max_server_delay: Duration::from_secs(300) }))
    }

    /// Retries after the first attempt.
    #[must_use]
    pub fn max_retries(&self) -> u32 {
        self.0.max_retries
    }

    /// The longest pause that a server may order before it is refused with [`StopReason::RetryLater`].
    #[must_use]
    pub fn max_server_delay(&self) -> Duration {
        self.0.max_server_delay
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

    /// The policy in a sentence, for logs and `--help`.
    ///
    /// ```
    /// assert_eq!(
    ///     martlet_resilience::RetryPolicy::seed().explain(),
    ///     "3 retries after 1s, 4s, 16s (jitter 25 %); a server may order up to 300s",
    /// );
    /// ```
    #[must_use]
    pub fn explain(&self) -> String {
        const SHOWN: u32 = 8;
        let Inner { backoff, max_retries, max_server_delay } = &*self.0;
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
        format!(
            "{max_retries} {retries} after {} ({jitter}); a server may order up to {max_server_delay:?}",
            delays.join(", ")
        )
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

    /// The longest pause that a server may order; a longer one stops with [`StopReason::RetryLater`]. 300 s unless set.
    /// Up to a tenth of the ordered pause is added on top, so that the callers it sent away do not return together.
    pub const fn max_server_delay(mut self, max_server_delay: Duration) -> Self {
        self.0.max_server_delay = max_server_delay;
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

/// The facts about one failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// What is known of the attempt's fate.
    pub delivery: Delivery,
    /// What can be done.
    pub recovery: Recovery,
    /// When the server lets us come back, such as a `Retry-After` (see [`hint`](crate::hint)).
    pub not_before: Option<Moment>,
}

impl Failure {
    /// A failure without a word from the server on when to come back.
    #[must_use]
    pub const fn new(delivery: Delivery, recovery: Recovery) -> Self {
        Self { delivery, recovery, not_before: None }
    }

    /// The failure that `fault` tells of; its calendar date becomes a moment of `clock`.
    pub fn of(fault: &impl Fault, clock: &Clock) -> Self {
        Self::new(fault.delivery(), fault.recovery())
            .not_before(fault.retry_at().map(|date| clock.moment_at(date)))
    }

    /// Sets when the server lets us come back.
    #[must_use]
    pub fn not_before(mut self, at: impl Into<Option<Moment>>) -> Self {
        self.not_before = at.into();
        self
    }
}

/// May the operation be sent again when its fate is unknown?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Repeat {
    /// Yes: it reads, or doing it twice is doing it once (idempotent by nature or by key).
    Safe,
    /// No: a second copy has a second effect. It is sent again only when the first surely had none.
    Unsafe,
    /// It cannot be sent again at all: its body was a stream that is used up.
    Never,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try again at this moment.
    RetryAt(Moment),
    /// Get a new credential, then try again at once. At most once per call; it uses up no retry.
    Reauthenticate,
    /// The failure is final.
    Stop(StopReason),
}

/// Why there is no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// Another try would fail in the same way.
    NotRetryable,
    /// The request may have been applied and is not safe to repeat. Look before sending it again.
    OutcomeUnknown,
    /// The policy's retries are used up.
    RetriesExhausted,
    /// A new credential was refused too.
    ReauthenticationFailed,
    /// The pause would end after the deadline.
    DeadlineTooClose,
    /// Too many calls are being retried already.
    BudgetExhausted,
    /// Not before `at`, which is longer than a caller should sleep: park the work until then.
    RetryLater {
        /// When trying again may succeed.
        at: Moment,
    },
    /// The request cannot be sent a second time: its body is used up.
    NotReplayable,
}

impl StopReason {
    /// The stable name used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotRetryable => "not_retryable",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::RetriesExhausted => "retries_exhausted",
            Self::ReauthenticationFailed => "reauthentication_failed",
            Self::DeadlineTooClose => "deadline_too_close",
            Self::BudgetExhausted => "budget_exhausted",
            Self::RetryLater { .. } => "retry_later",
            Self::NotReplayable => "not_replayable",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRetryable => "retrying would not help",
            Self::OutcomeUnknown => "it may have been applied and is not safe to repeat",
            Self::RetriesExhausted => "all retries are used up",
            Self::ReauthenticationFailed => "a new credential was refused too",
            Self::DeadlineTooClose => "the next try would come after the deadline",
            Self::BudgetExhausted => "the retry budget is spent",
            Self::RetryLater { .. } => "the server asks for a longer pause than the policy allows",
            Self::NotReplayable => "the request's body cannot be sent again",
        })
    }
}

/// The decisions of one call: the pure part of retrying, without a clock, a task or a lock.
///
/// | the attempt's fate | [`Repeat::Safe`] | [`Repeat::Unsafe`] | [`Repeat::Never`] |
/// |---|---|---|---|
/// | [`NotSent`](Delivery::NotSent) | retry | retry | stop |
/// | [`Rejected`](Delivery::Rejected) | retry after the server's pause, or once after re-authentication | same | stop |
/// | [`Unknown`](Delivery::Unknown) | retry | **stop**: it may have been applied | **stop** |
/// | [`Processed`](Delivery::Processed) | stop | stop | stop |
///
/// [`Recovery::Fatal`] and [`Recovery::Refused`] always stop. A server's pause is a floor: the retry comes after the
/// longer of it and the policy's own, plus up to a tenth of the server's. A pause that does not fit the deadline stops
/// at once instead of sleeping in vain.
#[derive(Debug)]
pub struct Retry {
    policy: RetryPolicy,
    repeat: Repeat,
    deadline: Deadline,
    attempts: u32,
    retries: u32,
    reauthenticated: bool,
    may_have_been_applied: bool,
    previous: Duration,
}

impl Retry {
    /// The start of a call that nobody waits for after `deadline`.
    #[must_use]
    pub fn new(policy: &RetryPolicy, repeat: Repeat, deadline: Deadline) -> Self {
        Self {
            policy: policy.clone(),
            repeat,
            deadline,
            attempts: 0,
            retries: 0,
            reauthenticated: false,
            may_have_been_applied: false,
            previous: Duration::ZERO,
        }
    }

    /// Attempts that have failed so far.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether any attempt so far may have had an effect: the last failure alone does not tell.
    #[must_use]
    pub const fn may_have_been_applied(&self) -> bool {
        self.may_have_been_applied
    }

    /// Decides what follows on `failure`, which ended at `now`.
    pub fn after_failure(&mut self, failure: Failure, now: Moment, rng: &Rng) -> Decision {
        self.attempts = self.attempts.saturating_add(1);
        self.may_have_been_applied |= failure.delivery.may_have_been_applied();
        match self.decide(failure, now, rng) {
            Ok(decision) => decision,
            Err(reason) => Decision::Stop(reason),
        }
    }

    fn decide(&mut self, failure: Failure, now: Moment, rng: &Rng) -> Result<Decision, StopReason> {
        let Failure { delivery, recovery, not_before } = failure;
        match (recovery, not_before) {
            (Recovery::Refused, Some(at)) => return Err(StopReason::RetryLater { at }),
            (Recovery::Refused | Recovery::Fatal, _) => return Err(StopReason::NotRetryable),
            _ => {}
        }
        match (delivery, self.repeat) {
            (Delivery::NotSent | Delivery::Rejected, Repeat::Safe | Repeat::Unsafe) => {}
            (Delivery::NotSent | Delivery::Rejected, Repeat::Never) => {
                return Err(StopReason::NotReplayable);
            }
            (Delivery::Unknown, Repeat::Safe) => {}
            (Delivery::Unknown, Repeat::Unsafe | Repeat::Never) => {
                return Err(StopReason::OutcomeUnknown);
            }
            // `Delivery` may grow: what is not known to be harmless is not repeated.
            (Delivery::Processed, _) | (_, _) => return Err(StopReason::NotRetryable),
        }
        if recovery == Recovery::Reauthenticate {
            return self.reauthenticate(now);
        }
        let hint = not_before.map_or(Duration::ZERO, |at| at.since(now));
        if let Some(at) = not_before.filter(|_| hint > self.policy.0.max_server_delay) {
            return Err(StopReason::RetryLater { at });
        }
        if self.retries >= self.policy.0.max_retries {
            return Err(StopReason::RetriesExhausted);
        }
        let pause = self.policy.0.backoff.delay(self.retries, self.previous, rng);
        let at = now + hint.max(pause) + hint.mul_f64(0.1 * rng.next_f64());
        if self.deadline.has_passed(at) {
            return Err(StopReason::DeadlineTooClose);
        }
        self.retries += 1;
        self.previous = pause;
        Ok(Decision::RetryAt(at))
    }

    fn reauthenticate(&mut self, now: Moment) -> Result<Decision, StopReason> {
        if self.reauthenticated {
            return Err(StopReason::ReauthenticationFailed);
        }
        if self.deadline.has_passed(now) {
            return Err(StopReason::DeadlineTooClose);
        }
        self.reauthenticated = true;
        Ok(Decision::Reauthenticate)
    }
}

/// What [`retry`] tells the operation about the attempt that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// The last attempt's credential was refused: get a new one first.
    pub reauthenticate: bool,
}

/// Runs `operation` until it succeeds or [`Retry`] says stop.
///
/// It does not interrupt an attempt at the deadline: wrap the attempt in [`Clock::within`] for that. Cancel safe:
/// dropping the future drops the attempt or the pause, and nothing else is held.
///
/// # Errors
/// [`Exhausted`]: the last failure, and why there is no further attempt.
pub async fn retry<T, E: Fault>(
    policy: &RetryPolicy,
    repeat: Repeat,
    deadline: Deadline,
    clock: &Clock,
    rng: &Rng,
    mut operation: impl AsyncFnMut(Attempt) -> Result<T, E>,
) -> Result<T, Exhausted<E>> {
    let mut state = Retry::new(policy, repeat, deadline);
    let mut reauthenticate = false;
    loop {
        let error = match operation(Attempt { number: state.attempts() + 1, reauthenticate }).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let decision = state.after_failure(Failure::of(&error, clock), clock.now(), rng);
        reauthenticate = decision == Decision::Reauthenticate;
        match decision {
            Decision::RetryAt(at) => clock.sleep_until(at).await,
            Decision::Reauthenticate => {}
            Decision::Stop(reason) => {
                let (attempts, maybe) = (state.attempts(), state.may_have_been_applied());
                return Err(Exhausted { error, reason, attempts, may_have_been_applied: maybe });
            }
        }
    }
}

/// The last failure of a call that is not tried again, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exhausted<E> {
    /// How the last attempt failed.
    pub error: E,
    /// Why there is no further attempt.
    pub reason: StopReason,
    /// How many attempts were made.
    pub attempts: u32,
    /// Whether any of them may have had an effect.
    pub may_have_been_applied: bool,
}

impl<E> fmt::Display for Exhausted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.attempts == 1 { "" } else { "s" };
        write!(f, "gave up after {} attempt{s}: {}", self.attempts, self.reason)
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Exhausted<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl<E: Fault + 'static> Fault for Exhausted<E> {
    /// That of the whole call: unknown when an attempt before the last one may have been applied.
    fn delivery(&self) -> Delivery {
        match self.error.delivery() {
            last if last.may_have_been_applied() || !self.may_have_been_applied => last,
            _ => Delivery::Unknown,
        }
    }
    fn recovery(&self) -> Recovery {
        self.error.recovery()
    }
    fn retry_at(&self) -> Option<Timestamp> {
        self.error.retry_at()
    }
}
