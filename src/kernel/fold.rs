//! One event onto the state, in the fixed order: time, event, mode, dispatch. Source: kernel contract, head; decision 18.

use alloc::{boxed::Box, vec::Vec};

#[cfg(planted)]
use crate::planted::{self, Rule};
use crate::{
    effect::{Effect, Note},
    event::{BookDelta, Event, OperatorCommand, Reading, RestAnswer},
    registry::{ModeReason, OpenPermissionReason, TradingMode},
    resolver::resolve,
    state::{Cause, Kernel, Purpose},
    units::{Seq, Stamp, TimeMs},
};

/// Version of the kernel's behaviour as traces record it; steps when the meaning of a behaviour record changes.
pub const BEHAVIOUR_VERSION: u32 = 2;

impl Kernel {
    /// Applies one event and pushes what the kernel wants done onto `effects`.
    ///
    /// An event earlier than the last one is taken at the last one's time. Before the first boot and after a crash nothing
    /// but a boot is heard.
    pub fn apply(&mut self, seq: Seq, at: TimeMs, event: &Event, effects: &mut Vec<Effect>) {
        let stamp = Stamp { seq, at: at.max(self.core.stamp.at) };
        let mode_before = self.core.resolution.mode;
        match event {
            Event::Booted(boot) => {
                self.boot(stamp, boot, effects);
            }
            Event::Crashed => {
                *self = Self::down();
                self.core.stamp = stamp;
                return;
            }
            _ if !self.core.up => {
                self.core.stamp = stamp;
                return;
            }
            _ => {
                self.core.stamp = stamp;
                if self.is_calm_for(event) {
                    if self.changes_feeds_alone(event.reading(), effects, |kernel, effects| kernel.take(event, effects))
                    {
                        return;
                    }
                } else {
                    self.advance(effects);
                    self.take(event, effects);
                }
            }
        }
        #[cfg(planted)]
        if planted::broken(Rule::WholeImage) && matches!(event, Event::LoopTicked) && self.hidden.tick() {
            effects.push(Effect::Note(Note::RunStarted));
        }
        self.settle(effects);
        self.propose(event, effects);
        self.conclude(mode_before, effects);
    }

    /// Applies a book change as [`Self::apply`] would, without an event made of it, while nothing is due; false where it has
    /// to be applied as an event, and then nothing has changed.
    pub fn apply_book_change(
        &mut self,
        seq: Seq,
        at: TimeMs,
        change: &impl BookDelta,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let before = self.core.stamp;
        let mode_before = self.core.resolution.mode;
        self.core.stamp = Stamp { seq, at: at.max(before.at) };
        if !self.core.up || !self.is_calm_now() {
            self.core.stamp = before;
            return false;
        }
        let reading = Some(Reading::of(change));
        if !self.changes_feeds_alone(reading, effects, |kernel, effects| kernel.book_changed(change, effects)) {
            self.settle(effects);
            self.conclude(mode_before, effects);
        }
        true
    }

    /// Takes market data or a beat while nothing is due; true where that has changed their feed or its time and nothing else.
    /// `reading` is what they change of what the market monitors read.
    #[inline]
    fn changes_feeds_alone(
        &mut self,
        reading: Option<Reading>,
        effects: &mut Vec<Effect>,
        take: impl FnOnce(&mut Self, &mut Vec<Effect>),
    ) -> bool {
        let (noted, wanted) = (effects.len(), self.session.reconcile.wanted);
        take(self, effects);
        effects.len() == noted
            && self.session.reconcile.wanted == wanted
            && !self.latch.is_set()
            && reading.is_none_or(|reading| self.is_within_market_limits(reading))
    }

    /// Brings everything that depends on time up to the event's time, before the event can hide what a long gap did.
    fn advance(&mut self, effects: &mut Vec<Effect>) {
        self.advance_session(effects);
        self.advance_feeds(effects);
        self.advance_monitors();
        self.advance_groups();
        self.update_causes();
        let predicates = self.predicates();
        self.latch_kills(predicates);
    }

    /// Takes the event into the state.
    fn take(&mut self, event: &Event, effects: &mut Vec<Effect>) {
        match event {
            // Handled before.
            Event::Booted(_) | Event::Crashed => {}
            Event::LoopTicked
            | Event::HeartbeatSeen
            | Event::MarginSampled(_)
            | Event::DiskSampled { .. }
            | Event::PolicyReceived { .. }
            | Event::CertificateRead(_)
            | Event::FeeModelRead { .. }
            | Event::ClockDriftSampled { .. }
            | Event::OverrideSampled { .. }
            | Event::MaintenanceAnnounced(_)
            | Event::AnnouncementsUnavailable
            | Event::VolatilityIndexRead { .. }
            | Event::LimitsFetched { .. }
            | Event::OutputQueueSampled { .. }
            | Event::GroupLockSampled { .. }
            | Event::LimiterSampled { .. } => self.take_sample(event),
            Event::InstrumentRefreshed(id) => {
                let now = self.now();
                if let Some(instrument) = self.core.instruments.get_mut(id.index()) {
                    instrument.fetched_at = now;
                }
            }
            Event::InstrumentFetched { instrument, metadata } => self.instrument_fetched(*instrument, metadata),
            Event::BookSnapshot(snapshot) => self.book_snapshot(snapshot, effects),
            Event::BookChanged(change) => self.book_changed(change, effects),
            Event::TradesReceived { instrument, trades } => self.trades_received(*instrument, trades, effects),
            Event::TickerReceived(ticker) => self.ticker_received(ticker, effects),
            Event::FrameHeard(socket) => self.heard(*socket),
            Event::FrameRejected { socket, instrument, channel } => {
                self.frame_rejected(*socket, *instrument, *channel, effects);
            }
            Event::SocketOpened(socket) => self.socket_opened(*socket, effects),
            Event::SocketClosed { socket, cause } => self.socket_closed(*socket, *cause),
            Event::Authenticated => self.authenticated(),
            Event::AuthenticationRefused { code } => self.authentication_refused(*code),
            Event::VenueErrored { code } => self.venue_errored(*code),
            Event::Subscribed => self.heard(crate::event::Socket::Public),
            Event::OrderUpdated(order) => {
                self.heard(crate::event::Socket::Private);
                self.order_updated(order, effects);
            }
            Event::CancelRefused { label, cause } => {
                self.heard(crate::event::Socket::Private);
                self.cancel_refused(label, *cause, effects);
            }
            Event::OrderRejected { label, code } => {
                self.heard(crate::event::Socket::Private);
                self.order_refused_for(label, *code, effects);
                self.order_rejected(label, effects);
            }
            Event::OwnTraded(trades) => {
                self.heard(crate::event::Socket::Private);
                for trade in trades {
                    self.own_trade(trade, effects);
                }
            }
            Event::RestAnswered { request, venue_time, round_trip_ms, answer } => {
                self.rest_answered(*request, *venue_time, *round_trip_ms, answer, effects);
            }
            Event::RestRefused { request, code, round_trip_ms } => {
                self.rest_refused(*request, *code, *round_trip_ms, effects);
            }
            Event::LedgerDrained { records } => self.drained(*records),
            // Proposals are dispatched after the mode is resolved.
            Event::GroupProposed(_) | Event::CancelProposed { .. } | Event::ReplaceProposed { .. } => {}
            Event::OperatorCommanded(command) => self.operator(command, effects),
            Event::TokenReported { token, .. } => {
                self.guard_token(token, effects);
            }
        }
    }

    /// Takes a REST answer to what asked for it; one that nobody waits for is counted and dropped.
    fn rest_answered(
        &mut self,
        request: crate::units::RequestId,
        venue_time: TimeMs,
        round_trip_ms: i64,
        answer: &RestAnswer,
        effects: &mut Vec<Effect>,
    ) {
        let waited_for = self.session.pending.remove(&request);
        self.rest_ended(Some(round_trip_ms), waited_for.is_some());
        let Some(pending) = waited_for else {
            effects.push(Effect::Note(Note::AnswerDropped(request)));
            return;
        };
        match (pending.purpose, answer) {
            (Purpose::Run, _) => self.run_answered(request, venue_time, answer, effects),
            (Purpose::Book(instrument), RestAnswer::Book(snapshot)) if snapshot.instrument == instrument => {
                self.book_pulled(request, snapshot);
            }
            (Purpose::Trades(instrument), RestAnswer::RecentTrades { instrument: of, trades }) if *of == instrument => {
                self.trades_pulled(request, instrument, trades);
            }
            (Purpose::Book(_) | Purpose::Trades(_), _) => effects.push(Effect::Note(Note::AnswerDropped(request))),
        }
    }

    fn rest_refused(
        &mut self,
        request: crate::units::RequestId,
        code: i32,
        round_trip_ms: i64,
        effects: &mut Vec<Effect>,
    ) {
        const TOO_MANY_REQUESTS: i32 = 429;
        let waited_for = self.session.pending.remove(&request);
        self.rest_ended(Some(round_trip_ms), waited_for.is_some());
        if code == TOO_MANY_REQUESTS {
            let stamp = self.core.stamp;
            self.session.rate_limited.push(stamp.at);
            self.monitors.raise(Cause::RateLimited, stamp);
        }
        match waited_for {
            Some(pending) => self.request_failed(request, pending.purpose, crate::effect::RunFailure::Refused, effects),
            None => effects.push(Effect::Note(Note::AnswerDropped(request))),
        }
    }

    /// Carries out what an operator asks for. A token that the registry lacks is a violation, not a request; what needs an
    /// incident id is nothing without one.
    fn operator(&mut self, command: &OperatorCommand, effects: &mut Vec<Effect>) {
        let stamp = self.core.stamp;
        match command {
            OperatorCommand::IncidentReset { token, incident_id } => {
                if self.guard_token(token, effects)
                    && !incident_id.is_empty()
                    && let Some(reason) = ModeReason::from_token(token)
                {
                    self.incident_reset(reason);
                }
            }
            OperatorCommand::Kill => self.monitors.raise(Cause::OperatorKill, stamp),
            OperatorCommand::EmergencyReduceOnly => self.monitors.emergency = Some(stamp),
            OperatorCommand::AdoptPositions { incident_id } if incident_id.is_empty() => {}
            OperatorCommand::AdoptPositions { incident_id } => self.adopt_positions(incident_id, effects),
            OperatorCommand::ResumeContainment { group_id } => self.resume_containment(group_id),
        }
    }

    /// Brings bands, producers, network monitor, groups, causes and mode in line with the event; what it made calm is calm from now on.
    fn settle(&mut self, effects: &mut Vec<Effect>) {
        self.follow_bands();
        self.follow_producers();
        self.advance_bunker();
        self.advance_groups_after(effects);
        self.resolve();
    }

    /// Resolves causes, latched Kill reasons and the mode; called again wherever a dispatch may have changed them.
    pub(crate) fn resolve(&mut self) {
        self.update_causes();
        let predicates = self.predicates();
        self.latch_kills(predicates);
        self.release_kills(predicates);
        self.core.resolution = resolve(self.with_latched_kills(predicates));
    }

    /// Sends what the event proposes, order by order, each under the mode and latch of its own moment.
    fn propose(&mut self, event: &Event, effects: &mut Vec<Effect>) {
        match event {
            Event::GroupProposed(proposal) => self.propose_group(proposal, effects),
            Event::CancelProposed { intent } => self.propose_cancel(*intent, effects),
            Event::ReplaceProposed { intent, replacement } => self.propose_replace(*intent, replacement, effects),
            Event::LoopTicked => self.cancel_opens(effects),
            _ => {}
        }
    }

    /// Sends what may be sent beside proposals, and ends the event.
    fn conclude(&mut self, mode_before: TradingMode, effects: &mut Vec<Effect>) {
        self.resend_unsent(effects);
        self.release_replacements(effects);
        self.contain(effects);
        self.sweep(effects);
        self.start_run_if_wanted(effects);
        self.refresh_feeds(effects);
        self.close(mode_before, effects);
        self.note_calm();
    }

    /// Ends the event: resolves once more, notes since when each reason holds, writes the slot through.
    fn close(&mut self, mode_before: TradingMode, effects: &mut Vec<Effect>) {
        self.resolve();
        let stamp = self.core.stamp;
        if self.core.resolution.mode != mode_before || self.core.mode_since == Stamp::default() {
            self.core.mode_since = stamp;
        }
        let active = self.core.resolution.active;
        for (reason, since) in ModeReason::ALL.into_iter().zip(self.core.reason_since.iter_mut()) {
            *since = if active.has(reason) { since.or(Some(stamp)) } else { None };
        }
        let slot = self.slot();
        if slot != self.core.slot_written {
            self.core.slot_written = slot.clone();
            effects.push(Effect::WriteSlot(Box::new(slot)));
        }
    }

    /// True where the latch holds a code.
    #[must_use]
    pub fn latch_holds(&self, code: OpenPermissionReason) -> bool {
        self.latch.trigger(code).is_some()
    }
}
