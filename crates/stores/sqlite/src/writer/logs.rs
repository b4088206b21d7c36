//! Appending to logs.

use super::Writer;
use crate::error::from_sqlite;
use martlet_base::Timestamp;
use martlet_store::{LogId, StoreError};
use rusqlite::{OptionalExtension, params};

impl Writer {
    fn log(&self, log: &LogId) -> rusqlite::Result<Option<(i64, u64, bool)>> {
        let sql = "SELECT log, last, sealed IS NOT NULL FROM martlet_log WHERE kind = ?1 AND id = ?2";
        let columns = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        self.conn.prepare_cached(sql)?.query_row([log.kind(), log.id()], columns).optional()
    }

    pub(super) fn append(&self, log: &LogId, record: &[u8], appended: Timestamp) -> Result<u64, StoreError> {
        let failed = |error: rusqlite::Error| from_sqlite("cannot append", &error).not_applied();
        let (row, last) = match self.log(log).map_err(failed)? {
            Some((_, _, true)) => return Err(StoreError::sealed_log()),
            Some((row, last, false)) => (row, last),
            None => (self.create_log(log).map_err(failed)?, 0),
        };
        let sequence = last + 1;
        let append = || {
            let sql = "INSERT INTO martlet_record (log, sequence, appended, body) VALUES (?1, ?2, ?3, ?4)";
            let values = params![row, sequence, appended.as_micros(), record];
            self.conn.prepare_cached(sql)?.execute(values)?;
            let sql = "UPDATE martlet_log SET last = ?2, updated = ?3 WHERE log = ?1";
            self.conn.prepare_cached(sql)?.execute(params![row, sequence, appended.as_micros()])
        };
        append().map_err(failed)?;
        Ok(sequence)
    }

    fn create_log(&self, log: &LogId) -> rusqlite::Result<i64> {
        let sql = "INSERT INTO martlet_log (kind, id, last, updated) VALUES (?1, ?2, 0, 0)";
        self.conn.prepare_cached(sql)?.insert([log.kind(), log.id()])
    }

    pub(super) fn seal(&self, log: &LogId, now: Timestamp) -> Result<(), StoreError> {
        let failed = |error: rusqlite::Error| from_sqlite("cannot seal", &error).not_applied();
        match self.log(log).map_err(failed)? {
            None => Err(StoreError::missing_log()),
            Some((_, _, true)) => Ok(()),
            Some((row, _, false)) => {
                let sql = "UPDATE martlet_log SET sealed = ?2 WHERE log = ?1";
                let mut seal = self.conn.prepare_cached(sql).map_err(failed)?;
                seal.execute(params![row, now.as_micros()]).map(drop).map_err(failed)
            }
        }
    }

    pub(super) fn delete_log(&self, log: &LogId) -> Result<(), StoreError> {
        let delete = || {
            if let Some((row, ..)) = self.log(log)? {
                self.conn.prepare_cached("DELETE FROM martlet_record WHERE log = ?1")?.execute([row])?;
                self.conn.prepare_cached("DELETE FROM martlet_log WHERE log = ?1")?.execute([row])?;
            }
            Ok(())
        };
        delete().map_err(|error: rusqlite::Error| from_sqlite("cannot delete", &error).not_applied())
    }
}
