//! The program's own tables in the same commit.

use crate::{count, key, place, put, soon};
use martlet_base::{Delivery, Fault};
use martlet_sqlite::{CommitWithError, SqliteStore};
use martlet_store::{Expect, Message, QueueName, Store, StoreErrorKind, Version, WriteBatch};
use rusqlite::Connection;
use std::time::Duration;

async fn with_orders() -> (tempfile::TempDir, SqliteStore) {
    let (folder, path) = place();
    let store = SqliteStore::open(&path).await.unwrap();
    let create = |conn: &Connection| conn.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY)");
    store.commit_with(WriteBatch::new(), create).await.unwrap();
    (folder, store)
}

fn insert(id: i64) -> impl FnOnce(&Connection) -> rusqlite::Result<usize> + Send + 'static {
    move |conn| conn.execute("INSERT INTO orders VALUES (?1)", [id])
}

async fn orders(store: &SqliteStore) -> u32 {
    let count = |conn: &Connection| conn.query_row("SELECT count(*) FROM orders", [], |row| row.get(0));
    store.commit_with(WriteBatch::new(), count).await.unwrap().1
}

#[tokio::test]
async fn both_are_there_or_neither() {
    let (_folder, store) = with_orders().await;
    let queue = QueueName::new("outbox").unwrap();
    let batch = || put("order/1", "placed").enqueue(queue.clone(), Message::new("m"));
    let (committed, rows) = store.commit_with(batch(), insert(1)).await.unwrap();
    assert_eq!(
        (rows, store.get(&[key("order/1")]).await.unwrap()[0].as_ref().unwrap().version),
        (1, committed.version())
    );
    // The program's statement fails: the batch is not there.
    let error = store.commit_with(put("order/2", "placed"), insert(1)).await.unwrap_err();
    assert!(matches!(error, CommitWithError::Own(rusqlite::Error::SqliteFailure(..))), "{error:?}");
    // The batch is refused: the program's statements do not even run.
    let refused = WriteBatch::new().put(key("order/1"), Version::from_u64(99), "x");
    let error = store.commit_with(refused, insert(2)).await.unwrap_err();
    let CommitWithError::Store(error) = error else { panic!("{error:?}") };
    assert!(error.is_conflict());
    assert_eq!((count(&store, "order/").await, orders(&store).await), (1, 1));
    assert_eq!(store.depth(&queue).await.unwrap().ready, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_fails_undoes_nobody_else_of_its_group() {
    let (_folder, store) = with_orders().await;
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let store = store.clone();
            let own = insert(if n % 4 == 0 { 0 } else { n });
            tokio::spawn(async move { store.commit_with(put(&format!("k/{n}"), "v"), own).await.is_ok() })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += u32::from(task.await.unwrap());
    }
    assert_eq!((done, orders(&store).await, count(&store, "k/").await), (49, 49, 49));
}

#[tokio::test]
async fn a_panic_in_the_programs_statements_is_an_error() {
    let (_folder, store) = with_orders().await;
    let own = |conn: &Connection| -> rusqlite::Result<()> {
        conn.execute("INSERT INTO orders VALUES (1)", [])?;
        panic!("a bug of the program");
    };
    let CommitWithError::Store(error) = store.commit_with(put("a", "v"), own).await.unwrap_err() else {
        panic!("another error")
    };
    assert_eq!((error.kind(), error.delivery()), (StoreErrorKind::Invalid, Delivery::NotSent));
    assert_eq!((orders(&store).await, count(&store, "").await), (0, 0));
}

#[tokio::test]
async fn statements_that_end_the_transaction_are_found_out() {
    let (_folder, store) = with_orders().await;
    let error = store.commit_with(put("a", "v"), |conn| conn.execute_batch("ROLLBACK")).await.unwrap_err();
    let CommitWithError::Store(error) = error else { panic!("{error:?}") };
    assert_eq!(error.kind(), StoreErrorKind::Invalid, "{error}");
    let _ = store.commit(put("b", "v")).await.unwrap();
    assert_eq!(count(&store, "").await, 1);
}

#[tokio::test]
async fn an_effect_its_acknowledgement_and_what_follows_go_together() {
    let (_folder, store) = with_orders().await;
    let (inbox, outbox) = (QueueName::new("inbox").unwrap(), QueueName::new("outbox").unwrap());
    let _ = store.commit(WriteBatch::new().enqueue(inbox.clone(), Message::new("7"))).await.unwrap();
    let received = store.receive(&inbox, 1, Duration::from_secs(60)).await.unwrap().remove(0);
    let batch = || {
        WriteBatch::new()
            .ack(&received.receipt)
            .enqueue(outbox.clone(), Message::new("order 7 was placed"))
            .put(key("last"), Expect::Any, "7")
    };
    store.commit_with(batch(), insert(7)).await.unwrap();
    // Once more, as after a crash before the answer came: refused, and nothing happens twice.
    let CommitWithError::Store(error) = store.commit_with(batch(), insert(8)).await.unwrap_err() else {
        panic!("another error")
    };
    assert_eq!(error.kind(), StoreErrorKind::StaleFence);
    assert_eq!((orders(&store).await, store.depth(&outbox).await.unwrap().ready), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_programs_statements_may_drop_the_last_clone_of_the_store() {
    let (_folder, store) = with_orders().await;
    let path = store.path().to_owned();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (dropped, is_dropped) = std::sync::mpsc::channel();
    let clone = store.clone();
    let own = move |conn: &Connection| {
        begun.send(()).unwrap();
        is_dropped.recv().unwrap();
        drop(clone);
        insert(1)(conn)
    };
    let task = tokio::spawn(async move {
        let mut commit = Box::pin(store.commit_with(put("order/1", "placed"), own));
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(commit.as_mut().poll(cx).is_pending()));
        assert!(polled.await, "it waits for `dropped`");
        has_begun.recv().unwrap();
        drop(commit);
        drop(store);
        dropped.send(()).unwrap();
    });
    soon(task).await.unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    let clock = martlet_base::Clock::system();
    let before = clock.now();
    while count(&store, "order/").await == 0 {
        assert!(clock.now().since(before) < Duration::from_secs(10), "it was not committed");
    }
    assert_eq!(orders(&store).await, 1);
}

#[tokio::test]
async fn statements_that_end_the_transaction_and_begin_another_make_all_of_it_fail() {
    let (_folder, store) = with_orders().await;
    for (n, ends) in ["COMMIT; BEGIN", "COMMIT", "ROLLBACK; BEGIN", "END; SELECT 1"].into_iter().enumerate() {
        for ignores in [false, true] {
            let name = format!("order/{n}/{ignores}");
            let own = move |conn: &Connection| match conn.execute_batch(ends) {
                Err(_) if ignores => conn.execute_batch("BEGIN"),
                done => done,
            };
            let error = store.commit_with(put(&name, "placed"), own).await.unwrap_err();
            assert_eq!(count(&store, &name).await, 0, "{ends}: {error:?}");
        }
    }
    store.commit_with(put("order/good", "placed"), insert(1)).await.unwrap();
    assert_eq!((count(&store, "order/").await, orders(&store).await), (1, 1));
}
