//! The market of one instrument: a mid price that walks in ticks with levels around it, public trades, references.

use std::collections::VecDeque;

use drillfold_kernel::{
    event::{BookChange, BookSnapshot, InstrumentKind, Level, PublicTrade},
    units::{InstrumentId, Ppm, Price, Qty, Side, TradeId, mul_div},
};

use super::{Book, Draw};

/// Public trades an instrument's market remembers, which is what a question for recent trades gets at most.
pub const RECENT_TRADES_MAX: usize = 100;

/// Basis points in one.
const BPS: i64 = 10_000;

/// Largest public trade in smallest orders.
const TRADE_SIZE_MAX: i64 = 5;

/// One listed instrument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The venue's name.
    pub name: String,
    /// What it is.
    pub kind: InstrumentKind,
    /// Its underlying, such as BTC.
    pub underlying: String,
    /// Smallest price step; positive.
    pub tick_size: Price,
    /// Smallest amount step; positive.
    pub amount_step: Qty,
    /// Smallest order; positive.
    pub min_amount: Qty,
    /// Mid price at the start.
    pub mid: Price,
    /// Amount on each level of the synthetic book.
    pub level_qty: Qty,
    /// Option delta.
    pub delta: Option<Ppm>,
    /// False where book, trades and tickers come from a recording.
    pub synthetic: bool,
}

/// Form of the synthetic books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarketShape {
    /// Levels a side; at least one.
    pub levels: u16,
    /// Largest step of the mid price at a change, in ticks.
    pub walk_ticks: i64,
}

/// How a synthetic market differs from its listing; by default not at all. Source: kernel contract section 2, override.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stress {
    /// The best prices are at least so many basis points of their middle apart.
    pub spread_bps: i64,
    /// The amount on the five best levels of each side together.
    pub depth: Option<Qty>,
    /// The index is so many basis points of the mark above it.
    pub basis_bps: i64,
}

/// Levels of a side over which [`Stress::depth`] is spread.
const STRESSED_LEVELS_MAX: i64 = 5;

/// The market of one instrument.
///
/// `published` is what subscribers can know, `live` what orders are matched against: it lacks what our own orders took
/// since the last change. The next change publishes fresh levels.
#[derive(Clone, Debug)]
pub struct Market {
    id: InstrumentId,
    listing: Listing,
    shape: MarketShape,
    stress: Stress,
    mid_ticks: i64,
    mid_ticks_start: i64,
    published: Book,
    live: Book,
    last_price: Option<Price>,
    trade_seq: u64,
    trades: VecDeque<PublicTrade>,
}

impl Market {
    /// Returns the market at its start; that of a recorded instrument has no book yet.
    #[must_use]
    pub fn new(id: InstrumentId, listing: Listing, shape: MarketShape) -> Self {
        let mid_ticks = listing.mid.0.checked_div(listing.tick_size.0).unwrap_or(0);
        let mut market = Self {
            id,
            listing,
            shape,
            stress: Stress::default(),
            mid_ticks,
            mid_ticks_start: mid_ticks,
            published: Book::default(),
            live: Book::default(),
            last_price: None,
            trade_seq: 0,
            trades: VecDeque::new(),
        };
        if market.listing.synthetic {
            market.mid_ticks = market.within_bounds(mid_ticks);
            market.mid_ticks_start = market.mid_ticks;
            market.published = market.levels(1);
            market.live = market.published.clone();
        }
        market
    }

    /// Returns the listing.
    #[must_use]
    pub const fn listing(&self) -> &Listing {
        &self.listing
    }

    /// Returns the book as published.
    #[must_use]
    pub const fn published(&self) -> &Book {
        &self.published
    }

    /// Returns the book that orders are matched against.
    pub const fn live_mut(&mut self) -> &mut Book {
        &mut self.live
    }

    /// Returns the mid price; that of a recorded instrument is the one listed.
    #[must_use]
    pub fn mid(&self) -> Price {
        if self.listing.synthetic { self.price(self.mid_ticks) } else { self.listing.mid }
    }

    /// Returns how far the mid price has gone since the start.
    #[must_use]
    pub fn drift(&self) -> Price {
        self.price(self.mid_ticks.saturating_sub(self.mid_ticks_start))
    }

    /// Returns the price of the last public trade, before the first one the mid price.
    #[must_use]
    pub fn last_price(&self) -> Price {
        self.last_price.unwrap_or_else(|| self.mid())
    }

    /// Returns the index price under stress; `None` where it follows the underlying.
    #[must_use]
    pub fn stressed_index(&self) -> Option<Price> {
        let bps = self.stress.basis_bps;
        (bps != 0).then(|| self.mid().plus(Price(mul_div(self.mid().0, bps, BPS))))
    }

    /// Puts a synthetic market under stress, from its next change and its next ticker on; true where that is a change.
    pub fn set_stress(&mut self, stress: Stress) -> bool {
        self.listing.synthetic && std::mem::replace(&mut self.stress, stress) != stress
    }

    /// Returns the newest public trades, oldest first, at most [`RECENT_TRADES_MAX`].
    #[must_use]
    pub fn recent_trades(&self) -> Vec<PublicTrade> {
        self.trades.iter().copied().collect()
    }

    /// Moves the mid price by one step of the walk and publishes the levels around it. With a walk of zero ticks the levels
    /// stay and the change is empty, unless our own orders took from them.
    pub fn walk(&mut self, draw: &mut dyn Draw) -> BookChange {
        if self.shape.walk_ticks > 0 {
            // A step of zero would publish nothing and fake a quiet market, so it is not among the steps.
            let step = draw.between(1, self.shape.walk_ticks);
            let up = draw.between(0, 1) == 1;
            let stepped = |up: bool| self.mid_ticks.saturating_add(if up { step } else { step.saturating_neg() });
            let moved = self.within_bounds(stepped(up));
            self.mid_ticks = if moved == self.mid_ticks { self.within_bounds(stepped(!up)) } else { moved };
        }
        let prev_change_id = self.published.change_id().unwrap_or(0);
        let change_id = prev_change_id.saturating_add(1);
        let next = self.levels(change_id);
        let (bids, asks) = self.published.changes_to(&next);
        self.live = next.clone();
        self.published = next;
        BookChange { instrument: self.id, prev_change_id, change_id, bids, asks }
    }

    /// Makes one public trade at the best price of a side that is drawn.
    pub fn trade(&mut self, trade_id: TradeId, draw: &mut dyn Draw) -> PublicTrade {
        let side = if draw.between(0, 1) == 1 { Side::Buy } else { Side::Sell };
        let size = draw.between(1, TRADE_SIZE_MAX);
        let price = self.published.best(side.opposite()).map_or_else(|| self.mid(), |level| level.price);
        let trade = PublicTrade {
            trade_id,
            trade_seq: self.trade_seq.saturating_add(1),
            price,
            qty: Qty(self.listing.min_amount.0.saturating_mul(size)),
            side,
        };
        self.remember(trade);
        trade
    }

    /// Takes a recorded snapshot as the state of the book.
    pub fn take_snapshot(&mut self, snapshot: &BookSnapshot) {
        self.published.replace(snapshot);
        self.live = self.published.clone();
    }

    /// Takes a recorded change. One that does not follow is kept from the book, which waits for the next snapshot.
    pub fn take_change(&mut self, change: &BookChange) {
        if self.published.follow(change) {
            self.live = self.published.clone();
        } else {
            self.published = Book::default();
            self.live = Book::default();
        }
    }

    /// Takes recorded trades.
    pub fn take_trades(&mut self, trades: &[PublicTrade]) {
        for trade in trades {
            self.remember(*trade);
        }
    }

    fn remember(&mut self, trade: PublicTrade) {
        self.trade_seq = trade.trade_seq;
        self.last_price = Some(trade.price);
        self.trades.push_back(trade);
        if self.trades.len() > RECENT_TRADES_MAX {
            self.trades.pop_front();
        }
    }

    /// Keeps every level above zero and the mid price below twice its start.
    fn within_bounds(&self, mid_ticks: i64) -> i64 {
        let first = i64::from(self.shape.levels).saturating_add(1);
        let last = self.mid_ticks_start.saturating_mul(2).max(first);
        mid_ticks.clamp(first, last)
    }

    fn levels(&self, change_id: u64) -> Book {
        let levels = i64::from(self.shape.levels);
        // From half the spread on, and a tick beyond it; every level stays above zero.
        let half = mul_div(self.mid_ticks, self.stress.spread_bps, 2 * BPS).saturating_add(1);
        let nearest =
            if self.stress.spread_bps > 0 { half.min(self.mid_ticks.saturating_sub(levels)).max(1) } else { 1 };
        let qty = match self.stress.depth {
            Some(depth) => Qty(mul_div(depth.0, 1, levels.min(STRESSED_LEVELS_MAX))),
            None => self.listing.level_qty,
        };
        let side = |sign: i64| {
            (nearest..nearest.saturating_add(levels))
                .map(move |away| Level { price: self.price(self.mid_ticks.saturating_add(sign * away)), qty })
        };
        Book::new(change_id, side(-1), side(1))
    }

    fn price(&self, ticks: i64) -> Price {
        Price(ticks.saturating_mul(self.listing.tick_size.0))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Draws what it was given, round and round.
    pub(in crate::exchange) struct Given(pub Vec<i64>, pub usize);

    impl Draw for Given {
        fn between(&mut self, first: i64, last: i64) -> i64 {
            let value = self.0[self.1 % self.0.len()];
            self.1 += 1;
            value.clamp(first, last)
        }
    }

    pub(in crate::exchange) fn listing(synthetic: bool) -> Listing {
        Listing {
            name: "BTC-PERPETUAL".into(),
            kind: InstrumentKind::Perpetual,
            underlying: "BTC".into(),
            tick_size: Price(500),
            amount_step: Qty(10),
            min_amount: Qty(10),
            mid: Price(50_000),
            level_qty: Qty(100),
            delta: None,
            synthetic,
        }
    }

    fn market(levels: u16, walk_ticks: i64) -> Market {
        Market::new(InstrumentId(0), listing(true), MarketShape { levels, walk_ticks })
    }

    #[test]
    fn a_walk_publishes_a_chain_that_leads_to_its_book() {
        let mut market = market(3, 4);
        let mut follower = market.published().clone();
        let mut draw = Given(vec![1, 0, 4, 1, 3, 1, 2, 0], 0);
        for _ in 0..200 {
            let change = market.walk(&mut draw);
            assert!(!change.bids.is_empty() && !change.asks.is_empty());
            assert!(follower.follow(&change));
            assert_eq!(&follower, market.published());
        }
    }

    #[test]
    fn a_walk_stays_above_zero_and_never_stands_still() {
        let mut market = market(5, 3);
        let mut down = Given(vec![3, 0], 0);
        for _ in 0..100 {
            let before = market.mid();
            market.walk(&mut down);
            assert_ne!(market.mid(), before);
            assert!(market.published().snapshot(InstrumentId(0)).unwrap().bids.iter().all(|level| level.price.0 > 0));
        }
    }

    #[test]
    fn a_walk_of_zero_ticks_draws_nothing_and_keeps_the_chain() {
        let mut market = market(2, 0);
        let mut draw = Given(vec![1], 0);
        let change = market.walk(&mut draw);
        assert_eq!((change.prev_change_id, change.change_id, draw.1), (1, 2, 0));
        assert!(change.bids.is_empty() && change.asks.is_empty());
    }

    #[test]
    fn stress_widens_thins_and_lifts_the_index_until_it_ends() {
        let mut market = market(6, 0);
        let mut draw = Given(vec![0], 0);
        let stress = Stress { spread_bps: 750, depth: Some(Qty(250)), basis_bps: 60 };
        assert!(market.set_stress(stress) && !market.set_stress(stress));
        assert_eq!(market.stressed_index(), Some(Price(50_300)));
        let spread = |market: &Market| {
            let best = |side| market.published().best(side).unwrap().price.0;
            best(Side::Sell) - best(Side::Buy)
        };
        market.walk(&mut draw);
        // 750 basis points of 50,000 are 3,750, which 8 ticks reach.
        assert_eq!(spread(&market), 4_000);
        let book = market.published().snapshot(InstrumentId(0)).unwrap();
        assert!(book.bids.len() == 6 && book.bids.iter().chain(&book.asks).all(|level| level.qty == Qty(50)));
        assert!(market.set_stress(Stress::default()));
        market.walk(&mut draw);
        assert_eq!((spread(&market), market.stressed_index()), (1_000, None));
        let mut recorded = Market::new(InstrumentId(0), listing(false), MarketShape { levels: 6, walk_ticks: 0 });
        assert!(!recorded.set_stress(stress));
    }

    #[test]
    fn trades_number_without_gaps_and_the_oldest_are_forgotten() {
        let mut market = market(2, 1);
        let mut draw = Given(vec![1, 5, 0, 2], 0);
        for number in 1..=150_u64 {
            assert_eq!(market.trade(TradeId(number + 7), &mut draw).trade_seq, number);
        }
        let recent = market.recent_trades();
        assert_eq!(recent.len(), RECENT_TRADES_MAX);
        assert_eq!(recent.first().map(|trade| trade.trade_seq), Some(51));
        assert_eq!(market.last_price(), recent[99].price);
    }

    #[test]
    fn a_recorded_book_that_breaks_waits_for_a_snapshot() {
        let mut market = Market::new(InstrumentId(0), listing(false), MarketShape { levels: 2, walk_ticks: 1 });
        assert_eq!(market.published().change_id(), None);
        let snapshot = BookSnapshot { instrument: InstrumentId(0), change_id: 5, bids: vec![], asks: vec![] };
        market.take_snapshot(&snapshot);
        let change = |prev| BookChange {
            instrument: InstrumentId(0),
            prev_change_id: prev,
            change_id: prev + 1,
            bids: vec![],
            asks: vec![],
        };
        market.take_change(&change(5));
        assert_eq!(market.published().change_id(), Some(6));
        market.take_change(&change(9));
        assert_eq!(market.published().change_id(), None);
    }
}
