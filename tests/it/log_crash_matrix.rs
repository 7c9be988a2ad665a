//! What a crash or a decaying disk leaves of a log, enumerated: every cut in every shape, every bit flipped, and crashes
//! during the repair itself.

use std::path::Path;

use drillfold::{
    storage::{FaultBudget, FaultyStorage, MemoryStorage, Storage as _, StorageError},
    wal::{
        Access, AtCorruption, Digests, HeaderFault, LogFiles, LogReader, ReadFault, ReadOptions, RecordBody,
        RepairError, Tail, repair_log, verify_log,
    },
};

use crate::{
    log_rig::{BuiltLog, in_batches},
    project::in_parallel,
};

/// 704 events in batches of 16: more than 64 KiB and 700 frames.
fn matrix_log() -> BuiltLog {
    let log = in_batches(704, 16, false);
    assert!(log.ends.len() > 500 && log.bytes.len() > 64 * 1024, "{} bytes", log.bytes.len());
    log
}

/// Splits `0..count` into parts that the cores share.
fn parts(count: usize) -> Vec<std::ops::Range<usize>> {
    let size = count.div_ceil(64);
    (0..64).map(|part| part * size..((part + 1) * size).min(count)).filter(|part| !part.is_empty()).collect()
}

/// How reading a damaged copy went.
enum Found {
    /// It opens to that many records, as they were.
    Records(usize, Tail),
    /// So many, and then an error.
    Refused(usize, ReadFault),
    /// Its header can't be used.
    Header(HeaderFault),
}

/// Reads a damaged copy of `log`; each record must be the one that was written, byte for byte, at its place.
#[track_caller]
fn read(log: &BuiltLog, damaged: &[u8], digests: Digests) -> Found {
    let mut reader = match LogReader::open_with("x.wal", damaged, digests) {
        Ok(reader) => reader,
        Err(error) => return Found::Header(error.fault),
    };
    let mut count = 0;
    loop {
        match reader.next_record() {
            Ok(Some(record)) => {
                let (start, end) = (log.ends[count], log.ends[count + 1]);
                assert_eq!(record.offset, start as u64);
                assert!(damaged[start..end] == log.bytes[start..end], "record {count} is not the one that was written");
                count += 1;
            }
            Ok(None) => {
                let summary = reader.summary();
                assert_eq!(summary.sound_bytes, log.ends[count] as u64);
                return Found::Records(count, summary.tail);
            }
            Err(error) => {
                assert_eq!(error.offset, log.ends[count] as u64);
                assert_eq!(reader.next_record(), Ok(None), "nothing follows an error");
                return Found::Refused(count, error.fault);
            }
        }
    }
}

/// Checks that a damaged copy opens to exactly the whole records before its first changed byte.
#[track_caller]
fn check_prefix(log: &BuiltLog, damaged: &[u8], what: &str) {
    let same = damaged.iter().zip(&log.bytes).take_while(|(damaged, whole)| damaged == whole).count();
    let whole = log.whole(same);
    match read(log, damaged, Digests::Skip) {
        Found::Records(count, tail) => {
            assert_eq!(count, whole, "{what}");
            let rest = &damaged[log.ends[whole]..];
            match tail {
                Tail::Clean => assert!(rest.is_empty(), "{what}"),
                Tail::Zeroed { bytes, .. } => {
                    assert!(rest.iter().all(|byte| *byte == 0) && bytes == rest.len() as u64, "{what}");
                }
                Tail::Torn { offset, bytes, .. } => {
                    assert_eq!((offset, bytes), (log.ends[whole] as u64, rest.len() as u64), "{what}");
                }
            }
        }
        Found::Refused(count, fault) => panic!("{what}: {count} records, then {fault}"),
        Found::Header(fault) => panic!("{what}: {fault}"),
    }
}

/// Bytes that a sector could have held before.
fn garbage(size_bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..size_bytes).map(|_| next()).collect()
}

/// Calls `check` with every shape of a crash at `cut`: the file cut there; zeros from there on; and, for both sizes of
/// sectors, the sector with the cut as it was before the batch was written (zeros, or anything), once with the batch's
/// other sectors on disk and once without those behind.
fn each_shape(log: &BuiltLog, cut: usize, garbage: &[u8], mut check: impl FnMut(&[u8], &str)) {
    let size = log.bytes.len();
    let mut damaged = log.bytes[..cut].to_vec();
    check(&damaged, &format!("cut {cut}"));
    damaged.resize(size, 0);
    check(&damaged, &format!("cut {cut}, zeros behind"));
    let Some((batch_start, batch_end)) = log.batches.iter().find(|(start, end)| (*start..*end).contains(&cut)) else {
        return;
    };
    for sector in [512, 4096] {
        // What was durable in a sector is there whether or not the write came to its end.
        let start = (cut / sector * sector).max(*batch_start);
        let end = (cut / sector * sector + sector).min(*batch_end);
        for (old, bytes) in [("zeros", &[0; 4096][..end - start]), ("garbage", &garbage[start..end])] {
            for kept_until in [end, *batch_end] {
                damaged.clear();
                damaged.extend_from_slice(&log.bytes[..kept_until]);
                damaged[start..end].copy_from_slice(bytes);
                damaged.resize(size, 0);
                check(&damaged, &format!("cut {cut}, sector of {sector} with {old}, kept until {kept_until}"));
            }
        }
    }
}

#[test]
fn a_crash_at_every_byte_in_every_shape_opens_to_the_whole_records_before_it() {
    let log = matrix_log();
    let garbage = garbage(log.bytes.len());
    in_parallel(&parts(log.bytes.len() + 1), |part| {
        for cut in part.clone() {
            if cut < log.ends[0] {
                let header = read(&log, &log.bytes[..cut], Digests::Check);
                assert!(matches!(header, Found::Header(HeaderFault::Incomplete { .. })), "cut {cut}");
                continue;
            }
            each_shape(&log, cut, &garbage, |damaged, what| check_prefix(&log, damaged, what));
        }
    });
}

#[test]
fn a_crash_before_the_end_was_whole_leaves_every_event() {
    let log = in_batches(2100, 64, true);
    let events = log.ends[log.ends.len() - 3];
    for cut in events..log.bytes.len() {
        check_prefix(&log, &log.bytes[..cut], "a cut in index and end");
        let mut zeroed = log.bytes[..cut].to_vec();
        zeroed.resize(log.bytes.len() + 4096, 0);
        check_prefix(&log, &zeroed, "zeros in index and end");
    }
}

/// Checks one flip: it is found, at its place, and what is damaged is a torn tail only where it was not yet durable.
#[track_caller]
fn check_flip(log: &BuiltLog, damaged: &[u8], bit: usize, durable_until: usize) {
    let whole = log.whole(bit / 8);
    match read(log, damaged, Digests::Skip) {
        Found::Header(_) => assert!(bit / 8 < log.ends[0], "bit {bit}"),
        Found::Refused(count, fault) => {
            assert_eq!(count, whole, "bit {bit}: {fault}");
            assert!(bit / 8 < durable_until, "bit {bit} is a torn tail: {fault}");
            assert!(matches!(fault, ReadFault::Corrupt { .. }), "bit {bit}: {fault}");
        }
        Found::Records(count, tail) => {
            assert_eq!(count, whole, "bit {bit}");
            assert!(bit / 8 >= durable_until, "bit {bit}: what was durable is lost in silence");
            assert!(matches!(tail, Tail::Torn { .. }), "bit {bit}");
        }
    }
}

#[test]
fn every_flipped_bit_is_found_in_an_unsealed_log() {
    let log = matrix_log();
    // The last batch names all events before it: up to the last of them every record is known to be durable.
    let durable_until = log.batches.last().expect("there are batches").0;
    flip_every_bit(&log, durable_until);
}

#[test]
fn every_flipped_bit_is_found_in_a_sealed_log() {
    let log = in_batches(704, 16, true);
    flip_every_bit(&log, log.ends[log.ends.len() - 2]);
}

fn flip_every_bit(log: &BuiltLog, durable_until: usize) {
    assert!(log.bytes.len() >= 64 * 1024);
    in_parallel(&parts(log.bytes.len()), |part| {
        let mut damaged = log.bytes.clone();
        for byte in part.clone() {
            for bit in 0..8 {
                damaged[byte] ^= 1 << bit;
                check_flip(log, &damaged, byte * 8 + bit, durable_until);
                damaged[byte] ^= 1 << bit;
            }
        }
    });
}

const LOG: &str = "x.wal";
const OUT: &str = "sound.wal";

/// A storage with one file.
fn holding(bytes: &[u8]) -> MemoryStorage {
    let memory = MemoryStorage::new();
    memory.replace(Path::new(LOG), bytes).expect("memory takes it");
    memory
}

/// Checks that a repair's output is sound and holds exactly the records that were whole.
#[track_caller]
fn check_repaired(log: &BuiltLog, storage: &MemoryStorage, whole: usize, what: &str) {
    let copy = storage.read(Path::new(OUT)).expect("the copy is there");
    let sound = log.ends[whole];
    assert!(copy[..sound] == log.bytes[..sound], "{what}");
    let verified = verify_log(storage, Path::new(OUT), Access::Mapped).expect("it can be checked");
    assert!(verified.is_sound() && verified.segments[0].summary.end.is_some(), "{what}: {verified:?}");
    let leftover = storage.list(Path::new("")).expect("the folder is there");
    assert_eq!(leftover.len(), 2, "{what}: {leftover:?}");
}

/// Places near every end of a record, and some between.
fn telling_cuts(log: &BuiltLog, every: usize) -> Vec<usize> {
    let near = log.ends.iter().flat_map(|end| [end.saturating_sub(1), *end, end + 1]);
    let mut cuts: Vec<usize> = near.chain((log.ends[0]..log.bytes.len()).step_by(every)).collect();
    cuts.retain(|cut| (log.ends[0]..=log.bytes.len()).contains(cut));
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

#[test]
fn a_crash_during_the_repair_leaves_nothing_or_all_of_it() {
    let log = matrix_log();
    let garbage = garbage(log.bytes.len());
    in_parallel(&telling_cuts(&log, 400), |cut| {
        each_shape(&log, *cut, &garbage, |damaged, what| {
            let same = damaged.iter().zip(&log.bytes).take_while(|(damaged, whole)| damaged == whole).count();
            let whole = log.whole(same);
            let sound = log.ends[whole];
            // The copy is the sound part and an end; the disk is full at its beginning, within it, and right before its
            // end, or does not sync.
            let bytes = [0, 1, log.ends[0], sound / 2, sound.saturating_sub(1), sound, sound + 75];
            let faults = bytes.map(|bytes| FaultBudget { bytes: Some(bytes as u64), syncs: None });
            let no_sync = FaultBudget { bytes: None, syncs: Some(0) };
            let memory = holding(damaged);
            for fault in faults.into_iter().chain([no_sync]) {
                let faulty = FaultyStorage::new(memory.clone(), fault);
                let failed = repair_log(&faulty, Path::new(LOG), Path::new(OUT), AtCorruption::Refuse);
                assert!(matches!(failed, Err(RepairError::Storage(StorageError::Io { .. }))), "{what}: {failed:?}");
                assert_eq!(memory.entry_kind(Path::new(OUT)).expect("memory answers"), None, "{what}");
                assert_eq!(memory.read(Path::new(LOG)).expect("the log is there"), damaged, "{what}");
            }
            // A crash leaves whatever it had written.
            let leftover = &log.bytes[..sound / 3];
            memory.replace(Path::new("sound.wal.repairing"), leftover).expect("memory takes it");
            let done = repair_log(&memory, Path::new(LOG), Path::new(OUT), AtCorruption::Refuse).expect(what);
            assert_eq!(done.cut.as_ref().map_or(sound as u64, |cut| cut.offset), sound as u64, "{what}");
            check_repaired(&log, &memory, whole, what);
        });
    });
}

#[test]
fn corruption_is_given_up_only_on_request() {
    let log = matrix_log();
    in_parallel(&telling_cuts(&log, 4000), |byte| {
        let durable = log.batches.last().expect("there are batches").0;
        if *byte >= durable {
            return;
        }
        let mut damaged = log.bytes.clone();
        damaged[*byte] ^= 0x10;
        let memory = holding(&damaged);
        let (from, to) = (Path::new(LOG), Path::new(OUT));
        let refused = repair_log(&memory, from, to, AtCorruption::Refuse);
        assert!(matches!(refused, Err(RepairError::Corrupt { .. })), "byte {byte}: {refused:?}");
        assert_eq!(memory.list(Path::new("")).expect("it is listed").len(), 1, "byte {byte}");
        let done = repair_log(&memory, from, to, AtCorruption::Cut).expect("it is asked for");
        assert!(done.cut.is_some_and(|cut| cut.corruption), "byte {byte}");
        check_repaired(&log, &memory, log.whole(*byte), &format!("byte {byte}"));
        let again = repair_log(&memory, from, to, AtCorruption::Cut);
        assert!(matches!(again, Err(RepairError::Exists { .. })), "{again:?}");
    });
}

/// The readers of files and of slices are one state machine; here they are held against each other.
#[test]
fn a_file_reads_as_its_bytes_do() {
    let log = matrix_log();
    let garbage = garbage(log.bytes.len());
    in_parallel(&telling_cuts(&log, 1000), |cut| {
        each_shape(&log, *cut, &garbage, |damaged, what| {
            let Found::Records(count, tail) = read(&log, damaged, Digests::Check) else { panic!("{what}") };
            let memory = holding(damaged);
            let options = ReadOptions { digests: Digests::Check, access: Access::Positional };
            let mut files = LogFiles::open(&memory, Path::new(LOG), options).expect(what);
            let mut found = 0;
            while let Some(record) = files.next_record().expect(what) {
                assert_eq!(record.offset, log.ends[found] as u64, "{what}");
                if let RecordBody::Event(raw) = record.body {
                    assert_eq!(raw.decode().expect(what), log.events[record.seq.0 as usize - 1], "{what}");
                }
                found += 1;
            }
            assert_eq!((found, files.segment_summary().summary.tail), (count, tail), "{what}");
        });
    });
}
