//! The first event after which a condition holds.

use std::collections::VecDeque;

use drillfold_kernel::{
    Kernel,
    event::Event,
    units::{Seq, TimeMs},
};
use serde::Serialize;
use serde_json::Value;

use super::describe::describe;
use crate::{
    contract::{
        diff::{Difference, diff},
        document::document,
    },
    judge::{
        expr::Expr,
        observe::{Cell, Observer},
    },
    replay::{Events, Folder, Passed, ReplayError, Strides},
    wal::{LogFiles, MarkKind},
};

/// How many events before and after the found one are shown.
const NEIGHBOURS: usize = 3;

/// An event in the neighbourhood of the found one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// Its number.
    pub seq: u64,
    /// Its time, ms since the epoch.
    pub at_ms: i64,
    /// What it was.
    pub event: String,
}

/// A name of the condition with its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The name.
    pub name: String,
    /// Its value before the event.
    pub before: String,
    /// Its value after it.
    pub after: String,
}

/// The first event after which a condition holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Holding {
    /// The event's number.
    pub seq: u64,
    /// Its time, ms since the epoch.
    pub at_ms: i64,
    /// What it was.
    pub event: String,
    /// The names that the condition asks for.
    pub values: Vec<Named>,
    /// The last events before it, in order.
    pub before: Vec<Neighbour>,
    /// The first events after it, in order.
    pub after: Vec<Neighbour>,
    /// `/status` before it; null where no process was up.
    pub status_before: Value,
    /// `/status` after it.
    pub status_after: Value,
    /// Where the two differ.
    pub changes: Vec<Difference>,
}

/// Folds a log from its beginning and returns the first event after which `condition` holds, and how many events were
/// looked at; `None` where it never holds. Counts among the facts are of what the kernel asked for: a log does not tell what
/// a crash kept from being carried out.
///
/// # Errors
/// [`ReplayError`].
pub fn first_holding(files: &mut LogFiles<'_>, condition: &Expr) -> Result<(Option<Holding>, u64), ReplayError> {
    let mut events = Events::new(files)?;
    let mut folder = Folder::new(Strides::LONG);
    let mut observer = Observer::default();
    let mut before: VecDeque<(Seq, TimeMs, Event)> = VecDeque::new();
    let mut found: Option<Holding> = None;
    let names: Vec<(usize, String)> = condition.names().map(|(place, name)| (place, name.to_owned())).collect();
    let values = |observer: &Observer| -> Vec<Cell> { names.iter().map(|(place, _)| observer.cell(*place)).collect() };
    let mut last_values = values(&observer);
    let mut last_status = None;
    while let Some(Passed { seq, at, mark }) = events.next_or_mark()? {
        if let Some(mark) = mark {
            if mark.kind == MarkKind::Trigger {
                observer.trigger(at);
            }
            continue;
        }
        let event = events.event();
        folder.step(at, event)?;
        if let Some(found) = &mut found {
            found.after.push(neighbour(seq, at, event, folder.kernel()));
            if found.after.len() == NEIGHBOURS {
                break;
            }
            continue;
        }
        observer.after(seq, at, event, folder.effects(), folder.kernel());
        let cells = values(&observer);
        let holds = condition.holds(&|place| {
            let at = names.iter().position(|(known, _)| *known == place);
            at.and_then(|at| cells.get(at)).map_or(crate::judge::expr::Value::Null, Cell::value)
        });
        let status = observer.status().cloned();
        if holds {
            let status_before = last_status.as_ref().map_or(Value::Null, document);
            let status_after = status.as_ref().map_or(Value::Null, document);
            let text = |cell: &Cell| cell.value().to_string();
            let shown = names.iter().zip(last_values.iter().zip(&cells));
            found = Some(Holding {
                seq: seq.0,
                at_ms: at.0,
                event: describe(event, folder.kernel()),
                values: shown
                    .map(|((_, name), (before, after))| Named {
                        name: name.clone(),
                        before: text(before),
                        after: text(after),
                    })
                    .collect(),
                before: before.iter().map(|(seq, at, event)| neighbour(*seq, *at, event, folder.kernel())).collect(),
                after: Vec::new(),
                changes: diff(&status_before, &status_after),
                status_before,
                status_after,
            });
            continue;
        }
        if before.len() == NEIGHBOURS {
            before.pop_front();
        }
        before.push_back((seq, at, event.clone()));
        (last_values, last_status) = (cells, status);
    }
    let looked_at = found.as_ref().map_or(folder.seq().0, |found| found.seq);
    Ok((found, looked_at))
}

fn neighbour(seq: Seq, at: TimeMs, event: &Event, kernel: &Kernel) -> Neighbour {
    Neighbour { seq: seq.0, at_ms: at.0, event: describe(event, kernel) }
}
