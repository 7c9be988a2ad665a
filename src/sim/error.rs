//! Why a world cannot be set up.

use crate::exchange::VenueError;

/// A scenario or recording that no world can be made of. The caller reports it; nothing was simulated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    /// The listed instruments make no venue.
    #[error("venue: {0}")]
    Venue(#[from] VenueError),
    /// A number is out of its range; the scenario is to be corrected.
    #[error("{what} is {found}, expected {expected}")]
    OutOfRange {
        /// Which number, as the scenario names it.
        what: &'static str,
        /// Its value.
        found: i64,
        /// What is allowed.
        expected: &'static str,
    },
    /// Something names an instrument by an index that the table does not have.
    #[error("{what} names instrument {found}, the table has {listed}")]
    UnknownInstrument {
        /// What names it.
        what: &'static str,
        /// The index it gives.
        found: usize,
        /// How many are listed.
        listed: usize,
    },
    /// The configured reference instrument is not listed.
    #[error("reference instrument {name} is not listed, list it in the scenario's world")]
    UnknownReference {
        /// Its name.
        name: String,
    },
    /// More underlyings than an index can tell apart.
    #[error("{found} underlyings are listed, list at most 255")]
    TooManyUnderlyings {
        /// How many.
        found: usize,
    },
    /// An instrument has both a synthetic and a recorded market.
    #[error("instrument {name} is recorded and synthetic, set synthetic = false for it")]
    RecordedAndSynthetic {
        /// The instrument.
        name: String,
    },
    /// A recorded input is earlier than the one before it.
    #[error("recorded input {place} is at {found} ms, after one at {before} ms; sort the recording by time")]
    RecordingGoesBack {
        /// Its index in the recording.
        place: usize,
        /// Its time in ms from the recording's start.
        found: i64,
        /// The time before it.
        before: i64,
    },
}
