#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod connection;
mod error;
mod mounts;
mod reader;
mod schema;
mod store;
mod writer;

pub use builder::{Durability, SqliteBuilder};
pub use store::SqliteStore;
