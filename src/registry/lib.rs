//! The reason-code registries: reading the manifest, checking it against its lock, and generating Rust from it.
//!
//! The manifest (`specs/status/status_reason_registries_manifest.json`) is the only place where a reason token is
//! typed by hand. The kernel's build script turns it into enums, `drillfold registry check` judges it at run time, and
//! both go through [`check()`], so a build and a check can never disagree.
//!
//! The lock (`specs/status/registry.lock.json`) repeats the tokens, in order, with a digest bound to the contract
//! version. A change to the tokens therefore has to be made in two places, and whoever makes it in one place only is
//! told which token differs, and how.
//!
//! **Invariants.** Reading never panics, whatever the bytes are. Equal manifests give byte-identical Rust source.
//! [`check()`] collects every finding before it answers.
//!
//! **What it does not do.** It reads no file: callers hand in text. It does not judge `/status` documents; the
//! validator of the main crate does.
//!
//! Source: contract 5.2, reason-code registries and status document; checklist drill 8, trigger A.

mod check;
mod generate;
mod lock;
mod manifest;

pub use check::{Finding, check};
pub use generate::{generate_rust, variant_name};
pub use lock::{Lock, LockError, canonical_form, digest};
pub use manifest::{
    CSP_MINIMUM_KEY_COUNT, Enumeration, ManifestError, ModeReason, OpenPermissionReason, Registry, Shown, Tier, Token,
    Unblock,
};
