//! Credentials: what they are, where they come from, and the cache between the two.

mod cache;

pub(crate) use cache::{CredentialCache, Current};

use crate::{Error, ErrorKind, WireRequest};
use async_trait::async_trait;
use base64::Engine as _;
use http::{HeaderName, HeaderValue, header};
use martlet_base::{Clock, ConnectionId, Moment, Recovery};
use secrecy::{ExposeSecret as _, SecretString};
use std::borrow::Cow;
use std::fmt;

/// A text that never appears in `Debug`, is wiped when it is dropped, and has no `Display`.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(SecretString::from(secret.into()))
    }

    /// The secret itself. Do not keep or print it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<&str> for Secret {
    fn from(secret: &str) -> Self {
        Self::new(secret)
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self::new(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What proves to a platform who is calling.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Credential {
    /// `Authorization: Bearer <token>` ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750)).
    Bearer(Secret),
    /// `Authorization: Basic <base64>` ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)).
    Basic {
        /// The user name; Mailchimp ignores it.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A key in a header of the platform's own.
    ApiKey {
        /// The header, `api-key`.
        header: HeaderName,
        /// The key.
        key: Secret,
    },
    /// None: public endpoints.
    None,
}

impl Credential {
    /// A bearer token.
    #[must_use]
    pub fn bearer(token: impl Into<Secret>) -> Self {
        Self::Bearer(token.into())
    }

    /// User name and password.
    #[must_use]
    pub fn basic(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self::Basic { user: user.into(), password: password.into() }
    }

    /// A key in the header `header`.
    #[must_use]
    pub fn api_key(header: HeaderName, key: impl Into<Secret>) -> Self {
        Self::ApiKey { header, key: key.into() }
    }

    /// Whether it can be put into a header: checked when a client is built, so that a token with a line break is found
    /// there and not at the first call.
    pub(crate) fn header(&self) -> Result<Option<(HeaderName, HeaderValue)>, Error> {
        let (name, value) = match self {
            Self::None => return Ok(None),
            Self::Bearer(token) => (header::AUTHORIZATION, format!("Bearer {}", token.expose())),
            Self::Basic { user, password } => {
                let pair = format!("{user}:{}", password.expose());
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                (header::AUTHORIZATION, format!("Basic {pair}"))
            }
            Self::ApiKey { header, key } => (header.clone(), key.expose().to_owned()),
        };
        let empty = match self {
            Self::Bearer(secret)
            | Self::Basic { password: secret, .. }
            | Self::ApiKey { key: secret, .. } => secret.expose().is_empty(),
            Self::None => false,
        };
        // Neither error may quote the value.
        let mut value = HeaderValue::try_from(value).ok().filter(|_| !empty).ok_or_else(|| {
            Error::new(
                ErrorKind::Credential,
                "the credential is empty or has characters that a header cannot carry",
            )
        })?;
        value.set_sensitive(true);
        Ok(Some((name, value)))
    }

    /// The text without the secret: platforms quote it ("the token abc has expired"). A short one may be a word.
    pub(crate) fn hidden_in<'a>(&self, text: &'a str) -> Cow<'a, str> {
        const SHORTEST: usize = 8;
        let secret = match self {
            Self::Bearer(secret)
            | Self::Basic { password: secret, .. }
            | Self::ApiKey { key: secret, .. } => secret.expose(),
            Self::None => return text.into(),
        };
        let mut text = Cow::Borrowed(text);
        if secret.len() >= SHORTEST && text.contains(secret) {
            text = text.replace(secret, "(secret)").into();
        }
        if let Self::Basic { user, .. } = self {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}"));
            if text.contains(&pair) {
                text = text.replace(&pair, "(secret)").into();
            }
        }
        text
    }
}

/// Puts a credential onto a request. Synchronous, without I/O: for platforms that sign requests in a way of their own.
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// Applies `credential` to the request of one attempt.
    ///
    /// # Errors
    /// [`ErrorKind::Credential`] when the credential is not of the kind that the platform takes.
    fn apply(&self, credential: &Credential, request: &mut WireRequest) -> Result<(), Error>;
}

/// Puts a credential into its usual header.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeaderAuthenticator;

impl Authenticator for HeaderAuthenticator {
    fn apply(&self, credential: &Credential, request: &mut WireRequest) -> Result<(), Error> {
        if let Some((name, value)) = credential.header()? {
            request.headers.insert(name, value);
        }
        Ok(())
    }
}

/// A credential and how long it lasts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Issued {
    /// The credential.
    pub credential: Credential,
    /// When it expires on the client's clock; `None` when it does not.
    pub expires: Option<Moment>,
}

impl Issued {
    /// A credential that does not expire.
    #[must_use]
    pub const fn lasting(credential: Credential) -> Self {
        Self { credential, expires: None }
    }

    /// A credential that expires at `at`.
    #[must_use]
    pub const fn until(credential: Credential, at: Moment) -> Self {
        Self { credential, expires: Some(at) }
    }
}

/// What a source may want to know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IssueContext {
    /// The account.
    pub connection: ConnectionId,
    /// The client's clock.
    pub clock: Clock,
    /// Whether the platform refused the last credential (401), so that a stored one is no use either.
    pub refused: bool,
}

/// Where credentials come from. It does I/O and never caches: the client does that, with one request for any number of
/// callers.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not give credentials",
    note = "a `martlet_core::Credential` is a source by itself; for tokens that expire implement `CredentialSource`"
)]
pub trait CredentialSource: fmt::Debug + Send + Sync + 'static {
    /// Obtains a credential. It runs on a task of its own: dropping a caller does not stop it. It retries what may pass by
    /// itself: a call that gets no credential fails, and is not retried for that.
    ///
    /// # Errors
    /// [`CredentialError`]; all callers that wait get it, and it is remembered for a few seconds.
    async fn issue(&self, cx: &IssueContext) -> Result<Issued, CredentialError>;

    /// Whether asking again after a 401 can give another credential.
    fn renewable(&self) -> bool {
        true
    }

    /// A credential that is known without I/O, to be checked when the client is built.
    fn fixed(&self) -> Option<&Credential> {
        None
    }
}

#[async_trait]
impl CredentialSource for Credential {
    async fn issue(&self, _cx: &IssueContext) -> Result<Issued, CredentialError> {
        Ok(Issued::lasting(self.clone()))
    }

    fn renewable(&self) -> bool {
        false
    }

    fn fixed(&self) -> Option<&Credential> {
        Some(self)
    }
}

/// No credential could be obtained.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct CredentialError {
    message: String,
    recovery: Recovery,
}

impl CredentialError {
    /// A failure. `recovery` is [`Recovery::Transient`] when trying again may help, [`Recovery::Fatal`] when somebody has
    /// to connect the account anew. The message must not hold a secret.
    #[must_use]
    pub fn new(message: impl Into<String>, recovery: Recovery) -> Self {
        Self { message: message.into(), recovery }
    }

    /// What can be done.
    #[must_use]
    pub const fn recovery(&self) -> Recovery {
        self.recovery
    }
}
