//! How a run went over time: what a report draws and tells of it.
//!
//! A course says nothing that the log does not; it is what the observer saw, kept where it changed.

use drillfold_kernel::{
    registry::{OpenPermissionReason, TradingMode},
    units::TimeMs,
};

use super::observe::Observer;

/// A value over time, kept where it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps<T>(Vec<(TimeMs, T)>);

impl<T> Default for Steps<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Steps<T> {
    /// Returns the changes in order, the first value among them. Several may have one time.
    #[must_use]
    pub fn changes(&self) -> &[(TimeMs, T)] {
        &self.0
    }

    fn put(&mut self, at: TimeMs, value: T) {
        if self.0.last().is_none_or(|(_, last)| *last != value) {
            self.0.push((at, value));
        }
    }
}

/// What a status says of mode and latch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The mode.
    pub mode: TradingMode,
    /// Its published reasons' tokens, in registry order.
    pub reasons: Vec<&'static str>,
    /// The latch's codes, in registry order; empty where it is not set.
    pub codes: Vec<OpenPermissionReason>,
}

/// What was proposed, sent or refused in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// An OPEN was sent.
    OpenSent,
    /// An OPEN was refused.
    OpenRefused,
    /// An order that reduces risk was sent: the strategy's close or hedge, or one of containment.
    ReducingSent,
    /// A cancel request was sent.
    CancelSent,
}

impl Act {
    /// All acts, in the order of reports.
    pub const ALL: [Self; 4] = [Self::OpenSent, Self::OpenRefused, Self::ReducingSent, Self::CancelSent];
}

/// How a run went over time.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Mode and latch; `None` while no process is up.
    pub standing: Steps<Option<Standing>>,
    /// Absolute net exposure per underlying, summed, in 1e-9 coins.
    pub exposure: Steps<i64>,
    /// Records that wait in the ledger's queue; `None` while no process is up.
    pub queue_depth: Steps<Option<i64>>,
    /// Milliseconds since the last market data, as published; `None` while no process is up.
    pub lag_ms: Steps<Option<i64>>,
    /// The ledger's queue capacity, in records, as last published.
    pub queue_capacity: Option<i64>,
    /// What was sent and refused: when, what, how many in one event.
    pub acts: Vec<(TimeMs, Act, u64)>,
    counted: [u64; Act::ALL.len()],
}

impl Course {
    /// Takes what the observer saw of an event.
    pub(super) fn after(&mut self, at: TimeMs, observer: &Observer) {
        let status = observer.status();
        self.standing.put(
            at,
            status.map(|status| Standing {
                mode: status.trading_mode,
                reasons: status.mode_reasons.iter().map(|reason| reason.token()).collect(),
                codes: status.open_permission_reason_codes.clone(),
            }),
        );
        self.exposure.put(at, observer.exposure());
        self.queue_depth.put(at, status.map(|status| i64::from(status.wal_queue_depth)));
        self.lag_ms.put(at, status.map(|status| status.ws_event_lag_ms));
        self.queue_capacity = status.map(|status| status.wal_queue_capacity).or(self.queue_capacity);
        let counts = observer.counts();
        let totals = [
            counts.open_dispatched,
            counts.open_refused,
            counts.reducing_dispatched.saturating_add(counts.containment_dispatched),
            counts.cancels_dispatched,
        ];
        for ((act, total), counted) in Act::ALL.into_iter().zip(totals).zip(&mut self.counted) {
            if total > *counted {
                self.acts.push((at, act, total.saturating_sub(*counted)));
                *counted = total;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_kept_where_it_changes() {
        let mut steps = Steps::default();
        for (at, value) in [(1, 5), (2, 5), (3, 6), (3, 5), (4, 5)] {
            steps.put(TimeMs(at), value);
        }
        assert_eq!(steps.changes(), [(TimeMs(1), 5), (TimeMs(3), 6), (TimeMs(3), 5)]);
    }
}
