//! What replaying a log and going on with one need of memory, which is not to grow with the log.
//!
//! A child process does the work, so that nothing else counts; it is this test binary once more, told by its environment
//! what to do. The figures are those that Linux keeps of a process.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use drillfold::{
    replay::{Strides, replay_files},
    storage::{DiskStorage, Durability},
    wal::{Access, Digests, DurabilityPolicy, LogFiles, LogWriter, ReadOptions, WriterOptions},
};

use crate::{
    market_data::{SCENARIO, simulate},
    project::root,
};

/// Tells the child what to do, and with which log.
const WORK: &str = "DRILLFOLD_TEST_MEMORY_OF";

/// Events of the shorter log: more than a minute of them, so that the kernel has begun to forget what is long over.
const EVENTS_SHORT: u64 = 120_000;

/// Events of the longer log.
const EVENTS_LONG: u64 = 4 * EVENTS_SHORT;

/// What a process may need more for the longer log, KiB: less than three bytes an event.
const GROWTH_MAX_KIB: u64 = 1_024;

/// Returns a figure of this process in KiB.
fn kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the system tells");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).expect("it is a number of KiB")
}

/// Not a test of its own: what the child does. Without the work's name in the environment it does nothing.
#[test]
fn the_child_prints_what_it_needed() {
    let Ok(work) = std::env::var(WORK) else { return };
    let (work, log) = work.split_once(':').expect("the work comes first");
    let (disk, log) = (DiskStorage::new(Durability::Unsynced), Path::new(log));
    let needed = match work {
        // Mapped pages of the log are the system's to drop, so they do not count.
        "replay" => {
            let options = ReadOptions { digests: Digests::Check, access: Access::Mapped };
            let mut files = LogFiles::open(&disk, log, options).expect("the log is there");
            let mut most = 0;
            replay_files(&mut files, None, |_| most = most.max(kib("RssAnon"))).expect("it is sound");
            most
        }
        "resume" => {
            let options = WriterOptions::single_file(DurabilityPolicy::Never);
            LogWriter::resume(Arc::new(disk), log, options).expect("it is sound");
            kib("VmHWM")
        }
        _ => panic!("no work is called {work}"),
    };
    println!("\nneeded {needed}");
}

fn needed_kib(work: &str, log: &Path) -> u64 {
    let done = Command::new(std::env::current_exe().expect("this test has a file"))
        .args(["--exact", "memory::the_child_prints_what_it_needed", "--nocapture", "--test-threads=1"])
        .env(WORK, format!("{work}:{}", log.display()))
        .stderr(Stdio::inherit())
        .output()
        .expect("it can be run again");
    assert!(done.status.success(), "{work} of {}", log.display());
    let output = String::from_utf8(done.stdout).expect("it is text");
    output.lines().find_map(|line| line.strip_prefix("needed ")?.parse().ok()).expect("it says what it needed")
}

#[test]
fn memory_does_not_grow_with_the_log() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let logs = [("short", EVENTS_SHORT), ("long", EVENTS_LONG)];
    let path = |name: &str| folder.path().join(format!("{name}.wal"));
    let text = fs::read_to_string(root().join(SCENARIO)).expect("the scenario is there");
    let mut writers = Vec::new();
    simulate(&text, EVENTS_LONG, Strides::LONG, |header, at, event, folder| {
        if writers.is_empty() {
            for (name, event_count) in logs {
                let options = WriterOptions::single_file(DurabilityPolicy::Never);
                let disk = Arc::new(DiskStorage::new(Durability::Unsynced));
                writers.push((LogWriter::create(disk, &path(name), header, options)?, event_count));
            }
        }
        for (writer, _) in writers.iter_mut().filter(|(_, event_count)| folder.seq().0 <= *event_count) {
            writer.event(at, event)?;
        }
        Ok(())
    })
    .expect("the scenario runs");
    for (mut writer, _) in writers {
        writer.flush().expect("the disk works");
    }
    for work in ["resume", "replay"] {
        let [short, long] = logs.map(|(name, _)| needed_kib(work, &path(name)));
        println!("{work}: {short} KiB for {EVENTS_SHORT} events, {long} KiB for {EVENTS_LONG}");
        assert!(long < short + GROWTH_MAX_KIB, "{work}: {long} KiB for four times the events of {short} KiB");
    }
}
