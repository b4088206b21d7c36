#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backup;
mod builder;
mod connection;
mod error;
mod keeper;
mod mounts;
mod reader;
mod rows;
mod schema;
mod store;
mod writer;

pub use builder::{Durability, SqliteBuilder};
pub use error::CommitWithError;
/// The SQLite library whose connection [`SqliteStore::commit_with`] hands out.
pub use rusqlite;
pub use store::SqliteStore;
