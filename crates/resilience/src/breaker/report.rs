use std::fmt;
use std::time::Duration;

/// What a call says about the server's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It answered.
    Success,
    /// It is ill: 5xx, timeout, broken connection.
    Failure,
    /// It says nothing about its health (other 4xx, 429, 401, a cancelled call). Gives the permit back, counts nowhere.
    Neutral,
}

/// How a call failed, for the error of those that are refused later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum FailureClass {
    /// Nobody said.
    #[default]
    Unknown = 0,
    /// No connection.
    Connect = 1,
    /// No answer in time.
    Timeout = 2,
    /// The connection broke.
    Interrupted = 3,
    /// The server said that it failed.
    Server = 4,
}

impl FailureClass {
    /// The stable name used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
            Self::Server => "server",
        }
    }

    pub(super) const fn code(self) -> u8 {
        self as u8
    }

    pub(super) const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Connect,
            2 => Self::Timeout,
            3 => Self::Interrupted,
            4 => Self::Server,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a call went: a [`Verdict`] and, for a failure, what more is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "record it"]
pub struct Report {
    pub(super) verdict: Verdict,
    pub(super) class: FailureClass,
    pub(super) retry_after: Option<Duration>,
}

impl Report {
    /// A failure of this class.
    pub const fn failure(class: FailureClass) -> Self {
        Self { verdict: Verdict::Failure, class, retry_after: None }
    }

    /// The server asked to be left alone for so long (`Retry-After`): when the breaker opens, it stays open at least until
    /// then, but not for more than a day.
    pub const fn retry_after(mut self, pause: Option<Duration>) -> Self {
        self.retry_after = pause;
        self
    }
}

impl From<Verdict> for Report {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, class: FailureClass::Unknown, retry_after: None }
    }
}
