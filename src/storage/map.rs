//! Files as memory. This is the only module of the crate with unsafe code.

use std::io;
use std::ops::Deref;

use memmap2::{Mmap, MmapAsRawDesc};

/// A whole file as bytes, as it was when it was mapped.
///
/// The bytes are those of the file, not a copy: whoever maps a file relies on nobody writing to it or cutting it while
/// the mapping lives. A file that is cut all the same ends the process with a signal when the lost part is touched; a
/// file that may be written to is read with [`super::ReadFile::read_at`] instead, which copies.
#[derive(Debug)]
pub struct Mapping {
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Copied(Vec<u8>),
}

impl Mapping {
    /// Returns a mapping over bytes that were read: for storages without files.
    pub fn copied(bytes: Vec<u8>) -> Self {
        Self { bytes: Bytes::Copied(bytes) }
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(bytes) => bytes,
            Bytes::Copied(bytes) => bytes,
        }
    }
}

/// Maps a whole file for reading.
#[expect(unsafe_code, reason = "a memory map can't be made otherwise")]
pub(super) fn map(file: impl MmapAsRawDesc) -> io::Result<Mapping> {
    // SAFETY: the file must not change while the map lives. The log room maps sealed segments alone, and nothing of
    // this crate writes to one: the writer refuses to go on with a sealed file, and a repair writes a copy. A caller
    // who can't keep other programs from writing to sealed files reads by position instead.
    let mapped = unsafe { Mmap::map(file)? };
    Ok(Mapping { bytes: Bytes::Mapped(mapped) })
}
