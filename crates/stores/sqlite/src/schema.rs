//! The tables, and how an older file comes to have them.
//!
//! All names start with `martlet_`, and the schema's version is a row of `martlet_meta`, not `PRAGMA user_version`: a
//! program's own tables, and its own migration tool, may live in the same file.

use crate::error::from_sqlite;
use martlet_store::{StoreError, StoreErrorKind};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

/// Migration `n` leads from schema `n` to schema `n + 1`. Only ever append: files in the field have run them.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE martlet_meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO martlet_meta VALUES ('schema', 0), ('version', 0);
    CREATE TABLE martlet_cell (
        key TEXT PRIMARY KEY, version INTEGER NOT NULL, expires INTEGER, value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX martlet_cell_expires ON martlet_cell (expires) WHERE expires IS NOT NULL;
    CREATE TABLE martlet_lease (
        key TEXT PRIMARY KEY, owner TEXT NOT NULL, token INTEGER NOT NULL, until INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    // state: 0 ready, 1 in flight, 2 delayed, 3 blocked, 4 buried. What is in flight or delayed becomes ready when somebody
    // receives and its time has come. Each index holds only the rows that are looked for by it.
    "
    INSERT INTO martlet_meta VALUES ('message', 0);
    CREATE TABLE martlet_log (
        log INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL,
        last INTEGER NOT NULL, updated INTEGER NOT NULL, sealed INTEGER, UNIQUE (kind, id)
    ) STRICT;
    CREATE INDEX martlet_log_open ON martlet_log (kind, id) WHERE sealed IS NULL;
    CREATE TABLE martlet_record (
        log INTEGER NOT NULL, sequence INTEGER NOT NULL, appended INTEGER NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (log, sequence)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE martlet_queue (
        queue INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
        live INTEGER NOT NULL DEFAULT 0, blocked INTEGER NOT NULL DEFAULT 0, buried INTEGER NOT NULL DEFAULT 0,
        enqueued INTEGER NOT NULL DEFAULT 0, acked INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE martlet_message (
        id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, state INTEGER NOT NULL, visible_at INTEGER NOT NULL,
        enqueued INTEGER NOT NULL, received INTEGER NOT NULL, held INTEGER NOT NULL DEFAULT 0,
        delivery INTEGER NOT NULL DEFAULT 0, deliveries INTEGER NOT NULL DEFAULT 0, priority INTEGER NOT NULL,
        order_key TEXT, dedup TEXT, dedup_window INTEGER NOT NULL, not_before INTEGER,
        bury_kind TEXT, bury_detail TEXT, history TEXT, body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX martlet_message_ready ON martlet_message (queue, priority DESC, id) WHERE state = 0;
    CREATE INDEX martlet_message_timed ON martlet_message (queue, visible_at, state) WHERE state IN (1, 2);
    CREATE INDEX martlet_message_aside ON martlet_message (queue, state, id) WHERE state IN (3, 4);
    CREATE INDEX martlet_message_order ON martlet_message (queue, order_key, id)
        WHERE order_key IS NOT NULL AND state IN (0, 1, 2, 3);
    CREATE TABLE martlet_dedup (
        queue INTEGER NOT NULL, key TEXT NOT NULL, message INTEGER NOT NULL, until INTEGER NOT NULL,
        PRIMARY KEY (queue, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX martlet_dedup_until ON martlet_dedup (until);
",
];

fn version(conn: &Connection) -> rusqlite::Result<usize> {
    let exists = conn
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'martlet_meta'", [], |_| {
            Ok(())
        })
        .optional()?;
    if exists.is_none() {
        return Ok(0);
    }
    conn.query_row("SELECT value FROM martlet_meta WHERE name = 'schema'", [], |row| row.get(0))
}

fn refuse_newer(found: usize) -> Result<(), StoreError> {
    if found > MIGRATIONS.len() {
        let detail = format!("the file has schema {found}, this program knows {}", MIGRATIONS.len());
        return Err(StoreError::new(StoreErrorKind::Incompatible, detail));
    }
    Ok(())
}

/// Brings the file to the newest schema, in one transaction. Processes that open it at once wait for each other.
pub(crate) fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| from_sqlite("cannot set up the tables", &error).not_applied();
    if version(conn).map_err(failed)? == MIGRATIONS.len() {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let found = version(&tx).map_err(failed)?;
    refuse_newer(found)?;
    for migration in MIGRATIONS.iter().skip(found) {
        tx.execute_batch(migration).map_err(failed)?;
    }
    tx.execute("UPDATE martlet_meta SET value = ?1 WHERE name = 'schema'", [MIGRATIONS.len()])
        .map_err(failed)?;
    tx.commit().map_err(failed)
}

/// For a file that may not be written: it must have the newest schema already.
pub(crate) fn verify(conn: &Connection) -> Result<(), StoreError> {
    let found = version(conn).map_err(|error| from_sqlite("cannot read the tables", &error))?;
    refuse_newer(found)?;
    if found < MIGRATIONS.len() {
        let detail =
            format!("schema {found} must be brought to {}: open it once for writing", MIGRATIONS.len());
        return Err(StoreError::new(StoreErrorKind::ReadOnly, detail));
    }
    Ok(())
}
