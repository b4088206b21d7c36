//! The pipeline as its users see it: scripted answers, a manual clock, no network.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod allocations;
mod breaker;
mod building;
mod bulk;
mod cache;
mod cancellation;
mod credentials;
mod descriptor;
mod docs;
mod hedge;
mod http_cache;
mod idempotency;
mod layers;
mod pager;
mod quota;
mod quota_journal;
mod races;
mod requests;
mod resilience;
mod retry;
mod secrets;
mod spill;
mod support;
mod telemetry;
mod timeouts;
