use crate::{CellKey, Fence, LogId, MessageId, QueueName, Write, WriteBatch};
use std::collections::{BTreeMap, BTreeSet};

/// What batches name: all that has to be locked, and loaded into an [`Engine`](super::Engine), before it can decide about them.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Named<'a> {
    /// Cells.
    pub cells: BTreeSet<&'a CellKey>,
    /// Leases.
    pub leases: BTreeSet<&'a CellKey>,
    /// Logs.
    pub logs: BTreeSet<&'a LogId>,
    /// What of each queue.
    pub queues: BTreeMap<&'a QueueName, NamedQueue<'a>>,
}

/// What batches name of one queue.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct NamedQueue<'a> {
    /// Messages that are settled, edited, replayed or discarded.
    pub messages: BTreeSet<MessageId>,
    /// Dedup keys.
    pub dedup: BTreeSet<&'a str>,
    /// Order keys of messages that are new. Those of [`messages`](Self::messages) belong to them too, but only the database knows
    /// those: add them.
    pub order_keys: BTreeSet<String>,
    /// How many messages may be new.
    pub new_messages: u64,
    /// Writes that may let a blocked message go on: so many of the blocked ones of each order key have to be known, those with the lowest
    /// numbers, beside whoever is offered or in flight.
    pub may_unblock: usize,
}

impl<'a> Named<'a> {
    /// What these batches name.
    pub fn of(batches: impl IntoIterator<Item = &'a WriteBatch>) -> Self {
        let mut named = Self::default();
        batches.into_iter().flat_map(WriteBatch::writes).for_each(|write| named.add(write));
        named
    }

    /// How many messages may be new: for as many the [`Engine`](super::Engine) wants numbers.
    #[must_use]
    pub fn new_messages(&self) -> u64 {
        self.queues.values().map(|queue| queue.new_messages).sum()
    }

    fn message(&mut self, queue: &'a QueueName, id: MessageId) {
        let queue = self.queues.entry(queue).or_default();
        queue.messages.insert(id);
        queue.may_unblock += 1;
    }

    fn new_message(&mut self, queue: &'a QueueName, dedup: Option<&'a str>, order_key: Option<&str>) {
        let queue = self.queues.entry(queue).or_default();
        queue.new_messages += 1;
        queue.dedup.extend(dedup);
        queue.order_keys.extend(order_key.map(str::to_owned));
    }

    fn add(&mut self, write: &'a Write) {
        match write {
            Write::PutCell { key, .. } | Write::DeleteCell { key, .. } | Write::CheckCell { key, .. } => {
                self.cells.insert(key);
            }
            Write::CheckFence { fence } => drop(self.leases.insert(fence.key())),
            Write::Append { log, fence, .. } | Write::Seal { log, fence } => {
                self.leases.extend(fence.as_ref().map(Fence::key));
                self.logs.insert(log);
            }
            Write::DeleteLog { log } => drop(self.logs.insert(log)),
            Write::Enqueue { queue, message } => {
                self.new_message(queue, message.dedup.as_deref(), message.order_key.as_deref());
            }
            Write::Restore { queue, item } => {
                self.new_message(queue, item.message.dedup.as_deref(), item.message.order_key.as_deref());
            }
            Write::Ack { receipt }
            | Write::RetryAt { receipt, .. }
            | Write::Heartbeat { receipt, .. }
            | Write::Bury { receipt, .. } => self.message(receipt.queue(), receipt.message()),
            Write::Edit { queue, message, .. }
            | Write::Replay { queue, message, .. }
            | Write::Discard { queue, message, .. } => self.message(queue, *message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BuryKind, BuryReason, Expect, Message, Receipt};

    #[test]
    fn everything_that_a_batch_rests_on_is_named_once() {
        let key = |text| CellKey::new(text).unwrap();
        let (log, queue, other) =
            (LogId::new("k", "i").unwrap(), QueueName::new("q").unwrap(), QueueName::new("r").unwrap());
        let receipt = |id| Receipt::new(queue.clone(), MessageId::from_u64(id), 1);
        let fence = Fence::new(key("lease"), 3);
        let one = WriteBatch::new()
            .put(key("a"), Expect::Any, "")
            .check(key("b"), Expect::Absent)
            .append(log.clone(), Some(&fence), "")
            .enqueue(queue.clone(), Message::new("").dedup("d").order_key("o"))
            .ack(&receipt(7))
            .bury(&receipt(7), BuryReason::new(BuryKind::Poison, ""));
        let two = WriteBatch::new()
            .delete(key("a"), Expect::Any)
            .fenced(&Fence::new(key("other"), 1))
            .with(Write::Edit { queue: other.clone(), message: MessageId::from_u64(8), body: "".into() });
        let named = Named::of([&one, &two]);
        assert_eq!(named.cells.iter().map(|key| key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(named.leases.iter().map(|key| key.as_str()).collect::<Vec<_>>(), ["lease", "other"]);
        assert_eq!(named.logs.iter().copied().collect::<Vec<_>>(), [&log]);
        assert_eq!(named.new_messages(), 1);
        let found = &named.queues[&queue];
        assert_eq!(found.messages, [MessageId::from_u64(7)].into());
        assert_eq!((found.may_unblock, found.dedup.len(), found.order_keys.len()), (2, 1, 1));
        assert_eq!(named.queues[&other].messages, [MessageId::from_u64(8)].into());
    }
}
