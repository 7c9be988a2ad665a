//! Identity of intents: quantised fields, hash and wire label. Source: kernel contract section 1; AT-216, AT-218, AT-343.

use alloc::{format, string::String, vec::Vec};

use crate::{
    event::Instrument,
    registry::RejectReason,
    units::{IntentHash, Price, Qty, Side},
};

/// Longest label the venue takes, in characters.
pub const LABEL_LENGTH_MAX: usize = 64;

/// Rounds an amount and a price to what the instrument allows: amounts down, a buyer's price down, a seller's up.
///
/// # Errors
/// [`RejectReason::InstrumentMetadataMissing`] without tick size, step or minimum;
/// [`RejectReason::TooSmallAfterQuantization`] below the minimum. Source: AT-219, AT-908, AT-926.
pub fn quantise(instrument: &Instrument, side: Side, qty: Qty, price: Price) -> Result<(Qty, Price), RejectReason> {
    let (Some(tick), Some(step), Some(min)) = (instrument.tick_size, instrument.amount_step, instrument.min_amount)
    else {
        return Err(RejectReason::InstrumentMetadataMissing);
    };
    if tick.0 <= 0 || step.0 <= 0 || min.0 <= 0 {
        return Err(RejectReason::InstrumentMetadataMissing);
    }
    let qty = Qty(round_down(qty.0, step.0));
    if qty.0 < min.0 {
        return Err(RejectReason::TooSmallAfterQuantization);
    }
    let price = match side {
        Side::Buy => round_down(price.0, tick.0),
        Side::Sell => round_down(price.0.saturating_add(tick.0.saturating_sub(1)), tick.0),
    };
    Ok((qty, Price(price)))
}

/// Rounds towards minus infinity to a multiple of `step`, which must be positive.
pub(crate) const fn round_down(value: i64, step: i64) -> i64 {
    match value.checked_rem_euclid(step) {
        Some(rest) => value.saturating_sub(rest),
        None => value,
    }
}

/// The fields that make an intent what it is.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// The venue's name of the instrument.
    pub instrument: &'a str,
    /// Direction.
    pub side: Side,
    /// Quantised amount.
    pub qty: Qty,
    /// Quantised limit price.
    pub price: Price,
    /// The group.
    pub group_id: &'a str,
    /// The leg's index in it.
    pub leg: u16,
}

/// Returns xxhash64 (seed 0) over the fields: each text as its length (u32) and its bytes, then side (0 Buy, 1 Sell), amount
/// and price (i64) and leg (u16), all little-endian, in the order instrument, side, amount, price, group, leg.
#[must_use]
pub fn intent_hash(fields: &Fields<'_>) -> IntentHash {
    let mut bytes = Vec::new();
    push_text(&mut bytes, fields.instrument);
    bytes.push(match fields.side {
        Side::Buy => 0,
        Side::Sell => 1,
    });
    bytes.extend_from_slice(&fields.qty.0.to_le_bytes());
    bytes.extend_from_slice(&fields.price.0.to_le_bytes());
    push_text(&mut bytes, fields.group_id);
    bytes.extend_from_slice(&fields.leg.to_le_bytes());
    IntentHash(xxhash_rust::xxh64::xxh64(&bytes, 0))
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// Returns the wire label `s4:{sid8}:{gid12}:{li}:{ih16}`.
///
/// # Errors
/// [`RejectReason::LabelTooLong`] past [`LABEL_LENGTH_MAX`]; a label is never truncated. Source: AT-041, AT-921.
pub fn label(strategy_id: &str, group_id: &str, leg: u16, intent: IntentHash) -> Result<String, RejectReason> {
    let label = format!("s4:{strategy_id}:{group_id}:{leg}:{:016x}", intent.0);
    if label.chars().count() > LABEL_LENGTH_MAX {
        return Err(RejectReason::LabelTooLong);
    }
    Ok(label)
}

/// The parts of a wire label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelParts<'a> {
    /// The strategy.
    pub strategy_id: &'a str,
    /// The group.
    pub group_id: &'a str,
    /// The leg.
    pub leg: u16,
    /// The intent's hash.
    pub intent: IntentHash,
}

/// Takes a label apart; `None` where it is not one of ours.
#[must_use]
pub fn parse_label(label: &str) -> Option<LabelParts<'_>> {
    if label.chars().count() > LABEL_LENGTH_MAX {
        return None;
    }
    let mut parts = label.strip_prefix("s4:")?.split(':');
    let (strategy_id, group_id, leg, hash) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || hash.len() != 16 || strategy_id.is_empty() || group_id.is_empty() {
        return None;
    }
    Some(LabelParts {
        strategy_id,
        group_id,
        leg: leg.parse().ok()?,
        intent: IntentHash(u64::from_str_radix(hash, 16).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::InstrumentKind,
        units::{TimeMs, UnderlyingId},
    };

    fn instrument(tick: i64, step: i64, min: i64) -> Instrument {
        Instrument {
            name: "BTC-PERPETUAL".into(),
            kind: InstrumentKind::Perpetual,
            underlying: UnderlyingId(0),
            tick_size: Some(Price(tick)),
            amount_step: Some(Qty(step)),
            min_amount: Some(Qty(min)),
            subscribed: true,
            fetched_at: TimeMs(0),
        }
    }

    #[test]
    fn at_219_a_price_is_never_made_worse() {
        let of = instrument(5, 10, 10);
        assert_eq!(quantise(&of, Side::Buy, Qty(25), Price(13)), Ok((Qty(20), Price(10))));
        assert_eq!(quantise(&of, Side::Sell, Qty(25), Price(13)), Ok((Qty(20), Price(15))));
        assert_eq!(quantise(&of, Side::Sell, Qty(25), Price(15)), Ok((Qty(20), Price(15))));
    }

    #[test]
    fn at_908_and_at_926_what_cannot_be_quantised_is_refused() {
        let of = instrument(5, 10, 20);
        assert_eq!(quantise(&of, Side::Buy, Qty(19), Price(13)), Err(RejectReason::TooSmallAfterQuantization));
        assert_eq!(quantise(&of, Side::Buy, Qty(20), Price(13)), Ok((Qty(20), Price(10))));
        let mut missing = of;
        missing.tick_size = None;
        assert_eq!(quantise(&missing, Side::Buy, Qty(20), Price(13)), Err(RejectReason::InstrumentMetadataMissing));
    }

    #[test]
    fn at_216_a_label_comes_back_as_it_was_built() {
        let built = label("drillfld", "g00000000001", 3, IntentHash(0xabc)).unwrap();
        let parts = parse_label(&built).unwrap();
        assert_eq!((parts.strategy_id, parts.group_id, parts.leg), ("drillfld", "g00000000001", 3));
        assert_eq!(parts.intent, IntentHash(0xabc));
        let strange = [
            "x",
            "s4:a:b:c:d",
            "s3:a:b:0:0000000000000001",
            "s4:a:b:0:000000000000001",
            "s4:a:b:0:00000000000000001",
            "s4:a:b:0:000000000000000g",
            "s4::b:0:0000000000000001",
            "s4:a::0:0000000000000001",
            "s4:a:b::0000000000000001",
            "s4:a:b:65536:0000000000000001",
            "s4:a:b:0:0000000000000001:",
            "s4:a:b:0",
        ];
        for label in strange {
            assert_eq!(parse_label(label), None, "{label}");
        }
        assert!(parse_label("s4:a:b:65535:ffffffffffffffff").is_some());
    }

    #[test]
    fn a_label_has_64_characters_at_most() {
        let of = |length: usize| format!("s4:{}:g:0:{:016x}", "a".repeat(length - 24), 1);
        assert_eq!(of(LABEL_LENGTH_MAX).len(), LABEL_LENGTH_MAX);
        assert!(parse_label(&of(LABEL_LENGTH_MAX)).is_some());
        assert_eq!(parse_label(&of(LABEL_LENGTH_MAX + 1)), None);
    }

    #[test]
    fn at_921_a_long_label_is_refused_not_cut() {
        // "s4:" + sid + ":" + gid + ":0:" + 16 digits: 22 characters beside the two names and one more colon.
        let fits = "a".repeat(LABEL_LENGTH_MAX - 23 - 12);
        assert_eq!(label(&fits, "g00000000001", 0, IntentHash(1)).unwrap().len(), LABEL_LENGTH_MAX);
        let long = "a".repeat(LABEL_LENGTH_MAX - 22 - 12);
        assert_eq!(label(&long, "g00000000001", 0, IntentHash(1)), Err(RejectReason::LabelTooLong));
    }
}
