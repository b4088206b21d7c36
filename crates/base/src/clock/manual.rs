use super::{Clock, ClockHold, Sleep, TimeSource};
use crate::{Moment, Timestamp};
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A clock that stands still until it is moved: tests of an hour of retries run in milliseconds and are the same each
/// time.
///
/// Move it by hand with [`advance`](Self::advance), or let it run ahead by itself with [`drive`](Self::drive), which
/// jumps to the next sleeper whenever nothing else can make progress.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use martlet_base::ManualClock;
/// use std::time::Duration;
///
/// let manual = ManualClock::new();
/// let clock = manual.clock();
/// let slept = manual.drive(async {
///     let before = clock.now();
///     clock.sleep(Duration::from_secs(3600)).await; // an hour, at once
///     clock.now().since(before)
/// });
/// assert_eq!(slept.await, Duration::from_secs(3600));
/// # }
/// ```
#[derive(Clone)]
pub struct ManualClock(Arc<Shared>);

struct Shared(Mutex<State>);

struct State {
    now: Moment,
    /// `wall = wall_origin + now`.
    wall_origin: Timestamp,
    sleepers: BTreeMap<(Moment, u64), Waker>,
    next_id: u64,
    /// Counts registrations and completions of sleeps and releases of holds: what tells a busy program from an idle one.
    activity: u64,
    holds: usize,
    /// The driver, parked until something happens to the clock.
    driver: Option<Waker>,
}

/// 2026-01-01T00:00:00Z: a date on which nothing special happens.
const DEFAULT_WALL: Timestamp = Timestamp::from_secs(1_767_225_600);

/// So many rounds through the executor's run queue without the clock being touched count as idle. A chain of tasks that
/// wake one another more often than this without sleeping would be overtaken; none in martlet does.
const QUIET_ROUNDS: u32 = 64;

impl ManualClock {
    /// A clock at its origin, showing 2026-01-01T00:00:00Z.
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(DEFAULT_WALL)
    }

    /// A clock at its origin, showing `wall`.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self(Arc::new(Shared(Mutex::new(State {
            now: Moment::ZERO,
            wall_origin: wall,
            sleepers: BTreeMap::new(),
            next_id: 0,
            activity: 0,
            holds: 0,
            driver: None,
        }))))
    }

    /// The handle to give to the code under test.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock::from_source(Arc::new(Source(Arc::clone(&self.0))))
    }

    /// Moves time forward and wakes the sleepers whose time has come, earliest first.
    ///
    /// The woken tasks run after this call, and all of them see the time it moved to.
    pub fn advance(&self, by: Duration) {
        let target = self.0.lock().now + by;
        self.advance_to(target);
    }

    /// Moves time forward to `target`; does nothing when that has passed.
    pub fn advance_to(&self, target: Moment) {
        let due = {
            let mut state = self.0.lock();
            if target > state.now {
                state.now = target;
            }
            state.take_due()
        };
        due.into_iter().for_each(Waker::wake);
    }

    /// Makes the calendar jump without time passing: daylight saving, NTP, an operator.
    pub fn set_wall(&self, wall: Timestamp) {
        let mut state = self.0.lock();
        let elapsed = state.now.since(Moment::ZERO);
        state.wall_origin = wall - elapsed;
    }

    /// How many sleeps are waiting.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.0.lock().sleepers.len()
    }

    /// Runs `future` and lets time jump to the next sleeper whenever nothing else makes progress.
    ///
    /// Run it on a single-threaded executor (tokio's `current_thread`): progress is told by rounds through the run
    /// queue in which nobody started or ended a sleep. Work outside the executor (a thread, a socket) is invisible to
    /// it and must take [`Clock::hold`] while it is under way; otherwise time runs past it.
    pub async fn drive<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let (mut seen, mut quiet) = (0, 0);
        poll_fn(|cx| {
            if let Poll::Ready(out) = future.as_mut().poll(cx) {
                return Poll::Ready(out);
            }
            let due = {
                let mut state = self.0.lock();
                if state.holds > 0 {
                    // Whoever releases the hold wakes us: no spinning while real I/O is under way.
                    state.driver = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                if state.activity == seen {
                    quiet += 1;
                } else {
                    (seen, quiet) = (state.activity, 0);
                }
                if quiet < QUIET_ROUNDS {
                    Vec::new()
                } else if let Some((&(next, _), _)) = state.sleepers.first_key_value() {
                    quiet = 0;
                    state.now = state.now.max(next);
                    state.take_due()
                } else {
                    state.driver = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            };
            due.into_iter().for_each(Waker::wake);
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl State {
    fn take_due(&mut self) -> Vec<Waker> {
        let later = self.sleepers.split_off(&(self.now, u64::MAX));
        std::mem::replace(&mut self.sleepers, later).into_values().collect()
    }

    /// Notes that the program did something with the clock; the parked driver, if any, has to look again.
    fn touch(&mut self) -> Option<Waker> {
        self.activity += 1;
        self.driver.take()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("ManualClock")
            .field("now", &state.now)
            .field("sleepers", &state.sleepers.len())
            .field("holds", &state.holds)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Source(Arc<Shared>);

impl TimeSource for Source {
    fn now(&self) -> Moment {
        self.0.lock().now
    }

    fn wall(&self) -> Timestamp {
        let state = self.0.lock();
        state.wall_origin + state.now.since(Moment::ZERO)
    }

    fn sleep_until(&self, at: Moment) -> Sleep {
        Sleep::new(ManualSleep { shared: Arc::clone(&self.0), at, id: None })
    }

    fn hold(&self) -> ClockHold {
        self.0.lock().holds += 1;
        let shared = Arc::clone(&self.0);
        ClockHold::new(move || {
            let driver = {
                let mut state = shared.lock();
                state.holds -= 1;
                state.touch()
            };
            driver.into_iter().for_each(Waker::wake);
        })
    }
}

struct ManualSleep {
    shared: Arc<Shared>,
    at: Moment,
    /// Set once it is registered with the clock.
    id: Option<u64>,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        let (done, driver) = {
            let shared = Arc::clone(&self.shared);
            let mut state = shared.lock();
            if state.now >= at {
                let driver = state.touch();
                if let Some(id) = self.id.take() {
                    state.sleepers.remove(&(at, id));
                }
                (true, driver)
            } else {
                let driver = if self.id.is_none() {
                    self.id = Some(state.next_id);
                    state.next_id += 1;
                    state.touch()
                } else {
                    None
                };
                let id = self.id.unwrap_or_default();
                state.sleepers.insert((at, id), cx.waker().clone());
                (false, driver)
            }
        };
        driver.into_iter().for_each(Waker::wake);
        if done { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shared.lock().sleepers.remove(&(self.at, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Deadline;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[tokio::test]
    async fn driven_sleeps_end_in_the_order_of_their_time() {
        let manual = ManualClock::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        manual
            .drive(async {
                let tasks: Vec<_> = [30u64, 10, 20]
                    .into_iter()
                    .map(|n| {
                        let (clock, order) = (manual.clock(), Arc::clone(&order));
                        tokio::spawn(async move {
                            clock.sleep(secs(n)).await;
                            order.lock().unwrap().push((n, clock.now().since(Moment::ZERO)));
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
            })
            .await;
        assert_eq!(*order.lock().unwrap(), [(10, secs(10)), (20, secs(20)), (30, secs(30))]);
        assert_eq!(manual.sleepers(), 0);
    }

    #[tokio::test]
    async fn a_dropped_sleep_leaves_nothing_behind() {
        let manual = ManualClock::new();
        let clock = manual.clock();
        let soon = Deadline::after(clock.now(), secs(1));
        assert_eq!(manual.drive(clock.within(soon, clock.sleep(secs(60)))).await, None);
        assert_eq!(manual.sleepers(), 0);
        assert_eq!(clock.now(), Moment::ZERO + secs(1));
    }

    #[tokio::test]
    async fn a_hold_stops_the_clock_while_a_thread_works() {
        let manual = ManualClock::new();
        let clock = manual.clock();
        let hold = clock.hold();
        let (tx, rx) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            // Real time, on purpose: this thread is the outside world.
            let _ = std::sync::mpsc::channel::<()>().1.recv_timeout(Duration::from_millis(30));
            let _ = tx.send(());
            drop(hold);
        });
        let timed = manual.drive(clock.within(Deadline::after(clock.now(), secs(1)), rx)).await;
        assert!(timed.is_some(), "the clock ran past work that held it");
        assert_eq!(clock.now(), Moment::ZERO);
    }

    #[tokio::test]
    async fn advancing_by_hand_wakes_only_what_is_due() {
        let manual = ManualClock::new();
        let clock = manual.clock();
        let (mut near, mut far) = (clock.sleep(secs(1)), clock.sleep(secs(2)));
        let poll = |s: &mut Sleep| Pin::new(s).poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll(&mut near).is_pending() && poll(&mut far).is_pending());
        manual.advance(secs(1));
        assert!(poll(&mut near).is_ready() && poll(&mut far).is_pending());
    }

    #[test]
    fn the_calendar_can_jump_without_time_passing() {
        let manual = ManualClock::new();
        let clock = manual.clock();
        manual.advance(secs(5));
        manual.set_wall(Timestamp::from_secs(100));
        assert_eq!(clock.wall(), Timestamp::from_secs(100));
        assert_eq!(clock.now(), Moment::ZERO + secs(5));
        manual.advance(secs(1));
        assert_eq!(clock.wall(), Timestamp::from_secs(101));
    }
}
