//! Lists, single contacts and searches.

use crate::kit::World;
use martlet_base::Timestamp;
use martlet_core::ErrorKind;
use martlet_hubspot::sim::{SimOptions, seed_contact};
use martlet_hubspot::{Contact, Direction, FilterOperator, HubSpotPlan};

fn ids(contacts: &[Contact]) -> Vec<u64> {
    contacts.iter().map(|contact| contact.id.as_str().parse().unwrap()).collect()
}

#[tokio::test]
async fn the_list_gives_every_living_contact_once_in_the_order_of_ids() {
    let world = World::new(1_050);
    let list = world.hubspot.contacts().list().properties(["email"]).pager();
    let all = world.clock.drive(list.collect()).await.unwrap();
    let expected: Vec<u64> = (0..1_050).map(|index| seed_contact(42, index, 1_050).id).collect();
    assert_eq!(ids(&all), expected);
    assert_eq!(world.sim.stats().requests, 11);
    assert_eq!(world.sim.stats().violations, 0);
}

#[tokio::test]
async fn archived_contacts_are_listed_apart() {
    let world = World::new(1_050);
    let list = world.hubspot.contacts().list().archived(true).limit(4).pager();
    let all = world.clock.drive(list.collect()).await.unwrap();
    let expected: Vec<u64> = (1_050..1_056).map(|index| seed_contact(42, index, 1_050).id).collect();
    assert_eq!(ids(&all), expected);
    assert!(all.iter().all(|contact| contact.archived && contact.archived_at.is_some()));
}

#[tokio::test]
async fn a_cursor_goes_on_where_it_was_and_no_other_list_takes_it() {
    let world = World::new(300);
    let list = || world.hubspot.contacts().list().properties(["email"]).limit(50);
    let mut first = list().pager();
    for _ in 0..60 {
        world.clock.drive(first.try_next()).await.unwrap().unwrap();
    }
    // The second page is being drained: it comes again.
    let cursor = first.cursor().unwrap();
    let rest = list().pager().resume_from(&cursor).unwrap();
    assert_eq!(world.clock.drive(rest.collect()).await.unwrap().len(), 250);
    let error = list().archived(true).pager().resume_from(&cursor).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
}

#[tokio::test]
async fn a_contact_is_found_by_id_and_by_address_of_any_case() {
    let world = World::new(100);
    let seeded = (0..100).map(|index| seed_contact(42, index, 100)).find(|c| c.email.is_some()).unwrap();
    let email = seeded.email.clone().unwrap();
    let contacts = world.hubspot.contacts();
    let by_id = contacts.get(seeded.id).properties(["email", "favorite_color", "no_such_property"]).send();
    let by_id = world.clock.drive(by_id).await.unwrap();
    assert_eq!(by_id.email(), Some(email.as_str()));
    assert!(by_id.properties.contains_key("favorite_color"), "asked for, with or without a value");
    assert!(!by_id.properties.contains_key("no_such_property"));
    assert_eq!(by_id.updated_at, Some(seeded.modified));
    let by_email = contacts.get_by_email(email.to_uppercase()).send_with_meta();
    let (by_email, meta) = world.clock.drive(by_email).await.unwrap();
    assert_eq!(by_email.id, by_id.id);
    assert!(meta.request_id.is_some() && meta.quota.len() == 2, "{meta:?}");
}

#[tokio::test]
async fn a_contact_that_is_not_there_is_not_found() {
    let world = World::new(10);
    let error = world.clock.drive(world.hubspot.contacts().get(1u64).send()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, Some("OBJECT_NOT_FOUND")));
    assert!(error.request_id().is_some());
    // An address cannot change the path.
    let odd = world.hubspot.contacts().get_by_email("a/../../b?c#d@example.com").send();
    assert_eq!(world.clock.drive(odd).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_search_beyond_the_cap_gives_every_contact_exactly_once() {
    let world = World::new(25_000);
    let search =
        world.hubspot.contacts().search().modified_since(Timestamp::UNIX_EPOCH).properties(["email"]);
    let all = world.clock.drive(search.pager().collect()).await.unwrap();
    let expected: Vec<u64> = (0..25_000).map(|index| seed_contact(42, index, 25_000).id).collect();
    assert_eq!(ids(&all), expected);
    let stats = world.sim.stats();
    assert_eq!((stats.searches, stats.violations), (125, 0));
}

#[tokio::test]
async fn a_search_sorted_otherwise_ends_with_an_error_at_the_cap() {
    let world = World::new(10_300);
    let search = world
        .hubspot
        .contacts()
        .search()
        .sort("lastmodifieddate", Direction::Descending)
        .properties(["email"]);
    let mut pager = search.pager();
    let (mut seen, mut last) = (0, Timestamp::from_secs(i64::MAX));
    let error = loop {
        match world.clock.drive(pager.next()).await.unwrap() {
            Ok(contact) => {
                assert!(contact.updated_at.unwrap() <= last);
                last = contact.updated_at.unwrap();
                seen += 1;
            }
            Err(error) => break error,
        }
    };
    assert_eq!((seen, error.kind()), (10_000, ErrorKind::Rejected));
}

#[tokio::test]
async fn filters_match_all_of_a_group_and_any_group() {
    let world = World::new(2_000);
    let contacts = world.hubspot.contacts();
    let gold = || contacts.search().filter("loyalty_tier", FilterOperator::Eq, "gold");
    let total = async |search: martlet_hubspot::SearchContacts| {
        world.clock.drive(search.limit(1).send()).await.unwrap().total
    };
    let gold_all = total(gold()).await;
    let gold_customers = total(gold().filter("lifecyclestage", FilterOperator::Eq, "customer")).await;
    let customers = total(contacts.search().filter("lifecyclestage", FilterOperator::Eq, "customer")).await;
    let either = total(gold().or().filter("lifecyclestage", FilterOperator::Eq, "customer")).await;
    assert!(0 < gold_customers && gold_customers < gold_all && gold_all < 2_000);
    assert_eq!(either, gold_all + customers - gold_customers);
    let tiers = ["bronze", "silver", "gold", "platinum"];
    assert_eq!(
        total(contacts.search().any_of("loyalty_tier", tiers)).await
            + total(contacts.search().has("loyalty_tier", false)).await,
        2_000
    );
    // The pager adds its own filter to every group.
    let pager = gold().or().filter("lifecyclestage", FilterOperator::Eq, "customer").or().limit(7).pager();
    assert_eq!(world.clock.drive(pager.collect()).await.unwrap().len() as u64, either);
    let cents = total(contacts.search().filter("last_order_value", FilterOperator::Lt, "100")).await;
    assert!((80..200).contains(&cents), "numbers are compared as numbers: {cents}");
}

#[tokio::test]
async fn one_page_of_a_search_tells_the_total_and_where_the_next_one_is() {
    let world = World::new(50);
    let search = world.hubspot.contacts().search().limit(20);
    let first = world.clock.drive(search.clone().send()).await.unwrap();
    assert_eq!((first.total, first.results.len()), (50, 20));
    let second = world.clock.drive(search.after(first.next.unwrap()).limit(40).send()).await.unwrap();
    assert_eq!((second.results.len(), second.next), (30, None));
}

#[tokio::test]
async fn the_configured_plan_keeps_the_limit_and_a_too_large_one_is_corrected_by_the_answers() {
    let options = SimOptions { contacts: 6_000, per_ten_seconds: 30, ..SimOptions::default() };
    let kept = World::with(options.clone(), |b| b.plan(HubSpotPlan::Custom { per_ten_seconds: 30 }));
    let all = kept.clock.drive(kept.hubspot.contacts().list().pager().collect()).await.unwrap();
    assert_eq!((all.len(), kept.sim.stats().violations), (6_000, 0));
    let optimist = World::with(options, |b| b.plan(HubSpotPlan::ApiIncrease));
    let all = optimist.clock.drive(optimist.hubspot.contacts().list().pager().collect()).await.unwrap();
    assert_eq!(all.len(), 6_000);
    assert_eq!(optimist.sim.stats().violations, 0, "what the answers say to be left corrects the plan");
}
