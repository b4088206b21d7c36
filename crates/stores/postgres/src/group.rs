//! Group commit: whatever is waiting shares one transaction, a few bulk statements and one sync of the server's disk.
//!
//! The group takes locks for the keys it names and loads what it must know, decides about one batch after the other in
//! memory (so one that is refused undoes nobody else; both `load`), and writes what came of it (`write`). One that does
//! nothing but enqueue is a single statement (`plain`).

mod load;
mod plain;
mod sql;
mod write;

pub(crate) use sql::GroupSql;

use crate::error::{from_postgres, is_passing, no_connection};
use crate::query::{Conn, Ready, Sql};
use crate::store::{Inner, SLOTS};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use load::decide;
use martlet_base::ClockHold;
use martlet_store::engine::{Jobs, Named, Reply};
use martlet_store::{Committed, QueueName, StoreError, StoreErrorKind, Version, WriteBatch};
use plain::{enqueue, plain};
use std::collections::HashMap;
use std::sync::Arc;
use tokio_postgres::Error;
use tokio_postgres::error::Severity;
use tokio_postgres::types::ToSql;
use write::write;

/// At most so many commits and so many bytes share a transaction.
const GROUP_COMMITS: usize = 256;
const GROUP_BYTES: usize = 16 << 20;

/// How often a group is tried again when another transaction was in its way, or its connection was gone before it began.
const TRIES: usize = 3;

/// A request to commit. The hold is released when it was answered.
pub(crate) struct Job {
    pub(crate) batch: WriteBatch,
    pub(crate) reply: Reply<Committed>,
    pub(crate) hold: ClockHold,
}

/// So many groups that only enqueue are on their way at once: while the server syncs one, it works at the next.
const GROUPS: usize = 2;

/// Works until the store is closed and everything that was sent before is done.
pub(crate) async fn run(inner: Arc<Inner>, mut jobs: Jobs<Job>) {
    let mut running = FuturesUnordered::new();
    // Groups that run at once must not count in the same place, or they would wait for each other there.
    let mut slots = (0..SLOTS).cycle().skip(usize::try_from(inner.slot).unwrap_or(0));
    loop {
        tokio::select! {
            first = jobs.next(), if running.len() < GROUPS => {
                let Some(first) = first else { break };
                // Whoever was just answered may be about to commit again: a larger group costs less for each.
                tokio::task::yield_now().await;
                let group = gather(first, &mut jobs);
                let is_plain = plain(&batches(&group)).is_some();
                let answer = answer(&inner, group, slots.next().unwrap_or_default());
                if is_plain {
                    running.push(answer);
                } else {
                    // Whoever commits after others sees what they did, also when nobody waits for their answers any more.
                    while running.next().await.is_some() {}
                    answer.await;
                }
            }
            Some(()) = running.next(), if !running.is_empty() => {}
        }
    }
    while running.next().await.is_some() {}
}

/// `first` and what waits behind it.
fn gather(first: Job, jobs: &mut Jobs<Job>) -> Vec<Job> {
    let mut bytes = first.batch.bytes();
    let mut group = vec![first];
    while group.len() < GROUP_COMMITS && bytes < GROUP_BYTES {
        let Some(job) = jobs.waiting() else { break };
        bytes += job.batch.bytes();
        group.push(job);
    }
    group
}

fn batches(group: &[Job]) -> Vec<&WriteBatch> {
    group.iter().map(|job| &job.batch).collect()
}

async fn answer(inner: &Inner, group: Vec<Job>, slot: i32) {
    let results = commit(inner, &batches(&group), slot).await;
    for (job, result) in group.into_iter().zip(results) {
        // Also when nobody listens any more because the future was dropped: the commit stands all the same.
        job.reply.send(result);
        drop(job.hold);
    }
}

/// Why a group failed, and whether the server may have committed it.
struct Failed {
    error: StoreError,
    again: bool,
}

impl Failed {
    /// Nothing was committed.
    fn before(doing: &str, error: &Error) -> Self {
        Self { error: from_postgres(doing, error).not_applied(), again: is_passing(error) }
    }

    /// The rows of queues were not what they had been: they are looked up again.
    fn stale(inner: &Inner) -> Self {
        inner.forget_queues();
        let error = StoreError::new(StoreErrorKind::Unavailable, "the queues were made anew meanwhile");
        Self { error: error.not_applied(), again: true }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self { error, again: false }
    }
}

type Results = Vec<Result<Committed, StoreError>>;

/// One transaction for all of them, and the answer for each.
async fn commit(inner: &Inner, batches: &[&WriteBatch], slot: i32) -> Results {
    let mut tries = 0;
    loop {
        tries += 1;
        match attempt(inner, batches, slot).await {
            Ok(results) => return results,
            Err(failed) if failed.again && tries < TRIES => {}
            Err(failed) => return batches.iter().map(|_| Err(failed.error.clone())).collect(),
        }
    }
}

async fn attempt(inner: &Inner, batches: &[&WriteBatch], slot: i32) -> Result<Results, Failed> {
    let named = Named::of(batches.iter().copied());
    let queues = inner.queue_rows(&named).await?;
    let client =
        inner.pool.get().await.map_err(|error| Failed { error: no_connection(&error), again: false })?;
    let conn = Conn::pooled(&client, inner.prepared);
    if let Some(messages) = plain(batches) {
        return match enqueue(inner, conn, &messages, &queues, slot).await {
            Err(failed) if inner.leaves(&failed.error) => {
                inner.leave(client);
                Err(Failed { again: true, ..failed })
            }
            other => other,
        };
    }
    let outcome: Result<_, Failed> = async {
        let decided = decide(inner, conn, batches, &named, &queues, true).await?;
        let decided = decided.ok_or_else(|| Failed::stale(inner))?;
        write(inner, conn, &decided, &queues, (slot, true)).await?;
        Ok(decided)
    }
    .await;
    match outcome {
        Ok(decided) => {
            if decided.touched {
                inner.waiters.wake();
                inner.announce(decided.changes.messages.values().map(|change| &change.queue));
            }
            Ok(decided.results)
        }
        // Its transaction ends with the connection.
        Err(failed) if inner.leaves(&failed.error) => {
            inner.leave(client);
            Err(Failed { again: true, ..failed })
        }
        Err(failed) => {
            // If even this fails the connection is gone, and the server has rolled back by itself.
            if conn.run("ROLLBACK").await.is_err() {
                drop(deadpool_postgres::Object::take(client));
            }
            Err(failed)
        }
    }
}

/// One batch in a transaction that is somebody else's.
pub(crate) async fn commit_in(
    inner: &Inner,
    client: &tokio_postgres::Client,
    batch: &WriteBatch,
) -> Result<Committed, StoreError> {
    let batches = [batch];
    let conn = Conn::theirs(client);
    let named = Named::of(batches);
    let mut queues = inner.queue_rows(&named).await?;
    let failed = |failed: Failed| failed.error;
    let mut decided = decide(inner, conn, &batches, &named, &queues, false).await.map_err(failed)?;
    if decided.is_none() {
        inner.forget_queues();
        queues = inner.queue_rows(&named).await?;
        decided = decide(inner, conn, &batches, &named, &queues, false).await.map_err(failed)?;
    }
    let mut decided = decided.ok_or_else(|| Failed::stale(inner).error)?;
    let committed = decided.results.pop().unwrap_or_else(|| Ok(Committed::new(Version::from_u64(0))))?;
    write(inner, conn, &decided, &queues, (inner.slot, false)).await.map_err(failed)?;
    Ok(committed)
}

/// Rows of queues, which never change.
pub(crate) type QueueRows = HashMap<QueueName, i64>;

type Asked<'a> = (&'a Sql, bool, Vec<&'a (dyn ToSql + Sync)>);

/// Prepares those that are wanted: then they can be sent without a pause between them.
async fn ready_all<'a>(conn: Conn<'_>, asked: &[Asked<'a>]) -> Result<Vec<Option<Ready<'a>>>, Error> {
    let mut ready = Vec::with_capacity(asked.len());
    for (sql, wanted, _) in asked {
        ready.push(if *wanted { Some(conn.ready(sql).await?) } else { None });
    }
    Ok(ready)
}

/// Sends those that are wanted in their order, all at once: each is sent when it is first polled.
async fn ask_all(
    conn: Conn<'_>,
    ready: &[Option<Ready<'_>>],
    asked: &[Asked<'_>],
) -> Result<Vec<Vec<tokio_postgres::Row>>, Error> {
    let ask = ready.iter().zip(asked).map(|(ready, (_, _, params))| ask_one(conn, ready.as_ref(), params));
    try_join_all(ask).await
}

async fn ask_one(
    conn: Conn<'_>,
    ready: Option<&Ready<'_>>,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Vec<tokio_postgres::Row>, Error> {
    match ready {
        Some(ready) => conn.ask(ready, params).await,
        None => Ok(Vec::new()),
    }
}

/// Whether an error in place of the answer to a commit means that there was none. One that ends the connection does not: a server that is
/// shut down or cannot write its log, and a pooler that lost its server, say so instead of saying that it committed.
fn says_no(error: &Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        let code = error.code().code();
        error.parsed_severity() == Some(Severity::Error)
            && !code.starts_with("57P")
            && !code.starts_with("08")
    })
}
