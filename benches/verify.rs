//! Webhook verification beside the `standardwebhooks` and `svix` crates, and beside the bare cryptography.
//!
//! `cargo bench -p martlet-benches --bench verify`

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Method};
use martlet_base::Timestamp;
use martlet_benches::{Report, Subject};
use martlet_webhooks::{Incoming, KeyRing, Outgoing, Provider, Signed, Signer, Verifier, providers};
use ring::signature::{self, KeyPair, UnparsedPublicKey};
use sha2::Sha256;

const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The seed of the Ed25519 key, and the public key to it.
const WHSK: &str = "whsk_CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";

/// JSON of this many bytes.
fn body(length: usize) -> Vec<u8> {
    let filling = "x".repeat(length - r#"{"type":"a.b","data":""}"#.len());
    format!(r#"{{"type":"a.b","data":"{filling}"}}"#).into_bytes()
}

fn signed(provider: &'static Provider, secret: &str, body: &[u8], now: Timestamp) -> Signed {
    Signer::new(provider, secret)
        .expect("the key is this provider's")
        .sign(Outgoing::post("https://hooks.example.com/in", "msg_p5jXN8AQM9LWM0D4loKWxJek", body), now)
        .expect("a plain request")
}

struct Ours {
    verifier: Verifier,
    signed: Signed,
    now: Timestamp,
}

impl Ours {
    fn new(provider: &'static Provider, signing: &str, verifying: &str, body: &[u8], now: Timestamp) -> Self {
        let verifier = Verifier::new(provider, &KeyRing::new(verifying)).expect("the key is this provider's");
        Self { verifier, signed: signed(provider, signing, body, now), now }
    }

    fn verify(&self) {
        let Signed { method, headers, body, .. } = &self.signed;
        let request = Incoming::new(method, "/in", headers, body);
        self.verifier.verify(&request, self.now).expect("signed with the same key");
    }
}

fn main() {
    let mut report = Report::new("verify");
    let now = Timestamp::from(martlet_benches::now());

    for length in [256, 2048, 65_536] {
        let body = body(length);
        let ours = Ours::new(&providers::STANDARD_WEBHOOKS, WHSEC, WHSEC, &body, now);
        let standard = standardwebhooks::Webhook::new(WHSEC).expect("a secret");
        let svix = svix::webhooks::Webhook::new(WHSEC).expect("a secret");
        let headers = &ours.signed.headers;
        report.case(
            &format!("Standard Webhooks v1, {length} B"),
            vec![
                Subject::new("martlet-webhooks", || ours.verify()),
                Subject::new("standardwebhooks", || standard.verify(&body, headers).expect("signed")),
                Subject::new("svix", || svix.verify(&body, headers).expect("signed")),
            ],
        );
    }

    for length in [256, 2048, 65_536] {
        let body = body(length);
        let ours = Ours::new(&providers::GITHUB, "It's a Secret", "It's a Secret", &body, now);
        let key = Hmac::<Sha256>::new_from_slice(b"It's a Secret").expect("any length");
        let tag = key.clone().chain_update(&body).finalize().into_bytes();
        report.case(
            &format!("HMAC-SHA256 of the body (GitHub), {length} B"),
            vec![
                Subject::new("martlet-webhooks", || ours.verify()),
                Subject::new("raw HMAC, key prepared", || {
                    key.clone().chain_update(&body).verify_slice(&tag).expect("its tag");
                }),
                Subject::new("raw HMAC, key from its text", || {
                    let key = Hmac::<Sha256>::new_from_slice(b"It's a Secret").expect("any length");
                    key.chain_update(&body).verify_slice(&tag).expect("its tag");
                }),
            ],
        );
    }

    public_keys(&mut report, now);
    report.write();
}

/// Schemes with public keys, beside `ring` alone.
fn public_keys(report: &mut Report, now: Timestamp) {
    const P256: [&str; 2] = [
        include_str!("../crates/webhooks/tests/keys/p256.pkcs8.b64"),
        include_str!("../crates/webhooks/tests/keys/p256.pub.pem"),
    ];
    const RSA: [&str; 2] = [
        include_str!("../crates/webhooks/tests/keys/rsa.pkcs8.b64"),
        include_str!("../crates/webhooks/tests/keys/rsa.pub.pem"),
    ];
    let body = body(2048);
    let ecdsa = Ours::new(&providers::SENDGRID, P256[0], P256[1], &body, now);
    let rsa = Ours::new(&providers::HIGHLEVEL, RSA[0], RSA[1], &body, now);
    let pair = signature::Ed25519KeyPair::from_seed_unchecked(&[9; 32]).expect("a seed");
    let whpk = format!("whpk_{}", STANDARD.encode(pair.public_key()));
    let ed25519 = Ours::new(&providers::STANDARD_WEBHOOKS, WHSK, &whpk, &body, now);
    let key = UnparsedPublicKey::new(&signature::ED25519, pair.public_key().as_ref().to_vec());
    let raw = pair.sign(&body);
    report.case(
        "public keys, 2048 B",
        vec![
            Subject::new("ECDSA P-256 (SendGrid)", || ecdsa.verify()),
            Subject::new("Ed25519 (Standard Webhooks v1a)", || ed25519.verify()),
            Subject::new("Ed25519, ring alone", || key.verify(&body, raw.as_ref()).expect("signed")),
            Subject::new("RSA 2048 (GoHighLevel)", || rsa.verify()),
        ],
    );
    let empty = HeaderMap::new();
    let refused = Incoming::new(&Method::POST, "/in", &empty, &body);
    report.case(
        "refused for want of a header, 2048 B",
        vec![Subject::new("martlet-webhooks", || ecdsa.verifier.verify(&refused, now).is_err())],
    );
}
