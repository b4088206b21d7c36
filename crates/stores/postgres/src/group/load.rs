//! Locks, loads, decides.

use super::{Failed, QueueRows, Results, ask_all, ready_all};
use crate::hash::hash;
use crate::query::{Conn, Sql};
use crate::rows::{id, known, time};
use crate::store::Inner;
use futures_util::future::try_join;
use martlet_base::Timestamp;
use martlet_store::engine::{Changes, Engine, Named};
use martlet_store::{
    CellKey, LogId, LogInfo, QueueName, StoreError, StoreErrorKind, Version, Write, WriteBatch,
};
use std::collections::{BTreeSet, HashMap};
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

/// Keys share so many locks: few enough for the server's lock table whatever is in a batch.
const BUCKETS: u64 = 512;

/// What came of a group.
pub(super) struct Decided {
    pub(super) results: Results,
    pub(super) changes: Changes,
    pub(super) now: Timestamp,
    pub(super) touched: bool,
}

fn bucket(of: &[&[u8]]) -> i32 {
    i32::try_from(hash(of) % BUCKETS).unwrap_or(0)
}

/// The locks of what a group names; leases are locked by their rows. In their order, so that no two groups wait for each other.
fn buckets(named: &Named<'_>, dedup: &[(i64, &str)], order: &BTreeSet<(i64, String)>) -> Vec<i32> {
    let mut buckets = BTreeSet::new();
    buckets.extend(named.cells.iter().map(|key| bucket(&[b"cell", key.as_str().as_bytes()])));
    buckets
        .extend(named.logs.iter().map(|log| bucket(&[b"log", log.kind().as_bytes(), log.id().as_bytes()])));
    buckets
        .extend(dedup.iter().map(|(queue, key)| bucket(&[b"dedup", &queue.to_le_bytes(), key.as_bytes()])));
    buckets
        .extend(order.iter().map(|(queue, key)| bucket(&[b"order", &queue.to_le_bytes(), key.as_bytes()])));
    buckets.into_iter().collect()
}

/// Takes the locks, loads, and decides. `None`: the rows of the queues are not those that the database has.
pub(super) async fn decide(
    inner: &Inner,
    conn: Conn<'_>,
    batches: &[&WriteBatch],
    named: &Named<'_>,
    queues: &QueueRows,
    begin: bool,
) -> Result<Option<Decided>, Failed> {
    let failed = |error: Error| Failed::before("cannot read what the batch names", &error);
    let sql = &inner.group_sql;
    // A number that PostgreSQL cannot hold was never given out.
    let ids = named.queues.values().flat_map(|queue| &queue.messages);
    let ids: Vec<i64> = ids.filter_map(|id| i64::try_from(id.as_u64()).ok()).collect();
    let enqueued = i32::try_from(named.new_messages()).unwrap_or(i32::MAX);
    let (mut dedup, mut order, mut moves) = (Vec::new(), BTreeSet::new(), 0);
    for (name, queue) in &named.queues {
        let Some(row) = queues.get(*name).copied() else { continue };
        dedup.extend(queue.dedup.iter().map(|key| (row, *key)));
        order.extend(queue.order_keys.iter().map(|key| (row, key.clone())));
        moves = moves.max(i64::try_from(queue.may_unblock).unwrap_or(i64::MAX));
    }

    // The order key of a message never changes, so it can be read before the locks are taken.
    let order_keys = conn.ready(&sql.order_keys).await.map_err(failed)?;
    let begun = async { if begin { conn.run("BEGIN ISOLATION LEVEL READ COMMITTED").await } else { Ok(()) } };
    let found = async { if ids.is_empty() { Ok(Vec::new()) } else { conn.ask(&order_keys, &[&ids]).await } };
    let ((), found) = try_join(begun, found).await.map_err(|error| Failed::before("cannot begin", &error))?;
    order.extend(found.iter().map(|row| (row.get(0), row.get(1))));

    let buckets = buckets(named, &dedup, &order);
    let cells: Vec<&str> = named.cells.iter().map(|key| key.as_str()).collect();
    let leases: Vec<&str> = named.leases.iter().map(|key| key.as_str()).collect();
    let (kinds, log_ids): (Vec<&str>, Vec<&str>) =
        named.logs.iter().map(|log| (log.kind(), log.id())).unzip();
    let (dedup_queues, dedup_keys): (Vec<i64>, Vec<&str>) = dedup.into_iter().unzip();
    let (order_queues, order_texts): (Vec<i64>, Vec<&str>) =
        order.iter().map(|(queue, key)| (*queue, key.as_str())).unzip();
    let (rows, row_names): (Vec<i64>, Vec<&str>) =
        queues.iter().map(|(name, row)| (*row, name.as_str())).unzip();
    let now = inner.simulated();
    // Batches that write no cell need no version of their own.
    let writes_cells =
        |batch: &&&WriteBatch| batch.writes().iter().any(|write| matches!(write, Write::PutCell { .. }));
    let versions = i32::try_from(batches.iter().filter(writes_cells).count() + 1).unwrap_or(i32::MAX);

    let reads: [(&Sql, bool, Vec<&(dyn ToSql + Sync)>); 8] = [
        (&sql.lock, !buckets.is_empty(), vec![&inner.lock_class, &buckets]),
        (&sql.start, true, vec![&now, &versions, &enqueued, &rows, &row_names]),
        (&sql.cells, !cells.is_empty(), vec![&cells]),
        (&sql.leases, !leases.is_empty(), vec![&leases]),
        (&sql.logs, !kinds.is_empty(), vec![&kinds, &log_ids]),
        (&sql.dedup, !dedup_keys.is_empty(), vec![&dedup_queues, &dedup_keys]),
        (&sql.messages, !ids.is_empty(), vec![&ids]),
        (&sql.heads, !order_texts.is_empty(), vec![&order_queues, &order_texts, &moves]),
    ];
    let ready = ready_all(conn, &reads).await.map_err(failed)?;
    let mut answers = ask_all(conn, &ready, &reads).await.map_err(failed)?.into_iter();
    let mut next = || answers.next().unwrap_or_default();

    let (_locked, start) = (next(), next());
    let start = start.first().ok_or_else(|| Failed::from(crate::error::corrupt_row("no answer")))?;
    let isolation: &str = start.get(4);
    if !begin && isolation != "read committed" {
        let detail =
            format!("a transaction for `commit_in` must be READ COMMITTED, and this one is {isolation}");
        return Err(StoreError::new(StoreErrorKind::Invalid, detail).into());
    }
    if !start.get::<_, bool>(3) {
        return Ok(None);
    }
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
        let (last, sealed): (i64, Option<i64>) = (row.get(2), row.get(4));
        engine.load_log(LogInfo::new(log, last.unsigned_abs(), time(row.get(3)), sealed.map(time)));
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
    Ok(Some(Decided { results, changes, now, touched }))
}
