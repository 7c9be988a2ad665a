//! The reference resolver beside the kernel over every event of every run: drills, variants, other seeds.

use drillfold::{judge::run::run_watched, scenario::model::Scenario};

use crate::{
    project::{all_scenarios, in_parallel, recording_of},
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
    let compared: u64 = in_parallel(&runs, compare).into_iter().sum();
    println!("compared after {compared} events of {} runs", runs.len());
    assert!(compared > 100_000, "{compared}");
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
