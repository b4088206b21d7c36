//! Reads, each in one snapshot, on threads of their own.

pub(crate) mod logs;
pub(crate) mod queues;

use crate::error::{corrupt_row, from_sqlite};
use bytes::Bytes;
use martlet_base::Timestamp;
use martlet_store::{Cell, CellKey, StoreError, StoreErrorKind, Version};
use rusqlite::{Connection, OptionalExtension, Row};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};

pub(crate) type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

/// Works until the store is closed.
pub(crate) fn run(conn: &Connection, jobs: &Mutex<Receiver<ReadJob>>) {
    loop {
        // The guard is gone before the work begins: other readers take the next job meanwhile.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(conn),
            Err(_) => return,
        }
    }
}

fn failed(error: rusqlite::Error) -> StoreError {
    from_sqlite("cannot read", &error).not_applied()
}

/// Runs `work` on one snapshot of the file.
fn snapshot<T>(conn: &Connection, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let tx = conn.unchecked_transaction().map_err(failed)?;
    let found = work()?;
    tx.finish().map_err(failed)?;
    Ok(found)
}

/// Reads `version, expires, value` from column `first` on.
fn cell(row: &Row<'_>, first: usize) -> rusqlite::Result<Cell> {
    let value: Vec<u8> = row.get(first + 2)?;
    let expires: Option<i64> = row.get(first + 1)?;
    Ok(Cell::new(Bytes::from(value), Version::from_u64(row.get(first)?), expires.map(Timestamp::from_micros)))
}

pub(crate) fn get(
    conn: &Connection,
    keys: &[CellKey],
    now: Timestamp,
) -> Result<Vec<Option<Cell>>, StoreError> {
    snapshot(conn, || {
        let sql = "SELECT version, expires, value FROM martlet_cell WHERE key = ?1";
        let mut statement = conn.prepare_cached(sql).map_err(failed)?;
        let mut find = |key: &CellKey| statement.query_row([key.as_str()], |row| cell(row, 0)).optional();
        let live = |found: Option<Cell>| found.filter(|cell| cell.is_live(now));
        keys.iter().map(|key| find(key).map(live).map_err(failed)).collect()
    })
}

pub(crate) fn scan(
    conn: &Connection,
    prefix: &str,
    after: Option<&CellKey>,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<(CellKey, Cell)>, StoreError> {
    let columns = "SELECT key, version, expires, value FROM martlet_cell";
    let (sql, start) = match after {
        Some(after) if after.as_str() >= prefix => {
            (format!("{columns} WHERE key > ?1 ORDER BY key"), after.as_str())
        }
        _ => (format!("{columns} WHERE key >= ?1 ORDER BY key"), prefix),
    };
    snapshot(conn, || {
        let mut page = Vec::new();
        let mut statement = conn.prepare_cached(&sql).map_err(failed)?;
        let mut rows = statement.query([start]).map_err(failed)?;
        // The end of the prefix and expiry are judged here: a filter in SQL would walk on past the end of the prefix
        // through everything that has expired.
        while page.len() < limit {
            let Some(row) = rows.next().map_err(failed)? else { break };
            let key =
                row.get_ref(0).map_err(failed)?.as_str().map_err(|_| corrupt_row("a key is not text"))?;
            if !key.starts_with(prefix) {
                break;
            }
            let expires: Option<i64> = row.get(2).map_err(failed)?;
            if expires.is_some_and(|at| Timestamp::from_micros(at) <= now) {
                continue;
            }
            let key = CellKey::new(key).map_err(|_| corrupt_row("a key that martlet does not write"))?;
            page.push((key, cell(row, 1).map_err(failed)?));
        }
        Ok(page)
    })
}

/// `PRAGMA integrity_check`: reads the whole file.
pub(crate) fn check(conn: &Connection) -> Result<(), StoreError> {
    let first: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if first == "ok" {
        return Ok(());
    }
    // SQLite's report may take several lines.
    let line = first.lines().last().unwrap_or_default().to_owned();
    Err(StoreError::new(StoreErrorKind::Corrupt, format!("integrity check: {line}")))
}
