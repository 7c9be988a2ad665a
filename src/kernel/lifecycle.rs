//! Life of instruments: fetched metadata, expiry, and what the venue no longer trades.
//! Source: kernel contract section 1, lifecycle; AT-333, AT-949, AT-950, AT-960, AT-961, AT-962.

use alloc::{string::String, vec::Vec};

use crate::{
    config::seconds,
    effect::{Effect, Note},
    event::{CancelRefusal, IntentClass, LedgerRecord, Metadata, TlsmState},
    orders::Match,
    registry::RejectReason,
    state::Kernel,
    units::{InstrumentId, Qty},
};

/// The venue's codes for an instrument that it no longer trades: invalid instrument, closed book, instrument not found.
/// Source: Deribit's list of RPC error codes, read 2026-11-23.
const TERMINAL_CODES: [i32; 3] = [10_020, 13_019, 13_020];

impl Kernel {
    /// Takes a fetched record: what is sized and quantised from now on follows it. Source: AT-333.
    pub(crate) fn instrument_fetched(&mut self, id: InstrumentId, metadata: &Metadata) {
        let now = self.now();
        if let Some(instrument) = self.core.instruments.get_mut(id.index()) {
            instrument.tick_size = metadata.tick_size;
            instrument.amount_step = metadata.amount_step;
            instrument.min_amount = metadata.min_amount;
            instrument.fetched_at = now;
        }
        if let Some(listing) = self.core.listings.get_mut(id.index()) {
            listing.contract_multiplier = metadata.contract_multiplier;
            listing.expires_at = metadata.expires_at;
        }
    }

    /// True once the venue has said that an instrument is gone for good: it is never cancelled or closed in again.
    #[must_use]
    pub fn is_gone(&self, id: InstrumentId) -> bool {
        self.core.listings.get(id.index()).is_some_and(|listing| listing.gone)
    }

    /// The lifecycle gate: no OPEN within `expiry_delist_buffer_s` of expiry, none without that limit, nothing at all in
    /// an instrument that is gone. Source: AT-950, AT-962, AT-965.
    pub(crate) fn lifecycle_gate(&mut self, class: IntentClass, id: InstrumentId) -> Result<(), RejectReason> {
        if class == IntentClass::Open {
            let buffer = self.config().expiry_delist_buffer_s;
            let buffer = self.configured(buffer, RejectReason::InstrumentExpiredOrDelisted)?;
            let expires = self.core.listings.get(id.index()).and_then(|listing| listing.expires_at);
            if expires.is_some_and(|at| at.since(self.now()) <= seconds(buffer)) {
                return Err(RejectReason::InstrumentExpiredOrDelisted);
            }
        }
        if self.is_gone(id) { Err(RejectReason::InstrumentExpiredOrDelisted) } else { Ok(()) }
    }

    /// Takes the venue's refusal to cancel. Gone for good: the cancel is done and so is the instrument. Otherwise a run
    /// finds out how the order stands, and the cancel may be asked for again. Source: AT-949, AT-960, AT-966.
    pub(crate) fn cancel_refused(&mut self, label: &str, cause: CancelRefusal, effects: &mut Vec<Effect>) {
        let Match::One(intent) = self.match_label(label) else {
            return;
        };
        let Some(order) = self.orders.intents.get_mut(&intent) else {
            return;
        };
        if order.state.is_terminal() {
            return;
        }
        let instrument = order.record.instrument;
        if cause != CancelRefusal::AlreadyGone {
            order.cancel_asked_at = None;
        }
        self.ask_run();
        if cause.is_terminal() && self.has_expired(instrument) {
            self.mark_gone(instrument, effects);
            self.transition(intent, TlsmState::Canceled, effects);
        }
    }

    /// Looks at the code of a refused order: the venue may say by it that the instrument is gone. Source: AT-961.
    pub(crate) fn order_refused_for(&mut self, label: &str, code: i32, effects: &mut Vec<Effect>) {
        if TERMINAL_CODES.contains(&code)
            && let Match::One(intent) = self.match_label(label)
            && let Some(instrument) = self.orders.intents.get(&intent).map(|order| order.record.instrument)
            && self.has_expired(instrument)
        {
            self.mark_gone(instrument, effects);
            self.ask_run();
        }
    }

    /// Takes the zero that the venue shows for an instrument that is gone: it was settled, and no trade says so. Recorded
    /// like an adoption, with the lifecycle's own token for an incident id. Source: AT-962.
    pub(crate) fn settle_gone(&mut self, effects: &mut Vec<Effect>) {
        let Some((venue, _)) = &self.session.reconcile.venue_positions else {
            return;
        };
        let settled: Vec<InstrumentId> = venue
            .iter()
            .enumerate()
            .filter(|(_, position)| position.is_zero())
            .map(|(index, _)| crate::feeds::instrument_id(index))
            .filter(|id| self.is_gone(*id))
            .collect();
        for instrument in settled {
            let held = self.orders.positions.get_mut(instrument.index()).filter(|position| !position.is_zero());
            if let Some(position) = held {
                *position = Qty::ZERO;
                let incident_id = String::from(RejectReason::InstrumentExpiredOrDelisted.token());
                let record = LedgerRecord::Adopted { instrument, qty: Qty::ZERO, incident_id, at: self.now() };
                self.enqueue(record, effects);
            }
        }
    }

    /// True where an instrument is known to have expired; only then can an answer of the venue end it.
    fn has_expired(&self, id: InstrumentId) -> bool {
        let expires = self.core.listings.get(id.index()).and_then(|listing| listing.expires_at);
        expires.is_some_and(|at| self.now() >= at)
    }

    fn mark_gone(&mut self, id: InstrumentId, effects: &mut Vec<Effect>) {
        if let Some(listing) = self.core.listings.get_mut(id.index())
            && !listing.gone
        {
            listing.gone = true;
            effects.push(Effect::Note(Note::ExpiredOrDelisted(id)));
        }
    }
}
