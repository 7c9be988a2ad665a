//! The timeline: what each step does to the world.

use drillfold_kernel::{
    event::{CloseCause, Event, Socket},
    units::{InstrumentId, NANO, Qty, Side},
};

use super::{
    crash::ArmedCrash,
    faults::{Fault, waiting_fault},
    simulation::{Due, Mark, Proposing, Simulation},
};
use crate::{
    exchange::{StrayOrder, Stress, codes},
    scenario::model::{self, Action, Announcements, HostInput, InputState, MarketStress},
};

impl Simulation {
    /// Carries a step out and marks it.
    pub(super) fn take_step(&mut self, place: usize) {
        let Some(step) = self.steps.get(place).cloned() else { return };
        self.marks.push(Mark { at: self.now(), step: place, trigger: step.trigger, says: step.says });
        if let Some((count, fault)) = waiting_fault(&step.action) {
            self.faults.set(place, count, fault);
        } else if self.act(place, step.action) {
            self.count(place);
        }
    }

    /// Acts at once; true where something changed.
    fn act(&mut self, place: usize, action: Action) -> bool {
        match action {
            Action::StopMarketData => {
                // What it keeps back is counted message by message.
                self.stop_feed(place);
                false
            }
            Action::ResumeMarketData => self.resume_feed(),
            Action::ProposeGroup { net_edge_usd_cents, legs } => {
                self.input(|simulation| simulation.strategy.group(net_edge_usd_cents, &legs))
            }
            Action::StallLedger => {
                self.ledger.stall(place);
                false
            }
            Action::ResumeLedger => self.ledger.resume(),
            Action::Crash { down_ms, flush, damage } => {
                let was_up = self.up;
                if was_up {
                    self.crash(down_ms, flush);
                    self.ledger_damaged = damage;
                }
                was_up
            }
            Action::CrashAt { point, nth, down_ms } => {
                self.armed.push(ArmedCrash { step: place, point, nth, seen: 0, down_ms });
                false
            }
            Action::Redeploy { build_id, down_ms } => {
                let was_up = self.up;
                let changed = self.build_id != build_id;
                self.build_id = build_id;
                if was_up {
                    // A clean stop leaves nothing in the queue.
                    self.crash(down_ms, true);
                }
                was_up || changed
            }
            Action::TooManyRequests => {
                let error = Event::VenueErrored { code: codes::TOO_MANY_REQUESTS };
                self.end_session(Some(error), CloseCause::SessionEnded)
            }
            Action::EndSession => self.end_session(None, CloseCause::SessionEnded),
            Action::RevokeKey { refused } => {
                self.faults.set(place, refused, Fault::RefuseAuthentication { code: codes::INVALID_CREDENTIALS });
                self.end_session(None, CloseCause::KeyRevoked)
            }
            Action::DropPrivateSocket => self.lose_socket(Socket::Private),
            Action::DropPublicSocket => self.lose_socket(Socket::Public),
            Action::ReportToken { subsystem, token } => self.input(|_| Event::TokenReported { subsystem, token }),
            Action::Operator(command) => self.input(|_| Event::OperatorCommanded(command)),
            Action::SetMargin(value) => {
                let changed = std::mem::replace(&mut self.host.mm_util, value) != value;
                self.sampled(changed)
            }
            Action::SetDisk { primary, secondary } => {
                let disk = (primary, secondary);
                let changed = std::mem::replace(&mut self.host.disk, disk) != disk;
                self.sampled(changed)
            }
            Action::SetHeartbeat(beats) => {
                let state = if beats { InputState::Fresh } else { InputState::Silent };
                self.host.set_input(HostInput::Heartbeat, state, self.now())
            }
            Action::SetDrift(drift_ms) => {
                let changed = std::mem::replace(&mut self.host.drift_ms, drift_ms) != drift_ms;
                if changed {
                    self.hear([Event::ClockDriftSampled { drift_ms: self.host.drift(self.now()) }]);
                }
                changed
            }
            Action::SetInput { input, state } => {
                let changed = self.host.set_input(input, state, self.now());
                if changed {
                    self.read_again(input);
                }
                changed
            }
            Action::SetCertificate(state) => {
                let changed = self.host.set_certificate(state);
                if changed {
                    self.read_again(HostInput::Certificate);
                }
                changed
            }
            Action::SetLatency { public_ms, private_ms, rest_ms } => {
                self.network.set_delays(public_ms, private_ms, rest_ms)
            }
            Action::FetchLimits { succeeds, count } => {
                (0..count).all(|_| self.input(|_| Event::LimitsFetched { succeeded: succeeds }))
            }
            Action::SampleQueue { queue, depth, capacity } => {
                self.input(|_| Event::OutputQueueSampled { queue, depth, capacity })
            }
            Action::TryGroupLock(held) => self.input(|_| Event::GroupLockSampled { held }),
            Action::SampleLimiter(credits) => self.input(|_| Event::LimiterSampled { credits }),
            Action::StrayOrder { instrument, side, qty, rests } => self.stray_order(instrument, side, qty, rests),
            Action::ShiftPosition { instrument, qty } => self.venue.shift_position(instrument, qty),
            Action::SetOverride { producer, signal } => {
                let changed = self.host.set_override(producer, signal);
                if changed {
                    self.hear([Event::OverrideSampled { producer, signal }]);
                }
                changed
            }
            Action::SetMarket(stress) => self.set_market(stress),
            Action::Announce(announcements) => self.announce(announcements),
            Action::SetStrategy { open_every_ms, close_every_ms, cancel_every_ms } => {
                self.set_paces([open_every_ms, close_every_ms, cancel_every_ms])
            }
            // These wait for what they strike.
            Action::DropBookChanges { .. }
            | Action::DropTrades { .. }
            | Action::RepeatTrades { .. }
            | Action::StepBackTrades { .. }
            | Action::RepeatOwnTrades { .. }
            | Action::RejectOrders { .. }
            | Action::StarveOrders { .. }
            | Action::RefuseAuthentication { .. }
            | Action::RefuseRest { .. }
            | Action::LoseRest { .. } => false,
        }
    }

    /// Feeds an input in; false while no process could take it.
    fn input(&mut self, event: impl FnOnce(&mut Self) -> Event) -> bool {
        if self.up {
            let event = event(self);
            self.hear([event]);
        }
        self.up
    }

    /// A value that changed is sampled at once.
    fn sampled(&mut self, changed: bool) -> bool {
        if changed {
            self.hear(self.host.samples(self.now()));
        }
        changed
    }

    /// Changes the reference instrument's market; book, ticker and index follow at their own paces.
    fn set_market(&mut self, stress: MarketStress) -> bool {
        let MarketStress { spread_bps, depth_usd, basis_bps, volatility } = stress;
        let depth = depth_usd.map(|usd| Qty(usd.saturating_mul(NANO)));
        let read = self.host.set_volatility(volatility);
        let stress = Stress { spread_bps, depth, basis_bps };
        self.reference.is_some_and(|reference| self.venue.set_stress(reference, stress)) || read
    }

    /// An input that changed is read at once; one that only ever comes is waited for.
    fn read_again(&mut self, input: HostInput) {
        let now = self.now();
        let [policy, certificate, fee_model, drift] =
            self.host.refreshed(now, &self.build_id, &self.deployment.runtime_config_hash);
        match input {
            HostInput::Margin | HostInput::DiskPrimary | HostInput::DiskSecondary => {
                self.hear(self.host.samples(now));
            }
            HostInput::Policy => self.hear([policy]),
            HostInput::Certificate => self.hear([certificate]),
            HostInput::FeeModel => self.hear([fee_model]),
            HostInput::Drift => self.hear([drift]),
            HostInput::Metadata => self.refresh_metadata(),
            HostInput::Heartbeat | HostInput::LoopTick => {}
        }
    }

    /// Changes the announcements, and lets them be polled at once.
    fn announce(&mut self, announcements: Announcements) -> bool {
        let now = self.now();
        let changed = self.host.announce(announcements, now);
        if changed {
            self.hear([self.host.polled(now)]);
        }
        changed
    }

    /// The venue takes an order with our label from somebody else, and tells its owner, which is us.
    fn stray_order(&mut self, instrument: usize, side: Side, qty: Qty, rests: bool) -> bool {
        let Ok(place) = u16::try_from(instrument) else { return false };
        self.strays = self.strays.saturating_add(1);
        let order = StrayOrder { number: self.strays, instrument: InstrumentId(place), side, qty, rests };
        let reports = self.venue.place_stray(self.now(), &order);
        let placed = !reports.is_empty();
        self.report(reports);
        placed
    }

    fn resume_feed(&mut self) -> bool {
        let was_stopped = self.publisher.is_stopped();
        self.publisher.resume();
        let listening = self.subscriber_hears();
        self.publisher.release_trades(listening);
        if was_stopped {
            self.send_owed_snapshots();
        }
        was_stopped
    }

    /// Sets the paces that are given, by [`Proposing::index`]; a pace that changes begins anew.
    fn set_paces(&mut self, paces: [Option<i64>; 3]) -> bool {
        let mut changed = false;
        for (proposing, pace_ms) in Proposing::ALL.into_iter().zip(paces) {
            let Some(pace_ms) = pace_ms.map(|pace_ms| pace_ms.max(0)) else { continue };
            let model::Strategy { open_every_ms, close_every_ms, cancel_every_ms, .. } = &mut self.strategy.setup;
            let current = match proposing {
                Proposing::Open => open_every_ms,
                Proposing::Close => close_every_ms,
                Proposing::Cancel => cancel_every_ms,
            };
            if std::mem::replace(current, pace_ms) == pace_ms {
                continue;
            }
            changed = true;
            if let Some(changes) = self.pace_changes.get_mut(proposing.index()) {
                *changes = changes.saturating_add(1);
                let due = Due::Propose(proposing, *changes);
                if pace_ms > 0 {
                    self.queue.push(self.queue.now().after(pace_ms), due);
                }
            }
        }
        changed
    }
}
