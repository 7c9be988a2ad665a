//! Two logs: the first event in which they differ, and what this build makes of it.
//!
//! Up to the first differing event one fold serves both. From there two go on side by side, until the first effect and the
//! first status in which they differ are known.

use drillfold_kernel::{
    effect::Effect,
    units::{Seq, TimeMs},
};
use serde::Serialize;
use serde_json::Value;

use super::describe::{describe, fields};
use crate::{
    contract::{
        diff::{Difference, diff},
        document::document,
    },
    judge::facts::event_kind,
    replay::{Events, Folder, ReplayError, Strides},
    wal::LogFiles,
};

/// An event of one log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoggedEvent {
    /// Its time, ms since the epoch.
    pub at_ms: i64,
    /// Its kind.
    pub kind: &'static str,
    /// It in a few words.
    pub words: String,
    /// Its fields.
    pub event: Value,
}

/// The first event in which two logs differ; `None` where a log has ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventPair {
    /// Its number.
    pub seq: u64,
    /// In the first log.
    pub left: Option<LoggedEvent>,
    /// In the second log.
    pub right: Option<LoggedEvent>,
}

/// The first event at which the kernel asked for something else.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EffectPair {
    /// The event.
    pub seq: u64,
    /// The first effect of it that differs, of the first log.
    pub left: Option<Effect>,
    /// Of the second log.
    pub right: Option<Effect>,
}

/// The first event after which `/status` differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatusPair {
    /// The event.
    pub seq: u64,
    /// Where, left being expected.
    pub differences: Vec<Difference>,
}

/// Where two logs differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogDifference {
    /// The first differing event.
    pub event: EventPair,
    /// The first differing effect, if any.
    pub effect: Option<EffectPair>,
    /// The first differing status, if any.
    pub status: Option<StatusPair>,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogDiff {
    /// Events that are equal, from the first on.
    pub equal_count: u64,
    /// Where they differ; `None` for equal logs.
    pub difference: Option<LogDifference>,
}

/// Compares two logs, event by event, from their beginnings. Marks, and how the logs lie in files, count for nothing.
///
/// # Errors
/// [`ReplayError`].
pub fn diff_logs(left: &mut LogFiles<'_>, right: &mut LogFiles<'_>) -> Result<LogDiff, ReplayError> {
    let (mut left, mut right) = (Events::new(left)?, Events::new(right)?);
    let mut folder = Folder::new(Strides::LONG);
    let mut equal_count = 0;
    let (left_next, right_next) = loop {
        match (left.next()?, right.next()?) {
            (None, None) => return Ok(LogDiff { equal_count, difference: None }),
            (Some((seq, at)), Some((_, other_at))) if at == other_at && left.event() == right.event() => {
                folder.step(at, left.event())?;
                equal_count = seq.0;
            }
            different => break different,
        }
    };
    let logged = |side: &Events<'_, '_>, next: Option<(Seq, TimeMs)>| {
        next.map(|(_, at)| LoggedEvent {
            at_ms: at.0,
            kind: event_kind(side.event()),
            words: describe(side.event(), folder.kernel()),
            event: fields(side.event()),
        })
    };
    let event = EventPair { seq: equal_count + 1, left: logged(&left, left_next), right: logged(&right, right_next) };
    let mut difference = LogDifference { event, effect: None, status: None };
    let (mut left_folder, mut right_folder) = (folder.clone(), folder);
    let (mut left_next, mut right_next) = (left_next, right_next);
    while let (Some((seq, left_at)), Some((_, right_at))) = (left_next, right_next) {
        left_folder.step(left_at, left.event())?;
        right_folder.step(right_at, right.event())?;
        if difference.effect.is_none() {
            difference.effect = first_effect(seq, left_folder.effects(), right_folder.effects());
        }
        if difference.status.is_none() {
            let documents = [&left_folder, &right_folder]
                .map(|folder| folder.kernel().status().as_ref().map_or(Value::Null, document));
            let differences = diff(&documents[0], &documents[1]);
            if !differences.is_empty() {
                difference.status = Some(StatusPair { seq: seq.0, differences });
            }
        }
        if difference.effect.is_some() && difference.status.is_some() {
            break;
        }
        (left_next, right_next) = (left.next()?, right.next()?);
    }
    Ok(LogDiff { equal_count, difference: Some(difference) })
}

fn first_effect(seq: Seq, left: &[Effect], right: &[Effect]) -> Option<EffectPair> {
    let same = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    let (left, right) = (left.get(same).cloned(), right.get(same).cloned());
    (left.is_some() || right.is_some()).then_some(EffectPair { seq: seq.0, left, right })
}
