use crate::{
    CellKey, Expect, LogId, MessageId, MessageState, QueueItem, QueueName, Store, StoreError, Write,
    WriteBatch,
};
use martlet_base::Timestamp;
use std::fmt;
use std::time::Duration;

const PAGE: usize = 256;

/// How long what is finished is kept. Nothing is removed unless a rule says so.
///
/// Expired cells and forgotten dedup keys go by themselves; these rules are for sealed logs and dead letters, which may
/// hold personal data. Call [`apply`](Self::apply) from time to time: once a day is enough.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), martlet_store::StoreError> {
/// use martlet_base::Clock;
/// use martlet_store::{MemoryStore, Retention};
/// use std::time::Duration;
///
/// const DAY: Duration = Duration::from_secs(24 * 3600);
/// let rules = Retention::new().sealed_logs("saga/checkout", DAY * 90).dead_letters(DAY * 30);
/// let removed = rules.apply(&MemoryStore::new(Clock::system())).await?;
/// assert_eq!((removed.logs, removed.messages), (0, 0));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "rules do nothing until they are applied"]
pub struct Retention {
    logs: Vec<(String, Duration)>,
    queues: Vec<(QueueName, Duration)>,
    other_queues: Option<Duration>,
}

/// What was removed by [`Retention::apply`] or [`Erasure::apply`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// Cells.
    pub cells: usize,
    /// Logs, each with all its records.
    pub logs: usize,
    /// Messages.
    pub messages: usize,
    /// Messages that matched and are in flight: somebody works on them. Apply it again when they are settled.
    pub in_flight: usize,
}

impl Retention {
    /// No rule: everything is kept.
    pub const fn new() -> Self {
        Self { logs: Vec::new(), queues: Vec::new(), other_queues: None }
    }

    /// Logs of this kind are removed so long after they were sealed.
    pub fn sealed_logs(mut self, kind: impl Into<String>, age: Duration) -> Self {
        self.logs.push((kind.into(), age));
        self
    }

    /// Dead letters are removed so long after they were buried, in all queues without a rule of their own.
    pub const fn dead_letters(mut self, age: Duration) -> Self {
        self.other_queues = Some(age);
        self
    }

    /// Dead letters of this queue are removed so long after they were buried.
    pub fn dead_letters_of(mut self, queue: QueueName, age: Duration) -> Self {
        self.queues.push((queue, age));
        self
    }

    /// Removes what the rules say, page by page.
    ///
    /// # Errors
    /// See [`Store::commit`]. Dropped or failed, it may have removed some.
    pub async fn apply(&self, store: &dyn Store) -> Result<Removed, StoreError> {
        let now = store.now().await?;
        let mut removed = Removed::default();
        if !self.logs.is_empty() {
            let old = |kind: &str, sealed: Timestamp| {
                self.logs.iter().any(|(of, age)| of == kind && sealed + *age <= now)
            };
            let matches = |log: &crate::LogInfo| log.sealed.is_some_and(|sealed| old(log.id.kind(), sealed));
            removed.logs = remove_logs(store, matches).await?;
        }
        if self.other_queues.is_some() || !self.queues.is_empty() {
            let mut after = None;
            while let Some(queue) = store.queues(after.as_ref(), 1).await?.pop() {
                let own = self.queues.iter().find(|(name, _)| *name == queue).map(|(_, age)| *age);
                if let Some(age) = own.or(self.other_queues) {
                    let matches = |item: &QueueItem| item.visible_at + age <= now;
                    let buried = Some(MessageState::Buried);
                    remove_messages(store, &queue, buried, matches, &mut removed).await?;
                }
                after = Some(queue);
            }
        }
        Ok(removed)
    }
}

/// Everything about one person or account that is to be forgotten, found by the keys under which it lies.
///
/// Cells, logs and messages are found by what the program put into their **keys**; bodies are looked at only by a filter of the
/// program's own. A dedup key outlives the message it came with, so that a late duplicate does not bring the data back, and is
/// forgotten after its window. Backups, and pages of a database file that are free but not overwritten, are beyond it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), martlet_store::StoreError> {
/// use martlet_base::Clock;
/// use martlet_store::{Erasure, MemoryStore};
///
/// let erasure = Erasure::new()
///     .cells("contact/7/")
///     .logs("contact-7")
///     .order_key("contact-7")
///     .messages(|_queue, item| item.message.body.windows(13).any(|text| text == b"a@example.com"));
/// let removed = erasure.apply(&MemoryStore::new(Clock::system())).await?;
/// assert_eq!(removed.in_flight, 0, "otherwise again, a little later");
/// # Ok(()) }
/// ```
#[derive(Default)]
#[must_use = "an erasure does nothing until it is applied"]
pub struct Erasure {
    cells: Vec<String>,
    logs: Vec<String>,
    order_keys: Vec<String>,
    messages: Vec<Box<Matches>>,
}

type Matches = dyn Fn(&QueueName, &QueueItem) -> bool + Send + Sync;

impl fmt::Debug for Erasure {
    /// Without keys: they may be personal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Erasure")
            .field("cells", &self.cells.len())
            .field("logs", &self.logs.len())
            .field("order_keys", &self.order_keys.len())
            .field("messages", &self.messages.len())
            .finish()
    }
}

impl Erasure {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cells whose keys start with `prefix`, which must not be empty.
    pub fn cells(mut self, prefix: impl Into<String>) -> Self {
        self.cells.push(prefix.into());
        self
    }

    /// Logs of any kind with this id, sealed or not.
    pub fn logs(mut self, id: impl Into<String>) -> Self {
        self.logs.push(id.into());
        self
    }

    /// Messages of any queue with this order key, dead letters included.
    pub fn order_key(mut self, key: impl Into<String>) -> Self {
        self.order_keys.push(key.into());
        self
    }

    /// Messages that `matches` likes, dead letters included.
    pub fn messages(
        mut self,
        matches: impl Fn(&QueueName, &QueueItem) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.messages.push(Box::new(matches));
        self
    }

    /// Removes all of it, page by page.
    ///
    /// # Errors
    /// [`Invalid`](crate::StoreErrorKind::Invalid) for an empty prefix of cells: that would be all of them. See also
    /// [`Store::commit`]. Dropped or failed, it may have removed some.
    pub async fn apply(&self, store: &dyn Store) -> Result<Removed, StoreError> {
        if self.cells.iter().any(String::is_empty) {
            let detail = "an empty prefix would erase every cell";
            return Err(StoreError::new(crate::StoreErrorKind::Invalid, detail));
        }
        let mut removed = Removed::default();
        for prefix in &self.cells {
            let mut after: Option<CellKey> = None;
            loop {
                let page = store.scan(prefix, after.as_ref(), PAGE).await?;
                let Some((last, _)) = page.last() else { break };
                after = Some(last.clone());
                removed.cells += page.len();
                let delete = |batch: WriteBatch, (key, _)| batch.delete(key, Expect::Any);
                store.commit(page.into_iter().fold(WriteBatch::new(), delete)).await?;
            }
        }
        if !self.logs.is_empty() {
            let matches = |log: &crate::LogInfo| self.logs.iter().any(|id| id == log.id.id());
            removed.logs = remove_logs(store, matches).await?;
        }
        if !self.order_keys.is_empty() || !self.messages.is_empty() {
            let mut after = None;
            while let Some(queue) = store.queues(after.as_ref(), 1).await?.pop() {
                let matches = |item: &QueueItem| {
                    item.message.order_key.as_ref().is_some_and(|key| self.order_keys.contains(key))
                        || self.messages.iter().any(|matches| matches(&queue, item))
                };
                remove_messages(store, &queue, None, matches, &mut removed).await?;
                after = Some(queue);
            }
        }
        Ok(removed)
    }
}

async fn remove_logs(
    store: &dyn Store,
    matches: impl Fn(&crate::LogInfo) -> bool + Send + Sync,
) -> Result<usize, StoreError> {
    let (mut removed, mut after): (usize, Option<LogId>) = (0, None);
    loop {
        let page = store.logs(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(removed) };
        after = Some(last.id.clone());
        for log in page.into_iter().filter(&matches) {
            // One by one: a log may be long.
            store.commit(WriteBatch::new().with(Write::DeleteLog { log: log.id })).await?;
            removed += 1;
        }
    }
}

async fn remove_messages(
    store: &dyn Store,
    queue: &QueueName,
    state: Option<MessageState>,
    matches: impl Fn(&QueueItem) -> bool + Send + Sync,
    removed: &mut Removed,
) -> Result<(), StoreError> {
    let mut after: Option<MessageId> = None;
    loop {
        let page = store.peek(queue, state, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id);
        for item in page.into_iter().filter(&matches) {
            if item.state == MessageState::InFlight {
                removed.in_flight += 1;
                continue;
            }
            // What was looked at as a dead letter may be replayed before it is removed.
            let only_buried = item.state == MessageState::Buried;
            let discard = Write::Discard { queue: queue.clone(), message: item.id, only_buried };
            match store.commit(WriteBatch::new().with(discard)).await {
                Ok(_) => removed.messages += 1,
                // Received or settled since the look at it.
                Err(error) if error.is_conflict() => removed.in_flight += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    // What goes and what stays is in the conformance suite, for every backend.
    use super::*;
    use crate::{MemoryStore, StoreErrorKind};
    use martlet_base::ManualClock;

    #[tokio::test]
    async fn no_rule_removes_nothing() {
        let store = MemoryStore::new(ManualClock::new().clock());
        assert_eq!(Retention::new().apply(&store).await.unwrap(), Removed::default());
    }

    #[tokio::test]
    async fn an_empty_prefix_does_not_erase_everything() {
        let store = MemoryStore::new(ManualClock::new().clock());
        let error = Erasure::new().cells("").apply(&store).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
    }
}
