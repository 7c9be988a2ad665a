//! What an amount is worth: the venue's amount, coins and USD of one order. Source: kernel contract section 1; AT-277.

use crate::{
    event::InstrumentKind,
    units::{NANO, PPM, Price, Qty, mul_div},
};

/// The size of an order in every unit that something asks for, in 1e-9 of each. Source: AT-277.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The amount on the wire, in the instrument's own unit.
    pub amount: Qty,
    /// The amount in coins.
    pub qty_coin: Qty,
    /// The amount in USD where that is the instrument's unit; unset for an option.
    pub qty_usd: Option<Qty>,
    /// What it is worth in USD.
    pub notional_usd: Qty,
}

impl Size {
    /// Returns the size of an amount while the index stands at `index` USD; `None` without a positive index.
    #[must_use]
    pub fn of(kind: InstrumentKind, amount: Qty, index: Price) -> Option<Self> {
        if index.0 <= 0 {
            return None;
        }
        Some(match kind {
            InstrumentKind::Perpetual | InstrumentKind::Future => Self {
                amount,
                qty_coin: Qty(mul_div(amount.0, NANO, index.0)),
                qty_usd: Some(amount),
                notional_usd: amount,
            },
            InstrumentKind::Option => {
                Self { amount, qty_coin: amount, qty_usd: None, notional_usd: Qty(mul_div(amount.0, index.0, NANO)) }
            }
        })
    }
}

/// True where contracts times the amount of one contract are within `tolerance` parts per million of the amount; exactly
/// at the tolerance they are. Source: AT-280, `contracts_amount_match_tolerance`.
#[must_use]
pub fn contracts_agree(amount: Qty, contracts: Qty, multiplier: Qty, tolerance: i64) -> bool {
    let judge = || {
        let stated = i128::from(contracts.0).checked_mul(i128::from(multiplier.0))?;
        let amount = i128::from(amount.0).checked_mul(i128::from(NANO))?;
        let apart = amount.checked_sub(stated)?.checked_abs()?.checked_mul(i128::from(PPM))?;
        Some(apart <= amount.checked_abs()?.checked_mul(i128::from(tolerance))?)
    };
    judge().unwrap_or(false)
}
