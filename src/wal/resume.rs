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
        // The system may have dropped what it showed when the records were checked, and read again what the disk has.
        if digest.value() != self.unsure_digest {
            return Err(ResumeError::Changed { file: self.name.clone(), offset: self.unsure_offset });
        }
        file.sync().map_err(unwritten)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use drillfold_kernel::event::Event;
    use drillfold_kernel::units::{Seq, TimeMs};

    use super::super::Digest256;
    use super::*;
    use crate::storage::MemoryStorage;

    /// A log larger than a window and a chunk, with batches at its beginning alone.
    fn log(event_count: i64) -> Vec<u8> {
        let mut log = LogEncoder::new(&LogHeader::first("resumed", 1, Digest256::default(), "0.1.0")).unwrap();
        log.batch(Seq(0)).unwrap();
        for seq in 1..=event_count {
            if seq == 3 {
                log.batch(Seq(2)).unwrap();
            }
            log.event(TimeMs(seq), &Event::LoopTicked).unwrap();
        }
        log.take_pending()
    }

    #[test]
    fn what_is_unsure_is_written_again_as_it_was_read() {
        let path = Path::new("x.wal");
        for event_count in [0, 2, 5, 40_000] {
            let (storage, bytes) = (MemoryStorage::new(), log(event_count));
            storage.replace(path, &bytes).unwrap();
            let resumed = Resumed::read(&storage, path).unwrap();
            let mut file = storage.open_append(path).unwrap();
            resumed.write_again(&storage, path, &mut *file).unwrap();
            assert_eq!(storage.read(path).unwrap(), bytes);
            // Every byte counts from the last batch on, also those of records that are no events.
            for offset in [resumed.unsure_offset, resumed.unsure_offset + 30, bytes.len() as u64 - 1] {
                let sound = bytes[offset as usize];
                file.write_at(offset, &[sound ^ 1]).unwrap();
                let refused = resumed.write_again(&storage, path, &mut *file).unwrap_err();
                assert!(matches!(refused, ResumeError::Changed { .. }), "{refused}");
                file.write_at(offset, &[sound]).unwrap();
            }
            file.cut(bytes.len() as u64 - 1).unwrap();
            let refused = resumed.write_again(&storage, path, &mut *file).unwrap_err();
            assert!(matches!(refused, ResumeError::Changed { .. }), "{refused}");
        }
    }
}
