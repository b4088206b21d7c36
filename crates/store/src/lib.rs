#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod batch;
mod cell;
mod cells;
#[cfg(feature = "conformance")]
#[cfg_attr(docsrs, doc(cfg(feature = "conformance")))]
pub mod conformance;
mod error;
mod key;
mod lease;
mod log;
mod memory;
mod queue;
mod store;

pub use batch::{Committed, Outcome, Write, WriteBatch};
pub use cell::{Cell, Expect, MAX_VALUE_BYTES, Version};
pub use cells::Cells;
pub use error::{StoreError, StoreErrorKind};
pub use key::{CellKey, InvalidName, QueueName};
pub use lease::{Fence, MAX_OWNER_BYTES, check_owner};
pub use log::{LogId, Record};
pub use memory::MemoryStore;
pub use queue::{
    BuryKind, BuryReason, Depth, Message, MessageId, MessageState, QueueItem, Receipt, Received,
};
pub use store::{Capabilities, Store};
