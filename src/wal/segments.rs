//! The files of a log.
//!
//! ```text
//!   x.wal  x.00001.wal  x.00002.wal ...
//! ```
//!
//! Source: specs/log-format.md, section Segments.

use std::path::{Path, PathBuf};

use crate::storage::{Storage, StorageError};

/// Returns where a segment of the log at `log` lies: segment 0 at `log` itself, any other beside it with its number,
/// at least five digits, before the ending.
pub fn segment_path(log: &Path, segment: u32) -> PathBuf {
    if segment == 0 {
        return log.to_path_buf();
    }
    let mut name = log.file_stem().unwrap_or_default().to_os_string();
    name.push(format!(".{segment:05}"));
    if let Some(ending) = log.extension() {
        name.push(".");
        name.push(ending);
    }
    log.with_file_name(name)
}

/// Returns the number of the last segment of the log at `log`, whose first is there.
///
/// # Errors
///
/// [`StorageError`] where the storage can't say what lies at a path.
pub(super) fn last_segment(storage: &dyn Storage, log: &Path) -> Result<u32, StorageError> {
    let mut last = 0_u32;
    while let Some(next) = last.checked_add(1) {
        if storage.entry_kind(&segment_path(log, next))?.is_none() {
            break;
        }
        last = next;
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_lie_beside_the_first() {
        let path = |log: &str, segment| segment_path(Path::new(log), segment).display().to_string();
        assert_eq!(path("logs/x.wal", 0), "logs/x.wal");
        assert_eq!(path("logs/x.wal", 1), "logs/x.00001.wal");
        assert_eq!(path("x.y.wal", 99_999), "x.y.99999.wal");
        assert_eq!(path("x.wal", u32::MAX), "x.4294967295.wal");
        assert_eq!(path("x", 2), "x.00002");
        assert_eq!(path("./.wal", 2), "./.wal.00002");
    }
}
