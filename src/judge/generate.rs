//! Generating a long log: the legs of a seed, one simulated after the other, recorded and not judged.
//!
//! The loop is that of [`super::run`] without what judging needs: no timeline, no observer, no snapshots. So memory is that
//! of one leg's world, of the kernel and of the writer's buffers.

use std::{collections::BTreeMap, num::NonZeroU64};

use drillfold_kernel::units::Seq;
use thiserror::Error;

use super::run::{RunError, log_mark, world};
use crate::{
    replay::{LongRecorder, RecordError},
    scenario::error::ScenarioErrors,
    sim::{Fault, Leg, Legs, Simulation},
    wal::{Checkpoint, Digest256, LogHeader, LogWriter},
};

/// The drill's name in the header of a generated log.
pub const DRILL: &str = "long_log";

/// What is to be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Seed of everything. Equal orders give equal bytes from one build.
    pub seed: u64,
    /// Events of the log, exactly: the last leg may end in the middle of a fault.
    pub event_count: NonZeroU64,
}

/// What was generated.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The last checkpoint, at the last event.
    pub last: Checkpoint,
    /// Legs that were begun.
    pub leg_count: u64,
    /// How many faults of each kind took effect.
    pub faults: BTreeMap<Fault, u64>,
}

/// Why a long log can't be generated.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// A leg is no scenario: a defect of the legs' text, to be reported.
    #[error("write the scenario of a leg")]
    Leg(#[from] ScenarioErrors),
    /// A leg can't be run: a defect of the legs' text, to be reported.
    #[error("run a leg")]
    Run(#[from] RunError),
    /// The log or its trace refused a record.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Generates a log and its trace. `create` gets the header and returns the log's writer; `keep` gets the bytes of the trace,
/// part by part, with the number of the last event.
///
/// # Errors
/// [`GenerateError`]; whatever `create` and `keep` return. Then the log is not sealed, and the trace not whole.
pub fn generate<E: From<GenerateError>>(
    order: Order,
    create: impl FnOnce(&LogHeader) -> Result<LogWriter, E>,
    mut keep: impl FnMut(Seq, Vec<u8>) -> Result<(), E>,
) -> Result<Generated, E> {
    let failed = |error: RecordError| E::from(error.into());
    let mut legs = Legs::new(order.seed);
    let mut leg = next(&mut legs)?;
    let header = LogHeader::first(DRILL, order.seed, Digest256(leg.scenario.digest), env!("CARGO_PKG_VERSION"));
    let mut recorder = LongRecorder::of_files(create(&header)?, &header).map_err(failed)?;
    let mut leg_count = 1;
    let mut faults = BTreeMap::new();
    let mut left = order.event_count.get();
    loop {
        let (_, mut simulation) = world(&leg.scenario, None).map_err(|error| E::from(error.into()))?;
        while left > 0
            && let Some(input) = simulation.next()
        {
            for mark in &input.marks {
                recorder.mark(mark.at, &log_mark(mark)).map_err(failed)?;
            }
            let seq = recorder.event(input.at, &input.event).map_err(failed)?;
            simulation.carry_out(recorder.folder().effects());
            left -= 1;
            if let Some(bytes) = recorder.take_trace() {
                keep(seq, bytes)?;
            }
        }
        count_faults(&leg, &simulation, &mut faults);
        if left == 0 {
            break;
        }
        leg = next(&mut legs)?;
        leg_count += 1;
    }
    let (last, bytes) = recorder.finish().map_err(failed)?;
    keep(last.seq, bytes)?;
    Ok(Generated { last, leg_count, faults })
}

fn next<E: From<GenerateError>>(legs: &mut Legs) -> Result<Leg, E> {
    legs.next().map_err(|error| E::from(error.into()))
}

fn count_faults(leg: &Leg, simulation: &Simulation, faults: &mut BTreeMap<Fault, u64>) {
    for (fault, effects) in leg.faults.iter().zip(simulation.step_effects()) {
        if let Some(fault) = fault
            && *effects > 0
        {
            *faults.entry(*fault).or_default() += 1;
        }
    }
}
