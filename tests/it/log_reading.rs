//! Logs in their files: segments, seeking, following, events looked at where they lie.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use drillfold::{
    storage::{DiskStorage, Durability, MemoryStorage, Storage},
    wal::{
        Access, AtCorruption, Digests, DurabilityPolicy, EventView, HeaderFault, LogEncoder, LogFileError, LogFiles,
        LogReader, LogWriter, Polled, ReadFault, ReadOptions, RecordBody, Tail, WriterOptions, repair_log,
        segment_path, verify_log,
    },
};
use drillfold_kernel::{
    event::Event,
    units::{Seq, TimeMs},
};

use crate::log_rig::{at, event, header, in_batches, in_segments};

const BOTH: [Access; 2] = [Access::Mapped, Access::Positional];

fn options(access: Access) -> ReadOptions {
    ReadOptions { digests: Digests::Check, access }
}

/// Reads on to the end and returns the numbers of the events; each must be the one that was written.
#[track_caller]
fn numbers(files: &mut LogFiles<'_>) -> Vec<u64> {
    let mut seqs = Vec::new();
    while let Some(record) = files.next_record().unwrap_or_else(|error| panic!("{error}")) {
        if let RecordBody::Event(raw) = record.body {
            assert_eq!(raw.decode().expect("it decodes"), event(record.seq.0));
            assert_eq!(record.at, at(record.seq.0));
            seqs.push(record.seq.0);
        }
    }
    seqs
}

#[test]
fn segments_lie_beside_the_log() {
    for (segment, expected) in
        [(0, "a/x.wal"), (1, "a/x.00001.wal"), (12345, "a/x.12345.wal"), (123_456, "a/x.123456.wal")]
    {
        assert_eq!(segment_path(Path::new("a/x.wal"), segment), PathBuf::from(expected));
    }
    assert_eq!(segment_path(Path::new("x"), 2), PathBuf::from("x.00002"));
}

#[test]
fn a_log_in_segments_reads_as_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("x.wal");
    let disk = DiskStorage::new(Durability::Unsynced);
    for sealed in [false, true] {
        let paths = in_segments(&disk, &log, 5000, 1300, sealed);
        for access in BOTH {
            let mut files = LogFiles::open(&disk, &log, options(access)).expect("it opens");
            assert_eq!(files.segment_count(), paths.len());
            assert_eq!(numbers(&mut files), (1..=5000).collect::<Vec<u64>>());
            assert!(matches!(files.next_record(), Ok(None)), "the end stays the end");
            let summaries = files.segment_summaries();
            assert_eq!(summaries.iter().map(|segment| segment.summary.event_count).sum::<u64>(), 5000);
            assert_eq!(summaries.last().is_some_and(|last| last.summary.end.is_some()), sealed);
            let verified = verify_log(&disk, &log, access).expect("it can be checked");
            assert!(verified.is_sound(), "{verified:?}");
        }
    }
}

#[test]
fn every_number_and_every_time_is_found() {
    let log = Path::new("x.wal");
    for (segment_events, sealed) in [(1300, true), (1300, false), (5000, true), (5000, false)] {
        let memory = MemoryStorage::new();
        in_segments(&memory, log, 5000, segment_events, sealed);
        for access in BOTH {
            let mut files = LogFiles::open(&memory, log, options(access)).expect("it opens");
            let telling = [0, 1, 2, 101, 1024, 1025, 1026, 1300, 1301, 2324, 2600, 2601, 3901, 4999, 5000];
            for seq in telling.into_iter().chain((1..5000).step_by(377)) {
                assert!(files.seek_seq(Seq(seq)).expect("it is sound"), "{seq}");
                let record = files.next_record().expect("it is sound").expect("there is a record");
                assert_eq!(record.seq, Seq(seq.max(1)), "{seq}");
                if seq % 100 == 1 && seq != 1301 && seq != 2601 && seq != 3901 && seq > 1 {
                    assert!(matches!(record.body, RecordBody::Mark(_)), "{seq}: what stands before the event is kept");
                }
                let behind = numbers(&mut files);
                assert!(seq == 5000 || behind.last() == Some(&5000), "{seq}");
                // The first event whose time reaches this one's; every hundredth comes late.
                let expected = (1..=5000).find(|other| at(*other) >= at(seq)).map(Seq);
                assert_eq!(files.seek_time(at(seq)).expect("it is sound"), expected, "{seq}");
            }
            assert_eq!(files.seek_time(TimeMs(i64::MIN)).expect("it is sound"), Some(Seq(1)));
            assert_eq!(numbers(&mut files).len(), 5000);
            assert_eq!(files.seek_time(at(5001)).expect("it is sound"), None);
            assert!(files.seek_seq(Seq(5001)).expect("it is sound"), "the next one to be written");
            assert!(!files.seek_seq(Seq(5002)).expect("it is sound"));
            assert!(matches!(files.next_record(), Ok(None)));
        }
    }
}

#[test]
fn segments_that_do_not_fit_are_named() {
    let log = Path::new("x.wal");
    let sound = || {
        let memory = MemoryStorage::new();
        in_segments(&memory, log, 300, 100, true);
        memory
    };
    let second = segment_path(log, 1);
    let read_all = |memory: &MemoryStorage| {
        let mut files = LogFiles::open(memory, log, options(Access::Mapped)).expect("segment 0 opens");
        loop {
            match files.next_record() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("nothing was wrong"),
                Err(error) => {
                    assert!(matches!(files.next_record(), Ok(None)), "nothing follows an error");
                    return (files.next_seq(), error);
                }
            }
        }
    };
    let refused_header = |memory: &MemoryStorage, field: &str| {
        let (next_seq, error) = read_all(memory);
        assert_eq!(next_seq, Seq(101));
        let LogFileError::Header(error) = error else { panic!("{error}") };
        assert!(matches!(&error.fault, HeaderFault::OtherSegment { field: of, .. } if *of == field), "{error}");
        let verified = verify_log(memory, log, Access::Mapped).expect("it can be checked");
        assert!(!verified.is_sound());
    };
    // Another log's segment, a missing one, one twice.
    let memory = sound();
    let mut other = header();
    (other.segment, other.first_seq) = (1, Seq(101));
    memory.replace(&second, &LogEncoder::new(&other).expect("it is right").take_pending()).expect("it is taken");
    refused_header(&memory, "previous digest");
    let memory = sound();
    (other.first_seq, other.previous_digest) = (Seq(102), header().event_schema);
    memory.replace(&second, &LogEncoder::new(&other).expect("it is right").take_pending()).expect("it is taken");
    refused_header(&memory, "first sequence number");
    let memory = sound();
    let third = memory.read(&segment_path(log, 2)).expect("it is there");
    memory.replace(&second, &third).expect("it is taken");
    refused_header(&memory, "segment number");
    // A segment that lost its end, with others behind it.
    let memory = sound();
    let first = memory.read(log).expect("it is there");
    memory.replace(log, &first[..first.len() - 76]).expect("it is taken");
    let LogFileError::Read(error) = read_all(&memory).1 else { panic!("it is damage") };
    assert_eq!(error.fault, ReadFault::NotSealed { segment: 1 });
    let verified = verify_log(&memory, log, Access::Positional).expect("it can be checked");
    assert_eq!((verified.finding_count, verified.segments.len()), (1, 3), "{verified:?}");
}

#[test]
fn a_segment_that_was_only_begun_counts_as_absent() {
    let log = Path::new("x.wal");
    let third = segment_path(log, 2);
    for begun in [&b""[..], b"\x93dfwal\r\n\x01", &[0; 8192]] {
        let memory = MemoryStorage::new();
        in_segments(&memory, log, 200, 100, true);
        memory.replace(&third, begun).expect("it is taken");
        let mut files = LogFiles::open(&memory, log, options(Access::Mapped)).expect("it opens");
        assert_eq!(files.unfinished_segment(), Some(third.as_path()));
        assert_eq!(numbers(&mut files).len(), 200);
        let verified = verify_log(&memory, log, Access::Mapped).expect("it can be checked");
        assert!(verified.is_sound() && verified.unfinished.is_some(), "{verified:?}");
    }
}

#[test]
fn a_repair_puts_the_segments_into_one_file() {
    let memory = MemoryStorage::new();
    let log = Path::new("x.wal");
    let paths = in_segments(&memory, log, 350, 100, false);
    let mut last = memory.read(&paths[3]).expect("it is there");
    last.truncate(last.len() - 5);
    memory.replace(&paths[3], &last).expect("it is taken");
    let done = repair_log(&memory, log, Path::new("y.wal"), AtCorruption::Refuse).expect("a torn tail is cut");
    assert_eq!((done.end.event_count, done.cut.map(|cut| cut.next_seq)), (349, Some(Seq(350))));
    let mut files = LogFiles::open(&memory, Path::new("y.wal"), options(Access::Mapped)).expect("it opens");
    assert_eq!(numbers(&mut files), (1..=349).collect::<Vec<u64>>());
    assert!(verify_log(&memory, Path::new("y.wal"), Access::Mapped).expect("it can be checked").is_sound());
}

/// Polls until there is nothing new and returns the numbers of the events that came.
#[track_caller]
fn polled(files: &mut LogFiles<'_>) -> Vec<u64> {
    let mut seqs = Vec::new();
    loop {
        match files.poll().unwrap_or_else(|error| panic!("{error}")) {
            Polled::Record(record) => {
                if let RecordBody::Event(raw) = record.body {
                    assert_eq!(raw.decode().expect("it decodes"), event(record.seq.0));
                    seqs.push(record.seq.0);
                }
            }
            Polled::NothingNew => return seqs,
        }
    }
}

#[test]
fn a_log_can_be_followed_while_every_byte_of_it_comes() {
    let log = Path::new("x.wal");
    let built = in_batches(60, 8, false);
    for allocated in [false, true] {
        let memory = MemoryStorage::new();
        memory.replace(log, &built.bytes[..built.ends[0]]).expect("it is taken");
        let mut seen = 0;
        for written in built.ends[0]..=built.bytes.len() {
            // A file that is replaced is another file; a new reader stands for one that sees it grow.
            let mut bytes = built.bytes[..written].to_vec();
            if allocated {
                bytes.resize(built.bytes.len() + 4096, 0);
            }
            memory.replace(log, &bytes).expect("it is taken");
            if written % 97 == 0 || written == built.bytes.len() {
                let mut files = LogFiles::open(&memory, log, options(Access::Mapped)).expect("it opens");
                let found = polled(&mut files);
                assert!(found.len() >= seen && polled(&mut files).is_empty(), "{written}");
                seen = found.len();
            }
        }
        assert_eq!(seen, 60);
    }
}

#[test]
fn a_log_can_be_followed_from_segment_to_segment() {
    let memory = MemoryStorage::new();
    let log = Path::new("x.wal");
    let mut header = header();
    let mut encoder = LogEncoder::new(&header).expect("the header is right");
    let mut file = memory.create_new(log).expect("it is new");
    let append = |encoder: &mut LogEncoder, pieces: usize| {
        let bytes = encoder.take_pending();
        bytes.chunks(bytes.len().div_ceil(pieces)).map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    for piece in append(&mut encoder, 1) {
        file.append(&piece).expect("memory takes it");
    }
    let mut files = LogFiles::open(&memory, log, options(Access::Mapped)).expect("it opens");
    assert!(polled(&mut files).is_empty());
    let mut seen = Vec::new();
    for segment in 0..3_u64 {
        for seq in segment * 40 + 1..=segment * 40 + 40 {
            encoder.batch(Seq(seq - 1)).expect("all before were durable");
            encoder.event(at(seq), &event(seq)).expect("it fits");
            // Every record comes in pieces, with a look at each.
            for piece in append(&mut encoder, 5) {
                file.append(&piece).expect("memory takes it");
                seen.extend(polled(&mut files));
            }
            assert_eq!(seen.last(), Some(&seq));
        }
        header.previous_digest = encoder.end().expect("it ends").event_digest;
        for piece in append(&mut encoder, 3) {
            file.append(&piece).expect("memory takes it");
            assert!(polled(&mut files).is_empty());
        }
        header.segment += 1;
        header.first_seq = encoder.next_seq();
        encoder = LogEncoder::new(&header).expect("the header is right");
        file = memory.create_new(&segment_path(log, header.segment)).expect("it is new");
        for piece in append(&mut encoder, 4) {
            assert!(polled(&mut files).is_empty());
            file.append(&piece).expect("memory takes it");
        }
    }
    assert_eq!(seen, (1..=120).collect::<Vec<u64>>());
}

#[test]
fn a_look_finds_whatever_was_written_before_it() {
    let log = Path::new("x.wal");
    for (segment_size_bytes, preallocate_bytes) in [(u64::MAX, 0), (u64::MAX, 500), (900, 0), (900, 900)] {
        let memory = MemoryStorage::new();
        let policy = DurabilityPolicy::EveryEvent;
        let small = WriterOptions { segment_size_bytes, preallocate_bytes, ..WriterOptions::single_file(policy) };
        let mut writer = LogWriter::create(Arc::new(memory.clone()), log, &header(), small).expect("nothing is there");
        let mut files = LogFiles::open(&memory, log, options(Access::Mapped)).expect("it opens");
        for seq in 1..=100 {
            writer.event(at(seq), &event(seq)).expect("memory takes it");
            // The reader never comes to rest in between, so what it has at hand is older than the event.
            while match files.poll().expect("it is sound") {
                Polled::Record(record) => !matches!(record.body, RecordBody::Event(_)),
                Polled::NothingNew => panic!("{segment_size_bytes}, {preallocate_bytes}: event {seq} is durable"),
            } {}
            assert_eq!(files.next_seq(), Seq(seq + 1));
        }
    }
}

#[test]
fn following_stops_at_proven_corruption() {
    let memory = MemoryStorage::new();
    let log = Path::new("x.wal");
    let built = in_batches(60, 8, false);
    let mut bytes = built.bytes.clone();
    bytes[built.ends[10] + 5] ^= 1;
    memory.replace(log, &bytes).expect("it is taken");
    let mut files = LogFiles::open(&memory, log, options(Access::Mapped)).expect("it opens");
    let error = loop {
        match files.poll() {
            Ok(Polled::Record(_)) => {}
            Ok(Polled::NothingNew) => panic!("a later batch says that it was durable"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("corrupt"), "{error}");
}

#[test]
fn events_are_looked_at_where_they_lie() {
    let built = in_batches(200, 16, true);
    let mut event_into = Event::LoopTicked;
    let mut viewed = 0;
    // Payloads start at any address.
    for shift in 0..8 {
        let mut shifted = vec![0xaa; shift];
        shifted.extend_from_slice(&built.bytes);
        let reader = LogReader::open("x.wal", &shifted[shift..]).expect("it opens");
        for record in reader.map(|record| record.expect("it is sound")) {
            let RecordBody::Event(raw) = record.body else { continue };
            let expected = raw.decode().expect("it decodes");
            raw.decode_into(&mut event_into).expect("it decodes");
            assert_eq!(event_into, expected);
            match (raw.view().expect("it is well formed"), expected) {
                (EventView::BookChanged(view), Event::BookChanged(change)) => {
                    assert_eq!(view.instrument(), change.instrument);
                    assert_eq!((view.prev_change_id(), view.change_id()), (change.prev_change_id, change.change_id));
                    assert_eq!(view.bids().collect::<Vec<_>>(), change.bids);
                    assert_eq!(view.asks().collect::<Vec<_>>(), change.asks);
                    viewed += 1;
                }
                (EventView::TradesReceived(view), Event::TradesReceived { instrument, trades }) => {
                    assert_eq!(view.instrument(), instrument);
                    assert_eq!(view.trades().collect::<Vec<_>>(), trades);
                    viewed += 1;
                }
                (EventView::TickerReceived(view), Event::TickerReceived(ticker)) => {
                    assert_eq!(view.ticker(), ticker);
                    viewed += 1;
                }
                (EventView::Other(record_type), _) => assert_eq!(record_type, raw.record_type),
                (view, event) => panic!("{view:?} is not {event:?}"),
            }
        }
    }
    assert!(viewed > 800, "{viewed}");
}

#[test]
fn a_torn_tail_in_a_file_is_reported_as_in_bytes() {
    let memory = MemoryStorage::new();
    let log = Path::new("x.wal");
    let built = in_batches(60, 8, false);
    let cut = built.bytes.len() - 3;
    memory.replace(log, &built.bytes[..cut]).expect("it is taken");
    let verified = verify_log(&memory, log, Access::Mapped).expect("it can be checked");
    assert_eq!((verified.finding_count, verified.findings[0].kind.name()), (1, "torn_tail"));
    let mut files = LogFiles::open(&memory, log, options(Access::Mapped)).expect("it opens");
    assert_eq!(numbers(&mut files).len(), 59);
    assert!(matches!(files.segment_summary().summary.tail, Tail::Torn { .. }));
}
