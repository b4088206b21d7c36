//! The trouble that the simulator makes, kind by kind, and a client that gets through all of it.

use crate::kit::{World, raw_reply};
use http::Method;
use martlet_auth::{AuthStyle, OAuth2, OAuth2Config, TokenStore, Tokens};
use martlet_base::{ManualClock, Moment, Timestamp};
use martlet_core::{ErrorKind, Transport};
use martlet_hubspot::sim::{HubSpotSim, SimOAuth, SimOptions, default_faults, seed_contact};
use martlet_hubspot::{HubSpot, HubSpotPlatform, operations};
use martlet_store::{Cells, MemoryStore};
use martlet_testkit::{
    FaultKind, FaultPlan, SimReply, SimRequest, SimTime, SimTransport, Simulator, WireFault,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const CONTACTS: &str = "/crm/v3/objects/contacts";
const NEW_YEAR: i64 = 1_767_225_600;

fn at(seconds: u64) -> Moment {
    Moment::ZERO + Duration::from_secs(seconds)
}

fn wall(seconds: u64) -> Timestamp {
    Timestamp::from_secs(NEW_YEAR) + Duration::from_secs(seconds)
}

fn sim(change: impl FnOnce(&mut SimOptions)) -> HubSpotSim {
    let mut options = SimOptions { contacts: 50, ..SimOptions::default() };
    change(&mut options);
    HubSpotSim::new(options)
}

fn get(sim: &HubSpotSim, path: &str, seconds: u64) -> SimReply {
    raw_reply(sim, "GET", path, &Value::Null, "pat-sim", at(seconds))
}

fn post(sim: &HubSpotSim, path: &str, body: &Value, seconds: u64) -> SimReply {
    raw_reply(sim, "POST", path, body, "pat-sim", at(seconds))
}

fn json_of(reply: &SimReply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_default()
}

fn oauth() -> SimOAuth {
    SimOAuth::new("app", "app-secret", "refresh-0")
}

/// A request of the refresh-token grant.
fn refresh(sim: &HubSpotSim, version: &str, token: &str, seconds: u64) -> SimReply {
    let body =
        format!("grant_type=refresh_token&client_id=app&client_secret=app-secret&refresh_token={token}");
    token_request(sim, version, body, seconds)
}

fn token_request(sim: &HubSpotSim, version: &str, body: String, seconds: u64) -> SimReply {
    let request = SimRequest::new(Method::POST, &format!("/oauth/{version}/token")).with_body(body);
    sim.handle(&request, SimTime { moment: at(seconds), wall: wall(seconds) })
}

fn access_token(reply: &SimReply) -> String {
    assert_eq!(reply.status, 200, "{:?}", json_of(reply));
    json_of(reply)["access_token"].as_str().unwrap().to_owned()
}

fn status_with(sim: &HubSpotSim, token: &str, seconds: u64) -> (u16, String) {
    let reply = raw_reply(sim, "GET", CONTACTS, &Value::Null, token, at(seconds));
    (reply.status, json_of(&reply)["category"].as_str().unwrap_or_default().to_owned())
}

/// A restarted simulator: what the replies stored is given back.
fn restarted(options: SimOptions, replies: &[SimReply]) -> HubSpotSim {
    let sim = HubSpotSim::new(options);
    for write in replies.iter().flat_map(|reply| &reply.writes) {
        sim.restore(&write.key, write.value.as_ref().unwrap());
    }
    sim
}

/// A client with OAuth reads everything; how long that took on its clock, and what the simulator counted.
async fn read_all(contacts: u64, seed: u64) -> (Duration, martlet_hubspot::sim::SimStats, Vec<String>) {
    let options = SimOptions { contacts, seed, oauth: Some(oauth()), ..SimOptions::default() }.with_trouble();
    let clock = ManualClock::new();
    let sim = Arc::new(HubSpotSim::new(options));
    let transport: Arc<dyn Transport> = Arc::new(SimTransport::new(sim.clone(), clock.clock()));
    let tokens =
        TokenStore::new(Cells::new(Arc::new(MemoryStore::new(clock.clock())), "t/"), "hubspot").unwrap();
    tokens.seed(&Tokens::from_refresh_token("refresh-0")).await.unwrap();
    let config = OAuth2Config::builder(HubSpotPlatform::TOKEN_URL, "app")
        .client_secret("app-secret")
        .auth_style(AuthStyle::RequestBody)
        .build()
        .unwrap();
    let hubspot = HubSpot::builder()
        .shared_transport(Arc::clone(&transport))
        .clock(clock.clock())
        .credentials(OAuth2::refresh(config, transport, tokens))
        .build()
        .unwrap();
    let ids = clock
        .drive(async {
            let mut pager = hubspot.contacts().list().pager();
            let mut ids = Vec::new();
            while let Some(contact) = pager.try_next().await.unwrap() {
                ids.push(contact.id.to_string());
            }
            ids
        })
        .await;
    (clock.clock().now().since(Moment::ZERO), sim.stats(), ids)
}

const KINDS: [&str; 8] =
    ["429", "429_retry_after", "502", "503_retry_after", "cut_body", "reset_before", "slow", "token_expired"];

#[tokio::test]
async fn a_client_reads_everything_through_every_kind_of_fault() {
    let (took, stats, ids) = read_all(20_000, 1).await;
    let expected: Vec<_> = (0..20_000).map(|n| seed_contact(1, n, 20_000).id.to_string()).collect();
    assert_eq!(ids, expected);
    assert_eq!(stats.faults.keys().collect::<Vec<_>>(), KINDS);
    assert!(stats.faults.values().all(|count| *count == 1), "{:?}", stats.faults);
    assert_eq!((stats.violations, stats.refreshes, stats.refused_refreshes), (0, 2, 0));
    assert_eq!(stats.requests, 200 + 7 + 2, "seven repetitions and two token requests");
    assert!((stats.injected_delay_seconds - 6.8).abs() < 1e-9);
    // 207 requests at 100 in ten seconds take 20 s by themselves.
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(stats.quota_use_ratio > 0.95, "{}", stats.quota_use_ratio);
}

#[tokio::test]
async fn small_runs_meet_as_many_kinds_as_fit() {
    let (took, stats, ids) = read_all(2_000, 1).await;
    assert_eq!(ids.len(), 2_000);
    assert_eq!(stats.faults.keys().collect::<Vec<_>>(), KINDS);
    assert!(took < Duration::from_secs(12), "{took:?}");
    let (_, stats, _) = read_all(300, 1).await;
    assert_eq!(stats.faults.keys().collect::<Vec<_>>(), ["429_retry_after", "reset_before", "token_expired"]);
    let (_, again, _) = read_all(300, 1).await;
    assert_eq!(stats, again);
}

#[test]
fn the_same_seed_and_requests_meet_the_same_faults() {
    let places = |seed| {
        let sim = sim(|o| o.faults = default_faults(seed, 20_000));
        let mut places = Vec::new();
        for n in 0..200 {
            let reply = get(&sim, &format!("{CONTACTS}?limit=1&after={n}"), n);
            let kinds = sim.stats().faults;
            places.push((reply.status, reply.fault, kinds.len()));
        }
        places
    };
    assert_eq!(places(1), places(1));
    assert_ne!(places(1), places(2));
    for seed in 0..50 {
        let plan = default_faults(seed, 20_000);
        assert!(plan.delay() < Duration::from_millis(7_500), "half of the 15 s that both platforms may cost");
        assert_eq!(plan.kinds().len(), 8);
    }
}

#[test]
fn each_kind_looks_as_it_does_at_hubspot() {
    let plan = |kind| FaultPlan::none().with(kind, "list", 2);
    let met = |kind| {
        let sim = sim(|o| o.faults = plan(kind));
        assert_eq!(get(&sim, &format!("{CONTACTS}?limit=1"), 0).status, 200);
        let reply = get(&sim, &format!("{CONTACTS}?limit=2"), 0);
        assert_eq!(sim.stats().faults.keys().map(String::as_str).collect::<Vec<_>>(), [kind.name()]);
        let repeated = get(&sim, &format!("{CONTACTS}?limit=2"), 1);
        assert_eq!((repeated.status, repeated.fault, repeated.delay), (200, None, Duration::ZERO));
        assert_eq!(sim.stats().violations, 0);
        let policy = json_of(&reply)["policyName"].as_str().unwrap_or_default().to_owned();
        let pause = reply.headers.get("retry-after").map(|v| v.to_str().unwrap().to_owned());
        (reply.status, policy, pause, reply.fault, reply.delay)
    };
    let plain = |status| (status, String::new(), None, None, Duration::ZERO);
    let pause = || Some("1".to_owned());
    assert_eq!(
        met(FaultKind::RateLimitedRetryAfter),
        (429, "TEN_SECONDLY_ROLLING".into(), pause(), None, Duration::ZERO)
    );
    assert_eq!(met(FaultKind::RateLimited), (429, "SECONDLY".into(), None, None, Duration::ZERO));
    assert_eq!(met(FaultKind::InternalError), plain(500));
    assert_eq!(met(FaultKind::BadGateway), plain(502));
    assert_eq!(met(FaultKind::Unavailable), plain(503));
    assert_eq!(met(FaultKind::UnavailableRetryAfter), (503, String::new(), pause(), None, Duration::ZERO));
    assert_eq!(met(FaultKind::ResetBefore).3, Some(WireFault::Reset));
    assert!(matches!(met(FaultKind::CutBody), (200, _, _, Some(WireFault::Truncate(n)), _) if n > 50));
    assert_eq!(met(FaultKind::Slow), (200, String::new(), None, None, FaultKind::SLOW));
}

#[test]
fn a_reset_comes_before_or_after_the_request_had_its_effect() {
    for (kind, effect) in [(FaultKind::ResetBefore, false), (FaultKind::ResetAfter, true)] {
        let sim = sim(|o| o.faults = FaultPlan::none().with(kind, "batch", 1));
        let upsert = json!({"inputs": [{"id": "new@example.com", "idProperty": "email", "properties": {"city": "Bern"}}]});
        let reply = post(&sim, &format!("{CONTACTS}/batch/upsert"), &upsert, 0);
        assert_eq!((reply.fault, reply.writes.is_empty()), (Some(WireFault::Reset), !effect));
        let found = get(&sim, &format!("{CONTACTS}/new@example.com?idProperty=email"), 0);
        assert_eq!(found.status == 200, effect, "{kind:?}");
    }
}

#[test]
fn an_ordered_pause_is_not_held_against_the_client() {
    // Ten in a second, one each 100 ms; the one at 1.5 s orders a pause of a second.
    let ratio = |kind: Option<FaultKind>| {
        let faults = kind.map_or(FaultPlan::none(), |kind| FaultPlan::none().with(kind, "list", 16));
        let sim = sim(|o| {
            o.window = Duration::from_secs(1);
            o.per_ten_seconds = 10;
            o.faults = faults;
        });
        for n in (0..=15).chain(25..=40) {
            let after = if n == 0 { String::new() } else { format!("&after={n}") };
            let now = Moment::ZERO + Duration::from_millis(n * 100);
            raw_reply(&sim, "GET", &format!("{CONTACTS}?limit=1{after}"), &Value::Null, "pat-sim", now);
        }
        sim.stats().quota_use_ratio
    };
    // Samples at 1, 2, 3 and 4 s: 10, 6, 5 and 10 of 10. The one at 2 s lies in the pause.
    assert!((ratio(None) - 0.775).abs() < 1e-9, "{}", ratio(None));
    for kind in [FaultKind::RateLimited, FaultKind::RateLimitedRetryAfter] {
        assert!((ratio(Some(kind)) - 25.0 / 30.0).abs() < 1e-9, "{kind:?} {}", ratio(Some(kind)));
    }
}

#[test]
fn tokens_are_given_out_expire_and_can_be_refreshed() {
    let sim = sim(|o| {
        o.oauth = Some(SimOAuth { access_ttl: Duration::from_secs(60), ..oauth() });
        o.per_ten_seconds = 2;
    });
    let answer = refresh(&sim, "v1", "refresh-0", 0);
    let token = access_token(&answer);
    let given = json_of(&answer);
    assert_eq!(
        (&given["expires_in"], &given["token_type"], &given["refresh_token"], &given["hub_id"]),
        (&json!(60), &json!("bearer"), &json!("refresh-0"), &Value::Null)
    );
    assert_eq!(json_of(&refresh(&sim, "v3", "refresh-0", 0))["hub_id"], 4242);
    // The token requests took no place: two are left.
    assert_eq!(status_with(&sim, &token, 1).0, 200);
    assert_eq!(status_with(&sim, "pat-sim", 1).0, 200);
    assert_eq!(status_with(&sim, &token, 1).0, 429);
    assert_eq!(status_with(&sim, &token, 59).0, 200);
    assert_eq!(status_with(&sim, &token, 60), (401, "EXPIRED_AUTHENTICATION".into()));
    assert_eq!(status_with(&sim, "nonsense", 60), (401, "INVALID_AUTHENTICATION".into()));
    assert_eq!(status_with(&sim, "", 60), (401, "INVALID_AUTHENTICATION".into()));
    assert_eq!(status_with(&sim, &access_token(&refresh(&sim, "v1", "refresh-0", 60)), 60).0, 200);

    let other = |change: (&str, &str)| {
        let good = "grant_type=refresh_token&client_id=app&client_secret=app-secret&refresh_token=refresh-0";
        json_of(&token_request(&sim, "v1", good.replace(change.0, change.1), 61))["status"].clone()
    };
    assert_eq!(other(("app-secret", "x")), "BAD_CLIENT_SECRET");
    assert_eq!(other(("=app&", "=x&")), "BAD_CLIENT_ID");
    assert_eq!(other(("=refresh_token", "=password")), "BAD_GRANT_TYPE");
    assert_eq!(other(("refresh-0", "refresh-9")), "BAD_REFRESH_TOKEN");
    assert_eq!((sim.stats().refreshes, sim.stats().refused_refreshes), (3, 4));
}

#[test]
fn a_rotated_refresh_token_is_good_once_also_after_a_restart() {
    let options = SimOptions {
        contacts: 5,
        oauth: Some(SimOAuth { rotate: true, ..oauth() }),
        ..SimOptions::default()
    };
    let sim = HubSpotSim::new(options.clone());
    let first = refresh(&sim, "v1", "refresh-0", 0);
    let rotated = json_of(&first)["refresh_token"].as_str().unwrap().to_owned();
    assert_ne!(rotated, "refresh-0");
    let again = restarted(options, std::slice::from_ref(&first));
    for sim in [&sim, &again] {
        let reused = refresh(sim, "v1", "refresh-0", 1);
        assert_eq!((reused.status, &json_of(&reused)["error"]), (400, &json!("invalid_grant")));
        assert_eq!(status_with(sim, &access_token(&first), 1).0, 200);
        access_token(&refresh(sim, "v1", &rotated, 2));
    }
}

#[test]
fn the_first_version_of_the_token_endpoint_ends_on_its_day() {
    let sim = sim(|o| o.oauth = Some(oauth()));
    let last_day = u64::try_from(1_802_736_000 - NEW_YEAR).unwrap();
    for version in ["v1", "v3", "2026-03"] {
        access_token(&refresh(&sim, version, "refresh-0", last_day - 1));
    }
    assert_eq!(refresh(&sim, "v1", "refresh-0", last_day).status, 404);
    access_token(&refresh(&sim, "v3", "refresh-0", last_day));
    access_token(&refresh(&sim, "2026-03", "refresh-0", last_day));
}

#[test]
fn a_revoked_grant_is_refused_until_it_is_repaired() {
    let sim = sim(|o| o.oauth = Some(oauth()));
    let token = access_token(&refresh(&sim, "v1", "refresh-0", 0));
    assert_eq!(post(&sim, "/_sim/revoke", &Value::Null, 1).status, 204);
    assert_eq!(status_with(&sim, &token, 1), (401, "EXPIRED_AUTHENTICATION".into()));
    assert_eq!(json_of(&refresh(&sim, "v1", "refresh-0", 1))["error"], "invalid_grant");
    assert_eq!(status_with(&sim, "pat-sim", 1).0, 200, "the fixed token is another matter");
    assert_eq!(post(&sim, "/_sim/repair", &Value::Null, 2).status, 204);
    assert_eq!(status_with(&sim, &token, 2).0, 401);
    assert_eq!(status_with(&sim, &access_token(&refresh(&sim, "v1", "refresh-0", 2)), 2).0, 200);
}

#[test]
fn only_a_token_that_was_given_out_ends_before_its_time() {
    let sim = sim(|o| {
        o.oauth = Some(oauth());
        o.faults = FaultPlan::none().with(FaultKind::TokenExpired, "list", 1);
    });
    assert_eq!(status_with(&sim, "pat-sim", 0).0, 200);
    let tokens = [0, 0].map(|at| access_token(&refresh(&sim, "v1", "refresh-0", at)));
    let search = raw_reply(&sim, "GET", &format!("{CONTACTS}?limit=3"), &Value::Null, &tokens[0], at(1));
    assert_eq!((search.status, &json_of(&search)["category"]), (401, &json!("EXPIRED_AUTHENTICATION")));
    assert_eq!(status_with(&sim, &tokens[1], 1).0, 401, "all of them ended");
    assert_eq!(status_with(&sim, &access_token(&refresh(&sim, "v1", "refresh-0", 1)), 1).0, 200);
    assert_eq!(sim.stats().injected_delay_seconds.to_bits(), 0f64.to_bits());
}

#[test]
fn the_search_sees_a_change_late_and_the_list_at_once() {
    let sim = sim(|o| o.search_lag = Duration::from_secs(2));
    let changed = sim.edit(3, wall(10));
    let ids = |reply: &SimReply| -> BTreeSet<String> {
        let page = json_of(reply);
        page["results"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap().to_owned()).collect()
    };
    let found = |seconds| {
        let since = wall(10).as_millis().to_string();
        let body = json!({"filterGroups": [{"filters": [
            {"propertyName": "lastmodifieddate", "operator": "GTE", "value": since}]}], "limit": 100});
        ids(&post(&sim, &format!("{CONTACTS}/search"), &body, seconds))
    };
    let expected: BTreeSet<_> = changed.iter().map(u64::to_string).collect();
    assert_eq!(expected.len(), 3);
    let list = json_of(&get(&sim, &format!("{CONTACTS}?limit=100"), 10));
    let new_date = iso(10);
    let listed = list["results"].as_array().unwrap().iter().filter(|c| c["updatedAt"] == new_date.as_str());
    assert_eq!(listed.count(), 3);
    assert_eq!(found(11), BTreeSet::new());
    assert_eq!(found(12), expected);

    // A new contact is found as late, and one that was found stays found as it was.
    let new = json!({"properties": {"email": "new@example.com"}});
    let new = json_of(&post(&sim, CONTACTS, &new, 20))["id"].as_str().unwrap().to_owned();
    assert!(!found(21).contains(&new));
    assert!(found(22).contains(&new));
    let everybody = |seconds| {
        ids(&post(&sim, &format!("{CONTACTS}/search"), &json!({"filterGroups": [], "limit": 100}), seconds))
    };
    sim.edit(5, wall(30));
    assert_eq!(everybody(31).len(), 51);
}

fn iso(seconds: u64) -> String {
    wall(seconds).to_string().replace('Z', ".000Z")
}

#[test]
fn edited_contacts_differ_in_what_they_hold_and_when() {
    let sim = sim(|_| {});
    let read = |id: u64| {
        json_of(&get(&sim, &format!("{CONTACTS}/{id}?properties=loyalty_tier,last_order_value"), 0))
    };
    let before: Vec<_> = (0..50).map(|n| read(seed_contact(42, n, 50).id)).collect();
    let reply = post(&sim, "/_sim/edit?contacts=4", &Value::Null, 5);
    let ids = json_of(&reply)["contacts"].as_array().unwrap().clone();
    assert_eq!(reply.writes.len(), 5, "four contacts, and how often was drawn");
    let changed = (0..50).filter(|n| {
        let id = seed_contact(42, *n, 50).id;
        let (old, new) = (&before[usize::try_from(*n).unwrap()], read(id));
        let differs = *old != new;
        assert_eq!(differs, ids.contains(&json!(id)));
        if differs {
            assert_ne!(old["properties"]["loyalty_tier"], new["properties"]["loyalty_tier"]);
            assert_ne!(old["properties"]["last_order_value"], new["properties"]["last_order_value"]);
            assert_eq!(new["updatedAt"], iso(5));
        }
        differs
    });
    assert_eq!((changed.count(), sim.stats().edited), (4, 4));
    assert_ne!(sim.edit(4, wall(6)), sim.edit(4, wall(6)), "each draw takes others");
    // A tenth of all at most.
    assert_eq!(sim.edit(100, wall(7)).len(), 5);
    assert_eq!(post(&sim, "/_sim/edit?contacts=many", &Value::Null, 8).status, 400);
    assert_eq!(get(&sim, "/_sim/edit", 8).status, 404);
}

#[test]
fn deleted_contacts_are_archived_and_merged_ones_are_nowhere() {
    let options = SimOptions { contacts: 100, ..SimOptions::default() };
    let sim = HubSpotSim::new(options.clone());
    let deleted = sim.delete(2, wall(1));
    let merged = sim.merge(2, wall(2));
    let stored = post(&sim, "/_sim/repair", &Value::Null, 2);
    assert_eq!(stored.writes.len(), 2 + 4 + 1 + 1);
    for sim in [&sim, &restarted(options, &[stored])] {
        let listed = |query: &str| {
            json_of(&get(sim, &format!("{CONTACTS}?limit=100{query}"), 3))["results"].to_string()
        };
        let search = json!({"filterGroups": [], "limit": 200});
        let searched = json_of(&post(sim, &format!("{CONTACTS}/search"), &search, 3));
        assert_eq!(searched["total"], 96);
        for id in &deleted {
            let name = format!("\"id\":\"{id}\"");
            assert!(listed("&archived=true").contains(&name) && !listed("").contains(&name));
        }
        for (survivor, loser) in &merged {
            let name = format!("\"id\":\"{loser}\"");
            let anywhere = listed("") + &listed("&archived=true") + &searched["results"].to_string();
            assert!(!anywhere.contains(&name));
            assert_eq!(get(sim, &format!("{CONTACTS}/{loser}"), 3).status, 404);
            assert_eq!(get(sim, &format!("{CONTACTS}/{loser}?archived=true"), 3).status, 404);
            let batch = json!({"inputs": [{"id": loser.to_string()}, {"id": survivor.to_string()}],
                               "properties": ["hs_merged_object_ids"]});
            let read = json_of(&post(sim, &format!("{CONTACTS}/batch/read"), &batch, 3));
            assert_eq!((read["results"].as_array().unwrap().len(), &read["numErrors"]), (1, &json!(1)));
            let survivor = &read["results"][0];
            assert_eq!(survivor["properties"]["hs_merged_object_ids"], loser.to_string());
            assert_eq!(survivor["updatedAt"], iso(2));
            // The address of the one that is gone is free.
            let email = seed_contact(42, (loser - 51) / 7, 100).email.unwrap();
            assert_eq!(get(sim, &format!("{CONTACTS}/{email}?idProperty=email"), 3).status, 404);
        }
    }
    assert_eq!((sim.stats().deleted, sim.stats().merged), (2, 2));
}

#[test]
fn later_starts_meet_a_changed_account() {
    let search_lag = Duration::from_secs(2);
    let options = SimOptions { contacts: 1_000, between_runs: true, search_lag, ..SimOptions::default() };
    let counts = |sim: &HubSpotSim| {
        let stats = sim.stats();
        (stats.deleted, stats.merged, stats.edited)
    };
    let changed =
        |reply: &SimReply| reply.writes.iter().map(|write| write.key.clone()).collect::<BTreeSet<_>>();
    let first = HubSpotSim::new(options.clone());
    let mut replies = vec![get(&first, CONTACTS, 0)];
    get(&first, CONTACTS, 0);
    assert_eq!(counts(&first), (0, 0, 0));

    let second = restarted(options.clone(), &replies);
    assert_eq!(get(&second, "/_sim/stats", 100).writes.len(), 0, "a look at the numbers is no request");
    let reply = get(&second, CONTACTS, 100);
    assert_eq!((counts(&second), get(&second, CONTACTS, 100).writes.len()), ((5, 3, 0), 0));
    let since = json!({"filterGroups": [{"filters": [{"propertyName": "lastmodifieddate", "operator": "GTE",
        "value": wall(97).as_millis().to_string()}]}]});
    let found = json_of(&post(&second, &format!("{CONTACTS}/search"), &since, 100))["total"].clone();
    assert_eq!(found.as_u64(), Some(3), "the survivors");
    let again = get(&restarted(options.clone(), &replies), CONTACTS, 100);
    assert_eq!(changed(&again), changed(&reply), "the same start changes the same");
    assert!((5 + 6..=5 + 6 + 2).contains(&reply.writes.len()), "{}", reply.writes.len());

    let two = changed(&reply);
    replies.push(reply);
    let third = restarted(options, &replies);
    let three = get(&third, CONTACTS, 200);
    assert_eq!(counts(&third), (5, 3, 0));
    assert!(changed(&three).intersection(&two).count() < 5, "others");
    let archived = json_of(&get(&third, &format!("{CONTACTS}?archived=true&limit=100"), 200));
    assert_eq!(archived["results"].as_array().unwrap().len(), 5 + 5 + 5);
}

#[test]
fn live_edits_are_spread_over_one_reading() {
    let sim = sim(|o| {
        o.contacts = 1_000;
        o.live_edits = 25;
    });
    let mut edited = Vec::new();
    for n in 0..12 {
        get(&sim, &format!("{CONTACTS}?limit=100&after={n}"), n);
        get(&sim, &format!("{CONTACTS}?limit=100&archived=true&after={n}"), n);
        edited.push(sim.stats().edited);
    }
    assert_eq!(edited, [2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 25, 25]);
}

#[tokio::test]
async fn most_contacts_may_share_one_date_and_all_of_them_are_read() {
    let options = SimOptions { contacts: 20_000, one_date: true, ..SimOptions::default() };
    let world = World::with(options, |builder| builder);
    let shared = Timestamp::from_millis(1_748_736_000_000) - Duration::from_secs(17 * 86_400);
    let same_date = |date: Timestamp| {
        let contacts = world.hubspot.contacts();
        contacts.search().filter(
            "lastmodifieddate",
            martlet_hubspot::FilterOperator::Eq,
            date.as_millis().to_string(),
        )
    };
    let found = world.clock.drive(same_date(shared).limit(200).pager().collect()).await.unwrap();
    assert!((12_000..13_000).contains(&found.len()), "{}", found.len());

    let date = Timestamp::from_secs(NEW_YEAR);
    world.sim.touch(12_000, date);
    let touched = world.clock.drive(same_date(date).limit(200).pager().collect()).await.unwrap();
    assert_eq!(touched.len(), 12_000);
}

#[test]
fn touched_contacts_stay_so_after_a_restart() {
    let options = SimOptions { contacts: 100, ..SimOptions::default() };
    let sim = HubSpotSim::new(options.clone());
    let edited = sim.edit(5, wall(1));
    let reply = post(&sim, "/_sim/touch?contacts=60", &Value::Null, 2);
    let dates = |sim: &HubSpotSim| {
        let list = json_of(&get(sim, &format!("{CONTACTS}?limit=100"), 3));
        list["results"].as_array().unwrap().iter().map(|c| c["updatedAt"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(edited.len(), 5);
    assert_eq!(dates(&sim).iter().filter(|date| **date == iso(2)).count(), 60);
    assert_eq!(dates(&restarted(options, &[reply])), dates(&sim));
}

#[test]
fn a_spent_day_ends_at_midnight() {
    let sim = sim(|o| o.per_day = Some(3));
    let day = 86_400;
    let first = get(&sim, CONTACTS, day - 10);
    let header = |reply: &SimReply, name: &str| reply.headers[name].to_str().unwrap().to_owned();
    assert_eq!(header(&first, "x-hubspot-ratelimit-daily"), "3");
    assert_eq!(header(&first, "x-hubspot-ratelimit-daily-remaining"), "2");
    assert_eq!(post(&sim, &format!("{CONTACTS}/search"), &json!({}), day - 9).status, 200);
    assert_eq!(get(&sim, CONTACTS, day - 8).status, 200);
    let spent = get(&sim, CONTACTS, day - 7);
    assert_eq!((spent.status, &json_of(&spent)["policyName"]), (429, &json!("DAILY")));
    assert_eq!(header(&spent, "x-hubspot-ratelimit-daily-remaining"), "0");
    assert_eq!((sim.stats().violations, sim.stats().refused_by_day), (0, 1));
    assert_eq!(get(&sim, CONTACTS, day).status, 200);

    sim.spend_day(wall(day + 1));
    assert_eq!(get(&sim, CONTACTS, day + 2).status, 429);
    assert_eq!(get(&sim, CONTACTS, 2 * day).status, 200);
    assert_eq!(post(&sim, "/_sim/spend-day", &Value::Null, 2 * day).status, 204);
    assert_eq!(get(&sim, CONTACTS, 2 * day).status, 429);
}

#[tokio::test]
async fn a_client_knows_a_spent_day() {
    let options = SimOptions { per_day: Some(3), ..SimOptions::default() };
    let world = World::with(options, |builder| builder);
    let call = || world.hubspot.contacts().list().pager().collect();
    let error = world.clock.drive(call()).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::QuotaExhausted, Some(operations::LIST.name())));
}

#[test]
fn an_outage_refuses_everything_and_counts_in_no_window() {
    let sim = sim(|o| {
        o.outages = vec![(wall(10), wall(20))];
        o.per_ten_seconds = 1;
        o.oauth = Some(oauth());
    });
    let met = |seconds| {
        let reply = get(&sim, CONTACTS, seconds);
        (reply.status, reply.fault)
    };
    assert_eq!(met(9), (200, None));
    assert_eq!(met(10), (503, None));
    assert_eq!(met(11).1, Some(WireFault::Reset));
    assert_eq!(refresh(&sim, "v1", "refresh-0", 19).status, 503, "the token endpoint too");
    assert_eq!(get(&sim, "/_sim/stats", 15).status, 200);
    assert_eq!(met(20), (200, None));
    assert_eq!((sim.stats().during_outage, sim.stats().violations), (3, 0));
}

#[test]
fn the_window_can_be_shorter() {
    let sim = sim(|o| {
        o.window = Duration::from_secs(1);
        o.per_ten_seconds = 2;
    });
    let statuses = [0, 0, 0, 1].map(|seconds| get(&sim, CONTACTS, seconds).status);
    assert_eq!(statuses, [200, 200, 429, 200]);
    let reply = get(&sim, CONTACTS, 2);
    assert_eq!(reply.headers["x-hubspot-ratelimit-interval-milliseconds"], "1000");
}

#[test]
fn nothing_secret_is_in_the_debug_form() {
    let sim = sim(|o| o.oauth = Some(oauth()));
    let text = format!("{sim:?}");
    assert!(
        !text.contains("app-secret") && !text.contains("refresh-0") && !text.contains("pat-sim"),
        "{text}"
    );
}
