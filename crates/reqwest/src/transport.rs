use crate::classify::classify;
use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use http::{HeaderValue, Method, header};
use martlet_core::{BodyStream, Error, ErrorKind, SendContext, Transport, TransportError, WireRequest};
use std::fmt;
use std::time::Duration;

/// Sends requests with reqwest. Cheap to clone; clones share one pool of connections, so make one and give it to every
/// client.
///
/// It must be used inside a tokio runtime. A dropped [`send`](Transport::send) closes its connection.
#[derive(Clone)]
pub struct ReqwestTransport(reqwest::Client);

impl ReqwestTransport {
    /// A transport with the defaults of [`builder`](Self::builder).
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when TLS cannot be set up.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// A builder.
    pub const fn builder() -> ReqwestTransportBuilder {
        ReqwestTransportBuilder {
            connect_timeout: Duration::from_secs(10),
            idle_per_host: usize::MAX,
            idle_timeout: Duration::from_secs(90),
            tcp_nodelay: true,
        }
    }
}

#[async_trait]
impl Transport for ReqwestTransport {
    async fn send(
        &self,
        request: WireRequest,
        _cx: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError> {
        let WireRequest { method, url, headers, body, .. } = request;
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = headers;
        if !body.is_empty() {
            *request.body_mut() = Some(body.into());
        } else if matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) {
            // RFC 9110, 8.6: these say that they carry nothing; hyper leaves it out, and some servers answer 411.
            request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut answer = self.0.execute(request).await.map_err(|e| classify(&e))?;
        let (status, version) = (answer.status(), answer.version());
        let headers = std::mem::take(answer.headers_mut());
        let body = answer.bytes_stream().map_err(|e| classify(&e));
        let mut response = http::Response::new(BodyStream::new(body));
        (*response.status_mut(), *response.version_mut(), *response.headers_mut()) =
            (status, version, headers);
        Ok(response)
    }
}

impl fmt::Debug for ReqwestTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReqwestTransport")
    }
}

/// Builds a [`ReqwestTransport`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until build() is called"]
pub struct ReqwestTransportBuilder {
    connect_timeout: Duration,
    idle_per_host: usize,
    idle_timeout: Duration,
    tcp_nodelay: bool,
}

impl ReqwestTransportBuilder {
    /// How long a connection may take to be made, TLS included; 10 s unless said. What takes longer was not sent.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many idle connections are kept for each host; no limit unless said.
    pub const fn pool_max_idle_per_host(mut self, connections: usize) -> Self {
        self.idle_per_host = connections;
        self
    }

    /// How long an idle connection is kept; 90 s unless said.
    pub const fn pool_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Whether small packets leave at once (`TCP_NODELAY`); true unless said.
    pub const fn tcp_nodelay(mut self, at_once: bool) -> Self {
        self.tcp_nodelay = at_once;
        self
    }

    /// Builds the transport. No I/O.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when TLS cannot be set up.
    pub fn build(self) -> Result<ReqwestTransport, Error> {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .pool_max_idle_per_host(self.idle_per_host)
            .pool_idle_timeout(self.idle_timeout)
            .tcp_nodelay(self.tcp_nodelay)
            .build()
            .map(ReqwestTransport)
            .map_err(|e| Error::new(ErrorKind::Config, format!("the transport: {}", classify(&e))))
    }
}
