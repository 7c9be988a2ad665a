//! What a recording holds: counts by kind, holes in its books, and what can't be used, by line.
//!
//! Nothing in a recording is an error to a survey: a line that can't be read and a frame that can't be used are counted and
//! named, and cost only themselves. Channels and fields that nothing here reads are counted too, and stay in the feed.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use drillfold_kernel::units::Price;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    deribit::{self, Message},
    error::FrameProblem,
    recording::{RecordKind, read_line},
};

/// Largest frame that is read, in bytes, inclusive. A whole book of the venue has less than a tenth of it.
pub const FRAME_SIZE_BYTES_MAX: usize = 4 << 20;

/// Faults, gaps and names that are kept; behind them only their number is.
const KEPT_MAX: usize = 1_000;

/// Under which name the rest of many names is counted.
const OTHERS: &str = "(others)";

/// Fields of a channel's payload that the venue documents, by channel.
const KNOWN_FIELDS: [(&str, &[&str]); 3] = [
    ("book", &["type", "timestamp", "instrument_name", "change_id", "prev_change_id", "bids", "asks"]),
    (
        "trades",
        &[
            "amount",
            "block_rfq_id",
            "block_trade_id",
            "block_trade_leg_count",
            "combo_id",
            "combo_trade_id",
            "contracts",
            "direction",
            "index_price",
            "instrument_name",
            "iv",
            "liquidation",
            "mark_price",
            "price",
            "tick_direction",
            "timestamp",
            "trade_id",
            "trade_seq",
        ],
    ),
    (
        "ticker",
        &[
            "ask_iv",
            "best_ask_amount",
            "best_ask_price",
            "best_bid_amount",
            "best_bid_price",
            "bid_iv",
            "current_funding",
            "delivery_price",
            "estimated_delivery_price",
            "funding_8h",
            "greeks",
            "index_price",
            "instrument_name",
            "interest_rate",
            "interest_value",
            "last_price",
            "mark_iv",
            "mark_price",
            "max_price",
            "min_price",
            "open_interest",
            "settlement_price",
            "state",
            "stats",
            "timestamp",
            "underlying_index",
            "underlying_price",
        ],
    ),
];

/// What is wrong at a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// A book change that does not follow the state before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The line, from 1.
    pub line: usize,
    /// The instrument.
    pub instrument: String,
    /// The state that the book had; `None` where there was no snapshot.
    pub before: Option<u64>,
    /// The state that the change follows.
    pub follows: u64,
}

/// What a recording holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Lines.
    pub lines: u64,
    /// Connections made.
    pub connections: u64,
    /// Frames that the client sent.
    pub sent: u64,
    /// Frames received.
    pub received: u64,
    /// Whole books.
    pub snapshots: u64,
    /// Book changes.
    pub changes: u64,
    /// Tickers.
    pub tickers: u64,
    /// Public trades.
    pub trades: u64,
    /// Heartbeats.
    pub heartbeats: u64,
    /// Requests that were answered.
    pub answers: u64,
    /// Requests that were refused, by the venue's code.
    pub refusals: BTreeMap<i32, u64>,
    /// Frames on channels that nothing here reads, by channel.
    pub unknown_channels: BTreeMap<String, u64>,
    /// Fields that the venue does not document, by channel and name.
    pub unknown_fields: BTreeMap<String, u64>,
    /// Holes in books, the first thousand.
    pub gaps: Vec<Gap>,
    /// How many holes there are.
    pub gap_count: u64,
    /// What can't be read or used, the first thousand.
    pub faults: Vec<Fault>,
    /// How many there are.
    pub fault_count: u64,
    /// Instruments with market data.
    pub instruments: BTreeSet<String>,
    /// The first index price of each underlying, where tickers have one.
    pub indices: BTreeMap<String, Price>,
    /// Time of the first line that has one, in microseconds since the epoch.
    pub first_us: Option<i64>,
    /// Time of the last.
    pub last_us: Option<i64>,
    /// Longest time between two frames received, in microseconds.
    pub longest_pause_us: i64,
}

/// A recording, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// What it holds.
    pub survey: Survey,
    /// Its lines as they stand, but for those that can't be read: a feed for a scenario.
    pub feed: String,
}

/// Reads a recording.
#[must_use]
pub fn survey(bytes: &[u8]) -> Surveyed {
    let mut surveyor = Surveyor::default();
    let mut feed = String::with_capacity(bytes.len());
    // What stands behind the last line break is no line.
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    for (number, line) in (1..).zip(body.split(|byte| *byte == b'\n')) {
        let Ok(text) = std::str::from_utf8(line) else {
            surveyor.survey.lines += 1;
            surveyor.fault(number, "is not UTF-8 text".to_owned());
            continue;
        };
        surveyor.survey.lines += 1;
        let text = text.trim_end_matches('\r');
        match read_line(text) {
            Err(problem) => surveyor.fault(number, problem.to_string()),
            Ok(None) if text.is_empty() => {}
            Ok(None) => keep(&mut feed, text),
            Ok(Some((at_us, kind))) => {
                if surveyor.record(number, at_us, &kind) {
                    keep(&mut feed, text);
                }
            }
        }
    }
    Surveyed { survey: surveyor.survey, feed }
}

fn keep(feed: &mut String, line: &str) {
    feed.push_str(line);
    feed.push('\n');
}

#[derive(Default)]
struct Surveyor {
    survey: Survey,
    /// The state of each book.
    books: BTreeMap<String, u64>,
    received_us: Option<i64>,
}

impl Surveyor {
    /// Counts a record. False where it can't stay in the feed.
    fn record(&mut self, line: usize, at_us: i64, kind: &RecordKind<'_>) -> bool {
        let survey = &mut self.survey;
        // Times never run backwards; see `recording`.
        let at_us = at_us.max(survey.last_us.unwrap_or(0));
        survey.first_us.get_or_insert(at_us);
        survey.last_us = Some(at_us);
        match kind {
            RecordKind::Connected { .. } => survey.connections += 1,
            RecordKind::Sent { .. } => survey.sent += 1,
            RecordKind::Received { frame } => {
                survey.received += 1;
                let pause_us = self.received_us.map_or(0, |before| at_us.saturating_sub(before));
                survey.longest_pause_us = survey.longest_pause_us.max(pause_us);
                self.received_us = Some(at_us);
                if frame.len() > FRAME_SIZE_BYTES_MAX {
                    let what = format!("has a frame of {} bytes, more than {FRAME_SIZE_BYTES_MAX}", frame.len());
                    self.fault(line, what);
                    return false;
                }
                self.frame(line, frame);
            }
        }
        true
    }

    fn frame(&mut self, line: usize, frame: &str) {
        match deribit::parse(frame) {
            Ok(messages) => {
                for message in messages {
                    self.message(line, message);
                }
                self.unknown_fields(frame);
            }
            Err(unusable) => match unusable.problem {
                FrameProblem::UnknownChannel(channel) => count(&mut self.survey.unknown_channels, channel),
                problem => self.fault(line, format!("has a frame that can't be used: {problem}")),
            },
        }
    }

    fn message(&mut self, line: usize, message: Message) {
        if let Some(instrument) = message.instrument() {
            if instrument.is_empty() || instrument.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return self
                    .fault(line, format!("has a frame that can't be used: {instrument:?} can't name an instrument"));
            }
            if !self.survey.instruments.contains(instrument) {
                self.survey.instruments.insert(instrument.to_owned());
            }
        }
        match message {
            Message::Snapshot { instrument, change_id, .. } => {
                self.survey.snapshots += 1;
                self.books.insert(instrument, change_id);
            }
            Message::Changed { instrument, prev_change_id, change_id, .. } => {
                self.survey.changes += 1;
                let before = self.books.insert(instrument.clone(), change_id);
                if before != Some(prev_change_id) {
                    self.survey.gap_count += 1;
                    if self.survey.gaps.len() < KEPT_MAX {
                        self.survey.gaps.push(Gap { line, instrument, before, follows: prev_change_id });
                    }
                }
            }
            Message::Traded { trades, .. } => {
                self.survey.trades += u64::try_from(trades.len()).unwrap_or(u64::MAX);
            }
            Message::Ticked { instrument, index, .. } => {
                self.survey.tickers += 1;
                if let Some(index) = index {
                    let underlying = instrument.split('-').next().unwrap_or_default().to_owned();
                    self.survey.indices.entry(underlying).or_insert(index);
                }
            }
            Message::Heartbeat { .. } => self.survey.heartbeats += 1,
            Message::Answered => self.survey.answers += 1,
            Message::Refused { code } => *self.survey.refusals.entry(code).or_default() += 1,
        }
    }

    /// Counts the fields of a usable frame that the venue does not document.
    fn unknown_fields(&mut self, frame: &str) {
        let Ok(Notification { params: Some(Params { channel, data }) }) = serde_json::from_str(frame) else {
            return;
        };
        let kind = channel.split('.').next().unwrap_or_default();
        let Some((_, known)) = KNOWN_FIELDS.iter().find(|(of, _)| *of == kind) else {
            return;
        };
        let one: Result<Fields<'_>, _> = serde_json::from_str(data.get());
        let payloads: Vec<Fields<'_>> = match one {
            Ok(fields) => vec![fields],
            Err(_) => serde_json::from_str(data.get()).unwrap_or_default(),
        };
        for name in payloads.iter().flat_map(BTreeMap::keys).filter(|name| !known.contains(&name.as_ref())) {
            count(&mut self.survey.unknown_fields, format!("{kind}.{name}"));
        }
    }

    fn fault(&mut self, line: usize, what: String) {
        self.survey.fault_count += 1;
        if self.survey.faults.len() < KEPT_MAX {
            self.survey.faults.push(Fault { line, what });
        }
    }
}

/// Names of an object's fields.
type Fields<'a> = BTreeMap<Cow<'a, str>, IgnoredAny>;

#[derive(Deserialize)]
struct Notification<'a> {
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Counts a name; of many names those that come late are counted together.
fn count(counts: &mut BTreeMap<String, u64>, name: String) {
    let name = if counts.len() < KEPT_MAX || counts.contains_key(&name) { name } else { OTHERS.to_owned() };
    *counts.entry(name).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAPTURE: &[u8] = include_bytes!("../../scenarios/feeds/deribit-2021-04-05.txt");

    #[test]
    fn the_capture_is_sound() {
        let Surveyed { survey, feed } = survey(CAPTURE);
        assert_eq!((survey.snapshots + survey.changes, survey.tickers), (187, 273));
        assert_eq!((survey.snapshots, survey.gap_count, survey.fault_count), (10, 0, 0));
        assert_eq!((survey.instruments.len(), survey.connections, survey.sent, survey.answers), (10, 1, 1, 1));
        assert!(survey.unknown_channels.is_empty() && survey.unknown_fields.is_empty(), "{survey:?}");
        assert!(survey.longest_pause_us > 3_000_000, "{}", survey.longest_pause_us);
        assert!(feed.strip_suffix('\n').is_some_and(|feed| feed.as_bytes() == CAPTURE));
        assert_eq!(survey.indices.keys().collect::<Vec<_>>(), ["BTC", "ETH"]);
    }

    #[test]
    fn what_can_not_be_used_is_named_by_line_and_costs_nothing_else() {
        let capture = std::str::from_utf8(CAPTURE).unwrap();
        let sound = super::survey(CAPTURE).survey;
        let huge = format!("1617653000.1: {{\"a\": \"{}\"}}", "x".repeat(FRAME_SIZE_BYTES_MAX));
        let bad = [
            ("1617653000.1: {broken", "has a frame that can't be used: not a message"),
            ("what?", "is of no known form"),
            ("yesterday: {}", "has the time `yesterday`"),
            (huge.as_str(), "has a frame of 4194"),
            (
                r#"1617653000.1: {"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.X.raw","data":
                {"instrument_name":"X","mark_price":1e400}}}"#,
                "`mark_price` = 1e400",
            ),
            (
                r#"1617653000.1: {"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.X.raw","data":
                {"instrument_name":"X","change_id":"7","bids":[],"asks":[]}}}"#,
                "payload has another shape",
            ),
        ];
        for (line, expected) in bad {
            let line = line.replace("\n", " ");
            let mut lines: Vec<&str> = capture.lines().collect();
            lines.insert(40, &line);
            let found = super::survey(lines.join("\n").as_bytes()).survey;
            assert_eq!(found.fault_count, 1, "{expected}");
            assert_eq!(found.faults[0].line, 41, "{expected}");
            assert!(found.faults[0].what.contains(expected), "{}", found.faults[0].what);
            let counts = |survey: &Survey| (survey.snapshots, survey.changes, survey.tickers, survey.gap_count);
            assert_eq!(counts(&found), counts(&sound), "{expected}");
        }
        let mut bytes = CAPTURE.to_vec();
        bytes.extend(b"\n1617653200: \xff\n");
        let found = super::survey(&bytes);
        assert_eq!(found.survey.fault_count, 1);
        assert!(found.feed.strip_suffix('\n').is_some_and(|feed| feed.as_bytes() == CAPTURE));
    }

    #[test]
    fn what_is_unknown_is_counted_and_kept() {
        let text = concat!(
            r#"1: {"method":"subscription","params":{"channel":"deribit_price_index.btc_usd","data":{"price":1}}}"#,
            "\n",
            r#"2: {"method":"subscription","params":{"channel":"ticker.X.raw","data":{"instrument_name":"X","mood":1}}}"#,
            "\n",
            r#"3: {"id":7,"error":{"code":10028,"message":"too_many_requests"}}"#,
            "\n",
        );
        let Surveyed { survey, feed } = survey(text.as_bytes());
        assert_eq!(survey.unknown_channels.get("deribit_price_index.btc_usd"), Some(&1));
        assert_eq!(survey.unknown_fields.get("ticker.mood"), Some(&1));
        assert_eq!(survey.refusals.get(&10028), Some(&1));
        assert_eq!((survey.fault_count, survey.tickers, feed.as_str()), (0, 1, text));
    }

    #[test]
    fn each_change_that_is_cut_out_leaves_one_gap() {
        let capture = std::str::from_utf8(CAPTURE).unwrap();
        let lines: Vec<&str> = capture.lines().collect();
        let change_of = |line: &str| {
            let frame = line.split_once(": ").map(|(_, frame)| frame)?;
            deribit::parse(frame).ok()?.into_iter().find_map(|message| match message {
                Message::Changed { instrument, .. } => Some(instrument),
                _ => None,
            })
        };
        let changes: Vec<(usize, String)> =
            lines.iter().enumerate().filter_map(|(place, line)| Some((place, change_of(line)?))).collect();
        assert_eq!(changes.len(), 177);
        for (cut, instrument) in &changes {
            let next = changes.iter().find(|(place, of)| place > cut && of == instrument);
            let without: Vec<&str> =
                lines.iter().enumerate().filter(|(place, _)| place != cut).map(|(_, line)| *line).collect();
            let found = super::survey(without.join("\n").as_bytes()).survey;
            // Without the line cut out, one line less stands above the next change.
            let gaps: Vec<(usize, &String)> = found.gaps.iter().map(|gap| (gap.line, &gap.instrument)).collect();
            let expected: Vec<(usize, &String)> = next.iter().map(|(place, of)| (*place, of)).collect();
            assert_eq!(gaps, expected);
        }
    }

    proptest! {
        #[test]
        fn prop_any_bytes_are_surveyed(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let Surveyed { survey, feed } = survey(&bytes);
            // What stays can be read again, and holds the same.
            let again = super::survey(feed.as_bytes());
            prop_assert_eq!(again.survey.received, survey.received);
            prop_assert_eq!(again.feed, feed);
        }

        #[test]
        fn prop_a_damaged_capture_is_surveyed(at in 0..CAPTURE.len(), byte in any::<u8>()) {
            let mut bytes = CAPTURE.to_vec();
            bytes[at] = byte;
            let Surveyed { survey, .. } = survey(&bytes);
            prop_assert!(survey.received >= 455, "{}", survey.received);
        }
    }
}
