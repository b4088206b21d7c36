//! A message as a store keeps it.

use crate::{
    BuryKind, BuryReason, DeliveryEnd, Depth, Message, MessageId, MessageState, PastDelivery, QueueItem,
    QueueName, Receipt, Received, StoreError, StoreErrorKind,
};
use bytes::Bytes;
use martlet_base::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A message as a store keeps it.
///
/// It needs two indexes: by queue and [`due`](Self::due) for [`Store::receive`](crate::Store::receive) and
/// [`Store::ready`](crate::Store::ready), and by queue and [`order_key`](Self::order_key) for the [`Engine`](super::Engine).
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

/// An item without its body. Stores are full of these: fields may come, and none may change.
#[derive(Serialize, Deserialize)]
struct Row {
    /// Its index in [`PLACES`].
    place: u8,
    visible_at: i64,
    enqueued: i64,
    delivery: u64,
    held: bool,
    received: i64,
    deliveries: u32,
    priority: i16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dedup: Option<String>,
    dedup_window: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    buried: Option<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history: Option<String>,
}

const PLACES: [Place; 4] = [Place::Waiting, Place::InFlight, Place::Blocked, Place::Buried];

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

    /// From when on it can be received; `None`: not before something else happens.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        matches!(self.place, Place::Waiting | Place::InFlight).then_some(self.visible_at)
    }

    /// The order key whose messages it stands among; `None`: it has none, or is buried and holds nobody up.
    #[must_use]
    pub fn order_key(&self) -> Option<&str> {
        self.message.order_key.as_deref().filter(|_| self.place != Place::Buried)
    }

    pub(crate) fn note(&mut self, ended: Timestamp, end: DeliveryEnd, detail: &str) {
        PastDelivery::new(self.received, ended, end, detail).push_to(&mut self.history);
    }

    /// Hands it out at `now`: to be stored as it is afterwards. Ask for items that are [`due`](Self::due), those of high priority first,
    /// then those with low numbers.
    pub fn deliver(
        &mut self,
        queue: &QueueName,
        id: MessageId,
        now: Timestamp,
        visibility: Duration,
    ) -> Received {
        if self.held {
            self.note(self.visible_at, DeliveryEnd::Lapsed, "");
        }
        (self.place, self.held, self.received) = (Place::InFlight, true, now);
        self.visible_at = now + visibility;
        self.delivery += 1;
        self.deliveries = self.deliveries.saturating_add(1);
        let mut shown = self.show(id, now);
        // Also if the visibility is zero.
        shown.state = MessageState::InFlight;
        Received::new(shown, Receipt::new(queue.clone(), id, self.delivery), self.visible_at)
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

    /// Adds it to `depth` as it is at `now`. Go through a queue by number: the first one is the oldest.
    pub fn count_in(&self, depth: &mut Depth, now: Timestamp) {
        match self.state(now) {
            MessageState::Ready => depth.ready += 1,
            MessageState::Delayed => depth.delayed += 1,
            MessageState::InFlight => depth.in_flight += 1,
            MessageState::Blocked => depth.blocked += 1,
            MessageState::Buried => {
                depth.buried += 1;
                return;
            }
        }
        depth.oldest = depth.oldest.or(Some(self.enqueued));
    }

    /// All but the body, as JSON text, for databases that have no columns or none to spare. Later versions read what earlier ones
    /// wrote.
    ///
    /// ```
    /// # use martlet_base::Timestamp;
    /// # use martlet_store::{Message, engine::Item};
    /// let item = Item::new(Message::new("body").priority(3), Timestamp::from_micros(1_000_000));
    /// let head = item.encode_head();
    /// assert_eq!(Item::decode(head.as_bytes(), item.message.body.clone())?, item);
    /// # Ok::<(), martlet_store::StoreError>(())
    /// ```
    #[must_use]
    pub fn encode_head(&self) -> String {
        let place = PLACES.iter().position(|place| *place == self.place).unwrap_or(0);
        let row = Row {
            place: u8::try_from(place).unwrap_or(0),
            visible_at: self.visible_at.as_micros(),
            enqueued: self.enqueued.as_micros(),
            delivery: self.delivery,
            held: self.held,
            received: self.received.as_micros(),
            deliveries: self.deliveries,
            priority: self.message.priority,
            order_key: self.message.order_key.clone(),
            dedup: self.message.dedup.clone(),
            dedup_window: u64::try_from(self.message.dedup_window.as_micros()).unwrap_or(u64::MAX),
            not_before: self.message.not_before.map(Timestamp::as_micros),
            buried: self
                .buried
                .as_ref()
                .map(|reason| (reason.kind.as_str().to_owned(), reason.detail.clone())),
            history: (!self.history.is_empty()).then(|| PastDelivery::encode(&self.history)),
        };
        serde_json::to_string(&row).expect("numbers and text are always JSON")
    }

    /// From what [`encode_head`](Self::encode_head) wrote, and the body.
    ///
    /// # Errors
    /// [`StoreErrorKind::Corrupt`] when `head` is something else.
    pub fn decode(head: &[u8], body: Bytes) -> Result<Self, StoreError> {
        let wrong = || {
            StoreError::new(StoreErrorKind::Corrupt, "a message that martlet does not write").not_applied()
        };
        let row: Row = serde_json::from_slice(head).map_err(|_| wrong())?;
        let mut message = Message::new(body).priority(row.priority);
        message.order_key = row.order_key;
        message.dedup = row.dedup;
        message.dedup_window = Duration::from_micros(row.dedup_window);
        message.not_before = row.not_before.map(Timestamp::from_micros);
        let mut item = Self::new(message, Timestamp::from_micros(row.enqueued));
        item.place = PLACES.get(usize::from(row.place)).copied().ok_or_else(wrong)?;
        item.visible_at = Timestamp::from_micros(row.visible_at);
        item.received = Timestamp::from_micros(row.received);
        (item.delivery, item.held, item.deliveries) = (row.delivery, row.held, row.deliveries);
        item.history = row.history.as_deref().map_or(Ok(Vec::new()), PastDelivery::decode)?;
        if let Some((kind, detail)) = row.buried {
            item.buried = Some(BuryReason::new(BuryKind::from_name(&kind).ok_or_else(wrong)?, detail));
        }
        Ok(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn delivered() -> (Item, Received) {
        let message = Message::new("body").priority(-7).order_key("k \"é\"").dedup("d").not_before(at(5));
        let mut item = Item::new(message, at(1));
        item.deliver(&QueueName::new("q").unwrap(), MessageId::from_u64(9), at(10), Duration::ZERO);
        let again = item.deliver(
            &QueueName::new("q").unwrap(),
            MessageId::from_u64(9),
            at(20),
            Duration::from_micros(3),
        );
        (item, again)
    }

    #[test]
    fn a_second_delivery_notes_that_the_first_one_lapsed() {
        let (item, again) = delivered();
        assert_eq!((again.receipt.delivery(), again.visible_again, again.item.deliveries), (2, at(23), 2));
        let lapsed = PastDelivery::new(at(10), at(10), DeliveryEnd::Lapsed, "");
        assert_eq!((item.history, again.item.state), (vec![lapsed], MessageState::InFlight));
    }

    /// Stores hold this very text.
    #[test]
    fn what_earlier_versions_wrote_is_read() {
        let (mut item, _) = delivered();
        item.buried = Some(BuryReason::new(BuryKind::Poison, "no \"id\""));
        item.place = Place::Buried;
        let text = r#"{"place":3,"visible_at":23,"enqueued":1,"delivery":2,"held":true,"received":20,"deliveries":2,"priority":-7,"order_key":"k \"é\"","dedup":"d","dedup_window":604800000000,"not_before":5,"buried":["poison","no \"id\""],"history":"[[10,10,\"lapsed\",\"\"]]"}"#;
        assert_eq!(item.encode_head(), text);
        assert_eq!(Item::decode(text.as_bytes(), "body".into()).unwrap(), item);
    }

    #[test]
    fn what_nobody_wrote_is_corrupt() {
        let good = Item::new(Message::new(""), at(1)).encode_head();
        for bad in [String::new(), good.replace("\"place\":0", "\"place\":4"), good.replace("held", "holt")] {
            let error = Item::decode(bad.as_bytes(), Bytes::new()).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{bad}");
        }
    }

    #[test]
    fn a_dead_letter_is_never_due_and_holds_nobody_up() {
        let (mut item, _) = delivered();
        assert_eq!((item.due(), item.order_key()), (Some(at(23)), Some("k \"é\"")));
        item.place = Place::Blocked;
        assert_eq!((item.due(), item.order_key()), (None, Some("k \"é\"")));
        item.place = Place::Buried;
        assert_eq!((item.due(), item.order_key()), (None, None));
    }
}
