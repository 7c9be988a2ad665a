//! What a recording gives to a run.

use drillfold_kernel::units::InstrumentId;

use crate::exchange::MarketData;

/// One message of a recorded feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedInput {
    /// When it was received, in ms from the recording's start; never below that of the one before.
    pub at_ms: i64,
    /// What was received; instruments are indices into the scenario's table.
    pub message: RecordedMessage,
}

/// What a recorded frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordedMessage {
    /// Market data.
    Data(MarketData),
    /// The venue refused a request with this error code; with 10028 it ends the session.
    Refused {
        /// The venue's error code.
        code: i32,
    },
}

impl RecordedInput {
    /// Returns the instrument that it concerns, where it concerns one.
    #[must_use]
    pub const fn instrument(&self) -> Option<InstrumentId> {
        match &self.message {
            RecordedMessage::Data(data) => data.instrument(),
            RecordedMessage::Refused { .. } => None,
        }
    }
}
