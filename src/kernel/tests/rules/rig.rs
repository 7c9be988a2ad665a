//! The rig: a kernel with the reference beside it, and a small world that keeps both healthy.
//!
//! Every event goes to both, and after every event the two must say the same. Whatever a test does not withhold is there:
//! ticks, heartbeats, samples, market data, frames on both sockets, prompt answers to every request.

use std::collections::{BTreeMap, BTreeSet};

use drillfold_kernel::{
    Kernel,
    config::{Config, Scale},
    effect::{Effect, Note, OrderRequest, RestQuery},
    event::{
        BookChange, BookSnapshot, Boot, Certificate, Event, Instrument, InstrumentKind, LedgerRecord, Level,
        MaintenanceWindow, Override, OwnTrade, Producer, PublicTrade, RestAnswer, Sample, SlotReading, Socket, Ticker,
        TimeInForce, VenueOrder, VenuePosition, VenueState,
    },
    registry::{CONTRACT_VERSION, ModeReason, OpenPermissionReason, RejectReason, RiskState, TradingMode},
    slot::Slot,
    status::Status,
    units::{InstrumentId, NANO, OrderId, PPM, Ppm, Price, Qty, RequestId, Seq, Side, TimeMs, TradeId, UnderlyingId},
};

use crate::reference::{Expected, Reference};

/// When the rig's clock starts.
pub const START: TimeMs = TimeMs(1_750_000_000_000);
/// The subscribed perpetual.
pub const PERPETUAL: InstrumentId = InstrumentId(0);
/// The subscribed future.
pub const FUTURE: InstrumentId = InstrumentId(1);
/// Milliseconds between the healthy world's beats.
pub const BEAT_MS: i64 = 100;

/// What the healthy world may be told to withhold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feed {
    /// The loop's ticks.
    Ticks,
    /// The watchdog's heartbeats.
    Heartbeats,
    /// Margin samples.
    Margin,
    /// Disk samples.
    Disks,
    /// New policies.
    Policy,
    /// New certificates.
    Certificate,
    /// New fee models.
    Fees,
    /// Book, trades and tickers.
    MarketData,
    /// Readings of the volatility index.
    Volatility,
    /// Answers to the polls of the announcements.
    Announcements,
    /// Snapshots after a subscription.
    Snapshots,
    /// Frames without payload on the public socket.
    PublicFrames,
    /// Frames without payload on the private socket.
    PrivateFrames,
    /// Answers over REST.
    Answers,
    /// The venue's handling of orders and cancels.
    Venue,
    /// The ledger's writer.
    Writer,
}

/// What the venue does with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It rests.
    Rest,
    /// It is filled in full.
    Fill,
    /// It is refused.
    Reject,
    /// It finds nobody and is cancelled.
    Nothing,
}

impl Match {
    /// Orders that rest do so; those that can't are filled.
    pub fn usual(order: &OrderRequest) -> Self {
        match order.time_in_force {
            TimeInForce::GoodTilCancelled => Self::Rest,
            TimeInForce::ImmediateOrCancel => Self::Fill,
        }
    }
}

/// A kernel and its reference, with a world around them.
pub struct Rig {
    /// The kernel under test.
    pub kernel: Kernel,
    /// The same kernel, made to go the full way at every event.
    in_full: Kernel,
    /// The reference beside it.
    pub reference: Reference,
    /// The number of the last event.
    pub seq: u64,
    /// The time of the last event.
    pub now: TimeMs,
    /// The last boot.
    pub boot: Boot,
    /// What the world withholds.
    pub withheld: BTreeSet<Feed>,
    /// Requests that the kernel sent and nobody answered.
    pub asked: BTreeMap<RequestId, (RestQuery, TimeMs)>,
    /// Every effect of the last event.
    pub effects: Vec<Effect>,
    /// Every effect since the rig was made.
    pub all: Vec<(Seq, Effect)>,
    /// The sticky slot as last written.
    pub slot: Option<Slot>,
    /// Every order that reached the venue, in its present state.
    pub orders: Vec<VenueOrder>,
    /// Every trade of ours at the venue.
    pub own_trades: Vec<OwnTrade>,
    /// Amounts that the venue's positions differ from its trades, by instrument.
    pub unexplained: BTreeMap<InstrumentId, Qty>,
    /// What the venue does with an order.
    pub matching: fn(&OrderRequest) -> Match,
    /// The margin utilisation that the world samples.
    pub mm_util: Ppm,
    /// The disk uses that the world samples.
    pub disks: (Ppm, Ppm),
    /// The maintenance that the venue announces.
    pub announced: Option<MaintenanceWindow>,
    /// The ticker of the perpetual.
    pub ticker: Ticker,
    /// Round trip of the world's answers.
    pub round_trip_ms: i64,
    change_ids: [u64; 2],
    trade_seqs: [u64; 2],
    placed: Vec<OrderRequest>,
    cancelled: Vec<String>,
    pending: Vec<Event>,
    beats: BTreeMap<&'static str, TimeMs>,
    subscribe: bool,
    authenticate: bool,
}

/// Returns the committed defaults with every optional value configured.
pub fn config() -> Config {
    let text = include_str!("../../../../specs/config/defaults.toml");
    let table: toml::Table = text.parse().expect("the defaults are TOML");
    let mut values = BTreeMap::new();
    for section in table.values().filter_map(toml::Value::as_table) {
        for (name, value) in section {
            let number = value.as_float().or(value.as_integer().map(|whole| whole as f64));
            values.insert(name.as_str(), number.expect("every default is a number"));
        }
    }
    let scaled = |(name, scale): &(&'static str, Scale)| {
        let factor = match scale {
            Scale::Whole => 1,
            Scale::Ppm => PPM,
            Scale::Nano => NANO,
        };
        (*name, (values[name] * factor as f64).round() as i64)
    };
    let optional = [
        ("expiry_delist_buffer_s", 60),
        ("delta_limit", 1000 * NANO),
        ("portfolio_exposure_limit", 1000 * NANO),
        ("min_edge_usd", 1),
    ];
    Config::from_pairs(Config::REQUIRED.iter().map(scaled).chain(optional)).expect("the defaults are complete")
}

/// Lets the market monitors ask for nothing, whatever the market: for tests of rules that read a market as well.
pub fn any_market(boot: &mut Boot) {
    let config = &mut boot.config;
    (config.depth_min_usd, config.depth_kill_min_usd) = (0, -1);
    (config.spread_max_bps, config.spread_kill_bps) = (1_000_000, 1_000_000);
    (config.basis_reduceonly_bps, config.basis_kill_bps) = (1_000_000, 1_000_000);
    (config.cortex_input_max_age_ms, config.basis_price_max_age_ms) = (1_000_000_000, 1_000_000_000);
}

/// Returns a usable sample.
pub fn sample(value: i64, at: TimeMs) -> Sample {
    Sample { value: Some(Ppm(value)), at: Some(at) }
}

/// Returns a certificate that binds what the healthy boot runs.
pub fn certificate(at: TimeMs) -> Certificate {
    Certificate {
        passed: true,
        generated_at: at,
        build_id: "build-1".into(),
        runtime_config_hash: "hash-1".into(),
        contract_version: CONTRACT_VERSION.into(),
    }
}

/// Returns a boot with every reading present and good.
pub fn healthy_boot(at: TimeMs) -> Boot {
    let instrument = |name: &str, kind| Instrument {
        name: name.into(),
        kind,
        underlying: UnderlyingId(0),
        tick_size: Some(Price(NANO / 2)),
        amount_step: Some(Qty(10 * NANO)),
        min_amount: Some(Qty(10 * NANO)),
        subscribed: true,
        fetched_at: at,
    };
    Boot {
        config: config(),
        build_id: "build-1".into(),
        runtime_config_hash: "hash-1".into(),
        reference_instrument: Some(PERPETUAL),
        instruments: vec![
            instrument("BTC-PERPETUAL", InstrumentKind::Perpetual),
            instrument("BTC-27MAR26", InstrumentKind::Future),
        ],
        certificate: Some(certificate(at)),
        margin: sample(100_000, at),
        disk_primary: sample(400_000, at),
        disk_secondary: sample(400_000, at),
        heartbeat_at: Some(at),
        loop_tick_at: Some(at),
        policy_generated_at: Some(at),
        fee_cached_at: Some(at),
        drift_ms: Some(5),
        overrides: vec![Some(Override::None); Producer::ALL.len()],
        maintenance: None,
        round_trips_ms: vec![20, 25, 30],
        session_flag_readable: true,
        session_count_readable: true,
        tickers: vec![ticker(PERPETUAL), ticker(FUTURE)],
        ledger: Vec::new(),
        ledger_damaged: false,
        slot: SlotReading::Absent,
    }
}

/// Returns a ticker around 100,000 USD.
pub fn ticker(instrument: InstrumentId) -> Ticker {
    let usd = |price: i64| Some(Price(price * NANO));
    Ticker {
        instrument,
        best_bid: usd(99_999),
        best_ask: usd(100_001),
        mark: usd(100_000),
        index: usd(100_000),
        last: usd(100_000),
        delta: None,
    }
}

/// Returns a reading of the volatility index in parts per million.
pub fn volatility(value: i64) -> Event {
    Event::VolatilityIndexRead { value: Some(Ppm(value)) }
}

/// Returns a deep book around 100,000 USD.
pub fn book(instrument: InstrumentId, change_id: u64) -> BookSnapshot {
    let side = |sign: i64| {
        (1..=5).map(|step| Level { price: Price((100_000 + sign * step) * NANO), qty: Qty(1_000_000 * NANO) }).collect()
    };
    BookSnapshot { instrument, change_id, bids: side(-1), asks: side(1) }
}

impl Rig {
    /// Returns a rig that has heard nothing yet.
    pub fn down() -> Self {
        Self {
            kernel: Kernel::down(),
            in_full: Kernel::down(),
            reference: Reference::new(),
            seq: 0,
            now: START,
            boot: healthy_boot(START),
            withheld: BTreeSet::new(),
            asked: BTreeMap::new(),
            effects: Vec::new(),
            all: Vec::new(),
            slot: None,
            orders: Vec::new(),
            own_trades: Vec::new(),
            unexplained: BTreeMap::new(),
            matching: Match::usual,
            mm_util: Ppm(100_000),
            disks: (Ppm(400_000), Ppm(400_000)),
            announced: None,
            ticker: ticker(PERPETUAL),
            round_trip_ms: 20,
            change_ids: [1000; 2],
            trade_seqs: [500; 2],
            placed: Vec::new(),
            cancelled: Vec::new(),
            pending: Vec::new(),
            beats: BTreeMap::new(),
            subscribe: false,
            authenticate: false,
        }
    }

    /// Returns a rig that has just booted healthily.
    pub fn booted() -> Self {
        let mut rig = Self::down();
        let boot = healthy_boot(START);
        rig.boot(boot);
        rig
    }

    /// Returns a rig that has booted, reconciled and is Active.
    #[track_caller]
    pub fn active() -> Self {
        let mut rig = Self::booted();
        rig.settle();
        rig
    }

    /// Lets the healthy world run until the mode is Active.
    #[track_caller]
    pub fn settle(&mut self) {
        for _ in 0..100 {
            self.wait(BEAT_MS);
            if self.status().trading_mode == TradingMode::Active {
                return;
            }
        }
        panic!("not Active: {:#?}", self.status());
    }

    /// Boots.
    #[track_caller]
    pub fn boot(&mut self, boot: Boot) {
        self.boot = boot.clone();
        self.tell(Event::Booted(Box::new(boot)));
    }

    /// Crashes, stays down for a while and boots again with what survived; `change` may alter the boot.
    #[track_caller]
    pub fn restart(&mut self, down_ms: i64, change: impl FnOnce(&mut Boot)) {
        self.tell(Event::Crashed);
        self.asked.clear();
        self.pending.clear();
        self.now = self.now.after(down_ms);
        let mut boot = healthy_boot(self.now);
        boot.slot = match &self.slot {
            Some(slot) => SlotReading::Read(Box::new(slot.clone())),
            None => SlotReading::Absent,
        };
        change(&mut boot);
        self.boot(boot);
    }

    /// Tells both an event at the present time and compares them.
    #[track_caller]
    pub fn tell(&mut self, event: Event) {
        self.seq += 1;
        self.effects.clear();
        let seq = Seq(self.seq);
        // Every other change of a book comes without an event made of it, where the kernel can take it so.
        let taken = match &event {
            Event::BookChanged(change) if self.seq.is_multiple_of(2) => {
                self.kernel.apply_book_change(seq, self.now, change, &mut self.effects)
            }
            _ => false,
        };
        if !taken {
            self.kernel.apply(seq, self.now, &event, &mut self.effects);
        }
        let mut effects_in_full = Vec::new();
        self.in_full.forget_calm();
        assert_eq!(self.in_full.calm_until(), None);
        self.in_full.apply(seq, self.now, &event, &mut effects_in_full);
        assert!(
            self.kernel == self.in_full && self.effects == effects_in_full,
            "after event {} at +{} ms the short way differs from the full one: {event:?}",
            self.seq,
            self.now.since(START),
        );
        let status = self.kernel.status();
        let failures = status.as_ref().map_or(0, |status| status.wal_queue_enqueue_failures);
        self.reference.observe(seq, self.now, &event, &self.effects, failures);
        let found = status.as_ref().map(published);
        let expected = self.reference.expected();
        assert!(
            found == expected,
            "after event {} at +{} ms, {event:?}:\n{}\neffects {:?}",
            self.seq,
            self.now.since(START),
            difference(found.as_ref(), expected.as_ref()),
            self.effects,
        );
        self.take_effects();
    }

    fn take_effects(&mut self) {
        for effect in &self.effects {
            self.all.push((Seq(self.seq), effect.clone()));
            match effect {
                Effect::WriteSlot(slot) => self.slot = Some((**slot).clone()),
                Effect::Rest { request, query } => {
                    self.asked.insert(*request, (query.clone(), self.now));
                }
                Effect::Place(order) => self.placed.push((**order).clone()),
                Effect::Cancel(cancel) => self.cancelled.push(cancel.label.clone()),
                Effect::Subscribe => self.subscribe = true,
                Effect::Authenticate => self.authenticate = true,
                Effect::ConnectPublic => self.pending.push(Event::SocketOpened(Socket::Public)),
                Effect::ConnectPrivate => self.pending.push(Event::SocketOpened(Socket::Private)),
                Effect::ResubscribeBook(id) if !self.withheld.contains(&Feed::Snapshots) => {
                    self.change_ids[id.index()] += 10;
                    self.pending.push(Event::BookSnapshot(book(*id, self.change_ids[id.index()])));
                }
                _ => {}
            }
        }
    }

    /// Moves time on and tells both an event then.
    #[track_caller]
    pub fn tell_after(&mut self, ms: i64, event: Event) {
        self.now = self.now.after(ms);
        self.tell(event);
    }

    /// Lets the world run for a while, in beats; what is withheld stays away.
    #[track_caller]
    pub fn wait(&mut self, ms: i64) {
        let mut left = ms;
        while left > 0 {
            let step = left.min(BEAT_MS);
            left -= step;
            self.now = self.now.after(step);
            self.beat();
        }
    }

    /// Moves time on and lets an event come that says nothing.
    #[track_caller]
    pub fn pass(&mut self, ms: i64) {
        self.tell_after(ms, Event::LimiterSampled { credits: 1000 });
    }

    /// True where the world delivers a feed.
    fn delivers(&self, feed: Feed) -> bool {
        !self.withheld.contains(&feed)
    }

    /// True once every `every_ms`.
    fn due(&mut self, beat: &'static str, every_ms: i64) -> bool {
        let last = self.beats.entry(beat).or_insert(START);
        let due = self.now.since(*last) >= every_ms;
        if due {
            *last = self.now;
        }
        due
    }

    #[track_caller]
    fn beat(&mut self) {
        if self.delivers(Feed::Ticks) {
            self.tell(Event::LoopTicked);
        }
        self.answer_all();
        if self.due("frames", 500) {
            if self.delivers(Feed::Heartbeats) {
                self.tell(Event::HeartbeatSeen);
            }
            if self.delivers(Feed::PublicFrames) {
                self.tell(Event::FrameHeard(Socket::Public));
            }
            if self.delivers(Feed::PrivateFrames) {
                self.tell(Event::FrameHeard(Socket::Private));
            }
        }
        if self.due("market", 400) && self.delivers(Feed::MarketData) {
            self.market_data();
        }
        if self.due("volatility", 1000) && self.delivers(Feed::Volatility) {
            self.tell(volatility(500_000));
        }
        if self.due("announcements", 60_000) && self.delivers(Feed::Announcements) {
            self.tell(Event::MaintenanceAnnounced(self.announced));
        }
        if self.due("samples", 10_000) {
            self.samples();
        }
    }

    /// Carries out what the kernel asked of sockets and REST.
    #[track_caller]
    pub fn answer_all(&mut self) {
        for event in std::mem::take(&mut self.pending) {
            self.tell(event);
        }
        if std::mem::take(&mut self.authenticate) {
            self.tell(Event::Authenticated);
        }
        if std::mem::take(&mut self.subscribe) {
            self.tell(Event::Subscribed);
            if self.delivers(Feed::Snapshots) {
                self.snapshot(PERPETUAL);
                self.snapshot(FUTURE);
            }
        }
        if self.delivers(Feed::Venue) {
            for order in std::mem::take(&mut self.placed) {
                self.receive(&order);
            }
            for label in std::mem::take(&mut self.cancelled) {
                self.cancel(&label);
            }
        }
        if self.delivers(Feed::Answers) {
            for request in self.asked.keys().copied().collect::<Vec<_>>() {
                self.answer(request);
            }
        }
        if self.delivers(Feed::Writer) {
            let depth = self.kernel.status().map_or(0, |status| status.wal_queue_depth);
            if depth > 0 {
                self.tell(Event::LedgerDrained { records: depth });
            }
        }
    }

    /// Answers one request with what the venue has.
    #[track_caller]
    pub fn answer(&mut self, request: RequestId) {
        let Some((query, _)) = self.asked.remove(&request) else { return };
        let answer = match query {
            RestQuery::OpenOrders => RestAnswer::OpenOrders(
                self.orders.iter().filter(|order| order.state == VenueState::Open).cloned().collect(),
            ),
            RestQuery::Positions => RestAnswer::Positions(self.positions()),
            RestQuery::OwnTrades { .. } => RestAnswer::OwnTrades(self.own_trades.clone()),
            RestQuery::OrderHistory { labels } => RestAnswer::OrderHistory(
                self.orders.iter().filter(|order| labels.contains(&order.label)).cloned().collect(),
            ),
            RestQuery::Book(id) => RestAnswer::Book(book(id, self.change_ids[id.index()])),
            RestQuery::RecentTrades(id) => RestAnswer::RecentTrades {
                instrument: id,
                trades: vec![self.trade_with(id, self.trade_seqs[id.index()])],
            },
        };
        self.tell(Event::RestAnswered { request, venue_time: self.now, round_trip_ms: self.round_trip_ms, answer });
    }

    /// Waits until the kernel asks something over REST, and returns the request unanswered.
    #[track_caller]
    pub fn ask_once(&mut self) -> RequestId {
        self.withhold(Feed::Answers);
        for _ in 0..100 {
            if let Some(request) = self.asked.keys().next().copied() {
                self.resume(Feed::Answers);
                self.asked.remove(&request);
                return request;
            }
            self.wait(BEAT_MS);
        }
        panic!("the kernel asks nothing");
    }

    /// Counts notes so far.
    pub fn noted(&self, wanted: impl Fn(&Note) -> bool) -> usize {
        self.all.iter().filter(|(_, effect)| matches!(effect, Effect::Note(note) if wanted(note))).count()
    }

    /// The venue takes an order and does with it what [`Rig::matching`] says.
    #[track_caller]
    pub fn receive(&mut self, order: &OrderRequest) {
        let outcome = (self.matching)(order);
        if outcome == Match::Reject {
            self.tell(Event::OrderRejected { label: order.label.clone(), code: 11_029 });
            return;
        }
        self.orders.push(VenueOrder {
            order_id: OrderId(self.orders.len() as u64 + 1),
            label: order.label.clone(),
            instrument: order.instrument,
            side: order.side,
            price: order.price,
            qty: order.qty,
            filled: Qty::ZERO,
            reduce_only: order.reduce_only,
            state: VenueState::Open,
        });
        let updated = self.orders.last().cloned().expect("it was just pushed");
        self.tell(Event::OrderUpdated(updated));
        match outcome {
            Match::Rest | Match::Reject => {}
            Match::Fill => self.fill(&order.label, order.qty),
            Match::Nothing => self.cancel(&order.label),
        }
    }

    /// The venue fills an open order, in part or whole: trade first, then the order's state.
    #[track_caller]
    pub fn fill(&mut self, label: &str, qty: Qty) {
        let order = self.orders.iter_mut().find(|order| order.label == label).expect("the venue has that order");
        order.filled = order.filled.plus(qty);
        if order.filled >= order.qty {
            order.state = VenueState::Filled;
        }
        let order = order.clone();
        let trade = OwnTrade {
            trade_id: TradeId(900_000 + self.own_trades.len() as u64),
            order_id: order.order_id,
            label: label.into(),
            instrument: order.instrument,
            side: order.side,
            price: order.price,
            qty,
            at: self.now,
        };
        self.own_trades.push(trade.clone());
        self.tell(Event::OwnTraded(vec![trade]));
        self.tell(Event::OrderUpdated(order));
    }

    /// The venue fills an order, if it is open and the amount is not zero.
    #[track_caller]
    pub fn fill_open(&mut self, label: &str, qty: Qty) {
        let open = self.orders.iter().any(|order| order.label == label && order.state == VenueState::Open);
        if open && !qty.is_zero() {
            self.fill(label, qty);
        }
    }

    /// Label of the oldest order of ours that is open at the venue.
    pub fn oldest_open(&self) -> Option<String> {
        let open = |order: &&VenueOrder| order.state == VenueState::Open && order.order_id.0 < 1_000_000;
        self.orders.iter().find(open).map(|order| order.label.clone())
    }

    /// The venue cancels an order, if it is open.
    #[track_caller]
    pub fn cancel(&mut self, label: &str) {
        let open = |order: &&mut VenueOrder| order.label == label && order.state == VenueState::Open;
        if let Some(order) = self.orders.iter_mut().find(open) {
            order.state = VenueState::Cancelled;
            let order = order.clone();
            self.tell(Event::OrderUpdated(order));
        }
    }

    /// The venue's positions: what its trades add up to, and what no trade explains.
    pub fn positions(&self) -> Vec<VenuePosition> {
        let mut sums = self.unexplained.clone();
        for trade in &self.own_trades {
            let sum = sums.entry(trade.instrument).or_default();
            *sum = sum.plus(Qty(trade.side.sign(trade.qty.0)));
        }
        sums.into_iter()
            .filter(|(_, qty)| !qty.is_zero())
            .map(|(instrument, qty)| VenuePosition { instrument, qty })
            .collect()
    }

    /// Orders of the last event, which the venue has not seen yet.
    pub fn sent(&self) -> Vec<OrderRequest> {
        self.placed.clone()
    }

    /// Loses what was sent and what the venue has not seen.
    pub fn forget_sent(&mut self) {
        self.placed.clear();
        self.cancelled.clear();
    }

    /// The records that the kernel put into the ledger so far.
    pub fn ledger(&self) -> Vec<LedgerRecord> {
        let record = |(_, effect): &(Seq, Effect)| match effect {
            Effect::Enqueue(record) => Some(record.clone()),
            _ => None,
        };
        self.all.iter().filter_map(record).collect()
    }

    /// Refusals so far, latest last.
    pub fn refusals(&self) -> Vec<RejectReason> {
        let code = |(_, effect): &(Seq, Effect)| match effect {
            Effect::Refuse(refusal) => Some(refusal.code),
            _ => None,
        };
        self.all.iter().filter_map(code).collect()
    }

    /// A whole book over the socket.
    #[track_caller]
    pub fn snapshot(&mut self, id: InstrumentId) {
        self.tell(Event::BookSnapshot(book(id, self.change_ids[id.index()])));
    }

    /// A change that follows from the book before.
    #[track_caller]
    pub fn change(&mut self, id: InstrumentId) {
        let prev = self.change_ids[id.index()];
        self.change_ids[id.index()] = prev + 1;
        self.tell(Event::BookChanged(BookChange {
            instrument: id,
            prev_change_id: prev,
            change_id: prev + 1,
            bids: Vec::new(),
            asks: Vec::new(),
        }));
    }

    /// Another book of the perpetual.
    #[track_caller]
    pub fn install(&mut self, bids: Vec<Level>, asks: Vec<Level>) {
        let change_id = self.change_ids[PERPETUAL.index()];
        self.tell(Event::BookSnapshot(BookSnapshot { instrument: PERPETUAL, change_id, bids, asks }));
    }

    /// A change of these levels of the perpetual's book.
    #[track_caller]
    pub fn change_levels(&mut self, bids: Vec<Level>, asks: Vec<Level>) {
        let prev = self.change_ids[PERPETUAL.index()];
        self.change_ids[PERPETUAL.index()] = prev + 1;
        let change_id = prev + 1;
        let change = BookChange { instrument: PERPETUAL, prev_change_id: prev, change_id, bids, asks };
        self.tell(Event::BookChanged(change));
    }

    /// The last change once more.
    #[track_caller]
    pub fn change_again(&mut self, id: InstrumentId) {
        self.change_ids[id.index()] -= 1;
        self.change(id);
    }

    /// A change after `skipped` changes that were lost.
    #[track_caller]
    pub fn change_after_gap(&mut self, id: InstrumentId, skipped: u64) {
        self.change_ids[id.index()] += skipped;
        self.change(id);
    }

    fn trade_with(&self, id: InstrumentId, trade_seq: u64) -> PublicTrade {
        PublicTrade {
            trade_id: TradeId(trade_seq * 10 + u64::from(id.0)),
            trade_seq,
            price: Price(100_000 * NANO),
            qty: Qty(1000 * NANO),
            side: Side::Buy,
        }
    }

    /// The next public trade, after `skipped` that were lost.
    #[track_caller]
    pub fn trade_after_gap(&mut self, id: InstrumentId, skipped: u64) {
        self.trade_seqs[id.index()] += 1 + skipped;
        self.trade_numbered(id, self.trade_seqs[id.index()]);
    }

    /// A public trade with a number of its own.
    #[track_caller]
    pub fn trade_numbered(&mut self, id: InstrumentId, trade_seq: u64) {
        let trade = self.trade_with(id, trade_seq);
        self.tell(Event::TradesReceived { instrument: id, trades: vec![trade] });
    }

    /// One of everything that a healthy market sends.
    #[track_caller]
    pub fn market_data(&mut self) {
        for id in [PERPETUAL, FUTURE] {
            self.change(id);
            self.trade_after_gap(id, 0);
            self.tell(Event::TickerReceived(if id == PERPETUAL { self.ticker } else { ticker(id) }));
        }
    }

    /// One of every sample of the host.
    #[track_caller]
    pub fn samples(&mut self) {
        let now = self.now;
        if self.delivers(Feed::Margin) {
            self.tell(Event::MarginSampled(sample(self.mm_util.0, now)));
        }
        if self.delivers(Feed::Disks) {
            let (primary, secondary) = (sample(self.disks.0.0, now), sample(self.disks.1.0, now));
            self.tell(Event::DiskSampled { primary, secondary });
        }
        if self.delivers(Feed::Policy) {
            self.tell(Event::PolicyReceived { generated_at: Some(now) });
        }
        if self.delivers(Feed::Certificate) {
            let read = self.boot.certificate.clone().map(|old| Certificate { generated_at: now, ..old });
            self.tell(Event::CertificateRead(read));
        }
        if self.delivers(Feed::Fees) {
            self.tell(Event::FeeModelRead { cached_at: Some(now) });
        }
    }

    /// Stops a feed.
    pub fn withhold(&mut self, feed: Feed) {
        self.withheld.insert(feed);
    }

    /// Lets a feed flow again.
    pub fn resume(&mut self, feed: Feed) {
        self.withheld.remove(&feed);
    }

    /// Returns the kernel's status.
    #[track_caller]
    pub fn status(&self) -> Status {
        self.kernel.status().expect("the process is up")
    }

    /// Asserts the mode reasons, whole and in order; the mode follows from their tier.
    #[track_caller]
    pub fn shows(&self, reasons: &[ModeReason]) {
        let status = self.status();
        assert_eq!(status.mode_reasons, reasons, "at +{} ms", self.now.since(START));
        let mode = match reasons.first().map(|reason| reason.tier()) {
            None => TradingMode::Active,
            Some(drillfold_kernel::registry::Tier::ReduceOnly) => TradingMode::ReduceOnly,
            Some(drillfold_kernel::registry::Tier::Kill) => TradingMode::Kill,
        };
        assert_eq!(status.trading_mode, mode);
    }

    /// Asserts the latch's codes, whole and in order.
    #[track_caller]
    pub fn latched(&self, codes: &[OpenPermissionReason]) {
        let status = self.status();
        assert_eq!(status.open_permission_reason_codes, codes, "at +{} ms", self.now.since(START));
        assert_eq!(status.open_permission_blocked_latch, !codes.is_empty());
        assert_eq!(status.open_permission_requires_reconcile, !codes.is_empty());
    }

    /// Asserts the risk state.
    #[track_caller]
    pub fn risk(&self, state: RiskState) {
        assert_eq!(self.status().risk_state, state, "at +{} ms", self.now.since(START));
    }
}

/// Returns the part of the status that the reference predicts.
pub fn published(status: &Status) -> Expected {
    Expected {
        trading_mode: status.trading_mode,
        risk_state: status.risk_state,
        bunker_mode_active: status.bunker_mode_active,
        connectivity_degraded: status.connectivity_degraded,
        mode_reasons: status.mode_reasons.clone(),
        open_permission_reason_codes: status.open_permission_reason_codes.clone(),
        policy_age_sec: status.policy_age_sec,
        last_policy_update_ts: status.last_policy_update_ts,
        f1_cert_state: status.f1_cert_state,
        f1_cert_expires_at: status.f1_cert_expires_at,
        disk_used_pct: status.disk_used_pct,
        disk_used_last_update_ts_ms: status.disk_used_last_update_ts_ms,
        disk_used_pct_secondary: status.disk_used_pct_secondary,
        disk_used_secondary_last_update_ts_ms: status.disk_used_secondary_last_update_ts_ms,
        mm_util: status.mm_util,
        mm_util_last_update_ts_ms: status.mm_util_last_update_ts_ms,
        loop_tick_last_ts_ms: status.loop_tick_last_ts_ms,
        wal_queue_depth: status.wal_queue_depth,
        rate_limited_count_5m: status.rate_limited_count_5m,
        terminations_count_5m: status.terminations_count_5m,
        ws_event_lag_ms: status.ws_event_lag_ms,
    }
}

/// Returns the lines in which two answers differ.
pub fn difference(found: Option<&Expected>, expected: Option<&Expected>) -> String {
    let (found, expected) = (format!("{found:#?}"), format!("{expected:#?}"));
    let (found, expected): (Vec<&str>, Vec<&str>) = (found.lines().collect(), expected.lines().collect());
    let only = |mark: &str, here: &[&str], there: &[&str]| -> Vec<String> {
        here.iter().filter(|line| !there.contains(line)).map(|line| format!("  {mark} {}", line.trim())).collect()
    };
    let mut lines = only("kernel   ", &found, &expected);
    lines.extend(only("reference", &expected, &found));
    lines.join("\n")
}
