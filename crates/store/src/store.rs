use crate::{
    Cell, CellKey, Committed, Depth, Fence, LogId, LogInfo, MessageId, MessageState, QueueItem, QueueName,
    Received, Record, StoreError, StoreErrorKind, WriteBatch,
};
use async_trait::async_trait;
use martlet_base::Timestamp;
use std::fmt::Debug;
use std::time::Duration;

/// What a store can do. A backend starts from [`Capabilities::NONE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "a list of independent yes-or-no facts")]
pub struct Capabilities {
    /// It keeps cells.
    pub cells: bool,
    /// It keeps logs.
    pub logs: bool,
    /// It keeps queues.
    pub queues: bool,
    /// It gives leases and checks fences.
    pub leases: bool,
    /// What was committed survives the end of the process, and of the machine as far as the backend's own page says.
    pub durable: bool,
    /// Several processes may use it at once.
    pub shared: bool,
}

impl Capabilities {
    /// Nothing at all.
    pub const NONE: Self =
        Self { cells: false, logs: false, queues: false, leases: false, durable: false, shared: false };
}

/// How many logs one look asks for.
const LOGS_AT_ONCE: usize = 256;

fn unsupported<T>(detail: &'static str) -> Result<T, StoreError> {
    Err(StoreError::new(StoreErrorKind::Unsupported, detail))
}

/// Durable state: everything that must survive a crash. One implementation per database.
///
/// * Writes are data: one [`WriteBatch`] is applied as a whole or not at all, and its preconditions are checked inside
///   the same transaction. There are no reads inside a batch: read first, guard by [version](crate::Version), loop on
///   [conflict](StoreErrorKind::Conflict).
/// * When `commit` returns `Ok`, the batch is as safe as the backend promises. A write that fails is an error that
///   the caller sees.
/// * **Cancel safety**: a `commit` or `lease` whose future is dropped may still be applied, as a whole or not at all.
///   Reads change nothing and can be dropped at any time.
/// * Time is the store's: [`Store::now`]. Whoever computes an expiry starts from there.
///
/// A backend that has only some of the shapes leaves the other methods as they are: they answer
/// [`StoreErrorKind::Unsupported`]. `commit` must begin with [`WriteBatch::validate`], so that a batch with a write of
/// a shape that is missing is refused before anything is done.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Applies `batch` as a whole or not at all. An empty batch succeeds, and the version it returns is no cell's.
    ///
    /// # Errors
    /// [`StoreErrorKind::Conflict`] and [`StoreErrorKind::StaleFence`] name the first write whose precondition did not
    /// hold ([`StoreError::write_index`], [`StoreError::write_key`]). [`StoreErrorKind::TooLarge`] and
    /// [`StoreErrorKind::Unsupported`] refuse it beforehand. Any other kind is the store's own trouble;
    /// [`Fault::delivery`](martlet_base::Fault::delivery) says whether the batch may have been applied.
    async fn commit(&self, batch: WriteBatch) -> Result<Committed, StoreError>;

    /// The cells under `keys`, in the order of `keys`: `None` for one that is absent or expired. All are read at one
    /// point in time.
    ///
    /// # Errors
    /// The store's own trouble.
    async fn get(&self, keys: &[CellKey]) -> Result<Vec<Option<Cell>>, StoreError>;

    /// At most `limit` live cells whose key starts with `prefix` (`""`: all), in the order of their bytes, beginning
    /// behind `after`. To go on, hand in the last key of the page before; a page that is shorter than `limit` is the
    /// last. Each page is read at one point in time, two pages are not.
    ///
    /// # Errors
    /// The store's own trouble.
    async fn scan(
        &self,
        prefix: &str,
        after: Option<&CellKey>,
        limit: usize,
    ) -> Result<Vec<(CellKey, Cell)>, StoreError>;

    /// At most `limit` records of `log` from sequence number `from` on (the first is 1), in order. Empty for a log that
    /// does not exist.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`] in a store without logs.
    async fn read_log(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let _ = (log, from, limit);
        unsupported("this store keeps no logs")
    }

    /// At most `limit` logs of `kind` that are not sealed, in the order of their ids, beginning behind `after`.
    ///
    /// As it is here, it goes through [`logs`](Self::logs) of that kind: for backends without an index of open logs.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`] in a store without logs.
    async fn open_logs(
        &self,
        kind: &str,
        after: Option<&LogId>,
        limit: usize,
    ) -> Result<Vec<LogId>, StoreError> {
        let mut behind = LogId::before_all_of(kind);
        if let Some(after) = after {
            behind = behind.max(after.clone());
        }
        let mut open = Vec::new();
        loop {
            let page = self.logs(Some(&behind), LOGS_AT_ONCE).await?;
            let is_last = page.len() < LOGS_AT_ONCE;
            for log in page {
                if log.id.kind() != kind || open.len() >= limit {
                    return Ok(open);
                }
                behind = log.id.clone();
                open.extend(log.sealed.is_none().then_some(log.id));
            }
            if is_last {
                return Ok(open);
            }
        }
    }

    /// At most `limit` logs, sealed or not, in the order of kind and id, beginning behind `after`.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`] in a store without logs.
    async fn logs(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<LogInfo>, StoreError> {
        let _ = (after, limit);
        unsupported("this store keeps no logs")
    }

    /// Takes at most `max` messages that are ready and hides them from others for `visibility`: those of high priority
    /// first, then those with low numbers (of very many whose time came at once, a store may look at the first thousand only). Empty when there are none: it does not wait, see [`Store::ready`]. A message that is not
    /// settled in that time is offered again, so a message can be received more than once.
    ///
    /// **Cancel safety**: messages of a `receive` that is dropped may be hidden for `visibility`.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`] in a store without queues.
    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        visibility: Duration,
    ) -> Result<Vec<Received>, StoreError> {
        let _ = (queue, max, visibility);
        unsupported("this store keeps no queues")
    }

    /// At most `limit` messages in `state` (`None`: in any), by number, beginning behind `after`. Takes nothing.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`] in a store without queues.
    async fn peek(
        &self,
        queue: &QueueName,
        state: Option<MessageState>,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<QueueItem>, StoreError> {
        let _ = (queue, state, after, limit);
        unsupported("this store keeps no queues")
    }

    /// How full the queue is; all zero for one that does not exist. Cheap however many messages are ready, blocked or buried; some stores
    /// count those that are delayed or in flight.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`] in a store without queues.
    async fn depth(&self, queue: &QueueName) -> Result<Depth, StoreError> {
        let _ = queue;
        unsupported("this store keeps no queues")
    }

    /// Waits until the queue may have something to receive: returns at once if a message is ready, and otherwise when one was enqueued,
    /// put back, or its time has come. It may return without reason: receive, and wait again if there was nothing.
    /// Several who wait may all be woken by one message. Takes nothing; can be dropped at any time.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`] in a store without queues.
    async fn ready(&self, queue: &QueueName) -> Result<(), StoreError> {
        let _ = queue;
        unsupported("this store keeps no queues")
    }

    /// At most `limit` queues that ever held a message, in the order of their names, beginning behind `after`.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`] in a store without queues.
    async fn queues(&self, after: Option<&QueueName>, limit: usize) -> Result<Vec<QueueName>, StoreError> {
        let _ = (after, limit);
        unsupported("this store keeps no queues")
    }

    /// Takes or renews the lease `key` for `owner` (at most [`MAX_OWNER_BYTES`](crate::MAX_OWNER_BYTES)) until `ttl` from now.
    ///
    /// * free, expired or released: `owner` gets it, with a fence higher than all before;
    /// * held by the same `owner`: renewed to `ttl` from now, with the same fence;
    /// * held by another: `None`.
    ///
    /// A `ttl` of zero releases a lease that `owner` holds, and otherwise changes nothing and gives `None`.
    /// Owners must be unique among everything that could hold the lease: a process id alone is not, a random UUID is.
    /// A lease by itself does not stop a holder who was paused past its end: put the fence into the batches
    /// ([`WriteBatch::fenced`]). Until somebody else takes it, the fence of an expired lease is still the latest and accepted.
    /// Leases live apart from cells: a cell of the same key is another thing.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`] in a store without leases, [`StoreErrorKind::Invalid`] for an owner that is
    /// empty, too long, or holds a control character.
    async fn lease(&self, key: &CellKey, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        let _ = (key, owner, ttl);
        unsupported("this store gives no leases")
    }

    /// The time by which cells expire, leases end and messages become ready.
    ///
    /// # Errors
    /// The store's own trouble, where the time is the database server's.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// What this store can do.
    fn capabilities(&self) -> Capabilities;
}
