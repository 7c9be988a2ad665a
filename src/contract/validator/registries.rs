//! The registries of any team's manifest, in every shape that the contract allows.

use drillfold_registry::Tier;
use serde_json::{Map, Value};

use super::ValidatorError;

/// What the rules need from a manifest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Registries {
    /// Version of the contract.
    pub(super) contract_version: String,
    /// Keys that a document must have, if the manifest lists them.
    pub(super) required: Option<Vec<String>>,
    /// Trading modes, if the manifest lists them.
    modes: Option<Vec<String>>,
    /// Reasons of the Kill tier, in order.
    pub(super) kill: Vec<String>,
    /// Reasons of the ReduceOnly tier, in order.
    pub(super) reduce_only: Vec<String>,
    /// Open-permission codes, in order.
    pub(super) open_permission: Vec<String>,
}

impl Registries {
    /// Reads a manifest.
    ///
    /// Registries stand below `registries` or at the top. Each is a list of strings, a list of objects with a `code`,
    /// or an object with such a list under `values`. The tiers of `ModeReasonCode` are given by keys `Kill` and
    /// `ReduceOnly`, or by each object's `tier`, or by each token's prefix.
    ///
    /// # Errors
    ///
    /// [`ValidatorError::Manifest`] naming what is absent or unreadable.
    pub(super) fn read(manifest: &Value) -> Result<Self, ValidatorError> {
        let root = manifest.as_object().ok_or_else(|| unusable("(root)", "an object"))?;
        let contract_version = root
            .get("contract_version")
            .and_then(Value::as_str)
            .ok_or_else(|| unusable("contract_version", "a text"))?
            .to_owned();
        let required = match find(root, "csp_minimum_keys") {
            Some((at, value)) => Some(codes(value).ok_or_else(|| unusable(&at, "a list of keys"))?),
            None => None,
        };
        let modes = match find(root, "TradingMode") {
            Some((at, value)) => Some(codes(value).ok_or_else(|| unusable(&at, "a list of modes"))?),
            None => None,
        };
        let (at, value) = find(root, "ModeReasonCode").ok_or_else(|| unusable("ModeReasonCode", "present"))?;
        let (kill, reduce_only) = tiers(&at, value)?;
        let (at, value) =
            find(root, "OpenPermissionReasonCode").ok_or_else(|| unusable("OpenPermissionReasonCode", "present"))?;
        let open_permission = codes(value).ok_or_else(|| unusable(&at, "a list of codes"))?;
        Ok(Self { contract_version, required, modes, kill, reduce_only, open_permission })
    }

    /// Tells whether a mode is one of the manifest's; a manifest without that list has the contract's.
    pub(super) fn knows_mode(&self, mode: &str) -> bool {
        self.modes.as_ref().is_none_or(|modes| modes.iter().any(|known| known == mode))
    }
}

/// Finds a registry and its path, below `registries` first and then at the top.
fn find<'a>(root: &'a Map<String, Value>, name: &str) -> Option<(String, &'a Value)> {
    let below = root.get("registries").and_then(|registries| registries.get(name));
    below.map(|value| (format!("registries.{name}"), value)).or_else(|| root.get(name).map(|v| (name.to_owned(), v)))
}

/// Reads the codes of a registry in either shape; `None` if it has neither.
fn codes(value: &Value) -> Option<Vec<String>> {
    entries(value)?.iter().map(|entry| code(entry).map(str::to_owned)).collect()
}

fn entries(value: &Value) -> Option<&Vec<Value>> {
    value.as_array().or_else(|| value.get("values").and_then(Value::as_array))
}

fn code(entry: &Value) -> Option<&str> {
    entry.as_str().or_else(|| entry.get("code").and_then(Value::as_str))
}

fn tiers(at: &str, value: &Value) -> Result<(Vec<String>, Vec<String>), ValidatorError> {
    let [kill_name, reduce_only_name] = Tier::ALL.map(Tier::name);
    // The tiers may also stand as keys below `values`.
    for holder in [Some(value), value.get("values")].into_iter().flatten() {
        if let (Some(kill), Some(reduce_only)) = (holder.get(kill_name), holder.get(reduce_only_name)) {
            let read = |tier: &Value, name: &str| {
                codes(tier).ok_or_else(|| unusable(&format!("{at}.{name}"), "a list of codes"))
            };
            return Ok((read(kill, kill_name)?, read(reduce_only, reduce_only_name)?));
        }
    }
    let entries =
        entries(value).ok_or_else(|| unusable(at, "a list of codes, or Kill and ReduceOnly with one each"))?;
    let mut kill = Vec::new();
    let mut reduce_only = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let place = || format!("{at}[{index}]");
        let code = code(entry).ok_or_else(|| unusable(&place(), "a code, or an object with one"))?;
        let by_field = entry.get("tier").and_then(Value::as_str);
        let tier = by_field.or_else(|| Tier::of_prefix(code).map(Tier::name));
        match tier {
            Some(tier) if tier == kill_name => kill.push(code.to_owned()),
            Some(tier) if tier == reduce_only_name => reduce_only.push(code.to_owned()),
            Some(_) | None => {
                return Err(unusable(&place(), "of tier Kill or ReduceOnly, by `tier` or by prefix"));
            }
        }
    }
    Ok((kill, reduce_only))
}

fn unusable(at: &str, expected: &'static str) -> ValidatorError {
    ValidatorError::Manifest { at: at.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expected() -> Registries {
        let list = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
        Registries {
            contract_version: "5.2".to_owned(),
            required: None,
            modes: None,
            kill: list(&["KILL_A", "KILL_B"]),
            reduce_only: list(&["REDUCEONLY_A"]),
            open_permission: list(&["X", "Y"]),
        }
    }

    #[track_caller]
    fn reads(mode_reasons: Value, open: Value) {
        let nested = json!({
            "contract_version": "5.2",
            "registries": { "ModeReasonCode": mode_reasons, "OpenPermissionReasonCode": open },
        });
        assert_eq!(Registries::read(&nested).expect("the nested shape is read"), expected());
        let flat = json!({
            "contract_version": "5.2", "ModeReasonCode": mode_reasons, "OpenPermissionReasonCode": open,
        });
        assert_eq!(Registries::read(&flat).expect("the flat shape is read"), expected());
    }

    #[test]
    fn every_shape_gives_the_same_registries() {
        let opens = [json!(["X", "Y"]), json!([{"code": "X", "d": 1}, {"code": "Y"}]), json!({"values": ["X", "Y"]})];
        let modes = [
            json!({"Kill": ["KILL_A", "KILL_B"], "ReduceOnly": ["REDUCEONLY_A"]}),
            json!({"Kill": [{"code": "KILL_A"}, {"code": "KILL_B"}], "ReduceOnly": [{"code": "REDUCEONLY_A"}]}),
            json!({"Kill": {"values": ["KILL_A", {"code": "KILL_B"}]}, "ReduceOnly": {"values": ["REDUCEONLY_A"]}}),
            json!({"values": {"Kill": ["KILL_A", "KILL_B"], "ReduceOnly": ["REDUCEONLY_A"]}}),
            json!(["KILL_A", "REDUCEONLY_A", "KILL_B"]),
            json!({"values": ["KILL_A", "KILL_B", "REDUCEONLY_A"]}),
            json!([{"code": "KILL_A", "tier": "Kill"}, {"code": "KILL_B", "tier": "Kill"},
                   {"code": "REDUCEONLY_A", "tier": "ReduceOnly"}]),
        ];
        for mode in &modes {
            for open in &opens {
                reads(mode.clone(), open.clone());
            }
        }
    }

    #[test]
    fn the_tier_field_outranks_the_prefix() {
        let manifest = json!({
            "contract_version": "1",
            "ModeReasonCode": [{"code": "HALT", "tier": "Kill"}, {"code": "KILL_SOFT", "tier": "ReduceOnly"}],
            "OpenPermissionReasonCode": [],
        });
        let registries = Registries::read(&manifest).expect("the manifest is read");
        assert_eq!((registries.kill, registries.reduce_only), (vec!["HALT".to_owned()], vec!["KILL_SOFT".to_owned()]));
    }

    #[track_caller]
    fn refused(manifest: Value, expected: &str) {
        let error = Registries::read(&manifest).expect_err("the manifest is refused").to_string();
        assert!(error.contains(expected), "{error} does not contain {expected}");
    }

    #[test]
    fn unusable_manifests_are_named() {
        refused(json!(null), "(root)");
        refused(json!([]), "(root)");
        refused(json!({}), "contract_version");
        refused(json!({"contract_version": 5.2}), "contract_version");
        refused(json!({"contract_version": "5.2"}), "ModeReasonCode");
        refused(json!({"contract_version": "5.2", "ModeReasonCode": {"Kill": []}}), "ModeReasonCode");
        refused(json!({"contract_version": "5.2", "ModeReasonCode": ["WHO"]}), "ModeReasonCode[0]");
        refused(json!({"contract_version": "5.2", "ModeReasonCode": [{"code": "A", "tier": "Odd"}]}), "of tier");
        refused(json!({"contract_version": "5.2", "ModeReasonCode": []}), "OpenPermissionReasonCode");
        refused(
            json!({"contract_version": "5.2", "ModeReasonCode": [], "OpenPermissionReasonCode": [7]}),
            "OpenPermissionReasonCode",
        );
        refused(json!({"contract_version": "5.2", "csp_minimum_keys": "all"}), "csp_minimum_keys");
    }
}
