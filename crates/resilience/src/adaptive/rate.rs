use crate::{LimitError, NextPlace, lock};
use martlet_base::{Clock, Deadline, Moment};
use std::sync::Mutex;
use std::time::Duration;

/// A sending rate that falls when the server throttles and grows back along a cubic curve: the adaptive retry mode of the AWS
/// SDKs, kept to their published vectors. It does nothing before the first throttled answer.
///
/// Record **every attempt**, retries included; the rate is that of attempts.
///
/// ```text
///            throttled                      success
/// [ off ] -------------> [ rate * 0.7 ] -----------------> [ 0.4 (t - K)^3 + last rate, at most twice the measured one ]
///                              ^                                        |
///                              +----------------- throttled -----------+
/// ```
///
/// Defaults: at least 0.5 per second, at least one unit of capacity; the measured rate is smoothed by 0.8 over half
/// seconds. **Not for** a quota whose numbers are known: [`Limits`](crate::Limits) loses nothing by probing.
#[derive(Debug)]
pub struct AdaptiveRate {
    state: Mutex<State>,
    /// Waiters stand here in the order of their coming; the first one sleeps.
    turn: tokio::sync::Mutex<()>,
}

const BETA: f64 = 0.7;
const SCALE: f64 = 0.4;
const SMOOTH: f64 = 0.8;
const MIN_FILL: f64 = 0.5;
const MIN_CAPACITY: f64 = 1.0;

#[derive(Debug)]
struct State {
    origin: Moment,
    enabled: bool,
    fill_rate: f64,
    max_capacity: f64,
    capacity: f64,
    refilled: Option<f64>,
    measured: f64,
    bucket: f64,
    requests: f64,
    last_max: f64,
    last_throttle: f64,
}

/// Seconds until the curve is back at the rate that was throttled.
fn plateau(last_max: f64) -> f64 {
    (last_max * (1.0 - BETA) / SCALE).cbrt()
}

fn cubic(since_throttle: f64, last_max: f64) -> f64 {
    SCALE * (since_throttle - plateau(last_max)).powi(3) + last_max
}

impl AdaptiveRate {
    /// Off, until an answer is throttled. `now` is the start of its time.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self {
            state: Mutex::new(State {
                origin: now,
                enabled: false,
                fill_rate: 0.0,
                max_capacity: 0.0,
                capacity: 0.0,
                refilled: None,
                measured: 0.0,
                bucket: 0.0,
                requests: 0.0,
                last_max: 0.0,
                last_throttle: 0.0,
            }),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Takes the token of one attempt.
    ///
    /// # Errors
    /// [`NextPlace`] with a later moment, never the present one.
    pub fn try_acquire(&self, now: Moment) -> Result<(), NextPlace> {
        let mut s = lock(&self.state);
        if !s.enabled {
            return Ok(());
        }
        s.refill(now);
        if s.capacity >= 1.0 {
            s.capacity -= 1.0;
            return Ok(());
        }
        let missing = Duration::try_from_secs_f64((1.0 - s.capacity) / s.fill_rate).unwrap_or(Duration::MAX);
        // A shortfall of less than a nanosecond is one, or the caller would spin.
        Err(NextPlace { at: Some(now + missing.max(Duration::from_micros(1))) })
    }

    /// Waits for the token of one attempt, in the order of coming. Cancel safe: nothing is taken before it returns.
    ///
    /// # Errors
    /// [`LimitError::DeadlineTooClose`].
    pub async fn acquire(&self, deadline: Deadline, clock: &Clock) -> Result<(), LimitError> {
        let Some(_turn) = clock.within(deadline, self.turn.lock()).await else {
            return Err(LimitError::DeadlineTooClose { next: None });
        };
        while let Err(NextPlace { at }) = self.try_acquire(clock.now()) {
            let at = at.unwrap_or(Moment::MAX);
            if deadline.has_passed(at) {
                return Err(LimitError::DeadlineTooClose { next: Some(at) });
            }
            clock.sleep_until(at).await;
        }
        Ok(())
    }

    /// An attempt ended at `now`.
    pub fn record(&self, throttled: bool, now: Moment) {
        let mut s = lock(&self.state);
        s.measure(now);
        let t = s.seconds(now);
        let rate = if throttled {
            let rate = if s.enabled { s.measured.min(s.fill_rate) } else { s.measured };
            s.last_max = rate;
            s.last_throttle = t;
            s.enabled = true;
            rate * BETA
        } else {
            cubic(t - s.last_throttle, s.last_max)
        };
        let rate = rate.min(2.0 * s.measured);
        s.refill(now);
        s.fill_rate = rate.max(MIN_FILL);
        s.max_capacity = rate.max(MIN_CAPACITY);
        s.capacity = s.capacity.min(s.max_capacity);
    }

    /// Attempts per second that it lets through; `None` while it is off.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        let s = lock(&self.state);
        s.enabled.then_some(s.fill_rate)
    }

    /// Attempts per second that were made, smoothed.
    #[must_use]
    pub fn measured(&self) -> f64 {
        lock(&self.state).measured
    }
}

impl State {
    fn seconds(&self, now: Moment) -> f64 {
        now.since(self.origin).as_secs_f64()
    }

    fn refill(&mut self, now: Moment) {
        let t = self.seconds(now);
        if let Some(before) = self.refilled {
            self.capacity = self.max_capacity.min(self.capacity + (t - before).max(0.0) * self.fill_rate);
        }
        self.refilled = Some(self.refilled.map_or(t, |before| before.max(t)));
    }

    fn measure(&mut self, now: Moment) {
        let bucket = (self.seconds(now) * 2.0).floor() / 2.0;
        self.requests += 1.0;
        if bucket > self.bucket {
            let rate = self.requests / (bucket - self.bucket);
            self.measured = rate * SMOOTH + self.measured * (1.0 - SMOOTH);
            (self.requests, self.bucket) = (0.0, bucket);
        }
    }
}

#[cfg(not(martlet_loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use martlet_base::ManualClock;
    use std::sync::Arc;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_aws_vector_cubic_success() {
        let expected = [
            7.0,
            9.648_936_009_66,
            10.000_030_849_917_364,
            10.453_284_520_772_092,
            13.408_697_022_224_185,
            21.266_268_353_542_73,
            36.425_998_516_920_465,
        ];
        for (t, expected) in (5u8..).zip(expected) {
            let got = cubic(f64::from(t) - 5.0, 10.0);
            assert!(near(got, expected), "t={t}: {got}");
        }
    }

    #[test]
    fn a_aws_vector_cubic_with_two_throttles() {
        let expected = [
            7.0,
            9.648_936_009_66,
            6.754_255_206_761_999,
            4.727_978_644_733_399,
            4.670_125_557_970_046,
            4.770_870_456_867_401,
            6.011_819_748_005_445,
            10.792_973_431_384_178,
        ];
        let (mut last_max, mut last_throttle, mut rate) = (10.0, 5.0, 0.0);
        for (t, expected) in (5u8..).zip(expected) {
            let seconds = f64::from(t);
            if t == 7 || t == 8 {
                rate *= BETA;
                (last_max, last_throttle) = (rate, seconds);
            } else {
                rate = cubic(seconds - last_throttle, last_max);
            }
            assert!(near(rate, expected), "t={t}: {rate}");
        }
    }

    #[test]
    fn a_aws_vector_end_to_end() {
        let rows = [
            (0.0, 0.5),
            (0.0, 0.5),
            (4.8, 0.5),
            (4.8, 0.5),
            (4.16, 0.5),
            (4.16, 0.6912),
            (4.16, 1.0976),
            (5.632, 1.6384),
            (5.632, 2.3328),
            (4.3264, 3.02848),
            (4.3264, 3.486_639),
            (4.3264, 3.821_874),
            (5.665_28, 4.053_386),
            (5.665_28, 4.200_373),
            (4.333_056, 4.282_037),
            (4.333_056, 2.997_426),
            (4.333_056, 3.452_226),
        ];
        let limiter = AdaptiveRate::new(at(0));
        for (i, (measured, fill)) in (1u64..).zip(rows) {
            let now = at(i * 200);
            limiter.record(i == 10 || i == 16, now);
            let got = lock(&limiter.state).fill_rate;
            assert!(near(limiter.measured(), measured), "row {i}: measured {}", limiter.measured());
            assert!(near(got, fill), "row {i}: fill {got}");
            assert_eq!(limiter.rate().is_some(), i >= 10);
        }
    }

    #[test]
    fn a_a_refusal_always_has_a_pause_and_capacity_is_never_negative() {
        // smithy-rs #4632 (negative capacity, 100 s of sleep), "sub-nanosecond shortfall" (a pause of zero spins).
        let limiter = AdaptiveRate::new(at(0));
        (1..=10).for_each(|i| limiter.record(i == 10, at(i * 200)));
        let mut now = at(2_000);
        for _ in 0..1_000 {
            if let Err(NextPlace { at }) = limiter.try_acquire(now) {
                let at = at.unwrap();
                assert!(at > now && at.since(now) < Duration::from_secs(3));
                now = at;
            }
            assert!(lock(&limiter.state).capacity >= 0.0);
        }
    }

    #[test]
    fn a_the_rate_grows_to_twice_what_is_really_sent_at_most() {
        let limiter = AdaptiveRate::new(at(0));
        // 5 a second for a minute: the curve alone would allow thousands.
        for i in 1..=300 {
            limiter.record(i == 10, at(i * 200));
            assert!(
                limiter.rate().is_none_or(|rate| rate <= (2.0 * limiter.measured()).max(MIN_FILL) + 1e-9)
            );
        }
        assert!(limiter.rate().unwrap() > limiter.measured());
    }

    #[tokio::test]
    async fn a_waiters_are_served_in_order_at_the_rate_and_each_takes_a_token() {
        // smithy-rs #4749: sent without taking a token.
        let manual = ManualClock::new();
        let limiter = Arc::new(AdaptiveRate::new(at(0)));
        (1..=10).for_each(|i| limiter.record(i == 10, at(i * 200)));
        manual.advance(Duration::from_secs(2));
        let rate = limiter.rate().unwrap();
        let served = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..20)
            .map(|i| {
                let (limiter, clock, served) = (Arc::clone(&limiter), manual.clock(), Arc::clone(&served));
                tokio::spawn(async move {
                    limiter.acquire(Deadline::NONE, &clock).await.unwrap();
                    lock(&served).push((i, clock.now()));
                })
            })
            .collect();
        manual
            .drive(async {
                for task in tasks {
                    task.await.unwrap();
                }
            })
            .await;
        let served = lock(&served);
        assert!(served.iter().map(|(i, _)| *i).eq(0..20));
        let took = served[19].1.since(served[0].1).as_secs_f64();
        assert!((took - 19.0 / rate).abs() < 19.0 / rate * 0.2, "{took} s for 19 at {rate}");
    }

    #[tokio::test]
    async fn a_one_whose_token_comes_after_its_deadline_is_refused() {
        let manual = ManualClock::new();
        let clock = manual.clock();
        let limiter = AdaptiveRate::new(at(0));
        limiter.record(true, at(0));
        let soon = Deadline::after(clock.now(), Duration::from_secs(1));
        assert!(manual.drive(limiter.acquire(soon, &clock)).await.is_err());
        assert_eq!(clock.now(), at(0));
        let later = Deadline::after(clock.now(), Duration::from_secs(3));
        manual.drive(limiter.acquire(later, &clock)).await.unwrap();
    }
}
