//! Tables of the documents that repeat the registry manifest, the configuration or a schema are made from them.
//!
//! `DRILLFOLD_UPDATE_DOCUMENTS=1 cargo test --test it documents` writes them anew; without it a table that differs fails.

use std::{env, fmt::Write as _, fs};

use drillfold_registry::{ModeReason, Registry, Tier};
use serde_json::Value;

use crate::project::root;

/// Set to 1, it lets the tests write what they would compare.
pub const UPDATE: &str = "DRILLFOLD_UPDATE_DOCUMENTS";

const MANIFEST: &str = include_str!("../../specs/status/status_reason_registries_manifest.json");
const EXACT_SCHEMA: &str = include_str!("../../specs/status/status_csp_exact.schema.json");
const DEFAULTS: &str = include_str!("../../specs/config/defaults.toml");

#[test]
fn tables_of_the_documents_are_those_of_their_sources() {
    let registry = Registry::parse(MANIFEST).unwrap();
    let tables = [
        ("specs/contract/kernel.md", "kill-reasons", reasons(&registry, Tier::Kill)),
        ("specs/contract/kernel.md", "reduce-only-reasons", reasons(&registry, Tier::ReduceOnly)),
        ("specs/contract/kernel.md", "latch-codes", latch_codes(&registry)),
        ("specs/contract/kernel.md", "refusals", refusals(&registry)),
        ("specs/contract/kernel.md", "thresholds", thresholds()),
        ("specs/contract/status.md", "status-keys", status_keys()),
        ("specs/contract/status.md", "owner-codes", owner_codes(&registry)),
    ];
    for (file, name, table) in tables {
        let path = root().join(file);
        let text = fs::read_to_string(&path).unwrap();
        let begin = text.find(&format!("<!-- table {name}:")).unwrap_or_else(|| panic!("{file} has no table {name}"));
        let from = begin + text[begin..].find("-->\n").unwrap() + "-->\n".len();
        let to = from + text[from..].find("<!-- end of table -->").unwrap();
        let wanted = format!("{}\n{table}\n{}", &text[..from], &text[to..]);
        compare(file, &text, &wanted);
    }
}

/// No token and no threshold stands in a table that is not generated: a second table of them could say something else.
#[test]
fn no_other_table_lists_reasons_or_thresholds() {
    let registry = Registry::parse(MANIFEST).unwrap();
    let thresholds: Vec<String> = default_values().into_iter().map(|(_, name, _)| name).collect();
    for file in ["README.md", "specs/contract/kernel.md", "specs/contract/status.md", "specs/contract/decisions.md"] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let mut generated = false;
        for (line, number) in text.lines().zip(1..) {
            generated = (generated || line.starts_with("<!-- table ")) && line != "<!-- end of table -->";
            let Some(first) = line.strip_prefix("| ").and_then(|row| row.split(" |").next()) else {
                continue;
            };
            let first = first.trim_matches('`');
            let is_token = registry.mode_reasons.iter().any(|reason| reason.token.code == first)
                || registry.open_permission_reasons.iter().any(|reason| reason.token.code == first);
            let repeats = is_token || thresholds.iter().any(|name| name == first);
            assert!(generated || !repeats, "{file}:{number}: {first} stands in a table that is not generated");
        }
    }
}

/// Compares a file with what it should be; writes it where updating is asked for.
#[track_caller]
pub fn compare(file: &str, found: &str, wanted: &str) {
    if found == wanted {
        return;
    }
    if env::var_os(UPDATE).is_some_and(|value| value == "1") {
        fs::write(root().join(file), wanted).unwrap();
        return;
    }
    let place = found.lines().zip(wanted.lines()).zip(1..).find(|((found, wanted), _)| found != wanted);
    panic!("{file} is not what it is made from: run this test with {UPDATE}=1; first difference: {place:?}");
}

fn reasons(registry: &Registry, tier: Tier) -> String {
    let of_tier = registry.mode_reasons.iter().filter(|reason| reason.tier == tier);
    let row = |reason: &ModeReason| {
        let ModeReason { token, when, unblock, condition, latched, .. } = reason;
        let latched = if *latched { "yes" } else { "" };
        format!("| {} | {when} | {latched} | {}: {condition} |\n", token.code, unblock.name())
    };
    let rows: String = of_tier.map(row).collect();
    format!("| token | active when | latched | lifted by |\n|---|---|---|---|\n{rows}")
}

fn latch_codes(registry: &Registry) -> String {
    let mut table = "| code | set by | leaves by |\n|---|---|---|\n".to_owned();
    for code in &registry.open_permission_reasons {
        writeln!(table, "| {} | {} | {}: {} |", code.token.code, code.when, code.unblock.name(), code.condition)
            .unwrap();
    }
    table
}

fn refusals(registry: &Registry) -> String {
    let mut table = "| refusal | means |\n|---|---|\n".to_owned();
    for token in &registry.reject_reasons {
        writeln!(table, "| `{}` | {} |", token.code, token.text).unwrap();
    }
    table
}

fn owner_codes(registry: &Registry) -> String {
    let mut table = "| owner code | stands for | message |\n|---|---|---|\n".to_owned();
    for token in &registry.owner_reasons {
        let modes = registry.mode_reasons.iter().map(|reason| (&reason.token.code, &reason.shown));
        let codes = registry.open_permission_reasons.iter().map(|reason| (&reason.token.code, &reason.shown));
        let of: Vec<&str> = modes
            .chain(codes)
            .filter(|(_, shown)| shown.as_ref().is_some_and(|shown| shown.owner == token.code))
            .map(|(code, _)| code.as_str())
            .collect();
        writeln!(table, "| `{}` | {} | {} |", token.code, of.join(", "), token.text).unwrap();
    }
    table
}

/// The defaults as sections, names and values, in the order of their file.
fn default_values() -> Vec<(String, String, String)> {
    let mut values = Vec::new();
    let mut section = String::new();
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((name, rest)) = line.split_once(" = ") {
            let value = rest.split('#').next().unwrap_or_default().trim();
            values.push((section.clone(), name.to_owned(), value.to_owned()));
        }
    }
    values
}

fn thresholds() -> String {
    let mut table = "| threshold | default | of |\n|---|---|---|\n".to_owned();
    for (section, name, value) in default_values() {
        writeln!(table, "| `{name}` | {value} | {section} |").unwrap();
    }
    table
}

fn status_keys() -> String {
    let schema: Value = serde_json::from_str(EXACT_SCHEMA).unwrap();
    let mut table = "| # | key | type | value |\n|---|---|---|---|\n".to_owned();
    let required = schema["required"].as_array().unwrap();
    for (key, number) in required.iter().zip(1..) {
        let key = key.as_str().unwrap();
        let property = &schema["properties"][key];
        let target = property["$ref"].as_str().and_then(|path| schema.pointer(path.trim_start_matches('#')));
        let property = target.unwrap_or(property);
        let says = property["description"].as_str().unwrap();
        writeln!(table, "| {number} | `{key}` | {} | {says} |", type_of(property)).unwrap();
    }
    table
}

fn type_of(property: &Value) -> String {
    let list = |values: &Value| {
        let values: Vec<String> = values.as_array().unwrap().iter().map(|value| format!("`{value}`")).collect();
        values.join(", ").replace('"', "")
    };
    if !property["const"].is_null() {
        return list(&Value::Array(vec![property["const"].clone()]));
    }
    if !property["enum"].is_null() {
        return list(&property["enum"]);
    }
    let types = match &property["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        one => one.as_str().unwrap_or("object").to_owned(),
    };
    let bounds = match (&property["minimum"], &property["maximum"]) {
        (Value::Null, _) => String::new(),
        (least, Value::Null) => format!(", {least} or more"),
        (least, most) => format!(", {least} to {most}"),
    };
    let items = if types == "array" { " of tokens" } else { "" };
    format!("{types}{items}{bounds}")
}
