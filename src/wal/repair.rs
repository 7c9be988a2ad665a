//! Copying the sound prefix of a log into a new one.
//!
//! The damaged log is read and never touched. The copy is one sealed file with every event, mark, batch and note up to the
//! first place that can't be read, and an index and end of its own; its events have the numbers and bytes that they had.
//! It is written beside its final name, synced, and gets that name only then: after a crash there is either nothing under
//! the name or the whole copy.
//!
//! What it deliberately does not do: take records from behind damage. They are sound one by one, but not the events that
//! led to them.

use std::path::{Path, PathBuf};

use drillfold_kernel::units::Seq;
use thiserror::Error;

use super::control::End;
use super::cursor::Digests;
use super::error::{AppendError, HeaderError, LogFileError, ReadFault};
use super::log_encoder::LogEncoder;
use super::log_files::{Access, LogFiles, ReadOptions};
use super::log_reader::{LogRecord, RecordBody, Tail};
use super::segments::segment_path;
use crate::storage::{AppendFile, Storage, StorageError};

/// Bytes that come together before they are handed to the file.
const BUFFER_SIZE_BYTES: usize = 1024 * 1024;

/// What to do where records that were durable are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtCorruption {
    /// Refuse: what was durable would be lost.
    Refuse,
    /// Take what is before it and give up the rest.
    Cut,
}

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The last record of the copy, with its counts and digest.
    pub end: End,
    /// Size of the copy, bytes.
    pub size_bytes: u64,
    /// Where the log was cut; `None` where all of it was sound.
    pub cut: Option<Cut>,
}

/// The place from which on nothing was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub file: String,
    /// Bytes from the file's start.
    pub offset: u64,
    /// Bytes of that file behind it.
    pub bytes: u64,
    /// Number of the first event that is not in the copy.
    pub next_seq: Seq,
    /// True where records that were durable are lost, false for a torn tail.
    pub corruption: bool,
    /// What is wrong there, in words.
    pub reason: String,
}

/// Why there is no copy.
#[derive(Debug, Error)]
pub enum RepairError {
    /// The log could not be read, or not at all: it is no log, or needs another build.
    #[error(transparent)]
    Log(#[from] LogFileError),
    /// The copy could not be written. What was begun lies under the temporary name and is overwritten next time.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A record of the log can't be written by this build.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Something lies under a name of the copy.
    #[error("{}: it exists already and is not overwritten; choose another name", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// Records that were durable are damaged; the caller has to say that they may be given up.
    #[error("{damage}; it is no torn tail: a copy would lose what was durable, from event {} on", next_seq.0)]
    Corrupt {
        /// What is wrong, with its place.
        damage: String,
        /// Number of the first event that would not be in the copy.
        next_seq: Seq,
    },
    /// The log's segments can't become one file.
    #[error("{file}: its {field} is not that of the segments before it; a copy in one file would lose it")]
    Mixed {
        /// The segment.
        file: String,
        /// The header's field.
        field: &'static str,
    },
}

/// Copies the sound prefix of the log at `log` into a new log at `out`, in one sealed file.
///
/// # Errors
///
/// [`RepairError`]; then nothing lies at `out`.
pub fn repair_log(
    storage: &dyn Storage,
    log: &Path,
    out: &Path,
    at_corruption: AtCorruption,
) -> Result<Repair, RepairError> {
    for path in [out.to_path_buf(), segment_path(out, 1)] {
        if storage.entry_kind(&path)?.is_some() {
            return Err(RepairError::Exists { path });
        }
    }
    let options = ReadOptions { digests: Digests::Check, access: Access::Positional };
    let mut files = LogFiles::open(storage, log, options)?;
    let temporary = temporary_path(out);
    remove_leftover(storage, &temporary)?;
    let copied = copy_prefix(storage, &mut files, &temporary, at_corruption);
    if copied.is_err() {
        // What went wrong is what to report; a temporary file that can't be removed is overwritten next time.
        let _ = storage.remove(&temporary);
    }
    let repair = copied?;
    storage.rename_new(&temporary, out)?;
    Ok(repair)
}

/// Writes the copy under its temporary name and puts it on durable media.
fn copy_prefix(
    storage: &dyn Storage,
    files: &mut LogFiles<'_>,
    temporary: &Path,
    at_corruption: AtCorruption,
) -> Result<Repair, RepairError> {
    let mut copy = Copy { encoder: LogEncoder::new(files.header())?, file: storage.create_new(temporary)? };
    let cut = match copy.records(files) {
        Ok(()) => torn_tail(files),
        Err(CopyError::Write(error)) => return Err(error),
        Err(CopyError::Read(error)) => {
            let cut = damage(files, error)?;
            if at_corruption == AtCorruption::Refuse {
                let damage =
                    format!("{}: byte {}, before event {}: {}", cut.file, cut.offset, cut.next_seq.0, cut.reason);
                return Err(RepairError::Corrupt { damage, next_seq: cut.next_seq });
            }
            Some(cut)
        }
    };
    let end = copy.encoder.end()?;
    copy.flush()?;
    copy.file.sync()?;
    Ok(Repair { end, size_bytes: copy.encoder.size_bytes(), cut })
}

struct Copy {
    encoder: LogEncoder,
    file: Box<dyn AppendFile>,
}

/// Why records were not copied to the log's end.
enum CopyError {
    Read(LogFileError),
    Write(RepairError),
}

impl<E: Into<RepairError>> From<E> for CopyError {
    fn from(error: E) -> Self {
        Self::Write(error.into())
    }
}

impl Copy {
    fn records(&mut self, files: &mut LogFiles<'_>) -> Result<(), CopyError> {
        let mut segment = 0;
        while let Some(LogRecord { at, body, .. }) = files.next_record().map_err(CopyError::Read)? {
            match body {
                RecordBody::Event(event) => drop(self.encoder.raw_event(at, event.record_type, event.payload)?),
                RecordBody::Mark(mark) => self.encoder.mark(at, &mark)?,
                RecordBody::Frame(frame) => self.encoder.feed_frame(at, &frame)?,
                RecordBody::Batch { durable_seq } => self.encoder.batch(durable_seq)?,
                RecordBody::Unknown(note) => self.encoder.raw_note(at, note.record_type, note.payload)?,
                // The copy gets its own.
                RecordBody::Index(_) | RecordBody::End(_) => {}
            }
            if self.encoder.pending().len() >= BUFFER_SIZE_BYTES {
                self.flush()?;
            }
            if files.segment_header().segment != segment {
                segment = files.segment_header().segment;
                check_alike(files)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.file.append(self.encoder.pending())?;
        self.encoder.take_pending();
        Ok(())
    }
}

/// Checks that a segment's header says nothing that the header of the copy, which is segment 0's, does not say.
fn check_alike(files: &LogFiles<'_>) -> Result<(), RepairError> {
    let (first, now) = (files.header(), files.segment_header());
    let field = if now.event_schema != first.event_schema {
        "event schema"
    } else if (now.seed, now.scenario_digest, &now.drill) != (first.seed, first.scenario_digest, &first.drill) {
        "scenario"
    } else {
        return Ok(());
    };
    Err(RepairError::Mixed { file: files.segment_path().display().to_string(), field })
}

fn torn_tail(files: &LogFiles<'_>) -> Option<Cut> {
    let found = files.segment_summary();
    let Tail::Torn { offset, bytes, fault } = found.summary.tail else {
        return None;
    };
    let (file, next_seq) = (found.path.display().to_string(), found.summary.next_seq);
    Some(Cut { file, offset, bytes, next_seq, corruption: false, reason: format!("torn tail: {fault}") })
}

/// Returns where damage lies, or the error where it is none.
fn damage(files: &LogFiles<'_>, error: LogFileError) -> Result<Cut, RepairError> {
    let next_seq = files.next_seq();
    match error {
        LogFileError::Read(error) if !matches!(error.fault, ReadFault::UnknownRecord { .. }) => {
            let bytes = files.segment_summary().size_bytes.saturating_sub(error.offset);
            let reason = error.fault.to_string();
            Ok(Cut { file: error.file, offset: error.offset, bytes, next_seq, corruption: true, reason })
        }
        LogFileError::Header(HeaderError { file, fault }) => {
            Ok(Cut { file, offset: 0, bytes: 0, next_seq, corruption: true, reason: fault.to_string() })
        }
        other => Err(other.into()),
    }
}

/// Returns the name under which the copy is written, beside `out`.
fn temporary_path(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(".repairing");
    out.with_file_name(name)
}

/// Removes what a repair left that did not come to its end. One that is still going on has the file's lock.
fn remove_leftover(storage: &dyn Storage, temporary: &Path) -> Result<(), RepairError> {
    if storage.entry_kind(temporary)?.is_some() {
        drop(storage.open_append(temporary)?);
        storage.remove(temporary)?;
    }
    Ok(())
}
