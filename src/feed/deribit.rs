//! One frame of Deribit's WebSocket API: a JSON-RPC notification or answer becomes typed market data.
//!
//! Numbers are read from the text of the frame into integers of 1e-9. What can be traded at (book levels, trades, best
//! prices) must be exact. References (mark, index, last) are cut below 1e-9, and an option's delta below 1e-6 is rounded
//! away from zero, to the side that shows more exposure. A price of zero in a ticker means that there is none.
//!
//! Source: Deribit API, notifications `book.*`, `trades.*`, `ticker.*` and `heartbeat` (docs.deribit.com).

use std::{borrow::Cow, fmt};

use drillfold_kernel::{
    event::{Channel, Level, PublicTrade},
    units::{Ppm, Price, Qty, Side, TradeId},
};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    feed::error::{FrameProblem, NumberProblem, Unusable},
    text::decimal::{self, NANO_DIGITS, PPM_DIGITS, Rounding},
};

/// What a frame tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A whole book.
    Snapshot {
        /// The venue's name of the instrument.
        instrument: String,
        /// The venue's number of this state.
        change_id: u64,
        /// Bids, as sent.
        bids: Vec<Level>,
        /// Asks, as sent.
        asks: Vec<Level>,
    },
    /// Levels of a book that changed; one with amount zero is gone.
    Changed {
        /// The venue's name of the instrument.
        instrument: String,
        /// The state this one follows.
        prev_change_id: u64,
        /// The venue's number of the new state.
        change_id: u64,
        /// Changed bids.
        bids: Vec<Level>,
        /// Changed asks.
        asks: Vec<Level>,
    },
    /// Public trades of one instrument.
    Traded {
        /// The venue's name of the instrument.
        instrument: String,
        /// The trades, as sent.
        trades: Vec<PublicTrade>,
    },
    /// A ticker; `None` where the venue sends none.
    Ticked {
        /// The venue's name of the instrument.
        instrument: String,
        /// Best bid.
        best_bid: Option<Price>,
        /// Best ask.
        best_ask: Option<Price>,
        /// Mark price.
        mark: Option<Price>,
        /// Index price in USD.
        index: Option<Price>,
        /// Price of the last trade.
        last: Option<Price>,
        /// Option delta.
        delta: Option<Ppm>,
    },
    /// A heartbeat.
    Heartbeat {
        /// True where the venue wants an answer (`public/test`), or it closes the connection.
        answer_wanted: bool,
    },
    /// A request was answered.
    Answered,
    /// A request was refused.
    Refused {
        /// The venue's error code.
        code: i32,
    },
}

impl Message {
    /// Returns the venue's name of the instrument that it concerns.
    #[must_use]
    pub fn instrument(&self) -> Option<&str> {
        match self {
            Self::Snapshot { instrument, .. }
            | Self::Changed { instrument, .. }
            | Self::Traded { instrument, .. }
            | Self::Ticked { instrument, .. } => Some(instrument),
            Self::Heartbeat { .. } | Self::Answered | Self::Refused { .. } => None,
        }
    }
}

/// Reads one frame; only a batch of trades over several instruments gives more than one message.
///
/// # Errors
/// A frame that can't be used, with its channel and, where it is known, its instrument.
pub fn parse(frame: &str) -> Result<Vec<Message>, Unusable> {
    let no_message = |error: &dyn fmt::Display| Unusable {
        channel: Channel::Other,
        instrument: None,
        problem: FrameProblem::NotAMessage(error.to_string()),
    };
    let envelope: Envelope<'_> = serde_json::from_str(frame).map_err(|error| no_message(&error))?;
    match (envelope.method.as_deref(), envelope.params, envelope.result, envelope.error) {
        (Some("subscription"), Some(params), _, _) => notification(params.get()),
        (Some("heartbeat"), params, _, _) => {
            let kind: Option<HeartbeatParams<'_>> = params.and_then(|params| serde_json::from_str(params.get()).ok());
            Ok(vec![Message::Heartbeat { answer_wanted: kind.is_some_and(|kind| kind.kind == "test_request") }])
        }
        (None, _, _, Some(error)) => {
            let error: VenueError = serde_json::from_str(error.get()).map_err(|error| no_message(&error))?;
            Ok(vec![Message::Refused { code: error.code }])
        }
        (None, _, Some(_), None) => Ok(vec![Message::Answered]),
        (Some(method), _, _, _) => Err(no_message(&format_args!("unknown method `{method}`"))),
        (None, _, None, None) => Err(no_message(&"neither a method nor a result")),
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct HeartbeatParams<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct VenueError {
    code: i32,
}

#[derive(Deserialize)]
struct Notification<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn notification(params: &str) -> Result<Vec<Message>, Unusable> {
    let Notification { channel, data } = serde_json::from_str(params).map_err(|error| Unusable {
        channel: Channel::Other,
        instrument: None,
        problem: FrameProblem::NotAMessage(error.to_string()),
    })?;
    let mut parts = channel.split('.');
    let (kind, subject) = (parts.next().unwrap_or_default(), parts.next());
    let instrument = subject.filter(|subject| !is_kind(subject));
    let (kind, messages) = match kind {
        "book" => (Channel::Book, book(data.get(), instrument).map(|message| vec![message])),
        "trades" => (Channel::Trades, trades(data.get(), instrument)),
        "ticker" => (Channel::Ticker, ticker(data.get(), instrument).map(|message| vec![message])),
        _ => (Channel::Other, Err(FrameProblem::UnknownChannel(channel.to_string()))),
    };
    messages.map_err(|problem| Unusable {
        channel: kind,
        instrument: instrument.filter(|_| kind != Channel::Other).map(str::to_owned),
        problem,
    })
}

/// Tells whether the word after a channel's first one is a kind of instruments instead of one: `trades.option.BTC.raw`.
fn is_kind(subject: &str) -> bool {
    matches!(subject, "any" | "future" | "option" | "spot" | "future_combo" | "option_combo")
}

/// A number as it stands in the frame.
#[derive(Deserialize)]
#[serde(transparent)]
struct Number<'a>(#[serde(borrow)] &'a RawValue);

impl Number<'_> {
    /// Reads a number that may be zero but not below it.
    fn read(&self, field: &'static str, digits: u32, rounding: Rounding) -> Result<i64, FrameProblem> {
        let failed = |reason| FrameProblem::Number { field, text: shortened(self.0.get()), reason };
        let value = decimal::parse_rounded(self.0.get(), digits, rounding).map_err(|error| failed(error.into()))?;
        if value < 0 { Err(failed(NumberProblem::NotPositive)) } else { Ok(value) }
    }

    /// Reads a price that must be there.
    fn price(&self, field: &'static str) -> Result<Price, FrameProblem> {
        match self.read(field, NANO_DIGITS, Rounding::Exact)? {
            0 => Err(FrameProblem::Number { field, text: shortened(self.0.get()), reason: NumberProblem::NotPositive }),
            value => Ok(Price(value)),
        }
    }

    fn qty(&self, field: &'static str) -> Result<Qty, FrameProblem> {
        self.read(field, NANO_DIGITS, Rounding::Exact).map(Qty)
    }
}

/// Reads a price that may be missing: null, or zero.
fn reference(
    number: Option<&Number<'_>>,
    field: &'static str,
    rounding: Rounding,
) -> Result<Option<Price>, FrameProblem> {
    let Some(number) = number else {
        return Ok(None);
    };
    let value = number.read(field, NANO_DIGITS, rounding)?;
    Ok((value > 0).then_some(Price(value)))
}

fn shortened(text: &str) -> String {
    const LENGTH_MAX: usize = 40;
    if text.chars().count() <= LENGTH_MAX {
        return text.to_owned();
    }
    text.chars().take(LENGTH_MAX).chain("...".chars()).collect()
}

fn shape(error: &serde_json::Error) -> FrameProblem {
    FrameProblem::Shape(error.to_string())
}

fn same_instrument(channel: Option<&str>, payload: &str) -> Result<String, FrameProblem> {
    match channel {
        Some(expected) if expected != payload => {
            Err(FrameProblem::OtherInstrument { expected: expected.to_owned(), found: shortened(payload) })
        }
        Some(_) | None => Ok(payload.to_owned()),
    }
}

#[derive(Deserialize)]
struct BookData<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    instrument_name: Cow<'a, str>,
    change_id: u64,
    prev_change_id: Option<u64>,
    #[serde(borrow)]
    bids: Vec<RawLevel<'a>>,
    #[serde(borrow)]
    asks: Vec<RawLevel<'a>>,
}

/// A level as sent: `[action, price, amount]`, or `[price, amount]` on grouped channels.
struct RawLevel<'a> {
    action: Option<Cow<'a, str>>,
    price: Number<'a>,
    amount: Number<'a>,
}

impl<'a, 'de: 'a> Deserialize<'de> for RawLevel<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = RawLevel<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a level of action, price and amount")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let missing = |length| serde::de::Error::invalid_length(length, &self);
                let first: &RawValue = seq.next_element()?.ok_or_else(|| missing(0))?;
                let second = Number(seq.next_element()?.ok_or_else(|| missing(1))?);
                let Some(third) = seq.next_element()? else {
                    return Ok(RawLevel { action: None, price: Number(first), amount: second });
                };
                if seq.next_element::<IgnoredAny>()?.is_some() {
                    return Err(missing(4));
                }
                let action = serde_json::from_str(first.get()).map_err(serde::de::Error::custom)?;
                Ok(RawLevel { action: Some(action), price: second, amount: Number(third) })
            }
        }
        deserializer.deserialize_seq(Read)
    }
}

fn book(data: &str, channel: Option<&str>) -> Result<Message, FrameProblem> {
    let data: BookData<'_> = serde_json::from_str(data).map_err(|error| shape(&error))?;
    let instrument = same_instrument(channel, &data.instrument_name)?;
    let (bids, asks) = (levels(&data.bids)?, levels(&data.asks)?);
    let change_id = data.change_id;
    match (data.kind.as_deref(), data.prev_change_id) {
        (Some("change"), Some(prev_change_id)) => {
            Ok(Message::Changed { instrument, prev_change_id, change_id, bids, asks })
        }
        (Some("change"), None) => Err(FrameProblem::Shape("missing field `prev_change_id` of a change".to_owned())),
        (Some("snapshot"), _) => Ok(Message::Snapshot { instrument, change_id, bids, asks }),
        // Without a kind, the number of the state before tells: only the first message of a book has none.
        (None, Some(prev_change_id)) => Ok(Message::Changed { instrument, prev_change_id, change_id, bids, asks }),
        (None, None) => Ok(Message::Snapshot { instrument, change_id, bids, asks }),
        (Some(kind), _) => {
            Err(FrameProblem::Word { field: "type", text: shortened(kind), expected: "`snapshot` or `change`" })
        }
    }
}

fn levels(raw: &[RawLevel<'_>]) -> Result<Vec<Level>, FrameProblem> {
    raw.iter()
        .map(|level| {
            let price = level.price.price("price")?;
            let qty = level.amount.qty("amount")?;
            match level.action.as_deref() {
                Some("new" | "change") | None => Ok(Level { price, qty }),
                Some("delete") => Ok(Level { price, qty: Qty::ZERO }),
                Some(action) => Err(FrameProblem::Word {
                    field: "action",
                    text: shortened(action),
                    expected: "`new`, `change` or `delete`",
                }),
            }
        })
        .collect()
}

#[derive(Deserialize)]
struct TradeData<'a> {
    #[serde(borrow)]
    instrument_name: Cow<'a, str>,
    #[serde(borrow)]
    trade_id: Cow<'a, str>,
    trade_seq: u64,
    #[serde(borrow)]
    price: Number<'a>,
    #[serde(borrow)]
    amount: Number<'a>,
    #[serde(borrow)]
    direction: Cow<'a, str>,
}

fn trades(data: &str, channel: Option<&str>) -> Result<Vec<Message>, FrameProblem> {
    let data: Vec<TradeData<'_>> = serde_json::from_str(data).map_err(|error| shape(&error))?;
    let mut messages: Vec<(String, Vec<PublicTrade>)> = Vec::new();
    for raw in data {
        let instrument = same_instrument(channel, &raw.instrument_name)?;
        let trade = PublicTrade {
            trade_id: trade_id(&raw.trade_id)?,
            trade_seq: raw.trade_seq,
            price: raw.price.price("price")?,
            qty: raw.amount.qty("amount")?,
            side: match raw.direction.as_ref() {
                "buy" => Side::Buy,
                "sell" => Side::Sell,
                other => {
                    return Err(FrameProblem::Word {
                        field: "direction",
                        text: shortened(other),
                        expected: "`buy` or `sell`",
                    });
                }
            },
        };
        match messages.iter_mut().find(|(name, _)| *name == instrument) {
            Some((_, trades)) => trades.push(trade),
            None => messages.push((instrument, vec![trade])),
        }
    }
    Ok(messages.into_iter().map(|(instrument, trades)| Message::Traded { instrument, trades }).collect())
}

/// Bits of a trade's number below its prefix.
const ID_DIGIT_BITS: u32 = 44;

/// Reads a trade's identifier: `48079254`, or `ETH-48079254` for books other than Bitcoin's.
///
/// Numbers of different prefixes are different trades, so a prefix of up to four letters goes into the upper 20 bits.
fn trade_id(text: &str) -> Result<TradeId, FrameProblem> {
    const PREFIX_LENGTH_MAX: usize = 4;
    let read = || {
        let (prefix, digits) = match text.rsplit_once('-') {
            Some((prefix, digits)) if (1..=PREFIX_LENGTH_MAX).contains(&prefix.len()) => (prefix, digits),
            Some(_) => return None,
            None => ("", text),
        };
        let mut code = 0_u64;
        for letter in prefix.bytes() {
            let place = letter.checked_sub(b'A').filter(|place| *place < 26)?;
            code = (code << 5) | u64::from(place + 1);
        }
        // A sign would be read as well, so the digits are looked at one by one.
        let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        let number = digits.parse::<u64>().ok().filter(|number| number >> ID_DIGIT_BITS == 0)?;
        Some(TradeId((code << ID_DIGIT_BITS) | number))
    };
    read().ok_or_else(|| FrameProblem::Number {
        field: "trade_id",
        text: shortened(text),
        reason: NumberProblem::NotAnId,
    })
}

#[derive(Deserialize)]
struct TickerData<'a> {
    #[serde(borrow)]
    instrument_name: Cow<'a, str>,
    #[serde(borrow)]
    best_bid_price: Option<Number<'a>>,
    #[serde(borrow)]
    best_ask_price: Option<Number<'a>>,
    #[serde(borrow)]
    mark_price: Option<Number<'a>>,
    #[serde(borrow)]
    index_price: Option<Number<'a>>,
    #[serde(borrow)]
    last_price: Option<Number<'a>>,
    #[serde(borrow)]
    greeks: Option<Greeks<'a>>,
}

#[derive(Deserialize)]
struct Greeks<'a> {
    #[serde(borrow)]
    delta: Option<Number<'a>>,
}

fn ticker(data: &str, channel: Option<&str>) -> Result<Message, FrameProblem> {
    let data: TickerData<'_> = serde_json::from_str(data).map_err(|error| shape(&error))?;
    let delta = data.greeks.and_then(|greeks| greeks.delta).map(|delta| {
        let text = delta.0.get();
        decimal::parse_rounded(text, PPM_DIGITS, Rounding::Up).map(Ppm).map_err(|error| FrameProblem::Number {
            field: "delta",
            text: shortened(text),
            reason: error.into(),
        })
    });
    Ok(Message::Ticked {
        instrument: same_instrument(channel, &data.instrument_name)?,
        best_bid: reference(data.best_bid_price.as_ref(), "best_bid_price", Rounding::Exact)?,
        best_ask: reference(data.best_ask_price.as_ref(), "best_ask_price", Rounding::Exact)?,
        mark: reference(data.mark_price.as_ref(), "mark_price", Rounding::Down)?,
        index: reference(data.index_price.as_ref(), "index_price", Rounding::Down)?,
        last: reference(data.last_price.as_ref(), "last_price", Rounding::Down)?,
        delta: delta.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SNAPSHOT: &str = r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.raw","data":
        {"type":"snapshot","timestamp":1,"instrument_name":"BTC-PERPETUAL","change_id":7,
         "bids":[["new",60000.5,10.0],["new",1e4,20]],"asks":[["new",60001.0,0.1]]}}}"#;
    const CHANGE: &str = r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms","data":
        {"type":"change","instrument_name":"BTC-PERPETUAL","prev_change_id":7,"change_id":9,
         "bids":[["delete",60000.5,0.0],["change",0.000000001,5]],"asks":[]}}}"#;
    const TRADES: &str = r#"{"method":"subscription","params":{"channel":"trades.BTC-PERPETUAL.raw","data":[
        {"trade_seq":30289432,"trade_id":"48079254","price":8954,"instrument_name":"BTC-PERPETUAL","direction":"sell","amount":20},
        {"trade_seq":30289433,"trade_id":"48079255","price":8954.5,"instrument_name":"BTC-PERPETUAL","direction":"buy","amount":30}]}}"#;
    const TICKER: &str = r#"{"method":"subscription","params":{"channel":"ticker.BTC-31DEC21-300000-P.raw","data":
        {"instrument_name":"BTC-31DEC21-300000-P","best_bid_price":0.151,"best_ask_price":0.0,"mark_price":3.27513582,
         "index_price":58865.39,"last_price":null,"greeks":{"delta":-0.9030801}}}}"#;

    fn level(price: i64, qty: i64) -> Level {
        Level { price: Price(price), qty: Qty(qty) }
    }

    #[test]
    fn books_are_read_exactly() {
        let instrument = "BTC-PERPETUAL".to_owned();
        assert_eq!(
            parse(SNAPSHOT).unwrap(),
            [Message::Snapshot {
                instrument: instrument.clone(),
                change_id: 7,
                bids: vec![level(60_000_500_000_000, 10_000_000_000), level(10_000_000_000_000, 20_000_000_000)],
                asks: vec![level(60_001_000_000_000, 100_000_000)],
            }]
        );
        assert_eq!(
            parse(CHANGE).unwrap(),
            [Message::Changed {
                instrument,
                prev_change_id: 7,
                change_id: 9,
                bids: vec![level(60_000_500_000_000, 0), level(1, 5_000_000_000)],
                asks: Vec::new(),
            }]
        );
        let grouped = r#"{"method":"subscription","params":{"channel":"book.X.none.10.100ms","data":
            {"instrument_name":"X","change_id":1,"bids":[[1,2]],"asks":[]}}}"#;
        let bids = vec![level(1_000_000_000, 2_000_000_000)];
        let expected = Message::Snapshot { instrument: "X".into(), change_id: 1, bids, asks: Vec::new() };
        assert_eq!(parse(grouped).unwrap(), [expected]);
    }

    #[test]
    fn trades_and_tickers_are_read_exactly() {
        let trade = |id, seq, price, qty, side| PublicTrade {
            trade_id: TradeId(id),
            trade_seq: seq,
            price: Price(price),
            qty: Qty(qty),
            side,
        };
        assert_eq!(
            parse(TRADES).unwrap(),
            [Message::Traded {
                instrument: "BTC-PERPETUAL".into(),
                trades: vec![
                    trade(48_079_254, 30_289_432, 8_954_000_000_000, 20_000_000_000, Side::Sell),
                    trade(48_079_255, 30_289_433, 8_954_500_000_000, 30_000_000_000, Side::Buy),
                ],
            }]
        );
        assert_eq!(
            parse(TICKER).unwrap(),
            [Message::Ticked {
                instrument: "BTC-31DEC21-300000-P".into(),
                best_bid: Some(Price(151_000_000)),
                best_ask: None,
                mark: Some(Price(3_275_135_820)),
                index: Some(Price(58_865_390_000_000)),
                last: None,
                delta: Some(Ppm(-903_081)),
            }]
        );
        let mixed = TRADES.replace("trades.BTC-PERPETUAL.raw", "trades.future.BTC.raw").replacen(
            "\"instrument_name\":\"BTC-PERPETUAL\",\"direction\":\"buy\"",
            "\"instrument_name\":\"BTC-26JUN26\",\"direction\":\"buy\"",
            1,
        );
        let names: Vec<_> = parse(&mixed).unwrap().iter().map(|m| m.instrument().map(str::to_owned)).collect();
        assert_eq!(names, [Some("BTC-PERPETUAL".into()), Some("BTC-26JUN26".into())]);
    }

    #[test]
    fn other_messages_are_told_apart() {
        for (frame, expected) in [
            (r#"{"jsonrpc":"2.0","id":0,"result":["a"]}"#, Message::Answered),
            (
                r#"{"jsonrpc":"2.0","id":0,"result":null,"error":{"code":10028,"message":"too_many_requests"}}"#,
                Message::Refused { code: 10028 },
            ),
            (r#"{"method":"heartbeat","params":{"type":"heartbeat"}}"#, Message::Heartbeat { answer_wanted: false }),
            (r#"{"method":"heartbeat","params":{"type":"test_request"}}"#, Message::Heartbeat { answer_wanted: true }),
            (r#"{"method":"heartbeat"}"#, Message::Heartbeat { answer_wanted: false }),
        ] {
            assert_eq!(parse(frame).unwrap(), [expected], "{frame}");
        }
    }

    #[test]
    fn trade_ids_are_distinct() {
        let id = |text: &str| trade_id(text).ok().map(|id| id.0);
        assert_eq!(id("48079254"), Some(48_079_254));
        assert_eq!(id("ETH-5"), Some((((5 << 10) | (20 << 5) | 8) << 44) | 5));
        assert_ne!(id("ETH-5"), id("SOL-5"));
        assert!(id("USDC-1").is_some());
        for text in [
            "",
            "-5",
            "ETH-",
            "eth-5",
            "E.H-5",
            "1-5",
            "-+5",
            "+5",
            "ABCDE-5",
            "5-",
            "1e5",
            "99999999999999999999",
            "17592186044416",
            "é-5",
        ] {
            assert_eq!(id(text), None, "{text}");
        }
    }

    #[test]
    fn unusable_frames_say_why() {
        let (book, btc) = (Channel::Book, Some("BTC-PERPETUAL"));
        for (frame, from, to, channel, instrument, expected) in [
            (SNAPSHOT, SNAPSHOT, "", Channel::Other, None, "not a message of the venue: EOF"),
            (SNAPSHOT, SNAPSHOT, "[]", Channel::Other, None, "not a message of the venue: invalid"),
            (
                SNAPSHOT,
                SNAPSHOT,
                "{}",
                Channel::Other,
                None,
                "not a message of the venue: neither a method nor a result",
            ),
            (
                SNAPSHOT,
                "\"subscription\"",
                "\"order\"",
                Channel::Other,
                None,
                "not a message of the venue: unknown method `order`",
            ),
            (
                SNAPSHOT,
                "book.BTC-PERPETUAL.raw",
                "quote.BTC-PERPETUAL",
                Channel::Other,
                None,
                "unknown channel `quote.BTC-PERPETUAL`",
            ),
            (
                SNAPSHOT,
                "book.BTC-PERPETUAL",
                "book.ETH-PERPETUAL",
                book,
                Some("ETH-PERPETUAL"),
                "payload is of `BTC-PERPETUAL`, the channel of `ETH-PERPETUAL`",
            ),
            (
                SNAPSHOT,
                "\"change_id\":7,",
                "",
                book,
                btc,
                "payload has another shape than its channel: missing field `change_id`",
            ),
            (
                SNAPSHOT,
                "\"change_id\":7,",
                "\"change_id\":7,\"change_id\":8,",
                book,
                btc,
                "payload has another shape than its channel: duplicate field `change_id`",
            ),
            (SNAPSHOT, "\"change_id\":7,", "\"change_id\":-7,", book, btc, "payload has another shape"),
            (SNAPSHOT, "\"snapshot\"", "\"snap\"", book, btc, "`type` is `snap`, expected `snapshot` or `change`"),
            (SNAPSHOT, "60000.5", "\"60000.5\"", book, btc, "`price` = \"60000.5\" is not a decimal number"),
            (SNAPSHOT, "60000.5", "-1", book, btc, "`price` = -1 is not positive"),
            (SNAPSHOT, "60000.5", "0", book, btc, "`price` = 0 is not positive"),
            (SNAPSHOT, "60000.5", "1e300", book, btc, "`price` = 1e300 is too large"),
            (SNAPSHOT, "60000.5", "0.0000000001", book, btc, "`price` = 0.0000000001 is finer than 9 digits"),
            (SNAPSHOT, "60000.5,10.0", "60000.5,-10.0", book, btc, "`amount` = -10.0 is not positive"),
            (
                SNAPSHOT,
                "60000.5,10.0",
                "60000.5,10.0,1",
                book,
                btc,
                "payload has another shape than its channel: invalid length 4",
            ),
            (
                SNAPSHOT,
                "[\"new\",60000.5,10.0]",
                "[\"new\"]",
                book,
                btc,
                "payload has another shape than its channel: invalid length 1",
            ),
            (
                SNAPSHOT,
                "[\"new\",60000.5",
                "[\"old\",60000.5",
                book,
                btc,
                "`action` is `old`, expected `new`, `change` or `delete`",
            ),
            (
                CHANGE,
                "\"prev_change_id\":7,",
                "",
                book,
                btc,
                "payload has another shape than its channel: missing field `prev_change_id`",
            ),
            (TRADES, "\"sell\"", "\"short\"", Channel::Trades, btc, "`direction` is `short`, expected `buy` or `sell`"),
            (TRADES, "\"48079254\"", "\"x\"", Channel::Trades, btc, "`trade_id` = x is not an identifier"),
            (TRADES, "\"trade_seq\":30289432", "\"trade_seq\":1.5", Channel::Trades, btc, "payload has another shape"),
            (
                TICKER,
                "58865.39",
                "-58865.39",
                Channel::Ticker,
                Some("BTC-31DEC21-300000-P"),
                "`index_price` = -58865.39 is not positive",
            ),
            (
                TICKER,
                "-0.9030801",
                "true",
                Channel::Ticker,
                Some("BTC-31DEC21-300000-P"),
                "`delta` = true is not a decimal number",
            ),
        ] {
            let bad = frame.replacen(from, to, 1);
            let error = parse(&bad).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{to}: {error}");
            assert_eq!((error.channel, error.instrument.as_deref()), (channel, instrument), "{to}");
        }
    }

    proptest! {
        #[test]
        fn prop_any_text_is_answered(text in "\\PC{0,80}") {
            let _ = parse(&text);
        }

        #[test]
        fn prop_a_changed_frame_is_answered(
            which in 0_usize..4, from in 0_usize..500, length in 0_usize..12, new in "[-a-z0-9.,:\"\\[\\]{}]{0,8}",
        ) {
            let frame = [SNAPSHOT, CHANGE, TRADES, TICKER][which];
            let from = from.min(frame.len());
            let to = (from + length).min(frame.len());
            let _ = parse(&format!("{}{new}{}", &frame[..from], &frame[to..]));
        }

        #[test]
        fn prop_prices_are_exact(nanos in 1..=i64::MAX) {
            let frame = SNAPSHOT.replacen("60000.5", &decimal::plain(i128::from(nanos), NANO_DIGITS), 1);
            let messages = parse(&frame).unwrap();
            let Some(Message::Snapshot { bids, .. }) = messages.first() else { panic!() };
            prop_assert_eq!(bids[0].price, Price(nanos));
        }
    }
}
