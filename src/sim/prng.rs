//! The one generator: ChaCha with 8 rounds, keyed by the scenario's seed, one stream a purpose.
//!
//! A stream's numbers depend on the seed and the stream's number alone, so that a new draw for one purpose moves none of
//! another. Algorithm, key layout and range sampling are pinned by known-answer tests below.
//!
//! Source: ChaCha, D. J. Bernstein, 2008; test vectors of draft-strombergson-chacha-test-vectors-01, TC1, 256 bit, 8 rounds.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use crate::exchange::Draw;

/// What a stream of random numbers is for. The numbers are part of what a seed means and are never given anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Delays from the venue to us on the public socket.
    PublicDown,
    /// Delays from us to the venue on the public socket.
    PublicUp,
    /// Delays from the venue to us on the private socket.
    PrivateDown,
    /// Delays from us to the venue on the private socket.
    PrivateUp,
    /// Delays over REST, both ways.
    Rest,
    /// Prices at which the strategy proposes.
    Strategy,
    /// Steps of an instrument's mid price.
    Walk(u16),
    /// Random part of an instrument's pace of book changes.
    Jitter(u16),
    /// Side and size of an instrument's public trades.
    Trades(u16),
    /// Seeds of the legs of a long log.
    Legs,
    /// Order, moments and particulars of the faults of a leg.
    Faults,
}

impl Stream {
    /// Returns the stream's number: the purpose in the upper half, the instrument in the lower.
    #[must_use]
    pub const fn number(self) -> u64 {
        const fn of(purpose: u64, instrument: u16) -> u64 {
            (purpose << 32) | instrument as u64
        }
        match self {
            Self::PublicDown => of(1, 0),
            Self::PublicUp => of(2, 0),
            Self::PrivateDown => of(3, 0),
            Self::PrivateUp => of(4, 0),
            Self::Rest => of(5, 0),
            Self::Strategy => of(6, 0),
            Self::Walk(instrument) => of(7, instrument),
            Self::Jitter(instrument) => of(8, instrument),
            Self::Trades(instrument) => of(9, instrument),
            Self::Legs => of(10, 0),
            Self::Faults => of(11, 0),
        }
    }
}

/// A generator on one stream of one seed.
#[derive(Clone, Debug)]
pub struct Prng(ChaCha8Rng);

impl Prng {
    /// Returns the generator of a stream: the key is the seed, little-endian, followed by 24 zero bytes.
    #[must_use]
    pub fn new(seed: u64, stream: Stream) -> Self {
        let mut key = [0_u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(stream.number());
        Self(generator)
    }
}

impl Draw for Prng {
    /// Draws evenly by rejection; a range of one value costs no draw.
    fn between(&mut self, first: i64, last: i64) -> i64 {
        if last <= first {
            return first;
        }
        let span = last.abs_diff(first);
        let Some(count) = span.checked_add(1) else {
            // The whole of i64: every word is an answer.
            return first.wrapping_add_unsigned(self.0.next_u64());
        };
        // The largest multiple of `count`, less one, that 64 bits hold: words above it would favour small answers.
        let limit = u64::MAX - (u64::MAX % count + 1) % count;
        loop {
            let word = self.0.next_u64();
            if word <= limit {
                return first.wrapping_add_unsigned(word % count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_algorithm_is_chacha8() {
        let mut generator = ChaCha8Rng::from_seed([0; 32]);
        let expected: [u8; 16] =
            [0x3e, 0x00, 0xef, 0x2f, 0x89, 0x5f, 0x40, 0xd6, 0x7f, 0x5b, 0xb8, 0xe8, 0x1f, 0x09, 0xa5, 0xa1];
        for word in expected.chunks(8) {
            assert_eq!(generator.next_u64().to_le_bytes(), word);
        }
    }

    #[test]
    fn answers_are_pinned() {
        #[track_caller]
        fn check(seed: u64, stream: Stream, first: i64, last: i64, expected: &[i64]) {
            let mut prng = Prng::new(seed, stream);
            let drawn: Vec<i64> = expected.iter().map(|_| prng.between(first, last)).collect();
            assert_eq!(drawn, expected);
        }
        // Computed with a second implementation of the algorithm, of the key layout and of the sampling.
        check(1, Stream::PublicDown, 0, 99, &[22, 45, 26, 43, 56, 8]);
        check(1, Stream::Walk(3), -5, 5, &[-5, 4, -5, -2, -1, -4]);
        check(u64::MAX, Stream::Rest, i64::MIN, i64::MAX, &[-315_764_048_037_980_432, 936_934_533_382_271_782]);
    }

    #[test]
    fn ranges_hold_and_every_answer_comes() {
        let mut prng = Prng::new(7, Stream::Strategy);
        let mut seen = [0_u32; 7];
        for _ in 0..7_000 {
            let value = prng.between(-3, 3);
            seen[usize::try_from(value + 3).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
        for (first, last) in [(i64::MIN, i64::MIN + 1), (i64::MAX - 1, i64::MAX), (-1, i64::MAX)] {
            assert!((first..=last).contains(&prng.between(first, last)));
        }
    }

    #[test]
    fn a_range_of_one_costs_no_draw() {
        let mut prng = Prng::new(7, Stream::Strategy);
        let mut other = prng.clone();
        assert_eq!(prng.between(4, 4), 4);
        assert_eq!(prng.between(4, 3), 4);
        assert_eq!(prng.between(0, 1 << 40), other.between(0, 1 << 40));
    }

    #[test]
    fn streams_differ_and_keep_their_numbers() {
        let numbers = [
            (Stream::PublicDown, 1_u64 << 32),
            (Stream::PublicUp, 2 << 32),
            (Stream::PrivateDown, 3 << 32),
            (Stream::PrivateUp, 4 << 32),
            (Stream::Rest, 5 << 32),
            (Stream::Strategy, 6 << 32),
            (Stream::Walk(1), (7 << 32) + 1),
            (Stream::Jitter(1), (8 << 32) + 1),
            (Stream::Trades(1), (9 << 32) + 1),
            (Stream::Legs, 10 << 32),
            (Stream::Faults, 11 << 32),
        ];
        let mut first = Vec::new();
        for (stream, number) in numbers {
            assert_eq!(stream.number(), number);
            first.push(Prng::new(1, stream).between(0, i64::MAX - 1));
        }
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), numbers.len());
    }
}
