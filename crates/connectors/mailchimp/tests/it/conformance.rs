//! The suite that every connector passes. Operations without a sample here are called bare, by their paths.

use crate::support::LIST;
use martlet_core::ErrorKind;
use martlet_mailchimp::{
    BulkMember, BulkOptions, Mailchimp, MemberStatus, MemberUpsert, MergeFieldType, operations,
};
use martlet_testkit::conformance::connector::{PageSpec, Subject};
use serde_json::{Value, json};

fn member(email: &str) -> Value {
    json!({
        "id": "b642b4217b34b1e8d3bd915fc65c4452", "email_address": email, "status": "subscribed",
        "merge_fields": { "FNAME": "Ada", "ADDRESS": { "city": "Paris" } }, "last_changed": "2024-03-05T09:41:12+00:00",
    })
}

fn audience(id: &str) -> Value {
    json!({ "id": id, "name": "Readers", "stats": { "member_count": 1 } })
}

fn merge_field(id: u64) -> Value {
    json!({ "merge_id": id, "tag": format!("F{id}"), "name": "First name", "type": "text", "required": false })
}

fn problem(title: &str, status: u16) -> Value {
    json!({ "type": "https://mailchimp.com/developer/marketing/docs/errors/", "title": title, "status": status,
            "detail": "why", "instance": "i-1" })
}

fn upsert() -> MemberUpsert {
    MemberUpsert::new(MemberStatus::Subscribed).merge_field("FNAME", "Ada")
}

/// Items under `name`, each with a number of its own.
fn page(name: &'static str, item: impl Fn(u64) -> Value) -> impl Fn(&PageSpec) -> Value {
    move |page| {
        let items: Vec<Value> = page.items.iter().map(|number| item(*number)).collect();
        json!({ name: items, "total_items": page.total })
    }
}

fn mailchimp() -> Subject<Mailchimp> {
    Subject::new(operations::ALL, Mailchimp::client, |setup| {
        let builder = Mailchimp::builder().shared_transport(setup.transport()).clock(setup.clock());
        let builder = builder.observer(setup.observer()).rng(setup.rng());
        builder.api_key(format!("{}-us1", setup.secret())).build()
    })
    .sample(operations::MEMBERS_GET, 200, member("ada@example.org"), |mailchimp| async move {
        mailchimp.audience(LIST).members().get("ada@example.org").await
    })
    .sample(operations::PING, 204, json!(null), |mailchimp| async move { mailchimp.check().await })
    .sample(operations::AUDIENCES_GET, 200, audience(LIST), |mailchimp| async move {
        mailchimp.audience(LIST).get().await
    })
    .sample(
        operations::AUDIENCES_LIST,
        200,
        json!({ "lists": [audience(LIST)], "total_items": 1 }),
        |mailchimp| async move { mailchimp.audiences().list().collect().await },
    )
    .sample(operations::MERGE_FIELDS_CREATE, 200, merge_field(1), |mailchimp| async move {
        mailchimp.audience(LIST).create_merge_field("FNAME", "First name", MergeFieldType::Text).await
    })
    .sample(operations::MEMBERS_UPSERT, 200, member("ada@example.org"), |mailchimp| async move {
        mailchimp.audience(LIST).members().upsert("ada@example.org", upsert()).await
    })
    .sample(operations::MEMBERS_ARCHIVE, 204, json!(null), |mailchimp| async move {
        mailchimp.audience(LIST).members().archive("ada@example.org").await
    })
    .sample(
        operations::MEMBERS_BULK,
        200,
        json!({ "new_members": [member("ada@example.org")], "updated_members": [], "errors": [] }),
        |mailchimp| async move {
            let ada = BulkMember::new("ada@example.org", upsert());
            mailchimp.audience(LIST).members().bulk(&[ada], BulkOptions::update_existing()).await
        },
    )
    .failure(400, problem("Invalid Resource", 400), ErrorKind::Rejected)
    .failure(400, problem("Member Exists", 400), ErrorKind::Conflict)
    .failure(400, problem("Member In Compliance State", 400), ErrorKind::Rejected)
    .failure(401, problem("API Key Invalid", 401), ErrorKind::Unauthenticated)
    .failure(403, problem("Forbidden", 403), ErrorKind::Forbidden)
    .failure(403, json!(null), ErrorKind::RateLimited)
    .failure(404, problem("Resource Not Found", 404), ErrorKind::NotFound)
    .failure(429, problem("Too Many Requests", 429), ErrorKind::RateLimited)
    .failure(500, problem("Internal Server Error", 500), ErrorKind::Server)
    .list(
        operations::MEMBERS_LIST,
        |mailchimp| mailchimp.audience(LIST).members().list().count(2).pager(),
        page("members", |number| json!({ "id": number.to_string(), "status": "subscribed" })),
    )
    .list(
        operations::AUDIENCES_LIST,
        |mailchimp| mailchimp.audiences().list(),
        page("lists", |number| audience(&number.to_string())),
    )
}

martlet_testkit::connector_conformance!(mailchimp);
martlet_testkit::paging_conformance!(mailchimp);
