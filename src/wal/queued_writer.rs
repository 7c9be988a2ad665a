//! Writing a log from a thread of its own, for callers that must not wait for a disk.
//!
//! ```text
//!   try_event ──► queue ──► thread: everything that waits ──► LogWriter ──► one write, one sync
//!       │                     │
//!   archives, numbers      frames, checksums, digests, segments; says what is durable
//! ```
//!
//! The caller's side archives an event straight into the queue: copying the event to archive it on the other side
//! would cost more, since its lists would have to be allocated again. Everything else is the thread's work. The number
//! of an event is given when it is taken, so it is known before any byte is written.
//!
//! What waits when the thread comes back from the disk becomes the next batch (group commit), so the slower the disk,
//! the larger the batches; the durability policy is asked once a batch. The queue has a bound; past it
//! [`QueuedWriter::try_event`] refuses and the caller stops reading its source. Nothing is ever dropped.
//!
//! Failure model: after the first failed write or sync nothing more is taken or acknowledged, every call says so at
//! once, and waiting calls return. Nothing waits for a thread that is gone.

use std::mem;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use drillfold_kernel::event::Event;
use drillfold_kernel::units::{Seq, TimeMs};
use thiserror::Error;

use super::control::{End, Mark};
use super::error::{AppendError, RecordError};
use super::log_encoder::check_mark;
use super::log_writer::LogWriter;
use super::record::{RecordType, encode_event};

/// Why a [`QueuedWriter`] did not do what it was asked.
#[derive(Debug, Clone, Error)]
pub enum QueueError {
    /// As many events wait as may wait. The event was not taken; the caller stops reading its source, or tries again
    /// later.
    #[error(
        "{file}: {capacity_events} events wait to be written, the disk does not keep up; stop reading, then try again"
    )]
    Full {
        /// The log.
        file: String,
        /// How many may wait.
        capacity_events: usize,
    },
    /// The log could not be written. Nothing after [`QueuedWriter::durable_seq`] may be relied on; open the log again.
    #[error("{file}: the log could not be written; open it again to find out what is on disk")]
    Failed {
        /// The log.
        file: String,
        /// What failed.
        #[source]
        source: Arc<AppendError>,
    },
    /// The writer's thread could not be started, or ended without a word: a defect, or the system is out of threads.
    #[error("{file}: the writer's thread is not running")]
    NoThread {
        /// The log.
        file: String,
    },
    /// The event or mark can't be in any log; it was not taken, and the writer goes on.
    #[error(transparent)]
    NotTaken(Arc<AppendError>),
    /// The time was over before the event was durable. It may become so later.
    #[error("{file}: event {} is not durable yet, {} is", wanted_seq.0, durable_seq.0)]
    Timeout {
        /// The log.
        file: String,
        /// The event waited for.
        wanted_seq: Seq,
        /// The last durable one.
        durable_seq: Seq,
    },
    /// No event has that number yet, so there is nothing to wait for.
    #[error("{file}: event {} was not appended, the next one is {}", wanted_seq.0, next_seq.0)]
    NotAppended {
        /// The log.
        file: String,
        /// The event asked for.
        wanted_seq: Seq,
        /// Number of the next event.
        next_seq: Seq,
    },
}

/// Writes a log from a thread of its own. Callers share it by reference.
///
/// Dropping it does what [`QueuedWriter::close`] does, without telling how it went.
#[derive(Debug)]
pub struct QueuedWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<End, Arc<AppendError>>>>,
}

#[derive(Debug)]
struct Shared {
    file: String,
    capacity_events: usize,
    /// The last durable event, for those who only look.
    durable_seq: AtomicU64,
    state: Mutex<State>,
    /// The thread waits here for something to do.
    work: Condvar,
    /// Callers wait here for durable events.
    progress: Condvar,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    next_seq: Seq,
    /// Highest event that someone waits for.
    wanted_seq: Seq,
    is_closing: bool,
    thread_is_idle: bool,
    thread_is_gone: bool,
    failure: Option<Arc<AppendError>>,
    scratch: Vec<u8>,
}

/// Records in the order in which they were taken.
#[derive(Debug, Default)]
struct Queue {
    entries: Vec<QueueEntry>,
    /// The events' payloads, one behind the other.
    payloads: Vec<u8>,
    event_count: usize,
}

#[derive(Debug)]
enum QueueEntry {
    Event { at: TimeMs, record_type: RecordType, size_bytes: usize },
    Mark { at: TimeMs, mark: Mark },
}

impl QueuedWriter {
    /// Starts a thread that writes with `writer`. At most `capacity_events` events wait; as many may be in the thread's
    /// hands besides.
    ///
    /// # Errors
    ///
    /// [`QueueError::NoThread`].
    pub fn start(writer: LogWriter, capacity_events: NonZeroUsize) -> Result<Self, QueueError> {
        let file = writer.name().to_string();
        let state = State {
            queue: Queue::default(),
            next_seq: writer.next_seq(),
            wanted_seq: Seq(0),
            is_closing: false,
            thread_is_idle: false,
            thread_is_gone: false,
            failure: None,
            scratch: Vec::new(),
        };
        let shared = Arc::new(Shared {
            file: file.clone(),
            capacity_events: capacity_events.get(),
            durable_seq: AtomicU64::new(writer.durable_seq().0),
            state: Mutex::new(state),
            work: Condvar::new(),
            progress: Condvar::new(),
        });
        let for_thread = Arc::clone(&shared);
        let thread = Builder::new()
            .name("log writer".to_string())
            .spawn(move || write_until_closed(&for_thread, writer))
            .map_err(|_| QueueError::NoThread { file })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes an event, without waiting for the disk, and returns the number it got.
    ///
    /// # Errors
    ///
    /// [`QueueError::Full`], [`QueueError::Failed`], [`QueueError::NoThread`], [`QueueError::NotTaken`]; in each case
    /// the event was not taken.
    pub fn try_event(&self, at: TimeMs, event: &Event) -> Result<Seq, QueueError> {
        let mut state = self.shared.lock();
        self.shared.require_sound(&state)?;
        self.shared.require_room(&state)?;
        let not_taken = |error| QueueError::NotTaken(Arc::new(error));
        let following = state.next_seq.0.checked_add(1).ok_or_else(|| not_taken(AppendError::SequenceOverflow))?;
        let mut payload = mem::take(&mut state.scratch);
        let archived: Result<RecordType, RecordError> = encode_event(event, &mut payload);
        if let Ok(record_type) = archived {
            state.queue.event(at, record_type, &payload);
        }
        state.scratch = payload;
        archived.map_err(|error| not_taken(AppendError::Record(error)))?;
        let seq = state.next_seq;
        state.next_seq = Seq(following);
        self.shared.wake_thread(state);
        Ok(seq)
    }

    /// Takes a mark in front of the next event, without waiting for the disk.
    ///
    /// # Errors
    ///
    /// As [`QueuedWriter::try_event`].
    pub fn try_mark(&self, at: TimeMs, mark: &Mark) -> Result<(), QueueError> {
        check_mark(mark).map_err(|error| QueueError::NotTaken(Arc::new(error)))?;
        let mut state = self.shared.lock();
        self.shared.require_sound(&state)?;
        self.shared.require_room(&state)?;
        state.queue.entries.push(QueueEntry::Mark { at, mark: mark.clone() });
        self.shared.wake_thread(state);
        Ok(())
    }

    /// Waits until the event `seq` is durable and returns the last durable event. Someone waiting is a reason to sync,
    /// whatever the policy: what waits by then becomes durable together.
    ///
    /// # Errors
    ///
    /// [`QueueError::Timeout`], [`QueueError::NotAppended`], [`QueueError::Failed`], [`QueueError::NoThread`].
    pub fn wait_durable(&self, seq: Seq, timeout: Duration) -> Result<Seq, QueueError> {
        let durable_seq = self.durable_seq();
        if durable_seq >= seq {
            return Ok(durable_seq);
        }
        let mut state = self.shared.lock();
        if seq >= state.next_seq {
            let (file, next_seq) = (self.shared.file.clone(), state.next_seq);
            return Err(QueueError::NotAppended { file, wanted_seq: seq, next_seq });
        }
        state.wanted_seq = state.wanted_seq.max(seq);
        self.shared.work.notify_one();
        let goes_on = |state: &mut State| self.durable_seq() < seq && state.failure.is_none() && !state.thread_is_gone;
        let waited = self.shared.progress.wait_timeout_while(state, timeout, goes_on);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let durable_seq = self.durable_seq();
        if durable_seq >= seq {
            return Ok(durable_seq);
        }
        self.shared.require_sound(&state)?;
        Err(QueueError::Timeout { file: self.shared.file.clone(), wanted_seq: seq, durable_seq })
    }

    /// Returns the last event known to be on durable media. It never falls, and stays where it was after a failure.
    pub fn durable_seq(&self) -> Seq {
        Seq(self.shared.durable_seq.load(Ordering::Acquire))
    }

    /// Returns the number the next event will get.
    pub fn next_seq(&self) -> Seq {
        self.shared.lock().next_seq
    }

    /// Returns how many events wait to be written, without those in the thread's hands.
    pub fn waiting_event_count(&self) -> usize {
        self.shared.lock().queue.event_count
    }

    /// Writes everything that was taken, seals the log, puts it on durable media, and ends the thread.
    ///
    /// # Errors
    ///
    /// [`QueueError::Failed`], [`QueueError::NoThread`].
    pub fn close(mut self) -> Result<End, QueueError> {
        self.end_thread()
    }

    fn end_thread(&mut self) -> Result<End, QueueError> {
        let file = self.shared.file.clone();
        let Some(thread) = self.thread.take() else {
            return Err(QueueError::NoThread { file });
        };
        self.shared.lock().is_closing = true;
        self.shared.work.notify_one();
        match thread.join() {
            Ok(ended) => ended.map_err(|source| QueueError::Failed { file, source }),
            Err(_) => Err(QueueError::NoThread { file }),
        }
    }
}

impl Drop for QueuedWriter {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // Who wants to know calls `close`.
            let _ = self.end_thread();
        }
    }
}

impl Shared {
    /// Locks, even after a caller's thread has panicked while holding the lock: the queue is changed last.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn require_sound(&self, state: &State) -> Result<(), QueueError> {
        if let Some(source) = &state.failure {
            return Err(QueueError::Failed { file: self.file.clone(), source: Arc::clone(source) });
        }
        if state.thread_is_gone {
            return Err(QueueError::NoThread { file: self.file.clone() });
        }
        Ok(())
    }

    /// Marks count as events here, so that they can't fill memory either.
    fn require_room(&self, state: &State) -> Result<(), QueueError> {
        if state.queue.entries.len() >= self.capacity_events {
            return Err(QueueError::Full { file: self.file.clone(), capacity_events: self.capacity_events });
        }
        Ok(())
    }

    /// Lets go of the lock first, so that the thread does not wake up to wait for it.
    fn wake_thread(&self, mut state: MutexGuard<'_, State>) {
        let is_idle = mem::replace(&mut state.thread_is_idle, false);
        drop(state);
        if is_idle {
            self.work.notify_one();
        }
    }

    fn publish(&self, durable_seq: Seq) {
        if durable_seq.0 == self.durable_seq.load(Ordering::Acquire) {
            return;
        }
        // Under the lock, so that nobody looks just before and then waits for what has happened.
        let state = self.lock();
        self.durable_seq.store(durable_seq.0, Ordering::Release);
        drop(state);
        self.progress.notify_all();
    }
}

impl Queue {
    fn event(&mut self, at: TimeMs, record_type: RecordType, payload: &[u8]) {
        self.payloads.extend_from_slice(payload);
        self.entries.push(QueueEntry::Event { at, record_type, size_bytes: payload.len() });
        self.event_count += 1;
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.payloads.clear();
        self.event_count = 0;
    }

    fn write(&self, writer: &mut LogWriter) -> Result<(), AppendError> {
        let mut payloads = &self.payloads[..];
        for entry in &self.entries {
            match entry {
                QueueEntry::Event { at, record_type, size_bytes } => {
                    let (payload, rest) = payloads.split_at(*size_bytes);
                    payloads = rest;
                    writer.append_event(*at, *record_type, payload)?;
                }
                QueueEntry::Mark { at, mark } => writer.mark(*at, mark)?,
            }
        }
        assert!(payloads.is_empty());
        Ok(())
    }
}

/// Tells everyone that the thread is gone, however it ends.
struct Departure<'a>(&'a Shared);

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        self.0.lock().thread_is_gone = true;
        self.0.progress.notify_all();
    }
}

/// What the thread does next.
enum Task {
    /// Write what was taken from the queue, if anything, and see to the policy.
    Write {
        /// Someone waits for a durable event.
        sync: bool,
    },
    /// Write it, and seal.
    Close,
}

fn write_until_closed(shared: &Shared, mut writer: LogWriter) -> Result<End, Arc<AppendError>> {
    let _departure = Departure(shared);
    let failed = |error: AppendError| {
        let error = Arc::new(error);
        shared.lock().failure = Some(Arc::clone(&error));
        shared.progress.notify_all();
        error
    };
    let mut batch = Queue::default();
    loop {
        let task = next_task(shared, &writer, &mut batch);
        write_batch(&batch, &mut writer).map_err(failed)?;
        match task {
            Task::Write { sync } => {
                if sync {
                    writer.sync().map_err(failed)?;
                }
                shared.publish(writer.durable_seq());
            }
            Task::Close => {
                let last_seq = Seq(writer.next_seq().0 - 1);
                let end = writer.finish().map_err(failed)?;
                shared.publish(last_seq);
                return Ok(end);
            }
        }
    }
}

fn write_batch(batch: &Queue, writer: &mut LogWriter) -> Result<(), AppendError> {
    batch.write(writer)?;
    writer.flush()?;
    writer.obey_policy()
}

/// Waits for something to do and takes everything that waits into `batch`.
fn next_task(shared: &Shared, writer: &LogWriter, batch: &mut Queue) -> Task {
    batch.clear();
    let mut state = shared.lock();
    loop {
        let sync = state.wanted_seq > writer.durable_seq();
        if state.is_closing || sync || !state.queue.entries.is_empty() {
            mem::swap(&mut state.queue, batch);
            return if state.is_closing { Task::Close } else { Task::Write { sync } };
        }
        let due_in = writer.sync_due_in();
        if due_in == Some(Duration::ZERO) {
            return Task::Write { sync: false };
        }
        state.thread_is_idle = true;
        state = match due_in {
            Some(time) => shared.work.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
            None => shared.work.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
    }
}

#[cfg(test)]
mod tests;
