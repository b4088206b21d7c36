use crate::{QueueName, StoreError, StoreErrorKind};
use bytes::Bytes;
use martlet_base::Timestamp;
use std::fmt;
use std::time::Duration;

/// How long a queue remembers a dedup key unless [`Message::dedup_for`] says otherwise: 7 days.
pub const DEDUP_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// The longest dedup key, order key and detail in bytes.
pub const MAX_LABEL_BYTES: usize = 512;

/// How many past deliveries of a message are kept; the oldest are forgotten first.
pub const MAX_HISTORY: usize = 16;

/// What is put into a queue.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The payload, at most [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES).
    pub body: Bytes,
    /// A second message with the same key is not enqueued while the queue remembers the first. 1 to
    /// [`MAX_LABEL_BYTES`] bytes without control characters.
    pub dedup: Option<String>,
    /// How long the queue remembers the dedup key, from the enqueueing on, whatever becomes of the message: keys are kept
    /// apart from bodies. [`DEDUP_WINDOW`] unless said otherwise.
    pub dedup_window: Duration,
    /// Messages with the same key are received one after another, in the order in which they were enqueued: the next one
    /// only when the one before is acknowledged, buried or discarded. Other keys go on meanwhile. 1 to
    /// [`MAX_LABEL_BYTES`] bytes without control characters.
    pub order_key: Option<String>,
    /// Not received before this time by the store's clock.
    pub not_before: Option<Timestamp>,
    /// Higher is received first; 0 unless said otherwise.
    pub priority: i16,
}

impl Message {
    /// A message to be received at once, in order of arrival.
    #[must_use]
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            dedup: None,
            dedup_window: DEDUP_WINDOW,
            order_key: None,
            not_before: None,
            priority: 0,
        }
    }

    /// Enqueued only once as long as the queue remembers `key`.
    #[must_use]
    pub fn dedup(mut self, key: impl Into<String>) -> Self {
        self.dedup = Some(key.into());
        self
    }

    /// Enqueued only once within `window`.
    #[must_use]
    pub fn dedup_for(mut self, key: impl Into<String>, window: Duration) -> Self {
        self.dedup = Some(key.into());
        self.dedup_window = window;
        self
    }

    /// Kept in order with all messages of the same `key`.
    #[must_use]
    pub fn order_key(mut self, key: impl Into<String>) -> Self {
        self.order_key = Some(key.into());
        self
    }

    /// Not received before `at`.
    #[must_use]
    pub const fn not_before(mut self, at: Timestamp) -> Self {
        self.not_before = Some(at);
        self
    }

    /// Received before messages of lower priority.
    #[must_use]
    pub const fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }
}

impl fmt::Debug for Message {
    /// Without the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("bytes", &self.body.len())
            .field("dedup", &self.dedup)
            .field("order_key", &self.order_key)
            .field("not_before", &self.not_before)
            .field("priority", &self.priority)
            .finish()
    }
}

/// A message's number within its store. A later message of a queue has a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u64);

impl MessageId {
    /// The id with this number.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The right to settle one delivery of a message: to acknowledge it, put it back or bury it. A receipt whose visibility
/// ran out and whose message went to somebody else is stale, and a batch that holds it is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    queue: QueueName,
    message: MessageId,
    delivery: u64,
}

impl Receipt {
    /// A receipt as a backend hands it out: `delivery` differs each time the message is received.
    #[must_use]
    pub const fn new(queue: QueueName, message: MessageId, delivery: u64) -> Self {
        Self { queue, message, delivery }
    }

    /// The queue it was received from.
    #[must_use]
    pub const fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// The message.
    #[must_use]
    pub const fn message(&self) -> MessageId {
        self.message
    }

    /// Which delivery of the message.
    #[must_use]
    pub const fn delivery(&self) -> u64 {
        self.delivery
    }
}

/// Why a message was given up. Buried messages stay in the queue as its dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuryReason {
    /// The class of the reason.
    pub kind: BuryKind,
    /// One line for the person who looks at it. It holds no secret.
    pub detail: String,
}

impl BuryReason {
    /// A reason. Control characters in `detail` become blanks, and what is longer than [`MAX_LABEL_BYTES`] is cut.
    #[must_use]
    pub fn new(kind: BuryKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: one_line(detail.into()) }
    }
}

/// `text` on one line, cut at [`MAX_LABEL_BYTES`]: what is told about a failure often comes from elsewhere.
pub(crate) fn one_line(text: String) -> String {
    let mut text =
        if text.chars().any(char::is_control) { text.replace(char::is_control, " ") } else { text };
    text.truncate(text.floor_char_boundary(MAX_LABEL_BYTES));
    text
}

/// The class of a [`BuryReason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BuryKind {
    /// It cannot be understood: trying again gives the same failure.
    Poison,
    /// The platform or the handler refused it for good.
    Refused,
    /// Its attempts are spent.
    Exhausted,
    /// It came too late to be of use.
    Expired,
    /// A person decided so.
    Operator,
}

impl BuryKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Poison, Self::Refused, Self::Exhausted, Self::Expired, Self::Operator];

    /// The stable name used in logs, metrics and databases.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Poison => "poison",
            Self::Refused => "refused",
            Self::Exhausted => "exhausted",
            Self::Expired => "expired",
            Self::Operator => "operator",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// How one delivery of a message ended without settling it for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeliveryEnd {
    /// It was put back.
    Retried,
    /// Its visibility ran out: the receiver died, hung, or was too slow.
    Lapsed,
    /// It was given up.
    Buried,
}

impl DeliveryEnd {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Retried => "retried",
            Self::Lapsed => "lapsed",
            Self::Buried => "buried",
        }
    }
}

/// One past delivery of a message, as the queue remembers it for the person who looks at a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PastDelivery {
    /// When it was received, by the store's clock.
    pub received: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How.
    pub end: DeliveryEnd,
    /// What the receiver said about it; empty for one that lapsed.
    pub detail: String,
}

impl PastDelivery {
    /// A past delivery as a backend notes it.
    #[must_use]
    pub fn new(received: Timestamp, ended: Timestamp, end: DeliveryEnd, detail: impl Into<String>) -> Self {
        Self { received, ended, end, detail: detail.into() }
    }

    /// Adds it to a history and forgets what is older than the last [`MAX_HISTORY`].
    pub fn push_to(self, history: &mut Vec<Self>) {
        history.push(self);
        if history.len() > MAX_HISTORY {
            history.drain(..history.len() - MAX_HISTORY);
        }
    }

    /// A history as JSON text: how backends keep it.
    #[must_use]
    pub fn encode(history: &[Self]) -> String {
        let rows: Vec<_> = history
            .iter()
            .map(|one| (one.received.as_micros(), one.ended.as_micros(), one.end.as_str(), &one.detail))
            .collect();
        serde_json::to_string(&rows).expect("numbers and text are always JSON")
    }

    /// What [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`StoreErrorKind::Corrupt`] when it is something else.
    pub fn decode(text: &str) -> Result<Vec<Self>, StoreError> {
        let corrupt = || StoreError::new(StoreErrorKind::Corrupt, "the history of a message").not_applied();
        let rows: Vec<(i64, i64, String, String)> = serde_json::from_str(text).map_err(|_| corrupt())?;
        rows.into_iter()
            .map(|(received, ended, end, detail)| {
                let end = [DeliveryEnd::Retried, DeliveryEnd::Lapsed, DeliveryEnd::Buried]
                    .into_iter()
                    .find(|known| known.as_str() == end)
                    .ok_or_else(corrupt)?;
                Ok(Self {
                    received: Timestamp::from_micros(received),
                    ended: Timestamp::from_micros(ended),
                    end,
                    detail,
                })
            })
            .collect()
    }
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageState {
    /// It can be received now.
    Ready,
    /// Its time has not come.
    Delayed,
    /// Somebody received it and has not settled it, and its visibility has not run out.
    InFlight,
    /// It waits for an earlier message of its order key.
    Blocked,
    /// It was given up: a dead letter.
    Buried,
}

/// A message as it lies in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueItem {
    /// Its number.
    pub id: MessageId,
    /// What was enqueued.
    pub message: Message,
    /// Where it is.
    pub state: MessageState,
    /// When it was enqueued, by the store's clock.
    pub enqueued: Timestamp,
    /// From when on it can be received, as far as its own time goes: its `not_before`, the time of its retry, or the end of
    /// its visibility.
    pub visible_at: Timestamp,
    /// How often it was received since it was enqueued or [replayed](crate::Write::Replay).
    pub deliveries: u32,
    /// Its past deliveries that did not settle it, the last [`MAX_HISTORY`] of them.
    pub history: Vec<PastDelivery>,
    /// Why it was given up, when it was.
    pub buried: Option<BuryReason>,
}

impl QueueItem {
    /// A fresh item, never received.
    #[must_use]
    pub const fn new(id: MessageId, message: Message, state: MessageState, enqueued: Timestamp) -> Self {
        let visible_at = match message.not_before {
            Some(at) => at,
            None => enqueued,
        };
        Self { id, message, state, enqueued, visible_at, deliveries: 0, history: Vec::new(), buried: None }
    }
}

/// A message that was received, to be settled by its receipt before its visibility runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// The message.
    pub item: QueueItem,
    /// The right to settle it.
    pub receipt: Receipt,
    /// When it is offered to others again, by the store's clock.
    pub visible_again: Timestamp,
}

impl Received {
    /// A delivery as a backend hands it out.
    #[must_use]
    pub const fn new(item: QueueItem, receipt: Receipt, visible_again: Timestamp) -> Self {
        Self { item, receipt, visible_again }
    }
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Depth {
    /// Messages that can be received now.
    pub ready: u64,
    /// Messages whose time has not come.
    pub delayed: u64,
    /// Messages received and not settled.
    pub in_flight: u64,
    /// Messages that wait for an earlier one of their order key.
    pub blocked: u64,
    /// Dead letters.
    pub buried: u64,
    /// Messages enqueued since the queue exists, duplicates not counted. How much it grows between two looks is the
    /// throughput.
    pub enqueued: u64,
    /// Messages acknowledged since the queue exists.
    pub acked: u64,
    /// When the first message, by number, that is neither settled nor buried was enqueued.
    pub oldest: Option<Timestamp>,
}

impl Depth {
    /// All messages that lie in the queue.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.live() + self.buried
    }

    /// All messages that are not dead letters.
    #[must_use]
    pub const fn live(&self) -> u64 {
        self.ready + self.delayed + self.in_flight + self.blocked
    }
}

impl StoreError {
    /// The refusal of a receipt whose message was settled, or went to somebody else.
    #[must_use]
    pub fn stale_receipt(receipt: &Receipt) -> Self {
        let detail = format!(
            "message {} was settled, or received again after delivery {}",
            receipt.message(),
            receipt.delivery()
        );
        Self::new(StoreErrorKind::StaleFence, detail)
    }

    /// The refusal of a write that expected a message to be there, or in another state.
    #[must_use]
    pub fn message_state(id: MessageId, expected: &str, found: Option<MessageState>) -> Self {
        let found = match found {
            None => "not there".to_owned(),
            Some(state) => format!("{state:?}"),
        };
        let detail = format!("message {id} is {found}, expected {expected}");
        Self::new(StoreErrorKind::Conflict, detail)
    }
}
