//! What HubSpot's answers are taken for.

use crate::kit::Scripted;
use martlet_base::{Delivery, Recovery, Timestamp};
use martlet_core::{Error, ErrorKind};
use martlet_hubspot::{Contact, operations};
use serde_json::json;
use std::time::Duration;

async fn failure(status: u16, body: &str) -> (Error, Duration) {
    let scripted = Scripted::new();
    scripted.on(&operations::GET).reply(status).body(body.to_owned()).forever();
    let get = scripted.hubspot.contacts().get("77").send();
    let error = scripted.clock.drive(get).await.unwrap_err();
    (error, scripted.elapsed())
}

#[tokio::test]
async fn every_status_has_its_kind_with_and_without_an_envelope() {
    let envelope =
        json!({"status": "error", "message": "why", "category": "SOME_CATEGORY", "correlationId": "c-1"});
    let page = "<html><body>It is not you, it is us</body></html>";
    for (status, kind) in [
        (400, ErrorKind::Rejected),
        (401, ErrorKind::Unauthenticated),
        (403, ErrorKind::Forbidden),
        (404, ErrorKind::NotFound),
        (409, ErrorKind::Conflict),
        (413, ErrorKind::Rejected),
        (415, ErrorKind::Rejected),
        (423, ErrorKind::Conflict),
        (429, ErrorKind::RateLimited),
        (500, ErrorKind::Server),
        (502, ErrorKind::Server),
        (504, ErrorKind::Server),
        (530, ErrorKind::Unauthenticated),
    ] {
        let (error, _) = failure(status, &envelope.to_string()).await;
        assert_eq!((error.kind(), error.status()), (kind, Some(status)));
        assert_eq!((error.code(), error.request_id()), (Some("SOME_CATEGORY"), Some("c-1")), "{status}");
        for body in [page, "", "null", "[1]", "{\"message\":7}", "\u{0}"] {
            assert_eq!(failure(status, body).await.0.kind(), kind, "{status} {body:?}");
        }
    }
}

#[tokio::test]
async fn a_malformed_token_is_told_plainly_and_not_tried_again() {
    let (error, took) = failure(530, "<html>error code: 1016</html>").await;
    assert_eq!((error.recovery(), error.attempts(), took), (Recovery::Fatal, 1, Duration::ZERO));
    assert!(error.message().contains("malformed"), "{error}");
}

#[tokio::test]
async fn the_details_and_the_missing_scopes_are_in_the_message() {
    let (error, _) = failure(400, include_str!("../../fixtures/error_validation.json")).await;
    assert_eq!(error.message(), "Property values were not valid; \"many\" is not a number");
    let (error, _) = failure(403, include_str!("../../fixtures/error_scopes.json")).await;
    assert_eq!(error.code(), Some("MISSING_SCOPES"));
    assert!(error.message().ends_with("crm.objects.contacts.read, crm.objects.contacts.write"), "{error}");
    let (error, _) = failure(404, include_str!("../../fixtures/error_not_found.json")).await;
    assert_eq!(error.message(), "contact does not exist; The contact 77 does not exist.");
}

async fn waited(body: &'static str, headers: &[(&'static str, &str)]) -> Duration {
    let scripted = Scripted::new();
    let mut script = scripted.on(&operations::GET).reply(429).body(body);
    for (name, value) in headers {
        script = script.header(name, value);
    }
    script.then_json(200, &json!({"id": "77"}));
    scripted.clock.drive(scripted.hubspot.contacts().get("77").send()).await.unwrap();
    scripted.transport.verify();
    scripted.elapsed()
}

#[tokio::test]
async fn a_429_is_waited_out_for_as_long_as_its_limit_lasts() {
    let second = include_str!("../../fixtures/error_secondly.json");
    let ten = include_str!("../../fixtures/error_ten_secondly.json");
    let about = |waited: Duration, secs: u64| (secs..=secs + 1).contains(&waited.as_secs());
    let interval = ("x-hubspot-ratelimit-interval-milliseconds", "10000");
    assert!(about(waited(second, &[]).await, 1));
    assert!(about(waited(ten, &[]).await, 10));
    assert!(about(waited(ten, &[("x-hubspot-ratelimit-interval-milliseconds", "4000")]).await, 4));
    assert!(about(waited("<html>", &[interval]).await, 10));
    assert!(about(waited(second, &[interval]).await, 1), "the interval is another limit's");
    assert!(about(waited(ten, &[interval, ("retry-after", "3")]).await, 3), "Retry-After wins");
    let absurd = waited("", &[("x-hubspot-ratelimit-interval-milliseconds", "999999999999")]).await;
    assert!(absurd.as_secs() < 90, "{absurd:?}");
}

#[tokio::test]
async fn a_spent_daily_quota_fails_at_once_and_says_when_to_come_back() {
    let (error, took) = failure(429, include_str!("../../fixtures/error_daily.json")).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::QuotaExhausted, Some("DAILY")));
    assert_eq!((error.attempts(), took, error.delivery()), (1, Duration::ZERO, Delivery::Rejected));
    assert_eq!(error.retry_at(), Some(Timestamp::from_secs(1_767_225_600 + 3_600)));
}

#[tokio::test]
async fn a_200_with_an_error_inside_is_an_error() {
    let body = |category: &str| json!({"status": "error", "message": "m", "category": category}).to_string();
    for (category, kind) in [
        ("VALIDATION_ERROR", ErrorKind::Rejected),
        ("OBJECT_NOT_FOUND", ErrorKind::NotFound),
        ("MISSING_SCOPES", ErrorKind::Forbidden),
        ("CONFLICT", ErrorKind::Conflict),
        ("A_NEW_ONE", ErrorKind::Rejected),
    ] {
        assert_eq!(failure(200, &body(category)).await.0.kind(), kind, "{category}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_contact_is_told_and_not_sent_again() {
    for body in ["<html>", "{}", "[]", "", "{\"id\":7}"] {
        let scripted = Scripted::new();
        scripted.on(&operations::GET).reply(200).body(body);
        let error = scripted.clock.drive(scripted.hubspot.contacts().get("77").send()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{body}");
    }
}

#[tokio::test]
async fn quota_headers_are_read_where_they_are_readable() {
    let scripted = Scripted::new();
    scripted
        .on(&operations::GET)
        .json(200, &json!({"id": "77"}))
        .header("x-hubspot-ratelimit-daily", 250_000)
        .header("x-hubspot-ratelimit-daily-remaining", 249_000)
        .header("x-hubspot-ratelimit-max", 100)
        .header("x-hubspot-ratelimit-remaining", "many");
    let get = scripted.hubspot.contacts().get("77").send_with_meta();
    let (_, meta) = scripted.clock.drive(get).await.unwrap();
    let told: Vec<_> = meta.quota.iter().map(|q| (q.bucket, &*q.window, q.limit, q.remaining)).collect();
    assert_eq!(
        told,
        [("default", "ten_secondly", Some(100), None), ("default", "daily", Some(250_000), Some(249_000))]
    );
}

#[test]
fn a_contact_keeps_custom_properties_and_tolerates_what_is_new() {
    let contact: Contact = serde_json::from_str(include_str!("../../fixtures/contact.json")).unwrap();
    assert_eq!(contact.property("our_own_property"), Some("kept"));
    assert_eq!((contact.property("visits"), contact.property("lastname")), (Some("12"), None));
    assert!(contact.properties.contains_key("lastname"));
    assert_eq!((contact.opted_out(), contact.email()), (Some(true), Some("ada@example.com")));
    // One date in ISO 8601, one in milliseconds.
    assert_eq!(contact.created_at, "2024-03-05T09:41:12.003Z".parse().ok());
    assert_eq!(contact.updated_at, Some(Timestamp::from_millis(1_733_011_199_999)));
}

#[tokio::test]
async fn a_page_survives_odd_dates_and_missing_properties() {
    let scripted = Scripted::new();
    let page = include_str!("../../fixtures/page.json");
    scripted
        .on(&operations::LIST)
        .reply(200)
        .body(page)
        .then_json(200, &json!({"results": [], "paging": null}));
    let all = scripted.clock.drive(scripted.hubspot.contacts().list().pager().collect()).await.unwrap();
    scripted.transport.verify();
    assert_eq!(scripted.transport.requests()[1].url.query(), Some("limit=100&after=4111"));
    assert_eq!(all.len(), 2);
    assert_eq!((all[1].updated_at, all[1].properties.len(), all[1].archived), (None, 0, true));
    assert_eq!(all[1].created_at, Some(Timestamp::from_millis(1_709_631_672_003)));
}
