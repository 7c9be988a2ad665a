//! Reconciliation: comparing the ledger, as folded in memory, with the venue. Source: kernel contract section 3.
//!
//! ```text
//! start ─► open orders ─► positions ─► own trades ─┬─► (labels in doubt) order history ─┬─► succeeded | failed
//!                                                  └──────────── none in doubt ─────────┘
//! ```

use alloc::vec::Vec;

use crate::{
    config::seconds,
    effect::{Effect, Note, RestQuery, RunFailure},
    event::{LedgerRecord, RestAnswer, TlsmState, VenueOrder},
    orders::Match,
    planted::{self, Rule},
    registry::{ModeReason, OpenPermissionReason},
    state::{Cause, Kernel, Purpose, Run, Stage},
    units::{IntentHash, Qty, RequestId, Stamp, TimeMs},
};

impl Kernel {
    /// Asks for a run; it starts as soon as no other is going on.
    pub(crate) fn ask_run(&mut self) {
        self.session.reconcile.wanted = true;
    }

    /// Starts a run where one is asked for and none is going on, from its beginning. Source: AT-941.
    pub(crate) fn start_run_if_wanted(&mut self, effects: &mut Vec<Effect>) {
        if !self.session.reconcile.wanted || self.session.reconcile.run.is_some() {
            return;
        }
        let started = self.core.stamp;
        let request = self.ask(RestQuery::OpenOrders, Purpose::Run, effects);
        let reconcile = &mut self.session.reconcile;
        reconcile.wanted = false;
        reconcile.last_started_at = started.at;
        reconcile.started = reconcile.started.saturating_add(1);
        reconcile.run = Some(Run {
            started,
            stage: Stage::OpenOrders,
            request,
            open_orders: Vec::new(),
            doubtful: Vec::new(),
            ghost: false,
            ambiguous: false,
        });
        effects.push(Effect::Note(Note::RunStarted));
        if planted::broken(Rule::LatchNeedsRun) {
            self.clear_codes(started);
        }
    }

    /// Takes the answer a run waits for; any other is counted and dropped.
    pub(crate) fn run_answered(
        &mut self,
        request: RequestId,
        venue_time: TimeMs,
        answer: &RestAnswer,
        effects: &mut Vec<Effect>,
    ) {
        let waits = self.session.reconcile.run.as_ref().filter(|run| run.request == request).map(|run| run.stage);
        match (waits, answer) {
            (Some(Stage::OpenOrders), RestAnswer::OpenOrders(orders)) => self.open_orders_answered(orders, effects),
            (Some(Stage::Positions), RestAnswer::Positions(positions)) => {
                let table = self.as_table(positions);
                self.session.reconcile.venue_positions = Some((table, venue_time));
                self.orders.positions_known = true;
                let since = self.lookback_from();
                self.next_stage(Stage::OwnTrades, RestQuery::OwnTrades { since }, effects);
            }
            (Some(Stage::OwnTrades), RestAnswer::OwnTrades(trades)) => {
                for trade in trades {
                    self.own_trade(trade, effects);
                }
                self.ask_in_doubt(effects);
            }
            (Some(Stage::OrderHistory), RestAnswer::OrderHistory(orders)) => {
                self.history_answered(orders, effects);
                self.judge_run(effects);
            }
            _ => effects.push(Effect::Note(Note::AnswerDropped(request))),
        }
    }

    /// Fails a run whose request was refused or not answered.
    pub(crate) fn run_request_failed(&mut self, request: RequestId, failure: RunFailure, effects: &mut Vec<Effect>) {
        if self.session.reconcile.run.as_ref().is_some_and(|run| run.request == request) {
            self.run_failed(failure, effects);
        }
    }

    fn next_stage(&mut self, stage: Stage, query: RestQuery, effects: &mut Vec<Effect>) {
        let request = self.ask(query, Purpose::Run, effects);
        if let Some(run) = &mut self.session.reconcile.run {
            run.stage = stage;
            run.request = request;
        }
    }

    /// Own trades are asked for over the look-back; in the boot's first run back to the ledger's last record.
    /// Source: AT-306.
    fn lookback_from(&self) -> TimeMs {
        let lookback = self.now().before(seconds(self.config().reconcile_trade_lookback_sec));
        if self.orders.boot_run_ended {
            return lookback;
        }
        self.orders.ledger_newest_at.map_or(lookback, |newest| newest.min(lookback))
    }

    /// Matches every open order of ours; one without intent is a ghost and is cancelled.
    fn open_orders_answered(&mut self, orders: &[VenueOrder], effects: &mut Vec<Effect>) {
        for order in orders {
            match self.match_label(order) {
                Match::Foreign => {}
                Match::One(intent) => {
                    if self.is_ghost_of_unsent(intent, order) {
                        self.set_latch_by_run(OpenPermissionReason::InventoryMismatchReconcileRequired);
                    }
                    self.order_reported(intent, order, effects);
                }
                Match::Unknown(hash) => {
                    self.ghost_order(hash, order, effects);
                    self.set_latch_by_run(OpenPermissionReason::InventoryMismatchReconcileRequired);
                    if let Some(run) = &mut self.session.reconcile.run {
                        run.ghost = true;
                    }
                }
                Match::Ambiguous => {
                    let stamp = self.core.stamp;
                    self.monitors.raise(Cause::Label, stamp);
                    if let Some(run) = &mut self.session.reconcile.run {
                        run.ambiguous = true;
                    }
                }
            }
        }
        if let Some(run) = &mut self.session.reconcile.run {
            run.open_orders = orders.to_vec();
        }
        self.next_stage(Stage::Positions, RestQuery::Positions, effects);
    }

    /// Asks the order history for every intent that neither open orders nor trades settle.
    fn ask_in_doubt(&mut self, effects: &mut Vec<Effect>) {
        let Some(run) = &self.session.reconcile.run else {
            return;
        };
        let started = run.started;
        let is_open =
            |intent: &IntentHash| run.open_orders.iter().any(|order| self.match_label(order) == Match::One(*intent));
        let sent_before = self.orders.live.iter().filter(|intent| {
            self.orders.intents.get(intent).is_some_and(|order| order.sent.is_some_and(|sent| sent.seq < started.seq))
        });
        let unsent =
            self.orders.unsent.iter().filter(|intent| {
                self.orders.intents.get(intent).is_some_and(|order| order.state == TlsmState::Created)
            });
        let doubtful: Vec<IntentHash> = sent_before.chain(unsent).filter(|intent| !is_open(intent)).copied().collect();
        if doubtful.is_empty() {
            self.judge_run(effects);
            return;
        }
        let labels = doubtful
            .iter()
            .filter_map(|intent| self.orders.intents.get(intent).map(|order| order.record.label.clone()))
            .collect();
        if let Some(run) = &mut self.session.reconcile.run {
            run.doubtful = doubtful;
        }
        self.next_stage(Stage::OrderHistory, RestQuery::OrderHistory { labels }, effects);
    }

    /// Settles the intents in doubt: what the history knows, by it; a sent one known nowhere is Failed; an unsent one known
    /// nowhere stays unsent and may go out once the latch clears. Source: AT-123, AT-935.
    fn history_answered(&mut self, orders: &[VenueOrder], effects: &mut Vec<Effect>) {
        let doubtful = match &mut self.session.reconcile.run {
            Some(run) => core::mem::take(&mut run.doubtful),
            None => return,
        };
        for intent in doubtful {
            let known = orders.iter().find(|order| self.match_label(*order) == Match::One(intent));
            match known {
                Some(order) => self.order_reported(intent, order, effects),
                None => {
                    let sent = self.orders.intents.get(&intent).is_some_and(|order| order.sent.is_some());
                    if sent {
                        self.transition(intent, TlsmState::Failed, effects);
                    }
                }
            }
        }
        let intents = &self.orders.intents;
        self.orders.unsent.retain(|intent| intents.get(intent).is_some_and(|order| order.sent.is_none()));
    }

    /// Decides whether the run succeeded.
    fn judge_run(&mut self, effects: &mut Vec<Effect>) {
        let Some(run) = &self.session.reconcile.run else {
            return;
        };
        let (ghost, ambiguous) = (run.ghost, run.ambiguous);
        self.settle_gone(effects);
        if !self.positions_agree() {
            self.set_latch_by_run(OpenPermissionReason::InventoryMismatchReconcileRequired);
            self.run_failed(RunFailure::PositionMismatch, effects);
        } else if ghost {
            self.run_failed(RunFailure::Ghost, effects);
        } else if ambiguous {
            self.run_failed(RunFailure::AmbiguousLabel, effects);
        } else if !self.books_whole() || self.feeds.trades.iter().any(|feed| feed.hole.is_some()) {
            self.run_failed(RunFailure::FeedNotWhole, effects);
        } else {
            self.run_succeeded(effects);
        }
    }

    /// Compares positions with cumulative fills as of the venue's time, either side of fills in that very millisecond.
    /// Source: AT-305.
    fn positions_agree(&self) -> bool {
        let Some((venue, at)) = &self.session.reconcile.venue_positions else {
            return false;
        };
        let ours = self.positions_as_of(*at);
        self.core.instruments.iter().enumerate().all(|(index, instrument)| {
            let id = crate::feeds::instrument_id(index);
            let of = |table: &[Qty]| table.get(index).copied().unwrap_or_default();
            let min_amount = instrument.min_amount.unwrap_or_default();
            let epsilon = Qty(self.config().position_reconcile_epsilon).max(min_amount);
            let near = |ours: Qty| of(venue).minus(ours).abs() <= epsilon;
            let mut position = of(&ours);
            if near(position) {
                return true;
            }
            self.fills_at(id, *at).iter().rev().any(|fill| {
                position = position.minus(*fill);
                near(position)
            })
        })
    }

    fn run_failed(&mut self, failure: RunFailure, effects: &mut Vec<Effect>) {
        self.session.reconcile.run = None;
        self.session.reconcile.failed = self.session.reconcile.failed.saturating_add(1);
        self.orders.boot_run_ended = true;
        effects.push(Effect::Note(Note::RunFailed(failure)));
    }

    /// Clears what a successful run clears: codes, the session flag, emergency reduce-only, the label cause.
    fn run_succeeded(&mut self, effects: &mut Vec<Effect>) {
        let stamp = self.core.stamp;
        let Some(run) = self.session.reconcile.run.take() else {
            return;
        };
        self.session.reconcile.succeeded = self.session.reconcile.succeeded.saturating_add(1);
        self.session.reconcile.last_success = Some((run.started, stamp));
        self.orders.boot_run_ended = true;
        effects.push(Effect::Note(Note::RunSucceeded));
        self.clear_codes(run.started);
        if !self.latch_holds(OpenPermissionReason::SessionTerminationReconcileRequired) && self.session.active {
            self.session_recovered();
        }
        self.end_emergency(run.started);
        for cause in [Cause::Label, Cause::ContractsMismatch] {
            if self.monitors.cause(cause).is_some_and(|arose| arose.seq <= run.started.seq) {
                self.monitors.settle(cause);
            }
        }
        let begun_after = self.monitors.reauthenticated_at.is_none_or(|seq| run.started.seq >= seq);
        for latch in &mut self.monitors.kill_latches {
            if latch.reason == ModeReason::KillRateLimitSessionTermination && latch.reauthenticated {
                latch.reconciled |= begun_after;
            }
        }
    }

    /// Ends emergency reduce-only where the run began a cooldown or more after its last trigger and no group is contained.
    /// Source: AT-132.
    fn end_emergency(&mut self, run_started: Stamp) {
        let cooldown = seconds(self.config().emergency_reduceonly_cooldown_s);
        let over = self.monitors.emergency.is_some_and(|trigger| run_started.at.since(trigger.at) >= cooldown);
        if over && self.groups.clean_since.is_some() {
            self.monitors.emergency = None;
        }
    }

    /// Takes the venue's positions over at an operator's word.
    pub(crate) fn adopt_positions(&mut self, incident_id: &str, effects: &mut Vec<Effect>) {
        let Some((venue, at)) = self.session.reconcile.venue_positions.clone() else {
            return;
        };
        let ours = self.positions_as_of(at);
        let changed: Vec<(usize, Qty)> = venue
            .iter()
            .zip(&ours)
            .enumerate()
            .filter(|(_, (theirs, ours))| theirs != ours)
            .map(|(index, (theirs, ours))| (index, theirs.minus(*ours)))
            .collect();
        for (index, difference) in changed {
            let Some(position) = self.orders.positions.get_mut(index) else {
                continue;
            };
            *position = position.plus(difference);
            let qty = *position;
            let record = LedgerRecord::Adopted {
                instrument: crate::feeds::instrument_id(index),
                qty,
                incident_id: incident_id.into(),
                at: self.core.stamp.at,
            };
            self.enqueue(record, effects);
        }
        self.ask_run();
    }
}
