//! What companies and deals share with contacts, creating and updating, and the definitions of properties.

use crate::kit::{Scripted, World};
use martlet_base::Delivery;
use martlet_core::{ErrorKind, Patch};
use martlet_hubspot::{
    Company, CompanyInput, Deal, Direction, FilterOperator, NewProperty, Property, PropertyValues, operations,
};
use martlet_testkit::Simulator as _;
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn a_company_and_a_deal_keep_what_they_hold() {
    let company: Company = serde_json::from_str(include_str!("../../fixtures/company.json")).unwrap();
    assert_eq!((company.name(), company.domain()), (Some("Ácme & Söhne"), Some("acme.example.com")));
    assert_eq!(company.property("numberofemployees"), Some("12"), "a number that slips through");
    assert_eq!((company.id.as_str(), format!("{:?}", company.id).as_str()), ("9001", "companies/9001"));
    let deal: Deal = serde_json::from_str(include_str!("../../fixtures/deal.json")).unwrap();
    assert_eq!(
        (deal.name(), deal.stage(), deal.amount()),
        (Some("Acme: renewal"), Some("contractsent"), Some("1500.50"))
    );
    assert_eq!((deal.property("closedate"), deal.properties.contains_key("closedate")), (None, true));
}

#[tokio::test]
async fn companies_and_deals_are_listed_and_searched_like_contacts() {
    let world = World::new(10);
    let companies = world.hubspot.companies();
    let all = world.clock.drive(companies.list().limit(20).pager().collect()).await.unwrap();
    assert_eq!(all.len(), 50);
    let ids: Vec<u64> = all.iter().map(|company| company.id.as_str().parse().unwrap()).collect();
    assert!(ids.is_sorted());
    let first = world.clock.drive(companies.get(all[0].id.clone()).send()).await.unwrap();
    assert_eq!(first, all[0]);

    let deals = world.hubspot.deals();
    let won = deals.search().filter("dealstage", FilterOperator::Eq, "closedwon").properties(["dealstage"]);
    let won = world.clock.drive(won.limit(2).pager().collect()).await.unwrap();
    assert!(won.len() > 2 && won.iter().all(|deal| deal.stage() == Some("closedwon")), "{}", won.len());
    let dear = deals.search().sort("amount", Direction::Descending).limit(1).send();
    let dear = world.clock.drive(dear).await.unwrap();
    assert_eq!((dear.total, dear.results.len(), dear.next.as_deref()), (50, 1, Some("1")));
    assert_eq!(world.sim.stats().violations, 0);
}

#[tokio::test]
async fn what_changed_is_asked_for_by_the_date_property_of_the_type() {
    let scripted = Scripted::new();
    let page = json!({"total": 0, "results": []});
    scripted.on(&operations::companies::SEARCH).json(200, &page);
    scripted.on(&operations::SEARCH).json(200, &page);
    let since = martlet_base::Timestamp::from_secs(5);
    let companies = scripted.hubspot.companies().search().modified_since(since).send();
    scripted.clock.drive(companies).await.unwrap();
    let contacts = scripted.hubspot.contacts().search().modified_since(since).send();
    scripted.clock.drive(contacts).await.unwrap();
    let asked: Vec<Value> = scripted
        .transport
        .requests()
        .iter()
        .map(|request| serde_json::from_slice::<Value>(&request.body).unwrap())
        .map(|body| body["filterGroups"][0]["filters"][0]["propertyName"].clone())
        .collect();
    assert_eq!(asked, [json!("hs_lastmodifieddate"), json!("lastmodifieddate")]);
}

#[tokio::test]
async fn what_is_created_can_be_read_and_changed() {
    let world = World::new(10);
    let companies = world.hubspot.companies();
    let values = PropertyValues::new().set("name", "Acme").set("city", "Zürich").set("domain", "a.example");
    let acme = world.clock.drive(companies.create(&values)).await.unwrap();
    assert_eq!((acme.name(), acme.property("city")), (Some("Acme"), Some("Zürich")));

    // Set, clear and leave alone.
    let changes = PropertyValues::new()
        .patch("name", "Acme AG")
        .patch("city", Patch::Clear)
        .patch("domain", Patch::Absent);
    let changed = world.clock.drive(companies.update(acme.id.clone(), &changes)).await.unwrap();
    assert_eq!((changed.name(), changed.property("city")), (Some("Acme AG"), None));
    let read = companies.get(acme.id.clone()).properties(["name", "city", "domain"]).send();
    let read = world.clock.drive(read).await.unwrap();
    assert_eq!(
        (read.name(), read.property("city"), read.domain()),
        (Some("Acme AG"), None, Some("a.example"))
    );
    let gone = PropertyValues::new().patch("domain", Patch::set_or_clear(None));
    world.clock.drive(companies.update(acme.id.clone(), &gone)).await.unwrap();

    world.clock.drive(companies.archive(acme.id.clone())).await.unwrap();
    let error = world.clock.drive(companies.update(acme.id.clone(), &values)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // An id of a company says nothing about deals.
    let deal = world.hubspot.deals().get(acme.id.as_str()).archived(true).send();
    assert_eq!(world.clock.drive(deal).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn an_update_names_only_what_changes() {
    let scripted = Scripted::new();
    scripted.on(&operations::deals::UPDATE).json(200, &json!({"id": "7"}));
    let changes =
        PropertyValues::new().set("amount", "12").clear("closedate").patch("dealname", Patch::Absent);
    scripted.clock.drive(scripted.hubspot.deals().update("7", &changes)).await.unwrap();
    let requests = scripted.transport.requests();
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(body, json!({"properties": {"amount": "12", "closedate": ""}}));
    assert_eq!(requests[0].url.path(), "/crm/v3/objects/deals/7");
}

#[tokio::test]
async fn a_second_contact_with_an_address_is_a_conflict() {
    let world = World::new(10);
    let contacts = world.hubspot.contacts();
    let ada = PropertyValues::new().set("email", "ada@example.com");
    world.clock.drive(contacts.create(&ada)).await.unwrap();
    let error = world.clock.drive(contacts.create(&ada)).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Conflict, 1));
}

#[tokio::test]
async fn a_create_of_unknown_fate_is_not_sent_again_and_an_update_is() {
    let values = PropertyValues::new().set("dealname", "x");
    let scripted = Scripted::new();
    scripted.on(&operations::deals::CREATE).reply(502).then_json(201, &json!({"id": "1"}));
    let error = scripted.clock.drive(scripted.hubspot.deals().create(&values)).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Server, 1));
    assert_ne!(error.delivery(), Delivery::Rejected);

    let scripted = Scripted::new();
    scripted.on(&operations::deals::UPDATE).reply(502).then_json(200, &json!({"id": "1"}));
    scripted.clock.drive(scripted.hubspot.deals().update("1", &values)).await.unwrap();
    scripted.transport.verify();
}

#[tokio::test]
async fn companies_are_upserted_by_a_property_of_the_accounts_own() {
    let world = World::new(10);
    let property =
        NewProperty::text("customer_number", "companyinformation").unique().label("Customer number");
    let created = world.clock.drive(world.hubspot.properties("companies").create(&property)).await.unwrap();
    assert!(created.has_unique_value && !created.hubspot_defined);

    let companies = world.hubspot.companies();
    let input = |number: &str, name: &str| CompanyInput::new(number).set("name", name);
    let inputs = [input("C-1", "Acme"), input("C-2", "Blue").set("no_such", "x")];
    let outcome = world.clock.drive(companies.batch_upsert("customer_number", &inputs)).await.unwrap();
    let [(0, acme)] = &outcome.ok[..] else { panic!("{outcome:?}") };
    assert!(acme.created && acme.object.name() == Some("Acme"));
    assert_eq!(outcome.failed[0].0, 1);
    let again = companies.batch_upsert("customer_number", &inputs[..1]);
    let again = world.clock.drive(again).await.unwrap();
    assert!(!again.ok[0].1.created && again.ok[0].1.object.id == acme.object.id);
    let by_number = world.clock.drive(companies.get_by("customer_number", "C-1").send()).await.unwrap();
    assert_eq!(by_number.id, acme.object.id);
    let read = world.clock.drive(companies.batch_read(&[by_number.id], ["customer_number"])).await.unwrap();
    assert_eq!(read[0].property("customer_number"), Some("C-1"));
}

#[tokio::test]
async fn definitions_come_from_the_cache_until_one_is_created_and_are_renewed_after_five_minutes() {
    let world = World::new(10);
    let properties = world.hubspot.properties("contacts");
    let list = || world.clock.drive(properties.list());
    let requests = || world.sim.stats().requests;
    let before = list().await.unwrap();
    assert!(before.iter().any(|property| property.name == "email" && property.kind == "string"));
    assert_eq!((list().await.unwrap(), requests()), (before.clone(), 1));
    world.clock.drive(properties.list_fresh()).await.unwrap();
    assert_eq!(requests(), 2);

    let shoe =
        NewProperty::select("shoe", "contactinformation").option("left", "Left").option("right", "Right");
    world.clock.drive(properties.create(&shoe)).await.unwrap();
    let after = list().await.unwrap();
    assert_eq!((after.len(), requests()), (before.len() + 1, 4));
    let shoe = after.iter().find(|property| property.name == "shoe").unwrap();
    assert_eq!(shoe.options.iter().map(|o| o.value.as_str()).collect::<Vec<_>>(), ["left", "right"]);
    assert_eq!(&world.clock.drive(properties.get("shoe")).await.unwrap(), shoe);
    world.clock.drive(properties.get("shoe")).await.unwrap();
    assert_eq!(requests(), 5);
    // Five minutes give or take a tenth: then whoever asks gets what is there, and it is renewed in the background.
    world.clock.advance(Duration::from_secs(331));
    assert_eq!((list().await.unwrap(), requests()), (after.clone(), 5));
    world.clock.drive(world.clock.clock().sleep(Duration::from_secs(1))).await;
    assert_eq!(requests(), 6);
    list().await.unwrap();
    assert_eq!(requests(), 6);
    // After ten more minutes it is asked for first.
    world.clock.advance(Duration::from_secs(931));
    list().await.unwrap();
    assert_eq!(requests(), 7);
}

#[tokio::test]
async fn a_property_that_hubspot_does_not_take_is_refused_plainly() {
    let world = World::new(10);
    let properties = world.hubspot.properties("deals");
    let number = |name: &str, group: &str| NewProperty::number(name, group);
    for (property, kind) in [
        (number("amount", "dealinformation"), ErrorKind::Conflict),
        (number("Odd Name", "dealinformation"), ErrorKind::Rejected),
        (number("fine", "no_such_group"), ErrorKind::Rejected),
        (NewProperty::new("fine", "hologram", "text", "dealinformation"), ErrorKind::Rejected),
    ] {
        let error = world.clock.drive(properties.create(&property)).await.unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (kind, 1), "{property:?}");
    }
    let error = world.clock.drive(properties.get("no_such")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = world.clock.drive(world.hubspot.properties("no_such_type").list()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn definitions_tolerate_what_is_new_or_missing() {
    let scripted = Scripted::new();
    scripted
        .on(&operations::properties::LIST)
        .reply(200)
        .body(include_str!("../../fixtures/properties.json"));
    let all = scripted.clock.drive(scripted.hubspot.properties("contacts").list()).await.unwrap();
    let [tier, odd]: &[Property; 2] = all.as_slice().try_into().unwrap();
    assert_eq!((tier.options.len(), tier.options[1].hidden, tier.description.as_deref()), (2, false, None));
    assert_eq!((odd.kind.as_str(), odd.label.as_str(), odd.options.len()), ("hologram", "", 0));
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let world = World::new(10);
    let mut writes = Vec::new();
    let mut post = |path: &str, body: &Value| {
        let reply = world.raw_reply("POST", path, body);
        assert_eq!(reply.status, 201, "{path}");
        writes.extend(reply.writes);
    };
    let own = json!({"name": "own", "label": "Own", "type": "string", "fieldType": "text",
                     "groupName": "companyinformation", "hasUniqueValue": true});
    post("/crm/v3/properties/companies", &own);
    post("/crm/v3/objects/companies", &json!({"properties": {"name": "Acme", "own": "1"}}));
    post("/crm/v3/objects/deals", &json!({"properties": {"dealname": "Acme"}}));

    let restarted = World::new(10);
    for write in &writes {
        restarted.sim.restore(&write.key, write.value.as_deref().unwrap());
    }
    let get = |path: &str| restarted.raw("GET", path, &Value::Null);
    let (status, company) = get("/crm/v3/objects/companies/1?idProperty=own&properties=own,name");
    assert_eq!((status, &company["properties"]["name"]), (200, &json!("Acme")));
    let (_, deals) = get("/crm/v3/objects/deals?limit=100");
    assert_eq!(deals["results"].as_array().unwrap().len(), 51);
    let (_, companies) = get("/crm/v3/objects/contacts?limit=100");
    assert_eq!(companies["results"].as_array().unwrap().len(), 10, "no contact was written");
}
