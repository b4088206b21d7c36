//! The thread that looks after the file: it folds the write-ahead log in, so that no commit has to, and sees when another
//! process has written, so that those who wait for messages need not poll.

use rusqlite::{Connection, Row};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use tokio::sync::Notify;

/// The write-ahead log is folded in each time it has grown by so many frames: 4 MiB.
pub(crate) const CHECKPOINT_FRAMES: usize = 1_000;

/// How often to look whether another process has written, while somebody waits for a message.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// After so long without a commit, all of the write-ahead log is folded in. Its file stays: a log that is written over needs
/// one write of the disk for each sync, one that grows needs those of the file system's journal as well.
const IDLE: Duration = Duration::from_secs(1);

/// What the threads of a store tell each other.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Frames in the write-ahead log after the last commit.
    pub(crate) frames: AtomicUsize,
    /// Commits so far.
    pub(crate) commits: AtomicUsize,
    /// How many wait for a message.
    waiting: AtomicUsize,
    /// Told of each transaction that touched a queue, in this process or another.
    pub(crate) touched: Notify,
}

/// Counts somebody who waits, as long as it lives.
pub(crate) struct Waiting(Arc<Shared>);

impl Shared {
    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(Arc::clone(self))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What wakes the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Poke {
    /// The write-ahead log is to be folded in.
    Fold,
    /// Somebody waits for a message.
    Waiting,
}

/// Works until the store is closed.
pub(crate) fn run(conn: &Connection, pokes: &Receiver<Poke>, shared: &Shared, read_only: bool) {
    let mut seen = data_version(conn);
    let (mut commits, mut quiet) = (0, Duration::ZERO);
    // The count of commits at which all of the log was last folded in.
    let mut whole = None;
    loop {
        let waiting = shared.waiting.load(Ordering::SeqCst) > 0;
        let pause = if waiting { LOOK_EVERY } else { IDLE };
        let mut fold = false;
        match pokes.recv_timeout(pause) {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => quiet += pause,
            Ok(first) => fold = std::iter::once(first).chain(pokes.try_iter()).any(|poke| poke == Poke::Fold),
        }
        if waiting {
            let version = data_version(conn);
            if version != seen {
                seen = version;
                shared.touched.notify_waiters();
            }
        }
        let count = shared.commits.load(Ordering::Relaxed);
        if count != commits {
            (commits, quiet) = (count, Duration::ZERO);
        }
        if read_only {
            continue;
        }
        if fold {
            checkpoint(conn);
        } else if quiet >= IDLE && whole != Some(count) && checkpoint(conn) == Folded::All {
            // Otherwise somebody reads: there will be another second.
            whole = Some(count);
        }
    }
}

/// How much of the write-ahead log a checkpoint has folded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folded {
    All,
    /// Up to the place where somebody still reads.
    Part,
    /// Nothing: somebody else is at work. What fails is no different: it fails again, and louder, in the next commit.
    Nothing,
}

/// Folds in what it can without waiting for anybody.
pub(crate) fn checkpoint(conn: &Connection) -> Folded {
    let frames = |row: &Row<'_>| Ok((row.get::<_, bool>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    match conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], frames) {
        Ok((false, all, folded)) if folded == all => Folded::All,
        Ok((false, ..)) => Folded::Part,
        _ => Folded::Nothing,
    }
}

fn data_version(conn: &Connection) -> Option<i64> {
    conn.pragma_query_value(None, "data_version", |row| row.get(0)).ok()
}
