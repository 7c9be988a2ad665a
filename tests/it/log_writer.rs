//! A log on the machine's disk whose writer is killed, again and again.
//!
//! The child is this test binary once more, told by its environment to append. It says on its output what was durable;
//! whatever it said must be there afterwards, in order and once, and fold to the state of a run that nobody stopped.

use std::{
    io::{BufRead, BufReader, Write},
    num::{NonZeroU32, NonZeroUsize},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use drillfold::{
    replay::{Folder, Strides},
    storage::{DiskStorage, Durability, Storage},
    wal::{
        Digest256, DurabilityPolicy, LogHeader, LogReader, LogWriter, QueueError, QueuedWriter, RecordBody,
        ResumeError, Tail, WriterOptions, segment_path,
    },
};
use drillfold_kernel::{
    event::{Event, Level},
    units::{InstrumentId, Price, Qty, Seq, TimeMs},
};

use crate::rig::{book, healthy_boot, ticker};

/// Names the log for the child.
const LOG: &str = "DRILLFOLD_TEST_LOG_TO_APPEND_TO";

/// How often the child is killed.
const KILLS: u64 = 200;

/// When the event with that number happened.
pub fn at(seq: u64) -> TimeMs {
    TimeMs(1_600_000_000_000 + seq.cast_signed() * 10)
}

/// The event with the number `seq` in every run: a boot, then books and tickers and ticks.
pub fn event(seq: u64) -> Event {
    let instrument = InstrumentId((seq % 3) as u16);
    match seq {
        1 => Event::Booted(Box::new(healthy_boot(at(1)))),
        _ if seq.is_multiple_of(4) => Event::LoopTicked,
        _ if seq % 4 == 1 => Event::TickerReceived(ticker(instrument)),
        _ => {
            let mut snapshot = book(instrument, seq);
            snapshot.bids.push(Level { price: Price(seq.cast_signed()), qty: Qty(1_000_000_000) });
            Event::BookSnapshot(snapshot)
        }
    }
}

/// The options of a round: policies and preallocations take turns.
pub fn options(round: u64) -> WriterOptions {
    let count = NonZeroU32::new(5).expect("it is not 0");
    let durability = [
        DurabilityPolicy::EveryEvent,
        DurabilityPolicy::EveryEvents(count),
        DurabilityPolicy::EveryMs(count),
        DurabilityPolicy::Never,
    ][(round % 4) as usize];
    // Small files, so that they are sealed and created all the time.
    let preallocate_bytes = [0, 3_000, 1 << 20][(round % 3) as usize];
    WriterOptions { segment_size_bytes: 20_000, preallocate_bytes, ..WriterOptions::single_file(durability) }
}

fn disk() -> Arc<dyn Storage> {
    Arc::new(DiskStorage::new(Durability::Synced))
}

/// Not a test of its own: what the child does. Without the log's name in the environment it does nothing.
#[test]
fn the_child_appends_until_it_is_killed() {
    let Ok(log) = std::env::var(LOG) else { return };
    let (round, log) = log.split_once(':').expect("the round comes first");
    let (options, log) = (options(round.parse().expect("it is a number")), Path::new(log));
    let header = LogHeader::first("kill", 1, Digest256::default(), "test");
    let writer = match disk().entry_kind(log).expect("the folder can be read") {
        Some(_) => LogWriter::resume(disk(), log, options).expect("the parent has repaired it"),
        None => LogWriter::create(disk(), log, &header, options).expect("nothing is there"),
    };
    let queue = QueuedWriter::start(writer, NonZeroUsize::new(64).expect("it is not 0")).expect("threads are there");
    let mut output = std::io::stdout().lock();
    writeln!(output, "\nready").expect("the parent listens");
    loop {
        let seq = queue.next_seq();
        match queue.try_event(at(seq.0), &event(seq.0)) {
            Ok(_) if !seq.0.is_multiple_of(3) => continue,
            Ok(_) | Err(QueueError::Full { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        let last = Seq(queue.next_seq().0 - 1);
        let durable = queue.wait_durable(last, Duration::from_secs(60)).expect("the disk works");
        writeln!(output, "durable {}", durable.0).expect("the parent listens");
        output.flush().expect("the parent listens");
    }
}

/// Reads all events of the log behind the first `skipped`, and checks that they are those that were appended; returns
/// how many the log has. A torn tail is cut off, as a repair does.
pub fn check_log(log: &Path, skipped: u64) -> u64 {
    let (disk, mut last) = (disk(), 0);
    for segment in 0.. {
        let path = segment_path(log, segment);
        let Ok(bytes) = disk.read(&path) else { break };
        let mut reader = LogReader::open(&path.display().to_string(), &bytes).expect("files appear whole");
        assert_eq!(reader.header().first_seq, Seq(last + 1), "segment {segment}");
        while let Some(record) = reader.next_record().expect("nothing is damaged") {
            if let RecordBody::Event(raw) = record.body {
                last += 1;
                assert_eq!((record.seq.0, record.at), (last, at(last)));
                if last > skipped {
                    assert_eq!(raw.decode().expect("it is an event"), event(last));
                }
            }
        }
        if let Tail::Torn { offset, .. } = reader.summary().tail {
            disk.replace(&path, &bytes[..offset as usize]).expect("the disk works");
        }
    }
    last
}

/// Starts a process that appends to a log until it is killed, and says on its output what is durable.
pub fn start_child(log: &Path, round: u64) -> Child {
    Command::new(std::env::current_exe().expect("this test has a file"))
        .args(["--exact", "log_writer::the_child_appends_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(LOG, format!("{round}:{}", log.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it can be run again")
}

/// Kills the child some time after it has begun, and returns the last event it called durable.
fn append_and_kill(log: &Path, round: u64, lifetime: Duration) -> u64 {
    let mut child = start_child(log, round);
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    // Every fourth one is killed before it may have opened the log.
    if !round.is_multiple_of(4) {
        assert!(lines.any(|line| line == "ready"), "the child did not begin");
    }
    thread::sleep(lifetime);
    child.kill().expect("it runs");
    child.wait().expect("it has run");
    lines.filter_map(|line| line.strip_prefix("durable ")?.parse().ok()).last().unwrap_or(0)
}

#[test]
fn whatever_was_durable_survives_kill_9() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let log = folder.path().join("killed.wal");
    let (mut found, mut acknowledged) = (0, 0);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..KILLS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let durable = append_and_kill(&log, round, Duration::from_micros(random % 30_000));
        assert!(durable == 0 || durable >= acknowledged, "round {round}: it went back");
        acknowledged = acknowledged.max(durable);
        let before = found;
        found = check_log(&log, before);
        assert!(found >= acknowledged.max(before), "round {round}: {found} events, {acknowledged} were durable");
    }
    assert!(acknowledged > KILLS, "hardly anything was appended: {acknowledged}");
    assert_eq!(fold_log(&log), fold(found));
}

/// Folds the events of the log's files, and returns chain and state.
fn fold_log(log: &Path) -> (String, String) {
    let mut folder = Folder::new(Strides::DRILL);
    for segment in 0.. {
        let Ok(bytes) = disk().read(&segment_path(log, segment)) else { break };
        for entry in drillfold::wal::read_log("killed.wal", &bytes).expect("it is sound").entries {
            folder.step(entry.at, &entry.event).expect("it can be encoded");
        }
    }
    digests(&mut folder)
}

/// Folds as many events without any log.
fn fold(count: u64) -> (String, String) {
    let mut folder = Folder::new(Strides::DRILL);
    (1..=count).for_each(|seq| folder.step(at(seq), &event(seq)).expect("it can be encoded"));
    digests(&mut folder)
}

fn digests(folder: &mut Folder) -> (String, String) {
    let checkpoint = folder.checkpoint().expect("it can be encoded");
    (checkpoint.chain.to_string(), checkpoint.state.to_string())
}

/// The lock is the system's: it holds against other processes, and ends with the process that holds it.
#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let log = folder.path().join("held.wal");
    let mut child = Command::new(std::env::current_exe().expect("this test has a file"))
        .args(["--exact", "log_writer::the_child_appends_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(LOG, format!("1:{}", log.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be run again");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "ready"));
    let refused = LogWriter::resume(disk(), &log, options(0)).expect_err("another process has it");
    child.kill().expect("it runs");
    child.wait().expect("it has run");
    assert!(matches!(refused, ResumeError::Storage { .. }), "{refused}");
    let source = std::error::Error::source(&refused).map(ToString::to_string).unwrap_or_default();
    assert!(source.contains("held.wal: another writer holds the file's lock"), "{source}");
    check_log(&log, 0);
    LogWriter::resume(disk(), &log, options(0)).expect("the lock went with the process");
}
