//! Keep to a server's limits.

mod builder;
mod calendar;
#[cfg(feature = "serde")]
mod config;
mod error;
mod plan;
mod rule;
mod smooth;
mod window;

pub use builder::{LimitsBuilder, Overflow};
pub use calendar::Calendar;
#[cfg(feature = "serde")]
pub use config::LimitsConfig;
pub use error::{LimitError, NextPlace};
pub use plan::QuotaPlan;
pub use smooth::Gcra;

use crate::lock;
use builder::share_of;
use martlet_base::{Clock, Deadline, Moment, Rng, Sleep, Timestamp};
use rule::Rule;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use window::Next;

/// The limits that one account has at one server: any number of strict, smooth and calendar windows and a cap on
/// simultaneous requests. A request is admitted when all of them have room, and takes a place in all of them or in none.
/// Cheap to clone; clones are one set of limits.
///
/// ```text
/// acquire -> [ queue: Interactive, Delivery, Backfill; older ones move up ] -> all windows and the cap have room
///         -> permit -> request, answer read -> finish           its place comes back `per` later
///                   -> fate unknown         -> finish_unknown   `per` after the attempt's time limit
///                   -> never sent           -> cancel           at once
/// ```
///
/// **Strict** means: however long requests travel, no more than `limit` of them *arrive* in any span of `per`. A place is
/// taken from the admission until `per` after the attempt ended ([`LimitPermit::finish`]). The price is a small share of the
/// quota: latency divided by `per`.
///
/// Waiters are served first come, first served within their [`Priority`]. Only the first sleeps; the others are woken one
/// by one. Nothing polls and no task runs.
///
/// **Not for** protecting a server that says nothing about its limits: see [`AdaptiveConcurrency`](crate::AdaptiveConcurrency).
#[derive(Clone)]
pub struct Limits(Arc<Shared>);

struct Shared {
    max_queue: usize,
    overflow: Overflow,
    ageing: Duration,
    share: f64,
    spread: Option<Rng>,
    on_calendar: bool,
    /// It has windows: the time at which a request ends matters.
    timed: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    concurrency: Option<u32>,
    in_flight: u32,
    blocked_until: Moment,
    /// The latest moment that was heard of.
    settled: Moment,
    /// The cost of permits that were dropped without anybody knowing the time. They end when the time is next known.
    dropped: u32,
    /// The waiters in their order.
    queue: BTreeMap<Ticket, Waker>,
    next_ticket: u64,
}

/// A place in the queue: who has the smaller one is served first. The moment is that of coming, plus one ageing step for
/// each class below the highest: that lets a low class wait, and not for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket {
    turn: Moment,
    number: u64,
    class: Priority,
}

/// How urgent a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Priority {
    /// Somebody looks at the screen and waits.
    Interactive,
    /// The usual: events on their way.
    #[default]
    Delivery,
    /// History that has time.
    Backfill,
}

/// A daily quota of a few has an interval of hours; a herd is spread by less.
const WIDEST_SPREAD: Duration = Duration::from_secs(1);

/// Keeps sums of places within a `u32`.
const MOST_PLACES: u32 = 1 << 31;

/// How much of a window is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowUsage {
    /// Its name.
    pub name: Arc<str>,
    /// How many places it has.
    pub limit: u32,
    /// In any span of this length.
    pub per: Duration,
    /// Places taken: by requests under way and by those that ended less than `per` ago.
    pub used: u32,
}

impl Limits {
    /// No windows and no cap until they are added.
    pub const fn builder() -> LimitsBuilder {
        LimitsBuilder::new()
    }

    /// Admits everything, unless a server orders a pause ([`block_until`](Self::block_until)).
    #[must_use]
    pub fn unlimited() -> Self {
        Self::builder().build().expect("no settings, nothing to refuse")
    }

    /// Waits until a request of `cost` may be sent. A cost of 0 takes a place in the queue and the concurrency cap only.
    ///
    /// Cancel safe: dropping the future gives up the place in the queue, and nothing has been taken.
    ///
    /// # Errors
    /// [`LimitError`]. A place that is known to come after `deadline` is refused at once, not at the deadline.
    pub async fn acquire(
        &self,
        cost: u32,
        deadline: Deadline,
        clock: &Clock,
    ) -> Result<LimitPermit<'_>, LimitError> {
        self.acquire_as(Priority::default(), cost, deadline, clock).await
    }

    /// As [`acquire`](Self::acquire), in another class than [`Priority::Delivery`].
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and [`LimitError::Shed`].
    pub async fn acquire_as(
        &self,
        class: Priority,
        cost: u32,
        deadline: Deadline,
        clock: &Clock,
    ) -> Result<LimitPermit<'_>, LimitError> {
        let came = clock.now();
        let mut seat = Seat { limits: self, class, ticket: None };
        let mut alarm: Option<(Moment, Sleep)> = None;
        // Reading the clock costs as much as the rest.
        let mut first_look = Some(came);
        let admitted = poll_fn(|cx| {
            loop {
                let now = first_look.take().unwrap_or_else(|| clock.now());
                if self.0.on_calendar {
                    self.sync_calendar(now, clock.wall());
                }
                let wake_at = match seat.ask(cost, deadline, now, cx.waker()) {
                    Ok(()) => return Poll::Ready(Ok(now)),
                    Err(Wait::Refused(error)) => return Poll::Ready(Err(error)),
                    Err(Wait::Until(at)) => at,
                };
                if !rings(&mut alarm, wake_at, clock, cx) {
                    return Poll::Pending;
                }
            }
        })
        .await?;
        Ok(self.permit(cost, admitted.since(came), self.0.timed.then(|| clock.clone())))
    }

    /// Admits a request of `cost` if that is possible at `now` and nobody waits.
    ///
    /// # Errors
    /// [`NextPlace`] says when to ask again; nothing has been taken.
    pub fn try_acquire(&self, cost: u32, now: Moment) -> Result<LimitPermit<'_>, NextPlace> {
        let mut state = lock(&self.0.state);
        state.settle(now);
        // A cost above a whole window has no known place either.
        match state.next(cost, now) {
            Next::Now if state.queue.is_empty() => {
                state.admit(cost, now);
                drop(state);
                Ok(self.permit(cost, Duration::ZERO, None))
            }
            Next::At(at) if state.queue.is_empty() => Err(NextPlace { at: Some(at) }),
            _ => Err(NextPlace { at: None }),
        }
    }

    /// The server ordered a pause: nobody is admitted before `at`. A shorter pause does not cut a longer one short.
    pub fn block_until(&self, at: Moment) {
        self.change(|state| {
            if at <= state.blocked_until {
                return;
            }
            let interval = state.rules.iter().map(|r| r.per() / r.limit()).max().unwrap_or_default();
            let interval = interval.min(WIDEST_SPREAD);
            let spread =
                self.0.spread.as_ref().map_or(Duration::ZERO, |rng| interval.mul_f64(rng.next_f64()));
            state.blocked_until = at + spread;
        });
    }

    /// The calendar may have jumped: calendar windows look where their boundary is now.
    fn sync_calendar(&self, now: Moment, wall: Timestamp) {
        let mut state = lock(&self.0.state);
        for rule in &mut state.rules {
            if let Rule::Calendar(c) = rule {
                c.sync(now, wall);
            }
        }
    }

    /// Changes the cap on simultaneous requests at once; `None` lifts it. A smaller cap revokes nothing: it is reached as
    /// requests end. Returns `false`, and changes nothing, when it is zero.
    pub fn set_concurrency(&self, requests: impl Into<Option<u32>>) -> bool {
        let requests = requests.into();
        if requests == Some(0) {
            return false;
        }
        self.change(|state| state.concurrency = requests);
        true
    }

    /// When the pause that the server ordered ends; `None` when there is none at `now`.
    #[must_use]
    pub fn blocked_until(&self, now: Moment) -> Option<Moment> {
        Some(lock(&self.0.state).blocked_until).filter(|until| *until > now)
    }

    /// Changes a window, at once and for those who wait too. A smaller limit revokes nothing: it is reached as places
    /// come back. Returns `false`, and changes nothing, when no window has this name or a value is zero.
    pub fn set_window(&self, name: &str, limit: u32, per: Duration) -> bool {
        if limit == 0 || limit > MOST_PLACES || per.is_zero() {
            return false;
        }
        let limit = share_of(limit, self.0.share);
        self.change(|state| {
            let now = state.settled;
            state.rule(name).is_some_and(|rule| rule.change(limit, per, now))
        })
    }

    /// The server says that only `remaining` places of a window are left until `resets`. What it counts beyond our own
    /// use was used by somebody else: those places are taken until `resets`. It never frees a place: an answer may be
    /// older than what was admitted since. Returns `false` when no window has this name.
    ///
    /// When the server does not say when the window resets, pass `now` plus the window's span.
    pub fn observe_remaining(&self, name: &str, remaining: u32, resets: Moment, now: Moment) -> bool {
        self.change(|state| {
            state.settle(now);
            state.rule(name).map(|rule| rule.others_used(remaining, resets, now)).is_some()
        })
    }

    /// Requests admitted and not yet ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        lock(&self.0.state).in_flight as usize
    }

    /// Callers waiting.
    #[must_use]
    pub fn queued(&self) -> usize {
        lock(&self.0.state).queue.len()
    }

    /// How full the windows are at `now`, in the order they were added.
    #[must_use]
    pub fn snapshot(&self, now: Moment) -> Vec<WindowUsage> {
        let mut state = lock(&self.0.state);
        state.settle(now);
        let usage = |r: &Rule| WindowUsage {
            name: Arc::clone(r.name()),
            limit: r.limit(),
            per: r.per(),
            used: r.used(now),
        };
        state.rules.iter().map(usage).collect()
    }

    /// Nobody would miss them: all places are back and there is no other handle.
    pub(crate) fn is_idle(&self, now: Moment) -> bool {
        let mut state = lock(&self.0.state);
        state.settle(now);
        Arc::strong_count(&self.0) == 1
            && state.blocked_until <= now
            && state.rules.iter().all(|r| r.used(now) == 0)
    }

    const fn permit(&self, cost: u32, waited: Duration, clock: Option<Clock>) -> LimitPermit<'_> {
        LimitPermit { limits: Cow::Borrowed(self), cost, held: true, clock, waited }
    }

    /// Changes the state and lets the first waiter look at what that means for it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = lock(&self.0.state);
        let out = change(&mut state);
        let first = state.first();
        // A waker runs foreign code: never under the lock.
        drop(state);
        first.into_iter().for_each(Waker::wake);
        out
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0.state);
        f.debug_struct("Limits")
            .field("windows", &state.rules)
            .field("concurrency", &state.concurrency)
            .field("in_flight", &state.in_flight)
            .field("queued", &state.queue.len())
            .finish_non_exhaustive()
    }
}

/// Whether the alarm for `at` rings; sets it if there is none. No alarm for `None`.
fn rings(
    alarm: &mut Option<(Moment, Sleep)>,
    at: Option<Moment>,
    clock: &Clock,
    cx: &mut Context<'_>,
) -> bool {
    let Some(at) = at else {
        *alarm = None;
        return false;
    };
    if alarm.as_ref().is_none_or(|(set_for, _)| *set_for != at) {
        *alarm = Some((at, clock.sleep_until(at)));
    }
    let rings = alarm.as_mut().is_some_and(|(_, sleep)| Pin::new(sleep).poll(cx).is_ready());
    if rings {
        *alarm = None;
    }
    rings
}

impl State {
    /// Brings the books up to `now`.
    #[inline]
    fn settle(&mut self, now: Moment) {
        let dropped = std::mem::take(&mut self.dropped);
        self.settled = self.settled.max(now);
        for rule in &mut self.rules {
            if dropped > 0 {
                rule.end(dropped, now);
            }
            rule.expire(now);
        }
    }

    fn rule(&mut self, name: &str) -> Option<&mut Rule> {
        self.rules.iter_mut().find(|r| **r.name() == *name)
    }

    fn too_high(&self, cost: u32) -> Option<LimitError> {
        let rule = self.rules.iter().find(|r| cost > r.capacity())?;
        Some(LimitError::CostTooHigh { cost, window: Arc::clone(rule.name()), limit: rule.capacity() })
    }

    /// When a request of `cost` may be admitted if it is the first in the queue.
    fn next(&self, cost: u32, now: Moment) -> Next {
        let pause = if self.blocked_until > now { Next::At(self.blocked_until) } else { Next::Now };
        let full = self.concurrency.is_some_and(|cap| self.in_flight >= cap);
        let slot = if full { Next::Unknown } else { Next::Now };
        self.rules.iter().fold(pause.and(slot), |next, r| next.and(r.next(cost, now)))
    }

    fn admit(&mut self, cost: u32, now: Moment) {
        self.in_flight += 1;
        self.rules.iter_mut().for_each(|r| r.admit(cost, now));
    }

    /// Takes the last waiter of the lowest class out of the queue, if that is lower than `class`.
    fn shed(&mut self, overflow: Overflow, class: Priority) -> Option<Waker> {
        if overflow == Overflow::RejectNew {
            return None;
        }
        let last = *self.queue.keys().max_by_key(|t| (t.class, t.number)).filter(|t| t.class > class)?;
        self.queue.remove(&last)
    }

    fn first(&self) -> Option<Waker> {
        self.queue.first_key_value().map(|(_, waker)| waker.clone())
    }
}

/// A caller's place in the queue, if it had to queue. Dropping it leaves the queue.
struct Seat<'a> {
    limits: &'a Limits,
    class: Priority,
    ticket: Option<Ticket>,
}

enum Wait {
    /// Ask again then, or when woken.
    Until(Option<Moment>),
    Refused(LimitError),
}

impl Seat<'_> {
    /// Is it my turn? Admits the request, says how long to wait, or refuses.
    fn ask(&mut self, cost: u32, deadline: Deadline, now: Moment, waker: &Waker) -> Result<(), Wait> {
        let shared = &self.limits.0;
        let mut state = lock(&shared.state);
        state.settle(now);
        if let Some(error) = state.too_high(cost) {
            return Err(Wait::Refused(error));
        }
        let next = state.next(cost, now);
        let turn = now + shared.ageing.saturating_mul(self.class as u32);
        let my_turn = state.queue.first_key_value().is_none_or(|(first, _)| match self.ticket {
            Some(ticket) => ticket == *first,
            // Who is not in the queue yet passes if nobody there comes before it.
            None => turn < first.turn,
        });
        let known = if let Next::At(at) = next { Some(at) } else { None };
        // Whoever waits in front only makes it later: this much is certain for everybody.
        if deadline.has_passed(known.unwrap_or(now)) {
            let until = state.blocked_until;
            let blocked = until > now && deadline.has_passed(until);
            return Err(Wait::Refused(if blocked {
                LimitError::Blocked { until }
            } else {
                LimitError::DeadlineTooClose { next: known }
            }));
        }
        if my_turn && next == Next::Now {
            state.admit(cost, now);
            return Ok(());
        }
        let mut shed = None;
        let old_waker = match self.ticket {
            Some(ticket) => {
                let Some(place) = state.queue.get_mut(&ticket) else {
                    return Err(Wait::Refused(LimitError::Shed));
                };
                (!place.will_wake(waker)).then(|| std::mem::replace(place, waker.clone()))
            }
            None => {
                if state.queue.len() >= shared.max_queue {
                    shed = state.shed(shared.overflow, self.class);
                    if shed.is_none() {
                        return Err(Wait::Refused(LimitError::QueueFull { depth: state.queue.len() }));
                    }
                }
                let ticket = Ticket { turn, number: state.next_ticket, class: self.class };
                state.next_ticket += 1;
                self.ticket = Some(ticket);
                state.queue.insert(ticket, waker.clone())
            }
        };
        drop(state);
        shed.into_iter().for_each(Waker::wake);
        // Dropping a waker may drop a task: foreign code, so not under the lock.
        drop(old_waker);
        // A known place comes before the deadline, or it would have been refused above.
        let turn = if my_turn { known } else { None };
        Err(Wait::Until(turn.or(deadline.moment())))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = lock(&self.limits.0.state);
        let was_first = state.queue.first_key_value().is_some_and(|(first, _)| *first == ticket);
        let mine = state.queue.remove(&ticket);
        let next = if was_first { state.first() } else { None };
        drop(state);
        drop(mine);
        next.into_iter().for_each(Waker::wake);
    }
}

/// Leave to send one request. Say how it ended with [`finish`](Self::finish), [`finish_unknown`](Self::finish_unknown) or
/// [`cancel`](Self::cancel); a drop counts as ended at that moment.
///
/// It borrows its limits; [`into_owned`](Self::into_owned) makes one that may go to another task.
#[derive(Debug)]
#[must_use = "dropping it says that the attempt has ended"]
pub struct LimitPermit<'a> {
    limits: Cow<'a, Limits>,
    cost: u32,
    /// Its places have not been given back.
    held: bool,
    clock: Option<Clock>,
    waited: Duration,
}

impl LimitPermit<'_> {
    /// The same permit with a handle of its own.
    pub fn into_owned(mut self) -> LimitPermit<'static> {
        LimitPermit {
            limits: Cow::Owned(Limits::clone(&self.limits)),
            cost: self.cost,
            held: std::mem::take(&mut self.held),
            clock: self.clock.take(),
            waited: self.waited,
        }
    }

    /// How long it took to get.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// The attempt ended at `now`, its answer read to the end. Its places come back `per` after that, its share of the
    /// concurrency cap at once.
    pub fn finish(mut self, now: Moment) {
        self.give_back(End::At(now));
    }

    /// The attempt was given up at `now` with its fate unknown: the request may still arrive for up to
    /// `attempt_timeout`, so its places come back that much later than with [`finish`](Self::finish).
    pub fn finish_unknown(mut self, now: Moment, attempt_timeout: Duration) {
        self.give_back(End::At(now + attempt_timeout));
    }

    /// Nothing was sent: everything comes back at once.
    pub fn cancel(mut self) {
        self.give_back(End::NeverSent);
    }

    /// Only the first call does anything.
    fn give_back(&mut self, end: End) {
        if !std::mem::take(&mut self.held) {
            return;
        }
        let cost = self.cost;
        self.limits.change(|state| {
            state.in_flight -= 1;
            match end {
                End::At(end) => state.rules.iter_mut().for_each(|r| r.end(cost, end)),
                End::NeverSent => state.rules.iter_mut().for_each(|r| r.cancel(cost)),
                End::NoClock => state.dropped = state.dropped.saturating_add(cost),
            }
        });
    }
}

enum End {
    At(Moment),
    NeverSent,
    /// It counts as ended when the time is next known, which is later: its places never come back too early.
    NoClock,
}

impl Drop for LimitPermit<'_> {
    fn drop(&mut self) {
        if self.held {
            let now = self.clock.as_ref().map(Clock::now);
            self.give_back(now.map_or(End::NoClock, End::At));
        }
    }
}
