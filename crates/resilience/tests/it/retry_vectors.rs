//! The published vectors of the AWS SDKs (smithy-rs, `retries/strategy/standard.rs`, constants only) and the bugs of others.

use martlet_base::{Clock, Deadline, Delivery, Fault, ManualClock, Moment, Recovery, Rng};
use martlet_resilience::{
    Backoff, Decision, Failure, Jitter, Repeat, Retry, RetryBudget, RetryPolicy, ServerHint, StopReason,
    retry,
};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The SDK's law with its random factor fixed at 1.
fn plain(base: Duration, factor: f64, max: Duration) -> Backoff {
    Backoff::exponential(base, factor).max_delay(max).jitter(Jitter::None).build().unwrap()
}

struct Sdk {
    policy: RetryPolicy,
    budget: RetryBudget,
    now: Moment,
}

impl Sdk {
    fn v2_1(capacity: u32, max_retries: u32, max: Duration) -> Self {
        let budget = RetryBudget::builder().capacity(capacity).refill_per_second(0.0).build().unwrap();
        let policy = RetryPolicy::builder()
            .backoff(plain(millis(50), 2.0, max))
            .throttled_backoff(plain(millis(1_000), 2.0, millis(20_000)))
            .max_retries(max_retries)
            .server_hint(ServerHint::Clamp { slack: millis(5_000) })
            .budget(budget.clone())
            .build()
            .unwrap();
        Self { policy, budget, now: Moment::ZERO }
    }

    fn call(&self) -> Retry {
        Retry::new(&self.policy, Repeat::Safe, Deadline::NONE)
    }

    /// The pause in milliseconds and what is left in the bucket.
    fn fail(
        &self,
        call: &mut Retry,
        kind: Recovery,
        hint: Option<u64>,
    ) -> Result<(u128, u32), (StopReason, u32)> {
        let delivery = if kind == Recovery::Throttled { Delivery::Rejected } else { Delivery::Unknown };
        let failure = Failure::new(delivery, kind).not_before(hint.map(|ms| self.now + millis(ms)));
        let decision = call.after_failure(failure, self.now, &Rng::seeded(1));
        let left = self.budget.available(self.now);
        match decision {
            Decision::RetryAt(at) => {
                call.begin_attempt();
                Ok((at.since(self.now).as_millis(), left))
            }
            Decision::Stop(reason) => Err((reason, left)),
            Decision::Reauthenticate => unreachable!(),
        }
    }
}

use Recovery::{Throttled, Transient};

#[test]
fn r8_aws_vector_retry_eventually_succeeds() {
    let sdk = Sdk::v2_1(500, 2, millis(20_000));
    let mut call = sdk.call();
    assert_eq!(sdk.fail(&mut call, Transient, None), Ok((50, 486)));
    assert_eq!(sdk.fail(&mut call, Transient, None), Ok((100, 472)));
    call.succeeded();
    assert_eq!(sdk.budget.available(sdk.now), 486);
}

#[test]
fn r8_aws_vector_fail_due_to_max_attempts_reached() {
    let sdk = Sdk::v2_1(500, 2, millis(20_000));
    let mut call = sdk.call();
    assert_eq!(sdk.fail(&mut call, Transient, None), Ok((50, 486)));
    assert_eq!(sdk.fail(&mut call, Transient, None), Ok((100, 472)));
    assert_eq!(sdk.fail(&mut call, Transient, None), Err((StopReason::RetriesExhausted, 472)));
    drop(call);
    assert_eq!(sdk.budget.available(sdk.now), 472);
}

#[test]
fn r8_aws_vector_retry_quota_reached_after_single_retry() {
    let sdk = Sdk::v2_1(14, 2, millis(20_000));
    let mut call = sdk.call();
    assert_eq!(sdk.fail(&mut call, Transient, None), Ok((50, 0)));
    assert_eq!(sdk.fail(&mut call, Transient, None), Err((StopReason::BudgetExhausted, 0)));
}

#[test]
fn r8_aws_vector_no_retries_if_retry_quota_is_zero() {
    let sdk = Sdk::v2_1(0, 2, millis(20_000));
    assert_eq!(sdk.fail(&mut sdk.call(), Transient, None), Err((StopReason::BudgetExhausted, 0)));
}

#[test]
fn r8_aws_vector_retry_stops_after_retry_quota_exhaustion() {
    let sdk = Sdk::v2_1(20, 4, millis(20_000));
    let mut call = sdk.call();
    assert_eq!(sdk.fail(&mut call, Transient, None), Ok((50, 6)));
    assert_eq!(sdk.fail(&mut call, Transient, None), Err((StopReason::BudgetExhausted, 6)));
}

#[test]
fn r8_aws_vector_retry_quota_recovery_after_successful_responses() {
    let sdk = Sdk::v2_1(30, 4, millis(20_000));
    let mut call = sdk.call();
    assert_eq!(sdk.fail(&mut call, Transient, None), Ok((50, 16)));
    assert_eq!(sdk.fail(&mut call, Transient, None), Ok((100, 2)));
    call.succeeded();
    assert_eq!(sdk.budget.available(sdk.now), 16);
    let mut call = sdk.call();
    assert_eq!(sdk.fail(&mut call, Transient, None), Ok((50, 2)));
    call.succeeded();
    assert_eq!(sdk.budget.available(sdk.now), 16);
}

#[test]
fn r8_aws_vector_throttling_error_token_bucket_drain_and_backoff() {
    let sdk = Sdk::v2_1(500, 2, millis(20_000));
    let mut call = sdk.call();
    assert_eq!(sdk.fail(&mut call, Throttled, None), Ok((1_000, 495)));
    call.succeeded();
    assert_eq!(sdk.budget.available(sdk.now), 500);
}

#[test]
fn r4_aws_vector_verify_max_backoff_time() {
    let sdk = Sdk::v2_1(500, 4, millis(200));
    let mut call = sdk.call();
    let delays: Vec<_> = (0..4).map(|_| sdk.fail(&mut call, Transient, None).unwrap()).collect();
    assert_eq!(delays, [(50, 486), (100, 472), (200, 458), (200, 444)]);
}

#[test]
fn r5_aws_vector_a_hint_is_kept_between_the_pause_and_five_seconds_more() {
    for (hint, pause) in [(1_500, 1_500), (0, 50), (10_000, 5_050)] {
        let sdk = Sdk::v2_1(500, 2, millis(20_000));
        assert_eq!(sdk.fail(&mut sdk.call(), Transient, Some(hint)), Ok((pause, 486)), "{hint} ms");
    }
}

#[test]
fn r1_aws_vector_dynamodb_sleeps_175_ms_in_four_requests() {
    let budget = RetryBudget::builder().refill_per_second(0.0).build().unwrap();
    let policy =
        RetryPolicy::builder().backoff(plain(millis(25), 2.0, millis(20_000))).max_retries(3).budget(budget);
    let mut call = Retry::new(&policy.build().unwrap(), Repeat::Safe, Deadline::NONE);
    let failure = Failure::new(Delivery::Unknown, Transient);
    let mut now = Moment::ZERO;
    while let Decision::RetryAt(at) = call.after_failure(failure, now, &Rng::seeded(1)) {
        now = at;
    }
    assert_eq!((now.since(Moment::ZERO), call.attempts()), (millis(175), 4));
}

#[tokio::test]
async fn r10_aws_vector_long_polling_sleeps_though_the_quota_is_spent_and_does_not_retry() {
    // Quota 0: a server error would have been retried after 50 ms, a throttled one after 1 s. Others stop at once.
    for (long_poll, kind, slept) in
        [(true, Transient, 50), (true, Throttled, 1_000), (false, Transient, 0), (false, Throttled, 0)]
    {
        let manual = ManualClock::new();
        let clock = manual.clock();
        let budget = RetryBudget::builder().capacity(0).refill_per_second(0.0).build().unwrap();
        let policy = RetryPolicy::builder()
            .backoff(plain(millis(50), 2.0, millis(20_000)))
            .throttled_backoff(plain(millis(1_000), 2.0, millis(20_000)))
            .long_poll(long_poll)
            .budget(budget.clone())
            .build()
            .unwrap();
        let mut sent = 0;
        let stopped = manual
            .drive(retry(&policy, Repeat::Safe, Deadline::NONE, &clock, &Rng::seeded(1), async |_| {
                sent += 1;
                Err::<(), _>(DownAs(kind))
            }))
            .await
            .unwrap_err();
        assert_eq!((stopped.reason, sent), (StopReason::BudgetExhausted, 1));
        assert_eq!(clock.now().since(Moment::ZERO), millis(slept), "{long_poll} {kind:?}");
        assert_eq!((budget.available(clock.now()), budget.retries_in_flight()), (0, 0));
    }
}

#[test]
fn r10_aws_vector_long_polling_backs_off_further_at_each_attempt_and_with_the_servers_hint() {
    let sdk = |capacity| {
        let plain_sdk = Sdk::v2_1(capacity, 4, millis(20_000));
        let policy = RetryPolicy::builder()
            .backoff(plain_sdk.policy.backoff().clone())
            .max_retries(4)
            .server_hint(ServerHint::Clamp { slack: millis(5_000) })
            .long_poll(true)
            .budget(plain_sdk.budget.clone());
        Sdk { policy: policy.build().unwrap(), ..plain_sdk }
    };
    let s = sdk(28);
    let mut call = s.call();
    assert_eq!(s.fail(&mut call, Transient, None), Ok((50, 14)));
    assert_eq!(s.fail(&mut call, Transient, None), Ok((100, 0)));
    assert_eq!(call.stop_at(), None);
    assert_eq!(s.fail(&mut call, Transient, None), Err((StopReason::BudgetExhausted, 0)));
    assert_eq!(call.stop_at(), Some(Moment::ZERO + millis(200)));
    // With a hint the pause is the hint's, kept within 5 s of its own.
    let s = sdk(0);
    for (hint, pause) in [(1_500, 1_500), (0, 50), (10_000, 5_050)] {
        let mut call = s.call();
        assert_eq!(s.fail(&mut call, Transient, Some(hint)), Err((StopReason::BudgetExhausted, 0)));
        assert_eq!(call.stop_at(), Some(Moment::ZERO + millis(pause)));
    }
    // Another reason to stop is told at once, and so is one whose pause does not fit the deadline.
    let mut unsafe_call = Retry::new(&s.policy, Repeat::Unsafe, Deadline::NONE);
    assert_eq!(s.fail(&mut unsafe_call, Transient, None), Err((StopReason::OutcomeUnknown, 0)));
    assert_eq!(unsafe_call.stop_at(), None);
    let mut late = Retry::new(&s.policy, Repeat::Safe, Deadline::after(Moment::ZERO, millis(20)));
    assert_eq!(s.fail(&mut late, Transient, None), Err((StopReason::DeadlineTooClose, 0)));
    assert_eq!(late.stop_at(), None);
}

#[test]
fn r8_aws_vectors_of_version_2_0() {
    // eventual_success, no_more_attempts, no_quota, quota_replenishes_on_success, ..on_first_try_success: costs of 5, 1 s and 2 s.
    let sdk = |capacity| {
        let budget =
            RetryBudget::builder().capacity(capacity).retry_cost(5).refill_per_second(0.0).build().unwrap();
        let policy = RetryPolicy::builder()
            .backoff(plain(millis(1_000), 2.0, millis(20_000)))
            .max_retries(2)
            .budget(budget.clone())
            .build()
            .unwrap();
        Sdk { policy, budget, now: Moment::ZERO }
    };
    let s = sdk(500);
    let mut call = s.call();
    assert_eq!(s.fail(&mut call, Transient, None), Ok((1_000, 495)));
    assert_eq!(s.fail(&mut call, Transient, None), Ok((2_000, 490)));
    call.succeeded();
    assert_eq!(s.budget.available(s.now), 495);
    let s = sdk(5);
    let mut call = s.call();
    assert_eq!(s.fail(&mut call, Transient, None), Ok((1_000, 0)));
    assert_eq!(s.fail(&mut call, Transient, None), Err((StopReason::BudgetExhausted, 0)));
    s.call().succeeded();
    assert_eq!(s.budget.available(s.now), 1, "a first success brings 1");
}

#[test]
fn r2_the_aws_preset_spreads_fully_and_has_a_budget() {
    let policy = RetryPolicy::aws_standard();
    assert_eq!(policy.delays_without_jitter(), [millis(50), millis(100)]);
    assert_eq!(policy.backoff_for(Throttled).delay_without_jitter(0), millis(1_000));
    assert_eq!(policy.backoff().jitter(), Jitter::Full);
    assert_eq!(policy.budget().unwrap().available(Moment::ZERO), 500);
}

/// Refused, and what can be done about it.
#[derive(Debug)]
struct DownAs(Recovery);
impl std::fmt::Display for DownAs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("down")
    }
}
impl std::error::Error for DownAs {}
impl Fault for DownAs {
    fn delivery(&self) -> Delivery {
        Delivery::Rejected
    }
    fn recovery(&self) -> Recovery {
        self.0
    }
}

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
        Transient
    }
}

#[tokio::test]
async fn r10_an_empty_bucket_stops_with_the_last_real_error() {
    let manual = ManualClock::new();
    let budget = RetryBudget::builder().capacity(14).refill_per_second(0.0).build().unwrap();
    let policy = RetryPolicy::builder().budget(budget.clone()).build().unwrap();
    let clock = manual.clock();
    let stopped = manual
        .drive(retry(&policy, Repeat::Safe, Deadline::NONE, &clock, &Rng::seeded(1), async |_| {
            Err::<(), _>(Down)
        }))
        .await
        .unwrap_err();
    assert_eq!((stopped.reason, stopped.attempts), (StopReason::BudgetExhausted, 2));
    assert_eq!(stopped.to_string(), "gave up after 2 attempts: the retry budget is spent");
    assert_eq!(budget.refused(), 1);
}

#[tokio::test]
async fn r11_c2_dropping_the_driver_while_it_sleeps_refunds_once() {
    let manual = ManualClock::new();
    let budget = RetryBudget::builder().refill_per_second(0.0).build().unwrap();
    let policy = RetryPolicy::builder().budget(budget.clone()).build().unwrap();
    let (clock, rng) = (manual.clock(), Rng::seeded(1));
    {
        let call = retry(&policy, Repeat::Safe, Deadline::NONE, &clock, &rng, async |_| Err::<(), _>(Down));
        let soon = Deadline::after(clock.now(), millis(100));
        assert!(manual.drive(clock.within(soon, call)).await.is_none());
    }
    assert_eq!((budget.available(clock.now()), budget.retries_in_flight()), (500, 0));
}

#[tokio::test]
async fn c3_a_panicking_classifier_does_not_poison_the_bucket() {
    let budget = RetryBudget::builder().refill_per_second(0.0).build().unwrap();
    let policy = RetryPolicy::builder().budget(budget.clone()).build().unwrap();
    let panicked = tokio::spawn(async move {
        let (clock, rng) = (Clock::system(), Rng::seeded(1));
        let broken = async |_| -> Result<(), Down> { panic!("broken") };
        retry(&policy, Repeat::Safe, Deadline::NONE, &clock, &rng, broken).await.is_ok()
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!((budget.available(Moment::ZERO), budget.retries_in_flight()), (500, 0));
    assert!(budget.withdraw(Transient, Moment::ZERO).is_some());
}

#[test]
fn cockroachdb_151748_workers_that_only_retry_all_recover_within_half_a_minute() {
    // 32 workers, 60 s of outage: each starts its call anew when it gives up, and the purse is refilled by time alone.
    let budget = RetryBudget::builder().first_success(0).build().unwrap();
    let policy = RetryPolicy::builder().budget(budget).build().unwrap();
    let rng = Rng::seeded(7);
    let end = Moment::ZERO + Duration::from_secs(60);
    let start = || Retry::new(&policy, Repeat::Safe, Deadline::NONE);
    let mut calls: Vec<Retry> = (0..32).map(|_| start()).collect();
    let mut due: BinaryHeap<_> = (0..32).map(|worker| Reverse((Moment::ZERO, worker))).collect();
    let mut slowest = end;
    while let Some(Reverse((now, worker))) = due.pop() {
        if now >= end {
            slowest = slowest.max(now);
            continue;
        }
        let call: &mut Retry = &mut calls[worker];
        call.begin_attempt();
        let again = match call.after_failure(Failure::new(Delivery::Rejected, Transient), now, &rng) {
            Decision::RetryAt(at) => at,
            _ => {
                *call = start();
                now + millis(500)
            }
        };
        due.push(Reverse((again, worker)));
    }
    // Recovered means able to retry again, too: nobody has to wait for a first success.
    let later = end + Duration::from_secs(2);
    calls.clear();
    assert!(policy.budget().unwrap().withdraw(Transient, later).is_some());
    assert!(slowest < end + Duration::from_secs(30), "{slowest:?}");
}

#[test]
fn polly_2163_an_attempt_number_without_end_does_not_panic() {
    let backoff = RetryPolicy::seed().backoff().clone();
    for previous in [Duration::ZERO, Duration::MAX] {
        assert!(backoff.delay(u32::MAX, previous, &Rng::seeded(1)) <= backoff.max_delay());
    }
}

#[test]
fn tower_843_numbers_that_are_none_are_refused() {
    for factor in [f64::NAN, f64::INFINITY, 0.5, -1.0] {
        assert_eq!(Backoff::exponential(millis(1), factor).build().unwrap_err().field(), "factor");
    }
    for p in [f64::NAN, f64::INFINITY, -0.1, 1.1] {
        let bad = Backoff::exponential(millis(1), 2.0).jitter(Jitter::Bounded(p)).build();
        assert_eq!(bad.unwrap_err().field(), "jitter");
    }
}

#[test]
fn go_retryablehttp_297_no_hint_however_large_becomes_an_immediate_retry() {
    let now = Moment::ZERO + millis(1);
    for seconds in [1u64 << 31, 1 << 63, u64::MAX] {
        let mut call = Retry::new(&RetryPolicy::seed(), Repeat::Safe, Deadline::NONE);
        let at = now + Duration::from_secs(seconds);
        let failure = Failure::new(Delivery::Rejected, Throttled).not_before(at);
        let decision = call.after_failure(failure, now, &Rng::seeded(1));
        assert_eq!(decision, Decision::Stop(StopReason::RetryLater { at }), "{seconds}");
    }
}

#[test]
fn t3_an_attempt_without_enough_time_left_is_not_begun() {
    let policy =
        RetryPolicy::builder().backoff(plain(millis(1_000), 2.0, millis(20_000))).min_useful(millis(500));
    let policy = policy.build().unwrap();
    let decide = |left| {
        let mut call = Retry::new(&policy, Repeat::Safe, Deadline::after(Moment::ZERO, millis(left)));
        call.after_failure(Failure::new(Delivery::Rejected, Transient), Moment::ZERO, &Rng::seeded(1))
    };
    assert_eq!(decide(1_500), Decision::Stop(StopReason::DeadlineTooClose));
    assert_eq!(decide(1_501), Decision::RetryAt(Moment::ZERO + millis(1_000)));
}

#[test]
fn r12_a_body_that_can_be_sent_once_gets_one_attempt_and_its_own_error() {
    // reqwest-retry: an error even before the first attempt.
    for (delivery, reason) in [
        (Delivery::NotSent, StopReason::NotReplayable),
        (Delivery::Rejected, StopReason::NotReplayable),
        (Delivery::Unknown, StopReason::OutcomeUnknown),
    ] {
        let mut call = Retry::new(&RetryPolicy::seed(), Repeat::Never, Deadline::NONE);
        let decision = call.after_failure(Failure::new(delivery, Transient), Moment::ZERO, &Rng::seeded(1));
        assert_eq!((decision, call.attempts()), (Decision::Stop(reason), 1));
    }
}
