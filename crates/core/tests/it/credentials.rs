use crate::support::{GET, Shared, Step, Tokens, World, fails, secs, together};
use martlet_base::Recovery;
use martlet_core::{ApiClient, Call, Client, CredentialError, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

fn get() -> Call {
    Call::new(GET).path("id", 1)
}

fn client(world: &World, tokens: &Arc<Tokens>) -> Client {
    world.builder().credentials(Shared(Arc::clone(tokens))).build().unwrap()
}

fn issue(life: u64) -> Step {
    Step::Issue { life: secs(life), takes: secs(1) }
}

fn authorization(world: &World) -> Vec<String> {
    world.transport.requests().iter().map(|r| r.header("authorization").unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_refused_credential_is_renewed_once_and_the_call_replayed() {
    let world = World::new();
    world.transport.on(&GET).reply(401).then(200);
    let tokens = Tokens::new([issue(3_600), issue(3_600)]);
    let response = world.execute(&client(&world, &tokens), get()).await.unwrap();
    assert_eq!(response.meta().attempts, 2);
    assert_eq!(authorization(&world), ["Bearer token-1", "Bearer token-2"]);
    assert_eq!(tokens.issued(), [false, true]);
    assert_eq!(response.meta().elapsed, secs(2), "no pause but the renewals");
}

#[tokio::test]
async fn a_credential_that_is_refused_twice_is_an_error() {
    let world = World::new();
    world.transport.on(&GET).reply(401).times(2);
    let tokens = Tokens::new([issue(3_600), issue(3_600)]);
    let error = fails(world.execute(&client(&world, &tokens), get()).await);
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Unauthenticated, 2));
}

#[tokio::test]
async fn a_fixed_credential_that_is_refused_is_not_tried_again() {
    let world = World::new();
    world.transport.on(&GET).reply(401);
    let error = fails(world.execute(&world.client(), get()).await);
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Unauthenticated, 1));
    assert!(!error.is_exhausted());
}

#[tokio::test]
async fn fifty_calls_with_an_expired_credential_ask_once() {
    let world = World::new();
    world.transport.on(&GET).reply(200).forever();
    let tokens = Tokens::new([issue(3_600), issue(3_600)]);
    let client = client(&world, &tokens);
    for expected in [1, 2] {
        for result in together(&world, &client, (0..50).map(|_| get())).await {
            result.unwrap();
        }
        assert_eq!(tokens.issued().len(), expected);
        world.manual.advance(secs(4_000));
    }
    assert_eq!(world.seen.all("CredentialIssued").len(), 2);
}

#[tokio::test]
async fn fifty_refusals_of_one_credential_renew_it_once() {
    let world = World::new();
    world.transport.on(&GET).reply(401).times(50).then(200).times(50);
    let tokens = Tokens::new([issue(3_600), issue(3_600)]);
    for result in together(&world, &client(&world, &tokens), (0..50).map(|_| get())).await {
        result.unwrap();
    }
    assert_eq!(tokens.issued(), [false, true]);
}

#[tokio::test]
async fn a_failure_goes_to_everybody_who_waits_and_is_remembered_for_three_seconds() {
    let world = World::new();
    let fail =
        |recovery| Step::Fail { error: CredentialError::new("grant revoked", recovery), takes: secs(1) };
    let tokens = Tokens::new([fail(Recovery::Fatal), fail(Recovery::Fatal)]);
    let client = client(&world, &tokens);
    for result in together(&world, &client, (0..20).map(|_| get())).await {
        let error = fails(result);
        assert_eq!((error.kind(), error.recovery()), (ErrorKind::Credential, Recovery::Fatal));
        assert_eq!(error.to_string(), "acme things.get: no credential: grant revoked");
    }
    assert_eq!(tokens.issued().len(), 1);
    world.manual.advance(secs(2));
    fails(world.execute(&client, get()).await);
    assert_eq!(tokens.issued().len(), 1);
    world.manual.advance(secs(2));
    fails(world.execute(&client, get()).await);
    assert_eq!(tokens.issued().len(), 2);
}

#[tokio::test]
async fn a_failure_of_the_source_ends_the_call_and_a_later_call_asks_again() {
    let world = World::new();
    world.transport.on(&GET).reply(200);
    let error = CredentialError::new("token endpoint unreachable", Recovery::Transient);
    let tokens = Tokens::new([Step::Fail { error, takes: secs(1) }, issue(3_600)]);
    let client = client(&world, &tokens);
    // The source retries by itself: retries around retries would multiply what a token endpoint in trouble gets.
    let error = fails(world.execute(&client, get()).await);
    assert_eq!((error.kind(), error.recovery()), (ErrorKind::Credential, Recovery::Transient));
    assert_eq!((tokens.issued().len(), error.attempts()), (1, 0), "an attempt is what was sent");
    world.manual.advance(secs(4));
    world.execute(&client, get()).await.unwrap();
    assert_eq!(tokens.issued().len(), 2);
}

#[tokio::test]
async fn a_renewal_goes_on_when_its_caller_is_gone_and_is_used() {
    let world = World::new();
    world.transport.on(&GET).reply(200);
    let tokens = Tokens::new([Step::Issue { life: secs(3_600), takes: secs(10) }]);
    let client = client(&world, &tokens);
    let limit = martlet_base::Deadline::after(world.clock.now(), secs(2));
    assert!(world.run(world.clock.within(limit, client.execute(get()))).await.is_none());
    world.run(world.clock.sleep(secs(20))).await;
    assert_eq!(world.seen.all("CredentialIssued").len(), 1, "it went on");
    world.execute(&client, get()).await.unwrap();
    assert_eq!(tokens.issued().len(), 1);
}

#[tokio::test]
async fn a_slow_source_does_not_hold_a_call_beyond_its_deadline() {
    let world = World::new();
    let tokens = Tokens::new([Step::Issue { life: secs(3_600), takes: secs(1_000) }]);
    let error = fails(world.execute(&client(&world, &tokens), get().timeout(secs(5))).await);
    assert_eq!((error.kind(), error.attempts(), error.elapsed()), (ErrorKind::DeadlineExceeded, 0, secs(5)));
}

#[tokio::test]
async fn a_credential_near_its_end_is_served_and_renewed_in_the_background() {
    let world = World::new();
    world.transport.on(&GET).reply(200).forever();
    let tokens = Tokens::new([issue(1_000), issue(1_000)]);
    let client = client(&world, &tokens);
    world.execute(&client, get()).await.unwrap();
    // The last tenth of its life, give or take a fifth.
    world.manual.advance(secs(878));
    assert_eq!(world.execute(&client, get()).await.unwrap().meta().elapsed, Duration::ZERO);
    assert_eq!(tokens.issued().len(), 1);
    world.manual.advance(secs(44));
    for _ in 0..3 {
        assert_eq!(world.execute(&client, get()).await.unwrap().meta().elapsed, Duration::ZERO);
    }
    world.run(world.clock.sleep(secs(2))).await;
    assert_eq!(tokens.issued().len(), 2, "renewed once for three calls");
    world.execute(&client, get()).await.unwrap();
    let tokens = authorization(&world);
    assert_eq!(tokens[tokens.len() - 2..], ["Bearer token-1", "Bearer token-2"]);
}

#[tokio::test]
async fn a_short_life_is_not_renewed_all_the_time() {
    let world = World::new();
    world.transport.on(&GET).reply(200).forever();
    // 60 s: the window would be all of it, but is never more than about half.
    let tokens = Tokens::new([issue(60)]);
    let client = client(&world, &tokens);
    for _ in 0..23 {
        world.execute(&client, get()).await.unwrap();
        world.run(world.clock.sleep(secs(1))).await;
    }
    assert_eq!(tokens.issued().len(), 1);
}

#[tokio::test]
async fn a_failed_renewal_in_the_background_hurts_nobody() {
    let world = World::new();
    world.transport.on(&GET).reply(200).forever();
    let error = CredentialError::new("not now", Recovery::Transient);
    let tokens = Tokens::new([issue(1_000), Step::Fail { error, takes: Duration::ZERO }, issue(1_000)]);
    let client = client(&world, &tokens);
    world.execute(&client, get()).await.unwrap();
    world.manual.advance(secs(922));
    for _ in 0..10 {
        world.execute(&client, get()).await.unwrap();
        world.run(world.clock.sleep(Duration::from_millis(200))).await;
    }
    assert_eq!(tokens.issued().len(), 2, "the failure is remembered");
    world.manual.advance(secs(2));
    world.execute(&client, get()).await.unwrap();
    world.run(world.clock.sleep(secs(2))).await;
    assert_eq!(tokens.issued().len(), 3);
}
