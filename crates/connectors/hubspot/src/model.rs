//! What HubSpot sends and takes.

pub(crate) mod contact;
pub(crate) mod error;
pub(crate) mod lenient;
pub(crate) mod object;
pub(crate) mod page;
pub(crate) mod plain;
pub(crate) mod property;
pub(crate) mod time;
