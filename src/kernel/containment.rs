//! Containment: rescue, emergency close and hedge of a failed group; the same rounds on net exposure under Kill.
//! Source: kernel contract section 7; AT-117, AT-118, AT-211, AT-235, AT-283, AT-316, AT-338, AT-937, AT-938.
//!
//! ```text
//! round 1:  rescue x2 ─┐
//! every round:         └─► close at 5, 10, 20 ticks ─► hedge ─► neutral | next round after containment_retry_s
//! ```
//! One order at a time: the next step is decided when the last one has ended.

use alloc::{format, string::String, vec::Vec};

use crate::{
    config::seconds,
    effect::{CorrectiveAction, Effect, Note},
    event::{EdgeInputs, GroupState, IntentClass, LedgerRecord, TlsmState},
    planted::{self, Rule},
    registry::{RejectReason, TradingMode},
    state::{Group, Kernel, KillRounds, Round},
    units::{InstrumentId, NANO, Price, Qty, Side, UnderlyingId, mul_div},
};

/// Strategy id in the labels of Kill containment.
const KILL_STRATEGY: &str = "killflat";

/// An order that containment would send.
struct Plan {
    class: IntentClass,
    instrument: InstrumentId,
    side: Side,
    qty: Qty,
    price: Price,
}

/// What a step of containment comes to.
enum Step {
    /// This order goes out.
    Send(Plan),
    /// A price is missing; one was asked for.
    NoPrice(InstrumentId),
    /// Nothing can be sent at this step; the next one may.
    Skip,
}

impl Kernel {
    /// Drives all containment after an event.
    pub(crate) fn contain(&mut self, effects: &mut Vec<Effect>) {
        if !self.orders.boot_run_ended {
            return;
        }
        if self.core.resolution.mode == TradingMode::Kill {
            self.contain_net(effects);
            return;
        }
        let open: Vec<String> = self.groups.open.iter().filter(|id| self.is_contained_with_fill(id)).cloned().collect();
        for id in open {
            self.contain_group(&id, effects);
        }
    }

    /// Decides the next step of one group.
    fn contain_group(&mut self, id: &str, effects: &mut Vec<Effect>) {
        if !self.all_ended(id) {
            return;
        }
        let exposure = self.group_exposure(id);
        if self.is_neutral(id, exposure) {
            self.end_contained(id, exposure, effects);
            return;
        }
        let now = self.now();
        let rounds_max = u32::try_from(self.config().containment_rounds_max).unwrap_or(0);
        let Some(group) = self.groups.all.get_mut(id) else {
            return;
        };
        if group.round.is_none() {
            if now < group.next_round_at || group.rounds >= rounds_max {
                return;
            }
            group.rounds = group.rounds.saturating_add(1);
            group.round = Some(Round::default());
        }
        self.step_round(id, exposure, effects);
    }

    /// Takes a round one step on: rescue, close, hedge, end. No pre-trade gate is asked: only a rescue needs liquidity and
    /// edge. Source: AT-117, AT-235, AT-236, AT-327, AT-328.
    fn step_round(&mut self, id: &str, exposure: i64, effects: &mut Vec<Effect>) {
        let rescues_max = u32::try_from(self.config().rescue_attempts_max).unwrap_or(0);
        let closes_max = u32::try_from(self.config().close_attempts_max).unwrap_or(0);
        let Some(group) = self.groups.all.get(id) else {
            return;
        };
        let Some(round) = group.round else {
            return;
        };
        let first = group.rounds == 1 && round.closes == 0 && group.rescues < rescues_max;
        if first && let Some(plan) = self.plan_rescue(group, exposure) {
            if let Some(group) = self.groups.all.get_mut(id) {
                group.rescues = group.rescues.saturating_add(1);
            }
            self.send_for_group(id, plan, effects);
            return;
        }
        if round.closes < closes_max {
            let candidates = self.group_candidates(id, exposure);
            match self.plan_close(&candidates, exposure, round.closes) {
                Step::Send(plan) => {
                    self.update_round(id, |round| round.closes = round.closes.saturating_add(1));
                    self.send_for_group(id, plan, effects);
                    return;
                }
                Step::NoPrice(instrument) => {
                    self.no_price(id, instrument, effects);
                    return;
                }
                Step::Skip => {}
            }
        }
        if !round.hedged {
            match self.plan_hedge(self.underlying_of_group(id), exposure) {
                Step::Send(plan) => {
                    self.update_round(id, |round| round.hedged = true);
                    self.send_for_group(id, plan, effects);
                    return;
                }
                Step::NoPrice(instrument) => {
                    self.no_price(id, instrument, effects);
                    return;
                }
                Step::Skip => {}
            }
        }
        self.end_round(id, effects);
    }

    fn update_round(&mut self, id: &str, change: impl FnOnce(&mut Round)) {
        if let Some(round) = self.groups.all.get_mut(id).and_then(|group| group.round.as_mut()) {
            change(round);
        }
    }

    fn end_round(&mut self, id: &str, effects: &mut Vec<Effect>) {
        let next = self.now().after(seconds(self.config().containment_retry_s));
        let rounds_max = u32::try_from(self.config().containment_rounds_max).unwrap_or(0);
        let Some(group) = self.groups.all.get_mut(id) else {
            return;
        };
        if let Some(round) = group.round.take() {
            group.last_closes = round.closes;
            group.hedged |= round.hedged;
        }
        group.next_round_at = next;
        if group.rounds >= rounds_max {
            effects.push(Effect::Note(Note::RoundsExhausted(id.into())));
        }
    }

    /// Starts a group's rounds again at an operator's word, and, whatever it names, those on net exposure under Kill.
    /// Source: kernel contract section 7.
    pub(crate) fn resume_containment(&mut self, id: &str) {
        let now = self.now();
        self.groups.kill_rounds.clear();
        if let Some(group) = self.groups.all.get_mut(id) {
            group.rounds = 0;
            group.next_round_at = now;
        }
    }

    /// A rescue completes a leg that failed: an IOC a few ticks across the spread, only with a usable book deep enough and
    /// a net edge that, with the fees as they are now, the configured minimum allows. Source: AT-283, AT-936.
    fn plan_rescue(&self, group: &Group, exposure: i64) -> Option<Plan> {
        let edge_min = self.config().min_edge_usd?.saturating_mul(100);
        if self.net_edge_usd_cents(&group.edge)? < edge_min {
            return None;
        }
        let ticks = self.config().rescue_cross_spread_ticks;
        // What rescues filled already counts towards the leg they complete.
        let rescued = |instrument: InstrumentId, side: Side| {
            self.orders_of(group)
                .filter(|order| order.record.class == IntentClass::Rescue)
                .filter(|order| order.record.instrument == instrument && order.record.side == side)
                .fold(Qty::ZERO, |sum, order| sum.plus(order.filled))
        };
        let leg = self.orders_of(group).find(|order| {
            !order.record.class.is_containment()
                && matches!(order.state, TlsmState::Failed | TlsmState::Canceled)
                && order.filled.plus(rescued(order.record.instrument, order.record.side)) < order.record.qty
        })?;
        let (instrument, side) = (leg.record.instrument, leg.record.side);
        let qty = leg.record.qty.minus(leg.filled).minus(rescued(instrument, side));
        let book = self.usable_book(instrument)?;
        let price = self.beyond(instrument, side, book.best_against(side)?, ticks)?;
        if book.depth_within(side, price) < qty {
            return None;
        }
        let plan = Plan { class: IntentClass::Rescue, instrument, side, qty, price };
        self.lowers(&plan, exposure).then_some(plan)
    }

    /// Returns the instruments a group can be closed in, largest first: their signed coins and signed amounts.
    fn group_candidates(&self, id: &str, exposure: i64) -> Vec<(InstrumentId, i64, Qty)> {
        let Some(group) = self.groups.all.get(id) else {
            return Vec::new();
        };
        let mut held: Vec<(InstrumentId, i64, Qty)> = Vec::new();
        for order in self.orders_of(group) {
            let signed = Qty(order.record.side.sign(order.filled.0));
            match held.iter_mut().find(|(instrument, ..)| *instrument == order.record.instrument) {
                Some((_, coins, qty)) => {
                    *coins = coins.saturating_add(order.filled_coins);
                    *qty = qty.plus(signed);
                }
                None => held.push((order.record.instrument, order.filled_coins, signed)),
            }
        }
        held.retain(|(instrument, coins, qty)| {
            // Never more than the account still holds: something else may have closed it already.
            let position = self.orders.positions.get(instrument.index()).copied().unwrap_or_default();
            let held = position.0.signum() == qty.0.signum() && !position.is_zero();
            coins.signum() == exposure.signum() && held && !self.is_gone(*instrument)
        });
        held.sort_by_key(|(instrument, coins, _)| (core::cmp::Reverse(coins.saturating_abs()), *instrument));
        held
    }

    /// Plans a close of the largest candidate for what is exposed, 5, 10 or 20 ticks beyond the best price.
    fn plan_close(&self, candidates: &[(InstrumentId, i64, Qty)], exposure: i64, attempt: u32) -> Step {
        let Some((instrument, coins, held)) = candidates.first().copied() else {
            return Step::Skip;
        };
        let position = self.orders.positions.get(instrument.index()).copied().unwrap_or_default();
        let side = if held.0 > 0 { Side::Sell } else { Side::Buy };
        let share = exposure.saturating_abs().min(coins.saturating_abs());
        let qty = Qty(mul_div(held.abs().0, share, coins.saturating_abs())).min(position.abs());
        let min_amount = self.instrument(instrument).and_then(|of| of.min_amount).unwrap_or_default();
        if qty < min_amount {
            return Step::Skip;
        }
        let factor = 1i64.checked_shl(attempt).unwrap_or(i64::MAX);
        let ticks = self.config().close_buffer_ticks.saturating_mul(factor);
        self.priced(IntentClass::EmergencyClose, instrument, side, qty, ticks, exposure)
    }

    /// Plans one perpetual order for what is left, priced like the first attempt.
    fn plan_hedge(&self, underlying: Option<UnderlyingId>, exposure: i64) -> Step {
        let Some(instrument) = underlying.and_then(|of| self.perpetual_of(of)) else {
            return Step::Skip;
        };
        let side = if exposure > 0 { Side::Sell } else { Side::Buy };
        let Some(best) = self.best_price(instrument, side) else {
            return Step::NoPrice(instrument);
        };
        let qty = Qty(mul_div(exposure.saturating_abs(), best.0, NANO));
        let Some((step, min)) = self.instrument(instrument).and_then(|of| Some((of.amount_step?, of.min_amount?)))
        else {
            return Step::Skip;
        };
        let qty = Qty(crate::identity::round_down(qty.0, step.0.max(1)));
        if qty < min {
            return Step::Skip;
        }
        self.priced(IntentClass::EmergencyHedge, instrument, side, qty, self.config().close_buffer_ticks, exposure)
    }

    fn priced(
        &self,
        class: IntentClass,
        instrument: InstrumentId,
        side: Side,
        qty: Qty,
        ticks: i64,
        exposure: i64,
    ) -> Step {
        let Some(best) = self.best_price(instrument, side) else {
            return Step::NoPrice(instrument);
        };
        let Some(price) = self.beyond(instrument, side, best, ticks) else {
            return Step::Skip;
        };
        let plan = Plan { class, instrument, side, qty, price };
        if self.lowers(&plan, exposure) { Step::Send(plan) } else { Step::Skip }
    }

    /// Returns the price `ticks` beyond `best` on the aggressive side.
    fn beyond(&self, instrument: InstrumentId, side: Side, best: Price, ticks: i64) -> Option<Price> {
        let tick = self.instrument(instrument)?.tick_size?;
        let distance = Price(ticks.saturating_mul(tick.0));
        Some(match side {
            Side::Buy => best.plus(distance),
            // A seller's limit stays a valid price.
            Side::Sell => best.minus(distance).max(tick),
        })
    }

    /// True where the order lowers the absolute exposure and can at most bring it to zero, up to what the smallest
    /// tradable amount moves (an inverse contract's coins depend on the price it fills at).
    fn lowers(&self, plan: &Plan, exposure: i64) -> bool {
        if planted::broken(Rule::ContainmentReduces) {
            return true;
        }
        let best = self.best_price(plan.instrument, plan.side).unwrap_or(plan.price);
        let moved = plan.side.sign(self.coins_of(plan.instrument, plan.qty, best));
        let after = exposure.saturating_add(moved);
        let slack = self.smallest_coins(plan.instrument);
        let crosses = after.signum() == exposure.signum().saturating_neg() && after.saturating_abs() > slack;
        after.saturating_abs() < exposure.saturating_abs() && !crosses
    }

    /// Returns the nano-coins that the smallest amount of an instrument moves; at least 1.
    fn smallest_coins(&self, instrument: InstrumentId) -> i64 {
        let min = self.instrument(instrument).and_then(|of| of.min_amount).unwrap_or_default();
        let price = self.valuation_price(instrument).unwrap_or(Price(NANO));
        self.coins_of(instrument, min, price).saturating_abs().max(1)
    }

    /// True where no tradable amount could lower the group's exposure.
    fn is_neutral(&self, id: &str, exposure: i64) -> bool {
        let perpetual = self.underlying_of_group(id).and_then(|of| self.perpetual_of(of));
        let smallest = perpetual.map_or(1, |instrument| self.smallest_coins(instrument));
        exposure.saturating_abs() < smallest
    }

    fn underlying_of_group(&self, id: &str) -> Option<UnderlyingId> {
        let group = self.groups.all.get(id)?;
        let order = self.orders_of(group).next()?;
        self.instrument(order.record.instrument).map(|of| of.underlying)
    }

    fn send_for_group(&mut self, id: &str, plan: Plan, effects: &mut Vec<Effect>) {
        let Some(group) = self.groups.all.get(id) else {
            return;
        };
        let leg = u16::try_from(group.intents.len()).unwrap_or(u16::MAX);
        let strategy_id = group.strategy_id.clone();
        self.send_plan(&strategy_id, id, leg, plan, effects);
    }

    fn send_plan(&mut self, strategy_id: &str, group_id: &str, leg: u16, plan: Plan, effects: &mut Vec<Effect>) {
        let Plan { class, instrument, side, qty, price } = plan;
        if class == IntentClass::EmergencyHedge {
            let action = CorrectiveAction::ReduceOnlyDeltaHedge;
            effects.push(Effect::Note(Note::Corrected { action, of: group_id.into() }));
        }
        let record = self.containment_record(strategy_id, group_id, leg, class, instrument, side, qty, price);
        if let Some(record) = record
            && let Err(code) = self.send(record, effects)
        {
            self.refuse(group_id, leg, Some(class), code, effects);
        }
    }

    /// No price: no order, no attempt used up; a book is asked for.
    fn no_price(&mut self, group_id: &str, instrument: InstrumentId, effects: &mut Vec<Effect>) {
        let asked = self
            .feeds
            .books
            .get(instrument.index())
            .and_then(|book| book.pull)
            .is_some_and(|pull| self.session.pending.contains_key(&pull));
        if asked {
            return;
        }
        effects.push(Effect::Note(Note::EmergencyCloseNoPrice(instrument)));
        let (class, code) = (IntentClass::EmergencyClose, RejectReason::EmergencyCloseNoPrice);
        self.refuse(group_id, 0, Some(class), code, effects);
        self.pull_book(instrument, effects);
    }

    /// Ends a contained group that is neutral, with exactly one AtomicNakedEvent if it was ever exposed.
    fn end_contained(&mut self, id: &str, exposure: i64, effects: &mut Vec<Effect>) {
        let now = self.now();
        let mode = u8::try_from(self.core.resolution.mode.index()).unwrap_or(u8::MAX);
        let Some(group) = self.groups.all.get(id) else {
            return;
        };
        if group.exposure_max != 0
            && let Some(cause) = group.failure
        {
            let round = group.round.unwrap_or_default();
            let closes = if group.round.is_some() { round.closes } else { group.last_closes };
            let record = LedgerRecord::AtomicNaked {
                group_id: id.into(),
                strategy_id: group.strategy_id.clone(),
                exposure_before: group.exposure_max,
                exposure_after: exposure.saturating_abs(),
                time_to_neutral_ms: group.exposed_at.map_or(0, |at| now.since(at)),
                close_attempts: u8::try_from(closes).unwrap_or(u8::MAX),
                hedge_used: group.hedged || round.hedged,
                cause,
                mode,
                at: now,
            };
            self.ledger.naked_events.push_back(now);
            self.enqueue(record, effects);
        }
        self.end_group(id, GroupState::Flattened, effects);
        if !self.groups.open.iter().any(|open| self.is_contained_with_fill(open)) {
            self.groups.clean_since = self.groups.clean_since.or(Some(now));
        }
    }

    /// Under Kill: the same rounds, without rescue, on the net exposure of each underlying, whatever caused it and whatever
    /// else is wrong. Source: AT-013, AT-208, AT-302, AT-338, AT-339, AT-340, AT-346, AT-347.
    fn contain_net(&mut self, effects: &mut Vec<Effect>) {
        let count =
            self.core.instruments.iter().map(|of| of.underlying.0).max().map_or(0, |last| last.saturating_add(1));
        for underlying in (0..count).map(UnderlyingId) {
            self.contain_underlying(underlying, effects);
        }
    }

    fn contain_underlying(&mut self, underlying: UnderlyingId, effects: &mut Vec<Effect>) {
        let place = usize::from(underlying.0);
        if self.groups.kill_rounds.len() <= place {
            self.groups.kill_rounds.resize(place.saturating_add(1), KillRounds::default());
        }
        let exposure = self.net_exposure(underlying);
        let perpetual = self.perpetual_of(underlying);
        let smallest = perpetual.map_or(1, |instrument| self.smallest_coins(instrument));
        let busy = self.orders.live.iter().any(|intent| {
            self.orders.intents.get(intent).is_some_and(|order| {
                order.record.class.is_containment()
                    && self.instrument(order.record.instrument).is_some_and(|of| of.underlying == underlying)
            })
        });
        if busy {
            return;
        }
        if exposure.saturating_abs() < smallest {
            // Neutral: exposure that comes later has all its rounds before it.
            if let Some(rounds) = self.groups.kill_rounds.get_mut(place) {
                *rounds = KillRounds::default();
            }
            self.end_neutralised(underlying, effects);
            return;
        }
        let now = self.now();
        let rounds_max = u32::try_from(self.config().containment_rounds_max).unwrap_or(0);
        let closes_max = u32::try_from(self.config().close_attempts_max).unwrap_or(0);
        let Some(rounds) = self.groups.kill_rounds.get_mut(place) else {
            return;
        };
        if rounds.round.is_none() {
            if now < rounds.next_round_at || rounds.rounds >= rounds_max {
                return;
            }
            rounds.rounds = rounds.rounds.saturating_add(1);
            rounds.round = Some(Round::default());
        }
        let round = rounds.round.unwrap_or_default();
        let candidates = self.net_candidates(underlying, exposure);
        let close =
            if round.closes < closes_max { self.plan_close(&candidates, exposure, round.closes) } else { Step::Skip };
        let step = match close {
            Step::Skip if !round.hedged => self.plan_hedge(Some(underlying), exposure),
            other => other,
        };
        match step {
            Step::Send(plan) => {
                if let Some(round) = self.groups.kill_rounds.get_mut(place).and_then(|rounds| rounds.round.as_mut()) {
                    if plan.class == IntentClass::EmergencyHedge {
                        round.hedged = true;
                    } else {
                        round.closes = round.closes.saturating_add(1);
                    }
                }
                self.send_for_kill(plan, effects);
            }
            Step::NoPrice(instrument) => self.no_price("", instrument, effects),
            Step::Skip => {
                let next = now.after(seconds(self.config().containment_retry_s));
                let last = self.kill_group_id();
                if let Some(rounds) = self.groups.kill_rounds.get_mut(place) {
                    rounds.round = None;
                    rounds.next_round_at = next;
                    if rounds.rounds >= rounds_max {
                        effects.push(Effect::Note(Note::RoundsExhausted(last)));
                    }
                }
            }
        }
    }

    /// Ends the contained groups of an underlying whose net exposure Kill containment has neutralised: closing their fills
    /// again, one by one, would open what is already closed.
    fn end_neutralised(&mut self, underlying: UnderlyingId, effects: &mut Vec<Effect>) {
        let contained: Vec<String> = self
            .groups
            .open
            .iter()
            .filter(|id| self.is_contained_with_fill(id) && self.underlying_of_group(id) == Some(underlying))
            .filter(|id| self.all_ended(id))
            .cloned()
            .collect();
        for id in contained {
            let exposure = self.group_exposure(&id);
            if let Some(group) = self.groups.all.get_mut(&id) {
                group.neutralised_coins = group.neutralised_coins.saturating_sub(exposure);
            }
            self.end_contained(&id, 0, effects);
        }
    }

    fn net_candidates(&self, underlying: UnderlyingId, exposure: i64) -> Vec<(InstrumentId, i64, Qty)> {
        let mut held: Vec<(InstrumentId, i64, Qty)> = Vec::new();
        for (index, instrument) in self.core.instruments.iter().enumerate() {
            let id = crate::feeds::instrument_id(index);
            let coins = self.position_coins(id);
            if instrument.underlying == underlying && coins.signum() == exposure.signum() && coins != 0 {
                held.push((id, coins, self.orders.positions.get(index).copied().unwrap_or_default()));
            }
        }
        held.sort_by_key(|(instrument, coins, _)| (core::cmp::Reverse(coins.saturating_abs()), *instrument));
        held
    }

    /// Returns the group id of the last order of Kill containment; the boot's number keeps ids apart over restarts.
    fn kill_group_id(&self) -> String {
        format!("k{:06x}{:05}", self.core.booted.seq.0 & 0x00ff_ffff, self.groups.kill_orders)
    }

    /// Sends an order of Kill containment as a group of its own, so that its fills and label are kept like any other's.
    fn send_for_kill(&mut self, plan: Plan, effects: &mut Vec<Effect>) {
        self.groups.kill_orders = self.groups.kill_orders.saturating_add(1);
        let id = self.kill_group_id();
        let at = self.now();
        let record = LedgerRecord::Group {
            group_id: id.clone(),
            strategy_id: KILL_STRATEGY.into(),
            structure_fingerprint: 0,
            legs: 1,
            at,
        };
        self.enqueue(record, effects);
        let mut group = Group::new(KILL_STRATEGY.into(), 0, EdgeInputs::default(), 1);
        group.state = GroupState::Dispatched;
        self.groups.all.insert(id.clone(), group);
        self.groups.open.insert(id.clone());
        self.send_plan(KILL_STRATEGY, &id, 0, plan, effects);
    }
}
