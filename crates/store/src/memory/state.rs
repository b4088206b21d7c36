//! What is stored, and how a batch that fails half way is undone.

use super::queue::{Numbers, Queue, Remembered};
use crate::engine::{Item, Lease};
use crate::{
    Cell, CellKey, Committed, Fence, LogId, LogInfo, MessageId, Outcome, QueueName, Record, StoreError,
    Version, Write, WriteBatch,
};
use martlet_base::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::Duration;

#[derive(Default)]
pub(super) struct State {
    /// The version of the latest commit.
    pub(super) version: u64,
    /// The numbers of messages.
    pub(super) numbers: Numbers,
    pub(super) cells: BTreeMap<CellKey, Cell>,
    pub(super) leases: HashMap<CellKey, Lease>,
    pub(super) logs: BTreeMap<LogId, Log>,
    pub(super) queues: BTreeMap<QueueName, Queue>,
    /// Expiring cells written since expired ones were last swept out.
    pub(super) unswept: usize,
    /// What was changed by batches that succeeded, if somebody wants to know.
    pub(super) journal: Option<Vec<Undo>>,
}

#[derive(Clone, Default)]
pub(super) struct Log {
    /// Records that are kept elsewhere; 0 in a store in memory.
    pub(super) base: u64,
    /// When the last of those was appended.
    pub(super) updated: Timestamp,
    /// Those behind them.
    pub(super) records: Vec<Record>,
    pub(super) sealed: Option<Timestamp>,
}

impl Log {
    fn last(&self) -> u64 {
        self.base + self.records.len() as u64
    }

    pub(super) fn info(&self, id: &LogId) -> LogInfo {
        let updated = self.records.last().map_or(self.updated, |record| record.appended);
        LogInfo::new(id.clone(), self.last(), updated, self.sealed)
    }
}

/// How to take one change back.
pub(super) enum Undo {
    Cell(CellKey, Option<Cell>),
    Appended(LogId),
    Sealed(LogId),
    Deleted(LogId, Log),
    Item(QueueName, MessageId, Option<Item>),
    /// Nothing to take back: the message has another body.
    Edited(MessageId),
    Remembered(QueueName, String, Option<Remembered>),
    Totals(QueueName, (u64, u64)),
}

impl State {
    pub(super) fn commit(&mut self, batch: WriteBatch, now: Timestamp) -> Result<Committed, StoreError> {
        let version = self.version + 1;
        let mut committed = Committed::new(Version::from_u64(version));
        let mut undo = Vec::new();
        for (index, write) in batch.into_writes().into_iter().enumerate() {
            match self.write(&write, version, now, &mut undo) {
                Ok(Outcome::Done) => {}
                Ok(outcome) => committed = committed.with_outcome(index, outcome),
                Err(error) => {
                    undo.into_iter().rev().for_each(|undo| self.take_back(undo));
                    return Err(error.at_write(index, &write));
                }
            }
        }
        self.version = version;
        if let Some(journal) = &mut self.journal {
            journal.extend(undo);
        }
        // As many writes as there are cells pay for one look at all of them.
        if self.unswept > self.cells.len().max(64) / 2 {
            self.unswept = 0;
            self.cells.retain(|_, cell| cell.is_live(now));
        }
        Ok(committed)
    }

    fn write(
        &mut self,
        write: &Write,
        version: u64,
        now: Timestamp,
        undo: &mut Vec<Undo>,
    ) -> Result<Outcome, StoreError> {
        match write {
            Write::PutCell { key, expect, .. }
            | Write::DeleteCell { key, expect }
            | Write::CheckCell { key, expect } => {
                let live = self.cells.get(key).filter(|cell| cell.is_live(now));
                let found = live.map(|cell| cell.version);
                if !expect.accepts(found) {
                    return Err(StoreError::conflict(*expect, found));
                }
            }
            Write::CheckFence { fence }
            | Write::Append { fence: Some(fence), .. }
            | Write::Seal { fence: Some(fence), .. } => self.check(fence)?,
            _ => {}
        }
        match write {
            Write::PutCell { key, value, expires, .. } => {
                self.unswept += usize::from(expires.is_some());
                let cell = Cell::new(value.clone(), Version::from_u64(version), *expires);
                undo.push(Undo::Cell(key.clone(), self.cells.insert(key.clone(), cell)));
            }
            Write::DeleteCell { key, .. } => {
                undo.push(Undo::Cell(key.clone(), self.cells.remove(key)));
            }
            Write::CheckCell { .. } | Write::CheckFence { .. } => {}
            Write::Append { log, record, appended, .. } => {
                let found = self.logs.entry(log.clone()).or_default();
                if found.sealed.is_some() {
                    return Err(StoreError::sealed_log());
                }
                let sequence = found.last() + 1;
                found.records.push(Record::new(sequence, appended.unwrap_or(now), record.clone()));
                undo.push(Undo::Appended(log.clone()));
                return Ok(Outcome::Appended(sequence));
            }
            Write::Seal { log, .. } => {
                let found = self.logs.get_mut(log).ok_or_else(StoreError::missing_log)?;
                if found.sealed.is_none() {
                    found.sealed = Some(now);
                    undo.push(Undo::Sealed(log.clone()));
                }
            }
            Write::DeleteLog { log } => {
                undo.extend(self.logs.remove(log).map(|found| Undo::Deleted(log.clone(), found)));
            }
            Write::Enqueue { queue: name, message } => {
                let queue = self.queues.entry(name.clone()).or_default();
                return Ok(queue.enqueue(name, message, &mut self.numbers, now, undo));
            }
            Write::Restore { queue: name, item } => {
                let queue = self.queues.entry(name.clone()).or_default();
                return Ok(queue.restore(name, item, &mut self.numbers, now, undo));
            }
            Write::Ack { receipt }
            | Write::RetryAt { receipt, .. }
            | Write::Heartbeat { receipt, .. }
            | Write::Bury { receipt, .. } => {
                let queue =
                    self.queues.get_mut(receipt.queue()).ok_or_else(|| StoreError::stale_receipt(receipt))?;
                queue.settle(receipt, write, now, undo)?;
            }
            Write::Edit { queue: name, message, .. }
            | Write::Replay { queue: name, message, .. }
            | Write::Discard { queue: name, message, .. } => {
                self.queues.entry(name.clone()).or_default().operate(name, *message, write, now, undo)?;
            }
        }
        Ok(Outcome::Done)
    }

    fn take_back(&mut self, undo: Undo) {
        match undo {
            Undo::Cell(key, Some(cell)) => drop(self.cells.insert(key, cell)),
            Undo::Cell(key, None) => drop(self.cells.remove(&key)),
            Undo::Appended(id) => {
                if let Some(log) = self.logs.get_mut(&id) {
                    log.records.pop();
                    if log.last() == 0 {
                        self.logs.remove(&id);
                    }
                }
            }
            Undo::Sealed(id) => {
                if let Some(log) = self.logs.get_mut(&id) {
                    log.sealed = None;
                }
            }
            Undo::Deleted(id, log) => drop(self.logs.insert(id, log)),
            Undo::Item(queue, id, item) => drop(self.queues.entry(queue).or_default().set(id, item)),
            Undo::Edited(_) => {}
            Undo::Remembered(queue, key, was) => self.queues.entry(queue).or_default().remember(key, was),
            Undo::Totals(queue, totals) => self.queues.entry(queue).or_default().totals = totals,
        }
    }

    fn check(&self, fence: &Fence) -> Result<(), StoreError> {
        let latest = self.leases.get(fence.key()).map(|lease| lease.token);
        if latest == Some(fence.token()) { Ok(()) } else { Err(StoreError::stale_fence(fence, latest)) }
    }

    pub(super) fn lease(
        &mut self,
        key: &CellKey,
        owner: &str,
        now: Timestamp,
        ttl: Duration,
    ) -> Option<Fence> {
        let lease = Lease::take(self.leases.get(key), owner, ttl, now)?;
        let fence = Fence::new(key.clone(), lease.token);
        self.leases.insert(key.clone(), lease);
        Some(fence)
    }

    pub(super) fn logs_after(&self, after: Option<&LogId>) -> impl Iterator<Item = (&LogId, &Log)> {
        self.logs.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
    }
}
