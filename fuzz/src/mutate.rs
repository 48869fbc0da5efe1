//! Mutation by seed: what hostile bytes have in common.

use rand_chacha::{ChaCha20Rng, rand_core::Rng as _};

/// Numbers at which lengths and counters tend to break.
const EDGES: [u64; 12] = [
    0,
    1,
    23,
    24,
    255,
    256,
    65_535,
    65_536,
    1 << 31,
    1 << 32,
    1 << 63,
    u64::MAX,
];

/// Largest input.
const LARGEST: usize = 96 * 1024;

fn below(rng: &mut ChaCha20Rng, bound: usize) -> usize {
    usize::try_from(rng.next_u64() % bound.max(1) as u64).unwrap()
}

/// Changes `input` in one to four places; `other` is an input to splice from.
pub fn mutate(rng: &mut ChaCha20Rng, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=below(rng, 4) {
        once(rng, input, other);
    }
    input.truncate(LARGEST);
}

fn once(rng: &mut ChaCha20Rng, input: &mut Vec<u8>, other: &[u8]) {
    let at = below(rng, input.len() + 1);
    let some = 1 + below(rng, 16);
    let to = input.len().min(at + some);
    match below(rng, 10) {
        0 => input.truncate(at),
        1 => drop(input.drain(at..to)),
        2 => {
            let again = input[at..to].to_vec();
            input.splice(at..at, again);
        }
        3 => {
            let from = below(rng, other.len() + 1);
            input.splice(at.., other[from..].iter().copied());
        }
        4 => {
            let from = below(rng, other.len() + 1);
            let piece = &other[from..other.len().min(from + some)];
            input.splice(at..at, piece.iter().copied());
        }
        5 => input.insert(at, rng.next_u64().to_le_bytes()[0]),
        // A length that lies.
        6 => {
            let edge = EDGES[below(rng, EDGES.len())].to_be_bytes();
            let width = [1, 2, 4, 8][below(rng, 4)];
            let room = width.min(input.len() - at);
            input[at..at + room].copy_from_slice(&edge[8 - room..]);
        }
        7 if at < input.len() => input[at] = input[at].wrapping_add(1),
        8 if at < input.len() => input[at] = rng.next_u64().to_le_bytes()[0],
        _ if at < input.len() => input[at] ^= 1 << below(rng, 8),
        _ => {}
    }
}
