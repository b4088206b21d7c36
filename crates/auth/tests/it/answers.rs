//! What is sent to the endpoint, and what its answers mean.

use crate::kit::{Next, World, form, get, ok};
use base64::Engine as _;
use martlet_auth::AuthStyle;
use martlet_base::Recovery;
use martlet_testkit::SimReply;
use serde_json::json;

#[tokio::test]
async fn the_request_is_that_of_rfc_6749() {
    let world = World::new().await;
    world.drive(ok(&world.client_of(World::config().scopes(["read", "write"])))).await;
    let request = world.acme.lock().token_requests[0].clone();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/token"));
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    let basic = base64::engine::general_purpose::STANDARD.encode("app-1:canary-client-secret");
    assert_eq!(request.header("authorization"), Some(format!("Basic {basic}").as_str()));
    assert!(request.headers["authorization"].is_sensitive());
    assert!(request.header("user-agent").unwrap().starts_with("martlet/"));
    let mut form: Vec<(String, String)> = form(&request).into_iter().collect();
    form.sort();
    let expected = [
        ("audience", "canary-param"),
        ("grant_type", "refresh_token"),
        ("refresh_token", "canary-refresh-0"),
        ("scope", "read write"),
    ];
    assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test]
async fn id_and_secret_go_into_the_body_when_asked() {
    let world = World::new().await;
    world.drive(ok(&world.client_of(World::config().auth_style(AuthStyle::RequestBody)))).await;
    let request = world.acme.lock().token_requests[0].clone();
    assert_eq!(request.header("authorization"), None);
    let form = form(&request);
    assert_eq!(
        (form["client_id"].as_str(), form["client_secret"].as_str()),
        ("app-1", "canary-client-secret")
    );
}

#[tokio::test]
async fn an_error_of_the_endpoint_says_what_to_do() {
    let error =
        |code: &str| json!({ "error": code, "error_description": "for canary-refresh-0\r\nand more" });
    for (reply, recovery, said) in [
        (SimReply::json(400, &error("invalid_grant")), Recovery::Fatal, "connect the account anew"),
        (SimReply::json(200, &error("invalid_grant")), Recovery::Fatal, "connect the account anew"),
        (
            SimReply::json(400, &json!({ "status": "BAD_REFRESH_TOKEN" })),
            Recovery::Fatal,
            "connect the account anew",
        ),
        (SimReply::json(401, &error("invalid_client")), Recovery::Fatal, "check client id, client secret"),
        (SimReply::status(401), Recovery::Fatal, "check client id, client secret"),
        (SimReply::json(400, &error("unauthorized_client")), Recovery::Fatal, "allow the refresh grant"),
        (SimReply::json(400, &error("invalid_scope")), Recovery::Fatal, "scopes"),
        (SimReply::json(400, &error("invalid_request")), Recovery::Fatal, "check token_url"),
        (SimReply::status(404), Recovery::Fatal, "check token_url"),
        (SimReply::status(302), Recovery::Fatal, "check token_url"),
        (SimReply::status(200), Recovery::Transient, "not the documented JSON"),
        (SimReply::json(200, &json!(["canary-x"])), Recovery::Transient, "not the documented JSON"),
        (SimReply::json(200, &json!({ "access_token": 7 })), Recovery::Transient, "not the documented JSON"),
        (SimReply::json(200, &json!({ "access_token": "" })), Recovery::Transient, "empty"),
        (
            SimReply::json(200, &json!({ "access_token": "canary-x", "token_type": "mac" })),
            Recovery::Transient,
            "bearer",
        ),
        (SimReply::json(200, &json!({ "pad": "x".repeat(1 << 20) })), Recovery::Transient, "1 MiB"),
    ] {
        let world = World::new().await;
        let told =
            format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body[..reply.body.len().min(60)]));
        world.acme.lock().next.push_back(Next::Say(reply));
        let client = world.client_of(World::config().invalid_grant_code("BAD_REFRESH_TOKEN"));
        let error = world.drive(get(&client)).await.unwrap_err();
        assert_eq!(error.recovery(), recovery, "{told}: {error}");
        let text = error.to_string();
        assert!(
            text.contains(said) && text.contains("tokens/acme/main") && !text.contains('\n'),
            "{told}: {text}"
        );
        assert!(text.contains("login.acme.example"), "{told}: {text}");
        assert_eq!(world.token_requests(), 1, "{told}");
    }
}

#[tokio::test]
async fn an_answer_that_bends_the_standard_harmlessly_is_taken() {
    let world = World::new().await;
    let answer =
        json!({ "access_token": "canary-bent", "expires_in": "3600", "refresh_token": "canary-next" });
    let mut reply = SimReply::json(200, &answer);
    reply.headers.insert("content-type", "text/plain".parse().unwrap());
    world.acme.lock().next.push_back(Next::Say(reply));
    // The platform does not know this token; that it was taken shows in the store.
    world.acme.lock().closed = true;
    world.acme.lock().refresh_token = "canary-next".into();
    world.drive(get(&world.client())).await.unwrap_err();
    let second = form(&world.acme.lock().token_requests[1]);
    assert_eq!(second["refresh_token"], "canary-next");
}

#[tokio::test]
async fn a_talkative_endpoint_does_not_drown_the_advice() {
    let world = World::new().await;
    let long = json!({ "error": "invalid_grant".to_owned(), "error_description": "\u{1b}é".repeat(500) });
    world.acme.lock().next.push_back(Next::Say(SimReply::json(400, &long)));
    let text = world.drive(get(&world.client())).await.unwrap_err().to_string();
    assert!(text.contains("connect the account anew") && !text.contains('\u{1b}'), "{text}");
}
