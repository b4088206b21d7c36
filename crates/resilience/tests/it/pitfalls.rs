//! Allocation, deadlock and other mistakes of others that no single row names.

use martlet_base::{Clock, Deadline, Delivery, Fault, ManualClock, Moment, Recovery, Rng};
use martlet_resilience::{
    Breaker, Bulkhead, Decision, Failure, Gcra, Limits, Repeat, Retry, RetryBudget, RetryPolicy, StopReason,
    Throttle, Verdict, retry,
};
use std::future::{Future, ready};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const SEC: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Down;
impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("down")
    }
}
impl std::error::Error for Down {}
impl Fault for Down {
    fn delivery(&self) -> Delivery {
        Delivery::Rejected
    }
    fn recovery(&self) -> Recovery {
        Recovery::Transient
    }
}

fn allocations(mut run: impl FnMut()) -> u64 {
    // The first round may grow a queue to its size.
    run();
    allocation_counter::measure(|| (0..100).for_each(|_| run())).count_total
}

fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(out) => out,
        Poll::Pending => panic!("it should have been ready"),
    }
}

#[test]
fn resilience4j_1391_nothing_is_allocated_where_all_goes_well() {
    let clock = Clock::system();
    let time = Breaker::builder("time").build().unwrap();
    let count = Breaker::builder("count").count_window(1_000).build().unwrap();
    for breaker in [&time, &count] {
        let call = || _ = breaker.try_acquire(clock.now()).unwrap().record(Verdict::Success, clock.now());
        assert_eq!(allocations(call), 0);
    }
    let open = Breaker::builder("open").consecutive_failures(1).build().unwrap();
    open.try_acquire(clock.now()).unwrap().record(Verdict::Failure, clock.now());
    assert_eq!(allocations(|| assert!(open.try_acquire(clock.now()).is_err())), 0);
    let gcra = Gcra::new(1_000_000_000, SEC, 1_000_000_000).unwrap();
    assert_eq!(allocations(|| gcra.try_acquire(1, clock.now()).unwrap()), 0);
    let throttle = Throttle::builder().build().unwrap();
    assert_eq!(allocations(|| throttle.try_pass(clock.now()).unwrap_or(())), 0);
    let bulkhead = Bulkhead::default();
    assert_eq!(allocations(|| drop(bulkhead.try_enter(clock.now()).unwrap())), 0);
}

#[test]
fn composed_policies_allocate_nothing() {
    let (clock, rng) = (Clock::system(), Rng::system());
    let policy = RetryPolicy::builder().budget(RetryBudget::standard()).build().unwrap();
    let breaker = Breaker::builder("all").build().unwrap();
    let gcra = Gcra::new(1_000_000_000, SEC, 1_000_000_000).unwrap();
    let bulkhead = Bulkhead::default();
    let call = || {
        let deadline = Deadline::after(clock.now(), SEC);
        let attempt = async |_| {
            let now = clock.now();
            let place = bulkhead.try_enter(now).map_err(|_| Down)?;
            gcra.try_acquire(1, now).map_err(|_| Down)?;
            let permit = breaker.try_acquire(now).map_err(|_| Down)?;
            let answer = ready(7).await;
            permit.record(Verdict::Success, clock.now());
            drop(place);
            Ok::<_, Down>(answer)
        };
        assert_eq!(at_once(retry(&policy, Repeat::Safe, deadline, &clock, &rng, attempt)).unwrap(), 7);
    };
    assert_eq!(allocations(call), 0);
}

/// Looks at the limits, and takes what it can, whenever it is woken.
struct Nosy {
    limits: Limits,
    woken: AtomicUsize,
}

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, SeqCst);
        let _ = (self.limits.queued(), self.limits.snapshot(Moment::ZERO));
        drop(self.limits.try_acquire(1, Moment::ZERO));
    }
}

#[test]
fn polly_2953_a_waker_that_calls_back_does_not_deadlock() {
    let limits = Limits::builder().concurrency(1).build().unwrap();
    let clock = ManualClock::new().clock();
    let held = limits.try_acquire(1, Moment::ZERO).unwrap();
    let nosy = Arc::new(Nosy { limits: limits.clone(), woken: AtomicUsize::new(0) });
    let waker = Waker::from(Arc::clone(&nosy));
    let mut waiting = Box::pin(limits.acquire(1, Deadline::NONE, &clock));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    limits.block_until(Moment::ZERO);
    held.cancel();
    assert!(nosy.woken.load(SeqCst) >= 1);
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
}

#[test]
fn leaky_bucket_39_taking_without_waiting_works_while_others_come_and_go() {
    let limits = Limits::builder().window("w", 1, SEC).build().unwrap();
    let clock = ManualClock::new().clock();
    for i in 0..1_000u32 {
        let now = Moment::ZERO + SEC * i;
        let mut waiting = Box::pin(limits.acquire(1, Deadline::NONE, &clock));
        let _ = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(waiting);
        if i > 0 {
            limits.try_acquire(1, now).unwrap().finish(now);
        }
    }
}

#[test]
fn failsafe_go_22_23_29_32_no_retries_a_deadline_and_a_backoff_all_hold() {
    let failure = Failure::new(Delivery::Rejected, Recovery::Transient);
    let rng = Rng::seeded(1);
    let mut none = Retry::new(&RetryPolicy::never(), Repeat::Safe, Deadline::NONE);
    assert_eq!(none.after_failure(failure, Moment::ZERO, &rng), Decision::Stop(StopReason::RetriesExhausted));
    let mut call = Retry::new(&RetryPolicy::seed(), Repeat::Safe, Deadline::after(Moment::ZERO, SEC * 10));
    let (mut now, mut pauses) = (Moment::ZERO, Vec::new());
    let reason = loop {
        match call.after_failure(failure, now, &rng) {
            Decision::RetryAt(at) => {
                pauses.push(at.since(now));
                now = at;
            }
            Decision::Stop(reason) => break reason,
            Decision::Reauthenticate => unreachable!(),
        }
    };
    assert_eq!(reason, StopReason::DeadlineTooClose, "at once, before the third pause of 16 s");
    assert!(pauses.len() == 2 && pauses[1] > pauses[0] * 2 && now < Moment::ZERO + SEC * 10, "{pauses:?}");
}

#[test]
fn req_463_a_hint_that_is_shorter_than_the_policys_pause_shortens_nothing() {
    let mut call = Retry::new(&RetryPolicy::seed(), Repeat::Safe, Deadline::NONE);
    let hint = Moment::ZERO + Duration::from_millis(1);
    let failure = Failure::new(Delivery::Rejected, Recovery::Throttled).not_before(hint);
    let Decision::RetryAt(at) = call.after_failure(failure, Moment::ZERO, &Rng::seeded(1)) else {
        unreachable!()
    };
    assert!(at.since(Moment::ZERO) >= Duration::from_millis(750));
}
