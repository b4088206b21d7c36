//! How many retries everybody together may make.

use crate::config::check;
use crate::{ConfigError, lock};
use martlet_base::{Moment, Recovery};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A purse that all retries towards one server are paid from, so that an outage is not answered with a storm: when most
/// calls fail, most of them fail without a retry.
///
/// Keep one per account at a server (calls of one must not spend what another needs), and hand it to
/// [`Retry::with_budget`](crate::Retry::with_budget) or [`RetryPolicyBuilder::budget`](crate::RetryPolicyBuilder::budget). Cheap to clone;
/// clones are one purse.
///
/// Two laws, each may be used alone:
///
/// * **Cost**: the purse holds up to `capacity`. A retry after a transient failure takes `retry_cost`, one after a throttled
///   call `throttled_cost`. A retry that succeeds brings its cost back, a call that succeeds at once brings `first_success`,
///   and time brings `refill_per_second` whatever happens, so that nobody is stuck when nothing succeeds any more.
/// * **Fraction**: at most this share of the calls under way are retries (and a few are always allowed).
///
/// ```
/// use martlet_base::{Moment, Recovery};
/// use martlet_resilience::RetryBudget;
///
/// let budget = RetryBudget::builder().capacity(20).refill_per_second(0.0).build()?;
/// let first = budget.withdraw(Recovery::Transient, Moment::ZERO).expect("20 is enough for one");
/// assert_eq!(budget.available(Moment::ZERO), 6);
/// assert!(budget.withdraw(Recovery::Transient, Moment::ZERO).is_none());
/// drop(first); // the retry was never sent: its cost comes back
/// assert_eq!(budget.available(Moment::ZERO), 20);
/// # Ok::<(), martlet_resilience::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RetryBudget(Arc<Shared>);

struct Shared {
    options: BudgetOptions,
    purse: Mutex<Purse>,
    /// Spares a success on a full purse the lock.
    full: AtomicBool,
    calls: AtomicU32,
    retries: AtomicU32,
    refused: AtomicU64,
}

struct Purse {
    /// In thousandths.
    milli: u64,
    refilled: Moment,
}

/// The settings of a [`RetryBudget`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub(super) struct BudgetOptions {
    capacity: u32,
    retry_cost: u32,
    throttled_cost: u32,
    first_success: u32,
    refill_per_second: f64,
    fraction: Option<f64>,
    min_in_flight: u32,
}

impl Default for BudgetOptions {
    fn default() -> Self {
        Self {
            capacity: 500,
            retry_cost: 14,
            throttled_cost: 5,
            first_success: 1,
            refill_per_second: 10.0,
            fraction: None,
            min_in_flight: 3,
        }
    }
}

/// Builds a [`RetryBudget`].
#[derive(Clone, Debug)]
#[must_use = "call build()"]
pub struct RetryBudgetBuilder(BudgetOptions);

impl RetryBudgetBuilder {
    /// What the purse holds at most, and at the start. 500 unless set; 0 allows no retry.
    pub const fn capacity(mut self, capacity: u32) -> Self {
        self.0.capacity = capacity;
        self
    }

    /// What a retry after a transient failure takes. 14 unless set.
    pub const fn retry_cost(mut self, cost: u32) -> Self {
        self.0.retry_cost = cost;
        self
    }

    /// What a retry after a throttled call takes: less, since the server has set its pace. 5 unless set.
    pub const fn throttled_cost(mut self, cost: u32) -> Self {
        self.0.throttled_cost = cost;
        self
    }

    /// What a call that succeeds at its first attempt brings. 1 unless set.
    pub const fn first_success(mut self, reward: u32) -> Self {
        self.0.first_success = reward;
        self
    }

    /// What a second brings. 10 unless set; 0 turns it off, and then a purse that is empty while every call fails stays
    /// empty.
    pub const fn refill_per_second(mut self, refill: f64) -> Self {
        self.0.refill_per_second = refill;
        self
    }

    /// At most this share of the calls under way may be retries, and `min_in_flight` always may. A retry is under way from its
    /// decision to its end, its pause included. Off unless set.
    pub const fn fraction(mut self, share: f64, min_in_flight: u32) -> Self {
        self.0.fraction = Some(share);
        self.0.min_in_flight = min_in_flight;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// A cost is zero, the refill is negative or not finite, or the share is outside `(0, 1]`.
    pub fn build(self) -> Result<RetryBudget, ConfigError> {
        let o = self.0;
        check(o.retry_cost > 0, "retry_cost", "must be above zero")?;
        check(o.throttled_cost > 0, "throttled_cost", "must be above zero")?;
        check(
            o.refill_per_second.is_finite() && (0.0..=1e9).contains(&o.refill_per_second),
            "refill_per_second",
            "must be between 0 and 1e9",
        )?;
        check(o.fraction.is_none_or(|f| f > 0.0 && f <= 1.0), "fraction", "must be above 0, at most 1")?;
        Ok(RetryBudget(Arc::new(Shared {
            options: o,
            purse: Mutex::new(Purse { milli: u64::from(o.capacity) * 1_000, refilled: Moment::ZERO }),
            full: AtomicBool::new(true),
            calls: AtomicU32::new(0),
            retries: AtomicU32::new(0),
            refused: AtomicU64::new(0),
        })))
    }
}

impl RetryBudget {
    /// Costs as in AWS's standard retries of 2026, plus a refill by time.
    pub fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder(BudgetOptions::default())
    }

    /// 500 with costs of 14 and 5, and 10 more each second.
    #[must_use]
    pub fn standard() -> Self {
        Self::builder().build().expect("the defaults are valid: a test builds them")
    }

    /// Pays for one retry after a failure of this kind, or refuses. A permit that is dropped before
    /// [`RetryPermit::sent`] brings its cost back.
    #[must_use]
    pub fn withdraw(&self, kind: Recovery, now: Moment) -> Option<RetryPermit> {
        let permit = self.try_withdraw(kind, now);
        if permit.is_none() {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        }
        permit
    }

    fn try_withdraw(&self, kind: Recovery, now: Moment) -> Option<RetryPermit> {
        let Shared { options, .. } = &*self.0;
        let cost = match kind {
            Recovery::Throttled => options.throttled_cost,
            _ => options.retry_cost,
        };
        if let Some(fraction) = options.fraction {
            let calls = f64::from(self.0.calls.load(Ordering::Relaxed));
            let room = |retries: u32| {
                retries < options.min_in_flight || f64::from(retries) + 1.0 <= calls * fraction
            };
            let taken = self
                .0
                .retries
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| room(n).then_some(n + 1));
            taken.ok()?;
        } else {
            self.0.retries.fetch_add(1, Ordering::Relaxed);
        }
        let mut permit = RetryPermit { budget: self.clone(), refund: 0, cost };
        let milli = u64::from(cost) * 1_000;
        {
            let mut purse = lock(&self.0.purse);
            purse.refill(options, now);
            // A permit without a refund: dropping it gives back its place among the retries under way only.
            purse.milli = purse.milli.checked_sub(milli)?;
            self.0.full.store(false, Ordering::Relaxed);
        }
        permit.refund = cost;
        Some(permit)
    }

    /// A call succeeded at its first attempt.
    pub fn deposit(&self) {
        if !self.0.full.load(Ordering::Relaxed) {
            self.add(self.0.options.first_success);
        }
    }

    /// Counts a call as under way until the guard is dropped; the fraction is a share of these.
    pub fn begin(&self) -> CallInFlight {
        let counted = self.0.options.fraction.is_some();
        if counted {
            self.0.calls.fetch_add(1, Ordering::Relaxed);
        }
        CallInFlight(counted.then(|| self.clone()))
    }

    /// What is left.
    #[must_use]
    pub fn available(&self, now: Moment) -> u32 {
        let mut purse = lock(&self.0.purse);
        purse.refill(&self.0.options, now);
        u32::try_from(purse.milli / 1_000).unwrap_or(u32::MAX)
    }

    /// Retries that were decided and have not ended.
    #[must_use]
    pub fn retries_in_flight(&self) -> u32 {
        self.0.retries.load(Ordering::Relaxed)
    }

    /// How many retries were refused so far: the counter `martlet.retry.budget_exhausted`.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    #[cfg(feature = "serde")]
    pub(super) fn options(&self) -> BudgetOptions {
        self.0.options
    }

    #[cfg(feature = "serde")]
    pub(super) fn from_options(options: BudgetOptions) -> Result<Self, ConfigError> {
        RetryBudgetBuilder(options).build()
    }

    fn add(&self, amount: u32) {
        let mut purse = lock(&self.0.purse);
        let most = u64::from(self.0.options.capacity) * 1_000;
        purse.milli = most.min(purse.milli + u64::from(amount) * 1_000);
        if purse.milli == most {
            self.0.full.store(true, Ordering::Relaxed);
        }
    }
}

impl Purse {
    fn refill(&mut self, options: &BudgetOptions, now: Moment) {
        let seconds = now.since(self.refilled).as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "finite and not negative; the cast saturates"
        )]
        let milli = (seconds * options.refill_per_second * 1_000.0) as u64;
        // A span too short for a thousandth keeps counting.
        if milli > 0 {
            self.refilled = now;
            self.milli = self.milli.saturating_add(milli).min(u64::from(options.capacity) * 1_000);
        }
    }
}

impl PartialEq for RetryBudget {
    /// Whether they are one purse.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = &self.0.options;
        f.debug_struct("RetryBudget")
            .field("capacity", &o.capacity)
            .field("retry_cost", &o.retry_cost)
            .field("throttled_cost", &o.throttled_cost)
            .field("first_success", &o.first_success)
            .field("refill_per_second", &o.refill_per_second)
            .field("fraction", &o.fraction)
            .finish_non_exhaustive()
    }
}

/// A retry that is paid for. Dropped before [`sent`](Self::sent), it was never made and brings its cost back; exactly once.
#[derive(Debug)]
#[must_use = "dropping it gives the cost back"]
pub struct RetryPermit {
    budget: RetryBudget,
    /// What a drop gives back.
    refund: u32,
    cost: u32,
}

impl RetryPermit {
    /// The retry is about to be sent: its cost is spent, whatever becomes of it.
    pub const fn sent(&mut self) {
        self.refund = 0;
    }

    /// The retry succeeded: its cost comes back.
    pub fn succeeded(mut self) {
        self.refund = self.cost;
    }
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.budget.0.retries.fetch_sub(1, Ordering::Relaxed);
        if self.refund > 0 {
            self.budget.add(self.refund);
        }
    }
}

/// A call under way, for the fraction of a [`RetryBudget`].
#[derive(Debug)]
#[must_use = "the call counts only while this lives"]
pub struct CallInFlight(Option<RetryBudget>);

impl Drop for CallInFlight {
    fn drop(&mut self) {
        if let Some(budget) = &self.0 {
            budget.0.calls.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Recovery::{Throttled, Transient};

    const ZERO: Moment = Moment::ZERO;

    fn frozen(capacity: u32) -> RetryBudget {
        RetryBudget::builder().capacity(capacity).refill_per_second(0.0).build().unwrap()
    }

    #[test]
    fn c1_two_tasks_racing_for_the_last_token_make_one_retry() {
        for _ in 0..200 {
            let budget = frozen(14);
            let got: usize = std::thread::scope(|s| {
                let tasks: Vec<_> = (0..2)
                    .map(|_| {
                        s.spawn(|| {
                            let permit = budget.withdraw(Transient, ZERO);
                            permit.map_or(0, |mut permit| {
                                permit.sent();
                                1
                            })
                        })
                    })
                    .collect();
                tasks.into_iter().map(|t| t.join().unwrap()).sum()
            });
            assert_eq!((got, budget.available(ZERO), budget.refused()), (1, 0, 1));
        }
    }

    #[test]
    fn c2_a_permit_dropped_before_sending_refunds_once_and_after_sending_not() {
        let budget = frozen(28);
        drop(budget.withdraw(Transient, ZERO));
        assert_eq!(budget.available(ZERO), 28);
        let mut sent = budget.withdraw(Transient, ZERO).unwrap();
        sent.sent();
        drop(sent);
        assert_eq!(budget.available(ZERO), 14);
    }

    #[test]
    fn r8_success_brings_the_cost_back_and_a_first_success_one() {
        // smithy-rs #1197: never reimbursed, clients stopped retrying for ever.
        let budget = frozen(500);
        let mut retry = budget.withdraw(Throttled, ZERO).unwrap();
        assert_eq!(budget.available(ZERO), 495);
        retry.sent();
        retry.succeeded();
        assert_eq!(budget.available(ZERO), 500);
        let mut lost = budget.withdraw(Transient, ZERO).unwrap();
        lost.sent();
        drop(lost);
        (0..20).for_each(|i| {
            assert_eq!(budget.available(ZERO), 486 + i.min(14));
            budget.deposit();
        });
    }

    #[test]
    fn r8_time_refills_an_empty_purse_in_every_mode() {
        // aws-sdk-go-v2 #3550, cockroachdb #151748: without it, workers that only retry are stuck for ever.
        let at = |millis: u64| Moment::from_nanos(millis * 1_000_000);
        for builder in [RetryBudget::builder(), RetryBudget::builder().fraction(0.2, 3)] {
            let budget = builder.capacity(14).build().unwrap();
            let mut permit = budget.withdraw(Transient, at(0)).unwrap();
            permit.sent();
            drop(permit);
            // Asking often must not lose fractions.
            (0..1_399).for_each(|ms| assert!(budget.available(at(ms)) < 14));
            assert!(budget.withdraw(Transient, at(1_399)).is_none());
            assert!(budget.withdraw(Transient, at(1_400)).is_some());
        }
    }

    #[test]
    fn r8_at_most_a_fifth_of_the_calls_under_way_are_retries() {
        let budget = RetryBudget::builder().fraction(0.2, 3).build().unwrap();
        let few: Vec<_> = (0..4).map_while(|_| budget.withdraw(Transient, ZERO)).collect();
        assert_eq!(few.len(), 3, "three always may");
        drop(few);
        let calls: Vec<_> = (0..50).map(|_| budget.begin()).collect();
        let retries: Vec<_> = (0..50).map_while(|_| budget.withdraw(Transient, ZERO)).collect();
        assert_eq!((retries.len(), budget.retries_in_flight()), (10, 10));
        drop((calls, retries));
        assert_eq!((budget.retries_in_flight(), budget.available(ZERO)), (0, 500));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let b = RetryBudget::builder;
        for (builder, field) in [
            (b().retry_cost(0), "retry_cost"),
            (b().throttled_cost(0), "throttled_cost"),
            (b().refill_per_second(-1.0), "refill_per_second"),
            (b().refill_per_second(f64::NAN), "refill_per_second"),
            (b().fraction(0.0, 1), "fraction"),
            (b().fraction(f64::NAN, 1), "fraction"),
        ] {
            assert_eq!(builder.build().unwrap_err().field(), field);
        }
        assert!(b().capacity(0).build().unwrap().withdraw(Transient, ZERO).is_none());
        let _ = RetryBudget::standard();
    }
}
