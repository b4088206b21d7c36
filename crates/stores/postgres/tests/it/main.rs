//! The suite of the contract, and what only a server can get wrong. `MARTLET_TEST_POSTGRES_URL` names a server where
//! databases may be used at will; `cargo xtask test` starts one.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod backup;
mod cluster;
mod conformance;
mod crash;
mod disk;
mod secrets;
mod server;
mod standby;
#[cfg(feature = "rustls")]
mod tls;

use std::collections::BTreeSet;
use std::io::Write;

/// The server under test, or `None` after saying that the test is skipped.
fn url() -> Option<String> {
    given("MARTLET_TEST_POSTGRES_URL")
}

/// PgBouncer in transaction mode before that server.
fn pooler() -> Option<String> {
    given("MARTLET_TEST_PGBOUNCER_URL")
}

fn given(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        skip(&format!("{variable} is not set (`cargo xtask test` starts a server)"));
    }
    url
}

/// Says once that tests are skipped, past the harness, which keeps to itself what tests that pass print.
fn skip(why: &str) {
    static SAID: std::sync::Mutex<BTreeSet<String>> = std::sync::Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap().insert(why.to_owned()) {
        std::io::stderr().write_all(format!("SKIPPED martlet-postgres: {why}\n").as_bytes()).unwrap();
    }
}

/// A schema of one's own.
fn schema(what: &str) -> String {
    let rng = martlet_base::Rng::system();
    format!("{what}_{:016x}", rng.next_u64())
}
