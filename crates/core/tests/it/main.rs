//! The pipeline as its users see it: scripted answers, a manual clock, no network.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod breaker;

mod credentials;
mod layers;

mod quota;

mod retry;

mod support;
