//! The network: two sockets that keep the order of their messages, and REST, which does not.
//!
//! A connection has a number. What travels carries the number of the connection it was sent on, and is lost where that
//! connection is gone on arrival.

use std::collections::BTreeSet;

use drillfold_kernel::units::TimeMs;

use super::{
    error::SimError,
    prng::{Prng, Stream},
};
use crate::{exchange::Draw as _, scenario::model::Latency};

/// One direction of a socket: a later message never arrives before an earlier one.
#[derive(Clone, Debug)]
pub(super) struct Link {
    delay_ms: (i64, i64),
    last_arrival: TimeMs,
    prng: Prng,
}

impl Link {
    pub(super) const fn new(delay_ms: (i64, i64), prng: Prng) -> Self {
        Self { delay_ms, last_arrival: TimeMs(i64::MIN), prng }
    }

    /// Returns when a message sent now arrives.
    pub(super) fn arrival(&mut self, now: TimeMs) -> TimeMs {
        self.last_arrival = now.after(self.delay()).max(self.last_arrival);
        self.last_arrival
    }

    /// Returns a delay that no other message waits for.
    pub(super) fn delay(&mut self) -> i64 {
        self.prng.between(self.delay_ms.0, self.delay_ms.1)
    }
}

/// Where a socket stands, seen from the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not there.
    Closed,
    /// Being connected.
    Connecting,
    /// Connected.
    Open,
}

/// One socket with its two directions.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    number: u64,
    phase: Phase,
    /// Connections whose requests still reach the venue: the current one, and those of a process that died after sending.
    reaching: BTreeSet<u64>,
    /// From us to the venue.
    pub(super) up: Link,
    /// From the venue to us.
    pub(super) down: Link,
}

impl Connection {
    pub(super) const fn new(up: Link, down: Link) -> Self {
        Self { number: 0, phase: Phase::Closed, reaching: BTreeSet::new(), up, down }
    }

    /// Returns the number of the newest connection.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Begins a new connection in place of the old one, which is lost with all that travels on it; returns when it is open.
    pub(super) fn connect(&mut self, now: TimeMs) -> TimeMs {
        self.lose();
        self.number = self.number.saturating_add(1);
        self.phase = Phase::Connecting;
        let round_trip = self.up.delay().saturating_add(self.down.delay());
        now.after(round_trip)
    }

    /// Opens a connection that is being connected; tells whether it was.
    pub(super) fn open(&mut self, number: u64) -> bool {
        if self.number != number || self.phase != Phase::Connecting {
            return false;
        }
        self.phase = Phase::Open;
        self.reaching.insert(number);
        true
    }

    /// Opens a connection that was made before the process could tell.
    pub(super) fn open_at_boot(&mut self) {
        self.number = self.number.saturating_add(1);
        self.phase = Phase::Open;
        self.reaching.insert(self.number);
    }

    /// Loses the connection with everything that travels on it; tells whether there was one, or one being made.
    pub(super) fn lose(&mut self) -> bool {
        self.reaching.remove(&self.number);
        std::mem::replace(&mut self.phase, Phase::Closed) != Phase::Closed
    }

    /// The process died: what it sent still reaches the venue, what is sent to it is lost.
    pub(super) const fn abandon(&mut self) {
        self.phase = Phase::Closed;
    }

    /// The venue closed its end: requests no longer reach it, while its last messages still travel to us.
    pub(super) fn close_at_venue(&mut self) {
        self.reaching.remove(&self.number);
    }

    /// True where a message to us, sent on this connection, arrives.
    pub(super) const fn arrives(&self, number: u64) -> bool {
        self.is_open() && self.number == number
    }

    /// True where a request of ours, sent on this connection, reaches the venue.
    pub(super) fn reaches(&self, number: u64) -> bool {
        self.reaching.contains(&number)
    }
}

/// The whole network.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) public: Connection,
    pub(super) private: Connection,
    /// Each request and answer has its own delay.
    pub(super) rest: Link,
}

impl Network {
    /// Sets the delays that are given, lowest and highest in ms; tells whether that changed any.
    pub(super) fn set_delays(
        &mut self,
        public_ms: Option<(i64, i64)>,
        private_ms: Option<(i64, i64)>,
        rest_ms: Option<(i64, i64)>,
    ) -> bool {
        let links = [
            (&mut self.public.up, public_ms),
            (&mut self.public.down, public_ms),
            (&mut self.private.up, private_ms),
            (&mut self.private.down, private_ms),
            (&mut self.rest, rest_ms),
        ];
        links.into_iter().fold(false, |changed, (link, delay_ms)| {
            delay_ms.is_some_and(|new| std::mem::replace(&mut link.delay_ms, new) != new) || changed
        })
    }

    pub(super) fn new(latency: &Latency, seed: u64) -> Result<Self, SimError> {
        for (what, (lowest, highest)) in [
            ("latency.public", latency.public_ms),
            ("latency.private", latency.private_ms),
            ("latency.rest", latency.rest_ms),
        ] {
            if lowest < 0 {
                return Err(SimError::OutOfRange { what, found: lowest, expected: "0 ms or more" });
            }
            if highest < lowest {
                let expected = "a highest delay that is not below the lowest";
                return Err(SimError::OutOfRange { what, found: highest, expected });
            }
        }
        let link = |delay_ms, stream| Link::new(delay_ms, Prng::new(seed, stream));
        Ok(Self {
            public: Connection::new(
                link(latency.public_ms, Stream::PublicUp),
                link(latency.public_ms, Stream::PublicDown),
            ),
            private: Connection::new(
                link(latency.private_ms, Stream::PrivateUp),
                link(latency.private_ms, Stream::PrivateDown),
            ),
            rest: link(latency.rest_ms, Stream::Rest),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LATENCY: Latency = Latency { public_ms: (0, 50), private_ms: (1, 9), rest_ms: (5, 5) };

    proptest! {
        #[test]
        fn prop_a_link_keeps_order_and_delays_within_its_range(
            seed in any::<u64>(),
            gaps in prop::collection::vec(0_i64..40, 1..200),
        ) {
            let mut link = Network::new(&LATENCY, seed).unwrap().public.down;
            let (mut now, mut before) = (TimeMs(0), TimeMs(0));
            for gap in gaps {
                now = now.after(gap);
                let arrival = link.arrival(now);
                prop_assert!(arrival >= before && arrival >= now && arrival <= now.after(50));
                before = arrival;
            }
        }
    }

    #[test]
    fn a_lost_connection_takes_what_travels_with_it_and_a_dead_process_what_comes_to_it() {
        let mut socket = Network::new(&LATENCY, 1).unwrap().private;
        assert!(!socket.lose());
        socket.open_at_boot();
        assert!(socket.arrives(1) && socket.reaches(1));
        assert!(socket.lose());
        assert!(!socket.arrives(1) && !socket.reaches(1));
        socket.connect(TimeMs(0));
        assert!(!socket.is_open() && !socket.open(1) && socket.open(2) && !socket.open(2));
        socket.abandon();
        assert!(!socket.arrives(2) && socket.reaches(2));
        socket.open_at_boot();
        assert!(socket.arrives(3) && socket.reaches(3) && socket.reaches(2));
        socket.close_at_venue();
        assert!(socket.arrives(3) && !socket.reaches(3));
    }

    #[test]
    fn delays_out_of_range_are_refused() {
        let refused = |latency: Latency| Network::new(&latency, 1).unwrap_err().to_string();
        assert_eq!(refused(Latency { rest_ms: (-1, 5), ..LATENCY }), "latency.rest is -1, expected 0 ms or more");
        assert_eq!(
            refused(Latency { public_ms: (6, 5), ..LATENCY }),
            "latency.public is 5, expected a highest delay that is not below the lowest"
        );
    }
}
