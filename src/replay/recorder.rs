//! Recording a run: its log and what this build makes of it.

use drillfold_kernel::{
    event::Event,
    units::{Seq, TimeMs},
};
use thiserror::Error;

use super::folder::{FoldError, Folder, Strides};
use crate::wal::{
    AppendError, Checkpoint, Digest128, Digest256, FinalRecord, LogEncoder, LogHeader, Mark, StateImage, TraceEncoder,
    encode_state,
};

/// Why a run can't be recorded.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The log or the trace refused a record.
    #[error("append to the log of {drill}")]
    Append {
        /// The drill.
        drill: String,
        /// What failed.
        #[source]
        source: AppendError,
    },
    /// The fold failed.
    #[error("fold the log")]
    Fold(#[from] FoldError),
}

/// A finished recording.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Bytes of the log.
    pub log: Vec<u8>,
    /// Bytes of the trace.
    pub trace: Vec<u8>,
    /// Digest over all events.
    pub event_digest: Digest128,
    /// The last checkpoint.
    pub last: Checkpoint,
}

/// Appends each event to the log before it is folded.
#[derive(Debug)]
pub struct Recorder {
    folder: Folder,
    log: LogEncoder,
    trace: TraceEncoder,
    drill: String,
    last: Option<Checkpoint>,
}

impl Recorder {
    /// Begins a log and its trace, whose strides are those of drills.
    ///
    /// # Errors
    /// [`RecordError`]: a name that is too long for the log.
    pub fn new(drill: &str, seed: u64, scenario_digest: [u8; 32], tool_version: &str) -> Result<Self, RecordError> {
        let failed = |source| RecordError::Append { drill: drill.to_owned(), source };
        let digest = Digest256(scenario_digest);
        let header = LogHeader::first(drill, seed, digest, tool_version);
        let trace = Folder::trace_header(header.event_schema, digest, seed, Strides::DRILL)?;
        Ok(Self {
            folder: Folder::new(Strides::DRILL),
            log: LogEncoder::new(&header).map_err(failed)?,
            trace: TraceEncoder::new(&trace).map_err(failed)?,
            drill: drill.to_owned(),
            last: None,
        })
    }

    /// Notes a mark before the next event.
    ///
    /// # Errors
    /// [`RecordError::Append`].
    pub fn mark(&mut self, at: TimeMs, mark: &Mark) -> Result<(), RecordError> {
        self.log.mark(at, mark).map_err(|source| self.failed(source))
    }

    /// Appends an event, then folds it.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn event(&mut self, at: TimeMs, event: &Event) -> Result<Seq, RecordError> {
        let seq = self.log.event(at, event).map_err(|source| self.failed(source))?;
        self.folder.step(at, event)?;
        if self.folder.checkpoint_is_due() {
            let checkpoint = self.folder.checkpoint()?;
            self.trace.checkpoint(&checkpoint).map_err(|source| self.failed(source))?;
            self.last = Some(checkpoint);
        }
        if self.folder.image_is_due() {
            let bytes = encode_state(self.folder.kernel()).map_err(|source| FoldError::Encode { seq, source })?;
            self.trace.image(&StateImage { seq, at, bytes: &bytes }).map_err(|source| self.failed(source))?;
        }
        Ok(seq)
    }

    /// Returns the fold.
    #[must_use]
    pub const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Seals log and trace.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn finish(mut self) -> Result<Recorded, RecordError> {
        let last = match self.last.take().filter(|last| last.seq == self.folder.seq()) {
            Some(last) => last,
            None => {
                let checkpoint = self.folder.checkpoint()?;
                self.trace.checkpoint(&checkpoint).map_err(|source| self.failed(source))?;
                checkpoint
            }
        };
        let end =
            FinalRecord { seq: last.seq, at: last.at, event_count: last.seq.0, chain: last.chain, state: last.state };
        self.trace.finish(&end).map_err(|source| self.failed(source))?;
        self.log.end().map_err(|source| self.failed(source))?;
        Ok(Recorded {
            event_digest: self.log.event_digest(),
            log: self.log.take_pending(),
            trace: self.trace.take_pending(),
            last,
        })
    }

    fn failed(&self, source: AppendError) -> RecordError {
        RecordError::Append { drill: self.drill.clone(), source }
    }
}
