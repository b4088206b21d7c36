use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where a source goes on: a position in the source's own terms. The pipeline stores it after the destination confirmed
/// everything before it, and hands it back on the next run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The version of this envelope.
    v: u32,
    stream: String,
    position: Value,
    /// Whether the source had read everything it set out to read.
    complete: bool,
}

impl Checkpoint {
    pub(crate) const VERSION: u32 = 1;

    /// A position in the middle of a run of `stream`.
    #[must_use]
    pub fn new(stream: impl Into<String>, position: Value) -> Self {
        Self { v: Self::VERSION, stream: stream.into(), position, complete: false }
    }

    /// The position at the end of a run: the next one begins here.
    #[must_use]
    pub fn complete(stream: impl Into<String>, position: Value) -> Self {
        Self { complete: true, ..Self::new(stream, position) }
    }

    /// The stream it belongs to.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The position, in the source's terms.
    #[must_use]
    pub const fn position(&self) -> &Value {
        &self.position
    }

    /// Whether it is the end of a run.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    pub(crate) const fn version(&self) -> u32 {
        self.v
    }
}
