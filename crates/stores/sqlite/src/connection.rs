//! One connection to the file, set up alike everywhere.

use crate::builder::{Durability, Settings};
use crate::error::{from_sqlite, is_busy};
use martlet_base::Rng;
use martlet_store::{StoreError, StoreErrorKind};
use rusqlite::{Connection, OpenFlags};
use std::time::Duration;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Writer,
    Reader,
    /// Folds the write-ahead log in.
    Keeper,
}

/// Page cache in KiB. The operating system caches the file as well; these only save copies.
const WRITER_CACHE_KIB: i64 = 4096;
const READER_CACHE_KIB: i64 = 1024;

/// The write-ahead log's file is cut back to this when the log begins anew: beyond what it has while the keeper keeps up, since
/// a file that grows again costs twice the time of each sync.
const WAL_KEPT_BYTES: i64 = 16 * 1024 * 1024;

pub(crate) fn open(settings: &Settings, role: Role) -> Result<Connection, StoreError> {
    let path = &settings.path;
    let failed = |error: rusqlite::Error| {
        from_sqlite(&format!("cannot open {}", path.display()), &error).not_applied()
    };
    let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if settings.read_only {
        flags |= OpenFlags::SQLITE_OPEN_READ_ONLY;
    } else {
        flags |= OpenFlags::SQLITE_OPEN_READ_WRITE;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, settings.create && role == Role::Writer);
    }
    let may_create = settings.create && !settings.read_only;
    let mut conn = Connection::open_with_flags(path, flags).map_err(|error| {
        let has_folder = path.parent().is_none_or(|folder| folder.as_os_str().is_empty() || folder.is_dir());
        if path.exists() || (may_create && has_folder) {
            return failed(error);
        }
        let what = if has_folder { "" } else { "the folder of " };
        StoreError::new(StoreErrorKind::NotFound, format!("{what}{} does not exist", path.display()))
    })?;
    conn.busy_handler(Some(lock_wait(settings.busy_timeout))).map_err(failed)?;
    conn.set_prepared_statement_cache_capacity(64);
    configure(&conn, settings, role).map_err(failed)?;

    // The order of keys is that of their UTF-8 bytes only if that is how they are stored.
    let encoding: String = conn.pragma_query_value(None, "encoding", |row| row.get(0)).map_err(failed)?;
    if encoding != "UTF-8" {
        let detail = format!("{} stores text as {encoding}, and only UTF-8 will do", path.display());
        return Err(StoreError::new(StoreErrorKind::Unsupported, detail));
    }
    if !settings.read_only {
        let mode = wal_mode(&conn, settings.busy_timeout).map_err(failed)?;
        if mode != "wal" {
            let detail = format!(
                "{} cannot use a write-ahead log: its file system has no shared memory",
                path.display()
            );
            return Err(StoreError::new(StoreErrorKind::Unsupported, detail));
        }
    }
    Ok(conn)
}

fn configure(conn: &Connection, settings: &Settings, role: Role) -> rusqlite::Result<()> {
    let (cache, full) = match role {
        Role::Writer => (WRITER_CACHE_KIB, settings.durability == Durability::Full),
        Role::Reader => (READER_CACHE_KIB, true),
        Role::Keeper => (READER_CACHE_KIB, settings.durability == Durability::Full),
    };
    conn.pragma_update(None, "synchronous", if full { "FULL" } else { "NORMAL" })?;
    // macOS: without it, a sync does not reach the platter. No effect elsewhere.
    conn.pragma_update(None, "fullfsync", full)?;
    conn.pragma_update(None, "checkpoint_fullfsync", full)?;
    conn.pragma_update(None, "cache_size", -cache)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    // Savepoints of large batches go to memory, not to a temporary file.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)?;
    // The log is folded in by the keeper.
    conn.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    if role == Role::Keeper {
        // Whoever reads is not waited for: others would wait for the keeper meanwhile.
        conn.busy_timeout(Duration::ZERO)?;
    } else if role == Role::Reader {
        conn.pragma_update(None, "query_only", true)?;
    } else if let Some(bytes) = settings.max_bytes {
        let page: u64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
        // The pragma answers with the limit in force, which is never below the present size.
        conn.pragma_update_and_check(None, "max_page_count", (bytes / page).max(1), |_| Ok(()))?;
    }
    Ok(())
}

/// Turns the write-ahead log on. When several processes do that to a new file at once, SQLite answers "busy" without
/// asking the busy handler.
fn wal_mode(conn: &Connection, limit: Duration) -> rusqlite::Result<String> {
    let mut wait = lock_wait(limit);
    let mut attempt = 0;
    loop {
        match conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)) {
            Err(error) if is_busy(&error) && wait(attempt) => attempt += 1,
            done => return done,
        }
    }
}

/// Waits for a lock that another process holds: random pauses that grow to 16 ms at most, so that processes do not
/// march in step, until `limit` is used up.
fn lock_wait(limit: Duration) -> impl FnMut(i32) -> bool + Send + 'static {
    let rng = Rng::system();
    let mut slept = Duration::ZERO;
    move |attempt| {
        if attempt == 0 {
            slept = Duration::ZERO;
        }
        if slept >= limit {
            return false;
        }
        let ceiling_micros = 500_u64 << attempt.clamp(0, 5);
        let pause = Duration::from_micros(100 + rng.below(ceiling_micros));
        #[expect(
            clippy::disallowed_methods,
            reason = "the lock of another process passes in real time, on its own thread"
        )]
        std::thread::sleep(pause);
        slept += pause;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SqliteStore;

    /// What the file's safety and the process's memory rest on.
    fn pragmas(settings: &Settings, role: Role) -> String {
        let conn = open(settings, role).unwrap();
        let value = |name: &str| -> String {
            conn.pragma_query_value(None, name, |row| {
                Ok(format!("{:?}", row.get::<_, rusqlite::types::Value>(0)?))
            })
            .unwrap()
        };
        let names = ["journal_mode", "synchronous", "fullfsync", "cache_size", "mmap_size", "query_only"];
        names.map(|name| format!("{name}={}", value(name))).join(" ")
    }

    #[test]
    fn the_settings_of_connections_are_pinned() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = SqliteStore::builder(folder.path().join("state.db")).0;
        let full = "journal_mode=Text(\"wal\") synchronous=Integer(2) fullfsync=Integer(1)";
        assert_eq!(
            pragmas(&settings, Role::Writer),
            format!("{full} cache_size=Integer(-4096) mmap_size=Integer(0) query_only=Integer(0)")
        );
        assert_eq!(
            pragmas(&settings, Role::Reader),
            format!("{full} cache_size=Integer(-1024) mmap_size=Integer(0) query_only=Integer(1)")
        );
        settings.durability = Durability::Normal;
        assert!(pragmas(&settings, Role::Writer).contains("synchronous=Integer(1) fullfsync=Integer(0)"));
    }

    #[test]
    fn a_lock_is_waited_for_about_as_long_as_allowed() {
        let mut wait = lock_wait(Duration::from_millis(20));
        let clock = martlet_base::Clock::system();
        for _ in 0..2 {
            let before = clock.now();
            let attempts = (0..).take_while(|attempt| wait(*attempt)).count();
            let waited = clock.now().since(before);
            assert!(waited >= Duration::from_millis(20) && attempts > 2, "{waited:?} in {attempts}");
        }
    }
}
