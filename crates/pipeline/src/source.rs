use crate::{Batch, Checkpoint};
use async_trait::async_trait;
use martlet_core::Result;
use std::fmt;

/// Where records come from. Connectors implement it behind their feature `pipeline`.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source",
    note = "implement `martlet_pipeline::Source`, or enable the feature `pipeline` of the connector"
)]
pub trait Source: fmt::Debug + Send + Sync {
    /// The stream's name, `hubspot.contacts`: part of the keys under which state is stored.
    fn stream(&self) -> &str;

    /// Begins to read: everything without a checkpoint, what changed since after a complete one, the rest of an interrupted run
    /// otherwise.
    ///
    /// # Errors
    /// [`martlet_core::ErrorKind::InvalidRequest`] when the checkpoint's position is not one of this source's.
    async fn open(&self, from: Option<&Checkpoint>) -> Result<Box<dyn Reader>>;

    /// Whether each of these keys still exists at the source: asked about records that a full run did not meet any more,
    /// before they are deleted at the destination. `None` when the source cannot tell; then nothing is deleted for being
    /// absent.
    ///
    /// # Errors
    /// What the platform gave after its retries.
    async fn exists(&self, keys: &[String]) -> Result<Option<Vec<bool>>> {
        let _ = keys;
        Ok(None)
    }
}

/// Reads a source's batches in order.
#[async_trait]
pub trait Reader: fmt::Debug + Send {
    /// The next batch; `None` when everything was read. The last batch (it may be empty) carries a
    /// [complete](Checkpoint::complete) checkpoint.
    ///
    /// # Errors
    /// What the platform gave after its retries. The run ends; the checkpoints of earlier batches stay good.
    async fn next(&mut self) -> Result<Option<Batch>>;

    /// What kind of reading this is.
    fn completeness(&self) -> Completeness;
}

/// Whether a reader delivers everything that exists, or only what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Completeness {
    /// Everything.
    Full,
    /// What changed since the last complete run.
    Incremental,
}
