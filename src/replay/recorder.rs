//! Recording a run: its log and what this build makes of it.

use drillfold_kernel::{
    event::Event,
    units::{Seq, TimeMs},
};
use thiserror::Error;

use super::{
    folder::{Folder, Strides},
    tracer::{Tracer, TracerError},
};
use crate::wal::{AppendError, Checkpoint, Digest128, Digest256, LogEncoder, LogHeader, Mark};

/// Why a run can't be recorded.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The log refused a record.
    #[error("append to the log of {drill}")]
    Append {
        /// The drill.
        drill: String,
        /// What failed.
        #[source]
        source: AppendError,
    },
    /// No trace can be made of it.
    #[error("trace the log of {drill}")]
    Trace {
        /// The drill.
        drill: String,
        /// What failed.
        #[source]
        source: TracerError,
    },
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
    tracer: Tracer,
    log: LogEncoder,
    drill: String,
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
        let log = LogEncoder::new(&header).map_err(failed)?;
        let tracer = Tracer::new(&header, Strides::DRILL)
            .map_err(|source| RecordError::Trace { drill: drill.to_owned(), source })?;
        Ok(Self { tracer, log, drill: drill.to_owned() })
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
        self.tracer.step(at, event).map_err(|source| self.not_traced(source))?;
        Ok(seq)
    }

    /// Returns the fold.
    #[must_use]
    pub const fn folder(&self) -> &Folder {
        self.tracer.folder()
    }

    /// Seals log and trace.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn finish(mut self) -> Result<Recorded, RecordError> {
        let last = self.tracer.finish().map_err(|source| self.not_traced(source))?;
        self.log.end().map_err(|source| self.failed(source))?;
        Ok(Recorded {
            event_digest: self.log.event_digest(),
            log: self.log.take_pending(),
            trace: self.tracer.take_pending(),
            last,
        })
    }

    fn not_traced(&self, source: TracerError) -> RecordError {
        RecordError::Trace { drill: self.drill.clone(), source }
    }

    fn failed(&self, source: AppendError) -> RecordError {
        RecordError::Append { drill: self.drill.clone(), source }
    }
}
