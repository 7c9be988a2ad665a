//! The log of a run in a file, so that the run can be gone on with after its process was killed.
//!
//! The world of a run is no part of its log, but it can be had again: the same scenario leads to the same events. So a run
//! that goes on first repeats its past, event by event, against the log; where it comes to the log's end its process is
//! killed in that world too, and starts again with what its ledger had made durable. A mark stands where that happened, so
//! that the next repetition does the same.
//!
//! ```text
//!   first process    1 2 3 4 ... n
//!   second process   1 2 3 4 ... n  (killed)  Crashed  Booted  n+3 ...
//!   third process    1 2 3 4 ... n  (killed)  Crashed  Booted  n+3 ... m  (killed)  Crashed  Booted ...
//!                    '--- repeated, compared ---'
//! ```

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
};

use drillfold_kernel::{
    event::Event,
    units::{Seq, TimeMs},
};
use thiserror::Error;

use super::{
    point::{Events, Passed},
    verify::ReplayError,
};
use crate::{
    storage::{EntryKind, Storage, StorageError},
    wal::{
        Access, AppendError, Digests, DurabilityPolicy, LogFileError, LogFiles, LogHeader, LogWriter, Mark, MarkKind,
        ReadOptions, ResumeError, TornTail, WriterOptions,
    },
};

/// Name of the mark that stands where a process was killed and another went on. No step has its index.
const KILLED: &str = "the process was killed; another goes on";

/// Why a run can't be kept, or not be gone on with.
#[derive(Debug, Error)]
pub enum KeptError {
    /// The storage refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The log can't be read.
    #[error(transparent)]
    File(#[from] LogFileError),
    /// An event of the log can't be read.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The log can't be gone on with.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// The log takes no more.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log is one of another run.
    #[error(
        "{file}: its {field} is {found:?}, that of the run is {expected:?}; it is the log of another run, choose another file"
    )]
    OtherRun {
        /// The log.
        file: String,
        /// What differs.
        field: &'static str,
        /// What the log has.
        found: String,
        /// What the run has.
        expected: String,
    },
    /// The run does not lead to the events of the log: the log was written by another build, or of a recording that has
    /// changed.
    #[error("{file}: event {seq} is not the one that this build's run has there; go on with the build that wrote the log, or choose another file", seq = seq.0)]
    OtherEvent {
        /// The log.
        file: String,
        /// The first event that differs.
        seq: Seq,
    },
}

/// What a log had when it was opened.
#[derive(Debug)]
struct Past {
    entries: VecDeque<Entry>,
    /// Marks behind the last event.
    trailing: VecDeque<(TimeMs, Mark)>,
}

/// An event of the past with the marks in front of it.
#[derive(Debug)]
struct Entry {
    at: TimeMs,
    event: Event,
    killed: bool,
}

/// The log of a run, in one file that is durable up to the last event.
#[derive(Debug)]
pub struct KeptLog {
    file: String,
    path: PathBuf,
    /// `None` where the run is over and its log sealed.
    writer: Option<LogWriter>,
    past: Past,
    last: Seq,
    /// True until the process that went on has been noted.
    to_kill: bool,
    torn: Option<TornTail>,
}

impl KeptLog {
    /// Begins the log of a run at `path`, or opens the one that is there. All of a log that is there is read into memory.
    ///
    /// # Errors
    /// [`KeptError`]; the log is then as it was.
    pub fn open(storage: &Arc<dyn Storage>, path: &Path, header: &LogHeader) -> Result<Self, KeptError> {
        let file = path.display().to_string();
        // One file: a sealed one is that of a run that is over.
        let options = || WriterOptions::single_file(DurabilityPolicy::EveryEvent);
        if storage.entry_kind(path)? != Some(EntryKind::File) {
            let writer = LogWriter::create(Arc::clone(storage), path, header, options())?;
            let past = Past { entries: VecDeque::new(), trailing: VecDeque::new() };
            let path = path.to_path_buf();
            return Ok(Self { file, path, writer: Some(writer), past, last: Seq(0), to_kill: false, torn: None });
        }
        let (past, sealed) = read(storage, path, &file, header)?;
        let last = Seq(past.entries.len() as u64);
        let (writer, torn) = if sealed {
            (None, None)
        } else {
            let (writer, torn) = LogWriter::resume_after_crash(Arc::clone(storage), path, options())?;
            (Some(writer), torn)
        };
        let to_kill = !sealed && last > Seq(0);
        Ok(Self { file, path: path.to_path_buf(), writer, past, last, to_kill, torn })
    }

    /// Returns the last event that the log had when it was opened; 0 where it had none.
    #[must_use]
    pub const fn past(&self) -> Seq {
        self.last
    }

    /// Returns what was cut off the log when it was opened.
    #[must_use]
    pub const fn torn(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    /// Returns the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True where the run's process was killed before its next event; to be asked once before each event. Where that is the
    /// log's end it is noted in the log, unless the run `is_over` there.
    ///
    /// # Errors
    /// [`KeptError::Append`].
    pub fn killed_here(&mut self, at: TimeMs, is_over: impl FnOnce() -> bool) -> Result<bool, KeptError> {
        if let Some(next) = self.past.entries.front() {
            return Ok(next.killed);
        }
        if !std::mem::take(&mut self.to_kill) || is_over() {
            return Ok(false);
        }
        self.mark(at, &killed())?;
        Ok(true)
    }

    /// Appends a mark in front of the next event, unless it is there already.
    ///
    /// # Errors
    /// [`KeptError::Append`].
    pub fn mark(&mut self, at: TimeMs, mark: &Mark) -> Result<(), KeptError> {
        // Marks of the past are where they were put; they judge nothing.
        if !self.past.entries.is_empty() {
            return Ok(());
        }
        if let Some(place) = self.past.trailing.iter().position(|there| there == &(at, mark.clone())) {
            self.past.trailing.remove(place);
            return Ok(());
        }
        self.writer.as_mut().map_or(Ok(()), |writer| writer.mark(at, mark))?;
        Ok(())
    }

    /// Appends an event, durably; one of the past is compared.
    ///
    /// # Errors
    /// [`KeptError::OtherEvent`], [`KeptError::Append`].
    pub fn event(&mut self, seq: Seq, at: TimeMs, event: &Event) -> Result<(), KeptError> {
        let other = |file: &str| KeptError::OtherEvent { file: file.to_owned(), seq };
        match (self.past.entries.pop_front(), &mut self.writer) {
            (Some(past), _) if past.at == at && past.event == *event => Ok(()),
            (Some(_), _) | (None, None) => Err(other(&self.file)),
            (None, Some(writer)) => {
                let appended = writer.event(at, event)?;
                if appended == seq { Ok(()) } else { Err(other(&self.file)) }
            }
        }
    }

    /// Seals the log of a run that has come to its end.
    ///
    /// # Errors
    /// [`KeptError::Append`].
    pub fn finish(self) -> Result<(), KeptError> {
        if let Some(writer) = self.writer {
            writer.finish()?;
        }
        Ok(())
    }
}

fn killed() -> Mark {
    Mark { kind: MarkKind::Step, step_index: u32::MAX, name: KILLED.to_owned() }
}

/// Reads a log whole and makes sure that it is one of this run. Returns whether it is sealed, too.
fn read(storage: &Arc<dyn Storage>, path: &Path, file: &str, run: &LogHeader) -> Result<(Past, bool), KeptError> {
    let options = ReadOptions { digests: Digests::Check, access: Access::Positional };
    let mut files = LogFiles::open(&**storage, path, options)?;
    let header = files.header();
    let same = [
        ("drill", header.drill.clone(), run.drill.clone()),
        ("seed", header.seed.to_string(), run.seed.to_string()),
        ("scenario digest", header.scenario_digest.to_string(), run.scenario_digest.to_string()),
    ];
    for (field, found, expected) in same {
        if found != expected {
            return Err(KeptError::OtherRun { file: file.to_owned(), field, found, expected });
        }
    }
    let mut past = Past { entries: VecDeque::new(), trailing: VecDeque::new() };
    let mut events = Events::new(&mut files)?;
    while let Some(passed) = events.next_or_mark()? {
        match passed {
            Passed { at, mark: Some(mark), .. } => past.trailing.push_back((at, mark)),
            Passed { at, mark: None, .. } => {
                let killed = past.trailing.drain(..).any(|(_, mark)| mark == killed());
                past.entries.push_back(Entry { at, event: events.event().clone(), killed });
            }
        }
    }
    let sealed = files.segment_summaries().last().is_some_and(|segment| segment.summary.end.is_some());
    Ok((past, sealed))
}
