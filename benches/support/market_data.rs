//! Long stretches of calm market data, simulated event by event, so that whoever makes a log of them needs no more memory for
//! a long one than the world does.

use std::error::Error;

use drillfold::{
    contract::config::RuntimeConfig,
    replay::{Folder, Strides},
    scenario,
    sim::{Deployment, Simulation},
    wal::{Digest256, LogHeader},
};
use drillfold_kernel::{
    event::{BookChange, Event, Level},
    units::{NANO, Price, Qty, TimeMs},
};

/// Where the scenario lies, from the project's folder.
pub const SCENARIO: &str = "benches/scenarios/market_data.toml";

/// Events a second of simulated time, as the scenario has them; a little less than there are.
const EVENTS_PER_S: u64 = 1_600;

/// Simulates the scenario in `text` for `event_count` events and folds them with checkpoints at `strides`. `take` gets the
/// header of a log of them, then each event with the fold after it. Returns the fold after the last.
pub fn simulate(
    text: &str,
    event_count: u64,
    strides: Strides,
    mut take: impl FnMut(&LogHeader, TimeMs, &Event, &mut Folder) -> Result<(), Box<dyn Error>>,
) -> Result<Folder, Box<dyn Error>> {
    let mut scenario = scenario::parse(SCENARIO, text)?.remove(0);
    scenario.events_max = u64::MAX;
    scenario.duration_ms = (event_count.div_ceil(EVENTS_PER_S) + 12).cast_signed() * 1_000;
    let config = RuntimeConfig::new(&scenario.config)?;
    let deployment = Deployment {
        config: config.kernel.clone(),
        runtime_config_hash: config.hash.clone(),
        reference_instrument: config.reference_instrument.clone(),
    };
    let header = LogHeader::first("market_data", scenario.seed, Digest256(scenario.digest), env!("CARGO_PKG_VERSION"));
    let mut simulation = Simulation::new(&scenario, deployment, None)?;
    let mut folder = Folder::new(strides);
    while folder.seq().0 < event_count {
        let mut input = simulation.next().ok_or("the scenario is over too soon")?;
        if let Event::BookChanged(change) = &mut input.event {
            put_levels(change);
        }
        folder.step(input.at, &input.event)?;
        simulation.carry_out(folder.effects());
        take(&header, input.at, &input.event, &mut folder)?;
    }
    Ok(folder)
}

/// Puts one or two levels near the best price into a change, in the shares of a recorded feed. Five of them are as deep as
/// an ordinary market is, so that no monitor of the market asks for anything.
fn put_levels(change: &mut BookChange) {
    let level = |place: u64| Level {
        price: Price(59_990 * NANO + (change.change_id * 7 + place).rem_euclid(40).cast_signed() * NANO / 2),
        qty: Qty((100_000 + (change.change_id % 50 + 1).cast_signed() * 10) * NANO),
    };
    let count = if change.change_id * 97 % 177 < 49 { 1 } else { 2 };
    let levels = (0..count).map(level).collect();
    *(if change.change_id.is_multiple_of(2) { &mut change.bids } else { &mut change.asks }) = levels;
}
