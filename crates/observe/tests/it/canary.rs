//! Secrets, bodies and personal data go through a client; none of it reaches the log.

use crate::kit::Page;
use martlet_base::{ConnectionId, Delivery, ManualClock, Rng};
use martlet_core::{
    ApiClient, Call, Client, Credential, Descriptor, Idempotency, Operation, Platform, TransportErrorKind,
};
use martlet_observe::JsonLog;
use martlet_testkit::ScriptedTransport;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

const GET: Operation = Operation::get("things.get", "/v1/things/{id}");
const LIST: Operation = Operation::get("things.list", "/v1/things");
const CREATE: Operation = Operation::post("things.create", "/v1/things").idempotency(Idempotency::Unsafe);

#[derive(Debug)]
struct Acme(Descriptor);

impl Platform for Acme {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }
}

/// In every place where a client meets text of others: each value has this in it.
const CANARY: &str = "CANARY";

#[tokio::test]
async fn no_secret_body_or_personal_data_of_a_clients_calls_reaches_the_log() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let page = Page::default();
    let log = Arc::new(JsonLog::new(page.clone(), clock.clone(), Rng::seeded(3)));
    let transport = ScriptedTransport::new(clock.clone());
    let client = Client::builder(Acme(Descriptor::new("acme", "https://api.acme.example").unwrap()))
        .connection(ConnectionId::new("acme/eu-1").unwrap())
        .transport(transport.clone())
        .credentials(Credential::bearer("token-CANARY"))
        .clock(clock)
        .rng(Rng::seeded(3))
        .observer(log.clone())
        .build()
        .unwrap();

    let echo = json!({"email": "ada.CANARY@example.com", "message": "bad token token-CANARY\n{}"});
    transport
        .on(&GET)
        .json(200, &echo)
        .header("x-secret", "CANARY")
        .then_json(401, &echo)
        .times(2)
        .then_json(404, &echo);
    transport.on(&LIST).then_json(503, &echo).fail(TransportErrorKind::Timeout, Delivery::Unknown).forever();
    transport.on(&CREATE).json(422, &echo).then_json(429, &echo).forever();

    let get = || Call::new(GET).path("id", "id-CANARY");
    let list = || Call::new(LIST).query("email", "ada.CANARY@example.com");
    let create = || Call::new(CREATE).json(&echo);
    let calls = [get(), get(), get(), list(), create(), create()];
    for call in calls {
        let _ = manual.drive(client.execute(call)).await;
    }
    // A dropped call is logged as well.
    let stalled = Operation::get("things.stall", "/v1/stall");
    transport.on(&stalled).stall();
    let dropped = tokio::task::spawn({
        let client = client.clone();
        async move { client.execute(Call::new(stalled).query("q", "CANARY")).await }
    });
    tokio::task::yield_now().await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());

    let sent = transport.requests();
    assert!(format!("{sent:?}").contains(CANARY), "the canaries were on their way");
    let lines = page.lines();
    let outcomes: BTreeSet<_> = lines
        .iter()
        .filter(|line| line["event"] == "call_finished")
        .map(|line| line["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["cancelled", "error", "ok", "throttled"].into(), "{}", page.text());
    assert!(lines.iter().any(|line| line["event"] == "retry_scheduled"));
    for line in page.text().lines() {
        assert!(!line.contains(CANARY), "{line}");
    }
    assert_eq!(log.errors(), 0);
}
