//! One exchange of a refresh token at the token endpoint ([RFC 6749, 6](https://www.rfc-editor.org/rfc/rfc6749#section-6)).

use crate::{AuthStyle, OAuth2Config, Tokens};
use futures_core::Stream as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use martlet_base::{Clock, Deadline, Delivery, Moment, Recovery};
use martlet_core::{
    BodyStream, Error, ErrorKind, Secret, SendContext, Transport, TransportError, WireRequest,
};
use martlet_resilience::hint::parse_retry_after;
use oauth2::basic::{BasicClient, BasicTokenType};
use oauth2::{
    AsyncHttpClient, AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, RefreshToken,
    RequestTokenError, Scope, TokenResponse as _, TokenUrl,
};
use serde_json::Value;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

/// An answer of a token endpoint is a few hundred bytes.
const MAX_BODY: usize = 1 << 20;

/// What one exchange gave.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    /// As they are to be stored.
    pub(crate) tokens: Tokens,
    /// When the access token ends on the monotonic clock.
    pub(crate) expires: Option<Moment>,
}

/// An exchange that gave nothing. The message holds no secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct EndpointFailure {
    pub(crate) message: String,
    pub(crate) delivery: Delivery,
    pub(crate) recovery: Recovery,
    pub(crate) not_before: Option<Moment>,
    /// The refresh token is no good (any more).
    pub(crate) invalid_grant: bool,
}

impl EndpointFailure {
    fn new(delivery: Delivery, recovery: Recovery, message: String) -> Self {
        Self { message, delivery, recovery, not_before: None, invalid_grant: false }
    }
}

/// One request to the endpoint, of at most `timeout`.
pub(crate) struct Exchange<'a> {
    pub(crate) config: &'a OAuth2Config,
    pub(crate) transport: &'a dyn Transport,
    pub(crate) clock: &'a Clock,
    pub(crate) old: &'a Tokens,
    pub(crate) refresh_token: &'a Secret,
    pub(crate) attempt: u32,
    pub(crate) timeout: Duration,
    /// When the head of the answer was there: the token's life is counted from then.
    pub(crate) arrived: OnceLock<Moment>,
}

/// The library's requests go over our own transport.
impl<'c> AsyncHttpClient<'c> for Exchange<'_> {
    type Error = EndpointFailure;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, EndpointFailure>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl Exchange<'_> {
    /// Sends the request and reads the answer.
    pub(crate) async fn run(&self) -> Result<Granted, EndpointFailure> {
        let Self { config, .. } = self;
        let style = match config.auth_style {
            AuthStyle::BasicHeader => AuthType::BasicAuth,
            AuthStyle::RequestBody => AuthType::RequestBody,
        };
        let mut client = BasicClient::new(ClientId::new(config.client_id.clone()))
            .set_auth_type(style)
            .set_token_uri(TokenUrl::from_url(config.token_url.clone()));
        if let Some(secret) = &config.client_secret {
            client = client.set_client_secret(ClientSecret::new(secret.expose().to_owned()));
        }
        let refresh_token = RefreshToken::new(self.refresh_token.expose().to_owned());
        let mut request = client.exchange_refresh_token(&refresh_token);
        for scope in &config.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        for (name, value) in &config.params {
            request = request.add_extra_param(name.as_str(), value.expose());
        }
        let answer = match request.request_async(self).await {
            Ok(answer) => answer,
            Err(RequestTokenError::Request(failure)) => return Err(failure),
            // The other errors quote the body.
            Err(_) => return Err(self.malformed("the answer is not the documented JSON")),
        };
        if *answer.token_type() != BasicTokenType::Bearer {
            return Err(self.malformed("the token is not a bearer token"));
        }
        if answer.access_token().secret().is_empty() {
            return Err(self.malformed("the access token is empty"));
        }
        let arrived = self.arrived.get().copied().unwrap_or_else(|| self.clock.now());
        let life = answer.expires_in().filter(|life| !life.is_zero()).or(config.assumed_lifetime);
        let scope = answer
            .scopes()
            .map(|scopes| scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "));
        Ok(Granted {
            tokens: Tokens {
                access_token: Some(Secret::new(answer.access_token().secret())),
                // Without a new one the old one stays good.
                refresh_token: Some(
                    match answer.refresh_token().filter(|token| !token.secret().is_empty()) {
                        Some(token) => Secret::new(token.secret()),
                        None => self.refresh_token.clone(),
                    },
                ),
                expires: life.map(|life| {
                    // Other processes go by their own calendars: they stop using it a little earlier.
                    let margin = Duration::from_secs(30).min(life / 4);
                    self.clock.wall_at(arrived) + (life - margin)
                }),
                scope: scope.or_else(|| self.old.scope.clone()),
            },
            expires: life.map(|life| arrived + life),
        })
    }

    /// The HTTP of it: gives the library an answer only when that is a success.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, EndpointFailure> {
        let (head, body) = request.into_parts();
        let mut headers = head.headers;
        if let Some(value) = headers.get_mut(header::AUTHORIZATION) {
            value.set_sensitive(true);
        }
        let agent = concat!("martlet/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        let wire = WireRequest::new(head.method, self.config.token_url.clone(), headers, body.into());
        let mut cx = SendContext::new("oauth2", "token.refresh", self.timeout);
        cx.attempt = self.attempt;
        let exchange = async {
            let (head, body) = self.transport.send(wire, &cx).await?.into_parts();
            let _ = self.arrived.set(self.clock.now());
            Ok::<_, TransportError>((head.status, head.headers, read(body).await?))
        };
        let limit = Deadline::after(self.clock.now(), self.timeout);
        match self.clock.within(limit, exchange).await {
            None => {
                let message = self.say(&format!("no complete answer within {:?}", self.timeout));
                Err(EndpointFailure::new(Delivery::Unknown, Recovery::Transient, message))
            }
            Some(Err(error)) => {
                let message = self.say(&error.to_string());
                Err(EndpointFailure::new(error.delivery(), Recovery::Transient, message))
            }
            Some(Ok((_, _, None))) => Err(self.malformed("the answer is larger than 1 MiB")),
            Some(Ok((status, headers, Some(body)))) => self.judge(status, &headers, &body),
        }
    }

    fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<HttpResponse, EndpointFailure> {
        let json = serde_json::from_slice::<Value>(body).ok();
        let text = |names: &[&str]| {
            let object = json.as_ref()?;
            names.iter().find_map(|name| object.get(name)?.as_str().filter(|text| !text.is_empty()))
        };
        // Some servers answer 200 with an error in the body.
        if status.is_success() && text(&["error"]).is_none() {
            return json.and_then(mend).map(http::Response::new).ok_or_else(|| {
                self.malformed(&format!("the answer is not the documented JSON ({})", status.as_u16()))
            });
        }
        let (code, said) = (text(&["error", "status", "code"]), text(&["error_description", "message"]));
        let (delivery, recovery, advice) = self.meaning(status, code);
        let mut message = status.as_u16().to_string();
        if let Some(code) = code {
            message = format!("{message} {}", cut(&self.without_secrets(code), 40));
        }
        if let Some(said) = said {
            // Short, so that the advice behind it is not cut off further up.
            message = format!("{message}: \"{}\"", cut(&self.without_secrets(said), 100));
        }
        let message = format!("{}{advice}", self.say(&message));
        let mut failure = EndpointFailure::new(delivery, recovery, message);
        failure.invalid_grant = code.is_some_and(|code| self.is_invalid_grant(code));
        let pause = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        failure.not_before = pause
            .and_then(|value| parse_retry_after(value, self.clock.wall()))
            .map(|pause| self.clock.now() + pause);
        Err(failure)
    }

    /// What an answer that is not a success means: [RFC 6749, 5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2), and
    /// what the status says where that is silent.
    fn meaning(&self, status: StatusCode, code: Option<&str>) -> (Delivery, Recovery, &'static str) {
        let fatal = |advice| (Delivery::Processed, Recovery::Fatal, advice);
        match (code, status.as_u16()) {
            (Some(code), _) if self.is_invalid_grant(code) => fatal(""),
            (_, 429) | (Some("slow_down"), _) => (Delivery::Rejected, Recovery::Throttled, ""),
            (Some("temporarily_unavailable" | "server_error"), _) | (_, 408 | 500..=599) => {
                (Delivery::Unknown, Recovery::Transient, "")
            }
            (Some("invalid_scope"), _) => fatal("; ask only for scopes that the account granted"),
            (Some("unauthorized_client"), _) => fatal("; allow the refresh grant for this client id"),
            (Some("invalid_client"), _) | (None, 401) => {
                fatal("; check client id, client secret and auth style")
            }
            (Some("unsupported_grant_type" | "invalid_request"), _) => {
                fatal("; check token_url, auth style and parameters")
            }
            _ => fatal("; check token_url"),
        }
    }

    fn is_invalid_grant(&self, code: &str) -> bool {
        self.config.invalid_grant_codes.iter().any(|known| known == code)
    }

    /// An answer was given, and with it perhaps a new refresh token: asking again at once would use the old one twice.
    fn malformed(&self, what: &str) -> EndpointFailure {
        let message = format!("{}; a new refresh token in it is lost", self.say(what));
        EndpointFailure::new(Delivery::Processed, Recovery::Transient, message)
    }

    /// `text` with the endpoint's name, made safe for a log line, and without secrets.
    fn say(&self, text: &str) -> String {
        let host = self.config.token_url.host_str().unwrap_or("");
        let text = self.without_secrets(text);
        format!("token endpoint {host}: {}", Error::new(ErrorKind::Credential, text).message())
    }

    /// A server may echo what it was sent.
    fn without_secrets(&self, text: &str) -> String {
        let sent =
            [Some(self.refresh_token), self.old.access_token.as_ref(), self.config.client_secret.as_ref()];
        let params = self.config.params.iter().map(|(_, value)| value);
        let mut text = text.to_owned();
        for secret in sent.into_iter().flatten().chain(params).map(Secret::expose) {
            if !secret.is_empty() {
                text = text.replace(secret, "[secret]");
            }
        }
        text
    }
}

/// At most `max` characters of `text`.
fn cut(text: &str, max: usize) -> &str {
    text.char_indices().nth(max).map_or(text, |(end, _)| &text[..end])
}

/// Harmless ways to bend RFC 6749, 5.1 that are mended, because refusing the answer would lose a rotated token: a life as
/// text, and no token type.
fn mend(mut answer: Value) -> Option<Vec<u8>> {
    let object = answer.as_object_mut()?;
    object.entry("token_type").or_insert_with(|| "bearer".into());
    if let Some(life) = object.get_mut("expires_in") {
        let seconds = match &*life {
            Value::String(text) => text.trim().parse::<u64>().ok(),
            Value::Number(number) => number.as_u64(),
            _ => None,
        };
        *life = seconds.into();
    }
    serde_json::to_vec(&answer).ok()
}

/// Reads a body to its end; `None` when it is too large.
async fn read(mut body: BodyStream) -> Result<Option<Vec<u8>>, TransportError> {
    let mut all = Vec::new();
    while let Some(chunk) = poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await.transpose()? {
        if all.len() + chunk.len() > MAX_BODY {
            return Ok(None);
        }
        all.extend_from_slice(&chunk);
    }
    Ok(Some(all))
}
