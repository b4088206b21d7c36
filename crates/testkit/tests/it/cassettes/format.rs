//! The file.

use super::*;

fn golden() -> &'static Path {
    Path::new("tests/golden/cassette-v1.json")
}

/// What the golden file was made from: a body of each kind, each kind of end.
async fn golden_exchanges(cassette: &CassetteTransport, manual: &ManualClock) -> Vec<Answer> {
    let get = |path: &str| request(Method::GET, &format!("https://api.vault.example{path}"), "");
    let mut form = request(
        Method::POST,
        "https://api.vault.example/oauth/token",
        "grant_type=refresh_token&refresh_token=x",
    );
    form.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let paths = [
        "/things?limit=2&after=a%20b",
        "/things/7",
        "/gzip",
        "/binary",
        "/echo/text?q=hi",
        "/reset",
        "/truncate",
    ];
    let mut answers = Vec::new();
    for request in paths.iter().map(|path| get(path)).chain([form]) {
        answers.push(manual.drive(send(cassette, request)).await);
    }
    let cx = SendContext::new("vault", "things.any", Duration::from_secs(5));
    assert!(cassette.send(get("/stall"), &cx).now_or_never().is_none());
    answers
}

#[tokio::test]
async fn the_format_of_the_file_is_the_one_of_version_1() {
    let manual = ManualClock::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.json");
    let builder = CassetteTransport::builder(&path).mode(CassetteMode::Record);
    let recording = builder.through(SimTransport::new(Vault::new(), manual.clock())).open().unwrap();
    let live = golden_exchanges(&recording, &manual).await;
    recording.finish().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    if std::env::var_os("MARTLET_GOLDEN").is_some() {
        std::fs::write(golden(), &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(golden()).unwrap(), "a new format needs a new version");

    let played = CassetteTransport::builder(golden()).open().unwrap();
    let answers = golden_exchanges(&played, &manual).await;
    assert_eq!(answers.len(), live.len());
    assert_eq!(answers[3..7], live[3..7], "binary, text and failures are exact");
    played.finish().unwrap();
}

#[test]
fn a_file_that_is_no_cassette_of_ours_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.json");
    let load = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Cassette::load(&path).unwrap_err()
    };
    for text in ["", "{}", "[]", r#"{"version": "1.0", "interactions": []}"#, r#"{"martlet_cassette": 1}"#] {
        assert!(matches!(load(text), CassetteError::Format { .. }), "{text}");
    }
    let newer = load(r#"{"martlet_cassette": 2, "interactions": [], "what": "ever"}"#);
    assert!(matches!(newer, CassetteError::Version { found: 2, known: 1, .. }), "{newer}");
    // A typing error in an edited file does not vanish.
    let misspelt = load(
        r#"{"martlet_cassette": 1, "interactions": [{"operation":"a.b","request":{"method":"GET","url":"/"},"respnse":{}}]}"#,
    );
    assert!(misspelt.to_string().contains("respnse"), "{misspelt}");
}

#[tokio::test]
async fn a_file_that_was_edited_badly_fails_the_call_and_not_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.json");
    let with = |response: Value| {
        let interaction = json!({
            "operation": "a.b", "request": { "method": "GET", "url": "https://a.example/" }, "response": response,
        });
        std::fs::write(&path, json!({ "martlet_cassette": 1, "interactions": [interaction] }).to_string())
            .unwrap();
        CassetteTransport::builder(&path).open().unwrap()
    };
    for response in [
        json!({ "status": 7 }),
        json!({ "status": 200, "body": { "base64": ["%%%"] } }),
        json!({ "status": 200, "headers": { "bad name": "x" } }),
        json!({ "status": 200, "headers": { "x": "a\nb" } }),
    ] {
        let cassette = with(response.clone());
        let answer = send(&cassette, request(Method::GET, "https://a.example/", "")).await;
        assert_eq!(answer.failure.unwrap().0, TransportErrorKind::Protocol, "{response}");
    }
}

#[test]
fn its_debug_shows_no_exchange() {
    let builder = CassetteTransport::builder("x.json").secret(CANARY);
    assert!(!format!("{builder:?}").contains(CANARY));
}
