//! What a client, and all of them together, may take.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
};

/// What one client, and all of them together, may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; one more waits until another has ended.
    pub connections_max: usize,
    /// Largest request line with its headers, bytes; at least 8192. A larger one is answered with 431.
    pub head_bytes_max: usize,
    /// Most headers of a request; with more it is answered with 431.
    pub headers_max: usize,
    /// Longest target of a request, bytes, inclusive; a longer one is answered with 414.
    pub target_bytes_max: usize,
    /// Time for a client to send a request's head, and for a connection to stay idle. Then it is cut.
    pub head_timeout: Duration,
    /// Time in which a client takes some of an answer that does not fit on the way. Then it is cut.
    pub write_timeout: Duration,
    /// What the system may hold of what a client has not taken yet, bytes.
    pub unsent_bytes_max: usize,
    /// Streams of events at a time; one more is answered with 503.
    pub streams_max: usize,
    /// Time from a connection's beginning in which it may begin requests; it ends after the answer at hand. A stream of
    /// events goes on.
    pub connection_timeout: Duration,
    /// Time for answers at hand once the server is to stop, or the connection's time is over. Then they are cut.
    pub finish_timeout: Duration,
    /// Requests a second of one client address, in the long run; one more is answered with 429.
    pub requests_per_second_max: NonZeroU32,
    /// Requests that a client address may send at once before that counts.
    pub requests_burst_max: NonZeroU32,
    /// Client addresses whose requests are counted apart; those that come when so many are at it are counted as one.
    pub addresses_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 128,
            head_bytes_max: 8192,
            headers_max: 64,
            target_bytes_max: 1024,
            head_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(5),
            unsent_bytes_max: 32 * 1024,
            streams_max: 32,
            connection_timeout: Duration::from_secs(60),
            finish_timeout: Duration::from_secs(2),
            requests_per_second_max: NonZeroU32::new(5_000).unwrap_or(NonZeroU32::MAX),
            requests_burst_max: NonZeroU32::new(20_000).unwrap_or(NonZeroU32::MAX),
            addresses_max: 4_096,
        }
    }
}

/// How many requests each client address has left.
#[derive(Debug)]
pub(super) struct Rates {
    left: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    addresses_max: usize,
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        let quota = Quota::per_second(limits.requests_per_second_max).allow_burst(limits.requests_burst_max);
        Self {
            left: DefaultKeyedRateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            addresses_max: limits.addresses_max,
        }
    }

    /// Returns under which address a new connection's requests are counted.
    ///
    /// A client has a whole network of 64 bits where it has one address of IPv6. Addresses that have all their requests
    /// left again are forgotten, so that the table is bounded by connections and `addresses_max`.
    pub(super) fn counted_as(&self, address: IpAddr) -> IpAddr {
        const NETWORK: u128 = u128::MAX << 64;
        if self.left.len() >= self.addresses_max {
            self.left.retain_recent();
            if self.left.len() >= self.addresses_max {
                return IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            }
        }
        match address.to_canonical() {
            IpAddr::V6(of) if of != Ipv6Addr::LOCALHOST => IpAddr::V6(Ipv6Addr::from_bits(of.to_bits() & NETWORK)),
            other => other,
        }
    }

    /// Takes one request; where none is left, returns in how many seconds there is one again, at least 1.
    pub(super) fn take(&self, counted_as: IpAddr) -> Result<(), u64> {
        self.left.check_key(&counted_as).map_err(|later| {
            let wait = later.wait_time_from(self.clock.now());
            wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(addresses_max: usize) -> Rates {
        let one = NonZeroU32::MIN;
        let limits =
            Limits { requests_per_second_max: one, requests_burst_max: one, addresses_max, ..Limits::default() };
        Rates::new(&limits)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_own_requests() {
        let rates = rates(8);
        let [first, second] = ["127.0.0.1", "127.0.0.2"].map(|text| rates.counted_as(address(text)));
        assert_eq!((rates.take(first), rates.take(first)), (Ok(()), Err(1)));
        assert_eq!(rates.take(second), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_a_mapped_address_is_that_of_ipv4() {
        let rates = rates(8);
        let counted = |text: &str| rates.counted_as(address(text));
        assert_eq!(counted("2001:db8:1:2::3"), counted("2001:db8:1:2:ffff::4"));
        assert_ne!(counted("2001:db8:1:2::3"), counted("2001:db8:1:3::3"));
        assert_eq!(counted("::ffff:10.0.0.1"), address("10.0.0.1"));
        assert_eq!(counted("::1"), address("::1"));
    }

    #[test]
    fn the_table_of_addresses_is_bounded() {
        let rates = rates(4);
        let counted: Vec<IpAddr> = (1..=50)
            .map(|last| {
                let counted = rates.counted_as(IpAddr::from([10, 0, 0, last]));
                let _ = rates.take(counted);
                counted
            })
            .collect();
        assert_eq!(counted[3], address("10.0.0.4"));
        assert_eq!(counted[49], address("::"), "they share what is left");
        assert_eq!(rates.left.len(), 5);
    }
}
