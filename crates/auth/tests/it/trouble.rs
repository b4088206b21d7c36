//! When the endpoint, the store or the account fails: rows O6, O7, O8, O10.

use crate::kit::{Next, World, Write, get, ok, secs};
use martlet_auth::Tokens;
use martlet_base::Recovery;
use martlet_core::ErrorKind;
use martlet_resilience::RetryPolicy;
use martlet_testkit::{SimReply, WireFault};

#[tokio::test]
async fn o6_tokens_that_cannot_be_stored_reach_nobody_and_are_stored_by_the_next_call() {
    for write in [Write::Refused, Write::Lost, Write::AppliedInSecret] {
        let world = World::new().await;
        world.store.writes.lock().unwrap().push_back(write);
        let client = world.client();
        let error = world.drive(get(&client)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credential);
        assert!(error.to_string().contains("not stored"), "{error}");
        assert_eq!(world.acme.lock().served, 0, "{write:?}: it was used");
        assert_eq!(world.refused(), 0, "{write:?}: it was used");

        world.manual.advance(secs(4));
        world.drive(ok(&client)).await;
        assert_eq!(world.stored().await, "canary-refresh-1");
        assert_eq!(world.token_requests(), 1, "{write:?}: the old refresh token was used again");
        // The source goes on as if nothing had been.
        world.manual.advance(secs(1_800));
        world.drive(ok(&client)).await;
        assert_eq!((world.token_requests(), world.revoked()), (2, false));
    }
}

#[tokio::test]
async fn o6_tokens_that_ended_while_they_waited_to_be_stored_are_stored_and_refreshed() {
    let world = World::new().await;
    world.store.writes.lock().unwrap().push_back(Write::Lost);
    let client = world.client();
    world.drive(get(&client)).await.unwrap_err();
    world.manual.advance(secs(2_000));
    world.drive(ok(&client)).await;
    assert_eq!((world.stored().await.as_str(), world.token_requests()), ("canary-refresh-2", 2));
    assert!(!world.acme.lock().revoked);
}

#[tokio::test]
async fn o6_a_lost_answer_is_asked_for_again_and_named_when_that_is_in_vain() {
    // A server that bears it.
    let world = World::new().await;
    world.acme.lock().rotates = false;
    world.acme.lock().next.push_back(Next::LoseAnswer);
    world.drive(ok(&world.client())).await;
    assert_eq!(world.token_requests(), 2);

    // One that takes the repetition for theft.
    let world = World::new().await;
    world.acme.lock().next.push_back(Next::LoseAnswer);
    let error = world.drive(get(&world.client())).await.unwrap_err();
    assert!(error.to_string().contains("an earlier answer was lost"), "{error}");
    assert!(error.to_string().contains("connect the account anew"), "{error}");
    assert_eq!((error.recovery(), world.revoked()), (Recovery::Fatal, true));
}

#[tokio::test]
async fn o7_a_revoked_grant_is_final_and_the_endpoint_is_left_in_peace() {
    let world = World::new().await;
    world.acme.lock().revoked = true;
    let client = world.client();
    for _ in 0..10 {
        let error = world.drive(get(&client)).await.unwrap_err();
        assert_eq!((error.kind(), error.recovery()), (ErrorKind::Credential, Recovery::Fatal));
        assert!(error.to_string().contains("connect the account anew"), "{error}");
        assert!(error.to_string().contains("invalid_grant: \"bad token [secret]\""), "{error}");
        world.manual.advance(secs(5));
    }
    assert_eq!(world.token_requests(), 1);

    // The account is connected anew: at once.
    world.acme.lock().revoked = false;
    world.acme.lock().refresh_token = "canary-refresh-new".into();
    world.tokens().replace(&Tokens::from_refresh_token("canary-refresh-new")).await.unwrap();
    world.drive(ok(&client)).await;
    assert_eq!(world.token_requests(), 2);
}

#[tokio::test]
async fn o7_a_grant_that_is_repaired_at_the_platform_recovers_within_a_minute() {
    let world = World::new().await;
    world.acme.lock().revoked = true;
    let client = world.client();
    // Ten minutes of a call each 5 s.
    for _ in 0..120 {
        world.drive(get(&client)).await.unwrap_err();
        world.manual.advance(secs(5));
    }
    assert_eq!(world.token_requests(), 10);
    world.acme.lock().revoked = false;
    world.manual.advance(secs(60));
    world.drive(ok(&client)).await;
}

#[tokio::test]
async fn o7_a_refresh_token_that_somebody_else_rotated_meanwhile_is_used() {
    // With an access token beside it there is nothing left to ask for; a refresh token alone is exchanged.
    for with_access in [true, false] {
        let world = World::new().await;
        let client = world.client();
        {
            // Another program, which knows nothing of leases, has rotated it and stores that while we are being refused.
            let mut acme = world.acme.lock();
            acme.slow = secs(5);
            acme.refresh_token = "canary-other".into();
            acme.grant("canary-theirs", world.clock.now() + secs(600));
        }
        let other = async {
            world.clock.sleep(secs(1)).await;
            let tokens = if with_access {
                Tokens::new("canary-theirs", "canary-other").expires(world.clock.wall() + secs(590))
            } else {
                Tokens::from_refresh_token("canary-other")
            };
            world.tokens().replace(&tokens).await.unwrap();
        };
        world.drive(async { tokio::join!(ok(&client), other) }).await;
        let (requests, stored) = if with_access { (1, "canary-other") } else { (2, "canary-refresh-1") };
        assert_eq!((world.token_requests(), world.stored().await.as_str()), (requests, stored));
        assert_eq!(world.acme.lock().refused, 0);
    }
}

#[tokio::test]
async fn o7_tokens_that_somebody_stored_during_a_refresh_win() {
    let world = World::new().await;
    world.acme.lock().slow = secs(5);
    let client = world.client();
    let error = world
        .drive(async {
            let other = async {
                world.clock.sleep(secs(1)).await;
                world.tokens().replace(&Tokens::from_refresh_token("canary-connected-anew")).await.unwrap();
            };
            tokio::join!(get(&client), other).0
        })
        .await
        .unwrap_err();
    assert!(error.to_string().contains("changed while they were refreshed"), "{error}");
    assert_eq!(world.stored().await, "canary-connected-anew");
}

#[tokio::test]
async fn o8_failures_that_pass_are_retried_within_the_refresh() {
    let reply = |status| SimReply::status(status);
    let busy = SimReply::json(400, &serde_json::json!({ "error": "temporarily_unavailable" }));
    for (next, at_least) in [
        (reply(503), 0.7),
        (reply(429).header("retry-after", 7), 7.0),
        (reply(200).fault(WireFault::Reset), 0.7),
        (reply(200).fault(WireFault::Stall), 30.7),
        (busy, 0.7),
    ] {
        let world = World::new().await;
        let told = format!("{next:?}");
        world.acme.lock().next.push_back(Next::Say(next));
        world.drive(ok(&world.client())).await;
        assert_eq!(world.token_requests(), 2, "{told}");
        let took = world.clock.now().since(martlet_base::Moment::ZERO).as_secs_f64();
        assert!(took > at_least && took < at_least + 2.0, "{told}: {took}");
    }
}

#[tokio::test]
async fn o8_a_slow_endpoint_gets_the_time_it_was_promised() {
    let world = World::new().await;
    world.acme.lock().slow = secs(29);
    world.drive(ok(&world.client())).await;
    assert_eq!(world.token_requests(), 1);
}

#[tokio::test]
async fn o8_an_endpoint_that_stays_down_is_a_failure_that_passes() {
    let world = World::new().await;
    for _ in 0..4 {
        world.acme.lock().next.push_back(Next::Say(SimReply::status(502)));
    }
    let client = world.client();
    let error = world.drive(get(&client)).await.unwrap_err();
    assert_eq!((error.kind(), error.recovery()), (ErrorKind::Credential, Recovery::Transient));
    assert_eq!(world.token_requests(), 4);
    world.manual.advance(secs(4));
    world.drive(ok(&client)).await;

    // A client with retries of its own does not multiply them.
    let world = World::new().await;
    for _ in 0..8 {
        world.acme.lock().next.push_back(Next::Say(SimReply::status(502)));
    }
    let client = world.builder(World::config()).retry(RetryPolicy::seed()).build().unwrap();
    world.drive(get(&client)).await.unwrap_err();
    assert_eq!(world.token_requests(), 4);
}

#[tokio::test]
async fn o8_a_lease_lasts_through_the_pauses_between_retries() {
    let world = World::new().await;
    for _ in 0..3 {
        world.acme.lock().next.push_back(Next::Say(SimReply::status(503).after(secs(25))));
    }
    // Some 120 s in all, far longer than one lease.
    let (a, b) = (world.client(), world.client());
    world.drive(async { tokio::join!(ok(&a), ok(&b)) }).await;
    assert_eq!(world.token_requests(), 4);
    assert!(!world.acme.lock().revoked);
}

#[tokio::test]
async fn o10_no_secret_is_signalled() {
    let world = World::new().await;
    let client = world.client();
    world.drive(ok(&client)).await;
    world.acme.lock().revoked = true;
    world.acme.lock().revoke_access();
    world.drive(get(&client)).await.unwrap_err();
    let heard = world.heard.0.lock().unwrap();
    assert!(heard.contains("things.list") && !heard.contains("canary"), "{heard}");
    assert!(!format!("{client:?}").contains("canary"));
}
