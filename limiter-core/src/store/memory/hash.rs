//! What stands for a key: SipHash-1-3 under a random seed, in one go.
//!
//! `std`'s takes its input in parts and keeps what is left of each; a key is at hand as a whole. Source: Jean-Philippe
//! Aumasson and Daniel J. Bernstein, [SipHash: a fast short-input PRF](https://www.aumasson.jp/siphash/siphash.pdf), 2012.

use std::hash::{BuildHasher, RandomState};

/// A random seed.
#[derive(Clone, Copy)]
pub(super) struct Seed(u64, u64);

impl Seed {
    pub(super) fn random() -> Self {
        // Hashes of different things under fresh random keys are random numbers.
        let random = RandomState::new();
        Self(random.hash_one(0), random.hash_one(1))
    }

    /// The hash of the eight bytes of `first`, then of `bytes`.
    #[inline]
    pub(super) fn hash(self, first: u64, bytes: &[u8]) -> u64 {
        let mut state = State {
            a: self.0 ^ 0x736f_6d65_7073_6575,
            b: self.1 ^ 0x646f_7261_6e64_6f6d,
            c: self.0 ^ 0x6c79_6765_6e65_7261,
            d: self.1 ^ 0x7465_6462_7974_6573,
        };
        state.take_in(first);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            state.take_in(u64::from_le_bytes(*word));
        }
        // The rest, and the length in the highest byte.
        state.take_in(last_bytes(bytes, rest) | (bytes.len() as u64 + 8) << 56);
        state.c ^= 0xff;
        (0..3).for_each(|_| state.round());
        state.a ^ state.b ^ state.c ^ state.d
    }
}

/// What follows the last whole word.
#[inline]
fn last_bytes(bytes: &[u8], rest: &[u8]) -> u64 {
    match bytes.last_chunk::<8>() {
        _ if rest.is_empty() => 0,
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

struct State {
    a: u64,
    b: u64,
    c: u64,
    d: u64,
}

impl State {
    #[inline]
    fn take_in(&mut self, word: u64) {
        self.d ^= word;
        self.round();
        self.a ^= word;
    }

    #[inline]
    fn round(&mut self) {
        self.a = self.a.wrapping_add(self.b);
        self.c = self.c.wrapping_add(self.d);
        self.b = self.b.rotate_left(13) ^ self.a;
        self.d = self.d.rotate_left(16) ^ self.c;
        self.a = self.a.rotate_left(32).wrapping_add(self.d);
        self.c = self.c.wrapping_add(self.b);
        self.d = self.d.rotate_left(21) ^ self.a;
        self.b = self.b.rotate_left(17) ^ self.c;
        self.c = self.c.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hasher};

    #[test]
    fn it_is_the_standard_librarys_siphash() {
        let bytes: Vec<u8> = (0..100).collect();
        for len in 0..bytes.len() {
            let mut hasher = DefaultHasher::new(); // SipHash-1-3 under a seed of zeros
            hasher.write_u64(u64::MAX - 5);
            hasher.write(&bytes[..len]);
            assert_eq!(Seed(0, 0).hash(u64::MAX - 5, &bytes[..len]), hasher.finish(), "{len} bytes");
        }
    }

    #[test]
    fn every_seed_gives_other_hashes() {
        assert_ne!(Seed::random().hash(1, b"key"), Seed::random().hash(1, b"key"));
    }
}
