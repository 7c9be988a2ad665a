//! Whether an OPEN proposed under a status would be refused: what a drill's time to safe is measured to.
//!
//! Source: contract 5.2, status document, keys 7, 12, 26 and 27; decision 11.

use drillfold_kernel::{registry::TradingMode, status::Status};
use serde_json::Value;

/// True where an OPEN proposed under this status would be refused: by mode or latch, or because it could not be recorded.
#[must_use]
pub fn refuses_open(status: &Status) -> bool {
    status.open_permission_blocked_latch
        || status.trading_mode != TradingMode::Active
        || i64::from(status.wal_queue_depth) >= status.wal_queue_capacity
}

/// As [`refuses_open`], for a document of any system. `None` where the document does not say: no key of it refuses an OPEN,
/// and one that could is missing, of another type, or a mode that is none.
#[must_use]
pub fn document_refuses_open(document: &Value) -> Option<bool> {
    let count = |key: &str| document.get(key).and_then(Value::as_u64);
    let is_latched = document.get("open_permission_blocked_latch").and_then(Value::as_bool);
    let mode = document.get("trading_mode").and_then(Value::as_str).and_then(TradingMode::from_token);
    let is_full = count("wal_queue_depth").zip(count("wal_queue_capacity")).map(|(depth, capacity)| depth >= capacity);
    let reasons = [is_latched, mode.map(|mode| mode != TradingMode::Active), is_full];
    if reasons.contains(&Some(true)) {
        Some(true)
    } else if reasons.contains(&None) {
        None
    } else {
        Some(false)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::contract::validator::tests::active;

    #[track_caller]
    fn check(changes: &[(&str, Value)], expected: Option<bool>) {
        let mut document = active();
        for (key, value) in changes {
            document[key] = value.clone();
        }
        assert_eq!(document_refuses_open(&document), expected, "{changes:?}");
    }

    #[test]
    fn latch_mode_and_a_full_queue_refuse() {
        check(&[], Some(false));
        check(&[("open_permission_blocked_latch", json!(true))], Some(true));
        check(&[("trading_mode", json!("ReduceOnly"))], Some(true));
        check(&[("trading_mode", json!("Kill"))], Some(true));
        check(&[("wal_queue_depth", json!(1023)), ("wal_queue_capacity", json!(1024))], Some(false));
        check(&[("wal_queue_depth", json!(1024)), ("wal_queue_capacity", json!(1024))], Some(true));
        check(&[("wal_queue_depth", json!(1025)), ("wal_queue_capacity", json!(1024))], Some(true));
    }

    #[test]
    fn what_does_not_say_is_neither() {
        for key in ["open_permission_blocked_latch", "trading_mode", "wal_queue_depth", "wal_queue_capacity"] {
            for value in [json!(null), json!("Sideways"), json!([]), json!(-1)] {
                check(&[(key, value)], None);
            }
        }
        check(&[("trading_mode", json!("Sideways")), ("open_permission_blocked_latch", json!(true))], Some(true));
        for document in [json!([]), json!({}), json!(null), json!("Kill")] {
            assert_eq!(document_refuses_open(&document), None);
        }
    }
}
