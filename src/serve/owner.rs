//! What the owner's page shows: a pure function of what is on the board.
//!
//! **Fail closed.** A state is shown only where there is a document that the validator finds nothing wrong with, strictly
//! and with its owner view derived again. In every other case the view says that no new risk may be opened, and why the
//! state is unknown.
//!
//! Source: contract 5.2, status document; specs/serve.md.

use std::collections::{BTreeMap, BTreeSet};

use drillfold_kernel::registry::{ModeReason, OpenPermissionReason, TradingMode};
use serde_json::{Map, Value, json, value::RawValue};

use super::{Configured, Course, Source, Stage, View};
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
            "limits": shown.map(|shown| limits(&shown.status, &board.configured)),
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

/// Returns the configured values that a document names anywhere, by their names: what a step asks for is `lag<=lag_max`, and
/// an owner wants to know how much that is.
fn limits<'a>(status: &str, configured: &'a Configured) -> BTreeMap<&'static str, &'a str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let named: BTreeSet<&str> = status.split(|letter| !is_part(letter)).collect();
    configured.iter().filter(|(name, _)| named.contains(*name)).map(|(name, value)| (*name, value.as_str())).collect()
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use drillfold_kernel::{
        registry::OwnerReason,
        units::{Seq, TimeMs},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::{
        contract::{
            owner_view,
            validator::tests::{active, latched, reduce_only},
        },
        serve::{Change, Shown},
    };

    fn view_of(document: &Value) -> Value {
        let owner = Owner::new().unwrap();
        owner.view(Some(&document.to_string()), &Stage::Running, &Course::default())
    }

    /// Checks that a view shows no state, and says why in this sentence.
    #[track_caller]
    fn closed(view: &Value, sentence: &str) {
        assert_eq!((&view["fail_closed"], &view["may_open"]), (&json!(true), &json!(false)), "{view}");
        assert_eq!(view["sentence"], sentence);
        assert_eq!((view.get("mode"), view.get("unblock")), (None, None));
    }

    /// Derives the owner view again, so that it is not what makes a document invalid.
    fn derived(mut document: Value) -> Value {
        let view = owner_view::derive(document.as_object().unwrap());
        document["owner_view"] = view;
        document
    }

    const INVALID: &str = "The status document breaks the contract.";

    #[test]
    fn a_valid_document_is_shown_as_it_is() {
        let view = view_of(&active());
        assert_eq!(
            (&view["fail_closed"], &view["mode"], &view["may_open"]),
            (&json!(false), &json!("Active"), &json!(true))
        );
        assert_eq!((&view["unblock"], &view["reasons"]), (&json!([]), &json!([])));
        let reason = ModeReason::ReduceonlyOpenPermissionLatched;
        let code = OpenPermissionReason::WsBookGapReconcileRequired;
        let document = latched(&[reason], &[code]);
        let view = view_of(&document);
        assert_eq!((&view["mode"], &view["may_open"]), (&json!("ReduceOnly"), &json!(false)));
        assert_eq!(view["sentence"], document["owner_view"]["owner_message"]);
        assert_eq!(view["unblock"], document["owner_view"]["unblock"]);
        assert_eq!(view["reasons"], json!([{ "token": reason.token(), "text": reason.text() }]));
        assert_eq!(view["latch"], json!({ "set": true, "codes": [{ "token": code.token(), "text": code.text() }] }));
    }

    #[test]
    fn a_full_ledger_queue_opens_nothing_and_is_said() {
        let mut document = active();
        document["wal_queue_depth"] = document["wal_queue_capacity"].clone();
        let view = view_of(&derived(document));
        assert_eq!((&view["mode"], &view["may_open"]), (&json!("Active"), &json!(false)));
        assert!(view["caveat"].as_str().unwrap().contains("queue is full"));
    }

    #[test]
    fn without_any_one_key_no_state_is_shown() {
        for key in active().as_object().unwrap().keys() {
            let mut document = active();
            document.as_object_mut().unwrap().shift_remove(key);
            let view = view_of(&document);
            closed(&view, INVALID);
            assert!(view["findings"].to_string().contains(key.as_str()), "{key}: {view}");
        }
    }

    #[test]
    fn what_no_registry_knows_is_not_shown() {
        let reasons = reduce_only(&[ModeReason::ReduceonlyPolicyStale]);
        let codes =
            latched(&[ModeReason::ReduceonlyOpenPermissionLatched], &[OpenPermissionReason::RestartReconcileRequired]);
        let cases = [
            (&reasons, "trading_mode", json!("Sideways")),
            (&reasons, "mode_reasons", json!(["NO_SUCH_REASON"])),
            (&reasons, "mode_reasons", json!([ModeReason::ReduceonlyPolicyStale.token(), "NO_SUCH_REASON"])),
            (&codes, "open_permission_reason_codes", json!(["NO_SUCH_CODE"])),
            (&reasons, "further_key", json!(1)),
        ];
        for (document, key, value) in cases {
            let mut document = document.clone();
            document[key] = value;
            closed(&view_of(&derived(document)), INVALID);
        }
        let mut document = active();
        document["owner_view"]["owner_message"] = json!("All is well.");
        closed(&view_of(&document), INVALID);
    }

    #[test]
    fn without_a_document_or_events_no_state_is_shown() {
        let owner = Owner::new().unwrap();
        let (status, course) = (active().to_string(), Course::default());
        closed(&owner.view(None, &Stage::Running, &course), "No process of the safety layer is up.");
        let silent = owner.view(Some(&status), &Stage::Silent, &course);
        closed(&silent, "Events should come and do not: whoever writes them may be gone.");
        for text in ["", "{", "nothing", "{\"trading_mode\": \"Active\"} and more"] {
            let view = owner.view(Some(text), &Stage::Running, &course);
            closed(&view, "The status document can't be read.");
        }
        for text in ["[]", "null", "\"Active\"", "{}"] {
            closed(&owner.view(Some(text), &Stage::Running, &course), INVALID);
        }
    }

    #[test]
    fn findings_are_bounded_and_counted() {
        let view = view_of(&json!({}));
        let findings = view["findings"].as_array().unwrap();
        assert_eq!(findings.len(), FINDINGS_MAX + 1);
        assert!(findings.last().unwrap().as_str().unwrap().starts_with("and "), "{findings:?}");
    }

    #[test]
    fn since_when_is_said_only_of_the_mode_that_is_shown() {
        let owner = Owner::new().unwrap();
        let mut course = Course::default();
        let view = |course: &Course| owner.view(Some(&active().to_string()), &Stage::Running, course);
        assert_eq!(view(&course)["since"], Value::Null);
        let change = |seq, mode| Change {
            seq: Seq(seq),
            at: TimeMs(1_000),
            mode,
            primary: mode.map(|_| OwnerReason::StateIdleHealthy),
        };
        course.add(change(1, Some(TradingMode::Active)));
        assert_eq!(view(&course)["since"], json!({ "seq": 1, "at_ms": 1_000 }));
        course.add(change(5, None));
        let found = view(&course);
        assert_eq!(found["since"], Value::Null);
        let modes: Vec<&Value> =
            found["timeline"]["changes"].as_array().unwrap().iter().map(|change| &change["mode"]).collect();
        assert_eq!(modes, [&Value::Null, &json!("Active")]);
    }

    #[test]
    fn a_message_has_the_document_as_it_is() {
        let owner = Owner::new().unwrap();
        let shown = |status: &str| View {
            shown: Some(Arc::new(Shown {
                status: status.to_owned(),
                build_id: "b".to_owned(),
                contract_version: "5.2".to_owned(),
                seq: Seq(7),
                at: TimeMs(9),
            })),
            stage: Stage::Paused("tripped".to_owned()),
            source: Source::Drill("d".to_owned()),
            ..View::default()
        };
        let message = owner.message(&shown("{\"a\": 1.50}"));
        assert!(message.ends_with(",\"status\":{\"a\": 1.50}}"), "{message}");
        let read: Value = serde_json::from_str(&message).unwrap();
        assert_eq!(
            (&read["schema"], &read["stage"], &read["paused_at"]),
            (&json!(STREAM_SCHEMA), &json!("paused"), &json!("tripped"))
        );
        assert_eq!((&read["seq"], &read["at_ms"]), (&json!(7), &json!(9)));
        assert_eq!(read["source"], json!({ "kind": "drill", "name": "d" }));
        assert_eq!(read["limits"], json!({}));
        let configured: Configured =
            [("lag", "3".to_owned()), ("lag_max", "0.5".to_owned()), ("other", "1".to_owned())].into();
        let named = View { configured: Arc::new(configured), ..shown("{\"a\": \"lag_ms<=lag_max\"}") };
        let read: Value = serde_json::from_str(&owner.message(&named)).unwrap();
        assert_eq!(read["limits"], json!({ "lag_max": "0.5" }));
        let read: Value = serde_json::from_str(&owner.message(&shown("no \"JSON\"\n"))).unwrap();
        assert_eq!((&read["status"], &read["view"]["fail_closed"]), (&json!("no \"JSON\"\n"), &json!(true)));
        let read: Value = serde_json::from_str(&owner.message(&View::default())).unwrap();
        assert_eq!(
            (&read["status"], &read["seq"], &read["view"]["fail_closed"]),
            (&Value::Null, &Value::Null, &json!(true))
        );
    }

    #[test]
    fn the_vocabulary_has_every_key_and_token() {
        let vocabulary = vocabulary();
        assert_eq!(vocabulary["keys"].as_array().unwrap().len(), 35);
        for (list, count) in
            [("mode_reasons", ModeReason::ALL.len()), ("open_permission_reason_codes", OpenPermissionReason::ALL.len())]
        {
            assert_eq!(vocabulary[list].as_array().unwrap().len(), count, "{list}");
        }
        assert_eq!(vocabulary["trading_mode"], json!(["Active", "ReduceOnly", "Kill"]));
    }

    proptest! {
        /// Whatever stands on the board, the message is JSON, and a state is shown only of a document without findings.
        #[test]
        fn prop_any_text_is_a_message_and_only_a_valid_document_a_state(
            text in "\\PC{0,40}|[\\[\\]{}\":,0-9a-z \n]{0,60}",
            key in proptest::sample::select(active().as_object().unwrap().keys().cloned().collect::<Vec<_>>()),
            value in prop_oneof![Just(json!(null)), Just(json!("x")), Just(json!(-7)), Just(json!([3])), Just(json!({}))],
        ) {
            let owner = Owner::new().unwrap();
            closed(&owner.view(Some(&text), &Stage::Running, &Course::default()), match serde_json::from_str::<Value>(&text) {
                Ok(_) => INVALID,
                Err(_) => "The status document can't be read.",
            });
            let mut document = active();
            // Null is a certificate's expiry, of one that is missing; it contradicts PASS here. So all of these are wrong.
            document[&key] = value.clone();
            let view = view_of(&document);
            let text_key = ["build_id", "runtime_config_hash"].contains(&key.as_str()) && value == json!("x");
            prop_assert_eq!(&view["fail_closed"], &json!(!text_key), "{}: {}", key, value);
        }
    }
}
