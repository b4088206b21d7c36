use crate::key::check_name;
use crate::queue::one_line;
use crate::{
    BuryReason, Capabilities, CellKey, Expect, Fence, LogId, MAX_LABEL_BYTES, MAX_VALUE_BYTES, Message,
    MessageId, QueueItem, QueueName, Receipt, StoreError, StoreErrorKind, Version,
};
use bytes::Bytes;
use martlet_base::Timestamp;
use std::fmt;
use std::time::Duration;

/// One write of a [`WriteBatch`], as data.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Write {
    /// Writes a cell.
    PutCell {
        /// Which.
        key: CellKey,
        /// Its new value.
        value: Bytes,
        /// What must be there before.
        expect: Expect,
        /// When it ceases to exist; `None`: never. A time that has passed makes it absent at once.
        expires: Option<Timestamp>,
    },
    /// Removes a cell. Removing one that is not there succeeds if `expect` allows it.
    DeleteCell {
        /// Which.
        key: CellKey,
        /// What must be there before.
        expect: Expect,
    },
    /// Writes nothing: the batch is refused unless the cell is as expected. For a decision that rests on a cell which
    /// the batch does not change.
    CheckCell {
        /// Which.
        key: CellKey,
        /// What must be there.
        expect: Expect,
    },
    /// Writes nothing: the batch is refused unless this is the latest fence of its lease.
    CheckFence {
        /// The fence of the writer's lease.
        fence: Fence,
    },
    /// Appends a record to a log.
    Append {
        /// Which log. The first append creates it.
        log: LogId,
        /// The fence of the writer's lease, if the log is guarded by one.
        fence: Option<Fence>,
        /// The record.
        record: Bytes,
        /// When it is said to have been appended; `None`: now, by the store's clock. For copies of logs.
        appended: Option<Timestamp>,
    },
    /// Closes a log: it takes no more records, and [`Store::open_logs`](crate::Store::open_logs) does not show it any more.
    /// Sealing a sealed log changes nothing; one that does not exist is a [conflict](StoreErrorKind::Conflict).
    Seal {
        /// Which log.
        log: LogId,
        /// The fence of the writer's lease, if the log is guarded by one.
        fence: Option<Fence>,
    },
    /// Removes a log with all its records, sealed or not: for retention and erasure. Removing one that is not there
    /// succeeds. A later append starts at 1.
    DeleteLog {
        /// Which log.
        log: LogId,
    },
    /// Puts a message into a queue.
    Enqueue {
        /// Which queue. The first message creates it.
        queue: QueueName,
        /// The message.
        message: Message,
    },
    /// Settles a received message: it is done.
    Ack {
        /// The right to do so.
        receipt: Receipt,
    },
    /// Settles a received message: it is offered again at `at`.
    RetryAt {
        /// The right to do so.
        receipt: Receipt,
        /// When.
        at: Timestamp,
        /// One line about what went wrong, for the message's history; may be empty. It holds no secret.
        detail: String,
    },
    /// Keeps a received message hidden for `visibility` from now: its work takes longer than was thought.
    Heartbeat {
        /// The right to do so.
        receipt: Receipt,
        /// How long.
        visibility: Duration,
    },
    /// Settles a received message: it is given up and kept as a dead letter.
    Bury {
        /// The right to do so.
        receipt: Receipt,
        /// Why.
        reason: BuryReason,
    },
    /// Gives a message that is not in flight another body. A [conflict](StoreErrorKind::Conflict) when it is in flight or
    /// not there.
    Edit {
        /// Its queue.
        queue: QueueName,
        /// Which message.
        message: MessageId,
        /// The new body.
        body: Bytes,
    },
    /// Makes a live message of a dead letter, to be received from `at` on. Its count of deliveries begins anew; its history
    /// stays. A [conflict](StoreErrorKind::Conflict) when it is not buried.
    Replay {
        /// Its queue.
        queue: QueueName,
        /// Which message.
        message: MessageId,
        /// When.
        at: Timestamp,
    },
    /// Removes a message that is not in flight. A [conflict](StoreErrorKind::Conflict) when it is in flight or not there.
    Discard {
        /// Its queue.
        queue: QueueName,
        /// Which message.
        message: MessageId,
        /// Only while it is a dead letter; otherwise a [conflict](StoreErrorKind::Conflict): somebody may have replayed it.
        only_buried: bool,
    },
    /// Puts a message that lay in another queue or store into this queue as it lay there: with its age, its deliveries and
    /// history, buried if it was. It gets a number of its own; one that was in flight can be received at once. Its
    /// dedup key is remembered again but not asked for. For copies of queues.
    Restore {
        /// The queue.
        queue: QueueName,
        /// The message.
        item: Box<QueueItem>,
    },
}

impl Write {
    /// The key, log, queue or lease that it touches, as errors show it.
    #[must_use]
    pub fn target(&self) -> String {
        match self {
            Self::PutCell { key, .. } | Self::DeleteCell { key, .. } | Self::CheckCell { key, .. } => {
                key.to_string()
            }
            Self::CheckFence { fence } => fence.key().to_string(),
            Self::Append { log, .. } | Self::Seal { log, .. } | Self::DeleteLog { log } => log.to_string(),
            Self::Enqueue { queue, .. }
            | Self::Edit { queue, .. }
            | Self::Replay { queue, .. }
            | Self::Discard { queue, .. }
            | Self::Restore { queue, .. } => queue.to_string(),
            Self::Ack { receipt }
            | Self::RetryAt { receipt, .. }
            | Self::Heartbeat { receipt, .. }
            | Self::Bury { receipt, .. } => receipt.queue().to_string(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::PutCell { .. } => "put",
            Self::DeleteCell { .. } => "delete",
            Self::CheckCell { .. } => "check",
            Self::CheckFence { .. } => "check fence",
            Self::Append { .. } => "append",
            Self::Seal { .. } => "seal",
            Self::DeleteLog { .. } => "delete log",
            Self::Enqueue { .. } => "enqueue",
            Self::Ack { .. } => "ack",
            Self::RetryAt { .. } => "retry at",
            Self::Heartbeat { .. } => "heartbeat",
            Self::Bury { .. } => "bury",
            Self::Edit { .. } => "edit",
            Self::Replay { .. } => "replay",
            Self::Discard { .. } => "discard",
            Self::Restore { .. } => "restore",
        }
    }

    fn payload_bytes(&self) -> usize {
        match self {
            Self::PutCell { value, .. } => value.len(),
            Self::Append { record, .. } => record.len(),
            Self::Enqueue { message, .. } => message.body.len(),
            Self::Edit { body, .. } => body.len(),
            Self::Restore { item, .. } => item.message.body.len(),
            _ => 0,
        }
    }

    /// What is named in it beside keys and queues, which were checked when they were made.
    fn check_labels(&self) -> Result<(), StoreError> {
        let label = |text: &Option<String>| match text {
            Some(text) => check_name(text, MAX_LABEL_BYTES).map(drop),
            None => Ok(()),
        };
        let detail = |text: &str| {
            if text.is_empty() { Ok(()) } else { check_name(text, MAX_LABEL_BYTES).map(drop) }
        };
        match self {
            Self::Enqueue { message, .. } => {
                label(&message.dedup)?;
                label(&message.order_key)?;
            }
            Self::Restore { item, .. } => {
                label(&item.message.dedup)?;
                label(&item.message.order_key)?;
                detail(item.buried.as_ref().map_or("", |reason| &reason.detail))?;
            }
            Self::RetryAt { detail: text, .. } => detail(text)?,
            Self::Bury { reason, .. } => detail(&reason.detail)?,
            _ => {}
        }
        Ok(())
    }

    fn needs(&self) -> (bool, bool, bool, bool) {
        let cells = matches!(self, Self::PutCell { .. } | Self::DeleteCell { .. } | Self::CheckCell { .. });
        let logs = matches!(self, Self::Append { .. } | Self::Seal { .. } | Self::DeleteLog { .. });
        let leases = matches!(
            self,
            Self::CheckFence { .. } | Self::Append { fence: Some(_), .. } | Self::Seal { fence: Some(_), .. }
        );
        (cells, logs, !cells && !logs && !leases, leases)
    }
}

impl fmt::Debug for Write {
    /// Without values and bodies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name(), self.target())?;
        match self {
            Self::PutCell { expect, .. }
            | Self::DeleteCell { expect, .. }
            | Self::CheckCell { expect, .. } => {
                write!(f, " ({} bytes, expect {expect:?})", self.payload_bytes())
            }
            _ => write!(f, " ({} bytes)", self.payload_bytes()),
        }
    }
}

/// Writes that happen together or not at all. They are applied in order: a later write sees the earlier ones.
///
/// ```
/// use martlet_store::{CellKey, Expect, WriteBatch};
///
/// let key = CellKey::new("checkpoint/acme/contacts")?;
/// let batch = WriteBatch::new()
///     .put(key, Expect::Absent, "page 1")
///     .delete(CellKey::new("lock/acme")?, Expect::Any);
/// assert_eq!(batch.len(), 2);
/// # Ok::<(), martlet_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a batch does nothing until it is committed"]
pub struct WriteBatch(Vec<Write>);

impl WriteBatch {
    /// An empty batch. Committing it does nothing and succeeds.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a write.
    pub fn with(mut self, write: Write) -> Self {
        self.0.push(write);
        self
    }

    /// Adds a write in place: for batches built in a loop.
    pub fn push(&mut self, write: Write) {
        self.0.push(write);
    }

    /// Writes a cell that never expires.
    pub fn put(self, key: CellKey, expect: impl Into<Expect>, value: impl Into<Bytes>) -> Self {
        self.with(Write::PutCell { key, value: value.into(), expect: expect.into(), expires: None })
    }

    /// Writes a cell that ceases to exist at `expires` by the store's clock.
    pub fn put_expiring(
        self,
        key: CellKey,
        expect: impl Into<Expect>,
        value: impl Into<Bytes>,
        expires: Timestamp,
    ) -> Self {
        let (value, expect) = (value.into(), expect.into());
        self.with(Write::PutCell { key, value, expect, expires: Some(expires) })
    }

    /// Removes a cell.
    pub fn delete(self, key: CellKey, expect: impl Into<Expect>) -> Self {
        self.with(Write::DeleteCell { key, expect: expect.into() })
    }

    /// Refuses the batch unless the cell is as expected.
    pub fn check(self, key: CellKey, expect: impl Into<Expect>) -> Self {
        self.with(Write::CheckCell { key, expect: expect.into() })
    }

    /// Refuses the batch unless `fence` is the latest of its lease.
    pub fn fenced(self, fence: &Fence) -> Self {
        self.with(Write::CheckFence { fence: fence.clone() })
    }

    /// Appends a record to a log.
    pub fn append(self, log: LogId, fence: Option<&Fence>, record: impl Into<Bytes>) -> Self {
        self.with(Write::Append { log, fence: fence.cloned(), record: record.into(), appended: None })
    }

    /// Closes a log.
    pub fn seal(self, log: LogId, fence: Option<&Fence>) -> Self {
        self.with(Write::Seal { log, fence: fence.cloned() })
    }

    /// Puts a message into a queue.
    pub fn enqueue(self, queue: QueueName, message: Message) -> Self {
        self.with(Write::Enqueue { queue, message })
    }

    /// Settles a received message as done.
    pub fn ack(self, receipt: &Receipt) -> Self {
        self.with(Write::Ack { receipt: receipt.clone() })
    }

    /// Puts a received message back until `at`.
    pub fn retry_at(self, receipt: &Receipt, at: Timestamp) -> Self {
        self.retry_because(receipt, at, "")
    }

    /// Puts a received message back until `at`, with one line for its history about what went wrong. Control characters in
    /// `detail` become blanks, and what is longer than [`MAX_LABEL_BYTES`] is cut.
    pub fn retry_because(self, receipt: &Receipt, at: Timestamp, detail: impl Into<String>) -> Self {
        self.with(Write::RetryAt { receipt: receipt.clone(), at, detail: one_line(detail.into()) })
    }

    /// Keeps a received message hidden for `visibility` from now.
    pub fn heartbeat(self, receipt: &Receipt, visibility: Duration) -> Self {
        self.with(Write::Heartbeat { receipt: receipt.clone(), visibility })
    }

    /// Gives a received message up.
    pub fn bury(self, receipt: &Receipt, reason: BuryReason) -> Self {
        self.with(Write::Bury { receipt: receipt.clone(), reason })
    }

    /// The writes in their order.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.0
    }

    /// The writes in their order, to take them apart.
    #[must_use]
    pub fn into_writes(self) -> Vec<Write> {
        self.0
    }

    /// How many writes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// About how many bytes it takes: its payloads, and 64 for each write. For backends that limit what they commit at once.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|write| write.payload_bytes() + 64).sum()
    }

    /// What every backend checks before it does anything: each write is of a shape that `capabilities` has, no payload is
    /// larger than [`MAX_VALUE_BYTES`], and dedup keys, order keys and details are names of at most [`MAX_LABEL_BYTES`].
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`], [`StoreErrorKind::TooLarge`] or [`StoreErrorKind::Invalid`], naming the first
    /// such write.
    pub fn validate(&self, capabilities: &Capabilities) -> Result<(), StoreError> {
        for (index, write) in self.0.iter().enumerate() {
            let (cells, logs, queues, leases) = write.needs();
            let missing = [
                (cells && !capabilities.cells, "this store keeps no cells"),
                (logs && !capabilities.logs, "this store keeps no logs"),
                (queues && !capabilities.queues, "this store keeps no queues"),
                (leases && !capabilities.leases, "this store gives no leases"),
            ];
            if let Some((_, detail)) = missing.iter().find(|(is_missing, _)| *is_missing) {
                return Err(StoreError::new(StoreErrorKind::Unsupported, *detail).at_write(index, write));
            }
            let bytes = write.payload_bytes();
            if bytes > MAX_VALUE_BYTES {
                let detail = format!("{bytes} bytes, and {MAX_VALUE_BYTES} is the most");
                return Err(StoreError::new(StoreErrorKind::TooLarge, detail).at_write(index, write));
            }
            write.check_labels().map_err(|error| error.at_write(index, write))?;
        }
        Ok(())
    }
}

impl FromIterator<Write> for WriteBatch {
    fn from_iter<I: IntoIterator<Item = Write>>(writes: I) -> Self {
        Self(writes.into_iter().collect())
    }
}

impl Extend<Write> for WriteBatch {
    fn extend<I: IntoIterator<Item = Write>>(&mut self, writes: I) {
        self.0.extend(writes);
    }
}

/// What a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    version: Version,
    /// Only writes with something to tell, by index.
    outcomes: Vec<(usize, Outcome)>,
}

impl Committed {
    /// A result as a backend builds it.
    pub const fn new(version: Version) -> Self {
        Self { version, outcomes: Vec::new() }
    }

    /// Notes what the write at `index` did.
    pub fn with_outcome(mut self, index: usize, outcome: Outcome) -> Self {
        self.outcomes.push((index, outcome));
        self
    }

    /// The version that every cell written by this batch has now.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// What the write at `index` did, where there is more to tell than "done".
    #[must_use]
    pub fn outcome(&self, index: usize) -> Outcome {
        self.outcomes.iter().find(|(i, _)| *i == index).map_or(Outcome::Done, |(_, outcome)| *outcome)
    }
}

/// What one write of a committed batch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Done,
    /// The record has this place in its log.
    Appended(u64),
    /// The message was enqueued under this number.
    Enqueued(MessageId),
    /// Nothing was enqueued: the queue remembers this message with the same dedup key.
    Duplicate(MessageId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_refused_at_its_first_unsupported_write() {
        let key = CellKey::new("k").unwrap();
        let log = LogId::new("saga", "1").unwrap();
        let queue = QueueName::new("outbox").unwrap();
        let capabilities = Capabilities { cells: true, ..Capabilities::NONE };
        let cells = WriteBatch::new().put(key.clone(), Expect::Any, "v").delete(key, Expect::Any);
        assert_eq!(cells.validate(&capabilities), Ok(()));
        for (batch, word) in [
            (cells.clone().append(log, None, "r"), "logs"),
            (cells.clone().enqueue(queue.clone(), Message::new("m")), "queues"),
            (cells.clone().ack(&Receipt::new(queue, MessageId::from_u64(1), 1)), "queues"),
            (cells.clone().fenced(&Fence::new(CellKey::new("l").unwrap(), 1)), "leases"),
        ] {
            let error = batch.validate(&capabilities).unwrap_err();
            assert_eq!((error.kind(), error.write_index()), (StoreErrorKind::Unsupported, Some(2)));
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn a_value_over_the_cap_is_refused_and_one_at_the_cap_is_not() {
        let key = CellKey::new("k").unwrap();
        let capabilities = Capabilities { cells: true, ..Capabilities::NONE };
        let put = |bytes: usize| WriteBatch::new().put(key.clone(), Expect::Any, vec![0; bytes]);
        assert_eq!(put(MAX_VALUE_BYTES).validate(&capabilities), Ok(()));
        let error = put(MAX_VALUE_BYTES + 1).validate(&capabilities).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::TooLarge);
    }

    #[test]
    fn debug_output_does_not_show_values() {
        let batch = WriteBatch::new().put(CellKey::new("k").unwrap(), Expect::Any, "secret");
        assert!(!format!("{batch:?}").contains("secret"));
    }
}
