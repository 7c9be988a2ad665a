//! How fast events are appended, as ratios of one run.
//!
//! Three figures: what archiving and framing an event costs; appending with one sync per 1,000 events, and with one per
//! event, each against a plain writer that appends what a record has to keep (kind, version, number, time and payload),
//! framed with length and CRC-32C, through a `BufWriter` to a file that grows. `plain, payloads alone` keeps no more than
//! the payload, from which nobody could replay. `log, of payloads` takes payloads that are archived already, as the plain
//! writers do; the other lines archive each event as well. Only ratios of runs right after each other mean anything on a
//! shared disk, so the contenders take turns and the median of the ratios is printed.
//!
//! Then the same events go through the queue of a writer with a thread of its own, against the same writer on the caller's
//! thread: how many a second until all of them are sealed, and how long the caller waits for an append at most. A caller
//! whose event the full queue refuses tries again, and that is part of its wait. Once the events come as fast as the caller
//! can append them, and once at 100,000 a second, which no disk holds up.
//!
//! `cargo bench --bench append`; the folder of the files is the argument, or the system's temporary one.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crc_fast::crc32_iscsi;
use drillfold::storage::{DiskStorage, Durability};
use drillfold::wal::{
    AppendError, Digest256, DurabilityPolicy, End, LogEncoder, LogHeader, LogWriter, QueueError, QueuedWriter,
    RecordType, WriterOptions, encode_event,
};
use drillfold_kernel::event::{BookChange, Event, Level};
use drillfold_kernel::units::{InstrumentId, Price, Qty, Seq, TimeMs};

/// One contender's turn: it appends the events and syncs every so many.
type Turn<'a> = dyn Fn(&Path, &[Event], &[(RecordType, Vec<u8>)], usize) -> Times + 'a;

/// How long a turn took, without and with what it prepared.
#[derive(Clone, Copy)]
struct Times {
    timed: Duration,
    inclusive: Duration,
}

fn main() {
    // `cargo test --benches` runs this too, and asks for no figures.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let folder = arguments.first().map_or_else(std::env::temp_dir, PathBuf::from);
    let (rounds, event_count) = if is_bench { (9, 100_000) } else { (1, 2_000) };
    encode(if is_bench { 2_000_000 } else { 2_000 });
    for level_count in [2, 3, 4] {
        println!("\none sync per 1,000 events, {event_count} changes of up to {level_count} levels:");
        compare(&folder, rounds, &events(event_count, level_count), 1_000);
    }
    let event_count = if is_bench { 1_500 } else { 10 };
    println!("\none sync per event, {event_count} changes of up to 2 levels:");
    compare(&folder, rounds, &events(event_count, 2), 1);
    let event_count = if is_bench { 1_000_000 } else { 2_000 };
    println!("\none sync per 1,000 events, {event_count} changes of up to 2 levels, to the sealed file:");
    compare_queue(&folder, rounds, &events(event_count, 2), Duration::ZERO);
    let event_count = event_count / 10;
    println!("\none sync per 1,000 events, {event_count} changes of up to 2 levels at 100,000 a second:");
    compare_queue(&folder, rounds, &events(event_count, 2), Duration::from_micros(10));
}

fn events(event_count: usize, level_count: u64) -> Vec<Event> {
    (0..event_count as u64).map(|number| event(number, level_count)).collect()
}

/// A change of a book by as many levels or one less, on either side.
fn event(number: u64, level_count: u64) -> Event {
    let level = |place: u64| Level {
        price: Price(50_000_000_000_000 + place.cast_signed()),
        qty: Qty(10_000_000_000 + place.cast_signed()),
    };
    let (bid_count, ask_count) = match number % 3 {
        0 => (level_count - 1, 1),
        1 => (level_count - 1, 0),
        _ => (0, level_count),
    };
    let levels = |count: u64| (0..count).map(|place| level(number + place)).collect();
    let (bids, asks) = (levels(bid_count), levels(ask_count));
    Event::BookChanged(BookChange {
        instrument: InstrumentId(3),
        prev_change_id: number,
        change_id: number + 1,
        bids,
        asks,
    })
}

fn header() -> LogHeader {
    LogHeader::first("bench", 1, Digest256::default(), "bench")
}

fn at(number: usize) -> TimeMs {
    TimeMs(1_600_000_000_000 + number as i64)
}

fn encode(event_count: usize) {
    let events = events(1_024, 2);
    let mut payload = Vec::new();
    let (mut archive, mut append, mut frame) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..7 {
        let start = Instant::now();
        for number in 0..event_count {
            let record_type = encode_event(&events[number % events.len()], &mut payload).expect("it is archived");
            black_box((record_type, &payload));
        }
        archive.push(start.elapsed());
        let payloads = archived(&events);
        let mut log = LogEncoder::new(&header()).expect("the header is sound");
        let start = Instant::now();
        for number in 0..event_count {
            let (record_type, payload) = &payloads[number % events.len()];
            log.raw_event(at(number), *record_type, payload).expect("it is appended");
            if number % 1_000 == 999 {
                black_box(log.take_pending());
            }
        }
        frame.push(start.elapsed());
        let mut log = LogEncoder::new(&header()).expect("the header is sound");
        let start = Instant::now();
        for number in 0..event_count {
            log.event(at(number), &events[number % events.len()]).expect("it is appended");
            if number % 1_000 == 999 {
                black_box(log.take_pending());
            }
        }
        append.push(start.elapsed());
    }
    let per_event = |times: &mut Vec<Duration>| median(times).as_secs_f64() * 1e9 / event_count as f64;
    println!("archive an event: {:.1} ns", per_event(&mut archive));
    println!("frame, checksum and digest of one archived before: {:.1} ns", per_event(&mut frame));
    println!("all of it: {:.1} ns", per_event(&mut append));
}

fn archived(events: &[Event]) -> Vec<(RecordType, Vec<u8>)> {
    let archive = |event| {
        let mut payload = Vec::new();
        (encode_event(event, &mut payload).expect("it is archived"), payload)
    };
    events.iter().map(archive).collect()
}

fn compare(folder: &Path, rounds: usize, events: &[Event], sync_events: usize) {
    let event_count = events.len();
    let payloads = archived(events);
    let size_bytes: usize = payloads.iter().map(|(_, payload)| payload.len()).sum();
    println!("payloads of {} bytes on average", size_bytes / event_count);
    let file_size_bytes = (size_bytes + event_count * 64 + (1 << 16)) as u64;
    let archived_before = |path: &Path, _: &[Event], payloads: &[(RecordType, Vec<u8>)], every: usize| {
        appending(path, every, 0, payloads, |log, at, (record_type, payload)| log.raw_event(at, *record_type, payload))
    };
    let growing =
        |path: &Path, events: &[Event], _: &[(RecordType, Vec<u8>)], every: usize| log_writer(path, events, every, 0);
    let preallocated = |path: &Path, events: &[Event], _: &[(RecordType, Vec<u8>)], every: usize| {
        log_writer(path, events, every, file_size_bytes)
    };
    let in_pieces = |path: &Path, events: &[Event], _: &[(RecordType, Vec<u8>)], every: usize| {
        log_writer(path, events, every, 8 << 20)
    };
    let contenders: [(&str, &Turn<'_>); 6] = [
        ("plain, growing", &plain_records),
        ("plain, payloads alone", &plain_payloads),
        ("log, of payloads", &archived_before),
        ("log, growing", &growing),
        ("log, preallocated", &preallocated),
        ("log, by 8 MiB", &in_pieces),
    ];
    let mut times: Vec<Vec<Times>> = vec![Vec::new(); contenders.len()];
    for round in 0..rounds {
        for (place, (_, turn)) in contenders.iter().enumerate() {
            let path = folder.join(format!("drillfold-bench-{}-{round}-{place}.wal", std::process::id()));
            times[place].push(turn(&path, events, &payloads, sync_events));
            std::fs::remove_file(&path).expect("the file is there");
        }
    }
    let reference: Vec<f64> = times[0].iter().map(|times| times.timed.as_secs_f64()).collect();
    for ((name, _), times) in contenders.iter().zip(&times) {
        let ratio = |time: fn(&Times) -> Duration| {
            let mut ratios: Vec<f64> =
                reference.iter().zip(times).map(|(plain, own)| plain / time(own).as_secs_f64()).collect();
            ratios.sort_by(f64::total_cmp);
            (ratios[ratios.len() / 2], ratios[0], ratios[ratios.len() - 1])
        };
        let mut timed: Vec<Duration> = times.iter().map(|times| times.timed).collect();
        let rate = event_count as f64 / median(&mut timed).as_secs_f64() / 1e3;
        let (timed, least, most) = ratio(|times| times.timed);
        let (inclusive, _, _) = ratio(|times| times.inclusive);
        println!(
            "{name:22} {rate:8.1} k events/s, {timed:.2} of plain ({least:.2} to {most:.2}), {inclusive:.2} with what it prepares"
        );
    }
}

fn plain_payloads(path: &Path, _: &[Event], payloads: &[(RecordType, Vec<u8>)], sync_events: usize) -> Times {
    plain(path, payloads, sync_events, |_, _, out| out.clear())
}

fn plain_records(path: &Path, _: &[Event], payloads: &[(RecordType, Vec<u8>)], sync_events: usize) -> Times {
    plain(path, payloads, sync_events, |number, record_type, out| {
        out.clear();
        out.extend_from_slice(&record_type.kind.to_le_bytes());
        out.extend_from_slice(&record_type.version.to_le_bytes());
        out.extend_from_slice(&(number as u64 + 1).to_le_bytes());
        out.extend_from_slice(&at(number).0.to_le_bytes());
    })
}

/// Appends every payload behind what `put_head` puts in front of it.
fn plain(
    path: &Path,
    payloads: &[(RecordType, Vec<u8>)],
    sync_events: usize,
    put_head: impl Fn(usize, RecordType, &mut Vec<u8>),
) -> Times {
    let start = Instant::now();
    let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path).expect("the file is new"));
    let prepared = Instant::now();
    let mut record = Vec::new();
    for (number, (record_type, payload)) in payloads.iter().enumerate() {
        put_head(number, *record_type, &mut record);
        record.extend_from_slice(payload);
        file.write_all(&(record.len() as u32).to_le_bytes()).expect("it is written");
        file.write_all(&crc32_iscsi(&record).to_le_bytes()).expect("it is written");
        file.write_all(&record).expect("it is written");
        if (number + 1) % sync_events == 0 {
            file.flush().expect("it is flushed");
            file.get_ref().sync_data().expect("it is synced");
        }
    }
    Times { timed: prepared.elapsed(), inclusive: start.elapsed() }
}

/// How many events may wait in the queue.
const QUEUE_EVENTS: usize = 1 << 16;

/// What a caller saw of its appends.
struct Waits {
    total: Duration,
    /// The wait that one append in 10,000 exceeded, and the longest.
    rare: Duration,
    longest: Duration,
    /// How many appends met a full queue.
    refused_count: usize,
}

/// Appends all events with `append`, which tells whether it was refused at first, one every `pace` or as fast as it goes;
/// then seals with `finish`.
fn appended<W>(
    mut writer: W,
    events: &[Event],
    pace: Duration,
    append: impl Fn(&mut W, TimeMs, &Event) -> bool,
    finish: impl FnOnce(W) -> End,
) -> Waits {
    let mut waits = Vec::with_capacity(events.len());
    let mut refused_count = 0;
    let start = Instant::now();
    for (number, event) in events.iter().enumerate() {
        let mut before = Instant::now();
        while before - start < pace * number as u32 {
            before = Instant::now();
        }
        refused_count += usize::from(append(&mut writer, at(number), event));
        waits.push(before.elapsed());
    }
    black_box(finish(writer));
    let total = start.elapsed();
    waits.sort();
    let longest = waits[waits.len() - 1];
    Waits { total, rare: waits[waits.len() - 1 - waits.len() / 10_000], longest, refused_count }
}

fn compare_queue(folder: &Path, rounds: usize, events: &[Event], pace: Duration) {
    let capacity = NonZeroUsize::new(QUEUE_EVENTS).expect("it is not 0");
    let mut turns = [("direct", Vec::new()), ("queued", Vec::new())];
    for round in 0..rounds {
        for (place, (_, waits)) in turns.iter_mut().enumerate() {
            let path = folder.join(format!("drillfold-bench-queue-{}-{round}-{place}.wal", std::process::id()));
            let writer = created(&path, 1_000, 8 << 20);
            waits.push(if place == 0 {
                appended(writer, events, pace, append_directly, |log| log.finish().expect("it is sealed"))
            } else {
                let queue = QueuedWriter::start(writer, capacity).expect("threads are there");
                appended(queue, events, pace, append_to_queue, |queue| queue.close().expect("it is sealed"))
            });
            std::fs::remove_file(&path).expect("the file is there");
        }
    }
    for (name, waits) in &turns {
        let us = |of: fn(&Waits) -> Duration| {
            let mut times: Vec<Duration> = waits.iter().map(of).collect();
            median(&mut times).as_secs_f64() * 1e6
        };
        let refused_count: usize = waits.iter().map(|waits| waits.refused_count).sum();
        println!(
            "{name:8} {:8.1} k events/s; longest wait {:.0} us, all but one in 10,000 up to {:.1} us; {} refused by a full queue",
            events.len() as f64 / us(|waits| waits.total) * 1e3,
            us(|waits| waits.longest),
            us(|waits| waits.rare),
            refused_count / rounds,
        );
    }
}

fn append_directly(log: &mut LogWriter, at: TimeMs, event: &Event) -> bool {
    log.event(at, event).expect("it is appended");
    false
}

fn append_to_queue(queue: &mut QueuedWriter, at: TimeMs, event: &Event) -> bool {
    let mut is_refused = false;
    loop {
        match queue.try_event(at, event) {
            Ok(_) => return is_refused,
            Err(QueueError::Full { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
        is_refused = true;
    }
}

fn created(path: &Path, sync_events: usize, preallocate_bytes: u64) -> LogWriter {
    let count = NonZeroU32::new(sync_events as u32).expect("it is not 0");
    let options =
        WriterOptions { preallocate_bytes, ..WriterOptions::single_file(DurabilityPolicy::EveryEvents(count)) };
    let storage = Arc::new(DiskStorage::new(Durability::Synced));
    LogWriter::create(storage, path, &header(), options).expect("the file is new")
}

fn log_writer(path: &Path, events: &[Event], sync_events: usize, preallocate_bytes: u64) -> Times {
    appending(path, sync_events, preallocate_bytes, events, |log, at, event| log.event(at, event))
}

/// Appends every item to a new log.
fn appending<T>(
    path: &Path,
    sync_events: usize,
    preallocate_bytes: u64,
    items: &[T],
    append: impl Fn(&mut LogWriter, TimeMs, &T) -> Result<Seq, AppendError>,
) -> Times {
    let start = Instant::now();
    let mut log = created(path, sync_events, preallocate_bytes);
    let prepared = Instant::now();
    for (number, item) in items.iter().enumerate() {
        append(&mut log, at(number), item).expect("it is appended");
    }
    Times { timed: prepared.elapsed(), inclusive: start.elapsed() }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
