//! What `docs/state.md` says about backups of Redis, done.

use crate::own::Server;
use martlet_base::Clock;
use martlet_redis::RedisStore;
use martlet_store::{CellKey, Expect, Message, Outcome, QueueName, Store, WriteBatch};
use std::time::Duration;

async fn ask(url: &str, words: &[&str]) -> String {
    let mut conn = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    redis::cmd(words[0]).arg(&words[1..]).query_async(&mut conn).await.unwrap()
}

/// Until the server says this of its persistence.
async fn says(url: &str, line: &str) {
    while !ask(url, &["INFO", "persistence"]).await.lines().any(|said| said == line) {
        Clock::system().sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_restored_and_appended_to_from_then_on() {
    let Some(mut server) = Server::new(&["--appendonly", "yes"]) else {
        return crate::skip("backups need redis-server");
    };
    server.start().await;
    let (queue, url) = (QueueName::new("q").unwrap(), server.url());
    let (before, after) = (CellKey::new("before").unwrap(), CellKey::new("after").unwrap());
    let message = || Message::new("m").dedup("once");
    let put = |key: &CellKey| WriteBatch::new().put(key.clone(), Expect::Absent, "v");
    let store = RedisStore::open(&url).await.unwrap();
    let first = store.commit(put(&before).enqueue(queue.clone(), message())).await.unwrap();
    ask(&url, &["BGSAVE"]).await;
    says(&url, "rdb_bgsave_in_progress:0").await;
    let _ = store.commit(put(&after)).await.unwrap();
    store.close().await;
    server.kill();

    let mut restored = Server::new(&["--appendonly", "no", "--appendfsync", "always"]).unwrap();
    std::fs::copy(server.folder().join("dump.rdb"), restored.folder().join("dump.rdb")).unwrap();
    restored.start().await;
    let url = restored.url();
    ask(&url, &["CONFIG", "SET", "appendonly", "yes"]).await;
    says(&url, "aof_rewrite_in_progress:0").await;
    let store = RedisStore::open(&url).await.unwrap();
    let cells = store.get(&[before.clone(), after.clone()]).await.unwrap();
    assert_eq!(cells[0].as_ref().map(|cell| cell.version), Some(first.version()));
    assert!(cells[1].is_none(), "it came after the backup");
    let again = store.commit(put(&after).enqueue(queue.clone(), message())).await.unwrap();
    assert!(matches!(again.outcome(1), Outcome::Duplicate(_)), "{again:?}");
    store.close().await;

    restored.kill();
    restored.set_args(&["--appendonly", "yes", "--appendfsync", "always"]);
    restored.start().await;
    let store = RedisStore::open(&restored.url()).await.unwrap();
    assert!(store.get(&[before, after]).await.unwrap().iter().all(Option::is_some));
    assert_eq!(store.receive(&queue, 10, Duration::from_secs(60)).await.unwrap().len(), 1);
}
