//! The one thread that writes: group commit.
//!
//! Whatever is waiting when a transaction begins, and comes while it lasts, shares it and its sync to disk. Each commit
//! runs in a savepoint of its own, so one that fails undoes nobody else. The transaction is short, because other
//! processes wait for its lock.

mod logs;
mod queues;

use crate::error::from_sqlite;
use crate::keeper::{self, CHECKPOINT_FRAMES, Folded, Poke, Shared};
use martlet_base::{Clock, ClockHold, Moment, Timestamp};
use martlet_store::{
    CellKey, Committed, Expect, Fence, Outcome, QueueName, Received, StoreError, StoreErrorKind, Version,
    Write, WriteBatch,
};
use queues::Counts;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;
use tokio::sync::oneshot;

/// A transaction takes no further commits after this time or this many.
const GROUP_TIME: Duration = Duration::from_millis(2);
const GROUP_COMMITS: usize = 256;

/// Those whom the last transaction answered are probably about to ask again: a transaction with fewer jobs than the last one
/// waits so long for the next before it is synced. Far less than a sync takes, and once for each transaction.
const PATIENCE: Duration = Duration::from_micros(50);

/// Expired cells are looked for this often, and this many deleted in one transaction.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const SWEEP_ROWS: usize = 512;

/// When the keeper does not keep up and the write-ahead log has grown by so many frames, the writer folds the rest in
/// itself, and the log begins anew: 8 MiB.
const TOO_MANY_FRAMES: usize = 2 * CHECKPOINT_FRAMES;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// A request to write. The hold is released when it was answered.
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) hold: ClockHold,
}

pub(crate) enum Work {
    Commit {
        batch: WriteBatch,
        reply: Reply<Committed>,
    },
    /// With statements of the program's own: they run behind the batch, and say whether they succeeded.
    With {
        batch: WriteBatch,
        own: OwnStatements,
        reply: Reply<Committed>,
    },
    Lease {
        key: CellKey,
        owner: String,
        ttl: Duration,
        reply: Reply<Option<Fence>>,
    },
    Receive {
        queue: QueueName,
        max: usize,
        visibility: Duration,
        reply: Reply<Vec<Received>>,
    },
}

pub(crate) type OwnStatements = Box<dyn FnOnce(&Connection) -> bool + Send>;

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
            Work::Commit { reply, .. } | Work::With { reply, .. } => {
                answer(reply, Err(error.clone()), self.hold)(None);
            }
            Work::Receive { reply, .. } => answer(reply, Err(error.clone()), self.hold)(None),
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
    shared: Arc<Shared>,
    keeper: Sender<Poke>,
    /// Frames of the write-ahead log when the writer last folded it in itself, and when it last told the keeper to.
    folded: usize,
    told: usize,
    /// How many jobs shared the last transaction.
    company: usize,

    // What belongs to the transaction that is open.
    /// The version of the last commit and the number of the last message, of whichever process.
    version: u64,
    message: u64,
    /// Whether the program's own statements run: a commit of theirs is made a rollback.
    own: Arc<AtomicBool>,
    /// Whether a queue was touched, so that those who wait are woken.
    touched: bool,
    counts: HashMap<i64, Counts>,
    /// What belongs to the job under way: it goes when the job is undone.
    job_counts: Vec<(i64, Counts)>,
    job_queues: Vec<QueueName>,
    /// Rows of queues, which never change.
    queues: HashMap<QueueName, i64>,
}

impl Writer {
    pub(crate) fn new(
        mut conn: Connection,
        clock: Clock,
        shared: Arc<Shared>,
        keeper: Sender<Poke>,
    ) -> rusqlite::Result<Self> {
        let real = Clock::system();
        let swept = real.now();
        let own = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&own);
        conn.commit_hook(Some(move || theirs.load(Ordering::Relaxed)))?;
        let frames = Arc::clone(&shared);
        conn.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count: i32| {
            frames.frames.store(usize::try_from(count).unwrap_or(0), Ordering::Relaxed);
            frames.commits.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self {
            conn,
            clock,
            real,
            swept,
            shared,
            keeper,
            folded: 0,
            told: 0,
            company: 0,
            version: 0,
            message: 0,
            own,
            touched: false,
            counts: HashMap::new(),
            job_counts: Vec::new(),
            job_queues: Vec::new(),
            queues: HashMap::new(),
        })
    }

    /// Works until the store is closed and everything that was sent before is done. Returns the connection, which must be
    /// the last one to be closed.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) -> Connection {
        while let Ok(first) = jobs.recv() {
            self.group(first, jobs);
            self.look_after_the_log();
        }
        self.conn
    }

    fn look_after_the_log(&mut self) {
        let frames = self.shared.frames.load(Ordering::Relaxed);
        if frames < self.folded.max(self.told) {
            // The log has begun anew.
            (self.folded, self.told) = (0, 0);
        }
        if frames >= self.folded + TOO_MANY_FRAMES {
            // The keeper has done most of it. While it is at work nobody else can: then again after the next transaction,
            // unless the log has grown twice as long; then commits wait for the keeper.
            let mut tries = if frames >= self.folded + 2 * TOO_MANY_FRAMES { 2_000 } else { 1 };
            while tries > 0 {
                if keeper::checkpoint(&self.conn) != Folded::Nothing {
                    self.folded = frames;
                    return;
                }
                tries -= 1;
                if tries > 0 {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "the disk works in real time, on its own thread"
                    )]
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        } else if frames >= self.told + CHECKPOINT_FRAMES {
            self.told = frames;
            // The store is being closed when nobody listens any more.
            let _ = self.keeper.send(Poke::Fold);
        }
    }

    fn sql(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// One transaction.
    fn group(&mut self, first: Job, jobs: &Receiver<Job>) {
        if let Err(error) = self.begin() {
            // Whoever waited meanwhile would only wait for the same lock again.
            first.refuse(&error);
            jobs.try_iter().for_each(|job| job.refuse(&error));
            return;
        }
        let started = self.real.now();
        let mut answers = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            let (answer, error) = self.job(job);
            answers.push(answer);
            if self.conn.is_autocommit() {
                self.forget();
                // Out of space or an I/O error: SQLite has rolled the whole transaction back.
                let error = error.unwrap_or_else(|| {
                    StoreError::new(StoreErrorKind::Unavailable, "SQLite rolled the transaction back")
                        .not_applied()
                });
                answers.into_iter().for_each(|answer| answer(Some(&error)));
                return;
            }
            let full = answers.len() >= GROUP_COMMITS || self.real.now().since(started) >= GROUP_TIME;
            next = if full { None } else { self.another(jobs, answers.len()) };
        }
        self.company = answers.len();
        let undone = self.finish().err();
        if self.touched && undone.is_none() {
            self.shared.touched.notify_waiters();
        }
        answers.into_iter().for_each(|answer| answer(undone.as_ref()));
    }

    /// The next job for the transaction that is open, of which it has `so_far`.
    fn another(&self, jobs: &Receiver<Job>, so_far: usize) -> Option<Job> {
        match jobs.try_recv() {
            Ok(job) => Some(job),
            Err(_) if so_far < self.company => jobs.recv_timeout(PATIENCE).ok(),
            Err(_) => None,
        }
    }

    /// Takes the write lock and reads how far the numbers are.
    fn begin(&mut self) -> Result<(), StoreError> {
        (self.touched, self.version, self.message) = (false, 0, 0);
        let begin = || {
            self.sql("BEGIN IMMEDIATE")?;
            let sql = "SELECT (SELECT value FROM martlet_meta WHERE name = 'version'), \
                       (SELECT value FROM martlet_meta WHERE name = 'message')";
            self.conn.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        };
        (self.version, self.message) = begin().map_err(|error| {
            self.roll_back();
            from_sqlite("cannot begin", &error).not_applied()
        })?;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        let result = self.sweep().and_then(|()| self.write_counts()).and_then(|()| {
            // The same values again, when somebody only looked, would still be a write and a sync.
            let sql = "UPDATE martlet_meta SET value = CASE name WHEN 'version' THEN ?1 ELSE ?2 END \
                       WHERE (name = 'version' AND value < ?1) OR (name = 'message' AND value < ?2)";
            self.conn.prepare_cached(sql)?.execute([self.version, self.message])?;
            self.sql("COMMIT")
        });
        result.map_err(|error| {
            self.roll_back();
            self.forget();
            from_sqlite("cannot commit", &error)
        })
    }

    /// The transaction was undone: what was remembered of it does not hold.
    fn forget(&mut self) {
        self.counts.clear();
        self.queues.clear();
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
        let sql = "DELETE FROM martlet_cell WHERE key IN \
                   (SELECT key FROM martlet_cell WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
        let wall = self.clock.wall().as_micros();
        let cells = self.conn.prepare_cached(sql)?.execute(params![wall, SWEEP_ROWS])?;
        let sql = "DELETE FROM martlet_dedup WHERE (queue, key) IN \
                   (SELECT queue, key FROM martlet_dedup WHERE until <= ?1 ORDER BY until LIMIT ?2)";
        let keys = self.conn.prepare_cached(sql)?.execute(params![wall, SWEEP_ROWS])?;
        // When there is more, the next transaction goes on: a fixed rate would be too slow for somebody.
        if cells.max(keys) < SWEEP_ROWS {
            self.swept = now;
        }
        Ok(())
    }

    /// Runs one job; also tells its error, in case it undid more than the job.
    fn job(&mut self, job: Job) -> (Answer, Option<StoreError>) {
        fn done<T: 'static>(
            reply: Reply<T>,
            result: Result<T, StoreError>,
            hold: ClockHold,
        ) -> (Answer, Option<StoreError>) {
            let error = result.as_ref().err().cloned();
            (answer(reply, result, hold), error)
        }
        match job.work {
            Work::Commit { batch, reply } => {
                self.version += 1;
                let result = if is_one_statement(&batch) {
                    let result = self.commit(&batch);
                    self.settle_job(result.is_ok());
                    result
                } else {
                    self.isolated(|writer| writer.commit(&batch))
                };
                done(reply, result, job.hold)
            }
            Work::With { batch, own, reply } => {
                self.version += 1;
                let result = self.isolated(|writer| {
                    let committed = writer.commit(&batch)?;
                    writer.own(own)?;
                    Ok(committed)
                });
                done(reply, result, job.hold)
            }
            Work::Lease { key, owner, ttl, reply } => {
                let result = self.isolated(|writer| writer.lease(&key, &owner, ttl));
                done(reply, result, job.hold)
            }
            Work::Receive { queue, max, visibility, reply } => {
                // Nobody waits for it any more: what is not wanted is not hidden from others.
                let result = if reply.is_closed() {
                    Ok(Vec::new())
                } else {
                    self.isolated(|writer| writer.receive(&queue, max, visibility))
                };
                done(reply, result, job.hold)
            }
        }
    }

    /// Runs the program's own statements.
    fn own(&self, own: OwnStatements) -> Result<(), StoreError> {
        let invalid = |what| StoreError::new(StoreErrorKind::Invalid, what);
        self.own.store(true, Ordering::Relaxed);
        let done = catch_unwind(AssertUnwindSafe(|| own(&self.conn)));
        self.own.store(false, Ordering::Relaxed);
        match done {
            Ok(_) if self.conn.is_autocommit() => {
                Err(invalid("the program's own statements ended the transaction: it was rolled back"))
            }
            Ok(true) => Ok(()),
            Ok(false) => Err(invalid("the program's own statements failed")),
            Err(_) => Err(invalid("the program's own statements panicked")),
        }
    }

    /// What a job counted goes to the transaction, or is forgotten with the job.
    fn settle_job(&mut self, done: bool) {
        for (queue, counts) in self.job_counts.drain(..) {
            if done {
                self.counts.entry(queue).or_default().add(counts);
            }
        }
        for queue in self.job_queues.drain(..) {
            if !done {
                self.queues.remove(&queue);
            }
        }
    }

    fn isolated<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let result = self.in_savepoint(work);
        self.settle_job(result.is_ok());
        result
    }

    fn in_savepoint<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.sql("SAVEPOINT job")
            .map_err(|error| from_sqlite("cannot set a savepoint", &error).not_applied())?;
        let result = work(self);
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

    fn commit(&mut self, batch: &WriteBatch) -> Result<Committed, StoreError> {
        let now = self.clock.wall();
        let mut committed = Committed::new(Version::from_u64(self.version));
        for (index, write) in batch.writes().iter().enumerate() {
            match self.write(write, now).map_err(|error| error.at_write(index, write))? {
                Outcome::Done => {}
                outcome => committed = committed.with_outcome(index, outcome),
            }
            self.touched |= Self::wakes(write);
        }
        Ok(committed)
    }

    fn write(&mut self, write: &Write, now: Timestamp) -> Result<Outcome, StoreError> {
        // Nothing of this job is applied when one of its statements fails: the savepoint is rolled back.
        let failed = |error: rusqlite::Error| from_sqlite("cannot write", &error).not_applied();
        match write {
            Write::PutCell { key, value, expect, expires } => {
                self.expect(key, *expect, now)?;
                let sql = "INSERT INTO martlet_cell (key, version, expires, value) VALUES (?1, ?2, ?3, ?4) \
                           ON CONFLICT (key) DO UPDATE SET \
                           version = excluded.version, expires = excluded.expires, value = excluded.value";
                let expires = expires.map(Timestamp::as_micros);
                let values = params![key.as_str(), self.version, expires, &**value];
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
            Write::CheckFence { fence } => self.check(fence)?,
            Write::Append { log, fence, record, appended } => {
                fence.iter().try_for_each(|fence| self.check(fence))?;
                return self.append(log, record, appended.unwrap_or(now)).map(Outcome::Appended);
            }
            Write::Seal { log, fence } => {
                fence.iter().try_for_each(|fence| self.check(fence))?;
                self.seal(log, now)?;
            }
            Write::DeleteLog { log } => self.delete_log(log)?,
            Write::Enqueue { queue, message } => return self.enqueue(queue, message, now),
            Write::Restore { queue, item } => return self.restore(queue, item, now),
            Write::Ack { receipt }
            | Write::RetryAt { receipt, .. }
            | Write::Heartbeat { receipt, .. }
            | Write::Bury { receipt, .. } => self.settle(receipt, write, now)?,
            Write::Edit { queue, message, .. }
            | Write::Replay { queue, message, .. }
            | Write::Discard { queue, message, .. } => self.operate(queue, *message, write, now)?,
            _ => {
                let detail = "this version of martlet-sqlite does not know the write";
                return Err(StoreError::new(StoreErrorKind::Unsupported, detail));
            }
        }
        Ok(Outcome::Done)
    }

    fn check(&self, fence: &Fence) -> Result<(), StoreError> {
        let sql = "SELECT token FROM martlet_lease WHERE key = ?1";
        let latest = self
            .conn
            .prepare_cached(sql)
            .and_then(|mut find| find.query_row([fence.key().as_str()], |row| row.get(0)).optional())
            .map_err(|error| from_sqlite("cannot read", &error).not_applied())?;
        if latest == Some(fence.token()) { Ok(()) } else { Err(StoreError::stale_fence(fence, latest)) }
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

/// A batch that changes nothing but by one statement, which SQLite undoes by itself when it fails: it needs no savepoint.
fn is_one_statement(batch: &WriteBatch) -> bool {
    match batch.writes() {
        [] => true,
        [Write::Enqueue { message, .. }] => message.dedup.is_none() && message.order_key.is_none(),
        [one] => matches!(
            one,
            Write::PutCell { .. }
                | Write::DeleteCell { .. }
                | Write::CheckCell { .. }
                | Write::CheckFence { .. }
        ),
        _ => false,
    }
}
