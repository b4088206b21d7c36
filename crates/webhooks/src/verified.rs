use std::sync::Arc;

use martlet_base::Timestamp;
use serde::de::DeserializeOwned;

use crate::recipe::Text;

/// Bytes, or what was read from them, that a [`Verifier`](crate::Verifier) accepted.
///
/// Nothing else can make one: a handler that takes `Verified<Order>` cannot be called with an order that nobody
/// verified.
///
/// ```compile_fail,E0308
/// # use martlet_webhooks::Verified;
/// fn handle(order: Verified<Vec<u8>>) {}
/// let body: Vec<u8> = b"{}".to_vec();
/// handle(body); // expected `Verified<Vec<u8>>`, found `Vec<u8>`
/// ```
///
/// ```compile_fail,E0451
/// # use martlet_webhooks::Verified;
/// fn forge(genuine: Verified<Vec<u8>>) -> Verified<Vec<u8>> {
///     Verified { value: b"other".to_vec(), ..genuine } // fields are private
/// }
/// ```
///
/// The same handler takes what a verifier accepted:
///
/// ```
/// # use martlet_webhooks::*;
/// # use martlet_base::Timestamp;
/// fn handle(order: Verified<Vec<u8>>) {}
/// # let now = Timestamp::from_secs(1_700_000_000);
/// # let signed = Signer::new(&providers::GITHUB, "secret")?.sign(Outgoing::post("https://h.example/", "1", b"{}"), now)?;
/// # let verifier = Verifier::new(&providers::GITHUB, &KeyRing::new("secret"))?;
/// # let request = Incoming::new(&signed.method, "/", &signed.headers, &signed.body);
/// handle(verifier.verify(&request, now)?.into_owned());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    proof: Proof,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) provider: Text,
    pub(crate) strength: Strength,
    pub(crate) coverage: Coverage,
    pub(crate) key_id: Arc<str>,
    pub(crate) signed_at: Option<Timestamp>,
}

/// How strongly a request is bound to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strength {
    /// Signed: nobody without the key could have made it. See [`Coverage`] for what exactly.
    Signed,
    /// The sender knew a password, a token, a secret URL, or owned a certificate. Whoever reads one request can make
    /// others.
    Authenticated,
}

/// What a signature covers. What it does not cover may have been changed by whoever passed the request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Coverage {
    /// The body; not the URL, and of the headers only those that the scheme signs.
    Body,
    /// The body, and the URL with its query.
    BodyAndUrl,
    /// Not the body (Mailgun signs a token beside it; passwords and secret URLs sign nothing).
    NotBody,
}

impl<T> Verified<T> {
    pub(crate) const fn new(value: T, proof: Proof) -> Self {
        Self { value, proof }
    }

    /// What was verified.
    pub const fn get(&self) -> &T {
        &self.value
    }

    /// Without the proof.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The recipe's or credential's name.
    pub fn provider(&self) -> &str {
        &self.proof.provider
    }

    /// How strongly the request is bound to its sender.
    pub const fn strength(&self) -> Strength {
        self.proof.strength
    }

    /// What the signature covers.
    pub const fn coverage(&self) -> Coverage {
        self.proof.coverage
    }

    /// The key that fitted.
    pub fn key_id(&self) -> &str {
        &self.proof.key_id
    }

    /// When it was signed, if the scheme signs a time.
    pub const fn signed_at(&self) -> Option<Timestamp> {
        self.proof.signed_at
    }
}

impl<T: AsRef<[u8]>> Verified<T> {
    /// The bytes, free of the request they came in.
    #[must_use]
    pub fn into_owned(self) -> Verified<Vec<u8>> {
        Verified::new(self.value.as_ref().to_vec(), self.proof)
    }

    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// It is not JSON of this type.
    pub fn json<U: DeserializeOwned>(&self) -> Result<Verified<U>, serde_json::Error> {
        serde_json::from_slice(self.value.as_ref()).map(|value| Verified::new(value, self.proof.clone()))
    }

    /// The body without its `Content-Encoding` (`gzip`, `deflate`, `identity`), at most `limit` bytes long. What is
    /// signed is what was sent, so this comes after verification.
    ///
    /// # Errors
    ///
    /// [`DecompressError`]: another encoding, damaged, or longer than the limit.
    #[cfg(feature = "gzip")]
    pub fn decompressed(
        &self,
        content_encoding: Option<&http::HeaderValue>,
        limit: usize,
    ) -> Result<Verified<Vec<u8>>, DecompressError> {
        use std::io::Read;

        let body = self.value.as_ref();
        let limit_plus_one = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let read = |from: &mut dyn Read| {
            let mut out = Vec::new();
            from.take(limit_plus_one).read_to_end(&mut out).map(|_| out)
        };
        let encoding = content_encoding.map_or(&b"identity"[..], http::HeaderValue::as_bytes);
        let out = match encoding.to_ascii_lowercase().as_slice() {
            b"identity" => Ok(body.to_vec()),
            b"gzip" | b"x-gzip" => read(&mut flate2::read::MultiGzDecoder::new(body)),
            b"deflate" => read(&mut flate2::read::ZlibDecoder::new(body)),
            _ => return Err(DecompressError::UnknownEncoding),
        };
        match out {
            Err(_) => Err(DecompressError::Damaged),
            Ok(out) if out.len() > limit => Err(DecompressError::TooLarge { limit }),
            Ok(out) => Ok(Verified::new(out, self.proof.clone())),
        }
    }
}

/// A verified body could not be decompressed.
#[cfg(feature = "gzip")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecompressError {
    /// Neither gzip nor deflate.
    UnknownEncoding,
    /// Not what its header says.
    Damaged,
    /// Longer than the limit.
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
}

#[cfg(feature = "gzip")]
impl std::fmt::Display for DecompressError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownEncoding => f.write_str("the content encoding is neither gzip nor deflate"),
            Self::Damaged => f.write_str("the body is not compressed as its content encoding says"),
            Self::TooLarge { limit } => write!(f, "the decompressed body has more than {limit} bytes"),
        }
    }
}

#[cfg(feature = "gzip")]
impl std::error::Error for DecompressError {}
