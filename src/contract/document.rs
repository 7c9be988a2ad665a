//! The `/status` document: the kernel's projection as JSON, all 35 keys in the contract's order.
//!
//! Source: contract 5.2, status document.

use drillfold_kernel::status::Status;
use serde_json::{Map, Number, Value};

use super::owner_view;

/// Version of the document's schema (key 1).
const STATUS_SCHEMA_VERSION: u64 = 1;

/// Version of the meaning of the latch keys (key 34).
const OPEN_PERMISSION_SEMANTICS_VERSION: u64 = 1;

/// Returns the whole document of a status, owner view included. Source: AT-023, AT-028, AT-405, AT-419, AT-907, AT-927.
#[must_use]
pub fn document(status: &Status) -> Value {
    let mut keys = Map::new();
    let mut put = |key: &str, value: Value| {
        keys.insert(key.to_owned(), value);
    };
    put("status_schema_version", STATUS_SCHEMA_VERSION.into());
    put("contract_version", status.contract_version.into());
    put("build_id", status.build_id.as_str().into());
    put("runtime_config_hash", status.runtime_config_hash.as_str().into());
    put("supported_profiles", vec![Value::from(status.enforced_profile.token())].into());
    put("enforced_profile", status.enforced_profile.token().into());
    put("trading_mode", status.trading_mode.token().into());
    put("risk_state", status.risk_state.token().into());
    put("bunker_mode_active", status.bunker_mode_active.into());
    put("connectivity_degraded", status.connectivity_degraded.into());
    put("mode_reasons", tokens(status.mode_reasons.iter().map(|reason| reason.token())));
    put("open_permission_blocked_latch", status.open_permission_blocked_latch.into());
    put("open_permission_reason_codes", tokens(status.open_permission_reason_codes.iter().map(|code| code.token())));
    put("open_permission_requires_reconcile", status.open_permission_requires_reconcile.into());
    put("policy_age_sec", status.policy_age_sec.into());
    put("last_policy_update_ts", status.last_policy_update_ts.0.into());
    put("f1_cert_state", status.f1_cert_state.token().into());
    put("f1_cert_expires_at", status.f1_cert_expires_at.map_or(Value::Null, |at| at.0.into()));
    put("disk_used_pct", ratio(status.disk_used_pct.0));
    put("disk_used_last_update_ts_ms", status.disk_used_last_update_ts_ms.0.into());
    put("disk_used_pct_secondary", ratio(status.disk_used_pct_secondary.0));
    put("disk_used_secondary_last_update_ts_ms", status.disk_used_secondary_last_update_ts_ms.0.into());
    put("mm_util", ratio(status.mm_util.0));
    put("mm_util_last_update_ts_ms", status.mm_util_last_update_ts_ms.0.into());
    put("loop_tick_last_ts_ms", status.loop_tick_last_ts_ms.0.into());
    put("wal_queue_depth", status.wal_queue_depth.into());
    put("wal_queue_capacity", status.wal_queue_capacity.into());
    put("wal_queue_enqueue_failures", status.wal_queue_enqueue_failures.into());
    put("atomic_naked_events_24h", status.atomic_naked_events_24h.into());
    put("429_count_5m", status.rate_limited_count_5m.into());
    put("10028_count_5m", status.terminations_count_5m.into());
    put("deribit_http_p95_ms", status.deribit_http_p95_ms.into());
    put("ws_event_lag_ms", status.ws_event_lag_ms.into());
    put("open_permission_semantics_version", OPEN_PERMISSION_SEMANTICS_VERSION.into());
    let view = owner_view::derive(&keys);
    keys.insert("owner_view".to_owned(), view);
    Value::Object(keys)
}

/// Returns a document as the files in fixtures/ and in packs have it: two spaces of indentation, a line end at the end.
#[must_use]
pub fn to_text(document: &Value) -> String {
    // Writing JSON values to memory fails only for maps with keys that are no texts.
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}

fn tokens<'a>(tokens: impl Iterator<Item = &'a str>) -> Value {
    Value::Array(tokens.map(Value::from).collect())
}

/// Returns parts per million as a JSON number of the ratio; the nearest double prints as the exact decimal.
fn ratio(ppm: i64) -> Value {
    const PPM: f64 = 1_000_000.0;
    // A ratio has at most seven digits, far inside what a double holds exactly.
    #[expect(clippy::cast_precision_loss, reason = "a ratio is at most 1_000_000 parts per million")]
    let value = ppm as f64 / PPM;
    if ppm % 1_000_000 == 0 {
        (ppm / 1_000_000).into()
    } else {
        Number::from_f64(value).map_or(Value::Null, Value::Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_prints_as_its_exact_decimal() {
        for (ppm, text) in [(0, "0"), (420_000, "0.42"), (1, "1e-6"), (999_999, "0.999999"), (1_000_000, "1")] {
            assert_eq!(ratio(ppm).to_string(), text.to_owned());
        }
    }
}
