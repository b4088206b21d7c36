use crate::config::check;
use crate::{ConfigError, LimitError, LimitPermit, Limits, NextPlace, lock};
use martlet_base::{Clock, Deadline, Moment};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A cap on simultaneous requests that finds its own size: the adaptive request concurrency of
/// [Vector](https://vector.dev/docs/architecture/arc/), for servers that say nothing about their limits. Cheap to clone.
///
/// Once per mean round trip it looks back. When the server throttled, it shrinks to 0.7. Otherwise only a cap that was reached
/// changes: it grows by one when answers came as fast as usual, and shrinks to 0.9 when they came slower than usual by 2.5
/// deviations. Below the cap the time of answers says nothing about the cap, and is only learnt from. What is in flight is never
/// revoked: a smaller cap is reached as requests end.
///
/// ```text
///              reached, as fast as usual: +1             reached, slower: * 0.9; throttled: * 0.7
///   [ 4 ] ------------------------------------> [ limit ] <------------------------------------
///                            1 <= limit <= max (200)
/// ```
///
/// Measure **per attempt**, never a call with its retries. Defaults: start 4, from 1 to 200, mean over answers with weight 0.4.
/// Signals: [`snapshot`](Self::snapshot). **Not for** a quota that is published ([`Limits`]), or where latency says nothing
/// about load.
#[derive(Clone)]
pub struct AdaptiveConcurrency(Arc<Shared>);

struct Shared {
    limits: Limits,
    options: AdaptiveBuilder,
    state: Mutex<State>,
}

struct State {
    limit: u32,
    /// The usual round trip in seconds, and its variance.
    past: Option<(f64, f64)>,
    /// Sum and number of the round trips since the last look.
    current: (f64, u32),
    reached: bool,
    pressure: bool,
    next_look: Moment,
    last_rtt: Duration,
    last_change: Option<LimitChange>,
}

/// Builds an [`AdaptiveConcurrency`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(remote = "Self", default = "AdaptiveConcurrency::builder", deny_unknown_fields)
)]
#[must_use = "call build()"]
pub struct AdaptiveBuilder {
    start: u32,
    min: u32,
    max: u32,
    max_queue: usize,
    weight: f64,
    deviations: f64,
    slower: f64,
    throttled: f64,
}

#[cfg(feature = "serde")]
crate::config::checked_on_load!(AdaptiveBuilder);

/// How an attempt ended, as far as the limit is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// An answer: its time counts.
    Success,
    /// 429, 503, no answer in time: too much.
    BackPressure,
    /// It says nothing about load: its time does not count. A dropped permit says this.
    Ignored,
}

/// Why a limit changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitChange {
    /// It was reached, and answers were as fast as usual.
    Reached,
    /// It was reached, and answers were slower than usual.
    Slower,
    /// The server throttled.
    Throttled,
}

impl LimitChange {
    /// The stable name used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Slower => "slower",
            Self::Throttled => "throttled",
        }
    }
}

/// What an [`AdaptiveConcurrency`] knows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct AdaptiveSnapshot {
    /// `adaptive_concurrency_limit`
    pub limit: u32,
    /// `adaptive_concurrency_in_flight`
    pub in_flight: usize,
    /// `adaptive_concurrency_observed_rtt`: the last successful attempt's.
    pub observed_rtt: Duration,
    /// `adaptive_concurrency_averaged_rtt`
    pub averaged_rtt: Option<Duration>,
    /// Why the limit changed last.
    pub last_change: Option<LimitChange>,
}

impl AdaptiveBuilder {
    /// The first limit. 4 unless set.
    pub const fn start(mut self, requests: u32) -> Self {
        self.start = requests;
        self
    }

    /// The bounds of the limit. 1 to 200 unless set.
    pub const fn between(mut self, min: u32, max: u32) -> Self {
        (self.min, self.max) = (min, max);
        self
    }

    /// At most so many callers wait. 1,024 unless set.
    pub const fn max_queue(mut self, callers: usize) -> Self {
        self.max_queue = callers;
        self
    }

    /// What a look contributes to the usual round trip, in `(0, 1)`. 0.4 unless set.
    pub const fn weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// So many standard deviations above the usual are slower. 2.5 unless set.
    pub const fn deviations(mut self, deviations: f64) -> Self {
        self.deviations = deviations;
        self
    }

    /// What is left of the limit when it is reached and answers are slower, and when the server throttles, in `(0, 1)`. 0.9 and 0.7 unless set.
    pub const fn shrink(mut self, slower: f64, throttled: f64) -> Self {
        (self.slower, self.throttled) = (slower, throttled);
        self
    }

    fn check(&self) -> Result<(), ConfigError> {
        check(self.min >= 1 && self.min <= self.max, "between", "needs 1 <= min <= max")?;
        check((self.min..=self.max).contains(&self.start), "start", "must be between min and max")?;
        let share = |x: f64| x > 0.0 && x < 1.0;
        check(share(self.weight), "weight", "must be above 0 and below 1")?;
        check(share(self.slower) && share(self.throttled), "shrink", "must be above 0 and below 1")?;
        check(self.deviations.is_finite() && self.deviations >= 0.0, "deviations", "must not be negative")
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// `1 <= min <= start <= max` does not hold, or a share is outside `(0, 1)`.
    pub fn build(self) -> Result<AdaptiveConcurrency, ConfigError> {
        self.check()?;
        Ok(AdaptiveConcurrency(Arc::new(Shared {
            limits: Limits::builder().concurrency(self.start).max_queue(self.max_queue).build()?,
            state: Mutex::new(State {
                limit: self.start,
                past: None,
                current: (0.0, 0),
                reached: false,
                pressure: false,
                next_look: Moment::ZERO,
                last_rtt: Duration::ZERO,
                last_change: None,
            }),
            options: self,
        })))
    }
}

impl AdaptiveConcurrency {
    /// Vector's defaults, but a start of 4.
    pub const fn builder() -> AdaptiveBuilder {
        AdaptiveBuilder {
            start: 4,
            min: 1,
            max: 200,
            max_queue: 1_024,
            weight: 0.4,
            deviations: 2.5,
            slower: 0.9,
            throttled: 0.7,
        }
    }

    /// Waits for a place. Cancel safe.
    ///
    /// # Errors
    /// As [`Limits::acquire`].
    pub async fn acquire(&self, deadline: Deadline, clock: &Clock) -> Result<AdaptivePermit, LimitError> {
        let permit = self.0.limits.acquire(1, deadline, clock).await?;
        Ok(self.begin(permit, clock.now()))
    }

    /// Takes a place if one is free and nobody waits for it.
    ///
    /// # Errors
    /// [`NextPlace`] otherwise.
    pub fn try_acquire(&self, now: Moment) -> Result<AdaptivePermit, NextPlace> {
        let permit = self.0.limits.try_acquire(1, now)?;
        Ok(self.begin(permit, now))
    }

    fn begin(&self, permit: LimitPermit<'_>, started: Moment) -> AdaptivePermit {
        let in_flight = self.0.limits.in_flight();
        let mut state = lock(&self.0.state);
        state.reached |= in_flight >= state.limit as usize;
        drop(state);
        AdaptivePermit { owner: self.clone(), permit: permit.into_owned(), started }
    }

    /// What it knows.
    #[must_use]
    pub fn snapshot(&self) -> AdaptiveSnapshot {
        let in_flight = self.0.limits.in_flight();
        let state = lock(&self.0.state);
        AdaptiveSnapshot {
            limit: state.limit,
            in_flight,
            observed_rtt: state.last_rtt,
            averaged_rtt: state.past.map(|(mean, _)| Duration::from_secs_f64(mean)),
            last_change: state.last_change,
        }
    }

    fn observe(&self, rtt: Duration, signal: Signal, now: Moment) {
        let mut state = lock(&self.0.state);
        match signal {
            Signal::Success => {
                state.last_rtt = rtt;
                state.current.0 += rtt.as_secs_f64();
                state.current.1 += 1;
            }
            Signal::BackPressure => state.pressure = true,
            Signal::Ignored => return,
        }
        if now < state.next_look {
            return;
        }
        let before = state.limit;
        state.look(&self.0.options, rtt, now);
        let after = state.limit;
        drop(state);
        if before != after {
            self.0.limits.set_concurrency(after);
        }
    }
}

impl State {
    /// Once per mean round trip.
    fn look(&mut self, options: &AdaptiveBuilder, rtt: Duration, now: Moment) {
        let mean = (self.current.1 > 0).then(|| self.current.0 / f64::from(self.current.1));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a u32")]
        let shrunk = |limit: u32, share: f64| ((f64::from(limit) * share) as u32).max(options.min);
        let slower = match (mean, self.past) {
            (Some(mean), Some((usual, variance))) => {
                let threshold = usual + options.deviations * variance.sqrt();
                // Answers that all take the same time have no deviation: as slow as usual is not slower.
                mean >= threshold && mean > usual * (1.0 + 1e-9)
            }
            _ => false,
        };
        let as_fast =
            matches!((mean, self.past), (Some(mean), Some((usual, _))) if mean <= usual * (1.0 + 1e-9));
        // A cap that was not reached did not make answers slow, nor does their speed call for more.
        let change = if self.pressure {
            Some((shrunk(self.limit, options.throttled), LimitChange::Throttled))
        } else if self.reached && slower {
            Some((shrunk(self.limit, options.slower), LimitChange::Slower))
        } else if self.reached && as_fast && self.limit < options.max {
            Some((self.limit + 1, LimitChange::Reached))
        } else {
            None
        };
        if let Some((limit, why)) = change {
            (self.limit, self.last_change) = (limit, Some(why));
        }
        if let Some(mean) = mean {
            self.past = Some(match self.past {
                None => (mean, 0.0),
                Some((usual, variance)) => {
                    let delta = mean - usual;
                    let usual = usual + options.weight * delta;
                    (usual, (1.0 - options.weight) * (variance + options.weight * delta * delta))
                }
            });
        }
        self.next_look = now + self.past.map_or(rtt, |(mean, _)| Duration::from_secs_f64(mean));
        self.current = (0.0, 0);
        (self.reached, self.pressure) = (false, false);
    }
}

impl fmt::Debug for AdaptiveConcurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AdaptiveConcurrency").field(&self.snapshot()).finish()
    }
}

/// A place for one attempt. [`finish`](Self::finish) it; a drop gives the place back and says nothing.
#[derive(Debug)]
#[must_use = "the place is held only while this lives"]
pub struct AdaptivePermit {
    owner: AdaptiveConcurrency,
    permit: LimitPermit<'static>,
    started: Moment,
}

impl AdaptivePermit {
    /// The attempt ended at `now`.
    pub fn finish(self, signal: Signal, now: Moment) {
        self.permit.finish(now);
        self.owner.observe(now.since(self.started), signal, now);
    }
}

#[cfg(not(martlet_loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use martlet_base::Rng;
    use std::cmp::Reverse;
    use std::collections::{BTreeMap, BinaryHeap};

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    /// A server that answers in 100 ms (+- 5 %) up to `comfortable` requests at once, in proportion longer beyond, and
    /// throttles beyond `most`. Callers want `demand` at once. Returns the limits of the second half of the run.
    fn simulate(
        comfortable: u64,
        most: usize,
        demand: usize,
        seconds: u64,
    ) -> (Vec<u32>, AdaptiveConcurrency) {
        let arc = AdaptiveConcurrency::builder().build().unwrap();
        let rng = Rng::seeded(3);
        let (mut ends, mut permits, mut id) = (BinaryHeap::new(), BTreeMap::new(), 0u64);
        let (mut now, mut limits) = (at(0), Vec::new());
        while now < at(seconds * 1_000) {
            while permits.len() < demand
                && let Ok(permit) = arc.try_acquire(now)
            {
                let busy = permits.len() + 1;
                let load = (busy as f64 / comfortable as f64).max(1.0);
                let latency = Duration::from_secs_f64(0.1 * load * (0.95 + 0.1 * rng.next_f64()));
                let signal = if busy > most { Signal::BackPressure } else { Signal::Success };
                permits.insert(id, (permit, signal));
                ends.push(Reverse((now + latency, id)));
                id += 1;
            }
            let Some(Reverse((end, done))) = ends.pop() else { unreachable!() };
            now = end;
            let (permit, signal): (AdaptivePermit, Signal) = permits.remove(&done).unwrap();
            permit.finish(signal, now);
            if now > at(seconds * 500) {
                limits.push(arc.snapshot().limit);
            }
        }
        (limits, arc)
    }

    fn mean(limits: &[u32]) -> f64 {
        limits.iter().map(|l| f64::from(*l)).sum::<f64>() / limits.len() as f64
    }

    #[test]
    fn a2_it_grows_towards_what_a_comfortable_server_can_do() {
        // vector #7371: it does not find the maximum.
        let (limits, _) = simulate(1_000, 1_000, 50, 120);
        assert!(mean(&limits) > 40.0, "{}", mean(&limits));
    }

    #[test]
    fn a3_it_stays_near_the_point_where_answers_become_slower() {
        let (limits, arc) = simulate(20, 10_000, 500, 300);
        let mean = mean(&limits);
        assert!((10.0..45.0).contains(&mean), "{mean}");
        assert!(arc.snapshot().averaged_rtt.unwrap() < Duration::from_millis(260));
    }

    #[test]
    fn a3_it_stays_below_the_point_where_the_server_throttles() {
        let (limits, _) = simulate(1_000, 30, 500, 300);
        assert!((15.0..32.0).contains(&mean(&limits)), "{}", mean(&limits));
        assert!(*limits.iter().max().unwrap() <= 33);
    }

    #[test]
    fn a5_a_limit_that_is_not_reached_does_not_grow() {
        // Netflix #134, #141: grows for ever.
        let (limits, _) = simulate(1_000, 1_000, 2, 300);
        assert!(limits.iter().all(|l| *l <= 4), "{limits:?}");
    }

    /// `at_once` calls at a time, answered in 50 ms to 5 s; every `throttles`-th is refused. The limits after each.
    fn varied(at_once: usize, rounds: u64, throttles: u64) -> Vec<u32> {
        let arc = AdaptiveConcurrency::builder().build().unwrap();
        let (rng, mut now) = (Rng::seeded(11), at(0));
        let mut limits = Vec::new();
        for round in 1..=rounds {
            let permits: Vec<_> = (0..at_once).map_while(|_| arc.try_acquire(now).ok()).collect();
            for permit in permits {
                // Most are fast, few are very slow.
                now = now + Duration::from_secs_f64(0.05 * 100f64.powf(rng.next_f64().powi(4)));
                let refused = throttles > 0 && round % throttles == 0;
                permit.finish(if refused { Signal::BackPressure } else { Signal::Success }, now);
            }
            limits.push(arc.snapshot().limit);
        }
        limits
    }

    #[test]
    fn a5_a_limit_that_is_not_reached_does_not_fall_when_the_time_of_answers_varies() {
        // It fell to 1: what is not reached does not grow.
        for at_once in 1..=3 {
            let limits = varied(at_once, 5_000, 0);
            assert!(limits.iter().all(|limit| *limit == 4), "{at_once} at once: {:?}", limits.iter().min());
        }
        // One that is reached may fall, and comes back.
        assert!(mean(&varied(4, 5_000, 0)) > 4.5);
    }

    #[test]
    fn a3_a_limit_that_is_not_reached_falls_when_the_server_throttles() {
        assert_eq!(varied(1, 10, 1).last(), Some(&1));
        // Now and then: it falls, and a limit that is reached again grows by as much as is asked for.
        let limits = varied(1, 5_000, 100);
        let later = &limits[110..];
        assert_eq!((later.iter().min(), later.iter().max()), (Some(&1), Some(&2)));
    }

    #[test]
    fn netflix_155_a_limit_at_its_maximum_stays_there_while_all_goes_well() {
        // There, reaching the maximum halved it.
        let arc = AdaptiveConcurrency::builder().between(1, 10).build().unwrap();
        let mut reached = false;
        for round in 0..500 {
            let permits: Vec<_> = std::iter::from_fn(|| arc.try_acquire(at(round * 100)).ok()).collect();
            permits.into_iter().for_each(|p| p.finish(Signal::Success, at(round * 100 + 100)));
            let limit = arc.snapshot().limit;
            reached |= limit == 10;
            assert!(!reached || limit == 10, "{limit} in round {round}");
        }
        assert!(reached);
    }

    #[test]
    fn netflix_165_the_usual_time_does_not_drift_up_with_the_load_that_it_allows() {
        // There, answers slowed by the callers themselves became the usual, which allowed more callers.
        let (early, _) = simulate(20, 10_000, 500, 200);
        let (late, arc) = simulate(20, 10_000, 500, 1_600);
        assert!(mean(&late) < mean(&early) * 1.3, "{} and then {}", mean(&early), mean(&late));
        assert!(late.iter().all(|limit| *limit < 80), "{:?}", late.iter().max());
        assert!(arc.snapshot().averaged_rtt.unwrap() < Duration::from_millis(260));
    }

    #[test]
    fn a4_it_changes_at_most_once_per_mean_round_trip() {
        let arc = AdaptiveConcurrency::builder().start(100).build().unwrap();
        let permits: Vec<_> = (0..100).map(|_| arc.try_acquire(at(0)).unwrap()).collect();
        permits.into_iter().for_each(|p| p.finish(Signal::BackPressure, at(100)));
        assert_eq!(arc.snapshot().limit, 70, "once for the whole volley");
    }

    #[test]
    fn a6_only_successful_attempts_teach_it_the_usual_time() {
        let arc = AdaptiveConcurrency::builder().build().unwrap();
        arc.try_acquire(at(0)).unwrap().finish(Signal::Ignored, at(60_000));
        drop(arc.try_acquire(at(0)).unwrap());
        arc.try_acquire(at(60_000)).unwrap().finish(Signal::BackPressure, at(90_000));
        assert_eq!(arc.snapshot().averaged_rtt, None);
        arc.try_acquire(at(200_000)).unwrap().finish(Signal::Success, at(200_100));
        assert_eq!(arc.snapshot().averaged_rtt, Some(Duration::from_millis(100)));
    }

    #[test]
    fn a7_shrinking_below_what_is_in_flight_revokes_nothing_and_admits_nothing() {
        // tower-resilience shrinking_limit_retires_in_flight_permits_before_readmitting
        let arc = AdaptiveConcurrency::builder().start(10).build().unwrap();
        let mut permits: Vec<_> = (0..10).map(|_| arc.try_acquire(at(0)).unwrap()).collect();
        permits.pop().unwrap().finish(Signal::BackPressure, at(100));
        assert_eq!((arc.snapshot().limit, arc.snapshot().in_flight), (7, 9));
        for left in (0..9).rev() {
            assert!(arc.try_acquire(at(101)).is_err() || left < 7);
            permits.pop();
            assert_eq!(arc.snapshot().in_flight, left);
        }
        assert_eq!((0..20).map_while(|_| arc.try_acquire(at(102)).ok()).collect::<Vec<_>>().len(), 7);
    }

    #[test]
    fn a9_the_four_figures_and_the_reason_of_the_last_change() {
        let arc = AdaptiveConcurrency::builder().build().unwrap();
        let held = arc.try_acquire(at(0)).unwrap();
        arc.try_acquire(at(0)).unwrap().finish(Signal::Success, at(80));
        arc.try_acquire(at(100)).unwrap().finish(Signal::BackPressure, at(300));
        let s = arc.snapshot();
        assert_eq!((s.limit, s.in_flight, s.observed_rtt), (2, 1, Duration::from_millis(80)));
        assert_eq!(
            (s.averaged_rtt, s.last_change),
            (Some(Duration::from_millis(80)), Some(LimitChange::Throttled))
        );
        assert_eq!(LimitChange::Throttled.as_str(), "throttled");
        drop(held);
    }

    #[test]
    fn a1_a8_the_defaults_and_bounds() {
        let arc = AdaptiveConcurrency::builder().between(2, 5).build().unwrap();
        for i in 0..50 {
            arc.try_acquire(at(i * 1_000)).unwrap().finish(Signal::BackPressure, at(i * 1_000 + 1));
        }
        assert_eq!(arc.snapshot().limit, 2);
        insta::assert_debug_snapshot!(AdaptiveConcurrency::builder(), @r"
        AdaptiveBuilder {
            start: 4,
            min: 1,
            max: 200,
            max_queue: 1024,
            weight: 0.4,
            deviations: 2.5,
            slower: 0.9,
            throttled: 0.7,
        }
        ");
        for (builder, field) in [
            (AdaptiveConcurrency::builder().between(0, 5), "between"),
            (AdaptiveConcurrency::builder().between(5, 200), "start"),
            (AdaptiveConcurrency::builder().weight(f64::NAN), "weight"),
            (AdaptiveConcurrency::builder().shrink(1.0, 0.5), "shrink"),
            (AdaptiveConcurrency::builder().deviations(-1.0), "deviations"),
        ] {
            assert_eq!(builder.build().unwrap_err().field(), field);
        }
    }
}
