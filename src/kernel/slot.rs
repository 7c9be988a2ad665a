//! The sticky slot: what a restart must not soften.
//!
//! It stands beside the ledger's queue and is written through within the event, whatever the queue's state. Source: kernel
//! contract section 6.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{registry::ModeReason, units::TimeMs};

/// Content of the sticky slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Latched Kill reasons with what has released them so far, in registry order.
    pub kill_latches: Vec<KillLatch>,
    /// True while mm_util is in the reduce band.
    pub margin_reduce_band: bool,
    /// True while mm_util is in the kill band.
    pub margin_kill_band: bool,
    /// Last trigger of emergency reduce-only that has not ended.
    pub emergency_triggered_at: Option<TimeMs>,
    /// The session-kill flag.
    pub session_killed: bool,
    /// Times of counted session terminations, oldest first.
    pub terminations: Vec<TimeMs>,
    /// Times of HTTP 429, oldest first.
    pub rate_limited: Vec<TimeMs>,
    /// Ends of the override cooldowns running, in the order of [`crate::event::Producer::ALL`], `None` where that one runs
    /// none; empty where none runs at all.
    pub override_cooldowns: Vec<Option<TimeMs>>,
    /// True in bunker mode.
    pub bunker: bool,
}

/// A latched Kill reason and what has happened since it was raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillLatch {
    /// The reason.
    pub reason: ModeReason,
    /// True where the registry guard raised it, which only another build or configuration releases.
    pub by_registry_guard: bool,
    /// When it was raised.
    pub raised_at: TimeMs,
    /// The build that raised it.
    pub build_id: String,
    /// The configuration that raised it.
    pub runtime_config_hash: String,
    /// An operator closed its incident.
    pub incident_reset: bool,
    /// The process was booted again.
    pub rebooted: bool,
    /// The private session was authenticated again.
    pub reauthenticated: bool,
    /// A run of reconciliation begun later has succeeded.
    pub reconciled: bool,
}
