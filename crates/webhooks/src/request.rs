use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, Method, request};

use crate::ConfigError;

/// A request as it came in: method, path and query, headers, and the **raw** body.
///
/// The body must be the bytes as received: not parsed and printed again, not decompressed, not decoded as text.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    pub(crate) method: &'a Method,
    pub(crate) target: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    pub(crate) client_certificate: Option<&'a [u8]>,
}

impl<'a> Incoming<'a> {
    /// `target` is the path and query of the request line, as received: `/hooks/twilio?bodySHA256=..`. Scheme and host
    /// come from [`PublicUrl`] alone, never from the request.
    #[must_use]
    pub fn new(method: &'a Method, target: &'a str, headers: &'a HeaderMap, body: &'a [u8]) -> Self {
        Self { method, target, headers, body, client_certificate: None }
    }

    /// The same from the head of an [`http::Request`].
    #[must_use]
    pub fn from_parts(parts: &'a request::Parts, body: &'a [u8]) -> Self {
        let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        Self::new(&parts.method, target, &parts.headers, body)
    }

    /// The certificate (DER) that the client proved to own in the TLS handshake, for
    /// [`Credential::ClientCertificate`](crate::Credential::ClientCertificate). Take it from your TLS acceptor; from a header only if your own proxy sets it
    /// and strips the one that came in.
    #[must_use]
    pub fn with_client_certificate(mut self, der: &'a [u8]) -> Self {
        self.client_certificate = Some(der);
        self
    }

    pub(crate) fn query(&self) -> &'a [u8] {
        self.target.split_once('?').map_or(&b""[..], |(_, query)| query.as_bytes())
    }
}

impl fmt::Debug for Incoming<'_> {
    /// Headers and the target may carry credentials: they do not show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("method", self.method)
            .field("headers", &self.headers.len())
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// The address that the provider calls, as configured by you: what HubSpot v2 and v3, Twilio and Mandrill sign.
///
/// Behind a proxy a program sees another scheme, host or path than the provider. `Host` and `X-Forwarded-*` are what
/// a sender wrote into the request, so they are never read here: say what the public address is.
///
/// ```
/// use martlet_webhooks::PublicUrl;
///
/// let url = PublicUrl::origin("https://hooks.example.com/eu")?; // the proxy strips `/eu`
/// assert_eq!(url.of("/twilio?a=1"), "https://hooks.example.com/eu/twilio?a=1");
/// # Ok::<(), martlet_webhooks::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PublicUrl {
    url: String,
    pub(crate) exact: bool,
}

impl PublicUrl {
    /// Scheme, host and, where the proxy strips one, path prefix. The request's own path and query follow, so they are
    /// covered by the signature. Credentials (`https://user:password@host`) belong here where the provider has them.
    ///
    /// # Errors
    ///
    /// Not `http` or `https`, without a host, or with a query or fragment.
    pub fn origin(url: &str) -> Result<Self, ConfigError> {
        check(url)?;
        if url.contains('?') {
            return Err(ConfigError::PublicUrl("an origin has no query: it comes from the request"));
        }
        Ok(Self { url: url.trim_end_matches('/').to_owned(), exact: false })
    }

    /// The whole address, as typed in at the provider, for proxies that rewrite paths. The request's own path and query
    /// are then **not** covered: [`Coverage`](crate::Coverage) says so.
    ///
    /// # Errors
    ///
    /// Not `http` or `https`, without a host, or with a fragment.
    pub fn exact(url: &str) -> Result<Self, ConfigError> {
        check(url)?;
        Ok(Self { url: url.to_owned(), exact: true })
    }

    /// The address that the provider called for a request with this path and query.
    #[must_use]
    pub fn of(&self, target: &str) -> Cow<'_, str> {
        if self.exact {
            return Cow::Borrowed(&self.url);
        }
        let slash = if target.starts_with('/') || target.is_empty() { "" } else { "/" };
        Cow::Owned([&self.url, slash, target].concat())
    }
}

fn check(url: &str) -> Result<(), ConfigError> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let rest = rest.ok_or(ConfigError::PublicUrl("it must begin with https:// or http://"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') {
        return Err(ConfigError::PublicUrl("it has no host"));
    }
    if url.contains('#') || url.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err(ConfigError::PublicUrl("it has a fragment or white space"));
    }
    Ok(())
}

impl fmt::Debug for PublicUrl {
    /// Credentials and query do not show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.url.split_once("://").unwrap_or_default();
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        write!(f, "PublicUrl({scheme}://{}/..)", authority.rsplit('@').next().unwrap_or_default())
    }
}
