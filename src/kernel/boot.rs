//! Building the state from a boot event: nothing else is known. Source: kernel contract sections 2 and 6; decisions 14, 19.

use alloc::{borrow::ToOwned, boxed::Box, vec::Vec};

use crate::{
    effect::Effect,
    event::{Boot, EdgeInputs, GroupState, IntentClass, LedgerRecord, SlotReading, TlsmState},
    registry::OpenPermissionReason,
    state::{Cause, Core, Group, Kernel, Listing, SocketState},
    units::{Stamp, TimeMs},
};

impl Kernel {
    /// Starts from a boot event, latched until a run has succeeded. Source: AT-430.
    pub(crate) fn boot(&mut self, stamp: Stamp, boot: &Boot, effects: &mut Vec<Effect>) {
        *self = Self::down();
        self.core = Core {
            up: true,
            stamp,
            booted: stamp,
            config: Box::new(boot.config.clone()),
            build_id: boot.build_id.clone(),
            runtime_config_hash: boot.runtime_config_hash.clone(),
            reference_instrument: boot.reference_instrument,
            instruments: boot.instruments.clone(),
            listings: alloc::vec![Listing::default(); boot.instruments.len()],
            reason_since: alloc::vec![None; crate::registry::ModeReason::ALL.len()],
            ..Core::default()
        };
        self.size_feeds();
        self.boot_session(boot);
        self.boot_readings(boot);
        match &boot.slot {
            SlotReading::Absent => {}
            SlotReading::Damaged => self.monitors.raise(Cause::LedgerDamaged, stamp),
            SlotReading::Read(slot) => {
                self.load_slot(slot);
                self.core.slot_written = slot.as_ref().clone();
            }
        }
        if boot.ledger_damaged {
            self.monitors.raise(Cause::LedgerDamaged, stamp);
        }
        self.load_ledger(&boot.ledger);
        self.set_latch(OpenPermissionReason::RestartReconcileRequired);
        if self.session.killed == Some(true) {
            self.monitors.raise(Cause::SessionEnded, stamp);
            self.set_latch(OpenPermissionReason::SessionTerminationReconcileRequired);
        }
        effects.push(Effect::Subscribe);
        effects.push(Effect::Authenticate);
    }

    /// Both sockets are connected, which counts as their first frame.
    fn boot_session(&mut self, boot: &Boot) {
        let now = self.now();
        let connected = SocketState { open: true, last_frame_at: Some(now), keepalive_at: now, reconnect_at: None };
        self.session.public = connected;
        self.session.private = connected;
        self.session.killed = boot.session_flag_readable.then_some(false);
        self.session.count_readable = boot.session_count_readable;
        self.session.reconcile.last_started_at = now;
        self.session.swept_at = now;
    }

    fn boot_readings(&mut self, boot: &Boot) {
        let now = self.now();
        let monitors = &mut self.monitors;
        monitors.disk_primary.take(boot.disk_primary);
        monitors.disk_secondary.take(boot.disk_secondary);
        monitors.heartbeat.take(boot.heartbeat_at);
        monitors.loop_tick.take(boot.loop_tick_at);
        monitors.policy.take(boot.policy_generated_at);
        monitors.fee_model.take(boot.fee_cached_at);
        monitors.drift_ms = boot.drift_ms;
        monitors.certificate.clone_from(&boot.certificate);
        monitors.maintenance = boot.maintenance;
        monitors.bunker.evaluated_at = now;
        self.boot_producers(boot);
        self.margin_sampled(boot.margin);
        for trip in &boot.round_trips_ms {
            self.rest_ended(Some(*trip), true);
        }
        for ticker in &boot.tickers {
            if let Some(slot) = self.feeds.tickers.get_mut(ticker.instrument.index()) {
                *slot = Some((*ticker, now));
            }
        }
        self.groups.clean_since = Some(now);
        self.advance_bunker();
    }

    /// Folds the surviving ledger: intents, groups, own trades, naked events, ghosts, adoptions.
    fn load_ledger(&mut self, records: &[LedgerRecord]) {
        const DAY_MS: i64 = 86_400_000;
        let now = self.now();
        for record in records {
            let at = self.load_record(record);
            self.orders.ledger_newest_at = self.orders.ledger_newest_at.max(Some(at));
        }
        self.ledger.naked_events.retain(|at| now.since(*at) < DAY_MS);
        self.orders.live = self
            .orders
            .intents
            .iter()
            .filter(|(_, order)| order.state != TlsmState::Created && !order.state.is_terminal())
            .map(|(intent, _)| *intent)
            .collect();
        self.orders.unsent = self
            .orders
            .intents
            .iter()
            .filter(|(intent, order)| order.state == TlsmState::Created && !self.orders.ghosts.contains_key(intent))
            .map(|(intent, _)| *intent)
            .collect();
        self.groups.open =
            self.groups.all.iter().filter(|(_, group)| group.ended_at.is_none()).map(|(id, _)| id.clone()).collect();
        let contained: Vec<_> = self.groups.open.iter().filter(|id| self.is_contained_with_fill(id)).cloned().collect();
        if !contained.is_empty() {
            let stamp = self.core.stamp;
            self.groups.clean_since = None;
            self.monitors.raise(Cause::GroupContainment, stamp);
            self.monitors.emergency = Some(stamp);
        }
    }

    /// Folds one record and returns its time.
    fn load_record(&mut self, record: &LedgerRecord) -> TimeMs {
        match record {
            LedgerRecord::Group { group_id, strategy_id, structure_fingerprint, legs, at } => {
                let group = Group::new(strategy_id.to_owned(), *structure_fingerprint, EdgeInputs::default(), *legs);
                self.groups.all.insert(group_id.clone(), group);
                *at
            }
            LedgerRecord::Intent(intent) => {
                if let Some(group) = self.groups.all.get_mut(&intent.group_id) {
                    group.intents.push(intent.intent);
                    if intent.class == IntentClass::Rescue {
                        group.rescues = group.rescues.saturating_add(1);
                    }
                }
                self.orders.intents.insert(intent.intent, Self::new_order(intent.as_ref().clone()));
                intent.at
            }
            LedgerRecord::Transition { intent, state, order_id, at } => {
                let stamp = Stamp { seq: self.core.stamp.seq, at: *at };
                if let Some(order) = self.orders.intents.get_mut(intent) {
                    order.state = *state;
                    order.order_id = order_id.or(order.order_id);
                    match state {
                        // Whatever a restart finds sent was sent before this boot's first run.
                        TlsmState::Sent => order.sent = Some(before_boot(stamp)),
                        TlsmState::Acked => order.acked_at = Some(*at),
                        TlsmState::Filled | TlsmState::Canceled | TlsmState::Failed => order.ended_at = Some(*at),
                        TlsmState::Created | TlsmState::PartiallyFilled => {}
                    }
                    if order.sent.is_none() && !matches!(state, TlsmState::Created | TlsmState::Failed) {
                        order.sent = Some(before_boot(stamp));
                    }
                }
                *at
            }
            LedgerRecord::GroupTransition { group_id, state, failure, at } => {
                if let Some(group) = self.groups.all.get_mut(group_id) {
                    group.state = *state;
                    group.failure = group.failure.or(*failure);
                    let ended = matches!(state, GroupState::Complete | GroupState::Flattened);
                    group.ended_at = ended.then_some(*at);
                }
                *at
            }
            LedgerRecord::OwnTrade { trade, intent, coins } => {
                self.apply_fill(trade);
                if let Some(order) = intent.and_then(|intent| self.orders.intents.get_mut(&intent)) {
                    order.filled = order.filled.plus(trade.qty);
                    order.filled_coins = order.filled_coins.saturating_add(*coins);
                    order.order_id = Some(trade.order_id);
                }
                trade.at
            }
            LedgerRecord::Ghost { intent, at } => {
                self.orders.ghosts.insert(*intent, *at);
                *at
            }
            LedgerRecord::Adopted { instrument, qty, at, .. } => {
                if let Some(position) = self.orders.positions.get_mut(instrument.index()) {
                    *position = *qty;
                }
                *at
            }
            LedgerRecord::AtomicNaked { group_id, at, .. } => {
                self.ledger.naked_events.push_back(*at);
                if let Some(group) = self.groups.all.get_mut(group_id) {
                    group.ended_at = Some(*at);
                }
                *at
            }
        }
    }
}

/// Returns the stamp with a sequence number before every event of this boot.
const fn before_boot(stamp: Stamp) -> Stamp {
    Stamp { seq: crate::units::Seq(0), at: stamp.at }
}
