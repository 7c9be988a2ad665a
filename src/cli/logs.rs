//! Logs and traces as the commands open them, and places in a log as people write them.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
};

use drillfold_kernel::units::{Seq, TimeMs};

use super::project::Project;
use crate::{
    replay::{Images, Place},
    storage::{EntryKind, Mapping, Storage as _},
    text::time,
    wal::{Access, Digests, LogFiles, ReadOptions, Trace},
};

/// How a place in a log is written; for the help of every command that takes one.
pub const PLACE_HELP: &str = "an event's number, a moment (2026-01-05T09:00:10.25Z), milliseconds since the epoch \
                              (@1767603610250), or a time since the first event (+10s)";

/// A place in a log as it was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceText {
    /// After an event.
    Seq(u64),
    /// After the last event up to a moment.
    Time(i64),
    /// So long after the first event.
    Since(i64),
}

impl std::str::FromStr for PlaceText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = match text.split_at_checked(1) {
            Some(("@", ms)) => ms.parse().ok().map(Self::Time),
            Some(("+", duration)) => time::duration_ms(duration).map(Self::Since),
            _ => text.parse().ok().map(Self::Seq).or_else(|| time::moment_ms(text).map(Self::Time)),
        };
        found.ok_or_else(|| format!("expected {PLACE_HELP}"))
    }
}

impl PlaceText {
    /// Returns the place in a log, whose first event may have to be read for it.
    ///
    /// # Errors
    /// A log that can't be read.
    pub fn in_log(self, files: &mut LogFiles<'_>) -> anyhow::Result<Place> {
        Ok(match self {
            Self::Seq(seq) => Place::Seq(Seq(seq)),
            Self::Time(ms) => Place::Time(TimeMs(ms)),
            Self::Since(ms) => {
                files.seek_seq(Seq(1))?;
                let first = files.next_record()?.map_or(TimeMs(0), |record| record.at);
                Place::Time(first.after(ms))
            }
        })
    }
}

/// Opens a log. Without its digest checked, where only a part of it will be read.
///
/// # Errors
/// A log that can't be read.
pub fn open_log<'p>(project: &'p Project, log: &Path, digests: Digests) -> anyhow::Result<LogFiles<'p>> {
    Ok(LogFiles::open(project.storage(), log, ReadOptions { digests, access: Access::Mapped })?)
}

/// The bytes of a trace and the file they are of.
#[derive(Debug)]
pub struct TraceFile {
    /// The file.
    pub path: PathBuf,
    /// Its bytes. A trace is written once and never changed, so it can be mapped.
    pub bytes: Mapping,
}

impl TraceFile {
    /// Reads the trace that was named, or the one beside the log; `None` where there is none.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn find(project: &Project, log: &Path, named: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => log.with_extension("trace"),
        };
        if named.is_none() && project.storage().entry_kind(&path)? != Some(EntryKind::File) {
            return Ok(None);
        }
        let bytes = project.storage().open_read(&path)?.map()?;
        Ok(Some(Self { path, bytes }))
    }

    /// Returns its name for messages.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Reads it.
    ///
    /// # Errors
    /// A trace that is damaged.
    pub fn read(&self) -> anyhow::Result<Trace<'_>> {
        Ok(Trace::read(&self.name(), &self.bytes)?)
    }
}

/// Opens a log of which a part will be read, with the state images of its trace, and asks something of them.
///
/// # Errors
/// A log or trace that can't be read; whatever `ask` returns.
pub fn with_images<T>(
    project: &Project,
    log: &Path,
    trace: Option<&TraceFile>,
    ask: impl FnOnce(&mut LogFiles<'_>, Option<Images<'_>>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut files = open_log(project, log, Digests::Skip)?;
    let trace = trace.map(TraceFile::read).transpose()?;
    let images = match &trace {
        Some(trace) => Images::of(trace, files.header())?,
        None => None,
    };
    ask(&mut files, images)
}

/// Says on a terminal how far a long log has been read; nothing where nobody looks.
#[derive(Debug)]
pub struct Progress {
    shown: bool,
}

/// Events from one line of progress to the next.
const PROGRESS_EVENTS: u64 = 1 << 20;

impl Progress {
    /// Begins; `what` is done with the log.
    #[must_use]
    pub fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal() }
    }

    /// Says how far it is, now and then.
    pub fn at(&self, seq: Seq, err: &mut dyn Write) {
        if self.shown && seq.0.is_multiple_of(PROGRESS_EVENTS) {
            // A terminal that has gone away needs no progress.
            let _ = write!(err, "\r{} million events", seq.0 / 1_000_000);
        }
    }

    /// Takes the line away.
    pub fn end(&self, err: &mut dyn Write) {
        if self.shown {
            let _ = write!(err, "\r{:30}\r", "");
        }
    }
}
