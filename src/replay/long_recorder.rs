//! Recording a long run: its log goes to files as it grows, its trace to the caller part by part.

use drillfold_kernel::{
    event::Event,
    units::{Seq, TimeMs},
};

use super::{
    folder::{Folder, Strides},
    recorder::RecordError,
    tracer::{Tracer, TracerError},
};
use crate::wal::{AppendError, Checkpoint, LogHeader, LogWriter, Mark};

/// Appends each event to a log in files before it is folded. Memory does not grow with the log, as long as the bytes of the
/// trace are taken.
#[derive(Debug)]
pub struct LongRecorder {
    tracer: Tracer,
    log: LogWriter,
    drill: String,
}

impl LongRecorder {
    /// Begins the trace of a new log, which was created with that header. Its strides are [`Strides::LONG`].
    ///
    /// # Errors
    /// [`RecordError::Trace`]: a header that no trace can have.
    pub fn new(log: LogWriter, header: &LogHeader) -> Result<Self, RecordError> {
        let drill = header.drill.clone();
        let tracer =
            Tracer::new(header, Strides::LONG).map_err(|source| RecordError::Trace { drill: drill.clone(), source })?;
        Ok(Self { tracer, log, drill })
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

    /// Takes the bytes of the trace that were not taken yet; `None` where there are none.
    pub fn take_trace(&mut self) -> Option<Vec<u8>> {
        self.tracer.has_pending().then(|| self.tracer.take_pending())
    }

    /// Seals the log and then the trace. Returns the last checkpoint and the rest of the trace.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn finish(mut self) -> Result<(Checkpoint, Vec<u8>), RecordError> {
        let Self { log, drill, .. } = self;
        log.finish().map_err(|source| RecordError::Append { drill: drill.clone(), source })?;
        let last = self.tracer.finish().map_err(|source| RecordError::Trace { drill, source })?;
        Ok((last, self.tracer.take_pending()))
    }

    fn not_traced(&self, source: TracerError) -> RecordError {
        RecordError::Trace { drill: self.drill.clone(), source }
    }

    fn failed(&self, source: AppendError) -> RecordError {
        RecordError::Append { drill: self.drill.clone(), source }
    }
}
