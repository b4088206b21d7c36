//! One account, several processes.

use crate::config::check;
use crate::{ConfigError, LimitError, Limits, lock};
use martlet_base::{Clock, Deadline, Moment};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Where processes that share an account keep count. `martlet-core` has one on its stores.
///
/// The time is the store's own, always: clocks of clients differ, and a window counted by them is granted twice.
pub trait QuotaStore: fmt::Debug + Send + Sync {
    /// Takes up to `ask.want` places of a window, as many as are free.
    ///
    /// An implementation takes, in one atomic step at its own time `now`: `granted = min(want, limit - places whose time is
    /// not over)`, or none if that is below `least`, and holds them until `now + ask.hold`; it also takes `ask.used_elsewhere` places without limit, and notes
    /// that `ask.member` was here.
    fn reserve<'a>(&'a self, ask: &'a Reservation) -> ReserveFuture<'a>;
}

/// The future of [`QuotaStore::reserve`].
pub type ReserveFuture<'a> = Pin<Box<dyn Future<Output = Result<Lease, QuotaStoreDown>> + Send + 'a>>;

/// A question to a [`QuotaStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reservation {
    /// Which window of which account.
    pub key: Arc<str>,
    /// Who asks: a name that no other process has.
    pub member: Arc<str>,
    /// How many places.
    pub want: u32,
    /// Fewer than this are of no use: then take none.
    pub least: u32,
    /// How many the window has.
    pub limit: u32,
    /// How long a place is taken: the window's span, the block's validity and the travel of a request.
    pub hold: Duration,
    /// Places that the member took while the store could not be asked.
    pub used_elsewhere: u32,
}

/// What a [`QuotaStore`] answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// How many places were taken.
    pub granted: u32,
    /// When more may be free, if fewer were taken than asked for.
    pub retry_in: Option<Duration>,
    /// How many members were here within the last `hold`, the one that asks included.
    pub members: u32,
}

/// The store did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quota store did not answer: {0}")]
pub struct QuotaStoreDown(pub String);

/// What to do while the store does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenDown {
    /// Go on with `limit / members last seen` of its own: together they keep the limit.
    #[default]
    LocalShare,
    /// Admit everything.
    Open,
    /// Admit nothing.
    Closed,
}

/// A strict window that several processes share through a [`QuotaStore`]. Places are taken in blocks, so that a round trip
/// serves many requests.
///
/// ```text
/// acquire -> places left of the block? -> yes: go
///                                      -> no:  reserve the next block -> granted: go
///                                                                     -> none free: wait, ask again
///                                                                     -> no answer: local share / open / closed
/// ```
///
/// The price of blocks: a place is taken for the span plus the block's validity and the travel, so of a window of 10 s about
/// three quarters are used with the defaults (validity 1 s, travel 2 s); of a daily one all. A request must arrive within
/// `travel` of its admission for the window to be kept exactly.
#[derive(Debug)]
pub struct SharedWindow {
    store: Arc<dyn QuotaStore>,
    options: SharedWindowBuilder,
    state: Mutex<Block>,
    /// Who waits, in the order of coming.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Block {
    left: u32,
    valid_until: Moment,
    members: u32,
    /// In use while the store is down.
    local: Option<Limits>,
    ask_again: Moment,
}

/// Builds a [`SharedWindow`].
#[derive(Clone, Debug)]
#[must_use = "call build()"]
pub struct SharedWindowBuilder {
    key: Arc<str>,
    member: Arc<str>,
    limit: u32,
    per: Duration,
    block: u32,
    valid_for: Duration,
    travel: Duration,
    when_down: WhenDown,
}

/// While the store is down it is asked this often.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl SharedWindowBuilder {
    /// How many places are taken at a time. A tenth of the limit, at most 100, unless set.
    pub const fn block(mut self, places: u32) -> Self {
        self.block = places;
        self
    }

    /// How long a block may be used. 1 s unless set.
    pub const fn valid_for(mut self, time: Duration) -> Self {
        self.valid_for = time;
        self
    }

    /// The longest time from an admission to the arrival at the server. 2 s unless set.
    pub const fn travel(mut self, time: Duration) -> Self {
        self.travel = time;
        self
    }

    /// What to do while the store does not answer. [`WhenDown::LocalShare`] unless set.
    pub const fn when_down(mut self, rule: WhenDown) -> Self {
        self.when_down = rule;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// A number or time is zero, a name is empty, or the block is above the limit.
    pub fn build(self, store: Arc<dyn QuotaStore>) -> Result<SharedWindow, ConfigError> {
        check(!self.key.is_empty(), "key", "must not be empty")?;
        check(!self.member.is_empty(), "member", "must not be empty")?;
        check(self.limit > 0, "limit", "must be above zero")?;
        check(!self.per.is_zero(), "per", "must be above zero")?;
        check(self.block > 0 && self.block <= self.limit, "block", "must be between 1 and the limit")?;
        check(!self.valid_for.is_zero(), "valid_for", "must be above zero")?;
        let state =
            Block { left: 0, valid_until: Moment::ZERO, members: 1, local: None, ask_again: Moment::ZERO };
        Ok(SharedWindow { store, options: self, state: Mutex::new(state), turn: tokio::sync::Mutex::new(()) })
    }
}

impl SharedWindow {
    /// At most `limit` arrivals in any `per`, for all processes that use `key` on the same store. `member` names this one.
    pub fn builder(key: &str, member: &str, limit: u32, per: Duration) -> SharedWindowBuilder {
        SharedWindowBuilder {
            key: key.into(),
            member: member.into(),
            limit,
            per,
            block: (limit / 10).clamp(1, 100),
            valid_for: Duration::from_secs(1),
            travel: Duration::from_secs(2),
            when_down: WhenDown::LocalShare,
        }
    }

    /// Waits until a request of `cost` may be sent, in the order of coming. Cancel safe: dropped, it takes nothing from the
    /// block; a block that was being reserved is lost until its time is over.
    ///
    /// # Errors
    /// [`LimitError`]; [`LimitError::StoreDown`] when the store does not answer and the rule is [`WhenDown::Closed`].
    pub async fn acquire(&self, cost: u32, deadline: Deadline, clock: &Clock) -> Result<(), LimitError> {
        let o = &self.options;
        if cost > o.limit {
            return Err(LimitError::CostTooHigh { cost, window: Arc::clone(&o.key), limit: o.limit });
        }
        let late = |next| LimitError::DeadlineTooClose { next };
        let _turn = clock.within(deadline, self.turn.lock()).await.ok_or(late(None))?;
        loop {
            let now = clock.now();
            if deadline.has_passed(now) {
                return Err(late(None));
            }
            match self.take(cost, now) {
                Take::Taken => return Ok(()),
                Take::Down => return self.without_store(cost, deadline, clock).await,
                Take::Ask(ask) => {
                    let answer = clock.within(deadline, self.store.reserve(&ask)).await.ok_or(late(None))?;
                    // The block's time began when it was asked for, at the latest.
                    let Some(pause) = self.settle(answer, &ask, now, clock.now()) else { continue };
                    let at = clock.now() + pause;
                    if deadline.has_passed(at) {
                        return Err(late(Some(at)));
                    }
                    clock.sleep_until(at).await;
                }
            }
        }
    }

    /// Places left of the block.
    #[must_use]
    pub fn left(&self, now: Moment) -> u32 {
        let block = lock(&self.state);
        if block.valid_until > now { block.left } else { 0 }
    }

    fn take(&self, cost: u32, now: Moment) -> Take {
        let o = &self.options;
        let mut block = lock(&self.state);
        if block.valid_until <= now {
            block.left = 0;
        }
        if block.left >= cost {
            block.left -= cost;
            return Take::Taken;
        }
        if block.local.is_some() && now < block.ask_again {
            return Take::Down;
        }
        let local = block.local.as_ref().and_then(|limits| limits.snapshot(now).first().map(|w| w.used));
        Take::Ask(Reservation {
            key: Arc::clone(&o.key),
            member: Arc::clone(&o.member),
            want: (cost - block.left).max(o.block),
            least: cost - block.left,
            limit: o.limit,
            hold: o.per + o.valid_for + o.travel,
            used_elsewhere: local.unwrap_or(0),
        })
    }

    /// Takes in the store's answer. `Some` is how long to wait before asking again.
    fn settle(
        &self,
        answer: Result<Lease, QuotaStoreDown>,
        ask: &Reservation,
        asked: Moment,
        now: Moment,
    ) -> Option<Duration> {
        let o = &self.options;
        let mut block = lock(&self.state);
        match answer {
            Ok(lease) => {
                block.local = None;
                block.members = lease.members.max(1);
                block.left = block.left.saturating_add(lease.granted);
                block.valid_until = asked + o.valid_for;
                (lease.granted < ask.least)
                    .then(|| lease.retry_in.unwrap_or(o.valid_for).max(Duration::from_millis(1)))
            }
            Err(QuotaStoreDown(_)) => {
                block.ask_again = now + ASK_AGAIN;
                if block.local.is_none() {
                    let share = (o.limit / block.members).max(1);
                    let local = Limits::builder().window(&o.key, share, o.per + o.travel).build();
                    block.local = Some(local.expect("a share of at least one place and a span above zero"));
                }
                None
            }
        }
    }

    async fn without_store(&self, cost: u32, deadline: Deadline, clock: &Clock) -> Result<(), LimitError> {
        let local = match self.options.when_down {
            WhenDown::Open => return Ok(()),
            WhenDown::Closed => return Err(LimitError::StoreDown),
            WhenDown::LocalShare => lock(&self.state).local.clone(),
        };
        match local {
            Some(local) => {
                local.acquire(cost, deadline, clock).await.map(|permit| permit.finish(clock.now()))
            }
            None => Ok(()),
        }
    }
}

enum Take {
    Taken,
    Ask(Reservation),
    Down,
}

#[cfg(not(martlet_loom))]
#[cfg(test)]
mod tests;
