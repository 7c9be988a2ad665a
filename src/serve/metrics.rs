//! Metrics in the OpenMetrics text format: of the shown status, and of the server itself.
//!
//! Every number and every flag of the status document is a gauge of its own, so a key that a later contract adds appears by
//! itself. Times are in seconds and ratios between 0 and 1, and the name says so; what is absent or null has no line. Tokens
//! are one line each, 1 where it holds, so that the number of lines depends on the registry alone.
//!
//! Source: OpenMetrics 1.0.0.

use std::{borrow::Cow, fmt, sync::atomic::AtomicU64};

use drillfold_kernel::registry::{ModeReason, OpenPermissionReason, RiskState, TradingMode};
use hyper::StatusCode;
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, text},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        info::Info,
    },
    registry::{Registry, Unit},
};
use serde_json::{Map, Value};

use super::{Stage, View, answer::Resource};

/// Most keys of a status document that become metrics; a document has 35.
const KEYS_MAX: usize = 128;

/// A gauge of any number.
type Number = Gauge<f64, AtomicU64>;

/// One gauge for each of some words, of which those that hold are 1.
#[derive(Debug)]
struct Words {
    label: &'static str,
    held: Vec<(&'static str, bool)>,
}

impl EncodeMetric for Words {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (word, held) in &self.held {
            let labels = [(self.label, *word)];
            ConstGauge::new(i64::from(*held)).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// Why a connection was ended by the server before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// A request did not come, or not whole, within the time for it.
    Silent,
    /// An answer was not taken.
    Stalled,
    /// What came is no HTTP.
    Malformed,
}

/// What the server counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    requests: Family<[(&'static str, Cow<'static, str>); 2], Counter>,
    connections: Counter,
    open: Gauge,
    cut: Family<[(&'static str, &'static str); 1], Counter>,
    limited: Counter,
}

impl Counts {
    /// Counts an answer. A path that does not exist has no name of its own, so that no client can make more lines.
    pub(super) fn answered(&self, path: &str, status: StatusCode) {
        let path = Resource::paths().into_iter().find(|known| *known == path).unwrap_or("other");
        self.requests.get_or_create(&[("path", path.into()), ("code", status.as_str().to_owned().into())]).inc();
        if status == StatusCode::TOO_MANY_REQUESTS {
            self.limited.inc();
        }
    }

    /// Counts a connection until what is returned is dropped.
    pub(super) fn connected(&self) -> Open {
        self.connections.inc();
        self.open.inc();
        Open(self.open.clone())
    }

    /// Counts a connection that the server ended.
    pub(super) fn cut(&self, why: Cut) {
        let why = match why {
            Cut::Silent => "silent",
            Cut::Stalled => "stalled",
            Cut::Malformed => "malformed",
        };
        self.cut.get_or_create(&[("why", why)]).inc();
    }
}

/// An open connection, as it is counted.
#[derive(Debug)]
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Writes all metrics.
///
/// # Errors
/// What is written is no text; no metric of ours can be so.
pub(super) fn metrics(view: &View, counts: &Counts) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("drillfold");
    server(&mut registry, counts);
    let up = Gauge::<i64>::default();
    up.set(i64::from(view.shown.is_some()));
    registry.register("up", "1 where a status is shown", up);
    let stage = match view.stage {
        Stage::Running => "running",
        Stage::Paused(_) => "paused",
        Stage::Silent => "silent",
        Stage::Ended => "ended",
    };
    words(&mut registry, "stage", "Whether what is shown goes on changing", "stage", &STAGES, &[stage]);
    if let Some(shown) = &view.shown {
        number(&mut registry, "event_seq", "Number of the last event", None, whole(shown.seq.0));
        let at = Unit::Seconds;
        number(&mut registry, "event_timestamp", "Time of the last event on the run's clock", Some(at), ms(shown.at.0));
        if let Ok(Value::Object(document)) = serde_json::from_str(&shown.status) {
            status(&mut registry, &document);
        }
    }
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

const STAGES: [&str; 4] = ["running", "paused", "silent", "ended"];

fn server(registry: &mut Registry, counts: &Counts) {
    registry.register("http_requests", "Requests answered, by path and code", counts.requests.clone());
    registry.register("http_rate_limited", "Requests refused because a client sent too many", counts.limited.clone());
    registry.register("http_connections", "Connections accepted", counts.connections.clone());
    registry.register("http_open_connections", "Connections that are open", counts.open.clone());
    registry.register("http_cut_connections", "Connections ended by the server, and why", counts.cut.clone());
}

/// Registers what a status document says.
fn status(registry: &mut Registry, document: &Map<String, Value>) {
    let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default();
    let list = |key: &str| -> Vec<&str> {
        document.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let build = ["build_id", "contract_version", "runtime_config_hash", "enforced_profile"]
        .map(|key| (key, text(key).to_owned()));
    registry.register("build", "The build that is shown and what it runs with", Info::new(build.to_vec()));
    let modes = TradingMode::ALL.map(TradingMode::token);
    words(registry, "trading_mode", "The trading mode", "mode", &modes, &[text("trading_mode")]);
    let states = RiskState::ALL.map(RiskState::token);
    words(registry, "risk_state", "The risk state", "state", &states, &[text("risk_state")]);
    let reasons = ModeReason::ALL.map(ModeReason::token);
    words(registry, "mode_reason", "What keeps the mode from being better", "reason", &reasons, &list("mode_reasons"));
    let codes = OpenPermissionReason::ALL.map(OpenPermissionReason::token);
    let held = list("open_permission_reason_codes");
    words(registry, "open_permission_reason", "What holds the latch", "reason", &codes, &held);
    for (key, value) in document.iter().take(KEYS_MAX) {
        let value = match value {
            Value::Bool(flag) => f64::from(u8::from(*flag)),
            Value::Number(of) => match of.as_f64() {
                Some(value) => value,
                None => continue,
            },
            Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => continue,
        };
        if key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            let (name, unit, per_unit) = named(key);
            number(registry, &name, &format!("The status document's {key}"), unit, value / per_unit);
        }
    }
}

/// Returns the name of a key's metric without its unit, the unit, and how many of the key's own units are one.
fn named(key: &str) -> (String, Option<Unit>, f64) {
    const MS: f64 = 1_000.0;
    let status = |name: &str| format!("status_{}", name.strip_prefix("status_").unwrap_or(name));
    if let Some(name) =
        key.strip_suffix("_ts_ms").or_else(|| key.strip_suffix("_ts")).or_else(|| key.strip_suffix("_at"))
    {
        (status(&format!("{name}_timestamp")), Some(Unit::Seconds), MS)
    } else if let Some(name) = key.strip_suffix("_ms") {
        (status(name), Some(Unit::Seconds), MS)
    } else if let Some(name) = key.strip_suffix("_sec") {
        (status(name), Some(Unit::Seconds), 1.0)
    } else if key.contains("_pct") {
        (status(&key.replacen("_pct", "", 1)), Some(Unit::Other("ratio".to_owned())), 1.0)
    } else {
        (status(key), None, 1.0)
    }
}

fn number(registry: &mut Registry, name: &str, help: &str, unit: Option<Unit>, value: f64) {
    let gauge = Number::default();
    gauge.set(value);
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, gauge),
        None => registry.register(name, help, gauge),
    }
}

/// Registers a gauge for each of the known words; one that nothing here knows has no line, so that all are 0.
fn words(registry: &mut Registry, name: &str, help: &str, label: &'static str, known: &[&'static str], held: &[&str]) {
    let held = known.iter().map(|word| (*word, held.contains(word))).collect();
    registry.register(name, help, Words { label, held });
}

#[expect(clippy::cast_precision_loss, reason = "numbers of events and of ms since the epoch are far below 2^53")]
fn whole(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "ms since the epoch are far below 2^53")]
fn ms(value: i64) -> f64 {
    value as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use drillfold_kernel::units::{Seq, TimeMs};

    use super::*;
    use crate::serve::{Board, Shown};

    fn written(status: Option<&str>, stage: Stage, counts: &Counts) -> String {
        let board = Board::new();
        board.put(status.map(|status| Shown {
            status: status.to_owned(),
            build_id: "b".to_owned(),
            contract_version: "5.2".to_owned(),
            seq: Seq(7),
            at: TimeMs(1_617_580_800_125),
        }));
        board.stage(stage);
        metrics(&board.view(), counts).unwrap()
    }

    #[test]
    fn without_a_document_nothing_is_said_of_one() {
        let text = written(None, Stage::Silent, &Counts::default());
        assert!(text.contains("drillfold_up 0\n") && text.ends_with("# EOF\n"), "{text}");
        assert!(text.contains("drillfold_stage{stage=\"silent\"} 1\n"));
        for name in ["status", "mode", "risk", "event", "build", "open_permission"] {
            assert!(!text.contains(&format!("drillfold_{name}")), "{name}: {text}");
        }
    }

    #[test]
    fn a_key_becomes_a_metric_in_base_units_and_one_that_is_null_does_not() {
        let status = r#"{"status_version": 1, "policy_age_sec": 3, "lag_ms": 1500, "tick_last_ts_ms": 1500, "update_ts": 2000,
            "expires_at": null, "disk_used_pct": 0.42, "429_count_5m": 9, "latch": true, "text": "x", "a\"b": 1}"#;
        let text = written(Some(status), Stage::Running, &Counts::default());
        for line in [
            "drillfold_status_version 1.0",
            "drillfold_status_policy_age_seconds 3.0",
            "drillfold_status_lag_seconds 1.5",
            "drillfold_status_tick_last_timestamp_seconds 1.5",
            "drillfold_status_update_timestamp_seconds 2.0",
            "drillfold_status_disk_used_ratio 0.42",
            "drillfold_status_429_count_5m 9.0",
            "drillfold_status_latch 1.0",
            "drillfold_event_seq 7.0",
            "drillfold_event_timestamp_seconds 1617580800.125",
        ] {
            assert!(text.lines().any(|of| of == line), "{line}: {text}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("drillfold_status_")).count(), 8);
    }

    #[test]
    fn a_token_is_one_line_of_as_many_as_the_registry_has() {
        let [mode, reason] = [TradingMode::Active.token(), ModeReason::ALL[0].token()];
        let status =
            serde_json::json!({ "trading_mode": mode, "risk_state": "Unheard", "mode_reasons": [reason, "NEW"] });
        let text = written(Some(&status.to_string()), Stage::Running, &Counts::default());
        let lines = |start: &str| text.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
        let held = |start: &str| lines(start).into_iter().filter(|line| line.ends_with(" 1")).count();
        assert_eq!((lines("drillfold_trading_mode{").len(), held("drillfold_trading_mode{")), (3, 1));
        assert_eq!((lines("drillfold_risk_state{").len(), held("drillfold_risk_state{")), (4, 0));
        assert_eq!((lines("drillfold_mode_reason{").len(), held("drillfold_mode_reason{")), (ModeReason::ALL.len(), 1));
    }

    #[test]
    fn no_client_makes_lines_of_its_own() {
        let counts = Counts::default();
        for number in 0..100 {
            counts.answered(&format!("/{number}"), StatusCode::NOT_FOUND);
        }
        counts.answered("/metrics", StatusCode::TOO_MANY_REQUESTS);
        counts.cut(Cut::Silent);
        drop(counts.connected());
        let text = written(None, Stage::Running, &counts);
        for line in [
            "drillfold_http_requests_total{path=\"other\",code=\"404\"} 100",
            "drillfold_http_requests_total{path=\"/metrics\",code=\"429\"} 1",
            "drillfold_http_rate_limited_total 1",
            "drillfold_http_connections_total 1",
            "drillfold_http_open_connections 0",
            "drillfold_http_cut_connections_total{why=\"silent\"} 1",
        ] {
            assert!(text.lines().any(|of| of == line), "{line}: {text}");
        }
    }
}
