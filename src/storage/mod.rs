//! Bytes in files, and nothing about what they mean.
//!
//! This room owns every access to a file system: it is the only one that may name `std::fs`. [`Storage`] is the whole
//! boundary, so that all rooms above it can be tested in memory and with faults.
//!
//! Invariants:
//! * [`Storage::create_new`] and [`Storage::create_filled`] never open a file that exists.
//! * [`Storage::create_filled`] leaves either no file under the name or a whole one, also after a loss of power.
//! * A file open for writing is locked: a second writer gets [`StorageError::Locked`].
//! * [`Storage::replace`] leaves either the old bytes or the new ones under the name, never a mixture and never a part.
//! * [`DiskStorage::create_folder_filled`] leaves a whole folder under the name, or nothing of it.
//! * A mapping is made of a file that nobody writes any more; `map` is the only module with unsafe code.
//! * [`Storage::list`] is sorted by name, in byte order, on every machine.
//!
//! Failure model: any operation may fail; a write may stop after any number of its bytes. After a failed write or sync
//! the caller must not go on through the same handle (the log writer refuses to). A loss of power drops, keeps or tears
//! each write that was not synced, in any order; [`PowerLossStorage`] does so from a seed.
//!
//! What it deliberately does not do: interpret bytes, retry, keep a cache, follow links specially, or hide an error.

mod disk;
mod error;
mod faulty;
mod map;
mod memory;
mod power_loss;

pub use disk::{DiskStorage, Durability};
pub use error::{Operation, StorageError};
pub use faulty::{FaultBudget, FaultyStorage};
pub use map::Mapping;
pub use memory::MemoryStorage;
pub use power_loss::PowerLossStorage;

use std::fmt;
use std::path::Path;

/// The operations on files that the other rooms need.
///
/// Paths are used as they are given; relative ones are resolved by the implementation (the disk: against the
/// process's working folder).
pub trait Storage: fmt::Debug + Send + Sync {
    /// Reads the whole file at `path`, if it has at most `size_bytes_max` bytes (inclusive).
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`], [`StorageError::TooLarge`] (nothing of that size is allocated) or
    /// [`StorageError::Io`].
    fn read_at_most(&self, path: &Path, size_bytes_max: u64) -> Result<Vec<u8>, StorageError>;

    /// Reads the whole file at `path`, whatever its size.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`] or [`StorageError::Io`].
    fn read(&self, path: &Path) -> Result<Vec<u8>, StorageError> {
        self.read_at_most(path, u64::MAX)
    }

    /// Opens the file at `path` for reading at any place. No lock is taken: another process may be appending.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`] or [`StorageError::Io`].
    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadFile>, StorageError>;

    /// Creates an empty file at `path`, which must not exist, and opens it for appending, locked.
    ///
    /// # Errors
    ///
    /// [`StorageError::AlreadyExists`], [`StorageError::NotFound`] when the folder is missing,
    /// [`StorageError::Locked`] or [`StorageError::Io`].
    fn create_new(&self, path: &Path) -> Result<Box<dyn AppendFile>, StorageError>;

    /// Creates a file at `path`, which must not exist, that holds `bytes` and behind them zeros up to `size_bytes`, and
    /// opens it for writing, locked. The name appears in one step and durable: whenever the power goes, there is no file
    /// or the whole one. A `size_bytes` below that of `bytes` asks for no zeros.
    ///
    /// # Errors
    ///
    /// Those of [`Storage::create_new`]; then there is no file at `path`, or one whose name may not be durable. On a
    /// disk whose file system has no hard links, [`StorageError::Io`].
    fn create_filled(&self, path: &Path, bytes: &[u8], size_bytes: u64) -> Result<Box<dyn AppendFile>, StorageError>;

    /// Opens the existing file at `path` for writing, locked.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`], [`StorageError::Locked`] or [`StorageError::Io`].
    fn open_append(&self, path: &Path) -> Result<Box<dyn AppendFile>, StorageError>;

    /// Puts `bytes` under the name `path` in one step, whether or not a file is there.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`] when the folder is missing, or [`StorageError::Io`]; then the old file, if there was
    /// one, is untouched.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError>;

    /// Gives the finished file at `from` the name `to`, which nothing may have yet. Both lie in one folder.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`], [`StorageError::AlreadyExists`] or [`StorageError::Io`]; then nothing lies at `to`
    /// that was not there before.
    fn rename_new(&self, from: &Path, to: &Path) -> Result<(), StorageError>;

    /// Lists what lies directly in `folder`, sorted by name.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`], [`StorageError::NameNotUtf8`] or [`StorageError::Io`].
    fn list(&self, folder: &Path) -> Result<Vec<Entry>, StorageError>;

    /// Says what lies at `path`, or `None` when nothing does.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`].
    fn entry_kind(&self, path: &Path) -> Result<Option<EntryKind>, StorageError>;

    /// Creates `folder` and the folders above it; those that exist are left alone.
    ///
    /// # Errors
    ///
    /// [`StorageError::AlreadyExists`] when a file has one of the names, or [`StorageError::Io`].
    fn create_folders(&self, folder: &Path) -> Result<(), StorageError>;

    /// Removes the file at `path`.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`] or [`StorageError::Io`].
    fn remove(&self, path: &Path) -> Result<(), StorageError>;
}

/// A file open for writing by its only writer. The lock ends when the handle is dropped.
pub trait AppendFile: fmt::Debug + Send {
    /// Appends all of `bytes` behind the last byte.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`]; then any number of leading bytes may have been written.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.write_at(self.size_bytes(), bytes)
    }

    /// Writes all of `bytes` from `offset` on, in place of what is there and past the end; a gap before `offset` reads
    /// as zeros.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`]; then any number of leading bytes may have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StorageError>;

    /// Makes the file at least `size_bytes` long by writing zeros behind its end, and waits until they are on durable
    /// media: overwriting them later needs no new space.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`]; then any number of zeros may have been written.
    fn extend(&mut self, size_bytes: u64) -> Result<(), StorageError>;

    /// Drops what lies at `size_bytes` and behind it, and waits until that is durable. A shorter file stays as it is.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`]; then the file may have either size.
    fn cut(&mut self, size_bytes: u64) -> Result<(), StorageError>;

    /// Waits until everything written so far is on durable media.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`]; then nothing is known about any byte that was not durable before, and a second call
    /// proves nothing (the system may have dropped the dirty pages).
    fn sync(&mut self) -> Result<(), StorageError>;

    /// Returns the size of the file in bytes, as far as this handle wrote it.
    fn size_bytes(&self) -> u64;
}

/// A file open for reading.
pub trait ReadFile: fmt::Debug + Send + Sync {
    /// Returns the size of the file in bytes at this moment; a writer may make it larger or smaller.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`].
    fn size_bytes(&self) -> Result<u64, StorageError>;

    /// Reads from `offset`, bytes from the file's start, until `out` is full or the file ends. Returns how many bytes
    /// of `out` were filled.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`].
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, StorageError>;

    /// Maps the whole file into memory. Only for a file that nobody writes any more: see [`Mapping`].
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`].
    fn map(&self) -> Result<Mapping, StorageError>;
}

/// What a name in a folder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A regular file, or a link to one.
    File,
    /// A folder, or a link to one.
    Folder,
    /// Anything else: a socket, a device, a link to nothing.
    Other,
}

/// One line of [`Storage::list`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name inside the folder, without the folder.
    pub name: String,
    /// What it stands for.
    pub kind: EntryKind,
}

#[cfg(test)]
mod tests;
