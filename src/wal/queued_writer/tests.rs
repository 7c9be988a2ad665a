//! The queue: order, bound, group commit, failures.

use std::num::NonZeroU32;
use std::path::Path;

use super::super::{Digest256, DurabilityPolicy, LogHeader, LogReader, MarkKind, RecordBody, WriterOptions, read_log};
use super::*;
use crate::storage::{
    AppendFile, Entry, EntryKind, FaultBudget, FaultyStorage, MemoryStorage, ReadFile, Storage, StorageError,
};

const FILE: &str = "x.wal";
const LONG: Duration = Duration::from_secs(60);

fn capacity(events: usize) -> NonZeroUsize {
    NonZeroUsize::new(events).unwrap()
}

fn writer(storage: Arc<dyn Storage>, durability: DurabilityPolicy) -> LogWriter {
    let header = LogHeader::first("queue", 1, Digest256::default(), "0.1.0");
    let options =
        WriterOptions { segment_size_bytes: 4_000, preallocate_bytes: 900, ..WriterOptions::single_file(durability) };
    LogWriter::create(storage, Path::new(FILE), &header, options).unwrap()
}

/// The event with the number `seq`.
fn event(seq: u64) -> Event {
    Event::FeeModelRead { cached_at: Some(at(seq)) }
}

fn at(seq: u64) -> TimeMs {
    TimeMs(seq.cast_signed())
}

/// Checks that the log holds the events 1 to `last`, and returns how many batches it has.
#[track_caller]
fn check_events(storage: &dyn Storage, last: u64) -> usize {
    let (mut next, mut batch_count) = (1, 0);
    for segment in 0.. {
        let Ok(bytes) = storage.read(&super::super::segment_path(Path::new(FILE), segment)) else { break };
        for entry in read_log(FILE, &bytes).unwrap().entries {
            assert_eq!((entry.seq.0, entry.at, entry.event), (next, at(next), event(next)));
            next += 1;
        }
        let is_batch = |body: &RecordBody<'_>| matches!(body, RecordBody::Batch { .. });
        batch_count +=
            LogReader::open(FILE, &bytes).unwrap().filter(|record| is_batch(&record.as_ref().unwrap().body)).count();
    }
    assert_eq!(next - 1, last);
    batch_count
}

/// A storage whose files wait at every sync until they are let go on.
#[derive(Debug, Clone)]
struct Gated {
    inner: MemoryStorage,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Gated {
    fn new() -> Self {
        Self { inner: MemoryStorage::new(), gate: Arc::new((Mutex::new(false), Condvar::new())) }
    }

    fn open(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }
}

#[derive(Debug)]
struct GatedFile {
    inner: Box<dyn AppendFile>,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl AppendFile for GatedFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.inner.write_at(offset, bytes)
    }
    fn extend(&mut self, size_bytes: u64) -> Result<(), StorageError> {
        self.inner.extend(size_bytes)
    }
    fn cut(&mut self, size_bytes: u64) -> Result<(), StorageError> {
        self.inner.cut(size_bytes)
    }
    fn sync(&mut self) -> Result<(), StorageError> {
        let open = self.gate.1.wait_while(self.gate.0.lock().unwrap(), |open| !*open).unwrap();
        drop(open);
        self.inner.sync()
    }
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }
}

impl Storage for Gated {
    fn read_at_most(&self, path: &Path, size_bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        self.inner.read_at_most(path, size_bytes_max)
    }
    fn create_new(&self, path: &Path) -> Result<Box<dyn AppendFile>, StorageError> {
        self.create_filled(path, &[], 0)
    }
    fn create_filled(&self, path: &Path, bytes: &[u8], size_bytes: u64) -> Result<Box<dyn AppendFile>, StorageError> {
        let inner = self.inner.create_filled(path, bytes, size_bytes)?;
        Ok(Box::new(GatedFile { inner, gate: Arc::clone(&self.gate) }))
    }
    fn open_append(&self, path: &Path) -> Result<Box<dyn AppendFile>, StorageError> {
        self.inner.open_append(path)
    }
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        self.inner.replace(path, bytes)
    }
    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadFile>, StorageError> {
        self.inner.open_read(path)
    }
    fn rename_new(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.inner.rename_new(from, to)
    }
    fn list(&self, folder: &Path) -> Result<Vec<Entry>, StorageError> {
        self.inner.list(folder)
    }
    fn entry_kind(&self, path: &Path) -> Result<Option<EntryKind>, StorageError> {
        self.inner.entry_kind(path)
    }
    fn create_folders(&self, folder: &Path) -> Result<(), StorageError> {
        self.inner.create_folders(folder)
    }
    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        self.inner.remove(path)
    }
}

#[test]
fn what_is_taken_is_written_in_order_and_once() {
    for durability in [
        DurabilityPolicy::Never,
        DurabilityPolicy::EveryEvents(NonZeroU32::new(10).unwrap()),
        DurabilityPolicy::EveryMs(NonZeroU32::new(1).unwrap()),
        DurabilityPolicy::EveryEvent,
    ] {
        let storage = MemoryStorage::new();
        let queue = QueuedWriter::start(writer(Arc::new(storage.clone()), durability), capacity(10_000)).unwrap();
        for seq in 1..=3_000 {
            assert_eq!(queue.try_event(at(seq), &event(seq)).unwrap(), Seq(seq));
            if seq % 500 == 0 {
                assert!(queue.wait_durable(Seq(seq - 100), LONG).unwrap() >= Seq(seq - 100));
            }
        }
        queue.close().unwrap();
        check_events(&storage, 3_000);
    }
}

#[test]
fn a_policy_of_time_syncs_without_another_event() {
    let storage = MemoryStorage::new();
    let durability = DurabilityPolicy::EveryMs(NonZeroU32::new(1).unwrap());
    let queue = QueuedWriter::start(writer(Arc::new(storage.clone()), durability), capacity(10)).unwrap();
    queue.try_event(at(1), &event(1)).unwrap();
    // Nobody waits for the event, so that only the policy can make it durable.
    while queue.durable_seq() < Seq(1) {
        std::thread::yield_now();
    }
    assert_eq!(queue.next_seq(), Seq(2));
}

#[test]
fn a_slow_disk_fills_the_queue_and_loses_nothing() {
    let storage = Gated::new();
    let log = writer(Arc::new(storage.clone()), DurabilityPolicy::EveryEvent);
    let queue = QueuedWriter::start(log, capacity(16)).unwrap();
    let mut seq = 1;
    // The thread may take one queue full into its hands before it stands at the gate.
    let refused = loop {
        match queue.try_event(at(seq), &event(seq)) {
            Ok(_) => seq += 1,
            Err(refused) if queue.waiting_event_count() == 16 => break refused,
            Err(_) => std::thread::yield_now(),
        }
        assert!(seq <= 34, "the bound is kept");
    };
    assert!(matches!(refused, QueueError::Full { capacity_events: 16, .. }), "{refused}");
    let mark = Mark { kind: MarkKind::Step, step_index: 0, name: String::new() };
    assert!(matches!(queue.try_mark(at(seq), &mark), Err(QueueError::Full { .. })));
    let late = queue.wait_durable(Seq(1), Duration::from_millis(1)).unwrap_err();
    assert!(matches!(late, QueueError::Timeout { durable_seq: Seq(0), .. }), "{late}");
    assert_eq!(queue.next_seq(), Seq(seq), "the refused event took no number");
    storage.open();
    queue.wait_durable(Seq(seq - 1), LONG).unwrap();
    queue.try_event(at(seq), &event(seq)).unwrap();
    queue.close().unwrap();
    let batch_count = check_events(&storage.inner, seq);
    assert!(batch_count < seq as usize, "what waited was written as one batch: {batch_count} batches");
}

#[test]
fn a_dead_disk_is_told_to_everyone_at_once() {
    for faults in [FaultBudget { bytes: Some(2_000), syncs: None }, FaultBudget { bytes: None, syncs: Some(3) }] {
        let memory = MemoryStorage::new();
        let faulty = Arc::new(FaultyStorage::new(memory.clone(), faults));
        let queue = QueuedWriter::start(writer(faulty, DurabilityPolicy::EveryEvent), capacity(8)).unwrap();
        let mut acknowledged = Seq(0);
        let error = loop {
            let seq = queue.next_seq().0;
            match queue.try_event(at(seq), &event(seq)).and_then(|seq| queue.wait_durable(seq, LONG)) {
                Ok(durable_seq) => acknowledged = durable_seq,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, QueueError::Failed { .. }), "{error}");
        assert!(matches!(queue.try_event(at(1), &event(1)), Err(QueueError::Failed { .. })));
        let last = Seq(queue.next_seq().0 - 1);
        assert!(matches!(queue.wait_durable(last, LONG), Err(QueueError::Failed { .. })));
        assert_eq!(queue.durable_seq(), acknowledged);
        assert!(matches!(queue.close(), Err(QueueError::Failed { .. })));
        let bytes = memory.read(Path::new(FILE)).unwrap();
        assert!(read_log(FILE, &bytes).unwrap().summary.event_count >= acknowledged.0);
    }
}

#[test]
fn dropping_it_closes_the_log() {
    let storage = MemoryStorage::new();
    let queue = QueuedWriter::start(writer(Arc::new(storage.clone()), DurabilityPolicy::Never), capacity(100)).unwrap();
    for seq in 1..=50 {
        queue.try_event(at(seq), &event(seq)).unwrap();
    }
    drop(queue);
    check_events(&storage, 50);
}

#[test]
fn what_can_not_be_is_refused() {
    let storage = Arc::new(MemoryStorage::new());
    let queue = QueuedWriter::start(writer(storage, DurabilityPolicy::Never), capacity(100)).unwrap();
    let refused = queue.wait_durable(Seq(1), LONG).unwrap_err();
    assert!(matches!(refused, QueueError::NotAppended { next_seq: Seq(1), .. }), "{refused}");
    let long = Mark { kind: MarkKind::Step, step_index: 0, name: "x".repeat(300) };
    assert!(matches!(queue.try_mark(at(1), &long), Err(QueueError::NotTaken(_))));
    queue.close().unwrap();
}

#[test]
fn callers_share_it() {
    let storage = MemoryStorage::new();
    let log = writer(Arc::new(storage.clone()), DurabilityPolicy::EveryEvent);
    let queue = QueuedWriter::start(log, capacity(1_000)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let seq = queue.try_event(at(7), &Event::LoopTicked).unwrap();
                    assert!(queue.wait_durable(seq, LONG).unwrap() >= seq);
                }
            });
        }
    });
    assert_eq!(queue.next_seq(), Seq(401));
    queue.close().unwrap();
}
