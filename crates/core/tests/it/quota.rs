use crate::support::{GET, World, descriptor, fails, ms, secs, together};
use martlet_base::{Delivery, Recovery};
use martlet_core::{Call, Client, ErrorKind, LimitSpec, Operation, TransportErrorKind};
use martlet_testkit::RateWindow;
use std::time::Duration;

const SEARCH: Operation = Operation::get("things.search", "/v1/search").quota("search");
const LARGE: Operation = Operation::get("things.large", "/v1/large").cost(5);

fn get() -> Call {
    Call::new(GET).path("id", 1)
}

fn ten_a_second(world: &World) -> Client {
    let limits = descriptor()
        .limit(LimitSpec::new(LimitSpec::DEFAULT).window("second", 10, secs(1)))
        .limit(LimitSpec::new("search").window("second", 2, secs(1)));
    world.builder_for(limits).build().unwrap()
}

fn used(client: &Client) -> Vec<(&'static str, u32)> {
    let usage = client.shared_state().quota_use(client.clock());
    usage.into_iter().map(|(bucket, _, _, used)| (bucket, used)).collect()
}

#[tokio::test]
async fn no_second_sees_more_than_the_limit_and_a_minute_of_work_takes_about_a_minute() {
    let world = World::new();
    world.transport.on(&GET).reply(200).delay(ms(20)).forever();
    let client = ten_a_second(&world);
    let results = together(&world, &client, (0..200).map(|_| get())).await;
    assert!(results.iter().all(Result::is_ok));
    let mut window = RateWindow::new(10, secs(1));
    for request in world.transport.requests() {
        // The platform counts it anywhere between its leaving and its answer: at either end.
        assert!(window.arrive(request.at).admitted);
    }
    let spent = world.clock.now().as_nanos() / 1_000_000;
    assert!((19_000..21_000).contains(&spent), "{spent} ms for 200 at 10 a second");
    let waited: Duration = results.iter().map(|r| r.as_ref().unwrap().meta().quota_wait).max().unwrap();
    assert!(waited > secs(18), "{waited:?}");
    assert_eq!(world.seen.all("QuotaWaited").len(), 190);
}

#[tokio::test]
async fn an_operation_with_a_bucket_of_its_own_takes_from_both() {
    let world = World::new();
    world.transport.on(&SEARCH).reply(200).forever();
    world.transport.on(&GET).reply(200).forever();
    let client = ten_a_second(&world);
    together(&world, &client, (0..2).map(|_| Call::new(SEARCH))).await;
    assert_eq!(used(&client), [("default", 2), ("search", 2)]);
    // The search bucket is full, the default one is not.
    let before = world.clock.now();
    world.execute(&client, get()).await.unwrap();
    assert_eq!(world.clock.now(), before);
    world.execute(&client, Call::new(SEARCH)).await.unwrap();
    assert_eq!(world.clock.now().since(before), secs(1));
}

#[tokio::test]
async fn an_operation_takes_what_it_costs() {
    let world = World::new();
    world.transport.on(&LARGE).reply(200).forever();
    let client = ten_a_second(&world);
    together(&world, &client, (0..2).map(|_| Call::new(LARGE))).await;
    assert_eq!(used(&client), [("default", 10), ("search", 0)]);
    let costly = LARGE.cost(11);
    let error = fails(world.execute(&client, Call::new(costly)).await);
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Config, Delivery::NotSent));
}

#[tokio::test]
async fn an_ordered_pause_stops_everybody_else_too() {
    let world = World::new();
    world.transport.on(&GET).reply(429).header("retry-after", 30).then(200).forever();
    let client = ten_a_second(&world);
    let results = together(&world, &client, [get()]).await;
    assert!(results[0].is_ok());
    let world = World::new();
    world.transport.on(&GET).reply(429).header("retry-after", 30).then(200).forever();
    let client = ten_a_second(&world);
    let first = tokio::spawn({
        let client = client.clone();
        async move { martlet_core::ApiClient::execute(&client, get()).await }
    });
    tokio::task::yield_now().await;
    let second = world.execute(&client, get()).await.unwrap();
    assert!(second.meta().elapsed >= secs(30), "{:?}", second.meta());
    world.run(first).await.unwrap().unwrap();
    assert_eq!(world.seen.all("QuotaBlocked").len(), 1);
}

#[tokio::test]
async fn a_pause_ordered_for_one_bucket_leaves_the_other_alone() {
    let world = World::new();
    world.transport.on(&SEARCH).reply(200).header("x-block", "search 60").then(200);
    world.transport.on(&GET).reply(200);
    let client = ten_a_second(&world);
    world.execute(&client, Call::new(SEARCH)).await.unwrap();
    assert_eq!(world.execute(&client, get()).await.unwrap().meta().quota_wait, Duration::ZERO);
    let response = world.execute(&client, Call::new(SEARCH)).await.unwrap();
    // Those whom a server sent away come back spread over one more interval, none too early.
    let waited = response.meta().quota_wait;
    assert!((secs(60)..secs(61)).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn a_place_that_comes_after_the_deadline_is_refused_at_once() {
    let world = World::new();
    world.transport.on(&GET).reply(200).header("x-block", "default 100");
    let client = ten_a_second(&world);
    world.execute(&client, get()).await.unwrap();
    let error = fails(world.execute(&client, get().timeout(secs(50))).await);
    assert_eq!((error.kind(), error.recovery()), (ErrorKind::RateLimited, Recovery::Refused));
    assert_eq!((error.delivery(), error.attempts()), (Delivery::NotSent, 0));
    let again = error.retry_at().unwrap().since("2026-01-01T00:01:40Z".parse().unwrap());
    assert!(again < secs(1), "{error}");
    assert_eq!(world.clock.now().as_nanos(), 0);
}

#[tokio::test]
async fn what_was_not_sent_gives_its_place_back_and_what_was_does_not() {
    for (kind, delivery, places) in [
        (TransportErrorKind::Connect, Delivery::NotSent, 0),
        (TransportErrorKind::Interrupted, Delivery::Unknown, 1),
    ] {
        let world = World::new();
        world.transport.on(&GET).fail(kind, delivery);
        let limits = descriptor().limit(LimitSpec::new(LimitSpec::DEFAULT).window("second", 10, secs(1)));
        let never = martlet_resilience::RetryPolicy::never();
        let client = world.builder_for(limits).retry(never).build().unwrap();
        fails(world.execute(&client, get()).await);
        assert_eq!(used(&client), [("default", places)], "{delivery}");
        // What may still be on its way counts for as long as it may arrive.
        world.manual.advance(secs(2));
        assert_eq!(used(&client), [("default", places)], "{delivery}");
        world.manual.advance(secs(60));
        assert_eq!(used(&client), [("default", 0)], "{delivery}");
    }
}

#[tokio::test]
async fn a_cap_on_simultaneous_requests_holds() {
    let world = World::new();
    world.transport.on(&GET).reply(200).delay(secs(1)).forever();
    let limits = descriptor().limit(LimitSpec::new(LimitSpec::DEFAULT).concurrency(3));
    let client = world.builder_for(limits).build().unwrap();
    together(&world, &client, (0..12).map(|_| get())).await;
    assert_eq!(world.clock.now().as_nanos(), 4_000_000_000);
}

#[tokio::test]
async fn the_accounts_own_plan_replaces_the_platforms_bucket() {
    let world = World::new();
    world.transport.on(&GET).reply(200).forever();
    let limits = descriptor().limit(LimitSpec::new(LimitSpec::DEFAULT).window("second", 1, secs(10)));
    let client = world
        .builder_for(limits)
        .limit(LimitSpec::new(LimitSpec::DEFAULT).window("second", 100, secs(1)))
        .build()
        .unwrap();
    together(&world, &client, (0..50).map(|_| get())).await;
    assert_eq!(world.clock.now().as_nanos(), 0);
}

#[tokio::test]
async fn clients_that_share_an_account_share_its_quota() {
    let world = World::new();
    world.transport.on(&GET).reply(200).forever();
    let one = ten_a_second(&world);
    let two = world.builder().shared(one.shared_state()).build().unwrap();
    together(&world, &one, (0..6).map(|_| get())).await;
    together(&world, &two, (0..4).map(|_| get())).await;
    assert_eq!(used(&two), [("default", 10), ("search", 0)]);
    world.execute(&two, get()).await.unwrap();
    assert_eq!(world.clock.now().as_nanos(), 1_000_000_000);
}
