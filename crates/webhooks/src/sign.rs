use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use martlet_base::Timestamp;
use sha2::{Digest, Sha256};

use crate::extract::{self, Extract, hex};
use crate::key::SigningKey;
use crate::{
    ConfigError, Credential, Field, Incoming, Key, Part, Provider, Recipe, Require, Scheme, Unit, url, verify,
};

/// Signs requests as a provider does: for tests, simulators, and for sending webhooks of your own (Standard Webhooks).
///
/// For Ed25519 the key is `whsk_` and the seed (32 bytes, or 64 with the public key); for ECDSA and RSA a PKCS #8
/// private key in PEM or base64; for everything else the secret itself.
pub struct Signer(Kind);

enum Kind {
    Recipe(Cow<'static, Recipe>, SigningKey),
    Credential(Credential, Key),
}

/// A request to sign.
#[derive(Clone)]
pub struct Outgoing<'a> {
    /// The method.
    pub method: Method,
    /// The whole URL that will be called.
    pub url: &'a str,
    /// The message's identity, where the scheme signs one: the same for every attempt. Mailgun's is the token.
    pub id: &'a str,
    /// The body. Where the signature goes into the body (Mailgun), it must be what that provider sends.
    pub body: &'a [u8],
}

impl<'a> Outgoing<'a> {
    /// A POST.
    #[must_use]
    pub fn post(url: &'a str, id: &'a str, body: &'a [u8]) -> Self {
        Self { method: Method::POST, url, id, body }
    }
}

impl fmt::Debug for Outgoing<'_> {
    /// Without URL and body: both may hold what the receiver alone shall know.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("method", &self.method)
            .field("id", &self.id)
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A signed request, ready to send. Change no byte of it.
#[derive(Clone)]
pub struct Signed {
    /// The method.
    pub method: Method,
    /// The URL, with what the scheme adds to it.
    pub url: String,
    /// The headers that the scheme adds. The content type is yours.
    pub headers: HeaderMap,
    /// The body, with what the scheme adds to it.
    pub body: Vec<u8>,
}

impl fmt::Debug for Signed {
    /// Without URL, headers and body: some schemes put the secret itself there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("method", &self.method)
            .field("headers", &self.headers.len())
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Signed {
    /// Path and query of the URL: the target of an [`Incoming`].
    #[must_use]
    pub fn target(&self) -> &str {
        let rest = self.url.split_once("://").map_or(&*self.url, |(_, rest)| rest);
        rest.find(['/', '?']).map_or("/", |at| &rest[at..])
    }
}

/// A request cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignError {
    /// The id, the URL or the key has a character that its place in the request cannot hold.
    NotAHeader,
    /// The body is not what this scheme signs: an object (Mailgun's JSON), a form.
    Body,
    /// The signer takes part in the TLS handshake, not in the request.
    ClientCertificate,
    /// The system gave no randomness, or the message is too long for the key.
    Crypto,
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAHeader => {
                "the id, URL or key has a character that its place in the request cannot hold"
            }
            Self::Body => "the body is not of the kind that this scheme signs",
            Self::ClientCertificate => {
                "a client certificate is shown in the TLS handshake, not in the request"
            }
            Self::Crypto => "the signature could not be computed",
        })
    }
}

impl std::error::Error for SignError {}

impl Signer {
    /// For a provider; where it has several recipes, for the first one whose keys are written like this one.
    ///
    /// # Errors
    ///
    /// The key is not one that this provider signs with.
    pub fn new(provider: &'static Provider, secret: impl Into<String>) -> Result<Self, ConfigError> {
        let key = Key::new("signing", secret);
        match &provider.scheme {
            Scheme::Credential(credential) => {
                key.text()?;
                Ok(Self(Kind::Credential(credential.clone(), key)))
            }
            Scheme::Recipes(recipes) => {
                let mut problem = None;
                for recipe in *recipes {
                    match SigningKey::new(recipe, &key) {
                        Ok(signing) => return Ok(Self(Kind::Recipe(Cow::Borrowed(recipe), signing))),
                        Err(error) => problem = problem.or(Some(error)),
                    }
                }
                Err(problem.unwrap_or_else(|| key.bad("this provider signs nothing")))
            }
        }
    }

    /// For a recipe of your own.
    ///
    /// # Errors
    ///
    /// The recipe does not pass [`Recipe::check`], or the key is not one that it signs with.
    pub fn from_recipe(recipe: Recipe, secret: impl Into<String>) -> Result<Self, ConfigError> {
        recipe.check()?;
        let signing = SigningKey::new(&recipe, &Key::new("signing", secret))?;
        Ok(Self(Kind::Recipe(Cow::Owned(recipe), signing)))
    }

    /// Signs a request. ECDSA signatures differ each time; all others are the same for the same input.
    ///
    /// # Errors
    ///
    /// [`SignError`] says what about the request cannot be signed.
    pub fn sign(&self, request: Outgoing<'_>, now: Timestamp) -> Result<Signed, SignError> {
        let Outgoing { method, url, id, body } = request;
        let mut signed =
            Signed { method, url: url.to_owned(), headers: HeaderMap::new(), body: body.to_vec() };
        match &self.0 {
            Kind::Credential(credential, key) => show(credential, key, &mut signed)?,
            Kind::Recipe(recipe, key) => sign(recipe, key, id, now, &mut signed)?,
        }
        Ok(signed)
    }
}

fn sign(
    recipe: &Recipe,
    key: &SigningKey,
    id: &str,
    now: Timestamp,
    signed: &mut Signed,
) -> Result<(), SignError> {
    let time = recipe.timestamp.as_ref().map(|stamp| match stamp.unit {
        Unit::Seconds => now.as_secs().to_string(),
        Unit::Millis => now.as_millis().to_string(),
        Unit::Rfc3339 => now.to_string(),
    });
    for rule in &*recipe.require {
        match rule {
            Require::Header { name, value } => put(signed, name, value)?,
            Require::Body if signed.body.is_empty() => return Err(SignError::Body),
            Require::Body | Require::HeaderAgrees { .. } => {}
        }
    }
    // What is signed beside the body stands in the request before it is signed.
    for part in &*recipe.message {
        match part {
            Part::Field(field) if recipe.timestamp.as_ref().is_none_or(|stamp| stamp.at != *field) => {
                place(field, id, signed)?;
            }
            Part::FormOrBodyHash if serde_json::from_slice::<serde::de::IgnoredAny>(&signed.body).is_ok() => {
                let separator = if signed.url.contains('?') { '&' } else { '?' };
                signed.url =
                    format!("{}{separator}bodySHA256={}", signed.url, hex(&Sha256::digest(&signed.body)));
            }
            Part::SortedForm | Part::FormOrBodyHash => {
                put(signed, CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")?;
            }
            _ => {}
        }
    }
    if let (Some(stamp), Some(time)) = (&recipe.timestamp, &time) {
        place(&stamp.at, time, signed)?;
    }
    let spelling = recipe.message.iter().find_map(|part| match part {
        Part::Url(form) => url::spellings(*form, &signed.url).into_iter().next(),
        _ => None,
    });
    let signature = {
        let request = Incoming::new(&signed.method, "", &signed.headers, &signed.body);
        let extract = Extract::new(request);
        let stamp = time.as_deref().map(str::as_bytes);
        let message =
            verify::message(recipe, &extract, stamp, spelling.as_deref()).map_err(|_| SignError::Body)?;
        key.sign(&message).ok_or(SignError::Crypto)?
    };
    let text = format!("{}{}", recipe.prefix, extract::encode(recipe.encoding, &signature));
    place(&recipe.signature, &text, signed)
}

/// Writes a value where a verifier will read it.
fn place(field: &Field, value: &str, signed: &mut Signed) -> Result<(), SignError> {
    match field {
        Field::Header(name) => put(signed, name, value),
        Field::Tagged { header, tag } => put(signed, header, &format!("{tag},{value}")),
        Field::KeyValue { header, delimiter, name } => {
            let already = signed.headers.get(&**header).and_then(|value| value.to_str().ok());
            let list = already.map_or_else(String::new, |already| format!("{already}{delimiter}"));
            put(signed, header, &format!("{list}{name}={value}"))
        }
        Field::Json(pointer) => {
            let mut json: serde_json::Value =
                serde_json::from_slice(&signed.body).map_err(|_| SignError::Body)?;
            let mut at = &mut json;
            for step in pointer.split('/').skip(1) {
                at = at
                    .as_object_mut()
                    .ok_or(SignError::Body)?
                    .entry(step)
                    .or_insert_with(|| serde_json::json!({}));
            }
            *at = value.into();
            signed.body = json.to_string().into_bytes();
            Ok(())
        }
        Field::Form(name) => {
            // Hexadecimal, digits and names: nothing that a form would escape.
            let plain =
                |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if !plain(name) || !plain(value) {
                return Err(SignError::NotAHeader);
            }
            let separator = if signed.body.is_empty() { "" } else { "&" };
            signed.body.extend_from_slice(format!("{separator}{name}={value}").as_bytes());
            Ok(())
        }
    }
}

fn show(credential: &Credential, key: &Key, signed: &mut Signed) -> Result<(), SignError> {
    let secret = key.text().map_err(|_| SignError::NotAHeader)?;
    match credential {
        Credential::Basic => {
            put(signed, AUTHORIZATION.as_str(), &format!("Basic {}", STANDARD.encode(secret)))
        }
        Credential::Bearer => put(signed, AUTHORIZATION.as_str(), &format!("Bearer {secret}")),
        Credential::Header(name) => put(signed, name, secret),
        Credential::SecretUrl => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
            if !secret.bytes().all(plain) {
                return Err(SignError::NotAHeader);
            }
            let separator = if signed.url.contains('?') { '&' } else { '?' };
            signed.url = format!("{}{separator}secret={secret}", signed.url);
            Ok(())
        }
        Credential::ClientCertificate | Credential::SalesforceCertificate => {
            Err(SignError::ClientCertificate)
        }
    }
}

fn put(signed: &mut Signed, name: &str, value: &str) -> Result<(), SignError> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| SignError::NotAHeader)?;
    let mut value = HeaderValue::from_str(value).map_err(|_| SignError::NotAHeader)?;
    value.set_sensitive(name == AUTHORIZATION);
    signed.headers.insert(name, value);
    Ok(())
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.0 {
            Kind::Recipe(recipe, _) => &recipe.name,
            Kind::Credential(..) => "credential",
        };
        f.debug_struct("Signer").field("name", &name).finish_non_exhaustive()
    }
}
