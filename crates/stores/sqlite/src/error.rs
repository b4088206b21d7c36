//! From SQLite's words to ours.

use martlet_store::{StoreError, StoreErrorKind};
use rusqlite::ErrorCode;
use std::fmt;

/// What SQLite reported while `doing`. Its messages never quote bound values.
pub(crate) fn from_sqlite(doing: &str, error: &rusqlite::Error) -> StoreError {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreErrorKind::Corrupt,
        Some(ErrorCode::DiskFull) => StoreErrorKind::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreErrorKind::ReadOnly,
        Some(ErrorCode::TooBig) => StoreErrorKind::TooLarge,
        Some(_) => StoreErrorKind::Unavailable,
        // Not SQLite but a column of another type than the schema says.
        None => StoreErrorKind::Corrupt,
    };
    StoreError::new(kind, format!("{doing}: {error}"))
}

/// Why [`SqliteStore::commit_with`](crate::SqliteStore::commit_with) did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitWithError<E> {
    /// The store refused or failed. Its [`Fault::delivery`](martlet_base::Fault::delivery) says whether all of it may have
    /// been applied.
    Store(StoreError),
    /// The program's own statements failed; nothing was applied.
    Own(E),
}

impl<E: fmt::Display> fmt::Display for CommitWithError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(_) => f.write_str("the store did not commit"),
            Self::Own(_) => f.write_str("the program's own statements failed, and nothing was committed"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CommitWithError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            Self::Own(error) => Some(error),
        }
    }
}

/// Whether another connection is in the way for now.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// The store was closed before the request came.
pub(crate) fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Closed, "this store was closed by the program")
}

/// The thread that had the request ended without an answer. It only does so by a bug, and a commit may be done.
pub(crate) fn lost() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "the thread of this store ended early: a bug of martlet-sqlite",
    )
}

/// A row that this library cannot have written.
pub(crate) fn corrupt_row(what: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, what)
}
