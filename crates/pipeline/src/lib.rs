#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod checkpoint;
mod destination;
mod record;
mod source;
mod transform;

pub use checkpoint::Checkpoint;
pub use destination::{Deletion, Destination, ReadBack, WriteOutcome};
pub use record::{Batch, Consent, ContentHash, Op, Record};
pub use source::{Completeness, Reader, Source};
pub use transform::{Transform, Transformed};
