//! What tells one call from another in telemetry, and which trace it belongs to.

use crate::{Rng, Timestamp};
use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

/// Which call a signal is about: the same in all signals of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallIds {
    /// The call, an id of ours whose time is the call's start. A client always gives one.
    pub id: Option<UuidV7>,
    /// The trace that the call is a part of.
    pub trace: Option<TraceContext>,
    /// The first 64 bits of the SHA-256 of the call's idempotency key, once it has one. Whoever knows the key finds the call; whoever
    /// does not cannot make the key from it, unless it is one that can be guessed.
    pub idempotency_key_hash: Option<u64>,
}

/// A UUID of version 7 ([RFC 9562](https://www.rfc-editor.org/rfc/rfc9562#section-5.7)): unique, and sorts by the time it was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UuidV7(NonZeroU128);

impl UuidV7 {
    /// A new one of the time `at`, to the millisecond.
    #[must_use]
    pub fn new(at: Timestamp, rng: &Rng) -> Self {
        let millis = u128::try_from(at.as_millis()).unwrap_or(0) & 0xFFFF_FFFF_FFFF;
        let random = u128::from_be_bytes(rng.bytes16());
        let (high, low) = ((random >> 64) & 0xFFF, random & 0x3FFF_FFFF_FFFF_FFFF);
        let variant = 1 << 63;
        let version = NonZeroU128::new(7 << 76).expect("7 is not zero");
        Self(version | (millis << 80) | (high << 64) | variant | low)
    }

    /// Its 128 bits.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0.get()
    }
}

impl fmt::Display for UuidV7 {
    /// `019b76da-a800-7f10-8eb1-6ea2f6e9c1a3`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.as_u128();
        let (a, b, c, d) = (bits >> 96, bits >> 80 & 0xFFFF, bits >> 64 & 0xFFFF, bits >> 48 & 0xFFFF);
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{:012x}", bits & 0xFFFF_FFFF_FFFF)
    }
}

impl fmt::Debug for UuidV7 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A trace and the span in it, of [W3C Trace Context](https://www.w3.org/TR/trace-context/). Neither is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: NonZeroU128,
    span_id: NonZeroU64,
}

impl TraceContext {
    /// From both ids; `None` when one is zero, which says that there is no trace.
    #[must_use]
    pub const fn new(trace_id: u128, span_id: u64) -> Option<Self> {
        match (NonZeroU128::new(trace_id), NonZeroU64::new(span_id)) {
            (Some(trace_id), Some(span_id)) => Some(Self { trace_id, span_id }),
            _ => None,
        }
    }

    /// From the value of a header `traceparent`; `None` when it is not a valid one.
    ///
    /// ```
    /// use martlet_base::TraceContext;
    ///
    /// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    /// let trace = TraceContext::from_traceparent(header).expect("it is valid");
    /// assert_eq!(trace.span_id(), 0x00f0_67aa_0ba9_02b7);
    /// ```
    #[must_use]
    pub fn from_traceparent(value: &str) -> Option<Self> {
        let hex = |text: &str, digits: usize| {
            let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            (text.len() == digits && text.bytes().all(lower)).then(|| u128::from_str_radix(text, 16).ok())?
        };
        let mut parts = value.trim().split('-');
        let mut part = |digits| hex(parts.next()?, digits);
        let (version, trace_id, span_id, _flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        // Later versions may have more parts; version 0 has none, and 255 is forbidden.
        if version == 0xFF || (version == 0 && parts.next().is_some()) {
            return None;
        }
        Self::new(trace_id, u64::try_from(span_id).ok()?)
    }

    /// The trace.
    #[must_use]
    pub const fn trace_id(self) -> u128 {
        self.trace_id.get()
    }

    /// The span.
    #[must_use]
    pub const fn span_id(self) -> u64 {
        self.span_id.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_survive_a_clock_before_1970() {
        let rng = Rng::seeded(1);
        let ids: Vec<_> =
            [-5, 0, 1, 1_000_000].map(|ms| UuidV7::new(Timestamp::from_millis(ms), &rng)).into();
        assert!(ids[1..].is_sorted(), "{ids:?}");
    }

    #[test]
    fn an_id_has_its_time_version_and_variant_in_the_places_of_the_rfc() {
        let rng = Rng::seeded(1);
        for _ in 0..100 {
            // The example of RFC 9562, appendix A.6.
            let id = UuidV7::new(Timestamp::from_millis(0x017F_22E2_79B0), &rng).to_string();
            assert_eq!((&id[..15], id.len()), ("017f22e2-79b0-7", 36));
            assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{id}");
            assert_eq!(id.match_indices('-').map(|(at, _)| at).collect::<Vec<_>>(), [8, 13, 18, 23]);
        }
    }

    #[test]
    fn ids_of_many_threads_differ() {
        let ids =
            || (0..1_000).map(|_| UuidV7::new(Timestamp::from_millis(1), &Rng::system())).collect::<Vec<_>>();
        let mut all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ids)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 8_000);
    }

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for good in ["00-T-S-01", "00-T-S-00", " 00-T-S-01 ", "cc-T-S-01", "01-T-S-01-what-the-future-brings"]
        {
            let value = good.replace('T', trace).replace('S', span);
            let found = TraceContext::from_traceparent(&value).expect(good);
            assert_eq!(
                format!("{:032x} {:016x}", found.trace_id(), found.span_id()),
                format!("{trace} {span}")
            );
        }
        for bad in [
            "",
            "00",
            "00-T",
            "00-T-S",
            "00-T-S-",
            "00-T-S-1",
            "00-T-S-0x",
            "00-T-S-01-",
            "00-T-S-01-more",
            "ff-T-S-01",
            "0-T-S-01",
            "00-T0-S-01",
            "00-T-S0-01",
            "00-S-T-01",
            "00_T_S_01",
            "00-+f92f3577b34da6a3ce929d0e0e4736-S-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-S-01",
            "00-00000000000000000000000000000000-S-01",
            "00-T-0000000000000000-01",
        ] {
            let value = bad.replace('T', trace).replace('S', span);
            assert_eq!(TraceContext::from_traceparent(&value), None, "{value}");
        }
    }
}
