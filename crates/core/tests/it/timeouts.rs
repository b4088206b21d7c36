//! How long each part of a call may take.

use crate::support::{GET, World, descriptor, fails, secs};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use martlet_base::{Clock, Delivery};
use martlet_core::{
    ApiClient as _, BodyStream, Call, Client, ClientBuilder, ErrorKind, LimitSpec, SendContext, Transport,
    TransportError, WireRequest,
};
use martlet_resilience::RetryPolicy;
use std::time::Duration;

/// The head after so long, then three pieces, each after so long.
#[derive(Debug)]
struct Slow {
    clock: Clock,
    head: Duration,
    piece: Duration,
}

#[async_trait]
impl Transport for Slow {
    async fn send(
        &self,
        _: WireRequest,
        _: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError> {
        self.clock.sleep(self.head).await;
        let (clock, piece) = (self.clock.clone(), self.piece);
        let body = stream::iter(0..3).then(move |_| {
            let sleep = clock.sleep(piece);
            async move {
                sleep.await;
                Ok(Bytes::from_static(b"x"))
            }
        });
        Ok(http::Response::new(BodyStream::new(Box::pin(body))))
    }
}

async fn run(
    head: u64,
    piece: u64,
    edit: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> (Result<usize, String>, u64) {
    let world = World::new();
    let transport = Slow { clock: world.clock.clone(), head: secs(head), piece: secs(piece) };
    let builder = world.builder().transport(transport).retry(RetryPolicy::never());
    let client: Client = edit(builder).build().unwrap();
    let result = world.run(client.execute(Call::new(GET).path("id", 1))).await;
    let result = result.map(|r| r.body().len()).map_err(|e| {
        assert!(matches!(e.kind(), ErrorKind::Timeout), "{e}");
        assert_eq!(e.delivery(), Delivery::Unknown, "t2: it was sent");
        e.to_string()
    });
    (result, world.clock.now().as_nanos() / 1_000_000_000)
}

#[tokio::test]
async fn t1_head_body_and_attempt_have_limits_of_their_own() {
    assert_eq!(run(2, 3, |b| b).await, (Ok(3), 11));
    let (error, took) = run(6, 0, |b| b.headers_timeout(secs(5))).await;
    assert!(error.unwrap_err().contains("no head of an answer within 5s"));
    assert_eq!(took, 5);
    let (error, took) = run(2, 6, |b| b.headers_timeout(secs(5)).body_idle_timeout(secs(5))).await;
    assert!(error.unwrap_err().contains("stood still for 5s"));
    assert_eq!(took, 7);
    // Slow, but never still: only the attempt's own limit ends it.
    assert_eq!(run(2, 4, |b| b.body_idle_timeout(secs(5))).await, (Ok(3), 14));
    let (error, took) = run(2, 4, |b| b.body_idle_timeout(secs(5)).attempt_timeout(secs(8))).await;
    assert!(error.unwrap_err().contains("no complete answer within 8s"));
    assert_eq!(took, 8);
    let world = World::new();
    assert!(world.builder().body_idle_timeout(Duration::ZERO).build().is_err());
}

#[tokio::test]
async fn t1_the_total_covers_the_wait_for_quota_and_the_pauses() {
    let world = World::new();
    world.transport.on(&GET).reply(503).forever();
    let limits = LimitSpec::new(LimitSpec::DEFAULT).window("minute", 1, secs(60));
    let client = world.builder_for(descriptor().limit(limits)).build().unwrap();
    let error = fails(world.execute(&client, Call::new(GET).path("id", 1).timeout(secs(30))).await);
    assert!(world.clock.now().as_nanos() <= 30_000_000_000, "{error}");
    assert_eq!(world.transport.requests().len(), 1);
}

#[tokio::test]
async fn t2_a_timeout_after_sending_is_of_unknown_fate_and_before_of_none() {
    let (error, _) = run(100, 0, |b| b.attempt_timeout(secs(5))).await;
    assert!(error.is_err());
    let world = World::new();
    let limits = LimitSpec::new(LimitSpec::DEFAULT).concurrency(1).window("minute", 1, secs(60));
    world.transport.on(&GET).reply(200);
    let client = world.builder_for(descriptor().limit(limits)).build().unwrap();
    world.execute(&client, Call::new(GET).path("id", 1)).await.unwrap();
    let error = fails(world.execute(&client, Call::new(GET).path("id", 1).timeout(secs(5))).await);
    assert_eq!(error.delivery(), Delivery::NotSent);
}
