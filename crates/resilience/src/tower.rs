//! The primitives as [`tower`](https://docs.rs/tower) layers.
//!
//! Every layer does its work in `call`: readiness is the inner service's own, and is asked for again before each attempt. No
//! permit is held between `poll_ready` and `call`. Futures are boxed; who counts nanoseconds uses the primitives.
//!
//! Outermost first, a good order is retry, limits, bulkhead, breaker, service.

use crate::{
    Breaker, BreakerOpen, Bulkhead, Decision, Exhausted, Failure, LimitError, Limits, Priority, Repeat,
    Report, Retry, RetryPolicy, StopReason,
};
use martlet_base::{Clock, Deadline, Fault, Rng};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// What a service behind one of these layers answers with.
pub type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The service failed, or was not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guarded<E> {
    /// The breaker is open; the service was not asked.
    Open(BreakerOpen),
    /// There was no place; the service was not asked.
    Limited(LimitError),
    /// The service failed.
    Inner(E),
}

impl<E: fmt::Display> fmt::Display for Guarded<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(e) => e.fmt(f),
            Self::Limited(e) => e.fmt(f),
            Self::Inner(e) => e.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Guarded<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(e) => Some(e),
            Self::Limited(e) => Some(e),
            Self::Inner(e) => e.source(),
        }
    }
}

/// Takes the service that was polled ready, and leaves a clone.
fn ready_service<S: Clone>(inner: &mut S) -> S {
    let clone = inner.clone();
    std::mem::replace(inner, clone)
}

/// Refuses calls while a [`Breaker`] is open. `judge` says what a result tells about the server.
#[derive(Clone)]
pub struct BreakerLayer<J> {
    breaker: Breaker,
    clock: Clock,
    judge: J,
}

impl<J> BreakerLayer<J> {
    /// A layer of `breaker`.
    pub const fn new(breaker: Breaker, clock: Clock, judge: J) -> Self {
        Self { breaker, clock, judge }
    }
}

impl<J> fmt::Debug for BreakerLayer<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerLayer").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl<S, J: Clone> Layer<S> for BreakerLayer<J> {
    type Service = BreakerService<S, J>;
    fn layer(&self, inner: S) -> Self::Service {
        BreakerService { inner, layer: self.clone() }
    }
}

/// The service of a [`BreakerLayer`].
#[derive(Clone, Debug)]
pub struct BreakerService<S, J> {
    inner: S,
    layer: BreakerLayer<J>,
}

impl<S, J, Request> Service<Request> for BreakerService<S, J>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    J: Fn(&Result<S::Response, S::Error>) -> Report + Clone + Send + Sync + 'static,
    Request: Send + 'static,
{
    type Response = S::Response;
    type Error = Guarded<S::Error>;
    type Future = BoxFuture<S::Response, Guarded<S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Guarded::Inner)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let mut inner = ready_service(&mut self.inner);
        let BreakerLayer { breaker, clock, judge } = self.layer.clone();
        Box::pin(async move {
            let permit = breaker.try_acquire(clock.now()).map_err(Guarded::Open)?;
            let result = inner.call(request).await;
            permit.record(judge(&result), clock.now());
            result.map_err(Guarded::Inner)
        })
    }
}

/// Waits for a place within [`Limits`], for up to `patience`.
#[derive(Clone, Debug)]
pub struct LimitsLayer {
    limits: Limits,
    clock: Clock,
    class: Priority,
    patience: std::time::Duration,
}

impl LimitsLayer {
    /// A layer of `limits` that waits for up to `patience`; each call costs 1.
    #[must_use]
    pub const fn new(limits: Limits, clock: Clock, patience: std::time::Duration) -> Self {
        Self { limits, clock, class: Priority::Delivery, patience }
    }

    /// A layer of `bulkhead`.
    #[must_use]
    pub fn bulkhead(bulkhead: &Bulkhead, clock: Clock, patience: std::time::Duration) -> Self {
        Self::new(bulkhead.limits().clone(), clock, patience)
    }

    /// In another class than [`Priority::Delivery`].
    #[must_use]
    pub const fn class(mut self, class: Priority) -> Self {
        self.class = class;
        self
    }
}

impl<S> Layer<S> for LimitsLayer {
    type Service = LimitsService<S>;
    fn layer(&self, inner: S) -> Self::Service {
        LimitsService { inner, layer: self.clone() }
    }
}

/// The service of a [`LimitsLayer`].
#[derive(Clone, Debug)]
pub struct LimitsService<S> {
    inner: S,
    layer: LimitsLayer,
}

impl<S, Request> Service<Request> for LimitsService<S>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    Request: Send + 'static,
{
    type Response = S::Response;
    type Error = Guarded<S::Error>;
    type Future = BoxFuture<S::Response, Guarded<S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Guarded::Inner)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let mut inner = ready_service(&mut self.inner);
        let LimitsLayer { limits, clock, class, patience } = self.layer.clone();
        Box::pin(async move {
            let deadline = Deadline::after(clock.now(), patience);
            let permit = limits.acquire_as(class, 1, deadline, &clock).await.map_err(Guarded::Limited)?;
            let result = inner.call(request).await;
            permit.finish(clock.now());
            result.map_err(Guarded::Inner)
        })
    }
}

/// Retries by a [`RetryPolicy`] what may be repeated. Requests are cloned; errors say what happened through [`Fault`].
#[derive(Clone, Debug)]
pub struct RetryLayer {
    policy: RetryPolicy,
    repeat: Repeat,
    clock: Clock,
    rng: Rng,
}

impl RetryLayer {
    /// A layer for requests of which all are `repeat`.
    #[must_use]
    pub const fn new(policy: RetryPolicy, repeat: Repeat, clock: Clock, rng: Rng) -> Self {
        Self { policy, repeat, clock, rng }
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = RetryService<S>;
    fn layer(&self, inner: S) -> Self::Service {
        RetryService { inner, layer: self.clone() }
    }
}

/// The service of a [`RetryLayer`].
#[derive(Clone, Debug)]
pub struct RetryService<S> {
    inner: S,
    layer: RetryLayer,
}

impl<S, Request> Service<Request> for RetryService<S>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send + 'static,
    S::Error: Fault + Send + 'static,
    Request: Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = Exhausted<S::Error>;
    type Future = BoxFuture<S::Response, Exhausted<S::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Each attempt asks for itself: what is ready now need not be after the pause.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let mut service = ready_service(&mut self.inner);
        let RetryLayer { policy, repeat, clock, rng } = self.layer.clone();
        Box::pin(async move {
            let mut state = Retry::new(&policy, repeat, Deadline::NONE);
            loop {
                state.begin_attempt();
                let answer = match poll_fn(|cx| service.poll_ready(cx)).await {
                    Ok(()) => service.call(request.clone()).await,
                    Err(error) => Err(error),
                };
                let error = match answer {
                    Ok(response) => {
                        state.succeeded();
                        return Ok(response);
                    }
                    Err(error) => error,
                };
                let reason = match state.after_failure(Failure::of(&error, &clock), clock.now(), &rng) {
                    Decision::RetryAt(at) => {
                        clock.sleep_until(at).await;
                        continue;
                    }
                    // Credentials are the inner service's own: another try without a new one gives the same answer.
                    Decision::Reauthenticate => StopReason::NotRetryable,
                    Decision::Stop(reason) => reason,
                };
                if let Some(at) = state.stop_at() {
                    clock.sleep_until(at).await;
                }
                let (attempts, maybe) = (state.attempts(), state.may_have_been_applied());
                return Err(Exhausted { error, reason, attempts, may_have_been_applied: maybe });
            }
        })
    }
}
