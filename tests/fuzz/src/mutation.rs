//! Mutation of inputs, the same for the same seed on every machine.

use crate::limits;

/// A generator of numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The generator of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        let number = self.next().checked_rem(bound).unwrap_or(0);
        usize::try_from(number).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Numbers at which code that counts goes wrong, in the widths of the wire.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    7,
    8,
    0x1f,
    0x7f,
    0xff,
    0x200,
    0x1000,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    i64::MAX.cast_unsigned(),
    u64::MAX,
];

/// An input made of one of `pool` by a few changes, of at most [`limits::INPUT_BYTES_MAX`] bytes.
pub fn mutate(rng: &mut Rng, pool: &[Vec<u8>]) -> Vec<u8> {
    let mut input = pool.get(rng.below(pool.len())).cloned().unwrap_or_default();
    let stacked = 1 + rng.next() % u64::from(limits::MUTATIONS_MAX);
    for _ in 0..stacked {
        change(rng, &mut input, pool);
    }
    input.truncate(limits::INPUT_BYTES_MAX);
    input
}

fn change(rng: &mut Rng, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
    let at = rng.below(input.len() + 1);
    match rng.below(9) {
        0 => {
            let bit = 1 << rng.below(8);
            if let Some(byte) = input.get_mut(at) {
                *byte ^= bit;
            }
        }
        1 => {
            let new = rng.byte();
            if let Some(byte) = input.get_mut(at) {
                *byte = new;
            }
        }
        2 => {
            let delta = rng.byte() % 9;
            if let Some(byte) = input.get_mut(at) {
                *byte = byte.wrapping_add(delta).wrapping_sub(4);
            }
        }
        3 | 4 => {
            let edge = EDGES[rng.below(EDGES.len())].to_le_bytes();
            let width = 1 << rng.below(4);
            let end = (at + width).min(input.len());
            input[at..end].copy_from_slice(&edge[..end - at]);
        }
        5 => {
            let end = at + rng.below(input.len() - at + 1).min(80);
            input.drain(at..end);
        }
        6 => {
            let end = at + rng.below(input.len() - at + 1).min(160);
            let part = input[at..end].to_vec();
            input.splice(at..at, part);
        }
        7 => {
            let fresh: Vec<u8> = (0..rng.below(9)).map(|_| rng.byte()).collect();
            input.splice(at..at, fresh);
        }
        _ => {
            let Some(other) = pool.get(rng.below(pool.len())) else { return };
            let from = rng.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs_within_the_bound() {
        let pool = [vec![1; 100], vec![2; limits::INPUT_BYTES_MAX], Vec::new()];
        let (mut one, mut two) = (Rng::new(5), Rng::new(5));
        for _ in 0..2000 {
            let made = mutate(&mut one, &pool);
            assert_eq!(made, mutate(&mut two, &pool));
            assert!(made.len() <= limits::INPUT_BYTES_MAX);
        }
    }

    #[test]
    fn mutation_of_an_empty_pool_makes_inputs_too() {
        let mut rng = Rng::new(1);
        assert!((0..100).any(|_| !mutate(&mut rng, &[]).is_empty()));
    }
}
