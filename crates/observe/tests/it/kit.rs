use martlet_base::{
    BreakerState, CallIds, CallOutcome, ConnectionId, Delivery, ManualClock, Rng, Signal, Timestamp,
    TraceContext, UuidV7,
};
use martlet_observe::{JsonLog, LOG_RECORD_SCHEMA};
use serde_json::Value;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

pub(crate) static ACCOUNT: LazyLock<ConnectionId> = LazyLock::new(|| ConnectionId::new("acme/eu-1").unwrap());

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A writer whose content can be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Every line, each of which is valid.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.text().lines().map(valid).collect()
    }
}

/// A log at 2026-01-01T00:00:10Z.
pub(crate) fn log() -> (JsonLog, Page, ManualClock) {
    let (page, manual) = (Page::default(), ManualClock::new());
    manual.advance(Duration::from_secs(10));
    (JsonLog::new(page.clone(), manual.clock(), Rng::seeded(7)), page, manual)
}

static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(LOG_RECORD_SCHEMA).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
});

pub(crate) fn is_valid(record: &Value) -> bool {
    SCHEMA.is_valid(record)
}

/// Parses a line and fails with everything that the schema has against it.
#[track_caller]
pub(crate) fn valid(line: &str) -> Value {
    let record = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let faults: Vec<_> = SCHEMA.iter_errors(&record).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(faults.is_empty(), "{line}\n{faults:#?}");
    record
}

/// The ids of call number `seed`, which has a trace and a key when the number is odd.
pub(crate) fn ids(seed: u64) -> CallIds {
    let mut ids = CallIds::default();
    ids.id = Some(UuidV7::new(Timestamp::from_millis(1_767_225_600_000), &Rng::seeded(seed)));
    ids.trace = TraceContext::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01");
    ids.idempotency_key_hash = Some(0x2a);
    if seed.is_multiple_of(2) {
        (ids.trace, ids.idempotency_key_hash) = (None, None);
    }
    ids
}

/// One signal of each kind, most of them twice: gone well and gone wrong.
pub(crate) fn signals() -> Vec<Signal<'static>> {
    let account = &*ACCOUNT;
    let later = Timestamp::from_millis(1_767_225_670_250);
    vec![
        Signal::call_finished(
            "hubspot",
            "contacts.list",
            account,
            ids(0),
            CallOutcome::Ok,
            Some(200),
            None,
            None,
            Some("4f2a-77"),
            None,
            1,
            0,
            31_415,
            ms(182),
            Duration::ZERO,
            Some(ms(12)),
            Some(3),
        ),
        Signal::call_finished(
            "mailchimp",
            "members.upsert_batch",
            account,
            ids(1),
            CallOutcome::Throttled,
            Some(429),
            Some("rate_limited"),
            Some("Too Many Requests"),
            None,
            Some(later),
            4,
            2_048,
            61,
            ms(9_750),
            ms(1_250),
            Some(ms(1_250)),
            None,
        ),
        Signal::call_finished(
            "hubspot",
            "contacts.get",
            account,
            ids(2),
            CallOutcome::Error,
            None,
            Some("circuit_open"),
            None,
            None,
            Some(later),
            0,
            0,
            0,
            Duration::ZERO,
            Duration::ZERO,
            None,
            None,
        ),
        Signal::call_finished(
            "hubspot",
            "contacts.search",
            account,
            ids(3),
            CallOutcome::Cancelled,
            None,
            None,
            None,
            None,
            None,
            1,
            120,
            0,
            ms(3),
            Duration::ZERO,
            Some(Duration::ZERO),
            None,
        ),
        Signal::attempt_finished(
            "hubspot",
            "contacts.list",
            account,
            ids(1),
            1,
            Some(502),
            Some("server"),
            Some(Delivery::Unknown),
            ms(90),
        ),
        Signal::retry_scheduled(
            "hubspot",
            "contacts.list",
            account,
            ids(1),
            1,
            ms(1_104),
            "server",
            Delivery::Unknown,
        ),
        Signal::quota_waited("hubspot", account, ms(40)),
        Signal::quota_blocked("hubspot", account, later),
        Signal::quota_unmatched("hubspot", account, "default", "burst"),
        Signal::breaker_changed("hubspot/acme/eu-1", BreakerState::Closed, BreakerState::Open),
        Signal::breaker_changed("hubspot/acme/eu-1", BreakerState::HalfOpen, BreakerState::Closed),
        Signal::cache_lookup("hubspot", "contacts.get", true),
        Signal::credential_issued("hubspot", account, true, ms(310)),
        Signal::credential_issued("hubspot", account, false, ms(5_000)),
        Signal::records_moved("hubspot.contacts", "extracted", 100),
        Signal::stage_finished(
            "contacts",
            "hubspot.contacts",
            "mailchimp.members",
            "contact-to-member@1",
            "extract",
            CallOutcome::Ok,
            None,
            20_000,
            19_800,
            0,
            Some(200),
            ms(9_999),
        ),
        Signal::stage_finished(
            "contacts",
            "hubspot.contacts",
            "mailchimp.members",
            "contact-to-member@1",
            "write",
            CallOutcome::Error,
            Some("unauthenticated"),
            19_800,
            500,
            1,
            None,
            ms(400),
        ),
    ]
}

/// The signal's kind and whether a line is written for it.
pub(crate) fn kind(signal: &Signal<'_>) -> (&'static str, bool) {
    match signal {
        Signal::CallFinished { .. } => ("CallFinished", true),
        Signal::AttemptFinished { .. } => ("AttemptFinished", false),
        Signal::RetryScheduled { .. } => ("RetryScheduled", true),
        Signal::QuotaWaited { .. } => ("QuotaWaited", false),
        Signal::QuotaBlocked { .. } => ("QuotaBlocked", true),
        Signal::QuotaUnmatched { .. } => ("QuotaUnmatched", true),
        Signal::BreakerChanged { .. } => ("BreakerChanged", true),
        Signal::CacheLookup { .. } => ("CacheLookup", false),
        Signal::CredentialIssued { .. } => ("CredentialIssued", true),
        Signal::RecordsMoved { .. } => ("RecordsMoved", false),
        Signal::StageFinished { .. } => ("StageFinished", true),
        other => panic!("a new signal: decide whether it is logged, and add it here: {other:?}"),
    }
}
