//! The suite that every connector passes, with a use of every operation.

use crate::support::LIST;
use martlet_core::{ErrorKind, Operation, Pager};
use martlet_mailchimp::{
    BatchOperation, BulkMember, BulkOptions, Mailchimp, MemberStatus, MemberUpsert, MergeFieldType,
    MergeFieldUpdate, TagChanges, operations,
};
use martlet_testkit::conformance::connector::{self, PageSpec, Subject};
use serde_json::{Value, json};
use std::fmt::Debug;

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

fn numbered_member(id: u64) -> Value {
    json!({ "id": format!("{id:032x}"), "status": "subscribed" })
}

fn named(id: u64) -> Value {
    json!({ "id": id, "name": format!("tag {id}"), "date_added": "2024-03-05T09:41:12+00:00" })
}

fn segment(id: u64) -> Value {
    json!({ "id": id, "name": "vip", "member_count": 1, "type": "static", "list_id": LIST })
}

/// A campaign, and its report.
fn campaign(id: u64) -> Value {
    json!({ "id": id.to_string(), "status": "sent", "emails_sent": 3, "settings": { "title": "Spring" },
            "opens": { "opens_total": 2 }, "clicks": { "clicks_total": 1 } })
}

/// A shop, and its customers and products.
fn text_id(id: u64) -> Value {
    json!({ "id": id.to_string(), "name": "Rock", "email_address": "ada@example.org", "variants": [] })
}

fn order(id: u64) -> Value {
    json!({ "id": id.to_string(), "customer": { "id": "c1" }, "order_total": 9.5, "lines": [{ "id": "1" }] })
}

fn batch(id: u64) -> Value {
    json!({ "id": id.to_string(), "status": "finished", "total_operations": 1, "finished_operations": 1 })
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

/// A list: its sample and its pages.
fn list<T: Debug + Send + 'static>(
    subject: Subject<Mailchimp>,
    operation: Operation,
    collection: &'static str,
    item: fn(u64) -> Value,
    open: fn(&Mailchimp) -> Pager<T>,
) -> Subject<Mailchimp> {
    let answer = json!({ collection: [item(7)], "total_items": 1 });
    subject
        .sample(operation, 200, answer, move |mailchimp| async move { open(&mailchimp).collect().await })
        .list(operation, open, page(collection, item))
}

fn lists(subject: Subject<Mailchimp>) -> Subject<Mailchimp> {
    let subject = list(
        subject,
        operations::AUDIENCES_LIST,
        "lists",
        |id| audience(&id.to_string()),
        |mailchimp| mailchimp.audiences().list(),
    );
    let subject = list(subject, operations::MERGE_FIELDS_LIST, "merge_fields", merge_field, |mailchimp| {
        mailchimp.audience(LIST).merge_fields()
    });
    let subject = list(subject, operations::MEMBERS_LIST, "members", numbered_member, |mailchimp| {
        mailchimp.audience(LIST).members().list().count(2).pager()
    });
    let subject = list(subject, operations::MEMBER_TAGS_LIST, "tags", named, |mailchimp| {
        mailchimp.audience(LIST).members().tags("ada@example.org")
    });
    let subject = list(subject, operations::SEGMENTS_LIST, "segments", segment, |mailchimp| {
        mailchimp.audience(LIST).segments().list()
    });
    let subject = list(subject, operations::SEGMENT_MEMBERS_LIST, "members", numbered_member, |mailchimp| {
        mailchimp.audience(LIST).segments().members(7)
    });
    let subject = list(subject, operations::CAMPAIGNS_LIST, "campaigns", campaign, |mailchimp| {
        mailchimp.campaigns().list().pager()
    });
    let subject = list(subject, operations::REPORTS_LIST, "reports", campaign, |mailchimp| {
        mailchimp.reports().list(None)
    });
    let activity = |id: u64| json!({ "email_id": format!("{id:032x}"), "activity": [{ "action": "open" }] });
    let subject = list(subject, operations::REPORT_ACTIVITY_LIST, "emails", activity, |mailchimp| {
        mailchimp.reports().email_activity("c1", None)
    });
    let left = |id: u64| json!({ "email_id": format!("{id:032x}"), "reason": "none given" });
    let subject = list(subject, operations::REPORT_UNSUBSCRIBED_LIST, "unsubscribes", left, |mailchimp| {
        mailchimp.reports().unsubscribed("c1")
    });
    let subject =
        list(subject, operations::SHOPS_LIST, "stores", text_id, |mailchimp| mailchimp.shops().list());
    let subject = list(subject, operations::SHOP_CUSTOMERS_LIST, "customers", text_id, |mailchimp| {
        mailchimp.shop("main").customers()
    });
    let subject = list(subject, operations::SHOP_ORDERS_LIST, "orders", order, |mailchimp| {
        mailchimp.shop("main").orders()
    });
    let subject = list(subject, operations::SHOP_PRODUCTS_LIST, "products", text_id, |mailchimp| {
        mailchimp.shop("main").products()
    });
    list(subject, operations::BATCHES_LIST, "batches", batch, |mailchimp| mailchimp.batches().list())
}

fn mailchimp() -> Subject<Mailchimp> {
    let subject =
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
        .sample(operations::MERGE_FIELDS_GET, 200, merge_field(1), |mailchimp| async move {
            mailchimp.audience(LIST).get_merge_field(1).await
        })
        .sample(operations::MERGE_FIELDS_CREATE, 200, merge_field(1), |mailchimp| async move {
            mailchimp.audience(LIST).create_merge_field("FNAME", "First name", MergeFieldType::Text).await
        })
        .sample(operations::MERGE_FIELDS_UPDATE, 200, merge_field(1), |mailchimp| async move {
            mailchimp.audience(LIST).update_merge_field(1, MergeFieldUpdate::new().name("Given name")).await
        })
        .sample(operations::MERGE_FIELDS_DELETE, 204, json!(null), |mailchimp| async move {
            mailchimp.audience(LIST).delete_merge_field(1).await
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
        .sample(operations::MEMBER_TAGS_CHANGE, 204, json!(null), |mailchimp| async move {
            let changes = TagChanges::new().give("vip").take("lead");
            mailchimp.audience(LIST).members().change_tags("ada@example.org", changes).await
        })
        .sample(operations::SEGMENTS_GET, 200, segment(7), |mailchimp| async move {
            mailchimp.audience(LIST).segments().get(7).await
        })
        .sample(operations::CAMPAIGNS_GET, 200, campaign(7), |mailchimp| async move {
            mailchimp.campaigns().get("7").await
        })
        .sample(operations::REPORTS_GET, 200, campaign(7), |mailchimp| async move {
            mailchimp.reports().get("7").await
        })
        .sample(
            operations::SHOPS_GET,
            200,
            text_id(7),
            |mailchimp| async move { mailchimp.shop("7").get().await },
        )
        .sample(operations::BATCHES_CREATE, 200, batch(7), |mailchimp| async move {
            let get = BatchOperation::get(format!("/lists/{LIST}")).id("row-1");
            mailchimp.batches().submit(&[get]).await
        })
        .sample(operations::BATCHES_GET, 200, batch(7), |mailchimp| async move {
            mailchimp.batches().get("7").await
        })
        .sample(operations::BATCHES_DELETE, 204, json!(null), |mailchimp| async move {
            mailchimp.batches().delete("7").await
        });
    // As they were recorded or described, and what stands in their place.
    let problems: Vec<Value> = serde_json::from_str(include_str!("../../fixtures/problems.json")).unwrap();
    let subject = problems.into_iter().fold(lists(subject), |subject, mut problem| {
        let status = problem["status"].as_u64().unwrap().try_into().unwrap();
        let kind = match problem["kind"].as_str().unwrap() {
            "Conflict" => ErrorKind::Conflict,
            "Rejected" => ErrorKind::Rejected,
            "Unauthenticated" => ErrorKind::Unauthenticated,
            "Forbidden" => ErrorKind::Forbidden,
            "NotFound" => ErrorKind::NotFound,
            "RateLimited" => ErrorKind::RateLimited,
            "Server" => ErrorKind::Server,
            other => panic!("the fixture knows {other}"),
        };
        subject.failure(status, problem["body"].take(), kind)
    });
    subject
        .failure(403, json!(null), ErrorKind::RateLimited)
        .failure(401, json!(null), ErrorKind::Unauthenticated)
        .failure(404, json!(null), ErrorKind::NotFound)
        .failure(429, json!(null), ErrorKind::RateLimited)
        .failure(503, json!(null), ErrorKind::Server)
}

#[tokio::test]
async fn every_operation_has_a_sample() {
    connector::every_operation_has_a_sample(mailchimp()).await;
}

martlet_testkit::connector_conformance!(mailchimp);
martlet_testkit::paging_conformance!(mailchimp);
