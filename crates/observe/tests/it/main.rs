//! The log as others read it: by its schema.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod canary;
mod golden;
mod kit;
mod lines;
mod telemetry;
mod writers;
