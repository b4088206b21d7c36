//! Eight processes on one file, killed at random under load.

use crate::place;
use martlet_sqlite::SqliteStore;
use martlet_store::conformance::crash::{Crew, again, kills, orders, say, work};
use std::sync::Arc;

const PROCESSES: usize = 8;

/// In the parent's run this does nothing: the test below starts it in processes of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_does() {
    let Some((path, name)) = orders() else { return };
    work(Arc::new(SqliteStore::open(path).await.unwrap()), &name, say).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_processes_break_no_promise() {
    let (_folder, path) = place();
    let file = path.to_str().unwrap();
    let mut crew = Crew::start(PROCESSES, |n| again("crash::what_a_process_does", file, n));
    let (mut killed, wanted) = (0, kills());
    while killed < wanted {
        for _ in 0..10 {
            killed += crew.kill_some();
        }
        crew.stop();
        let store = SqliteStore::open(&path).await.unwrap();
        store.check().await.unwrap();
        crew.witness.check(&store).await;
        store.close().await;
        if killed < wanted {
            crew.go_on(PROCESSES);
        }
    }
    eprintln!("{killed} kills, {} promises kept", crew.witness.heard());
    assert!(crew.witness.heard() > 10 * wanted);
}
