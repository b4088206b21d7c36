//! What signals say about the call that they are about.

use crate::support::{GET, LIST, World, descriptor, ms, secs};
use martlet_base::{CallIds, Observer, Signal, TraceContext};
use martlet_core::{Call, Client, Idempotency, IdempotencyKey, KeyStyle, LimitSpec, Operation, Pager};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PAY: Operation = Operation::post("payments.create", "/v1/payments")
    .idempotency(Idempotency::Keyed(KeyStyle::Header("idempotency-key")));

/// What a signal of a call said.
#[derive(Clone, Debug)]
struct Said {
    kind: &'static str,
    ids: CallIds,
    queued: Option<Duration>,
    pages: Option<u64>,
}

#[derive(Debug, Default)]
struct Ears(Mutex<Vec<Said>>);

impl Observer for Ears {
    fn observe(&self, signal: &Signal<'_>) {
        let (kind, ids, queued, pages) = match *signal {
            Signal::CallFinished { ids, queued, pages, .. } => ("call", ids, queued, pages),
            Signal::AttemptFinished { ids, .. } => ("attempt", ids, None, None),
            Signal::RetryScheduled { ids, .. } => ("retry", ids, None, None),
            _ => return,
        };
        self.0.lock().unwrap().push(Said { kind, ids, queued, pages });
    }
}

impl Ears {
    fn all(&self) -> Vec<Said> {
        self.0.lock().unwrap().clone()
    }

    /// Of the calls that ended, in order.
    fn calls(&self) -> Vec<Said> {
        self.all().into_iter().filter(|said| said.kind == "call").collect()
    }
}

fn listening(world: &World) -> (Client, Arc<Ears>) {
    let ears = Arc::new(Ears::default());
    (world.builder().observer(ears.clone()).build().unwrap(), ears)
}

#[tokio::test]
async fn every_signal_of_a_call_names_it_by_one_id_that_tells_when_it_began() {
    let world = World::new();
    let (client, ears) = listening(&world);
    world.transport.on(&LIST).reply(503).then_json(200, &json!({})).forever();
    world.clock.sleep(ms(0)).await;
    let began = world.clock.wall().as_millis();
    world.execute(&client, Call::new(LIST)).await.unwrap();
    let first = ears.all();
    let kinds: Vec<_> = first.iter().map(|said| said.kind).collect();
    assert_eq!(kinds, ["attempt", "retry", "attempt", "call"]);
    let ids: BTreeSet<_> = first.iter().map(|said| said.ids.id.unwrap()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let id = *ids.first().unwrap();
    assert_eq!(i64::try_from(id.as_u128() >> 80).unwrap(), began);

    world.execute(&client, Call::new(LIST)).await.unwrap();
    assert!(ears.calls()[1].ids.id.unwrap() > id, "a later call has a later id");
}

#[tokio::test]
async fn a_call_names_the_trace_of_its_traceparent_and_else_the_one_that_is_current() {
    let world = World::new();
    let ears = Arc::new(Ears::default());
    let current = TraceContext::new(7, 8).unwrap();
    let client = world.builder().trace_context(move || Some(current)).observer(ears.clone()).build().unwrap();
    world.transport.on(&LIST).json(200, &json!({})).forever();
    let header = |value: &'static str| {
        let name = http::HeaderName::from_static("traceparent");
        Call::new(LIST).header(name, http::HeaderValue::from_static(value))
    };
    let own = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for call in [Call::new(LIST), header(own), header("nonsense")] {
        world.execute(&client, call).await.unwrap();
    }
    let traces: Vec<_> = ears.calls().iter().map(|said| said.ids.trace).collect();
    assert_eq!(traces, [Some(current), TraceContext::from_traceparent(own), None]);
    let sent: Vec<_> =
        world.transport.requests().iter().map(|r| r.headers.get("traceparent").cloned()).collect();
    assert_eq!(sent[0], None, "the platform is told nothing that the call did not say");
    assert_eq!(sent[1].as_ref().unwrap(), own);
}

#[tokio::test]
async fn the_idempotency_key_shows_as_its_hash_and_never_itself() {
    let world = World::new();
    let (client, ears) = listening(&world);
    world.transport.on(&PAY).reply(503).then_json(200, &json!({})).forever();
    world.transport.on(&LIST).json(200, &json!({}));
    let key = IdempotencyKey::new("order-17").unwrap();
    world.execute(&client, Call::new(PAY).json(&json!({})).idempotency_key(key)).await.unwrap();
    // printf order-17 | sha256sum | cut -c1-16
    let hash = Some(0x72a9_0ea3_da8b_5dd0);
    assert!(ears.all().iter().all(|said| said.ids.idempotency_key_hash == hash), "{:x?}", ears.all());
    let text = format!("{:?}", world.seen.all(""));
    assert!(!text.contains("order-17"), "{text}");

    // One made for the call has a hash as well; a call without a key has none.
    world.execute(&client, Call::new(PAY).json(&json!({}))).await.unwrap();
    world.execute(&client, Call::new(LIST)).await.unwrap();
    let hashes: Vec<_> = ears.calls().iter().map(|said| said.ids.idempotency_key_hash).collect();
    assert!(hashes[1].is_some() && hashes[1] != hash && hashes[2].is_none(), "{hashes:?}");
}

#[tokio::test]
async fn a_call_says_how_long_it_was_queued_before_its_first_request_left() {
    let world = World::new();
    let ears = Arc::new(Ears::default());
    let limit = LimitSpec::new(LimitSpec::DEFAULT).window("ten_secondly", 1, secs(10));
    let client = world.builder_for(descriptor().limit(limit)).observer(ears.clone()).build().unwrap();
    world.transport.on(&LIST).json(200, &json!({})).forever();
    // The second waits for the window, and is asked for once more 1 s after it failed: that is no queue.
    world.transport.on(&GET).reply(503).then_json(200, &json!({})).forever();
    world.execute(&client, Call::new(LIST)).await.unwrap();
    world.execute(&client, Call::new(GET).path("id", 1)).await.unwrap();
    let refused = Call::new(LIST).timeout(ms(1));
    world.execute(&client, refused).await.unwrap_err();
    let queued: Vec<_> = ears.calls().iter().map(|said| said.queued).collect();
    assert_eq!(queued, [Some(Duration::ZERO), Some(secs(10)), None]);
}

#[tokio::test]
async fn the_calls_of_a_list_count_its_pages() {
    for ahead in [0, 2] {
        let world = World::new();
        let (client, ears) = listening(&world);
        let page = |next: Option<&str>| json!({ "items": [1, 2], "next": next });
        let script = world.transport.on(&LIST).json(200, &page(Some("a"))).then_json(200, &page(Some("b")));
        script.then_json(200, &page(None));
        let list = Pager::token(
            Arc::new(client.clone()),
            LIST,
            "",
            |after| Call::new(LIST).query_opt("after", after),
            |response| {
                let body: Value = response.json()?;
                Ok((vec![()], body["next"].as_str().map(str::to_owned)))
            },
        );
        world.run(list.prefetch(ahead).collect()).await.unwrap();
        world.transport.on(&GET).json(200, &json!({}));
        world.execute(&client, Call::new(GET).path("id", 1)).await.unwrap();
        let pages: Vec<_> = ears.calls().iter().map(|said| said.pages).collect();
        assert_eq!(pages, [Some(1), Some(2), Some(3), None], "prefetch {ahead}");
    }
}
