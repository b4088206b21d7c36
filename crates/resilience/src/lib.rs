#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod adaptive;
mod backoff;
mod breaker;
mod bulkhead;
mod config;
#[cfg(doctest)]
mod forbidden;
pub mod guide;
mod hedge;
pub mod hint;
mod limit;
#[cfg(feature = "ratelimit-headers")]
#[cfg_attr(docsrs, doc(cfg(feature = "ratelimit-headers")))]
pub mod quota_headers;
mod quota_store;
mod registry;
mod retry;
mod single_flight;
mod sync;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod tower;

pub use adaptive::{
    AdaptiveBuilder, AdaptiveConcurrency, AdaptivePermit, AdaptiveRate, AdaptiveSignal, AdaptiveSnapshot,
    LimitChange, Throttle, ThrottleBuilder, Throttled,
};
pub use backoff::{Backoff, BackoffBuilder, Jitter};
pub use breaker::{
    Breaker, BreakerBuilder, BreakerMode, BreakerOpen, BreakerOptions, BreakerPermit, BreakerSnapshot,
    BreakerWindow, Counts, FailureClass, Report, SlowCall, Verdict,
};
pub use bulkhead::{Bulkhead, BulkheadPermit};
pub use config::ConfigError;
pub use hedge::{Hedge, HedgeBuilder, HedgeFailed};
#[cfg(feature = "serde")]
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
pub use limit::LimitsConfig;
pub use limit::{
    Calendar, Gcra, LimitError, LimitPermit, Limits, LimitsBuilder, NextPlace, Overflow, Priority, QuotaPlan,
    WindowUsage,
};
pub use quota_store::{
    Lease, QuotaStore, QuotaStoreDown, Reservation, ReserveFuture, SharedWindow, SharedWindowBuilder,
    WhenDown,
};
pub use registry::{Registry, RegistryFull, Resident};
pub use retry::{
    Attempt, CallInFlight, Decision, Exhausted, Failure, Repeat, Retry, RetryBudget, RetryBudgetBuilder,
    RetryPermit, RetryPolicy, RetryPolicyBuilder, ServerHint, StopReason, retry,
};
pub use single_flight::{FlightError, SingleFlight};

/// Locks, and goes on after a panic elsewhere: no critical section of this crate can stop half way through a change.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
