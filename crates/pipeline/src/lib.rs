#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod checkpoint;
mod destination;
mod error;
mod pipeline;
mod reconcile;
mod record;
mod report;
mod run;
mod source;
mod state;
mod transform;

/// For implementing the traits of this crate.
pub use async_trait::async_trait;

pub use checkpoint::Checkpoint;
pub use destination::{Deletion, Destination, ReadBack, WriteOutcome};
pub use error::PipelineError;
pub use pipeline::{Pipeline, PipelineBuilder, ReplayReport, RunFailed};
pub use reconcile::{Digest, ReconcileMode, ReconcileReport};
pub use record::{Batch, Consent, ContentHash, Op, Record};
pub use report::{Counts, Outcome, Progress, RunReport};
pub use source::{Completeness, Reader, Source};
pub use state::DeadLetter;
pub use transform::{Transform, Transformed};
