//! Another database behind martlet's contract of durable state: cells, logs, queues and leases in [redb], an embedded
//! key-value store of one file.
//!
//! It shows how little a backend has to do. None of the rules is written here: `commit` loads what a batch names,
//! [`martlet_store::engine`] decides, and what changed is written in the same transaction. The rest is reads. `tests/conformance.rs`
//! runs the whole suite of `martlet-store` on it, and kills it. Simple goes before fast: each commit has a sync of the disk of its own, a
//! receive sorts all messages whose time has come, and a depth looks at the whole queue. One process at a time can open the file.
//!
//! `cargo test -p martlet-example-another-store`

mod commit;
mod tables;

use async_trait::async_trait;
use bytes::Bytes;
use martlet_base::{Clock, Timestamp};
use martlet_store::engine::{Lease, Waiters};
use martlet_store::{
    Capabilities, Cell, CellKey, Committed, Depth, Fence, LogId, LogInfo, MessageId, MessageState, QueueItem,
    QueueName, Received, Record, Store, StoreError, StoreErrorKind, WriteBatch, check_owner,
};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};
use std::cmp::Reverse;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tables::{CELLS, DUE, Db, LEASES, LOGS, MESSAGES, Messages, RECORDS, TOTALS};
use tables::{cell, log, message, time, told};

/// `ready` looks again after this time at the latest, in case the wall clock was set.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A store in a database of redb. Clones share it.
#[derive(Clone, Debug)]
pub struct RedbStore {
    db: Arc<Database>,
    clock: Clock,
    waiters: Arc<Waiters>,
}

impl RedbStore {
    /// The state in `db`, whose cells expire by `clock`.
    ///
    /// # Errors
    /// What redb says.
    pub async fn new(db: Database, clock: Clock) -> Result<Self, StoreError> {
        let store = Self { db: Arc::new(db), clock, waiters: Arc::default() };
        store.write(|txn, _| tables::create(txn)).await?;
        Ok(store)
    }

    /// redb waits for the disk, so it works on a thread of its own. There it comes to an end also when nobody waits any more.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (store, hold) = (self.clone(), self.clock.hold());
        let done = tokio::task::spawn_blocking(move || {
            let _hold = hold;
            work(&store)
        });
        let ended = |_| Err(StoreError::new(StoreErrorKind::Unavailable, "the runtime ended, or a bug here"));
        done.await.unwrap_or_else(ended)
    }

    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&ReadTransaction, Timestamp) -> Db<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let read = |store: &Self| look(&store.db.begin_read()?, store.clock.wall());
        self.blocking(move |store| read(store).map_err(|failed| failed.0)).await
    }

    /// One transaction. It is rolled back when `work` fails or refuses.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteTransaction, Timestamp) -> Db<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let write = |store: &Self| -> Db<(T, WriteTransaction)> {
            let txn = store.db.begin_write()?;
            Ok((work(&txn, store.clock.wall())?, txn))
        };
        self.blocking(move |store| {
            let (done, txn) = write(store).map_err(|failed| failed.0)?;
            // Should this fail, nobody knows whether it was done.
            txn.commit().map_err(told)?;
            store.waiters.wake();
            Ok(done)
        })
        .await
    }
}

#[async_trait]
impl Store for RedbStore {
    async fn commit(&self, batch: WriteBatch) -> Result<Committed, StoreError> {
        batch.validate(&self.capabilities())?;
        self.write(move |txn, now| commit::commit(txn, &batch, now)).await
    }

    async fn get(&self, keys: &[CellKey]) -> Result<Vec<Option<Cell>>, StoreError> {
        let keys = keys.to_vec();
        self.read(move |txn, now| {
            let cells = txn.open_table(CELLS)?;
            let get = |key: &CellKey| Ok(cells.get(key.as_str())?.map(|row| cell(row.value())));
            let live = |found: Db<Option<Cell>>| Ok(found?.filter(|cell| cell.is_live(now)));
            keys.iter().map(get).map(live).collect()
        })
        .await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&CellKey>,
        limit: usize,
    ) -> Result<Vec<(CellKey, Cell)>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        self.read(move |txn, now| {
            let begin = match after.as_ref().map(CellKey::as_str) {
                Some(after) if after >= &prefix[..] => Bound::Excluded(after),
                _ => Bound::Included(&prefix[..]),
            };
            let mut found = Vec::new();
            for row in txn.open_table(CELLS)?.range::<&str>((begin, Bound::Unbounded))? {
                let (key, row) = row?;
                if found.len() >= limit || !key.value().starts_with(&prefix) {
                    break;
                }
                let key = CellKey::new(key.value()).map_err(StoreError::from)?;
                found.extend(Some((key, cell(row.value()))).filter(|(_, cell)| cell.is_live(now)));
            }
            Ok(found)
        })
        .await
    }

    async fn read_log(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let log = log.clone();
        self.read(move |txn, _| {
            let all = (log.kind(), log.id(), from)..=(log.kind(), log.id(), u64::MAX);
            let mut found = Vec::new();
            for row in txn.open_table(RECORDS)?.range(all)?.take(limit) {
                let (place, row) = row?;
                let (at, body) = row.value();
                found.push(Record::new(place.value().2, time(at), Bytes::copy_from_slice(body)));
            }
            Ok(found)
        })
        .await
    }

    async fn logs(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<LogInfo>, StoreError> {
        let after = after.cloned();
        self.read(move |txn, _| {
            let begin =
                after.as_ref().map_or(Bound::Unbounded, |log| Bound::Excluded((log.kind(), log.id())));
            let mut found = Vec::new();
            for row in txn.open_table(LOGS)?.range((begin, Bound::Unbounded))?.take(limit) {
                let (name, row) = row?;
                found.push(log(name.value(), row.value())?);
            }
            Ok(found)
        })
        .await
    }

    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        visibility: Duration,
    ) -> Result<Vec<Received>, StoreError> {
        let queue = queue.clone();
        self.write(move |txn, now| {
            let mut messages = Messages::open(txn)?;
            let all = (queue.as_str(), i64::MIN, 0)..=(queue.as_str(), now.as_micros(), u64::MAX);
            let mut due = Vec::new();
            for row in messages.due.range(all)? {
                let (place, priority) = row?;
                due.push((Reverse(priority.value()), MessageId::from_u64(place.value().2)));
            }
            due.sort_unstable();
            let mut received = Vec::new();
            for (_, id) in due.into_iter().take(max) {
                let was = messages.get(&queue, id)?;
                let mut item = was.clone();
                received.extend(item.as_mut().map(|item| item.deliver(&queue, id, now, visibility)));
                messages.set(&queue, id, was.as_ref(), item.as_ref())?;
            }
            Ok(received)
        })
        .await
    }

    async fn peek(
        &self,
        queue: &QueueName,
        state: Option<MessageState>,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<QueueItem>, StoreError> {
        let queue = queue.clone();
        self.read(move |txn, now| {
            let name = queue.as_str();
            let begin = after.map_or(Bound::Included((name, 0)), |id| Bound::Excluded((name, id.as_u64())));
            let mut found = Vec::new();
            for row in txn.open_table(MESSAGES)?.range((begin, Bound::Included((name, u64::MAX))))? {
                let (place, row) = row?;
                if found.len() >= limit {
                    break;
                }
                let item = message(row.value())?.show(MessageId::from_u64(place.value().1), now);
                found.extend(Some(item).filter(|item| state.is_none_or(|state| item.state == state)));
            }
            Ok(found)
        })
        .await
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth, StoreError> {
        let queue = queue.clone();
        self.read(move |txn, now| {
            let name = queue.as_str();
            let mut depth = Depth::default();
            let totals = txn.open_table(TOTALS)?.get(name)?.map(|row| row.value());
            (depth.enqueued, depth.acked) = totals.unwrap_or_default();
            for row in txn.open_table(MESSAGES)?.range((name, 0)..=(name, u64::MAX))? {
                message(row?.1.value())?.count_in(&mut depth, now);
            }
            Ok(depth)
        })
        .await
    }

    async fn ready(&self, queue: &QueueName) -> Result<(), StoreError> {
        let queue = queue.clone();
        let look = self.read(move |txn, now| {
            let due = txn.open_table(DUE)?;
            let mut all = due.range((queue.as_str(), i64::MIN, 0)..=(queue.as_str(), i64::MAX, u64::MAX))?;
            Ok(all.next().transpose()?.map(|(place, _)| time(place.value().1).since(now)))
        });
        self.waiters.ready(&self.clock, LOOK_AGAIN, look).await
    }

    async fn queues(&self, after: Option<&QueueName>, limit: usize) -> Result<Vec<QueueName>, StoreError> {
        let after = after.cloned();
        self.read(move |txn, _| {
            let begin = after.as_ref().map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_str()));
            let mut found = Vec::new();
            for row in txn.open_table(TOTALS)?.range::<&str>((begin, Bound::Unbounded))?.take(limit) {
                found.push(QueueName::new(row?.0.value()).map_err(StoreError::from)?);
            }
            Ok(found)
        })
        .await
    }

    async fn lease(&self, key: &CellKey, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        check_owner(owner)?;
        let (key, owner) = (key.clone(), owner.to_owned());
        self.write(move |txn, now| {
            let mut leases = txn.open_table(LEASES)?;
            let stored = leases.get(key.as_str())?.map(|row| {
                let (owner, token, until) = row.value();
                Lease::new(owner.to_owned(), token, time(until))
            });
            let Some(lease) = Lease::take(stored.as_ref(), &owner, ttl, now) else { return Ok(None) };
            leases.insert(key.as_str(), (&owner[..], lease.token, lease.until.as_micros()))?;
            Ok(Some(Fence::new(key, lease.token)))
        })
        .await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.wall())
    }

    fn capabilities(&self) -> Capabilities {
        let mut all = Capabilities::NONE;
        (all.cells, all.logs, all.queues, all.leases, all.durable) = (true, true, true, true, true);
        all
    }
}
