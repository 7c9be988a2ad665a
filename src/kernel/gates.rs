//! The pre-trade gates: what an order of a strategy must pass after quantisation and before it is recorded.
//!
//! ```text
//!   every order:  preflight ─► (churn) ─► lifecycle ─► a usable book
//!   OPEN alone:   churn, slippage, margin headroom, net edge, inventory skew, pending exposure, portfolio, self-impact
//! ```
//! The first gate that refuses ends it. Containment passes none of them. Every comparison is exact, in integers; one that
//! does not fit refuses.
//!
//! Source: kernel contract section 1, gates before recording; each gate names its acceptance tests.

use alloc::{borrow::ToOwned, vec::Vec};

use crate::{
    config::seconds,
    effect::{Effect, Note},
    event::{EdgeInputs, InstrumentKind, IntentClass, IntentRecord, LegProposal, OrderType},
    registry::RejectReason,
    sizing::{Size, contracts_agree},
    state::{Cause, Kernel},
    units::{InstrumentId, NANO, PPM, Price, Qty, Side, UnderlyingId, mul_div},
};

/// Basis points in one.
const BPS: i128 = 10_000;

/// What the gates look at in one order.
pub(crate) struct Candidate<'a> {
    /// Its class.
    pub class: IntentClass,
    /// Which instrument.
    pub instrument: InstrumentId,
    /// Direction.
    pub side: Side,
    /// Quantised amount.
    pub qty: Qty,
    /// Quantised limit price.
    pub price: Price,
    /// The strategy.
    pub strategy_id: &'a str,
    /// Its structure.
    pub structure_fingerprint: u64,
    /// What only a proposal says; `None` for a recorded intent, whose type and edge were judged when it was recorded.
    pub proposed: Option<Proposed<'a>>,
}

/// What only a proposal says.
#[derive(Clone, Copy)]
pub(crate) struct Proposed<'a> {
    /// The leg.
    pub leg: &'a LegProposal,
    /// The group's edge.
    pub edge: &'a EdgeInputs,
    /// Legs of the group that have passed already and are about to be sent.
    pub siblings: &'a [IntentRecord],
}

/// Coins of one underlying in 1e-9: what is held, and what outstanding OPENs may add on either side.
#[derive(Clone, Copy, Debug, Default)]
struct Delta {
    held: i64,
    pending_long: i64,
    pending_short: i64,
}

impl Delta {
    /// Adds an order that may fill.
    fn reserve(&mut self, moved: i64) {
        self.pending_long = self.pending_long.saturating_add(moved.max(0));
        self.pending_short = self.pending_short.saturating_add(moved.min(0));
    }

    /// Current and pending, as if all of it filled.
    const fn expected(self) -> i64 {
        self.held.saturating_add(self.pending_long).saturating_add(self.pending_short)
    }

    /// The worst that may come: only the orders of one side fill.
    fn worst(self) -> i64 {
        let (long, short) = (self.held.saturating_add(self.pending_long), self.held.saturating_add(self.pending_short));
        if long.saturating_abs() >= short.saturating_abs() { long } else { short }
    }
}

/// How an order leans on the inventory: the expected delta before it, and the limit, both in 1e-9 coins.
#[derive(Clone, Copy)]
struct Lean {
    expected: i64,
    moved: i64,
    limit: i64,
}

impl Lean {
    /// The absolute delta, at most the limit: bias is this over the limit.
    fn inventory(self) -> i64 {
        self.expected.saturating_abs().min(self.limit)
    }

    /// True where the order adds to the inventory.
    const fn raises(self) -> bool {
        self.expected.signum() != 0 && self.expected.signum() == self.moved.signum()
    }

    /// True where the order takes from the inventory and does not turn it into a larger one.
    const fn lowers(self) -> bool {
        self.expected.signum() == self.moved.signum().saturating_neg()
            && self.moved != 0
            && self.expected.saturating_add(self.moved).saturating_abs() <= self.expected.saturating_abs()
    }

    /// Returns how many ticks a limit moves away from the market: the bias' part of `max`, rounded up. Source: AT-030, AT-282.
    fn penalty_ticks(self, max: i64) -> Option<i64> {
        let ticks = ceil_div(i128::from(self.inventory()).checked_mul(i128::from(max))?, i128::from(self.limit))?;
        i64::try_from(ticks).ok()
    }

    /// True where an edge reaches the minimum, raised or eased by `k` parts per million of the bias.
    fn allows(self, net_cents: i64, min_cents: i64, k: i64) -> bool {
        let judge = || {
            let whole = i128::from(PPM).checked_mul(i128::from(self.limit))?;
            let skew = i128::from(k).checked_mul(i128::from(self.inventory()))?;
            let factor = if self.raises() {
                whole.checked_add(skew)?
            } else if self.lowers() {
                whole.checked_sub(skew)?.max(0)
            } else {
                whole
            };
            let found = i128::from(net_cents).checked_mul(whole)?;
            Some(found >= i128::from(min_cents).checked_mul(factor)?)
        };
        judge().unwrap_or(false)
    }
}

impl Kernel {
    /// Takes an order through every gate; returns the limit price it may be sent at.
    pub(crate) fn pass_gates(
        &mut self,
        order: &Candidate<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<Price, RejectReason> {
        if let Some(proposed) = order.proposed {
            self.preflight(order, proposed.leg)?;
        }
        if order.class == IntentClass::Open {
            self.churn_gate(order)?;
        }
        self.lifecycle_gate(order.class, order.instrument)?;
        if self.usable_book(order.instrument).is_none() {
            return Err(RejectReason::LiquidityGateNoL2);
        }
        if order.class != IntentClass::Open {
            return Ok(order.price);
        }
        self.slippage_gate(order, effects)?;
        self.margin_gate()?;
        if let Some(proposed) = order.proposed {
            self.net_edge_gate(order, proposed)?;
        }
        let price = self.inventory_skew(order)?;
        self.pending_exposure_gate(order)?;
        self.portfolio_gate(order)?;
        self.self_impact_gate(order)?;
        Ok(price)
    }

    /// Order types that are refused and never rewritten, whatever the instrument: market, stop, linked, and post-only at a
    /// price that would trade at once. Source: AT-004, AT-016, AT-017, AT-018, AT-019, AT-913, AT-914, AT-915, AT-916.
    fn preflight(&self, order: &Candidate<'_>, leg: &LegProposal) -> Result<(), RejectReason> {
        match leg.order_type {
            OrderType::Limit => {}
            OrderType::Market => return Err(RejectReason::OrderTypeMarketForbidden),
            OrderType::StopMarket | OrderType::StopLimit => return Err(RejectReason::OrderTypeStopForbidden),
        }
        if leg.linked {
            return Err(RejectReason::LinkedOrderTypeForbidden);
        }
        let crosses = |best: Price| match order.side {
            Side::Buy => order.price >= best,
            Side::Sell => order.price <= best,
        };
        let best = self.usable_book(order.instrument).and_then(|book| book.best_against(order.side));
        if leg.post_only && best.is_some_and(crosses) {
            return Err(RejectReason::PostOnlyWouldCross);
        }
        Ok(())
    }

    fn churn_gate(&self, order: &Candidate<'_>) -> Result<(), RejectReason> {
        let key = (order.strategy_id.to_owned(), order.structure_fingerprint);
        if self.groups.blacklist.contains_key(&key) { Err(RejectReason::ChurnBreakerActive) } else { Ok(()) }
    }

    /// Walks the book for the whole amount: refuses where the weighted average price is more than `max_slippage_bps` from
    /// the best one, or where the book does not hold the amount. Source: AT-222, AT-317; AT-344 and AT-909 without a book.
    fn slippage_gate(&self, order: &Candidate<'_>, effects: &mut Vec<Effect>) -> Result<(), RejectReason> {
        let book = self.usable_book(order.instrument).ok_or(RejectReason::LiquidityGateNoL2)?;
        let best = book.best_against(order.side).ok_or(RejectReason::LiquidityGateNoL2)?;
        let mut left = order.qty.0;
        let mut cost = Some(0i128);
        for (price, qty) in book.levels_against(order.side) {
            let taken = qty.0.min(left);
            let apart = i128::from(price.0.saturating_sub(best.0).saturating_abs());
            cost = apart.checked_mul(i128::from(taken)).and_then(|more| cost?.checked_add(more));
            left = left.saturating_sub(taken);
            if left <= 0 {
                break;
            }
        }
        if left > 0 {
            return Err(RejectReason::InsufficientDepthWithinBudget);
        }
        let amount = i128::from(order.qty.0);
        let judge = || {
            let found = cost?.checked_mul(BPS)?;
            let whole = amount.checked_mul(i128::from(best.0))?;
            let allowed = whole.checked_mul(i128::from(self.config().max_slippage_bps))?;
            Some((found <= allowed, ceil_div(found, whole)?, ceil_div(cost?, amount)?))
        };
        match judge() {
            Some((true, ..)) => Ok(()),
            Some((false, bps, apart)) => {
                let apart = Price(i64::try_from(apart).unwrap_or(i64::MAX));
                let wap = match order.side {
                    Side::Buy => best.plus(apart),
                    Side::Sell => best.minus(apart),
                };
                let slippage_bps = i64::try_from(bps).unwrap_or(i64::MAX);
                let instrument = order.instrument;
                effects.push(Effect::Note(Note::LiquidityGateReject { instrument, wap, slippage_bps }));
                Err(RejectReason::ExpectedSlippageTooHigh)
            }
            None => Err(RejectReason::ExpectedSlippageTooHigh),
        }
    }

    /// No OPEN at or above `mm_util_reject_opens`. Source: AT-206, AT-227, AT-300, AT-912.
    fn margin_gate(&self) -> Result<(), RejectReason> {
        let headroom = self.monitors.margin.value.is_some_and(|used| used.0 < self.config().mm_util_reject_opens);
        if headroom { Ok(()) } else { Err(RejectReason::MarginHeadroomRejectOpens) }
    }

    /// Returns gross edge less fees and slippage in USD cents; `None` where an input is missing or impossible. Fees of a
    /// soft-stale model carry `fee_stale_buffer`, rounded up. Source: AT-032, AT-244, AT-318, AT-320, AT-932.
    pub(crate) fn net_edge_usd_cents(&self, edge: &EdgeInputs) -> Option<i64> {
        let (gross, fee) = (edge.gross_usd_cents?, edge.fee_usd_cents?);
        let slippage = edge.slippage_usd_cents.filter(|cents| *cents >= 0)?;
        let soft = seconds(self.config().fee_cache_soft_s);
        let fee = if fee > 0 && self.monitors.fee_model.older_than(self.now(), soft) {
            let buffered = i128::from(fee).checked_mul(i128::from(PPM.checked_add(self.config().fee_stale_buffer)?))?;
            i64::try_from(ceil_div(buffered, i128::from(PPM))?).ok()?
        } else {
            fee
        };
        gross.checked_sub(fee)?.checked_sub(slippage)
    }

    /// The net edge reaches `min_edge_usd`, or the minimum eased for a trade that lowers the inventory.
    /// Source: AT-015, AT-224, AT-243, AT-932.
    fn net_edge_gate(&mut self, order: &Candidate<'_>, proposed: Proposed<'_>) -> Result<(), RejectReason> {
        let min_usd = self.config().min_edge_usd;
        let min_cents = self.configured(min_usd, RejectReason::NetEdgeInputMissing)?.saturating_mul(100);
        let net = self.net_edge_usd_cents(proposed.edge).ok_or(RejectReason::NetEdgeInputMissing)?;
        let k = self.config().inventory_skew_k;
        let eased = || self.lean(order).is_some_and(|lean| lean.lowers() && lean.allows(net, min_cents, k));
        if net >= min_cents || eased() { Ok(()) } else { Err(RejectReason::NetEdgeTooLow) }
    }

    /// Raises the minimum edge of a trade that adds to the inventory, by `inventory_skew_k` of its bias, and moves its
    /// limit away from the market by up to `inventory_skew_tick_penalty_max` ticks. Bias is current and pending delta over
    /// `delta_limit`, at most one; the limit of a recorded intent was moved when it was recorded.
    /// Source: AT-030, AT-043, AT-224, AT-281, AT-282, AT-922, AT-934.
    fn inventory_skew(&mut self, order: &Candidate<'_>) -> Result<Price, RejectReason> {
        self.configured(self.inventory_limit(), RejectReason::InventorySkewDeltaLimitMissing)?;
        let lean = self.lean(order).ok_or(RejectReason::InventorySkew)?;
        let Some(proposed) = order.proposed.filter(|_| lean.raises()) else {
            return Ok(order.price);
        };
        let min_cents = self.config().min_edge_usd.unwrap_or(i64::MAX).saturating_mul(100);
        let net = self.net_edge_usd_cents(proposed.edge).ok_or(RejectReason::NetEdgeInputMissing)?;
        if !lean.allows(net, min_cents, self.config().inventory_skew_k) {
            return Err(RejectReason::InventorySkew);
        }
        let max = self.config().inventory_skew_tick_penalty_max;
        let ticks = lean.penalty_ticks(max).ok_or(RejectReason::InventorySkew)?;
        let tick = self.instrument(order.instrument).and_then(|of| of.tick_size);
        let away = Price(ticks.saturating_mul(tick.ok_or(RejectReason::InstrumentMetadataMissing)?.0));
        let price = match order.side {
            Side::Buy => order.price.minus(away),
            Side::Sell => order.price.plus(away),
        };
        if price.0 > 0 { Ok(price) } else { Err(RejectReason::InventorySkew) }
    }

    /// Reserves the order's delta: with all outstanding OPENs of its direction filled, the delta stays within
    /// `delta_limit`. An order that has ended reserves nothing. Source: AT-225, AT-910.
    fn pending_exposure_gate(&self, order: &Candidate<'_>) -> Result<(), RejectReason> {
        let exceeded = RejectReason::PendingExposureBudgetExceeded;
        let (mut delta, moved) = self.delta_and_move(order).ok_or(exceeded)?;
        let limit = self.config().delta_limit.ok_or(exceeded)?;
        delta.reserve(moved);
        let after = delta.held.saturating_add(if moved > 0 { delta.pending_long } else { delta.pending_short });
        if after.saturating_mul(moved.signum()) > limit { Err(exceeded) } else { Ok(()) }
    }

    /// Keeps the correlated total of current and pending delta over all underlyings within `portfolio_exposure_limit`,
    /// coins of the reference instrument's underlying (of the first one where none is configured), valued at the indices.
    /// An order that does not raise the total passes. Source: AT-226, AT-911, AT-929.
    fn portfolio_gate(&mut self, order: &Candidate<'_>) -> Result<(), RejectReason> {
        let exceeded = RejectReason::GlobalExposureBudgetExceeded;
        let limit = self.config().portfolio_exposure_limit.filter(|limit| *limit >= 0);
        let limit = self.configured(limit, exceeded)?;
        let own = self.instrument(order.instrument).map(|of| of.underlying).ok_or(exceeded)?;
        let reference = self.core.reference_instrument.and_then(|id| self.instrument(id));
        let home = reference.map_or(UnderlyingId(0), |of| of.underlying);
        let siblings = order.proposed.map_or(&[][..], |proposed| proposed.siblings);
        let (_, moved) = self.delta_and_move(order).ok_or(exceeded)?;
        let last = self.core.instruments.iter().map(|of| of.underlying).max().unwrap_or(own);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for underlying in (0..=last.0).map(UnderlyingId) {
            let mut delta = self.pending_delta_of(underlying, siblings).ok_or(exceeded)?;
            let value = |delta: Delta, values: &mut Vec<(Bucket, i128)>| {
                let coins = delta.worst();
                let usd = if coins == 0 { Some(0) } else { self.index_of(underlying).map(|at| milli_usd(coins, at)) };
                usd.map(|usd| values.push((self.bucket_of(underlying), usd)))
            };
            value(delta, &mut before).ok_or(exceeded)?;
            if underlying == own {
                delta.reserve(moved);
            }
            value(delta, &mut after).ok_or(exceeded)?;
        }
        let index = self.index_of(home).ok_or(exceeded)?;
        let allowed = milli_usd(limit, index).saturating_mul(milli_usd(limit, index)).saturating_mul(TENTHS);
        let (before, after) = (correlated_square(&before), correlated_square(&after));
        if after > allowed && after > before { Err(exceeded) } else { Ok(()) }
    }

    /// No OPEN in the direction of own recent trades that made up too much of the market, and none of its structure for
    /// `feedback_loop_cooldown_s` after that; public trades that are too old latch instead.
    /// Source: AT-953, AT-955, AT-956, AT-957.
    fn self_impact_gate(&mut self, order: &Candidate<'_>) -> Result<(), RejectReason> {
        if self.guard_public_trades() {
            return Err(RejectReason::OpenPermissionLatched);
        }
        let now = self.now();
        let key = (order.strategy_id.to_owned(), order.structure_fingerprint);
        self.groups.feedback.retain(|_, until| now < *until);
        if !self.groups.feedback.contains_key(&key) {
            if !self.trades_with_itself(order) {
                return Ok(());
            }
            let until = now.after(seconds(self.config().feedback_loop_cooldown_s));
            self.groups.feedback.insert(key, until);
        }
        Err(RejectReason::FeedbackLoopGuardActive)
    }

    /// True where own trades of the order's direction and instrument, within the window, reach a trip.
    fn trades_with_itself(&self, order: &Candidate<'_>) -> bool {
        let (now, config) = (self.now(), self.config());
        let window = seconds(config.feedback_loop_window_s);
        let own = self
            .orders
            .recent_fills
            .iter()
            .filter(|fill| fill.instrument == order.instrument && now.since(fill.at) <= window)
            .filter(|fill| order.side.sign(fill.qty.0) > 0)
            .fold(0i64, |sum, fill| sum.saturating_add(fill.qty.0.saturating_abs()));
        let public = self.feeds.trades.get(order.instrument.index()).map_or(0, |feed| {
            let recent = feed.volume.iter().filter(|(at, _)| now.since(*at) <= window);
            recent.fold(0i64, |sum, (_, qty)| sum.saturating_add(qty.0))
        });
        if own == 0 {
            return false;
        }
        let usd = |amount: i64| Some(self.size_of(order.instrument, Qty(amount))?.notional_usd.0);
        let (Some(own), Some(public)) = (usd(own), usd(public)) else {
            return true;
        };
        let part = i128::from(own).saturating_mul(i128::from(PPM));
        let tripped = part >= i128::from(public.max(1)).saturating_mul(i128::from(config.self_trade_fraction_trip));
        (tripped && own >= config.self_trade_min_self_notional_usd.saturating_mul(NANO))
            || own >= config.self_trade_notional_trip_usd.saturating_mul(NANO)
    }

    /// Checks that contracts and amount say the same where a leg states both; a mismatch is a cause until a later run.
    /// Source: AT-277, AT-280, AT-920.
    pub(crate) fn check_contracts(&mut self, leg: &LegProposal) -> Result<(), RejectReason> {
        let Some(contracts) = leg.contracts else {
            return Ok(());
        };
        let listing = self.core.listings.get(leg.instrument.index());
        let multiplier = listing.and_then(|of| of.contract_multiplier).filter(|multiplier| multiplier.0 > 0);
        let multiplier = multiplier.ok_or(RejectReason::InstrumentMetadataMissing)?;
        if contracts_agree(leg.qty, contracts, multiplier, self.config().contracts_amount_match_tolerance) {
            return Ok(());
        }
        let stamp = self.core.stamp;
        self.monitors.renew(Cause::ContractsMismatch, stamp);
        self.ask_run();
        Err(RejectReason::ContractsAmountMismatch)
    }

    /// Returns a limit that has no default; without it the gate refuses with its own code, and its absence is a cause until
    /// a boot that has it. Source: AT-043, AT-424, AT-922.
    pub(crate) fn configured(&mut self, limit: Option<i64>, code: RejectReason) -> Result<i64, RejectReason> {
        if limit.is_none() {
            let stamp = self.core.stamp;
            self.monitors.raise(Cause::LimitMissing, stamp);
        }
        limit.ok_or(code)
    }

    fn lean(&self, order: &Candidate<'_>) -> Option<Lean> {
        let (delta, moved) = self.delta_and_move(order)?;
        Some(Lean { expected: delta.expected(), moved, limit: self.inventory_limit()? })
    }

    /// Returns the limit that the inventory is a part of; one of 0 is none.
    fn inventory_limit(&self) -> Option<i64> {
        self.config().delta_limit.filter(|limit| *limit > 0)
    }

    /// Returns the delta of the order's underlying before it, and the coins that it would move.
    fn delta_and_move(&self, order: &Candidate<'_>) -> Option<(Delta, i64)> {
        let siblings = order.proposed.map_or(&[][..], |proposed| proposed.siblings);
        let underlying = self.instrument(order.instrument)?.underlying;
        let delta = self.pending_delta_of(underlying, siblings)?;
        // An inverse contract moves the more coins the lower it fills, so the lower of limit and market is taken.
        let market = self.usable_book(order.instrument).and_then(|book| book.best_against(order.side));
        let price = market.map_or(order.price, |best| best.min(order.price));
        Some((delta, self.moved_coins(order.instrument, order.side, order.qty, price)?))
    }

    /// Returns current and pending delta of an underlying; `None` where a position or an order can't be priced.
    fn pending_delta_of(&self, underlying: UnderlyingId, siblings: &[IntentRecord]) -> Option<Delta> {
        let mut delta = Delta { held: self.net_exposure(underlying), ..Delta::default() };
        for (index, (instrument, position)) in self.core.instruments.iter().zip(&self.orders.positions).enumerate() {
            let id = crate::feeds::instrument_id(index);
            let priced = instrument.kind == InstrumentKind::Option || self.valuation_price(id).is_some();
            if instrument.underlying == underlying && !position.is_zero() && !priced && !self.is_gone(id) {
                return None;
            }
        }
        let outstanding = self.orders.live.iter().filter_map(|intent| self.orders.intents.get(intent));
        let outstanding = outstanding.map(|order| (&order.record, order.record.qty.minus(order.filled)));
        for (record, left) in outstanding.chain(siblings.iter().map(|record| (record, record.qty))) {
            let here = self.instrument(record.instrument).is_some_and(|of| of.underlying == underlying);
            if here && record.class == IntentClass::Open && left.0 > 0 {
                delta.reserve(self.moved_coins(record.instrument, record.side, left, record.price)?);
            }
        }
        Some(delta)
    }

    /// Returns the signed coins that an order moves at a price; `None` where that price says nothing.
    fn moved_coins(&self, instrument: InstrumentId, side: Side, qty: Qty, price: Price) -> Option<i64> {
        (price.0 > 0).then(|| side.sign(self.coins_of(instrument, qty, price)))
    }

    /// Returns what an amount is worth at the index of its underlying.
    fn size_of(&self, instrument: InstrumentId, amount: Qty) -> Option<Size> {
        let of = self.instrument(instrument)?;
        Size::of(of.kind, amount, self.index_of(of.underlying)?)
    }

    /// Returns the index of an underlying in USD, from the ticker of any of its instruments.
    fn index_of(&self, underlying: UnderlyingId) -> Option<Price> {
        let tickers = self.core.instruments.iter().zip(&self.feeds.tickers);
        tickers
            .filter(|(instrument, _)| instrument.underlying == underlying)
            .find_map(|(_, ticker)| ticker.as_ref().and_then(|(ticker, _)| ticker.index).filter(|at| at.0 > 0))
            .or_else(|| self.perpetual_of(underlying).and_then(|id| self.valuation_price(id)))
    }

    /// Returns which correlations an underlying has, by the name of its instruments.
    fn bucket_of(&self, underlying: UnderlyingId) -> Bucket {
        let of = self.core.instruments.iter().find(|of| of.underlying == underlying);
        let coin = of.and_then(|of| of.name.split(|mark: char| !mark.is_alphanumeric()).next());
        match coin {
            Some("BTC") => Bucket::Btc,
            Some("ETH") => Bucket::Eth,
            Some(_) | None => Bucket::Alt,
        }
    }
}

/// What the portfolio budget tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bucket {
    Btc,
    Eth,
    Alt,
}

/// A correlation of one, in tenths.
const TENTHS: i128 = 10;

impl Bucket {
    /// Correlation of two underlyings in tenths. Among the rest nothing is known: alike where both lean the same way,
    /// no help where they lean apart. Source: AT-226.
    const fn correlation(self, other: Self, same_way: bool) -> i128 {
        match (self, other) {
            (Self::Btc, Self::Eth) | (Self::Eth, Self::Btc) => 8,
            (Self::Alt, Self::Btc | Self::Eth) | (Self::Btc | Self::Eth, Self::Alt) => 6,
            (Self::Btc, Self::Btc) | (Self::Eth, Self::Eth) | (Self::Alt, Self::Alt) if same_way => TENTHS,
            (Self::Btc, Self::Btc) | (Self::Eth, Self::Eth) | (Self::Alt, Self::Alt) => 0,
        }
    }
}

/// Returns the square of the correlated total, in tenths.
fn correlated_square(values: &[(Bucket, i128)]) -> i128 {
    let mut sum = 0i128;
    for (place, (bucket, value)) in values.iter().enumerate() {
        for (other_place, (other_bucket, other)) in values.iter().enumerate() {
            let correlation = if place == other_place {
                TENTHS
            } else {
                bucket.correlation(*other_bucket, value.signum() == other.signum())
            };
            sum = sum.saturating_add(value.saturating_mul(*other).saturating_mul(correlation));
        }
    }
    sum
}

/// Returns what nano-coins are worth in thousandths of a USD; small enough for squares.
fn milli_usd(coins: i64, index: Price) -> i128 {
    const NANO_PER_MILLI: i64 = 1_000_000;
    i128::from(mul_div(coins, index.0, NANO.saturating_mul(NANO_PER_MILLI)))
}

/// Returns `a / b` rounded up, for `a` of at least zero; `None` unless `b` is positive.
const fn ceil_div(a: i128, b: i128) -> Option<i128> {
    if b <= 0 {
        return None;
    }
    match a.checked_add(b.saturating_sub(1)) {
        Some(sum) => sum.checked_div(b),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: i64 = 1_000_000_000;
    const HALF: i64 = 500_000;

    #[test]
    fn at_030_282_281_penalty_and_edge_at_the_bias() {
        let lean = |expected, moved| Lean { expected, moved, limit: LIMIT };
        for (bias, ticks) in [(0, 0), (1, 1), (333_333_333, 1), (333_333_334, 2), (900_000_000, 3), (LIMIT, 3)] {
            assert_eq!(lean(bias, 1).penalty_ticks(3), Some(ticks), "{bias}");
            assert_eq!(lean(-bias, -1).penalty_ticks(3), Some(ticks), "{bias}");
        }
        // The bias is at most one.
        assert_eq!(lean(2 * LIMIT, 1).penalty_ticks(3), Some(3));
        assert!(lean(900_000_000, 1).allows(145, 100, HALF) && !lean(900_000_000, 1).allows(144, 100, HALF));
        assert!(lean(2 * LIMIT, 1).allows(150, 100, HALF) && !lean(2 * LIMIT, 1).allows(149, 100, HALF));
        assert!(lean(900_000_000, -1).allows(55, 100, HALF) && !lean(900_000_000, -1).allows(54, 100, HALF));
        // An order that turns the inventory into a larger one of the other sign is not eased, and not raised.
        let turned = lean(900_000_000, -1_900_000_000);
        assert!(turned.allows(100, 100, HALF) && !turned.allows(99, 100, HALF));
        assert!(lean(0, 1).allows(100, 100, HALF) && !lean(0, 1).allows(99, 100, HALF));
        // What does not fit is refused.
        assert!(!lean(i64::MAX, 1).allows(i64::MAX, i64::MAX, i64::MAX));
    }

    #[test]
    fn at_226_correlations_of_the_portfolio() {
        use Bucket::{Alt, Btc, Eth};
        let square = |values: &[(Bucket, i128)]| correlated_square(values);
        assert_eq!(square(&[(Btc, 3)]), 90);
        assert_eq!(square(&[(Btc, 3), (Eth, 5)]), 90 + 250 + 2 * 15 * 8);
        assert_eq!(square(&[(Btc, 3), (Alt, 5)]), 90 + 250 + 2 * 15 * 6);
        assert_eq!(square(&[(Eth, 3), (Alt, 5)]), 90 + 250 + 2 * 15 * 6);
        assert_eq!(square(&[(Btc, 3), (Eth, -5)]), 90 + 250 - 2 * 15 * 8);
        assert_eq!(square(&[(Alt, 3), (Alt, 5)]), 640);
        assert_eq!(square(&[(Alt, 3), (Alt, -5)]), 340);
    }
}
