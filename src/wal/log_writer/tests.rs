//! Logs on good and bad disks: segments, batches, resuming, full disks, failed syncs and losses of power.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::super::record::tests::one_of_each_kind;
use super::super::{Digest256, LogReader, MarkKind, RecordBody, Summary, read_log};
use super::*;
use crate::storage::{DiskStorage, Durability, FaultBudget, FaultyStorage, MemoryStorage, PowerLossStorage};

const FILE: &str = "x.wal";

fn path() -> &'static Path {
    Path::new(FILE)
}

fn header() -> LogHeader {
    LogHeader::first("market_data_stale", 42, Digest256([7; 32]), "0.1.0")
}

fn options(durability: DurabilityPolicy, segment_size_bytes: u64, preallocate_bytes: u64) -> WriterOptions {
    WriterOptions { segment_size_bytes, preallocate_bytes, ..WriterOptions::single_file(durability) }
}

fn count(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

fn at(seq: u64) -> TimeMs {
    TimeMs(1_600_000_000_000 + seq.cast_signed() * 50)
}

/// The event that has the number `seq` in every test: mostly small ones, at times one of any kind.
fn event(seq: u64) -> Event {
    static KINDS: OnceLock<Vec<Event>> = OnceLock::new();
    match seq % 5 {
        0 => KINDS.get_or_init(|| one_of_each_kind(3))[(seq / 5 % 40) as usize].clone(),
        1 => Event::FeeModelRead { cached_at: Some(at(seq)) },
        _ => Event::LoopTicked,
    }
}

fn mark(number: u32) -> Mark {
    Mark { kind: MarkKind::Step, step_index: number, name: format!("step {number}") }
}

/// What a caller did, as far as a reader can see it.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    Event(u64, Event),
    Mark(Mark),
}

/// What a log holds.
#[derive(Debug)]
struct Found {
    parts: Vec<Part>,
    segments: Vec<Summary>,
}

impl Found {
    fn event_count(&self) -> u64 {
        self.parts.iter().filter(|part| matches!(part, Part::Event(..))).count() as u64
    }

    fn last(&self) -> &Summary {
        self.segments.last().unwrap()
    }
}

/// Reads all segments of a log and checks how they fit together. A damaged one fails the test, a torn tail does not.
#[track_caller]
fn found(storage: &dyn Storage) -> Found {
    let (mut parts, mut segments, mut next) = (Vec::new(), Vec::<Summary>::new(), header());
    for segment in 0.. {
        let place = segment_path(path(), segment);
        if storage.entry_kind(&place).unwrap().is_none() {
            break;
        }
        let bytes = storage.read(&place).unwrap();
        let mut reader = LogReader::open(&place.display().to_string(), &bytes).unwrap();
        if let Some(before) = segments.last() {
            let end = before.end.expect("only a sealed segment has a successor");
            next = following(&next, before.next_seq, end.event_digest).unwrap();
        }
        assert_eq!(reader.header(), &next);
        while let Some(record) = reader.next_record().unwrap() {
            match record.body {
                RecordBody::Event(event) => parts.push(Part::Event(record.seq.0, event.decode().unwrap())),
                RecordBody::Mark(mark) => parts.push(Part::Mark(mark)),
                RecordBody::Batch { .. } | RecordBody::Index(_) | RecordBody::End(_) => {}
                RecordBody::Frame(_) | RecordBody::Unknown(_) => panic!("nobody wrote that"),
            }
        }
        segments.push(reader.summary());
    }
    Found { parts, segments }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Event,
    Mark,
    Flush,
    Sync,
}

/// Several hundred steps with a sync now and then; the same seed gives the same ones.
fn steps(seed: u64, length: usize) -> Vec<Step> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let step = |drawn: u64| match drawn % 20 {
        0 => Step::Mark,
        1 => Step::Flush,
        2 | 3 => Step::Sync,
        _ => Step::Event,
    };
    (0..length).map(|_| step(next() >> 20)).collect()
}

/// What a caller knows after a run.
#[derive(Debug, Default)]
struct Run {
    /// Everything that was handed over, also at the call that failed.
    given: Vec<Part>,
    /// The last event that was called durable.
    durable: u64,
    error: Option<String>,
}

impl Run {
    fn take(&mut self, log: &mut LogWriter, step: Step) -> Result<(), AppendError> {
        let seq = log.next_seq().0;
        match step {
            Step::Event => {
                self.given.push(Part::Event(seq, event(seq)));
                log.event(at(seq), &event(seq)).map(drop)
            }
            Step::Mark => {
                self.given.push(Part::Mark(mark(seq as u32)));
                log.mark(at(seq), &mark(seq as u32))
            }
            Step::Flush => log.flush(),
            Step::Sync => log.sync().map(drop),
        }
    }

    fn go_on(&mut self, mut log: LogWriter, steps: &[Step]) -> Result<(), AppendError> {
        self.durable = self.durable.max(log.durable_seq().0);
        for step in steps {
            let result = self.take(&mut log, *step);
            self.durable = self.durable.max(log.durable_seq().0);
            if result.is_err() {
                let (durable, next) = (log.durable_seq(), log.next_seq());
                let again = [log.event(at(1), &Event::LoopTicked).map(drop), log.flush(), log.sync().map(drop)];
                assert!(again.iter().all(|again| matches!(again, Err(AppendError::Failed { .. }))), "{again:?}");
                assert_eq!((log.durable_seq(), log.next_seq()), (durable, next));
                return result;
            }
        }
        let last = log.next_seq().0 - 1;
        log.finish()?;
        self.durable = last;
        Ok(())
    }
}

/// Writes a log from its beginning until the storage fails.
fn run(storage: Arc<dyn Storage>, options: WriterOptions, steps: &[Step]) -> Run {
    let mut run = Run::default();
    let result = LogWriter::create(storage, path(), &header(), options).and_then(|log| run.go_on(log, steps));
    run.error = result.err().map(|error| error.to_string());
    run
}

/// The promise: what was acknowledged is there, in order, once, and nothing is there that was not given.
#[track_caller]
fn check_promise(storage: &dyn Storage, run: &Run) {
    if storage.entry_kind(path()).unwrap().is_none() {
        assert!(run.durable == 0, "{run:?}");
        return;
    }
    let found = found(storage);
    assert!(run.given.starts_with(&found.parts), "{} parts found, {} given", found.parts.len(), run.given.len());
    assert!(found.event_count() >= run.durable, "{} events of {} durable ones", found.event_count(), run.durable);
}

/// Copies the sound prefix over a last segment with a torn tail, as a repair does.
fn repair(storage: &dyn Storage) {
    let last = last_segment(storage, path()).unwrap();
    let place = segment_path(path(), last);
    let bytes = storage.read(&place).unwrap();
    let mut reader = LogReader::open(FILE, &bytes).unwrap();
    while reader.next_record().unwrap().is_some() {}
    if let Tail::Torn { offset, .. } = reader.summary().tail {
        storage.replace(&place, &bytes[..offset as usize]).unwrap();
    }
}

/// Finishes the log, whatever state it was left in, with a few more events.
fn go_on(storage: &Arc<dyn Storage>, run: &mut Run, options: WriterOptions) -> Result<(), ResumeError> {
    if storage.entry_kind(path()).unwrap().is_none() {
        return Ok(());
    }
    repair(&**storage);
    run.given.truncate(found(&**storage).parts.len());
    let log = LogWriter::resume(Arc::clone(storage), path(), options)?;
    run.go_on(log, &[Step::Event, Step::Sync, Step::Mark, Step::Event, Step::Event]).map_err(ResumeError::Append)
}

#[test]
fn a_log_of_one_file_is_what_the_encoder_makes() {
    let storage = MemoryStorage::new();
    let log = LogWriter::create(
        Arc::new(storage.clone()),
        path(),
        &header(),
        WriterOptions::single_file(DurabilityPolicy::EveryEvents(count(2))),
    );
    let mut log = log.unwrap();
    let mut encoder = LogEncoder::new(&header()).unwrap();
    for seq in 1..=5 {
        if seq % 2 == 1 {
            encoder.batch(Seq(seq - 1)).unwrap();
        }
        assert_eq!(log.event(at(seq), &event(seq)).unwrap(), Seq(seq));
        encoder.event(at(seq), &event(seq)).unwrap();
        assert_eq!(log.durable_seq(), Seq(seq / 2 * 2));
    }
    assert_eq!(log.finish().unwrap(), encoder.end().unwrap());
    assert_eq!(storage.read(path()).unwrap(), encoder.take_pending());
}

#[test]
fn files_keep_to_their_size_and_lose_nothing() {
    for preallocate_bytes in [0, 100, 700, 5_000] {
        for segment_size_bytes in [0, 400, 1_000, 3_000, u64::MAX] {
            let storage = MemoryStorage::new();
            let options = options(DurabilityPolicy::Never, segment_size_bytes, preallocate_bytes);
            let run = run(Arc::new(storage.clone()), options, &steps(segment_size_bytes, 300));
            assert_eq!(run.error, None);
            let found = found(&storage);
            assert_eq!(found.parts, run.given);
            assert!(found.segments.iter().all(|segment| segment.end.is_some()));
            for (number, summary) in (0..).zip(&found.segments) {
                let size_bytes = storage.read(&segment_path(path(), number)).unwrap().len() as u64;
                assert_eq!(summary.sound_bytes, size_bytes);
                assert!(summary.event_count <= 1 || size_bytes <= segment_size_bytes, "{size_bytes}");
                assert!(summary.event_count > 0, "segment {number}");
            }
            assert_eq!(found.segments.len() == 1, segment_size_bytes == u64::MAX);
        }
    }
}

#[test]
fn a_preallocated_file_is_whole_from_the_start() {
    let storage = MemoryStorage::new();
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let mut log = LogWriter::create(shared, path(), &header(), options(DurabilityPolicy::Never, 4_000, 4_000)).unwrap();
    log.event(at(1), &event(1)).unwrap();
    log.sync().unwrap();
    assert_eq!(storage.read(path()).unwrap().len(), 4_000);
    let found = found(&storage);
    assert!(matches!(found.last().tail, Tail::Zeroed { .. }));
    assert_eq!(found.event_count(), 1);
    drop(log);
    assert_eq!(read_log(FILE, &storage.read(path()).unwrap()).unwrap().entries.len(), 1);
}

#[test]
fn a_log_can_be_gone_on_with_after_any_step() {
    let steps = steps(5, 60);
    for stop in 0..=steps.len() {
        for preallocate_bytes in [0, 600] {
            let storage = MemoryStorage::new();
            let shared: Arc<dyn Storage> = Arc::new(storage.clone());
            let options = options(DurabilityPolicy::EveryEvents(count(3)), 900, preallocate_bytes);
            let mut run = Run::default();
            let mut log = LogWriter::create(Arc::clone(&shared), path(), &header(), options.clone()).unwrap();
            steps[..stop].iter().for_each(|step| run.take(&mut log, *step).unwrap());
            if stop % 3 == 0 {
                log.finish().unwrap();
            } else {
                log.flush().unwrap();
                drop(log);
            }
            let log = LogWriter::resume(shared, path(), options).unwrap();
            assert_eq!(log.durable_seq().0 + 1, log.next_seq().0, "what was found is durable");
            run.go_on(log, &steps[stop..]).unwrap();
            assert_eq!(found(&storage).parts, run.given, "after {stop} steps");
        }
    }
}

#[test]
fn a_torn_tail_is_not_gone_on_with() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let plain = options(DurabilityPolicy::Never, u64::MAX, 0);
    let mut log = LogWriter::create(Arc::clone(&storage), path(), &header(), plain.clone()).unwrap();
    log.event(at(1), &event(5)).unwrap();
    log.flush().unwrap();
    drop(log);
    let bytes = storage.read(path()).unwrap();
    storage.replace(path(), &bytes[..bytes.len() - 1]).unwrap();
    let refused = LogWriter::resume(Arc::clone(&storage), path(), plain).unwrap_err();
    assert!(matches!(refused, ResumeError::Tail { .. }), "{refused}");
    assert!(refused.to_string().contains("`drillfold log repair`"), "{refused}");
    assert_eq!(storage.read(path()).unwrap(), bytes[..bytes.len() - 1]);
}

#[test]
fn after_a_crash_a_torn_tail_is_put_aside_and_the_log_gone_on_with() {
    let plain = options(DurabilityPolicy::Never, u64::MAX, 0);
    let whole = {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let mut log = LogWriter::create(Arc::clone(&storage), path(), &header(), plain.clone()).unwrap();
        log.event(at(1), &event(5)).unwrap();
        log.flush().unwrap();
        let one = storage.read(path()).unwrap().len();
        log.event(at(2), &event(6)).unwrap();
        log.flush().unwrap();
        (one, storage.read(path()).unwrap())
    };
    let (one, bytes) = whole;
    for end in one..bytes.len() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        storage.replace(path(), &bytes[..end]).unwrap();
        let (mut log, torn) = LogWriter::resume_after_crash(Arc::clone(&storage), path(), plain.clone()).unwrap();
        assert_eq!(torn.is_some(), end > one, "{end}");
        if let Some(torn) = torn {
            assert_eq!((torn.offset, torn.bytes), (one as u64, (end - one) as u64));
            assert_eq!(storage.read(&torn.kept_in).unwrap(), bytes[one..end]);
        }
        assert_eq!(log.event(at(3), &event(7)).unwrap(), Seq(2));
        log.finish().unwrap();
        let read = read_log(FILE, &storage.read(path()).unwrap()).unwrap();
        let events: Vec<TimeMs> = read.entries.iter().map(|entry| entry.at).collect();
        assert_eq!(events, [at(1), at(3)]);
    }
}

#[test]
fn mixed_up_files_are_noticed() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let plain = options(DurabilityPolicy::Never, u64::MAX, 0);
    drop(LogWriter::create(Arc::clone(&storage), path(), &header(), plain.clone()).unwrap());
    storage.replace(&segment_path(path(), 1), &storage.read(path()).unwrap()).unwrap();
    let refused = LogWriter::resume(Arc::clone(&storage), path(), plain.clone()).unwrap_err();
    assert!(matches!(refused, ResumeError::OtherSegment { expected: 1, found: 0, .. }), "{refused}");
    storage.remove(path()).unwrap();
    let refused = LogWriter::create(Arc::clone(&storage), path(), &header(), plain.clone()).unwrap_err();
    assert!(matches!(refused, AppendError::Storage { source: StorageError::AlreadyExists { .. }, .. }), "{refused}");
    assert!(refused.to_string().contains("x.00001.wal"), "{refused}");
    let second = LogHeader { segment: 1, ..header() };
    let refused = LogWriter::create(storage, Path::new("y.wal"), &second, plain).unwrap_err();
    assert!(matches!(refused, AppendError::Invalid { .. }), "{refused}");
}

#[test]
fn the_lock_holds_for_the_writers_life() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let disk: Arc<dyn Storage> = Arc::new(DiskStorage::new(Durability::Unsynced));
    let options = options(DurabilityPolicy::Never, 600, 0);
    let check = || {
        let refused = LogWriter::create(Arc::clone(&disk), &path, &header(), options.clone()).unwrap_err();
        assert!(
            matches!(refused, AppendError::Storage { source: StorageError::AlreadyExists { .. }, .. }),
            "{refused}"
        );
        let refused = LogWriter::resume(Arc::clone(&disk), &path, options.clone()).unwrap_err();
        assert!(matches!(refused, ResumeError::Storage { source: StorageError::Locked { .. }, .. }), "{refused}");
        assert!(refused.to_string().contains(FILE), "{refused}");
    };
    let mut log = LogWriter::create(Arc::clone(&disk), &path, &header(), options.clone()).unwrap();
    for round in 0..3 {
        while log.segment() < (round + 1) * 3 {
            check();
            let seq = log.next_seq().0;
            log.event(at(seq), &event(seq)).unwrap();
        }
        log.flush().unwrap();
        drop(log);
        log = LogWriter::resume(Arc::clone(&disk), &path, options.clone()).unwrap();
    }
    check();
    log.finish().unwrap();
}

/// A clock that tests move by hand.
#[derive(Debug, Default)]
struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

#[test]
fn each_policy_syncs_when_it_says() {
    let clock = Arc::new(HandClock::default());
    let durable_seqs = |durability| {
        clock.0.store(0, Ordering::Relaxed);
        let options =
            WriterOptions { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..WriterOptions::single_file(durability) };
        let mut log = LogWriter::create(Arc::new(MemoryStorage::new()), path(), &header(), options).unwrap();
        let mut durable = Vec::new();
        for seq in 1..=6 {
            clock.0.fetch_add(10, Ordering::Relaxed);
            log.event(at(seq), &event(seq)).unwrap();
            durable.push(log.durable_seq().0);
        }
        durable
    };
    assert_eq!(durable_seqs(DurabilityPolicy::Never), [0; 6]);
    assert_eq!(durable_seqs(DurabilityPolicy::EveryEvents(count(4))), [0, 0, 0, 4, 4, 4]);
    assert_eq!(durable_seqs(DurabilityPolicy::EveryMs(count(20))), [0, 2, 2, 4, 4, 6]);
    assert_eq!(durable_seqs(DurabilityPolicy::EveryMs(count(25))), [0, 0, 3, 3, 3, 6]);
    assert_eq!(durable_seqs(DurabilityPolicy::EveryEvent), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_call_that_is_refused_appends_nothing() {
    let storage = MemoryStorage::new();
    let plain = options(DurabilityPolicy::EveryEvent, u64::MAX, 0);
    let mut log = LogWriter::create(Arc::new(storage.clone()), path(), &header(), plain).unwrap();
    log.event(at(1), &event(1)).unwrap();
    let size_bytes = storage.read(path()).unwrap().len();
    let long = Mark { name: "x".repeat(super::super::MARK_NAME_SIZE_BYTES_MAX + 1), ..mark(1) };
    assert!(matches!(log.mark(at(2), &long), Err(AppendError::TextTooLong { .. })));
    let control = RecordType { kind: 0x7001, version: 1 };
    assert!(matches!(log.raw_event(at(2), control, b""), Err(AppendError::NotAnEventKind { .. })));
    log.sync().unwrap();
    assert_eq!(storage.read(path()).unwrap().len(), size_bytes);
    assert_eq!(log.next_seq(), Seq(2));
}

/// Policies, sizes and preallocations whose every combination meets the bad disks.
fn kinds_of_logs() -> Vec<WriterOptions> {
    let policies = [DurabilityPolicy::Never, DurabilityPolicy::EveryEvents(count(7)), DurabilityPolicy::EveryEvent];
    let mut kinds = Vec::new();
    for policy in policies {
        for (segment_size_bytes, preallocate_bytes) in [(u64::MAX, 0), (1_500, 0), (2_500, 700), (2_500, 1 << 20)] {
            kinds.push(options(policy, segment_size_bytes, preallocate_bytes));
        }
    }
    kinds
}

#[test]
fn a_full_disk_at_every_byte_keeps_the_promise() {
    let steps = steps(9, 260);
    for (kind, options) in kinds_of_logs().into_iter().enumerate() {
        // Every byte of one kind of log, with several segments; of the others every so many, each from its own first.
        let stride = if kind == 5 { 1 } else { 41 };
        for budget in (0_u64..).map(|place| place * stride + kind as u64 % stride) {
            let memory = MemoryStorage::new();
            let faults = FaultBudget { bytes: Some(budget), syncs: None };
            let run = run(Arc::new(FaultyStorage::new(memory.clone(), faults)), options.clone(), &steps);
            check_promise(&memory, &run);
            let Some(error) = run.error else {
                assert!(budget > 3_000, "{budget}");
                break;
            };
            assert!(error.contains(".wal"), "{error}");
        }
    }
}

#[test]
fn a_failed_sync_keeps_the_promise_whatever_the_disk_lost() {
    let steps = steps(11, 200);
    for options in kinds_of_logs() {
        for budget in 0.. {
            let disk = PowerLossStorage::new();
            let faults = FaultBudget { bytes: None, syncs: Some(budget) };
            let run = run(Arc::new(FaultyStorage::new(disk.clone(), faults)), options.clone(), &steps);
            check_promise(&disk, &run);
            for seed in 0..3 {
                check_promise(&disk.crash(seed), &run);
            }
            if run.error.is_none() {
                assert!(budget > 10, "{budget}");
                break;
            }
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged() {
    // The first sync is that of the new file.
    let faulty = FaultyStorage::new(MemoryStorage::new(), FaultBudget { bytes: None, syncs: Some(2) });
    let plain = options(DurabilityPolicy::Never, u64::MAX, 0);
    let mut log = LogWriter::create(Arc::new(faulty), path(), &header(), plain).unwrap();
    log.event(at(1), &event(1)).unwrap();
    assert_eq!(log.sync().unwrap(), Seq(1));
    log.event(at(2), &event(2)).unwrap();
    assert!(matches!(log.sync(), Err(AppendError::Storage { .. })));
    assert!(matches!(log.sync(), Err(AppendError::Failed { .. })));
    assert_eq!(log.durable_seq(), Seq(1));
    assert!(matches!(log.finish(), Err(AppendError::Failed { .. })));
}

#[test]
fn power_lost_at_every_operation_keeps_the_promise() {
    let steps = steps(13, 120);
    for (kind, options) in kinds_of_logs().into_iter().enumerate() {
        for power_off_at in 0.. {
            let disk = PowerLossStorage::new();
            disk.power_off_at(power_off_at);
            let run = run(Arc::new(disk.clone()), options.clone(), &steps);
            for seed in 0..4 {
                check_promise(&disk.crash(seed + 4 * kind as u64), &run);
            }
            if run.error.is_none() {
                assert!(power_off_at > 10, "{power_off_at}");
                break;
            }
        }
    }
}

/// Writes a log until a step or a failure, and lets go of it as a killed process does.
fn run_and_kill(disk: &PowerLossStorage, options: &WriterOptions, steps: &[Step]) -> Run {
    let mut run = Run::default();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let mut log = LogWriter::create(storage, path(), &header(), options.clone()).unwrap();
    let mut result = Ok(());
    for step in steps {
        result = result.and_then(|()| run.take(&mut log, *step));
        run.durable = run.durable.max(log.durable_seq().0);
    }
    // What was not handed to the system dies with the process.
    drop(result.and_then(|()| log.flush()));
    run
}

#[test]
fn a_resumed_log_is_durable_whatever_its_last_writer_left_unsynced() {
    let steps = steps(17, 60);
    for options in kinds_of_logs() {
        for (stop, sync_fails_at) in (0..steps.len()).flat_map(|stop| [(stop, None), (steps.len(), Some(stop as u64))])
        {
            for power_off_after in 0..5 {
                let disk = PowerLossStorage::new();
                if let Some(count) = sync_fails_at {
                    disk.sync_fails_at(count);
                }
                let mut run = run_and_kill(&disk, &options, &steps[..stop]);
                if power_off_after > 0 {
                    disk.power_off_at(disk.operation_count() + power_off_after);
                }
                drop(go_on(&(Arc::new(disk.clone()) as Arc<dyn Storage>), &mut run, options.clone()));
                for seed in 0..4 {
                    check_promise(&disk.crash(seed), &run);
                }
            }
        }
    }
}

#[test]
fn a_file_with_an_index_is_sealed_in_steps_too() {
    let whole = options(DurabilityPolicy::Never, u64::MAX, 100_000);
    let seal = |disk: &PowerLossStorage| {
        let mut log = LogWriter::create(Arc::new(disk.clone()), path(), &header(), whole.clone()).unwrap();
        let mut run = Run::default();
        for seq in 1..=4_000 {
            run.given.push(Part::Event(seq, Event::LoopTicked));
            log.event(at(seq), &Event::LoopTicked).unwrap();
        }
        run.durable = log.sync().unwrap().0;
        run.error = log.finish().err().map(|error| error.to_string());
        run
    };
    let disk = PowerLossStorage::new();
    seal(&disk);
    assert!(found(&disk).last().end.unwrap().index_offset > 0);
    let count = disk.operation_count();
    let mut was_half_sealed = false;
    for power_off_at in count - 6..count {
        let disk = PowerLossStorage::new();
        disk.power_off_at(power_off_at);
        let run = seal(&disk);
        assert!(run.error.is_some());
        for seed in 0..64 {
            let after = disk.crash(seed);
            check_promise(&after, &run);
            repair(&after);
            let resumed = Resumed::read(&after, path()).unwrap();
            was_half_sealed |= resumed.encoder.has_index() && resumed.end.is_none();
            let log = LogWriter::resume(Arc::new(after.clone()), path(), whole.clone()).unwrap();
            let mut run = Run { given: run.given.clone(), ..Run::default() };
            run.go_on(log, &[Step::Event, Step::Sync]).unwrap();
            assert!(found(&after).parts == run.given);
        }
    }
    assert!(was_half_sealed, "the index came without the end at least once");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The power goes, the log is repaired and gone on with, and the power goes again in the middle of that.
    #[test]
    fn prop_power_lost_twice_keeps_the_promise(
        seed: u64, length in 1..200_usize, kind in any::<prop::sample::Index>(),
        first in any::<prop::sample::Index>(), second in 0..12_u64,
    ) {
        let (steps, kinds) = (steps(seed, length), kinds_of_logs());
        let options = &kinds[kind.index(kinds.len())];
        let whole = PowerLossStorage::new();
        run(Arc::new(whole.clone()), options.clone(), &steps);
        let disk = PowerLossStorage::new();
        disk.power_off_at(first.index(whole.operation_count() as usize) as u64);
        let mut run = run(Arc::new(disk.clone()), options.clone(), &steps);
        let found_first = disk.crash(seed);
        check_promise(&found_first, &run);

        let again: Arc<dyn Storage> = Arc::new(found_first.clone());
        repair_if_there(&found_first);
        found_first.power_off_at(found_first.operation_count() + second);
        let result = go_on(&again, &mut run, options.clone());
        check_promise(&found_first.crash(seed ^ 1), &run);

        let found_second = found_first.crash(seed ^ 2);
        let again: Arc<dyn Storage> = Arc::new(found_second.clone());
        let has_log = found_second.entry_kind(path()).unwrap().is_some();
        go_on(&again, &mut run, options.clone()).unwrap();
        check_promise(&found_second, &run);
        if has_log {
            let found = found(&found_second);
            prop_assert_eq!(&found.parts, &run.given);
            prop_assert!(found.last().end.is_some(), "{:?}", result);
        }
    }
}

fn repair_if_there(storage: &dyn Storage) {
    if storage.entry_kind(path()).unwrap().is_some() {
        repair(storage);
    }
}
