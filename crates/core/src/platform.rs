use crate::{Error, ErrorKind, Operation, Response};
use http::{HeaderName, HeaderValue, StatusCode};
use martlet_base::{Clock, Delivery, Recovery, Timestamp};
use martlet_resilience::quota_headers::{Dialect, Reading, WindowReading};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// What the generic layers must know about a vendor. Everything here is a fact or a pure function.
///
/// A [`Descriptor`] is a platform by itself: enough for one whose status codes mean what RFC 9110 says. Implement the trait for
/// what a descriptor cannot say, such as an error inside a 200.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not describe a platform",
    note = "implement `martlet_core::Platform`: a `descriptor()` and a `classify()`"
)]
pub trait Platform: fmt::Debug + Send + Sync {
    /// Its fixed facts.
    fn descriptor(&self) -> &Descriptor;

    /// Turns an answer into success or a fault by the platform's own rules, a 200 that holds an error included.
    /// [`Descriptor::verdict`] unless implemented.
    fn classify(&self, operation: &Operation, response: &Response) -> Verdict {
        let _ = operation;
        self.descriptor().verdict(response)
    }

    /// What an answer, of whatever status, says about the account's quota beside [`Descriptor::quota_headers`].
    fn quota(&self, operation: &Operation, response: &Response) -> Vec<QuotaUpdate> {
        let _ = (operation, response);
        Vec::new()
    }

    /// The vendor's request id, which its support asks for.
    fn request_id<'r>(&self, response: &'r Response) -> Option<&'r str> {
        response.header("x-request-id")
    }
}

/// The fixed facts of a platform.
///
/// ```
/// use martlet_core::{Client, Descriptor, LimitSpec, quota_headers::Dialect};
/// use std::time::Duration;
///
/// let acme = Descriptor::new("acme", "https://api.acme.example")?
///     .version("v2")
///     .limit(LimitSpec::new(LimitSpec::DEFAULT).window("secondly", 10, Duration::from_secs(1)))
///     .quota_headers(Dialect::RateLimit)
///     .error_body("/error/code", "/error/message");
/// let builder = Client::builder(acme); // now its transport and credentials
/// # let _ = builder;
/// # Ok::<(), martlet_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Descriptor {
    id: Arc<str>,
    base_url: Url,
    api_version: &'static str,
    limits: Vec<LimitSpec>,
    check: Option<Operation>,
    headers: Vec<(HeaderName, HeaderValue)>,
    attempt_timeout: Duration,
    error_body: Option<(&'static str, &'static str)>,
    quota_headers: Option<Dialect>,
}

impl Platform for Descriptor {
    fn descriptor(&self) -> &Descriptor {
        self
    }
}

impl Descriptor {
    /// A platform `id` (lower case, stable: it is a metric label) whose API is at `base_url`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the URL is none or the id is not of `a-z 0-9 - _`.
    pub fn new(id: &str, base_url: &str) -> Result<Self, Error> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if id.is_empty() || !id.bytes().all(good) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("a platform id is made of a-z 0-9 - _, not {id:?}"),
            ));
        }
        let base_url = Url::parse(base_url).map_err(|e| {
            Error::new(ErrorKind::Config, "the platform's base URL is not a URL").with_source(e)
        })?;
        Ok(Self {
            id: id.into(),
            base_url,
            api_version: "",
            limits: Vec::new(),
            check: None,
            headers: Vec::new(),
            attempt_timeout: Duration::from_secs(60),
            error_body: None,
            quota_headers: None,
        })
    }

    /// The pinned API version: what `{version}` in paths stands for.
    #[must_use]
    pub const fn version(mut self, version: &'static str) -> Self {
        self.api_version = version;
        self
    }

    /// Adds a quota bucket. The one named [`LimitSpec::DEFAULT`] counts every operation.
    #[must_use]
    pub fn limit(mut self, limit: LimitSpec) -> Self {
        self.limits.retain(|known| known.bucket != limit.bucket);
        self.limits.push(limit);
        self
    }

    /// A cheap operation that shows whether the credential works.
    #[must_use]
    pub const fn check(mut self, operation: Operation) -> Self {
        self.check = Some(operation);
        self
    }

    /// A header that every request carries.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// How long one attempt may take unless the client says otherwise; 60 s unless said.
    #[must_use]
    pub const fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// Where the JSON body of a failure has the vendor's code and its text, as
    /// [JSON pointers](https://www.rfc-editor.org/rfc/rfc6901): `error_body("/error/code", "/error/message")`.
    /// A body without them, such as a proxy's page, is no problem: then the status says it all.
    #[must_use]
    pub const fn error_body(mut self, code: &'static str, message: &'static str) -> Self {
        self.error_body = Some((code, message));
        self
    }

    /// In which dialect its answers tell the rest of a quota. What they tell is taken for the window of the same name or
    /// length, else for the only one, of the operation's own bucket, then of the default one. What is told of another window
    /// limits nothing: observers are told so once
    /// ([`Signal::QuotaUnmatched`](martlet_base::Signal::QuotaUnmatched)), and it is in
    /// [`ResponseMeta::quota`](crate::ResponseMeta::quota) like the rest. A descriptor that has no window at all cannot be built into
    /// a client, unless the dialect tells of none ([`Dialect::RetryAfter`]).
    #[must_use]
    pub const fn quota_headers(mut self, dialect: Dialect) -> Self {
        self.quota_headers = Some(dialect);
        self
    }

    /// What an answer's status and [body](Self::error_body) say.
    #[must_use]
    pub fn verdict(&self, response: &Response) -> Verdict {
        let Verdict::Fault(mut fault) = Verdict::from_status(response.status()) else {
            return Verdict::Success;
        };
        if let Some((code, message)) = self.error_body
            && let Ok(body) = serde_json::from_slice::<serde_json::Value>(response.body())
        {
            let text = |pointer| match body.pointer(pointer)? {
                serde_json::Value::String(text) => Some(text.clone()),
                serde_json::Value::Number(number) => Some(number.to_string()),
                _ => None,
            };
            fault.code = text(code);
            fault.message = text(message).unwrap_or(fault.message);
        }
        Verdict::Fault(fault)
    }

    /// Whether its answers tell of windows and it has none: what they tell could limit nothing.
    pub(crate) fn reads_quota_in_vain(&self) -> bool {
        self.quota_headers.is_some_and(|dialect| dialect != Dialect::RetryAfter)
            && self.limits.iter().all(|limit| limit.windows.is_empty())
    }

    /// What the headers of an answer to `operation` that arrived just now say.
    pub(crate) fn read_quota(
        &self,
        operation: &Operation,
        response: &Response,
        clock: &Clock,
    ) -> Vec<QuotaUpdate> {
        let Some(dialect) = self.quota_headers else { return Vec::new() };
        let Reading { windows, .. } = dialect.read(&|name| response.header(name), clock.wall());
        let alone = windows.len() == 1;
        let requests = |told: &WindowReading| told.unit.as_deref().is_none_or(|unit| unit == "requests");
        windows.into_iter().filter(requests).map(|told| self.window_of(operation, told, alone)).collect()
    }

    fn window_of(&self, operation: &Operation, told: WindowReading, alone: bool) -> QuotaUpdate {
        let buckets = [operation.get_quota(), Some(LimitSpec::DEFAULT)].into_iter().flatten();
        let limits = buckets.filter_map(|bucket| self.limits.iter().find(|limit| limit.bucket == bucket));
        let windows =
            limits.clone().flat_map(|limit| limit.windows.iter().map(|window| (limit.bucket, window)));
        let named = windows.clone().find(|(_, (name, ..))| *name == told.name);
        let as_long = || windows.clone().find(|(_, (_, _, per))| Some(*per) == told.per);
        let only = || {
            limits.clone().filter(|_| alone).find_map(|limit| match &limit.windows[..] {
                [window] => Some((limit.bucket, window)),
                _ => None,
            })
        };
        let mut update = match named.or_else(as_long).or_else(only) {
            Some((bucket, (name, ..))) => QuotaUpdate::new(bucket, *name),
            None => QuotaUpdate::new(LimitSpec::DEFAULT, told.name),
        };
        update = update.left(told.limit, told.remaining);
        update.resets_in = told.reset;
        update
    }

    /// The platform's id.
    #[must_use]
    pub const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Where its API is.
    #[must_use]
    pub const fn base_url(&self) -> &Url {
        &self.base_url
    }

    /// The pinned API version.
    #[must_use]
    pub const fn api_version(&self) -> &'static str {
        self.api_version
    }

    /// The quota buckets.
    #[must_use]
    pub fn limits(&self) -> &[LimitSpec] {
        &self.limits
    }

    /// The operation that shows whether the credential works.
    #[must_use]
    pub const fn check_operation(&self) -> Option<&Operation> {
        self.check.as_ref()
    }

    /// The headers that every request carries.
    #[must_use]
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// How long one attempt may take.
    #[must_use]
    pub const fn get_attempt_timeout(&self) -> Duration {
        self.attempt_timeout
    }
}

/// A quota bucket: strict windows and a cap on simultaneous requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSpec {
    bucket: &'static str,
    windows: Vec<(&'static str, u32, Duration)>,
    concurrency: Option<u32>,
}

impl LimitSpec {
    /// The bucket that counts every operation of the platform.
    pub const DEFAULT: &'static str = "default";

    /// An unlimited bucket.
    #[must_use]
    pub const fn new(bucket: &'static str) -> Self {
        Self { bucket, windows: Vec::new(), concurrency: None }
    }

    /// At most `limit` requests arrive in any `per`.
    #[must_use]
    pub fn window(mut self, name: &'static str, limit: u32, per: Duration) -> Self {
        self.windows.push((name, limit, per));
        self
    }

    /// At most `limit` requests are under way at once.
    #[must_use]
    pub const fn concurrency(mut self, limit: u32) -> Self {
        self.concurrency = Some(limit);
        self
    }

    /// The bucket's name.
    #[must_use]
    pub const fn bucket(&self) -> &'static str {
        self.bucket
    }

    /// Its windows: name, limit, length.
    #[must_use]
    pub fn windows(&self) -> &[(&'static str, u32, Duration)] {
        &self.windows
    }

    /// Its cap on simultaneous requests.
    #[must_use]
    pub const fn get_concurrency(&self) -> Option<u32> {
        self.concurrency
    }
}

/// What a platform says an answer means.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// It did what was asked.
    Success,
    /// It did not.
    Fault(VendorFault),
}

impl Verdict {
    /// What the status alone says: 2xx and 304 succeed, the rest is [`VendorFault::from_status`].
    #[must_use]
    pub fn from_status(status: StatusCode) -> Self {
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            Self::Success
        } else {
            Self::Fault(VendorFault::from_status(status))
        }
    }
}

/// A failure as the vendor tells it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VendorFault {
    /// What went wrong.
    pub kind: ErrorKind,
    /// What is known about the request's fate, when it is not what is usual for the kind.
    pub delivery: Option<Delivery>,
    /// What can be done, when it is not what is usual for the kind.
    pub recovery: Option<Recovery>,
    /// The vendor's code.
    pub code: Option<String>,
    /// The vendor's text.
    pub message: String,
    /// The pause it asks for, when the answer says so elsewhere than in `Retry-After` (which is always read).
    pub retry_after: Option<Duration>,
    /// When a spent quota is full again.
    pub retry_at: Option<Timestamp>,
}

impl VendorFault {
    /// A failure of `kind`.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            delivery: None,
            recovery: None,
            code: None,
            message: message.into(),
            retry_after: None,
            retry_at: None,
        }
    }

    /// What the status alone says, by [RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-15).
    #[must_use]
    pub fn from_status(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or("");
        let of = |kind| Self::new(kind, reason);
        match status.as_u16() {
            401 => of(ErrorKind::Unauthenticated),
            402 | 403 | 407 | 451 => of(ErrorKind::Forbidden),
            404 | 410 => of(ErrorKind::NotFound),
            // The server gave up waiting for the request; what it had read may have been handled.
            408 => of(ErrorKind::Timeout),
            409 | 412 | 423 | 428 => of(ErrorKind::Conflict),
            425 | 429 => of(ErrorKind::RateLimited),
            400..=499 => of(ErrorKind::Rejected),
            // "Not implemented" and "HTTP version not supported" say that nothing was done, and will say so again.
            501 | 505 => of(ErrorKind::Server).delivery(Delivery::Processed).recovery(Recovery::Fatal),
            500..=599 => of(ErrorKind::Server),
            _ => of(ErrorKind::Decode),
        }
    }

    /// With what is known about the request's fate.
    #[must_use]
    pub const fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// With what can be done.
    #[must_use]
    pub const fn recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = Some(recovery);
        self
    }

    /// With the vendor's code.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// With the vendor's text.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// With the pause it asks for.
    #[must_use]
    pub const fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// With the time at which a spent quota is full again.
    #[must_use]
    pub const fn retry_at(mut self, at: Timestamp) -> Self {
        self.retry_at = Some(at);
        self
    }
}

/// What an answer says about a quota bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuotaUpdate {
    /// Which bucket.
    pub bucket: &'static str,
    /// Which window of it, `daily`.
    pub window: Cow<'static, str>,
    /// The limit as the platform knows it.
    pub limit: Option<u32>,
    /// What is left.
    pub remaining: Option<u32>,
    /// Nobody shall send before this much time has passed.
    pub blocked_for: Option<Duration>,
    /// When the window is full again; its whole span from now unless said.
    pub resets_in: Option<Duration>,
}

impl QuotaUpdate {
    /// An update that says nothing yet.
    #[must_use]
    pub fn new(bucket: &'static str, window: impl Into<Cow<'static, str>>) -> Self {
        Self {
            bucket,
            window: window.into(),
            limit: None,
            remaining: None,
            blocked_for: None,
            resets_in: None,
        }
    }

    /// With the limit and what is left.
    #[must_use]
    pub fn left(mut self, limit: Option<u32>, remaining: Option<u32>) -> Self {
        self.limit = limit;
        self.remaining = remaining;
        self
    }

    /// With the time until the window is full again.
    #[must_use]
    pub fn resets_in(mut self, time: Duration) -> Self {
        self.resets_in = Some(time);
        self
    }

    /// With an ordered pause.
    #[must_use]
    pub fn blocked_for(mut self, pause: Duration) -> Self {
        self.blocked_for = Some(pause);
        self
    }
}
