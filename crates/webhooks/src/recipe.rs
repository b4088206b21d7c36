//! A signature scheme as data.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ConfigError;

/// Text that is a constant for the built-in recipes, and owned for those that are read at run time.
pub type Text = Cow<'static, str>;

/// A signature scheme as data: where the signature stands, what it covers, how it is computed.
///
/// The built-in ones are in [`providers`](crate::providers). A new provider is a few lines, or a description read with
/// serde:
///
/// ```
/// use martlet_webhooks::{Encoding, Field, KeyRing, Part, Recipe, Stamp, Verifier};
///
/// let recipe = Recipe {
///     message: vec![Part::Timestamp, Part::Literal(".".into()), Part::Body].into(),
///     timestamp: Some(Stamp::seconds(Field::header("X-Acme-Time"), 300)),
///     prefix: "v1=".into(),
///     ..Recipe::hmac_sha256("acme", "X-Acme-Signature")
/// };
/// let described: Recipe = serde_json::from_str(r#"{
///     "name": "acme", "algorithm": "hmac-sha256",
///     "signature": { "header": "X-Acme-Signature" }, "prefix": "v1=", "encoding": "hex",
///     "timestamp": { "at": { "header": "X-Acme-Time" }, "unit": "seconds", "tolerance_s": 300 },
///     "message": ["timestamp", { "literal": "." }, "body"]
/// }"#)?;
/// assert_eq!(recipe, described);
/// let verifier = Verifier::from_recipe(described, &KeyRing::new("secret"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// A short stable name.
    pub name: Text,
    /// How the signature is computed.
    pub algorithm: Algorithm,
    /// What the secret's text means.
    #[serde(default)]
    pub key: KeyFormat,
    /// Where the signature stands.
    pub signature: Field,
    /// What stands before the signature and is required, such as `sha256=`.
    #[serde(default)]
    pub prefix: Text,
    /// How the signature is written.
    pub encoding: Encoding,
    /// The time of signing, where there is one.
    #[serde(default)]
    pub timestamp: Option<Stamp>,
    /// What is signed, in order.
    pub message: Cow<'static, [Part]>,
    /// What else must hold.
    #[serde(default)]
    pub require: Cow<'static, [Require]>,
}

impl Recipe {
    /// HMAC-SHA256 over the raw body, in lower-case hexadecimal in one header: the start for a recipe of your own.
    #[must_use]
    pub fn hmac_sha256(name: impl Into<Text>, header: impl Into<Text>) -> Self {
        Self {
            name: name.into(),
            algorithm: Algorithm::HmacSha256,
            key: KeyFormat::Utf8,
            signature: Field::Header(header.into()),
            prefix: Cow::Borrowed(""),
            encoding: Encoding::Hex,
            timestamp: None,
            message: Cow::Borrowed(&[Part::Body]),
            require: Cow::Borrowed(&[]),
        }
    }

    /// Whether the recipe can work and signs something.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Recipe`] says what is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |problem| Err(ConfigError::Recipe { name: self.name.to_string(), problem });
        if self.message.iter().all(|part| matches!(part, Part::Literal(_) | Part::Method)) {
            return bad("it signs nothing that differs between two requests");
        }
        if self.message.contains(&Part::Timestamp) && self.timestamp.is_none() {
            return bad("the message has a timestamp, and `timestamp` does not say where it stands");
        }
        if self.timestamp.as_ref().is_some_and(|stamp| stamp.tolerance_s.is_some()) && !self.signs_timestamp()
        {
            return bad("the timestamp is checked but not signed, so anybody could renew it");
        }
        if self.prefix.bytes().any(|b| b == b',' || b == b' ' || b == b';') {
            return bad("a prefix with a delimiter cannot be told from several signatures");
        }
        let format_fits = match self.algorithm {
            Algorithm::EcdsaP256Sha256 | Algorithm::RsaPkcs1Sha256 => self.key == KeyFormat::PublicKey,
            Algorithm::Ed25519 => {
                !matches!(self.key, KeyFormat::Utf8 | KeyFormat::Whsec | KeyFormat::PublicKey)
            }
            _ => !matches!(self.key, KeyFormat::PublicKey | KeyFormat::Whpk),
        };
        if !format_fits {
            return bad("the key format does not belong to the algorithm");
        }
        if matches!(self.signature, Field::Json(_) | Field::Form(_)) && self.signs_body() {
            return bad("a signature inside the body cannot cover the body");
        }
        Ok(())
    }

    pub(crate) fn signs_timestamp(&self) -> bool {
        self.message.iter().any(|part| match (part, &self.timestamp) {
            (Part::Timestamp, _) => true,
            (Part::Field(field), Some(stamp)) => *field == stamp.at,
            _ => false,
        })
    }

    pub(crate) fn signs_url(&self) -> bool {
        self.message.iter().any(|part| matches!(part, Part::Url(_)))
    }

    pub(crate) fn signs_body(&self) -> bool {
        self.message.iter().any(|part| matches!(part, Part::Body | Part::SortedForm | Part::FormOrBodyHash))
    }
}

/// How a signature is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-1: still safe as a MAC, and what old schemes use.
    HmacSha1,
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-512.
    HmacSha512,
    /// Plain SHA-256 of the secret followed by the message (HubSpot v1 and v2). Not a MAC: such a hash can be extended
    /// by whoever knows one. Prefer a newer version of the scheme.
    Sha256OfSecretAndMessage,
    /// ECDSA on P-256 with SHA-256, the signature in DER.
    EcdsaP256Sha256,
    /// Ed25519.
    Ed25519,
    /// RSA PKCS #1 v1.5 with SHA-256, 2048 to 8192 bits.
    RsaPkcs1Sha256,
}

/// What the text of a secret means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KeyFormat {
    /// The bytes of the text itself, with whatever prefix it has.
    #[default]
    Utf8,
    /// Base64.
    Base64,
    /// Hexadecimal.
    Hex,
    /// Base64 after `whsec_`, which may be absent (Standard Webhooks v1).
    Whsec,
    /// Base64 after `whpk_` (Standard Webhooks v1a; the signer's is `whsk_`).
    Whpk,
    /// A public key as SubjectPublicKeyInfo, in PEM or in base64 alone (the signer's is PKCS #8).
    PublicKey,
}

/// How a signature is written. Both are read strictly, so that one signature has one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Encoding {
    /// Hexadecimal in lower case.
    Hex,
    /// Base64 with padding.
    Base64,
    /// Base64 for URLs, without padding.
    Base64Url,
}

/// Where a value stands in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Field {
    /// A whole header.
    Header(Text),
    /// One `name=value` of a header that lists several: `t=1,v1=ab`.
    KeyValue {
        /// The header.
        header: Text,
        /// What stands between two of them.
        delimiter: char,
        /// The name.
        name: Text,
    },
    /// The values of one `tag` in a header that lists `tag,value tag,value`.
    Tagged {
        /// The header.
        header: Text,
        /// The tag.
        tag: Text,
    },
    /// A string or number in the JSON body, as an [RFC 6901](https://www.rfc-editor.org/rfc/rfc6901) pointer.
    Json(Text),
    /// A field of the form in the body; the last one where there are several.
    Form(Text),
}

impl Field {
    /// A whole header.
    #[must_use]
    pub fn header(name: impl Into<Text>) -> Self {
        Self::Header(name.into())
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header {name}"),
            Self::KeyValue { header, name, .. } => write!(f, "`{name}=` in header {header}"),
            Self::Tagged { header, tag } => write!(f, "`{tag},` in header {header}"),
            Self::Json(pointer) => write!(f, "{pointer} in the JSON body"),
            Self::Form(name) => write!(f, "form field {name}"),
        }
    }
}

/// The time of signing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Where it stands.
    pub at: Field,
    /// How it is written. The message has it exactly as received.
    pub unit: Unit,
    /// How many seconds it may differ from the clock, in both directions. Without a value it is not checked.
    #[serde(default)]
    pub tolerance_s: Option<u32>,
    /// Whether the provider's own SDK accepts any time in the future:
    /// [`Verifier::with_sdk_parity`](crate::Verifier::with_sdk_parity) does the same.
    #[serde(default)]
    pub sdk_checks_age_only: bool,
}

impl Stamp {
    /// Unix seconds at a place, checked in both directions.
    #[must_use]
    pub const fn seconds(at: Field, tolerance_s: u32) -> Self {
        Self { at, unit: Unit::Seconds, tolerance_s: Some(tolerance_s), sdk_checks_age_only: false }
    }

    pub(crate) const fn sdk_checks_age_only(mut self) -> Self {
        self.sdk_checks_age_only = true;
        self
    }
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Unit {
    /// Seconds since 1970, decimal.
    Seconds,
    /// Milliseconds since 1970, decimal.
    Millis,
    /// [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339).
    Rfc3339,
}

/// One piece of what is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Part {
    /// The same in every message.
    Literal(Text),
    /// The timestamp, as received.
    Timestamp,
    /// The raw body.
    Body,
    /// The method, in upper case.
    Method,
    /// The URL that the provider called: needs a [`PublicUrl`](crate::PublicUrl).
    Url(UrlForm),
    /// Key and value of every form field, decoded, sorted by key; several values of a key sorted, each once.
    SortedForm,
    /// Nothing when the URL has `bodySHA256`, which must then be the body's hash; the sorted form otherwise (Twilio).
    FormOrBodyHash,
    /// A value of the request, as received.
    #[serde(untagged)]
    Field(Field),
}

/// Which spellings of the URL may have been signed. All name the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UrlForm {
    /// As it is.
    Exact,
    /// With HubSpot's table of percent-escapes decoded; or as it is.
    Hubspot,
    /// With and without port; with `'` escaped in the query or not (Twilio).
    Twilio,
}

/// What must hold beside the signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Require {
    /// The body is not empty.
    Body,
    /// A header has this value.
    Header {
        /// The header.
        name: Text,
        /// Its value.
        value: Text,
    },
    /// A header, if there, says the same as the JSON body, if it says anything.
    HeaderAgrees {
        /// The header.
        name: Text,
        /// Pointer into the body.
        pointer: Text,
    },
}
