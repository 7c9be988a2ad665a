//! What is shown at the moment.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use drillfold_kernel::units::{Seq, TimeMs};

use super::{Change, Course};

/// What the endpoints show: the status after one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The `/status` document as JSON text.
    pub status: String,
    /// The build that made it.
    pub build_id: String,
    /// Version of the contract that it keeps.
    pub contract_version: String,
    /// The event after which the layer stood so.
    pub seq: Seq,
    /// That event's time, ms since the epoch on the run's own clock.
    pub at: TimeMs,
}

/// Whether what is shown goes on changing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Events go on coming.
    #[default]
    Running,
    /// The run was stopped at this snapshot and waits there.
    Paused(String),
    /// Events should come and do not: whoever writes them may be gone, so nothing is shown.
    Silent,
    /// The run is over; this is its last status.
    Ended,
}

/// Where the events come from, with its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Nobody has said.
    #[default]
    Unnamed,
    /// A simulated drill.
    Drill(String),
    /// A log of the past, read again.
    Replay(String),
    /// A log that something else is writing.
    Log(String),
    /// A feed from outside.
    Feed(String),
}

/// Configured values by their names, as plain decimals: a status names them where it says what has to happen.
pub type Configured = BTreeMap<&'static str, String>;

/// What a reader finds on a board.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The last document; `None` while no process is up.
    pub shown: Option<Arc<Shown>>,
    /// Whether it goes on changing.
    pub stage: Stage,
    /// Where the events come from.
    pub source: Source,
    /// How the mode went.
    pub course: Arc<Course>,
    /// The configured values by their names, as plain decimals.
    pub configured: Arc<Configured>,
    /// Counts what was put on the board, so that a reader sees whether something has since.
    pub version: u64,
}

/// The last document, for any number of readers; one writer puts it there.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<RwLock<View>>);

impl Board {
    /// Returns a board that shows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows another document, or none while no process is up. Events come.
    pub fn put(&self, shown: Option<Shown>) {
        self.change(|view| {
            view.shown = shown.map(Arc::new);
            view.stage = Stage::Running;
        });
    }

    /// Shows that another event has left the document as it was.
    pub fn advance(&self, seq: Seq, at: TimeMs) {
        self.change(|view| {
            if let Some(shown) = &mut view.shown {
                let shown = Arc::make_mut(shown);
                (shown.seq, shown.at) = (seq, at);
            }
        });
    }

    /// Says whether what is shown goes on changing.
    pub fn stage(&self, stage: Stage) {
        self.change(|view| view.stage = stage);
    }

    /// Says where the events come from.
    pub fn source(&self, source: Source) {
        self.change(|view| view.source = source);
    }

    /// Tells that the mode has changed, or that a process went down or came up.
    pub fn changed(&self, change: Change) {
        self.change(|view| Arc::make_mut(&mut view.course).add(change));
    }

    /// Says with which configuration the process works that came up.
    pub fn configured(&self, configured: Configured) {
        self.change(|view| view.configured = Arc::new(configured));
    }

    /// Returns what is on the board.
    #[must_use]
    pub fn view(&self) -> View {
        // A writer that failed cannot have left half a value behind: values are whole or absent.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the version of what is on the board.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).version
    }

    /// Returns what is shown.
    #[must_use]
    pub fn shown(&self) -> Option<Arc<Shown>> {
        self.view().shown
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        let mut view = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut view);
        view.version = view.version.saturating_add(1);
    }
}
