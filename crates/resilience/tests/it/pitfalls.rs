//! Allocation, deadlock and other mistakes of others that no single row names.

use martlet_base::{Clock, Deadline, Delivery, Fault, ManualClock, Moment, Recovery, Rng};
use martlet_resilience::{
    Breaker, Bulkhead, Decision, Failure, Gcra, Hedge, Limits, Repeat, Retry, RetryBudget, RetryPolicy,
    StopReason, Throttle, Verdict, retry,
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

/// A body that is not read yet, or what an attempt holds while it runs; counts those that live.
struct Held(Arc<AtomicUsize>);

impl Held {
    fn new(living: &Arc<AtomicUsize>) -> Self {
        living.fetch_add(1, SeqCst);
        Self(Arc::clone(living))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// A hedge that has seen a hundred answers of 10 ms.
fn hedge() -> Hedge {
    let hedge = Hedge::builder().build().unwrap();
    (0..100).for_each(|_| hedge.record(Duration::from_millis(10), Moment::ZERO));
    hedge
}

/// Retries around a hedge. The first round fails twice; in the second the copy's head is here first.
async fn retry_around_hedge(bodies: &Arc<AtomicUsize>, attempts: &Arc<AtomicUsize>) -> (Held, usize) {
    let manual = ManualClock::new();
    let (clock, hedge, rng) = (manual.clock(), hedge(), Rng::seeded(1));
    let mut sent = 0;
    let answer = manual
        .drive(retry(&RetryPolicy::seed(), Repeat::Safe, Deadline::NONE, &clock, &rng, async |attempt| {
            let copies = hedge.run(None, &clock, |copy| {
                sent += 1;
                let (clock, bodies, running) = (clock.clone(), Arc::clone(bodies), Held::new(attempts));
                async move {
                    let _running = running;
                    clock.sleep(if copy == 1 { SEC } else { SEC / 10 }).await;
                    if attempt.number == 1 { Err(Down) } else { Ok(Held::new(&bodies)) }
                }
            });
            copies.await.map_err(|failed| failed.primary)
        }))
        .await;
    (answer.unwrap(), sent)
}

#[tokio::test]
async fn failsafe_go_65_123_an_answer_is_usable_after_the_policies_that_brought_it_are_gone() {
    // There, leaving the policies cancelled the context that the body was still read with.
    let (bodies, attempts) = (Arc::default(), Arc::default());
    let (body, sent) = retry_around_hedge(&bodies, &attempts).await;
    assert_eq!(sent, 4, "each round was asked twice");
    assert_eq!(bodies.load(SeqCst), 1, "the winner's body lives, and the loser's never came to be");
    drop(body);
    assert_eq!(bodies.load(SeqCst), 0);
}

#[tokio::test]
async fn failsafe_go_134_nothing_of_an_attempt_outlives_the_call() {
    let (bodies, attempts) = (Arc::default(), Arc::default());
    for _ in 0..100 {
        drop(retry_around_hedge(&bodies, &attempts).await);
        assert_eq!((bodies.load(SeqCst), attempts.load(SeqCst)), (0, 0));
    }
}

#[tokio::test]
async fn failsafe_go_139_a_copy_that_fails_first_does_not_take_the_first_one_down() {
    let manual = ManualClock::new();
    let (clock, hedge) = (manual.clock(), hedge());
    let run = |bad: u32| {
        let (clock, hedge) = (clock.clone(), hedge.clone());
        async move {
            let attempt = |copy| {
                let clock = clock.clone();
                async move {
                    clock.sleep(if copy == bad { SEC / 5 } else { SEC }).await;
                    if copy == bad { Err(Down) } else { Ok(copy) }
                }
            };
            hedge.run(None, &clock, attempt).await
        }
    };
    assert_eq!(manual.drive(run(2)).await.unwrap(), 1, "the copy failed long before");
    assert_eq!(manual.drive(run(1)).await.unwrap(), 2, "and the other way round");
}

#[test]
fn aurora_279_a_cost_cannot_be_negative_and_the_largest_mints_nothing() {
    let gcra = Gcra::new(10, SEC, 10).unwrap();
    let limits = Limits::builder().window("w", 10, SEC).build().unwrap();
    for cost in [u32::MAX, 1 << 31, 11] {
        assert!(gcra.try_acquire(cost, Moment::ZERO).is_err());
        assert!(limits.try_acquire(cost, Moment::ZERO).is_err());
    }
    assert!(gcra.try_acquire(10, Moment::ZERO).is_ok() && gcra.try_acquire(1, Moment::ZERO).is_err());
    limits.try_acquire(10, Moment::ZERO).unwrap().finish(Moment::ZERO);
    assert!(limits.try_acquire(1, Moment::ZERO).is_err());
}

#[test]
fn netflix_81_a_permit_whose_caller_panics_comes_back() {
    let bulkhead = Bulkhead::new(1, 0).unwrap();
    for _ in 0..3 {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _place = bulkhead.try_enter(Moment::ZERO).unwrap();
            panic!("an interceptor failed");
        }));
        assert!(panicked.is_err() && bulkhead.in_flight() == 0);
    }
}
