//! Against scripted answers, the simulator in process, and the vendor's own client on loopback.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod batches;
mod conformance;
mod npm;
mod pipeline;
mod reading;
mod secrets;
mod sim;
mod support;
mod trouble;
