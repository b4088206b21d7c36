//! The layers, around a service that is strict about readiness.

use martlet_base::{Delivery, Fault, ManualClock, Recovery, Rng};
use martlet_resilience::tower::{BreakerLayer, Guarded, LimitsLayer, RetryLayer};
use martlet_resilience::{Breaker, Bulkhead, LimitError, Limits, Repeat, RetryPolicy, StopReason, Verdict};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;
use tower_layer::Layer;
use tower_service::Service;

#[derive(Debug, PartialEq)]
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

/// Fails so many calls. Panics when it is called without having been polled ready, as tower's contract allows.
#[derive(Default)]
struct Strict {
    failing: Arc<AtomicU32>,
    calls: Arc<AtomicU32>,
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { failing: Arc::clone(&self.failing), calls: Arc::clone(&self.calls), ready: false }
    }
}

impl Service<u32> for Strict {
    type Response = u32;
    type Error = Down;
    type Future = Pin<Box<dyn Future<Output = Result<u32, Down>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Down>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        self.calls.fetch_add(1, SeqCst);
        let fails = self.failing.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok();
        Box::pin(async move { if fails { Err(Down) } else { Ok(request) } })
    }
}

async fn ask<S: Service<u32>>(service: &mut S) -> Result<S::Response, S::Error> {
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(7).await
}

#[tokio::test]
async fn tower_362_each_attempt_polls_readiness_again() {
    let manual = ManualClock::new();
    let strict = Strict { failing: Arc::new(AtomicU32::new(2)), ..Strict::default() };
    let layer = RetryLayer::new(RetryPolicy::seed(), Repeat::Safe, manual.clock(), Rng::seeded(1));
    let mut service = layer.layer(strict.clone());
    assert_eq!(manual.drive(ask(&mut service)).await, Ok(7));
    assert_eq!(strict.calls.load(SeqCst), 3);
    strict.failing.store(9, SeqCst);
    let error = manual.drive(ask(&mut service)).await.unwrap_err();
    assert_eq!((error.reason, error.attempts), (StopReason::RetriesExhausted, 4));
}

#[tokio::test]
async fn an_open_breaker_keeps_the_service_from_being_asked() {
    let clock = ManualClock::new().clock();
    let breaker = Breaker::builder("b").consecutive_failures(2).build().unwrap();
    let strict = Strict { failing: Arc::new(AtomicU32::new(2)), ..Strict::default() };
    let judge = |r: &Result<u32, Down>| if r.is_ok() { Verdict::Success } else { Verdict::Failure }.into();
    let mut service = BreakerLayer::new(breaker, clock, judge).layer(strict.clone());
    for _ in 0..2 {
        assert_eq!(ask(&mut service).await, Err(Guarded::Inner(Down)));
    }
    let refused = ask(&mut service).await.unwrap_err();
    assert!(matches!(refused, Guarded::Open(_)), "{refused}");
    assert_eq!(strict.calls.load(SeqCst), 2);
}

#[tokio::test]
async fn tower_365_no_place_is_held_between_ready_and_call() {
    let clock = ManualClock::new().clock();
    let limits = Limits::builder().window("w", 1, Duration::from_secs(10)).build().unwrap();
    let layer = LimitsLayer::new(limits.clone(), clock.clone(), Duration::from_secs(1));
    let mut service = layer.layer(Strict::default());
    poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    drop(service.clone());
    assert_eq!(limits.in_flight(), 0);
    assert_eq!(service.call(7).await, Ok(7));
    let refused = ask(&mut service).await.unwrap_err();
    assert!(matches!(refused, Guarded::Limited(LimitError::DeadlineTooClose { .. })), "{refused}");
    let bulkhead = Bulkhead::new(1, 0).unwrap();
    let _held = bulkhead.try_enter(clock.now()).unwrap();
    let mut service =
        LimitsLayer::bulkhead(&bulkhead, clock, Duration::from_secs(1)).layer(Strict::default());
    assert_eq!(ask(&mut service).await, Err(Guarded::Limited(LimitError::QueueFull { depth: 0 })));
}
