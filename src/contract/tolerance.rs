//! What may differ between an expected status and that of a running system: one rule a key, for each drill.
//!
//! **Owns** the reading of `specs/status/tolerance.toml` and of files like it, and the comparison under its rules.
//!
//! **Invariants.** Each of the document's 35 keys has exactly one rule for each drill. A key that is missing breaks its
//! rule, whatever that allows; a key that is none of the 35 breaks nothing and is named.
//!
//! **What it does not do.** It judges no document for itself: what is valid is the validator's to say.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;
use serde_json::{Number, Value};
use thiserror::Error;
use toml::Spanned;

use super::{
    TOLERANCE,
    diff::{Difference, diff},
    validator::{BuiltInSchema, ValidatorError},
};
use crate::text::{clip::clipped, nearest::suggestion};

/// The form of a tolerance file.
const SCHEMA: &str = "drillfold/tolerance/v1";

/// The drills of the checklist, by number.
const DRILLS: std::ops::RangeInclusive<u8> = 1..=8;

/// Characters of a value that a line about a key of another system's own shows.
const EXTRA_CHARACTERS_MAX: usize = 80;

/// Why a tolerance can't be used.
#[derive(Debug, Error)]
pub enum ToleranceError {
    /// It is no TOML of the right shape.
    #[error("{file}: {reason}")]
    Toml {
        /// The file.
        file: String,
        /// Where and why.
        reason: String,
    },
    /// Something in it means nothing.
    #[error("{file}:{line}: {reason}")]
    Rule {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what may stand there.
        reason: String,
    },
    /// A key of the document has no rule.
    #[error("{file}: no rule for `{key}`; write `{key} = \"equal\"`, \"free\" or a table of bounds below [keys]")]
    NoRule {
        /// The file.
        file: String,
        /// The key.
        key: String,
    },
    /// The built-in schema, which names the keys, can't be read.
    #[error(transparent)]
    Schema(#[from] ValidatorError),
}

/// What a key's value may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// The expected value.
    Equal,
    /// Any number within all bounds.
    Bounded(Vec<Bound>),
    /// An object whose named entries have the expected values.
    Entries(Vec<String>),
    /// Any value.
    Free,
}

/// One side of what a number may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The side.
    pub side: Side,
    /// What it is held against.
    pub limit: Limit,
}

/// How a number must stand to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Equal to it or above.
    AtLeast,
    /// Above it.
    Above,
    /// Equal to it or below.
    AtMost,
    /// Below it.
    Below,
}

/// What a number is held against.
#[derive(Clone, Debug, PartialEq)]
pub enum Limit {
    /// A number.
    Number(Number),
    /// The key's value in the expected document.
    Expected,
    /// The key's value before the trigger; not applied where there was none.
    Baseline,
    /// Another key's value in the same document.
    Key(String),
}

impl Side {
    const ALL: [Self; 4] = [Self::AtLeast, Self::Above, Self::AtMost, Self::Below];

    const fn name(self) -> &'static str {
        match self {
            Self::AtLeast => "at_least",
            Self::Above => "above",
            Self::AtMost => "at_most",
            Self::Below => "below",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::AtLeast => "at least",
            Self::Above => "above",
            Self::AtMost => "at most",
            Self::Below => "below",
        }
    }

    fn holds(self, number: f64, limit: f64) -> bool {
        match self {
            Self::AtLeast => number >= limit,
            Self::Above => number > limit,
            Self::AtMost => number <= limit,
            Self::Below => number < limit,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = self.side.words();
        match &self.limit {
            Limit::Number(number) => write!(f, "{side} {number}"),
            Limit::Expected => write!(f, "{side} the expected value"),
            Limit::Baseline => write!(f, "{side} the value before the trigger"),
            Limit::Key(key) => write!(f, "{side} {key}"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal => f.write_str("equal"),
            Self::Bounded(bounds) => {
                let bounds: Vec<String> = bounds.iter().map(ToString::to_string).collect();
                f.write_str(&bounds.join(", "))
            }
            Self::Entries(names) => write!(f, "equal in {}", names.join(", ")),
            Self::Free => f.write_str("free"),
        }
    }
}

/// The rules of all drills.
#[derive(Clone, Debug, PartialEq)]
pub struct Tolerance {
    /// Rules of all keys, in the document's order.
    keys: Vec<(String, Rule)>,
    /// By drill: rules that stand in their place.
    drills: BTreeMap<u8, BTreeMap<String, Rule>>,
}

/// The rules of one drill, a key each, in the document's order.
#[derive(Clone, Debug, PartialEq)]
pub struct DrillTolerance {
    /// The rules.
    pub rules: Vec<(String, Rule)>,
}

/// A file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    schema: Spanned<String>,
    keys: RawRules,
    #[serde(default)]
    drills: BTreeMap<Spanned<String>, RawRules>,
}

type RawRules = BTreeMap<Spanned<String>, Spanned<toml::Value>>;

impl Tolerance {
    /// Returns the rules that are built into the program.
    ///
    /// # Errors
    /// [`ToleranceError`] if the program was built with a damaged file.
    pub fn built_in() -> Result<Self, ToleranceError> {
        Self::parse("the built-in tolerance.toml", TOLERANCE)
    }

    /// Parses a file of rules; `file` is its name in errors.
    ///
    /// # Errors
    /// [`ToleranceError`], with the place.
    pub fn parse(file: &str, text: &str) -> Result<Self, ToleranceError> {
        let raw: Raw = toml::from_str(text)
            .map_err(|error| ToleranceError::Toml { file: file.to_owned(), reason: error.to_string() })?;
        let names = status_keys()?;
        let reader = Reader { file, text, names: &names };
        if raw.schema.get_ref() != SCHEMA {
            return Err(reader.wrong(&raw.schema, format!("schema is {:?}, expected {SCHEMA:?}", raw.schema.get_ref())));
        }
        let mut rules = reader.rules(raw.keys)?;
        let mut drills = BTreeMap::new();
        for (number, of_drill) in raw.drills {
            let known = number.get_ref().parse().ok().filter(|drill| DRILLS.contains(drill));
            let drill = known.ok_or_else(|| {
                let (first, last) = (DRILLS.start(), DRILLS.end());
                reader.wrong(&number, format!("no drill {:?}; there are {first} to {last}", number.get_ref()))
            })?;
            drills.insert(drill, reader.rules(of_drill)?);
        }
        let mut keys = Vec::new();
        for key in &names {
            let rule =
                rules.remove(key).ok_or_else(|| ToleranceError::NoRule { file: file.to_owned(), key: key.clone() })?;
            keys.push((key.clone(), rule));
        }
        Ok(Self { keys, drills })
    }

    /// Returns the rules of a drill.
    #[must_use]
    pub fn for_drill(&self, drill: u8) -> DrillTolerance {
        let own = self.drills.get(&drill);
        let rule = |key: &String, common: &Rule| own.and_then(|own| own.get(key)).unwrap_or(common).clone();
        DrillTolerance { rules: self.keys.iter().map(|(key, common)| (key.clone(), rule(key, common))).collect() }
    }

    /// Returns the rules as a table in Markdown, a line a key.
    #[must_use]
    pub fn to_table(&self) -> String {
        let mut table = String::from("| key | rule | drills of another |\n|---|---|---|\n");
        for (key, rule) in &self.keys {
            let others: Vec<String> =
                self.drills.iter().filter_map(|(drill, rules)| Some(format!("{drill}: {}", rules.get(key)?))).collect();
            table.push_str(&format!("| `{key}` | {rule} | {} |\n", others.join("; ")));
        }
        table
    }
}

/// Returns the document's keys in its order, as the schema for running systems names them.
///
/// # Errors
/// [`ValidatorError`] if the program was built with a damaged schema.
pub fn status_keys() -> Result<Vec<String>, ValidatorError> {
    let schema = BuiltInSchema::Min.value()?;
    let required = schema.get("required").and_then(Value::as_array);
    Ok(required.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// What the parts of a file are read with.
struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    names: &'a [String],
}

impl Reader<'_> {
    fn wrong<T>(&self, place: &Spanned<T>, reason: String) -> ToleranceError {
        let before = self.text.as_bytes().get(..place.span().start).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        ToleranceError::Rule { file: self.file.to_owned(), line, reason }
    }

    fn rules(&self, raw: RawRules) -> Result<BTreeMap<String, Rule>, ToleranceError> {
        let mut rules = BTreeMap::new();
        for (key, value) in raw {
            self.known(&key, key.get_ref())?;
            let rule = self.rule(&value).map_err(|reason| match reason {
                Unread::Word(reason) => self.wrong(&value, format!("`{}`: {reason}", key.get_ref())),
                Unread::Told(error) => error,
            })?;
            rules.insert(key.into_inner(), rule);
        }
        Ok(rules)
    }

    fn known<T>(&self, place: &Spanned<T>, key: &str) -> Result<(), ToleranceError> {
        if self.names.iter().any(|name| name == key) {
            return Ok(());
        }
        let near = suggestion(key, self.names.iter().map(String::as_str));
        Err(self.wrong(place, format!("a status document has no key `{key}`{near}")))
    }

    fn rule(&self, value: &Spanned<toml::Value>) -> Result<Rule, Unread> {
        match value.get_ref() {
            toml::Value::String(word) if word == "equal" => Ok(Rule::Equal),
            toml::Value::String(word) if word == "free" => Ok(Rule::Free),
            toml::Value::Table(table) if table.len() == 1 && table.contains_key("equal") => {
                entries(table.get("equal")).map(Rule::Entries)
            }
            toml::Value::Table(table) if !table.is_empty() => {
                let bounds: Result<Vec<Bound>, Unread> =
                    table.iter().map(|(name, limit)| self.bound(value, name, limit)).collect();
                let mut bounds = bounds?;
                bounds.sort_by_key(|bound| bound.side);
                Ok(Rule::Bounded(bounds))
            }
            _ => Err(Unread::Word("expected \"equal\", \"free\" or a table of bounds".to_owned())),
        }
    }

    fn bound(&self, place: &Spanned<toml::Value>, name: &str, limit: &toml::Value) -> Result<Bound, Unread> {
        let side = Side::ALL.into_iter().find(|side| side.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Side::ALL.iter().map(|side| side.name()).collect();
            Unread::Word(format!("no bound {name:?}; there are {}, or equal alone", known.join(", ")))
        })?;
        let number = |number: Option<Number>| {
            number.map(Limit::Number).ok_or_else(|| Unread::Word(format!("{name}: expected a finite number")))
        };
        let limit = match limit {
            toml::Value::Integer(limit) => number(Some((*limit).into()))?,
            toml::Value::Float(limit) => number(Number::from_f64(*limit))?,
            toml::Value::String(word) if word == "expected" => Limit::Expected,
            toml::Value::String(word) if word == "baseline" => Limit::Baseline,
            toml::Value::String(key) => {
                self.known(place, key).map_err(Unread::Told)?;
                Limit::Key(key.clone())
            }
            _ => {
                let expected = "expected a number, \"expected\", \"baseline\" or a key of the document";
                return Err(Unread::Word(format!("{name}: {expected}")));
            }
        };
        Ok(Bound { side, limit })
    }
}

/// Why a rule can't be read.
enum Unread {
    /// A word about it, still without a place.
    Word(String),
    /// The whole error.
    Told(ToleranceError),
}

fn entries(names: Option<&toml::Value>) -> Result<Vec<String>, Unread> {
    let names = names.and_then(toml::Value::as_array).filter(|names| !names.is_empty());
    let names: Option<Vec<String>> =
        names.and_then(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect());
    names.ok_or_else(|| Unread::Word("equal: expected a list of entries of the object".to_owned()))
}

/// How a line's difference stands to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The rule allows it.
    Allowed,
    /// The rule does not.
    Breaks,
}

/// One place at which a document differs from the expected one, or breaks a bound, with what the rule says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The rule's word: `equal`, `bound`, `free`; `extra` for a key that is none of the document's.
    pub rule: &'static str,
    /// What it says.
    pub ruling: Ruling,
    /// The place and both values.
    pub difference: Difference,
    /// The bound, where it is one.
    pub bound: Option<String>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.ruling == Ruling::Breaks { '!' } else { ' ' };
        if self.rule == "extra" {
            let found = self.difference.found.as_ref().map(Value::to_string).unwrap_or_default();
            let found = clipped(&found, EXTRA_CHARACTERS_MAX);
            return write!(f, "{mark}extra  {}: found {found}", self.difference.path);
        }
        write!(f, "{mark}{:<6} {}", self.rule, self.difference)?;
        match &self.bound {
            Some(bound) => write!(f, "; {bound}"),
            None => Ok(()),
        }
    }
}

/// A document compared with the expected one under a drill's rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// What differs, in the document's order; keys of the system's own last.
    pub lines: Vec<Line>,
}

impl Comparison {
    /// True where no rule is broken.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lines.iter().all(|line| line.ruling == Ruling::Allowed)
    }

    /// Returns the lines as `diff.txt` has them: broken rules have an exclamation mark in front.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// The documents of one comparison.
struct Documents<'a> {
    expected: &'a Value,
    found: &'a Value,
    baseline: Option<&'a Value>,
}

impl DrillTolerance {
    /// Compares a document with the expected one. `baseline` is the document before the trigger, where there was one.
    #[must_use]
    pub fn compare(&self, expected: &Value, found: &Value, baseline: Option<&Value>) -> Comparison {
        let documents = Documents { expected, found, baseline };
        let mut differences: BTreeMap<String, Vec<Difference>> = BTreeMap::new();
        for difference in diff(expected, found) {
            differences.entry(key_of(&difference.path).to_owned()).or_default().push(difference);
        }
        let mut lines = Vec::new();
        for (key, rule) in &self.rules {
            let of_key = differences.remove(key).unwrap_or_default();
            rule.lines(key, of_key, &documents, &mut lines);
        }
        let known = |key: &String| self.rules.iter().any(|(known, _)| known == key);
        for (key, value) in found.as_object().into_iter().flatten().filter(|(key, _)| !known(key)) {
            let difference = Difference { path: key.clone(), expected: None, found: Some(value.clone()) };
            lines.push(Line { rule: "extra", ruling: Ruling::Allowed, difference, bound: None });
        }
        Comparison { lines }
    }

    /// Returns the keys that are also held against the document before the trigger.
    pub fn against_baseline(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(|(key, rule)| match rule {
            Rule::Bounded(bounds) if bounds.iter().any(|bound| bound.limit == Limit::Baseline) => Some(key.as_str()),
            Rule::Equal | Rule::Bounded(_) | Rule::Entries(_) | Rule::Free => None,
        })
    }
}

/// Returns the key of the document that a path begins with.
fn key_of(path: &str) -> &str {
    path.split(['.', '[']).next().unwrap_or_default()
}

impl Rule {
    fn lines(&self, key: &str, mut differences: Vec<Difference>, documents: &Documents<'_>, lines: &mut Vec<Line>) {
        let is_missing = documents.found.get(key).is_none();
        let same = || Difference {
            path: key.to_owned(),
            expected: documents.expected.get(key).cloned(),
            found: documents.found.get(key).cloned(),
        };
        if is_missing && differences.is_empty() {
            // It is in neither document, or one of them is no object.
            differences.push(same());
        }
        let mut push = |rule, breaks: bool, difference: Difference, bound: Option<String>| {
            let ruling = if breaks { Ruling::Breaks } else { Ruling::Allowed };
            lines.push(Line { rule, ruling, difference, bound });
        };
        match self {
            Self::Equal => differences.into_iter().for_each(|of| push("equal", true, of, None)),
            Self::Free => differences.into_iter().for_each(|of| push("free", is_missing, of, None)),
            Self::Entries(names) => {
                for difference in differences {
                    let below = difference.path.strip_prefix(key).and_then(|rest| rest.strip_prefix('.'));
                    // The object as a whole differs where it is missing or no object.
                    let breaks = below.is_none_or(|entry| names.iter().any(|name| name == key_of(entry)));
                    push(if breaks { "equal" } else { "free" }, breaks, difference, None);
                }
            }
            Self::Bounded(bounds) => {
                let broken = bounds.iter().find_map(|bound| bound.broken_by(key, documents));
                // A bound can be broken where nothing differs: the expected value itself may be out of it.
                let difference = differences.into_iter().next();
                if let Some(broken) = broken {
                    push("bound", true, difference.unwrap_or_else(same), Some(broken));
                } else if let Some(difference) = difference {
                    push("bound", false, difference, Some(self.to_string()));
                }
            }
        }
    }
}

impl Bound {
    /// Says how the key's value breaks the bound, if it does.
    fn broken_by(&self, key: &str, documents: &Documents<'_>) -> Option<String> {
        let Some(number) = documents.found.get(key).and_then(Value::as_f64) else {
            return Some("it must be a number".to_owned());
        };
        let side = self.side.words();
        let (limit, whose) = match &self.limit {
            Limit::Number(number) => (Some(Value::Number(number.clone())), String::new()),
            Limit::Expected => (documents.expected.get(key).cloned(), ", the expected value".to_owned()),
            Limit::Baseline => (documents.baseline?.get(key).cloned(), ", the value before the trigger".to_owned()),
            Limit::Key(other) => (documents.found.get(other).cloned(), format!(", {other}")),
        };
        match limit.as_ref().and_then(Value::as_f64) {
            Some(of) if self.side.holds(number, of) => None,
            Some(_) | None => {
                let limit = limit.unwrap_or(Value::Null);
                Some(format!("it must be {side} {limit}{whose}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::contract::validator::tests::active;

    fn built_in() -> Tolerance {
        Tolerance::built_in().expect("the built-in file is right")
    }

    /// Returns a text with the rules of all keys, and more behind them.
    fn file(more: &str) -> String {
        let keys: String =
            status_keys().expect("the schema is there").iter().map(|key| format!("{key} = \"equal\"\n")).collect();
        format!("schema = \"drillfold/tolerance/v1\"\n[keys]\n{keys}{more}")
    }

    /// A value of another kind or size.
    fn changed(value: &Value) -> Value {
        match value {
            Value::Null => json!(7),
            Value::Bool(is_set) => json!(!is_set),
            Value::Number(number) => json!(number.as_f64().unwrap_or(0.0) + 1.0),
            Value::String(text) => json!(format!("{text}x")),
            Value::Array(items) => json!([items.as_slice(), &[json!("MORE")]].concat()),
            Value::Object(_) => json!({}),
        }
    }

    #[test]
    fn every_key_has_exactly_one_rule_for_each_drill() {
        let tolerance = built_in();
        let keys = status_keys().expect("the schema is there");
        assert_eq!(keys.len(), 35);
        for drill in DRILLS {
            let ruled: Vec<String> = tolerance.for_drill(drill).rules.into_iter().map(|(key, _)| key).collect();
            assert_eq!(ruled, keys, "drill {drill}");
        }
    }

    #[test]
    fn what_is_equal_must_be_and_what_is_free_need_not() {
        let expected = active();
        for drill in DRILLS {
            let tolerance = built_in().for_drill(drill);
            for (key, rule) in &tolerance.rules {
                let mut found = expected.clone();
                found[key] = changed(&expected[key]);
                let lines = tolerance.compare(&expected, &found, None).lines;
                let line = lines.iter().find(|line| line.difference.path.starts_with(key.as_str()));
                let ruling = line.map(|line| line.ruling);
                match rule {
                    Rule::Equal | Rule::Entries(_) => assert_eq!(ruling, Some(Ruling::Breaks), "{drill} {key}"),
                    Rule::Free => assert_eq!(ruling, Some(Ruling::Allowed), "{drill} {key}"),
                    Rule::Bounded(_) => assert!(line.is_some(), "{drill} {key}"),
                }
                found.as_object_mut().expect("an object").remove(key);
                assert!(!tolerance.compare(&expected, &found, None).holds(), "{drill}: {key} is missing");
            }
        }
    }

    #[track_caller]
    fn check(drill: u8, changes: &[(&str, Value)], baseline: &[(&str, Value)], expected: &[&str]) {
        let with = |changes: &[(&str, Value)]| {
            let mut document = active();
            changes.iter().for_each(|(key, value)| document[key] = value.clone());
            document
        };
        let comparison = built_in().for_drill(drill).compare(&active(), &with(changes), Some(&with(baseline)));
        let lines: Vec<String> = comparison.lines.iter().map(ToString::to_string).collect();
        let of_keys: Vec<&String> =
            lines.iter().filter(|line| changes.iter().any(|(key, _)| line.contains(key))).collect();
        assert_eq!(of_keys, expected, "drill {drill}");
    }

    #[test]
    fn bounds_are_kept() {
        let lag = |lag: i64| ("ws_event_lag_ms", json!(lag));
        let expected = active()["ws_event_lag_ms"].clone();
        check(5, &[lag(9000)], &[], &[&format!(" free   ws_event_lag_ms: expected {expected}, found 9000")]);
        check(
            2,
            &[lag(3000)],
            &[],
            &[&format!("!bound  ws_event_lag_ms: expected {expected}, found 3000; it must be above 3000")],
        );
        check(
            2,
            &[lag(3001)],
            &[],
            &[&format!(" bound  ws_event_lag_ms: expected {expected}, found 3001; above 3000")],
        );

        let count = |count: Value| ("10028_count_5m", count);
        check(
            7,
            &[count(json!(1))],
            &[],
            &[" bound  10028_count_5m: expected 0, found 1; at least 1, above the value before the trigger"],
        );
        check(
            7,
            &[count(json!(1))],
            &[count(json!(1))],
            &["!bound  10028_count_5m: expected 0, found 1; it must be above 1, the value before the trigger"],
        );
        check(7, &[count(json!(0))], &[], &["!bound  10028_count_5m: expected 0, found 0; it must be at least 1"]);
        check(7, &[count(json!("1"))], &[], &["!bound  10028_count_5m: expected 0, found \"1\"; it must be a number"]);

        let depth = |depth: i64| ("wal_queue_depth", json!(depth));
        let capacity = |capacity: i64| ("wal_queue_capacity", json!(capacity));
        for (drill, at, holds) in [(3, 63, false), (3, 64, true), (3, 65, false), (1, 63, true), (1, 64, false)] {
            let rules = built_in().for_drill(drill);
            let mut found = active();
            for (key, value) in [depth(at), capacity(64), ("wal_queue_enqueue_failures", json!(3))] {
                found[key] = value;
            }
            assert_eq!(rules.compare(&active(), &found, None).holds(), holds, "drill {drill}, {at} of 64");
        }
    }

    #[test]
    fn the_owner_s_code_counts_and_its_wording_does_not() {
        let tolerance = built_in().for_drill(5);
        let expected = active();
        let mut found = active();
        found["owner_view"]["owner_message"] = json!("All is well.");
        found["owner_view"]["unblock"] = json!([{"type": "AUTO"}]);
        let comparison = tolerance.compare(&expected, &found, None);
        assert!(comparison.holds() && comparison.lines.len() == 2, "{}", comparison.to_text());
        found["owner_view"]["primary_owner_reason_code"] = json!("ELSE");
        assert!(!tolerance.compare(&expected, &found, None).holds());
    }

    #[test]
    fn keys_of_the_system_s_own_are_named() {
        let mut found = active();
        found["up.time"] = json!(12);
        let comparison = built_in().for_drill(1).compare(&active(), &found, None);
        assert_eq!((comparison.holds(), comparison.to_text().as_str()), (true, " extra  up.time: found 12\n"));
    }

    #[test]
    fn whatever_stands_in_a_document_is_compared() {
        let odd = [json!(null), json!([]), json!([{}]), json!({}), json!(-1), json!(1e308), json!(u64::MAX), json!("")];
        for drill in DRILLS {
            let tolerance = built_in().for_drill(drill);
            for (key, rule) in &tolerance.rules {
                for value in &odd {
                    let mut found = active();
                    found[key] = value.clone();
                    for (expected, found) in [(&active(), &found), (&found, &active())] {
                        let comparison = tolerance.compare(expected, found, Some(expected));
                        let must_break = matches!(rule, Rule::Bounded(_)) && !found[key].is_number();
                        assert!(!must_break || !comparison.holds(), "drill {drill}, {key}: {value}");
                    }
                }
            }
            for whole in &odd {
                assert!(!tolerance.compare(&active(), whole, None).holds(), "{whole}");
            }
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_whole_or_refused() {
        let whole = built_in();
        for (end, _) in TOLERANCE.char_indices() {
            let cut = TOLERANCE.get(..end).unwrap_or_default();
            if let Ok(found) = Tolerance::parse("cut.toml", cut) {
                assert_eq!(found.keys, whole.keys, "cut at byte {end}");
            }
        }
    }

    #[track_caller]
    fn refused(text: &str, says: &str) {
        let error = Tolerance::parse("own.toml", text).expect_err("it is wrong").to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn what_a_file_must_not_say_is_refused_with_its_line() {
        assert!(Tolerance::parse("own.toml", &file("")).is_ok());
        let wrong = [
            (
                "tradingmode = \"free\"",
                "own.toml:38: a status document has no key `tradingmode`; did you mean `trading_mode`?",
            ),
            ("[drills.9]\nmm_util = \"free\"", "own.toml:38: no drill \"9\"; there are 1 to 8"),
            ("[drills.2]\nmm_utils = \"free\"", "own.toml:39: a status document has no key `mm_utils`"),
            (
                "[drills.2]\nmm_util = \"fee\"",
                "own.toml:39: `mm_util`: expected \"equal\", \"free\" or a table of bounds",
            ),
            ("[drills.2]\nmm_util = {}", "own.toml:39: `mm_util`: expected \"equal\""),
            ("[drills.2]\nmm_util = { near = 1 }", "own.toml:39: `mm_util`: no bound \"near\"; there are at_least"),
            (
                "[drills.2]\nmm_util = { above = true }",
                "own.toml:39: `mm_util`: above: expected a number, \"expected\"",
            ),
            ("[drills.2]\nmm_util = { above = nan }", "own.toml:39: `mm_util`: above: expected a finite number"),
            ("[drills.2]\nmm_util = { above = \"mm_utils\" }", "own.toml:39: a status document has no key `mm_utils`"),
            ("[drills.2]\nowner_view = { equal = [] }", "own.toml:39: `owner_view`: equal: expected a list"),
            ("[drills.2]\nowner_view = { equal = [1] }", "own.toml:39: `owner_view`: equal: expected a list"),
            ("[drills.2]\nmm_util = \"free\"\nmm_util = \"equal\"", "own.toml: TOML parse error at line 40"),
            ("[more]", "own.toml: TOML parse error at line 38"),
        ];
        for (more, says) in wrong {
            refused(&file(more), says);
        }
        refused(&file("").replace("mm_util = \"equal\"\n", ""), "own.toml: no rule for `mm_util`; write `mm_util");
        refused(&file("").replace("tolerance/v1", "tolerance/v2"), "own.toml:1: schema is \"drillfold/tolerance/v2\"");
    }
}
