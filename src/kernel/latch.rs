//! The open-permission latch. Source: kernel contract section 3; AT-010, AT-011, AT-027, AT-342.

use crate::{
    planted::{self, Rule},
    registry::OpenPermissionReason,
    state::{Continuity, Kernel, Latch, Trigger},
    units::Stamp,
};

impl Latch {
    /// True while any code is set: no OPEN may leave.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.codes.iter().any(Option::is_some)
    }

    /// Returns why a code is set, if it is.
    #[must_use]
    pub fn trigger(&self, code: OpenPermissionReason) -> Option<Trigger> {
        self.codes.get(code.index()).copied().flatten()
    }

    /// Returns the codes that are set, in registry order.
    pub fn codes(&self) -> impl Iterator<Item = OpenPermissionReason> + '_ {
        OpenPermissionReason::ALL.into_iter().filter(|code| self.trigger(*code).is_some())
    }
}

impl Kernel {
    /// Sets a code, or renews it, and asks for a run of reconciliation. Certificate and evidence have no code.
    /// Source: AT-411.
    pub(crate) fn set_latch(&mut self, code: OpenPermissionReason) {
        self.set_latch_by_run(code);
        self.ask_run();
    }

    /// Sets a code that a run found; that alone asks for no other run.
    pub(crate) fn set_latch_by_run(&mut self, code: OpenPermissionReason) {
        let stamp = self.core.stamp;
        if let Some(slot) = self.latch.codes.get_mut(code.index()) {
            let raised = slot.map_or(stamp, |trigger| trigger.raised);
            *slot = Some(Trigger { raised, renewed: stamp });
        }
    }

    /// Removes every code whose trigger is not later than the start of the run that has just succeeded and whose own
    /// condition holds.
    pub(crate) fn clear_codes(&mut self, run_started: Stamp) {
        for code in OpenPermissionReason::ALL {
            let holds = self
                .latch
                .trigger(code)
                .is_some_and(|trigger| trigger.renewed.seq <= run_started.seq && self.code_may_clear(code));
            if holds && let Some(slot) = self.latch.codes.get_mut(code.index()) {
                *slot = None;
            }
        }
    }

    /// True where a code's own condition holds. Source: registry, `condition` of each code.
    #[must_use]
    pub fn code_may_clear(&self, code: OpenPermissionReason) -> bool {
        let now = self.now();
        let config = self.config();
        match code {
            OpenPermissionReason::RestartReconcileRequired
            | OpenPermissionReason::InventoryMismatchReconcileRequired => true,
            OpenPermissionReason::WsBookGapReconcileRequired => {
                let quiet = self.feeds.last_book_gap_at.is_none_or(|at| {
                    now.since(at) >= crate::config::seconds(config.book_gap_quiet_s)
                        || planted::broken(Rule::GapQuietTime)
                });
                quiet && self.books_whole()
            }
            OpenPermissionReason::WsTradesGapReconcileRequired => {
                !self.feeds.trades_guard && self.feeds.trades.iter().all(|feed| feed.hole.is_none())
            }
            OpenPermissionReason::WsDataStaleReconcileRequired => {
                !self.feeds.silent
                    && self
                        .feeds
                        .lag_calm_since
                        .is_some_and(|since| now.since(since) >= crate::config::seconds(config.ws_stale_clear_s))
            }
            OpenPermissionReason::SessionTerminationReconcileRequired => self.session.active,
        }
    }

    /// True where every subscribed book has a snapshot since its last gap or subscription.
    pub(crate) fn books_whole(&self) -> bool {
        self.core
            .instruments
            .iter()
            .zip(&self.feeds.books)
            .all(|(instrument, book)| !instrument.subscribed || book.continuity == Continuity::Live)
    }
}
