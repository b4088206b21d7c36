use super::calendar::{Calendar, CalendarWindow};
use super::rule::{Rule, Smooth};
use super::smooth::Gcra;
use super::window::Window;
use super::{Limits, MOST_PLACES, Shared, State};
use crate::ConfigError;
use crate::config::check;
use martlet_base::{Clock, Rng};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Builds [`Limits`].
#[derive(Clone, Debug)]
#[must_use = "call build()"]
pub struct LimitsBuilder {
    rules: Vec<(String, u32, Kind)>,
    concurrency: Option<u32>,
    max_queue: usize,
    overflow: Overflow,
    ageing: Duration,
    share: f64,
    spread: Option<Rng>,
}

#[derive(Clone, Debug)]
enum Kind {
    Strict(Duration),
    Smooth { per: Duration, burst: u32 },
    Calendar { calendar: Calendar, utc_offset: i32, clock: Clock },
}

/// What happens to a request that finds the queue full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Overflow {
    /// It is refused ([`LimitError::QueueFull`](crate::LimitError::QueueFull)): try elsewhere, or put it into a durable queue. `martlet-core`
    /// does that by itself (`spill::SpillQueue`).
    #[default]
    RejectNew,
    /// The last of the lowest class leaves for it, if that class is lower than its own.
    ShedLowest,
}

impl LimitsBuilder {
    pub(super) const fn new() -> Self {
        Self {
            rules: Vec::new(),
            concurrency: None,
            max_queue: 1_024,
            overflow: Overflow::RejectNew,
            ageing: Duration::from_secs(30),
            share: 1.0,
            spread: None,
        }
    }

    /// At most `limit` requests (or units of cost) arrive in any span of `per`. Repeat it for several windows; `name` tells
    /// them apart in errors, in [`Limits::snapshot`] and for [`Limits::set_window`].
    pub fn window(mut self, name: &str, limit: u32, per: Duration) -> Self {
        self.rules.push((name.to_owned(), limit, Kind::Strict(per)));
        self
    }

    /// At most `limit` requests in each `per`, evenly spread after a first `burst`. See [`Gcra`] for when not to use it.
    pub fn smooth(mut self, name: &str, limit: u32, per: Duration, burst: u32) -> Self {
        self.rules.push((name.to_owned(), limit, Kind::Smooth { per, burst }));
        self
    }

    /// At most `limit` requests in each hour, day or month of the calendar, in the time zone `utc_offset` seconds east of UTC.
    /// `clock` tells where the calendar stands; it is asked again at each [`acquire`](Limits::acquire).
    pub fn calendar(
        mut self,
        name: &str,
        limit: u32,
        calendar: Calendar,
        utc_offset: i32,
        clock: &Clock,
    ) -> Self {
        self.rules.push((
            name.to_owned(),
            limit,
            Kind::Calendar { calendar, utc_offset, clock: clock.clone() },
        ));
        self
    }

    /// At most so many requests at once. No cap unless set.
    pub const fn concurrency(mut self, requests: u32) -> Self {
        self.concurrency = Some(requests);
        self
    }

    /// At most so many callers wait; the next is refused at once. 1,024 unless set; 0: nobody waits.
    pub const fn max_queue(mut self, callers: usize) -> Self {
        self.max_queue = callers;
        self
    }

    /// What happens to a request that finds the queue full. It is refused unless set.
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// A waiter that has waited this long stands beside those of the next higher class that come now, so that no class starves.
    /// 30 s unless set.
    pub const fn ageing(mut self, step: Duration) -> Self {
        self.ageing = step;
        self
    }

    /// Takes at most this share of every window, rounded down to at least 1, and leaves the rest to other programs. 1 unless set.
    pub const fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    /// After a pause that the server ordered, the first request waits up to one more interval (the largest `per / limit`, at most 1 s),
    /// drawn from `rng`, so that programs that share the quota do not come back at the same instant. Off unless set.
    pub fn spread_releases(mut self, rng: Rng) -> Self {
        self.spread = Some(rng);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// A limit, a span, a burst or the cap is zero, the share is outside `(0, 1]`, or two windows have one name.
    pub fn build(self) -> Result<Limits, ConfigError> {
        check(self.concurrency != Some(0), "concurrency", "must be above zero")?;
        check(self.share > 0.0 && self.share <= 1.0, "share", "must be above 0, at most 1")?;
        let mut rules: Vec<Rule> = Vec::new();
        for (name, limit, kind) in &self.rules {
            check(*limit > 0 && *limit <= MOST_PLACES, "window", "its limit must be between 1 and 2^31")?;
            check(rules.iter().all(|r| **r.name() != **name), "window", "two windows have the same name")?;
            let limit = share_of(*limit, self.share);
            rules.push(match kind {
                Kind::Strict(per) => {
                    check(!per.is_zero(), "window", "its span must be above zero")?;
                    Rule::Strict(Window::new(name, limit, *per))
                }
                Kind::Smooth { per, burst } => Rule::Smooth(Smooth {
                    name: name.as_str().into(),
                    limit,
                    per: *per,
                    burst: *burst,
                    gcra: Gcra::new(limit, *per, *burst)?,
                }),
                Kind::Calendar { calendar, utc_offset, clock } => {
                    check(
                        utc_offset.unsigned_abs() <= 86_400,
                        "calendar",
                        "its offset must be within a day",
                    )?;
                    Rule::Calendar(CalendarWindow::new(name, limit, *calendar, *utc_offset, clock))
                }
            });
        }
        Ok(Limits(Arc::new(Shared {
            on_calendar: rules.iter().any(|r| matches!(r, Rule::Calendar(_))),
            timed: !rules.is_empty(),
            max_queue: self.max_queue,
            overflow: self.overflow,
            ageing: self.ageing,
            share: self.share,
            spread: self.spread,
            state: Mutex::new(State { rules, concurrency: self.concurrency, ..State::default() }),
        })))
    }
}

/// A share of a limit, at least one place.
pub(super) fn share_of(limit: u32, share: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the limit")]
    let part = (f64::from(limit) * share).floor() as u32;
    part.max(1)
}
