//! Intents, their lifecycle, own trades and positions. Source: kernel contract sections 1 and 6; AT-210, AT-230, AT-270.

use alloc::{vec, vec::Vec};

use crate::{
    config::seconds,
    effect::{CancelReason, CancelRequest, CorrectiveAction, Effect, Note},
    event::{IntentRecord, LedgerRecord, OwnTrade, TlsmState, VenueOrder, VenueState},
    identity::parse_label,
    registry::OpenPermissionReason,
    state::{Kernel, Order, RecentFill},
    units::{InstrumentId, IntentHash, OrderId, Qty, Side, TimeMs},
};

/// What a wire label matches in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// Not one of our labels.
    Foreign,
    /// Ours, but the ledger has no such intent.
    Unknown(IntentHash),
    /// Exactly this intent.
    One(IntentHash),
    /// More than one intent.
    Ambiguous,
}

/// What the venue tells of an order: its label, and whatever else the message carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bearer<'a> {
    label: &'a str,
    of: Option<(InstrumentId, Side)>,
    qty: Option<Qty>,
}

impl<'a> From<&'a VenueOrder> for Bearer<'a> {
    fn from(order: &'a VenueOrder) -> Self {
        Self { label: &order.label, of: Some((order.instrument, order.side)), qty: Some(order.qty) }
    }
}

impl<'a> From<&'a OwnTrade> for Bearer<'a> {
    fn from(trade: &'a OwnTrade) -> Self {
        Self { label: &trade.label, of: Some((trade.instrument, trade.side)), qty: None }
    }
}

impl<'a> From<&'a str> for Bearer<'a> {
    fn from(label: &'a str) -> Self {
        Self { label, of: None, qty: None }
    }
}

impl Kernel {
    /// Matches what bears a label: by group and leg, then by hash, instrument, side and amount, for as long as more than
    /// one intent is left. A step that none of them passes decides nothing. Source: AT-217, AT-933.
    pub(crate) fn match_label<'a>(&self, bearer: impl Into<Bearer<'a>>) -> Match {
        let bearer = bearer.into();
        let Some(parts) = parse_label(bearer.label) else {
            return Match::Foreign;
        };
        let Some(group) = self.groups.all.get(parts.group_id) else {
            return Match::Unknown(parts.intent);
        };
        let mut left: Vec<&IntentRecord> =
            self.orders_of(group).map(|order| &order.record).filter(|record| record.leg == parts.leg).collect();
        narrow(&mut left, |record| record.intent == parts.intent);
        if let Some((instrument, side)) = bearer.of {
            narrow(&mut left, |record| record.instrument == instrument);
            narrow(&mut left, |record| record.side == side);
        }
        if let Some(qty) = bearer.qty {
            narrow(&mut left, |record| record.qty == qty);
        }
        match left.as_slice() {
            [] => Match::Unknown(parts.intent),
            [one, rest @ ..] if rest.iter().all(|record| record.intent == one.intent) => Match::One(one.intent),
            _ => Match::Ambiguous,
        }
    }

    /// Takes the venue's report of an order.
    pub(crate) fn order_updated(&mut self, report: &VenueOrder, effects: &mut Vec<Effect>) {
        match self.match_label(report) {
            Match::One(intent) => {
                if self.is_ghost_of_unsent(intent, report) {
                    self.set_latch(OpenPermissionReason::InventoryMismatchReconcileRequired);
                }
                self.order_reported(intent, report, effects);
            }
            Match::Unknown(hash) if report.state == VenueState::Open => {
                self.ghost_order(hash, report, effects);
                self.set_latch(OpenPermissionReason::InventoryMismatchReconcileRequired);
            }
            Match::Foreign | Match::Unknown(_) => effects.push(Effect::Note(Note::UnknownOrder(report.order_id))),
            Match::Ambiguous => self.ambiguous_label(),
        }
    }

    /// True for an open venue order whose intent the ledger shows unsent: a ghost by its terms, though one that is known.
    pub(crate) fn is_ghost_of_unsent(&self, intent: IntentHash, report: &VenueOrder) -> bool {
        let unsent = self.orders.intents.get(&intent).is_some_and(|order| order.sent.is_none());
        unsent && report.state == VenueState::Open
    }

    /// Cancels an open venue order of ours that the ledger has no intent for, and never sends that intent. Source: AT-122.
    pub(crate) fn ghost_order(&mut self, intent: IntentHash, report: &VenueOrder, effects: &mut Vec<Effect>) {
        self.remember_ghost(intent, effects);
        let (action, of) = (CorrectiveAction::CancelStaleOrder, report.label.clone());
        effects.push(Effect::Note(Note::Corrected { action, of }));
        effects.push(Effect::Note(Note::GhostOrderCanceled(report.order_id)));
        effects.push(Effect::Cancel(CancelRequest {
            order_id: Some(report.order_id),
            label: report.label.clone(),
            why: CancelReason::Ghost,
            route: self.route(),
        }));
        self.spend();
    }

    /// Brings an intent in line with the venue's report, in whatever order reports come. Source: AT-230, AT-233, AT-940.
    pub(crate) fn order_reported(&mut self, intent: IntentHash, report: &VenueOrder, effects: &mut Vec<Effect>) {
        let Some(order) = self.orders.intents.get_mut(&intent) else {
            return;
        };
        if order.state.is_terminal() {
            return;
        }
        order.order_id = Some(report.order_id);
        match report.state {
            VenueState::Open => {
                if matches!(order.state, TlsmState::Created | TlsmState::Sent) {
                    order.acked_at = Some(self.core.stamp.at);
                    self.transition(intent, TlsmState::Acked, effects);
                }
            }
            VenueState::Filled => self.venue_ended(intent, TlsmState::Filled, report.filled, effects),
            VenueState::Cancelled => self.venue_ended(intent, TlsmState::Canceled, report.filled, effects),
            VenueState::Rejected => self.venue_ended(intent, TlsmState::Failed, report.filled, effects),
        }
    }

    /// Ends an order once all trades that the venue counts have been applied.
    fn venue_ended(&mut self, intent: IntentHash, state: TlsmState, filled: Qty, effects: &mut Vec<Effect>) {
        let Some(order) = self.orders.intents.get_mut(&intent) else {
            return;
        };
        if order.filled < filled {
            order.venue_end = Some((state, filled));
        } else {
            self.transition(intent, state, effects);
        }
    }

    /// Takes the venue's refusal of an order.
    pub(crate) fn order_rejected(&mut self, label: &str, effects: &mut Vec<Effect>) {
        match self.match_label(label) {
            Match::One(intent) => {
                let ended = self.orders.intents.get(&intent).is_none_or(|order| order.state.is_terminal());
                if ended {
                    effects.push(Effect::Note(Note::IllegalTransition(intent)));
                } else {
                    self.transition(intent, TlsmState::Failed, effects);
                }
            }
            Match::Foreign | Match::Unknown(_) => {}
            Match::Ambiguous => self.ambiguous_label(),
        }
    }

    fn ambiguous_label(&mut self) {
        let stamp = self.core.stamp;
        self.monitors.raise(crate::state::Cause::Label, stamp);
        self.ask_run();
    }

    /// Moves an intent along its lifecycle and records the step. A terminal state is never left.
    pub(crate) fn transition(&mut self, intent: IntentHash, state: TlsmState, effects: &mut Vec<Effect>) {
        let stamp = self.core.stamp;
        let Some(order) = self.orders.intents.get_mut(&intent) else {
            return;
        };
        if order.state.is_terminal() || order.state == state {
            return;
        }
        order.state = state;
        if state == TlsmState::Sent {
            order.sent = Some(stamp);
        }
        if state != TlsmState::Failed && order.sent.is_none() {
            // The venue knows an order whose mark was lost: it was sent.
            order.sent = Some(stamp);
        }
        if state.is_terminal() {
            order.ended_at = Some(stamp.at);
            order.venue_end = None;
            self.orders.live.remove(&intent);
        } else {
            self.orders.live.insert(intent);
        }
        let order_id: Option<OrderId> = order.order_id;
        self.enqueue(LedgerRecord::Transition { intent, state, order_id, at: stamp.at }, effects);
    }

    /// Takes an own trade: recorded first, then applied, once, whichever way it came. True where it was new.
    /// Source: AT-121, AT-234, AT-269, AT-270.
    pub(crate) fn own_trade(&mut self, trade: &OwnTrade, effects: &mut Vec<Effect>) -> bool {
        let matched = self.match_label(trade);
        let intent = match matched {
            Match::One(intent) => Some(intent),
            Match::Foreign | Match::Unknown(_) | Match::Ambiguous => None,
        };
        if self.orders.own_trades.contains_key(&trade.trade_id) || trade.at <= self.orders.forgotten_until {
            effects.push(Effect::Note(Note::DuplicateOwnTrade(intent.unwrap_or_default())));
            return false;
        }
        let coins = trade.side.sign(self.coins_of(trade.instrument, trade.qty, trade.price));
        self.enqueue(LedgerRecord::OwnTrade { trade: trade.clone(), intent, coins }, effects);
        self.apply_fill(trade);
        match matched {
            Match::One(intent) => self.fill_intent(intent, trade, coins, effects),
            Match::Unknown(hash) => {
                self.remember_ghost(hash, effects);
                self.orphan_fill();
            }
            Match::Foreign => self.orphan_fill(),
            Match::Ambiguous => {
                self.ambiguous_label();
                self.orphan_fill();
            }
        }
        true
    }

    /// Moves the position by a trade.
    pub(crate) fn apply_fill(&mut self, trade: &OwnTrade) {
        let signed = Qty(trade.side.sign(trade.qty.0));
        self.orders.own_trades.insert(trade.trade_id, trade.at);
        if let Some(position) = self.orders.positions.get_mut(trade.instrument.index()) {
            *position = position.plus(signed);
        }
        self.orders.recent_fills.push_back(RecentFill { instrument: trade.instrument, qty: signed, at: trade.at });
    }

    fn fill_intent(&mut self, intent: IntentHash, trade: &OwnTrade, coins: i64, effects: &mut Vec<Effect>) {
        let Some(order) = self.orders.intents.get_mut(&intent) else {
            return;
        };
        let before = order.state;
        order.filled = order.filled.plus(trade.qty);
        order.filled_coins = order.filled_coins.saturating_add(coins);
        order.order_id = Some(trade.order_id);
        let filled = order.filled;
        let all = filled >= order.record.qty;
        let ended = order.venue_end.filter(|(_, counted)| filled >= *counted).map(|(state, _)| state);
        match before {
            TlsmState::Created => {
                // A fill of an intent the ledger shows unsent: its mark was lost.
                self.orphan_fill();
            }
            TlsmState::Sent => effects.push(Effect::Note(Note::FillBeforeAck(intent))),
            TlsmState::Acked | TlsmState::PartiallyFilled => {}
            TlsmState::Filled | TlsmState::Canceled | TlsmState::Failed => {
                effects.push(Effect::Note(Note::IllegalTransition(intent)));
                self.late_fill(intent);
                return;
            }
        }
        if all {
            self.transition(intent, TlsmState::Filled, effects);
        } else if let Some(state) = ended {
            self.transition(intent, state, effects);
        } else {
            self.transition(intent, TlsmState::PartiallyFilled, effects);
        }
    }

    fn orphan_fill(&mut self) {
        if !self.latch.is_set() {
            self.set_latch(OpenPermissionReason::InventoryMismatchReconcileRequired);
        }
    }

    /// Keeps the hash of a venue order or trade without intent, so that its intent is never sent.
    pub(crate) fn remember_ghost(&mut self, intent: IntentHash, effects: &mut Vec<Effect>) {
        let at = self.now();
        if self.orders.ghosts.insert(intent, at).is_none() {
            self.enqueue(LedgerRecord::Ghost { intent, at }, effects);
        }
    }

    /// True where any position is not zero; instruments are not netted.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.orders.positions.iter().any(|qty| !qty.is_zero())
    }

    /// True where every position is zero and no order of ours is open, both known.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        let agreed = !self.latch_holds(OpenPermissionReason::InventoryMismatchReconcileRequired);
        self.orders.positions_known && agreed && !self.is_exposed() && self.orders.live.is_empty()
    }

    /// Returns the positions as of a venue time: fills later than it are taken off again.
    pub(crate) fn positions_as_of(&self, at: TimeMs) -> Vec<Qty> {
        let mut positions = self.orders.positions.clone();
        for fill in self.orders.recent_fills.iter().filter(|fill| fill.at > at) {
            if let Some(position) = positions.get_mut(fill.instrument.index()) {
                *position = position.minus(fill.qty);
            }
        }
        positions
    }

    /// Returns the fills of an instrument in one venue millisecond, in order.
    pub(crate) fn fills_at(&self, instrument: InstrumentId, at: TimeMs) -> Vec<Qty> {
        self.orders
            .recent_fills
            .iter()
            .filter(|fill| fill.instrument == instrument && fill.at == at)
            .map(|fill| fill.qty)
            .collect()
    }

    /// Forgets what is older than twice the look-back: terminal intents of ended groups, own trade ids, fills.
    pub(crate) fn forget_old_orders(&mut self) {
        let horizon = self.now().before(seconds(self.config().reconcile_trade_lookback_sec).saturating_mul(2));
        let old = |at: TimeMs| at < horizon;
        let ended: Vec<_> = self
            .groups
            .all
            .iter()
            .filter(|(_, group)| group.ended_at.is_some_and(old))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ended {
            if let Some(group) = self.groups.all.remove(&id) {
                for intent in group.intents {
                    self.orders.intents.remove(&intent);
                }
            }
        }
        if self.orders.own_trades.values().any(|at| old(*at)) {
            let newest = self.orders.own_trades.values().filter(|at| old(**at)).max().copied();
            self.orders.own_trades.retain(|_, at| !old(*at));
            self.orders.forgotten_until = self.orders.forgotten_until.max(newest.unwrap_or_default());
        }
        self.orders.recent_fills.retain(|fill| !old(fill.at));
        self.orders.ghosts.retain(|_, at| !old(*at));
        self.forget_old_groups();
    }

    /// Returns an order's intent as a fresh entry of the ledger in memory.
    pub(crate) const fn new_order(record: crate::event::IntentRecord) -> Order {
        Order {
            record,
            state: TlsmState::Created,
            sent: None,
            acked_at: None,
            order_id: None,
            filled: Qty::ZERO,
            filled_coins: 0,
            ended_at: None,
            cancel_asked_at: None,
            venue_end: None,
        }
    }

    /// Returns positions in the shape of the instrument table from a list of venue positions.
    pub(crate) fn as_table(&self, positions: &[crate::event::VenuePosition]) -> Vec<Qty> {
        let mut table = vec![Qty::ZERO; self.core.instruments.len()];
        for position in positions {
            if let Some(slot) = table.get_mut(position.instrument.index()) {
                *slot = slot.plus(position.qty);
            }
        }
        table
    }
}

/// Keeps of several intents those that fit, unless none does.
fn narrow(left: &mut Vec<&IntentRecord>, fits: impl Fn(&IntentRecord) -> bool) {
    if left.iter().any(|record| fits(record)) {
        left.retain(|record| fits(record));
    }
}
