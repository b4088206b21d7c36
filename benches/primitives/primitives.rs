//! The primitives of `martlet-resilience` beside their peers, on one machine in one run. Every figure is in nanoseconds; lower
//! is better. Both sides read the clock themselves wherever a user has to.
//!
//! `cargo bench -p martlet-benches-primitives`

use backon::BackoffBuilder as _;
use failsafe::CircuitBreaker as _;
use martlet_base::{Clock, Deadline, Delivery, Fault, Recovery, Rng};
use martlet_benches::{Report, Subject};
use martlet_resilience::{
    Backoff, Breaker, Bulkhead, Gcra, Jitter, Limits, Repeat, RetryBudget, RetryPolicy, SingleFlight,
    Verdict, retry,
};
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn, ready};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
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
    let count = Breaker::builder("count").count_window(100).build().expect("valid");
    let mut peer =
        CircuitBreakerLayer::builder().sliding_window_size(100).build().expect("valid").layer(inner());
    let failsafe = failsafe::Config::new().build();
    report.case(
        "breaker, call that succeeds, last 100 calls",
        vec![
            Subject::new("martlet", || ours(&count, clock)),
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
    let now = clock.now();
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
    let run = |policy: &RetryPolicy| {
        let once = async |_| Ok::<_, Down>(7);
        at_once(retry(policy, Repeat::Safe, Deadline::NONE, clock, &rng, once))
    };
    let builder = backon::ExponentialBuilder::default().with_jitter();
    report.case(
        "retry, success at the first attempt",
        vec![
            Subject::new("martlet", || run(&policy)),
            Subject::new("martlet, with a budget", || run(&paid)),
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
