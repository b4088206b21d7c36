use std::fmt;

use http::{Method as HttpMethod, StatusCode};
use martlet_base::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::extract::{self, form, hex};
use crate::verify::Method;
use crate::{Incoming, Verifier};

/// How a provider checks an endpoint, beside sending it events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handshake {
    /// It does not.
    None,
    /// An unsigned HEAD must succeed (Intercom).
    Head,
    /// An unsigned GET must succeed (Mailchimp, when the webhook is saved).
    Get,
    /// GET with `hub.mode=subscribe`, `hub.verify_token` and `hub.challenge`: the challenge comes back if the token is
    /// [`Verifier::with_handshake_token`]'s, 403 if not (Meta, WhatsApp).
    HubChallenge,
    /// A signed `url_verification`: its `challenge` comes back (Slack).
    UrlVerification,
    /// `endpoint.url_validation`: the HMAC of `plainToken` comes back (Zoom, again every 72 hours).
    UrlValidation,
    /// GET with `challengeCode`: its HMAC comes back (LinkedIn, again every 2 hours; three failures block).
    ChallengeCode,
    /// An unsigned HEAD, and a test POST without events while the ring is empty: the key is shown only when the webhook
    /// has been saved (Mandrill).
    Mandrill,
    /// A POST with `verification_token` while the ring is empty: it is the secret, see [`HandshakeReply::learned`]
    /// (Notion).
    VerificationToken,
}

/// The answer to a handshake.
#[derive(Clone)]
pub struct HandshakeReply {
    /// The status.
    pub status: StatusCode,
    /// The value of `Content-Type`, where there is a body.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: String,
    learned: Option<SecretString>,
}

impl HandshakeReply {
    fn new(status: StatusCode, content_type: Option<&'static str>, body: String) -> Self {
        Self { status, content_type, body, learned: None }
    }

    fn empty(status: StatusCode) -> Self {
        Self::new(status, None, String::new())
    }

    fn text(body: &str) -> Self {
        Self::new(StatusCode::OK, Some("text/plain; charset=utf-8"), body.to_owned())
    }

    fn json(body: &Value) -> Self {
        Self::new(StatusCode::OK, Some("application/json"), body.to_string())
    }

    /// The secret that the provider just told: Notion wants it typed back in, and signs with it from then on. Show it to
    /// the operator, not to a log. Anybody who knows the URL can send one while the ring is empty: compare it with what
    /// the provider shows.
    #[must_use]
    pub fn learned(&self) -> Option<&str> {
        self.learned.as_ref().map(ExposeSecret::expose_secret)
    }
}

impl fmt::Debug for HandshakeReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeReply")
            .field("status", &self.status)
            .field("learned", &self.learned.is_some())
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// The answer, if this is the provider checking the endpoint and not an event. Ask before [`Verifier::verify`].
    ///
    /// A handshake is no proof: do nothing for it but answer.
    #[must_use]
    pub fn handshake(&self, request: &Incoming<'_>, now: Timestamp) -> Option<HandshakeReply> {
        let is = |method: HttpMethod| *request.method == method;
        let ok = || HandshakeReply::empty(StatusCode::OK);
        match self.handshake {
            Handshake::None => None,
            Handshake::Head => is(HttpMethod::HEAD).then(ok),
            Handshake::Get => (is(HttpMethod::GET) || is(HttpMethod::HEAD)).then(ok),
            Handshake::HubChallenge if is(HttpMethod::GET) => self.hub_challenge(request),
            Handshake::UrlVerification => {
                let body = json_with(request.body, b"url_verification")?;
                let challenge = body["challenge"].as_str().filter(|_| body["type"] == "url_verification")?;
                self.verify(request, now).ok()?;
                Some(HandshakeReply::text(challenge))
            }
            Handshake::UrlValidation => {
                let body = json_with(request.body, b"endpoint.url_validation")?;
                let token = body["payload"]["plainToken"]
                    .as_str()
                    .filter(|_| body["event"] == "endpoint.url_validation")?;
                if request.headers.contains_key("x-zm-signature") {
                    self.verify(request, now).ok()?;
                }
                let encrypted = self.answer(token, now)?;
                Some(HandshakeReply::json(&json!({ "plainToken": token, "encryptedToken": encrypted })))
            }
            Handshake::ChallengeCode if is(HttpMethod::GET) => {
                let query = form(request.query());
                let (_, code) = query.iter().find(|(key, _)| &**key == b"challengeCode")?;
                let code = std::str::from_utf8(code).ok()?;
                let response = self.answer(code, now)?;
                Some(HandshakeReply::json(&json!({ "challengeCode": code, "challengeResponse": response })))
            }
            Handshake::Mandrill if is(HttpMethod::HEAD) => Some(ok()),
            Handshake::Mandrill => {
                let fields = form(request.body);
                let empty = matches!(fields.as_slice(), [(key, value)] if &**key == b"mandrill_events" && &**value == b"[]");
                (empty && !self.any_key(|_| true)).then(ok)
            }
            Handshake::VerificationToken if !self.any_key(|_| true) => {
                let body = json_with(request.body, b"verification_token")?;
                let token = body["verification_token"].as_str()?.to_owned();
                Some(HandshakeReply { learned: Some(token.into()), ..ok() })
            }
            Handshake::HubChallenge | Handshake::ChallengeCode | Handshake::VerificationToken => None,
        }
    }

    fn hub_challenge(&self, request: &Incoming<'_>) -> Option<HandshakeReply> {
        let query = form(request.query());
        let value = |name: &[u8]| query.iter().find(|(key, _)| **key == *name).map(|(_, value)| &**value);
        let mode = value(b"hub.mode")?;
        let token = Sha256::digest(value(b"hub.verify_token").unwrap_or_default());
        let expected = self.handshake_token.as_ref().map(|token| Sha256::digest(token.expose_secret()));
        let known = expected.is_some_and(|expected| bool::from(expected.ct_eq(&token)));
        let challenge = value(b"hub.challenge").and_then(|text| std::str::from_utf8(text).ok());
        Some(match challenge {
            Some(challenge) if known && mode == b"subscribe" => HandshakeReply::text(challenge),
            _ => HandshakeReply::empty(StatusCode::FORBIDDEN),
        })
    }

    /// The HMAC of a challenge with the first valid key. Whoever asks gets one for a text of their choice, so the text
    /// must be one that can never be a signed message: those have `:` (Zoom) or `=` and braces (LinkedIn).
    fn answer(&self, challenge: &str, now: Timestamp) -> Option<String> {
        let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if challenge.is_empty() || challenge.len() > 128 || !challenge.bytes().all(token) {
            return None;
        }
        let Method::Recipes(recipes) = &self.method else { return None };
        let key = recipes.iter().flat_map(|one| &one.keys).find(|slot| slot.dates.contain(now))?;
        key.material.tag(&[challenge.as_bytes()]).map(|tag| hex(tag.as_bytes()))
    }
}

/// The body as JSON, read only if a word is in it and it is as small as a handshake.
fn json_with(body: &[u8], word: &[u8]) -> Option<Value> {
    let is_candidate = body.len() <= 16 * 1024 && extract::contains(body, word);
    is_candidate.then(|| serde_json::from_slice(body).ok())?
}
