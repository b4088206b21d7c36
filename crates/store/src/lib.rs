#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod batch;
mod cell;
mod cells;
#[cfg(feature = "conformance")]
#[cfg_attr(docsrs, doc(cfg(feature = "conformance")))]
pub mod conformance;
mod copy;
mod encrypted;
pub mod engine;
mod error;
mod handle;
mod key;
mod lease;
mod log;
mod logs;
mod memory;
mod queue;
mod queues;
mod retention;
mod store;

pub use batch::{Committed, Outcome, Write, WriteBatch};
pub use cell::{Cell, Expect, MAX_VALUE_BYTES, Version};
pub use cells::Cells;
pub use copy::{Copied, copy};
pub use encrypted::{Cipher, CipherError, EncryptedStore};
pub use error::{StoreError, StoreErrorKind};
pub use key::{CellKey, InvalidName, QueueName};
pub use lease::{Fence, MAX_OWNER_BYTES, check_owner};
pub use log::{LogId, LogInfo, Record};
pub use logs::Logs;
pub use memory::MemoryStore;
pub use queue::{
    BuryKind, BuryReason, DEDUP_WINDOW, DeliveryEnd, Depth, MAX_HISTORY, MAX_LABEL_BYTES, Message, MessageId,
    MessageState, PastDelivery, QueueItem, Receipt, Received,
};
pub use queues::{Moved, Queue, ReplayOptions};
pub use retention::{Erasure, Removed, Retention};
pub use store::{Capabilities, Store};
