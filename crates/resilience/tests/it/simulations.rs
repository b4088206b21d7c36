//! Large runs in virtual time.

use martlet_base::{Deadline, Delivery, ManualClock, Moment, Recovery, Rng};
use martlet_resilience::{
    AdaptiveConcurrency, Breaker, Decision, Failure, Limits, Priority, Repeat, Retry, RetryBudget,
    RetryPolicy, Verdict,
};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn secs(n: u64) -> Moment {
    Moment::ZERO + Duration::from_secs(n)
}

type Waiting<'a, T> = Pin<Box<dyn Future<Output = Option<T>> + 'a>>;

#[test]
fn l4_q4_a_million_random_cancellations_leak_no_permit() {
    // resilience4j RateLimiter (permits lost on interrupt), cross-media-measurement #4444, tower-resilience #365.
    let manual = ManualClock::new();
    let (clock, rng) = (manual.clock(), Rng::seeded(17));
    let limits = Limits::builder()
        .window("short", 50, millis(100))
        .smooth("smooth", 1_000, Duration::from_secs(1), 60)
        .concurrency(8)
        .build()
        .unwrap();
    let adaptive = AdaptiveConcurrency::builder().build().unwrap();
    let budget = RetryBudget::builder().refill_per_second(0.0).fraction(0.5, 100).build().unwrap();
    let breaker = Breaker::builder("b").build().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let classes = [Priority::Interactive, Priority::Delivery, Priority::Backfill];
    let mut waiting: Vec<Waiting<'_, martlet_resilience::LimitPermit<'_>>> = Vec::new();
    let mut held = Vec::new();
    let (mut cancelled, mut admitted) = (0u32, 0u32);
    while cancelled < 1_000_000 {
        match rng.below(8) {
            0..=2 => {
                let class = classes[usize::try_from(rng.below(3)).unwrap()];
                let cost = 1 + u32::try_from(rng.below(3)).unwrap();
                let (limits, clock) = (&limits, &clock);
                waiting.push(Box::pin(async move {
                    limits.acquire_as(class, cost, Deadline::NONE, clock).await.ok()
                }));
            }
            3 if !waiting.is_empty() => {
                let i = usize::try_from(rng.below(waiting.len() as u64)).unwrap();
                if let Poll::Ready(permit) = waiting[i].as_mut().poll(&mut cx) {
                    drop(waiting.swap_remove(i));
                    admitted += 1;
                    held.extend(permit);
                }
            }
            // A waiter, an admitted one, a probe, a paid retry go away, at whatever point they are.
            4 | 5 if !waiting.is_empty() => {
                let i = usize::try_from(rng.below(waiting.len() as u64)).unwrap();
                drop(waiting.swap_remove(i));
                cancelled += 1;
            }
            6 if !held.is_empty() => {
                let i = usize::try_from(rng.below(held.len() as u64)).unwrap();
                let permit = held.swap_remove(i);
                match rng.below(4) {
                    0 => permit.cancel(),
                    1 => permit.finish(clock.now()),
                    2 => permit.finish_unknown(clock.now(), millis(20)),
                    _ => drop(permit),
                }
                cancelled += 1;
            }
            _ => {
                drop(breaker.try_acquire(clock.now()));
                drop(adaptive.try_acquire(clock.now()));
                drop(budget.withdraw(Recovery::Transient, clock.now()));
                drop(budget.begin());
                cancelled += 4;
                manual.advance(millis(rng.below(5)));
            }
        }
        if waiting.len() > 40 {
            waiting.truncate(5);
        }
    }
    assert!(admitted > 1_000, "{admitted}");
    drop((waiting, held));
    manual.advance(Duration::from_secs(10));
    let now = clock.now();
    assert_eq!((limits.in_flight(), limits.queued()), (0, 0));
    assert!(limits.snapshot(now).iter().all(|w| w.used == 0), "{limits:?}");
    assert_eq!(adaptive.snapshot().in_flight, 0);
    assert_eq!((budget.available(now), budget.retries_in_flight()), (500, 0));
    assert_eq!((0..50).map_while(|_| limits.try_acquire(1, now).ok()).collect::<Vec<_>>().len(), 8);
}

/// 200 clients of one server, each with its own retries, budget and breaker, and one call a second.
struct Fleet {
    rng: Rng,
    clients: Vec<(Breaker, RetryBudget)>,
    policy: RetryPolicy,
    /// Requests that the server got in each second.
    load: Vec<u32>,
    /// Calls, those that succeeded, and attempts, by the second the call began.
    seconds: Vec<(u32, u32, u32)>,
}

/// More than this in one second, and the server answers nothing in that second: retries could keep it down for ever.
const COLLAPSE: u32 = 320;

enum Event {
    Begin(usize),
    Attempt(Box<Call>),
}

struct Call {
    client: usize,
    second: usize,
    retry: Retry,
}

impl Fleet {
    fn new(clients: usize) -> Self {
        let rng = Rng::seeded(23);
        let breaker = || Breaker::builder("fleet").rng(rng.clone()).build().unwrap();
        let clients = (0..clients).map(|_| (breaker(), RetryBudget::standard())).collect();
        Self {
            rng,
            clients,
            policy: RetryPolicy::seed(),
            load: vec![0; 1_000],
            seconds: vec![(0, 0, 0); 1_000],
        }
    }

    fn attempt(
        &mut self,
        mut call: Box<Call>,
        now: Moment,
        down: impl Fn(u64) -> bool,
    ) -> Option<(Moment, Event)> {
        let second = now.as_nanos() / 1_000_000_000;
        let slot = usize::try_from(second).unwrap();
        let (breaker, _) = &self.clients[call.client];
        let failure = match breaker.try_acquire(now) {
            Err(open) => Failure::new(Delivery::NotSent, Recovery::Refused).not_before(open.retry_at),
            Ok(permit) => {
                call.retry.begin_attempt();
                self.load[slot] += 1;
                self.seconds[call.second].2 += 1;
                let answered = now + millis(20 + self.rng.below(60));
                if !down(second) && self.load[slot] <= COLLAPSE {
                    permit.record(Verdict::Success, answered);
                    self.seconds[call.second].1 += 1;
                    call.retry.succeeded();
                    return None;
                }
                permit.record(Verdict::Failure, answered);
                Failure::new(Delivery::Unknown, Recovery::Transient)
            }
        };
        match call.retry.after_failure(failure, now, &self.rng) {
            Decision::RetryAt(at) => Some((at, Event::Attempt(call))),
            _ => None,
        }
    }

    fn run(&mut self, until: u64, down: impl Fn(u64) -> bool + Copy) {
        let mut heap = BinaryHeap::new();
        let mut events = Vec::new();
        let push = |heap: &mut BinaryHeap<Reverse<(Moment, usize)>>, events: &mut Vec<_>, at, event| {
            heap.push(Reverse((at, events.len())));
            events.push(Some(event));
        };
        for client in 0..self.clients.len() {
            let at = Moment::ZERO + millis(self.rng.below(1_000));
            push(&mut heap, &mut events, at, Event::Begin(client));
        }
        while let Some(Reverse((now, id))) = heap.pop() {
            if now >= secs(until) {
                continue;
            }
            let event: Option<Event> = events[id].take();
            let next = match event.expect("each event happens once") {
                Event::Begin(client) => {
                    push(&mut heap, &mut events, now + Duration::from_secs(1), Event::Begin(client));
                    let second = usize::try_from(now.as_nanos() / 1_000_000_000).unwrap();
                    self.seconds[second].0 += 1;
                    let deadline = Deadline::after(now, Duration::from_secs(60));
                    let retry =
                        Retry::new(&self.policy, Repeat::Safe, deadline).with_budget(&self.clients[client].1);
                    self.attempt(Box::new(Call { client, second, retry }), now, down)
                }
                Event::Attempt(call) => self.attempt(call, now, down),
            };
            if let Some((at, event)) = next {
                push(&mut heap, &mut events, at, event);
            }
        }
    }

    /// In how many of these seconds the server had too much to do.
    fn collapsed(&self, from: usize, to: usize) -> usize {
        self.load[from..to].iter().filter(|load| **load > COLLAPSE).count()
    }

    /// Calls, those that succeeded, and attempts, of the calls begun in these seconds.
    fn sum(&self, from: usize, to: usize) -> (u32, u32, u32) {
        self.seconds[from..to].iter().fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2))
    }
}

#[test]
fn a_fleet_of_two_hundred_clients_survives_an_outage_without_a_storm_and_without_a_second_collapse() {
    // Polly #216, #223: stampede. aws-sdk-rust #1234: unlimited retries.
    let mut fleet = Fleet::new(200);
    fleet.run(400, |second| (60..120).contains(&second));
    let (calls, good, attempts) = fleet.sum(0, 60 - 20);
    assert_eq!((good, attempts), (calls, calls), "well before the outage");
    let (calls, _, attempts) = fleet.sum(60, 120);
    let amplification = f64::from(attempts) / f64::from(calls);
    assert!(amplification <= 1.2, "{amplification}");
    // When the server is back it never sees more than it can take.
    let most = fleet.load[120..400].iter().max().unwrap();
    assert!(*most <= COLLAPSE, "{most} requests in one second");
    assert_eq!(fleet.collapsed(120, 400), 0);
    let (calls, good, _) = fleet.sum(160, 380);
    assert!(f64::from(good) >= 0.99 * f64::from(calls), "{good} of {calls} after the recovery");
}

#[test]
fn the_same_fleet_without_breaker_and_budget_stays_down() {
    // The judge can see a storm: retries alone keep the server down after the outage.
    let mut fleet = Fleet::new(200);
    for (breaker, budget) in &mut fleet.clients {
        breaker.set_mode(martlet_resilience::BreakerMode::Disabled);
        *budget = RetryBudget::builder().capacity(1_000_000).build().unwrap();
    }
    fleet.run(400, |second| (60..120).contains(&second));
    let (calls, _, attempts) = fleet.sum(60, 120);
    assert!(f64::from(attempts) > 1.2 * f64::from(calls));
    assert!(fleet.collapsed(120, 400) > 0);
}
