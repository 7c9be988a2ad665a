//! The sign-off: the checklist's eight points, each with the command that proves it, and ticked only by checks that ran.
//!
//! Source: drill checklist, phase 2 sign-off.

use std::{collections::BTreeMap, fmt::Write as _};

use drillfold_kernel::registry::is_known_reason_token;
use serde_json::{Value, json};

use super::pack::{DrillRun, PACK_FILES, Pack};
use crate::judge::{
    invariants::Invariant,
    references::TRIPPED,
    report::{CheckKind, Verdict},
};

/// Longest notes that still are one page, in lines.
const PAGE_LINES: usize = 80;

/// How many drills the checklist has.
pub const DRILLS: usize = 8;

/// What a person signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signoff {
    /// The drills, in their order.
    pub drills: Vec<DrillLine>,
    /// The checklist's points, in its order.
    pub points: Vec<Point>,
}

/// What became of one drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillLine {
    /// Its scenario.
    pub name: String,
    /// Its title.
    pub title: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// The mode at `tripped`; `None` where that was never taken.
    pub mode: Option<String>,
    /// Milliseconds from the trigger until OPEN was blocked.
    pub time_to_safe_ms: Option<i64>,
    /// How many checks hold.
    pub checks_held: usize,
    /// How many there are.
    pub checks: usize,
}

/// One of the checklist's points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Which, for programs.
    pub id: &'static str,
    /// Which, in words.
    pub says: &'static str,
    /// What came of it.
    pub tick: Tick,
    /// The figures behind that.
    pub seen: String,
    /// The command that proves it; it ends with code 0 where the point holds. For a person's point it shows what to look at.
    pub command: String,
}

/// What came of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// It is a person's to judge.
    Person,
}

impl Tick {
    const fn of(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Fails }
    }

    /// Returns the result in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Person => "left to a person",
        }
    }
}

impl Signoff {
    /// Draws up the sign-off of every run (drills first, each with its variants) and every pack by folder name.
    #[must_use]
    pub fn new(runs: &[DrillRun], packs: &BTreeMap<String, Pack>) -> Self {
        let bases = runs.iter().filter(|run| run.outcome.scenario.variant.is_none());
        Self { drills: bases.map(DrillLine::of).collect(), points: points(runs, packs) }
    }

    /// Returns the sheet that a person reads and signs.
    #[must_use]
    pub fn sheet(&self) -> String {
        let mut text = String::from("# Phase 2 sign-off\n\n");
        text.push_str(
            "Every tick below was made by a check that ran with the packs; a box without one is a person's to tick.\n\n",
        );
        text.push_str("| drill | verdict | mode at `tripped` | time to safe | checks |\n|---|---|---|---|---|\n");
        for line in &self.drills {
            let DrillLine { name, verdict, checks_held, checks, .. } = line;
            let mode = line.mode.as_deref().unwrap_or("-");
            let _ =
                writeln!(text, "| {name} | {verdict} | {mode} | {} | {checks_held}/{checks} |", line.time_to_safe());
        }
        text.push('\n');
        for Point { says, tick, seen, command, .. } in &self.points {
            let mark = if *tick == Tick::Holds { "x" } else { " " };
            let _ = writeln!(text, "- [{mark}] {says}: {seen}\n  - `{command}`");
        }
        text.push_str(
            "\nThe commands run in the project's folder. Each ends with code 0 where its point holds; the one of a person's\n\
             point shows what there is to judge. For programs the same stands in `signoff.json`.\n\
             \nSigned: _________________ Date: _____________\n",
        );
        text
    }

    /// Returns the sheet for programs: `drillfold/signoff/v1`.
    #[must_use]
    pub fn document(&self) -> Value {
        let drills: Vec<Value> = self
            .drills
            .iter()
            .map(|line| {
                json!({
                    "name": line.name,
                    "verdict": line.verdict.to_string(),
                    "trading_mode": line.mode,
                    "time_to_safe_ms": line.time_to_safe_ms,
                    "checks_held": line.checks_held,
                    "checks": line.checks,
                })
            })
            .collect();
        let points: Vec<Value> = (1..)
            .zip(&self.points)
            .map(|(number, Point { id, says, tick, seen, command }): (u32, _)| {
                json!({
                    "point": number, "id": id, "says": says, "result": tick.words(), "seen": seen, "command": command,
                })
            })
            .collect();
        let fails = self.points.iter().any(|point| point.tick == Tick::Fails);
        json!({ "schema": "drillfold/signoff/v1", "ready": !fails, "drills": drills, "points": points })
    }
}

impl DrillLine {
    pub(super) fn of(run: &DrillRun) -> Self {
        let tripped = run.outcome.snapshots.get(TRIPPED).and_then(|taken| taken.document.as_ref());
        Self {
            name: run.report.name.clone(),
            title: run.outcome.scenario.title.clone(),
            verdict: run.report.verdict,
            mode: tripped.and_then(|document| document.get("trading_mode")?.as_str()).map(str::to_owned),
            time_to_safe_ms: run.outcome.time_to_safe_ms(),
            checks_held: run.report.passed(),
            checks: run.report.checks.len(),
        }
    }

    /// Returns the time to safe with its unit, or a dash.
    #[must_use]
    pub fn time_to_safe(&self) -> String {
        self.time_to_safe_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"))
    }
}

fn points(runs: &[DrillRun], packs: &BTreeMap<String, Pack>) -> Vec<Point> {
    let bases: Vec<&DrillRun> = runs.iter().filter(|run| run.outcome.scenario.variant.is_none()).collect();
    let passed = bases.iter().filter(|run| run.report.verdict == Verdict::Pass).count();
    let variants = runs.len().saturating_sub(bases.len());
    let variants_passed = runs.iter().filter(|run| run.outcome.scenario.variant.is_some() && run.passed()).count();

    let has_all = |pack: &Pack| PACK_FILES.iter().all(|file| pack.contains_key(*file));
    let complete = packs.values().filter(|pack| has_all(pack)).count();

    let of_kind = |kind: CheckKind| {
        let checks = runs.iter().flat_map(|run| &run.report.checks).filter(move |check| check.kind == kind);
        checks.fold((0usize, 0usize), |(held, all), check| (held + usize::from(check.holds), all + 1))
    };
    let (valid, validated) = of_kind(CheckKind::Validator);

    let tokens: Vec<&str> =
        runs.iter().flat_map(|run| run.outcome.snapshots.values()).flat_map(published_tokens).collect();
    let known = tokens.iter().filter(|token| is_known_reason_token(token)).count();

    let invariant = |ids: &[Invariant]| {
        let checks = runs.iter().flat_map(|run| &run.report.checks).filter(|check| {
            check.kind == CheckKind::Invariant && ids.iter().any(|invariant| invariant.id() == check.subject)
        });
        checks.fold((0usize, 0usize), |(held, all), check| (held + usize::from(check.holds), all + 1))
    };
    let (latch_held, latch_all) = invariant(&[Invariant::LatchAgrees, Invariant::DecisionA]);
    let (capital_held, capital_all) = invariant(&[Invariant::CapitalSupremacy]);
    let reduced = runs.iter().filter(|run| run.outcome.kill_stretches_reduced > 0).count();

    let pages = packs
        .values()
        .filter(|pack| {
            pack.get("notes.md").is_some_and(|notes| {
                let lines = notes.iter().filter(|byte| **byte == b'\n').count();
                lines > 0 && lines <= PAGE_LINES
            })
        })
        .count();

    vec![
        Point {
            id: "drills",
            says: "All 8 drills executed",
            tick: Tick::of(passed == DRILLS && bases.len() == DRILLS && variants_passed == variants),
            seen: format!("{passed} of {DRILLS} pass, {variants_passed} of {variants} variants pass"),
            command: "drillfold run scenarios".to_owned(),
        },
        Point {
            id: "files",
            says: "Each drill has an evidence folder with all required files",
            tick: Tick::of(complete == DRILLS),
            seen: format!("{complete} of {DRILLS} packs have the {} files", PACK_FILES.len()),
            command: "drillfold evidence verify evidence/phase2".to_owned(),
        },
        Point {
            id: "validator",
            says: "The validator passes for every observed status",
            tick: Tick::of(validated > 0 && valid == validated),
            seen: format!("{valid} of {validated} snapshots valid, strictly, against the exact schema"),
            command: "find evidence/phase2 -name observed_status.json -print0 | xargs -0 -n 1 drillfold validate --strict --file".to_owned(),
        },
        Point {
            id: "tokens",
            says: "No free-text reason codes",
            tick: Tick::of(!tokens.is_empty() && known == tokens.len()),
            seen: format!("{known} of {} published tokens are in the registry", tokens.len()),
            command: "find fixtures/status -name '*.json' -print0 | xargs -0 -n 1 drillfold validate --strict --file".to_owned(),
        },
        Point {
            id: "latch",
            says: "Latch invariants hold in all drills",
            tick: Tick::of(latch_all > 0 && latch_held == latch_all),
            seen: format!("{latch_held} of {latch_all} hold after every event"),
            command: "drillfold run --verbose --filter drill_".to_owned(),
        },
        Point {
            id: "capital-supremacy",
            says: "Capital supremacy: Kill still allows risk-reducing orders",
            tick: Tick::of(capital_held == capital_all && reduced > 0),
            seen: format!(
                "{capital_held} of {capital_all} runs keep it; in {reduced} runs Kill met exposure and reduced it"
            ),
            command: "drillfold run --verbose --filter drill_".to_owned(),
        },
        Point {
            id: "owner-dashboard",
            says: "Owner dashboard passes the 5-second rule for each scenario",
            tick: Tick::Person,
            seen: "not checked by a program; left to a person".to_owned(),
            command: "drillfold serve scenarios/drill_1_partial_fill.toml --pause-at tripped".to_owned(),
        },
        Point {
            id: "notes",
            says: "1-page summary written for each drill",
            tick: Tick::of(pages == DRILLS),
            seen: format!("{pages} of {DRILLS} notes.md of at most {PAGE_LINES} lines"),
            command: format!(
                "find evidence/phase2 -name notes.md -print0 | xargs -0 -n 1 sh -c 'test $(wc -l < \"$0\") -le {PAGE_LINES}'"
            ),
        },
    ]
}

fn published_tokens(taken: &crate::judge::run::Taken) -> Vec<&str> {
    let lists = ["mode_reasons", "open_permission_reason_codes"];
    lists
        .iter()
        .filter_map(|key| taken.document.as_ref()?.get(*key)?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}
