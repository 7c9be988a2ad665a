//! The verdict over one run, and every check that made it.

use std::fmt;

use serde_json::Value;

use super::{
    expectations,
    invariants::Invariant,
    references::{References, golden_file},
    run::{Outcome, RunError, Taken},
};
use crate::contract::{
    diff::diff,
    validator::{BuiltInSchema, Options, Validator, ValidatorError},
};

/// What a run comes to; a closed set. Only `Pass` is green.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything that was asked holds.
    Pass,
    /// Something does not.
    Fail,
    /// The fault never took effect: nothing was drilled.
    Vacuous,
    /// The run did not come to its end.
    Inconclusive,
    /// The run could not be made.
    Error,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Vacuous => "vacuous",
            Self::Inconclusive => "inconclusive",
            Self::Error => "error",
        })
    }
}

/// Where a check comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckKind {
    /// An expectation of the scenario.
    Expectation,
    /// The drill's expectation in `specs/drills/`.
    Checklist,
    /// A golden document.
    Golden,
    /// A global invariant.
    Invariant,
    /// The validator over a snapshot.
    Validator,
    /// Time to safe, proven by a refused OPEN.
    TimeToSafe,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Where it comes from.
    pub kind: CheckKind,
    /// What it is about: a criterion, a snapshot and key, an invariant.
    pub subject: String,
    /// What was asked, in words.
    pub says: String,
    /// True where it holds.
    pub holds: bool,
    /// What was seen; names place, expected and found where it fails.
    pub seen: String,
}

/// A criterion with the checks behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Criterion<'a> {
    /// Which.
    pub id: &'a str,
    /// True where all its checks hold.
    pub holds: bool,
    /// Its checks.
    pub checks: Vec<&'a Check>,
}

/// The judgement over one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Scenario, with variant.
    pub name: String,
    /// The verdict.
    pub verdict: Verdict,
    /// One sentence why it is not `Pass`.
    pub reason: Option<String>,
    /// All checks, in the order in which they are listed.
    pub checks: Vec<Check>,
}

impl Report {
    /// Returns how many checks hold.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.checks.iter().filter(|check| check.holds).count()
    }

    /// Gathers the checks of each of the scenario's criteria, in the order of their first.
    #[must_use]
    pub fn criteria(&self) -> Vec<Criterion<'_>> {
        let mut criteria: Vec<Criterion<'_>> = Vec::new();
        for check in self.checks.iter().filter(|check| check.kind == CheckKind::Expectation) {
            match criteria.iter_mut().find(|criterion| criterion.id == check.subject) {
                Some(criterion) => {
                    criterion.holds &= check.holds;
                    criterion.checks.push(check);
                }
                None => criteria.push(Criterion { id: &check.subject, holds: check.holds, checks: vec![check] }),
            }
        }
        criteria
    }

    /// Returns the checks that do not hold.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.holds)
    }
}

/// How strictly values are held against references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Every value: the scenario's own seed.
    Exact,
    /// Mode, reasons, risk state and latch codes only: another seed, under which values may differ.
    Reasons,
}

/// Keys that hold under every seed.
const SEED_PROOF_KEYS: [&str; 6] = [
    "trading_mode",
    "mode_reasons",
    "risk_state",
    "open_permission_blocked_latch",
    "open_permission_reason_codes",
    "open_permission_requires_reconcile",
];

/// Why a run can't be judged.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// An expression is wrong.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The validator can't be built.
    #[error("build the validator")]
    Validator(#[from] ValidatorError),
}

/// Judges a run against its scenario, the global invariants, and the references where it is the base run of a drill or of a
/// matrix's row.
///
/// # Errors
/// [`JudgeError`].
pub fn judge(outcome: &Outcome, references: &References, strictness: Strictness) -> Result<Report, JudgeError> {
    let mut checks = Vec::new();
    expectation_checks(outcome, &mut checks)?;
    let scenario = &outcome.scenario;
    if scenario.variant.is_none() {
        if scenario.drill.is_some() {
            checklist_checks(outcome, references, strictness, &mut checks);
        }
        if scenario.drill.is_some() || scenario.matrix.is_some() {
            golden_checks(outcome, references, strictness, &mut checks);
        }
    }
    snapshot_checks(outcome, &mut checks)?;
    invariant_checks(outcome, &mut checks);
    if outcome.scenario.drill.is_some() {
        checks.push(time_to_safe_check(outcome));
    }
    let (verdict, reason) = verdict(outcome, &checks);
    Ok(Report { name: outcome.scenario.full_name(), verdict, reason, checks })
}

fn verdict(outcome: &Outcome, checks: &[Check]) -> (Verdict, Option<String>) {
    if !outcome.complete {
        let events = outcome.timeline.events.len();
        return (Verdict::Inconclusive, Some(format!("stopped after {events} events, the most the scenario allows")));
    }
    let trigger = outcome.scenario.steps.iter().zip(&outcome.step_effects).find(|(step, _)| step.trigger);
    if let Some((step, 0)) = trigger {
        return (Verdict::Vacuous, Some(format!("the fault never took effect: {}", step.says)));
    }
    match checks.iter().find(|check| !check.holds) {
        None => (Verdict::Pass, None),
        Some(check) => (Verdict::Fail, Some(format!("{}: {}", check.subject, check.seen))),
    }
}

fn expectation_checks(outcome: &Outcome, checks: &mut Vec<Check>) -> Result<(), RunError> {
    for expectation in &outcome.scenario.expectations {
        let judged = expectations::judge(outcome, expectation)?;
        checks.push(Check {
            kind: CheckKind::Expectation,
            subject: expectation.criterion.clone(),
            says: expectation.says.clone(),
            holds: judged.holds,
            seen: judged.seen,
        });
    }
    Ok(())
}

/// Holds the run against `specs/drills/`: snapshots by key, and which criteria there are and that they hold.
fn checklist_checks(outcome: &Outcome, references: &References, strictness: Strictness, checks: &mut Vec<Check>) {
    let name = &outcome.scenario.name;
    let Some(expectation) = &references.expectation else {
        checks.push(Check {
            kind: CheckKind::Checklist,
            subject: format!("specs/drills/{name}.toml"),
            says: "the drill's expectation is there".to_owned(),
            holds: false,
            seen: "missing; write it from the checklist".to_owned(),
        });
        return;
    };
    let number = outcome.scenario.drill.map(i64::from);
    checks.push(Check {
        kind: CheckKind::Checklist,
        subject: format!("{name} drill"),
        says: "the drill's number".to_owned(),
        holds: number == Some(expectation.drill),
        seen: format!("drill: expected {}, found {}", expectation.drill, number.unwrap_or_default()),
    });
    for (snapshot, keys) in &expectation.snapshots {
        for (key, expected) in keys {
            if strictness == Strictness::Reasons && !SEED_PROOF_KEYS.contains(&key.as_str()) {
                continue;
            }
            let found = document(outcome, snapshot).and_then(|document| lookup(document, key));
            checks.push(Check {
                kind: CheckKind::Checklist,
                subject: format!("{name} snapshot {snapshot}"),
                says: format!("{key} = {expected}"),
                holds: found == Some(expected),
                seen: format!("{key}: expected {expected}, found {}", shown(found)),
            });
        }
    }
    let known = |id: &str| outcome.scenario.expectations.iter().any(|of| of.criterion == id);
    for (criterion, expected) in &expectation.criteria {
        let of = || checks.iter().filter(|check| check.kind == CheckKind::Expectation && check.subject == *criterion);
        let holds = known(criterion) && of().all(|check| check.holds);
        let count = of().count();
        let check = Check {
            kind: CheckKind::Checklist,
            subject: format!("{name} criterion {criterion}"),
            says: format!("the checklist's criterion {criterion}"),
            holds: holds == *expected,
            seen: format!("criteria.{criterion}: expected {expected}, found {holds} by {count} expectations"),
        };
        checks.push(check);
    }
    for expected in &outcome.scenario.expectations {
        let criterion = &expected.criterion;
        if !expectation.criteria.contains_key(criterion) {
            checks.push(Check {
                kind: CheckKind::Checklist,
                subject: format!("{name} criterion {criterion}"),
                says: format!("{criterion} is one of the drill's criteria"),
                holds: false,
                seen: format!("{criterion} is not in {}", expectation.file),
            });
        }
    }
}

/// Holds every snapshot against its golden: all 35 keys.
fn golden_checks(outcome: &Outcome, references: &References, strictness: Strictness, checks: &mut Vec<Check>) {
    let name = &outcome.scenario.name;
    let mut names: Vec<&String> = outcome.scenario.snapshots.iter().map(|snapshot| &snapshot.name).collect();
    names.extend(references.goldens.keys().filter(|golden| !names.contains(golden)).collect::<Vec<_>>());
    for snapshot in names {
        let subject = format!("{name} snapshot {snapshot}");
        let file = golden_file(&outcome.scenario, snapshot).unwrap_or_default();
        let (holds, seen) = match (references.goldens.get(snapshot), document(outcome, snapshot)) {
            (None, _) => (false, format!("no golden fixtures/status/{file}; accept one with --update")),
            (Some(_), None) => (false, "the snapshot was never taken".to_owned()),
            (Some(golden), Some(found)) => {
                let differences: Vec<_> = diff(&golden.document, found)
                    .into_iter()
                    .filter(|difference| {
                        strictness == Strictness::Exact || SEED_PROOF_KEYS.contains(&difference.path.as_str())
                    })
                    .collect();
                match differences.first() {
                    None => (true, format!("equal to {}", golden.file)),
                    Some(first) => {
                        let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
                        let more = all.len().saturating_sub(1);
                        let rest = if more == 0 { String::new() } else { format!(" (and {more} more keys)") };
                        (false, format!("{first}{rest}"))
                    }
                }
            }
        };
        let says = format!("equals {file}");
        checks.push(Check { kind: CheckKind::Golden, subject, says, holds, seen });
    }
}

/// Validates every snapshot's document against the exact schema, strictly, the owner view derived again.
fn snapshot_checks(outcome: &Outcome, checks: &mut Vec<Check>) -> Result<(), JudgeError> {
    let validator = Validator::built_in(BuiltInSchema::Exact)?;
    let options = Options { strict: true, derive_owner_view: true };
    for snapshot in &outcome.scenario.snapshots {
        let (holds, seen) = match outcome.snapshots.get(&snapshot.name) {
            None => (false, "never taken: its condition never held".to_owned()),
            Some(Taken { document: None, .. }) => (false, "taken while no process was up".to_owned()),
            Some(Taken { document: Some(document), seq, .. }) => {
                let findings = validator.validate(document, options);
                match findings.first() {
                    None => (true, format!("valid, after event {}", seq.0)),
                    Some(first) => (false, format!("{first} ({} findings)", findings.len())),
                }
            }
        };
        checks.push(Check {
            kind: CheckKind::Validator,
            subject: format!("{} snapshot {}", outcome.scenario.name, snapshot.name),
            says: "is a valid /status, strictly".to_owned(),
            holds,
            seen,
        });
    }
    Ok(())
}

fn invariant_checks(outcome: &Outcome, checks: &mut Vec<Check>) {
    for invariant in Invariant::ALL {
        let violation = outcome.violations.iter().find(|violation| violation.invariant == invariant);
        checks.push(Check {
            kind: CheckKind::Invariant,
            subject: invariant.id().to_owned(),
            says: "holds after every event".to_owned(),
            holds: violation.is_none(),
            seen: match violation {
                None => format!("held after each of {} events", outcome.timeline.events.len()),
                Some(violation) => {
                    format!("broken at event {} at {} ms", violation.seq.0, violation.at.since(outcome.scenario.start))
                }
            },
        });
    }
}

/// Time to safe counts only where an OPEN was really refused from then on.
fn time_to_safe_check(outcome: &Outcome) -> Check {
    let (holds, seen) = match (outcome.time_to_safe_ms(), outcome.refused_at) {
        (None, _) => (false, "OPEN was never blocked after the trigger".to_owned()),
        (Some(ms), None) => (false, format!("blocked after {ms} ms, but no OPEN was tried")),
        (Some(ms), Some(refused)) => {
            let trigger = outcome.trigger.map_or(refused, |(at, _)| at);
            (true, format!("{ms} ms after the trigger; an OPEN was refused {} ms after it", refused.since(trigger)))
        }
    };
    Check {
        kind: CheckKind::TimeToSafe,
        subject: "time-to-safe".to_owned(),
        says: "from the trigger an OPEN is soon refused, shown by a refused one".to_owned(),
        holds,
        seen,
    }
}

fn document<'a>(outcome: &'a Outcome, snapshot: &str) -> Option<&'a Value> {
    outcome.snapshots.get(snapshot)?.document.as_ref()
}

/// Finds a value by a dotted key.
fn lookup<'a>(document: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(document, |value, part| value.get(part))
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}
