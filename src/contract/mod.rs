//! The contract made checkable: the `/status` validator, the owner view, and the registry check.
//!
//! **Owns** the two JSON Schemas and the manifest as they are built into the program, the rules that a schema cannot
//! express, the derivation of `owner_view` from the other keys, and what may differ between a golden document and that of
//! a running system.
//!
//! **Invariants.** Everything here is a pure function of JSON values: no file, no clock, no network. Whatever a
//! document, a schema or a manifest contains, the answer is a list of findings or a typed error, never a panic. Findings
//! come in a stable order. The JSON Schema library is used in [`validator`] only.
//!
//! **What it does not do.** It makes no `/status`: the kernel's projection does. It gives the owner view no authority:
//! nothing reads it back.
//!
//! Source: contract 5.2, status document and reason-code registries.

pub mod config;
pub mod diff;
pub mod document;
pub mod open_permission;
pub mod owner_view;
pub mod registry_check;
pub mod tolerance;
pub mod validator;

/// The reason-code manifest that this program was built from.
pub const MANIFEST: &str = include_str!("../../specs/status/status_reason_registries_manifest.json");

/// The lock that belongs to [`MANIFEST`].
pub const REGISTRY_LOCK: &str = include_str!("../../specs/status/registry.lock.json");

/// The minimum schema: further keys allowed at the top, for running systems.
pub const SCHEMA_MIN: &str = include_str!("../../specs/status/status_csp_min.schema.json");

/// The exact schema: no further keys at any level, for golden documents.
pub const SCHEMA_EXACT: &str = include_str!("../../specs/status/status_csp_exact.schema.json");

/// What may differ from a golden document in that of a running system, key by key.
pub const TOLERANCE: &str = include_str!("../../specs/status/tolerance.toml");
