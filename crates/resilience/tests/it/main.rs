//! The primitives as their users see them, on a manual clock.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod breaker;
mod defaults;
mod limits;
mod pitfalls;
mod retry;
mod retry_vectors;
mod rows;
#[cfg(feature = "serde")]
mod serde;
mod sharing;
mod simulations;
mod single_flight;
#[cfg(feature = "tower")]
mod tower;
