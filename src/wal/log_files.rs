//! Reading a log from its files: segment after segment, from any number or time on, also while it is being written.
//!
//! Opening reads the header of each segment and the record at its end, and nothing between them. A sealed segment is
//! then mapped into memory; one that may still be written to is read by position through a window that grows only as
//! far as a whole frame needs. A reader never writes and takes no lock.
//!
//! Source: specs/log-format.md, sections Segments and How a log ends.

use std::path::{Path, PathBuf};

use drillfold_kernel::units::{Seq, TimeMs};

use super::control::{
    CONTROL_VERSION, END_FRAME_SIZE_BYTES, END_KIND, EVENT_KIND_MAX, End, INDEX_KIND, IndexEntry, decode_index,
};
use super::cursor::{
    Control, Cursor, Digests, Source, Step, StepError, bytes_from, frame_at, loaded_frame, zeros_from,
};
use super::error::{HeaderError, HeaderFault, LogFileError, ReadError, ReadFault};
use super::frame::{FRAME_HEADER_SIZE_BYTES, decode_frame};
use super::header::{HEADER_SIZE_BYTES_MAX, LogHeader};
use super::log_reader::{LogRecord, RawEvent, Summary};
use super::segments::segment_path;
use crate::storage::{EntryKind, Mapping, ReadFile, Storage, StorageError};

/// Bytes that a window brings at once, where the file has them.
const WINDOW_SIZE_BYTES: usize = 256 * 1024;

/// Bytes brought for a header at first; the few that are longer are brought in a second step.
const HEADER_SIZE_BYTES_USUAL: usize = 4 * 1024;

/// How sealed segments are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Mapped into memory. Nobody may write to a sealed segment meanwhile; nothing of this crate does.
    Mapped,
    /// By position, as segments that are not sealed always are: for files that other programs may change.
    Positional,
}

/// What a reader of files does beside reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// Whether event digests are computed and compared.
    pub digests: Digests,
    /// How sealed segments are read.
    pub access: Access,
}

/// What [`LogFiles::poll`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled<'a> {
    /// The next record.
    Record(LogRecord<'a>),
    /// Nothing more for now, or a record that is being written. The caller waits and asks again.
    NothingNew,
}

/// What one segment amounts to, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Its file.
    pub path: PathBuf,
    /// Its size when it was opened, bytes.
    pub size_bytes: u64,
    /// What was read of it.
    pub summary: Summary,
}

/// An event in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedEvent<'a> {
    /// The event's number.
    pub seq: Seq,
    /// When it was recorded, on the run's clock.
    pub at: TimeMs,
    /// What happened.
    pub event: RawEvent<'a>,
}

/// A log in its files.
///
/// Records come in order, over all segments; each borrows from the reader until the next one is asked for.
/// `examples/embed_log.rs` shows a log of its own in another program: written, cut off, gone on with, read and followed.
///
/// ```
/// use std::path::Path;
/// use std::sync::Arc;
///
/// use drillfold::storage::MemoryStorage;
/// use drillfold::wal::{
///     Access, Digest256, Digests, DurabilityPolicy, LogFiles, LogHeader, LogWriter, ReadOptions, RecordBody,
///     WriterOptions,
/// };
/// use drillfold_kernel::event::Event;
/// use drillfold_kernel::units::{Seq, TimeMs};
///
/// // `DiskStorage` puts the same into files.
/// let storage = MemoryStorage::new();
/// let path = Path::new("x.wal");
/// let header = LogHeader::first("example", 1, Digest256::default(), "0.1.0");
/// let options = WriterOptions::segmented(DurabilityPolicy::EveryEvent);
/// let mut log = LogWriter::create(Arc::new(storage.clone()), path, &header, options)?;
/// for tick in 1..=10 {
///     log.event(TimeMs(tick * 100), &Event::LoopTicked)?;
/// }
/// log.finish()?;
///
/// let options = ReadOptions { digests: Digests::Check, access: Access::Mapped };
/// let mut files = LogFiles::open(&storage, path, options)?;
/// assert_eq!(files.seek_time(TimeMs(750))?, Some(Seq(8)));
/// let mut event = Event::LoopTicked;
/// let mut count = 0;
/// while let Some(record) = files.next_record()? {
///     if let RecordBody::Event(raw) = record.body {
///         raw.decode_into(&mut event)?;
///         count += 1;
///     }
/// }
/// assert_eq!(count, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LogFiles<'s> {
    storage: &'s dyn Storage,
    path: PathBuf,
    options: ReadOptions,
    segments: Vec<Segment>,
    /// Why the segment behind the last one can't be read.
    beyond: Option<HeaderError>,
    /// A file behind the last segment that never got a whole header.
    unfinished: Option<PathBuf>,
    place: usize,
    reading: Reading,
    /// The segments that were read to their ends since the last seek.
    finished: Vec<SegmentSummary>,
    done: bool,
}

/// A segment whose header is known.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    header: LogHeader,
    header_size_bytes: u64,
    size_bytes: u64,
    /// The last record, where it stands at the file's end.
    end: Option<End>,
}

/// The segment that is read.
#[derive(Debug)]
struct Reading {
    bytes: SegmentBytes,
    cursor: Cursor,
    /// Entries of its index, or, where it has none, places noted along the way.
    index: Option<Vec<IndexEntry>>,
}

/// One file of a log, whichever segment it is, read by position by its only writer.
#[derive(Debug)]
pub(super) struct FileReader {
    segment: Segment,
    reading: Reading,
    /// Where the record that was read last begins.
    record_offset: u64,
}

/// Events from one noted place to the next in a segment without index.
const NOTED_STRIDE_EVENTS: usize = 1024;

impl<'s> LogFiles<'s> {
    /// Opens the log whose segment 0 lies at `path`.
    ///
    /// A later segment with a damaged header is no error here: it is one where reading gets to it.
    ///
    /// # Errors
    ///
    /// [`LogFileError::Storage`], [`LogFileError::Header`] for segment 0.
    pub fn open(storage: &'s dyn Storage, path: &Path, options: ReadOptions) -> Result<Self, LogFileError> {
        let first = Segment::open(storage, path)?;
        let reading = Reading::start(storage, &first, options)?;
        let mut files = Self {
            storage,
            path: path.to_path_buf(),
            options,
            segments: vec![first],
            beyond: None,
            unfinished: None,
            place: 0,
            reading,
            finished: Vec::new(),
            done: false,
        };
        while files.find_next_segment()? {}
        Ok(files)
    }

    /// Returns the header of segment 0.
    pub fn header(&self) -> &LogHeader {
        &self.segments[0].header
    }

    /// Returns the header of the segment that the next record is looked for in.
    pub fn segment_header(&self) -> &LogHeader {
        &self.segments[self.place].header
    }

    /// Returns the file of the segment that the next record is looked for in.
    pub fn segment_path(&self) -> &Path {
        &self.segments[self.place].path
    }

    /// Returns how many segments were found so far.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Returns the file behind the last segment that never got a whole header, if there is one. No record was ever in
    /// it; the log ends before it.
    pub fn unfinished_segment(&self) -> Option<&Path> {
        self.unfinished.as_deref()
    }

    /// Returns what was read of the segment that the next record is looked for in. After a seek into it the counts are
    /// not those of the whole segment.
    pub fn segment_summary(&self) -> SegmentSummary {
        let segment = &self.segments[self.place];
        let summary = self.reading.cursor.summary();
        SegmentSummary { path: segment.path.clone(), size_bytes: segment.size_bytes, summary }
    }

    /// Returns what was read of each segment since the last seek, in order, the one that is read now last.
    pub fn segment_summaries(&self) -> Vec<SegmentSummary> {
        self.finished.iter().cloned().chain([self.segment_summary()]).collect()
    }

    /// Returns the number that the next event has.
    pub fn next_seq(&self) -> Seq {
        self.reading.cursor.next_seq()
    }

    /// Returns the next record, or `None` at the end of the last segment, torn or not;
    /// [`LogFiles::segment_summary`] tells how it ends.
    ///
    /// # Errors
    ///
    /// [`LogFileError`], once; then `None`.
    #[inline]
    pub fn next_record(&mut self) -> Result<Option<LogRecord<'_>>, LogFileError> {
        let found = self.reading.cursor.step_event(&self.reading.bytes);
        if let Some((offset, header, size_bytes)) = found.map(|(at, frame)| (at, frame.header, frame.size_bytes())) {
            let frame = loaded_frame(&self.reading.bytes, offset, header, size_bytes);
            return Ok(Some(LogRecord::from_frame(offset, &frame)));
        }
        match self.next_step()? {
            Some(step) => Ok(Some(self.record(step))),
            None => Ok(None),
        }
    }

    /// Returns the next record where it is an event; `None` where it is another record, or none: then
    /// [`LogFiles::next_record`] tells. For loops that go through long logs: most records are events, and they come this
    /// way without what the others need.
    #[inline]
    pub fn next_event(&mut self) -> Option<PlacedEvent<'_>> {
        let (_, frame) = self.reading.cursor.step_event(&self.reading.bytes)?;
        let (seq, at) = (Seq(frame.header.seq), TimeMs(frame.header.time_ms));
        Some(PlacedEvent { seq, at, event: RawEvent::from_frame(&frame) })
    }

    /// Looks for the next record of a log that may still be written: as [`LogFiles::next_record`], but what looks
    /// unfinished is not yet there, and a new segment is gone on with. What was handed to the storage before the call is
    /// found. How to wait before asking again is the caller's choice.
    ///
    /// A torn tail is waited for in vain: a repair makes another file, which a new reader has to open.
    ///
    /// # Errors
    ///
    /// [`LogFileError`]; among them damage that can't be an unfinished write.
    pub fn poll(&mut self) -> Result<Polled<'_>, LogFileError> {
        // What is at hand may be older than what the writer did since; a first look that finds nothing drops it.
        let step = match self.look_for_step()? {
            Some(step) => Some(step),
            None => self.look_for_step()?,
        };
        Ok(step.map_or(Polled::NothingNew, |step| Polled::Record(self.record(step))))
    }

    /// Looks once for the next record. Where there is none, the next look is at the file itself.
    fn look_for_step(&mut self) -> Result<Option<Step>, LogFileError> {
        if self.reading.cursor.end().is_none() {
            self.reading.look_again(&mut self.segments[self.place])?;
        } else if self.place + 1 == self.segments.len() {
            self.beyond = None;
            self.find_next_segment()?;
        }
        self.done = false;
        if self.reading.is_at_unwritten_space()? {
            return Ok(None);
        }
        self.next_step()
    }

    /// Goes to the event `seq`, with the records in front of it that carry its number. Returns whether the log has that
    /// event or, where it is just the next one to be written, will have it there; otherwise the place is the log's end.
    /// A number before the first event leads to the log's beginning.
    ///
    /// A sealed segment is entered through its index, so that at most one stride of its events is read.
    ///
    /// # Errors
    ///
    /// [`LogFileError`].
    pub fn seek_seq(&mut self, seq: Seq) -> Result<bool, LogFileError> {
        let place = self.segments.partition_point(|segment| segment.header.first_seq <= seq).saturating_sub(1);
        self.finished.clear();
        self.enter(place)?;
        let entry = self.reading.entries(&self.segments[place])?.iter().rev().find(|entry| entry.seq < seq).copied();
        self.go_to(entry);
        while self.reading.cursor.next_seq() < seq {
            if self.next_step()?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Goes to the first event whose time reaches `at`, with the records in front of it, and returns its number; `None`
    /// where no event does, and then the place is the log's end.
    ///
    /// Sealed segments are looked through by their indexes, so that at most one stride of events is read in each.
    ///
    /// # Errors
    ///
    /// [`LogFileError`].
    pub fn seek_time(&mut self, at: TimeMs) -> Result<Option<Seq>, LogFileError> {
        let mut place = 0;
        loop {
            self.finished.clear();
            self.enter(place)?;
            // Times of entries never fall, and all events up to an entry are at or before its time.
            let entries = self.reading.entries(&self.segments[place])?;
            let entry = entries[..entries.partition_point(|entry| entry.at_max < at)].last().copied();
            self.go_to(entry);
            while self.place == place {
                match self.next_step()? {
                    Some(Step::Frame { header, .. }) if header.kind <= EVENT_KIND_MAX && header.time_ms >= at.0 => {
                        let seq = Seq(header.seq);
                        self.seek_seq(seq)?;
                        return Ok(Some(seq));
                    }
                    Some(Step::Control { record: Control::End(_), .. }) if place + 1 < self.segments.len() => {
                        break;
                    }
                    Some(_) => {}
                    None => return Ok(None),
                }
            }
            place += 1;
        }
    }

    /// Goes to the beginning of the next segment, whatever there is to say about this one. Returns whether there is one.
    /// For a verifier, which looks at every segment.
    ///
    /// # Errors
    ///
    /// [`LogFileError::Storage`].
    pub(super) fn skip_segment(&mut self) -> Result<bool, LogFileError> {
        if self.place + 1 >= self.segments.len() {
            return Ok(false);
        }
        self.enter_next()?;
        Ok(true)
    }

    /// Returns the index of the segment that the next record is looked for in, and where the index's frame starts; no
    /// entries where it has none, or is not sealed. For a verifier, which compares every entry.
    ///
    /// # Errors
    ///
    /// [`LogFileError::Storage`].
    pub(super) fn segment_index(&mut self) -> Result<(u64, Vec<IndexEntry>), LogFileError> {
        let segment = &self.segments[self.place];
        Ok(match &segment.end {
            Some(end) => (end.index_offset, self.reading.read_index(segment, end)?),
            None => (0, Vec::new()),
        })
    }

    /// Returns the place of the segment that the next record is looked for in, among those that were found.
    pub(super) fn segment_place(&self) -> usize {
        self.place
    }

    /// Checks the frame at the place and goes behind it, into the next segment where this one ends.
    fn next_step(&mut self) -> Result<Option<Step>, LogFileError> {
        if self.done {
            return Ok(None);
        }
        let step = self.try_next_step();
        self.done = !matches!(step, Ok(Some(_)));
        step
    }

    fn try_next_step(&mut self) -> Result<Option<Step>, LogFileError> {
        loop {
            match self.reading.step(&mut self.segments[self.place]) {
                Ok(None) => {}
                Ok(Some(step)) => return Ok(Some(step)),
                Err(StepError::Read(fault)) => return Err(self.error(fault)),
                Err(StepError::Source(source)) => return Err(LogFileError::Storage(source)),
            }
            self.check_end()?;
            if self.place + 1 == self.segments.len() {
                return match self.beyond.take() {
                    Some(error) => Err(error.into()),
                    None => Ok(None),
                };
            }
            self.check_fit()?;
            self.enter_next()?;
        }
    }

    /// Checks that a segment whose end stands at the end of its file was read up to it.
    fn check_end(&self) -> Result<(), LogFileError> {
        let sealed = self.segments[self.place].end.is_some();
        if sealed && self.reading.cursor.end().is_none() {
            let what = "it seals the file, but the records before it do not lead to it";
            return Err(self.error(ReadFault::Malformed { record: "end", what }));
        }
        Ok(())
    }

    /// Checks that the next segment goes on where this one, which was read to its end, ends.
    fn check_fit(&self) -> Result<(), LogFileError> {
        let next = &self.segments[self.place + 1];
        let Some(end) = self.reading.cursor.end() else {
            return Err(self.error(ReadFault::NotSealed { segment: next.header.segment }));
        };
        let misfit = |field, found: String, expected: String| {
            let fault = HeaderFault::OtherSegment { field, found, expected };
            Err(HeaderError { file: next.path.display().to_string(), fault }.into())
        };
        let (found, expected) = (next.header.first_seq, self.reading.cursor.next_seq());
        if found != expected {
            return misfit("first sequence number", found.0.to_string(), expected.0.to_string());
        }
        let (found, expected) = (next.header.previous_digest, end.event_digest);
        if found != expected {
            return misfit("previous digest", found.to_string(), expected.to_string());
        }
        Ok(())
    }

    /// Looks for a segment behind the last one. Returns whether there is one that can be read.
    fn find_next_segment(&mut self) -> Result<bool, LogFileError> {
        let Ok(number) = u32::try_from(self.segments.len()) else {
            return Ok(false);
        };
        let path = segment_path(&self.path, number);
        if self.storage.entry_kind(&path)? != Some(EntryKind::File) {
            return Ok(false);
        }
        self.unfinished = None;
        let misfit = |field, found: String, expected: String| {
            let fault = HeaderFault::OtherSegment { field, found, expected };
            HeaderError { file: path.display().to_string(), fault }
        };
        match Segment::open(self.storage, &path) {
            Ok(segment) if segment.header.segment != number => {
                let (found, expected) = (segment.header.segment.to_string(), number.to_string());
                self.beyond = Some(misfit("segment number", found, expected));
            }
            Ok(segment) if self.segments.iter().any(|before| before.header.first_seq > segment.header.first_seq) => {
                let expected = self.segments.last().map_or(0, |before| before.header.first_seq.0);
                let found = segment.header.first_seq.0.to_string();
                self.beyond = Some(misfit("first sequence number", found, format!("{expected} or more")));
            }
            Ok(segment) => {
                self.segments.push(segment);
                return Ok(true);
            }
            Err(LogFileError::Header(error)) => {
                let last = self.storage.entry_kind(&segment_path(&self.path, number.saturating_add(1)))?.is_none();
                if last && never_had_a_header(self.storage, &path, &error)? {
                    self.unfinished = Some(path);
                } else {
                    self.beyond = Some(error);
                }
            }
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    fn enter_next(&mut self) -> Result<(), LogFileError> {
        self.finished.push(self.segment_summary());
        self.enter(self.place + 1)
    }

    /// Goes to the beginning of a segment.
    fn enter(&mut self, place: usize) -> Result<(), LogFileError> {
        self.done = false;
        if place == self.place {
            let segment = &self.segments[place];
            self.reading.cursor = Cursor::new(&segment.header, segment.header_size_bytes, self.options.digests);
            return Ok(());
        }
        self.reading = Reading::start(self.storage, &self.segments[place], self.options)?;
        self.place = place;
        Ok(())
    }

    /// Goes to the event of an index entry of this segment.
    fn go_to(&mut self, entry: Option<IndexEntry>) {
        if let Some(entry) = entry {
            self.reading.cursor = Cursor::at_entry(&self.segments[self.place].header, &entry);
        }
    }

    fn record(&self, step: Step) -> LogRecord<'_> {
        self.reading.record(step)
    }

    fn error(&self, fault: ReadFault) -> LogFileError {
        self.reading.error(&self.segments[self.place], fault)
    }
}

impl FileReader {
    /// Opens the file at `path` and reads its header.
    pub(super) fn open(storage: &dyn Storage, path: &Path) -> Result<Self, LogFileError> {
        let options = ReadOptions { digests: Digests::Check, access: Access::Positional };
        let segment = Segment::open(storage, path)?;
        let reading = Reading::start(storage, &segment, options)?;
        Ok(Self { record_offset: segment.header_size_bytes, segment, reading })
    }

    pub(super) fn header(&self) -> &LogHeader {
        &self.segment.header
    }

    /// What was read so far.
    pub(super) fn summary(&self) -> Summary {
        self.reading.cursor.summary()
    }

    /// Returns the next record, or `None` at the file's end, torn or not.
    pub(super) fn next_record(&mut self) -> Result<Option<LogRecord<'_>>, LogFileError> {
        self.record_offset = self.reading.cursor.offset();
        match self.reading.step(&mut self.segment) {
            Ok(Some(step)) => Ok(Some(self.reading.record(step))),
            Ok(None) => Ok(None),
            Err(StepError::Read(fault)) => Err(self.reading.error(&self.segment, fault)),
            Err(StepError::Source(source)) => Err(source.into()),
        }
    }

    /// Returns the bytes of the record that was read last, frame and all.
    pub(super) fn record_bytes(&mut self) -> Result<&[u8], LogFileError> {
        let size_bytes = usize::try_from(self.reading.cursor.offset() - self.record_offset).unwrap_or(usize::MAX);
        self.reading.bytes.load(self.record_offset, size_bytes)?;
        let bytes = self.reading.bytes.loaded(self.record_offset);
        Ok(&bytes[..size_bytes.min(bytes.len())])
    }
}

impl Segment {
    /// Reads header and end of the segment at `path`.
    fn open(storage: &dyn Storage, path: &Path) -> Result<Self, LogFileError> {
        let name = path.display().to_string();
        let file = storage.open_read(path)?;
        let size_bytes = file.size_bytes()?;
        let mut head = read_part(&*file, 0, HEADER_SIZE_BYTES_USUAL)?;
        let (header, header_size_bytes) = match LogHeader::decode(&name, &head) {
            Err(HeaderError { fault: HeaderFault::Incomplete { .. }, .. }) if size_bytes > head.len() as u64 => {
                head = read_part(&*file, 0, HEADER_SIZE_BYTES_MAX)?;
                LogHeader::decode(&name, &head)?
            }
            decoded => decoded?,
        };
        let header_size_bytes = header_size_bytes as u64;
        let end = read_end(&*file, header_size_bytes, size_bytes)?;
        Ok(Self { path: path.to_path_buf(), header, header_size_bytes, size_bytes, end })
    }
}

impl Reading {
    /// Goes to the beginning of a segment. Only a sealed one is mapped.
    fn start(storage: &dyn Storage, segment: &Segment, options: ReadOptions) -> Result<Self, LogFileError> {
        let file = storage.open_read(&segment.path)?;
        let bytes = match (&segment.end, options.access) {
            (Some(_), Access::Mapped) => SegmentBytes::Mapped(file.map()?),
            (Some(_), Access::Positional) | (None, _) => SegmentBytes::Window(Window::new(file)?),
        };
        let cursor = Cursor::new(&segment.header, segment.header_size_bytes, options.digests);
        Ok(Self { bytes, cursor, index: None })
    }

    fn step(&mut self, segment: &mut Segment) -> Result<Option<Step>, StepError<StorageError>> {
        let step = self.cursor.step(&mut self.bytes);
        let may_be_written = segment.end.is_none();
        if may_be_written && matches!(step, Err(StepError::Read(_))) {
            // Whoever reads while another process writes may see a later part of a write and not yet an earlier one.
            // What is seen a second time was there.
            self.look_again(segment).map_err(StepError::Source)?;
            return self.cursor.step(&mut self.bytes);
        }
        step
    }

    /// Returns the record of the step that was made last.
    fn record(&self, step: Step) -> LogRecord<'_> {
        match step {
            Step::Frame { offset, header, size_bytes } => {
                LogRecord::from_frame(offset, &loaded_frame(&self.bytes, offset, header, size_bytes))
            }
            Step::Control { offset, header, record } => LogRecord::from_control(offset, &header, record),
        }
    }

    fn error(&self, segment: &Segment, fault: ReadFault) -> LogFileError {
        let file = segment.path.display().to_string();
        ReadError { file, offset: self.cursor.offset(), next_seq: self.cursor.next_seq(), fault }.into()
    }

    /// Makes an end that was reached a place to look at again.
    fn look_again(&mut self, segment: &mut Segment) -> Result<(), StorageError> {
        if self.cursor.is_done() {
            self.cursor.look_again();
            self.bytes.forget()?;
            segment.size_bytes = self.bytes.size_bytes();
        }
        Ok(())
    }

    /// True at the file's end, and before zeros as long as a frame's header: there nothing has been written yet.
    fn is_at_unwritten_space(&mut self) -> Result<bool, LogFileError> {
        let offset = self.cursor.offset();
        if self.cursor.end().is_some() {
            return Ok(false);
        }
        self.bytes.load(offset, FRAME_HEADER_SIZE_BYTES)?;
        let bytes = self.bytes.loaded(offset);
        let blank = bytes.iter().take(FRAME_HEADER_SIZE_BYTES).all(|byte| *byte == 0);
        if blank {
            self.bytes.forget()?;
        }
        Ok(blank)
    }

    /// Returns the entries of the segment's index; of a segment without one, places found by going through it.
    fn entries(&mut self, segment: &Segment) -> Result<&[IndexEntry], LogFileError> {
        if self.index.is_none() {
            let index = match &segment.end {
                Some(end) => self.read_index(segment, end)?,
                None => self.note_places(segment)?,
            };
            self.index = Some(index);
        }
        Ok(self.index.as_deref().unwrap_or_default())
    }

    /// Reads the index that the end names. One that is damaged or misplaced is as good as none: a reader that gets there
    /// reports it.
    fn read_index(&mut self, segment: &Segment, end: &End) -> Result<Vec<IndexEntry>, LogFileError> {
        let offset = end.index_offset;
        if !(segment.header_size_bytes..end.offset).contains(&offset) {
            return Ok(Vec::new());
        }
        let Ok((header, size_bytes)) = frame_at(&mut self.bytes, offset)? else {
            return Ok(Vec::new());
        };
        if (header.kind, header.version) != (INDEX_KIND, CONTROL_VERSION) {
            return Ok(Vec::new());
        }
        let frame = loaded_frame(&self.bytes, offset, header, size_bytes);
        let first = segment.header.first_seq;
        let fits = |entry: &IndexEntry| {
            let counted = entry.seq >= first && entry.seq.0 - first.0 < end.event_count;
            counted && (segment.header_size_bytes..offset).contains(&entry.offset)
        };
        Ok(decode_index(frame.payload).filter(|entries| entries.iter().all(fits)).unwrap_or_default())
    }

    /// Goes through a segment that has no index yet and notes where events lie. Damage ends it, and is reported by
    /// whoever reads there.
    fn note_places(&mut self, segment: &Segment) -> Result<Vec<IndexEntry>, LogFileError> {
        let mut cursor = Cursor::new(&segment.header, segment.header_size_bytes, Digests::Skip);
        let mut entries = Vec::new();
        let mut at_max = TimeMs(i64::MIN);
        let mut count = 0_usize;
        loop {
            match cursor.step(&mut self.bytes) {
                Ok(Some(Step::Frame { offset, header, .. })) if header.kind <= EVENT_KIND_MAX => {
                    at_max = at_max.max(TimeMs(header.time_ms));
                    if count > 0 && count.is_multiple_of(NOTED_STRIDE_EVENTS) {
                        entries.push(IndexEntry { seq: Seq(header.seq), at_max, offset });
                    }
                    count += 1;
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(StepError::Read(_)) => return Ok(entries),
                Err(StepError::Source(error)) => return Err(error.into()),
            }
        }
    }
}

/// The bytes of a segment.
#[derive(Debug)]
enum SegmentBytes {
    /// All of them, of a sealed segment.
    Mapped(Mapping),
    /// A part of them.
    Window(Window),
}

impl SegmentBytes {
    /// Forgets what was brought, and asks for the file's size again.
    fn forget(&mut self) -> Result<(), StorageError> {
        match self {
            Self::Mapped(_) => Ok(()),
            Self::Window(window) => window.forget(),
        }
    }
}

impl Source for SegmentBytes {
    type Error = StorageError;

    fn size_bytes(&self) -> u64 {
        match self {
            Self::Mapped(bytes) => bytes.len() as u64,
            Self::Window(window) => window.size_bytes,
        }
    }

    fn load(&mut self, offset: u64, wanted_bytes: usize) -> Result<(), StorageError> {
        match self {
            Self::Mapped(_) => Ok(()),
            Self::Window(window) => window.load(offset, wanted_bytes),
        }
    }

    fn loaded(&self, offset: u64) -> &[u8] {
        match self {
            Self::Mapped(bytes) => bytes_from(bytes, offset),
            Self::Window(window) => window.loaded(offset),
        }
    }
}

/// A part of a file, read by position.
#[derive(Debug)]
struct Window {
    file: Box<dyn ReadFile>,
    size_bytes: u64,
    start: u64,
    buffer: Vec<u8>,
}

impl Window {
    fn new(file: Box<dyn ReadFile>) -> Result<Self, StorageError> {
        let size_bytes = file.size_bytes()?;
        Ok(Self { file, size_bytes, start: 0, buffer: Vec::new() })
    }

    fn forget(&mut self) -> Result<(), StorageError> {
        self.buffer.clear();
        self.size_bytes = self.file.size_bytes()?;
        Ok(())
    }

    fn load(&mut self, offset: u64, wanted_bytes: usize) -> Result<(), StorageError> {
        let rest_bytes = usize::try_from(self.size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let at_hand = self.loaded(offset).len();
        if at_hand >= wanted_bytes.min(rest_bytes) {
            return Ok(());
        }
        // What is at hand may have been read before it was written, so all of it is read again.
        let size_bytes = wanted_bytes.max(WINDOW_SIZE_BYTES).min(rest_bytes);
        self.start = offset;
        self.buffer.resize(size_bytes, 0);
        let read = self.file.read_at(offset, &mut self.buffer);
        self.buffer.truncate(*read.as_ref().unwrap_or(&0));
        read.map(drop)
    }

    fn loaded(&self, offset: u64) -> &[u8] {
        let ahead = offset.checked_sub(self.start).and_then(|ahead| usize::try_from(ahead).ok());
        ahead.and_then(|ahead| self.buffer.get(ahead..)).unwrap_or_default()
    }
}

fn read_part(file: &dyn ReadFile, offset: u64, size_bytes: usize) -> Result<Vec<u8>, StorageError> {
    let mut bytes = vec![0; size_bytes];
    let read = file.read_at(offset, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Reads the record that ends a sealed file, if it stands at its end.
fn read_end(file: &dyn ReadFile, header_size_bytes: u64, size_bytes: u64) -> Result<Option<End>, StorageError> {
    let Some(offset) = size_bytes.checked_sub(END_FRAME_SIZE_BYTES as u64) else {
        return Ok(None);
    };
    if offset < header_size_bytes {
        return Ok(None);
    }
    let bytes = read_part(file, offset, END_FRAME_SIZE_BYTES)?;
    let Ok(frame) = decode_frame(&bytes) else {
        return Ok(None);
    };
    let is_end = (frame.header.kind, frame.header.version) == (END_KIND, CONTROL_VERSION);
    let end = if is_end { End::decode(frame.payload) } else { None };
    Ok(end.filter(|end| end.offset == offset))
}

/// True for a file whose header was never completed: it ends inside it, or holds nothing but zeros.
fn never_had_a_header(storage: &dyn Storage, path: &Path, error: &HeaderError) -> Result<bool, StorageError> {
    if matches!(error.fault, HeaderFault::Incomplete { .. }) {
        return Ok(true);
    }
    zeros_from(&mut Window::new(storage.open_read(path)?)?, 0)
}

impl Source for Window {
    type Error = StorageError;

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn load(&mut self, offset: u64, wanted_bytes: usize) -> Result<(), StorageError> {
        Window::load(self, offset, wanted_bytes)
    }

    fn loaded(&self, offset: u64) -> &[u8] {
        Window::loaded(self, offset)
    }
}
