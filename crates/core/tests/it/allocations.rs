//! What the engine allocates for a call, over a transport that has nothing to do. The bench `layer_overhead` weighs the same
//! against bare reqwest; here a careless clone goes red at once.

use crate::support::{Acme, descriptor, secs};
use async_trait::async_trait;
use bytes::Bytes;
use martlet_core::{
    ApiClient, BodyStream, Call, Client, ClientBuilder, Credential, Idempotency, Layer, LimitSpec, Next,
    Operation, Request, Response, Result, SendContext, Transport, TransportError, WireRequest,
};

const UPSERT: Operation =
    Operation::post("things.upsert", "/v1/things/{id}").idempotency(Idempotency::Idempotent);

#[derive(Debug)]
struct Ready;

#[async_trait]
impl Transport for Ready {
    async fn send(
        &self,
        _request: WireRequest,
        _cx: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError> {
        Ok(http::Response::new(BodyStream::whole(Bytes::from_static(b"{}"))))
    }
}

#[derive(Debug)]
struct Passing(&'static str);

#[async_trait]
impl Layer for Passing {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn call(&self, request: Request, next: Next<'_>) -> Result<Response> {
        next.run(request).await
    }
}

/// Allocations a call, on this thread: the other tests of this program run on others.
fn per_call(change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> u64 {
    const CALLS: u64 = 100;
    let limit = LimitSpec::new(LimitSpec::DEFAULT).window("second", 1_000_000, secs(1));
    let builder = Client::builder(Acme(descriptor().limit(limit)))
        .transport(Ready)
        .credentials(Credential::bearer("token"));
    let client = change(builder).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let calls = || {
        runtime.block_on(async {
            for _ in 0..CALLS {
                client.execute(Call::new(UPSERT).path("id", 7).json("a body")).await.unwrap();
            }
        });
    };
    calls();
    allocation_counter::measure(calls).count_total / CALLS
}

#[test]
fn a_call_allocates_no_more_than_was_measured() {
    let (bare, layers) = (
        per_call(|builder| builder),
        per_call(|builder| builder.call_layer(Passing("call")).attempt_layer(Passing("attempt"))),
    );
    // 17 when this was written, six more with layers; one to spare.
    assert!(bare <= 18, "{bare} allocations");
    assert!(layers <= 24, "{layers} allocations with two users' layers");
}
