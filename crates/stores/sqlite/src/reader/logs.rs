//! Reading logs.

use super::{failed, snapshot};
use crate::error::corrupt_row;
use bytes::Bytes;
use martlet_base::Timestamp;
use martlet_store::{LogId, LogInfo, Record, StoreError};
use rusqlite::{Connection, OptionalExtension, params};

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn log_id(kind: &str, id: &str) -> Result<LogId, StoreError> {
    LogId::new(kind, id).map_err(|_| corrupt_row("a log that martlet does not write"))
}

pub(crate) fn read(
    conn: &Connection,
    log: &LogId,
    from: u64,
    limit: usize,
) -> Result<Vec<Record>, StoreError> {
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    snapshot(conn, || {
        let sql = "SELECT log FROM martlet_log WHERE kind = ?1 AND id = ?2";
        let mut find = conn.prepare_cached(sql).map_err(failed)?;
        let row: Option<i64> =
            find.query_row([log.kind(), log.id()], |row| row.get(0)).optional().map_err(failed)?;
        let Some(row) = row else { return Ok(Vec::new()) };
        let sql = "SELECT sequence, appended, body FROM martlet_record \
                   WHERE log = ?1 AND sequence >= ?2 ORDER BY sequence LIMIT ?3";
        let mut find = conn.prepare_cached(sql).map_err(failed)?;
        let records = find.query_map([row, from, rows(limit)], |row| {
            let body: Vec<u8> = row.get(2)?;
            Ok(Record::new(row.get(0)?, Timestamp::from_micros(row.get(1)?), Bytes::from(body)))
        });
        records.and_then(Iterator::collect).map_err(failed)
    })
}

pub(crate) fn open(
    conn: &Connection,
    kind: &str,
    after: Option<&LogId>,
    limit: usize,
) -> Result<Vec<LogId>, StoreError> {
    let after = match after {
        Some(after) if after.kind() > kind => return Ok(Vec::new()),
        Some(after) if after.kind() == kind => after.id(),
        _ => "",
    };
    snapshot(conn, || {
        let sql = "SELECT id FROM martlet_log WHERE kind = ?1 AND sealed IS NULL AND id > ?2 \
                   ORDER BY id LIMIT ?3";
        let mut find = conn.prepare_cached(sql).map_err(failed)?;
        let ids = find.query_map(params![kind, after, rows(limit)], |row| row.get::<_, String>(0));
        let ids: Vec<String> = ids.and_then(Iterator::collect).map_err(failed)?;
        ids.iter().map(|id| log_id(kind, id)).collect()
    })
}

pub(crate) fn list(
    conn: &Connection,
    after: Option<&LogId>,
    limit: usize,
) -> Result<Vec<LogInfo>, StoreError> {
    let (kind, id) = after.map_or(("", ""), |after| (after.kind(), after.id()));
    snapshot(conn, || {
        let sql = "SELECT kind, id, last, updated, sealed FROM martlet_log WHERE (kind, id) > (?1, ?2) \
                   ORDER BY kind, id LIMIT ?3";
        let mut find = conn.prepare_cached(sql).map_err(failed)?;
        let mut found = find.query(params![kind, id, rows(limit)]).map_err(failed)?;
        let mut logs = Vec::new();
        while let Some(row) = found.next().map_err(failed)? {
            let text = |column| row.get::<_, String>(column).map_err(failed);
            let id = log_id(&text(0)?, &text(1)?)?;
            let sealed: Option<i64> = row.get(4).map_err(failed)?;
            let updated = Timestamp::from_micros(row.get(3).map_err(failed)?);
            let last = row.get(2).map_err(failed)?;
            logs.push(LogInfo::new(id, last, updated, sealed.map(Timestamp::from_micros)));
        }
        Ok(logs)
    })
}
