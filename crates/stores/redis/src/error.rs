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

/// What is wrong with a URL, without the details: they quote what stands in it.
pub(crate) fn invalid_url(error: &RedisError) -> StoreError {
    let text = error.to_string();
    let words = error.detail().map_or(Some(text.as_str()), |detail| text.strip_suffix(detail));
    let words = words.unwrap_or_default().trim_end_matches(": ");
    StoreError::new(StoreErrorKind::Invalid, format!("the URL makes no sense: {words}"))
}

/// Whether the server refused a script before it began, so that nothing was done. One that fails half way, because somebody put something
/// else under the keys of the store, is not undone.
pub(crate) fn is_refusal(error: &RedisError) -> bool {
    let is_answer = matches!(error.kind(), redis::ErrorKind::Server(_) | redis::ErrorKind::Extension);
    is_answer && !matches!(error.code(), Some("ERR" | "WRONGTYPE"))
}

/// What this library cannot have written.
pub(crate) fn corrupt(what: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, what).not_applied()
}
