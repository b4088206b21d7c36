use crate::support::{World, fails, ms, secs, together};
use martlet_base::Delivery;
use martlet_core::{
    CacheRule, Call, Client, ErrorKind, Idempotency, Operation, Response, Result, TransportErrorKind,
};
use serde_json::json;
use std::collections::HashSet;
use std::time::Duration;

const RULE: CacheRule = CacheRule::new(secs(60), "fields");
const FIELDS: Operation = Operation::get("fields.list", "/v1/fields").cacheable(RULE);
const SEARCH: Operation =
    Operation::post("fields.search", "/v1/search").idempotency(Idempotency::Safe).cacheable(RULE);
const CREATE: Operation = Operation::post("fields.create", "/v1/fields")
    .idempotency(Idempotency::Unsafe)
    .invalidates("fields")
    .cacheable(RULE);

fn fields() -> Call {
    Call::new(FIELDS)
}

/// The number that the answer holds, and whether it came from the cache.
fn number(result: Result<Response>) -> (u64, bool) {
    let response = result.unwrap();
    (response.json().unwrap(), response.meta().from_cache)
}

/// Answers 1, 2, 3, ... after 10 ms each.
fn world() -> (World, Client) {
    let world = World::new();
    let script = world.transport.on(&FIELDS);
    (1..=9).fold(script, |script, n| script.json(200, &n).delay(ms(10)));
    let client = world.client();
    (world, client)
}

#[tokio::test]
async fn an_answer_is_served_until_its_time_is_over_and_costs_no_attempt() {
    let (world, client) = world();
    assert_eq!(number(world.execute(&client, fields()).await), (1, false));
    world.manual.advance(ms(59_999));
    let hit = world.execute(&client, fields()).await.unwrap();
    assert_eq!((hit.meta().attempts, hit.meta().elapsed), (0, Duration::ZERO));
    assert_eq!(number(Ok(hit)), (1, true));
    world.manual.advance(ms(1));
    assert_eq!(number(world.execute(&client, fields()).await), (2, false));
    let lookups = world.seen.all("CacheLookup");
    assert_eq!(lookups.iter().filter(|l| l.contains("hit: true")).count(), 1, "{lookups:?}");
    assert!(world.seen.all("CallFinished")[1].contains("attempts: 0"));
}

#[tokio::test]
async fn another_query_is_another_answer_and_so_is_another_body() {
    let (world, client) = world();
    for (call, expected) in [
        (fields().query("archived", true), (1, false)),
        (fields().query("archived", false), (2, false)),
        (fields().query("archived", true), (1, true)),
    ] {
        assert_eq!(number(world.execute(&client, call).await), expected);
    }
    world.transport.on(&SEARCH).json(200, &1).json(200, &2);
    for (word, expected) in [("a", (1, false)), ("b", (2, false)), ("a", (1, true))] {
        let call = Call::new(SEARCH).json(&json!({ "word": word }));
        assert_eq!(number(world.execute(&client, call).await), expected, "{word}");
    }
}

#[tokio::test]
async fn what_changes_something_is_never_served_from_the_cache() {
    let world = World::new();
    world.transport.on(&CREATE).json(201, &1).json(201, &2);
    let client = world.client();
    for n in [1, 2] {
        assert_eq!(number(world.execute(&client, Call::new(CREATE)).await), (n, false));
    }
}

#[tokio::test]
async fn failures_are_not_kept() {
    let world = World::new();
    world.transport.on(&FIELDS).reply(404).json(200, &1);
    let client = world.client();
    assert_eq!(fails(world.execute(&client, fields()).await).kind(), ErrorKind::NotFound);
    assert_eq!(number(world.execute(&client, fields()).await), (1, false));
}

#[tokio::test]
async fn a_successful_write_makes_its_tag_stale_and_a_refused_one_does_not() {
    let (world, client) = world();
    world.transport.on(&CREATE).reply(422).then_json(201, &0);
    number(world.execute(&client, fields()).await);
    fails(world.execute(&client, Call::new(CREATE)).await);
    assert_eq!(number(world.execute(&client, fields()).await), (1, true));
    world.execute(&client, Call::new(CREATE)).await.unwrap();
    assert_eq!(number(world.execute(&client, fields()).await), (2, false));
    client.invalidate("other");
    assert_eq!(number(world.execute(&client, fields()).await), (2, true));
    client.invalidate("fields");
    assert_eq!(number(world.execute(&client, fields()).await), (3, false));
}

#[tokio::test]
async fn a_write_that_may_have_been_applied_makes_its_tag_stale_too() {
    let (world, client) = world();
    world.transport.on(&CREATE).fail(TransportErrorKind::Interrupted, Delivery::Unknown);
    number(world.execute(&client, fields()).await);
    fails(world.execute(&client, Call::new(CREATE)).await);
    assert_eq!(number(world.execute(&client, fields()).await), (2, false));
}

#[tokio::test]
async fn a_write_that_nobody_waited_for_makes_its_tag_stale_too() {
    let (world, client) = world();
    world.transport.on(&CREATE).stall();
    number(world.execute(&client, fields()).await);
    let limit = martlet_base::Deadline::after(world.clock.now(), secs(1));
    assert!(world.run(world.clock.within(limit, client_execute(&client, Call::new(CREATE)))).await.is_none());
    assert_eq!(number(world.execute(&client, fields()).await), (2, false));
}

#[tokio::test]
async fn a_read_that_a_write_overtakes_is_stale_at_once() {
    let (world, client) = world();
    world.transport.on(&CREATE).reply(201).delay(ms(5));
    // The read began before the write ended, so nobody knows which state it saw.
    let results = together(&world, &client, [fields(), Call::new(CREATE)]).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(number(world.execute(&client, fields()).await), (2, false));
}

#[tokio::test]
async fn a_hundred_callers_make_one_request() {
    let (world, client) = world();
    let results = together(&world, &client, (0..100).map(|_| fields())).await;
    assert_eq!(world.transport.requests().len(), 1);
    for response in results {
        let response = response.unwrap();
        assert_eq!(response.meta().attempts, 1, "what it cost is not nothing");
        assert_eq!(number(Ok(response)), (1, false));
    }
    // An error is shared with those who waited, and with nobody else.
    let world = World::new();
    world.transport.on(&FIELDS).reply(403).delay(ms(10)).then_json(200, &1);
    let client = world.client();
    for result in together(&world, &client, (0..10).map(|_| fields())).await {
        let error = fails(result);
        assert_eq!((error.kind(), error.attempts(), error.elapsed()), (ErrorKind::Forbidden, 1, ms(10)));
    }
    assert_eq!(number(world.execute(&client, fields()).await), (1, false));
}

#[tokio::test]
async fn fresh_does_not_read_the_cache_but_fills_it() {
    let (world, client) = world();
    number(world.execute(&client, fields()).await);
    assert_eq!(number(world.execute(&client, fields().fresh()).await), (2, false));
    assert_eq!(number(world.execute(&client, fields()).await), (2, true));
    // It joins no request that began before it.
    let world = World::new();
    world.transport.on(&FIELDS).json(200, &1).delay(ms(10)).json(200, &2).delay(ms(10));
    let client = world.client();
    let results = together(&world, &client, [fields(), fields().fresh()]).await;
    let numbers: HashSet<_> = results.into_iter().map(|r| number(r).0).collect();
    assert_eq!(numbers, HashSet::from([1, 2]));
}

#[tokio::test]
async fn the_first_ones_short_time_does_not_end_the_others() {
    let world = World::new();
    world.transport.on(&FIELDS).stall().json(200, &7);
    let client = world.client();
    let calls = [fields().timeout(secs(5)), fields(), fields()];
    let results = together(&world, &client, calls).await;
    let mut results = results.into_iter();
    assert_eq!(fails(results.next().unwrap()).elapsed(), secs(5));
    for result in results {
        assert_eq!(number(result).0, 7);
    }
    assert_eq!(world.transport.requests().len(), 2);
}

#[tokio::test]
async fn one_who_waits_with_others_gives_up_alone() {
    let world = World::new();
    world.transport.on(&FIELDS).json(200, &7).delay(secs(20));
    let client = world.client();
    let results = together(&world, &client, [fields(), fields().timeout(secs(5))]).await;
    let [first, second] = <[_; 2]>::try_from(results).unwrap();
    assert_eq!(number(first), (7, false));
    let error = fails(second);
    assert_eq!((error.kind(), error.elapsed()), (ErrorKind::DeadlineExceeded, secs(5)));
}

#[tokio::test]
async fn a_full_cache_forgets_and_stays_correct() {
    let world = World::new();
    world.transport.on(&FIELDS).json(200, &1).forever();
    let client = world.builder().cache_bytes(10_000).build().unwrap();
    for n in 0..200 {
        assert_eq!(number(world.execute(&client, fields().query("page", n)).await), (1, false));
    }
    let hits = async {
        let mut hits = 0;
        for n in 0..200 {
            hits += usize::from(number(client_execute(&client, fields().query("page", n)).await).1);
        }
        hits
    };
    let hits = world.run(hits).await;
    assert!(hits < 60, "{hits} answers of 512 bytes and more in 10 kB");
}

async fn client_execute(client: &Client, call: Call) -> Result<Response> {
    martlet_core::ApiClient::execute(client, call).await
}
