//! Folding a log, with or without a world behind it: the same fold, the same hashes.
//!
//! **Owns** the fold with its chain and state hashes ([`Folder`]), the recording of a run into log and trace
//! ([`Recorder`], for long ones [`LongRecorder`]), the log of a run that is gone on with ([`KeptLog`]), and the replay of a log against its trace ([`replay_files`], [`replay()`]).
//!
//! **Invariant:** on replay there is no world: the log alone rebuilds every state, and effects are only compared.
//! **Invariant:** replay never consults a time for order; sequence numbers alone order events.

mod folder;
mod kept;
mod point;
mod recorder;
mod tracer;
mod verify;

pub use folder::{FoldError, Folder, Strides, leaves_of, state_fingerprint};
pub use kept::{KeptError, KeptLog};
pub use point::{Events, Images, Passed, Place, Walk, fold_to, last_event};
pub use recorder::{LongRecorder, RecordError, Recorded, RecordedLog, Recorder};
pub use tracer::{TraceLogError, Tracer, TracerError, trace_log};
pub use verify::{Divergence, Replay, ReplayError, ReplayedStatus, replay, replay_files};
