//! The refresh-token source against a simulated platform with a token endpoint, on a manual clock.

#![allow(
    clippy::unwrap_used,
    clippy::large_futures,
    reason = "tests: a failed unwrap is a failed test, and their futures live once"
)]

mod answers;
mod kit;
mod life;
mod secrets;
mod trouble;
