//! One batch: load what it names, let the engine decide, write what changed.

use crate::tables::{CELLS, DEDUP, Db, LEASES, LOGS, Messages, NUMBERS, RECORDS, TOTALS, time};
use martlet_base::Timestamp;
use martlet_store::engine::{Changes, Engine};
use martlet_store::{Committed, Fence, LogId, MessageId, QueueName, StoreError, Version, Write, WriteBatch};
use redb::{ReadableTable, WriteTransaction};

/// Every so many commits, what has expired is removed.
const SWEEP_EVERY: u64 = 256;

/// The outer error is redb's, the inner one the refusal of the batch: nothing may be committed after either.
pub(crate) fn commit(
    txn: &WriteTransaction,
    batch: WriteBatch,
    now: Timestamp,
) -> Db<Result<Committed, StoreError>> {
    let mut numbers = txn.open_table(NUMBERS)?;
    let next = |number: Option<redb::AccessGuard<'_, u64>>| number.map_or(1, |last| last.value() + 1);
    let (version, message) = (next(numbers.get("version")?), next(numbers.get("message")?));
    let mut messages = Messages::open(txn)?;
    let mut engine = Engine::new(message..message + batch.len() as u64);
    numbers.insert("version", version)?;
    numbers.insert("message", message + batch.len() as u64)?;
    load(txn, &messages, &batch, &mut engine)?;
    let committed = match engine.commit(batch, Version::from_u64(version), now) {
        Ok(committed) => committed,
        Err(refused) => return Ok(Err(refused)),
    };
    write(txn, &mut messages, &engine.changes())?;
    if version.is_multiple_of(SWEEP_EVERY) {
        let now = now.as_micros();
        txn.open_table(CELLS)?.retain(|_, (_, expires, _)| expires.is_none_or(|at| now < at))?;
        txn.open_table(DEDUP)?.retain(|_, (_, until)| now < until)?;
    }
    Ok(Ok(committed))
}

/// What [`Engine`] says that it must know. To load something twice does no harm.
fn load(txn: &WriteTransaction, messages: &Messages<'_>, batch: &WriteBatch, engine: &mut Engine) -> Db<()> {
    let (cells, leases) = (txn.open_table(CELLS)?, txn.open_table(LEASES)?);
    let (logs, dedup) = (txn.open_table(LOGS)?, txn.open_table(DEDUP)?);
    let lease = |engine: &mut Engine, fence: &Fence| -> Db<()> {
        if let Some(row) = leases.get(fence.key().as_str())? {
            engine.load_lease(fence.key().clone(), row.value().1);
        }
        Ok(())
    };
    let log = |engine: &mut Engine, log: &LogId| -> Db<()> {
        if let Some(row) = logs.get((log.kind(), log.id()))? {
            let (last, _, sealed) = row.value();
            engine.load_log(log.clone(), last, sealed.map(time));
        }
        Ok(())
    };
    let order = |engine: &mut Engine, queue: &QueueName, key: Option<&str>| -> Db<()> {
        let Some(key) = key else { return Ok(()) };
        // Each write lets one blocked message go on at most.
        for id in messages.of_key(queue.as_str(), key, batch.len() + 1)? {
            if let Some(item) = messages.get(queue.as_str(), id)? {
                engine.load_message(queue.clone(), id, item);
            }
        }
        Ok(())
    };
    let message = |engine: &mut Engine, queue: &QueueName, id: MessageId| -> Db<()> {
        if let Some(item) = messages.get(queue.as_str(), id)? {
            order(engine, queue, item.message.order_key.as_deref())?;
            engine.load_message(queue.clone(), id, item);
        }
        Ok(())
    };
    for write in batch.writes() {
        match write {
            Write::PutCell { key, .. } | Write::DeleteCell { key, .. } | Write::CheckCell { key, .. } => {
                if let Some(row) = cells.get(key.as_str())? {
                    let (version, expires, _) = row.value();
                    engine.load_cell(key.clone(), Version::from_u64(version), expires.map(time));
                }
            }
            Write::CheckFence { fence } => lease(engine, fence)?,
            Write::Append { log: id, fence, .. } | Write::Seal { log: id, fence } => {
                fence.iter().try_for_each(|fence| lease(engine, fence))?;
                log(engine, id)?;
            }
            Write::DeleteLog { log: id } => log(engine, id)?,
            Write::Enqueue { queue, message } => {
                order(engine, queue, message.order_key.as_deref())?;
                if let Some(key) = &message.dedup
                    && let Some(row) = dedup.get((queue.as_str(), &key[..]))?
                {
                    let (id, until) = row.value();
                    engine.load_remembered(queue.clone(), key.clone(), MessageId::from_u64(id), time(until));
                }
            }
            Write::Restore { queue, item } => order(engine, queue, item.message.order_key.as_deref())?,
            Write::Ack { receipt }
            | Write::RetryAt { receipt, .. }
            | Write::Heartbeat { receipt, .. }
            | Write::Bury { receipt, .. } => message(engine, receipt.queue(), receipt.message())?,
            Write::Edit { queue, message: id, .. }
            | Write::Replay { queue, message: id, .. }
            | Write::Discard { queue, message: id, .. } => message(engine, queue, *id)?,
            // A write that a later version of martlet-store knows: it is refused by `WriteBatch::validate`, or names nothing.
            _ => {}
        }
    }
    Ok(())
}

fn write(txn: &WriteTransaction, messages: &mut Messages<'_>, changes: &Changes) -> Db<()> {
    let mut cells = txn.open_table(CELLS)?;
    for (key, cell) in &changes.cells {
        match cell {
            Some(cell) => {
                let expires = cell.expires.map(Timestamp::as_micros);
                cells.insert(key.as_str(), (cell.version.as_u64(), expires, &cell.value[..]))?;
            }
            None => drop(cells.remove(key.as_str())?),
        }
    }
    let (mut logs, mut records) = (txn.open_table(LOGS)?, txn.open_table(RECORDS)?);
    for log in &changes.deleted_logs {
        let (kind, id) = (log.kind(), log.id());
        logs.remove((kind, id))?;
        records.retain_in((kind, id, 0)..=(kind, id, u64::MAX), |_, _| false)?;
    }
    for (log, change) in &changes.logs {
        let (kind, id) = (log.kind(), log.id());
        let (mut last, mut updated, _) = logs.get((kind, id))?.map_or((0, 0, None), |row| row.value());
        for record in &change.records {
            (last, updated) = (record.sequence, record.appended.as_micros());
            records.insert((kind, id, last), (updated, &record.body[..]))?;
        }
        logs.insert((kind, id), (last, updated, change.sealed.map(Timestamp::as_micros)))?;
    }
    for (id, change) in &changes.messages {
        messages.set(change.queue.as_str(), *id, change.now.as_ref())?;
    }
    let mut dedup = txn.open_table(DEDUP)?;
    for ((queue, key), (id, until)) in &changes.remembered {
        dedup.insert((queue.as_str(), &key[..]), (id.as_u64(), until.as_micros()))?;
    }
    let mut totals = txn.open_table(TOTALS)?;
    for (queue, (enqueued, acked)) in &changes.totals {
        let before = totals.get(queue.as_str())?.map_or((0, 0), |row| row.value());
        totals.insert(queue.as_str(), (before.0 + enqueued, before.1 + acked))?;
    }
    Ok(())
}
