//! The rooms under test, compiled from their sources, and what the targets share.

#[path = "../../src/exchange/mod.rs"]
pub mod exchange;
#[path = "../../src/feed/mod.rs"]
pub mod feed;
#[path = "../../src/storage/mod.rs"]
pub mod storage;
#[path = "../../src/text/mod.rs"]
pub mod text;
#[path = "../../src/wal/mod.rs"]
pub mod wal;

#[path = "../../src/sim/recorded.rs"]
mod recorded;

/// Of the simulation, what a recording becomes.
pub mod sim {
    pub use crate::recorded::{RecordedInput, RecordedMessage};
}

use crc_fast::crc32_iscsi;

/// Returns the log in an input: its first byte says whether checksums are put right first.
///
/// Almost every mutation breaks a checksum. With checksums put right the bytes get past them, to all that is checked
/// behind.
pub fn log_in(input: &[u8]) -> Option<Vec<u8>> {
    let (mode, bytes) = input.split_first()?;
    let mut bytes = bytes.to_vec();
    if mode & 1 == 1 {
        put_checksums_right(&mut bytes);
    }
    Some(bytes)
}

fn put_checksums_right(bytes: &mut [u8]) {
    let length = |bytes: &[u8], at: usize| {
        let field = bytes.get(at..at + 4).and_then(|field| field.try_into().ok()).map(u32::from_le_bytes);
        field.and_then(|length| usize::try_from(length).ok())
    };
    let Some(header) = length(bytes, 12).filter(|header| (20..=bytes.len()).contains(header)) else { return };
    let checksum = crc32_iscsi(&bytes[..header - 4]);
    bytes[header - 4..header].copy_from_slice(&checksum.to_le_bytes());
    let mut start = header;
    while let Some(payload) = length(bytes, start + 4) {
        let Some(end) = start.checked_add(28).and_then(|end| end.checked_add(payload)) else { return };
        if end > bytes.len() {
            return;
        }
        let checksum = crc32_iscsi(&bytes[start + 4..end]);
        bytes[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
        start = end;
    }
}
