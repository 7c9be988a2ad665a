//! `/status` as the kernel knows it: keys 1 to 34, typed. The document and its owner view are made of it elsewhere.
//! Source: status contract.

use alloc::{string::String, vec::Vec};

use crate::{
    config::seconds,
    registry::{CONTRACT_VERSION, F1CertState, ModeReason, OpenPermissionReason, Profile, RiskState, TradingMode},
    state::Kernel,
    units::{Ppm, TimeMs},
};

/// The projection of a state; each field is the status key of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the status key of its name, documented in specs/contract/status.md")]
pub struct Status {
    pub contract_version: &'static str,
    pub build_id: String,
    pub runtime_config_hash: String,
    pub enforced_profile: Profile,
    pub trading_mode: TradingMode,
    pub risk_state: RiskState,
    pub bunker_mode_active: bool,
    pub connectivity_degraded: bool,
    pub mode_reasons: Vec<ModeReason>,
    pub open_permission_blocked_latch: bool,
    pub open_permission_reason_codes: Vec<OpenPermissionReason>,
    pub open_permission_requires_reconcile: bool,
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
    pub wal_queue_capacity: i64,
    pub wal_queue_enqueue_failures: u64,
    pub atomic_naked_events_24h: u64,
    pub rate_limited_count_5m: i64,
    pub terminations_count_5m: i64,
    pub deribit_http_p95_ms: i64,
    pub ws_event_lag_ms: i64,
}

impl Kernel {
    /// Projects the state; `None` while no process is up. Source: AT-003, AT-027, AT-028, AT-212, AT-342, AT-352, AT-353,
    /// AT-403, AT-406, AT-907, AT-927.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        if !self.core.up {
            return None;
        }
        let now = self.now();
        let monitors = &self.monitors;
        let latch = self.latch.is_set();
        let policy_at = monitors.policy.at;
        Some(Status {
            contract_version: CONTRACT_VERSION,
            build_id: self.core.build_id.clone(),
            runtime_config_hash: self.core.runtime_config_hash.clone(),
            enforced_profile: Profile::Csp,
            trading_mode: self.core.resolution.mode,
            risk_state: self.risk_state(),
            bunker_mode_active: monitors.bunker.on,
            connectivity_degraded: monitors.bunker.on || latch,
            mode_reasons: self.core.resolution.reasons(),
            open_permission_blocked_latch: latch,
            open_permission_reason_codes: self.latch.codes().collect(),
            open_permission_requires_reconcile: latch,
            policy_age_sec: policy_at.map_or(0, |at| now.since(at).max(0).checked_div(1000).unwrap_or(0)),
            last_policy_update_ts: policy_at.unwrap_or_default(),
            f1_cert_state: self.certificate_state(),
            f1_cert_expires_at: monitors
                .certificate
                .as_ref()
                .map(|certificate| certificate.generated_at.after(seconds(self.config().f1_cert_freshness_window_s))),
            disk_used_pct: monitors.disk_primary.value.unwrap_or_default(),
            disk_used_last_update_ts_ms: monitors.disk_primary.at.unwrap_or_default(),
            disk_used_pct_secondary: monitors.disk_secondary.value.unwrap_or_default(),
            disk_used_secondary_last_update_ts_ms: monitors.disk_secondary.at.unwrap_or_default(),
            mm_util: monitors.margin.value.unwrap_or_default(),
            mm_util_last_update_ts_ms: monitors.margin.at.unwrap_or_default(),
            loop_tick_last_ts_ms: monitors.loop_tick.at.unwrap_or_default(),
            wal_queue_depth: self.ledger.depth,
            wal_queue_capacity: self.config().wal_queue_capacity,
            wal_queue_enqueue_failures: self.ledger.failures,
            atomic_naked_events_24h: self.naked_events_24h(),
            rate_limited_count_5m: self.rate_limited_in_window(),
            terminations_count_5m: self.terminations_in_window(),
            deribit_http_p95_ms: monitors.bunker.http_p95_ms(now).unwrap_or(0),
            ws_event_lag_ms: self.market_data_lag_ms().max(0),
        })
    }
}
