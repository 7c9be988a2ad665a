//! Folding events into a trace.

use drillfold_kernel::{
    event::Event,
    units::{Seq, TimeMs},
};
use thiserror::Error;

use super::{
    folder::{FoldError, Folder, Strides},
    point::Events,
    verify::ReplayError,
};
use crate::wal::{AppendError, Checkpoint, FinalRecord, LogFiles, LogHeader, StateImage, TraceEncoder, encode_state};

/// Why a trace can't be made.
#[derive(Debug, Error)]
pub enum TracerError {
    /// It refused a record.
    #[error("append to the trace")]
    Append(#[from] AppendError),
    /// The fold failed.
    #[error(transparent)]
    Fold(#[from] FoldError),
}

/// Folds events and notes what this build makes of them: checkpoints, state images, what it did at each event.
#[derive(Debug)]
pub struct Tracer {
    folder: Folder,
    trace: TraceEncoder,
    last: Option<Checkpoint>,
}

impl Tracer {
    /// Begins the trace of a log with that header.
    ///
    /// # Errors
    /// [`TracerError`]: strides or header that no trace can have.
    pub fn new(header: &LogHeader, strides: Strides) -> Result<Self, TracerError> {
        let made = Folder::trace_header(header.event_schema, header.scenario_digest, header.seed, strides)?;
        Ok(Self { folder: Folder::new(strides), trace: TraceEncoder::new(&made)?, last: None })
    }

    /// Folds the next event.
    ///
    /// # Errors
    /// [`TracerError`].
    pub fn step(&mut self, at: TimeMs, event: &Event) -> Result<(), TracerError> {
        self.folder.step(at, event)?;
        if self.folder.checkpoint_is_due() {
            self.checkpoint()?;
        }
        if self.folder.image_is_due() {
            let seq = self.folder.seq();
            let bytes = encode_state(self.folder.kernel()).map_err(|source| FoldError::Encode { seq, source })?;
            self.trace.image(&StateImage { seq, at, bytes: &bytes })?;
        }
        Ok(())
    }

    /// Returns the fold.
    #[must_use]
    pub const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Returns the number of the last event; 0 before the first.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.folder.seq()
    }

    /// True where the trace has bytes that were not taken yet.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.trace.pending().is_empty()
    }

    /// Takes the bytes of the trace that were not taken yet.
    pub fn take_pending(&mut self) -> Vec<u8> {
        self.trace.take_pending()
    }

    /// Seals the trace and returns its last checkpoint, which stands at the last event.
    ///
    /// # Errors
    /// [`TracerError`].
    pub fn finish(&mut self) -> Result<Checkpoint, TracerError> {
        let last = match self.last.take().filter(|last| last.seq == self.folder.seq()) {
            Some(last) => last,
            None => self.checkpoint()?,
        };
        let Checkpoint { seq, at, chain, state, .. } = last;
        self.trace.finish(&FinalRecord { seq, at, event_count: seq.0, chain, state })?;
        Ok(last)
    }

    fn checkpoint(&mut self) -> Result<Checkpoint, TracerError> {
        let checkpoint = self.folder.checkpoint()?;
        self.trace.behaviours(checkpoint.seq, checkpoint.at, self.folder.behaviours())?;
        self.trace.checkpoint(&checkpoint)?;
        self.last = Some(checkpoint.clone());
        Ok(checkpoint)
    }
}

/// Why a log can't be traced.
#[derive(Debug, Error)]
pub enum TraceLogError {
    /// The log can't be read or folded.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The trace can't be made.
    #[error(transparent)]
    Trace(#[from] TracerError),
}

/// Folds a log from its beginning and gives the bytes of its trace to `keep`, part by part. Returns the last checkpoint.
///
/// # Errors
/// [`TraceLogError`]; whatever `keep` returns.
pub fn trace_log<E: From<TraceLogError>>(
    files: &mut LogFiles<'_>,
    strides: Strides,
    mut keep: impl FnMut(Seq, Vec<u8>) -> Result<(), E>,
) -> Result<Checkpoint, E> {
    let failed = |error: TracerError| E::from(error.into());
    let unread = |error: ReplayError| E::from(error.into());
    let mut tracer = Tracer::new(files.header(), strides).map_err(failed)?;
    let mut events = Events::new(files).map_err(unread)?;
    while let Some((_, at)) = events.next().map_err(unread)? {
        tracer.step(at, events.event()).map_err(failed)?;
        if tracer.has_pending() {
            keep(tracer.seq(), tracer.take_pending())?;
        }
    }
    let last = tracer.finish().map_err(failed)?;
    keep(tracer.seq(), tracer.take_pending())?;
    Ok(last)
}
