//! Files in memory, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{AppendFile, Entry, EntryKind, Mapping, Operation, ReadFile, Storage, StorageError};

/// [`Storage`] in memory. Clones share the same files.
///
/// It keeps the rules of a disk: a file needs its folder, a replaced file lives on for whoever has it open, and a
/// writer's lock ends with its handle.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    tree: Arc<Mutex<Tree>>,
}

#[derive(Debug, Default)]
struct Tree {
    files: BTreeMap<PathBuf, Arc<Mutex<Node>>>,
    folders: BTreeSet<PathBuf>,
}

#[derive(Debug, Default)]
struct Node {
    bytes: Vec<u8>,
    locked: bool,
}

impl MemoryStorage {
    /// Returns an empty storage. The working folder and the root exist.
    pub fn new() -> Self {
        Self::default()
    }

    fn open(&self, operation: Operation, path: &Path, node: &Arc<Mutex<Node>>) -> Result<MemoryFile, StorageError> {
        let mut held = lock(node);
        if held.locked {
            return Err(StorageError::Locked { operation, path: path.to_path_buf() });
        }
        held.locked = true;
        Ok(MemoryFile { node: Arc::clone(node) })
    }
}

impl Storage for MemoryStorage {
    fn read_at_most(&self, path: &Path, size_bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        let tree = lock(&self.tree);
        let node = tree
            .files
            .get(&plain(path))
            .ok_or_else(|| StorageError::NotFound { operation: Operation::Read, path: path.to_path_buf() })?;
        let node = lock(node);
        let size_bytes = node.bytes.len() as u64;
        if size_bytes > size_bytes_max {
            return Err(StorageError::TooLarge { path: path.to_path_buf(), size_bytes, size_bytes_max });
        }
        Ok(node.bytes.clone())
    }

    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadFile>, StorageError> {
        let tree = lock(&self.tree);
        match tree.files.get(&plain(path)) {
            Some(node) => Ok(Box::new(MemoryReadFile { node: Arc::clone(node) })),
            None => Err(StorageError::NotFound { operation: Operation::Read, path: path.to_path_buf() }),
        }
    }

    fn create_new(&self, path: &Path) -> Result<Box<dyn AppendFile>, StorageError> {
        let mut tree = lock(&self.tree);
        tree.check_place(Operation::Create, path)?;
        if tree.kind(&plain(path)).is_some() {
            return Err(StorageError::AlreadyExists { operation: Operation::Create, path: path.to_path_buf() });
        }
        let node = Arc::new(Mutex::new(Node::default()));
        tree.files.insert(plain(path), Arc::clone(&node));
        Ok(Box::new(self.open(Operation::Create, path, &node)?))
    }

    fn create_filled(&self, path: &Path, bytes: &[u8], size_bytes: u64) -> Result<Box<dyn AppendFile>, StorageError> {
        let mut file = self.create_new(path)?;
        file.append(bytes)?;
        file.extend(size_bytes)?;
        Ok(file)
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn AppendFile>, StorageError> {
        let tree = lock(&self.tree);
        let node = tree
            .files
            .get(&plain(path))
            .ok_or_else(|| StorageError::NotFound { operation: Operation::Open, path: path.to_path_buf() })?;
        Ok(Box::new(self.open(Operation::Open, path, node)?))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let mut tree = lock(&self.tree);
        tree.check_place(Operation::Replace, path)?;
        if tree.kind(&plain(path)) == Some(EntryKind::Folder) {
            let source = io::Error::from(io::ErrorKind::IsADirectory);
            return Err(StorageError::Io { operation: Operation::Replace, path: path.to_path_buf(), source });
        }
        let node = Node { bytes: bytes.to_vec(), locked: false };
        tree.files.insert(plain(path), Arc::new(Mutex::new(node)));
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let operation = Operation::Rename;
        let mut tree = lock(&self.tree);
        tree.check_place(operation, to)?;
        if tree.kind(&plain(to)).is_some() {
            return Err(StorageError::AlreadyExists { operation, path: to.to_path_buf() });
        }
        let node = tree
            .files
            .remove(&plain(from))
            .ok_or_else(|| StorageError::NotFound { operation, path: from.to_path_buf() })?;
        tree.files.insert(plain(to), node);
        Ok(())
    }

    fn list(&self, folder: &Path) -> Result<Vec<Entry>, StorageError> {
        let tree = lock(&self.tree);
        let place = plain(folder);
        if tree.kind(&place) != Some(EntryKind::Folder) {
            return Err(StorageError::NotFound { operation: Operation::List, path: folder.to_path_buf() });
        }
        Ok(entries_in(&place, tree.files.keys(), &tree.folders))
    }

    fn entry_kind(&self, path: &Path) -> Result<Option<EntryKind>, StorageError> {
        Ok(lock(&self.tree).kind(&plain(path)))
    }

    fn create_folders(&self, folder: &Path) -> Result<(), StorageError> {
        let mut tree = lock(&self.tree);
        let mut place = PathBuf::new();
        for component in plain(folder).components() {
            place.push(component);
            if tree.files.contains_key(&place) {
                let operation = Operation::CreateFolder;
                return Err(StorageError::AlreadyExists { operation, path: place });
            }
            tree.folders.insert(place.clone());
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        match lock(&self.tree).files.remove(&plain(path)) {
            Some(_) => Ok(()),
            None => Err(StorageError::NotFound { operation: Operation::Remove, path: path.to_path_buf() }),
        }
    }
}

impl Tree {
    fn kind(&self, place: &Path) -> Option<EntryKind> {
        if self.files.contains_key(place) {
            return Some(EntryKind::File);
        }
        let always = place == Path::new("") || place == Path::new("/");
        (always || self.folders.contains(place)).then_some(EntryKind::Folder)
    }

    /// Checks that a file could lie at `path`: it has a name, and its folder exists.
    fn check_place(&self, operation: Operation, path: &Path) -> Result<(), StorageError> {
        let place = plain(path);
        match place.parent() {
            Some(folder) if self.kind(folder) == Some(EntryKind::Folder) => Ok(()),
            Some(_) | None => Err(StorageError::NotFound { operation, path: path.to_path_buf() }),
        }
    }
}

/// A file in memory, open for writing and locked until it is dropped.
#[derive(Debug)]
struct MemoryFile {
    node: Arc<Mutex<Node>>,
}

impl AppendFile for MemoryFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        overwrite(&mut lock(&self.node).bytes, offset, bytes);
        Ok(())
    }

    fn extend(&mut self, size_bytes: u64) -> Result<(), StorageError> {
        overwrite(&mut lock(&self.node).bytes, size_bytes, &[]);
        Ok(())
    }

    fn cut(&mut self, size_bytes: u64) -> Result<(), StorageError> {
        lock(&self.node).bytes.truncate(place_of(size_bytes));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        lock(&self.node).bytes.len() as u64
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        lock(&self.node).locked = false;
    }
}

/// Writes `bytes` into `file` from `offset` on; a gap before it becomes zeros.
pub(super) fn overwrite(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = place_of(offset);
    let end = start + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[start..end].copy_from_slice(bytes);
}

/// Returns what of these files and folders lies directly in `folder`, sorted.
pub(super) fn entries_in<'a>(
    folder: &Path,
    files: impl Iterator<Item = &'a PathBuf>,
    folders: &'a BTreeSet<PathBuf>,
) -> Vec<Entry> {
    let files = files.map(|path| (path, EntryKind::File));
    let folders = folders.iter().map(|path| (path, EntryKind::Folder));
    let mut entries: Vec<Entry> = files
        .chain(folders)
        .filter(|(path, _)| path.parent() == Some(folder))
        .filter_map(|(path, kind)| Some(Entry { name: path.file_name()?.to_str()?.to_string(), kind }))
        .collect();
    entries.sort();
    entries
}

/// Copies what `file` has from `offset` on into `out`, as much as fits, and returns how many bytes.
pub(super) fn copy_at(file: &[u8], offset: u64, out: &mut [u8]) -> usize {
    let rest = &file[place_of(offset).min(file.len())..];
    let filled = rest.len().min(out.len());
    out[..filled].copy_from_slice(&rest[..filled]);
    filled
}

/// Returns an offset as a place in memory; one past all memory fails where memory is asked for.
pub(super) fn place_of(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// A file in memory, open for reading. It sees what is appended later.
#[derive(Debug)]
struct MemoryReadFile {
    node: Arc<Mutex<Node>>,
}

impl ReadFile for MemoryReadFile {
    fn size_bytes(&self) -> Result<u64, StorageError> {
        Ok(lock(&self.node).bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, StorageError> {
        Ok(copy_at(&lock(&self.node).bytes, offset, out))
    }

    fn map(&self) -> Result<Mapping, StorageError> {
        Ok(Mapping::copied(lock(&self.node).bytes.clone()))
    }
}

/// Returns `path` without its `.` components, so that `./a` and `a` are one file as on a disk.
pub(super) fn plain(path: &Path) -> PathBuf {
    path.components().filter(|component| !matches!(component, Component::CurDir)).collect()
}

/// Locks, even after a test's thread has panicked while holding the lock: the bytes are still whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
