//! The life of the process: boots, crashes, and the points at which a crash strikes.

use drillfold_kernel::{
    effect::Effect,
    event::{
        Boot, Event, Instrument, IntentClass, LedgerRecord, RestAnswer, Sample, TlsmState, VenueOrder, VenueState,
    },
    identity::parse_label,
    units::{InstrumentId, TimeMs, UnderlyingId},
};

use super::simulation::{Due, Simulation};
use crate::scenario::model::{CrashPoint, HostInput, Withheld};

/// Requests of the handshake whose round trips a boot reports.
const HANDSHAKE_REQUESTS: usize = 3;

/// A crash that waits for its point.
#[derive(Clone, Copy, Debug)]
pub(super) struct ArmedCrash {
    pub(super) step: usize,
    pub(super) point: CrashPoint,
    /// At which occurrence, from 1; 0 never strikes.
    pub(super) nth: u32,
    pub(super) seen: u32,
    pub(super) down_ms: i64,
}

/// What an arriving event is, as far as crash points are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// The acknowledgement of an OPEN.
    Ack,
    /// A fill of an OPEN.
    Fill,
    /// The venue's positions, in the middle of a run.
    Positions,
}

impl Simulation {
    /// The process starts: it knows what it read before, and both sockets are connected.
    pub(super) fn boot(&mut self) {
        if self.up {
            return;
        }
        self.up = true;
        self.boots = self.boots.saturating_add(1);
        self.network.public.open_at_boot();
        self.network.private.open_at_boot();
        let boot = self.boot_reading();
        let (positions, open) = (self.venue.positions(), self.venue.open_orders());
        self.strategy.start(self.now(), &boot.tickers, &positions, &open);
        self.ready.push_back(Event::Booted(Box::new(boot)));
        self.hear(self.host.reported());
    }

    /// The process dies: its memory, its queue and what travels to it are gone. What it had sent reaches the venue.
    pub(super) fn crash(&mut self, down_ms: i64, flush: bool) {
        if flush {
            self.ledger.flush();
        }
        self.ledger.lose_queue();
        self.up = false;
        self.network.public.abandon();
        self.network.private.abandon();
        self.passed = None;
        self.ready.clear();
        self.ready.push_back(Event::Crashed);
        self.queue.push(self.now().after(down_ms), Due::Boot);
    }

    /// The process is killed from outside, by no step of the scenario, after an event whose effects were all carried out, and
    /// starts again `down_ms` later. Where none is up nothing happens.
    pub fn kill(&mut self, down_ms: i64) {
        if self.up {
            self.crash(down_ms, false);
        }
    }

    /// True where the process crashes instead of carrying the effect out.
    pub(super) fn crashes_before(&mut self, effect: &Effect) -> bool {
        match effect {
            Effect::Enqueue(LedgerRecord::Intent(intent)) if intent.class == IntentClass::Open => {
                self.reach_point(CrashPoint::BeforeRecord)
            }
            _ => false,
        }
    }

    /// True where the process crashes right after the effect was carried out.
    pub(super) fn crashes_after(&mut self, effect: &Effect) -> bool {
        match effect {
            Effect::Enqueue(LedgerRecord::Intent(intent)) if intent.class == IntentClass::Open => {
                self.reach_point(CrashPoint::AfterRecord)
            }
            Effect::Enqueue(LedgerRecord::Transition { intent, state: TlsmState::Sent, .. })
                if self.classes.get(intent) == Some(&IntentClass::Open) =>
            {
                self.reach_point(CrashPoint::AfterSend)
            }
            Effect::Place(order) if order.class == IntentClass::Open => self.reach_point(CrashPoint::BeforeSentRecord),
            _ => false,
        }
    }

    /// True where the process crashes with the message at its door.
    pub(super) fn crashes_on_arrival(&mut self, event: &Event) -> bool {
        match self.passage(event) {
            Some(Passage::Ack) => self.reach_point(CrashPoint::BeforeAck),
            Some(Passage::Fill) => self.reach_point(CrashPoint::BeforeFill),
            Some(Passage::Positions) => self.reach_point(CrashPoint::InReconciliation),
            None => false,
        }
    }

    /// Crashes after an event whose effects were all carried out, where its point is armed.
    pub(super) fn crash_after_passage(&mut self) {
        match self.passed.take() {
            Some(Passage::Ack) => self.reach_point(CrashPoint::AfterAck),
            Some(Passage::Fill) => self.reach_point(CrashPoint::AfterFill),
            Some(Passage::Positions) | None => false,
        };
    }

    /// Returns what an event is to crash points.
    pub(super) fn passage(&self, event: &Event) -> Option<Passage> {
        match event {
            Event::OrderUpdated(order) if is_ack(order) && self.is_open_class(&order.label) => Some(Passage::Ack),
            Event::OwnTraded(trades) if trades.iter().any(|trade| self.is_open_class(&trade.label)) => {
                Some(Passage::Fill)
            }
            Event::RestAnswered { answer: RestAnswer::Positions(_), .. } => Some(Passage::Positions),
            _ => None,
        }
    }

    fn is_open_class(&self, label: &str) -> bool {
        parse_label(label).is_some_and(|parts| self.classes.get(&parts.intent) == Some(&IntentClass::Open))
    }

    /// Counts an occurrence of a point; true where an armed crash strikes at it.
    ///
    /// All that was enqueued by then is durable, so that each point shows its own boundary: which records a crash may lose
    /// is what [`crate::scenario::model::Action::Crash`] is for. Before the record nothing is made durable.
    fn reach_point(&mut self, point: CrashPoint) -> bool {
        let mut struck = None;
        for (place, armed) in self.armed.iter_mut().enumerate().filter(|(_, armed)| armed.point == point) {
            armed.seen = armed.seen.saturating_add(1);
            if armed.seen == armed.nth {
                struck = struck.or(Some(place));
            }
        }
        let Some(place) = struck else { return false };
        let armed = self.armed.remove(place);
        self.count(armed.step);
        self.crash(armed.down_ms, point != CrashPoint::BeforeRecord);
        true
    }

    fn boot_reading(&mut self) -> Boot {
        let now = self.now();
        let round_trips_ms = (0..HANDSHAKE_REQUESTS)
            .map(|_| self.network.rest.delay().saturating_add(self.network.rest.delay()))
            .collect();
        let (disk_primary, disk_secondary) = self.host.disks(now);
        let instruments = self.instruments(now);
        let tickers = (0..instruments.len())
            .filter_map(|place| self.venue.ticker(InstrumentId(u16::try_from(place).ok()?)))
            .collect();
        let hash = self.deployment.runtime_config_hash.clone();
        let mut boot = Boot {
            config: self.deployment.config.clone(),
            certificate: self.host.certificate(now, &self.build_id, &hash),
            build_id: self.build_id.clone(),
            runtime_config_hash: hash,
            reference_instrument: self.reference,
            instruments,
            margin: self.host.margin(now),
            disk_primary,
            disk_secondary,
            heartbeat_at: self.host.read_at(HostInput::Heartbeat, now),
            loop_tick_at: self.host.read_at(HostInput::LoopTick, now),
            policy_generated_at: self.host.read_at(HostInput::Policy, now),
            fee_cached_at: self.host.read_at(HostInput::FeeModel, now),
            drift_ms: self.host.drift(now),
            overrides: self.host.overrides(),
            maintenance: self.host.announced(now),
            round_trips_ms,
            session_flag_readable: true,
            session_count_readable: true,
            tickers,
            ledger: self.ledger.survived(),
            ledger_damaged: std::mem::take(&mut self.ledger_damaged),
            slot: self.ledger.slot(),
        };
        self.withheld.iter().for_each(|withheld| withhold(&mut boot, *withheld));
        boot
    }

    fn instruments(&self, now: TimeMs) -> Vec<Instrument> {
        let mut underlyings: Vec<&str> = Vec::new();
        let mut instruments = Vec::new();
        for market in self.venue.markets() {
            let listing = market.listing();
            let place = underlyings.iter().position(|name| *name == listing.underlying).unwrap_or_else(|| {
                underlyings.push(&listing.underlying);
                underlyings.len().saturating_sub(1)
            });
            instruments.push(Instrument {
                name: listing.name.clone(),
                kind: listing.kind,
                underlying: UnderlyingId(u8::try_from(place).unwrap_or(u8::MAX)),
                tick_size: Some(listing.tick_size),
                amount_step: Some(listing.amount_step),
                min_amount: Some(listing.min_amount),
                subscribed: true,
                fetched_at: now,
            });
        }
        instruments
    }
}

/// An acknowledgement is the first report of an order that may still trade.
fn is_ack(order: &VenueOrder) -> bool {
    order.state == VenueState::Open && order.filled.is_zero()
}

fn withhold(boot: &mut Boot, withheld: Withheld) {
    match withheld {
        Withheld::Margin => boot.margin = Sample::default(),
        Withheld::DiskPrimary => boot.disk_primary = Sample::default(),
        Withheld::DiskSecondary => boot.disk_secondary = Sample::default(),
        Withheld::Heartbeat => boot.heartbeat_at = None,
        Withheld::LoopTick => boot.loop_tick_at = None,
        Withheld::Policy => boot.policy_generated_at = None,
        Withheld::Certificate => boot.certificate = None,
        Withheld::FeeModel => boot.fee_cached_at = None,
        Withheld::Drift => boot.drift_ms = None,
        Withheld::Overrides => boot.overrides.iter_mut().for_each(|signal| *signal = None),
        Withheld::RoundTrips => boot.round_trips_ms.clear(),
        Withheld::SessionFlag => boot.session_flag_readable = false,
        Withheld::SessionCount => boot.session_count_readable = false,
    }
}
