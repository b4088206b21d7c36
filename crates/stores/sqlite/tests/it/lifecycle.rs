//! Opening, closing, dropping, and simulated time.

use crate::{count, place, put, soon};
use martlet_base::{Clock, Deadline, ManualClock, Moment};
use martlet_sqlite::{Durability, SqliteStore};
use martlet_store::{Expect, Queue, QueueName, Store, StoreErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let (_folder, path) = place();
    let mut last = None;
    for durability in [Durability::Full, Durability::Normal, Durability::Full] {
        let store = SqliteStore::builder(&path).durability(durability).open().await.unwrap();
        let version = store.commit(put(&format!("k/{durability:?}/{last:?}"), "v")).await.unwrap().version();
        assert!(Some(version) > last, "versions go on across restarts");
        last = Some(version);
        store.close().await;
    }
    let store = SqliteStore::builder(&path).create(false).open().await.unwrap();
    assert_eq!(count(&store, "").await, 3);
}

#[tokio::test]
async fn a_closed_store_has_finished_its_commits_and_refuses_more() {
    let (folder, path) = place();
    let store = SqliteStore::open(&path).await.unwrap();
    for n in 0..100 {
        let mut commit = pin!(store.commit(put(&format!("k/{n}"), "v")));
        assert!(commit.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let clone = store.clone();
    soon(async { tokio::join!(store.close(), clone.close()) }).await;
    store.close().await;
    for error in [store.commit(put("late", "v")).await.unwrap_err(), clone.get(&[]).await.unwrap_err()] {
        assert_eq!(error.kind(), StoreErrorKind::Closed);
    }
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["state.db"], "the write-ahead log was folded in");
    assert_eq!(count(&SqliteStore::open(&path).await.unwrap(), "k/").await, 100);
}

#[tokio::test]
async fn dropping_the_last_clone_finishes_what_was_sent() {
    let (folder, path) = place();
    let store = SqliteStore::open(&path).await.unwrap();
    for n in 0..100 {
        let mut commit = pin!(store.commit(put(&format!("k/{n}"), "v")));
        assert!(commit.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    drop(store);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a thread still has the file open");
    assert_eq!(count(&SqliteStore::open(&path).await.unwrap(), "k/").await, 100);
}

#[tokio::test]
async fn an_open_that_is_dropped_leaves_no_thread_and_no_harm() {
    let (_folder, path) = place();
    for _ in 0..20 {
        let mut open = pin!(SqliteStore::open(&path));
        let _ = open.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    let store = soon(SqliteStore::open(&path)).await.unwrap();
    let _ = store.commit(put("a", "1")).await.unwrap();
    store.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_opens_of_a_new_file_at_once_all_succeed() {
    let (_folder, path) = place();
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let path = path.clone();
            tokio::spawn(async move {
                let store = SqliteStore::open(path).await.unwrap();
                let _ = store.commit(put(&format!("{n}"), "v")).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(count(&SqliteStore::open(&path).await.unwrap(), "").await, 8);
}

#[tokio::test]
async fn a_simulated_clock_waits_for_the_disk() {
    let (_folder, path) = place();
    let manual = ManualClock::new();
    let clock = manual.clock();
    let work = async {
        let deadline = Deadline::after(clock.now(), Duration::from_secs(1));
        let store = SqliteStore::builder(&path).clock(clock.clone());
        let store = clock.within(deadline, store.open()).await.expect("time ran past the opening").unwrap();
        for n in 0..50 {
            let work = async {
                let _ = store.commit(put(&format!("k/{n}"), vec![0; 100_000])).await.unwrap();
                count(&store, "k/").await
            };
            assert_eq!(clock.within(deadline, work).await, Some(n + 1), "time ran past a commit or a read");
        }
        clock.within(deadline, store.close()).await.expect("time ran past the closing");
    };
    manual.drive(work).await;
    assert_eq!(clock.now(), Moment::ZERO);
    // Nothing holds the clock any more.
    soon(manual.drive(clock.sleep(Duration::from_secs(60)))).await;
}

#[tokio::test]
async fn a_dropped_commit_lets_go_of_the_clock() {
    let (_folder, path) = place();
    let manual = ManualClock::new();
    let store = SqliteStore::builder(&path).clock(manual.clock()).open().await.unwrap();
    for n in 0..20 {
        let mut commit = pin!(store.commit(put(&format!("k/{n}"), "v")));
        let _ = commit.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let mut read = pin!(store.scan("", None, 10));
        let _ = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    soon(manual.drive(manual.clock().sleep(Duration::from_secs(60)))).await;
}

#[tokio::test]
async fn expired_cells_are_removed_from_the_file() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).await.unwrap();
    let soon_gone = store.now().await.unwrap() + Duration::from_millis(1);
    for n in 0..20 {
        let batch = martlet_store::WriteBatch::new().put_expiring(
            crate::key(&format!("{n}")),
            Expect::Any,
            "v",
            soon_gone,
        );
        let _ = store.commit(batch).await.unwrap();
    }
    let conn = rusqlite::Connection::open(&path).unwrap();
    let clock = martlet_base::Clock::system();
    let rows =
        || -> u32 { conn.query_row("SELECT count(*) FROM martlet_cell", [], |row| row.get(0)).unwrap() };
    let before = clock.now();
    while rows() > 1 {
        assert!(clock.now().since(before) < Duration::from_secs(30), "nothing was removed");
        let _ = store.commit(put("stays", "v")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_the_wait_for_a_message() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).await.unwrap();
    let queue = Queue::new(Arc::new(store.clone()), QueueName::new("q").unwrap());
    let waiter = tokio::spawn(async move { queue.next(1, Duration::from_secs(60)).await });
    let clock = Clock::system();
    clock.sleep(Duration::from_millis(200)).await;
    let before = clock.now();
    store.close().await;
    let error = soon(waiter).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Closed);
    let waited = clock.now().since(before);
    assert!(waited < Duration::from_secs(3), "{waited:?}: it found out by looking again");
}
