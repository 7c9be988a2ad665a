//! The reference resolver beside the kernel over every event of every run: drills, variants, other seeds.

use drillfold::{judge::run::run_watched, scenario::model::Scenario};
use drillfold_kernel::{Kernel, event::Event};

use crate::{
    project::{all_scenarios, in_parallel, matrix_scenarios, recording_of},
    reference::Reference,
    rig::published,
};

/// Seeds beside each scenario's own; enough to meet other orders of events in every drill.
const OTHER_SEEDS: std::ops::Range<u64> = 500..505;

#[test]
fn the_reference_agrees_at_every_event_of_every_run() {
    let mut runs: Vec<Scenario> = Vec::new();
    for scenario in all_scenarios() {
        for seed in std::iter::once(scenario.seed).chain(OTHER_SEEDS) {
            runs.push(Scenario { seed, ..scenario.clone() });
        }
    }
    runs.extend(matrix_scenarios());
    let compared: u64 = in_parallel(&runs, compare).into_iter().sum();
    println!("compared after {compared} events of {} runs", runs.len());
    assert!(compared > 100_000, "{compared}");
}

#[test]
fn the_short_way_of_market_data_leads_where_the_full_one_does() {
    let counts = in_parallel(&all_scenarios(), compare_short_way);
    let (short, all) = counts.into_iter().fold((0, 0), |(short, all), run| (short + run.0, all + run.1));
    println!("{short} of {all} events could go the short way");
    assert!(short > 1000, "too few events to compare: {short} of {all}");
}

/// Folds a run's events twice, once in full, and returns how many could go the short way, and how many there were.
fn compare_short_way(scenario: &Scenario) -> (u64, u64) {
    let name = scenario.full_name();
    let mut in_full = Kernel::down();
    let (mut calm_until, mut short, mut all) = (None, 0_u64, 0_u64);
    let outcome = run_watched(scenario, recording_of(scenario), |seq, event, folder| {
        let mut effects = Vec::new();
        in_full.forget_calm();
        in_full.apply(seq, folder.at(), event, &mut effects);
        let same = *folder.kernel() == in_full && folder.effects() == effects;
        assert!(same, "{name} after event {}: the short way differs from the full one: {event:?}", seq.0);
        let ordinary = matches!(event, Event::BookChanged(_) | Event::TickerReceived(_) | Event::TradesReceived { .. });
        short += u64::from(ordinary && calm_until.is_some_and(|until| folder.at() <= until));
        all += 1;
        calm_until = folder.kernel().calm_until();
    });
    outcome.unwrap();
    (short, all)
}

/// Runs a scenario with the reference beside it and returns after how many events the two were compared.
fn compare(scenario: &Scenario) -> u64 {
    let name = scenario.full_name();
    let mut reference = Reference::new();
    let mut at_event = 0u64;
    let outcome = run_watched(scenario, recording_of(scenario), |seq, event, folder| {
        let status = folder.kernel().status();
        let failures = status.as_ref().map_or(0, |status| status.wal_queue_enqueue_failures);
        reference.observe(seq, folder.at(), event, folder.effects(), failures);
        let found = status.as_ref().map(published);
        assert_eq!(reference.expected(), found, "{name} seed {} after event {}: {event:?}", scenario.seed, seq.0);
        at_event = seq.0;
    });
    outcome.unwrap();
    at_event
}
