//! What is stored is in nothing that is printed, and at rest only what is documented.

use bytes::Bytes;
use martlet_base::Clock;
use martlet_store::{
    BuryKind, BuryReason, CellKey, Cells, Cipher, CipherError, EncryptedStore, Expect, LogId, MemoryStore,
    Message, QueueName, Store, WriteBatch,
};
use martlet_testkit::Canary;
use std::sync::Arc;
use std::time::Duration;

/// No cipher at all, but enough to see what passes through it.
#[derive(Debug)]
struct Turned;

impl Cipher for Turned {
    fn seal(&self, _place: &str, plain: &[u8]) -> Result<Bytes, CipherError> {
        Ok(plain.iter().map(|byte| !byte).collect())
    }

    fn open(&self, _place: &str, sealed: &[u8]) -> Result<Bytes, CipherError> {
        Ok(sealed.iter().map(|byte| !byte).collect())
    }
}

fn batch(canary: &Canary) -> WriteBatch {
    let value = || canary.text().to_owned();
    WriteBatch::new()
        .put(CellKey::new("token/acme").unwrap(), Expect::Absent, value())
        .append(LogId::new("saga", "17").unwrap(), None, value())
        .enqueue(QueueName::new("inbox").unwrap(), Message::new(value()))
}

#[tokio::test]
async fn stored_values_are_in_no_debug_and_no_error() {
    let canary = Canary::new("value");
    let store = MemoryStore::new(Clock::system());
    canary.absent_from_debug("a batch", &batch(&canary));
    store.commit(batch(&canary)).await.unwrap();
    canary.absent_from_debug("a store", &store);
    let conflict = store.commit(batch(&canary)).await.unwrap_err();
    canary.absent_from_error("a conflict", &conflict);

    let cell = store.get(&[CellKey::new("token/acme").unwrap()]).await.unwrap().remove(0).unwrap();
    assert!(canary.is_in(&cell.value), "it was stored");
    canary.absent_from_debug("a cell", &cell);
    let records = store.read_log(&LogId::new("saga", "17").unwrap(), 0, 10).await.unwrap();
    canary.absent_from_debug("records", &records);
    let queue = QueueName::new("inbox").unwrap();
    let received = store.receive(&queue, 1, Duration::from_secs(1)).await.unwrap();
    assert_eq!(received.len(), 1);
    canary.absent_from_debug("a message", &received);
    store
        .commit(WriteBatch::new().bury(&received[0].receipt, BuryReason::new(BuryKind::Refused, "why")))
        .await
        .unwrap();
    canary.absent_from_debug("a store with a dead letter", &store);
    // JSON that does not fit is not quoted.
    let cells = Cells::new(Arc::new(store), "token/");
    canary.absent_from_debug("cells", &cells);
    cells.put("text", Expect::Absent, format!("\"{}\"", canary.text())).await.unwrap();
    let corrupt = cells.get_json::<u32>("text").await.unwrap_err();
    canary.absent_from_error("JSON of another shape", &corrupt);
}

#[tokio::test]
async fn behind_a_cipher_values_records_and_bodies_are_not_at_rest() {
    let canary = Canary::new("value");
    let inner = Arc::new(MemoryStore::new(Clock::system()));
    let store = EncryptedStore::new(Arc::clone(&inner) as Arc<dyn Store>, Arc::new(Turned));
    store.commit(batch(&canary)).await.unwrap();
    canary.absent_from_debug("an encrypted store", &store);
    let key = CellKey::new("token/acme").unwrap();
    assert!(
        canary.is_in(store.get(std::slice::from_ref(&key)).await.unwrap()[0].clone().unwrap().value),
        "who has the cipher reads it"
    );
    canary.absent_from(
        "a cell at rest",
        inner.get(std::slice::from_ref(&key)).await.unwrap()[0].clone().unwrap().value,
    );
    let log = LogId::new("saga", "17").unwrap();
    for record in inner.read_log(&log, 0, 10).await.unwrap() {
        canary.absent_from("a record at rest", &record.body);
    }
    let queue = QueueName::new("inbox").unwrap();
    for message in inner.receive(&queue, 1, Duration::from_secs(1)).await.unwrap() {
        canary.absent_from("a message at rest", &message.item.message.body);
    }
}
