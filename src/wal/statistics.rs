//! What is in a log, counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use drillfold_kernel::units::{Seq, TimeMs};

use super::cursor::Digests;
use super::error::LogFileError;
use super::header::LogHeader;
use super::log_files::{Access, LogFiles, ReadOptions, SegmentSummary};
use super::log_reader::{LogRecord, RecordBody};
use super::record::RecordType;
use crate::storage::Storage;

/// What a log holds, as far as it can be read.
#[derive(Debug)]
pub struct Statistics {
    /// The header of segment 0.
    pub header: LogHeader,
    /// Each segment, in order.
    pub segments: Vec<SegmentSummary>,
    /// The file behind the last segment that never got a whole header; no record was ever in it.
    pub unfinished: Option<PathBuf>,
    /// Events by the type of their record.
    pub kinds: BTreeMap<RecordType, KindCount>,
    /// Frames of a feed.
    pub feed_frames: KindCount,
    /// Batches.
    pub batch_count: u64,
    /// Number and time of the first event.
    pub first: Option<(Seq, TimeMs)>,
    /// Number and time of the last event.
    pub last: Option<(Seq, TimeMs)>,
    /// The smallest and the greatest time of any event; as a rule those of the first and the last.
    pub times: Option<(TimeMs, TimeMs)>,
    /// Why nothing was counted from there on.
    pub damage: Option<LogFileError>,
}

/// Records of one type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KindCount {
    /// How many.
    pub count: u64,
    /// Size of their payloads, bytes.
    pub payload_bytes: u64,
}

impl Statistics {
    /// Returns how many events were counted.
    pub fn event_count(&self) -> u64 {
        self.kinds.values().map(|kind| kind.count).sum()
    }
}

/// Counts what is in the log at `path`. Payloads are not decoded and event digests not computed.
///
/// # Errors
///
/// Those of [`LogFiles::open`]; damage further on is in [`Statistics::damage`].
pub fn log_statistics(storage: &dyn Storage, path: &Path, access: Access) -> Result<Statistics, LogFileError> {
    let mut files = LogFiles::open(storage, path, ReadOptions { digests: Digests::Skip, access })?;
    let mut found = Statistics {
        header: files.header().clone(),
        segments: Vec::new(),
        unfinished: files.unfinished_segment().map(Path::to_path_buf),
        kinds: BTreeMap::new(),
        feed_frames: KindCount::default(),
        batch_count: 0,
        first: None,
        last: None,
        times: None,
        damage: None,
    };
    found.damage = loop {
        match files.next_record() {
            Ok(Some(record)) => found.count(&record),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    found.segments = files.segment_summaries();
    Ok(found)
}

impl Statistics {
    fn count(&mut self, record: &LogRecord<'_>) {
        match &record.body {
            RecordBody::Event(event) => {
                let kind = self.kinds.entry(event.record_type).or_default();
                kind.count += 1;
                kind.payload_bytes += event.payload.len() as u64;
                let place = (record.seq, record.at);
                self.first.get_or_insert(place);
                self.last = Some(place);
                let (least, most) = self.times.unwrap_or((record.at, record.at));
                self.times = Some((least.min(record.at), most.max(record.at)));
            }
            RecordBody::Frame(frame) => {
                self.feed_frames.count += 1;
                self.feed_frames.payload_bytes += frame.text.len() as u64;
            }
            RecordBody::Batch { .. } => self.batch_count += 1,
            // The summaries of the segments count them.
            RecordBody::Mark(_) | RecordBody::Unknown(_) | RecordBody::Index(_) | RecordBody::End(_) => {}
        }
    }
}
