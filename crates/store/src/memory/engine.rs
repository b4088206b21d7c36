use super::queue::{Item, Place};
use super::state::{Lease, Log, State, Undo};
use crate::{Cell, CellKey, Committed, LogId, MessageId, QueueName, Record, StoreError, Version, WriteBatch};
use bytes::Bytes;
use martlet_base::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Decides about batches without storing them: for backends whose database answers a bulk of questions faster than many small ones.
///
/// Load what the batches touch, under locks that nobody else holds; [`commit`](Self::commit) them one by one; write the
/// [`changes`](Self::changes) out, all in one transaction. It is the engine of [`MemoryStore`](crate::MemoryStore), so what it
/// decides is what the model decides. What has to be loaded:
///
/// * each cell that a batch names, with version and expiry; each lease whose fence it names; each log that it names;
/// * each message that a receipt or an operation names;
/// * for each order key of these messages, and of those that are enqueued, the message that is offered or in flight, and as
///   many of the blocked ones, lowest numbers first, as there are writes;
/// * each dedup key that is enqueued, if it is remembered.
#[derive(Default)]
pub struct Engine(State);

/// What [`Engine`] wants to have written.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Changes {
    /// Cells, `None`: removed.
    pub cells: BTreeMap<CellKey, Option<Cell>>,
    /// Logs that were removed with all their records, before anything else is written to them.
    pub deleted_logs: BTreeSet<LogId>,
    /// Logs that were appended to or sealed.
    pub logs: BTreeMap<LogId, LogChange>,
    /// Messages by number.
    pub messages: BTreeMap<MessageId, MessageChange>,
    /// Dedup keys: the message, and until when the key is remembered.
    pub remembered: BTreeMap<(QueueName, String), (MessageId, Timestamp)>,
    /// How many messages were enqueued and acknowledged, by queue.
    pub totals: BTreeMap<QueueName, (u64, u64)>,
}

/// A log that changed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LogChange {
    /// The records behind those that were there.
    pub records: Vec<Record>,
    /// When it was sealed.
    pub sealed: Option<Timestamp>,
}

/// A message that changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MessageChange {
    /// Its queue.
    pub queue: QueueName,
    /// Where it was; `None`: it is new.
    pub was: Option<Place>,
    /// What it is now; `None`: it is gone.
    pub now: Option<Item>,
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

    /// The latest token of a lease.
    pub fn load_lease(&mut self, key: CellKey, token: u64) {
        let lease = Lease { owner: String::new(), token, until: Timestamp::UNIX_EPOCH };
        self.0.leases.insert(key, lease);
    }

    /// A log that is there, with the sequence number of its last record.
    pub fn load_log(&mut self, log: LogId, last: u64, sealed: Option<Timestamp>) {
        self.0.logs.insert(log, Log { base: last, records: Vec::new(), sealed });
    }

    /// A message that is there.
    pub fn load_message(&mut self, queue: QueueName, id: MessageId, item: Item) {
        self.0.queues.entry(queue).or_default().set(id, Some(item));
    }

    /// A dedup key that is remembered.
    pub fn load_remembered(&mut self, queue: QueueName, key: String, message: MessageId, until: Timestamp) {
        self.0.queues.entry(queue).or_default().remember(key, Some((message, until)));
    }

    /// Decides about one batch, which sees what earlier ones did. `version` is the version of cells it writes.
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
        let mut changes = Changes::default();
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
                    changes.logs.insert(id, LogChange::default());
                }
                Undo::Appended(id) | Undo::Sealed(id) => {
                    changes.logs.insert(id, LogChange::default());
                }
                Undo::Item(queue, id, before) => {
                    let was = before.map(|item| item.place);
                    let now = self.0.queues.get(&queue).and_then(|queue| queue.item(id)).cloned();
                    changes.messages.entry(id).or_insert(MessageChange { queue, was, now });
                }
                Undo::Remembered(queue, key, _) => {
                    if let Some(what) = self.0.queues.get(&queue).and_then(|queue| queue.remembered(&key)) {
                        changes.remembered.insert((queue, key), what);
                    }
                }
                Undo::Totals(queue, _) => {
                    let totals = self.0.queues.get(&queue).map_or((0, 0), |queue| queue.totals);
                    changes.totals.insert(queue, totals);
                }
            }
        }
        // A log that was made and removed again is nothing to write.
        changes.logs.retain(|id, change| match self.0.logs.get_mut(id) {
            Some(log) => {
                *change = LogChange { records: std::mem::take(&mut log.records), sealed: log.sealed };
                true
            }
            None => false,
        });
        // So is a message.
        changes.messages.retain(|_, change| change.was.is_some() || change.now.is_some());
        changes
    }
}
