//! Cassettes over real sockets: what is recorded, what must not be, and what is told of a difference.

mod differences;
mod drift;
mod format;
mod playing;
mod secrets;

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
