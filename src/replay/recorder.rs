//! Recording a run: its log and what this build makes of it.

use drillfold_kernel::{
    event::Event,
    units::{Seq, TimeMs},
};
use thiserror::Error;

use super::{
    folder::{Folder, Strides},
    kept::{KeptError, KeptLog},
    tracer::{Tracer, TracerError},
};
use crate::wal::{AppendError, Checkpoint, Digest128, LogEncoder, LogHeader, LogWriter, Mark};

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
    /// The log that is kept of it can't be, or can't be gone on with.
    #[error("keep the log of {drill}")]
    Keep {
        /// The drill.
        drill: String,
        /// What failed.
        #[source]
        source: Box<KeptError>,
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

/// A log that a run is recorded into.
pub trait RecordedLog {
    /// Appends a mark in front of the next event.
    ///
    /// # Errors
    /// The log's own.
    fn mark(&mut self, at: TimeMs, mark: &Mark) -> Result<(), AppendError>;

    /// Appends an event and returns the number it got.
    ///
    /// # Errors
    /// The log's own.
    fn event(&mut self, at: TimeMs, event: &Event) -> Result<Seq, AppendError>;
}

impl RecordedLog for LogEncoder {
    fn mark(&mut self, at: TimeMs, mark: &Mark) -> Result<(), AppendError> {
        Self::mark(self, at, mark)
    }

    fn event(&mut self, at: TimeMs, event: &Event) -> Result<Seq, AppendError> {
        Self::event(self, at, event)
    }
}

impl RecordedLog for LogWriter {
    fn mark(&mut self, at: TimeMs, mark: &Mark) -> Result<(), AppendError> {
        Self::mark(self, at, mark)
    }

    fn event(&mut self, at: TimeMs, event: &Event) -> Result<Seq, AppendError> {
        Self::event(self, at, event)
    }
}

/// Appends each event to the log before it is folded.
#[derive(Debug)]
pub struct Recorder<L = LogEncoder> {
    tracer: Tracer,
    log: L,
    /// Where the log is kept in a file as well.
    kept: Option<KeptLog>,
    drill: String,
}

/// A recorder of a long run: its log goes to files as it grows, its trace to the caller part by part. Memory does not grow
/// with the log, as long as the bytes of the trace are taken.
pub type LongRecorder = Recorder<LogWriter>;

impl<L: RecordedLog> Recorder<L> {
    fn begin(log: L, header: &LogHeader, strides: Strides) -> Result<Self, RecordError> {
        let drill = header.drill.clone();
        let tracer =
            Tracer::new(header, strides).map_err(|source| RecordError::Trace { drill: drill.clone(), source })?;
        Ok(Self { tracer, log, kept: None, drill })
    }

    /// Notes a mark before the next event.
    ///
    /// # Errors
    /// [`RecordError::Append`].
    pub fn mark(&mut self, at: TimeMs, mark: &Mark) -> Result<(), RecordError> {
        if let Some(kept) = &mut self.kept {
            kept.mark(at, mark).map_err(|source| self.not_kept(source))?;
        }
        self.log.mark(at, mark).map_err(|source| self.failed(source))
    }

    /// Appends an event, then folds it. Where the log is kept in a file, the event is durable there before.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn event(&mut self, at: TimeMs, event: &Event) -> Result<Seq, RecordError> {
        if let Some(kept) = &mut self.kept {
            let seq = Seq(self.tracer.seq().0.saturating_add(1));
            kept.event(seq, at, event).map_err(|source| self.not_kept(source))?;
        }
        let seq = self.log.event(at, event).map_err(|source| self.failed(source))?;
        self.tracer.step(at, event).map_err(|source| self.not_traced(source))?;
        Ok(seq)
    }

    /// Returns the fold.
    #[must_use]
    pub const fn folder(&self) -> &Folder {
        self.tracer.folder()
    }

    fn not_kept(&self, source: KeptError) -> RecordError {
        RecordError::Keep { drill: self.drill.clone(), source: Box::new(source) }
    }

    fn not_traced(&self, source: TracerError) -> RecordError {
        RecordError::Trace { drill: self.drill.clone(), source }
    }

    fn failed(&self, source: AppendError) -> RecordError {
        RecordError::Append { drill: self.drill.clone(), source }
    }
}

impl Recorder<LogEncoder> {
    /// Begins a log and its trace, whose strides are those of drills; what is recorded goes into `kept` as well.
    ///
    /// # Errors
    /// [`RecordError`]: a name that is too long for the log.
    pub fn new(header: &LogHeader, kept: Option<KeptLog>) -> Result<Self, RecordError> {
        let not_begun = |source| RecordError::Append { drill: header.drill.clone(), source };
        let log = LogEncoder::new(header).map_err(not_begun)?;
        Ok(Self { kept, ..Self::begin(log, header, Strides::DRILL)? })
    }

    /// True where the process was killed before the next event, by the log that is kept: see [`KeptLog::killed_here`].
    ///
    /// # Errors
    /// [`RecordError::Keep`].
    pub fn killed_here(&mut self, is_over: impl FnOnce() -> bool) -> Result<bool, RecordError> {
        let at = self.folder().at();
        match &mut self.kept {
            Some(kept) => kept.killed_here(at, is_over).map_err(|source| self.not_kept(source)),
            None => Ok(false),
        }
    }

    /// Seals log and trace; the log that is kept only where the run is over and nothing will go on with it.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn finish(mut self, is_over: bool) -> Result<Recorded, RecordError> {
        if let Some(kept) = self.kept.take().filter(|_| is_over) {
            kept.finish().map_err(|source| self.not_kept(source))?;
        }
        let last = self.tracer.finish().map_err(|source| self.not_traced(source))?;
        self.log.end().map_err(|source| self.failed(source))?;
        Ok(Recorded {
            event_digest: self.log.event_digest(),
            log: self.log.take_pending(),
            trace: self.tracer.take_pending(),
            last,
        })
    }
}

impl Recorder<LogWriter> {
    /// Begins the trace of a new log, which was created with that header. Its strides are [`Strides::LONG`].
    ///
    /// # Errors
    /// [`RecordError::Trace`]: a header that no trace can have.
    pub fn of_files(log: LogWriter, header: &LogHeader) -> Result<Self, RecordError> {
        Self::begin(log, header, Strides::LONG)
    }

    /// Takes the bytes of the trace that were not taken yet; `None` where there are none.
    pub fn take_trace(&mut self) -> Option<Vec<u8>> {
        self.tracer.has_pending().then(|| self.tracer.take_pending())
    }

    /// Seals the log and then the trace. Returns the last checkpoint and the rest of the trace.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn finish(self) -> Result<(Checkpoint, Vec<u8>), RecordError> {
        let Self { mut tracer, log, drill, .. } = self;
        log.finish().map_err(|source| RecordError::Append { drill: drill.clone(), source })?;
        let last = tracer.finish().map_err(|source| RecordError::Trace { drill, source })?;
        Ok((last, tracer.take_pending()))
    }
}
