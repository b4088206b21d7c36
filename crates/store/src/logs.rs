use crate::{Fence, LogId, Outcome, Record, Store, StoreError, StoreErrorKind, WriteBatch};
use bytes::Bytes;
use std::sync::Arc;

/// The logs of one kind. A thin view: cheap to make and to clone.
///
/// **Cancel safety**: an append or a seal whose future is dropped may still be applied; reads change nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), martlet_store::StoreError> {
/// use martlet_base::Clock;
/// use martlet_store::{Logs, MemoryStore};
/// use std::sync::Arc;
///
/// let sagas = Logs::new(Arc::new(MemoryStore::new(Clock::system())), "saga/checkout");
/// sagas.append("order-17", None, "started").await?;
/// assert_eq!(sagas.append("order-17", None, "charged").await?, 2);
/// let records = sagas.read("order-17", 1, 100).await?;
/// assert_eq!((records[1].sequence, &records[1].body[..]), (2, &b"charged"[..]));
///
/// assert_eq!(sagas.open(None, 10).await?, ["order-17"]);
/// sagas.seal("order-17", None).await?;
/// assert!(sagas.open(None, 10).await?.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Logs {
    store: Arc<dyn Store>,
    kind: Arc<str>,
}

impl Logs {
    /// The logs of `store` of this kind.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, kind: &str) -> Self {
        Self { store, kind: kind.into() }
    }

    /// The store behind it: for batches that do more than append.
    #[must_use]
    pub const fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The name of the log `id`.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] when kind and id are no [`LogId`].
    pub fn id(&self, id: &str) -> Result<LogId, StoreError> {
        Ok(LogId::new(&self.kind, id)?)
    }

    /// Appends a record and returns its sequence number.
    ///
    /// # Errors
    /// [`StoreErrorKind::Conflict`] when the log is sealed, [`StoreErrorKind::StaleFence`] when somebody else took the
    /// lease. See also [`Store::commit`]. Dropped, it may still append.
    pub async fn append(
        &self,
        id: &str,
        fence: Option<&Fence>,
        record: impl Into<Bytes>,
    ) -> Result<u64, StoreError> {
        let batch = WriteBatch::new().append(self.id(id)?, fence, record);
        match self.store.commit(batch).await?.outcome(0) {
            Outcome::Appended(sequence) => Ok(sequence),
            other => Err(StoreError::new(
                StoreErrorKind::Corrupt,
                format!("the store answered an append with {other:?}"),
            )),
        }
    }

    /// At most `limit` records from sequence number `from` on.
    ///
    /// # Errors
    /// See [`Store::read_log`].
    pub async fn read(&self, id: &str, from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.store.read_log(&self.id(id)?, from, limit).await
    }

    /// At most `limit` ids of logs that are not sealed, in their order, beginning behind `after`.
    ///
    /// # Errors
    /// See [`Store::open_logs`].
    pub async fn open(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        let after = after.map(|id| self.id(id)).transpose()?;
        let found = self.store.open_logs(&self.kind, after.as_ref(), limit).await?;
        Ok(found.into_iter().map(|log| log.id().to_owned()).collect())
    }

    /// Closes a log: nothing is appended any more.
    ///
    /// # Errors
    /// [`StoreErrorKind::Conflict`] when there is no such log, [`StoreErrorKind::StaleFence`] when somebody else took
    /// the lease. See also [`Store::commit`].
    pub async fn seal(&self, id: &str, fence: Option<&Fence>) -> Result<(), StoreError> {
        self.store.commit(WriteBatch::new().seal(self.id(id)?, fence)).await.map(drop)
    }
}
