//! Requests that are not those of the recording.

use super::*;

#[tokio::test]
async fn a_request_that_was_not_recorded_is_told_with_its_differences() {
    let world = World::new().await;
    let json = "application/json";
    let body = r#"{"filter":{"email":"a","limit":1}}"#;
    world.record(&[world.get("/things?limit=2&after=1"), world.post("/things", json, body)]).await;
    let cassette = world.open(CassetteMode::Replay);

    let (error, source) = refused(&cassette, world.get("/things?after=1&limit=3")).await;
    assert_eq!((error.kind(), error.delivery()), (TransportErrorKind::InvalidRequest, Delivery::NotSent));
    assert!(source.contains(r#"query.limit[0]: recorded "2", sent "3""#), "{source}");
    assert!(source.contains("number 1") && !source.contains("query.after"), "{source}");
    let (_, source) =
        refused(&cassette, world.post("/things", json, r#"{"filter":{"limit":2,"e":1}}"#)).await;
    for line in [
        "body.json.filter.e: not recorded, sent 1",
        r#"body.json.filter.email: recorded "a", not sent"#,
        "body.json.filter.limit: recorded 1, sent 2",
    ] {
        assert!(source.contains(line), "{line}: {source}");
    }
    let (_, source) = refused(&cassette, world.get("/others")).await;
    assert!(source.contains(r#"path: recorded "/things", sent "/others""#), "{source}");
    let mut typed = world.get("/things?limit=2&after=1");
    typed.headers.insert("x-version", HeaderValue::from_static("2"));
    let (_, source) = refused(&cassette, typed).await;
    assert!(source.contains(r#"headers.x-version: not recorded, sent "2""#), "{source}");

    // JSON by value, the query in any order.
    let same = r#"{ "filter": { "limit": 1, "email": "a" } }"#;
    assert_eq!(send(&cassette, world.post("/things", json, same)).await.status, 200);
    assert_eq!(send(&cassette, world.get("/things?after=1&limit=2")).await.status, 200);
    let (_, source) = refused(&cassette, world.get("/things?after=1&limit=2")).await;
    assert!(source.contains("it was recorded 1 times and is sent once more"), "{source}");
    let error = cassette.finish().unwrap_err();
    assert!(
        matches!(error, CassetteError::Unexpected { .. }),
        "also for a program that swallowed them: {error}"
    );
}

#[tokio::test]
async fn what_is_left_and_what_is_missing_is_told() {
    let world = World::new().await;
    let missing = world.builder(CassetteMode::Replay).open().unwrap_err();
    assert!(matches!(missing, CassetteError::Missing { .. }));
    let text = missing.to_string();
    assert!(
        text.contains("MARTLET_CASSETTES=record cargo test cassettes::differences::what_is_left"),
        "{text}"
    );
    assert!(!world.path().exists(), "a replay never records");

    world.record(&[world.get("/things"), world.get("/things"), world.get("/binary")]).await;
    let cassette = world.open(CassetteMode::Replay);
    send(&cassette, world.get("/things")).await;
    let error = cassette.finish().unwrap_err();
    assert!(matches!(error, CassetteError::NotPlayed { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("number 2: GET") && text.contains("number 3") && !text.contains("number 1"),
        "{text}"
    );

    let error = CassetteTransport::builder("x.json").mode(CassetteMode::Record).open().unwrap_err();
    assert!(matches!(error, CassetteError::NoTransport));
}

#[tokio::test]
async fn what_changes_by_itself_is_left_out_where_the_test_says_so() {
    let world = World::new().await;
    let json = "application/json";
    let rules =
        |builder: CassetteBuilder| builder.ignore("at").ignore("X-Nonce").ignore_host().open().unwrap();
    let sent = |n: u32| {
        let body = json!({ "items": [{ "at": n, "id": 1 }] }).to_string();
        let mut request = world.post(&format!("/things?at={n}&limit=1"), json, &body);
        request.headers.insert("x-nonce", HeaderValue::from(n));
        request
    };
    let multipart = |boundary: &str| {
        let body = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n1\r\n--{boundary}--\r\n"
        );
        let mut request = world.post("/things", "text/plain", &body);
        let kind = HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}")).unwrap();
        request.headers.insert(header::CONTENT_TYPE, kind);
        request
    };
    let cassette = rules(world.builder(CassetteMode::Record));
    send(&cassette, sent(1)).await;
    send(&cassette, multipart("abc123")).await;
    cassette.finish().unwrap();
    assert!(!world.text().contains("127.0.0.1") && !world.text().contains("abc123"));

    let cassette = rules(world.builder(CassetteMode::Replay));
    let mut elsewhere = sent(2);
    elsewhere.url.set_port(Some(1)).unwrap();
    assert_eq!(send(&cassette, elsewhere).await.failure, None);
    assert_eq!(send(&cassette, multipart("another-one")).await.failure, None);
    cassette.finish().unwrap();

    let strict = world.builder(CassetteMode::Replay).ignore_host().open().unwrap();
    assert!(refused(&strict, sent(2)).await.1.contains("query.at"));
}
