//! What a request looks like, and which one may be sent again.

use super::{Answer, Sample, Subject, Tested, World};
use crate::RecordedRequest;
use http::header;
use martlet_base::Delivery;
use martlet_core::{Idempotency, KeyStyle, TransportErrorKind, Verb};
use serde_json::Value;

/// User agent, accepted type, the platform's own headers, and a content type for every body.
pub async fn requests_carry_the_standard_headers<C: Tested>(subject: Subject<C>) {
    for sample in &subject.samples() {
        let name = sample.operation.name();
        let (world, requests) = sent(&subject, sample).await;
        for request in &requests {
            let agent = request.header("user-agent").unwrap_or_default();
            assert!(agent.contains("martlet/"), "{name}: the user agent is {agent:?}");
            assert!(request.headers.contains_key(header::ACCEPT), "{name} does not say what it accepts");
            let typed = request.headers.contains_key(header::CONTENT_TYPE);
            assert_eq!(
                typed,
                !request.body.is_empty(),
                "{name}: a content type without a body, or the reverse"
            );
            for (header, value) in world.api.platform().descriptor().headers() {
                assert_eq!(
                    request.headers.get(header),
                    Some(value),
                    "{name} changes the platform's {header}"
                );
            }
        }
    }
}

/// The credential travels in a header that is marked as sensitive (or in the query, where the platform wants it there), and
/// not in the path, where proxies log it.
pub async fn the_credential_is_marked_and_in_no_path<C: Tested>(subject: Subject<C>) {
    let secret = super::SECRET;
    for sample in &subject.samples() {
        let name = sample.operation.name();
        for request in sent(&subject, sample).await.1 {
            let marked = request.headers.values().any(http::HeaderValue::is_sensitive);
            let in_query = request.url.query().is_some_and(|query| query.contains(secret));
            assert!(
                marked || in_query,
                "{name} carries no credential, or one that is not marked as sensitive"
            );
            assert!(!request.url.path().contains(secret), "{name} carries the credential in its path");
            for (header, value) in request.headers.iter().filter(|(_, value)| !value.is_sensitive()) {
                let shown = String::from_utf8_lossy(value.as_bytes());
                assert!(!shown.contains(secret), "{name}: {header} holds the credential and is not marked");
            }
        }
    }
}

async fn sent<C: Tested>(subject: &Subject<C>, sample: &Sample<C>) -> (World<C>, Vec<RecordedRequest>) {
    let world = subject.world(subject.answers());
    let result = world.run(sample).await;
    result.unwrap_or_else(|e| panic!("{} does not take its answer: {e}", sample.operation.name()));
    let requests = world.wire.requests();
    assert!(!requests.is_empty(), "{} sends nothing", sample.operation.name());
    (world, requests)
}

/// A failure on the wire at the first attempt, the sample's answer after that.
fn at_first<C: Tested>(subject: &Subject<C>, sample: &Sample<C>, delivery: Delivery) -> World<C> {
    let kind = match delivery {
        Delivery::NotSent => TransportErrorKind::Connect,
        _ => TransportErrorKind::Interrupted,
    };
    let answer = sample.answer();
    subject.world(
        move |request| {
            if request.attempt == 1 { Answer::failure(kind, delivery) } else { answer.clone() }
        },
    )
}

pub(super) fn is_cached<C>(sample: &Sample<C>) -> bool {
    sample.operation.get_cache().is_some()
}

const fn may_be_repeated(idempotency: Idempotency) -> bool {
    matches!(idempotency, Idempotency::Safe | Idempotency::Idempotent | Idempotency::Keyed(_))
}

/// A connection that breaks after the request was sent: what may be repeated is, the rest fails and says that it may have
/// been applied.
pub async fn a_lost_answer_is_asked_for_again_only_where_that_is_safe<C: Tested>(subject: Subject<C>) {
    for sample in &subject.samples() {
        let name = sample.operation.name();
        let world = at_first(&subject, sample, Delivery::Unknown);
        let result = world.run(sample).await;
        let attempts = world.wire.count();
        if may_be_repeated(sample.operation.get_idempotency()) {
            result.unwrap_or_else(|e| panic!("{name} may be repeated and was not: {e}"));
            assert_eq!(attempts, 2, "{name}");
        } else {
            let error = result.expect_err("a lost answer to what cannot be repeated is an error");
            assert_eq!((attempts, error.delivery()), (1, Delivery::Unknown), "{name}: {error}");
        }
    }
}

/// A connection that was never made harms nobody: every operation is tried again.
pub async fn what_was_never_sent_is_sent_again<C: Tested>(subject: Subject<C>) {
    for sample in &subject.samples() {
        let world = at_first(&subject, sample, Delivery::NotSent);
        let result = world.run(sample).await;
        result.unwrap_or_else(|e| panic!("{} was not tried again: {e}", sample.operation.name()));
    }
}

/// Every attempt of a call is the same bytes to the same address, under the same idempotency key where there is one; the
/// next call has another key.
pub async fn all_attempts_are_the_same_request_under_one_key<C: Tested>(subject: Subject<C>) {
    for sample in &subject.samples() {
        let (name, idempotency) = (sample.operation.name(), sample.operation.get_idempotency());
        let world = at_first(&subject, sample, Delivery::NotSent);
        // A second one would come from the cache.
        let calls = if is_cached(sample) { 1 } else { 2 };
        for _ in 0..calls {
            world.run(sample).await.unwrap_or_else(|e| panic!("{name} was not tried again: {e}"));
        }
        let requests = world.wire.requests();
        assert_eq!(requests.len(), calls * 2, "{name}");
        for attempts in requests.chunks(2) {
            let [first, second] = attempts else { unreachable!("chunks of two") };
            assert_eq!(first.url, second.url, "{name}: the second attempt goes elsewhere");
            assert!(first.body == second.body, "{name}: the second attempt has another body");
            assert!(first.headers == second.headers, "{name}: the second attempt has other headers");
        }
        if let Idempotency::Keyed(style) = idempotency
            && !matches!(sample.operation.verb(), Verb::Get | Verb::Delete)
        {
            let keys: Vec<_> = [0, 2].map(|n| key(&requests[n], style)).into();
            assert!(keys.iter().all(Option::is_some), "{name} sends no idempotency key");
            if !sample.operation.is_key_required() {
                assert_ne!(keys[0], keys[1], "{name} uses one key for two calls");
            }
        }
    }
}

fn key(request: &RecordedRequest, style: KeyStyle) -> Option<String> {
    match style {
        KeyStyle::Header(name) | KeyStyle::QuotedHeader(name) => request.header(name).map(str::to_owned),
        KeyStyle::BodyField(field) => {
            let body: Value = serde_json::from_slice(&request.body).ok()?;
            body.get(field)?.as_str().map(str::to_owned)
        }
        _ => None,
    }
    .filter(|key| !key.is_empty())
}
