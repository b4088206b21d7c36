//! The breaker beyond its own unit tests: slow calls, operators, a reference model, the scenarios of others.

use martlet_base::{BreakerState, ManualClock, Moment, Rng};
use martlet_resilience::{
    Breaker, BreakerBuilder, BreakerMode, FailureClass, Jitter, Report, SlowCall, Verdict,
};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::Duration;

use BreakerState::{Closed, HalfOpen, Open};
use Verdict::{Failure, Neutral, Success};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn at(millis: u64) -> Moment {
    Moment::from_nanos(millis * 1_000_000)
}

fn exact() -> BreakerBuilder {
    Breaker::builder("test").jitter(Jitter::None)
}

fn call(b: &Breaker, report: impl Into<Report>, now: Moment) -> Option<(BreakerState, BreakerState)> {
    b.try_acquire(now).unwrap().record(report, now)
}

fn opened(builder: BreakerBuilder) -> Breaker {
    let b = builder.build().unwrap();
    (0..10).for_each(|_| _ = call(&b, Failure, at(0)));
    assert_eq!(b.state(at(0)), Open);
    b
}

fn take(b: &Breaker, start: Moment, took: Duration) -> Option<(BreakerState, BreakerState)> {
    b.try_acquire(start).unwrap().record(Success, start + took)
}

#[test]
fn b3_calls_that_take_longer_than_a_limit_open_it() {
    // resilience4j shouldOpenAfterSlowCallRateThresholdExceededUsingMockClock
    let b = exact().slow_call(SlowCall::Over(secs(2)), 0.8).build().unwrap();
    for i in 0..19 {
        assert_eq!(take(&b, at(i), secs(if i < 4 { 2 } else { 3 })), None, "{i}");
    }
    assert_eq!(take(&b, at(20), secs(3)), Some((Closed, Open)), "16 of 20 took more than 2 s");
}

#[test]
fn b3_calls_that_take_more_than_twice_the_usual_open_it_and_the_baseline_follows_slowly() {
    let b = exact().slow_call(SlowCall::Baseline(2.0), 0.8).build().unwrap();
    let usual = Duration::from_millis(100);
    for i in 0..200u64 {
        assert_eq!(take(&b, at(i * 1_000), usual), None);
    }
    assert_eq!(b.snapshot(at(200_000)).baseline, Some(usual));
    // One call that takes a thousand times as long counts as one that was slow.
    assert_eq!(take(&b, at(100_000), usual * 1_000), None);
    let baseline = b.snapshot(at(200_000)).baseline.unwrap();
    assert!(baseline <= usual + usual / 200, "{baseline:?}");
    // 2x exactly is not slow.
    (0..60u64).for_each(|i| assert_eq!(take(&b, at(200_000 + i * 1_000), usual * 2), None));
    let baseline = b.snapshot(at(260_000)).baseline.unwrap();
    assert!(baseline > usual && baseline < usual * 2, "{baseline:?}");
    let opened = (0..40u64).find(|i| take(&b, at(300_000 + i * 100), usual * 10).is_some());
    assert_eq!(opened, Some(19));
}

#[test]
fn b3_a_slow_probe_counts_as_failed() {
    let b = opened(exact().slow_call(SlowCall::Over(secs(1)), 0.8));
    assert_eq!(take(&b, at(5_000), secs(2)), Some((HalfOpen, Open)));
}

#[test]
fn b4_a_count_window_looks_at_the_last_calls_only() {
    let b = exact().count_window(20).consecutive_failures(None).build().unwrap();
    (0..20).for_each(|_| _ = call(&b, Success, at(0)));
    // An hour later, still the same 20.
    (0..9).for_each(|_| assert_eq!(call(&b, Failure, at(3_600_000)), None));
    assert_eq!(call(&b, Failure, at(3_600_000)), Some((Closed, Open)));
}

#[test]
fn b5_the_open_time_is_spread_and_the_servers_wish_is_a_floor() {
    let open = |seed| {
        let b = Breaker::builder("j").rng(Rng::seeded(seed)).build().unwrap();
        (0..10).for_each(|_| _ = call(&b, Failure, at(0)));
        b.peek(at(0)).unwrap_err().retry_at.since(at(0))
    };
    let times: Vec<_> = (0..100).map(open).collect();
    assert!(times.iter().all(|t| (Duration::from_millis(4_500)..Duration::from_millis(5_501)).contains(t)));
    assert!(
        times.iter().max().unwrap().saturating_sub(*times.iter().min().unwrap()) > Duration::from_millis(800)
    );
    let wish = |wish| {
        let b = exact().build().unwrap();
        let report = Report::failure(FailureClass::Server).retry_after(wish);
        (0..10).for_each(|i| _ = call(&b, if i == 3 { report } else { Failure.into() }, at(0)));
        b.peek(at(0)).unwrap_err().retry_at
    };
    assert_eq!(wish(Some(secs(120))), at(120_000));
    assert_eq!(wish(Some(secs(1))), at(5_000));
    assert_eq!(wish(Some(Duration::MAX)), at(86_400_000), "at most a day");
    assert_eq!(wish(None), at(5_000));
}

#[test]
fn b6_an_open_breaker_becomes_half_open_when_a_call_comes_and_not_by_itself() {
    let b = opened(exact());
    assert_eq!(b.state(at(1_000_000)), Open);
    let probe = b.try_acquire(at(1_000_000)).unwrap();
    assert_eq!((probe.transition(), b.state(at(1_000_000))), (Some((Open, HalfOpen)), HalfOpen));
}

#[tokio::test]
async fn b6_a_background_probe_closes_it_without_any_caller() {
    let manual = ManualClock::new();
    let (clock, b) = (manual.clock(), opened(exact()));
    let mut probes = 0;
    manual
        .drive(b.recover(&clock, async || {
            probes += 1;
            if probes < 3 { Report::failure(FailureClass::Connect) } else { Success.into() }
        }))
        .await;
    assert_eq!((probes, b.state(clock.now())), (5, Closed));
    assert_eq!(clock.now(), at(5_000 + 10_000 + 20_000));
}

#[test]
fn b9_the_half_open_time_follows_the_time_limit_of_a_call() {
    for (timeout, until) in [(5, 35_000), (40, 85_000)] {
        let b = opened(exact().call_timeout(secs(timeout)));
        let _stuck = b.try_acquire(at(5_000)).unwrap();
        assert_eq!((b.state(at(until - 1)), b.state(at(until))), (HalfOpen, Open), "{timeout}");
    }
}

#[test]
fn b14_a_mode_that_is_set_already_changes_nothing() {
    // resilience4j #674
    let b = exact().build().unwrap();
    assert_eq!(b.set_mode(BreakerMode::Automatic), None);
    assert_eq!(b.set_mode(BreakerMode::ForcedOpen), Some((Closed, Open)));
    assert_eq!(b.set_mode(BreakerMode::ForcedOpen), None);
    let b = opened(exact());
    assert_eq!(b.set_mode(BreakerMode::Automatic), None);
    assert_eq!(b.state(at(0)), Open);
}

#[test]
fn b15_an_operator_holds_it_open_turns_it_off_watches_or_resets_it_by_any_handle() {
    // resilience4j shouldRecordMetricsInMetricsOnlyState
    let b = exact().build().unwrap();
    let handle = b.clone();
    handle.set_mode(BreakerMode::ForcedOpen);
    let refused = b.try_acquire(at(0)).unwrap_err();
    assert_eq!((refused.retry_at, b.state(at(1 << 40))), (Moment::MAX, Open));
    handle.set_mode(BreakerMode::Disabled);
    (0..100).for_each(|_| assert_eq!(call(&b, Failure, at(0)), None));
    assert_eq!(b.snapshot(at(0)).counts.calls, 0);
    handle.set_mode(BreakerMode::MetricsOnly);
    (0..100).for_each(|_| assert_eq!(call(&b, Failure, at(0)), None));
    let snapshot = b.snapshot(at(0));
    assert_eq!((snapshot.counts.failures, snapshot.mode), (100, BreakerMode::MetricsOnly));
    assert_eq!(handle.set_mode(BreakerMode::Automatic), None);
    (0..9).for_each(|_| assert_eq!(call(&b, Failure, at(0)), None, "it begins with nothing"));
    assert_eq!(call(&b, Failure, at(0)), Some((Closed, Open)));
    assert_eq!(handle.reset(), Some((Open, Closed)));
    assert_eq!(b.snapshot(at(0)).counts.calls, 0);
    assert_eq!(handle.reset(), None);
}

#[test]
fn b15_a_permit_from_before_a_mode_counts_nowhere() {
    let b = opened(exact());
    let probe = b.try_acquire(at(5_000)).unwrap();
    b.set_mode(BreakerMode::ForcedOpen);
    assert_eq!(probe.record(Success, at(5_001)), None);
    assert_eq!((b.mode(), b.snapshot(at(5_001)).late), (BreakerMode::ForcedOpen, 1));
}

#[test]
fn b16_a_refusal_says_who_until_when_and_why() {
    let b = exact().build().unwrap();
    (0..10).for_each(|_| _ = call(&b, Report::failure(FailureClass::Timeout), at(0)));
    let refused = b.try_acquire(at(1)).unwrap_err();
    assert_eq!(
        (&*refused.name, refused.retry_at, refused.last_failure),
        ("test", at(5_000), FailureClass::Timeout)
    );
    assert_eq!(refused.to_string(), "circuit breaker test is open (last failure: timeout)");
    assert_eq!(b.snapshot(at(1)).rejected, 1);
}

#[test]
fn b12_late_results_are_still_counted_in_the_metrics() {
    // Polly #217: overhanging results
    let b = exact().build().unwrap();
    let late: Vec<_> = (0..12).map(|_| b.try_acquire(at(0)).unwrap()).collect();
    late.into_iter().for_each(|p| _ = p.record(Failure, at(1)));
    assert_eq!(b.snapshot(at(1)).late, 2);
}

#[test]
fn b7_resilience4j_should_only_permit_four_calls_in_half_open_state() {
    let b = opened(exact().probes(4));
    let permits: Vec<_> = (0..10).map_while(|_| b.try_acquire(at(5_000)).ok()).collect();
    assert_eq!(permits.len(), 4);
}

#[test]
fn b11_resilience4j_should_release_permission_when_exception_ignored() {
    let b = opened(exact().probes(1));
    assert_eq!(call(&b, Neutral, at(5_000)), None);
    assert_eq!(call(&b, Success, at(5_000)), Some((HalfOpen, Closed)));
}

/// Forty lines that say what a breaker in its closed state and its probes must do, without a thought for speed.
struct Model {
    calls: VecDeque<(u64, bool)>,
    in_a_row: u32,
    state: BreakerState,
    until: u64,
    reopened: u32,
    probes: (u32, u32, u32, u64),
}

const SLICE: u64 = 3_000;

impl Model {
    fn new() -> Self {
        Self {
            calls: VecDeque::new(),
            in_a_row: 0,
            state: Closed,
            until: 0,
            reopened: 0,
            probes: (0, 0, 0, 0),
        }
    }

    fn open(&mut self, from: u64) {
        self.until = from + 300_000.min(5_000 << self.reopened.min(10));
        self.reopened += 1;
        self.state = Open;
    }

    fn acquire(&mut self, now: u64) -> bool {
        let (in_flight, good, bad, expires) = self.probes;
        if self.state == HalfOpen && expires <= now {
            self.open(expires);
        }
        match self.state {
            Closed => return true,
            Open if self.until > now => return false,
            HalfOpen if in_flight + good + bad >= 5 => return false,
            Open => {
                self.state = HalfOpen;
                self.probes = (1, 0, 0, now + 30_000);
            }
            _ => self.probes.0 += 1,
        }
        true
    }

    fn record(&mut self, failed: bool, now: u64) {
        if self.state == Closed {
            self.calls.push_back((now / SLICE, failed));
            while self.calls.front().is_some_and(|(slice, _)| *slice + 10 <= now / SLICE) {
                self.calls.pop_front();
            }
            self.in_a_row = if failed { self.in_a_row + 1 } else { 0 };
            let bad = self.calls.iter().filter(|(_, failed)| *failed).count();
            if self.in_a_row >= 10 || (self.calls.len() >= 20 && bad * 2 >= self.calls.len()) {
                self.open(now);
            }
        } else {
            self.probes.0 -= 1;
            *(if failed { &mut self.probes.2 } else { &mut self.probes.1 }) += 1;
            let (_, good, bad, _) = self.probes;
            if good + bad >= 5 {
                if bad * 2 >= good + bad {
                    self.open(now);
                } else {
                    *self = Self::new();
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn b_it_agrees_with_a_reference_model(
        steps in proptest::collection::vec((0u64..4_000, 0u32..100), 1..400), bad_days in 1u32..100,
    ) {
        let b = exact().probes(5).build().unwrap();
        let (mut model, mut now) = (Model::new(), 0);
        for (pause, dice) in steps {
            now += pause;
            let permit = b.try_acquire(at(now));
            prop_assert_eq!(permit.is_ok(), model.acquire(now), "at {}", now);
            if let Ok(permit) = permit {
                let failed = dice < bad_days;
                permit.record(if failed { Failure } else { Success }, at(now));
                model.record(failed, now);
            }
            prop_assert_eq!(b.state(at(now)), model.state, "at {}", now);
        }
    }
}

#[test]
fn b_ten_thousand_random_schedules_all_recover_within_one_open_time_and_one_round_of_probes() {
    // resilience4j #903, #935, #994, #2028; Polly #1979: stuck for ever.
    let rng = Rng::seeded(11);
    for schedule in 0..10_000 {
        let b = Breaker::builder("r").rng(rng.clone()).build().unwrap();
        let mut now = at(0);
        let mut held = Vec::new();
        for _ in 0..rng.below(200) {
            now = now + Duration::from_millis(rng.below(3_000));
            let Ok(permit) = b.try_acquire(now) else { continue };
            match rng.below(6) {
                0 => drop(permit),
                1 => held.push(permit),
                2 => _ = permit.record(Neutral, now),
                3 => _ = permit.record(Success, now),
                _ => _ = permit.record(Failure, now),
            }
            if rng.below(10) == 0 {
                held.clear();
            }
        }
        // The server is well from here on; whatever is held is never given back.
        let started = now;
        while b.state(now) != Closed {
            match b.try_acquire(now) {
                Ok(permit) => _ = permit.record(Success, now),
                Err(refused) => now = refused.retry_at,
            }
        }
        let took = now.since(started);
        assert!(took <= secs(330) + secs(30), "schedule {schedule}: {took:?}");
    }
}
