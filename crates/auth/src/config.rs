use martlet_core::{Error, ErrorKind, Secret};
use martlet_resilience::{Jitter, RetryPolicy};
use std::fmt;
use std::time::Duration;
use url::{Host, Url};

/// How the client proves to the token endpoint who it is
/// ([RFC 6749, 2.3.1](https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1)). A client without a secret only names itself,
/// in the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthStyle {
    /// `Authorization: Basic`, id and secret form-encoded first: what every server must support.
    #[default]
    BasicHeader,
    /// `client_id` and `client_secret` in the body: what many platforms document.
    RequestBody,
}

/// One OAuth2 client at one token endpoint. Made by [`OAuth2Config::builder`], which checks it.
#[derive(Clone)]
pub struct OAuth2Config {
    pub(crate) token_url: Url,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<Secret>,
    pub(crate) scopes: Vec<String>,
    pub(crate) auth_style: AuthStyle,
    pub(crate) params: Vec<(String, Secret)>,
    pub(crate) invalid_grant_codes: Vec<String>,
    pub(crate) assumed_lifetime: Option<Duration>,
    pub(crate) retry: RetryPolicy,
    pub(crate) attempt_timeout: Duration,
}

impl OAuth2Config {
    /// A builder for the client `client_id` at the token endpoint `token_url`.
    pub fn builder(token_url: impl Into<String>, client_id: impl Into<String>) -> OAuth2ConfigBuilder {
        OAuth2ConfigBuilder {
            token_url: token_url.into(),
            config: Self {
                // Replaced in `build`, which is the only way out of the builder.
                token_url: Url::parse("https://localhost").expect("a constant URL"),
                client_id: client_id.into(),
                client_secret: None,
                scopes: Vec::new(),
                auth_style: AuthStyle::default(),
                params: Vec::new(),
                invalid_grant_codes: vec!["invalid_grant".to_owned()],
                assumed_lifetime: None,
                retry: RetryPolicy::seed(),
                attempt_timeout: Duration::from_secs(30),
            },
        }
    }

    /// The longest that a refresh goes on: each attempt's time and each pause of the retry policy, jitter included. Derived,
    /// so that an outer limit never cuts inner retries short.
    #[must_use]
    pub fn time_limit(&self) -> Duration {
        let backoff = self.retry.backoff();
        let longest = |pause: Duration| match backoff.jitter() {
            Jitter::Bounded(part) => pause.mul_f64(1.0 + part).min(backoff.max_delay()),
            Jitter::Decorrelated => backoff.max_delay(),
            _ => pause,
        };
        let pauses: Duration = self.retry.delays_without_jitter().into_iter().map(longest).sum();
        self.attempt_timeout.saturating_mul(self.retry.max_retries().saturating_add(1)).saturating_add(pauses)
    }
}

impl fmt::Debug for OAuth2Config {
    /// Without the secret, the values of parameters and the URL's query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params: Vec<&str> = self.params.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("OAuth2Config")
            .field("host", &self.token_url.host_str())
            .field("path", &self.token_url.path())
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret)
            .field("auth_style", &self.auth_style)
            .field("scopes", &self.scopes)
            .field("params", &params)
            .finish_non_exhaustive()
    }
}

/// Builds an [`OAuth2Config`].
#[derive(Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct OAuth2ConfigBuilder {
    token_url: String,
    config: OAuth2Config,
}

impl fmt::Debug for OAuth2ConfigBuilder {
    /// Of the URL only scheme and host, and nothing if it is none: it is not checked yet, and may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = Url::parse(&self.token_url).ok();
        let origin = url.as_ref().and_then(|url| Some((url.scheme(), url.host_str()?)));
        f.debug_struct("OAuth2ConfigBuilder")
            .field("token_url", &origin.map(|(scheme, host)| format!("{scheme}://{host}")))
            .field("config", &self.config)
            .finish()
    }
}

impl OAuth2ConfigBuilder {
    /// The client's secret. None for a public client.
    pub fn client_secret(mut self, secret: impl Into<Secret>) -> Self {
        self.config.client_secret = Some(secret.into());
        self
    }

    /// Where id and secret go; [`AuthStyle::BasicHeader`] unless said.
    pub const fn auth_style(mut self, style: AuthStyle) -> Self {
        self.config.auth_style = style;
        self
    }

    /// Asks for these scopes only. Without any, the refreshed token has the scopes that were granted at first.
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.config.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a parameter of the platform's own to the request's body. Its value is treated as a secret.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.config.params.push((name.into(), value.into()));
        self
    }

    /// Another error code by which this platform says `invalid_grant`, read from `error`, `status` or `code` of its answer.
    pub fn invalid_grant_code(mut self, code: impl Into<String>) -> Self {
        self.config.invalid_grant_codes.push(code.into());
        self
    }

    /// How long a token lives when the answer has no `expires_in`. Unless said, such a token is used until it is refused.
    pub const fn assumed_lifetime(mut self, lifetime: Duration) -> Self {
        self.config.assumed_lifetime = Some(lifetime);
        self
    }

    /// How to retry failures of the endpoint that pass; [`RetryPolicy::seed`] unless said.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.config.retry = policy;
        self
    }

    /// The time one request to the endpoint may take, from sending to the end of the body; 30 s unless said.
    pub const fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.config.attempt_timeout = timeout;
        self
    }

    /// Checks everything. No I/O.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] that names the setting: a URL that is not https (plain http is for loopback only) or holds a
    /// password or a fragment, an empty id or secret, a scope with a space, a parameter of the protocol's own, no time.
    pub fn build(self) -> Result<OAuth2Config, Error> {
        let Self { token_url, mut config } = self;
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, format!("oauth2: {message}")));
        // The parser's error does not quote the text.
        config.token_url = match Url::parse(&token_url) {
            Ok(url) => url,
            Err(error) => return wrong(&format!("token_url is not a URL: {error}")),
        };
        if let Err(message) = check_url(&config.token_url) {
            return wrong(message);
        }
        if config.client_id.is_empty() {
            return wrong("client_id is empty");
        }
        if config.client_secret.as_ref().is_some_and(|secret| secret.expose().is_empty()) {
            return wrong("client_secret is empty: leave it out for a public client");
        }
        // RFC 6749, 3.3
        let token = |b: u8| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
        if config.scopes.iter().any(|scope| scope.is_empty() || !scope.bytes().all(token)) {
            return wrong(
                "a scope is empty or has a space, a quote or a control character; give one scope each",
            );
        }
        let own = ["grant_type", "refresh_token", "client_id", "client_secret", "scope"];
        if let Some((name, _)) = config.params.iter().find(|(name, _)| own.contains(&name.as_str())) {
            return wrong(&format!("param {name} is the protocol's own: use its setting"));
        }
        if config.attempt_timeout.is_zero() || config.assumed_lifetime.is_some_and(|life| life.is_zero()) {
            return wrong("a time of zero lets nothing through");
        }
        Ok(config)
    }
}

/// Tokens must not travel in the clear.
fn check_url(url: &Url) -> Result<(), &'static str> {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => return Err("token_url has no host"),
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        _ => {
            return Err(
                "token_url is not https: tokens would travel in the clear (http is for loopback only)",
            );
        }
    }
    // A query is allowed: RFC 6749, 3.2.
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("token_url holds user, password or fragment; give the secret with client_secret()");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> OAuth2ConfigBuilder {
        OAuth2Config::builder("https://login.acme.example/token", "app-1").client_secret("canary-secret")
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        for (builder, said) in [
            (OAuth2Config::builder("login", "a"), "token_url"),
            (OAuth2Config::builder("http://login.acme.example/token", "a"), "https"),
            (OAuth2Config::builder("https://u:p@login.acme.example/token", "a"), "password"),
            (OAuth2Config::builder("https://login.acme.example/#x", "a"), "fragment"),
            (OAuth2Config::builder("https://login.acme.example/token", ""), "client_id"),
            (builder().client_secret(""), "client_secret"),
            (builder().scopes(["read write"]), "scope"),
            (builder().param("scope", "x"), "scope"),
            (builder().attempt_timeout(Duration::ZERO), "zero"),
            (builder().assumed_lifetime(Duration::ZERO), "zero"),
        ] {
            let error = builder.build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(said), "{error}");
        }
        for good in
            ["http://127.0.0.1:1/t", "http://[::1]/t", "http://localhost/t", "https://a.example/t?tenant=1"]
        {
            assert!(OAuth2Config::builder(good, "a").build().is_ok(), "{good}");
        }
    }

    #[test]
    fn o8_the_time_limit_is_derived_from_the_retries() {
        // 4 attempts of 30 s and pauses of 1, 4 and 16 s with a quarter on top.
        assert_eq!(builder().build().unwrap().time_limit(), Duration::from_millis(120_000 + 26_250));
        let config = builder().retry(RetryPolicy::never()).attempt_timeout(Duration::from_secs(5)).build();
        assert_eq!(config.unwrap().time_limit(), Duration::from_secs(5));
    }

    #[test]
    fn o10_debug_shows_no_secret() {
        let builder = builder().param("extra", "canary-param");
        let config = OAuth2ConfigBuilder {
            token_url: "https://a.example/t?key=canary-query".into(),
            ..builder.clone()
        };
        for text in [format!("{builder:?}"), format!("{:?}", config.build().unwrap())] {
            assert!(text.contains("app-1") && text.contains("extra") && !text.contains("canary"), "{text}");
        }
    }
}
