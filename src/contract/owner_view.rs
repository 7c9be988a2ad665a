//! The owner view: what an owner reads in five seconds, derived from the other keys of `/status`.
//!
//! It is a pure function of keys 1 to 34 and the registry. It adds no authority and contradicts nothing: nobody decides
//! anything from it.
//!
//! Source: contract 5.2, status document, key 35 and the rules below the table of keys.

use drillfold_kernel::registry::{ModeReason, OpenPermissionReason, OwnerReason, TradingMode};
use serde_json::{Map, Value, json};

/// Derives `owner_view` from a `/status` document, whose own `owner_view`, if any, is not looked at.
///
/// Every document gives a view, so that a caller need not validate first. In a document that violates the contract, a
/// missing key shows as `null`, an unknown mode counts as blocked, and an unknown reason token, or a block without any
/// reason, gives the most severe code.
#[must_use]
pub fn derive(document: &Map<String, Value>) -> Value {
    let mode = document.get("trading_mode").and_then(Value::as_str).and_then(TradingMode::from_token);
    if mode == Some(TradingMode::Active) {
        return view(OwnerReason::StateIdleHealthy, Vec::new());
    }
    let reasons: Vec<Option<ModeReason>> = tokens(document, "mode_reasons", ModeReason::from_token);
    let codes = tokens(document, "open_permission_reason_codes", OpenPermissionReason::from_token);
    let killed = mode == Some(TradingMode::Kill);

    let mut owners: Vec<OwnerReason> = Vec::new();
    for reason in &reasons {
        match reason {
            Some(reason) => owners.extend(mode_owner(*reason, &reasons, document)),
            None => owners.push(OwnerReason::ExecUnmappedReasonCode),
        }
    }
    if !killed {
        for code in &codes {
            match code {
                Some(code) => owners.extend(code.owner()),
                None => owners.push(OwnerReason::ExecUnmappedReasonCode),
            }
        }
    }
    // The registry lists owner codes from the most severe on, so the least index speaks first.
    let primary = owners.into_iter().min().unwrap_or(OwnerReason::ExecUnmappedReasonCode);
    view(primary, unblock(&reasons, &codes, killed, document))
}

/// Returns the owner's code of a mode reason, which for two reasons depends on other keys.
fn mode_owner(
    reason: ModeReason,
    reasons: &[Option<ModeReason>],
    document: &Map<String, Value>,
) -> Option<OwnerReason> {
    if reason == ModeReason::ReduceonlyEmergencyReduceonlyActive
        && reasons.contains(&Some(ModeReason::ReduceonlyRiskstateDegraded))
    {
        return Some(OwnerReason::RiskPartialFillContainment);
    }
    if reason == ModeReason::ReduceonlyRiskstateDegraded {
        let number = |key: &str| document.get(key).and_then(Value::as_f64);
        let not_zero = |key: &str| number(key).is_some_and(|number| number != 0.0);
        let depth = number("wal_queue_depth");
        if depth.is_some() && depth == number("wal_queue_capacity") && not_zero("wal_queue_enqueue_failures") {
            return Some(OwnerReason::ExecWalWriteFailed);
        }
        if not_zero("429_count_5m") {
            return Some(OwnerReason::ExtRateLimited);
        }
    }
    reason.owner()
}

/// Returns what clears a mode reason: type, condition, current values and target. A latched reason is cleared by its
/// codes.
#[must_use]
pub fn unblock_of_reason(reason: ModeReason, document: &Map<String, Value>) -> Value {
    entry(reason.unblock(), reason.condition(), reason.shows(), reason.target(), document)
}

/// Returns what clears a code of the latch: type, condition, current values and target.
#[must_use]
pub fn unblock_of_code(code: OpenPermissionReason, document: &Map<String, Value>) -> Value {
    entry(code.unblock(), code.condition(), code.shows(), code.target(), document)
}

fn unblock(
    reasons: &[Option<ModeReason>],
    codes: &[Option<OpenPermissionReason>],
    killed: bool,
    document: &Map<String, Value>,
) -> Vec<Value> {
    let of_codes = || codes.iter().flatten().map(|code| unblock_of_code(*code, document));
    let mut entries = Vec::new();
    for reason in reasons.iter().flatten() {
        if *reason == ModeReason::ReduceonlyOpenPermissionLatched {
            entries.extend(of_codes());
        } else {
            entries.push(unblock_of_reason(*reason, document));
        }
    }
    if killed {
        entries.extend(of_codes());
    }
    entries
}

fn entry(kind: &str, condition: &str, shows: &[&str], target: &str, document: &Map<String, Value>) -> Value {
    let current: Vec<String> = shows.iter().map(|key| format!("{key}={}", bare(document.get(*key)))).collect();
    json!({ "type": kind, "condition": condition, "current": current.join(", "), "target": target })
}

/// Returns a value as JSON text, but a string without its quotes, so that an owner reads `risk_state=Degraded`.
fn bare(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => Value::Null.to_string(),
    }
}

fn view(primary: OwnerReason, unblock: Vec<Value>) -> Value {
    json!({
        "primary_owner_reason_code": primary.token(),
        "owner_message": primary.message(),
        "unblock": unblock,
    })
}

/// Reads a list of tokens; `None` stands for an item that the registry does not know.
fn tokens<T>(document: &Map<String, Value>, key: &str, read: fn(&str) -> Option<T>) -> Vec<Option<T>> {
    let items = document.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().map(|item| item.as_str().and_then(read)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::contract::validator::tests::{active, killed, latched, reduce_only};

    #[track_caller]
    fn primary(document: &Value, expected: OwnerReason) {
        let view = derive(document.as_object().expect("an object"));
        assert_eq!(view["primary_owner_reason_code"], expected.token());
        assert_eq!(view["owner_message"], expected.message());
    }

    fn unblock_of(document: &Value) -> Vec<Value> {
        derive(document.as_object().expect("an object"))["unblock"].as_array().expect("a list").clone()
    }

    #[test]
    fn active_is_idle_and_has_nothing_to_unblock() {
        let view = derive(active().as_object().expect("an object"));
        assert_eq!(
            view,
            json!({
                "primary_owner_reason_code": "STATE_IDLE_HEALTHY",
                "owner_message": "Active; nothing blocks.",
                "unblock": [],
            })
        );
    }

    #[test]
    fn each_mode_reason_alone_gives_its_own_code() {
        for reason in ModeReason::ALL {
            let Some(owner) = reason.owner() else {
                continue;
            };
            let document = match reason.tier() {
                drillfold_kernel::registry::Tier::Kill => killed(&[reason], &[]),
                drillfold_kernel::registry::Tier::ReduceOnly => reduce_only(&[reason]),
            };
            primary(&document, owner);
            let unblock = unblock_of(&document);
            assert_eq!(unblock.len(), 1);
            assert_eq!(unblock[0]["condition"], reason.condition());
            assert_eq!(unblock[0]["target"], reason.target());
            assert_eq!(unblock[0]["type"], reason.unblock());
        }
    }

    #[test]
    fn each_latch_code_speaks_in_the_place_of_the_latch() {
        for code in OpenPermissionReason::ALL {
            let document = latched(&[ModeReason::ReduceonlyOpenPermissionLatched], &[code]);
            primary(&document, code.owner().expect("every code has an owner code"));
            let unblock = unblock_of(&document);
            assert_eq!(unblock.len(), 1);
            assert_eq!(unblock[0]["condition"], code.condition());
        }
    }

    #[test]
    fn emergency_with_degraded_is_a_contained_partial_fill() {
        use ModeReason::{ReduceonlyEmergencyReduceonlyActive as Emergency, ReduceonlyRiskstateDegraded as Degraded};
        primary(&reduce_only(&[Emergency]), OwnerReason::RiskEmergencyCloseActive);
        primary(&reduce_only(&[Emergency, Degraded]), OwnerReason::RiskPartialFillContainment);
    }

    #[test]
    fn degraded_names_the_ledger_then_the_rate_limit() {
        let cases = [
            ((0, 0, 0), OwnerReason::RiskStateDegraded),
            ((0, 0, 1), OwnerReason::ExtRateLimited),
            ((1024, 17, 0), OwnerReason::ExecWalWriteFailed),
            ((1024, 17, 5), OwnerReason::ExecWalWriteFailed),
            ((1024, 0, 0), OwnerReason::RiskStateDegraded),
            ((1023, 17, 0), OwnerReason::RiskStateDegraded),
            ((1023, 17, 2), OwnerReason::ExtRateLimited),
        ];
        for ((depth, failures, limited), expected) in cases {
            let mut document = reduce_only(&[ModeReason::ReduceonlyRiskstateDegraded]);
            document["wal_queue_depth"] = json!(depth);
            document["wal_queue_enqueue_failures"] = json!(failures);
            document["429_count_5m"] = json!(limited);
            primary(&document, expected);
        }
    }

    #[test]
    fn values_are_json_and_strings_are_bare() {
        let mut document =
            reduce_only(&[ModeReason::ReduceonlyBunkerModeActive, ModeReason::ReduceonlyRiskstateDegraded]);
        document["bunker_mode_active"] = json!(true);
        document["deribit_http_p95_ms"] = json!(812.5);
        let unblock = unblock_of(&document);
        assert_eq!(unblock[0]["current"], "bunker_mode_active=true, deribit_http_p95_ms=812.5");
        assert_eq!(
            unblock[1]["current"],
            "risk_state=Degraded, wal_queue_depth=0, wal_queue_capacity=1024, wal_queue_enqueue_failures=0"
        );
    }

    #[test]
    fn codes_stand_where_the_latch_stood() {
        let document = latched(
            &[
                ModeReason::ReduceonlyEmergencyReduceonlyActive,
                ModeReason::ReduceonlyOpenPermissionLatched,
                ModeReason::ReduceonlyRiskstateDegraded,
            ],
            &[OpenPermissionReason::RestartReconcileRequired, OpenPermissionReason::WsDataStaleReconcileRequired],
        );
        let conditions: Vec<Value> = unblock_of(&document).iter().map(|entry| entry["condition"].clone()).collect();
        assert_eq!(
            conditions,
            [
                ModeReason::ReduceonlyEmergencyReduceonlyActive.condition(),
                OpenPermissionReason::RestartReconcileRequired.condition(),
                OpenPermissionReason::WsDataStaleReconcileRequired.condition(),
                ModeReason::ReduceonlyRiskstateDegraded.condition(),
            ]
        );
        primary(&document, OwnerReason::RiskPartialFillContainment);
    }

    #[test]
    fn in_kill_codes_follow_the_reasons_and_do_not_speak_first() {
        // The code's owner code is more severe than the reason's, and yet Kill's own reason speaks.
        let document = killed(
            &[ModeReason::KillMarginMmUtilCritical],
            &[OpenPermissionReason::SessionTerminationReconcileRequired],
        );
        primary(&document, OwnerReason::RiskMarginPressure);
        let unblock = unblock_of(&document);
        assert_eq!(unblock.len(), 2);
        assert_eq!(unblock[1]["condition"], OpenPermissionReason::SessionTerminationReconcileRequired.condition());
    }

    #[test]
    fn documents_against_the_contract_still_give_a_view() {
        primary(&json!({}), OwnerReason::ExecUnmappedReasonCode);
        primary(&json!({"trading_mode": 7, "mode_reasons": "many"}), OwnerReason::ExecUnmappedReasonCode);
        let mut document = reduce_only(&[ModeReason::ReduceonlyPolicyStale]);
        document["mode_reasons"] = json!(["REDUCEONLY_FAKE", ModeReason::ReduceonlyPolicyStale.token()]);
        primary(&document, OwnerReason::ExecUnmappedReasonCode);
        assert_eq!(unblock_of(&document).len(), 1);
    }

    proptest! {
        /// The primary code is that of a token present, and the view never depends on the view before it.
        #[test]
        fn prop_view_is_derived_from_the_other_keys(
            reasons in proptest::sample::subsequence(ModeReason::ALL.to_vec(), 0..=ModeReason::ALL.len()),
            codes in proptest::sample::subsequence(OpenPermissionReason::ALL.to_vec(), 0..=OpenPermissionReason::ALL.len()),
            limited in 0u32..3,
        ) {
            let mut document = latched(&reasons, &codes);
            document["429_count_5m"] = json!(limited);
            let view = derive(document.as_object().expect("an object"));
            document["owner_view"] = json!({ "primary_owner_reason_code": "else" });
            prop_assert_eq!(&derive(document.as_object().expect("an object")), &view);
            let entries = view["unblock"].as_array().expect("a list").len();
            let latch = reasons.contains(&ModeReason::ReduceonlyOpenPermissionLatched);
            let expected = reasons.len() - usize::from(latch) + if latch { codes.len() } else { 0 };
            prop_assert_eq!(entries, expected);
        }
    }
}
