//! Writing a log.
//!
//! [`LogEncoder`] turns events and notes into the file's bytes and touches no file; [`LogWriter`] puts them into one.

use std::mem;
use std::path::Path;

use drillfold_kernel::event::Event;
use drillfold_kernel::units::{Seq, TimeMs};

use super::control::{
    BATCH_KIND, CONTROL_VERSION, END_KIND, EVENT_KIND_MAX, End, INDEX_ENTRY_COUNT_MAX, INDEX_KIND, IndexEntry,
    MARK_KIND, MARK_NAME_SIZE_BYTES_MAX, Mark, encode_batch, encode_index,
};
use super::digest::{Digest128, EventDigest};
use super::error::{AppendError, ResumeError};
use super::frame::{FrameHeader, encode_frame};
use super::header::LogHeader;
use super::log_reader::{LogReader, RecordBody, Tail};
use super::record::{RecordType, encode_event, event_schema_fingerprint};
use crate::storage::{AppendFile, Storage};

/// Events from one index entry to the next, while the index has room.
const INDEX_STRIDE_EVENTS: u64 = 1024;

/// Bytes that a [`LogWriter`] collects before it hands them to its file.
const BUFFER_SIZE_BYTES: usize = 64 * 1024;

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
    sealed: bool,
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
        let (first_seq, found) = (reader.header().first_seq, reader.header().event_schema);
        let own = event_schema_fingerprint();
        if found != own {
            return Err(ResumeError::OtherSchema { file: file.to_string(), found, own });
        }
        let mut index = Index::new();
        let mut digest = EventDigest::new();
        let (mut at_last, mut at_max) = (TimeMs(0), TimeMs(i64::MIN));
        while let Some(record) = reader.next_record()? {
            at_last = record.at;
            if let RecordBody::Event(event) = record.body {
                at_max = at_max.max(record.at);
                digest.push(event.checked_bytes());
                index.note(record.seq.0 - first_seq.0, IndexEntry { seq: record.seq, at_max, offset: record.offset });
            }
        }
        let summary = reader.summary();
        let file = || file.to_string();
        if summary.end.is_some() {
            return Err(ResumeError::Sealed { file: file() });
        }
        match summary.tail {
            Tail::Clean => {}
            Tail::Zeroed { offset, bytes } | Tail::Torn { offset, bytes, .. } => {
                return Err(ResumeError::Tail { file: file(), offset, bytes });
            }
        }
        Ok(Self {
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
            sealed: false,
        })
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
        if record_type.kind > EVENT_KIND_MAX {
            return Err(AppendError::NotAnEventKind { kind: record_type.kind });
        }
        let seq = self.next_seq;
        let following = seq.0.checked_add(1).ok_or(AppendError::SequenceOverflow)?;
        let offset = self.offset();
        let checked = self.frame(record_type.kind, record_type.version, at, payload)?;
        self.digest.push(&self.buffer[checked]);
        self.at_max = self.at_max.max(at);
        let entry = IndexEntry { seq, at_max: self.at_max, offset };
        self.index.note(seq.0 - self.first_seq.0, entry);
        self.next_seq = Seq(following);
        Ok(seq)
    }

    /// Appends a mark in front of the next event; it takes no sequence number.
    ///
    /// # Errors
    ///
    /// [`AppendError::Sealed`], [`AppendError::TextTooLong`].
    pub fn mark(&mut self, at: TimeMs, mark: &Mark) -> Result<(), AppendError> {
        let (size_bytes, size_bytes_max) = (mark.name.len(), MARK_NAME_SIZE_BYTES_MAX);
        if size_bytes > size_bytes_max {
            return Err(AppendError::TextTooLong { field: "name of the mark", size_bytes, size_bytes_max });
        }
        self.frame(MARK_KIND, CONTROL_VERSION, at, &mark.encode())?;
        self.mark_count += 1;
        Ok(())
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
        let mut index_offset = 0;
        if !self.index.entries.is_empty() {
            let offset = self.offset();
            let payload = encode_index(&self.index.entries);
            self.frame(INDEX_KIND, CONTROL_VERSION, self.at_last, &payload)?;
            index_offset = offset;
        }
        let end = End {
            event_count: self.event_count(),
            mark_count: self.mark_count,
            offset: self.offset(),
            index_offset,
            event_digest: self.digest.value(),
        };
        self.frame(END_KIND, CONTROL_VERSION, self.at_last, &end.encode())?;
        self.sealed = true;
        Ok(end)
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

    /// Forgets the bytes that were not taken yet: they are in the file.
    fn clear_pending(&mut self) {
        self.taken_bytes += self.buffer.len() as u64;
        self.buffer.clear();
    }

    /// Where the next frame will start, bytes from the file's start.
    fn offset(&self) -> u64 {
        self.taken_bytes + self.buffer.len() as u64
    }

    fn frame(
        &mut self,
        kind: u16,
        version: u16,
        at: TimeMs,
        payload: &[u8],
    ) -> Result<std::ops::Range<usize>, AppendError> {
        if self.sealed {
            return Err(AppendError::Sealed);
        }
        let header = FrameHeader { kind, version, seq: self.next_seq.0, time_ms: at.0 };
        let checked = encode_frame(&header, payload, &mut self.buffer).map_err(AppendError::Frame)?;
        self.at_last = at;
        Ok(checked)
    }
}

/// Collects the entries of a log's index. When they would no longer fit one record, every second one goes.
#[derive(Debug)]
struct Index {
    entries: Vec<IndexEntry>,
    stride_events: u64,
}

impl Index {
    fn new() -> Self {
        Self { entries: Vec::new(), stride_events: INDEX_STRIDE_EVENTS }
    }

    /// Takes note of the event with `place` events before it in this file.
    fn note(&mut self, place: u64, entry: IndexEntry) {
        if place == 0 || !place.is_multiple_of(self.stride_events) {
            return;
        }
        if self.entries.len() == INDEX_ENTRY_COUNT_MAX {
            self.thin_out();
            // The event may lie between two strides of the doubled width.
            return self.note(place, entry);
        }
        self.entries.push(entry);
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

/// Writes a log into a file whose only writer it is.
///
/// Bytes reach the file when 64 KiB have come together, at [`LogWriter::flush`], [`LogWriter::sync`] and
/// [`LogWriter::finish`]. A writer that is dropped before leaves a log without what was not flushed, and unsealed;
/// that is what a crash leaves as well, and every reader takes it.
#[derive(Debug)]
pub struct LogWriter {
    encoder: LogEncoder,
    file: Box<dyn AppendFile>,
    name: String,
    durable_seq: Seq,
    failed: bool,
}

impl LogWriter {
    /// Creates a log at `path`, where nothing may be, and puts its header on durable media.
    ///
    /// # Errors
    ///
    /// [`AppendError::Storage`] when the file exists, another writer has it, or the storage refuses otherwise; those of
    /// [`LogHeader::encode`], before any file is created.
    pub fn create(storage: &dyn Storage, path: &Path, header: &LogHeader) -> Result<Self, AppendError> {
        let encoder = LogEncoder::new(header)?;
        let name = path.display().to_string();
        let file = storage.create_new(path).map_err(|source| AppendError::Storage { file: name.clone(), source })?;
        let durable_seq = Seq(encoder.next_seq.0.saturating_sub(1));
        let mut writer = Self { encoder, file, name, durable_seq, failed: false };
        writer.sync()?;
        Ok(writer)
    }

    /// Opens the log at `path` to go on behind its last record.
    ///
    /// # Errors
    ///
    /// [`ResumeError`]: another writer has the file, or the log is damaged, sealed, or ends in an unfinished record.
    pub fn resume(storage: &dyn Storage, path: &Path) -> Result<Self, ResumeError> {
        let name = path.display().to_string();
        let failed = |source| ResumeError::Storage { file: name.clone(), source };
        // The lock comes first: until it is held, another writer may still be appending.
        let file = storage.open_append(path).map_err(failed)?;
        let bytes = storage.read(path).map_err(failed)?;
        let encoder = LogEncoder::resume(&name, &bytes)?;
        let durable_seq = encoder.durable_seq;
        Ok(Self { encoder, file, name, durable_seq, failed: false })
    }

    /// Appends an event and returns the number it got.
    ///
    /// # Errors
    ///
    /// Those of [`LogEncoder::event`], [`AppendError::Storage`], [`AppendError::Failed`].
    pub fn event(&mut self, at: TimeMs, event: &Event) -> Result<Seq, AppendError> {
        self.require_sound()?;
        let seq = self.encoder.event(at, event)?;
        self.flush_if_full()?;
        Ok(seq)
    }

    /// Appends a mark in front of the next event.
    ///
    /// # Errors
    ///
    /// Those of [`LogEncoder::mark`], [`AppendError::Storage`], [`AppendError::Failed`].
    pub fn mark(&mut self, at: TimeMs, mark: &Mark) -> Result<(), AppendError> {
        self.require_sound()?;
        self.encoder.mark(at, mark)?;
        self.flush_if_full()
    }

    /// Hands everything to the storage, without waiting for durable media.
    ///
    /// # Errors
    ///
    /// [`AppendError::Storage`], [`AppendError::Failed`].
    pub fn flush(&mut self) -> Result<(), AppendError> {
        self.require_sound()?;
        if self.encoder.pending().is_empty() {
            return Ok(());
        }
        let appended = self.file.append(self.encoder.pending());
        self.settle(appended)?;
        self.encoder.clear_pending();
        Ok(())
    }

    /// Puts everything on durable media and returns the number of the last durable event.
    ///
    /// # Errors
    ///
    /// [`AppendError::Storage`], [`AppendError::Failed`].
    pub fn sync(&mut self) -> Result<Seq, AppendError> {
        self.flush()?;
        let synced = self.file.sync();
        self.settle(synced)?;
        self.durable_seq = Seq(self.encoder.next_seq.0.saturating_sub(1));
        Ok(self.durable_seq)
    }

    /// Seals the log, puts it on durable media and lets go of the file.
    ///
    /// # Errors
    ///
    /// [`AppendError::Storage`], [`AppendError::Failed`].
    pub fn finish(mut self) -> Result<End, AppendError> {
        self.require_sound()?;
        let end = self.encoder.end()?;
        self.sync()?;
        Ok(end)
    }

    /// Returns the number of the last event that [`LogWriter::sync`] put on durable media.
    pub fn durable_seq(&self) -> Seq {
        self.durable_seq
    }

    /// Returns the number the next event will get.
    pub fn next_seq(&self) -> Seq {
        self.encoder.next_seq()
    }

    fn flush_if_full(&mut self) -> Result<(), AppendError> {
        if self.encoder.pending().len() < BUFFER_SIZE_BYTES {
            return Ok(());
        }
        self.flush()
    }

    fn require_sound(&self) -> Result<(), AppendError> {
        if self.failed {
            return Err(AppendError::Failed { file: self.name.clone() });
        }
        Ok(())
    }

    /// Remembers a failure for good: what reached the disk is unknown from then on.
    fn settle(&mut self, result: Result<(), crate::storage::StorageError>) -> Result<(), AppendError> {
        result.map_err(|source| {
            self.failed = true;
            AppendError::Storage { file: self.name.clone(), source }
        })
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
