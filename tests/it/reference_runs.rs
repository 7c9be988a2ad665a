//! The reference resolver beside the kernel over every event of every run: drills, variants, other seeds.

use drillfold::{judge::run::run_watched, scenario::model::Scenario};

use crate::{
    project::{all_scenarios, in_parallel, recording_of},
    reference::{Expected, Reference},
};

/// Seeds beside each scenario's own; enough to meet other orders of events in every drill.
const OTHER_SEEDS: std::ops::Range<u64> = 500..505;

#[test]
fn the_reference_agrees_at_every_event_of_every_run() {
    let mut runs: Vec<Scenario> = Vec::new();
    for scenario in all_scenarios() {
        for seed in std::iter::once(scenario.seed).chain(OTHER_SEEDS) {
            runs.push(Scenario { seed, ..scenario.clone() });
        }
    }
    let compared: u64 = in_parallel(&runs, compare).into_iter().sum();
    println!("compared after {compared} events of {} runs", runs.len());
    assert!(compared > 100_000, "{compared}");
}

/// Runs a scenario with the reference beside it and returns after how many events the two were compared.
fn compare(scenario: &Scenario) -> u64 {
    let name = scenario.full_name();
    let mut reference = Reference::new();
    let mut at_event = 0u64;
    let outcome = run_watched(scenario, recording_of(scenario), |seq, event, folder| {
        let status = folder.kernel().status();
        let failures = status.as_ref().map_or(0, |status| status.wal_queue_enqueue_failures);
        reference.observe(seq, folder.at(), event, folder.effects(), failures);
        let found = status.map(|status| Expected {
            trading_mode: status.trading_mode,
            risk_state: status.risk_state,
            bunker_mode_active: status.bunker_mode_active,
            connectivity_degraded: status.connectivity_degraded,
            mode_reasons: status.mode_reasons,
            open_permission_reason_codes: status.open_permission_reason_codes,
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
        });
        assert_eq!(reference.expected(), found, "{name} seed {} after event {}: {event:?}", scenario.seed, seq.0);
        at_event = seq.0;
    });
    outcome.unwrap();
    at_event
}
