//! Subscriptions and events.

use crate::kit::{Scripted, World};
use martlet_base::Timestamp;
use martlet_core::ErrorKind;
use martlet_hubspot::sim::seed_contact;
use martlet_hubspot::{EventOccurrence, LegalBasis, MAX_EVENTS, SubscriptionState, operations};
use martlet_testkit::Simulator as _;
use serde_json::{Value, json};

#[tokio::test]
async fn a_person_subscribes_and_unsubscribes() {
    let world = World::new(10);
    let subscriptions = world.hubspot.subscriptions();
    let states = async || {
        let all = world.clock.drive(subscriptions.get("ada+news@example.com")).await.unwrap();
        all.iter().map(|status| (status.subscription_id.clone(), status.state)).collect::<Vec<_>>()
    };
    use SubscriptionState as State;
    assert_eq!(
        states().await,
        [("1".to_owned(), State::NotSpecified), ("2".to_owned(), State::NotSpecified)]
    );
    let basis = LegalBasis::ConsentWithNotice;
    let begin = subscriptions.subscribe("ada+news@example.com", 2, basis, "Ticked the box at checkout");
    let begun = world.clock.drive(begin).await.unwrap();
    assert!(begun.state.is_subscribed());
    assert_eq!(begun.legal_basis.as_deref(), Some("CONSENT_WITH_NOTICE"));
    assert_eq!(begun.legal_basis_explanation.as_deref(), Some("Ticked the box at checkout"));
    assert_eq!(states().await[1].1, State::Subscribed);
    let ended = world.clock.drive(subscriptions.unsubscribe("Ada+News@example.com", 2)).await.unwrap();
    assert!(!ended.state.is_subscribed());
    assert_eq!(
        states().await,
        [("1".to_owned(), State::NotSpecified), ("2".to_owned(), State::Unsubscribed)]
    );

    let error = world.clock.drive(subscriptions.unsubscribe("ada@example.com", 99)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
}

#[test]
fn a_subscription_is_there_after_a_restart() {
    let path = "/communication-preferences/v4/statuses/ada@example.com";
    let world = World::new(10);
    let change = json!({"channel": "EMAIL", "statusState": "SUBSCRIBED", "subscriptionId": 2});
    let reply = world.raw_reply("POST", path, &change);
    let restarted = World::new(10);
    for write in &reply.writes {
        restarted.sim.restore(&write.key, write.value.as_deref().unwrap());
    }
    let (_, all) = restarted.raw("GET", &format!("{path}?channel=EMAIL"), &Value::Null);
    assert_eq!(all["results"][1]["status"], json!("SUBSCRIBED"));
    assert_eq!(restarted.raw("GET", path, &Value::Null).0, 400, "the channel must be named");
    let other = json!({"channel": "SMS", "statusState": "SUBSCRIBED", "subscriptionId": 2});
    assert_eq!(restarted.raw("POST", path, &other).0, 400);
}

#[tokio::test]
async fn who_opted_out_is_unsubscribed_from_everything() {
    let world = World::new(2_000);
    let out =
        (0..2_000).map(|i| seed_contact(42, i, 2_000)).find(|c| c.opted_out && c.email.is_some()).unwrap();
    let all = world.hubspot.subscriptions();
    let all = world.clock.drive(all.get(&out.email.unwrap())).await.unwrap();
    assert!(!all.is_empty() && all.iter().all(|status| status.state == SubscriptionState::Unsubscribed));
}

#[tokio::test]
async fn only_what_is_known_to_be_a_yes_is_a_consent() {
    let scripted = Scripted::new();
    scripted
        .on(&operations::subscriptions::GET)
        .reply(200)
        .body(include_str!("../../fixtures/subscriptions.json"));
    let subscriptions = scripted.hubspot.subscriptions();
    let all = scripted.clock.drive(subscriptions.get("ada@example.com")).await.unwrap();
    let yes: Vec<_> = all.iter().map(|s| (s.subscription_id.as_str(), s.state.is_subscribed())).collect();
    assert_eq!(yes, [("12", true), ("13", false), ("14", false), ("15", false)]);
    assert_eq!(all[3].state, SubscriptionState::Unknown);
    let requests = scripted.transport.requests();
    assert_eq!(requests[0].url.path(), "/communication-preferences/v4/statuses/ada%40example.com");
    assert_eq!(requests[0].url.query(), Some("channel=EMAIL"));
}

#[tokio::test]
async fn a_consent_is_never_sent_twice_and_its_end_is() {
    let scripted = Scripted::new();
    let answer = json!({"results": [{"subscriptionId": 7, "status": "SUBSCRIBED"}]});
    scripted.on(&operations::subscriptions::SUBSCRIBE).reply(502).then_json(200, &answer);
    let subscriptions = scripted.hubspot.subscriptions();
    let begin = subscriptions.subscribe("ada@example.com", 7, LegalBasis::NonGdpr, "asked by phone");
    let error = scripted.clock.drive(begin).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Server, 1));

    let scripted = Scripted::new();
    let answer = json!({"results": [{"subscriptionId": 7, "status": "UNSUBSCRIBED"}]});
    scripted.on(&operations::subscriptions::UNSUBSCRIBE).reply(502).then_json(200, &answer);
    let subscriptions = scripted.hubspot.subscriptions();
    scripted.clock.drive(subscriptions.unsubscribe("ada@example.com", 7)).await.unwrap();
    scripted.transport.verify();
    let body: Value = serde_json::from_slice(&scripted.transport.requests()[1].body).unwrap();
    assert_eq!(body, json!({"channel": "EMAIL", "statusState": "UNSUBSCRIBED", "subscriptionId": 7}));
}

#[tokio::test]
async fn an_answer_that_does_not_tell_of_the_subscription_is_no_success() {
    for (answer, kind) in [
        (json!({"status": "COMPLETE", "results": []}), ErrorKind::Decode),
        (json!({"results": [{"subscriptionId": 8, "status": "UNSUBSCRIBED"}]}), ErrorKind::Decode),
        (
            json!({"results": [], "errors": [{"category": "VALIDATION_ERROR", "message": "no such person"}]}),
            ErrorKind::Rejected,
        ),
    ] {
        let scripted = Scripted::new();
        scripted.on(&operations::subscriptions::UNSUBSCRIBE).json(200, &answer);
        let subscriptions = scripted.hubspot.subscriptions();
        let end = subscriptions.unsubscribe("ada@example.com", 7);
        assert_eq!(scripted.clock.drive(end).await.unwrap_err().kind(), kind, "{answer}");
    }
}

#[tokio::test]
async fn events_are_taken_one_by_one_and_in_batches() {
    let world = World::new(10);
    let events = world.hubspot.events();
    let watched = |n: usize| EventOccurrence::of_email("pe123_watched", format!("p{n}@example.com"));
    world.clock.drive(events.send(&watched(0).property("minutes", "3"))).await.unwrap();
    let many: Vec<_> = (0..MAX_EVENTS).map(watched).collect();
    world.clock.drive(events.send_batch(&many)).await.unwrap();
    assert_eq!((world.sim.stats().events, world.sim.stats().requests), (501, 2));

    events.send_batch(&[]).await.unwrap();
    let too_many = [many, vec![watched(0)]].concat();
    assert_eq!(events.send_batch(&too_many).await.unwrap_err().kind(), ErrorKind::InvalidRequest);
    assert_eq!(world.sim.stats().requests, 2);
    let unknown = EventOccurrence::of_object("no_such_event", 7);
    let error = world.clock.drive(events.send(&unknown)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
}

#[tokio::test]
async fn an_event_says_what_happened_to_whom_and_when() {
    let scripted = Scripted::new();
    scripted.on(&operations::events::SEND_BATCH).reply(204);
    let occurrences = [
        EventOccurrence::of_object("pe123_bought", 77u64)
            .at(Timestamp::from_millis(1_733_011_199_999))
            .uuid("u-1")
            .property("price", "12.50"),
        EventOccurrence::of_visitor("pe123_seen", "token"),
    ];
    scripted.clock.drive(scripted.hubspot.events().send_batch(&occurrences)).await.unwrap();
    let body: Value = serde_json::from_slice(&scripted.transport.requests()[0].body).unwrap();
    assert_eq!(
        body,
        json!({"inputs": [
            {"eventName": "pe123_bought", "objectId": "77", "occurredAt": "2024-11-30T23:59:59.999Z", "uuid": "u-1",
             "properties": {"price": "12.50"}},
            {"eventName": "pe123_seen", "utk": "token", "properties": {}},
        ]})
    );
    let secret = EventOccurrence::of_email("pe123_seen", "ada@example.com").property("note", "private");
    let text = format!("{secret:?}");
    assert!(text.contains("pe123_seen") && !text.contains("ada@") && !text.contains("private"), "{text}");
}

#[tokio::test]
async fn an_event_of_unknown_fate_is_not_sent_again() {
    let scripted = Scripted::new();
    scripted.on(&operations::events::SEND).reply(502).forever();
    let event = EventOccurrence::of_visitor("pe123_seen", "token");
    let error = scripted.clock.drive(scripted.hubspot.events().send(&event)).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Server, 1));
}
