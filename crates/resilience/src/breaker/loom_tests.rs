//! Every interleaving of acquire, record and drop:
//! `RUSTFLAGS="--cfg martlet_loom" cargo test --release -p martlet-resilience --lib loom`

use super::*;
use crate::Jitter;
use loom::thread;

const AT: Moment = Moment::from_nanos(6_000_000_000);

fn breaker(probes: u32) -> Breaker {
    let builder =
        Breaker::builder("loom").count_window(2).min_calls(2).consecutive_failures(2).probes(probes);
    builder.jitter(Jitter::None).build().unwrap()
}

fn opened(probes: u32) -> Breaker {
    let b = breaker(probes);
    for _ in 0..2 {
        b.try_acquire(Moment::ZERO).unwrap().record(Verdict::Failure, Moment::ZERO);
    }
    b
}

/// Runs `task` on another thread and here, and gives both results.
fn both<T: 'static>(b: &Breaker, task: fn(&Breaker) -> T) -> [T; 2] {
    let other = b.clone();
    let handle = thread::spawn(move || task(&other));
    let here = task(b);
    [here, handle.join().unwrap()]
}

#[test]
fn loom_b13_one_of_two_racing_calls_is_the_probe() {
    loom::model(|| {
        let got = both(&opened(1), |b| b.try_acquire(AT).ok().map(BreakerPermit::into_owned));
        assert_eq!(got.iter().flatten().count(), 1);
        assert_eq!(got.iter().flatten().filter(|p| p.transition().is_some()).count(), 1);
    });
}

#[test]
fn loom_two_racing_failures_open_it_once() {
    loom::model(|| {
        let b = breaker(1);
        let told = both(&b, |b| b.try_acquire(AT).ok().and_then(|p| p.record(Verdict::Failure, AT)));
        // The second call may have been refused; then the first ... cannot have opened it alone.
        assert_eq!(told.iter().flatten().count(), 1);
        assert_eq!(b.state(AT), BreakerState::Open);
    });
}

#[test]
fn loom_b10_a_drop_and_a_result_leave_no_probe_behind() {
    loom::model(|| {
        let b = opened(2);
        let dropped = b.try_acquire(AT).unwrap().into_owned();
        let good = b.try_acquire(AT).unwrap();
        let handle = thread::spawn(move || drop(dropped));
        assert_eq!(good.record(Verdict::Success, AT), None);
        handle.join().unwrap();
        assert_eq!(lock(&b.0.cold).probing.in_flight, 0);
        let last = b.try_acquire(AT).unwrap();
        assert!(b.try_acquire(AT).is_err());
        assert_eq!(last.record(Verdict::Success, AT), Some((BreakerState::HalfOpen, BreakerState::Closed)));
    });
}

#[test]
fn loom_b12_a_result_that_races_with_an_operator_changes_nothing() {
    loom::model(|| {
        let b = opened(1);
        let probe = b.try_acquire(AT).unwrap();
        let operator = b.clone();
        let handle = thread::spawn(move || operator.set_mode(BreakerMode::ForcedOpen));
        probe.record(Verdict::Success, AT);
        assert!(handle.join().unwrap().is_some());
        assert_eq!((b.mode(), b.state(AT)), (BreakerMode::ForcedOpen, BreakerState::Open));
    });
}
