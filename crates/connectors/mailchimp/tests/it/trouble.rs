//! The trouble that the simulator makes, kind by kind, and a client that gets through all of it.

use crate::support::{KEY, LIST, ask, ask_at, body};
use http::Method;
use martlet_base::{ManualClock, Moment, Timestamp};
use martlet_mailchimp::sim::{MailchimpSim, SeedMember, SimOptions, SimStats, default_faults};
use martlet_mailchimp::{BulkMember, BulkOptions, Mailchimp, MemberStatus, MemberUpsert, MergeFieldType};
use martlet_testkit::{FaultKind, FaultPlan, SimReply, SimTransport, Simulator as _, WireFault};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn sim(faults: FaultPlan) -> MailchimpSim {
    MailchimpSim::new(SimOptions { faults, ..SimOptions::default() })
}

/// A bulk request for these addresses.
fn bulk(sim: &MailchimpSim, emails: &[&str]) -> SimReply {
    let members: Vec<_> =
        emails.iter().map(|email| json!({"email_address": email, "status_if_new": "subscribed"})).collect();
    ask(sim, Method::POST, &format!("/lists/{LIST}"), &json!({"members": members, "update_existing": true}))
}

/// The requests of a first run: opt-outs are looked up one by one, everybody is written in bulk, and all is read back.
async fn sync(contacts: u64, seed: u64) -> (Duration, SimStats, usize) {
    let clock = ManualClock::new();
    let faults = default_faults(seed, contacts);
    let sim = Arc::new(MailchimpSim::new(SimOptions { faults, ..SimOptions::default() }));
    let transport = SimTransport::new(sim.clone(), clock.clock());
    let mailchimp =
        Mailchimp::builder().transport(transport).clock(clock.clock()).api_key(KEY).build().unwrap();
    let audience = mailchimp.audience(LIST);
    let mut refused = 0;
    clock
        .drive(async {
            let members = audience.members();
            audience.create_merge_field("HSID", "HSID", MergeFieldType::Text).await.unwrap();
            for first in (0..contacts).step_by(500) {
                for n in (first..first + 500).step_by(33) {
                    members.get(format!("{n}@example.org").as_str()).await.unwrap_err();
                }
                let new = |n: u64| {
                    let upsert =
                        MemberUpsert::new(MemberStatus::Subscribed).merge_field("HSID", n.to_string());
                    BulkMember::new(format!("{n}@example.org"), upsert)
                };
                let people: Vec<_> = (first..first + 500).map(new).collect();
                let outcome = members.bulk(&people, BulkOptions::update_existing()).await.unwrap();
                refused += outcome.failed.len();
            }
            let there = members.list().fields(["id"]).pager().collect().await.unwrap();
            assert_eq!(there.len() + refused, usize::try_from(contacts).unwrap());
        })
        .await;
    (clock.clock().now().since(Moment::ZERO), sim.stats(), refused)
}

const KINDS: [&str; 8] =
    ["403_no_body", "429", "500", "503", "cut_body", "member_rejected", "reset_after", "slow"];

#[tokio::test]
async fn a_client_writes_everything_through_every_kind_of_fault() {
    for (contacts, seed) in [(20_000, 1), (2_000, 1), (2_000, 2)] {
        let (took, stats, refused) = sync(contacts, seed).await;
        assert_eq!(stats.faults.keys().collect::<Vec<_>>(), KINDS, "{contacts}");
        assert!(stats.faults.values().all(|count| *count == 1), "{:?}", stats.faults);
        assert_eq!((refused, stats.violations, stats.rewrites, stats.duplicates), (1, 0, 0, 0));
        assert_eq!(stats.members, contacts - 1);
        // Written, the answer lost, and written again: two bulk requests, one of them perhaps without a member.
        assert!((999..=1_000).contains(&stats.repeats), "{}", stats.repeats);
        assert!((stats.injected_delay_seconds - 6.8).abs() < 1e-9);
        assert!(took < Duration::from_millis(8_500), "one after the other, {took:?}");
    }
}

#[tokio::test]
async fn a_tiny_run_meets_what_fits() {
    let (_, stats, refused) = sync(500, 1).await;
    assert_eq!(
        stats.faults.keys().collect::<Vec<_>>(),
        ["403_no_body", "429", "500", "member_rejected", "slow"]
    );
    assert_eq!((refused, sync(500, 1).await.1), (1, stats), "the same again");
}

#[test]
fn both_platforms_together_stay_below_fifteen_seconds() {
    for seed in 0..50 {
        for contacts in [1, 2_000, 20_000] {
            assert!(default_faults(seed, contacts).delay() < Duration::from_millis(7_500));
        }
    }
}

#[test]
fn each_kind_looks_as_it_does_at_mailchimp() {
    let met = |kind| {
        let sim = sim(FaultPlan::none().with(kind, "read", 2));
        assert_eq!(ask(&sim, Method::GET, "/ping", &Value::Null).status, 200);
        let reply = ask(&sim, Method::GET, "/lists", &Value::Null);
        let again = ask_at(&sim, Method::GET, "/lists", &Value::Null, SECOND);
        assert_eq!((again.status, again.fault, again.delay), (200, None, Duration::ZERO), "{kind:?}");
        assert_eq!(sim.stats().faults, [(kind.name().to_owned(), 1)].into());
        assert_eq!(sim.stats().violations, 0);
        let pause = reply.headers.contains_key("retry-after");
        (reply.status, body(&reply)["title"].as_str().map(str::to_owned), pause, reply.fault, reply.delay)
    };
    let plain = |status| (status, None, false, None, Duration::ZERO);
    let too_many = |pause| (429, Some("Too Many Requests".to_owned()), pause, None, Duration::ZERO);
    assert_eq!(met(FaultKind::RateLimited), too_many(false));
    assert_eq!(met(FaultKind::RateLimitedRetryAfter), too_many(true));
    assert_eq!(met(FaultKind::Forbidden), plain(403));
    assert_eq!(met(FaultKind::InternalError), plain(500));
    assert_eq!(met(FaultKind::BadGateway), plain(502));
    assert_eq!(met(FaultKind::Unavailable), plain(503));
    assert!(met(FaultKind::UnavailableRetryAfter).2);
    assert_eq!(met(FaultKind::ResetBefore).3, Some(WireFault::Reset));
    assert!(matches!(met(FaultKind::CutBody), (200, _, _, Some(WireFault::Truncate(n)), _) if n > 50));
    assert_eq!(met(FaultKind::Slow), (200, None, false, None, FaultKind::SLOW));
}

#[test]
fn a_reset_comes_before_or_after_the_members_are_written() {
    for (kind, members) in [(FaultKind::ResetBefore, 0), (FaultKind::ResetAfter, 2), (FaultKind::CutBody, 2)]
    {
        let sim = sim(FaultPlan::none().with(kind, "write", 1));
        let reply = bulk(&sim, &["a@example.org", "b@example.org"]);
        assert!(reply.fault.is_some());
        assert_eq!((sim.stats().members, reply.writes.len() as u64), (members, members), "{kind:?}");
        let again = body(&bulk(&sim, &["a@example.org", "b@example.org"]));
        assert_eq!(again["total_created"], 2 - members);
        assert_eq!(sim.stats().repeats, members);
    }
}

#[test]
fn one_member_is_refused_once_in_the_life_of_a_store() {
    let plan = || FaultPlan::none().with(FaultKind::MemberRejected, "write", 2);
    let first = sim(plan());
    assert_eq!(body(&bulk(&first, &["a@example.org"]))["error_count"], 0);
    let reply = bulk(&first, &["b@example.org", "c@example.org", "d@example.org"]);
    let answer = body(&reply);
    assert_eq!((&answer["total_created"], &answer["error_count"]), (&json!(2), &json!(1)));
    assert_eq!(answer["errors"][0]["email_address"], "c@example.org");
    assert_eq!(answer["errors"][0]["error_code"], "ERROR_GENERIC");
    assert_eq!(body(&bulk(&first, &["c@example.org"]))["total_created"], 1);

    let second = sim(plan());
    for write in &reply.writes {
        second.restore(&write.key, write.value.as_ref().unwrap());
    }
    for email in ["x@example.org", "y@example.org", "c@example.org"] {
        assert_eq!(body(&bulk(&second, &[email]))["error_count"], 0);
    }
    assert_eq!((second.stats().members, second.stats().faults.len()), (5, 0));
}

#[test]
fn only_a_good_address_is_refused_without_a_reason() {
    let sim = sim(FaultPlan::none().with(FaultKind::MemberRejected, "write", 1));
    let answer = body(&bulk(&sim, &["nonsense"]));
    assert_eq!((&answer["error_count"], sim.stats().faults.len()), (&json!(1), 0));
    let answer = body(&bulk(&sim, &["a@example.org", "nonsense", "more nonsense"]));
    assert_eq!((&answer["error_count"], &answer["total_created"]), (&json!(3), &json!(0)));
    assert_eq!(sim.stats().faults.len(), 1);
}

#[test]
fn an_injected_fault_keeps_its_connection_and_is_no_violation() {
    let delay = Duration::from_millis(100);
    let faults = FaultPlan::none().with(FaultKind::Slow, "read", 1).with(FaultKind::RateLimited, "read", 2);
    let sim = MailchimpSim::new(SimOptions { faults, delay, connections: 1, ..SimOptions::default() });
    let get = |path: &str, millis| {
        let reply = ask_at(&sim, Method::GET, path, &Value::Null, Duration::from_millis(millis));
        (reply.status, reply.delay)
    };
    assert_eq!(get("/lists", 0), (200, delay + FaultKind::SLOW));
    assert_eq!(get("/ping", 899).0, 429);
    assert_eq!(sim.stats().violations, 1, "the slow answer is under way");
    assert_eq!(get("/ping", 900).0, 429);
    assert_eq!((sim.stats().violations, sim.stats().faults.len()), (1, 2));
    assert_eq!(get("/ping", 1_000).0, 200);
}

#[test]
fn an_outage_refuses_everything() {
    let wall = |seconds: i64| Timestamp::from_secs(1_700_000_000 + seconds);
    let outages = vec![(wall(10), wall(20))];
    let sim = MailchimpSim::new(SimOptions { outages, ..SimOptions::default() });
    let met = |seconds: u32| {
        let reply = ask_at(&sim, Method::GET, "/ping", &Value::Null, SECOND * seconds);
        (reply.status, reply.fault.is_some())
    };
    assert_eq!([met(9), met(10), met(19), met(20)], [(200, false), (503, false), (500, true), (200, false)]);
    assert_eq!((sim.stats().during_outage, sim.stats().violations), (2, 0));
}

#[test]
fn it_counts_upserts_that_changed_a_keyed_member_or_nothing_and_keys_that_two_have() {
    let seed = vec![SeedMember::new("a@example.org", MemberStatus::Subscribed).merge_field("FNAME", "Old")];
    let sim = MailchimpSim::new(SimOptions { seed_members: seed, ..SimOptions::default() });
    let field = json!({"tag": "HSID", "name": "HSID", "type": "text"});
    assert_eq!(ask(&sim, Method::POST, &format!("/lists/{LIST}/merge-fields"), &field).status, 200);
    let put = |email: &str, key: &str, name: &str| {
        let body = json!({"email_address": email, "status_if_new": "subscribed",
                          "merge_fields": {"HSID": key, "FNAME": name}});
        let reply = ask(&sim, Method::PUT, &format!("/lists/{LIST}/members/{email}"), &body);
        assert_eq!(reply.status, 200);
        let stats = sim.stats();
        ((stats.rewrites, stats.repeats, stats.duplicates), reply.writes)
    };
    assert_eq!(put("a@example.org", "1", "Ada").0, (0, 0, 0), "it had no key before");
    assert_eq!(put("a@example.org", "1", "Ada").0, (0, 1, 0));
    assert_eq!(put("b@example.org", "1", "Ada").0, (0, 1, 1));
    assert_eq!(put("b@example.org", "2", "Bob").0, (1, 1, 0));
    let (counted, writes) = put("b@example.org", "2", "Rob");
    assert_eq!(counted, (2, 1, 0));
    put("c@example.org", "2", "Cat");
    assert_eq!(
        ask(&sim, Method::DELETE, &format!("/lists/{LIST}/members/c@example.org"), &Value::Null).status,
        204
    );
    assert_eq!(sim.stats().duplicates, 0, "the archive does not count");

    let again = MailchimpSim::new(SimOptions::default());
    for write in &writes {
        again.restore(&write.key, write.value.as_ref().unwrap());
    }
    assert_eq!((again.stats().rewrites, again.stats().repeats), (2, 0), "a restart hides no rewrite");
}
