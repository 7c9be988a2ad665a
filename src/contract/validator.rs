//! The `/status` validator: JSON Schema, minimum keys, and the rules that a schema cannot express.
//!
//! Everything is reported, not the first finding only, in the order of the tags and then of the document. Schema and
//! manifest may be another team's: required keys come from the manifest's `csp_minimum_keys` if it has that list, else
//! from the schema's `required`, and registries are read in either of their two shapes.
//!
//! **Failure model.** A document may be anything: what is missing or of a wrong type is a finding. A schema or manifest
//! that cannot be used is a [`ValidatorError`], because then nothing has been checked.
//!
//! Source: contract 5.2, status document, the validator.

mod registries;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;

use drillfold_kernel::registry::{ModeReason, TradingMode};
use serde_json::{Map, Value};

use self::registries::Registries;
use super::{MANIFEST, SCHEMA_EXACT, SCHEMA_MIN, owner_view};

/// Class of a finding; its name in square brackets begins the finding's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tag {
    /// `[SCHEMA]`: the JSON Schema is violated.
    Schema,
    /// `[CSP-MIN]`: a required key is missing.
    CspMin,
    /// `[CONTRACT]`: the contract version differs from the manifest's.
    Contract,
    /// `[INVARIANT]`: Active with reasons, or ReduceOnly or Kill without.
    Invariant,
    /// `[TIER]`: a reason from outside the mode's tier.
    Tier,
    /// `[ORDER]`: tokens not in the manifest's order.
    Order,
    /// `[ENUM]`: an unknown mode or open-permission code.
    Enum,
    /// `[LATCH]`: latch, codes and reconcile disagree, or the latch is not a boolean.
    Latch,
    /// `[DECISION-A]`: the latch is set while Active, or in ReduceOnly without the reason that names it.
    DecisionA,
    /// `[STRICT]`: a key that the schema does not define.
    Strict,
    /// `[OWNER-VIEW]`: the owner view differs from what the other keys derive.
    OwnerView,
}

impl Tag {
    /// All tags in the order in which findings are reported.
    pub const ALL: [Self; 11] = [
        Self::Schema,
        Self::CspMin,
        Self::Contract,
        Self::Invariant,
        Self::Tier,
        Self::Order,
        Self::Enum,
        Self::Latch,
        Self::DecisionA,
        Self::Strict,
        Self::OwnerView,
    ];

    /// Returns the tag's name, without brackets.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Schema => "SCHEMA",
            Self::CspMin => "CSP-MIN",
            Self::Contract => "CONTRACT",
            Self::Invariant => "INVARIANT",
            Self::Tier => "TIER",
            Self::Order => "ORDER",
            Self::Enum => "ENUM",
            Self::Latch => "LATCH",
            Self::DecisionA => "DECISION-A",
            Self::Strict => "STRICT",
            Self::OwnerView => "OWNER-VIEW",
        }
    }
}

/// One thing that is wrong with a document. It displays as `[TAG] message`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Its class.
    pub tag: Tag,
    /// What is wrong, one line: where, what stands there, what should.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.tag.name(), self.message)
    }
}

/// What to check beyond the rules that always hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Report keys that the schema does not define.
    pub strict: bool,
    /// Compare `owner_view` with what the other keys derive, once every other check has passed. Only for documents of
    /// this project's own build family: others are free to word theirs differently.
    pub derive_owner_view: bool,
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub enum ValidatorError {
    /// The schema is not a usable JSON Schema. Correct it; references to other files are not followed.
    #[error("schema cannot be used, correct it: {reason}")]
    Schema {
        /// What the schema library says, with the place in the schema.
        reason: String,
    },
    /// The manifest lacks something that the rules need, or has it in an unknown shape.
    #[error("manifest field `{at}` must be {expected}, correct it or use the built-in manifest")]
    Manifest {
        /// Path from the root.
        at: String,
        /// What the field has to be.
        expected: &'static str,
    },
    /// Neither the manifest nor the schema lists the keys that a document must have.
    #[error("required keys are listed neither in the manifest's `csp_minimum_keys` nor in the schema's `required`")]
    NoRequiredKeys,
    /// A file built into the program is not JSON: the program is broken. Build it again.
    #[error("built-in {name} is not valid JSON, build the program again")]
    BuiltIn {
        /// Which one.
        name: &'static str,
        /// Where the JSON ends to be JSON.
        #[source]
        source: serde_json::Error,
    },
}

/// The schemas built into the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltInSchema {
    /// Further keys are allowed at the top: for running systems.
    Min,
    /// No further keys at any level: for golden documents.
    Exact,
}

impl BuiltInSchema {
    /// Returns the schema that applies when none is named: the exact one for strict validation, else the minimum.
    ///
    /// Source: decision 43.
    #[must_use]
    pub const fn for_strictness(strict: bool) -> Self {
        if strict { Self::Exact } else { Self::Min }
    }

    /// Returns the schema as JSON.
    ///
    /// # Errors
    ///
    /// [`ValidatorError::BuiltIn`] if the program was built with a damaged file.
    pub fn value(self) -> Result<Value, ValidatorError> {
        let (name, text) = match self {
            Self::Min => ("minimum schema", SCHEMA_MIN),
            Self::Exact => ("exact schema", SCHEMA_EXACT),
        };
        serde_json::from_str(text).map_err(|source| ValidatorError::BuiltIn { name, source })
    }
}

/// Returns the built-in manifest as JSON.
///
/// # Errors
///
/// [`ValidatorError::BuiltIn`] if the program was built with a damaged file.
pub fn built_in_manifest() -> Result<Value, ValidatorError> {
    serde_json::from_str(MANIFEST).map_err(|source| ValidatorError::BuiltIn { name: "manifest", source })
}

/// Returns what the validator prints of a document: a line a finding, and a last line `VALID name` or
/// `INVALID name (n findings)`.
#[must_use]
pub fn verdict_lines(name: &str, findings: &[Finding]) -> Vec<String> {
    let mut lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    lines.push(match findings.len() {
        0 => format!("VALID {name}"),
        1 => format!("INVALID {name} (1 finding)"),
        count => format!("INVALID {name} ({count} findings)"),
    });
    lines
}

/// Validates one document. To validate many against the same schema, make a [`Validator`] once.
///
/// # Errors
///
/// [`ValidatorError`] if schema or manifest cannot be used.
pub fn validate(
    document: &Value,
    schema: &Value,
    manifest: &Value,
    options: Options,
) -> Result<Vec<Finding>, ValidatorError> {
    Ok(Validator::new(schema, manifest)?.validate(document, options))
}

/// A schema and a manifest, ready to judge documents.
#[derive(Debug)]
pub struct Validator {
    compiled: jsonschema::Validator,
    schema: Value,
    registries: Registries,
    required: Vec<String>,
}

impl Validator {
    /// Prepares a schema and a manifest. A schema that names no draft is read as draft 2020-12.
    ///
    /// # Errors
    ///
    /// [`ValidatorError`] if either cannot be used.
    pub fn new(schema: &Value, manifest: &Value) -> Result<Self, ValidatorError> {
        if !schema.is_object() {
            return Err(ValidatorError::Schema { reason: "it is not an object".to_owned() });
        }
        let mut options = jsonschema::options();
        if schema.get("$schema").is_none() {
            options = options.with_draft(jsonschema::Draft::Draft202012);
        }
        // References to other files are not followed: a verdict must not depend on what lies around.
        let compiled = options.offline().build(schema).map_err(|error| ValidatorError::Schema {
            reason: format!("{}: {}", json_path(error.instance_path()), shortened(&error.to_string())),
        })?;
        let registries = Registries::read(manifest)?;
        let required = match &registries.required {
            Some(keys) => keys.clone(),
            None => required_of(schema).ok_or(ValidatorError::NoRequiredKeys)?,
        };
        Ok(Self { compiled, schema: schema.clone(), registries, required })
    }

    /// Prepares a built-in schema with the built-in manifest.
    ///
    /// # Errors
    ///
    /// [`ValidatorError::BuiltIn`] if the program was built with a damaged file.
    pub fn built_in(schema: BuiltInSchema) -> Result<Self, ValidatorError> {
        Self::new(&schema.value()?, &built_in_manifest()?)
    }

    /// Validates a document; no findings mean that it is valid.
    ///
    /// Findings are ordered by tag; within a tag, those of the schema by path and text, all others by their place in the
    /// document.
    #[must_use]
    pub fn validate(&self, document: &Value, options: Options) -> Vec<Finding> {
        let mut findings = Findings(self.check_schema(document));
        let nothing = Map::new();
        let keys = document.as_object().unwrap_or(&nothing);
        self.check_required(keys, &mut findings);
        self.check_contract(keys, &mut findings);
        self.check_mode(keys, &mut findings);
        self.check_codes(keys, &mut findings);
        check_latch(keys, &mut findings);
        check_decision_a(keys, &mut findings);
        if options.strict {
            let mut extra = Vec::new();
            collect_extra(document, &self.schema, &self.schema, "$", &mut extra);
            for path in extra {
                findings.add(Tag::Strict, format!("{path}: the schema does not define this key, remove it"));
            }
        }
        let mut findings = findings.0;
        if options.derive_owner_view && findings.is_empty() {
            findings = check_owner_view(keys);
        }
        // Rules of one tag stand in several places above; the sort is stable, so their own order stays.
        findings.sort_by_key(|finding| finding.tag);
        findings
    }

    fn check_schema(&self, document: &Value) -> Vec<Finding> {
        let mut found: Vec<(String, String)> = self
            .compiled
            .iter_errors(document)
            .map(|error| (json_path(error.instance_path()), shortened(&error.to_string())))
            .collect();
        if found.is_empty() && !document.is_object() {
            found.push(("$".to_owned(), "a status document must be an object".to_owned()));
        }
        // A rule that several branches of a schema state is reported once.
        found.sort();
        found.dedup();
        found
            .into_iter()
            .map(|(path, message)| Finding { tag: Tag::Schema, message: format!("{path}: {message}") })
            .collect()
    }

    fn check_required(&self, keys: &Map<String, Value>, findings: &mut Findings) {
        for key in &self.required {
            if !keys.contains_key(key) {
                findings.add(Tag::CspMin, format!("required key {key} is missing"));
            }
        }
    }

    fn check_contract(&self, keys: &Map<String, Value>, findings: &mut Findings) {
        let expected = &self.registries.contract_version;
        let found = keys.get("contract_version");
        if found.and_then(Value::as_str) != Some(expected) {
            let found = shown(found);
            findings.add(Tag::Contract, format!("contract_version is {found}, the manifest has \"{expected}\""));
        }
    }

    fn check_mode(&self, keys: &Map<String, Value>, findings: &mut Findings) {
        let Some(found) = keys.get("trading_mode") else {
            return;
        };
        let known = found.as_str().filter(|mode| self.registries.knows_mode(mode)).and_then(TradingMode::from_token);
        let Some(mode) = known else {
            findings.add(Tag::Enum, format!("trading_mode is {}, which is not a known mode", shown(Some(found))));
            return;
        };
        let reasons = keys.get("mode_reasons");
        let list = reasons.and_then(Value::as_array);
        let tier = match mode {
            TradingMode::Active => {
                if reasons.is_some() && !list.is_some_and(Vec::is_empty) {
                    findings.add(Tag::Invariant, format!("Active must have mode_reasons [], found {}", shown(reasons)));
                }
                return;
            }
            TradingMode::ReduceOnly => &self.registries.reduce_only,
            TradingMode::Kill => &self.registries.kill,
        };
        let mode = mode.token();
        let Some(list) = list.filter(|list| !list.is_empty()) else {
            findings
                .add(Tag::Invariant, format!("{mode} must have at least one mode reason, found {}", shown(reasons)));
            return;
        };
        for (index, reason) in list.iter().enumerate() {
            if !is_one_of(reason, tier) {
                let reason = shown(Some(reason));
                findings.add(Tag::Tier, format!("mode_reasons[{index}]: {reason} is not a reason of tier {mode}"));
            }
        }
        check_order("mode_reasons", list, tier, findings);
    }

    fn check_codes(&self, keys: &Map<String, Value>, findings: &mut Findings) {
        let Some(list) = keys.get("open_permission_reason_codes").and_then(Value::as_array) else {
            return;
        };
        let known = &self.registries.open_permission;
        for (index, code) in list.iter().enumerate() {
            if !is_one_of(code, known) {
                let code = shown(Some(code));
                findings.add(
                    Tag::Enum,
                    format!("open_permission_reason_codes[{index}]: {code} is not a known open-permission code"),
                );
            }
        }
        check_order("open_permission_reason_codes", list, known, findings);
    }
}

/// Findings while they are collected.
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, tag: Tag, message: String) {
        self.0.push(Finding { tag, message });
    }
}

/// Reports each token that stands after one that the manifest has behind it, and each that is repeated. Unknown tokens
/// have no order and are reported elsewhere.
fn check_order(key: &str, list: &[Value], order: &[String], findings: &mut Findings) {
    let mut last: Option<(usize, &str)> = None;
    for (index, item) in list.iter().enumerate() {
        let Some(token) = item.as_str() else { continue };
        let Some(place) = order.iter().position(|known| known == token) else {
            continue;
        };
        match last {
            Some((last_place, _)) if place == last_place => {
                findings.add(Tag::Order, format!("{key}[{index}]: {token} is repeated"));
            }
            Some((last_place, last_token)) if place < last_place => {
                findings.add(
                    Tag::Order,
                    format!("{key}[{index}]: {token} must stand before {last_token}, as in the manifest"),
                );
            }
            Some(_) | None => last = Some((place, token)),
        }
    }
}

fn check_latch(keys: &Map<String, Value>, findings: &mut Findings) {
    let latch = keys.get("open_permission_blocked_latch");
    let Some(set) = latch.and_then(Value::as_bool) else {
        findings
            .add(Tag::Latch, format!("open_permission_blocked_latch must be true or false, found {}", shown(latch)));
        return;
    };
    let reconcile = keys.get("open_permission_requires_reconcile");
    if reconcile.and_then(Value::as_bool) != Some(set) {
        findings.add(
            Tag::Latch,
            format!("latch {set} demands open_permission_requires_reconcile {set}, found {}", shown(reconcile)),
        );
    }
    let codes = keys.get("open_permission_reason_codes");
    let filled = codes.and_then(Value::as_array).map(|list| !list.is_empty());
    if filled != Some(set) {
        let demanded = if set { "at least one code in" } else { "an empty list" };
        findings.add(
            Tag::Latch,
            format!("latch {set} demands {demanded} open_permission_reason_codes, found {}", shown(codes)),
        );
    }
}

fn check_decision_a(keys: &Map<String, Value>, findings: &mut Findings) {
    if keys.get("open_permission_blocked_latch") != Some(&Value::Bool(true)) {
        return;
    }
    let mode = keys.get("trading_mode").and_then(Value::as_str).and_then(TradingMode::from_token);
    let reason = ModeReason::ReduceonlyOpenPermissionLatched.token();
    match mode {
        Some(TradingMode::Active) => {
            findings.add(Tag::DecisionA, "the latch is set, so trading_mode must not be Active".to_owned());
        }
        Some(TradingMode::ReduceOnly) => {
            let list = keys.get("mode_reasons").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            if !list.iter().any(|item| item.as_str() == Some(reason)) {
                findings
                    .add(Tag::DecisionA, format!("the latch is set in ReduceOnly, so mode_reasons must have {reason}"));
            }
        }
        Some(TradingMode::Kill) | None => {}
    }
}

fn check_owner_view(keys: &Map<String, Value>) -> Vec<Finding> {
    let expected = owner_view::derive(keys);
    let mut findings = Findings(Vec::new());
    match keys.get("owner_view") {
        Some(found) => compare("$.owner_view", &expected, found, &mut findings),
        None => findings.add(Tag::OwnerView, "$.owner_view: missing, the other keys derive one".to_owned()),
    }
    findings.0
}

/// Reports where a derived value and the one found part.
fn compare(path: &str, expected: &Value, found: &Value, findings: &mut Findings) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (key, value) in expected {
                match found.get(key) {
                    Some(found) => compare(&child(path, key), value, found, findings),
                    None => findings.add(Tag::OwnerView, format!("{}: missing", child(path, key))),
                }
            }
            for key in found.keys().filter(|key| !expected.contains_key(*key)) {
                findings.add(Tag::OwnerView, format!("{}: not derived from any key", child(path, key)));
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                compare(&format!("{path}[{index}]"), expected, found, findings);
            }
        }
        (Value::Array(expected), Value::Array(found)) => findings.add(
            Tag::OwnerView,
            format!("{path}: the other keys derive {} entries, found {}", expected.len(), found.len()),
        ),
        (expected, found) if expected == found => {}
        (expected, found) => findings.add(
            Tag::OwnerView,
            format!("{path}: the other keys derive {}, found {}", shown(Some(expected)), shown(Some(found))),
        ),
    }
}

/// Collects the paths of all keys that the schema does not define, wherever it defines any at that level.
fn collect_extra(value: &Value, schema: &Value, root: &Value, path: &str, extra: &mut Vec<String>) {
    let mut nodes = Vec::new();
    in_place(schema, root, &mut nodes);
    match value {
        Value::Object(map) => {
            let defined = |key: &str| -> Vec<&Value> {
                nodes.iter().filter_map(|node| node.get("properties")?.as_object()?.get(key)).collect()
            };
            // Keys given by pattern are the schema's own business.
            let by_pattern = nodes.iter().any(|node| node.get("patternProperties").is_some());
            let closed = path == "$" || nodes.iter().any(|node| node.get("properties").is_some());
            for (key, value) in map {
                let schemas = defined(key);
                if schemas.is_empty() && closed && !by_pattern {
                    extra.push(child(path, key));
                }
                if let Some(schema) = schemas.first() {
                    collect_extra(value, schema, root, &child(path, key), extra);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = nodes.iter().find_map(|node| node.get("items").filter(|items| items.is_object())) {
                for (index, value) in list.iter().enumerate() {
                    collect_extra(value, items, root, &format!("{path}[{index}]"), extra);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Collects a schema and all that apply at the same place: local references and combined schemas, each once, so that
/// references in a circle end.
fn in_place<'a>(schema: &'a Value, root: &'a Value, nodes: &mut Vec<&'a Value>) {
    if !schema.is_object() || nodes.iter().any(|known| std::ptr::eq(*known, schema)) {
        return;
    }
    nodes.push(schema);
    let reference = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
    if let Some(target) = reference.and_then(|pointer| root.pointer(pointer)) {
        in_place(target, root, nodes);
    }
    for keyword in ["if", "then", "else"] {
        if let Some(part) = schema.get(keyword) {
            in_place(part, root, nodes);
        }
    }
    for keyword in ["allOf", "anyOf", "oneOf"] {
        for part in schema.get(keyword).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
            in_place(part, root, nodes);
        }
    }
}

fn required_of(schema: &Value) -> Option<Vec<String>> {
    let keys = schema.get("required")?.as_array()?;
    let keys: Option<Vec<String>> = keys.iter().map(|key| key.as_str().map(str::to_owned)).collect();
    keys.filter(|keys| !keys.is_empty())
}

fn is_one_of(item: &Value, tokens: &[String]) -> bool {
    item.as_str().is_some_and(|item| tokens.iter().any(|token| token == item))
}

/// Returns a place of a document as a JSON path, such as `$.owner_view.unblock[0].type`.
fn json_path(location: &jsonschema::paths::Location) -> String {
    let mut path = "$".to_owned();
    for segment in location {
        match segment {
            jsonschema::paths::LocationSegment::Property(key) => path = child(&path, &key),
            jsonschema::paths::LocationSegment::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// Returns the path of a key below a path; unusual keys are quoted.
fn child(path: &str, key: &str) -> String {
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        format!("{path}.{key}")
    } else {
        format!("{path}[{}]", Value::String(key.to_owned()))
    }
}

/// Returns a value as short JSON text for a message.
fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| shortened(&value.to_string()))
}

/// Cuts a text to one line that fits a message.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 400;
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CHARS_MAX + 1).collect();
    if line.chars().count() > CHARS_MAX {
        line = line.chars().take(CHARS_MAX).collect();
        line.push_str("...");
    }
    line
}
