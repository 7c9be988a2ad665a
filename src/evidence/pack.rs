//! One drill's pack: the checklist's seven files, and the proof below them.
//!
//! Source: drill checklist, evidence required for every drill.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;
use thiserror::Error;

use super::{
    pages::drill_page,
    proof::{PROOF, Sources, add_proof},
    registry_proof::registry_proof,
};
use crate::{
    contract::{
        diff,
        document::to_text,
        validator::{BuiltInSchema, Finding, Options, Validator, ValidatorError, verdict_lines},
    },
    judge::{
        references::{References, TRIPPED},
        report::{Criterion, Report, Verdict},
        run::Outcome,
    },
    replay::ReplayError,
    storage::StorageError,
    wal::LogFileError,
};

/// The files at a pack's top, in the checklist's order.
pub const PACK_FILES: [&str; 7] = [
    "trigger.md",
    "observed_status.json",
    "expected_status.json",
    "diff.txt",
    "validation.log",
    "time_to_safe_ms",
    "notes.md",
];

/// The page of the drill, below the proof.
const REPORT_FILE: &str = "report.html";

/// The drill whose pack holds the proof of the registry check. Source: drill checklist, drill 8, trigger A.
const REGISTRY_DRILL: u8 = 8;

/// Why a pack can't be built.
#[derive(Debug, Error)]
pub enum PackError {
    /// The built-in validator can't be made.
    #[error(transparent)]
    Validator(#[from] ValidatorError),
    /// The run's own log can't be read back.
    #[error("read the run's log back")]
    Log(#[from] LogFileError),
    /// The run's own log can't be held in memory.
    #[error("hold the run's log")]
    Storage(#[from] StorageError),
    /// The run's own log can't be folded again.
    #[error("fold the run's log again")]
    Replay(#[from] ReplayError),
    /// A page can't be written.
    #[error("write a page of the report")]
    Page(#[from] askama::Error),
    /// The registry check lets a spoilt manifest pass.
    #[error("the registry check does not refuse every spoilt manifest by name:\n{said}")]
    Registry {
        /// What it said.
        said: String,
    },
}

/// A run with its judgement.
#[derive(Clone, Debug)]
pub struct DrillRun {
    /// The run.
    pub outcome: Outcome,
    /// Its judgement.
    pub report: Report,
}

/// A pack's files by path below the pack's folder.
pub type Pack = BTreeMap<String, Vec<u8>>;

/// Builds a drill's pack from its base run, its variants' runs, and the files that they are made of.
///
/// # Errors
/// [`PackError`].
pub fn pack(
    base: &DrillRun,
    variants: &[DrillRun],
    references: &References,
    sources: &Sources,
) -> Result<Pack, PackError> {
    let observed = base.outcome.snapshots.get(TRIPPED).and_then(|taken| taken.document.as_ref());
    let expected = references.goldens.get(TRIPPED).map(|golden| &golden.document);
    let differences = match (expected, observed) {
        (Some(expected), Some(observed)) => diff::to_text(&diff::diff(expected, observed)),
        (None, _) => "no golden document to compare with\n".to_owned(),
        (_, None) => "the tripped status was never taken\n".to_owned(),
    };
    let mut files = Pack::new();
    let mut put = |name: &str, text: String| {
        files.insert(name.to_owned(), text.into_bytes());
    };
    put("trigger.md", trigger(base));
    put("observed_status.json", observed.map_or_else(String::new, to_text));
    put("expected_status.json", expected.map_or_else(String::new, to_text));
    put("diff.txt", differences);
    put("validation.log", validation(base)?);
    put("time_to_safe_ms", base.outcome.time_to_safe_ms().map_or_else(|| "never\n".to_owned(), |ms| format!("{ms}\n")));
    put("notes.md", notes(base, variants));
    if base.outcome.scenario.drill == Some(REGISTRY_DRILL) {
        let (said, as_expected) = registry_proof();
        if !as_expected {
            return Err(PackError::Registry { said });
        }
        put(&format!("{PROOF}/registry_check.txt"), said);
    }
    files.insert(format!("{PROOF}/{REPORT_FILE}"), drill_page(base, variants)?.into_bytes());
    add_proof(base, variants, sources, &mut files)?;
    Ok(files)
}

/// Validates an observed status, strictly and against the exact schema.
///
/// # Errors
/// [`ValidatorError`] if the program was built with damaged files.
pub fn strict_findings(status: &Value) -> Result<Vec<Finding>, ValidatorError> {
    let options = Options { strict: true, derive_owner_view: true };
    Ok(Validator::built_in(BuiltInSchema::Exact)?.validate(status, options))
}

/// What the validator says of the observed status.
fn validation(base: &DrillRun) -> Result<String, ValidatorError> {
    let lines = match base.outcome.snapshots.get(TRIPPED).and_then(|taken| taken.document.as_ref()) {
        Some(document) => verdict_lines("observed_status.json", &strict_findings(document)?),
        None => vec!["error: the tripped status was never taken".to_owned()],
    };
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}

fn trigger(base: &DrillRun) -> String {
    let outcome = &base.outcome;
    let scenario = &outcome.scenario;
    let mut text = format!("# {}: trigger\n\n{}\n\n", scenario.title, scenario.shows.trim());
    let _ = writeln!(text, "Scenario `scenarios/{}.toml`, seed {}.\n", scenario.name, scenario.seed);
    text.push_str("| at | step | took effect |\n|---|---|---|\n");
    for (step, effects) in scenario.steps.iter().zip(&outcome.step_effects) {
        let role = if step.trigger { " (trigger)" } else { "" };
        let _ = writeln!(text, "| {} ms | {}{role} | {effects} times |", step.at_ms, step.says);
    }
    text
}

fn notes(base: &DrillRun, variants: &[DrillRun]) -> String {
    let (outcome, report) = (&base.outcome, &base.report);
    let scenario = &outcome.scenario;
    let mut text = format!("# {}: notes\n\n", scenario.title);
    let _ =
        writeln!(text, "Verdict **{}**, {} of {} checks hold.", report.verdict, report.passed(), report.checks.len());
    if let Some(reason) = &report.reason {
        let _ = writeln!(text, "{reason}");
    }
    proven(report, &mut text);
    failed(base, variants, &mut text);
    figures(outcome, &mut text);
    if !variants.is_empty() {
        text.push_str("\n## Variants\n\n| variant | verdict | checks | time to safe |\n|---|---|---|---|\n");
        for DrillRun { outcome, report } in variants {
            let name = outcome.scenario.variant.as_deref().unwrap_or_default();
            let safe = outcome.time_to_safe_ms().map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
            let (passed, all) = (report.passed(), report.checks.len());
            let _ = writeln!(text, "| {name} | {} | {passed}/{all} | {safe} |", report.verdict);
        }
    }
    text.push_str("\n## Risks and what is not proven\n\n");
    if scenario.risks.is_empty() {
        text.push_str("None noted in the scenario.\n");
    }
    for risk in &scenario.risks {
        let _ = writeln!(text, "- {risk}");
    }
    text
}

/// Lists the checklist's criteria with the checks that hold for each.
fn proven(report: &Report, text: &mut String) {
    text.push_str("\n## Proven\n\n");
    for Criterion { id, holds, checks } in report.criteria() {
        let mark = if holds { "x" } else { " " };
        let _ = writeln!(text, "- [{mark}] **{id}**");
        for check in checks.iter().filter(|check| check.holds) {
            let _ = writeln!(text, "  - {}: {}", check.says, check.seen);
        }
    }
}

fn failed(base: &DrillRun, variants: &[DrillRun], text: &mut String) {
    text.push_str("\n## Failed\n\n");
    let mut any = false;
    for run in std::iter::once(base).chain(variants) {
        for check in run.report.failures() {
            any = true;
            let _ = writeln!(text, "- {}: {}: {}", run.report.name, check.subject, check.seen);
        }
    }
    if !any {
        text.push_str("Nothing.\n");
    }
}

fn figures(outcome: &Outcome, text: &mut String) {
    let counts = &outcome.counts;
    let safe = outcome.time_to_safe_ms().map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms"));
    let rows: [(&str, String); 11] = [
        ("time to safe", safe),
        ("simulated time", format!("{} ms", outcome.scenario.duration_ms)),
        ("events", outcome.timeline.events.len().to_string()),
        ("OPENs sent / refused", format!("{} / {}", counts.open_dispatched, counts.open_refused)),
        (
            "refused by latch / mode / record",
            format!("{} / {} / {}", counts.refused_by_latch, counts.refused_by_mode, counts.refused_by_record),
        ),
        (
            "reducing / containment orders sent",
            format!("{} / {}", counts.reducing_dispatched, counts.containment_dispatched),
        ),
        ("cancels sent", counts.cancels_dispatched.to_string()),
        ("intents sent twice", counts.duplicate_sends.to_string()),
        (
            "reconciliation runs begun / succeeded / failed",
            format!("{} / {} / {}", counts.runs_started, counts.runs_succeeded, counts.runs_failed),
        ),
        ("chain hash", outcome.recorded.last.chain.to_string()),
        ("state hash", outcome.recorded.last.state.to_string()),
    ];
    text.push_str("\n## Figures\n\n| what | figure |\n|---|---|\n");
    for (what, figure) in rows {
        let _ = writeln!(text, "| {what} | {figure} |");
    }
}

impl DrillRun {
    /// True where the run passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.report.verdict == Verdict::Pass
    }
}
