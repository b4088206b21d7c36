#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod conn;
mod error;
mod group;
mod keys;
mod load;
mod logs;
mod plain;
mod quota;
mod reads;
mod receive;
mod rows;
mod store;

pub use builder::RedisBuilder;
pub use quota::Quota;
pub use store::RedisStore;
