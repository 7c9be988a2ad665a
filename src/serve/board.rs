//! What is shown at the moment.

use std::sync::{Arc, PoisonError, RwLock};

/// What the endpoints show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The `/status` document as JSON text.
    pub status: String,
    /// The build that made it.
    pub build_id: String,
    /// Version of the contract that it keeps.
    pub contract_version: String,
}

/// The last document, for any number of readers; one writer puts it there.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<RwLock<Option<Arc<Shown>>>>);

impl Board {
    /// Returns a board that shows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows another document, or none while no process is up.
    pub fn put(&self, shown: Option<Shown>) {
        // A reader that failed cannot have left half a value behind: values are whole or absent.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = shown.map(Arc::new);
    }

    /// Returns what is shown.
    #[must_use]
    pub fn shown(&self) -> Option<Arc<Shown>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
