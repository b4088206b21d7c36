use crate::support::{GET, World, descriptor, fails, secs, together};
use martlet_base::Delivery;
use martlet_core::{Call, Client, ErrorKind, LimitSpec, TransportErrorKind};
use martlet_resilience::{Breaker, RetryPolicy};
use std::time::Duration;

fn get() -> Call {
    Call::new(GET).path("id", 1)
}

fn client(world: &World) -> Client {
    let limits = descriptor().limit(LimitSpec::new(LimitSpec::DEFAULT).window("second", 100, secs(1)));
    let breaker = Breaker::builder("acme").consecutive_failures(3).probes(1);
    world.builder_for(limits).retry(RetryPolicy::never()).breaker(breaker).build().unwrap()
}

#[tokio::test]
async fn it_opens_after_failures_refuses_without_sending_and_recovers() {
    let world = World::new();
    world.transport.on(&GET).reply(503).times(3).then(200).forever();
    let client = client(&world);
    for _ in 0..3 {
        assert_eq!(fails(world.execute(&client, get()).await).kind(), ErrorKind::Server);
    }
    world.manual.advance(secs(2));
    let error = fails(world.execute(&client, get()).await);
    assert_eq!(
        (error.kind(), error.delivery(), error.attempts()),
        (ErrorKind::CircuitOpen, Delivery::NotSent, 0)
    );
    let opens_in = error.retry_at().unwrap().since(world.clock.wall());
    assert!((secs(1)..secs(5)).contains(&opens_in), "{opens_in:?}");
    assert_eq!(world.transport.requests().len(), 3);
    let usage = client.shared_state().quota_use(&world.clock);
    assert_eq!(usage[0].3, 0, "a refusal takes no place: {usage:?}");
    // Not a moment earlier, and then at once.
    world.manual.advance(opens_in - Duration::from_micros(2));
    fails(world.execute(&client, get()).await);
    world.manual.advance(Duration::from_micros(2));
    for _ in 0..2 {
        world.execute(&client, get()).await.unwrap();
    }
    let changes = world.seen.all("BreakerChanged");
    for (change, (from, to)) in
        changes.iter().zip([("Closed", "Open"), ("Open", "HalfOpen"), ("HalfOpen", "Closed")])
    {
        assert!(change.contains(&format!("from: {from}, to: {to}")), "{changes:?}");
    }
    assert_eq!(changes.len(), 3);
}

#[tokio::test]
async fn a_refusal_that_comes_after_the_wait_gives_its_place_back() {
    // Four wait behind one; when their turn comes the circuit is open.
    let world = World::new();
    world.transport.on(&GET).reply(503).delay(secs(1)).times(3);
    let limits = LimitSpec::new(LimitSpec::DEFAULT).concurrency(1).window("minute", 100, secs(60));
    let client = world
        .builder_for(descriptor().limit(limits))
        .retry(RetryPolicy::never())
        .breaker(Breaker::builder("acme").consecutive_failures(3))
        .build()
        .unwrap();
    let kinds: Vec<_> =
        together(&world, &client, (0..5).map(|_| get())).await.into_iter().map(|r| fails(r).kind()).collect();
    assert_eq!(kinds[..3], [ErrorKind::Server; 3]);
    assert_eq!(kinds[3..], [ErrorKind::CircuitOpen; 2]);
    assert_eq!(client.shared_state().quota_use(&world.clock)[0].3, 3);
}

#[tokio::test]
async fn an_open_circuit_refuses_at_once_whatever_the_quota() {
    let world = World::new();
    world.transport.on(&GET).reply(503).header("x-block", "default 60");
    let client = world
        .builder()
        .limit(LimitSpec::new(LimitSpec::DEFAULT).window("second", 100, secs(1)))
        .breaker(Breaker::builder("acme").consecutive_failures(1).open_for(secs(200), secs(300)))
        .retry(RetryPolicy::never())
        .build()
        .unwrap();
    fails(world.execute(&client, get()).await);
    let error = fails(world.execute(&client, get()).await);
    assert_eq!((error.kind(), error.elapsed()), (ErrorKind::CircuitOpen, Duration::ZERO));
}

#[tokio::test]
async fn an_open_circuit_ends_the_retries() {
    let world = World::new();
    world.transport.on(&GET).reply(503).times(2);
    let client = world.builder().breaker(Breaker::builder("acme").consecutive_failures(2)).build().unwrap();
    let error = fails(world.execute(&client, get()).await);
    // Two attempts failed with an unknown fate; that the third was refused does not undo them.
    assert_eq!(
        (error.kind(), error.delivery(), error.attempts()),
        (ErrorKind::CircuitOpen, Delivery::Unknown, 2)
    );
}

#[tokio::test]
async fn what_says_nothing_about_health_opens_nothing() {
    for status in [429, 401, 404, 422, 501] {
        let world = World::new();
        world.transport.on(&GET).reply(status).times(10);
        let client = client(&world);
        for _ in 0..10 {
            assert_ne!(fails(world.execute(&client, get()).await).kind(), ErrorKind::CircuitOpen, "{status}");
        }
    }
    for (kind, delivery) in [
        (TransportErrorKind::Connect, Delivery::NotSent),
        (TransportErrorKind::Interrupted, Delivery::Unknown),
    ] {
        let world = World::new();
        world.transport.on(&GET).fail(kind, delivery).times(3);
        let client = client(&world);
        for _ in 0..3 {
            fails(world.execute(&client, get()).await);
        }
        assert_eq!(fails(world.execute(&client, get()).await).kind(), ErrorKind::CircuitOpen, "{kind:?}");
    }
}

#[tokio::test]
async fn a_callers_own_impatience_is_no_failure_and_a_real_timeout_is() {
    let world = World::new();
    world.transport.on(&GET).stall().times(20);
    let client = client(&world);
    for _ in 0..10 {
        let error = fails(world.execute(&client, get().timeout(secs(1))).await);
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
    for _ in 0..3 {
        assert_eq!(fails(world.execute(&client, get()).await).kind(), ErrorKind::Timeout);
    }
    assert_eq!(fails(world.execute(&client, get()).await).kind(), ErrorKind::CircuitOpen);
}
