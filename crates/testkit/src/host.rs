//! What the loopback server and the transport in process have in common: asking the simulator, and its store.

use crate::{SimReply, SimRequest, SimTime, SimWrite, Simulator};
use martlet_base::Clock;
use martlet_store::{CellKey, Expect, Store, StoreError, StoreErrorKind, WriteBatch};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cells read at once while a simulator's state is restored.
const PAGE: usize = 1_000;

#[derive(Debug)]
pub(crate) struct Host {
    simulator: Arc<dyn Simulator>,
    pub(crate) clock: Clock,
    storage: Option<Storage>,
}

#[derive(Debug)]
struct Storage {
    store: Arc<dyn Store>,
    prefix: String,
    waiting: Mutex<Waiting>,
    /// Whoever holds it commits for everybody who came before.
    committing: tokio::sync::Mutex<()>,
}

/// Writes in the order in which the simulator made them. They leave the list once they are committed, not before: a
/// future that is dropped half way loses none, and a store that recovers gets them all.
#[derive(Debug, Default)]
struct Waiting {
    writes: VecDeque<SimWrite>,
    /// How many were committed before the ones in the list.
    committed: u64,
}

impl Host {
    pub(crate) fn new(simulator: Arc<dyn Simulator>, clock: Clock, store: Option<Arc<dyn Store>>) -> Self {
        let storage = store.map(|store| Storage {
            store,
            prefix: format!("sim/{}/", simulator.name()),
            waiting: Mutex::default(),
            committing: tokio::sync::Mutex::new(()),
        });
        Self { simulator, clock, storage }
    }

    /// Gives the simulator back what it stored in an earlier life.
    pub(crate) async fn restore(&self) -> Result<(), StoreError> {
        let Some(Storage { store, prefix, .. }) = &self.storage else { return Ok(()) };
        let mut after = None;
        loop {
            let hold = self.clock.hold();
            let page = store.scan(prefix, after.as_ref(), PAGE).await?;
            drop(hold);
            for (key, cell) in &page {
                let key = key.as_str().strip_prefix(prefix.as_str()).unwrap_or(key.as_str());
                self.simulator.restore(key, &cell.value);
            }
            if page.len() < PAGE {
                return Ok(());
            }
            after = page.into_iter().next_back().map(|(key, _)| key);
        }
    }

    /// Asks the simulator, commits what it wants to store, and waits for as long as the answer takes.
    pub(crate) async fn answer(&self, request: &SimRequest) -> SimReply {
        let now = SimTime { moment: self.clock.now(), wall: self.clock.wall() };
        let reply = match &self.storage {
            None => self.simulator.handle(request, now),
            Some(storage) => match self.answer_stored(storage, request, now).await {
                Ok(reply) => reply,
                Err(error) => SimReply::json(500, &serde_json::json!({ "error": error.to_string() })),
            },
        };
        if !reply.delay.is_zero() {
            self.clock.sleep_until(now.moment + reply.delay).await;
        }
        reply
    }

    async fn answer_stored(
        &self,
        storage: &Storage,
        request: &SimRequest,
        now: SimTime,
    ) -> Result<SimReply, StoreError> {
        let (reply, mine) = {
            // Handled under the lock, so that the order of the writes is the order of the requests.
            let mut waiting = storage.lock();
            let mut reply = self.simulator.handle(request, now);
            if reply.writes.is_empty() {
                return Ok(reply);
            }
            waiting.writes.extend(reply.writes.drain(..));
            (reply, waiting.committed + waiting.writes.len() as u64)
        };
        let _committing = storage.committing.lock().await;
        let _hold = self.clock.hold();
        let batch: Vec<SimWrite> = {
            let waiting = storage.lock();
            if waiting.committed >= mine {
                return Ok(reply);
            }
            waiting.writes.iter().cloned().collect()
        };
        let count = batch.len();
        storage.store.commit(storage.batch(batch)?).await?;
        let mut waiting = storage.lock();
        waiting.writes.drain(..count);
        waiting.committed += count as u64;
        Ok(reply)
    }
}

impl Storage {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn batch(&self, writes: Vec<SimWrite>) -> Result<WriteBatch, StoreError> {
        writes.into_iter().try_fold(WriteBatch::new(), |batch, SimWrite { key, value }| {
            let key = CellKey::new(&format!("{}{key}", self.prefix))
                .map_err(|e| StoreError::new(StoreErrorKind::Invalid, format!("a simulator's key: {e}")))?;
            Ok(match value {
                Some(value) => batch.put(key, Expect::Any, value),
                None => batch.delete(key, Expect::Any),
            })
        })
    }
}
