//! Evenly spread admissions.

use super::NextPlace;
use crate::ConfigError;
use crate::config::check;
use martlet_base::Moment;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A rate that is kept by spreading: after a first burst, one unit each `per / limit`. The generic cell rate algorithm
/// ([ITU-T I.371](https://www.itu.int/rec/T-REC-I.371)): one word of state, no lock, no queue, no allocation.
///
/// For a server that smooths by itself (a leaky bucket) or a rate of one's own. **Not for** a quota that a server counts in
/// windows: a burst and then the steady rate put up to twice the limit into one window, and that of requests that
/// travel for a while more. Keep such quotas with a strict window of [`Limits`](crate::Limits).
///
/// ```
/// use martlet_base::Moment;
/// use martlet_resilience::Gcra;
/// use std::time::Duration;
///
/// let two_per_second = Gcra::new(2, Duration::from_secs(1), 1)?;
/// assert!(two_per_second.try_acquire(1, Moment::ZERO).is_ok());
/// let refused = two_per_second.try_acquire(1, Moment::ZERO).unwrap_err();
/// assert_eq!(refused.at, Some(Moment::ZERO + Duration::from_millis(500)));
/// # Ok::<(), martlet_resilience::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Gcra {
    /// Nanoseconds that one unit takes, rounded up: never too fast.
    interval: u64,
    /// How far the schedule may run ahead of the present.
    burst: u64,
    /// Until when the units taken so far last, at one each interval.
    busy_until: AtomicU64,
}

impl Gcra {
    /// `limit` units in each `per`, and up to `burst` at once.
    ///
    /// # Errors
    /// A value is zero, or the burst lasts longer than 500 years.
    pub fn new(limit: u32, per: Duration, burst: u32) -> Result<Self, ConfigError> {
        check(limit > 0, "limit", "must be above zero")?;
        check(!per.is_zero(), "per", "must be above zero")?;
        check(burst > 0, "burst", "must be above zero")?;
        let interval = u64::try_from(per.as_nanos().div_ceil(limit.into())).unwrap_or(u64::MAX);
        let burst = interval.checked_mul(burst.into());
        let burst = burst.ok_or_else(|| ConfigError::new("burst", "lasts longer than 500 years"))?;
        Ok(Self { interval, burst, busy_until: AtomicU64::new(0) })
    }

    /// Takes `cost` units if that is possible at `now`.
    ///
    /// # Errors
    /// [`NextPlace`] says when it will be: never at once. `None` when `cost` is above the burst.
    pub fn try_acquire(&self, cost: u32, now: Moment) -> Result<(), NextPlace> {
        let now = now.as_nanos();
        let mut busy_until = self.busy_until.load(Ordering::Relaxed);
        loop {
            let next = self.after(busy_until, cost, now).map_err(|at| NextPlace { at })?;
            // A failed exchange means that somebody else was admitted: the whole makes progress.
            match self.busy_until.compare_exchange_weak(
                busy_until,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(other) => busy_until = other,
            }
        }
    }

    /// The schedule after `cost` more units, or when there is room for them.
    fn after(&self, busy_until: u64, cost: u32, now: u64) -> Result<u64, Option<Moment>> {
        let taken = self.interval.saturating_mul(cost.into());
        if taken > self.burst {
            return Err(None);
        }
        let next = busy_until.max(now).saturating_add(taken);
        match next.checked_sub(self.burst) {
            Some(at) if at > now => Err(Some(Moment::from_nanos(at))),
            _ => Ok(next),
        }
    }

    /// When `cost` units could be taken.
    pub(super) fn next(&self, cost: u32, now: Moment) -> Result<(), Option<Moment>> {
        self.after(self.busy_until.load(Ordering::Relaxed), cost, now.as_nanos()).map(drop)
    }

    /// Gives units back that were not used.
    pub(super) fn cancel(&self, cost: u32) {
        let taken = self.interval.saturating_mul(cost.into());
        self.busy_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |b| Some(b.saturating_sub(taken)))
            .ok();
    }

    /// Takes units whether there is room or not: they come back one each interval.
    pub(super) fn force(&self, cost: u32, now: Moment) {
        let taken = self.interval.saturating_mul(cost.into());
        let later = |b: u64| Some(b.max(now.as_nanos()).saturating_add(taken));
        self.busy_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).ok();
    }

    /// Units taken that have not come back, of the burst.
    pub(crate) fn used(&self, now: Moment) -> u32 {
        let ahead = self.busy_until.load(Ordering::Relaxed).saturating_sub(now.as_nanos());
        u32::try_from(ahead.div_ceil(self.interval)).unwrap_or(u32::MAX)
    }

    /// When the `k`-th unit from now could be taken, if all are taken as soon as they can be.
    pub(super) fn place_at(&self, k: u64, now: Moment) -> Moment {
        let busy = self.busy_until.load(Ordering::Relaxed).max(now.as_nanos());
        let at = busy.saturating_add(self.interval.saturating_mul(k)).saturating_sub(self.burst);
        Moment::from_nanos(at.max(now.as_nanos()))
    }
}

#[cfg(not(martlet_loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    const SEC: Duration = Duration::from_secs(1);

    proptest! {
        #[test]
        fn l1_any_span_sees_at_most_the_burst_and_the_rate(
            limit in 1u32..1_000, burst in 1u32..50, steps in proptest::collection::vec((0u64..20_000_000, 1u32..4), 1..300),
        ) {
            let gcra = Gcra::new(limit, SEC, burst).unwrap();
            let (mut now, mut admitted) = (Moment::ZERO, Vec::new());
            for (pause, cost) in steps {
                now = now + Duration::from_nanos(pause);
                match gcra.try_acquire(cost, now) {
                    Ok(()) => admitted.push((now, u64::from(cost))),
                    // smithy client_rate_limiter "sub-nanosecond shortfall": a refusal without a pause spins.
                    Err(NextPlace { at }) => prop_assert!(at.is_none_or(|at| at > now)),
                }
            }
            for (i, (from, _)) in admitted.iter().enumerate() {
                let mut units = 0;
                for (to, cost) in &admitted[i..] {
                    units += cost;
                    let allowed = u128::from(burst) + to.since(*from).as_nanos() * u128::from(limit) / 1_000_000_000;
                    prop_assert!(u128::from(units) <= allowed, "{units} in {:?}", to.since(*from));
                }
            }
        }
    }

    #[test]
    fn l1_after_the_burst_one_unit_each_interval() {
        // governor #107, #249, #251: the burst was off by one.
        let gcra = Gcra::new(10, SEC, 5).unwrap();
        assert_eq!((0..9).map_while(|_| gcra.try_acquire(1, Moment::ZERO).ok()).count(), 5);
        let mut now = Moment::ZERO;
        for _ in 0..100 {
            let at = gcra.try_acquire(1, now).unwrap_err().at.unwrap();
            assert_eq!(at.since(now), SEC / 10);
            now = at;
            gcra.try_acquire(1, now).unwrap();
        }
    }

    #[test]
    fn l5_more_than_the_burst_is_never_possible() {
        let gcra = Gcra::new(10, SEC, 5).unwrap();
        assert_eq!(gcra.try_acquire(6, Moment::ZERO).unwrap_err().at, None);
        assert!(gcra.try_acquire(5, Moment::ZERO).is_ok());
    }

    #[test]
    fn leaky_bucket_30_an_idle_bucket_does_not_overflow() {
        let gcra = Gcra::new(1, Duration::from_secs(86_400), u32::MAX).map(|_| ());
        assert_eq!(gcra.unwrap_err().field(), "burst");
        let gcra = Gcra::new(1, SEC, 3).unwrap();
        assert_eq!(
            (0..9).map_while(|_| gcra.try_acquire(1, Moment::from_nanos(u64::MAX / 2)).ok()).count(),
            3
        );
        assert!(gcra.try_acquire(1, Moment::ZERO).is_err(), "a moment from before is refused, not granted");
    }

    #[test]
    fn two_threads_never_get_more_than_the_burst() {
        let gcra = Gcra::new(1, SEC, 1_000).unwrap();
        let got: usize = std::thread::scope(|s| {
            let take = || (0..2_000).filter(|_| gcra.try_acquire(1, Moment::ZERO).is_ok()).count();
            let threads: Vec<_> = (0..2).map(|_| s.spawn(take)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(got, 1_000);
    }
}
