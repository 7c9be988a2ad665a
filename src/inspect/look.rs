//! Single events of a run, looked at closely: what the kernel did, and the hashes and fields of its state.
//!
//! These are what two builds are compared by, through the same forms whether a build is this one or another program
//! (specs/replay-output.md).

use drillfold_kernel::{
    Kernel,
    units::{Seq, TimeMs},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{describe::describe, heavy::state_document};
use crate::{
    contract::diff::diff,
    judge::facts::event_kind,
    replay::{FoldError, Images, Place, ReplayError, Strides, Walk, last_event, leaves_of},
    wal::{LogFiles, encode_state},
};

/// What one build did at one event, and the hashes of its state afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// The event's number.
    pub seq: u64,
    /// Its time, ms since the epoch.
    pub at_ms: i64,
    /// Its kind.
    pub kind: String,
    /// It in a few words.
    pub event: String,
    /// The mode afterwards.
    pub mode: String,
    /// Its published reasons.
    pub reasons: Vec<String>,
    /// Codes of the latch.
    pub codes: Vec<String>,
    /// What the kernel asked for.
    pub effects: Vec<Value>,
    /// Digest of all that, as traces have it: 16 hexadecimal digits.
    pub behaviour: String,
    /// Hash of each component of the state.
    pub leaves: Map<String, Value>,
}

impl Look {
    /// Returns mode, reasons and codes, for people.
    #[must_use]
    pub fn standing(&self) -> String {
        let lists = [("reasons", &self.reasons), ("latch", &self.codes)];
        let lists = lists.iter().filter(|(_, items)| !items.is_empty());
        let lists: String = lists.map(|(name, items)| format!("  {name} {}", items.join(","))).collect();
        format!("{}{lists}", self.mode)
    }
}

/// A state, field by field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateAt {
    /// The last event before it.
    pub seq: u64,
    /// That event's time, ms since the epoch.
    pub at_ms: i64,
    /// Its components.
    pub state: Value,
    /// Of each path that was asked for, the event that last changed it.
    pub written: Vec<Written>,
}

/// The event that last changed a part of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The part: a component, and what is inside it.
    pub path: String,
    /// The event; `None` where it was none of the last [`WRITTEN_WITHIN_EVENTS`].
    pub seq: Option<u64>,
}

/// How far back the event that last changed a part of the state is looked for.
pub const WRITTEN_WITHIN_EVENTS: u64 = 512;

/// Looks at every `every`-th event from `first` to `last`, and at `last`.
///
/// # Errors
/// [`ReplayError`]; [`ReplayError::Beyond`] where the log ends before `last`.
pub fn looks(
    files: &mut LogFiles<'_>,
    images: Option<Images<'_>>,
    (first, last): (Seq, Seq),
    every: u64,
) -> Result<Vec<Look>, ReplayError> {
    last_event(files, Place::Seq(last))?;
    let before = Seq(first.0.saturating_sub(1));
    let mut walk = Walk::before(files, images, before, Strides::DRILL)?;
    walk.go_to(before)?;
    let mut found = Vec::new();
    while walk.folder().seq() < last {
        let Some((seq, at, _)) = walk.next()? else { break };
        if (seq.0 - first.0).is_multiple_of(every.max(1)) || seq == last {
            found.push(look(&walk, seq, at)?);
        }
    }
    Ok(found)
}

fn look(walk: &Walk<'_, '_>, seq: Seq, at: TimeMs) -> Result<Look, ReplayError> {
    let folder = walk.folder();
    let kernel = folder.kernel();
    let resolution = &kernel.core.resolution;
    let leaves = leaves_of(kernel).map_err(|source| FoldError::Encode { seq, source })?;
    let names = drillfold_kernel::COMPONENTS.iter().map(|name| (*name).to_owned());
    Ok(Look {
        seq: seq.0,
        at_ms: at.0,
        kind: event_kind(walk.event()).to_owned(),
        event: describe(walk.event(), kernel),
        mode: resolution.mode.token().to_owned(),
        reasons: resolution.reasons.iter().map(|reason| reason.token().to_owned()).collect(),
        codes: kernel.latch.codes().map(|code| code.token().to_owned()).collect(),
        effects: folder.effects().iter().map(|effect| serde_json::to_value(effect).unwrap_or_default()).collect(),
        behaviour: format!("{:016x}", folder.behaviour_digest().unwrap_or_default()),
        leaves: names.zip(leaves.iter().map(|leaf| Value::from(leaf.to_string()))).collect(),
    })
}

/// Returns the state after an event, and which events last changed the parts of it that `paths` name.
///
/// # Errors
/// [`ReplayError`].
pub fn state_at(
    files: &mut LogFiles<'_>,
    images: Option<Images<'_>>,
    place: Place,
    paths: &[String],
) -> Result<StateAt, ReplayError> {
    let seq = last_event(files, place)?;
    let watch_from = if paths.is_empty() { seq } else { Seq(seq.0.saturating_sub(WRITTEN_WITHIN_EVENTS)) };
    let mut walk = Walk::before(files, images, watch_from, Strides::DRILL)?;
    walk.go_to(watch_from)?;
    let mut watches = watches(paths, walk.folder().kernel());
    while walk.folder().seq() < seq {
        let Some((seq, _, _)) = walk.next()? else { break };
        for watch in &mut watches {
            watch.after(seq, walk.folder().kernel()).map_err(|source| FoldError::Encode { seq, source })?;
        }
    }
    let written = paths.iter().map(|path| Written {
        path: path.clone(),
        seq: watches.iter().find_map(|watch| watch.written(path)).map(|seq| seq.0),
    });
    let written = written.collect();
    let folder = walk.folder();
    Ok(StateAt { seq: folder.seq().0, at_ms: folder.at().0, state: state_document(folder.kernel()), written })
}

/// A component of the state whose changes are watched.
struct Watch {
    component: &'static str,
    bytes: Vec<u8>,
    document: Value,
    paths: Vec<(String, Option<Seq>)>,
}

fn watches(paths: &[String], kernel: &Kernel) -> Vec<Watch> {
    let mut watches = Vec::new();
    for component in drillfold_kernel::COMPONENTS {
        let of: Vec<(String, Option<Seq>)> =
            paths.iter().filter(|path| is_inside(path, component)).map(|path| (path.clone(), None)).collect();
        if !of.is_empty() {
            let document = component_document(kernel, component);
            watches.push(Watch { component, bytes: Vec::new(), document, paths: of });
        }
    }
    watches
}

impl Watch {
    fn after(&mut self, seq: Seq, kernel: &Kernel) -> Result<(), crate::wal::ImageError> {
        let bytes = component_bytes(kernel, self.component)?;
        if bytes == self.bytes {
            return Ok(());
        }
        let document = component_document(kernel, self.component);
        for change in diff(&self.document, &document) {
            let path = if change.path.starts_with('[') {
                format!("{}{}", self.component, change.path)
            } else {
                format!("{}.{}", self.component, change.path)
            };
            for (watched, written) in &mut self.paths {
                if is_inside(watched, &path) || is_inside(&path, watched) {
                    *written = Some(seq);
                }
            }
        }
        (self.bytes, self.document) = (bytes, document);
        Ok(())
    }

    fn written(&self, path: &str) -> Option<Seq> {
        self.paths.iter().find(|(watched, _)| watched == path).and_then(|(_, written)| *written)
    }
}

/// True where `path` is `outer`, or inside it.
fn is_inside(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn component_bytes(kernel: &Kernel, component: &str) -> Result<Vec<u8>, crate::wal::ImageError> {
    let Kernel { core, feeds, orders, ledger, groups, session, latch, monitors, .. } = kernel;
    match component {
        "core" => encode_state(core),
        "feeds" => encode_state(feeds),
        "orders" => encode_state(orders),
        "ledger" => encode_state(ledger),
        "groups" => encode_state(groups),
        "session" => encode_state(session),
        "latch" => encode_state(latch),
        _ => encode_state(monitors),
    }
}

fn component_document(kernel: &Kernel, component: &str) -> Value {
    state_document(kernel).get_mut(component).map(Value::take).unwrap_or_default()
}
