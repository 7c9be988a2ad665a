//! The matrices: a scenario for each mode reason, each latch code, each row of the crash and reconciliation matrices; that
//! they pass, and that each of them can fail.

use std::{collections::BTreeSet, fs};

use drillfold::{
    judge::{
        references::Golden,
        report::{Strictness, Verdict, judge},
    },
    scenario::model::{Action, Expectation, ExpectationKind, Matrix, Scenario},
};
use drillfold_kernel::registry::{ModeReason, OpenPermissionReason};

use crate::{
    flips::{Flip, assert_fails, flips},
    project::{in_parallel, matrix_runs, matrix_scenarios, references, root, simulate},
};

/// How many leaves of each golden are changed: the judge is the same as for the drills, of whose goldens every leaf is.
const FLIPS_PER_GOLDEN: usize = 4;

/// Rows of the crash matrix that have a meaning under the CSP profile.
const CRASH_ROWS: [u32; 11] = [1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13];

/// Rows of the reconciliation matrix that can be shown; `scenarios/reconcile/README.md` says why the last one can't.
const RECONCILE_ROWS: std::ops::RangeInclusive<u32> = 1..=11;

#[test]
fn every_scenario_of_the_matrices_passes() {
    for run in matrix_runs() {
        let report = judge(&run.outcome, &run.references, Strictness::Exact).expect("the run can be judged");
        let failures: Vec<_> = report.failures().collect();
        assert_eq!(report.verdict, Verdict::Pass, "{}: {:?} {failures:#?}", report.name, report.reason);
    }
}

#[test]
fn every_reason_code_and_row_has_its_scenario() {
    let scenarios = matrix_scenarios();
    let names = |matrix: Matrix| -> BTreeSet<String> {
        scenarios.iter().filter(|of| of.matrix == Some(matrix)).map(|of| of.name.clone()).collect()
    };
    let reasons = ModeReason::ALL.iter().filter(|reason| **reason != ModeReason::ReduceonlyEvidenceChainNotGreen);
    let tokens = reasons.map(|reason| reason.token()).chain(OpenPermissionReason::ALL.iter().map(|code| code.token()));
    assert_eq!(names(Matrix::Reasons), tokens.map(str::to_lowercase).collect());
    let rows = |prefix: &str, names: BTreeSet<String>| -> BTreeSet<u32> {
        let number = |name: &String| name.strip_prefix(prefix)?.split('_').next()?.parse().ok();
        names.iter().map(|name| number(name).unwrap_or_else(|| panic!("{name} names no row"))).collect()
    };
    assert_eq!(rows("cm_", names(Matrix::Crash)), BTreeSet::from(CRASH_ROWS));
    assert_eq!(rows("rm_", names(Matrix::Reconcile)), RECONCILE_ROWS.collect());
    for scenario in &scenarios {
        let matrix = scenario.matrix.unwrap_or_else(|| panic!("{} belongs to no matrix", scenario.name));
        let file = root().join("scenarios").join(matrix.folder()).join(format!("{}.toml", scenario.name));
        assert!(file.is_file(), "{} does not lie in its matrix's folder", scenario.name);
    }
}

/// The fault of a scenario is what it shows: without its trigger no scenario passes.
#[test]
fn no_scenario_passes_without_its_trigger() {
    let passed = in_parallel(&matrix_scenarios(), |scenario| {
        let mut steps = scenario.steps.clone();
        // The step stays as the timeline's mark and changes nothing.
        for step in steps.iter_mut().filter(|step| step.trigger) {
            step.action = Action::SetStrategy { open_every_ms: None, close_every_ms: None, cancel_every_ms: None };
        }
        let outcome = simulate(&Scenario { steps, ..scenario.clone() });
        // Vacuous by rule; that it also breaks an expectation shows that the expectations see the fault.
        let report = judge(&outcome, &references(scenario), Strictness::Reasons).expect("the run can be judged");
        assert_eq!(report.verdict, Verdict::Vacuous, "{}", report.name);
        let broken =
            report.failures().any(|check| scenario.expectations.iter().any(|of| of.criterion == check.subject));
        (!broken).then_some(report.name)
    });
    let passed: Vec<String> = passed.into_iter().flatten().collect();
    assert!(passed.is_empty(), "no expectation of these needs the fault: {passed:?}");
}

/// Returns an expectation that fails where this one holds by something that was seen.
fn turned(expectation: &Expectation) -> Expectation {
    let kind = match expectation.kind.clone() {
        ExpectationKind::Always(text) | ExpectationKind::Sometimes(text) => ExpectationKind::Never(text),
        ExpectationKind::Never(text) => ExpectationKind::Always(text),
        ExpectationKind::WithinTicks { holds, .. } => ExpectationKind::Never(holds),
        ExpectationKind::Until { release, .. } => ExpectationKind::Never(release),
        ExpectationKind::NeverRises(text) => ExpectationKind::NeverRises(format!("0 - ({text})")),
        ExpectationKind::Grows { value, by } => ExpectationKind::Grows { value, by: by + 1 },
    };
    Expectation { kind, ..expectation.clone() }
}

#[test]
fn every_expectation_of_the_matrices_counts() {
    let turns = in_parallel(matrix_runs(), |run| {
        let mut outcome = run.outcome.clone();
        for (place, expectation) in run.outcome.scenario.expectations.iter().enumerate() {
            // Columns of a run hold what its own expectations ask for; a turned one asks for the same.
            outcome.scenario.expectations[place] = turned(expectation);
            let found = judge(&outcome, &run.references, Strictness::Exact).expect("the run can be judged").verdict;
            assert_eq!(found, Verdict::Fail, "{}: {:?}", outcome.scenario.full_name(), expectation.kind);
            outcome.scenario.expectations[place] = expectation.clone();
        }
        run.outcome.scenario.expectations.len()
    });
    println!("{} expectations turned", turns.iter().sum::<usize>());
}

#[test]
fn leaves_of_the_matrices_goldens_count() {
    let mut cases = Vec::new();
    let mut goldens = 0;
    for run in matrix_runs() {
        for (snapshot, golden) in &run.references.goldens {
            let leaves: Vec<Flip> = flips(&golden.document);
            // Another stretch of the document for each golden, so that all keys have their turn.
            for place in 0..FLIPS_PER_GOLDEN {
                let flip = leaves[(goldens * 13 + place * 29) % leaves.len()].clone();
                cases.push((run, snapshot, golden, flip));
            }
            goldens += 1;
        }
    }
    let committed: usize = [Matrix::Reasons, Matrix::Crash, Matrix::Reconcile]
        .map(|matrix| {
            let folder = root().join("fixtures/status").join(matrix.folder());
            let files = fs::read_dir(folder).expect("goldens are there").flatten();
            files.filter(|file| file.path().extension().is_some_and(|ending| ending == "json")).count()
        })
        .into_iter()
        .sum();
    assert_eq!(goldens, committed, "a golden belongs to no snapshot");
    in_parallel(&cases, |(run, snapshot, golden, flip)| {
        let mut references = run.references.clone();
        let spoilt = Golden { file: golden.file.clone(), document: flip.changed.clone() };
        references.goldens.insert((*snapshot).clone(), spoilt);
        let report = judge(&run.outcome, &references, Strictness::Exact).expect("the run can be judged");
        assert_fails(&report, &format!("{} snapshot {snapshot}", run.name()), flip);
    });
    println!("{} flips in {goldens} goldens", cases.len());
}
