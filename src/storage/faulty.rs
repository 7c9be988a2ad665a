//! A storage that fails on purpose.
//!
//! The faults it can inject: the disk is full after a number of new bytes (a write stops in the middle, at exactly that
//! byte; a replacement or the creation of a filled file does not happen at all), and a sync fails after a number of
//! syncs. Bytes written over others need no space; creating a filled file, extending and cutting sync once each. Once
//! a fault has struck, it stays. Reads, listings and locks work on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{AppendFile, Entry, EntryKind, Operation, ReadFile, Storage, StorageError};

/// How much still works before a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultBudget {
    /// Bytes by which files can still grow; `None` never runs out.
    pub bytes: Option<u64>,
    /// Syncs that still work; `None` never runs out.
    pub syncs: Option<u64>,
}

/// [`Storage`] over another one, with faults after a countdown. Clones share the countdown.
#[derive(Debug, Clone)]
pub struct FaultyStorage<S> {
    inner: S,
    budget: Arc<Mutex<FaultBudget>>,
}

impl<S: Storage> FaultyStorage<S> {
    /// Wraps `inner`, with `budget` until the faults begin.
    pub fn new(inner: S, budget: FaultBudget) -> Self {
        Self { inner, budget: Arc::new(Mutex::new(budget)) }
    }

    /// Returns what still works before a fault.
    pub fn budget(&self) -> FaultBudget {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrap(&self, path: &Path, file: Box<dyn AppendFile>) -> Box<dyn AppendFile> {
        Box::new(FaultyFile { inner: file, path: path.to_path_buf(), budget: Arc::clone(&self.budget) })
    }
}

impl<S: Storage> Storage for FaultyStorage<S> {
    fn read_at_most(&self, path: &Path, size_bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        self.inner.read_at_most(path, size_bytes_max)
    }

    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadFile>, StorageError> {
        self.inner.open_read(path)
    }

    fn create_new(&self, path: &Path) -> Result<Box<dyn AppendFile>, StorageError> {
        Ok(self.wrap(path, self.inner.create_new(path)?))
    }

    fn create_filled(&self, path: &Path, bytes: &[u8], size_bytes: u64) -> Result<Box<dyn AppendFile>, StorageError> {
        let size = usize::try_from(size_bytes).unwrap_or(usize::MAX).max(bytes.len());
        if take_bytes(&self.budget, size) < size {
            return Err(disk_full(Operation::Create, path));
        }
        take_sync(&self.budget, path)?;
        Ok(self.wrap(path, self.inner.create_filled(path, bytes, size_bytes)?))
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn AppendFile>, StorageError> {
        Ok(self.wrap(path, self.inner.open_append(path)?))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let writable = take_bytes(&self.budget, bytes.len());
        if writable < bytes.len() {
            return Err(disk_full(Operation::Replace, path));
        }
        self.inner.replace(path, bytes)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.inner.rename_new(from, to)
    }

    fn list(&self, folder: &Path) -> Result<Vec<Entry>, StorageError> {
        self.inner.list(folder)
    }

    fn entry_kind(&self, path: &Path) -> Result<Option<EntryKind>, StorageError> {
        self.inner.entry_kind(path)
    }

    fn create_folders(&self, folder: &Path) -> Result<(), StorageError> {
        self.inner.create_folders(folder)
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        self.inner.remove(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Box<dyn AppendFile>,
    path: PathBuf,
    budget: Arc<Mutex<FaultBudget>>,
}

impl AppendFile for FaultyFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let room = usize::try_from(self.size_bytes().saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
        let writable = room + take_bytes(&self.budget, bytes.len() - room);
        self.inner.write_at(offset, &bytes[..writable])?;
        if writable < bytes.len() {
            return Err(disk_full(Operation::Append, &self.path));
        }
        Ok(())
    }

    fn extend(&mut self, size_bytes: u64) -> Result<(), StorageError> {
        let missing = usize::try_from(size_bytes.saturating_sub(self.size_bytes())).unwrap_or(usize::MAX);
        let writable = take_bytes(&self.budget, missing);
        if writable < missing {
            self.inner.extend(self.size_bytes() + writable as u64)?;
            return Err(disk_full(Operation::Append, &self.path));
        }
        take_sync(&self.budget, &self.path)?;
        self.inner.extend(size_bytes)
    }

    fn cut(&mut self, size_bytes: u64) -> Result<(), StorageError> {
        take_sync(&self.budget, &self.path)?;
        self.inner.cut(size_bytes)
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        take_sync(&self.budget, &self.path)?;
        self.inner.sync()
    }

    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }
}

/// Takes up to `wanted` bytes from the budget and returns how many it had.
fn take_bytes(budget: &Mutex<FaultBudget>, wanted: usize) -> usize {
    let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(left) = budget.bytes else {
        return wanted;
    };
    let writable = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
    budget.bytes = Some(left - writable as u64);
    writable
}

/// Takes one sync from the budget.
fn take_sync(budget: &Mutex<FaultBudget>, path: &Path) -> Result<(), StorageError> {
    let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut budget.syncs {
        Some(0) => {
            let source = io::Error::other("injected fault: the device did not answer");
            Err(StorageError::Io { operation: Operation::Sync, path: path.to_path_buf(), source })
        }
        Some(left) => {
            *left -= 1;
            Ok(())
        }
        None => Ok(()),
    }
}

fn disk_full(operation: Operation, path: &Path) -> StorageError {
    let source = io::Error::new(io::ErrorKind::StorageFull, "injected fault: no space left");
    StorageError::Io { operation, path: path.to_path_buf(), source }
}
