//! Lists and searches.

use crate::kit::World;
use martlet_hubspot::Contact;
use martlet_hubspot::sim::seed_contact;

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
