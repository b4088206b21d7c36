//! Several processes on one file, some of which die. Children are this test binary, told by the environment what to do.

use crate::{count, key, place, soon};
use bytes::Bytes;
use martlet_base::Rng;
use martlet_sqlite::SqliteStore;
use martlet_store::{Cells, Expect, Store, WriteBatch};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

const ROLE: &str = "MARTLET_SQLITE_TEST_ROLE";
const FILE: &str = "MARTLET_SQLITE_TEST_FILE";

const INCREMENTS: usize = 50;
const TASKS: usize = 8;

fn child(role: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::what_a_child_does", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(FILE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// In the parent's run this does nothing: the tests below start it in processes of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_child_does() {
    let (Ok(role), Ok(path)) = (std::env::var(ROLE), std::env::var(FILE)) else { return };
    let store = SqliteStore::open(path).await.unwrap();
    match role.split_once(':') {
        Some(("count", _)) => {
            let cells = Cells::new(Arc::new(store), "");
            for _ in 0..INCREMENTS {
                let add = |cell: Option<&martlet_store::Cell>| {
                    let text = cell.map_or("0", |cell| str::from_utf8(&cell.value).unwrap());
                    Bytes::from((text.parse::<usize>().unwrap() + 1).to_string())
                };
                cells.update("counter", add).await.unwrap();
            }
        }
        Some(("write", round)) => {
            for task in 0..TASKS {
                let (store, round) = (store.clone(), round.to_owned());
                tokio::spawn(async move {
                    for n in 0.. {
                        let name = format!("{round}/{task}/{n:06}");
                        let batch = WriteBatch::new()
                            .put(key(&format!("a/{name}")), Expect::Absent, "v")
                            .put(key(&format!("b/{name}")), Expect::Absent, vec![7; 500]);
                        let _ = store.commit(batch).await.unwrap();
                        writeln!(std::io::stdout().lock(), "acked {name}").unwrap();
                    }
                });
            }
            std::future::pending::<()>().await;
        }
        _ => panic!("no such role: {role}"),
    }
}

#[tokio::test]
async fn four_processes_that_add_to_one_counter_lose_nothing() {
    let (_folder, path) = place();
    let mut children: Vec<Child> = (0..4).map(|_| child("count:", &path)).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let store = SqliteStore::open(&path).await.unwrap();
    let cell = store.get(&[key("counter")]).await.unwrap().remove(0).unwrap();
    assert_eq!(cell.value, (4 * INCREMENTS).to_string());
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_was_acknowledged() {
    let (_folder, path) = place();
    let rng = Rng::system();
    let mut acked = HashSet::new();
    for round in 0..20 {
        let mut child = child(&format!("write:{round}"), &path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: String| acked.extend(line.strip_prefix("acked ").map(str::to_owned));
        // A random place: so many acknowledgements after the first, and a bit of one more commit.
        for _ in 0..=rng.below(150) {
            let line = lines
                .find(|line| line.as_ref().unwrap().starts_with("acked "))
                .expect("the child lives")
                .unwrap();
            note(line);
        }
        for _ in 0..rng.below(50_000) {
            std::hint::black_box(rng.next_u64());
        }
        child.kill().unwrap();
        // What it had said before it died counts.
        lines.for_each(|line| note(line.unwrap()));
        child.wait().unwrap();

        let store = soon(SqliteStore::open(&path)).await.unwrap();
        store.check().await.unwrap();
        let names = async |half: &str| -> HashSet<String> {
            let found = store.scan(half, None, usize::MAX).await.unwrap();
            found.into_iter().map(|(key, _)| key.as_str()[2..].to_owned()).collect()
        };
        let (a, b) = (names("a/").await, names("b/").await);
        assert_eq!(a, b, "half of a batch");
        let lost: Vec<_> = acked.difference(&a).collect();
        assert!(lost.is_empty(), "round {round}: acknowledged and gone: {lost:?}");
        // Each task waits for its commit: what is there has no holes.
        for task in 0..TASKS {
            let prefix = format!("a/{round}/{task}/");
            let n = count(&store, &prefix).await;
            assert!(n == 0 || a.contains(&format!("{round}/{task}/{:06}", n - 1)), "a hole in {prefix}");
        }
        store.close().await;
    }
    assert!(acked.len() > 20, "{}", acked.len());
}
