//! Quotas that are full again at midnight.

use super::window::Next;
use martlet_base::{Clock, Moment, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// When a calendar window begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Calendar {
    /// At each full hour.
    Hour,
    /// At each midnight.
    Day,
    /// At the first midnight of each month.
    Month,
}

impl Calendar {
    /// The first boundary after `wall`, in the time zone that is `offset` seconds east of UTC.
    fn next(self, wall: Timestamp, offset: i32) -> Timestamp {
        let local = wall.as_secs().saturating_add(offset.into());
        let every = |secs: i64| (local.div_euclid(secs) + 1).saturating_mul(secs);
        let boundary = match self {
            Self::Hour => every(3_600),
            Self::Day => every(86_400),
            Self::Month => next_month(local).unwrap_or_else(|| every(30 * 86_400)),
        };
        Timestamp::from_secs(boundary.saturating_sub(offset.into()))
    }

    /// How long it is at most.
    pub(super) const fn longest(self) -> Duration {
        Duration::from_secs(match self {
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Month => 31 * 86_400,
        })
    }
}

/// The first second of the month after `local`, by way of the date's text. `None` beyond the year 9999.
fn next_month(local: i64) -> Option<i64> {
    let text = Timestamp::from_secs(local).to_string();
    let (year, month) = (text.get(..4)?.parse::<u32>().ok()?, text.get(5..7)?.parse::<u32>().ok()?);
    let (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    format!("{year:04}-{month:02}-01T00:00:00Z").parse().ok().map(Timestamp::as_secs)
}

/// At most `limit` in each period of the calendar. A request under way at the boundary counts in both periods: nobody can
/// know in which one it arrives.
pub(super) struct CalendarWindow {
    pub(super) name: Arc<str>,
    pub(super) limit: u32,
    pub(super) calendar: Calendar,
    offset: i32,
    /// When the present period ends, on both scales. The calendar's is what is meant; the moment follows when it jumps.
    ends_wall: Timestamp,
    pub(super) ends: Moment,
    in_flight: u32,
    /// Places of this period's requests that ended.
    ended: u32,
}

impl CalendarWindow {
    pub(super) fn new(name: &str, limit: u32, calendar: Calendar, offset: i32, clock: &Clock) -> Self {
        let ends_wall = calendar.next(clock.wall(), offset);
        let ends = clock.moment_at(ends_wall);
        Self { name: name.into(), limit, calendar, offset, ends_wall, ends, in_flight: 0, ended: 0 }
    }

    /// The calendar may have jumped: looks where the boundary is now.
    pub(super) fn sync(&mut self, now: Moment, wall: Timestamp) {
        self.ends = now + self.ends_wall.since(wall);
        self.expire(now);
    }

    pub(super) fn used(&self) -> u32 {
        self.in_flight.saturating_add(self.ended)
    }

    pub(super) fn expire(&mut self, now: Moment) {
        while now >= self.ends {
            self.ended = 0;
            let next = self.calendar.next(self.ends_wall, self.offset);
            self.ends = self.ends + next.since(self.ends_wall).max(Duration::from_secs(1));
            self.ends_wall = next;
        }
    }

    pub(super) fn next(&self, cost: u32) -> Next {
        if u64::from(self.used()) + u64::from(cost) <= u64::from(self.limit) {
            Next::Now
        } else if u64::from(self.in_flight) + u64::from(cost) <= u64::from(self.limit) {
            Next::At(self.ends)
        } else {
            Next::Unknown
        }
    }

    pub(super) fn admit(&mut self, cost: u32) {
        self.in_flight += cost;
    }

    pub(super) fn cancel(&mut self, cost: u32) {
        self.in_flight -= cost;
    }

    /// The request can no longer arrive after `end`. It counts in this period, and in the next one if it may arrive then.
    pub(super) fn end(&mut self, cost: u32, end: Moment) {
        self.in_flight -= cost;
        self.expire(end);
        self.ended = self.ended.saturating_add(cost);
    }

    pub(super) fn others_used(&mut self, remaining: u32) {
        let others = self.limit.saturating_sub(remaining).saturating_sub(self.used());
        self.ended = self.ended.saturating_add(others);
    }

    pub(super) fn place_at(&self, k: u64) -> Option<Moment> {
        let free = u64::from(self.limit.saturating_sub(self.used()));
        let mut periods = k.checked_sub(free + 1)? / u64::from(self.limit);
        let (mut at, mut wall) = (self.ends, self.ends_wall);
        while periods > 0 && at < Moment::MAX {
            let next = self.calendar.next(wall, self.offset);
            at = at + next.since(wall).max(Duration::from_secs(1));
            (wall, periods) = (next, periods - 1);
        }
        Some(at)
    }
}

#[cfg(not(martlet_loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use martlet_base::ManualClock;

    fn next(calendar: Calendar, wall: &str, offset: i32) -> String {
        calendar.next(wall.parse().unwrap(), offset).to_string()
    }

    #[test]
    fn boundaries_are_those_of_the_accounts_time_zone() {
        for (calendar, wall, hours, expected) in [
            (Calendar::Hour, "2026-01-01T10:59:59.9Z", 0, "2026-01-01T11:00:00Z"),
            (Calendar::Day, "2026-01-01T10:00:00Z", 0, "2026-01-02T00:00:00Z"),
            (Calendar::Day, "2026-01-01T00:00:00Z", 0, "2026-01-02T00:00:00Z"),
            (Calendar::Day, "2026-01-01T10:00:00Z", -5, "2026-01-02T05:00:00Z"),
            (Calendar::Day, "2026-01-01T04:00:00Z", -5, "2026-01-01T05:00:00Z"),
            (Calendar::Month, "2024-02-10T10:00:00Z", 0, "2024-03-01T00:00:00Z"),
            (Calendar::Month, "2026-12-31T23:30:00Z", 1, "2027-01-31T23:00:00Z"),
        ] {
            assert_eq!(next(calendar, wall, hours * 3_600), expected, "{wall} {hours}");
        }
    }

    #[test]
    fn a_request_under_way_at_midnight_counts_in_both_days() {
        let manual = ManualClock::starting_at("2026-03-01T23:59:50Z".parse().unwrap());
        let clock = manual.clock();
        let mut w = CalendarWindow::new("daily", 2, Calendar::Day, 0, &clock);
        assert_eq!(w.ends, clock.now() + Duration::from_secs(10));
        w.admit(2);
        assert_eq!(w.next(1), Next::Unknown);
        w.end(1, clock.now());
        assert_eq!(w.next(1), Next::At(w.ends));
        w.expire(w.ends);
        assert_eq!((w.used(), w.next(1)), (1, Next::Now));
        w.end(1, w.ends - Duration::from_secs(86_399));
        assert_eq!(w.used(), 1);
    }

    #[test]
    fn a_jump_of_the_calendar_moves_the_boundary_and_grants_nothing_twice() {
        let manual = ManualClock::starting_at("2026-03-01T12:00:00Z".parse().unwrap());
        let clock = manual.clock();
        let mut w = CalendarWindow::new("daily", 1, Calendar::Day, 0, &clock);
        w.admit(1);
        w.end(1, clock.now());
        manual.set_wall("2026-03-01T20:00:00Z".parse().unwrap());
        w.sync(clock.now(), clock.wall());
        assert_eq!(w.next(1), Next::At(clock.now() + Duration::from_secs(4 * 3_600)));
        // Back over midnight: the day that was spent stays spent.
        manual.set_wall("2026-02-28T23:00:00Z".parse().unwrap());
        w.sync(clock.now(), clock.wall());
        assert_eq!(w.next(1), Next::At(clock.now() + Duration::from_secs(25 * 3_600)));
    }

    #[test]
    fn the_end_of_time_ends_the_loop() {
        let clock = ManualClock::new().clock();
        let mut w = CalendarWindow::new("monthly", 1, Calendar::Month, 0, &clock);
        w.expire(Moment::from_nanos(u64::MAX / 4));
        assert!(w.ends > Moment::from_nanos(u64::MAX / 4));
        assert!(w.place_at(1_000_000).is_some());
    }
}
