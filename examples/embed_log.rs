//! A log of its own in another program: written with a choice of durability, cut off by a crash, gone on with, read back,
//! searched by time, and followed while it is written.
//!
//!     cargo run --example embed_log

use std::error::Error;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use drillfold::storage::{DiskStorage, Durability, Storage};
use drillfold::wal::{
    Access, Digest256, Digests, DurabilityPolicy, LogFiles, LogHeader, LogWriter, Polled, ReadOptions, RecordBody,
    WriterOptions,
};
use drillfold_kernel::event::Event;
use drillfold_kernel::units::{Seq, TimeMs};

/// One event comes every so many milliseconds.
const EVENT_EVERY_MS: i64 = 100;

const READ: ReadOptions = ReadOptions { digests: Digests::Check, access: Access::Mapped };

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("orders.wal");
    let disk = DiskStorage::new(Durability::Synced);
    let acknowledged = write_until_a_crash(&disk, &path)?;
    go_on(&disk, &path, acknowledged)?;
    read_back(&disk, &path)?;
    follow(&disk, &folder.path().join("followed.wal"))
}

/// Small segments, so that this example has several; one sync for every 100 events.
fn options() -> WriterOptions {
    let every = NonZeroU32::MIN.saturating_add(99);
    WriterOptions {
        segment_size_bytes: 8 << 10,
        preallocate_bytes: 4 << 10,
        ..WriterOptions::segmented(DurabilityPolicy::EveryEvents(every))
    }
}

fn header() -> LogHeader {
    LogHeader::first("embedded", 1, Digest256::default(), env!("CARGO_PKG_VERSION"))
}

fn at(seq: Seq) -> TimeMs {
    TimeMs(1_600_000_000_000 + seq.0.cast_signed() * EVENT_EVERY_MS)
}

/// Appends an event. A program writes what it was told before it acts on it, and acts only on what is durable.
fn append(log: &mut LogWriter) -> Result<Seq, Box<dyn Error>> {
    Ok(log.event(at(log.next_seq()), &Event::LoopTicked)?)
}

/// Returns the last event that the program could act on.
fn write_until_a_crash(disk: &DiskStorage, path: &Path) -> Result<Seq, Box<dyn Error>> {
    let mut log = LogWriter::create(Arc::new(*disk), path, &header(), options())?;
    for _ in 0..950 {
        append(&mut log)?;
    }
    println!("event {} was appended, {} is durable by the policy", log.next_seq().0 - 1, log.durable_seq().0);
    // The policy is a bound: who can't wait for it asks for a sync.
    append(&mut log)?;
    let acknowledged = log.sync()?;
    for _ in 0..30 {
        append(&mut log)?;
    }
    // Neither `finish` nor `flush`: what was not handed to the disk is lost, as it is when the process is killed.
    drop(log);
    Ok(acknowledged)
}

fn go_on(disk: &DiskStorage, path: &Path, acknowledged: Seq) -> Result<(), Box<dyn Error>> {
    // A log that ends in an unfinished record is refused here; `wal::repair_log` copies what is sound of it.
    let mut log = LogWriter::resume(Arc::new(*disk), path, options())?;
    println!("after the crash: {} was acknowledged, {} is the last event", acknowledged.0, log.durable_seq().0);
    if log.durable_seq() < acknowledged {
        return Err("an acknowledged event is gone".into());
    }
    while log.next_seq() <= Seq(2_000) {
        append(&mut log)?;
    }
    let end = log.finish()?;
    println!("sealed; the last segment has {} events", end.event_count);
    Ok(())
}

fn read_back(disk: &DiskStorage, path: &Path) -> Result<(), Box<dyn Error>> {
    let mut files = LogFiles::open(disk, path, READ)?;
    let (mut event, mut count) = (Event::LoopTicked, 0_u64);
    while let Some(record) = files.next_record()? {
        if let RecordBody::Event(raw) = record.body {
            raw.decode_into(&mut event)?;
            count += 1;
        }
    }
    println!("read: {count} events in {} segments", files.segment_count());
    let wanted = TimeMs(at(Seq(1_500)).0 - EVENT_EVERY_MS / 2);
    let found = files.seek_time(wanted)?;
    println!("the first event at {} ms or later: {}", wanted.0, found.map_or(0, |seq| seq.0));
    if (count, found) != (2_000, Some(Seq(1_500))) {
        return Err("the log holds other events than were appended".into());
    }
    Ok(())
}

/// Reads a log that is being written. Here both take turns; as a rule they are two processes, and the reader waits in a way
/// of its own where nothing is new.
fn follow(disk: &DiskStorage, path: &Path) -> Result<(), Box<dyn Error>> {
    let shared: Arc<dyn Storage> = Arc::new(*disk);
    let mut log = LogWriter::create(shared, path, &header(), options())?;
    let mut files = LogFiles::open(disk, path, READ)?;
    let mut last = Seq(0);
    for _ in 0..10 {
        for _ in 0..150 {
            append(&mut log)?;
        }
        log.flush()?;
        while let Polled::Record(record) = files.poll()? {
            if matches!(record.body, RecordBody::Event(_)) {
                last = record.seq;
            }
        }
        if last.0 != log.next_seq().0 - 1 {
            return Err("the reader does not see what was handed to the disk".into());
        }
    }
    println!("followed to event {} over {} segments", last.0, files.segment_count());
    Ok(())
}
