//! A storage whose power can go.
//!
//! The faults it can inject: the power goes at a chosen operation, which and all later ones fail; what the disk holds
//! then is drawn from a seed. Of every write that no sync has covered, each sector of 512 bytes is there or not,
//! independently of all others, so writes are dropped, kept, torn and reordered. A change of a file's size, or of a name
//! in a folder, that was not synced is there or not.
//!
//! A sync can also fail while the power stays on. Then what it should have covered never reaches the disk, though every
//! reader sees it and the next sync succeeds, as systems do that drop a page's mark once its write has failed.
//!
//! A sector is written whole or not at all, and what a sync has covered stays: the promises of the disks this models.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::memory::{copy_at, entries_in, lock, overwrite, place_of, plain};
use super::{AppendFile, Entry, EntryKind, Mapping, Operation, ReadFile, Storage, StorageError};

/// The unit that a disk writes whole or not at all, bytes.
const SECTOR_SIZE_BYTES: usize = 512;

/// [`Storage`] in memory that remembers what was synced. Clones share the same disk.
#[derive(Debug, Clone, Default)]
pub struct PowerLossStorage {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    folders: BTreeSet<PathBuf>,
    /// What a process sees.
    names: BTreeMap<PathBuf, usize>,
    /// What survives for certain.
    durable_names: BTreeMap<PathBuf, usize>,
    /// Files by number; a number is never used again.
    files: Vec<Content>,
    operation_count: u64,
    power_off_at: Option<u64>,
    sync_fails_at: Option<u64>,
}

#[derive(Debug, Default)]
struct Content {
    /// What a process sees.
    bytes: Vec<u8>,
    /// What survives for certain.
    durable: Vec<u8>,
    /// What was done since, in order.
    unsynced: Vec<Change>,
    locked: bool,
}

#[derive(Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Size(u64),
}

impl PowerLossStorage {
    /// Returns an empty storage whose power stays on. The working folder and the root exist.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many operations that change the disk were done.
    pub fn operation_count(&self) -> u64 {
        lock(&self.disk).operation_count
    }

    /// Lets the power go at the operation with `count` operations before it since the storage was made.
    pub fn power_off_at(&self, count: u64) {
        lock(&self.disk).power_off_at = Some(count);
    }

    /// Lets the first sync fail that has at least `count` operations before it, and no other.
    pub fn sync_fails_at(&self, count: u64) {
        lock(&self.disk).sync_fails_at = Some(count);
    }

    /// Returns the disk as it is found after the power went now; the same seed finds the same. Nothing is locked there.
    pub fn crash(&self, seed: u64) -> Self {
        let disk = lock(&self.disk);
        let mut coin = Coin(seed);
        let mut names = BTreeMap::new();
        let all: BTreeSet<&PathBuf> = disk.names.keys().chain(disk.durable_names.keys()).collect();
        for path in all {
            let (seen, durable) = (disk.names.get(path), disk.durable_names.get(path));
            if let Some(file) = if coin.falls_heads() { seen } else { durable } {
                names.insert(path.clone(), *file);
            }
        }
        let files = disk.files.iter().map(|content| content.after_crash(&mut coin)).collect();
        let found =
            Disk { folders: disk.folders.clone(), durable_names: names.clone(), names, files, ..Disk::default() };
        Self { disk: Arc::new(Mutex::new(found)) }
    }
}

impl Storage for PowerLossStorage {
    fn read_at_most(&self, path: &Path, size_bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        let disk = lock(&self.disk);
        let content = &disk.files[disk.file(Operation::Read, path)?];
        let size_bytes = content.bytes.len() as u64;
        if size_bytes > size_bytes_max {
            return Err(StorageError::TooLarge { path: path.to_path_buf(), size_bytes, size_bytes_max });
        }
        Ok(content.bytes.clone())
    }

    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadFile>, StorageError> {
        let file = lock(&self.disk).file(Operation::Read, path)?;
        Ok(Box::new(PowerLossReadFile { disk: Arc::clone(&self.disk), file }))
    }

    fn create_new(&self, path: &Path) -> Result<Box<dyn AppendFile>, StorageError> {
        self.create_filled(path, &[], 0)
    }

    fn create_filled(&self, path: &Path, bytes: &[u8], size_bytes: u64) -> Result<Box<dyn AppendFile>, StorageError> {
        let mut disk = lock(&self.disk);
        disk.check_place(Operation::Create, path)?;
        if disk.kind(&plain(path)).is_some() {
            return Err(StorageError::AlreadyExists { operation: Operation::Create, path: path.to_path_buf() });
        }
        disk.spend(Operation::Create, path)?;
        let file = disk.add(bytes, size_bytes);
        disk.names.insert(plain(path), file);
        // From here to the folder's sync the name may or may not be on the disk.
        disk.spend(Operation::Create, path)?;
        disk.durable_names.insert(plain(path), file);
        drop(disk);
        self.open(Operation::Create, path, file)
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn AppendFile>, StorageError> {
        let file = lock(&self.disk).file(Operation::Open, path)?;
        self.open(Operation::Open, path, file)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let mut disk = lock(&self.disk);
        disk.check_place(Operation::Replace, path)?;
        disk.spend(Operation::Replace, path)?;
        let file = disk.add(bytes, 0);
        disk.names.insert(plain(path), file);
        disk.spend(Operation::Replace, path)?;
        disk.durable_names.insert(plain(path), file);
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let mut disk = lock(&self.disk);
        disk.check_place(Operation::Rename, to)?;
        if disk.kind(&plain(to)).is_some() {
            return Err(StorageError::AlreadyExists { operation: Operation::Rename, path: to.to_path_buf() });
        }
        let file = disk.file(Operation::Rename, from)?;
        disk.spend(Operation::Rename, to)?;
        disk.names.remove(&plain(from));
        disk.names.insert(plain(to), file);
        // From here to the folder's sync either name, or both, may be on the disk.
        disk.spend(Operation::Rename, to)?;
        disk.durable_names.remove(&plain(from));
        disk.durable_names.insert(plain(to), file);
        Ok(())
    }

    fn list(&self, folder: &Path) -> Result<Vec<Entry>, StorageError> {
        let disk = lock(&self.disk);
        let place = plain(folder);
        if disk.kind(&place) != Some(EntryKind::Folder) {
            return Err(StorageError::NotFound { operation: Operation::List, path: folder.to_path_buf() });
        }
        Ok(entries_in(&place, disk.names.keys(), &disk.folders))
    }

    fn entry_kind(&self, path: &Path) -> Result<Option<EntryKind>, StorageError> {
        Ok(lock(&self.disk).kind(&plain(path)))
    }

    /// Folders are durable at once: no promise of this crate depends on one.
    fn create_folders(&self, folder: &Path) -> Result<(), StorageError> {
        let mut disk = lock(&self.disk);
        let mut place = PathBuf::new();
        for component in plain(folder).components() {
            place.push(component);
            if disk.names.contains_key(&place) {
                return Err(StorageError::AlreadyExists { operation: Operation::CreateFolder, path: place });
            }
            disk.folders.insert(place.clone());
        }
        Ok(())
    }

    /// Removes the name; no folder is synced, so that it may come back.
    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        let mut disk = lock(&self.disk);
        disk.file(Operation::Remove, path)?;
        disk.spend(Operation::Remove, path)?;
        disk.names.remove(&plain(path));
        Ok(())
    }
}

impl PowerLossStorage {
    fn open(&self, operation: Operation, path: &Path, file: usize) -> Result<Box<dyn AppendFile>, StorageError> {
        let mut disk = lock(&self.disk);
        let content = &mut disk.files[file];
        if content.locked {
            return Err(StorageError::Locked { operation, path: path.to_path_buf() });
        }
        content.locked = true;
        Ok(Box::new(PowerLossFile { disk: Arc::clone(&self.disk), file, path: path.to_path_buf() }))
    }
}

impl Disk {
    fn file(&self, operation: Operation, path: &Path) -> Result<usize, StorageError> {
        let missing = || StorageError::NotFound { operation, path: path.to_path_buf() };
        self.names.get(&plain(path)).copied().ok_or_else(missing)
    }

    /// Adds a file without a name, whose bytes are durable.
    fn add(&mut self, bytes: &[u8], size_bytes: u64) -> usize {
        let mut bytes = bytes.to_vec();
        overwrite(&mut bytes, size_bytes, &[]);
        self.files.push(Content { durable: bytes.clone(), bytes, ..Content::default() });
        self.files.len() - 1
    }

    fn kind(&self, place: &Path) -> Option<EntryKind> {
        if self.names.contains_key(place) {
            return Some(EntryKind::File);
        }
        let always = place == Path::new("") || place == Path::new("/");
        (always || self.folders.contains(place)).then_some(EntryKind::Folder)
    }

    /// Checks that a file could lie at `path`: it has a name, and its folder exists.
    fn check_place(&self, operation: Operation, path: &Path) -> Result<(), StorageError> {
        match plain(path).parent() {
            Some(folder) if self.kind(folder) == Some(EntryKind::Folder) => Ok(()),
            Some(_) | None => Err(StorageError::NotFound { operation, path: path.to_path_buf() }),
        }
    }

    /// Counts an operation; fails where the power has gone.
    fn spend(&mut self, operation: Operation, path: &Path) -> Result<(), StorageError> {
        if self.power_off_at.is_some_and(|count| self.operation_count >= count) {
            let source = io::Error::other("injected fault: the power has gone");
            return Err(StorageError::Io { operation, path: path.to_path_buf(), source });
        }
        self.operation_count += 1;
        Ok(())
    }
}

impl Content {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.bytes);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// Returns what a disk may hold of this file.
    fn after_crash(&self, coin: &mut Coin) -> Self {
        let mut found = self.durable.clone();
        for change in &self.unsynced {
            match change {
                Change::Write { offset, bytes } => tear(&mut found, place_of(*offset), bytes, coin),
                Change::Size(_) if coin.falls_heads() => change.apply(&mut found),
                Change::Size(_) => {}
            }
        }
        Self { durable: found.clone(), bytes: found, ..Self::default() }
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => overwrite(file, *offset, bytes),
            Self::Size(size_bytes) => file.resize(place_of(*size_bytes), 0),
        }
    }
}

/// Writes some sectors of `bytes`: all, none, or each by itself. The file may have grown where its bytes have not come.
fn tear(file: &mut Vec<u8>, start: usize, bytes: &[u8], coin: &mut Coin) {
    let (all, some) = (coin.falls_heads(), coin.falls_heads());
    if coin.falls_heads() {
        overwrite(file, (start + bytes.len()) as u64, &[]);
    }
    let mut done = 0;
    while done < bytes.len() {
        let place = start + done;
        let end = bytes.len().min(done + SECTOR_SIZE_BYTES - place % SECTOR_SIZE_BYTES);
        if all || (some && coin.falls_heads()) {
            overwrite(file, place as u64, &bytes[done..end]);
        }
        done = end;
    }
}

/// Fair coins from a seed.
///
/// Source: splitmix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct Coin(u64);

impl Coin {
    fn falls_heads(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) >> 63 == 1
    }
}

/// A file of such a disk, open for writing and locked until it is dropped.
#[derive(Debug)]
struct PowerLossFile {
    disk: Arc<Mutex<Disk>>,
    file: usize,
    path: PathBuf,
}

/// A file of such a disk, open for reading.
#[derive(Debug)]
struct PowerLossReadFile {
    disk: Arc<Mutex<Disk>>,
    file: usize,
}

impl ReadFile for PowerLossReadFile {
    fn size_bytes(&self) -> Result<u64, StorageError> {
        Ok(lock(&self.disk).files[self.file].bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, StorageError> {
        Ok(copy_at(&lock(&self.disk).files[self.file].bytes, offset, out))
    }

    fn map(&self) -> Result<Mapping, StorageError> {
        Ok(Mapping::copied(lock(&self.disk).files[self.file].bytes.clone()))
    }
}

impl PowerLossFile {
    fn change(&self, operation: Operation, change: Change) -> Result<(), StorageError> {
        let mut disk = lock(&self.disk);
        // A change at which the power goes may still reach the disk.
        let result = disk.spend(operation, &self.path);
        disk.files[self.file].change(change);
        result
    }
}

impl AppendFile for PowerLossFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.change(Operation::Append, Change::Write { offset, bytes: bytes.to_vec() })
    }

    fn extend(&mut self, size_bytes: u64) -> Result<(), StorageError> {
        let missing_bytes = place_of(size_bytes.saturating_sub(self.size_bytes()));
        if missing_bytes == 0 {
            return Ok(());
        }
        self.append(&vec![0; missing_bytes])?;
        self.sync()
    }

    fn cut(&mut self, size_bytes: u64) -> Result<(), StorageError> {
        if size_bytes >= self.size_bytes() {
            return Ok(());
        }
        self.change(Operation::Cut, Change::Size(size_bytes))?;
        self.sync()
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        let mut disk = lock(&self.disk);
        let fails = disk.sync_fails_at.is_some_and(|count| disk.operation_count >= count);
        disk.spend(Operation::Sync, &self.path)?;
        if fails {
            disk.sync_fails_at = None;
            disk.files[self.file].unsynced.clear();
            let source = io::Error::other("injected fault: the device did not answer");
            return Err(StorageError::Io { operation: Operation::Sync, path: self.path.clone(), source });
        }
        disk.files[self.file].sync();
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        lock(&self.disk).files[self.file].bytes.len() as u64
    }
}

impl Drop for PowerLossFile {
    fn drop(&mut self) {
        lock(&self.disk).files[self.file].locked = false;
    }
}
