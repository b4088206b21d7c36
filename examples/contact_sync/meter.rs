//! Counts what the clients report: requests, waits, and every kind of trouble with what was done about it.

use martlet::base::{BreakerState, Observer, Signal};
use martlet::core::{Idempotency, Operation};
use martlet::{Clock, Delivery};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Observes both clients.
#[derive(Debug)]
pub(crate) struct Meter {
    clock: Clock,
    tally: Mutex<Tally>,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) calls: u64,
    pub(crate) requests: u64,
    pub(crate) retries: u64,
    /// Answers of status 429: what a real platform's quota violations look like from here.
    pub(crate) throttled: u64,
    pub(crate) quota_wait: Duration,
    /// Writes whose fate was unknown and that were sent again, because they are upserts.
    pub(crate) repeated_writes: u64,
    pub(crate) renewals: u64,
    pub(crate) breaker_openings: u64,
    /// By platform and kind of error.
    pub(crate) trouble: BTreeMap<(String, String), Trouble>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    pub(crate) times: u64,
    pub(crate) retried: u64,
    /// Pauses before the next attempt.
    pub(crate) paused: Duration,
}

impl Tally {
    /// Requests for each call: 1 when nothing was ever retried.
    #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
    pub(crate) fn amplification(&self) -> f64 {
        if self.calls == 0 { 1.0 } else { (self.requests as f64 / self.calls as f64).max(1.0) }
    }
}

impl Meter {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, tally: Mutex::default() }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self) -> Tally {
        self.tally().clone()
    }
}

/// Whether sending the operation twice could be noticed: all but the ones that change nothing.
fn is_write(platform: &str, name: &str) -> bool {
    let all: &[Operation] = match platform {
        "hubspot" => martlet::hubspot::operations::ALL,
        "mailchimp" => martlet::mailchimp::operations::ALL,
        _ => &[],
    };
    all.iter().any(|op| op.name() == name && op.get_idempotency() != Idempotency::Safe)
}

impl Observer for Meter {
    fn observe(&self, signal: &Signal<'_>) {
        let mut tally = self.tally();
        match signal {
            Signal::CallFinished { .. } => tally.calls += 1,
            Signal::AttemptFinished { platform, status, error_kind, .. } => {
                tally.requests += 1;
                tally.throttled += u64::from(*status == Some(429));
                if let Some(kind) = error_kind {
                    tally.trouble.entry(((*platform).to_owned(), (*kind).to_owned())).or_default().times += 1;
                }
            }
            Signal::RetryScheduled { platform, operation, error_kind, delay, delivery, .. } => {
                tally.retries += 1;
                tally.repeated_writes +=
                    u64::from(*delivery == Delivery::Unknown && is_write(platform, operation));
                let trouble =
                    tally.trouble.entry(((*platform).to_owned(), (*error_kind).to_owned())).or_default();
                trouble.retried += 1;
                trouble.paused += *delay;
            }
            Signal::QuotaWaited { waited, .. } => tally.quota_wait += *waited,
            Signal::QuotaBlocked { platform, until, .. } => {
                // The pause that everybody keeps; the call that was told so counts its own as a retry.
                let pause = until.since(self.clock.wall());
                let key = ((*platform).to_owned(), "ordered_pause".to_owned());
                let trouble = tally.trouble.entry(key).or_default();
                trouble.times += 1;
                trouble.paused += pause;
            }
            Signal::CredentialIssued { ok, .. } => tally.renewals += u64::from(*ok),
            Signal::BreakerChanged { to: BreakerState::Open, .. } => tally.breaker_openings += 1,
            _ => {}
        }
    }
}
