//! Batches, and which answer belongs to which input.

use crate::kit::{Scripted, World};
use martlet_base::Delivery;
use martlet_core::{Bulk, ErrorKind, Patch};
use martlet_hubspot::{ContactId, ContactInput, MAX_BATCH, operations};
use serde_json::{Value, json};
use std::sync::Arc;

fn input(email: &str) -> ContactInput {
    ContactInput::new(email).set("firstname", "Ada")
}

#[tokio::test]
async fn each_input_gets_its_own_result_whatever_their_order() {
    let world = World::new(10);
    let contacts = world.hubspot.contacts();
    let inputs = [input("Ada@example.com"), input("broken"), input("carl@example.com").set("no_such", "x")];
    let outcome = world.clock.drive(contacts.batch_upsert("email", &inputs)).await.unwrap();
    let [(0, ada)] = &outcome.ok[..] else { panic!("{outcome:?}") };
    assert!(ada.created && ada.contact.email() == Some("ada@example.com"));
    let failed: Vec<_> = outcome.failed.iter().map(|(place, e)| (*place, e.kind(), e.delivery())).collect();
    let rejected = |place| (place, ErrorKind::Rejected, Delivery::Processed);
    assert_eq!(failed, [rejected(1), rejected(2)]);
    assert!(outcome.failed[0].1.message().contains("not a valid email"));
    assert_eq!(outcome.failed[0].1.code(), Some("VALIDATION_ERROR"));

    let again = contacts.batch_upsert("email", &inputs[..1]);
    let again = world.clock.drive(again).await.unwrap();
    assert!(!again.ok[0].1.created);
    assert_eq!(again.ok[0].1.contact.id, ada.contact.id);
}

#[tokio::test]
async fn properties_that_are_not_named_stay_and_cleared_ones_go() {
    let world = World::new(10);
    let contacts = world.hubspot.contacts();
    let first = input("ada@example.com").set("city", "Zürich").set("company", "Acme");
    world.clock.drive(contacts.batch_upsert("email", &[first])).await.unwrap();
    let second =
        ContactInput::new("ada@example.com").patch("company", Patch::Clear).patch("city", Patch::Absent);
    world.clock.drive(contacts.batch_upsert("email", &[second])).await.unwrap();
    let get = contacts.get_by_email("ada@example.com").properties(["city", "company", "firstname"]);
    let ada = world.clock.drive(get.send()).await.unwrap();
    assert_eq!((ada.property("city"), ada.property("company")), (Some("Zürich"), None));
}

async fn answered(
    status: u16,
    answer: &Value,
    inputs: &[ContactInput],
) -> Result<(Vec<usize>, Vec<usize>), martlet_core::Error> {
    let scripted = Scripted::new();
    scripted.on(&operations::BATCH_UPSERT).json(status, answer);
    let contacts = scripted.hubspot.contacts();
    let outcome = scripted.clock.drive(contacts.batch_upsert("email", inputs)).await?;
    Ok((outcome.ok.iter().map(|(p, _)| *p).collect(), outcome.failed.iter().map(|(p, _)| *p).collect()))
}

#[tokio::test]
async fn a_207_is_tied_to_its_inputs() {
    let answer: Value = serde_json::from_str(include_str!("../../fixtures/upsert_207.json")).unwrap();
    let inputs = [input("ada@example.com"), input("not an address"), input("CARL@example.com")];
    assert_eq!(answered(207, &answer, &inputs).await.unwrap(), (vec![0, 2], vec![1]));
    // An input that the answer does not speak of is not taken for applied.
    let more = [&inputs[..], &[input("dora@example.com")]].concat();
    assert_eq!(answered(207, &answer, &more).await.unwrap(), (vec![0, 2], vec![1, 3]));
}

#[tokio::test]
async fn an_error_that_belongs_to_no_input_fails_the_whole_batch() {
    let inputs = [input("ada@example.com"), input("carl@example.com")];
    for context in [
        json!(null),
        json!({}),
        json!({"objectWriteTraceId": []}),
        json!({"objectWriteTraceId": ["7"]}),
        json!({"objectWriteTraceId": ["one"]}),
        json!({"objectWriteTraceId": ["0", "9"]}),
    ] {
        let answer = json!({
            "status": "COMPLETE",
            "results": [{"id": "1", "properties": {"email": "ada@example.com"}, "objectWriteTraceId": "0", "new": true}],
            "errors": [{"status": "error", "category": "VALIDATION_ERROR", "message": "it is wrong", "context": context}],
        });
        let error = answered(207, &answer, &inputs).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{context}");
        assert!(error.message().contains("it is wrong"), "{error}");
    }
}

#[tokio::test]
async fn a_result_that_belongs_to_no_input_fails_the_whole_batch() {
    let inputs = [input("ada@example.com")];
    for result in [
        json!({"id": "1", "properties": {"email": "eve@example.com"}}),
        json!({"id": "1", "properties": {}, "objectWriteTraceId": "5"}),
        json!({"id": "1", "properties": {}}),
    ] {
        let answer = json!({"status": "COMPLETE", "results": [result]});
        assert_eq!(answered(200, &answer, &inputs).await.unwrap_err().kind(), ErrorKind::Decode);
    }
    // Two answers for one input: one of them is somebody else's.
    let ada = json!({"id": "1", "properties": {"email": "ada@example.com"}, "objectWriteTraceId": "0"});
    let twice = json!({"status": "COMPLETE", "results": [ada.clone(), ada]});
    assert_eq!(answered(200, &twice, &inputs).await.unwrap_err().kind(), ErrorKind::Decode);
}

#[tokio::test]
async fn a_batch_too_large_is_not_sent_and_an_empty_one_needs_no_request() {
    let scripted = Scripted::new();
    let contacts = scripted.hubspot.contacts();
    let many = vec![input("ada@example.com"); MAX_BATCH + 1];
    let ids = vec![ContactId::from(1u64); MAX_BATCH + 1];
    let too_many = contacts.batch_upsert("email", &many).await.unwrap_err();
    assert_eq!(too_many.kind(), ErrorKind::InvalidRequest);
    assert_eq!(contacts.batch_archive(&ids).await.unwrap_err().kind(), ErrorKind::InvalidRequest);
    assert!(contacts.batch_upsert("email", &[]).await.unwrap().is_complete());
    contacts.batch_archive(&[]).await.unwrap();
    assert!(scripted.transport.requests().is_empty());
}

#[tokio::test]
async fn archived_contacts_are_gone_from_lists_and_searches() {
    let world = World::new(200);
    let contacts = world.hubspot.contacts();
    let all = world.clock.drive(contacts.list().pager().collect()).await.unwrap();
    world.clock.drive(contacts.archive(all[0].id.clone())).await.unwrap();
    world.clock.drive(contacts.archive(all[0].id.clone())).await.unwrap();
    let some: Vec<ContactId> = all[0..50].iter().map(|contact| contact.id.clone()).collect();
    world.clock.drive(contacts.batch_archive(&some)).await.unwrap();
    assert_eq!(world.clock.drive(contacts.list().pager().collect()).await.unwrap().len(), 150);
    assert_eq!(world.clock.drive(contacts.search().send()).await.unwrap().total, 150);
    let archived = world.clock.drive(contacts.list().archived(true).pager().collect()).await.unwrap();
    assert_eq!(archived.len(), 51);
    let gone = world.clock.drive(contacts.get(all[0].id.clone()).send()).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    let found = contacts.get(all[0].id.clone()).archived(true).send();
    assert!(world.clock.drive(found).await.unwrap().archived);
}

#[tokio::test]
async fn a_bulk_sends_a_hundred_at_a_time() {
    let world = World::new(10);
    let writer = Arc::new(world.hubspot.contacts().upsert_writer("email"));
    let mut bulk = Bulk::new(writer, world.clock.clock());
    let mut sent = 0;
    for n in 0..250 {
        let pushed = bulk.push(input(&format!("bulk{n}@example.com")));
        sent += world.clock.drive(pushed).await.unwrap().map_or(0, |(items, outcome)| {
            assert!(outcome.is_complete());
            items.len()
        });
    }
    assert_eq!(sent, 200);
    let (items, _) = world.clock.drive(bulk.flush()).await.unwrap().unwrap();
    assert_eq!((items.len(), world.sim.stats().written), (50, 250));
}
