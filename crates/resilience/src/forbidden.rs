//! What must not compile, each for the reason that its error code names.

/// A permit is given back once, by whoever has it: none is copied.
///
/// ```compile_fail,E0277
/// fn is_clone<T: Clone>() {}
/// is_clone::<martlet_resilience::BreakerPermit>();
/// ```
///
/// ```compile_fail,E0277
/// fn is_clone<T: Clone>() {}
/// is_clone::<martlet_resilience::LimitPermit>();
/// ```
///
/// ```compile_fail,E0277
/// fn is_clone<T: Clone>() {}
/// is_clone::<martlet_resilience::BulkheadPermit>();
/// ```
///
/// ```compile_fail,E0277
/// fn is_clone<T: Clone>() {}
/// is_clone::<martlet_resilience::AdaptivePermit>();
/// ```
///
/// ```compile_fail,E0277
/// fn is_clone<T: Clone>() {}
/// is_clone::<martlet_resilience::RetryPermit>();
/// ```
///
/// Nor settled twice.
///
/// ```compile_fail,E0382
/// # use martlet_base::Moment;
/// fn settle(permit: martlet_resilience::LimitPermit) {
///     permit.finish(Moment::ZERO);
///     permit.cancel();
/// }
/// ```
///
/// ```compile_fail,E0382
/// fn settle(permit: martlet_resilience::RetryPermit) {
///     permit.succeeded();
///     permit.succeeded();
/// }
/// ```
///
/// What hands them out is.
///
/// ```
/// # use martlet_base::Moment;
/// fn is_clone<T: Clone>() {}
/// is_clone::<martlet_resilience::Breaker>();
/// is_clone::<martlet_resilience::Limits>();
/// is_clone::<martlet_resilience::Bulkhead>();
/// is_clone::<martlet_resilience::AdaptiveConcurrency>();
/// is_clone::<martlet_resilience::RetryBudget>();
/// fn settle(one: martlet_resilience::LimitPermit, other: martlet_resilience::RetryPermit) {
///     one.finish(Moment::ZERO);
///     other.succeeded();
/// }
/// ```
struct Permits;
