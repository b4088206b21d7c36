//! Against the simulator, in process and on loopback.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod pipeline;
mod support;
