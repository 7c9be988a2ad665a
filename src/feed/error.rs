//! What can be wrong with a frame and with a recording.

use drillfold_kernel::event::Channel;
use thiserror::Error;

use crate::text::decimal::DecimalError;

/// A frame that can't be used; the kernel is told by `FrameRejected`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct Unusable {
    /// The channel it came on.
    pub channel: Channel,
    /// The venue's name of the instrument it would have concerned, where that is known.
    pub instrument: Option<String>,
    /// What is wrong with it.
    pub problem: FrameProblem,
}

/// What is wrong with a frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameProblem {
    /// It is no JSON-RPC message of the venue: not JSON, or neither a notification nor an answer.
    #[error("not a message of the venue: {0}")]
    NotAMessage(String),
    /// It came on a channel that nothing here reads.
    #[error("unknown channel `{0}`")]
    UnknownChannel(String),
    /// Its payload has another shape than its channel's: a key is missing, doubled or of another type.
    #[error("payload has another shape than its channel: {0}")]
    Shape(String),
    /// A number can't be kept, or can't be.
    #[error("`{field}` = {text} is {reason}")]
    Number {
        /// Which.
        field: &'static str,
        /// As it stands in the frame.
        text: String,
        /// What is wrong with it.
        reason: NumberProblem,
    },
    /// The payload names another instrument than the channel.
    #[error("payload is of `{found}`, the channel of `{expected}`")]
    OtherInstrument {
        /// The channel's.
        expected: String,
        /// The payload's.
        found: String,
    },
    /// A word that is none of those that are possible here.
    #[error("`{field}` is `{text}`, expected {expected}")]
    Word {
        /// Where.
        field: &'static str,
        /// The word.
        text: String,
        /// The possible ones.
        expected: &'static str,
    },
}

/// What is wrong with a number of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NumberProblem {
    /// It can't be kept exactly.
    #[error(transparent)]
    Decimal(#[from] DecimalError),
    /// It is below zero, or zero where that can't be.
    #[error("not positive")]
    NotPositive,
    /// It is no identifier as the venue makes them.
    #[error("not an identifier")]
    NotAnId,
}

/// What is wrong with a line of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineProblem {
    /// It is of none of the known forms.
    #[error("is of no known form, expected `TIME: JSON` or `URL <- TIME: JSON`")]
    Form,
    /// Its time is no number of seconds.
    #[error("has the time `{text}`, expected seconds since the epoch")]
    Time {
        /// The time as it stands.
        text: String,
    },
    /// It begins as JSON Lines and is no such object.
    #[error("is no JSON object with `time` and `frame`: {reason}")]
    Json {
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a recording can't be read; it names the line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordingError {
    /// A line can't be read.
    #[error("line {line} of {file} {problem}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// No received frame concerns any of the instruments.
    #[error("{file} has no market data of {wanted}; it has {found}")]
    NothingWanted {
        /// The file.
        file: String,
        /// The instruments asked for.
        wanted: String,
        /// The instruments it has.
        found: String,
    },
}
