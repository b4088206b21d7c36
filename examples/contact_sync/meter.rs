//! Counts what the clients report: requests, retries, waits.

use martlet::base::{Observer, Signal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Observes both clients.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    requests: AtomicU64,
    retries: AtomicU64,
    throttled: AtomicU64,
    quota_wait_us: AtomicU64,
}

impl Observer for Meter {
    fn observe(&self, signal: &Signal<'_>) {
        match signal {
            Signal::AttemptFinished { status, .. } => {
                self.requests.fetch_add(1, Ordering::Relaxed);
                if *status == Some(429) {
                    self.throttled.fetch_add(1, Ordering::Relaxed);
                }
            }
            Signal::RetryScheduled { .. } => {
                self.retries.fetch_add(1, Ordering::Relaxed);
            }
            Signal::QuotaWaited { waited, .. } => {
                let us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
                self.quota_wait_us.fetch_add(us, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl Meter {
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Answers of status 429: what a real platform's quota violations look like from here.
    pub(crate) fn throttled(&self) -> u64 {
        self.throttled.load(Ordering::Relaxed)
    }

    pub(crate) fn quota_wait(&self) -> Duration {
        Duration::from_micros(self.quota_wait_us.load(Ordering::Relaxed))
    }
}
