//! The suite of the contract, and what only a file can get wrong.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod conformance;
mod crash;
mod damage;
mod group;
mod lifecycle;
mod own;
mod processes;
mod secrets;
mod upkeep;

use martlet_sqlite::SqliteStore;
use martlet_store::{CellKey, Expect, Store, WriteBatch};
use std::path::PathBuf;
use tempfile::TempDir;

fn key(name: &str) -> CellKey {
    CellKey::new(name).unwrap()
}

fn put(name: &str, value: impl Into<bytes::Bytes>) -> WriteBatch {
    WriteBatch::new().put(key(name), Expect::Any, value)
}

async fn count(store: &SqliteStore, prefix: &str) -> usize {
    store.scan(prefix, None, usize::MAX).await.unwrap().len()
}

/// A folder that goes with the test, and the path of a file in it.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    (folder, path)
}

/// Runs `future`, and panics if it takes longer than a slow machine could need.
async fn soon<F: Future>(future: F) -> F::Output {
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let waited = is_done.recv_timeout(std::time::Duration::from_secs(60));
        if waited == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            // A test that hangs cannot be unwound from another thread.
            eprintln!("a test hangs");
            std::process::abort();
        }
    });
    let output = future.await;
    drop(done);
    watchdog.join().unwrap();
    output
}
