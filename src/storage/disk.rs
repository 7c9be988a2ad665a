//! Files of the machine's file system.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{AppendFile, Entry, EntryKind, Mapping, Operation, ReadFile, Storage, StorageError, map};

/// Whether [`DiskStorage`] waits for durable media where its operations promise it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `sync`, `create_new` and `replace` return when the bytes (and the folder's entry) survive a loss of power.
    Synced,
    /// They return when the system has the bytes: a crash of the process loses nothing, a loss of power may. For what
    /// can be made again at any time, such as a folder of reports.
    Unsynced,
}

/// [`Storage`] over `std::fs`.
#[derive(Debug, Clone, Copy)]
pub struct DiskStorage {
    durability: Durability,
    /// True where new files are readable to their owner alone.
    private: bool,
}

impl DiskStorage {
    /// Returns a storage on the machine's disk.
    pub fn new(durability: Durability) -> Self {
        Self { durability, private: false }
    }

    /// Returns the same storage, whose new files only their owner can read and write, where the system knows owners.
    #[must_use]
    pub const fn private(self) -> Self {
        Self { private: true, ..self }
    }

    /// Checks that nobody but its owner can read or write a file, nor anybody put another in its place.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`] with what to change; whatever keeps the file from being looked at.
    pub fn require_private(&self, path: &Path) -> Result<(), StorageError> {
        let failed = |source| StorageError::from_io(Operation::Inspect, path, source);
        let file = fs::metadata(path).map_err(failed)?;
        if is_open_to(&file, FILE_OF_OTHERS) {
            return Err(failed(io::Error::other("others than its owner may read or write it: `chmod 600` it first")));
        }
        self.require_private_folder(path)
    }

    /// Checks that nobody but its owner can put files into the folder of `path` or take them away.
    ///
    /// # Errors
    ///
    /// As [`DiskStorage::require_private`].
    pub fn require_private_folder(&self, path: &Path) -> Result<(), StorageError> {
        let failed = |source| StorageError::from_io(Operation::Inspect, path, source);
        let folder = fs::metadata(folder_of(path)).map_err(failed)?;
        if is_open_to(&folder, FOLDER_OF_OTHERS) && !is_open_to(&folder, STICKY) {
            return Err(failed(io::Error::other("anybody may change its folder: `chmod o-w` the folder first")));
        }
        Ok(())
    }

    /// Returns how a new file is opened.
    fn creating(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if self.private {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        options
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        match self.durability {
            Durability::Synced => file.sync_all(),
            Durability::Unsynced => Ok(()),
        }
    }

    /// Makes a new or renamed entry of the folder of `path` durable.
    fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        match self.durability {
            Durability::Synced => sync_folder(folder_of(path)),
            Durability::Unsynced => Ok(()),
        }
    }

    fn lock(&self, operation: Operation, path: &Path, file: File) -> Result<DiskFile, StorageError> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StorageError::Locked { operation, path: path.to_path_buf() });
            }
            Err(TryLockError::Error(source)) => {
                return Err(StorageError::from_io(operation, path, source));
            }
        }
        // The size is asked for only under the lock: before it another writer could still have been appending.
        let size_bytes = file.metadata().map_err(|source| StorageError::from_io(operation, path, source))?.len();
        Ok(DiskFile { file, path: path.to_path_buf(), size_bytes, durability: self.durability })
    }
}

impl Storage for DiskStorage {
    fn read_at_most(&self, path: &Path, size_bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        let failed = |source| StorageError::from_io(Operation::Read, path, source);
        let file = File::open(path).map_err(failed)?;
        let size_bytes = file.metadata().map_err(failed)?.len();
        let too_large = |size_bytes| StorageError::TooLarge { path: path.to_path_buf(), size_bytes, size_bytes_max };
        if size_bytes > size_bytes_max {
            return Err(too_large(size_bytes));
        }
        // The file may grow while it is read, and some files report no size at all; so the limit is kept here too.
        let mut bytes = Vec::new();
        file.take(size_bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        match u64::try_from(bytes.len()) {
            Ok(read) if read <= size_bytes_max => Ok(bytes),
            Ok(read) => Err(too_large(read)),
            Err(_) => Err(too_large(u64::MAX)),
        }
    }

    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadFile>, StorageError> {
        let file = File::open(path).map_err(|source| StorageError::from_io(Operation::Read, path, source))?;
        Ok(Box::new(DiskReadFile { file, path: path.to_path_buf() }))
    }

    fn create_new(&self, path: &Path) -> Result<Box<dyn AppendFile>, StorageError> {
        let failed = |source| StorageError::from_io(Operation::Create, path, source);
        let file = self.creating().open(path).map_err(failed)?;
        let file = self.lock(Operation::Create, path, file)?;
        self.sync_folder_of(path).map_err(failed)?;
        Ok(Box::new(file))
    }

    fn create_filled(&self, path: &Path, bytes: &[u8], size_bytes: u64) -> Result<Box<dyn AppendFile>, StorageError> {
        let failed = |source| StorageError::from_io(Operation::Create, path, source);
        let temporary = temporary_path(path).map_err(failed)?;
        let linked = self.fill_then_link(&temporary, path, bytes, size_bytes);
        // The second name has served, or the attempt has failed; if it can't be removed it harms nobody.
        let _ = fs::remove_file(&temporary);
        let file = linked?;
        self.sync_folder_of(path).map_err(failed)?;
        Ok(Box::new(file))
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn AppendFile>, StorageError> {
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(|source| StorageError::from_io(Operation::Open, path, source))?;
        Ok(Box::new(self.lock(Operation::Open, path, file)?))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let failed = |source| StorageError::from_io(Operation::Replace, path, source);
        let temporary = temporary_path(path).map_err(failed)?;
        let renamed = self.write_then_rename(&temporary, path, bytes);
        if renamed.is_err() {
            // The first error is the one to report; a temporary file that can't be removed either harms nobody.
            let _ = fs::remove_file(&temporary);
        }
        renamed.map_err(failed)?;
        self.sync_folder_of(path).map_err(failed)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let failed = |source| StorageError::from_io(Operation::Rename, to, source);
        // A second link fails where the name is taken, which a rename would not.
        fs::hard_link(from, to).map_err(failed)?;
        self.sync_folder_of(to).map_err(failed)?;
        fs::remove_file(from).map_err(|source| StorageError::from_io(Operation::Remove, from, source))
    }

    fn list(&self, folder: &Path) -> Result<Vec<Entry>, StorageError> {
        let failed = |source| StorageError::from_io(Operation::List, folder, source);
        let mut entries = Vec::new();
        for found in fs::read_dir(folder).map_err(failed)? {
            let found = found.map_err(failed)?;
            let name = found.file_name().into_string().map_err(|name| StorageError::NameNotUtf8 {
                folder: folder.to_path_buf(),
                name: name.to_string_lossy().into_owned(),
            })?;
            let kind = kind_at(&found.path()).map_err(failed)?.unwrap_or(EntryKind::Other);
            entries.push(Entry { name, kind });
        }
        entries.sort();
        Ok(entries)
    }

    fn entry_kind(&self, path: &Path) -> Result<Option<EntryKind>, StorageError> {
        kind_at(path).map_err(|source| StorageError::from_io(Operation::Inspect, path, source))
    }

    fn create_folders(&self, folder: &Path) -> Result<(), StorageError> {
        fs::create_dir_all(folder).map_err(|source| StorageError::from_io(Operation::CreateFolder, folder, source))
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        fs::remove_file(path).map_err(|source| StorageError::from_io(Operation::Remove, path, source))
    }
}

impl DiskStorage {
    /// Puts a new folder with files under the name `folder` in one step; nothing may have the name yet. The folders above
    /// it are created. Files are named by their names in it.
    ///
    /// # Errors
    ///
    /// [`StorageError::AlreadyExists`] or [`StorageError::Io`]; then nothing of it lies at `folder`.
    pub fn create_folder_filled(&self, folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<(), StorageError> {
        let failed = |source| StorageError::from_io(Operation::CreateFolder, folder, source);
        if kind_at(folder).map_err(failed)?.is_some() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        self.create_folders(folder_of(folder))?;
        let temporary = temporary_path(folder).map_err(failed)?;
        let renamed = self.fill_then_rename(&temporary, folder, files);
        if renamed.is_err() {
            // The first error is the one to report; a temporary folder that can't be removed either harms nobody.
            let _ = fs::remove_dir_all(&temporary);
        }
        renamed.map_err(failed)?;
        self.sync_folder_of(folder).map_err(failed)
    }

    /// Fills a folder under a temporary name and then gives it its own. Between the look at that name and this another
    /// process can take it; a rename fails on anything there but an empty folder, in which nothing is lost.
    fn fill_then_rename(&self, temporary: &Path, folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
        fs::create_dir(temporary)?;
        for (name, bytes) in files {
            let mut file = self.creating().open(temporary.join(name))?;
            file.write_all(bytes)?;
            self.sync_file(&file)?;
        }
        match self.durability {
            Durability::Synced => sync_folder(temporary)?,
            Durability::Unsynced => {}
        }
        fs::rename(temporary, folder)
    }

    /// Fills a file under a temporary name and then gives it its own: a hard link, because that never replaces a file.
    fn fill_then_link(
        &self,
        temporary: &Path,
        path: &Path,
        bytes: &[u8],
        size_bytes: u64,
    ) -> Result<DiskFile, StorageError> {
        let failed = |source| StorageError::from_io(Operation::Create, path, source);
        let file = self.creating().open(temporary).map_err(failed)?;
        // The lock belongs to the file and not to its name, so that no other writer ever finds it unlocked.
        let mut file = self.lock(Operation::Create, path, file)?;
        file.write_at(0, bytes)?;
        file.write_zeros(size_bytes)?;
        self.sync_file(&file.file).map_err(failed)?;
        fs::hard_link(temporary, path).map_err(failed)?;
        Ok(file)
    }

    fn write_then_rename(&self, temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.creating().open(temporary)?;
        file.write_all(bytes)?;
        self.sync_file(&file)?;
        drop(file);
        fs::rename(temporary, path)
    }
}

/// Permissions of group and others.
const FILE_OF_OTHERS: u32 = 0o077;

/// Permission of everybody to change a folder.
const FOLDER_OF_OTHERS: u32 = 0o002;

/// In a folder with it, files are removed and renamed by their owners alone.
const STICKY: u32 = 0o1000;

/// True where a file has any of these permissions; never where the system has none.
fn is_open_to(file: &fs::Metadata, permissions: u32) -> bool {
    #[cfg(unix)]
    let found = std::os::unix::fs::PermissionsExt::mode(&file.permissions());
    #[cfg(not(unix))]
    let (found, _) = (0, file);
    found & permissions != 0
}

/// Zeros are written in pieces of this size, bytes.
const ZEROS_SIZE_BYTES: usize = 256 * 1024;

/// A file of the disk, open for writing and locked until it is dropped.
#[derive(Debug)]
struct DiskFile {
    file: File,
    path: PathBuf,
    size_bytes: u64,
    durability: Durability,
}

impl AppendFile for DiskFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        write_all_at(&self.file, bytes, offset)
            .map_err(|source| StorageError::from_io(Operation::Append, &self.path, source))?;
        self.size_bytes = self.size_bytes.max(offset.saturating_add(bytes.len() as u64));
        Ok(())
    }

    fn extend(&mut self, size_bytes: u64) -> Result<(), StorageError> {
        if size_bytes <= self.size_bytes {
            return Ok(());
        }
        self.write_zeros(size_bytes)?;
        self.sync_all()
    }

    fn cut(&mut self, size_bytes: u64) -> Result<(), StorageError> {
        if size_bytes >= self.size_bytes {
            return Ok(());
        }
        self.file.set_len(size_bytes).map_err(|source| StorageError::from_io(Operation::Cut, &self.path, source))?;
        self.size_bytes = size_bytes;
        self.sync_all()
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        match self.durability {
            Durability::Synced => {
                self.file.sync_data().map_err(|source| StorageError::from_io(Operation::Sync, &self.path, source))
            }
            Durability::Unsynced => Ok(()),
        }
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

impl DiskFile {
    /// Writes zeros behind the end up to `size_bytes`, without waiting for durable media.
    fn write_zeros(&mut self, size_bytes: u64) -> Result<(), StorageError> {
        static ZEROS: [u8; ZEROS_SIZE_BYTES] = [0; ZEROS_SIZE_BYTES];
        while self.size_bytes < size_bytes {
            let missing_bytes = usize::try_from(size_bytes - self.size_bytes).unwrap_or(usize::MAX);
            self.append(&ZEROS[..missing_bytes.min(ZEROS_SIZE_BYTES)])?;
        }
        Ok(())
    }

    /// Waits for bytes and size.
    fn sync_all(&self) -> Result<(), StorageError> {
        match self.durability {
            Durability::Synced => {
                self.file.sync_all().map_err(|source| StorageError::from_io(Operation::Sync, &self.path, source))
            }
            Durability::Unsynced => Ok(()),
        }
    }
}

/// A file of the disk, open for reading.
#[derive(Debug)]
struct DiskReadFile {
    file: File,
    path: PathBuf,
}

impl DiskReadFile {
    fn failed(&self, source: io::Error) -> StorageError {
        StorageError::from_io(Operation::Read, &self.path, source)
    }
}

impl ReadFile for DiskReadFile {
    fn size_bytes(&self) -> Result<u64, StorageError> {
        self.file.metadata().map(|found| found.len()).map_err(|source| self.failed(source))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, StorageError> {
        let mut filled = 0;
        while filled < out.len() {
            match read_some_at(&self.file, offset.saturating_add(filled as u64), &mut out[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(filled)
    }

    fn map(&self) -> Result<Mapping, StorageError> {
        map::map(&self.file).map_err(|source| self.failed(source))
    }
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn write_all_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    use std::io::Seek as _;
    file.seek(io::SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

#[cfg(unix)]
fn read_some_at(file: &File, offset: u64, out: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, out, offset)
}

/// This moves the file's own position, which nothing here uses.
#[cfg(windows)]
fn read_some_at(file: &File, offset: u64, out: &mut [u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, out, offset)
}

fn kind_at(path: &Path) -> io::Result<Option<EntryKind>> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(EntryKind::File)),
        Ok(found) if found.is_dir() => Ok(Some(EntryKind::Folder)),
        Ok(_) => Ok(Some(EntryKind::Other)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the folder of `path`; a bare name lies in the working folder.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    }
}

/// Returns a name beside `path` that no other call, here or in another process, uses at the same time.
fn temporary_path(path: &Path) -> io::Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path ends in no file name"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{}.tmp", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    Ok(path.with_file_name(temporary))
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder can't be opened as a file; there the file system's own journal orders the rename.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
