//! The sign-off sheet: the checklist's eight points, each ticked only by checks that ran.
//!
//! Source: drill checklist, phase 2 sign-off.

use std::{collections::BTreeMap, fmt::Write as _};

use drillfold_kernel::registry::is_known_reason_token;
use serde_json::Value;

use super::pack::{DrillRun, PACK_FILES, Pack};
use crate::judge::{
    invariants::Invariant,
    references::TRIPPED,
    report::{CheckKind, Verdict},
};

/// Longest notes that still are one page, in lines.
const PAGE_LINES: usize = 80;

/// How many drills the checklist has.
pub const DRILLS: usize = 8;

/// Builds the sheet from every run (drills first, each with its variants) and every pack by folder name.
#[must_use]
pub fn signoff(runs: &[DrillRun], packs: &BTreeMap<String, Pack>) -> String {
    let mut text = String::from("# Phase 2 sign-off\n\n");
    text.push_str(
        "Every tick below was made by a check that ran with the packs; a box without one is a person's to tick.\n\n",
    );
    text.push_str("| drill | verdict | mode at `tripped` | time to safe | checks |\n|---|---|---|---|---|\n");
    let bases = || runs.iter().filter(|run| run.outcome.scenario.variant.is_none());
    for run in bases() {
        let mode = run
            .outcome
            .snapshots
            .get(TRIPPED)
            .and_then(|taken| taken.document.as_ref()?.get("trading_mode")?.as_str())
            .unwrap_or("-");
        let safe = run.outcome.time_to_safe_ms().map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        let _ = writeln!(
            text,
            "| {} | {} | {mode} | {safe} | {}/{} |",
            run.report.name,
            run.report.verdict,
            run.report.passed(),
            run.report.checks.len()
        );
    }
    text.push('\n');
    for (holds, point, figure) in points(runs, packs) {
        let mark = if holds { "x" } else { " " };
        let _ = writeln!(text, "- [{mark}] {point}: {figure}");
    }
    text.push_str("\nSigned: _________________ Date: _____________\n");
    text
}

fn points(runs: &[DrillRun], packs: &BTreeMap<String, Pack>) -> Vec<(bool, &'static str, String)> {
    let bases: Vec<&DrillRun> = runs.iter().filter(|run| run.outcome.scenario.variant.is_none()).collect();
    let passed = bases.iter().filter(|run| run.report.verdict == Verdict::Pass).count();
    let variants = runs.len().saturating_sub(bases.len());
    let variants_passed = runs.iter().filter(|run| run.outcome.scenario.variant.is_some() && run.passed()).count();

    let has_all = |pack: &Pack| PACK_FILES.iter().all(|file| pack.contains_key(*file));
    let complete = packs.values().filter(|pack| has_all(pack)).count();

    let of_kind = |kind: CheckKind| {
        let checks = runs.iter().flat_map(|run| &run.report.checks).filter(move |check| check.kind == kind);
        checks.fold((0usize, 0usize), |(held, all), check| (held + usize::from(check.holds), all + 1))
    };
    let (valid, validated) = of_kind(CheckKind::Validator);

    let tokens: Vec<&str> =
        runs.iter().flat_map(|run| run.outcome.snapshots.values()).flat_map(published_tokens).collect();
    let known = tokens.iter().filter(|token| is_known_reason_token(token)).count();

    let invariant = |ids: &[Invariant]| {
        let checks = runs.iter().flat_map(|run| &run.report.checks).filter(|check| {
            check.kind == CheckKind::Invariant && ids.iter().any(|invariant| invariant.id() == check.subject)
        });
        checks.fold((0usize, 0usize), |(held, all), check| (held + usize::from(check.holds), all + 1))
    };
    let (latch_held, latch_all) = invariant(&[Invariant::LatchAgrees, Invariant::DecisionA]);
    let (capital_held, capital_all) = invariant(&[Invariant::CapitalSupremacy]);
    let reduced = runs.iter().filter(|run| run.outcome.kill_stretches_reduced > 0).count();

    let pages = packs
        .values()
        .filter(|pack| {
            pack.get("notes.md").is_some_and(|notes| {
                let lines = notes.iter().filter(|byte| **byte == b'\n').count();
                lines > 0 && lines <= PAGE_LINES
            })
        })
        .count();

    vec![
        (
            passed == DRILLS && bases.len() == DRILLS && variants_passed == variants,
            "All 8 drills executed",
            format!("{passed} of {DRILLS} pass, {variants_passed} of {variants} variants pass"),
        ),
        (
            complete == DRILLS,
            "Each drill has an evidence folder with all required files",
            format!("{complete} of {DRILLS} packs have the {} files", PACK_FILES.len()),
        ),
        (
            validated > 0 && valid == validated,
            "The validator passes for every observed status",
            format!("{valid} of {validated} snapshots valid, strictly, against the exact schema"),
        ),
        (
            !tokens.is_empty() && known == tokens.len(),
            "No free-text reason codes",
            format!("{known} of {} published tokens are in the registry", tokens.len()),
        ),
        (
            latch_all > 0 && latch_held == latch_all,
            "Latch invariants hold in all drills",
            format!("{latch_held} of {latch_all} hold after every event"),
        ),
        (
            capital_held == capital_all && reduced > 0,
            "Capital supremacy: Kill still allows risk-reducing orders",
            format!("{capital_held} of {capital_all} runs keep it; in {reduced} runs Kill met exposure and reduced it"),
        ),
        (
            false,
            "Owner dashboard passes the 5-second rule for each scenario",
            "not checked by a program; left to a person".to_owned(),
        ),
        (
            pages == DRILLS,
            "1-page summary written for each drill",
            format!("{pages} of {DRILLS} notes.md of at most {PAGE_LINES} lines"),
        ),
    ]
}

fn published_tokens(taken: &crate::judge::run::Taken) -> Vec<&str> {
    let lists = ["mode_reasons", "open_permission_reason_codes"];
    lists
        .iter()
        .filter_map(|key| taken.document.as_ref()?.get(*key)?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}
