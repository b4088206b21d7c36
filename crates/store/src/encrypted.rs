use crate::{
    Capabilities, Cell, CellKey, Committed, Depth, Fence, LogId, LogInfo, MessageId, MessageState, QueueItem,
    QueueName, Received, Record, Store, StoreError, StoreErrorKind, Write, WriteBatch,
};
use async_trait::async_trait;
use bytes::Bytes;
use martlet_base::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why a [`Cipher`] could not do its work. Holds no plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CipherError(&'static str);

impl CipherError {
    /// What happened, in a few words.
    #[must_use]
    pub const fn new(what: &'static str) -> Self {
        Self(what)
    }
}

impl fmt::Display for CipherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for CipherError {}

/// Encrypts what an [`EncryptedStore`] stores. Bring an authenticated cipher (AES-256-GCM, XChaCha20-Poly1305) with a fresh nonce for each
/// call, and put the number of the key in front of what you return, so that keys can be changed.
///
/// `place` says where the value lies (`cell:token/acme`, `record:saga/checkout:17`, `message:inbox`). Use it as associated
/// data: then nobody with access to the database can move a value to another place unnoticed.
pub trait Cipher: fmt::Debug + Send + Sync {
    /// Encrypts.
    ///
    /// # Errors
    /// When there is no key for it; the write is refused with [`StoreErrorKind::Invalid`].
    fn seal(&self, place: &str, plain: &[u8]) -> Result<Bytes, CipherError>;

    /// Decrypts what [`seal`](Self::seal) returned for the same place.
    ///
    /// # Errors
    /// When it was changed, belongs elsewhere, or its key is not known; the read fails with [`StoreErrorKind::Corrupt`].
    fn open(&self, place: &str, sealed: &[u8]) -> Result<Bytes, CipherError>;
}

/// A store whose values, records and bodies are encrypted before they leave this process.
///
/// Keys, names of logs and queues, dedup and order keys, times, and the details of dead letters are **not** encrypted: the store must
/// compare or show them. Put no personal data there, or a keyed hash of it. What is sealed is longer than what it was, and
/// [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES) holds for both.
///
/// What cannot be decrypted, because its key is lost or was thrown away, is an error of kind [`StoreErrorKind::Corrupt`] that says where
/// it lies; a message among others does not hold them up: it stays hidden and comes again, and `receive` fails only when there is nothing
/// else. The store inside needs no key: [`Retention`](crate::Retention), [`Erasure`](crate::Erasure) by keys,
/// [`Queue::replay`](crate::Queue::replay) and [`Queue::discard`](crate::Queue::discard) work on it.
///
/// ```
/// use bytes::Bytes;
/// use martlet_base::Clock;
/// use martlet_store::{Cipher, CipherError, EncryptedStore, MemoryStore};
/// use std::sync::Arc;
///
/// #[derive(Debug)]
/// struct Aead(/* keys by number */);
/// impl Cipher for Aead {
///     fn seal(&self, place: &str, plain: &[u8]) -> Result<Bytes, CipherError> {
///         // key number, nonce, aead.encrypt(nonce, Payload { msg: plain, aad: place })
/// #       Ok(Bytes::copy_from_slice(plain))
///     }
///     fn open(&self, place: &str, sealed: &[u8]) -> Result<Bytes, CipherError> {
/// #       Ok(Bytes::copy_from_slice(sealed))
///     }
/// }
///
/// let store = EncryptedStore::new(Arc::new(MemoryStore::new(Clock::system())), Arc::new(Aead()));
/// ```
#[derive(Clone, Debug)]
pub struct EncryptedStore {
    inner: Arc<dyn Store>,
    cipher: Arc<dyn Cipher>,
}

impl EncryptedStore {
    /// `inner`, behind `cipher`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, cipher: Arc<dyn Cipher>) -> Self {
        Self { inner, cipher }
    }

    fn seal(&self, place: &str, plain: &[u8]) -> Result<Bytes, StoreError> {
        self.cipher.seal(place, plain).map_err(|error| {
            StoreError::new(StoreErrorKind::Invalid, format!("cannot encrypt {place}: {error}"))
        })
    }

    fn open(&self, place: &str, sealed: &[u8]) -> Result<Bytes, StoreError> {
        self.cipher.open(place, sealed).map_err(|error| {
            StoreError::new(StoreErrorKind::Corrupt, format!("cannot decrypt {place}: {error}")).not_applied()
        })
    }

    fn seal_write(&self, write: &mut Write) -> Result<(), StoreError> {
        match write {
            Write::PutCell { key, value, .. } => *value = self.seal(&of_cell(key), value)?,
            Write::Append { log, record, .. } => *record = self.seal(&of_log(log), record)?,
            Write::Enqueue { queue, message } => message.body = self.seal(&of_queue(queue), &message.body)?,
            Write::Edit { queue, body, .. } => *body = self.seal(&of_queue(queue), body)?,
            Write::Restore { queue, item } => {
                item.message.body = self.seal(&of_queue(queue), &item.message.body)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn open_cell(&self, key: &CellKey, cell: Cell) -> Result<Cell, StoreError> {
        Ok(Cell { value: self.open(&of_cell(key), &cell.value)?, ..cell })
    }

    fn open_item(&self, queue: &QueueName, mut item: QueueItem) -> Result<QueueItem, StoreError> {
        item.message.body = self.open(&of_queue(queue), &item.message.body)?;
        Ok(item)
    }
}

fn of_cell(key: &CellKey) -> String {
    format!("cell:{key}")
}

fn of_log(log: &LogId) -> String {
    format!("record:{log}")
}

fn of_queue(queue: &QueueName) -> String {
    format!("message:{queue}")
}

#[async_trait]
impl Store for EncryptedStore {
    async fn commit(&self, batch: WriteBatch) -> Result<Committed, StoreError> {
        batch.validate(&self.capabilities())?;
        let mut writes = batch.into_writes();
        for (index, write) in writes.iter_mut().enumerate() {
            self.seal_write(write).map_err(|error| error.at_write(index, write))?;
        }
        self.inner.commit(writes.into_iter().collect()).await
    }

    async fn get(&self, keys: &[CellKey]) -> Result<Vec<Option<Cell>>, StoreError> {
        let cells = self.inner.get(keys).await?;
        let open =
            |(key, cell): (&CellKey, Option<Cell>)| cell.map(|cell| self.open_cell(key, cell)).transpose();
        keys.iter().zip(cells).map(open).collect()
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&CellKey>,
        limit: usize,
    ) -> Result<Vec<(CellKey, Cell)>, StoreError> {
        let page = self.inner.scan(prefix, after, limit).await?;
        let open = |(key, cell)| self.open_cell(&key, cell).map(|cell| (key, cell));
        page.into_iter().map(open).collect()
    }

    async fn read_log(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let mut records = self.inner.read_log(log, from, limit).await?;
        for record in &mut records {
            record.body = self.open(&of_log(log), &record.body)?;
        }
        Ok(records)
    }

    async fn open_logs(
        &self,
        kind: &str,
        after: Option<&LogId>,
        limit: usize,
    ) -> Result<Vec<LogId>, StoreError> {
        self.inner.open_logs(kind, after, limit).await
    }

    async fn logs(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<LogInfo>, StoreError> {
        self.inner.logs(after, limit).await
    }

    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        visibility: Duration,
    ) -> Result<Vec<Received>, StoreError> {
        let (mut received, mut closed) = (Vec::new(), None);
        for mut one in self.inner.receive(queue, max, visibility).await? {
            match self.open(&of_queue(queue), &one.item.message.body) {
                Ok(body) => {
                    one.item.message.body = body;
                    received.push(one);
                }
                // It comes again when its visibility runs out: whoever has the key may be another process.
                Err(error) => closed = Some(error),
            }
        }
        match closed {
            Some(error) if received.is_empty() => Err(error),
            _ => Ok(received),
        }
    }

    async fn peek(
        &self,
        queue: &QueueName,
        state: Option<MessageState>,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<QueueItem>, StoreError> {
        let items = self.inner.peek(queue, state, after, limit).await?;
        items.into_iter().map(|item| self.open_item(queue, item)).collect()
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth, StoreError> {
        self.inner.depth(queue).await
    }

    async fn ready(&self, queue: &QueueName) -> Result<(), StoreError> {
        self.inner.ready(queue).await
    }

    async fn queues(&self, after: Option<&QueueName>, limit: usize) -> Result<Vec<QueueName>, StoreError> {
        self.inner.queues(after, limit).await
    }

    async fn lease(&self, key: &CellKey, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        self.inner.lease(key, owner, ttl).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.inner.now().await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Expect, MemoryStore, Message};
    use martlet_base::ManualClock;

    /// Good enough to see that values are turned over and places are told.
    #[derive(Debug)]
    struct Turned;

    impl Cipher for Turned {
        fn seal(&self, place: &str, plain: &[u8]) -> Result<Bytes, CipherError> {
            if plain == b"refuse" {
                return Err(CipherError::new("no key"));
            }
            let turned = plain.iter().map(|byte| byte ^ 0x55);
            Ok(format!("{place}\n").into_bytes().into_iter().chain(turned).collect())
        }

        fn open(&self, place: &str, sealed: &[u8]) -> Result<Bytes, CipherError> {
            let turned = sealed.strip_prefix(format!("{place}\n").as_bytes());
            let turned = turned.ok_or(CipherError::new("it belongs elsewhere"))?;
            Ok(turned.iter().map(|byte| byte ^ 0x55).collect())
        }
    }

    #[cfg(feature = "conformance")]
    mod conformance {
        use super::{Arc, EncryptedStore, ManualClock, MemoryStore, Turned};
        use crate::conformance::Subject;

        async fn encrypted() -> Subject {
            let manual = ManualClock::new();
            let inner = Arc::new(MemoryStore::new(manual.clock()));
            Subject::simulated(Arc::new(EncryptedStore::new(inner, Arc::new(Turned))), manual)
        }

        crate::logs_conformance!(encrypted);
        crate::batches_conformance!(encrypted);
        crate::model_conformance!(encrypted);
    }

    fn both() -> (MemoryStore, EncryptedStore) {
        let inner = MemoryStore::new(ManualClock::new().clock());
        (inner.clone(), EncryptedStore::new(Arc::new(inner), Arc::new(Turned)))
    }

    #[tokio::test]
    async fn nothing_that_is_stored_is_plain() {
        let (inner, store) = both();
        let (key, log) = (CellKey::new("k").unwrap(), LogId::new("kind", "1").unwrap());
        let queue = QueueName::new("q").unwrap();
        let batch = WriteBatch::new()
            .put(key.clone(), Expect::Any, "secret")
            .append(log.clone(), None, "secret")
            .enqueue(queue.clone(), Message::new("secret"));
        let _ = store.commit(batch).await.unwrap();
        let stored = [
            inner.get(std::slice::from_ref(&key)).await.unwrap().remove(0).unwrap().value,
            inner.read_log(&log, 1, 1).await.unwrap().remove(0).body,
            inner.peek(&queue, None, None, 1).await.unwrap().remove(0).message.body,
        ];
        for bytes in stored {
            assert!(!bytes.windows(6).any(|text| text == b"secret"));
        }
        assert_eq!(store.get(&[key]).await.unwrap()[0].as_ref().unwrap().value, "secret");
        let received = store.receive(&queue, 1, Duration::from_secs(1)).await.unwrap();
        assert_eq!(received[0].item.message.body, "secret");
    }

    #[tokio::test]
    async fn a_value_that_was_moved_is_found_out() {
        let (inner, store) = both();
        let (a, b) = (CellKey::new("a").unwrap(), CellKey::new("b").unwrap());
        let _ = store.commit(WriteBatch::new().put(a.clone(), Expect::Any, "1")).await.unwrap();
        let stolen = inner.get(&[a]).await.unwrap().remove(0).unwrap().value;
        let _ = inner.commit(WriteBatch::new().put(b.clone(), Expect::Any, stolen)).await.unwrap();
        let error = store.get(&[b]).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    }

    #[tokio::test]
    async fn a_message_that_cannot_be_decrypted_holds_up_no_other() {
        let (inner, store) = both();
        let queue = QueueName::new("q").unwrap();
        for (into, body) in [(&inner as &dyn Store, "of another key"), (&store, "1"), (&store, "2")] {
            let batch = WriteBatch::new().enqueue(queue.clone(), Message::new(body));
            let _ = into.commit(batch).await.unwrap();
        }
        let received = store.receive(&queue, 10, Duration::from_secs(60)).await.unwrap();
        assert_eq!(received.iter().map(|one| &one.item.message.body[..]).collect::<Vec<_>>(), [b"1", b"2"]);
        let depth = store.depth(&queue).await.unwrap();
        assert_eq!((depth.ready, depth.in_flight), (0, 3), "it comes again");
    }

    #[tokio::test]
    async fn a_message_that_cannot_be_decrypted_is_told_of_when_it_is_alone() {
        let (inner, store) = both();
        let queue = QueueName::new("q").unwrap();
        let _ = inner.commit(WriteBatch::new().enqueue(queue.clone(), Message::new("plain"))).await.unwrap();
        let error = store.receive(&queue, 10, Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(error.to_string().contains("cannot decrypt message:q: it belongs elsewhere"), "{error}");
    }

    #[tokio::test]
    async fn erasure_and_retention_need_no_key_on_the_store_inside() {
        let (inner, store) = both();
        let key = CellKey::new("contact/7/name").unwrap();
        let batch = WriteBatch::new()
            .put(key.clone(), Expect::Any, "secret")
            .enqueue(QueueName::new("q").unwrap(), Message::new("secret").order_key("contact-7"));
        let _ = store.commit(batch).await.unwrap();
        let erasure = crate::Erasure::new().cells("contact/7/").order_key("contact-7");
        let removed = erasure.apply(&inner).await.unwrap();
        assert_eq!((removed.cells, removed.messages), (1, 1));
        assert_eq!(store.get(&[key]).await.unwrap(), [None]);
    }

    #[tokio::test]
    async fn a_value_that_cannot_be_encrypted_is_not_stored() {
        let (inner, store) = both();
        let key = |name: &str| CellKey::new(name).unwrap();
        let batch = WriteBatch::new().put(key("a"), Expect::Any, "1").put(key("b"), Expect::Any, "refuse");
        let error = store.commit(batch).await.unwrap_err();
        assert_eq!((error.kind(), error.write_index()), (StoreErrorKind::Invalid, Some(1)), "{error}");
        assert_eq!(inner.scan("", None, 10).await.unwrap(), []);
    }
}
