//! Ask twice when an answer takes unusually long.

use crate::config::check;
use crate::{ConfigError, RetryBudget, lock};
use martlet_base::{Clock, Moment, Recovery};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

/// Sends a second copy of a request that takes longer than 95 % of the last ten minutes' did, and takes the answer that comes
/// first. Cheap to clone; clones share what they have learnt.
///
/// ```text
/// attempt 1 ----------------------------- answer? -> done, the other is dropped
///                 p95 went by, budget has room
///                 |
/// attempt 2 ------+---------------------- answer? -> done, the other is dropped
/// ```
///
/// **Only for requests that may be applied twice**: reads, and writes with an idempotency key. Each copy is paid for from the
/// [`RetryBudget`]; an empty one suppresses the copy and nothing else. At most one copy; none before 100 answers are
/// known. A copy that loses is dropped, and its fate is nobody's failure. **Not for** servers that are slow because they are
/// overloaded: 5 % more requests is what they need least.
#[derive(Clone)]
pub struct Hedge(Arc<Shared>);

struct Shared {
    options: HedgeBuilder,
    seen: Mutex<Seen>,
}

/// Builds a [`Hedge`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(remote = "Self", default = "Hedge::builder", deny_unknown_fields))]
#[must_use = "call build()"]
pub struct HedgeBuilder {
    percentile: f64,
    #[cfg_attr(feature = "serde", serde(with = "crate::config::duration"))]
    window: Duration,
    min_samples: u32,
    #[cfg_attr(feature = "serde", serde(with = "crate::config::duration"))]
    min_delay: Duration,
}

#[cfg(feature = "serde")]
crate::config::checked_on_load!(HedgeBuilder);

/// Durations by eighths of an octave of a microsecond, in slices of time.
struct Seen {
    slices: [Slice; SLICES as usize],
    current: u64,
}

#[derive(Clone)]
struct Slice {
    counts: Vec<u32>,
    total: u32,
}

const SLICES: u64 = 5;
const BUCKETS: usize = 8 * 40;

/// Which bucket a duration falls into.
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let octave = micros.ilog2();
    // The three bits below the highest.
    let eighth = if octave >= 3 { (micros >> (octave - 3)) & 7 } else { (micros << (3 - octave)) & 7 };
    usize::try_from(u64::from(octave) * 8 + eighth).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The first duration beyond a bucket.
fn above(bucket: usize) -> Duration {
    let next = bucket as u64 + 1;
    let (octave, eighth) = (next / 8, next % 8);
    Duration::from_micros(((8 + eighth) << octave).div_ceil(8))
}

impl HedgeBuilder {
    /// A copy goes out when the first attempt takes longer than this share of the others, in `(0, 1)`. 0.95 unless set.
    pub const fn percentile(mut self, share: f64) -> Self {
        self.percentile = share;
        self
    }

    /// How far it looks back. 10 minutes unless set.
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// It does nothing before so many answers are known. 100 unless set.
    pub const fn min_samples(mut self, answers: u32) -> Self {
        self.min_samples = answers;
        self
    }

    /// A copy never goes out before this much time. 10 ms unless set.
    pub const fn min_delay(mut self, delay: Duration) -> Self {
        self.min_delay = delay;
        self
    }

    fn check(&self) -> Result<(), ConfigError> {
        check(self.percentile > 0.0 && self.percentile < 1.0, "percentile", "must be above 0 and below 1")?;
        check(self.window >= Duration::from_nanos(SLICES), "window", "must be at least 5 ns")?;
        check(self.min_samples > 0, "min_samples", "must be above zero")
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// The percentile is outside `(0, 1)`, the window is below 5 ns, or the number of answers is zero.
    pub fn build(self) -> Result<Hedge, ConfigError> {
        self.check()?;
        let slice = Slice { counts: vec![0; BUCKETS], total: 0 };
        let seen = Seen { slices: std::array::from_fn(|_| slice.clone()), current: 0 };
        Ok(Hedge(Arc::new(Shared { options: self, seen: Mutex::new(seen) })))
    }
}

/// Both copies failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HedgeFailed<E> {
    /// How the first one failed.
    pub primary: E,
    /// How the copy failed, if there was one.
    pub copy: Option<E>,
}

impl<E: fmt::Display> fmt::Display for HedgeFailed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.copy {
            None => self.primary.fmt(f),
            Some(copy) => write!(f, "{}; and its copy: {copy}", self.primary),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for HedgeFailed<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.primary)
    }
}

impl Hedge {
    /// The 95th percentile of 10 minutes, from 100 answers on.
    pub const fn builder() -> HedgeBuilder {
        HedgeBuilder {
            percentile: 0.95,
            window: Duration::from_secs(600),
            min_samples: 100,
            min_delay: Duration::from_millis(10),
        }
    }

    /// After what time a copy should go out; `None` while too little is known.
    #[must_use]
    pub fn delay(&self, now: Moment) -> Option<Duration> {
        let Shared { options, seen } = &*self.0;
        let mut seen = lock(seen);
        seen.turn(options.window, now);
        let total: u64 = seen.slices.iter().map(|s| u64::from(s.total)).sum();
        if total < u64::from(options.min_samples) {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank within the total"
        )]
        let rank = (total as f64 * options.percentile).ceil() as u64;
        let mut below = 0;
        let found = (0..BUCKETS).find(|i| {
            below += seen.slices.iter().map(|s| u64::from(s.counts[*i])).sum::<u64>();
            below >= rank
        });
        found.map(|bucket| above(bucket).max(options.min_delay))
    }

    /// An attempt that was not hedged, or the first of two, was answered after `took`.
    pub fn record(&self, took: Duration, now: Moment) {
        let mut seen = lock(&self.0.seen);
        seen.turn(self.0.options.window, now);
        let index = usize::try_from(seen.current % SLICES).expect("below 5");
        let slice = &mut seen.slices[index];
        slice.counts[bucket(took)] = slice.counts[bucket(took)].saturating_add(1);
        slice.total = slice.total.saturating_add(1);
    }

    /// Runs `attempt(1)` and, when it takes too long and `budget` has room, `attempt(2)` beside it. The first success wins, and
    /// the other future is dropped. When one fails, the other is waited for.
    ///
    /// Cancel safe: dropping it drops both attempts.
    ///
    /// # Errors
    /// [`HedgeFailed`] with the errors of all that were made.
    pub async fn run<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        budget: Option<&RetryBudget>,
        clock: &Clock,
        mut attempt: impl FnMut(u32) -> F,
    ) -> Result<T, HedgeFailed<E>> {
        let started = clock.now();
        let delay = self.delay(started);
        let mut alarm = delay.map(|delay| clock.sleep_until(started + delay));
        let mut primary = pin!(Some(attempt(1)));
        let mut copy = pin!(None::<F>);
        let mut permit = None;
        let mut failed = (None, None);
        let outcome = poll_fn(|cx| {
            loop {
                if let Some(first) = primary.as_mut().as_pin_mut()
                    && let Poll::Ready(result) = first.poll(cx)
                {
                    match result {
                        Ok(value) => {
                            self.record(clock.now().since(started), clock.now());
                            return Poll::Ready(Some((value, false)));
                        }
                        Err(error) => {
                            failed.0 = Some(error);
                            primary.set(None);
                        }
                    }
                }
                if let Some(second) = copy.as_mut().as_pin_mut()
                    && let Poll::Ready(result) = second.poll(cx)
                {
                    match result {
                        Ok(value) => return Poll::Ready(Some((value, true))),
                        Err(error) => {
                            failed.1 = Some(error);
                            copy.set(None);
                        }
                    }
                }
                if primary.is_none() && copy.is_none() {
                    return Poll::Ready(None);
                }
                // It is unset as soon as there is a copy; a failure before it needs a retry after a pause, not a copy.
                let rings = alarm.as_mut().is_some_and(|alarm| Pin::new(alarm).poll(cx).is_ready());
                if !rings {
                    return Poll::Pending;
                }
                alarm = None;
                if let Some(budget) = budget {
                    let Some(mut paid) = budget.withdraw(Recovery::Transient, clock.now()) else { continue };
                    paid.sent();
                    permit = Some(paid);
                }
                copy.set(Some(attempt(2)));
            }
        })
        .await;
        match outcome {
            Some((value, by_copy)) => {
                if let (Some(permit), true) = (permit, by_copy) {
                    permit.succeeded();
                }
                Ok(value)
            }
            None => match failed {
                (Some(primary), copy) => Err(HedgeFailed { primary, copy }),
                (None, _) => unreachable!("it ends without a value only when the first attempt has failed"),
            },
        }
    }
}

impl fmt::Debug for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hedge").field(&self.0.options).finish()
    }
}

impl Seen {
    fn turn(&mut self, window: Duration, now: Moment) {
        let width = u64::try_from((window.as_nanos() / u128::from(SLICES)).max(1)).unwrap_or(u64::MAX);
        let slice = now.as_nanos() / width;
        if slice <= self.current {
            return;
        }
        for stale in (self.current + 1).max((slice + 1).saturating_sub(SLICES))..=slice {
            let index = usize::try_from(stale % SLICES).expect("below 5");
            self.slices[index].counts.fill(0);
            self.slices[index].total = 0;
        }
        self.current = slice;
    }
}

#[cfg(not(martlet_loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use martlet_base::ManualClock;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Knows a hundred answers, of 1 to 100 ms.
    fn taught() -> Hedge {
        let hedge = Hedge::builder().build().unwrap();
        (1..=100).for_each(|i| hedge.record(ms(i), Moment::ZERO));
        hedge
    }

    /// What each attempt does: after so many ms, `Ok` or `Err` of its number. Counts those begun, ended and dropped.
    struct Server<'a> {
        clock: &'a Clock,
        plan: [(u64, bool); 2],
        begun: AtomicU32,
        ended: AtomicU32,
    }

    impl Server<'_> {
        async fn answer(&self, number: u32) -> Result<u32, u32> {
            self.begun.fetch_add(1, SeqCst);
            let (after, good) = self.plan[number as usize - 1];
            self.clock.sleep(ms(after)).await;
            self.ended.fetch_add(1, SeqCst);
            if good { Ok(number) } else { Err(number) }
        }
    }

    /// Result, attempts begun and ended, milliseconds.
    async fn run(
        hedge: &Hedge,
        budget: Option<&RetryBudget>,
        plan: [(u64, bool); 2],
    ) -> (Result<u32, HedgeFailed<u32>>, u32, u32, u128) {
        let manual = ManualClock::new();
        let clock = manual.clock();
        let server = Server { clock: &clock, plan, begun: AtomicU32::new(0), ended: AtomicU32::new(0) };
        let result = manual.drive(hedge.run(budget, &clock, |number| server.answer(number))).await;
        (
            result,
            server.begun.load(SeqCst),
            server.ended.load(SeqCst),
            clock.now().since(Moment::ZERO).as_millis(),
        )
    }

    #[test]
    fn h1_nothing_below_a_hundred_answers_then_the_95th_percentile_of_ten_minutes() {
        let hedge = Hedge::builder().build().unwrap();
        (1..100).for_each(|i| hedge.record(ms(i), Moment::ZERO));
        assert_eq!(hedge.delay(Moment::ZERO), None);
        hedge.record(ms(100), Moment::ZERO);
        let delay = hedge.delay(Moment::ZERO).unwrap();
        assert!((ms(95)..=ms(107)).contains(&delay), "{delay:?}");
        assert_eq!(
            hedge.delay(Moment::ZERO + Duration::from_secs(600)),
            None,
            "ten minutes later it knows nothing"
        );
    }

    #[test]
    fn h1_a_bucket_is_an_eighth_of_an_octave() {
        for micros in (1..3_000_000).step_by(97).chain([1, 2, 3, 7, 8, u64::MAX]) {
            let i = bucket(Duration::from_micros(micros));
            let upper = above(i);
            if i < BUCKETS - 1 {
                let upper = u64::try_from(upper.as_micros()).unwrap();
                assert!(upper > micros && upper <= micros + micros / 8 + 1, "{micros}: {upper}");
            }
        }
    }

    #[tokio::test]
    async fn h3_the_copy_that_answers_first_wins_and_the_other_is_dropped() {
        // tower-resilience #393: losers kept running.
        let (result, begun, ended, took) = run(&taught(), None, [(5_000, true), (50, true)]).await;
        assert_eq!((result, begun, ended), (Ok(2), 2, 1));
        assert!((145..160).contains(&took), "{took}");
        let (result, begun, ended, _) = run(&taught(), None, [(120, true), (50_000, true)]).await;
        assert_eq!((result, begun, ended), (Ok(1), 2, 1));
        let (result, begun, ..) = run(&taught(), None, [(90, true), (1, true)]).await;
        assert_eq!((result, begun), (Ok(1), 1), "fast enough: no copy");
    }

    #[tokio::test]
    async fn h4_an_empty_budget_suppresses_only_the_copy() {
        // failsafe-go #141
        let budget = RetryBudget::builder().capacity(14).refill_per_second(0.0).build().unwrap();
        let (result, begun, ..) = run(&taught(), Some(&budget), [(5_000, true), (10_000, true)]).await;
        assert_eq!((result, begun, budget.available(Moment::ZERO)), (Ok(1), 2, 0));
        let (result, begun, ..) = run(&taught(), Some(&budget), [(5_000, true), (50, true)]).await;
        assert_eq!((result, begun, budget.refused()), (Ok(1), 1, 1));
    }

    #[tokio::test]
    async fn h4_a_copy_that_wins_brings_its_cost_back() {
        let budget = RetryBudget::builder().refill_per_second(0.0).build().unwrap();
        run(&taught(), Some(&budget), [(5_000, true), (50, true)]).await.0.unwrap();
        assert_eq!((budget.available(Moment::ZERO), budget.retries_in_flight()), (500, 0));
    }

    #[tokio::test]
    async fn h5_when_all_fail_the_first_ones_error_comes_with_the_copys() {
        let (result, ..) = run(&taught(), None, [(300, false), (50, false)]).await;
        assert_eq!(result, Err(HedgeFailed { primary: 1, copy: Some(2) }));
        assert_eq!(result.unwrap_err().to_string(), "1; and its copy: 2");
        let (result, begun, _, took) = run(&taught(), None, [(50, false), (50, true)]).await;
        assert_eq!(
            (result, begun, took),
            (Err(HedgeFailed { primary: 1, copy: None }), 1, 50),
            "no copy of a failure"
        );
        let (result, ..) = run(&taught(), None, [(150, false), (500, true)]).await;
        assert_eq!(result, Ok(2), "a copy that is under way is waited for");
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for (builder, field) in [
            (Hedge::builder().percentile(1.0), "percentile"),
            (Hedge::builder().percentile(f64::NAN), "percentile"),
            (Hedge::builder().window(Duration::ZERO), "window"),
            (Hedge::builder().min_samples(0), "min_samples"),
        ] {
            assert_eq!(builder.build().unwrap_err().field(), field);
        }
    }
}
