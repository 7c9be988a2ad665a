//! Going to a point of a log: the state after one event, without folding everything before it.
//!
//! A trace's state images are what makes that quick: the fold goes on from the last one before the point. Such a state is
//! that of the build which made the trace, up to the image; a trace of another layout of the state is not used.

use drillfold_kernel::{
    Kernel,
    event::Event,
    units::{Seq, TimeMs},
};

use super::{
    folder::{Folder, Strides, state_fingerprint},
    verify::ReplayError,
};
use crate::wal::{Digest128, LogFileError, LogFiles, LogHeader, LogRecord, Mark, RecordBody, Trace, decode_state};

/// Which point of a log is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// After the event of this number; 0 is before the first.
    Seq(Seq),
    /// After the last event that is not later than this.
    Time(TimeMs),
    /// After the last event.
    End,
}

/// A trace's state images, where they can be used for a log.
#[derive(Clone, Copy, Debug)]
pub struct Images<'t> {
    trace: &'t Trace<'t>,
}

impl<'t> Images<'t> {
    /// Returns the images of `trace`; `None` where they are of another log, or of another layout of the state than this
    /// build's.
    ///
    /// # Errors
    /// [`ReplayError::Fold`].
    pub fn of(trace: &'t Trace<'t>, log: &LogHeader) -> Result<Option<Self>, ReplayError> {
        let own = state_fingerprint().map_err(|source| super::folder::FoldError::Encode { seq: Seq(0), source })?;
        let fits = trace.header.require_log("trace", log).is_ok() && trace.header.state_fingerprint == own;
        Ok(fits.then_some(Self { trace }))
    }

    /// Returns the fold at the last image at or before `seq`.
    fn before(&self, seq: Seq) -> Option<Folder> {
        let image = self.trace.image_before(seq)?;
        let header = &self.trace.header;
        let strides = Strides { checkpoint: header.checkpoint_stride_events, image: header.image_stride_events };
        let chain = match self.trace.checkpoint_before(image.seq) {
            Some(checkpoint) if checkpoint.seq == image.seq => checkpoint.chain,
            Some(_) | None if image.seq == Seq(0) => Digest128::ZERO,
            // The chain can't be gone on with, so neither can the fold.
            Some(_) | None => return None,
        };
        let kernel: Kernel = decode_state(image.bytes).ok()?;
        Some(Folder::resume(strides, kernel, image.seq, image.at, chain))
    }
}

/// What was read of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Number of the event; of a mark, of the event after it.
    pub seq: Seq,
    /// Its time.
    pub at: TimeMs,
    /// The mark, where it is one.
    pub mark: Option<Mark>,
}

/// The events of a log, decoded one by one into memory that is used again.
#[derive(Debug)]
pub struct Events<'f, 's> {
    files: &'f mut LogFiles<'s>,
    file: String,
    event: Event,
}

impl<'f, 's> Events<'f, 's> {
    /// Begins where the log is read next.
    ///
    /// # Errors
    /// The header's error for a log with events that this build does not know.
    pub fn new(files: &'f mut LogFiles<'s>) -> Result<Self, ReplayError> {
        let file = files.segment_path().display().to_string();
        files.header().require_known_schema(&file).map_err(LogFileError::Header)?;
        Ok(Self { files, file, event: Event::LoopTicked })
    }

    /// Decodes the next event and returns its number and time; `None` at the end of the log.
    ///
    /// # Errors
    /// [`ReplayError::Log`], [`ReplayError::Decode`].
    #[expect(clippy::should_implement_trait, reason = "each call can fail, or lends what it returns")]
    pub fn next(&mut self) -> Result<Option<(Seq, TimeMs)>, ReplayError> {
        loop {
            match self.next_or_mark()? {
                Some(Passed { seq, at, mark: None }) => return Ok(Some((seq, at))),
                Some(Passed { mark: Some(_), .. }) => {}
                None => return Ok(None),
            }
        }
    }

    /// As [`Self::next`], with the marks between events in their places.
    ///
    /// # Errors
    /// [`ReplayError::Log`], [`ReplayError::Decode`].
    #[inline]
    pub fn next_or_mark(&mut self) -> Result<Option<Passed>, ReplayError> {
        loop {
            let (seq, at, decoded) = match self.files.next_event() {
                Some(placed) => (placed.seq, placed.at, placed.event.decode_into(&mut self.event)),
                None => match self.files.next_record()? {
                    None => return Ok(None),
                    Some(LogRecord { seq, at, body: RecordBody::Event(raw), .. }) => {
                        (seq, at, raw.decode_into(&mut self.event))
                    }
                    Some(LogRecord { seq, at, body: RecordBody::Mark(mark), .. }) => {
                        return Ok(Some(Passed { seq, at, mark: Some(mark) }));
                    }
                    Some(_) => continue,
                },
            };
            decoded.map_err(|fault| ReplayError::Decode { file: self.file.clone(), seq, fault })?;
            return Ok(Some(Passed { seq, at, mark: None }));
        }
    }

    /// Returns the event that was decoded last; of no meaning before the first.
    #[must_use]
    pub const fn event(&self) -> &Event {
        &self.event
    }
}

/// A fold that goes through a log, event by event, from an image or from the start.
#[derive(Debug)]
pub struct Walk<'f, 's> {
    events: Events<'f, 's>,
    folder: Folder,
    started: Seq,
}

impl<'f, 's> Walk<'f, 's> {
    /// Begins a walk that will reach the event after `seq` soonest: from the last image at or before it.
    ///
    /// # Errors
    /// [`ReplayError::Log`]; for a log with events that this build does not know, its header's error.
    pub fn before(
        files: &'f mut LogFiles<'s>,
        images: Option<Images<'_>>,
        seq: Seq,
        strides: Strides,
    ) -> Result<Self, ReplayError> {
        let folder = images.and_then(|images| images.before(seq)).unwrap_or_else(|| Folder::new(strides));
        let started = folder.seq();
        files.seek_seq(Seq(started.0.saturating_add(1)))?;
        Ok(Self { events: Events::new(files)?, folder, started })
    }

    /// Folds the next event and returns it; `None` at the end of the log.
    ///
    /// # Errors
    /// [`ReplayError`].
    #[expect(clippy::should_implement_trait, reason = "each call can fail, or lends what it returns")]
    pub fn next(&mut self) -> Result<Option<(Seq, TimeMs, &Event)>, ReplayError> {
        let Some((seq, at)) = self.events.next()? else { return Ok(None) };
        self.folder.step(at, self.events.event())?;
        Ok(Some((seq, at, self.events.event())))
    }

    /// Folds events up to and with `seq`; true where the log has it.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub fn go_to(&mut self, seq: Seq) -> Result<bool, ReplayError> {
        while self.folder.seq() < seq {
            if self.next()?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the fold.
    #[must_use]
    pub const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Returns the last event folded; of no meaning before the first.
    #[must_use]
    pub const fn event(&self) -> &Event {
        self.events.event()
    }

    /// Returns the event after which the walk began: 0, or that of an image.
    #[must_use]
    pub const fn started(&self) -> Seq {
        self.started
    }

    /// Returns the fold and ends the walk.
    #[must_use]
    pub fn into_folder(self) -> Folder {
        self.folder
    }
}

/// Returns the number of the last event that a place covers.
///
/// # Errors
/// [`ReplayError::Log`], [`ReplayError::Beyond`] where the log ends before it.
pub fn last_event(files: &mut LogFiles<'_>, place: Place) -> Result<Seq, ReplayError> {
    let behind = match place {
        Place::Seq(Seq(0)) => return Ok(Seq(0)),
        Place::Seq(seq) => {
            let last = end(files)?;
            if seq <= last {
                return Ok(seq);
            }
            return Err(ReplayError::Beyond { file: files.segment_path().display().to_string(), seq, last });
        }
        Place::Time(at) => files.seek_time(at.after(1))?,
        Place::End => None,
    };
    match behind {
        Some(seq) => Ok(Seq(seq.0.saturating_sub(1))),
        None => end(files),
    }
}

/// Returns the number of the log's last event, and goes to its end.
fn end(files: &mut LogFiles<'_>) -> Result<Seq, ReplayError> {
    files.seek_seq(Seq(u64::MAX))?;
    Ok(Seq(files.next_seq().0.saturating_sub(1)))
}

/// Returns the fold at a place of a log: from the last image before it, or from the start where there is none.
///
/// # Errors
/// [`ReplayError`].
pub fn fold_to(files: &mut LogFiles<'_>, images: Option<Images<'_>>, place: Place) -> Result<Folder, ReplayError> {
    let seq = last_event(files, place)?;
    let mut walk = Walk::before(files, images, seq, Strides::DRILL)?;
    walk.go_to(seq)?;
    Ok(walk.into_folder())
}
