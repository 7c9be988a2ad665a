//! Reading a log from its bytes. A reader never writes.

use drillfold_kernel::event::Event;
use drillfold_kernel::units::{Seq, TimeMs};

use super::control::{EVENT_KIND_MAX, End, FeedFrame, IndexEntry, Mark};
use super::cursor::{Control, Cursor, Digests, Step, StepError, record_type};
use super::digest::Digest128;
use super::error::{FrameFault, HeaderError, LogError, ReadError, ReadFault, RecordError};
use super::frame::{Frame, FrameHeader};
use super::header::LogHeader;
use super::record::{EventView, RecordType, decode_event, decode_event_into, view_event};

/// One record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord<'a> {
    /// Where its frame starts, bytes from the file's start.
    pub offset: u64,
    /// The event's number; for any other record that of the next event.
    pub seq: Seq,
    /// When it was recorded, on the run's clock.
    pub at: TimeMs,
    /// What it says.
    pub body: RecordBody<'a>,
}

/// What a record of a log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordBody<'a> {
    /// A fact the kernel was told.
    Event(RawEvent<'a>),
    /// A note about the world.
    Mark(Mark),
    /// A frame of a live feed.
    Frame(FeedFrame<'a>),
    /// The start of a batch.
    Batch {
        /// Every event up to this number, inclusive, was durable before the batch was written.
        durable_seq: Seq,
    },
    /// Where events lie in this file.
    Index(Vec<IndexEntry>),
    /// The last record.
    End(End),
    /// A note of a newer build that may be skipped.
    Unknown(RawNote<'a>),
}

/// A note that this build does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawNote<'a> {
    /// Which note, in which version of its record.
    pub record_type: RecordType,
    /// Its payload.
    pub payload: &'a [u8],
}

/// An event whose payload was not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawEvent<'a> {
    /// Which event, in which version of its record.
    pub record_type: RecordType,
    /// Its archived payload.
    pub payload: &'a [u8],
    checked_bytes: &'a [u8],
}

impl<'a> RawEvent<'a> {
    /// Returns the event of a sound frame whose kind is one of events.
    #[inline]
    pub(super) fn from_frame(frame: &Frame<'a>) -> Self {
        Self { record_type: record_type(&frame.header), payload: frame.payload, checked_bytes: frame.checked_bytes }
    }

    /// Decodes the payload. The log's event schema must be known ([`LogHeader::require_known_schema`]).
    ///
    /// # Errors
    ///
    /// [`RecordError`].
    pub fn decode(&self) -> Result<Event, RecordError> {
        decode_event(self.record_type, self.payload)
    }

    /// Decodes the payload into `event`. Where the event that stands there has lists of levels or trades and so has
    /// this one, their memory is used again, so that going through a log of ticks allocates nothing.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; then `event` holds some event, but not this one.
    pub fn decode_into(&self, event: &mut Event) -> Result<(), RecordError> {
        decode_event_into(self.record_type, self.payload, event)
    }

    /// Looks at the payload where it lies, after checking that it is well formed. Nothing is copied or allocated.
    ///
    /// # Errors
    ///
    /// [`RecordError`].
    pub fn view(&self) -> Result<EventView<'a>, RecordError> {
        view_event(self.record_type, self.payload)
    }

    /// The frame without its checksum field, as event digests take it.
    pub(super) fn checked_bytes(&self) -> &'a [u8] {
        self.checked_bytes
    }
}

/// How a log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// With its last record.
    Clean,
    /// With zeros, as space that was allocated and not used.
    Zeroed {
        /// Where they start, bytes from the file's start.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// With an unfinished record and nothing valid behind it, as a crash leaves it.
    Torn {
        /// Where it starts, bytes from the file's start; this is where a repair would cut.
        offset: u64,
        /// Bytes from there to the file's end.
        bytes: u64,
        /// What is wrong with the record.
        fault: FrameFault,
    },
}

/// What a whole log amounts to. Before the last record it speaks of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Events read.
    pub event_count: u64,
    /// Marks read.
    pub mark_count: u64,
    /// Frames of a feed read.
    pub feed_frame_count: u64,
    /// Records skipped because this build does not know them and need not.
    pub unknown_count: u64,
    /// The number the next event would have.
    pub next_seq: Seq,
    /// Highest event number that a batch called durable; the number before the first event where none did.
    pub durable_seq: Seq,
    /// The last record, where the log is sealed.
    pub end: Option<End>,
    /// How the file ends.
    pub tail: Tail,
    /// Size of header and whole records, bytes.
    pub sound_bytes: u64,
    /// XXH3-128 over all event frames read, each without its checksum field.
    pub event_digest: Digest128,
}

impl<'a> LogRecord<'a> {
    /// Makes the record of a frame that a cursor found to fit.
    #[inline]
    pub(super) fn from_frame(offset: u64, frame: &Frame<'a>) -> Self {
        let body = if frame.header.kind <= EVENT_KIND_MAX {
            RecordBody::Event(RawEvent::from_frame(frame))
        } else if let Some(kept) = FeedFrame::decode(frame.header.kind, frame.header.version, frame.payload) {
            RecordBody::Frame(kept)
        } else {
            RecordBody::Unknown(RawNote { record_type: record_type(&frame.header), payload: frame.payload })
        };
        Self { offset, seq: Seq(frame.header.seq), at: TimeMs(frame.header.time_ms), body }
    }

    /// Makes the record of what a cursor has decoded already.
    pub(super) fn from_control(offset: u64, header: &FrameHeader, record: Control) -> Self {
        let body = match record {
            Control::Mark(mark) => RecordBody::Mark(mark),
            Control::Batch { durable_seq } => RecordBody::Batch { durable_seq },
            Control::Index(entries) => RecordBody::Index(entries),
            Control::End(end) => RecordBody::End(end),
        };
        Self { offset, seq: Seq(header.seq), at: TimeMs(header.time_ms), body }
    }
}

/// Reads the records of one log file in order, from its bytes in memory.
///
/// After an error or the end it yields nothing more. What the end was like is in [`LogReader::summary`].
#[derive(Debug)]
pub struct LogReader<'a> {
    file: String,
    bytes: &'a [u8],
    header: LogHeader,
    cursor: Cursor,
}

impl<'a> LogReader<'a> {
    /// Reads the header of the log in `bytes`. `file` is named in errors.
    ///
    /// # Errors
    ///
    /// [`HeaderError`].
    pub fn open(file: &str, bytes: &'a [u8]) -> Result<Self, HeaderError> {
        Self::open_with(file, bytes, Digests::Check)
    }

    /// As [`LogReader::open`], and says whether the event digest is computed. A reader that skips it is faster, and its
    /// summary has zeros in the digest's place.
    ///
    /// # Errors
    ///
    /// [`HeaderError`].
    pub fn open_with(file: &str, bytes: &'a [u8], digests: Digests) -> Result<Self, HeaderError> {
        let (header, size_bytes) = LogHeader::decode(file, bytes)?;
        let cursor = Cursor::new(&header, size_bytes as u64, digests);
        Ok(Self { file: file.to_string(), bytes, header, cursor })
    }

    /// Returns the header.
    pub fn header(&self) -> &LogHeader {
        &self.header
    }

    /// Returns what was read so far; after the last record, what the whole log amounts to.
    pub fn summary(&self) -> Summary {
        self.cursor.summary()
    }

    /// Returns the next record, or `None` at the end, torn or not.
    ///
    /// # Errors
    ///
    /// [`ReadError`], once; then `None`.
    pub fn next_record(&mut self) -> Result<Option<LogRecord<'a>>, ReadError> {
        let mut source = self.bytes;
        let found = self.cursor.step_event(&source);
        if let Some((offset, header, size_bytes)) = found.map(|(at, frame)| (at, frame.header, frame.size_bytes())) {
            let frame = loaded_frame_of(self.bytes, offset, header, size_bytes);
            return Ok(Some(LogRecord::from_frame(offset, &frame)));
        }
        match self.cursor.step(&mut source) {
            Ok(Some(Step::Frame { offset, header, size_bytes })) => {
                let frame = loaded_frame_of(self.bytes, offset, header, size_bytes);
                Ok(Some(LogRecord::from_frame(offset, &frame)))
            }
            Ok(Some(Step::Control { offset, header, record })) => {
                Ok(Some(LogRecord::from_control(offset, &header, record)))
            }
            Ok(None) => Ok(None),
            Err(StepError::Read(fault)) => Err(self.error(fault)),
            Err(StepError::Source(never)) => match never {},
        }
    }

    fn error(&self, fault: ReadFault) -> ReadError {
        let (offset, next_seq) = (self.cursor.offset(), self.cursor.next_seq());
        ReadError { file: self.file.clone(), offset, next_seq, fault }
    }
}

/// Returns the frame at `offset` of the whole file, with the file's lifetime.
fn loaded_frame_of(bytes: &[u8], offset: u64, header: FrameHeader, size_bytes: usize) -> Frame<'_> {
    let start = offset as usize;
    Frame::checked_before(header, &bytes[start..start + size_bytes])
}

impl<'a> Iterator for LogReader<'a> {
    type Item = Result<LogRecord<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().transpose()
    }
}

/// A whole log as events and marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedLog {
    /// Its header.
    pub header: LogHeader,
    /// Its events; entry `i` has the number `header.first_seq + i`.
    pub entries: Vec<LogEntry>,
    /// Its marks, in order.
    pub marks: Vec<PlacedMark>,
    /// What it amounts to, and how it ends.
    pub summary: Summary,
}

/// An event of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its number.
    pub seq: Seq,
    /// When it happened.
    pub at: TimeMs,
    /// What happened.
    pub event: Event,
}

/// A mark of a log, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedMark {
    /// Number of the event it precedes.
    pub seq: Seq,
    /// When it was made.
    pub at: TimeMs,
    /// What it says.
    pub mark: Mark,
}

/// Reads a whole log into memory. `file` is named in errors.
///
/// A torn or zeroed tail is no error: it is in [`DecodedLog::summary`], as is whether the log is sealed. A caller that
/// needs a sealed log asks there.
///
/// # Errors
///
/// [`LogError`].
pub fn read_log(file: &str, bytes: &[u8]) -> Result<DecodedLog, LogError> {
    let mut reader = LogReader::open(file, bytes)?;
    reader.header().require_known_schema(file)?;
    let mut entries = Vec::new();
    let mut marks = Vec::new();
    while let Some(LogRecord { offset, seq, at, body }) = reader.next_record()? {
        match body {
            RecordBody::Event(event) => {
                let event =
                    event.decode().map_err(|fault| LogError::Decode { file: file.to_string(), offset, seq, fault })?;
                entries.push(LogEntry { seq, at, event });
            }
            RecordBody::Mark(mark) => marks.push(PlacedMark { seq, at, mark }),
            RecordBody::Frame(_)
            | RecordBody::Batch { .. }
            | RecordBody::Index(_)
            | RecordBody::End(_)
            | RecordBody::Unknown(_) => {}
        }
    }
    Ok(DecodedLog { summary: reader.summary(), header: reader.header, entries, marks })
}
