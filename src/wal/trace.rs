//! The trace: what one build made of a log's events.
//!
//! ```text
//!  offset  size  field
//!       0     8  magic                 93 64 66 74 72 63 0d 0a  (0x93 "dftrc" CR LF)
//!       8     4  format version        u32  1
//!      12     4  header length         u32  bytes, checksum included
//!      16     4  flags                 u32  0; a reader refuses a flag it does not know
//!      20     4  behaviour version     u32  of the behaviour records that the chain covers
//!      24     4  checkpoint stride     u32  events from one checkpoint to the next, at least 1
//!      28     4  image stride          u32  events from one state image to the next; 0 where there are none
//!      32    16  state fingerprint     of the state's type; state images are read only where it is equal
//!      48    16  event schema          the log's
//!      64    32  scenario digest       the log's
//!      96     8  seed                  u64  the log's
//!     104     2  component count       u16  at most 64
//!     106     .  components            each: length u16, name (UTF-8, at most 64 bytes)
//!       .     4  checksum              u32  CRC-32C over everything before it
//! ```
//!
//! Records are frames ([`super::frame`]) whose sequence number is that of the last event folded:
//!
//! ```text
//!   0x7101  checkpoint  chain hash 16, state hash 16, leaf count u16, then for each leaf: component u16, hash 16
//!   0x7102  image       the state's bytes
//!   0x7103  final       event count u64, chain hash 16, state hash 16; nothing follows it
//!   0x8000 and above    notes; a reader skips those it does not know
//!   0x8101  behaviours  for each stretch of events at which the build did the same: event count u32, digest u64
//! ```
//!
//! Source: specs/log-format.md, section Trace.

use std::collections::BTreeSet;

use drillfold_kernel::units::{Seq, TimeMs};

use super::behaviours::{Behaviours, Stretch, encode_behaviours};
use super::control::{CONTROL_VERSION, NOTE_KIND_MIN};
use super::digest::{Digest128, Digest256};
use super::error::{AppendError, FrameFault, HeaderError, HeaderFault, LogError, ReadError, ReadFault};
use super::fields::Fields;
use super::frame::{Found, Frame, FrameHeader, decode_frame, encode_frame, find_frame};
use super::header::{LogHeader, open_header, seal_header, text_length};
use super::log_reader::Tail;

/// The first bytes of a trace.
pub const TRACE_MAGIC: [u8; 8] = *b"\x93dftrc\r\n";

/// Version of the trace's format that this build writes and reads.
pub const TRACE_FORMAT_VERSION: u32 = 1;

const CHECKPOINT_KIND: u16 = 0x7101;
const IMAGE_KIND: u16 = 0x7102;
const FINAL_KIND: u16 = 0x7103;
const BEHAVIOURS_KIND: u16 = 0x8101;

/// Most components a trace can have.
const COMPONENT_COUNT_MAX: usize = 64;

const LEAF_SIZE_BYTES: usize = 18;

/// What a trace says about itself before its first record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceHeader {
    /// Version of the behaviour records that the chain covers. Chains of two versions can't be compared.
    pub behaviour_version: u32,
    /// Events from one checkpoint to the next, at least 1. The chain depends on it.
    pub checkpoint_stride_events: u32,
    /// Events from one state image to the next; 0 where there are none.
    pub image_stride_events: u32,
    /// Fingerprint of the state's type. State hashes and images of two types can't be compared.
    pub state_fingerprint: Digest128,
    /// The log's event schema.
    pub event_schema: Digest128,
    /// The log's scenario digest.
    pub scenario_digest: Digest256,
    /// The log's seed.
    pub seed: u64,
    /// Names of the state's components, in the order of the leaves; at most 64.
    pub components: Vec<String>,
}

impl TraceHeader {
    /// Returns the header's bytes.
    ///
    /// # Errors
    ///
    /// [`AppendError::TextTooLong`]; [`AppendError::Invalid`] for a stride of 0, too many components, or two of one
    /// name.
    pub fn encode(&self) -> Result<Vec<u8>, AppendError> {
        if let Some(what) = self.misfit() {
            return Err(AppendError::Invalid { what, found: self.components.len() as u64 });
        }
        let mut body = Vec::with_capacity(256);
        body.extend_from_slice(&0_u32.to_le_bytes());
        body.extend_from_slice(&self.behaviour_version.to_le_bytes());
        body.extend_from_slice(&self.checkpoint_stride_events.to_le_bytes());
        body.extend_from_slice(&self.image_stride_events.to_le_bytes());
        body.extend_from_slice(&self.state_fingerprint.0);
        body.extend_from_slice(&self.event_schema.0);
        body.extend_from_slice(&self.scenario_digest.0);
        body.extend_from_slice(&self.seed.to_le_bytes());
        body.extend_from_slice(&(self.components.len() as u16).to_le_bytes());
        for name in &self.components {
            body.extend_from_slice(&text_length("component name", name)?.to_le_bytes());
            body.extend_from_slice(name.as_bytes());
        }
        seal_header(TRACE_MAGIC, TRACE_FORMAT_VERSION, &body)
    }

    /// Reads the header at the start of `bytes` and returns it with its size in bytes. `file` is named in errors.
    ///
    /// # Errors
    ///
    /// [`HeaderError`].
    pub fn decode(file: &str, bytes: &[u8]) -> Result<(Self, usize), HeaderError> {
        let failed = |fault| HeaderError { file: file.to_string(), fault };
        let opened = open_header("trace", TRACE_MAGIC, TRACE_FORMAT_VERSION, bytes).map_err(failed)?;
        let header = Self::from_fields(opened.body).ok_or_else(|| failed(HeaderFault::Invalid { field: "layout" }))?;
        match header.misfit() {
            Some(field) => Err(failed(HeaderFault::Invalid { field })),
            None => Ok((header, opened.size_bytes)),
        }
    }

    /// Checks that this trace was made of the log with that header.
    ///
    /// # Errors
    ///
    /// [`HeaderFault::Invalid`] that names the first field that differs.
    pub fn require_log(&self, file: &str, log: &LogHeader) -> Result<(), HeaderError> {
        let differs = if self.scenario_digest != log.scenario_digest {
            Some("scenario digest for this log")
        } else if self.seed != log.seed {
            Some("seed for this log")
        } else if self.event_schema != log.event_schema {
            Some("event schema for this log")
        } else {
            None
        };
        match differs {
            Some(field) => Err(HeaderError { file: file.to_string(), fault: HeaderFault::Invalid { field } }),
            None => Ok(()),
        }
    }

    fn from_fields(mut fields: Fields<'_>) -> Option<Self> {
        let behaviour_version = fields.u32()?;
        let checkpoint_stride_events = fields.u32()?;
        let image_stride_events = fields.u32()?;
        let state_fingerprint = Digest128(fields.array()?);
        let event_schema = Digest128(fields.array()?);
        let scenario_digest = Digest256(fields.array()?);
        let seed = fields.u64()?;
        let component_count = usize::from(fields.u16()?);
        if component_count > COMPONENT_COUNT_MAX {
            return None;
        }
        let mut components = Vec::with_capacity(component_count);
        for _ in 0..component_count {
            let length = usize::from(fields.u16()?);
            if length > super::header::TEXT_SIZE_BYTES_MAX {
                return None;
            }
            components.push(fields.text(length)?.to_string());
        }
        fields.end()?;
        Some(Self {
            behaviour_version,
            checkpoint_stride_events,
            image_stride_events,
            state_fingerprint,
            event_schema,
            scenario_digest,
            seed,
            components,
        })
    }

    fn misfit(&self) -> Option<&'static str> {
        let distinct: BTreeSet<&String> = self.components.iter().collect();
        if self.checkpoint_stride_events == 0 {
            Some("checkpoint stride")
        } else if self.components.len() > COMPONENT_COUNT_MAX || distinct.len() != self.components.len() {
            Some("list of components")
        } else {
            None
        }
    }
}

/// A point of a log with its hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Number of the last event folded.
    pub seq: Seq,
    /// That event's time.
    pub at: TimeMs,
    /// Chain hash, as [`super::ChainHasher::checkpoint`] gives it.
    pub chain: Digest128,
    /// State hash: [`state_hash`] of the leaves.
    pub state: Digest128,
    /// Hashes of the state's components, in the order of the header's names.
    pub leaves: Vec<Digest128>,
}

impl Checkpoint {
    /// Returns a checkpoint whose state hash is that of its leaves.
    pub fn new(seq: Seq, at: TimeMs, chain: Digest128, leaves: Vec<Digest128>) -> Self {
        Self { seq, at, chain, state: state_hash(&leaves), leaves }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(34 + self.leaves.len() * LEAF_SIZE_BYTES);
        bytes.extend_from_slice(&self.chain.0);
        bytes.extend_from_slice(&self.state.0);
        bytes.extend_from_slice(&(self.leaves.len() as u16).to_le_bytes());
        for (component, leaf) in (0_u16..).zip(&self.leaves) {
            bytes.extend_from_slice(&component.to_le_bytes());
            bytes.extend_from_slice(&leaf.0);
        }
        bytes
    }

    fn decode(header: &FrameHeader, payload: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(payload);
        let chain = Digest128(fields.array()?);
        let state = Digest128(fields.array()?);
        let leaf_count = fields.u16()?;
        let mut leaves = Vec::new();
        for component in 0..leaf_count {
            (fields.u16()? == component).then_some(())?;
            leaves.push(Digest128(fields.array()?));
        }
        fields.end()?;
        Some(Self { seq: Seq(header.seq), at: TimeMs(header.time_ms), chain, state, leaves })
    }
}

/// Returns the state hash of a state with these leaves: XXH3-128 over their bytes in order.
pub fn state_hash(leaves: &[Digest128]) -> Digest128 {
    let bytes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
    Digest128::of(&bytes)
}

/// The kernel's state at a point of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateImage<'a> {
    /// Number of the last event folded.
    pub seq: Seq,
    /// That event's time.
    pub at: TimeMs,
    /// The state's bytes, as [`super::encode_state`] gives them.
    pub bytes: &'a [u8],
}

/// The last record of a finished trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinalRecord {
    /// Number of the last event folded.
    pub seq: Seq,
    /// That event's time.
    pub at: TimeMs,
    /// Events folded.
    pub event_count: u64,
    /// Chain hash behind the last event.
    pub chain: Digest128,
    /// State hash behind the last event.
    pub state: Digest128,
}

impl FinalRecord {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40);
        bytes.extend_from_slice(&self.event_count.to_le_bytes());
        bytes.extend_from_slice(&self.chain.0);
        bytes.extend_from_slice(&self.state.0);
        bytes
    }

    fn decode(header: &FrameHeader, payload: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(payload);
        let event_count = fields.u64()?;
        let chain = Digest128(fields.array()?);
        let state = Digest128(fields.array()?);
        fields.end()?;
        Some(Self { seq: Seq(header.seq), at: TimeMs(header.time_ms), event_count, chain, state })
    }
}

/// Turns checkpoints and images into the bytes of a trace. A call that fails appends nothing.
#[derive(Debug)]
pub struct TraceEncoder {
    buffer: Vec<u8>,
    component_count: usize,
    checkpoint_last: Option<Seq>,
    image_last: Option<Seq>,
    sealed: bool,
}

impl TraceEncoder {
    /// Starts a trace with its header.
    ///
    /// # Errors
    ///
    /// Those of [`TraceHeader::encode`].
    pub fn new(header: &TraceHeader) -> Result<Self, AppendError> {
        Ok(Self {
            buffer: header.encode()?,
            component_count: header.components.len(),
            checkpoint_last: None,
            image_last: None,
            sealed: false,
        })
    }

    /// Appends a checkpoint.
    ///
    /// # Errors
    ///
    /// [`AppendError::OutOfOrder`] unless its number is past the last checkpoint's; [`AppendError::Invalid`] unless it
    /// has one leaf a component and the state hash of its leaves; [`AppendError::Sealed`].
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), AppendError> {
        if checkpoint.leaves.len() != self.component_count {
            return Err(AppendError::Invalid { what: "number of leaves", found: checkpoint.leaves.len() as u64 });
        }
        if checkpoint.state != state_hash(&checkpoint.leaves) {
            return Err(AppendError::Invalid {
                what: "state hash of the checkpoint at event",
                found: checkpoint.seq.0,
            });
        }
        self.require_growth("checkpoint", self.checkpoint_last, checkpoint.seq)?;
        self.frame(CHECKPOINT_KIND, checkpoint.seq, checkpoint.at, &checkpoint.encode())?;
        self.checkpoint_last = Some(checkpoint.seq);
        Ok(())
    }

    /// Appends what the build did at each event up to `seq`, since the last such record.
    ///
    /// # Errors
    ///
    /// [`AppendError::OutOfOrder`] where its number is before the last record's; [`AppendError::Frame`] where it is too
    /// large; [`AppendError::Sealed`].
    pub fn behaviours(&mut self, seq: Seq, at: TimeMs, stretches: &[Stretch]) -> Result<(), AppendError> {
        self.require_growth("behaviours", None, seq)?;
        self.frame(BEHAVIOURS_KIND, seq, at, &encode_behaviours(stretches))
    }

    /// Appends a state image.
    ///
    /// # Errors
    ///
    /// [`AppendError::OutOfOrder`] unless its number is past the last image's; [`AppendError::Frame`] where it is too
    /// large; [`AppendError::Sealed`].
    pub fn image(&mut self, image: &StateImage<'_>) -> Result<(), AppendError> {
        self.require_growth("state image", self.image_last, image.seq)?;
        self.frame(IMAGE_KIND, image.seq, image.at, image.bytes)?;
        self.image_last = Some(image.seq);
        Ok(())
    }

    /// Appends the last record.
    ///
    /// # Errors
    ///
    /// [`AppendError::OutOfOrder`] where its number is before the last record's; [`AppendError::Sealed`].
    pub fn finish(&mut self, last: &FinalRecord) -> Result<(), AppendError> {
        self.require_growth("final record", None, last.seq)?;
        self.frame(FINAL_KIND, last.seq, last.at, &last.encode())?;
        self.sealed = true;
        Ok(())
    }

    /// Returns the bytes that were not taken yet.
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes the bytes that were not taken yet.
    pub fn take_pending(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Numbers never fall from record to record, and grow among records of one kind, whose last was `last`.
    fn require_growth(&self, what: &'static str, last: Option<Seq>, found: Seq) -> Result<(), AppendError> {
        let error = |last: Seq| AppendError::OutOfOrder { what, last: last.0, found: found.0 };
        match (self.checkpoint_last.max(self.image_last), last) {
            (Some(reached), _) if found < reached => Err(error(reached)),
            (_, Some(last)) if found <= last => Err(error(last)),
            (_, _) => Ok(()),
        }
    }

    fn frame(&mut self, kind: u16, seq: Seq, at: TimeMs, payload: &[u8]) -> Result<(), AppendError> {
        if self.sealed {
            return Err(AppendError::Sealed);
        }
        let header = FrameHeader { kind, version: CONTROL_VERSION, seq: seq.0, time_ms: at.0 };
        encode_frame(&header, payload, &mut self.buffer).map_err(AppendError::Frame)?;
        Ok(())
    }
}

/// A trace read from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace<'a> {
    /// Its header.
    pub header: TraceHeader,
    /// Its checkpoints, in order.
    pub checkpoints: Vec<Checkpoint>,
    /// Its state images, in order. They mean something only to a build with the header's state fingerprint.
    pub images: Vec<StateImage<'a>>,
    /// What the build did at each event, in order.
    pub behaviours: Vec<Behaviours<'a>>,
    /// Its last record; `None` where the trace was never finished.
    pub last: Option<FinalRecord>,
    /// How the file ends.
    pub tail: Tail,
}

impl<'a> Trace<'a> {
    /// Reads the trace in `bytes`. `file` is named in errors.
    ///
    /// A torn tail is no error: it is in [`Trace::tail`].
    ///
    /// # Errors
    ///
    /// [`LogError::Header`] and [`LogError::Read`].
    pub fn read(file: &str, bytes: &'a [u8]) -> Result<Self, LogError> {
        let (header, start) = TraceHeader::decode(file, bytes)?;
        let mut trace = Self {
            header,
            checkpoints: Vec::new(),
            images: Vec::new(),
            behaviours: Vec::new(),
            last: None,
            tail: Tail::Clean,
        };
        let mut offset = start;
        let mut reached = Seq(0);
        while offset < bytes.len() {
            let rest = &bytes[offset..];
            let failed = |fault| ReadError {
                file: file.to_string(),
                offset: offset as u64,
                next_seq: Seq(reached.0.saturating_add(1)),
                fault,
            };
            if trace.last.is_some() {
                return Err(failed(ReadFault::BehindEnd { bytes: rest.len() as u64 }).into());
            }
            match decode_frame(rest) {
                Ok(frame) => {
                    trace.take(&frame, reached).map_err(failed)?;
                    reached = Seq(frame.header.seq);
                    offset += frame.size_bytes();
                }
                Err(fault) => {
                    trace.tail = judge_tail(rest, offset as u64, reached, fault).map_err(failed)?;
                    break;
                }
            }
        }
        Ok(trace)
    }

    /// Returns the last checkpoint at or before `seq`.
    pub fn checkpoint_before(&self, seq: Seq) -> Option<&Checkpoint> {
        let behind = self.checkpoints.partition_point(|checkpoint| checkpoint.seq <= seq);
        self.checkpoints[..behind].last()
    }

    /// Returns the last state image at or before `seq`.
    pub fn image_before(&self, seq: Seq) -> Option<&StateImage<'a>> {
        let behind = self.images.partition_point(|image| image.seq <= seq);
        self.images[..behind].last()
    }

    fn take(&mut self, frame: &Frame<'a>, reached: Seq) -> Result<(), ReadFault> {
        let header = &frame.header;
        let (seq, at) = (Seq(header.seq), TimeMs(header.time_ms));
        let malformed = |record, what| ReadFault::Malformed { record, what };
        let layout = "its fields are not those of its kind";
        if seq < reached {
            return Err(ReadFault::SequenceGap { found: seq.0 });
        }
        match (header.kind, header.version) {
            (CHECKPOINT_KIND, CONTROL_VERSION) => {
                let checkpoint =
                    Checkpoint::decode(header, frame.payload).ok_or_else(|| malformed("checkpoint", layout))?;
                if self.checkpoints.last().is_some_and(|last| seq <= last.seq) {
                    return Err(ReadFault::SequenceGap { found: seq.0 });
                }
                if checkpoint.leaves.len() != self.header.components.len() {
                    return Err(malformed("checkpoint", "it has not one leaf a component"));
                }
                if checkpoint.state != state_hash(&checkpoint.leaves) {
                    return Err(malformed("checkpoint", "its state hash is not that of its leaves"));
                }
                self.checkpoints.push(checkpoint);
            }
            (IMAGE_KIND, CONTROL_VERSION) => {
                if self.images.last().is_some_and(|last| seq <= last.seq) {
                    return Err(ReadFault::SequenceGap { found: seq.0 });
                }
                self.images.push(StateImage { seq, at, bytes: frame.payload });
            }
            (FINAL_KIND, CONTROL_VERSION) => {
                let last = FinalRecord::decode(header, frame.payload).ok_or_else(|| malformed("final", layout))?;
                self.last = Some(last);
            }
            (BEHAVIOURS_KIND, CONTROL_VERSION) => {
                let behaviours =
                    Behaviours::decode(seq, frame.payload).ok_or_else(|| malformed("behaviours", layout))?;
                if self.behaviours.last().is_some_and(|last| behaviours.first <= last.last) {
                    return Err(malformed("behaviours", "it covers events that the one before covers"));
                }
                self.behaviours.push(behaviours);
            }
            (kind, _) if kind >= NOTE_KIND_MIN => {}
            (kind, version) => return Err(ReadFault::UnknownRecord { kind, version }),
        }
        Ok(())
    }
}

/// Tells how a trace ends where no sound frame follows, or that this is no end.
fn judge_tail(rest: &[u8], offset: u64, reached: Seq, fault: FrameFault) -> Result<Tail, ReadFault> {
    let bytes = rest.len() as u64;
    if rest.iter().all(|byte| *byte == 0) {
        return Ok(Tail::Zeroed { offset, bytes });
    }
    match find_frame(rest, 1, reached.0..=u64::MAX) {
        Found::Nothing => Ok(Tail::Torn { offset, bytes, fault }),
        Found::At(place) => Err(ReadFault::Corrupt { fault, sound_offset: offset + place as u64 }),
        Found::Undecided => Err(ReadFault::CorruptUndecided { fault }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENTS: [&str; 7] = ["feeds", "orders", "ledger", "groups", "session", "latch", "monitors"];

    fn header() -> TraceHeader {
        TraceHeader {
            behaviour_version: 3,
            checkpoint_stride_events: 16,
            image_stride_events: 64,
            state_fingerprint: Digest128([1; 16]),
            event_schema: Digest128([2; 16]),
            scenario_digest: Digest256([3; 32]),
            seed: 42,
            components: COMPONENTS.map(String::from).to_vec(),
        }
    }

    fn checkpoint(seq: u64) -> Checkpoint {
        let leaves = (0..7).map(|leaf| Digest128::of(&[leaf, seq as u8])).collect();
        Checkpoint::new(Seq(seq), TimeMs(seq as i64 * 100), Digest128::of(&seq.to_le_bytes()), leaves)
    }

    fn last() -> FinalRecord {
        let checkpoint = checkpoint(40);
        FinalRecord {
            seq: checkpoint.seq,
            at: checkpoint.at,
            event_count: 40,
            chain: checkpoint.chain,
            state: checkpoint.state,
        }
    }

    fn encoded() -> Vec<u8> {
        let mut trace = TraceEncoder::new(&header()).unwrap();
        trace.image(&StateImage { seq: Seq(0), at: TimeMs(0), bytes: b"first" }).unwrap();
        trace.checkpoint(&checkpoint(16)).unwrap();
        trace.behaviours(Seq(32), TimeMs(3200), &[Stretch { event_count: 32, digest: 1 }]).unwrap();
        trace.checkpoint(&checkpoint(32)).unwrap();
        trace.image(&StateImage { seq: Seq(32), at: TimeMs(3200), bytes: b"second" }).unwrap();
        trace.finish(&last()).unwrap();
        trace.take_pending()
    }

    #[test]
    fn a_trace_comes_back() {
        let bytes = encoded();
        assert_eq!(bytes, encoded());
        let trace = Trace::read("x.trace", &bytes).unwrap();
        assert_eq!(trace.header, header());
        assert_eq!(trace.checkpoints, [checkpoint(16), checkpoint(32)]);
        let [behaviours] = trace.behaviours[..] else { panic!("{trace:?}") };
        assert_eq!((behaviours.first, behaviours.last), (Seq(1), Seq(32)));
        assert_eq!(behaviours.stretches().collect::<Vec<_>>(), [Stretch { event_count: 32, digest: 1 }]);
        let images: Vec<_> = trace.images.iter().map(|image| (image.seq.0, image.bytes)).collect();
        assert_eq!(images, [(0, &b"first"[..]), (32, b"second")]);
        assert_eq!((trace.last, trace.tail), (Some(last()), Tail::Clean));
    }

    #[test]
    fn the_nearest_before_is_found() {
        let bytes = encoded();
        let trace = Trace::read("x.trace", &bytes).unwrap();
        let nearest = |seq| {
            let checkpoint = trace.checkpoint_before(Seq(seq)).map(|checkpoint| checkpoint.seq.0);
            (checkpoint, trace.image_before(Seq(seq)).map(|image| image.seq.0))
        };
        let expected =
            [(0, (None, Some(0))), (16, (Some(16), Some(0))), (31, (Some(16), Some(0))), (99, (Some(32), Some(32)))];
        for (seq, expected) in expected {
            assert_eq!(nearest(seq), expected, "at {seq}");
        }
    }

    #[test]
    fn a_checkpoint_is_lean() {
        let mut bytes = Vec::new();
        let header = FrameHeader { kind: CHECKPOINT_KIND, version: 1, seq: 1, time_ms: 1 };
        encode_frame(&header, &checkpoint(1).encode(), &mut bytes).unwrap();
        assert_eq!(bytes.len(), 28 + 34 + 7 * 18);
    }

    #[test]
    fn every_cut_keeps_the_whole_records_before_it() {
        let bytes = encoded();
        let (_, start) = TraceHeader::decode("x.trace", &bytes).unwrap();
        // Image, checkpoint, behaviours, checkpoint, image.
        let sizes = [28 + 5, 188, 28 + 12, 188, 28 + 6];
        let ends: Vec<usize> = (1..=5).map(|count| start + sizes[..count].iter().sum::<usize>()).collect();
        let whole_before = |cut| ends.iter().filter(|end| **end <= cut).count();
        for cut in 0..bytes.len() {
            match Trace::read("x.trace", &bytes[..cut]) {
                Ok(trace) => {
                    assert!(cut >= start, "cut {cut}");
                    let found = trace.checkpoints.len() + trace.images.len() + trace.behaviours.len();
                    assert_eq!(found, whole_before(cut), "cut {cut}");
                    assert_eq!(trace.last, None);
                    for (found, expected) in trace.checkpoints.iter().zip([checkpoint(16), checkpoint(32)]) {
                        assert_eq!(*found, expected, "cut {cut}");
                    }
                    match trace.tail {
                        Tail::Clean => {}
                        Tail::Torn { offset, bytes, .. } => assert_eq!(offset + bytes, cut as u64),
                        Tail::Zeroed { .. } => panic!("cut {cut}"),
                    }
                }
                Err(error) => assert!(cut < start, "cut {cut}: {error}"),
            }
        }
    }

    #[test]
    fn every_flip_is_seen() {
        let sound = encoded();
        for bit in 0..sound.len() * 8 {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match Trace::read("x.trace", &bytes) {
                Ok(trace) => assert!(matches!(trace.tail, Tail::Torn { .. }) && trace.last.is_none(), "bit {bit}"),
                Err(error) => assert!(error.to_string().starts_with("x.trace: "), "bit {bit}: {error}"),
            }
        }
    }

    #[test]
    fn what_no_reader_accepts_is_not_written() {
        let mut trace = TraceEncoder::new(&header()).unwrap();
        trace.checkpoint(&checkpoint(16)).unwrap();
        let size_bytes = trace.pending().len();
        let mut other = checkpoint(17);
        other.state = Digest128::ZERO;
        let mut fewer = checkpoint(17);
        fewer.leaves.pop();
        for wrong in [checkpoint(16), checkpoint(15), other, fewer] {
            assert!(trace.checkpoint(&wrong).is_err(), "{wrong:?}");
        }
        assert!(trace.image(&StateImage { seq: Seq(15), at: TimeMs(0), bytes: b"" }).is_err());
        assert_eq!(trace.pending().len(), size_bytes);
        trace.finish(&last()).unwrap();
        assert!(matches!(trace.checkpoint(&checkpoint(50)), Err(AppendError::Sealed)));
        let mut twice = header();
        twice.components[1] = "feeds".to_string();
        assert!(TraceEncoder::new(&twice).is_err());
        let mut never = header();
        never.checkpoint_stride_events = 0;
        assert!(TraceEncoder::new(&never).is_err());
    }

    #[test]
    fn a_trace_belongs_to_its_log() {
        let log = LogHeader {
            segment: 0,
            first_seq: Seq(1),
            seed: 42,
            event_schema: Digest128([2; 16]),
            scenario_digest: Digest256([3; 32]),
            previous_digest: Digest128::ZERO,
            tool_version: "0.1.0".to_string(),
            drill: "d".to_string(),
        };
        header().require_log("x.trace", &log).unwrap();
        let others = [
            LogHeader { seed: 43, ..log.clone() },
            LogHeader { scenario_digest: Digest256([4; 32]), ..log.clone() },
            LogHeader { event_schema: Digest128([4; 16]), ..log.clone() },
        ];
        for other in others {
            assert!(header().require_log("x.trace", &other).is_err(), "{other:?}");
        }
        let refused = Trace::read("x.wal", &log.encode().unwrap()).unwrap_err().to_string();
        assert!(refused.contains("not a trace"), "{refused}");
    }
}
