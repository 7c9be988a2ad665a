//! The log, the trace beside it, and their bytes.
//!
//! The room owns both file formats of `specs/log-format.md`: the log (`.wal`), which holds events and nothing that
//! depends on the kernel's version, and the trace (`.trace`), which holds what one build made of those events.
//!
//! Invariants:
//! * Event sequence numbers are gapless; marks and other records take none.
//! * The same records give the same bytes on every machine, in every build with the same event schema.
//! * A reader never writes, never panics, whatever the bytes, and never yields a record whose checksum is wrong.
//! * A record type is never edited once a log with it exists; its version steps instead.
//! * Nothing is allocated on the word of an unchecked length.
//!
//! Failure model: a file may end anywhere (a torn tail, reported as such), and any byte may be wrong (corruption: an
//! error that names file, offset and sequence number, and nothing behind it is used). After a failed write or sync a
//! writer refuses everything.
//!
//! What it deliberately does not do: repair in place (a repair writes a copy), and protection against forgery: checksums
//! and digests find damage, not malice.
//!
//! | File | Holds |
//! |---|---|
//! | `frame` | one checksummed frame |
//! | `header` | the file header of a log |
//! | `control` | marks, frames of a feed, batches, indexes and ends: the records that are no events |
//! | `record` | the payloads of events, mirrored from the kernel's type, and their schema's fingerprint |
//! | `log_encoder`, `log_reader` | one file of a log, to bytes and back |
//! | `log_writer` | the log in its files: segments, batches, durability |
//! | `resume` | the last file of a log, read in order to go on with it |
//! | `queued_writer` | the same from a thread of its own |
//! | `cursor` | which frame may stand where, and how a file may end |
//! | `log_files` | the log, read from its files |
//! | `segments`, `clock` | where the files of a log lie; the time between syncs |
//! | `verify`, `repair`, `statistics` | a whole log: checked, its sound prefix copied, counted |
//! | `trace` | the trace, written and read |
//! | `image` | the kernel's state as bytes |
//! | `digest` | chain, event and state digests |

mod behaviours;
mod clock;
mod control;
mod cursor;
mod digest;
mod error;
mod fields;
mod frame;
mod header;
mod image;
mod log_encoder;
mod log_files;
mod log_reader;
mod log_writer;
mod queued_writer;
mod record;
mod repair;
mod resume;
mod segments;
mod statistics;
mod trace;
mod verify;

pub use behaviours::{Behaviours, Stretch, differences};
pub use clock::{Clock, SystemClock};
pub use control::{Direction, End, FeedFrame, IndexEntry, MARK_NAME_SIZE_BYTES_MAX, Mark, MarkKind};
pub use cursor::Digests;
pub use digest::{ChainHasher, Digest128, Digest256};
pub use error::{
    AppendError, DigestTextError, FrameFault, HeaderError, HeaderFault, ImageError, LogError, LogFileError, ReadError,
    ReadFault, RecordError, ResumeError,
};
pub use frame::{FRAME_HEADER_SIZE_BYTES, Frame, FrameHeader, PAYLOAD_SIZE_BYTES_MAX, decode_frame, encode_frame};
pub use header::{FORMAT_VERSION, LOG_MAGIC, LogHeader, TEXT_SIZE_BYTES_MAX};
pub use image::{decode_state, encode_state};
pub use log_encoder::LogEncoder;
pub use log_files::{Access, LogFiles, PlacedEvent, Polled, ReadOptions, SegmentSummary};
pub use log_reader::{
    DecodedLog, LogEntry, LogReader, LogRecord, PlacedMark, RawEvent, RawNote, RecordBody, Summary, Tail, read_log,
};
pub use log_writer::{DurabilityPolicy, LogWriter, TornTail, WriterOptions};
pub use queued_writer::{QueueError, QueuedWriter};
pub use record::{
    BookChangeView, EventView, LevelsView, RecordType, TickerView, TradesView, decode_event, encode_event, event_names,
    event_schema_fingerprint, event_schema_text, is_known_event_schema,
};
pub use repair::{AtCorruption, Cut, Repair, RepairError, repair_log};
pub use segments::segment_path;
pub use statistics::{KindCount, Statistics, log_statistics};
pub use trace::{
    Checkpoint, FinalRecord, StateImage, TRACE_FORMAT_VERSION, TRACE_MAGIC, Trace, TraceEncoder, TraceHeader,
    state_hash,
};
pub use verify::{FINDING_COUNT_MAX, Finding, FindingKind, Verification, verify_log};

#[cfg(test)]
mod tests;
