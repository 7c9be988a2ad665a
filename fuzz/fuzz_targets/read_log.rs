//! Any bytes, read as a log: no panic, no undefined behaviour, and one meaning, however they are read.

#![no_main]

use std::path::Path;

use drillfold_fuzz::{
    log_in,
    storage::{MemoryStorage, Storage},
    wal::{
        Access, Digests, EventView, LogFileError, LogFiles, LogReader, Polled, ReadFault, ReadOptions, RecordBody,
        verify_log,
    },
};
use drillfold_kernel::{
    event::Event,
    units::{Seq, TimeMs},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(bytes) = log_in(input) else { return };
    let from_bytes = read_bytes(&bytes);
    let memory = MemoryStorage::new();
    let path = Path::new("x.wal");
    memory.replace(path, &bytes).expect("memory takes it");
    for access in [Access::Mapped, Access::Positional] {
        let options = ReadOptions { digests: Digests::Check, access };
        let Ok(mut files) = LogFiles::open(&memory, path, options) else {
            assert!(from_bytes.is_none());
            continue;
        };
        let (places, outcome) = from_bytes.as_ref().expect("both open");
        compare(&mut files, places, outcome.as_ref());
        for seq in [1, places.len() as u64 / 2, places.len() as u64, u64::MAX] {
            let _ = files.seek_seq(Seq(seq));
            let _ = files.next_record();
        }
        for at in [i64::MIN, 0, places.get(places.len() / 2).map_or(5, |place| place.2), i64::MAX] {
            let _ = files.seek_time(TimeMs(at));
            let _ = files.next_record();
        }
        let mut files = LogFiles::open(&memory, path, options).expect("it did before");
        while let Ok(Polled::Record(_)) = files.poll() {}
        let _ = verify_log(&memory, path, access);
    }
});

/// Offset, number and time of each record, and the error that ended them.
type Read = (Vec<(u64, u64, i64)>, Option<ReadFault>);

fn read_bytes(bytes: &[u8]) -> Option<Read> {
    let mut reader = LogReader::open("x.wal", bytes).ok()?;
    let mut places = Vec::new();
    let mut event = Event::LoopTicked;
    loop {
        match reader.next_record() {
            Ok(Some(record)) => {
                places.push((record.offset, record.seq.0, record.at.0));
                if let RecordBody::Event(raw) = record.body {
                    let decoded = raw.decode();
                    let into = raw.decode_into(&mut event);
                    assert_eq!(decoded.is_ok(), into.is_ok());
                    if let Ok(decoded) = decoded {
                        assert_eq!(decoded, event);
                    }
                    if let Ok(EventView::BookChanged(view)) = raw.view() {
                        assert_eq!(view.bids().count(), view.bids().len());
                        let _ = view.asks().last();
                    }
                }
            }
            Ok(None) => return Some((places, None)),
            Err(error) => return Some((places, Some(error.fault))),
        }
    }
}

fn compare(files: &mut LogFiles<'_>, places: &[(u64, u64, i64)], expected: Option<&ReadFault>) {
    let mut count = 0;
    let found = loop {
        match files.next_record() {
            Ok(Some(record)) => {
                assert_eq!(places[count], (record.offset, record.seq.0, record.at.0));
                count += 1;
            }
            Ok(None) => break None,
            Err(LogFileError::Read(error)) => break Some(error.fault),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(count, places.len());
    // A file that ends in an end record must be read up to it; a reader of bytes does not look there first.
    let unreached_end = matches!(&found, Some(ReadFault::Malformed { record: "end", .. })) && expected.is_none();
    assert!(found.as_ref() == expected || unreached_end, "{found:?} is not {expected:?}");
}
