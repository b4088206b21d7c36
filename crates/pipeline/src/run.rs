//! One run: a reader on a task of its own, writes under way beside it, and one loop that settles records and moves the
//! checkpoint.

use crate::pipeline::Parts;
use crate::state::{Changes, Known, Saved, Status, is_hash, short_hash};
use crate::{
    Batch, Checkpoint, Completeness, Counts, Deletion, Op, Outcome, PipelineError, Progress, Record,
    RunFailed, RunReport, Transformed, WriteOutcome,
};
use martlet_base::{CallOutcome, Moment, Recovery, Signal};
use martlet_core::ErrorKind;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

/// A checkpoint that moved without anything being written is stored this often at most.
const IDLE_SAVE: Duration = Duration::from_secs(1);

/// So many keys are asked about at once before they are taken for gone.
const CONFIRM: usize = 100;

/// So few deletions are never suspicious.
const ALWAYS_DELETABLE: u64 = 10;

/// A record that the destination refuses for the moment is sent so often, alone or in new company, before it becomes a dead
/// letter.
const MOST_TRIES: u32 = 3;

pub(crate) struct Run {
    parts: Arc<Parts>,
    started: Moment,
    resumed: bool,
    completeness: Completeness,
    counts: Counts,
    skipped: BTreeMap<&'static str, u64>,
    total: Option<u64>,
    /// Batches that were read and are not wholly settled, oldest first.
    open: VecDeque<OpenBatch>,
    /// The sequence number of `open[0]`.
    first: u64,
    /// Records that wait for company.
    pending: Vec<Pending>,
    /// Keys that are pending or under way.
    busy: HashSet<String>,
    writes: JoinSet<Write>,
    last_save: Moment,
    /// The end of the finished prefix, when it is not stored yet.
    unsaved: Option<Checkpoint>,
    /// Keys met so far, when this is a whole full run over a state that knows records: what is not among them at the end
    /// may be gone.
    seen: Option<HashSet<u64>>,
    vanished: u64,
}

/// A write that ended: what was sent, and what became of it.
type Write = (Vec<Pending>, Result<Vec<WriteOutcome>, PipelineError>);

struct OpenBatch {
    checkpoint: Checkpoint,
    unsettled: usize,
}

struct Pending {
    record: Record,
    batch: u64,
    target: String,
    /// Where the record was before, when that is another place.
    moved_from: Option<String>,
    /// Whether a dead letter of it is to be removed.
    was_rejected: bool,
    /// How often it was sent.
    tries: u32,
}

/// Why a run ends before everything was read.
enum Halt {
    Stopped,
    Failed(PipelineError),
}

impl From<PipelineError> for Halt {
    fn from(error: PipelineError) -> Self {
        Self::Failed(error)
    }
}

/// Reads on a task of its own; ends with it.
struct Feed {
    batches: mpsc::Receiver<Result<Batch, martlet_core::Error>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Run {
    pub(crate) fn new(parts: Arc<Parts>) -> Self {
        let started = parts.clock.now();
        Self {
            parts,
            started,
            resumed: false,
            completeness: Completeness::Full,
            counts: Counts::default(),
            skipped: BTreeMap::new(),
            total: None,
            open: VecDeque::new(),
            first: 0,
            pending: Vec::new(),
            busy: HashSet::new(),
            writes: JoinSet::new(),
            last_save: started,
            unsaved: None,
            seen: None,
            vanished: 0,
        }
    }

    pub(crate) async fn drive(
        mut self,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<RunReport, RunFailed> {
        let ended = self.move_all(stop).await;
        // Whatever happened, requests under way are finished and what they did is remembered. What only waits for company is
        // sent when everything was read; otherwise the next run reads it again.
        let ended = match self.finish_writes(ended.is_ok()).await {
            Ok(()) => ended,
            Err(error) => ended.and(Err(Halt::Failed(error))),
        };
        let ended = match ended {
            Ok(()) => self.sweep().await.map_err(Halt::Failed),
            halted => halted,
        };
        let saved = self.save_progress(true).await;
        let ended = ended.and(saved.map_err(Halt::Failed));
        let outcome = match ended {
            Ok(()) => Outcome::Complete,
            Err(Halt::Stopped) => Outcome::Stopped,
            Err(Halt::Failed(PipelineError::Source(e) | PipelineError::Destination(e)))
                if e.kind() == ErrorKind::QuotaExhausted =>
            {
                Outcome::QuotaExhausted { resumes_at: e.retry_at() }
            }
            Err(Halt::Failed(error)) => {
                let report = Box::new(self.report(Outcome::Stopped, Some(&error)));
                return Err(RunFailed { error, report });
            }
        };
        Ok(self.report(outcome, None))
    }

    /// Deletes what a whole full run did not meet any more, after the source confirmed that it is gone (contacts that were
    /// merged into others vanish without a word).
    async fn sweep(&mut self) -> Result<(), PipelineError> {
        let Some(seen) = self.seen.take() else { return Ok(()) };
        let parts = Arc::clone(&self.parts);
        let (mut known, mut absent, mut nameless) = (0u64, Vec::new(), 0u64);
        parts
            .state
            .each(|key, _| {
                known += 1;
                match seen.contains(&short_hash(&key)) {
                    true => {}
                    false if is_hash(&key) => nameless += 1,
                    false => absent.push(key),
                }
            })
            .await?;
        self.vanished = nameless;
        if absent.is_empty() {
            return Ok(());
        }
        let mut gone = Vec::new();
        for chunk in absent.chunks(CONFIRM) {
            match parts.source.exists(chunk).await.map_err(PipelineError::Source)? {
                Some(there) => {
                    gone.extend(
                        chunk.iter().zip(there).filter(|(_, there)| !there).map(|(key, _)| key.clone()),
                    );
                }
                None => {
                    self.vanished += u64::try_from(absent.len()).unwrap_or(u64::MAX);
                    return Ok(());
                }
            }
        }
        self.vanished += u64::try_from(absent.len() - gone.len()).unwrap_or(u64::MAX);
        let count = u64::try_from(gone.len()).unwrap_or(u64::MAX);
        #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
        if count > ALWAYS_DELETABLE && count as f64 > known as f64 * parts.max_delete_ratio {
            return Err(PipelineError::SuspiciousDeletes { gone: count, known });
        }
        self.delete_known(gone).await
    }

    fn report(mut self, outcome: Outcome, error: Option<&PipelineError>) -> RunReport {
        // What was read and never sent is not counted as read: the next run reads it again.
        let extracted = self.counts.read;
        self.counts.read = self.counts.settled();
        let (parts, counts, elapsed) =
            (&self.parts, &self.counts, self.parts.clock.now().since(self.started));
        let how = match (&outcome, error) {
            (_, Some(_)) => CallOutcome::Error,
            (Outcome::Complete, None) => CallOutcome::Ok,
            (Outcome::QuotaExhausted { .. }, None) => CallOutcome::Throttled,
            (Outcome::Stopped, None) => CallOutcome::Cancelled,
        };
        let moved = counts.written + counts.deleted;
        let pages = Some(self.first + u64::try_from(self.open.len()).unwrap_or(u64::MAX));
        for (stage, records_in, records_out, rejected, pages) in [
            ("extract", extracted, extracted, 0, pages),
            ("write", moved + counts.rejected, moved, counts.rejected, None),
            ("run", counts.read, moved, counts.rejected, pages),
        ] {
            parts.observers.emit(|| {
                let (stream, destination) = (parts.source.stream(), parts.destination.name());
                let error = error.map(PipelineError::as_str);
                Signal::stage_finished(
                    &parts.name,
                    stream,
                    destination,
                    parts.transform.id(),
                    stage,
                    how,
                    error,
                    records_in,
                    records_out,
                    rejected,
                    pages,
                    elapsed,
                )
            });
        }
        RunReport {
            outcome,
            counts: self.counts,
            vanished: self.vanished,
            skipped: self.skipped,
            completeness: self.completeness,
            resumed: self.resumed,
            dry_run: self.parts.dry_run,
            elapsed,
        }
    }

    async fn move_all(&mut self, stop: impl Future<Output = ()> + Send) -> Result<(), Halt> {
        let mut stop = pin!(stop);
        let mut feed = tokio::select! {
            biased;
            () = &mut stop => return Err(Halt::Stopped),
            feed = self.open_feed() => feed?,
        };
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return Err(Halt::Stopped),
                Some(done) = self.writes.join_next() => self.settle_write(done).await?,
                batch = feed.batches.recv(), if self.has_room() => match batch {
                    Some(Ok(batch)) => self.take(batch).await?,
                    Some(Err(error)) => return Err(PipelineError::Source(error).into()),
                    None => break,
                },
            }
            self.report_progress();
        }
        if feed.task.is_finished() && (&mut feed.task).await.is_err() {
            return Err(PipelineError::Panicked("the source").into());
        }
        Ok(())
    }

    /// Whether another batch may be taken while so many writes are under way.
    fn has_room(&self) -> bool {
        self.writes.len() < self.parts.destination.concurrency()
    }

    async fn open_feed(&mut self) -> Result<Feed, PipelineError> {
        let parts = Arc::clone(&self.parts);
        let saved = parts.state.load(parts.source.stream()).await?;
        // A changed mapping makes every record worth looking at.
        let saved = saved.filter(|saved| saved.transform == parts.transform.id() && !parts.restart);
        let from = saved.map(|saved| saved.checkpoint);
        self.resumed = from.as_ref().is_some_and(|checkpoint| !checkpoint.is_complete());
        parts.destination.prepare().await.map_err(PipelineError::Destination)?;
        let mut reader = parts.source.open(from.as_ref()).await.map_err(PipelineError::Source)?;
        self.completeness = reader.completeness();
        if self.completeness == Completeness::Full && !self.resumed && !parts.state.is_empty().await? {
            self.seen = Some(HashSet::new());
        }
        let (send, batches) = mpsc::channel(parts.read_ahead);
        let task = tokio::spawn(async move {
            while let Some(item) = reader.next().await.transpose() {
                let failed = item.is_err();
                if send.send(item).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Feed { batches, task })
    }

    async fn take(&mut self, batch: Batch) -> Result<(), PipelineError> {
        self.total = batch.total.or(self.total);
        let number = self.first + u64::try_from(self.open.len()).unwrap_or(u64::MAX);
        self.open.push_back(OpenBatch { checkpoint: batch.checkpoint, unsettled: batch.records.len() });
        let (upserts, deletes): (Vec<_>, Vec<_>) =
            batch.records.into_iter().partition(|record| record.op == Op::Upsert);
        if let Some(seen) = &mut self.seen {
            seen.extend(upserts.iter().map(|record| short_hash(&record.key)));
        }
        let upserted = u64::try_from(upserts.len()).unwrap_or(u64::MAX);
        self.counts.read += upserted;
        let stream = self.parts.source.stream();
        self.parts.observers.emit(|| Signal::records_moved(stream, "extracted", upserted));

        // The same key twice in a row (a list that moved while it was read): the first must be settled, or both would be sent.
        let mut seen = HashSet::with_capacity(upserts.len());
        let twice = upserts
            .iter()
            .chain(&deletes)
            .any(|r| self.busy.contains(&r.key) || !seen.insert(r.key.as_str()));
        if twice {
            for record in upserts.into_iter().chain(deletes) {
                self.finish_writes(true).await?;
                match record.op {
                    Op::Upsert => self.take_upserts(vec![record], number).await?,
                    Op::Delete => self.take_deletes(vec![record.key], number).await?,
                }
            }
        } else {
            self.take_upserts(upserts, number).await?;
            if !deletes.is_empty() {
                self.take_deletes(deletes.into_iter().map(|record| record.key).collect(), number).await?;
            }
        }
        self.advance();
        self.save_progress(false).await
    }

    async fn take_upserts(&mut self, records: Vec<Record>, batch: u64) -> Result<(), PipelineError> {
        let parts = Arc::clone(&self.parts);
        let keys: Vec<&str> = records.iter().map(|record| record.key.as_str()).collect();
        let known = parts.state.known(&keys).await?;
        let mut gone = Vec::new();
        for (record, known) in records.into_iter().zip(known) {
            match parts.transform.apply(record) {
                Transformed::Keep(record) => self.weigh(record, known, batch),
                Transformed::Skip { key, reason } => {
                    self.skip(reason);
                    // It was there once and has no place any more (the address was removed).
                    if known.is_some() {
                        gone.push(key);
                    } else {
                        self.settled(batch);
                    }
                }
            }
            if self.pending.len() >= parts.destination.max_batch() {
                self.flush();
            }
        }
        if gone.is_empty() { Ok(()) } else { self.take_deletes(gone, batch).await }
    }

    /// Sends what changed, and nothing else.
    fn weigh(&mut self, record: Record, known: Option<Known>, batch: u64) {
        let target = self.parts.destination.target(&record);
        let same = known.as_ref().filter(|known| {
            known.content == record.content_hash()
                && known.consent == record.consent
                && known.target == target
        });
        match same.map(|known| known.status) {
            Some(Status::Written) => {
                self.counts.unchanged += 1;
                self.settled(batch);
            }
            Some(Status::Skipped) if !self.parts.recheck_skipped => {
                self.counts.unchanged += 1;
                self.settled(batch);
            }
            Some(Status::Rejected) if !self.parts.recheck_skipped => {
                self.skip("rejected_before");
                self.settled(batch);
            }
            _ => {
                let was_rejected = known.as_ref().is_some_and(|known| known.status == Status::Rejected);
                let moved_from = known
                    .filter(|known| known.status == Status::Written && known.target != target)
                    .map(|known| known.target);
                self.busy.insert(record.key.clone());
                self.pending.push(Pending { record, batch, target, moved_from, was_rejected, tries: 0 });
            }
        }
    }

    fn skip(&mut self, reason: &'static str) {
        self.counts.skipped += 1;
        *self.skipped.entry(reason).or_default() += 1;
    }

    /// Begins to write what is pending.
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let parts = Arc::clone(&self.parts);
        self.writes.spawn(async move {
            let records: Vec<Record> = pending.iter().map(|p| p.record.clone()).collect();
            let result = if parts.dry_run {
                Ok(vec![WriteOutcome::Written; records.len()])
            } else {
                parts.write(&records).await
            };
            (pending, result)
        });
    }

    /// Waits for the writes under way, and sends what waits for company if everything was read.
    async fn finish_writes(&mut self, flush: bool) -> Result<(), PipelineError> {
        loop {
            if flush {
                self.flush();
            }
            self.join_writes().await?;
            // A refusal for the moment leaves its record pending.
            if !flush || self.pending.is_empty() {
                return Ok(());
            }
        }
    }

    /// Waits for the writes under way; the first error is kept, and the others are settled all the same.
    async fn join_writes(&mut self) -> Result<(), PipelineError> {
        let mut first = Ok(());
        while let Some(done) = self.writes.join_next().await {
            let settled = self.settle_write(done).await;
            first = first.and(settled);
            self.report_progress();
        }
        first
    }

    async fn settle_write(&mut self, done: Result<Write, JoinError>) -> Result<(), PipelineError> {
        let (pending, result) = done.map_err(|_| PipelineError::Panicked("the destination"))?;
        let outcomes = result?;
        let parts = Arc::clone(&self.parts);
        let now = parts.clock.wall();
        let mut changes = Changes::default();
        let mut moved = Vec::new();
        for (pending, outcome) in pending.into_iter().zip(outcomes) {
            if let WriteOutcome::Rejected(error) = &outcome
                && matches!(error.recovery(), Recovery::Transient | Recovery::Throttled)
                && pending.tries + 1 < MOST_TRIES
            {
                // Only what failed is sent again, and only when that may help.
                self.pending.push(Pending { tries: pending.tries + 1, ..pending });
                continue;
            }
            let Pending { record, batch, target, moved_from, was_rejected, .. } = pending;
            match &outcome {
                WriteOutcome::Written | WriteOutcome::Deleted => self.counts.written += 1,
                WriteOutcome::Skipped(reason) => self.skip(reason),
                WriteOutcome::Rejected(_) => self.counts.rejected += 1,
            }
            changes.settle(&parts.state, &record, target, &outcome, was_rejected, now)?;
            if let Some(old) = moved_from {
                moved.push(Deletion { key: record.key.clone(), target: old });
            }
            self.busy.remove(&record.key);
            self.settled(batch);
        }
        // The old place is emptied before the new one is remembered: a crash between repeats both.
        if !parts.dry_run && !moved.is_empty() {
            self.delete(&moved).await?;
        }
        self.advance();
        self.commit(changes).await
    }

    async fn take_deletes(&mut self, keys: Vec<String>, batch: u64) -> Result<(), PipelineError> {
        let count = keys.len();
        self.delete_known(keys).await?;
        (0..count).for_each(|_| self.settled(batch));
        self.advance();
        self.commit(Changes::default()).await
    }

    /// Deletes at the destination what was written there, and forgets all of them.
    async fn delete_known(&mut self, keys: Vec<String>) -> Result<(), PipelineError> {
        let parts = Arc::clone(&self.parts);
        let names: Vec<&str> = keys.iter().map(String::as_str).collect();
        let known = parts.state.known(&names).await?;
        let there: Vec<(String, Known)> =
            keys.iter().cloned().zip(known).filter_map(|(key, known)| Some((key, known?))).collect();
        let deletions: Vec<Deletion> = there
            .iter()
            .filter(|(_, known)| known.status == Status::Written)
            .map(|(key, known)| Deletion { key: key.clone(), target: known.target.clone() })
            .collect();
        let mut changes = Changes::default();
        if !parts.dry_run && !deletions.is_empty() {
            self.delete(&deletions).await?;
        }
        self.counts.deleted += u64::try_from(deletions.len()).unwrap_or(u64::MAX);
        for (key, known) in &there {
            changes.forget(&parts.state, key)?;
            if known.status == Status::Rejected {
                changes.unbury(&parts.state, key)?;
            }
        }
        self.commit(changes).await
    }

    async fn delete(&self, deletions: &[Deletion]) -> Result<(), PipelineError> {
        for chunk in deletions.chunks(self.parts.destination.max_batch()) {
            let outcomes = self.parts.destination.delete(chunk).await.map_err(PipelineError::Destination)?;
            for outcome in outcomes {
                if let WriteOutcome::Rejected(error) = outcome {
                    return Err(PipelineError::Destination(error));
                }
            }
        }
        Ok(())
    }

    /// One more record of `batch` has met its fate.
    fn settled(&mut self, batch: u64) {
        let index = usize::try_from(batch - self.first).unwrap_or(usize::MAX);
        if let Some(open) = self.open.get_mut(index) {
            open.unsettled -= 1;
        }
    }

    /// Moves the end of the finished prefix over every batch that is wholly settled.
    fn advance(&mut self) {
        while self.open.front().is_some_and(|batch| batch.unsettled == 0) {
            if let Some(batch) = self.open.pop_front() {
                self.first += 1;
                self.unsaved = Some(batch.checkpoint);
            }
        }
    }

    async fn commit(&mut self, mut changes: Changes) -> Result<(), PipelineError> {
        if self.parts.dry_run {
            return Ok(());
        }
        if let Some(checkpoint) = self.unsaved.take() {
            let saved = Saved { checkpoint, transform: self.parts.transform.id().to_owned() };
            changes.checkpoint(&self.parts.state, &saved)?;
            self.last_save = self.parts.clock.now();
        }
        self.parts.state.commit(changes).await
    }

    async fn save_progress(&mut self, now: bool) -> Result<(), PipelineError> {
        let due = now || self.parts.clock.now().since(self.last_save) >= IDLE_SAVE;
        if due && self.unsaved.is_some() { self.commit(Changes::default()).await } else { Ok(()) }
    }

    fn report_progress(&self) {
        if let Some(report) = &self.parts.progress {
            report(&Progress { counts: self.counts, total: self.total });
        }
    }
}
