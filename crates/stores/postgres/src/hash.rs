//! A hash that is the same in every program: processes lock and notify each other by it, whatever compiler and machine they come from.
//! (The standard library's may change with each release.)

/// FNV-1a with 64 bits (<https://datatracker.ietf.org/doc/html/draft-eastlake-fnv-17>) of the parts and their lengths.
pub(crate) fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for part in parts {
        part.iter().copied().for_each(&mut add);
        part.len().to_le_bytes().into_iter().take(4).for_each(&mut add);
    }
    // The last bits of FNV alone are poor, and locks are chosen by them.
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_changes() {
        assert_eq!(hash(&[]), 0xcbf2_9ce4_8422_2325 ^ 0xcbf2_9ce4);
        assert_eq!(hash(&[b"cell", b"checkpoint/contacts"]), 0x4b07_3ea5_b694_4f8f);
    }

    #[test]
    fn parts_are_told_apart_and_spread() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        let buckets: std::collections::BTreeSet<u64> =
            (0..2_000).map(|n| hash(&[b"cell", format!("k/{n}").as_bytes()]) % 512).collect();
        assert!(buckets.len() > 490, "{}", buckets.len());
    }
}
