//! Another database behind martlet's contract of durable state: cells, logs, queues and leases in [redb], an embedded
//! key-value store of one file.
//!
//! It shows how little a backend has to do. Nothing of the rules of batches is written here: `commit` loads what a batch names,
//! [`martlet_store::engine`] decides, and what changed is written in the same transaction. The rest is reads. `tests/conformance.rs`
//! runs the whole suite of `martlet-store` on it. Simple goes before fast: each commit has a sync of the disk of its own, a receive
//! sorts all messages whose time has come, and a depth looks at the whole queue. One process at a time can open the file.
//!
//! `cargo test -p martlet-example-another-store`

mod commit;
mod tables;

use async_trait::async_trait;
use bytes::Bytes;
use martlet_base::{Clock, Timestamp};
use martlet_store::engine::Place;
use martlet_store::{
    Capabilities, Cell, CellKey, Committed, DeliveryEnd, Depth, Fence, LogId, LogInfo, MessageId,
    MessageState, PastDelivery, QueueItem, QueueName, Receipt, Received, Record, Store, StoreError,
    StoreErrorKind, WriteBatch, check_owner,
};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};
use std::fmt;
use std::ops::Bound;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tables::{CELLS, Db, LEASES, LOGS, MESSAGES, Messages, RECORDS, TOTALS, cell, corrupt, decode, time};
use tokio::sync::Notify;

/// `ready` looks again after this time at the latest, in case the wall clock was set.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A store in a database of redb. Clones share it.
#[derive(Clone)]
pub struct RedbStore(Arc<Inner>);

struct Inner {
    db: Database,
    clock: Clock,
    /// Told of each commit.
    touched: Notify,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").finish_non_exhaustive()
    }
}

/// From redb's words to ours.
fn told(error: impl Into<redb::Error>) -> StoreError {
    let error = error.into();
    let kind = match &error {
        redb::Error::Corrupted(_) => StoreErrorKind::Corrupt,
        redb::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => StoreErrorKind::Full,
        redb::Error::ValueTooLarge(_) => StoreErrorKind::TooLarge,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, format!("redb: {error}"))
}

impl RedbStore {
    /// The state in `db`, whose cells expire by `clock`.
    ///
    /// # Errors
    /// What redb says.
    pub async fn new(db: Database, clock: Clock) -> Result<Self, StoreError> {
        let store = Self(Arc::new(Inner { db, clock, touched: Notify::new() }));
        store.write(|txn, _| tables::create(txn).map(Ok)).await?;
        Ok(store)
    }

    /// redb waits for the disk, so it works on a thread of its own. There it comes to an end also when nobody waits any more.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (inner, hold) = (Arc::clone(&self.0), self.0.clock.hold());
        let done = tokio::task::spawn_blocking(move || {
            let _hold = hold;
            work(&inner)
        });
        let ended = |_| Err(StoreError::new(StoreErrorKind::Unavailable, "the runtime ended, or a bug here"));
        done.await.unwrap_or_else(ended)
    }

    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&ReadTransaction, Timestamp) -> Db<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let read = |inner: &Inner| look(&inner.db.begin_read()?, inner.clock.wall());
        self.blocking(move |inner| read(inner).map_err(|error| told(error).not_applied())).await
    }

    /// One transaction. It is rolled back when `work` fails or refuses.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteTransaction, Timestamp) -> Db<Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.blocking(move |inner| {
            let before = |error: redb::Error| told(error).not_applied();
            let txn = inner.db.begin_write().map_err(|error| before(error.into()))?;
            let done = work(&txn, inner.clock.wall()).map_err(before)??;
            txn.commit().map_err(told)?;
            inner.touched.notify_waiters();
            Ok(done)
        })
        .await
    }

    /// Logs behind `after`, of one kind or of all.
    async fn list(
        &self,
        kind: Option<&str>,
        after: Option<&LogId>,
        limit: usize,
        wanted: fn(&LogInfo) -> bool,
    ) -> Result<Vec<LogInfo>, StoreError> {
        let (kind, after) = (kind.map(str::to_owned), after.cloned());
        self.read(move |txn, _| {
            let logs = txn.open_table(LOGS)?;
            let first = (kind.as_deref().unwrap_or(""), "");
            let begin = match after.as_ref().map(|after| (after.kind(), after.id())) {
                Some(after) if after >= first => Bound::Excluded(after),
                _ => Bound::Included(first),
            };
            let mut found = Vec::new();
            for row in logs.range((begin, Bound::Unbounded))? {
                let (name, row) = row?;
                let ((of, id), (last, updated, sealed)) = (name.value(), row.value());
                if found.len() >= limit || kind.as_ref().is_some_and(|kind| kind != of) {
                    break;
                }
                let id = LogId::new(of, id).map_err(|_| corrupt("a log"))?;
                let info = LogInfo::new(id, last, time(updated), sealed.map(time));
                found.extend(Some(info).filter(wanted));
            }
            Ok(found)
        })
        .await
    }
}

#[async_trait]
impl Store for RedbStore {
    async fn commit(&self, batch: WriteBatch) -> Result<Committed, StoreError> {
        batch.validate(&self.capabilities())?;
        self.write(move |txn, now| commit::commit(txn, batch, now)).await
    }

    async fn get(&self, keys: &[CellKey]) -> Result<Vec<Option<Cell>>, StoreError> {
        let keys = keys.to_vec();
        self.read(move |txn, now| {
            let cells = txn.open_table(CELLS)?;
            let live = |row: redb::AccessGuard<'_, _>| Some(cell(&row)).filter(|cell| cell.is_live(now));
            keys.iter().map(|key| Ok(cells.get(key.as_str())?.and_then(live))).collect()
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
                if row.value().1.is_none_or(|at| now < time(at)) {
                    found.push((CellKey::new(key.value()).map_err(|_| corrupt("a key"))?, cell(&row)));
                }
            }
            Ok(found)
        })
        .await
    }

    async fn read_log(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let log = log.clone();
        self.read(move |txn, _| {
            let (kind, id) = (log.kind(), log.id());
            let records = txn.open_table(RECORDS)?;
            let mut found = Vec::new();
            for row in records.range((kind, id, from)..=(kind, id, u64::MAX))?.take(limit) {
                let (place, row) = row?;
                let (at, body) = row.value();
                found.push(Record::new(place.value().2, time(at), Bytes::copy_from_slice(body)));
            }
            Ok(found)
        })
        .await
    }

    async fn open_logs(
        &self,
        kind: &str,
        after: Option<&LogId>,
        limit: usize,
    ) -> Result<Vec<LogId>, StoreError> {
        let open = self.list(Some(kind), after, limit, |info| info.sealed.is_none()).await?;
        Ok(open.into_iter().map(|info| info.id).collect())
    }

    async fn logs(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<LogInfo>, StoreError> {
        self.list(None, after, limit, |_| true).await
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
            let mut received = Vec::new();
            for id in messages.due(queue.as_str(), now)?.into_iter().take(max) {
                let Some(mut item) = messages.get(queue.as_str(), id)? else {
                    return Err(corrupt("an index"));
                };
                if item.held {
                    PastDelivery::new(item.received, item.visible_at, DeliveryEnd::Lapsed, "")
                        .push_to(&mut item.history);
                }
                (item.place, item.held, item.received) = (Place::InFlight, true, now);
                item.visible_at = now + visibility;
                (item.delivery, item.deliveries) = (item.delivery + 1, item.deliveries.saturating_add(1));
                messages.set(queue.as_str(), id, Some(&item))?;
                let mut shown = item.show(id, now);
                shown.state = MessageState::InFlight;
                let receipt = Receipt::new(queue.clone(), id, item.delivery);
                received.push(Received::new(shown, receipt, item.visible_at));
            }
            Ok(Ok(received))
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
                let item = decode(row.value())?.show(MessageId::from_u64(place.value().1), now);
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
                let item = decode(row?.1.value())?;
                match item.state(now) {
                    MessageState::Ready => depth.ready += 1,
                    MessageState::Delayed => depth.delayed += 1,
                    MessageState::InFlight => depth.in_flight += 1,
                    MessageState::Buried => {
                        depth.buried += 1;
                        continue;
                    }
                    _ => depth.blocked += 1,
                }
                depth.oldest = depth.oldest.or(Some(item.enqueued));
            }
            Ok(depth)
        })
        .await
    }

    async fn ready(&self, queue: &QueueName) -> Result<(), StoreError> {
        // Listens before it looks: what comes in between is not missed.
        let mut touched = pin!(self.0.touched.notified());
        touched.as_mut().enable();
        let queue = queue.clone();
        let look =
            move |txn: &ReadTransaction, now| Ok(tables::next(txn, queue.as_str())?.map(|at| at.since(now)));
        let wait = self.read(look).await?.map_or(LOOK_AGAIN, |wait| wait.min(LOOK_AGAIN));
        if !wait.is_zero() {
            tokio::select! {
                () = touched => {}
                () = self.0.clock.sleep(wait) => {}
            }
        }
        Ok(())
    }

    async fn queues(&self, after: Option<&QueueName>, limit: usize) -> Result<Vec<QueueName>, StoreError> {
        let after = after.cloned();
        self.read(move |txn, _| {
            let begin = after.as_ref().map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_str()));
            let totals = txn.open_table(TOTALS)?;
            let name = |row: Result<(redb::AccessGuard<'_, &str>, _), redb::StorageError>| {
                QueueName::new(row?.0.value()).map_err(|_| corrupt("a queue"))
            };
            totals.range::<&str>((begin, Bound::Unbounded))?.take(limit).map(name).collect()
        })
        .await
    }

    async fn lease(&self, key: &CellKey, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        check_owner(owner)?;
        let (key, owner) = (key.clone(), owner.to_owned());
        self.write(move |txn, now| {
            let mut leases = txn.open_table(LEASES)?;
            let held = leases.get(key.as_str())?.map(|row| {
                let (by, token, until) = row.value();
                (by == owner, token, now < time(until))
            });
            let token = match held {
                Some((false, _, true)) => return Ok(Ok(None)),
                Some((true, token, true)) => token,
                _ if ttl.is_zero() => return Ok(Ok(None)),
                Some((_, token, false)) => token + 1,
                None => 1,
            };
            leases.insert(key.as_str(), (&owner[..], token, (now + ttl).as_micros()))?;
            Ok(Ok(Some(Fence::new(key, token))))
        })
        .await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.0.clock.wall())
    }

    fn capabilities(&self) -> Capabilities {
        let mut all = Capabilities::NONE;
        (all.cells, all.logs, all.queues, all.leases, all.durable) = (true, true, true, true, true);
        all
    }
}
