//! The effective runtime configuration: defaults plus overrides, as integers, as canonical JSON and as its hash.
//!
//! **Owns** the reading of `specs/config/defaults.toml`, the only place of defaults, and the canonical form that
//! `runtime_config_hash` is taken over.
//!
//! **Invariants.** The numbers of the canonical form are written from the same integers that the kernel gets, so equal
//! hashes mean equal thresholds and the other way round: 0.7 and 0.70 are one configuration. No binary float takes part in
//! a value. Nothing here panics; every finding names the value it concerns.
//!
//! **Canonical form.** One JSON object; its keys are the sections of the defaults file and `required`, which holds the
//! values that have no default, as far as they are given. Keys are sorted by their bytes at every level, there is no white
//! space outside strings, the text is UTF-8, and a number is its shortest plain decimal form (`0.7`, `0.000000001`): no
//! exponent, no zeros at the end of a fraction, no sign before zero.
//!
//! **What it does not do.** It reads no files: overrides come from a scenario or a boot.
//!
//! Source: contract 5.2, status document key 4 and configuration.

use std::{collections::BTreeMap, fmt};

use drillfold_kernel::config::{Config, Scale};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::text::{
    decimal::{self, DecimalError, NANO_DIGITS, PPM_DIGITS},
    nearest::suggestion,
};

/// The defaults as they are built into the program.
pub const DEFAULTS: &str = include_str!("../../specs/config/defaults.toml");

/// Name of the value that is a text: the perpetual that the market monitors read.
pub const REFERENCE_INSTRUMENT: &str = "reference_instrument";

/// Section of the canonical form for values without default.
pub const REQUIRED_SECTION: &str = "required";

/// Deepest nesting that [`canonical_json`] follows.
pub const DEPTH_MAX: usize = 64;

/// Values for which zero would stop the clockwork or take away a bound.
const AT_LEAST_ONE: [&str; 9] = [
    "count_window_s",
    "depth_levels",
    "keepalive_ms",
    "loop_tick_ms",
    "poll_s",
    "reconcile_interval_s",
    "reconnect_backoff_initial_ms",
    "rest_timeout_ms",
    "wal_queue_capacity",
];

/// Pairs of which the first clears what the second trips: above it, one value would do both.
const CLEARS_AND_TRIPS: [(&str, &str); 4] = [
    ("mm_util_reduceonly_clear", "mm_util_reduceonly"),
    ("mm_util_kill_clear", "mm_util_kill"),
    ("disk_pause_archives_pct", "disk_degraded_pct"),
    ("ws_stale_clear_lag_ms", "ws_stale_threshold_ms"),
];

/// The configuration that a boot runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// The thresholds as the kernel takes them.
    pub kernel: Config,
    /// The venue's name of the perpetual that the market monitors read; `None` blocks what needs it.
    pub reference_instrument: Option<String>,
    /// The canonical JSON of all values.
    pub canonical: String,
    /// SHA-256 of [`Self::canonical`] in lower-case hex. Source: contract 5.2, status document key 4.
    pub hash: String,
}

/// One thing that is wrong with a configuration; the caller points at the named value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// An override names nothing that can be configured.
    #[error("unknown configuration name `{name}`{suggestion}")]
    UnknownName {
        /// The name.
        name: String,
        /// The nearest known name in words, or nothing.
        suggestion: String,
    },
    /// A value is of another type than its name asks for.
    #[error("`{name}` is {found}, expected {expected}")]
    WrongType {
        /// The name.
        name: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A number can't be kept exactly.
    #[error("`{name}` = {value} is {reason}")]
    BadNumber {
        /// The name.
        name: String,
        /// The value as it was understood.
        value: String,
        /// Why it can't be kept.
        reason: DecimalError,
    },
    /// A number is below what makes sense.
    #[error("`{name}` = {value} is below {least}")]
    TooSmall {
        /// The name.
        name: String,
        /// The value.
        value: String,
        /// The smallest one allowed.
        least: i64,
    },
    /// A text is empty.
    #[error("`{name}` is empty, expected the venue's name of an instrument")]
    EmptyText {
        /// The name.
        name: String,
    },
    /// A threshold clears above the value at which its partner trips.
    #[error("`{name}` = {value} clears above `{trips}` = {trip_value}, at which it trips; lower it or leave it equal")]
    ClearsAboveTrip {
        /// The clearing threshold.
        name: String,
        /// Its value.
        value: String,
        /// The tripping threshold.
        trips: &'static str,
        /// Its value.
        trip_value: String,
    },
    /// The built-in defaults and the kernel's names disagree; the program is at fault.
    #[error("built-in configuration defaults are unusable: {reason}")]
    Defaults {
        /// In which way.
        reason: String,
    },
}

impl ConfigError {
    /// Returns the name of the value that is wrong, unless the program itself is.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::UnknownName { name, .. }
            | Self::WrongType { name, .. }
            | Self::BadNumber { name, .. }
            | Self::TooSmall { name, .. }
            | Self::EmptyText { name }
            | Self::ClearsAboveTrip { name, .. } => Some(name),
            Self::Defaults { .. } => None,
        }
    }
}

/// All that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, error) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl RuntimeConfig {
    /// Returns the defaults with these overrides, given by the flat names of the defaults file.
    ///
    /// Of two overrides of one name the later one counts. A name that nobody gives takes its documented default; one that has
    /// none stays missing, and the gate that needs it refuses. Source: AT-341, AT-424.
    ///
    /// # Errors
    /// All findings at once: unknown names with the nearest known one, wrong types, numbers that can't be kept exactly or
    /// are too small, and thresholds that clear above the value at which they trip.
    pub fn new(overrides: &[(String, toml::Value)]) -> Result<Self, ConfigErrors> {
        let mut sections = default_sections().map_err(|error| ConfigErrors(vec![error]))?;
        let mut errors = Vec::new();
        let mut reference_instrument = None;
        for (name, value) in overrides {
            let read = if name == REFERENCE_INSTRUMENT {
                text(name, value).map(|text| reference_instrument = Some(text))
            } else {
                number(name, value).map(|number| put(&mut sections, name, number))
            };
            errors.extend(read.err());
        }
        errors.extend(contradictions(&sections));
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        let numbers = sections.values().flatten().map(|(name, number)| (name.as_str(), number.value));
        let kernel = Config::from_pairs(numbers).map_err(|error| {
            ConfigErrors(vec![ConfigError::Defaults { reason: format!("kernel and defaults differ: {error:?}") }])
        })?;
        let canonical = canonical(&sections, reference_instrument.as_deref());
        let hash = sha256_hex(canonical.as_bytes());
        Ok(Self { kernel, reference_instrument, canonical, hash })
    }
}

/// Returns every name that can be configured, sorted.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = Config::REQUIRED.iter().chain(Config::OPTIONAL).map(|(name, _)| *name).collect();
    names.push(REFERENCE_INSTRUMENT);
    names.sort_unstable();
    names
}

/// Returns every value that is given, by its name, as the plain decimal that a person would write.
#[must_use]
pub fn plain_values(config: &Config) -> BTreeMap<&'static str, String> {
    let scales: BTreeMap<&str, Scale> = Config::REQUIRED.iter().chain(Config::OPTIONAL).copied().collect();
    let plain = |(name, value)| {
        let scale = scales.get(name).copied().unwrap_or(Scale::Whole);
        (name, Number { value, scale }.plain())
    };
    config.pairs().into_iter().map(plain).collect()
}

/// Returns a text's SHA-256 in lower-case hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why a JSON text has no canonical form.
#[derive(Debug, Error)]
pub enum CanonicalError {
    /// The text is not JSON.
    #[error("not valid JSON")]
    Json(#[from] serde_json::Error),
    /// An object has a key twice, so its meaning is open.
    #[error("key `{key}` stands twice in one object")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A number has no plain decimal form of bearable length.
    #[error("number {text} is {reason}")]
    Number {
        /// The number as it stands.
        text: String,
        /// What is wrong with it.
        reason: DecimalError,
    },
    /// The document is nested too deeply.
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

/// Rewrites a JSON text in the canonical form: keys sorted by their bytes at every level, no white space outside strings,
/// numbers in their shortest plain decimal form, strings with the fewest escapes. Source: AT-113.
///
/// # Errors
/// A text that is not JSON, a key that stands twice, a number without plain form, too deep nesting.
pub fn canonical_json(text: &str) -> Result<String, CanonicalError> {
    let raw: &RawValue = serde_json::from_str(text)?;
    let mut out = String::new();
    write_canonical(raw.get(), DEPTH_MAX, &mut out)?;
    Ok(out)
}

/// A number of the configuration.
#[derive(Clone, Copy)]
struct Number {
    value: i64,
    scale: Scale,
}

impl Number {
    fn plain(self) -> String {
        decimal::plain(i128::from(self.value), digits(self.scale))
    }
}

/// Numbers by name, in sections by name.
type Sections = BTreeMap<String, BTreeMap<String, Number>>;

const fn digits(scale: Scale) -> u32 {
    match scale {
        Scale::Whole => 0,
        Scale::Ppm => PPM_DIGITS,
        Scale::Nano => NANO_DIGITS,
    }
}

fn default_sections() -> Result<Sections, ConfigError> {
    let broken = |reason: String| ConfigError::Defaults { reason };
    let tables: BTreeMap<String, BTreeMap<String, toml::Value>> =
        toml::from_str(DEFAULTS).map_err(|error| broken(error.message().to_owned()))?;
    let mut sections = Sections::new();
    for (section, table) in tables {
        let mut numbers = BTreeMap::new();
        for (name, value) in table {
            let read = number(&name, &value).map_err(|error| broken(error.to_string()))?;
            numbers.insert(name, read);
        }
        sections.insert(section, numbers);
    }
    sections.insert(REQUIRED_SECTION.to_owned(), BTreeMap::new());
    Ok(sections)
}

fn put(sections: &mut Sections, name: &str, number: Number) {
    let section = sections
        .iter()
        .find(|(_, numbers)| numbers.contains_key(name))
        .map_or_else(|| REQUIRED_SECTION.to_owned(), |(section, _)| section.clone());
    sections.entry(section).or_default().insert(name.to_owned(), number);
}

fn number(name: &str, value: &toml::Value) -> Result<Number, ConfigError> {
    let Some((_, scale)) = Config::REQUIRED.iter().chain(Config::OPTIONAL).find(|(known, _)| *known == name) else {
        return Err(ConfigError::UnknownName { name: name.to_owned(), suggestion: suggestion(name, names()) });
    };
    let text = match (value, scale) {
        (toml::Value::Integer(whole), _) => whole.to_string(),
        (toml::Value::Float(float), Scale::Ppm | Scale::Nano) => {
            decimal::float_text(*float).ok_or_else(|| ConfigError::BadNumber {
                name: name.to_owned(),
                value: float.to_string(),
                reason: if float.is_finite() {
                    DecimalError::TooFine { digits: digits(*scale) }
                } else {
                    DecimalError::NotANumber
                },
            })?
        }
        (other, scale) => {
            return Err(ConfigError::WrongType {
                name: name.to_owned(),
                expected: match scale {
                    Scale::Whole => "an integer",
                    Scale::Ppm => "a number with at most 6 digits after the point",
                    Scale::Nano => "a number with at most 9 digits after the point",
                },
                found: type_name(other),
            });
        }
    };
    let read = decimal::parse(&text, digits(*scale)).map_err(|reason| ConfigError::BadNumber {
        name: name.to_owned(),
        value: text.clone(),
        reason,
    })?;
    let least = i64::from(AT_LEAST_ONE.contains(&name));
    if read < least {
        return Err(ConfigError::TooSmall { name: name.to_owned(), value: text, least });
    }
    Ok(Number { value: read, scale: *scale })
}

fn text(name: &str, value: &toml::Value) -> Result<String, ConfigError> {
    match value {
        toml::Value::String(text) if text.trim().is_empty() => Err(ConfigError::EmptyText { name: name.to_owned() }),
        toml::Value::String(text) => Ok(text.clone()),
        other => Err(ConfigError::WrongType {
            name: name.to_owned(),
            expected: "the venue's name of an instrument in quotes",
            found: type_name(other),
        }),
    }
}

const fn type_name(value: &toml::Value) -> &'static str {
    match value {
        toml::Value::String(_) => "a string",
        toml::Value::Integer(_) => "an integer",
        toml::Value::Float(_) => "a number with a fraction",
        toml::Value::Boolean(_) => "a boolean",
        toml::Value::Datetime(_) => "a date",
        toml::Value::Array(_) => "a list",
        toml::Value::Table(_) => "a table",
    }
}

fn contradictions(sections: &Sections) -> Vec<ConfigError> {
    let find = |name: &str| sections.values().find_map(|numbers| numbers.get(name)).copied();
    let mut errors = Vec::new();
    for (clears, trips) in CLEARS_AND_TRIPS {
        if let (Some(clear), Some(trip)) = (find(clears), find(trips))
            && clear.value > trip.value
        {
            errors.push(ConfigError::ClearsAboveTrip {
                name: clears.to_owned(),
                value: clear.plain(),
                trips,
                trip_value: trip.plain(),
            });
        }
    }
    errors
}

fn canonical(sections: &Sections, reference_instrument: Option<&str>) -> String {
    let objects = sections.iter().map(|(section, numbers)| {
        let mut values: BTreeMap<&str, String> =
            numbers.iter().map(|(name, number)| (name.as_str(), number.plain())).collect();
        if section == REQUIRED_SECTION
            && let Some(text) = reference_instrument
        {
            values.insert(REFERENCE_INSTRUMENT, json_string(text));
        }
        (section.as_str(), object(values))
    });
    object(objects.collect())
}

fn object(members: BTreeMap<&str, String>) -> String {
    let members: Vec<String> = members.iter().map(|(key, value)| format!("{}:{value}", json_string(key))).collect();
    format!("{{{}}}", members.join(","))
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn write_canonical(text: &str, depth: usize, out: &mut String) -> Result<(), CanonicalError> {
    let Some(deeper) = depth.checked_sub(1) else {
        return Err(CanonicalError::TooDeep);
    };
    match text.as_bytes().first() {
        Some(b'{') => {
            let Members(mut members) = serde_json::from_str(text)?;
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            out.push('{');
            for (place, (key, value)) in members.iter().enumerate() {
                if place > 0 {
                    if members.get(place.wrapping_sub(1)).is_some_and(|(before, _)| before == key) {
                        return Err(CanonicalError::DuplicateKey { key: key.clone() });
                    }
                    out.push(',');
                }
                out.push_str(&json_string(key));
                out.push(':');
                write_canonical(value.get(), deeper, out)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let Elements(elements) = serde_json::from_str(text)?;
            out.push('[');
            for (place, value) in elements.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_canonical(value.get(), deeper, out)?;
            }
            out.push(']');
        }
        Some(b'"') => out.push_str(&json_string(&serde_json::from_str::<String>(text)?)),
        Some(b'-' | b'0'..=b'9') => out.push_str(
            &decimal::plain_json(text).map_err(|reason| CanonicalError::Number { text: text.to_owned(), reason })?,
        ),
        // What is left of valid JSON is true, false and null.
        _ => out.push_str(text),
    }
    Ok(())
}

/// The members of one JSON object in the order of the text, duplicates kept.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The elements of one JSON array.
struct Elements<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Elements<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    elements.push(element);
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VECTORS: &str = include_str!("../../specs/vectors/config_hash.json");

    #[derive(Deserialize)]
    struct Vectors {
        configurations: Vec<Configuration>,
        documents: Vec<Document>,
    }

    #[derive(Deserialize)]
    struct Configuration {
        name: String,
        overrides: serde_json::Map<String, serde_json::Value>,
        sha256: String,
    }

    #[derive(Deserialize)]
    struct Document {
        name: String,
        texts: Vec<String>,
        canonical: String,
        sha256: String,
    }

    fn with(overrides: &[(&str, toml::Value)]) -> Result<RuntimeConfig, ConfigErrors> {
        let overrides: Vec<_> = overrides.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        RuntimeConfig::new(&overrides)
    }

    #[test]
    fn at_113_key_order_and_white_space_never_change_the_hash() {
        let plain = r#"{"a":{"x":0.7,"y":[1,2]},"b":"é"}"#;
        let same = [
            "{\"b\":\"\u{e9}\",\"a\":{\"y\":[1,2],\"x\":0.7}}",
            " { \"a\" : { \"y\" : [ 1 , 2 ] , \"x\" : 0.70 } ,\r\n\t\"b\" : \"\u{e9}\" } ",
        ];
        let hash = |text: &str| sha256_hex(canonical_json(text).unwrap().as_bytes());
        for text in same {
            assert_eq!(hash(text), hash(plain), "{text}");
        }
        // Anything else than formatting does: a value, a name, the order of a list, a space within a text.
        for other in [
            r#"{"a":{"x":0.71,"y":[1,2]},"b":"\u00e9"}"#,
            r#"{"a":{"z":0.7,"y":[1,2]},"b":"\u00e9"}"#,
            r#"{"a":{"x":0.7,"y":[2,1]},"b":"\u00e9"}"#,
            r#"{"a":{"x":0.7,"y":[1,2]},"b":"\u00e9 "}"#,
        ] {
            assert_ne!(hash(other), hash(plain), "{other}");
        }
        // So for the configuration that runs: the order in which values are given says nothing.
        let given = [("mm_util_kill", toml::Value::from(1)), ("delta_limit", toml::Value::from(12.5))];
        let mut turned = given.clone();
        turned.reverse();
        assert_eq!(with(&given).unwrap().hash, with(&turned).unwrap().hash);
        assert_eq!(with(&given).unwrap().hash.len(), 64);
    }

    #[test]
    fn defaults_have_every_required_name_once_and_no_other() {
        let sections = default_sections().unwrap();
        let mut found: Vec<&str> = sections.values().flatten().map(|(name, _)| name.as_str()).collect();
        found.sort_unstable();
        let mut expected: Vec<&str> = Config::REQUIRED.iter().map(|(name, _)| *name).collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
        let config = with(&[]).unwrap();
        assert_eq!(config.kernel.mm_util_reject_opens, 700_000);
        assert_eq!(config.kernel.position_reconcile_epsilon, 1_000);
        assert_eq!(config.kernel.atomic_qty_epsilon, 1);
        assert_eq!(config.kernel.wal_queue_capacity, 1024);
        assert_eq!(config.kernel.delta_limit, None);
        assert_eq!(config.reference_instrument, None);
        for name in AT_LEAST_ONE.iter().chain(CLEARS_AND_TRIPS.iter().flat_map(|(clear, trip)| [clear, trip])) {
            assert!(names().contains(name), "{name}");
        }
    }

    /// Each name in turn is the only one that a configuration lacks: the kernel then has what the document of defaults says.
    #[test]
    fn at_341_424_every_missing_value_takes_its_documented_default() {
        let document: toml::Table = include_str!("../../specs/config/defaults.toml").parse().unwrap();
        let documented = |name: &str, scale: Scale| {
            let value = document.values().find_map(|section| section.get(name)).unwrap();
            let digits = match scale {
                Scale::Whole => 0,
                Scale::Ppm => 6,
                Scale::Nano => 9,
            };
            let number = value.as_float().unwrap_or_else(|| value.as_integer().unwrap() as f64);
            (number * 10_f64.powi(digits)).round() as i64
        };
        let of = |config: &RuntimeConfig, name: &str| {
            config.kernel.pairs().into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
        };
        for (missing, scale) in Config::REQUIRED {
            // Every other name is given, with the value that it has by default.
            let given: Vec<(&str, toml::Value)> = Config::REQUIRED
                .iter()
                .filter(|(name, _)| name != missing)
                .map(|(name, _)| (*name, document.values().find_map(|section| section.get(*name)).unwrap().clone()))
                .collect();
            let config = with(&given).unwrap();
            assert_eq!(of(&config, missing), Some(documented(missing, *scale)), "{missing}");
        }
        let config = with(&[]).unwrap();
        assert_eq!((config.kernel.instrument_cache_ttl_s, config.kernel.mm_util_kill), (3600, 950_000));
        // What has no default stays missing, and its gate refuses.
        for (name, _) in Config::OPTIONAL {
            assert_eq!(of(&config, name), None, "{name}");
        }
    }

    #[test]
    fn overrides_reach_the_kernel_and_the_hash() {
        let config = with(&[
            ("ws_stale_threshold_ms", 15_000.into()),
            ("mm_util_kill", 1.into()),
            ("delta_limit", 12.5.into()),
            (REFERENCE_INSTRUMENT, "BTC-PERPETUAL".into()),
        ])
        .unwrap();
        assert_eq!(config.kernel.ws_stale_threshold_ms, 15_000);
        assert_eq!(config.kernel.mm_util_kill, 1_000_000);
        assert_eq!(config.kernel.delta_limit, Some(12_500_000_000));
        assert_eq!(config.reference_instrument.as_deref(), Some("BTC-PERPETUAL"));
        assert!(config.canonical.contains(r#""required":{"delta_limit":12.5,"reference_instrument":"BTC-PERPETUAL"}"#));
        assert!(config.canonical.contains(r#""atomic_qty_epsilon":0.000000001"#));
        assert!(config.canonical.contains(r#""mm_util_kill":1,"#));
        assert_ne!(config.hash, with(&[]).unwrap().hash);
    }

    #[test]
    fn every_single_change_changes_the_hash() {
        let mut hashes = vec![with(&[]).unwrap().hash];
        for (name, _) in Config::REQUIRED {
            // Nine fits every name without crossing a pair when both ends are whole numbers or ratios of their own.
            let value: toml::Value =
                if name.contains("clear") || name.contains("pause") { 0.into() } else { 9_999_999.into() };
            hashes.push(with(&[(name, value)]).unwrap().hash);
        }
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }

    #[test]
    fn bad_overrides_are_all_named() {
        for (name, value, expected) in [
            (
                "ws_stale_treshold_ms",
                1.into(),
                "unknown configuration name `ws_stale_treshold_ms`; did you mean `ws_stale_threshold_ms`?",
            ),
            ("zzz", 1.into(), "unknown configuration name `zzz`"),
            ("loop_tick_ms", 1.5.into(), "`loop_tick_ms` is a number with a fraction, expected an integer"),
            ("loop_tick_ms", "1".into(), "`loop_tick_ms` is a string, expected an integer"),
            ("loop_tick_ms", 0.into(), "`loop_tick_ms` = 0 is below 1"),
            ("poll_s", toml::Value::Integer(-5), "`poll_s` = -5 is below 1"),
            ("mm_util_kill", toml::Value::Float(-0.5), "`mm_util_kill` = -0.5 is below 0"),
            (
                "mm_util_kill",
                toml::Value::Float(0.95000001),
                "`mm_util_kill` = 0.95000001 is finer than 6 digits after the point",
            ),
            ("mm_util_kill", toml::Value::Float(f64::NAN), "`mm_util_kill` = NaN is not a decimal number"),
            ("delta_limit", toml::Value::Float(1e300), "`delta_limit` = 1"),
            ("mm_util_kill", true.into(), "`mm_util_kill` is a boolean, expected a number"),
            (
                "mm_util_kill_clear",
                toml::Value::Float(0.96),
                "`mm_util_kill_clear` = 0.96 clears above `mm_util_kill` = 0.95",
            ),
            (REFERENCE_INSTRUMENT, 5.into(), "`reference_instrument` is an integer"),
            (REFERENCE_INSTRUMENT, " ".into(), "`reference_instrument` is empty"),
        ] {
            let errors = with(&[(name, value)]).unwrap_err();
            assert_eq!(errors.0.len(), 1, "{errors}");
            assert!(errors.to_string().starts_with(expected), "{errors}");
            assert_eq!(errors.0[0].name(), Some(name));
        }
        let errors = with(&[("a", 1.into()), ("loop_tick_ms", true.into())]).unwrap_err();
        assert_eq!(errors.0.len(), 2);
    }

    #[test]
    fn known_answers_hold() {
        let vectors: Vectors = serde_json::from_str(VECTORS).unwrap();
        for vector in vectors.configurations {
            let overrides: Vec<(String, toml::Value)> = vector
                .overrides
                .into_iter()
                .map(|(name, value)| (name, serde_json::from_value(value).unwrap()))
                .collect();
            let config = RuntimeConfig::new(&overrides).unwrap();
            assert_eq!(config.hash, vector.sha256, "{}: {}", vector.name, config.canonical);
            assert_eq!(canonical_json(&config.canonical).unwrap(), config.canonical, "{}", vector.name);
        }
        for vector in vectors.documents {
            for text in vector.texts {
                let canonical = canonical_json(&text).unwrap();
                assert_eq!(canonical, vector.canonical, "{}", vector.name);
                assert_eq!(sha256_hex(canonical.as_bytes()), vector.sha256, "{}", vector.name);
            }
        }
    }

    #[test]
    fn documents_without_canonical_form_are_refused() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        for (text, expected) in [
            ("{", "not valid JSON"),
            ("", "not valid JSON"),
            (r#"{"a":1,"a":2}"#, "key `a` stands twice in one object"),
            (r#"{"a":1,"\u0061":2}"#, "key `a` stands twice in one object"),
            ("[1e9999]", "number 1e9999 is too large"),
            (deep.as_str(), "nested deeper than 64 levels"),
        ] {
            assert_eq!(canonical_json(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn prop_canonical_json_is_stable(text in r#"[\[\]{}:,"a-c0-9.e \\-]{0,40}"#) {
            if let Ok(once) = canonical_json(&text) {
                prop_assert_eq!(canonical_json(&once).unwrap(), once);
            }
        }

        #[test]
        fn prop_any_override_is_answered(name in "[a-z_]{0,12}|mm_util_kill|delta_limit", value: f64) {
            let _ = with(&[(name.as_str(), value.into())]);
        }
    }
}
