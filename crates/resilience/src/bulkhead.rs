use crate::{ConfigError, LimitError, LimitPermit, Limits, NextPlace, Priority};
use martlet_base::{Clock, Deadline, Moment};

/// A bound on how much goes on at once, so that one slow server does not tie up everything: 64 in flight and 256 waiting
/// unless set, first come first served. It is [`Limits`] with a concurrency cap and no window. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bulkhead(Limits);

/// A place in a [`Bulkhead`]; given back when it is dropped. It borrows the bulkhead; [`into_owned`](Self::into_owned) makes
/// one that may go to another task.
#[derive(Debug)]
#[must_use = "the place is held only while this lives"]
pub struct BulkheadPermit<'a>(LimitPermit<'a>);

impl BulkheadPermit<'_> {
    /// The same place with a handle of its own.
    pub fn into_owned(self) -> BulkheadPermit<'static> {
        BulkheadPermit(self.0.into_owned())
    }
}

impl Bulkhead {
    /// At most `in_flight` at once and `queue` waiting.
    ///
    /// # Errors
    /// `in_flight` is zero.
    pub fn new(in_flight: u32, queue: usize) -> Result<Self, ConfigError> {
        Limits::builder().concurrency(in_flight).max_queue(queue).build().map(Self)
    }

    /// Waits for a place until `deadline`. Cancel safe.
    ///
    /// # Errors
    /// [`LimitError::QueueFull`] at once, with the queue's depth; [`LimitError::DeadlineTooClose`].
    pub async fn enter(&self, deadline: Deadline, clock: &Clock) -> Result<BulkheadPermit<'_>, LimitError> {
        self.0.acquire(1, deadline, clock).await.map(BulkheadPermit)
    }

    /// As [`enter`](Self::enter), in another class than [`Priority::Delivery`]. Cancel safe.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub async fn enter_as(
        &self,
        class: Priority,
        deadline: Deadline,
        clock: &Clock,
    ) -> Result<BulkheadPermit<'_>, LimitError> {
        self.0.acquire_as(class, 1, deadline, clock).await.map(BulkheadPermit)
    }

    /// Changes how many may be in flight; see [`Limits::set_concurrency`].
    pub fn resize(&self, in_flight: u32) -> bool {
        self.0.set_concurrency(in_flight)
    }

    /// Takes a place if one is free and nobody waits for it.
    ///
    /// # Errors
    /// [`NextPlace`] otherwise.
    pub fn try_enter(&self, now: Moment) -> Result<BulkheadPermit<'_>, NextPlace> {
        self.0.try_acquire(1, now).map(BulkheadPermit)
    }

    #[cfg(feature = "tower")]
    pub(crate) const fn limits(&self) -> &Limits {
        &self.0
    }

    /// Places taken.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.in_flight()
    }

    /// Callers waiting.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.0.queued()
    }
}

impl Default for Bulkhead {
    /// 64 in flight, 256 waiting.
    fn default() -> Self {
        Self::new(64, 256).expect("64 is above zero")
    }
}
