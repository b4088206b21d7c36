//! What `docs/state.md` says about backups of PostgreSQL, done.

use martlet_postgres::PostgresStore;
use martlet_store::{CellKey, Expect, LogId, Message, Outcome, QueueName, Store, WriteBatch};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_of_the_schema_is_restored_and_numbers_go_on() {
    let Some(url) = crate::url() else { return };
    let schema = crate::schema("dump");
    let open = || PostgresStore::builder(&url).schema(&schema).open();
    let (queue, log) = (QueueName::new("q").unwrap(), LogId::new("run", "1").unwrap());
    let (before, after) = (CellKey::new("before").unwrap(), CellKey::new("after").unwrap());
    let message = || Message::new("m").dedup("once").order_key("k");
    let put = |key: &CellKey| WriteBatch::new().put(key.clone(), Expect::Absent, "v");

    let store = open().await.unwrap();
    let batch = put(&before).enqueue(queue.clone(), message()).append(log.clone(), None, "1");
    let first = store.commit(batch).await.unwrap();
    let fence = store.lease(&before, "me", Duration::from_secs(60)).await.unwrap().unwrap();
    let dump = Command::new("pg_dump").args(["--schema", &schema, "--dbname", &url]).output();
    let Ok(dump) = dump else { return crate::skip("backups need pg_dump and psql") };
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let _ = store.commit(put(&after)).await.unwrap();
    store.close().await;
    crate::server::drop_schema(&url, &schema).await;

    let mut psql = Command::new("psql")
        .args(["--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", &url])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    psql.stdin.take().unwrap().write_all(&dump.stdout).unwrap();
    assert!(psql.wait().unwrap().success());

    let store = open().await.unwrap();
    let cells = store.get(&[before.clone(), after.clone()]).await.unwrap();
    assert_eq!(cells[0].as_ref().map(|cell| cell.version), Some(first.version()));
    assert!(cells[1].is_none(), "it came after the backup");
    assert_eq!(store.lease(&before, "you", Duration::from_secs(60)).await.unwrap(), None);
    let batch = put(&after).enqueue(queue.clone(), message()).append(log.clone(), Some(&fence), "2");
    let second = store.commit(batch).await.unwrap();
    assert!(second.version() > first.version());
    assert!(matches!(second.outcome(1), Outcome::Duplicate(_)), "{second:?}");
    assert_eq!(store.read_log(&log, 1, 10).await.unwrap().len(), 2);
    let depth = store.depth(&queue).await.unwrap();
    assert_eq!((depth.ready, depth.enqueued), (1, 1));
    let received = store.receive(&queue, 10, Duration::from_secs(60)).await.unwrap().remove(0);
    let third =
        store.commit(WriteBatch::new().ack(&received.receipt).enqueue(queue, Message::new("n"))).await;
    assert!(matches!(third.unwrap().outcome(1), Outcome::Enqueued(id) if id > received.item.id));
    crate::server::drop_schema(&url, &schema).await;
}
