use martlet_base::Timestamp;
use std::time::Duration;

/// A lease as a store keeps it, also after its end: tokens only grow.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// Who held it last.
    pub owner: String,
    /// The token of that holder's [`Fence`](crate::Fence).
    pub token: u64,
    /// When it ends, or ended.
    pub until: Timestamp,
}

impl Lease {
    /// A lease that was stored.
    #[must_use]
    pub const fn new(owner: String, token: u64, until: Timestamp) -> Self {
        Self { owner, token, until }
    }

    /// Decides about [`Store::lease`](crate::Store::lease) where `stored` is what is there: what to store in its place, and whose token is the
    /// fence to answer with. `None`: `owner` does not get it, and nothing changes.
    #[must_use]
    pub fn take(stored: Option<&Self>, owner: &str, ttl: Duration, now: Timestamp) -> Option<Self> {
        let is_held = stored.is_some_and(|lease| now < lease.until);
        let token = match stored {
            Some(lease) if is_held && lease.owner != owner => return None,
            Some(lease) if is_held => lease.token,
            _ if ttl.is_zero() => return None,
            Some(lease) => lease.token + 1,
            None => 1,
        };
        Some(Self::new(owner.to_owned(), token, now + ttl))
    }
}
