//! The state: one plain value, the whole truth. Everything here is in the state image and in the state hash.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    string::String,
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use crate::{
    calm::Calm,
    config::Config,
    effect::CancelReason,
    event::{
        Certificate, EdgeInputs, GroupFailure, GroupProposal, GroupState, Instrument, IntentRecord, MaintenanceWindow,
        Override, Ticker, TlsmState, VenueOrder,
    },
    ladder::Ladder,
    registry::{ModeReason, OpenPermissionReason, RiskState},
    resolver::Resolution,
    slot::{KillLatch, Slot},
    units::{InstrumentId, IntentHash, OrderId, Ppm, Qty, RequestId, Seq, Stamp, TimeMs, TradeId},
};

/// Names of the state's components, in the order of their leaf hashes.
pub const COMPONENTS: [&str; 8] = ["core", "feeds", "orders", "ledger", "groups", "session", "latch", "monitors"];

/// The kernel's whole state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Who runs, since when, and what was last resolved.
    pub core: Core,
    /// Books, trades, tickers, liveness.
    pub feeds: Feeds,
    /// Intents, their orders, positions, own trades.
    pub orders: Orders,
    /// The intent ledger's queue.
    pub ledger: Ledger,
    /// Atomic groups and containment.
    pub groups: Groups,
    /// Sockets, private session, rate counters, REST requests and reconciliation.
    pub session: Session,
    /// The open-permission latch.
    pub latch: Latch,
    /// Host inputs, causes, bands, bunker, overrides, latched Kill reasons.
    pub monitors: Monitors,
    /// Until when nothing is due; worked out from the rest and in no hash and no image.
    #[serde(skip)]
    pub(crate) calm: Calm,
    /// State that images miss, on purpose.
    #[cfg(planted)]
    #[serde(skip)]
    pub(crate) hidden: crate::planted::Hidden,
}

impl Default for Kernel {
    fn default() -> Self {
        Self::down()
    }
}

/// Who runs, since when, and what was last resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Core {
    /// False before the first boot and after a crash.
    pub up: bool,
    /// The event being applied, or the last one applied.
    pub stamp: Stamp,
    /// The boot event.
    pub booted: Stamp,
    /// Thresholds.
    pub config: Box<Config>,
    /// The running build.
    pub build_id: String,
    /// Its configuration's hash.
    pub runtime_config_hash: String,
    /// The perpetual that the market monitors read.
    pub reference_instrument: Option<InstrumentId>,
    /// The instrument table.
    pub instruments: Vec<Instrument>,
    /// What is known of each instrument beside the table: contracts, expiry, whether it is gone.
    pub listings: Vec<Listing>,
    /// Axes, mode and reasons after the last event.
    pub resolution: Resolution,
    /// Since which event each mode reason has been active without a break; indexed like the registry.
    pub reason_since: Vec<Option<Stamp>>,
    /// Since which event the mode has been what it is.
    pub mode_since: Stamp,
    /// The slot as last written.
    pub slot_written: Slot,
}

/// An instrument's contract size and its life. Source: AT-333, AT-949.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Amount of one contract; `None` before a record was fetched that has it.
    pub contract_multiplier: Option<Qty>,
    /// When trading ends, as far as a fetched record said.
    pub expires_at: Option<TimeMs>,
    /// True once the venue has answered that the instrument is expired or delisted.
    pub gone: bool,
}

/// Books, trades, tickers, liveness.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feeds {
    /// One book an instrument.
    pub books: Vec<Book>,
    /// One trades feed an instrument.
    pub trades: Vec<TradeFeed>,
    /// Last ticker an instrument, and when it came.
    pub tickers: Vec<Option<(Ticker, TimeMs)>>,
    /// Last market-data payload.
    pub last_payload_at: Option<TimeMs>,
    /// True where some payload came since the last subscription.
    pub payload_since_subscription: bool,
    /// True from the trip of the staleness check to the next payload.
    pub silent: bool,
    /// Since when the lag has been at or below its clear limit without a break.
    pub lag_calm_since: Option<TimeMs>,
    /// Last public trades message of any instrument.
    pub public_trades_at: Option<TimeMs>,
    /// True while AT-953's guard has raised the trades code and no trade has come since.
    pub trades_guard: bool,
    /// Last book gap, for the quiet time.
    pub last_book_gap_at: Option<TimeMs>,
    /// Public trades processed since boot.
    pub trades_processed: u64,
    /// Public trades dropped as already processed since boot.
    pub trades_dropped: u64,
    /// Frames rejected since boot.
    pub frames_rejected: u64,
}

/// One instrument's book.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// Last change id; `None` before the first snapshot.
    pub change_id: Option<u64>,
    /// Change id of the last book installed over REST: changes up to it are part of it already.
    pub pulled_change_id: Option<u64>,
    /// Where its continuity stands.
    pub continuity: Continuity,
    /// Bids.
    pub bids: Ladder,
    /// Asks.
    pub asks: Ladder,
    /// When it last changed.
    pub updated_at: Option<TimeMs>,
    /// A REST book was asked for under this number.
    pub pull: Option<RequestId>,
    /// A gap wants a REST book that was not asked for yet.
    pub pull_wanted: bool,
}

/// Where a book's continuity stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Continuity {
    /// Subscribed for the first time, no snapshot yet: a change is a gap.
    #[default]
    Fresh,
    /// A resubscription waits for its snapshot since then: changes are dropped.
    Awaiting(TimeMs),
    /// Each change must follow the last.
    Live,
}

/// One instrument's trades.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TradeFeed {
    /// Last `trade_seq`; `None` before the first trade since boot.
    pub last_seq: Option<u64>,
    /// An open hole.
    pub hole: Option<Hole>,
    /// Ids processed, newest last, with their times.
    pub recent: VecDeque<(TimeMs, TradeId)>,
    /// The same ids, for look-up.
    pub known: alloc::collections::BTreeSet<TradeId>,
    /// Amounts traded within `feedback_loop_window_s` of the newest trade, oldest first.
    pub volume: VecDeque<(TimeMs, Qty)>,
}

/// A hole in the trades: until the pull is answered trades are processed by id alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// The last pull's number; `None` while the limiter sheds it.
    pub pull: Option<RequestId>,
    /// Newest `trade_seq` seen meanwhile.
    pub newest_seq: u64,
}

/// Intents, their orders, positions, own trades.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// All intents of the ledger, as folded in memory.
    pub intents: BTreeMap<IntentHash, Order>,
    /// Replacements that wait for the end of the order they replace, by its intent.
    pub replacements: BTreeMap<IntentHash, Replacement>,
    /// Intents that are not terminal.
    pub live: alloc::collections::BTreeSet<IntentHash>,
    /// Hashes found at the venue without an intent: never sent.
    pub ghosts: BTreeMap<IntentHash, TimeMs>,
    /// Position of each instrument: cumulative own trades and adoptions.
    pub positions: Vec<Qty>,
    /// Own trades applied, by id.
    pub own_trades: BTreeMap<TradeId, TimeMs>,
    /// Own trades applied within the look-back, oldest first, for comparing with the venue as of a time.
    pub recent_fills: VecDeque<RecentFill>,
    /// True once a run has seen the venue's positions since boot.
    pub positions_known: bool,
    /// Ledger intents without Sent that wait for the boot's run.
    pub unsent: Vec<IntentHash>,
    /// Newest record of the ledger at boot.
    pub ledger_newest_at: Option<TimeMs>,
    /// The boot's run has ended, well or not.
    pub boot_run_ended: bool,
    /// Own trades up to this time that are not in `own_trades` are older than memory reaches: already processed.
    pub forgotten_until: TimeMs,
}

/// A new order that waits for the end of the one it replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// What goes out then, through every gate.
    pub proposal: GroupProposal,
    /// What the old order had filled when its cancel was asked for.
    pub filled: Qty,
    /// Why the old order is cancelled.
    pub why: CancelReason,
}

/// An own trade as far as positions are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentFill {
    /// The instrument.
    pub instrument: InstrumentId,
    /// Signed amount.
    pub qty: Qty,
    /// The venue's time.
    pub at: TimeMs,
}

/// An intent and its order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// As recorded.
    pub record: IntentRecord,
    /// Lifecycle state.
    pub state: TlsmState,
    /// When it was sent, once it was.
    pub sent: Option<Stamp>,
    /// When it was acknowledged.
    pub acked_at: Option<TimeMs>,
    /// The venue's number.
    pub order_id: Option<OrderId>,
    /// Amount filled by trades.
    pub filled: Qty,
    /// Signed coins those fills moved (options times delta), in 1e-9.
    pub filled_coins: i64,
    /// When it ended.
    pub ended_at: Option<TimeMs>,
    /// A cancel request is on its way since then.
    pub cancel_asked_at: Option<TimeMs>,
    /// How the venue says it ended, while trades that it counts are still missing: state and amount filled.
    pub venue_end: Option<(TlsmState, Qty)>,
}

/// The intent ledger's queue, as far as the kernel counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Records waiting.
    pub depth: u32,
    /// Refused enqueues since boot.
    pub failures: u64,
    /// Last refused enqueue.
    pub last_failure_at: Option<TimeMs>,
    /// Last time the queue was seen full.
    pub last_full_at: Option<TimeMs>,
    /// Times of AtomicNakedEvents within 24 h, oldest first.
    pub naked_events: VecDeque<TimeMs>,
}

/// Atomic groups and containment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// All groups of the ledger, by id.
    pub all: BTreeMap<String, Group>,
    /// Groups that have not ended.
    pub open: alloc::collections::BTreeSet<String>,
    /// Since when no group with a fill is MixedFailed or Flattening.
    pub clean_since: Option<TimeMs>,
    /// Times of flattens, by structure.
    #[serde(with = "crate::pairs")]
    pub flattens: BTreeMap<(String, u64), VecDeque<TimeMs>>,
    /// Blacklisted structures and until when.
    #[serde(with = "crate::pairs")]
    pub blacklist: BTreeMap<(String, u64), TimeMs>,
    /// Structures that traded too large a part of the market, and until when their OPENs are refused.
    #[serde(with = "crate::pairs")]
    pub feedback: BTreeMap<(String, u64), TimeMs>,
    /// Rounds on the net exposure of each underlying under Kill.
    pub kill_rounds: Vec<KillRounds>,
    /// Numbers the intents of Kill containment.
    pub kill_orders: u16,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The strategy.
    pub strategy_id: String,
    /// Its structure.
    pub structure_fingerprint: u64,
    /// What its net edge is made of, as proposed; nothing after a restart, since the ledger does not keep it.
    pub edge: EdgeInputs,
    /// Number of legs proposed.
    pub legs: u16,
    /// All its intents, legs first, then containment orders.
    pub intents: Vec<IntentHash>,
    /// Its state.
    pub state: GroupState,
    /// The first failure; never overwritten.
    pub failure: Option<GroupFailure>,
    /// When the first exposure of the failed group was seen.
    pub exposed_at: Option<TimeMs>,
    /// Largest absolute exposure in nano-coins.
    pub exposure_max: i64,
    /// Containment rounds begun.
    pub rounds: u32,
    /// The round that runs.
    pub round: Option<Round>,
    /// When the next round may begin.
    pub next_round_at: TimeMs,
    /// Rescue attempts made.
    pub rescues: u32,
    /// Attempts of the last round that ran.
    pub last_closes: u32,
    /// True where any round used the hedge.
    pub hedged: bool,
    /// Signed nano-coins of its fills that orders of Kill containment, which are groups of their own, took back.
    pub neutralised_coins: i64,
    /// When it ended.
    pub ended_at: Option<TimeMs>,
}

/// One containment round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Close attempts made.
    pub closes: u32,
    /// True once the hedge was sent.
    pub hedged: bool,
}

/// Rounds on the net exposure of one underlying under Kill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillRounds {
    /// Rounds begun.
    pub rounds: u32,
    /// The round that runs.
    pub round: Option<Round>,
    /// When the next round may begin.
    pub next_round_at: TimeMs,
}

/// Sockets, private session, rate counters, REST requests and reconciliation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The public socket.
    pub public: SocketState,
    /// The private socket.
    pub private: SocketState,
    /// True from an accepted authentication to the session's end.
    pub active: bool,
    /// True once this session's termination was counted.
    pub termination_counted: bool,
    /// The session-kill flag; `None` is unknown.
    pub killed: Option<bool>,
    /// False where the count of 10028 can't be read.
    pub count_readable: bool,
    /// Times of counted terminations, oldest first.
    pub terminations: Vec<TimeMs>,
    /// Times of HTTP 429, oldest first.
    pub rate_limited: Vec<TimeMs>,
    /// The next back-off of the private socket.
    pub backoff_ms: i64,
    /// Number of the last REST request.
    pub last_request: RequestId,
    /// Requests on their way, and since when.
    pub pending: BTreeMap<RequestId, Pending>,
    /// Reconciliation.
    pub reconcile: Reconcile,
    /// Last sweep.
    pub swept_at: TimeMs,
}

/// One socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketState {
    /// True while connected.
    pub open: bool,
    /// Last frame of any kind; kept while closed.
    pub last_frame_at: Option<TimeMs>,
    /// Last keep-alive asked for.
    pub keepalive_at: TimeMs,
    /// When to connect again.
    pub reconnect_at: Option<TimeMs>,
}

/// A REST request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What it is for.
    pub purpose: Purpose,
    /// When it was sent.
    pub sent_at: TimeMs,
}

/// What a REST request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// The run of reconciliation.
    Run,
    /// Rebuilding a book.
    Book(InstrumentId),
    /// Pulling recent trades.
    Trades(InstrumentId),
}

/// Reconciliation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconcile {
    /// The run that is going on.
    pub run: Option<Run>,
    /// A start is asked for; it happens as soon as no run is going on.
    pub wanted: bool,
    /// Last start.
    pub last_started_at: TimeMs,
    /// Last success, and when that run had started.
    pub last_success: Option<(Stamp, Stamp)>,
    /// The venue's positions as last answered, and when it looked.
    pub venue_positions: Option<(Vec<Qty>, TimeMs)>,
    /// Runs begun since boot.
    pub started: u64,
    /// Runs that succeeded since boot.
    pub succeeded: u64,
    /// Runs that failed since boot.
    pub failed: u64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The event in which it started.
    pub started: Stamp,
    /// What it waits for.
    pub stage: Stage,
    /// The number of its outstanding request.
    pub request: RequestId,
    /// Open orders as answered.
    pub open_orders: Vec<VenueOrder>,
    /// Intents whose labels are asked for in the order history.
    pub doubtful: Vec<IntentHash>,
    /// A ghost or orphan was found.
    pub ghost: bool,
    /// A label matched more than one intent.
    pub ambiguous: bool,
}

/// What a run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Open orders.
    OpenOrders,
    /// Positions.
    Positions,
    /// Own trades.
    OwnTrades,
    /// Order history of doubtful labels.
    OrderHistory,
}

/// The open-permission latch: set exactly while a code is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latch {
    /// One entry a code, in registry order.
    pub codes: [Option<Trigger>; OpenPermissionReason::ALL.len()],
}

/// Why a code is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// The event that set it.
    pub raised: Stamp,
    /// Its newest occurrence; only a run begun no earlier can clear the code.
    pub renewed: Stamp,
}

/// A value with its time; an unreadable sample leaves the last good pair and is remembered as such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The last good value.
    pub value: Option<Ppm>,
    /// When that was sampled.
    pub at: Option<TimeMs>,
    /// False where the newest sample was missing or unreadable.
    pub readable: bool,
}

/// A time with the same care as [`Pair`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dated {
    /// The last good time.
    pub at: Option<TimeMs>,
    /// False where the newest one was missing or unreadable.
    pub readable: bool,
}

/// A band of mm_util with hysteresis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Band {
    /// True while in the band.
    pub on: bool,
    /// Since when fresh samples have been below the clear limit.
    pub clear_since: Option<TimeMs>,
}

/// The network jitter monitor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bunker {
    /// True in bunker mode.
    pub on: bool,
    /// Consecutive one-second evaluations with the p95 over its limit or unknown; zero where the last was within it.
    pub breaches: u32,
    /// The last evaluation's whole second since the boot.
    pub evaluated_at: TimeMs,
    /// Since when all metrics have been within their limits.
    pub calm_since: Option<TimeMs>,
    /// REST requests that ended within the last 60 s.
    pub requests: VecDeque<EndedRequest>,
    /// How many of them count for the time-out rate.
    pub counted: u32,
    /// How many of these timed out.
    pub timed_out: u32,
}

/// A REST request that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedRequest {
    /// When.
    pub at: TimeMs,
    /// Its round trip in ms; `None` where it timed out.
    pub round_trip_ms: Option<i64>,
    /// False for an answer that came after its request had timed out: one request counts once.
    pub counts: bool,
}

/// Host inputs, causes, bands, bunker, overrides, latched Kill reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitors {
    /// Maintenance-margin utilisation.
    pub margin: Pair,
    /// Primary disk.
    pub disk_primary: Pair,
    /// Second disk.
    pub disk_secondary: Pair,
    /// Watchdog heartbeat.
    pub heartbeat: Dated,
    /// Last completed loop tick.
    pub loop_tick: Dated,
    /// Policy generation time.
    pub policy: Dated,
    /// Fee model's time.
    pub fee_model: Dated,
    /// Clock drift in ms; `None` unknown.
    pub drift_ms: Option<i64>,
    /// The certificate.
    pub certificate: Option<Certificate>,
    /// The override producers.
    pub producers: Producers,
    /// Announced maintenance.
    pub maintenance: Option<MaintenanceWindow>,
    /// The latest end of a maintenance that ended and is announced no more; a run begun after it is owed until one succeeds.
    pub maintenance_ended: Option<TimeMs>,
    /// Times of consecutive limits-fetch failures.
    pub limits_failures: Vec<TimeMs>,
    /// Which output queues are full.
    pub queues_full: [bool; 3],
    /// True while the group lock can't be had.
    pub lock_held: bool,
    /// Credits in the limiter's bucket; `None` before the first sample.
    pub credits: Option<i64>,
    /// Reduce band of mm_util.
    pub margin_reduce: Band,
    /// Kill band of mm_util.
    pub margin_kill: Band,
    /// Network jitter.
    pub bunker: Bunker,
    /// Last trigger of emergency reduce-only while it has not ended.
    pub emergency: Option<Stamp>,
    /// Active causes of the risk state and the event each arose in; indexed by `Cause`.
    pub causes: [Option<Stamp>; Cause::ALL.len()],
    /// Latched Kill reasons.
    pub kill_latches: Vec<KillLatch>,
    /// The first authentication since KILL_RATE_LIMIT_SESSION_TERMINATION was raised; `None` where none was in this process.
    pub reauthenticated_at: Option<Seq>,
}

/// The override producers: what they ask for, and what they remember of what they read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producers {
    /// What each asks for by its present readings, in the order of `Producer::ALL`.
    pub signals: [Override; 3],
    /// What those outside the kernel reported last, in the same order; nothing before their first report.
    pub reported: [Override; 3],
    /// Spread, depth and volatility.
    pub cortex: Cortex,
    /// Announcements.
    pub exchange_health: ExchangeHealth,
    /// Mark, index and last price.
    pub basis: Basis,
}

/// What Cortex remembers; book and ticker are among the feeds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cortex {
    /// The boot's reading.
    pub first: FirstReading,
    /// Readings of the volatility index within `dvol_jump_window_s`, oldest first, as far as no later one is as low or
    /// lower; the last is the newest of all.
    pub volatility: VecDeque<(TimeMs, Ppm)>,
    /// Since when the book has broken a kill limit without a break.
    pub kill_since: Option<TimeMs>,
    /// After a wide spread, a thin book or a jump of the index.
    pub cooldown: Cooldown,
}

/// What exchange health remembers; the window that is announced is a cause of the risk state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeHealth {
    /// The boot's reading.
    pub first: FirstReading,
    /// Last valid answer, the boot's included.
    pub answered_at: Option<TimeMs>,
}

/// What basis remembers; the ticker is among the feeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// The boot's reading.
    pub first: FirstReading,
    /// Since when the prices have been apart by `basis_reduceonly_bps` or more.
    pub reduce_since: Option<TimeMs>,
    /// Since when they have been apart by `basis_kill_bps` or more.
    pub kill_since: Option<TimeMs>,
    /// After they were apart.
    pub cooldown: Cooldown,
}

/// A boot's reading of a producer, which stands until the producer has one of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FirstReading {
    /// The boot had none.
    #[default]
    Missing,
    /// What the producer asked for at the boot.
    Read(Override),
    /// The producer reads for itself.
    Superseded,
}

/// A cooldown that runs from the last moment its signal held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooldown {
    /// Its end, at which it is over; `None` where none runs.
    pub ends_at: Option<TimeMs>,
}

/// A cause of the risk state. Source: kernel contract section 2, risk state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cause {
    /// Kill: an operator's kill.
    OperatorKill,
    /// Kill: the ledger is damaged beyond a torn tail.
    LedgerDamaged,
    /// Maintenance: within the lead of an announced window.
    Maintenance,
    /// Degraded: a group is contained, or was until a moment ago.
    GroupContainment,
    /// Degraded: the ledger refused an enqueue.
    LedgerBackPressure,
    /// Degraded: the private session ended.
    SessionEnded,
    /// Degraded: HTTP 429.
    RateLimited,
    /// Degraded: account limits can't be fetched.
    LimitsFetch,
    /// Degraded: the primary disk is filling up.
    DiskHigh,
    /// Degraded: the clock drifts, or nobody knows.
    ClockDrift,
    /// Degraded: a label is too long or ambiguous.
    Label,
    /// Degraded: an instrument's metadata is too old.
    MetadataStale,
    /// Degraded: the fee model is hard-stale or missing.
    FeeModel,
    /// Degraded: an output queue is full.
    OutputQueue,
    /// Degraded: the group lock was not had in time.
    GroupLock,
    /// Degraded: an OPEN reached a gate whose limit has no default and is not configured.
    LimitMissing,
    /// Degraded: a leg's contracts and amount disagreed.
    ContractsMismatch,
}

impl Cause {
    /// All causes, in index order.
    pub const ALL: [Self; 17] = [
        Self::OperatorKill,
        Self::LedgerDamaged,
        Self::Maintenance,
        Self::GroupContainment,
        Self::LedgerBackPressure,
        Self::SessionEnded,
        Self::RateLimited,
        Self::LimitsFetch,
        Self::DiskHigh,
        Self::ClockDrift,
        Self::Label,
        Self::MetadataStale,
        Self::FeeModel,
        Self::OutputQueue,
        Self::GroupLock,
        Self::LimitMissing,
        Self::ContractsMismatch,
    ];

    /// Returns the risk state that the cause alone gives.
    #[must_use]
    pub const fn risk_state(self) -> RiskState {
        match self {
            Self::OperatorKill | Self::LedgerDamaged => RiskState::Kill,
            Self::Maintenance => RiskState::Maintenance,
            Self::GroupContainment
            | Self::LedgerBackPressure
            | Self::SessionEnded
            | Self::RateLimited
            | Self::LimitsFetch
            | Self::DiskHigh
            | Self::ClockDrift
            | Self::Label
            | Self::MetadataStale
            | Self::FeeModel
            | Self::OutputQueue
            | Self::GroupLock
            | Self::LimitMissing
            | Self::ContractsMismatch => RiskState::Degraded,
        }
    }

    /// Returns the place in tables that have one entry a cause.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::OperatorKill => 0,
            Self::LedgerDamaged => 1,
            Self::Maintenance => 2,
            Self::GroupContainment => 3,
            Self::LedgerBackPressure => 4,
            Self::SessionEnded => 5,
            Self::RateLimited => 6,
            Self::LimitsFetch => 7,
            Self::DiskHigh => 8,
            Self::ClockDrift => 9,
            Self::Label => 10,
            Self::MetadataStale => 11,
            Self::FeeModel => 12,
            Self::OutputQueue => 13,
            Self::GroupLock => 14,
            Self::LimitMissing => 15,
            Self::ContractsMismatch => 16,
        }
    }
}

impl Kernel {
    /// Returns a kernel that waits for its first boot.
    #[must_use]
    pub fn down() -> Self {
        Self {
            core: Core::default(),
            feeds: Feeds::default(),
            orders: Orders::default(),
            ledger: Ledger::default(),
            groups: Groups::default(),
            session: Session::default(),
            latch: Latch::default(),
            monitors: Monitors::default(),
            calm: Calm::default(),
            #[cfg(planted)]
            hidden: crate::planted::Hidden::default(),
        }
    }

    /// Returns the time of the event being applied.
    pub(crate) const fn now(&self) -> TimeMs {
        self.core.stamp.at
    }

    /// Returns the sequence number of the last event applied.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.core.stamp.seq
    }

    /// Returns the thresholds.
    pub(crate) fn config(&self) -> &Config {
        &self.core.config
    }

    /// Returns an instrument's metadata.
    pub(crate) fn instrument(&self, id: InstrumentId) -> Option<&Instrument> {
        self.core.instruments.get(id.index())
    }

    /// Returns the active causes of the risk state with the event each arose in.
    pub fn active_causes(&self) -> impl Iterator<Item = (Cause, Stamp)> + '_ {
        Cause::ALL.iter().filter_map(|cause| self.monitors.cause(*cause).map(|stamp| (*cause, stamp)))
    }

    /// Returns the event since which a mode reason has been active, if it is.
    #[must_use]
    pub fn reason_since(&self, reason: ModeReason) -> Option<Stamp> {
        self.core.reason_since.get(reason.index()).copied().flatten()
    }
}

impl Monitors {
    /// Returns the event in which a cause arose, while it is active.
    #[must_use]
    pub fn cause(&self, cause: Cause) -> Option<Stamp> {
        self.causes.get(cause.index()).copied().flatten()
    }

    /// Makes a cause active; one that is keeps its first event.
    pub(crate) fn raise(&mut self, cause: Cause, stamp: Stamp) {
        if let Some(slot) = self.causes.get_mut(cause.index())
            && slot.is_none()
        {
            *slot = Some(stamp);
        }
    }

    /// Makes a cause active from this event on; only a run begun later can end it.
    pub(crate) fn renew(&mut self, cause: Cause, stamp: Stamp) {
        self.settle(cause);
        self.raise(cause, stamp);
    }

    /// Ends a cause.
    pub(crate) fn settle(&mut self, cause: Cause) {
        if let Some(slot) = self.causes.get_mut(cause.index()) {
            *slot = None;
        }
    }

    /// Makes a cause active or not, as a condition says.
    pub(crate) fn set_cause(&mut self, cause: Cause, active: bool, stamp: Stamp) {
        if active {
            self.raise(cause, stamp);
        } else {
            self.settle(cause);
        }
    }
}
