//! The suite of the contract, and what only Redis can get wrong. `MARTLET_TEST_REDIS_URL` names a server, and `MARTLET_TEST_REDIS_CLUSTER_URL` a node
//! of a cluster, whose keys may be used at will; `cargo xtask test` starts them.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod backup;
#[cfg(feature = "cluster")]
mod cluster;
mod conformance;
mod copy;
mod crash;
mod own;
mod secrets;
mod server;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;

/// The server under test, or `None` after saying that the test is skipped.
fn url() -> Option<String> {
    variable("MARTLET_TEST_REDIS_URL")
}

/// A node of the cluster under test.
#[cfg(feature = "cluster")]
fn cluster_url() -> Option<String> {
    variable("MARTLET_TEST_REDIS_CLUSTER_URL")
}

fn variable(name: &str) -> Option<String> {
    let url = std::env::var(name).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        skip(&format!("{name} is not set (`cargo xtask test` starts a server)"));
    }
    url
}

/// Says once that tests are skipped, past the harness, which keeps to itself what tests that pass print.
fn skip(why: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap().insert(why.to_owned()) {
        std::io::stderr().write_all(format!("SKIPPED martlet-redis: {why}\n").as_bytes()).unwrap();
    }
}

/// A prefix of one's own.
fn prefix(what: &str) -> String {
    let rng = martlet_base::Rng::system();
    format!("{what}-{:016x}", rng.next_u64())
}
