use crate::{
    BuryReason, Depth, Message, MessageId, MessageState, Outcome, QueueItem, QueueName, Receipt, Received,
    Store, StoreError, Write, WriteBatch,
};
use bytes::Bytes;
use martlet_base::Timestamp;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// How many dead letters one commit of a replay or a discard moves.
const PAGE: usize = 256;

/// One queue. A thin view: cheap to make and to clone.
///
/// **Cancel safety**: what writes may still be applied when its future is dropped, each message as a whole; what looks changes nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), martlet_store::StoreError> {
/// use martlet_base::Clock;
/// use martlet_store::{BuryKind, BuryReason, MemoryStore, Message, Queue, QueueName, ReplayOptions};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let inbox = Queue::new(Arc::new(MemoryStore::new(Clock::system())), QueueName::new("inbox")?);
/// inbox.enqueue(Message::new("{}").dedup("event-1").order_key("contact-7")).await?;
///
/// // Waits for a message, takes at most 10, and has a minute for them.
/// for received in inbox.next(10, Duration::from_secs(60)).await? {
///     inbox.bury(&received.receipt, BuryReason::new(BuryKind::Poison, "no contact in it")).await?;
/// }
/// // The bug is mended: the dead letters come back, five a second.
/// let replayed = inbox.replay(ReplayOptions::default().per_second(5), |item| item.deliveries == 1).await?;
/// assert_eq!(replayed.moved, 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Queue {
    store: Arc<dyn Store>,
    name: QueueName,
}

/// How [`Queue::replay`] goes about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayOptions {
    /// How many become ready each second; `None`: all at once.
    pub per_second: Option<NonZeroU32>,
    /// How many at most; `None`: all that match.
    pub limit: Option<usize>,
    /// Only look which ones match.
    pub dry_run: bool,
}

impl ReplayOptions {
    /// So many become ready each second, so that what failed before is not overrun again. 0 is taken as 1.
    #[must_use]
    pub const fn per_second(mut self, messages: u32) -> Self {
        self.per_second = match NonZeroU32::new(messages) {
            Some(messages) => Some(messages),
            None => Some(NonZeroU32::MIN),
        };
        self
    }

    /// At most so many.
    #[must_use]
    pub const fn limit(mut self, messages: usize) -> Self {
        self.limit = Some(messages);
        self
    }

    /// Only look which ones match.
    #[must_use]
    pub const fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }
}

/// What [`Queue::replay`] or [`Queue::discard`] did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moved {
    /// Dead letters that were looked at.
    pub seen: usize,
    /// Dead letters that matched and were moved; in a dry run, would be.
    pub moved: usize,
    /// Dead letters that matched and that somebody else moved meanwhile.
    pub gone: usize,
    /// When the last of a replay becomes ready.
    pub until: Option<Timestamp>,
}

impl Queue {
    /// The queue `name` of `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, name: QueueName) -> Self {
        Self { store, name }
    }

    /// The store behind it: for batches that do more.
    #[must_use]
    pub const fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &QueueName {
        &self.name
    }

    async fn commit(&self, batch: WriteBatch) -> Result<Outcome, StoreError> {
        Ok(self.store.commit(batch).await?.outcome(0))
    }

    /// Enqueues a message: [`Outcome::Enqueued`], or [`Outcome::Duplicate`] when its dedup key is remembered.
    ///
    /// # Errors
    /// See [`Store::commit`]. Dropped, it may still enqueue.
    pub async fn enqueue(&self, message: Message) -> Result<Outcome, StoreError> {
        self.commit(WriteBatch::new().enqueue(self.name.clone(), message)).await
    }

    /// Takes at most `max` messages that are ready; empty when there are none.
    ///
    /// # Errors
    /// See [`Store::receive`].
    pub async fn receive(&self, max: usize, visibility: Duration) -> Result<Vec<Received>, StoreError> {
        self.store.receive(&self.name, max, visibility).await
    }

    /// Waits until there is a message, and takes at most `max` (at least 1). Dropped while it takes them, it may leave them hidden
    /// for `visibility`.
    ///
    /// # Errors
    /// See [`Store::receive`].
    pub async fn next(&self, max: usize, visibility: Duration) -> Result<Vec<Received>, StoreError> {
        loop {
            let received = self.receive(max.max(1), visibility).await?;
            if !received.is_empty() {
                return Ok(received);
            }
            self.store.ready(&self.name).await?;
        }
    }

    /// Settles a message as done.
    ///
    /// # Errors
    /// [`StaleFence`](crate::StoreErrorKind::StaleFence) when it was settled or went to somebody else. See also [`Store::commit`].
    pub async fn ack(&self, receipt: &Receipt) -> Result<(), StoreError> {
        self.commit(WriteBatch::new().ack(receipt)).await.map(drop)
    }

    /// Puts a message back until `at`, with one line for its history.
    ///
    /// # Errors
    /// As for [`ack`](Self::ack).
    pub async fn retry_at(
        &self,
        receipt: &Receipt,
        at: Timestamp,
        detail: impl Into<String>,
    ) -> Result<(), StoreError> {
        self.commit(WriteBatch::new().retry_because(receipt, at, detail)).await.map(drop)
    }

    /// Gives a message up.
    ///
    /// # Errors
    /// As for [`ack`](Self::ack).
    pub async fn bury(&self, receipt: &Receipt, reason: BuryReason) -> Result<(), StoreError> {
        self.commit(WriteBatch::new().bury(receipt, reason)).await.map(drop)
    }

    /// Keeps a message hidden for `visibility` from now.
    ///
    /// # Errors
    /// As for [`ack`](Self::ack).
    pub async fn heartbeat(&self, receipt: &Receipt, visibility: Duration) -> Result<(), StoreError> {
        self.commit(WriteBatch::new().heartbeat(receipt, visibility)).await.map(drop)
    }

    /// At most `limit` messages in `state`, beginning behind `after`.
    ///
    /// # Errors
    /// See [`Store::peek`].
    pub async fn peek(
        &self,
        state: Option<MessageState>,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<QueueItem>, StoreError> {
        self.store.peek(&self.name, state, after, limit).await
    }

    /// How full it is.
    ///
    /// # Errors
    /// See [`Store::depth`].
    pub async fn depth(&self) -> Result<Depth, StoreError> {
        self.store.depth(&self.name).await
    }

    /// Gives a message that is not in flight another body.
    ///
    /// # Errors
    /// [`Conflict`](crate::StoreErrorKind::Conflict) when it is in flight or not there. See also [`Store::commit`].
    pub async fn edit(&self, message: MessageId, body: impl Into<Bytes>) -> Result<(), StoreError> {
        let write = Write::Edit { queue: self.name.clone(), message, body: body.into() };
        self.commit(WriteBatch::new().with(write)).await.map(drop)
    }

    /// Makes live messages of the dead letters that `matches` likes, the oldest first. A rate spreads the times from which on
    /// they can be received; the call itself does not wait. Dropped, it may have moved some.
    ///
    /// # Errors
    /// See [`Store::commit`].
    pub async fn replay(
        &self,
        options: ReplayOptions,
        matches: impl FnMut(&QueueItem) -> bool + Send,
    ) -> Result<Moved, StoreError> {
        let now = self.store.now().await?;
        let gap = options.per_second.map_or(Duration::ZERO, |n| Duration::from_secs(1) / n.get());
        let queue = self.name.clone();
        let mut until = None;
        let write = |message, index: usize| {
            let at = now + gap * u32::try_from(index).unwrap_or(u32::MAX);
            until = Some(at);
            Write::Replay { queue: queue.clone(), message, at }
        };
        let mut moved = self.dead_letters(options, matches, write).await?;
        moved.until = until;
        Ok(moved)
    }

    /// Removes the dead letters that `matches` likes. Dropped, it may have removed some.
    ///
    /// # Errors
    /// See [`Store::commit`].
    pub async fn discard(&self, matches: impl FnMut(&QueueItem) -> bool + Send) -> Result<Moved, StoreError> {
        let queue = self.name.clone();
        let write = |message, _| Write::Discard { queue: queue.clone(), message, only_buried: true };
        self.dead_letters(ReplayOptions::default(), matches, write).await
    }

    async fn dead_letters(
        &self,
        options: ReplayOptions,
        mut matches: impl FnMut(&QueueItem) -> bool + Send,
        mut write: impl FnMut(MessageId, usize) -> Write + Send,
    ) -> Result<Moved, StoreError> {
        let limit = options.limit.unwrap_or(usize::MAX);
        let (mut moved, mut after, mut index) = (Moved::default(), None, 0);
        while index < limit {
            let page = self.peek(Some(MessageState::Buried), after, PAGE).await?;
            let is_last = page.len() < PAGE;
            let mut batch = WriteBatch::new();
            for item in page {
                if index == limit {
                    break;
                }
                moved.seen += 1;
                after = Some(item.id);
                if matches(&item) {
                    batch.push(write(item.id, index));
                    index += 1;
                }
            }
            if options.dry_run {
                moved.moved += batch.len();
            } else {
                self.commit_what_is_left(batch, &mut moved).await?;
            }
            if is_last {
                break;
            }
        }
        Ok(moved)
    }

    /// Commits without the writes whose message somebody else moved meanwhile.
    async fn commit_what_is_left(&self, mut batch: WriteBatch, moved: &mut Moved) -> Result<(), StoreError> {
        while !batch.is_empty() {
            match self.store.commit(batch.clone()).await {
                Ok(_) => {
                    moved.moved += batch.len();
                    return Ok(());
                }
                Err(error) if error.is_conflict() => {
                    let Some(lost) = error.write_index() else { return Err(error) };
                    let kept = batch.into_writes().into_iter().enumerate();
                    batch = kept.filter(|(index, _)| *index != lost).map(|(_, write)| write).collect();
                    moved.gone += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
