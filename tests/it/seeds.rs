//! Other seeds: values may differ, verdict, reasons and latch codes may not.

use std::{collections::BTreeSet, time::Instant};

use drillfold::{
    judge::report::{Strictness, Verdict, judge},
    scenario::model::Scenario,
};

use crate::project::{all_scenarios, base_runs, in_parallel, matrix_scenarios, references, simulate};

/// The first of the other seeds; far from the scenarios' own.
const FIRST_SEED: u64 = 1_000;

/// How many other seeds each drill runs under.
const DRILL_SEEDS: u64 = 100;

/// How many other seeds each variant runs under.
const VARIANT_SEEDS: u64 = 10;

/// How many other seeds each scenario of a matrix runs under; their rules stand in the kernel's own tests.
const MATRIX_SEEDS: u64 = 2;

/// Runs each scenario under each seed and returns a line for every run that does not pass.
fn failures(scenarios: &[Scenario], seeds: u64) -> Vec<String> {
    let runs: Vec<Scenario> = scenarios
        .iter()
        .flat_map(|scenario| {
            assert!(scenario.seed < FIRST_SEED, "{} has one of the other seeds as its own", scenario.name);
            (FIRST_SEED..FIRST_SEED + seeds).map(|seed| Scenario { seed, ..scenario.clone() })
        })
        .collect();
    in_parallel(&runs, |scenario| {
        let outcome = simulate(scenario);
        let report = judge(&outcome, &references(scenario), Strictness::Reasons).expect("the run can be judged");
        let why = report.reason.unwrap_or_default();
        (report.verdict != Verdict::Pass)
            .then(|| format!("{} seed {}: {}: {why}", report.name, scenario.seed, report.verdict))
    })
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_drill_passes_over_a_hundred_other_seeds() {
    let begun = Instant::now();
    let bases: Vec<Scenario> = base_runs().iter().map(|base| base.outcome.scenario.clone()).collect();
    let failed = failures(&bases, DRILL_SEEDS);
    println!("{} drills over {DRILL_SEEDS} seeds in {:.1?}", bases.len(), begun.elapsed());
    assert!(failed.is_empty(), "{} runs do not pass:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_variant_passes_over_ten_other_seeds() {
    let begun = Instant::now();
    let variants: Vec<Scenario> = all_scenarios().into_iter().filter(|of| of.variant.is_some()).collect();
    let failed = failures(&variants, VARIANT_SEEDS);
    println!("{} variants over {VARIANT_SEEDS} seeds in {:.1?}", variants.len(), begun.elapsed());
    assert!(failed.is_empty(), "{} runs do not pass:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_scenario_of_the_matrices_passes_over_other_seeds() {
    let begun = Instant::now();
    let scenarios = matrix_scenarios();
    let failed = failures(&scenarios, MATRIX_SEEDS);
    println!("{} scenarios of matrices over {MATRIX_SEEDS} seeds in {:.1?}", scenarios.len(), begun.elapsed());
    assert!(failed.is_empty(), "{} runs do not pass:\n{}", failed.len(), failed.join("\n"));
}

/// Without this the hundred seeds could be one run a hundred times.
#[test]
fn other_seeds_give_other_runs() {
    for base in base_runs() {
        let scenario = &base.outcome.scenario;
        let digests: BTreeSet<String> = (FIRST_SEED..FIRST_SEED + 10)
            .map(|seed| simulate(&Scenario { seed, ..scenario.clone() }).recorded.event_digest.to_string())
            .chain([base.outcome.recorded.event_digest.to_string()])
            .collect();
        assert_eq!(digests.len(), 11, "{}: seeds give the same events", base.name());
    }
}
