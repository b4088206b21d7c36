use crate::QueueName;
use bytes::Bytes;
use martlet_base::Timestamp;
use std::fmt;

/// What is put into a queue.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The payload, at most [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES).
    pub body: Bytes,
    /// A second message with the same key is not enqueued while the queue remembers the first.
    pub dedup: Option<String>,
    /// Messages with the same key are received one after another, in the order in which they were enqueued.
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
        Self { body: body.into(), dedup: None, order_key: None, not_before: None, priority: 0 }
    }

    /// Enqueued only once as long as the queue remembers `key`.
    #[must_use]
    pub fn dedup(mut self, key: impl Into<String>) -> Self {
        self.dedup = Some(key.into());
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
    /// A reason.
    #[must_use]
    pub fn new(kind: BuryKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
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

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageState {
    /// It can be received now.
    Ready,
    /// Its time has not come.
    Delayed,
    /// Somebody received it and has not settled it.
    InFlight,
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
    /// How often it was received.
    pub deliveries: u32,
    /// Why it was given up, when it was.
    pub buried: Option<BuryReason>,
}

impl QueueItem {
    /// A fresh item, never received.
    #[must_use]
    pub const fn new(id: MessageId, message: Message, state: MessageState, enqueued: Timestamp) -> Self {
        Self { id, message, state, enqueued, deliveries: 0, buried: None }
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
    /// Dead letters.
    pub buried: u64,
    /// When the oldest message that is neither settled nor buried was enqueued.
    pub oldest: Option<Timestamp>,
}
