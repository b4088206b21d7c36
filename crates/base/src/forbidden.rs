//! What must not compile, each for the reason that its error code names.

/// A moment is of one clock and no date; what counts from an epoch is a `Timestamp`.
///
/// ```compile_fail,E0308
/// # use martlet_base::{Deadline, Moment, Timestamp};
/// Deadline::at(Timestamp::from_secs(0));
/// ```
///
/// A deadline is a point in time, and a budget is none.
///
/// ```compile_fail,E0308
/// # use martlet_base::{Deadline, Moment};
/// # use std::time::Duration;
/// Deadline::at(Duration::from_secs(1));
/// ```
///
/// ```compile_fail,E0308
/// # use martlet_base::Moment;
/// let _ = Moment::ZERO + Moment::ZERO;
/// ```
///
/// Whoever holds a clock lets go of it once.
///
/// ```compile_fail,E0277
/// # use martlet_base::ClockHold;
/// fn is_clone<T: Clone>() {}
/// is_clone::<ClockHold>();
/// ```
///
/// The right way to write each of them.
///
/// ```
/// # use martlet_base::{ClockHold, Deadline, Moment, Timestamp};
/// # use std::time::Duration;
/// fn is_clone<T: Clone>() {}
/// is_clone::<Deadline>();
/// let _ = (Deadline::at(Moment::ZERO + Duration::from_secs(1)), Timestamp::from_secs(0), ClockHold::none());
/// ```
struct Time;
