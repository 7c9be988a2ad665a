//! What a run shows after each event: its status and facts, by the places of [`super::facts::NAMES`].
//!
//! The observer only looks: it is told events and effects and reads the kernel's projections. Counts go over the whole run
//! and do not start again at a boot.

use std::{borrow::Cow, collections::BTreeSet};

use drillfold_kernel::{
    Kernel,
    effect::{Effect, Note},
    event::{Event, GroupState, IntentClass, LedgerRecord},
    registry::RejectReason,
    status::Status,
    units::{IntentHash, Seq, TimeMs},
};
use serde_json::Value as Json;

use super::{
    expr::{Number, Value},
    facts::{NAMES, STATUS_KEYS, event_kind},
};
use crate::contract::owner_view;

/// A value that outlives the event it was taken after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// No value.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(Cow<'static, str>),
    /// A list of tokens.
    List(Vec<&'static str>),
}

impl Cell {
    /// Returns the cell as an expression's value.
    #[must_use]
    pub fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(value) => Value::Number(*value),
            Self::Text(text) => Value::Text(text),
            Self::List(tokens) => Value::List(tokens.clone()),
        }
    }

    fn count(value: u64) -> Self {
        Self::Number(Number::whole(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    const fn whole(value: i64) -> Self {
        Self::Number(Number::whole(value))
    }
}

/// Counts since the run's first event.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// OPENs sent.
    pub open_dispatched: u64,
    /// The strategy's closes and hedges sent.
    pub reducing_dispatched: u64,
    /// Containment orders sent.
    pub containment_dispatched: u64,
    /// Cancel requests sent.
    pub cancels_dispatched: u64,
    /// OPENs refused.
    pub open_refused: u64,
    /// OPENs refused by the mode.
    pub refused_by_mode: u64,
    /// OPENs refused by the latch.
    pub refused_by_latch: u64,
    /// OPENs refused because they could not be recorded.
    pub refused_by_record: u64,
    /// All refusals.
    pub refused_total: u64,
    /// All orders sent.
    pub sends_total: u64,
    /// Orders sent whose intent had been sent before, over all boots.
    pub duplicate_sends: u64,
    /// Unsent intents of an earlier boot that were sent.
    pub unsent_resent: u64,
    /// Runs of reconciliation begun.
    pub runs_started: u64,
    /// Runs that succeeded.
    pub runs_succeeded: u64,
    /// Runs that failed.
    pub runs_failed: u64,
    /// Loop ticks.
    pub ticks: u64,
    /// Terminations of the private session and refusals of authentication, as the venue sent them.
    pub terminations: u64,
    /// Boots.
    pub boots: u64,
    /// AtomicNakedEvents.
    pub naked_events: u64,
    /// Emergency close attempts.
    pub close_attempts: u64,
    /// Emergency hedges.
    pub hedges: u64,
    /// Rescue attempts.
    pub rescues: u64,
    /// Ghost orders cancelled.
    pub ghosts_canceled: u64,
    /// Own trades applied.
    pub own_trades: u64,
    /// Own trades on the private socket that were dropped as known.
    pub duplicate_own_trades: u64,
    /// Public trades processed in earlier boots and in this one.
    pub trades_processed: u64,
    /// Public trades dropped as known, likewise.
    pub duplicate_trades: u64,
}

/// What went out in one event.
#[derive(Clone, Copy, Debug, Default)]
struct Now {
    open: bool,
    reducing: bool,
    containment: bool,
    cancel: bool,
    refused_open: bool,
}

/// Looks at a run.
#[derive(Debug, Default)]
pub struct Observer {
    counts: Counts,
    sent: BTreeSet<IntentHash>,
    trades_in_boot: (u64, u64),
    status: Option<Status>,
    event: &'static str,
    gap: bool,
    now: Now,
    trigger_at: Option<TimeMs>,
    at: TimeMs,
    seq: Seq,
    exposure: i64,
    group_exposure: i64,
    open_orders: u64,
}

impl Observer {
    /// Tells the observer that the trigger takes place now.
    pub const fn trigger(&mut self, at: TimeMs) {
        self.trigger_at = Some(at);
    }

    /// Looks at what one event did.
    pub fn after(&mut self, seq: Seq, at: TimeMs, event: &Event, effects: &[Effect], kernel: &Kernel) {
        (self.seq, self.at) = (seq, at);
        self.event = event_kind(event);
        self.gap = false;
        self.now = Now::default();
        match event {
            Event::Booted(_) => {
                self.counts.boots += 1;
                self.trades_in_boot = (0, 0);
            }
            Event::LoopTicked if kernel.core.up => self.counts.ticks += 1,
            Event::VenueErrored { code: 10028 }
            | Event::AuthenticationRefused { code: 10028 }
            | Event::SocketClosed {
                cause:
                    drillfold_kernel::event::CloseCause::SessionEnded | drillfold_kernel::event::CloseCause::KeyRevoked,
                ..
            } => self.counts.terminations += 1,
            _ => {}
        }
        let proposal = matches!(event, Event::GroupProposed(_) | Event::ReplaceProposed { .. });
        for effect in effects {
            self.count(effect, proposal);
        }
        if matches!(event, Event::OwnTraded(_)) {
            let copies = effects.iter().filter(|effect| matches!(effect, Effect::Note(Note::DuplicateOwnTrade(_))));
            self.counts.duplicate_own_trades += u64::try_from(copies.count()).unwrap_or(u64::MAX);
        }
        let trades = (kernel.feeds.trades_processed, kernel.feeds.trades_dropped);
        self.counts.trades_processed += trades.0.saturating_sub(self.trades_in_boot.0);
        self.counts.duplicate_trades += trades.1.saturating_sub(self.trades_in_boot.1);
        self.trades_in_boot = trades;
        self.status = kernel.status();
        self.look(kernel);
    }

    fn count(&mut self, effect: &Effect, proposal: bool) {
        let counts = &mut self.counts;
        match effect {
            Effect::Place(order) => {
                counts.sends_total += 1;
                if !self.sent.insert(order.intent) {
                    counts.duplicate_sends += 1;
                }
                match order.class {
                    IntentClass::Open => {
                        counts.open_dispatched += 1;
                        self.now.open = true;
                    }
                    IntentClass::Close | IntentClass::Hedge => {
                        counts.reducing_dispatched += 1;
                        self.now.reducing = true;
                    }
                    IntentClass::Rescue => counts.rescues += 1,
                    IntentClass::EmergencyClose => counts.close_attempts += 1,
                    IntentClass::EmergencyHedge => counts.hedges += 1,
                }
                if order.class.is_containment() {
                    counts.containment_dispatched += 1;
                    self.now.containment = true;
                } else if !proposal {
                    counts.unsent_resent += 1;
                }
            }
            Effect::Cancel(_) => {
                counts.cancels_dispatched += 1;
                self.now.cancel = true;
            }
            Effect::Refuse(refusal) => {
                counts.refused_total += 1;
                if refusal.class == Some(IntentClass::Open) {
                    counts.open_refused += 1;
                    self.now.refused_open = true;
                    match refusal.code {
                        RejectReason::TradingModeForbids => counts.refused_by_mode += 1,
                        RejectReason::OpenPermissionLatched => counts.refused_by_latch += 1,
                        RejectReason::RecordedBeforeDispatchFailed => counts.refused_by_record += 1,
                        _ => {}
                    }
                }
            }
            Effect::Enqueue(LedgerRecord::OwnTrade { .. }) => counts.own_trades += 1,
            Effect::Note(note) => match note {
                Note::RunStarted => counts.runs_started += 1,
                Note::RunSucceeded => counts.runs_succeeded += 1,
                Note::RunFailed(_) => counts.runs_failed += 1,
                Note::GhostOrderCanceled(_) => counts.ghosts_canceled += 1,
                Note::Gap(_) => self.gap = true,
                _ => {}
            },
            _ => {}
        }
    }

    fn look(&mut self, kernel: &Kernel) {
        self.exposure = kernel.total_exposure();
        self.group_exposure = kernel
            .groups
            .all
            .iter()
            .filter(|(_, group)| {
                group.failure.is_some() && (group.ended_at.is_none() || group.state == GroupState::Flattened)
            })
            .fold(0i64, |sum, (id, _)| sum.saturating_add(kernel.group_exposure(id).saturating_abs()));
        self.open_orders = u64::try_from(kernel.orders.live.len()).unwrap_or(u64::MAX);
        let naked = kernel.naked_events_24h();
        self.counts.naked_events = self.counts.naked_events.max(naked);
    }

    /// Returns the status after the last event; `None` while no process is up.
    #[must_use]
    pub const fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// Returns the counts after the last event.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the absolute net exposure per underlying after the last event, summed, in 1e-9 coins.
    #[must_use]
    pub const fn exposure(&self) -> i64 {
        self.exposure
    }

    /// True where the last event sent an OPEN.
    #[must_use]
    pub const fn open_sent_now(&self) -> bool {
        self.now.open
    }

    /// Returns the value of a name by its place in [`NAMES`].
    #[must_use]
    pub fn cell(&self, place: usize) -> Cell {
        let Some((name, _)) = NAMES.get(place) else {
            return Cell::Null;
        };
        if place < STATUS_KEYS.len() {
            self.status.as_ref().map_or(Cell::Null, |status| status_cell(name, status))
        } else {
            self.fact_cell(name)
        }
    }

    fn fact_cell(&self, name: &str) -> Cell {
        let counts = &self.counts;
        match name {
            "exposure" => Cell::Number(Number::nano(self.exposure)),
            "group_exposure" => Cell::Number(Number::nano(self.group_exposure)),
            "open_orders" => Cell::count(self.open_orders),
            "open_dispatched" => Cell::count(counts.open_dispatched),
            "reducing_dispatched" => Cell::count(counts.reducing_dispatched),
            "containment_dispatched" => Cell::count(counts.containment_dispatched),
            "cancels_dispatched" => Cell::count(counts.cancels_dispatched),
            "open_refused" => Cell::count(counts.open_refused),
            "refused_by_mode" => Cell::count(counts.refused_by_mode),
            "refused_by_latch" => Cell::count(counts.refused_by_latch),
            "refused_by_record" => Cell::count(counts.refused_by_record),
            "refused_total" => Cell::count(counts.refused_total),
            "sends_total" => Cell::count(counts.sends_total),
            "duplicate_sends" => Cell::count(counts.duplicate_sends),
            "trades_processed" => Cell::count(counts.trades_processed),
            "duplicate_trades" => Cell::count(counts.duplicate_trades),
            "own_trades_processed" => Cell::count(counts.own_trades),
            "duplicate_own_trades" => Cell::count(counts.duplicate_own_trades),
            "runs_started" => Cell::count(counts.runs_started),
            "runs_succeeded" => Cell::count(counts.runs_succeeded),
            "runs_failed" => Cell::count(counts.runs_failed),
            "ticks" => Cell::count(counts.ticks),
            "terminations" => Cell::count(counts.terminations),
            "boots" => Cell::count(counts.boots),
            "since_trigger_ms" => self.trigger_at.map_or(Cell::Null, |trigger| Cell::whole(self.at.since(trigger))),
            "event" => Cell::Text(Cow::Borrowed(self.event)),
            "gap_event" => Cell::Bool(self.gap),
            "sent_open" => Cell::Bool(self.now.open),
            "sent_reducing" => Cell::Bool(self.now.reducing),
            "sent_containment" => Cell::Bool(self.now.containment),
            "sent_cancel" => Cell::Bool(self.now.cancel),
            "refused_open" => Cell::Bool(self.now.refused_open),
            "tick_age_ms" => {
                let tick = self.status.as_ref().map(|status| status.loop_tick_last_ts_ms);
                tick.map_or(Cell::Null, |tick| Cell::whole(self.at.since(tick)))
            }
            "down" => Cell::Bool(self.status.is_none()),
            "naked_events" => Cell::count(counts.naked_events),
            "close_attempts" => Cell::count(counts.close_attempts),
            "hedges" => Cell::count(counts.hedges),
            "rescues" => Cell::count(counts.rescues),
            "ghosts_canceled" => Cell::count(counts.ghosts_canceled),
            "unsent_resent" => Cell::count(counts.unsent_resent),
            _ => Cell::Null,
        }
    }
}

fn status_cell(name: &str, status: &Status) -> Cell {
    let text = |text: &'static str| Cell::Text(Cow::Borrowed(text));
    match name {
        "status_schema_version" | "open_permission_semantics_version" => Cell::whole(1),
        "contract_version" => text(status.contract_version),
        "build_id" => Cell::Text(Cow::Owned(status.build_id.clone())),
        "runtime_config_hash" => Cell::Text(Cow::Owned(status.runtime_config_hash.clone())),
        "supported_profiles" => Cell::List(vec![status.enforced_profile.token()]),
        "enforced_profile" => text(status.enforced_profile.token()),
        "trading_mode" => text(status.trading_mode.token()),
        "risk_state" => text(status.risk_state.token()),
        "bunker_mode_active" => Cell::Bool(status.bunker_mode_active),
        "connectivity_degraded" => Cell::Bool(status.connectivity_degraded),
        "mode_reasons" => Cell::List(status.mode_reasons.iter().map(|reason| reason.token()).collect()),
        "open_permission_blocked_latch" => Cell::Bool(status.open_permission_blocked_latch),
        "open_permission_reason_codes" => {
            Cell::List(status.open_permission_reason_codes.iter().map(|code| code.token()).collect())
        }
        "open_permission_requires_reconcile" => Cell::Bool(status.open_permission_requires_reconcile),
        "policy_age_sec" => Cell::whole(status.policy_age_sec),
        "last_policy_update_ts" => Cell::whole(status.last_policy_update_ts.0),
        "f1_cert_state" => text(status.f1_cert_state.token()),
        "f1_cert_expires_at" => status.f1_cert_expires_at.map_or(Cell::Null, |at| Cell::whole(at.0)),
        "disk_used_pct" => Cell::Number(Number::ppm(status.disk_used_pct.0)),
        "disk_used_last_update_ts_ms" => Cell::whole(status.disk_used_last_update_ts_ms.0),
        "disk_used_pct_secondary" => Cell::Number(Number::ppm(status.disk_used_pct_secondary.0)),
        "disk_used_secondary_last_update_ts_ms" => Cell::whole(status.disk_used_secondary_last_update_ts_ms.0),
        "mm_util" => Cell::Number(Number::ppm(status.mm_util.0)),
        "mm_util_last_update_ts_ms" => Cell::whole(status.mm_util_last_update_ts_ms.0),
        "loop_tick_last_ts_ms" => Cell::whole(status.loop_tick_last_ts_ms.0),
        "wal_queue_depth" => Cell::count(status.wal_queue_depth.into()),
        "wal_queue_capacity" => Cell::whole(status.wal_queue_capacity),
        "wal_queue_enqueue_failures" => Cell::count(status.wal_queue_enqueue_failures),
        "atomic_naked_events_24h" => Cell::count(status.atomic_naked_events_24h),
        "429_count_5m" => Cell::whole(status.rate_limited_count_5m),
        "10028_count_5m" => Cell::whole(status.terminations_count_5m),
        "deribit_http_p95_ms" => Cell::whole(status.deribit_http_p95_ms),
        "ws_event_lag_ms" => Cell::whole(status.ws_event_lag_ms),
        "owner_view.primary_owner_reason_code" => owner_text(status, "primary_owner_reason_code"),
        "owner_view.owner_message" => owner_text(status, "owner_message"),
        _ => Cell::Null,
    }
}

fn owner_text(status: &Status, key: &str) -> Cell {
    let document = crate::contract::document::document(status);
    let view = document.as_object().map(owner_view::derive);
    match view.as_ref().and_then(|view| view.get(key)).and_then(Json::as_str) {
        Some(text) => Cell::Text(Cow::Owned(text.to_owned())),
        None => Cell::Null,
    }
}
