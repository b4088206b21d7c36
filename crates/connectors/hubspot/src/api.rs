//! The typed API, one file by kind of use.

pub(crate) mod bulk;
pub(crate) mod contacts;
pub(crate) mod objects;
pub(crate) mod properties;
pub(crate) mod search;
