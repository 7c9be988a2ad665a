//! The line format of recorded feeds.
//!
//! | line | meaning |
//! |---|---|
//! | `configuration: {...}` | what the recorder was told; skipped |
//! | `URL <-> TIME` | a connection was made |
//! | `URL <- TIME: JSON` | sent by the client |
//! | `URL -> TIME: JSON` | answered over REST; skipped |
//! | `TIME: JSON` | received |
//!
//! TIME is in seconds since the epoch; digits below a microsecond are dropped. Times never run backwards: one that is
//! earlier than the one before it counts as that one, so the order of the lines is the order of the records.

use crate::{
    feed::error::RecordingError,
    text::decimal::{self, Rounding},
};

/// Digits after the point of a time: it is kept in microseconds.
const MICRO_DIGITS: u32 = 6;

/// One line that says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Line of the file, from 1.
    pub line: usize,
    /// When, in microseconds since the epoch; never below that of the record before.
    pub at_us: i64,
    /// What.
    pub kind: RecordKind<'a>,
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        frame: &'a str,
    },
}

/// Reads a recording; `file` is its name, for messages.
///
/// # Errors
/// The first line of no known form, or with an unreadable time.
pub fn records<'a>(file: &str, text: &'a str) -> Result<Vec<Record<'a>>, RecordingError> {
    let mut records: Vec<Record<'a>> = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let number = place.saturating_add(1);
        let line = line.trim();
        if line.is_empty() || line.starts_with("configuration:") {
            continue;
        }
        let form = || RecordingError::Form { file: file.to_owned(), line: number };
        let (time, kind) = if let Some((url, time)) = line.split_once(" <-> ") {
            (time, RecordKind::Connected { url })
        } else if is_url(line) {
            let (_, rest) = line.split_once(" <- ").or_else(|| line.split_once(" -> ")).ok_or_else(form)?;
            let (time, frame) = rest.split_once(": ").ok_or_else(form)?;
            // An answer over REST comes from another connection than the feed.
            let sent = line.split_once(' ').is_some_and(|(_, rest)| rest.starts_with("<- "));
            if !sent {
                continue;
            }
            (time, RecordKind::Sent { frame })
        } else {
            let (time, frame) = line.split_once(": ").ok_or_else(form)?;
            (time, RecordKind::Received { frame })
        };
        let at_us = decimal::parse_rounded(time.trim(), MICRO_DIGITS, Rounding::Down)
            .ok()
            .filter(|at_us| *at_us >= 0)
            .ok_or_else(|| RecordingError::Time {
                file: file.to_owned(),
                line: number,
                text: time.chars().take(40).collect(),
            })?;
        let before = records.last().map_or(0, |record| record.at_us);
        records.push(Record { line: number, at_us: at_us.max(before), kind });
    }
    Ok(records)
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
                Record { line: 5, at_us: 12_000_000, kind: RecordKind::Received { frame: "{\"a\": \"b: c\"}" } },
                Record { line: 7, at_us: 12_000_000, kind: RecordKind::Received { frame: "{}" } },
            ]
        );
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
