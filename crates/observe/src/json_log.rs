use crate::record::Record;
use martlet_base::{Clock, Observer, Rng, Signal, UuidV7};
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Writes one JSON line per finished call and per finished stage, and one per retry, ordered pause, change of a breaker
/// and new credential. [`LOG_RECORD_SCHEMA`](crate::LOG_RECORD_SCHEMA) describes a line.
///
/// A line is built before the lock is taken and handed to the writer whole, so lines of many threads never mix. A writer
/// that fails costs lines, which [`errors`](Self::errors) counts, and never the call that is being logged; a line that it
/// took only in part is ended before the next begins.
///
/// Signals are handed over inline, so the writer must not wait: a file or standard error is fine, a pipe that nobody
/// reads is not. [`std::io::BufWriter`] makes it one system call for many lines; [`flush`](Self::flush) it at the end.
pub struct JsonLog {
    out: Mutex<Out>,
    clock: Clock,
    run_id: String,
    errors: AtomicU64,
}

struct Out {
    writer: Box<dyn Write + Send>,
    /// The writer failed in the middle of a line.
    torn: bool,
}

impl JsonLog {
    /// A log that writes to `writer`. `clock` dates the lines; `rng` makes the run's id: give [`Rng::system`] to a program and
    /// a seed to a test. For an id of your own see [`with_run_id`](Self::with_run_id).
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a source of randomness is a value, as in every builder"
    )]
    pub fn new(writer: impl Write + Send + 'static, clock: Clock, rng: Rng) -> Self {
        let run_id = UuidV7::new(clock.wall(), &rng).to_string();
        let out = Mutex::new(Out { writer: Box::new(writer), torn: false });
        Self { out, clock, run_id, errors: AtomicU64::new(0) }
    }

    /// Replaces the run's id, for instance by one that other programs know too.
    ///
    /// # Errors
    /// [`InvalidRunId`] when it is not a UUID of version 7.
    pub fn with_run_id(mut self, run_id: &str) -> Result<Self, InvalidRunId> {
        let id = uuid::Uuid::parse_str(run_id).map_err(|_| InvalidRunId)?;
        if id.get_version_num() != 7 || id.get_variant() != uuid::Variant::RFC4122 {
            return Err(InvalidRunId);
        }
        self.run_id = id.to_string();
        Ok(self)
    }

    /// The id in every line's `run_id`: a UUID of version 7.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// How many lines and flushes the writer refused so far.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Flushes the writer.
    ///
    /// # Errors
    /// The writer's own; it is counted too.
    pub fn flush(&self) -> io::Result<()> {
        // A writer that panicked elsewhere is still a writer.
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.writer.flush().inspect_err(|_| self.count_error())
    }

    fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }
}

impl Out {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.write_whole(b"\n")?;
            self.torn = false;
        }
        self.write_whole(line)
    }

    /// `write_all` that remembers whether it failed half way.
    fn write_whole(&mut self, mut rest: &[u8]) -> io::Result<()> {
        let whole = rest.len();
        while !rest.is_empty() {
            match self.writer.write(rest) {
                Ok(0) => {
                    self.torn |= rest.len() < whole;
                    return Err(io::ErrorKind::WriteZero.into());
                }
                Ok(n) => rest = &rest[n.min(rest.len())..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.torn |= rest.len() < whole;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

impl Observer for JsonLog {
    fn observe(&self, signal: &Signal<'_>) {
        let Some(record) = Record::new(signal, &self.run_id, &self.clock) else { return };
        let mut line = Vec::with_capacity(768);
        let written = match serde_json::to_writer(&mut line, &record) {
            Ok(()) => {
                line.push(b'\n');
                self.out.lock().unwrap_or_else(PoisonError::into_inner).write_line(&line)
            }
            Err(error) => Err(error.into()),
        };
        if written.is_err() {
            self.count_error();
        }
    }
}

impl fmt::Debug for JsonLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLog")
            .field("run_id", &self.run_id)
            .field("errors", &self.errors())
            .finish_non_exhaustive()
    }
}

/// The text cannot be the id of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidRunId;

impl fmt::Display for InvalidRunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a run id is a UUID of version 7 such as 019b76da-a800-7f10-8eb1-6ea2f6e9c1a3")
    }
}

impl std::error::Error for InvalidRunId {}
