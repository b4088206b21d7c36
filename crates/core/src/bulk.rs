//! Bulk requests: many records in one request, with an answer for each.

use crate::{Error, Result};
use async_trait::async_trait;
use martlet_base::{Clock, Moment};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How much goes into one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkLimits {
    /// Records.
    pub max_items: usize,
    /// Bytes, as [`BulkWriter::size`] counts them. A record that is larger by itself goes alone.
    pub max_bytes: usize,
    /// How long the oldest record waits for company.
    pub max_age: Duration,
}

impl BulkLimits {
    /// At most `max_items` records, 4 MiB, 5 s.
    #[must_use]
    pub const fn items(max_items: usize) -> Self {
        Self { max_items, max_bytes: 4 << 20, max_age: Duration::from_secs(5) }
    }

    /// With another limit of bytes.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// With another limit of age.
    #[must_use]
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }
}

/// What became of the records of one request. Partial success is not an `Err`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BulkOutcome<R> {
    /// The records that were applied: their place in the request, and the platform's answer.
    pub ok: Vec<(usize, R)>,
    /// The records that were not, and why.
    pub failed: Vec<(usize, Error)>,
}

impl<R> BulkOutcome<R> {
    /// An outcome of these parts.
    #[must_use]
    pub const fn new(ok: Vec<(usize, R)>, failed: Vec<(usize, Error)>) -> Self {
        Self { ok, failed }
    }

    /// Whether every record was applied.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }
}

impl<R> Default for BulkOutcome<R> {
    fn default() -> Self {
        Self { ok: Vec::new(), failed: Vec::new() }
    }
}

/// Sends one bulk request. Connectors implement it.
#[async_trait]
pub trait BulkWriter: fmt::Debug + Send + Sync {
    /// A record.
    type Item: Send + Sync;
    /// What the platform answers for one.
    type Receipt: Send;

    /// How much the platform takes at once.
    fn limits(&self) -> BulkLimits;

    /// The size of a record in the request, in bytes; an estimate is enough.
    fn size(&self, item: &Self::Item) -> usize;

    /// Sends `items` in one request and tells each one's fate.
    ///
    /// # Errors
    /// When the request failed as a whole, or the platform reported an error that cannot be mapped to a record: then no
    /// record may be taken for applied.
    async fn write(&self, items: &[Self::Item]) -> Result<BulkOutcome<Self::Receipt>>;
}

/// Collects records into requests bounded by count, bytes and age.
///
/// It has no task of its own: [`due`](Self::due) tells when [`flush`](Self::flush) should be called for age. Records that
/// were pushed and not flushed are lost when it is dropped; a failed request leaves its records in
/// [`pending`](Self::pending), so that nothing is lost by an error.
#[derive(Debug)]
pub struct Bulk<I, R> {
    writer: Arc<dyn BulkWriter<Item = I, Receipt = R>>,
    clock: Clock,
    limits: BulkLimits,
    pending: Vec<I>,
    bytes: usize,
    oldest: Option<Moment>,
}

impl<I: Send + Sync, R: Send> Bulk<I, R> {
    /// An empty one, with the writer's limits.
    pub fn new(writer: Arc<dyn BulkWriter<Item = I, Receipt = R>>, clock: Clock) -> Self {
        let limits = writer.limits();
        Self { writer, clock, limits, pending: Vec::new(), bytes: 0, oldest: None }
    }

    /// With smaller limits than the writer's; larger ones are cut to them.
    #[must_use]
    pub fn with_limits(mut self, limits: BulkLimits) -> Self {
        let most = self.writer.limits();
        self.limits = BulkLimits {
            max_items: limits.max_items.min(most.max_items),
            max_bytes: limits.max_bytes.min(most.max_bytes),
            max_age: limits.max_age,
        };
        self
    }

    /// Adds a record. Sends the ones before it first when it would not fit with them, and all of them when that makes a
    /// request full or the oldest is of age.
    ///
    /// Cancel safety: a dropped future may have sent the request; the records stay pending.
    ///
    /// # Errors
    /// When the request failed as a whole; the record and the ones before it stay pending.
    pub async fn push(&mut self, item: I) -> Result<Option<(Vec<I>, BulkOutcome<R>)>> {
        let size = self.writer.size(&item);
        let overflow = !self.pending.is_empty() && self.bytes + size > self.limits.max_bytes;
        if overflow {
            let carried = self.pending.len();
            self.add(item, size);
            return self.send(carried).await.map(Some);
        }
        self.add(item, size);
        let full = self.pending.len() >= self.limits.max_items
            || self.bytes >= self.limits.max_bytes
            || self.due().is_some_and(|at| at <= self.clock.now());
        if full { self.flush().await } else { Ok(None) }
    }

    /// Sends what is pending, as much as fits into one request; `None` when nothing is pending. After a failed request more
    /// may be pending than fits: to send everything call it until it gives `None`.
    ///
    /// Cancel safety: as for [`push`](Self::push).
    ///
    /// # Errors
    /// When the request failed as a whole; the records stay pending.
    pub async fn flush(&mut self) -> Result<Option<(Vec<I>, BulkOutcome<R>)>> {
        if self.pending.is_empty() {
            return Ok(None);
        }
        let mut bytes = 0;
        let fits = self.pending.iter().take(self.limits.max_items).take_while(|item| {
            bytes += self.writer.size(item);
            bytes <= self.limits.max_bytes
        });
        // A record that is larger than a request may be goes alone.
        let count = fits.count().max(1);
        self.send(count).await.map(Some)
    }

    /// When the oldest pending record is of age.
    #[must_use]
    pub fn due(&self) -> Option<Moment> {
        self.oldest.map(|at| at + self.limits.max_age)
    }

    /// The records that were not sent, or whose request failed.
    #[must_use]
    pub fn pending(&self) -> &[I] {
        &self.pending
    }

    fn add(&mut self, item: I, size: usize) {
        self.oldest.get_or_insert_with(|| self.clock.now());
        self.bytes += size;
        self.pending.push(item);
    }

    async fn send(&mut self, count: usize) -> Result<(Vec<I>, BulkOutcome<R>)> {
        let outcome = self.writer.write(&self.pending[..count]).await?;
        let rest = self.pending.split_off(count);
        let sent = std::mem::replace(&mut self.pending, rest);
        self.bytes = self.pending.iter().map(|item| self.writer.size(item)).sum();
        self.oldest = (!self.pending.is_empty()).then(|| self.clock.now());
        Ok((sent, outcome))
    }
}
