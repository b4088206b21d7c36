//! One of the things that a request must have room in.

use super::calendar::CalendarWindow;
use super::smooth::Gcra;
use super::window::{Next, Window};
use martlet_base::Moment;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(super) enum Rule {
    Strict(Window),
    Smooth(Smooth),
    Calendar(CalendarWindow),
}

pub(super) struct Smooth {
    pub(super) name: Arc<str>,
    pub(super) limit: u32,
    pub(super) per: Duration,
    pub(super) burst: u32,
    pub(super) gcra: Gcra,
}

impl Rule {
    pub(super) fn name(&self) -> &Arc<str> {
        match self {
            Self::Strict(w) => &w.name,
            Self::Smooth(s) => &s.name,
            Self::Calendar(c) => &c.name,
        }
    }

    /// How much fits in at once at most.
    pub(super) fn capacity(&self) -> u32 {
        match self {
            Self::Strict(w) => w.limit,
            Self::Smooth(s) => s.burst,
            Self::Calendar(c) => c.limit,
        }
    }

    pub(super) fn limit(&self) -> u32 {
        match self {
            Self::Strict(w) => w.limit,
            Self::Smooth(s) => s.limit,
            Self::Calendar(c) => c.limit,
        }
    }

    pub(super) fn per(&self) -> Duration {
        match self {
            Self::Strict(w) => w.per,
            Self::Smooth(s) => s.per,
            Self::Calendar(c) => c.calendar.longest(),
        }
    }

    pub(super) fn used(&self, now: Moment) -> u32 {
        match self {
            Self::Strict(w) => w.used(),
            Self::Smooth(s) => s.gcra.used(now),
            Self::Calendar(c) => c.used(),
        }
    }

    /// Gives back the places whose time is over.
    #[inline]
    pub(super) fn expire(&mut self, now: Moment) {
        match self {
            Self::Strict(w) => w.expire(now),
            Self::Smooth(_) => {}
            Self::Calendar(c) => c.expire(now),
        }
    }

    /// When `cost` places will be free, as far as is known. Expects `expire` to have been called.
    #[inline]
    pub(super) fn next(&self, cost: u32, now: Moment) -> Next {
        match self {
            Self::Strict(w) => w.next(cost),
            Self::Smooth(s) => match s.gcra.next(cost, now) {
                Ok(()) => Next::Now,
                Err(Some(at)) => Next::At(at),
                Err(None) => Next::Unknown,
            },
            Self::Calendar(c) => c.next(cost),
        }
    }

    #[inline]
    pub(super) fn admit(&mut self, cost: u32, now: Moment) {
        match self {
            Self::Strict(w) => w.admit(cost),
            Self::Smooth(s) => s.gcra.force(cost, now),
            Self::Calendar(c) => c.admit(cost),
        }
    }

    pub(super) fn cancel(&mut self, cost: u32) {
        match self {
            Self::Strict(w) => w.cancel(cost),
            Self::Smooth(s) => s.gcra.cancel(cost),
            Self::Calendar(c) => c.cancel(cost),
        }
    }

    #[inline]
    pub(super) fn end(&mut self, cost: u32, end: Moment) {
        match self {
            Self::Strict(w) => w.end(cost, end),
            Self::Smooth(_) => {}
            Self::Calendar(c) => c.end(cost, end),
        }
    }

    pub(super) fn others_used(&mut self, remaining: u32, resets: Moment, now: Moment) {
        match self {
            Self::Strict(w) => w.others_used(remaining, resets),
            Self::Smooth(s) => {
                let others = s.burst.saturating_sub(remaining).saturating_sub(s.gcra.used(now));
                s.gcra.force(others, now);
            }
            Self::Calendar(c) => c.others_used(remaining),
        }
    }

    /// A window that is counted by hours and days keeps its span.
    pub(super) fn change(&mut self, limit: u32, per: Duration, now: Moment) -> bool {
        match self {
            Self::Strict(w) => w.change(limit, per),
            Self::Smooth(s) => {
                let used = s.gcra.used(now);
                let Ok(gcra) = Gcra::new(limit, per, s.burst) else { return false };
                gcra.force(used, now);
                (s.limit, s.per, s.gcra) = (limit, per, gcra);
            }
            Self::Calendar(c) => c.limit = limit,
        }
        true
    }

    /// When the `k`-th place from now comes, if all are taken as soon as they come and calls take no time.
    pub(super) fn place_at(&self, k: u64, now: Moment) -> Moment {
        match self {
            Self::Strict(w) => w.place_at(k, now),
            Self::Smooth(s) => s.gcra.place_at(k, now),
            Self::Calendar(c) => c.place_at(k).unwrap_or(now),
        }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strict(w) => w.fmt(f),
            Self::Smooth(s) => write!(f, "{}: {} in {:?}, smooth, burst {}", s.name, s.limit, s.per, s.burst),
            Self::Calendar(c) => write!(f, "{}: {} of {} each {:?}", c.name, c.used(), c.limit, c.calendar),
        }
    }
}
