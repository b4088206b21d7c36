//! Secrets: the ring that the user fills, and what a recipe makes of one key.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use martlet_base::Timestamp;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair, UnparsedPublicKey};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};

use crate::extract;
use crate::{Algorithm, ConfigError, Encoding, KeyFormat, Recipe};

/// One secret with a name and, while it is being replaced, with dates.
///
/// The secret is wiped when it is dropped and never shows in `Debug`.
#[derive(Clone)]
pub struct Key {
    id: Arc<str>,
    secret: SecretString,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
}

impl Key {
    /// The secret exactly as the provider shows it, or the public key where the provider signs with a private one.
    /// The name shows in logs and in [`Verified::key_id`](crate::Verified::key_id).
    #[must_use]
    pub fn new(id: &str, secret: impl Into<String>) -> Self {
        Self { id: id.into(), secret: SecretString::from(secret.into()), not_before: None, not_after: None }
    }

    /// Does not verify before this time.
    #[must_use]
    pub fn not_before(mut self, time: Timestamp) -> Self {
        self.not_before = Some(time);
        self
    }

    /// Does not verify after this time.
    #[must_use]
    pub fn not_after(mut self, time: Timestamp) -> Self {
        self.not_after = Some(time);
        self
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The secret's text, if it can be one.
    pub(crate) fn text(&self) -> Result<&str, ConfigError> {
        let text = self.secret.expose_secret();
        match text {
            "" => Err(self.bad("it is empty")),
            _ if !text.starts_with("-----BEGIN") && text.ends_with(['\n', '\r']) => {
                Err(self.bad("it ends with a line break: trim the file it was read from"))
            }
            _ => Ok(text),
        }
    }

    pub(crate) fn bad(&self, problem: &'static str) -> ConfigError {
        ConfigError::Key { id: self.id.to_string(), problem }
    }

    pub(crate) fn dates(&self) -> Dates {
        Dates { not_before: self.not_before, not_after: self.not_after }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// When a key is valid. Both ends belong to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dates {
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
}

impl Dates {
    pub(crate) fn contain(self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|from| from <= now) && self.not_after.is_none_or(|until| now <= until)
    }
}

/// The secrets that may have signed a request. All of them are tried, always.
///
/// To replace a secret without losing a delivery, add the new one, switch the provider over, then give the old one an
/// end:
///
/// ```
/// use martlet_base::Timestamp;
/// use martlet_webhooks::{Key, KeyRing};
///
/// let switched: Timestamp = "2026-11-24T12:00:00Z".parse()?;
/// let ring = KeyRing::empty()
///     .with(Key::new("2026-11", "new secret"))
///     .with(Key::new("2025-03", "old secret").not_after(switched + std::time::Duration::from_secs(86_400)));
/// # Ok::<(), martlet_base::InvalidTimestamp>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    pub(crate) keys: Vec<Key>,
}

impl KeyRing {
    /// One secret, named `default`.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self::empty().with(Key::new("default", secret))
    }

    /// No secret: everything is refused. Handshakes that come before the secret is known are still answered.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// With one more key.
    #[must_use]
    pub fn with(mut self, key: Key) -> Self {
        self.keys.push(key);
        self
    }
}

/// A MAC of any supported length.
#[derive(Clone, Copy)]
pub(crate) struct Tag {
    bytes: [u8; 64],
    length: usize,
}

impl Tag {
    fn new(digest: &[u8]) -> Self {
        let mut bytes = [0; 64];
        bytes[..digest.len()].copy_from_slice(digest);
        Self { bytes, length: digest.len() }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What a recipe verifies with.
pub(crate) enum Material {
    HmacSha1(Box<Hmac<Sha1>>),
    HmacSha256(Box<Hmac<Sha256>>),
    HmacSha512(Box<Hmac<Sha512>>),
    Sha256OfSecretAndMessage(Zeroizing<Vec<u8>>),
    Public(UnparsedPublicKey<Vec<u8>>),
}

impl Material {
    pub(crate) fn verifying(recipe: &Recipe, key: &Key) -> Result<Self, ConfigError> {
        let text = key.text()?;
        let public = |algorithm: &'static dyn signature::VerificationAlgorithm, bytes: Option<Vec<u8>>| {
            bytes
                .map(|bytes| Self::Public(UnparsedPublicKey::new(algorithm, bytes)))
                .ok_or_else(|| key.bad("it is not a public key of the kind this scheme uses"))
        };
        match recipe.algorithm {
            Algorithm::EcdsaP256Sha256 => {
                public(&signature::ECDSA_P256_SHA256_ASN1, der(text).and_then(|der| p256_point(&der)))
            }
            Algorithm::RsaPkcs1Sha256 => {
                public(&signature::RSA_PKCS1_2048_8192_SHA256, der(text).and_then(|der| rsa_key(&der)))
            }
            Algorithm::Ed25519 => {
                let bytes = decode(recipe.key, "whpk_", text).map(|bytes| bytes.to_vec());
                public(&signature::ED25519, bytes.filter(|bytes| bytes.len() == 32))
            }
            _ => Self::symmetric(recipe, key),
        }
    }

    pub(crate) fn symmetric(recipe: &Recipe, key: &Key) -> Result<Self, ConfigError> {
        let secret = decode(recipe.key, "", key.text()?)
            .filter(|secret| !secret.is_empty())
            .ok_or_else(|| key.bad("it is not written as this scheme's secrets are (base64, hexadecimal)"))?;
        // HMAC hashes what is longer than a block.
        let unreachable = "HMAC takes a key of any length";
        Ok(match recipe.algorithm {
            Algorithm::HmacSha1 => {
                Self::HmacSha1(Box::new(Hmac::new_from_slice(&secret).expect(unreachable)))
            }
            Algorithm::HmacSha256 => {
                Self::HmacSha256(Box::new(Hmac::new_from_slice(&secret).expect(unreachable)))
            }
            Algorithm::HmacSha512 => {
                Self::HmacSha512(Box::new(Hmac::new_from_slice(&secret).expect(unreachable)))
            }
            Algorithm::Sha256OfSecretAndMessage => Self::Sha256OfSecretAndMessage(secret),
            Algorithm::EcdsaP256Sha256 | Algorithm::Ed25519 | Algorithm::RsaPkcs1Sha256 => {
                return Err(key.bad("this scheme has no shared secret"));
            }
        })
    }

    /// The MAC of a message; `None` for public keys.
    pub(crate) fn tag(&self, message: &[impl AsRef<[u8]>]) -> Option<Tag> {
        fn mac<M: Mac + Clone>(mac: &M, message: &[impl AsRef<[u8]>]) -> Tag {
            let mut mac = mac.clone();
            message.iter().for_each(|part| mac.update(part.as_ref()));
            Tag::new(&mac.finalize().into_bytes())
        }
        Some(match self {
            Self::HmacSha1(key) => mac(&**key, message),
            Self::HmacSha256(key) => mac(&**key, message),
            Self::HmacSha512(key) => mac(&**key, message),
            Self::Sha256OfSecretAndMessage(secret) => {
                let mut hash = Sha256::new_with_prefix(secret);
                message.iter().for_each(|part| hash.update(part.as_ref()));
                Tag::new(&hash.finalize())
            }
            Self::Public(_) => return None,
        })
    }

    /// Whether any candidate, as written in the request, signs the message. All are compared, each in constant time.
    pub(crate) fn verify(
        &self,
        message: &[impl AsRef<[u8]>],
        encoding: Encoding,
        candidates: &[&[u8]],
    ) -> Choice {
        let any = |matches: &dyn Fn(&[u8]) -> Choice| {
            candidates.iter().fold(Choice::from(0), |found, candidate| found | matches(candidate))
        };
        match (self.tag(message), self) {
            (Some(tag), _) => {
                // Ours is written like theirs, so a signature has one spelling, and nothing of theirs is decoded.
                let mut text = [0; MAX_TEXT];
                let length = extract::encode_into(encoding, tag.as_bytes(), &mut text);
                any(&|candidate| equal(&text[..length], candidate))
            }
            (None, Self::Public(key)) => {
                let whole: Vec<u8> = message.iter().flat_map(|part| part.as_ref()).copied().collect();
                any(&|candidate| {
                    let signature = extract::decode(encoding, candidate);
                    let valid = signature.is_some_and(|signature| key.verify(&whole, &signature).is_ok());
                    Choice::from(u8::from(valid))
                })
            }
            (None, _) => Choice::from(0),
        }
    }
}

/// A SHA-512 tag in hexadecimal.
const MAX_TEXT: usize = 128;

/// Whether two texts are equal, in a time that depends on their lengths alone: all differences are collected, and only
/// their sum is looked at.
#[inline]
fn equal(ours: &[u8], theirs: &[u8]) -> Choice {
    if ours.len() != theirs.len() {
        return Choice::from(0);
    }
    let differences = ours.iter().zip(theirs).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
    differences.ct_eq(&0)
}

/// What a signer signs with.
pub(crate) enum SigningKey {
    Secret(Material),
    Ecdsa(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
    Rsa(Box<RsaKeyPair>),
}

impl SigningKey {
    pub(crate) fn new(recipe: &Recipe, key: &Key) -> Result<Self, ConfigError> {
        let text = key.text()?;
        let bad = || key.bad("it is not a private key of the kind this scheme uses");
        match recipe.algorithm {
            Algorithm::EcdsaP256Sha256 => {
                let der = der(text).ok_or_else(bad)?;
                let algorithm = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
                let pair = EcdsaKeyPair::from_pkcs8(algorithm, &der, &ring::rand::SystemRandom::new());
                pair.map(|pair| Self::Ecdsa(Box::new(pair))).map_err(|_| bad())
            }
            Algorithm::RsaPkcs1Sha256 => {
                let der = der(text).ok_or_else(bad)?;
                RsaKeyPair::from_pkcs8(&der).map(|pair| Self::Rsa(Box::new(pair))).map_err(|_| bad())
            }
            Algorithm::Ed25519 => {
                let bytes = decode(recipe.key, "whsk_", text).ok_or_else(bad)?;
                let pair = match bytes.split_at_checked(32) {
                    Some((seed, [])) => Ed25519KeyPair::from_seed_unchecked(seed),
                    Some((seed, public)) => Ed25519KeyPair::from_seed_and_public_key(seed, public),
                    None => return Err(bad()),
                };
                pair.map(|pair| Self::Ed25519(Box::new(pair))).map_err(|_| bad())
            }
            _ => {
                let short = recipe.key == KeyFormat::Whsec
                    && decode(recipe.key, "", text).is_some_and(|secret| !(24..=64).contains(&secret.len()));
                if short {
                    return Err(key.bad("Standard Webhooks secrets have 24 to 64 bytes"));
                }
                Material::symmetric(recipe, key).map(Self::Secret)
            }
        }
    }

    /// `None` when the system gives no randomness or the message does not fit.
    pub(crate) fn sign(&self, message: &[impl AsRef<[u8]>]) -> Option<Vec<u8>> {
        let whole = || message.iter().flat_map(|part| part.as_ref()).copied().collect::<Vec<u8>>();
        let random = ring::rand::SystemRandom::new();
        match self {
            Self::Secret(material) => material.tag(message).map(|tag| tag.as_bytes().to_vec()),
            Self::Ecdsa(pair) => {
                pair.sign(&random, &whole()).ok().map(|signature| signature.as_ref().to_vec())
            }
            Self::Ed25519(pair) => Some(pair.sign(&whole()).as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut out = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, &whole(), &mut out).ok()?;
                Some(out)
            }
        }
    }
}

/// Providers show secrets with and without padding; bits that no byte holds are still refused.
const LENIENT_PADDING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn decode(format: KeyFormat, whpk: &str, text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let base64 = |text: &str| LENIENT_PADDING.decode(text).ok();
    match format {
        KeyFormat::Utf8 => Some(text.as_bytes().to_vec()),
        KeyFormat::Base64 => base64(text),
        KeyFormat::Hex => extract::unhex(text.as_bytes()),
        KeyFormat::Whsec => base64(text.strip_prefix("whsec_").unwrap_or(text)),
        KeyFormat::Whpk => text.strip_prefix(whpk).and_then(base64),
        KeyFormat::PublicKey => None,
    }
    .map(Zeroizing::new)
}

/// DER out of PEM, or out of base64 alone.
fn der(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let inner = match text.trim_end().strip_prefix("-----BEGIN ") {
        Some(pem) => {
            let (label, rest) = pem.split_once("-----")?;
            rest.strip_suffix("-----")?.strip_suffix(label)?.strip_suffix("-----END ")?
        }
        None => text,
    };
    let packed: Zeroizing<String> =
        Zeroizing::new(inner.chars().filter(|c| !matches!(c, '\r' | '\n')).collect());
    LENIENT_PADDING.decode(packed.as_bytes()).ok().map(Zeroizing::new)
}

/// SubjectPublicKeyInfo ([RFC 5280](https://www.rfc-editor.org/rfc/rfc5280)) up to the key itself, for an uncompressed
/// point on P-256.
const P256_HEAD: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

fn p256_point(der: &[u8]) -> Option<Vec<u8>> {
    der.strip_prefix(P256_HEAD).filter(|point| point.len() == 65).map(<[u8]>::to_vec)
}

/// AlgorithmIdentifier of RSA: its object identifier and no parameters.
const RSA_ALGORITHM: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

fn rsa_key(der: &[u8]) -> Option<Vec<u8>> {
    let (whole, []) = element(0x30, der)? else { return None };
    let (algorithm, rest) = element(0x30, whole)?;
    let (bits, []) = element(0x03, rest)? else { return None };
    let (0, key) = bits.split_first().map(|(unused, key)| (*unused, key))? else { return None };
    (algorithm == RSA_ALGORITHM).then(|| key.to_vec())
}

/// One DER element with this tag, and what follows it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match der {
        [first, length @ ..=0x7f, rest @ ..] if *first == tag => (usize::from(*length), rest),
        [first, 0x81, length, rest @ ..] if *first == tag => (usize::from(*length), rest),
        [first, 0x82, high, low, rest @ ..] if *first == tag => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
