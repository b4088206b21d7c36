//! Owners, associations and lists.

use crate::kit::{Scripted, World};
use martlet_core::ErrorKind;
use martlet_hubspot::sim::seed_contact;
use martlet_hubspot::{
    CompanyId, CompanyKind, ContactId, ContactKind, DealKind, MAX_ASSOCIATIONS, MembershipChange, operations,
};
use martlet_testkit::Simulator as _;
use serde_json::{Value, json};

#[tokio::test]
async fn owners_are_read_page_by_page() {
    let world = World::new(10);
    let all = world.clock.drive(world.hubspot.owners().pager().collect()).await.unwrap();
    assert_eq!((all.len(), world.sim.stats().requests), (130, 2));
    assert!(all.iter().all(|owner| !owner.archived && owner.user_id.is_some()));
    let gone = world.clock.drive(world.hubspot.owners().archived(true).pager().collect()).await.unwrap();
    assert!(gone.len() == 2 && gone.iter().all(|owner| owner.archived && owner.user_id.is_none()));
    let one = world.hubspot.owners().email("owner7@example.com").pager().collect();
    let one = world.clock.drive(one).await.unwrap();
    assert_eq!(one.iter().map(|owner| owner.id.as_str()).collect::<Vec<_>>(), ["7"]);
    assert!(!format!("{:?}", world.hubspot.owners().email("ada@example.com")).contains("ada@"));
}

#[tokio::test]
async fn owners_tolerate_what_is_missing() {
    let scripted = Scripted::new();
    scripted.on(&operations::owners::LIST).reply(200).body(include_str!("../../fixtures/owners.json"));
    let all = scripted.clock.drive(scripted.hubspot.owners().pager().collect()).await.unwrap();
    let ids: Vec<_> = all.iter().map(|owner| (owner.id.as_str(), owner.user_id.as_deref())).collect();
    assert_eq!(ids, [("60158084", Some("44620869")), ("60158085", None)]);
    let teams: Vec<_> = all[0].teams.iter().map(|team| (team.id.as_str(), team.primary)).collect();
    assert_eq!(teams, [("1", true), ("2", false)]);
    assert_eq!((all[1].created_at, all[1].teams.len(), all[1].archived), (None, 0, false));
}

#[tokio::test]
async fn associations_are_read_to_the_end_in_both_directions() {
    // 50 companies: each has 200 contacts, of which one answer holds 100 at the most.
    let world = World::new(10_000);
    let companies = world.hubspot.companies().list().pager().collect();
    let ids: Vec<CompanyId> =
        world.clock.drive(companies).await.unwrap().into_iter().map(|company| company.id).collect();
    let contacts = world.hubspot.associations::<CompanyKind, ContactKind>();
    let before = world.sim.stats().requests;
    let of_companies = world.clock.drive(contacts.of(&ids)).await.unwrap();
    assert_eq!(world.sim.stats().requests - before, 2, "the second pages of all come in one request");
    assert_eq!(of_companies.len(), 50);
    let mut all: Vec<u64> = of_companies
        .values()
        .inspect(|of_one| assert_eq!(of_one.len(), 200))
        .flatten()
        .map(|association| association.id.as_str().parse().unwrap())
        .collect();
    all.sort_unstable();
    let expected: Vec<u64> = (0..10_000).map(|index| seed_contact(42, index, 10_000).id).collect();
    assert_eq!(all, expected);

    let (company, of_it) = of_companies.first_key_value().unwrap();
    let back = world.hubspot.associations::<ContactKind, CompanyKind>();
    let back = world.clock.drive(back.of(&[of_it[150].id.clone()])).await.unwrap();
    assert_eq!(&back[&of_it[150].id][0].id, company);
    assert_eq!(back[&of_it[150].id][0].types[0].category, "HUBSPOT_DEFINED");
}

#[tokio::test]
async fn an_object_without_associations_has_an_empty_entry() {
    let world = World::new(10);
    let deals = world.hubspot.associations::<ContactKind, DealKind>();
    let known = ContactId::from(seed_contact(42, 0, 10).id);
    let unknown = ContactId::from("1");
    let found = world.clock.drive(deals.of(&[known.clone(), unknown.clone()])).await.unwrap();
    assert_eq!((found[&known].len(), found[&unknown].len()), (5, 0));

    let scripted = Scripted::new();
    let answer: Value = serde_json::from_str(include_str!("../../fixtures/associations_207.json")).unwrap();
    scripted.on(&operations::associations::BATCH_READ).json(207, &answer);
    let companies = scripted.hubspot.associations::<ContactKind, CompanyKind>();
    let ids = ["51", "58"].map(ContactId::from);
    let found = scripted.clock.drive(companies.of(&ids)).await.unwrap();
    assert!(found[&ids[1]].is_empty());
    let of_first: Vec<_> = found[&ids[0]].iter().map(|a| (a.id.as_str(), a.types.len())).collect();
    assert_eq!(of_first, [("9001", 2), ("9002", 0)]);
    assert_eq!(found[&ids[0]][0].types[1].label.as_deref(), Some("Billing contact"));
    assert_eq!(
        scripted.transport.requests()[0].url.path(),
        "/crm/v4/associations/contacts/companies/batch/read"
    );
}

#[tokio::test]
async fn associations_that_cannot_be_told_are_an_error() {
    let call = async |status: u16, answer: Value| {
        let scripted = Scripted::new();
        scripted.on(&operations::associations::BATCH_READ).json(status, &answer).forever();
        let companies = scripted.hubspot.associations::<ContactKind, CompanyKind>();
        scripted.clock.drive(companies.of(&["51".into()])).await.unwrap_err().kind()
    };
    let forbidden = json!({"results": [], "errors": [
        {"status": "error", "category": "MISSING_SCOPES", "message": "no"}]});
    assert_eq!(call(207, forbidden).await, ErrorKind::Forbidden);
    // A next page that never ends.
    let again = json!({"results": [{"from": {"id": "51"}, "to": [], "paging": {"next": {"after": "x"}}}]});
    assert_eq!(call(200, again).await, ErrorKind::Decode);

    let scripted = Scripted::new();
    let companies = scripted.hubspot.associations::<ContactKind, CompanyKind>();
    let many = vec![ContactId::from("1"); MAX_ASSOCIATIONS + 1];
    assert_eq!(companies.of(&many).await.unwrap_err().kind(), ErrorKind::InvalidRequest);
    assert!(companies.of(&[]).await.unwrap().is_empty());
    assert!(scripted.transport.requests().is_empty());
}

#[tokio::test]
async fn lists_are_found_by_name_and_read_by_id() {
    let world = World::new(10);
    let lists = world.hubspot.lists();
    let all = world.clock.drive(lists.search("").collect()).await.unwrap();
    assert_eq!((all.len(), world.sim.stats().requests), (120, 2));
    let gold = world.clock.drive(lists.search("gold").collect()).await.unwrap();
    assert!(gold.len() == 1 && gold[0].name == "Gold customers" && !gold[0].is_writable());
    let same = world.clock.drive(lists.get(&gold[0].id)).await.unwrap();
    assert_eq!(same, gold[0]);
    let requests = || world.sim.stats().requests;
    for _ in 0..2 {
        let error = world.clock.drive(lists.get("9999")).await.unwrap_err();
        assert_eq!(
            (error.kind(), requests()),
            (ErrorKind::NotFound, 5),
            "it is reference data, that it is not there too"
        );
    }
    assert_eq!((world.clock.drive(lists.get(&same.id)).await.unwrap(), requests()), (same.clone(), 5));
    assert_eq!((world.clock.drive(lists.get_fresh(&same.id)).await.unwrap(), requests()), (same, 6));

    let scripted = Scripted::new();
    scripted.on(&operations::lists::GET).reply(200).body(include_str!("../../fixtures/list.json"));
    let list = scripted.clock.drive(scripted.hubspot.lists().get("17")).await.unwrap();
    assert_eq!((list.id.as_str(), list.name.as_str(), list.updated_at), ("17", "Ньюслеттер", None));
    assert!(list.is_writable());
}

#[tokio::test]
async fn members_come_and_go_and_twice_is_no_error() {
    let world = World::new(600);
    let lists = world.hubspot.lists();
    let ids: Vec<ContactId> = (0..600).map(|index| seed_contact(42, index, 600).id.into()).collect();
    let added = world.clock.drive(lists.add("1", &ids)).await.unwrap();
    assert_eq!((added.added.len(), added.missing.len()), (600, 0));
    let before = world.sim.stats().requests;
    let members = world.clock.drive(lists.members("1").collect()).await.unwrap();
    assert_eq!((members.len(), world.sim.stats().requests - before), (600, 3));
    assert!(members.iter().zip(&ids).all(|(member, id)| member.record_id == id.as_str()));
    assert!(members[0].since.is_some());

    let again = world.clock.drive(lists.add("1", &ids)).await.unwrap();
    assert_eq!(again, MembershipChange::default());
    let some = [ids[3].clone(), "1".into()];
    let removed = world.clock.drive(lists.remove("1", &some)).await.unwrap();
    assert_eq!((removed.removed, removed.missing), (vec![ids[3].to_string()], vec!["1".to_owned()]));
    assert_eq!(world.clock.drive(lists.members("1").collect()).await.unwrap().len(), 599);
    // No request for nobody.
    let before = world.sim.stats().requests;
    lists.add::<ContactKind>("1", &[]).await.unwrap();
    assert_eq!(world.sim.stats().requests, before);

    let error = world.clock.drive(lists.add("2", &ids[..1])).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Rejected, 1));
    // The filter's members are the contacts of the tier.
    let gold = world.clock.drive(lists.members("2").collect()).await.unwrap();
    let search = world.hubspot.contacts().search();
    let search = search.filter("loyalty_tier", martlet_hubspot::FilterOperator::Eq, "gold").limit(1).send();
    assert_eq!(gold.len() as u64, world.clock.drive(search).await.unwrap().total);
}

#[test]
fn members_are_there_after_a_restart() {
    let world = World::new(10);
    let id = seed_contact(42, 0, 10).id.to_string();
    let reply = world.raw_reply("PUT", "/crm/v3/lists/1/memberships/add", &json!([id]));
    let restarted = World::new(10);
    for write in &reply.writes {
        restarted.sim.restore(&write.key, write.value.as_deref().unwrap());
    }
    let (_, members) = restarted.raw("GET", "/crm/v3/lists/1/memberships", &Value::Null);
    assert_eq!(members["results"][0]["recordId"], json!(id));
    assert_eq!(restarted.raw("DELETE", "/crm/v3/lists/1", &Value::Null).0, 405);
}

#[tokio::test]
async fn an_answer_that_is_not_what_it_should_be_is_told_and_not_sent_again() {
    for body in ["<html>", "[]", "{}", "", "{\"results\":7,\"lists\":7,\"list\":7}"] {
        let scripted = Scripted::new();
        for operation in [
            &operations::properties::LIST,
            &operations::owners::LIST,
            &operations::associations::BATCH_READ,
            &operations::lists::SEARCH,
            &operations::lists::GET,
            &operations::lists::MEMBERSHIPS,
            &operations::subscriptions::GET,
            &operations::deals::GET,
        ] {
            scripted.on(operation).reply(200).body(body);
        }
        let (hubspot, clock) = (&scripted.hubspot, &scripted.clock);
        let associations = hubspot.associations::<ContactKind, CompanyKind>();
        let (ids, lists) = ([ContactId::from("51")], hubspot.lists());
        let errors = [
            clock.drive(hubspot.properties("contacts").list()).await.map(drop),
            clock.drive(hubspot.owners().pager().collect()).await.map(drop),
            clock.drive(associations.of(&ids)).await.map(drop),
            clock.drive(lists.search("").collect()).await.map(drop),
            clock.drive(lists.get("1")).await.map(drop),
            clock.drive(lists.members("1").collect()).await.map(drop),
            clock.drive(hubspot.subscriptions().get("ada@example.com")).await.map(drop),
            clock.drive(hubspot.deals().get("1").send()).await.map(drop),
        ]
        .map(Result::unwrap_err);
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::Decode), "{body} {errors:?}");
        assert_eq!(scripted.transport.requests().len(), errors.len());
    }
}

#[tokio::test]
async fn a_search_for_lists_sends_all_that_its_description_requires() {
    let scripted = Scripted::new();
    scripted.on(&operations::lists::SEARCH).json(200, &json!({ "lists": [], "total": 0, "hasMore": false }));
    let found = scripted.clock.drive(scripted.hubspot.lists().search("gold").collect()).await.unwrap();
    assert!(found.is_empty());
    let body: Value = scripted.transport.requests()[0].json();
    assert_eq!(body, json!({ "query": "gold", "count": 100, "offset": 0, "additionalProperties": [] }));
}
