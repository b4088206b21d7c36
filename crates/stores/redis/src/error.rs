//! From Redis' words to ours.

use martlet_store::{StoreError, StoreErrorKind};
use redis::RedisError;

/// What Redis reported while `doing`. Its messages quote no values.
pub(crate) fn from_redis(doing: &str, error: &RedisError) -> StoreError {
    let kind = match error.code() {
        Some("OOM") => StoreErrorKind::Full,
        Some("READONLY" | "NOPERM") => StoreErrorKind::ReadOnly,
        Some("MISCONF") => StoreErrorKind::Full,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, format!("{doing}: {error}"))
}

/// Whether the server answered, so that what it refused was not done.
pub(crate) fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), redis::ErrorKind::Server(_) | redis::ErrorKind::Extension)
}

/// What this library cannot have written.
pub(crate) fn corrupt(what: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, what).not_applied()
}

pub(crate) fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Closed, "this store was closed by the program")
}
