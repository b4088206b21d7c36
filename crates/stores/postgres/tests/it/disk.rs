//! A disk that is full: what the server answers, that nothing is lost, and that all goes on when there is space again.

use crate::cluster::Cluster;
use martlet_base::{Delivery, Fault, Rng};
use martlet_postgres::PostgresStore;
use martlet_store::{CellKey, Expect, Message, QueueName, Store, StoreErrorKind, WriteBatch};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A library before the server's own: while a certain file exists, no table or index grows; while another one exists, nothing gets into
/// the log.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static int is_set(const char *name) {
    const char *flag = getenv(name);
    return flag != NULL && access(flag, F_OK) == 0;
}
static int no_space(int fd, off_t end) {
    int disk = is_set("MARTLET_TEST_DISK_FULL"), log = is_set("MARTLET_TEST_LOG_FULL");
    char link[64], path[512];
    struct stat stat;
    if (!disk && !log) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    if (log && strstr(path, "/pg_wal/") != NULL) return 1;
    return disk && strstr(path, "/base/") != NULL && fstat(fd, &stat) == 0 && end > stat.st_size;
}
#define SHIM(name) ssize_t name(int fd, const void *data, size_t size, off_t at) { \
    if (no_space(fd, at + (off_t)size)) { errno = ENOSPC; return -1; } \
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, #name); \
    return real(fd, data, size, at); }
SHIM(pwrite)
SHIM(pwrite64)
"#;

/// A server on such a disk, and the two files.
async fn server() -> Option<(Cluster, PathBuf, PathBuf)> {
    let Some(mut cluster) = Cluster::new() else {
        crate::skip("the tests of full disks need PostgreSQL's programs in /usr/lib/postgresql");
        return None;
    };
    let (source, library) = (cluster.write("full.c", SHIM), cluster.folder().join("full.so"));
    let cc =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
    if !cc.is_ok_and(|status| status.success()) {
        crate::skip("the tests of full disks need a C compiler");
        return None;
    }
    cluster.own(&library);
    let (disk, log) = (cluster.folder().join("full"), cluster.folder().join("log_full"));
    cluster.env = vec![
        ("LD_PRELOAD".to_owned(), library),
        ("MARTLET_TEST_DISK_FULL".to_owned(), disk.clone()),
        ("MARTLET_TEST_LOG_FULL".to_owned(), log.clone()),
    ];
    cluster.start().await;
    Some((cluster, disk, log))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_loses_nothing_and_is_got_over() {
    let Some((mut cluster, flag, _)) = server().await else { return };
    let store = PostgresStore::builder(&cluster.url()).wait(Duration::from_secs(5)).open().await.unwrap();
    let queue = QueueName::new("q").unwrap();
    // Nothing that compresses: each of them needs pages of its own, whatever is still free in others.
    let rng = Rng::system();
    let big = || (0..12_500).flat_map(|_| rng.next_u64().to_le_bytes()).collect::<Vec<u8>>();
    let enqueue = || WriteBatch::new().enqueue(queue.clone(), Message::new(big()));
    let put =
        |n: usize| WriteBatch::new().put(CellKey::new(&format!("k{n}")).unwrap(), Expect::Absent, big());

    // Both ways through the store: a statement alone, and what is decided in memory.
    let (mut messages, mut cells, mut full) = (0, 0, 0);
    for n in 0..40 {
        match n {
            10 => std::fs::write(&flag, "").unwrap(),
            30 => std::fs::remove_file(&flag).unwrap(),
            _ => {}
        }
        for (batch, done) in [(enqueue(), &mut messages), (put(n), &mut cells)] {
            match store.commit(batch).await {
                Ok(_) => *done += 1,
                Err(error) => {
                    assert_eq!(error.kind(), StoreErrorKind::Full, "{error}");
                    assert!((10..30).contains(&n), "round {n}: {error}");
                    full += 1;
                }
            }
        }
        // Reading goes on all the while.
        assert_eq!(store.scan("k", None, 100).await.unwrap().len(), cells);
    }
    assert!(full >= 30, "{full} commits met the full disk");
    store.close().await;
    cluster.signal("-KILL");
    cluster.start().await;
    let store = PostgresStore::open(&cluster.url()).await.unwrap();
    assert_eq!(store.scan("k", None, 100).await.unwrap().len(), cells);
    assert_eq!(store.receive(&queue, 100, Duration::from_secs(60)).await.unwrap().len(), messages);
    store.close().await;
}

/// The server panics in the middle of the commit. Its words are those of a full disk, but what it was committing may be in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_write_its_log_does_not_say_whether_it_committed() {
    let Some((mut cluster, _, flag)) = server().await else { return };
    let store = PostgresStore::builder(&cluster.url()).wait(Duration::from_secs(2)).open().await.unwrap();
    let queue = QueueName::new("q").unwrap();
    let put = WriteBatch::new().put(CellKey::new("k").unwrap(), Expect::Any, "v");
    let enqueue = WriteBatch::new().enqueue(queue.clone(), Message::new("m"));
    // Both ways through the store.
    for batch in [&enqueue, &put] {
        let _ = store.commit(batch.clone()).await.unwrap();
        std::fs::write(&flag, "").unwrap();
        let error = store.commit(batch.clone()).await.unwrap_err();
        let told = (error.kind(), error.delivery());
        assert_eq!(told, (StoreErrorKind::Unavailable, Delivery::Unknown), "{error}");
        std::fs::remove_file(&flag).unwrap();
        // It may have come up by itself, or have given up.
        cluster.signal("-KILL");
        cluster.start().await;
    }
    assert!((1..=2).contains(&store.depth(&queue).await.unwrap().ready));
    let _ = store.commit(put).await.unwrap();
}
