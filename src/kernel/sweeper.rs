//! The sweeper: old orders that add risk are cancelled. Source: kernel contract section 8; AT-122 to AT-124, AT-303.
//!
//! Ghost orders and intents without an order are found by the runs of reconciliation, which ask the venue more often than
//! the sweeper would; it keeps to what needs no question.

use alloc::vec::Vec;

use crate::{
    config::seconds,
    effect::{CancelReason, Effect},
    state::Kernel,
    units::IntentHash,
};

impl Kernel {
    /// Cancels, every `sweeper_interval_s`, orders without `reduce_only` older than `stale_order_sec`.
    pub(crate) fn sweep(&mut self, effects: &mut Vec<Effect>) {
        let now = self.now();
        if now.since(self.session.swept_at) < seconds(self.config().sweeper_interval_s) {
            return;
        }
        self.session.swept_at = now;
        let age_max = seconds(self.config().stale_order_sec);
        let stale: Vec<IntentHash> = self
            .orders
            .live
            .iter()
            .filter(|intent| {
                self.orders.intents.get(intent).is_some_and(|order| {
                    !order.record.reduce_only
                        && !order.record.class.is_containment()
                        && order.sent.is_some_and(|sent| now.since(sent.at) > age_max)
                })
            })
            .copied()
            .collect();
        for intent in stale {
            self.ask_cancel(intent, CancelReason::Stale, effects);
        }
    }
}
