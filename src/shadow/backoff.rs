//! How long to wait before the next attempt to connect.

use drillfold_kernel::units::TimeMs;

/// A wait that doubles with each attempt that failed, up to a limit. There is no jitter: one client has nobody to spread from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    initial_ms: i64,
    max_ms: i64,
    /// The wait after the last failure; 0 before the first.
    wait_ms: i64,
    not_before: TimeMs,
}

impl Backoff {
    /// Returns a wait that begins at `initial_ms` and never exceeds `max_ms`, both at least 1.
    #[must_use]
    pub fn new(initial_ms: i64, max_ms: i64) -> Self {
        let initial_ms = initial_ms.max(1);
        Self { initial_ms, max_ms: max_ms.max(initial_ms), wait_ms: 0, not_before: TimeMs(i64::MIN) }
    }

    /// Notes a failure at `now` and returns the wait before the next attempt, in ms.
    pub fn failed(&mut self, now: TimeMs) -> i64 {
        self.wait_ms = self.wait_ms.saturating_mul(2).clamp(self.initial_ms, self.max_ms);
        self.not_before = now.after(self.wait_ms);
        self.wait_ms
    }

    /// Notes a success: the next failure waits the shortest time.
    pub const fn succeeded(&mut self) {
        self.wait_ms = 0;
        self.not_before = TimeMs(i64::MIN);
    }

    /// Returns before when nothing is to be attempted.
    #[must_use]
    pub const fn not_before(&self) -> TimeMs {
        self.not_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_its_limit_and_begins_again() {
        let mut backoff = Backoff::new(500, 3_000);
        assert!(backoff.not_before() < TimeMs(0));
        let waits: Vec<i64> = (0..5).map(|_| backoff.failed(TimeMs(10))).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 3_000, 3_000]);
        assert_eq!(backoff.not_before(), TimeMs(3_010));
        backoff.succeeded();
        assert!(backoff.not_before() < TimeMs(0));
        assert_eq!(backoff.failed(TimeMs(0)), 500);
        assert_eq!(Backoff::new(0, 0).failed(TimeMs(0)), 1);
        assert_eq!(Backoff::new(1, i64::MAX).failed(TimeMs(i64::MAX)), 1);
    }
}
