//! The typed API, one file by kind of use.

pub(crate) mod associations;
pub(crate) mod bulk;
pub(crate) mod contacts;
pub(crate) mod events;
pub(crate) mod lists;
pub(crate) mod objects;
pub(crate) mod owners;
pub(crate) mod properties;
pub(crate) mod search;
pub(crate) mod subscriptions;
