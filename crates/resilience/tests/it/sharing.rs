//! Limits beyond strict windows: classes, shares, changes, pauses that spread, calendars, plans.

use martlet_base::{Clock, Deadline, ManualClock, Moment, Rng};
use martlet_resilience::{
    Bulkhead, Calendar, LimitError, Limits, LimitsBuilder, NextPlace, Overflow, Priority,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

use Priority::{Backfill, Delivery, Interactive};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn at(n: u64) -> Moment {
    Moment::ZERO + secs(n)
}

fn one_at_once() -> LimitsBuilder {
    Limits::builder().concurrency(1)
}

/// A class, when it comes, and how long it holds its place.
type Caller = (Priority, u64, u64);

/// The order in which the callers are served by `limits`, as their numbers.
async fn order(limits: &Limits, callers: &[Caller]) -> Vec<usize> {
    let manual = ManualClock::new();
    let served = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<JoinHandle<()>> = callers
        .iter()
        .enumerate()
        .map(|(i, (class, comes, holds))| {
            let (limits, clock, served) = (limits.clone(), manual.clock(), Arc::clone(&served));
            let (class, comes, holds) = (*class, *comes, *holds);
            tokio::spawn(async move {
                clock.sleep_until(at(comes)).await;
                let permit = limits.acquire_as(class, 1, Deadline::NONE, &clock).await.unwrap();
                served.lock().unwrap().push(i);
                clock.sleep(secs(holds)).await;
                permit.finish(clock.now());
            })
        })
        .collect();
    manual
        .drive(async {
            for task in tasks {
                task.await.unwrap();
            }
        })
        .await;
    let served = served.lock().unwrap();
    served.clone()
}

#[tokio::test]
async fn q3_the_higher_class_is_served_first_and_each_class_in_its_order() {
    let limits = one_at_once().build().unwrap();
    let callers = [
        (Delivery, 0, 20),
        (Backfill, 1, 1),
        (Delivery, 2, 1),
        (Interactive, 3, 1),
        (Delivery, 4, 1),
        (Interactive, 5, 1),
    ];
    assert_eq!(order(&limits, &callers).await, [0, 3, 5, 2, 4, 1]);
}

#[tokio::test]
async fn q3_nobody_starves_behind_a_stream_of_urgent_calls() {
    // node-rate-limiter #56
    let limits = one_at_once().ageing(secs(10)).build().unwrap();
    let mut callers = vec![(Interactive, 0, 2), (Backfill, 0, 1)];
    callers.extend((1..60).map(|second| (Interactive, second, 2)));
    let served = order(&limits, &callers).await;
    let turn = served.iter().position(|i| *i == 1).unwrap();
    assert!((18..24).contains(&turn), "after 20 s it stands beside those who came then: {turn}");
}

#[tokio::test]
async fn q3_an_urgent_newcomer_passes_the_one_that_sleeps_for_the_next_place() {
    let limits = Limits::builder().window("w", 1, secs(10)).build().unwrap();
    let callers = [(Delivery, 0, 0), (Backfill, 1, 0), (Interactive, 5, 0)];
    assert_eq!(order(&limits, &callers).await, [0, 2, 1]);
}

async fn enter(limits: &Limits, class: Priority, clock: &Clock) -> Result<(), LimitError> {
    limits.acquire_as(class, 1, Deadline::NONE, clock).await.map(drop)
}

#[tokio::test]
async fn q6_a_full_queue_rejects_the_new_one_or_sheds_the_lowest_class() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let full = async |overflow| {
        let limits = one_at_once().max_queue(2).overflow(overflow).build().unwrap();
        let held = limits.try_acquire(1, clock.now()).unwrap().into_owned();
        let mut tasks = Vec::new();
        for class in [Backfill, Backfill] {
            let (limits, clock) = (limits.clone(), clock.clone());
            tasks.push(tokio::spawn(async move { enter(&limits, class, &clock).await }));
            tokio::task::yield_now().await;
        }
        assert_eq!(enter(&limits, Backfill, &clock).await, Err(LimitError::QueueFull { depth: 2 }));
        (limits, held, tasks)
    };
    let (limits, held, _tasks) = full(Overflow::RejectNew).await;
    assert_eq!(enter(&limits, Interactive, &clock).await, Err(LimitError::QueueFull { depth: 2 }));
    drop(held);
    let (limits, held, tasks) = full(Overflow::ShedLowest).await;
    let urgent = {
        let (limits, clock) = (limits.clone(), clock.clone());
        tokio::spawn(async move { enter(&limits, Interactive, &clock).await })
    };
    tokio::task::yield_now().await;
    held.cancel();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    assert_eq!(results, [Ok(()), Err(LimitError::Shed)]);
    assert_eq!(urgent.await.unwrap(), Ok(()));
    assert_eq!((limits.queued(), limits.in_flight()), (0, 0));
}

#[tokio::test]
async fn q7_what_cannot_meet_its_deadline_is_dropped_before_it_is_sent() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let limits = Limits::builder().window("w", 1, secs(10)).build().unwrap();
    limits.try_acquire(1, clock.now()).unwrap().finish(clock.now());
    let soon = Deadline::after(clock.now(), secs(9));
    let refused = limits.acquire(1, soon, &clock).await.unwrap_err();
    assert_eq!(refused, LimitError::DeadlineTooClose { next: Some(at(10)) });
    assert_eq!((limits.queued(), clock.now()), (0, at(0)), "at once, not at the deadline");
}

#[test]
fn l6_a_share_leaves_the_rest_of_the_quota_to_others() {
    let limits = Limits::builder().window("w", 100, secs(10)).share(0.3).build().unwrap();
    let permits: Vec<_> = (0..100).map_while(|_| limits.try_acquire(1, at(0)).ok()).collect();
    assert_eq!(permits.len(), 30);
    permits.into_iter().for_each(|p| p.finish(at(0)));
    assert!(limits.set_window("w", 1_000, secs(10)));
    assert_eq!((0..1_000).map_while(|_| limits.try_acquire(1, at(0)).ok()).count(), 270);
    let tiny = Limits::builder().window("w", 2, secs(10)).share(0.1).build().unwrap();
    assert!(tiny.try_acquire(1, at(0)).is_ok(), "at least one place");
    // What others used of the whole counts only when it cuts into the share.
    let half = Limits::builder().window("w", 100, secs(10)).share(0.5).build().unwrap();
    half.observe_remaining("w", 60, at(10), at(0));
    assert_eq!(half.snapshot(at(0))[0].used, 0);
    half.observe_remaining("w", 20, at(10), at(0));
    assert_eq!(half.snapshot(at(0))[0].used, 30);
    for share in [0.0, -1.0, 1.1, f64::NAN] {
        assert_eq!(Limits::builder().share(share).build().unwrap_err().field(), "share");
    }
}

#[tokio::test]
async fn l6_a_cap_can_shrink_below_what_is_in_flight_and_grow_for_those_who_wait() {
    let manual = ManualClock::new();
    let (clock, bulkhead) = (manual.clock(), Bulkhead::new(3, 10).unwrap());
    let mut held: Vec<_> = (0..3).map(|_| bulkhead.try_enter(clock.now()).unwrap()).collect();
    assert!(bulkhead.resize(1) && !bulkhead.resize(0));
    held.truncate(1);
    assert!(bulkhead.try_enter(clock.now()).is_err());
    let waiter = {
        let (bulkhead, clock) = (bulkhead.clone(), clock.clone());
        tokio::spawn(async move { bulkhead.enter_as(Interactive, Deadline::NONE, &clock).await.map(drop) })
    };
    tokio::task::yield_now().await;
    assert_eq!(bulkhead.queued(), 1);
    bulkhead.resize(2);
    waiter.await.unwrap().unwrap();
}

#[test]
fn l10_smooth_strict_and_calendar_windows_admit_together_or_not_at_all() {
    let clock = ManualClock::new().clock();
    let limits = Limits::builder()
        .smooth("smooth", 10, secs(1), 2)
        .window("strict", 5, secs(10))
        .calendar("daily", 4, Calendar::Day, 0, &clock)
        .build()
        .unwrap();
    let take = |now| limits.try_acquire(1, now).map(|p| p.finish(now));
    let used = |now| limits.snapshot(now).iter().map(|w| w.used).collect::<Vec<_>>();
    assert!(take(at(0)).is_ok() && take(at(0)).is_ok());
    let soon = at(0) + Duration::from_millis(100);
    assert_eq!(take(at(0)).unwrap_err().at, Some(soon));
    assert_eq!(used(at(0)), [2, 2, 2], "a refusal takes nothing anywhere");
    limits.try_acquire(1, at(1)).unwrap().cancel();
    assert_eq!(used(at(1)), [0, 2, 2], "a cancelled one gives back everywhere");
    assert!(take(at(1)).is_ok() && take(at(1)).is_ok());
    assert_eq!(take(at(2)).unwrap_err().at, Some(at(86_400)), "the day is spent");
    assert!(take(at(86_400)).is_ok());
    assert_eq!(limits.try_acquire(3, at(90_000)).unwrap_err().at, None, "more than the burst");
}

#[tokio::test]
async fn a_calendar_that_jumps_moves_the_reset_of_those_who_wait() {
    let manual = ManualClock::starting_at("2026-05-05T12:00:00Z".parse().unwrap());
    let clock = manual.clock();
    let limits = Limits::builder().calendar("daily", 1, Calendar::Day, 7_200, &clock).build().unwrap();
    limits.acquire(1, Deadline::NONE, &clock).await.unwrap().finish(clock.now());
    manual.set_wall("2026-05-05T21:00:00Z".parse().unwrap());
    manual.drive(limits.acquire(1, Deadline::NONE, &clock)).await.unwrap().finish(clock.now());
    assert_eq!(clock.now(), at(3_600), "midnight in Paris is an hour away");
}

#[test]
fn l15_programs_that_wait_for_one_reset_do_not_come_back_together_and_none_too_early() {
    let release = |seed| {
        let builder = Limits::builder().window("w", 100, secs(10)).spread_releases(Rng::seeded(seed));
        let limits = builder.build().unwrap();
        limits.block_until(at(60));
        limits.try_acquire(1, at(0)).unwrap_err().at.unwrap().since(at(60))
    };
    let spread: Vec<_> = (0..200).map(release).collect();
    let interval = Duration::from_millis(100);
    assert!(spread.iter().all(|d| *d <= interval));
    for tenth in 0..10 {
        let range = interval * tenth / 10..interval * (tenth + 1) / 10;
        let n = spread.iter().filter(|d| range.contains(d)).count();
        assert!((8..35).contains(&n), "{range:?}: {n}");
    }
}

#[test]
fn l7_a_shorter_pause_changes_nothing_also_when_releases_spread() {
    let limits = Limits::builder().window("w", 1, secs(10)).spread_releases(Rng::seeded(1)).build().unwrap();
    limits.block_until(at(60));
    let first = limits.blocked_until(at(0));
    limits.block_until(at(60));
    limits.block_until(at(30));
    assert_eq!(limits.blocked_until(at(0)), first);
}

#[test]
fn a_plan_says_what_a_run_takes() {
    // The plan of a strict window is what a run as fast as possible really takes.
    for (limit, per, used, calls) in [(100, 10, 0, 1_000), (7, 3, 5, 23), (1, 60, 1, 5), (10, 10, 10, 1)] {
        let limits = Limits::builder().window("w", limit, secs(per)).concurrency(1).build().unwrap();
        for i in 0..used {
            limits.try_acquire(1, at(0)).unwrap().finish(at(0) + secs(1) * i / 10);
        }
        let mut now = at(1);
        let plan = limits.plan(calls, now);
        for _ in 0..calls {
            while let Err(NextPlace { at, .. }) = limits.try_acquire(1, now).map(|p| p.finish(now)) {
                now = at.unwrap();
            }
        }
        assert_eq!(plan.finishes_at, now, "{calls} calls, {used} of {limit} in {per} s used");
        assert_eq!(plan.duration, now.since(at(1)));
    }
}

#[test]
fn a_plan_names_the_bottleneck_and_the_share() {
    let clock = ManualClock::new().clock();
    let limits = Limits::builder()
        .window("ten_secondly", 100, secs(10))
        .calendar("daily", 10_000, Calendar::Day, 0, &clock)
        .build()
        .unwrap();
    let plan = limits.plan(5_000, at(0));
    assert_eq!((plan.bottleneck.as_deref(), plan.share), (Some("ten_secondly"), 1.0));
    let plan = limits.plan(25_000, at(0));
    assert_eq!((plan.bottleneck.as_deref(), plan.finishes_at), (Some("daily"), at(2 * 86_400)));
    let plan = limits.plan(50, at(0));
    assert_eq!((plan.bottleneck.as_deref(), plan.duration, plan.share), (None, Duration::ZERO, 0.5));
    // What is under way comes back a span from now at the earliest.
    let busy = Limits::builder().window("w", 2, secs(10)).build().unwrap();
    let _held = (busy.try_acquire(1, at(0)).unwrap(), busy.try_acquire(1, at(0)).unwrap());
    assert_eq!((busy.plan(1, at(5)).finishes_at, busy.plan(3, at(5)).finishes_at), (at(15), at(25)));
    limits.block_until(at(60));
    assert_eq!(limits.plan(1, at(0)).finishes_at, at(60));
    assert_eq!(limits.plan(0, at(0)).calls, 0);
    let smooth = Limits::builder().smooth("s", 10, secs(1), 5).build().unwrap();
    assert_eq!(smooth.plan(105, at(0)).duration, secs(10));
}

#[test]
fn q5_the_place_is_held_until_the_body_is_read_when_the_body_holds_the_permit() {
    // linkerd2-proxy #751
    struct Answer {
        body: Vec<u8>,
        _place: martlet_resilience::BulkheadPermit<'static>,
    }
    let bulkhead = Bulkhead::new(1, 0).unwrap();
    let answer = Answer { body: vec![1, 2, 3], _place: bulkhead.try_enter(at(0)).unwrap().into_owned() };
    assert!(bulkhead.try_enter(at(1)).is_err(), "the head is here, the body is not read");
    assert_eq!(answer.body.len(), 3);
    drop(answer);
    assert!(bulkhead.try_enter(at(1)).is_ok());
}

#[tokio::test]
async fn an_owned_permit_goes_to_another_task_and_gives_back_exactly_once() {
    use martlet_resilience::{Breaker, Verdict};
    let limits = one_at_once().build().unwrap();
    let mine = limits.try_acquire(1, at(0)).unwrap();
    let theirs = mine.into_owned();
    assert_eq!(limits.in_flight(), 1, "handing it over neither frees nor takes");
    tokio::spawn(async move { theirs.finish(at(1)) }).await.unwrap();
    assert_eq!(limits.in_flight(), 0);

    let breaker = Breaker::builder("b").probes(1).consecutive_failures(1).build().unwrap();
    breaker.try_acquire(at(0)).unwrap().record(Verdict::Failure, at(0));
    let probe = breaker.try_acquire(at(60)).unwrap().into_owned();
    assert!(breaker.try_acquire(at(60)).is_err(), "the one probe is still out");
    let closed = tokio::spawn(async move { probe.record(Verdict::Success, at(61)) }).await.unwrap();
    assert!(closed.is_some() && breaker.try_acquire(at(61)).is_ok());
}
