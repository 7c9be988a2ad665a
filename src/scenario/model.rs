//! A checked scenario: what the world is, what happens to it, what must hold.
//!
//! These are the types that the rest of the crate works with. `raw.rs` has the tables as a person writes them, `check.rs`
//! turns one into the other. A scenario acts on the world and on inputs only: nothing here can name a kernel field or write
//! a `/status` key.

use drillfold_kernel::{
    event::{InstrumentKind, LegProposal, OperatorCommand, OutputQueue, Override, Producer},
    units::{Ppm, Price, Qty, Side, TimeMs},
};

/// A scenario, or one variant of it, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Name, as its file: `drill_2_market_data_stale`.
    pub name: String,
    /// Name of the variant; `None` for the scenario itself.
    pub variant: Option<String>,
    /// Number of the checklist's drill, if it is one.
    pub drill: Option<u8>,
    /// The matrix that it is a row of, if it is one; never of a drill.
    pub matrix: Option<Matrix>,
    /// One line for tables.
    pub title: String,
    /// What the scenario shows, for the pack.
    pub shows: String,
    /// Seed of every random stream.
    pub seed: u64,
    /// Simulated time of the first event.
    pub start: TimeMs,
    /// How long the simulation runs, in milliseconds.
    pub duration_ms: i64,
    /// Most events the run may have.
    pub events_max: u64,
    /// The build that is drilled.
    pub build_id: String,
    /// Overrides of `specs/config/defaults.toml`, by name, in name order.
    pub config: Vec<(String, toml::Value)>,
    /// The world at the start.
    pub world: World,
    /// What the strategy keeps proposing.
    pub strategy: Strategy,
    /// The timeline, by time; equal times in file order.
    pub steps: Vec<Step>,
    /// Named statuses to take.
    pub snapshots: Vec<Snapshot>,
    /// What must hold.
    pub expectations: Vec<Expectation>,
    /// For the pack: what the drill leaves open.
    pub risks: Vec<String>,
    /// SHA-256 over the scenario file's text.
    pub digest: [u8; 32],
}

/// A set of scenarios that goes through a list of the contract row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matrix {
    /// Mode reasons and latch codes, one scenario each.
    Reasons,
    /// The crash matrix.
    Crash,
    /// The reconciliation matrix.
    Reconcile,
}

impl Matrix {
    /// Returns the name of its folder, below `scenarios/` and below `fixtures/status/`.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Reasons => "reasons",
            Self::Crash => "crash",
            Self::Reconcile => "reconcile",
        }
    }
}

/// The world at the start of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// Instruments the venue lists, in table order; all are subscribed.
    pub instruments: Vec<InstrumentSetup>,
    /// How the synthetic market moves.
    pub market: Market,
    /// Path of a recorded feed, relative to the scenario file, that is played beside the synthetic market.
    pub recording: Option<String>,
    /// False where the venue answers no keep-alives on the public socket, so that it is silent where its feed is.
    pub keepalives: bool,
    /// One-way delays in milliseconds, lowest and highest, both included.
    pub latency: Latency,
    /// Host samples and their pace.
    pub host: Host,
    /// How the ledger's writer drains.
    pub ledger: LedgerWriter,
    /// Inputs that the boot event lacks, by name (see `Withheld`).
    pub withhold: Vec<Withheld>,
}

/// One listed instrument.
#[derive(Clone, Debug, PartialEq)]
pub struct InstrumentSetup {
    /// Venue's name.
    pub name: String,
    /// What it is.
    pub kind: InstrumentKind,
    /// Its underlying, such as BTC.
    pub underlying: String,
    /// Smallest price step.
    pub tick_size: Price,
    /// Smallest amount step.
    pub amount_step: Qty,
    /// Smallest order.
    pub min_amount: Qty,
    /// Mid price at the start.
    pub mid: Price,
    /// Amount on each level of the synthetic book.
    pub level_qty: Qty,
    /// Option delta.
    pub delta: Option<Ppm>,
    /// False for instruments that come from the recording only.
    pub synthetic: bool,
}

/// Pace of the synthetic market; a pace of 0 switches that part off.
#[derive(Clone, Debug, PartialEq)]
pub struct Market {
    /// A book change of each instrument every so many ms.
    pub book_every_ms: i64,
    /// Random part added to `book_every_ms`, 0 to this many ms.
    pub book_jitter_ms: i64,
    /// A public trade of each instrument every so many ms.
    pub trades_every_ms: i64,
    /// A ticker of each instrument every so many ms.
    pub ticker_every_ms: i64,
    /// Levels a side.
    pub levels: u16,
    /// Largest step of the mid price at a change, in ticks.
    pub walk_ticks: i64,
    /// Index price in USD of each underlying, by name.
    pub index: Vec<(String, Price)>,
}

/// One-way delays, (lowest, highest) in ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Venue to us on the public socket.
    pub public_ms: (i64, i64),
    /// Each way on the private socket.
    pub private_ms: (i64, i64),
    /// Each way over REST.
    pub rest_ms: (i64, i64),
}

/// What the host reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Host samples every so many ms.
    pub sample_every_ms: i64,
    /// Watchdog heartbeat every so many ms.
    pub heartbeat_every_ms: i64,
    /// Policy, certificate and fee model every so many ms.
    pub refresh_every_ms: i64,
    /// Maintenance-margin utilisation.
    pub mm_util: Ppm,
    /// Use of the primary disk.
    pub disk: Ppm,
    /// Use of the second disk.
    pub disk_secondary: Ppm,
    /// Clock drift in ms.
    pub drift_ms: i64,
    /// The volatility index, read each second; 500_000 is 50 %.
    pub volatility: Ppm,
}

/// How the ledger's writer drains its queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LedgerWriter {
    /// A batch every so many ms.
    pub drain_every_ms: i64,
    /// Records a batch at most.
    pub batch: u32,
}

/// Inputs a boot may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Withheld {
    /// Margin sample.
    Margin,
    /// Primary disk sample.
    DiskPrimary,
    /// Second disk sample.
    DiskSecondary,
    /// Watchdog heartbeat.
    Heartbeat,
    /// Loop tick.
    LoopTick,
    /// Policy generation time.
    Policy,
    /// Certificate.
    Certificate,
    /// Fee model's time.
    FeeModel,
    /// Clock drift.
    Drift,
    /// Override producers.
    Overrides,
    /// Round trips of the handshake.
    RoundTrips,
    /// The session-kill flag.
    SessionFlag,
    /// The count of 10028.
    SessionCount,
}

/// What the host reports by itself; a step may stop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostInput {
    /// Margin sample.
    Margin,
    /// Primary disk sample.
    DiskPrimary,
    /// Second disk sample.
    DiskSecondary,
    /// Watchdog heartbeat.
    Heartbeat,
    /// Loop tick.
    LoopTick,
    /// Policy.
    Policy,
    /// Certificate.
    Certificate,
    /// Fee model.
    FeeModel,
    /// Clock drift.
    Drift,
    /// Instrument metadata.
    Metadata,
}

impl HostInput {
    /// How many there are.
    pub const COUNT: usize = 10;

    /// Returns the place in tables that have one entry an input.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Margin => 0,
            Self::DiskPrimary => 1,
            Self::DiskSecondary => 2,
            Self::Heartbeat => 3,
            Self::LoopTick => 4,
            Self::Policy => 5,
            Self::Certificate => 6,
            Self::FeeModel => 7,
            Self::Drift => 8,
            Self::Metadata => 9,
        }
    }
}

/// How an input of the host comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputState {
    /// At its pace, new each time.
    Fresh,
    /// Nothing new: the last reading goes on ageing.
    Silent,
    /// It can't be read: missing. What is only ever seen to come is silent.
    Unreadable,
}

/// What the certificate on disk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateState {
    /// It passes and binds what runs.
    Passed,
    /// It binds what runs and says FAIL.
    Failed,
    /// It binds another build.
    OtherBuild,
    /// It binds another configuration.
    OtherConfig,
    /// It binds another version of the contract.
    OtherContract,
}

/// What the strategy keeps proposing; a pace of 0 switches that part off.
#[derive(Clone, Debug, PartialEq)]
pub struct Strategy {
    /// An OPEN of one leg every so many ms.
    pub open_every_ms: i64,
    /// A reduce-only close every so many ms, while there is a position.
    pub close_every_ms: i64,
    /// A cancel of a resting order of ours every so many ms, while there is one.
    pub cancel_every_ms: i64,
    /// Every so many OPENs, one rests far from the market instead of crossing; 0 never.
    pub resting_every: u32,
    /// Instruments it trades, by index.
    pub instruments: Vec<usize>,
    /// Amount of an OPEN.
    pub open_qty: Qty,
    /// Amount of a close.
    pub close_qty: Qty,
    /// Above this absolute position no OPEN of a crossing kind is proposed in that instrument's direction.
    pub position_max: Qty,
    /// When it begins, ms from the start.
    pub from_ms: i64,
}

/// One step of the timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When, ms from the start.
    pub at_ms: i64,
    /// True for the one step that is the drill's trigger.
    pub trigger: bool,
    /// What happens, in words.
    pub says: String,
    /// What happens.
    pub action: Action,
}

/// What a step does to the world or feeds in.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The venue stops sending market data; keep-alives go on.
    StopMarketData,
    /// The venue sends market data again.
    ResumeMarketData,
    /// The network loses this many of the next book changes of an instrument.
    DropBookChanges {
        /// Index of the instrument.
        instrument: usize,
        /// How many.
        count: u32,
    },
    /// The network loses this many of the next trade messages of an instrument.
    DropTrades {
        /// Index of the instrument.
        instrument: usize,
        /// How many.
        count: u32,
    },
    /// The network delivers the next trade messages of an instrument twice.
    RepeatTrades {
        /// Index of the instrument.
        instrument: usize,
        /// How many.
        count: u32,
    },
    /// The venue's next trade of an instrument carries a `trade_seq` that is this much too low.
    StepBackTrades {
        /// Index of the instrument.
        instrument: usize,
        /// By how much.
        by: u64,
    },
    /// The network delivers the next own-trade messages twice.
    RepeatOwnTrades {
        /// How many.
        count: u32,
    },
    /// The venue refuses the next orders that match.
    RejectOrders {
        /// Index of the instrument; `None` any.
        instrument: Option<usize>,
        /// True: only orders of the strategy's groups, not containment.
        only_legs: bool,
        /// How many.
        count: u32,
        /// The venue's error code.
        code: i32,
    },
    /// The venue leaves the next matching immediate orders unfilled, or fills a share of them.
    StarveOrders {
        /// Index of the instrument; `None` any.
        instrument: Option<usize>,
        /// How many.
        count: u32,
        /// Share that is filled, parts per million, rounded down to the amount step.
        fill: Ppm,
    },
    /// The strategy proposes this group.
    ProposeGroup {
        /// Net edge in USD cents.
        net_edge_usd_cents: Option<i64>,
        /// The legs; a price of zero means: cross the market at that moment by ten ticks.
        legs: Vec<LegProposal>,
    },
    /// The ledger's writer stops draining.
    StallLedger,
    /// The ledger's writer drains again.
    ResumeLedger,
    /// `kill -9` now; the process starts again later.
    Crash {
        /// Down for so many ms.
        down_ms: i64,
        /// What survives of the queue.
        flush: bool,
        /// True: the next boot finds the ledger damaged beyond a torn tail.
        damage: bool,
    },
    /// `kill -9` when a point is reached.
    CrashAt {
        /// Where.
        point: CrashPoint,
        /// At which occurrence after the step, from 1.
        nth: u32,
        /// Down for so many ms.
        down_ms: i64,
    },
    /// A clean stop and a start with another build or configuration.
    Redeploy {
        /// The new build.
        build_id: String,
        /// Down for so many ms.
        down_ms: i64,
    },
    /// The venue answers 10028 on the private socket and then closes it.
    TooManyRequests,
    /// The venue ends the private session.
    EndSession,
    /// The key is revoked: the session ends, and so many authentications are refused.
    RevokeKey {
        /// How many authentications are refused.
        refused: u32,
    },
    /// The next authentications are refused with a code.
    RefuseAuthentication {
        /// How many.
        count: u32,
        /// The venue's error code.
        code: i32,
    },
    /// The private socket is lost.
    DropPrivateSocket,
    /// The public socket is lost.
    DropPublicSocket,
    /// The next REST requests are refused with a code (429).
    RefuseRest {
        /// How many.
        count: u32,
        /// HTTP status or venue error code.
        code: i32,
    },
    /// The next REST requests are not answered at all.
    LoseRest {
        /// How many.
        count: u32,
    },
    /// A subsystem reports with a token.
    ReportToken {
        /// Who.
        subsystem: String,
        /// The token.
        token: String,
    },
    /// An operator acts.
    Operator(OperatorCommand),
    /// The margin utilisation from now on.
    SetMargin(Ppm),
    /// The disks from now on.
    SetDisk {
        /// Primary.
        primary: Ppm,
        /// Secondary.
        secondary: Ppm,
    },
    /// The watchdog's heartbeat stops or goes on.
    SetHeartbeat(bool),
    /// The clock drift from now on, in ms.
    SetDrift(i64),
    /// How an input of the host comes from now on.
    SetInput {
        /// Which.
        input: HostInput,
        /// How.
        state: InputState,
    },
    /// The certificate on disk from now on.
    SetCertificate(CertificateState),
    /// One-way delays from now on; `None` leaves them as they are.
    SetLatency {
        /// As `Latency::public_ms`.
        public_ms: Option<(i64, i64)>,
        /// As `Latency::private_ms`.
        private_ms: Option<(i64, i64)>,
        /// As `Latency::rest_ms`.
        rest_ms: Option<(i64, i64)>,
    },
    /// The account limits are fetched.
    FetchLimits {
        /// True where that succeeds.
        succeeds: bool,
        /// How often, at this moment.
        count: u32,
    },
    /// An output queue of the loop is sampled.
    SampleQueue {
        /// Which.
        queue: OutputQueue,
        /// Items waiting.
        depth: u32,
        /// Its bound.
        capacity: u32,
    },
    /// The group lock is tried: true where it can't be had in time.
    TryGroupLock(bool),
    /// The rate limiter's bucket is sampled.
    SampleLimiter(i64),
    /// The venue takes an order with a label of ours that this process never sent.
    StrayOrder {
        /// Index of the instrument.
        instrument: usize,
        /// Direction.
        side: Side,
        /// Amount.
        qty: Qty,
        /// True: it rests far from the market. False: it is filled at once.
        rests: bool,
    },
    /// The venue's books show another position, by no trade of ours.
    ShiftPosition {
        /// Index of the instrument.
        instrument: usize,
        /// What is added to it; signed.
        qty: Qty,
    },
    /// An override producer's signal from now on.
    SetOverride {
        /// Who.
        producer: Producer,
        /// What.
        signal: Override,
    },
    /// The market of the reference instrument from now on.
    SetMarket(MarketStress),
    /// What the venue announces from now on; it is polled at once.
    Announce(Announcements),
    /// The strategy's pace from now on; `None` leaves a value as it is.
    SetStrategy {
        /// As `Strategy::open_every_ms`.
        open_every_ms: Option<i64>,
        /// As `Strategy::close_every_ms`.
        close_every_ms: Option<i64>,
        /// As `Strategy::cancel_every_ms`.
        cancel_every_ms: Option<i64>,
    },
}

/// How the reference instrument's market differs from the world's; by default not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarketStress {
    /// The best prices are at least so many basis points of their middle apart.
    pub spread_bps: i64,
    /// USD on the five best levels of each side.
    pub depth_usd: Option<i64>,
    /// The index is so many basis points of the mark above it.
    pub basis_bps: i64,
    /// The volatility index in place of the host's.
    pub volatility: Option<Ppm>,
}

/// What a poll of the venue's announcements finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Announcements {
    /// Nothing is announced.
    #[default]
    Nothing,
    /// A maintenance.
    Maintenance {
        /// When it starts, ms after the step.
        in_ms: i64,
        /// How long it lasts, ms.
        for_ms: i64,
    },
    /// They can't be read.
    Unreachable,
}

macro_rules! action_kinds {
    ($($pattern:pat => $name:literal,)*) => {
        /// The names of all actions, as they stand behind `do.` in a scenario file.
        pub const ACTION_KINDS: &[&str] = &[$($name,)*];

        impl Action {
            /// Returns the action's name in a scenario file.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self {
                    $($pattern => $name,)*
                }
            }
        }
    };
}

action_kinds! {
    Self::StopMarketData => "stop_market_data",
    Self::ResumeMarketData => "resume_market_data",
    Self::DropBookChanges { .. } => "drop_book_changes",
    Self::DropTrades { .. } => "drop_trades",
    Self::RepeatTrades { .. } => "repeat_trades",
    Self::StepBackTrades { .. } => "step_back_trades",
    Self::RepeatOwnTrades { .. } => "repeat_own_trades",
    Self::RejectOrders { .. } => "reject_orders",
    Self::StarveOrders { .. } => "starve_orders",
    Self::ProposeGroup { .. } => "propose_group",
    Self::StallLedger => "stall_ledger",
    Self::ResumeLedger => "resume_ledger",
    Self::Crash { .. } => "crash",
    Self::CrashAt { .. } => "crash_at",
    Self::Redeploy { .. } => "redeploy",
    Self::TooManyRequests => "too_many_requests",
    Self::EndSession => "end_session",
    Self::RevokeKey { .. } => "revoke_key",
    Self::RefuseAuthentication { .. } => "refuse_authentication",
    Self::DropPrivateSocket => "drop_private_socket",
    Self::DropPublicSocket => "drop_public_socket",
    Self::RefuseRest { .. } => "refuse_rest",
    Self::LoseRest { .. } => "lose_rest",
    Self::ReportToken { .. } => "report_token",
    Self::Operator(OperatorCommand::IncidentReset { .. }) => "operator.incident_reset",
    Self::Operator(OperatorCommand::Kill) => "operator.kill",
    Self::Operator(OperatorCommand::EmergencyReduceOnly) => "operator.emergency_reduce_only",
    Self::Operator(OperatorCommand::AdoptPositions { .. }) => "operator.adopt_positions",
    Self::Operator(OperatorCommand::ResumeContainment { .. }) => "operator.resume_containment",
    Self::SetMargin(_) => "set_margin",
    Self::SetDisk { .. } => "set_disk",
    Self::SetHeartbeat(_) => "set_heartbeat",
    Self::SetDrift(_) => "set_drift",
    Self::SetInput { .. } => "set_input",
    Self::SetCertificate(_) => "set_certificate",
    Self::SetLatency { .. } => "set_latency",
    Self::SetMarket(_) => "set_market",
    Self::Announce(Announcements::Nothing) => "announce.nothing",
    Self::Announce(Announcements::Maintenance { .. }) => "announce.maintenance",
    Self::Announce(Announcements::Unreachable) => "announce.unreachable",
    Self::FetchLimits { .. } => "fetch_limits",
    Self::SampleQueue { .. } => "sample_queue",
    Self::TryGroupLock(_) => "try_group_lock",
    Self::SampleLimiter(_) => "sample_limiter",
    Self::StrayOrder { .. } => "stray_order",
    Self::ShiftPosition { .. } => "shift_position",
    Self::SetOverride { .. } => "set_override",
    Self::SetStrategy { .. } => "set_strategy",
}

/// Where a crash strikes, seen from one intent of the strategy. Source: decisions 15, 29; crash matrix CM-001 to CM-013.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CrashPoint {
    /// Before the intent's record reached the queue.
    BeforeRecord,
    /// The record is durable, nothing is sent.
    AfterRecord,
    /// The order is sent, its mark is not recorded.
    BeforeSentRecord,
    /// The order is sent and the mark is durable, no acknowledgement yet.
    AfterSend,
    /// The acknowledgement arrived at the host and was not processed.
    BeforeAck,
    /// The acknowledgement is processed.
    AfterAck,
    /// The venue filled, the message was not processed.
    BeforeFill,
    /// The fill is processed.
    AfterFill,
    /// Between the requests of a run of reconciliation.
    InReconciliation,
}

/// A named `/status`.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Its name: `baseline`, `tripped`, `recovering`, `cleared`, `redeployed`.
    pub name: String,
    /// When it is taken.
    pub when: SnapshotWhen,
}

/// When a snapshot is taken.
#[derive(Clone, Debug, PartialEq)]
pub enum SnapshotWhen {
    /// After the last event at or before this many ms from the start.
    At(i64),
    /// After the first event, later than the snapshot or trigger before it in the file, for which the expression holds.
    Holds(String),
}

/// Something that must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// Id of the checklist's criterion that it proves.
    pub criterion: String,
    /// What it says, in words.
    pub says: String,
    /// First event it looks at.
    pub from: Bound,
    /// Last event it looks at.
    pub to: Bound,
    /// What is asked.
    pub kind: ExpectationKind,
}

/// An end of the range of an expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The first event.
    Start,
    /// The trigger's mark.
    Trigger,
    /// The event of a snapshot.
    Snapshot(String),
    /// The last event.
    End,
}

/// What an expectation asks; expressions are over status keys and facts (judge room).
#[derive(Clone, Debug, PartialEq)]
pub enum ExpectationKind {
    /// Holds after every event of the range.
    Always(String),
    /// Holds after no event of the range.
    Never(String),
    /// Holds after at least one event of the range.
    Sometimes(String),
    /// Holds at the latest so many loop ticks after the range's first event.
    WithinTicks {
        /// How many ticks.
        ticks: u32,
        /// What.
        holds: String,
    },
    /// `forbidden` does not hold before `release` does; and `release` comes.
    Until {
        /// What ends the ban.
        release: String,
        /// What must not be before.
        forbidden: String,
    },
    /// A number that never rises over the range.
    NeverRises(String),
    /// A number that grows by exactly this much over the range.
    Grows {
        /// Which.
        value: String,
        /// By how much.
        by: i64,
    },
}

impl Scenario {
    /// Returns the name with the variant's behind a slash, where it is one.
    #[must_use]
    pub fn full_name(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{}/{variant}", self.name),
            None => self.name.clone(),
        }
    }
}
