use martlet_base::Moment;
use std::collections::VecDeque;
use std::time::Duration;

/// A platform's rate limit as the platform counts it: exactly, at the arrival of each request.
///
/// At most `limit` requests are admitted in any span of `per` (its beginning counts, its end does not). A refused request takes
/// no place. Each refusal is a violation: a client that knows the limit should never cause one.
///
/// ```
/// use martlet_base::Moment;
/// use martlet_testkit::RateWindow;
/// use std::time::Duration;
///
/// let mut window = RateWindow::new(2, Duration::from_secs(10));
/// let at = |secs| Moment::ZERO + Duration::from_secs(secs);
/// assert!(window.arrive(at(0)).admitted);
/// assert_eq!(window.arrive(at(9)).in_window, 2);
/// assert!(!window.arrive(at(9)).admitted);
/// assert!(window.arrive(at(10)).admitted, "the first one has left the window");
/// assert_eq!(window.violations(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct RateWindow {
    limit: u32,
    per: Duration,
    /// The arrivals of the last `per`, and whether each was admitted.
    arrivals: VecDeque<(Moment, bool)>,
    taken: u32,
    violations: u64,
}

/// What became of a request that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival {
    /// Whether the limit has room for it; otherwise the platform answers 429.
    pub admitted: bool,
    /// Places taken in the window that ends now, this one included if it was admitted.
    pub in_window: u32,
}

impl RateWindow {
    /// At most `limit` requests in any span of `per`.
    #[must_use]
    pub const fn new(limit: u32, per: Duration) -> Self {
        Self { limit, per, arrivals: VecDeque::new(), taken: 0, violations: 0 }
    }

    /// Counts a request that arrives at `now`. A moment before the last arrival counts as that one: two threads may read the
    /// clock in one order and come here in the other.
    pub fn arrive(&mut self, now: Moment) -> Arrival {
        let now = self.arrivals.back().map_or(now, |(last, _)| now.max(*last));
        self.forget_before(now);
        let admitted = self.taken < self.limit;
        self.taken += u32::from(admitted);
        self.violations += u64::from(!admitted);
        self.arrivals.push_back((now, admitted));
        Arrival { admitted, in_window: self.taken }
    }

    /// Requests that were refused so far.
    #[must_use]
    pub const fn violations(&self) -> u64 {
        self.violations
    }

    /// The limit.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// How many requests, refused ones included, arrived in the last `span` before `now`; `span` is at most the window's own.
    #[must_use]
    pub fn arrivals_within(&self, now: Moment, span: Duration) -> usize {
        let recent = self.arrivals.iter().rev().take_while(|(at, _)| now.since(*at) < span);
        recent.filter(|(at, _)| *at <= now).count()
    }

    /// How long after `now` the next place is free; zero when one is free.
    #[must_use]
    pub fn free_in(&self, now: Moment) -> Duration {
        let live = self.arrivals.iter().filter(|(at, admitted)| *admitted && now.since(*at) < self.per);
        let over = live.clone().count().checked_sub(self.limit as usize);
        over.and_then(|over| live.map(|(at, _)| *at).nth(over))
            .map_or(Duration::ZERO, |at| (at + self.per).since(now))
    }

    fn forget_before(&mut self, now: Moment) {
        while let Some(&(at, admitted)) = self.arrivals.front()
            && now.since(at) >= self.per
        {
            self.arrivals.pop_front();
            self.taken -= u32::from(admitted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_refused_request_takes_no_place_and_is_counted() {
        let mut window = RateWindow::new(3, Duration::from_secs(1));
        for t in [0, 100, 200] {
            assert!(window.arrive(at(t)).admitted);
        }
        for t in [300, 999] {
            assert_eq!(window.arrive(at(t)), Arrival { admitted: false, in_window: 3 });
        }
        assert_eq!((window.violations(), window.arrivals_within(at(999), Duration::from_secs(1))), (2, 5));
        assert_eq!(window.arrivals_within(at(999), Duration::from_millis(800)), 3);
        // The place of t=0 is free again at the exact end of its span.
        assert_eq!(window.free_in(at(999)), Duration::from_millis(1));
        assert_eq!(window.free_in(at(1_000)), Duration::ZERO);
        assert_eq!(window.arrive(at(1_000)), Arrival { admitted: true, in_window: 3 });
        assert!(!window.arrive(at(1_050)).admitted);
    }

    #[test]
    fn a_moment_out_of_order_counts_as_the_last_one() {
        let mut window = RateWindow::new(1, Duration::from_secs(1));
        window.arrive(at(5_000));
        assert!(!window.arrive(at(4_000)).admitted);
        assert_eq!(window.arrivals_within(at(5_100), Duration::from_millis(500)), 2);
    }

    #[test]
    fn no_span_holds_more_than_the_limit() {
        let rng = martlet_base::Rng::seeded(1);
        let mut window = RateWindow::new(7, Duration::from_millis(100));
        let (mut t, mut admitted) = (0, Vec::new());
        for _ in 0..2_000 {
            t += rng.below(20);
            if window.arrive(at(t)).admitted {
                admitted.push(t);
            }
        }
        for (i, start) in admitted.iter().enumerate() {
            let within = admitted[i..].iter().take_while(|t| **t < start + 100).count();
            assert!(within <= 7, "{within} from {start}");
        }
        assert_eq!(admitted.len() as u64 + window.violations(), 2_000);
    }
}
