//! How the mode went, for the page's timeline.

use std::collections::VecDeque;

use drillfold_kernel::{
    registry::{OwnerReason, TradingMode},
    units::{Seq, TimeMs},
};

/// Most changes that are kept: enough for a drill many times over, and small enough to go to every reader.
pub const CHANGES_MAX: usize = 50;

/// From one event on the mode was this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The event with which the mode began.
    pub seq: Seq,
    /// That event's time, ms since the epoch on the run's own clock.
    pub at: TimeMs,
    /// The mode; `None` while no process is up.
    pub mode: Option<TradingMode>,
    /// The owner's code when it began; `None` while no process is up.
    pub primary: Option<OwnerReason>,
}

/// The last changes of the mode since the server was started, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    changes: VecDeque<Change>,
    /// How many older ones are no longer kept.
    left_off: u64,
}

impl Course {
    /// Adds a change; the oldest one goes where there are too many.
    pub fn add(&mut self, change: Change) {
        self.changes.push_back(change);
        if self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
            self.left_off = self.left_off.saturating_add(1);
        }
    }

    /// Returns the last change.
    #[must_use]
    pub fn last(&self) -> Option<&Change> {
        self.changes.back()
    }

    /// Returns the changes that are kept, oldest first.
    pub fn changes(&self) -> impl DoubleEndedIterator<Item = &Change> {
        self.changes.iter()
    }

    /// Returns how many older changes are no longer kept.
    #[must_use]
    pub const fn left_off(&self) -> u64 {
        self.left_off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_changes_are_kept_and_the_others_are_counted() {
        let mut course = Course::default();
        assert_eq!((course.last(), course.left_off()), (None, 0));
        for seq in 1..=60 {
            course.add(Change { seq: Seq(seq), at: TimeMs(0), mode: None, primary: None });
        }
        let kept: Vec<u64> = course.changes().map(|change| change.seq.0).collect();
        assert_eq!(kept, (11..=60).collect::<Vec<_>>());
        assert_eq!((course.last().map(|change| change.seq.0), course.left_off()), (Some(60), 10));
    }
}
