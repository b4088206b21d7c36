use crate::Completeness;
use martlet_base::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many records went where. `read` is always `written + unchanged + skipped + rejected` once a run has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Records that the source delivered, deletions left out.
    pub read: u64,
    /// Records that the destination confirmed.
    pub written: u64,
    /// Records whose content was the same as last time; nothing was sent for them.
    pub unchanged: u64,
    /// Records that have no place at the destination, or were left alone there.
    pub skipped: u64,
    /// Records that the destination refused; each is a dead letter.
    pub rejected: u64,
    /// Records that were removed at the destination because they are gone at the source.
    pub deleted: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.written += other.written;
        self.unchanged += other.unchanged;
        self.skipped += other.skipped;
        self.rejected += other.rejected;
        self.deleted += other.deleted;
    }
}

impl RunReport {
    /// This run and the one after it as one: counts and times add up, the rest is the later one's.
    #[must_use]
    pub fn followed_by(mut self, later: Self) -> Self {
        self.counts += later.counts;
        for (reason, count) in later.skipped {
            *self.skipped.entry(reason).or_default() += count;
        }
        Self {
            outcome: later.outcome,
            vanished: later.vanished,
            elapsed: self.elapsed + later.elapsed,
            ..self
        }
    }
}

impl Counts {
    /// Records whose fate is known.
    #[must_use]
    pub const fn settled(&self) -> u64 {
        self.written + self.unchanged + self.skipped + self.rejected
    }
}

/// Where a run stands, for a progress bar.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// So far.
    pub counts: Counts,
    /// How many records the source expects to deliver, if it knows.
    pub total: Option<u64>,
}

/// How a run ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Everything was moved.
    Complete,
    /// It was asked to stop; what was read is settled, and the next run goes on from there.
    Stopped,
    /// A quota of hours or days is spent. The next run goes on from there.
    QuotaExhausted {
        /// When the quota is full again, if the platform said.
        resumes_at: Option<Timestamp>,
    },
}

/// What a run did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunReport {
    /// How it ended.
    pub outcome: Outcome,
    /// How many records went where.
    pub counts: Counts,
    /// Records that a full run no longer met at the source, and that are not known to be gone there: the source cannot
    /// tell, or they are there after all.
    pub vanished: u64,
    /// Why records were skipped, by the reason's stable name.
    pub skipped: BTreeMap<&'static str, u64>,
    /// What kind of reading it was.
    pub completeness: Completeness,
    /// Whether it went on in the middle of an earlier run.
    pub resumed: bool,
    /// Whether it only looked: then `written` and `deleted` count what would have been sent.
    pub dry_run: bool,
    /// From its start to its end.
    pub elapsed: Duration,
}
