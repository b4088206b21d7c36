//! One queue in memory: the model of what queues promise.

use super::state::Undo;
use crate::{
    BuryReason, DeliveryEnd, Depth, Message, MessageId, MessageState, Outcome, PastDelivery, QueueItem,
    QueueName, Receipt, Received, StoreError, Write,
};
use martlet_base::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

/// A dedup key belongs to this message until then.
pub(super) type Remembered = (MessageId, Timestamp);

/// A message as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Item {
    /// What was enqueued.
    pub message: Message,
    /// Where it is, its time left aside.
    pub place: Place,
    /// When it can be received, if that is only a matter of time.
    pub visible_at: Timestamp,
    /// When it was enqueued.
    pub enqueued: Timestamp,
    /// Which delivery was the last.
    pub delivery: u64,
    /// Whether the receipt of the last delivery is still good.
    pub held: bool,
    /// When it was last received.
    pub received: Timestamp,
    /// How often it was received since it was enqueued or replayed.
    pub deliveries: u32,
    /// Past deliveries.
    pub history: Vec<PastDelivery>,
    /// Why it was given up.
    pub buried: Option<BuryReason>,
}

/// Where an [`Item`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To be received when its time has come.
    Waiting,
    /// Received; to be received again when its visibility runs out.
    InFlight,
    /// Behind another message of its order key.
    Blocked,
    /// A dead letter.
    Buried,
}

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

impl Item {
    /// A message that was just enqueued.
    #[must_use]
    pub fn new(message: Message, now: Timestamp) -> Self {
        Self {
            place: Place::Waiting,
            visible_at: message.not_before.unwrap_or(now),
            enqueued: now,
            delivery: 0,
            held: false,
            received: now,
            deliveries: 0,
            history: Vec::new(),
            buried: None,
            message,
        }
    }

    /// Where it is at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> MessageState {
        match self.place {
            Place::Buried => MessageState::Buried,
            Place::Blocked => MessageState::Blocked,
            _ if self.visible_at <= now => MessageState::Ready,
            Place::InFlight => MessageState::InFlight,
            Place::Waiting => MessageState::Delayed,
        }
    }

    fn note(&mut self, ended: Timestamp, end: DeliveryEnd, detail: &str) {
        PastDelivery::new(self.received, ended, end, detail).push_to(&mut self.history);
    }

    /// The message as it is shown at `now`.
    #[must_use]
    pub fn show(&self, id: MessageId, now: Timestamp) -> QueueItem {
        let mut item = QueueItem::new(id, self.message.clone(), self.state(now), self.enqueued);
        item.visible_at = self.visible_at;
        item.deliveries = self.deliveries;
        item.history.clone_from(&self.history);
        item.buried.clone_from(&self.buried);
        item
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
    blocked: u64,
    buried: u64,
    /// Ever enqueued, and ever acknowledged.
    pub(super) totals: (u64, u64),
}

impl Queue {
    /// The one place where a message changes: keeps the indexes. Returns what was there before.
    pub(super) fn set(&mut self, id: MessageId, item: Option<Item>) -> Option<Item> {
        if let Some(item) = &item {
            match item.place {
                Place::Waiting | Place::InFlight => drop(self.timed.insert((item.visible_at, id))),
                Place::Blocked => self.blocked += 1,
                Place::Buried => self.buried += 1,
            }
        }
        let key = item.as_ref().filter(|item| item.place != Place::Buried);
        let key = key.and_then(|item| item.message.order_key.clone());
        let before = match item.clone() {
            Some(item) => self.items.insert(id, item),
            None => self.items.remove(&id),
        };
        if let Some(before) = &before {
            match before.place {
                Place::Waiting | Place::InFlight => {
                    let unchanged = item.as_ref().is_some_and(|item| {
                        matches!(item.place, Place::Waiting | Place::InFlight)
                            && item.visible_at == before.visible_at
                    });
                    if !unchanged {
                        self.timed.remove(&(before.visible_at, id));
                    }
                    self.due.remove(&(Reverse(before.message.priority), id));
                }
                Place::Blocked => self.blocked -= 1,
                Place::Buried => self.buried -= 1,
            }
            if let Some(key) = &before.message.order_key
                && let Some(ids) = self.keys.get_mut(key)
            {
                ids.remove(&id);
                if ids.is_empty() {
                    self.keys.remove(key);
                }
            }
        }
        if let Some(key) = key {
            self.keys.entry(key).or_default().insert(id);
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
            if item.held {
                item.note(item.visible_at, DeliveryEnd::Lapsed, "");
            }
            item.place = Place::InFlight;
            item.held = true;
            item.received = now;
            item.visible_at = now + visibility;
            item.delivery += 1;
            item.deliveries = item.deliveries.saturating_add(1);
            let mut shown = item.show(id, now);
            shown.state = MessageState::InFlight;
            let receipt = Receipt::new(name.clone(), id, item.delivery);
            received.push(Received::new(shown, receipt, item.visible_at));
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
        let mut depth = Depth {
            blocked: self.blocked,
            buried: self.buried,
            enqueued: self.totals.0,
            acked: self.totals.1,
            ..Depth::default()
        };
        for item in self.items.values() {
            match item.state(now) {
                MessageState::Ready => depth.ready += 1,
                MessageState::Delayed => depth.delayed += 1,
                MessageState::InFlight => depth.in_flight += 1,
                MessageState::Blocked => {}
                MessageState::Buried => continue,
            }
            depth.oldest = depth.oldest.or(Some(item.enqueued));
        }
        depth
    }

    /// When something can next be received.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let due = self.due.first().and_then(|(_, id)| self.items.get(id)).map(|item| item.visible_at);
        due.or_else(|| self.timed.first().map(|(at, _)| *at))
    }
}
