use crate::{Body, IdempotencyKey, Operation, WireRequest};
use http::HeaderMap;
use martlet_base::{CallIds, ConnectionId, Deadline, Moment};
use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use url::Url;

/// A request on its way through the layers. One word wide; a user's layer may change URL, headers and body.
///
/// In the per-call phase it is the request as the caller made it; in the per-attempt phase a copy of that, made anew for
/// each attempt, so that what one attempt changes does not leak into the next.
#[derive(Clone)]
pub struct Request(Box<Parts>);

#[derive(Clone)]
struct Parts {
    url: Url,
    headers: HeaderMap,
    body: Body,
    context: Arc<CallContext>,
    attempt: u32,
}

/// What is known about a call and does not change while it runs.
#[derive(Debug)]
#[non_exhaustive]
pub struct CallContext {
    /// The platform's id, `hubspot`.
    pub platform: Arc<str>,
    /// The account.
    pub connection: ConnectionId,
    /// The endpoint.
    pub operation: Operation,
    /// After this nobody waits for the answer.
    pub deadline: Deadline,
    /// When the call began.
    pub started: Moment,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) fresh: bool,
    pub(crate) priority: martlet_resilience::Priority,
    pub(crate) fingerprint: Option<Vec<u8>>,
    pub(crate) reexecute: bool,
    pub(crate) pages: Option<u64>,
    /// Of what is known from the start; empty when nobody observes.
    pub(crate) ids: CallIds,
    pub(crate) effort: Effort,
}

impl CallContext {
    /// What its signals say which call they are about.
    pub(crate) fn ids(&self) -> CallIds {
        let mut ids = self.ids;
        ids.idempotency_key_hash = self.effort.cost().key_hash.get().copied();
        ids
    }

    /// For a second attempt beside the first: what it costs counts for the same call, whether it was sent is its own.
    pub(crate) fn beside(self: &Arc<Self>) -> Arc<Self> {
        Arc::new(self.with_effort(Effort { of: Some(Arc::clone(self)), ..Effort::default() }))
    }

    fn with_effort(&self, effort: Effort) -> Self {
        Self {
            platform: Arc::clone(&self.platform),
            connection: self.connection.clone(),
            operation: self.operation,
            deadline: self.deadline,
            started: self.started,
            key: self.key.clone(),
            fresh: self.fresh,
            priority: self.priority,
            fingerprint: self.fingerprint.clone(),
            reexecute: self.reexecute,
            pages: self.pages,
            ids: self.ids,
            effort,
        }
    }
}

/// What a call has cost so far.
#[derive(Debug, Default)]
pub(crate) struct Effort {
    own: Cost,
    /// The call whose effort this is a part of.
    of: Option<Arc<CallContext>>,
    /// Whether the attempt under way may have reached the platform. A context makes one attempt at a time.
    sent: AtomicBool,
}

#[derive(Debug, Default)]
struct Cost {
    attempts: AtomicU32,
    quota_wait_ns: AtomicU64,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
    /// From the call's start to its first exchange.
    queued: OnceLock<Duration>,
    /// Of the idempotency key, when somebody observes.
    key_hash: OnceLock<u64>,
}

impl Effort {
    fn cost(&self) -> &Cost {
        self.of.as_ref().map_or(&self.own, |call| call.effort.cost())
    }

    /// An exchange begins, so long after the call's start.
    pub(crate) fn begin_exchange(&self, queued: Duration) {
        let cost = self.cost();
        cost.attempts.fetch_add(1, Ordering::Relaxed);
        // Only the first one was waited for from the start.
        let _ = cost.queued.set(queued);
        self.set_sent(true);
    }

    /// How long the call waited before its first exchange; `None` before that.
    pub(crate) fn queued(&self) -> Option<Duration> {
        self.cost().queued.get().copied()
    }

    /// The call's key was made or found.
    pub(crate) fn set_key_hash(&self, hash: u64) {
        let _ = self.cost().key_hash.set(hash);
    }

    /// Exchanges begun so far. What is refused on this side is none.
    pub(crate) fn attempts(&self) -> u32 {
        self.cost().attempts.load(Ordering::Relaxed)
    }

    pub(crate) fn set_sent(&self, sent: bool) {
        self.sent.store(sent, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn add_quota_wait(&self, wait: Duration) {
        self.cost()
            .quota_wait_ns
            .fetch_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn add_bytes_out(&self, bytes: usize) {
        self.cost().bytes_out.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn bytes_out(&self) -> u64 {
        self.cost().bytes_out.load(Ordering::Relaxed)
    }

    pub(crate) fn add_bytes_in(&self, bytes: usize) {
        self.cost().bytes_in.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn bytes_in(&self) -> u64 {
        self.cost().bytes_in.load(Ordering::Relaxed)
    }

    pub(crate) fn quota_wait(&self) -> Duration {
        Duration::from_nanos(self.cost().quota_wait_ns.load(Ordering::Relaxed))
    }
}

impl Request {
    pub(crate) fn new(url: Url, headers: HeaderMap, body: Body, context: Arc<CallContext>) -> Self {
        Self(Box::new(Parts { url, headers, body, context, attempt: 0 }))
    }

    pub(crate) fn for_attempt(&self, attempt: u32) -> Self {
        let mut copy = self.clone();
        copy.0.attempt = attempt;
        copy
    }

    /// An attempt beside the one under way.
    pub(crate) fn beside(&self) -> Self {
        let mut copy = self.clone();
        copy.0.context = self.0.context.beside();
        copy
    }

    /// The same for nobody in particular: it has a time of its own, and what it costs is no call's.
    pub(crate) fn in_background(&self, now: Moment, deadline: Deadline) -> Self {
        let mut copy = self.clone();
        let context = self.0.context.with_effort(Effort::default());
        copy.0.context = Arc::new(CallContext { deadline, started: now, ..context });
        copy
    }

    /// What one attempt sends. A request that is only lent is needed for the next attempt, and is copied.
    pub(crate) fn into_wire(this: Cow<'_, Self>) -> WireRequest {
        let method = this.operation().verb().method();
        match this {
            Cow::Borrowed(Self(parts)) => {
                let headers = with_room(&parts.headers);
                WireRequest::new(method, parts.url.clone(), headers, parts.body.bytes())
            }
            Cow::Owned(Self(parts)) => {
                let body = parts.body.bytes();
                WireRequest::new(method, parts.url, parts.headers, body)
            }
        }
    }

    /// The operation that is called.
    #[must_use]
    pub fn operation(&self) -> &Operation {
        &self.0.context.operation
    }

    /// What is known about the call.
    #[must_use]
    pub fn context(&self) -> &Arc<CallContext> {
        &self.0.context
    }

    /// 1 for the first attempt, 0 in the per-call phase.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// The full URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0.url
    }

    /// The full URL, to change. Another origin is refused before a credential is attached.
    pub fn url_mut(&mut self) -> &mut Url {
        &mut self.0.url
    }

    /// The headers, without the credential.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The headers, to change.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.0.headers
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.0.body
    }

    /// Replaces the body.
    pub fn set_body(&mut self, body: impl Into<Body>) {
        self.0.body = body.into();
    }
}

/// A copy of the headers that can take a few more, such as the credential's, without growing: a plain clone cannot.
pub(crate) fn with_room(headers: &HeaderMap) -> HeaderMap {
    let mut copy = HeaderMap::with_capacity(headers.len() + 4);
    copy.extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    copy
}

impl fmt::Debug for Request {
    /// Without query, headers and body: they may hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("operation", &self.operation().name())
            .field("attempt", &self.0.attempt)
            .field("body", &self.0.body)
            .finish_non_exhaustive()
    }
}
