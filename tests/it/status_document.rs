//! The `/status` document over every scenario's run: keys, their names, types and bounds.
//!
//! Source: status contract; AT-023, AT-028, AT-405, AT-419, AT-907, AT-927.

use std::collections::BTreeSet;

use drillfold::{contract::document::document, judge::run::run_watched, scenario::model::Scenario};
use drillfold_kernel::event::Event;
use serde_json::Value;

use crate::project::{all_scenarios, in_parallel, recording_of};

/// The 35 required keys in the contract's order.
const KEYS: [&str; 35] = [
    "status_schema_version",
    "contract_version",
    "build_id",
    "runtime_config_hash",
    "supported_profiles",
    "enforced_profile",
    "trading_mode",
    "risk_state",
    "bunker_mode_active",
    "connectivity_degraded",
    "mode_reasons",
    "open_permission_blocked_latch",
    "open_permission_reason_codes",
    "open_permission_requires_reconcile",
    "policy_age_sec",
    "last_policy_update_ts",
    "f1_cert_state",
    "f1_cert_expires_at",
    "disk_used_pct",
    "disk_used_last_update_ts_ms",
    "disk_used_pct_secondary",
    "disk_used_secondary_last_update_ts_ms",
    "mm_util",
    "mm_util_last_update_ts_ms",
    "loop_tick_last_ts_ms",
    "wal_queue_depth",
    "wal_queue_capacity",
    "wal_queue_enqueue_failures",
    "atomic_naked_events_24h",
    "429_count_5m",
    "10028_count_5m",
    "deribit_http_p95_ms",
    "ws_event_lag_ms",
    "open_permission_semantics_version",
    "owner_view",
];

/// Keys whose value is a whole number that is never negative.
const COUNTS: [&str; 13] = [
    "policy_age_sec",
    "last_policy_update_ts",
    "wal_queue_depth",
    "wal_queue_capacity",
    "wal_queue_enqueue_failures",
    "atomic_naked_events_24h",
    "429_count_5m",
    "10028_count_5m",
    "deribit_http_p95_ms",
    "ws_event_lag_ms",
    "loop_tick_last_ts_ms",
    "mm_util_last_update_ts_ms",
    "disk_used_last_update_ts_ms",
];

#[test]
fn at_023_028_405_419_907_927_the_document_of_every_run() {
    let seen: u64 = in_parallel(&all_scenarios(), look_at).into_iter().sum();
    println!("{seen} documents");
    assert!(seen > 1000, "{seen}");
}

/// Runs a scenario and looks at the document after every tick and every policy; returns how many there were.
fn look_at(scenario: &Scenario) -> u64 {
    let (mut seen, mut generated) = (0, None);
    let outcome = run_watched(scenario, recording_of(scenario), |_, event, folder| {
        match event {
            Event::Booted(boot) => generated = boot.policy_generated_at,
            Event::PolicyReceived { generated_at } => generated = generated_at.or(generated),
            _ => {}
        }
        let shown = matches!(event, Event::LoopTicked | Event::Booted(_) | Event::PolicyReceived { .. });
        let Some(status) = folder.kernel().status().filter(|_| shown) else { return };
        let document = document(&status);
        judge(&document);
        if let Some(at) = generated {
            assert_eq!(document["last_policy_update_ts"], at.0, "{}", scenario.full_name());
        }
        seen += 1;
    });
    outcome.unwrap();
    seen
}

#[track_caller]
fn judge(document: &Value) {
    let object = document.as_object().expect("an object");
    let found: BTreeSet<&str> = object.keys().map(String::as_str).collect();
    assert_eq!(found, BTreeSet::from(KEYS));
    assert!(document["status_schema_version"].is_u64());
    assert_eq!(document["status_schema_version"], 1);
    for key in COUNTS {
        assert!(document[key].is_u64(), "{key}: {}", document[key]);
    }
    for key in ["429_count", "10028_count", "rate_limited_count_5m", "terminations_count_5m"] {
        assert!(document.get(key).is_none(), "{key} is no name of the contract");
    }
    let number = |key: &str| document[key].as_u64().expect("a count");
    assert!(number("wal_queue_capacity") > 0 && number("wal_queue_depth") <= number("wal_queue_capacity"));
}
