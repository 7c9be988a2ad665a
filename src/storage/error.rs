//! The errors of the storage room.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why an operation on a file did not happen, or only in part.
#[derive(Debug, Error)]
pub enum StorageError {
    /// Nothing lies at the path, or its folder is missing. The caller names another path or creates the folder.
    #[error("{operation} {}: no such file or folder", path.display())]
    NotFound {
        /// What was tried.
        operation: Operation,
        /// Where.
        path: PathBuf,
    },
    /// Something lies at the path already. The caller removes it or chooses another name; nothing was overwritten.
    #[error("{operation} {}: it exists already and is not overwritten", path.display())]
    AlreadyExists {
        /// What was tried.
        operation: Operation,
        /// Where.
        path: PathBuf,
    },
    /// Another handle, here or in another process, has the file open for writing. The caller waits for that writer
    /// to end; two writers would interleave their records.
    #[error("{operation} {}: another writer holds the file's lock; wait for it to end, or write to another file", path.display())]
    Locked {
        /// What was tried.
        operation: Operation,
        /// Where.
        path: PathBuf,
    },
    /// The file is larger than the caller was willing to read.
    #[error("read {}: the file has {size_bytes} bytes, of which at most {size_bytes_max} are accepted", path.display())]
    TooLarge {
        /// Where.
        path: PathBuf,
        /// Size found, bytes.
        size_bytes: u64,
        /// Largest size accepted, bytes, inclusive.
        size_bytes_max: u64,
    },
    /// A name in a listed folder is no UTF-8 text. The caller renames or removes it: order and output need text.
    #[error("list {}: the name {name:?} is not UTF-8; rename it", folder.display())]
    NameNotUtf8 {
        /// The folder that was listed.
        folder: PathBuf,
        /// The name with its unreadable parts replaced.
        name: String,
    },
    /// The system refused. The cause is in the source.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: Operation,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl StorageError {
    /// Sorts an error of the system into the variant that says what to do about it.
    pub(super) fn from_io(operation: Operation, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { operation, path },
            io::ErrorKind::AlreadyExists => Self::AlreadyExists { operation, path },
            _ => Self::Io { operation, path, source },
        }
    }
}

/// The operation a [`StorageError`] speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading a file, whole or in part.
    Read,
    /// Creating a file that must not exist.
    Create,
    /// Opening a file for writing.
    Open,
    /// Writing bytes, or the zeros of space to come.
    Append,
    /// Cutting a file's end off.
    Cut,
    /// Waiting for durable media.
    Sync,
    /// Replacing a file in one step.
    Replace,
    /// Giving a finished file its name.
    Rename,
    /// Listing a folder.
    List,
    /// Asking what lies at a path.
    Inspect,
    /// Creating a folder.
    CreateFolder,
    /// Removing a file.
    Remove,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Open => "open for writing",
            Self::Append => "write to",
            Self::Cut => "cut",
            Self::Sync => "sync",
            Self::Replace => "replace",
            Self::Rename => "name a finished file",
            Self::List => "list",
            Self::Inspect => "inspect",
            Self::CreateFolder => "create folder",
            Self::Remove => "remove",
        })
    }
}
