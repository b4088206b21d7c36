//! From SQLite's words to ours.

use martlet_store::{StoreError, StoreErrorKind};
use rusqlite::ErrorCode;

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
