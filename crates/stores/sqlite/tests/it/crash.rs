//! Eight processes on one file, killed at random under load.

use crate::place;
use martlet_sqlite::SqliteStore;
use martlet_store::conformance::crash::{Crew, kills, work};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

const FILE: &str = "MARTLET_SQLITE_CRASH_FILE";
const NAME: &str = "MARTLET_SQLITE_CRASH_NAME";
const PROCESSES: usize = 8;

/// In the parent's run this does nothing: the test below starts it in processes of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_does() {
    let (Ok(path), Ok(name)) = (std::env::var(FILE), std::env::var(NAME)) else { return };
    let store = Arc::new(SqliteStore::open(path).await.unwrap());
    work(store, &name, |line| {
        let mut out = std::io::stdout().lock();
        // Whole at once, so that a kill cuts no number in two; nobody listens when the parent is gone.
        if writeln!(out, "witness: {line} .").is_err() {
            std::process::exit(1);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_processes_break_no_promise() {
    let (_folder, path) = place();
    let file = path.clone();
    let spawn = move |n: usize| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::what_a_process_does", "--nocapture", "--test-threads=1"])
            .env(FILE, &file)
            .env(NAME, format!("p{n}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut crew = Crew::start(PROCESSES, spawn);
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
