//! Writing a log into its files, on the caller's thread.
//!
//! What is made durable together is a **batch**. A batch record begins each and carries the last event that was durable
//! before it, so that a reader can tell damage to durable events (corruption) from an unfinished write (a torn tail):
//!
//! ```text
//!   header  batch(0)  1 2 3  sync  batch(3)  4 5  sync  batch(5)  6 7 ...zeros...
//! ```
//!
//! The order of writes and syncs is what makes that true after a loss of power as well:
//! * A file appears under its name with header and first batch in it, all of it durable.
//! * A batch record is written only after the sync whose outcome it tells.
//! * Zeros for space to come are durable before records are written over them.
//! * A file is sealed in steps, each durable before the next: its events, the cut of unused zeros, the index, the end.
//!   So the end of a file proves everything before it.
//!
//! Source: specs/log-format.md, sections Segments and Batches and durability.

use std::mem;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use drillfold_kernel::event::Event;
use drillfold_kernel::units::{Seq, TimeMs};

use super::clock::{Clock, SystemClock};
use super::control::{End, FeedFrame, Mark};
use super::digest::Digest128;
use super::error::{AppendError, ResumeError};
use super::frame::FRAME_HEADER_SIZE_BYTES;
use super::header::LogHeader;
use super::log_encoder::{BATCH_FRAME_SIZE_BYTES, LogEncoder, check_mark, require_own_schema};
use super::log_reader::Tail;
use super::record::{RecordType, encode_event, event_schema_fingerprint};
use super::resume::Resumed;
use super::segments::{last_segment, segment_path};
use crate::storage::{AppendFile, Storage, StorageError};

/// Bytes that a [`LogWriter`] collects before it hands them to its file.
const BUFFER_SIZE_BYTES: usize = 256 * 1024;

/// Bytes of the payload of a feed's frame in front of its text.
const FEED_FRAME_HEAD_SIZE_BYTES: usize = 1;

/// Bytes of a mark's payload in front of its name.
const MARK_HEAD_SIZE_BYTES: usize = 5;

/// When a writer waits for durable media without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurabilityPolicy {
    /// Only where a segment is sealed. A crash of the process loses what was not flushed, a loss of power may lose
    /// every event of the last segment.
    Never,
    /// Once so many events wait for it.
    EveryEvents(NonZeroU32),
    /// At the first event that comes so many milliseconds or more after the last sync.
    EveryMs(NonZeroU32),
    /// At each event.
    EveryEvent,
}

/// How a log is written.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// When to wait for durable media.
    pub durability: DurabilityPolicy,
    /// Largest size of a file, bytes, inclusive. A record that would make a file larger goes to the next one, except
    /// that every file takes at least one event.
    pub segment_size_bytes: u64,
    /// Bytes by which a file grows in advance, as zeros that are made durable at once: overwriting them costs a sync
    /// less than growing. 0 lets files grow with what is written.
    pub preallocate_bytes: u64,
    /// Time for [`DurabilityPolicy::EveryMs`].
    pub clock: Arc<dyn Clock>,
}

impl WriterOptions {
    /// Returns options for a log in one file that grows with what is written.
    pub fn single_file(durability: DurabilityPolicy) -> Self {
        let clock = Arc::new(SystemClock::start());
        Self { durability, segment_size_bytes: u64::MAX, preallocate_bytes: 0, clock }
    }

    /// Returns options for a log that goes on for long: files of 64 MiB that grow by 8 MiB in advance.
    pub fn segmented(durability: DurabilityPolicy) -> Self {
        Self { segment_size_bytes: 64 << 20, preallocate_bytes: 8 << 20, ..Self::single_file(durability) }
    }
}

/// Writes a log whose only writer it is.
///
/// The log's lock is that of its first file, held for the writer's life. Bytes reach the file when 256 KiB have come
/// together, at [`LogWriter::flush`], at a sync and at [`LogWriter::finish`]. A writer that is dropped before leaves a
/// log without what was not flushed, and unsealed; that is what a crash leaves as well, and every reader takes it.
///
/// After a write or sync that failed every call fails, and [`LogWriter::durable_seq`] stays where it was: a second
/// sync would prove nothing about what the first one lost.
#[derive(Debug)]
pub struct LogWriter {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    options: WriterOptions,
    header: LogHeader,
    encoder: LogEncoder,
    payload: Vec<u8>,
    file: Box<dyn AppendFile>,
    /// The first file, where `file` is a later one.
    lock: Option<Box<dyn AppendFile>>,
    name: String,
    durable_seq: Seq,
    unsynced_event_count: u64,
    is_synced: bool,
    batch_is_due: bool,
    synced_at: Duration,
    failed: bool,
}

/// What a writer does where the log ends in an unfinished record.
#[derive(Clone, Copy)]
enum AtTornTail {
    Refuse,
    Cut,
}

/// The unfinished end of a log that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The file it was cut from.
    pub file: PathBuf,
    /// Where it began, bytes from the file's start.
    pub offset: u64,
    /// Its size, bytes.
    pub bytes: u64,
    /// The file that has it now.
    pub kept_in: PathBuf,
}

impl TornTail {
    /// Copies the bytes into a file beside `file`, whose name tells where they were.
    fn put_aside(storage: &dyn Storage, file: &Path, offset: u64, bytes: u64) -> Result<Self, StorageError> {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".torn-{offset}"));
        let kept_in = PathBuf::from(name);
        let mut torn = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        let read = storage.open_read(file)?.read_at(offset, &mut torn)?;
        storage.replace(&kept_in, &torn[..read])?;
        Ok(Self { file: file.to_path_buf(), offset, bytes, kept_in })
    }
}

/// A new file with its header and first batch in it.
struct Segment {
    header: LogHeader,
    encoder: LogEncoder,
    file: Box<dyn AppendFile>,
    name: String,
}

impl LogWriter {
    /// Creates a log at `path`, where nothing may be. Its first file appears whole and durable: header, first batch and
    /// preallocated zeros.
    ///
    /// # Errors
    ///
    /// [`AppendError::Storage`] when the file or a second segment exists, or the storage refuses otherwise;
    /// [`AppendError::Invalid`] for a header of another segment than the first; those of [`LogHeader::encode`].
    pub fn create(
        storage: Arc<dyn Storage>,
        path: &Path,
        header: &LogHeader,
        options: WriterOptions,
    ) -> Result<Self, AppendError> {
        if header.segment != 0 {
            return Err(AppendError::Invalid { what: "segment of a new log", found: u64::from(header.segment) });
        }
        // A second segment without a first is what is left of another log.
        require_nothing(&*storage, &segment_path(path, 1))?;
        let segment = Segment::create(&*storage, path, header.clone(), &options)?;
        Ok(Self::on(storage, path, options, segment, None))
    }

    /// Opens the log at `path` to go on behind its last record: in the last file, over its unused zeros, or in a new
    /// one where the last is sealed. Only the last file is read, and no more than a part of it is in memory at once.
    ///
    /// Everything found is durable when this returns. What its last writer had not made durable is written again before
    /// it is synced: the sync of that writer may have failed, and bytes that a reader sees need not be on the disk then.
    ///
    /// # Errors
    ///
    /// [`ResumeError`]: another writer has the log, or it is damaged, or ends in an unfinished record.
    pub fn resume(storage: Arc<dyn Storage>, path: &Path, options: WriterOptions) -> Result<Self, ResumeError> {
        Self::open(storage, path, options, AtTornTail::Refuse).map(|(log, _)| log)
    }

    /// As [`Self::resume`], for a process that has to go on by itself after a crash: a torn tail, which holds nothing that
    /// was ever durable, is put aside into a file of its own beside the log and cut. Returns what was cut.
    ///
    /// # Errors
    ///
    /// [`ResumeError`]: another writer has the log, or it is damaged.
    pub fn resume_after_crash(
        storage: Arc<dyn Storage>,
        path: &Path,
        options: WriterOptions,
    ) -> Result<(Self, Option<TornTail>), ResumeError> {
        Self::open(storage, path, options, AtTornTail::Cut)
    }

    fn open(
        storage: Arc<dyn Storage>,
        path: &Path,
        options: WriterOptions,
        at_torn_tail: AtTornTail,
    ) -> Result<(Self, Option<TornTail>), ResumeError> {
        let refused = |name: &str, source| ResumeError::Storage { file: name.to_string(), source };
        let log_name = path.display().to_string();
        // The lock comes first: until it is held, another writer may still be appending.
        let first = storage.open_append(path).map_err(|source| refused(&log_name, source))?;
        let number = last_segment(&*storage, path).map_err(|source| refused(&log_name, source))?;
        let last_path = segment_path(path, number);
        let name = last_path.display().to_string();
        let resumed = Resumed::read(&*storage, &last_path)?;
        if resumed.header.segment != number {
            return Err(ResumeError::OtherSegment { file: name, expected: number, found: resumed.header.segment });
        }
        if resumed.end.is_none() && !resumed.encoder.has_index() {
            require_own_schema(&name, &resumed.header)?;
        }
        let (mut file, lock) = match number {
            0 => (first, None),
            _ => (storage.open_append(&last_path).map_err(|source| refused(&name, source))?, Some(first)),
        };
        let torn = match (resumed.tail, at_torn_tail) {
            (Tail::Torn { offset, bytes, .. }, AtTornTail::Refuse) => {
                return Err(ResumeError::Tail { file: name, offset, bytes });
            }
            (Tail::Torn { offset, bytes, .. }, AtTornTail::Cut) => {
                let aside = TornTail::put_aside(&*storage, &last_path, offset, bytes);
                let torn = aside.map_err(|source| refused(&name, source))?;
                file.cut(offset).map_err(|source| refused(&name, source))?;
                Some(torn)
            }
            (Tail::Clean | Tail::Zeroed { .. }, _) => None,
        };
        resumed.write_again(&*storage, &last_path, &mut *file)?;
        let Resumed { header, encoder, end, .. } = resumed;
        let has_index = encoder.has_index();
        let segment = Segment { header, encoder, file, name };
        let mut writer = Self::on(storage, path, options, segment, lock);
        match end {
            Some(end) => writer.begin_segment(end)?,
            // Its last writer was sealing it: nothing but an end may follow an index.
            None if has_index => writer.rotate()?,
            None => writer.begin_again()?,
        }
        Ok((writer, torn))
    }

    /// A writer whose file has nothing that is not durable.
    fn on(
        storage: Arc<dyn Storage>,
        path: &Path,
        options: WriterOptions,
        segment: Segment,
        lock: Option<Box<dyn AppendFile>>,
    ) -> Self {
        let Segment { header, encoder, file, name } = segment;
        let durable_seq = before(encoder.next_seq());
        let synced_at = options.clock.now();
        Self {
            storage,
            path: path.to_path_buf(),
            options,
            header,
            encoder,
            payload: Vec::new(),
            file,
            lock,
            name,
            durable_seq,
            unsynced_event_count: 0,
            is_synced: true,
            batch_is_due: false,
            synced_at,
            failed: false,
        }
    }

    /// Begins a batch behind what was found, durable before anything follows: should the file have no other, it alone
    /// says what was durable.
    fn begin_again(&mut self) -> Result<(), AppendError> {
        self.encoder.batch(self.durable_seq)?;
        self.write_pending()?;
        self.sync_file()
    }

    /// Appends an event and returns the number it got.
    ///
    /// # Errors
    ///
    /// Those of [`LogEncoder::event`], [`AppendError::Storage`], [`AppendError::Failed`].
    pub fn event(&mut self, at: TimeMs, event: &Event) -> Result<Seq, AppendError> {
        self.require_sound()?;
        let mut payload = mem::take(&mut self.payload);
        let record_type = encode_event(event, &mut payload).map_err(AppendError::Record);
        let appended = record_type.and_then(|record_type| self.append_event(at, record_type, &payload));
        self.payload = payload;
        let seq = appended?;
        self.obey_policy()?;
        Ok(seq)
    }

    /// Appends an event whose payload is archived already, and returns the number it got.
    ///
    /// # Errors
    ///
    /// Those of [`LogEncoder::raw_event`], [`AppendError::Storage`], [`AppendError::Failed`].
    pub fn raw_event(&mut self, at: TimeMs, record_type: RecordType, payload: &[u8]) -> Result<Seq, AppendError> {
        let seq = self.append_event(at, record_type, payload)?;
        self.obey_policy()?;
        Ok(seq)
    }

    /// Appends a mark in front of the next event.
    ///
    /// # Errors
    ///
    /// Those of [`LogEncoder::mark`], [`AppendError::Storage`], [`AppendError::Failed`].
    pub fn mark(&mut self, at: TimeMs, mark: &Mark) -> Result<(), AppendError> {
        self.require_sound()?;
        check_mark(mark)?;
        self.make_room(FRAME_HEADER_SIZE_BYTES + MARK_HEAD_SIZE_BYTES + mark.name.len())?;
        self.begin_batch()?;
        self.encoder.mark(at, mark)?;
        self.is_synced = false;
        self.flush_if_full()
    }

    /// Appends a frame of a feed in front of the next event.
    ///
    /// # Errors
    ///
    /// Those of [`LogEncoder::feed_frame`], [`AppendError::Storage`], [`AppendError::Failed`].
    pub fn feed_frame(&mut self, at: TimeMs, frame: &FeedFrame<'_>) -> Result<(), AppendError> {
        self.require_sound()?;
        self.make_room(FRAME_HEADER_SIZE_BYTES + FEED_FRAME_HEAD_SIZE_BYTES + frame.text.len())?;
        self.begin_batch()?;
        self.encoder.feed_frame(at, frame)?;
        self.is_synced = false;
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
        self.preallocate()?;
        self.write_pending()
    }

    /// Puts everything on durable media and returns the number of the last durable event.
    ///
    /// # Errors
    ///
    /// [`AppendError::Storage`], [`AppendError::Failed`].
    pub fn sync(&mut self) -> Result<Seq, AppendError> {
        self.flush()?;
        if !self.is_synced {
            self.sync_file()?;
        }
        Ok(self.durable_seq)
    }

    /// Seals the log, puts it on durable media and lets go of the file.
    ///
    /// # Errors
    ///
    /// [`AppendError::Storage`], [`AppendError::Failed`].
    pub fn finish(mut self) -> Result<End, AppendError> {
        self.seal()
    }

    /// Returns the number of the last event known to be on durable media.
    pub fn durable_seq(&self) -> Seq {
        self.durable_seq
    }

    /// Returns the number the next event will get.
    pub fn next_seq(&self) -> Seq {
        self.encoder.next_seq()
    }

    /// Returns the number of the file that is written to, from 0.
    pub fn segment(&self) -> u32 {
        self.header.segment
    }

    /// Returns the log as errors name it: the file that is written to.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Appends an event and leaves it to the caller to obey the policy.
    pub(super) fn append_event(
        &mut self,
        at: TimeMs,
        record_type: RecordType,
        payload: &[u8],
    ) -> Result<Seq, AppendError> {
        self.require_sound()?;
        self.encoder.check_event(record_type)?;
        self.make_room(FRAME_HEADER_SIZE_BYTES + payload.len())?;
        self.begin_batch()?;
        let seq = self.encoder.raw_event(at, record_type, payload)?;
        self.is_synced = false;
        self.unsynced_event_count += 1;
        self.flush_if_full()?;
        Ok(seq)
    }

    /// Syncs if the policy asks for it.
    pub(super) fn obey_policy(&mut self) -> Result<(), AppendError> {
        let is_due = match self.options.durability {
            DurabilityPolicy::Never => false,
            DurabilityPolicy::EveryEvents(count) => self.unsynced_event_count >= u64::from(count.get()),
            DurabilityPolicy::EveryMs(_) => self.sync_due_in() == Some(Duration::ZERO),
            DurabilityPolicy::EveryEvent => self.unsynced_event_count > 0,
        };
        if is_due {
            self.sync()?;
        }
        Ok(())
    }

    /// Returns how long the policy lets what was appended wait; `None` where it sets no time or nothing waits.
    pub(super) fn sync_due_in(&self) -> Option<Duration> {
        match self.options.durability {
            DurabilityPolicy::EveryMs(ms) if !self.is_synced => {
                let due_at = self.synced_at.saturating_add(Duration::from_millis(u64::from(ms.get())));
                Some(due_at.saturating_sub(self.options.clock.now()))
            }
            DurabilityPolicy::EveryMs(_)
            | DurabilityPolicy::Never
            | DurabilityPolicy::EveryEvents(_)
            | DurabilityPolicy::EveryEvent => None,
        }
    }

    /// Goes to the next file where a frame of `frame_size_bytes` would make this one too large.
    fn make_room(&mut self, frame_size_bytes: usize) -> Result<(), AppendError> {
        let batch_size_bytes = if self.batch_is_due { BATCH_FRAME_SIZE_BYTES } else { 0 };
        let size_bytes = self.encoder.sealed_size_bytes(1) + batch_size_bytes + frame_size_bytes as u64;
        if size_bytes <= self.options.segment_size_bytes || self.encoder.event_count() == 0 {
            return Ok(());
        }
        self.rotate()
    }

    fn rotate(&mut self) -> Result<(), AppendError> {
        let end = self.seal()?;
        self.begin_segment(end)
    }

    /// Goes on in a new file; the one before is sealed with `end`.
    fn begin_segment(&mut self, end: End) -> Result<(), AppendError> {
        let header = following(&self.header, self.encoder.next_seq(), end.event_digest)?;
        let created = Segment::create(&*self.storage, &self.path, header, &self.options);
        let Segment { header, encoder, file, name } = created.inspect_err(|_| self.failed = true)?;
        let sealed = mem::replace(&mut self.file, file);
        // The first file is kept open for its lock; any other one is done with.
        self.lock.get_or_insert(sealed);
        (self.header, self.encoder, self.name) = (header, encoder, name);
        // The new file came with a batch.
        self.batch_is_due = false;
        Ok(())
    }

    fn seal(&mut self) -> Result<End, AppendError> {
        self.sync()?;
        let cut = self.file.cut(self.encoder.sealed_size_bytes(0));
        self.settle(cut)?;
        self.encoder.index()?;
        if !self.encoder.pending().is_empty() {
            self.write_pending()?;
            self.sync_file()?;
        }
        let end = self.encoder.end()?;
        self.write_pending()?;
        self.sync_file()?;
        Ok(end)
    }

    fn begin_batch(&mut self) -> Result<(), AppendError> {
        if self.batch_is_due {
            self.encoder.batch(self.durable_seq)?;
            self.batch_is_due = false;
        }
        Ok(())
    }

    fn flush_if_full(&mut self) -> Result<(), AppendError> {
        if self.encoder.pending().len() < BUFFER_SIZE_BYTES {
            return Ok(());
        }
        self.flush()
    }

    /// Makes sure that there are zeros to write over, where that is wanted.
    fn preallocate(&mut self) -> Result<(), AppendError> {
        let (size_bytes, needed_bytes) = (self.file.size_bytes(), self.encoder.size_bytes());
        if self.options.preallocate_bytes == 0 || needed_bytes <= size_bytes {
            return Ok(());
        }
        let wanted_bytes = size_bytes.saturating_add(self.options.preallocate_bytes);
        let extended = self.file.extend(wanted_bytes.min(self.options.segment_size_bytes).max(needed_bytes));
        self.settle(extended)
    }

    fn write_pending(&mut self) -> Result<(), AppendError> {
        let written = self.file.write_at(self.encoder.taken_bytes(), self.encoder.pending());
        self.settle(written)?;
        self.encoder.clear_pending();
        Ok(())
    }

    /// Waits until everything written is durable, and remembers it.
    fn sync_file(&mut self) -> Result<(), AppendError> {
        let synced = self.file.sync();
        self.settle(synced)?;
        self.batch_is_due |= !self.is_synced;
        self.is_synced = true;
        self.unsynced_event_count = 0;
        self.durable_seq = before(self.encoder.next_seq());
        if matches!(self.options.durability, DurabilityPolicy::EveryMs(_)) {
            self.synced_at = self.options.clock.now();
        }
        Ok(())
    }

    fn require_sound(&self) -> Result<(), AppendError> {
        if self.failed {
            return Err(AppendError::Failed { file: self.name.clone() });
        }
        Ok(())
    }

    /// Remembers a failure for good: what reached the disk is unknown from then on.
    fn settle(&mut self, result: Result<(), StorageError>) -> Result<(), AppendError> {
        result.map_err(|source| {
            self.failed = true;
            AppendError::Storage { file: self.name.clone(), source }
        })
    }
}

impl Segment {
    /// Creates the file of the segment that `header` is for, in the log at `log`.
    fn create(
        storage: &dyn Storage,
        log: &Path,
        header: LogHeader,
        options: &WriterOptions,
    ) -> Result<Self, AppendError> {
        let path = segment_path(log, header.segment);
        let name = path.display().to_string();
        let mut encoder = LogEncoder::new(&header)?;
        // A first batch that came later could be lost while records behind it are not; then nothing would say that
        // those were not durable.
        encoder.batch(before(header.first_seq))?;
        let size_bytes = options.preallocate_bytes.min(options.segment_size_bytes);
        let file = storage
            .create_filled(&path, encoder.pending(), size_bytes)
            .map_err(|source| AppendError::Storage { file: name.clone(), source })?;
        encoder.clear_pending();
        Ok(Self { header, encoder, file, name })
    }
}

/// Returns the header of the segment behind the one with `header`.
fn following(header: &LogHeader, first_seq: Seq, previous_digest: Digest128) -> Result<LogHeader, AppendError> {
    let found = u64::from(header.segment);
    let segment =
        header.segment.checked_add(1).ok_or(AppendError::Invalid { what: "number of the last segment", found })?;
    Ok(LogHeader { segment, first_seq, previous_digest, event_schema: event_schema_fingerprint(), ..header.clone() })
}

fn require_nothing(storage: &dyn Storage, path: &Path) -> Result<(), AppendError> {
    let failed = |source| AppendError::Storage { file: path.display().to_string(), source };
    match storage.entry_kind(path).map_err(failed)? {
        None => Ok(()),
        Some(_) => {
            let operation = crate::storage::Operation::Create;
            Err(failed(StorageError::AlreadyExists { operation, path: path.to_path_buf() }))
        }
    }
}

/// Returns the number before `seq`, the number of an event to come.
fn before(seq: Seq) -> Seq {
    assert!(seq.0 > 0);
    Seq(seq.0 - 1)
}

#[cfg(test)]
mod tests;
