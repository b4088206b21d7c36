use crate::Record;
use async_trait::async_trait;
use martlet_core::{Error, Result};
use std::fmt;

/// Where records go. Connectors implement it behind their feature `pipeline`.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a destination",
    note = "implement `martlet_pipeline::Destination`, or enable the feature `pipeline` of the connector"
)]
pub trait Destination: fmt::Debug + Send + Sync {
    /// Its name, `mailchimp.members`.
    fn name(&self) -> &str;

    /// The most records that one [`write`](Self::write) takes.
    fn max_batch(&self) -> usize;

    /// How many writes may be under way at once.
    fn concurrency(&self) -> usize {
        2
    }

    /// Gets ready for a run: checks that the place exists and has the fields, reads who opted out there.
    ///
    /// # Errors
    /// When the destination is not there or refuses.
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    /// The identity that `record` has at the destination, `md5(lower(email))`. When it changes between two runs the pipeline
    /// deletes the old one.
    fn target(&self, record: &Record) -> String;

    /// Writes upserts, in one request where the platform can, and tells each one's fate, in the order of `records`.
    ///
    /// # Errors
    /// When the request failed as a whole, or an error could not be mapped to a record: then nothing is taken for written.
    async fn write(&self, records: &[Record]) -> Result<Vec<WriteOutcome>>;

    /// Deletes, and tells each one's fate. Something that is there under the target but belongs to another key (two contacts
    /// swapped addresses) is left alone and reported as [`WriteOutcome::Deleted`].
    ///
    /// # Errors
    /// As [`write`](Self::write).
    async fn delete(&self, deletions: &[Deletion]) -> Result<Vec<WriteOutcome>>;

    /// Reads back what this pipeline put there, for reconciliation.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    async fn read_back(&self) -> Result<Box<dyn ReadBack>>;
}

/// Something to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Its identity at the source.
    pub key: String,
    /// Its identity at the destination.
    pub target: String,
}

/// What became of one record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WriteOutcome {
    /// It is there now.
    Written,
    /// It is gone now (or was not there).
    Deleted,
    /// It was left alone for a reason with a stable name, `opted_out`.
    Skipped(&'static str),
    /// The destination does not take it.
    Rejected(Error),
}

/// Reads back what a pipeline put at the destination, page by page.
#[async_trait]
pub trait ReadBack: fmt::Debug + Send {
    /// The next page; `None` at the end. Records carry the **source's** key and the fields as
    /// [`Transform`](crate::Transform) gave them, so that both sides hash alike. Records that the pipeline did not write are
    /// left out.
    ///
    /// # Errors
    /// What the platform gave after its retries.
    async fn next(&mut self) -> Result<Option<Vec<Record>>>;
}
