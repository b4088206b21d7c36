#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod error;
mod group;
mod hash;
mod listen;
mod query;
mod reads;
mod rows;
mod schema;
mod store;
mod sweep;

pub use builder::PostgresBuilder;
pub use store::PostgresStore;
/// The client library whose configuration and transactions this crate takes.
pub use tokio_postgres;
