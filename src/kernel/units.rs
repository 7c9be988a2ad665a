//! Newtypes for times, sequence numbers, prices, quantities and ratios.
//!
//! Every number the kernel reads is an integer in a named unit; each unit has one decimal scale. Arithmetic saturates, so
//! that no event sequence can make the fold panic.

use serde::{Deserialize, Serialize};

/// Units of a [`Price`], a [`Qty`] or [`Coins`] in one: nano, so that `atomic_qty_epsilon` (1e-9) is exactly one unit.
pub const NANO: i64 = 1_000_000_000;

/// Parts of a [`Ppm`] in one.
pub const PPM: i64 = 1_000_000;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub i64);

        impl $name {
            /// Zero of this unit.
            pub const ZERO: Self = Self(0);

            /// Returns the sum, held at the type's limits.
            #[must_use]
            pub const fn plus(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }

            /// Returns the difference, held at the type's limits.
            #[must_use]
            pub const fn minus(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }

            /// Returns the absolute value, held at the type's limits.
            #[must_use]
            pub const fn abs(self) -> Self {
                Self(self.0.saturating_abs())
            }

            /// Returns the value with its sign turned, held at the type's limits.
            #[must_use]
            pub const fn negated(self) -> Self {
                Self(self.0.saturating_neg())
            }

            /// True for exactly zero.
            #[must_use]
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }
        }
    };
}

unit! {
    /// A price in 1e-9 of its quote unit (USD for perpetuals and futures, coins for options).
    Price
}
unit! {
    /// An amount in 1e-9 of the instrument's own amount unit (USD for inverse contracts, coins for options); signed where
    /// it is a position.
    Qty
}
unit! {
    /// An amount of the underlying in 1e-9 coins; signed.
    Coins
}
unit! {
    /// A ratio in parts per million; 1_000_000 is one.
    Ppm
}

/// A moment in milliseconds since the epoch, on the event's own monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimeMs(pub i64);

impl TimeMs {
    /// Returns the milliseconds from `earlier` to `self`; negative where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the moment `ms` milliseconds later.
    #[must_use]
    pub const fn after(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Returns the moment `ms` milliseconds earlier.
    #[must_use]
    pub const fn before(self, ms: i64) -> Self {
        Self(self.0.saturating_sub(ms))
    }
}

/// Gapless number of an event in a run, from 1; the only replay order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seq(pub u64);

/// Where in a run something happened: the event's number and its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// The event's sequence number.
    pub seq: Seq,
    /// The event's time.
    pub at: TimeMs,
}

/// Index of an instrument in the boot event's instrument table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstrumentId(pub u16);

impl InstrumentId {
    /// Returns the index into tables that have one entry an instrument.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Index of an underlying (BTC, ETH) in order of first appearance in the instrument table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnderlyingId(pub u8);

/// The venue's number of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderId(pub u64);

/// The venue's number of a trade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TradeId(pub u64);

/// Identity of an intent: xxhash64 over its quantised fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IntentHash(pub u64);

/// Number of a REST request within one boot, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// Direction of an order or a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// Adds to the position.
    Buy,
    /// Takes from the position.
    Sell,
}

impl Side {
    /// Returns the other side.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    /// Returns `value` with this side's sign: positive for Buy, negative for Sell.
    #[must_use]
    pub const fn sign(self, value: i64) -> i64 {
        match self {
            Self::Buy => value,
            Self::Sell => value.saturating_neg(),
        }
    }
}

/// Returns `a * b / c`, rounded towards zero and held at the limits of `i64`; zero where `c` is zero.
#[must_use]
pub const fn mul_div(a: i64, b: i64, c: i64) -> i64 {
    if c == 0 {
        return 0;
    }
    // The product of two i64 fits an i128, and i128::MIN / -1 cannot occur: |a * b| <= 2^126.
    match (a as i128).saturating_mul(b as i128).checked_div(c as i128) {
        Some(wide) if wide > i64::MAX as i128 => i64::MAX,
        Some(wide) if wide < i64::MIN as i128 => i64::MIN,
        Some(wide) => wide as i64,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mul_div_rounds_towards_zero_and_saturates() {
        assert_eq!(mul_div(7, 3, 2), 10);
        assert_eq!(mul_div(-7, 3, 2), -10);
        assert_eq!(mul_div(i64::MAX, i64::MAX, 1), i64::MAX);
        assert_eq!(mul_div(i64::MIN, i64::MAX, 1), i64::MIN);
        assert_eq!(mul_div(i64::MIN + 1, 2, 1), i64::MIN);
        assert_eq!(mul_div(i64::MAX, 2, 1), i64::MAX);
        assert_eq!(mul_div(1, 1, 0), 0);
    }
}
