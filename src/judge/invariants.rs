//! The checklist's global invariants, looked at after every event of every run.
//!
//! Source: drill checklist, global pass/fail invariants; decisions 6, 35; GI-001, GI-010, GI-013, GI-020.

use drillfold_kernel::{
    Kernel,
    registry::{ModeReason, Tier, TradingMode},
    status::Status,
    units::{Seq, TimeMs},
};

use super::observe::Observer;

/// How long Kill may last with exposure before a risk-reducing order must have gone out, in loop ticks.
const KILL_TICKS_MAX: i64 = 20;

/// Which invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Active exactly where there are no reasons.
    ActiveWithoutReasons,
    /// Reasons of the mode's tier only.
    TierPurity,
    /// Reasons and codes in registry order, none twice.
    RegistryOrder,
    /// Latch, codes and reconcile flag agree.
    LatchAgrees,
    /// Latch set: not Active, and under ReduceOnly its reason is listed.
    DecisionA,
    /// Under Kill with exposure a risk-reducing order goes out.
    CapitalSupremacy,
    /// No OPEN leaves outside Active with a clear latch.
    NoOpenWhileBlocked,
    /// No intent is sent twice.
    NoDuplicateSend,
    /// Queue depth within capacity.
    QueueBounded,
}

impl Invariant {
    /// All invariants in the order of reports.
    pub const ALL: [Self; 9] = [
        Self::ActiveWithoutReasons,
        Self::TierPurity,
        Self::RegistryOrder,
        Self::LatchAgrees,
        Self::DecisionA,
        Self::CapitalSupremacy,
        Self::NoOpenWhileBlocked,
        Self::NoDuplicateSend,
        Self::QueueBounded,
    ];

    /// Returns the id used in reports.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::ActiveWithoutReasons => "active-without-reasons",
            Self::TierPurity => "tier-purity",
            Self::RegistryOrder => "registry-order",
            Self::LatchAgrees => "latch-agrees",
            Self::DecisionA => "decision-a",
            Self::CapitalSupremacy => "capital-supremacy",
            Self::NoOpenWhileBlocked => "no-open-while-blocked",
            Self::NoDuplicateSend => "no-duplicate-send",
            Self::QueueBounded => "queue-bounded",
        }
    }
}

/// The first event that broke an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// The event.
    pub seq: Seq,
    /// Its time.
    pub at: TimeMs,
}

/// Watches all invariants over a run and keeps the first violation of each.
#[derive(Debug, Default)]
pub struct InvariantWatch {
    violations: Vec<Violation>,
    blocked_before: bool,
    sends_before: u64,
    kill: Option<KillStretch>,
    /// Longest stretch of Kill with exposure that was reduced, for the evidence.
    pub kill_stretches_reduced: u64,
}

#[derive(Clone, Copy, Debug)]
struct KillStretch {
    since: TimeMs,
    dispatched_before: u64,
}

impl InvariantWatch {
    /// Looks at one event.
    pub fn after(&mut self, seq: Seq, at: TimeMs, observer: &Observer, kernel: &Kernel) {
        let Some(status) = observer.status() else {
            self.kill = None;
            self.blocked_before = true;
            return;
        };
        let mut broken = |invariant, holds: bool| {
            if !holds && self.violations.iter().all(|known| known.invariant != invariant) {
                self.violations.push(Violation { invariant, seq, at });
            }
        };
        let active = status.trading_mode == TradingMode::Active;
        broken(Invariant::ActiveWithoutReasons, active == status.mode_reasons.is_empty());
        broken(Invariant::TierPurity, status.mode_reasons.iter().all(|reason| fits(*reason, status.trading_mode)));
        let ordered = status.mode_reasons.windows(2).all(|pair| matches!(pair, [a, b] if a < b))
            && status.open_permission_reason_codes.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        broken(Invariant::RegistryOrder, ordered);
        let latch = status.open_permission_blocked_latch;
        broken(
            Invariant::LatchAgrees,
            latch != status.open_permission_reason_codes.is_empty()
                && latch == status.open_permission_requires_reconcile,
        );
        broken(Invariant::DecisionA, !latch || decision_a(status));
        broken(Invariant::QueueBounded, i64::from(status.wal_queue_depth) <= status.wal_queue_capacity);
        let blocked = latch || !active;
        broken(Invariant::NoOpenWhileBlocked, !(observer.open_sent_now() && self.blocked_before && blocked));
        broken(Invariant::NoDuplicateSend, observer.counts().duplicate_sends == 0);
        self.blocked_before = blocked;
        self.watch_kill(seq, at, observer, kernel, status);
        self.sends_before = observer.counts().sends_total;
    }

    fn watch_kill(&mut self, seq: Seq, at: TimeMs, observer: &Observer, kernel: &Kernel, status: &Status) {
        let counts = observer.counts();
        let dispatched = counts.reducing_dispatched.saturating_add(counts.containment_dispatched);
        let exposed = status.trading_mode == TradingMode::Kill && kernel.is_exposed() && kernel.orders.boot_run_ended;
        if !exposed {
            self.kill = None;
            return;
        }
        let stretch =
            *self.kill.get_or_insert(KillStretch { since: at, dispatched_before: self.sends_before_kill(counts) });
        let limit = kernel.core.config.loop_tick_ms.saturating_mul(KILL_TICKS_MAX);
        if dispatched > stretch.dispatched_before {
            self.kill_stretches_reduced = self.kill_stretches_reduced.max(1);
        } else if at.since(stretch.since) > limit {
            let invariant = Invariant::CapitalSupremacy;
            if self.violations.iter().all(|known| known.invariant != invariant) {
                self.violations.push(Violation { invariant, seq, at });
            }
        }
    }

    /// Returns the risk-reducing orders sent before this event: those of the event itself count for the stretch.
    const fn sends_before_kill(&self, counts: &super::observe::Counts) -> u64 {
        let now = counts.sends_total.saturating_sub(self.sends_before);
        counts.reducing_dispatched.saturating_add(counts.containment_dispatched).saturating_sub(now)
    }

    /// Returns the first violation of each invariant that was broken.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

fn fits(reason: ModeReason, mode: TradingMode) -> bool {
    match mode {
        TradingMode::Active => false,
        TradingMode::ReduceOnly => reason.tier() == Tier::ReduceOnly,
        TradingMode::Kill => reason.tier() == Tier::Kill,
    }
}

fn decision_a(status: &Status) -> bool {
    match status.trading_mode {
        TradingMode::Active => false,
        TradingMode::Kill => true,
        TradingMode::ReduceOnly => status.mode_reasons.contains(&ModeReason::ReduceonlyOpenPermissionLatched),
    }
}
