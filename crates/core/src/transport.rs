use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use martlet_base::Delivery;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use url::Url;

/// What sends an attempt. Implemented by `martlet-reqwest`, by the scripted transport and the simulators of
/// `martlet-testkit`, and by whoever brings another HTTP client.
///
/// A transport sends once: no retries, no redirects across origins, no cookies, no decompression surprises. It need not
/// watch the clock: the client drops the future when the attempt's time is over, and dropping must close the exchange.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot send requests",
    note = "use `martlet_reqwest::ReqwestTransport`, or implement `martlet_core::Transport`"
)]
pub trait Transport: fmt::Debug + Send + Sync {
    /// Sends the request and returns once the head of the answer is there.
    ///
    /// # Errors
    /// A [`TransportError`] whose [`delivery`](TransportError::delivery) says whether a byte can have reached the server.
    async fn send(
        &self,
        request: WireRequest,
        cx: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError>;
}

/// A request as it goes onto the wire, credential included.
#[derive(Clone)]
#[non_exhaustive]
pub struct WireRequest {
    /// The method.
    pub method: http::Method,
    /// The full URL. It may hold a credential in its query: never log it.
    pub url: Url,
    /// All headers; sensitive ones are marked.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl WireRequest {
    /// A request of these parts.
    #[must_use]
    pub const fn new(method: http::Method, url: Url, headers: HeaderMap, body: Bytes) -> Self {
        Self { method, url, headers, body }
    }
}

impl fmt::Debug for WireRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireRequest")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish_non_exhaustive()
    }
}

/// What a transport may want to know about an attempt.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SendContext {
    /// The platform's id.
    pub platform: Arc<str>,
    /// The operation's name.
    pub operation: &'static str,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// How long the attempt may take, body included. The client enforces it; a transport may use it for connect timeouts.
    pub timeout: Duration,
}

impl SendContext {
    /// A context for a first attempt: for tests of transports.
    #[must_use]
    pub fn new(platform: &str, operation: &'static str, timeout: Duration) -> Self {
        Self { platform: platform.into(), operation, attempt: 1, timeout }
    }
}

/// The body of an answer while it arrives: a stream of chunks. An error in it has [`Delivery::Unknown`].
pub struct BodyStream(BodyRepr);

enum BodyRepr {
    Whole(Option<Bytes>),
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, TransportError>> + Send>>),
}

impl BodyStream {
    /// A body that is all there.
    #[must_use]
    pub const fn whole(bytes: Bytes) -> Self {
        Self(BodyRepr::Whole(Some(bytes)))
    }

    /// A body that arrives in chunks.
    pub fn new(stream: impl Stream<Item = Result<Bytes, TransportError>> + Send + 'static) -> Self {
        Self(BodyRepr::Stream(Box::pin(stream)))
    }
}

impl Stream for BodyStream {
    type Item = Result<Bytes, TransportError>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            BodyRepr::Whole(bytes) => Poll::Ready(bytes.take().map(Ok)),
            BodyRepr::Stream(stream) => stream.as_mut().poll_next(cx),
        }
    }
}

impl fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyStream(..)")
    }
}

/// What went wrong on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The name did not resolve, the connection was refused, or TLS failed.
    Connect,
    /// The transport's own clock ran out.
    Timeout,
    /// The connection broke: reset, closed, a body shorter than promised.
    Interrupted,
    /// The peer does not speak HTTP as it should.
    Protocol,
    /// The request cannot be sent by this transport.
    InvalidRequest,
}

/// An exchange that failed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    kind: TransportErrorKind,
    delivery: Delivery,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl TransportError {
    /// A failure. `message` must not hold the URL: its query may be a credential.
    #[must_use]
    pub fn new(kind: TransportErrorKind, delivery: Delivery, message: impl Into<String>) -> Self {
        Self { kind, delivery, message: message.into(), source: None }
    }

    /// With the error it comes from; that must not print the URL either.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    pub(crate) fn into_parts(self) -> (String, Option<Box<dyn StdError + Send + Sync>>) {
        (self.message, self.source)
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> TransportErrorKind {
        self.kind
    }

    /// What is known about the request's fate.
    #[must_use]
    pub const fn delivery(&self) -> Delivery {
        self.delivery
    }
}
