//! The strategy: keeps proposing OPENs in every mode, closes what it holds, cancels what rests.
//!
//! It knows what a strategy knows: prices that arrived, fills that were confirmed, its orders that rest. Refusals do not
//! slow it down, because a drill that never tries an OPEN proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use drillfold_kernel::{
    event::{
        Action, EdgeInputs, Event, GroupProposal, LegProposal, OrderType, OwnTrade, RestAnswer, Ticker, TimeInForce,
        VenueOrder, VenuePosition, VenueState,
    },
    identity::parse_label,
    units::{InstrumentId, IntentHash, OrderId, Price, Qty, Side, TimeMs, TradeId},
};

use super::prng::{Prng, Stream};
use crate::{
    exchange::{Book, Draw as _},
    scenario::model,
};

/// The strategy's name in labels.
const STRATEGY_ID: &str = "drillfld";

/// How far past the best price an immediate order goes, in ticks, lowest and highest.
const CROSS_TICKS: (i64, i64) = (3, 5);

/// How far from the market an order rests, in ticks.
const REST_TICKS: i64 = 50;

/// How far past the best price a leg without a price of its own goes, in ticks.
const GROUP_CROSS_TICKS: i64 = 10;

/// Net edge in USD cents that single orders are proposed with: ten dollars.
const NET_EDGE_USD_CENTS: i64 = 1_000;

/// What an instrument looks like from here.
#[derive(Clone, Debug, Default)]
struct View {
    tick: Price,
    book: Book,
    best_bid: Option<Price>,
    best_ask: Option<Price>,
    position: Qty,
    /// Which way the next OPEN goes, as long as the position has room.
    direction: Option<Side>,
}

/// The strategy's memory.
#[derive(Clone, Debug)]
pub(super) struct Strategy {
    pub(super) setup: model::Strategy,
    views: Vec<View>,
    /// The venue's time that the positions are known as of.
    positions_at: TimeMs,
    trades_seen: BTreeSet<TradeId>,
    resting_groups: BTreeSet<String>,
    resting: BTreeMap<OrderId, IntentHash>,
    opens: u64,
    closes: u64,
    groups: u64,
    prng: Prng,
}

impl Strategy {
    /// Returns a strategy that has seen nothing; `ticks` are the instruments' price steps in table order.
    pub(super) fn new(setup: &model::Strategy, ticks: impl Iterator<Item = Price>, seed: u64) -> Self {
        Self {
            setup: setup.clone(),
            views: ticks.map(|tick| View { tick, ..View::default() }).collect(),
            positions_at: TimeMs(i64::MIN),
            trades_seen: BTreeSet::new(),
            resting_groups: BTreeSet::new(),
            resting: BTreeMap::new(),
            opens: 0,
            closes: 0,
            groups: 0,
            prng: Prng::new(seed, Stream::Strategy),
        }
    }

    /// Starts with the process: prices, positions and open orders are as read over REST. Group numbers go on, so that none
    /// is given twice.
    pub(super) fn start(&mut self, now: TimeMs, tickers: &[Ticker], positions: &[VenuePosition], open: &[VenueOrder]) {
        for view in &mut self.views {
            *view = View { tick: view.tick, ..View::default() };
        }
        tickers.iter().for_each(|ticker| self.see_ticker(ticker));
        self.set_positions(now, positions);
        self.set_resting(open);
    }

    /// Hears an event that reached the process.
    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::BookSnapshot(snapshot) => {
                if let Some(view) = self.views.get_mut(snapshot.instrument.index()) {
                    view.book.replace(snapshot);
                    view.see_book();
                }
            }
            Event::BookChanged(change) => {
                if let Some(view) = self.views.get_mut(change.instrument.index()) {
                    if view.book.follow(change) {
                        view.see_book();
                    } else {
                        view.book = Book::default();
                    }
                }
            }
            Event::TickerReceived(ticker) => self.see_ticker(ticker),
            Event::OwnTraded(trades) => trades.iter().for_each(|trade| self.see_fill(trade)),
            Event::OrderUpdated(order) => self.see_order(order),
            Event::RestAnswered { venue_time, answer, .. } => match answer {
                RestAnswer::Positions(positions) => self.set_positions(*venue_time, positions),
                RestAnswer::OpenOrders(orders) => self.set_resting(orders),
                RestAnswer::OwnTrades(_)
                | RestAnswer::OrderHistory(_)
                | RestAnswer::Book(_)
                | RestAnswer::RecentTrades { .. } => {}
            },
            _ => {}
        }
    }

    /// Proposes an OPEN: buys until the position has no room, then sells until it has none the other way; every so many
    /// times, and where neither has room, one that rests. `None` without a price to go by.
    pub(super) fn open(&mut self) -> Option<Event> {
        let instrument = turn(&self.setup.instruments, self.opens)?;
        self.opens = self.opens.saturating_add(1);
        let qty = self.setup.open_qty;
        let position_max = self.setup.position_max;
        let every = u64::from(self.setup.resting_every);
        let view = self.views.get_mut(instrument)?;
        let direction = view.direction.unwrap_or(Side::Buy);
        let room = |side: Side| view.position.plus(Qty(side.sign(qty.0))).abs() <= position_max;
        let crossing = [direction, direction.opposite()].into_iter().find(|side| room(*side));
        let side = crossing.unwrap_or(if view.position > Qty::ZERO { Side::Sell } else { Side::Buy });
        view.direction = Some(side);
        let rests = crossing.is_none() || (every > 0 && self.opens.checked_rem(every) == Some(0));
        let leg = if rests {
            self.leg(instrument, side, qty, -REST_TICKS, TimeInForce::GoodTilCancelled)?
        } else {
            let cross = self.prng.between(CROSS_TICKS.0, CROSS_TICKS.1);
            self.leg(instrument, side, qty, cross, TimeInForce::ImmediateOrCancel)?
        };
        let proposal = self.proposal(Some(NET_EDGE_USD_CENTS), vec![leg]);
        if rests {
            self.resting_groups.insert(proposal.group_id.clone());
        }
        Some(Event::GroupProposed(proposal))
    }

    /// Proposes to close a part of a position; `None` while there is none.
    pub(super) fn close(&mut self) -> Option<Event> {
        let held: Vec<usize> = self
            .setup
            .instruments
            .iter()
            .copied()
            .filter(|place| self.views.get(*place).is_some_and(|view| !view.position.is_zero()))
            .collect();
        let instrument = turn(&held, self.closes)?;
        self.closes = self.closes.saturating_add(1);
        let position = self.views.get(instrument)?.position;
        let side = if position > Qty::ZERO { Side::Sell } else { Side::Buy };
        let qty = self.setup.close_qty.min(position.abs());
        let cross = self.prng.between(CROSS_TICKS.0, CROSS_TICKS.1);
        let leg = LegProposal {
            action: Action::Close,
            reduce_only: Some(true),
            ..self.leg(instrument, side, qty, cross, TimeInForce::ImmediateOrCancel)?
        };
        Some(Event::GroupProposed(self.proposal(Some(NET_EDGE_USD_CENTS), vec![leg])))
    }

    /// Proposes to cancel its oldest resting order; `None` while there is none.
    pub(super) fn cancel(&self) -> Option<Event> {
        let (_, intent) = self.resting.first_key_value()?;
        Some(Event::CancelProposed { intent: *intent })
    }

    /// Proposes a group as a scenario's step has it. A leg without a price crosses the market as seen from here; where
    /// nothing was seen its price stays zero, which no gate lets pass.
    pub(super) fn group(&mut self, net_edge_usd_cents: Option<i64>, legs: &[LegProposal]) -> Event {
        let priced = |leg: &LegProposal| {
            let crossing = || self.price(leg.instrument.index(), leg.side, GROUP_CROSS_TICKS);
            let price = if leg.price.is_zero() { crossing().unwrap_or(Price::ZERO) } else { leg.price };
            LegProposal { price, ..leg.clone() }
        };
        let legs: Vec<LegProposal> = legs.iter().map(priced).collect();
        if legs.iter().any(|leg| leg.time_in_force == TimeInForce::GoodTilCancelled) {
            self.resting_groups.insert(group_id(self.groups.saturating_add(1)));
        }
        Event::GroupProposed(self.proposal(net_edge_usd_cents, legs))
    }

    fn see_ticker(&mut self, ticker: &Ticker) {
        if let Some(view) = self.views.get_mut(ticker.instrument.index()) {
            view.best_bid = ticker.best_bid.or(view.best_bid);
            view.best_ask = ticker.best_ask.or(view.best_ask);
        }
    }

    fn see_fill(&mut self, trade: &OwnTrade) {
        // A position read at the venue already holds every trade up to its time.
        if self.trades_seen.insert(trade.trade_id)
            && trade.at > self.positions_at
            && let Some(view) = self.views.get_mut(trade.instrument.index())
        {
            view.position = view.position.plus(Qty(trade.side.sign(trade.qty.0)));
        }
    }

    fn see_order(&mut self, order: &VenueOrder) {
        let Some(parts) = parse_label(&order.label) else { return };
        if order.state == VenueState::Open && self.resting_groups.contains(parts.group_id) {
            self.resting.insert(order.order_id, parts.intent);
        } else {
            self.resting.remove(&order.order_id);
        }
    }

    fn set_positions(&mut self, at: TimeMs, positions: &[VenuePosition]) {
        if at < self.positions_at {
            return;
        }
        self.positions_at = at;
        self.views.iter_mut().for_each(|view| view.position = Qty::ZERO);
        for position in positions {
            if let Some(view) = self.views.get_mut(position.instrument.index()) {
                view.position = position.qty;
            }
        }
    }

    fn set_resting(&mut self, open: &[VenueOrder]) {
        self.resting.clear();
        open.iter().for_each(|order| self.see_order(order));
    }

    /// Returns a leg that adds to a position, `past` ticks past the best price it would trade with; negative rests away from
    /// its own side's best price.
    fn leg(
        &self,
        instrument: usize,
        side: Side,
        qty: Qty,
        past: i64,
        time_in_force: TimeInForce,
    ) -> Option<LegProposal> {
        Some(LegProposal {
            instrument: InstrumentId(u16::try_from(instrument).ok()?),
            side,
            action: Action::Place,
            reduce_only: Some(false),
            qty,
            price: self.price(instrument, side, past)?,
            time_in_force,
            order_type: OrderType::Limit,
            linked: false,
            post_only: false,
            contracts: None,
        })
    }

    fn price(&self, instrument: usize, side: Side, past: i64) -> Option<Price> {
        let view = self.views.get(instrument)?;
        let best = match (side, past > 0) {
            (Side::Buy, true) | (Side::Sell, false) => view.best_ask,
            (Side::Sell, true) | (Side::Buy, false) => view.best_bid,
        }?;
        let away = Price(side.sign(view.tick.0.saturating_mul(past)));
        Some(best.plus(away).max(view.tick))
    }

    fn proposal(&mut self, net_edge_usd_cents: Option<i64>, legs: Vec<LegProposal>) -> GroupProposal {
        self.groups = self.groups.saturating_add(1);
        GroupProposal {
            strategy_id: STRATEGY_ID.into(),
            group_id: group_id(self.groups),
            structure_fingerprint: fingerprint(&legs),
            edge: EdgeInputs::net(net_edge_usd_cents),
            legs,
        }
    }
}

impl View {
    /// Reads the best prices off a book that is whole.
    fn see_book(&mut self) {
        let (bid, ask) = (self.book.best(Side::Buy), self.book.best(Side::Sell));
        if let (Some(bid), Some(ask)) = (bid, ask)
            && bid.price < ask.price
        {
            self.best_bid = Some(bid.price);
            self.best_ask = Some(ask.price);
        }
    }
}

fn turn(places: &[usize], count: u64) -> Option<usize> {
    let length = u64::try_from(places.len()).ok()?;
    places.get(usize::try_from(count.checked_rem(length)?).ok()?).copied()
}

/// Returns the twelve characters that a group has in labels.
fn group_id(number: u64) -> String {
    format!("g{number:011}")
}

/// Returns FNV-1a (64 bit) over instrument, side and reduce-only of each leg: what makes two groups the same structure.
fn fingerprint(legs: &[LegProposal]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = legs.iter().flat_map(|leg| {
        let [low, high] = leg.instrument.0.to_le_bytes();
        [low, high, u8::from(leg.side == Side::Sell), u8::from(leg.reduce_only == Some(true))]
    });
    bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> model::Strategy {
        model::Strategy {
            open_every_ms: 500,
            close_every_ms: 900,
            cancel_every_ms: 1_100,
            resting_every: 4,
            instruments: vec![0],
            open_qty: Qty(20),
            close_qty: Qty(15),
            position_max: Qty(40),
            from_ms: 1_000,
        }
    }

    fn strategy() -> Strategy {
        let mut strategy = Strategy::new(&setup(), [Price(500)].into_iter(), 1);
        let ticker = Ticker {
            instrument: InstrumentId(0),
            best_bid: Some(Price(49_500)),
            best_ask: Some(Price(50_500)),
            mark: None,
            index: None,
            last: None,
            delta: None,
        };
        strategy.start(TimeMs(0), &[ticker], &[], &[]);
        strategy
    }

    fn leg(event: Option<Event>) -> LegProposal {
        match event {
            Some(Event::GroupProposed(proposal)) => proposal.legs[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    fn fill(strategy: &mut Strategy, id: u64, side: Side, qty: i64) {
        strategy.hear(&Event::OwnTraded(vec![OwnTrade {
            trade_id: TradeId(id),
            order_id: OrderId(id),
            label: String::new(),
            instrument: InstrumentId(0),
            side,
            price: Price(50_000),
            qty: Qty(qty),
            at: TimeMs(5),
        }]));
    }

    #[test]
    fn opens_swing_within_the_position_and_never_end() {
        let mut strategy = strategy();
        let mut sides = String::new();
        for number in 0..12 {
            let leg = leg(strategy.open());
            assert_eq!((leg.reduce_only, leg.qty), (Some(false), Qty(20)));
            if leg.time_in_force == TimeInForce::GoodTilCancelled {
                sides.push('r');
            } else {
                sides.push(if leg.side == Side::Buy { 'b' } else { 's' });
                fill(&mut strategy, number, leg.side, 20);
            }
            assert!(strategy.views[0].position.abs() <= Qty(40));
        }
        assert_eq!(sides, "bbsrsssrbbbr");
    }

    #[test]
    fn without_room_an_open_rests() {
        let mut strategy = strategy();
        strategy.setup.position_max = Qty(10);
        let leg = leg(strategy.open());
        assert_eq!(leg.time_in_force, TimeInForce::GoodTilCancelled);
        assert_eq!(leg.price, Price(49_500 - 50 * 500));
    }

    #[test]
    fn closes_reduce_what_is_held_and_only_that() {
        let mut strategy = strategy();
        assert_eq!(strategy.close(), None);
        fill(&mut strategy, 1, Side::Sell, 10);
        fill(&mut strategy, 1, Side::Sell, 10);
        let closing = leg(strategy.close());
        assert_eq!((closing.side, closing.qty, closing.reduce_only), (Side::Buy, Qty(10), Some(true)));
        assert!(closing.price > Price(50_500));
        let positions = vec![VenuePosition { instrument: InstrumentId(0), qty: Qty(90) }];
        strategy.set_positions(TimeMs(9), &positions);
        fill(&mut strategy, 2, Side::Buy, 10);
        let closing = leg(strategy.close());
        assert_eq!((closing.side, closing.qty), (Side::Sell, Qty(15)));
        assert_eq!(strategy.views[0].position, Qty(90));
    }

    #[test]
    fn resting_orders_are_cancelled_until_they_are_gone() {
        let mut strategy = strategy();
        strategy.setup.resting_every = 1;
        let Some(Event::GroupProposed(proposal)) = strategy.open() else { panic!("no proposal") };
        assert_eq!(strategy.cancel(), None);
        let label = drillfold_kernel::identity::label(STRATEGY_ID, &proposal.group_id, 0, IntentHash(77)).unwrap();
        let order = |state| {
            Event::OrderUpdated(VenueOrder {
                order_id: OrderId(3),
                label: label.clone(),
                instrument: InstrumentId(0),
                side: Side::Buy,
                price: Price(1),
                qty: Qty(20),
                filled: Qty(0),
                reduce_only: false,
                state,
            })
        };
        strategy.hear(&order(VenueState::Open));
        assert_eq!(strategy.cancel(), Some(Event::CancelProposed { intent: IntentHash(77) }));
        strategy.hear(&order(VenueState::Cancelled));
        assert_eq!(strategy.cancel(), None);
    }

    #[test]
    fn group_names_have_their_length_and_are_never_given_twice() {
        let mut strategy = strategy();
        let mut names = BTreeSet::new();
        for _ in 0..5 {
            let Some(Event::GroupProposed(proposal)) = strategy.open() else { panic!("no proposal") };
            assert_eq!((proposal.group_id.len(), proposal.strategy_id.len()), (12, 8));
            assert!(names.insert(proposal.group_id));
            strategy.start(TimeMs(0), &[], &[], &[]);
            strategy.views[0].best_ask = Some(Price(50_500));
            strategy.views[0].best_bid = Some(Price(49_500));
        }
    }

    #[test]
    fn a_leg_without_a_price_crosses_the_market() {
        let mut strategy = strategy();
        let base = strategy.leg(0, Side::Sell, Qty(10), 1, TimeInForce::ImmediateOrCancel).unwrap();
        let given = LegProposal { price: Price(42), ..base.clone() };
        let open = LegProposal { price: Price::ZERO, ..base };
        let Event::GroupProposed(proposal) = strategy.group(None, &[given, open]) else { panic!("no proposal") };
        assert_eq!(proposal.legs.iter().map(|leg| leg.price.0).collect::<Vec<_>>(), [42, 49_500 - 10 * 500]);
    }
}
