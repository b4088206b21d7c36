//! A descriptor is a platform by itself.

use crate::support::{GET, World, descriptor, fails, secs};
use martlet_core::{
    Call, Client, Credential, Descriptor, ErrorKind, LimitSpec, Operation, Response, Result,
    quota_headers::Dialect,
};
use serde_json::json;

const SEARCH: Operation = Operation::get("things.search", "/v1/search").quota("search");

fn client(world: &World, descriptor: Descriptor) -> Client {
    Client::builder(descriptor)
        .transport(world.transport.clone())
        .credentials(Credential::bearer("token"))
        .clock(world.clock.clone())
        .observer(world.seen.clone())
        .build()
        .unwrap()
}

async fn get(world: &World, client: &Client) -> Result<Response> {
    world.execute(client, Call::new(GET).path("id", 1)).await
}

#[tokio::test]
async fn the_body_of_a_failure_gives_code_and_text_where_the_pointers_say() {
    let world = World::new();
    let client = client(&world, descriptor().error_body("/error/code", "/error/message"));
    let body = json!({ "error": { "code": 1042, "message": "no such thing" } });
    world.transport.on(&GET).json(404, &body).then(404).body("<html>gone</html>");
    let error = fails(get(&world, &client).await);
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, Some("1042")));
    assert!(error.to_string().contains("no such thing"), "{error}");
    let error = fails(get(&world, &client).await);
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, None));
    assert!(error.to_string().contains("Not Found"), "{error}");
}

#[tokio::test]
async fn an_error_about_an_answer_says_how_many_attempts_it_took() {
    let world = World::new();
    let client = client(&world, descriptor());
    world.transport.on(&GET).reply(503).then(200).body("no JSON");
    let response = get(&world, &client).await.unwrap();
    let error = response.json::<serde_json::Value>().unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Decode, 2));
}

#[tokio::test]
async fn quota_headers_are_taken_for_the_window_they_name() {
    let world = World::new();
    let limit = LimitSpec::new(LimitSpec::DEFAULT).window("daily", 1000, secs(86_400)).window(
        "ten_secondly",
        100,
        secs(10),
    );
    let client = client(&world, descriptor().limit(limit).quota_headers(Dialect::HubSpot));
    let reply = world.transport.on(&GET).reply(200);
    reply.header("x-hubspot-ratelimit-max", "100").header("x-hubspot-ratelimit-remaining", "0").then(200);
    let response = get(&world, &client).await.unwrap();
    let [update] = &response.meta().quota[..] else { panic!("{:?}", response.meta()) };
    assert_eq!((&*update.window, update.limit, update.remaining), ("ten_secondly", Some(100), Some(0)));
    let before = world.clock.now();
    get(&world, &client).await.unwrap();
    assert_eq!(world.clock.now().since(before), secs(10));
}

#[tokio::test]
async fn quota_headers_without_a_name_are_taken_for_the_operations_own_bucket() {
    let world = World::new();
    let limits = descriptor()
        .limit(LimitSpec::new(LimitSpec::DEFAULT).window("secondly", 10, secs(1)))
        .limit(LimitSpec::new("search").window("minutely", 30, secs(60)))
        .quota_headers(Dialect::RateLimitOld);
    let client = client(&world, limits);
    for operation in [&GET, &SEARCH] {
        let reply = world.transport.on(operation).reply(200);
        reply.header("ratelimit-remaining", "7").header("ratelimit-reset", "1").forever();
    }
    let told = |response: Response| response.meta().quota[0].bucket;
    assert_eq!(told(get(&world, &client).await.unwrap()), LimitSpec::DEFAULT);
    assert_eq!(told(world.execute(&client, Call::new(SEARCH)).await.unwrap()), "search");
    let used = client.shared_state().quota_use(client.clock());
    let used: Vec<_> = used.into_iter().map(|(bucket, _, _, used)| (bucket, used)).collect();
    // The search took a place of the default bucket too.
    assert_eq!(used, [("default", 4), ("search", 23)]);
}

#[tokio::test]
async fn a_window_that_nobody_counts_is_told_once_to_observers() {
    let world = World::new();
    let limit = LimitSpec::new(LimitSpec::DEFAULT).window("secondly", 10, secs(1)).window(
        "daily",
        1000,
        secs(86_400),
    );
    let client = client(&world, descriptor().limit(limit).quota_headers(Dialect::RateLimit));
    let told = r#""daily";r=900, "burst";r=5;t=30"#;
    world.transport.on(&GET).reply(200).header("ratelimit", told).forever();
    for _ in 0..3 {
        let response = get(&world, &client).await.unwrap();
        assert_eq!(response.meta().quota.len(), 2, "it can be seen in each answer");
    }
    let seen = world.seen.all("QuotaUnmatched");
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].contains(r#"bucket: "default", window: "burst""#), "{seen:?}");
}

#[tokio::test]
async fn a_platform_that_makes_up_names_of_windows_fills_neither_log_nor_memory() {
    let world = World::new();
    let limit = LimitSpec::new(LimitSpec::DEFAULT).window("secondly", 1000, secs(1)).window(
        "minutely",
        1000,
        secs(60),
    );
    let client = client(&world, descriptor().limit(limit).quota_headers(Dialect::RateLimit));
    for n in 0..100 {
        let told = format!("\"policy-{n}\";r=5");
        world.transport.on(&GET).reply(200).header("ratelimit", told);
        get(&world, &client).await.unwrap();
    }
    assert_eq!(world.seen.all("QuotaUnmatched").len(), 16);
}

#[test]
fn quota_headers_without_a_window_to_count_them_in_are_refused() {
    let world = World::new();
    let capped = LimitSpec::new(LimitSpec::DEFAULT).concurrency(4);
    let error =
        world.builder_for(descriptor().limit(capped).quota_headers(Dialect::HubSpot)).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("quota_headers"), "{error}");
    // This one tells of no window, and a client may lift the limits of its platform.
    world.builder_for(descriptor().quota_headers(Dialect::RetryAfter)).build().unwrap();
    let limit = LimitSpec::new(LimitSpec::DEFAULT).window("daily", 1000, secs(86_400));
    let lifted = world.builder_for(descriptor().limit(limit).quota_headers(Dialect::HubSpot));
    lifted.limit(LimitSpec::new(LimitSpec::DEFAULT)).build().unwrap();
}
