use std::fmt;
use std::time::Duration;

use http::StatusCode;

/// Why a request was not accepted, for the operator's log.
///
/// It names headers, limits and times, never a secret, a signature or text that the sender chose: it is safe to log.
/// **Do not send it to the sender**: answer [`VerifyError::status`] with [`VerifyError::BODY`], which do not depend on
/// what was wrong. [`VerifyError::check`] says what to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyError {
    /// No key is configured. Nothing is ever accepted without one.
    NoKey,
    /// Keys are configured, but none is valid at this time.
    NoActiveKey,
    /// The body is larger than the limit; nothing was hashed.
    TooLarge {
        /// Bytes received.
        size: usize,
        /// Bytes allowed: [`Verifier::with_max_body`](crate::Verifier::with_max_body).
        limit: usize,
    },
    /// The provider always sends this, and it is not there.
    Missing {
        /// Where it was looked for.
        what: String,
    },
    /// It is there, but cannot be read.
    Malformed {
        /// Where it was read.
        what: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A signature is there, but of no version that this verifier accepts. Older versions are not tried: that would be
    /// a downgrade.
    NoAcceptableSignature {
        /// The version or prefix that is accepted.
        expected: String,
    },
    /// The signed time is too long ago.
    TooOld {
        /// How long ago.
        age: Duration,
        /// How long ago it may be.
        limit: Duration,
    },
    /// The signed time is too far ahead.
    InFuture {
        /// How far ahead.
        ahead: Duration,
        /// How far ahead it may be.
        limit: Duration,
    },
    /// The signature does not belong to these bytes and any of the keys.
    Mismatch {
        /// Whether the number of bytes differs from `Content-Length`: then something changed the body on the way.
        body_changed: bool,
        /// Whether the URL is part of what is signed.
        url_signed: bool,
    },
    /// The URL's signature is right, but the body is not the one that it names (Twilio's `bodySHA256`).
    BodyHashMismatch,
    /// The body is empty, and this provider never signs an empty one.
    EmptyBody,
    /// The content type is not a form, and this provider signs form fields alone: nothing would cover the body.
    NotAForm,
    /// A header says something else than the signed body.
    Contradiction {
        /// The header.
        header: String,
    },
    /// Password, token, secret URL or client certificate are not the configured ones.
    BadCredentials,
    /// The URL is signed, and nobody said which one the provider calls.
    NoPublicUrl,
}

impl VerifyError {
    /// The body of every refusal.
    pub const BODY: &'static str = "webhook not accepted";

    /// The status of the answer: 413 for a body over the limit, 401 for everything else. What exactly was wrong does
    /// not show, so a sender cannot feel its way.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// What an operator should look at.
    #[must_use]
    pub const fn check(&self) -> &'static str {
        match self {
            Self::NoKey => "configure the secret that the provider shows for this webhook",
            Self::NoActiveKey => {
                "a key's `not_after` has passed or its `not_before` is ahead: add the current one"
            }
            Self::TooLarge { .. } => "raise `with_max_body` if the provider sends bodies of this size",
            Self::Missing { .. } => {
                "is this the right provider, and does the proxy in front pass its headers on? Is signing switched on there?"
            }
            Self::Malformed { .. } => {
                "something before this program changed it, or it is not this provider's"
            }
            Self::NoAcceptableSignature { .. } => {
                "the provider signs with another version than the one configured here"
            }
            Self::TooOld { .. } => {
                "this host's clock (NTP), a queue that delays deliveries, or a replay of a recorded request"
            }
            Self::InFuture { .. } => {
                "this host's clock (NTP); `with_sdk_parity` accepts what the provider's own SDK does"
            }
            Self::Mismatch { body_changed: true, .. } => {
                "the body was re-serialised or decompressed before verification: hand over the raw bytes as received"
            }
            Self::Mismatch { url_signed: true, .. } => {
                "is `PublicUrl` exactly the address that the provider calls (scheme, host, path, query)? Is it the secret \
                 of this endpoint? Was the body re-serialised before verification?"
            }
            Self::Mismatch { .. } => {
                "was the body re-serialised before verification (parsed and printed again, line ends or escapes changed)? \
                 Is it the secret of this endpoint, and of this environment (test or live)?"
            }
            Self::BodyHashMismatch => {
                "was the body re-serialised before verification? The raw bytes as received are needed"
            }
            Self::EmptyBody => "something before this program consumed the body",
            Self::NotAForm => "this provider signs form fields: is another kind of webhook configured there?",
            Self::Contradiction { .. } => {
                "something before this program set the header, or the request is forged"
            }
            Self::BadCredentials => "the credentials configured at the provider and here differ",
            Self::NoPublicUrl => {
                "configure `with_public_url`: the address that the provider calls, never `Host`"
            }
        }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("no key is configured"),
            Self::NoActiveKey => f.write_str("no configured key is valid at this time"),
            Self::TooLarge { size, limit } => write!(f, "the body has {size} bytes, {limit} are allowed"),
            Self::Missing { what } => write!(f, "{what} is missing"),
            Self::Malformed { what, expected } => write!(f, "{what} is not {expected}"),
            Self::NoAcceptableSignature { expected } => {
                write!(f, "there is no signature of version {expected}")
            }
            Self::TooOld { age, limit } => {
                write!(f, "signed {} s ago, {} s are allowed", age.as_secs(), limit.as_secs())
            }
            Self::InFuture { ahead, limit } => {
                write!(
                    f,
                    "signed {} s ahead of this clock, {} s are allowed",
                    ahead.as_secs(),
                    limit.as_secs()
                )
            }
            Self::Mismatch { .. } => {
                f.write_str("the signature is not that of these bytes with any configured key")
            }
            Self::BodyHashMismatch => {
                f.write_str("the body is not the one whose hash the signed URL carries")
            }
            Self::EmptyBody => f.write_str("the body is empty"),
            Self::NotAForm => f.write_str("the body is not a form, so the signature would not cover it"),
            Self::Contradiction { header } => write!(f, "header {header} contradicts the signed body"),
            Self::BadCredentials => f.write_str("the credentials are not the configured ones"),
            Self::NoPublicUrl => f.write_str("the URL is signed, and no public URL is configured"),
        }?;
        write!(f, "; check: {}", self.check())
    }
}

impl std::error::Error for VerifyError {}

/// A verifier or signer cannot be made from this configuration.
///
/// It never shows the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A key cannot be used.
    Key {
        /// The key's name in its ring.
        id: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A recipe that would verify nothing, or cannot work.
    Recipe {
        /// The recipe's name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Not an address that a provider could call.
    PublicUrl(&'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { id, problem } => write!(f, "key `{id}`: {problem}"),
            Self::Recipe { name, problem } => write!(f, "recipe `{name}`: {problem}"),
            Self::PublicUrl(problem) => write!(f, "public URL: {problem}"),
        }
    }
}

impl std::error::Error for ConfigError {}
