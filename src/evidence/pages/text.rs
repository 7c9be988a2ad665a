//! Figures in words.

use serde_json::Value;

use crate::text::decimal;

/// Returns milliseconds as seconds: `13.016 s`.
pub(super) fn seconds(ms: i64) -> String {
    format!("{} s", decimal::plain(ms.into(), 3))
}

/// Returns 1e-9 coins as coins.
pub(super) fn coins(nano: i64) -> String {
    decimal::plain(nano.into(), 9)
}

/// Returns a value of a status as a person reads it.
pub(super) fn value(value: Option<&Value>) -> String {
    match value {
        None => "not there".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(entries)) if entries.is_empty() => "none".to_owned(),
        Some(Value::Array(entries)) if entries.iter().all(Value::is_string) => {
            entries.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        Some(value) => value.to_string(),
    }
}
