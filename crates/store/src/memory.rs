use crate::{
    Capabilities, Cell, CellKey, Committed, Fence, Store, StoreError, StoreErrorKind, Version, Write,
    WriteBatch, check_owner,
};
use async_trait::async_trait;
use martlet_base::{Clock, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A store in this process's memory: for tests, and for state that may be lost. It ends with the last clone.
///
/// It is also the model that other backends are compared with. Clones share one state. No call waits.
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
}

#[derive(Default)]
struct State {
    /// The version of the latest commit.
    version: u64,
    cells: BTreeMap<CellKey, Cell>,
    leases: HashMap<CellKey, Lease>,
    /// Expiring cells written since expired ones were last swept out.
    unswept: usize,
}

struct Lease {
    owner: String,
    token: u64,
    until: Timestamp,
}

impl MemoryStore {
    /// An empty store whose cells expire by `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default() }
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
            .finish_non_exhaustive()
    }
}

/// What a batch changes, kept apart until all of it is known to be good.
type Changes = BTreeMap<CellKey, Option<Cell>>;

impl State {
    fn found(&self, changes: &Changes, key: &CellKey, now: Timestamp) -> Option<Version> {
        let cell = match changes.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.cells.get(key),
        };
        cell.filter(|cell| cell.is_live(now)).map(|cell| cell.version)
    }

    fn prepare(&self, batch: WriteBatch, version: Version, now: Timestamp) -> Result<Changes, StoreError> {
        let mut changes = Changes::new();
        for (index, write) in batch.into_writes().into_iter().enumerate() {
            match &write {
                Write::PutCell { key, expect, .. }
                | Write::DeleteCell { key, expect }
                | Write::CheckCell { key, expect } => {
                    let found = self.found(&changes, key, now);
                    if !expect.accepts(found) {
                        return Err(StoreError::conflict(*expect, found).at_write(index, &write));
                    }
                }
                Write::CheckFence { fence } => {
                    let latest = self.leases.get(fence.key()).map(|lease| lease.token);
                    if latest != Some(fence.token()) {
                        return Err(StoreError::stale_fence(fence, latest).at_write(index, &write));
                    }
                }
                _ => {
                    return Err(StoreError::new(
                        StoreErrorKind::Unsupported,
                        "kept neither as cell nor as lease",
                    )
                    .at_write(index, &write));
                }
            }
            match write {
                Write::PutCell { key, value, expires, .. } => {
                    changes.insert(key, Some(Cell::new(value, version, expires)));
                }
                Write::DeleteCell { key, .. } => {
                    changes.insert(key, None);
                }
                _ => {}
            }
        }
        Ok(changes)
    }

    fn apply(&mut self, changes: Changes, now: Timestamp) {
        for (key, cell) in changes {
            match cell {
                Some(cell) => {
                    self.unswept += usize::from(cell.expires.is_some());
                    self.cells.insert(key, cell);
                }
                None => {
                    self.cells.remove(&key);
                }
            }
        }
        // As many writes as there are cells pay for one look at all of them.
        if self.unswept > self.cells.len().max(64) / 2 {
            self.unswept = 0;
            self.cells.retain(|_, cell| cell.is_live(now));
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, batch: WriteBatch) -> Result<Committed, StoreError> {
        batch.validate(&self.capabilities())?;
        let now = self.clock.wall();
        let mut state = self.lock();
        let version = Version::from_u64(state.version + 1);
        let changes = state.prepare(batch, version, now)?;
        state.version = version.as_u64();
        state.apply(changes, now);
        Ok(Committed::new(version))
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

    async fn lease(&self, key: &CellKey, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        check_owner(owner)?;
        let now = self.clock.wall();
        let mut state = self.lock();
        let held = state.leases.get(key).map(|lease| (lease.owner == owner, lease.token, now < lease.until));
        let token = match held {
            Some((false, _, true)) => return Ok(None),
            Some((true, token, true)) => token,
            _ if ttl.is_zero() => return Ok(None),
            Some((_, token, false)) => token + 1,
            None => 1,
        };
        state.leases.insert(key.clone(), Lease { owner: owner.to_owned(), token, until: now + ttl });
        Ok(Some(Fence::new(key.clone(), token)))
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.wall())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { cells: true, leases: true, ..Capabilities::NONE }
    }
}
