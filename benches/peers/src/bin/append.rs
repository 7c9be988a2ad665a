//! Durable append of the same events by drillfold's log, a plain framed writer, and stores that others make.
//!
//! Each contender appends the same payloads and makes every thousandth durable with all before it; then its files are
//! opened again, and number, order and bytes of what they hold are compared. Opening and reading are not timed. Before
//! each turn the plain writer has one of its own, and the ratio is that of the pair.
//!
//! `cargo run --release --bin append`; the folder of the files is the argument, or the system's temporary one, and should be
//! on the disk in question. `DRILLFOLD_BENCH_EVENTS` sets how many events, 100,000 unless it says otherwise.
//!
//! What a sync is: okaywal commits an entry, fjall commits a batch with `PersistMode::SyncData`, redb commits with its
//! default durability, sled applies a batch and flushes, SQLite commits in WAL mode with `synchronous=FULL`. commitlog never
//! syncs (its `flush` flushes a [`File`], which does nothing), so its segment file is synced from here.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use drillfold::storage::{DiskStorage, Durability};
use drillfold::wal::{
    Access, Digest256, Digests, DurabilityPolicy, LogFiles, LogHeader, LogWriter, ReadOptions, RecordBody,
    WriterOptions, encode_event,
};
use drillfold_kernel::event::{BookChange, Event, Level};
use drillfold_kernel::units::{InstrumentId, Price, Qty, TimeMs};
use drillfold_peers::{Failure, Pairs, ROUNDS, event_count, print_cpu_pressure, print_head};
use redb::{ReadableDatabase, ReadableTable};

const SYNC_EVENTS: usize = 1_000;

/// What is appended: events, and their payloads as drillfold archives them.
#[derive(Clone, Copy)]
struct Work<'a> {
    events: &'a [Event],
    payloads: &'a [Vec<u8>],
}

/// How long appending took, and what the files hold.
struct Turn {
    /// From the first event to the return of the last sync.
    append: Duration,
    /// With the making of the file, its preallocation and its lock.
    with_making: Duration,
    found: Tally,
}

/// Number of payloads, and a checksum over their lengths and bytes in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    count: usize,
    checksum: u32,
}

impl Tally {
    fn add(&mut self, payload: &[u8]) {
        self.count += 1;
        self.checksum = crc32c::crc32c_append(self.checksum, &payload.len().to_le_bytes());
        self.checksum = crc32c::crc32c_append(self.checksum, payload);
    }
}

struct Contender {
    name: &'static str,
    turn: fn(&Path, Work<'_>) -> Result<Turn, Failure>,
    /// It gets one of so many events, as does the plain writer beside it.
    share: usize,
    /// Its time is that with the making of its file.
    with_making: bool,
}

impl Contender {
    const fn new(name: &'static str, turn: fn(&Path, Work<'_>) -> Result<Turn, Failure>) -> Self {
        Self { name, turn, share: 1, with_making: false }
    }

    fn event_count(&self, all: usize) -> usize {
        (all / self.share).next_multiple_of(SYNC_EVENTS)
    }
}

fn main() -> Result<(), Failure> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let event_count = event_count(100_000)?.next_multiple_of(SYNC_EVENTS);
    let events: Vec<Event> = (0..event_count as u64).map(event).collect();
    let payloads = events.iter().map(archived).collect::<Result<Vec<_>, _>>()?;
    let size_bytes: usize = payloads.iter().map(Vec::len).sum();
    println!("{event_count} events of {} bytes, one sync per {SYNC_EVENTS}, {ROUNDS} rounds", size_bytes / event_count);
    print_cpu_pressure("before");

    let contenders = [
        Contender::new("plain framed writer (against itself)", plain),
        Contender::new("drillfold, growing file", |folder, work| drillfold_log(folder, work, 0)),
        Contender::new("drillfold, growing by 8 MiB of zeros", |folder, work| drillfold_log(folder, work, 8 << 20)),
        Contender::new("drillfold, preallocated", |folder, work| drillfold_log(folder, work, room_for(work))),
        Contender {
            with_making: true,
            ..Contender::new("the same, preallocating timed", |folder, work| {
                drillfold_log(folder, work, room_for(work))
            })
        },
        Contender::new("commitlog, synced from outside", commit_log),
        Contender::new("okaywal", okaywal_log),
        Contender::new("SQLite, WAL, FULL", sqlite_store),
        Contender::new("fjall", fjall_store),
        Contender::new("redb", redb_store),
        Contender { share: 5, ..Contender::new("sled (a fifth of the events)", sled_store) },
    ];
    let mut pairs = vec![Pairs::default(); contenders.len()];
    for _ in 0..ROUNDS {
        for (contender, pairs) in contenders.iter().zip(&mut pairs) {
            let count = contender.event_count(event_count);
            let work = Work { events: &events[..count], payloads: &payloads[..count] };
            let reference = measure("plain framed writer", plain, &parent, work)?;
            let own = measure(contender.name, contender.turn, &parent, work)?;
            if contender.with_making {
                pairs.push(reference.with_making, own.with_making);
            } else {
                pairs.push(reference.append, own.append);
            }
        }
    }
    print_cpu_pressure("after");
    print_head("plain");
    for (contender, pairs) in contenders.iter().zip(&pairs) {
        pairs.print(contender.name, contender.event_count(event_count));
    }
    Ok(())
}

/// Lets a contender append in a folder of its own, and refuses a time for what is not there.
fn measure(
    name: &str,
    turn: fn(&Path, Work<'_>) -> Result<Turn, Failure>,
    parent: &Path,
    work: Work<'_>,
) -> Result<Turn, Failure> {
    let folder = tempfile::tempdir_in(parent)?;
    let turn = turn(folder.path(), work).map_err(|error| format!("{name}: {error}"))?;
    let mut expected = Tally::default();
    work.payloads.iter().for_each(|payload| expected.add(payload));
    if turn.found != expected {
        return Err(format!("{name}: the files hold {:?}, appended was {expected:?}", turn.found).into());
    }
    Ok(turn)
}

/// A change of four levels, on either side.
fn event(number: u64) -> Event {
    let level = |place: u64| Level {
        price: Price(50_000_000_000_000 + (number + place).cast_signed()),
        qty: Qty(10_000_000_000 + place.cast_signed()),
    };
    let (bids, asks) = ((0..number % 5).map(level).collect(), (number % 5..4).map(level).collect());
    Event::BookChanged(BookChange {
        instrument: InstrumentId(3),
        prev_change_id: number,
        change_id: number + 1,
        bids,
        asks,
    })
}

fn archived(event: &Event) -> Result<Vec<u8>, Failure> {
    let mut payload = Vec::new();
    encode_event(event, &mut payload)?;
    Ok(payload)
}

/// Returns a size that the log of this work does not outgrow.
fn room_for(work: Work<'_>) -> u64 {
    let payloads: usize = work.payloads.iter().map(Vec::len).sum();
    (payloads + work.payloads.len() * 64 + (1 << 16)) as u64
}

fn plain(folder: &Path, work: Work<'_>) -> Result<Turn, Failure> {
    let path = folder.join("plain");
    let made = Instant::now();
    let mut file = BufWriter::with_capacity(1 << 20, File::create_new(&path)?);
    let began = Instant::now();
    for batch in work.payloads.chunks(SYNC_EVENTS) {
        for payload in batch {
            file.write_all(&u32::try_from(payload.len())?.to_le_bytes())?;
            file.write_all(&crc32c::crc32c(payload).to_le_bytes())?;
            file.write_all(payload)?;
        }
        file.flush()?;
        file.get_ref().sync_data()?;
    }
    let (append, with_making) = (began.elapsed(), made.elapsed());
    let bytes = fs::read(&path)?;
    let (mut rest, mut found) = (bytes.as_slice(), Tally::default());
    while let Some((size_bytes, after)) = rest.split_first_chunk() {
        let (checksum, after) = after.split_first_chunk().ok_or("a frame has no checksum")?;
        let (payload, after) =
            after.split_at_checked(u32::from_le_bytes(*size_bytes) as usize).ok_or("a frame is cut")?;
        if crc32c::crc32c(payload) != u32::from_le_bytes(*checksum) {
            return Err("a checksum is wrong".into());
        }
        found.add(payload);
        rest = after;
    }
    Ok(Turn { append, with_making, found })
}

fn drillfold_log(folder: &Path, work: Work<'_>, preallocate_bytes: u64) -> Result<Turn, Failure> {
    let path = folder.join("x.wal");
    let every = NonZeroU32::new(u32::try_from(SYNC_EVENTS)?).ok_or("a sync needs events")?;
    let options = WriterOptions { preallocate_bytes, ..WriterOptions::segmented(DurabilityPolicy::EveryEvents(every)) };
    let header = LogHeader::first("peers", 1, Digest256::default(), "peers");
    let disk = DiskStorage::new(Durability::Synced);
    let made = Instant::now();
    let mut log = LogWriter::create(Arc::new(disk), &path, &header, options)?;
    let began = Instant::now();
    let mut at = TimeMs(1_600_000_000_000);
    for event in work.events {
        log.event(at, event)?;
        at.0 += 1;
    }
    let (append, with_making) = (began.elapsed(), made.elapsed());
    if log.durable_seq().0 != work.events.len() as u64 {
        return Err(format!("durable up to event {} only", log.durable_seq().0).into());
    }
    drop(log);
    let mut files = LogFiles::open(&disk, &path, ReadOptions { digests: Digests::Check, access: Access::Mapped })?;
    let mut found = Tally::default();
    loop {
        while let Some(placed) = files.next_event() {
            found.add(placed.event.payload);
        }
        // What the short way leaves over may be an event too.
        let Some(record) = files.next_record()? else { return Ok(Turn { append, with_making, found }) };
        if let RecordBody::Event(raw) = record.body {
            found.add(raw.payload);
        }
    }
}

/// Counts what okaywal recovers; nothing is ever checkpointed.
#[derive(Clone, Debug, Default)]
struct Recovery(Arc<Mutex<Tally>>);

impl okaywal::LogManager for Recovery {
    fn recover(&mut self, entry: &mut okaywal::Entry<'_>) -> std::io::Result<()> {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for payload in entry.read_all_chunks()?.into_iter().flatten() {
            tally.add(&payload);
        }
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _: okaywal::EntryId,
        _: &mut okaywal::SegmentReader,
        _: &okaywal::WriteAheadLog,
    ) -> std::io::Result<()> {
        Ok(())
    }
}

fn okaywal_log(folder: &Path, work: Work<'_>) -> Result<Turn, Failure> {
    let recovery = Recovery::default();
    let open = || {
        okaywal::Configuration::default_for(folder.join("log"))
            .preallocate_bytes(1 << 20)
            .checkpoint_after_bytes(u64::MAX)
            .buffer_bytes(1 << 20)
            .open(recovery.clone())
    };
    let made = Instant::now();
    let log = open()?;
    let began = Instant::now();
    for batch in work.payloads.chunks(SYNC_EVENTS) {
        let mut entry = log.begin_entry()?;
        for payload in batch {
            entry.write_chunk(payload)?;
        }
        entry.commit()?;
    }
    let (append, with_making) = (began.elapsed(), made.elapsed());
    log.shutdown()?;
    open()?.shutdown()?;
    let found = *recovery.0.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Turn { append, with_making, found })
}

fn commit_log(folder: &Path, work: Work<'_>) -> Result<Turn, Failure> {
    use commitlog::message::{MessageBuf, MessageSet};
    use commitlog::{CommitLog, LogOptions, ReadLimit};
    let place = folder.join("log");
    let open = || {
        let mut options = LogOptions::new(&place);
        options
            .segment_max_bytes(4_000_000_000)
            .index_max_items(work.payloads.len() + 1_000)
            .message_max_bytes(1 << 20);
        CommitLog::new(options)
    };
    let made = Instant::now();
    let mut log = open()?;
    let segment = fs::read_dir(&place)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ending| ending == "log"))
        .ok_or("commitlog has made no segment")?;
    let segment = OpenOptions::new().write(true).open(segment)?;
    let mut messages = MessageBuf::default();
    let began = Instant::now();
    for batch in work.payloads.chunks(SYNC_EVENTS) {
        messages.clear();
        for payload in batch {
            messages.push(payload).map_err(|error| format!("{error:?}"))?;
        }
        log.append(&mut messages)?;
        segment.sync_data()?;
    }
    let (append, with_making) = (began.elapsed(), made.elapsed());
    drop(log);
    let log = open()?;
    let mut found = Tally::default();
    while found.count < work.payloads.len() {
        let before = found;
        for message in log.read(found.count as u64, ReadLimit::max_bytes(1 << 20))?.iter() {
            found.add(commitlog::message::Message::payload(&message));
        }
        if found == before {
            break;
        }
    }
    Ok(Turn { append, with_making, found })
}

fn fjall_store(folder: &Path, work: Work<'_>) -> Result<Turn, Failure> {
    let open = || -> Result<_, fjall::Error> {
        let database = fjall::Database::builder(folder.join("store")).open()?;
        let events = database.keyspace("events", fjall::KeyspaceCreateOptions::default)?;
        Ok((database, events))
    };
    let made = Instant::now();
    let (database, events) = open()?;
    let began = Instant::now();
    let mut seq = 0_u64;
    for batch in work.payloads.chunks(SYNC_EVENTS) {
        let mut writes = database.batch().durability(Some(fjall::PersistMode::SyncData));
        for payload in batch {
            writes.insert(&events, seq.to_be_bytes(), payload.as_slice());
            seq += 1;
        }
        writes.commit()?;
    }
    let (append, with_making) = (began.elapsed(), made.elapsed());
    drop((database, events));
    let (_database, events) = open()?;
    let mut found = Tally::default();
    for entry in events.iter() {
        found.add(&entry.value()?);
    }
    Ok(Turn { append, with_making, found })
}

fn redb_store(folder: &Path, work: Work<'_>) -> Result<Turn, Failure> {
    const EVENTS: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("events");
    let path = folder.join("store");
    let made = Instant::now();
    let database = redb::Database::create(&path)?;
    let began = Instant::now();
    let mut seq = 0_u64;
    for batch in work.payloads.chunks(SYNC_EVENTS) {
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(EVENTS)?;
            for payload in batch {
                table.insert(seq, payload.as_slice())?;
                seq += 1;
            }
        }
        transaction.commit()?;
    }
    let (append, with_making) = (began.elapsed(), made.elapsed());
    drop(database);
    let mut found = Tally::default();
    let database = redb::Database::open(&path)?;
    for entry in database.begin_read()?.open_table(EVENTS)?.iter()? {
        found.add(entry?.1.value());
    }
    Ok(Turn { append, with_making, found })
}

fn sled_store(folder: &Path, work: Work<'_>) -> Result<Turn, Failure> {
    let open = || {
        let config = sled::Config::new().path(folder.join("store")).flush_every_ms(None);
        config.mode(sled::Mode::HighThroughput).open()
    };
    let made = Instant::now();
    let database = open()?;
    let began = Instant::now();
    let mut seq = 0_u64;
    for batch in work.payloads.chunks(SYNC_EVENTS) {
        let mut writes = sled::Batch::default();
        for payload in batch {
            writes.insert(&seq.to_be_bytes(), payload.as_slice());
            seq += 1;
        }
        database.apply_batch(writes)?;
        database.flush()?;
    }
    let (append, with_making) = (began.elapsed(), made.elapsed());
    drop(database);
    let mut found = Tally::default();
    for entry in open()?.iter() {
        found.add(&entry?.1);
    }
    Ok(Turn { append, with_making, found })
}

fn sqlite_store(folder: &Path, work: Work<'_>) -> Result<Turn, Failure> {
    let path = folder.join("store.db");
    let made = Instant::now();
    let mut database = rusqlite::Connection::open(&path)?;
    database.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE events (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL);",
    )?;
    let began = Instant::now();
    let mut seq = 0_i64;
    for batch in work.payloads.chunks(SYNC_EVENTS) {
        let transaction = database.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO events VALUES (?1, ?2)")?;
            for payload in batch {
                insert.execute(rusqlite::params![seq, payload])?;
                seq += 1;
            }
        }
        transaction.commit()?;
    }
    let (append, with_making) = (began.elapsed(), made.elapsed());
    drop(database);
    let database = rusqlite::Connection::open(&path)?;
    let mut select = database.prepare("SELECT payload FROM events ORDER BY seq")?;
    let mut rows = select.query([])?;
    let mut found = Tally::default();
    while let Some(row) = rows.next()? {
        found.add(row.get_ref(0)?.as_blob()?);
    }
    Ok(Turn { append, with_making, found })
}
