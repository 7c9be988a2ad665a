//! Two runs of one log: the first event at which they part.
//!
//! Both sides have a trace with the same strides. The chain covers all that was before, so its first difference is found by
//! binary search; the behaviours of that one window name the event. States may meet again, so their hashes are compared
//! checkpoint by checkpoint; a side that can fold again looks at the events between two checkpoints one by one.

use drillfold_kernel::units::Seq;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::{
    heavy::state_document,
    look::{Look, StateAt, looks, state_at},
};
use crate::{
    contract::diff::diff,
    replay::{Images, Place, ReplayError},
    wal::{Checkpoint, LogError, LogFiles, Trace, decode_state, differences},
};

/// Why two runs can't be compared.
#[derive(Debug, Error)]
pub enum PartError {
    /// A trace can't be read.
    #[error("read the trace of {side}")]
    Trace {
        /// Whose trace.
        side: String,
        /// What is wrong.
        #[source]
        source: LogError,
    },
    /// There is nothing that both traces say in the same terms.
    #[error("{left} and {right} can't be compared: {reason}")]
    NotComparable {
        /// One side.
        left: String,
        /// The other.
        right: String,
        /// Why.
        reason: &'static str,
    },
    /// This build can't fold the log.
    #[error("fold the log")]
    Replay(#[from] ReplayError),
    /// Another build did not answer as it should.
    #[error("{program}: {what}")]
    Program {
        /// The program.
        program: String,
        /// What it did.
        what: String,
    },
}

/// One run of a log.
pub trait Run {
    /// What it is called.
    fn name(&self) -> &str;

    /// The bytes of its trace.
    fn trace(&self) -> &[u8];

    /// Looks at every `every`-th event from `first` to `last`; `None` where this side can't fold again.
    ///
    /// # Errors
    /// [`PartError`].
    fn looks(&mut self, first: Seq, last: Seq, every: u64) -> Result<Option<Vec<Look>>, PartError>;

    /// Returns the state after an event, and which events last changed the parts of it that `paths` name; `None` where this
    /// side does not know it.
    ///
    /// # Errors
    /// [`PartError`].
    fn state(&mut self, seq: Seq, paths: &[String]) -> Result<Option<StateAt>, PartError>;
}

/// The run that a trace records; nothing can fold it again.
#[derive(Debug)]
pub struct RecordedRun<'t> {
    name: String,
    bytes: &'t [u8],
}

impl<'t> RecordedRun<'t> {
    /// Returns the run that the trace in `bytes` records.
    #[must_use]
    pub fn new(name: &str, bytes: &'t [u8]) -> Self {
        Self { name: name.to_owned(), bytes }
    }
}

impl Run for RecordedRun<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn trace(&self) -> &[u8] {
        self.bytes
    }

    fn looks(&mut self, _first: Seq, _last: Seq, _every: u64) -> Result<Option<Vec<Look>>, PartError> {
        Ok(None)
    }

    fn state(&mut self, seq: Seq, _paths: &[String]) -> Result<Option<StateAt>, PartError> {
        let trace = read_trace(&self.name, self.bytes)?;
        let image = trace.images.iter().find(|image| image.seq == seq);
        Ok(image.and_then(|image| {
            let kernel = decode_state(image.bytes).ok()?;
            let state = state_document(&kernel);
            Some(StateAt { seq: seq.0, at_ms: image.at.0, state, written: Vec::new() })
        }))
    }
}

const OWN_NAME: &str = "this build";

/// The run that this build makes.
#[derive(Debug)]
pub struct OwnRun<'f, 's> {
    files: &'f mut LogFiles<'s>,
    trace: Vec<u8>,
}

impl<'f, 's> OwnRun<'f, 's> {
    /// Returns this build's run of a log; `trace` is the trace that it made of it.
    #[must_use]
    pub const fn new(files: &'f mut LogFiles<'s>, trace: Vec<u8>) -> Self {
        Self { files, trace }
    }

    fn read<T>(
        &mut self,
        ask: impl FnOnce(&mut LogFiles<'_>, Option<Images<'_>>) -> Result<T, ReplayError>,
    ) -> Result<T, PartError> {
        let trace = read_trace(OWN_NAME, &self.trace)?;
        let images = Images::of(&trace, self.files.header())?;
        Ok(ask(self.files, images)?)
    }
}

impl Run for OwnRun<'_, '_> {
    fn name(&self) -> &str {
        OWN_NAME
    }

    fn trace(&self) -> &[u8] {
        &self.trace
    }

    fn looks(&mut self, first: Seq, last: Seq, every: u64) -> Result<Option<Vec<Look>>, PartError> {
        self.read(|files, images| looks(files, images, (first, last), every)).map(Some)
    }

    fn state(&mut self, seq: Seq, paths: &[String]) -> Result<Option<StateAt>, PartError> {
        self.read(|files, images| state_at(files, images, Place::Seq(seq), paths)).map(Some)
    }
}

/// What one side of a comparison is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SideInfo {
    /// What it is called.
    pub name: String,
    /// Version of its behaviour records.
    pub behaviour_version: u32,
    /// Fingerprint of its state's type.
    pub state_fingerprint: String,
}

/// Where a difference begins.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Beginning {
    /// The first event that it can be.
    pub first_seq: u64,
    /// The last event that it can be; the same where it is known exactly.
    pub last_seq: u64,
    /// What the left side did there, where it is known exactly.
    pub left: Option<Look>,
    /// What the right side did there.
    pub right: Option<Look>,
}

impl Beginning {
    /// Returns the event, where it is known exactly.
    #[must_use]
    pub const fn exactly(&self) -> Option<Seq> {
        if self.first_seq == self.last_seq { Some(Seq(self.first_seq)) } else { None }
    }
}

/// A part of the state that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartDifference {
    /// The component of the state.
    pub component: String,
    /// The part, from the component on.
    pub path: String,
    /// On the left side; `None` where it is not there.
    pub left: Option<Value>,
    /// On the right side.
    pub right: Option<Value>,
    /// The event that last changed it on the left side; `None` where none of the last 512 did, or nobody can tell.
    pub left_written: Option<u64>,
    /// The event that last changed it on the right side.
    pub right_written: Option<u64>,
}

/// The difference of two states.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StateDifference {
    /// The event after which they are compared.
    pub seq: u64,
    /// How many parts differ.
    pub part_count: usize,
    /// The first of them.
    pub parts: Vec<PartDifference>,
}

/// Whether two runs met again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetAgain {
    /// Events at which they did something different.
    pub differing_events: u64,
    /// The last of them; `None` where that is not known.
    pub last_differing: Option<u64>,
    /// The first checkpoint after the first difference at which their states are the same; `None` where none is.
    pub state_same_at: Option<u64>,
}

/// Where two runs of a log part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parting {
    /// Schema of this document.
    pub schema: &'static str,
    /// The left side: what was.
    pub left: SideInfo,
    /// The right side: what is.
    pub right: SideInfo,
    /// The last checkpoint at which nothing differs; 0 is the log's beginning.
    pub same_until: u64,
    /// The first event at which they did something different.
    pub observable: Option<Beginning>,
    /// The first event after which their states differ.
    pub state: Option<Beginning>,
    /// Components of the state that differ at the first such checkpoint.
    pub components: Vec<String>,
    /// How the states differ after the first such event that both sides know.
    pub difference: Option<StateDifference>,
    /// Whether they met again.
    pub met_again: MetAgain,
}

/// Schema of a [`Parting`] as JSON.
const PARTING_SCHEMA: &str = "drillfold/parting/v1";

/// Largest window of events that is looked at one by one.
const WINDOW_EVENTS_MAX: u64 = 512;

/// Most parts of the state that are listed.
const PARTS_LISTED_MAX: usize = 40;

/// Most parts of the state whose last change is looked for.
const PARTS_TRACED_MAX: usize = 12;

/// Compares two runs of one log; `None` where nothing that both know differs.
///
/// # Errors
/// [`PartError`].
pub fn part_runs(left: &mut dyn Run, right: &mut dyn Run) -> Result<Option<Parting>, PartError> {
    let (left_bytes, right_bytes) = (left.trace().to_vec(), right.trace().to_vec());
    let traces = Traces { left: read_trace(left.name(), &left_bytes)?, right: read_trace(right.name(), &right_bytes)? };
    let Some(terms) = traces.terms() else {
        let (left, right) = (left.name().to_owned(), right.name().to_owned());
        let reason = "their traces are of other strides, or of both another behaviour version and another state layout";
        return Err(PartError::NotComparable { left, right, reason });
    };
    let by_chain = terms.behaviour.then(|| traces.first_chain_difference()).flatten();
    let by_state = terms.state.then(|| traces.first_state_difference(0)).flatten();
    let Some(first) = by_chain.into_iter().chain(by_state).min() else { return Ok(None) };

    let differing = if by_chain.is_some() { traces.differing_events() } else { Vec::new() };
    let observable = match by_chain {
        Some(place) => Some(observable(traces.window(place), &differing, left, right)?),
        None => None,
    };
    // What they did differently may come from states that are the same again at the next checkpoint.
    let before_observable = match (&observable, by_chain) {
        (Some(Beginning { last_seq, .. }), Some(place)) if terms.state => {
            let window = (traces.window(place).0, Seq(*last_seq));
            Some(state_beginning(window, left, right)?).filter(|beginning| beginning.exactly().is_some())
        }
        _ => None,
    };
    let state = match (before_observable, by_state) {
        (Some(beginning), _) => Some(beginning),
        (None, Some(place)) => Some(state_beginning(traces.window(place), left, right)?),
        (None, None) => None,
    };
    let components = by_state.map(|place| traces.differing_components(place)).unwrap_or_default();
    let difference = match &state {
        Some(beginning) => state_difference(beginning, &traces, left, right)?,
        None => None,
    };
    Ok(Some(Parting {
        schema: PARTING_SCHEMA,
        left: info(left.name(), &traces.left),
        right: info(right.name(), &traces.right),
        same_until: traces.window(first).0.0 - 1,
        observable,
        state,
        components,
        difference,
        met_again: traces.met_again(&differing, by_state),
    }))
}

fn read_trace<'t>(name: &str, bytes: &'t [u8]) -> Result<Trace<'t>, PartError> {
    Trace::read(name, bytes).map_err(|source| PartError::Trace { side: name.to_owned(), source })
}

fn info(name: &str, trace: &Trace<'_>) -> SideInfo {
    SideInfo {
        name: name.to_owned(),
        behaviour_version: trace.header.behaviour_version,
        state_fingerprint: trace.header.state_fingerprint.to_string(),
    }
}

/// What two traces can be compared by.
struct Terms {
    behaviour: bool,
    state: bool,
}

/// The traces of both sides.
struct Traces<'t> {
    left: Trace<'t>,
    right: Trace<'t>,
}

impl Traces<'_> {
    fn terms(&self) -> Option<Terms> {
        let (left, right) = (&self.left.header, &self.right.header);
        let same_strides = left.checkpoint_stride_events == right.checkpoint_stride_events;
        let behaviour = same_strides && left.behaviour_version == right.behaviour_version;
        let state = same_strides && left.state_fingerprint == right.state_fingerprint;
        (behaviour || state).then_some(Terms { behaviour, state })
    }

    fn pairs(&self) -> impl ExactSizeIterator<Item = (&Checkpoint, &Checkpoint)> {
        self.left.checkpoints.iter().zip(&self.right.checkpoints)
    }

    /// Returns the place of the first checkpoint whose chain differs: what comes after it differs too.
    fn first_chain_difference(&self) -> Option<usize> {
        let (mut same, mut behind) = (0, self.pairs().len());
        while same < behind {
            let middle = same + (behind - same) / 2;
            let (left, right) = (&self.left.checkpoints[middle], &self.right.checkpoints[middle]);
            if left.chain == right.chain && left.seq == right.seq {
                same = middle + 1;
            } else {
                behind = middle;
            }
        }
        (same < self.pairs().len()).then_some(same)
    }

    /// Returns the place of the first checkpoint from `from` on whose leaves differ.
    fn first_state_difference(&self, from: usize) -> Option<usize> {
        self.pairs().skip(from).position(|(left, right)| left.leaves != right.leaves).map(|place| from + place)
    }

    /// Returns the events that a checkpoint closes, first and last.
    fn window(&self, place: usize) -> (Seq, Seq) {
        let before = place.checked_sub(1).map_or(Seq(0), |before| self.left.checkpoints[before].seq);
        (Seq(before.0 + 1), self.left.checkpoints[place].seq)
    }

    fn differing_components(&self, place: usize) -> Vec<String> {
        let (left, right) = (&self.left.checkpoints[place].leaves, &self.right.checkpoints[place].leaves);
        let names = self.right.header.components.iter().enumerate();
        names.filter(|(at, _)| left.get(*at) != right.get(*at)).map(|(_, name)| name.clone()).collect()
    }

    /// Returns the stretches of events at which the two did something different, in order.
    fn differing_events(&self) -> Vec<(Seq, Seq)> {
        self.left
            .behaviours
            .iter()
            .zip(&self.right.behaviours)
            .flat_map(|(left, right)| differences(left, right))
            .collect()
    }

    fn met_again(&self, events: &[(Seq, Seq)], by_state: Option<usize>) -> MetAgain {
        let state_same_at = by_state.and_then(|from| {
            self.pairs().skip(from).find(|(left, right)| left.leaves == right.leaves).map(|(left, _)| left.seq.0)
        });
        MetAgain {
            differing_events: events.iter().map(|(first, last)| last.0 - first.0 + 1).sum(),
            last_differing: events.last().map(|(_, last)| last.0),
            state_same_at,
        }
    }
}

/// Finds the first event of a window at which the two did something different.
fn observable(
    (first, last): (Seq, Seq),
    differing: &[(Seq, Seq)],
    left: &mut dyn Run,
    right: &mut dyn Run,
) -> Result<Beginning, PartError> {
    let by_traces = differing.first().map(|(seq, _)| *seq).filter(|seq| (first..=last).contains(seq));
    let seq = match by_traces {
        Some(seq) => Some(seq),
        None => first_by_looks((first, last), left, right, |look| Value::from(look.behaviour.clone()))?,
    };
    beginning(seq, (first, last), left, right)
}

/// Finds the first event of a window after which the states differ.
fn state_beginning((first, last): (Seq, Seq), left: &mut dyn Run, right: &mut dyn Run) -> Result<Beginning, PartError> {
    let seq = first_by_looks((first, last), left, right, |look| Value::Object(look.leaves.clone()))?;
    beginning(seq, (first, last), left, right)
}

fn beginning(
    seq: Option<Seq>,
    (first, last): (Seq, Seq),
    left: &mut dyn Run,
    right: &mut dyn Run,
) -> Result<Beginning, PartError> {
    let Some(seq) = seq else {
        return Ok(Beginning { first_seq: first.0, last_seq: last.0, left: None, right: None });
    };
    let at = |side: &mut dyn Run| -> Result<Option<Look>, PartError> {
        Ok(side.looks(seq, seq, 1)?.and_then(|looks| looks.into_iter().next()))
    };
    Ok(Beginning { first_seq: seq.0, last_seq: seq.0, left: at(left)?, right: at(right)? })
}

/// Returns the first event of a window at which `what` differs, where both sides can look. A large window is narrowed
/// first: what differs for less than a part of it and is the same again is passed over.
fn first_by_looks(
    window: (Seq, Seq),
    left: &mut dyn Run,
    right: &mut dyn Run,
    what: impl Fn(&Look) -> Value,
) -> Result<Option<Seq>, PartError> {
    let (mut first, mut last) = window;
    loop {
        let size = last.0 - first.0 + 1;
        let every = if size > WINDOW_EVENTS_MAX { size.div_ceil(WINDOW_EVENTS_MAX / 2) } else { 1 };
        let Some(lefts) = left.looks(first, last, every)? else { return Ok(None) };
        let Some(rights) = right.looks(first, last, every)? else { return Ok(None) };
        let differs = lefts.iter().zip(&rights).position(|(left, right)| what(left) != what(right));
        let Some(place) = differs else { return Ok(None) };
        let found = Seq(lefts[place].seq);
        if every == 1 {
            return Ok(Some(found));
        }
        first = place.checked_sub(1).map_or(first, |before| Seq(lefts[before].seq + 1));
        last = found;
    }
}

/// Compares the states after the first event at which both sides know them.
fn state_difference(
    beginning: &Beginning,
    traces: &Traces<'_>,
    left: &mut dyn Run,
    right: &mut dyn Run,
) -> Result<Option<StateDifference>, PartError> {
    let images = traces.left.images.iter().map(|image| image.seq.0).filter(|seq| *seq >= beginning.last_seq);
    for seq in std::iter::once(beginning.last_seq).chain(images) {
        let Some(left_state) = left.state(Seq(seq), &[])? else { continue };
        let Some(right_state) = right.state(Seq(seq), &[])? else { continue };
        let found = diff(&left_state.state, &right_state.state);
        if found.is_empty() {
            continue;
        }
        let paths: Vec<String> = found.iter().take(PARTS_TRACED_MAX).map(|one| one.path.clone()).collect();
        let written = |side: &mut dyn Run| -> Result<Vec<Option<u64>>, PartError> {
            let known = side.state(Seq(seq), &paths)?.map(|state| state.written).unwrap_or_default();
            Ok(paths.iter().map(|path| known.iter().find(|one| one.path == *path).and_then(|one| one.seq)).collect())
        };
        let (left_written, right_written) = (written(left)?, written(right)?);
        let parts = found.iter().take(PARTS_LISTED_MAX).enumerate().map(|(place, one)| PartDifference {
            component: one.path.split(['.', '[']).next().unwrap_or_default().to_owned(),
            path: one.path.clone(),
            left: one.expected.clone(),
            right: one.found.clone(),
            left_written: left_written.get(place).copied().flatten(),
            right_written: right_written.get(place).copied().flatten(),
        });
        return Ok(Some(StateDifference { seq, part_count: found.len(), parts: parts.collect() }));
    }
    Ok(None)
}
