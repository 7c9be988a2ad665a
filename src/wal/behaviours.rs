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

/// What a build did at each event from one checkpoint to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviours {
    /// The first event covered.
    pub first: Seq,
    /// In order; as long as they can be.
    pub stretches: Vec<Stretch>,
}

impl Behaviours {
    /// Returns the last event covered; the one before the first where there is none.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.first.0.saturating_add(event_count(&self.stretches)).saturating_sub(1))
    }

    /// Returns the payload of stretches.
    pub(super) fn encode(stretches: &[Stretch]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(stretches.len() * STRETCH_SIZE_BYTES);
        for Stretch { event_count, digest } in stretches {
            bytes.extend_from_slice(&event_count.to_le_bytes());
            bytes.extend_from_slice(&digest.to_le_bytes());
        }
        bytes
    }

    /// Reads the payload of a record that stands at event `last`; `None` where it is not one.
    pub(super) fn decode(last: Seq, payload: &[u8]) -> Option<Self> {
        let (parts, rest) = payload.as_chunks::<STRETCH_SIZE_BYTES>();
        let stretch = |part: &[u8; STRETCH_SIZE_BYTES]| {
            let [a, b, c, d, digest @ ..] = *part;
            Stretch { event_count: u32::from_le_bytes([a, b, c, d]), digest: u64::from_le_bytes(digest) }
        };
        let stretches: Vec<Stretch> = parts.iter().map(stretch).collect();
        let first = last.0.checked_add(1)?.checked_sub(event_count(&stretches))?;
        let whole = rest.is_empty() && first > 0 && stretches.iter().all(|stretch| stretch.event_count > 0);
        whole.then_some(Self { first: Seq(first), stretches })
    }
}

fn event_count(stretches: &[Stretch]) -> u64 {
    stretches.iter().fold(0, |sum, stretch| sum.saturating_add(stretch.event_count.into()))
}

/// Returns the first event at which two runs did something different, of those that both cover.
#[must_use]
pub fn first_difference(left: &Behaviours, right: &Behaviours) -> Option<Seq> {
    differences(left, right).next().map(|(first, _)| first)
}

/// Returns the stretches of events at which two runs did something different, of those that both cover: first and last.
pub fn differences(left: &Behaviours, right: &Behaviours) -> impl Iterator<Item = (Seq, Seq)> {
    let mut found: Vec<(Seq, Seq)> = Vec::new();
    let (mut left_end, mut right_end) = (left.first.0, right.first.0);
    let mut at = left.first.0.max(right.first.0);
    let (mut lefts, mut rights) = (left.stretches.iter(), right.stretches.iter());
    let (mut left_now, mut right_now) = (None, None);
    loop {
        while left_end <= at {
            left_now = lefts.next();
            let Some(stretch) = left_now else { return found.into_iter() };
            left_end = left_end.saturating_add(stretch.event_count.into());
        }
        while right_end <= at {
            right_now = rights.next();
            let Some(stretch) = right_now else { return found.into_iter() };
            right_end = right_end.saturating_add(stretch.event_count.into());
        }
        let next = left_end.min(right_end);
        if left_now.map(|stretch| stretch.digest) != right_now.map(|stretch| stretch.digest) {
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

    fn of(first: u64, digests: &[u64]) -> Behaviours {
        let stretches = digests
            .chunk_by(|left, right| left == right)
            .map(|chunk| Stretch { event_count: chunk.len() as u32, digest: chunk[0] })
            .collect();
        Behaviours { first: Seq(first), stretches }
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
            let found: Vec<u64> = differences(&of(left_first, &left), &of(right_first, &right))
                .flat_map(|(first, last)| first.0..=last.0)
                .collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn prop_the_bytes_lead_back(digests in prop::collection::vec(any::<u64>(), 1..40), first in 1..1000_u64) {
            let behaviours = of(first, &digests);
            let bytes = Behaviours::encode(&behaviours.stretches);
            prop_assert_eq!(Behaviours::decode(behaviours.last(), &bytes), Some(behaviours));
        }
    }

    #[test]
    fn what_covers_no_event_or_too_many_is_refused() {
        let one = Behaviours::encode(&[Stretch { event_count: 5, digest: 1 }]);
        assert_eq!(Behaviours::decode(Seq(4), &one), None);
        assert!(Behaviours::decode(Seq(5), &one).is_some());
        assert_eq!(Behaviours::decode(Seq(5), &one[..11]), None);
        assert_eq!(Behaviours::decode(Seq(5), &Behaviours::encode(&[Stretch { event_count: 0, digest: 1 }])), None);
        assert_eq!(Behaviours::decode(Seq(u64::MAX), &one), None);
    }
}
