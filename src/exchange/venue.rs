//! The venue: listed instruments, orders and their matching, positions, own trades, order history.

use std::collections::{BTreeMap, BTreeSet};

use drillfold_kernel::{
    event::{InstrumentKind, OwnTrade, Ticker, TimeInForce, VenueOrder, VenuePosition, VenueState},
    units::{InstrumentId, OrderId, PPM, Ppm, Price, Qty, Side, TimeMs, TradeId, mul_div},
};

use super::{Draw, Listing, Market, MarketData, MarketShape, Stress};

/// Error codes that the venue gives by itself. Source: Deribit's JSON-RPC error codes.
pub mod codes {
    /// `invalid params`: unknown instrument, amount or price off the grid.
    pub const INVALID_PARAMS: i32 = -32_602;
    /// `other_reject`: here, a reduce-only order that would not reduce.
    pub const REDUCE_ONLY: i32 = 11_030;
    /// `invalid_credentials`: the key was revoked.
    pub const INVALID_CREDENTIALS: i32 = 13_004;
    /// `unauthorized`: a private request on a connection that is not authenticated.
    pub const UNAUTHORIZED: i32 = 13_009;
    /// `too_many_requests`: ends the session.
    pub const TOO_MANY_REQUESTS: i32 = 10_028;
}

/// How far beyond the other side's best price a stray order is that is to be filled, in ticks.
const STRAY_CROSS_TICKS: i64 = 10;

/// How far a stray order rests from its own side's best price, in ticks; negative is away from the market.
const STRAY_REST_TICKS: i64 = -200;

/// Why a venue cannot be set up; the caller corrects the listing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VenueError {
    /// A size or price of the listing is not positive.
    #[error("instrument {name}: {what} must be positive, found {found}")]
    NotPositive {
        /// The instrument.
        name: String,
        /// Which number.
        what: &'static str,
        /// Its value in 1e-9.
        found: i64,
    },
    /// Two instruments have one name.
    #[error("instrument {name} is listed twice, list it once")]
    ListedTwice {
        /// The name.
        name: String,
    },
    /// More instruments than an instrument index can tell apart.
    #[error("{found} instruments are listed, list at most 65535")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// A synthetic book needs levels.
    #[error("synthetic books need at least one level a side, set market.levels")]
    NoLevels,
    /// A synthetic market needs an index price for its underlying.
    #[error("underlying {underlying} of instrument {name} has no index price, set market.index")]
    NoIndex {
        /// The instrument.
        name: String,
        /// Its underlying.
        underlying: String,
    },
}

/// An order as it reaches the venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// Label.
    pub label: String,
    /// Which instrument.
    pub instrument: InstrumentId,
    /// Direction.
    pub side: Side,
    /// Amount.
    pub qty: Qty,
    /// Limit price.
    pub price: Price,
    /// True where it may only reduce the position.
    pub reduce_only: bool,
    /// How long it lives.
    pub time_in_force: TimeInForce,
}

/// Which order a cancel means: by number where it is known, else all with the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelTarget<'a> {
    /// The venue's number.
    pub order_id: Option<OrderId>,
    /// The label.
    pub label: &'a str,
}

/// An order with a label of ours that this process never sent, such as another process would send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrayOrder {
    /// Tells its label from those of others.
    pub number: u64,
    /// Which instrument.
    pub instrument: InstrumentId,
    /// Direction.
    pub side: Side,
    /// Amount.
    pub qty: Qty,
    /// True: it rests far from the market. False: it is filled at once.
    pub rests: bool,
}

/// What the venue does with an order that a fault may have in its hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Match it.
    Match,
    /// Refuse it with this code.
    Refuse(i32),
    /// Match an immediate order as if it were only this share of its amount, rounded down to the amount step.
    Starve(Ppm),
}

/// What the venue tells the owner of an order, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// An order's state.
    Updated(VenueOrder),
    /// An order was refused.
    Rejected {
        /// Its label.
        label: String,
        /// Why.
        code: i32,
    },
    /// Trades of ours.
    Traded(Vec<OwnTrade>),
}

/// The venue.
#[derive(Clone, Debug)]
pub struct Venue {
    markets: Vec<Market>,
    /// Index price in USD of each underlying at the start.
    indices: BTreeMap<String, Price>,
    orders: BTreeMap<OrderId, VenueOrder>,
    open: BTreeSet<OrderId>,
    labels: BTreeMap<String, Vec<OrderId>>,
    positions: Vec<Qty>,
    own_trades: Vec<OwnTrade>,
    next_order_id: u64,
    next_trade_id: u64,
}

impl Venue {
    /// Returns a venue with these instruments; `indices` are the index prices of the underlyings at the start.
    ///
    /// # Errors
    /// Listings that no market can be made of.
    pub fn new(listings: Vec<Listing>, shape: MarketShape, indices: &[(String, Price)]) -> Result<Self, VenueError> {
        let indices: BTreeMap<String, Price> = indices.iter().cloned().collect();
        let mut names = BTreeSet::new();
        let found = listings.len();
        for listing in &listings {
            check_listing(listing, shape, &indices)?;
            if !names.insert(listing.name.clone()) {
                return Err(VenueError::ListedTwice { name: listing.name.clone() });
            }
        }
        let mut markets = Vec::with_capacity(found);
        for (place, listing) in listings.into_iter().enumerate() {
            let id = u16::try_from(place).map_err(|_| VenueError::TooMany { found })?;
            markets.push(Market::new(InstrumentId(id), listing, shape));
        }
        Ok(Self {
            positions: vec![Qty::ZERO; markets.len()],
            markets,
            indices,
            orders: BTreeMap::new(),
            open: BTreeSet::new(),
            labels: BTreeMap::new(),
            own_trades: Vec::new(),
            next_order_id: 1,
            next_trade_id: 1,
        })
    }

    /// Returns the markets, in table order.
    #[must_use]
    pub fn markets(&self) -> &[Market] {
        &self.markets
    }

    /// Returns the market of an instrument.
    #[must_use]
    pub fn market(&self, instrument: InstrumentId) -> Option<&Market> {
        self.markets.get(instrument.index())
    }

    /// Takes an order and matches it; returns what its owner is told. A refused order leaves no trace.
    pub fn place(&mut self, at: TimeMs, order: &NewOrder, treatment: Treatment) -> Vec<Report> {
        let refused = |code| vec![Report::Rejected { label: order.label.clone(), code }];
        if let Treatment::Refuse(code) = treatment {
            return refused(code);
        }
        let Some(market) = self.markets.get(order.instrument.index()) else {
            return refused(codes::INVALID_PARAMS);
        };
        if !fits(order, market.listing()) {
            return refused(codes::INVALID_PARAMS);
        }
        let step = market.listing().amount_step;
        let allowed = self.allowed(order.instrument, order.side, order.reduce_only, order.qty);
        if allowed <= Qty::ZERO {
            return refused(codes::REDUCE_ONLY);
        }
        let fillable = match (treatment, order.time_in_force) {
            (Treatment::Starve(share), TimeInForce::ImmediateOrCancel) => {
                let part = mul_div(order.qty.0, share.0.clamp(0, PPM), PPM);
                Qty(part.saturating_sub(part.checked_rem(step.0).unwrap_or(0))).min(allowed)
            }
            _ => allowed,
        };
        let id = self.open_order(order);
        let mut reports: Vec<Report> = self.orders.get(&id).cloned().map(Report::Updated).into_iter().collect();
        let levels = match self.markets.get_mut(order.instrument.index()) {
            Some(market) => market.live_mut().take(order.side, order.price, fillable),
            None => Vec::new(),
        };
        let trades: Vec<OwnTrade> =
            levels.iter().filter_map(|level| self.fill(at, id, level.price, level.qty)).collect();
        let traded = !trades.is_empty();
        if traded {
            reports.push(Report::Traded(trades));
        }
        if order.time_in_force == TimeInForce::ImmediateOrCancel {
            self.end_order(id);
        }
        if traded || order.time_in_force == TimeInForce::ImmediateOrCancel {
            reports.extend(self.orders.get(&id).cloned().map(Report::Updated));
        }
        if traded {
            reports.extend(self.trim_reduce_only(order.instrument));
        }
        reports
    }

    /// Takes a stray order at the price it needs; empty where there is no book to price it. Of one that is filled its trades
    /// alone are told: whoever sent it hears the rest.
    pub fn place_stray(&mut self, at: TimeMs, stray: &StrayOrder) -> Vec<Report> {
        let Some(market) = self.markets.get(stray.instrument.index()) else { return Vec::new() };
        let ticks = if stray.rests { STRAY_REST_TICKS } else { STRAY_CROSS_TICKS };
        let reference = if stray.rests { stray.side } else { stray.side.opposite() };
        let Some(best) = market.published().best(reference) else { return Vec::new() };
        let away = Price(stray.side.sign(market.listing().tick_size.0.saturating_mul(ticks)));
        let order = NewOrder {
            label: format!("s4:stray000:x{:011}:0:{:016x}", stray.number, stray.number),
            instrument: stray.instrument,
            side: stray.side,
            qty: stray.qty,
            price: best.price.plus(away).max(market.listing().tick_size),
            reduce_only: false,
            time_in_force: if stray.rests { TimeInForce::GoodTilCancelled } else { TimeInForce::ImmediateOrCancel },
        };
        let mut reports = self.place(at, &order, Treatment::Match);
        reports.retain(|report| stray.rests || matches!(report, Report::Traded(_)));
        reports
    }

    /// Changes a position by no trade; tells whether there is such an instrument.
    pub fn shift_position(&mut self, instrument: usize, qty: Qty) -> bool {
        let position = self.positions.get_mut(instrument);
        position.map(|position| *position = position.plus(qty)).is_some()
    }

    /// Cancels an order and returns its state, or all open ones with the label. One that has ended is told as it is; of one
    /// that the venue never had there is nothing to tell.
    pub fn cancel(&mut self, target: CancelTarget<'_>) -> Vec<Report> {
        let ids = match target.order_id {
            Some(id) => vec![id],
            None => self.labels.get(target.label).cloned().unwrap_or_default(),
        };
        let mut reports = Vec::new();
        for id in ids {
            self.end_order(id);
            reports.extend(self.orders.get(&id).cloned().map(Report::Updated));
        }
        reports
    }

    /// Moves an instrument's book by a step of the walk; returns the change and what it did to our resting orders.
    pub fn walk(
        &mut self,
        at: TimeMs,
        instrument: InstrumentId,
        draw: &mut dyn Draw,
    ) -> Option<(MarketData, Vec<Report>)> {
        let change = self.markets.get_mut(instrument.index())?.walk(draw);
        Some((MarketData::Changed(change), self.fill_resting(at, instrument)))
    }

    /// Puts an instrument's market under stress; true where that is a change.
    pub fn set_stress(&mut self, instrument: InstrumentId, stress: Stress) -> bool {
        self.markets.get_mut(instrument.index()).is_some_and(|market| market.set_stress(stress))
    }

    /// Makes a public trade.
    pub fn trade(&mut self, instrument: InstrumentId, draw: &mut dyn Draw) -> Option<MarketData> {
        let market = self.markets.get_mut(instrument.index())?;
        let trade = market.trade(TradeId(self.next_trade_id), draw);
        self.next_trade_id = self.next_trade_id.saturating_add(1);
        Some(MarketData::Traded { instrument, trades: vec![trade] })
    }

    /// Takes a recorded message into the market; returns what it did to our resting orders.
    pub fn take_recorded(&mut self, at: TimeMs, data: &MarketData) -> Vec<Report> {
        let Some(instrument) = data.instrument() else { return Vec::new() };
        let Some(market) = self.markets.get_mut(instrument.index()) else { return Vec::new() };
        match data {
            MarketData::Snapshot(snapshot) => market.take_snapshot(snapshot),
            MarketData::Changed(change) => market.take_change(change),
            MarketData::Traded { trades, .. } => market.take_trades(trades),
            MarketData::Ticked(_) | MarketData::Unusable { .. } => return Vec::new(),
        }
        self.fill_resting(at, instrument)
    }

    /// Returns an instrument's ticker. The index moves with the first synthetic perpetual of its underlying.
    #[must_use]
    pub fn ticker(&self, instrument: InstrumentId) -> Option<Ticker> {
        let market = self.market(instrument)?;
        let listing = market.listing();
        let leader = self.markets.iter().find(|other| {
            let other = other.listing();
            other.synthetic && other.kind == InstrumentKind::Perpetual && other.underlying == listing.underlying
        });
        let index = self.indices.get(&listing.underlying).copied();
        Some(Ticker {
            instrument,
            best_bid: market.published().best(Side::Buy).map(|level| level.price),
            best_ask: market.published().best(Side::Sell).map(|level| level.price),
            mark: Some(market.mid()),
            index: market
                .stressed_index()
                .or_else(|| index.map(|index| index.plus(leader.map_or(Price::ZERO, Market::drift)))),
            last: Some(market.last_price()),
            delta: listing.delta,
        })
    }

    /// Returns our open orders, oldest first.
    #[must_use]
    pub fn open_orders(&self) -> Vec<VenueOrder> {
        self.open.iter().filter_map(|id| self.orders.get(id)).cloned().collect()
    }

    /// Returns our positions that are not zero, in table order.
    #[must_use]
    pub fn positions(&self) -> Vec<VenuePosition> {
        let positions = self.markets.iter().enumerate().zip(&self.positions);
        positions
            .filter(|(_, qty)| !qty.is_zero())
            .filter_map(|((place, _), qty)| {
                Some(VenuePosition { instrument: InstrumentId(u16::try_from(place).ok()?), qty: *qty })
            })
            .collect()
    }

    /// Returns our trades from `since` on, that moment included, oldest first.
    #[must_use]
    pub fn own_trades(&self, since: TimeMs) -> Vec<OwnTrade> {
        let first = self.own_trades.partition_point(|trade| trade.at < since);
        self.own_trades.iter().skip(first).cloned().collect()
    }

    /// Returns every order ever accepted with one of the labels, label by label, oldest first.
    #[must_use]
    pub fn order_history(&self, labels: &[String]) -> Vec<VenueOrder> {
        let ids = labels.iter().filter_map(|label| self.labels.get(label)).flatten();
        ids.filter_map(|id| self.orders.get(id)).cloned().collect()
    }

    /// Fills resting orders that the book has come to, oldest first, each at its own limit price.
    fn fill_resting(&mut self, at: TimeMs, instrument: InstrumentId) -> Vec<Report> {
        let resting: Vec<OrderId> = self
            .open
            .iter()
            .filter(|id| self.orders.get(id).is_some_and(|order| order.instrument == instrument))
            .copied()
            .collect();
        let mut reports = Vec::new();
        for id in resting {
            let Some(order) = self.orders.get(&id) else { continue };
            if order.state != VenueState::Open {
                continue;
            }
            let (side, price) = (order.side, order.price);
            let allowed = self.allowed(instrument, side, order.reduce_only, left(order));
            let Some(market) = self.markets.get_mut(instrument.index()) else { continue };
            let levels = market.live_mut().take(side, price, allowed);
            let qty = levels.iter().fold(Qty::ZERO, |sum, level| sum.plus(level.qty));
            if qty.is_zero() {
                continue;
            }
            reports.extend(self.fill(at, id, price, qty).map(|trade| Report::Traded(vec![trade])));
            reports.extend(self.orders.get(&id).cloned().map(Report::Updated));
            reports.extend(self.trim_reduce_only(instrument));
        }
        reports
    }

    /// Cancels resting reduce-only orders that have nothing left to reduce.
    fn trim_reduce_only(&mut self, instrument: InstrumentId) -> Vec<Report> {
        let idle: Vec<OrderId> = self
            .open
            .iter()
            .filter(|id| {
                self.orders.get(id).is_some_and(|order| {
                    order.instrument == instrument
                        && order.reduce_only
                        && self.allowed(instrument, order.side, true, left(order)) <= Qty::ZERO
                })
            })
            .copied()
            .collect();
        idle.into_iter().flat_map(|id| self.cancel(CancelTarget { order_id: Some(id), label: "" })).collect()
    }

    /// Returns how much of `qty` may be filled: all of it, or for reduce-only what the position leaves.
    fn allowed(&self, instrument: InstrumentId, side: Side, reduce_only: bool, qty: Qty) -> Qty {
        if !reduce_only {
            return qty;
        }
        let position = self.positions.get(instrument.index()).copied().unwrap_or_default();
        // A sell reduces a long position, a buy a short one.
        let reducible = Qty(side.opposite().sign(position.0));
        qty.min(reducible.max(Qty::ZERO))
    }

    fn open_order(&mut self, order: &NewOrder) -> OrderId {
        let id = OrderId(self.next_order_id);
        self.next_order_id = self.next_order_id.saturating_add(1);
        let venue = VenueOrder {
            order_id: id,
            label: order.label.clone(),
            instrument: order.instrument,
            side: order.side,
            price: order.price,
            qty: order.qty,
            filled: Qty::ZERO,
            reduce_only: order.reduce_only,
            state: VenueState::Open,
        };
        self.orders.insert(id, venue);
        self.open.insert(id);
        self.labels.entry(order.label.clone()).or_default().push(id);
        id
    }

    fn fill(&mut self, at: TimeMs, id: OrderId, price: Price, qty: Qty) -> Option<OwnTrade> {
        let order = self.orders.get_mut(&id)?;
        order.filled = order.filled.plus(qty);
        if left(order) <= Qty::ZERO {
            order.state = VenueState::Filled;
            self.open.remove(&id);
        }
        let position = self.positions.get_mut(order.instrument.index())?;
        *position = position.plus(Qty(order.side.sign(qty.0)));
        let trade = OwnTrade {
            trade_id: TradeId(self.next_trade_id),
            order_id: id,
            label: order.label.clone(),
            instrument: order.instrument,
            side: order.side,
            price,
            qty,
            at,
        };
        self.next_trade_id = self.next_trade_id.saturating_add(1);
        self.own_trades.push(trade.clone());
        Some(trade)
    }

    /// Ends an order that is still open, without a fill.
    fn end_order(&mut self, id: OrderId) {
        if let Some(order) = self.orders.get_mut(&id)
            && order.state == VenueState::Open
        {
            order.state = VenueState::Cancelled;
            self.open.remove(&id);
        }
    }
}

fn left(order: &VenueOrder) -> Qty {
    order.qty.minus(order.filled)
}

fn check_listing(listing: &Listing, shape: MarketShape, indices: &BTreeMap<String, Price>) -> Result<(), VenueError> {
    let numbers = [
        ("tick_size", listing.tick_size.0),
        ("amount_step", listing.amount_step.0),
        ("min_amount", listing.min_amount.0),
        ("mid", listing.mid.0),
        ("level_qty", listing.level_qty.0),
    ];
    // The last two describe the synthetic book alone.
    let checked = if listing.synthetic { numbers.len() } else { 3 };
    for (what, found) in numbers.into_iter().take(checked) {
        if found <= 0 {
            return Err(VenueError::NotPositive { name: listing.name.clone(), what, found });
        }
    }
    if listing.synthetic && shape.levels == 0 {
        return Err(VenueError::NoLevels);
    }
    if listing.synthetic && !indices.contains_key(&listing.underlying) {
        return Err(VenueError::NoIndex { name: listing.name.clone(), underlying: listing.underlying.clone() });
    }
    Ok(())
}

fn fits(order: &NewOrder, listing: &Listing) -> bool {
    let on_grid = |value: i64, step: i64| value > 0 && value.checked_rem(step) == Some(0);
    on_grid(order.qty.0, listing.amount_step.0)
        && order.qty >= listing.min_amount
        && on_grid(order.price.0, listing.tick_size.0)
}

#[cfg(test)]
mod tests;
