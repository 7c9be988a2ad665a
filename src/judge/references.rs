//! What a drill is held against: its golden documents and its expectation, written from the checklist and independent of
//! any run, so that accepting a new golden can't quietly change what the drill must show.

use std::collections::BTreeMap;

use serde_json::Value;
use thiserror::Error;

use crate::scenario::model::Scenario;

/// Drills by number: name, base name of the golden documents. Source: drill checklist, golden fixtures; decision 41.
const DRILLS: [(u8, &str, &str); 8] = [
    (1, "drill_1_partial_fill", "partial_fill_containment"),
    (2, "drill_2_market_data_stale", "market_data_stale"),
    (3, "drill_3_wal_backpressure", "wal_backpressure"),
    (4, "drill_4_crash_restart", "restart_reconcile"),
    (5, "drill_5_ws_book_gap", "ws_book_gap"),
    (6, "drill_6_ws_trades_gap", "ws_trades_gap"),
    (7, "drill_7_session_termination", "session_termination"),
    (8, "drill_8_unknown_token", "unknown_token_force_kill"),
];

/// The snapshot whose golden has the fixture's bare name: what the checklist prints.
pub const TRIPPED: &str = "tripped";

/// Returns the file of a golden below `fixtures/status/`: `market_data_stale.json` for `tripped`, with the snapshot's name
/// before the ending for any other; of a matrix's scenario, by its own name in the matrix's folder. Drills and rows of a
/// matrix have goldens, variants have none.
#[must_use]
pub fn golden_file(scenario: &Scenario, snapshot: &str) -> Option<String> {
    if scenario.variant.is_some() {
        return None;
    }
    let base = match (scenario.drill, scenario.matrix) {
        (Some(drill), _) => DRILLS.iter().find(|(number, ..)| *number == drill)?.2.to_owned(),
        (None, Some(matrix)) => format!("{}/{}", matrix.folder(), scenario.name),
        (None, None) => return None,
    };
    Some(if snapshot == TRIPPED { format!("{base}.json") } else { format!("{base}.{snapshot}.json") })
}

/// A drill of the checklist by its number: its name, and the file below `fixtures/status/` of its `tripped` golden.
#[must_use]
pub fn drill(number: u8) -> Option<(&'static str, String)> {
    let (_, name, fixture) = DRILLS.iter().find(|(known, ..)| *known == number)?;
    Some((name, format!("{fixture}.json")))
}

/// Why a reference can't be used.
#[derive(Debug, Error)]
pub enum ReferenceError {
    /// A golden document is no JSON.
    #[error("{file}: not JSON: {reason}")]
    Golden {
        /// The file.
        file: String,
        /// Where and why.
        reason: String,
    },
    /// A drill's expectation is no TOML of the right shape.
    #[error("{file}: {reason}")]
    Expectation {
        /// The file.
        file: String,
        /// Where and why.
        reason: String,
    },
}

/// A golden document.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// Its file, as named in reports.
    pub file: String,
    /// The document.
    pub document: Value,
}

impl Golden {
    /// Parses a golden document.
    ///
    /// # Errors
    /// [`ReferenceError::Golden`].
    pub fn parse(file: &str, text: &str) -> Result<Self, ReferenceError> {
        let document = serde_json::from_str(text)
            .map_err(|error| ReferenceError::Golden { file: file.to_owned(), reason: error.to_string() })?;
        Ok(Self { file: file.to_owned(), document })
    }
}

/// What a drill must show, from `specs/drills/`.
#[derive(Clone, Debug, PartialEq)]
pub struct DrillExpectation {
    /// Its file, as named in reports.
    pub file: String,
    /// The drill's number.
    pub drill: i64,
    /// By snapshot and key: the value that must be there. `owner_view` keys have dotted names.
    pub snapshots: BTreeMap<String, BTreeMap<String, Value>>,
    /// By criterion id: whether it must hold.
    pub criteria: BTreeMap<String, bool>,
}

impl DrillExpectation {
    /// Parses a drill's expectation.
    ///
    /// # Errors
    /// [`ReferenceError::Expectation`].
    pub fn parse(file: &str, text: &str) -> Result<Self, ReferenceError> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            drill: i64,
            snapshots: BTreeMap<String, BTreeMap<String, toml::Value>>,
            criteria: BTreeMap<String, bool>,
        }
        let failed = |reason: String| ReferenceError::Expectation { file: file.to_owned(), reason };
        let raw: Raw = toml::from_str(text).map_err(|error| failed(error.to_string()))?;
        let mut snapshots = BTreeMap::new();
        for (name, keys) in raw.snapshots {
            let mut values = BTreeMap::new();
            for (key, value) in keys {
                let value = serde_json::to_value(value).map_err(|error| failed(format!("{name}.{key}: {error}")))?;
                values.insert(key, value);
            }
            snapshots.insert(name, values);
        }
        Ok(Self { file: file.to_owned(), drill: raw.drill, snapshots, criteria: raw.criteria })
    }
}

/// Everything a scenario is held against.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct References {
    /// Goldens by snapshot; one that is missing is a failed check, not an error.
    pub goldens: BTreeMap<String, Golden>,
    /// The drill's expectation.
    pub expectation: Option<DrillExpectation>,
}
