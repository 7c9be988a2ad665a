//! How fast a log is read and folded, as ratios of one run.
//!
//! The log is that of `benches/scenarios/market_data.toml`: eight instruments, about 1,650 events a second, 97 % of them book
//! changes. Into those come levels as a recorded Deribit feed of options has them (`feed/mod.rs`): one or two a change, of
//! which 45 % are new, 45 % go and 10 % change their amount, two thirds of them among the best three.
//! It lies in sealed segments of 64 MiB, with a trace of [`Strides::LONG`].
//!
//! The reference is a log of the kind one would write by hand (`reference/mod.rs`): the file mapped, a CRC-32C a record, a
//! checked look at an archive of eight kinds of events, and a small fold. Beside it stands the least there can be: the same
//! market data in plain frames of one kind, of which a few sums are made. Contenders take turns, and the medians of
//! their times and of the ratios to the reference are printed.
//!
//! `cargo bench --bench replay`; `DRILLFOLD_BENCH_EVENTS` sets how many events, 2,000,000 unless it says otherwise.

mod feed;
mod reference;

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drillfold::replay::{Strides, Tracer, replay_files};
use drillfold::scenario;
use drillfold::storage::{DiskStorage, Durability, Storage};
use drillfold::wal::{
    Access, Digests, DurabilityPolicy, EventView, LogFiles, LogReader, LogRecord, LogWriter, ReadOptions, RecordBody,
    WriterOptions,
};
use drillfold_kernel::event::{Event, Level};
use drillfold_kernel::units::{Seq, TimeMs};
use rkyv::rancor::Failure;

const SCENARIO: &str = "benches/scenarios/market_data.toml";

/// Events a second of simulated time, as the scenario has them.
const EVENTS_PER_S: u64 = 1_648;

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo test --benches` runs this too, and asks for no figures.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let wanted = std::env::var("DRILLFOLD_BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    let event_count: u64 = if is_bench { wanted.unwrap_or(2_000_000) } else { 20_000 };
    let rounds = if is_bench { 7 } else { 1 };

    let folder = tempfile::tempdir()?;
    let disk = DiskStorage::new(Durability::Unsynced);
    let log = folder.path().join("market_data.wal");
    let plain = folder.path().join("plain");
    let made = make(&disk, &log, &plain, event_count)?;
    let trace = made.trace.as_slice();
    let by_hand = folder.path().join("by_hand");
    let by_hand_bytes = reference::write(&disk, &by_hand, event_count)?;
    println!(
        "{} events of {:.0} bytes in the log, {:.2} levels a change; {:.0} bytes in the reference; {} plain ones of {:.0} bytes",
        made.event_count,
        made.log_bytes as f64 / made.event_count as f64,
        made.level_count as f64 / made.change_count as f64,
        by_hand_bytes as f64 / event_count as f64,
        made.plain_count,
        made.plain_bytes as f64 / made.plain_count as f64,
    );

    let open = |digests| LogFiles::open(&disk, &log, ReadOptions { digests, access: Access::Mapped });
    let scan = |digests| -> Result<u64, Box<dyn Error>> {
        let mut files = open(digests)?;
        let mut sum = 0_u64;
        loop {
            while let Some(placed) = files.next_event() {
                sum = sum.wrapping_add(fold_view(&placed.event.view()?));
            }
            match files.next_record()? {
                None => return Ok(sum),
                Some(LogRecord { body: RecordBody::Event(raw), .. }) => sum = sum.wrapping_add(fold_view(&raw.view()?)),
                Some(_) => {}
            }
        }
    };
    let replay = |digests| -> Result<u64, Box<dyn Error>> {
        let found = replay_files(&mut open(digests)?, Some(("trace", trace)), |_| ())?;
        assert!(found.divergence.is_none(), "{:?}", found.divergence);
        Ok(found.event_count)
    };
    let mut turns: Vec<Turn<'_>> = vec![
        Turn::new("reference: map, CRC-32C, checked access, fold", event_count, || {
            black_box(reference::read(&disk, &by_hand)?);
            Ok(event_count)
        }),
        Turn::new("the same market data in plain frames, sums", made.plain_count, || read_plain(&disk, &plain)),
        Turn::new("scan: checked view, fold", made.event_count, || scan(Digests::Skip)),
        Turn::new("scan with the event digest", made.event_count, || scan(Digests::Check)),
        Turn::new("replay with the trace verified", made.event_count, || replay(Digests::Skip)),
        Turn::new("replay with trace and event digest", made.event_count, || replay(Digests::Check)),
    ];
    for _ in 0..rounds {
        for turn in &mut turns {
            turn.run()?;
        }
    }
    let reference = turns[0].ns_per_event.clone();
    for turn in &mut turns {
        let mut ratios: Vec<f64> =
            reference.iter().zip(&turn.ns_per_event).map(|(theirs, ours)| theirs / ours).collect();
        let ns = median(&mut turn.ns_per_event);
        println!("{:<48} {ns:>7.1} ns {:>6.2} M/s  {:.2} of the reference", turn.name, 1e3 / ns, median(&mut ratios));
    }
    seek(&disk, &log, made.event_count)
}

/// One contender.
struct Turn<'a> {
    name: &'static str,
    event_count: u64,
    work: Box<dyn Fn() -> Result<u64, Box<dyn Error>> + 'a>,
    ns_per_event: Vec<f64>,
}

impl<'a> Turn<'a> {
    fn new(name: &'static str, event_count: u64, work: impl Fn() -> Result<u64, Box<dyn Error>> + 'a) -> Self {
        Self { name, event_count, work: Box::new(work), ns_per_event: Vec::new() }
    }

    fn run(&mut self) -> Result<(), Box<dyn Error>> {
        let began = Instant::now();
        black_box((self.work)()?);
        self.ns_per_event.push(nanoseconds(began.elapsed()) / self.event_count as f64);
        Ok(())
    }
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints what opening and seeking cost.
fn seek(disk: &DiskStorage, log: &Path, event_count: u64) -> Result<(), Box<dyn Error>> {
    let options = ReadOptions { digests: Digests::Skip, access: Access::Mapped };
    let (mut opened, mut by_seq, mut by_time) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=9 {
        let began = Instant::now();
        let mut files = LogFiles::open(disk, log, options)?;
        opened.push(nanoseconds(began.elapsed()));
        let wanted = Seq(event_count * round / 10);
        let began = Instant::now();
        assert!(files.seek_seq(wanted)?, "the log has the event");
        by_seq.push(nanoseconds(began.elapsed()));
        let at = files.next_record()?.map_or(TimeMs(0), |record| record.at);
        let began = Instant::now();
        assert!(files.seek_time(at)?.is_some_and(|found| found <= wanted), "the log has the time");
        by_time.push(nanoseconds(began.elapsed()));
    }
    let us = |times: &mut [f64]| median(times) / 1e3;
    println!(
        "open {:.0} us, seek by number {:.0} us, by time {:.0} us",
        us(&mut opened),
        us(&mut by_seq),
        us(&mut by_time)
    );
    Ok(())
}

/// The same sums as those of the plain file.
fn fold_view(view: &EventView<'_>) -> u64 {
    match view {
        EventView::BookChanged(change) => {
            let levels = change.bids().chain(change.asks());
            let sum = levels.fold(0_i64, |sum, level| sum.wrapping_add(level.price.0 ^ level.qty.0));
            (change.prev_change_id() ^ change.change_id()).wrapping_add(sum.cast_unsigned())
        }
        EventView::TradesReceived(_) | EventView::TickerReceived(_) | EventView::Other(_) => 1,
    }
}

/// What the benchmark reads.
struct Made {
    event_count: u64,
    change_count: u64,
    level_count: u64,
    log_bytes: u64,
    plain_count: u64,
    plain_bytes: u64,
    trace: Vec<u8>,
}

/// A book change as the plain file has it.
#[derive(rkyv::Archive, rkyv::Serialize)]
struct PlainChange {
    instrument: u16,
    prev_change_id: u64,
    change_id: u64,
    at_ms: i64,
    bids: Vec<(i64, i64)>,
    asks: Vec<(i64, i64)>,
}

fn make(disk: &DiskStorage, log: &Path, plain: &Path, event_count: u64) -> Result<Made, Box<dyn Error>> {
    let seconds = event_count.div_ceil(EVENTS_PER_S).max(12);
    let text = String::from_utf8(disk.read(Path::new(SCENARIO))?)?
        .replace("duration = \"600s\"", &format!("duration = \"{seconds}s\""))
        .replace("at = \"599s\"", &format!("at = \"{}s\"", seconds - 1));
    let scenario = scenario::parse(SCENARIO, &text)?.remove(0);
    let outcome = drillfold::judge::run::run(&scenario, None)?;
    let recorded = outcome.recorded.log;
    let mut reader = LogReader::open("recorded", &recorded)?;
    let header = reader.header().clone();

    let mut tracer = Tracer::new(&header, Strides::LONG)?;
    let storage: Arc<dyn Storage> = Arc::new(*disk);
    let options = WriterOptions { preallocate_bytes: 0, ..WriterOptions::segmented(DurabilityPolicy::Never) };
    let mut writer = LogWriter::create(storage, log, &header, options)?;
    let mut plain_file = Vec::new();
    let mut feed = feed::Feed::default();
    let mut made = Made {
        event_count: 0,
        change_count: 0,
        level_count: 0,
        log_bytes: 0,
        plain_count: 0,
        plain_bytes: 0,
        trace: Vec::new(),
    };
    while let Some(record) = reader.next_record()? {
        let RecordBody::Event(raw) = record.body else { continue };
        let mut event = raw.decode()?;
        made.event_count += 1;
        if let Event::BookSnapshot(snapshot) = &mut event {
            feed.fill_snapshot(snapshot);
        }
        if let Event::BookChanged(change) = &mut event {
            made.change_count += 1;
            made.level_count += feed.fill(change);
            append_plain(record.at, change, &mut plain_file)?;
            made.plain_count += 1;
        }
        writer.event(record.at, &event)?;
        tracer.step(record.at, &event)?;
    }
    writer.finish()?;
    tracer.finish()?;
    made.trace = tracer.take_pending();
    made.plain_bytes = plain_file.len() as u64;
    disk.replace(plain, &plain_file)?;
    let options = ReadOptions { digests: Digests::Skip, access: Access::Mapped };
    let mut files = LogFiles::open(disk, log, options)?;
    while files.next_record()?.is_some() {}
    made.log_bytes = files.segment_summaries().iter().map(|segment| segment.size_bytes).sum();
    Ok(made)
}

fn append_plain(
    at: TimeMs,
    change: &drillfold_kernel::event::BookChange,
    file: &mut Vec<u8>,
) -> Result<(), Box<dyn Error>> {
    let pairs = |levels: &[Level]| levels.iter().map(|level| (level.price.0, level.qty.0)).collect();
    let record = PlainChange {
        instrument: change.instrument.0,
        prev_change_id: change.prev_change_id,
        change_id: change.change_id,
        at_ms: at.0,
        bids: pairs(&change.bids),
        asks: pairs(&change.asks),
    };
    let payload = rkyv::to_bytes::<Failure>(&record)?;
    file.extend_from_slice(&u32::try_from(payload.len())?.to_le_bytes());
    file.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
    file.extend_from_slice(&payload);
    Ok(())
}

/// The least there can be: one kind of record, and sums.
fn read_plain(disk: &DiskStorage, plain: &Path) -> Result<u64, Box<dyn Error>> {
    const HEAD_SIZE_BYTES: usize = 8;
    let mapping = disk.open_read(plain)?.map()?;
    let mut rest: &[u8] = &mapping;
    let (mut last_id, mut gaps, mut sum) = (0_u64, 0_u64, 0_i64);
    while let Some(head) = rest.first_chunk::<HEAD_SIZE_BYTES>() {
        let [a, b, c, d, e, f, g, h] = *head;
        let size_bytes = u32::from_le_bytes([a, b, c, d]) as usize;
        let payload = &rest[HEAD_SIZE_BYTES..HEAD_SIZE_BYTES + size_bytes];
        if crc32c::crc32c(payload) != u32::from_le_bytes([e, f, g, h]) {
            return Err("a checksum is wrong".into());
        }
        let change = rkyv::access::<ArchivedPlainChange, Failure>(payload)?;
        gaps += u64::from(change.prev_change_id.to_native() != last_id);
        last_id = change.change_id.to_native();
        for level in change.bids.iter().chain(change.asks.iter()) {
            sum = sum.wrapping_add(level.0.to_native() ^ level.1.to_native());
        }
        rest = &rest[HEAD_SIZE_BYTES + size_bytes..];
    }
    Ok(gaps.wrapping_add(last_id).wrapping_add(sum.cast_unsigned()))
}
