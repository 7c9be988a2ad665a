//! From messages of the venue to events of the kernel, and from a recording to the inputs of a run.

use std::collections::{BTreeMap, BTreeSet};

use drillfold_kernel::{
    event::{BookChange, BookSnapshot, Channel, Event, Socket, Ticker},
    units::InstrumentId,
};

use crate::{
    exchange::MarketData,
    feed::{
        deribit::{self, Message},
        error::{RecordingError, Unusable},
        recording::{Record, RecordKind, records},
    },
    sim::{RecordedInput, RecordedMessage},
};

/// Names of instruments with their places in the boot event's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruments(BTreeMap<String, InstrumentId>);

impl Instruments {
    /// Makes the table from the names in their order; of a name that stands twice the first place counts.
    ///
    /// Names beyond 65536 have no place.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        let mut places = BTreeMap::new();
        for (place, name) in (0..=u16::MAX).zip(names) {
            places.entry((*name).to_owned()).or_insert(InstrumentId(place));
        }
        Self(places)
    }

    /// Returns a name's place.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<InstrumentId> {
        self.0.get(name).copied()
    }

    /// Returns what a frame says to a run, in its order: its market data, or that a request was refused.
    #[must_use]
    pub fn messages(&self, frame: &str) -> Vec<RecordedMessage> {
        match deribit::parse(frame) {
            Ok(messages) => {
                let said = messages.into_iter().filter_map(|message| match message {
                    Message::Refused { code } => Some(RecordedMessage::Refused { code }),
                    message => self.data(message).map(RecordedMessage::Data),
                });
                said.collect()
            }
            Err(unusable) => self.unusable(&unusable).map(RecordedMessage::Data).into_iter().collect(),
        }
    }

    /// Returns the events that the arrival of a frame on a socket is: market data, a refusal, a rejected frame, or one that
    /// only shows that the connection lives. Market data of instruments without a place show no more than that.
    #[must_use]
    pub fn events(&self, frame: &str, socket: Socket) -> Vec<Event> {
        let events: Vec<Event> = match deribit::parse(frame) {
            Ok(messages) => {
                let events = messages.into_iter().filter_map(|message| match message {
                    Message::Refused { code } => Some(Event::VenueErrored { code }),
                    message => self.data(message).map(MarketData::into_event),
                });
                events.collect()
            }
            Err(unusable) => {
                let instrument = unusable.instrument.as_deref().and_then(|name| self.place(name));
                vec![Event::FrameRejected { socket, instrument, channel: unusable.channel }]
            }
        };
        if events.is_empty() { vec![Event::FrameHeard(socket)] } else { events }
    }

    fn data(&self, message: Message) -> Option<MarketData> {
        let instrument = self.place(message.instrument()?)?;
        Some(match message {
            Message::Snapshot { change_id, bids, asks, .. } => {
                MarketData::Snapshot(BookSnapshot { instrument, change_id, bids, asks })
            }
            Message::Changed { prev_change_id, change_id, bids, asks, .. } => {
                MarketData::Changed(BookChange { instrument, prev_change_id, change_id, bids, asks })
            }
            Message::Traded { trades, .. } => MarketData::Traded { instrument, trades },
            Message::Ticked { best_bid, best_ask, mark, index, last, delta, .. } => {
                MarketData::Ticked(Ticker { instrument, best_bid, best_ask, mark, index, last, delta })
            }
            Message::Heartbeat { .. } | Message::Answered | Message::Refused { .. } => return None,
        })
    }

    /// Returns what an unusable frame is to a run; nothing where it concerns an instrument without a place.
    fn unusable(&self, unusable: &Unusable) -> Option<MarketData> {
        let instrument = match &unusable.instrument {
            Some(name) => Some(self.place(name)?),
            None => None,
        };
        Some(MarketData::Unusable { instrument, channel: unusable.channel })
    }
}

/// Returns the names of all instruments that a recording has market data of, sorted.
#[must_use]
pub fn instrument_names(records: &[Record<'_>]) -> Vec<String> {
    let mut names = BTreeSet::new();
    for record in records {
        if let RecordKind::Received { frame } = &record.kind {
            match deribit::parse(frame) {
                Ok(messages) => names.extend(messages.iter().filter_map(Message::instrument).map(str::to_owned)),
                Err(unusable) => names.extend(unusable.instrument),
            }
        }
    }
    names.into_iter().collect()
}

/// Reads a recording into the inputs of a run; `names` are the instruments of the scenario's table in its order.
///
/// Times are in ms from the recording's first line that has one, rounded down. Frames of other instruments are left out,
/// and so are heartbeats and answers: keep-alives are the world's matter. That the venue refused a request is not left out.
///
/// # Errors
/// A line that can't be read, or a recording without market data of any of the instruments. A frame that can't be used is
/// no error: it becomes [`MarketData::Unusable`].
pub fn recorded_inputs(file: &str, text: &str, names: &[&str]) -> Result<Vec<RecordedInput>, RecordingError> {
    let records = records(file, text)?;
    let instruments = Instruments::new(names);
    let start_us = records.first().map_or(0, |record| record.at_us);
    let mut inputs: Vec<RecordedInput> = Vec::new();
    for record in &records {
        if let RecordKind::Received { frame } = &record.kind {
            let at_ms = record.at_us.saturating_sub(start_us) / 1_000;
            inputs.extend(instruments.messages(frame).into_iter().map(|message| RecordedInput { at_ms, message }));
        }
    }
    let useful = |input: &RecordedInput| match &input.message {
        RecordedMessage::Data(data) => !matches!(data, MarketData::Unusable { channel: Channel::Other, .. }),
        RecordedMessage::Refused { .. } => false,
    };
    if inputs.iter().any(useful) {
        return Ok(inputs);
    }
    let found = instrument_names(&records);
    Err(RecordingError::NothingWanted {
        file: file.to_owned(),
        wanted: names.join(", "),
        found: if found.is_empty() { "none at all".to_owned() } else { found.join(", ") },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURE: &str = include_str!("../../scenarios/feeds/deribit-2021-04-05.txt");

    #[test]
    fn the_capture_is_read_whole() {
        let records = records("capture", CAPTURE).unwrap();
        let names = instrument_names(&records);
        assert_eq!(names.len(), 10);
        assert!(names.contains(&"BTC-31DEC21-300000-P".to_owned()));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let inputs = recorded_inputs("capture", CAPTURE, &names).unwrap();
        let (mut snapshots, mut changes, mut tickers, mut gaps) = (0, 0, 0, 0);
        let mut last: BTreeMap<InstrumentId, u64> = BTreeMap::new();
        for input in &inputs {
            let RecordedMessage::Data(data) = &input.message else { panic!("{input:?}") };
            match data {
                MarketData::Snapshot(book) => {
                    snapshots += 1;
                    last.insert(book.instrument, book.change_id);
                }
                MarketData::Changed(book) => {
                    changes += 1;
                    gaps += usize::from(last.insert(book.instrument, book.change_id) != Some(book.prev_change_id));
                }
                MarketData::Ticked(_) => tickers += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((snapshots, changes, tickers, gaps), (10, 177, 273, 0));
        assert!(inputs.is_sorted_by_key(|input| input.at_ms));
        let (first, last) = (inputs[0].at_ms, inputs[inputs.len() - 1].at_ms);
        assert!((0..1_000).contains(&first) && (117_000..120_000).contains(&last), "{first} {last}");
    }

    #[test]
    fn other_instruments_are_left_out() {
        let one = recorded_inputs("capture", CAPTURE, &["BTC-PERPETUAL", "BTC-31DEC21-300000-P"]).unwrap();
        assert!(one.iter().all(|input| input.instrument() == Some(InstrumentId(1))));
        assert!(one.iter().any(|input| matches!(input.message, RecordedMessage::Data(MarketData::Snapshot(_)))));
        let none = recorded_inputs("capture", CAPTURE, &["BTC-PERPETUAL"]).unwrap_err().to_string();
        assert!(
            none.starts_with("capture has no market data of BTC-PERPETUAL; it has BTC-25MAR22-400000-C, "),
            "{none}"
        );
        let empty = recorded_inputs("capture", "", &["X"]).unwrap_err().to_string();
        assert_eq!(empty, "capture has no market data of X; it has none at all");
    }

    #[test]
    fn frames_become_events() {
        let instruments = Instruments::new(&["A", "B", "A"]);
        let heard = [Event::FrameHeard(Socket::Public)];
        let rejected = |place: Option<u16>, channel| {
            [Event::FrameRejected { socket: Socket::Public, instrument: place.map(InstrumentId), channel }]
        };
        let book = |channel: &str, change_id: &str| {
            format!(
                r#"{{"method":"subscription","params":{{"channel":"book.{channel}.raw","data":{{"type":"change",
                "instrument_name":"{channel}","prev_change_id":1,"change_id":{change_id},"bids":[],"asks":[]}}}}}}"#
            )
        };
        let events = |frame: &str| instruments.events(frame, Socket::Public);
        assert_eq!(events(r#"{"id":1,"result":"ok"}"#), heard);
        let refused = r#"{"id":1,"error":{"code":10028,"message":"too_many_requests"}}"#;
        assert_eq!(events(refused), [Event::VenueErrored { code: 10028 }]);
        assert_eq!(instruments.messages(refused), [RecordedMessage::Refused { code: 10028 }]);
        assert_eq!(events(&book("C", "2")), heard);
        assert_eq!(events(&book("B", "x")), rejected(None, Channel::Other));
        assert_eq!(events(&book("B", "-2")), rejected(Some(1), Channel::Book));
        assert_eq!(events(&book("C", "-2")), rejected(None, Channel::Book));
        let change =
            BookChange { instrument: InstrumentId(1), prev_change_id: 1, change_id: 2, bids: vec![], asks: vec![] };
        assert_eq!(events(&book("B", "2")), [Event::BookChanged(change)]);
        assert_eq!(instruments.place("A"), Some(InstrumentId(0)));
        assert_eq!(instruments.messages(&book("C", "-2")), []);
    }
}
