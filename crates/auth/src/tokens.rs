use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use martlet_base::Timestamp;
use martlet_core::Secret;
use serde::{Deserialize, Serialize};

use crate::{Seal, SealError};

/// What an account was granted, as it is stored. `Debug` shows no token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tokens {
    /// What calls are made with; `None` when only a refresh token is known yet.
    pub access_token: Option<Secret>,
    /// What buys the next access token; `None` when the platform gave none.
    pub refresh_token: Option<Secret>,
    /// Until when the access token is used, on the calendar: somewhat before it ends, so that clocks which differ a little
    /// agree. `None`: until it is refused.
    pub expires: Option<Timestamp>,
    /// The scopes that were granted, separated by spaces, if the platform said.
    pub scope: Option<String>,
}

impl Tokens {
    /// A refresh token alone: the first call exchanges it.
    #[must_use]
    pub fn from_refresh_token(token: impl Into<Secret>) -> Self {
        Self { access_token: None, refresh_token: Some(token.into()), expires: None, scope: None }
    }

    /// An access token and the refresh token for the next one.
    #[must_use]
    pub fn new(access_token: impl Into<Secret>, refresh_token: impl Into<Secret>) -> Self {
        Self { access_token: Some(access_token.into()), ..Self::from_refresh_token(refresh_token) }
    }

    /// With the end of the access token's life.
    #[must_use]
    pub const fn expires(mut self, at: Timestamp) -> Self {
        self.expires = Some(at);
        self
    }

    /// With the scopes that were granted, separated by spaces.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Whether both hold the same tokens.
    #[cfg(test)]
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        same(self.access_token.as_ref(), other.access_token.as_ref())
            && same(self.refresh_token.as_ref(), other.refresh_token.as_ref())
    }
}

/// Whether two secrets are the same. Both are ours: no attacker times it.
pub(crate) fn same(a: Option<&Secret>, b: Option<&Secret>) -> bool {
    a.map(Secret::expose) == b.map(Secret::expose)
}

/// The stored form: what it is and who sealed it stay readable.
#[derive(Serialize, Deserialize)]
struct Envelope {
    format: u32,
    seal: String,
    sealed: String,
}

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Plain<'a> {
    access_token: Option<std::borrow::Cow<'a, str>>,
    refresh_token: Option<std::borrow::Cow<'a, str>>,
    expires: Option<String>,
    scope: Option<std::borrow::Cow<'a, str>>,
}

/// Why a stored value is not tokens that this program can read. Never quotes it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it is not a token envelope")]
    NotAnEnvelope,
    #[error("it has the format {0}, which a newer version of this library writes")]
    Newer(u32),
    #[error("it was sealed by {found:?}, and this program opens {expected:?}")]
    OtherSeal { found: String, expected: String },
    #[error("it does not open: {0}")]
    Sealed(#[from] SealError),
}

pub(crate) fn encode(tokens: &Tokens, seal: &dyn Seal, cell: &str) -> Result<Vec<u8>, SealError> {
    let text = |secret: &'_ Option<Secret>| secret.as_ref().map(|s| s.expose().to_owned().into());
    let plain = Plain {
        access_token: text(&tokens.access_token),
        refresh_token: text(&tokens.refresh_token),
        expires: tokens.expires.map(|at| at.to_string()),
        scope: tokens.scope.as_deref().map(Into::into),
    };
    let plain = serde_json::to_vec(&plain).expect("texts are JSON");
    let sealed = BASE64.encode(seal.seal(cell, &plain)?);
    let envelope = Envelope { format: FORMAT, seal: seal.name().to_owned(), sealed };
    Ok(serde_json::to_vec(&envelope).expect("texts are JSON"))
}

pub(crate) fn decode(value: &[u8], seal: &dyn Seal, cell: &str) -> Result<Tokens, Unreadable> {
    let envelope: Envelope = serde_json::from_slice(value).map_err(|_| Unreadable::NotAnEnvelope)?;
    if envelope.format != FORMAT {
        return Err(Unreadable::Newer(envelope.format));
    }
    if envelope.seal != seal.name() {
        return Err(Unreadable::OtherSeal { found: envelope.seal, expected: seal.name().to_owned() });
    }
    let sealed = BASE64.decode(&envelope.sealed).map_err(|_| Unreadable::NotAnEnvelope)?;
    let plain = seal.open(cell, &sealed)?;
    let plain: Plain<'_> = serde_json::from_slice(&plain).map_err(|_| Unreadable::NotAnEnvelope)?;
    let expires = plain.expires.map(|at| at.parse()).transpose().map_err(|_| Unreadable::NotAnEnvelope)?;
    Ok(Tokens {
        access_token: plain.access_token.map(Secret::new),
        refresh_token: plain.refresh_token.map(Secret::new),
        expires,
        scope: plain.scope.map(Into::into),
    })
}
