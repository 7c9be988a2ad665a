//! Any bytes, gone on with: refused, or a log of what was there and what was appended.

#![no_main]

use std::{path::Path, sync::Arc};

use drillfold_fuzz::{
    log_in,
    storage::{MemoryStorage, Storage},
    wal::{
        Access, AppendError, Digests, DurabilityPolicy, FindingKind, LogFiles, LogReader, LogWriter, Mark, MarkKind,
        ReadOptions, RecordBody, RecordType, Verification, WriterOptions, verify_log,
    },
};
use drillfold_kernel::{event::Event, units::TimeMs};
use libfuzzer_sys::fuzz_target;

/// Events appended: enough for a small segment and the beginning of another.
const APPENDED: u64 = 40;

fuzz_target!(|input: &[u8]| {
    let Some(bytes) = log_in(input) else { return };
    let memory = MemoryStorage::new();
    let path = Path::new("x.wal");
    memory.replace(path, &bytes).expect("memory takes it");
    let before = events(LogReader::open("x.wal", &bytes));
    let segment_size_bytes = bytes.len() as u64 + 500;
    let preallocate_bytes = if bytes.len().is_multiple_of(2) { 0 } else { 300 };
    let policy = DurabilityPolicy::EveryEvent;
    let options = WriterOptions { segment_size_bytes, preallocate_bytes, ..WriterOptions::single_file(policy) };
    let Ok(log) = LogWriter::resume(Arc::new(memory.clone()), path, options) else {
        let found = memory.read(path).expect("it is there");
        assert!(found.starts_with(&bytes), "what is refused keeps its bytes");
        return;
    };
    assert_eq!(log.next_seq().0 - log.durable_seq().0, 1, "what was found is durable");
    match append(log) {
        Ok(()) => {}
        // Numbers of events or segments are used up.
        Err(AppendError::SequenceOverflow | AppendError::Invalid { .. }) => return,
        Err(error) => panic!("{error}"),
    }
    let options = ReadOptions { digests: Digests::Check, access: Access::Mapped };
    let mut files = LogFiles::open(&memory, path, options).expect("its header is sound");
    let mut after = Vec::new();
    while let Some(record) = files.next_record().expect("it is sound") {
        if let RecordBody::Event(raw) = record.body {
            after.push((record.seq.0, record.at.0, raw.record_type, raw.payload.to_vec()));
        }
    }
    assert_eq!(after.len() as u64, before.len() as u64 + APPENDED);
    assert!(after.starts_with(&before), "what was there is there");
    let verified = verify_log(&memory, path, Access::Positional).expect("it can be checked");
    assert!(is_as_found(&verified), "{verified:?}");
});

/// A payload that is no event was there before, and so was the index of a file whose sealing was cut short: its times are
/// compared by a verifier alone.
fn is_as_found(verified: &Verification) -> bool {
    let is_time = |message: &str| message.contains("as the greatest time up to event");
    verified.findings.iter().all(|finding| match finding.kind {
        FindingKind::Payload => true,
        FindingKind::Corruption => is_time(&finding.message),
        FindingKind::Header | FindingKind::TornTail => false,
    })
}

fn append(mut log: LogWriter) -> Result<(), AppendError> {
    for number in 0..APPENDED {
        if number % 8 == 0 {
            log.mark(TimeMs(5), &Mark { kind: MarkKind::Step, step_index: 1, name: "gone on with".to_owned() })?;
        }
        log.event(TimeMs(5), &Event::LoopTicked)?;
    }
    log.finish().map(drop)
}

type Found = (u64, i64, RecordType, Vec<u8>);

fn events<E>(reader: Result<LogReader<'_>, E>) -> Vec<Found> {
    let records = reader.into_iter().flat_map(|reader| reader.map_while(Result::ok));
    let event = |record: drillfold_fuzz::wal::LogRecord<'_>| match record.body {
        RecordBody::Event(raw) => Some((record.seq.0, record.at.0, raw.record_type, raw.payload.to_vec())),
        _ => None,
    };
    records.filter_map(event).collect()
}
