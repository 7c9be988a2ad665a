//! The errors of the wal room, one enum for each kind of operation.

use drillfold_kernel::units::Seq;
use thiserror::Error;

use super::digest::Digest128;
use super::frame::PAYLOAD_SIZE_BYTES_MAX;
use crate::storage::StorageError;

/// Why the bytes at some place are no whole, sound frame; or why a frame can't be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameFault {
    /// The file ends inside the frame.
    #[error("the frame needs {needed_bytes} bytes, the file has {found_bytes} there")]
    Incomplete {
        /// Size of the frame, or of its header where not even that is whole; bytes.
        needed_bytes: u64,
        /// Bytes from the frame's start to the file's end.
        found_bytes: u64,
    },
    /// The payload is longer than the format allows.
    #[error("the payload has {length_bytes} bytes, of which at most {PAYLOAD_SIZE_BYTES_MAX} are allowed")]
    TooLong {
        /// Length claimed, bytes.
        length_bytes: u64,
    },
    /// Kind or version is 0, which no writer writes.
    #[error("record kind or version is 0")]
    KindZero,
    /// The bytes were changed after they were written.
    #[error("checksum {expected:08x} stored, {found:08x} computed")]
    Checksum {
        /// The stored one.
        expected: u32,
        /// The one of the bytes.
        found: u32,
    },
}

/// Why a file header can't be used, with the file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}: {fault}")]
pub struct HeaderError {
    /// The file, as the caller named it.
    pub file: String,
    /// What is wrong.
    pub fault: HeaderFault,
}

/// Why a file header can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeaderFault {
    /// The file ends inside its header: it was never completed, and no record was ever in it.
    #[error(
        "the file ends inside its header, {needed_bytes} bytes needed, {found_bytes} found; no record was ever in it, remove it"
    )]
    Incomplete {
        /// Size of the header as far as it is known, bytes.
        needed_bytes: u64,
        /// Size of the file, bytes.
        found_bytes: u64,
    },
    /// The file begins with other bytes.
    #[error("not a {expected} of drillfold: it begins with other bytes")]
    OtherFile {
        /// `log` or `trace`.
        expected: &'static str,
    },
    /// Another version of the format. A newer build reads it; this one must not guess.
    #[error("format version {found}, this build reads {supported}; use a build that reads it")]
    OtherVersion {
        /// Version in the file.
        found: u32,
        /// Version this build reads.
        supported: u32,
    },
    /// The file needs a feature this build does not have.
    #[error("the file needs features {flags:#010x} that this build does not have; use a newer build")]
    UnknownFlags {
        /// The flags, of which this version of the format knows none.
        flags: u32,
    },
    /// The bytes were changed after they were written.
    #[error(
        "the header's checksum is {expected:08x} in the file and {found:08x} over its bytes: the header is damaged"
    )]
    Checksum {
        /// The stored one.
        expected: u32,
        /// The one of the bytes.
        found: u32,
    },
    /// A sound checksum over fields that no writer writes.
    #[error("the header's {field} is not valid")]
    Invalid {
        /// Which field.
        field: &'static str,
    },
    /// The file is no continuation of the segment before it: files of different logs lie side by side, or one is missing.
    #[error("its {field} is {found}, but the segment before it leads to {expected}; it belongs to another log")]
    OtherSegment {
        /// Which field of the header.
        field: &'static str,
        /// Its value.
        found: String,
        /// The value that would fit.
        expected: String,
    },
    /// The records were written with another definition of the event types. Decoding them could give wrong numbers.
    #[error(
        "its event schema {found} is unknown to this build, whose own is {own}; use the build that wrote it, or a newer one"
    )]
    UnknownEventSchema {
        /// Fingerprint in the file.
        found: Digest128,
        /// Fingerprint of this build.
        own: Digest128,
    },
}

/// Damage in a log or trace: what was read before it is sound, nothing behind it is used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}: byte {offset}, before event {}: {fault}", next_seq.0)]
pub struct ReadError {
    /// The file, as the caller named it.
    pub file: String,
    /// Where the damaged record starts, bytes from the file's start.
    pub offset: u64,
    /// The sequence number the next event would have had.
    pub next_seq: Seq,
    /// What is wrong.
    pub fault: ReadFault,
}

/// What is wrong at a place of a log or trace.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadFault {
    /// A frame is damaged, and sound ones follow it: corruption, no torn tail.
    #[error("corrupt: {fault}, but a sound record follows at byte {sound_offset}")]
    Corrupt {
        /// What is wrong with the frame.
        fault: FrameFault,
        /// Where the first sound record behind it starts.
        sound_offset: u64,
    },
    /// A frame is damaged, and whether sound ones follow could not be found out in bounded time.
    #[error("corrupt: {fault}, and the bytes behind it are too irregular to be a torn tail")]
    CorruptUndecided {
        /// What is wrong with the frame.
        fault: FrameFault,
    },
    /// A sound record carries another number than its place demands: a record is missing, doubled or moved.
    #[error("the record carries sequence number {found}")]
    SequenceGap {
        /// The number found.
        found: u64,
    },
    /// The highest sequence number has been used.
    #[error("sequence numbers are used up")]
    SequenceOverflow,
    /// A record this build must understand and does not: a newer build wrote it.
    #[error("record kind {kind:#06x} version {version} is unknown to this build; use a newer one")]
    UnknownRecord {
        /// Its kind.
        kind: u16,
        /// Its version.
        version: u16,
    },
    /// A sound checksum over a payload that no writer writes.
    #[error("the payload of the {record} record is not valid: {what}")]
    Malformed {
        /// Which record.
        record: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file ends without an end record, but another segment follows, which is created only behind a sealed one.
    #[error("segment {segment} follows, but this one has no end record: its last records are lost")]
    NotSealed {
        /// Number of the segment that follows.
        segment: u32,
    },
    /// Bytes follow the record that ends the file.
    #[error("{bytes} bytes follow the record that ends the file")]
    BehindEnd {
        /// How many.
        bytes: u64,
    },
}

/// Why the payload of an event could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// No event of this build has the kind: a newer build wrote it.
    #[error("event kind {kind} is unknown to this build; use a newer one")]
    UnknownKind {
        /// The kind.
        kind: u16,
    },
    /// The event is known, the version of its record is not: a newer build wrote it.
    #[error("version {version} of {event} records is unknown to this build; use a newer one")]
    UnknownVersion {
        /// The event's name.
        event: &'static str,
        /// The version.
        version: u16,
    },
    /// The payload is no well-formed record of its type.
    #[error("the payload, {size_bytes} bytes, is no well-formed {record}")]
    Malformed {
        /// The record type's name.
        record: &'static str,
        /// Size of the payload, bytes.
        size_bytes: usize,
    },
    /// A configuration value that this build needs is not in the record.
    #[error("the boot record has no configuration value {name}, which this build needs")]
    ConfigMissing {
        /// Its name.
        name: &'static str,
    },
    /// A configuration value in the record means nothing to this build.
    #[error("the boot record has a configuration value {name:?}, which this build does not know")]
    ConfigUnknown {
        /// Its name.
        name: String,
    },
    /// A registry token in the record is not in this build's registry.
    #[error("the record names {token:?}, which is not in this build's registry of {registry}")]
    UnknownToken {
        /// Which registry.
        registry: &'static str,
        /// The token.
        token: String,
    },
    /// The event is larger than a record may be, or the archive could not be built.
    #[error("the event {event} can't be archived; a payload has at most {PAYLOAD_SIZE_BYTES_MAX} bytes")]
    NotArchived {
        /// The event's name.
        event: &'static str,
    },
}

/// Why a log could not be read to events.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LogError {
    /// The header can't be used.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The log is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A sound record holds no event of this build.
    #[error("{file}: byte {offset}, event {}: {fault}", seq.0)]
    Decode {
        /// The file, as the caller named it.
        file: String,
        /// Where the record starts, bytes from the file's start.
        offset: u64,
        /// The event's number.
        seq: Seq,
        /// What is wrong.
        fault: RecordError,
    },
}

/// Why the files of a log could not be read on.
#[derive(Debug, Error)]
pub enum LogFileError {
    /// A file could not be opened or read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The header of a segment can't be used.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The log is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why something was not appended to a log or trace.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The storage refused. The writer refuses everything from then on: what is behind the last sync is unknown.
    #[error("append to {file}")]
    Storage {
        /// The file.
        file: String,
        /// What the storage said.
        #[source]
        source: StorageError,
    },
    /// An earlier write or sync failed, so nothing can be promised any more. Open the log again and recover it.
    #[error("{file}: an earlier write or sync failed; open it again to find out what is on disk")]
    Failed {
        /// The file.
        file: String,
    },
    /// The log or trace has its last record already.
    #[error("the file is sealed: nothing can follow its last record")]
    Sealed,
    /// The frame can't be written.
    #[error("the record can't be written: {0}")]
    Frame(FrameFault),
    /// The event can't be archived.
    #[error("the event can't be written: {0}")]
    Record(RecordError),
    /// A text is longer than the format allows.
    #[error("{field} has {size_bytes} bytes, of which at most {size_bytes_max} are allowed")]
    TextTooLong {
        /// Which text.
        field: &'static str,
        /// Its size in UTF-8, bytes.
        size_bytes: usize,
        /// Largest size allowed, bytes, inclusive.
        size_bytes_max: usize,
    },
    /// A kind outside the range of events was given for an event.
    #[error("record kind {kind:#06x} is none of an event")]
    NotAnEventKind {
        /// The kind.
        kind: u16,
    },
    /// The highest sequence number has been used.
    #[error("sequence numbers are used up")]
    SequenceOverflow,
    /// Something that must grow did not: sequence numbers of checkpoints, or a durable one past the last event.
    #[error("{what} {found} is out of order, the last was {last}")]
    OutOfOrder {
        /// What must grow.
        what: &'static str,
        /// The last one.
        last: u64,
        /// The one given.
        found: u64,
    },
    /// A checkpoint's component is not in the trace's header, or a list has more entries than the format can count.
    #[error("{what} is not valid: {found}")]
    Invalid {
        /// What.
        what: &'static str,
        /// Its value.
        found: u64,
    },
}

/// Why a log can't be gone on with.
#[derive(Debug, Error)]
pub enum ResumeError {
    /// The file could not be opened or read.
    #[error("resume {file}")]
    Storage {
        /// The file.
        file: String,
        /// What the storage said.
        #[source]
        source: StorageError,
    },
    /// The header can't be used.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The log is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log has events of another schema than this build writes. Start another segment or log.
    #[error("{file}: its event schema is {found}, this build writes {own}; start a new log")]
    OtherSchema {
        /// The file.
        file: String,
        /// Fingerprint in the file.
        found: Digest128,
        /// Fingerprint of this build.
        own: Digest128,
    },
    /// The log has its last record already. Start another segment.
    #[error("{file}: the log is sealed; start a new one")]
    Sealed {
        /// The file.
        file: String,
    },
    /// The log ends in an unfinished record, as a crash leaves it. It is never edited in place.
    #[error(
        "{file}: {bytes} bytes behind byte {offset} are no records; copy the sound ones with `drillfold log repair` and go on with the copy"
    )]
    Tail {
        /// The file.
        file: String,
        /// Size of the sound prefix, bytes.
        offset: u64,
        /// Bytes behind it.
        bytes: u64,
    },
    /// The file says that it is another segment than its name does: files were renamed or mixed up.
    #[error(
        "{file}: its header says segment {found}, its name segment {expected}; put back the file that belongs here"
    )]
    OtherSegment {
        /// The file.
        file: String,
        /// Segment by its name.
        expected: u32,
        /// Segment by its header.
        found: u32,
    },
    /// The bytes of records differ from one reading to the next: the disk does not hold what the system showed at first.
    /// Nothing that was called durable is concerned. Open the log again: it is then read as the disk has it.
    #[error("{file}: bytes behind byte {offset} changed while they were made durable; open the log again")]
    Changed {
        /// The file.
        file: String,
        /// Where what was not durable begins, bytes from the file's start.
        offset: u64,
    },
    /// The log was read, but nothing could be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Why a state did not become bytes, or bytes no state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImageError {
    /// The state is larger than a state image may be.
    #[error("the state image has {size_bytes} bytes, of which at most {size_bytes_max} are allowed")]
    TooLarge {
        /// Its size, bytes.
        size_bytes: usize,
        /// Largest size allowed, bytes, inclusive.
        size_bytes_max: usize,
    },
    /// The state could not be written; it holds something that has no fixed bytes.
    #[error("the state can't be encoded: {reason}")]
    NotEncoded {
        /// What the encoder said.
        reason: String,
    },
    /// The bytes are no state of this type. Fold the log from its start.
    #[error("the bytes are no state of this build: {reason}; fold the log from its start")]
    NotDecoded {
        /// What the decoder said.
        reason: String,
    },
    /// Bytes are left over behind the state: it has another type. Fold the log from its start.
    #[error("{bytes} bytes are left over behind the state; fold the log from its start")]
    LeftOver {
        /// How many.
        bytes: usize,
    },
}

/// A text is not the hexadecimal of a digest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a digest has {digits} hexadecimal digits, found {found:?}")]
pub struct DigestTextError {
    /// Digits expected.
    pub digits: usize,
    /// The text.
    pub found: String,
}
