//! Round trips over every kind of event, golden bytes, hostile bytes, and the pinned fingerprint.

use std::collections::BTreeSet;

use drillfold_kernel::config::Config;
use drillfold_kernel::registry::ModeReason;
use proptest::prelude::*;

use super::mirror::Mirror;
use super::schema::{ConfigV1, EVENT_MAKERS, EVENTS, ModeReasonV1};
use super::*;

/// Values drawn from a string of bytes, so that a failing case shrinks to a short one; zeros follow its end.
pub(super) struct Source {
    bytes: std::vec::IntoIter<u8>,
}

impl Source {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into_iter() }
    }

    fn byte(&mut self) -> u8 {
        self.bytes.next().unwrap_or(0)
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }
}

/// A type that can be drawn.
pub(super) trait Sample {
    fn sample(source: &mut Source) -> Self;
}

macro_rules! sample_number {
    ($($number:ty),*) => {$(
        impl Sample for $number {
            fn sample(source: &mut Source) -> Self {
                // Mostly anything, at times a limit.
                match source.byte() {
                    0xfe => <$number>::MIN,
                    0xff => <$number>::MAX,
                    _ => <$number>::from_le_bytes(source.bytes()),
                }
            }
        }
    )*};
}

sample_number!(u8, u16, u32, u64, i32, i64);

impl Sample for bool {
    fn sample(source: &mut Source) -> Self {
        source.byte() % 2 == 1
    }
}

impl Sample for String {
    fn sample(source: &mut Source) -> Self {
        // Around eight bytes, where rkyv stops storing a string in place.
        let length = source.byte() % 12;
        (0..length).map(|_| source.pick(&['a', 'Z', '0', ':', '\u{e9}', '\u{20ac}', '\0'])).collect()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(source: &mut Source) -> Self {
        bool::sample(source).then(|| T::sample(source))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(source: &mut Source) -> Self {
        (0..source.byte() % 4).map(|_| T::sample(source)).collect()
    }
}

impl<T: Sample> Sample for Box<T> {
    fn sample(source: &mut Source) -> Self {
        Box::new(T::sample(source))
    }
}

impl Sample for ConfigV1 {
    fn sample(source: &mut Source) -> Self {
        let required = Config::REQUIRED.iter().map(|(name, _)| *name);
        let optional: Vec<&str> =
            Config::OPTIONAL.iter().map(|(name, _)| *name).filter(|_| bool::sample(source)).collect();
        let pairs: Vec<(&str, i64)> =
            required.chain(optional).map(|name| (name, i64::from(i32::sample(source)))).collect();
        Mirror::mirror(&Config::from_pairs(pairs.into_iter()).unwrap())
    }
}

impl Sample for ModeReasonV1 {
    fn sample(source: &mut Source) -> Self {
        Mirror::mirror(&source.pick(&ModeReason::ALL[..4]))
    }
}

/// Returns bytes that look random and are the same in every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Returns one event of each kind; the same seed gives the same events.
pub(crate) fn one_of_each_kind(seed: u64) -> Vec<Event> {
    (0..).zip(EVENT_MAKERS).map(|(kind, make)| make(&mut Source::new(noise(seed + kind, 4096)))).collect()
}

fn encoded(event: &Event) -> (RecordType, Vec<u8>) {
    let mut payload = b"old content".to_vec();
    let record_type = encode_event(event, &mut payload).unwrap();
    (record_type, payload)
}

#[test]
fn kinds_are_distinct_and_named() {
    let kinds: BTreeSet<u16> = EVENTS.iter().map(|(kind, _, _)| *kind).collect();
    let names: BTreeSet<&str> = EVENTS.iter().map(|(_, _, name)| *name).collect();
    assert_eq!((kinds.len(), names.len()), (EVENTS.len(), EVENTS.len()));
    for (event, (kind, version, name)) in one_of_each_kind(1).iter().zip(EVENTS) {
        let (record_type, _) = encoded(event);
        assert_eq!(record_type, RecordType { kind: *kind, version: *version });
        assert_eq!(record_type.event_name(), Some(*name));
        assert!(format!("{event:?}").starts_with(name), "{event:?}");
    }
    assert_eq!(RecordType { kind: 0x6fff, version: 1 }.event_name(), None);
}

/// The bytes that logs have. If a case fails, old logs are no longer read as they were written.
#[test]
fn golden_bytes() {
    use drillfold_kernel::event::*;
    use drillfold_kernel::units::*;

    let level = |price, qty| Level { price: Price(price), qty: Qty(qty) };
    let cases: [(Event, u16, &str); 8] = [
        (Event::LoopTicked, 3, ""),
        (Event::FrameHeard(Socket::Private), 22, "01"),
        (Event::LimitsFetched { succeeded: true }, 13, "01"),
        (Event::InstrumentRefreshed(InstrumentId(0x0102)), 16, "0201"),
        (Event::MarginSampled(Sample { value: None, at: Some(TimeMs(-2)) }), 5, "00000000000000000001feffffffffffffff"),
        (
            Event::OutputQueueSampled { queue: OutputQueue::OrderEvents, depth: 1, capacity: 0x0400 },
            14,
            "020100000000040000",
        ),
        (
            Event::BookChanged(BookChange {
                instrument: InstrumentId(1),
                prev_change_id: 7,
                change_id: 8,
                bids: vec![level(5, 6)],
                asks: vec![],
            }),
            19,
            "05000000000000000600000000000000\
             010007000000000000000800000000000000deffffff01000000e6ffffff00000000",
        ),
        (
            Event::TokenReported { subsystem: "host".to_string(), token: "NOT_A_REASON".to_string() },
            40,
            "4e4f545f415f524541534f4e686f7374ffffffff8c000000ecffffff",
        ),
    ];
    for (event, kind, expected) in cases {
        let (record_type, payload) = encoded(&event);
        assert_eq!(record_type, RecordType { kind, version: 1 });
        let found: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected.replace(' ', ""), "{event:?}");
        assert_eq!(decode_event(record_type, &payload).unwrap(), event);
    }
}

/// The digest over one event of each kind in many shapes; it moves when any archived byte does.
#[test]
fn golden_digest_of_every_kind() {
    let mut bytes = Vec::new();
    for event in (0..8).flat_map(|round| one_of_each_kind(1000 * round)) {
        bytes.extend_from_slice(&encoded(&event).1);
    }
    assert_eq!(
        Digest128::of(&bytes).to_string(),
        "39440addede57eab98b96516201516ac",
        "archived bytes have moved: logs written before are no longer read as they were written. Give the changed \
         record types the next version and keep the old ones."
    );
}

#[test]
fn the_event_schema_is_pinned() {
    let found = event_schema_fingerprint().to_string();
    assert_eq!(
        Some(&found.as_str()),
        KNOWN_EVENT_SCHEMAS.last(),
        "the record types have changed. If a log with the old ones exists anywhere: give the changed types the next \
         version, keep the old ones readable, append the new fingerprint to KNOWN_EVENT_SCHEMAS and add a log with it \
         to wal-logs/. Otherwise replace the last fingerprint. The schema is:\n{}",
        event_schema_text()
    );
    assert!(is_known_event_schema(event_schema_fingerprint()));
    assert!(!is_known_event_schema(Digest128::of(b"another")));
}

#[test]
fn known_schemas_are_digests() {
    assert!(KNOWN_EVENT_SCHEMAS.iter().all(|known| Digest128::parse(known).is_ok()));
}

#[test]
fn a_schema_line_tells_kind_version_fields_and_size() {
    let text = event_schema_text();
    for line in [
        "choiceSocketV1{Public,Private}#1",
        "structLevelV1{price:i64,qty:i64}#16",
        "event3v1LoopTickedV1{}#0",
        "event14v1OutputQueueSampledV1{queue:OutputQueueV1,depth:u32,capacity:u32}#9",
        "config required loop_tick_ms Whole",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn frequent_events_are_small() {
    for event in one_of_each_kind(7) {
        let (record_type, payload) = encoded(&event);
        let most = match record_type.event_name() {
            Some("LoopTicked" | "HeartbeatSeen" | "Crashed" | "Authenticated" | "Subscribed") => 0,
            Some("FrameHeard" | "SocketOpened") => 1,
            Some("LedgerDrained") => 4,
            Some("TickerReceived") => 56,
            _ => continue,
        };
        assert_eq!(payload.len(), most, "{event:?}");
    }
}

#[test]
fn what_is_not_known_is_named() {
    let (record_type, payload) = encoded(&Event::LoopTicked);
    let refused = |kind, version| decode_event(RecordType { kind, version }, &payload).unwrap_err();
    assert_eq!(refused(999, 1), RecordError::UnknownKind { kind: 999 });
    assert_eq!(refused(3, 2), RecordError::UnknownVersion { event: "LoopTicked", version: 2 });
    let left_over = decode_event(record_type, b"x").unwrap_err();
    assert_eq!(left_over, RecordError::Malformed { record: "LoopTickedV1", size_bytes: 1 });
    let gone = ModeReasonV1 { token: "KILL_GONE".to_string() };
    let gone: Result<ModeReason, RecordError> = gone.restore();
    assert_eq!(
        gone.unwrap_err().to_string(),
        "the record names \"KILL_GONE\", which is not in this build's registry of mode reasons"
    );
    let mut config = ConfigV1::sample(&mut Source::new(vec![]));
    let last = config.values.pop().unwrap();
    let missing: Result<Config, RecordError> = config.clone().restore();
    assert!(matches!(missing, Err(RecordError::ConfigMissing { name }) if name == last.name));
    config.values[0].name = "gone".to_string();
    let unknown: Result<Config, RecordError> = config.restore();
    assert_eq!(unknown, Err(RecordError::ConfigUnknown { name: "gone".to_string() }));
}

#[test]
fn every_cut_and_every_flip_of_a_payload_is_an_event_or_an_error() {
    for event in one_of_each_kind(3) {
        let (record_type, payload) = encoded(&event);
        for cut in 0..payload.len() {
            // Shorter bytes may be well formed; frames make sure that they never arrive. They must not do more harm.
            let _ = decode_event(record_type, &payload[..cut]);
            let _ = decode_event(record_type, &payload[cut..]);
        }
        if payload.len() > 2048 {
            continue;
        }
        for bit in 0..payload.len() * 8 {
            let mut payload = payload.clone();
            payload[bit / 8] ^= 1 << (bit % 8);
            if let Ok(event) = decode_event(record_type, &payload) {
                encoded(&event);
            }
        }
    }
}

proptest! {
    #[test]
    fn prop_every_kind_comes_back(kind in 0..EVENT_MAKERS.len(), bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let event = EVENT_MAKERS[kind](&mut Source::new(bytes));
        let (record_type, payload) = encoded(&event);
        prop_assert_eq!(&encoded(&event).1, &payload);
        prop_assert_eq!(decode_event(record_type, &payload).unwrap(), event.clone());
        // Payloads start at any address of a file.
        for shift in 1..8 {
            let mut shifted = vec![0xaa; shift];
            shifted.extend_from_slice(&payload);
            prop_assert_eq!(decode_event(record_type, &shifted[shift..]).unwrap(), event.clone());
        }
    }

    #[test]
    fn prop_any_bytes_are_an_event_or_an_error(kind in 0_u16..64, payload in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(event) = decode_event(RecordType { kind, version: 1 }, &payload) {
            encoded(&event);
        }
    }
}
