//! Events in a few words, for people.

use drillfold_kernel::{
    Kernel,
    event::{Event, RestAnswer},
    units::InstrumentId,
};
use serde_json::Value;

use crate::{judge::facts::event_kind, text::clip::clipped};

/// Longest description of an event that has no words of its own, characters.
const FIELDS_LENGTH_MAX: usize = 120;

/// Returns what an event is, with the numbers one looks for first. Instruments have the names that `kernel` knows.
#[must_use]
pub fn describe(event: &Event, kernel: &Kernel) -> String {
    let kind = event_kind(event);
    let name = |id: InstrumentId| match kernel.core.instruments.get(id.index()) {
        Some(instrument) => instrument.name.clone(),
        None => format!("instrument {}", id.0),
    };
    match event {
        Event::Booted(boot) => format!("{kind}: build {}", boot.build_id),
        Event::BookChanged(change) => {
            format!("{kind}: {}, change {} after {}", name(change.instrument), change.change_id, change.prev_change_id)
        }
        Event::BookSnapshot(snapshot) => {
            format!("{kind}: {}, at change {}", name(snapshot.instrument), snapshot.change_id)
        }
        Event::TradesReceived { instrument, trades } => {
            let numbers: Vec<String> = trades.iter().map(|trade| trade.trade_seq.to_string()).collect();
            format!("{kind}: {}, numbers {}", name(*instrument), numbers.join(", "))
        }
        Event::TickerReceived(ticker) => format!("{kind}: {}", name(ticker.instrument)),
        Event::FrameRejected { socket, instrument, channel } => {
            let of = instrument.map_or_else(|| "no known instrument".to_owned(), name);
            format!("{kind}: {socket:?}, {channel:?} of {of}")
        }
        Event::SocketOpened(socket) | Event::FrameHeard(socket) => format!("{kind}: {socket:?}"),
        Event::SocketClosed { socket, cause } => format!("{kind}: {socket:?}, {cause:?}"),
        Event::AuthenticationRefused { code } | Event::VenueErrored { code } => format!("{kind}: {code}"),
        Event::OrderUpdated(order) => format!("{kind}: {}", order.label),
        Event::OwnTraded(trades) => {
            let labels: Vec<&str> = trades.iter().map(|trade| trade.label.as_str()).collect();
            format!("{kind}: {}", labels.join(", "))
        }
        Event::OrderRejected { label, code } => format!("{kind}: {label}, code {code}"),
        Event::RestAnswered { request, answer, .. } => {
            let what = match answer {
                RestAnswer::Book(snapshot) => format!("book of {}", name(snapshot.instrument)),
                RestAnswer::RecentTrades { instrument, .. } => format!("trades of {}", name(*instrument)),
                other => variant_of(other),
            };
            format!("{kind}: request {}, {what}", request.0)
        }
        Event::RestRefused { request, code, .. } => format!("{kind}: request {}, code {code}", request.0),
        Event::GroupProposed(proposal) => format!("{kind}: {}", proposal.group_id),
        Event::TokenReported { token, .. } => format!("{kind}: {token}"),
        Event::InstrumentRefreshed(id) | Event::InstrumentFetched { instrument: id, .. } => {
            format!("{kind}: {}", name(*id))
        }
        Event::CancelRefused { label, cause } => format!("{kind}: {label}, {cause:?}"),
        other => match fields(other) {
            Value::Null => kind.to_owned(),
            fields => clipped(&format!("{kind}: {fields}"), FIELDS_LENGTH_MAX),
        },
    }
}

/// Returns an event's fields as JSON; null for an event without any.
#[must_use]
pub fn fields(event: &Event) -> Value {
    match serde_json::to_value(event) {
        Ok(Value::Object(variant)) => variant.into_iter().next().map_or(Value::Null, |(_, fields)| fields),
        Ok(_) | Err(_) => Value::Null,
    }
}

/// Returns the name of an enum's variant as serde has it.
fn variant_of(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::Object(variant)) => variant.into_iter().next().map(|(name, _)| name).unwrap_or_default(),
        Ok(Value::String(name)) => name,
        Ok(_) | Err(_) => String::new(),
    }
}
