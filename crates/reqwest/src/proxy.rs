use martlet_core::Secret;
use std::fmt;
use url::Url;

/// A proxy through which requests go.
///
/// ```
/// # use martlet_reqwest::{Proxy, ReqwestTransport};
/// # fn build() -> Result<ReqwestTransport, martlet_core::Error> {
/// let proxy = Proxy::new("http://proxy.acme.example:3128").basic_auth("sync", "password").bypass("localhost, .internal");
/// ReqwestTransport::builder().proxy(proxy).build()
/// # }
/// ```
///
/// `https` goes through an HTTP proxy in a tunnel (`CONNECT`, RFC 9110, 9.3.6), so the proxy sees the host and nothing else;
/// plain `http` is forwarded. A proxy that refuses is a [`Connect`](martlet_core::TransportErrorKind::Connect) error that
/// names the reason: nothing was sent to the platform.
#[derive(Clone)]
pub struct Proxy {
    url: Secret,
    auth: Option<(String, Secret)>,
    bypass: String,
}

impl Proxy {
    /// The proxy at `url`: `http://host:port`, or with the feature `rustls` `https://`, `socks4://`, `socks4a://`, `socks5://` or
    /// `socks5h://`; the ones with a letter behind the number let the proxy resolve names. A user and a password may stand in the
    /// URL. [`build`](crate::ReqwestTransportBuilder::build) checks it.
    #[must_use]
    pub fn new(url: impl Into<Secret>) -> Self {
        Self { url: url.into(), auth: None, bypass: String::new() }
    }

    /// What the proxy wants to know: `Proxy-Authorization: Basic`, or the user name and password of SOCKS 5. It wins over
    /// those in the URL.
    #[must_use]
    pub fn basic_auth(mut self, user: impl Into<String>, password: impl Into<Secret>) -> Self {
        self.auth = Some((user.into(), password.into()));
        self
    }

    /// Hosts that are reached without it, in the form of `NO_PROXY`: names with their subdomains, addresses, networks
    /// (`10.0.0.0/8`), separated by commas. It replaces an earlier list.
    #[must_use]
    pub fn bypass(mut self, hosts: impl Into<String>) -> Self {
        self.bypass = hosts.into();
        self
    }

    /// What is wrong must not quote the URL.
    pub(crate) fn build(&self) -> Result<reqwest::Proxy, String> {
        let mut url = Url::parse(self.url.expose()).map_err(|e| format!("its URL: {e}"))?;
        // What reqwest does not know it would pass over in silence, and send past the proxy.
        match url.scheme() {
            "http" => {}
            "https" | "socks4" | "socks4a" | "socks5" | "socks5h" if cfg!(feature = "rustls") => {}
            _ => return Err("its URL has the scheme of no proxy".to_owned()),
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("its URL has no host".to_owned());
        }
        if let Some((user, password)) = &self.auth {
            // The percent sign is the one that `Url` would leave to be decoded.
            let encode = |text: &str| text.replace('%', "%25");
            url.set_username(&encode(user))
                .and_then(|()| url.set_password(Some(&encode(password.expose()))))
                .expect("it has a host");
        }
        if url.as_str().parse::<http::Uri>().is_err() {
            return Err("its URL cannot be used".to_owned());
        }
        let proxy = reqwest::Proxy::all(url).map_err(|_| "its URL cannot be used".to_owned())?;
        Ok(proxy.no_proxy(reqwest::NoProxy::from_string(&self.bypass)))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = Url::parse(self.url.expose()).ok();
        f.debug_struct("Proxy")
            .field("host", &url.as_ref().and_then(Url::host_str))
            .field("port", &url.as_ref().and_then(Url::port_or_known_default))
            .field("bypass", &self.bypass)
            .finish_non_exhaustive()
    }
}
