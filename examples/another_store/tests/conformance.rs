//! The suite of the contract, the model test, killed processes, and what only a file can get wrong.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use martlet_base::{Clock, ManualClock};
use martlet_example_another_store::RedbStore;
use martlet_store::conformance::{Subject, crash};
use martlet_store::{CellKey, Expect, LogId, Message, QueueName, Store, WriteBatch};
use redb::Database;
use redb::backends::InMemoryBackend;
use std::sync::Arc;
use std::time::Duration;

async fn on_disk() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::create(folder.path().join("state.redb")).unwrap();
    let manual = ManualClock::new();
    let store = RedbStore::new(db, manual.clock()).await.unwrap();
    Subject::simulated(Arc::new(store), manual).keeping(folder)
}

/// Thousands of commits need not wait for the disk.
async fn in_memory() -> Subject {
    let db = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
    let manual = ManualClock::new();
    Subject::simulated(Arc::new(RedbStore::new(db, manual.clock()).await.unwrap()), manual)
}

martlet_store::cells_conformance!(on_disk);
martlet_store::leases_conformance!(on_disk);
martlet_store::logs_conformance!(on_disk);
martlet_store::queues_conformance!(on_disk);
martlet_store::batches_conformance!(on_disk);
martlet_store::model_conformance!(in_memory);

#[tokio::test]
async fn what_was_committed_is_there_when_the_file_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let clock = ManualClock::new().clock();
    let (key, log) = (CellKey::new("key").unwrap(), LogId::new("kind", "id").unwrap());
    let queue = QueueName::new("queue").unwrap();

    let store = RedbStore::new(Database::create(&path).unwrap(), clock.clone()).await.unwrap();
    let fence = store.lease(&key, "me", Duration::from_secs(60)).await.unwrap().unwrap();
    let batch = WriteBatch::new().put(key.clone(), Expect::Absent, "value");
    let batch =
        batch.append(log.clone(), Some(&fence), "record").enqueue(queue.clone(), Message::new("body"));
    let first = store.commit(batch).await.unwrap();
    drop(store);

    let store = RedbStore::new(Database::create(&path).unwrap(), clock).await.unwrap();
    let cell = store.get(std::slice::from_ref(&key)).await.unwrap().remove(0).unwrap();
    assert_eq!((&cell.value[..], cell.version), (&b"value"[..], first.version()));
    assert_eq!(store.read_log(&log, 1, 10).await.unwrap()[0].body, "record");
    assert_eq!(store.lease(&key, "you", Duration::from_secs(60)).await.unwrap(), None);
    let message = store.receive(&queue, 1, Duration::from_secs(60)).await.unwrap().remove(0);
    assert_eq!(message.item.message.body, "body");
    let second = store.commit(WriteBatch::new().ack(&message.receipt).fenced(&fence)).await.unwrap();
    assert!(second.version() > first.version(), "versions do not begin anew");
}

#[tokio::test]
async fn what_has_expired_is_removed_some_time() {
    let db = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
    let manual = ManualClock::new();
    let clock = manual.clock();
    let store = RedbStore::new(db, clock.clone()).await.unwrap();
    let (old, other) = (CellKey::new("old").unwrap(), CellKey::new("other").unwrap());
    let then = clock.wall();
    let expires = then + Duration::from_secs(1);
    store.commit(WriteBatch::new().put_expiring(old.clone(), Expect::Any, "1", expires)).await.unwrap();
    manual.advance(Duration::from_secs(2));
    for _ in 0..256 {
        store.commit(WriteBatch::new().put(other.clone(), Expect::Any, "2")).await.unwrap();
    }
    // Only a clock that goes back tells one that is hidden from one that is gone.
    manual.set_wall(then);
    let found = store.get(&[old, other]).await.unwrap();
    assert!(found[0].is_none() && found[1].is_some());
}

async fn open(path: &str) -> RedbStore {
    RedbStore::new(Database::create(path).unwrap(), Clock::system()).await.unwrap()
}

/// In the parent's run this does nothing: the test below starts it in a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_does() {
    let Some((path, name)) = crash::orders() else { return };
    crash::work(Arc::new(open(&path).await), &name, crash::say).await;
}

/// One process at a time: redb locks the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_breaks_no_promise() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let file = path.to_str().unwrap();
    let mut crew = crash::Crew::start(1, |n| crash::again("what_a_process_does", file, n));
    for _ in 0..crash::kills() {
        crew.kill_some();
        crew.stop();
        crew.witness.check(&open(file).await).await;
        crew.go_on(1);
    }
    crew.stop();
    eprintln!("{} promises kept", crew.witness.heard());
    assert!(crew.witness.heard() > 10 * crash::kills());
}
