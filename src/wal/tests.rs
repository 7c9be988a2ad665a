//! Whole logs: written, cut at every byte, flipped at every bit, forged, gone on with, and written onto bad disks.

use std::path::Path;

use drillfold_kernel::event::Event;
use drillfold_kernel::units::{Seq, TimeMs};
use proptest::prelude::*;

use super::record::SUPERSEDED;
use super::record::tests::one_of_each_kind;
use super::*;
use crate::storage::{DiskStorage, Durability, MemoryStorage, Storage as _};

const FILE: &str = "x.wal";

fn header() -> LogHeader {
    LogHeader::first("market_data_stale", 42, Digest256([7; 32]), "0.1.0")
}

fn mark(kind: MarkKind, step_index: u32, name: &str) -> Mark {
    Mark { kind, step_index, name: name.to_string() }
}

/// What a test log is made of.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    Event(Event),
    Mark(Mark),
    Batch(u64),
}

/// One event of each kind with marks and batches between them.
fn parts() -> Vec<Part> {
    let mut parts = vec![Part::Mark(mark(MarkKind::Snapshot, 0, "baseline"))];
    for (place, event) in (0_u64..).zip(one_of_each_kind(5)) {
        if place == 10 {
            parts.push(Part::Mark(mark(MarkKind::Step, 1, "quiet")));
            parts.push(Part::Mark(mark(MarkKind::Trigger, 2, "the feed stops")));
        }
        if place % 16 == 8 {
            parts.push(Part::Batch(place));
        }
        parts.push(Part::Event(event));
    }
    parts.push(Part::Mark(mark(MarkKind::Snapshot, 3, "tripped")));
    parts
}

/// How many events [`parts`] have.
fn event_count() -> u64 {
    one_of_each_kind(5).len() as u64
}

/// How many events the last batch of [`parts`] calls durable.
fn durable_count() -> u64 {
    (0..event_count()).rfind(|place| place % 16 == 8).unwrap()
}

fn at(seq: u64) -> TimeMs {
    TimeMs(1_600_000_000_000 + seq.cast_signed() * 50)
}

fn append(log: &mut LogEncoder, part: &Part) {
    let now = at(log.next_seq().0);
    match part {
        Part::Event(event) => drop(log.event(now, event).unwrap()),
        Part::Mark(mark) => log.mark(now, mark).unwrap(),
        Part::Batch(durable) => log.batch(Seq(*durable)).unwrap(),
    }
}

/// Returns the log of `parts`, and where each of its records ends. The first end is that of the header.
fn encoded(parts: &[Part], sealed: bool) -> (Vec<u8>, Vec<usize>) {
    let mut log = LogEncoder::new(&header()).unwrap();
    let mut ends = vec![log.pending().len()];
    for part in parts {
        append(&mut log, part);
        ends.push(log.pending().len());
    }
    if sealed {
        log.end().unwrap();
        ends.push(log.pending().len());
    }
    assert_eq!(log.size_bytes(), log.pending().len() as u64);
    (log.take_pending(), ends)
}

/// What reading came to.
struct Outcome {
    parts: Vec<Part>,
    end: Result<Summary, ReadError>,
}

fn outcome(bytes: &[u8]) -> Result<Outcome, HeaderError> {
    let mut reader = LogReader::open(FILE, bytes)?;
    let mut parts = Vec::new();
    let end = loop {
        match reader.next_record() {
            Ok(Some(record)) => match record.body {
                RecordBody::Event(event) => parts.push(Part::Event(event.decode().unwrap())),
                RecordBody::Mark(mark) => parts.push(Part::Mark(mark)),
                RecordBody::Batch { durable_seq } => parts.push(Part::Batch(durable_seq.0)),
                RecordBody::Frame(_) | RecordBody::Index(_) | RecordBody::End(_) | RecordBody::Unknown(_) => {}
            },
            Ok(None) => break Ok(reader.summary()),
            Err(error) => {
                assert_eq!(reader.next_record(), Ok(None), "nothing follows an error");
                break Err(error);
            }
        }
    };
    Ok(Outcome { parts, end })
}

#[test]
fn a_log_comes_back_and_is_always_the_same() {
    let parts = parts();
    let (bytes, _) = encoded(&parts, true);
    assert_eq!(bytes, encoded(&parts, true).0);
    let read = outcome(&bytes).unwrap();
    assert_eq!(read.parts, parts);
    let summary = read.end.unwrap();
    assert_eq!(summary.tail, Tail::Clean);
    assert_eq!((summary.event_count, summary.mark_count, summary.unknown_count), (event_count(), 4, 0));
    assert_eq!((summary.next_seq, summary.durable_seq), (Seq(event_count() + 1), Seq(durable_count())));
    assert_eq!(summary.sound_bytes, bytes.len() as u64);
    assert_eq!(summary.end.map(|end| end.event_digest), Some(summary.event_digest));
}

#[test]
fn a_whole_log_is_read_to_events_and_marks() {
    let (bytes, _) = encoded(&parts(), true);
    let log = read_log(FILE, &bytes).unwrap();
    assert_eq!(log.header, header());
    let events: Vec<Event> = log.entries.iter().map(|entry| entry.event.clone()).collect();
    assert_eq!(events, one_of_each_kind(5));
    assert!((1..).zip(&log.entries).all(|(seq, entry)| entry.seq == Seq(seq) && entry.at == at(seq)));
    let marks: Vec<(u64, &str)> = log.marks.iter().map(|mark| (mark.seq.0, mark.mark.name.as_str())).collect();
    let last = event_count() + 1;
    assert_eq!(marks, [(1, "baseline"), (11, "quiet"), (11, "the feed stops"), (last, "tripped")]);
}

#[test]
fn marks_and_batches_change_no_number_and_no_digest() {
    let bare: Vec<Part> = parts().into_iter().filter(|part| matches!(part, Part::Event(_))).collect();
    let with = outcome(&encoded(&parts(), true).0).unwrap().end.unwrap();
    let without = outcome(&encoded(&bare, true).0).unwrap().end.unwrap();
    assert_eq!((with.next_seq, with.event_digest), (without.next_seq, without.event_digest));
}

#[test]
fn every_cut_opens_to_exactly_the_whole_records_before_it() {
    let parts = parts();
    for sealed in [true, false] {
        let (bytes, ends) = encoded(&parts, sealed);
        for cut in 0..bytes.len() {
            let Ok(read) = outcome(&bytes[..cut]) else {
                assert!(cut < ends[0], "cut {cut}");
                continue;
            };
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            assert_eq!(read.parts, parts[..whole], "cut {cut}");
            let summary = read.end.unwrap();
            assert_eq!(summary.sound_bytes, ends[whole] as u64, "cut {cut}");
            assert_eq!(summary.end, None, "cut {cut}");
            match summary.tail {
                Tail::Clean => assert_eq!(ends[whole], cut),
                Tail::Torn { offset, bytes, .. } => {
                    assert_eq!((offset, offset + bytes), (ends[whole] as u64, cut as u64))
                }
                Tail::Zeroed { .. } => assert!(bytes[ends[whole]..cut].iter().all(|byte| *byte == 0), "cut {cut}"),
            }
        }
    }
}

#[test]
fn every_cut_with_a_zeroed_tail_keeps_the_whole_records_before_it() {
    let parts = parts();
    let (bytes, ends) = encoded(&parts, false);
    for cut in ends[0]..bytes.len() {
        let mut zeroed = bytes.clone();
        zeroed[cut..].fill(0);
        // Where only zeros were lost, nothing was.
        let same = zeroed.iter().zip(&bytes).take_while(|(zeroed, whole)| zeroed == whole).count();
        let read = outcome(&zeroed).unwrap();
        let whole = ends.iter().filter(|end| **end <= same).count() - 1;
        assert_eq!(read.parts, parts[..whole], "cut {cut}");
        let summary = read.end.unwrap();
        assert_eq!(summary.sound_bytes, ends[whole] as u64, "cut {cut}");
        assert_eq!(
            matches!(summary.tail, Tail::Zeroed { .. }),
            zeroed[ends[whole]..].iter().all(|byte| *byte == 0),
            "cut {cut}"
        );
    }
}

#[test]
fn every_flip_is_seen_and_never_gives_a_wrong_event() {
    let parts = parts();
    let durable_count = durable_count();
    for sealed in [true, false] {
        let (sound, ends) = encoded(&parts, sealed);
        let last_start = ends[ends.len() - 2];
        for bit in 0..sound.len() * 8 {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(read) = outcome(&bytes) else {
                assert!(bit / 8 < ends[0], "bit {bit}");
                continue;
            };
            let whole = ends.iter().filter(|end| **end <= bit / 8).count() - 1;
            assert_eq!(read.parts, parts[..whole], "bit {bit}");
            // The last batch says it of so many events; the end says it of all.
            let next_seq = 1 + parts[..whole].iter().filter(|part| matches!(part, Part::Event(_))).count() as u64;
            let was_durable = bit / 8 < last_start && (sealed || next_seq <= durable_count);
            match read.end {
                Ok(summary) => {
                    assert!(!was_durable, "bit {bit} is no torn tail");
                    assert!(matches!(summary.tail, Tail::Torn { .. }) && summary.end.is_none(), "bit {bit}");
                }
                Err(error) => {
                    assert!(was_durable, "bit {bit}: {error}");
                    assert_eq!(error.offset, ends[whole] as u64);
                    assert!(matches!(error.fault, ReadFault::Corrupt { .. }), "bit {bit}: {error}");
                }
            }
        }
    }
}

#[test]
fn corruption_names_file_place_and_number() {
    let (mut bytes, ends) = encoded(&parts(), true);
    bytes[ends[5] + 30] ^= 1;
    let error = outcome(&bytes).unwrap().end.unwrap_err();
    let place = format!("x.wal: byte {}, before event 5: corrupt: checksum ", ends[5]);
    assert!(error.to_string().starts_with(&place), "{error}");
    assert!(error.to_string().ends_with(&format!("but a sound record follows at byte {}", ends[6])), "{error}");
}

#[test]
fn a_record_that_is_missing_doubled_or_moved_is_seen() {
    let (bytes, ends) = encoded(&parts(), true);
    let record = |index: usize| bytes[ends[index - 1]..ends[index]].to_vec();
    let splice = |order: &[usize]| {
        let mut spliced = bytes[..ends[0]].to_vec();
        order.iter().for_each(|index| spliced.extend(record(*index)));
        outcome(&spliced).unwrap().end
    };
    // Record 1 is a mark; events 1, 2, 3 are the records 2, 3, 4.
    assert!(splice(&[1, 2, 3, 4]).is_ok());
    let gap = |result: Result<Summary, ReadError>| match result.unwrap_err().fault {
        ReadFault::SequenceGap { found } => found,
        other => panic!("{other}"),
    };
    assert_eq!(gap(splice(&[1, 2, 4])), 3);
    assert_eq!(gap(splice(&[1, 2, 2, 3])), 1);
    assert_eq!(gap(splice(&[2, 1, 3])), 1);
    assert_eq!(gap(splice(&[1, 3, 2, 4])), 2);
    // A mark takes no number, so only the end of a sealed log misses it.
    let all: Vec<usize> = (2..ends.len()).collect();
    let fault = splice(&all).unwrap_err().fault;
    assert!(matches!(fault, ReadFault::Malformed { record: "end", .. }), "{fault}");
}

/// Appends a frame by hand to the log of `parts`, unsealed.
fn with_frame(parts: &[Part], header: FrameHeader, payload: &[u8]) -> Result<Summary, ReadFault> {
    let (mut bytes, _) = encoded(parts, false);
    encode_frame(&header, payload, &mut bytes).unwrap();
    outcome(&bytes).unwrap().end.map_err(|error| error.fault)
}

#[test]
fn what_a_newer_build_writes_is_skipped_only_where_it_may_be() {
    let frame = |kind, version| FrameHeader { kind, version, seq: 1, time_ms: 0 };
    for (kind, version) in [(0x8002, 1), (0xffff, 9), (0x8001, 2)] {
        let summary = with_frame(&[], frame(kind, version), b"?").unwrap();
        assert_eq!((summary.unknown_count, summary.mark_count, summary.next_seq), (1, 0, Seq(1)));
    }
    for (kind, version) in [(0x7000, 1), (0x7003, 2), (0x7fff, 1)] {
        let refused = with_frame(&[], frame(kind, version), b"?").unwrap_err();
        assert_eq!(refused, ReadFault::UnknownRecord { kind, version });
    }
    // An event of a newer build can be looked at, but not decoded.
    assert_eq!(with_frame_decoded(frame(0x6fff, 1)), RecordError::UnknownKind { kind: 0x6fff });
    assert_eq!(with_frame_decoded(frame(3, 2)), RecordError::UnknownVersion { event: "LoopTicked", version: 2 });
}

fn with_frame_decoded(frame: FrameHeader) -> RecordError {
    let (mut bytes, ends) = encoded(&[], false);
    encode_frame(&frame, b"", &mut bytes).unwrap();
    match read_log(FILE, &bytes).unwrap_err() {
        LogError::Decode { offset, seq: Seq(1), fault, .. } => {
            assert_eq!(offset, ends[0] as u64);
            fault
        }
        other => panic!("{other}"),
    }
}

#[test]
fn control_records_with_a_sound_checksum_are_not_believed() {
    let (count, next) = (event_count(), event_count() + 1);
    let frame = |kind| FrameHeader { kind, version: 1, seq: next, time_ms: 0 };
    let all = parts();
    let batch = |seq: u64| with_frame(&all, frame(0x7001), &seq.to_le_bytes());
    assert_eq!(batch(count).unwrap().durable_seq, Seq(count));
    for wrong in [next, durable_count() - 1, u64::MAX] {
        assert!(matches!(batch(wrong), Err(ReadFault::Malformed { record: "batch", .. })), "{wrong}");
    }
    let (bytes, ends) = encoded(&all, false);
    let index = |seq: u64, at_max: TimeMs, offset: usize| {
        let payload = [seq.to_le_bytes(), at_max.0.to_le_bytes(), (offset as u64).to_le_bytes()].concat();
        with_frame(&all, frame(0x7002), &payload)
    };
    // Record 1 is a mark, so event 3 starts where record 3 ends.
    index(3, at(3), ends[3]).unwrap();
    for (seq, at_max, offset) in
        [(4, at(9), ends[3]), (3, at(2), ends[3]), (1, at(9), ends[0]), (3, at(9), bytes.len()), (3, at(9), usize::MAX)]
    {
        let refused = index(seq, at_max, offset);
        assert!(matches!(refused, Err(ReadFault::Malformed { record: "index", .. })), "{refused:?}");
    }
    let sound = outcome(&bytes).unwrap().end.unwrap();
    let end = |change: fn(&mut End)| {
        let mut end = End {
            event_count: count,
            mark_count: 4,
            offset: bytes.len() as u64,
            index_offset: 0,
            event_digest: sound.event_digest,
        };
        change(&mut end);
        let mut payload = Vec::new();
        for number in [end.event_count, end.mark_count, end.offset, end.index_offset] {
            payload.extend_from_slice(&number.to_le_bytes());
        }
        payload.extend_from_slice(&end.event_digest.0);
        with_frame(&all, frame(0x7003), &payload)
    };
    assert!(end(|_| {}).unwrap().end.is_some());
    let wrongs: [fn(&mut End); 5] = [
        |end| end.event_count += 1,
        |end| end.mark_count = 3,
        |end| end.offset += 1,
        |end| end.index_offset = 1,
        |end| end.event_digest.0[15] ^= 1,
    ];
    for wrong in wrongs {
        let refused = end(wrong);
        assert!(matches!(refused, Err(ReadFault::Malformed { record: "end", .. })), "{refused:?}");
    }
}

#[test]
fn nothing_may_follow_the_end() {
    let (sealed, _) = encoded(&parts(), true);
    for behind in [&b"x"[..], b"\0x", &[[0; 4096], [1; 4096]].concat()] {
        let error = outcome(&[&sealed, behind].concat()).unwrap().end.unwrap_err();
        assert_eq!(error.fault, ReadFault::BehindEnd { bytes: behind.len() as u64 });
    }
    // A crash while a log is sealed leaves the space that was allocated and not cut off yet.
    for zeros in [1, 4096] {
        let summary = outcome(&[&sealed[..], &vec![0; zeros]].concat()).unwrap().end.unwrap();
        assert_eq!(summary.tail, Tail::Zeroed { offset: sealed.len() as u64, bytes: zeros as u64 });
        assert!(summary.end.is_some());
    }
    let mut log = LogEncoder::new(&header()).unwrap();
    log.end().unwrap();
    assert!(matches!(log.event(at(1), &Event::LoopTicked), Err(AppendError::Sealed)));
    assert!(matches!(log.mark(at(1), &mark(MarkKind::Step, 0, "")), Err(AppendError::Sealed)));
    assert!(matches!(log.batch(Seq(0)), Err(AppendError::Sealed)));
    assert!(matches!(log.end(), Err(AppendError::Sealed)));
}

#[test]
fn what_no_reader_accepts_is_not_written() {
    let mut log = LogEncoder::new(&header()).unwrap();
    log.event(at(1), &Event::LoopTicked).unwrap();
    let size_bytes = log.size_bytes();
    for durable in [2, 3, u64::MAX] {
        assert!(matches!(log.batch(Seq(durable)), Err(AppendError::OutOfOrder { .. })));
    }
    let long = mark(MarkKind::Step, 0, &"x".repeat(MARK_NAME_SIZE_BYTES_MAX + 1));
    assert!(matches!(log.mark(at(1), &long), Err(AppendError::TextTooLong { .. })));
    let control = RecordType { kind: 0x7001, version: 1 };
    assert!(matches!(log.raw_event(at(1), control, b""), Err(AppendError::NotAnEventKind { .. })));
    let zero = RecordType { kind: 0, version: 1 };
    assert!(matches!(log.raw_event(at(1), zero, b""), Err(AppendError::Frame(FrameFault::KindZero))));
    assert_eq!((log.size_bytes(), log.next_seq()), (size_bytes, Seq(2)));
}

#[test]
fn an_index_leads_to_its_events() {
    let mut log = LogEncoder::new(&header()).unwrap();
    for seq in 1..=3000 {
        log.event(at(seq), &Event::LoopTicked).unwrap();
    }
    let end = log.end().unwrap();
    let bytes = log.take_pending();
    // A frame without payload is 28 bytes, and the index has the events 1025 and 2049.
    let start = bytes.len() - 76 - (28 + 2 * 24) - 3000 * 28;
    assert_eq!(end.index_offset, (start + 3000 * 28) as u64);
    let records: Vec<_> = LogReader::open(FILE, &bytes).unwrap().map(Result::unwrap).collect();
    let RecordBody::Index(entries) = &records[3000].body else { panic!("{:?}", records[3000]) };
    let expected =
        [1025, 2049].map(|seq| IndexEntry { seq: Seq(seq), at_max: at(seq), offset: (start as u64) + (seq - 1) * 28 });
    assert_eq!(entries, &expected);
}

/// A search by time would pass over events, so a verifier compares every entry with the events themselves.
#[test]
fn a_time_in_an_index_is_that_of_its_events() {
    let mut log = LogEncoder::new(&header()).unwrap();
    // The greatest time is seldom that of the event an entry names.
    let late = |seq: u64| TimeMs(at(seq).0 - if seq % 1024 == 1 { 7_000 } else { 0 });
    for seq in 1..=3000 {
        log.event(late(seq), &Event::LoopTicked).unwrap();
    }
    let index_offset = log.end().unwrap().index_offset;
    let bytes = log.take_pending();
    let place = index_offset as usize;
    let index = decode_frame(&bytes[place..]).unwrap();
    let verified = |change: i64| {
        let mut payload = index.payload.to_vec();
        let at_max = i64::from_le_bytes(payload[32..40].try_into().unwrap());
        assert_eq!(at_max, at(2048).0);
        payload[32..40].copy_from_slice(&(at_max + change).to_le_bytes());
        let (mut log, mut frame) = (bytes[..place].to_vec(), Vec::new());
        encode_frame(&index.header, &payload, &mut frame).unwrap();
        log.extend_from_slice(&frame);
        log.extend_from_slice(&bytes[log.len()..]);
        let memory = MemoryStorage::new();
        memory.replace(Path::new(FILE), &log).unwrap();
        let [mapped, positional] = [Access::Mapped, Access::Positional]
            .map(|access| verify_log(&memory, Path::new(FILE), access).unwrap().findings);
        assert_eq!(mapped, positional);
        mapped
    };
    assert_eq!(verified(0), []);
    for change in [-1, 1] {
        let [finding] = &verified(change)[..] else { panic!("one entry is wrong") };
        assert_eq!((finding.kind, finding.offset, finding.seq), (FindingKind::Corruption, index_offset, Seq(2049)));
        assert!(finding.message.contains("greatest time"), "{}", finding.message);
    }
}

#[test]
fn a_tick_takes_no_more_than_a_frame() {
    let mut log = LogEncoder::new(&header()).unwrap();
    let before = log.size_bytes();
    log.event(at(1), &Event::LoopTicked).unwrap();
    assert_eq!(log.size_bytes() - before, FRAME_HEADER_SIZE_BYTES as u64);
}

#[test]
fn a_log_of_another_schema_can_be_verified_but_not_decoded() {
    let mut other = header();
    other.event_schema = Digest128([9; 16]);
    let mut log = LogEncoder::new(&other).unwrap();
    log.event(at(1), &Event::LoopTicked).unwrap();
    log.end().unwrap();
    let bytes = log.take_pending();
    assert!(outcome(&bytes).unwrap().end.is_ok());
    let error = read_log(FILE, &bytes).unwrap_err();
    assert!(
        matches!(&error, LogError::Header(header) if matches!(header.fault, HeaderFault::UnknownEventSchema { .. }))
    );
    assert!(error.to_string().contains("use the build that wrote it"), "{error}");
}

#[test]
fn a_log_gone_on_with_has_the_same_bytes() {
    let parts = parts();
    let (whole, ends) = encoded(&parts, true);
    for stop in 0..=parts.len() {
        let mut resumed = LogEncoder::resume(FILE, &whole[..ends[stop]]).unwrap();
        parts[stop..].iter().for_each(|part| append(&mut resumed, part));
        resumed.end().unwrap();
        assert_eq!(resumed.take_pending(), whole[ends[stop]..], "after {stop} parts");
    }
}

#[test]
fn a_log_that_ends_otherwise_is_not_gone_on_with() {
    let (sealed, ends) = encoded(&parts(), true);
    let refused = |bytes: &[u8]| LogEncoder::resume(FILE, bytes).unwrap_err();
    assert!(matches!(refused(&sealed), ResumeError::Sealed { .. }));
    assert!(matches!(refused(&sealed[..ends[3] + 5]), ResumeError::Tail { bytes: 5, .. }));
    let zeroed = [&sealed[..ends[3]], &[0; 7]].concat();
    assert!(matches!(refused(&zeroed), ResumeError::Tail { bytes: 7, .. }));
    assert!(matches!(refused(&sealed[..ends[0] - 1]), ResumeError::Header(_)));
    let mut damaged = sealed.clone();
    damaged[ends[3]] ^= 1;
    assert!(matches!(refused(&damaged), ResumeError::Read(_)));
}

/// The log of format version 1 with every kind of event and record, and its events as JSON Lines.
const FORMAT_V1: [&str; 2] = ["format_v1_every_kind.wal", "format_v1_every_kind.jsonl"];

/// Event digest of that log. Like its files it was written down once and never changes.
const FORMAT_V1_EVENT_DIGEST: &str = "c90f057fe2623bf4fa2b069ad8b5e801";

fn wal_logs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("wal-logs")
}

fn events_as_lines(bytes: &[u8]) -> String {
    let line = |entry: &LogEntry| {
        let (seq, at_ms) = (entry.seq.0, entry.at.0);
        serde_json::json!({ "seq": seq, "at_ms": at_ms, "event": entry.event }).to_string() + "\n"
    };
    read_log(FORMAT_V1[0], bytes).unwrap().entries.iter().take(81).map(line).collect()
}

/// Reads a line of that log as this build has it: with what version 1 of a proposal meant.
fn upgraded(line: &str) -> serde_json::Value {
    let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
    let group = ["/event/GroupProposed", "/event/ReplaceProposed/replacement"]
        .into_iter()
        .find(|place| line.pointer(place).is_some())
        .and_then(|place| line.pointer_mut(place)?.as_object_mut());
    if let Some(group) = group {
        let net = group.remove("net_edge_usd_cents").unwrap();
        let edge = serde_json::json!({ "gross_usd_cents": net, "fee_usd_cents": 0, "slippage_usd_cents": 0 });
        group.insert("edge".to_string(), edge);
        for leg in group["legs"].as_array_mut().unwrap() {
            leg["order_type"] = "Limit".into();
            leg["linked"] = false.into();
            leg["post_only"] = false.into();
            leg["contracts"] = serde_json::Value::Null;
        }
    }
    line
}

/// If this fails, logs written by released builds are no longer read as they were written.
#[test]
fn the_log_of_format_1_reads_as_it_was_written() {
    let disk = DiskStorage::new(Durability::Unsynced);
    let [log, lines] = FORMAT_V1.map(|name| disk.read(&wal_logs().join(name)).unwrap());
    let lines = String::from_utf8(lines).unwrap();
    let found: Vec<serde_json::Value> =
        events_as_lines(&log).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found, lines.lines().map(upgraded).collect::<Vec<_>>());
    let mut kinds = std::collections::BTreeSet::new();
    let (mut marks, mut batches, mut unknown, mut entries) = (0, 0, 0, 0);
    let mut reader = LogReader::open(FORMAT_V1[0], &log).unwrap();
    while let Some(record) = reader.next_record().unwrap() {
        match record.body {
            RecordBody::Event(event) => {
                kinds.insert(event.record_type);
                // What has no newer version is still written as it was.
                if !SUPERSEDED.contains(&event.record_type) {
                    let mut payload = Vec::new();
                    let found = encode_event(&decode_event(event.record_type, event.payload).unwrap(), &mut payload);
                    assert_eq!((found.unwrap(), &payload[..]), (event.record_type, event.payload));
                }
            }
            RecordBody::Mark(_) => marks += 1,
            RecordBody::Batch { .. } => batches += 1,
            RecordBody::Frame(_) => panic!("no feed was live then"),
            RecordBody::Unknown(_) => unknown += 1,
            RecordBody::Index(index) => entries += index.len(),
            RecordBody::End(end) => assert_eq!(end.event_digest.to_string(), FORMAT_V1_EVENT_DIGEST),
        }
    }
    let summary = reader.summary();
    assert_eq!((summary.event_count, kinds.len(), marks, batches, unknown, entries), (1100, 40, 4, 3, 1, 1));
    assert_eq!((summary.tail, summary.end.is_some()), (Tail::Clean, true));
    assert_eq!(summary.event_digest.to_string(), FORMAT_V1_EVENT_DIGEST);
}

proptest! {
    #[test]
    fn prop_any_bytes_behind_a_header_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (header, _) = encoded(&[], false);
        let read = outcome(&[header, bytes].concat()).unwrap();
        prop_assert_eq!(read.parts, vec![]);
    }

    #[test]
    fn prop_any_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_log(FILE, &bytes);
        let _ = Trace::read("x.trace", &bytes);
    }

    #[test]
    fn prop_damage_of_any_kind_gives_a_prefix(
        place in any::<prop::sample::Index>(), damage in prop::collection::vec(any::<u8>(), 1..200), insert: bool,
    ) {
        let parts = parts();
        let (mut bytes, ends) = encoded(&parts, true);
        let place = place.index(bytes.len());
        if insert {
            bytes.splice(place..place, damage);
        } else {
            let end = (place + damage.len()).min(bytes.len());
            bytes[place..end].copy_from_slice(&damage[..end - place]);
        }
        if let Ok(read) = outcome(&bytes) {
            prop_assert!(read.parts.len() <= parts.len());
            prop_assert_eq!(&read.parts[..], &parts[..read.parts.len()]);
        } else {
            prop_assert!(place < ends[0]);
        }
    }
}
