//! Any bytes, repaired: what comes out is sound, and the beginning of what went in.

#![no_main]

use std::path::Path;

use drillfold_fuzz::{
    log_in,
    storage::{MemoryStorage, Storage},
    wal::{Access, AtCorruption, FindingKind, LogReader, RawEvent, RecordBody, RepairError, repair_log, verify_log},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(bytes) = log_in(input) else { return };
    let memory = MemoryStorage::new();
    let (from, to) = (Path::new("x.wal"), Path::new("y.wal"));
    memory.replace(from, &bytes).expect("memory takes it");
    let first = repair_log(&memory, from, to, AtCorruption::Refuse);
    let done = match first {
        Err(RepairError::Corrupt { .. }) => repair_log(&memory, from, to, AtCorruption::Cut),
        other => other,
    };
    assert_eq!(memory.read(from).expect("it is there"), bytes, "the log is not touched");
    let names = memory.list(Path::new("")).expect("it can be listed").len();
    let Ok(done) = done else {
        assert_eq!(names, 1, "nothing is left over");
        return;
    };
    assert_eq!(names, 2);
    let copy = memory.read(to).expect("the copy is there");
    assert_eq!(copy.len() as u64, done.size_bytes);
    // A payload that is no event is copied as it is: its checksum is right.
    let verified = verify_log(&memory, to, Access::Mapped).expect("a copy can be checked");
    assert!(verified.findings.iter().all(|finding| finding.kind == FindingKind::Payload), "{verified:?}");
    let (before, after) = (events(&bytes), events(&copy));
    assert!(after.len() <= before.len() && after.len() as u64 == done.end.event_count);
    assert!(before.iter().zip(&after).all(|(before, after)| before == after));
    assert_eq!(after.len(), before.len(), "everything that can be read is copied");
});

fn events(bytes: &[u8]) -> Vec<RawEvent<'_>> {
    let reader = LogReader::open("x.wal", bytes).expect("it was opened before");
    reader
        .map_while(Result::ok)
        .filter_map(|record| match record.body {
            RecordBody::Event(raw) => Some(raw),
            _ => None,
        })
        .collect()
}
