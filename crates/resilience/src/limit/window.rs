use martlet_base::Moment;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A window with more places than this counts them in slices of time instead of one by one.
const EXACT: u32 = 4_096;

/// At most `limit` arrivals at the server in any span of `per`.
///
/// The server counts a request when it arrives, some time between its admission here and its end. So a place is taken
/// from the admission until `per` after the end: whenever the request really arrived, the span that it counts in is over
/// by then. Needs memory for at most `min(limit, about 4,096)` ends, and only for those that happened.
pub(super) struct Window {
    pub(super) name: Arc<str>,
    pub(super) limit: u32,
    pub(super) per: Duration,
    /// Places of requests under way.
    in_flight: u32,
    /// Places of requests that ended, by the time of their end, in order.
    ended: VecDeque<(Moment, u32)>,
    /// The sum of `ended`.
    cooling: u32,
}

/// When a request may be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Now,
    At(Moment),
    /// It depends on requests under way.
    Unknown,
}

impl Next {
    /// The later of the two.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Now, next) | (next, Self::Now) => next,
            (Self::At(a), Self::At(b)) => Self::At(a.max(b)),
        }
    }
}

impl Window {
    pub(super) fn new(name: &str, limit: u32, per: Duration) -> Self {
        Self { name: name.into(), limit, per, in_flight: 0, ended: VecDeque::new(), cooling: 0 }
    }

    pub(super) fn used(&self) -> u32 {
        self.in_flight + self.cooling
    }

    /// Gives back the places whose time is over.
    pub(super) fn expire(&mut self, now: Moment) {
        while let Some(&(end, places)) = self.ended.front()
            && end + self.per <= now
        {
            self.cooling -= places;
            self.ended.pop_front();
        }
    }

    /// When `cost` places will be free, as far as is known. Expects `expire` to have been called.
    pub(super) fn next(&self, cost: u32) -> Next {
        let Some(mut missing) = (u64::from(self.used()) + u64::from(cost))
            .checked_sub(u64::from(self.limit))
            .filter(|missing| *missing > 0)
        else {
            return Next::Now;
        };
        for &(end, places) in &self.ended {
            missing = missing.saturating_sub(places.into());
            if missing == 0 {
                return Next::At(end + self.per);
            }
        }
        Next::Unknown
    }

    pub(super) fn admit(&mut self, cost: u32) {
        self.in_flight += cost;
    }

    /// The request was never sent.
    pub(super) fn cancel(&mut self, cost: u32) {
        self.in_flight -= cost;
    }

    /// The request can no longer arrive after `end`.
    pub(super) fn end(&mut self, cost: u32, end: Moment) {
        self.in_flight -= cost;
        if cost == 0 {
            return;
        }
        self.cooling += cost;
        let end = self.rounded(end);
        // Nearly always the last one; requests of unknown fate end in the future and may stand behind it.
        let at = self.ended.len() - self.ended.iter().rev().take_while(|(other, _)| *other > end).count();
        match at.checked_sub(1).and_then(|before| self.ended.get_mut(before)) {
            Some((other, places)) if *other == end => *places += cost,
            _ => self.ended.insert(at, (end, cost)),
        }
    }

    /// Rounds up, never down: a place may come back late by 1/4096 of the window, never early.
    fn rounded(&self, end: Moment) -> Moment {
        if self.limit <= EXACT {
            return end;
        }
        let slice = (u64::try_from(self.per.as_nanos()).unwrap_or(u64::MAX) / u64::from(EXACT)).max(1);
        Moment::from_nanos(end.as_nanos().checked_next_multiple_of(slice).unwrap_or(u64::MAX))
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {} in {:?}", self.name, self.used(), self.limit, self.per)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    fn at(secs: u64) -> Moment {
        Moment::ZERO + SEC * u32::try_from(secs).unwrap()
    }

    #[test]
    fn a_place_is_free_exactly_per_after_its_end() {
        let mut w = Window::new("w", 1, 10 * SEC);
        w.admit(1);
        assert_eq!(w.next(1), Next::Unknown);
        w.end(1, at(3));
        assert_eq!(w.next(1), Next::At(at(13)));
        w.expire(Moment::from_nanos(at(13).as_nanos() - 1));
        assert_eq!(w.used(), 1);
        w.expire(at(13));
        assert_eq!((w.used(), w.next(1)), (0, Next::Now));
    }

    #[test]
    fn ends_out_of_order_are_kept_in_order() {
        let mut w = Window::new("w", 5, 10 * SEC);
        w.admit(5);
        for end in [2, 40, 3, 3, 1] {
            w.end(1, at(end));
        }
        assert_eq!([1, 2, 3, 4, 5].map(|cost| w.next(cost)), [11, 12, 13, 13, 50].map(|s| Next::At(at(s))));
        w.expire(at(13));
        assert_eq!(w.used(), 1);
    }

    #[test]
    fn a_million_places_a_day_need_little_memory() {
        let mut w = Window::new("daily", 1_000_000, 86_400 * SEC);
        for i in 0..1_000_000u64 {
            w.admit(1);
            w.end(1, Moment::from_nanos(i * 86_400_000));
        }
        assert_eq!(w.used(), 1_000_000);
        assert!(w.ended.len() <= 4_098, "{}", w.ended.len());
        let Next::At(first) = w.next(1) else { panic!("no place is known") };
        assert!(first >= at(86_400) && first <= at(86_400 + 22), "{first:?}");
    }

    #[test]
    fn a_shrunk_limit_waits_for_as_many_places_as_are_too_many() {
        let mut w = Window::new("w", 3, 10 * SEC);
        w.admit(3);
        (1..=3).for_each(|s| w.end(1, at(s)));
        w.limit = 1;
        assert_eq!(w.next(1), Next::At(at(13)));
    }
}
