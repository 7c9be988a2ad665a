//! The ledger's writer and its disk: a queue in memory, durable records, and the sticky slot beside them.
//!
//! The kernel bounds the queue and asks only for what it has room for; the writer takes a batch at each beat. A crash loses
//! the queue and nothing else.

use std::collections::VecDeque;

use drillfold_kernel::{
    event::{LedgerRecord, SlotReading},
    slot::Slot,
};

/// Queue, disk and slot.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    queue: VecDeque<LedgerRecord>,
    durable: Vec<LedgerRecord>,
    slot: Option<Slot>,
    batch: u32,
    /// The step that stalled the writer.
    stalled_by: Option<usize>,
}

/// What a beat of the writer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing waited.
    Idle,
    /// So many records became durable.
    Drained(u32),
    /// Records wait, and the writer is stalled by this step.
    Stalled(usize),
}

impl Ledger {
    pub(super) const fn new(batch: u32) -> Self {
        Self { queue: VecDeque::new(), durable: Vec::new(), slot: None, batch, stalled_by: None }
    }

    /// Returns the ledger of a process that finds these records and this slot on its disk.
    pub(super) fn found(durable: Vec<LedgerRecord>, slot: Option<Slot>, batch: u32) -> Self {
        Self { durable, slot, ..Self::new(batch) }
    }

    pub(super) fn enqueue(&mut self, record: LedgerRecord) {
        self.queue.push_back(record);
    }

    pub(super) fn write_slot(&mut self, slot: Slot) {
        self.slot = Some(slot);
    }

    /// Stalls the writer; tells whether it ran.
    pub(super) const fn stall(&mut self, step: usize) -> bool {
        let ran = self.stalled_by.is_none();
        if ran {
            self.stalled_by = Some(step);
        }
        ran
    }

    /// Lets the writer run again; tells whether it was stalled.
    pub(super) const fn resume(&mut self) -> bool {
        self.stalled_by.take().is_some()
    }

    /// One beat of the writer.
    pub(super) fn beat(&mut self) -> Beat {
        if self.queue.is_empty() || self.batch == 0 {
            return Beat::Idle;
        }
        if let Some(step) = self.stalled_by {
            return Beat::Stalled(step);
        }
        let batch = usize::try_from(self.batch).unwrap_or(usize::MAX).min(self.queue.len());
        self.durable.extend(self.queue.drain(..batch));
        Beat::Drained(u32::try_from(batch).unwrap_or(u32::MAX))
    }

    /// Makes all that waits durable without a word to the process.
    pub(super) fn flush(&mut self) {
        self.durable.extend(self.queue.drain(..));
    }

    /// The process died: what waits is lost.
    pub(super) fn lose_queue(&mut self) {
        self.queue.clear();
    }

    /// Returns the records that survived, oldest first.
    pub(super) fn survived(&self) -> Vec<LedgerRecord> {
        self.durable.clone()
    }

    /// Returns what a boot reads in the slot.
    pub(super) fn slot(&self) -> SlotReading {
        self.slot.as_ref().map_or(SlotReading::Absent, |slot| SlotReading::Read(Box::new(slot.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drillfold_kernel::units::{IntentHash, TimeMs};

    fn record(number: u64) -> LedgerRecord {
        LedgerRecord::Ghost { intent: IntentHash(number), at: TimeMs(0) }
    }

    #[test]
    fn batches_become_durable_in_order_and_a_crash_loses_the_rest() {
        let mut ledger = Ledger::new(2);
        (1..=5).for_each(|number| ledger.enqueue(record(number)));
        assert_eq!(ledger.beat(), Beat::Drained(2));
        assert!(ledger.stall(7) && !ledger.stall(8));
        assert_eq!(ledger.beat(), Beat::Stalled(7));
        assert!(ledger.resume() && !ledger.resume());
        assert_eq!(ledger.beat(), Beat::Drained(2));
        ledger.lose_queue();
        assert_eq!(ledger.beat(), Beat::Idle);
        assert_eq!(ledger.survived(), [record(1), record(2), record(3), record(4)]);
    }

    #[test]
    fn a_flush_makes_all_durable_and_the_slot_is_written_through() {
        let mut ledger = Ledger::new(2);
        assert_eq!(ledger.slot(), SlotReading::Absent);
        (1..=3).for_each(|number| ledger.enqueue(record(number)));
        ledger.flush();
        ledger.write_slot(Slot { bunker: true, ..Slot::default() });
        ledger.lose_queue();
        assert_eq!(ledger.survived().len(), 3);
        assert!(matches!(ledger.slot(), SlotReading::Read(slot) if slot.bunker));
    }
}
