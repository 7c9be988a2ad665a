//! The driver: one queue, one input at a time, effects carried out between them.

use std::collections::{BTreeMap, VecDeque};

use drillfold_kernel::{
    config::Config,
    effect::Effect,
    event::{CloseCause, Event, IntentClass},
    units::{InstrumentId, IntentHash, TimeMs},
};

use super::{
    crash::{ArmedCrash, Passage},
    error::SimError,
    faults::Faults,
    host::Host,
    ledger::Ledger,
    network::Network,
    prng::{Prng, Stream},
    queue::Queue,
    recorded::{RecordedInput, RecordedMessage},
    strategy::Strategy,
    wire::{Request, Way},
};
use crate::{
    exchange::{Draw as _, Listing, MarketData, MarketShape, PrivateSessions, Publisher, Venue, codes},
    scenario::model::{self, Action, HostInput, Scenario, Step, Withheld},
};

/// How often the volatility index is read; well below the age at which Cortex calls it stale.
const VOLATILITY_EVERY_MS: i64 = 1000;

/// What runs in the drilled process, apart from the build, which the scenario names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// The thresholds.
    pub config: Config,
    /// SHA-256 (hex) of the canonical runtime configuration.
    pub runtime_config_hash: String,
    /// The venue's name of the instrument that the market monitors read.
    pub reference_instrument: Option<String>,
}

/// One event for the kernel, with the marks that stand before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The event's time.
    pub at: TimeMs,
    /// The event.
    pub event: Event,
    /// Steps of the timeline that were carried out since the event before it, in their order.
    pub marks: Vec<Mark>,
}

/// A step of the timeline was carried out. A mark is no event: a trigger such as "the feed stops" has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at: TimeMs,
    /// Index of the step in the scenario.
    pub step: usize,
    /// True for the drill's trigger.
    pub trigger: bool,
    /// What happened, in the scenario's words.
    pub says: String,
}

/// Why there are no more inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The scenario's duration is over.
    Duration,
    /// The run has as many events as the scenario allows; it is not complete.
    EventLimit,
}

/// What is due in the queue.
#[derive(Clone, Debug)]
pub(super) enum Due {
    /// The process starts.
    Boot,
    /// A step of the timeline.
    Step(usize),
    /// The feed ends, for a step that stops it between two ticks.
    FeedEnds(usize),
    Tick,
    Samples,
    Heartbeat,
    Refresh,
    /// The announcements are polled.
    Poll,
    /// The volatility index is read.
    Volatility,
    /// Instrument metadata is fetched again.
    Metadata,
    /// A beat of the ledger's writer.
    Beat,
    Walk(InstrumentId),
    Trade(InstrumentId),
    Ticker(InstrumentId),
    Recorded(usize),
    /// A proposal of the strategy; void where its pace was changed since.
    Propose(Proposing, u64),
    /// A request of ours reaches the venue.
    Reached(Way, Request),
    /// A message reaches the process.
    Arrived {
        way: Way,
        event: Box<Event>,
    },
    /// A connection that was asked for is open.
    Connected(drillfold_kernel::event::Socket, u64),
}

/// What the strategy proposes at a pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proposing {
    Open,
    Close,
    Cancel,
}

impl Proposing {
    pub(super) const ALL: [Self; 3] = [Self::Open, Self::Close, Self::Cancel];

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Open => 0,
            Self::Close => 1,
            Self::Cancel => 2,
        }
    }

    pub(super) const fn pace_ms(self, setup: &model::Strategy) -> i64 {
        match self {
            Self::Open => setup.open_every_ms,
            Self::Close => setup.close_every_ms,
            Self::Cancel => setup.cancel_every_ms,
        }
    }
}

/// The generators of one instrument's market.
#[derive(Clone, Debug)]
pub(super) struct MarketPrngs {
    walk: Prng,
    jitter: Prng,
    trades: Prng,
}

/// The world of one run.
#[derive(Clone, Debug)]
pub struct Simulation {
    pub(super) queue: Queue<Due>,
    /// Events of this moment that wait to be handed out.
    pub(super) ready: VecDeque<Event>,
    pub(super) marks: Vec<Mark>,
    pub(super) start: TimeMs,
    end: TimeMs,
    events_left: u64,
    ending: Option<Ending>,

    pub(super) steps: Vec<Step>,
    pub(super) step_effects: Vec<u64>,
    pub(super) faults: Faults,
    pub(super) armed: Vec<ArmedCrash>,

    /// True while the process runs.
    pub(super) up: bool,
    /// Number of the process, from 1.
    pub(super) boots: u64,
    pub(super) build_id: String,
    pub(super) deployment: Deployment,
    pub(super) reference: Option<InstrumentId>,
    pub(super) withheld: Vec<Withheld>,
    /// What the event handed out last was, where a crash may follow it.
    pub(super) passed: Option<Passage>,
    /// Classes of the intents seen on their way to ledger or venue.
    pub(super) classes: BTreeMap<IntentHash, IntentClass>,

    pub(super) venue: Venue,
    pub(super) publisher: Publisher,
    pub(super) sessions: PrivateSessions,
    pub(super) network: Network,
    /// The step that stopped the feed last.
    pub(super) feed_stopped_by: Option<usize>,
    market: model::Market,
    prngs: Vec<MarketPrngs>,
    recording: Vec<RecordedInput>,
    /// False where the venue answers no keep-alives on the public socket.
    pub(super) keepalives: bool,
    pub(super) host: Host,
    host_setup: model::Host,
    pub(super) ledger: Ledger,
    /// True where the next boot finds the ledger damaged.
    pub(super) ledger_damaged: bool,
    /// Orders so far that carry our label and are not ours.
    pub(super) strays: u64,
    drain_every_ms: i64,
    pub(super) strategy: Strategy,
    /// Steps with every change of a pace, by [`Proposing::index`].
    pub(super) pace_changes: [u64; 3],
}

impl Simulation {
    /// Sets up the world of a scenario; nothing has happened yet.
    ///
    /// # Errors
    /// Numbers and names that no world can be made of.
    pub fn new(
        scenario: &Scenario,
        deployment: Deployment,
        recording: Option<Vec<RecordedInput>>,
    ) -> Result<Self, SimError> {
        let world = &scenario.world;
        let recording = recording.unwrap_or_default();
        check_numbers(scenario, &deployment.config)?;
        check_instruments(scenario, &recording)?;
        check_recorded(world, &recording)?;
        check_order(&recording)?;
        let reference = reference(world, &deployment)?;
        let listings = world.instruments.iter().map(listing).collect();
        let shape = MarketShape { levels: world.market.levels, walk_ticks: world.market.walk_ticks };
        let venue = Venue::new(listings, shape, &world.market.index)?;
        let prng = |stream| Prng::new(scenario.seed, stream);
        let prngs = (0..venue.markets().len())
            .filter_map(|place| u16::try_from(place).ok())
            .map(|place| MarketPrngs {
                walk: prng(Stream::Walk(place)),
                jitter: prng(Stream::Jitter(place)),
                trades: prng(Stream::Trades(place)),
            })
            .collect();
        let ticks = world.instruments.iter().map(|instrument| instrument.tick_size);
        let mut simulation = Self {
            queue: Queue::new(scenario.start),
            ready: VecDeque::new(),
            marks: Vec::new(),
            start: scenario.start,
            end: scenario.start.after(scenario.duration_ms),
            events_left: scenario.events_max,
            ending: None,
            step_effects: vec![0; scenario.steps.len()],
            steps: scenario.steps.clone(),
            faults: Faults::default(),
            armed: Vec::new(),
            up: false,
            boots: 0,
            build_id: scenario.build_id.clone(),
            deployment,
            reference,
            withheld: world.withhold.clone(),
            passed: None,
            classes: BTreeMap::new(),
            publisher: Publisher::new(venue.markets().len()),
            venue,
            sessions: PrivateSessions::default(),
            network: Network::new(&world.latency, scenario.seed)?,
            feed_stopped_by: None,
            market: world.market.clone(),
            prngs,
            recording,
            keepalives: world.keepalives,
            host: Host::new(&world.host, scenario.start),
            host_setup: world.host.clone(),
            ledger: Ledger::new(world.ledger.batch),
            ledger_damaged: false,
            strays: 0,
            drain_every_ms: world.ledger.drain_every_ms,
            strategy: Strategy::new(&scenario.strategy, ticks, scenario.seed),
            pace_changes: [0; 3],
        };
        simulation.plan();
        Ok(simulation)
    }

    /// Hands out the next event, or `None` once the run has ended. Each input's effects are to be given to
    /// [`Simulation::carry_out`] before the next one is asked for.
    // Not an iterator: what comes next depends on the effects given back between two calls.
    #[expect(clippy::should_implement_trait, reason = "effects come back between two calls")]
    pub fn next(&mut self) -> Option<Input> {
        while self.ending.is_none() {
            if let Some(event) = self.ready.pop_front() {
                return self.hand_out(event);
            }
            match self.queue.pop() {
                Some(due) if self.queue.now() <= self.end => self.happen(due),
                _ => self.ending = Some(Ending::Duration),
            }
        }
        None
    }

    /// Carries out what the kernel asked for after the last event, one effect after the other; a crash point between two of
    /// them drops the rest. Returns how many were carried out.
    pub fn carry_out(&mut self, effects: &[Effect]) -> usize {
        for (done, effect) in effects.iter().enumerate() {
            if !self.up || self.crashes_before(effect) {
                return done;
            }
            self.carry(effect);
            if self.crashes_after(effect) {
                return done + 1;
            }
        }
        self.crash_after_passage();
        effects.len()
    }

    /// Returns how often each step's fault really took effect, in the order of the scenario's steps.
    #[must_use]
    pub fn step_effects(&self) -> &[u64] {
        &self.step_effects
    }

    /// Returns why there are no more inputs; `None` while there may be some.
    #[must_use]
    pub const fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Takes the marks of steps that no event came after; empty before the end.
    pub fn trailing_marks(&mut self) -> Vec<Mark> {
        if self.ending.is_some() { std::mem::take(&mut self.marks) } else { Vec::new() }
    }

    /// Returns the venue as it is, for whoever judges: what really happened there, not what the process was told.
    #[must_use]
    pub const fn venue(&self) -> &Venue {
        &self.venue
    }

    /// Returns the time of what happened last.
    pub(super) const fn now(&self) -> TimeMs {
        self.queue.now()
    }

    /// Counts that a step's fault took effect.
    pub(super) fn count(&mut self, step: usize) {
        if let Some(effects) = self.step_effects.get_mut(step) {
            *effects = effects.saturating_add(1);
        }
    }

    /// Puts in the start, the timeline and the first beat of everything that repeats.
    fn plan(&mut self) {
        let start = self.start;
        self.queue.push(start, Due::Boot);
        let tick_ms = self.deployment.config.loop_tick_ms;
        for (place, step) in self.steps.iter().enumerate() {
            self.queue.push(start.after(step.at_ms), Due::Step(place));
            let past_tick = step.at_ms.checked_rem(tick_ms).unwrap_or(0);
            if step.action == Action::StopMarketData && past_tick != 0 {
                self.queue.push(start.after(step.at_ms.saturating_sub(past_tick)), Due::FeedEnds(place));
            }
        }
        self.repeat(tick_ms, Due::Tick);
        self.repeat(self.host_setup.sample_every_ms, Due::Samples);
        self.repeat(self.host_setup.heartbeat_every_ms, Due::Heartbeat);
        self.repeat(self.host_setup.refresh_every_ms, Due::Refresh);
        self.repeat(self.deployment.config.poll_s.saturating_mul(1000), Due::Poll);
        self.repeat(VOLATILITY_EVERY_MS, Due::Volatility);
        self.repeat(self.metadata_every_ms(), Due::Metadata);
        self.repeat(self.drain_every_ms, Due::Beat);
        self.plan_markets();
        for proposing in Proposing::ALL {
            let pace_ms = proposing.pace_ms(&self.strategy.setup);
            let wait_ms = if proposing == Proposing::Open { 0 } else { pace_ms };
            if pace_ms > 0 {
                let first = start.after(self.strategy.setup.from_ms).after(wait_ms);
                self.queue.push(first, Due::Propose(proposing, 0));
            }
        }
        if let Some(recorded) = self.recording.first() {
            self.queue.push(start.after(recorded.at_ms), Due::Recorded(0));
        }
    }

    /// The markets of several instruments beat a millisecond apart, so that their messages do not all fall into one.
    fn plan_markets(&mut self) {
        let synthetic: Vec<u16> = self
            .venue
            .markets()
            .iter()
            .enumerate()
            .filter(|(_, market)| market.listing().synthetic)
            .filter_map(|(place, _)| u16::try_from(place).ok())
            .collect();
        for place in synthetic {
            let id = InstrumentId(place);
            for (pace_ms, due) in [
                (self.market.book_every_ms, Due::Walk(id)),
                (self.market.trades_every_ms, Due::Trade(id)),
                (self.market.ticker_every_ms, Due::Ticker(id)),
            ] {
                if pace_ms > 0 {
                    self.queue.push(self.start.after(pace_ms).after(i64::from(place)), due);
                }
            }
        }
    }

    /// Puts something in that repeats at a pace; a pace of zero switches it off.
    fn repeat(&mut self, pace_ms: i64, due: Due) {
        if pace_ms > 0 {
            self.queue.push(self.now().after(pace_ms), due);
        }
    }

    /// Metadata is fetched twice within the time for which it may be used.
    const fn metadata_every_ms(&self) -> i64 {
        self.deployment.config.instrument_cache_ttl_s.saturating_mul(500)
    }

    pub(super) fn hand_out(&mut self, event: Event) -> Option<Input> {
        let Some(left) = self.events_left.checked_sub(1) else {
            self.ending = Some(Ending::EventLimit);
            return None;
        };
        self.events_left = left;
        self.passed = self.passage(&event);
        self.strategy.hear(&event);
        Some(Input { at: self.now(), event, marks: std::mem::take(&mut self.marks) })
    }

    /// Lets one thing happen; whatever reaches the process waits in `ready`.
    pub(super) fn happen(&mut self, due: Due) {
        match due {
            Due::Boot => self.boot(),
            Due::Step(place) => self.take_step(place),
            Due::FeedEnds(place) => self.stop_feed(place),
            Due::Tick => {
                self.repeat(self.deployment.config.loop_tick_ms, Due::Tick);
                if self.host.is_fresh(HostInput::LoopTick) {
                    self.hear([Event::LoopTicked]);
                }
            }
            Due::Samples => {
                self.repeat(self.host_setup.sample_every_ms, Due::Samples);
                self.hear(self.host.samples(self.now()));
            }
            Due::Heartbeat => {
                self.repeat(self.host_setup.heartbeat_every_ms, Due::Heartbeat);
                if self.host.is_fresh(HostInput::Heartbeat) {
                    self.host.heartbeat_at = self.now();
                    self.hear([Event::HeartbeatSeen]);
                }
            }
            Due::Refresh => {
                self.repeat(self.host_setup.refresh_every_ms, Due::Refresh);
                let hash = &self.deployment.runtime_config_hash;
                self.hear(self.host.refreshed(self.now(), &self.build_id, hash));
            }
            Due::Poll => {
                self.repeat(self.deployment.config.poll_s.saturating_mul(1000), Due::Poll);
                self.hear([self.host.polled(self.now())]);
            }
            Due::Volatility => {
                self.repeat(VOLATILITY_EVERY_MS, Due::Volatility);
                self.hear([self.host.volatility()]);
            }
            Due::Metadata => {
                self.repeat(self.metadata_every_ms(), Due::Metadata);
                self.refresh_metadata();
            }
            Due::Beat => {
                self.repeat(self.drain_every_ms, Due::Beat);
                self.beat();
            }
            Due::Walk(id) => self.walk(id),
            Due::Trade(id) => self.trade(id),
            Due::Ticker(id) => {
                self.repeat(self.market.ticker_every_ms, Due::Ticker(id));
                if let Some(ticker) = self.venue.ticker(id) {
                    self.publish(MarketData::Ticked(ticker));
                }
            }
            Due::Recorded(place) => self.play(place),
            Due::Propose(proposing, changes) => self.propose(proposing, changes),
            Due::Reached(way, request) => self.reach(way, request),
            Due::Arrived { way, event } => self.arrive(way, *event),
            Due::Connected(socket, number) => self.connected(socket, number),
        }
    }

    /// Events that arise in the process itself, and so only while it runs.
    pub(super) fn hear(&mut self, events: impl IntoIterator<Item = Event>) {
        if self.up {
            self.ready.extend(events);
        }
    }

    /// The metadata of all instruments are fetched, unless a step stopped that.
    pub(super) fn refresh_metadata(&mut self) {
        if self.host.is_fresh(HostInput::Metadata) {
            let ids = (0..self.venue.markets().len()).filter_map(|place| u16::try_from(place).ok());
            self.hear(ids.map(|place| Event::InstrumentRefreshed(InstrumentId(place))).collect::<Vec<_>>());
        }
    }

    fn walk(&mut self, id: InstrumentId) {
        let now = self.now();
        let Some(prngs) = self.prngs.get_mut(id.index()) else { return };
        let jitter_ms = prngs.jitter.between(0, self.market.book_jitter_ms);
        let moved = self.venue.walk(now, id, &mut prngs.walk);
        self.repeat(self.market.book_every_ms.saturating_add(jitter_ms), Due::Walk(id));
        if let Some((change, reports)) = moved {
            self.publish(change);
            self.report(reports);
        }
    }

    fn trade(&mut self, id: InstrumentId) {
        self.repeat(self.market.trades_every_ms, Due::Trade(id));
        if self.publisher.holds_trades() {
            return;
        }
        let Some(prngs) = self.prngs.get_mut(id.index()) else { return };
        if let Some(trade) = self.venue.trade(id, &mut prngs.trades) {
            self.publish(trade);
        }
    }

    fn play(&mut self, place: usize) {
        let next = place.saturating_add(1);
        if let Some(recorded) = self.recording.get(next) {
            self.queue.push(self.start.after(recorded.at_ms), Due::Recorded(next));
        }
        let Some(recorded) = self.recording.get(place) else { return };
        match recorded.message.clone() {
            RecordedMessage::Data(data) => {
                let reports = self.venue.take_recorded(self.now(), &data);
                self.publish(data);
                self.report(reports);
            }
            RecordedMessage::Refused { code: codes::TOO_MANY_REQUESTS } => {
                let error = Event::VenueErrored { code: codes::TOO_MANY_REQUESTS };
                self.end_session(Some(error), CloseCause::SessionEnded);
            }
            RecordedMessage::Refused { code } => self.hear([Event::VenueErrored { code }]),
        }
    }

    fn propose(&mut self, proposing: Proposing, changes: u64) {
        if self.pace_changes.get(proposing.index()) != Some(&changes) {
            return;
        }
        self.repeat(proposing.pace_ms(&self.strategy.setup), Due::Propose(proposing, changes));
        if self.up {
            let proposal = match proposing {
                Proposing::Open => self.strategy.open(),
                Proposing::Close => self.strategy.close(),
                Proposing::Cancel => self.strategy.cancel(),
            };
            self.hear(proposal);
        }
    }
}

fn listing(setup: &model::InstrumentSetup) -> Listing {
    Listing {
        name: setup.name.clone(),
        kind: setup.kind,
        underlying: setup.underlying.clone(),
        tick_size: setup.tick_size,
        amount_step: setup.amount_step,
        min_amount: setup.min_amount,
        mid: setup.mid,
        level_qty: setup.level_qty,
        delta: setup.delta,
        synthetic: setup.synthetic,
    }
}

fn reference(world: &model::World, deployment: &Deployment) -> Result<Option<InstrumentId>, SimError> {
    let Some(name) = &deployment.reference_instrument else { return Ok(None) };
    let place = world.instruments.iter().position(|instrument| instrument.name == *name);
    match place.and_then(|place| u16::try_from(place).ok()) {
        Some(place) => Ok(Some(InstrumentId(place))),
        None => Err(SimError::UnknownReference { name: name.clone() }),
    }
}

fn check_numbers(scenario: &Scenario, config: &Config) -> Result<(), SimError> {
    let (world, strategy) = (&scenario.world, &scenario.strategy);
    if config.loop_tick_ms <= 0 {
        let found = config.loop_tick_ms;
        return Err(SimError::OutOfRange { what: "loop_tick_ms", found, expected: "1 ms or more" });
    }
    let not_negative = [
        ("duration", scenario.duration_ms),
        ("market.book_every", world.market.book_every_ms),
        ("market.book_jitter", world.market.book_jitter_ms),
        ("market.trades_every", world.market.trades_every_ms),
        ("market.ticker_every", world.market.ticker_every_ms),
        ("market.walk_ticks", world.market.walk_ticks),
        ("host.sample_every", world.host.sample_every_ms),
        ("host.heartbeat_every", world.host.heartbeat_every_ms),
        ("host.refresh_every", world.host.refresh_every_ms),
        ("ledger.drain_every", world.ledger.drain_every_ms),
        ("strategy.open_every", strategy.open_every_ms),
        ("strategy.close_every", strategy.close_every_ms),
        ("strategy.cancel_every", strategy.cancel_every_ms),
        ("strategy.from", strategy.from_ms),
        ("strategy.open_qty", strategy.open_qty.0),
        ("strategy.close_qty", strategy.close_qty.0),
        ("strategy.position_max", strategy.position_max.0),
    ];
    let steps = scenario.steps.iter().map(|step| ("step.at", step.at_ms));
    let downs = scenario.steps.iter().filter_map(|step| match step.action {
        Action::Crash { down_ms, .. } | Action::CrashAt { down_ms, .. } | Action::Redeploy { down_ms, .. } => {
            Some(("step.down", down_ms))
        }
        _ => None,
    });
    for (what, found) in not_negative.into_iter().chain(steps).chain(downs) {
        if found < 0 {
            return Err(SimError::OutOfRange { what, found, expected: "0 or more" });
        }
    }
    Ok(())
}

/// Everything that names an instrument names one of the table.
fn check_instruments(scenario: &Scenario, recording: &[RecordedInput]) -> Result<(), SimError> {
    let listed = scenario.world.instruments.len();
    let traded = scenario.strategy.instruments.iter().map(|place| ("the strategy", *place));
    let steps = scenario.steps.iter().flat_map(|step| {
        let named = match &step.action {
            Action::DropBookChanges { instrument, .. }
            | Action::DropTrades { instrument, .. }
            | Action::RepeatTrades { instrument, .. }
            | Action::StepBackTrades { instrument, .. }
            | Action::StrayOrder { instrument, .. }
            | Action::ShiftPosition { instrument, .. } => vec![*instrument],
            Action::RejectOrders { instrument, .. } | Action::StarveOrders { instrument, .. } => {
                instrument.iter().copied().collect()
            }
            Action::ProposeGroup { legs, .. } => legs.iter().map(|leg| leg.instrument.index()).collect(),
            _ => Vec::new(),
        };
        named.into_iter().map(|place| ("a step", place))
    });
    let recorded =
        recording.iter().filter_map(RecordedInput::instrument).map(|instrument| ("the recording", instrument.index()));
    match traded.chain(steps).chain(recorded).find(|(_, place)| *place >= listed) {
        Some((what, found)) => Err(SimError::UnknownInstrument { what, found, listed }),
        None => underlyings(scenario),
    }
}

/// A recording brings the whole market of its instruments; a synthetic one beside it would break the chains of both.
fn check_recorded(world: &model::World, recording: &[RecordedInput]) -> Result<(), SimError> {
    let recorded = recording.iter().filter_map(RecordedInput::instrument);
    let mut setups = recorded.filter_map(|instrument| world.instruments.get(instrument.index()));
    match setups.find(|setup| setup.synthetic) {
        Some(setup) => Err(SimError::RecordedAndSynthetic { name: setup.name.clone() }),
        None => Ok(()),
    }
}

fn underlyings(scenario: &Scenario) -> Result<(), SimError> {
    let names = scenario.world.instruments.iter().map(|instrument| &instrument.underlying);
    let found = names.collect::<std::collections::BTreeSet<_>>().len();
    if found > usize::from(u8::MAX) { Err(SimError::TooManyUnderlyings { found }) } else { Ok(()) }
}

fn check_order(recording: &[RecordedInput]) -> Result<(), SimError> {
    let mut before = 0;
    for (place, input) in recording.iter().enumerate() {
        if input.at_ms < before {
            return Err(SimError::RecordingGoesBack { place, found: input.at_ms, before });
        }
        before = input.at_ms;
    }
    Ok(())
}
