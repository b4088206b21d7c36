//! HubSpot's client, source and simulator together.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod conformance;
mod facts;
mod kit;
mod npm;
mod objects;
mod reading;
mod simulator;
mod source;
mod trouble;
mod writing;
