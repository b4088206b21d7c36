#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod connection;
mod deadline;
mod fault;
#[cfg(doctest)]
mod forbidden;
mod ids;
mod rng;
mod signal;
mod time;

pub use clock::{Clock, ClockHold, ManualClock, Sleep, TimeSource};
pub use connection::{ConnectionId, InvalidConnectionId};
pub use deadline::Deadline;
pub use fault::{Delivery, Fault, Recovery};
pub use ids::{CallIds, TraceContext, UuidV7};
pub use rng::Rng;
#[cfg(feature = "tracing")]
pub use signal::TracingObserver;
pub use signal::{BreakerState, CallOutcome, Observer, Observers, Signal};
pub use time::{InvalidTimestamp, Moment, Timestamp};
