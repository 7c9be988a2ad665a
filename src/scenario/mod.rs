//! Scenario files: TOML text in, checked scenarios out.
//!
//! **Owns** the format: the tables as a person writes them (`raw`), the rules (`check`), the findings with their codes
//! ([`error`]), the JSON Schema ([`schema`]), and the checked [`model`] that the rest of the crate works with. The format is
//! described in `specs/scenarios.md`; what a scenario has where it says nothing stands in `specs/config/scenario.toml`.
//!
//! **Invariants.** A [`model::Scenario`] exists only if every rule holds: durations are read, instruments are places in the
//! table, expressions parse and have the right type, and every token they mention is in the registry. A mistyped key, name
//! or token is a finding, never a default. All findings of the rules come at once; those of the tables' shape (unknown key,
//! wrong type) one at a time. Nothing panics on any text.
//!
//! **What it does not do.** It opens no files: text comes in, and a recording stays a path. It runs nothing.

pub mod error;
pub mod model;
pub mod schema;

mod check;
mod raw;

use self::{error::ScenarioErrors, model::Scenario};

/// Version of the format, as it stands in every file.
pub const SCHEMA_VERSION: &str = "drillfold/scenario/v1";

/// What a scenario has where it says nothing.
pub const DEFAULTS: &str = include_str!("../../specs/config/scenario.toml");

const TEMPLATE: &str = include_str!("template.toml");

/// Parses and checks a scenario file; `file_name` is its name or path, for messages and to compare its name with.
///
/// Returns the scenario itself, then its variants in the order of the file.
///
/// # Errors
/// Everything that the rules find at once, by place, each with a stable code, line and column; or the first thing that is
/// wrong with the shape of the tables.
pub fn parse(file_name: &str, text: &str) -> Result<Vec<Scenario>, ScenarioErrors> {
    check::scenarios(file_name, text)
}

/// Returns a commented scenario to start from, under this name; it parses as it is if the name is one.
#[must_use]
pub fn template(name: &str) -> String {
    TEMPLATE.replace("SCENARIO_NAME", name)
}
