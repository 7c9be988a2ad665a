//! The simulated world: clock, event queue, network, host, ledger writer, strategy, and the driver that hands out inputs.
//!
//! [`Simulation`] is everything that is not the kernel. Its caller appends each [`Input`] to the log, applies its event to the
//! kernel, and gives the kernel's effects back, so that the write-ahead order is visible in one loop:
//!
//! ```text
//! while let Some(input) = simulation.next() {
//!     append(input)  →  kernel.apply(input.event)  →  simulation.carry_out(effects)
//! }
//! ```
//!
//! Faults are the timeline's steps (`scenario::model::Action`): lost, doubled and numbered-down market data, refused and
//! starved orders, ended sessions, lost sockets, refused and lost REST requests, a stalled ledger writer, crashes at named
//! points. How often each one really took effect is counted, so that a drill in which nothing happened is seen as such.
//!
//! [`Live`] is the same world with a public feed that is real: its caller says what time it is and what arrived, and carries
//! out what concerns the public socket.
//!
//! [`Legs`] makes the worlds of a long log from a seed, with such faults strewn over their time.
//!
//! **Invariant:** the room does not know the log, files, the host's clock or threads.
//! **Invariant:** everything that happens has one place in one queue, by time and then by the order it was put there.
//! **Invariant:** all randomness is one named generator with a stream for each purpose; a fault of strength zero draws
//! nothing and changes nothing.
//! **Invariant:** the strategy sees only events that reached the process.

mod crash;
mod error;
mod faults;
mod host;
mod ledger;
mod legs;
mod live;
mod network;
pub mod prng;
mod queue;
mod recorded;
mod simulation;
mod steps;
mod strategy;
mod wire;

pub use error::SimError;
pub use legs::{Fault, Leg, Legs};
pub use live::{Live, PublicRequest, Survived};
pub use recorded::{RecordedInput, RecordedMessage};
pub use simulation::{Deployment, Ending, Input, Mark, Simulation};

#[cfg(test)]
mod tests;
