//! Replay: the log alone rebuilds every state; the recorded hashes are compared on the way.

use drillfold_kernel::{
    status::Status,
    units::{Seq, TimeMs},
};
use thiserror::Error;

use super::folder::{FoldError, Folder};
use crate::wal::{Checkpoint, LogError, LogHeader, MarkKind, Trace, read_log};

/// Why a log can't be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The log can't be read.
    #[error("read the log")]
    Log(#[source] LogError),
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
    /// Checkpoints that this build makes of the log, the last event's included.
    pub checkpoints: Vec<Checkpoint>,
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

/// Folds a log and compares it with its trace, where one is given.
///
/// # Errors
/// [`ReplayError`]; a divergence is no error but a finding.
pub fn replay(file: &str, log: &[u8], trace: Option<(&str, &[u8])>) -> Result<Replay, ReplayError> {
    let decoded = read_log(file, log).map_err(ReplayError::Log)?;
    let header = decoded.header.clone();
    let own = Folder::trace_header(header.event_schema, header.scenario_digest, header.seed)?;
    let trace = match trace {
        None => None,
        Some((name, bytes)) => {
            let trace = Trace::read(name, bytes).map_err(ReplayError::Trace)?;
            let mismatch = |reason| ReplayError::TraceMismatch { file: name.to_owned(), reason };
            if trace.header.scenario_digest != header.scenario_digest || trace.header.seed != header.seed {
                return Err(mismatch("it was made of another log"));
            }
            if trace.header.behaviour_version != own.behaviour_version
                || trace.header.checkpoint_stride_events != own.checkpoint_stride_events
            {
                return Err(mismatch("its hashes are of another behaviour version"));
            }
            if trace.header.state_fingerprint != own.state_fingerprint {
                return Err(mismatch("its hashes are of another state layout"));
            }
            Some(trace)
        }
    };

    let mut folder = Folder::new();
    let mut checkpoints = Vec::new();
    let mut snapshots = Vec::new();
    let mut marks = decoded.marks.iter().peekable();
    let mut take_snapshots = |folder: &Folder, next: Seq| {
        while let Some(placed) = marks.next_if(|placed| placed.seq <= next) {
            if placed.mark.kind == MarkKind::Snapshot {
                snapshots.push(ReplayedStatus {
                    name: placed.mark.name.clone(),
                    seq: folder.seq(),
                    at: folder.at(),
                    status: folder.kernel().status(),
                });
            }
        }
    };
    for entry in &decoded.entries {
        take_snapshots(&folder, entry.seq);
        folder.step(entry.at, &entry.event)?;
        if folder.checkpoint_is_due() {
            checkpoints.push(folder.checkpoint()?);
        }
    }
    take_snapshots(&folder, Seq(u64::MAX));
    if checkpoints.last().is_none_or(|last| last.seq != folder.seq()) {
        checkpoints.push(folder.checkpoint()?);
    }
    let divergence = trace.as_ref().and_then(|trace| first_divergence(trace, &checkpoints));
    Ok(Replay {
        header,
        components: own.components,
        snapshots,
        status: folder.kernel().status(),
        event_count: folder.seq().0,
        at: folder.at(),
        compared: trace.as_ref().map(|trace| trace.checkpoints.len()),
        checkpoints,
        divergence,
    })
}

fn first_divergence(trace: &Trace<'_>, own: &[Checkpoint]) -> Option<Divergence> {
    let mut same_until = Seq(0);
    for recorded in &trace.checkpoints {
        let found = own.iter().find(|checkpoint| checkpoint.seq == recorded.seq);
        if found == Some(recorded) {
            same_until = recorded.seq;
            continue;
        }
        let mut what = Vec::new();
        match found {
            None => what.push("checkpoint missing".to_owned()),
            Some(found) => {
                if found.chain != recorded.chain {
                    what.push("chain".to_owned());
                }
                for (place, name) in trace.header.components.iter().enumerate() {
                    if found.leaves.get(place) != recorded.leaves.get(place) {
                        what.push(name.clone());
                    }
                }
            }
        }
        return Some(Divergence { same_until, differs_at: recorded.seq, what });
    }
    let behind = own.iter().find(|checkpoint| trace.checkpoints.iter().all(|recorded| recorded.seq != checkpoint.seq));
    behind.map(|checkpoint| Divergence {
        same_until,
        differs_at: checkpoint.seq,
        what: vec!["checkpoint missing in the trace".to_owned()],
    })
}
