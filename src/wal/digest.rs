//! Digests of the log and the trace: XXH3-128 (seed 0) throughout.
//!
//! They find differences and damage; they are no defence against someone who forges both a file and its digests.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::error::DigestTextError;

/// A digest of 128 bits: the XXH3-128 value as 16 bytes, least significant first; text is their hexadecimal, in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest128(pub [u8; 16]);

impl Digest128 {
    /// Sixteen zero bytes: what a chain starts from.
    pub const ZERO: Self = Self([0; 16]);

    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes).to_le_bytes())
    }

    /// Reads the 32 hexadecimal digits that [`fmt::Display`] writes; upper case is accepted.
    ///
    /// # Errors
    ///
    /// [`DigestTextError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, DigestTextError> {
        parse_hex(text).map(Self)
    }
}

/// A digest of 256 bits, as SHA-256 gives it; text is its hexadecimal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest256(pub [u8; 32]);

impl Digest256 {
    /// Reads the 64 hexadecimal digits that [`fmt::Display`] writes; upper case is accepted.
    ///
    /// # Errors
    ///
    /// [`DigestTextError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, DigestTextError> {
        parse_hex(text).map(Self)
    }
}

impl fmt::Display for Digest128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for Digest256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], DigestTextError> {
    let wrong = || DigestTextError { digits: N * 2, found: text.to_string() };
    let mut bytes = [0; N];
    if text.len() != N * 2 {
        return Err(wrong());
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |place: u8| char::from(place).to_digit(16);
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return Err(wrong());
        };
        *byte = u8::try_from(high * 16 + low).map_err(|_| wrong())?;
    }
    Ok(bytes)
}

/// Chains behaviour records into checkpoints: each checkpoint's hash covers the one before it and every record since.
///
/// The value at a checkpoint is XXH3-128 over the previous checkpoint's 16 bytes (zeros for the first), then, for each
/// stretch of equal records in order, the record's length (u32, little-endian), how many they are (u64), and its bytes. A
/// stretch is as long as it can be; a checkpoint ends it. So a long calm costs next to nothing. The value depends on the
/// records and on where the checkpoints lie, and on nothing else: not on buffers, batches or threads. Two runs that have
/// once differed have different hashes at every later checkpoint, so the first different one can be found by binary
/// search.
#[derive(Clone)]
pub struct ChainHasher {
    previous: Digest128,
    hasher: Box<Xxh3>,
    /// The record of the stretch under way.
    record: Vec<u8>,
    repeats: u64,
    record_count: u64,
}

impl fmt::Debug for ChainHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainHasher")
            .field("previous", &self.previous)
            .field("record_count", &self.record_count)
            .finish_non_exhaustive()
    }
}

impl Default for ChainHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl ChainHasher {
    /// Starts a chain at its beginning.
    pub fn new() -> Self {
        Self::resume(Digest128::ZERO)
    }

    /// Goes on behind a checkpoint whose hash was `previous`.
    pub fn resume(previous: Digest128) -> Self {
        let mut hasher = Box::new(Xxh3::new());
        hasher.update(&previous.0);
        Self { previous, hasher, record: Vec::new(), repeats: 0, record_count: 0 }
    }

    /// Adds one record: everything the build did at one event.
    #[inline]
    pub fn push(&mut self, record: &[u8]) {
        if self.repeats == 0 || self.record != record {
            self.end_stretch();
            self.record.extend_from_slice(record);
        }
        self.repeats += 1;
        self.record_count = self.record_count.saturating_add(1);
    }

    /// Adds the last record once more. Before the first, and after a checkpoint, nothing is added: false.
    #[inline]
    pub fn push_again(&mut self) -> bool {
        let pushed = self.repeats > 0;
        self.repeats += u64::from(pushed);
        self.record_count = self.record_count.saturating_add(u64::from(pushed));
        pushed
    }

    fn end_stretch(&mut self) {
        if self.repeats > 0 {
            // A record longer than u32 can say is hashed with the largest length; its bytes still count in full.
            let length = u32::try_from(self.record.len()).unwrap_or(u32::MAX);
            self.hasher.update(&length.to_le_bytes());
            self.hasher.update(&self.repeats.to_le_bytes());
            self.hasher.update(&self.record);
        }
        self.record.clear();
        self.repeats = 0;
    }

    /// Closes the records since the last checkpoint and returns the hash at this one.
    pub fn checkpoint(&mut self) -> Digest128 {
        self.end_stretch();
        let closed = Digest128(self.hasher.digest128().to_le_bytes());
        self.previous = closed;
        self.hasher.reset();
        self.hasher.update(&closed.0);
        self.record_count = 0;
        closed
    }

    /// Returns how many records were pushed since the last checkpoint.
    pub fn record_count(&self) -> u64 {
        self.record_count
    }

    /// Returns the hash at the last checkpoint; zeros before the first.
    pub fn last(&self) -> Digest128 {
        self.previous
    }
}

/// The running digest over a log's events: XXH3-128 over every event frame in order, each without its checksum field.
///
/// Frames are gathered, because hashing them one by one costs more than their bytes do.
#[derive(Clone)]
pub(super) struct EventDigest {
    hasher: Box<Xxh3>,
    gathered: Vec<u8>,
}

const GATHERED_BYTES: usize = 16 * 1024;

impl fmt::Debug for EventDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventDigest").finish_non_exhaustive()
    }
}

impl EventDigest {
    pub(super) fn new() -> Self {
        Self { hasher: Box::new(Xxh3::new()), gathered: Vec::with_capacity(GATHERED_BYTES) }
    }

    /// Adds the bytes of one event frame that its checksum covers.
    #[inline]
    pub(super) fn push(&mut self, checked_bytes: &[u8]) {
        if self.gathered.len() + checked_bytes.len() > GATHERED_BYTES {
            self.hasher.update(&self.gathered);
            self.gathered.clear();
            if checked_bytes.len() > GATHERED_BYTES {
                self.hasher.update(checked_bytes);
                return;
            }
        }
        self.gathered.extend_from_slice(checked_bytes);
    }

    pub(super) fn value(&self) -> Digest128 {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.gathered);
        Digest128(hasher.digest128().to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The chain's definition, spelled out over one buffer.
    fn chain_by_definition(batches: &[Vec<Vec<u8>>]) -> Vec<Digest128> {
        let mut previous = Digest128::ZERO;
        batches
            .iter()
            .map(|records| {
                let mut bytes = previous.0.to_vec();
                for stretch in records.chunk_by(|left, right| left == right) {
                    bytes.extend_from_slice(&(stretch[0].len() as u32).to_le_bytes());
                    bytes.extend_from_slice(&(stretch.len() as u64).to_le_bytes());
                    bytes.extend_from_slice(&stretch[0]);
                }
                previous = Digest128::of(&bytes);
                previous
            })
            .collect()
    }

    fn chain(batches: &[Vec<Vec<u8>>]) -> Vec<Digest128> {
        let mut hasher = ChainHasher::new();
        batches
            .iter()
            .map(|records| {
                for (place, record) in records.iter().enumerate() {
                    let again = place > 0 && records[place - 1] == *record;
                    if !(again && hasher.push_again()) {
                        hasher.push(record);
                    }
                }
                hasher.checkpoint()
            })
            .collect()
    }

    #[test]
    fn known_answers_pin_the_algorithm() {
        // The empty input's value is 0x99aa06d3014798d86001c324468d497f; the bytes run from its low end.
        assert_eq!(Digest128::of(b"").to_string(), "7f498d4624c30160d8984701d306aa99");
    }

    #[test]
    fn where_a_record_ends_matters() {
        let whole = chain(&[vec![b"ab".to_vec(), b"c".to_vec()]]);
        assert_ne!(whole, chain(&[vec![b"a".to_vec(), b"bc".to_vec()]]));
        assert_ne!(whole, chain(&[vec![b"abc".to_vec()]]));
    }

    #[test]
    fn a_chain_that_differed_once_never_meets_again() {
        let same = vec![b"same".to_vec()];
        let left = chain(&[vec![b"left".to_vec()], same.clone(), vec![], same.clone()]);
        let right = chain(&[vec![b"right".to_vec()], same.clone(), vec![], same]);
        assert!(left.iter().zip(&right).all(|(left, right)| left != right));
    }

    #[test]
    fn text_leads_back() {
        let digest = Digest128::of(b"x");
        assert_eq!(Digest128::parse(&digest.to_string()).unwrap(), digest);
        assert_eq!(Digest128::parse(&digest.to_string().to_uppercase()).unwrap(), digest);
        let digest = Digest256([0xa5; 32]);
        assert_eq!(Digest256::parse(&digest.to_string()).unwrap(), digest);
        for wrong in ["", "a5", &"g".repeat(32), &"+1".repeat(16), &"é".repeat(16)] {
            assert!(Digest128::parse(wrong).is_err(), "{wrong}");
        }
    }

    /// Records of which neighbours are often equal.
    fn any_record() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![Just(vec![1]), Just(vec![1, 1]), prop::collection::vec(any::<u8>(), 0..300)]
    }

    proptest! {
        #[test]
        fn prop_the_chain_is_its_definition_and_can_be_resumed(
            batches in prop::collection::vec(prop::collection::vec(any_record(), 0..8), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let hashes = chain(&batches);
            prop_assert_eq!(&hashes, &chain_by_definition(&batches));
            let cut = cut.index(batches.len());
            let before = if cut == 0 { Digest128::ZERO } else { hashes[cut - 1] };
            let mut resumed = ChainHasher::resume(before);
            for (records, expected) in batches.iter().zip(&hashes).skip(cut) {
                records.iter().for_each(|record| resumed.push(record));
                prop_assert_eq!(resumed.record_count(), records.len() as u64);
                prop_assert_eq!(resumed.checkpoint(), *expected);
                prop_assert_eq!(resumed.last(), *expected);
            }
        }
    }
}
