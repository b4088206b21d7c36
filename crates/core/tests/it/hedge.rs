//! Hedging inside Retry's slot.

use crate::support::{CREATE, GET, World, descriptor, fails, ms, secs};
use martlet_core::{Call, Client, ClientBuilder, ErrorKind, Idempotency, KeyStyle, LimitSpec, Operation};
use martlet_resilience::{Hedge, RetryBudget, RetryPolicy};

const PAY: Operation =
    Operation::post("pay", "/v1/pay").idempotency(Idempotency::Keyed(KeyStyle::Header("idempotency-key")));
const UPSERT: Operation = Operation::post("upsert", "/v1/upsert").idempotency(Idempotency::Idempotent);

fn get() -> Call {
    Call::new(GET).path("id", 1)
}

/// Knows a hundred answers of 50 ms.
fn taught(world: &World) -> Hedge {
    let hedge = Hedge::builder().build().unwrap();
    (0..100).for_each(|_| hedge.record(ms(50), world.clock.now()));
    hedge
}

fn client(world: &World, edit: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
    let limits = descriptor().limit(LimitSpec::new(LimitSpec::DEFAULT).window("minute", 100, secs(60)));
    edit(world.builder_for(limits).hedge(taught(world)).retry(RetryPolicy::never())).build().unwrap()
}

#[tokio::test]
async fn h1_h3_a_read_that_takes_too_long_is_asked_twice_and_the_loser_leaves_nothing_behind() {
    let world = World::new();
    world.transport.on(&GET).json(200, &1).delay(secs(30)).json(200, &2).delay(ms(20));
    let client = client(&world, |b| b);
    let response = world.execute(&client, get()).await.unwrap();
    assert_eq!((response.json::<u32>().unwrap(), response.meta().attempts), (2, 2));
    assert!(response.meta().elapsed < ms(100), "{:?}", response.meta().elapsed);
    let state = client.shared_state();
    assert_eq!(state.quota_use(&world.clock)[0].3, 2, "both may have arrived");
    let breaker = state.breaker().snapshot(world.clock.now());
    assert_eq!((breaker.counts.calls, breaker.counts.failures), (1, 0), "a loser is nobody's failure");
}

#[tokio::test]
async fn h2_only_reads_and_writes_with_a_key_are_asked_twice_and_with_the_same_key() {
    for (operation, sent) in [(PAY, 2), (UPSERT, 1), (CREATE, 1)] {
        let world = World::new();
        world.transport.on(&operation).reply(200).delay(secs(1)).reply(200).delay(secs(2));
        let client = client(&world, |b| b);
        world.execute(&client, Call::new(operation).json(&1)).await.unwrap();
        let requests = world.transport.requests();
        assert_eq!(requests.len(), sent, "{}", operation.name());
        let keys: Vec<_> = requests.iter().map(|r| r.headers.get("idempotency-key").cloned()).collect();
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1] && pair[0].is_some()), "{keys:?}");
    }
}

#[tokio::test]
async fn h4_an_empty_budget_suppresses_the_copy_only() {
    let world = World::new();
    world.transport.on(&GET).reply(200).delay(secs(3));
    let budget = RetryBudget::builder().capacity(0).refill_per_second(0.0).build().unwrap();
    let client = client(&world, |b| b.retry_budget(budget.clone()));
    let response = world.execute(&client, get()).await.unwrap();
    assert_eq!((response.meta().attempts, budget.refused()), (1, 1));
}

#[tokio::test]
async fn h5_when_both_fail_the_first_ones_error_is_returned_and_either_may_have_been_applied() {
    let world = World::new();
    world.transport.on(&PAY).reply(422).delay(secs(3)).reply(503).delay(secs(1));
    let client = client(&world, |b| b);
    let error = fails(world.execute(&client, Call::new(PAY).json(&1)).await);
    assert_eq!((error.kind(), error.status(), error.attempts()), (ErrorKind::Rejected, Some(422), 2));
    assert!(error.delivery().may_have_been_applied(), "the copy's fate is unknown");
}
