//! The world of a shadow run: host, ledger, account, private socket and REST are simulated, the public feed is real.
//!
//! There is no strategy and no synthetic market, so nothing ever proposes an order; should the kernel send one all the same, it
//! reaches the simulated venue and nobody else. What concerns the public socket is handed back to the caller as a
//! [`PublicRequest`], which has no variant that trades. Market data also go to the simulated venue, so that what it answers
//! over REST is the book that was heard.
//!
//! The room reads no clock: the caller says what time it is.

use std::collections::VecDeque;

use drillfold_kernel::{
    effect::Effect,
    event::{CloseCause, Event, LedgerRecord},
    slot::Slot,
    units::{InstrumentId, TimeMs},
};

use super::{
    error::SimError,
    ledger::Ledger,
    simulation::{Deployment, Input, Simulation},
};
use crate::{
    exchange::{MarketData, codes},
    scenario::model::{Scenario, Strategy},
};

/// What the kernel asks of the public socket. There is nothing here that trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicRequest {
    /// Connect; drop the connection that there is.
    Connect,
    /// Subscribe to all market data.
    Subscribe,
    /// Subscribe to one instrument's book again, so that it comes whole.
    ResubscribeBook(InstrumentId),
    /// Send a keep-alive.
    KeepAlive,
}

impl PublicRequest {
    /// Returns what an effect asks of the public socket; `None` where it is another's matter.
    #[must_use]
    pub const fn of(effect: &Effect) -> Option<Self> {
        match effect {
            Effect::ConnectPublic => Some(Self::Connect),
            Effect::Subscribe => Some(Self::Subscribe),
            Effect::ResubscribeBook(instrument) => Some(Self::ResubscribeBook(*instrument)),
            Effect::KeepAlivePublic => Some(Self::KeepAlive),
            Effect::Enqueue(_)
            | Effect::WriteSlot(_)
            | Effect::Place(_)
            | Effect::Cancel(_)
            | Effect::Refuse(_)
            | Effect::Rest { .. }
            | Effect::ConnectPrivate
            | Effect::Authenticate
            | Effect::KeepAlivePrivate
            | Effect::Note(_) => None,
        }
    }
}

/// What survives a process: the durable records of its ledger, and the sticky slot. It is followed event by event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survived {
    waiting: VecDeque<LedgerRecord>,
    durable: Vec<LedgerRecord>,
    slot: Option<Slot>,
}

impl Survived {
    /// Follows an event and what the kernel asked for after it.
    pub fn after(&mut self, event: &Event, effects: &[Effect]) {
        match event {
            Event::Booted(_) | Event::Crashed => self.waiting.clear(),
            Event::LedgerDrained { records } => {
                let drained = usize::try_from(*records).unwrap_or(usize::MAX).min(self.waiting.len());
                self.durable.extend(self.waiting.drain(..drained));
            }
            _ => {}
        }
        for effect in effects {
            match effect {
                Effect::Enqueue(record) => self.waiting.push_back(record.clone()),
                Effect::WriteSlot(slot) => self.slot = Some((**slot).clone()),
                _ => {}
            }
        }
    }
}

/// The world of a shadow run.
#[derive(Clone, Debug)]
pub struct Live {
    simulation: Simulation,
}

impl Live {
    /// Sets up the world of a scenario at `start`, for a process that finds what survived on its disk. Of the scenario its
    /// instruments, configuration, host and latencies count; its timeline, strategy and markets do not.
    ///
    /// # Errors
    /// Numbers and names that no world can be made of.
    pub fn new(
        scenario: &Scenario,
        deployment: Deployment,
        start: TimeMs,
        survived: Survived,
    ) -> Result<Self, SimError> {
        let mut scenario = scenario.clone();
        scenario.start = start;
        scenario.duration_ms = i64::MAX;
        scenario.events_max = u64::MAX;
        scenario.steps = Vec::new();
        scenario.strategy = Strategy { open_every_ms: 0, close_every_ms: 0, cancel_every_ms: 0, ..scenario.strategy };
        for instrument in &mut scenario.world.instruments {
            instrument.synthetic = false;
        }
        let mut simulation = Simulation::new(&scenario, deployment, None)?;
        simulation.ledger = Ledger::found(survived.durable, survived.slot, scenario.world.ledger.batch);
        Ok(Self { simulation })
    }

    /// Hands out the next event that is due by `now`, or that arrived; `None` where there is none yet. Each input's effects
    /// are to be given to [`Live::carry_out`] before the next one is asked for.
    pub fn next(&mut self, now: TimeMs) -> Option<Input> {
        loop {
            if let Some(mut event) = self.simulation.ready.pop_front() {
                if let Event::Booted(boot) = &mut event {
                    // The prices of the world's table are nobody's: a ticker is what the feed brings.
                    boot.tickers.clear();
                }
                return self.simulation.hand_out(event);
            }
            if self.simulation.queue.next_at().is_none_or(|at| at > now) {
                self.simulation.queue.advance(now);
                return None;
            }
            let due = self.simulation.queue.pop()?;
            self.simulation.happen(due);
        }
    }

    /// Returns when something is due next; `None` where nothing is.
    #[must_use]
    pub fn due_at(&self) -> Option<TimeMs> {
        self.simulation.queue.next_at()
    }

    /// Takes an event that the public socket brought. It happens where [`Live::next`] has come to. The simulated venue learns
    /// market data from it, and a refusal with 10028 ends the simulated private session, as it does at a venue.
    pub fn arrive(&mut self, event: Event) {
        let data = match &event {
            Event::BookSnapshot(snapshot) => Some(MarketData::Snapshot(snapshot.clone())),
            Event::BookChanged(change) => Some(MarketData::Changed(change.clone())),
            Event::TradesReceived { instrument, trades } => {
                Some(MarketData::Traded { instrument: *instrument, trades: trades.clone() })
            }
            _ => None,
        };
        if let Some(data) = data {
            // There are no orders of ours that the data could fill.
            self.simulation.venue.take_recorded(self.simulation.now(), &data);
        }
        if event == (Event::VenueErrored { code: codes::TOO_MANY_REQUESTS }) {
            self.simulation.end_session(None, CloseCause::SessionEnded);
        }
        self.simulation.hear([event]);
    }

    /// Carries out what the kernel asked for after the last event, and returns what concerns the public socket.
    pub fn carry_out(&mut self, effects: &[Effect]) -> Vec<PublicRequest> {
        let mut requests = Vec::new();
        for effect in effects {
            match PublicRequest::of(effect) {
                Some(request) => requests.push(request),
                None => self.simulation.carry(effect),
            }
        }
        requests
    }
}
