//! Migrations, backups, the write-ahead log, and waiting across processes.

use crate::{count, key, place, put, soon};
use martlet_base::{Clock, ManualClock, Timestamp};
use martlet_sqlite::SqliteStore;
use martlet_store::{Expect, LogId, Message, Queue, QueueName, Store, StoreErrorKind, Version, WriteBatch};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

fn pause(time: Duration) {
    let (_open, nothing) = std::sync::mpsc::channel::<()>();
    let _ = nothing.recv_timeout(time);
}

/// Each file was written by the version that had this schema. `tests/golden/README.md` says what is in them.
#[tokio::test]
async fn files_of_every_older_schema_are_brought_up_to_date() {
    for schema in [1, 2] {
        let (_folder, path) = place();
        std::fs::copy(format!("{GOLDEN}/schema-{schema}.db"), &path).unwrap();
        let clock = ManualClock::starting_at(Timestamp::from_secs(1_700_000_010));
        if schema == 1 {
            let error = SqliteStore::builder(&path).read_only(true).open().await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::ReadOnly, "an old file must be opened for writing once");
        }
        let store = SqliteStore::builder(&path).clock(clock.clock()).create(false).open().await.unwrap();
        store.check().await.unwrap();
        let keys = ["cell/0", "cell/4", "expiring", "ünïcode/✓"].map(key);
        let cells = store.get(&keys).await.unwrap();
        let values: Vec<_> = cells.iter().map(|cell| cell.as_ref().unwrap().value.to_vec()).collect();
        assert_eq!(values, [b"value 0".to_vec(), b"value 4".to_vec(), b"soon".to_vec(), vec![0, 255, 7]]);
        assert_eq!(cells[0].as_ref().unwrap().version, Version::from_u64(1));
        assert_eq!(cells[2].as_ref().unwrap().expires, Some(Timestamp::from_secs(1_700_003_600)));
        let fence = store.lease(&key("job"), "owner b", Duration::from_secs(60)).await.unwrap().unwrap();
        assert_eq!(fence.token(), 2, "the fence goes on");
        if schema >= 2 {
            let log = LogId::new("run", "1").unwrap();
            assert_eq!(store.read_log(&log, 1, 10).await.unwrap().len(), 2);
            let depth = store.depth(&QueueName::new("inbox").unwrap()).await.unwrap();
            assert_eq!(
                (depth.ready, depth.blocked, depth.buried, depth.enqueued, depth.acked),
                (1, 1, 1, 4, 1)
            );
        }
        // What came later works in it.
        let batch = WriteBatch::new()
            .append(LogId::new("run", "2").unwrap(), None, "r")
            .enqueue(QueueName::new("q").unwrap(), Message::new("m").dedup("d"))
            .put(key("cell/0"), cells[0].as_ref().unwrap().version, "new");
        let version = store.commit(batch).await.unwrap().version();
        assert!(version > cells[3].as_ref().unwrap().version, "versions go on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_store_in_use_is_whole() {
    let (folder, path) = place();
    let store = SqliteStore::open(&path).await.unwrap();
    let batch = (0..500).fold(WriteBatch::new(), |batch, n| {
        batch.put(key(&format!("k/{n:03}")), Expect::Any, vec![n as u8; 2_000])
    });
    let _ = store.commit(batch).await.unwrap();
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0.. {
                // Both or neither must be in the backup.
                let batch = put(&format!("a/{n}"), "v").put(key(&format!("b/{n}")), Expect::Any, "v");
                if store.commit(batch).await.is_err() {
                    return;
                }
            }
        })
    };
    for n in 0..3 {
        let to = folder.path().join(format!("backup-{n}.db"));
        store.backup(&to).await.unwrap();
        let copy = SqliteStore::builder(&to).read_only(true).open().await.unwrap();
        copy.check().await.unwrap();
        assert_eq!(count(&copy, "k/").await, 500);
        assert_eq!(count(&copy, "a/").await, count(&copy, "b/").await);
        let error = store.backup(&to).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid, "a backup is not overwritten: {error}");
    }
    let error = store.backup(folder.path().join("missing/backup.db")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotFound, "{error}");
    store.close().await;
    writer.await.unwrap();
    assert_eq!(store.backup(folder.path().join("late.db")).await.unwrap_err().kind(), StoreErrorKind::Closed);
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("part"))
        .collect();
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn a_backup_is_a_store_like_any_other() {
    let (folder, path) = place();
    let store = SqliteStore::open(&path).await.unwrap();
    let queue = QueueName::new("q").unwrap();
    let version =
        store.commit(put("a", "1").enqueue(queue.clone(), Message::new("m"))).await.unwrap().version();
    let to = folder.path().join("copy.db");
    store.backup(&to).await.unwrap();
    let copy = SqliteStore::open(&to).await.unwrap();
    let _ = copy.commit(WriteBatch::new().put(key("a"), version, "2")).await.unwrap();
    let taken = copy.receive(&queue, 1, Duration::from_secs(1)).await.unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!(store.depth(&queue).await.unwrap().ready, 1, "the original is another store");
}

fn log_bytes(path: &Path) -> u64 {
    std::fs::metadata(path.with_extension("db-wal")).map_or(0, |file| file.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_write_ahead_log_stays_small_under_load_and_is_folded_in_when_idle() {
    let (folder, path) = place();
    let store =
        SqliteStore::builder(&path).durability(martlet_sqlite::Durability::Normal).open().await.unwrap();
    let (mut largest, mut last) = (0, Version::from_u64(0));
    for n in 0..400 {
        // 200 kB each: 80 MB in all.
        let batch = put(&format!("k/{}", n % 7), vec![n as u8; 200_000]);
        last = store.commit(batch).await.unwrap().version();
        largest = largest.max(log_bytes(&path));
    }
    assert!(largest < 40 << 20, "{largest} bytes of log");
    let clock = Clock::system();
    let before = clock.now();
    // The file by itself, without its log.
    let copied = folder.path().join("copied.db");
    loop {
        std::fs::copy(&path, &copied).unwrap();
        let alone = rusqlite::Connection::open(&copied).unwrap();
        let sql = "SELECT max(version) FROM martlet_cell";
        if alone.query_row(sql, [], |row| row.get(0)) == Ok(Some(last.as_u64())) {
            break;
        }
        assert!(clock.now().since(before) < Duration::from_secs(30), "version {last:?} is not in the file");
        pause(Duration::from_millis(50));
    }
    assert_eq!(count(&store, "k/").await, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_another_process_wakes_who_waits() {
    let (_folder, path) = place();
    let name = QueueName::new("q").unwrap();
    // Another store on the same file is as good as another process: they share nothing in memory.
    let (here, there) = (SqliteStore::open(&path).await.unwrap(), SqliteStore::open(&path).await.unwrap());
    let queue = Queue::new(Arc::new(here), name.clone());
    let clock = Clock::system();
    let waiter = tokio::spawn(async move { queue.next(1, Duration::from_secs(60)).await.unwrap() });
    pause(Duration::from_millis(100));
    let before = clock.now();
    let _ = there.commit(WriteBatch::new().enqueue(name, Message::new("m"))).await.unwrap();
    let taken = soon(waiter).await.unwrap();
    assert_eq!(taken.len(), 1);
    let waited = clock.now().since(before);
    assert!(waited < Duration::from_secs(3), "{waited:?}: it was found by looking again, not by being woken");
}

#[tokio::test]
async fn forgotten_dedup_keys_are_removed_from_the_file() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).await.unwrap();
    let name = QueueName::new("q").unwrap();
    for n in 0..20 {
        let message = Message::new("m").dedup_for(n.to_string(), Duration::from_millis(1));
        let _ = store.commit(WriteBatch::new().enqueue(name.clone(), message)).await.unwrap();
    }
    let conn = rusqlite::Connection::open(&path).unwrap();
    let rows =
        || -> u32 { conn.query_row("SELECT count(*) FROM martlet_dedup", [], |row| row.get(0)).unwrap() };
    let clock = Clock::system();
    let before = clock.now();
    while rows() > 0 {
        assert!(clock.now().since(before) < Duration::from_secs(30), "nothing was removed");
        let _ = store.commit(put("x", "v")).await.unwrap();
    }
}

#[tokio::test]
async fn removing_keeps_up_with_what_expires() {
    let (_folder, path) = place();
    let store =
        SqliteStore::builder(&path).durability(martlet_sqlite::Durability::Normal).open().await.unwrap();
    let past = store.now().await.unwrap();
    let batch = (0..20_000).fold(WriteBatch::new(), |batch, n| {
        batch.put_expiring(key(&format!("old/{n}")), Expect::Any, "v", past)
    });
    let _ = store.commit(batch).await.unwrap();
    let conn = rusqlite::Connection::open(&path).unwrap();
    let rows =
        || -> u32 { conn.query_row("SELECT count(*) FROM martlet_cell", [], |row| row.get(0)).unwrap() };
    let clock = Clock::system();
    let before = clock.now();
    // At a fixed rate of 512 a second it would take 40 seconds, and somebody who writes more would never be caught up with.
    while rows() > 1 {
        let waited = clock.now().since(before);
        assert!(waited < Duration::from_secs(20), "{} are left", rows());
        let _ = store.commit(put("x", "v")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_backups_to_one_place_at_once_one_is_made() {
    let (folder, path) = place();
    let store = SqliteStore::open(&path).await.unwrap();
    let batch = (0..2_000)
        .fold(WriteBatch::new(), |batch, n| batch.put(key(&format!("k/{n}")), Expect::Any, vec![7; 1_000]));
    let _ = store.commit(batch).await.unwrap();
    let to = folder.path().join("copy.db");
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (store, to) = (store.clone(), to.clone());
            tokio::spawn(async move { store.backup(to).await })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => made += 1,
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Invalid, "{error}"),
        }
    }
    assert_eq!(made, 1);
    let copy = SqliteStore::builder(&to).create(false).open().await.unwrap();
    assert_eq!(count(&copy, "k/").await, 2_000);
}
