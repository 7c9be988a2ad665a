//! Writes the inputs that fuzzing starts from into `corpus/`, a folder a target: small logs, sealed and not, with batches,
//! marks and an index, each once with its checksums kept and once with them put right after each mutation; frames of the
//! venue.

use std::{fs, path::Path};

use drillfold_fuzz::wal::{
    Digest256, FrameHeader, LogEncoder, LogHeader, LogReader, Mark, MarkKind, RecordBody, encode_frame,
};
use drillfold_kernel::{
    event::Event,
    units::{Seq, TimeMs},
};

fn main() -> std::io::Result<()> {
    let format = fs::read("../wal-logs/format_v1_every_kind.wal")?;
    let mut seeds = vec![with_index(), with_zeros()];
    seeds.extend((0..4).map(|part| part_of(&format, part)));
    for target in ["read_log", "repair_log", "resume_log"] {
        let folder = Path::new("corpus").join(target);
        fs::create_dir_all(&folder)?;
        for (number, seed) in seeds.iter().enumerate() {
            for mode in [0, 1] {
                fs::write(folder.join(format!("seed_{number}_{mode}")), [&[mode][..], seed].concat())?;
            }
        }
    }
    frames()
}

/// Frames that a venue really sent, one of each kind and size, and small recordings of them.
fn frames() -> std::io::Result<()> {
    const TRADES: &str = r#"{"method":"subscription","params":{"channel":"trades.BTC-PERPETUAL.raw","data":[{"trade_seq":30289432,"trade_id":"ETH-48079254","price":8954.5,"instrument_name":"BTC-PERPETUAL","direction":"sell","amount":2e1}]}}"#;
    const TEST_REQUEST: &str = r#"{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}"#;
    const REFUSAL: &str = r#"{"jsonrpc":"2.0","id":7,"error":{"code":10028,"message":"too_many_requests"}}"#;
    let folder = Path::new("corpus/frame");
    fs::create_dir_all(folder)?;
    let recording = fs::read_to_string("../scenarios/feeds/deribit-2021-04-05.txt")?;
    let lines: Vec<&str> = recording.lines().collect();
    for (number, line) in lines.iter().enumerate().filter(|(number, line)| number % 20 < 4 || line.len() > 4_000) {
        let frame = line.split_once(": ").map_or(*line, |(_, frame)| frame);
        fs::write(folder.join(format!("frame_{number}")), frame)?;
    }
    for (number, frame) in [TRADES, TEST_REQUEST, REFUSAL].into_iter().enumerate() {
        fs::write(folder.join(format!("other_{number}")), frame)?;
        fs::write(folder.join(format!("json_line_{number}")), format!("{{\"time\": 1.5, \"frame\": {frame}}}\n"))?;
    }
    for (number, part) in lines.chunks(3).take(20).enumerate() {
        fs::write(folder.join(format!("recording_{number}")), part.join("\n"))?;
    }
    Ok(())
}

fn header() -> LogHeader {
    LogHeader::first("fuzz", 1, Digest256::default(), "0")
}

/// A sealed log of few events with an index, which an encoder would write for many events only.
fn with_index() -> Vec<u8> {
    let mut log = LogEncoder::new(&header()).expect("the header is right");
    let mut entries = Vec::new();
    for seq in 1..=40_u64 {
        if seq % 8 == 0 {
            entries.extend_from_slice(&seq.to_le_bytes());
            entries.extend_from_slice(&seq.to_le_bytes());
            entries.extend_from_slice(&log.size_bytes().to_le_bytes());
        }
        log.event(TimeMs(seq as i64), &Event::LoopTicked).expect("it fits");
    }
    let digest = log.event_digest();
    let mut bytes = log.take_pending();
    let frame = |kind| FrameHeader { kind, version: 1, seq: 41, time_ms: 40 };
    let index_offset = bytes.len() as u64;
    encode_frame(&frame(0x7002), &entries, &mut bytes).expect("it fits");
    let mut end = Vec::new();
    for number in [40, 0, bytes.len() as u64, index_offset] {
        end.extend_from_slice(&number.to_le_bytes());
    }
    end.extend_from_slice(&digest.0);
    encode_frame(&frame(0x7003), &end, &mut bytes).expect("it fits");
    bytes
}

fn with_zeros() -> Vec<u8> {
    let mut bytes = with_index();
    bytes.truncate(900);
    bytes.resize(1500, 0);
    bytes
}

/// Every fourth event of a log, in batches of four; the parts with even numbers are sealed.
fn part_of(format: &[u8], part: usize) -> Vec<u8> {
    let mut log = LogEncoder::new(&header()).expect("the header is right");
    let events = LogReader::open("format", format).expect("it is a log").map_while(Result::ok);
    let raw = events.filter_map(|record| if let RecordBody::Event(raw) = record.body { Some(raw) } else { None });
    for (place, raw) in raw.take(80).enumerate().filter(|(place, _)| place % 4 == part) {
        let seq = log.next_seq().0;
        if seq % 4 == 1 {
            log.batch(Seq(seq - 1)).expect("all before were durable");
            let mark = Mark { kind: MarkKind::Step, step_index: 1, name: "a step".to_owned() };
            log.mark(TimeMs(place as i64), &mark).expect("it fits");
        }
        log.raw_event(TimeMs(place as i64), raw.record_type, raw.payload).expect("it fits");
    }
    if part % 2 == 0 {
        log.end().expect("it ends");
    }
    log.take_pending()
}
