//! Failures of every status and shape, and answers from the future.

use super::{Answer, Sample, Subject, Tested, World};
use martlet_base::Delivery;
use martlet_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use std::time::Duration;

/// Bodies that stand where a platform's own error should: of proxies, of other versions, cut off.
fn shapes() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        "",
        "<html><body><h1>502 Bad Gateway</h1></body></html>",
        "null",
        "[]",
        "{}",
        "[{\"error\":{}}]",
        "\"a text\"",
        "{\"error\":",
        r#"{"error":7,"errors":{"a":[null]},"message":[],"status":[],"code":{},"title":1,"detail":null,"category":false}"#,
        r#"{"error":{"code":"X","message":null},"errors":[1,null,{}],"message":null,"type":"error"}"#,
        "{\"message\":\"a\\r\\nline\\u001b[31m\\u202e break\"}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    all.push(vec![0xff, 0xfe, 0x00, 0x80]);
    all.push(format!("{{\"message\":\"{}\"}}", "é".repeat(20_000)).into_bytes());
    all.push("[".repeat(2_000).into_bytes());
    all
}

const STATUSES: [u16; 40] = [
    300, 301, 302, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415,
    416, 417, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 520, 599,
];

/// Whether a failure of `status` may be taken for `kind`, whatever the body said.
fn fits(status: u16, kind: ErrorKind) -> bool {
    use ErrorKind as K;
    match status {
        401 => kind == K::Unauthenticated,
        404 | 410 => kind == K::NotFound,
        429 => matches!(kind, K::RateLimited | K::QuotaExhausted),
        400..=499 => !matches!(kind, K::Server | K::Connect | K::Interrupted | K::InvalidRequest | K::Decode),
        500..=599 => !matches!(kind, K::Connect | K::InvalidRequest | K::Decode | K::NotFound | K::Conflict),
        _ => true,
    }
}

async fn failing<C: Tested>(
    subject: &Subject<C>,
    sample: &Sample<C>,
    status: u16,
    body: impl Into<bytes::Bytes>,
) -> (World<C>, Result<()>) {
    let answer = Answer::new(status, body).header("content-type", "application/json");
    let world = subject.world(move |_| answer.clone());
    let result = world.run(sample).await;
    (world, result)
}

/// Every status that is no success is an error of a fitting kind that names platform, operation and status in one line;
/// whatever the body is, nothing panics.
pub async fn every_error_status_is_told_whatever_its_body<C: Tested>(subject: Subject<C>) {
    let shapes = shapes();
    for (number, sample) in subject.samples().iter().enumerate() {
        // One operation meets all shapes, the others the two that are seen most.
        let shapes = if number == 0 { &shapes[..] } else { &shapes[..2] };
        for status in STATUSES {
            for body in shapes {
                let (world, result) = failing(&subject, sample, status, body.clone()).await;
                let name = sample.operation.name();
                let what = || {
                    format!(
                        "{name}, {status} with {:?}",
                        String::from_utf8_lossy(&body[..body.len().min(60)])
                    )
                };
                let Err(error) = result else { panic!("{} is no success", what()) };
                told(&error, status, &what());
                assert_eq!(error.operation(), Some(name), "{}", what());
                let platform = world.api.platform().descriptor().id();
                assert_eq!(error.platform(), Some(&**platform), "{}", what());
            }
        }
    }
}

fn told(error: &Error, status: u16, what: &str) {
    assert_eq!(error.status(), Some(status), "{what}: {error}");
    assert!(fits(status, error.kind()), "{what} is taken for {:?}: {error}", error.kind());
    let line = error.to_string();
    assert!(!line.chars().any(char::is_control) && line.chars().count() < 1_000, "{what}: no line for a log");
    if error.kind() == ErrorKind::Server {
        let certain = matches!(error.delivery(), Delivery::NotSent | Delivery::Rejected);
        assert!(
            !certain,
            "{what}: a server that failed may have applied it, {:?} is too sure",
            error.delivery()
        );
    }
    if matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::Unauthenticated) {
        assert_ne!(error.delivery(), Delivery::Processed, "{what}: it was turned away, not processed");
    }
}

/// The failures that the subject names are what it says they are, for each operation.
pub async fn documented_failures_have_their_kind<C: Tested>(subject: Subject<C>) {
    assert!(!subject.failures.is_empty(), "name the platform's failures with Subject::failure");
    for failure in &subject.failures {
        for sample in &subject.samples() {
            let answer = Answer::json(failure.status, &failure.body);
            let world = subject.world(move |_| answer.clone());
            let name = sample.operation.name();
            let Err(error) = world.run(sample).await else {
                panic!("{name}: {} {} is no success", failure.status, failure.body)
            };
            let said = format!("{name}: {} {}: {error}", failure.status, failure.body);
            assert_eq!(error.kind(), failure.kind, "{said}");
            assert_eq!(error.status(), Some(failure.status), "{said}");
        }
    }
}

/// A 200 with a page of HTML (a portal, a proxy that logs in) is no success where an answer was expected, and is not sent
/// again: it may have been applied.
pub async fn a_page_that_is_no_json_is_no_success<C: Tested>(subject: Subject<C>) {
    for sample in subject.samples().iter().filter(|sample| !sample.answer.is_null()) {
        let name = sample.operation.name();
        for body in ["<!doctype html><title>Please log in</title>", "", "\"", "[[", "7"] {
            let (world, result) = failing(&subject, sample, 200, body).await;
            let Err(error) = result else { panic!("{name} takes {body:?} for its answer") };
            assert_eq!(error.kind(), ErrorKind::Decode, "{name}, {body:?}: {error}");
            assert_eq!(world.wire.count(), 1, "{name}: what was answered with success is not sent again");
        }
    }
}

/// After a 429 with `Retry-After: 7` nothing is sent for 7 seconds, and then the call succeeds: a request that was turned
/// away was not applied, so this is for every operation.
pub async fn a_pause_that_is_asked_for_is_kept<C: Tested>(subject: Subject<C>) {
    for sample in &subject.samples() {
        let (name, answer) = (sample.operation.name(), sample.answer());
        let world = subject.world(move |request| {
            if request.attempt == 1 {
                Answer::new(429, "").header("retry-after", "7")
            } else {
                answer.clone()
            }
        });
        world.run(sample).await.unwrap_or_else(|e| panic!("{name} does not outlast a 429: {e}"));
        let requests = world.wire.requests();
        assert_eq!(requests.len(), 2, "{name}");
        let pause = requests[1].at.since(requests[0].at);
        assert!(pause >= Duration::from_secs(7), "{name} was told to wait 7 s and waited {pause:?}");
        assert!(pause < Duration::from_secs(60), "{name} was told to wait 7 s and waited {pause:?}");
    }
}

/// The credential is in no error, no `Debug` and no signal, and an answer that does not decode is not quoted: it may hold
/// personal data.
pub async fn no_secret_is_printed<C: Tested>(subject: Subject<C>) {
    const PERSON: &str = "c4n4ry-person@example.org";
    let body = json!({ "id": { "x": PERSON }, "results": PERSON, "data": PERSON, "items": { "x": PERSON } });
    for sample in &subject.samples() {
        let name = sample.operation.name();
        let mut printed = String::new();
        let mut secrets = vec![super::SECRET.to_owned()];
        for status in [200, 401, 403, 404, 429, 500] {
            let answer = if status == 200 { body.to_string() } else { String::new() };
            let (world, result) = failing(&subject, sample, status, answer).await;
            if let Err(error) = result {
                let mut source: Option<&dyn std::error::Error> = Some(&error);
                while let Some(error) = source {
                    printed.push_str(&format!("{error} {error:?} {error:#?}\n"));
                    source = error.source();
                }
            }
            printed.push_str(&format!("{:?} {:#?} {:?}\n", world.client, world.client, world.api));
            printed.push_str(&world.signals.text());
            for request in world.wire.requests() {
                let marked = request.headers.values().filter(|value| value.is_sensitive());
                let values = marked.filter_map(|value| value.to_str().ok());
                // "Basic bWFy.." is a secret too, "Basic" is not.
                secrets.extend(
                    values.flat_map(str::split_whitespace).filter(|word| word.len() > 8).map(str::to_owned),
                );
            }
        }
        for secret in &secrets {
            assert!(!printed.contains(secret.as_str()), "{name} prints its credential");
        }
        assert!(!printed.contains(PERSON), "{name} quotes an answer that does not decode");
    }
}

/// Members that the platform adds one day, in every object of an answer, do no harm.
pub async fn what_is_new_in_answers_does_no_harm<C: Tested>(subject: Subject<C>) {
    for sample in &subject.samples() {
        let mut newer = sample.answer.clone();
        add_members(&mut newer);
        let answer = Answer::json(sample.status, &newer).header("x-added-later", "1");
        let world = subject.world(move |_| answer.clone());
        let name = sample.operation.name();
        world
            .run(sample)
            .await
            .unwrap_or_else(|e| panic!("{name} does not take an answer with new members: {e}"));
    }
}

fn add_members(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(add_members);
            members.insert("added_later".to_owned(), json!("text"));
        }
        Value::Array(items) => items.iter_mut().for_each(add_members),
        _ => {}
    }
}
