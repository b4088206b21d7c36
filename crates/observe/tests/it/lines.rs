//! What is in a line.

use crate::kit::{ACCOUNT, ids, is_valid, kind, log, ms, signals};
use martlet_base::{CallOutcome, Observer, Signal};
use martlet_core::ErrorKind;
use martlet_observe::ErrorClass;
use serde_json::{Value, json};

#[test]
fn every_signal_gives_one_valid_line_or_none() {
    for signal in signals() {
        let (log, page, _) = log();
        log.observe(&signal);
        let lines = page.lines();
        let (name, logged) = kind(&signal);
        assert_eq!(lines.len(), usize::from(logged), "{name}");
        assert!(lines.iter().all(|line| line["run_id"] == log.run_id()), "{name}");
        assert!(!page.text().contains("null"), "absent facts are left out: {}", page.text());
        assert_eq!(log.errors(), 0);
    }
}

#[test]
fn the_schema_refuses_what_is_not_in_it() {
    let (log, page, _) = log();
    signals().iter().for_each(|signal| log.observe(signal));
    for line in page.lines() {
        let event = line["event"].as_str().unwrap().to_owned();
        let spoilt = |field: &str, value: Value| {
            let mut line = line.clone();
            line[field] = value;
            line
        };
        for (field, value) in [
            ("token", json!("secret")),
            ("event", json!("something_else")),
            ("level", json!("fatal")),
            ("run_id", json!("00000000-0000-4000-8000-000000000000")),
            ("ts", json!("2026-01-01T00:00:00Z")),
            ("ts", json!("2026-13-01T00:00:00.000Z")),
            ("duration_ms", json!(-1)),
            ("outcome", json!(null)),
            ("platform", json!("x".repeat(201))),
        ] {
            assert!(!is_valid(&spoilt(field, value.clone())), "{event}: {field} = {value}");
        }
        // Of the facts that an event always has, none may be missing.
        let missing = line.as_object().unwrap().keys().filter(|field| {
            let mut line = line.clone();
            line.as_object_mut().unwrap().remove(*field);
            !is_valid(&line)
        });
        assert!(missing.count() >= 7, "{event}");
    }
}

#[test]
fn text_of_others_cannot_break_or_forge_a_line() {
    let (log, page, _) = log();
    let nasty = "x\r\n{\"level\":\"info\"}\u{0}\u{1b}[2K\u{2028}\u{202e}\"\\";
    let long = "é".repeat(100_000);
    for text in [nasty, &long] {
        log.observe(&Signal::call_finished(
            text,
            text,
            &ACCOUNT,
            ids(1),
            CallOutcome::Error,
            Some(400),
            Some(text),
            Some(text),
            Some(text),
            None,
            1,
            0,
            0,
            ms(1),
            ms(0),
            None,
            None,
        ));
        log.observe(&Signal::stage_finished(
            text,
            text,
            text,
            text,
            "write",
            CallOutcome::Error,
            Some(text),
            1,
            0,
            1,
            None,
            ms(1),
        ));
    }
    let lines = page.lines();
    assert_eq!(lines.len(), 4, "{}", page.text());
    assert_eq!(lines[0]["vendor_code"], "x  {\"level\":\"info\"}  [2K  \"\\");
    assert!(page.text().len() < 10_000, "long text is cut");
}

#[test]
fn a_call_and_its_retries_share_their_ids() {
    let (log, page, _) = log();
    // The call with ids(1), and its retry.
    let of = |signal: &Signal<'_>| match signal {
        Signal::CallFinished { ids: of, .. } | Signal::RetryScheduled { ids: of, .. } => *of == ids(1),
        _ => false,
    };
    signals().iter().filter(|signal| of(signal)).for_each(|signal| log.observe(signal));
    let lines = page.lines();
    assert_eq!(
        lines.iter().map(|line| &line["event"]).collect::<Vec<_>>(),
        ["call_finished", "retry_scheduled"]
    );
    for line in lines {
        assert_eq!(line["request_id"], ids(1).id.unwrap().to_string());
        assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(line["span_id"], "00f067aa0ba902b7");
        assert_eq!(line["idempotency_key_hash"], "000000000000002a");
    }
}

#[test]
fn a_run_takes_a_given_id_of_version_7_only() {
    let given = "019b76da-a800-7f10-8eb1-6ea2f6e9c1a3";
    let (log, page, _) = log();
    let log = log.with_run_id(&given.to_uppercase()).unwrap();
    log.observe(&signals()[0]);
    assert_eq!(page.lines()[0]["run_id"], given);
    for bad in ["", "x", "019b76da-a800-4f10-8eb1-6ea2f6e9c1a3", "019b76da-a800-7f10-0eb1-6ea2f6e9c1a3"] {
        assert!(crate::kit::log().0.with_run_id(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_the_core_calls_transient_is_so_here_and_the_rest_names_who_acts() {
    use ErrorClass::{Config, System, Transient};
    for (kind, class) in [
        (ErrorKind::Config, Config),
        (ErrorKind::InvalidRequest, System),
        (ErrorKind::Connect, Transient),
        (ErrorKind::Timeout, Transient),
        (ErrorKind::Interrupted, Transient),
        (ErrorKind::RateLimited, Transient),
        (ErrorKind::QuotaExhausted, Transient),
        (ErrorKind::Unauthenticated, Config),
        (ErrorKind::Forbidden, Config),
        (ErrorKind::NotFound, System),
        (ErrorKind::Conflict, System),
        (ErrorKind::Rejected, System),
        (ErrorKind::Server, Transient),
        (ErrorKind::Decode, System),
        (ErrorKind::CircuitOpen, Transient),
        (ErrorKind::Overloaded, Transient),
        (ErrorKind::DeadlineExceeded, Transient),
        (ErrorKind::Credential, Config),
        (ErrorKind::Layer, System),
    ] {
        assert_eq!(ErrorClass::of(kind.as_str()), class, "{kind:?}");
        let passes = martlet_core::Error::new(kind, "").recovery();
        let passes =
            !matches!(passes, martlet_base::Recovery::Fatal | martlet_base::Recovery::Reauthenticate);
        assert_eq!(class == Transient, passes, "{kind:?}");
    }
    use martlet_store::StoreErrorKind as Store;
    for (kind, class) in [
        (Store::Unavailable, Transient),
        (Store::Full, Config),
        (Store::ReadOnly, Config),
        (Store::Corrupt, System),
        (Store::Conflict, System),
    ] {
        assert_eq!(ErrorClass::of(kind.as_str()), class, "{kind:?}");
    }
    assert_eq!(ErrorClass::of("never heard of"), System);
}
