use crate::key::check_name;
use crate::{InvalidName, StoreError, StoreErrorKind};
use bytes::Bytes;
use martlet_base::Timestamp;
use std::fmt;
use std::sync::Arc;

/// The name of one log: its kind (`saga/checkout`), by which open logs are found, and its id within the kind.
///
/// Each is 1 to 256 bytes of UTF-8 without control characters. Ordered by kind, then id. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    kind: Arc<str>,
    id: Arc<str>,
}

impl LogId {
    /// The longest kind and the longest id in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Checks and joins the two.
    ///
    /// # Errors
    /// [`InvalidName`] when one of them is empty, too long, or holds a control character.
    pub fn new(kind: &str, id: &str) -> Result<Self, InvalidName> {
        Ok(Self { kind: check_name(kind, Self::MAX_BYTES)?, id: check_name(id, Self::MAX_BYTES)? })
    }

    /// Comes before all logs of `kind`, and is none of them.
    pub(crate) fn before_all_of(kind: &str) -> Self {
        Self { kind: kind.into(), id: "".into() }
    }

    /// What kind of log it is.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Which log of its kind.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogId({self})")
    }
}

/// One record of a log.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Its place: 1 for the first, without gaps.
    pub sequence: u64,
    /// When it was appended, by the store's clock.
    pub appended: Timestamp,
    /// What was appended.
    pub body: Bytes,
}

impl Record {
    /// A record as a backend hands it out.
    #[must_use]
    pub const fn new(sequence: u64, appended: Timestamp, body: Bytes) -> Self {
        Self { sequence, appended, body }
    }
}

impl fmt::Debug for Record {
    /// Without the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("sequence", &self.sequence)
            .field("appended", &self.appended)
            .field("bytes", &self.body.len())
            .finish()
    }
}

/// What is known of a log without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogInfo {
    /// Its name.
    pub id: LogId,
    /// The sequence number of its last record, which is how many it has.
    pub last: u64,
    /// When its last record was appended.
    pub updated: Timestamp,
    /// When it was sealed; `None`: it is open.
    pub sealed: Option<Timestamp>,
}

impl LogInfo {
    /// A log as a backend shows it.
    #[must_use]
    pub const fn new(id: LogId, last: u64, updated: Timestamp, sealed: Option<Timestamp>) -> Self {
        Self { id, last, updated, sealed }
    }
}

impl StoreError {
    /// The refusal of an append to a sealed log.
    #[must_use]
    pub fn sealed_log() -> Self {
        Self::new(StoreErrorKind::Conflict, "the log is sealed")
    }

    /// The refusal to seal a log that does not exist.
    #[must_use]
    pub fn missing_log() -> Self {
        Self::new(StoreErrorKind::Conflict, "there is no such log")
    }
}
