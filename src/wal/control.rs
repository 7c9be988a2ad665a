//! The records of a log that are no events: marks, frames of a feed, batches, indexes and the end.
//!
//! Kinds have ranges, so that a reader knows what to do with one it does not know:
//!
//! ```text
//!   0x0001 ..= 0x6fff  events; each takes a sequence number; must be understood to fold the log
//!   0x7000 ..= 0x7fff  control; take none; must be understood to read the log
//!   0x8000 ..= 0xffff  notes; take none; a reader skips those it does not know
//! ```
//!
//! Control records and notes carry the number of the next event in their frame.
//!
//! Source: specs/log-format.md, section Records of a log.

use drillfold_kernel::units::{Seq, TimeMs};

use super::digest::Digest128;
use super::fields::Fields;

/// Largest kind of an event.
pub(super) const EVENT_KIND_MAX: u16 = 0x6fff;

/// Smallest kind that a reader may skip.
pub(super) const NOTE_KIND_MIN: u16 = 0x8000;

/// Kind of a batch record.
pub(super) const BATCH_KIND: u16 = 0x7001;

/// Kind of an index record.
pub(super) const INDEX_KIND: u16 = 0x7002;

/// Kind of an end record.
pub(super) const END_KIND: u16 = 0x7003;

/// Kind of a mark.
pub(super) const MARK_KIND: u16 = 0x8001;

/// Kind of a frame of a feed.
pub(super) const FEED_FRAME_KIND: u16 = 0x8002;

/// Version of all five.
pub(super) const CONTROL_VERSION: u16 = 1;

/// Largest name of a mark, bytes of UTF-8, inclusive.
pub const MARK_NAME_SIZE_BYTES_MAX: usize = 256;

/// Most entries of one index record.
pub(super) const INDEX_ENTRY_COUNT_MAX: usize = super::frame::PAYLOAD_SIZE_BYTES_MAX / INDEX_ENTRY_SIZE_BYTES;

/// Size of an entry of an index, bytes.
pub(super) const INDEX_ENTRY_SIZE_BYTES: usize = 24;

const END_PAYLOAD_SIZE_BYTES: usize = 48;

/// Size of the frame that ends a file, bytes.
pub(super) const END_FRAME_SIZE_BYTES: usize = super::frame::FRAME_HEADER_SIZE_BYTES + END_PAYLOAD_SIZE_BYTES;

const _: () = assert!(EVENT_KIND_MAX < BATCH_KIND && END_KIND < NOTE_KIND_MIN && NOTE_KIND_MIN <= MARK_KIND);

/// A note in a log, outside kernel and hashes, about what happens to the world at this place.
///
/// Its place is that of the event it precedes, whose number its frame carries.
///
/// Source: specs/contract decisions, 42.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// What the note is about.
    pub kind: MarkKind,
    /// Index of the scenario step it belongs to, from 0.
    pub step_index: u32,
    /// Name of the step or snapshot, at most [`MARK_NAME_SIZE_BYTES_MAX`] bytes.
    pub name: String,
}

/// What a [`Mark`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkKind {
    /// A step of the scenario takes place.
    Step,
    /// The step that is the scenario's trigger takes place.
    Trigger,
    /// A named status is taken.
    Snapshot,
}

impl MarkKind {
    /// Returns the word used in output: `step`, `trigger` or `snapshot`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Trigger => "trigger",
            Self::Snapshot => "snapshot",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Step => 0,
            Self::Trigger => 1,
            Self::Snapshot => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Step, Self::Trigger, Self::Snapshot].into_iter().find(|kind| kind.code() == code)
    }
}

impl Mark {
    /// Payload: kind u8, step index u32, name (UTF-8, to the end).
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind.code()];
        bytes.extend_from_slice(&self.step_index.to_le_bytes());
        bytes.extend_from_slice(self.name.as_bytes());
        bytes
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(payload);
        let kind = MarkKind::from_code(fields.u8()?)?;
        let step_index = fields.u32()?;
        let name = std::str::from_utf8(fields.rest()).ok()?;
        (name.len() <= MARK_NAME_SIZE_BYTES_MAX).then(|| Self { kind, step_index, name: name.to_string() })
    }
}

/// A frame of a live feed as it was kept: in front of the events that it became, outside kernel and hashes.
///
/// Source: specs/log-format.md, section Records of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedFrame<'a> {
    /// Which way it went.
    pub direction: Direction,
    /// Its text. Whoever keeps it has taken out what may not be kept.
    pub text: &'a str,
}

/// Which way a [`FeedFrame`] went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the venue.
    Received,
    /// To the venue.
    Sent,
}

impl<'a> FeedFrame<'a> {
    /// Payload: direction u8, text (UTF-8, to the end).
    pub(super) fn encode(&self, payload: &mut Vec<u8>) {
        payload.clear();
        payload.push(match self.direction {
            Direction::Received => 0,
            Direction::Sent => 1,
        });
        payload.extend_from_slice(self.text.as_bytes());
    }

    /// Reads a note as a frame; `None` where it is none, or one of a newer build.
    pub(super) fn decode(kind: u16, version: u16, payload: &'a [u8]) -> Option<Self> {
        if (kind, version) != (FEED_FRAME_KIND, CONTROL_VERSION) {
            return None;
        }
        let (code, text) = payload.split_first()?;
        let direction = match code {
            0 => Direction::Received,
            1 => Direction::Sent,
            _ => return None,
        };
        Some(Self { direction, text: std::str::from_utf8(text).ok()? })
    }
}

/// Payload of a batch: the highest event number known to be durable when the batch was written, u64.
pub(super) fn encode_batch(durable_seq: Seq) -> Vec<u8> {
    durable_seq.0.to_le_bytes().to_vec()
}

pub(super) fn decode_batch(payload: &[u8]) -> Option<Seq> {
    let mut fields = Fields::new(payload);
    let durable_seq = Seq(fields.u64()?);
    fields.end()?;
    Some(durable_seq)
}

/// One entry of a sealed log's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Number of an event.
    pub seq: Seq,
    /// The greatest time of any event up to and including this one, so that it never falls from entry to entry.
    pub at_max: TimeMs,
    /// Where its frame starts, bytes from the file's start.
    pub offset: u64,
}

/// Payload of an index: its entries, each seq u64, time i64, offset u64.
pub(super) fn encode_index(entries: &[IndexEntry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * INDEX_ENTRY_SIZE_BYTES);
    for entry in entries {
        bytes.extend_from_slice(&entry.seq.0.to_le_bytes());
        bytes.extend_from_slice(&entry.at_max.0.to_le_bytes());
        bytes.extend_from_slice(&entry.offset.to_le_bytes());
    }
    bytes
}

/// Reads an index; its entries must grow.
pub(super) fn decode_index(payload: &[u8]) -> Option<Vec<IndexEntry>> {
    let mut fields = Fields::new(payload);
    let mut entries: Vec<IndexEntry> = Vec::with_capacity(payload.len() / INDEX_ENTRY_SIZE_BYTES);
    while fields.end().is_none() {
        let entry = IndexEntry { seq: Seq(fields.u64()?), at_max: TimeMs(fields.i64()?), offset: fields.u64()? };
        if let Some(last) = entries.last() {
            let grows = entry.seq > last.seq && entry.at_max >= last.at_max && entry.offset > last.offset;
            grows.then_some(())?;
        }
        entries.push(entry);
    }
    (!entries.is_empty()).then_some(entries)
}

/// The last record of a sealed log. It has a fixed size, so that it can be found from the file's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Events in this file.
    pub event_count: u64,
    /// Marks in this file.
    pub mark_count: u64,
    /// Where this record starts, bytes from the file's start.
    pub offset: u64,
    /// Where the index record starts; 0 where there is none.
    pub index_offset: u64,
    /// XXH3-128 over all event frames in order, each without its checksum field.
    pub event_digest: Digest128,
}

impl End {
    /// Payload: event count u64, mark count u64, own offset u64, index offset u64, event digest.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(END_PAYLOAD_SIZE_BYTES);
        for number in [self.event_count, self.mark_count, self.offset, self.index_offset] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.event_digest.0);
        bytes
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(payload);
        let end = Self {
            event_count: fields.u64()?,
            mark_count: fields.u64()?,
            offset: fields.u64()?,
            index_offset: fields.u64()?,
            event_digest: Digest128(fields.array()?),
        };
        fields.end()?;
        Some(end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn marks_have_these_bytes() {
        let mark = Mark { kind: MarkKind::Trigger, step_index: 0x0102, name: "feed stops".to_string() };
        assert_eq!(mark.encode(), [&[1, 2, 1, 0, 0][..], b"feed stops"].concat());
        assert_eq!(Mark::decode(&mark.encode()), Some(mark));
        for wrong in [&b""[..], &[0, 0, 0, 0], &[3, 0, 0, 0, 0], &[0, 0, 0, 0, 0, 0xff]] {
            assert_eq!(Mark::decode(wrong), None);
        }
        let long = [&[0; 5][..], &[b'x'; MARK_NAME_SIZE_BYTES_MAX + 1]].concat();
        assert_eq!(Mark::decode(&long), None);
        assert!(Mark::decode(&long[..long.len() - 1]).is_some());
    }

    #[test]
    fn frames_of_a_feed_have_these_bytes() {
        let mut payload = Vec::new();
        let frame = FeedFrame { direction: Direction::Sent, text: "{}" };
        frame.encode(&mut payload);
        assert_eq!(payload, [1, b'{', b'}']);
        assert_eq!(FeedFrame::decode(0x8002, 1, &payload), Some(frame));
        for (kind, version, wrong) in [
            (0x8001, 1, &payload[..]),
            (0x8002, 2, &payload),
            (0x8002, 1, &[]),
            (0x8002, 1, b"2"),
            (0x8002, 1, &[0, 0xff]),
        ] {
            assert_eq!(FeedFrame::decode(kind, version, wrong), None);
        }
    }

    #[test]
    fn an_end_has_a_fixed_size() {
        let end = End { event_count: 1, mark_count: 2, offset: 3, index_offset: 4, event_digest: Digest128([5; 16]) };
        let bytes = end.encode();
        assert_eq!(bytes.len(), 48);
        assert_eq!(End::decode(&bytes), Some(end));
        assert_eq!(End::decode(&bytes[1..]), None);
        assert_eq!(End::decode(&[bytes, vec![0]].concat()), None);
    }

    #[test]
    fn an_index_grows() {
        let entry = |seq, at, offset| IndexEntry { seq: Seq(seq), at_max: TimeMs(at), offset };
        let good = [entry(1, -5, 100), entry(2, -5, 128), entry(9, 4, 500)];
        assert_eq!(decode_index(&encode_index(&good)), Some(good.to_vec()));
        assert_eq!(decode_index(&[]), None);
        assert_eq!(decode_index(&encode_index(&good)[1..]), None);
        for wrong in [entry(1, 0, 200), entry(2, -6, 200), entry(2, 0, 100)] {
            assert_eq!(decode_index(&encode_index(&[good[0], wrong])), None);
        }
    }

    proptest! {
        #[test]
        fn prop_payloads_are_refused_or_come_back(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(mark) = Mark::decode(&payload) {
                prop_assert_eq!(mark.encode(), payload.clone());
            }
            if let Some(entries) = decode_index(&payload) {
                prop_assert_eq!(encode_index(&entries), payload.clone());
            }
            if let Some(durable) = decode_batch(&payload) {
                prop_assert_eq!(encode_batch(durable), payload);
            }
        }
    }
}
