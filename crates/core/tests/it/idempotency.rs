//! Idempotency keys: where they go, what answers mean, and keys that survive a crash.

use crate::support::{World, fails, secs};
use martlet_base::{ConnectionId, Recovery};
use martlet_core::{Call, Client, ErrorKind, Idempotency, IdempotencyKey, KeyStyle, Operation};
use martlet_store::MemoryStore;
use std::sync::Arc;
use std::time::Duration;

const PAY: Operation =
    Operation::post("pay", "/v1/pay").idempotency(Idempotency::Keyed(KeyStyle::Header("idempotency-key")));
const DAY: Duration = Duration::from_secs(86_400);

fn key(id: &str) -> IdempotencyKey {
    IdempotencyKey::derived(&ConnectionId::default(), "pay", id, [])
}

fn pay(id: &str, amount: u32) -> Call {
    Call::new(PAY).json(&amount).idempotency_key(key(id))
}

struct Durable {
    world: World,
    store: Arc<MemoryStore>,
}

impl Durable {
    fn new() -> Self {
        let world = World::new();
        let store = Arc::new(MemoryStore::new(world.clock.clone()));
        Self { world, store }
    }

    /// A client that knows what another one wrote down before it died.
    fn client(&self) -> Client {
        self.world.builder().durable_keys(self.store.clone(), DAY).build().unwrap()
    }

    fn sent(&self) -> usize {
        self.world.transport.requests().len()
    }
}

#[tokio::test]
async fn i2_a_failure_that_the_platform_replays_is_final() {
    let world = World::new();
    world.transport.on(&PAY).reply(500).header("idempotent-replayed", "true");
    let error = fails(world.execute(&world.client(), pay("1", 5)).await);
    assert_eq!((error.kind(), error.recovery(), error.attempts()), (ErrorKind::Server, Recovery::Fatal, 1));
    assert_eq!(error.code(), Some("replayed_failure"));
}

#[tokio::test]
async fn i3_i9_a_key_in_use_is_waited_for_with_the_same_key() {
    // gocardless-pro-python #12: a key per attempt makes duplicates.
    let world = World::new();
    world.transport.on(&PAY).reply(409).then(200);
    let response = world.execute(&world.client(), Call::new(PAY).json(&5)).await.unwrap();
    assert_eq!(response.meta().attempts, 2);
    let keys: Vec<_> =
        world.transport.requests().iter().map(|r| r.headers["idempotency-key"].clone()).collect();
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn i5_an_operation_that_needs_a_key_of_the_callers_sends_nothing_without() {
    let world = World::new();
    let client = world.client();
    let error = fails(world.execute(&client, Call::new(PAY.requires_key()).json(&5)).await);
    assert_eq!((error.kind(), world.transport.requests().len()), (ErrorKind::InvalidRequest, 0));
    let durable = Durable::new();
    let error = fails(durable.world.execute(&durable.client(), Call::new(PAY).json(&5)).await);
    assert!(error.to_string().contains("found again after a crash"), "{error}");
    assert_eq!(durable.sent(), 0);
}

#[tokio::test]
async fn i8_a_call_that_was_done_before_a_crash_is_answered_from_what_was_written_down() {
    let durable = Durable::new();
    durable.world.transport.on(&PAY).json(201, &"receipt-1");
    let first = durable.world.execute(&durable.client(), pay("1", 5)).await.unwrap();
    assert!(!first.meta().from_cache);
    let again = durable.world.execute(&durable.client(), pay("1", 5)).await.unwrap();
    assert_eq!((again.status().as_u16(), again.json::<String>().unwrap()), (201, "receipt-1".to_owned()));
    assert!(again.meta().from_cache);
    assert_eq!(durable.sent(), 1);
}

#[tokio::test]
async fn i8_a_call_that_was_interrupted_is_made_again_under_the_same_key() {
    let durable = Durable::new();
    durable.world.transport.on(&PAY).stall().then(200);
    let client = durable.client();
    let soon = martlet_base::Deadline::after(durable.world.clock.now(), secs(1));
    let call = martlet_core::ApiClient::execute(&client, pay("1", 5));
    // The process dies here.
    assert!(durable.world.run(durable.world.clock.within(soon, call)).await.is_none());
    durable.world.execute(&durable.client(), pay("1", 5)).await.unwrap();
    let keys: Vec<_> =
        durable.world.transport.requests().iter().map(|r| r.headers["idempotency-key"].clone()).collect();
    assert_eq!((keys.len(), &keys[0]), (2, &keys[1]));
}

#[tokio::test]
async fn i4_another_payload_under_a_used_key_is_refused_before_it_is_sent() {
    let durable = Durable::new();
    durable.world.transport.on(&PAY).reply(200);
    let client = durable.client();
    durable.world.execute(&client, pay("1", 5)).await.unwrap();
    let error = fails(durable.world.execute(&client, pay("1", 6)).await);
    assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidRequest, Some("idempotency_key_reuse")));
    assert_eq!(durable.sent(), 1);
}

#[tokio::test]
async fn i10_fields_that_change_from_one_sending_to_the_next_are_left_out_of_the_fingerprint() {
    // Adyen commercetools #1305: a timestamp in the hash authorised twice.
    let durable = Durable::new();
    durable.world.transport.on(&PAY).reply(200);
    let client = durable.client();
    for sent_at in [1, 2] {
        durable.world.execute(&client, pay("1", sent_at).fingerprint("order-1, 5 EUR")).await.unwrap();
    }
    assert_eq!(durable.sent(), 1);
}

#[tokio::test]
async fn i6_a_replay_after_the_platform_has_forgotten_the_key_is_refused_unless_the_caller_confirms() {
    let durable = Durable::new();
    durable.world.transport.on(&PAY).reply(200).times(2);
    let client = durable.client();
    durable.world.execute(&client, pay("1", 5)).await.unwrap();
    durable.world.manual.advance(DAY - secs(3_600));
    let error = fails(durable.world.execute(&client, pay("1", 5)).await);
    assert_eq!(error.code(), Some("idempotency_key_expired"));
    assert_eq!(durable.sent(), 1);
    durable.world.execute(&client, pay("1", 5).allow_reexecution()).await.unwrap();
    assert_eq!(durable.sent(), 2);
    // Now it is young again.
    assert!(durable.world.execute(&client, pay("1", 5)).await.unwrap().meta().from_cache);
}

#[tokio::test]
async fn i7_what_was_refused_by_its_content_may_be_corrected_under_the_same_key() {
    let durable = Durable::new();
    durable.world.transport.on(&PAY).reply(422).then(200);
    let client = durable.client();
    fails(durable.world.execute(&client, pay("1", 5)).await);
    durable.world.execute(&client, pay("1", 6)).await.unwrap();
    assert_eq!(durable.sent(), 2);
}

#[tokio::test]
async fn i11_get_and_delete_carry_no_key() {
    const DELETE: Operation = Operation::delete("drop", "/v1/pay")
        .idempotency(Idempotency::Keyed(KeyStyle::Header("idempotency-key")));
    let world = World::new();
    world.transport.on(&DELETE).reply(204);
    world.execute(&world.client(), Call::new(DELETE)).await.unwrap();
    assert!(world.transport.requests()[0].headers.get("idempotency-key").is_none());
}

#[test]
fn i8_derived_keys_are_uuids_of_version_8_and_differ_in_every_part() {
    let connection = ConnectionId::default();
    let derived = |op: &str, id: &str, parts: &[&str]| {
        IdempotencyKey::derived(&connection, op, id, parts.iter().copied())
    };
    let keys = [
        derived("a", "b", &[]),
        derived("a", "c", &[]),
        derived("ab", "", &[]),
        derived("a", "b", &["c"]),
        derived("a", "bc", &[]),
        derived("a", "b", &["c", ""]),
    ];
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(key.as_str().as_bytes()[14], b'8', "{key:?}");
        assert!(keys[..i].iter().all(|other| other != key), "{i}");
    }
}

#[tokio::test]
async fn i1_the_key_goes_where_the_platform_reads_it() {
    let styles = [
        (KeyStyle::Header("x-key"), Some("k-1"), "5"),
        (KeyStyle::QuotedHeader("x-key"), Some("\"k-1\""), "5"),
        (KeyStyle::BodyField("key"), None, r#"{"key":"k-1"}"#),
    ];
    for (style, header, body) in styles {
        let operation = PAY.idempotency(Idempotency::Keyed(style));
        let world = World::new();
        world.transport.on(&operation).reply(200);
        let call = if header.is_some() {
            Call::new(operation).json(&5)
        } else {
            Call::new(operation).body("{}".to_owned())
        };
        let call = call.idempotency_key(IdempotencyKey::new("k-1").unwrap());
        world.execute(&world.client(), call).await.unwrap();
        let request = &world.transport.requests()[0];
        assert_eq!((request.header("x-key"), &request.body[..]), (header, body.as_bytes()), "{style:?}");
    }
    for bad in ["", "a b", "ü", "\"", &"x".repeat(256)] {
        assert!(IdempotencyKey::new(bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn r15_all_attempts_of_a_call_carry_one_key_and_one_body() {
    // failsafe-go #73: the body was not sent again.
    let world = World::new();
    world.transport.on(&PAY).reply(503).times(2).then(200);
    world.execute(&world.client(), Call::new(PAY).json(&[1, 2, 3])).await.unwrap();
    let sent: Vec<_> = world
        .transport
        .requests()
        .iter()
        .map(|r| (r.header("idempotency-key").map(str::to_owned), r.body.clone()))
        .collect();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|s| *s == sent[0] && s.0.is_some() && &s.1[..] == b"[1,2,3]"));
}
