//! What the owner's page shows: a pure function of what is on the board.
//!
//! **Fail closed.** A state is shown only where there is a document that the validator finds nothing wrong with, strictly
//! and with its owner view derived again. In every other case the view says that no new risk may be opened, and why the
//! state is unknown.
//!
//! Source: contract 5.2, status document; specs/serve.md.

use drillfold_kernel::registry::{ModeReason, OpenPermissionReason, TradingMode};
use serde_json::{Map, Value, json, value::RawValue};

use super::{Course, Source, Stage, View};
use crate::contract::{
    open_permission::document_refuses_open,
    validator::{BuiltInSchema, Options, Validator, ValidatorError},
};

/// Name and version of the stream's messages.
pub const STREAM_SCHEMA: &str = "drillfold/stream/v1";

/// Most findings of an invalid document that are shown; the rest is counted.
const FINDINGS_MAX: usize = 20;

/// Makes the page's view of what is on the board.
#[derive(Debug)]
pub struct Owner {
    validator: Validator,
}

impl Owner {
    /// Prepares the rules of the contract.
    ///
    /// # Errors
    /// [`ValidatorError::BuiltIn`] if the program was built with a damaged file.
    pub fn new() -> Result<Self, ValidatorError> {
        Ok(Self { validator: Validator::built_in(BuiltInSchema::Exact)? })
    }

    /// Returns the message of the stream that tells what is on the board, as JSON without a line end of its own but those
    /// of the document.
    #[must_use]
    pub fn message(&self, board: &View) -> String {
        let shown = board.shown.as_deref();
        let (stage, paused_at) = match &board.stage {
            Stage::Running => ("running", None),
            Stage::Paused(snapshot) => ("paused", Some(snapshot.as_str())),
            Stage::Silent => ("silent", None),
            Stage::Ended => ("ended", None),
        };
        let head = json!({
            "schema": STREAM_SCHEMA,
            "stage": stage,
            "paused_at": paused_at,
            "source": source(&board.source),
            "seq": shown.map(|shown| shown.seq.0),
            "at_ms": shown.map(|shown| shown.at.0),
            "view": self.view(shown.map(|shown| shown.status.as_str()), &board.stage, &board.course),
        });
        let mut text = head.to_string();
        // The document goes as it is, numbers to the last digit; what is no JSON goes as text.
        let status = match shown.map(|shown| serde_json::from_str::<&RawValue>(&shown.status)) {
            None => Value::Null.to_string(),
            Some(Ok(document)) => document.get().to_owned(),
            Some(Err(_)) => shown.map(|shown| Value::from(shown.status.as_str()).to_string()).unwrap_or_default(),
        };
        text.truncate(text.len().saturating_sub(1));
        text.push_str(",\"status\":");
        text.push_str(&status);
        text.push('}');
        text
    }

    /// Returns the view of a `/status` document, as JSON; `None` stands for no document at all.
    #[must_use]
    pub fn view(&self, status: Option<&str>, stage: &Stage, course: &Course) -> Value {
        let closed = |sentence: &str, findings: Vec<String>| {
            json!({
                "fail_closed": true,
                "may_open": false,
                "sentence": sentence,
                "findings": findings,
                "timeline": timeline(course),
            })
        };
        if *stage == Stage::Silent {
            return closed("Events should come and do not: whoever writes them may be gone.", Vec::new());
        }
        let Some(status) = status else {
            return closed("No process of the safety layer is up.", Vec::new());
        };
        let document: Value = match serde_json::from_str(status) {
            Ok(document) => document,
            Err(error) => {
                return closed("The status document can't be read.", vec![format!("it is not JSON: {error}")]);
            }
        };
        let options = Options { strict: true, derive_owner_view: true };
        let mut findings: Vec<String> =
            self.validator.validate(&document, options).iter().map(ToString::to_string).collect();
        let mode = document.get("trading_mode").and_then(Value::as_str).and_then(TradingMode::from_token);
        if let (true, Some(mode), Some(keys)) = (findings.is_empty(), mode, document.as_object()) {
            return open(mode, keys, &document, course);
        }
        if findings.len() > FINDINGS_MAX {
            let more = findings.len() - FINDINGS_MAX;
            findings.truncate(FINDINGS_MAX);
            findings.push(format!("and {more} more"));
        }
        closed("The status document breaks the contract.", findings)
    }
}

/// Returns what the page needs to know tokens and keys by, as JSON: it refuses what stands in none of these lists.
#[must_use]
pub fn vocabulary() -> Value {
    json!({
        "schema": STREAM_SCHEMA,
        "trading_mode": TradingMode::ALL.map(TradingMode::token),
        "mode_reasons": ModeReason::ALL.map(ModeReason::token),
        "open_permission_reason_codes": OpenPermissionReason::ALL.map(OpenPermissionReason::token),
        "keys": keys(),
    })
}

/// Returns the keys of a status document, from the schema.
fn keys() -> Value {
    BuiltInSchema::Exact.value().ok().and_then(|schema| schema.get("required").cloned()).unwrap_or_default()
}

fn open(mode: TradingMode, keys: &Map<String, Value>, document: &Value, course: &Course) -> Value {
    let owner = |key: &str| document.pointer(&format!("/owner_view/{key}"));
    let may_open = document_refuses_open(document) == Some(false);
    // The owner view speaks of the mode alone; a full queue refuses an OPEN one tick before the mode follows.
    let caveat = (mode == TradingMode::Active && !may_open)
        .then_some("The intent ledger's queue is full: what can't be recorded is not sent.");
    // A course that tells of another mode than the document knows nothing of this one.
    let since = course.last().filter(|change| change.mode == Some(mode));
    json!({
        "fail_closed": false,
        "mode": mode.token(),
        "mode_text": mode.text(),
        "may_open": may_open,
        "primary": owner("primary_owner_reason_code"),
        "sentence": owner("owner_message"),
        "caveat": caveat,
        "unblock": owner("unblock"),
        "since": since.map(|change| json!({ "seq": change.seq.0, "at_ms": change.at.0 })),
        "reasons": told(keys, "mode_reasons", |token| ModeReason::from_token(token).map(ModeReason::text)),
        "latch": {
            "set": keys.get("open_permission_blocked_latch"),
            "codes": told(keys, "open_permission_reason_codes", |token| {
                OpenPermissionReason::from_token(token).map(OpenPermissionReason::text)
            }),
        },
        "timeline": timeline(course),
    })
}

/// Returns the tokens of a list, each with what the registry says of it.
fn told(keys: &Map<String, Value>, key: &str, text: impl Fn(&str) -> Option<&'static str>) -> Vec<Value> {
    let tokens = keys.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    tokens
        .iter()
        .filter_map(Value::as_str)
        .map(|token| json!({ "token": token, "text": text(token).unwrap_or_default() }))
        .collect()
}

/// Returns how the mode went, newest first, as people read a log of events that goes on.
fn timeline(course: &Course) -> Value {
    let changes: Vec<Value> = course
        .changes()
        .rev()
        .map(|change| {
            json!({
                "seq": change.seq.0,
                "at_ms": change.at.0,
                "mode": change.mode.map(TradingMode::token),
                "primary": change.primary.map(|primary| primary.token()),
                "sentence": change.primary.map(|primary| primary.message()),
            })
        })
        .collect();
    json!({ "changes": changes, "left_off": course.left_off() })
}

fn source(source: &Source) -> Value {
    let (kind, name) = match source {
        Source::Unnamed => return Value::Null,
        Source::Drill(name) => ("drill", name),
        Source::Replay(name) => ("replay", name),
        Source::Log(name) => ("log", name),
        Source::Feed(name) => ("feed", name),
    };
    json!({ "kind": kind, "name": name })
}
