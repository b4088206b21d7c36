use super::*;
use crate::Jitter;
use BreakerState::{Closed, HalfOpen, Open};
use Verdict::{Failure, Neutral, Success};

fn at(millis: u64) -> Moment {
    Moment::from_nanos(millis * 1_000_000)
}

fn default() -> Breaker {
    Breaker::builder("test").jitter(Jitter::None).build().unwrap()
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
    let b = Breaker::builder("p").jitter(Jitter::None).probes(5).build().unwrap();
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
        (b().window(s(1), 129), "window"),
        (b().window(Duration::MAX, 1), "window"),
        (b().count_window(0), "window"),
        (b().count_window(100_001), "window"),
        (b().count_window(19), "min_calls"),
        (b().slow_call(SlowCall::Over(s(0)), 0.5), "slow_call"),
        (b().slow_call(SlowCall::Baseline(1.0), 0.5), "slow_call"),
        (b().slow_call(SlowCall::Baseline(f64::NAN), 0.5), "slow_call"),
        (b().slow_call(SlowCall::Baseline(2.0), 0.0), "slow_call"),
        (b().jitter(Jitter::Bounded(2.0)), "open_for"),
        (b().probes(0), "probes"),
        (b().half_open_timeout(s(0)), "half_open_timeout"),
    ] {
        assert_eq!(builder.build().unwrap_err().field(), field);
    }
}
