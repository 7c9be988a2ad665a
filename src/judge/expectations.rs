//! Judging what a scenario expects over its timeline.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::{
    expr::{Expr, Number, Value},
    observe::Cell,
    run::{Outcome, RunError, parse},
};
use crate::scenario::model::{Bound, Expectation, ExpectationKind};

/// What became of one expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// True where it holds.
    pub holds: bool,
    /// What was seen, in one sentence; names the event where it fails.
    pub seen: String,
}

/// Judges one expectation of a run.
///
/// # Errors
/// [`RunError::Expression`].
pub fn judge(outcome: &Outcome, expectation: &Expectation) -> Result<Judged, RunError> {
    let range = match range_of(outcome, expectation) {
        Ok(range) => range,
        Err(missing) => return Ok(Judged { holds: false, seen: format!("{missing} was never reached") }),
    };
    let scenario = &outcome.scenario;
    let view = View { outcome, range };
    Ok(match &expectation.kind {
        ExpectationKind::Always(text) => view.always(&parse(scenario, text, false)?, true),
        ExpectationKind::Never(text) => view.always(&parse(scenario, text, false)?, false),
        ExpectationKind::Sometimes(text) => view.sometimes(&parse(scenario, text, false)?),
        ExpectationKind::WithinTicks { ticks, holds } => view.within(&parse(scenario, holds, false)?, *ticks),
        ExpectationKind::Until { release, forbidden } => {
            view.until(&parse(scenario, release, false)?, &parse(scenario, forbidden, false)?)
        }
        ExpectationKind::NeverRises(text) => view.never_rises(&parse(scenario, text, true)?),
        ExpectationKind::Grows { value, by } => view.grows(&parse(scenario, value, true)?, *by),
    })
}

/// Returns the rows an expectation looks at, or the name of the bound that was never reached.
fn range_of(outcome: &Outcome, expectation: &Expectation) -> Result<RangeInclusive<usize>, String> {
    let last = outcome.timeline.events.len().saturating_sub(1);
    let row = |bound: &Bound| match bound {
        Bound::Start => Ok(0),
        Bound::End => Ok(last),
        Bound::Trigger => outcome.trigger.map(|(_, row)| row).ok_or_else(|| "the trigger".to_owned()),
        Bound::Snapshot(name) => {
            outcome.snapshots.get(name).map(|taken| taken.row).ok_or_else(|| format!("snapshot {name}"))
        }
    };
    Ok(row(&expectation.from)?..=row(&expectation.to)?)
}

/// The rows of a run that an expectation looks at.
struct View<'a> {
    outcome: &'a Outcome,
    range: RangeInclusive<usize>,
}

impl View<'_> {
    fn holds(&self, expr: &Expr, row: usize) -> bool {
        let columns: &BTreeMap<usize, Vec<Cell>> = &self.outcome.timeline.columns;
        expr.holds(&|place| columns.get(&place).and_then(|column| column.get(row)).map_or(Value::Null, Cell::value))
    }

    fn number(&self, expr: &Expr, row: usize) -> Option<Number> {
        let columns: &BTreeMap<usize, Vec<Cell>> = &self.outcome.timeline.columns;
        expr.number(&|place| columns.get(&place).and_then(|column| column.get(row)).map_or(Value::Null, Cell::value))
    }

    /// Names an event: its number and its time since the run's start.
    fn event(&self, row: usize) -> String {
        match self.outcome.timeline.events.get(row) {
            Some((seq, at)) => format!("event {} at {} ms", seq.0, at.since(self.outcome.scenario.start)),
            None => "no event".to_owned(),
        }
    }

    /// Returns the values of the names an expression asks for, for a failure's sentence.
    fn values(&self, expr: &Expr, row: usize) -> String {
        let columns = &self.outcome.timeline.columns;
        let values: Vec<String> = expr
            .names()
            .map(|(place, name)| {
                let cell = columns.get(&place).and_then(|column| column.get(row));
                format!("{name} = {}", cell.map_or(Value::Null, Cell::value))
            })
            .collect();
        values.join(", ")
    }

    fn len(&self) -> usize {
        self.range.clone().count()
    }

    fn always(&self, expr: &Expr, wanted: bool) -> Judged {
        if self.range.is_empty() {
            return Judged { holds: false, seen: "the range has no event".to_owned() };
        }
        match self.range.clone().find(|row| self.holds(expr, *row) != wanted) {
            None => Judged { holds: true, seen: format!("held after each of {} events", self.len()) },
            Some(row) => {
                Judged { holds: false, seen: format!("broken at {}: {}", self.event(row), self.values(expr, row)) }
            }
        }
    }

    fn sometimes(&self, expr: &Expr) -> Judged {
        match self.range.clone().find(|row| self.holds(expr, *row)) {
            Some(row) => {
                let times = self.range.clone().filter(|row| self.holds(expr, *row)).count();
                Judged { holds: true, seen: format!("first at {}, {times} events in all", self.event(row)) }
            }
            None => Judged {
                holds: false,
                seen: format!("never in {} events; last {}", self.len(), self.values(expr, *self.range.end())),
            },
        }
    }

    fn within(&self, expr: &Expr, ticks: u32) -> Judged {
        let from = match self.outcome.trigger {
            Some((at, row)) if row == *self.range.start() => at,
            _ => match self.outcome.timeline.events.get(*self.range.start()) {
                Some((_, at)) => *at,
                None => return Judged { holds: false, seen: "the range has no event".to_owned() },
            },
        };
        let limit = self.outcome.config.kernel.loop_tick_ms.saturating_mul(i64::from(ticks));
        match self.range.clone().find(|row| self.holds(expr, *row)) {
            Some(row) => {
                let at = self.outcome.timeline.events.get(row).map_or(from, |(_, at)| *at);
                let after = at.since(from);
                Judged {
                    holds: after <= limit,
                    seen: format!("{} ms after, at {}, limit {limit} ms", after, self.event(row)),
                }
            }
            None => Judged { holds: false, seen: format!("never in {} events", self.len()) },
        }
    }

    fn until(&self, release: &Expr, forbidden: &Expr) -> Judged {
        for row in self.range.clone() {
            if self.holds(release, row) {
                return Judged { holds: true, seen: format!("released at {}, not before", self.event(row)) };
            }
            if self.holds(forbidden, row) {
                let seen = format!("forbidden at {}: {}", self.event(row), self.values(forbidden, row));
                return Judged { holds: false, seen };
            }
        }
        Judged { holds: false, seen: format!("never released in {} events", self.len()) }
    }

    fn never_rises(&self, expr: &Expr) -> Judged {
        let mut before: Option<Number> = None;
        let mut first = None;
        for row in self.range.clone() {
            let Some(now) = self.number(expr, row) else {
                continue;
            };
            first = first.or(Some(now));
            if let Some(before) = before
                && now > before
            {
                return Judged { holds: false, seen: format!("rose from {before} to {now} at {}", self.event(row)) };
            }
            before = Some(now);
        }
        match (first, before) {
            (Some(first), Some(last)) => {
                Judged { holds: true, seen: format!("from {first} to {last} over {} events", self.len()) }
            }
            _ => Judged { holds: false, seen: "the range has no number".to_owned() },
        }
    }

    fn grows(&self, expr: &Expr, by: i64) -> Judged {
        let (first, last) = (self.number(expr, *self.range.start()), self.number(expr, *self.range.end()));
        match (first, last) {
            (Some(first), Some(last)) => {
                let grown = last.minus(first);
                Judged { holds: grown == Number::whole(by), seen: format!("grew by {grown}, expected {by}") }
            }
            _ => Judged { holds: false, seen: "the range has no number".to_owned() },
        }
    }
}
