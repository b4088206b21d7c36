//! Time as a value that is handed in.

mod manual;

pub use manual::ManualClock;

use crate::{Deadline, Moment, Timestamp};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
#[cfg(feature = "tokio")]
use std::time::{Instant, SystemTime};

/// Where time comes from. Implement it to bring a clock of your own (another runtime, a simulation).
pub trait TimeSource: fmt::Debug + Send + Sync {
    /// The present moment. Never goes backwards.
    fn now(&self) -> Moment;
    /// The present point on the calendar. May jump in either direction.
    fn wall(&self) -> Timestamp;
    /// Completes at `at`, at once when `at` has passed. Dropping the future cancels it.
    fn sleep_until(&self, at: Moment) -> Sleep;
    /// Keeps a simulated clock from running ahead while the guard lives. Real clocks return [`ClockHold::none`].
    fn hold(&self) -> ClockHold {
        ClockHold::none()
    }
}

/// A clock. Cheap to clone; everything in martlet that waits or measures takes one.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    #[cfg(feature = "tokio")]
    System(Instant),
    Shared(Arc<dyn TimeSource>),
}

impl Clock {
    /// The system's clock; its sleep is tokio's timer, so it must be awaited inside a tokio runtime with time enabled.
    ///
    /// Its origin is the first call in this process: moments of two system clocks can be compared.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the system's time enters")]
    pub fn system() -> Self {
        static ORIGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        Self(Kind::System(*ORIGIN.get_or_init(Instant::now)))
    }

    /// A clock that asks `source`.
    #[must_use]
    pub fn from_source(source: Arc<dyn TimeSource>) -> Self {
        Self(Kind::Shared(source))
    }

    /// The present moment.
    #[must_use]
    #[inline]
    #[cfg_attr(
        feature = "tokio",
        expect(clippy::disallowed_methods, reason = "this is the one place where the system's time enters")
    )]
    pub fn now(&self) -> Moment {
        match &self.0 {
            #[cfg(feature = "tokio")]
            Kind::System(origin) => Moment::ZERO + origin.elapsed(),
            Kind::Shared(source) => source.now(),
        }
    }

    /// The present point on the calendar.
    #[must_use]
    #[cfg_attr(
        feature = "tokio",
        expect(clippy::disallowed_methods, reason = "this is the one place where the system's time enters")
    )]
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            #[cfg(feature = "tokio")]
            Kind::System(_) => SystemTime::now().into(),
            Kind::Shared(source) => source.wall(),
        }
    }

    /// The point on the calendar at which `moment` will be or was, as far as the two scales agree now. A future moment is
    /// rounded up to the microsecond: whoever waits until then does not come too early.
    #[must_use]
    pub fn wall_at(&self, moment: Moment) -> Timestamp {
        let (now, wall) = (self.now(), self.wall());
        if moment >= now {
            wall + (moment.since(now) + Duration::from_nanos(999))
        } else {
            wall - now.since(moment)
        }
    }

    /// The moment at which the calendar will show `wall`, as far as the two scales agree now.
    #[must_use]
    pub fn moment_at(&self, wall: Timestamp) -> Moment {
        let (now, present) = (self.now(), self.wall());
        if wall >= present { now + wall.since(present) } else { now - present.since(wall) }
    }

    /// Completes at `at`; at once when it has passed. Cancel safe.
    pub fn sleep_until(&self, at: Moment) -> Sleep {
        match &self.0 {
            #[cfg(feature = "tokio")]
            Kind::System(origin) => Sleep(Box::pin(system_sleep(*origin, at))),
            Kind::Shared(source) => source.sleep_until(at),
        }
    }

    /// Completes after `duration`. Cancel safe.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Runs `future` until `deadline`: `None` when the deadline comes first, and then `future` is dropped.
    ///
    /// No timer is armed for [`Deadline::NONE`]. The future is polled before the timer, so an answer that is ready at
    /// the deadline counts.
    pub async fn within<F: Future>(&self, deadline: Deadline, future: F) -> Option<F::Output> {
        // Once: a future that is kept in several places makes all futures around it larger.
        let future = pin!(future);
        let Some(at) = deadline.moment() else { return Some(future.await) };
        match &self.0 {
            // As sleep_until, without its box: this runs for each attempt of each call.
            #[cfg(feature = "tokio")]
            Kind::System(origin) => first(future, pin!(system_sleep(*origin, at))).await,
            Kind::Shared(source) => first(future, pin!(source.sleep_until(at))).await,
        }
    }

    /// Keeps a simulated clock from running ahead while the guard lives: take it around real I/O, which does not know
    /// of simulated time. Costs nothing on the system's clock.
    pub fn hold(&self) -> ClockHold {
        match &self.0 {
            #[cfg(feature = "tokio")]
            Kind::System(_) => ClockHold::none(),
            Kind::Shared(source) => source.hold(),
        }
    }
}

/// tokio adds at most a millisecond; its own far-future limit is about 2 years, beyond it never fires.
#[cfg(feature = "tokio")]
#[expect(clippy::disallowed_methods, reason = "this is the one place where tokio's timer enters")]
fn system_sleep(origin: Instant, at: Moment) -> tokio::time::Sleep {
    match origin.checked_add(Duration::from_nanos(at.as_nanos())) {
        Some(instant) => tokio::time::sleep_until(instant.into()),
        None => tokio::time::sleep(Duration::MAX),
    }
}

/// What `future` gives, unless `sleep` ends before it.
async fn first<T>(
    mut future: Pin<&mut impl Future<Output = T>>,
    mut sleep: Pin<&mut impl Future<Output = ()>>,
) -> Option<T> {
    poll_fn(move |cx| match future.as_mut().poll(cx) {
        Poll::Ready(out) => Poll::Ready(Some(out)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
    })
    .await
}

#[cfg(feature = "tokio")]
impl Default for Clock {
    /// [`Clock::system`].
    fn default() -> Self {
        Self::system()
    }
}

/// The future of [`Clock::sleep_until`].
#[must_use = "a sleep does nothing until it is awaited"]
pub struct Sleep(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Sleep {
    /// Wraps the sleep of another time source.
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleep(..)")
    }
}

/// Holds a simulated clock still until it is dropped. See [`Clock::hold`].
#[must_use = "the clock is held only while this lives"]
pub struct ClockHold(Option<Box<dyn FnOnce() + Send + Sync>>);

impl ClockHold {
    /// A hold on a clock that never runs ahead.
    pub const fn none() -> Self {
        Self(None)
    }

    /// A hold that calls `release` when it is dropped.
    pub fn new(release: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(release)))
    }
}

impl Drop for ClockHold {
    fn drop(&mut self) {
        if let Some(release) = self.0.take() {
            release();
        }
    }
}

impl fmt::Debug for ClockHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockHold(..)")
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_clock_sleeps_and_agrees_with_itself() {
        let clock = Clock::system();
        let before = clock.now();
        clock.sleep(Duration::from_millis(20)).await;
        let slept = clock.now().since(before);
        assert!(slept >= Duration::from_millis(20), "{slept:?}");
        let at = clock.wall() + Duration::from_secs(60);
        assert!(clock.wall_at(clock.moment_at(at)).since(at) < Duration::from_secs(1));
    }

    #[test]
    fn who_waits_until_a_moments_date_does_not_come_too_early() {
        let clock = ManualClock::new().clock();
        for nanos in [0, 1, 999, 1_000, 1_001, 4_912_189_345] {
            let moment = Moment::from_nanos(nanos);
            let later = clock.moment_at(clock.wall_at(moment)).since(moment);
            assert!(later < Duration::from_micros(1), "{nanos}");
            assert!(clock.moment_at(clock.wall_at(moment)) >= moment, "{nanos}");
        }
    }

    #[tokio::test]
    async fn a_sleep_beyond_the_end_of_time_does_not_fire_or_panic() {
        let clock = Clock::system();
        let soon = Deadline::after(clock.now(), Duration::from_millis(10));
        assert_eq!(clock.within(soon, clock.sleep_until(Moment::MAX)).await, None);
    }
}
