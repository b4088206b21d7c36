//! Limits that nobody told us: found by watching the answers.

mod concurrency;
mod rate;
mod throttle;

pub use concurrency::{
    AdaptiveBuilder, AdaptiveConcurrency, AdaptivePermit, AdaptiveSnapshot, LimitChange,
    Signal as AdaptiveSignal,
};
pub use rate::AdaptiveRate;
pub use throttle::{Throttle, ThrottleBuilder, Throttled};
