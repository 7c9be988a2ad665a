//! Finding out what happened in a log, and why.
//!
//! **Owns** what changed ([`timeline`]), why a mode, a reason or a code stands ([`explain`]), where two logs differ
//! ([`diff_logs`]), at which event a condition first holds ([`first_holding`]) or two runs part ([`part_runs`]). Each is a call
//! with a result type; the commands only print it.
//!
//! **Invariant:** nothing here changes a log or a trace, and nothing asks a clock: equal files give equal answers.

mod builds;
mod describe;
mod explain;
mod heavy;
mod log_diff;
mod look;
mod needs;
mod predicate;
mod timeline;

pub use builds::{
    Beginning, MetAgain, OwnRun, PartDifference, PartError, Parting, RecordedRun, Run, SideInfo, StateDifference,
    part_runs,
};
pub use describe::{describe, fields};
pub use explain::{Clearing, CodeExplained, EventAt, Explanation, MarkAt, ReasonExplained, RefusedAs, Root, explain};
pub use heavy::{Heavy, Loss, Shadow, replay_heavily, state_differences, state_document};
pub use log_diff::{EffectPair, EventPair, LogDiff, LogDifference, LoggedEvent, StatusPair, diff_logs};
pub use look::{Look, StateAt, WRITTEN_WITHIN_EVENTS, Written, looks, state_at};
pub use needs::{Need, needs_of_cause, needs_of_code, needs_of_reason};
pub use predicate::{Holding, Named, Neighbour, first_holding};
pub use timeline::{Line, Standing, timeline};
