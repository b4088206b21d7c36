//! A group that does nothing but enqueue.

use super::{Failed, QueueRows, Results, says_no};
use crate::error::{from_postgres, is_passing};
use crate::query::Conn;
use crate::rows::{id, micros};
use crate::store::Inner;
use martlet_base::Timestamp;
use martlet_store::{Committed, Message, Outcome, QueueName, Version, Write, WriteBatch};
use std::collections::BTreeMap;
use tokio_postgres::types::ToSql;

/// The messages, if the group does nothing but enqueue, one message for each batch, without keys: then nothing has to be known
/// beforehand.
pub(super) fn plain<'a>(batches: &[&'a WriteBatch]) -> Option<Vec<(&'a QueueName, &'a Message)>> {
    let message = |batch: &&'a WriteBatch| match batch.writes() {
        [Write::Enqueue { queue, message }] if message.dedup.is_none() && message.order_key.is_none() => {
            Some((queue, message))
        }
        _ => None,
    };
    batches.iter().map(message).collect()
}

/// Such a group is one statement.
pub(super) async fn enqueue(
    inner: &Inner,
    conn: Conn<'_>,
    messages: &[(&QueueName, &Message)],
    queues: &QueueRows,
    slot: i32,
) -> Result<Results, Failed> {
    let rows: Vec<i64> = messages.iter().map(|(queue, _)| queues.get(*queue).copied().unwrap_or(0)).collect();
    let priorities: Vec<i16> = messages.iter().map(|(_, message)| message.priority).collect();
    let windows: Vec<i64> = messages.iter().map(|(_, message)| micros(message.dedup_window)).collect();
    let times: Vec<Option<i64>> =
        messages.iter().map(|(_, message)| message.not_before.map(Timestamp::as_micros)).collect();
    let bodies: Vec<&[u8]> = messages.iter().map(|(_, message)| &*message.body).collect();
    let mut counts: BTreeMap<i64, (i64, &str)> = BTreeMap::new();
    for (row, (queue, _)) in rows.iter().zip(messages) {
        counts.entry(*row).or_insert((0, queue.as_str())).0 += 1;
    }
    let (count_queues, (count, names)): (Vec<i64>, (Vec<i64>, Vec<&str>)) = counts.into_iter().unzip();
    let now = inner.simulated();
    let params: [&(dyn ToSql + Sync); 10] =
        [&now, &rows, &priorities, &windows, &times, &bodies, &slot, &count_queues, &count, &names];
    let ready = conn.ready(&inner.group_sql.plain).await;
    let ready = ready.map_err(|error| Failed::before("cannot enqueue", &error))?;
    let answers = conn.ask(&ready, &params).await.map_err(|error| {
        let told = from_postgres("cannot enqueue", &error);
        let known = says_no(&error);
        Failed { error: if known { told.not_applied() } else { told }, again: known && is_passing(&error) }
    })?;
    if answers.len() != messages.len() {
        return Err(Failed::stale(inner));
    }
    inner.waiters.wake();
    inner.announce(messages.iter().map(|(queue, _)| *queue));
    let committed = |row: &tokio_postgres::Row| {
        let version = Version::from_u64(row.get::<_, i64>(1).unsigned_abs());
        Ok(Committed::new(version).with_outcome(0, Outcome::Enqueued(id(row.get(0)))))
    };
    Ok(answers.iter().map(committed).collect())
}
