//! The suite of the contract, and what only Redis can get wrong. `MARTLET_TEST_REDIS_URL` names a server whose keys may be used at
//! will; `cargo xtask test` starts one.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod conformance;
mod server;

use std::io::Write;
use std::sync::Once;

/// The server under test, or `None` after saying that the test is skipped.
fn url() -> Option<String> {
    let url = std::env::var("MARTLET_TEST_REDIS_URL").ok().filter(|url| !url.is_empty());
    static SAID: Once = Once::new();
    if url.is_none() {
        // Past the harness, which keeps to itself what tests that pass print.
        let words: &[u8] =
            b"SKIPPED martlet-redis: MARTLET_TEST_REDIS_URL is not set (`cargo xtask test` starts a server)\n";
        SAID.call_once(|| std::io::stderr().write_all(words).unwrap());
    }
    url
}

/// A prefix of one's own.
fn prefix(what: &str) -> String {
    let rng = martlet_base::Rng::system();
    format!("{what}-{:016x}", rng.next_u64())
}
