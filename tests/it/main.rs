//! The integration tests: one binary, one module a subject.

mod acceptance;
mod bad_scenarios;
mod capture;
mod ci_formats;
mod containment_prices;
mod coverage;
mod determinism;
mod documents;
mod evidence;
mod flips;
mod generate;
mod history;
mod import;
mod inspect;
mod inspect_commands;
mod log_commands;
mod log_crash_matrix;
mod log_following;
mod log_reading;
mod log_rig;
mod log_writer;
#[cfg(target_os = "linux")]
#[path = "../../benches/support/market_data.rs"]
mod market_data;
mod matrices;
#[cfg(target_os = "linux")]
mod memory;
mod owner_page;
mod planted;
mod project;
#[allow(dead_code, reason = "the kernel's own tests use the rest")]
#[path = "../../src/kernel/tests/rules/reference.rs"]
mod reference;
mod reference_runs;
mod registry_build;
mod replay;
#[allow(dead_code, reason = "the kernel's own tests use the rest")]
#[path = "../../src/kernel/tests/rules/rig.rs"]
mod rig;
mod seeds;
mod serve;
mod serve_limits;
mod serve_log;
mod serve_restart;
mod shadow;
mod status_document;
mod tidy;
mod validator;
