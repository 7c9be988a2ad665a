//! Known answers for every tag, and properties over documents that have been tampered with.

use drillfold_kernel::registry::{
    CSP_MINIMUM_KEYS, DeploymentEnvironment, F1CertState, ModeReason, OpenPermissionReason, OwnerReason, Profile,
    RiskState, Tier,
};
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Returns a valid document of a healthy system.
pub(crate) fn active() -> Value {
    let mut document = json!({
        "status_schema_version": 1,
        "contract_version": "5.2",
        "build_id": "build-1",
        "runtime_config_hash": "00ff",
        "supported_profiles": ["CSP"],
        "enforced_profile": "CSP",
        "trading_mode": "Active",
        "risk_state": "Healthy",
        "bunker_mode_active": false,
        "connectivity_degraded": false,
        "mode_reasons": [],
        "open_permission_blocked_latch": false,
        "open_permission_reason_codes": [],
        "open_permission_requires_reconcile": false,
        "policy_age_sec": 4,
        "last_policy_update_ts": 1_700_000_000_000_u64,
        "f1_cert_state": "PASS",
        "f1_cert_expires_at": 1_700_086_400_000_u64,
        "disk_used_pct": 0.41,
        "disk_used_last_update_ts_ms": 1_700_000_004_000_u64,
        "disk_used_pct_secondary": 0.41,
        "disk_used_secondary_last_update_ts_ms": 1_700_000_004_000_u64,
        "mm_util": 0.2,
        "mm_util_last_update_ts_ms": 1_700_000_004_000_u64,
        "loop_tick_last_ts_ms": 1_700_000_004_900_u64,
        "wal_queue_depth": 0,
        "wal_queue_capacity": 1024,
        "wal_queue_enqueue_failures": 0,
        "atomic_naked_events_24h": 0,
        "429_count_5m": 0,
        "10028_count_5m": 0,
        "deribit_http_p95_ms": 45.5,
        "ws_event_lag_ms": 12,
        "open_permission_semantics_version": 1,
    });
    derive_into(&mut document);
    document
}

/// Returns a document in ReduceOnly without the latch.
pub(crate) fn reduce_only(reasons: &[ModeReason]) -> Value {
    let mut document = active();
    document["trading_mode"] = json!("ReduceOnly");
    if reasons.contains(&ModeReason::ReduceonlyRiskstateDegraded) {
        document["risk_state"] = json!("Degraded");
    }
    document["mode_reasons"] = reasons.iter().map(|reason| reason.token()).collect();
    derive_into(&mut document);
    document
}

/// Returns a document in ReduceOnly with the latch set.
pub(crate) fn latched(reasons: &[ModeReason], codes: &[OpenPermissionReason]) -> Value {
    let mut document = reduce_only(reasons);
    latch(&mut document, codes);
    document
}

/// Returns a document in Kill, with the latch set if there are codes.
pub(crate) fn killed(reasons: &[ModeReason], codes: &[OpenPermissionReason]) -> Value {
    let mut document = reduce_only(reasons);
    document["trading_mode"] = json!("Kill");
    if !codes.is_empty() {
        latch(&mut document, codes);
    }
    derive_into(&mut document);
    document
}

fn latch(document: &mut Value, codes: &[OpenPermissionReason]) {
    document["connectivity_degraded"] = json!(true);
    document["open_permission_blocked_latch"] = json!(true);
    document["open_permission_requires_reconcile"] = json!(true);
    document["open_permission_reason_codes"] = codes.iter().map(|code| code.token()).collect();
    derive_into(document);
}

fn derive_into(document: &mut Value) {
    let view = owner_view::derive(document.as_object().expect("documents are objects"));
    document["owner_view"] = view;
}

fn gap() -> Value {
    latched(&[ModeReason::ReduceonlyOpenPermissionLatched], &[OpenPermissionReason::WsBookGapReconcileRequired])
}

const ALL_OPTIONS: Options = Options { strict: true, derive_owner_view: true };

fn run(document: &Value, schema: BuiltInSchema, options: Options) -> Vec<Finding> {
    Validator::built_in(schema).expect("what is built in is usable").validate(document, options)
}

fn tags(findings: &[Finding]) -> Vec<Tag> {
    let mut tags: Vec<Tag> = findings.iter().map(|finding| finding.tag).collect();
    tags.dedup();
    tags
}

#[track_caller]
fn valid(document: &Value) {
    assert_eq!(run(document, BuiltInSchema::Exact, ALL_OPTIONS), []);
    assert_eq!(run(document, BuiltInSchema::Min, ALL_OPTIONS), []);
}

/// Changes a valid document and expects exactly these tags, and the texts in the findings' lines.
#[track_caller]
fn finds(mut document: Value, change: impl FnOnce(&mut Value), expected: &[Tag], texts: &[&str]) {
    valid(&document);
    change(&mut document);
    let findings = run(&document, BuiltInSchema::Exact, Options { strict: true, derive_owner_view: false });
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert_eq!(tags(&findings), expected, "{lines:#?}");
    for text in texts {
        assert!(lines.iter().any(|line| line.contains(text)), "{text} is in none of {lines:#?}");
    }
}

fn remove(document: &mut Value, key: &str) {
    document.as_object_mut().expect("an object").shift_remove(key);
}

#[test]
fn documents_of_every_mode_are_valid() {
    valid(&active());
    valid(&gap());
    for reason in ModeReason::ALL {
        match reason.tier() {
            Tier::Kill => {
                valid(&killed(&[reason], &[]));
                valid(&killed(&[reason], &OpenPermissionReason::ALL));
            }
            Tier::ReduceOnly if reason == ModeReason::ReduceonlyOpenPermissionLatched => {}
            Tier::ReduceOnly => valid(&reduce_only(&[reason])),
        }
    }
    let reduce_only: Vec<ModeReason> =
        ModeReason::ALL.into_iter().filter(|reason| reason.tier() == Tier::ReduceOnly).collect();
    valid(&latched(&reduce_only, &OpenPermissionReason::ALL));
}

#[test]
fn certificate_and_expiry_go_together() {
    let mut document = reduce_only(&[ModeReason::ReduceonlyF1CertInvalid]);
    document["f1_cert_state"] = json!("MISSING");
    document["f1_cert_expires_at"] = json!(null);
    derive_into(&mut document);
    valid(&document);
    finds(document, |d| d["f1_cert_expires_at"] = json!(5), &[Tag::Schema], &["[SCHEMA] $.f1_cert_expires_at: "]);
    finds(active(), |d| d["f1_cert_expires_at"] = json!(null), &[Tag::Schema], &["$.f1_cert_expires_at"]);
}

#[test]
fn schema_findings_name_the_json_path() {
    let cases: [(&str, Value, &str); 12] = [
        ("/status_schema_version", json!(2), "$.status_schema_version"),
        ("/build_id", json!(""), "$.build_id"),
        ("/supported_profiles", json!(["GOP"]), "$.supported_profiles"),
        ("/supported_profiles", json!(["CSP", "CSP"]), "$.supported_profiles"),
        ("/supported_profiles", json!(["CSP", "X"]), "$.supported_profiles[1]"),
        ("/risk_state", json!("Odd"), "$.risk_state"),
        ("/disk_used_pct", json!(1.01), "$.disk_used_pct"),
        ("/wal_queue_capacity", json!(0), "$.wal_queue_capacity"),
        ("/429_count_5m", json!(-1), "$.429_count_5m"),
        ("/ws_event_lag_ms", json!(1.5), "$.ws_event_lag_ms"),
        ("/owner_view/unblock", json!([{}]), "$.owner_view.unblock[0]"),
        ("/open_permission_semantics_version", json!(2), "$.open_permission_semantics_version"),
    ];
    for (pointer, value, path) in cases {
        let change = |d: &mut Value| *d.pointer_mut(pointer).expect("the place exists") = value;
        finds(active(), change, &[Tag::Schema], &[&format!("[SCHEMA] {path}: ")]);
    }
    let boundaries = [("/disk_used_pct", json!(1)), ("/disk_used_pct", json!(0.0)), ("/wal_queue_capacity", json!(1))];
    for (pointer, value) in boundaries {
        let mut document = active();
        *document.pointer_mut(pointer).expect("the place exists") = value;
        valid(&document);
    }
}

#[test]
fn each_missing_key_is_a_line() {
    for key in CSP_MINIMUM_KEYS {
        let mut document = active();
        remove(&mut document, key);
        let findings = run(&document, BuiltInSchema::Min, Options::default());
        let lines: Vec<String> =
            findings.iter().filter(|finding| finding.tag == Tag::CspMin).map(Finding::to_string).collect();
        assert_eq!(lines, [format!("[CSP-MIN] required key {key} is missing")]);
    }
    let findings = run(&json!({}), BuiltInSchema::Min, Options::default());
    assert_eq!(findings.iter().filter(|finding| finding.tag == Tag::CspMin).count(), 35);
}

#[test]
fn contract_version_is_the_manifests() {
    let tags = &[Tag::Schema, Tag::Contract];
    finds(active(), |d| d["contract_version"] = json!("5.1"), tags, &["[CONTRACT] contract_version is \"5.1\""]);
    finds(active(), |d| d["contract_version"] = json!(5.2), tags, &["[CONTRACT] contract_version is 5.2"]);
}

#[test]
fn invariant_modes_and_reasons_go_together() {
    let tags = &[Tag::Schema, Tag::Invariant];
    let policy = ModeReason::ReduceonlyPolicyStale;
    finds(active(), |d| d["mode_reasons"] = json!([policy.token()]), tags, &["[INVARIANT] Active"]);
    finds(reduce_only(&[policy]), |d| d["mode_reasons"] = json!([]), tags, &["[INVARIANT] ReduceOnly"]);
    finds(
        killed(&[ModeReason::KillRiskstateKill], &[]),
        |d| d["mode_reasons"] = json!("KILL"),
        tags,
        &["[INVARIANT] Kill must have at least one mode reason, found \"KILL\""],
    );
}

#[test]
fn tier_reasons_belong_to_the_mode() {
    let tags = &[Tag::Schema, Tag::Tier];
    let stale = ModeReason::ReduceonlyPolicyStale;
    let kill = ModeReason::KillRiskstateKill;
    finds(
        reduce_only(&[stale]),
        |d| d["mode_reasons"] = json!([kill.token(), stale.token()]),
        tags,
        &["[TIER] mode_reasons[0]: \"KILL_RISKSTATE_KILL\" is not a reason of tier ReduceOnly"],
    );
    finds(
        killed(&[kill], &[]),
        |d| d["mode_reasons"] = json!([kill.token(), stale.token()]),
        tags,
        &["mode_reasons[1]"],
    );
    finds(
        killed(&[kill], &[]),
        |d| d["mode_reasons"] = json!([kill.token(), "KILL_FAKE", 7]),
        tags,
        &["KILL_FAKE", "[2]: 7"],
    );
}

#[test]
fn order_is_the_manifests() {
    use ModeReason::{ReduceonlyPolicyStale as Policy, ReduceonlyRiskstateDegraded as Degraded};
    finds(
        reduce_only(&[Degraded, Policy]),
        |d| d["mode_reasons"] = json!([Policy.token(), Degraded.token()]),
        &[Tag::Order],
        &["[ORDER] mode_reasons[1]: REDUCEONLY_RISKSTATE_DEGRADED must stand before REDUCEONLY_POLICY_STALE"],
    );
    finds(
        reduce_only(&[Degraded, Policy]),
        |d| d["mode_reasons"] = json!([Degraded.token(), Degraded.token()]),
        &[Tag::Schema, Tag::Order],
        &["[ORDER] mode_reasons[1]: REDUCEONLY_RISKSTATE_DEGRADED is repeated"],
    );
    let latch = ModeReason::ReduceonlyOpenPermissionLatched;
    finds(
        latched(&[latch], &OpenPermissionReason::ALL),
        |d| d["open_permission_reason_codes"].as_array_mut().expect("a list").swap(0, 1),
        &[Tag::Order],
        &["[ORDER] open_permission_reason_codes[1]"],
    );
}

#[test]
fn enum_modes_and_codes_are_known() {
    finds(
        active(),
        |d| d["trading_mode"] = json!("Paused"),
        &[Tag::Schema, Tag::Enum],
        &["[ENUM] trading_mode is \"Paused\""],
    );
    finds(active(), |d| d["trading_mode"] = json!(null), &[Tag::Schema, Tag::Enum], &["[ENUM] trading_mode is null"]);
    finds(
        gap(),
        |d| d["open_permission_reason_codes"] = json!(["WS_BOOK_GAP_RECONCILE_REQUIRED", "MOOD"]),
        &[Tag::Schema, Tag::Enum],
        &["[ENUM] open_permission_reason_codes[1]: \"MOOD\""],
    );
}

#[test]
fn latch_codes_and_reconcile_agree() {
    let tags = &[Tag::Schema, Tag::Latch];
    finds(gap(), |d| d["open_permission_requires_reconcile"] = json!(false), tags, &["[LATCH] latch true demands"]);
    finds(gap(), |d| d["open_permission_reason_codes"] = json!([]), tags, &["at least one code"]);
    finds(gap(), |d| d["open_permission_reason_codes"] = json!({}), tags, &["at least one code"]);
    finds(active(), |d| d["open_permission_requires_reconcile"] = json!(true), tags, &["[LATCH] latch false demands"]);
    let code = OpenPermissionReason::RestartReconcileRequired.token();
    finds(active(), |d| d["open_permission_reason_codes"] = json!([code]), tags, &["an empty list"]);
    finds(
        active(),
        |d| d["open_permission_blocked_latch"] = json!("no"),
        tags,
        &["must be true or false, found \"no\""],
    );
    finds(active(), |d| d["open_permission_blocked_latch"] = json!(null), tags, &["found null"]);
}

#[test]
fn decision_a_latch_excludes_active_and_is_named() {
    finds(
        gap(),
        |d| {
            d["trading_mode"] = json!("Active");
            d["mode_reasons"] = json!([]);
        },
        &[Tag::Schema, Tag::DecisionA],
        &["[DECISION-A] the latch is set, so trading_mode must not be Active"],
    );
    finds(
        gap(),
        |d| d["mode_reasons"] = json!([ModeReason::ReduceonlyPolicyStale.token()]),
        &[Tag::DecisionA],
        &["[DECISION-A] the latch is set in ReduceOnly, so mode_reasons must have REDUCEONLY_OPEN_PERMISSION_LATCHED"],
    );
    valid(&killed(&[ModeReason::KillRiskstateKill], &[OpenPermissionReason::RestartReconcileRequired]));
}

#[test]
fn strict_reports_keys_that_the_schema_does_not_define() {
    let mut document = active();
    document["mood"] = json!("fine");
    assert_eq!(run(&document, BuiltInSchema::Min, Options::default()), []);
    let findings = run(&document, BuiltInSchema::Min, Options { strict: true, derive_owner_view: false });
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert_eq!(lines, ["[STRICT] $.mood: the schema does not define this key, remove it"]);
    assert_eq!(tags(&run(&document, BuiltInSchema::Exact, ALL_OPTIONS)), [Tag::Schema, Tag::Strict]);

    finds(
        active(),
        |d| d["owner_view"]["mood"] = json!(1),
        &[Tag::Schema, Tag::Strict],
        &["[STRICT] $.owner_view.mood"],
    );
    finds(
        gap(),
        |d| d["owner_view"]["unblock"][0]["odd key"] = json!(1),
        &[Tag::Schema, Tag::Strict],
        &["[STRICT] $.owner_view.unblock[0][\"odd key\"]"],
    );
}

#[test]
fn strict_follows_references_and_combined_schemas() {
    let schema = json!({
        "required": ["a"],
        "properties": { "a": { "$ref": "#/$defs/a" } },
        "allOf": [{ "properties": { "b": {} } }],
        "$defs": { "a": { "properties": { "x": { "$ref": "#/$defs/a" } } } },
    });
    let manifest = json!({ "contract_version": "5.2", "ModeReasonCode": [], "OpenPermissionReasonCode": [] });
    let document = json!({ "a": { "x": { "x": {}, "y": 1 } }, "b": { "free": 1 }, "c": 1 });
    let findings = validate(&document, &schema, &manifest, Options { strict: true, derive_owner_view: false })
        .expect("schema and manifest are usable");
    let strict: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.tag == Tag::Strict)
        .map(|finding| finding.message.split(':').next().unwrap_or_default())
        .collect();
    assert_eq!(strict, ["$.a.x.y", "$.c"]);
}

#[test]
fn owner_view_is_compared_only_when_asked_and_all_else_holds() {
    let mut document = gap();
    document["owner_view"]["owner_message"] = json!("All is well.");
    assert_eq!(run(&document, BuiltInSchema::Exact, Options { strict: true, derive_owner_view: false }), []);
    let findings = run(&document, BuiltInSchema::Exact, ALL_OPTIONS);
    assert_eq!(tags(&findings), [Tag::OwnerView]);
    assert!(findings[0].message.starts_with("$.owner_view.owner_message: the other keys derive \"Exchange"));

    document["owner_view"]["unblock"] = json!([]);
    assert_eq!(run(&document, BuiltInSchema::Exact, ALL_OPTIONS).len(), 2);

    document["ws_event_lag_ms"] = json!(-1);
    assert_eq!(tags(&run(&document, BuiltInSchema::Exact, ALL_OPTIONS)), [Tag::Schema]);
}

#[test]
fn owner_view_shows_current_values() {
    let mut document = reduce_only(&[ModeReason::ReduceonlyMarginMmUtilHigh]);
    document["mm_util"] = json!(0.87);
    let findings = run(&document, BuiltInSchema::Exact, ALL_OPTIONS);
    assert_eq!(findings.len(), 1);
    assert_eq!(
        findings[0].to_string(),
        "[OWNER-VIEW] $.owner_view.unblock[0].current: the other keys derive \"mm_util=0.87\", found \"mm_util=0.2\""
    );
}

#[test]
fn all_findings_are_reported_in_the_order_of_tags() {
    let mut document = gap();
    document["contract_version"] = json!("4");
    document["mode_reasons"] = json!(["KILL_FAKE"]);
    document["open_permission_reason_codes"] = json!(["MOOD"]);
    document["open_permission_requires_reconcile"] = json!(false);
    document["extra"] = json!(1);
    remove(&mut document, "build_id");
    let findings = run(&document, BuiltInSchema::Exact, ALL_OPTIONS);
    assert_eq!(
        tags(&findings),
        [Tag::Schema, Tag::CspMin, Tag::Contract, Tag::Tier, Tag::Enum, Tag::Latch, Tag::DecisionA, Tag::Strict]
    );
    assert_eq!(findings, run(&document, BuiltInSchema::Exact, ALL_OPTIONS));
}

#[test]
fn what_is_no_object_is_a_finding() {
    for document in [json!(null), json!([]), json!("text"), json!(7), json!(true)] {
        let findings = run(&document, BuiltInSchema::Exact, ALL_OPTIONS);
        assert_eq!(findings[0].tag, Tag::Schema);
        assert_eq!(findings.iter().filter(|finding| finding.tag == Tag::CspMin).count(), 35);
    }
    let manifest = json!({ "contract_version": "5.2", "ModeReasonCode": [], "OpenPermissionReasonCode": [] });
    let findings = validate(&json!([]), &json!({"required": ["a"]}), &manifest, Options::default()).expect("usable");
    assert_eq!(findings[0].to_string(), "[SCHEMA] $: a status document must be an object");
}

#[test]
fn required_keys_come_from_the_manifest_else_from_the_schema() {
    let registries = json!({
        "ModeReasonCode": { "Kill": ["KILL_A"], "ReduceOnly": ["REDUCEONLY_A"] },
        "OpenPermissionReasonCode": ["X"],
    });
    let csp_min = |manifest: &Value, schema: &Value| -> Vec<String> {
        let findings = validate(&json!({}), schema, manifest, Options::default()).expect("both are usable");
        findings.into_iter().filter(|finding| finding.tag == Tag::CspMin).map(|finding| finding.message).collect()
    };
    let without = json!({ "contract_version": "5.2", "registries": registries });
    let mut with = without.clone();
    with["csp_minimum_keys"] = json!(["m"]);
    let schema = json!({ "type": "object", "required": ["s"] });
    assert_eq!(csp_min(&with, &schema), ["required key m is missing"]);
    assert_eq!(csp_min(&without, &schema), ["required key s is missing"]);
    let error = validate(&json!({}), &json!({}), &without, Options::default()).expect_err("nothing is required");
    assert!(matches!(error, ValidatorError::NoRequiredKeys));
}

/// A team whose schema has the contract's 33 keys and whose manifest lists none uses the validator as it is.
///
/// Source: decision 1.
#[test]
fn a_document_of_33_keys_passes_a_schema_of_33_keys() {
    let mut schema = BuiltInSchema::Min.value().expect("JSON");
    schema["required"].as_array_mut().expect("a list").truncate(33);
    let mut manifest = built_in_manifest().expect("JSON");
    remove(&mut manifest, "csp_minimum_keys");
    let mut document = gap();
    remove(&mut document, "owner_view");
    remove(&mut document, "open_permission_semantics_version");
    assert_eq!(validate(&document, &schema, &manifest, Options::default()).expect("usable"), []);
    assert_eq!(tags(&run(&document, BuiltInSchema::Min, Options::default())), [Tag::Schema, Tag::CspMin]);
}

/// A schema that names an address as its identity is used without going there.
#[test]
fn a_schema_of_another_team_is_used_unchanged() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://status.example.invalid/min.json",
        "type": "object",
        "required": ["contract_version", "owner_view"],
        "properties": { "contract_version": { "const": "9" }, "owner_view": { "$ref": "#/$defs/view" } },
        "$defs": { "view": { "type": "object", "required": ["text"], "properties": { "text": { "type": "string" } } } },
    });
    let manifest = json!({
        "contract_version": "9",
        "registries": {
            "TradingMode": { "values": ["Active", "ReduceOnly"] },
            "ModeReasonCode": { "Kill": [], "ReduceOnly": [{ "code": "REDUCEONLY_OURS", "display": "Ours." }] },
            "OpenPermissionReasonCode": { "values": [{ "code": "OURS", "display": "Ours." }] },
        },
    });
    let mut document = json!({
        "contract_version": "9",
        "trading_mode": "ReduceOnly",
        "mode_reasons": ["REDUCEONLY_OURS"],
        "open_permission_blocked_latch": false,
        "open_permission_requires_reconcile": false,
        "open_permission_reason_codes": [],
        "owner_view": { "text": "ours" },
    });
    let lines = |document: &Value| -> Vec<String> {
        let findings = validate(document, &schema, &manifest, Options::default()).expect("both are usable");
        findings.iter().map(Finding::to_string).collect()
    };
    assert_eq!(lines(&document), Vec::<String>::new());
    document["trading_mode"] = json!("Kill");
    document["owner_view"]["text"] = json!(1);
    assert_eq!(
        lines(&document),
        [
            "[SCHEMA] $.owner_view.text: 1 is not of type \"string\"",
            "[ENUM] trading_mode is \"Kill\", which is not a known mode",
        ]
    );
}

#[test]
fn unusable_schemas_are_errors() {
    let manifest = built_in_manifest().expect("JSON");
    let schemas = [
        json!(null),
        json!([]),
        json!(true),
        json!({ "type": 7 }),
        json!({ "type": "odd" }),
        json!({ "properties": [] }),
        json!({ "required": "all" }),
        json!({ "$ref": "#/nowhere" }),
        json!({ "$ref": "https://example.invalid/schema.json" }),
        json!({ "$ref": "file:///etc/hostname" }),
        json!({ "properties": { "a": { "pattern": "(" } } }),
    ];
    for schema in schemas {
        let result = Validator::new(&schema, &manifest);
        assert!(matches!(result, Err(ValidatorError::Schema { .. })), "{schema}");
    }
    let result = Validator::new(&BuiltInSchema::Min.value().expect("JSON"), &json!({}));
    assert!(matches!(result, Err(ValidatorError::Manifest { .. })));
}

/// The schemas repeat tokens, because a schema cannot read a manifest; this ties them together.
#[test]
fn schemas_have_exactly_the_manifests_tokens() {
    for schema in [BuiltInSchema::Min, BuiltInSchema::Exact] {
        let schema = schema.value().expect("JSON");
        let list = |pointer: &str| -> Vec<String> {
            let list = schema.pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("{pointer}"));
            list.iter().map(|item| item.as_str().expect("a text").to_owned()).collect()
        };
        let modes: Vec<&str> = ModeReason::ALL.iter().map(|reason| reason.token()).collect();
        let of_tier = |tier: Tier| -> Vec<&str> {
            ModeReason::ALL.iter().filter(|reason| reason.tier() == tier).map(|reason| reason.token()).collect()
        };
        let opens: Vec<&str> = OpenPermissionReason::ALL.iter().map(|code| code.token()).collect();
        assert_eq!(list("/required"), CSP_MINIMUM_KEYS);
        assert_eq!(list("/properties/trading_mode/enum"), TradingMode::ALL.map(TradingMode::token));
        assert_eq!(list("/properties/risk_state/enum"), RiskState::ALL.map(RiskState::token));
        assert_eq!(list("/properties/f1_cert_state/enum"), F1CertState::ALL.map(F1CertState::token));
        assert_eq!(list("/properties/supported_profiles/items/enum"), Profile::ALL.map(Profile::token));
        assert_eq!(list("/properties/mode_reasons/items/enum"), modes);
        assert_eq!(list("/properties/open_permission_reason_codes/items/enum"), opens);
        assert_eq!(list("/allOf/1/then/properties/mode_reasons/items/enum"), of_tier(Tier::ReduceOnly));
        assert_eq!(list("/allOf/2/then/properties/mode_reasons/items/enum"), of_tier(Tier::Kill));
        let owners = OwnerReason::ALL.map(OwnerReason::token);
        assert_eq!(list("/$defs/owner_view/properties/primary_owner_reason_code/enum"), owners);
        assert_eq!(schema["properties"]["contract_version"]["const"], drillfold_kernel::registry::CONTRACT_VERSION);
        let keys: Vec<&String> = schema["properties"].as_object().expect("an object").keys().collect();
        assert_eq!(keys, CSP_MINIMUM_KEYS);
        assert_eq!(DeploymentEnvironment::ALL.len(), 4);
    }
}

/// The exact schema is the minimum schema, closed at the top.
#[test]
fn exact_differs_from_minimum_by_what_it_closes() {
    let mut min = BuiltInSchema::Min.value().expect("JSON");
    let mut exact = BuiltInSchema::Exact.value().expect("JSON");
    assert_eq!(exact["additionalProperties"], json!(false));
    remove(&mut exact, "additionalProperties");
    for schema in [&mut min, &mut exact] {
        for key in ["$id", "title", "description"] {
            remove(schema, key);
        }
    }
    assert_eq!(min, exact);
}

/// Returns any small JSON value.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[A-Z_a-z0-9]{0,12}".prop_map(Value::from),
        proptest::sample::select(ModeReason::ALL.to_vec()).prop_map(|reason| json!(reason.token())),
        proptest::sample::select(OpenPermissionReason::ALL.to_vec()).prop_map(|code| json!(code.token())),
        proptest::sample::select(vec!["Active", "ReduceOnly", "Kill"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Returns a document in which some keys hold anything, some are gone and some are new.
fn any_document() -> impl Strategy<Value = Value> {
    let base = prop_oneof![
        Just(active()),
        Just(gap()),
        Just(killed(&[ModeReason::KillRiskstateKill], &OpenPermissionReason::ALL)),
        Just(reduce_only(&[ModeReason::ReduceonlyRiskstateDegraded])),
    ];
    let keys = proptest::sample::select(CSP_MINIMUM_KEYS.to_vec());
    let changes = proptest::collection::vec((keys, proptest::option::weighted(0.9, any_value())), 0..5);
    (base, changes, proptest::option::weighted(0.2, ("[a-z]{1,6}", any_value()))).prop_map(
        |(mut base, changes, new)| {
            for (key, value) in changes {
                match value {
                    Some(value) => base[key] = value,
                    None => remove(&mut base, key),
                }
            }
            if let Some((key, value)) = new {
                base[&key] = value;
            }
            base
        },
    )
}

/// Returns all places of a value as JSON pointers.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            pointers(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
        }),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever a document holds: an answer, sorted by tag, the same one twice, each line one line.
    #[test]
    fn prop_any_document_gets_a_stable_answer(document in any_document()) {
        thread_local! {
            static VALIDATOR: Validator = Validator::built_in(BuiltInSchema::Exact).expect("usable");
        }
        VALIDATOR.with(|validator| {
            let findings = validator.validate(&document, ALL_OPTIONS);
            prop_assert!(findings.is_sorted_by_key(|finding| finding.tag));
            prop_assert!(findings.iter().all(|finding| !finding.to_string().contains('\n')));
            prop_assert_eq!(&findings, &validator.validate(&document, ALL_OPTIONS));
            Ok(())
        })?;
    }

    /// Whatever a schema or manifest holds at any place: an answer or a typed error.
    #[test]
    fn prop_any_schema_and_manifest_get_an_answer(
        in_manifest in any::<bool>(),
        place in any::<prop::sample::Index>(),
        value in any_value(),
    ) {
        let mut schema = BuiltInSchema::Exact.value().expect("JSON");
        let mut manifest = built_in_manifest().expect("JSON");
        let target = if in_manifest { &mut manifest } else { &mut schema };
        let mut places = Vec::new();
        pointers(target, "", &mut places);
        let place: &String = place.get(&places);
        *target.pointer_mut(place).expect("the place exists") = value;
        let _ = validate(&gap(), &schema, &manifest, ALL_OPTIONS);
    }
}
