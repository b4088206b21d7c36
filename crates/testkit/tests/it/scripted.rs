use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::{HeaderMap, Method};
use martlet_base::{Delivery, ManualClock};
use martlet_core::{
    BodyStream, Operation, SendContext, Transport, TransportError, TransportErrorKind, WireRequest,
};
use martlet_testkit::ScriptedTransport;
use serde_json::json;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const LIST: Operation = Operation::get("things.list", "/things");
const CREATE: Operation = Operation::post("things.create", "/things");

fn new() -> (ManualClock, ScriptedTransport) {
    let manual = ManualClock::new();
    let transport = ScriptedTransport::new(manual.clock());
    (manual, transport)
}

async fn send(
    transport: &ScriptedTransport,
    operation: &Operation,
) -> Result<http::Response<BodyStream>, TransportError> {
    let url = "https://api.acme.example/things?key=secret".parse().unwrap();
    let request = WireRequest::new(Method::GET, url, HeaderMap::new(), Bytes::from_static(b"{\"a\":1}"));
    transport.send(request, &SendContext::new("acme", operation.name(), Duration::from_secs(60))).await
}

fn panic_text(act: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("it should fail");
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| panic.downcast_ref::<&str>().unwrap().to_string())
}

#[tokio::test]
async fn answers_come_in_their_order_by_operation() {
    let (manual, transport) = new();
    transport.on(&CREATE).reply(503).header("retry-after", 7).times(2).then_json(201, &json!({ "id": 1 }));
    transport.on(&LIST).json(200, &json!([])).delay(Duration::from_secs(3)).forever();
    let first = send(&transport, &CREATE).await.unwrap();
    assert_eq!((first.status().as_u16(), first.headers()["retry-after"].as_bytes()), (503, b"7".as_slice()));
    for _ in 0..3 {
        manual.drive(send(&transport, &LIST)).await.unwrap();
    }
    assert_eq!(send(&transport, &CREATE).await.unwrap().status(), 503);
    assert_eq!(panic_text(|| transport.verify()), "answers that nobody fetched: 1 of things.create");
    let last = send(&transport, &CREATE).await.unwrap();
    let body: Vec<Bytes> = last.into_body().try_collect().await.unwrap();
    assert_eq!(body.concat(), br#"{"id":1}"#);
    transport.verify();
    let requests = transport.requests();
    assert_eq!(requests.len(), 6);
    assert_eq!(requests[5].at.as_nanos(), 9_000_000_000);
    assert_eq!(requests[0].json::<serde_json::Value>(), json!({ "a": 1 }));
    assert!(!format!("{requests:?}").contains("secret"));
}

#[tokio::test]
async fn an_unexpected_request_is_an_error_and_fails_the_test() {
    let (_, transport) = new();
    transport.on(&LIST).reply(200);
    send(&transport, &LIST).await.unwrap();
    let error = send(&transport, &LIST).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (TransportErrorKind::InvalidRequest, Delivery::NotSent));
    let error = send(&transport, &CREATE).await.unwrap_err();
    assert_eq!(error.to_string(), "the test did not expect things.create (GET /things): it has no script");
    let clone = transport.clone();
    drop(transport);
    let text = panic_text(|| drop(clone));
    assert!(text.contains("things.list (GET /things): its script has ended; things.create"), "{text}");
}

#[tokio::test]
async fn failures_are_played_as_written() {
    let (_, transport) = new();
    transport.on(&LIST).fail(TransportErrorKind::Connect, Delivery::NotSent).then(200).body("hello").cut(2);
    let error = send(&transport, &LIST).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (TransportErrorKind::Connect, Delivery::NotSent));
    let mut body = send(&transport, &LIST).await.unwrap().into_body();
    assert_eq!(body.try_next().await.unwrap().unwrap(), "he");
    assert_eq!(body.try_next().await.unwrap_err().delivery(), Delivery::Unknown);
}

#[test]
fn a_script_that_makes_no_sense_is_refused() {
    let (_, transport) = new();
    assert!(panic_text(|| drop(transport.on(&LIST).times(2))).contains("say first"));
    assert!(panic_text(|| drop(transport.on(&LIST).stall().header("a", 1))).contains("does not reply"));
}
