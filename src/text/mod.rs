//! What every room needs that reads text written by people or by the venue: exact decimals, times and name
//! suggestions.
//!
//! **Owns** the one reading of a decimal number ([`decimal`]), of durations and moments ([`time`]), of a speed ([`mod@speed`]), and the one rule for "did
//! you mean" ([`nearest`]).
//!
//! **Invariants.** No binary float takes part in a value: a number is read from its decimal digits into a scaled integer,
//! or it is refused. Nothing here panics, whatever the text.
//!
//! **What it does not do.** It knows no unit and no format: which scale a number has, and which names there are, is the
//! caller's.

pub mod clip;
pub mod decimal;
pub mod nearest;
pub mod speed;
pub mod time;
