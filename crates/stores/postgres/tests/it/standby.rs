//! A hot standby: what can be done at it, and what becomes of a store when it takes over.

use crate::cluster::Cluster;
use martlet_base::{Clock, Delivery, Fault};
use martlet_postgres::PostgresStore;
use martlet_store::{
    CellKey, Expect, LogId, Message, Queue, QueueName, Store, StoreError, StoreErrorKind, WriteBatch,
};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::NoTls;

const MINUTE: Duration = Duration::from_secs(60);

fn cell(n: usize) -> CellKey {
    CellKey::new(&format!("k/{n}")).unwrap()
}

fn put(n: usize) -> WriteBatch {
    WriteBatch::new().put(cell(n), Expect::Any, "v")
}

fn enqueue(queue: &QueueName) -> WriteBatch {
    WriteBatch::new().enqueue(queue.clone(), Message::new("m"))
}

async fn cells(store: &PostgresStore) -> usize {
    store.scan("k/", None, 1_000).await.unwrap().len()
}

/// Looks until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let clock = Clock::system();
    for _ in 0..1_500 {
        if is_so().await {
            return;
        }
        clock.sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

/// Asks one question at `cluster`.
async fn ask(cluster: &Cluster, sql: &str) -> String {
    let (client, connection) = tokio_postgres::connect(&cluster.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn pair() -> Option<(Cluster, Cluster)> {
    let Some(mut primary) = Cluster::new() else {
        crate::skip("the tests of standbys need PostgreSQL's programs in /usr/lib/postgresql");
        return None;
    };
    // Nobody takes the power away here.
    primary.options = vec!["fsync=off".to_owned()];
    primary.start().await;
    PostgresStore::open(&primary.url()).await.unwrap().close().await;
    let mut standby = primary.standby();
    standby.options = primary.options.clone();
    standby.start().await;
    Some((primary, standby))
}

fn read_only<T: std::fmt::Debug>(what: &str, result: Result<T, StoreError>) {
    let error = result.unwrap_err();
    let told = (error.kind(), error.delivery());
    assert_eq!(told, (StoreErrorKind::ReadOnly, Delivery::NotSent), "{what}: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_read_refuses_writes_and_takes_over() {
    let Some((mut primary, mut standby)) = pair().await else { return };
    let queue = QueueName::new("q").unwrap();
    let log = LogId::new("saga", "7").unwrap();
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", primary.port(), standby.port());
    let both = format!("postgres://postgres@{hosts}/postgres?target_session_attrs=read-write");
    let first = PostgresStore::open(&both).await.unwrap();
    let _ = first.commit(put(0).append(log.clone(), None, "step")).await.unwrap();
    let _ = first.commit(enqueue(&queue)).await.unwrap();
    let _ = first.lease(&cell(0), "me", MINUTE).await.unwrap().unwrap();

    // Everything can be read there.
    let store = PostgresStore::open(&standby.url()).await.unwrap();
    until("the message is there", async || store.depth(&queue).await.unwrap().ready == 1).await;
    assert_eq!(cells(&store).await, 1);
    assert_eq!(store.peek(&queue, None, None, 10).await.unwrap().len(), 1);
    assert_eq!(store.queues(None, 10).await.unwrap(), std::slice::from_ref(&queue));
    assert_eq!(store.read_log(&log, 0, 10).await.unwrap().len(), 1);
    store.ready(&queue).await.unwrap();
    // Nothing can be written, and each error says so.
    read_only("a cell", store.commit(put(1)).await);
    read_only("a message", store.commit(enqueue(&queue)).await);
    read_only("a message of a new queue", store.commit(enqueue(&QueueName::new("new").unwrap())).await);
    read_only("a receive", store.receive(&queue, 1, MINUTE).await);
    read_only("a lease", store.lease(&cell(1), "me", MINUTE).await);
    read_only("tables", PostgresStore::builder(&standby.url()).schema("other").open().await);

    // What the primary acknowledges while nobody follows it is lost with it: the standby is not synchronous.
    standby.signal("-INT");
    let _ = first.commit(put(2)).await.unwrap();
    let lost = QueueName::new("lost").unwrap();
    let _ = first.commit(enqueue(&lost)).await.unwrap();
    primary.signal("-KILL");
    standby.start().await;
    standby.promote();
    // The handle that was opened at the standby writes, and its connections were cut in between.
    let _ = store.commit(put(3)).await.unwrap();
    let found = store.get(&[cell(0), cell(1), cell(2), cell(3)]).await.unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false, true]);
    assert_eq!(store.receive(&queue, 10, MINUTE).await.unwrap().len(), 1);
    // Whoever had it in mind that the lost queue exists makes it anew, so that others find it.
    let (mut own, connection) = tokio_postgres::connect(&standby.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let tx = own.transaction().await.unwrap();
    let _ = first.commit_in(&tx, enqueue(&lost)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.depth(&lost).await.unwrap().ready, 1);
    for kind in ["plain", "decided"] {
        // As if another fail-over had lost it.
        ask(
            &standby,
            "WITH gone AS (DELETE FROM martlet.queue WHERE name = 'lost' RETURNING 1) SELECT '' FROM gone",
        )
        .await;
        let batch = enqueue(&lost);
        let batch = if kind == "plain" { batch } else { batch.put(cell(4), Expect::Any, "v") };
        let _ = first.commit(batch).await.unwrap();
        assert_eq!(store.depth(&lost).await.unwrap().enqueued, 1, "{kind}");
    }
    // Both also listen, which a standby does not let them.
    until("they listen", async || {
        let sql = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
        ask(&standby, sql).await == "2"
    })
    .await;
    let other = PostgresStore::open(&standby.url()).await.unwrap();
    let clock = Clock::system();
    let waiting = Queue::new(Arc::new(store), queue.clone());
    let waiter = tokio::spawn(async move { waiting.next(1, MINUTE).await.unwrap() });
    clock.sleep(Duration::from_millis(200)).await;
    let before = clock.now();
    let _ = other.commit(enqueue(&queue)).await.unwrap();
    assert_eq!(waiter.await.unwrap().len(), 1);
    let waited = clock.now().since(before);
    assert!(waited < Duration::from_secs(3), "{waited:?}: found by looking again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_with_both_hosts_follows_the_one_that_writes() {
    let Some((mut primary, mut standby)) = pair().await else { return };
    // Set after the copy was taken: the standby waits for nobody when it takes over.
    for sql in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
        let (client, connection) = tokio_postgres::connect(&primary.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(sql).await.unwrap();
    }
    let sync = "SELECT coalesce(min(sync_state), '') FROM pg_stat_replication";
    until("the standby is synchronous", async || ask(&primary, sync).await == "sync").await;

    // The standby first: it is passed over as long as it does not write.
    let both = format!(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write&connect_timeout=2",
        standby.port(),
        primary.port()
    );
    let store = PostgresStore::builder(&both).wait(Duration::from_secs(5)).open().await.unwrap();
    let mut done = Vec::new();
    for n in 0..50 {
        let _ = store.commit(put(n)).await.unwrap();
        done.push(n);
    }
    // While nobody follows, nothing is acknowledged.
    standby.signal("-INT");
    let late = tokio::spawn({
        let store = store.clone();
        async move { store.commit(put(50)).await }
    });
    Clock::system().sleep(Duration::from_millis(300)).await;
    assert!(!late.is_finished());
    standby.start().await;
    let _ = late.await.unwrap().unwrap();
    done.push(50);

    // The primary dies in the middle of it.
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            let mut done = Vec::new();
            for n in 51.. {
                match store.commit(put(n)).await {
                    Ok(_) => done.push(n),
                    Err(error) => return (done, error),
                }
            }
            unreachable!("it ends with the primary")
        }
    });
    Clock::system().sleep(Duration::from_millis(100)).await;
    primary.signal("-KILL");
    let (more, error) = writer.await.unwrap();
    done.extend(more);
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    let error = store.commit(put(0)).await.unwrap_err();
    let told = (error.kind(), error.delivery());
    assert_eq!(told, (StoreErrorKind::Unavailable, Delivery::NotSent), "{error}");

    standby.promote();
    let _ = store.commit(put(999)).await.unwrap();
    let keys: Vec<CellKey> = done.iter().map(|n| cell(*n)).collect();
    let found = store.get(&keys).await.unwrap();
    assert!(found.iter().all(Option::is_some), "what was acknowledged is there");
    assert_eq!(ask(&standby, "SELECT pg_is_in_recovery()::text").await, "false");
}

/// A host may be demoted without its connections being cut, as some providers do it: they would be of no use for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_leaves_a_host_that_no_longer_writes() {
    let Some((primary, standby)) = pair().await else { return };
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", primary.port(), standby.port());
    let url = format!("postgres://postgres@{hosts}/postgres?target_session_attrs=read-write");
    let queue = QueueName::new("q").unwrap();
    let stores = [PostgresStore::open(&url).await.unwrap(), PostgresStore::open(&url).await.unwrap()];
    for store in &stores {
        // More than one connection.
        let commits = (0..20).map(|n| store.commit(if n % 2 == 0 { put(n) } else { enqueue(&queue) }));
        for committed in futures_util::future::join_all(commits).await {
            let _ = committed.unwrap();
        }
    }
    let sql = "ALTER SYSTEM SET default_transaction_read_only = on";
    let (client, connection) = tokio_postgres::connect(&primary.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    standby.promote();
    until("the primary does not write", async || {
        ask(&primary, "SHOW default_transaction_read_only").await == "on"
    })
    .await;
    // Each way of writing finds the other host.
    let _ = stores[0].commit(put(100)).await.unwrap();
    let _ = stores[1].commit(enqueue(&queue)).await.unwrap();
    assert!(stores[0].lease(&cell(1), "me", MINUTE).await.unwrap().is_some());
    let there = PostgresStore::open(&standby.url()).await.unwrap();
    assert!(there.get(&[cell(100)]).await.unwrap()[0].is_some());
    until("they listen there", async || {
        let sql = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
        ask(&standby, sql).await == "3"
    })
    .await;
}
