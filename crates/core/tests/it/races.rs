//! What only threads can show: a look at the state and the start of a flight are two steps.

use crate::support::{Acme, descriptor, secs};
use async_trait::async_trait;
use martlet_base::Clock;
use martlet_core::{
    ApiClient, BodyStream, CacheRule, Call, Client, Credential, CredentialError, CredentialSource,
    IssueContext, Issued, Operation, SendContext, Transport, TransportError, WireRequest,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const FIELDS: Operation =
    Operation::get("fields.list", "/v1/fields").cacheable(CacheRule::new(secs(60), "fields"));

const LIST: Operation = Operation::get("things.list", "/v1/things");

/// Answers at once, and counts.
#[derive(Debug, Default)]
struct Counting(AtomicU32);

#[async_trait]
impl Transport for Counting {
    async fn send(
        &self,
        _request: WireRequest,
        _cx: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(http::Response::new(BodyStream::whole("1".into())))
    }
}

/// Issues at once, and counts.
#[derive(Debug)]
struct Tokens(Arc<AtomicU32>);

#[async_trait]
impl CredentialSource for Tokens {
    async fn issue(&self, cx: &IssueContext) -> Result<Issued, CredentialError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Issued::until(Credential::bearer("t"), cx.clock.now() + secs(3_600)))
    }
}

async fn at_once(client: &Client, operation: Operation) {
    let calls: Vec<_> = (0..32)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.execute(Call::new(operation)).await.map(|r| r.status()) })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_quick_source_is_asked_once_and_a_quick_answer_fetched_once() {
    for round in 0..300 {
        let (transport, issued) = (Arc::new(Counting::default()), Arc::new(AtomicU32::new(0)));
        let new =
            || Client::builder(Acme(descriptor())).shared_transport(transport.clone()).clock(Clock::system());
        at_once(&new().credentials(Tokens(Arc::clone(&issued))).build().unwrap(), LIST).await;
        assert_eq!(issued.load(Ordering::Relaxed), 1, "credentials in round {round}");
        transport.0.store(0, Ordering::Relaxed);
        at_once(&new().build().unwrap(), FIELDS).await;
        assert_eq!(transport.0.load(Ordering::Relaxed), 1, "requests in round {round}");
    }
}
