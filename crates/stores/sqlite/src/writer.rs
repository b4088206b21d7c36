//! The one thread that writes: group commit.
//!
//! Whatever is waiting when a transaction begins, and comes while it lasts, shares it and its sync to disk. Each commit
//! runs in a savepoint of its own, so one that fails undoes nobody else. The transaction is short, because other
//! processes wait for its lock.

use crate::error::from_sqlite;
use martlet_base::{Clock, ClockHold, Moment, Timestamp};
use martlet_store::{
    CellKey, Committed, Expect, Fence, StoreError, StoreErrorKind, Version, Write, WriteBatch,
};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tokio::sync::oneshot;

/// A transaction takes no further commits after this time or this many.
const GROUP_TIME: Duration = Duration::from_millis(2);
const GROUP_COMMITS: usize = 256;

/// Expired cells are deleted this often, and this many at a time.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const SWEEP_CELLS: u32 = 512;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// A request to write. The hold is released when it was answered.
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) hold: ClockHold,
}

pub(crate) enum Work {
    Commit { batch: WriteBatch, reply: Reply<Committed> },
    Lease { key: CellKey, owner: String, ttl: Duration, reply: Reply<Option<Fence>> },
}

/// An answer that waits for the fate of the transaction: `Some` is the error that undid all of it.
type Answer = Box<dyn FnOnce(Option<&StoreError>)>;

fn answer<T: 'static>(reply: Reply<T>, result: Result<T, StoreError>, hold: ClockHold) -> Answer {
    Box::new(move |undone| {
        // Nobody listens any more when the future was dropped: the commit stands all the same.
        let _ = reply.send(match undone {
            Some(error) => Err(error.clone()),
            None => result,
        });
        drop(hold);
    })
}

impl Job {
    /// Answers without having tried.
    fn refuse(self, error: &StoreError) {
        match self.work {
            Work::Commit { reply, .. } => answer(reply, Err(error.clone()), self.hold)(None),
            Work::Lease { reply, .. } => answer(reply, Err(error.clone()), self.hold)(None),
        }
    }
}

pub(crate) struct Writer {
    conn: Connection,
    clock: Clock,
    /// Real time: how long a transaction holds the lock does not depend on a simulated clock.
    real: Clock,
    swept: Moment,
}

impl Writer {
    pub(crate) fn new(conn: Connection, clock: Clock) -> Self {
        let real = Clock::system();
        let swept = real.now();
        Self { conn, clock, real, swept }
    }

    /// Works until the store is closed and everything that was sent before is done.
    pub(crate) fn run(&mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            self.group(first, jobs);
        }
    }

    fn sql(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// One transaction.
    fn group(&mut self, first: Job, jobs: &Receiver<Job>) {
        let mut version = match self.begin() {
            Ok(version) => version,
            Err(error) => {
                // Whoever waited meanwhile would only wait for the same lock again.
                first.refuse(&error);
                jobs.try_iter().for_each(|job| job.refuse(&error));
                return;
            }
        };
        let started = self.real.now();
        let mut answers = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            version += 1;
            let (answer, error) = self.job(job, version);
            answers.push(answer);
            if self.conn.is_autocommit() {
                // Out of space or an I/O error: SQLite has rolled the whole transaction back.
                let error = error.unwrap_or_else(|| {
                    StoreError::new(StoreErrorKind::Unavailable, "SQLite rolled the transaction back")
                        .not_applied()
                });
                answers.into_iter().for_each(|answer| answer(Some(&error)));
                return;
            }
            let full = answers.len() >= GROUP_COMMITS || self.real.now().since(started) >= GROUP_TIME;
            next = if full { None } else { jobs.try_recv().ok() };
        }
        let undone = self.finish(version).err();
        answers.into_iter().for_each(|answer| answer(undone.as_ref()));
    }

    /// Takes the write lock; returns the version of the last commit, of whichever process.
    fn begin(&self) -> Result<u64, StoreError> {
        let begin = || {
            self.sql("BEGIN IMMEDIATE")?;
            let sql = "SELECT value FROM martlet_meta WHERE name = 'version'";
            self.conn.prepare_cached(sql)?.query_row([], |row| row.get(0))
        };
        begin().map_err(|error| {
            self.roll_back();
            from_sqlite("cannot begin", &error).not_applied()
        })
    }

    fn finish(&mut self, version: u64) -> Result<(), StoreError> {
        let result = self.sweep().and_then(|()| {
            let sql = "UPDATE martlet_meta SET value = ?1 WHERE name = 'version'";
            self.conn.prepare_cached(sql)?.execute([version])?;
            self.sql("COMMIT")
        });
        result.map_err(|error| {
            self.roll_back();
            from_sqlite("cannot commit", &error)
        })
    }

    fn roll_back(&self) {
        if !self.conn.is_autocommit() {
            // If even this fails, the next BEGIN says so.
            let _ = self.sql("ROLLBACK");
        }
    }

    fn sweep(&mut self) -> rusqlite::Result<()> {
        let now = self.real.now();
        if now.since(self.swept) < SWEEP_EVERY {
            return Ok(());
        }
        self.swept = now;
        let sql = "DELETE FROM martlet_cell WHERE key IN \
                   (SELECT key FROM martlet_cell WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
        self.conn.prepare_cached(sql)?.execute(params![self.clock.wall().as_micros(), SWEEP_CELLS])?;
        Ok(())
    }

    /// Runs one job in a savepoint; also tells its error, in case it undid more than the job.
    fn job(&self, job: Job, version: u64) -> (Answer, Option<StoreError>) {
        match job.work {
            Work::Commit { batch, reply } => {
                let result = self.isolated(|| self.commit(&batch, version));
                let error = result.as_ref().err().cloned();
                (answer(reply, result, job.hold), error)
            }
            Work::Lease { key, owner, ttl, reply } => {
                let result = self.isolated(|| self.lease(&key, &owner, ttl));
                let error = result.as_ref().err().cloned();
                (answer(reply, result, job.hold), error)
            }
        }
    }

    fn isolated<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.sql("SAVEPOINT job")
            .map_err(|error| from_sqlite("cannot set a savepoint", &error).not_applied())?;
        let result = work();
        if !self.conn.is_autocommit() {
            let undo = if result.is_err() { self.sql("ROLLBACK TO job") } else { Ok(()) };
            if let Err(error) = undo.and_then(|()| self.sql("RELEASE job")) {
                // Half of a batch must not be committed with the others.
                self.roll_back();
                return Err(from_sqlite("cannot undo a batch", &error).not_applied());
            }
        }
        result
    }

    fn commit(&self, batch: &WriteBatch, version: u64) -> Result<Committed, StoreError> {
        let now = self.clock.wall();
        for (index, write) in batch.writes().iter().enumerate() {
            self.write(write, version, now).map_err(|error| error.at_write(index, write))?;
        }
        Ok(Committed::new(Version::from_u64(version)))
    }

    fn write(&self, write: &Write, version: u64, now: Timestamp) -> Result<(), StoreError> {
        // Nothing of this job is applied when one of its statements fails: the savepoint is rolled back.
        let failed = |error: rusqlite::Error| from_sqlite("cannot write", &error).not_applied();
        match write {
            Write::PutCell { key, value, expect, expires } => {
                self.expect(key, *expect, now)?;
                let sql = "INSERT INTO martlet_cell (key, version, expires, value) VALUES (?1, ?2, ?3, ?4) \
                           ON CONFLICT (key) DO UPDATE SET \
                           version = excluded.version, expires = excluded.expires, value = excluded.value";
                let values = params![key.as_str(), version, expires.map(Timestamp::as_micros), &**value];
                self.conn.prepare_cached(sql).and_then(|mut put| put.execute(values)).map_err(failed)?;
            }
            Write::DeleteCell { key, expect } => {
                self.expect(key, *expect, now)?;
                let sql = "DELETE FROM martlet_cell WHERE key = ?1";
                self.conn
                    .prepare_cached(sql)
                    .and_then(|mut delete| delete.execute([key.as_str()]))
                    .map_err(failed)?;
            }
            Write::CheckCell { key, expect } => self.expect(key, *expect, now)?,
            Write::CheckFence { fence } => {
                let sql = "SELECT token FROM martlet_lease WHERE key = ?1";
                let latest = self
                    .conn
                    .prepare_cached(sql)
                    .and_then(|mut find| find.query_row([fence.key().as_str()], |row| row.get(0)).optional())
                    .map_err(failed)?;
                if latest != Some(fence.token()) {
                    return Err(StoreError::stale_fence(fence, latest));
                }
            }
            _ => {
                return Err(StoreError::new(
                    StoreErrorKind::Unsupported,
                    "kept neither as cell nor as lease",
                ));
            }
        }
        Ok(())
    }

    fn expect(&self, key: &CellKey, expect: Expect, now: Timestamp) -> Result<(), StoreError> {
        if expect == Expect::Any {
            return Ok(());
        }
        let sql = "SELECT version FROM martlet_cell WHERE key = ?1 AND (expires IS NULL OR expires > ?2)";
        let found = self
            .conn
            .prepare_cached(sql)
            .and_then(|mut find| {
                find.query_row(params![key.as_str(), now.as_micros()], |row| row.get(0)).optional()
            })
            .map_err(|error| from_sqlite("cannot read", &error).not_applied())?
            .map(Version::from_u64);
        if expect.accepts(found) { Ok(()) } else { Err(StoreError::conflict(expect, found)) }
    }

    fn lease(&self, key: &CellKey, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        let failed = |error: rusqlite::Error| from_sqlite("cannot lease", &error).not_applied();
        let now = self.clock.wall();
        let sql = "SELECT owner = ?2, token, until > ?3 FROM martlet_lease WHERE key = ?1";
        let held: Option<(bool, u64, bool)> = self
            .conn
            .prepare_cached(sql)
            .and_then(|mut find| {
                let values = params![key.as_str(), owner, now.as_micros()];
                find.query_row(values, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
            })
            .map_err(failed)?;
        let token = match held {
            Some((false, _, true)) => return Ok(None),
            Some((true, token, true)) => token,
            _ if ttl.is_zero() => return Ok(None),
            Some((_, token, false)) => token + 1,
            None => 1,
        };
        let sql = "INSERT INTO martlet_lease (key, owner, token, until) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT (key) DO UPDATE SET \
                   owner = excluded.owner, token = excluded.token, until = excluded.until";
        let values = params![key.as_str(), owner, token, (now + ttl).as_micros()];
        self.conn.prepare_cached(sql).and_then(|mut put| put.execute(values)).map_err(failed)?;
        Ok(Some(Fence::new(key.clone(), token)))
    }
}
