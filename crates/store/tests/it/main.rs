//! What the contract promises beside the suite that every store runs.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod secrets;
