use super::state::{Log, State, Undo};
use crate::engine::{Item, Lease, Place};
use crate::{
    Cell, CellKey, Committed, LogId, LogInfo, MessageId, QueueName, Record, StoreError, Version, WriteBatch,
};
use bytes::Bytes;
use martlet_base::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Decides about batches without storing them. See the [module](crate::engine) for how a backend uses it.
///
/// What has to be loaded is what [`Named`](crate::engine::Named) tells:
///
/// * each cell, lease, log, dedup key and message that the batches name and that is there;
/// * for each order key of these messages and of new ones, whoever is offered or in flight, and as many of the blocked ones as
///   [`NamedQueue::may_unblock`](crate::engine::NamedQueue::may_unblock) says, lowest numbers first.
///
/// The order does not matter, and to load something twice does no harm. Values of cells, records of logs and bodies of messages are
/// never looked at: they may stay where they are.
pub struct Engine(State);

/// What [`Engine`] wants to have written.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Changes {
    /// Cells, `None`: removed.
    pub cells: BTreeMap<CellKey, Option<Cell>>,
    /// Logs to be removed with all their records, before anything else is written to them.
    pub deleted_logs: BTreeSet<LogId>,
    /// Logs that were appended to or sealed.
    pub logs: BTreeMap<LogId, LogChange>,
    /// Messages by number.
    pub messages: BTreeMap<MessageId, MessageChange>,
    /// Dedup keys: the message, and until when the key is remembered.
    pub remembered: BTreeMap<(QueueName, String), (MessageId, Timestamp)>,
    /// Queues whose counts change.
    pub queues: BTreeMap<QueueName, QueueChange>,
}

/// A log that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogChange {
    /// Whether it was not there, or was removed first.
    pub is_new: bool,
    /// What is known of it now.
    pub now: LogInfo,
    /// The records behind those that were there.
    pub records: Vec<Record>,
}

/// A message that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageChange {
    /// Its queue.
    pub queue: QueueName,
    /// What it was, as it was loaded; `None`: it is new.
    pub was: Option<Item>,
    /// What it is now; `None`: it is gone.
    pub now: Option<Item>,
    /// Whether its body has to be written, because it is new or was edited. In other messages it is as it was loaded, perhaps empty.
    pub has_new_body: bool,
}

/// By how much the counts of a queue change, for databases in which [`Store::depth`](crate::Store::depth) shall not count messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueChange {
    /// Messages that are not buried.
    pub live: i64,
    /// Those of them that are blocked.
    pub blocked: i64,
    /// Buried messages.
    pub buried: i64,
    /// Messages ever enqueued, new ones. More than none: the queue is there from now on.
    pub enqueued: u64,
    /// Messages ever acknowledged.
    pub acked: u64,
}

impl QueueChange {
    fn place(&mut self, place: Place, by: i64) {
        match place {
            Place::Buried => self.buried += by,
            Place::Blocked => (self.live, self.blocked) = (self.live + by, self.blocked + by),
            Place::Waiting | Place::InFlight => self.live += by,
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("version", &self.0.version).finish_non_exhaustive()
    }
}

impl Engine {
    /// Knows nothing yet; new messages get these numbers, in their order.
    #[must_use]
    pub fn new(numbers: impl IntoIterator<Item = u64>) -> Self {
        let mut state = State { journal: Some(Vec::new()), ..State::default() };
        state.numbers.given = numbers.into_iter().collect();
        Self(state)
    }

    /// A cell that is there.
    pub fn load_cell(&mut self, key: CellKey, version: Version, expires: Option<Timestamp>) {
        self.0.cells.insert(key, Cell::new(Bytes::new(), version, expires));
    }

    /// The latest token of a lease, which may have ended.
    pub fn load_lease(&mut self, key: CellKey, token: u64) {
        self.0.leases.insert(key, Lease::new(String::new(), token, Timestamp::UNIX_EPOCH));
    }

    /// A log that is there.
    pub fn load_log(&mut self, log: LogInfo) {
        let LogInfo { id, last: base, updated, sealed } = log;
        self.0.logs.insert(id, Log { base, updated, records: Vec::new(), sealed });
    }

    /// A message that is there, with its body or without.
    pub fn load_message(&mut self, queue: QueueName, id: MessageId, item: Item) {
        self.0.queues.entry(queue).or_default().set(id, Some(item));
    }

    /// A dedup key that is remembered.
    pub fn load_remembered(&mut self, queue: QueueName, key: String, message: MessageId, until: Timestamp) {
        self.0.queues.entry(queue).or_default().remember(key, Some((message, until)));
    }

    /// Decides about one batch, which sees what earlier ones did. `version` is the version of the cells that it writes: it must be
    /// higher than all before.
    ///
    /// # Errors
    /// As for [`Store::commit`](crate::Store::commit); nothing of it is among the changes then.
    pub fn commit(
        &mut self,
        batch: WriteBatch,
        version: Version,
        now: Timestamp,
    ) -> Result<Committed, StoreError> {
        self.0.version = version.as_u64().saturating_sub(1);
        self.0.commit(batch, now)
    }

    /// What all batches that succeeded want to have written.
    #[must_use]
    pub fn changes(mut self) -> Changes {
        let (mut changes, mut logs) = (Changes::default(), BTreeSet::new());
        for undo in self.0.journal.take().unwrap_or_default() {
            match undo {
                Undo::Cell(key, _) => {
                    let cell = self.0.cells.get(&key).cloned();
                    changes.cells.insert(key, cell);
                }
                Undo::Deleted(id, log) => {
                    if log.base > 0 {
                        changes.deleted_logs.insert(id.clone());
                    }
                    logs.insert(id);
                }
                Undo::Appended(id) | Undo::Sealed(id) => drop(logs.insert(id)),
                Undo::Item(queue, id, was) => {
                    // The first one tells what was there before all batches.
                    changes.messages.entry(id).or_insert_with(|| {
                        let now = self.0.queues.get(&queue).and_then(|queue| queue.item(id)).cloned();
                        let has_new_body = was.is_none();
                        MessageChange { queue, was, now, has_new_body }
                    });
                }
                Undo::Edited(id) => {
                    if let Some(change) = changes.messages.get_mut(&id) {
                        change.has_new_body = true;
                    }
                }
                Undo::Remembered(queue, key, _) => {
                    if let Some(what) = self.0.queues.get(&queue).and_then(|queue| queue.remembered(&key)) {
                        changes.remembered.insert((queue, key), what);
                    }
                }
                Undo::Totals(queue, _) => {
                    let totals = self.0.queues.get(&queue).map_or((0, 0), |queue| queue.totals);
                    let change = changes.queues.entry(queue).or_default();
                    (change.enqueued, change.acked) = totals;
                }
            }
        }
        // A log that was made and removed again is nothing to write.
        for id in logs {
            if let Some(log) = self.0.logs.get_mut(&id) {
                let (is_new, now) = (log.base == 0, log.info(&id));
                let records = std::mem::take(&mut log.records);
                changes.logs.insert(id, LogChange { is_new, now, records });
            }
        }
        // So is a message.
        changes.messages.retain(|_, change| change.was.is_some() || change.now.is_some());
        for change in changes.messages.values() {
            let counts = changes.queues.entry(change.queue.clone()).or_default();
            for (item, by) in [(&change.was, -1), (&change.now, 1)] {
                if let Some(item) = item {
                    counts.place(item.place, by);
                }
            }
        }
        changes.queues.retain(|_, counts| *counts != QueueChange::default());
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, Receipt, Write};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);

    fn queue() -> QueueName {
        QueueName::new("q").unwrap()
    }

    fn log() -> LogId {
        LogId::new("k", "i").unwrap()
    }

    /// Knows two messages of one order key, the first of them in flight, both without bodies.
    fn loaded() -> (Engine, Receipt) {
        let mut engine = Engine::new(10..20);
        let mut first = Item::new(Message::new("").order_key("o"), NOW);
        let received = first.deliver(&queue(), MessageId::from_u64(1), NOW, Duration::from_secs(60));
        engine.load_message(queue(), MessageId::from_u64(1), first);
        let mut second = Item::new(Message::new("").order_key("o"), NOW);
        second.place = Place::Blocked;
        engine.load_message(queue(), MessageId::from_u64(2), second);
        (engine, received.receipt)
    }

    fn decide(engine: &mut Engine, batch: WriteBatch) -> Result<Committed, StoreError> {
        engine.commit(batch, Version::from_u64(7), NOW)
    }

    #[test]
    fn a_message_tells_what_it_was_and_what_it_is() {
        let (mut engine, receipt) = loaded();
        let batch = WriteBatch::new().ack(&receipt).enqueue(queue(), Message::new("new").order_key("o"));
        decide(&mut engine, batch).unwrap();
        let changes = engine.changes();
        let places: Vec<_> = changes
            .messages
            .iter()
            .map(|(id, change)| {
                let place = |item: &Option<Item>| item.as_ref().map(|item| item.place);
                (id.as_u64(), place(&change.was), place(&change.now), change.has_new_body)
            })
            .collect();
        let expected = [
            (1, Some(Place::InFlight), None, false),
            (2, Some(Place::Blocked), Some(Place::Waiting), false),
            (10, None, Some(Place::Blocked), true),
        ];
        assert_eq!(places, expected);
        let counts = QueueChange { enqueued: 1, acked: 1, ..QueueChange::default() };
        assert_eq!(changes.queues, [(queue(), counts)].into());
    }

    #[test]
    fn a_body_that_was_edited_is_told_of_also_if_it_is_empty_now() {
        let (mut engine, receipt) = loaded();
        let edit = Write::Edit { queue: queue(), message: MessageId::from_u64(2), body: Bytes::new() };
        let batch = WriteBatch::new().with(edit).heartbeat(&receipt, Duration::from_secs(5));
        decide(&mut engine, batch).unwrap();
        let changes = engine.changes();
        let edited: Vec<_> = changes.messages.values().map(|change| change.has_new_body).collect();
        assert_eq!(edited, [false, true]);
        assert_eq!(changes.queues, BTreeMap::new(), "no count changes");
    }

    #[test]
    fn a_log_that_is_removed_and_begun_again_is_new() {
        let known = LogInfo::new(log(), 5, NOW, None);
        for (removed, last) in [(false, 6), (true, 1)] {
            let mut engine = Engine::new([]);
            engine.load_log(known.clone());
            let batch = if removed {
                WriteBatch::new().with(Write::DeleteLog { log: log() })
            } else {
                WriteBatch::new()
            };
            decide(&mut engine, batch.append(log(), None, "r")).unwrap();
            let changes = engine.changes();
            let change = &changes.logs[&log()];
            assert_eq!((change.is_new, change.now.last, change.records.len()), (removed, last, 1));
            assert_eq!(changes.deleted_logs.contains(&log()), removed);
        }
    }

    #[test]
    fn a_log_that_is_sealed_keeps_the_time_of_its_last_record() {
        let mut engine = Engine::new([]);
        let before = Timestamp::from_micros(3);
        engine.load_log(LogInfo::new(log(), 5, before, None));
        decide(&mut engine, WriteBatch::new().seal(log(), None)).unwrap();
        assert_eq!(engine.changes().logs[&log()].now, LogInfo::new(log(), 5, before, Some(NOW)));
    }

    #[test]
    fn a_refused_batch_leaves_nothing_to_write() {
        let (mut engine, receipt) = loaded();
        let batch = WriteBatch::new().ack(&receipt).append(log(), None, "r").ack(&receipt);
        assert_eq!(decide(&mut engine, batch).unwrap_err().write_index(), Some(2));
        let changes = engine.changes();
        assert!(changes.messages.is_empty() && changes.logs.is_empty() && changes.queues.is_empty());
    }
}
