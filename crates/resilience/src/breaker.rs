//! Stop asking a server that is down.

mod options;
mod report;
mod slow;
mod window;

pub use options::{BreakerBuilder, BreakerOptions, BreakerWindow};
pub use report::{FailureClass, Report, Verdict};
pub use slow::SlowCall;
pub use window::Counts;
pub(crate) use window::TimeWindow;

use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering, lock};
use crate::{Backoff, ConfigError};
use martlet_base::{BreakerState, Clock, Moment, Rng};
use slow::Slow;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use window::{CountWindow, Window};

/// A circuit breaker: after too many failures it refuses calls at once, for a while, then lets a few through to see
/// whether the server is back. Cheap to clone; clones are one breaker.
///
/// ```text
///              half of >= 20 calls in 30 s failed,
///              or 10 in a row, or too many were slow
///    +--------+ -----------------------------------> +--------+ <------------------+
///    | Closed |                                      |  Open  |                    |
///    +--------+                                      +--------+                    | a probe failed,
///        ^                                               | 5, 10, .. 300 s +- 10 %, | 3 were dropped,
///        |            all probes succeeded               v or the server's wish    | or 30 s went by
///        +------------------------------------------ +----------+ ----------------+
///                                                    | HalfOpen | (3 probes)
///                                                    +----------+
/// ```
///
/// It has no clock and no task: every method takes the present moment, and moments of one clock only. As long as it is
/// closed, or open and refusing, no method takes a lock or allocates; a window of any length costs the same.
///
/// Take the permit as late as possible, after every wait: a permit in hand may be the probe that others wait for.
///
/// **Not for** limiting how fast or how much is sent ([`Limits`](crate::Limits)), for refusals that are about one caller
/// (4xx, 429: report [`Verdict::Neutral`]), or where there is only one call a minute: a retry does more there.
#[derive(Clone)]
pub struct Breaker(Arc<Shared>);

struct Shared {
    options: BreakerOptions,
    open_for: Backoff,
    rng: Rng,
    /// The phase in the lowest 3 bits, the generation above. The generation grows with every change of phase; a permit of an
    /// older one counts nowhere. Only changed under the lock of `cold`.
    hot: AtomicU64,
    /// In nanoseconds; means something while open.
    open_until: AtomicU64,
    consecutive: AtomicU32,
    last_failure: AtomicU8,
    /// Until when the server asked to be left alone, in nanoseconds.
    server_wish: AtomicU64,
    rejected: AtomicU64,
    late: AtomicU64,
    window: Window,
    slow: Option<Slow>,
    cold: Mutex<Cold>,
}

#[derive(Default)]
struct Cold {
    /// How often the probes have failed since it was last closed.
    reopened: u32,
    /// Means something while half open.
    probing: Probing,
}

#[derive(Default)]
struct Probing {
    expires: Moment,
    in_flight: u32,
    successes: u32,
    failures: u32,
    /// Probes dropped without a result.
    dropped: u32,
}

/// So many probes dropped without a result count as failed: their callers gave up on a server that hangs.
const MOST_DROPPED: u32 = 3;
/// A server that asks for more than a day means "not today".
const LONGEST_WISH: Duration = Duration::from_secs(86_400);

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
const FORCED_OPEN: u64 = 3;
const DISABLED: u64 = 4;
const METRICS_ONLY: u64 = 5;
const PHASE: u64 = 7;
const GENERATION: u64 = 8;
/// No breaker's: what a permit holds when it has nothing to give back.
const SPENT: u64 = u64::MAX;

const fn state_of(hot: u64) -> BreakerState {
    match hot & PHASE {
        OPEN | FORCED_OPEN => BreakerState::Open,
        HALF_OPEN => BreakerState::HalfOpen,
        _ => BreakerState::Closed,
    }
}

/// Who decides whether calls pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerMode {
    /// The breaker.
    Automatic,
    /// An operator: none pass, until another mode is set.
    ForcedOpen,
    /// An operator: all pass, and none is counted.
    Disabled,
    /// All pass and are counted: to see what a breaker would do.
    MetricsOnly,
}

/// A change of state, as `(from, to)`.
type Transition = Option<(BreakerState, BreakerState)>;

/// The breaker is open: nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker {name} is open (last failure: {last_failure})")]
#[non_exhaustive]
pub struct BreakerOpen {
    /// Which breaker.
    pub name: Arc<str>,
    /// When it will let a probe through; while probes are under way, when to look again; [`Moment::MAX`] when an
    /// operator holds it open.
    pub retry_at: Moment,
    /// How the last call failed that did.
    pub last_failure: FailureClass,
}

/// What a [`Breaker`] has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerSnapshot {
    /// The state.
    pub state: BreakerState,
    /// Who decides.
    pub mode: BreakerMode,
    /// The calls of the window.
    pub counts: Counts,
    /// Calls refused so far.
    pub rejected: u64,
    /// Results so far that came after a change of state and counted nowhere else.
    pub late: u64,
    /// How long a call usually takes, when slow calls are judged by that.
    pub baseline: Option<Duration>,
}

impl Breaker {
    /// A breaker called `name` in errors and telemetry.
    pub fn builder(name: &str) -> BreakerBuilder {
        BreakerBuilder { options: BreakerOptions::new(name), rng: Rng::system() }
    }

    fn start(options: BreakerOptions, rng: Rng) -> Result<Self, ConfigError> {
        let window = match options.window {
            BreakerWindow::Time { length, buckets } => Window::Time(TimeWindow::new(length, buckets)),
            BreakerWindow::Count { calls } => Window::Count(CountWindow::new(calls)),
        };
        Ok(Self(Arc::new(Shared {
            open_for: options.open_for()?,
            rng,
            hot: AtomicU64::new(CLOSED),
            open_until: AtomicU64::new(0),
            consecutive: AtomicU32::new(0),
            last_failure: AtomicU8::new(0),
            server_wish: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            late: AtomicU64::new(0),
            window,
            slow: options.slow_call.map(|(rule, _)| Slow::new(rule)),
            cold: Mutex::new(Cold::default()),
            options,
        })))
    }

    /// Its settings.
    #[must_use]
    pub fn options(&self) -> &BreakerOptions {
        &self.0.options
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.options.name
    }

    /// Whether a call would be let through, without taking a permit.
    ///
    /// # Errors
    /// [`BreakerOpen`] when it would be refused.
    pub fn peek(&self, now: Moment) -> Result<(), BreakerOpen> {
        let shared = &*self.0;
        match shared.quick(now) {
            Quick::Pass(_) => Ok(()),
            Quick::Refuse(until) => Err(shared.refusal(until)),
            Quick::Look => {
                let mut cold = lock(&shared.cold);
                shared.roll(&mut cold, now);
                shared.admits(&cold, now).map_err(|until| shared.refusal(until))
            }
        }
    }

    /// Lets a call through.
    ///
    /// # Errors
    /// [`BreakerOpen`] when it is open, or half open with all probes under way.
    #[inline]
    pub fn try_acquire(&self, now: Moment) -> Result<BreakerPermit<'_>, BreakerOpen> {
        let (hot, probing) = match self.0.quick(now) {
            Quick::Pass(hot) => (hot, false),
            Quick::Refuse(until) => return Err(self.0.refuse(until)),
            Quick::Look => self.0.probe(now).map_err(|until| self.0.refuse(until))?,
        };
        Ok(BreakerPermit { breaker: Cow::Borrowed(self), hot, started: now, probing })
    }

    /// The state at `now`. It stays [`Open`](BreakerState::Open) until the first probe is let through.
    #[must_use]
    pub fn state(&self, now: Moment) -> BreakerState {
        let hot = self.0.hot.load(Ordering::Acquire);
        if hot & PHASE != HALF_OPEN {
            return state_of(hot);
        }
        let mut cold = lock(&self.0.cold);
        self.0.roll(&mut cold, now);
        state_of(self.0.hot.load(Ordering::Acquire))
    }

    /// Who decides.
    #[must_use]
    pub fn mode(&self) -> BreakerMode {
        match self.0.hot.load(Ordering::Acquire) & PHASE {
            FORCED_OPEN => BreakerMode::ForcedOpen,
            DISABLED => BreakerMode::Disabled,
            METRICS_ONLY => BreakerMode::MetricsOnly,
            _ => BreakerMode::Automatic,
        }
    }

    /// Takes the decision away from the breaker, or gives it back: it then begins closed and knows nothing. Setting the mode
    /// that it is in changes nothing. Returns the change of state.
    pub fn set_mode(&self, mode: BreakerMode) -> Transition {
        let shared = &*self.0;
        let mut cold = lock(&shared.cold);
        let hot = shared.hot.load(Ordering::Acquire);
        let phase = match mode {
            BreakerMode::Automatic if hot & PHASE <= HALF_OPEN => return None,
            BreakerMode::Automatic => CLOSED,
            BreakerMode::ForcedOpen => FORCED_OPEN,
            BreakerMode::Disabled => DISABLED,
            BreakerMode::MetricsOnly => METRICS_ONLY,
        };
        if phase == hot & PHASE {
            return None;
        }
        shared.forget(&mut cold);
        let after = shared.enter(phase);
        drop(cold);
        transition(hot, after)
    }

    /// Forgets all results and closes it; a forced mode stays. Returns the change of state.
    pub fn reset(&self) -> Transition {
        let shared = &*self.0;
        let mut cold = lock(&shared.cold);
        let hot = shared.hot.load(Ordering::Acquire);
        shared.forget(&mut cold);
        let after = if matches!(hot & PHASE, OPEN | HALF_OPEN) { shared.enter(CLOSED) } else { hot };
        drop(cold);
        transition(hot, after)
    }

    /// What it has seen.
    #[must_use]
    pub fn snapshot(&self, now: Moment) -> BreakerSnapshot {
        BreakerSnapshot {
            state: self.state(now),
            mode: self.mode(),
            counts: self.0.window.counts(now),
            rejected: self.0.rejected.load(Ordering::Relaxed),
            late: self.0.late.load(Ordering::Relaxed),
            baseline: self.0.slow.as_ref().and_then(Slow::baseline),
        }
    }

    /// Probes in the background, so that no caller has to: whenever the breaker lets a probe through, runs `probe`, until the
    /// breaker is closed. Returns at once when it is. Cancel safe.
    pub async fn recover(&self, clock: &Clock, mut probe: impl AsyncFnMut() -> Report) {
        while self.state(clock.now()) != BreakerState::Closed {
            match self.try_acquire(clock.now()) {
                Ok(permit) => {
                    let report = probe().await;
                    permit.record(report, clock.now());
                }
                Err(BreakerOpen { retry_at, .. }) => clock.sleep_until(retry_at).await,
            }
        }
    }

    /// Nobody would miss it: it is closed, remembers no failure, and has no other handle.
    pub(crate) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.0) == 1
            && self.0.hot.load(Ordering::Acquire) & PHASE == CLOSED
            && self.0.consecutive.load(Ordering::Relaxed) == 0
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.0.options.name)
            .field("state", &state_of(self.0.hot.load(Ordering::Acquire)))
            .field("mode", &self.mode())
            .finish_non_exhaustive()
    }
}

const fn transition(before: u64, after: u64) -> Transition {
    let (from, to) = (state_of(before), state_of(after));
    // `==` of a derived `PartialEq` is not const.
    if from as u8 == to as u8 { None } else { Some((from, to)) }
}

/// What can be said without the lock.
enum Quick {
    Pass(u64),
    Refuse(Moment),
    /// It takes the lock: a probe may be let through.
    Look,
}

impl Shared {
    #[inline]
    fn quick(&self, now: Moment) -> Quick {
        let hot = self.hot.load(Ordering::Acquire);
        match hot & PHASE {
            CLOSED | DISABLED | METRICS_ONLY => Quick::Pass(hot),
            FORCED_OPEN => Quick::Refuse(Moment::MAX),
            OPEN => {
                let until = Moment::from_nanos(self.open_until.load(Ordering::Acquire));
                if until > now { Quick::Refuse(until) } else { Quick::Look }
            }
            _ => Quick::Look,
        }
    }

    #[cold]
    fn probe(&self, now: Moment) -> Result<(u64, bool), Moment> {
        let mut cold = lock(&self.cold);
        self.roll(&mut cold, now);
        self.admits(&cold, now)?;
        let hot = self.hot.load(Ordering::Acquire);
        match hot & PHASE {
            OPEN => {
                let expires = now + self.options.half_open_timeout;
                cold.probing = Probing { expires, in_flight: 1, ..Probing::default() };
                Ok((self.enter(HALF_OPEN), true))
            }
            HALF_OPEN => {
                cold.probing.in_flight += 1;
                Ok((hot, false))
            }
            _ => Ok((hot, false)),
        }
    }

    /// Whether the next call passes, else until when not. Under the lock.
    fn admits(&self, cold: &Cold, now: Moment) -> Result<(), Moment> {
        let probing = &cold.probing;
        match self.hot.load(Ordering::Acquire) & PHASE {
            FORCED_OPEN => Err(Moment::MAX),
            OPEN => {
                let until = Moment::from_nanos(self.open_until.load(Ordering::Acquire));
                if until > now { Err(until) } else { Ok(()) }
            }
            HALF_OPEN if probing.in_flight + probing.successes + probing.failures >= self.options.probes => {
                Err(probing.expires.min(now + self.options.open_for))
            }
            _ => Ok(()),
        }
    }

    fn refuse(&self, until: Moment) -> BreakerOpen {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        self.refusal(until)
    }

    fn refusal(&self, retry_at: Moment) -> BreakerOpen {
        BreakerOpen {
            name: Arc::clone(&self.options.name),
            retry_at,
            last_failure: FailureClass::from_code(self.last_failure.load(Ordering::Relaxed)),
        }
    }

    /// Changes the phase. Under the lock.
    fn enter(&self, phase: u64) -> u64 {
        let next = (self.hot.load(Ordering::Acquire) & !PHASE) + GENERATION + phase;
        self.hot.store(next, Ordering::Release);
        next
    }

    /// Under the lock.
    fn open(&self, cold: &mut Cold, from: Moment) {
        let delay = self.open_for.delay(cold.reopened, Duration::ZERO, &self.rng);
        // Whole milliseconds where there are any: dates in errors have no more than microseconds.
        let millis = Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        let own = from + if millis.is_zero() { delay } else { millis };
        let wish = Moment::from_nanos(self.server_wish.swap(0, Ordering::Relaxed));
        self.open_until.store(own.max(wish).as_nanos(), Ordering::Release);
        cold.reopened = cold.reopened.saturating_add(1);
        self.enter(OPEN);
    }

    /// Under the lock.
    fn forget(&self, cold: &mut Cold) {
        *cold = Cold::default();
        self.window.clear();
        self.consecutive.store(0, Ordering::Relaxed);
        self.server_wish.store(0, Ordering::Relaxed);
    }

    /// Ends a round of probes that came to no decision. Under the lock.
    fn roll(&self, cold: &mut Cold, now: Moment) {
        if self.hot.load(Ordering::Acquire) & PHASE != HALF_OPEN {
            return;
        }
        if cold.probing.dropped >= MOST_DROPPED {
            self.open(cold, now);
        } else if cold.probing.expires <= now {
            let expired = cold.probing.expires;
            self.open(cold, expired);
        }
    }

    /// Counts a result in the closed phase. Returns whether that is too much.
    #[inline]
    fn count(&self, failed: bool, slow: bool, now: Moment) -> bool {
        let in_a_row = if failed {
            self.consecutive.fetch_add(1, Ordering::Relaxed).saturating_add(1)
        } else {
            if self.consecutive.load(Ordering::Relaxed) != 0 {
                self.consecutive.store(0, Ordering::Relaxed);
            }
            0
        };
        self.window.record(failed, slow, now);
        self.options.consecutive_failures.is_some_and(|k| in_a_row >= k) || self.rate_reached(now)
    }

    #[inline]
    fn rate_reached(&self, now: Moment) -> bool {
        let Counts { calls, failures, slow } = self.window.counts(now);
        if failures + slow == 0 || calls < u64::from(self.options.min_calls) {
            return false;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let rate = |n: u64| n as f64 / calls as f64;
        rate(failures) >= self.options.failure_rate
            || self.options.slow_call.is_some_and(|(_, share)| rate(slow) >= share)
    }

    /// Under the lock, in the half-open phase.
    fn count_probe(&self, cold: &mut Cold, failed: bool, now: Moment) {
        let (probing, options) = (&mut cold.probing, &self.options);
        if failed {
            probing.failures += 1;
        } else {
            probing.successes += 1;
        }
        let results = probing.successes + probing.failures;
        let rate = f64::from(probing.failures) / f64::from(results);
        if (failed && options.probes <= 3) || (results >= options.probes && rate >= options.failure_rate) {
            self.open(cold, now);
        } else if results >= options.probes {
            self.forget(cold);
            self.enter(CLOSED);
        }
    }
}

/// Leave to make one call. [`record`](Self::record) its verdict; a drop records nothing and gives a probe back.
///
/// It borrows its breaker; [`into_owned`](Self::into_owned) makes one that may go to another task.
#[must_use = "a permit that is dropped records nothing"]
pub struct BreakerPermit<'a> {
    breaker: Cow<'a, Breaker>,
    hot: u64,
    started: Moment,
    /// It made the breaker half open.
    probing: bool,
}

impl BreakerPermit<'_> {
    /// The same permit with a handle of its own.
    pub fn into_owned(mut self) -> BreakerPermit<'static> {
        let hot = std::mem::replace(&mut self.hot, SPENT);
        BreakerPermit {
            breaker: Cow::Owned(Breaker::clone(&self.breaker)),
            hot,
            started: self.started,
            probing: self.probing,
        }
    }

    /// The change of state that letting this call through made, as `(from, to)`: the first probe makes the breaker half
    /// open.
    #[must_use]
    pub fn transition(&self) -> Transition {
        self.probing.then_some((BreakerState::Open, BreakerState::HalfOpen))
    }

    /// Records how the call went: a [`Verdict`], or a [`Report`] that says more. The time since the permit was taken is the
    /// call's. Returns the change of state it made, as `(from, to)`.
    ///
    /// A call that began before the breaker's last change of state counts nowhere.
    pub fn record(mut self, report: impl Into<Report>, now: Moment) -> Transition {
        let report = report.into();
        // What the drop would give back is given back here.
        let hot = std::mem::replace(&mut self.hot, SPENT);
        let shared = &*self.breaker.0;
        if shared.hot.load(Ordering::Acquire) != hot {
            shared.late.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let failed = report.verdict == Verdict::Failure;
        if failed {
            shared.last_failure.store(report.class.code(), Ordering::Relaxed);
            if let Some(wish) = report.retry_after {
                let until = now + wish.min(LONGEST_WISH);
                shared.server_wish.fetch_max(until.as_nanos(), Ordering::Relaxed);
            }
        }
        let counts = report.verdict != Verdict::Neutral && hot & PHASE != DISABLED;
        let took = now.since(self.started);
        let slow = counts && shared.slow.as_ref().is_some_and(|slow| slow.judge(took, !failed));
        // The lock is held until the state after is read, so that each change is told exactly once.
        match hot & PHASE {
            CLOSED if counts && shared.count(failed, slow, now) => {
                let mut cold = lock(&shared.cold);
                // Another result may have opened it, or an operator may have come, in between.
                if shared.hot.load(Ordering::Acquire) != hot {
                    return None;
                }
                shared.open(&mut cold, now);
                transition(hot, shared.hot.load(Ordering::Acquire))
            }
            METRICS_ONLY if counts => {
                shared.window.record(failed, slow, now);
                None
            }
            HALF_OPEN => {
                let mut cold = lock(&shared.cold);
                if shared.hot.load(Ordering::Acquire) != hot {
                    return None;
                }
                shared.roll(&mut cold, now);
                if shared.hot.load(Ordering::Acquire) == hot {
                    cold.probing.in_flight -= 1;
                    if counts {
                        shared.count_probe(&mut cold, failed || slow, now);
                    }
                }
                transition(hot, shared.hot.load(Ordering::Acquire))
            }
            _ => None,
        }
    }
}

impl Drop for BreakerPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.hot & PHASE != HALF_OPEN || self.hot == SPENT {
            return;
        }
        let shared = &*self.breaker.0;
        let mut cold = lock(&shared.cold);
        if shared.hot.load(Ordering::Acquire) == self.hot {
            cold.probing.in_flight -= 1;
            cold.probing.dropped += 1;
        }
    }
}

impl fmt::Debug for BreakerPermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerPermit").field("breaker", &self.breaker.name()).finish_non_exhaustive()
    }
}

#[cfg(not(martlet_loom))]
#[cfg(test)]
mod tests;

#[cfg(martlet_loom)]
#[cfg(test)]
mod loom_tests;
