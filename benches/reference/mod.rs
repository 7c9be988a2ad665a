//! What one would write by hand: the reference that reading a log is measured against.
//!
//! A file of frames (length u32, CRC-32C u32, payload, zeros up to a multiple of eight) whose payloads are rkyv archives
//! of a record with an event of eight kinds, 116 bytes a frame. Reading it maps the file, checks each checksum, has each
//! archive checked, and folds the event into a small state: the order of sequence numbers, the continuity of each
//! instrument's book, a latch, a mode, position and fees, and a rolling hash over all of it.

use std::error::Error;
use std::path::Path;

use drillfold::storage::{DiskStorage, Storage};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rkyv::rancor::Failure;
use rkyv::{Archive, Serialize};

const HEAD_SIZE_BYTES: usize = 8;
const INSTRUMENT_COUNT: usize = 32;
const STALE_MAX: u32 = 3;

#[derive(Archive, Serialize)]
struct Record {
    seq: u64,
    venue_time_ns: u64,
    time_ns: u64,
    source: u16,
    event: Kind,
}

#[derive(Archive, Serialize)]
struct Rung {
    price: i64,
    qty: i64,
}

#[derive(Archive, Serialize)]
enum Kind {
    Snapshot { instrument: u32, change_id: u64, bid: Rung, ask: Rung },
    Change { instrument: u32, prev_change_id: u64, change_id: u64, bids: bool, levels: Vec<Rung> },
    Trade { instrument: u32, trade_id: u64, price: i64, qty: i64, buys: bool },
    Acknowledged { order_id: u64, client_id: [u8; 16], price: i64, qty: i64, status: u8 },
    Filled { order_id: u64, trade_id: u64, price: i64, qty: i64, fee: i64, maker: bool },
    Sampled { input: u16, value: i64, age_ms: u32, valid: bool },
    Latched { set: bool, code: u16, reason: String },
    Heartbeat { session: u64, connected: bool, lag_us: u32 },
}

/// The folded state.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct State {
    seq: u64,
    last_time_ns: u64,
    change_ids: [u64; INSTRUMENT_COUNT],
    tops: [i64; INSTRUMENT_COUNT],
    gaps: u64,
    latched: Option<u16>,
    disconnected: bool,
    stale: u32,
    position: i64,
    fees: i64,
    mode: u8,
    transitions: u64,
    hash: u64,
}

impl State {
    fn fold(&mut self, record: &ArchivedRecord) {
        let kind = match &record.event {
            ArchivedKind::Snapshot { instrument, change_id, bid, .. } => {
                let place = place(instrument.to_native());
                self.change_ids[place] = change_id.to_native();
                self.tops[place] = bid.price.to_native();
                0
            }
            ArchivedKind::Change { instrument, prev_change_id, change_id, levels, .. } => {
                let place = place(instrument.to_native());
                self.gaps += u64::from(self.change_ids[place] != prev_change_id.to_native());
                self.change_ids[place] = change_id.to_native();
                for level in levels.iter() {
                    self.tops[place] = self.tops[place].max(level.price.to_native()) ^ (level.qty.to_native() & 1);
                }
                1
            }
            ArchivedKind::Trade { instrument, price, .. } => {
                self.tops[place(instrument.to_native())] = price.to_native();
                2
            }
            ArchivedKind::Acknowledged { status, .. } => 3 + u64::from(*status),
            ArchivedKind::Filled { qty, fee, maker, .. } => {
                let qty = qty.to_native();
                self.position += if *maker { qty } else { -qty };
                self.fees += fee.to_native();
                4
            }
            ArchivedKind::Sampled { age_ms, valid, .. } => {
                let fresh = *valid && age_ms.to_native() <= 5_000;
                self.stale = if fresh { self.stale.saturating_sub(1) } else { self.stale + 1 };
                5
            }
            ArchivedKind::Latched { set, code, .. } => {
                self.latched = set.then_some(code.to_native());
                6
            }
            ArchivedKind::Heartbeat { connected, .. } => {
                self.disconnected = !connected;
                7
            }
        };
        let seq = record.seq.to_native();
        self.gaps += u64::from(seq != self.seq + 1);
        self.seq = seq;
        self.last_time_ns = self.last_time_ns.max(record.time_ns.to_native());
        let mode = match self.latched {
            Some(_) => 2,
            None => u8::from(self.disconnected || self.stale > STALE_MAX),
        };
        self.transitions += u64::from(mode != self.mode);
        self.mode = mode;
        let mixed = self.hash ^ seq ^ (kind << 56) ^ (u64::from(mode) << 48) ^ self.position.cast_unsigned();
        self.hash = mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
}

fn place(instrument: u32) -> usize {
    instrument as usize % INSTRUMENT_COUNT
}

/// Writes `count` records made from a fixed seed and returns the file's size in bytes.
///
/// # Errors
/// What the storage or the archive refuses.
pub fn write(disk: &DiskStorage, path: &Path, count: u64) -> Result<u64, Box<dyn Error>> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut change_ids = [0; INSTRUMENT_COUNT];
    let mut time_ns = 1_800_000_000_000_000_000;
    let mut file = Vec::new();
    for seq in 1..=count {
        time_ns += u64::from(random.next_u32()) >> 12;
        let event = made(&mut random, &mut change_ids, seq);
        let record = Record { seq, venue_time_ns: time_ns - 500, time_ns, source: 1, event };
        let payload = rkyv::to_bytes::<Failure>(&record)?;
        file.extend_from_slice(&u32::try_from(payload.len())?.to_le_bytes());
        file.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
        file.extend_from_slice(&payload);
        file.resize(file.len().next_multiple_of(8), 0);
    }
    disk.replace(path, &file)?;
    Ok(file.len() as u64)
}

/// Of a hundred events 2 are snapshots, 63 changes of one to three levels, 15 trades, 7 acknowledgements, 4 fills,
/// 5 samples, 1 a latch, 3 heartbeats.
fn made(random: &mut ChaCha8Rng, change_ids: &mut [u64; INSTRUMENT_COUNT], seq: u64) -> Kind {
    let (kind, bits) = (random.next_u32() % 100, random.next_u32());
    let instrument = bits % INSTRUMENT_COUNT as u32;
    let prev_change_id = change_ids[place(instrument)];
    let price = 5_000_000 + i64::from(bits >> 16);
    let qty = 1 + i64::from(bits >> 20);
    let flag = bits & 64 != 0;
    match kind {
        0..2 => {
            change_ids[place(instrument)] += 1;
            let ask = Rung { price: price + 5, qty };
            Kind::Snapshot { instrument, change_id: prev_change_id + 1, bid: Rung { price, qty }, ask }
        }
        2..65 => {
            let change_id = prev_change_id + 1 + u64::from(bits >> 29);
            change_ids[place(instrument)] = change_id;
            let levels = (0..=i64::from((bits >> 8) % 3)).map(|step| Rung { price: price + step, qty: qty + step });
            Kind::Change { instrument, prev_change_id, change_id, bids: flag, levels: levels.collect() }
        }
        65..80 => Kind::Trade { instrument, trade_id: seq * 3, price, qty, buys: flag },
        80..87 => Kind::Acknowledged { order_id: seq, client_id: [7; 16], price, qty, status: (bits % 8) as u8 },
        87..91 => Kind::Filled { order_id: seq, trade_id: seq, price, qty, fee: qty / 100, maker: flag },
        91..96 => Kind::Sampled { input: 3, value: price, age_ms: bits % 5_100, valid: bits % 61 != 0 },
        96 => Kind::Latched { set: bits.is_multiple_of(16), code: 4, reason: "RECONCILE_PENDING"[..10].to_owned() },
        _ => Kind::Heartbeat { session: seq, connected: bits % 31 != 0, lag_us: bits >> 16 },
    }
}

/// Reads the file and folds it.
///
/// # Errors
/// Damage of the file.
pub fn read(disk: &DiskStorage, path: &Path) -> Result<State, Box<dyn Error>> {
    let mapping = disk.open_read(path)?.map()?;
    let mut rest: &[u8] = &mapping;
    let mut state = State::default();
    while let Some(head) = rest.first_chunk::<HEAD_SIZE_BYTES>() {
        let [a, b, c, d, e, f, g, h] = *head;
        let size_bytes = u32::from_le_bytes([a, b, c, d]) as usize;
        let payload = rest.get(HEAD_SIZE_BYTES..HEAD_SIZE_BYTES + size_bytes).ok_or("a frame is cut off")?;
        if crc32c::crc32c(payload) != u32::from_le_bytes([e, f, g, h]) {
            return Err("a checksum is wrong".into());
        }
        state.fold(rkyv::access::<ArchivedRecord, Failure>(payload)?);
        rest = rest.get(HEAD_SIZE_BYTES + size_bytes.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok(state)
}
