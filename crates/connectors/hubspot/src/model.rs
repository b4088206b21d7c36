//! What HubSpot sends and takes.

pub(crate) mod association;
pub(crate) mod contact;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod lenient;
pub(crate) mod list;
pub(crate) mod object;
pub(crate) mod owner;
pub(crate) mod page;
pub(crate) mod plain;
pub(crate) mod property;
pub(crate) mod subscription;
pub(crate) mod time;
