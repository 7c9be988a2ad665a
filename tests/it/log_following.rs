//! A log that is followed while another process writes it, until that process is killed, and while the next one goes on.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::Child,
    sync::Arc,
    thread,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use drillfold::{
    storage::{DiskStorage, Durability},
    wal::{Access, Digests, LogFiles, LogWriter, Polled, ReadOptions, RecordBody, Tail},
};
use drillfold_kernel::units::Seq;

use crate::log_writer::{at, check_log, event, options, start_child};

/// How many writers there are, one after the other; each has another policy or preallocation.
const WRITERS: u64 = 12;

/// Events that each of them writes at least before it is killed.
const EVENTS_EACH: u64 = 700;

/// A writer that says nothing for so long is taken for stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A writer in a process of its own, and who reads what it calls durable.
struct Writer {
    process: Child,
    durable: JoinHandle<u64>,
}

impl Writer {
    /// Starts a writer and waits until it has the log.
    fn start(log: &Path, round: u64) -> Self {
        let mut process = start_child(log, round);
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "ready"), "the writer did not begin");
        let last_of = move || lines.filter_map(|line| line.strip_prefix("durable ")?.parse().ok()).last().unwrap_or(0);
        Self { process, durable: thread::spawn(last_of) }
    }

    /// Kills the writer and returns the last event that it called durable.
    fn kill(mut self) -> u64 {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it has run");
        self.durable.join().expect("it only reads")
    }
}

/// Takes what is there, checks that it is what comes next, and returns how many events were seen altogether.
#[track_caller]
fn follow(files: &mut LogFiles<'_>, mut seen: u64) -> u64 {
    while let Polled::Record(record) = files.poll().unwrap_or_else(|error| panic!("behind {seen}: {error}")) {
        if let RecordBody::Event(raw) = record.body {
            seen += 1;
            assert_eq!((record.seq, record.at), (Seq(seen), at(seen)), "each event comes once, in order");
            assert_eq!(raw.decode().expect("it is an event"), event(seen));
        }
    }
    seen
}

fn open<'s>(disk: &'s DiskStorage, log: &Path) -> LogFiles<'s> {
    let read = ReadOptions { digests: Digests::Check, access: Access::Mapped };
    LogFiles::open(disk, log, read).expect("files appear whole")
}

/// Makes the log one that can be gone on with. Whoever cuts off a torn tail makes another file, which a reader has to open;
/// in any other case it stays with its files.
fn mend<'s>(disk: &'s DiskStorage, log: &Path, files: LogFiles<'s>, seen: u64) -> LogFiles<'s> {
    assert_eq!(check_log(log, seen), seen, "the reader has seen all there is");
    let Tail::Torn { .. } = files.segment_summary().summary.tail else { return files };
    let mut files = open(disk, log);
    assert!(files.seek_seq(Seq(seen + 1)).expect("it is sound"));
    files
}

#[test]
fn a_reader_follows_writers_that_are_killed() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let log = folder.path().join("followed.wal");
    let disk = DiskStorage::new(Durability::Synced);
    let mut writer = Writer::start(&log, 0);
    let (mut files, mut seen) = (open(&disk, &log), 0);
    for round in 0..WRITERS {
        let (began, first) = (Instant::now(), seen);
        while seen < first + EVENTS_EACH {
            seen = follow(&mut files, seen);
            assert!(began.elapsed() < PATIENCE, "writer {round}: {} events of {EVENTS_EACH}", seen - first);
            thread::yield_now();
        }
        let durable = writer.kill();
        seen = follow(&mut files, seen);
        assert!(seen >= durable, "writer {round}: {durable} events were durable, {seen} were seen");
        files = mend(&disk, &log, files, seen);
        writer = Writer::start(&log, round + 1);
    }
    let durable = writer.kill();
    seen = follow(&mut files, seen);
    assert!(seen >= durable, "{durable} events were durable, {seen} were seen");
    assert!(files.segment_count() > WRITERS as usize, "hardly anything was written");

    // The last one is this process: it seals the log, and goes on behind that.
    files = mend(&disk, &log, files, seen);
    for _ in 0..2 {
        let mut writer = LogWriter::resume(Arc::new(disk), &log, options(0)).expect("nobody else writes");
        for _ in 0..300 {
            let seq = writer.next_seq().0;
            writer.event(at(seq), &event(seq)).expect("the disk works");
            seen = follow(&mut files, seen);
            assert_eq!(seen, seq, "what is durable is seen");
        }
        writer.finish().expect("the disk works");
        assert_eq!(follow(&mut files, seen), seen);
    }
}
