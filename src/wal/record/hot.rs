//! The payloads of the events that come by the thousand, written without the way over mirror types.
//!
//! Mirroring a book's change allocates its lists once more, which costs more than everything else about it. The bytes
//! are those of the archive, by the table of archived forms in specs/log-format.md, section Events; a property test
//! compares them with what rkyv writes. What a `Vec` points to lies in front of the record, in the order of its fields:
//!
//! ```text
//!   BookChanged     bids | asks | instrument u16, prev change id u64, change id u64, bids, asks
//!   TradesReceived  trades | instrument u16, trades
//!   TickerReceived  instrument u16, six times Option<i64>
//! ```

use drillfold_kernel::event::{BookChange, Event, Level, PublicTrade, Ticker};
use drillfold_kernel::units::{InstrumentId, Ppm, Price, Side};

use super::super::error::RecordError;
use super::super::frame::PAYLOAD_SIZE_BYTES_MAX;
use super::{RecordType, schema};

const BOOK_CHANGED: RecordType = RecordType { kind: 19, version: 1 };
const TRADES_RECEIVED: RecordType = RecordType { kind: 20, version: 1 };
const TICKER_RECEIVED: RecordType = RecordType { kind: 21, version: 1 };

const LEVEL_SIZE_BYTES: usize = 16;
const TRADE_SIZE_BYTES: usize = 33;

/// Size of what a `Vec` leaves in its record: offset i32, count u32.
const LIST_SIZE_BYTES: usize = 8;

const BOOK_CHANGE_SIZE_BYTES: usize = 18 + 2 * LIST_SIZE_BYTES;
const TRADES_SIZE_BYTES: usize = 2 + LIST_SIZE_BYTES;
const OPTION_SIZE_BYTES: usize = 9;
const TICKER_SIZE_BYTES: usize = 2 + 6 * OPTION_SIZE_BYTES;

/// Archives `event` into `payload`, whose old content is dropped, and returns its record type.
///
/// # Errors
///
/// [`RecordError::NotArchived`]; then `payload` is empty.
pub(super) fn encode(event: &Event, payload: &mut Vec<u8>) -> Result<RecordType, RecordError> {
    match event {
        Event::BookChanged(change) => {
            let size_bytes = (change.bids.len() + change.asks.len()) * LEVEL_SIZE_BYTES + BOOK_CHANGE_SIZE_BYTES;
            begin(payload, "BookChanged", size_bytes)?;
            book_change(change, payload);
            Ok(BOOK_CHANGED)
        }
        Event::TradesReceived { instrument, trades } => {
            begin(payload, "TradesReceived", trades.len() * TRADE_SIZE_BYTES + TRADES_SIZE_BYTES)?;
            received_trades(*instrument, trades, payload);
            Ok(TRADES_RECEIVED)
        }
        Event::TickerReceived(received) => {
            begin(payload, "TickerReceived", TICKER_SIZE_BYTES)?;
            payload.extend_from_slice(&ticker(received));
            Ok(TICKER_RECEIVED)
        }
        other => schema::encode(other, payload),
    }
}

/// Empties `payload` and makes room for an archive of `size_bytes`, if it is not too large.
fn begin(payload: &mut Vec<u8>, event: &'static str, size_bytes: usize) -> Result<(), RecordError> {
    payload.clear();
    if size_bytes > PAYLOAD_SIZE_BYTES_MAX {
        return Err(RecordError::NotArchived { event });
    }
    payload.reserve(size_bytes);
    Ok(())
}

fn book_change(change: &BookChange, payload: &mut Vec<u8>) {
    let BookChange { instrument, prev_change_id, change_id, bids, asks } = change;
    levels(bids, payload);
    let asks_place = payload.len();
    levels(asks, payload);
    let place = payload.len();
    let mut record = [0; BOOK_CHANGE_SIZE_BYTES];
    record[..2].copy_from_slice(&instrument.0.to_le_bytes());
    record[2..10].copy_from_slice(&prev_change_id.to_le_bytes());
    record[10..18].copy_from_slice(&change_id.to_le_bytes());
    record[18..26].copy_from_slice(&list(place + 18, 0, bids.len()));
    record[26..].copy_from_slice(&list(place + 26, asks_place, asks.len()));
    payload.extend_from_slice(&record);
}

fn levels(levels: &[Level], payload: &mut Vec<u8>) {
    for Level { price, qty } in levels {
        let mut bytes = [0; LEVEL_SIZE_BYTES];
        bytes[..8].copy_from_slice(&price.0.to_le_bytes());
        bytes[8..].copy_from_slice(&qty.0.to_le_bytes());
        payload.extend_from_slice(&bytes);
    }
}

fn received_trades(instrument: InstrumentId, trades: &[PublicTrade], payload: &mut Vec<u8>) {
    for PublicTrade { trade_id, trade_seq, price, qty, side } in trades {
        let mut bytes = [0; TRADE_SIZE_BYTES];
        bytes[..8].copy_from_slice(&trade_id.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&trade_seq.to_le_bytes());
        bytes[16..24].copy_from_slice(&price.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&qty.0.to_le_bytes());
        bytes[32] = match side {
            Side::Buy => 0,
            Side::Sell => 1,
        };
        payload.extend_from_slice(&bytes);
    }
    let place = payload.len();
    payload.extend_from_slice(&instrument.0.to_le_bytes());
    payload.extend_from_slice(&list(place + 2, 0, trades.len()));
}

fn ticker(ticker: &Ticker) -> [u8; TICKER_SIZE_BYTES] {
    let Ticker { instrument, best_bid, best_ask, mark, index, last, delta } = ticker;
    let mut record = [0; TICKER_SIZE_BYTES];
    let (head, values) = record.split_at_mut(2);
    head.copy_from_slice(&instrument.0.to_le_bytes());
    let price = |price: &Option<Price>| price.map(|price| price.0);
    let delta = delta.map(|Ppm(delta)| delta);
    let all = [price(best_bid), price(best_ask), price(mark), price(index), price(last), delta];
    for (place, value) in values.chunks_exact_mut(OPTION_SIZE_BYTES).zip(all) {
        if let Some(value) = value {
            place[0] = 1;
            place[1..].copy_from_slice(&value.to_le_bytes());
        }
    }
    record
}

/// A `Vec`'s part of its record: it lies at `place` and its `count` elements begin at `elements`, which is not behind.
fn list(place: usize, elements: usize, count: usize) -> [u8; LIST_SIZE_BYTES] {
    // Both numbers are below the largest payload, so nothing is cut off.
    let back = (place - elements) as i32;
    let mut bytes = [0; LIST_SIZE_BYTES];
    bytes[..4].copy_from_slice(&(-back).to_le_bytes());
    bytes[4..].copy_from_slice(&(count as u32).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use drillfold_kernel::units::{Qty, TradeId};
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(event: &Event) {
        let (mut found, mut expected) = (b"what was there before".to_vec(), Vec::new());
        let found_type = encode(event, &mut found).unwrap();
        let expected_type = schema::encode(event, &mut expected).unwrap();
        assert_eq!((found_type, found), (expected_type, expected), "{event:?}");
    }

    fn any_levels() -> impl Strategy<Value = Vec<Level>> {
        let level = |(price, qty)| Level { price: Price(price), qty: Qty(qty) };
        prop::collection::vec(any::<(i64, i64)>().prop_map(level), 0..6)
    }

    fn any_trade() -> impl Strategy<Value = PublicTrade> {
        any::<(u64, u64, i64, i64, bool)>().prop_map(|(trade_id, trade_seq, price, qty, buys)| PublicTrade {
            trade_id: TradeId(trade_id),
            trade_seq,
            price: Price(price),
            qty: Qty(qty),
            side: if buys { Side::Buy } else { Side::Sell },
        })
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_written() {
        let level = Level { price: Price(1), qty: Qty(1) };
        let change = |count| {
            let bids = vec![level; count];
            let instrument = InstrumentId(1);
            Event::BookChanged(BookChange { instrument, prev_change_id: 1, change_id: 2, bids, asks: Vec::new() })
        };
        let fits = (PAYLOAD_SIZE_BYTES_MAX - BOOK_CHANGE_SIZE_BYTES) / LEVEL_SIZE_BYTES;
        check(&change(fits));
        let mut payload = Vec::new();
        assert!(matches!(encode(&change(fits + 1), &mut payload), Err(RecordError::NotArchived { .. })));
        assert!(payload.is_empty() && payload.capacity() == 0);
    }

    proptest! {
        #[test]
        fn prop_the_bytes_are_those_of_the_archive(
            instrument: u16, prev_change_id: u64, change_id: u64, bids in any_levels(), asks in any_levels(),
            trades in prop::collection::vec(any_trade(), 0..6), prices: [Option<i64>; 5], delta: Option<i64>,
        ) {
            let instrument = InstrumentId(instrument);
            check(&Event::BookChanged(BookChange { instrument, prev_change_id, change_id, bids, asks }));
            check(&Event::TradesReceived { instrument, trades });
            let [best_bid, best_ask, mark, index, last] = prices.map(|price| price.map(Price));
            let delta = delta.map(Ppm);
            check(&Event::TickerReceived(Ticker { instrument, best_bid, best_ask, mark, index, last, delta }));
        }
    }
}
