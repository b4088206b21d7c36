//! Comparing both sides after the fact.

use crate::pipeline::Parts;
use crate::state::{Known, Status, cell_name, short_hash};
use crate::{ContentHash, Op, PipelineError, Record, Transformed};
use martlet_base::{CallOutcome, Signal};
use std::collections::{HashMap, HashSet};
use twox_hash::XxHash3_128;

/// What the destination is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReconcileMode {
    /// The hashes of what was read and written, from state. Costs no call at the source.
    #[default]
    State,
    /// The source, read again from the beginning.
    Source,
}

/// One side: how many records, and a sum over their hashes that does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Digest {
    /// Records.
    pub count: u64,
    /// The sum of the records' 128-bit hashes, modulo 2^128: a record that is there twice counts twice.
    pub checksum: u128,
}

impl Digest {
    fn add(&mut self, key: &str, content: ContentHash) {
        let mut hasher = XxHash3_128::with_seed(1);
        hasher.write(&content.as_u128().to_be_bytes());
        hasher.write(cell_name(key).as_bytes());
        self.count += 1;
        self.checksum = self.checksum.wrapping_add(hasher.finish_128());
    }
}

/// The outcome of a reconciliation.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ReconcileReport {
    /// What should be at the destination.
    pub expected: Digest,
    /// What is there.
    pub actual: Digest,
    /// Keys that should be there and are not.
    pub missing: Vec<String>,
    /// Keys that are there and should not be.
    pub extra: Vec<String>,
    /// Keys whose content differs.
    pub changed: Vec<String>,
}

impl ReconcileReport {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_reconciled(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.changed.is_empty()
    }
}

pub(crate) async fn reconcile(parts: &Parts, mode: ReconcileMode) -> Result<ReconcileReport, PipelineError> {
    let started = parts.clock.now();
    let result = match mode {
        ReconcileMode::State => against_state(parts).await,
        ReconcileMode::Source => against_source(parts).await,
    };
    parts.observers.emit(|| {
        let (outcome, error, report) = match &result {
            Ok(report) => (CallOutcome::Ok, None, Some(report)),
            Err(error) => (CallOutcome::Error, Some(error.as_str()), None),
        };
        let count = |side: fn(&ReconcileReport) -> u64| report.map(side).unwrap_or_default();
        let differing =
            |r: &ReconcileReport| u64::try_from(r.missing.len() + r.extra.len() + r.changed.len());
        Signal::stage_finished(
            &parts.name,
            parts.source.stream(),
            parts.destination.name(),
            parts.transform.id(),
            "reconcile",
            outcome,
            error,
            count(|report| report.expected.count),
            count(|report| report.actual.count),
            report.map(|report| differing(report).unwrap_or(u64::MAX)).unwrap_or_default(),
            None,
            parts.clock.now().since(started),
        )
    });
    result
}

async fn against_state(parts: &Parts) -> Result<ReconcileReport, PipelineError> {
    let mut report = ReconcileReport::default();
    let expected = &mut report.expected;
    parts
        .state
        .each(|key, known| {
            if known.status == Status::Written {
                expected.add(&key, known.content);
            }
        })
        .await?;
    let mut actual = parts.destination.read_back().await.map_err(PipelineError::Destination)?;
    while let Some(page) = actual.next().await.map_err(PipelineError::Destination)? {
        page.iter().for_each(|record| report.actual.add(&record.key, record.content_hash()));
    }
    if report.expected != report.actual {
        name_differences(parts, &mut report).await?;
    }
    Ok(report)
}

/// The second pass, only when the digests differ: which keys.
async fn name_differences(parts: &Parts, report: &mut ReconcileReport) -> Result<(), PipelineError> {
    let mut seen = HashSet::new();
    let mut actual = parts.destination.read_back().await.map_err(PipelineError::Destination)?;
    while let Some(page) = actual.next().await.map_err(PipelineError::Destination)? {
        let keys: Vec<&str> = page.iter().map(|record| record.key.as_str()).collect();
        for (record, known) in page.iter().zip(parts.state.known(&keys).await?) {
            let twice = !seen.insert(short_hash(&record.key));
            judge(record, known.as_ref().map(|known| (known, known.content)), twice, report);
        }
    }
    parts
        .state
        .each(|key, known| {
            if known.status == Status::Written && !seen.contains(&short_hash(&key)) {
                report.missing.push(key);
            }
        })
        .await
}

fn judge(
    actual: &Record,
    expected: Option<(&Known, ContentHash)>,
    twice: bool,
    report: &mut ReconcileReport,
) {
    match expected {
        // Left alone on purpose: what is there is the destination's business.
        Some((known, _)) if known.status == Status::Skipped => {}
        _ if twice => report.extra.push(actual.key.clone()),
        Some((known, content)) if known.status == Status::Written => {
            if content != actual.content_hash() {
                report.changed.push(actual.key.clone());
            }
        }
        _ => report.extra.push(actual.key.clone()),
    }
}

async fn against_source(parts: &Parts) -> Result<ReconcileReport, PipelineError> {
    let mut report = ReconcileReport::default();
    let mut expected: HashMap<String, (Option<Known>, ContentHash)> = HashMap::new();
    let mut reader = parts.source.open(None).await.map_err(PipelineError::Source)?;
    while let Some(batch) = reader.next().await.map_err(PipelineError::Source)? {
        let kept: Vec<Record> = batch
            .records
            .into_iter()
            .filter(|record| record.op == Op::Upsert)
            .filter_map(|record| match parts.transform.apply(record) {
                Transformed::Keep(record) => Some(record),
                Transformed::Skip { .. } => None,
            })
            .collect();
        let keys: Vec<&str> = kept.iter().map(|record| record.key.as_str()).collect();
        for (record, known) in kept.iter().zip(parts.state.known(&keys).await?) {
            let content = record.content_hash();
            let counts = known.as_ref().is_none_or(|known| known.status == Status::Written);
            if counts {
                report.expected.add(&record.key, content);
            }
            expected.insert(record.key.clone(), (known, content));
        }
    }
    let mut actual = parts.destination.read_back().await.map_err(PipelineError::Destination)?;
    let mut seen = HashSet::new();
    while let Some(page) = actual.next().await.map_err(PipelineError::Destination)? {
        for record in page {
            report.actual.add(&record.key, record.content_hash());
            let found = expected.get(&record.key);
            let twice = !seen.insert(short_hash(&record.key));
            match found {
                // The source has it, the pipeline has not come to it yet, and yet it is there.
                Some((None, content)) if !twice => {
                    if *content != record.content_hash() {
                        report.changed.push(record.key);
                    }
                }
                Some((Some(known), content)) => judge(&record, Some((known, *content)), twice, &mut report),
                _ => report.extra.push(record.key),
            }
        }
    }
    for (key, (known, _)) in expected {
        let due = known.is_none_or(|known| known.status == Status::Written);
        if due && !seen.contains(&short_hash(&key)) {
            report.missing.push(key);
        }
    }
    report.missing.sort_unstable();
    Ok(report)
}
