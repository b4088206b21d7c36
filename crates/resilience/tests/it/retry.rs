use martlet_base::{Clock, Deadline, Delivery, Fault, ManualClock, Moment, Recovery, Rng, Timestamp};
use martlet_resilience::{
    Backoff, Decision, Failure, Jitter, Repeat, Retry, RetryPolicy, StopReason, hint, retry,
};
use std::fmt;
use std::time::Duration;

const NOW: Moment = Moment::from_nanos(1_000_000_000_000);
const TRANSIENT: Failure = Failure::new(Delivery::NotSent, Recovery::Transient);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn start(repeat: Repeat) -> Retry {
    Retry::new(&RetryPolicy::seed(), repeat, Deadline::NONE)
}

fn plain(max_retries: u32) -> RetryPolicy {
    let backoff = Backoff::exponential(secs(1), 4.0).jitter(Jitter::None).build().unwrap();
    RetryPolicy::builder().backoff(backoff).max_retries(max_retries).build().unwrap()
}

fn throttled(after: Duration) -> Failure {
    Failure::new(Delivery::Rejected, Recovery::Throttled).not_before(NOW + after)
}

#[track_caller]
fn pause(decision: Decision) -> Duration {
    match decision {
        Decision::RetryAt(at) => at.since(NOW),
        other => panic!("{other:?}"),
    }
}

#[test]
fn r1_three_retries_then_stop() {
    let (mut call, rng) = (start(Repeat::Safe), Rng::seeded(1));
    for _ in 0..3 {
        pause(call.after_failure(TRANSIENT, NOW, &rng));
    }
    assert_eq!(call.after_failure(TRANSIENT, NOW, &rng), Decision::Stop(StopReason::RetriesExhausted));
    assert_eq!(call.attempts(), 4);
}

#[test]
fn r2_the_presets_pause_as_they_say() {
    assert_eq!(RetryPolicy::seed().delays_without_jitter(), [1, 4, 16].map(secs));
    assert_eq!(
        RetryPolicy::fast_transient().delays_without_jitter(),
        [50, 100, 200].map(Duration::from_millis)
    );
    assert_eq!(RetryPolicy::never().delays_without_jitter(), []);
    let mut call = Retry::new(&RetryPolicy::never(), Repeat::Safe, Deadline::NONE);
    let decision = call.after_failure(TRANSIENT, NOW, &Rng::seeded(1));
    assert_eq!(decision, Decision::Stop(StopReason::RetriesExhausted));
}

#[test]
fn r3_the_seed_spreads_each_pause_by_a_quarter() {
    let rng = Rng::seeded(2);
    let mut seen = [(Duration::MAX, Duration::ZERO); 3];
    for _ in 0..2_000 {
        let mut call = start(Repeat::Safe);
        for (low, high) in &mut seen {
            let d = pause(call.after_failure(TRANSIENT, NOW, &rng));
            (*low, *high) = ((*low).min(d), (*high).max(d));
        }
    }
    for ((low, high), d) in seen.into_iter().zip([1.0, 4.0, 16.0]) {
        assert!(
            low >= Duration::from_secs_f64(d * 0.75) && low < Duration::from_secs_f64(d * 0.77),
            "{low:?}"
        );
        assert!(
            high <= Duration::from_secs_f64(d * 1.25) && high > Duration::from_secs_f64(d * 1.23),
            "{high:?}"
        );
    }
}

#[test]
fn r4_no_pause_of_ours_is_longer_than_a_minute() {
    let policy = RetryPolicy::builder().max_retries(10_000).build().unwrap();
    let (mut call, rng) = (Retry::new(&policy, Repeat::Safe, Deadline::NONE), Rng::seeded(3));
    for _ in 0..10_000 {
        assert!(pause(call.after_failure(TRANSIENT, NOW, &rng)) <= secs(60));
    }
    assert_eq!(policy.delays_without_jitter()[3], secs(60));
    let error = RetryPolicy::builder().max_retries(10_001).build().unwrap_err();
    assert_eq!(error.field(), "max_retries");
}

#[test]
fn r5_server_hint_is_a_floor() {
    let rng = Rng::seeded(4);
    for _ in 0..1_000 {
        let d = pause(start(Repeat::Unsafe).after_failure(throttled(secs(7)), NOW, &rng));
        assert!((secs(7)..=Duration::from_millis(7_700)).contains(&d), "{d:?}");
        // Our own pause is longer than the server's.
        let d = pause(start(Repeat::Unsafe).after_failure(throttled(Duration::from_millis(10)), NOW, &rng));
        assert!(d >= Duration::from_millis(750), "{d:?}");
        // A date that has passed is no hint.
        let d = pause(start(Repeat::Unsafe).after_failure(TRANSIENT.not_before(Moment::ZERO), NOW, &rng));
        assert!(d >= Duration::from_millis(750), "{d:?}");
    }
}

#[test]
fn r5_the_callers_a_server_sent_away_do_not_come_back_together() {
    let rng = Rng::seeded(4);
    let mut at: Vec<_> = (0..1_000)
        .map(|_| pause(start(Repeat::Safe).after_failure(throttled(secs(100)), NOW, &rng)))
        .collect();
    at.sort();
    assert!(at[0] < secs(101) && at[999] > secs(109));
}

#[test]
fn r6_a_hint_beyond_the_cap_is_returned_and_not_slept() {
    let rng = Rng::seeded(5);
    let d = pause(start(Repeat::Safe).after_failure(throttled(secs(300)), NOW, &rng));
    assert!(d >= secs(300));
    for after in [301, 86_400, 1 << 31, u64::MAX] {
        let at = NOW + secs(after);
        let decision = start(Repeat::Safe).after_failure(throttled(secs(after)), NOW, &rng);
        assert_eq!(decision, Decision::Stop(StopReason::RetryLater { at }));
    }
}

#[test]
fn r6_a_pause_that_does_not_fit_the_deadline_stops_at_once() {
    let rng = Rng::seeded(6);
    let decide = |left, failure| {
        let deadline = Deadline::after(NOW, left);
        Retry::new(&plain(3), Repeat::Safe, deadline).after_failure(failure, NOW, &rng)
    };
    assert_eq!(decide(secs(1), TRANSIENT), Decision::Stop(StopReason::DeadlineTooClose));
    assert_eq!(decide(Duration::from_millis(1_001), TRANSIENT), Decision::RetryAt(NOW + secs(1)));
    assert_eq!(decide(secs(10), throttled(secs(10))), Decision::Stop(StopReason::DeadlineTooClose));
    let unauthorized = Failure::new(Delivery::Rejected, Recovery::Reauthenticate);
    assert_eq!(decide(secs(0), unauthorized), Decision::Stop(StopReason::DeadlineTooClose));
}

#[test]
fn r7_the_table_of_fates_and_repeats() {
    use Delivery::{NotSent, Processed, Rejected, Unknown};
    use Recovery::{Fatal, Reauthenticate, Refused, Throttled, Transient};
    use Repeat::{Never, Safe, Unsafe};
    const R: &str = "retry";
    for (delivery, repeat, expected) in [
        (NotSent, Safe, R),
        (NotSent, Unsafe, R),
        (NotSent, Never, "not_replayable"),
        (Rejected, Safe, R),
        (Rejected, Unsafe, R),
        (Rejected, Never, "not_replayable"),
        (Unknown, Safe, R),
        (Unknown, Unsafe, "outcome_unknown"),
        (Unknown, Never, "outcome_unknown"),
        (Processed, Safe, "not_retryable"),
        (Processed, Unsafe, "not_retryable"),
        (Processed, Never, "not_retryable"),
    ] {
        for recovery in [Transient, Throttled, Reauthenticate, Refused, Fatal] {
            let expected = match (recovery, expected) {
                (Refused | Fatal, _) => "not_retryable",
                (Reauthenticate, R) => "reauthenticate",
                _ => expected,
            };
            let got =
                match start(repeat).after_failure(Failure::new(delivery, recovery), NOW, &Rng::seeded(7)) {
                    Decision::RetryAt(_) => R,
                    Decision::Reauthenticate => "reauthenticate",
                    Decision::Stop(reason) => reason.as_str(),
                };
            assert_eq!(got, expected, "{delivery} {recovery} {repeat:?}");
        }
    }
}

#[test]
fn reauthentication_happens_once_and_uses_up_no_retry() {
    let (mut call, rng) = (start(Repeat::Unsafe), Rng::seeded(8));
    let unauthorized = Failure::new(Delivery::Rejected, Recovery::Reauthenticate);
    assert_eq!(call.after_failure(unauthorized, NOW, &rng), Decision::Reauthenticate);
    (0..3).for_each(|_| _ = pause(call.after_failure(TRANSIENT, NOW, &rng)));
    let decision = call.after_failure(unauthorized, NOW, &rng);
    assert_eq!(decision, Decision::Stop(StopReason::ReauthenticationFailed));
    let mut never = Retry::new(&RetryPolicy::never(), Repeat::Safe, Deadline::NONE);
    assert_eq!(never.after_failure(unauthorized, NOW, &rng), Decision::Reauthenticate);
}

#[test]
fn r13_a_local_refusal_is_parked_and_not_retried() {
    let at = NOW + secs(5);
    let refused = Failure::new(Delivery::NotSent, Recovery::Refused);
    let decide = |failure| start(Repeat::Safe).after_failure(failure, NOW, &Rng::seeded(9));
    assert_eq!(decide(refused.not_before(at)), Decision::Stop(StopReason::RetryLater { at }));
    assert_eq!(decide(refused), Decision::Stop(StopReason::NotRetryable));
}

#[derive(Clone, Debug)]
struct Fails(Delivery, Recovery, Option<Timestamp>);

impl fmt::Display for Fails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
impl std::error::Error for Fails {}
impl Fault for Fails {
    fn delivery(&self) -> Delivery {
        self.0
    }
    fn recovery(&self) -> Recovery {
        self.1
    }
    fn retry_at(&self) -> Option<Timestamp> {
        self.2
    }
}

/// Runs the driver against failures in turn, then success; gives the times of the attempts.
async fn run(
    manual: &ManualClock,
    clock: &Clock,
    repeat: Repeat,
    failures: &[Fails],
) -> (Vec<Duration>, Vec<bool>, Result<(), martlet_resilience::Exhausted<Fails>>) {
    let (mut times, mut renewed) = (Vec::new(), Vec::new());
    let rng = Rng::seeded(1);
    let policy = plain(3);
    let result = manual
        .drive(retry(&policy, repeat, Deadline::NONE, clock, &rng, async |attempt| {
            times.push(clock.now().since(Moment::ZERO));
            renewed.push(attempt.reauthenticate);
            assert_eq!(attempt.number as usize, times.len());
            failures.get(times.len() - 1).cloned().map_or(Ok(()), Err)
        }))
        .await;
    (times, renewed, result)
}

#[tokio::test]
async fn the_driver_sleeps_what_was_decided_and_ends_with_the_value() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let down = Fails(Delivery::Unknown, Recovery::Transient, None);
    let (times, _, result) = run(&manual, &clock, Repeat::Safe, &[down.clone(), down]).await;
    assert_eq!(times, [secs(0), secs(1), secs(5)]);
    assert!(result.is_ok());
}

#[tokio::test]
async fn the_driver_asks_for_a_new_credential_at_once() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let unauthorized = Fails(Delivery::Rejected, Recovery::Reauthenticate, None);
    let (times, renewed, result) = run(&manual, &clock, Repeat::Unsafe, &[unauthorized]).await;
    assert_eq!((times, renewed), (vec![secs(0), secs(0)], vec![false, true]));
    assert!(result.is_ok());
}

#[tokio::test]
async fn r5_a_retry_after_of_seven_seconds_is_waited_for() {
    // TrueLayer/reqwest-middleware #146
    let manual = ManualClock::new();
    let clock = manual.clock();
    let after = hint::parse_retry_after("7", clock.wall()).unwrap();
    let busy = Fails(Delivery::Rejected, Recovery::Throttled, Some(clock.wall() + after));
    let (times, _, result) = run(&manual, &clock, Repeat::Unsafe, &[busy]).await;
    assert!(result.is_ok() && times[1] >= secs(7), "{times:?}");
}

#[tokio::test]
async fn r14_a_jump_of_the_calendar_changes_no_pause() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let policy = plain(1);
    let rng = Rng::seeded(1);
    let result = manual.drive(retry(&policy, Repeat::Safe, Deadline::NONE, &clock, &rng, async |attempt| {
        if attempt.number == 1 {
            manual.set_wall(Timestamp::UNIX_EPOCH);
            return Err(Fails(Delivery::NotSent, Recovery::Transient, None));
        }
        Ok(clock.now())
    }));
    assert_eq!(result.await.unwrap(), Moment::ZERO + secs(1));
}

#[tokio::test]
async fn the_last_error_says_whether_an_earlier_attempt_may_have_been_applied() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let (lost, refused) = (
        Fails(Delivery::Unknown, Recovery::Transient, None),
        Fails(Delivery::NotSent, Recovery::Transient, None),
    );
    let failures = [lost, refused.clone(), refused.clone(), refused];
    let (_, _, result) = run(&manual, &clock, Repeat::Safe, &failures).await;
    let error = result.unwrap_err();
    assert_eq!(error.error.delivery(), Delivery::NotSent);
    assert_eq!(error.delivery(), Delivery::Unknown);
    assert_eq!(error.to_string(), "gave up after 4 attempts: all retries are used up");
}

#[tokio::test]
async fn r11_dropping_the_driver_while_it_sleeps_leaves_nothing_behind() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let (policy, rng) = (plain(3), Rng::seeded(1));
    let call = retry(&policy, Repeat::Safe, Deadline::NONE, &clock, &rng, async |_| {
        Err::<(), _>(Fails(Delivery::NotSent, Recovery::Transient, None))
    });
    let soon = Deadline::after(clock.now(), Duration::from_millis(500));
    assert!(manual.drive(clock.within(soon, call)).await.is_none());
    assert_eq!(manual.sleepers(), 0);
}

#[tokio::test]
async fn the_driver_can_run_on_a_task_of_its_own() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let task = tokio::spawn(async move {
        let (policy, rng) = (RetryPolicy::seed(), Rng::system());
        retry(&policy, Repeat::Safe, Deadline::NONE, &clock, &rng, async |attempt| {
            if attempt.number == 1 { Err(Fails(Delivery::NotSent, Recovery::Transient, None)) } else { Ok(1) }
        })
        .await
    });
    assert_eq!(manual.drive(task).await.unwrap().unwrap(), 1);
}
