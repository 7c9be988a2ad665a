//! Checking a whole log, segment by segment, and saying everything that is wrong with it.
//!
//! Unlike a reader, which stops at the first damage, a verifier goes on with the next segment. It never writes; what to
//! do about a finding is `repair`'s part.

use std::path::{Path, PathBuf};

use drillfold_kernel::event::Event;
use drillfold_kernel::units::{Seq, TimeMs};

use super::control::IndexEntry;
use super::cursor::Digests;
use super::error::{HeaderError, HeaderFault, LogFileError, ReadFault};
use super::log_files::{Access, LogFiles, ReadOptions, SegmentSummary};
use super::log_reader::{LogRecord, RecordBody, Tail};
use super::record::is_known_event_schema;
use crate::storage::Storage;

/// Most findings that are listed; more are counted.
pub const FINDING_COUNT_MAX: usize = 100;

/// What a whole log comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Each segment that could be opened, in order.
    pub segments: Vec<SegmentSummary>,
    /// The file behind the last segment that never got a whole header; no record was ever in it.
    pub unfinished: Option<PathBuf>,
    /// What is wrong, in the order of its place; at most [`FINDING_COUNT_MAX`].
    pub findings: Vec<Finding>,
    /// How many findings there are, listed or not.
    pub finding_count: u64,
    /// Events whose payload was not decoded because this build does not know the event schema of their segment.
    pub not_decoded_count: u64,
}

/// One thing that is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What sort of thing.
    pub kind: FindingKind,
    /// The file.
    pub file: String,
    /// Where the damaged record starts, bytes from the file's start; 0 for the header.
    pub offset: u64,
    /// The number of the event, or of the next one.
    pub seq: Seq,
    /// What is wrong with it, in words.
    pub message: String,
}

/// What sort of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// The header of a segment is damaged, or the segment is not of this log.
    Header,
    /// Records that were durable, or may have been, are damaged or missing.
    Corruption,
    /// The log ends in an unfinished write. Nothing that was durable is lost.
    TornTail,
    /// A sound record holds no event of this build.
    Payload,
}

impl FindingKind {
    /// Returns the word used in output: `header`, `corruption`, `torn_tail` or `payload`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Corruption => "corruption",
            Self::TornTail => "torn_tail",
            Self::Payload => "payload",
        }
    }
}

/// Checks every segment of the log at `path`: frames, numbers, counts, digests, index, how the segments fit each other,
/// and every payload. Memory does not grow with the log.
///
/// # Errors
///
/// [`LogFileError::Storage`]; [`LogFileError::Header`] where segment 0 is no log, or needs another build;
/// [`LogFileError::Read`] for a record that needs a newer build. Damage is no error but a finding.
pub fn verify_log(storage: &dyn Storage, path: &Path, access: Access) -> Result<Verification, LogFileError> {
    let mut found = Verification {
        segments: Vec::new(),
        unfinished: None,
        findings: Vec::new(),
        finding_count: 0,
        not_decoded_count: 0,
    };
    let options = ReadOptions { digests: Digests::Check, access };
    let mut files = match LogFiles::open(storage, path, options) {
        Ok(files) => files,
        Err(LogFileError::Header(error)) if is_damage(&error.fault) => {
            found.push_header(&error, Seq(1));
            return Ok(found);
        }
        Err(error) => return Err(error),
    };
    found.unfinished = files.unfinished_segment().map(Path::to_path_buf);
    while let Some(damage) = found.verify_segments(&mut files) {
        match damage {
            LogFileError::Read(error) if !matches!(error.fault, ReadFault::UnknownRecord { .. }) => {
                let (offset, seq, message) = (error.offset, error.next_seq, error.fault.to_string());
                found.push(Finding { kind: FindingKind::Corruption, file: error.file, offset, seq, message });
            }
            LogFileError::Header(error) if is_damage(&error.fault) => found.push_header(&error, files.next_seq()),
            LogFileError::Storage(_) | LogFileError::Header(_) | LogFileError::Read(_) => return Err(damage),
        }
        if !files.skip_segment()? {
            break;
        }
    }
    found.segments = files.segment_summaries();
    if let Some(SegmentSummary { path, summary, .. }) = found.segments.last()
        && let Tail::Torn { offset, bytes, fault } = summary.tail
    {
        let message = format!("torn tail of {bytes} bytes: {fault}; repair cuts it");
        let (file, seq) = (path.display().to_string(), summary.next_seq);
        found.push(Finding { kind: FindingKind::TornTail, file, offset, seq, message });
    }
    Ok(found)
}

impl Verification {
    /// True where nothing is wrong. A log that is not sealed, or ends in unused space, is sound.
    pub fn is_sound(&self) -> bool {
        self.finding_count == 0
    }

    /// Reads on to the end of the log, or to the next damage, which is returned.
    fn verify_segments(&mut self, files: &mut LogFiles<'_>) -> Option<LogFileError> {
        let mut event = Event::LoopTicked;
        let mut decoded_schema = None;
        let mut times = None;
        loop {
            let schema = files.segment_header().event_schema;
            let decodes = match decoded_schema {
                Some((known, decodes)) if known == schema => decodes,
                Some(_) | None => is_known_event_schema(schema),
            };
            decoded_schema = Some((schema, decodes));
            let (offset, seq, at, fault) = match files.next_record() {
                Ok(Some(LogRecord { offset, seq, at, body: RecordBody::Event(raw) })) => {
                    self.not_decoded_count += u64::from(!decodes);
                    let fault = if decodes { raw.decode_into(&mut event).err() } else { None };
                    (offset, seq, at, fault)
                }
                Ok(Some(_)) => continue,
                Ok(None) => return None,
                Err(error) => return Some(error),
            };
            if let Some(fault) = fault {
                let (file, message) = (files.segment_path().display().to_string(), fault.to_string());
                self.push(Finding { kind: FindingKind::Payload, file, offset, seq, message });
            }
            let times = match IndexTimes::of(files, times.take()) {
                Ok(found) => times.insert(found),
                Err(error) => return Some(error),
            };
            if let Some(message) = times.misfit(seq, at) {
                let (file, offset) = (files.segment_path().display().to_string(), times.offset);
                self.push(Finding { kind: FindingKind::Corruption, file, offset, seq, message });
            }
        }
    }

    fn push_header(&mut self, error: &HeaderError, seq: Seq) {
        let (file, message) = (error.file.clone(), error.fault.to_string());
        self.push(Finding { kind: FindingKind::Header, file, offset: 0, seq, message });
    }

    fn push(&mut self, finding: Finding) {
        self.finding_count += 1;
        if self.findings.len() < FINDING_COUNT_MAX {
            self.findings.push(finding);
        }
    }
}

/// The times in a segment's index, compared with those of its events on the way.
///
/// Whether an entry leads to its event every reader checks where it meets the index. Whether its time is the greatest up
/// to there only shows from the segment's beginning.
struct IndexTimes {
    /// Which segment.
    place: usize,
    /// Where the index's frame starts, bytes from the file's start.
    offset: u64,
    /// The entries that lie ahead, the next one last.
    ahead: Vec<IndexEntry>,
    at_max: TimeMs,
}

impl IndexTimes {
    /// Returns `times` if they are of the segment that `files` reads, otherwise those of that segment.
    fn of(files: &mut LogFiles<'_>, times: Option<Self>) -> Result<Self, LogFileError> {
        let place = files.segment_place();
        if let Some(times) = times.filter(|times| times.place == place) {
            return Ok(times);
        }
        let (offset, mut ahead) = files.segment_index()?;
        ahead.reverse();
        Ok(Self { place, offset, ahead, at_max: TimeMs(i64::MIN) })
    }

    /// Takes the next event of the segment, and says what is wrong with the entry that names it.
    fn misfit(&mut self, seq: Seq, at: TimeMs) -> Option<String> {
        self.at_max = self.at_max.max(at);
        let entry = self.ahead.pop_if(|entry| entry.seq <= seq)?;
        let (expected, found) = (self.at_max.0, entry.at_max.0);
        (entry.seq == seq && entry.at_max != self.at_max)
            .then(|| format!("the index has {found} as the greatest time up to event {}, it is {expected}", seq.0))
    }
}

/// True for a header that is damaged, and not one of another file or of another build.
fn is_damage(fault: &HeaderFault) -> bool {
    match fault {
        HeaderFault::Incomplete { .. }
        | HeaderFault::Checksum { .. }
        | HeaderFault::Invalid { .. }
        | HeaderFault::OtherSegment { .. } => true,
        HeaderFault::OtherFile { .. }
        | HeaderFault::OtherVersion { .. }
        | HeaderFault::UnknownFlags { .. }
        | HeaderFault::UnknownEventSchema { .. } => false,
    }
}
