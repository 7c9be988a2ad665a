//! A second, small resolver, written from the contract alone, that must agree with the kernel at every event.
//!
//! It hears what the kernel hears and, as facts, what the kernel sent. It keeps plain lists and evaluates the contract's
//! sentences over them: slow, and easy to compare with the text. It knows nothing of the kernel's state.
//!
//! Where the contract leaves room, the comment begins with "Room:" and the reading is the one that fails closed.
//!
//! Source: specs/contract kernel document, sections 2 to 7; status document.

use std::collections::{BTreeMap, BTreeSet};

use drillfold_kernel::{
    config::seconds,
    effect::{Effect, Note, RestQuery, RunFailure},
    event::{
        BookSnapshot, Boot, CancelRefusal, Channel, CloseCause, Event, GroupState, InstrumentKind, IntentClass,
        LedgerRecord, Level, MaintenanceWindow, OperatorCommand, OutputQueue, Override, OwnTrade, Producer, RestAnswer,
        Sample, SlotReading, Socket, Ticker, TlsmState, VenueOrder, VenueState,
    },
    registry::{
        CONTRACT_VERSION, F1CertState, ModeReason, OpenPermissionReason, RejectReason, RiskState, Tier, TradingMode,
        is_known_reason_token,
    },
    units::{InstrumentId, IntentHash, NANO, PPM, Ppm, Price, Qty, RequestId, Seq, Side, Stamp, TimeMs, TradeId},
};

use ModeReason as M;
use OpenPermissionReason as C;

/// What `/status` must say; each field is the status key of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub trading_mode: TradingMode,
    pub risk_state: RiskState,
    pub bunker_mode_active: bool,
    pub connectivity_degraded: bool,
    pub mode_reasons: Vec<ModeReason>,
    pub open_permission_reason_codes: Vec<OpenPermissionReason>,
    pub policy_age_sec: i64,
    pub last_policy_update_ts: TimeMs,
    pub f1_cert_state: F1CertState,
    pub f1_cert_expires_at: Option<TimeMs>,
    pub disk_used_pct: Ppm,
    pub disk_used_last_update_ts_ms: TimeMs,
    pub disk_used_pct_secondary: Ppm,
    pub disk_used_secondary_last_update_ts_ms: TimeMs,
    pub mm_util: Ppm,
    pub mm_util_last_update_ts_ms: TimeMs,
    pub loop_tick_last_ts_ms: TimeMs,
    pub wal_queue_depth: u32,
    pub rate_limited_count_5m: i64,
    pub terminations_count_5m: i64,
    pub ws_event_lag_ms: i64,
}

/// The reference resolver.
#[derive(Debug, Default)]
pub struct Reference {
    process: Option<Process>,
}

impl Reference {
    /// Returns a reference for a process that is not up.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an event, the effects the kernel answered it with, and the published count of refused enqueues after it.
    pub fn observe(&mut self, seq: Seq, at: TimeMs, event: &Event, effects: &[Effect], enqueue_failures: u64) {
        match (event, &mut self.process) {
            (Event::Crashed, _) => self.process = None,
            (Event::Booted(boot), _) => {
                let mut process = Process::new(Stamp { seq, at }, boot);
                process.carried_out(effects, enqueue_failures);
                process.bring_up_to_date();
                self.process = Some(process);
            }
            (_, None) => {}
            (event, Some(process)) => {
                // An event out of time order is taken at the last one's time: the clock is monotonic.
                process.now = Stamp { seq, at: at.max(process.now.at) };
                process.bring_up_to_date();
                process.hear(event);
                process.bring_up_to_date();
                process.carried_out(effects, enqueue_failures);
                process.bring_up_to_date();
            }
        }
    }

    /// Returns what the status must say, `None` while no process is up.
    pub fn expected(&self) -> Option<Expected> {
        self.process.as_ref().map(Process::expected)
    }
}

/// A sampled ratio: the last good pair, and whether the last reading was unusable.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    good: Option<(Ppm, TimeMs)>,
    unusable: bool,
}

impl Reading {
    /// Takes a sample; tells whether it was usable.
    fn take(&mut self, sample: Sample) -> bool {
        match (sample.value, sample.at) {
            (Some(value), Some(at)) if (0..=PPM).contains(&value.0) => {
                *self = Self { good: Some((value, at)), unusable: false }
            }
            _ => self.unusable = true,
        }
        !self.unusable
    }

    fn fresh(&self, now: TimeMs, max_age_ms: i64) -> bool {
        !self.unusable && self.good.is_some_and(|(_, at)| now.since(at) <= max_age_ms)
    }

    fn shown(&self) -> (Ppm, TimeMs) {
        self.good.unwrap_or_default()
    }
}

/// A margin band with its hysteresis.
#[derive(Clone, Copy, Debug, Default)]
struct Band {
    inside: bool,
    below_since: Option<TimeMs>,
}

/// A successful or running pass of reconciliation.
#[derive(Clone, Copy, Debug)]
struct Run {
    begun: Stamp,
    order: u64,
}

/// A Kill reason that stays; releases are counted since it was raised.
#[derive(Clone, Debug)]
struct Held {
    reason: ModeReason,
    by_guard: bool,
    build_id: String,
    config_hash: String,
    reset: bool,
    later_boot: bool,
    authenticated: Option<Seq>,
    reconciled: bool,
}

/// One instrument's book, as far as continuity goes.
#[derive(Clone, Copy, Debug, Default)]
struct Book {
    last: Option<u64>,
    /// A resubscription waits for its snapshot.
    waiting: bool,
    /// The snapshot that came over REST while waiting.
    pulled: Option<u64>,
    /// What every snapshot over REST has covered.
    covered: u64,
}

/// The reference instrument's market, as the override producers look at it.
#[derive(Clone, Debug, Default)]
struct Watched {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
    /// Number of the book's newest state.
    number: Option<u64>,
    book_at: Option<TimeMs>,
    ticker: Option<(Ticker, TimeMs)>,
    /// Every reading of the volatility index since the boot.
    volatility: Vec<(TimeMs, i64)>,
}

/// An override producer: what the boot read for it, and what it has seen since.
#[derive(Clone, Copy, Debug, Default)]
struct Producing {
    /// What it asked for at the boot, until it has readings of its own; the outer `None` once it has.
    at_boot: Option<Option<Override>>,
    kill_began: Option<TimeMs>,
    reduce_began: Option<TimeMs>,
    cooled_at: Option<TimeMs>,
    asks: Override,
}

/// One instrument's public trades, as far as continuity goes.
#[derive(Clone, Debug, Default)]
struct Trades {
    last: Option<u64>,
    /// Newest number seen while the pull is not answered.
    hole: Option<u64>,
    /// When each id was seen first.
    ids: BTreeMap<TradeId, TimeMs>,
}

impl Trades {
    /// True where an id is seen for the first time within the look-back.
    fn is_new(&mut self, id: TradeId, now: TimeMs, look_back_ms: i64) -> bool {
        let known = self.ids.get(&id).is_some_and(|at| now.since(*at) <= look_back_ms);
        if !known {
            self.ids.insert(id, now);
        }
        !known
    }
}

/// An atomic group, as far as containment goes.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    failing: bool,
    filled: bool,
}

/// An intent of ours, and whether its order may be open.
#[derive(Clone, Copy, Debug)]
struct Intent {
    hash: IntentHash,
    instrument: InstrumentId,
    side: Side,
    /// False while the ledger shows it unsent: its order or fill would be a ghost's.
    sent: bool,
    open: bool,
    ordered: Qty,
    filled: Qty,
}

/// What a label comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Bearer {
    /// No intent of ours.
    None,
    /// The intent with this label.
    One(String),
    /// More than one intent, and nothing tells them apart.
    Several,
}

#[derive(Debug)]
struct Process {
    boot: Boot,
    started: Stamp,
    now: Stamp,

    margin: Reading,
    primary: Reading,
    secondary: Reading,
    reduce: Band,
    kill: Band,
    disk_degraded: bool,
    heartbeat: Option<TimeMs>,
    tick: Option<TimeMs>,
    policy: Option<TimeMs>,
    policy_shown: Option<TimeMs>,
    fee: Option<TimeMs>,
    drift: Option<i64>,
    reported: [Override; 3],
    cortex: Producing,
    health: Producing,
    basis: Producing,
    watched: Watched,
    announcements: Option<TimeMs>,

    held: Vec<Held>,
    operator_kill: bool,
    ledger_damaged: bool,
    emergency: Option<TimeMs>,
    maintenance: Option<MaintenanceWindow>,
    maintenances_ended: Vec<TimeMs>,
    last_run: Option<TimeMs>,

    codes: BTreeMap<OpenPermissionReason, Stamp>,
    run: Option<Run>,
    authenticated: Option<Seq>,
    session_cause: bool,
    session_killed: bool,
    session_counted: bool,
    terminations: Vec<TimeMs>,
    rate_limited: Vec<TimeMs>,
    rate_limited_here: Option<TimeMs>,

    payload: Option<TimeMs>,
    payload_since_subscription: Option<TimeMs>,
    silence_noted: bool,
    lag_low_since: Option<TimeMs>,
    books: BTreeMap<InstrumentId, Book>,
    trades: BTreeMap<InstrumentId, Trades>,
    book_gap: Option<TimeMs>,
    frames: [TimeMs; 2],

    requests: BTreeMap<RequestId, (RestQuery, TimeMs)>,
    round_trips: Vec<(TimeMs, i64)>,
    outcomes: Vec<(TimeMs, bool)>,
    evaluated: i64,
    slow_evaluations: i64,
    bunker: bool,
    calm_since: Option<TimeMs>,

    positions: BTreeMap<InstrumentId, i64>,
    positions_known: bool,
    own_trades: BTreeSet<TradeId>,
    intents: BTreeMap<String, Intent>,
    groups: BTreeMap<String, Group>,
    contained_last: Option<TimeMs>,

    depth: u32,
    failures: u64,
    wal_failed: bool,
    wal_bad_last: TimeMs,
    limits_failed: Vec<TimeMs>,
    limits_cause: bool,
    label_cause: Option<u64>,
    /// Counts facts, for what happens within one event.
    order: u64,
    full_queues: BTreeSet<OutputQueue>,
    group_lock_held: bool,
    unconfigured_limit: bool,
    /// The guard over public trades found them too old, and none has come since.
    trades_too_old: bool,
    /// When trading ends, where a fetched record said.
    expiries: BTreeMap<InstrumentId, Option<TimeMs>>,
}

impl Process {
    fn new(started: Stamp, boot: &Boot) -> Self {
        let slot = match &boot.slot {
            SlotReading::Read(slot) => (**slot).clone(),
            SlotReading::Absent | SlotReading::Damaged => Default::default(),
        };
        let producing = |producer: Producer| Producing {
            at_boot: Some(boot.overrides.get(producer.index()).copied().flatten()),
            cooled_at: slot.override_cooldowns.get(producer.index()).copied().flatten(),
            ..Producing::default()
        };
        let health = producing(Producer::ExchangeHealth);
        let of_reference = |ticker: &&Ticker| Some(ticker.instrument) == boot.reference_instrument;
        let ticker = boot.tickers.iter().rfind(of_reference).map(|ticker| (*ticker, started.at));
        let mut process = Self {
            boot: boot.clone(),
            started,
            now: started,
            margin: Reading::default(),
            primary: Reading::default(),
            secondary: Reading::default(),
            reduce: Band { inside: slot.margin_reduce_band, below_since: None },
            kill: Band { inside: slot.margin_kill_band, below_since: None },
            disk_degraded: false,
            heartbeat: boot.heartbeat_at,
            tick: boot.loop_tick_at,
            policy: boot.policy_generated_at,
            policy_shown: boot.policy_generated_at,
            fee: boot.fee_cached_at,
            drift: boot.drift_ms,
            reported: [Override::None; 3],
            cortex: producing(Producer::Cortex),
            health,
            basis: producing(Producer::Basis),
            watched: Watched { ticker, ..Watched::default() },
            announcements: health.at_boot.flatten().map(|_| started.at),
            held: slot
                .kill_latches
                .iter()
                .map(|latch| Held {
                    reason: latch.reason,
                    by_guard: latch.by_registry_guard,
                    build_id: latch.build_id.clone(),
                    config_hash: latch.runtime_config_hash.clone(),
                    reset: latch.incident_reset,
                    later_boot: true,
                    authenticated: latch.reauthenticated.then_some(Seq(0)),
                    reconciled: latch.reconciled,
                })
                .collect(),
            operator_kill: false,
            ledger_damaged: boot.ledger_damaged || boot.slot == SlotReading::Damaged,
            emergency: slot.emergency_triggered_at,
            maintenance: None,
            maintenances_ended: Vec::new(),
            last_run: None,
            codes: BTreeMap::from([(C::RestartReconcileRequired, started)]),
            run: None,
            authenticated: None,
            session_cause: slot.session_killed,
            session_killed: slot.session_killed,
            session_counted: false,
            terminations: slot.terminations,
            rate_limited: slot.rate_limited,
            rate_limited_here: None,
            payload: None,
            payload_since_subscription: None,
            silence_noted: false,
            lag_low_since: Some(started.at),
            books: BTreeMap::new(),
            trades: BTreeMap::new(),
            book_gap: None,
            frames: [started.at; 2],
            requests: BTreeMap::new(),
            round_trips: boot.round_trips_ms.iter().map(|ms| (started.at, *ms)).collect(),
            outcomes: boot.round_trips_ms.iter().map(|_| (started.at, true)).collect(),
            evaluated: 0,
            slow_evaluations: 0,
            bunker: slot.bunker,
            calm_since: None,
            positions: BTreeMap::new(),
            positions_known: false,
            own_trades: BTreeSet::new(),
            intents: BTreeMap::new(),
            groups: BTreeMap::new(),
            contained_last: None,
            depth: 0,
            failures: 0,
            wal_failed: false,
            wal_bad_last: started.at,
            limits_failed: Vec::new(),
            limits_cause: false,
            label_cause: None,
            order: 0,
            full_queues: BTreeSet::new(),
            group_lock_held: false,
            unconfigured_limit: false,
            trades_too_old: false,
            expiries: BTreeMap::new(),
        };
        for (id, _) in process.subscribed() {
            process.books.insert(id, Book::default());
            process.trades.insert(id, Trades::default());
        }
        if slot.session_killed {
            process.codes.insert(C::SessionTerminationReconcileRequired, started);
        }
        process.sample_margin(boot.margin);
        process.sample_disks(boot.disk_primary, boot.disk_secondary);
        process.announce(boot.maintenance);
        for record in &boot.ledger {
            process.remember(record);
        }
        // Only groups that are in containment where the ledger ends raise cause and emergency again.
        process.emergency = slot.emergency_triggered_at;
        process.contained_last = None;
        if process.in_containment() {
            process.emergency = Some(started.at);
        }
        process.held.retain(|held| {
            !held.by_guard || (held.build_id == boot.build_id && held.config_hash == boot.runtime_config_hash)
        });
        process.bring_up_to_date();
        process
    }

    fn subscribed(&self) -> Vec<(InstrumentId, TimeMs)> {
        (0..)
            .zip(&self.boot.instruments)
            .filter(|(_, instrument)| instrument.subscribed)
            .map(|(index, instrument)| (InstrumentId(index), instrument.fetched_at))
            .collect()
    }

    fn age(&self, since: TimeMs) -> i64 {
        self.now.at.since(since)
    }

    // ---- what depends on time, and what follows from the rest ----

    fn bring_up_to_date(&mut self) {
        self.watch_margin();
        self.watch_network();
        self.watch_emergency_and_silence();
        self.watch_causes();
        self.watch_cortex();
        self.watch_announcements();
        self.watch_basis();
        self.hold_kills();
    }

    fn watch_margin(&mut self) {
        let config = &self.boot.config;
        let fresh = self.margin.fresh(self.now.at, config.mm_util_max_age_ms);
        let value = self.margin.shown().0.0;
        self.kill.leave_after(
            fresh && value < config.mm_util_kill_clear,
            self.now.at,
            seconds(config.mm_util_kill_clear_s),
        );
        self.reduce.leave_after(
            fresh && value < config.mm_util_reduceonly_clear,
            self.now.at,
            seconds(config.mm_util_reduceonly_clear_s),
        );
        // The kill band implies the reduce band.
        self.reduce.inside |= self.kill.inside;
    }

    fn watch_network(&mut self) {
        let config = self.boot.config.clone();
        let now = self.now.at;
        // A request without answer for the time-out has timed out; nobody tells.
        let overdue: Vec<RequestId> = self
            .requests
            .iter()
            .filter(|(_, (_, sent))| now.since(*sent) >= config.rest_timeout_ms)
            .map(|(request, _)| *request)
            .collect();
        for request in overdue {
            self.requests.remove(&request);
            self.outcomes.push((now, false));
        }
        // One evaluation a second since the boot, those of a long gap one by one.
        while now.since(self.started.at) >= (self.evaluated + 1) * 1000 {
            self.evaluated += 1;
            let moment = self.started.at.after(self.evaluated * 1000);
            let breached = self.p95(moment).is_none_or(|ms| ms > config.http_p95_limit_ms);
            self.slow_evaluations = if breached { self.slow_evaluations + 1 } else { 0 };
        }
        // What is older than every window serves nothing more.
        self.round_trips.retain(|(at, _)| now.since(*at) <= 60_000);
        self.outcomes.retain(|(at, _)| now.since(*at) <= 60_000);
        let breach_that_enters = self.p95(now).is_none()
            || self.slow_evaluations >= config.http_p95_consecutive_windows
            || self.frames.iter().any(|last| now.since(*last) > config.bunker_jitter_threshold_ms)
            || self.timeouts_over_limit(now);
        // Room: what enters needs three evaluations; the calm that leaves is broken by one of them.
        let breach = breach_that_enters || self.slow_evaluations > 0;
        self.bunker |= breach_that_enters;
        if breach {
            self.calm_since = None;
        } else {
            let since = *self.calm_since.get_or_insert(now);
            if now.since(since) >= seconds(config.bunker_exit_stable_s) {
                self.bunker = false;
            }
        }
    }

    /// Nearest-rank 95th percentile of the round trips of the 30 s before a moment.
    fn p95(&self, moment: TimeMs) -> Option<i64> {
        let mut window: Vec<i64> = self
            .round_trips
            .iter()
            .filter(|(at, _)| (0..=30_000).contains(&moment.since(*at)))
            .map(|(_, ms)| *ms)
            .collect();
        window.sort_unstable();
        let rank = (window.len() * 95).div_ceil(100);
        rank.checked_sub(1).map(|place| window[place])
    }

    /// More time-outs than the limit's share of the requests that ended in the last 60 s, or no such request.
    /// Room: a request belongs to the moment its outcome is known, and its answer after the time-out is no second one.
    fn timeouts_over_limit(&self, now: TimeMs) -> bool {
        let window: Vec<bool> =
            self.outcomes.iter().filter(|(at, _)| now.since(*at) <= 60_000).map(|(_, in_time)| *in_time).collect();
        let late = window.iter().filter(|answered| !**answered).count() as i64;
        window.is_empty() || late * PPM > self.boot.config.request_timeout_rate_limit * window.len() as i64
    }

    fn watch_emergency_and_silence(&mut self) {
        let config = &self.boot.config;
        let emergency_ms = seconds(config.watchdog_reduceonly_s);
        // A missing time starts no emergency.
        let silent = [self.heartbeat, self.tick].into_iter().flatten().any(|last| self.age(last) > emergency_ms);
        let lag = self.lag();
        let stale = lag > config.ws_stale_threshold_ms;
        let due = self.exposed()
            || self.payload_since_subscription.is_some_and(|at| self.age(at) <= config.ws_zombie_activity_window_ms);
        let low = lag <= config.ws_stale_clear_lag_ms;
        if silent {
            self.emergency = Some(self.now.at);
        }
        if !stale {
            self.silence_noted = false;
        } else if due && !self.silence_noted {
            // One silence is one occurrence, however long.
            self.silence_noted = true;
            self.latch(C::WsDataStaleReconcileRequired);
        }
        if low {
            self.lag_low_since.get_or_insert(self.now.at);
        } else {
            self.lag_low_since = None;
        }
    }

    fn lag(&self) -> i64 {
        self.age(self.payload.unwrap_or(self.started.at))
    }

    /// Any position or open order of ours; what is not known counts.
    fn exposed(&self) -> bool {
        !self.positions_known
            || self.positions.values().any(|qty| *qty != 0)
            || self.intents.values().any(|intent| intent.open)
    }

    fn watch_causes(&mut self) {
        let config = &self.boot.config;
        let primary = self.primary.shown().0.0;
        if self.primary.good.is_some() {
            self.disk_degraded = primary >= config.disk_degraded_pct
                || (self.disk_degraded && primary >= config.disk_pause_archives_pct);
        }
        if i64::from(self.depth) >= config.wal_queue_capacity {
            self.wal_bad_last = self.now.at;
        } else if self.age(self.wal_bad_last) >= seconds(config.wal_recover_stable_s) {
            self.wal_failed = false;
        }
        if self.rate_limited_here.is_some_and(|last| self.age(last) >= seconds(config.rate_limit_recover_s)) {
            self.rate_limited_here = None;
        }
        if self.in_containment() {
            self.contained_last = Some(self.now.at);
        } else if self.contained_last.is_some_and(|last| self.age(last) >= seconds(config.containment_clean_s)) {
            self.contained_last = None;
        }
    }

    fn in_containment(&self) -> bool {
        self.groups.values().any(|group| group.failing && group.filled)
    }

    // ---- override producers ----

    /// True where Cortex or basis sees what it reads through a boot's reading or its own, no older than `max_age_ms`.
    fn in_sight(&self, producing: Producing, own: Option<TimeMs>, max_age_ms: i64) -> bool {
        match producing.at_boot {
            Some(None) => false,
            Some(Some(_)) => self.age(self.started.at) <= max_age_ms,
            None => own.is_some_and(|at| self.age(at) <= max_age_ms),
        }
    }

    fn watch_cortex(&mut self) {
        let config = self.boot.config.clone();
        let now = self.now.at;
        let watched = &self.watched;
        let ticker_at = watched.ticker.map(|(_, at)| at);
        let inputs = [watched.book_at, ticker_at, watched.volatility.last().map(|(at, _)| *at)];
        let oldest = inputs.into_iter().collect::<Option<Vec<_>>>().and_then(|times| times.into_iter().min());
        if oldest.is_some() {
            self.cortex.at_boot = None;
        }
        if !self.in_sight(self.cortex, oldest, config.cortex_input_max_age_ms) {
            self.cortex.kill_began = None;
            self.cortex.asks = Override::ForceReduceOnly;
            return;
        }
        let mut wide = (false, false);
        let mut thin = (false, false);
        if watched.book_at.is_some() {
            if let (Some((bid, _)), Some((ask, _))) = (watched.bids.last_key_value(), watched.asks.first_key_value()) {
                // In halves of a ten-thousandth of the middle price.
                let (bid, ask) = (i128::from(*bid), i128::from(*ask));
                let spread = (ask - bid) * 20_000;
                let per_bps = bid + ask;
                wide = (
                    spread > i128::from(config.spread_max_bps) * per_bps,
                    spread >= i128::from(config.spread_kill_bps) * per_bps,
                );
            }
            let levels = config.depth_levels as usize;
            // Amounts are USD, but an option's are coins at a price in coins, which the index prices in USD.
            let kind = self.boot.reference_instrument.map(|id| self.boot.instruments[id.index()].kind);
            let index = watched.ticker.and_then(|(ticker, _)| ticker.index).map(|index| i128::from(index.0));
            let nano = i128::from(NANO);
            let notional = |(price, qty): (&i64, &i64)| match (kind, index) {
                (Some(InstrumentKind::Option), Some(index)) => {
                    Some(i128::from(*price) * i128::from(*qty) / nano * index / nano)
                }
                (Some(InstrumentKind::Option), None) => None,
                _ => Some(i128::from(*qty)),
            };
            let bids: Option<i128> = watched.bids.iter().rev().take(levels).map(notional).sum();
            let asks: Option<i128> = watched.asks.iter().take(levels).map(notional).sum();
            let usd = |limit: i64| i128::from(limit) * nano;
            let depth = bids.zip(asks).map(|(bids, asks)| bids.min(asks));
            // Room: a depth that can't be told is too thin, and kills nothing.
            thin = (
                depth.is_none_or(|depth| depth < usd(config.depth_min_usd)),
                depth.is_some_and(|depth| depth <= usd(config.depth_kill_min_usd)),
            );
        }
        let recent = |(at, _): &&(TimeMs, i64)| now.since(*at) <= seconds(config.dvol_jump_window_s);
        let jumped = watched.volatility.last().is_some_and(|(_, last)| {
            watched.volatility.iter().filter(recent).any(|(_, then)| {
                i128::from(*last) * i128::from(PPM) >= i128::from(*then) * i128::from(PPM + config.dvol_jump_pct)
            })
        });
        let cortex = &mut self.cortex;
        let killed = Producing::lasts(&mut cortex.kill_began, wide.1 || thin.1, now, config.cortex_kill_window_s);
        if wide.0 || thin.0 {
            cortex.cool_until(now.after(seconds(config.spread_depth_cooldown_s)));
        }
        if jumped {
            cortex.cool_until(now.after(seconds(config.dvol_cooldown_s)));
        }
        cortex.ask(killed, wide.0 || thin.0 || jumped, now);
    }

    fn watch_announcements(&mut self) {
        let max_age_ms = seconds(self.boot.config.exchange_health_stale_s);
        let unusable = self.announcements.is_none_or(|at| self.age(at) >= max_age_ms);
        self.health.asks = match self.health.at_boot {
            _ if unusable => Override::ForceReduceOnly,
            Some(Some(asked)) => asked,
            Some(None) | None => Override::None,
        };
    }

    fn watch_basis(&mut self) {
        let config = self.boot.config.clone();
        let now = self.now.at;
        let prices = self.watched.ticker.and_then(|(ticker, at)| {
            let positive = |price: Option<Price>| price.filter(|price| price.0 > 0).map(|price| i128::from(price.0));
            Some((positive(ticker.mark)?, positive(ticker.index)?, positive(ticker.last)?, at))
        });
        let own = prices.map(|(.., at)| at);
        if !self.in_sight(self.basis, own, config.basis_price_max_age_ms) {
            self.basis.kill_began = None;
            self.basis.reduce_began = None;
            self.basis.asks = Override::ForceReduceOnly;
            return;
        }
        let beyond = |bps: i64| {
            prices.is_some_and(|(mark, index, last, _)| {
                [index, last].into_iter().any(|other| (mark - other).abs() * 10_000 >= i128::from(bps) * mark)
            })
        };
        let (kill, reduce) = (beyond(config.basis_kill_bps), beyond(config.basis_reduceonly_bps));
        let basis = &mut self.basis;
        let killed = Producing::lasts(&mut basis.kill_began, kill, now, config.basis_kill_window_s);
        let reduced = Producing::lasts(&mut basis.reduce_began, reduce, now, config.basis_reduceonly_window_s);
        if reduced {
            basis.cool_until(now.after(seconds(config.basis_reduceonly_cooldown_s)));
        }
        basis.ask(killed, reduced, now);
    }

    fn book_levels(&mut self, id: InstrumentId, bids: &[Level], asks: &[Level]) {
        if Some(id) == self.boot.reference_instrument {
            self.watched.book_at = Some(self.now.at);
            for (side, levels) in [(&mut self.watched.bids, bids), (&mut self.watched.asks, asks)] {
                for level in levels {
                    side.insert(level.price.0, level.qty.0);
                }
                side.retain(|_, qty| *qty > 0);
            }
        }
    }

    /// Takes a whole book, over the socket or over REST, unless a newer one is known.
    fn whole_book(&mut self, snapshot: &BookSnapshot) {
        let watched = &mut self.watched;
        if Some(snapshot.instrument) == self.boot.reference_instrument && watched.number <= Some(snapshot.change_id) {
            watched.number = Some(snapshot.change_id);
            watched.bids.clear();
            watched.asks.clear();
            self.book_levels(snapshot.instrument, &snapshot.bids, &snapshot.asks);
        }
    }

    fn ticker(&mut self, ticker: &Ticker) {
        if Some(ticker.instrument) == self.boot.reference_instrument {
            self.watched.ticker = Some((*ticker, self.now.at));
            self.basis.at_boot = None;
        }
    }

    // ---- Kill reasons that stay ----

    fn hold_kills(&mut self) {
        for (reason, holds) in [
            (M::KillWatchdogHeartbeatStale, self.watchdog_kill()),
            (M::KillRiskstateKill, self.operator_kill || self.ledger_damaged),
            (M::KillRateLimitSessionTermination, self.session_kill_confirmed()),
            (M::KillDiskWatermarkKill, self.disk_kill_confirmed()),
            (M::KillCortexForceKill, self.effective_override() == Override::ForceKill),
        ] {
            if holds {
                self.hold(reason, false);
            }
        }
        let now = self.now.at;
        let config = &self.boot.config;
        // "Fresh" as the registry uses it for the unconfirmed watchdog: no older than the Kill's own limit.
        let alive = [self.heartbeat, self.tick]
            .into_iter()
            .all(|last| last.is_some_and(|at| now.since(at) <= seconds(config.watchdog_kill_s)));
        let disks_good = [self.primary, self.secondary]
            .iter()
            .all(|disk| disk.fresh(now, config.disk_used_max_age_ms) && disk.shown().0.0 < config.disk_kill_pct);
        let session = self.session_kill_confirmed();
        let forced = self.effective_override() == Override::ForceKill;
        self.held.retain(|held| {
            let released = match held.reason {
                M::KillWatchdogHeartbeatStale => held.reset && held.later_boot && alive,
                M::KillRiskstateKill => held.reset,
                M::KillRateLimitSessionTermination => {
                    held.reset && held.authenticated.is_some() && held.reconciled && !session
                }
                M::KillDiskWatermarkKill => held.later_boot && disks_good,
                M::KillCortexForceKill => !held.by_guard && held.reset && !forced,
                _ => true,
            };
            !released
        });
    }

    fn hold(&mut self, reason: ModeReason, by_guard: bool) {
        if !self.held.iter().any(|held| held.reason == reason && held.by_guard == by_guard) {
            self.held.push(Held {
                reason,
                by_guard,
                build_id: self.boot.build_id.clone(),
                config_hash: self.boot.runtime_config_hash.clone(),
                reset: false,
                later_boot: false,
                authenticated: None,
                reconciled: false,
            });
        }
    }

    fn watchdog_kill(&self) -> bool {
        let limit = seconds(self.boot.config.watchdog_kill_s);
        [self.heartbeat, self.tick].into_iter().all(|last| last.is_some_and(|at| self.age(at) > limit))
    }

    fn disk_kill_confirmed(&self) -> bool {
        let config = &self.boot.config;
        [self.primary, self.secondary].iter().all(|disk| {
            disk.fresh(self.now.at, config.disk_used_max_age_ms) && disk.shown().0.0 >= config.disk_kill_pct
        })
    }

    fn session_kill_confirmed(&self) -> bool {
        self.boot.session_flag_readable
            && self.boot.session_count_readable
            && self.session_killed
            && self.counted(&self.terminations) >= self.boot.config.rate_limit_kill_min_10028
    }

    /// Room: a moment exactly one window ago still counts.
    fn counted(&self, moments: &[TimeMs]) -> i64 {
        moments.iter().filter(|at| self.age(**at) <= seconds(self.boot.config.count_window_s)).count() as i64
    }

    fn effective_override(&self) -> Override {
        let own = [self.cortex.asks, self.health.asks, self.basis.asks];
        own.into_iter().chain(self.reported).max().unwrap_or_default()
    }

    // ---- events ----

    fn hear(&mut self, event: &Event) {
        match socket_of(event) {
            Some(Socket::Public) => self.frames[0] = self.now.at,
            Some(Socket::Private) => self.frames[1] = self.now.at,
            None => {}
        }
        if matches!(
            event,
            Event::BookSnapshot(_) | Event::BookChanged(_) | Event::TradesReceived { .. } | Event::TickerReceived(_)
        ) {
            self.payload = Some(self.now.at);
            self.payload_since_subscription = Some(self.now.at);
        }
        match event {
            Event::LoopTicked => self.tick = Some(self.now.at),
            Event::HeartbeatSeen => self.heartbeat = Some(self.now.at),
            Event::MarginSampled(sample) => self.sample_margin(*sample),
            Event::DiskSampled { primary, secondary } => self.sample_disks(*primary, *secondary),
            Event::PolicyReceived { generated_at } => {
                self.policy = *generated_at;
                self.policy_shown = generated_at.or(self.policy_shown);
            }
            Event::CertificateRead(certificate) => self.boot.certificate = certificate.clone(),
            Event::FeeModelRead { cached_at } => self.fee = *cached_at,
            Event::ClockDriftSampled { drift_ms } => self.drift = *drift_ms,
            Event::OverrideSampled { producer, signal } => self.reported[producer.index()] = *signal,
            Event::MaintenanceAnnounced(window) => {
                self.announce(*window);
                self.announcements = Some(self.now.at);
                self.health.at_boot = None;
            }
            Event::VolatilityIndexRead { value } => {
                let reading = value.filter(|value| value.0 > 0).map(|value| (self.now.at, value.0));
                self.watched.volatility.extend(reading);
            }
            Event::TickerReceived(ticker) => self.ticker(ticker),
            Event::LimitsFetched { succeeded } => self.limits_fetched(*succeeded),
            Event::OutputQueueSampled { queue, depth, capacity } => {
                if depth >= capacity {
                    self.full_queues.insert(*queue);
                } else {
                    self.full_queues.remove(queue);
                }
            }
            Event::GroupLockSampled { held } => self.group_lock_held = *held,
            Event::InstrumentRefreshed(id) => {
                if let Some(instrument) = self.boot.instruments.get_mut(id.index()) {
                    instrument.fetched_at = self.now.at;
                }
            }
            Event::InstrumentFetched { instrument, metadata } => {
                if let Some(listed) = self.boot.instruments.get_mut(instrument.index()) {
                    listed.fetched_at = self.now.at;
                }
                self.expiries.insert(*instrument, metadata.expires_at);
            }
            Event::CancelRefused { label, cause } => {
                // Only the answer for an instrument whose expiry has passed ends the order; any other leaves it to a run.
                if let Some(intent) = self.intents.get_mut(label)
                    && let Some(Some(expiry)) = self.expiries.get(&intent.instrument)
                {
                    let trades_on = self.now.at < *expiry;
                    intent.open &= trades_on || matches!(cause, CancelRefusal::AlreadyGone | CancelRefusal::Other);
                }
            }
            Event::BookSnapshot(snapshot) => {
                self.book_snapshot(snapshot.instrument, snapshot.change_id);
                self.whole_book(snapshot);
            }
            Event::BookChanged(change) => {
                if self.book_change(change.instrument, change.prev_change_id, change.change_id) {
                    if Some(change.instrument) == self.boot.reference_instrument {
                        self.watched.number = Some(change.change_id);
                    }
                    self.book_levels(change.instrument, &change.bids, &change.asks);
                }
            }
            Event::TradesReceived { instrument, trades } => {
                self.trades_too_old = false;
                for trade in trades {
                    self.public_trade(*instrument, trade.trade_id, trade.trade_seq);
                }
            }
            Event::FrameRejected { instrument, channel, .. } => self.frame_rejected(*instrument, *channel),
            Event::SocketClosed { socket: Socket::Private, cause } => {
                self.authenticated = None;
                if *cause != CloseCause::Lost {
                    self.terminated();
                }
                self.session_lost();
            }
            Event::VenueErrored { code: TOO_MANY_REQUESTS } => {
                self.authenticated = None;
                self.terminated();
                self.session_lost();
            }
            Event::AuthenticationRefused { code: TOO_MANY_REQUESTS } => {
                // A refusal counts by itself, beside the session it could not open.
                self.session_killed = true;
                self.terminations.push(self.now.at);
                self.session_lost();
            }
            Event::Authenticated => {
                self.authenticated = Some(self.now.seq);
                self.session_counted = false;
                for held in &mut self.held {
                    held.authenticated.get_or_insert(self.now.seq);
                }
            }
            Event::Subscribed => {
                self.payload_since_subscription = None;
                self.books.values_mut().for_each(Book::resubscribed);
            }
            Event::OrderUpdated(order) => self.venue_order(order),
            Event::OrderRejected { label, .. } => {
                if let Some(intent) = self.intents.get_mut(label) {
                    intent.open = false;
                }
            }
            Event::OwnTraded(trades) => trades.iter().for_each(|trade| self.own_trade(trade)),
            Event::RestAnswered { request, round_trip_ms, answer, .. } => {
                self.round_trips.push((self.now.at, *round_trip_ms));
                if let Some((query, _)) = self.requests.remove(request) {
                    self.outcomes.push((self.now.at, true));
                    self.answered(&query, answer);
                }
            }
            Event::RestRefused { request, code, round_trip_ms } => {
                self.round_trips.push((self.now.at, *round_trip_ms));
                if self.requests.remove(request).is_some() {
                    self.outcomes.push((self.now.at, true));
                }
                if *code == 429 {
                    self.rate_limited.push(self.now.at);
                    self.rate_limited_here = Some(self.now.at);
                }
            }
            Event::LedgerDrained { records } => self.depth = self.depth.saturating_sub(*records),
            Event::OperatorCommanded(command) => self.operator(command),
            Event::TokenReported { token, .. } => self.token(token),
            Event::Booted(_)
            | Event::Crashed
            | Event::LimiterSampled { .. }
            | Event::AnnouncementsUnavailable
            | Event::FrameHeard(_)
            | Event::SocketOpened(_)
            | Event::SocketClosed { socket: Socket::Public, .. }
            | Event::AuthenticationRefused { .. }
            | Event::VenueErrored { .. }
            | Event::GroupProposed(_)
            | Event::CancelProposed { .. }
            | Event::ReplaceProposed { .. } => {}
        }
    }

    fn latch(&mut self, code: OpenPermissionReason) {
        self.codes.insert(code, self.now);
    }

    fn sample_margin(&mut self, sample: Sample) {
        let config = &self.boot.config;
        // A finite ratio above one is no publishable value and trips the kill band all the same.
        // Room: it needs its time like any sample; without one it is missing, and a missing input never counts towards Kill.
        let beyond = matches!(sample, Sample { value: Some(value), at: Some(_) } if value.0 > PPM);
        let usable = self.margin.take(sample);
        let value = if beyond { PPM } else { self.margin.shown().0.0 };
        if beyond || (usable && self.margin.fresh(self.now.at, config.mm_util_max_age_ms)) {
            if value >= config.mm_util_kill {
                self.kill.inside = true;
            }
            if value >= config.mm_util_reduceonly {
                self.reduce.inside = true;
            }
        }
    }

    fn sample_disks(&mut self, primary: Sample, secondary: Sample) {
        self.primary.take(primary);
        self.secondary.take(secondary);
    }

    fn announce(&mut self, window: Option<MaintenanceWindow>) {
        // Room: after a window's end "none" is no withdrawal; the run is still owed.
        if let Some(old) = self.maintenance.take_if(|old| old.ends_at < self.now.at) {
            self.maintenances_ended.push(old.ends_at);
        }
        self.maintenance = window;
    }

    /// Within the lead of a window, until a run begun after its end has succeeded.
    fn in_maintenance(&self) -> bool {
        let lead = seconds(self.boot.config.maintenance_lead_s);
        let begun = self.maintenance.filter(|window| window.starts_at.since(self.now.at) <= lead);
        let mut ends = self.maintenances_ended.iter().copied().chain(begun.map(|window| window.ends_at));
        ends.any(|end| self.last_run.is_none_or(|run| run <= end))
    }

    fn limits_fetched(&mut self, succeeded: bool) {
        if succeeded {
            self.limits_failed.clear();
            self.limits_cause = false;
            return;
        }
        self.limits_failed.push(self.now.at);
        let trip = self.boot.config.limits_fetch_failures_trip_count as usize;
        if let Some(first) = self.limits_failed.len().checked_sub(trip) {
            self.limits_cause |=
                self.age(self.limits_failed[first]) <= seconds(self.boot.config.limits_fetch_failure_window_s);
        }
    }

    // ---- feeds ----

    fn book_snapshot(&mut self, id: InstrumentId, change_id: u64) {
        if let Some(book) = self.books.get_mut(&id) {
            book.last = book.last.max(book.pulled.take()).max(Some(change_id));
            book.waiting = false;
        }
    }

    /// True where the change follows the book and becomes part of it.
    fn book_change(&mut self, id: InstrumentId, prev: u64, change_id: u64) -> bool {
        let Some(book) = self.books.get_mut(&id) else { return false };
        // Room: changes of the stream that a snapshot over REST was ahead of are part of it already.
        if book.waiting || (book.last.is_some() && change_id <= book.covered) {
            return false;
        }
        let follows = book.last == Some(prev);
        if follows {
            book.last = Some(change_id);
        } else {
            self.book_gap(id);
        }
        follows
    }

    fn book_gap(&mut self, id: InstrumentId) {
        if let Some(book) = self.books.get_mut(&id) {
            book.resubscribed();
            self.book_gap = Some(self.now.at);
            self.latch(C::WsBookGapReconcileRequired);
        }
    }

    fn public_trade(&mut self, id: InstrumentId, trade: TradeId, number: u64) {
        let (now, look_back_ms) = (self.now.at, seconds(self.boot.config.reconcile_trade_lookback_sec));
        let Some(trades) = self.trades.get_mut(&id) else { return };
        if !trades.is_new(trade, now, look_back_ms) {
            return;
        }
        if let Some(newest) = &mut trades.hole {
            *newest = number.max(*newest);
        } else if trades.last.is_none_or(|last| number == last + 1) {
            trades.last = Some(number);
        } else {
            trades.hole = Some(number.max(trades.last.unwrap_or(0)));
            self.latch(C::WsTradesGapReconcileRequired);
        }
    }

    fn frame_rejected(&mut self, instrument: Option<InstrumentId>, channel: Channel) {
        // A frame of a subscribed channel names its instrument; without one it is none of ours.
        if let Some(id) = instrument.filter(|id| self.books.contains_key(id)) {
            match channel {
                Channel::Book => self.book_gap(id),
                Channel::Trades => {
                    if let Some(trades) = self.trades.get_mut(&id) {
                        let last = trades.last.unwrap_or(0);
                        trades.hole.get_or_insert(last);
                    }
                    self.latch(C::WsTradesGapReconcileRequired);
                }
                Channel::Ticker | Channel::Other => {}
            }
        }
    }

    // ---- session ----

    /// The venue ended the session: the flag, and one count a session.
    fn terminated(&mut self) {
        self.session_killed = true;
        if !self.session_counted {
            self.session_counted = true;
            self.terminations.push(self.now.at);
        }
    }

    fn session_lost(&mut self) {
        self.session_cause = true;
        self.latch(C::SessionTerminationReconcileRequired);
    }

    // ---- orders, trades, answers ----

    fn venue_order(&mut self, order: &VenueOrder) {
        let bearer = self.bearer(&order.label, order.instrument, order.side, Some(order.qty));
        let Bearer::One(label) = bearer else {
            if bearer == Bearer::Several {
                self.order += 1;
                self.label_cause.get_or_insert(self.order);
            } else if order.state == VenueState::Open && order.label.starts_with("s4:") {
                self.latch(C::InventoryMismatchReconcileRequired);
            }
            return;
        };
        if let Some(intent) = self.intents.get_mut(&label).filter(|intent| intent.sent) {
            intent.open &= order.state == VenueState::Open;
            if order.filled.0 > 0 {
                self.group_filled(&label);
            }
        } else if order.state == VenueState::Open {
            self.latch(C::InventoryMismatchReconcileRequired);
        }
    }

    fn own_trade(&mut self, trade: &OwnTrade) {
        if !self.own_trades.insert(trade.trade_id) {
            return;
        }
        *self.positions.entry(trade.instrument).or_default() += trade.side.sign(trade.qty.0);
        let bearer = self.bearer(&trade.label, trade.instrument, trade.side, None);
        if bearer == Bearer::Several {
            self.order += 1;
            self.label_cause.get_or_insert(self.order);
        }
        let Bearer::One(label) = bearer else {
            if self.codes.is_empty() {
                self.latch(C::InventoryMismatchReconcileRequired);
            }
            return;
        };
        if let Some(intent) = self.intents.get_mut(&label).filter(|intent| intent.sent) {
            intent.filled = intent.filled.plus(trade.qty);
            intent.open &= intent.filled < intent.ordered;
            self.group_filled(&label);
        } else if self.codes.is_empty() {
            self.latch(C::InventoryMismatchReconcileRequired);
        }
    }

    /// Finds the intent that a venue's message is about. Of those that share group and leg the one that agrees best: the
    /// hash counts more than the instrument, that more than the side, that more than the amount.
    fn bearer(&self, label: &str, instrument: InstrumentId, side: Side, qty: Option<Qty>) -> Bearer {
        if self.intents.contains_key(label) {
            return Bearer::One(label.to_owned());
        }
        let parts: Vec<&str> = label.split(':').collect();
        let hash = match parts.as_slice() {
            ["s4", _, _, _, hash] => u64::from_str_radix(hash, 16).ok(),
            _ => None,
        };
        let Some(hash) = hash else { return Bearer::None };
        let mut ranked: Vec<([bool; 4], &String)> = self
            .intents
            .iter()
            .filter(|(known, _)| known.split(':').skip(2).take(2).eq(parts.iter().skip(2).take(2).copied()))
            .map(|(known, intent)| {
                let agrees = [
                    intent.hash.0 == hash,
                    intent.instrument == instrument,
                    intent.side == side,
                    qty.is_some_and(|qty| qty == intent.ordered),
                ];
                (agrees, known)
            })
            .collect();
        ranked.sort_unstable();
        match ranked.as_slice() {
            [] => Bearer::None,
            [.., (second, _), (best, _)] if second == best => Bearer::Several,
            [.., (_, label)] => Bearer::One((*label).clone()),
        }
    }

    fn group_filled(&mut self, label: &str) {
        if let Some(gid) = label.split(':').nth(2) {
            let before = self.in_containment();
            self.groups.entry(gid.to_owned()).or_default().filled = true;
            self.containment_began(before);
        }
    }

    fn containment_began(&mut self, before: bool) {
        if !before && self.in_containment() {
            // Even where the same event ends it.
            self.contained_last = Some(self.now.at);
            self.emergency = Some(self.now.at);
        }
    }

    fn answered(&mut self, query: &RestQuery, answer: &RestAnswer) {
        match (query, answer) {
            (RestQuery::OpenOrders, RestAnswer::OpenOrders(orders)) => {
                orders.iter().for_each(|order| self.venue_order(order))
            }
            // Room: positions are known from the first answer of the venue on; open orders were asked for before them.
            (RestQuery::Positions, RestAnswer::Positions(_)) => self.positions_known = true,
            (RestQuery::OwnTrades { .. }, RestAnswer::OwnTrades(trades)) => {
                trades.iter().for_each(|trade| self.own_trade(trade));
            }
            (RestQuery::OrderHistory { .. }, RestAnswer::OrderHistory(orders)) => {
                for order in orders {
                    if let Some(intent) = self.intents.get_mut(&order.label) {
                        intent.open &= order.state == VenueState::Open;
                    }
                }
            }
            (RestQuery::Book(id), RestAnswer::Book(snapshot)) if *id == snapshot.instrument => {
                self.whole_book(snapshot);
                // Of the two snapshots of a rebuild the newer one wins, in whichever order they come.
                if let Some(book) = self.books.get_mut(id) {
                    book.covered = book.covered.max(snapshot.change_id);
                }
                match self.books.get_mut(id) {
                    Some(Book { last: Some(last), .. }) => *last = snapshot.change_id.max(*last),
                    Some(book) => book.pulled = Some(snapshot.change_id),
                    None => {}
                }
            }
            (RestQuery::RecentTrades(id), RestAnswer::RecentTrades { instrument, trades: pulled })
                if id == instrument =>
            {
                let look_back_ms = seconds(self.boot.config.reconcile_trade_lookback_sec);
                if let Some(trades) = self.trades.get_mut(id) {
                    let newest = pulled.iter().map(|trade| trade.trade_seq).max().unwrap_or(0);
                    if let Some(seen) = trades.hole.take() {
                        trades.last = Some(newest.max(seen));
                    }
                    for trade in pulled {
                        trades.is_new(trade.trade_id, self.now.at, look_back_ms);
                    }
                }
            }
            _ => {}
        }
    }

    // ---- operators and tokens ----

    fn operator(&mut self, command: &OperatorCommand) {
        match command {
            OperatorCommand::Kill => self.operator_kill = true,
            OperatorCommand::EmergencyReduceOnly => self.emergency = Some(self.now.at),
            OperatorCommand::IncidentReset { token, incident_id } => {
                self.token(token);
                let named = ModeReason::from_token(token).filter(|reason| reason.tier() == Tier::Kill);
                if let (Some(reason), false) = (named, incident_id.is_empty()) {
                    self.reset(reason);
                }
            }
            OperatorCommand::AdoptPositions { .. } | OperatorCommand::ResumeContainment { .. } => {}
        }
    }

    fn reset(&mut self, reason: ModeReason) {
        if reason == M::KillRiskstateKill {
            self.operator_kill = false;
            self.ledger_damaged = false;
        }
        // A reset of the market's Kill counts only while no producer asks for it.
        let void = reason == M::KillCortexForceKill && self.effective_override() == Override::ForceKill;
        for held in self.held.iter_mut().filter(|held| held.reason == reason && !void) {
            held.reset = true;
        }
    }

    fn token(&mut self, token: &str) {
        if !is_known_reason_token(token) {
            self.hold(M::KillCortexForceKill, true);
        }
    }

    // ---- what the kernel sent, as facts ----

    fn carried_out(&mut self, effects: &[Effect], enqueue_failures: u64) {
        let latch_was_clear = self.codes.is_empty();
        let config = self.boot.config.clone();
        for effect in effects {
            self.order += 1;
            match effect {
                Effect::Enqueue(record) => {
                    self.depth += 1;
                    self.remember(record);
                }
                Effect::Place(order) => {
                    self.intents.insert(
                        order.label.clone(),
                        Intent {
                            hash: order.intent,
                            instrument: order.instrument,
                            side: order.side,
                            sent: true,
                            open: true,
                            ordered: order.qty,
                            filled: Qty::ZERO,
                        },
                    );
                }
                Effect::Refuse(refusal) => match refusal.code {
                    RejectReason::LabelTooLong | RejectReason::ContractsAmountMismatch => {
                        self.label_cause = Some(self.order);
                    }
                    RejectReason::InventorySkewDeltaLimitMissing => self.unconfigured_limit = true,
                    RejectReason::InstrumentExpiredOrDelisted
                        if config.expiry_delist_buffer_s.is_none() && refusal.class == Some(IntentClass::Open) =>
                    {
                        self.unconfigured_limit = true;
                    }
                    // A gate refuses by its own code; without its limit that is the cause as well.
                    RejectReason::GlobalExposureBudgetExceeded if config.portfolio_exposure_limit.is_none() => {
                        self.unconfigured_limit = true;
                    }
                    RejectReason::NetEdgeInputMissing | RejectReason::NetEdgeTooLow
                        if config.min_edge_usd.is_none() =>
                    {
                        self.unconfigured_limit = true;
                    }
                    // The guard over public trades found them too old: the latch was clear and refuses all the same.
                    RejectReason::OpenPermissionLatched
                        if (latch_was_clear || self.codes.is_empty()) && refusal.class == Some(IntentClass::Open) =>
                    {
                        self.trades_too_old = true;
                        self.latch(C::WsTradesGapReconcileRequired);
                    }
                    _ => {}
                },
                Effect::Rest { request, query } => {
                    self.requests.insert(*request, (query.clone(), self.now.at));
                }
                Effect::Note(Note::RunStarted) => self.run = Some(Run { begun: self.now, order: self.order }),
                Effect::Note(Note::RunSucceeded) => {
                    if let Some(run) = self.run.take() {
                        self.run_succeeded(run);
                    }
                }
                Effect::Note(Note::RunFailed(failure)) => {
                    self.run = None;
                    match failure {
                        RunFailure::PositionMismatch => self.latch(C::InventoryMismatchReconcileRequired),
                        RunFailure::AmbiguousLabel => self.label_cause = Some(self.order),
                        RunFailure::Refused | RunFailure::TimedOut | RunFailure::Ghost | RunFailure::FeedNotWhole => {}
                    }
                }
                Effect::WriteSlot(_)
                | Effect::Cancel(_)
                | Effect::ConnectPublic
                | Effect::ConnectPrivate
                | Effect::Authenticate
                | Effect::Subscribe
                | Effect::ResubscribeBook(_)
                | Effect::KeepAlivePublic
                | Effect::KeepAlivePrivate
                | Effect::Note(_) => {}
            }
        }
        if enqueue_failures > self.failures {
            self.failures = enqueue_failures;
            self.wal_failed = true;
            self.wal_bad_last = self.now.at;
        }
    }

    /// What a ledger record says of intents, trades and groups: at boot, and as it is written.
    fn remember(&mut self, record: &LedgerRecord) {
        match record {
            LedgerRecord::Transition { intent, state, .. } => {
                for known in self.intents.values_mut().filter(|known| known.hash == *intent) {
                    known.sent |= *state != TlsmState::Created && *state != TlsmState::Failed;
                    known.open = known.sent && !state.is_terminal();
                }
            }
            LedgerRecord::GroupTransition { group_id, state, .. } => {
                let before = self.in_containment();
                self.groups.entry(group_id.clone()).or_default().failing =
                    matches!(state, GroupState::MixedFailed | GroupState::Flattening);
                self.containment_began(before);
            }
            LedgerRecord::OwnTrade { trade, .. } => self.own_trade_of_ledger(trade),
            LedgerRecord::Adopted { instrument, qty, .. } => {
                self.positions.insert(*instrument, qty.0);
            }
            LedgerRecord::Intent(intent) => {
                self.intents.entry(intent.label.clone()).or_insert(Intent {
                    hash: intent.intent,
                    instrument: intent.instrument,
                    side: intent.side,
                    sent: false,
                    open: false,
                    ordered: intent.qty,
                    filled: Qty::ZERO,
                });
            }
            LedgerRecord::Group { .. } | LedgerRecord::Ghost { .. } | LedgerRecord::AtomicNaked { .. } => {}
        }
    }

    fn own_trade_of_ledger(&mut self, trade: &OwnTrade) {
        if self.own_trades.insert(trade.trade_id) {
            *self.positions.entry(trade.instrument).or_default() += trade.side.sign(trade.qty.0);
            self.group_filled(&trade.label);
        }
    }

    fn run_succeeded(&mut self, run: Run) {
        let begun = run.begun;
        let config = self.boot.config.clone();
        let now = self.now.at;
        self.codes.retain(|code, trigger| {
            let own_condition = match code {
                C::RestartReconcileRequired | C::InventoryMismatchReconcileRequired => true,
                C::WsBookGapReconcileRequired => {
                    self.books.values().all(|book| book.last.is_some())
                        && self.book_gap.is_none_or(|gap| now.since(gap) >= seconds(config.book_gap_quiet_s))
                }
                C::WsTradesGapReconcileRequired => {
                    !self.trades_too_old && self.trades.values().all(|trades| trades.hole.is_none())
                }
                C::WsDataStaleReconcileRequired => {
                    self.lag_low_since.is_some_and(|since| now.since(since) >= seconds(config.ws_stale_clear_s))
                }
                C::SessionTerminationReconcileRequired => {
                    self.authenticated.is_some_and(|authenticated| authenticated >= trigger.seq)
                }
            };
            trigger.seq > begun.seq || !own_condition
        });
        if !self.codes.contains_key(&C::SessionTerminationReconcileRequired) {
            self.session_killed = false;
            self.session_cause = false;
        }
        if self.label_cause.is_some_and(|arose| arose < run.order) {
            self.label_cause = None;
        }
        let cooled = seconds(config.emergency_reduceonly_cooldown_s);
        if self.emergency.is_some_and(|trigger| begun.at.since(trigger) >= cooled) && !self.in_containment() {
            self.emergency = None;
        }
        self.last_run = Some(begun.at);
        for held in &mut self.held {
            held.reconciled |= held.authenticated.is_some_and(|authenticated| begun.seq >= authenticated);
        }
    }

    // ---- the answer ----

    fn certificate(&self) -> (F1CertState, Option<TimeMs>) {
        let Some(certificate) = &self.boot.certificate else { return (F1CertState::Missing, None) };
        let window = seconds(self.boot.config.f1_cert_freshness_window_s);
        let bound = certificate.build_id == self.boot.build_id
            && certificate.runtime_config_hash == self.boot.runtime_config_hash
            && certificate.contract_version == CONTRACT_VERSION;
        let state = if !bound {
            F1CertState::Invalid
        } else if !certificate.passed {
            F1CertState::Fail
        } else if self.age(certificate.generated_at) > window {
            F1CertState::Stale
        } else {
            F1CertState::Pass
        };
        (state, Some(certificate.generated_at.after(window)))
    }

    fn fee_hard_stale(&self) -> bool {
        self.fee.is_none_or(|at| self.age(at) > seconds(self.boot.config.fee_cache_hard_s))
    }

    fn degraded(&self) -> bool {
        let config = &self.boot.config;
        let metadata_old =
            self.subscribed().iter().any(|(_, fetched)| self.age(*fetched) > seconds(config.instrument_cache_ttl_s));
        self.contained_last.is_some()
            || self.in_containment()
            || self.wal_failed
            || self.session_cause
            || self.rate_limited_here.is_some()
            || self.limits_cause
            || self.disk_degraded
            || self.drift.is_none_or(|ms| ms.abs() > config.time_drift_threshold_ms)
            || self.label_cause.is_some()
            || metadata_old
            || self.fee_hard_stale()
            || !self.full_queues.is_empty()
            || self.group_lock_held
            || self.unconfigured_limit
    }

    fn risk_state(&self) -> RiskState {
        if self.operator_kill || self.ledger_damaged {
            RiskState::Kill
        } else if self.in_maintenance() {
            RiskState::Maintenance
        } else if self.degraded() {
            RiskState::Degraded
        } else {
            RiskState::Healthy
        }
    }

    fn input_missing_or_stale(&self) -> bool {
        let config = &self.boot.config;
        let now = self.now.at;
        !self.margin.fresh(now, config.mm_util_max_age_ms)
            || !self.primary.fresh(now, config.disk_used_max_age_ms)
            || !self.secondary.fresh(now, config.disk_used_max_age_ms)
            || self.heartbeat.is_none()
            || self.tick.is_none()
            || !self.boot.session_flag_readable
            || !self.boot.session_count_readable
            || self.policy.is_none()
            || self.fee.is_none()
    }

    /// One look at every row of the contract's table of reasons.
    fn active(&self, reason: ModeReason) -> bool {
        let config = &self.boot.config;
        let risk = self.risk_state();
        let held = self.held.iter().any(|held| held.reason == reason);
        let kill_ms = seconds(config.watchdog_kill_s);
        let old = [self.heartbeat, self.tick].into_iter().flatten().filter(|last| self.age(*last) > kill_ms).count();
        match reason {
            M::KillWatchdogHeartbeatStale => held || self.watchdog_kill(),
            M::KillRiskstateKill => held || risk == RiskState::Kill,
            M::KillMarginMmUtilCritical => self.kill.inside,
            M::KillRateLimitSessionTermination => held || self.session_kill_confirmed(),
            M::KillDiskWatermarkKill => held || self.disk_kill_confirmed(),
            M::KillCortexForceKill => held || self.effective_override() == Override::ForceKill,
            M::ReduceonlyRiskstateMaintenance => risk == RiskState::Maintenance,
            M::ReduceonlyEmergencyReduceonlyActive => self.emergency.is_some(),
            M::ReduceonlyOpenPermissionLatched => !self.codes.is_empty(),
            M::ReduceonlyBunkerModeActive => self.bunker,
            M::ReduceonlyF1CertInvalid => self.certificate().0 != F1CertState::Pass,
            // The profile is CSP, so never.
            M::ReduceonlyEvidenceChainNotGreen => false,
            M::ReduceonlyCortexForceReduceOnly => self.effective_override() == Override::ForceReduceOnly,
            M::ReduceonlyFeeModelHardStale => self.fee_hard_stale(),
            M::ReduceonlyRiskstateDegraded => risk == RiskState::Degraded,
            M::ReduceonlyPolicyStale => self.policy.is_none_or(|at| self.age(at) > seconds(config.max_policy_age_sec)),
            M::ReduceonlyMarginMmUtilHigh => self.reduce.inside,
            M::ReduceonlyInputMissingOrStale => self.input_missing_or_stale(),
            M::ReduceonlyWatchdogUnconfirmed => old == 1,
            M::ReduceonlyDiskKillUnconfirmed => {
                self.primary.good.is_some()
                    && self.primary.shown().0.0 >= config.disk_kill_pct
                    && !self.disk_kill_confirmed()
            }
            M::ReduceonlySessionKillUnconfirmed => {
                self.boot.session_flag_readable && self.session_killed && !self.session_kill_confirmed()
            }
        }
    }

    fn expected(&self) -> Expected {
        let all: Vec<ModeReason> = ModeReason::ALL.into_iter().filter(|reason| self.active(*reason)).collect();
        let tier = all.iter().map(|reason| reason.tier()).min();
        let mode_reasons = all.into_iter().filter(|reason| Some(reason.tier()) == tier).collect();
        let (f1_cert_state, f1_cert_expires_at) = self.certificate();
        let (disk_used_pct, disk_used_last_update_ts_ms) = self.primary.shown();
        let (disk_used_pct_secondary, disk_used_secondary_last_update_ts_ms) = self.secondary.shown();
        let (mm_util, mm_util_last_update_ts_ms) = self.margin.shown();
        Expected {
            trading_mode: match tier {
                None => TradingMode::Active,
                Some(Tier::ReduceOnly) => TradingMode::ReduceOnly,
                Some(Tier::Kill) => TradingMode::Kill,
            },
            risk_state: self.risk_state(),
            bunker_mode_active: self.bunker,
            connectivity_degraded: self.bunker || !self.codes.is_empty(),
            mode_reasons,
            open_permission_reason_codes: self.codes.keys().copied().collect(),
            policy_age_sec: self.policy_shown.map_or(0, |at| self.age(at).max(0) / 1000),
            last_policy_update_ts: self.policy_shown.unwrap_or_default(),
            f1_cert_state,
            f1_cert_expires_at,
            disk_used_pct,
            disk_used_last_update_ts_ms,
            disk_used_pct_secondary,
            disk_used_secondary_last_update_ts_ms,
            mm_util,
            mm_util_last_update_ts_ms,
            loop_tick_last_ts_ms: self.tick.unwrap_or_default(),
            wal_queue_depth: self.depth,
            rate_limited_count_5m: self.counted(&self.rate_limited),
            terminations_count_5m: self.counted(&self.terminations),
            ws_event_lag_ms: self.lag().max(0),
        }
    }
}

impl Band {
    /// Leaves the band once the value was below its clear threshold for `hold_ms` without a break.
    fn leave_after(&mut self, below: bool, now: TimeMs, hold_ms: i64) {
        if !below {
            self.below_since = None;
        } else if now.since(*self.below_since.get_or_insert(now)) >= hold_ms {
            self.inside = false;
        }
    }
}

impl Producing {
    /// Follows a condition; true where it has held for so many seconds.
    fn lasts(began: &mut Option<TimeMs>, holds: bool, now: TimeMs, for_s: i64) -> bool {
        if !holds {
            *began = None;
            return false;
        }
        now.since(*began.get_or_insert(now)) >= seconds(for_s)
    }

    fn cool_until(&mut self, end: TimeMs) {
        self.cooled_at = self.cooled_at.max(Some(end));
    }

    fn ask(&mut self, kills: bool, reduces: bool, now: TimeMs) {
        let own = if kills {
            Override::ForceKill
        } else if reduces || self.cooled_at.is_some_and(|end| now < end) {
            Override::ForceReduceOnly
        } else {
            Override::None
        };
        self.asks = own.max(self.at_boot.flatten().unwrap_or_default());
    }
}

impl Book {
    fn resubscribed(&mut self) {
        *self = Self { last: None, waiting: true, pulled: None, ..*self };
    }
}

/// The venue's code for too many requests, which ends a session.
const TOO_MANY_REQUESTS: i32 = 10028;

/// The socket an event's frame came on.
fn socket_of(event: &Event) -> Option<Socket> {
    match event {
        Event::BookSnapshot(_)
        | Event::BookChanged(_)
        | Event::TradesReceived { .. }
        | Event::TickerReceived(_)
        | Event::Subscribed => Some(Socket::Public),
        Event::Authenticated
        | Event::AuthenticationRefused { .. }
        | Event::VenueErrored { .. }
        | Event::OrderUpdated(_)
        | Event::OrderRejected { .. }
        | Event::CancelRefused { .. }
        | Event::OwnTraded(_) => Some(Socket::Private),
        Event::FrameHeard(socket) | Event::FrameRejected { socket, .. } => Some(*socket),
        _ => None,
    }
}
