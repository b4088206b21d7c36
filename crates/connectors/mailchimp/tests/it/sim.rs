use crate::support::{KEY, LIST, ask, body, client_of, simulated, time};
use http::Method;
use martlet_base::ManualClock;
use martlet_core::LimitSpec;
use martlet_mailchimp::sim::{MailchimpSim, SeedMember, SimOptions};
use martlet_mailchimp::{Mailchimp, MemberStatus, MemberUpsert, MergeFieldType};
use martlet_store::MemoryStore;
use martlet_testkit::{SimReply, SimRequest, SimTransport, Simulator as _};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn pages_have_ten_items_unless_said_and_a_thousand_at_most() {
    let seed = (0..1_500).map(|n| SeedMember::new(format!("{n}@example.org"), MemberStatus::Subscribed));
    let (sim, _) = simulated(seed.collect());
    let count = |query: &str| {
        let reply = ask(&sim, Method::GET, &format!("/lists/{LIST}/members{query}"), &Value::Null);
        (reply.status, body(&reply)["members"].as_array().map(Vec::len))
    };
    assert_eq!(count(""), (200, Some(10)));
    assert_eq!(count("?count=1000"), (200, Some(1_000)));
    assert_eq!(count("?count=1000&offset=1000"), (200, Some(500)));
    assert_eq!(count("?count=1001"), (400, None));
}

#[test]
fn a_bulk_request_reports_each_member() {
    let (sim, _) = simulated(vec![SeedMember::new("old@example.org", MemberStatus::Cleaned)]);
    let members = json!([
        { "email_address": "a@example.org", "status_if_new": "subscribed" },
        { "email_address": "A@example.org", "status_if_new": "subscribed" },
        { "email_address": "nonsense", "status_if_new": "subscribed" },
        { "email_address": "b@example.org" },
        { "email_address": "old@example.org", "status": "subscribed" },
        { "email_address": "c@example.org", "status_if_new": "subscribed", "merge_fields": { "NOPE": "x" } },
    ]);
    let path = format!("/lists/{LIST}");
    let reply = ask(&sim, Method::POST, &path, &json!({ "members": members, "update_existing": true }));
    let answer = body(&reply);
    assert_eq!((&answer["total_created"], &answer["error_count"]), (&json!(1), &json!(5)));
    let fields: Vec<&str> =
        answer["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["", "", "status_if_new", "", "NOPE"]);
    assert_eq!(reply.writes.len(), 1, "only what was applied is stored");

    let create_only =
        json!({ "members": [{ "email_address": "a@example.org", "status_if_new": "subscribed" }] });
    let answer = body(&ask(&sim, Method::POST, &path, &create_only));
    assert_eq!(answer["errors"][0]["error_code"], "ERROR_CONTACT_EXISTS");

    let many: Vec<Value> = (0..501).map(|n| json!({ "email_address": format!("{n}@example.org") })).collect();
    let reply = ask(&sim, Method::POST, &path, &json!({ "members": many }));
    assert_eq!((reply.status, reply.writes.len(), sim.stats().resubscribed), (400, 0, 0));
}

#[test]
fn it_counts_who_was_resubscribed_also_by_way_of_the_archive() {
    let seed =
        ["a", "b", "c", "d"].map(|n| SeedMember::new(format!("{n}@example.org"), MemberStatus::Unsubscribed));
    let (sim, _) = simulated(seed.into());
    let member = |n: &str| format!("/lists/{LIST}/members/{n}@example.org");
    let put = |n: &str, status: &str| {
        ask(
            &sim,
            Method::PUT,
            &member(n),
            &json!({ "email_address": format!("{n}@example.org"), "status": status }),
        )
        .status
    };
    assert_eq!((put("a", "unsubscribed"), sim.stats().resubscribed), (200, 0));
    assert_eq!((put("a", "subscribed"), sim.stats().resubscribed), (200, 1));
    assert_eq!((put("a", "subscribed"), sim.stats().resubscribed), (200, 1));
    assert_eq!((put("b", "pending"), sim.stats().resubscribed), (200, 2));
    assert_eq!(ask(&sim, Method::DELETE, &member("c"), &Value::Null).status, 204);
    assert_eq!(sim.stats().archived, 1);
    assert_eq!((put("c", "subscribed"), sim.stats().resubscribed), (200, 3));
    let patch = ask(&sim, Method::PATCH, &member("d"), &json!({ "status": "subscribed" }));
    assert_eq!((patch.status, sim.stats().resubscribed), (200, 4));
}

#[test]
fn a_member_is_created_once_changed_forgotten_and_not_brought_back() {
    let (sim, _) = simulated(vec![]);
    let members = format!("/lists/{LIST}/members");
    let zoe = json!({ "email_address": "zoe@example.org", "status": "subscribed" });
    assert_eq!(ask(&sim, Method::POST, &members, &zoe).status, 200);
    let title = |reply: &SimReply| body(reply)["title"].as_str().unwrap_or_default().to_owned();
    assert_eq!(title(&ask(&sim, Method::POST, &members, &zoe)), "Member Exists");
    let patch = |email: &str, change: Value| ask(&sim, Method::PATCH, &format!("{members}/{email}"), &change);
    assert_eq!(patch("nobody@example.org", json!({})).status, 404);
    let moved = patch("zoe@example.org", json!({ "email_address": "zoey@example.org" }));
    assert_eq!((moved.status, moved.writes.len(), sim.stats().members), (200, 2, 1));
    assert_eq!(patch("zoe@example.org", json!({})).status, 404);
    let forget = format!("{members}/zoey@example.org/actions/delete-permanent");
    assert_eq!(ask(&sim, Method::POST, &forget, &Value::Null).status, 204);
    let back = json!({ "email_address": "zoey@example.org", "status": "subscribed" });
    assert_eq!(title(&ask(&sim, Method::POST, &members, &back)), "Forgotten Email Not Subscribed");
    assert_eq!(ask(&sim, Method::POST, &members, &zoe).status, 200, "the address that was given up is free");
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let clock = ManualClock::new();
    let store = Arc::new(MemoryStore::new(clock.clock()));
    let seed = || {
        ["a", "b", "c"]
            .map(|n| SeedMember::new(format!("{n}@example.org"), MemberStatus::Subscribed))
            .to_vec()
    };
    let start = || {
        let sim = Arc::new(MailchimpSim::new(SimOptions { seed_members: seed(), ..SimOptions::default() }));
        let transport = SimTransport::new(sim, clock.clock()).with_store(store.clone());
        Mailchimp::builder().transport(transport).clock(clock.clock()).api_key(KEY).build().unwrap()
    };
    let all = async |mailchimp: &Mailchimp| {
        let members = mailchimp.audience(LIST).members().list().pager().collect().await.unwrap();
        let fields = mailchimp.audience(LIST).merge_fields().collect().await.unwrap();
        (members, fields)
    };
    let first = start();
    first.audience(LIST).create_merge_field("CITY", "City", MergeFieldType::Text).await.unwrap();
    let members = first.audience(LIST).members();
    let upsert =
        MemberUpsert::new(MemberStatus::Subscribed).merge_field("CITY", "Köln").merge_field("FNAME", "D");
    members.upsert("d@example.org", upsert).await.unwrap();
    let out = MemberUpsert::new(MemberStatus::Unsubscribed).status(MemberStatus::Unsubscribed);
    members.upsert("a@example.org", out).await.unwrap();
    members.archive("b@example.org").await.unwrap();
    let before = all(&first).await;
    drop(first);
    assert_eq!(all(&start()).await, before);
    assert_eq!(before.0.len(), 4);
}

#[tokio::test]
async fn the_eleventh_simultaneous_request_is_a_violation_and_the_client_never_makes_it() {
    for (connections, violated) in [(10, false), (20, true)] {
        let clock = ManualClock::new();
        let delay = Duration::from_millis(50);
        let sim = Arc::new(MailchimpSim::new(SimOptions { delay, ..SimOptions::default() }));
        let transport = SimTransport::new(sim.clone(), clock.clock());
        let limit = LimitSpec::new(LimitSpec::DEFAULT).concurrency(connections);
        let builder = Mailchimp::builder().transport(transport).clock(clock.clock()).api_key(KEY);
        let mailchimp = if violated { builder.limit(limit) } else { builder }.build().unwrap();
        let checks: Vec<_> = (0..60).map(|_| mailchimp.check()).collect();
        for checked in clock.drive(futures_util::future::join_all(checks)).await {
            checked.unwrap();
        }
        assert_eq!(sim.stats().violations > 0, violated, "{:?}", sim.stats());
        assert_eq!(sim.stats().requests, 60 + sim.stats().violations);
    }
}

#[tokio::test]
async fn its_figures_are_open_to_all() {
    let (sim, _) = simulated(vec![SeedMember::new("a@example.org", MemberStatus::Cleaned)]);
    let mailchimp = client_of(&sim, &ManualClock::new());
    mailchimp.check().await.unwrap();
    let reply = sim.handle(&SimRequest::new(Method::GET, "/_sim/stats"), time(Duration::ZERO));
    let expected = json!({ "requests": 1, "violations": 0, "leaked": 0, "resubscribed": 0, "members": 1, "subscribed": 0,
                           "unsubscribed": 0, "cleaned": 1, "archived": 0, "rewrites": 0, "repeats": 0,
                           "duplicates": 0, "faults": {}, "injected_delay_seconds": 0.0, "during_outage": 0 });
    assert_eq!(body(&reply), expected);
}

#[test]
fn tags_and_merge_fields_outlive_a_restart() {
    let seed = || {
        let member = SeedMember::new("a@example.org", MemberStatus::Subscribed).tag("lead");
        vec![member.merge_field("FNAME", "Ada").merge_field("LTV", "old")]
    };
    let (sim, _) = simulated(seed());
    let list = format!("/lists/{LIST}");
    let tags =
        json!({ "tags": [{ "name": "vip", "status": "active" }, { "name": "lead", "status": "inactive" }] });
    let mut replies = vec![ask(&sim, Method::POST, &format!("{list}/members/a@example.org/tags"), &tags)];
    replies.push(ask(&sim, Method::PATCH, &format!("{list}/merge-fields/3"), &json!({ "name": "Given" })));
    replies.push(ask(&sim, Method::DELETE, &format!("{list}/merge-fields/6"), &Value::Null));
    let field = json!({ "tag": "LTV", "name": "Value", "type": "text" });
    replies.push(ask(&sim, Method::POST, &format!("{list}/merge-fields"), &field));
    let (again, _) = simulated(seed());
    for write in replies.iter().flat_map(|reply| &reply.writes) {
        again.restore(&write.key, write.value.as_ref().unwrap());
    }
    for path in ["members/a@example.org", "members/a@example.org/tags", "merge-fields", "segments"] {
        let read = |sim| body(&ask(sim, Method::GET, &format!("{list}/{path}"), &Value::Null));
        assert_eq!(read(&again), read(&sim), "{path}");
    }
    let member = body(&ask(&again, Method::GET, &format!("{list}/members/a@example.org"), &Value::Null));
    assert_eq!((&member["tags"][0]["name"], &member["merge_fields"]["LTV"]), (&json!("vip"), &json!("")));
}

#[test]
fn a_change_of_tags_is_checked() {
    let (sim, _) = simulated(vec![SeedMember::new("a@example.org", MemberStatus::Subscribed)]);
    let path = format!("/lists/{LIST}/members/a@example.org/tags");
    for (tag, status) in [("", "active"), ("x", "on")] {
        let tags = json!({ "tags": [{ "name": tag, "status": status }] });
        assert_eq!(ask(&sim, Method::POST, &path, &tags).status, 400);
    }
    assert_eq!(body(&ask(&sim, Method::GET, &path, &Value::Null))["total_items"], 0);
}
