//! The other side of the suites: a transport that answers by a function, counts what is under way, and can be slow.

use crate::RecordedRequest;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use martlet_base::{Clock, Delivery};
use martlet_core::{BodyStream, SendContext, Transport, TransportError, TransportErrorKind, WireRequest};
use serde_json::Value;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Clone)]
pub(super) struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    failure: Option<(TransportErrorKind, Delivery)>,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, headers: HeaderMap::new(), body: body.into(), failure: None }
    }

    /// `null` is no body at all.
    pub(super) fn json(status: u16, body: &Value) -> Self {
        if body.is_null() {
            return Self::new(status, "");
        }
        Self::new(status, body.to_string()).header("content-type", "application/json")
    }

    pub(super) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(name, http::HeaderValue::from_static(value));
        self
    }

    pub(super) fn failure(kind: TransportErrorKind, delivery: Delivery) -> Self {
        Self { failure: Some((kind, delivery)), ..Self::new(200, "") }
    }
}

type Handler = Box<dyn Fn(&RecordedRequest) -> Answer + Send + Sync>;

#[derive(Clone)]
pub(super) struct Wire(Arc<Inner>);

struct Inner {
    clock: Clock,
    answer: Handler,
    latency: Duration,
    /// How often an exchange yields before the head, and before each chunk of the body.
    yields: usize,
    requests: Mutex<Vec<RecordedRequest>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

/// Pending so many times.
async fn pause(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

struct Exchange(Arc<Inner>);

impl Exchange {
    fn begin(inner: &Arc<Inner>) -> Self {
        let now = inner.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        inner.most.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(inner))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Wire {
    pub(super) fn new(
        clock: Clock,
        latency: Duration,
        yields: usize,
        answer: impl Fn(&RecordedRequest) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            clock,
            answer: Box::new(answer),
            latency,
            yields,
            requests: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RecordedRequest>> {
        self.0.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn requests(&self) -> Vec<RecordedRequest> {
        self.lock().clone()
    }

    /// How many requests came.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Exchanges that neither ended nor were dropped.
    pub(super) fn under_way(&self) -> usize {
        self.0.under_way.load(Ordering::SeqCst)
    }

    /// The most exchanges that were under way at once.
    pub(super) fn most_at_once(&self) -> usize {
        self.0.most.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Transport for Wire {
    async fn send(
        &self,
        request: WireRequest,
        cx: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError> {
        let exchange = Exchange::begin(&self.0);
        let WireRequest { method, url, headers, body, .. } = request;
        let (operation, attempt, at) = (cx.operation, cx.attempt, self.0.clock.now());
        let request = RecordedRequest { operation, attempt, at, method, url, headers, body };
        self.lock().push(request.clone());
        let answer = (self.0.answer)(&request);
        if !self.0.latency.is_zero() {
            self.0.clock.sleep(self.0.latency).await;
        }
        pause(self.0.yields).await;
        if let Some((kind, delivery)) = answer.failure {
            return Err(TransportError::new(kind, delivery, "as the conformance suite wants it"));
        }
        let middle = answer.body.len() / 2;
        let (body, yields) = (answer.body, self.0.yields);
        // In two chunks, so that a body is an await too; the exchange is under way until it was read.
        let chunks = [body.slice(..middle), body.slice(middle..)];
        let body = stream::unfold((chunks.into_iter(), exchange), move |(mut chunks, exchange)| async move {
            pause(yields).await;
            chunks.next().map(|chunk| (Ok(chunk), (chunks, exchange)))
        });
        let mut response = http::Response::new(BodyStream::new(body));
        *response.status_mut() = StatusCode::from_u16(answer.status).expect("the suite uses valid statuses");
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("under_way", &self.under_way()).finish_non_exhaustive()
    }
}
