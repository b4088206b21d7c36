//! `martlet_store::copy` from a file to PostgreSQL, to Redis and back to a file, each time in processes that are killed on the way.

use martlet_base::{Clock, Timestamp};
use martlet_postgres::PostgresStore;
use martlet_redis::RedisStore;
use martlet_sqlite::SqliteStore;
use martlet_store::conformance::crash::{again, orders};
use martlet_store::{
    BuryKind, BuryReason, CellKey, Copied, Expect, LogId, Message, QueueName, Store, WriteBatch, copy,
};
use std::time::Duration;

/// A store by its place: a path, or a URL and a schema or prefix.
async fn open(place: &str) -> Box<dyn Store> {
    match place.split_once(' ') {
        None => Box::new(SqliteStore::open(place).await.unwrap()),
        Some((url, schema)) if url.starts_with("postgres") => {
            Box::new(PostgresStore::builder(url).schema(schema).connections(2).open().await.unwrap())
        }
        Some((url, prefix)) => Box::new(RedisStore::builder(url).prefix(prefix).open().await.unwrap()),
    }
}

async fn fill(store: &dyn Store) {
    let soon = store.now().await.unwrap() + Duration::from_secs(7200);
    for n in 0..20 {
        let mut batch = WriteBatch::new();
        for m in 0..100 {
            let key = CellKey::new(&format!("contact/日本/{n:02}/{m:02}")).unwrap();
            batch = match m {
                0 => batch.put_expiring(key, Expect::Any, Vec::new(), soon),
                _ => batch.put(key, Expect::Any, vec![n; 3_000]),
            };
        }
        let _ = store.commit(batch).await.unwrap();
    }
    for (kind, id, count) in [("saga/a", "1", 2_000), ("saga/a", "2", 1), ("saga", "a/1", 300)] {
        let log = LogId::new(kind, id).unwrap();
        let batch = (0..count)
            .fold(WriteBatch::new(), |batch, n| batch.append(log.clone(), None, format!("{kind} {n}")));
        let _ = store.commit(batch).await.unwrap();
    }
    let _ = store.commit(WriteBatch::new().seal(LogId::new("saga/a", "2").unwrap(), None)).await.unwrap();
    for name in ["inbox", "outbox"] {
        let queue = QueueName::new(name).unwrap();
        let mut batch = WriteBatch::new();
        for n in 0..1_000_i16 {
            let mut message = Message::new(vec![7; usize::try_from(n).unwrap() % 2_000]).priority(n % 3);
            if n % 2 == 0 {
                message = message.order_key((n % 50).to_string()).dedup(n.to_string());
            }
            if n % 9 == 0 {
                message = message.not_before(soon);
            }
            batch = batch.enqueue(queue.clone(), message);
        }
        let _ = store.commit(batch).await.unwrap();
        let taken = store.receive(&queue, 20, Duration::from_secs(60)).await.unwrap();
        let batch = WriteBatch::new()
            .bury(&taken[0].receipt, BuryReason::new(BuryKind::Poison, "no sense in it"))
            .retry_because(&taken[1].receipt, Timestamp::UNIX_EPOCH, "503")
            .ack(&taken[2].receipt);
        let _ = store.commit(batch).await.unwrap();
    }
}

/// In the parent's run this does nothing: the test below starts it in processes of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_does() {
    let Some((places, _)) = orders() else { return };
    let (from, to) = places.split_once('\n').unwrap();
    let (from, to) = (open(from).await, open(to).await);
    copy(&*from, &*to).await.unwrap();
}

/// Copies in a process that is killed as soon as it got on by one step, three times, and then to the end.
async fn hop(from: &str, to: &str) -> Copied {
    let destination = open(to).await;
    let progress = [CellKey::new("martlet/copy").unwrap()];
    let version = async || destination.get(&progress).await.unwrap()[0].as_ref().map(|cell| cell.version);
    let mut last = None;
    for n in 0..3 {
        let mut child = again("copy::what_a_process_does", &format!("{from}\n{to}"), n);
        while version().await == last {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
            Clock::system().sleep(Duration::from_millis(1)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        last = version().await;
    }
    let text = destination.get(&progress).await.unwrap()[0].as_ref().unwrap().value.clone();
    assert!(!String::from_utf8_lossy(&text).contains("Done"), "it was killed too late to show anything");
    let from = open(from).await;
    match copy(&*from, &*destination).await {
        // What the last process had sent may be applied after its death: then it looks like another copy, once.
        Err(error) if error.is_conflict() => copy(&*from, &*destination).await.unwrap(),
        copied => copied.unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_round_all_backends_and_is_the_same() {
    let (Some(redis), Some(postgres)) = (crate::url(), crate::variable("MARTLET_TEST_POSTGRES_URL")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let name = crate::prefix("copy").replace('-', "_");
    let places = [file("a.db"), format!("{postgres} {name}"), format!("{redis} {name}"), file("b.db")];
    fill(&*open(&places[0]).await).await;
    let mut copied = Vec::new();
    for hop_of in places.windows(2) {
        copied.push(hop(&hop_of[0], &hop_of[1]).await);
    }
    assert_eq!((copied[0].cells, copied[0].records, copied[0].messages), (2_000, 2_301, 1_998));
    assert!(copied.iter().all(|one| *one == copied[0]), "{copied:?}");
    // Each hop was compared by its checksum; the whole way is as well.
    assert_eq!(copy(&*open(&places[0]).await, &*open(&places[3]).await).await.unwrap(), copied[0]);
}
