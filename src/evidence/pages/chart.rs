//! A run over time as a drawing: mode, exposure, queue, lag, and what was sent and refused, over one axis.
//!
//! Everything is whole numbers of the drawing's own units, so that the same run gives the same bytes anywhere. Whatever a
//! colour tells a shape or a word tells too.

use std::fmt::Write as _;

use drillfold_kernel::{registry::TradingMode, units::TimeMs};

use super::text::{coins, seconds};
use crate::judge::{
    course::{Act, Standing, Steps},
    run::Outcome,
};

/// Width of the drawing, and where the axis begins and ends.
pub(super) const WIDTH: i64 = 1000;
const LEFT: i64 = 128;
const RIGHT: i64 = WIDTH - 16;

/// Heights: a row of markers, the mode's band, a panel, a lane, and what stands between them.
const MARKER_ROW: i64 = 22;
const BAND: i64 = 34;
const PANEL: i64 = 84;
const LANE: i64 = 22;
const GAP: i64 = 16;

/// Space that a marker's letters need.
const MARKER_WIDTH: i64 = 30;

/// Most ticks on the axis.
const TICKS_MAX: i64 = 10;

/// Width below which a stretch of the band has no room for its word.
const WORD_WIDTH_MIN: i64 = 84;

/// Something that took place at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Which, as the drawing and the list have it: `T`, `2`, `b`.
    pub letter: String,
    pub kind: MomentKind,
    pub at: TimeMs,
    pub says: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MomentKind {
    Trigger,
    Step,
    Snapshot,
}

impl MomentKind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Step => "step",
            Self::Snapshot => "snapshot",
        }
    }
}

/// A moment as it is drawn.
pub(super) struct Marker {
    pub x: i64,
    pub y: i64,
    pub of: Moment,
}

/// A stretch of one mode.
pub(super) struct Stretch {
    pub x: i64,
    pub width: i64,
    pub mode: &'static str,
    pub title: String,
    pub has_room: bool,
    /// How much is forbidden, from 1.
    pub severity: i64,
}

/// A line over time.
pub(super) struct Panel {
    pub y: i64,
    pub name: &'static str,
    pub unit: &'static str,
    pub path: String,
    pub max: String,
    /// A limit: where it lies and what it is.
    pub limit: Option<(i64, String)>,
    pub summary: String,
}

/// Ticks over time.
pub(super) struct Lane {
    pub y: i64,
    pub name: &'static str,
    pub path: String,
    pub count: u64,
}

/// The drawing.
pub(super) struct Chart {
    pub height: i64,
    pub band_y: i64,
    pub axis_y: i64,
    pub markers: Vec<Marker>,
    pub stretches: Vec<Stretch>,
    pub panels: Vec<Panel>,
    pub lanes: Vec<Lane>,
    pub ticks: Vec<(i64, String)>,
}

impl Chart {
    pub(super) const WIDTH: i64 = WIDTH;
    pub(super) const LEFT: i64 = LEFT;
    pub(super) const RIGHT: i64 = RIGHT;
    pub(super) const BAND: i64 = BAND;
    pub(super) const PANEL: i64 = PANEL;
    pub(super) const LANE: i64 = LANE;

    /// Draws the modes of a run alone.
    pub(super) fn stretches(outcome: &Outcome) -> Vec<Stretch> {
        stretches(&outcome.course.standing, &Axis::of(outcome))
    }

    /// Draws a run.
    pub(super) fn of(outcome: &Outcome) -> Self {
        let axis = Axis::of(outcome);
        let (markers, rows) = markers(moments(outcome), &axis);
        let mut y = rows * MARKER_ROW + 8;
        let band_y = y;
        y += BAND + GAP;
        let panels = series(outcome)
            .iter()
            .map(|series| {
                let own = y;
                y += PANEL + GAP;
                Panel::of(own, &axis, series)
            })
            .collect();
        let lanes = Act::ALL
            .into_iter()
            .map(|act| {
                let own = y;
                y += LANE;
                Lane::of(act, own, &axis, &outcome.course.acts)
            })
            .collect();
        let axis_y = y + 6;
        Self {
            height: axis_y + 24,
            band_y,
            axis_y,
            markers,
            stretches: stretches(&outcome.course.standing, &axis),
            panels,
            lanes,
            ticks: axis.ticks(),
        }
    }
}

/// Returns `whole * part / all`.
fn share(whole: i64, part: i64, all: i64) -> i64 {
    i64::try_from(i128::from(whole) * i128::from(part) / i128::from(all)).unwrap_or(whole)
}

/// Time along the drawing.
struct Axis {
    start: TimeMs,
    duration_ms: i64,
}

impl Axis {
    fn of(outcome: &Outcome) -> Self {
        Self { start: outcome.scenario.start, duration_ms: outcome.scenario.duration_ms.max(1) }
    }

    fn x(&self, at: TimeMs) -> i64 {
        let into = at.since(self.start).clamp(0, self.duration_ms);
        LEFT + share(RIGHT - LEFT, into, self.duration_ms)
    }

    /// Returns places and words of the ticks: steps of 1, 2 or 5 times a power of ten.
    fn ticks(&self) -> Vec<(i64, String)> {
        let mut step = 1i64;
        for factor in [2, 5, 10].into_iter().cycle() {
            if self.duration_ms / step <= TICKS_MAX {
                break;
            }
            let decade = 10i64.saturating_pow(step.ilog10());
            step = decade.saturating_mul(factor);
        }
        let places = (0..=self.duration_ms / step).map(|tick| tick.saturating_mul(step));
        places.map(|ms| (self.x(self.start.after(ms)), seconds(ms))).collect()
    }

    fn word(&self, at: TimeMs) -> String {
        seconds(at.since(self.start))
    }
}

/// Returns what took place in a run, by time: trigger, steps and snapshots.
pub(super) fn moments(outcome: &Outcome) -> Vec<Moment> {
    let scenario = &outcome.scenario;
    let mut moments = Vec::new();
    let mut number = 0u32;
    for step in &scenario.steps {
        let (letter, kind) = if step.trigger {
            ("T".to_owned(), MomentKind::Trigger)
        } else {
            number += 1;
            (number.to_string(), MomentKind::Step)
        };
        moments.push(Moment { letter, kind, at: scenario.start.after(step.at_ms), says: step.says.clone() });
    }
    let taken = scenario
        .snapshots
        .iter()
        .filter_map(|snapshot| outcome.snapshots.get(&snapshot.name).map(|taken| (snapshot.name.clone(), taken.at)));
    for (letter, (name, at)) in ('a'..='z').zip(taken) {
        moments.push(Moment { letter: letter.to_string(), kind: MomentKind::Snapshot, at, says: name });
    }
    moments.sort_by_key(|moment| moment.at);
    moments
}

/// Sets markers into rows so that none covers another, and returns how many rows there are.
fn markers(moments: Vec<Moment>, axis: &Axis) -> (Vec<Marker>, i64) {
    let mut ends: Vec<i64> = Vec::new();
    let mut markers = Vec::new();
    for of in moments {
        let x = axis.x(of.at);
        let row = ends.iter().position(|end| *end <= x).unwrap_or(ends.len());
        match ends.get_mut(row) {
            Some(end) => *end = x + MARKER_WIDTH,
            None => ends.push(x + MARKER_WIDTH),
        }
        let row = i64::try_from(row).unwrap_or(0);
        markers.push(Marker { x, y: row * MARKER_ROW + 4, of });
    }
    (markers, i64::try_from(ends.len()).unwrap_or(1).max(1))
}

fn stretches(standing: &Steps<Option<Standing>>, axis: &Axis) -> Vec<Stretch> {
    let mode_of = |standing: &Option<Standing>| standing.as_ref().map(|standing| standing.mode);
    let mut modes: Vec<(TimeMs, Option<TradingMode>)> = Vec::new();
    for (at, standing) in standing.changes() {
        let mode = mode_of(standing);
        if modes.last().is_none_or(|(_, last)| *last != mode) {
            modes.push((*at, mode));
        }
    }
    let end = axis.start.after(axis.duration_ms);
    let ends = modes.iter().skip(1).map(|(at, _)| *at).chain([end]);
    let stretches = modes.iter().zip(ends).map(|((from, mode), to)| {
        let x = axis.x(*from);
        let width = (axis.x(to) - x).max(1);
        let severity = match mode {
            Some(TradingMode::Active) => 1,
            Some(TradingMode::ReduceOnly) => 2,
            Some(TradingMode::Kill) => 3,
            None => 4,
        };
        let mode = mode_word(*mode);
        let title = format!("{mode} from {} to {}", axis.word(*from), axis.word(to));
        Stretch { x, width, mode, title, has_room: width >= WORD_WIDTH_MIN, severity }
    });
    stretches.collect()
}

/// Returns the mode's word; "down" where no process is up.
pub(super) fn mode_word(mode: Option<TradingMode>) -> &'static str {
    mode.map_or("down", TradingMode::token)
}

/// A value over time, before it is drawn.
struct Series {
    name: &'static str,
    unit: &'static str,
    points: Vec<(TimeMs, Option<i64>)>,
    /// A limit and what it is.
    limit: Option<(i64, &'static str)>,
    /// How a value is written.
    word: fn(i64) -> String,
}

fn series(outcome: &Outcome) -> [Series; 3] {
    let course = &outcome.course;
    let whole = |value: i64| value.to_string();
    [
        Series {
            name: "exposure",
            unit: "coins",
            points: course.exposure.changes().iter().map(|(at, value)| (*at, Some(*value))).collect(),
            limit: None,
            word: coins,
        },
        Series {
            name: "queue depth",
            unit: "records",
            points: course.queue_depth.changes().to_vec(),
            limit: course.queue_capacity.map(|capacity| (capacity, "capacity")),
            word: whole,
        },
        Series {
            name: "data lag",
            unit: "ms",
            points: course.lag_ms.changes().to_vec(),
            limit: Some((outcome.config.kernel.ws_stale_threshold_ms, "stale above")),
            word: whole,
        },
    ]
}

impl Panel {
    fn of(y: i64, axis: &Axis, series: &Series) -> Self {
        let Series { name, unit, points, limit, word } = series;
        let highest = points.iter().filter_map(|(_, value)| *value).max().unwrap_or(0);
        // A limit far above all that happened would press the line flat: it is told, not drawn.
        let drawn = limit.filter(|(limit, _)| *limit <= highest.saturating_mul(4));
        let top = drawn.map_or(highest, |(limit, _)| limit.max(highest)).max(1);
        let height_of = |value: i64| y + PANEL - share(PANEL, value.clamp(0, top), top);
        let limit_words = |(limit, what): (i64, &str)| format!("{what} {}", word(limit));
        let told = limit.map_or_else(String::new, |limit| format!("; {}", limit_words(limit)));
        Self {
            y,
            name,
            unit,
            path: path(points, axis, &height_of),
            max: word(top),
            limit: drawn.map(|limit| (height_of(limit.0), limit_words(limit))),
            summary: format!("highest {} {unit}{told}", word(highest)),
        }
    }
}

/// Draws a line of steps; within one column only its lowest, highest and last value. Where there is no value, no line.
fn path(points: &[(TimeMs, Option<i64>)], axis: &Axis, height_of: &impl Fn(i64) -> i64) -> String {
    let mut path = String::new();
    let mut pen: Option<i64> = None;
    for column in points.chunk_by(|(one, _), (other, _)| axis.x(*one) == axis.x(*other)) {
        let Some(((at, _), (_, last))) = column.first().zip(column.last()) else {
            continue;
        };
        let x = axis.x(*at);
        let heights: Vec<i64> = column.iter().filter_map(|(_, value)| *value).map(height_of).collect();
        let last = last.map(height_of);
        let mut y = match (pen, heights.first()) {
            (Some(y), _) => {
                let _ = write!(path, "H{x}");
                y
            }
            (None, Some(first)) => {
                let _ = write!(path, "M{x} {first}");
                *first
            }
            (None, None) => continue,
        };
        for through in [heights.iter().min(), heights.iter().max(), last.as_ref()].into_iter().flatten() {
            if *through != y {
                let _ = write!(path, "V{through}");
                y = *through;
            }
        }
        pen = last;
    }
    if pen.is_some() {
        let _ = write!(path, "H{RIGHT}");
    }
    path
}

impl Lane {
    fn of(act: Act, y: i64, axis: &Axis, acts: &[(TimeMs, Act, u64)]) -> Self {
        let name = match act {
            Act::OpenSent => "OPEN sent",
            Act::OpenRefused => "OPEN refused",
            Act::ReducingSent => "reducing sent",
            Act::CancelSent => "cancel sent",
        };
        let own = || acts.iter().filter(|(_, of, _)| *of == act);
        let mut columns: Vec<i64> = own().map(|(at, _, _)| axis.x(*at)).collect();
        columns.dedup();
        let mut path = String::new();
        for x in columns {
            let _ = write!(path, "M{x} {}v{}", y + 4, LANE - 8);
        }
        Self { y, name, path, count: own().map(|(_, _, count)| count).sum() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXIS: Axis = Axis { start: TimeMs(1_000), duration_ms: 95_000 };

    #[test]
    fn ticks_are_round_and_not_many() {
        for (duration_ms, first, count) in
            [(95_000, "10 s", 10), (10_000, "1 s", 11), (1, "0.001 s", 2), (3_600_000, "500 s", 8)]
        {
            let ticks = Axis { duration_ms, ..AXIS }.ticks();
            assert_eq!(ticks.len(), count, "{duration_ms}: {ticks:?}");
            assert_eq!(ticks[1].1, first, "{duration_ms}");
            assert!(ticks.windows(2).all(|pair| pair[0].0 < pair[1].0), "{ticks:?}");
        }
        assert!(Axis { duration_ms: i64::MAX, ..AXIS }.ticks().len() <= 11);
    }

    #[test]
    fn no_marker_covers_another() {
        let moment = |ms: i64| Moment {
            letter: "a".to_owned(),
            kind: MomentKind::Snapshot,
            at: TimeMs(1_000 + ms),
            says: String::new(),
        };
        let (markers, rows) = markers([0, 1, 2, 40_000, 40_001, 94_000].map(moment).to_vec(), &AXIS);
        assert_eq!(rows, 3);
        for (place, one) in markers.iter().enumerate() {
            for other in markers.iter().skip(place + 1) {
                assert!(one.y != other.y || (one.x - other.x).abs() >= MARKER_WIDTH);
            }
        }
    }

    #[test]
    fn a_line_goes_through_its_values_and_stops_where_there_are_none() {
        let points = [(0, Some(0)), (9_500, Some(10)), (9_501, Some(5)), (47_500, None), (57_000, Some(1))];
        let points = points.map(|(ms, value)| (TimeMs(1_000 + ms), value));
        let drawn = path(&points, &AXIS, &|value| 100 - value);
        assert_eq!(drawn, "M128 100H213V90V95H556M641 99H984");
    }
}
