use crate::support::{CREATE, GET, LIST, World, descriptor, fails};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, header};
use martlet_base::{Delivery, Recovery};
use martlet_core::{ApiClient, Body, Call, ErrorKind, Idempotency, IdempotencyKey, KeyStyle, Operation};
use martlet_core::{BodyStream, SendContext, Transport, TransportError, WireRequest};
use serde::Serialize;
use serde_json::json;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const KEYED: Operation = Operation::post("orders.create", "/v1/orders")
    .idempotency(Idempotency::Keyed(KeyStyle::Header("idempotency-key")));

#[tokio::test]
async fn one_key_goes_with_every_attempt_of_a_call_and_another_with_the_next_call() {
    let world = World::new();
    world.transport.on(&KEYED).reply(503).times(2).then(201).times(2);
    let client = world.client();
    for _ in 0..2 {
        world.execute(&client, Call::new(KEYED).json(&json!({}))).await.unwrap();
    }
    let keys: Vec<_> =
        world.transport.requests().iter().map(|r| r.header("idempotency-key").unwrap().to_owned()).collect();
    assert_eq!(keys.len(), 4);
    assert_eq!((&keys[0], &keys[0]), (&keys[1], &keys[2]));
    assert_ne!(keys[0], keys[3]);
    assert_eq!(uuid::Uuid::parse_str(&keys[0]).unwrap().get_version_num(), 4);
}

#[tokio::test]
async fn the_callers_own_key_is_sent_in_the_platforms_style() {
    let world = World::new();
    let quoted = KEYED.idempotency(Idempotency::Keyed(KeyStyle::QuotedHeader("idempotency-key")));
    let body = KEYED.idempotency(Idempotency::Keyed(KeyStyle::BodyField("idempotency_key")));
    world.transport.on(&KEYED).reply(201).times(3);
    let client = world.client();
    for operation in [KEYED, quoted, body] {
        let call = Call::new(operation)
            .json(&json!({ "amount": 1, "note": "x" }))
            .idempotency_key(IdempotencyKey::new("order-42").unwrap());
        world.execute(&client, call).await.unwrap();
    }
    let requests = world.transport.requests();
    assert_eq!(requests[0].header("idempotency-key"), Some("order-42"));
    assert_eq!(requests[1].header("idempotency-key"), Some("\"order-42\""));
    assert_eq!(requests[2].header("idempotency-key"), None);
    let expected = json!({ "amount": 1, "note": "x", "idempotency_key": "order-42" });
    assert_eq!(requests[2].json::<serde_json::Value>(), expected);
    assert_eq!(requests[2].header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_key_that_cannot_be_sent_is_refused() {
    let world = World::new();
    let client = world.client();
    let body = KEYED.idempotency(Idempotency::Keyed(KeyStyle::BodyField("key")));
    let key = || IdempotencyKey::new("k").unwrap();
    for call in [Call::new(CREATE).idempotency_key(key()), Call::new(body).json(&[1, 2]), Call::new(body)] {
        let error = fails(world.execute(&client, call).await);
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::InvalidRequest, 0));
    }
    for bad in ["", "a b", "a\"b", "a\nb", "é", &"x".repeat(256)] {
        assert_eq!(IdempotencyKey::new(bad).unwrap_err().kind(), ErrorKind::InvalidRequest, "{bad:?}");
    }
}

#[tokio::test]
async fn a_path_part_is_one_segment_whatever_it_holds() {
    let world = World::new();
    world.transport.on(&GET).reply(200).forever();
    let client = world.client();
    for (value, sent) in [
        ("501", "/v1/things/501"),
        ("a/b", "/v1/things/a%2Fb"),
        ("../admin", "/v1/things/..%2Fadmin"),
        ("..%2f", "/v1/things/..%252f"),
        ("a?b#c", "/v1/things/a%3Fb%23c"),
        ("a\\b", "/v1/things/a%5Cb"),
        ("zoë ✓", "/v1/things/zo%C3%AB%20%E2%9C%93"),
        ("a\r\nx: y", "/v1/things/a%0D%0Ax%3A%20y"),
        ("{id}", "/v1/things/%7Bid%7D"),
    ] {
        world.execute(&client, Call::new(GET).path("id", value)).await.unwrap();
        assert_eq!(world.transport.requests().pop().unwrap().url.path(), sent, "{value:?}");
    }
    for value in ["", ".", ".."] {
        let error = fails(world.execute(&client, Call::new(GET).path("id", value)).await);
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{value:?}");
    }
}

#[tokio::test]
async fn a_mistake_in_the_path_is_found_before_anything_is_sent() {
    let world = World::new();
    let client = world.client();
    let unclosed = Operation::get("things.unclosed", "/v1/{id");
    for (call, word) in [
        (Call::new(GET), "\"id\" is missing"),
        (Call::new(LIST).path("id", 1), "a path part was given"),
        (Call::new(GET).path("id", 1).path("other", 1), "a path part was given"),
        (Call::new(unclosed).path("id", 1), "unclosed"),
    ] {
        let error = fails(world.execute(&client, call).await);
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::InvalidRequest, Delivery::NotSent));
        assert_eq!((error.platform(), error.attempts()), (Some("acme"), 0));
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(world.seen.all("CallFinished").len(), 4);
}

#[tokio::test]
async fn base_version_and_query_make_the_url() {
    let world = World::new();
    let versioned = Operation::get("things.v", "/crm/{version}/things");
    world.transport.on(&versioned).reply(200).forever();
    let client = world
        .builder_for(descriptor().version("v3"))
        .base_url("http://localhost:8080/proxy/")
        .build()
        .unwrap();
    let call = Call::new(versioned).query("a b", "c&d=é").query_opt("none", None::<u8>).query("a b", 2);
    world.execute(&client, call).await.unwrap();
    world.execute(&client, Call::new(versioned).path("version", "v4")).await.unwrap();
    let urls: Vec<_> = world.transport.requests().iter().map(|r| r.url.to_string()).collect();
    assert_eq!(
        urls,
        [
            "http://localhost:8080/proxy/crm/v3/things?a+b=c%26d%3D%C3%A9&a+b=2",
            "http://localhost:8080/proxy/crm/v4/things"
        ]
    );
}

#[tokio::test]
async fn headers_are_set_once_and_the_nearest_wins() {
    let world = World::new();
    world.transport.on(&LIST).reply(200).times(2);
    let acme = descriptor()
        .header(header::ACCEPT, HeaderValue::from_static("application/vnd.acme+json"))
        .header(HeaderName::from_static("x-version"), HeaderValue::from_static("1"));
    let client = world.builder_for(acme).user_agent("acme-sync/1.4").build().unwrap();
    world.execute(&client, Call::new(LIST)).await.unwrap();
    let own = HeaderValue::from_static("2");
    world.execute(&client, Call::new(LIST).header(HeaderName::from_static("x-version"), own)).await.unwrap();
    for (request, version) in world.transport.requests().iter().zip(["1", "2"]) {
        for (name, value) in [
            ("accept", "application/vnd.acme+json"),
            ("x-version", version),
            ("authorization", "Bearer token"),
        ] {
            let values: Vec<_> = request.headers.get_all(name).iter().collect();
            assert_eq!(values, [value], "{name}");
        }
        let agent = request.header("user-agent").unwrap();
        assert!(agent.starts_with("acme-sync/1.4 martlet/"), "{agent}");
    }
}

#[tokio::test]
async fn a_body_from_a_factory_is_made_for_each_attempt() {
    let world = World::new();
    let put = Operation::put("things.put", "/v1/things");
    world.transport.on(&put).reply(503).then(200);
    let made = Arc::new(AtomicU32::new(0));
    let factory = Body::from_factory({
        let made = Arc::clone(&made);
        move || {
            made.fetch_add(1, Ordering::Relaxed);
            "large".into()
        }
    });
    world.execute(&world.client(), Call::new(put).body(factory)).await.unwrap();
    assert_eq!(made.load(Ordering::Relaxed), 2);
    let bodies: HashSet<_> = world.transport.requests().into_iter().map(|r| r.body).collect();
    assert_eq!(bodies, HashSet::from(["large".into()]));
}

#[tokio::test]
async fn a_body_that_does_not_serialise_is_an_error_of_the_call() {
    #[derive(Serialize)]
    struct Bad(std::collections::BTreeMap<(u8, u8), u8>);
    let world = World::new();
    let bad = Bad([((1, 2), 3)].into());
    let error = fails(world.execute(&world.client(), Call::new(CREATE).json(&bad)).await);
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::InvalidRequest, Delivery::NotSent));
}

#[tokio::test]
async fn an_answer_larger_than_allowed_is_not_read_and_not_retried() {
    let world = World::new();
    world.transport.on(&LIST).reply(200).body(vec![b'x'; 100]).then(200).body(vec![b'x'; 99]);
    let client = world.builder().max_body(99).build().unwrap();
    let error = fails(world.execute(&client, Call::new(LIST)).await);
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Decode, Delivery::Processed));
    assert_eq!(world.execute(&client, Call::new(LIST)).await.unwrap().body().len(), 99);
    // The same in pieces of 10.
    for (pieces, fits) in [(9, true), (10, false)] {
        let client = world.builder().transport(Pieces(pieces)).max_body(99).build().unwrap();
        let result = world.execute(&client, Call::new(LIST)).await;
        assert_eq!(result.is_ok(), fits);
        assert!(result.is_err() || result.is_ok_and(|r| r.body()[..] == b"0123456789".repeat(pieces)));
    }
}

/// Answers in so many pieces of 10 bytes.
#[derive(Debug)]
struct Pieces(usize);

#[async_trait]
impl Transport for Pieces {
    async fn send(
        &self,
        _request: WireRequest,
        _cx: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError> {
        let piece = || Ok(Bytes::from_static(b"0123456789"));
        Ok(http::Response::new(BodyStream::new(stream::iter(std::iter::repeat_with(piece).take(self.0)))))
    }
}

#[tokio::test]
async fn what_does_not_decode_was_applied() {
    let world = World::new();
    world.transport.on(&LIST).json(200, &json!(["ada@example.com"])).header("x-request-id", "r7");
    let response = world.execute(&world.client(), Call::new(LIST)).await.unwrap();
    assert_eq!(response.meta().request_id.as_deref(), Some("r7"));
    let error = response.json::<Vec<u8>>().unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Decode, Delivery::Processed));
    assert_eq!((error.operation(), error.request_id()), (Some("things.list"), Some("r7")));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(!format!("{error} {error:?} {source}").contains("ada"), "{error:?}");
}

#[tokio::test]
async fn the_status_alone_says_what_went_wrong_unless_the_platform_knows_better() {
    use ErrorKind::{Conflict, Decode, Forbidden, NotFound, Rejected, Unauthenticated};
    for (status, kind) in [
        (400, Rejected),
        (401, Unauthenticated),
        (402, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (410, NotFound),
        (412, Conflict),
        (413, Rejected),
        (422, Rejected),
        (302, Decode),
    ] {
        let world = World::new();
        world.transport.on(&CREATE).reply(status).header("x-request-id", "r1");
        let error = fails(world.execute(&world.client(), Call::new(CREATE)).await);
        assert_eq!((error.kind(), error.status()), (kind, Some(status)));
        assert_eq!((error.request_id(), error.attempts()), (Some("r1"), 1));
        assert_ne!(error.recovery(), Recovery::Transient, "{status}");
    }
}

#[tokio::test]
async fn the_check_call_is_the_platforms_own() {
    let world = World::new();
    assert_eq!(world.client().check().await.unwrap_err().kind(), ErrorKind::InvalidRequest);
    world.transport.on(&LIST).reply(200).then(401);
    let client = world.builder_for(descriptor().check(LIST)).build().unwrap();
    assert_eq!(world.run(client.check()).await.unwrap().attempts, 1);
    assert_eq!(world.run(client.check()).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
}
