//! Any bytes, read as a frame of the venue and as a recording: no panic, nothing that can't stand, and one meaning.

#![no_main]

use drillfold_fuzz::feed::{
    Instruments,
    deribit::{Message, parse},
    error::Unusable,
    inputs::{instrument_names, recorded_inputs},
    recording::{RecordKind, lines, records},
    survey::survey,
};
use drillfold_kernel::event::{Event, Level, Socket};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let surveyed = survey(input);
    let again = survey(surveyed.feed.as_bytes());
    assert_eq!(again.feed, surveyed.feed, "what is kept is kept");
    let kept = records("kept", &surveyed.feed).expect("what is kept can be read");
    assert_eq!(
        again.survey.received,
        kept.iter().filter(|of| matches!(of.kind, RecordKind::Received { .. })).count() as u64
    );
    let names = instrument_names(&kept);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if let Ok(inputs) = recorded_inputs("kept", &surveyed.feed, &names) {
        assert!(inputs.is_sorted_by_key(|input| input.at_ms));
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    check(text);
    let mut before_us = 0;
    for (_, record) in lines(text) {
        let Ok(Some(record)) = record else { continue };
        assert!(record.at_us >= before_us, "times never run backwards");
        before_us = record.at_us;
        if let RecordKind::Received { frame } = &record.kind {
            check(frame);
        }
    }
});

/// Reads one frame in each way that there is.
fn check(frame: &str) {
    let parsed = parse(frame);
    let meaning = |parsed: &Result<Vec<Message>, Unusable>| match parsed {
        Ok(messages) => Ok(messages.clone()),
        // What is wrong is told with its place.
        Err(unusable) => Err((unusable.channel, unusable.instrument.clone())),
    };
    assert_eq!(meaning(&parsed), meaning(&parse(&format!(" {frame}\n"))), "spaces say nothing");
    if let Ok(messages) = &parsed {
        messages.iter().for_each(is_sound);
    }
    let named: Vec<&str> = match &parsed {
        Ok(messages) => messages.iter().filter_map(Message::instrument).collect(),
        Err(unusable) => unusable.instrument.as_deref().into_iter().collect(),
    };
    let events = Instruments::new(&named).events(frame, Socket::Public);
    assert!(!events.is_empty());
    let rejected = events.iter().any(|event| matches!(event, Event::FrameRejected { .. }));
    assert_eq!(rejected, parsed.is_err());
    // Of instruments that nobody knows, nothing comes but a sign of life.
    for event in Instruments::new(&[]).events(frame, Socket::Public) {
        assert!(matches!(event, Event::FrameHeard(_) | Event::FrameRejected { .. } | Event::VenueErrored { .. }));
    }
}

fn is_sound(message: &Message) {
    let level = |level: &Level| assert!(level.price.0 > 0 && level.qty.0 >= 0, "{level:?}");
    match message {
        Message::Snapshot { bids, asks, .. } | Message::Changed { bids, asks, .. } => {
            bids.iter().chain(asks).for_each(level)
        }
        Message::Traded { trades, .. } => {
            assert!(trades.iter().all(|trade| trade.price.0 > 0 && trade.qty.0 >= 0), "{trades:?}");
        }
        Message::Ticked { best_bid, best_ask, mark, index, last, .. } => {
            let prices = [best_bid, best_ask, mark, index, last];
            assert!(prices.into_iter().flatten().all(|price| price.0 > 0), "{message:?}");
        }
        Message::Heartbeat { .. } | Message::Answered | Message::Refused { .. } => {}
    }
}
