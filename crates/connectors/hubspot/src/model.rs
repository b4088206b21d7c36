//! What HubSpot sends and takes.

pub(crate) mod contact;
pub(crate) mod error;
pub(crate) mod time;
