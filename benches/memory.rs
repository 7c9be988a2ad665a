//! What a replay needs of memory for logs of different lengths, kernel and trace included.
//!
//! Both logs are the calm market data of `benches/scenarios/market_data.toml`, one the beginning of the other, in sealed
//! segments of 64 MiB, each with a trace of [`Strides::LONG`]. Each is replayed by a process of its own, which prints the
//! most it had: `VmHWM` and the greatest `RssAnon` at any checkpoint. The difference is mapped files, the program's own and
//! one segment of the log, which the system drops when it needs the room. The figures are those that Linux keeps.
//!
//! `cargo bench --bench memory`; `DRILLFOLD_BENCH_EVENTS` sets how many events the shorter log has, 1,000,000 unless it says
//! otherwise. The longer one has ten times as many.

#[path = "support/market_data.rs"]
mod market_data;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use drillfold::replay::{Strides, replay_files, trace_log};
use drillfold::storage::{DiskStorage, Durability, Storage};
use drillfold::wal::{Access, Digests, DurabilityPolicy, LogFiles, LogWriter, ReadOptions, Trace, WriterOptions};

/// Names the log for the process that replays it.
const LOG: &str = "DRILLFOLD_BENCH_LOG_TO_REPLAY";

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(log) = std::env::var_os(LOG) {
        return replay(Path::new(&log));
    }
    // `cargo test --benches` runs this too, and asks for no figures.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let wanted = std::env::var("DRILLFOLD_BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    let event_count: u64 = if is_bench { wanted.unwrap_or(1_000_000) } else { 2_000 };

    let folder = tempfile::tempdir()?;
    let logs = [event_count, event_count * 10].map(|count| (count, folder.path().join(format!("{count}.wal"))));
    make(&logs)?;
    for (_, log) in &logs {
        let status = Command::new(std::env::current_exe()?).env(LOG, log).status()?;
        if !status.success() {
            return Err("the replay failed".into());
        }
    }
    Ok(())
}

/// Makes each log with a simulation of its own, and its trace from it.
fn make(logs: &[(u64, PathBuf)]) -> Result<(), Box<dyn Error>> {
    let disk = DiskStorage::new(Durability::Unsynced);
    let text = String::from_utf8(disk.read(Path::new(market_data::SCENARIO))?)?;
    for (event_count, path) in logs {
        let mut writer = None;
        market_data::simulate(&text, *event_count, Strides::LONG, |header, at, event, _| {
            let options = WriterOptions { preallocate_bytes: 0, ..WriterOptions::segmented(DurabilityPolicy::Never) };
            let writer = match &mut writer {
                Some(writer) => writer,
                None => writer.insert(LogWriter::create(Arc::new(disk), path, header, options)?),
            };
            writer.event(at, event)?;
            Ok(())
        })?;
        writer.ok_or("there are no events")?.finish()?;
        let options = ReadOptions { digests: Digests::Skip, access: Access::Mapped };
        let mut trace = disk.create_new(&path.with_extension("trace"))?;
        trace_log(
            &mut LogFiles::open(&disk, path, options)?,
            Strides::LONG,
            |_, part| -> Result<(), Box<dyn Error>> { Ok(trace.append(&part)?) },
        )?;
    }
    Ok(())
}

/// Replays a log against its trace and prints what it took.
fn replay(path: &Path) -> Result<(), Box<dyn Error>> {
    let disk = DiskStorage::new(Durability::Unsynced);
    let before_kib = kib("RssAnon")?;
    let trace = disk.read(&path.with_extension("trace"))?;
    let options = ReadOptions { digests: Digests::Skip, access: Access::Mapped };
    let mut files = LogFiles::open(&disk, path, options)?;
    let mut most_kib = 0;
    let found = replay_files(&mut files, Some(("trace", &trace)), |_| {
        most_kib = most_kib.max(kib("RssAnon").unwrap_or(u64::MAX));
    })?;
    if let Some(divergence) = found.divergence {
        return Err(format!("{divergence:?}").into());
    }
    let read = Trace::read("trace", &trace)?;
    let per_million = 1e6 / found.event_count as f64;
    let image_bytes: usize = read.images.iter().map(|image| image.bytes.len()).sum();
    println!(
        "{} events: at most {:.1} MiB, of it {:.1} MiB anonymous, {:.1} MiB without the trace and what was there before",
        found.event_count,
        kib("VmHWM")? as f64 / 1024.0,
        most_kib as f64 / 1024.0,
        most_kib.saturating_sub(before_kib + trace.len() as u64 / 1024) as f64 / 1024.0,
    );
    println!(
        "  the trace, read whole: {} bytes, {:.0} for a million events; {} checkpoints, {} images of {:.0} bytes",
        trace.len(),
        trace.len() as f64 * per_million,
        read.checkpoints.len(),
        read.images.len(),
        image_bytes as f64 / read.images.len().max(1) as f64,
    );
    println!("  it ends in the mode {:?}", found.status.map(|status| status.trading_mode));
    Ok(())
}

/// Returns a figure of this process in KiB; 0 where the system keeps none.
fn kib(name: &str) -> Result<u64, Box<dyn Error>> {
    if !cfg!(target_os = "linux") {
        return Ok(0);
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("the system has no such figure")?.parse()?)
}
