//! Reading a log from its bytes. A reader never writes.

use drillfold_kernel::event::Event;
use drillfold_kernel::units::{Seq, TimeMs};

use super::control::{
    BATCH_KIND, CONTROL_VERSION, END_KIND, EVENT_KIND_MAX, End, INDEX_KIND, IndexEntry, MARK_KIND, Mark, NOTE_KIND_MIN,
    decode_batch, decode_index,
};
use super::digest::{Digest128, EventDigest};
use super::error::{FrameFault, HeaderError, LogError, ReadError, ReadFault, RecordError};
use super::frame::{FRAME_HEADER_SIZE_BYTES, Found, Frame, decode_frame, find_frame};
use super::header::LogHeader;
use super::record::{RecordType, decode_event};

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
    Unknown(RecordType),
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
    /// Decodes the payload. The log's event schema must be known ([`LogHeader::require_known_schema`]).
    ///
    /// # Errors
    ///
    /// [`RecordError`].
    pub fn decode(&self) -> Result<Event, RecordError> {
        decode_event(self.record_type, self.payload)
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
    /// With an unfinished record, and nothing behind it that says it had been durable, as a crash leaves it.
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

/// Reads the records of one log file in order.
///
/// After an error or the end it yields nothing more. What the end was like is in [`LogReader::summary`].
#[derive(Debug)]
pub struct LogReader<'a> {
    file: String,
    bytes: &'a [u8],
    header: LogHeader,
    offset: usize,
    next_seq: Seq,
    durable_seq: Seq,
    has_batch: bool,
    mark_count: u64,
    unknown_count: u64,
    index_offset: u64,
    digest: EventDigest,
    end: Option<End>,
    tail: Tail,
    done: bool,
}

impl<'a> LogReader<'a> {
    /// Reads the header of the log in `bytes`. `file` is named in errors.
    ///
    /// # Errors
    ///
    /// [`HeaderError`].
    pub fn open(file: &str, bytes: &'a [u8]) -> Result<Self, HeaderError> {
        let (header, offset) = LogHeader::decode(file, bytes)?;
        Ok(Self {
            file: file.to_string(),
            bytes,
            offset,
            next_seq: header.first_seq,
            durable_seq: Seq(header.first_seq.0.saturating_sub(1)),
            header,
            has_batch: false,
            mark_count: 0,
            unknown_count: 0,
            index_offset: 0,
            digest: EventDigest::new(),
            end: None,
            tail: Tail::Clean,
            done: false,
        })
    }

    /// Returns the header.
    pub fn header(&self) -> &LogHeader {
        &self.header
    }

    /// Returns what was read so far; after the last record, what the whole log amounts to.
    pub fn summary(&self) -> Summary {
        Summary {
            event_count: self.next_seq.0 - self.header.first_seq.0,
            mark_count: self.mark_count,
            unknown_count: self.unknown_count,
            next_seq: self.next_seq,
            durable_seq: self.durable_seq,
            end: self.end,
            tail: self.tail,
            sound_bytes: self.offset as u64,
            event_digest: self.digest.value(),
        }
    }

    /// Returns the next record, or `None` at the end, torn or not.
    ///
    /// # Errors
    ///
    /// [`ReadError`], once; then `None`.
    pub fn next_record(&mut self) -> Result<Option<LogRecord<'a>>, ReadError> {
        if self.done {
            return Ok(None);
        }
        let bytes = self.bytes;
        let rest = &bytes[self.offset..];
        if rest.is_empty() {
            self.done = true;
            return Ok(None);
        }
        let frame = match decode_frame(rest) {
            Ok(frame) => frame,
            Err(fault) => {
                self.done = true;
                return self.judge_tail(rest, fault).map(|()| None);
            }
        };
        let record = self.read_frame(&frame).map_err(|fault| {
            self.done = true;
            self.error(fault)
        })?;
        self.offset += frame.size_bytes();
        Ok(Some(record))
    }

    /// Checks a sound frame against its place and decodes it. Counts move only when all of it is right.
    fn read_frame(&mut self, frame: &Frame<'a>) -> Result<LogRecord<'a>, ReadFault> {
        let header = frame.header;
        if header.seq != self.next_seq.0 {
            return Err(ReadFault::SequenceGap { found: header.seq });
        }
        let record_type = RecordType { kind: header.kind, version: header.version };
        let body = if header.kind <= EVENT_KIND_MAX {
            let following = header.seq.checked_add(1).ok_or(ReadFault::SequenceOverflow)?;
            self.digest.push(frame.checked_bytes);
            self.next_seq = Seq(following);
            RecordBody::Event(RawEvent { record_type, payload: frame.payload, checked_bytes: frame.checked_bytes })
        } else {
            self.read_other(record_type, frame)?
        };
        Ok(LogRecord { offset: self.offset as u64, seq: Seq(header.seq), at: TimeMs(header.time_ms), body })
    }

    fn read_other(&mut self, record_type: RecordType, frame: &Frame<'a>) -> Result<RecordBody<'a>, ReadFault> {
        let malformed = |record| ReadFault::Malformed { record, what: "its fields are not those of its kind" };
        match (record_type.kind, record_type.version) {
            (MARK_KIND, CONTROL_VERSION) => {
                let mark = Mark::decode(frame.payload).ok_or_else(|| malformed("mark"))?;
                self.mark_count += 1;
                Ok(RecordBody::Mark(mark))
            }
            (BATCH_KIND, CONTROL_VERSION) => {
                let durable_seq = decode_batch(frame.payload).ok_or_else(|| malformed("batch"))?;
                if durable_seq < self.durable_seq || durable_seq >= self.next_seq {
                    let what = "its durable sequence number goes back, or is past the last event";
                    return Err(ReadFault::Malformed { record: "batch", what });
                }
                self.durable_seq = durable_seq;
                self.has_batch = true;
                Ok(RecordBody::Batch { durable_seq })
            }
            (INDEX_KIND, CONTROL_VERSION) => {
                let entries = decode_index(frame.payload).ok_or_else(|| malformed("index"))?;
                self.check_index(&entries)?;
                self.index_offset = self.offset as u64;
                Ok(RecordBody::Index(entries))
            }
            (END_KIND, CONTROL_VERSION) => {
                let end = End::decode(frame.payload).ok_or_else(|| malformed("end"))?;
                self.check_end(&end, frame)?;
                self.end = Some(end);
                self.done = true;
                Ok(RecordBody::End(end))
            }
            (kind, _) if kind >= NOTE_KIND_MIN => {
                self.unknown_count += 1;
                Ok(RecordBody::Unknown(record_type))
            }
            (kind, version) => Err(ReadFault::UnknownRecord { kind, version }),
        }
    }

    /// Checks that every entry of an index leads to the event it names.
    fn check_index(&self, entries: &[IndexEntry]) -> Result<(), ReadFault> {
        // Frames don't overlap, so no entry may lead into the frame of the one before; this also bounds the work.
        let mut previous_end = 0;
        let mut right = |entry: &IndexEntry| {
            let place = usize::try_from(entry.offset).ok()?;
            let frame = decode_frame(self.bytes.get(place..self.offset)?).ok()?;
            let header = frame.header;
            let named = header.kind <= EVENT_KIND_MAX && header.seq == entry.seq.0 && header.time_ms <= entry.at_max.0;
            let apart = place >= previous_end;
            previous_end = place + frame.size_bytes();
            (named && apart).then_some(())
        };
        if entries.iter().all(|entry| right(entry).is_some()) {
            return Ok(());
        }
        Err(ReadFault::Malformed { record: "index", what: "an entry does not lead to the event it names" })
    }

    fn check_end(&self, end: &End, frame: &Frame<'_>) -> Result<(), ReadFault> {
        let summary = self.summary();
        let differs = |what| Err(ReadFault::Malformed { record: "end", what });
        if end.offset != self.offset as u64 {
            return differs("it was written for another place");
        }
        if end.event_count != summary.event_count || end.mark_count != summary.mark_count {
            return differs("its counts are not those of the records before it");
        }
        if end.index_offset != self.index_offset {
            return differs("the index is not where it says");
        }
        if end.event_digest != summary.event_digest {
            return differs("its digest is not that of the events before it");
        }
        let behind = self.bytes.len() - self.offset - frame.size_bytes();
        if behind > 0 {
            return Err(ReadFault::BehindEnd { bytes: behind as u64 });
        }
        Ok(())
    }

    /// Tells how the file ends where no sound frame follows, or that this is no end.
    fn judge_tail(&mut self, rest: &[u8], fault: FrameFault) -> Result<(), ReadError> {
        let (offset, bytes) = (self.offset as u64, rest.len() as u64);
        if rest.iter().all(|byte| *byte == 0) {
            self.tail = Tail::Zeroed { offset, bytes };
            return Ok(());
        }
        // Whatever follows in this file carries a number from here on, and no more numbers than frames fit.
        let frames_max = (rest.len() / FRAME_HEADER_SIZE_BYTES) as u64;
        let seqs = self.next_seq.0..=self.next_seq.0.saturating_add(frames_max);
        let mut sound_place = None;
        let mut has_batch = self.has_batch;
        let mut from = 1;
        loop {
            match find_frame(rest, from, seqs.clone()) {
                Found::At(place) => {
                    let sound_offset = *sound_place.get_or_insert(offset + place as u64);
                    let Ok(frame) = decode_frame(&rest[place..]) else { break };
                    if self.proves_durable(&frame, &mut has_batch) {
                        return Err(self.error(ReadFault::Corrupt { fault, sound_offset }));
                    }
                    from = place + frame.size_bytes();
                }
                Found::Nothing => break,
                Found::Undecided => return Err(self.error(ReadFault::CorruptUndecided { fault })),
            }
        }
        match sound_place {
            // Nothing in the file says what was durable.
            Some(sound_offset) if !has_batch => Err(self.error(ReadFault::Corrupt { fault, sound_offset })),
            Some(_) | None => {
                self.tail = Tail::Torn { offset, bytes, fault };
                Ok(())
            }
        }
    }

    /// True where a sound frame behind the damage says that what is damaged had been durable.
    fn proves_durable(&self, frame: &Frame<'_>, has_batch: &mut bool) -> bool {
        match (frame.header.kind, frame.header.version) {
            (END_KIND, CONTROL_VERSION) => true,
            (BATCH_KIND, CONTROL_VERSION) => {
                *has_batch = true;
                decode_batch(frame.payload).is_some_and(|durable_seq| durable_seq >= self.next_seq)
            }
            _ => false,
        }
    }

    fn error(&self, fault: ReadFault) -> ReadError {
        ReadError { file: self.file.clone(), offset: self.offset as u64, next_seq: self.next_seq, fault }
    }
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
            RecordBody::Batch { .. } | RecordBody::Index(_) | RecordBody::End(_) | RecordBody::Unknown(_) => {}
        }
    }
    Ok(DecodedLog { summary: reader.summary(), header: reader.header, entries, marks })
}
