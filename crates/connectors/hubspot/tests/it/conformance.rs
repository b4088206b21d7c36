//! The suite that every connector passes. Operations without a sample here are called bare, by their paths.

use martlet_core::ErrorKind;
use martlet_hubspot::{ContactInput, Direction, HubSpot, HubSpotBuilder, operations};
use martlet_testkit::conformance::connector::{PageSpec, Setup, Subject};
use serde_json::{Value, json};

fn builder(setup: &Setup) -> HubSpotBuilder {
    let builder = HubSpot::builder().shared_transport(setup.transport()).clock(setup.clock());
    builder.observer(setup.observer()).rng(setup.rng())
}

fn contact(id: u64) -> Value {
    json!({
        "id": id.to_string(), "archived": false, "createdAt": "2024-03-05T09:41:12.003Z",
        "properties": { "email": "ada@example.com", "hs_object_id": id.to_string(), "lastname": null },
    })
}

fn page_of(items: &[u64], next: Option<&str>, total: u64) -> Value {
    let results: Vec<Value> = items.iter().map(|id| contact(*id)).collect();
    match next {
        Some(after) => {
            json!({ "total": total, "results": results, "paging": { "next": { "after": after } } })
        }
        None => json!({ "total": total, "results": results }),
    }
}

fn page(page: &PageSpec) -> Value {
    page_of(&page.items, page.next.as_deref(), page.total)
}

fn error(category: &str) -> Value {
    json!({ "status": "error", "message": "why", "category": category, "correlationId": "c-1" })
}

fn limited(policy: &str) -> Value {
    json!({ "status": "error", "message": "You have reached your limit", "errorType": "RATE_LIMIT", "policyName": policy })
}

fn hubspot() -> Subject<HubSpot> {
    let written = json!({ "status": "COMPLETE", "results": [contact(7)] });
    Subject::new(operations::ALL, HubSpot::client, |setup| {
        builder(setup).access_token(setup.secret()).build()
    })
    .renewing(|setup, tokens| builder(setup).credentials(tokens).build())
    .sample(
        operations::GET,
        200,
        contact(7),
        |hubspot| async move { hubspot.contacts().get("7").send().await },
    )
    .sample(operations::LIST, 200, page_of(&[7], None, 1), |hubspot| async move {
        hubspot.contacts().list().pager().collect().await
    })
    .sample(operations::SEARCH, 200, page_of(&[7], None, 1), |hubspot| async move {
        hubspot.contacts().search().has("email", true).send().await
    })
    .sample(operations::BATCH_READ, 200, written.clone(), |hubspot| async move {
        hubspot.contacts().batch_read(&["7".into()], ["email"]).await
    })
    .sample(operations::BATCH_UPSERT, 200, written, |hubspot| async move {
        let ada = ContactInput::new("ada@example.com").set("firstname", "Ada");
        hubspot.contacts().batch_upsert("email", &[ada]).await
    })
    .sample(
        operations::ARCHIVE,
        204,
        json!(null),
        |hubspot| async move { hubspot.contacts().archive("7").await },
    )
    .sample(operations::BATCH_ARCHIVE, 204, json!(null), |hubspot| async move {
        hubspot.contacts().batch_archive(&["7".into()]).await
    })
    .failure(400, error("VALIDATION_ERROR"), ErrorKind::Rejected)
    .failure(401, error("INVALID_AUTHENTICATION"), ErrorKind::Unauthenticated)
    .failure(403, error("MISSING_SCOPES"), ErrorKind::Forbidden)
    .failure(404, error("OBJECT_NOT_FOUND"), ErrorKind::NotFound)
    .failure(409, error("CONFLICT"), ErrorKind::Conflict)
    .failure(429, limited("TEN_SECONDLY_ROLLING"), ErrorKind::RateLimited)
    .failure(429, limited("DAILY"), ErrorKind::QuotaExhausted)
    .failure(530, json!(null), ErrorKind::Unauthenticated)
    .failure(200, error("VALIDATION_ERROR"), ErrorKind::Rejected)
    .token_list(operations::LIST, |hubspot| hubspot.contacts().list().limit(2).pager(), page)
    .token_list(
        operations::SEARCH,
        |hubspot| hubspot.contacts().search().sort("email", Direction::Ascending).limit(2).pager(),
        page,
    )
    // Without a sort of its own it goes by the last id seen, not by the token.
    .list(operations::SEARCH, |hubspot| hubspot.contacts().search().limit(2).pager(), page)
}

martlet_testkit::connector_conformance!(hubspot);
martlet_testkit::paging_conformance!(hubspot);
