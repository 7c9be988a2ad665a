//! The venue's request limiter, as far as the kernel knows it. Source: kernel contract section 5; AT-238, AT-239, AT-919.
//!
//! The bucket's last sample says how many requests it still allowed; every request sent since takes one of them. What it
//! gains in the meantime only the next sample tells, so the model never allows more than the bucket does. As it empties:
//!
//! ```text
//! more than one containment round   everything goes
//! one containment round or less     data refreshes are shed
//! nothing left, or an HTTP 429      OPEN is refused as well; CANCEL, CLOSE, HEDGE and emergency closes go on
//! ```

use alloc::vec::Vec;

use crate::{
    effect::{Effect, RestQuery},
    feeds::instrument_id,
    state::{Cause, Kernel, Purpose},
    units::InstrumentId,
};

impl Kernel {
    /// True while the venue limits our requests: an OPEN is refused with `RateLimitBrownout`. Source: AT-919, AT-239.
    pub(crate) fn under_pressure(&self) -> bool {
        self.monitors.cause(Cause::RateLimited).is_some() || self.monitors.credits.is_some_and(|credits| credits <= 0)
    }

    /// Takes one request off the bucket.
    pub(crate) fn spend(&mut self) {
        self.monitors.credits = self.monitors.credits.map(|credits| credits.saturating_sub(1));
    }

    /// True where a data refresh may go out: no pressure, and more left than the orders of one containment round need.
    /// Source: AT-238, AT-239.
    fn may_refresh(&self) -> bool {
        let config = self.config();
        let round = config.rescue_attempts_max.saturating_add(config.close_attempts_max).saturating_add(1);
        !self.under_pressure() && self.monitors.credits.is_none_or(|credits| credits > round)
    }

    /// Asks for the books and trades that gaps want, last in the event, so that orders and cancels overtake them; what is
    /// shed stays wanted. A trades pull that failed is repeated for as long as its hole is open. Source: AT-238, AT-271,
    /// AT-272.
    pub(crate) fn refresh_feeds(&mut self, effects: &mut Vec<Effect>) {
        let books: Vec<InstrumentId> = self.wanting(self.feeds.books.iter().map(|book| book.pull_wanted));
        let holes = self.feeds.trades.iter().map(|feed| {
            feed.hole.is_some_and(|hole| hole.pull.is_none_or(|pull| !self.session.pending.contains_key(&pull)))
        });
        let trades: Vec<InstrumentId> = self.wanting(holes);
        for instrument in books {
            if self.may_refresh() {
                self.pull_book(instrument, effects);
            }
        }
        for instrument in trades {
            if self.may_refresh() {
                let pull = self.ask(RestQuery::RecentTrades(instrument), Purpose::Trades(instrument), effects);
                if let Some(hole) = self.feeds.trades.get_mut(instrument.index()).and_then(|feed| feed.hole.as_mut()) {
                    hole.pull = Some(pull);
                }
            }
        }
    }

    fn wanting(&self, wants: impl Iterator<Item = bool>) -> Vec<InstrumentId> {
        wants.enumerate().filter(|(_, wants)| *wants).map(|(index, _)| instrument_id(index)).collect()
    }
}
