//! Wire formats to typed market data: Deribit frames and recordings of them.
//!
//! **Owns** the reading of Deribit's JSON-RPC notifications ([`deribit`]), the line format of recordings ([`recording`]), what
//! a recording holds ([`mod@survey`]), and the way from a recording to the inputs of a run ([`inputs`]).
//!
//! **Invariants.** Prices and amounts are read from their decimal text into integers of 1e-9; no binary float takes part. A
//! frame that can't be used is a typed answer that names the field, never a panic, and never a guess. Whatever a frame
//! says, nothing is reordered: messages come out in the order they came in.
//!
//! **What it does not do.** It decides nothing: gaps, duplicates and stale data are the kernel's matter. It opens no socket
//! and no file.

pub mod deribit;
pub mod error;
pub mod inputs;
pub mod recording;
pub mod survey;

pub use inputs::{Instruments, recorded_inputs};

#[cfg(test)]
mod tests;
