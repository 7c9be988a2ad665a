//! What a build did at each event, a digest each: the record of a trace that leads to a single event.
//!
//! Source: specs/log-format.md, section Trace.

use drillfold_kernel::units::Seq;

const STRETCH_SIZE_BYTES: usize = 12;

/// Events in a row at which a build did the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// How many events.
    pub event_count: u32,
    /// XXH3-64 (seed 0) of the behaviour record at each of them.
    pub digest: u64,
}

/// What a build did at each event from one checkpoint to the next, as it lies in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviours<'a> {
    /// The first event covered.
    pub first: Seq,
    /// The last event covered.
    pub last: Seq,
    parts: &'a [[u8; STRETCH_SIZE_BYTES]],
}

impl<'a> Behaviours<'a> {
    /// Returns the stretches in order; each is as long as it can be.
    pub fn stretches(&self) -> impl ExactSizeIterator<Item = Stretch> + use<'a> {
        self.parts.iter().map(stretch)
    }

    /// Reads the payload of a record that stands at event `last`; `None` where it is not one.
    pub(super) fn decode(last: Seq, payload: &'a [u8]) -> Option<Self> {
        let (parts, rest) = payload.as_chunks::<STRETCH_SIZE_BYTES>();
        let counts = || parts.iter().map(|part| u64::from(stretch(part).event_count));
        let covered = counts().fold(0, u64::saturating_add);
        let first = last.0.checked_add(1)?.checked_sub(covered)?;
        let whole = rest.is_empty() && first > 0 && counts().all(|count| count > 0);
        whole.then_some(Self { first: Seq(first), last, parts })
    }
}

fn stretch(part: &[u8; STRETCH_SIZE_BYTES]) -> Stretch {
    let [a, b, c, d, digest @ ..] = *part;
    Stretch { event_count: u32::from_le_bytes([a, b, c, d]), digest: u64::from_le_bytes(digest) }
}

/// Returns the payload of stretches.
pub(super) fn encode_behaviours(stretches: &[Stretch]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(stretches.len() * STRETCH_SIZE_BYTES);
    for Stretch { event_count, digest } in stretches {
        bytes.extend_from_slice(&event_count.to_le_bytes());
        bytes.extend_from_slice(&digest.to_le_bytes());
    }
    bytes
}

/// Returns the stretches of events at which two runs did something different, of those that both cover: first and last.
#[must_use]
pub fn differences(left: &Behaviours<'_>, right: &Behaviours<'_>) -> Vec<(Seq, Seq)> {
    let mut found: Vec<(Seq, Seq)> = Vec::new();
    let (mut left_end, mut right_end) = (left.first.0, right.first.0);
    let mut at = left.first.0.max(right.first.0);
    let (mut lefts, mut rights) = (left.stretches(), right.stretches());
    let (mut left_now, mut right_now) = (None, None);
    loop {
        while left_end <= at {
            let Some(stretch) = lefts.next() else { return found };
            left_end = left_end.saturating_add(stretch.event_count.into());
            left_now = Some(stretch.digest);
        }
        while right_end <= at {
            let Some(stretch) = rights.next() else { return found };
            right_end = right_end.saturating_add(stretch.event_count.into());
            right_now = Some(stretch.digest);
        }
        let next = left_end.min(right_end);
        if left_now != right_now {
            match found.last_mut() {
                Some((_, last)) if last.0.saturating_add(1) == at => *last = Seq(next - 1),
                _ => found.push((Seq(at), Seq(next - 1))),
            }
        }
        at = next;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stretches(digests: &[u64]) -> Vec<Stretch> {
        let chunks = digests.chunk_by(|left, right| left == right);
        chunks.map(|chunk| Stretch { event_count: chunk.len() as u32, digest: chunk[0] }).collect()
    }

    fn read(first: u64, count: usize, bytes: &[u8]) -> Behaviours<'_> {
        let found = Behaviours::decode(Seq(first + count as u64 - 1), bytes).unwrap();
        assert_eq!(found.first, Seq(first));
        found
    }

    proptest! {
        #[test]
        fn prop_differences_are_those_of_the_events_one_by_one(
            left in prop::collection::vec(0..3_u64, 0..40), right in prop::collection::vec(0..3_u64, 0..40),
            left_first in 1..20_u64, right_first in 1..20_u64,
        ) {
            let at = |digests: &[u64], first: u64, seq: u64| seq.checked_sub(first).and_then(|place| digests.get(place as usize).copied());
            let expected: Vec<u64> = (1..80)
                .filter(|seq| match (at(&left, left_first, *seq), at(&right, right_first, *seq)) {
                    (Some(left), Some(right)) => left != right,
                    _ => false,
                })
                .collect();
            let bytes = [&left, &right].map(|digests| encode_behaviours(&stretches(digests)));
            let (left, right) = (read(left_first, left.len(), &bytes[0]), read(right_first, right.len(), &bytes[1]));
            let found: Vec<u64> = differences(&left, &right).iter().flat_map(|(first, last)| first.0..=last.0).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn prop_the_bytes_lead_back(digests in prop::collection::vec(any::<u64>(), 1..40), first in 1..1000_u64) {
            let bytes = encode_behaviours(&stretches(&digests));
            let found: Vec<Stretch> = read(first, digests.len(), &bytes).stretches().collect();
            prop_assert_eq!(found, stretches(&digests));
        }
    }

    #[test]
    fn what_covers_no_event_or_too_many_is_refused() {
        let one = encode_behaviours(&[Stretch { event_count: 5, digest: 1 }]);
        assert_eq!(Behaviours::decode(Seq(4), &one), None);
        assert!(Behaviours::decode(Seq(5), &one).is_some());
        assert_eq!(Behaviours::decode(Seq(5), &one[..11]), None);
        assert_eq!(Behaviours::decode(Seq(5), &encode_behaviours(&[Stretch { event_count: 0, digest: 1 }])), None);
        assert_eq!(Behaviours::decode(Seq(u64::MAX), &one), None);
    }
}
