//! Stop asking a server that is down.

use crate::config::check;
use crate::{Backoff, ConfigError, Jitter, lock};
use martlet_base::{BreakerState, Moment};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The settings of a [`Breaker`]; made by [`Breaker::builder`].
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerOptions {
    name: Arc<str>,
    window: Duration,
    buckets: u32,
    failure_rate: f64,
    min_calls: u32,
    consecutive_failures: Option<u32>,
    open_for: Duration,
    max_open_for: Duration,
    probes: u32,
    half_open_timeout: Duration,
}

/// Builds a [`Breaker`].
#[derive(Clone, Debug)]
#[must_use = "call build()"]
pub struct BreakerBuilder(BreakerOptions);

impl BreakerBuilder {
    /// Results older than `length` are forgotten, one of `buckets` slices at a time. 30 s in 10 unless set.
    pub const fn window(mut self, length: Duration, buckets: u32) -> Self {
        (self.0.window, self.0.buckets) = (length, buckets);
        self
    }

    /// Opens when at least this share of the window's calls failed, in `(0, 1]`. 0.5 unless set.
    pub const fn failure_rate(mut self, rate: f64) -> Self {
        self.0.failure_rate = rate;
        self
    }

    /// The failure rate says nothing before this many calls. 20 unless set.
    pub const fn min_calls(mut self, calls: u32) -> Self {
        self.0.min_calls = calls;
        self
    }

    /// Opens after this many failures in a row, however few calls there were; `None` turns the rule off. 10 unless set.
    pub fn consecutive_failures(mut self, failures: impl Into<Option<u32>>) -> Self {
        self.0.consecutive_failures = failures.into();
        self
    }

    /// How long it stays open: `first`, then twice as long each time the probes fail, up to `max`.
    /// 5 s up to 300 s unless set.
    pub const fn open_for(mut self, first: Duration, max: Duration) -> Self {
        (self.0.open_for, self.0.max_open_for) = (first, max);
        self
    }

    /// How many calls may probe whether the server is back. With up to 3, one failure opens it again; with more, their
    /// failure rate decides. 3 unless set.
    pub const fn probes(mut self, probes: u32) -> Self {
        self.0.probes = probes;
        self
    }

    /// Probes that have not come to a decision after this time count as failed, so that it cannot stay half open for
    /// ever. Set it to at least twice the time limit of a call. 30 s unless set.
    pub const fn half_open_timeout(mut self, timeout: Duration) -> Self {
        self.0.half_open_timeout = timeout;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// A setting is zero, the rate is outside `(0, 1]`, or the longest open time is below the first.
    pub fn build(self) -> Result<Breaker, ConfigError> {
        let o = &self.0;
        check(!o.name.is_empty(), "name", "must not be empty")?;
        check((1..=1_000).contains(&o.buckets), "window", "must have between 1 and 1,000 buckets")?;
        check(
            !(o.window / o.buckets).is_zero(),
            "window",
            "must be longer than its number of buckets in ns",
        )?;
        check(o.failure_rate > 0.0 && o.failure_rate <= 1.0, "failure_rate", "must be above 0, at most 1")?;
        check(o.min_calls > 0, "min_calls", "must be above zero")?;
        check(o.consecutive_failures != Some(0), "consecutive_failures", "must be above zero, or None")?;
        check(o.probes > 0, "probes", "must be above zero: nothing else closes an open breaker")?;
        check(!o.half_open_timeout.is_zero(), "half_open_timeout", "must be above zero")?;
        let open_for = Backoff::exponential(o.open_for, 2.0)
            .max_delay(o.max_open_for)
            .jitter(Jitter::None)
            .build()
            .map_err(|e| ConfigError::new("open_for", e.reason().to_owned()))?;
        Ok(Breaker(Arc::new(Shared {
            state: Mutex::new(State {
                generation: 0,
                reopened: 0,
                phase: Phase::Closed(Window::new(o.buckets)),
            }),
            options: self.0,
            open_for,
        })))
    }
}

/// A circuit breaker: after too many failures it refuses calls at once, for a while, then lets a few through to see
/// whether the server is back. Cheap to clone; clones are one breaker.
///
/// It opens when at least half of the last 30 seconds' calls failed (and there were at least 20), or after 10 failures in
/// a row. It has no clock and no task: every method takes the present moment, and moments of one clock only.
///
/// Take the permit as late as possible, after every wait: a permit in hand may be the probe that others wait for.
#[derive(Clone)]
pub struct Breaker(Arc<Shared>);

struct Shared {
    options: BreakerOptions,
    open_for: Backoff,
    state: Mutex<State>,
}

struct State {
    /// Grows with every change of phase. A permit of an older generation counts nowhere.
    generation: u64,
    /// How often the probes have failed since it was last closed.
    reopened: u32,
    phase: Phase,
}

enum Phase {
    Closed(Window),
    Open { until: Moment },
    HalfOpen(Probing),
}

struct Probing {
    expires: Moment,
    in_flight: u32,
    successes: u32,
    failures: u32,
    /// Probes dropped without a result.
    dropped: u32,
}

/// So many probes dropped without a result count as failed: their callers gave up on a server that hangs.
const MOST_DROPPED: u32 = 3;

/// What a call says about the server's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It answered.
    Success,
    /// It is ill: 5xx, timeout, broken connection.
    Failure,
    /// It says nothing about its health (other 4xx, 429, 401, a cancelled call). Gives the permit back, counts nowhere.
    Neutral,
}

/// The breaker is open: nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker {name} is open")]
#[non_exhaustive]
pub struct BreakerOpen {
    /// Which breaker.
    pub name: Arc<str>,
    /// When it will let a probe through; while probes are under way, when to look again.
    pub retry_at: Moment,
}

impl Breaker {
    /// A breaker called `name` in errors and telemetry.
    pub fn builder(name: &str) -> BreakerBuilder {
        BreakerBuilder(BreakerOptions {
            name: name.into(),
            window: Duration::from_secs(30),
            buckets: 10,
            failure_rate: 0.5,
            min_calls: 20,
            consecutive_failures: Some(10),
            open_for: Duration::from_secs(5),
            max_open_for: Duration::from_secs(300),
            probes: 3,
            half_open_timeout: Duration::from_secs(30),
        })
    }

    /// Its settings.
    #[must_use]
    pub fn options(&self) -> &BreakerOptions {
        &self.0.options
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.options.name
    }

    /// Whether a call would be let through, without taking a permit.
    ///
    /// # Errors
    /// [`BreakerOpen`] when it would be refused.
    pub fn peek(&self, now: Moment) -> Result<(), BreakerOpen> {
        let mut state = lock(&self.0.state);
        state.roll(&self.0, now);
        state.admits(&self.0, now)
    }

    /// Lets a call through.
    ///
    /// # Errors
    /// [`BreakerOpen`] when it is open, or half open with all probes under way.
    pub fn try_acquire(&self, now: Moment) -> Result<BreakerPermit, BreakerOpen> {
        let mut state = lock(&self.0.state);
        let before = state.name();
        state.roll(&self.0, now);
        state.admits(&self.0, now)?;
        if let Phase::Open { .. } = state.phase {
            let expires = now + self.0.options.half_open_timeout;
            state.enter(Phase::HalfOpen(Probing {
                expires,
                in_flight: 0,
                successes: 0,
                failures: 0,
                dropped: 0,
            }));
        }
        if let Phase::HalfOpen(probing) = &mut state.phase {
            probing.in_flight += 1;
        }
        let after = state.name();
        Ok(BreakerPermit {
            breaker: self.clone(),
            generation: state.generation,
            transition: (before != after).then_some((before, after)),
        })
    }

    /// The state at `now`. It stays [`Open`](BreakerState::Open) until the first probe is let through.
    #[must_use]
    pub fn state(&self, now: Moment) -> BreakerState {
        let mut state = lock(&self.0.state);
        state.roll(&self.0, now);
        state.name()
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0.state).name();
        f.debug_struct("Breaker")
            .field("name", &self.0.options.name)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

impl State {
    const fn name(&self) -> BreakerState {
        match self.phase {
            Phase::Closed(_) => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen(_) => BreakerState::HalfOpen,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.generation += 1;
        self.phase = phase;
    }

    fn open(&mut self, shared: &Shared, from: Moment) {
        let until = from + shared.open_for.delay_without_jitter(self.reopened);
        self.reopened = self.reopened.saturating_add(1);
        self.enter(Phase::Open { until });
    }

    /// Ends a round of probes that came to no decision.
    fn roll(&mut self, shared: &Shared, now: Moment) {
        match &self.phase {
            Phase::HalfOpen(probing) if probing.dropped >= MOST_DROPPED => self.open(shared, now),
            Phase::HalfOpen(probing) if probing.expires <= now => {
                let expired = probing.expires;
                self.open(shared, expired);
            }
            _ => {}
        }
    }

    fn admits(&self, shared: &Shared, now: Moment) -> Result<(), BreakerOpen> {
        let retry_at = match &self.phase {
            Phase::Open { until } if *until > now => *until,
            Phase::HalfOpen(p) if p.in_flight + p.successes + p.failures >= shared.options.probes => {
                p.expires.min(now + shared.options.open_for)
            }
            _ => return Ok(()),
        };
        Err(BreakerOpen { name: Arc::clone(&shared.options.name), retry_at })
    }

    fn record(&mut self, shared: &Shared, failed: bool, now: Moment) {
        let options = &shared.options;
        match &mut self.phase {
            Phase::Closed(window) => {
                window.record(failed, now, options);
                let too_many = options.consecutive_failures.is_some_and(|k| window.consecutive >= k);
                if too_many || window.rate_reached(now, options) {
                    self.open(shared, now);
                }
            }
            Phase::HalfOpen(p) => {
                if failed {
                    p.failures += 1;
                } else {
                    p.successes += 1;
                }
                let results = p.successes + p.failures;
                let rate = f64::from(p.failures) / f64::from(results);
                if failed && options.probes <= 3 {
                    self.open(shared, now);
                } else if results >= options.probes {
                    if rate >= options.failure_rate {
                        self.open(shared, now);
                    } else {
                        self.reopened = 0;
                        self.enter(Phase::Closed(Window::new(options.buckets)));
                    }
                }
            }
            Phase::Open { .. } => {}
        }
    }
}

/// Leave to make one call. [`record`](Self::record) its verdict; a drop records nothing and gives a probe back.
#[derive(Debug)]
#[must_use = "a permit that is dropped records nothing"]
pub struct BreakerPermit {
    breaker: Breaker,
    generation: u64,
    transition: Option<(BreakerState, BreakerState)>,
}

impl BreakerPermit {
    /// The change of state that letting this call through made, as `(from, to)`: the first probe makes the breaker half
    /// open.
    #[must_use]
    pub const fn transition(&self) -> Option<(BreakerState, BreakerState)> {
        self.transition
    }

    /// Records how the call went. Returns the change of state it made, as `(from, to)`.
    ///
    /// A call that began before the breaker's last change of state counts nowhere.
    pub fn record(self, verdict: Verdict, now: Moment) -> Option<(BreakerState, BreakerState)> {
        let shared = &self.breaker.0;
        let mut state = lock(&shared.state);
        let before = state.name();
        state.roll(shared, now);
        if state.generation == self.generation {
            state.release();
            match verdict {
                Verdict::Success => state.record(shared, false, now),
                Verdict::Failure => state.record(shared, true, now),
                Verdict::Neutral => {}
            }
        }
        let after = state.name();
        drop(state);
        // What the drop gives back has been given back.
        self.forget();
        (before != after).then_some((before, after))
    }

    fn forget(mut self) {
        self.generation = u64::MAX;
    }
}

impl State {
    fn release(&mut self) {
        if let Phase::HalfOpen(probing) = &mut self.phase {
            probing.in_flight -= 1;
        }
    }
}

impl Drop for BreakerPermit {
    fn drop(&mut self) {
        let mut state = lock(&self.breaker.0.state);
        if state.generation == self.generation {
            state.release();
            if let Phase::HalfOpen(probing) = &mut state.phase {
                probing.dropped += 1;
            }
        }
    }
}

/// The results of the last while, in slices of time.
struct Window {
    buckets: Vec<Bucket>,
    consecutive: u32,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    /// The number of the slice of time that it counts.
    slice: u64,
    calls: u32,
    failures: u32,
}

impl Window {
    fn new(buckets: u32) -> Self {
        Self { buckets: vec![Bucket::default(); buckets as usize], consecutive: 0 }
    }

    fn slice(now: Moment, options: &BreakerOptions) -> u64 {
        let width = (options.window / options.buckets).as_nanos();
        now.as_nanos() / u64::try_from(width).unwrap_or(u64::MAX)
    }

    fn record(&mut self, failed: bool, now: Moment, options: &BreakerOptions) {
        let slice = Self::slice(now, options);
        let index = usize::try_from(slice % self.buckets.len() as u64).expect("below the number of buckets");
        let bucket = &mut self.buckets[index];
        if bucket.slice < slice {
            *bucket = Bucket { slice, calls: 0, failures: 0 };
        }
        bucket.calls = bucket.calls.saturating_add(1);
        bucket.failures = bucket.failures.saturating_add(failed.into());
        self.consecutive = if failed { self.consecutive.saturating_add(1) } else { 0 };
    }

    fn rate_reached(&self, now: Moment, options: &BreakerOptions) -> bool {
        let oldest = (Self::slice(now, options) + 1).saturating_sub(self.buckets.len() as u64);
        let (calls, failures) = self
            .buckets
            .iter()
            .filter(|b| b.slice >= oldest)
            .fold((0u64, 0u64), |(c, f), b| (c + u64::from(b.calls), f + u64::from(b.failures)));
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let rate = failures as f64 / calls.max(1) as f64;
        calls >= u64::from(options.min_calls) && rate >= options.failure_rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BreakerState::{Closed, HalfOpen, Open};
    use Verdict::{Failure, Neutral, Success};

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    fn default() -> Breaker {
        Breaker::builder("test").build().unwrap()
    }

    fn call(b: &Breaker, verdict: Verdict, now: Moment) -> Option<(BreakerState, BreakerState)> {
        b.try_acquire(now).unwrap().record(verdict, now)
    }

    /// Open since 0, half open from 5 s on.
    fn opened() -> Breaker {
        let b = default();
        (0..10).for_each(|_| _ = call(&b, Failure, at(0)));
        assert_eq!(b.state(at(0)), Open);
        b
    }

    #[test]
    fn b1_b2_opens_at_exactly_half_of_at_least_twenty_calls() {
        let b = default();
        for i in 0..19 {
            assert_eq!(call(&b, if i % 2 == 0 { Success } else { Failure }, at(i)), None);
        }
        assert_eq!(call(&b, Failure, at(20)), Some((Closed, Open)));
    }

    #[test]
    fn b1_below_half_it_stays_closed_at_any_volume() {
        // unkey #6568: a count alone trips on high traffic.
        let b = default();
        for i in 0..100_000 {
            call(&b, if i % 100 < 51 { Success } else { Failure }, at(0));
            if i % 5 == 0 {
                call(&b, Success, at(0));
            }
        }
        let b = Breaker::builder("rate").consecutive_failures(None).build().unwrap();
        for i in 0..100_000 {
            assert_eq!(call(&b, if i % 100 < 51 { Success } else { Failure }, at(i / 10)), None);
        }
    }

    #[test]
    fn b1_ten_failures_in_a_row_open_it_with_few_calls() {
        let b = default();
        (0..9).for_each(|_| assert_eq!(call(&b, Failure, at(0)), None));
        assert_eq!(call(&b, Success, at(0)), None);
        (0..9).for_each(|_| assert_eq!(call(&b, Failure, at(0)), None));
        assert_eq!(call(&b, Failure, at(0)), Some((Closed, Open)));
    }

    #[test]
    fn b4_results_older_than_the_window_are_forgotten() {
        let b = Breaker::builder("w").consecutive_failures(None).build().unwrap();
        (0..19).for_each(|_| assert_eq!(call(&b, Failure, at(0)), None));
        assert_eq!(call(&b, Failure, at(30_000)), None, "the 19 failures are 30 s old");
        (0..18).for_each(|_| assert_eq!(call(&b, Failure, at(59_999)), None));
        assert_eq!(call(&b, Failure, at(59_999)), Some((Closed, Open)), "20 within the last 30 s");
    }

    #[test]
    fn b7_only_three_probes_pass_and_three_successes_close_it() {
        let b = opened();
        assert_eq!(b.try_acquire(at(4_999)).unwrap_err().retry_at, at(5_000));
        let probes: Vec<_> = (0..3).map(|_| b.try_acquire(at(5_000)).unwrap()).collect();
        assert_eq!(probes[0].transition(), Some((Open, HalfOpen)));
        assert_eq!(probes[1].transition(), None);
        let refused = b.try_acquire(at(5_000)).unwrap_err();
        assert!(refused.retry_at > at(5_000));
        let changes: Vec<_> = probes.into_iter().filter_map(|p| p.record(Success, at(5_100))).collect();
        assert_eq!(changes, [(HalfOpen, Closed)]);
    }

    #[test]
    fn b13_probes_taken_by_racing_threads_are_never_more_than_allowed() {
        // resilience4j #1432
        for _ in 0..200 {
            let b = opened();
            let got: Vec<_> = std::thread::scope(|s| {
                let tries: Vec<_> = (0..8).map(|_| s.spawn(|| b.try_acquire(at(5_000)).ok())).collect();
                tries.into_iter().filter_map(|t| t.join().unwrap()).collect()
            });
            assert_eq!(got.len(), 3);
        }
    }

    #[test]
    fn b8_with_more_probes_one_flaky_failure_does_not_reopen_it() {
        // Polly #2381
        let b = Breaker::builder("p").probes(5).build().unwrap();
        (0..10).for_each(|_| _ = call(&b, Failure, at(0)));
        assert_eq!(call(&b, Failure, at(5_000)), None);
        let changes: Vec<_> = (0..4).filter_map(|_| call(&b, Success, at(5_000))).collect();
        assert_eq!(changes, [(HalfOpen, Closed)]);
    }

    #[test]
    fn b5_each_failed_round_of_probes_doubles_the_open_time_up_to_the_cap() {
        let b = opened();
        let mut now = at(0);
        for open_secs in [5, 10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(b.peek(now).unwrap_err().retry_at, now + Duration::from_secs(open_secs));
            now = now + Duration::from_secs(open_secs);
            assert_eq!(call(&b, Failure, now), Some((HalfOpen, Open)));
        }
        now = now + Duration::from_secs(300);
        (0..3).for_each(|_| _ = call(&b, Success, now));
        assert_eq!(b.state(now), Closed);
        (0..9).for_each(|_| assert_eq!(call(&b, Failure, now), None, "#547: old counts are gone"));
        assert_eq!(call(&b, Failure, now), Some((Closed, Open)));
        assert_eq!(b.peek(now).unwrap_err().retry_at, now + Duration::from_secs(5));
    }

    #[test]
    fn b9_probes_that_never_end_reopen_it() {
        let b = opened();
        let stuck: Vec<_> = (0..3).map(|_| b.try_acquire(at(5_000)).unwrap()).collect();
        assert_eq!(b.state(at(34_999)), HalfOpen);
        assert_eq!(b.state(at(35_000)), Open);
        let fresh = b.try_acquire(at(45_000)).unwrap();
        for p in stuck {
            assert_eq!(p.record(Failure, at(45_001)), None, "an old permit counts nowhere");
        }
        assert_eq!(fresh.record(Failure, at(45_002)), Some((HalfOpen, Open)));
    }

    #[test]
    fn b10_a_dropped_probe_is_given_back_and_three_reopen_it() {
        let b = opened();
        drop(b.try_acquire(at(5_000)).unwrap());
        drop(b.try_acquire(at(5_000)).unwrap());
        let three: Vec<_> = (0..3).map(|_| b.try_acquire(at(5_000)).unwrap()).collect();
        assert!(b.peek(at(5_000)).is_err());
        drop(three);
        assert_eq!(b.state(at(5_001)), Open);
    }

    #[test]
    fn b11_neutral_results_release_the_probe_and_decide_nothing() {
        // resilience4j #544
        let b = opened();
        (0..50).for_each(|_| assert_eq!(call(&b, Neutral, at(5_000)), None));
        assert_eq!(b.state(at(5_000)), HalfOpen);
        assert!(b.peek(at(5_000)).is_ok());
        let closed = default();
        (0..100).for_each(|_| assert_eq!(call(&closed, Neutral, at(0)), None));
    }

    #[test]
    fn b12_a_late_result_of_an_older_state_counts_nowhere() {
        let b = default();
        let late: Vec<_> = (0..20).map(|_| b.try_acquire(at(0)).unwrap()).collect();
        let mut late = late.into_iter();
        late.by_ref().take(10).for_each(|p| _ = p.record(Failure, at(1)));
        assert_eq!(b.state(at(1)), Open);
        let probe = b.try_acquire(at(5_001)).unwrap();
        late.for_each(|p| assert_eq!(p.record(Success, at(5_002)), None));
        assert_eq!(b.state(at(5_002)), HalfOpen, "successes from before do not close it");
        assert_eq!(probe.record(Failure, at(5_003)), Some((HalfOpen, Open)));
    }

    #[test]
    fn peeking_takes_no_probe() {
        // resilience4j #858
        let b = opened();
        (0..100).for_each(|_| assert!(b.peek(at(5_000)).is_ok()));
        assert_eq!((0..2).map(|_| b.try_acquire(at(5_000))).filter(Result::is_ok).count(), 2);
    }

    #[test]
    fn b19_settings_that_cannot_work_are_refused() {
        let b = || Breaker::builder("x");
        let s = Duration::from_secs;
        for (builder, field) in [
            (Breaker::builder(""), "name"),
            (b().window(s(0), 10), "window"),
            (b().window(s(1), 0), "window"),
            (b().failure_rate(0.0), "failure_rate"),
            (b().failure_rate(f64::NAN), "failure_rate"),
            (b().failure_rate(1.1), "failure_rate"),
            (b().min_calls(0), "min_calls"),
            (b().consecutive_failures(0), "consecutive_failures"),
            (b().open_for(s(0), s(1)), "open_for"),
            (b().open_for(s(2), s(1)), "open_for"),
            (b().probes(0), "probes"),
            (b().half_open_timeout(s(0)), "half_open_timeout"),
        ] {
            assert_eq!(builder.build().unwrap_err().field(), field);
        }
    }
}
