//! Everything the kernel can ask for.
//!
//! The kernel learns what became of an effect only through a later event. On replay nobody carries effects out; they are
//! compared with the recorded ones.

use alloc::{boxed::Box, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    event::{IntentClass, LedgerRecord, TimeInForce},
    registry::RejectReason,
    slot::Slot,
    units::{InstrumentId, IntentHash, OrderId, Price, Qty, RequestId, Side, TimeMs},
};

/// A request to the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Put a record into the ledger's queue; the kernel has already counted it.
    Enqueue(LedgerRecord),
    /// Write the sticky slot through.
    WriteSlot(Box<Slot>),
    /// Send an order.
    Place(Box<OrderRequest>),
    /// Cancel an order.
    Cancel(CancelRequest),
    /// Refuse an intent before dispatch.
    Refuse(Refusal),
    /// Ask the venue over REST.
    Rest {
        /// The request's number.
        request: RequestId,
        /// The question.
        query: RestQuery,
    },
    /// Connect (or drop and reconnect) the public socket; subscribing follows once it is open.
    ConnectPublic,
    /// Connect (or drop and reconnect) the private socket; authenticating follows once it is open.
    ConnectPrivate,
    /// Authenticate on the private socket.
    Authenticate,
    /// Subscribe to all market data on the public socket.
    Subscribe,
    /// Subscribe to one instrument's book again.
    ResubscribeBook(InstrumentId),
    /// Send a keep-alive on the public socket.
    KeepAlivePublic,
    /// Send a keep-alive on the private socket.
    KeepAlivePrivate,
    /// Something worth knowing happened.
    Note(Note),
}

/// Which way a request takes. Source: kernel contract section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// The private socket.
    Socket,
    /// REST, while there is no private socket.
    Rest,
}

/// An order to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRequest {
    /// The intent it carries out.
    pub intent: IntentHash,
    /// Its class.
    pub class: IntentClass,
    /// Label on the wire.
    pub label: String,
    /// Which instrument.
    pub instrument: InstrumentId,
    /// Direction.
    pub side: Side,
    /// Amount.
    pub qty: Qty,
    /// Limit price.
    pub price: Price,
    /// Reduce-only on the wire.
    pub reduce_only: bool,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// Which way.
    pub route: Route,
}

/// An order to cancel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// The venue's number, where it is known.
    pub order_id: Option<OrderId>,
    /// The label it was sent with.
    pub label: String,
    /// Why.
    pub why: CancelReason,
    /// Which way.
    pub route: Route,
}

/// Why an order is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CancelReason {
    /// The strategy asked for it.
    Strategy,
    /// The mode is not Active and the order is not reduce-only.
    ModeNotActive,
    /// Its group failed.
    GroupFailed,
    /// It is older than `stale_order_sec`.
    Stale,
    /// The ledger has no intent for it.
    Ghost,
}

/// An intent refused before dispatch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The group it belongs to.
    pub group_id: String,
    /// Its leg.
    pub leg: u16,
    /// Its class; `None` for a cancel or replace.
    pub class: Option<IntentClass>,
    /// Why.
    pub code: RejectReason,
}

/// A question to the venue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestQuery {
    /// All open orders.
    OpenOrders,
    /// All positions.
    Positions,
    /// Own trades since a time.
    OwnTrades {
        /// From when, inclusive.
        since: TimeMs,
    },
    /// The order history of labels.
    OrderHistory {
        /// The labels in doubt.
        labels: Vec<String>,
    },
    /// A book.
    Book(InstrumentId),
    /// Recent public trades.
    RecentTrades(InstrumentId),
}

/// What is worth knowing but changes nothing by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// A fill came before its acknowledgement. Source: AT-230.
    FillBeforeAck(IntentHash),
    /// An order update for an intent the ledger lacks.
    UnknownOrder(OrderId),
    /// A REST answer that is late, repeated or of another run was dropped.
    AnswerDropped(RequestId),
    /// A public trade that was already processed was dropped.
    DuplicateTrade(InstrumentId),
    /// An own trade that was already processed was dropped.
    DuplicateOwnTrade(IntentHash),
    /// A message that does not follow from the order's state was ignored.
    IllegalTransition(IntentHash),
    /// A book or trades gap was seen.
    Gap(InstrumentId),
    /// A run of reconciliation began.
    RunStarted,
    /// A run of reconciliation succeeded.
    RunSucceeded,
    /// A run of reconciliation failed.
    RunFailed(RunFailure),
    /// Something that reconciling, sweeping or containing found is being put right. Source: AT-122, AT-124.
    Corrected {
        /// How, from the closed list.
        action: CorrectiveAction,
        /// The label of the order or the id of the group that it concerns.
        of: String,
    },
    /// A ghost order is being cancelled. Source: AT-122.
    GhostOrderCanceled(OrderId),
    /// The churn breaker tripped. Source: AT-221.
    ChurnBreakerTrip(u64),
    /// A token that is not in the registry was reported.
    UnknownToken(String),
    /// A containment order could not be priced. Source: AT-938.
    EmergencyCloseNoPrice(InstrumentId),
    /// Containment of a group used up its rounds and waits for an operator.
    RoundsExhausted(String),
    /// A frame was rejected.
    FrameRejected(Option<InstrumentId>),
    /// The book is too thin for an OPEN. Source: AT-222.
    LiquidityGateReject {
        /// Which instrument.
        instrument: InstrumentId,
        /// Average price over the amount, weighted, rounded towards the worse.
        wap: Price,
        /// Its distance from the best price in basis points, rounded up.
        slippage_bps: i64,
    },
    /// The venue says that an instrument is gone for good. Source: AT-949.
    ExpiredOrDelisted(InstrumentId),
}

/// The closed list of corrective actions. Source: kernel contract section 3; AT-122, AT-124.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CorrectiveAction {
    /// A ghost order, or one that is too old, is cancelled.
    CancelStaleOrder,
    /// What is left of an order that was too old is proposed again, immediate-or-cancel.
    ReplaceIoc,
    /// A failed group with a fill is closed.
    EmergencyFlattenGroup,
    /// What closes left is neutralised on the perpetual.
    ReduceOnlyDeltaHedge,
}

impl CorrectiveAction {
    /// Every action there is.
    pub const ALL: [Self; 4] =
        [Self::CancelStaleOrder, Self::ReplaceIoc, Self::EmergencyFlattenGroup, Self::ReduceOnlyDeltaHedge];

    /// Returns the contract's name of the action.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CancelStaleOrder => "CancelStaleOrder",
            Self::ReplaceIoc => "ReplaceIOC",
            Self::EmergencyFlattenGroup => "EmergencyFlattenGroup",
            Self::ReduceOnlyDeltaHedge => "ReduceOnlyDeltaHedge",
        }
    }
}

/// Why a run of reconciliation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RunFailure {
    /// A request was refused.
    Refused,
    /// A request was not answered in time.
    TimedOut,
    /// Positions differ from cumulative fills.
    PositionMismatch,
    /// A ghost order or an orphan fill was found.
    Ghost,
    /// A feed is not whole.
    FeedNotWhole,
    /// A label can't be matched to one intent.
    AmbiguousLabel,
}
