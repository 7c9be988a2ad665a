//! Turning events and notes into the bytes of a log file, without touching one.

use std::mem;
use std::ops::Range;

use drillfold_kernel::event::Event;
use drillfold_kernel::units::{Seq, TimeMs};

use super::control::{
    BATCH_KIND, CONTROL_VERSION, END_KIND, EVENT_KIND_MAX, End, FEED_FRAME_KIND, FeedFrame, INDEX_ENTRY_COUNT_MAX,
    INDEX_ENTRY_SIZE_BYTES, INDEX_KIND, IndexEntry, MARK_KIND, MARK_NAME_SIZE_BYTES_MAX, Mark, encode_batch,
    encode_index,
};
use super::digest::{Digest128, EventDigest};
use super::error::{AppendError, ResumeError};
use super::frame::{FRAME_HEADER_SIZE_BYTES, FrameHeader, encode_frame};
use super::header::LogHeader;
use super::log_reader::{LogReader, LogRecord, RecordBody, Summary, Tail};
use super::record::{RecordType, encode_event, event_schema_fingerprint};

/// Events from one index entry to the next, while the index has room.
const INDEX_STRIDE_EVENTS: u64 = 1024;

/// Size of a batch's frame, bytes.
pub(super) const BATCH_FRAME_SIZE_BYTES: u64 = FRAME_HEADER_SIZE_BYTES as u64 + 8;

/// Size of an end's frame, bytes.
const END_FRAME_SIZE_BYTES: u64 = FRAME_HEADER_SIZE_BYTES as u64 + 48;

/// Turns events and notes into the bytes of one log file.
///
/// The bytes depend on the calls alone. A call that fails appends nothing.
#[derive(Debug)]
pub struct LogEncoder {
    buffer: Vec<u8>,
    payload: Vec<u8>,
    taken_bytes: u64,
    first_seq: Seq,
    next_seq: Seq,
    durable_seq: Seq,
    mark_count: u64,
    at_last: TimeMs,
    at_max: TimeMs,
    digest: EventDigest,
    index: Index,
    index_offset: u64,
    sealed: bool,
}

/// What an encoder has to know of the records before it in order to go on behind them.
#[derive(Debug)]
pub(super) struct RecordsBefore {
    first_seq: Seq,
    at_last: TimeMs,
    at_max: TimeMs,
    digest: EventDigest,
    index: Index,
    index_offset: u64,
}

impl RecordsBefore {
    /// Begins with the file that has this header, of which no record was read.
    pub(super) fn new(header: &LogHeader) -> Self {
        Self {
            first_seq: header.first_seq,
            at_last: TimeMs(0),
            at_max: TimeMs(i64::MIN),
            digest: EventDigest::new(),
            index: Index::new(),
            index_offset: 0,
        }
    }

    /// Takes the next record of the file.
    pub(super) fn push(&mut self, record: &LogRecord<'_>) {
        self.at_last = record.at;
        match &record.body {
            RecordBody::Event(event) => {
                self.at_max = self.at_max.max(record.at);
                self.digest.push(event.checked_bytes());
                let entry = IndexEntry { seq: record.seq, at_max: self.at_max, offset: record.offset };
                self.index.note(record.seq.0 - self.first_seq.0, entry);
            }
            RecordBody::Index(_) => self.index_offset = record.offset,
            RecordBody::Batch { .. }
            | RecordBody::Mark(_)
            | RecordBody::Frame(_)
            | RecordBody::End(_)
            | RecordBody::Unknown(_) => {}
        }
    }

    /// Returns the encoder that goes on behind the last record, where the file's reader came to `summary`. It refuses
    /// everything where the file is sealed.
    pub(super) fn into_encoder(self, summary: &Summary) -> LogEncoder {
        let Self { first_seq, at_last, at_max, digest, index, index_offset } = self;
        LogEncoder {
            buffer: Vec::new(),
            payload: Vec::new(),
            taken_bytes: summary.sound_bytes,
            first_seq,
            next_seq: summary.next_seq,
            durable_seq: summary.durable_seq,
            mark_count: summary.mark_count,
            at_last,
            at_max,
            digest,
            index,
            index_offset,
            sealed: summary.end.is_some(),
        }
    }
}

impl LogEncoder {
    /// Starts a file with its header.
    ///
    /// # Errors
    ///
    /// Those of [`LogHeader::encode`].
    pub fn new(header: &LogHeader) -> Result<Self, AppendError> {
        let buffer = header.encode()?;
        Ok(Self {
            buffer,
            payload: Vec::new(),
            taken_bytes: 0,
            first_seq: header.first_seq,
            next_seq: header.first_seq,
            durable_seq: Seq(header.first_seq.0.saturating_sub(1)),
            mark_count: 0,
            at_last: TimeMs(0),
            at_max: TimeMs(i64::MIN),
            digest: EventDigest::new(),
            index: Index::new(),
            index_offset: 0,
            sealed: false,
        })
    }

    /// Goes on behind the last record of the log in `bytes`. `file` is named in errors.
    ///
    /// The new encoder holds no bytes of the old ones.
    ///
    /// # Errors
    ///
    /// [`ResumeError`], also for a log that is sealed or does not end with a whole record.
    pub fn resume(file: &str, bytes: &[u8]) -> Result<Self, ResumeError> {
        let mut reader = LogReader::open(file, bytes)?;
        let mut before = RecordsBefore::new(reader.header());
        while let Some(record) = reader.next_record()? {
            before.push(&record);
        }
        let summary = reader.summary();
        if summary.end.is_some() {
            return Err(ResumeError::Sealed { file: file.to_string() });
        }
        require_own_schema(file, reader.header())?;
        match summary.tail {
            Tail::Clean => Ok(before.into_encoder(&summary)),
            Tail::Zeroed { offset, bytes } | Tail::Torn { offset, bytes, .. } => {
                Err(ResumeError::Tail { file: file.to_string(), offset, bytes })
            }
        }
    }

    /// Appends an event and returns the number it got.
    ///
    /// # Errors
    ///
    /// [`AppendError::Sealed`], [`AppendError::Record`], [`AppendError::Frame`], [`AppendError::SequenceOverflow`].
    pub fn event(&mut self, at: TimeMs, event: &Event) -> Result<Seq, AppendError> {
        let mut payload = mem::take(&mut self.payload);
        let record_type = encode_event(event, &mut payload).map_err(AppendError::Record);
        let appended = record_type.and_then(|record_type| self.raw_event(at, record_type, &payload));
        self.payload = payload;
        appended
    }

    /// Appends an event whose payload is archived already, and returns the number it got.
    ///
    /// # Errors
    ///
    /// As [`LogEncoder::event`], and [`AppendError::NotAnEventKind`].
    pub fn raw_event(&mut self, at: TimeMs, record_type: RecordType, payload: &[u8]) -> Result<Seq, AppendError> {
        let following = self.check_event(record_type)?;
        let seq = self.next_seq;
        let offset = self.offset();
        let checked = self.frame(record_type.kind, record_type.version, at, payload)?;
        self.digest.push(&self.buffer[checked]);
        self.at_max = self.at_max.max(at);
        let entry = IndexEntry { seq, at_max: self.at_max, offset };
        self.index.note(seq.0 - self.first_seq.0, entry);
        self.next_seq = following;
        Ok(seq)
    }

    /// Appends a mark in front of the next event; it takes no sequence number.
    ///
    /// # Errors
    ///
    /// [`AppendError::Sealed`], [`AppendError::TextTooLong`].
    pub fn mark(&mut self, at: TimeMs, mark: &Mark) -> Result<(), AppendError> {
        check_mark(mark)?;
        self.frame(MARK_KIND, CONTROL_VERSION, at, &mark.encode())?;
        self.mark_count += 1;
        Ok(())
    }

    /// Appends a frame of a feed in front of the next event; it takes no sequence number.
    ///
    /// # Errors
    ///
    /// [`AppendError::Sealed`]; [`AppendError::Frame`] for a text that no payload can hold.
    pub fn feed_frame(&mut self, at: TimeMs, frame: &FeedFrame<'_>) -> Result<(), AppendError> {
        let mut payload = mem::take(&mut self.payload);
        frame.encode(&mut payload);
        let appended = self.frame(FEED_FRAME_KIND, CONTROL_VERSION, at, &payload);
        self.payload = payload;
        appended.map(drop)
    }

    /// Appends a note that this build does not know, as it was read.
    pub(super) fn raw_note(&mut self, at: TimeMs, record_type: RecordType, payload: &[u8]) -> Result<(), AppendError> {
        self.frame(record_type.kind, record_type.version, at, payload).map(drop)
    }

    /// Begins a batch: records that every event up to `durable_seq`, inclusive, was durable by then.
    ///
    /// # Errors
    ///
    /// [`AppendError::Sealed`]; [`AppendError::OutOfOrder`] for a number below the last one given or past the last
    /// event.
    pub fn batch(&mut self, durable_seq: Seq) -> Result<(), AppendError> {
        if durable_seq < self.durable_seq || durable_seq >= self.next_seq {
            let (last, found) = (self.durable_seq.0, durable_seq.0);
            return Err(AppendError::OutOfOrder { what: "durable sequence number", last, found });
        }
        self.frame(BATCH_KIND, CONTROL_VERSION, self.at_last, &encode_batch(durable_seq))?;
        self.durable_seq = durable_seq;
        Ok(())
    }

    /// Seals the file: appends its index, if it has enough events for one, and its last record, which is returned.
    ///
    /// # Errors
    ///
    /// [`AppendError::Sealed`].
    pub fn end(&mut self) -> Result<End, AppendError> {
        self.index()?;
        let end = End {
            event_count: self.event_count(),
            mark_count: self.mark_count,
            offset: self.offset(),
            index_offset: self.index_offset,
            event_digest: self.digest.value(),
        };
        self.frame(END_KIND, CONTROL_VERSION, self.at_last, &end.encode())?;
        self.sealed = true;
        Ok(end)
    }

    /// Appends the index if it has entries and is not there yet. Nothing but an end may follow it.
    pub(super) fn index(&mut self) -> Result<(), AppendError> {
        if self.index.entries.is_empty() || self.has_index() {
            return Ok(());
        }
        let offset = self.offset();
        let payload = encode_index(&self.index.entries);
        self.frame(INDEX_KIND, CONTROL_VERSION, self.at_last, &payload)?;
        self.index_offset = offset;
        Ok(())
    }

    /// True where the index was appended, so that only an end can follow.
    pub(super) fn has_index(&self) -> bool {
        self.index_offset != 0
    }

    /// Checks that an event of that type can be appended and returns the number of the one behind it.
    pub(super) fn check_event(&self, record_type: RecordType) -> Result<Seq, AppendError> {
        if record_type.kind > EVENT_KIND_MAX {
            return Err(AppendError::NotAnEventKind { kind: record_type.kind });
        }
        self.next_seq.0.checked_add(1).map(Seq).ok_or(AppendError::SequenceOverflow)
    }

    /// Returns the number the next event will get.
    pub fn next_seq(&self) -> Seq {
        self.next_seq
    }

    /// Returns how many events the file has.
    pub fn event_count(&self) -> u64 {
        self.next_seq.0 - self.first_seq.0
    }

    /// Returns the digest over the file's events so far.
    pub fn event_digest(&self) -> Digest128 {
        self.digest.value()
    }

    /// Returns the size of the file so far, bytes, whether its bytes were taken or not.
    pub fn size_bytes(&self) -> u64 {
        self.offset()
    }

    /// Returns the bytes that were not taken yet.
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes the bytes that were not taken yet.
    pub fn take_pending(&mut self) -> Vec<u8> {
        let bytes = mem::take(&mut self.buffer);
        self.taken_bytes += bytes.len() as u64;
        bytes
    }

    /// Returns how many bytes of the file were taken.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }

    /// Returns the size the file has once it is sealed, with `more_entries` entries in its index beside those it has.
    pub(super) fn sealed_size_bytes(&self, more_entries: usize) -> u64 {
        let index = match (self.index.entries.len() + more_entries).min(INDEX_ENTRY_COUNT_MAX) {
            0 => 0,
            _ if self.has_index() => 0,
            count => FRAME_HEADER_SIZE_BYTES + count * INDEX_ENTRY_SIZE_BYTES,
        };
        self.offset() + index as u64 + END_FRAME_SIZE_BYTES
    }

    /// Forgets the bytes that were not taken yet: they are in the file.
    pub(super) fn clear_pending(&mut self) {
        self.taken_bytes += self.buffer.len() as u64;
        self.buffer.clear();
    }

    /// Where the next frame will start, bytes from the file's start.
    fn offset(&self) -> u64 {
        self.taken_bytes + self.buffer.len() as u64
    }

    fn frame(&mut self, kind: u16, version: u16, at: TimeMs, payload: &[u8]) -> Result<Range<usize>, AppendError> {
        if self.sealed {
            return Err(AppendError::Sealed);
        }
        let header = FrameHeader { kind, version, seq: self.next_seq.0, time_ms: at.0 };
        let checked = encode_frame(&header, payload, &mut self.buffer).map_err(AppendError::Frame)?;
        self.at_last = at;
        Ok(checked)
    }
}

/// Checks that a log takes `mark`.
pub(super) fn check_mark(mark: &Mark) -> Result<(), AppendError> {
    let (size_bytes, size_bytes_max) = (mark.name.len(), MARK_NAME_SIZE_BYTES_MAX);
    if size_bytes > size_bytes_max {
        return Err(AppendError::TextTooLong { field: "name of the mark", size_bytes, size_bytes_max });
    }
    Ok(())
}

/// Checks that this build may append to a file with `header`.
pub(super) fn require_own_schema(file: &str, header: &LogHeader) -> Result<(), ResumeError> {
    let (found, own) = (header.event_schema, event_schema_fingerprint());
    if found != own {
        return Err(ResumeError::OtherSchema { file: file.to_string(), found, own });
    }
    Ok(())
}

/// Collects the entries of a log's index. When they would no longer fit one record, every second one goes.
#[derive(Debug)]
struct Index {
    entries: Vec<IndexEntry>,
    stride_events: u64,
    /// The next event to note: how many are before it in the file.
    next_place: u64,
}

impl Index {
    fn new() -> Self {
        Self { entries: Vec::new(), stride_events: INDEX_STRIDE_EVENTS, next_place: INDEX_STRIDE_EVENTS }
    }

    /// Takes note of the event with `place` events before it in this file, if it is one for the index.
    fn note(&mut self, place: u64, entry: IndexEntry) {
        if place < self.next_place {
            return;
        }
        if self.entries.len() == INDEX_ENTRY_COUNT_MAX {
            self.thin_out();
        }
        // After thinning out the event may lie between two strides of the doubled width.
        self.next_place = place.next_multiple_of(self.stride_events);
        if place == self.next_place {
            self.entries.push(entry);
            self.next_place = place.saturating_add(self.stride_events);
        }
    }

    /// Drops every second entry and doubles the stride, so that places stay multiples of it.
    fn thin_out(&mut self) {
        let mut is_multiple = false;
        self.entries.retain(|_| {
            let kept = is_multiple;
            is_multiple = !is_multiple;
            kept
        });
        self.stride_events = self.stride_events.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_index_loses_every_second_entry_and_goes_on() {
        let mut index = Index::new();
        let entry = |place: u64| IndexEntry { seq: Seq(place + 1), at_max: TimeMs(0), offset: place };
        let count = INDEX_ENTRY_COUNT_MAX as u64 + 3;
        for place in (0..=count).map(|stride| stride * INDEX_STRIDE_EVENTS) {
            index.note(place, entry(place));
            index.note(place + 1, entry(place + 1));
        }
        let expected: Vec<u64> = (1..=count / 2).map(|pair| pair * 2 * INDEX_STRIDE_EVENTS).collect();
        let found: Vec<u64> = index.entries.iter().map(|entry| entry.offset).collect();
        assert!(found == expected, "{} entries, {} expected", found.len(), expected.len());
    }
}
