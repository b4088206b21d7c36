pub(crate) mod audiences;
pub(crate) mod bulk;
pub(crate) mod members;

/// The largest page that the platform gives.
pub(crate) const MAX_PAGE: u64 = 1000;
