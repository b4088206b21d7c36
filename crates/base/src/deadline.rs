use crate::Moment;
use std::time::Duration;

/// The moment after which nobody waits for the answer. A value, not a timer: what waits reads it.
///
/// [`Deadline::NONE`] never passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Moment);

impl Deadline {
    /// A deadline that never passes.
    pub const NONE: Self = Self(Moment::MAX);

    /// The deadline at `moment`.
    #[must_use]
    pub const fn at(moment: Moment) -> Self {
        Self(moment)
    }

    /// The deadline `budget` after `now`.
    #[must_use]
    pub fn after(now: Moment, budget: Duration) -> Self {
        Self(now + budget)
    }

    /// The moment it passes, or `None` for [`Deadline::NONE`].
    #[must_use]
    pub fn moment(self) -> Option<Moment> {
        (self.0 != Moment::MAX).then_some(self.0)
    }

    /// The time left: `None` without a deadline, zero once it has passed.
    #[must_use]
    pub fn remaining(self, now: Moment) -> Option<Duration> {
        self.moment().map(|at| at.since(now))
    }

    /// Whether it has passed. At the exact moment it has.
    #[must_use]
    pub fn has_passed(self, now: Moment) -> bool {
        self.moment().is_some_and(|at| at <= now)
    }

    /// Whether waiting until `moment` would miss it.
    #[must_use]
    pub fn is_before(self, moment: Moment) -> bool {
        self.0 < moment
    }

    /// The earlier of the two.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        self.min(other)
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Self::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_at_the_exact_moment() {
        let d = Deadline::after(Moment::from_nanos(5), Duration::from_nanos(10));
        assert!(!d.has_passed(Moment::from_nanos(14)));
        assert!(d.has_passed(Moment::from_nanos(15)));
        assert_eq!(d.remaining(Moment::from_nanos(20)), Some(Duration::ZERO));
    }

    #[test]
    fn none_never_passes_and_loses_every_comparison() {
        assert!(!Deadline::NONE.has_passed(Moment::MAX));
        assert_eq!(Deadline::NONE.remaining(Moment::ZERO), None);
        let d = Deadline::at(Moment::from_nanos(1));
        assert_eq!(Deadline::NONE.earlier(d), d);
    }
}
