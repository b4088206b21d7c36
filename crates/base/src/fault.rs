use crate::Timestamp;
use std::fmt;

/// What is known about the fate of a request that failed: may it have been applied?
///
/// Together with the operation's idempotency it decides whether a retry is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// Not a byte of it reached the server (name not found, refused connection, failed TLS handshake, a local refusal).
    /// It was not applied.
    NotSent,
    /// The server answered and said that it did not process the request (429, 401). It was not applied.
    Rejected,
    /// It left, and no answer tells its fate (timeout, reset, 5xx, a truncated body). **It may have been applied.**
    Unknown,
    /// The server processed it and answered (other 4xx: it said no; an undecodable 2xx: it was applied).
    Processed,
}

impl Delivery {
    /// Whether the request may have had an effect: true for [`Unknown`](Self::Unknown) and
    /// [`Processed`](Self::Processed).
    #[must_use]
    pub const fn may_have_been_applied(self) -> bool {
        matches!(self, Self::Unknown | Self::Processed)
    }

    /// The stable name used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
            Self::Processed => "processed",
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Recovery {
    /// It may pass by itself: try again after a pause.
    Transient,
    /// The server asks for fewer requests: try again when it said, or after a longer pause.
    Throttled,
    /// The credential was refused: get a new one, then try once more.
    Reauthenticate,
    /// Refused on this side before anything was sent (open circuit, full queue, spent quota). Trying again at once is
    /// pointless; [`Fault::retry_at`] says when it may pass.
    Refused,
    /// Trying again gives the same answer. Somebody has to change something.
    Fatal,
}

impl Recovery {
    /// The stable name used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Reauthenticate => "reauthenticate",
            Self::Refused => "refused",
            Self::Fatal => "fatal",
        }
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that tells what a caller may do about it, without the caller knowing the crate it comes from.
///
/// A saga step or a queue handler takes `&dyn Fault` and decides: retry, park until [`retry_at`](Self::retry_at), or
/// compensate.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not tell whether the request may have been applied",
    note = "implement `martlet_base::Fault` for your error: `delivery()` and `recovery()`"
)]
pub trait Fault: std::error::Error {
    /// What is known about the request's fate.
    fn delivery(&self) -> Delivery;
    /// What can be done.
    fn recovery(&self) -> Recovery;
    /// When trying again may succeed, if that is known.
    fn retry_at(&self) -> Option<Timestamp> {
        None
    }
}
