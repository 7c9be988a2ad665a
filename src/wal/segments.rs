//! Where the segments of a log lie.

use std::path::{Path, PathBuf};

/// Returns where segment `segment` of the log at `log` lies: segment 0 at `log` itself, segment k beside it with k in
/// five digits before the ending, `x.wal`, `x.00001.wal`, `x.00002.wal`.
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
