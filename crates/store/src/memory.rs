pub(crate) mod engine;
mod queue;
mod state;

use crate::engine::Waiters;
use crate::{
    Capabilities, Cell, CellKey, Committed, Depth, Fence, LogId, LogInfo, MessageId, MessageState, QueueItem,
    QueueName, Received, Record, Store, StoreError, WriteBatch, check_owner,
};
use async_trait::async_trait;
use martlet_base::{Clock, Timestamp};
use state::State;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// `ready` looks again after this time at the latest, in case the wall clock was set.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A store in this process's memory: for tests, and for state that may be lost. It ends with the last clone.
///
/// It is also the model that other backends are compared with. Clones share one state. No call waits, [`ready`](Store::ready)
/// apart.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), martlet_store::StoreError> {
/// use martlet_base::Clock;
/// use martlet_store::{CellKey, Expect, MemoryStore, Store, WriteBatch};
///
/// let store = MemoryStore::new(Clock::system());
/// let key = CellKey::new("greeting")?;
/// let first = store.commit(WriteBatch::new().put(key.clone(), Expect::Absent, "hello")).await?;
/// store.commit(WriteBatch::new().put(key.clone(), first.version(), "good morning")).await?;
///
/// let lost = store.commit(WriteBatch::new().put(key, first.version(), "good night")).await;
/// assert!(lost.unwrap_err().is_conflict());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    clock: Clock,
    state: Arc<Mutex<State>>,
    waiters: Arc<Waiters>,
}

impl MemoryStore {
    /// An empty store whose cells expire by `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default(), waiters: Arc::default() }
    }

    /// When something can next be received; `None`: no message has a time.
    fn next(&self, queue: &QueueName) -> Option<Timestamp> {
        self.lock().queues.get(queue).and_then(queue::Queue::next)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("MemoryStore")
            .field("version", &state.version)
            .field("cells", &state.cells.len())
            .field("leases", &state.leases.len())
            .field("logs", &state.logs.len())
            .field("queues", &state.queues.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, batch: WriteBatch) -> Result<Committed, StoreError> {
        batch.validate(&self.capabilities())?;
        let committed = self.lock().commit(batch, self.clock.wall())?;
        self.waiters.wake();
        Ok(committed)
    }

    async fn get(&self, keys: &[CellKey]) -> Result<Vec<Option<Cell>>, StoreError> {
        let now = self.clock.wall();
        let state = self.lock();
        Ok(keys.iter().map(|key| state.cells.get(key).filter(|cell| cell.is_live(now)).cloned()).collect())
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&CellKey>,
        limit: usize,
    ) -> Result<Vec<(CellKey, Cell)>, StoreError> {
        let now = self.clock.wall();
        let start = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        let state = self.lock();
        let page = state
            .cells
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(prefix))
            .filter(|(_, cell)| cell.is_live(now))
            .take(limit);
        Ok(page.map(|(key, cell)| (key.clone(), cell.clone())).collect())
    }

    async fn read_log(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let state = self.lock();
        let Some(log) = state.logs.get(log) else { return Ok(Vec::new()) };
        let skip = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
        Ok(log.records.iter().skip(skip).take(limit).cloned().collect())
    }

    async fn open_logs(
        &self,
        kind: &str,
        after: Option<&LogId>,
        limit: usize,
    ) -> Result<Vec<LogId>, StoreError> {
        let state = self.lock();
        let open = state.logs_after(after).filter(|(id, log)| id.kind() == kind && log.sealed.is_none());
        Ok(open.map(|(id, _)| id.clone()).take(limit).collect())
    }

    async fn logs(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<LogInfo>, StoreError> {
        let state = self.lock();
        Ok(state.logs_after(after).take(limit).map(|(id, log)| log.info(id)).collect())
    }

    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        visibility: Duration,
    ) -> Result<Vec<Received>, StoreError> {
        let now = self.clock.wall();
        let mut state = self.lock();
        Ok(state
            .queues
            .get_mut(queue)
            .map_or_else(Vec::new, |found| found.receive(queue, max, now, visibility)))
    }

    async fn peek(
        &self,
        queue: &QueueName,
        state: Option<MessageState>,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<QueueItem>, StoreError> {
        let now = self.clock.wall();
        let queues = self.lock();
        Ok(queues.queues.get(queue).map_or_else(Vec::new, |queue| queue.peek(state, after, limit, now)))
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth, StoreError> {
        let now = self.clock.wall();
        Ok(self.lock().queues.get(queue).map_or_else(Depth::default, |queue| queue.depth(now)))
    }

    async fn ready(&self, queue: &QueueName) -> Result<(), StoreError> {
        let look = async { Ok(self.next(queue).map(|at| at.since(self.clock.wall()))) };
        self.waiters.ready(&self.clock, LOOK_AGAIN, look).await
    }

    async fn queues(&self, after: Option<&QueueName>, limit: usize) -> Result<Vec<QueueName>, StoreError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.lock();
        let queues = state.queues.range::<QueueName, _>((start, Bound::Unbounded));
        let used = queues.filter(|(_, queue)| queue.totals.0 > 0);
        Ok(used.map(|(name, _)| name.clone()).take(limit).collect())
    }

    async fn lease(&self, key: &CellKey, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        check_owner(owner)?;
        let now = self.clock.wall();
        Ok(self.lock().lease(key, owner, now, ttl))
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.wall())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { cells: true, logs: true, queues: true, leases: true, ..Capabilities::NONE }
    }
}
