//! What is stored is in nothing that is printed.

use martlet_sqlite::SqliteStore;
use martlet_store::{CellKey, Expect, Message, QueueName, Store as _, WriteBatch};
use martlet_testkit::Canary;

#[tokio::test]
async fn stored_values_are_in_no_error_and_no_debug() {
    let canary = Canary::new("value");
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("s.db")).await.unwrap();
    let key = CellKey::new("token/acme").unwrap();
    let put = || WriteBatch::new().put(key.clone(), Expect::Absent, canary.text().to_owned());
    let queue = QueueName::new("inbox").unwrap();
    let batch = put().enqueue(queue, Message::new(canary.text().to_owned()));
    canary.absent_from_debug("a batch", &batch);
    store.commit(batch).await.unwrap();
    let conflict = store.commit(put()).await.unwrap_err();
    canary.absent_from_error("a conflict", &conflict);
    let cell = store.get(&[key]).await.unwrap().remove(0).unwrap();
    assert!(canary.is_in(&cell.value), "it was stored");
    canary.absent_from_debug("a cell", &cell);
    canary.absent_from_debug("the store", &store);
}
