//! Replay: the log alone rebuilds every state; the recorded hashes are compared on the way.
//!
//! One event is in memory at a time, and of the own checkpoints only the last: what a replay needs does not grow with the
//! log. A trace is read whole; its strides decide how large it is.

use drillfold_kernel::{
    event::Event,
    status::Status,
    units::{Seq, TimeMs},
};
use thiserror::Error;

use super::folder::{FoldError, Folder, Strides};
use crate::wal::{
    Checkpoint, EventView, HeaderError, LogError, LogFileError, LogFiles, LogHeader, LogReader, LogRecord, Mark,
    MarkKind, RawEvent, RecordBody, RecordError, Trace,
};

/// Why a log can't be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The log can't be read.
    #[error("read the log")]
    Log(#[from] LogFileError),
    /// A sound record of the log holds no event of this build.
    #[error("{file}: event {seq}: {fault}", seq = seq.0)]
    Decode {
        /// The log's file.
        file: String,
        /// The event's number.
        seq: Seq,
        /// What is wrong.
        fault: RecordError,
    },
    /// The trace can't be read.
    #[error("read the trace")]
    Trace(#[source] LogError),
    /// The trace belongs to another log, or was made with hashes that this build does not make.
    #[error("{file}: {reason}; rebuild it with the build that wrote the log, or replay without it")]
    TraceMismatch {
        /// The trace.
        file: String,
        /// Why.
        reason: &'static str,
    },
    /// The log has no such event.
    #[error("{file}: there is no event {seq}: the log's last is {last}", seq = seq.0, last = last.0)]
    Beyond {
        /// The log's file.
        file: String,
        /// The event asked for.
        seq: Seq,
        /// The log's last event.
        last: Seq,
    },
    /// The fold failed.
    #[error("fold the log")]
    Fold(#[from] FoldError),
}

/// Where a replay's hashes first differ from the recorded ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The last checkpoint at which both agreed; 0 is the log's beginning.
    pub same_until: Seq,
    /// The first checkpoint at which they differ.
    pub differs_at: Seq,
    /// Names of the differing hashes: `chain`, then the components of the state.
    pub what: Vec<String>,
}

/// A status that the log's marks ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayedStatus {
    /// The snapshot's name.
    pub name: String,
    /// The event after which it was taken.
    pub seq: Seq,
    /// That event's time.
    pub at: TimeMs,
    /// The status; `None` where no process was up.
    pub status: Option<Status>,
}

/// What a replay found.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The log's header.
    pub header: LogHeader,
    /// Names of the state's components, in the order of the leaves.
    pub components: Vec<String>,
    /// Statuses at the log's snapshot marks.
    pub snapshots: Vec<ReplayedStatus>,
    /// The status after the last event; `None` where no process was up.
    pub status: Option<Status>,
    /// Events folded.
    pub event_count: u64,
    /// Time of the last event.
    pub at: TimeMs,
    /// Checkpoints compared with a trace; `None` without one.
    pub compared: Option<usize>,
    /// Where the trace and this build part, if they do.
    pub divergence: Option<Divergence>,
}

/// Folds a log in memory and compares it with its trace, where one is given. `file` is named in errors; `take` gets each
/// checkpoint that this build makes, that of the last event included.
///
/// # Errors
/// [`ReplayError`]; a divergence is no error but a finding.
pub fn replay(
    file: &str,
    log: &[u8],
    trace: Option<(&str, &[u8])>,
    take: impl FnMut(&Checkpoint),
) -> Result<Replay, ReplayError> {
    let mut reader = LogReader::open(file, log).map_err(LogFileError::Header)?;
    let mut replayer = Replayer::new(reader.header(), file, trace, take)?;
    while let Some(record) = reader.next_record().map_err(LogFileError::Read)? {
        replayer.record(file, &record)?;
    }
    replayer.finish()
}

/// Folds a log from where its files are read next, which is to be its beginning, and compares it with its trace, where
/// one is given. `take` gets each checkpoint that this build makes, that of the last event included.
///
/// # Errors
/// [`ReplayError`]; a divergence is no error but a finding.
pub fn replay_files(
    files: &mut LogFiles<'_>,
    trace: Option<(&str, &[u8])>,
    take: impl FnMut(&Checkpoint),
) -> Result<Replay, ReplayError> {
    let file = files.segment_path().display().to_string();
    let mut replayer = Replayer::new(files.header(), &file, trace, take)?;
    loop {
        while let Some(placed) = files.next_event() {
            replayer.raw_event(&file, placed.seq, placed.at, &placed.event)?;
        }
        let Some(record) = files.next_record()? else { break };
        replayer.record(&file, &record)?;
    }
    replayer.finish()
}

/// A replay under way.
struct Replayer<'t, F> {
    header: LogHeader,
    components: Vec<String>,
    trace: Option<Trace<'t>>,
    /// How many of the trace's checkpoints were passed.
    passed: usize,
    folder: Folder,
    /// The last event, whose memory the next one uses again.
    event: Event,
    last: Option<Checkpoint>,
    snapshots: Vec<ReplayedStatus>,
    same_until: Seq,
    divergence: Option<Divergence>,
    take: F,
}

impl<'t, F: FnMut(&Checkpoint)> Replayer<'t, F> {
    fn new(header: &LogHeader, file: &str, trace: Option<(&str, &'t [u8])>, take: F) -> Result<Self, ReplayError> {
        header.require_known_schema(file).map_err(|error: HeaderError| LogFileError::Header(error))?;
        let mut strides = Strides::DRILL;
        let mut own = Folder::trace_header(header.event_schema, header.scenario_digest, header.seed, strides)?;
        let trace = match trace {
            None => None,
            Some((name, bytes)) => {
                let trace = Trace::read(name, bytes).map_err(ReplayError::Trace)?;
                let mismatch = |reason| ReplayError::TraceMismatch { file: name.to_owned(), reason };
                let made = &trace.header;
                if made.scenario_digest != header.scenario_digest || made.seed != header.seed {
                    return Err(mismatch("it was made of another log"));
                }
                if made.behaviour_version != own.behaviour_version {
                    return Err(mismatch("its hashes are of another behaviour version"));
                }
                if made.state_fingerprint != own.state_fingerprint {
                    return Err(mismatch("its hashes are of another state layout"));
                }
                strides = Strides { checkpoint: made.checkpoint_stride_events, image: made.image_stride_events };
                Some(trace)
            }
        };
        Ok(Self {
            header: header.clone(),
            components: std::mem::take(&mut own.components),
            trace,
            passed: 0,
            folder: Folder::new(strides),
            event: Event::LoopTicked,
            last: None,
            snapshots: Vec::new(),
            same_until: Seq(0),
            divergence: None,
            take,
        })
    }

    fn record(&mut self, file: &str, record: &LogRecord<'_>) -> Result<(), ReplayError> {
        match &record.body {
            RecordBody::Event(raw) => self.raw_event(file, record.seq, record.at, raw),
            RecordBody::Mark(mark) => {
                self.mark(mark);
                Ok(())
            }
            RecordBody::Frame(_)
            | RecordBody::Batch { .. }
            | RecordBody::Index(_)
            | RecordBody::End(_)
            | RecordBody::Unknown(_) => Ok(()),
        }
    }

    fn raw_event(&mut self, file: &str, seq: Seq, at: TimeMs, raw: &RawEvent<'_>) -> Result<(), ReplayError> {
        let undecoded = |fault| ReplayError::Decode { file: file.to_owned(), seq, fault };
        let is_folded = match raw.view().map_err(undecoded)? {
            EventView::BookChanged(change) => self.folder.step_book_change(at, &change)?,
            EventView::TradesReceived(_) | EventView::TickerReceived(_) | EventView::Other(_) => false,
        };
        if !is_folded {
            raw.decode_into(&mut self.event).map_err(undecoded)?;
            self.folder.step(at, &self.event)?;
        }
        if self.folder.checkpoint_is_due() {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn mark(&mut self, mark: &Mark) {
        if mark.kind == MarkKind::Snapshot {
            self.snapshots.push(ReplayedStatus {
                name: mark.name.clone(),
                seq: self.folder.seq(),
                at: self.folder.at(),
                status: self.folder.kernel().status(),
            });
        }
    }

    fn checkpoint(&mut self) -> Result<(), ReplayError> {
        let own = self.folder.checkpoint()?;
        (self.take)(&own);
        self.compare(&own);
        self.last = Some(own);
        Ok(())
    }

    /// Compares an own checkpoint with the trace's next ones; what comes after the first difference tells nothing more.
    fn compare(&mut self, own: &Checkpoint) {
        let Some(trace) = &self.trace else { return };
        while let Some(recorded) = trace.checkpoints.get(self.passed).filter(|recorded| recorded.seq <= own.seq) {
            self.passed += 1;
            if recorded == own {
                self.same_until = own.seq;
                return;
            }
            let what = if recorded.seq == own.seq {
                differing_hashes(recorded, own, &trace.header.components)
            } else {
                vec!["checkpoint missing".to_owned()]
            };
            let found = Divergence { same_until: self.same_until, differs_at: recorded.seq, what };
            self.divergence.get_or_insert(found);
            if recorded.seq == own.seq {
                return;
            }
        }
        self.divergence.get_or_insert_with(|| Divergence {
            same_until: self.same_until,
            differs_at: own.seq,
            what: vec!["checkpoint missing in the trace".to_owned()],
        });
    }

    fn finish(mut self) -> Result<Replay, ReplayError> {
        if self.last.as_ref().is_none_or(|last| last.seq != self.folder.seq()) {
            self.checkpoint()?;
        }
        let compared = self.trace.as_ref().map(|trace| trace.checkpoints.len());
        if let Some(recorded) = self.trace.as_ref().and_then(|trace| trace.checkpoints.get(self.passed)) {
            let (same_until, differs_at) = (self.same_until, recorded.seq);
            let what = vec!["checkpoint missing".to_owned()];
            self.divergence.get_or_insert(Divergence { same_until, differs_at, what });
        }
        Ok(Replay {
            header: self.header,
            components: self.components,
            snapshots: self.snapshots,
            status: self.folder.kernel().status(),
            event_count: self.folder.seq().0,
            at: self.folder.at(),
            compared,
            divergence: self.divergence,
        })
    }
}

/// Returns the names of the hashes in which two checkpoints of one event differ: `chain`, then components.
fn differing_hashes(recorded: &Checkpoint, own: &Checkpoint, components: &[String]) -> Vec<String> {
    let chain = (own.chain != recorded.chain).then(|| "chain".to_owned());
    let leaves =
        components.iter().enumerate().filter(|(place, _)| own.leaves.get(*place) != recorded.leaves.get(*place));
    chain.into_iter().chain(leaves.map(|(_, name)| name.clone())).collect()
}
