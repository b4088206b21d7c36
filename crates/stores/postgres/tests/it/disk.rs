//! A disk that is full: what the server answers, that nothing is lost, and that all goes on when there is space again.

use crate::cluster::Cluster;
use martlet_postgres::PostgresStore;
use martlet_store::{CellKey, Expect, Message, QueueName, Store, StoreErrorKind, WriteBatch};
use std::process::Command;
use std::time::Duration;

/// A library before the server's own: while a certain file exists, no table or index grows.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static int no_space(int fd, off_t end) {
    const char *flag = getenv("MARTLET_TEST_DISK_FULL");
    char link[64], path[512];
    struct stat stat;
    if (flag == NULL || access(flag, F_OK) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strstr(path, "/base/") != NULL && fstat(fd, &stat) == 0 && end > stat.st_size;
}
#define SHIM(name) ssize_t name(int fd, const void *data, size_t size, off_t at) { \
    if (no_space(fd, at + (off_t)size)) { errno = ENOSPC; return -1; } \
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, #name); \
    return real(fd, data, size, at); }
SHIM(pwrite)
SHIM(pwrite64)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_loses_nothing_and_is_got_over() {
    let Some(mut cluster) = Cluster::new() else {
        return crate::skip("the test of a full disk needs PostgreSQL's programs in /usr/lib/postgresql");
    };
    let (source, library) = (cluster.write("full.c", SHIM), cluster.folder().join("full.so"));
    let cc =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
    if !cc.is_ok_and(|status| status.success()) {
        return crate::skip("the test of a full disk needs a C compiler");
    }
    cluster.own(&library);
    let flag = cluster.folder().join("full");
    cluster.env =
        vec![("LD_PRELOAD".to_owned(), library), ("MARTLET_TEST_DISK_FULL".to_owned(), flag.clone())];
    cluster.start().await;
    let store = PostgresStore::builder(&cluster.url()).wait(Duration::from_secs(5)).open().await.unwrap();
    let queue = QueueName::new("q").unwrap();
    let big = || vec![7_u8; 100_000];
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
