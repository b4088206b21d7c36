//! The primitives of `martlet-resilience` beside their peers, on one machine in one run. Every figure is in nanoseconds; lower
//! is better. Both sides read the clock themselves wherever a user has to; the floor says what one reading costs.
//!
//! `cargo bench -p martlet-benches-primitives`; on a busy machine pinned to a core (`taskset -c 1`), but then the cases of two
//! threads are left out.

#![expect(clippy::print_stdout, reason = "a bench speaks on stdout")]

use backon::BackoffBuilder as _;
use failsafe::CircuitBreaker as _;
use martlet_base::{Clock, Deadline, Delivery, Fault, Recovery, Rng};
use martlet_benches::{Report, Subject};
use martlet_resilience::{
    Backoff, Breaker, Bulkhead, Gcra, Jitter, Limits, Registry, Repeat, RetryBudget, RetryPolicy,
    SingleFlight, Verdict, retry,
};
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn, ready};
use std::hint::black_box;
use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::pin;
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tower::limit::ConcurrencyLimit;
use tower::{Layer as _, Service, service_fn};
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_circuitbreaker::CircuitBreakerLayer;

const SEC: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

fn main() {
    let mut report = Report::new("primitives");
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let clock = Clock::system();
    breakers(&mut report, &clock);
    limiters(&mut report, &clock);
    retries(&mut report, &clock);
    bulkheads(&mut report, &clock);
    composed(&mut report, &clock);
    single_flight(&mut report, &runtime);
    two_threads(&mut report, &clock);
    keyed(&mut report, &clock);
    report.case("the floor", vec![Subject::new("reading the clock once", || clock.now())]);
    report.write();
}

/// Polls a future that is ready at once.
fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(out) => out,
        Poll::Pending => panic!("it should have been ready"),
    }
}

/// Polls a future until it is ready: on two threads a peer may have to wait for the other's lock.
fn spin<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(out) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return out;
        }
        std::hint::spin_loop();
    }
}

fn ask<S: Service<u32>>(service: &mut S) -> Result<S::Response, S::Error> {
    at_once(poll_fn(|cx| service.poll_ready(cx)))?;
    at_once(service.call(7))
}

fn ours(breaker: &Breaker, clock: &Clock) {
    let permit = breaker.try_acquire(clock.now()).expect("it is closed");
    permit.record(Verdict::Success, clock.now());
}

fn breakers(report: &mut Report, clock: &Clock) {
    let inner = || service_fn(|request: u32| ready(Ok::<_, Infallible>(request)));
    let now = clock.now();
    let count = Breaker::builder("count").count_window(100).build().expect("valid");
    let mut peer =
        CircuitBreakerLayer::builder().sliding_window_size(100).build().expect("valid").layer(inner());
    let failsafe = failsafe::Config::new().build();
    report.case(
        "breaker, call that succeeds, last 100 calls",
        vec![
            Subject::new("martlet", || ours(&count, clock)),
            Subject::new("martlet, the time at hand", || {
                count.try_acquire(now).map(|permit| permit.record(Verdict::Success, now))
            }),
            Subject::new("tower-resilience", || ask(&mut peer)),
            Subject::new("failsafe (moving average)", || failsafe.call(|| Ok::<_, Down>(7))),
        ],
    );

    // A peer whose window keeps every call can be held at few of them only by a short window.
    for (calls, theirs, case) in [
        (100, Duration::from_micros(30), "breaker, call that succeeds, about 100 calls in the time window"),
        (64_000, 600 * SEC, "breaker, call that succeeds, 64,000 calls and more in the time window"),
    ] {
        let time = Breaker::builder("time").window(600 * SEC, 10).build().expect("valid");
        let mut peer = CircuitBreakerLayer::builder()
            .sliding_window_type(tower_resilience_circuitbreaker::SlidingWindowType::TimeBased)
            .sliding_window_duration(theirs)
            .build()
            .expect("valid")
            .layer(inner());
        for _ in 0..calls {
            ours(&time, clock);
            let _ = ask(&mut peer);
        }
        report.case(
            case,
            vec![
                Subject::new("martlet", || ours(&time, clock)),
                Subject::new("tower-resilience", || ask(&mut peer)),
            ],
        );
    }

    let open = Breaker::builder("open")
        .open_for(3_600 * SEC, 3_600 * SEC)
        .consecutive_failures(1)
        .build()
        .expect("valid");
    open.try_acquire(clock.now()).expect("it is closed").record(Verdict::Failure, clock.now());
    let failsafe = failsafe::Config::new()
        .failure_policy(failsafe::failure_policy::consecutive_failures(1, std::iter::repeat(3_600 * SEC)))
        .build();
    let _ = failsafe.call(|| Err::<u32, _>(Down));
    report.case(
        "breaker, open: refused",
        vec![
            Subject::new("martlet, the time at hand", || open.try_acquire(now).is_err()),
            Subject::new("martlet, with the clock read", || open.try_acquire(clock.now()).is_err()),
            Subject::new("failsafe", || failsafe.call(|| Ok::<_, Down>(7)).is_err()),
        ],
    );
}

fn limiters(report: &mut Report, clock: &Clock) {
    let many = NonZeroU32::new(1_000_000_000).expect("above zero");
    let quota = governor::Quota::per_second(many).allow_burst(many);
    let gcra = Gcra::new(1_000_000_000, SEC, 1_000_000_000).expect("valid");
    // One clock for both: the same readings of `Instant`.
    let monotonic = governor::RateLimiter::direct_with_clock(quota, governor::clock::MonotonicClock);
    let quanta = governor::RateLimiter::direct(quota);
    report.case(
        "smooth limit, admitted",
        vec![
            Subject::new("martlet Gcra", || gcra.try_acquire(1, clock.now())),
            Subject::new("governor, the same clock", || monotonic.check()),
            Subject::new("governor, its TSC clock", || quanta.check()),
        ],
    );
    let one = governor::Quota::per_hour(NonZeroU32::MIN);
    let (spent, governor) = (
        Gcra::new(1, 3_600 * SEC, 1).expect("valid"),
        governor::RateLimiter::direct_with_clock(one, governor::clock::MonotonicClock),
    );
    let _ = (spent.try_acquire(1, clock.now()), governor.check());
    report.case(
        "smooth limit, refused",
        vec![
            Subject::new("martlet Gcra", || spent.try_acquire(1, clock.now()).is_err()),
            Subject::new("governor, the same clock", || governor.check().is_err()),
        ],
    );

    let strict = Limits::builder().window("second", 1_000, Duration::from_micros(1)).build().expect("valid");
    let two = Limits::builder()
        .window("short", 1_000, Duration::from_micros(1))
        .window("long", 100_000, Duration::from_micros(100))
        .build()
        .expect("valid");
    let admit = |limits: &Limits, now| {
        if let Ok(permit) = limits.try_acquire(1, now) {
            permit.finish(now);
        }
    };
    let at = std::cell::Cell::new(clock.now());
    report.case(
        "strict windows, place taken and given back (no peer keeps arrivals)",
        vec![
            Subject::new("martlet, one window of 1,000, the time at hand", || {
                at.set(at.get() + Duration::from_nanos(40));
                admit(&strict, at.get());
            }),
            Subject::new("martlet, one window of 1,000", || admit(&strict, clock.now())),
            Subject::new("martlet, two windows", || admit(&two, clock.now())),
        ],
    );
}

fn retries(report: &mut Report, clock: &Clock) {
    let (policy, rng) = (RetryPolicy::seed(), Rng::system());
    let paid = RetryPolicy::builder().budget(RetryBudget::standard()).build().expect("valid");
    let builder = backon::ExponentialBuilder::default().with_jitter();
    report.case(
        "retry, success at the first attempt",
        vec![
            // Each in full: a closure that both call would be a call more than the peer has.
            Subject::new("martlet", || {
                let once = async |_| Ok::<_, Down>(7);
                at_once(retry(&policy, Repeat::Safe, Deadline::NONE, clock, &rng, once))
            }),
            Subject::new("martlet, with a budget", || {
                let once = async |_| Ok::<_, Down>(7);
                at_once(retry(&paid, Repeat::Safe, Deadline::NONE, clock, &rng, once))
            }),
            Subject::new("backon", || {
                at_once(backon::Retryable::retry(|| ready(Ok::<_, Down>(7)), builder).into_future())
            }),
        ],
    );
    let backoff = Backoff::exponential(SEC, 2.0).jitter(Jitter::Full).build().expect("valid");
    report.case(
        "three jittered pauses",
        vec![
            Subject::new("martlet", || {
                (0..3).map(|i| backoff.delay(i, Duration::ZERO, &rng)).sum::<Duration>()
            }),
            Subject::new("backon", || builder.build().sum::<Duration>()),
        ],
    );
}

fn bulkheads(report: &mut Report, clock: &Clock) {
    let bulkhead = Bulkhead::new(64, 256).expect("valid");
    let inner = || service_fn(|request: u32| ready(Ok::<_, Infallible>(request)));
    let mut limit = ConcurrencyLimit::new(inner(), 64);
    let mut peer = BulkheadLayer::builder().max_concurrent_calls(64).build().expect("valid").layer(inner());
    let now = clock.now();
    report.case(
        "bulkhead, place taken and given back",
        vec![
            Subject::new("martlet", || bulkhead.try_enter(now).is_ok()),
            Subject::new("martlet, awaited", || at_once(bulkhead.enter(Deadline::NONE, clock)).is_ok()),
            Subject::new("tower ConcurrencyLimit", || ask(&mut limit)),
            Subject::new("tower-resilience", || ask(&mut peer)),
        ],
    );
}

/// Timeout, retry with budget, breaker, limit, bulkhead around nothing: one future, no allocation.
fn composed(report: &mut Report, clock: &Clock) {
    let policy = RetryPolicy::builder().budget(RetryBudget::standard()).build().expect("valid");
    let rng = Rng::system();
    let breaker = Breaker::builder("all").build().expect("valid");
    let gcra = Gcra::new(1_000_000_000, SEC, 1_000_000_000).expect("valid");
    let bulkhead = Bulkhead::new(64, 256).expect("valid");
    let run = || {
        let deadline = Deadline::after(clock.now(), SEC);
        let attempt = async |_| {
            let now = clock.now();
            if deadline.has_passed(now) {
                return Err(Down);
            }
            let place = bulkhead.try_enter(now).map_err(|_| Down)?;
            gcra.try_acquire(1, now).map_err(|_| Down)?;
            let permit = breaker.try_acquire(now).map_err(|_| Down)?;
            let answer = ready(7).await;
            permit.record(Verdict::Success, clock.now());
            drop(place);
            Ok(answer)
        };
        at_once(retry(&policy, Repeat::Safe, deadline, clock, &rng, attempt))
    };
    report.case(
        "composed: deadline, retry with budget, bulkhead, smooth limit, breaker",
        vec![Subject::new("martlet", run)],
    );
}

fn single_flight(report: &mut Report, runtime: &Runtime) {
    const WAITERS: usize = 10_000;
    let flights: SingleFlight<u32, Arc<str>> = SingleFlight::new();
    report.case(
        "single flight, 10,000 waiters on one key, all of them",
        vec![Subject::new("martlet", || {
            runtime.block_on(async {
                let mut waiters = Vec::with_capacity(WAITERS);
                for _ in 0..WAITERS {
                    let flights = flights.clone();
                    waiters.push(tokio::spawn(async move {
                        let work = || async {
                            tokio::task::yield_now().await;
                            Arc::from("answer")
                        };
                        flights.run(1, work).await
                    }));
                }
                for waiter in waiters {
                    assert!(waiter.await.is_ok_and(|answer| answer.is_ok()));
                }
            });
        })],
    );
}

/// How many times each of two threads runs a subject in a sample: about a millisecond.
const ROUNDS: u32 = 20_000;
/// So many samples are kept of each subject, of at most so many.
const KEPT: usize = 31;
const TRIED: usize = 300;

/// Runs each subject on two threads at once, in turn, and keeps the median of the time that one run takes a thread. Samples in
/// which the threads ran side by side for less than nine tenths of the time are left out: on a busy machine most are.
fn contended(
    report: &mut Report,
    clock: &Clock,
    case: &str,
    subjects: &[(&'static str, &(dyn Fn(usize) + Sync))],
) {
    let mut samples = vec![Vec::new(); subjects.len()];
    for _ in 0..TRIED {
        for ((_, run), samples) in subjects.iter().zip(&mut samples) {
            if samples.len() == KEPT {
                continue;
            }
            let start = Barrier::new(2);
            let worker = |thread| {
                start.wait();
                let began = clock.now();
                (0..ROUNDS).for_each(|_| run(thread));
                (began, clock.now())
            };
            let (a, b) = std::thread::scope(|scope| {
                let other = scope.spawn(|| worker(1));
                (worker(0), other.join().expect("no subject panics"))
            });
            let together = a.1.min(b.1).since(a.0.max(b.0)).as_secs_f64();
            let mean = f64::midpoint(a.1.since(a.0).as_secs_f64(), b.1.since(b.0).as_secs_f64());
            if together > 0.9 * a.1.max(b.1).since(a.0.min(b.0)).as_secs_f64() {
                samples.push(mean * 1e9 / f64::from(ROUNDS));
            }
        }
    }
    let values = subjects.iter().zip(samples).filter(|(_, samples)| !samples.is_empty());
    let values = values.map(|((name, _), mut samples)| {
        samples.sort_by(f64::total_cmp);
        (*name, samples[samples.len() / 2])
    });
    report.figures(case, "ns", &values.collect::<Vec<_>>());
}

fn two_threads(report: &mut Report, clock: &Clock) {
    if std::thread::available_parallelism().map_or(1, NonZeroUsize::get) < 2 {
        println!("two threads: SKIPPED, there is one core");
        return;
    }
    let inner = || service_fn(|request: u32| ready(Ok::<_, Infallible>(request)));
    let time = Breaker::builder("time").build().expect("valid");
    let layer = CircuitBreakerLayer::builder().sliding_window_size(100).build().expect("valid");
    let service = layer.layer(inner());
    let services = [(); 2].map(|()| Mutex::new(service.clone()));
    let failsafe = failsafe::Config::new().build();
    contended(
        report,
        clock,
        "two threads, breaker, call that succeeds",
        &[
            ("martlet", &|_| ours(&time, clock)),
            // A lock of each thread's own: the peer's service wants to be borrowed alone. It costs about 10 ns.
            ("tower-resilience", &|thread| {
                let mut service = services[thread].lock().expect("nobody panics");
                spin(poll_fn(|cx| service.poll_ready(cx))).expect("it is closed");
                black_box(spin(service.call(7))).ok();
            }),
            ("failsafe (moving average)", &|_| {
                black_box(failsafe.call(|| Ok::<_, Down>(7))).ok();
            }),
        ],
    );

    let many = NonZeroU32::new(1_000_000_000).expect("above zero");
    let gcra = Gcra::new(1_000_000_000, SEC, 1_000_000_000).expect("valid");
    let quota = governor::Quota::per_second(many).allow_burst(many);
    let governor = governor::RateLimiter::direct_with_clock(quota, governor::clock::MonotonicClock);
    contended(
        report,
        clock,
        "two threads, smooth limit, admitted",
        &[
            ("martlet Gcra", &|_| {
                black_box(gcra.try_acquire(1, clock.now())).ok();
            }),
            ("governor, the same clock", &|_| {
                black_box(governor.check()).ok();
            }),
        ],
    );

    let strict = Limits::builder().window("second", 1_000, Duration::from_micros(1)).build().expect("valid");
    contended(
        report,
        clock,
        "two threads, strict window of 1,000",
        &[("martlet", &|_| {
            let now = clock.now();
            if let Ok(permit) = strict.try_acquire(1, now) {
                permit.finish(now);
            }
        })],
    );

    let bulkhead = Bulkhead::new(64, 256).expect("valid");
    let semaphore = tokio::sync::Semaphore::new(64);
    let now = clock.now();
    contended(
        report,
        clock,
        "two threads, bulkhead",
        &[
            ("martlet", &|_| {
                black_box(bulkhead.try_enter(now)).ok();
            }),
            ("tokio Semaphore alone", &|_| {
                black_box(semaphore.try_acquire()).ok();
            }),
        ],
    );
}

/// One of a thousand accounts: looked up by its key each time, or by a handle that was kept.
fn keyed(report: &mut Report, clock: &Clock) {
    const KEYS: u64 = 1_000;
    let many = NonZeroU32::new(1_000_000_000).expect("above zero");
    let quota = governor::Quota::per_second(many).allow_burst(many);
    let governor =
        governor::RateLimiter::<u64, _, _, governor::middleware::NoOpMiddleware<std::time::Instant>>::dashmap_with_clock(quota, governor::clock::MonotonicClock);
    let limits: Registry<u64, Arc<Gcra>> = Registry::new(10_000);
    let breakers: Registry<u64, Breaker> = Registry::new(10_000);
    let limit = |key: &u64, now| {
        let make = |_: &u64| Gcra::new(1_000_000_000, SEC, 1_000_000_000).map(Arc::new);
        limits.get(key, now, make).expect("it has room").expect("valid")
    };
    let breaker = |key: &u64, now| {
        breakers.get(key, now, |_| Breaker::builder("account").build()).expect("it has room").expect("valid")
    };
    let next = || {
        let key = std::cell::Cell::new(0);
        move || {
            key.set((key.get() + 7) % KEYS);
            key.get()
        }
    };
    for key in 0..KEYS {
        let _ = (governor.check_key(&key), limit(&key, clock.now()), breaker(&key, clock.now()));
    }
    let handle = limit(&7, clock.now());
    let (ours, theirs, third) = (next(), next(), next());
    report.case(
        "1,000 accounts, smooth limit, admitted",
        vec![
            Subject::new("martlet, the handle kept", || handle.try_acquire(1, clock.now())),
            Subject::new("martlet Registry, by key", || {
                let now = clock.now();
                limit(&ours(), now).try_acquire(1, now)
            }),
            Subject::new("governor on DashMap, the same clock", || governor.check_key(&theirs())),
        ],
    );
    report.case(
        "1,000 accounts, breaker, call that succeeds",
        vec![Subject::new("martlet Registry, by key", || {
            let now = clock.now();
            let breaker = breaker(&third(), now);
            let permit = breaker.try_acquire(now).expect("it is closed");
            permit.record(Verdict::Success, clock.now())
        })],
    );
}
