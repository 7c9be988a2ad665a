//! The one chokepoint: nothing is sent but through here, order by order, each under the mode and latch of its own moment.
//! Source: kernel contract section 1; AT-010, AT-201, AT-931, AT-1065.

use alloc::{borrow::ToOwned, boxed::Box, string::String, vec::Vec};

use crate::{
    effect::{CancelReason, CancelRequest, CorrectiveAction, Effect, Note, OrderRequest, Refusal},
    event::{Action, GroupProposal, GroupState, IntentClass, IntentRecord, LedgerRecord, LegProposal, TlsmState},
    gates::{Candidate, Proposed},
    groups::reduces,
    identity::{Fields, intent_hash, label, quantise},
    planted::{self, Rule},
    registry::{RejectReason, TradingMode},
    state::{Cause, Group, Kernel, Order, Replacement},
    units::{IntentHash, Price, Qty, Side},
};

/// Most legs a proposed group may have.
const LEGS_MAX: usize = 8;

/// Classifies a leg: OPEN unless it is provably risk-reducing. Source: AT-110, AT-201.
#[must_use]
pub const fn classify(leg: &LegProposal) -> IntentClass {
    match (leg.reduce_only, leg.action) {
        (Some(true), Action::Hedge) => IntentClass::Hedge,
        (Some(true), Action::Place | Action::Close) => IntentClass::Close,
        (Some(true), Action::Unknown) | (Some(false) | None, _) => IntentClass::Open,
    }
}

impl Kernel {
    /// Returns why an intent of a class may not go out at this moment, by pressure, latch and mode. Source: AT-010, AT-229,
    /// AT-919, AT-931, AT-1049.
    pub(crate) fn forbidden(&self, class: IntentClass) -> Option<RejectReason> {
        let mode = self.core.resolution.mode;
        match class {
            IntentClass::Open => {
                if self.under_pressure() {
                    Some(RejectReason::RateLimitBrownout)
                } else if self.latch.is_set() && !planted::broken(Rule::LatchGate) {
                    Some(RejectReason::OpenPermissionLatched)
                } else if mode != TradingMode::Active
                    && !planted::broken(Rule::ModeGate)
                    && !(planted::broken(Rule::LatchGate) && self.latch.is_set())
                {
                    Some(RejectReason::TradingModeForbids)
                } else {
                    None
                }
            }
            IntentClass::Close | IntentClass::Hedge => {
                (mode == TradingMode::Kill && self.is_flat()).then_some(RejectReason::TradingModeForbids)
            }
            IntentClass::Rescue | IntentClass::EmergencyClose | IntentClass::EmergencyHedge => None,
        }
    }

    /// Takes a proposed group through every gate; all legs or none.
    pub(crate) fn propose_group(&mut self, proposal: &GroupProposal, effects: &mut Vec<Effect>) {
        let mut assembled = Vec::new();
        let mut refused = Vec::new();
        if proposal.legs.is_empty() || proposal.legs.len() > LEGS_MAX {
            refused.push((0u16, None, RejectReason::AssemblyFailed));
        }
        for (leg, index) in proposal.legs.iter().take(LEGS_MAX).zip(0u16..) {
            match self.assemble(proposal, leg, index, &assembled, effects) {
                Ok(record) => assembled.push(record),
                Err(code) => refused.push((index, Some(classify(leg)), code)),
            }
        }
        if !refused.is_empty() {
            for leg in assembled {
                refused.push((leg.leg, Some(leg.class), RejectReason::AssemblyFailed));
            }
            refused.sort_by_key(|(leg, ..)| *leg);
            for (leg, class, code) in refused {
                self.refuse(&proposal.group_id, leg, class, code, effects);
            }
            return;
        }
        self.record_and_send(proposal, assembled, effects);
    }

    /// Checks one leg up to, not including, its recording; the first refusal that applies wins. Source: AT-041, AT-921,
    /// AT-928.
    fn assemble(
        &mut self,
        proposal: &GroupProposal,
        leg: &LegProposal,
        index: u16,
        siblings: &[IntentRecord],
        effects: &mut Vec<Effect>,
    ) -> Result<IntentRecord, RejectReason> {
        let class = classify(leg);
        if let Some(code) = self.forbidden(class) {
            return Err(code);
        }
        if label(&proposal.strategy_id, &proposal.group_id, index, IntentHash(0)).is_err() {
            let stamp = self.core.stamp;
            self.monitors.renew(Cause::Label, stamp);
            self.ask_run();
            return Err(RejectReason::LabelTooLong);
        }
        let instrument = self.instrument(leg.instrument).ok_or(RejectReason::InstrumentMetadataMissing)?;
        let (qty, price) = quantise(instrument, leg.side, leg.qty, leg.price)?;
        let name = instrument.name.clone();
        self.check_contracts(leg)?;
        let (side, group_id) = (leg.side, proposal.group_id.as_str());
        let intent = intent_hash(&Fields { instrument: &name, side, qty, price, group_id, leg: index });
        let known = self.orders.intents.contains_key(&intent)
            || self.orders.ghosts.contains_key(&intent)
            || self.groups.all.contains_key(&proposal.group_id);
        if known {
            return Err(RejectReason::DuplicateIntent);
        }
        let candidate = Candidate {
            class,
            instrument: leg.instrument,
            side: leg.side,
            qty,
            price,
            strategy_id: &proposal.strategy_id,
            structure_fingerprint: proposal.structure_fingerprint,
            proposed: Some(Proposed { leg, edge: &proposal.edge, siblings }),
        };
        // The identity stays that of the proposal wherever inventory moves its limit: proposed again, under whatever
        // inventory, it is a duplicate.
        let price = self.pass_gates(&candidate, effects)?;
        Ok(IntentRecord {
            intent,
            group_id: proposal.group_id.clone(),
            leg: index,
            class,
            instrument: leg.instrument,
            side: leg.side,
            qty,
            price,
            reduce_only: reduces(class),
            time_in_force: leg.time_in_force,
            label: label(&proposal.strategy_id, &proposal.group_id, index, intent)?,
            at: self.now(),
        })
    }

    /// Records the group, then each leg, and sends each; a leg is judged again in the moment of its sending. Without the
    /// group's record no leg that opens goes. Source: AT-931, AT-939.
    fn record_and_send(&mut self, proposal: &GroupProposal, legs: Vec<IntentRecord>, effects: &mut Vec<Effect>) {
        let opens = legs.iter().any(|leg| leg.class == IntentClass::Open);
        let count = u16::try_from(legs.len()).unwrap_or(u16::MAX);
        let record = LedgerRecord::Group {
            group_id: proposal.group_id.clone(),
            strategy_id: proposal.strategy_id.clone(),
            structure_fingerprint: proposal.structure_fingerprint,
            legs: count,
            at: self.now(),
        };
        let recorded = self.enqueue(record, effects) || planted::broken(Rule::RecordBeforeDispatch);
        if !recorded && opens {
            for leg in legs {
                let (index, class) = (leg.leg, leg.class);
                let code = RejectReason::RecordedBeforeDispatchFailed;
                self.refuse(&proposal.group_id, index, Some(class), code, effects);
            }
            return;
        }
        let group = Group::new(proposal.strategy_id.clone(), proposal.structure_fingerprint, proposal.edge, count);
        self.groups.all.insert(proposal.group_id.clone(), group);
        self.groups.open.insert(proposal.group_id.clone());
        for leg in legs {
            let (index, class) = (leg.leg, leg.class);
            if let Err(code) = self.send(leg, effects) {
                self.refuse(&proposal.group_id, index, Some(class), code, effects);
            }
        }
        // One step for the group, recorded after its legs: MixedFailed where one of them could not go.
        let state = self.groups.all.get(&proposal.group_id).map(|group| group.intents.is_empty());
        match state {
            Some(true) => {
                self.groups.open.remove(&proposal.group_id);
                self.groups.all.remove(&proposal.group_id);
            }
            Some(false) => {
                if let Some(group) = self.groups.all.get_mut(&proposal.group_id) {
                    group.state = GroupState::Dispatched;
                }
                self.advance_groups_after(effects);
            }
            None => {}
        }
    }

    /// The chokepoint: asks mode and latch, records, sends, records the sending.
    pub(crate) fn send(&mut self, record: IntentRecord, effects: &mut Vec<Effect>) -> Result<(), RejectReason> {
        if let Some(code) = self.forbidden(record.class) {
            return Err(code);
        }
        let intent = record.intent;
        let recorded = self.enqueue(LedgerRecord::Intent(Box::new(record.clone())), effects);
        let must_be_recorded = record.class == IntentClass::Open && !planted::broken(Rule::RecordBeforeDispatch);
        if !recorded && must_be_recorded {
            return Err(RejectReason::RecordedBeforeDispatchFailed);
        }
        if let Some(group) = self.groups.all.get_mut(&record.group_id) {
            group.intents.push(intent);
        }
        self.orders.intents.insert(intent, Self::new_order(record));
        self.place(intent, effects);
        Ok(())
    }

    /// Hands a recorded intent to the venue, at its limit, and marks it sent. Nothing is sent again for what an immediate order
    /// left unfilled; only containment follows up, and only a failed group. Source: AT-223.
    fn place(&mut self, intent: IntentHash, effects: &mut Vec<Effect>) {
        let route = self.route();
        self.spend();
        let Some(order) = self.orders.intents.get(&intent) else {
            return;
        };
        let record = &order.record;
        effects.push(Effect::Place(Box::new(OrderRequest {
            intent,
            class: record.class,
            label: record.label.clone(),
            instrument: record.instrument,
            side: record.side,
            qty: record.qty,
            price: record.price,
            reduce_only: record.reduce_only,
            time_in_force: record.time_in_force,
            route,
        })));
        self.transition(intent, TlsmState::Sent, effects);
    }

    /// Refuses a leg, with the one code that tells why. Source: AT-930.
    pub(crate) fn refuse(
        &mut self,
        group_id: &str,
        leg: u16,
        class: Option<IntentClass>,
        code: RejectReason,
        effects: &mut Vec<Effect>,
    ) {
        effects.push(Effect::Refuse(Refusal { group_id: group_id.to_owned(), leg, class, code }));
    }

    /// Takes a proposed cancel: a cancel-only intent passes unless under Kill with nothing left to cancel. While risk is
    /// guarded a protective order, reduce-only or containment's own, is kept: dropping it raises risk. Source: AT-119,
    /// AT-401, AT-010.
    pub(crate) fn propose_cancel(&mut self, intent: IntentHash, effects: &mut Vec<Effect>) {
        if self.core.resolution.mode == TradingMode::Kill && self.is_flat() {
            self.refuse("", 0, None, RejectReason::TradingModeForbids, effects);
            return;
        }
        let protective = |record: &IntentRecord| record.reduce_only || record.class.is_containment();
        if self.guards_risk() && self.orders.intents.get(&intent).is_some_and(|order| protective(&order.record)) {
            self.refuse_order(intent, RejectReason::RiskIncreasingCancelReplaceForbidden, effects);
            return;
        }
        self.ask_cancel(intent, CancelReason::Strategy, effects);
    }

    /// Takes a proposed replacement of an open order: the cancel goes now, the new order once the old one has ended.
    /// While risk is guarded one that would add risk is refused. Source: kernel contract section 1; AT-119, AT-120,
    /// AT-401, AT-402.
    pub(crate) fn propose_replace(
        &mut self,
        intent: IntentHash,
        replacement: &GroupProposal,
        effects: &mut Vec<Effect>,
    ) {
        let waits = self.orders.replacements.contains_key(&intent);
        let open = |order: &&Order| !order.state.is_terminal() && order.sent.is_some();
        let Some(order) = self.orders.intents.get(&intent).filter(open).filter(|_| !waits) else {
            self.refuse(&replacement.group_id, 0, None, RejectReason::DuplicateIntent, effects);
            return;
        };
        if self.guards_risk() && self.adds_risk(order, replacement) {
            self.refuse_order(intent, RejectReason::RiskIncreasingCancelReplaceForbidden, effects);
            return;
        }
        self.replace_once_ended(intent, replacement.clone(), CancelReason::Strategy, effects);
    }

    /// Asks to cancel an order and keeps what goes out once it has ended.
    pub(crate) fn replace_once_ended(
        &mut self,
        intent: IntentHash,
        proposal: GroupProposal,
        why: CancelReason,
        effects: &mut Vec<Effect>,
    ) {
        let filled = self.orders.intents.get(&intent).map(|order| order.filled).unwrap_or_default();
        self.orders.replacements.insert(intent, Replacement { proposal, filled, why });
        self.ask_cancel(intent, why, effects);
    }

    /// True where a replacement would drop protection, or leave more or other exposure in an instrument than the order it
    /// replaces would. What each order leaves is the position once it has filled; a reduce-only one ends at zero at most.
    /// Source: AT-119, AT-120, AT-401.
    fn adds_risk(&self, order: &Order, replacement: &GroupProposal) -> bool {
        let old = &order.record;
        let guarded = old.reduce_only || old.class.is_containment();
        if guarded && replacement.legs.iter().any(|leg| classify(leg) == IntentClass::Open) {
            return true;
        }
        let open_qty = old.qty.minus(order.filled);
        let instruments = replacement.legs.iter().map(|leg| leg.instrument).chain([old.instrument]);
        instruments.into_iter().any(|instrument| {
            let position = self.orders.positions.get(instrument.index()).copied().unwrap_or_default();
            let before = match old.instrument == instrument {
                true => left_by(position, old.side, open_qty, old.reduce_only),
                false => position,
            };
            let legs = replacement.legs.iter().filter(|leg| leg.instrument == instrument);
            let after = legs.fold(position, |left, leg| left_by(left, leg.side, leg.qty, reduces(classify(leg))));
            is_riskier(position, before, after)
        })
    }

    /// Sends the replacements whose old order has ended, through every gate of this moment; a cancel without answer is
    /// asked for again. One that may add risk is dropped where the old order filled further while its cancel was on its
    /// way: both together would be more than either. A swept order is replaced by what is left of it.
    /// Source: kernel contract sections 1 and 8; AT-120, AT-402.
    pub(crate) fn release_replacements(&mut self, effects: &mut Vec<Effect>) {
        let waiting: Vec<(IntentHash, CancelReason)> =
            self.orders.replacements.iter().map(|(intent, replacement)| (*intent, replacement.why)).collect();
        for (intent, why) in waiting {
            if self.orders.intents.get(&intent).is_some_and(|order| !order.state.is_terminal()) {
                self.ask_cancel(intent, why, effects);
                continue;
            }
            let Some(Replacement { mut proposal, filled, why }) = self.orders.replacements.remove(&intent) else {
                continue;
            };
            let Some(order) = self.orders.intents.get(&intent) else {
                continue;
            };
            let left = order.record.qty.minus(order.filled);
            let raced = order.filled > filled && proposal.legs.iter().any(|leg| classify(leg) == IntentClass::Open);
            if why == CancelReason::Stale {
                for leg in &mut proposal.legs {
                    leg.qty = left;
                }
                if left.0 > 0 {
                    let of = order.record.label.clone();
                    effects.push(Effect::Note(Note::Corrected { action: CorrectiveAction::ReplaceIoc, of }));
                    self.propose_group(&proposal, effects);
                }
            } else if raced {
                let code = RejectReason::RiskIncreasingCancelReplaceForbidden;
                self.refuse(&proposal.group_id, 0, Some(IntentClass::Open), code, effects);
            } else {
                self.propose_group(&proposal, effects);
            }
        }
    }

    /// True while cancel/replace that raises risk is refused: not Active, latch set, or risk not Healthy.
    pub(crate) fn guards_risk(&self) -> bool {
        self.core.resolution.mode != TradingMode::Active
            || self.latch.is_set()
            || self.risk_state() != crate::registry::RiskState::Healthy
    }

    fn refuse_order(&mut self, intent: IntentHash, code: RejectReason, effects: &mut Vec<Effect>) {
        let (group_id, leg): (String, u16) = self
            .orders
            .intents
            .get(&intent)
            .map(|order| (order.record.group_id.clone(), order.record.leg))
            .unwrap_or_default();
        self.refuse(&group_id, leg, None, code, effects);
    }

    /// Asks the venue to cancel an order; a request on its way is not repeated before its answer or `rest_timeout_ms`.
    pub(crate) fn ask_cancel(&mut self, intent: IntentHash, why: CancelReason, effects: &mut Vec<Effect>) {
        let now = self.now();
        let timeout = self.config().rest_timeout_ms;
        let route = self.route();
        let gone = self.orders.intents.get(&intent).is_some_and(|order| self.is_gone(order.record.instrument));
        let Some(order) = self.orders.intents.get_mut(&intent) else {
            return;
        };
        let waits = order.cancel_asked_at.is_some_and(|at| now.since(at) < timeout);
        if waits || gone || order.state.is_terminal() || order.sent.is_none() {
            return;
        }
        order.cancel_asked_at = Some(now);
        effects.push(Effect::Cancel(CancelRequest {
            order_id: order.order_id,
            label: order.record.label.clone(),
            why,
            route,
        }));
        self.spend();
    }

    /// Cancels outstanding orders without `reduce_only` while the mode is not Active, `cancel_open_batch_max` a tick. No
    /// time passes within an event, so the count alone bounds a batch and `cancel_open_budget_ms` is never used up.
    /// Source: AT-203, AT-237, AT-1065.
    pub(crate) fn cancel_opens(&mut self, effects: &mut Vec<Effect>) {
        if self.core.resolution.mode == TradingMode::Active {
            return;
        }
        let now = self.now();
        let timeout = self.config().rest_timeout_ms;
        let batch = usize::try_from(self.config().cancel_open_batch_max).unwrap_or(0);
        let open: Vec<IntentHash> = self
            .orders
            .live
            .iter()
            .filter(|intent| {
                self.orders.intents.get(intent).is_some_and(|order| {
                    !order.record.reduce_only
                        && !order.record.class.is_containment()
                        && order.cancel_asked_at.is_none_or(|at| now.since(at) >= timeout)
                })
            })
            .take(batch)
            .copied()
            .collect();
        for intent in open {
            self.ask_cancel(intent, CancelReason::ModeNotActive, effects);
        }
    }

    /// Sends what the ledger shows unsent, in the event that clears the latch, once. Source: AT-935; kernel contract
    /// section 6. Containment's unsent orders are not sent again: containment computes what is needed then.
    pub(crate) fn resend_unsent(&mut self, effects: &mut Vec<Effect>) {
        self.resend_planted(effects);
        if self.orders.unsent.is_empty() || self.latch.is_set() {
            return;
        }
        for intent in core::mem::take(&mut self.orders.unsent) {
            let Some(order) = self.orders.intents.get(&intent) else {
                continue;
            };
            if order.state != TlsmState::Created {
                continue;
            }
            let failed = self.groups.all.get(&order.record.group_id).is_none_or(|group| group.failure.is_some());
            let (class, group_id, leg) = (order.record.class, order.record.group_id.clone(), order.record.leg);
            let refusal = self.forbidden(class).or_else(|| self.refused_by_gates(intent, effects));
            match refusal {
                None if !class.is_containment() && !failed => {
                    if let Some(group) = self.groups.all.get_mut(&group_id)
                        && group.state == GroupState::New
                    {
                        group.state = GroupState::Dispatched;
                    }
                    self.place(intent, effects);
                }
                None => self.transition(intent, TlsmState::Failed, effects),
                Some(code) => {
                    self.refuse(&group_id, leg, Some(class), code, effects);
                    self.transition(intent, TlsmState::Failed, effects);
                }
            }
        }
    }

    /// Takes a recorded intent through the gates of this moment, except for what only its proposal said: duplicates, order
    /// type and edge were judged when it was recorded. Containment's own orders pass. Source: kernel contract section 6.
    fn refused_by_gates(&mut self, intent: IntentHash, effects: &mut Vec<Effect>) -> Option<RejectReason> {
        let record = self.orders.intents.get(&intent)?.record.clone();
        let group = self.groups.all.get(&record.group_id)?;
        let (strategy_id, structure_fingerprint) = (group.strategy_id.clone(), group.structure_fingerprint);
        if record.class.is_containment() {
            return None;
        }
        let candidate = Candidate {
            class: record.class,
            instrument: record.instrument,
            side: record.side,
            qty: record.qty,
            price: record.price,
            strategy_id: &strategy_id,
            structure_fingerprint,
            proposed: None,
        };
        self.pass_gates(&candidate, effects).err()
    }

    /// Planted, and nothing but in a build of that breakage: sends all that the ledger of the last boot shows sent again.
    fn resend_planted(&mut self, effects: &mut Vec<Effect>) {
        if !planted::broken(Rule::NoResend) || self.latch.is_set() || !self.orders.boot_run_ended {
            return;
        }
        let stamp = self.core.stamp;
        let again: Vec<IntentHash> = self
            .orders
            .intents
            .values()
            .filter(|order| order.sent.is_some_and(|sent| sent.seq.0 == 0))
            .map(|order| order.record.intent)
            .collect();
        for intent in again {
            self.place(intent, effects);
            if let Some(order) = self.orders.intents.get_mut(&intent) {
                order.sent = Some(stamp);
            }
        }
    }

    /// Builds the record of a containment order.
    #[expect(clippy::too_many_arguments, reason = "each is a field of the record")]
    pub(crate) fn containment_record(
        &self,
        strategy_id: &str,
        group_id: &str,
        leg: u16,
        class: IntentClass,
        instrument: crate::units::InstrumentId,
        side: crate::units::Side,
        qty: Qty,
        price: Price,
    ) -> Option<IntentRecord> {
        let of = self.instrument(instrument)?;
        let (qty, price) = quantise(of, side, qty, price).ok()?;
        let fields = Fields { instrument: &of.name, side, qty, price, group_id, leg };
        let intent = intent_hash(&fields);
        let position = self.orders.positions.get(instrument.index()).copied().unwrap_or_default();
        let reduces_position = side.sign(1) != position.0.signum() && position.abs() >= qty && !position.is_zero();
        Some(IntentRecord {
            intent,
            group_id: group_id.to_owned(),
            leg,
            class,
            instrument,
            side,
            qty,
            price,
            reduce_only: reduces_position,
            time_in_force: crate::event::TimeInForce::ImmediateOrCancel,
            label: label(strategy_id, group_id, leg, intent).ok()?,
            at: self.now(),
        })
    }
}

/// Returns the position that an order leaves once it has filled; a reduce-only one takes from it at most.
fn left_by(position: Qty, side: Side, qty: Qty, reduce_only: bool) -> Qty {
    let after = position.plus(Qty(side.sign(qty.0)));
    if !reduce_only {
        after
    } else if after.abs() > position.abs() {
        // It would add: the venue lets nothing of it trade, or, past zero, only up to zero.
        if side.sign(1) == position.0.signum().saturating_neg() { Qty::ZERO } else { position }
    } else if after.0.signum() == position.0.signum() {
        after
    } else {
        Qty::ZERO
    }
}

/// True where `after` is more exposure than `before`, or lies further in the direction of the position; without a
/// position, where it is not between zero and `before`.
fn is_riskier(position: Qty, before: Qty, after: Qty) -> bool {
    let direction = if position.is_zero() { before.0.signum() } else { position.0.signum() };
    let further = after.minus(before).0.signum() == direction && direction != 0;
    let turned = position.is_zero() && after.0.signum() == before.0.signum().saturating_neg() && !after.is_zero();
    after.abs() > before.abs() || further || turned
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDES: [Side; 2] = [Side::Buy, Side::Sell];

    /// Small amounts on both sides of zero: every case of the two functions is among them.
    fn small() -> impl Iterator<Item = Qty> + Clone {
        (-3..=3).map(Qty)
    }

    #[test]
    fn a_reduce_only_order_moves_a_position_towards_zero_and_no_further() {
        for (position, side, qty) in small()
            .flat_map(|at| SIDES.map(|side| (at, side)))
            .flat_map(|(position, side)| (0..=4).map(move |qty| (position, side, Qty(qty))))
        {
            let step = side.sign(1);
            // One unit at a time: the venue lets it trade while it reduces.
            let mut left = position.0;
            for _ in 0..qty.0 {
                if left.signum() == -step {
                    left += step;
                }
            }
            assert_eq!(left_by(position, side, qty, true), Qty(left), "{position:?} {side:?} {qty:?}");
            assert_eq!(left_by(position, side, qty, false), Qty(position.0 + step * qty.0));
        }
    }

    #[test]
    fn at_119_more_exposure_or_further_in_the_position_s_direction_is_riskier() {
        for (position, before, after) in small()
            .flat_map(|position| small().flat_map(move |before| small().map(move |after| (position, before, after))))
        {
            let more = after.0.abs() > before.0.abs();
            let elsewhere = if position.is_zero() {
                !(before.0.min(0)..=before.0.max(0)).contains(&after.0)
            } else {
                (after.0 - before.0) * position.0 > 0
            };
            let found = is_riskier(position, before, after);
            assert_eq!(found, more || elsewhere, "{position:?} {before:?} {after:?}");
        }
    }
}
