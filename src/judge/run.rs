//! One simulated run: world, log, fold and observer in one loop, write-ahead order visible.

use std::{collections::BTreeMap, ops::ControlFlow};

use drillfold_kernel::{
    event::Event,
    units::{Seq, TimeMs},
};
use serde_json::Value;
use thiserror::Error;

use super::{
    course::Course,
    expr::{Expr, ExprError},
    facts::NAMES,
    invariants::{InvariantWatch, Violation},
    observe::{Cell, Counts, Observer},
};
use crate::{
    contract::{
        config::{ConfigErrors, RuntimeConfig},
        document::document,
        open_permission::refuses_open,
    },
    replay::{Folder, KeptLog, RecordError, Recorded, Recorder},
    scenario::model::{ExpectationKind, Scenario, SnapshotWhen},
    sim::{self, Deployment, Ending, RecordedInput, SimError, Simulation},
    wal::{Digest256, LogHeader, MARK_NAME_SIZE_BYTES_MAX, Mark, MarkKind, TEXT_SIZE_BYTES_MAX},
};

/// For how long a process that was killed from outside is away, in simulated ms: as long as a restart by a supervisor.
const RESTART_MS: i64 = 1_000;

/// Why a scenario can't be run.
#[derive(Debug, Error)]
pub enum RunError {
    /// Its configuration is wrong.
    #[error("configure {scenario}")]
    Config {
        /// The scenario.
        scenario: String,
        /// What is wrong.
        #[source]
        source: ConfigErrors,
    },
    /// No world can be made of it.
    #[error("set up the world of {scenario}")]
    World {
        /// The scenario.
        scenario: String,
        /// What is wrong.
        #[source]
        source: SimError,
    },
    /// An expression in it is wrong.
    #[error("{scenario}: expression {text:?}")]
    Expression {
        /// The scenario.
        scenario: String,
        /// The expression.
        text: String,
        /// What is wrong.
        #[source]
        source: Box<ExprError>,
    },
    /// The run can't be recorded.
    #[error("record {scenario}")]
    Record {
        /// The scenario.
        scenario: String,
        /// What failed.
        #[source]
        source: Box<RecordError>,
    },
}

/// A named status as it was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// The event after which it was taken.
    pub seq: Seq,
    /// That event's time.
    pub at: TimeMs,
    /// Place of that event in the timeline.
    pub row: usize,
    /// The document; `None` where no process was up.
    pub document: Option<Value>,
}

/// What the expectations need of each event, by columns.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Numbers and times of the events.
    pub events: Vec<(Seq, TimeMs)>,
    /// Values of the names that some expression asks for, by place in [`NAMES`]; one entry an event.
    pub columns: BTreeMap<usize, Vec<Cell>>,
}

/// One run of a scenario or variant, before it is judged.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What ran.
    pub scenario: Scenario,
    /// The effective configuration.
    pub config: RuntimeConfig,
    /// Log and trace.
    pub recorded: Recorded,
    /// Statuses taken, by name.
    pub snapshots: BTreeMap<String, Taken>,
    /// When the trigger took place, and the place of the first event after it.
    pub trigger: Option<(TimeMs, usize)>,
    /// The first event at or after the trigger after which an OPEN would be refused.
    pub safe: Option<(TimeMs, usize)>,
    /// The first OPEN refused at or after that event: its time.
    pub refused_at: Option<TimeMs>,
    /// Values after every event.
    pub timeline: Timeline,
    /// What a report draws of it.
    pub course: Course,
    /// First violation of each global invariant that was broken.
    pub violations: Vec<Violation>,
    /// Stretches of Kill with exposure in which a risk-reducing order went out.
    pub kill_stretches_reduced: u64,
    /// Per step: how often its fault took effect.
    pub step_effects: Vec<u64>,
    /// Counts over the whole run.
    pub counts: Counts,
    /// True where the run came to its scenario's end.
    pub complete: bool,
}

/// Simulates a scenario to its end.
///
/// # Errors
/// [`RunError`].
pub fn run(scenario: &Scenario, recording: Option<Vec<RecordedInput>>) -> Result<Outcome, RunError> {
    run_watched(scenario, recording, |_, _, _| {})
}

/// As [`run`], with a look at every event after it was folded: number, event, fold.
///
/// # Errors
/// [`RunError`].
pub fn run_watched(
    scenario: &Scenario,
    recording: Option<Vec<RecordedInput>>,
    mut watch: impl FnMut(Seq, &Event, &Folder),
) -> Result<Outcome, RunError> {
    let watch = |seq: Seq, event: &Event, folder: &Folder| {
        watch(seq, event, folder);
        ControlFlow::Continue(())
    };
    run_shown(scenario, recording, None, watch, |_, _| ControlFlow::Continue(()))
}

/// As [`run_watched`], with a word about every snapshot when it is taken: its name, and the document, `None` where no
/// process was up. Either may end the run after the event at hand, which is then not complete.
///
/// With a log to keep, each event is durable in it before it is folded, and a run that it has the beginning of goes on
/// behind that: the run's process was killed there.
///
/// # Errors
/// [`RunError`].
pub fn run_shown(
    scenario: &Scenario,
    recording: Option<Vec<RecordedInput>>,
    kept: Option<KeptLog>,
    mut watch: impl FnMut(Seq, &Event, &Folder) -> ControlFlow<()>,
    mut taken: impl FnMut(&str, Option<&Value>) -> ControlFlow<()>,
) -> Result<Outcome, RunError> {
    let not_recorded = |source| RunError::Record { scenario: scenario.full_name(), source: Box::new(source) };
    let (config, mut simulation) = world(scenario, recording)?;
    let mut recorder = Recorder::new(&log_header(scenario), kept).map_err(not_recorded)?;
    let mut conditions = Conditions::new(scenario)?;
    let mut observer = Observer::default();
    let mut invariants = InvariantWatch::default();
    let mut timeline = Timeline::default();
    let mut course = Course::default();
    for place in used_names(scenario)? {
        timeline.columns.insert(place, Vec::new());
    }
    let mut snapshots = BTreeMap::new();
    let mut trigger = None;
    let mut safe = None;
    let mut refused_at = None;

    let mut flow = ControlFlow::Continue(());
    while flow.is_continue() {
        if recorder.killed_here(|| simulation.clone().next().is_none()).map_err(not_recorded)? {
            simulation.kill(RESTART_MS);
        }
        let Some(input) = simulation.next() else { break };
        let row = timeline.events.len();
        for due in conditions.due_before(input.at) {
            let snapshot = take(&mut recorder, &observer, &timeline, &due).map_err(not_recorded)?;
            flow = sooner(flow, taken_as(&mut snapshots, snapshot, due, &mut taken));
        }
        for mark in &input.marks {
            recorder.mark(mark.at, &log_mark(mark)).map_err(not_recorded)?;
            if mark.trigger {
                observer.trigger(mark.at);
                conditions.trigger_passed();
                trigger = Some((mark.at, row));
            }
        }
        let refused_before = observer.counts().open_refused;
        let seq = recorder.event(input.at, &input.event).map_err(not_recorded)?;
        let folder = recorder.folder();
        // Only what the world carried out before a crash could strike has been sent.
        let carried = simulation.carry_out(folder.effects());
        let sent = folder.effects().get(..carried).unwrap_or_default();
        observer.after(seq, input.at, &input.event, sent, folder.kernel());
        invariants.after(seq, input.at, &observer, folder.kernel());
        course.after(input.at, &observer);
        flow = sooner(flow, watch(seq, &input.event, folder));

        timeline.events.push((seq, input.at));
        for (place, column) in &mut timeline.columns {
            column.push(observer.cell(*place));
        }
        if trigger.is_some() && safe.is_none() && observer.status().is_some_and(refuses_open) {
            safe = Some((input.at, row));
        }
        if safe.is_some() && refused_at.is_none() && observer.counts().open_refused > refused_before {
            refused_at = Some(input.at);
        }
        for due in conditions.due_after(&observer) {
            let snapshot = take(&mut recorder, &observer, &timeline, &due).map_err(not_recorded)?;
            flow = sooner(flow, taken_as(&mut snapshots, snapshot, due, &mut taken));
        }
    }
    let complete = simulation.ending() == Some(Ending::Duration);
    let end = scenario.start.after(scenario.duration_ms);
    let late = if flow.is_continue() { conditions.due_before(end.after(1)) } else { Vec::new() };
    for due in late {
        let snapshot = take(&mut recorder, &observer, &timeline, &due).map_err(not_recorded)?;
        // It is the end, whatever is said to it.
        let _ = taken_as(&mut snapshots, snapshot, due, &mut taken);
    }
    let recorded = recorder.finish(complete).map_err(not_recorded)?;
    Ok(Outcome {
        scenario: scenario.clone(),
        config,
        recorded,
        snapshots,
        trigger,
        safe,
        refused_at,
        timeline,
        course,
        violations: invariants.violations().to_vec(),
        kill_stretches_reduced: invariants.kill_stretches_reduced,
        step_effects: simulation.step_effects().to_vec(),
        counts: observer.counts().clone(),
        complete,
    })
}

impl Outcome {
    /// Returns the milliseconds from the trigger to the first event after which an OPEN would be refused.
    #[must_use]
    pub fn time_to_safe_ms(&self) -> Option<i64> {
        let (trigger, _) = self.trigger?;
        let (safe, _) = self.safe?;
        Some(safe.since(trigger))
    }
}

/// Returns the effective configuration of a scenario and its world.
pub(super) fn world(
    scenario: &Scenario,
    recording: Option<Vec<RecordedInput>>,
) -> Result<(RuntimeConfig, Simulation), RunError> {
    let name = || scenario.full_name();
    let config =
        RuntimeConfig::new(&scenario.config).map_err(|source| RunError::Config { scenario: name(), source })?;
    let deployment = Deployment {
        config: config.kernel.clone(),
        runtime_config_hash: config.hash.clone(),
        reference_instrument: config.reference_instrument.clone(),
    };
    let simulation = Simulation::new(scenario, deployment, recording)
        .map_err(|source| RunError::World { scenario: name(), source })?;
    Ok((config, simulation))
}

/// Returns the header of a log of a scenario's run.
#[must_use]
pub fn log_header(scenario: &Scenario) -> LogHeader {
    let name = clipped(&scenario.full_name(), TEXT_SIZE_BYTES_MAX);
    LogHeader::first(&name, scenario.seed, Digest256(scenario.digest), env!("CARGO_PKG_VERSION"))
}

/// Returns a step's mark as a log has it.
pub(super) fn log_mark(mark: &sim::Mark) -> Mark {
    Mark {
        kind: if mark.trigger { MarkKind::Trigger } else { MarkKind::Step },
        step_index: u32::try_from(mark.step).unwrap_or(u32::MAX),
        name: clipped(&mark.says, MARK_NAME_SIZE_BYTES_MAX),
    }
}

/// Takes the status as it is; `None` before the first event.
fn take(
    recorder: &mut Recorder,
    observer: &Observer,
    timeline: &Timeline,
    name: &str,
) -> Result<Option<Taken>, RecordError> {
    let Some((seq, at)) = timeline.events.last().copied() else {
        return Ok(None);
    };
    recorder.mark(at, &Mark { kind: MarkKind::Snapshot, step_index: 0, name: name.to_owned() })?;
    let row = timeline.events.len().saturating_sub(1);
    Ok(Some(Taken { seq, at, row, document: observer.status().map(document) }))
}

/// Keeps a snapshot under its name and tells of it.
fn taken_as(
    snapshots: &mut BTreeMap<String, Taken>,
    snapshot: Option<Taken>,
    name: String,
    tell: &mut impl FnMut(&str, Option<&Value>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(snapshot) = snapshot else { return ControlFlow::Continue(()) };
    let flow = tell(&name, snapshot.document.as_ref());
    snapshots.insert(name, snapshot);
    flow
}

/// Goes on only where both do.
fn sooner(one: ControlFlow<()>, other: ControlFlow<()>) -> ControlFlow<()> {
    if one.is_break() { one } else { other }
}

/// Returns as much of a text as a log can hold in its place, cut between characters.
fn clipped(text: &str, size_bytes_max: usize) -> String {
    let mut end = text.len().min(size_bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// Parses one expression of a scenario.
///
/// # Errors
/// [`RunError::Expression`].
pub(super) fn parse(scenario: &Scenario, text: &str, number: bool) -> Result<Expr, RunError> {
    let parsed = if number { Expr::parse_number(text, &NAMES) } else { Expr::parse_condition(text, &NAMES) };
    parsed.map_err(|source| RunError::Expression {
        scenario: scenario.full_name(),
        text: text.to_owned(),
        source: Box::new(source),
    })
}

/// Returns the places of all names that the scenario's expectations ask for.
fn used_names(scenario: &Scenario) -> Result<Vec<usize>, RunError> {
    let mut places = Vec::new();
    for expectation in &scenario.expectations {
        let texts: Vec<(&str, bool)> = match &expectation.kind {
            ExpectationKind::Always(text) | ExpectationKind::Never(text) | ExpectationKind::Sometimes(text) => {
                vec![(text, false)]
            }
            ExpectationKind::WithinTicks { holds, .. } => vec![(holds, false)],
            ExpectationKind::Until { release, forbidden } => vec![(release, false), (forbidden, false)],
            ExpectationKind::NeverRises(text) | ExpectationKind::Grows { value: text, .. } => vec![(text, true)],
        };
        for (text, number) in texts {
            places.extend(parse(scenario, text, number)?.names().map(|(place, _)| place));
        }
    }
    Ok(places)
}

/// The snapshots that wait for their moment, in file order.
struct Conditions {
    waiting: Vec<Waiting>,
    triggered: bool,
    has_trigger: bool,
}

struct Waiting {
    name: String,
    when: When,
}

enum When {
    /// After the last event at or before this time.
    At(TimeMs),
    /// After the first event for which it holds.
    Holds(Expr),
}

impl Conditions {
    fn new(scenario: &Scenario) -> Result<Self, RunError> {
        let mut waiting = Vec::new();
        for snapshot in &scenario.snapshots {
            let when = match &snapshot.when {
                SnapshotWhen::At(ms) => When::At(scenario.start.after(*ms)),
                SnapshotWhen::Holds(text) => When::Holds(parse(scenario, text, false)?),
            };
            waiting.push(Waiting { name: snapshot.name.clone(), when });
        }
        let has_trigger = scenario.steps.iter().any(|step| step.trigger);
        Ok(Self { waiting, triggered: false, has_trigger })
    }

    const fn trigger_passed(&mut self) {
        self.triggered = true;
    }

    /// Takes the snapshots whose time is over before an event at `next`.
    fn due_before(&mut self, next: TimeMs) -> Vec<String> {
        let mut due = Vec::new();
        self.waiting.retain(|waiting| match waiting.when {
            When::At(at) if at < next => {
                due.push(waiting.name.clone());
                false
            }
            When::At(_) | When::Holds(_) => true,
        });
        due
    }

    /// Takes the first waiting snapshot where its condition holds after this event and everything before it in the file
    /// has been taken; conditions count from the trigger on.
    fn due_after(&mut self, observer: &Observer) -> Vec<String> {
        if self.has_trigger && !self.triggered {
            return Vec::new();
        }
        let Some(Waiting { name, when: When::Holds(expr) }) = self.waiting.first() else {
            return Vec::new();
        };
        let cells: BTreeMap<usize, Cell> = expr.names().map(|(place, _)| (place, observer.cell(place))).collect();
        let value_of = |place: usize| cells.get(&place).map_or(super::expr::Value::Null, Cell::value);
        if observer.status().is_none() || !expr.holds(&value_of) {
            return Vec::new();
        }
        let name = name.clone();
        self.waiting.remove(0);
        vec![name]
    }
}
