use martlet_base::Moment;
use std::time::Duration;

/// How well a client uses a limit that it may use: 1.0 is every place of every window.
///
/// The phase that counts lasts from the first to the last arrival. Once a second, from `per` after its beginning, the
/// arrivals of the last `per` are set against the limit; the figure is the mean. Moments inside an ordered pause are left
/// out. Everything is computed from the recorded arrivals when it is asked for; an arrival costs 4 bytes.
#[derive(Clone, Debug)]
pub struct QuotaUse {
    limit: u32,
    per: Duration,
    first: Option<Moment>,
    /// Milliseconds after the first, in order.
    arrivals: Vec<u32>,
    pauses: Vec<(Moment, Moment)>,
}

const SAMPLE_MS: u32 = 1_000;

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

impl QuotaUse {
    /// Against a limit of `limit` requests in any span of `per`.
    #[must_use]
    pub const fn new(limit: u32, per: Duration) -> Self {
        Self { limit, per, first: None, arrivals: Vec::new(), pauses: Vec::new() }
    }

    /// Notes a request that arrived at `now`. A moment before the last one counts as that one.
    pub fn arrive(&mut self, now: Moment) {
        let first = *self.first.get_or_insert(now);
        let offset = millis(now.since(first));
        self.arrivals.push(self.arrivals.last().map_or(offset, |last| offset.max(*last)));
    }

    /// Notes that the platform ordered a pause.
    pub fn pause(&mut self, from: Moment, until: Moment) {
        self.pauses.push((from, until));
    }

    /// The mean of the samples. 1.0 when there is none: the phase is shorter than `per`, or all of it was an ordered pause.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 arrivals")]
    pub fn ratio(&self) -> f64 {
        let (Some(first), Some(&end)) = (self.first, self.arrivals.last()) else { return 1.0 };
        let per = millis(self.per);
        let before = |t: u32| self.arrivals.partition_point(|at| *at < t);
        let (mut sum, mut samples) = (0.0, 0u32);
        let mut t = per;
        while t <= end {
            let moment = first + Duration::from_millis(t.into());
            if !self.pauses.iter().any(|(from, until)| *from <= moment && moment < *until) {
                sum += (before(t) - before(t - per)) as f64 / f64::from(self.limit);
                samples += 1;
            }
            let Some(next) = t.checked_add(SAMPLE_MS) else { break };
            t = next;
        }
        if samples == 0 { 1.0 } else { sum / f64::from(samples) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    fn at(millis: u64) -> Moment {
        // Not at the clock's origin.
        Moment::from_nanos((7_000 + millis) * 1_000_000)
    }

    fn steady(every: u64, until: u64) -> QuotaUse {
        let mut quota = QuotaUse::new(100, TEN);
        (0..=until).step_by(usize::try_from(every).unwrap()).for_each(|t| quota.arrive(at(t)));
        quota
    }

    #[test]
    fn a_steady_stream_at_the_limit_uses_all_of_it_and_half_of_it_half() {
        assert!((steady(100, 60_000).ratio() - 1.0).abs() < 1e-9);
        assert!((steady(200, 60_000).ratio() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn bursts_use_all_of_it_too() {
        let mut quota = QuotaUse::new(100, TEN);
        for burst in 0..5 {
            (0..100).for_each(|_| quota.arrive(at(burst * 10_001)));
        }
        assert!((quota.ratio() - 1.0).abs() < 1e-9, "{}", quota.ratio());
    }

    #[test]
    fn a_short_phase_says_nothing() {
        assert_eq!(QuotaUse::new(1, TEN).ratio().to_bits(), 1f64.to_bits());
        assert_eq!(steady(1_000, 9_000).ratio().to_bits(), 1f64.to_bits());
        assert!(steady(1_000, 10_000).ratio() < 0.11);
    }

    #[test]
    fn an_ordered_pause_is_left_out() {
        let mut quota = steady(100, 20_000);
        (50_000..=70_000).step_by(100).for_each(|t| quota.arrive(at(t)));
        let idle = quota.ratio();
        quota.pause(at(20_000), at(60_000));
        assert!(idle < 0.7, "{idle}");
        assert!((quota.ratio() - 1.0).abs() < 0.01, "{}", quota.ratio());
    }
}
