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
/// by then. Needs memory for at most `min(limit, about 4,096)` places that come back, and only for those in use.
pub(super) struct Window {
    pub(super) name: Arc<str>,
    pub(super) limit: u32,
    pub(super) per: Duration,
    /// Places of requests under way.
    in_flight: u32,
    /// Places of requests that ended, by the time they come back, in order.
    back_at: VecDeque<(Moment, u32)>,
    /// The sum of `back_at`.
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
        Self { name: name.into(), limit, per, in_flight: 0, back_at: VecDeque::new(), cooling: 0 }
    }

    #[inline]
    pub(super) fn used(&self) -> u32 {
        self.in_flight + self.cooling
    }

    /// Gives back the places whose time is over.
    #[inline]
    pub(super) fn expire(&mut self, now: Moment) {
        while let Some(&(at, places)) = self.back_at.front()
            && at <= now
        {
            self.cooling -= places;
            self.back_at.pop_front();
        }
    }

    /// When `cost` places will be free, as far as is known. Expects `expire` to have been called.
    #[inline]
    pub(super) fn next(&self, cost: u32) -> Next {
        let Some(mut missing) = (u64::from(self.used()) + u64::from(cost))
            .checked_sub(u64::from(self.limit))
            .filter(|missing| *missing > 0)
        else {
            return Next::Now;
        };
        for &(at, places) in &self.back_at {
            missing = missing.saturating_sub(places.into());
            if missing == 0 {
                return Next::At(at);
            }
        }
        Next::Unknown
    }

    #[inline]
    pub(super) fn admit(&mut self, cost: u32) {
        self.in_flight += cost;
    }

    /// The request was never sent.
    pub(super) fn cancel(&mut self, cost: u32) {
        self.in_flight -= cost;
    }

    /// The request can no longer arrive after `end`.
    #[inline]
    pub(super) fn end(&mut self, cost: u32, end: Moment) {
        self.in_flight -= cost;
        self.take_until(end + self.per, cost);
    }

    /// The server has only `remaining` places left until `resets`.
    pub(super) fn others_used(&mut self, remaining: u32, resets: Moment) {
        let others = self.limit.saturating_sub(remaining).saturating_sub(self.used());
        self.take_until(resets, others);
    }

    /// When the `k`-th place from now comes, if all are taken as soon as they come. Each one comes again after `per`.
    pub(super) fn place_at(&self, k: u64, now: Moment) -> Moment {
        let limit = u64::from(self.limit);
        let (round, mut index) = ((k - 1) / limit, (k - 1) % limit);
        let free = limit.saturating_sub(self.used().into());
        let places =
            std::iter::once((now, free)).chain(self.back_at.iter().map(|(at, n)| (*at, u64::from(*n))));
        let first = places
            .into_iter()
            .find(|(_, n)| {
                let found = index < *n;
                index = index.saturating_sub(*n);
                found
            })
            // The rest is under way, and back at the earliest a span from now.
            .map_or(now + self.per, |(at, _)| at.max(now));
        let round = u32::try_from(round).unwrap_or(u32::MAX);
        first + self.per.saturating_mul(round)
    }

    /// Changes the window, also for the places in use.
    pub(super) fn change(&mut self, limit: u32, per: Duration) {
        for (at, _) in &mut self.back_at {
            *at = *at + per - self.per;
        }
        (self.limit, self.per) = (limit, per);
    }

    #[inline]
    fn take_until(&mut self, at: Moment, places: u32) {
        if places == 0 {
            return;
        }
        self.cooling += places;
        let at = self.rounded(at);
        // Nearly always the last one; requests of unknown fate come back late and may stand behind it.
        let index =
            self.back_at.len() - self.back_at.iter().rev().take_while(|(other, _)| *other > at).count();
        let last = index == self.back_at.len();
        match index.checked_sub(1).and_then(|before| self.back_at.get_mut(before)) {
            Some((other, sum)) if *other == at => *sum += places,
            _ if last => self.back_at.push_back((at, places)),
            _ => self.back_at.insert(index, (at, places)),
        }
    }

    /// Rounds up, never down: a place may come back late by 1/4096 of the window, never early.
    #[inline]
    fn rounded(&self, at: Moment) -> Moment {
        if self.limit <= EXACT {
            return at;
        }
        let slice = (u64::try_from(self.per.as_nanos()).unwrap_or(u64::MAX) / u64::from(EXACT)).max(1);
        Moment::from_nanos(at.as_nanos().checked_next_multiple_of(slice).unwrap_or(u64::MAX))
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {} in {:?}", self.name, self.used(), self.limit, self.per)
    }
}

#[cfg(not(martlet_loom))]
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
            w.end(1, Moment::from_nanos(i * 86_400_000 + 1));
        }
        assert_eq!(w.used(), 1_000_000);
        assert!(w.back_at.len() <= 4_098, "{}", w.back_at.len());
        let Next::At(first) = w.next(1) else { panic!("no place is known") };
        assert!(first > at(86_400) && first <= at(86_400 + 22), "rounded up: {first:?}");
    }

    #[test]
    fn a_shrunk_limit_waits_for_as_many_places_as_are_too_many() {
        let mut w = Window::new("w", 3, 10 * SEC);
        w.admit(3);
        (1..=3).for_each(|s| w.end(1, at(s)));
        w.change(1, 10 * SEC);
        assert_eq!(w.next(1), Next::At(at(13)));
    }
}
