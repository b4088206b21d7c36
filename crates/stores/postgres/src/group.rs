//! Group commit: whatever is waiting shares one transaction, a few bulk statements and one sync of the server's disk.
//!
//! The group takes locks for the keys it names, loads what it must know, decides about one batch after the other in
//! memory (so one that is refused undoes nobody else), and writes what came of it.

use crate::error::{from_postgres, is_passing, no_connection};
use crate::query::{Conn, Ready, Sql};
use crate::rows::{KNOWN, column, encode, id, known, micros, time};
use crate::store::Inner;
use futures_util::future::{join, try_join, try_join_all};
use martlet_base::{ClockHold, Timestamp};
use martlet_store::engine::{Changes, Engine, Place};
use martlet_store::{
    CellKey, Committed, LogId, Message, MessageId, Outcome, QueueName, StoreError, Version, Write, WriteBatch,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::Error;
use tokio_postgres::types::{ToSql, Type};

/// At most so many commits and so many bytes share a transaction.
const GROUP_COMMITS: usize = 256;
const GROUP_BYTES: usize = 16 << 20;

/// How often a group is tried again when another transaction was in its way, or its connection was gone before it began.
const TRIES: usize = 3;

/// Keys share so many locks: few enough for the server's lock table whatever is in a batch.
const BUCKETS: u64 = 512;

/// A request to commit. The hold is released when it was answered.
pub(crate) struct Job {
    pub(crate) batch: WriteBatch,
    pub(crate) reply: oneshot::Sender<Result<Committed, StoreError>>,
    pub(crate) hold: ClockHold,
}

/// The statements of a group.
#[derive(Debug)]
pub(crate) struct GroupSql {
    order_keys: Sql,
    lock: Sql,
    start: Sql,
    cells: Sql,
    leases: Sql,
    logs: Sql,
    dedup: Sql,
    messages: Sql,
    heads: Sql,
    put_cells: Sql,
    delete_cells: Sql,
    delete_records: Sql,
    delete_logs: Sql,
    put_logs: Sql,
    put_records: Sql,
    insert: Sql,
    update: Sql,
    edit: Sql,
    remove: Sql,
    remember: Sql,
    count: Sql,
    plain: Sql,
}

impl GroupSql {
    pub(crate) fn new(schema: &str) -> Self {
        use Type as T;
        let sql = |text: &str, types: &[Type]| Sql::new(schema, text, types);
        let known = |rest: &str| format!("SELECT {KNOWN} FROM {{s}}.message m {rest}");
        Self {
            plain: sql(
                "WITH n AS MATERIALIZED (SELECT {now} AS now, nextval('{s}.version_seq') AS version), \
                 i AS (INSERT INTO {s}.message (id, queue, state, visible_at, enqueued, received, held, delivery, \
                 deliveries, priority, dedup_window, not_before, body) \
                 SELECT nextval('{s}.message_seq'), q, CASE WHEN t > now THEN 2 ELSE 0 END, coalesce(t, now), now, now, \
                 false, 0, 0, p, w, t, b FROM unnest($2, $3, $4, $5, $6) x (q, p, w, t, b), n RETURNING id), \
                 c AS (INSERT INTO {s}.count AS c (queue, slot, live, blocked, buried, enqueued, acked) \
                 SELECT q, $7, k, 0, 0, k, 0 FROM unnest($8, $9) y (q, k) ON CONFLICT (queue, slot) DO UPDATE SET \
                 live = c.live + excluded.live, enqueued = c.enqueued + excluded.enqueued) \
                 SELECT id, version FROM i, n",
                &[
                    T::INT8,
                    T::INT8_ARRAY,
                    T::INT2_ARRAY,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::BYTEA_ARRAY,
                    T::INT4,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                ],
            ),
            order_keys: sql(
                "SELECT queue, order_key FROM {s}.message WHERE id = ANY($1) AND order_key IS NOT NULL",
                &[T::INT8_ARRAY],
            ),
            // In the order of the array, so that no two groups wait for each other.
            lock: sql(
                "SELECT pg_advisory_xact_lock($1, bucket) FROM unnest($2) bucket",
                &[T::INT4, T::INT4_ARRAY],
            ),
            start: sql(
                "SELECT {now}, ARRAY(SELECT nextval('{s}.version_seq') FROM generate_series(1, $2)), \
                 ARRAY(SELECT nextval('{s}.message_seq') FROM generate_series(1, $3))",
                &[T::INT8, T::INT4, T::INT4],
            ),
            cells: sql("SELECT key, version, expires FROM {s}.cell WHERE key = ANY($1)", &[T::TEXT_ARRAY]),
            // Whoever takes the lease meanwhile waits until this group is done.
            leases: sql(
                "SELECT key, token FROM {s}.lease WHERE key = ANY($1) ORDER BY key FOR SHARE",
                &[T::TEXT_ARRAY],
            ),
            logs: sql(
                "SELECT kind, id, last, sealed FROM {s}.log WHERE (kind, id) IN (SELECT * FROM unnest($1, $2))",
                &[T::TEXT_ARRAY, T::TEXT_ARRAY],
            ),
            dedup: sql(
                "SELECT queue, key, message, until FROM {s}.dedup \
                 WHERE (queue, key) IN (SELECT * FROM unnest($1, $2))",
                &[T::INT8_ARRAY, T::TEXT_ARRAY],
            ),
            messages: sql(&known("WHERE id = ANY($1) ORDER BY id FOR UPDATE"), &[T::INT8_ARRAY]),
            heads: sql(
                &format!(
                    "SELECT {KNOWN} FROM unnest($1, $2) k (queue, order_key) CROSS JOIN LATERAL ( \
                     (SELECT * FROM {{s}}.message WHERE queue = k.queue AND order_key = k.order_key \
                     AND state IN (0, 1, 2) LIMIT 1) UNION ALL \
                     (SELECT * FROM {{s}}.message WHERE queue = k.queue AND order_key = k.order_key \
                     AND state = 3 ORDER BY id LIMIT $3)) m"
                ),
                &[T::INT8_ARRAY, T::TEXT_ARRAY, T::INT8],
            ),
            put_cells: sql(
                "INSERT INTO {s}.cell (key, version, expires, value) SELECT * FROM unnest($1, $2, $3, $4) \
                 ON CONFLICT (key) DO UPDATE SET \
                 version = excluded.version, expires = excluded.expires, value = excluded.value",
                &[T::TEXT_ARRAY, T::INT8_ARRAY, T::INT8_ARRAY, T::BYTEA_ARRAY],
            ),
            delete_cells: sql("DELETE FROM {s}.cell WHERE key = ANY($1)", &[T::TEXT_ARRAY]),
            delete_records: sql(
                "DELETE FROM {s}.record WHERE (kind, id) IN (SELECT * FROM unnest($1, $2))",
                &[T::TEXT_ARRAY, T::TEXT_ARRAY],
            ),
            delete_logs: sql(
                "DELETE FROM {s}.log WHERE (kind, id) IN (SELECT * FROM unnest($1, $2))",
                &[T::TEXT_ARRAY, T::TEXT_ARRAY],
            ),
            put_logs: sql(
                "INSERT INTO {s}.log AS l (kind, id, last, updated, sealed) \
                 SELECT k, i, n, coalesce(u, 0), s FROM unnest($1, $2, $3, $4, $5) x (k, i, n, u, s) \
                 ON CONFLICT (kind, id) DO UPDATE SET last = l.last + excluded.last, \
                 updated = CASE WHEN excluded.last > 0 THEN excluded.updated ELSE l.updated END, \
                 sealed = excluded.sealed",
                &[T::TEXT_ARRAY, T::TEXT_ARRAY, T::INT8_ARRAY, T::INT8_ARRAY, T::INT8_ARRAY],
            ),
            put_records: sql(
                "INSERT INTO {s}.record (kind, id, sequence, appended, body) SELECT * FROM unnest($1, $2, $3, $4, $5)",
                &[T::TEXT_ARRAY, T::TEXT_ARRAY, T::INT8_ARRAY, T::INT8_ARRAY, T::BYTEA_ARRAY],
            ),
            insert: sql(
                "INSERT INTO {s}.message (id, queue, state, visible_at, enqueued, received, held, delivery, \
                 deliveries, priority, order_key, dedup, dedup_window, not_before, bury_kind, bury_detail, history, body) \
                 SELECT i, q, s, v, e, e, false, 0, n, p, o, d, w, b, k, t, h, y FROM unnest($1, $2, $3, $4, $5, $6, \
                 $7, $8, $9, $10, $11, $12, $13, $14, $15) x (i, q, s, v, e, n, p, o, d, w, b, k, t, h, y)",
                &[
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::INT2_ARRAY,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::INT2_ARRAY,
                    T::TEXT_ARRAY,
                    T::TEXT_ARRAY,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::TEXT_ARRAY,
                    T::TEXT_ARRAY,
                    T::TEXT_ARRAY,
                    T::BYTEA_ARRAY,
                ],
            ),
            update: sql(
                "UPDATE {s}.message m SET state = s, visible_at = v, held = h, deliveries = n, bury_kind = k, \
                 bury_detail = t, history = y FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) x (i, s, v, h, n, k, t, y) \
                 WHERE m.id = i",
                &[
                    T::INT8_ARRAY,
                    T::INT2_ARRAY,
                    T::INT8_ARRAY,
                    T::BOOL_ARRAY,
                    T::INT8_ARRAY,
                    T::TEXT_ARRAY,
                    T::TEXT_ARRAY,
                    T::TEXT_ARRAY,
                ],
            ),
            edit: sql(
                "UPDATE {s}.message m SET body = b FROM unnest($1, $2) x (i, b) WHERE m.id = i",
                &[T::INT8_ARRAY, T::BYTEA_ARRAY],
            ),
            remove: sql("DELETE FROM {s}.message WHERE id = ANY($1)", &[T::INT8_ARRAY]),
            remember: sql(
                "INSERT INTO {s}.dedup (queue, key, message, until) SELECT * FROM unnest($1, $2, $3, $4) \
                 ON CONFLICT (queue, key) DO UPDATE SET message = excluded.message, until = excluded.until",
                &[T::INT8_ARRAY, T::TEXT_ARRAY, T::INT8_ARRAY, T::INT8_ARRAY],
            ),
            count: sql(
                "INSERT INTO {s}.count AS c (queue, slot, live, blocked, buried, enqueued, acked) \
                 SELECT q, $2, l, b, u, e, a FROM unnest($1, $3, $4, $5, $6, $7) x (q, l, b, u, e, a) ORDER BY q \
                 ON CONFLICT (queue, slot) DO UPDATE SET live = c.live + excluded.live, \
                 blocked = c.blocked + excluded.blocked, buried = c.buried + excluded.buried, \
                 enqueued = c.enqueued + excluded.enqueued, acked = c.acked + excluded.acked",
                &[
                    T::INT8_ARRAY,
                    T::INT4,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                ],
            ),
        }
    }
}

/// Works until the store is closed and everything that was sent before is done.
pub(crate) async fn run(inner: Arc<Inner>, mut jobs: mpsc::UnboundedReceiver<Job>) {
    while let Some(first) = jobs.recv().await {
        let mut bytes = size(&first.batch);
        let mut group = vec![first];
        while group.len() < GROUP_COMMITS && bytes < GROUP_BYTES {
            let Ok(job) = jobs.try_recv() else { break };
            bytes += size(&job.batch);
            group.push(job);
        }
        let batches: Vec<&WriteBatch> = group.iter().map(|job| &job.batch).collect();
        let results = commit(&inner, &batches).await;
        for (job, result) in group.into_iter().zip(results) {
            // Nobody listens any more when the future was dropped: the commit stands all the same.
            let _ = job.reply.send(result);
            drop(job.hold);
        }
    }
}

fn size(batch: &WriteBatch) -> usize {
    let payload = |write: &Write| match write {
        Write::PutCell { value, .. } => value.len(),
        Write::Append { record, .. } => record.len(),
        Write::Enqueue { message, .. } => message.body.len(),
        Write::Edit { body, .. } => body.len(),
        Write::Restore { item, .. } => item.message.body.len(),
        _ => 0,
    };
    batch.writes().iter().map(|write| payload(write) + 64).sum()
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
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self { error, again: false }
    }
}

type Results = Vec<Result<Committed, StoreError>>;

/// One transaction for all of them, and the answer for each.
async fn commit(inner: &Inner, batches: &[&WriteBatch]) -> Results {
    let mut tries = 0;
    loop {
        tries += 1;
        match attempt(inner, batches).await {
            Ok(results) => return results,
            Err(failed) if failed.again && tries < TRIES => {}
            Err(failed) => return batches.iter().map(|_| Err(failed.error.clone())).collect(),
        }
    }
}

async fn attempt(inner: &Inner, batches: &[&WriteBatch]) -> Result<Results, Failed> {
    let queues = inner.queue_rows(batches).await?;
    let client =
        inner.pool.get().await.map_err(|error| Failed { error: no_connection(&error), again: false })?;
    let conn = Conn::pooled(&client, inner.prepared);
    if let Some(messages) = plain(batches) {
        return enqueue(inner, conn, &messages, &queues).await;
    }
    let outcome = async {
        let decided = decide(inner, conn, batches, &queues, true).await?;
        write(inner, conn, &decided, batches, &queues, true).await?;
        Ok(decided)
    }
    .await;
    match outcome {
        Ok(decided) => {
            if decided.touched {
                inner.touched.notify_waiters();
                inner.announce(decided.changes.messages.values().map(|change| &change.queue));
            }
            Ok(decided.results)
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

/// The messages, if the group does nothing but enqueue, one message for each batch, without keys: then nothing has to be known
/// beforehand.
fn plain<'a>(batches: &[&'a WriteBatch]) -> Option<Vec<(&'a QueueName, &'a Message)>> {
    let message = |batch: &&'a WriteBatch| match batch.writes() {
        [Write::Enqueue { queue, message }] if message.dedup.is_none() && message.order_key.is_none() => {
            Some((queue, message))
        }
        _ => None,
    };
    batches.iter().map(message).collect()
}

/// Such a group is one statement.
async fn enqueue(
    inner: &Inner,
    conn: Conn<'_>,
    messages: &[(&QueueName, &Message)],
    queues: &QueueRows,
) -> Result<Results, Failed> {
    let rows: Vec<i64> = messages.iter().map(|(queue, _)| queues.get(*queue).copied().unwrap_or(0)).collect();
    let priorities: Vec<i16> = messages.iter().map(|(_, message)| message.priority).collect();
    let windows: Vec<i64> = messages.iter().map(|(_, message)| micros(message.dedup_window)).collect();
    let times: Vec<Option<i64>> =
        messages.iter().map(|(_, message)| message.not_before.map(Timestamp::as_micros)).collect();
    let bodies: Vec<&[u8]> = messages.iter().map(|(_, message)| &*message.body).collect();
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    for row in &rows {
        *counts.entry(*row).or_default() += 1;
    }
    let (count_queues, count): (Vec<i64>, Vec<i64>) = counts.into_iter().unzip();
    let now = inner.simulated();
    let params: [&(dyn ToSql + Sync); 9] =
        [&now, &rows, &priorities, &windows, &times, &bodies, &inner.slot, &count_queues, &count];
    let ready = conn.ready(&inner.group_sql.plain).await;
    let ready = ready.map_err(|error| Failed::before("cannot enqueue", &error))?;
    let answers = conn.ask(&ready, &params).await.map_err(|error| {
        let told = from_postgres("cannot enqueue", &error);
        let known = says_no(&error);
        Failed { error: if known { told.not_applied() } else { told }, again: known && is_passing(&error) }
    })?;
    inner.touched.notify_waiters();
    inner.announce(messages.iter().map(|(queue, _)| *queue));
    let committed = |row: &tokio_postgres::Row| {
        let version = Version::from_u64(row.get::<_, i64>(1).unsigned_abs());
        Ok(Committed::new(version).with_outcome(0, Outcome::Enqueued(id(row.get(0)))))
    };
    Ok(answers.iter().map(committed).collect())
}

/// One batch in a transaction that is somebody else's.
pub(crate) async fn commit_in(
    inner: &Inner,
    client: &tokio_postgres::Client,
    batch: &WriteBatch,
) -> Result<Committed, StoreError> {
    let batches = [batch];
    let queues = inner.queue_rows(&batches).await?;
    let conn = Conn::theirs(client);
    let mut decided = decide(inner, conn, &batches, &queues, false).await.map_err(|failed| failed.error)?;
    let committed = decided.results.pop().unwrap_or_else(|| Ok(Committed::new(Version::from_u64(0))))?;
    write(inner, conn, &decided, &batches, &queues, false).await.map_err(|failed| failed.error)?;
    Ok(committed)
}

/// Rows of queues, which never change.
pub(crate) type QueueRows = HashMap<QueueName, i64>;

struct Decided {
    results: Results,
    changes: Changes,
    now: Timestamp,
    touched: bool,
}

/// What a group names.
#[derive(Default)]
struct Named<'a> {
    buckets: BTreeSet<i32>,
    cells: HashSet<&'a CellKey>,
    leases: HashSet<&'a CellKey>,
    logs: HashSet<&'a LogId>,
    dedup: HashSet<(i64, &'a str)>,
    order: BTreeSet<(i64, String)>,
    messages: BTreeSet<i64>,
    enqueued: i32,
    /// Writes that may let a blocked message go on.
    moves: i64,
}

fn bucket(of: impl Hash) -> i32 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    i32::try_from(hasher.finish() % BUCKETS).unwrap_or(0)
}

impl<'a> Named<'a> {
    fn of(batches: &[&'a WriteBatch], queues: &QueueRows) -> Self {
        let mut named = Self::default();
        for write in batches.iter().flat_map(|batch| batch.writes()) {
            named.add(write, queues);
        }
        named
    }

    fn order_key(&mut self, queue: i64, key: &str) {
        if self.order.insert((queue, key.to_owned())) {
            self.buckets.insert(bucket(("order", queue, key)));
        }
    }

    fn log(&mut self, log: &'a LogId) {
        self.buckets.insert(bucket(("log", log)));
        self.logs.insert(log);
    }

    fn message(&mut self, id: MessageId) {
        // A number that PostgreSQL cannot hold was never given out.
        self.messages.extend(i64::try_from(id.as_u64()));
        self.moves += 1;
    }

    fn add(&mut self, write: &'a Write, queues: &QueueRows) {
        match write {
            Write::PutCell { key, .. } | Write::DeleteCell { key, .. } | Write::CheckCell { key, .. } => {
                self.buckets.insert(bucket(("cell", key)));
                self.cells.insert(key);
            }
            Write::CheckFence { fence } => drop(self.leases.insert(fence.key())),
            Write::Append { log, fence, .. } | Write::Seal { log, fence } => {
                self.leases.extend(fence.iter().map(martlet_store::Fence::key));
                self.log(log);
            }
            Write::DeleteLog { log } => self.log(log),
            Write::Enqueue { queue, message } => {
                self.enqueued += 1;
                let Some(row) = queues.get(queue).copied() else { return };
                if let Some(key) = &message.dedup {
                    self.buckets.insert(bucket(("dedup", row, key)));
                    self.dedup.insert((row, key));
                }
                if let Some(key) = &message.order_key {
                    self.order_key(row, key);
                }
            }
            Write::Restore { queue, item } => {
                self.enqueued += 1;
                let Some(row) = queues.get(queue).copied() else { return };
                if let Some(key) = &item.message.dedup {
                    self.buckets.insert(bucket(("dedup", row, key)));
                }
                if let Some(key) = &item.message.order_key {
                    self.order_key(row, key);
                }
            }
            Write::Ack { receipt }
            | Write::RetryAt { receipt, .. }
            | Write::Heartbeat { receipt, .. }
            | Write::Bury { receipt, .. } => self.message(receipt.message()),
            Write::Edit { message, .. } | Write::Replay { message, .. } | Write::Discard { message, .. } => {
                self.message(*message);
            }
            _ => {}
        }
    }
}

/// Takes the locks, loads, and decides.
async fn decide(
    inner: &Inner,
    conn: Conn<'_>,
    batches: &[&WriteBatch],
    queues: &QueueRows,
    begin: bool,
) -> Result<Decided, Failed> {
    let failed = |error: Error| Failed::before("cannot read what the batch names", &error);
    let sql = &inner.group_sql;
    let mut named = Named::of(batches, queues);
    let ids: Vec<i64> = named.messages.iter().copied().collect();

    // The order key of a message never changes, so it can be read before the locks are taken.
    let order_keys = conn.ready(&sql.order_keys).await.map_err(failed)?;
    let begun = async { if begin { conn.run("BEGIN ISOLATION LEVEL READ COMMITTED").await } else { Ok(()) } };
    let found = async { if ids.is_empty() { Ok(Vec::new()) } else { conn.ask(&order_keys, &[&ids]).await } };
    let ((), found) = try_join(begun, found).await.map_err(|error| Failed::before("cannot begin", &error))?;
    for row in found {
        named.order_key(row.get(0), row.get(1));
    }

    let buckets: Vec<i32> = named.buckets.iter().copied().collect();
    let cells: Vec<&str> = named.cells.iter().map(|key| key.as_str()).collect();
    let leases: Vec<&str> = named.leases.iter().map(|key| key.as_str()).collect();
    let (kinds, log_ids): (Vec<&str>, Vec<&str>) =
        named.logs.iter().map(|log| (log.kind(), log.id())).unzip();
    let (dedup_queues, dedup_keys): (Vec<i64>, Vec<&str>) = named.dedup.iter().copied().unzip();
    let (order_queues, order_texts): (Vec<i64>, Vec<&str>) =
        named.order.iter().map(|(queue, key)| (*queue, key.as_str())).unzip();
    let now = inner.simulated();
    // Batches that write no cell need no version of their own.
    let writes_cells =
        |batch: &&&WriteBatch| batch.writes().iter().any(|write| matches!(write, Write::PutCell { .. }));
    let versions = i32::try_from(batches.iter().filter(writes_cells).count() + 1).unwrap_or(i32::MAX);

    let reads: [(&Sql, bool, Vec<&(dyn ToSql + Sync)>); 8] = [
        (&sql.lock, !buckets.is_empty(), vec![&inner.lock_class, &buckets]),
        (&sql.start, true, vec![&now, &versions, &named.enqueued]),
        (&sql.cells, !cells.is_empty(), vec![&cells]),
        (&sql.leases, !leases.is_empty(), vec![&leases]),
        (&sql.logs, !kinds.is_empty(), vec![&kinds, &log_ids]),
        (&sql.dedup, !dedup_keys.is_empty(), vec![&dedup_queues, &dedup_keys]),
        (&sql.messages, !ids.is_empty(), vec![&ids]),
        (&sql.heads, !order_texts.is_empty(), vec![&order_queues, &order_texts, &named.moves]),
    ];
    let ready = ready_all(conn, &reads).await.map_err(failed)?;
    let mut answers = ask_all(conn, &ready, &reads).await.map_err(failed)?.into_iter();
    let mut next = || answers.next().unwrap_or_default();

    let (_locked, start) = (next(), next());
    let start = start.first().ok_or_else(|| Failed::from(crate::error::corrupt_row("no answer")))?;
    let now = time(start.get(0));
    let versions: Vec<i64> = start.get(1);
    let numbers: Vec<i64> = start.get(2);
    let mut engine = Engine::new(numbers.into_iter().map(i64::unsigned_abs));
    let names: HashMap<i64, &QueueName> = queues.iter().map(|(name, row)| (*row, name)).collect();
    for row in next() {
        let key = CellKey::new(row.get(0)).map_err(StoreError::from)?;
        let expires: Option<i64> = row.get(2);
        engine.load_cell(key, Version::from_u64(row.get::<_, i64>(1).unsigned_abs()), expires.map(time));
    }
    for row in next() {
        engine.load_lease(
            CellKey::new(row.get(0)).map_err(StoreError::from)?,
            row.get::<_, i64>(1).unsigned_abs(),
        );
    }
    for row in next() {
        let log = LogId::new(row.get(0), row.get(1)).map_err(StoreError::from)?;
        engine.load_log(log, row.get::<_, i64>(2).unsigned_abs(), row.get::<_, Option<i64>>(3).map(time));
    }
    for row in next() {
        if let Some(name) = names.get(&row.get(0)) {
            engine.load_remembered((*name).clone(), row.get(1), id(row.get(2)), time(row.get(3)));
        }
    }
    // The second look at the same message tells the same.
    for row in next().iter().chain(&next()) {
        let (id, queue, item) = known(row)?;
        if let Some(name) = names.get(&queue) {
            engine.load_message((*name).clone(), id, item);
        }
    }

    let mut versions = versions.into_iter().map(|version| Version::from_u64(version.unsigned_abs()));
    let shared = versions.next().unwrap_or(Version::from_u64(0));
    let decide = |batch: &&WriteBatch| {
        let own = if writes_cells(&batch) { versions.next() } else { None };
        engine.commit((*batch).clone(), own.unwrap_or(shared), now)
    };
    let results: Results = batches.iter().map(decide).collect();
    let changes = engine.changes();
    let touched = !changes.messages.is_empty();
    Ok(Decided { results, changes, now, touched })
}

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

#[derive(Default)]
struct Counts {
    live: i64,
    blocked: i64,
    buried: i64,
    enqueued: i64,
    acked: i64,
}

impl Counts {
    fn place(&mut self, place: Place, by: i64) {
        match place {
            Place::Buried => self.buried += by,
            Place::Blocked => (self.live, self.blocked) = (self.live + by, self.blocked + by),
            Place::Waiting | Place::InFlight => self.live += by,
        }
    }
}

/// Writes what was decided, and commits.
#[expect(clippy::too_many_lines, reason = "a column after the other")]
async fn write(
    inner: &Inner,
    conn: Conn<'_>,
    decided: &Decided,
    batches: &[&WriteBatch],
    queues: &QueueRows,
    finish: bool,
) -> Result<(), Failed> {
    let Changes { cells, deleted_logs, logs, messages, remembered, totals, .. } = &decided.changes;
    let sql = &inner.group_sql;
    let row_of = |queue: &QueueName| queues.get(queue).copied().unwrap_or_default();

    let put: Vec<_> = cells.iter().filter_map(|(key, cell)| cell.as_ref().map(|cell| (key, cell))).collect();
    let put_keys: Vec<&str> = put.iter().map(|(key, _)| key.as_str()).collect();
    let put_versions: Vec<i64> = put.iter().map(|(_, cell)| cell.version.as_u64().cast_signed()).collect();
    let put_expires: Vec<Option<i64>> =
        put.iter().map(|(_, cell)| cell.expires.map(Timestamp::as_micros)).collect();
    let put_values: Vec<&[u8]> = put.iter().map(|(_, cell)| &*cell.value).collect();
    let gone_cells: Vec<&str> =
        cells.iter().filter(|(_, cell)| cell.is_none()).map(|(key, _)| key.as_str()).collect();

    let (gone_kinds, gone_ids): (Vec<&str>, Vec<&str>) =
        deleted_logs.iter().map(|log| (log.kind(), log.id())).unzip();
    let log_kinds: Vec<&str> = logs.keys().map(LogId::kind).collect();
    let log_ids: Vec<&str> = logs.keys().map(LogId::id).collect();
    let log_counts: Vec<i64> = logs.values().map(|log| log.records.len() as i64).collect();
    let log_updated: Vec<Option<i64>> =
        logs.values().map(|log| log.records.last().map(|record| record.appended.as_micros())).collect();
    let log_sealed: Vec<Option<i64>> =
        logs.values().map(|log| log.sealed.map(Timestamp::as_micros)).collect();
    let records: Vec<_> =
        logs.iter().flat_map(|(id, log)| log.records.iter().map(move |record| (id, record))).collect();
    let record_kinds: Vec<&str> = records.iter().map(|(log, _)| log.kind()).collect();
    let record_ids: Vec<&str> = records.iter().map(|(log, _)| log.id()).collect();
    let record_places: Vec<i64> = records.iter().map(|(_, record)| record.sequence.cast_signed()).collect();
    let record_times: Vec<i64> = records.iter().map(|(_, record)| record.appended.as_micros()).collect();
    let record_bodies: Vec<&[u8]> = records.iter().map(|(_, record)| &*record.body).collect();

    let mut counts: BTreeMap<i64, Counts> = BTreeMap::new();
    let (mut fresh, mut changed, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for (id, change) in messages {
        let count = counts.entry(row_of(&change.queue)).or_default();
        let id = id.as_u64().cast_signed();
        if let Some(was) = change.was {
            count.place(was, -1);
        }
        match (&change.was, &change.now) {
            (None, Some(item)) => fresh.push((id, &change.queue, item)),
            (Some(_), Some(item)) => changed.push((id, item)),
            _ => removed.push(id),
        }
        if let Some(item) = &change.now {
            count.place(item.place, 1);
        }
    }
    for (queue, (enqueued, acked)) in totals {
        let count = counts.entry(row_of(queue)).or_default();
        (count.enqueued, count.acked) = (enqueued.cast_signed(), acked.cast_signed());
    }
    let now = decided.now;
    let fresh_ids: Vec<i64> = fresh.iter().map(|(id, ..)| *id).collect();
    let fresh_queues: Vec<i64> = fresh.iter().map(|(_, queue, _)| row_of(queue)).collect();
    let items = || fresh.iter().map(|(_, _, item)| item);
    let fresh_states: Vec<i16> = items().map(|item| column(item, now)).collect();
    let fresh_visible: Vec<i64> = items().map(|item| item.visible_at.as_micros()).collect();
    let fresh_enqueued: Vec<i64> = items().map(|item| item.enqueued.as_micros()).collect();
    let fresh_deliveries: Vec<i64> = items().map(|item| i64::from(item.deliveries)).collect();
    let fresh_priorities: Vec<i16> = items().map(|item| item.message.priority).collect();
    let fresh_orders: Vec<Option<&str>> = items().map(|item| item.message.order_key.as_deref()).collect();
    let fresh_dedups: Vec<Option<&str>> = items().map(|item| item.message.dedup.as_deref()).collect();
    let fresh_windows: Vec<i64> = items().map(|item| micros(item.message.dedup_window)).collect();
    let fresh_times: Vec<Option<i64>> =
        items().map(|item| item.message.not_before.map(Timestamp::as_micros)).collect();
    let fresh_kinds: Vec<Option<&str>> =
        items().map(|item| item.buried.as_ref().map(|reason| reason.kind.as_str())).collect();
    let fresh_details: Vec<Option<&str>> =
        items().map(|item| item.buried.as_ref().map(|reason| reason.detail.as_str())).collect();
    let fresh_histories: Vec<Option<String>> = items().map(|item| encode(&item.history)).collect();
    let fresh_bodies: Vec<&[u8]> = items().map(|item| &*item.message.body).collect();

    let changed_ids: Vec<i64> = changed.iter().map(|(id, _)| *id).collect();
    let changed_states: Vec<i16> = changed.iter().map(|(_, item)| column(item, now)).collect();
    let changed_visible: Vec<i64> = changed.iter().map(|(_, item)| item.visible_at.as_micros()).collect();
    let changed_held: Vec<bool> = changed.iter().map(|(_, item)| item.held).collect();
    let changed_deliveries: Vec<i64> = changed.iter().map(|(_, item)| i64::from(item.deliveries)).collect();
    let changed_kinds: Vec<Option<&str>> =
        changed.iter().map(|(_, item)| item.buried.as_ref().map(|reason| reason.kind.as_str())).collect();
    let changed_details: Vec<Option<&str>> =
        changed.iter().map(|(_, item)| item.buried.as_ref().map(|reason| reason.detail.as_str())).collect();
    let changed_histories: Vec<Option<String>> =
        changed.iter().map(|(_, item)| encode(&item.history)).collect();

    // Content is not loaded, so that of a changed message is only written where it was edited.
    let mut edits: BTreeMap<i64, &[u8]> = BTreeMap::new();
    for (batch, result) in batches.iter().zip(&decided.results) {
        for write in batch.writes().iter().filter(|_| result.is_ok()) {
            if let Write::Edit { message, body, .. } = write {
                edits.insert(message.as_u64().cast_signed(), body);
            }
        }
    }
    let (edit_ids, edit_bodies): (Vec<i64>, Vec<&[u8]>) = edits.into_iter().unzip();

    let remembered_queues: Vec<i64> = remembered.keys().map(|(queue, _)| row_of(queue)).collect();
    let remembered_keys: Vec<&str> = remembered.keys().map(|(_, key)| key.as_str()).collect();
    let remembered_ids: Vec<i64> = remembered.values().map(|(id, _)| id.as_u64().cast_signed()).collect();
    let remembered_until: Vec<i64> = remembered.values().map(|(_, until)| until.as_micros()).collect();

    let count_queues: Vec<i64> = counts.keys().copied().collect();
    let count_live: Vec<i64> = counts.values().map(|count| count.live).collect();
    let count_blocked: Vec<i64> = counts.values().map(|count| count.blocked).collect();
    let count_buried: Vec<i64> = counts.values().map(|count| count.buried).collect();
    let count_enqueued: Vec<i64> = counts.values().map(|count| count.enqueued).collect();
    let count_acked: Vec<i64> = counts.values().map(|count| count.acked).collect();

    let writes: [Asked<'_>; 12] = [
        (&sql.put_cells, !put_keys.is_empty(), vec![&put_keys, &put_versions, &put_expires, &put_values]),
        (&sql.delete_cells, !gone_cells.is_empty(), vec![&gone_cells]),
        (&sql.delete_records, !gone_kinds.is_empty(), vec![&gone_kinds, &gone_ids]),
        (&sql.delete_logs, !gone_kinds.is_empty(), vec![&gone_kinds, &gone_ids]),
        (
            &sql.put_logs,
            !log_kinds.is_empty(),
            vec![&log_kinds, &log_ids, &log_counts, &log_updated, &log_sealed],
        ),
        (
            &sql.put_records,
            !records.is_empty(),
            vec![&record_kinds, &record_ids, &record_places, &record_times, &record_bodies],
        ),
        (
            &sql.insert,
            !fresh.is_empty(),
            vec![
                &fresh_ids,
                &fresh_queues,
                &fresh_states,
                &fresh_visible,
                &fresh_enqueued,
                &fresh_deliveries,
                &fresh_priorities,
                &fresh_orders,
                &fresh_dedups,
                &fresh_windows,
                &fresh_times,
                &fresh_kinds,
                &fresh_details,
                &fresh_histories,
                &fresh_bodies,
            ],
        ),
        (
            &sql.update,
            !changed.is_empty(),
            vec![
                &changed_ids,
                &changed_states,
                &changed_visible,
                &changed_held,
                &changed_deliveries,
                &changed_kinds,
                &changed_details,
                &changed_histories,
            ],
        ),
        (&sql.edit, !edit_ids.is_empty(), vec![&edit_ids, &edit_bodies]),
        (&sql.remove, !removed.is_empty(), vec![&removed]),
        (
            &sql.remember,
            !remembered_keys.is_empty(),
            vec![&remembered_queues, &remembered_keys, &remembered_ids, &remembered_until],
        ),
        (
            &sql.count,
            !count_queues.is_empty(),
            vec![
                &count_queues,
                &inner.slot,
                &count_live,
                &count_blocked,
                &count_buried,
                &count_enqueued,
                &count_acked,
            ],
        ),
    ];
    let nothing = writes.iter().all(|(_, wanted, _)| !wanted);
    let failed = |error: Error| Failed::before("cannot write", &error);
    let ready = ready_all(conn, &writes).await.map_err(failed)?;
    if !finish {
        return ask_all(conn, &ready, &writes).await.map(drop).map_err(failed);
    }
    // The commit is on its way before the writes are answered; behind one that failed it rolls back.
    let (written, committed) = join(ask_all(conn, &ready, &writes), conn.run("COMMIT")).await;
    written.map(drop).and(committed).map_err(|error| {
        // The server said that it did not: nothing was committed. Silence says nothing.
        let told = from_postgres("cannot commit", &error);
        let known = nothing || says_no(&error);
        Failed { error: if known { told.not_applied() } else { told }, again: known && is_passing(&error) }
    })
}

/// Whether an error in place of the answer to a commit means that there was none. A server that is being shut down or has
/// crashed may say so instead of saying that it committed.
fn says_no(error: &Error) -> bool {
    error.code().is_some_and(|code| !code.code().starts_with("57P"))
}
