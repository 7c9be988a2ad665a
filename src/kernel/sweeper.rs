//! The sweeper: what stands at the venue and should not. Source: kernel contract section 8; AT-121 to AT-124, AT-303,
//! AT-329.
//!
//! Ghost orders and intents without an order need the venue's answers: a run of reconciliation cancels the first and
//! settles the others. Where runs are due less often than sweeps, each sweep asks for one. Orders that are too old need no question.

use alloc::{format, vec, vec::Vec};

use crate::{
    config::seconds,
    effect::{CancelReason, CorrectiveAction, Effect, Note},
    event::{Action, GroupProposal, IntentClass, LegProposal, OrderType, TimeInForce},
    state::Kernel,
    units::IntentHash,
};

impl Kernel {
    /// Sweeps every `sweeper_interval_s`: asks for a run where the timer of runs is slower, and cancels orders
    /// without `reduce_only` older than `stale_order_sec`. Source: AT-121, AT-122, AT-123, AT-303, AT-329.
    pub(crate) fn sweep(&mut self, effects: &mut Vec<Effect>) {
        let now = self.now();
        if now.since(self.session.swept_at) < seconds(self.config().sweeper_interval_s) {
            return;
        }
        self.session.swept_at = now;
        if self.config().reconcile_interval_s > self.config().sweeper_interval_s {
            self.ask_run();
        }
        let age_max = seconds(self.config().stale_order_sec);
        let stale: Vec<IntentHash> = self
            .orders
            .live
            .iter()
            .filter(|intent| {
                self.orders.intents.get(intent).is_some_and(|order| {
                    !order.record.reduce_only
                        && !order.record.class.is_containment()
                        && order.sent.is_some_and(|sent| now.since(sent.at) > age_max)
                })
            })
            .copied()
            .collect();
        for intent in stale {
            self.cancel_stale(intent, effects);
        }
    }

    /// Cancels an order that is too old. Only while Active, Healthy and unlatched is it replaced: by an order for what is
    /// left of it, at its own limit, immediate-or-cancel, once it has ended. A leg of a larger group is not: its
    /// cancelling fails the group, and containment takes over. Source: AT-124, AT-303.
    fn cancel_stale(&mut self, intent: IntentHash, effects: &mut Vec<Effect>) {
        let Some(order) = self.orders.intents.get(&intent) else {
            return;
        };
        let of = order.record.label.clone();
        let replacement = self.ioc_for(intent).filter(|_| !self.guards_risk());
        effects.push(Effect::Note(Note::Corrected { action: CorrectiveAction::CancelStaleOrder, of }));
        match replacement {
            Some(proposal) if !self.orders.replacements.contains_key(&intent) => {
                self.replace_once_ended(intent, proposal, CancelReason::Stale, effects);
            }
            Some(_) | None => self.ask_cancel(intent, CancelReason::Stale, effects),
        }
    }

    /// Returns the immediate-or-cancel order that stands in for a resting one of a single leg, as a group of its own.
    fn ioc_for(&self, intent: IntentHash) -> Option<GroupProposal> {
        let order = self.orders.intents.get(&intent)?;
        let record = &order.record;
        let group = self.groups.all.get(&record.group_id).filter(|group| group.legs == 1)?;
        let resting = record.class == IntentClass::Open && record.time_in_force == TimeInForce::GoodTilCancelled;
        resting.then(|| GroupProposal {
            strategy_id: group.strategy_id.clone(),
            // Twelve characters, as a label takes them, and the same at every replay.
            group_id: format!("r{:011x}", intent.0 & 0x0fff_ffff_ffff),
            structure_fingerprint: group.structure_fingerprint,
            edge: group.edge,
            legs: vec![LegProposal {
                instrument: record.instrument,
                side: record.side,
                action: Action::Place,
                reduce_only: None,
                qty: record.qty.minus(order.filled),
                price: record.price,
                time_in_force: TimeInForce::ImmediateOrCancel,
                order_type: OrderType::Limit,
                linked: false,
                post_only: false,
                contracts: None,
            }],
        })
    }
}
