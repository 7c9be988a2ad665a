//! Properties of the parser over frames that a venue really sent, changed in any way.
//!
//! A frame is taken apart into its own texts, so that a number is never read by anything but what is under test, and by
//! [`nano`] beside it.

use std::{collections::BTreeMap, sync::LazyLock};

use drillfold_kernel::{
    event::{Event, Level, Socket},
    units::{Price, Qty},
};
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::{
    Instruments,
    deribit::{Message, parse},
    error::{FrameProblem, NumberProblem},
    inputs::instrument_names,
    recording::{RecordKind, lines, records},
    survey::survey,
};
use crate::text::decimal::DecimalError;

const CAPTURE: &str = include_str!("../../scenarios/feeds/deribit-2021-04-05.txt");

/// What the capture has none of.
const OTHERS: [&str; 5] = [
    r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.BTC-PERPETUAL.raw","data":[
        {"trade_seq":30289432,"trade_id":"48079254","timestamp":1590484255886,"tick_direction":0,"price":8954.5,
         "mark_price":8948.9,"instrument_name":"BTC-PERPETUAL","index_price":8955.88,"direction":"sell","amount":20.0},
        {"trade_seq":30289433,"trade_id":"ETH-48079255","price":8954,"instrument_name":"BTC-PERPETUAL","direction":"buy","amount":3e1}]}}"#,
    r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.none.10.100ms","data":
        {"timestamp":1,"instrument_name":"BTC-PERPETUAL","change_id":7,"bids":[[60000.5,10.0]],"asks":[]}}}"#,
    r#"{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}"#,
    r#"{"jsonrpc":"2.0","id":7,"error":{"code":10028,"message":"too_many_requests"}}"#,
    r#"{"jsonrpc":"2.0","id":0,"result":["a"],"usIn":1,"usOut":2}"#,
];

static FRAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let received = records("capture", CAPTURE).unwrap().into_iter().filter_map(|record| match record.kind {
        RecordKind::Received { frame } => Some(frame.into_owned()),
        RecordKind::Connected { .. } | RecordKind::Sent { .. } => None,
    });
    received.chain(OTHERS.map(str::to_owned)).collect()
});

/// A frame taken apart; a leaf is its own text.
#[derive(Clone, Debug, PartialEq)]
enum Json {
    Leaf(String),
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

impl Json {
    fn read(raw: &RawValue) -> Self {
        let text = raw.get();
        match text.chars().next() {
            Some('{') => {
                let parts: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap();
                Self::Map(parts.into_iter().map(|(key, part)| (key, Self::read(part))).collect())
            }
            Some('[') => {
                let parts: Vec<&RawValue> = serde_json::from_str(text).unwrap();
                Self::List(parts.into_iter().map(Self::read).collect())
            }
            _ => Self::Leaf(text.to_owned()),
        }
    }

    fn of(frame: &str) -> Self {
        Self::read(serde_json::from_str(frame).unwrap())
    }

    fn at(&self, path: &[&str]) -> Option<&Self> {
        let [first, rest @ ..] = path else { return Some(self) };
        let Self::Map(parts) = self else { return None };
        parts.iter().find(|(key, _)| key == first)?.1.at(rest)
    }

    fn list(&self) -> &[Self] {
        let Self::List(parts) = self else { panic!("{self:?} is no list") };
        parts
    }

    fn leaf(&self) -> &str {
        let Self::Leaf(text) = self else { panic!("{self:?} is no leaf") };
        text
    }

    /// Writes it with spaces and an order of keys of the style's choice.
    fn write(&self, style: &mut Style, out: &mut String) {
        style.space(out);
        match self {
            Self::Leaf(text) => out.push_str(text),
            Self::List(parts) => {
                out.push('[');
                for (place, part) in parts.iter().enumerate() {
                    out.push_str(if place > 0 { "," } else { "" });
                    part.write(style, out);
                }
                out.push(']');
            }
            Self::Map(parts) => {
                let mut parts: Vec<&(String, Self)> = parts.iter().collect();
                if style.shuffle {
                    for last in (1..parts.len()).rev() {
                        let other = style.next(last + 1);
                        parts.swap(last, other);
                    }
                }
                out.push('{');
                for (place, (key, part)) in parts.into_iter().enumerate() {
                    out.push_str(if place > 0 { "," } else { "" });
                    style.space(out);
                    style.text(key, out);
                    style.space(out);
                    out.push(':');
                    part.write(style, out);
                }
                out.push('}');
            }
        }
        style.space(out);
    }

    fn written(&self, seed: u64, shuffle: bool) -> String {
        let mut out = String::new();
        self.write(&mut Style { seed, shuffle }, &mut out);
        out
    }

    /// Counts its parts, itself among them.
    fn size(&self) -> usize {
        1 + match self {
            Self::Leaf(_) => 0,
            Self::List(parts) => parts.iter().map(Self::size).sum(),
            Self::Map(parts) => parts.iter().map(|(_, part)| part.size()).sum(),
        }
    }

    /// Changes the part of this number, counted from 0; the number that is left where it has none.
    fn change(&mut self, number: usize, change: &Change) -> Result<(), usize> {
        let Some(mut number) = number.checked_sub(1) else {
            change.apply(self);
            return Ok(());
        };
        let parts: Box<dyn Iterator<Item = &mut Self>> = match self {
            Self::Leaf(_) => return Err(number),
            Self::List(parts) => Box::new(parts.iter_mut()),
            Self::Map(parts) => Box::new(parts.iter_mut().map(|(_, part)| part)),
        };
        for part in parts {
            match part.change(number, change) {
                Ok(()) => return Ok(()),
                Err(left) => number = left,
            }
        }
        Err(number)
    }
}

/// How a frame is written: a small generator of its own, so that one number says all of it.
struct Style {
    seed: u64,
    shuffle: bool,
}

impl Style {
    fn next(&mut self, below: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.seed >> 33).unwrap() % below
    }

    fn space(&mut self, out: &mut String) {
        out.push_str(["", "", "", " ", "\n", "\t \r\n"][self.next(6)]);
    }

    /// Writes a key, at times with a letter as its number.
    fn text(&mut self, text: &str, out: &mut String) {
        let escaped = self.next(8) == 0;
        out.push('"');
        for (place, letter) in text.chars().enumerate() {
            if escaped && place == 0 {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            } else {
                out.push(letter);
            }
        }
        out.push('"');
    }
}

/// One change of a part.
#[derive(Clone, Debug)]
enum Change {
    /// Another value in its place.
    Put(String),
    /// Its last part is gone, or it is where it has none.
    Cut,
    /// Its last part stands twice.
    Double,
    /// A list has the part as its only one.
    Wrap,
}

impl Change {
    fn apply(&self, part: &mut Json) {
        match (self, &mut *part) {
            (Self::Put(text), _) => *part = Json::Leaf(text.clone()),
            (Self::Wrap, _) => *part = Json::List(vec![part.clone()]),
            (Self::Cut, Json::List(parts)) => drop(parts.pop()),
            (Self::Cut, Json::Map(parts)) => drop(parts.pop()),
            (Self::Cut, Json::Leaf(text)) => text.clear(),
            (Self::Double, Json::List(parts)) => parts.extend(parts.last().cloned()),
            (Self::Double, Json::Map(parts)) => parts.extend(parts.last().cloned()),
            (Self::Double, Json::Leaf(text)) => *text = format!("{text}{text}"),
        }
    }
}

/// A number in one of the forms that JSON has.
#[derive(Clone, Debug)]
struct Written {
    negative: bool,
    whole: u64,
    fraction: String,
    exponent: Option<i32>,
}

impl Written {
    fn text(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let point = if self.fraction.is_empty() { "" } else { "." };
        let exponent = self.exponent.map_or_else(String::new, |exponent| format!("e{exponent}"));
        format!("{sign}{}{point}{}{exponent}", self.whole, self.fraction)
    }
}

/// What a number is in units of 1e-9: counted, where the parser under test works on digits.
fn nano(text: &str) -> Result<i128, NumberProblem> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().unwrap();
    if digits == 0 {
        return Ok(0);
    }
    let shift = exponent.parse::<i64>().unwrap() - i64::try_from(fraction.len()).unwrap() + 9;
    let (too_large, too_fine) = (DecimalError::TooLarge, DecimalError::TooFine { digits: 9 });
    let scale = |power: i64| (0..power).try_fold(1_i128, |scale, _| scale.checked_mul(10));
    if shift >= 0 {
        let value = scale(shift).and_then(|scale| digits.checked_mul(scale));
        return value.filter(|value| i64::try_from(*value).is_ok()).ok_or_else(|| too_large.into());
    }
    let Some(scale) = scale(-shift) else { return Err(too_fine.into()) };
    if digits % scale != 0 {
        return Err(too_fine.into());
    }
    Some(digits / scale).filter(|value| i64::try_from(*value).is_ok()).ok_or_else(|| too_large.into())
}

/// What a price that must be there is.
fn price(text: &str) -> Result<Price, NumberProblem> {
    match nano(text)? {
        value if value <= 0 => Err(NumberProblem::NotPositive),
        value => Ok(Price(i64::try_from(value).unwrap())),
    }
}

/// Tells whether what a frame says can stand: prices above zero, amounts not below it.
fn is_sound(message: &Message) -> bool {
    let levels = |levels: &[Level]| levels.iter().all(|level| level.price.0 > 0 && level.qty.0 >= 0);
    match message {
        Message::Snapshot { bids, asks, .. } | Message::Changed { bids, asks, .. } => levels(bids) && levels(asks),
        Message::Traded { trades, .. } => {
            !trades.is_empty() && trades.iter().all(|trade| trade.price.0 > 0 && trade.qty.0 >= 0)
        }
        Message::Ticked { best_bid, best_ask, mark, index, last, .. } => {
            [best_bid, best_ask, mark, index, last].into_iter().flatten().all(|price| price.0 > 0)
        }
        Message::Heartbeat { .. } | Message::Answered | Message::Refused { .. } => true,
    }
}

fn frame() -> impl Strategy<Value = &'static str> {
    (0..FRAMES.len()).prop_map(|place| FRAMES[place].as_str())
}

fn written() -> impl Strategy<Value = Written> {
    let whole = prop_oneof![0_u64..10, 0_u64..100_000, 0..=u64::MAX / 4];
    let exponent = proptest::option::of(prop_oneof![-12..12_i32, -400..400_i32]);
    (any::<bool>(), whole, "[0-9]{0,12}", exponent).prop_map(|(negative, whole, fraction, exponent)| Written {
        negative,
        whole,
        fraction,
        exponent,
    })
}

fn change() -> impl Strategy<Value = Change> {
    let odd = proptest::sample::select(vec![
        "null",
        "true",
        "\"\"",
        "\"9\"",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "[]",
        "{}",
        "[[[[]]]]",
        "-0",
        "0",
        "0.0",
        "-1",
        "1e400",
        "1e-400",
        "1E+5",
        "01",
        "1.",
        ".5",
        "NaN",
        "Infinity",
        "9223372036.854775807",
        "9223372036.854775808",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "\"subscription\"",
        "\"snapshot\"",
        "\"ticker.X.raw\"",
        "\"delete\"",
        "",
    ]);
    prop_oneof![
        4 => odd.prop_map(|text| Change::Put(text.to_owned())),
        4 => written().prop_map(|number| Change::Put(number.text())),
        1 => "\\PC{0,8}".prop_map(Change::Put),
        1 => Just(Change::Cut),
        1 => Just(Change::Double),
        1 => Just(Change::Wrap),
    ]
}

#[test]
fn every_price_and_amount_of_the_capture_is_its_decimal_text() {
    let mut compared = 0;
    for frame in FRAMES.iter() {
        let json = Json::of(frame);
        let Some(data) = json.at(&["params", "data"]) else { continue };
        let parsed = parse(frame).unwrap();
        let side = |key: &str| -> Vec<Level> {
            let levels = data.at(&[key]).unwrap().list();
            let level = |level: &Json| {
                let [.., price_text, amount] = level.list() else { panic!("{level:?}") };
                Level {
                    price: price(price_text.leaf()).unwrap(),
                    qty: Qty(i64::try_from(nano(amount.leaf()).unwrap()).unwrap()),
                }
            };
            levels.iter().map(level).collect()
        };
        let of =
            |key: &str| data.at(&[key]).filter(|part| part.leaf() != "null").and_then(|part| price(part.leaf()).ok());
        match parsed.as_slice() {
            [Message::Snapshot { bids, asks, .. } | Message::Changed { bids, asks, .. }] => {
                assert_eq!((bids, asks), (&side("bids"), &side("asks")), "{frame}");
                compared += bids.len() + asks.len();
            }
            [Message::Ticked { best_bid, best_ask, index, .. }] => {
                let expected = (&of("best_bid_price"), &of("best_ask_price"), &of("index_price"));
                assert_eq!((best_bid, best_ask, index), expected, "{frame}");
                compared += 3;
            }
            [Message::Traded { trades, .. }] => {
                let expected = data.list().iter().map(|of| price(of.at(&["price"]).unwrap().leaf()).unwrap());
                assert!(trades.iter().map(|trade| trade.price).eq(expected), "{frame}");
                compared += trades.len();
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(compared > 1_000, "{compared}");
}

#[test]
fn a_number_is_counted_as_it_is_written() {
    for (text, expected) in [
        ("0.000000001", Ok(Price(1))),
        ("58865.39", Ok(Price(58_865_390_000_000))),
        ("5.886539e4", Ok(Price(58_865_390_000_000))),
        ("9223372036.854775807", Ok(Price(i64::MAX))),
        ("9223372036.854775808", Err(NumberProblem::Decimal(DecimalError::TooLarge))),
        ("1e-10", Err(NumberProblem::Decimal(DecimalError::TooFine { digits: 9 }))),
        ("-1", Err(NumberProblem::NotPositive)),
        ("0e9", Err(NumberProblem::NotPositive)),
    ] {
        assert_eq!(price(text), expected, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn prop_spaces_and_the_order_of_keys_say_nothing(frame in frame(), seed: u64) {
        let same = Json::of(frame).written(seed, true);
        prop_assert_eq!(parse(frame).unwrap(), parse(&same).unwrap(), "{}", same);
    }

    #[test]
    fn prop_a_price_is_its_decimal_text_or_is_refused(number in written(), place in 0_usize..3) {
        let text = number.text();
        let frame = [
            format!(
                r#"{{"method":"subscription","params":{{"channel":"book.X.raw","data":{{"type":"change",
                "instrument_name":"X","prev_change_id":1,"change_id":2,"bids":[["new",{text},1]],"asks":[]}}}}}}"#
            ),
            format!(
                r#"{{"method":"subscription","params":{{"channel":"trades.X.raw","data":[{{"instrument_name":"X",
                "trade_id":"1","trade_seq":1,"price":{text},"amount":1,"direction":"buy"}}]}}}}"#
            ),
            format!(
                r#"{{"method":"subscription","params":{{"channel":"ticker.X.raw","data":{{"instrument_name":"X",
                "best_bid_price":{text}}}}}}}"#
            ),
        ];
        let found = match parse(&frame[place]) {
            Ok(messages) => match messages.as_slice() {
                [Message::Changed { bids, .. }] => Ok(Some(bids[0].price)),
                [Message::Traded { trades, .. }] => Ok(Some(trades[0].price)),
                [Message::Ticked { best_bid, .. }] => Ok(*best_bid),
                other => panic!("{other:?}"),
            },
            Err(unusable) => match unusable.problem {
                FrameProblem::Number { reason, .. } => Err(reason),
                other => panic!("{text}: {other}"),
            },
        };
        let expected = match price(&text) {
            // A ticker's price of zero is none.
            Err(NumberProblem::NotPositive) if place == 2 && nano(&text) == Ok(0) => Ok(None),
            other => other.map(Some),
        };
        prop_assert_eq!(found, expected, "{}", text);
    }

    #[test]
    fn prop_a_changed_frame_is_refused_or_sound(
        frame in frame(), seed: u64, shuffle: bool,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), change()), 1..4),
    ) {
        let mut json = Json::of(frame);
        for (place, change) in &changes {
            let size = json.size();
            prop_assert_eq!(json.change(place.index(size), change), Ok(()));
        }
        let text = json.written(seed, shuffle);
        if let Ok(messages) = parse(&text) {
            prop_assert!(messages.iter().all(is_sound), "{}: {:?}", text, messages);
        }
        let events = Instruments::new(&["BTC-PERPETUAL", "BTC-31DEC21-300000-P"]).events(&text, Socket::Public);
        prop_assert!(!events.is_empty());
        // A frame of several lines is several lines of a recording; whatever they are, what stays can be read.
        let surveyed = survey(format!("1.5: {text}\n").as_bytes());
        let kept = records("kept", &surveyed.feed).unwrap();
        let _ = instrument_names(&kept);
        prop_assert_eq!(&survey(surveyed.feed.as_bytes()).feed, &surveyed.feed);
        prop_assert_eq!(lines(&text).count(), text.lines().count());
    }
}

/// The properties above look at frames of every kind.
#[test]
fn the_capture_and_the_others_have_every_kind_of_message() {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let mut events = 0;
    for frame in FRAMES.iter() {
        for message in parse(frame).unwrap() {
            *kinds
                .entry(match message {
                    Message::Snapshot { .. } => "snapshot",
                    Message::Changed { .. } => "change",
                    Message::Traded { .. } => "trades",
                    Message::Ticked { .. } => "ticker",
                    Message::Heartbeat { .. } => "heartbeat",
                    Message::Answered => "answer",
                    Message::Refused { .. } => "refusal",
                })
                .or_default() += 1;
        }
        let found = Instruments::new(&["BTC-PERPETUAL"]).events(frame, Socket::Public);
        events += found.iter().filter(|event| !matches!(event, Event::FrameHeard(_))).count();
    }
    assert_eq!(kinds.len(), 7, "{kinds:?}");
    assert_eq!((kinds["snapshot"], kinds["change"], kinds["ticker"]), (11, 177, 273));
    assert_eq!(events, 3);
}
