//! Everything that platforms do, in one run; the dead letters; the log.

use crate::support::Sync;
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn with_every_kind_of_trouble_the_run_still_ends_reconciled_and_explains_itself() {
    let sync = Sync::new();
    let run = sync.ok("--contacts 20000 --hubspot-window 1 --live-edits 40");
    assert!(run.json["seconds"].as_f64().unwrap() < 75.0);
    assert_eq!(run.json["reconciled"], true);
    for name in ["quota_violations", "resubscribed", "missing", "extra", "changed", "duplicates"] {
        assert_eq!(run.number(name), 0, "{name}: {}", run.text);
    }
    assert!(run.json["retry_amplification"].as_f64().unwrap() < 1.2, "{}", run.text);
    assert!(run.number("unknown_outcomes_repeated") >= 1, "{}", run.text);
    assert!(run.number("dead_letters") >= 1);

    let met = |platform: &str| run.json["faults_met"][platform].as_object().unwrap().clone();
    let kinds: BTreeSet<String> = met("hubspot")
        .into_iter()
        .chain(met("mailchimp"))
        .filter(|(_, n)| n.as_u64() > Some(0))
        .map(|(kind, _)| kind)
        .collect();
    let every: BTreeSet<String> =
        martlet_testkit::FaultKind::ALL.iter().map(|kind| kind.name().to_owned()).collect();
    assert_eq!(kinds, every, "every kind at least once");
    for said in [
        "rate limited",
        "server error",
        "connection interrupted",
        "credential refused",
        "repeated, because they are upserts",
        "dead letters",
    ] {
        assert!(run.text.contains(said), "{said}: {}", run.text);
    }

    // A second run meets contacts that were deleted, merged and edited meanwhile.
    let second = sync.ok("--contacts 20000 --hubspot-window 1 --reconcile full");
    assert!(second.number("archived") >= 5, "{}", second.text);
    assert_eq!(second.json["reconciled"], true);
}

#[test]
fn dead_letters_are_listed_with_the_vendors_reason_and_can_be_replayed() {
    let sync = Sync::new();
    let run = sync.ok("--contacts 5000 --hubspot-window 1");
    let letters = run.number("dead_letters");
    assert!(letters >= 1);
    let listed = sync.run("dead-letters --contacts 5000 --hubspot-window 1");
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    assert!(listed.text.ends_with(&format!("{letters} dead letters\n")), "{}", listed.text);
    assert!(listed.text.contains("contact ") && listed.text.contains('@'), "{}", listed.text);
    let replayed = sync.run("dead-letters --replay --contacts 5000 --hubspot-window 1");
    assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
    assert!(replayed.text.starts_with("1 taken"), "one was refused only the first time: {}", replayed.text);
}

/// What a line has against its schema: names, types and choices. That patterns and formats hold is tested in martlet-observe, with a
/// whole validator, which would be a fifth of what a first `cargo run --example contact_sync` builds.
fn faults(line: &Value, schema: &Value) -> Vec<String> {
    let line = line.as_object().unwrap();
    let missing = schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    let missing = missing.filter(|name| !line.contains_key(*name)).map(|name| format!("no {name}"));
    let fits = |value: &Value, rule: &Value| {
        let rule = rule["$ref"].as_str().map_or(rule, |to| schema.pointer(&to[1..]).unwrap());
        let of_type = match rule["type"].as_str() {
            Some("string") => value.is_string(),
            Some("integer") => value.is_u64() || value.is_i64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            Some(other) => panic!("a type of which the test knows nothing: {other}"),
            None => rule["enum"].is_array(),
        };
        of_type && rule["enum"].as_array().is_none_or(|choices| choices.contains(value))
    };
    let wrong = line.iter().filter(|(name, value)| !fits(value, &schema["properties"][name.as_str()]));
    missing.chain(wrong.map(|(name, value)| format!("{name} is {value}"))).collect()
}

#[test]
fn every_line_of_the_log_keeps_to_the_schema_and_holds_no_secret() {
    let schema: Value = serde_json::from_str(martlet::observe::LOG_RECORD_SCHEMA).unwrap();
    let sync = Sync::new();
    let run = sync.ok("--contacts 3000 --hubspot-window 1 --log json");
    let (mut events, mut log) = (BTreeSet::new(), String::new());
    for line in run.stderr.lines() {
        let mut record: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let faults = faults(&record, &schema);
        assert!(faults.is_empty(), "{line}: {faults:?}");
        events.insert(record["event"].as_str().unwrap().to_owned());
        // An @ in a mapping's name comes before its version, and nowhere else but in addresses.
        record.as_object_mut().unwrap().remove("transform");
        log += &record.to_string();
    }
    for event in ["call_finished", "stage_finished", "retry_scheduled", "quota_blocked", "credential_issued"]
    {
        assert!(events.contains(event), "{event}: {events:?}");
    }
    let stages = run.stderr.lines().filter(|line| line.contains("stage_finished")).count();
    assert!(stages >= 4, "extract, write, run and reconcile");
    // Tokens, keys, and the people themselves.
    for secret in [
        "sim-hubspot-token",
        "sim-client-secret",
        "sim-refresh-token",
        "00000000000000000000000000000000",
        "@",
        "Bearer",
        "Basic",
    ] {
        assert!(!log.contains(secret) && !run.text.contains(secret), "{secret}");
    }
}
