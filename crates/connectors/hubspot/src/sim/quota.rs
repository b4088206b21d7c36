//! One rolling window.

use martlet_base::Moment;
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Quota {
    limit: u32,
    per: Duration,
    arrivals: VecDeque<Moment>,
    violations: u64,
}

impl Quota {
    pub(super) fn new(limit: u32, seconds: u64) -> Self {
        Self { limit, per: Duration::from_secs(seconds), arrivals: VecDeque::new(), violations: 0 }
    }

    /// Whether the arrival fits.
    pub(super) fn arrive(&mut self, now: Moment) -> bool {
        self.expire(now);
        let fits = self.arrivals.len() < self.limit as usize;
        if fits {
            self.arrivals.push_back(now);
        } else {
            self.violations += 1;
        }
        fits
    }

    fn expire(&mut self, now: Moment) {
        while self.arrivals.front().is_some_and(|&at| at + self.per <= now) {
            self.arrivals.pop_front();
        }
    }

    pub(super) fn left(&mut self, now: Moment) -> (u32, u32) {
        self.expire(now);
        (self.limit, self.limit.saturating_sub(u32::try_from(self.arrivals.len()).unwrap_or(u32::MAX)))
    }

    pub(super) fn violations(&self) -> u64 {
        self.violations
    }

    pub(super) fn use_ratio(&self) -> f64 {
        1.0
    }
}
