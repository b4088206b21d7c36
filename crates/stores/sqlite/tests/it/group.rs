//! Group commit, and the lock that processes share.

use crate::{count, key, place, put, soon};
use martlet_base::{Delivery, Fault, Recovery};
use martlet_sqlite::SqliteStore;
use martlet_store::{Expect, Store, StoreErrorKind};
use std::path::Path;
use std::task::{Context, Waker};
use std::time::Duration;

/// Somebody else who writes.
fn lock(path: &Path) -> rusqlite::Connection {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    conn
}

/// Transactions in the write-ahead log: frames with the size of the database in their header end one
/// (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>).
fn transactions(path: &Path) -> usize {
    let wal = std::fs::read(path.with_extension("db-wal")).unwrap();
    wal[32..].chunks(24 + 4096).filter(|frame| frame[4..8] != [0; 4]).count()
}

#[tokio::test]
async fn commits_that_wait_share_a_transaction() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).await.unwrap();
    let _ = store.commit(put("taken", "v")).await.unwrap();
    let before = transactions(&path);
    let other = lock(&path);
    let mut commits: Vec<_> = (0..64)
        .map(|n| {
            let mut batch = put(&format!("k/{n}"), "v");
            if n % 8 == 0 {
                batch = batch.put(key("taken"), Expect::Absent, "v");
            }
            store.commit(batch)
        })
        .collect();
    for commit in &mut commits {
        assert!(commit.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    drop(other);
    let mut lost = 0;
    for commit in commits {
        lost += usize::from(commit.await.is_err_and(|error| error.is_conflict()));
    }
    assert_eq!((lost, count(&store, "k/").await), (8, 56));
    let used = transactions(&path) - before;
    assert!(used <= 16, "{used} transactions for 64 commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_waits_for_the_lock_of_another() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).await.unwrap();
    let other = lock(&path);
    let commit = tokio::spawn({
        let store = store.clone();
        async move { store.commit(put("a", "1")).await }
    });
    let _ = std::sync::mpsc::channel::<()>().1.recv_timeout(Duration::from_millis(100));
    assert!(!commit.is_finished());
    drop(other);
    let _ = soon(commit).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_that_fails_answers_everybody_who_waits() {
    let (_folder, path) = place();
    let store = SqliteStore::builder(&path).busy_timeout(Duration::from_millis(300)).open().await.unwrap();
    let other = lock(&path);
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(put(&format!("k/{n}"), "v")).await })
        })
        .collect();
    // One by one they would take 20 seconds.
    let clock = martlet_base::Clock::system();
    let before = clock.now();
    for task in tasks {
        let error = soon(task).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        assert_eq!((error.delivery(), error.recovery()), (Delivery::NotSent, Recovery::Transient));
    }
    let waited = clock.now().since(before);
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    drop(other);
    let _ = store.commit(put("later", "v")).await.unwrap();
    assert_eq!(count(&store, "k/").await, 0);
}

#[tokio::test]
async fn reads_go_on_while_another_writes() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).await.unwrap();
    let _ = store.commit(put("a", "1")).await.unwrap();
    let _other = lock(&path);
    assert_eq!(soon(count(&store, "")).await, 1);
}
