//! `drillfold log generate`: long logs from a seed.

use std::{num::NonZeroU64, path::Path, sync::Arc};

use drillfold::{
    contract::config::RuntimeConfig,
    judge::generate::{Generated, Order, generate},
    replay::{Folder, Strides, replay_files},
    sim::{Deployment, Fault, Legs, Simulation},
    storage::{MemoryStorage, Storage as _},
    wal::{Access, Digests, DurabilityPolicy, LogFiles, LogWriter, ReadOptions, WriterOptions},
};
use drillfold_kernel::{event::Event, registry::TradingMode};

use crate::project::{done, program};

/// Size of a segment that a short log has several of, bytes.
const SEGMENT_SIZE_BYTES: u64 = 2 << 20;

/// A log in memory and its trace.
struct Made {
    storage: Arc<MemoryStorage>,
    trace: Vec<u8>,
    generated: Generated,
}

impl Made {
    fn log(&self) -> LogFiles<'_> {
        let options = ReadOptions { digests: Digests::Check, access: Access::Mapped };
        LogFiles::open(&*self.storage, Path::new("x.wal"), options).expect("the log is there")
    }

    /// Returns the bytes of all segments.
    fn segments(&self) -> Vec<Vec<u8>> {
        let entries = self.storage.list(Path::new("")).expect("it can be listed");
        entries.iter().map(|entry| self.storage.read(Path::new(&entry.name)).expect("it is there")).collect()
    }
}

fn made(seed: u64, event_count: u64) -> Made {
    let storage = Arc::new(MemoryStorage::new());
    let mut trace = Vec::new();
    let generated = generate(
        Order { seed, event_count: NonZeroU64::new(event_count).expect("it has events") },
        |header| -> anyhow::Result<LogWriter> {
            let never = WriterOptions::single_file(DurabilityPolicy::Never);
            let options = WriterOptions { segment_size_bytes: SEGMENT_SIZE_BYTES, ..never };
            Ok(LogWriter::create(storage.clone(), Path::new("x.wal"), header, options)?)
        },
        |_, bytes| {
            trace.extend_from_slice(&bytes);
            Ok(())
        },
    )
    .expect("it can be generated");
    Made { storage, trace, generated }
}

#[test]
fn a_seed_gives_the_same_bytes_and_another_gives_others() {
    let (one, again, other) = (made(1, 60_000), made(1, 60_000), made(2, 60_000));
    let segments = one.segments();
    assert!(segments.len() > 2, "{} segments", segments.len());
    assert!(segments == again.segments() && one.trace == again.trace, "the same seed gave other bytes");
    assert!(segments != other.segments() && one.trace != other.trace, "another seed gave the same bytes");
    assert_ne!(one.generated.last.state, other.generated.last.state);
}

#[test]
fn the_trace_is_that_of_the_log() {
    let made = made(1, 200_000);
    let replayed = replay_files(&mut made.log(), Some(("x.trace", &made.trace)), |_| {}).expect("it is sound");
    assert!(replayed.divergence.is_none(), "{:?}", replayed.divergence);
    assert_eq!((replayed.event_count, made.generated.last.seq.0), (200_000, 200_000));
    assert!(made.generated.faults.values().sum::<u64>() > 2, "{:?}", made.generated.faults);
}

/// One whole leg, folded without a log: each kind of fault takes effect in it, as often as it is meant to, in a layer that had
/// become Active again.
#[test]
fn a_leg_has_every_fault_and_is_active_most_of_its_time() {
    let leg = Legs::new(1).next().expect("it is a scenario");
    let config = RuntimeConfig::new(&leg.scenario.config).expect("it can be configured");
    let deployment = Deployment {
        config: config.kernel,
        runtime_config_hash: config.hash,
        reference_instrument: config.reference_instrument,
    };
    let mut simulation = Simulation::new(&leg.scenario, deployment, None).expect("it is a world");
    let mut folder = Folder::new(Strides::LONG);
    let (mut was, mut active_ms) = (None, 0);
    let (mut at, mut last) = (leg.scenario.start, None);
    while let Some(input) = simulation.next() {
        for mark in &input.marks {
            let fault = leg.faults[mark.step];
            assert!(fault.is_none() || was == Some(TradingMode::Active), "{fault:?} at {:?} met {was:?}", mark.at);
        }
        if was == Some(TradingMode::Active) {
            active_ms += input.at.since(at);
        }
        at = input.at;
        folder.step(input.at, &input.event).expect("it can be folded");
        simulation.carry_out(folder.effects());
        let core = &folder.kernel().core;
        was = core.up.then_some(core.resolution.mode);
        last = Some(input.event);
    }
    assert_eq!(last, Some(Event::Crashed), "a leg ends with its process");
    let share = active_ms * 100 / at.since(leg.scenario.start);
    assert!(share > 60, "Active {share} % of the time");
    for fault in Fault::ALL {
        let effects = leg.faults.iter().zip(simulation.step_effects());
        let struck = effects.filter(|(of, effects)| **of == Some(fault) && **effects > 0).count();
        assert_eq!(struck, fault.per_leg() as usize, "{fault:?} struck {struck} times");
    }
}

#[test]
fn the_command_writes_a_log_that_the_others_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = |arguments: &[&str]| {
        let mut command = program(arguments);
        command.current_dir(folder.path());
        done(command)
    };
    let found = run(&["log", "generate", "x.wal", "--events", "20000", "--seed", "7"]);
    assert_eq!(found.code, 0, "{}", found.err);
    assert!(found.out.starts_with("x.wal: 20000 events in 1 legs, state "), "{}", found.out);
    let found = run(&["log", "verify", "x.wal"]);
    assert_eq!((found.code, found.out.as_str()), (0, "x.wal: sound and sealed: 20000 events in 1 segments\n"));
    let found = run(&["replay", "x.wal"]);
    assert_eq!(found.code, 0, "{}{}", found.out, found.err);
    assert!(found.out.contains("of the trace agree"), "{}", found.out);
    for name in ["x.wal", "x.trace"] {
        let found = run(&["log", "generate", name, "--events", "10"]);
        assert_eq!(found.code, 2, "{}", found.out);
        assert!(found.err.contains(name), "{}", found.err);
    }
}
