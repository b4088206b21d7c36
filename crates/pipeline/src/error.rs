use martlet_base::{Delivery, Fault, Recovery, Timestamp};
use martlet_store::StoreError;

/// Why a pipeline could not go on. What was committed before stays committed, and the next run goes on from there.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The pipeline was put together from parts that do not fit. **What to do:** the message names the part.
    #[error("{0}")]
    Config(String),
    /// Reading failed after the client's retries. **What to do:** see the error; run again, it resumes.
    #[error("reading failed")]
    Source(#[source] martlet_core::Error),
    /// Writing failed after the client's retries; the records of the failed request are not taken for written.
    /// **What to do:** see the error; run again, it resumes and repeats them (writes are upserts).
    #[error("writing failed")]
    Destination(#[source] martlet_core::Error),
    /// State could not be read or stored. **What to do:** see the error; nothing is lost, unconfirmed records are written
    /// again.
    #[error("the pipeline's state could not be read or stored")]
    Store(#[from] StoreError),
    /// The state was written by a newer version, or is damaged. It is never reset silently. **What to do:** upgrade, or
    /// start with another state file.
    #[error("the stored state cannot be used: {0}")]
    State(String),
    /// A full run no longer met so many records that deleting them looks like a mistake: a changed filter, a token with
    /// fewer rights, half a list. Nothing was deleted. **What to do:** look at the source; raise
    /// [`max_delete_ratio`](crate::PipelineBuilder::max_delete_ratio) for one run if it is right.
    #[error(
        "{gone} of {known} records are gone at the source, more than max_delete_ratio allows; nothing was deleted"
    )]
    SuspiciousDeletes {
        /// Records that are gone.
        gone: u64,
        /// Records that were known before.
        known: u64,
    },
    /// A part of the pipeline panicked. **What to do:** report it; nothing is lost, run again.
    #[error("{0} panicked")]
    Panicked(&'static str),
}

impl PipelineError {
    /// The stable name used in logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::Source(error) | Self::Destination(error) => error.kind().as_str(),
            Self::Store(_) => "store",
            Self::State(_) => "state",
            Self::SuspiciousDeletes { .. } => "suspicious_deletes",
            Self::Panicked(_) => "panicked",
        }
    }
}

impl Fault for PipelineError {
    fn delivery(&self) -> Delivery {
        match self {
            Self::Config(_) | Self::State(_) | Self::Source(_) | Self::SuspiciousDeletes { .. } => {
                Delivery::NotSent
            }
            Self::Destination(error) => error.delivery(),
            Self::Store(error) => error.delivery(),
            Self::Panicked(_) => Delivery::Unknown,
        }
    }

    fn recovery(&self) -> Recovery {
        match self {
            Self::Config(_) | Self::State(_) | Self::Panicked(_) | Self::SuspiciousDeletes { .. } => {
                Recovery::Fatal
            }
            Self::Source(error) | Self::Destination(error) => error.recovery(),
            Self::Store(error) => error.recovery(),
        }
    }

    fn retry_at(&self) -> Option<Timestamp> {
        match self {
            Self::Source(error) | Self::Destination(error) => error.retry_at(),
            _ => None,
        }
    }
}
