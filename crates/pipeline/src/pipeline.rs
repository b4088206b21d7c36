use crate::run::Run;
use crate::state::{Changes, DeadLetter, State};
use crate::{
    Destination, PipelineError, Progress, ReconcileMode, ReconcileReport, Record, RunReport, Source,
    Transform, WriteOutcome, reconcile,
};
use martlet_base::{Clock, Observer, Observers};
use martlet_store::Store;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// Moves the records of a source to a destination, resumably, and sends only what changed.
///
/// * The checkpoint moves only over records whose fate the destination confirmed; it is the end of the contiguous finished
///   prefix, stored in one commit with the content hashes of those records.
/// * A record whose content and consent are the same as last time is not sent.
/// * A record that the destination refuses becomes a dead letter; it does not stop the run.
/// * Memory is bounded: [`read_ahead`](PipelineBuilder::read_ahead) batches and the requests under way.
///
/// One run of a pipeline at a time: two at once would do the work twice (writes are upserts, so nothing breaks).
#[derive(Clone)]
pub struct Pipeline(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) transform: Arc<dyn Transform>,
    pub(crate) destination: Arc<dyn Destination>,
    pub(crate) state: State,
    pub(crate) clock: Clock,
    pub(crate) observers: Observers,
    pub(crate) progress: Option<ProgressFn>,
    pub(crate) read_ahead: usize,
    pub(crate) dry_run: bool,
    pub(crate) recheck_skipped: bool,
    pub(crate) restart: bool,
    pub(crate) max_delete_ratio: f64,
}

impl Parts {
    /// Writes `records`: one outcome for each.
    pub(crate) async fn write(&self, records: &[Record]) -> Result<Vec<WriteOutcome>, PipelineError> {
        let outcomes = self.destination.write(records).await.map_err(PipelineError::Destination)?;
        if outcomes.len() != records.len() {
            return Err(PipelineError::Panicked("the destination's accounting (an outcome for each record)"));
        }
        Ok(outcomes)
    }
}

type ProgressFn = Arc<dyn Fn(&Progress) + Send + Sync>;

impl Pipeline {
    /// A builder for the pipeline `name`: 1 to 64 characters out of `a-z A-Z 0-9 . _ -`, part of the keys of its state.
    pub fn builder(name: impl Into<String>) -> PipelineBuilder {
        PipelineBuilder {
            name: name.into(),
            source: None,
            transform: None,
            destination: None,
            store: None,
            clock: None,
            observers: Observers::none(),
            progress: None,
            read_ahead: 8,
            dry_run: false,
            recheck_skipped: false,
            restart: false,
            max_delete_ratio: 0.05,
        }
    }

    /// Runs once, to the end.
    ///
    /// Cancel safety: when the future is dropped, requests under way may still be applied; the checkpoint does not cover them,
    /// and the next run sends them again.
    ///
    /// # Errors
    /// [`RunFailed`] with the error and what was done before it.
    pub async fn run(&self) -> Result<RunReport, RunFailed> {
        self.run_until(std::future::pending()).await
    }

    /// Runs once, to the end or until `stop` completes: then nothing more is read or begun, requests under way are finished,
    /// and the checkpoint is stored.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_until(&self, stop: impl Future<Output = ()> + Send) -> Result<RunReport, RunFailed> {
        Run::new(Arc::clone(&self.0)).drive(stop).await
    }

    /// Compares both sides: the content hashes of what was written against the destination read back. Count and checksum
    /// first; only when they differ, the keys.
    ///
    /// # Errors
    /// [`PipelineError`] when a side cannot be read.
    pub async fn reconcile(&self, mode: ReconcileMode) -> Result<ReconcileReport, PipelineError> {
        reconcile::reconcile(&self.0, mode).await
    }

    /// The records that the destination refused, by key.
    ///
    /// # Errors
    /// [`PipelineError::Store`] when state cannot be read.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, PipelineError> {
        self.0.state.dead_letters().await
    }
}

impl Pipeline {
    /// Sends the dead letters again, and removes those that the destination takes now.
    ///
    /// # Errors
    /// [`PipelineError::Destination`] when a request failed as a whole; those before it are done.
    pub async fn replay_dead_letters(&self) -> Result<ReplayReport, PipelineError> {
        let parts = &*self.0;
        parts.destination.prepare().await.map_err(PipelineError::Destination)?;
        let mut report = ReplayReport::default();
        let letters = parts.state.dead_letters().await?;
        for chunk in letters.chunks(parts.destination.max_batch()) {
            let damaged = || PipelineError::State("a dead letter is damaged or newer".into());
            let records: Vec<_> =
                chunk.iter().map(|letter| letter.record().ok_or_else(damaged)).collect::<Result<_, _>>()?;
            let outcomes = parts.write(&records).await?;
            let mut changes = Changes::default();
            for (record, outcome) in records.iter().zip(outcomes) {
                match &outcome {
                    WriteOutcome::Written | WriteOutcome::Deleted => report.written += 1,
                    WriteOutcome::Skipped(_) => report.skipped += 1,
                    WriteOutcome::Rejected(_) => report.rejected += 1,
                }
                let target = parts.destination.target(record);
                changes.settle(&parts.state, record, target, &outcome, true, parts.clock.wall())?;
            }
            parts.state.commit(changes).await?;
        }
        Ok(report)
    }
}

/// What became of the dead letters that were sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayReport {
    /// Taken now.
    pub written: u64,
    /// Left alone by the destination, for consent.
    pub skipped: u64,
    /// Refused again; they stay dead letters, with the new reason.
    pub rejected: u64,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("name", &self.0.name)
            .field("source", &self.0.source)
            .field("destination", &self.0.destination)
            .finish_non_exhaustive()
    }
}

/// A run that could not go on.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct RunFailed {
    /// Why.
    #[source]
    pub error: PipelineError,
    /// What was done before; its [`outcome`](RunReport::outcome) is [`Outcome::Stopped`](crate::Outcome::Stopped).
    pub report: Box<RunReport>,
}

/// Builds a [`Pipeline`].
#[must_use = "a builder does nothing until build() is called"]
pub struct PipelineBuilder {
    name: String,
    source: Option<Arc<dyn Source>>,
    transform: Option<Arc<dyn Transform>>,
    destination: Option<Arc<dyn Destination>>,
    store: Option<Arc<dyn Store>>,
    clock: Option<Clock>,
    observers: Observers,
    progress: Option<ProgressFn>,
    read_ahead: usize,
    dry_run: bool,
    recheck_skipped: bool,
    restart: bool,
    max_delete_ratio: f64,
}

impl PipelineBuilder {
    /// Where records come from. Required.
    pub fn source(mut self, source: impl Source + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// How records are mapped. Required.
    pub fn transform(mut self, transform: impl Transform + 'static) -> Self {
        self.transform = Some(Arc::new(transform));
        self
    }

    /// Where records go. Required.
    pub fn destination(mut self, destination: impl Destination + 'static) -> Self {
        self.destination = Some(Arc::new(destination));
        self
    }

    /// Where checkpoint and content hashes are kept. Required.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// The clock to live by. Required: give [`Clock::system`] in programs.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Adds an observer of signals.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers = self.observers.with(observer);
        self
    }

    /// Called after each batch and each write; be quick.
    pub fn on_progress(mut self, progress: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// How many batches are read ahead of the destination; 8 unless said.
    pub const fn read_ahead(mut self, batches: usize) -> Self {
        self.read_ahead = batches;
        self
    }

    /// Only looks: nothing is written at the destination, and no state is stored.
    pub const fn dry_run(mut self, yes: bool) -> Self {
        self.dry_run = yes;
        self
    }

    /// Looks again at records that were skipped or rejected with the same content: after the destination's rules changed.
    pub const fn recheck_skipped(mut self, yes: bool) -> Self {
        self.recheck_skipped = yes;
        self
    }

    /// Forgets the checkpoint and reads everything. Content hashes stay, so only what changed is sent.
    pub const fn restart(mut self, yes: bool) -> Self {
        self.restart = yes;
        self
    }

    /// The largest part of the known records that may be deleted because a full run did not meet them any more, from 0 to
    /// 1; 0.05 unless said. Ten records are always allowed.
    pub const fn max_delete_ratio(mut self, ratio: f64) -> Self {
        self.max_delete_ratio = ratio;
        self
    }

    /// Checks the parts and builds the pipeline. No I/O.
    ///
    /// # Errors
    /// [`PipelineError::Config`] that names the part.
    pub fn build(self) -> Result<Pipeline, PipelineError> {
        let missing = |part: &str| PipelineError::Config(format!("pipeline {:?} has no {part}", self.name));
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(good) {
            let name = self.name;
            return Err(PipelineError::Config(format!(
                "a pipeline's name is 1 to 64 of A-Z a-z 0-9 . _ -, not {name:?}"
            )));
        }
        let destination = self.destination.ok_or_else(|| missing("destination"))?;
        if destination.max_batch() == 0 || destination.concurrency() == 0 || self.read_ahead == 0 {
            return Err(PipelineError::Config("batches, concurrency and read_ahead are at least 1".into()));
        }
        if !(0.0..=1.0).contains(&self.max_delete_ratio) {
            return Err(PipelineError::Config(format!(
                "max_delete_ratio is from 0 to 1, not {}",
                self.max_delete_ratio
            )));
        }
        let store = self.store.ok_or_else(|| missing("store"))?;
        Ok(Pipeline(Arc::new(Parts {
            state: State::new(store, &self.name),
            source: self.source.ok_or_else(|| missing("source"))?,
            transform: self.transform.ok_or_else(|| missing("transform"))?,
            clock: self.clock.ok_or_else(|| missing("clock"))?,
            destination,
            name: self.name,
            observers: self.observers,
            progress: self.progress,
            read_ahead: self.read_ahead,
            dry_run: self.dry_run,
            recheck_skipped: self.recheck_skipped,
            restart: self.restart,
            max_delete_ratio: self.max_delete_ratio,
        })))
    }
}

impl fmt::Debug for PipelineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}
