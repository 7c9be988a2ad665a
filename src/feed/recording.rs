//! The line format of recorded feeds.
//!
//! | line | meaning |
//! |---|---|
//! | `configuration: {...}` | what the recorder was told; skipped |
//! | `URL <-> TIME` | a connection was made |
//! | `URL <- TIME: JSON` | sent by the client |
//! | `URL -> TIME: JSON` | answered over REST; skipped |
//! | `TIME: JSON` | received |
//! | `{"time": TIME, "frame": JSON}` | received; TIME may be a text, the frame a text that has JSON in it |
//!
//! TIME is in seconds since the epoch; digits below a microsecond are dropped. Times never run backwards: one that is
//! earlier than the one before it counts as that one, so the order of the lines is the order of the records.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    feed::error::{LineProblem, RecordingError},
    text::decimal::{self, Rounding},
};

/// Digits after the point of a time: it is kept in microseconds.
const MICRO_DIGITS: u32 = 6;

/// One line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Line of the file, from 1.
    pub line: usize,
    /// When, in microseconds since the epoch; never below that of the record before.
    pub at_us: i64,
    /// What.
    pub kind: RecordKind<'a>,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKind<'a> {
    /// A connection was made.
    Connected {
        /// To where.
        url: &'a str,
    },
    /// The client sent a frame.
    Sent {
        /// The frame.
        frame: &'a str,
    },
    /// A frame was received.
    Received {
        /// The frame.
        frame: Cow<'a, str>,
    },
}

/// Reads a recording; `file` is its name, for messages.
///
/// # Errors
/// The first line of no known form, or with an unreadable time.
pub fn records<'a>(file: &str, text: &'a str) -> Result<Vec<Record<'a>>, RecordingError> {
    lines(text)
        .filter_map(|(line, read)| match read {
            Ok(record) => record.map(Ok),
            Err(problem) => Some(Err(RecordingError::Line { file: file.to_owned(), line, problem })),
        })
        .collect()
}

/// Reads a recording line by line: the line's number from 1, and what it says, nothing where it is one of those that are
/// skipped. A line that can't be read costs only itself.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, Result<Option<Record<'_>>, LineProblem>)> {
    let mut before_us = 0;
    (1..).zip(text.lines()).map(move |(number, line)| {
        let read = read_line(line).map(|found| {
            found.map(|(at_us, kind)| {
                before_us = at_us.max(before_us);
                Record { line: number, at_us: before_us, kind }
            })
        });
        (number, read)
    })
}

/// Reads one line by itself: its time in microseconds, and what it says; nothing where it is one of those that are skipped.
pub(super) fn read_line(line: &str) -> Result<Option<(i64, RecordKind<'_>)>, LineProblem> {
    let line = line.trim();
    if line.is_empty() || line.starts_with("configuration:") {
        return Ok(None);
    }
    if line.starts_with('{') {
        return json_line(line).map(Some);
    }
    let (time, kind) = if let Some((url, time)) = line.split_once(" <-> ") {
        (time, RecordKind::Connected { url })
    } else if is_url(line) {
        let (_, rest) = line.split_once(" <- ").or_else(|| line.split_once(" -> ")).ok_or(LineProblem::Form)?;
        let (time, frame) = rest.split_once(": ").ok_or(LineProblem::Form)?;
        // An answer over REST comes from another connection than the feed.
        let sent = line.split_once(' ').is_some_and(|(_, rest)| rest.starts_with("<- "));
        if !sent {
            return Ok(None);
        }
        (time, RecordKind::Sent { frame })
    } else {
        let (time, frame) = line.split_once(": ").ok_or(LineProblem::Form)?;
        (time, RecordKind::Received { frame: Cow::Borrowed(frame) })
    };
    Ok(Some((microseconds(time)?, kind)))
}

#[derive(Deserialize)]
struct JsonLine<'a> {
    #[serde(borrow)]
    time: &'a RawValue,
    #[serde(borrow)]
    frame: &'a RawValue,
}

fn json_line(line: &str) -> Result<(i64, RecordKind<'_>), LineProblem> {
    let JsonLine { time, frame } =
        serde_json::from_str(line).map_err(|error| LineProblem::Json { reason: error.to_string() })?;
    let at_us = microseconds(time.get().trim_matches('"'))?;
    let frame = if frame.get().starts_with('"') {
        Cow::Owned(serde_json::from_str(frame.get()).map_err(|error| LineProblem::Json { reason: error.to_string() })?)
    } else {
        Cow::Borrowed(frame.get())
    };
    Ok((at_us, RecordKind::Received { frame }))
}

fn microseconds(time: &str) -> Result<i64, LineProblem> {
    decimal::parse_rounded(time.trim(), MICRO_DIGITS, Rounding::Down)
        .ok()
        .filter(|at_us| *at_us >= 0)
        .ok_or_else(|| LineProblem::Time { text: time.chars().take(40).collect() })
}

/// Tells whether a line begins with an address and not with a time.
fn is_url(line: &str) -> bool {
    line.split(' ').next().is_some_and(|word| word.contains("://"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_become_records_in_order() {
        let text = "configuration: {\"a\": 1}\r\nwss://x/ws <-> 10.5\r\n\nwss://x/ws <- 11.0000019: {\"id\":0}\n\
                    12: {\"a\": \"b: c\"}\nhttps://x/api -> 12.5: {}\n11.9: {}\n";
        assert_eq!(
            records("f", text).unwrap(),
            [
                Record { line: 2, at_us: 10_500_000, kind: RecordKind::Connected { url: "wss://x/ws" } },
                Record { line: 4, at_us: 11_000_001, kind: RecordKind::Sent { frame: "{\"id\":0}" } },
                Record { line: 5, at_us: 12_000_000, kind: RecordKind::Received { frame: "{\"a\": \"b: c\"}".into() } },
                Record { line: 7, at_us: 12_000_000, kind: RecordKind::Received { frame: "{}".into() } },
            ]
        );
    }

    #[test]
    fn json_lines_are_records_too() {
        let text =
            "{\"time\": 10.5, \"frame\": {\"a\": [1.50]}}\n{\"frame\":\"{\\\"b\\\":2}\",\"time\":\"11\",\"more\":0}\n";
        let frames: Vec<(i64, String)> = records("f", text)
            .unwrap()
            .into_iter()
            .map(|record| match record.kind {
                RecordKind::Received { frame } => (record.at_us, frame.into_owned()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(frames, [(10_500_000, "{\"a\": [1.50]}".to_owned()), (11_000_000, "{\"b\":2}".to_owned())]);
    }

    #[test]
    fn a_line_that_can_not_be_read_costs_only_itself() {
        let text = "10: {}\n?\n{\"time\": 1}\nsoon: {}\n11: {}\n";
        let read: Vec<(usize, bool)> = lines(text).map(|(line, read)| (line, read.is_ok())).collect();
        assert_eq!(read, [(1, true), (2, false), (3, false), (4, false), (5, true)]);
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, expected) in [
            ("\nnonsense", "line 2 of f is of no known form, expected `TIME: JSON` or `URL <- TIME: JSON`"),
            ("wss://x 1: {}", "line 1 of f is of no known form, expected `TIME: JSON` or `URL <- TIME: JSON`"),
            ("now: {}", "line 1 of f has the time `now`, expected seconds since the epoch"),
            ("-1: {}", "line 1 of f has the time `-1`, expected seconds since the epoch"),
            ("1e300: {}", "line 1 of f has the time `1e300`, expected seconds since the epoch"),
            ("wss://x <-> ", "line 1 of f is of no known form, expected `TIME: JSON` or `URL <- TIME: JSON`"),
        ] {
            assert_eq!(records("f", text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn prop_any_text_is_answered(text in "([a-z0-9.:/<> -]{0,12}|\\PC{0,8}|\n){0,12}") {
            if let Ok(records) = records("f", &text) {
                prop_assert!(records.is_sorted_by_key(|record| (record.at_us, record.line)));
            }
        }
    }
}
