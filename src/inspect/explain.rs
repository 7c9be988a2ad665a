//! Why a kernel stands as it stands after an event of a log.
//!
//! The state itself knows since which event each reason, cause and code holds; the log knows what these events were. The fold
//! goes once more from the first of them to the event that is asked about, so that what the kernel noted and refused on the
//! way can be told.

use std::collections::{BTreeMap, BTreeSet};

use drillfold_kernel::{
    Kernel,
    effect::{Effect, Note},
    registry::{ModeReason, OpenPermissionReason, RejectReason, RiskState},
    state::Cause,
    units::{Seq, Stamp, TimeMs},
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    describe::describe,
    needs::{Need, needs_of_cause, needs_of_code, needs_of_reason},
};
use crate::{
    contract::{document::document, owner_view},
    replay::{Images, Place, ReplayError, Strides, Walk, fold_to},
    wal::{LogFiles, MarkKind, RecordBody},
};

/// An event, as an explanation names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventAt {
    /// Its number.
    pub seq: u64,
    /// Its time, ms since the epoch.
    pub at_ms: i64,
    /// What it was.
    pub event: String,
    /// What the kernel noted at it: a gap, a failed run.
    pub notes: Vec<String>,
    /// The last mark of the log before it: what the world did.
    pub mark: Option<MarkAt>,
}

/// A mark of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MarkAt {
    /// The first event after it.
    pub before_seq: u64,
    /// Its time, ms since the epoch.
    pub at_ms: i64,
    /// `trigger` or `step`.
    pub kind: &'static str,
    /// What happened.
    pub name: String,
}

/// What clears something, in the registry's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clearing {
    /// Who or what does it.
    #[serde(rename = "type")]
    pub kind: String,
    /// Under which condition.
    pub condition: String,
    /// The values that it depends on, as they are.
    pub current: String,
    /// As they have to be.
    pub target: String,
}

/// What a reason comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Root {
    /// The event at which its own condition became true.
    Event {
        /// The event.
        since: EventAt,
    },
    /// A code of the latch.
    Code {
        /// The code's token.
        code: &'static str,
        /// The event that raised it.
        raised: EventAt,
    },
    /// A cause of the risk state.
    Cause {
        /// The cause.
        cause: String,
        /// The event in which it arose.
        since: EventAt,
    },
}

impl Root {
    /// Returns the event it goes back to.
    #[must_use]
    pub const fn event(&self) -> &EventAt {
        match self {
            Self::Event { since } | Self::Cause { since, .. } => since,
            Self::Code { raised, .. } => raised,
        }
    }
}

/// A mode reason that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonExplained {
    /// Its token.
    pub reason: &'static str,
    /// False where a reason of a higher tier hides it.
    pub published: bool,
    /// The event since which it has held without a break.
    pub since: EventAt,
    /// What it comes from.
    pub roots: Vec<Root>,
    /// What clears it; for the latch that is what clears its codes.
    pub clears: Clearing,
    /// What it still waits for, beside its codes.
    pub needs: Vec<Need>,
}

/// A code of the latch that is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CodeExplained {
    /// Its token.
    pub code: &'static str,
    /// The event that raised it.
    pub raised: EventAt,
    /// Its newest occurrence; only a run of reconciliation begun no earlier clears it.
    pub renewed: EventAt,
    /// True where its own condition holds already and only such a run is missing.
    pub condition_holds: bool,
    /// What clears it.
    pub clears: Clearing,
    /// What it still waits for.
    pub needs: Vec<Need>,
}

/// Intents refused with one code since the mode became what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedAs {
    /// The code's token.
    pub code: &'static str,
    /// How many.
    pub count: u64,
    /// Event of the first.
    pub first_seq: u64,
    /// Event of the last.
    pub last_seq: u64,
}

/// Why a kernel stands as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The last event before it.
    pub seq: u64,
    /// That event's time, ms since the epoch.
    pub at_ms: i64,
    /// False where no process is up; then there is nothing else to explain.
    pub up: bool,
    /// The mode's token.
    pub mode: &'static str,
    /// The event since which the mode has been what it is; `None` before the first boot.
    pub mode_since: Option<EventAt>,
    /// Active reasons in registry order.
    pub reasons: Vec<ReasonExplained>,
    /// Codes of the latch in registry order.
    pub codes: Vec<CodeExplained>,
    /// What has been refused since the first of these events, by code.
    pub refused: Vec<RefusedAs>,
    /// The last trigger in the log before the first event that the reasons go back to; a step where none is a trigger.
    pub trigger: Option<MarkAt>,
}

/// Explains how the kernel stands at a place of a log.
///
/// # Errors
/// [`ReplayError`].
pub fn explain(files: &mut LogFiles<'_>, images: Option<Images<'_>>, place: Place) -> Result<Explanation, ReplayError> {
    let folder = fold_to(files, images, place)?;
    let kernel = folder.kernel();
    let (seq, at) = (folder.seq(), folder.at());
    let up = kernel.core.up;
    let mode = kernel.core.resolution.mode;
    let mut explanation = Explanation {
        seq: seq.0,
        at_ms: at.0,
        up,
        mode: mode.token(),
        mode_since: None,
        reasons: Vec::new(),
        codes: Vec::new(),
        refused: Vec::new(),
        trigger: None,
    };
    let Some(status) = kernel.status() else { return Ok(explanation) };
    let mut wanted = BTreeSet::new();
    wanted.insert(kernel.core.mode_since.seq);
    wanted.extend(ModeReason::ALL.iter().filter_map(|reason| kernel.reason_since(*reason)).map(|stamp| stamp.seq));
    wanted.extend(kernel.active_causes().map(|(_, stamp)| stamp.seq));
    for code in kernel.latch.codes() {
        wanted.extend(kernel.latch.trigger(code).into_iter().flat_map(|of| [of.raised.seq, of.renewed.seq]));
    }
    wanted.remove(&Seq(0));
    let past = Past::read(files, images, &wanted, seq)?;

    let document = document(&status);
    let empty = Map::new();
    let keys = document.as_object().unwrap_or(&empty);
    explanation.mode_since = past.event(kernel.core.mode_since);
    for code in kernel.latch.codes() {
        let Some(trigger) = kernel.latch.trigger(code) else { continue };
        if let (Some(raised), Some(renewed)) = (past.event(trigger.raised), past.event(trigger.renewed)) {
            explanation.codes.push(CodeExplained {
                code: code.token(),
                raised,
                renewed,
                condition_holds: kernel.code_may_clear(code),
                clears: clearing(&owner_view::unblock_of_code(code, keys)),
                needs: needs_of_code(kernel, code, at),
            });
        }
    }
    for reason in kernel.core.resolution.active.iter() {
        let Some(since) = kernel.reason_since(reason).and_then(|stamp| past.event(stamp)) else { continue };
        explanation.reasons.push(ReasonExplained {
            reason: reason.token(),
            published: kernel.core.resolution.reasons.has(reason),
            roots: roots(reason, &since, kernel, &past),
            since,
            clears: clearing(&owner_view::unblock_of_reason(reason, keys)),
            needs: needs(reason, kernel, at),
        });
    }
    explanation.trigger = trigger_of(&explanation, &past.marks);
    explanation.refused = past.refused;
    Ok(explanation)
}

/// Returns the last trigger before the first event that the reasons go back to; where none is, the last step.
fn trigger_of(explanation: &Explanation, marks: &[MarkAt]) -> Option<MarkAt> {
    let roots = explanation.reasons.iter().flat_map(|reason| &reason.roots);
    let first = roots.map(|root| root.event().seq).min()?;
    let before = || marks.iter().rev().filter(|mark| mark.before_seq <= first);
    before().find(|mark| mark.kind == MarkKind::Trigger.name()).or_else(|| before().next()).cloned()
}

/// Returns what a reason waits for, that of its causes included.
fn needs(reason: ModeReason, kernel: &Kernel, now: TimeMs) -> Vec<Need> {
    let of_causes = kernel
        .active_causes()
        .filter(|(cause, _)| reason_of(*cause) == Some(reason))
        .flat_map(|(cause, _)| needs_of_cause(kernel, cause, now));
    needs_of_reason(kernel, reason, now).into_iter().chain(of_causes).collect()
}

/// Returns the reason that a cause of the risk state gives; none gives a healthy one.
const fn reason_of(cause: Cause) -> Option<ModeReason> {
    match cause.risk_state() {
        RiskState::Kill => Some(ModeReason::KillRiskstateKill),
        RiskState::Maintenance => Some(ModeReason::ReduceonlyRiskstateMaintenance),
        RiskState::Degraded => Some(ModeReason::ReduceonlyRiskstateDegraded),
        RiskState::Healthy => None,
    }
}

/// Returns what a reason comes from: the latch from its codes, the risk state from its causes, any other from the event at
/// which its own condition became true.
fn roots(reason: ModeReason, since: &EventAt, kernel: &Kernel, past: &Past) -> Vec<Root> {
    let of_causes = || -> Vec<Root> {
        kernel
            .active_causes()
            .filter(|(cause, _)| reason_of(*cause) == Some(reason))
            .filter_map(|(cause, stamp)| Some(Root::Cause { cause: format!("{cause:?}"), since: past.event(stamp)? }))
            .collect()
    };
    let found = match reason {
        ModeReason::ReduceonlyOpenPermissionLatched => kernel
            .latch
            .codes()
            .filter_map(|code: OpenPermissionReason| {
                let raised = past.event(kernel.latch.trigger(code)?.raised)?;
                Some(Root::Code { code: code.token(), raised })
            })
            .collect(),
        _ => of_causes(),
    };
    if found.is_empty() { vec![Root::Event { since: since.clone() }] } else { found }
}

fn clearing(entry: &Value) -> Clearing {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Clearing { kind: text("type"), condition: text("condition"), current: text("current"), target: text("target") }
}

/// What the log tells of the events that an explanation names.
struct Past {
    events: BTreeMap<Seq, EventAt>,
    refused: Vec<RefusedAs>,
    marks: Vec<MarkAt>,
}

impl Past {
    /// Reads the marks up to the last of the wanted events, and folds from the first of them to `end`.
    fn read(
        files: &mut LogFiles<'_>,
        images: Option<Images<'_>>,
        wanted: &BTreeSet<Seq>,
        end: Seq,
    ) -> Result<Self, ReplayError> {
        let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
            return Ok(Self { events: BTreeMap::new(), refused: Vec::new(), marks: Vec::new() });
        };
        let marks = marks(files, *last)?;
        let mut events = BTreeMap::new();
        let mut refused: BTreeMap<RejectReason, RefusedAs> = BTreeMap::new();
        let before = Seq(first.0.saturating_sub(1));
        let mut walk = Walk::before(files, images, before, Strides::DRILL)?;
        walk.go_to(before)?;
        while walk.folder().seq() < end {
            let Some((seq, at, _)) = walk.next()? else { break };
            let effects = walk.folder().effects();
            for effect in effects {
                if let Effect::Refuse(refusal) = effect {
                    let found = refused.entry(refusal.code).or_insert_with(|| RefusedAs {
                        code: refusal.code.token(),
                        count: 0,
                        first_seq: seq.0,
                        last_seq: seq.0,
                    });
                    found.count += 1;
                    found.last_seq = seq.0;
                }
            }
            if wanted.contains(&seq) {
                let kernel = walk.folder().kernel();
                let silence = kernel
                    .latch
                    .trigger(OpenPermissionReason::WsDataStaleReconcileRequired)
                    .filter(|trigger| trigger.raised.seq == seq)
                    .map(|_| format!("no market data for {} ms", kernel.market_data_lag_ms()));
                let notes = effects.iter().filter_map(|effect| match effect {
                    // A run that begins is what the kernel does about it.
                    Effect::Note(Note::RunStarted) => None,
                    Effect::Note(note) => Some(note_text(note, kernel)),
                    _ => None,
                });
                let notes = silence.into_iter().chain(notes);
                let event = EventAt {
                    seq: seq.0,
                    at_ms: at.0,
                    event: describe(walk.event(), kernel),
                    notes: notes.collect(),
                    mark: mark_before(&marks, seq),
                };
                events.insert(seq, event);
            }
        }
        Ok(Self { events, refused: refused.into_values().collect(), marks })
    }

    fn event(&self, stamp: Stamp) -> Option<EventAt> {
        self.events.get(&stamp.seq).cloned()
    }
}

/// Reads the trigger and the steps of a log up to an event.
fn marks(files: &mut LogFiles<'_>, last: Seq) -> Result<Vec<MarkAt>, ReplayError> {
    let mut marks = Vec::new();
    files.seek_seq(Seq(0))?;
    loop {
        while files.next_seq() <= last && files.next_event().is_some() {}
        let Some(record) = files.next_record()? else { return Ok(marks) };
        if record.seq > last {
            return Ok(marks);
        }
        if let RecordBody::Mark(mark) = &record.body
            && mark.kind != MarkKind::Snapshot
        {
            let (before_seq, at_ms, kind) = (record.seq.0, record.at.0, mark.kind.name());
            marks.push(MarkAt { before_seq, at_ms, kind, name: mark.name.clone() });
        }
    }
}

/// Returns the last mark before an event; of several at one place the trigger.
fn mark_before(marks: &[MarkAt], seq: Seq) -> Option<MarkAt> {
    let place = marks.iter().rev().find(|mark| mark.before_seq <= seq.0)?.before_seq;
    let here = || marks.iter().filter(|mark| mark.before_seq == place);
    here().find(|mark| mark.kind == MarkKind::Trigger.name()).or_else(|| here().next_back()).cloned()
}

fn note_text(note: &Note, kernel: &Kernel) -> String {
    let name = |id: &drillfold_kernel::units::InstrumentId| {
        kernel.core.instruments.get(id.index()).map_or_else(|| id.0.to_string(), |of| of.name.clone())
    };
    match note {
        Note::Gap(instrument) => format!("gap in a feed of {}", name(instrument)),
        Note::DuplicateTrade(instrument) => format!("duplicate trade of {}", name(instrument)),
        Note::UnknownToken(token) => format!("unknown token {token}"),
        Note::RunFailed(why) => format!("run of reconciliation failed: {why:?}"),
        Note::RunSucceeded => "run of reconciliation succeeded".to_owned(),
        Note::Corrected { action, of } => format!("{} of {of}", action.name()),
        Note::RoundsExhausted(group) => format!("containment of {group} used up its rounds"),
        other => format!("{other:?}"),
    }
}

impl Explanation {
    /// Returns the milliseconds from the trigger to the event that is explained.
    #[must_use]
    pub fn since_trigger_ms(&self) -> Option<i64> {
        self.trigger.as_ref().map(|mark| TimeMs(self.at_ms).since(TimeMs(mark.at_ms)))
    }
}
