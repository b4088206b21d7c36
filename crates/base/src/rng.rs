use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Randomness as a value: [`Rng::seeded`] gives the same numbers on every run, [`Rng::system`] gives others each time.
///
/// For jitter, sampling and identifiers that must be unique. It is **not** a source of secrets. Clones share one
/// sequence. No call blocks or allocates.
#[derive(Clone, Debug)]
pub struct Rng(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Seeded(Arc<AtomicU64>),
}

thread_local! {
    // SipHash keyed by the operating system's entropy, run over a counter: the only entropy that `std` hands out.
    static SYSTEM: (RandomState, Cell<u64>) = (RandomState::new(), const { Cell::new(0) });
}

const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Rng {
    /// Numbers that differ on every run, seeded by the operating system.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// The same numbers for the same seed, on every platform and in every version of this crate.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(AtomicU64::new(seed))))
    }

    /// A sequence of its own, named by `stream`: two parts of a program that draw from their own streams do not disturb
    /// each other's numbers. A system source stays one.
    #[must_use]
    pub fn stream(&self, stream: u64) -> Self {
        match &self.0 {
            Source::System => Self::system(),
            Source::Seeded(state) => {
                Self::seeded(mix(state.load(Ordering::Relaxed) ^ mix(stream.wrapping_add(1))))
            }
        }
    }

    /// 64 random bits.
    #[must_use]
    pub fn next_u64(&self) -> u64 {
        match &self.0 {
            Source::System => SYSTEM.with(|(state, counter)| {
                counter.set(counter.get().wrapping_add(1));
                state.hash_one(counter.get())
            }),
            // SplitMix64: one atomic addition, so clones on many threads need no lock.
            Source::Seeded(state) => {
                mix(state.fetch_add(GOLDEN_GAMMA, Ordering::Relaxed).wrapping_add(GOLDEN_GAMMA))
            }
        }
    }

    /// A number in `[0, 1)`, evenly spread.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
    pub fn next_f64(&self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in `[0, bound)`; 0 when `bound` is 0. The bias is below `bound / 2^64`.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// 16 random bytes, such as a UUID needs.
    #[must_use]
    pub fn bytes16(&self) -> [u8; 16] {
        let wide = (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64());
        wide.to_be_bytes()
    }
}

impl Default for Rng {
    fn default() -> Self {
        Self::system()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_seed_pins_the_sequence() {
        // The reference values of SplitMix64 for seed 1234567.
        let rng = Rng::seeded(1_234_567);
        let got: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
        assert_eq!(got, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn clones_share_one_sequence_and_streams_do_not() {
        let rng = Rng::seeded(7);
        let (a, b) = (rng.clone().next_u64(), rng.next_u64());
        assert_ne!(a, b);
        let (s1, s2) = (Rng::seeded(7).stream(1), Rng::seeded(7).stream(2));
        assert_ne!(s1.next_u64(), s2.next_u64());
        assert_eq!(Rng::seeded(7).stream(1).next_u64(), Rng::seeded(7).stream(1).next_u64());
    }

    #[test]
    fn numbers_stay_in_their_range_and_spread() {
        let rng = Rng::seeded(1);
        let mut buckets = [0u32; 10];
        for _ in 0..100_000 {
            let x = rng.next_f64();
            assert!((0.0..1.0).contains(&x));
            buckets[usize::try_from(rng.below(10)).unwrap()] += 1;
        }
        assert!(buckets.iter().all(|n| (9_000..11_000).contains(n)), "{buckets:?}");
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn the_system_source_does_not_repeat_across_threads() {
        let numbers: Vec<u64> = (0..4)
            .map(|_| std::thread::spawn(|| (0..1_000).map(|_| Rng::system().next_u64()).collect::<Vec<_>>()))
            .flat_map(|t| t.join().unwrap())
            .collect();
        assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), 4_000);
    }
}
