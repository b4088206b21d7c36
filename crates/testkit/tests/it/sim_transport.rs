use crate::Echo;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use martlet_base::{Clock, Deadline, Delivery, ManualClock};
use martlet_core::{BodyStream, SendContext, Transport, TransportError, TransportErrorKind, WireRequest};
use martlet_store::{MemoryStore, Store};
use martlet_testkit::SimTransport;
use martlet_testkit::conformance::transport::{self, Subject};
use std::sync::Arc;
use std::time::Duration;

async fn send(transport: &SimTransport, path: &str) -> Result<http::Response<BodyStream>, TransportError> {
    let url = format!("https://api.echo.example:8443{path}").parse().unwrap();
    let request =
        WireRequest::new(http::Method::POST, url, http::HeaderMap::new(), Bytes::from_static(b"abc"));
    transport.send(request, &SendContext::new("echo", "things.get", Duration::from_secs(1))).await
}

async fn body(response: http::Response<BodyStream>) -> Result<Vec<u8>, TransportError> {
    response
        .into_body()
        .try_fold(Vec::new(), async |mut all, bytes| {
            all.extend(bytes);
            Ok(all)
        })
        .await
}

fn transport(clock: Clock) -> SimTransport {
    SimTransport::new(Arc::new(Echo::default()), clock)
}

#[tokio::test]
async fn a_request_looks_as_on_the_wire() {
    let response = send(&transport(Clock::system()), "/a%20b?q=x%26y").await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json;charset=utf-8");
    let body: serde_json::Value = serde_json::from_slice(&body(response).await.unwrap()).unwrap();
    assert_eq!(
        (body["path"].as_str(), body["q"].as_str(), body["host"].as_str(), body["body"].as_u64()),
        (Some("/a%20b"), Some("x&y"), Some("api.echo.example:8443"), Some(3))
    );
}

#[tokio::test]
async fn a_delay_of_an_hour_passes_at_once_on_a_manual_clock() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let transport = transport(clock.clone());
    manual.drive(send(&transport, "/slow/3600000")).await.unwrap();
    assert_eq!(clock.now().as_nanos(), 3_600_000_000_000);
}

#[tokio::test]
async fn faults_are_of_unknown_fate() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let transport = transport(clock.clone());
    let reset = send(&transport, "/reset").await.unwrap_err();
    let truncated = body(send(&transport, "/truncate/5").await.unwrap()).await.unwrap_err();
    for error in [reset, truncated] {
        assert_eq!((error.kind(), error.delivery()), (TransportErrorKind::Interrupted, Delivery::Unknown));
    }
    let limit = Deadline::after(clock.now(), Duration::from_secs(60));
    assert!(manual.drive(clock.within(limit, send(&transport, "/stall"))).await.is_none());
}

#[tokio::test]
async fn state_outlives_the_transport_in_a_store() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Clock::system()));
    let first = transport(Clock::system()).with_store(Arc::clone(&store));
    send(&first, "/put/a/1").await.unwrap();
    let echo = Arc::new(Echo::default());
    let second = SimTransport::new(echo.clone(), Clock::system()).with_store(store);
    send(&second, "/fine").await.unwrap();
    send(&second, "/fine").await.unwrap();
    assert_eq!(*echo.restored.lock().unwrap(), [("a".to_owned(), b"1".to_vec())], "restored once");
}

fn in_process() -> Subject {
    Subject::in_process(|simulator| Arc::new(SimTransport::new(simulator, Clock::system())))
}

martlet_testkit::transport_conformance!(in_process);

/// What is wrong with a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Resends,
    Quotes,
    Follows,
    TooSure,
}

#[derive(Debug)]
struct Flawed(SimTransport, Flaw);

#[async_trait::async_trait]
impl Transport for Flawed {
    async fn send(
        &self,
        request: WireRequest,
        cx: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError> {
        let first = self.0.send(request.clone(), cx).await;
        match (self.1, first) {
            (Flaw::Resends, Err(_)) => self.0.send(request, cx).await,
            (Flaw::Follows, Ok(answer)) if answer.status().is_redirection() => {
                let mut next = request;
                next.url.set_path("/elsewhere");
                self.0.send(next, cx).await
            }
            (Flaw::Quotes, Err(error)) => {
                Err(TransportError::new(error.kind(), error.delivery(), request.url.to_string()))
            }
            (Flaw::TooSure, Err(error)) => {
                Err(TransportError::new(error.kind(), Delivery::NotSent, "nothing was sent"))
            }
            (_, first) => first,
        }
    }
}

fn flawed(flaw: Flaw) -> Subject {
    Subject::in_process(move |simulator| {
        Arc::new(Flawed(SimTransport::new(simulator, Clock::system()), flaw))
    })
}

#[tokio::test]
#[should_panic(expected = "sent again")]
async fn a_transport_that_retries_is_found() {
    transport::a_broken_exchange_is_of_unknown_fate_and_sent_once(flawed(Flaw::Resends)).await;
}

#[tokio::test]
#[should_panic(expected = "the request had arrived")]
async fn a_transport_that_is_too_sure_is_found() {
    transport::a_broken_exchange_is_of_unknown_fate_and_sent_once(flawed(Flaw::TooSure)).await;
}

#[tokio::test]
#[should_panic(expected = "a failure quotes the request")]
async fn a_transport_that_quotes_the_url_is_found() {
    transport::failures_do_not_quote_the_request(flawed(Flaw::Quotes)).await;
}

#[tokio::test]
#[should_panic(expected = "left: 200")]
async fn a_transport_that_follows_redirects_is_found() {
    transport::every_status_is_an_answer(flawed(Flaw::Follows)).await;
}
