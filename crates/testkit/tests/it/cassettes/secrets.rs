//! What must not get into a cassette.

use super::*;

/// Requests with a secret wherever one is known to travel.
fn secret_requests(world: &World) -> Vec<WireRequest> {
    use base64::Engine as _;
    let mut bearer = world.get(&format!("/people?api_key={ACCESS}&sig={SIGNED}"));
    let mut value = HeaderValue::try_from(format!("Bearer {ACCESS}")).unwrap();
    value.set_sensitive(true);
    bearer.headers.insert(header::AUTHORIZATION, value);
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("user:{BASIC}"));
    let mut unmarked = world.get("/people");
    for (name, text) in [
        ("authorization", format!("Basic {basic}")),
        ("cookie", format!("session={SESSION}")),
        ("x-api-key", ACCESS.to_owned()),
        ("x-signature", format!("sha256={CLIENT}")),
        ("x-forwarded-authorization", format!("Bearer {ACCESS}")),
    ] {
        unmarked.headers.insert(name, HeaderValue::try_from(text).unwrap());
    }
    let mut marked = world.get("/people");
    let mut value = HeaderValue::from_static(CLIENT);
    value.set_sensitive(true);
    marked.headers.insert("x-nothing-tells", value);
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("grant_type", "refresh_token"), ("refresh_token", REFRESH), ("code", SESSION)])
        .append_pair("client_secret", CLIENT)
        .finish();
    vec![
        bearer,
        unmarked,
        marked,
        world.post("/oauth/token", "application/x-www-form-urlencoded", &form),
        world.post(
            "/people",
            "application/json",
            &json!({ "deep": [{ "webhook_secret": CLIENT }] }).to_string(),
        ),
        world.post(
            "/people",
            "application/json",
            &json!({ "log": format!("Bearer {ACCESS} was sent") }).to_string(),
        ),
        world.get("/lines"),
    ]
}

#[tokio::test]
async fn no_secret_gets_into_a_cassette() {
    let world = World::new().await;
    let answers = world.record(&secret_requests(&world)).await;
    assert!(String::from_utf8_lossy(&answers[3].body).contains(ACCESS), "the program sees the real one");
    let text = world.text();
    for (at, line) in text.lines().enumerate() {
        assert!(!line.contains(CANARY), "line {}: {line}", at + 1);
    }
    // c4n4ry in base64, at each of three places.
    for disguise in ["YzRuNHJ5", "M0bjRyeS", "jNG40cn"] {
        assert!(!text.contains(disguise), "{disguise}");
    }
    for kept in [
        "\"token_type\": \"bearer\"",
        "\"expires_in\": 1800",
        "\"password\": 0",
        "\"tokens_left\": 5",
        "part=1",
        "refresh_token",
        "grant_type",
    ] {
        assert!(text.contains(kept), "{kept}");
    }
}

#[tokio::test]
async fn what_was_redacted_is_matched_by_requests_with_other_secrets() {
    let world = World::new().await;
    world.record(&secret_requests(&world)).await;
    let cassette = world.open(CassetteMode::Replay);
    for mut request in secret_requests(&world) {
        for value in request.headers.values_mut().filter(|value| value.is_sensitive()) {
            *value = HeaderValue::from_static("Bearer a-token-of-ci");
            value.set_sensitive(true);
        }
        assert_eq!(send(&cassette, request).await.failure, None);
    }
    cassette.finish().unwrap();
}

/// A secret that the platform repeats where nothing tells that it is one: nothing is written, the file that was there stays.
#[tokio::test]
async fn a_secret_in_an_unknown_place_refuses_the_whole_cassette() {
    let world = World::new().await;
    world.record(&[world.get("/things")]).await;
    let before = world.text();
    let secret = "s3cr3t+with/everything";
    let query = "s3cr3t%2Bwith%2Feverything";
    for (path, part) in [
        (format!("/echo/text?password={query}&q={query}"), "the URL"),
        (format!("/echo/text?q={query}"), "the URL"),
        (format!("/things/{query}"), "the URL"),
    ] {
        let cassette = world.builder(CassetteMode::Record).secret(secret).open().unwrap();
        send(&cassette, world.get(&path)).await;
        let error = cassette.finish().unwrap_err();
        assert!(matches!(error, CassetteError::Secret { .. }), "{path}: {error:?}");
        let text = format!("{error} {error:?}");
        assert!(
            text.contains(&format!("a secret in {part} of interaction 1 (things.any)")),
            "{path}: {text}"
        );
        assert!(!text.contains("s3cr3t"), "{text}");
    }
    // What is redacted in one place is remembered, and found in all others, in disguise too.
    for (kind, part) in [
        ("text", "the body of the answer"),
        ("base64", "the body of the answer"),
        ("header", "the headers of the answer"),
        ("gzip", "the body of the answer"),
    ] {
        let builder = world.builder(CassetteMode::Record).redact("q");
        let cassette = builder.open().unwrap();
        send(&cassette, world.get(&format!("/echo/{kind}?q={query}"))).await;
        let error = cassette.finish().unwrap_err().to_string();
        assert!(error.contains(&format!("a secret in {part} of interaction 1")), "{kind}: {error}");
    }
    assert_eq!(world.text(), before);
    assert_eq!(
        std::fs::read_dir(world.path().parent().unwrap()).unwrap().count(),
        1,
        "no partial file is left"
    );
}

#[tokio::test]
async fn addresses_and_what_the_program_names_are_replaced() {
    let world = World::new().await;
    let builder = world.builder(CassetteMode::Record).redact_emails();
    let builder = builder.redact_with(|text| text.contains("order-").then(|| text.replace("order-", "o-")));
    let cassette = builder.keep("api_key").open().unwrap();
    send(&cassette, world.get("/people/zoe%40firm.fr?order=order-7&api_key=public")).await;
    send(&cassette, world.get("/archive")).await;
    cassette.finish().unwrap();
    let text = world.text();
    assert!(!text.contains("firm.fr") && text.contains("redacted@example.invalid"), "{text}");
    assert!(
        text.contains("a@example.com") && text.contains("order=o-7") && text.contains("api_key=public"),
        "{text}"
    );

    // In an archive an address cannot be replaced.
    let cassette = world.builder(CassetteMode::Record).redact_emails().open().unwrap();
    send(&cassette, world.get("/echo/gzip?q=by%20zoe@firm.fr")).await;
    let error = cassette.finish().unwrap_err().to_string();
    assert!(error.contains("an e-mail address in a compressed body of interaction 1"), "{error}");
}
