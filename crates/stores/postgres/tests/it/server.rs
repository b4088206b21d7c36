//! What is PostgreSQL's own: schemas, migrations, transactions of the program, several stores, a server that goes away.

use martlet_base::{Clock, Delivery, Fault, Recovery};
use martlet_postgres::PostgresStore;
use martlet_store::{CellKey, Expect, Message, Queue, QueueName, Store, StoreErrorKind, Version, WriteBatch};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::{Client, IsolationLevel, NoTls};

fn key(name: &str) -> CellKey {
    CellKey::new(name).unwrap()
}

fn put(name: &str) -> WriteBatch {
    WriteBatch::new().put(key(name), Expect::Any, "v")
}

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) async fn drop_schema(url: &str, schema: &str) {
    client(url).await.batch_execute(&format!("DROP SCHEMA \"{schema}\" CASCADE")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_open_a_new_schema_at_once_all_succeed() {
    let Some(url) = crate::url() else { return };
    let schema = format!("Ünusual {}", crate::schema("name"));
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let builder = PostgresStore::builder(&url).schema(&schema).connections(2);
            tokio::spawn(async move {
                let store = builder.open().await.unwrap();
                let _ = store.commit(put(&n.to_string())).await.unwrap();
                store.close().await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let store = PostgresStore::builder(&url).schema(&schema).open().await.unwrap();
    assert_eq!(store.scan("", None, 100).await.unwrap().len(), 8);
    drop_schema(&url, &schema).await;
}

#[tokio::test]
async fn a_schema_of_a_newer_version_is_refused() {
    let Some(url) = crate::url() else { return };
    let schema = crate::schema("newer");
    PostgresStore::builder(&url).schema(&schema).open().await.unwrap().close().await;
    let client = client(&url).await;
    client.batch_execute(&format!("UPDATE {schema}.martlet_schema SET version = 99")).await.unwrap();
    let error = PostgresStore::builder(&url).schema(&schema).open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Incompatible, "{error}");
    drop_schema(&url, &schema).await;
}

#[tokio::test]
async fn a_schema_of_the_first_version_is_brought_up_to_date() {
    let Some(url) = crate::url() else { return };
    let schema = crate::schema("first");
    let queue = QueueName::new("q").unwrap();
    let store = PostgresStore::builder(&url).schema(&schema).open().await.unwrap();
    let at = store.now().await.unwrap() + Duration::from_secs(3600);
    let batch = (0..10)
        .fold(WriteBatch::new(), |batch, _| batch.enqueue(queue.clone(), Message::new("m").not_before(at)));
    let _ = store.commit(batch).await.unwrap();
    store.close().await;
    let client = client(&url).await;
    // As version 1 had it.
    let sql = format!(
        "DROP INDEX {schema}.message_timed; \
         CREATE INDEX message_timed ON {schema}.message (queue, visible_at) WHERE state IN (1, 2); \
         UPDATE {schema}.martlet_schema SET version = 1"
    );
    client.batch_execute(&sql).await.unwrap();
    let store = PostgresStore::builder(&url).schema(&schema).open().await.unwrap();
    assert_eq!(store.depth(&queue).await.unwrap().delayed, 10);
    let sql = "SELECT indexdef FROM pg_indexes WHERE schemaname = $1 AND indexname = 'message_timed'";
    let index: String = client.query_one(sql, &[&schema]).await.unwrap().get(0);
    assert!(index.contains("INCLUDE (state, id)"), "{index}");
    store.close().await;
    drop_schema(&url, &schema).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_programs_tables_move_with_the_batch() {
    let Some(url) = crate::url() else { return };
    let schema = crate::schema("own");
    let store = PostgresStore::builder(&url).schema(&schema).open().await.unwrap();
    let outbox = QueueName::new("outbox").unwrap();
    let mut client = client(&url).await;
    client.batch_execute(&format!("CREATE TABLE {schema}.orders (id int PRIMARY KEY)")).await.unwrap();
    let insert = format!("INSERT INTO {schema}.orders VALUES (7)");
    let batch = || put("order/7").enqueue(outbox.clone(), Message::new("placed").order_key("k").dedup("7"));

    // Rolled back: neither is there.
    let tx = client.transaction().await.unwrap();
    tx.execute(&insert, &[]).await.unwrap();
    let _ = store.commit_in(&tx, batch()).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(store.depth(&outbox).await.unwrap().total(), 0);
    assert_eq!(store.get(&[key("order/7")]).await.unwrap(), [None]);

    // Refused: the transaction goes on without it.
    let tx = client.transaction().await.unwrap();
    let refused = WriteBatch::new().put(key("a"), Version::from_u64(5), "v");
    assert!(store.commit_in(&tx, refused).await.unwrap_err().is_conflict());
    tx.execute(&insert, &[]).await.unwrap();
    let committed = store.commit_in(&tx, batch()).await.unwrap();
    tx.commit().await.unwrap();
    store.wake(&outbox);
    let cell = store.get(&[key("order/7")]).await.unwrap().remove(0).unwrap();
    assert_eq!(cell.version, committed.version());
    assert_eq!(store.depth(&outbox).await.unwrap().ready, 1);
    let rows = client.query_one(&format!("SELECT count(*) FROM {schema}.orders"), &[]).await.unwrap();
    assert_eq!(rows.get::<_, i64>(0), 1);
    drop_schema(&url, &schema).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_waits_for_longer_than_the_statement_timeout_was_not_applied() {
    let Some(url) = crate::url() else { return };
    let schema = crate::schema("timeout");
    let timed = format!("{url}?options=-c%20statement_timeout%3D300");
    let store = PostgresStore::builder(&timed).schema(&schema).open().await.unwrap();
    let mut client = client(&url).await;
    // Somebody's own transaction has the key, and takes its time.
    let tx = client.transaction().await.unwrap();
    let _ = store.commit_in(&tx, put("a")).await.unwrap();
    let error = store.commit(put("a")).await.unwrap_err();
    let told = (error.kind(), error.delivery());
    assert_eq!(told, (StoreErrorKind::Unavailable, Delivery::NotSent), "{error}");
    // Nobody else waits for it.
    let _ = store.commit(put("b")).await.unwrap();
    tx.commit().await.unwrap();
    let _ = store.commit(put("a")).await.unwrap();
    drop_schema(&url, &schema).await;
}

#[tokio::test]
async fn a_transaction_that_cannot_see_what_others_did_is_refused() {
    let Some(url) = crate::url() else { return };
    let schema = crate::schema("isolation");
    let store = PostgresStore::builder(&url).schema(&schema).open().await.unwrap();
    let mut client = client(&url).await;
    let tx =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await.unwrap();
    let error = store.commit_in(&tx, put("a")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Invalid, "{error}");
    tx.rollback().await.unwrap();
    drop_schema(&url, &schema).await;
}

/// Whoever looks after the database made the schema, and the program's role has rights in it only. Its transactions are serializable
/// unless they say otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_with_no_rights_but_in_its_schema_will_do() {
    let Some(url) = crate::url() else { return };
    let role = crate::schema("role");
    let schema = format!("\"q'u\\o\"te {role}\"");
    let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
    let sql = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'x'; CREATE SCHEMA {quoted} AUTHORIZATION {role}; \
         ALTER ROLE {role} SET default_transaction_isolation = 'serializable'"
    );
    client(&url).await.batch_execute(&sql).await.unwrap();
    let (scheme, host) = url.split_once("://").unwrap();
    let as_role = format!("{scheme}://{role}:x@{}", host.rsplit('@').next().unwrap());
    let open = || PostgresStore::builder(&as_role).schema(&schema).open();
    let stores: Vec<_> = futures_util::future::join_all((0..4).map(|_| open())).await;
    let stores: Vec<PostgresStore> = stores.into_iter().map(Result::unwrap).collect();
    let queue = QueueName::new("q").unwrap();
    for _ in 0..4 {
        let message = || Message::new("m");
        let batch = (0..100).fold(WriteBatch::new(), |batch, _| batch.enqueue(queue.clone(), message()));
        let _ = stores[0].commit(batch).await.unwrap();
    }
    // They all reach for the same messages.
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let (store, queue) = (stores[n % 4].clone(), queue.clone());
            tokio::spawn(async move {
                let mut taken = 0;
                while store.depth(&queue).await.unwrap().ready > 0 {
                    taken += store.receive(&queue, 2, Duration::from_secs(60)).await.unwrap().len();
                }
                taken
            })
        })
        .collect();
    let mut taken = 0;
    for task in tasks {
        taken += task.await.unwrap();
    }
    assert_eq!(taken, 400);
    let sql = format!("DROP SCHEMA {quoted} CASCADE; DROP ROLE {role}");
    client(&url).await.batch_execute(&sql).await.unwrap();
}

/// The program's row, the acknowledgement and the message that follows are one commit: whatever is rolled back in between, each
/// message has its effect once, and one message follows from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effect_acknowledgement_and_outbox_are_one_transaction() {
    let Some(url) = crate::url() else { return };
    let schema = crate::schema("outbox");
    let store = PostgresStore::builder(&url).schema(&schema).open().await.unwrap();
    let (inbox, outbox) = (QueueName::new("inbox").unwrap(), QueueName::new("outbox").unwrap());
    let mut client = client(&url).await;
    client.batch_execute(&format!("CREATE TABLE {schema}.orders (id int PRIMARY KEY)")).await.unwrap();
    let insert = client.prepare(&format!("INSERT INTO {schema}.orders VALUES ($1)")).await.unwrap();
    for id in 0..20_i32 {
        let message = Message::new(id.to_string()).dedup(id.to_string());
        let _ = store.commit(WriteBatch::new().enqueue(inbox.clone(), message)).await.unwrap();
    }
    let rng = martlet_base::Rng::system();
    let mut broken_off = 0;
    while store.depth(&inbox).await.unwrap().live() > 0 {
        for received in store.receive(&inbox, 4, Duration::from_millis(50)).await.unwrap() {
            let id: i32 = str::from_utf8(&received.item.message.body).unwrap().parse().unwrap();
            let tx = client.transaction().await.unwrap();
            tx.execute(&insert, &[&id]).await.unwrap();
            let follows = Message::new(format!("order {id} was placed"));
            let batch = WriteBatch::new().ack(&received.receipt).enqueue(outbox.clone(), follows);
            match store.commit_in(&tx, batch).await {
                Ok(_) if rng.below(3) == 0 => broken_off += 1,
                Ok(_) => tx.commit().await.unwrap(),
                // It took too long, and somebody else has it.
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::StaleFence, "{error}"),
            }
        }
    }
    let rows = client.query_one(&format!("SELECT count(*) FROM {schema}.orders"), &[]).await.unwrap();
    assert_eq!((rows.get::<_, i64>(0), store.depth(&outbox).await.unwrap().ready), (20, 20), "{broken_off}");
    drop_schema(&url, &schema).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_another_process_wakes_who_waits() {
    let Some(url) = crate::url() else { return };
    let schema = crate::schema("wake");
    // Two stores are as good as two processes: they share nothing in memory.
    let here = PostgresStore::builder(&url).schema(&schema).open().await.unwrap();
    let there = PostgresStore::builder(&url).schema(&schema).open().await.unwrap();
    let name = QueueName::new("q").unwrap();
    let queue = Queue::new(Arc::new(here), name.clone());
    let clock = Clock::system();
    let waiter = tokio::spawn(async move { queue.next(1, Duration::from_secs(60)).await.unwrap() });
    clock.sleep(Duration::from_millis(300)).await;
    let before = clock.now();
    let _ = there.commit(WriteBatch::new().enqueue(name, Message::new("m"))).await.unwrap();
    assert_eq!(waiter.await.unwrap().len(), 1);
    let waited = clock.now().since(before);
    assert!(waited < Duration::from_secs(3), "{waited:?}: it was found by looking again, not by being woken");
    drop_schema(&url, &schema).await;
}

/// Nothing comes through the pooler: whoever waits looks by itself, or listens past it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_behind_a_pooler_finds_the_message_all_the_same() {
    let (Some(url), Some(pooler)) = (crate::url(), crate::pooler()) else { return };
    let error = PostgresStore::open(&pooler).await.unwrap_err();
    assert!(error.to_string().contains("PostgresBuilder::pooler"), "{error}");
    let schema = crate::schema("pooler");
    let there = PostgresStore::builder(&pooler).schema(&schema).pooler().open().await.unwrap();
    let clock = Clock::system();
    for directly in [false, true] {
        let mut builder = PostgresStore::builder(&pooler).schema(&schema).pooler();
        if directly {
            builder = builder.listen_directly(url.parse().unwrap());
        }
        let here = builder.open().await.unwrap();
        let name = QueueName::new(if directly { "listens" } else { "looks" }).unwrap();
        let queue = Queue::new(Arc::new(here.clone()), name.clone());
        let waiter = tokio::spawn(async move { queue.next(1, Duration::from_secs(60)).await.unwrap() });
        clock.sleep(Duration::from_millis(300)).await;
        let before = clock.now();
        let _ = there.commit(WriteBatch::new().enqueue(name, Message::new("m"))).await.unwrap();
        assert_eq!(waiter.await.unwrap().len(), 1);
        let waited = clock.now().since(before);
        assert!(waited < Duration::from_secs(3), "directly: {directly}, {waited:?}");
        here.close().await;
    }
    there.close().await;
    drop_schema(&url, &schema).await;
}

/// A transaction that stays open keeps every message that is done in the indexes; the book has a query that finds it.
#[tokio::test]
async fn the_query_of_the_book_finds_a_transaction_that_stays_open() {
    let Some(url) = crate::url() else { return };
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/running-in-production.md");
    let book = std::fs::read_to_string(book).unwrap();
    let query = book.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
    let name = crate::schema("forgotten");
    let forgotten = client(&format!("{url}?application_name={name}")).await;
    forgotten.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    let found = async || {
        let rows = client(&url).await.query(query, &[]).await.unwrap();
        rows.iter().any(|row| row.get::<_, String>(1) == name)
    };
    // Others are older at first, and it shows ten.
    while !found().await {
        Clock::system().sleep(Duration::from_millis(20)).await;
    }
    forgotten.batch_execute("COMMIT").await.unwrap();
    assert!(!found().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_are_made_anew() {
    let Some(url) = crate::url() else { return };
    let schema = crate::schema("cut");
    let named = format!("{url}?application_name={schema}");
    let store = PostgresStore::builder(&named).schema(&schema).open().await.unwrap();
    let client = client(&url).await;
    for n in 0..5 {
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{schema}'"
        );
        client.simple_query(&sql).await.unwrap();
        let _ = store.commit(put(&n.to_string())).await.unwrap();
        client.simple_query(&sql).await.unwrap();
        assert_eq!(store.scan("", None, 100).await.unwrap().len(), n + 1);
    }
    drop_schema(&url, &schema).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_that_commit_to_the_same_keys_lose_nothing() {
    let Some(url) = crate::url() else { return };
    let schema = crate::schema("two");
    let mut tasks = Vec::new();
    for store in 0..2 {
        let store_builder = PostgresStore::builder(&url).schema(&schema);
        let opened = store_builder.open().await.unwrap();
        for task in 0..8 {
            let cells = martlet_store::Cells::new(Arc::new(opened.clone()), "");
            tasks.push(tokio::spawn(async move {
                for _ in 0..10 {
                    let add = |cell: Option<&martlet_store::Cell>| {
                        let text = cell.map_or("0", |cell| str::from_utf8(&cell.value).unwrap());
                        (text.parse::<u32>().unwrap() + 1).to_string().into()
                    };
                    // In another order of keys each: what would lock up if locks were taken in the order of the batch.
                    for n in 0..3 {
                        cells.update(&format!("counter {}", (n + task + store) % 3), add).await.unwrap();
                    }
                }
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let store = PostgresStore::builder(&url).schema(&schema).open().await.unwrap();
    for (_, cell) in store.scan("counter", None, 10).await.unwrap() {
        assert_eq!(cell.value, "160");
    }
    drop_schema(&url, &schema).await;
}

#[tokio::test]
async fn a_closed_store_has_finished_its_commits_and_refuses_more() {
    let Some(url) = crate::url() else { return };
    let schema = crate::schema("close");
    let store = PostgresStore::builder(&url).schema(&schema).open().await.unwrap();
    let commits: Vec<_> = (0..20)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(put(&n.to_string())).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let clone = store.clone();
    store.close().await;
    store.close().await;
    let mut done = 0;
    for commit in commits {
        match commit.await.unwrap() {
            Ok(_) => done += 1,
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Closed, "{error}"),
        }
    }
    assert_eq!(clone.get(&[]).await.unwrap_err().kind(), StoreErrorKind::Closed);
    let again = PostgresStore::builder(&url).schema(&schema).open().await.unwrap();
    assert_eq!(again.scan("", None, 100).await.unwrap().len(), done);
    drop_schema(&url, &schema).await;
}

#[tokio::test]
async fn removing_keeps_up_with_what_expires() {
    let Some(url) = crate::url() else { return };
    let schema = crate::schema("keep_up");
    let store = PostgresStore::builder(&url).schema(&schema).open().await.unwrap();
    let past = store.now().await.unwrap();
    for n in 0..20 {
        let batch = (0..1_000).fold(WriteBatch::new(), |batch, m| {
            batch.put_expiring(key(&format!("{n}/{m}")), Expect::Any, "v", past)
        });
        let _ = store.commit(batch).await.unwrap();
    }
    let client = client(&url).await;
    let clock = Clock::system();
    let before = clock.now();
    loop {
        let rows = client.query_one(&format!("SELECT count(*) FROM {schema}.cell"), &[]).await.unwrap();
        let left: i64 = rows.get(0);
        if left == 0 {
            break;
        }
        // At a fixed rate of 1,000 a second it would take 20.
        assert!(clock.now().since(before) < Duration::from_secs(15), "{left} are left");
        clock.sleep(Duration::from_millis(50)).await;
    }
    store.close().await;
    drop_schema(&url, &schema).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_the_wait_for_a_message() {
    let Some(url) = crate::url() else { return };
    let schema = crate::schema("close_wait");
    let store = PostgresStore::builder(&url).schema(&schema).open().await.unwrap();
    let queue = Queue::new(Arc::new(store.clone()), QueueName::new("q").unwrap());
    let waiter = tokio::spawn(async move { queue.next(1, Duration::from_secs(60)).await });
    let clock = Clock::system();
    clock.sleep(Duration::from_millis(500)).await;
    let before = clock.now();
    store.close().await;
    assert_eq!(waiter.await.unwrap().unwrap_err().kind(), StoreErrorKind::Closed);
    let waited = clock.now().since(before);
    assert!(waited < Duration::from_secs(3), "{waited:?}: it found out by looking again");
    drop_schema(&url, &schema).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told() {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let url = format!("postgres://nobody:secret@127.0.0.1:{port}/x");
    let error = PostgresStore::builder(&url).wait(Duration::from_secs(2)).open().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.recovery()),
        (StoreErrorKind::Unavailable, Recovery::Transient),
        "{error}"
    );
    assert!(!format!("{error} {:?}", PostgresStore::builder(&url)).contains("secret"));
    for (builder, words) in [
        (PostgresStore::builder("postgres://localhost:port"), "URL"),
        (PostgresStore::builder(&url).schema(""), "schema"),
    ] {
        let error = builder.open().await.unwrap_err();
        assert!(error.kind() == StoreErrorKind::Invalid && error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_database_for_reading_only_refuses_with_a_typed_error() {
    let Some(url) = crate::url() else { return };
    let schema = crate::schema("read_only");
    PostgresStore::builder(&url).schema(&schema).open().await.unwrap().close().await;
    let read_only = format!("{url}?options=-c%20default_transaction_read_only%3Don");
    let store = PostgresStore::builder(&read_only).schema(&schema).open().await.unwrap();
    let error = store.commit(put("a")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::ReadOnly, "{error}");
    assert_eq!(store.get(&[key("a")]).await.unwrap(), [None]);
    drop_schema(&url, &schema).await;
}
