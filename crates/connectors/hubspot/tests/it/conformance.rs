//! The suite that every connector passes, with a use of every operation.

use martlet_core::ErrorKind;
use martlet_hubspot::operations::{
    self, ObjectOperations, associations, events, lists, owners, properties, subscriptions,
};
use martlet_hubspot::{
    CompanyKind, ContactKind, Direction, EventOccurrence, HubSpot, HubSpotBuilder, LegalBasis, NewProperty,
    ObjectType, Objects, PropertyValues, UpsertInput,
};
use martlet_testkit::conformance::connector::{self, PageSpec, Setup, Subject};
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

/// All operations of one type of objects, and its lists.
fn objects<T: ObjectType>(
    subject: Subject<HubSpot>,
    of: ObjectOperations,
    api: fn(&HubSpot) -> Objects<T>,
) -> Subject<HubSpot> {
    let written = json!({ "status": "COMPLETE", "results": [contact(7)] });
    let values = || PropertyValues::new().set("name", "Ada").clear("note");
    subject
        .sample(of.get, 200, contact(7), move |c| async move { api(&c).get("7").send().await })
        .sample(of.list, 200, page_of(&[7], None, 1), move |c| async move {
            api(&c).list().pager().collect().await
        })
        .sample(of.search, 200, page_of(&[7], None, 1), move |c| async move {
            api(&c).search().has("email", true).send().await
        })
        .sample(of.create, 201, contact(7), move |c| async move { api(&c).create(&values()).await })
        .sample(of.update, 200, contact(7), move |c| async move { api(&c).update("7", &values()).await })
        .sample(of.batch_read, 200, written.clone(), move |c| async move {
            api(&c).batch_read(&["7".into()], ["email"]).await
        })
        .sample(of.batch_upsert, 200, written, move |c| async move {
            let one = UpsertInput::new("ada@example.com").set("firstname", "Ada");
            api(&c).batch_upsert("email", &[one]).await.map(drop)
        })
        .sample(of.archive, 204, json!(null), move |c| async move { api(&c).archive("7").await })
        .sample(of.batch_archive, 204, json!(null), move |c| async move {
            api(&c).batch_archive(&["7".into()]).await
        })
        .token_list(of.list, move |c| api(c).list().limit(2).pager(), page)
        .token_list(
            of.search,
            move |c| api(c).search().sort("email", Direction::Ascending).limit(2).pager(),
            page,
        )
        // Without a sort of its own it goes by the last id seen, not by the token.
        .list(of.search, move |c| api(c).search().limit(2).pager(), page)
}

/// Everything that is no object.
fn beside(subject: Subject<HubSpot>) -> Subject<HubSpot> {
    let property = json!({ "name": "tier", "label": "Tier", "type": "enumeration", "fieldType": "select",
        "groupName": "contactinformation", "options": [{ "label": "Gold", "value": "gold" }] });
    let list = |id: u64| json!({ "listId": id.to_string(), "name": "Gold", "processingType": "MANUAL" });
    let owner = |id: u64| json!({ "id": id.to_string(), "email": "ada@example.com", "teams": [{ "id": 1 }] });
    let status = |state: &str| {
        json!({ "status": "COMPLETE", "results": [
        { "channel": "EMAIL", "subscriptionId": 12, "status": state, "source": "Form" } ] })
    };
    let event = || EventOccurrence::of_email("pe1_bought", "ada@example.com").property("price", "9");
    let paged = |items: Vec<Value>, page: &PageSpec| match &page.next {
        Some(after) => json!({ "results": items, "paging": { "next": { "after": after } } }),
        None => json!({ "results": items }),
    };
    subject
        .sample(properties::LIST, 200, json!({ "results": [property] }), |hubspot| async move {
            hubspot.properties("contacts").list().await
        })
        .sample(properties::GET, 200, property.clone(), |hubspot| async move {
            hubspot.properties("contacts").get("tier").await
        })
        .sample(properties::CREATE, 201, property, |hubspot| async move {
            let tier = NewProperty::select("tier", "contactinformation").option("gold", "Gold");
            hubspot.properties("contacts").create(&tier).await
        })
        .sample(owners::LIST, 200, json!({ "results": [owner(7)] }), |hubspot| async move {
            hubspot.owners().pager().collect().await
        })
        .sample(
            associations::BATCH_READ,
            200,
            json!({ "status": "COMPLETE", "results": [{ "from": { "id": "7" }, "to": [{
                "toObjectId": 9, "associationTypes": [{ "category": "HUBSPOT_DEFINED", "typeId": 279 }] }] }] }),
            |hubspot| async move {
                hubspot.associations::<ContactKind, CompanyKind>().of(&["7".into()]).await
            },
        )
        .sample(lists::SEARCH, 200, json!({ "lists": [list(1)], "total": 1 }), |hubspot| async move {
            hubspot.lists().search("gold").collect().await
        })
        .sample(lists::GET, 200, json!({ "list": list(1) }), |hubspot| async move { hubspot.lists().get("1").await })
        .sample(
            lists::MEMBERSHIPS,
            200,
            json!({ "results": [{ "recordId": "7", "membershipTimestamp": "2024-03-05T09:41:12Z" }] }),
            |hubspot| async move { hubspot.lists().members("1").collect().await },
        )
        .sample(lists::ADD, 200, json!({ "recordsIdsAdded": ["7"] }), |hubspot| async move {
            hubspot.lists().add::<ContactKind>("1", &["7".into()]).await
        })
        .sample(lists::REMOVE, 200, json!({ "recordIdsRemoved": [7] }), |hubspot| async move {
            hubspot.lists().remove::<ContactKind>("1", &["7".into()]).await
        })
        .sample(subscriptions::GET, 200, status("SUBSCRIBED"), |hubspot| async move {
            hubspot.subscriptions().get("ada@example.com").await
        })
        .sample(subscriptions::UNSUBSCRIBE, 200, status("UNSUBSCRIBED"), |hubspot| async move {
            hubspot.subscriptions().unsubscribe("ada@example.com", 12).await
        })
        .sample(subscriptions::SUBSCRIBE, 200, status("SUBSCRIBED"), |hubspot| async move {
            let asked = (LegalBasis::ConsentWithNotice, "asked at the fair");
            hubspot.subscriptions().subscribe("ada@example.com", 12, asked.0, asked.1).await
        })
        .sample(events::SEND, 204, json!(null), move |hubspot| async move { hubspot.events().send(&event()).await })
        .sample(events::SEND_BATCH, 204, json!(null), move |hubspot| async move {
            hubspot.events().send_batch(&[event()]).await
        })
        .token_list(owners::LIST, |hubspot| hubspot.owners().pager(), move |page| {
            paged(page.items.iter().map(|id| owner(*id)).collect(), page)
        })
        .token_list(lists::MEMBERSHIPS, |hubspot| hubspot.lists().members("1"), move |page| {
            paged(page.items.iter().map(|id| json!({ "recordId": id.to_string() })).collect(), page)
        })
        .list(lists::SEARCH, |hubspot| hubspot.lists().search(""), move |page| {
            let lists: Vec<Value> = page.items.iter().map(|id| list(*id)).collect();
            json!({ "lists": lists, "total": page.total })
        })
}

/// Errors as they were recorded or described (`fixtures/error_*.json`), and what stands in their place.
fn failures(subject: Subject<HubSpot>) -> Subject<HubSpot> {
    let recorded = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    subject
        .failure(400, recorded(include_str!("../../fixtures/error_validation.json")), ErrorKind::Rejected)
        .failure(401, error("INVALID_AUTHENTICATION"), ErrorKind::Unauthenticated)
        .failure(401, error("EXPIRED_AUTHENTICATION"), ErrorKind::Unauthenticated)
        .failure(403, recorded(include_str!("../../fixtures/error_scopes.json")), ErrorKind::Forbidden)
        .failure(404, recorded(include_str!("../../fixtures/error_not_found.json")), ErrorKind::NotFound)
        .failure(404, json!(null), ErrorKind::NotFound)
        .failure(409, error("CONFLICT"), ErrorKind::Conflict)
        .failure(429, recorded(include_str!("../../fixtures/error_secondly.json")), ErrorKind::RateLimited)
        .failure(
            429,
            recorded(include_str!("../../fixtures/error_ten_secondly.json")),
            ErrorKind::RateLimited,
        )
        .failure(429, recorded(include_str!("../../fixtures/error_daily.json")), ErrorKind::QuotaExhausted)
        .failure(429, json!(null), ErrorKind::RateLimited)
        .failure(500, error("INTERNAL_ERROR"), ErrorKind::Server)
        .failure(502, json!(null), ErrorKind::Server)
        .failure(503, error("SERVICE_UNAVAILABLE"), ErrorKind::Server)
        .failure(530, json!(null), ErrorKind::Unauthenticated)
        .failure(200, error("VALIDATION_ERROR"), ErrorKind::Rejected)
}

fn hubspot() -> Subject<HubSpot> {
    let subject = Subject::new(operations::ALL, HubSpot::client, |setup| {
        builder(setup).access_token(setup.secret()).build()
    });
    let subject = subject.renewing(|setup, tokens| builder(setup).credentials(tokens).build());
    // HubSpot counts the day by itself; a spent one is an error of its own.
    let subject = subject.uncounted("daily");
    let subject = objects(subject, operations::contacts::OBJECTS, HubSpot::contacts);
    let subject = objects(subject, operations::companies::OBJECTS, HubSpot::companies);
    let subject = objects(subject, operations::deals::OBJECTS, HubSpot::deals);
    failures(beside(subject))
}

#[tokio::test]
async fn every_operation_has_a_sample() {
    connector::every_operation_has_a_sample(hubspot()).await;
}

martlet_testkit::connector_conformance!(hubspot);
martlet_testkit::paging_conformance!(hubspot);
