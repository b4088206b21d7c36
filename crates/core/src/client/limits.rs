//! The account's quota: strict windows and concurrency by bucket, learning from every answer.

use super::Core;
use crate::{CallContext, Error, ErrorKind, LimitSpec, Operation, QuotaUpdate, Result};
use martlet_base::{Clock, Moment, Rng, Signal};
use martlet_resilience::{ConfigError, LimitError, LimitPermit, Limits, SharedWindow, WindowUsage};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The buckets of one account. A handful: a list is faster than a map.
pub(crate) struct LimitsSlot {
    buckets: Vec<(&'static str, Limits)>,
    /// Windows that other processes take from too.
    shared: Vec<(&'static str, SharedWindow)>,
    /// Windows, by bucket and name, that platforms told of and nobody counts.
    unmatched: Mutex<Vec<(&'static str, String)>>,
}

/// No more windows than this are told as unmatched: a platform may make up names.
const MOST_UNMATCHED: usize = 16;

impl LimitsSlot {
    pub(super) fn new(
        specs: &[LimitSpec],
        share: f64,
        rng: &Rng,
        shared: Vec<(&'static str, SharedWindow)>,
    ) -> Result<Self, ConfigError> {
        // Programs that share the quota must not come back at the same instant after an ordered pause.
        let rng = rng.stream(2);
        let buckets = specs.iter().map(|spec| {
            let mut builder = Limits::builder().share(share).spread_releases(rng.clone());
            for &(name, limit, per) in spec.windows() {
                builder = builder.window(name, limit, per);
            }
            if let Some(limit) = spec.get_concurrency() {
                builder = builder.concurrency(limit);
            }
            Ok((spec.bucket(), builder.build()?))
        });
        Ok(Self { buckets: buckets.collect::<Result<_, _>>()?, shared, unmatched: Mutex::default() })
    }

    fn bucket(&self, name: &str) -> Option<&Limits> {
        self.buckets.iter().find(|(known, _)| *known == name).map(|(_, limits)| limits)
    }

    /// Waits for a place in the operation's own bucket, then in the default one: always in this order, so that two calls
    /// cannot wait for each other.
    pub(super) async fn acquire<'a>(
        &'a self,
        core: &'a Core,
        context: &'a CallContext,
    ) -> Result<Permits<'a>> {
        let mut permits = Permits { own: None, default: None, core, context };
        let operation = &context.operation;
        if let Some(name) = operation.get_quota() {
            match self.bucket(name) {
                Some(own) => permits.own = Some(take(own, core, context).await?),
                None if self.shared.iter().any(|(bucket, _)| *bucket == name) => {}
                None => return Err(self.no_such_bucket(name)),
            }
        }
        if let Some(default) = self.bucket(LimitSpec::DEFAULT) {
            permits.default = Some(take(default, core, context).await?);
        }
        let applies = |bucket: &str| bucket == LimitSpec::DEFAULT || operation.get_quota() == Some(bucket);
        let mut shared_wait = Duration::ZERO;
        for (_, window) in self.shared.iter().filter(|(bucket, _)| applies(bucket)) {
            let (cost, before) = (operation.get_cost(), core.clock.now());
            // Boxed: few have such windows, and every call's future would hold room for it.
            let taken = Box::pin(window.acquire(cost, context.deadline, &core.clock)).await;
            taken.map_err(|error| refusal(&error, &core.clock))?;
            shared_wait += core.clock.now().since(before);
        }
        let waited = shared_wait + permits.each().map(LimitPermit::waited).sum::<Duration>();
        if !waited.is_zero() {
            context.effort.add_quota_wait(waited);
            core.observers.emit(|| Signal::quota_waited(&context.platform, &context.connection, waited));
        }
        Ok(permits)
    }

    /// A misspelt bucket would spend a quota that nobody counts.
    fn no_such_bucket(&self, name: &str) -> Error {
        let shared = self.shared.iter().map(|(bucket, _)| *bucket);
        let known: Vec<_> = self.buckets.iter().map(|(bucket, _)| *bucket).chain(shared).collect();
        let known = if known.is_empty() { "none at all".to_owned() } else { known.join(", ") };
        let text = format!("it takes from the quota bucket {name}, which has no limit; there are: {known}");
        Error::new(ErrorKind::Config, text)
            .with_delivery(martlet_base::Delivery::NotSent)
            .with_recovery(martlet_base::Recovery::Fatal)
    }

    /// Takes in what an answer said: pauses by bucket, and `pause` when the platform asked for fewer requests.
    pub(super) fn learn(
        &self,
        core: &Core,
        operation: &Operation,
        updates: &[QuotaUpdate],
        pause: Option<Duration>,
        now: Moment,
    ) {
        for update in updates {
            // What the platform counts beyond our own use, others used. What it says to be left raises nothing.
            let Some(remaining) = update.remaining else { continue };
            let limits = self.bucket(update.bucket);
            let windows = limits.map(|limits| limits.snapshot(now)).unwrap_or_default();
            match (limits, windows.iter().find(|w| *w.name == *update.window)) {
                (Some(limits), Some(window)) => {
                    let resets = now + update.resets_in.unwrap_or(window.per);
                    limits.observe_remaining(&update.window, remaining, resets, now);
                }
                _ => self.unmatched(core, update),
            }
        }
        let own = operation.get_quota().unwrap_or(LimitSpec::DEFAULT);
        let ordered = updates.iter().filter_map(|update| Some((update.bucket, update.blocked_for?)));
        for (bucket, pause) in ordered.chain(pause.map(|pause| (own, pause))) {
            let Some(limits) = self.bucket(bucket) else { continue };
            limits.block_until(now + pause);
            let until = core.clock.wall() + pause;
            core.observers
                .emit(|| Signal::quota_blocked(core.platform.descriptor().id(), &core.connection, until));
        }
    }

    /// Says once that nobody counts a window that the platform tells of.
    fn unmatched(&self, core: &Core, update: &QuotaUpdate) {
        let (bucket, window) = (update.bucket, &*update.window);
        let mut known = self.unmatched.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == MOST_UNMATCHED || known.iter().any(|(b, w)| *b == bucket && w == window) {
            return;
        }
        known.push((bucket, window.to_owned()));
        // An observer is foreign code: never under the lock.
        drop(known);
        let platform = core.platform.descriptor().id();
        core.observers.emit(|| Signal::quota_unmatched(platform, &core.connection, bucket, window));
    }

    /// The windows of each bucket.
    pub(super) fn windows(&self, now: Moment) -> impl Iterator<Item = (&'static str, Vec<WindowUsage>)> {
        self.buckets.iter().map(move |(bucket, limits)| (*bucket, limits.snapshot(now)))
    }

    /// Takes places of a window until `resets`, so that only `remaining` are left.
    pub(super) fn others_used(
        &self,
        bucket: &str,
        window: &str,
        remaining: u32,
        resets: Moment,
        now: Moment,
    ) {
        if let Some(limits) = self.bucket(bucket) {
            limits.observe_remaining(window, remaining, resets, now);
        }
    }

    pub(super) fn usage(&self, now: Moment) -> Vec<(&'static str, String, u32, u32)> {
        let windows = self.buckets.iter().flat_map(|(bucket, limits)| {
            limits.snapshot(now).into_iter().map(move |w| (*bucket, w.name.to_string(), w.limit, w.used))
        });
        windows.collect()
    }
}

async fn take<'a>(limits: &'a Limits, core: &Core, context: &CallContext) -> Result<LimitPermit<'a>> {
    let cost = context.operation.get_cost();
    limits
        .acquire_as(context.priority, cost, context.deadline, &core.clock)
        .await
        .map_err(|error| refusal(&error, &core.clock))
}

fn refusal(error: &LimitError, clock: &Clock) -> Error {
    let (kind, at) = match error {
        LimitError::CostTooHigh { .. } => (ErrorKind::Config, None),
        LimitError::QueueFull { .. } => (ErrorKind::Overloaded, None),
        LimitError::Blocked { until, .. } => (ErrorKind::RateLimited, Some(*until)),
        LimitError::DeadlineTooClose { next, .. } => (ErrorKind::DeadlineExceeded, *next),
        _ => (ErrorKind::Overloaded, None),
    };
    // Whatever it is called, it was refused on this side: nothing was sent, and trying again at once is pointless.
    let error = Error::new(kind, error.to_string())
        .with_delivery(martlet_base::Delivery::NotSent)
        .with_recovery(martlet_base::Recovery::Refused);
    match at {
        Some(at) => error.with_not_before(at).with_retry_at(clock.wall_at(at)),
        None => error,
    }
}

/// The places an attempt holds. A drop, at whatever await, gives back what was not sent and takes the rest for under way.
#[must_use = "dropping the permits ends the attempt"]
pub(super) struct Permits<'a> {
    own: Option<LimitPermit<'a>>,
    default: Option<LimitPermit<'a>>,
    core: &'a Core,
    context: &'a CallContext,
}

impl<'a> Permits<'a> {
    fn each(&self) -> impl Iterator<Item = &LimitPermit<'a>> {
        [&self.own, &self.default].into_iter().flatten()
    }

    fn take(&mut self) -> impl Iterator<Item = LimitPermit<'a>> + use<'a> {
        [self.own.take(), self.default.take()].into_iter().flatten()
    }

    /// The platform has answered: it will not count the request later than now.
    pub(super) fn answered(mut self) {
        let now = self.core.clock.now();
        self.take().for_each(|permit| permit.finish(now));
    }
}

impl Drop for Permits<'_> {
    fn drop(&mut self) {
        if self.context.effort.sent() {
            let now = self.core.clock.now();
            self.take().for_each(|permit| permit.finish_unknown(now, self.core.attempt_timeout));
        } else {
            self.take().for_each(LimitPermit::cancel);
        }
    }
}
