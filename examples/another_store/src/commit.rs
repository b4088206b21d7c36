//! One batch: load what it names, let the engine decide, write what changed.

use crate::tables::{CELLS, DEDUP, Db, LEASES, LOGS, Messages, NUMBERS, RECORDS, TOTALS, log, time};
use martlet_base::Timestamp;
use martlet_store::engine::{Changes, Engine, Named};
use martlet_store::{Committed, MessageId, Version, WriteBatch};
use redb::{ReadableTable, WriteTransaction};

/// Every so many commits, what has expired is removed.
const SWEEP_EVERY: u64 = 256;

pub(crate) fn commit(txn: &WriteTransaction, batch: &WriteBatch, now: Timestamp) -> Db<Committed> {
    let named = Named::of([batch]);
    let mut numbers = txn.open_table(NUMBERS)?;
    let mut take = |name, count| -> Db<u64> {
        let last = numbers.get(name)?.map_or(0, |last| last.value());
        numbers.insert(name, last + count)?;
        Ok(last + 1)
    };
    let (version, message) = (take("version", 1)?, take("message", named.new_messages())?);
    let mut messages = Messages::open(txn)?;
    let mut engine = Engine::new(message..message + named.new_messages());
    load(txn, &messages, named, &mut engine)?;
    let committed = engine.commit(batch.clone(), Version::from_u64(version), now)?;
    write(txn, &mut messages, &engine.changes())?;
    if version.is_multiple_of(SWEEP_EVERY) {
        let now = now.as_micros();
        txn.open_table(CELLS)?.retain(|_, (_, expires, _)| expires.is_none_or(|at| now < at))?;
        txn.open_table(DEDUP)?.retain(|_, (_, until)| now < until)?;
    }
    Ok(committed)
}

fn load(txn: &WriteTransaction, messages: &Messages<'_>, named: Named<'_>, engine: &mut Engine) -> Db<()> {
    let (cells, leases) = (txn.open_table(CELLS)?, txn.open_table(LEASES)?);
    for key in named.cells {
        if let Some(row) = cells.get(key.as_str())? {
            let (version, expires, _) = row.value();
            engine.load_cell(key.clone(), Version::from_u64(version), expires.map(time));
        }
    }
    for key in named.leases {
        if let Some(row) = leases.get(key.as_str())? {
            engine.load_lease(key.clone(), row.value().1);
        }
    }
    let (logs, dedup) = (txn.open_table(LOGS)?, txn.open_table(DEDUP)?);
    for id in named.logs {
        let name = (id.kind(), id.id());
        if let Some(row) = logs.get(name)? {
            engine.load_log(log(name, row.value())?);
        }
    }
    for (queue, mut named) in named.queues {
        for key in named.dedup {
            if let Some(row) = dedup.get((queue.as_str(), key))? {
                let (id, until) = row.value();
                engine.load_remembered(queue.clone(), key.to_owned(), MessageId::from_u64(id), time(until));
            }
        }
        let mut load = |id| -> Db<Option<String>> {
            let Some(item) = messages.get(queue, id)? else { return Ok(None) };
            let order_key = item.message.order_key.clone();
            engine.load_message(queue.clone(), id, item);
            Ok(order_key)
        };
        for id in named.messages {
            named.order_keys.extend(load(id)?);
        }
        // Whoever is offered or in flight, then the blocked ones.
        for key in &named.order_keys {
            let all = (queue.as_str(), &key[..], false, 0)..=(queue.as_str(), &key[..], true, u64::MAX);
            for row in messages.ordered.range(all)?.take(1 + named.may_unblock) {
                load(MessageId::from_u64(row?.0.value().3))?;
            }
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
        let (updated, sealed) = (change.now.updated.as_micros(), change.now.sealed.map(Timestamp::as_micros));
        logs.insert((log.kind(), log.id()), (change.now.last, updated, sealed))?;
        for record in &change.records {
            let row = (record.appended.as_micros(), &record.body[..]);
            records.insert((log.kind(), log.id(), record.sequence), row)?;
        }
    }
    for (id, change) in &changes.messages {
        messages.set(&change.queue, *id, change.was.as_ref(), change.now.as_ref())?;
    }
    let (mut dedup, mut totals) = (txn.open_table(DEDUP)?, txn.open_table(TOTALS)?);
    for ((queue, key), (id, until)) in &changes.remembered {
        dedup.insert((queue.as_str(), &key[..]), (id.as_u64(), until.as_micros()))?;
    }
    for (queue, counts) in &changes.queues {
        let (enqueued, acked) = totals.get(queue.as_str())?.map_or((0, 0), |row| row.value());
        totals.insert(queue.as_str(), (enqueued + counts.enqueued, acked + counts.acked))?;
    }
    Ok(())
}
