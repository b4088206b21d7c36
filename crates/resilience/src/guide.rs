//! A page for each primitive: its state diagram, its defaults, what can be observed, when not to use it, and how it compares.
//!
//! What is said of other projects was read from their sources in 2026, at the versions named.

#[doc = include_str!("../docs/adaptive.md")]
pub mod adaptive {}
#[doc = include_str!("../docs/breaker.md")]
pub mod breaker {}
#[doc = include_str!("../docs/bulkhead.md")]
pub mod bulkhead {}
#[doc = include_str!("../docs/hedge.md")]
pub mod hedge {}
#[doc = include_str!("../docs/limits.md")]
pub mod limits {}
#[doc = include_str!("../docs/pitfalls.md")]
pub mod pitfalls {}
#[doc = include_str!("../docs/retry.md")]
pub mod retry {}
#[doc = include_str!("../docs/single_flight.md")]
pub mod single_flight {}
