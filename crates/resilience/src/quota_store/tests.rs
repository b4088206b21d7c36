use super::*;
use martlet_base::{ManualClock, Rng};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Places taken, members seen, and how often it was asked.
type Books = (Vec<(Moment, u32)>, BTreeMap<Arc<str>, Moment>, u32);

/// The reference: places by the time they come back, members by the time they were here.
#[derive(Debug)]
struct InMemory {
    clock: Clock,
    down: AtomicBool,
    state: Mutex<Books>,
}

impl InMemory {
    fn new(clock: &Clock) -> Arc<Self> {
        Arc::new(Self { clock: clock.clone(), down: AtomicBool::new(false), state: Mutex::default() })
    }

    fn asked(&self) -> u32 {
        lock(&self.state).2
    }
}

impl QuotaStore for InMemory {
    fn reserve<'a>(&'a self, ask: &'a Reservation) -> ReserveFuture<'a> {
        Box::pin(async move {
            if self.down.load(SeqCst) {
                return Err(QuotaStoreDown("unplugged".into()));
            }
            let now = self.clock.now();
            let (taken, members, asked) = &mut *lock(&self.state);
            *asked += 1;
            members.insert(Arc::clone(&ask.member), now);
            taken.retain(|(back, _)| *back > now);
            taken.push((now + ask.hold, ask.used_elsewhere));
            let used: u32 = taken.iter().map(|(_, n)| n).sum();
            let free = ask.limit.saturating_sub(used);
            let granted = if free < ask.least { 0 } else { ask.want.min(free) };
            taken.push((now + ask.hold, granted));
            let next = taken.iter().filter(|(_, n)| *n > 0).map(|(back, _)| back.since(now)).min();
            let members = members.values().filter(|seen| now.since(**seen) < ask.hold).count();
            Ok(Lease { granted, retry_in: next, members: u32::try_from(members).unwrap() })
        })
    }
}

fn window(store: &Arc<InMemory>, member: &str, rule: WhenDown) -> SharedWindow {
    let builder = SharedWindow::builder("acct", member, 100, secs(10)).when_down(rule);
    builder.build(Arc::clone(store) as Arc<dyn QuotaStore>).unwrap()
}

/// Violations of 100 arrivals in 10 s.
fn violations(mut arrivals: Vec<Moment>) -> usize {
    arrivals.sort();
    arrivals.windows(101).filter(|w| w[100].since(w[0]) < secs(10)).count()
}

/// Three processes that send as fast as they can for `total` arrivals each.
async fn fleet(manual: &ManualClock, windows: Vec<SharedWindow>, total: usize) -> Vec<Moment> {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = windows
        .into_iter()
        .zip(0u64..)
        .map(|(window, i)| {
            let (clock, arrivals, rng) = (manual.clock(), Arc::clone(&arrivals), Rng::seeded(i));
            tokio::spawn(async move {
                for _ in 0..total {
                    window.acquire(1, Deadline::NONE, &clock).await.unwrap();
                    lock(&arrivals).push(clock.now() + Duration::from_millis(rng.below(2_000)));
                }
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
    let arrivals = lock(&arrivals);
    arrivals.clone()
}

#[tokio::test]
async fn l12_three_processes_keep_one_window_and_ask_once_per_block() {
    let manual = ManualClock::new();
    let store = InMemory::new(&manual.clock());
    let windows = ["a", "b", "c"].map(|m| window(&store, m, WhenDown::LocalShare)).into();
    let arrivals = fleet(&manual, windows, 200).await;
    assert_eq!(violations(arrivals), 0);
    assert!(store.asked() < 200, "600 requests, {} round trips", store.asked());
    let took = manual.clock().now().since(Moment::ZERO);
    assert!(took < secs(80), "600 at 100 per 13 s: {took:?}");
}

#[tokio::test]
async fn l13_without_the_store_each_goes_on_with_its_share_and_tells_it_later() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let store = InMemory::new(&clock);
    let windows: Vec<_> = ["a", "b", "c"].map(|m| window(&store, m, WhenDown::LocalShare)).into();
    // Each is seen; then the blocks grow old.
    for _ in 0..2 {
        for window in &windows {
            window.acquire(1, Deadline::NONE, &clock).await.unwrap();
            manual.advance(secs(2));
        }
    }
    store.down.store(true, SeqCst);
    manual.advance(secs(20));
    let mut admitted = 0;
    for window in &windows {
        let now = Deadline::after(clock.now(), Duration::from_millis(1));
        while window.acquire(1, now, &clock).await.is_ok() {
            admitted += 1;
        }
    }
    assert_eq!(admitted, 99, "three thirds of 100");
    store.down.store(false, SeqCst);
    manual.advance(secs(2));
    for window in &windows {
        let soon = Deadline::after(clock.now(), Duration::from_millis(1));
        let _ = window.acquire(1, soon, &clock).await;
    }
    let used: u32 = lock(&store.state).0.iter().map(|(_, n)| n).sum();
    assert!(used >= 99, "what was used meanwhile is known to the store: {used}");
}

#[tokio::test]
async fn l13_open_admits_everything_and_closed_nothing() {
    let clock = ManualClock::new().clock();
    let store = InMemory::new(&clock);
    store.down.store(true, SeqCst);
    let open = window(&store, "a", WhenDown::Open);
    for _ in 0..1_000 {
        open.acquire(1, Deadline::NONE, &clock).await.unwrap();
    }
    let closed = window(&store, "a", WhenDown::Closed);
    assert_eq!(closed.acquire(1, Deadline::NONE, &clock).await, Err(LimitError::StoreDown));
}

#[tokio::test]
async fn l12_a_block_that_grew_old_is_not_used() {
    let manual = ManualClock::new();
    let (clock, store) = (manual.clock(), InMemory::new(&manual.clock()));
    let window = window(&store, "a", WhenDown::Closed);
    window.acquire(1, Deadline::NONE, &clock).await.unwrap();
    assert_eq!((window.left(clock.now()), store.asked()), (9, 1));
    manual.advance(secs(1));
    assert_eq!(window.left(clock.now()), 0);
    window.acquire(1, Deadline::NONE, &clock).await.unwrap();
    assert_eq!(store.asked(), 2);
}

#[tokio::test]
async fn l5_l12_a_cost_above_the_block_and_above_the_limit() {
    let manual = ManualClock::new();
    let (clock, store) = (manual.clock(), InMemory::new(&manual.clock()));
    let window = window(&store, "a", WhenDown::Closed);
    window.acquire(60, Deadline::NONE, &clock).await.unwrap();
    manual.drive(window.acquire(60, Deadline::NONE, &clock)).await.unwrap();
    assert!(clock.now() >= Moment::ZERO + secs(13));
    assert!(matches!(
        window.acquire(101, Deadline::NONE, &clock).await,
        Err(LimitError::CostTooHigh { limit: 100, .. })
    ));
    let soon = Deadline::after(clock.now(), secs(1));
    assert!(matches!(window.acquire(60, soon, &clock).await, Err(LimitError::DeadlineTooClose { .. })));
}
