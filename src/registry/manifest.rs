//! The manifest as typed values, and the one function that reads it.

use serde_json::{Map, Value};

/// Number of keys that every `/status` document carries.
///
/// Source: contract 5.2, status document, keys 1 to 35 (decision 1).
pub const CSP_MINIMUM_KEY_COUNT: usize = 35;

/// Version of the manifest's own layout that this crate reads.
const SCHEMA_VERSION: u64 = 1;

/// Plain enumerations that the manifest must define, in the order in which they are generated.
const ENUMERATIONS: [&str; 5] = ["TradingMode", "RiskState", "F1CertState", "Profile", "DeploymentEnvironment"];

/// The registries that carry reasons.
const REASON_REGISTRIES: [&str; 4] =
    ["ModeReasonCode", "OpenPermissionReasonCode", "RejectReasonCode", "OwnerReasonCode"];

/// The whole manifest: every registry in its order, which is the order of emission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// Version of the contract that the tokens belong to, for example `5.2`.
    pub contract_version: String,
    /// Keys that every `/status` document must carry, in document order.
    pub csp_minimum_keys: Vec<String>,
    /// Plain enumerations (`TradingMode`, `RiskState`, ...), always all five, in a fixed order.
    pub enumerations: Vec<Enumeration>,
    /// Reasons of a trading mode: the Kill tier first, then the ReduceOnly tier.
    pub mode_reasons: Vec<ModeReason>,
    /// Reasons for which the open-permission latch is set.
    pub open_permission_reasons: Vec<OpenPermissionReason>,
    /// Reasons for which one intent is refused before dispatch.
    pub reject_reasons: Vec<Token>,
    /// Owner-facing codes, most severe first; the text of each is the message that the owner reads.
    pub owner_reasons: Vec<Token>,
}

/// A token with the sentence that tells a reader what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token as it stands in documents, ASCII letters, digits and underscores, not starting with a digit.
    pub code: String,
    /// What it means, one line of text.
    pub text: String,
}

/// A named list of values without tiers or unblock conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enumeration {
    /// Name of the enumeration, for example `TradingMode`.
    pub name: String,
    /// Its values in order.
    pub values: Vec<Token>,
}

/// The tier of a mode reason: the trading mode that it explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Explains `Kill`; tokens begin with `KILL_`.
    Kill,
    /// Explains `ReduceOnly`; tokens begin with `REDUCEONLY_`.
    ReduceOnly,
}

impl Tier {
    /// Both tiers, in the order of the registry.
    pub const ALL: [Self; 2] = [Self::Kill, Self::ReduceOnly];

    /// Returns the tier's name, which is also its key in the manifest.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "Kill",
            Self::ReduceOnly => "ReduceOnly",
        }
    }

    /// Returns the prefix that every token of the tier has and no other token may have.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Kill => "KILL_",
            Self::ReduceOnly => "REDUCEONLY_",
        }
    }

    /// Returns the tier that a token's prefix announces, if any.
    #[must_use]
    pub fn of_prefix(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| code.starts_with(tier.prefix()))
    }
}

/// How a blocked state is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unblock {
    /// By the system itself, once the condition holds.
    Auto,
    /// By a person.
    Manual,
}

impl Unblock {
    /// Returns the spelling used in the manifest and in `owner_view`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "AUTO",
            Self::Manual => "MANUAL",
        }
    }
}

/// What the owner view says about a reason.
///
/// `REDUCEONLY_OPEN_PERMISSION_LATCHED` has none of it: the latch's own codes speak in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Code of `OwnerReasonCode` that the reason maps to.
    pub owner: String,
    /// `/status` keys whose values `current` shows, in order.
    pub shows: Vec<String>,
    /// What those keys have to become, in machine-readable form.
    pub target: String,
}

/// One reason of a trading mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeReason {
    /// Token and meaning.
    pub token: Token,
    /// When it is active, in words; names of configuration keys stand for their values.
    pub when: String,
    /// The mode that the reason explains.
    pub tier: Tier,
    /// Whether an explicit act or proof is needed to clear it.
    pub latched: bool,
    /// Who lifts it.
    pub unblock: Unblock,
    /// When it is lifted, in machine-readable form; names of configuration keys stand for their values.
    pub condition: String,
    /// What the owner view says; `None` if other tokens speak in its place.
    pub shown: Option<Shown>,
}

/// One reason for which the open-permission latch is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPermissionReason {
    /// Token and meaning.
    pub token: Token,
    /// What sets it, in words.
    pub when: String,
    /// Who lifts it.
    pub unblock: Unblock,
    /// When it is lifted, in machine-readable form.
    pub condition: String,
    /// What the owner view says; `None` if other tokens speak in its place.
    pub shown: Option<Shown>,
}

/// Why a manifest could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The text is not JSON. Mend the syntax at the place that the source names.
    #[error("manifest is not valid JSON, mend the syntax")]
    Json(#[source] serde_json::Error),
    /// A field has another type or form than the one expected. `at` is its path from the root.
    #[error("manifest field `{at}` must be {expected}, found {found}")]
    Field {
        /// Path from the root, such as `registries.ModeReasonCode.Kill[2].owner`.
        at: String,
        /// What the field has to be.
        expected: &'static str,
        /// What stands there, shortened.
        found: String,
    },
    /// A field or registry that must exist is absent. Add it.
    #[error("manifest field `{at}` is missing, add it")]
    Missing {
        /// Path from the root.
        at: String,
    },
    /// A field or registry is not one that this version knows. Remove it or correct its name.
    #[error("manifest field `{at}` is not known, remove it or correct its name")]
    Unknown {
        /// Path from the root.
        at: String,
    },
}

impl Registry {
    /// Reads a manifest from JSON text.
    ///
    /// Only the form is judged here: types, required and unknown fields, the alphabet of tokens. Whether the tokens
    /// are the right ones is the task of [`crate::check()`].
    ///
    /// # Errors
    ///
    /// [`ManifestError`] naming the first field that cannot be read.
    pub fn parse(json: &str) -> Result<Self, ManifestError> {
        let value: Value = serde_json::from_str(json).map_err(ManifestError::Json)?;
        let root = Node::root(&value).object()?;
        root.only(&["$schema", "schema_version", "contract_version", "description", "csp_minimum_keys", "registries"])?;
        let version = root.get("schema_version")?;
        if version.value.as_u64() != Some(SCHEMA_VERSION) {
            return Err(version.wrong("1, the only layout version there is"));
        }
        let registries = root.get("registries")?.object()?;
        let known: Vec<&str> = ENUMERATIONS.iter().chain(&REASON_REGISTRIES).copied().collect();
        registries.only(&known)?;

        let mut enumerations = Vec::with_capacity(ENUMERATIONS.len());
        for name in ENUMERATIONS {
            enumerations.push(Enumeration { name: name.to_owned(), values: tokens(&registries, name)? });
        }
        Ok(Self {
            contract_version: root.get("contract_version")?.line()?,
            csp_minimum_keys: root.get("csp_minimum_keys")?.lines()?,
            enumerations,
            mode_reasons: mode_reasons(&registries)?,
            open_permission_reasons: open_permission_reasons(&registries)?,
            reject_reasons: tokens(&registries, "RejectReasonCode")?,
            owner_reasons: tokens(&registries, "OwnerReasonCode")?,
        })
    }

    /// Returns every registry as a pair of its name and its codes, in the manifest's fixed order.
    ///
    /// The tiers of `ModeReasonCode` appear as `ModeReasonCode.Kill` and `ModeReasonCode.ReduceOnly`.
    #[must_use]
    pub fn lists(&self) -> Vec<(String, Vec<&str>)> {
        fn codes(values: &[Token]) -> Vec<&str> {
            values.iter().map(|value| value.code.as_str()).collect()
        }
        let mut lists: Vec<(String, Vec<&str>)> =
            self.enumerations.iter().map(|e| (e.name.clone(), codes(&e.values))).collect();
        for tier in Tier::ALL {
            let of_tier = self.mode_reasons.iter().filter(|reason| reason.tier == tier);
            lists.push((
                format!("ModeReasonCode.{}", tier.name()),
                of_tier.map(|reason| reason.token.code.as_str()).collect(),
            ));
        }
        lists.push((
            "OpenPermissionReasonCode".to_owned(),
            self.open_permission_reasons.iter().map(|reason| reason.token.code.as_str()).collect(),
        ));
        lists.push(("RejectReasonCode".to_owned(), codes(&self.reject_reasons)));
        lists.push(("OwnerReasonCode".to_owned(), codes(&self.owner_reasons)));
        lists
    }
}

fn tokens(registries: &Object<'_>, name: &str) -> Result<Vec<Token>, ManifestError> {
    let mut tokens = Vec::new();
    for entry in values(registries, name)? {
        let entry = entry.object()?;
        entry.only(&["code", "text"])?;
        tokens.push(token(&entry)?);
    }
    Ok(tokens)
}

fn mode_reasons(registries: &Object<'_>) -> Result<Vec<ModeReason>, ManifestError> {
    let tiers = registries.get("ModeReasonCode")?.object()?;
    tiers.only(&Tier::ALL.map(Tier::name))?;
    let mut reasons = Vec::new();
    for tier in Tier::ALL {
        for entry in tiers.get(tier.name())?.list()? {
            let entry = entry.object()?;
            entry.only(&["code", "text", "when", "latched", "unblock", "condition", "owner", "shows", "target"])?;
            reasons.push(ModeReason {
                token: token(&entry)?,
                when: entry.get("when")?.line()?,
                tier,
                latched: entry.get("latched")?.boolean()?,
                unblock: entry.get("unblock")?.unblock()?,
                condition: entry.get("condition")?.line()?,
                shown: shown(&entry)?,
            });
        }
    }
    Ok(reasons)
}

fn open_permission_reasons(registries: &Object<'_>) -> Result<Vec<OpenPermissionReason>, ManifestError> {
    let mut reasons = Vec::new();
    for entry in values(registries, "OpenPermissionReasonCode")? {
        let entry = entry.object()?;
        entry.only(&["code", "text", "when", "unblock", "condition", "owner", "shows", "target"])?;
        reasons.push(OpenPermissionReason {
            token: token(&entry)?,
            when: entry.get("when")?.line()?,
            unblock: entry.get("unblock")?.unblock()?,
            condition: entry.get("condition")?.line()?,
            shown: shown(&entry)?,
        });
    }
    Ok(reasons)
}

fn values<'a>(registries: &Object<'a>, name: &str) -> Result<Vec<Node<'a>>, ManifestError> {
    let registry = registries.get(name)?.object()?;
    registry.only(&["description", "values"])?;
    registry.get("values")?.list()
}

fn token(entry: &Object<'_>) -> Result<Token, ManifestError> {
    Ok(Token { code: entry.get("code")?.code()?, text: entry.get("text")?.line()? })
}

/// Reads `owner`, `shows` and `target`, which stand together or not at all.
fn shown(entry: &Object<'_>) -> Result<Option<Shown>, ManifestError> {
    if !["owner", "shows", "target"].iter().any(|field| entry.map.contains_key(*field)) {
        return Ok(None);
    }
    Ok(Some(Shown {
        owner: entry.get("owner")?.line()?,
        shows: entry.get("shows")?.lines()?,
        target: entry.get("target")?.line()?,
    }))
}

/// A JSON value together with its path, so that each error can name its place.
pub(crate) struct Node<'a> {
    at: String,
    value: &'a Value,
}

/// A JSON object together with its path.
pub(crate) struct Object<'a> {
    at: String,
    map: &'a Map<String, Value>,
}

impl<'a> Node<'a> {
    fn root(value: &'a Value) -> Self {
        Self { at: String::new(), value }
    }

    fn wrong(&self, expected: &'static str) -> ManifestError {
        let at = if self.at.is_empty() { "(root)".to_owned() } else { self.at.clone() };
        ManifestError::Field { at, expected, found: shortened(self.value) }
    }

    fn object(&self) -> Result<Object<'a>, ManifestError> {
        let map = self.value.as_object().ok_or_else(|| self.wrong("an object"))?;
        Ok(Object { at: self.at.clone(), map })
    }

    fn list(&self) -> Result<Vec<Node<'a>>, ManifestError> {
        let list = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        Ok(list.iter().enumerate().map(|(index, value)| Node { at: format!("{}[{index}]", self.at), value }).collect())
    }

    fn boolean(&self) -> Result<bool, ManifestError> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    /// Reads a non-empty text without line breaks or other control characters.
    fn line(&self) -> Result<String, ManifestError> {
        let text = self.value.as_str().unwrap_or_default();
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err(self.wrong("a non-empty text of one line"));
        }
        Ok(text.to_owned())
    }

    fn lines(&self) -> Result<Vec<String>, ManifestError> {
        self.list()?.iter().map(Node::line).collect()
    }

    fn code(&self) -> Result<String, ManifestError> {
        let text = self.value.as_str().unwrap_or_default();
        let alphabet = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let begins_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_uppercase());
        let parts_filled = text.split('_').all(|part| !part.is_empty());
        if alphabet && begins_well && parts_filled {
            Ok(text.to_owned())
        } else {
            Err(self.wrong("a token of letters, digits and single underscores that begins with a capital"))
        }
    }

    fn unblock(&self) -> Result<Unblock, ManifestError> {
        match self.value.as_str() {
            Some("AUTO") => Ok(Unblock::Auto),
            Some("MANUAL") => Ok(Unblock::Manual),
            Some(_) | None => Err(self.wrong("AUTO or MANUAL")),
        }
    }
}

impl<'a> Object<'a> {
    fn path(&self, field: &str) -> String {
        if self.at.is_empty() { field.to_owned() } else { format!("{}.{field}", self.at) }
    }

    fn get(&self, field: &str) -> Result<Node<'a>, ManifestError> {
        match self.map.get(field) {
            Some(value) => Ok(Node { at: self.path(field), value }),
            None => Err(ManifestError::Missing { at: self.path(field) }),
        }
    }

    fn only(&self, known: &[&str]) -> Result<(), ManifestError> {
        match self.map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(ManifestError::Unknown { at: self.path(key) }),
            None => Ok(()),
        }
    }
}

/// Returns a value's JSON text, cut to a length that fits an error message.
pub(crate) fn shortened(value: &Value) -> String {
    const CHARS_MAX: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= CHARS_MAX {
        return text;
    }
    let mut cut: String = text.chars().take(CHARS_MAX).collect();
    cut.push_str("...");
    cut
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The committed manifest, which every test starts from.
    pub(crate) const MANIFEST: &str = include_str!("../../specs/status/status_reason_registries_manifest.json");

    /// Returns the committed manifest as JSON after a change to it.
    pub(crate) fn changed(change: impl FnOnce(&mut Value)) -> String {
        let mut value: Value = serde_json::from_str(MANIFEST).expect("the committed manifest is JSON");
        change(&mut value);
        value.to_string()
    }

    #[test]
    fn committed_manifest_is_read_whole() {
        let registry = Registry::parse(MANIFEST).expect("the committed manifest is read");
        assert_eq!(registry.contract_version, "5.2");
        assert_eq!(registry.csp_minimum_keys.len(), CSP_MINIMUM_KEY_COUNT);
        let counts: Vec<(String, usize)> =
            registry.lists().into_iter().map(|(name, codes)| (name, codes.len())).collect();
        let expected = [
            ("TradingMode", 3),
            ("RiskState", 4),
            ("F1CertState", 5),
            ("Profile", 3),
            ("DeploymentEnvironment", 4),
            ("ModeReasonCode.Kill", 6),
            ("ModeReasonCode.ReduceOnly", 15),
            ("OpenPermissionReasonCode", 6),
            ("RejectReasonCode", 33),
            ("OwnerReasonCode", 21),
        ];
        assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)));
    }

    #[test]
    fn only_the_latch_reason_leaves_the_owner_to_others() {
        let registry = Registry::parse(MANIFEST).expect("the committed manifest is read");
        let silent: Vec<&str> = registry
            .mode_reasons
            .iter()
            .filter(|reason| reason.shown.is_none())
            .map(|reason| reason.token.code.as_str())
            .collect();
        assert_eq!(silent, ["REDUCEONLY_OPEN_PERMISSION_LATCHED"]);
        assert!(registry.open_permission_reasons.iter().all(|reason| reason.shown.is_some()));
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Value), expected: &str) {
        let error = Registry::parse(&changed(change)).expect_err("the changed manifest is refused");
        assert!(error.to_string().contains(expected), "{error} does not contain {expected}");
    }

    #[test]
    fn malformed_fields_are_refused_by_path() {
        refused(|m| m["schema_version"] = 2.into(), "`schema_version` must be 1");
        refused(|m| m["contract_version"] = Value::Null, "`contract_version` must be a non-empty text");
        refused(|m| m["contract_version"] = "5.2\nx".into(), "`contract_version`");
        refused(|m| m["csp_minimum_keys"] = "all".into(), "`csp_minimum_keys` must be a list");
        refused(|m| m["csp_minimum_keys"][4] = 4.into(), "`csp_minimum_keys[4]`");
        refused(|m| m["extra"] = 1.into(), "`extra` is not known");
        refused(|m| m["registries"] = Value::Null, "`registries` must be an object");
        refused(|m| m["registries"]["Other"] = Value::Null, "`registries.Other` is not known");
        refused(|m| m["registries"]["Profile"]["values"][0]["code"] = "a b".into(), "Profile.values[0].code");
        refused(|m| m["registries"]["Profile"]["values"][0]["code"] = "A__B".into(), "Profile.values[0].code");
        refused(|m| m["registries"]["Profile"]["values"][0]["code"] = "".into(), "Profile.values[0].code");
        refused(
            |m| m["registries"]["ModeReasonCode"]["Kill"][1]["latched"] = "yes".into(),
            "`registries.ModeReasonCode.Kill[1].latched` must be true or false",
        );
        refused(
            |m| m["registries"]["ModeReasonCode"]["ReduceOnly"][0]["unblock"] = "SOON".into(),
            "ReduceOnly[0].unblock` must be AUTO or MANUAL",
        );
        refused(
            |m| {
                let entry = m["registries"]["ModeReasonCode"]["Kill"][0].as_object_mut().expect("an object");
                entry.remove("target");
            },
            "Kill[0].target` is missing",
        );
        refused(
            |m| {
                let registries = m["registries"].as_object_mut().expect("an object");
                registries.remove("OwnerReasonCode");
            },
            "`registries.OwnerReasonCode` is missing",
        );
    }

    #[test]
    fn text_that_is_no_manifest_is_refused() {
        for text in ["", "[]", "null", "{", "\"text\"", "{}"] {
            assert!(Registry::parse(text).is_err(), "{text}");
        }
    }
}
