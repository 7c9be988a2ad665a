//! The payloads of events: record types that mirror the kernel's event, archived with rkyv.
//!
//! Each event kind has a type of its own, so that a tick costs what a tick needs; the frame says which it is. A type is
//! named for its event and ends in its version. Types are never edited once a log with them exists: a change makes a new
//! version, and the old one stays readable.
//!
//! The archive is little-endian, unaligned, with 32-bit relative pointers; the archived value ends the payload. It is
//! validated before it is read, so that no bytes can cause anything but an error.
//!
//! Conversions name every field and every variant in both directions: an event that gains a field does not compile until
//! its record has an answer. All types stand in one macro call (in `schema`), which also writes down the schema's text;
//! so nothing can be left out of the fingerprint.
//!
//! Source: specs/log-format.md, section Events.

mod hot;
mod mirror;
#[expect(clippy::enum_variant_names, reason = "variants are spelled as the kernel spells them")]
mod schema;
#[cfg(test)]
pub(super) mod tests;
mod view;

use std::sync::OnceLock;

use drillfold_kernel::config::Config;
use drillfold_kernel::event::Event;

use super::digest::Digest128;
use super::error::RecordError;

#[cfg(test)]
pub(super) use schema::SUPERSEDED;
pub use view::{BookChangeView, EventView, LevelsView, TickerView, TradesView};
pub(super) use view::{decode_event_into, view_event};

/// Which event a frame holds, in which version of its record type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordType {
    /// The frame's kind.
    pub kind: u16,
    /// The frame's version.
    pub version: u16,
}

impl RecordType {
    /// Returns the event's name as the kernel spells it (`BookChanged`); `None` for a kind this build does not know.
    pub fn event_name(self) -> Option<&'static str> {
        schema::EVENTS.iter().find(|(kind, _, _)| *kind == self.kind).map(|(_, _, name)| *name)
    }
}

/// Returns the name of every event that this build knows, in the order of their kinds.
pub fn event_names() -> impl Iterator<Item = &'static str> {
    schema::EVENTS.iter().map(|(_, _, name)| *name)
}

/// Fingerprints of every event schema that a released build has written, oldest first; the last is this build's own.
///
/// A log whose schema is not here is not decoded: the same kind and version could have meant something else there.
const KNOWN_EVENT_SCHEMAS: &[&str] = &["da42e9466c44ef4fa201e4dfc1fac7b1", "dfa77f0dd78bd89beaabb48932a627e6"];

/// Archives `event` into `payload`, whose old content is dropped, and returns its record type.
///
/// # Errors
///
/// [`RecordError::NotArchived`] where the archive is larger than a payload may be; then `payload` is empty.
pub fn encode_event(event: &Event, payload: &mut Vec<u8>) -> Result<RecordType, RecordError> {
    hot::encode(event, payload)
}

/// Reads an event back from its archived payload. The bytes are validated first and may lie at any address.
///
/// # Errors
///
/// [`RecordError`].
pub fn decode_event(record_type: RecordType, payload: &[u8]) -> Result<Event, RecordError> {
    schema::decode(record_type, payload)
}

/// Returns the description of all record types that the fingerprint covers: one definition a line, without spaces.
///
/// Lines are the types in the order of their definition with their archived sizes, then the names of the configuration
/// values that a boot record carries.
pub fn event_schema_text() -> String {
    let mut text = String::new();
    for (definition, size_bytes) in schema::DEFINITIONS {
        text.extend(definition.chars().filter(|character| !character.is_whitespace()));
        text.push_str(&format!("#{size_bytes}\n"));
    }
    for (list, names) in [("required", Config::REQUIRED), ("optional", Config::OPTIONAL)] {
        for (name, scale) in names {
            text.push_str(&format!("config {list} {name} {scale:?}\n"));
        }
    }
    text
}

/// Returns the fingerprint of this build's record types: the digest of [`event_schema_text`].
pub fn event_schema_fingerprint() -> Digest128 {
    static FINGERPRINT: OnceLock<Digest128> = OnceLock::new();
    *FINGERPRINT.get_or_init(|| Digest128::of(event_schema_text().as_bytes()))
}

/// True where this build decodes logs with that event schema: its own, or one of a released build.
pub fn is_known_event_schema(fingerprint: Digest128) -> bool {
    let released = || KNOWN_EVENT_SCHEMAS.iter().any(|known| Digest128::parse(known) == Ok(fingerprint));
    fingerprint == event_schema_fingerprint() || released()
}
