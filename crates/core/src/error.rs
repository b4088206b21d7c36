use martlet_base::{Delivery, Fault, Moment, Recovery, Timestamp};
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Stable names for logs and metrics come from [`as_str`](Self::as_str).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The client was built with settings that cannot work.
    ///
    /// **What to do:** read the message; it names the setting.
    Config,
    /// The call cannot be sent as it is: a missing path part, a body that does not serialise, a foreign cursor.
    ///
    /// **What to do:** correct the calling code. Nothing was sent.
    InvalidRequest,
    /// No connection to the platform: name not found, refused, TLS failed. Nothing was sent.
    ///
    /// **What to do:** check network, proxy and base URL; it was retried.
    Connect,
    /// The attempt got no answer in time.
    ///
    /// **What to do:** when [`delivery`](Error::delivery) is `Unknown`, look whether it was applied before repeating it.
    Timeout,
    /// The connection broke before the answer was complete.
    ///
    /// **What to do:** as for [`Timeout`](Self::Timeout).
    Interrupted,
    /// The platform asked for fewer requests (429).
    ///
    /// **What to do:** wait until [`retry_at`](Error::retry_at). If it happens often, the configured plan is larger than the
    /// account's, or another program uses the same account.
    RateLimited,
    /// A quota of hours or days is spent. It is not slept out.
    ///
    /// **What to do:** checkpoint and go on at [`retry_at`](Error::retry_at).
    QuotaExhausted,
    /// The credential was refused (401), also after one renewal.
    ///
    /// **What to do:** reconnect the account: the token is wrong, expired or revoked.
    Unauthenticated,
    /// The credential is good but not for this (403).
    ///
    /// **What to do:** grant the scope or permission that the message names.
    Forbidden,
    /// There is no such thing (404, 410).
    ///
    /// **What to do:** check the id; it may have been deleted or merged.
    NotFound,
    /// The state of the platform does not allow it (409, 412): it exists already, or changed meanwhile.
    ///
    /// **What to do:** read the present state, then decide.
    Conflict,
    /// The platform says the request is wrong (400, 413, 422 and other 4xx). It was not applied.
    ///
    /// **What to do:** correct the data; [`code`](Error::code) and the message say which.
    Rejected,
    /// The platform failed (5xx).
    ///
    /// **What to do:** when [`delivery`](Error::delivery) is `Unknown`, look whether it was applied before repeating it.
    Server,
    /// The answer is not what the platform documents: a body that does not decode, an unexpected status.
    ///
    /// **What to do:** the request was applied. Report it with the request id: the platform may have changed.
    Decode,
    /// The circuit breaker is open: the platform has been failing. Nothing was sent.
    ///
    /// **What to do:** wait until [`retry_at`](Error::retry_at).
    CircuitOpen,
    /// Too many calls wait on this side. Nothing was sent.
    ///
    /// **What to do:** slow the producer down.
    Overloaded,
    /// The call's deadline passed, or would have passed before the next attempt could begin.
    ///
    /// **What to do:** [`delivery`](Error::delivery) tells whether an earlier attempt may have been applied; give it more time.
    DeadlineExceeded,
    /// No credential could be obtained. Nothing was sent.
    ///
    /// **What to do:** the message says why: a revoked grant, an unreachable token endpoint, a missing secret.
    Credential,
    /// Durable state that the call needs could not be read or stored. Nothing was sent.
    ///
    /// **What to do:** look at the store (disk full, locked, unreachable); the source says which.
    Store,
    /// A user's layer failed by itself.
    ///
    /// **What to do:** the message is the layer's.
    Layer,
}

impl ErrorKind {
    /// The stable name used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::InvalidRequest => "invalid_request",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Rejected => "rejected",
            Self::Server => "server",
            Self::Decode => "decode",
            Self::CircuitOpen => "circuit_open",
            Self::Overloaded => "overloaded",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Credential => "credential",
            Self::Store => "store",
            Self::Layer => "layer",
        }
    }

    const fn phrase(self) -> &'static str {
        match self {
            Self::Config => "invalid configuration",
            Self::InvalidRequest => "invalid request",
            Self::Connect => "cannot connect",
            Self::Timeout => "timed out",
            Self::Interrupted => "connection interrupted",
            Self::RateLimited => "rate limited",
            Self::QuotaExhausted => "quota exhausted",
            Self::Unauthenticated => "credential refused",
            Self::Forbidden => "not permitted",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::Rejected => "rejected",
            Self::Server => "server error",
            Self::Decode => "unexpected answer",
            Self::CircuitOpen => "circuit open",
            Self::Overloaded => "too many calls waiting",
            Self::DeadlineExceeded => "deadline exceeded",
            Self::Credential => "no credential",
            Self::Store => "state not available",
            Self::Layer => "layer failed",
        }
    }

    /// What usually is known and can be done when this happens; a more exact fact replaces it.
    const fn usual(self) -> (Delivery, Recovery) {
        match self {
            Self::Config | Self::InvalidRequest | Self::Layer | Self::Credential => {
                (Delivery::NotSent, Recovery::Fatal)
            }
            Self::Connect | Self::Store => (Delivery::NotSent, Recovery::Transient),
            Self::Timeout | Self::Interrupted | Self::Server => (Delivery::Unknown, Recovery::Transient),
            Self::RateLimited => (Delivery::Rejected, Recovery::Throttled),
            Self::QuotaExhausted => (Delivery::Rejected, Recovery::Refused),
            Self::Unauthenticated => (Delivery::Rejected, Recovery::Reauthenticate),
            Self::Forbidden | Self::NotFound | Self::Conflict | Self::Rejected | Self::Decode => {
                (Delivery::Processed, Recovery::Fatal)
            }
            Self::CircuitOpen | Self::Overloaded | Self::DeadlineExceeded => {
                (Delivery::NotSent, Recovery::Refused)
            }
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phrase())
    }
}

/// What happened, to which operation, whether it may have been applied, and what to do.
///
/// One word wide and cheap to clone: every waiter of a shared call gets the same error. [`Display`](fmt::Display) is one
/// line without secrets, and does not repeat its [source](StdError::source).
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    delivery: Delivery,
    recovery: Recovery,
    platform: Option<Arc<str>>,
    operation: Option<&'static str>,
    status: Option<u16>,
    code: Option<Box<str>>,
    message: Box<str>,
    request_id: Option<Box<str>>,
    attempts: u32,
    elapsed: Duration,
    retry_at: Option<Timestamp>,
    exhausted: bool,
    budget_exhausted: bool,
    /// `retry_at` on the client's own clock: exact, for Retry.
    not_before: Option<Moment>,
    /// Which credential the platform refused.
    credential_version: Option<u64>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The longest piece of vendor text that is kept, in characters.
const MAX_TEXT: usize = 300;

/// Vendor text made safe for one line of a log: no control characters, at most 300 characters.
fn clean(text: &str) -> Box<str> {
    let mut out = String::with_capacity(text.len().min(MAX_TEXT));
    for (n, c) in text.trim().chars().enumerate() {
        if n == MAX_TEXT {
            out.push('…');
            break;
        }
        // Bidirectional overrides can make a log line read backwards; they are control characters in all but name.
        let hidden = c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        out.push(if hidden { ' ' } else { c });
    }
    out.into()
}

impl Error {
    /// An error of `kind` with the delivery and recovery that are usual for it. `message` is cleaned of control
    /// characters and cut at 300.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl AsRef<str>) -> Self {
        let (delivery, recovery) = kind.usual();
        Self(Arc::new(Inner {
            kind,
            delivery,
            recovery,
            platform: None,
            operation: None,
            status: None,
            code: None,
            message: clean(message.as_ref()),
            request_id: None,
            attempts: 0,
            elapsed: Duration::ZERO,
            retry_at: None,
            exhausted: false,
            budget_exhausted: false,
            not_before: None,
            credential_version: None,
            source: None,
        }))
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What is known about the request's fate.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.0.delivery
    }

    /// What can be done.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.0.recovery
    }

    /// The platform's id, `hubspot`.
    #[must_use]
    pub fn platform(&self) -> Option<&str> {
        self.0.platform.as_deref()
    }

    /// The operation, `contacts.list`.
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The HTTP status, if there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The vendor's own code: HubSpot's `category`, Mailchimp's `title`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The text: the vendor's, cleaned, or ours.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The vendor's request id, which its support asks for.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// Attempts made, 0 when it never came to one.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// From the start of the call to its failure.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed
    }

    /// When trying again may succeed, if that is known.
    #[must_use]
    pub fn retry_at(&self) -> Option<Timestamp> {
        self.0.retry_at
    }

    /// Whether it could be retried and all retries were used.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.0.exhausted
    }

    /// Whether it was not retried because too many calls of the account were being retried already.
    #[must_use]
    pub fn is_budget_exhausted(&self) -> bool {
        self.0.budget_exhausted
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// With another delivery than is usual for its kind.
    #[must_use]
    pub fn with_delivery(self, delivery: Delivery) -> Self {
        self.edit(|e| e.delivery = delivery)
    }

    /// With another recovery than is usual for its kind.
    #[must_use]
    pub fn with_recovery(self, recovery: Recovery) -> Self {
        self.edit(|e| e.recovery = recovery)
    }

    /// With the platform and operation it happened to, unless it has them already.
    #[must_use]
    pub fn with_operation(self, platform: &Arc<str>, operation: &'static str) -> Self {
        if self.0.operation.is_some() && self.0.platform.is_some() {
            return self;
        }
        self.edit(|e| {
            e.platform.get_or_insert_with(|| Arc::clone(platform));
            e.operation.get_or_insert(operation);
        })
    }

    /// With the HTTP status.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        self.edit(|e| e.status = Some(status))
    }

    /// With the vendor's code, cleaned.
    #[must_use]
    pub fn with_code(self, code: impl AsRef<str>) -> Self {
        self.edit(|e| e.code = Some(clean(code.as_ref())))
    }

    /// With the vendor's request id, cleaned.
    #[must_use]
    pub fn with_request_id(self, id: impl AsRef<str>) -> Self {
        self.edit(|e| e.request_id = Some(clean(id.as_ref())))
    }

    /// With the time at which trying again may succeed.
    #[must_use]
    pub fn with_retry_at(self, at: Timestamp) -> Self {
        self.edit(|e| e.retry_at = Some(at))
    }

    /// With the error it comes from.
    #[must_use]
    pub fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.edit(|e| e.source = Some(Arc::new(source)))
    }

    pub(crate) fn with_boxed_source(self, source: Box<dyn StdError + Send + Sync>) -> Self {
        self.edit(|e| e.source = Some(source.into()))
    }

    pub(crate) fn with_effort(self, attempts: u32, elapsed: Duration) -> Self {
        self.edit(|e| {
            e.attempts = attempts;
            e.elapsed = elapsed;
        })
    }

    pub(crate) fn with_not_before(self, at: Moment) -> Self {
        self.edit(|e| e.not_before = Some(at))
    }

    pub(crate) fn not_before(&self) -> Option<Moment> {
        self.0.not_before
    }

    pub(crate) fn with_credential_version(self, version: u64) -> Self {
        self.edit(|e| e.credential_version = Some(version))
    }

    pub(crate) fn credential_version(&self) -> Option<u64> {
        self.0.credential_version
    }

    pub(crate) fn with_exhausted(self) -> Self {
        self.edit(|e| e.exhausted = true)
    }

    pub(crate) fn with_budget_exhausted(self) -> Self {
        self.edit(|e| e.budget_exhausted = true)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &*self.0;
        match (&e.platform, e.operation) {
            (Some(platform), Some(operation)) => write!(f, "{platform} {operation}: ")?,
            (Some(name), None) => write!(f, "{name}: ")?,
            (None, Some(name)) => write!(f, "{name}: ")?,
            (None, None) => {}
        }
        f.write_str(e.kind.phrase())?;
        match (e.status, e.code.as_deref()) {
            (Some(status), Some(code)) => write!(f, " ({status} {code})")?,
            (Some(status), None) => write!(f, " ({status})")?,
            (None, Some(code)) => write!(f, " ({code})")?,
            (None, None) => {}
        }
        if !e.message.is_empty() {
            if e.status.is_some() { write!(f, ": \"{}\"", e.message)? } else { write!(f, ": {}", e.message)? }
        }
        if let Some(id) = &e.request_id {
            write!(f, "; request id {id}")?;
        }
        if e.delivery == Delivery::Unknown {
            f.write_str("; it may have been applied")?;
        }
        if let Some(at) = e.retry_at {
            write!(f, "; try again at {at}")?;
        }
        match e.attempts {
            0 => Ok(()),
            1 => write!(f, "; 1 attempt in {:.1}s", e.elapsed.as_secs_f64()),
            n => write!(f, "; {n} attempts in {:.1}s", e.elapsed.as_secs_f64()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("delivery", &self.0.delivery)
            .field("recovery", &self.0.recovery)
            .field("text", &format_args!("{self}"))
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

impl Fault for Error {
    fn delivery(&self) -> Delivery {
        self.0.delivery
    }
    fn recovery(&self) -> Recovery {
        self.0.recovery
    }
    fn retry_at(&self) -> Option<Timestamp> {
        self.0.retry_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_it_all() {
        let error = Error::new(ErrorKind::RateLimited, "You have reached your ten_secondly limit")
            .with_operation(&"hubspot".into(), "contacts.create")
            .with_status(429)
            .with_code("TEN_SECONDLY_ROLLING")
            .with_request_id("4f2a")
            .with_effort(4, Duration::from_millis(12_300));
        assert_eq!(
            error.to_string(),
            "hubspot contacts.create: rate limited (429 TEN_SECONDLY_ROLLING): \"You have reached your ten_secondly \
             limit\"; request id 4f2a; 4 attempts in 12.3s"
        );
    }

    #[test]
    fn vendor_text_cannot_break_a_log_line() {
        let error = Error::new(ErrorKind::Rejected, format!("a\r\nb\u{1b}[31m\u{202e}{}", "é".repeat(400)));
        let text = error.message();
        assert!(!text.chars().any(char::is_control) && !text.contains('\u{202e}'));
        assert_eq!(text.chars().count(), 301);
    }

    #[test]
    fn an_unknown_fate_is_said() {
        let text = Error::new(ErrorKind::Timeout, "").to_string();
        assert_eq!(text, "timed out; it may have been applied");
    }

    #[test]
    fn an_error_is_one_word_and_its_operation_is_set_once() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        let error = Error::new(ErrorKind::Decode, "x").with_operation(&"a".into(), "b.c");
        assert_eq!(error.with_operation(&"d".into(), "e.f").operation(), Some("b.c"));
    }
}
