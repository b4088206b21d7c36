//! Putting messages into queues, taking and settling them.

use super::Writer;
use crate::error::from_sqlite;
use crate::rows::{BLOCKED, BURIED, DELAYED, IN_FLIGHT, ITEM, ItemRow, READY, micros, state};
use martlet_base::Timestamp;
use martlet_store::{
    BuryReason, DeliveryEnd, Message, MessageId, MessageState, Outcome, PastDelivery, QueueItem, QueueName,
    Receipt, Received, StoreError, Write,
};
use rusqlite::{OptionalExtension, Params, ToSql, params};
use std::time::Duration;

/// At most so many messages whose time has come are moved to the ready ones by one receive.
const DUE_AT_ONCE: usize = 1_000;

// SQLite takes a partial index only where its own condition is repeated word for word.

/// Whether a message of an order key is alive: then one of them is offered or in flight, and the others are behind it.
const HAS_HEAD: &str =
    "SELECT 1 FROM martlet_message WHERE queue = ?1 AND order_key = ?2 AND state IN (0, 1, 2, 3) LIMIT 1";

/// The next of an order key whose head has left: the others are all blocked.
const PROMOTE: &str = "UPDATE martlet_message SET state = CASE WHEN visible_at <= ?3 THEN 0 ELSE 2 END \
    WHERE id = (SELECT id FROM martlet_message \
    WHERE queue = ?1 AND order_key = ?2 AND state IN (0, 1, 2, 3) ORDER BY id LIMIT 1)";

/// Changes of a queue's counts that were not yet written to its row.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    live: i64,
    blocked: i64,
    buried: i64,
    enqueued: i64,
    acked: i64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.live += other.live;
        self.blocked += other.blocked;
        self.buried += other.buried;
        self.enqueued += other.enqueued;
        self.acked += other.acked;
    }
}

/// What settling and operating on a message needs to know of it.
struct Known {
    queue: i64,
    state: i64,
    visible_at: Timestamp,
    received: Timestamp,
    held: bool,
    delivery: u64,
    order_key: Option<String>,
    history: Option<String>,
}

impl Known {
    fn history(&self, ended: Timestamp, end: DeliveryEnd, detail: &str) -> Result<String, StoreError> {
        let mut history = self.history.as_deref().map_or(Ok(Vec::new()), PastDelivery::decode)?;
        PastDelivery::new(self.received, ended, end, detail).push_to(&mut history);
        Ok(PastDelivery::encode(&history))
    }
}

/// A row to be inserted.
struct Fresh<'a> {
    message: &'a Message,
    state: i64,
    visible_at: Timestamp,
    enqueued: Timestamp,
    deliveries: u32,
    history: Option<String>,
    buried: Option<&'a BuryReason>,
}

fn failed(error: rusqlite::Error) -> StoreError {
    from_sqlite("cannot write to the queue", &error).not_applied()
}

impl Writer {
    fn exec(&self, sql: &str, values: impl Params) -> Result<usize, StoreError> {
        self.conn.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(failed)
    }

    fn count(&mut self, queue: i64, counts: Counts) {
        self.job_counts.push((queue, counts));
    }

    /// Writes the counts of the transaction.
    pub(super) fn write_counts(&mut self) -> rusqlite::Result<()> {
        let sql = "UPDATE martlet_queue SET live = live + ?2, blocked = blocked + ?3, buried = buried + ?4, \
                   enqueued = enqueued + ?5, acked = acked + ?6 WHERE queue = ?1";
        for (queue, counts) in self.counts.drain() {
            let Counts { live, blocked, buried, enqueued, acked } = counts;
            self.conn.prepare_cached(sql)?.execute(params![queue, live, blocked, buried, enqueued, acked])?;
        }
        Ok(())
    }

    fn find_queue(&mut self, name: &QueueName) -> Result<Option<i64>, StoreError> {
        if let Some(queue) = self.queues.get(name) {
            return Ok(Some(*queue));
        }
        let sql = "SELECT queue FROM martlet_queue WHERE name = ?1";
        let find = self
            .conn
            .prepare_cached(sql)
            .and_then(|mut find| find.query_row([name.as_str()], |row| row.get(0)).optional());
        let found: Option<i64> = find.map_err(failed)?;
        if let Some(queue) = found {
            self.queues.insert(name.clone(), queue);
        }
        Ok(found)
    }

    fn queue(&mut self, name: &QueueName) -> Result<i64, StoreError> {
        if let Some(queue) = self.find_queue(name)? {
            return Ok(queue);
        }
        let insert = self.conn.prepare_cached("INSERT INTO martlet_queue (name) VALUES (?1)");
        let queue = insert.and_then(|mut insert| insert.insert([name.as_str()])).map_err(failed)?;
        self.job_queues.push(name.clone());
        self.queues.insert(name.clone(), queue);
        Ok(queue)
    }

    fn has_head(&self, queue: i64, order_key: &str) -> Result<bool, StoreError> {
        self.conn
            .prepare_cached(HAS_HEAD)
            .and_then(|mut find| find.exists(params![queue, order_key]))
            .map_err(failed)
    }

    /// The state of a message that comes (again) to the queue.
    fn place(
        &self,
        queue: i64,
        order_key: Option<&str>,
        visible_at: Timestamp,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        if let Some(key) = order_key
            && self.has_head(queue, key)?
        {
            return Ok(BLOCKED);
        }
        Ok(if visible_at <= now { READY } else { DELAYED })
    }

    /// Lets the next message of an order key go on, when this one has left. Only the head of a key holds the others up.
    fn promote(&mut self, gone: &Known, now: Timestamp) -> Result<(), StoreError> {
        let Some(key) = gone.order_key.as_deref().filter(|_| gone.state != BLOCKED && gone.state != BURIED)
        else {
            return Ok(());
        };
        if self.exec(PROMOTE, params![gone.queue, key, now.as_micros()])? > 0 {
            self.count(gone.queue, Counts { blocked: -1, ..Counts::default() });
        }
        Ok(())
    }

    pub(super) fn enqueue(
        &mut self,
        name: &QueueName,
        message: &Message,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let queue = self.queue(name)?;
        if let Some(key) = &message.dedup {
            let sql = "SELECT message FROM martlet_dedup WHERE queue = ?1 AND key = ?2 AND until > ?3";
            let find = self.conn.prepare_cached(sql).and_then(|mut find| {
                find.query_row(params![queue, key, now.as_micros()], |row| row.get(0)).optional()
            });
            if let Some(first) = find.map_err(failed)? {
                return Ok(Outcome::Duplicate(MessageId::from_u64(first)));
            }
        }
        let visible_at = message.not_before.unwrap_or(now);
        let state = self.place(queue, message.order_key.as_deref(), visible_at, now)?;
        let fresh =
            Fresh { message, state, visible_at, enqueued: now, deliveries: 0, history: None, buried: None };
        self.insert(queue, &fresh).map(Outcome::Enqueued)
    }

    pub(super) fn restore(
        &mut self,
        name: &QueueName,
        item: &QueueItem,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let queue = self.queue(name)?;
        let visible_at = if item.state == MessageState::InFlight { now } else { item.visible_at };
        let state = match item.buried {
            Some(_) => BURIED,
            None => self.place(queue, item.message.order_key.as_deref(), visible_at, now)?,
        };
        let history = (!item.history.is_empty()).then(|| PastDelivery::encode(&item.history));
        let fresh = Fresh {
            message: &item.message,
            state,
            visible_at,
            enqueued: item.enqueued,
            deliveries: item.deliveries,
            history,
            buried: item.buried.as_ref(),
        };
        self.insert(queue, &fresh).map(Outcome::Enqueued)
    }

    fn insert(&mut self, queue: i64, fresh: &Fresh<'_>) -> Result<MessageId, StoreError> {
        let Fresh { message, .. } = fresh;
        self.message += 1;
        let id = self.message;
        if let Some(key) = &message.dedup {
            let until = fresh.enqueued + message.dedup_window;
            let sql =
                "INSERT OR REPLACE INTO martlet_dedup (queue, key, message, until) VALUES (?1, ?2, ?3, ?4)";
            self.exec(sql, params![queue, key, id, until.as_micros()])?;
        }
        let sql = "INSERT INTO martlet_message (id, queue, state, visible_at, enqueued, received, deliveries, \
                   priority, order_key, dedup, dedup_window, not_before, bury_kind, bury_detail, history, body) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
        let values = params![
            id,
            queue,
            fresh.state,
            fresh.visible_at.as_micros(),
            fresh.enqueued.as_micros(),
            fresh.deliveries,
            message.priority,
            message.order_key,
            message.dedup,
            micros(message.dedup_window),
            message.not_before.map(Timestamp::as_micros),
            fresh.buried.map(|reason| reason.kind.as_str()),
            fresh.buried.map(|reason| &reason.detail),
            fresh.history,
            &*message.body
        ];
        self.exec(sql, values)?;
        let buried = i64::from(fresh.state == BURIED);
        let blocked = i64::from(fresh.state == BLOCKED);
        self.count(queue, Counts { live: 1 - buried, blocked, buried, enqueued: 1, acked: 0 });
        Ok(MessageId::from_u64(id))
    }

    pub(super) fn receive(
        &mut self,
        name: &QueueName,
        max: usize,
        visibility: Duration,
    ) -> Result<Vec<Received>, StoreError> {
        let Some(queue) = self.find_queue(name)? else { return Ok(Vec::new()) };
        let now = self.clock.wall();
        let due = max.max(DUE_AT_ONCE);
        let sql = "UPDATE martlet_message SET state = 0 WHERE id IN (SELECT id FROM martlet_message \
                   WHERE queue = ?1 AND state IN (1, 2) AND visible_at <= ?2 ORDER BY visible_at LIMIT ?3)";
        self.exec(sql, params![queue, now.as_micros(), i64::try_from(due).unwrap_or(i64::MAX)])?;

        let visible_again = now + visibility;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let taken = self.take(queue, max).map_err(failed)?;
        let mut received = Vec::with_capacity(taken.len());
        for (row, known) in taken {
            let mut item = row.item(now)?;
            if known.held {
                let history = known.history(known.visible_at, DeliveryEnd::Lapsed, "")?;
                let sql = "UPDATE martlet_message SET history = ?2 WHERE id = ?1";
                self.exec(sql, params![item.id.as_u64(), history])?;
                item.history = PastDelivery::decode(&history)?;
            }
            let sql = "UPDATE martlet_message SET state = 1, visible_at = ?2, received = ?3, held = 1, \
                       delivery = delivery + 1, deliveries = deliveries + 1 WHERE id = ?1";
            self.exec(sql, params![item.id.as_u64(), visible_again.as_micros(), now.as_micros()])?;
            item.state = MessageState::InFlight;
            item.deliveries = item.deliveries.saturating_add(1);
            item.visible_at = visible_again;
            let receipt = Receipt::new(name.clone(), item.id, known.delivery + 1);
            received.push(Received::new(item, receipt, visible_again));
        }
        Ok(received)
    }

    fn take(&self, queue: i64, max: i64) -> rusqlite::Result<Vec<(ItemRow, Known)>> {
        let sql = format!(
            "SELECT {ITEM}, queue, received, held, delivery FROM martlet_message \
             WHERE queue = ?1 AND state = 0 ORDER BY priority DESC, id LIMIT ?2"
        );
        let mut find = self.conn.prepare_cached(&sql)?;
        find.query_map([queue, max], |row| {
            let known = Known {
                state: row.get(1)?,
                visible_at: Timestamp::from_micros(row.get(2)?),
                order_key: None,
                history: row.get(12)?,
                queue: row.get(14)?,
                received: Timestamp::from_micros(row.get(15)?),
                held: row.get(16)?,
                delivery: row.get(17)?,
            };
            Ok((ItemRow::read(row)?, known))
        })?
        .collect()
    }

    fn known(&mut self, name: &QueueName, id: MessageId) -> Result<Option<Known>, StoreError> {
        let Some(queue) = self.find_queue(name)? else { return Ok(None) };
        // A number that SQLite cannot hold was never given out.
        let Ok(id) = i64::try_from(id.as_u64()) else { return Ok(None) };
        let sql = "SELECT queue, state, visible_at, received, held, delivery, order_key, history \
                   FROM martlet_message WHERE id = ?1 AND queue = ?2";
        let find = self.conn.prepare_cached(sql).and_then(|mut find| {
            find.query_row([id, queue], |row| {
                Ok(Known {
                    queue: row.get(0)?,
                    state: row.get(1)?,
                    visible_at: Timestamp::from_micros(row.get(2)?),
                    received: Timestamp::from_micros(row.get(3)?),
                    held: row.get(4)?,
                    delivery: row.get(5)?,
                    order_key: row.get(6)?,
                    history: row.get(7)?,
                })
            })
            .optional()
        });
        find.map_err(failed)
    }

    pub(super) fn settle(
        &mut self,
        receipt: &Receipt,
        write: &Write,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let known = self.known(receipt.queue(), receipt.message())?;
        let known = known
            .filter(|known| known.held && known.delivery == receipt.delivery())
            .ok_or_else(|| StoreError::stale_receipt(receipt))?;
        let id = receipt.message().as_u64();
        let queue = known.queue;
        match write {
            Write::Heartbeat { visibility, .. } => {
                let until = (now + *visibility).as_micros();
                self.exec(
                    "UPDATE martlet_message SET state = 1, visible_at = ?2 WHERE id = ?1",
                    params![id, until],
                )?;
            }
            Write::RetryAt { at, detail, .. } => {
                let history = known.history(now, DeliveryEnd::Retried, detail)?;
                let state = if *at <= now { READY } else { DELAYED };
                let sql = "UPDATE martlet_message SET state = ?2, visible_at = ?3, held = 0, history = ?4 \
                           WHERE id = ?1";
                self.exec(sql, params![id, state, at.as_micros(), history])?;
            }
            Write::Bury { reason, .. } => {
                let history = known.history(now, DeliveryEnd::Buried, &reason.detail)?;
                let sql = "UPDATE martlet_message SET state = 4, visible_at = ?2, held = 0, history = ?3, \
                           bury_kind = ?4, bury_detail = ?5 WHERE id = ?1";
                let kind = reason.kind.as_str();
                self.exec(sql, params![id, now.as_micros(), history, kind, reason.detail])?;
                self.count(queue, Counts { live: -1, buried: 1, ..Counts::default() });
                self.promote(&known, now)?;
            }
            // Ack.
            _ => {
                self.exec("DELETE FROM martlet_message WHERE id = ?1", [id])?;
                self.count(queue, Counts { live: -1, acked: 1, ..Counts::default() });
                self.promote(&known, now)?;
            }
        }
        Ok(())
    }

    pub(super) fn operate(
        &mut self,
        name: &QueueName,
        id: MessageId,
        write: &Write,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let known = self.known(name, id)?;
        let found = known.as_ref().map(|known| state(known.state, known.visible_at, now));
        let refuse = |expected| Err(StoreError::message_state(id, expected, found));
        let Some(known) = known else { return refuse("a message") };
        let queue = known.queue;
        let row: &dyn ToSql = &id.as_u64();
        match write {
            Write::Replay { at, .. } => {
                if known.state != BURIED {
                    return refuse("a buried one");
                }
                let state = self.place(queue, known.order_key.as_deref(), *at, now)?;
                let sql = "UPDATE martlet_message SET state = ?2, visible_at = ?3, deliveries = 0, \
                           bury_kind = NULL, bury_detail = NULL WHERE id = ?1";
                self.exec(sql, params![row, state, at.as_micros()])?;
                let blocked = i64::from(state == BLOCKED);
                self.count(queue, Counts { live: 1, blocked, buried: -1, ..Counts::default() });
            }
            _ if found == Some(MessageState::InFlight) => return refuse("one that is not in flight"),
            Write::Edit { body, .. } => {
                if known.held {
                    // Whoever had it let it lapse, and must not acknowledge what was changed meanwhile.
                    let history = known.history(known.visible_at, DeliveryEnd::Lapsed, "")?;
                    let sql = "UPDATE martlet_message SET state = 0, held = 0, history = ?2 WHERE id = ?1";
                    self.exec(sql, params![row, history])?;
                }
                self.exec("UPDATE martlet_message SET body = ?2 WHERE id = ?1", params![row, &**body])?;
            }
            Write::Discard { only_buried: true, .. } if known.state != BURIED => {
                return refuse("a buried one");
            }
            // Discard.
            _ => {
                self.exec("DELETE FROM martlet_message WHERE id = ?1", [row])?;
                let gone = i64::from(known.state == BURIED);
                let blocked = -i64::from(known.state == BLOCKED);
                self.count(queue, Counts { live: gone - 1, blocked, buried: -gone, ..Counts::default() });
                self.promote(&known, now)?;
            }
        }
        Ok(())
    }

    /// Whether a state that was written lets somebody receive: for the check whether to wake those who wait.
    pub(super) const fn wakes(write: &Write) -> bool {
        // A heartbeat can only shorten a visibility; whoever waits for its end has to look at the new one.
        matches!(
            write,
            Write::Enqueue { .. }
                | Write::Restore { .. }
                | Write::Ack { .. }
                | Write::RetryAt { .. }
                | Write::Heartbeat { .. }
                | Write::Bury { .. }
                | Write::Replay { .. }
                | Write::Discard { .. }
                | Write::Edit { .. }
        )
    }
}

const _: () =
    assert!(READY == 0 && IN_FLIGHT == 1 && DELAYED == 2 && BLOCKED == 3 && BURIED == 4, "as in the SQL");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use rusqlite::Connection;

    #[test]
    fn the_messages_of_an_order_key_are_found_by_their_index() {
        let mut conn = Connection::open_in_memory().unwrap();
        schema::migrate(&mut conn).unwrap();
        for sql in [HAS_HEAD, PROMOTE] {
            let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let values = vec![1; explain.parameter_count()];
            let steps = explain.query_map(rusqlite::params_from_iter(values), |row| row.get::<_, String>(3));
            let steps: Vec<String> = steps.unwrap().map(Result::unwrap).collect();
            assert!(
                steps.iter().any(|step| step.contains("martlet_message_order (queue=? AND order_key=?)"))
                    && !steps.iter().any(|step| step.contains("SCAN") || step.contains("TEMP B-TREE")),
                "{sql}: {steps:?}"
            );
        }
    }
}
