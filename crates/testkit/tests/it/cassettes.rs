//! Cassettes over real sockets: what is recorded, what must not be, and what is told of a difference.

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, HeaderValue, Method, header};
use martlet_base::{Clock, Delivery, ManualClock};
use martlet_core::{SendContext, Transport, TransportError, TransportErrorKind, WireRequest};
use martlet_reqwest::ReqwestTransport;
use martlet_testkit::{
    Cassette, CassetteBuilder, CassetteError, CassetteMode, CassetteTransport, SimReply, SimRequest,
    SimServer, SimTime, SimTransport, Simulator, WireFault,
};
use serde_json::{Value, json};
use std::error::Error as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ACCESS: &str = "c4n4ry-access-7d21f";
const REFRESH: &str = "c4n4ry/refresh+9 a\"b";
const SESSION: &str = "c4n4ry-session-33";
const CLIENT: &str = "c4n4ry-client-secret";
const BASIC: &str = "c4n4ry-password";
const SIGNED: &str = "c4n4ry%2Fsigned%3D";
const CANARY: &str = "c4n4ry";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A platform that has secrets everywhere; `things` is what it answers to `/things`.
#[derive(Debug)]
struct Vault {
    things: Mutex<Value>,
}

impl Vault {
    fn new() -> Arc<Self> {
        Arc::new(Self { things: Mutex::new(things()) })
    }
}

fn things() -> Value {
    json!({
        "things": [
            { "id": 1, "name": "one", "status": "ACTIVE", "score": 1.5, "note": null, "tags": ["a"] },
            { "id": 2, "name": "two", "status": "DONE", "score": 2.0, "note": null, "tags": [], "extra": true },
        ],
        "next_page_token": "page-2",
    })
}

impl Simulator for Vault {
    fn name(&self) -> &'static str {
        "vault"
    }

    fn handle(&self, request: &SimRequest, _now: SimTime) -> SimReply {
        let raw = |body: Vec<u8>, kind: &'static str| {
            let mut reply = SimReply::status(200).header("content-type", kind);
            reply.body = body.into();
            reply
        };
        match request.segments().iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["things"] => SimReply::json(200, &*self.things.lock().unwrap()).header("x-kept", "yes"),
            ["things", id] => SimReply::json(404, &json!({ "message": format!("no thing {id}") })),
            ["oauth", "token"] => SimReply::json(
                200,
                &json!({
                    "access_token": ACCESS, "refresh_token": REFRESH, "token_type": "bearer", "expires_in": 1800,
                    "account": { "ApiKey": ACCESS, "password": 123_456, "tokens_left": 5 },
                    "download": format!("https://files.example/a?part=1&X-Amz-Signature={SIGNED}"),
                    "inner": json!({ "client_secret": CLIENT }).to_string(),
                }),
            )
            .header("set-cookie", format!("session={SESSION}; Path=/")),
            ["echo", "text"] => raw(format!("your key is {}", request.param("q").unwrap()).into(), "text/plain"),
            ["echo", "base64"] => {
                use base64::Engine as _;
                let text = format!("me:{}", request.param("q").unwrap());
                SimReply::json(400, &json!({ "seen": base64::engine::general_purpose::STANDARD.encode(text) }))
            }
            ["echo", "header"] => SimReply::status(200).header("x-seen", request.param("q").unwrap()),
            ["echo", "gzip"] => raw(gzip(format!("\0\u{1}{}", request.param("q").unwrap()).as_bytes()), "application/gzip"),
            ["gzip"] => raw(gzip(&serde_json::to_vec(&things()).unwrap()), "application/json")
                .header("content-encoding", "gzip"),
            ["archive"] => raw(gzip(b"a tar, say"), "application/gzip"),
            ["binary"] => raw((0..=255).collect(), "application/octet-stream"),
            ["lines"] => raw(format!("{{\"a\":1}}\n{{\"token\":\"{ACCESS}\"}}\n").into(), "application/x-ndjson"),
            ["large"] => raw((0..3 << 20).map(|n: u32| (n % 251) as u8).collect(), "application/octet-stream"),
            ["reset"] => SimReply::status(200).fault(WireFault::Reset),
            ["stall"] => SimReply::status(200).fault(WireFault::Stall),
            ["truncate"] => raw(b"0123456789".to_vec(), "text/plain").fault(WireFault::Truncate(4)),
            _ => SimReply::json(200, &json!({ "people": [{ "email": "zoe@firm.fr" }, { "email": "a@example.com" }] })),
        }
    }
}

struct World {
    server: SimServer,
    vault: Arc<Vault>,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let vault = Vault::new();
        let addr = "127.0.0.1:0".parse().unwrap();
        let server = SimServer::start(vault.clone(), addr, Clock::system(), None).await.unwrap();
        Self { server, vault, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("nested/vault.json")
    }

    fn builder(&self, mode: CassetteMode) -> CassetteBuilder {
        CassetteTransport::builder(self.path()).mode(mode).through(ReqwestTransport::new().unwrap())
    }

    fn open(&self, mode: CassetteMode) -> CassetteTransport {
        self.builder(mode).open().unwrap()
    }

    fn get(&self, path: &str) -> WireRequest {
        request(Method::GET, &format!("{}{path}", self.server.url()), "")
    }

    fn post(&self, path: &str, kind: &'static str, body: &str) -> WireRequest {
        let mut request = request(Method::POST, &format!("{}{path}", self.server.url()), body);
        request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        request
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }

    /// Records these requests, and finishes.
    async fn record(&self, requests: &[WireRequest]) -> Vec<Answer> {
        let cassette = self.open(CassetteMode::Record);
        let mut answers = Vec::new();
        for request in requests {
            answers.push(send(&cassette, request.clone()).await);
        }
        cassette.finish().unwrap();
        answers
    }
}

fn request(method: Method, url: &str, body: &str) -> WireRequest {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("martlet/1"));
    WireRequest::new(method, url.parse().unwrap(), headers, Bytes::from(body.to_owned()))
}

/// An answer, or what went wrong and how much of the body was there.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    kind: Option<String>,
    body: Vec<u8>,
    failure: Option<(TransportErrorKind, Delivery)>,
}

async fn send(transport: &impl Transport, request: WireRequest) -> Answer {
    let cx = SendContext::new("vault", "things.any", Duration::from_secs(5));
    let response = match transport.send(request, &cx).await {
        Ok(response) => response,
        Err(e) => {
            return Answer {
                status: 0,
                kind: None,
                body: Vec::new(),
                failure: Some((e.kind(), e.delivery())),
            };
        }
    };
    let kind = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned());
    let (status, mut stream, mut body) = (response.status().as_u16(), response.into_body(), Vec::new());
    loop {
        match stream.try_next().await {
            Ok(Some(chunk)) => body.extend(chunk),
            Ok(None) => return Answer { status, kind, body, failure: None },
            Err(e) => return Answer { status, kind, body, failure: Some((e.kind(), e.delivery())) },
        }
    }
}

/// An error that has to come, with its sources.
async fn refused(transport: &impl Transport, request: WireRequest) -> (TransportError, String) {
    let cx = SendContext::new("vault", "things.any", Duration::from_secs(5));
    let error = transport.send(request, &cx).await.unwrap_err();
    let source = error.source().unwrap().to_string();
    (error, source)
}

#[tokio::test]
async fn what_was_recorded_is_played_without_the_server() {
    let world = World::new().await;
    let requests = [
        world.get("/things?limit=2"),
        world.get("/things/7"),
        world.post("/things", "application/json", r#"{"b":1,"a":[2]}"#),
        world.get("/gzip"),
        world.get("/archive"),
        world.get("/binary"),
        world.get("/large"),
        world.get("/reset"),
        world.get("/truncate"),
    ];
    let live = world.record(&requests).await;
    assert_eq!((live[6].body.len(), live[7].failure.unwrap().1), (3 << 20, Delivery::Unknown));
    assert_eq!(
        (&live[8].body[..], live[8].failure.unwrap().0),
        (&b"0123"[..], TransportErrorKind::Interrupted)
    );
    let World { server, folder, .. } = world;
    server.shutdown().await;

    let cassette = CassetteTransport::builder(folder.path().join("nested/vault.json")).open().unwrap();
    for (request, live) in requests.into_iter().zip(&live) {
        let played = send(&cassette, request).await;
        match (serde_json::from_slice::<Value>(&played.body), serde_json::from_slice::<Value>(&live.body)) {
            (Ok(played), Ok(live)) => assert_eq!(played, live),
            // The same content, compressed by another.
            _ if played.body.starts_with(&[0x1f, 0x8b]) => {}
            _ => assert_eq!(&played, live),
        }
        assert_eq!((played.status, &played.kind, played.failure), (live.status, &live.kind, live.failure));
    }
    assert!(cassette.finish().unwrap().is_empty());
}

#[tokio::test]
async fn a_large_body_is_a_stream_again_and_a_compressed_one_compressed() {
    let world = World::new().await;
    world.record(&[world.get("/large"), world.get("/gzip")]).await;
    assert!(world.text().contains("\"gzip\": {\n"), "readable, though it was compressed on the wire");
    let cassette = world.open(CassetteMode::Replay);
    let cx = SendContext::new("vault", "things.any", Duration::from_secs(5));
    let response = cassette.send(world.get("/large"), &cx).await.unwrap();
    assert!(response.into_body().count().await > 10);
    let response = cassette.send(world.get("/gzip"), &cx).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let body: Vec<Bytes> = response.into_body().try_collect().await.unwrap();
    let mut inflated = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&body.concat()[..]), &mut inflated)
        .unwrap();
    assert_eq!(serde_json::from_str::<Value>(&inflated).unwrap(), things());
}

#[tokio::test]
async fn two_recordings_of_the_same_are_the_same_file_and_noise_is_not_in_it() {
    let world = World::new().await;
    let requests = [world.get("/things?limit=2"), world.get("/binary"), world.get("/reset")];
    world.record(&requests).await;
    let first = world.text();
    world.record(&requests).await;
    assert_eq!(world.text(), first);
    for noise in ["user-agent", "content-length", "\"host\""] {
        assert!(!first.contains(noise), "{noise}");
    }
    assert!(first.contains("x-kept") && first.ends_with("}\n"));
    assert_eq!(
        std::fs::read_dir(world.path().parent().unwrap()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

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
    assert!(text.contains("MARTLET_CASSETTES=record cargo test cassettes::what_is_left"), "{text}");
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

#[tokio::test]
async fn drift_of_the_real_server_is_found() {
    let world = World::new().await;
    world.record(&[world.get("/things"), world.get("/things/7")]).await;
    let before = world.text();
    let verify = async |change: &dyn Fn(&mut Value)| {
        let mut changed = things();
        change(&mut changed);
        *world.vault.things.lock().unwrap() = changed;
        let cassette = world.open(CassetteMode::Verify);
        send(&cassette, world.get("/things")).await;
        send(&cassette, world.get("/things/7")).await;
        match cassette.finish() {
            Ok(drift) => (Vec::new(), drift.notices().to_vec()),
            Err(CassetteError::Drift(drift)) => (drift.breaking().to_vec(), drift.notices().to_vec()),
            Err(other) => panic!("{other}"),
        }
    };
    let place = "things.any, 200: $";
    let nothing: (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    assert_eq!(verify(&|_| ()).await, nothing);
    // Other values, and a member that was not always there.
    let values = verify(&|v| {
        v["things"][0]["name"] = "other".into();
        v["things"][1].as_object_mut().unwrap().remove("extra");
        v["things"][1]["score"] = 7.into();
    });
    assert_eq!(values.await, nothing);
    let gone = verify(&|v| drop(v["things"][1].as_object_mut().unwrap().remove("name")));
    assert_eq!(gone.await.0, [format!("{place}.things[].name is missing in 1 of 2")]);
    let retyped = verify(&|v| v["things"][0]["id"] = "1".into());
    assert_eq!(retyped.await.0, [format!("{place}.things[].id was an integer and is a string")]);
    let nulled = verify(&|v| v["next_page_token"] = Value::Null);
    assert_eq!(nulled.await.0, [format!("{place}.next_page_token was a string and is null")]);
    let filled = verify(&|v| v["things"][0]["note"] = "a".into());
    assert_eq!(filled.await, (vec![], vec![format!("{place}.things[].note was null and is a string")]));
    let added = verify(&|v| v["total"] = 2.into());
    assert_eq!(added.await, (vec![], vec![format!("{place}.total is new: an integer")]));
    let word = verify(&|v| v["things"][0]["status"] = "PAUSED".into());
    assert_eq!(word.await, (vec![], vec![format!("{place}.things[].status has a new word: \"PAUSED\"")]));
    assert_eq!(world.text(), before, "a verification writes nothing");

    // Another status, another kind of body, other requests.
    let cassette = world.open(CassetteMode::Verify);
    let mut other = world.get("/binary");
    send(&cassette, other.clone()).await;
    other.url.set_path("/things/7");
    other.method = Method::DELETE;
    send(&cassette, other).await;
    let drift = cassette.finish().unwrap();
    assert_eq!(drift.notices().len(), 4, "{drift}");
    assert!(drift.to_string().contains("notice: GET") && drift.to_string().contains("/binary"), "{drift}");
}

#[tokio::test]
async fn another_status_and_another_kind_of_body_are_drift() {
    let world = World::new().await;
    let recorded = world.folder.path().join("recorded.json");
    world.record(&[world.get("/things/7"), world.get("/things")]).await;
    let text = world.text().replace("\"status\": 404", "\"status\": 400");
    std::fs::write(&recorded, &text).unwrap();
    let (recorded, fresh) = (Cassette::load(&recorded).unwrap(), Cassette::load(world.path()).unwrap());
    let drift = recorded.check_drift(&fresh);
    assert_eq!(drift.breaking().len(), 1, "{drift}");
    assert!(drift.breaking()[0].ends_with("recorded status 400, now status 404"), "{drift}");
    assert!(fresh.check_drift(&fresh).is_empty());

    let mut tape: Value = serde_json::from_str(&world.text()).unwrap();
    tape["interactions"][1]["response"]["body"] = json!({ "text": "<html>" });
    std::fs::write(world.path(), tape.to_string()).unwrap();
    let drift = fresh.check_drift(&Cassette::load(world.path()).unwrap());
    assert!(drift.breaking()[0].ends_with("the body was JSON and is a text"), "{drift}");
}

#[tokio::test]
async fn an_exchange_that_nobody_waited_for_hangs_again() {
    let world = World::new().await;
    let cassette = world.open(CassetteMode::Record);
    let cx = SendContext::new("vault", "things.any", Duration::from_secs(5));
    let clock = Clock::system();
    tokio::select! {
        _ = cassette.send(world.get("/stall"), &cx) => panic!("it stalls"),
        () = clock.sleep(Duration::from_millis(50)) => {}
    }
    // The head, and the beginning of a large body.
    let response = cassette.send(world.get("/large"), &cx).await.unwrap();
    let first = response.into_body().next().await.unwrap().unwrap();
    cassette.finish().unwrap();

    let cassette = world.open(CassetteMode::Replay);
    assert!(cassette.send(world.get("/stall"), &cx).now_or_never().is_none());
    let mut body = cassette.send(world.get("/large"), &cx).await.unwrap().into_body();
    let mut read = 0;
    while let Some(Some(chunk)) = body.next().now_or_never() {
        read += chunk.unwrap().len();
    }
    assert_eq!(read, first.len(), "so much was read, and the rest is not claimed to be empty");
    cassette.finish().unwrap();
}

#[tokio::test]
async fn requests_at_once_each_find_their_own_answer() {
    let world = World::new().await;
    let requests: Vec<_> = (0..20).map(|n| world.get(&format!("/things/{n}"))).collect();
    let cassette = world.open(CassetteMode::Record);
    futures_util::future::join_all(requests.iter().map(|r| send(&cassette, r.clone()))).await;
    cassette.finish().unwrap();
    let cassette = world.open(CassetteMode::Replay);
    let mut numbered: Vec<_> = requests.into_iter().enumerate().collect();
    numbered.reverse();
    for (n, request) in numbered {
        let body = send(&cassette, request).await.body;
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["message"], format!("no thing {n}"));
    }
    cassette.finish().unwrap();
}

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
