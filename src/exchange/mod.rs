//! The simulated exchange: books, matching, positions, order history, market-data subscriptions and private sessions.
//!
//! The room owns what the venue knows, and nothing of what travels: delays, losses and everything that happens on the way
//! belong to `sim`. Orders are matched against the synthetic (or recorded) book at once and go on being matched while the
//! client is gone.
//!
//! **Invariant:** the exchange cannot see the state it is testing; it knows wire values ([`drillfold_kernel::event`]) and
//! units only.
//! **Invariant:** it has no clock and no generator of its own; time and a [`Draw`] are handed in.
//!
//! What it does not model: other traders' reaction to our orders, our resting orders in the public book, our own fills in
//! the public trades, fees, margin, rate credits, cancel-on-disconnect.

mod book;
mod market;
mod session;
mod venue;

pub use book::Book;
pub use market::{Listing, Market, MarketShape, RECENT_TRADES_MAX, Stress};
pub use session::{MarketData, PrivateSessions, Publisher};
pub use venue::{CancelTarget, NewOrder, Report, StrayOrder, Treatment, Venue, VenueError, codes};

/// A source of random integers, handed in by whoever drives the exchange.
pub trait Draw {
    /// Returns an integer between `first` and `last`, both included; `first` where the range holds nothing else.
    fn between(&mut self, first: i64, last: i64) -> i64;
}
