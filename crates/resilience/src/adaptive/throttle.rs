use crate::ConfigError;
use crate::breaker::{Counts, TimeWindow};
use crate::config::check;
use martlet_base::{Moment, Rng};
use std::fmt;
use std::time::Duration;

/// Refuses a share of requests that grows with what the server refuses: the client-side throttling of
/// [Site Reliability Engineering, chapter 21](https://sre.google/sre-book/handling-overload/). Each request passes with probability
/// `1 - max(0, (requests - k * accepts) / (requests + 1))`.
///
/// Defaults: `k` 2, the last 2 minutes, at most 0.9 refused, so that some always ask whether the server is well again. Softer
/// than a [`Breaker`](crate::Breaker): it lets through what the server can still do. **Not for** few requests, where the share is
/// noise. Signals: [`Throttle::probability`].
pub struct Throttle {
    k: f64,
    most: f64,
    /// All requests, and of these (as failures) the accepted ones.
    window: TimeWindow,
    rng: Rng,
}

/// Builds a [`Throttle`].
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(remote = "Self", default = "Throttle::builder", deny_unknown_fields))]
#[must_use = "call build()"]
pub struct ThrottleBuilder {
    k: f64,
    most: f64,
    #[cfg_attr(feature = "serde", serde(with = "crate::config::duration"))]
    window: Duration,
    #[cfg_attr(feature = "serde", serde(skip))]
    rng: Rng,
}

#[cfg(feature = "serde")]
crate::config::checked_on_load!(ThrottleBuilder);

/// The request was refused on this side, so that the server need not do it.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("refused on this side, as {:.0} % are: the server refuses too many requests", probability * 100.0)]
#[non_exhaustive]
pub struct Throttled {
    /// The share that is refused.
    pub probability: f64,
}

impl ThrottleBuilder {
    /// So many requests for each one accepted are let through: higher is softer. 2 unless set.
    pub const fn k(mut self, k: f64) -> Self {
        self.k = k;
        self
    }

    /// The largest share that is refused. 0.9 unless set.
    pub const fn most(mut self, share: f64) -> Self {
        self.most = share;
        self
    }

    /// How far it looks back. 2 minutes unless set.
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// The dice; the system's unless set.
    pub fn rng(mut self, rng: Rng) -> Self {
        self.rng = rng;
        self
    }

    fn check(&self) -> Result<(), ConfigError> {
        check(self.k.is_finite() && self.k >= 1.0, "k", "must be a finite number, at least 1")?;
        check(self.most > 0.0 && self.most < 1.0, "most", "must be above 0 and below 1")?;
        check(self.window >= Duration::from_nanos(12), "window", "must be at least 12 ns")
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// `k` is below 1, the share is outside `(0, 1)`, or the window is below 12 ns.
    pub fn build(self) -> Result<Throttle, ConfigError> {
        self.check()?;
        Ok(Throttle { k: self.k, most: self.most, window: TimeWindow::new(self.window, 12), rng: self.rng })
    }
}

impl Throttle {
    /// The defaults of the book.
    pub const fn builder() -> ThrottleBuilder {
        ThrottleBuilder { k: 2.0, most: 0.9, window: Duration::from_secs(120), rng: Rng::system() }
    }

    /// The share of requests that is refused at `now`.
    #[must_use]
    pub fn probability(&self, now: Moment) -> f64 {
        let Counts { calls, failures: accepted, .. } = self.window.counts(now);
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
        let (requests, accepted) = (calls as f64, accepted as f64);
        ((requests - self.k * accepted) / (requests + 1.0)).clamp(0.0, self.most)
    }

    /// Throws the dice for one request, and counts it whether it passes or not.
    ///
    /// # Errors
    /// [`Throttled`]: do not send it.
    pub fn try_pass(&self, now: Moment) -> Result<(), Throttled> {
        let probability = self.probability(now);
        self.window.add(Counts { calls: 1, ..Counts::default() }, now);
        if self.rng.next_f64() < probability { Err(Throttled { probability }) } else { Ok(()) }
    }

    /// The server accepted a request: it did not refuse it for load (429, 503, no answer). Say nothing about others.
    pub fn accepted(&self, now: Moment) {
        self.window.add(Counts { failures: 1, ..Counts::default() }, now);
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("k", &self.k).field("most", &self.most).finish_non_exhaustive()
    }
}

#[cfg(not(martlet_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    /// Requests sent in the last minute of so many seconds, one each 10 ms, when the server accepts `capacity` of them per second.
    fn run(capacity: u64, seconds: u64) -> (u64, u64) {
        let throttle = Throttle::builder().rng(Rng::seeded(5)).build().unwrap();
        let (mut sent, mut asked, mut this_second) = (0, 0, 0);
        for i in 0..seconds * 100 {
            let now = at(i * 10);
            if i % 100 == 0 {
                this_second = 0;
            }
            let counts = i >= (seconds - 60) * 100;
            asked += u64::from(counts);
            if throttle.try_pass(now).is_ok() {
                this_second += 1;
                sent += u64::from(counts);
                if this_second <= capacity {
                    throttle.accepted(now);
                }
            }
        }
        (asked, sent)
    }

    #[test]
    fn l11_a_healthy_server_gets_everything() {
        assert_eq!(run(100, 300), (6_000, 6_000));
    }

    #[test]
    fn l11_a_server_that_takes_a_tenth_gets_about_twice_that() {
        // K = 2: two requests for each one accepted.
        let (_, sent) = run(10, 600);
        assert!((1_000..1_500).contains(&sent), "{sent}");
    }

    #[test]
    fn l11_a_dead_server_gets_a_tenth_of_the_requests_and_recovers_within_three_windows() {
        let (_, sent) = run(0, 600);
        assert!((450..750).contains(&sent), "{sent}");
        let throttle = Throttle::builder().rng(Rng::seeded(5)).build().unwrap();
        (0..30_000).for_each(|i| _ = throttle.try_pass(at(i * 10)));
        assert!(throttle.probability(at(300_000)) > 0.89);
        for i in 30_000..66_000 {
            if throttle.try_pass(at(i * 10)).is_ok() {
                throttle.accepted(at(i * 10));
            }
        }
        assert!(throttle.probability(at(660_000)) < 0.05, "{}", throttle.probability(at(660_000)));
    }

    #[test]
    fn l11_the_formula_of_the_book() {
        let throttle = Throttle::builder().rng(Rng::seeded(1)).build().unwrap();
        (0..10).for_each(|_| throttle.accepted(at(0)));
        (0..40).for_each(|_| _ = throttle.try_pass(at(0)));
        assert!((throttle.probability(at(0)) - (40.0 - 20.0) / 41.0).abs() < 1e-12);
        assert_eq!(throttle.probability(at(120_000)), 0.0, "two minutes later it knows nothing");
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for (builder, field) in [
            (Throttle::builder().k(0.9), "k"),
            (Throttle::builder().k(f64::NAN), "k"),
            (Throttle::builder().most(1.0), "most"),
            (Throttle::builder().most(0.0), "most"),
            (Throttle::builder().window(Duration::ZERO), "window"),
        ] {
            assert_eq!(builder.build().unwrap_err().field(), field);
        }
    }
}
