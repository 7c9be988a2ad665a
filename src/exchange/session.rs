//! What the venue keeps a connection: market-data subscriptions on the public one, authentication on the private one.

use std::collections::BTreeSet;

use drillfold_kernel::{
    event::{BookChange, BookSnapshot, Channel, Event, PublicTrade, Socket, Ticker},
    units::InstrumentId,
};

/// One message of market data, synthetic or recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarketData {
    /// A whole book.
    Snapshot(BookSnapshot),
    /// An incremental book message.
    Changed(BookChange),
    /// A batch of public trades of one instrument.
    Traded {
        /// The instrument.
        instrument: InstrumentId,
        /// The trades, in the order of the message.
        trades: Vec<PublicTrade>,
    },
    /// A ticker.
    Ticked(Ticker),
    /// A recorded frame that could not be used.
    Unusable {
        /// The instrument it would have concerned, where that is known.
        instrument: Option<InstrumentId>,
        /// The channel it came on.
        channel: Channel,
    },
}

impl MarketData {
    /// Returns the instrument that the message concerns, where it is known.
    #[must_use]
    pub const fn instrument(&self) -> Option<InstrumentId> {
        match self {
            Self::Snapshot(snapshot) => Some(snapshot.instrument),
            Self::Changed(change) => Some(change.instrument),
            Self::Traded { instrument, .. } => Some(*instrument),
            Self::Ticked(ticker) => Some(ticker.instrument),
            Self::Unusable { instrument, .. } => *instrument,
        }
    }

    /// Returns the event that its arrival is.
    #[must_use]
    pub fn into_event(self) -> Event {
        match self {
            Self::Snapshot(snapshot) => Event::BookSnapshot(snapshot),
            Self::Changed(change) => Event::BookChanged(change),
            Self::Traded { instrument, trades } => Event::TradesReceived { instrument, trades },
            Self::Ticked(ticker) => Event::TickerReceived(ticker),
            Self::Unusable { instrument, channel } => {
                Event::FrameRejected { socket: Socket::Public, instrument, channel }
            }
        }
    }
}

/// The market-data service: who is subscribed, whose books have had their snapshot, whether anything is sent at all.
#[derive(Clone, Debug)]
pub struct Publisher {
    subscriber: Option<u64>,
    /// Instruments whose book the subscriber has had a snapshot of since it subscribed.
    with_snapshot: Vec<bool>,
    stopped: bool,
    /// True from a stop until a subscriber can hear trades again, so that the stop leaves no hole in the trades.
    trades_held: bool,
}

impl Publisher {
    /// Returns a service without subscriber for so many instruments.
    #[must_use]
    pub fn new(instruments: usize) -> Self {
        Self { subscriber: None, with_snapshot: vec![false; instruments], stopped: false, trades_held: false }
    }

    /// Subscribes a connection to everything; each book's first message is its snapshot.
    pub fn subscribe(&mut self, connection: u64) {
        self.subscriber = Some(connection);
        self.with_snapshot.fill(false);
        if !self.stopped {
            self.trades_held = false;
        }
    }

    /// Subscribes a connection to one book again, if it is the subscriber; tells whether it is.
    pub fn resubscribe(&mut self, connection: u64, instrument: InstrumentId) -> bool {
        match self.with_snapshot.get_mut(instrument.index()) {
            Some(had) if self.subscriber == Some(connection) => {
                *had = false;
                true
            }
            _ => false,
        }
    }

    /// Stops sending; the market goes on, except that no trades are made.
    pub const fn stop(&mut self) {
        self.stopped = true;
        self.trades_held = true;
    }

    /// Sends again.
    pub const fn resume(&mut self) {
        self.stopped = false;
    }

    /// Lets trades be made again once the service runs and `listening` tells that its subscriber hears it.
    pub const fn release_trades(&mut self, listening: bool) {
        if !self.stopped && listening {
            self.trades_held = false;
        }
    }

    /// True while nothing is sent.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// True while no public trades are made.
    #[must_use]
    pub const fn holds_trades(&self) -> bool {
        self.trades_held
    }

    /// Returns the subscribed connection.
    #[must_use]
    pub const fn subscriber(&self) -> Option<u64> {
        self.subscriber
    }

    /// True where the subscriber still waits for a book's snapshot.
    #[must_use]
    pub fn owes_snapshot(&self, instrument: InstrumentId) -> bool {
        self.subscriber.is_some() && self.with_snapshot.get(instrument.index()) == Some(&false)
    }

    /// Notes that a snapshot is sent.
    pub fn snapshot_sent(&mut self, instrument: InstrumentId) {
        if let Some(had) = self.with_snapshot.get_mut(instrument.index()) {
            *had = true;
        }
    }

    /// True where the message goes to the subscriber: changes only after their book's snapshot.
    #[must_use]
    pub fn wants(&self, data: &MarketData) -> bool {
        self.subscriber.is_some()
            && match data {
                MarketData::Changed(change) => self.with_snapshot.get(change.instrument.index()) == Some(&true),
                MarketData::Snapshot(_)
                | MarketData::Traded { .. }
                | MarketData::Ticked(_)
                | MarketData::Unusable { .. } => true,
            }
    }
}

/// Which private connections are authenticated.
#[derive(Clone, Debug, Default)]
pub struct PrivateSessions {
    authenticated: BTreeSet<u64>,
}

impl PrivateSessions {
    /// Accepts a connection's authentication.
    pub fn accept(&mut self, connection: u64) {
        self.authenticated.insert(connection);
    }

    /// Ends a connection's session.
    pub fn end(&mut self, connection: u64) {
        self.authenticated.remove(&connection);
    }

    /// True where the connection may trade and hears about its orders.
    #[must_use]
    pub fn is_authenticated(&self, connection: u64) -> bool {
        self.authenticated.contains(&connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(instrument: u16) -> MarketData {
        MarketData::Changed(BookChange {
            instrument: InstrumentId(instrument),
            prev_change_id: 1,
            change_id: 2,
            bids: vec![],
            asks: vec![],
        })
    }

    #[test]
    fn a_books_first_message_is_its_snapshot() {
        let mut publisher = Publisher::new(2);
        assert!(!publisher.wants(&change(0)));
        publisher.subscribe(1);
        assert!(publisher.owes_snapshot(InstrumentId(0)) && !publisher.wants(&change(0)));
        publisher.snapshot_sent(InstrumentId(0));
        assert!(publisher.wants(&change(0)) && !publisher.wants(&change(1)) && !publisher.wants(&change(9)));
        assert!(!publisher.resubscribe(2, InstrumentId(0)));
        assert!(publisher.resubscribe(1, InstrumentId(0)));
        assert!(publisher.owes_snapshot(InstrumentId(0)) && !publisher.wants(&change(0)));
        assert!(!publisher.resubscribe(1, InstrumentId(9)));
    }

    #[test]
    fn a_stop_holds_trades_until_someone_listens() {
        let mut publisher = Publisher::new(1);
        publisher.subscribe(1);
        publisher.stop();
        publisher.subscribe(2);
        assert!(publisher.is_stopped() && publisher.holds_trades());
        publisher.release_trades(true);
        assert!(publisher.holds_trades());
        publisher.resume();
        publisher.release_trades(false);
        assert!(publisher.holds_trades());
        publisher.release_trades(true);
        assert!(!publisher.holds_trades());
    }
}
