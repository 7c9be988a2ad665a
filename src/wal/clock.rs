//! The writer's clock: only how much time has passed, for the policy that syncs every so often.
//!
//! No record carries it and no byte of a log depends on it, except for where batches begin.

use std::fmt;
use std::time::{Duration, Instant};

/// Tells how much time has passed.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns the time since some start, the same for the clock's whole life. It never falls.
    fn now(&self) -> Duration;
}

/// The machine's own clock, which steps for nobody.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts a clock.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
