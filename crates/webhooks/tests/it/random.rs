//! The fuzz targets on a few thousand inputs, the same on every run.

use martlet_base::Rng;

use crate::round_trip::cases;
use crate::{targets, vector_file};

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for (index, case) in (0u8..).zip(cases()) {
        let signed = case.sign();
        let mut seed = vec![index];
        for value in signed.headers.values() {
            seed.extend_from_slice(value.as_bytes());
            seed.push(b'\n');
        }
        seed.extend_from_slice(signed.target().as_bytes());
        seed.push(b'\n');
        seed.extend_from_slice(&signed.body);
        seeds.push(seed);
        seeds.push(case.verifying.into_bytes());
    }
    for provider in martlet_webhooks::providers::ALL {
        if let martlet_webhooks::Scheme::Recipes(recipes) = &provider.scheme {
            seeds.extend(recipes.iter().map(|recipe| serde_json::to_vec(recipe).unwrap()));
        }
    }
    seeds.push(b"https://u:p@[::1]:8443/a?b='c%40%2F\n/x?bodySHA256=00".to_vec());
    seeds.extend(vector_file::own_bodies());
    seeds
}

/// A seed with a few bytes changed, moved, cut off or put in.
fn mutated(seed: &[u8], rng: &Rng) -> Vec<u8> {
    const INTERESTING: &[u8] = b"\n\0\xff%+&=,;:. /\"{}[]?'@-v019azAZ";
    let at = |length: usize| usize::try_from(rng.below(length as u64 + 1)).unwrap();
    let mut bytes = seed.to_vec();
    for _ in 0..rng.below(5) {
        let position = at(bytes.len());
        match rng.below(4) {
            0 => bytes.truncate(position),
            1 => bytes.insert(position, INTERESTING[at(INTERESTING.len() - 1)]),
            2 => {
                let copy: Vec<u8> = bytes[position..].iter().take(at(40)).copied().collect();
                bytes.extend(copy);
            }
            _ if position < bytes.len() => bytes[position] ^= 1 << rng.below(8),
            _ => {}
        }
    }
    bytes
}

#[test]
fn no_input_panics() {
    let rng = Rng::seeded(7);
    let seeds = seeds();
    type Target = fn(&[u8]);
    let targets: [(&str, Target); 5] = [
        ("verify", targets::verify),
        ("keys", targets::keys),
        ("recipe", targets::recipe),
        ("dedup", targets::dedup),
        ("url", targets::url),
    ];
    for round in 0..4_000 {
        let seed = &seeds[round % seeds.len()];
        let input = mutated(seed, &rng);
        for (name, target) in targets {
            // The keys are the slow ones: private keys are checked when they are read.
            if name != "keys" || round % 8 == 0 {
                target(&input);
            }
        }
    }
}
