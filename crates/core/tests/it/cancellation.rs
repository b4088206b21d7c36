use crate::support::{CREATE, Shared, Step, Tokens, World, descriptor, ms, secs};
use async_trait::async_trait;
use bytes::Bytes;
use martlet_base::{BreakerState, Signal};
use martlet_core::{
    ApiClient, BodyStream, Call, Client, Layer, LimitSpec, Next, Operation, Request, Response, Result,
    SendContext, Transport, TransportError, WireRequest,
};
use martlet_resilience::{Breaker, RetryPolicy};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

/// Pending so many times, then done: an await that can be stopped at.
struct Steps(u32);

impl Future for Steps {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Answers 503 first and 200 then, the body in pieces, pending at every step.
#[derive(Debug, Default)]
struct Slow {
    sent: AtomicU32,
}

#[async_trait]
impl Transport for Slow {
    async fn send(
        &self,
        _request: WireRequest,
        _cx: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError> {
        let before = self.sent.fetch_add(1, Ordering::Relaxed);
        Steps(2).await;
        let body = futures_util::stream::unfold(0, |n| async move {
            Steps(1).await;
            (n < 3).then_some((Ok(Bytes::from_static(b"x")), n + 1))
        });
        let mut response = http::Response::new(BodyStream::new(body));
        *response.status_mut() =
            if before == 0 { http::StatusCode::SERVICE_UNAVAILABLE } else { http::StatusCode::OK };
        Ok(response)
    }
}

#[derive(Debug)]
struct Pause(&'static str);

#[async_trait]
impl Layer for Pause {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn call(&self, request: Request, next: Next<'_>) -> Result<Response> {
        Steps(1).await;
        let result = next.run(request).await;
        Steps(1).await;
        result
    }
}

const PUT: Operation = Operation::put("things.put", "/v1/things").quota("search");

fn client(world: &World, slow: &Arc<Slow>) -> (Client, Arc<Tokens>) {
    let tokens = Tokens::new((0..2).map(|_| Step::Issue { life: secs(9_999), takes: secs(1) }));
    let limits = descriptor()
        .limit(LimitSpec::new(LimitSpec::DEFAULT).window("hour", 10, secs(3_600)).concurrency(1))
        .limit(LimitSpec::new("search").window("hour", 10, secs(3_600)));
    let client = world
        .builder_for(limits)
        .shared_transport(slow.clone())
        .credentials(Shared(Arc::clone(&tokens)))
        .call_layer(Pause("outer"))
        .attempt_layer(Pause("inner"))
        .retry(RetryPolicy::seed())
        .build()
        .unwrap();
    (client, tokens)
}

/// Polls the call `polls` times, letting the runtime and the clock go on in between, then drops it. Whether it was done.
async fn poll_then_drop(world: &World, client: &Client, polls: u32) -> bool {
    let mut call = pin!(client.execute(Call::new(PUT)));
    for _ in 0..polls {
        if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return true;
        }
        tokio::task::yield_now().await;
        world.manual.advance(ms(300));
    }
    false
}

#[tokio::test]
async fn a_call_can_be_dropped_at_every_await_and_leaks_nothing() {
    let mut dropped_before_sending = 0;
    for polls in 0.. {
        let (world, slow) = (World::new(), Arc::new(Slow::default()));
        let (client, _tokens) = client(&world, &slow);
        let done = poll_then_drop(&world, &client, polls).await;
        let sent = slow.sent.load(Ordering::Relaxed);
        let used = client.shared_state().quota_use(&world.clock);
        for (bucket, window, _, used) in &used {
            assert_eq!(*used, sent, "{bucket} {window} after {polls} polls");
        }
        if polls > 0 {
            let finished = world.seen.all("CallFinished");
            assert_eq!(finished.len(), 1, "after {polls} polls");
            assert_eq!(finished[0].contains("outcome: Cancelled"), !done, "{finished:?}");
            assert!(finished[0].contains(&format!("attempts: {sent}")), "{finished:?}");
        }
        dropped_before_sending += u32::from(sent == 0 && polls > 0);
        // The only slot is free again: another call comes through.
        slow.sent.store(9, Ordering::Relaxed);
        world.run(client.execute(Call::new(PUT))).await.unwrap();
        if done {
            assert_eq!(sent, 2);
            assert!(polls > 20, "only {polls} awaits");
            break;
        }
    }
    assert!(dropped_before_sending > 3, "the credential was waited for");
}

#[tokio::test]
async fn a_dropped_probe_does_not_keep_the_circuit_open() {
    let world = World::new();
    world.transport.on(&CREATE).reply(503).stall().then(200);
    let client = world
        .builder()
        .retry(RetryPolicy::never())
        .breaker(Breaker::builder("acme").consecutive_failures(1).probes(1))
        .build()
        .unwrap();
    world.run(client.execute(Call::new(CREATE))).await.unwrap_err();
    world.manual.advance(secs(10));
    {
        let mut probe = pin!(client.execute(Call::new(CREATE)));
        assert!(probe.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(world.transport.requests().len(), 2, "it was sent");
    }
    world.run(client.execute(Call::new(CREATE))).await.unwrap();
    let closed = Signal::breaker_changed("acme", BreakerState::HalfOpen, BreakerState::Closed);
    assert_eq!(world.seen.all("BreakerChanged").last(), Some(&format!("{closed:?}")));
}

#[tokio::test]
async fn a_dropped_request_may_still_arrive_and_its_place_stays_taken_that_long() {
    let world = World::new();
    world.transport.on(&CREATE).stall();
    let limits = descriptor().limit(LimitSpec::new(LimitSpec::DEFAULT).window("second", 10, secs(1)));
    let client = world.builder_for(limits).build().unwrap();
    {
        let mut call = pin!(client.execute(Call::new(CREATE)));
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let used = || client.shared_state().quota_use(&world.clock)[0].3;
    world.manual.advance(secs(60));
    assert_eq!(used(), 1);
    world.manual.advance(secs(1));
    assert_eq!(used(), 0);
}
