//! One queue in memory: the model of what queues promise.

use super::state::Undo;
use crate::engine::{Item, Place};
use crate::{
    DeliveryEnd, Depth, Message, MessageId, MessageState, Outcome, QueueItem, QueueName, Receipt, Received,
    StoreError, Write,
};
use martlet_base::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

/// A dedup key belongs to this message until then.
pub(super) type Remembered = (MessageId, Timestamp);

/// Numbers for new messages: those that were given beforehand, then one after the other.
#[derive(Default)]
pub(super) struct Numbers {
    pub(super) given: VecDeque<u64>,
    last: u64,
}

impl Numbers {
    fn next(&mut self) -> u64 {
        self.last = self.given.pop_front().unwrap_or(self.last + 1);
        self.last
    }
}

#[derive(Default)]
pub(super) struct Queue {
    items: BTreeMap<MessageId, Item>,
    /// Those that can be received when their time has come, by that time, and those whose time had come at the last look, in
    /// the order in which they are received.
    timed: BTreeSet<(Timestamp, MessageId)>,
    due: BTreeSet<(Reverse<i16>, MessageId)>,
    looked: Timestamp,
    /// Messages that are not buried, by order key.
    keys: HashMap<String, BTreeSet<MessageId>>,
    remembered: HashMap<String, Remembered>,
    /// Keys remembered since forgotten ones were last swept out.
    unswept: usize,
    /// Ever enqueued, and ever acknowledged.
    pub(super) totals: (u64, u64),
}

impl Queue {
    /// The one place where a message changes: keeps the indexes. Returns what was there before.
    pub(super) fn set(&mut self, id: MessageId, item: Option<Item>) -> Option<Item> {
        let before = self.items.remove(&id);
        if let Some(before) = &before {
            if let Some(at) = before.due() {
                self.timed.remove(&(at, id));
                self.due.remove(&(Reverse(before.message.priority), id));
            }
            if let Some(key) = before.order_key()
                && let Some(ids) = self.keys.get_mut(key)
            {
                ids.remove(&id);
                if ids.is_empty() {
                    self.keys.remove(key);
                }
            }
        }
        if let Some(item) = item {
            self.timed.extend(item.due().map(|at| (at, id)));
            if let Some(key) = item.order_key() {
                self.keys.entry(key.to_owned()).or_default().insert(id);
            }
            self.items.insert(id, item);
        }
        before
    }

    pub(super) fn item(&self, id: MessageId) -> Option<&Item> {
        self.items.get(&id)
    }

    pub(super) fn remembered(&self, key: &str) -> Option<Remembered> {
        self.remembered.get(key).copied()
    }

    pub(super) fn remember(&mut self, key: String, what: Option<Remembered>) {
        match what {
            Some(what) => drop(self.remembered.insert(key, what)),
            None => drop(self.remembered.remove(&key)),
        }
    }

    fn change(&mut self, name: &QueueName, id: MessageId, item: Option<Item>, undo: &mut Vec<Undo>) {
        let before = self.set(id, item);
        undo.push(Undo::Item(name.clone(), id, before));
    }

    /// Whether a message of this order key is being offered or in flight.
    fn has_head(&self, order_key: &str) -> bool {
        let is_head = |id| self.items.get(id).is_some_and(|item| item.place != Place::Blocked);
        self.keys.get(order_key).is_some_and(|ids| ids.iter().any(is_head))
    }

    /// A place for a message that comes (again) to the queue.
    fn place(&self, message: &Message) -> Place {
        let behind = message.order_key.as_ref().is_some_and(|key| self.has_head(key));
        if behind { Place::Blocked } else { Place::Waiting }
    }

    /// Lets the next message of an order key go on, when the one before has left.
    fn promote(&mut self, name: &QueueName, gone: &Item, undo: &mut Vec<Undo>) {
        let Some(key) = &gone.message.order_key else { return };
        if self.has_head(key) {
            return;
        }
        if let Some(&id) = self.keys.get(key).and_then(BTreeSet::first) {
            let next = self.items.get(&id).map(|item| Item { place: Place::Waiting, ..item.clone() });
            self.change(name, id, next, undo);
        }
    }

    fn insert(
        &mut self,
        name: &QueueName,
        item: Item,
        last: &mut Numbers,
        now: Timestamp,
        undo: &mut Vec<Undo>,
    ) -> MessageId {
        let id = MessageId::from_u64(last.next());
        undo.push(Undo::Totals(name.clone(), self.totals));
        self.totals.0 += 1;
        if let Some(key) = &item.message.dedup {
            self.unswept += 1;
            if self.unswept > self.remembered.len().max(64) / 2 {
                self.unswept = 0;
                self.remembered.retain(|_, (_, until)| now < *until);
            }
            let until = item.enqueued + item.message.dedup_window;
            let was = self.remembered.insert(key.clone(), (id, until));
            undo.push(Undo::Remembered(name.clone(), key.clone(), was));
        }
        self.change(name, id, Some(item), undo);
        id
    }

    pub(super) fn enqueue(
        &mut self,
        name: &QueueName,
        message: &Message,
        last: &mut Numbers,
        now: Timestamp,
        undo: &mut Vec<Undo>,
    ) -> Outcome {
        if let Some(key) = &message.dedup
            && let Some(&(id, until)) = self.remembered.get(key)
            && now < until
        {
            return Outcome::Duplicate(id);
        }
        let mut item = Item::new(message.clone(), now);
        item.place = self.place(message);
        Outcome::Enqueued(self.insert(name, item, last, now, undo))
    }

    pub(super) fn restore(
        &mut self,
        name: &QueueName,
        from: &QueueItem,
        last: &mut Numbers,
        now: Timestamp,
        undo: &mut Vec<Undo>,
    ) -> Outcome {
        let mut item = Item::new(from.message.clone(), from.enqueued);
        item.place = if from.buried.is_some() { Place::Buried } else { self.place(&from.message) };
        item.visible_at = if from.state == MessageState::InFlight { now } else { from.visible_at };
        item.deliveries = from.deliveries;
        item.history.clone_from(&from.history);
        item.buried.clone_from(&from.buried);
        Outcome::Enqueued(self.insert(name, item, last, now, undo))
    }

    pub(super) fn receive(
        &mut self,
        name: &QueueName,
        max: usize,
        now: Timestamp,
        visibility: Duration,
    ) -> Vec<Received> {
        self.look(now);
        let ids: Vec<MessageId> = self.due.iter().take(max).map(|(_, id)| *id).collect();
        let mut received = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(mut item) = self.items.get(&id).cloned() else { continue };
            received.push(item.deliver(name, id, now, visibility));
            self.set(id, Some(item));
        }
        received
    }

    /// Notes whose time has come. A clock that went back makes some wait again.
    fn look(&mut self, now: Timestamp) {
        if now < self.looked {
            for (_, id) in std::mem::take(&mut self.due) {
                self.timed.extend(self.items.get(&id).map(|item| (item.visible_at, id)));
            }
        }
        self.looked = now;
        while let Some(&(at, id)) = self.timed.first().filter(|(at, _)| *at <= now) {
            self.timed.remove(&(at, id));
            if let Some(item) = self.items.get(&id) {
                self.due.insert((Reverse(item.message.priority), id));
            }
        }
    }

    pub(super) fn settle(
        &mut self,
        receipt: &Receipt,
        write: &Write,
        now: Timestamp,
        undo: &mut Vec<Undo>,
    ) -> Result<(), StoreError> {
        let (name, id) = (receipt.queue(), receipt.message());
        let held = self.items.get(&id).filter(|item| item.held && item.delivery == receipt.delivery());
        let before = held.cloned().ok_or_else(|| StoreError::stale_receipt(receipt))?;
        let mut item = before.clone();
        match write {
            Write::Heartbeat { visibility, .. } => {
                item.place = Place::InFlight;
                item.visible_at = now + *visibility;
                self.change(name, id, Some(item), undo);
            }
            Write::RetryAt { at, detail, .. } => {
                item.note(now, DeliveryEnd::Retried, detail);
                (item.place, item.held, item.visible_at) = (Place::Waiting, false, *at);
                self.change(name, id, Some(item), undo);
            }
            Write::Bury { reason, .. } => {
                item.note(now, DeliveryEnd::Buried, &reason.detail);
                (item.place, item.held, item.visible_at) = (Place::Buried, false, now);
                item.buried = Some(reason.clone());
                self.change(name, id, Some(item), undo);
                self.promote(name, &before, undo);
            }
            // Ack.
            _ => {
                undo.push(Undo::Totals(name.clone(), self.totals));
                self.totals.1 += 1;
                self.change(name, id, None, undo);
                self.promote(name, &before, undo);
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
        undo: &mut Vec<Undo>,
    ) -> Result<(), StoreError> {
        let before = self.items.get(&id).cloned();
        let state = before.as_ref().map(|item| item.state(now));
        let refuse = |expected| Err(StoreError::message_state(id, expected, state));
        let Some(mut item) = before else { return refuse("a message") };
        match write {
            Write::Replay { at, .. } => {
                if state != Some(MessageState::Buried) {
                    return refuse("a buried one");
                }
                item.place = self.place(&item.message);
                (item.visible_at, item.deliveries, item.buried) = (*at, 0, None);
                self.change(name, id, Some(item), undo);
            }
            _ if state == Some(MessageState::InFlight) => return refuse("one that is not in flight"),
            Write::Edit { body, .. } => {
                if item.held {
                    // Whoever had it let it lapse, and must not acknowledge what was changed meanwhile.
                    item.note(item.visible_at, DeliveryEnd::Lapsed, "");
                    (item.place, item.held) = (Place::Waiting, false);
                }
                item.message.body = body.clone();
                self.change(name, id, Some(item), undo);
                undo.push(Undo::Edited(id));
            }
            Write::Discard { only_buried: true, .. } if state != Some(MessageState::Buried) => {
                return refuse("a buried one");
            }
            // Discard.
            _ => {
                self.change(name, id, None, undo);
                self.promote(name, &item, undo);
            }
        }
        Ok(())
    }

    pub(super) fn peek(
        &self,
        state: Option<MessageState>,
        after: Option<MessageId>,
        limit: usize,
        now: Timestamp,
    ) -> Vec<QueueItem> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let items = self.items.range((start, Bound::Unbounded)).map(|(id, item)| item.show(*id, now));
        items.filter(|item| state.is_none_or(|state| item.state == state)).take(limit).collect()
    }

    pub(super) fn depth(&self, now: Timestamp) -> Depth {
        let mut depth = Depth { enqueued: self.totals.0, acked: self.totals.1, ..Depth::default() };
        self.items.values().for_each(|item| item.count_in(&mut depth, now));
        depth
    }

    /// When something can next be received.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let due = self.due.first().and_then(|(_, id)| self.items.get(id)).map(|item| item.visible_at);
        due.or_else(|| self.timed.first().map(|(at, _)| *at))
    }
}
