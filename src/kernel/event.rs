//! Everything the kernel can learn.
//!
//! An event is a fact: past tense, typed, never edited. Wire formats become events in the feed room; the log's record
//! types mirror these in the wal room. A change here is a change of the log's format.

use alloc::{boxed::Box, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    slot::Slot,
    units::{InstrumentId, IntentHash, OrderId, Ppm, Price, Qty, RequestId, Side, TimeMs, TradeId, UnderlyingId},
};

/// A fact the kernel is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The process started; carries all it may know of the world before it.
    Booted(Box<Boot>),
    /// The process died: memory and queues are gone, sockets dropped.
    Crashed,
    /// The loop completed a tick.
    LoopTicked,
    /// The watchdog's heartbeat arrived.
    HeartbeatSeen,
    /// A sample of the maintenance-margin utilisation.
    MarginSampled(Sample),
    /// A sample of both disks.
    DiskSampled {
        /// The primary disk's use.
        primary: Sample,
        /// The independent second sample.
        secondary: Sample,
    },
    /// A trading policy arrived; its generation time, if it could be read.
    PolicyReceived {
        /// When the policy was generated.
        generated_at: Option<TimeMs>,
    },
    /// The certificate file was read again; `None` where it is absent or unreadable.
    CertificateRead(Option<Certificate>),
    /// The fee model was read; `None` where its time is absent or unreadable.
    FeeModelRead {
        /// When the fee model was cached.
        cached_at: Option<TimeMs>,
    },
    /// The clock was compared with a reference; `None` where that failed.
    ClockDriftSampled {
        /// Absolute drift in milliseconds.
        drift_ms: Option<i64>,
    },
    /// An override producer outside the kernel reported its signal, which stands beside the kernel's own until its next.
    OverrideSampled {
        /// Who reports.
        producer: Producer,
        /// What it asks for.
        signal: Override,
    },
    /// The venue's announcements were read: the maintenance window, or none (also: withdrawn).
    MaintenanceAnnounced(Option<MaintenanceWindow>),
    /// The venue's announcements were asked for, and no answer came or none that is valid.
    AnnouncementsUnavailable,
    /// The volatility index was read; `None` where that failed.
    VolatilityIndexRead {
        /// Annualised volatility as a ratio: 0.55 is 550_000.
        value: Option<Ppm>,
    },
    /// An account-limits request ended.
    LimitsFetched {
        /// True where it succeeded.
        succeeded: bool,
    },
    /// One of the loop's bounded output queues was sampled.
    OutputQueueSampled {
        /// Which queue.
        queue: OutputQueue,
        /// Items waiting.
        depth: u32,
        /// Its bound.
        capacity: u32,
    },
    /// The group lock was tried: true where it was not had within `group_lock_max_wait_ms`.
    GroupLockSampled {
        /// True while the lock can't be had.
        held: bool,
    },
    /// The metadata of an instrument was fetched again.
    InstrumentRefreshed(InstrumentId),
    /// The metadata of an instrument was fetched, and this is the record. Source: AT-333.
    InstrumentFetched {
        /// Which instrument.
        instrument: InstrumentId,
        /// What the venue says of it.
        metadata: Metadata,
    },
    /// The rate limiter's bucket was sampled.
    LimiterSampled {
        /// Credits left; 0 or less is pressure.
        credits: i64,
    },
    /// A book snapshot arrived on the public socket.
    BookSnapshot(BookSnapshot),
    /// An incremental book message arrived.
    BookChanged(BookChange),
    /// A batch of public trades of one instrument arrived.
    TradesReceived {
        /// The instrument all of them concern.
        instrument: InstrumentId,
        /// The trades, in the order of the message.
        trades: Vec<PublicTrade>,
    },
    /// A ticker arrived.
    TickerReceived(Ticker),
    /// A frame without a payload of interest arrived (heartbeat, answer to a keep-alive).
    FrameHeard(Socket),
    /// A frame could not be used: invalid, of an unknown channel, or with impossible numbers.
    FrameRejected {
        /// Where it arrived.
        socket: Socket,
        /// The subscribed instrument it would have concerned, where that is known.
        instrument: Option<InstrumentId>,
        /// The channel it came on.
        channel: Channel,
    },
    /// A socket is connected.
    SocketOpened(Socket),
    /// A socket is gone.
    SocketClosed {
        /// Which.
        socket: Socket,
        /// How it ended.
        cause: CloseCause,
    },
    /// The private socket's authentication was accepted.
    Authenticated,
    /// The private socket's authentication was refused.
    AuthenticationRefused {
        /// The venue's error code.
        code: i32,
    },
    /// The venue answered on the private socket with an error that concerns the session (10028).
    VenueErrored {
        /// The venue's error code.
        code: i32,
    },
    /// The venue confirmed the public subscriptions.
    Subscribed,
    /// The venue reported the state of an order of ours.
    OrderUpdated(VenueOrder),
    /// The venue refused an order of ours.
    OrderRejected {
        /// The label it was sent with.
        label: String,
        /// The venue's error code.
        code: i32,
    },
    /// The venue refused to cancel an order of ours.
    CancelRefused {
        /// The label it was sent with.
        label: String,
        /// Why.
        cause: CancelRefusal,
    },
    /// Trades of ours arrived on the private socket.
    OwnTraded(Vec<OwnTrade>),
    /// A REST request was answered.
    RestAnswered {
        /// The request's number.
        request: RequestId,
        /// The venue's time of the facts.
        venue_time: TimeMs,
        /// Round trip in milliseconds.
        round_trip_ms: i64,
        /// The answer.
        answer: RestAnswer,
    },
    /// A REST request was refused.
    RestRefused {
        /// The request's number.
        request: RequestId,
        /// HTTP status or venue error code; 429 is the rate limit.
        code: i32,
        /// Round trip in milliseconds.
        round_trip_ms: i64,
    },
    /// The ledger's writer made records durable.
    LedgerDrained {
        /// How many left the queue.
        records: u32,
    },
    /// The strategy proposed a group of one or more legs.
    GroupProposed(GroupProposal),
    /// The strategy proposed to cancel an order of ours.
    CancelProposed {
        /// The intent whose order is meant.
        intent: IntentHash,
    },
    /// The strategy proposed to replace an order of ours: cancel, then a new order.
    ReplaceProposed {
        /// The intent whose order is to go.
        intent: IntentHash,
        /// The new order, as a group of one leg.
        replacement: GroupProposal,
    },
    /// An operator acted.
    OperatorCommanded(OperatorCommand),
    /// A subsystem reported with a reason token.
    TokenReported {
        /// Who reports.
        subsystem: String,
        /// The token, unchecked.
        token: String,
    },
}

/// What market data change of what the market monitors read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The book of an instrument, on those of its sides that are true.
    Book {
        /// Whose book.
        instrument: InstrumentId,
        /// Its bids may differ.
        bids: bool,
        /// Its asks may differ.
        asks: bool,
    },
    /// Its ticker.
    Ticker(InstrumentId),
}

impl Reading {
    /// Returns what a change of a book changes.
    #[inline]
    pub(crate) fn of(change: &impl BookDelta) -> Self {
        let (bids, asks) = (change.bids().next().is_some(), change.asks().next().is_some());
        Self::Book { instrument: change.instrument(), bids, asks }
    }
}

impl Event {
    /// Returns what the event changes of what the market monitors read.
    pub(crate) fn reading(&self) -> Option<Reading> {
        match self {
            Self::BookSnapshot(BookSnapshot { instrument, .. }) => {
                Some(Reading::Book { instrument: *instrument, bids: true, asks: true })
            }
            Self::BookChanged(change) => Some(Reading::of(change)),
            Self::TickerReceived(ticker) => Some(Reading::Ticker(ticker.instrument)),
            _ => None,
        }
    }
}

/// What a process knows when it starts. Source: kernel contract section 2, boot event; a missing field is a missing input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The thresholds.
    pub config: Config,
    /// The running build.
    pub build_id: String,
    /// SHA-256 (hex) of the canonical runtime configuration.
    pub runtime_config_hash: String,
    /// The perpetual that the market monitors read; `None` blocks what needs it.
    pub reference_instrument: Option<InstrumentId>,
    /// All instruments, subscribed ones marked.
    pub instruments: Vec<Instrument>,
    /// The certificate on disk.
    pub certificate: Option<Certificate>,
    /// First margin sample.
    pub margin: Sample,
    /// First sample of the primary disk.
    pub disk_primary: Sample,
    /// First sample of the second disk.
    pub disk_secondary: Sample,
    /// Last watchdog heartbeat.
    pub heartbeat_at: Option<TimeMs>,
    /// Last completed loop tick.
    pub loop_tick_at: Option<TimeMs>,
    /// Generation time of the policy in force.
    pub policy_generated_at: Option<TimeMs>,
    /// Time of the fee model in the cache.
    pub fee_cached_at: Option<TimeMs>,
    /// Clock drift in milliseconds.
    pub drift_ms: Option<i64>,
    /// What each override producer asks for by its reading at the boot, in the order of [`Producer::ALL`]; it ages from
    /// there. `None` was not read.
    pub overrides: Vec<Option<Override>>,
    /// The venue's announced maintenance.
    pub maintenance: Option<MaintenanceWindow>,
    /// Round trips of the handshake's REST requests in milliseconds.
    pub round_trips_ms: Vec<i64>,
    /// False where the session-kill flag can't be read: unknown is not false.
    pub session_flag_readable: bool,
    /// False where the count of 10028 can't be read.
    pub session_count_readable: bool,
    /// First ticker readings, taken over REST.
    pub tickers: Vec<Ticker>,
    /// The ledger's records that survived on disk, oldest first.
    pub ledger: Vec<LedgerRecord>,
    /// True where the ledger is damaged beyond a torn tail.
    pub ledger_damaged: bool,
    /// The sticky slot as read.
    pub slot: SlotReading,
}

/// What a boot found in the sticky slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotReading {
    /// Nothing was ever written.
    Absent,
    /// Unreadable: counts as a damaged ledger.
    Damaged,
    /// The last one written.
    Read(Box<Slot>),
}

/// One host sample. `None` is missing or unparseable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The value; a ratio of one is 1_000_000.
    pub value: Option<Ppm>,
    /// When it was taken.
    pub at: Option<TimeMs>,
}

/// A certificate as read from its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// True for PASS, false for FAIL.
    pub passed: bool,
    /// When it was generated.
    pub generated_at: TimeMs,
    /// The build it binds.
    pub build_id: String,
    /// The configuration it binds.
    pub runtime_config_hash: String,
    /// The contract version it binds.
    pub contract_version: String,
}

/// Who may force a milder mode away. Source: kernel contract section 2, override.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Producer {
    /// Spread and depth of the reference instrument, and the volatility index.
    Cortex,
    /// Announcements.
    ExchangeHealth,
    /// Mark, index and last price.
    Basis,
}

impl Producer {
    /// All producers, in the order of [`Boot::overrides`].
    pub const ALL: [Self; 3] = [Self::Cortex, Self::ExchangeHealth, Self::Basis];

    /// Returns the place in tables that have one entry a producer.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Cortex => 0,
            Self::ExchangeHealth => 1,
            Self::Basis => 2,
        }
    }
}

/// What a producer asks for, mildest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Override {
    /// Nothing.
    #[default]
    None,
    /// No new risk.
    ForceReduceOnly,
    /// Kill.
    ForceKill,
}

/// An announced maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceWindow {
    /// When it starts.
    pub starts_at: TimeMs,
    /// When it ends.
    pub ends_at: TimeMs,
}

/// The loop's bounded output queues. Source: AT-925.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OutputQueue {
    /// Telemetry.
    Telemetry,
    /// The status writer.
    StatusWriter,
    /// Order events.
    OrderEvents,
}

/// One of the two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Socket {
    /// Market data.
    Public,
    /// Orders, own trades, portfolio.
    Private,
}

/// What a frame was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Channel {
    /// `book.*`
    Book,
    /// `trades.*`
    Trades,
    /// `ticker.*`
    Ticker,
    /// Anything else.
    Other,
}

/// How a socket ended. Source: kernel contract section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CloseCause {
    /// The connection was lost: a bare disconnect.
    Lost,
    /// The venue ended the session.
    SessionEnded,
    /// The key was revoked.
    KeyRevoked,
}

/// What an instrument is, which decides its amount unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum InstrumentKind {
    /// Inverse perpetual: amount in USD.
    Perpetual,
    /// Inverse future: amount in USD.
    Future,
    /// Option: amount in coins.
    Option,
}

/// Metadata of one instrument, as fetched from the venue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instrument {
    /// The venue's name.
    pub name: String,
    /// What it is.
    pub kind: InstrumentKind,
    /// Its underlying.
    pub underlying: UnderlyingId,
    /// Smallest price step; `None` is missing metadata.
    pub tick_size: Option<Price>,
    /// Smallest amount step.
    pub amount_step: Option<Qty>,
    /// Smallest amount of an order.
    pub min_amount: Option<Qty>,
    /// True where market data is subscribed.
    pub subscribed: bool,
    /// When this record was fetched.
    pub fetched_at: TimeMs,
}

/// What a venue's record of an instrument says that may change while a process runs. `None` is missing metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Smallest price step.
    pub tick_size: Option<Price>,
    /// Smallest amount step.
    pub amount_step: Option<Qty>,
    /// Smallest amount of an order.
    pub min_amount: Option<Qty>,
    /// Amount of one contract.
    pub contract_multiplier: Option<Qty>,
    /// When trading ends; `None` for an instrument that does not expire.
    pub expires_at: Option<TimeMs>,
}

/// Why the venue did not cancel an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CancelRefusal {
    /// `invalid_instrument`: the venue does not list the instrument.
    InvalidInstrument,
    /// `not_found`: the instrument, or the order's book, is not there.
    NotFound,
    /// `orderbook_closed`: its book is closed.
    OrderbookClosed,
    /// `instrument_not_open`: it does not trade.
    InstrumentNotOpen,
    /// The order has ended already: the ordinary answer to a cancel that came late.
    AlreadyGone,
    /// Anything else; the order may still be open.
    Other,
}

impl CancelRefusal {
    /// True where the answer says that the instrument is gone, provided that its expiry has passed. Source: AT-949.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::InvalidInstrument | Self::NotFound | Self::OrderbookClosed | Self::InstrumentNotOpen => true,
            Self::AlreadyGone | Self::Other => false,
        }
    }
}

/// A price level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Its price.
    pub price: Price,
    /// The amount resting there.
    pub qty: Qty,
}

/// A whole book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookSnapshot {
    /// Which instrument.
    pub instrument: InstrumentId,
    /// The venue's number of this state.
    pub change_id: u64,
    /// Bids, any order.
    pub bids: Vec<Level>,
    /// Asks, any order.
    pub asks: Vec<Level>,
}

/// One incremental book message; a level with zero amount is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookChange {
    /// Which instrument.
    pub instrument: InstrumentId,
    /// The state this one follows.
    pub prev_change_id: u64,
    /// The venue's number of the new state.
    pub change_id: u64,
    /// Changed bids.
    pub bids: Vec<Level>,
    /// Changed asks.
    pub asks: Vec<Level>,
}

/// An incremental book message, wherever it lies.
pub trait BookDelta {
    /// Which instrument.
    fn instrument(&self) -> InstrumentId;
    /// The state this one follows.
    fn prev_change_id(&self) -> u64;
    /// The venue's number of the new state.
    fn change_id(&self) -> u64;
    /// Changed bids, in the order of the message.
    fn bids(&self) -> impl Iterator<Item = Level>;
    /// Changed asks, in the order of the message.
    fn asks(&self) -> impl Iterator<Item = Level>;
}

impl BookDelta for BookChange {
    fn instrument(&self) -> InstrumentId {
        self.instrument
    }

    fn prev_change_id(&self) -> u64 {
        self.prev_change_id
    }

    fn change_id(&self) -> u64 {
        self.change_id
    }

    fn bids(&self) -> impl Iterator<Item = Level> {
        self.bids.iter().copied()
    }

    fn asks(&self) -> impl Iterator<Item = Level> {
        self.asks.iter().copied()
    }
}

/// A public trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicTrade {
    /// The venue's number, unique.
    pub trade_id: TradeId,
    /// Number within the instrument, gapless.
    pub trade_seq: u64,
    /// Price.
    pub price: Price,
    /// Amount.
    pub qty: Qty,
    /// The taker's side.
    pub side: Side,
}

/// A ticker: best prices and references. `None` where the venue sends none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticker {
    /// Which instrument.
    pub instrument: InstrumentId,
    /// Best bid.
    pub best_bid: Option<Price>,
    /// Best ask.
    pub best_ask: Option<Price>,
    /// Mark price.
    pub mark: Option<Price>,
    /// Index price in USD.
    pub index: Option<Price>,
    /// Price of the last trade.
    pub last: Option<Price>,
    /// Option delta.
    pub delta: Option<Ppm>,
}

/// Where an order stands at the venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum VenueState {
    /// Resting or being matched.
    Open,
    /// Filled in full.
    Filled,
    /// Cancelled, or an IOC's rest.
    Cancelled,
    /// Refused.
    Rejected,
}

/// An order as the venue reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VenueOrder {
    /// The venue's number.
    pub order_id: OrderId,
    /// The label it was sent with.
    pub label: String,
    /// Which instrument.
    pub instrument: InstrumentId,
    /// Direction.
    pub side: Side,
    /// Limit price.
    pub price: Price,
    /// Amount ordered.
    pub qty: Qty,
    /// Amount filled.
    pub filled: Qty,
    /// True where the venue guards it as reduce-only.
    pub reduce_only: bool,
    /// Where it stands.
    pub state: VenueState,
}

/// A trade of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnTrade {
    /// The venue's number of the trade.
    pub trade_id: TradeId,
    /// The order that traded.
    pub order_id: OrderId,
    /// That order's label.
    pub label: String,
    /// Which instrument.
    pub instrument: InstrumentId,
    /// Direction.
    pub side: Side,
    /// Price.
    pub price: Price,
    /// Amount.
    pub qty: Qty,
    /// The venue's time of the trade.
    pub at: TimeMs,
}

/// A position as the venue reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VenuePosition {
    /// Which instrument.
    pub instrument: InstrumentId,
    /// Signed amount.
    pub qty: Qty,
}

/// The body of a REST answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestAnswer {
    /// All open orders of the account.
    OpenOrders(Vec<VenueOrder>),
    /// All positions that are not zero.
    Positions(Vec<VenuePosition>),
    /// Own trades since the time asked for.
    OwnTrades(Vec<OwnTrade>),
    /// What the order history knows of the labels asked for.
    OrderHistory(Vec<VenueOrder>),
    /// A book.
    Book(BookSnapshot),
    /// Recent public trades of an instrument.
    RecentTrades {
        /// Which instrument.
        instrument: InstrumentId,
        /// Oldest first.
        trades: Vec<PublicTrade>,
    },
}

/// What a leg is meant to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Action {
    /// A new order.
    Place,
    /// Reduce the position in this instrument.
    Close,
    /// Reduce exposure through another instrument.
    Hedge,
    /// Anything the kernel does not know.
    Unknown,
}

/// How long an order lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TimeInForce {
    /// Fill what can be filled, cancel the rest.
    ImmediateOrCancel,
    /// Rest until filled or cancelled.
    GoodTilCancelled,
}

/// What kind of order a leg asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OrderType {
    /// At its limit or better; the only type that is ever sent.
    #[default]
    Limit,
    /// At any price.
    Market,
    /// At any price once a trigger is reached.
    StopMarket,
    /// At its limit once a trigger is reached.
    StopLimit,
}

/// One leg of a proposed group; raw values, not yet quantised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegProposal {
    /// Which instrument.
    pub instrument: InstrumentId,
    /// Direction.
    pub side: Side,
    /// What it is meant to do.
    pub action: Action,
    /// As the strategy set it; missing is not true.
    pub reduce_only: Option<bool>,
    /// Amount.
    pub qty: Qty,
    /// Limit price.
    pub price: Price,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// What kind of order it is.
    pub order_type: OrderType,
    /// True where the order is linked to another one.
    pub linked: bool,
    /// True where the order must not take liquidity.
    pub post_only: bool,
    /// The amount in contracts, in 1e-9, where the strategy states it as well.
    pub contracts: Option<Qty>,
}

/// What the net edge of a group is made of, in USD cents; a missing one fails closed. Source: AT-932.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeInputs {
    /// Edge before costs.
    pub gross_usd_cents: Option<i64>,
    /// Fees at the plain rate; a rebate is negative.
    pub fee_usd_cents: Option<i64>,
    /// Slippage that the strategy expects; never negative.
    pub slippage_usd_cents: Option<i64>,
}

impl EdgeInputs {
    /// Returns the inputs of an edge that is net already.
    #[must_use]
    pub const fn net(net_edge_usd_cents: Option<i64>) -> Self {
        Self { gross_usd_cents: net_edge_usd_cents, fee_usd_cents: Some(0), slippage_usd_cents: Some(0) }
    }
}

/// A proposed group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupProposal {
    /// The strategy, as it stands in the label (eight characters).
    pub strategy_id: String,
    /// The group, as it stands in the label (twelve characters).
    pub group_id: String,
    /// Fingerprint of the structure, for the churn breaker.
    pub structure_fingerprint: u64,
    /// What the strategy's net edge is made of.
    pub edge: EdgeInputs,
    /// The legs, leg index in order.
    pub legs: Vec<LegProposal>,
}

/// What an operator may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperatorCommand {
    /// Closes an incident for one Kill reason, named by its token.
    IncidentReset {
        /// The Kill reason's token, unchecked.
        token: String,
        /// The incident's id.
        incident_id: String,
    },
    /// Stops everything that adds risk, with Kill.
    Kill,
    /// Raises emergency reduce-only.
    EmergencyReduceOnly,
    /// Adopts positions that no trade explains, as the venue reports them.
    AdoptPositions {
        /// The incident's id.
        incident_id: String,
    },
    /// Starts containment of a group again after its rounds are used up.
    ResumeContainment {
        /// The group.
        group_id: String,
    },
}

/// Class of an intent. Source: kernel contract section 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum IntentClass {
    /// May raise risk.
    Open,
    /// Reduces a position.
    Close,
    /// Reduces exposure through another instrument.
    Hedge,
    /// The kernel's own: completes a failed leg.
    Rescue,
    /// The kernel's own: emergency close.
    EmergencyClose,
    /// The kernel's own: neutralises what a close left.
    EmergencyHedge,
}

impl IntentClass {
    /// True for the kernel's own containment orders, which pass in every mode.
    #[must_use]
    pub const fn is_containment(self) -> bool {
        match self {
            Self::Rescue | Self::EmergencyClose | Self::EmergencyHedge => true,
            Self::Open | Self::Close | Self::Hedge => false,
        }
    }
}

/// Trade lifecycle state. Source: kernel contract section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsmState {
    /// Recorded, not sent.
    Created,
    /// Sent.
    Sent,
    /// The venue has it.
    Acked,
    /// A part is filled.
    PartiallyFilled,
    /// All is filled.
    Filled,
    /// Ended without being filled in full.
    Canceled,
    /// Refused, or known to the venue nowhere.
    Failed,
}

impl TlsmState {
    /// True where nothing more can happen.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Filled | Self::Canceled | Self::Failed => true,
            Self::Created | Self::Sent | Self::Acked | Self::PartiallyFilled => false,
        }
    }
}

/// State of an atomic group. Source: kernel contract section 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GroupState {
    /// Recorded, no leg sent.
    New,
    /// Legs sent.
    Dispatched,
    /// Every leg terminal and equal.
    Complete,
    /// A leg failed.
    MixedFailed,
    /// Containment is at work.
    Flattening,
    /// Ended neutral after a failure, or without any fill.
    Flattened,
}

/// What first went wrong in a group; never overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GroupFailure {
    /// The venue refused a leg.
    LegRejected,
    /// A leg was refused before dispatch.
    LegRefused,
    /// A leg was cancelled.
    LegCancelled,
    /// A leg ended with a partial fill.
    LegPartial,
    /// A leg is known to the venue nowhere.
    LegLost,
}

/// One record of the intent ledger (the WAL of the system under drill).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerRecord {
    /// A group's intent, before any leg.
    Group {
        /// The group.
        group_id: String,
        /// The strategy.
        strategy_id: String,
        /// Structure fingerprint.
        structure_fingerprint: u64,
        /// Number of legs.
        legs: u16,
        /// When.
        at: TimeMs,
    },
    /// An intent, before it is sent.
    Intent(Box<IntentRecord>),
    /// A lifecycle step of an intent.
    Transition {
        /// Which intent.
        intent: IntentHash,
        /// The new state.
        state: TlsmState,
        /// The venue's order, once known.
        order_id: Option<OrderId>,
        /// When.
        at: TimeMs,
    },
    /// A step of a group.
    GroupTransition {
        /// Which group.
        group_id: String,
        /// The new state.
        state: GroupState,
        /// The first failure, from the moment there is one.
        failure: Option<GroupFailure>,
        /// When.
        at: TimeMs,
    },
    /// An own trade, recorded before it is applied.
    OwnTrade {
        /// The trade.
        trade: OwnTrade,
        /// The intent it belongs to, where the ledger knows it.
        intent: Option<IntentHash>,
        /// Signed coins of the underlying that it moved.
        coins: i64,
    },
    /// The hash of a venue order or trade whose intent the ledger lacks: that intent is never sent.
    Ghost {
        /// The hash in its label.
        intent: IntentHash,
        /// When.
        at: TimeMs,
    },
    /// Positions adopted by an operator.
    Adopted {
        /// The instrument.
        instrument: InstrumentId,
        /// The position from now on.
        qty: Qty,
        /// The incident's id.
        incident_id: String,
        /// When.
        at: TimeMs,
    },
    /// A group whose exposure was ever not zero ended neutral. Source: kernel contract section 7, AT-211.
    AtomicNaked {
        /// Which group.
        group_id: String,
        /// Its strategy.
        strategy_id: String,
        /// Largest absolute exposure in nano-coins.
        exposure_before: i64,
        /// Exposure left in nano-coins.
        exposure_after: i64,
        /// From the first exposure of the failed group to neutral.
        time_to_neutral_ms: i64,
        /// Close attempts of the last round.
        close_attempts: u8,
        /// True where the hedge was used.
        hedge_used: bool,
        /// The first failure.
        cause: GroupFailure,
        /// Index of the trading mode at the event, as in the registry.
        mode: u8,
        /// When.
        at: TimeMs,
    },
}

/// An intent as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentRecord {
    /// Its identity.
    pub intent: IntentHash,
    /// Its group.
    pub group_id: String,
    /// Its leg.
    pub leg: u16,
    /// Its class.
    pub class: IntentClass,
    /// Which instrument.
    pub instrument: InstrumentId,
    /// Direction.
    pub side: Side,
    /// Quantised amount.
    pub qty: Qty,
    /// Quantised limit price.
    pub price: Price,
    /// As set on the wire.
    pub reduce_only: bool,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// Its label on the wire.
    pub label: String,
    /// When it was recorded.
    pub at: TimeMs,
}
