//! The packs as pages that a person reads: one a drill, and one over all.
//!
//! A page is one file: no script, no network, nothing beside it but the files of its pack. It shows what the pack's other
//! files say and adds nothing to it.

mod chart;
mod text;

use askama::Template;
use serde_json::Value;

use self::{
    chart::{Chart, Moment, MomentKind, Stretch, mode_word, moments},
    text::{seconds, value},
};
use super::{
    pack::DrillRun,
    signoff::{DrillLine, Signoff, Tick},
};
use crate::{
    judge::{
        report::{Check, CheckKind, Criterion, Verdict},
        run::Outcome,
    },
    wal::Digest256,
};

/// The styles of all pages.
const STYLE: &str = include_str!("style.css");

/// The page of one drill.
#[derive(Template)]
#[template(path = "drill.html")]
struct DrillPage<'a> {
    style: &'static str,
    run: &'a DrillRun,
    line: DrillLine,
    chart: Chart,
    moments: Vec<MomentRow>,
    changes: Vec<ChangeRow>,
    criteria: Vec<Criterion<'a>>,
    others: Vec<&'a Check>,
    simulated: String,
    snapshots: Vec<&'a str>,
    changed: Vec<StatusRow>,
    unchanged: Vec<(String, String)>,
    variants: Vec<DrillLine>,
    digest: String,
}

/// The page over all drills.
#[derive(Template)]
#[template(path = "index.html")]
struct IndexPage<'a> {
    style: &'static str,
    signoff: &'a Signoff,
    drills: Vec<IndexRow<'a>>,
    passed: usize,
    variants_passed: usize,
    variants: usize,
}

struct IndexRow<'a> {
    line: &'a DrillLine,
    stretches: Vec<Stretch>,
    variants: usize,
    variants_passed: usize,
}

/// A moment of the run, for the list below the drawing.
struct MomentRow {
    of: Moment,
    at: String,
}

/// The mode and the latch from a moment on.
struct ChangeRow {
    at: String,
    mode: &'static str,
    reasons: String,
    codes: String,
}

/// A key of the status at each snapshot.
struct StatusRow {
    key: String,
    cells: Vec<StatusCell>,
}

struct StatusCell {
    value: String,
    /// True where the snapshot before had another value.
    differs: bool,
}

/// Returns the page of a drill.
///
/// # Errors
/// The template can't be filled in.
pub(super) fn drill_page(base: &DrillRun, variants: &[DrillRun]) -> Result<String, askama::Error> {
    let DrillRun { outcome, report } = base;
    let scenario = &outcome.scenario;
    let snapshots: Vec<&str> = scenario.snapshots.iter().map(|snapshot| snapshot.name.as_str()).collect();
    let (changed, unchanged) = status_rows(outcome, &snapshots);
    let since_start = |at: drillfold_kernel::units::TimeMs| seconds(at.since(scenario.start));
    let moments = moments(outcome).into_iter().map(|of| MomentRow { at: since_start(of.at), of }).collect();
    let changes = outcome.course.standing.changes().iter().map(|(at, standing)| {
        let list = |tokens: Vec<&str>| if tokens.is_empty() { "none".to_owned() } else { tokens.join(", ") };
        ChangeRow {
            at: since_start(*at),
            mode: mode_word(standing.as_ref().map(|standing| standing.mode)),
            reasons: list(standing.iter().flat_map(|standing| standing.reasons.clone()).collect()),
            codes: list(standing.iter().flat_map(|standing| &standing.codes).map(|code| code.token()).collect()),
        }
    });
    DrillPage {
        style: STYLE,
        run: base,
        line: DrillLine::of(base),
        chart: Chart::of(outcome),
        moments,
        changes: changes.collect(),
        criteria: report.criteria(),
        others: report.checks.iter().filter(|check| check.kind != CheckKind::Expectation).collect(),
        simulated: seconds(scenario.duration_ms),
        snapshots,
        changed,
        unchanged,
        variants: variants.iter().map(DrillLine::of).collect(),
        digest: Digest256(scenario.digest).to_string(),
    }
    .render()
}

/// Returns the page over all drills.
///
/// # Errors
/// The template can't be filled in.
pub(super) fn index_page(signoff: &Signoff, runs: &[DrillRun]) -> Result<String, askama::Error> {
    let is_base = |run: &&DrillRun| run.outcome.scenario.variant.is_none();
    let variants_of = |name: &str| {
        let name = name.to_owned();
        runs.iter().filter(move |run| !is_base(run) && run.outcome.scenario.name == name)
    };
    let drills: Vec<IndexRow<'_>> = runs
        .iter()
        .filter(is_base)
        .zip(&signoff.drills)
        .map(|(run, line)| {
            let name = &run.outcome.scenario.name;
            IndexRow {
                line,
                stretches: Chart::stretches(&run.outcome),
                variants: variants_of(name).count(),
                variants_passed: variants_of(name).filter(|run| run.passed()).count(),
            }
        })
        .collect();
    IndexPage {
        style: STYLE,
        signoff,
        passed: drills.iter().filter(|row| row.line.verdict == Verdict::Pass).count(),
        variants: drills.iter().map(|row| row.variants).sum(),
        variants_passed: drills.iter().map(|row| row.variants_passed).sum(),
        drills,
    }
    .render()
}

/// Returns the keys that differ between some snapshots, and those that do not, with their value.
fn status_rows(outcome: &Outcome, snapshots: &[&str]) -> (Vec<StatusRow>, Vec<(String, String)>) {
    let flat: Vec<Option<Vec<(String, Value)>>> = snapshots
        .iter()
        .map(|name| {
            let document = outcome.snapshots.get(*name)?.document.as_ref()?;
            let mut entries = Vec::new();
            flatten("", document, &mut entries);
            Some(entries)
        })
        .collect();
    let mut keys: Vec<&String> = Vec::new();
    for (key, _) in flat.iter().flatten().flatten() {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let (mut changed, mut unchanged) = (Vec::new(), Vec::new());
    for key in keys {
        let values: Vec<String> = flat
            .iter()
            .map(|entries| match entries {
                None => "no process is up".to_owned(),
                Some(entries) => value(entries.iter().find(|(own, _)| own == key).map(|(_, value)| value)),
            })
            .collect();
        match values.first() {
            Some(first) if values.iter().all(|value| value == first) => unchanged.push((key.clone(), first.clone())),
            _ => {
                let before = std::iter::once(None).chain(values.iter().map(Some));
                let cells = values.iter().zip(before).map(|(value, before)| StatusCell {
                    value: value.clone(),
                    differs: before.is_some_and(|before| before != value),
                });
                changed.push(StatusRow { key: key.clone(), cells: cells.collect() });
            }
        }
    }
    (changed, unchanged)
}

/// Lists the values of a document by dotted key; a list that is not of texts goes by entry.
fn flatten(prefix: &str, document: &Value, entries: &mut Vec<(String, Value)>) {
    let below = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match document {
        Value::Object(map) => map.iter().for_each(|(key, value)| flatten(&below(key), value, entries)),
        Value::Array(list) if list.iter().any(Value::is_object) => {
            for (place, value) in list.iter().enumerate() {
                flatten(&format!("{prefix}[{place}]"), value, entries);
            }
        }
        value => entries.push((prefix.to_owned(), value.clone())),
    }
}
