//! A token's life when nothing goes wrong but expiry and haste: rows O1 to O5, O9.

use crate::kit::{Next, World, get, ok, secs};
use futures_util::future::join_all;
use martlet_auth::Tokens;
use martlet_base::{Recovery, Timestamp};
use martlet_core::ErrorKind;
use martlet_testkit::SimReply;

#[tokio::test]
async fn o1_a_refreshed_token_is_stored_before_it_is_used() {
    let world = World::new().await;
    let client = world.client();
    world.drive(ok(&client)).await;
    assert_eq!(*world.events.lock().unwrap(), ["token", "store", "api"]);
    assert_eq!(world.stored().await, "canary-refresh-1");
    // And used until it ends.
    world.drive(ok(&client)).await;
    assert_eq!(world.token_requests(), 1);
}

#[tokio::test]
async fn o1_a_stored_token_that_is_good_needs_no_request_at_the_next_start() {
    let world = World::new().await;
    world.drive(ok(&world.client())).await;
    world.manual.advance(secs(600));
    world.drive(ok(&world.client())).await;
    assert_eq!(world.token_requests(), 1);
    // One that has ended is not even tried.
    world.manual.advance(secs(1_200));
    world.drive(ok(&world.client())).await;
    assert_eq!((world.token_requests(), world.refused()), (2, 0));
}

#[tokio::test]
async fn o2_a_token_is_refreshed_before_it_ends_and_nobody_waits_for_it() {
    let world = World::new().await;
    world.acme.lock().slow = secs(10);
    let client = world.client();
    world.drive(ok(&client)).await;
    // The last tenth of 1,800 s, give or take a fifth of it.
    world.manual.advance(secs(1_800 - 220));
    world.drive(ok(&client)).await;
    assert_eq!(world.token_requests(), 1);
    world.manual.advance(secs(80));
    let before = world.clock.now();
    world.drive(ok(&client)).await;
    assert_eq!(world.clock.now(), before, "the call waited");
    world.drive(world.clock.sleep(secs(20))).await;
    assert_eq!(world.token_requests(), 2);
    // The old one has ended by now.
    world.manual.advance(secs(200));
    world.drive(ok(&client)).await;
    assert_eq!((world.token_requests(), world.refused()), (2, 0));
}

#[tokio::test]
async fn o3_a_refused_token_is_refreshed_once_and_the_call_repeated_once() {
    let world = World::new().await;
    let client = world.client();
    world.drive(ok(&client)).await;
    world.acme.lock().revoke_access();
    world.drive(ok(&client)).await;
    let acme = world.acme.lock();
    assert_eq!((acme.refused, acme.served, acme.token_requests.len()), (1, 2, 2));
}

#[tokio::test]
async fn o3_a_platform_that_refuses_every_token_ends_no_loop() {
    let world = World::new().await;
    world.acme.lock().closed = true;
    let error = world.drive(get(&world.client())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!((world.refused(), world.token_requests()), (2, 2));
}

#[tokio::test]
async fn o4_fifty_calls_at_once_are_one_refresh() {
    let world = World::new().await;
    world.acme.lock().slow = secs(3);
    let client = world.client();
    world.drive(join_all((0..50).map(|_| ok(&client)))).await;
    assert_eq!(world.token_requests(), 1);
    // And so are fifty refusals.
    world.acme.lock().revoke_access();
    world.acme.lock().slow_api = secs(1);
    world.drive(join_all((0..50).map(|_| ok(&client)))).await;
    assert_eq!((world.token_requests(), world.refused()), (2, 50));
}

#[tokio::test]
async fn o5_processes_that_share_a_store_refresh_once_per_generation() {
    let world = World::new().await;
    world.acme.lock().slow = secs(3);
    let clients = [world.client(), world.client(), world.client()];
    for generation in 1..=5 {
        world.drive(join_all(clients.iter().map(ok))).await;
        assert_eq!(world.token_requests(), generation);
        assert_eq!(world.stored().await, format!("canary-refresh-{generation}"));
        if generation % 2 == 0 {
            world.acme.lock().revoke_access();
        } else {
            world.manual.advance(secs(1_800));
        }
    }
    assert!(!world.acme.lock().revoked, "a refresh token was used twice");
}

#[tokio::test]
async fn o5_tokens_that_arrive_while_the_lease_is_asked_for_are_used() {
    let world = World::new().await;
    *world.store.slow_lease.lock().unwrap() = secs(2);
    let client = world.client();
    let other = async {
        world.clock.sleep(secs(1)).await;
        world.acme.lock().grant("canary-theirs", world.clock.now() + secs(600));
        let theirs = Tokens::new("canary-theirs", "canary-next").expires(world.clock.wall() + secs(600));
        world.tokens().replace(&theirs).await.unwrap();
    };
    world.drive(async { tokio::join!(ok(&client), other) }).await;
    assert_eq!((world.token_requests(), world.refused()), (0, 0));
}

#[tokio::test]
async fn o5_a_process_that_died_with_the_lease_is_waited_for_and_then_replaced() {
    let world = World::new().await;
    world.tokens().lease("a process that died", secs(20)).await.unwrap().unwrap();
    let before = world.clock.now();
    world.drive(ok(&world.client())).await;
    let waited = world.clock.now().since(before);
    assert!((secs(20)..secs(21)).contains(&waited), "{waited:?}");
    // Its own lease was given back.
    assert!(world.tokens().lease("the next", secs(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn o5_a_store_without_leases_serves_one_process() {
    let world = World::new().await;
    *world.store.without_leases.lock().unwrap() = true;
    world.acme.lock().next.push_back(Next::Say(SimReply::status(503)));
    world.drive(ok(&world.client())).await;
    assert_eq!((world.token_requests(), world.stored().await.as_str()), (2, "canary-refresh-1"));
}

#[tokio::test]
async fn o5_a_lease_that_never_ends_is_not_waited_for_for_ever() {
    let world = World::new().await;
    world.tokens().lease("stuck", secs(100_000)).await.unwrap().unwrap();
    let error = world.drive(get(&world.client())).await.unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    assert_eq!((error.recovery(), world.token_requests()), (Recovery::Transient, 0));
}

#[tokio::test]
async fn o6_a_caller_that_leaves_in_the_middle_loses_no_rotated_token() {
    let world = World::new().await;
    world.acme.lock().slow = secs(5);
    let client = world.client();
    world
        .drive(async {
            let caller = tokio::spawn({
                let client = client.clone();
                async move { ok(&client).await }
            });
            world.clock.sleep(secs(1)).await;
            caller.abort();
            assert!(caller.await.unwrap_err().is_cancelled());
            world.clock.sleep(secs(10)).await;
        })
        .await;
    assert_eq!(world.stored().await, "canary-refresh-1");
    world.drive(ok(&client)).await;
    assert_eq!(world.token_requests(), 1);
}

#[tokio::test]
async fn o9_a_life_is_counted_from_the_answers_arrival_whatever_the_calendar_does() {
    let world = World::new().await;
    {
        let mut acme = world.acme.lock();
        (acme.slow, acme.life) = (secs(10), 100);
    }
    let client = world.client();
    world.drive(ok(&client)).await;
    // Stored with a margin of a quarter, as a date.
    let (tokens, _) = world.tokens().load().await.unwrap().unwrap();
    assert_eq!(tokens.expires, Some(world.clock.wall() + secs(75)));
    // The calendar jumps by a year, and the token is as good as before: 49 s of 100 s have passed.
    world.manual.set_wall(world.clock.wall() + secs(31_536_000));
    world.manual.advance(secs(30));
    world.drive(ok(&client)).await;
    assert_eq!((world.token_requests(), world.refused()), (1, 0));
    // At 100 s it has ended and is not even tried.
    world.manual.advance(secs(70));
    world.drive(ok(&client)).await;
    assert_eq!((world.token_requests(), world.refused()), (2, 0));
}

#[tokio::test]
async fn o9_the_margin_of_a_long_life_is_half_a_minute() {
    let world = World::new().await;
    world.drive(ok(&world.client())).await;
    let (tokens, _) = world.tokens().load().await.unwrap().unwrap();
    assert_eq!(tokens.expires, Some(world.clock.wall() + secs(1_770)));
}

#[tokio::test]
async fn a_refresh_token_that_does_not_rotate_stays() {
    let world = World::new().await;
    world.acme.lock().rotates = false;
    let client = world.client();
    for _ in 0..3 {
        world.drive(ok(&client)).await;
        world.manual.advance(secs(1_800));
    }
    assert_eq!((world.token_requests(), world.stored().await.as_str()), (3, "canary-refresh-0"));
}

#[tokio::test]
async fn an_account_that_is_not_connected_says_so() {
    let world = World::unconnected();
    let error = world.drive(get(&world.client())).await.unwrap_err();
    assert!(error.to_string().contains("connect the account"), "{error}");
    assert_eq!((error.kind(), error.recovery()), (ErrorKind::Credential, Recovery::Fatal));

    let mut only_access = Tokens::new("canary-old", "").expires(Timestamp::UNIX_EPOCH);
    only_access.refresh_token = None;
    world.tokens().seed(&only_access).await.unwrap();
    world.manual.advance(secs(4));
    let error = world.drive(get(&world.client())).await.unwrap_err();
    assert!(error.to_string().contains("no refresh token"), "{error}");
    assert_eq!(world.token_requests(), 0);
}

#[tokio::test]
async fn a_life_that_nobody_states_is_assumed() {
    let world = World::new().await;
    world.acme.lock().life = 0;
    let client = world.client_of(World::config().assumed_lifetime(secs(900)));
    // The simulator's token ends at once; what counts here is what was stored.
    let _ = world.drive(get(&client)).await;
    let (tokens, _) = world.tokens().load().await.unwrap().unwrap();
    assert_eq!(tokens.expires, Some(world.clock.wall() + secs(870)));
}
