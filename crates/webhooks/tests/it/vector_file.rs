//! Signature cases from files: `MARTLET_WEBHOOK_VECTORS`, else the shared file beside the workspace or where
//! `MARTLET_SHARED` points; and always `tests/vectors.json`, which holds what this crate and the providers' SDKs made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use martlet_base::Timestamp;
use martlet_webhooks::{
    Credential, Incoming, KeyRing, Provider, PublicUrl, Scheme, Verifier, VerifyError, providers,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::round_trip::{Case, NOW, cases};
use crate::support::say;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Vector {
    pub(crate) id: String,
    pub(crate) provider: String,
    scheme: String,
    kind: String,
    secret: String,
    headers: BTreeMap<String, String>,
    method: String,
    url: String,
    body_base64: String,
    timestamp: i64,
    valid: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expect: Option<Value>,
    #[serde(default)]
    ambiguous: bool,
    #[serde(default)]
    pub(crate) desc: String,
}

fn shared_file() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("MARTLET_WEBHOOK_VECTORS") {
        return Some(path.into());
    }
    let shared = std::env::var_os("MARTLET_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    Some(shared.join("data/webhook-vectors.json")).filter(|path| path.is_file())
}

/// What this crate's signer made, and what the providers' SDKs made: `MARTLET_BLESS=1 cargo test` writes them anew.
pub(crate) fn own_files() -> [(&'static str, PathBuf); 2] {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    [("own vectors", tests.join("vectors.json")), ("vectors of SDKs", tests.join("vectors-sdk.json"))]
}

pub(crate) fn read(path: &Path) -> Vec<Vector> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn own_bodies() -> impl Iterator<Item = Vec<u8>> {
    let all = own_files().into_iter().flat_map(|(_, path)| read(&path));
    all.map(|vector| STANDARD.decode(vector.body_base64).unwrap())
}

pub(crate) fn bless() -> bool {
    std::env::var_os("MARTLET_BLESS").is_some_and(|value| !value.is_empty())
}

#[test]
fn every_provider_has_vectors_of_its_own() {
    let [(_, path), _] = own_files();
    if bless() {
        let made: Vec<Vector> = cases().iter().flat_map(made).collect();
        std::fs::write(&path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let vectors = read(&path);
    for provider in providers::ALL.iter().filter(|provider| provider.id != "salesforce-outbound") {
        for valid in [true, false] {
            let found = vectors.iter().any(|vector| vector.provider == provider.id && vector.valid == valid);
            assert!(found, "{} has no vector with valid = {valid}", provider.id);
        }
    }
}

/// A request as our signer makes it, one with another body, and one with another key.
fn made(case: &Case) -> Vec<Vector> {
    let signed = case.sign();
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    let right = Vector {
        id: format!("{}-own", case.provider.id),
        provider: case.provider.id.to_owned(),
        scheme: "own".to_owned(),
        kind: "verify".to_owned(),
        secret: case.verifying.clone(),
        headers: signed.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        method: signed.method.to_string(),
        url: signed.url.clone(),
        body_base64: STANDARD.encode(&signed.body),
        timestamp: NOW.as_secs(),
        valid: true,
        reason: None,
        expect: None,
        ambiguous: false,
        desc: "made by this crate's signer".to_owned(),
    };
    let covers_body = matches!(&case.provider.scheme, Scheme::Recipes(_)) && case.provider.id != "mailgun";
    let tampered = Vector {
        desc: "tampered".to_owned(),
        body_base64: STANDARD.encode([&signed.body[..], b"&x=1"].concat()),
        valid: false,
        ..right.clone()
    };
    let secret = match case.provider.id {
        "sendgrid" => WRONG_P256,
        "highlevel" => WRONG_RSA,
        _ if case.verifying.starts_with("whsec_") => "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        _ if case.verifying.starts_with("whpk_") => "whpk_6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=",
        _ => "another",
    };
    let wrong_key =
        Vector { desc: "another key".to_owned(), secret: secret.to_owned(), valid: false, ..right.clone() };
    let mut all = vec![right, wrong_key];
    all.extend(covers_body.then_some(tampered));
    all
}

const WRONG_P256: &str = include_str!("../keys/wrong-p256.pub.pem");
const WRONG_RSA: &str = include_str!("../keys/wrong-rsa.pub.pem");

pub(crate) fn run() {
    for (what, path) in own_files() {
        check(what, &path);
    }
    match shared_file() {
        Some(path) => check("shared vectors", &path),
        None => say(
            "SKIPPED (cannot be had): the shared vectors: no ../shared beside the workspace, and neither \
                     MARTLET_WEBHOOK_VECTORS nor MARTLET_SHARED is set",
        ),
    }
}

fn check(what: &str, path: &Path) {
    let vectors = read(path);
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for vector in &vectors {
        *count.entry(&vector.provider).or_default() += 1;
        if let Err(problem) = judge(vector) {
            wrong.push(format!("{} ({}): {problem}", vector.id, vector.desc));
        }
    }
    let by_provider: Vec<String> = count.iter().map(|(provider, n)| format!("{provider} {n}")).collect();
    say(&format!(
        "vectors: {} {what} of {} providers: {}",
        vectors.len(),
        count.len(),
        by_provider.join(", ")
    ));
    assert!(!vectors.is_empty(), "the file has no case");
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), vectors.len(), wrong.join("\n"));
}

fn provider(vector: &Vector) -> Option<&'static Provider> {
    // Where a provider has several schemes, the vector's scheme says which one.
    let id = match vector.scheme.as_str() {
        scheme @ ("hubspot-v1" | "hubspot-v2") => scheme,
        _ => match vector.provider.as_str() {
            "gohighlevel" => "highlevel",
            id => id,
        },
    };
    providers::ALL.iter().copied().find(|provider| provider.id == id)
}

fn verifier(vector: &Vector) -> Verifier {
    let ring = KeyRing::new(&*vector.secret);
    let credential = match vector.scheme.as_str() {
        "http-basic" => Some(Credential::Basic),
        "bearer" => Some(Credential::Bearer),
        "secret-url" => Some(Credential::SecretUrl),
        _ => None,
    };
    if let (Some(credential), "verify") = (credential, &*vector.kind) {
        return Verifier::from_credential(credential, &ring).unwrap();
    }
    let provider = provider(vector).unwrap_or_else(|| panic!("no provider {}", vector.provider));
    let (scheme, rest) = vector.url.split_once("://").unwrap();
    let authority = rest.split(['/', '?']).next().unwrap();
    let url = PublicUrl::origin(&format!("{scheme}://{authority}")).unwrap();
    let verifier = Verifier::new(provider, &ring).unwrap().with_public_url(url);
    // Meta's token is another secret; its cases give that one.
    if vector.kind == "challenge" { verifier.with_handshake_token(&*vector.secret) } else { verifier }
}

/// What is wrong with our verdict, if anything.
pub(crate) fn judge(vector: &Vector) -> Result<(), String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &vector.headers {
        headers
            .append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let body = STANDARD.decode(&vector.body_base64).unwrap();
    let method: Method = vector.method.parse().unwrap();
    let (_, rest) = vector.url.split_once("://").unwrap();
    let target = rest.find(['/', '?']).map_or("/", |at| &rest[at..]);
    let request = Incoming::new(&method, target, &headers, &body);
    let now = Timestamp::from_secs(vector.timestamp);
    if vector.kind == "challenge" {
        return challenge(vector, &request, now);
    }

    let strict = verifier(vector).verify(&request, now).map(|_| ());
    let parity = verifier(vector).with_sdk_parity().verify(&request, now).map(|_| ());
    // Where SDKs disagree, parity is what the official one says; strict may refuse more, and only for the time.
    if vector.ambiguous {
        say(&format!("vectors: ambiguous {}: strict {strict:?}, SDK parity {parity:?}", vector.id));
        let stricter = matches!(strict, Err(VerifyError::InFuture { .. }));
        if parity.is_ok() != vector.valid || (strict.is_ok() != vector.valid && !stricter) {
            return Err(format!("strict {strict:?}, parity {parity:?}, the SDK says {}", vector.valid));
        }
    } else if strict.is_ok() != vector.valid || parity.is_ok() != vector.valid {
        return Err(format!("strict {strict:?}, parity {parity:?}"));
    }
    match (parity, &vector.reason) {
        (Err(error), Some(reason)) if !fits(reason, &error) => Err(format!("{error:?} for {reason}")),
        _ => Ok(()),
    }
}

/// Whether an error is of the kind that a vector's reason names.
fn fits(reason: &str, error: &VerifyError) -> bool {
    use VerifyError as E;
    match reason {
        "timestamp_too_old" => matches!(error, E::TooOld { .. }),
        "timestamp_in_future" => matches!(error, E::InFuture { .. }),
        "missing_header" => matches!(error, E::Missing { .. }),
        "missing_body" => matches!(error, E::EmptyBody),
        "bad_credentials" => matches!(error, E::BadCredentials | E::Missing { .. }),
        "body_hash_mismatch" => matches!(error, E::BodyHashMismatch),
        "malformed_header" | "malformed_timestamp" => {
            matches!(error, E::Malformed { .. } | E::NoAcceptableSignature { .. } | E::Missing { .. })
        }
        "no_acceptable_signature" | "unknown_version" => {
            matches!(error, E::NoAcceptableSignature { .. } | E::Missing { .. } | E::Mismatch { .. })
        }
        "signature_mismatch" => matches!(
            error,
            E::Mismatch { .. }
                | E::BodyHashMismatch
                | E::Contradiction { .. }
                | E::NoAcceptableSignature { .. }
        ),
        _ => true,
    }
}

fn challenge(vector: &Vector, request: &Incoming<'_>, now: Timestamp) -> Result<(), String> {
    let expect = vector.expect.as_ref().expect("a challenge says what it expects");
    let status = expect["status"].as_u64().unwrap();
    let verifier = verifier(vector);
    let Some(reply) = verifier.handshake(request, now) else {
        // Not a handshake, so it is a request like any other; a refused one is 401 here, and 403 to some providers.
        let refused = verifier.verify(request, now).is_err();
        return if refused && matches!(status, 401 | 403) { Ok(()) } else { Err("no reply".to_owned()) };
    };
    if u64::from(reply.status.as_u16()) != status {
        return Err(format!("status {}", reply.status));
    }
    if let Some(body) = expect["body"].as_str()
        && reply.body != body
    {
        return Err(format!("body {}", reply.body));
    }
    match &expect["json"] {
        Value::Null => Ok(()),
        json if serde_json::from_str::<Value>(&reply.body).ok().as_ref() == Some(json) => Ok(()),
        _ => Err(format!("body {}", reply.body)),
    }
}
