//! HubSpot's client, source and simulator together.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod conformance;
mod crm;
mod facts;
mod kit;
mod marketing;
mod npm;
mod objects;
mod reading;
mod secrets;
mod simulator;
mod source;
mod trouble;
mod writing;
