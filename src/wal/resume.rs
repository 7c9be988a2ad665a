//! Reading the last file of a log in order to go on with it, and making sure that what was read is on the disk.
//!
//! A file may be large, so neither step has more of it in memory than a window and the entries of its index.
//!
//! Source: specs/log-format.md, sections Batches and durability and How a log ends.

use std::path::Path;

use super::control::End;
use super::digest::{Digest128, EventDigest};
use super::error::{AppendError, LogFileError, ResumeError};
use super::header::LogHeader;
use super::log_encoder::{LogEncoder, RecordsBefore};
use super::log_files::FileReader;
use super::log_reader::{RecordBody, Tail};
use crate::storage::{AppendFile, Storage};

/// Bytes that are written again at once.
const CHUNK_SIZE_BYTES: usize = 256 * 1024;

/// A log file that was read to its end.
#[derive(Debug)]
pub(super) struct Resumed {
    /// The file, as errors name it.
    pub(super) name: String,
    pub(super) header: LogHeader,
    /// Goes on behind the last record; refuses everything where the file is sealed.
    pub(super) encoder: LogEncoder,
    pub(super) end: Option<End>,
    pub(super) tail: Tail,
    /// Where begins what need not be on the disk though it can be read: the end of a sealed file, otherwise the last
    /// batch, or all records where there is none. What is before it was durable when it was written.
    unsure_offset: u64,
    /// Digest of the bytes from there to the end of the last record.
    unsure_digest: Digest128,
}

impl Resumed {
    /// Reads the file at `path`, of any schema and with any tail, sealed or not. Its lock is held.
    pub(super) fn read(storage: &dyn Storage, path: &Path) -> Result<Self, ResumeError> {
        let name = path.display().to_string();
        let failed = |error| match error {
            LogFileError::Storage(source) => ResumeError::Storage { file: name.clone(), source },
            LogFileError::Header(error) => error.into(),
            LogFileError::Read(error) => error.into(),
        };
        let mut reader = FileReader::open(storage, path).map_err(failed)?;
        let mut before = RecordsBefore::new(reader.header());
        let mut unsure_offset = reader.summary().sound_bytes;
        let mut unsure = EventDigest::new();
        while let Some(record) = reader.next_record().map_err(failed)? {
            before.push(&record);
            if matches!(record.body, RecordBody::Batch { .. } | RecordBody::End(_)) {
                unsure_offset = record.offset;
                unsure = EventDigest::new();
            }
            unsure.push(reader.record_bytes().map_err(failed)?);
        }
        let summary = reader.summary();
        Ok(Self {
            header: reader.header().clone(),
            encoder: before.into_encoder(&summary),
            end: summary.end,
            tail: summary.tail,
            unsure_offset,
            unsure_digest: unsure.value(),
            name,
        })
    }

    /// Writes what need not be on the disk once more, over itself, and syncs `file`: where the sync of an earlier writer
    /// failed, the system may show bytes that it will never write, and a sync alone would prove nothing about them.
    pub(super) fn write_again(
        &self,
        storage: &dyn Storage,
        path: &Path,
        file: &mut dyn AppendFile,
    ) -> Result<(), ResumeError> {
        let unread = |source| ResumeError::Storage { file: self.name.clone(), source };
        let unwritten = |source| AppendError::Storage { file: self.name.clone(), source };
        let bytes = storage.open_read(path).map_err(unread)?;
        let mut chunk = vec![0; CHUNK_SIZE_BYTES];
        let mut digest = EventDigest::new();
        let mut offset = self.unsure_offset;
        while offset < self.encoder.taken_bytes() {
            let rest_bytes = usize::try_from(self.encoder.taken_bytes() - offset).unwrap_or(usize::MAX);
            let size_bytes = rest_bytes.min(CHUNK_SIZE_BYTES);
            let read = bytes.read_at(offset, &mut chunk[..size_bytes]).map_err(unread)?;
            digest.push(&chunk[..read]);
            file.write_at(offset, &chunk[..read]).map_err(unwritten)?;
            if read < size_bytes {
                break;
            }
            offset += read as u64;
        }
        // The system may have dropped what it showed when the records were checked, and read from the disk what lies there.
        if digest.value() != self.unsure_digest {
            return Err(ResumeError::Changed { file: self.name.clone(), offset: self.unsure_offset });
        }
        file.sync().map_err(unwritten)?;
        Ok(())
    }
}
