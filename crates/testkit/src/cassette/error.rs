use super::Drift;
use std::io;
use std::path::PathBuf;

/// Why a cassette cannot be played, written or trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CassetteError {
    /// There is no such file.
    #[error("there is no cassette {}: record it with `{command}`, from a test that calls finish()", .path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// What records it.
        command: String,
    },
    /// The file cannot be read or written.
    #[error("the cassette {}: {source}", .path.display())]
    Io {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is none of a cassette.
    #[error("{} is no cassette: {reason}", .path.display())]
    Format {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is of a format that this version does not know.
    #[error("the cassette {} has the format {found}, this martlet-testkit knows up to {known}: update it, or record again", .path.display())]
    Version {
        /// Where it is.
        path: PathBuf,
        /// The format of the file.
        found: u64,
        /// The newest format that is known.
        known: u64,
    },
    /// A request that was not recorded, or not as often.
    #[error("not on the cassette {}:\n{report}", .path.display())]
    Unexpected {
        /// Where the cassette is.
        path: PathBuf,
        /// The request, the nearest one that was recorded, and how they differ. Redacted as the cassette is.
        report: String,
    },
    /// Interactions that no request asked for.
    #[error("recorded on the cassette {} and not asked for:\n{report}", .path.display())]
    NotPlayed {
        /// Where the cassette is.
        path: PathBuf,
        /// Which ones.
        report: String,
    },
    /// A secret would stand in the cassette. Nothing was written; a file that was there before is still there.
    #[error(
        "{place}: nothing was written to the cassette {}. Name the member with redact(), or replace it with redact_with()",
        .path.display()
    )]
    Secret {
        /// Where the cassette would be.
        path: PathBuf,
        /// What it is, the interaction and its part.
        place: String,
    },
    /// The server's answers no longer look as they were recorded.
    #[error("the answers are not as they were recorded:\n{0}")]
    Drift(Drift),
    /// The variable of the environment says something unknown.
    #[error("{variable} is {value:?}: say record, verify or replay")]
    Mode {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// There is nothing to record or verify through.
    #[error("give the cassette a transport to record through, with CassetteBuilder::through")]
    NoTransport,
}
