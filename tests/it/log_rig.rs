//! Logs for the tests of reading and recovery, as a writer of files would write them: in batches.

use std::path::{Path, PathBuf};

use drillfold::storage::Storage;
use drillfold::wal::{Digest256, LogEncoder, LogHeader, Mark, MarkKind, segment_path};
use drillfold_kernel::{
    event::{BookChange, Event, Level, PublicTrade, Ticker},
    units::{InstrumentId, Ppm, Price, Qty, Seq, Side, TimeMs, TradeId},
};

/// A log with what is known about its bytes.
pub struct BuiltLog {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Where each record ends; the first end is that of the header.
    pub ends: Vec<usize>,
    /// Where each batch begins and ends, in order. What is written with the header comes before the first.
    pub batches: Vec<(usize, usize)>,
    /// The events, in order.
    pub events: Vec<Event>,
}

/// Returns an event that looks like live traffic; each number has its own.
pub fn event(seq: u64) -> Event {
    let level = |at: i64| Level { price: Price(50_000_000_000_000 + at), qty: Qty(10_000_000_000 * at) };
    let (instrument, step) = (InstrumentId((seq % 3) as u16), seq.cast_signed());
    match seq % 8 {
        0 => Event::TickerReceived(Ticker {
            instrument,
            best_bid: Some(Price(step)),
            best_ask: None,
            mark: Some(Price(-step)),
            index: Some(Price(i64::MAX)),
            last: None,
            delta: Some(Ppm(7)),
        }),
        1 | 4 => Event::TradesReceived {
            instrument,
            trades: (0..1 + seq % 3)
                .map(|place| PublicTrade {
                    trade_id: TradeId(seq * 10 + place),
                    trade_seq: seq + place,
                    price: Price(step),
                    qty: Qty(step * 3),
                    side: if place == 0 { Side::Buy } else { Side::Sell },
                })
                .collect(),
        },
        2 => Event::LoopTicked,
        3 => Event::TokenReported { subsystem: format!("host {seq}"), token: "A token, unchecked".to_owned() },
        _ => Event::BookChanged(BookChange {
            instrument,
            prev_change_id: seq,
            change_id: seq + 1,
            bids: (0..step % 5).map(level).collect(),
            asks: (0..step % 4).map(level).collect(),
        }),
    }
}

/// Returns the time of an event: each hundredth comes late.
pub fn at(seq: u64) -> TimeMs {
    let late = if seq.is_multiple_of(100) { 40 } else { 0 };
    TimeMs(1_600_000_000_000 + seq.cast_signed() * 10 - late)
}

/// Returns a header for test logs.
pub fn header() -> LogHeader {
    LogHeader::first("market_data_stale", 42, Digest256([7; 32]), "0.1.0")
}

/// Returns a log of `event_count` events in batches of `batch_events`.
///
/// The header and a first batch record are made durable before anything else, so that damage to the first events is
/// known to be damage to events that were not.
pub fn in_batches(event_count: u64, batch_events: u64, sealed: bool) -> BuiltLog {
    let mut log = LogEncoder::new(&header()).expect("the header is right");
    let mut ends = vec![log.pending().len()];
    log.batch(Seq(0)).expect("nothing was durable");
    ends.push(log.pending().len());
    let (mut batches, mut events) = (Vec::new(), Vec::new());
    for first in (1..=event_count).step_by(usize::try_from(batch_events).expect("it is small")) {
        let start = log.pending().len();
        log.batch(Seq(first - 1)).expect("all before were durable");
        ends.push(log.pending().len());
        for seq in first..(first + batch_events).min(event_count + 1) {
            if seq % 50 == 7 {
                let mark = Mark { kind: MarkKind::Step, step_index: 1, name: format!("step {seq}") };
                log.mark(at(seq), &mark).expect("the name is short");
                ends.push(log.pending().len());
            }
            log.event(at(seq), &event(seq)).expect("the event fits");
            ends.push(log.pending().len());
            events.push(event(seq));
        }
        batches.push((start, log.pending().len()));
    }
    if sealed {
        let end = log.end().expect("the log ends");
        if end.index_offset != 0 {
            ends.push(usize::try_from(end.offset).expect("it is small"));
        }
        ends.push(log.pending().len());
    }
    BuiltLog { bytes: log.take_pending(), ends, batches, events }
}

/// Writes a log of `event_count` events in sealed segments of `segment_events` into a storage; the last one is sealed if
/// `sealed`. Returns where the segments lie.
pub fn in_segments(
    storage: &dyn Storage,
    log: &Path,
    event_count: u64,
    segment_events: u64,
    sealed: bool,
) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let mut header = header();
    let mut first = 1;
    while first <= event_count {
        header.first_seq = Seq(first);
        let mut encoder = LogEncoder::new(&header).expect("the header is right");
        let last = (first + segment_events - 1).min(event_count);
        encoder.batch(Seq(first - 1)).expect("all before were durable");
        for seq in first..=last {
            if seq % 100 == 1 {
                let mark = Mark { kind: MarkKind::Step, step_index: 1, name: format!("before {seq}") };
                encoder.mark(at(seq), &mark).expect("the name is short");
            }
            encoder.event(at(seq), &event(seq)).expect("the event fits");
        }
        if last < event_count || sealed {
            header.previous_digest = encoder.end().expect("the segment ends").event_digest;
        }
        let path = segment_path(log, header.segment);
        storage.replace(&path, &encoder.take_pending()).expect("the storage takes it");
        paths.push(path);
        header.segment += 1;
        first = last + 1;
    }
    paths
}

impl BuiltLog {
    /// Returns how many records lie whole in the first `size_bytes` bytes, and how many events are among them.
    pub fn whole(&self, size_bytes: usize) -> usize {
        self.ends.partition_point(|end| *end <= size_bytes).saturating_sub(1)
    }
}
