//! The intent ledger's queue: bounded, and the loop never waits for it. Source: kernel contract section 6; AT-906.

use alloc::vec::Vec;

use crate::{
    effect::Effect,
    event::LedgerRecord,
    state::{Cause, Kernel},
};

impl Kernel {
    /// Offers a record to the ledger's queue. A refusal counts, is a Degraded cause at once, and is not offered again.
    /// True where it was accepted.
    pub(crate) fn enqueue(&mut self, record: LedgerRecord, effects: &mut Vec<Effect>) -> bool {
        let capacity = u32::try_from(self.config().wal_queue_capacity).unwrap_or(0);
        if self.ledger.depth >= capacity {
            self.ledger.failures = self.ledger.failures.saturating_add(1);
            self.ledger.last_failure_at = Some(self.now());
            let stamp = self.core.stamp;
            self.monitors.raise(Cause::LedgerBackPressure, stamp);
            // The next order of this very event is judged under the mode that this refusal makes.
            self.resolve();
            return false;
        }
        self.ledger.depth = self.ledger.depth.saturating_add(1);
        self.note_depth();
        effects.push(Effect::Enqueue(record));
        true
    }

    /// Takes records off the queue that the writer made durable.
    pub(crate) fn drained(&mut self, records: u32) {
        // Full until this very event.
        self.note_depth();
        self.ledger.depth = self.ledger.depth.saturating_sub(records);
    }

    fn note_depth(&mut self) {
        if i64::from(self.ledger.depth) >= self.config().wal_queue_capacity {
            self.ledger.last_full_at = Some(self.now());
        }
    }

    /// Returns how many AtomicNakedEvents fell within the last 24 hours.
    #[must_use]
    pub fn naked_events_24h(&self) -> u64 {
        const DAY_MS: i64 = 86_400_000;
        let now = self.now();
        let count = self.ledger.naked_events.iter().filter(|at| now.since(**at) < DAY_MS).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}
