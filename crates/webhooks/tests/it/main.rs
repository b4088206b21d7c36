//! The integration tests: one binary.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod behaviour;
mod docs;
mod property;
mod random;
mod round_trip;
mod sdk;
mod secrets;
mod support;
mod targets;
mod vector_file;

/// Every case of the shared file of vectors, and of the crate's own one.
#[test]
fn vectors() {
    vector_file::run();
}
