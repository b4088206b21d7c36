//! Suites that a piece of the stack must pass, to run on your own: plain async functions, one per promise, and a macro that
//! makes ordinary tests of them.
//!
//! * [`connector`](mod@connector): a platform's client, by [`connector_conformance!`](crate::connector_conformance) and
//!   [`paging_conformance!`](crate::paging_conformance).
//!
//! A case panics with a message that says which promise is broken and by which operation. Time is a
//! [`ManualClock`](martlet_base::ManualClock), the network is in the test: the hours of retries and quota take seconds.

pub mod connector;
mod wire;
