//! The simulator by itself: what it enforces, past our own client.

use crate::kit::{World, raw_reply};
use martlet_base::Moment;
use martlet_hubspot::sim::{HubSpotSim, SimOptions, SimStats, seed_contact};
use martlet_testkit::Simulator;
use serde_json::{Value, json};
use std::time::Duration;

const CONTACTS: &str = "/crm/v3/objects/contacts";

#[test]
fn the_list_refuses_what_hubspot_refuses() {
    let world = World::new(300);
    for query in ["limit=0", "limit=101", "limit=ten", "after=x"] {
        let (status, body) = world.raw("GET", &format!("{CONTACTS}?{query}"), &Value::Null);
        assert_eq!((status, &body["category"]), (400, &json!("VALIDATION_ERROR")), "{query}");
        assert!(body["correlationId"].is_string());
    }
    let (_, page) = world.raw("GET", CONTACTS, &Value::Null);
    assert_eq!(page["results"].as_array().unwrap().len(), 10);
    let keys: Vec<_> = page["results"][0]["properties"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"]);
    let (_, page) =
        world.raw("GET", &format!("{CONTACTS}?properties=city,nope&properties=company"), &Value::Null);
    let keys: Vec<_> = page["results"][0]["properties"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["city", "company", "createdate", "hs_object_id", "lastmodifieddate"]);
}

#[test]
fn the_search_stops_at_the_cap() {
    let world = World::new(10_500);
    let search = |after: u32| {
        let now = Moment::ZERO + Duration::from_secs(u64::from(after));
        let body = json!({"filterGroups": [], "limit": 200, "after": after.to_string()});
        let reply = raw_reply(&world.sim, "POST", &format!("{CONTACTS}/search"), &body, "pat-sim", now);
        (reply.status, serde_json::from_slice::<Value>(&reply.body).unwrap())
    };
    let (status, page) = search(9_800);
    assert_eq!(
        (status, &page["total"], &page["paging"]["next"]["after"]),
        (200, &json!(10_500), &json!("10000"))
    );
    assert_eq!(search(9_801).0, 400);
    assert_eq!(search(10_000).0, 400);
}

#[test]
fn both_limits_are_enforced_and_told_as_hubspot_tells_them() {
    let world = World::new(10);
    let now = |millis| Moment::ZERO + Duration::from_millis(millis);
    let ask = |method, path: &str, at| raw_reply(&world.sim, method, path, &json!({}), "pat-sim", at);
    let first = ask("GET", CONTACTS, now(0));
    assert_eq!(first.headers["x-hubspot-ratelimit-remaining"], "99");
    for _ in 1..100 {
        assert_eq!(ask("GET", CONTACTS, now(1)).status, 200);
    }
    let refused = ask("GET", CONTACTS, now(9_999));
    let body: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!((refused.status, &body["policyName"]), (429, &json!("TEN_SECONDLY_ROLLING")));
    assert_eq!(body["errorType"], "RATE_LIMIT");
    assert_eq!(refused.headers["x-hubspot-ratelimit-interval-milliseconds"], "10000");
    assert!(!refused.headers.contains_key("retry-after"));
    assert_eq!(ask("GET", CONTACTS, now(10_000)).status, 200);

    let search = format!("{CONTACTS}/search");
    let answers: Vec<_> = (0..6).map(|_| ask("POST", &search, now(20_000))).collect();
    assert_eq!(answers.iter().map(|a| a.status).collect::<Vec<_>>(), [200, 200, 200, 200, 200, 429]);
    assert!(
        !answers[0].headers.contains_key("x-hubspot-ratelimit-remaining"),
        "searches tell of the day alone"
    );
    assert!(answers[0].headers.contains_key("x-hubspot-ratelimit-daily-remaining"));
    assert_eq!(ask("POST", &search, now(21_000)).status, 200);
    assert_eq!(world.sim.stats().violations, 2);
}

#[test]
fn its_numbers_can_be_asked_for_without_a_token_and_outside_the_limits() {
    let sim = HubSpotSim::new(SimOptions { per_ten_seconds: 1, ..SimOptions::default() });
    let ask = |path, token| raw_reply(&sim, "GET", path, &Value::Null, token, Moment::ZERO);
    assert_eq!(ask(CONTACTS, "pat-sim").status, 200);
    assert_eq!(ask(CONTACTS, "pat-sim").status, 429);
    assert_eq!(ask(CONTACTS, "wrong").status, 401);
    let stats: SimStats = serde_json::from_slice(&ask("/_sim/stats", "wrong").body).unwrap();
    assert_eq!(stats, sim.stats());
    assert_eq!((stats.requests, stats.violations, stats.listed), (3, 1, 10));
}

#[test]
fn the_quota_figure_is_that_of_the_last_reading() {
    let world = World::new(100_000);
    let read = |start: u64, every: u64| {
        for n in 0..300 {
            let now = Moment::ZERO + Duration::from_millis(start + n * every);
            let after = if n == 0 { String::new() } else { format!("&after={n}") };
            let path = format!("{CONTACTS}?limit=1{after}");
            raw_reply(&world.sim, "GET", &path, &Value::Null, "pat-sim", now);
        }
        world.sim.stats().quota_use_ratio
    };
    assert!((read(0, 200) - 0.5).abs() < 0.01);
    assert!((read(500_000, 101) - 0.99).abs() < 0.02, "the idle time between two readings is nobody's");
}

#[test]
fn what_was_written_survives_a_restart() {
    let world = World::new(50);
    let seeded = seed_contact(42, 3, 50);
    let upsert =
        json!({"inputs": [{"id": "new@example.com", "idProperty": "email", "properties": {"city": "Łódź"}}]});
    let patch = json!({"properties": {"firstname": "Renamed"}});
    let mut writes = world.raw_reply("POST", &format!("{CONTACTS}/batch/upsert"), &upsert).writes;
    writes.extend(world.raw_reply("PATCH", &format!("{CONTACTS}/{}", seeded.id), &patch).writes);
    writes.extend(
        world.raw_reply("DELETE", &format!("{CONTACTS}/{}", seed_contact(42, 4, 50).id), &Value::Null).writes,
    );
    assert_eq!(writes.len(), 3);

    let again = World::new(50);
    for write in &writes {
        again.sim.restore(&write.key, write.value.as_ref().unwrap());
    }
    again.sim.restore("17", b"what another version wrote");
    let everything = |world: &World| {
        world.raw("GET", &format!("{CONTACTS}?limit=100&properties=city,firstname"), &Value::Null)
    };
    assert_eq!(everything(&again), everything(&world));
    assert_eq!(everything(&again).1["results"].as_array().unwrap().len(), 50);
    let (status, found) = again.raw(
        "GET",
        &format!("{CONTACTS}/new@example.com?idProperty=email&properties=city"),
        &Value::Null,
    );
    assert_eq!((status, &found["properties"]["city"]), (200, &json!("Łódź")));
}

#[test]
fn batches_answer_as_hubspot_does() {
    let world = World::new(50);
    let batch = |what: &str, body: Value| world.raw("POST", &format!("{CONTACTS}/batch/{what}"), &body);
    let id = |index| seed_contact(42, index, 50).id.to_string();
    let (status, body) =
        batch("read", json!({"inputs": [{"id": id(1)}, {"id": "1"}], "properties": ["city"]}));
    assert_eq!(
        (status, &body["numErrors"], &body["errors"][0]["context"]["ids"]),
        (207, &json!(1), &json!(["1"]))
    );
    let (status, body) = batch("create", json!({"inputs": [{"properties": {"email": "n@example.com"}}]}));
    assert_eq!((status, &body["status"]), (201, &json!("COMPLETE")));
    let (status, body) = batch(
        "create",
        json!({"inputs": [{"properties": {"email": "N@example.com"}, "objectWriteTraceId": "x"}]}),
    );
    assert_eq!((status, &body["errors"][0]["category"]), (207, &json!("CONFLICT")));
    assert_eq!(body["errors"][0]["context"]["objectWriteTraceId"], json!(["x"]));
    let (status, _) = batch("update", json!({"inputs": [{"id": id(1), "properties": {"city": "Bern"}}]}));
    assert_eq!(status, 200);
    let (status, _) = batch(
        "upsert",
        json!({"inputs": [{"id": "a@b.c", "idProperty": "email"}, {"id": "A@b.c", "idProperty": "email"}]}),
    );
    assert_eq!(status, 400, "two inputs for one contact");
    let many: Vec<_> = (0..101).map(|n| json!({"id": n.to_string()})).collect();
    assert_eq!(batch("archive", json!({"inputs": many})).0, 400);
    assert_eq!(batch("archive", json!({"inputs": []})).0, 400);
    assert_eq!(batch("archive", json!("nonsense")).0, 400);
    assert_eq!(world.raw("GET", "/crm/v3/objects/llamas", &Value::Null).0, 404);
    assert_eq!(world.raw("PUT", CONTACTS, &Value::Null).0, 405);
    let (_, properties) = world.raw("GET", "/crm/v3/properties/contacts", &Value::Null);
    assert!(properties["results"].as_array().unwrap().iter().any(|p| p["name"] == "loyalty_tier"));
}
