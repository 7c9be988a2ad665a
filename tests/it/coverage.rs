//! The coverage ledger, `specs/coverage.md`: what all scenarios together exercise, and that it does not shrink.

use std::{fs, path::PathBuf};

use drillfold::{
    cli::{Project, RunArgs, coverage_page, simulate_all},
    judge::coverage::lost_items,
};
use drillfold_kernel::registry::ModeReason;

use crate::project::root;

const LEDGER: &str = "specs/coverage.md";

#[test]
fn the_ledger_is_what_the_scenarios_exercise() {
    let paths: Vec<PathBuf> = vec![root().join("scenarios")];
    let runs = simulate_all(&Project::new(root().to_owned()), &RunArgs { paths, ..RunArgs::default() });
    let page = coverage_page(&runs.expect("every scenario can be run"));
    let committed = fs::read_to_string(root().join(LEDGER)).unwrap_or_default();
    let lost = lost_items(&committed, &page);
    assert!(lost.is_empty(), "no longer exercised:\n{}", lost.join("\n"));
    assert!(committed == page, "{LEDGER} is old: `drillfold run --coverage {LEDGER} --update` writes it");
}

/// Under the CSP profile, the only one that is enforced, nothing provokes it: no input of the kernel tells of an evidence
/// chain. So no scenario can show it; that it never stands is seen over every event of every scenario.
#[test]
fn the_evidence_chain_reason_never_stands() {
    let committed = fs::read_to_string(root().join(LEDGER)).expect("the ledger is there");
    let token = ModeReason::ReduceonlyEvidenceChainNotGreen.token();
    let rows: Vec<&str> = committed.lines().filter(|line| line.contains(token)).collect();
    let never = format!("| `{token}` | | | | never |");
    assert_eq!(rows, [never.as_str(); 2]);
}
