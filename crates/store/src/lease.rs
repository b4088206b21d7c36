use crate::key::check_name;
use crate::{CellKey, StoreError};
use std::fmt;

/// The longest owner name of a lease in bytes.
pub const MAX_OWNER_BYTES: usize = 512;

/// Proof of a lease: what its holder puts into its batches, so that a holder who lost the lease without noticing
/// (a pause, a slept laptop) cannot write any more.
///
/// Each new holder of a lease gets a higher token. A batch with a token that is not the latest is refused with
/// [`StoreErrorKind::StaleFence`](crate::StoreErrorKind::StaleFence). See [`Store::lease`](crate::Store::lease).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    key: CellKey,
    token: u64,
}

impl Fence {
    /// The fence with this token: for backends, and to bring back a fence that was written down.
    #[must_use]
    pub const fn new(key: CellKey, token: u64) -> Self {
        Self { key, token }
    }

    /// The lease it belongs to.
    #[must_use]
    pub const fn key(&self) -> &CellKey {
        &self.key
    }

    /// The number that grows with each new holder.
    #[must_use]
    pub const fn token(&self) -> u64 {
        self.token
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fence({:?} #{})", self.key.as_str(), self.token)
    }
}

/// What every backend checks about the owner of a lease: 1 to [`MAX_OWNER_BYTES`] bytes without control characters.
///
/// # Errors
/// [`StoreErrorKind::Invalid`](crate::StoreErrorKind::Invalid).
pub fn check_owner(owner: &str) -> Result<(), StoreError> {
    check_name(owner, MAX_OWNER_BYTES)?;
    Ok(())
}
