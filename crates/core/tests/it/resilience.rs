//! What the client makes of martlet-resilience.

use crate::support::{GET, World, descriptor, fails, secs, together};
use martlet_core::{
    ApiClient as _, Call, Descriptor, ErrorKind, LimitSpec, Operation, Platform, QuotaUpdate, Response,
    StoreQuota,
};
use martlet_resilience::{BreakerMode, Priority, RetryBudget, RetryPolicy, SharedWindow};
use martlet_store::MemoryStore;
use std::sync::Arc;

fn get() -> Call {
    Call::new(GET).path("id", 1)
}

#[tokio::test]
async fn r8_the_default_stack_has_a_budget_and_each_account_its_own() {
    // aws-sdk-rust #1234: silently not wired in. aws-sdk-js-v3 #4754: one noisy account spends everybody's.
    let world = World::new();
    world.transport.on(&GET).reply(503).then(503).then(503).then(200).forever();
    let (noisy, quiet) = (world.client(), world.client());
    let twin = world.builder().shared(noisy.shared_state()).build().unwrap();
    insta::assert_snapshot!(format!("{:?}", noisy.shared_state().retry_budget()), @"RetryBudget { capacity: 500, retry_cost: 14, throttled_cost: 5, first_success: 1, refill_per_second: 10.0, fraction: None, .. }");
    let policy = world.builder().retry(RetryPolicy::aws_standard()).build().unwrap();
    assert!(format!("{:?}", policy.shared_state().retry_budget()).contains("refill_per_second: 0.0"));
    let (a, b) = (noisy.shared_state(), twin.shared_state());
    assert_eq!(a.retry_budget(), b.retry_budget());
    assert_ne!(a.retry_budget(), quiet.shared_state().retry_budget());
    let response = world.execute(&noisy, get()).await.unwrap();
    assert_eq!(response.meta().attempts, 4);
    let left =
        |client: &martlet_core::Client| client.shared_state().retry_budget().available(world.clock.now());
    assert_eq!((left(&noisy), left(&quiet)), (500, 500), "16 s bring 160, the last success 14");
}

#[tokio::test]
async fn r10_an_empty_budget_returns_the_last_real_error_and_says_why() {
    let world = World::new();
    world.transport.on(&GET).reply(503).forever();
    let budget = RetryBudget::builder().capacity(20).refill_per_second(0.0).build().unwrap();
    let client = world.builder().retry_budget(budget.clone()).build().unwrap();
    let error = fails(world.execute(&client, get()).await);
    assert_eq!((error.kind(), error.status(), error.attempts()), (ErrorKind::Server, Some(503), 2));
    assert!(error.is_budget_exhausted() && error.is_exhausted());
    assert_eq!((budget.refused(), budget.available(world.clock.now())), (1, 6));
}

#[tokio::test]
async fn r11_a_call_dropped_between_two_attempts_gives_its_retry_back() {
    let world = World::new();
    world.transport.on(&GET).reply(503).forever();
    let budget = RetryBudget::builder().refill_per_second(0.0).build().unwrap();
    let client = world.builder().retry_budget(budget.clone()).build().unwrap();
    let soon = martlet_base::Deadline::after(world.clock.now(), secs(1) / 2);
    let call = client.execute(get());
    assert!(world.run(world.clock.within(soon, call)).await.is_none());
    assert_eq!((budget.available(world.clock.now()), budget.retries_in_flight()), (500, 0));
}

#[tokio::test]
async fn b15_an_operator_stops_an_account_by_the_handle() {
    let world = World::new();
    world.transport.on(&GET).reply(200).forever();
    let client = world.client();
    let breaker = client.shared_state().breaker().clone();
    breaker.set_mode(BreakerMode::ForcedOpen);
    assert_eq!(fails(world.execute(&client, get()).await).kind(), ErrorKind::CircuitOpen);
    breaker.set_mode(BreakerMode::Automatic);
    world.execute(&client, get()).await.unwrap();
}

#[tokio::test]
async fn b5_a_servers_retry_after_keeps_the_circuit_open() {
    let world = World::new();
    world.transport.on(&GET).reply(503).header("retry-after", "100").forever();
    let client = world.builder().retry(RetryPolicy::never()).build().unwrap();
    for _ in 0..10 {
        fails(world.execute(&client, get()).await);
    }
    let error = fails(world.execute(&client, get()).await);
    assert_eq!(error.kind(), ErrorKind::CircuitOpen);
    assert_eq!(error.retry_at().unwrap().since(world.clock.wall()), secs(100));
}

#[tokio::test]
async fn t3_an_attempt_with_too_little_time_left_is_not_begun() {
    let world = World::new();
    let policy = RetryPolicy::builder().min_useful(secs(2)).build().unwrap();
    let client = world.builder().retry(policy).build().unwrap();
    let error = fails(world.execute(&client, get().timeout(secs(1))).await);
    assert_eq!((error.kind(), world.transport.requests().len()), (ErrorKind::DeadlineExceeded, 0));
}

#[tokio::test]
async fn q3_an_urgent_call_passes_those_that_wait_for_quota() {
    let world = World::new();
    world.transport.on(&GET).reply(200).forever();
    let limits = LimitSpec::new(LimitSpec::DEFAULT).window("second", 1, secs(1));
    let client = world.builder_for(descriptor().limit(limits)).build().unwrap();
    world.execute(&client, get()).await.unwrap();
    let calls = [Priority::Backfill, Priority::Delivery, Priority::Interactive].map(|p| get().priority(p));
    let waits: Vec<_> =
        together(&world, &client, calls).await.into_iter().map(|r| r.unwrap().meta().quota_wait).collect();
    assert_eq!(waits, [secs(3), secs(2), secs(1)]);
}

#[tokio::test]
async fn l6_a_share_of_the_quota_is_left_to_other_programs() {
    let world = World::new();
    let limits = LimitSpec::new(LimitSpec::DEFAULT).window("second", 10, secs(1));
    let client = world.builder_for(descriptor().limit(limits)).quota_share(0.3).build().unwrap();
    assert_eq!(client.shared_state().quota_use(&world.clock)[0].2, 3);
    assert!(
        world.builder().limit(LimitSpec::new("x").window("w", 1, secs(1))).quota_share(0.0).build().is_err()
    );
}

#[tokio::test]
async fn l12_two_processes_share_a_window_through_a_store() {
    let world = World::new();
    world.transport.on(&GET).reply(200).forever();
    let store = Arc::new(StoreQuota::new(Arc::new(MemoryStore::new(world.clock.clone()))));
    let process = |name: &str| {
        let window = SharedWindow::builder("acme/daily", name, 20, secs(100)).build(store.clone()).unwrap();
        world.builder().shared_window(LimitSpec::DEFAULT, window).build().unwrap()
    };
    let (a, b) = (process("a"), process("b"));
    for _ in 0..10 {
        world.execute(&a, get()).await.unwrap();
        world.execute(&b, get()).await.unwrap();
    }
    assert_eq!(world.clock.now().as_nanos(), 0);
    let error = fails(world.execute(&a, get().timeout(secs(50))).await);
    assert_eq!((error.kind(), world.transport.requests().len()), (ErrorKind::DeadlineExceeded, 20));
    let late = world.execute(&b, get()).await.unwrap();
    assert!(late.meta().quota_wait >= secs(100), "{:?}", late.meta().quota_wait);
}

#[tokio::test]
async fn l12_a_shared_window_and_the_quota_journal_never_share_a_cell() {
    let world = World::new();
    world.transport.on(&GET).reply(200).forever();
    let store = Arc::new(MemoryStore::new(world.clock.clone()));
    // The name of the journal's own record of this platform and connection.
    let window = SharedWindow::builder("acme/default", "a", 20, secs(100));
    let window = window.build(Arc::new(StoreQuota::new(store.clone()))).unwrap();
    let client = world.builder().shared_window(LimitSpec::DEFAULT, window).quota_journal(store);
    let client = client.build().unwrap();
    for _ in 0..3 {
        world.execute(&client, get()).await.unwrap();
    }
}

#[tokio::test]
async fn a_misspelt_quota_bucket_is_an_error_that_names_those_there_are() {
    const SEARCH: Operation = Operation::get("things.search", "/search").quota("serach");
    let world = World::new();
    let own = LimitSpec::new(LimitSpec::DEFAULT).window("w", 5, secs(1));
    let client = world.builder().limit(own).build().unwrap();
    let error = fails(world.execute(&client, Call::new(SEARCH)).await);
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(text.contains("things.search") && text.contains("serach") && text.contains("default"), "{text}");
    assert!(world.transport.requests().is_empty());
}

#[tokio::test]
async fn b17_what_is_the_callers_fault_does_not_open_the_circuit() {
    // vllm router #60, coder #24701, vespa #34917: 4xx and 429 tripped it.
    for (status, counts) in [
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (409, false),
        (422, false),
        (429, false),
        (501, false),
        (408, true),
        (500, true),
        (502, true),
        (503, true),
        (504, true),
    ] {
        let world = World::new();
        world.transport.on(&GET).reply(status).forever();
        let client = world.builder().retry(RetryPolicy::never()).build().unwrap();
        for _ in 0..10 {
            fails(world.execute(&client, get()).await);
        }
        let open = client.shared_state().breaker().peek(world.clock.now()).is_err();
        assert_eq!(open, counts, "{status}");
    }
}

#[derive(Debug)]
struct Says(Descriptor);

impl Platform for Says {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }

    fn quota(&self, _: &Operation, response: &Response) -> Vec<QuotaUpdate> {
        let left = response.header("x-left").and_then(|v| v.parse().ok());
        vec![QuotaUpdate::new(LimitSpec::DEFAULT, "minute").left(Some(10), left).resets_in(secs(20))]
    }
}

#[tokio::test]
async fn l8_what_others_used_of_the_quota_is_not_spent_again_and_nothing_is_raised() {
    let world = World::new();
    world.transport.on(&GET).reply(200).header("x-left", "3").then(200).header("x-left", "10").forever();
    let limits = LimitSpec::new(LimitSpec::DEFAULT).window("minute", 10, secs(60));
    let platform = Says(descriptor().limit(limits));
    let builder =
        martlet_core::Client::builder(platform).transport(world.transport.clone()).clock(world.clock.clone());
    let client = builder.build().unwrap();
    let used = || client.shared_state().quota_use(&world.clock)[0].3;
    world.execute(&client, get()).await.unwrap();
    assert_eq!(used(), 7, "one of ours, six of others");
    world.execute(&client, get()).await.unwrap();
    assert_eq!(used(), 8);
    world.manual.advance(secs(20));
    assert_eq!(used(), 2, "the window of the others has been reset");
}
