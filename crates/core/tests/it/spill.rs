//! Work that finds a full queue waits in a durable one.

use martlet_base::{Clock, Deadline, ManualClock, Moment, Rng};
use martlet_core::spill::{Entered, SpillError, SpillQueue};
use martlet_resilience::{LimitError, LimitPermit, Limits, Overflow, Priority};
use martlet_store::{MemoryStore, Queue, QueueName, Store};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CLASSES: [Priority; 3] = [Priority::Interactive, Priority::Delivery, Priority::Backfill];

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn queue(store: &Arc<MemoryStore>) -> Queue {
    Queue::new(Arc::clone(store) as Arc<dyn Store>, QueueName::new("q/spill").unwrap())
}

async fn spill(limits: Limits, store: &Arc<MemoryStore>) -> SpillQueue {
    SpillQueue::open(limits, queue(store)).await.unwrap()
}

async fn enter<'a>(spill: &'a SpillQueue, class: Priority, body: &str, clock: &Clock) -> Entered<'a> {
    let body = body.to_owned();
    spill.enter(class, || body.into(), Deadline::NONE, clock).await.unwrap()
}

fn admitted(entered: Entered<'_>) -> LimitPermit<'_> {
    match entered {
        Entered::Admitted(permit) => permit,
        Entered::Spilled => panic!("it was spilled"),
    }
}

#[tokio::test]
async fn q6_what_overflows_is_done_later_each_once_and_in_the_order_of_its_class() {
    assert_eq!(busy_day(Overflow::RejectNew).await, 0);
    // What the memory's queue pushes out for something more urgent loses its turn there, and nothing else does.
    let swapped = busy_day(Overflow::ShedLowest).await;
    assert!(swapped <= 10, "{swapped}");
}

/// How often two of a class were begun in another order than they came in.
async fn busy_day(overflow: Overflow) -> usize {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let limits = Limits::builder().concurrency(3).max_queue(5).overflow(overflow).build().unwrap();
    let spill = Arc::new(spill(limits.clone(), &store).await);
    // What was begun, in its order, by class.
    let begun: Arc<Mutex<BTreeMap<Priority, Vec<u32>>>> = Arc::default();
    let spilled = Arc::new(Mutex::new(0));
    let drain = tokio::spawn({
        let (spill, clock, begun) = (Arc::clone(&spill), clock.clone(), Arc::clone(&begun));
        async move {
            loop {
                let work = spill.next(&clock).await.unwrap();
                let number = std::str::from_utf8(work.body()).unwrap().parse().unwrap();
                begun.lock().unwrap().entry(work.class()).or_default().push(number);
                clock.sleep(secs(1)).await;
                work.done(clock.now()).await.unwrap();
            }
        }
    });
    // Calls of random classes come faster than they are done, then the drain catches up.
    let total = 400;
    manual
        .drive(async {
            let (rng, timer) = (Rng::seeded(6), clock.clone());
            let mut calls = Vec::new();
            for number in 0..total {
                let (spill, clock, begun) = (Arc::clone(&spill), clock.clone(), Arc::clone(&begun));
                let (class, spilled) = (CLASSES[rng.below(3) as usize], Arc::clone(&spilled));
                calls.push(tokio::spawn(async move {
                    match enter(&spill, class, &number.to_string(), &clock).await {
                        Entered::Admitted(permit) => {
                            begun.lock().unwrap().entry(class).or_default().push(number);
                            clock.sleep(secs(1)).await;
                            permit.finish(clock.now());
                        }
                        Entered::Spilled => *spilled.lock().unwrap() += 1,
                    }
                }));
                timer.sleep(Duration::from_millis(rng.below(400))).await;
            }
            for call in calls {
                call.await.unwrap();
            }
            while spill.waiting() > 0 || limits.in_flight() > 0 {
                clock.sleep(secs(1)).await;
            }
        })
        .await;
    drain.abort();
    assert_eq!(queue(&store).depth().await.unwrap().total(), 0);
    let begun = begun.lock().unwrap();
    let mut all: Vec<u32> = begun.values().flatten().copied().collect();
    all.sort_unstable();
    assert_eq!(all, (0..total).collect::<Vec<_>>(), "each once, none lost");
    assert!(*spilled.lock().unwrap() > 50, "{spilled:?}");
    begun.values().flat_map(|class| class.windows(2)).filter(|two| two[0] > two[1]).count()
}

#[tokio::test]
async fn q6_nobody_overtakes_what_waits_in_the_store() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let spill = spill(Limits::builder().concurrency(1).max_queue(0).build().unwrap(), &store).await;
    let first = admitted(enter(&spill, Priority::Delivery, "0", &clock).await);
    for body in ["1", "2", "3"] {
        assert!(matches!(enter(&spill, Priority::Delivery, body, &clock).await, Entered::Spilled));
    }
    first.finish(clock.now());
    // There is room, and yet:
    assert!(matches!(enter(&spill, Priority::Backfill, "later", &clock).await, Entered::Spilled));
    assert!(matches!(enter(&spill, Priority::Delivery, "4", &clock).await, Entered::Spilled));
    // Something more urgent waits for nobody.
    admitted(enter(&spill, Priority::Interactive, "now", &clock).await).finish(clock.now());
    let mut order = Vec::new();
    for _ in 0..5 {
        let work = spill.next(&clock).await.unwrap();
        order.push(String::from_utf8(work.body().to_vec()).unwrap());
        work.done(clock.now()).await.unwrap();
    }
    assert_eq!(order, ["1", "2", "3", "4", "later"]);
    assert_eq!(spill.waiting(), 0);
    admitted(enter(&spill, Priority::Backfill, "room again", &clock).await).cancel();
}

#[tokio::test]
async fn q6_a_crash_loses_nothing_and_what_was_left_comes_first() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let one = || Limits::builder().concurrency(1).max_queue(0).build().unwrap();
    {
        let spill = spill(one(), &store).await;
        let _busy = admitted(enter(&spill, Priority::Delivery, "0", &clock).await);
        for body in ["1", "2"] {
            enter(&spill, Priority::Delivery, body, &clock).await;
        }
    }
    let spill = spill(one(), &store).await.visibility(secs(10));
    assert_eq!(spill.waiting(), 2);
    assert!(matches!(enter(&spill, Priority::Interactive, "new", &clock).await, Entered::Spilled));
    // Handed out and not done: the place comes back at once, the work after its visibility.
    drop(spill.next(&clock).await.unwrap());
    let mut order = Vec::new();
    manual
        .drive(async {
            for _ in 0..3 {
                let work = spill.next(&clock).await.unwrap();
                order.push(String::from_utf8(work.body().to_vec()).unwrap());
                work.done(clock.now()).await.unwrap();
            }
        })
        .await;
    order.sort_unstable();
    assert_eq!(order, ["1", "2", "new"]);
}

#[tokio::test]
async fn q6_what_waits_for_a_place_longer_than_its_visibility_is_not_handed_out_twice() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let limits = Limits::builder().concurrency(1).max_queue(4).build().unwrap();
    let spill = spill(limits.clone(), &store).await.visibility(secs(2));
    let busy = admitted(enter(&spill, Priority::Delivery, "0", &clock).await);
    queue(&store).enqueue(martlet_store::Message::new("1").priority(1)).await.unwrap();
    let other = queue(&store);
    manual
        .drive(async {
            let waits = spill.next(&clock);
            let looks = async {
                for _ in 0..20 {
                    clock.sleep(secs(1)).await;
                    assert!(other.receive(1, secs(1)).await.unwrap().is_empty(), "it is in good hands");
                }
                busy.finish(clock.now());
            };
            let (work, ()) = tokio::join!(waits, looks);
            work.unwrap().done(clock.now()).await.unwrap();
        })
        .await;
    assert_eq!((limits.in_flight(), other.depth().await.unwrap().total()), (0, 0));
}

#[tokio::test]
async fn q6_a_deadline_that_cannot_be_met_is_an_error_and_is_not_spilled() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let spill = spill(Limits::builder().window("w", 1, secs(60)).build().unwrap(), &store).await;
    admitted(enter(&spill, Priority::Delivery, "0", &clock).await).finish(clock.now());
    let soon = Deadline::after(clock.now(), secs(5));
    let built = || unreachable!("nothing is built for what is not written");
    let refused = spill.enter(Priority::Delivery, built, soon, &clock).await.unwrap_err();
    assert!(matches!(refused, SpillError::Limits(LimitError::DeadlineTooClose { .. })), "{refused}");
    assert_eq!((spill.waiting(), queue(&store).depth().await.unwrap().total()), (0, 0));
    assert!(clock.now() == Moment::ZERO);
}
