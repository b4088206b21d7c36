//! What the last calls were: counted without a lock, in memory that never grows, in the same time however many there are.

use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering, lock};
use martlet_base::Moment;
use std::time::Duration;

/// The calls of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// All that counted.
    pub calls: u64,
    /// Of these, failed.
    pub failures: u64,
    /// Of these, slow.
    pub slow: u64,
}

/// Three counters of 21 bits in one word, so that one addition counts a call.
const BITS: u32 = 21;
const MASK: u64 = (1 << BITS) - 1;
/// All buckets together hold about this many calls at most, so that their words can be added up as they are.
const MOST: u64 = 1 << (BITS - 1);

const fn pack(counts: Counts) -> u64 {
    counts.calls | counts.failures << BITS | counts.slow << (2 * BITS)
}

const fn unpack(word: u64) -> Counts {
    Counts { calls: word & MASK, failures: word >> BITS & MASK, slow: word >> (2 * BITS) & MASK }
}

fn one(failed: bool, slow: bool) -> u64 {
    pack(Counts { calls: 1, failures: failed.into(), slow: slow.into() })
}

pub(super) enum Window {
    Time(TimeWindow),
    Count(CountWindow),
}

impl Window {
    #[inline]
    pub(super) fn record(&self, failed: bool, slow: bool, now: Moment) {
        match self {
            Self::Time(w) => w.record(one(failed, slow), now),
            Self::Count(w) => w.record(failed, slow),
        }
    }

    #[inline]
    pub(super) fn counts(&self, now: Moment) -> Counts {
        match self {
            Self::Time(w) => w.counts(now),
            Self::Count(w) => w.counts(),
        }
    }

    pub(super) fn clear(&self) {
        match self {
            Self::Time(w) => w.clear(),
            Self::Count(w) => w.clear(),
        }
    }
}

/// The last `buckets` slices of time. Whoever is the first in a new slice empties its bucket; everybody else just adds.
pub(crate) struct TimeWindow {
    width: u64,
    /// A bucket with this many calls is halved: its rates stay, and no counter runs over into its neighbour.
    full: u64,
    /// The number of the present slice.
    slice: AtomicU64,
    /// Its bucket, the one that is added to. Who reads the one before, just now, counts a moment too early.
    index: AtomicU32,
    turning: Mutex<()>,
    buckets: Box<[AtomicU64]>,
}

impl TimeWindow {
    pub(crate) fn new(length: Duration, buckets: u32) -> Self {
        let width = u64::try_from((length / buckets).as_nanos()).unwrap_or(u64::MAX).max(1);
        let full = MOST / u64::from(buckets);
        let buckets = (0..buckets).map(|_| AtomicU64::new(0)).collect();
        let (slice, index, turning) = (AtomicU64::new(0), AtomicU32::new(0), Mutex::new(()));
        Self { width, full, slice, index, turning, buckets }
    }

    /// Turns to the present slice when time has gone on.
    #[inline]
    fn turn(&self, now: Moment) {
        let current = self.slice.load(Ordering::Acquire);
        if now.as_nanos() >= (current + 1).saturating_mul(self.width) {
            self.turn_to(now);
        }
    }

    #[cold]
    fn turn_to(&self, now: Moment) {
        let index = |slice: u64| slice % self.buckets.len() as u64;
        let slice = now.as_nanos() / self.width;
        let _turning = lock(&self.turning);
        let current = self.slice.load(Ordering::Acquire);
        if slice > current {
            let oldest = (slice + 1).saturating_sub(self.buckets.len() as u64);
            for stale in oldest.max(current + 1)..=slice {
                let index = usize::try_from(index(stale)).expect("below the number of buckets");
                self.buckets[index].store(0, Ordering::Relaxed);
            }
            self.index.store(u32::try_from(index(slice)).expect("below 128"), Ordering::Release);
            self.slice.store(slice, Ordering::Release);
        }
    }

    /// Adds to all three counters at once.
    pub(crate) fn add(&self, counts: Counts, now: Moment) {
        self.record(pack(counts), now);
    }

    #[inline]
    fn record(&self, one: u64, now: Moment) {
        self.turn(now);
        let bucket = &self.buckets[self.index.load(Ordering::Acquire) as usize];
        let before = bucket.fetch_add(one, Ordering::Relaxed);
        if unpack(before).calls >= self.full {
            let halve = |word| {
                let Counts { calls, failures, slow } = unpack(word);
                let half = Counts { calls: calls / 2, failures: failures / 2, slow: slow / 2 };
                (calls >= self.full).then(|| pack(half))
            };
            // Another thread may have halved it already.
            let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, halve);
        }
    }

    #[inline]
    pub(crate) fn counts(&self, now: Moment) -> Counts {
        self.turn(now);
        let sum = self.buckets.iter().fold(0u64, |sum, b| sum.wrapping_add(b.load(Ordering::Relaxed)));
        unpack(sum)
    }

    fn clear(&self) {
        let _turning = lock(&self.turning);
        self.buckets.iter().for_each(|b| b.store(0, Ordering::Relaxed));
    }
}

/// The last `calls` calls in a ring, and their sum.
pub(super) struct CountWindow {
    next: AtomicU64,
    ring: Box<[AtomicU8]>,
    sum: AtomicU64,
}

const EMPTY: u8 = 0;

/// What a place in the ring adds to the sum.
fn worth(place: u8) -> u64 {
    if place == EMPTY { 0 } else { one(place & 2 != 0, place & 4 != 0) }
}

impl CountWindow {
    pub(super) const MOST: u32 = 100_000;

    pub(super) fn new(calls: u32) -> Self {
        let ring = (0..calls).map(|_| AtomicU8::new(EMPTY)).collect();
        Self { next: AtomicU64::new(0), ring, sum: AtomicU64::new(0) }
    }

    #[inline]
    fn record(&self, failed: bool, slow: bool) {
        let place = 1 | u8::from(failed) << 1 | u8::from(slow) << 2;
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let index = usize::try_from(next % self.ring.len() as u64).expect("below the length of the ring");
        // A call that went as the one whose place it takes changes nothing; nearly all do.
        if self.ring[index].load(Ordering::Relaxed) == place {
            return;
        }
        let old = self.ring[index].swap(place, Ordering::Relaxed);
        // Every swap adds what it put in and takes out what it found, so the sum is right when all are through.
        self.sum.fetch_add(worth(place).wrapping_sub(worth(old)), Ordering::Relaxed);
    }

    fn counts(&self) -> Counts {
        let counts = unpack(self.sum.load(Ordering::Relaxed));
        // Between a swap and its addition another thread may have taken out what is not yet in: such a sum says nothing.
        let whole = counts.calls <= self.ring.len() as u64
            && counts.failures <= counts.calls
            && counts.slow <= counts.calls;
        if whole { counts } else { Counts::default() }
    }

    fn clear(&self) {
        for place in &self.ring {
            let old = place.swap(EMPTY, Ordering::Relaxed);
            self.sum.fetch_sub(worth(old), Ordering::Relaxed);
        }
    }
}

#[cfg(not(martlet_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn b4_a_bucket_that_is_full_keeps_its_rates() {
        let w = TimeWindow::new(SEC, 1);
        for i in 0..3_000_000 {
            w.record(one(i % 4 == 0, i % 10 == 0), Moment::ZERO);
        }
        let c = w.counts(Moment::ZERO);
        assert!(c.calls <= MOST + 1 && c.calls >= MOST / 2);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let share = |n: u64| n as f64 / c.calls as f64;
        assert!((share(c.failures) - 0.25).abs() < 0.01 && (share(c.slow) - 0.1).abs() < 0.01, "{c:?}");
    }

    #[test]
    fn b4_a_long_silence_forgets_everything_also_when_the_slice_numbers_wrap() {
        for silence in [30, 31, 30 * 65_536, 30 * 1_024] {
            let w = TimeWindow::new(30 * SEC, 10);
            w.record(one(true, false), Moment::ZERO);
            assert_eq!(w.counts(Moment::ZERO + SEC * silence), Counts::default());
        }
    }

    #[test]
    fn b4_after_a_pause_of_any_length_exactly_the_last_slices_count() {
        for pause in 0..40u32 {
            let w = TimeWindow::new(10 * SEC, 10);
            // One call in each of ten seconds, then a pause, then one more.
            (0..10).for_each(|second| w.record(one(true, false), Moment::ZERO + SEC * second));
            let now = Moment::ZERO + SEC * (9 + pause);
            w.record(one(false, true), now);
            let left = u64::from(10u32.saturating_sub(pause));
            assert_eq!(w.counts(now), Counts { calls: left + 1, failures: left, slow: 1 }, "{pause} s");
        }
    }

    #[test]
    fn b4_threads_lose_no_count_in_either_window() {
        let time = Window::Time(TimeWindow::new(SEC, 10));
        let count = Window::Count(CountWindow::new(1_000));
        std::thread::scope(|s| {
            for thread in 0..4u64 {
                let (time, count) = (&time, &count);
                s.spawn(move || {
                    for i in 0..10_000u64 {
                        let failed = i % 2 == 0;
                        time.record(failed, false, Moment::ZERO);
                        count.record(failed, thread == 9, Moment::ZERO);
                    }
                });
            }
        });
        assert_eq!(time.counts(Moment::ZERO), Counts { calls: 40_000, failures: 20_000, slow: 0 });
        let c = count.counts(Moment::ZERO);
        assert_eq!((c.calls, c.slow), (1_000, 0));
        count.clear();
        assert_eq!(count.counts(Moment::ZERO), Counts::default());
    }
}
