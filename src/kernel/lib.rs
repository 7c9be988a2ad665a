//! The safety kernel: one deterministic fold of events into state.
//!
//! [`Kernel::apply`] takes one event and changes the state in place; what the kernel wants done comes out as effects. It
//! has no I/O, no clock, no randomness, no threads, no hash maps and no floats, and no event sequence can make it panic.
//! `no_std` and `forbid(unsafe_code)` let the compiler refuse most of that; the lints below and a test over imports refuse
//! the rest. The rules are in `specs/contract/`; each module names the section it carries out.
//!
//! Order within every event (specs/contract/kernel.md, head): time, then the event, then the mode, then dispatch.
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::arithmetic_side_effects, clippy::float_arithmetic, clippy::indexing_slicing)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]

extern crate alloc;

pub mod config;
pub mod effect;
pub mod event;
pub mod identity;
pub mod registry;
pub mod resolver;
pub mod sizing;
pub mod slot;
pub mod status;
pub mod units;

mod boot;
mod calm;
mod containment;
mod dispatch;
mod feeds;
mod fold;
mod gates;
mod groups;
pub mod ladder;
mod latch;
mod ledger;
mod lifecycle;
mod limiter;
mod monitors;
mod orders;
mod pairs;
mod planted;
mod producers;
mod reconcile;
mod session;
pub mod state;
mod sweeper;

pub use fold::BEHAVIOUR_VERSION;
#[cfg(planted)]
pub use planted::{names as planted_names, plant};
pub use state::{COMPONENTS, Kernel};
