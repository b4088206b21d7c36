use std::fmt;

/// Who has to act on a failure.
///
/// | class | who acts | error types |
/// |---|---|---|
/// | `config` | whoever runs it: settings, account, permissions, disk | `config`, `credential`, `forbidden`, `full`, `read_only`, `unauthenticated` |
/// | `transient` | nobody: it passes by itself | `circuit_open`, `connect`, `deadline_exceeded`, `interrupted`, `overloaded`, `quota_exhausted`, `rate_limited`, `server`, `timeout`, `unavailable` |
/// | `system` | whoever knows the code and the data | every other one, the ones that are not known yet included |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// Settings, the account, its permissions or the disk: whoever runs the program can repair it.
    Config,
    /// It passes by itself: try again later.
    Transient,
    /// The code, the data or the platform: somebody has to look.
    System,
}

impl ErrorClass {
    /// The class of an error's kind, given by its stable name (`ErrorKind::as_str()` of the core and of the store).
    #[must_use]
    pub fn of(error_type: &str) -> Self {
        match error_type {
            "config" | "credential" | "forbidden" | "full" | "read_only" | "unauthenticated" => Self::Config,
            "circuit_open" | "connect" | "deadline_exceeded" | "interrupted" | "overloaded"
            | "quota_exhausted" | "rate_limited" | "server" | "timeout" | "unavailable" => Self::Transient,
            _ => Self::System,
        }
    }

    /// The stable name used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Transient => "transient",
            Self::System => "system",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
