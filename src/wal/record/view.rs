//! The frequent events, looked at where they lie, and decoded into memory that is there already.

use drillfold_kernel::event::{BookChange, BookDelta, Event, Level, PublicTrade, Ticker};
use drillfold_kernel::units::{InstrumentId, Price, Qty, Side, TradeId};
use rkyv::Archived;
use rkyv::option::ArchivedOption;
use rkyv::rend::unaligned::i64_ule;

use super::mirror::access;
use super::schema::{
    BookChangeV1, BookChangedV1, LevelV1, PublicTradeV1, SideV1, TickerReceivedV1, TickerV1, TradesReceivedV1,
};
use super::{RecordType, decode_event};
use crate::wal::error::RecordError;

const BOOK_CHANGED: RecordType = RecordType { kind: 19, version: 1 };
const TRADES_RECEIVED: RecordType = RecordType { kind: 20, version: 1 };
const TICKER_RECEIVED: RecordType = RecordType { kind: 21, version: 1 };

/// An event in its archived form, checked to be well formed.
#[derive(Debug, Clone, Copy)]
pub enum EventView<'a> {
    /// An incremental book message.
    BookChanged(BookChangeView<'a>),
    /// A batch of public trades.
    TradesReceived(TradesView<'a>),
    /// A ticker.
    TickerReceived(TickerView<'a>),
    /// Any other event, not checked: it has to be decoded.
    Other(RecordType),
}

/// A book message in its archived form.
#[derive(Clone, Copy)]
pub struct BookChangeView<'a> {
    archived: &'a Archived<BookChangeV1>,
}

/// A batch of public trades in its archived form.
#[derive(Clone, Copy)]
pub struct TradesView<'a> {
    archived: &'a Archived<TradesReceivedV1>,
}

/// A ticker in its archived form.
#[derive(Clone, Copy)]
pub struct TickerView<'a> {
    archived: &'a Archived<TickerV1>,
}

/// Price levels in their archived form.
#[derive(Clone)]
pub struct LevelsView<'a> {
    levels: std::slice::Iter<'a, Archived<LevelV1>>,
}

impl<'a> BookChangeView<'a> {
    /// Returns the instrument.
    pub fn instrument(&self) -> InstrumentId {
        InstrumentId(self.archived.instrument.to_native())
    }

    /// Returns the venue's number of the state this one follows.
    pub fn prev_change_id(&self) -> u64 {
        self.archived.prev_change_id.to_native()
    }

    /// Returns the venue's number of the new state.
    pub fn change_id(&self) -> u64 {
        self.archived.change_id.to_native()
    }

    /// Returns the changed bids, in the order of the message.
    pub fn bids(&self) -> LevelsView<'a> {
        LevelsView { levels: self.archived.bids.iter() }
    }

    /// Returns the changed asks, in the order of the message.
    pub fn asks(&self) -> LevelsView<'a> {
        LevelsView { levels: self.archived.asks.iter() }
    }

    /// Overwrites `change`, whose memory is used again.
    fn copy_to(&self, change: &mut BookChange) {
        let BookChange { instrument, prev_change_id, change_id, bids, asks } = change;
        *instrument = self.instrument();
        *prev_change_id = self.prev_change_id();
        *change_id = self.change_id();
        bids.clear();
        bids.extend(self.bids());
        asks.clear();
        asks.extend(self.asks());
    }
}

impl BookDelta for BookChangeView<'_> {
    fn instrument(&self) -> InstrumentId {
        BookChangeView::instrument(self)
    }

    fn prev_change_id(&self) -> u64 {
        BookChangeView::prev_change_id(self)
    }

    fn change_id(&self) -> u64 {
        BookChangeView::change_id(self)
    }

    fn bids(&self) -> impl Iterator<Item = Level> {
        BookChangeView::bids(self)
    }

    fn asks(&self) -> impl Iterator<Item = Level> {
        BookChangeView::asks(self)
    }
}

impl<'a> TradesView<'a> {
    /// Returns the instrument that all of them concern.
    pub fn instrument(&self) -> InstrumentId {
        InstrumentId(self.archived.instrument.to_native())
    }

    /// Returns the trades in the order of the message.
    pub fn trades(&self) -> impl ExactSizeIterator<Item = PublicTrade> + 'a {
        self.archived.trades.iter().map(trade)
    }
}

impl TickerView<'_> {
    /// Returns all of it; a ticker has a fixed size and is copied as a whole.
    pub fn ticker(&self) -> Ticker {
        let archived = self.archived;
        Ticker {
            instrument: InstrumentId(archived.instrument.to_native()),
            best_bid: number(&archived.best_bid).map(Price),
            best_ask: number(&archived.best_ask).map(Price),
            mark: number(&archived.mark).map(Price),
            index: number(&archived.index).map(Price),
            last: number(&archived.last).map(Price),
            delta: number(&archived.delta).map(drillfold_kernel::units::Ppm),
        }
    }
}

impl Iterator for LevelsView<'_> {
    type Item = Level;

    fn next(&mut self) -> Option<Level> {
        self.levels.next().map(|level| Level { price: Price(level.price.to_native()), qty: Qty(level.qty.to_native()) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.levels.size_hint()
    }
}

impl ExactSizeIterator for LevelsView<'_> {}

impl std::fmt::Debug for LevelsView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl std::fmt::Debug for BookChangeView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BookChangeView")
            .field("instrument", &self.instrument())
            .field("change_id", &self.change_id())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for TradesView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TradesView")
            .field("instrument", &self.instrument())
            .field("trades", &self.trades().len())
            .finish()
    }
}

impl std::fmt::Debug for TickerView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TickerView").field(&self.ticker()).finish()
    }
}

/// Checks that a payload is well formed and returns it as it lies, for the frequent events.
pub(in crate::wal) fn view_event(record_type: RecordType, payload: &[u8]) -> Result<EventView<'_>, RecordError> {
    Ok(match record_type {
        BOOK_CHANGED => {
            let archived = access::<BookChangedV1>("BookChangedV1", payload)?;
            EventView::BookChanged(BookChangeView { archived: &archived.change })
        }
        TRADES_RECEIVED => {
            let archived = access::<TradesReceivedV1>("TradesReceivedV1", payload)?;
            EventView::TradesReceived(TradesView { archived })
        }
        TICKER_RECEIVED => {
            let archived = access::<TickerReceivedV1>("TickerReceivedV1", payload)?;
            EventView::TickerReceived(TickerView { archived: &archived.ticker })
        }
        other => EventView::Other(other),
    })
}

/// Decodes a payload into `event`, whose memory is used again where it has the same kind.
pub(in crate::wal) fn decode_event_into(
    record_type: RecordType,
    payload: &[u8],
    event: &mut Event,
) -> Result<(), RecordError> {
    match view_event(record_type, payload)? {
        EventView::BookChanged(view) => {
            if let Event::BookChanged(change) = event {
                view.copy_to(change);
            } else {
                let instrument = view.instrument();
                let (bids, asks) = (Vec::new(), Vec::new());
                let mut change = BookChange { instrument, prev_change_id: 0, change_id: 0, bids, asks };
                view.copy_to(&mut change);
                *event = Event::BookChanged(change);
            }
        }
        EventView::TradesReceived(view) => {
            if let Event::TradesReceived { instrument, trades } = event {
                *instrument = view.instrument();
                trades.clear();
                trades.extend(view.trades());
            } else {
                *event = Event::TradesReceived { instrument: view.instrument(), trades: view.trades().collect() };
            }
        }
        EventView::TickerReceived(view) => *event = Event::TickerReceived(view.ticker()),
        EventView::Other(_) => *event = decode_event(record_type, payload)?,
    }
    Ok(())
}

fn trade(archived: &Archived<PublicTradeV1>) -> PublicTrade {
    PublicTrade {
        trade_id: TradeId(archived.trade_id.to_native()),
        trade_seq: archived.trade_seq.to_native(),
        price: Price(archived.price.to_native()),
        qty: Qty(archived.qty.to_native()),
        side: match archived.side {
            <SideV1 as rkyv::Archive>::Archived::Buy => Side::Buy,
            <SideV1 as rkyv::Archive>::Archived::Sell => Side::Sell,
        },
    }
}

fn number(archived: &ArchivedOption<i64_ule>) -> Option<i64> {
    archived.as_ref().map(|number| number.to_native())
}
