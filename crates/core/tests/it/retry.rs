use crate::support::{CREATE, GET, World, fails, ms, secs};
use martlet_base::{Deadline, Delivery, Recovery};
use martlet_core::{Call, ErrorKind, Idempotency, KeyStyle, Operation, TransportErrorKind};
use martlet_resilience::RetryPolicy;
use martlet_testkit::Script;

const POST: Operation = Operation::post("things.post", "/v1/things");

/// A failure of each fate, and whether it is worth another try where the fate allows it.
type Failing = (&'static str, fn(Script) -> Script, Delivery);

const FAILURES: [Failing; 7] = [
    ("no connection", |s| s.fail(TransportErrorKind::Connect, Delivery::NotSent), Delivery::NotSent),
    ("429", |s| s.reply(429), Delivery::Rejected),
    ("503", |s| s.reply(503), Delivery::Unknown),
    ("reset", |s| s.fail(TransportErrorKind::Interrupted, Delivery::Unknown), Delivery::Unknown),
    ("timeout", |s| s.stall(), Delivery::Unknown),
    ("a truncated body", |s| s.reply(200).body("{}").cut(1), Delivery::Unknown),
    ("422", |s| s.reply(422), Delivery::Processed),
];

#[tokio::test]
async fn every_cell_of_the_table_holds() {
    let repeatable =
        [Idempotency::Safe, Idempotency::Idempotent, Idempotency::Keyed(KeyStyle::Header("idempotency-key"))];
    for (name, fail, delivery) in FAILURES {
        for idempotency in repeatable.into_iter().chain([Idempotency::Unsafe, Idempotency::Unspecified]) {
            let expected = match delivery {
                Delivery::NotSent | Delivery::Rejected => true,
                Delivery::Unknown => repeatable.contains(&idempotency),
                _ => false,
            };
            let world = World::new();
            let operation = POST.idempotency(idempotency);
            let script = fail(world.transport.on(&operation));
            if expected {
                script.then(201);
            }
            let result = world.execute(&world.client(), Call::new(operation)).await;
            let case = format!("{name}, {idempotency:?}");
            assert_eq!(result.is_ok(), expected, "{case}: {result:?}");
            match result {
                Ok(response) => assert_eq!(response.meta().attempts, 2, "{case}"),
                Err(error) => {
                    assert_eq!((error.delivery(), error.attempts()), (delivery, 1), "{case}");
                    let said = error.to_string().contains("it may have been applied");
                    assert_eq!(said, delivery == Delivery::Unknown, "{case}: {error}");
                    assert!(!error.is_exhausted(), "{case}");
                }
            }
            world.transport.verify();
        }
    }
}

#[tokio::test]
async fn the_verb_alone_never_decides() {
    let world = World::new();
    let unsafe_get = GET.idempotency(Idempotency::Unsafe);
    world.transport.on(&unsafe_get).reply(503);
    let error = fails(world.execute(&world.client(), Call::new(unsafe_get).path("id", 1)).await);
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Server, 1));
}

#[tokio::test]
async fn a_501_says_that_it_will_never_work() {
    let world = World::new();
    world.transport.on(&GET).reply(501);
    let error = fails(world.execute(&world.client(), Call::new(GET).path("id", 1)).await);
    assert_eq!((error.delivery(), error.recovery()), (Delivery::Processed, Recovery::Fatal));
}

#[tokio::test]
async fn pauses_are_1_4_and_16_seconds_with_a_jitter_of_a_quarter_that_the_seed_pins() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let world = World::new();
        world.transport.on(&GET).reply(503).times(4);
        let error = fails(world.execute(&world.client(), Call::new(GET).path("id", 1)).await);
        assert!(error.is_exhausted());
        assert_eq!(error.attempts(), 4);
        let pauses = world.pauses();
        for (pause, centre) in pauses.iter().zip([1_000, 4_000, 16_000]) {
            assert!((centre * 3 / 4..=centre * 5 / 4).contains(pause), "{pauses:?}");
        }
        let total: u64 = pauses.iter().sum();
        assert_eq!(u64::try_from(error.elapsed().as_millis()).unwrap() / 10, total / 10);
        assert_eq!(world.seen.all("RetryScheduled").len(), 3);
        assert!(world.seen.all("CallFinished")[0].contains("attempts: 4"), "{:?}", world.seen);
        runs.push(pauses);
    }
    assert_eq!(runs[0].len(), 3);
    assert_eq!(runs[0], runs[1], "the same seed, the same pauses");
}

#[tokio::test]
async fn retry_after_is_a_floor_in_seconds_and_as_a_date() {
    for value in ["30", "Thu, 01 Jan 2026 00:00:30 GMT"] {
        let world = World::new();
        world.transport.on(&GET).reply(503).header("retry-after", value).then(200);
        world.execute(&world.client(), Call::new(GET).path("id", 1)).await.unwrap();
        let pause = world.pauses()[0];
        // Up to a tenth on top, so that those who were sent away do not return together.
        assert!((30_000..=33_000).contains(&pause), "{value}: {pause}");
    }
    // A server's shorter pause does not shorten ours.
    let world = World::new();
    world.transport.on(&GET).reply(429).header("retry-after", 0).then(200);
    world.execute(&world.client(), Call::new(GET).path("id", 1)).await.unwrap();
    assert!(world.pauses()[0] >= 750, "{:?}", world.pauses());
}

#[tokio::test]
async fn a_pause_of_an_hour_is_not_slept_out() {
    let world = World::new();
    world.transport.on(&GET).reply(429).header("retry-after", 3_600);
    let client = world.builder().total_timeout(secs(100_000)).build().unwrap();
    let error = fails(world.execute(&client, Call::new(GET).path("id", 1)).await);
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert_eq!(error.retry_at(), Some("2026-01-01T01:00:00Z".parse().unwrap()));
    assert_eq!(world.clock.now().as_nanos(), 0, "it was told at once");
}

#[tokio::test]
async fn a_pause_that_does_not_fit_the_deadline_stops_at_once() {
    let world = World::new();
    world.transport.on(&GET).reply(503).header("retry-after", 20);
    let call = Call::new(GET).path("id", 1).timeout(secs(10));
    let error = fails(world.execute(&world.client(), call).await);
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Server, Delivery::Unknown));
    assert!(error.is_exhausted());
    assert_eq!(world.clock.now().as_nanos(), 0);
}

#[tokio::test]
async fn an_earlier_attempt_of_unknown_fate_is_not_undone_by_a_later_one() {
    let world = World::new();
    let put = Operation::put("things.put", "/v1/things");
    world
        .transport
        .on(&put)
        .fail(TransportErrorKind::Interrupted, Delivery::Unknown)
        .fail(TransportErrorKind::Connect, Delivery::NotSent)
        .times(3);
    let error = fails(world.execute(&world.client(), Call::new(put)).await);
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Connect, Delivery::Unknown));
    assert!(error.to_string().contains("it may have been applied"), "{error}");
}

#[tokio::test]
async fn the_callers_own_deadline_counts_if_it_is_earlier() {
    let world = World::new();
    world.transport.on(&GET).stall();
    let call = Call::new(GET).path("id", 1).deadline(Deadline::after(world.clock.now(), secs(7)));
    let error = fails(world.execute(&world.client(), call).await);
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::Unknown));
    assert_eq!(error.elapsed(), secs(7));
}

#[tokio::test]
async fn an_attempt_has_its_own_time_and_the_whole_call_another() {
    let world = World::new();
    world.transport.on(&GET).stall().times(2);
    let client = world
        .builder()
        .attempt_timeout(secs(10))
        .total_timeout(secs(15))
        .retry(RetryPolicy::fast_transient())
        .build()
        .unwrap();
    let error = fails(world.execute(&client, Call::new(GET).path("id", 1)).await);
    assert_eq!((error.kind(), error.attempts(), error.elapsed()), (ErrorKind::Timeout, 2, secs(15)));
    // What is slow in its body is slow.
    let world = World::new();
    world.transport.on(&CREATE).reply(200).delay(secs(9)).then(200).delay(secs(11));
    let client = world.builder().attempt_timeout(secs(10)).build().unwrap();
    world.execute(&client, Call::new(CREATE)).await.unwrap();
    assert_eq!(fails(world.execute(&client, Call::new(CREATE)).await).kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn never_means_one_attempt() {
    let world = World::new();
    world.transport.on(&GET).reply(503);
    let client = world.builder().retry(RetryPolicy::never()).build().unwrap();
    let error = fails(world.execute(&client, Call::new(GET).path("id", 1)).await);
    assert_eq!(error.attempts(), 1);
}

#[tokio::test]
async fn the_transports_text_is_said_once() {
    let world = World::new();
    world.transport.on(&CREATE).fail(TransportErrorKind::Interrupted, Delivery::Unknown).delay(ms(100));
    let error = fails(world.execute(&world.client(), Call::new(CREATE)).await);
    assert_eq!(
        error.to_string(),
        "acme things.create: connection interrupted: as the script says; it may have been applied; 1 attempt in 0.1s"
    );
    assert!(std::error::Error::source(&error).is_none());
}
