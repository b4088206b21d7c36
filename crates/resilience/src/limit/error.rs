use martlet_base::Moment;
use std::sync::Arc;

/// The request cannot be admitted; nothing was taken and nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// It costs more than the whole window holds: no waiting helps. Make the request smaller.
    #[error("the request costs {cost}, but the window {window:?} holds only {limit}")]
    CostTooHigh {
        /// What it costs.
        cost: u32,
        /// Which window is too small.
        window: Arc<str>,
        /// How much that holds.
        limit: u32,
    },
    /// Its place comes after the deadline.
    #[error("no place within the limits before the deadline")]
    DeadlineTooClose {
        /// When the next place may be free, as far as is known.
        next: Option<Moment>,
    },
    /// Its place in the full queue was taken by a request of a higher class.
    #[error("a more urgent request took its place in the queue")]
    Shed,
    /// The store that several processes share did not answer, and the rule is to send nothing then.
    #[error("the shared quota store did not answer")]
    StoreDown,
    /// Too many are waiting already.
    #[error("{depth} requests are waiting already")]
    QueueFull {
        /// How many.
        depth: usize,
    },
    /// The server ordered a pause that ends after the deadline.
    #[error("the server ordered a pause that ends after the deadline")]
    Blocked {
        /// When it ends.
        until: Moment,
    },
}

/// There is no free place now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no free place within the limits")]
#[non_exhaustive]
pub struct NextPlace {
    /// When there may be one; `None` while that depends on requests under way, on callers that came before, or when
    /// the cost is above a whole window.
    pub at: Option<Moment>,
}
