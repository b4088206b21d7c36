//! From PostgreSQL's words to ours.

use martlet_store::{StoreError, StoreErrorKind};
use tokio_postgres::error::{Severity, SqlState};

/// What PostgreSQL reported while `doing`. Of its messages only the first line is told: details quote stored values.
pub(crate) fn from_postgres(doing: &str, error: &tokio_postgres::Error) -> StoreError {
    let Some(db) = error.as_db_error() else {
        // The words of an I/O error hold no values.
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        return StoreError::new(StoreErrorKind::Unavailable, format!("{doing}: {error}{cause}"));
    };
    let code = db.code();
    let kind = match *code {
        // The server went down over it. What was being committed may be there when it is up again.
        _ if db.parsed_severity() == Some(Severity::Panic) => StoreErrorKind::Unavailable,
        SqlState::DISK_FULL => StoreErrorKind::Full,
        SqlState::READ_ONLY_SQL_TRANSACTION | SqlState::INSUFFICIENT_PRIVILEGE => StoreErrorKind::ReadOnly,
        SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => StoreErrorKind::Corrupt,
        SqlState::PROGRAM_LIMIT_EXCEEDED => StoreErrorKind::TooLarge,
        SqlState::INVALID_CATALOG_NAME | SqlState::UNDEFINED_TABLE | SqlState::INVALID_SCHEMA_NAME => {
            StoreErrorKind::NotFound
        }
        _ => StoreErrorKind::Unavailable,
    };
    let message = db.message().lines().next().unwrap_or("");
    // What a pooler says who was not announced: it takes no options, and the next transaction finds nothing that was prepared.
    let is_pooler = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT].contains(code)
        || message.contains("unsupported startup parameter");
    let hint = if is_pooler { "; behind a pooler say `PostgresBuilder::pooler`" } else { "" };
    StoreError::new(kind, format!("{doing}: {message} ({}){hint}", code.code()))
}

/// Whether the same once more may succeed: another transaction was in the way, or the connection was gone.
pub(crate) fn is_passing(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => {
            [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(code)
                || *code == SqlState::ADMIN_SHUTDOWN
        }
        None => {
            error.is_closed()
                || std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>())
        }
    }
}

pub(crate) fn no_connection(error: &deadpool_postgres::PoolError) -> StoreError {
    let words = match error {
        deadpool_postgres::PoolError::Backend(error) => {
            return from_postgres("cannot connect", error).not_applied();
        }
        deadpool_postgres::PoolError::Timeout(_) => "no connection became free in time".to_owned(),
        other => other.to_string(),
    };
    StoreError::new(StoreErrorKind::Unavailable, format!("cannot connect: {words}")).not_applied()
}

/// A row that this library cannot have written.
pub(crate) fn corrupt_row(what: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, what).not_applied()
}
