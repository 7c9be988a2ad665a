//! What is still missing until something clears: each condition with its current value and the one it has to have.
//!
//! The conditions are the kernel's own (specs/contract/kernel.md, sections 2 and 3; registry, `condition` of each code); a test
//! compares them with what the kernel does.

use drillfold_kernel::{
    Kernel,
    config::seconds,
    registry::{ModeReason, OpenPermissionReason},
    state::{Cause, Continuity},
    units::{Stamp, TimeMs},
};
use serde::Serialize;

/// A condition for clearing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// What has to be.
    pub what: &'static str,
    /// How it is.
    pub current: String,
    /// How it has to be.
    pub target: String,
    /// True where it is so already.
    pub holds: bool,
}

/// A length of time that has to pass since something last happened.
fn quiet(what: &'static str, last: Option<TimeMs>, now: TimeMs, target_ms: i64) -> Need {
    let since = last.map(|at| now.since(at));
    Need {
        what,
        current: since.map_or_else(|| "never happened".to_owned(), |ms| format!("{ms} ms")),
        target: format!(">= {target_ms} ms"),
        holds: since.is_none_or(|ms| ms >= target_ms),
    }
}

/// A stretch of time for which something has to have been so.
fn lasting(what: &'static str, since: Option<TimeMs>, now: TimeMs, target_ms: i64) -> Need {
    let lasted = since.map(|at| now.since(at));
    Need {
        what,
        current: lasted.map_or_else(|| "not so now".to_owned(), |ms| format!("{ms} ms")),
        target: format!(">= {target_ms} ms"),
        holds: lasted.is_some_and(|ms| ms >= target_ms),
    }
}

fn count(what: &'static str, current: usize) -> Need {
    Need { what, current: current.to_string(), target: "0".to_owned(), holds: current == 0 }
}

/// Returns what a set code of the latch waits for, the run of reconciliation last.
#[must_use]
pub fn needs_of_code(kernel: &Kernel, code: OpenPermissionReason, now: TimeMs) -> Vec<Need> {
    let config = &kernel.core.config;
    let mut needs = match code {
        OpenPermissionReason::RestartReconcileRequired | OpenPermissionReason::InventoryMismatchReconcileRequired => {
            Vec::new()
        }
        OpenPermissionReason::WsBookGapReconcileRequired => {
            let instruments = kernel.core.instruments.iter().zip(&kernel.feeds.books);
            let waiting = instruments.filter(|(of, book)| of.subscribed && book.continuity != Continuity::Live);
            vec![
                quiet(
                    "time since the last book gap",
                    kernel.feeds.last_book_gap_at,
                    now,
                    seconds(config.book_gap_quiet_s),
                ),
                count("books that wait for a snapshot", waiting.count()),
            ]
        }
        OpenPermissionReason::WsTradesGapReconcileRequired => {
            let holes = kernel.feeds.trades.iter().filter(|feed| feed.hole.is_some()).count();
            vec![
                count("holes in trade feeds that are not filled yet", holes),
                count("trade feeds that are too old", usize::from(kernel.feeds.trades_guard)),
            ]
        }
        OpenPermissionReason::WsDataStaleReconcileRequired => vec![
            count("feeds that are silent", usize::from(kernel.feeds.silent)),
            lasting(
                "time for which ws_event_lag_ms has been within ws_stale_clear_lag_ms",
                kernel.feeds.lag_calm_since,
                now,
                seconds(config.ws_stale_clear_s),
            ),
        ],
        OpenPermissionReason::SessionTerminationReconcileRequired => {
            vec![count("private sessions that are not authenticated", usize::from(!kernel.session.active))]
        }
    };
    if let Some(trigger) = kernel.latch.trigger(code) {
        // One that had succeeded while the rest held would have cleared the code.
        let run = run_since("a run of reconciliation that succeeds while the rest holds", trigger.renewed, kernel);
        needs.push(Need { current: "none yet".to_owned(), holds: false, ..run });
    }
    needs
}

fn run_since(what: &'static str, stamp: Stamp, kernel: &Kernel) -> Need {
    let started = kernel.session.reconcile.last_success.map(|(started, _)| started.seq);
    Need {
        what,
        current: started.map_or_else(|| "none".to_owned(), |seq| format!("the last began at event {}", seq.0)),
        target: format!("begun at event {} or later", stamp.seq.0),
        holds: started.is_some_and(|seq| seq >= stamp.seq),
    }
}

/// Returns what an active cause of the risk state waits for; nothing where an operator, a sample or another process ends it.
#[must_use]
pub fn needs_of_cause(kernel: &Kernel, cause: Cause, now: TimeMs) -> Vec<Need> {
    let config = &kernel.core.config;
    match cause {
        Cause::GroupContainment => vec![lasting(
            "time for which no group with a fill has been in containment",
            kernel.groups.clean_since,
            now,
            seconds(config.containment_clean_s),
        )],
        Cause::LedgerBackPressure => {
            let (depth, capacity) = (i64::from(kernel.ledger.depth), config.wal_queue_capacity);
            let last = kernel.ledger.last_failure_at.max(kernel.ledger.last_full_at);
            vec![
                Need {
                    what: "wal_queue_depth",
                    current: depth.to_string(),
                    target: format!("< {capacity}"),
                    holds: depth < capacity,
                },
                quiet("time since the queue was last full or refused", last, now, seconds(config.wal_recover_stable_s)),
            ]
        }
        Cause::RateLimited => {
            let last = kernel.session.rate_limited.last().copied();
            vec![quiet("time since the last HTTP 429", last, now, seconds(config.rate_limit_recover_s))]
        }
        Cause::SessionEnded => {
            let set = kernel.latch.trigger(OpenPermissionReason::SessionTerminationReconcileRequired).is_some();
            vec![count("latch codes of a terminated session", usize::from(set))]
        }
        _ => Vec::new(),
    }
}

/// Returns what an active reason waits for, beside its codes and causes.
#[must_use]
pub fn needs_of_reason(kernel: &Kernel, reason: ModeReason, now: TimeMs) -> Vec<Need> {
    match (reason, kernel.monitors.emergency) {
        (ModeReason::ReduceonlyEmergencyReduceonlyActive, Some(stamp)) => {
            let cooldown = seconds(kernel.core.config.emergency_reduceonly_cooldown_s);
            vec![
                quiet("time since it was triggered", Some(stamp.at), now, cooldown),
                run_since("a run of reconciliation that began after it and succeeded", stamp, kernel),
            ]
        }
        _ => Vec::new(),
    }
}
