//! Whether and when to try again.

mod budget;
mod policy;

pub use budget::{CallInFlight, RetryBudget, RetryBudgetBuilder, RetryPermit};
pub use policy::{RetryPolicy, RetryPolicyBuilder, ServerHint};

use martlet_base::{Clock, Deadline, Delivery, Fault, Moment, Recovery, Rng, Timestamp};
use std::fmt;
use std::time::Duration;

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
///
/// With a [`RetryBudget`], each retry is paid for when it is decided. Dropping this during the pause brings that back.
#[derive(Debug)]
pub struct Retry {
    policy: RetryPolicy,
    budget: Option<RetryBudget>,
    /// What the retry that was decided last was paid with.
    permit: Option<RetryPermit>,
    /// Counts the call as under way.
    call: Option<CallInFlight>,
    repeat: Repeat,
    deadline: Deadline,
    attempts: u32,
    retries: u32,
    reauthenticated: bool,
    may_have_been_applied: bool,
    previous: Duration,
    stop_at: Option<Moment>,
}

impl Retry {
    /// The start of a call that nobody waits for after `deadline`.
    #[must_use]
    pub fn new(policy: &RetryPolicy, repeat: Repeat, deadline: Deadline) -> Self {
        Self::begun(policy, repeat, deadline, policy.budget().map(RetryBudget::begin))
    }

    /// The start of a call that `call` counts already.
    fn begun(policy: &RetryPolicy, repeat: Repeat, deadline: Deadline, call: Option<CallInFlight>) -> Self {
        Self {
            policy: policy.clone(),
            budget: policy.budget().cloned(),
            permit: None,
            call,
            repeat,
            deadline,
            attempts: 0,
            retries: 0,
            reauthenticated: false,
            may_have_been_applied: false,
            previous: Duration::ZERO,
            stop_at: None,
        }
    }

    /// Pays for retries from `budget` instead of the policy's, if it has one.
    #[must_use]
    pub fn with_budget(mut self, budget: &RetryBudget) -> Self {
        self.call = Some(budget.begin());
        self.budget = Some(budget.clone());
        self
    }

    /// The next attempt is about to be sent. Only a retry that was dropped before this is refunded.
    pub fn begin_attempt(&mut self) {
        if let Some(permit) = &mut self.permit {
            permit.sent();
        }
    }

    /// The last attempt succeeded: the budget is rewarded.
    pub fn succeeded(mut self) {
        match (self.permit.take(), &self.budget) {
            (Some(permit), _) => permit.succeeded(),
            (None, Some(budget)) if self.attempts == 0 => budget.deposit(),
            _ => {}
        }
    }

    /// Attempts that have failed so far.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// After a stop: when to tell the caller, if not at once. That is so when the budget was empty and the policy is for
    /// [`long_poll`](RetryPolicyBuilder::long_poll); [`retry`] sleeps until then.
    #[must_use]
    pub const fn stop_at(&self) -> Option<Moment> {
        self.stop_at
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
        if let Some(mut failed) = self.permit.take() {
            failed.sent();
        }
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
        let hint = not_before.map(|at| (at, at.since(now)));
        if let (Some((at, hint)), ServerHint::Floor { cap }) = (hint, self.policy.server_hint())
            && hint > cap
        {
            return Err(StopReason::RetryLater { at });
        }
        if self.retries >= self.policy.max_retries() {
            return Err(StopReason::RetriesExhausted);
        }
        let pause = self.policy.backoff_for(recovery).delay(self.retries, self.previous, rng);
        let at = now + self.policy.server_hint().apply(pause, hint.map(|(_, hint)| hint), rng);
        if self.deadline.has_passed(at + self.policy.min_useful()) {
            return Err(StopReason::DeadlineTooClose);
        }
        // Last of all: what is not going to happen is not paid for.
        if let Some(budget) = &self.budget {
            self.permit = budget.withdraw(recovery, now);
            if self.permit.is_none() {
                self.stop_at = self.policy.long_poll().then_some(at);
                return Err(StopReason::BudgetExhausted);
            }
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
    let call = policy.budget().map(RetryBudget::begin);
    // Nearly every call succeeds at once: what decides on a failure is made when there is one.
    let error = match operation(Attempt { number: 1, reauthenticate: false }).await {
        Ok(value) => {
            policy.budget().into_iter().for_each(RetryBudget::deposit);
            return Ok(value);
        }
        Err(error) => error,
    };
    let state = Retry::begun(policy, repeat, deadline, call);
    retry_after(error, state, clock, rng, operation).await
}

/// What follows on the first failure.
async fn retry_after<T, E: Fault>(
    mut error: E,
    mut state: Retry,
    clock: &Clock,
    rng: &Rng,
    mut operation: impl AsyncFnMut(Attempt) -> Result<T, E>,
) -> Result<T, Exhausted<E>> {
    loop {
        let decision = state.after_failure(Failure::of(&error, clock), clock.now(), rng);
        match decision {
            Decision::RetryAt(at) => clock.sleep_until(at).await,
            Decision::Reauthenticate => {}
            Decision::Stop(reason) => {
                if let Some(at) = state.stop_at() {
                    clock.sleep_until(at).await;
                }
                let (attempts, maybe) = (state.attempts(), state.may_have_been_applied());
                return Err(Exhausted { error, reason, attempts, may_have_been_applied: maybe });
            }
        }
        state.begin_attempt();
        let reauthenticate = decision == Decision::Reauthenticate;
        error = match operation(Attempt { number: state.attempts() + 1, reauthenticate }).await {
            Ok(value) => {
                state.succeeded();
                return Ok(value);
            }
            Err(error) => error,
        };
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
