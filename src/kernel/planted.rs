//! Deliberate breakages of single rules, for measuring whether the drills notice them.
//!
//! They exist only in a build with `--cfg planted`, where one is chosen by name before the first event; every other build
//! compiles [`broken`] to `false`. The list and what each is caught by: `tests/it/planted.rs`.

/// Names of the rules that a planted build can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The latch clears without a run of reconciliation.
    LatchNeedsRun,
    /// OPEN is refused under ReduceOnly.
    ModeGate,
    /// OPEN is refused while the latch is set.
    LatchGate,
    /// A sent intent is not sent again after a restart.
    NoResend,
    /// Staleness is `>` the threshold, not `>=`.
    StaleBoundary,
    /// The session kill is confirmed at `>=` the minimum, not `>`.
    SessionKillBoundary,
    /// A processed trade id is dropped.
    TradeDedup,
    /// An OPEN is recorded before it is dispatched.
    RecordBeforeDispatch,
    /// A book change must follow the last change id.
    BookContinuity,
    /// The registry guard survives a restart.
    StickyGuard,
    /// Containment only lowers exposure.
    ContainmentReduces,
    /// The book gap's code waits for its quiet time.
    GapQuietTime,
    /// All that matters is in the state image.
    #[cfg(planted)]
    WholeImage,
}

#[cfg(planted)]
mod choice {
    use core::sync::atomic::{AtomicU8, Ordering};

    use super::Rule;

    static CHOSEN: AtomicU8 = AtomicU8::new(u8::MAX);

    const NAMES: [(&str, Rule); 13] = [
        ("latch_needs_run", Rule::LatchNeedsRun),
        ("mode_gate", Rule::ModeGate),
        ("latch_gate", Rule::LatchGate),
        ("no_resend", Rule::NoResend),
        ("stale_boundary", Rule::StaleBoundary),
        ("session_kill_boundary", Rule::SessionKillBoundary),
        ("trade_dedup", Rule::TradeDedup),
        ("record_before_dispatch", Rule::RecordBeforeDispatch),
        ("book_continuity", Rule::BookContinuity),
        ("sticky_guard", Rule::StickyGuard),
        ("containment_reduces", Rule::ContainmentReduces),
        ("gap_quiet_time", Rule::GapQuietTime),
        ("whole_image", Rule::WholeImage),
    ];

    /// Chooses the rule to break by name; true where the name is known.
    pub fn plant(name: &str) -> bool {
        match NAMES.iter().position(|(known, _)| *known == name) {
            Some(place) => {
                CHOSEN.store(u8::try_from(place).unwrap_or(u8::MAX), Ordering::Relaxed);
                true
            }
            None => false,
        }
    }

    pub(crate) fn broken(rule: Rule) -> bool {
        let chosen = usize::from(CHOSEN.load(Ordering::Relaxed));
        NAMES.get(chosen).is_some_and(|(_, planted)| *planted == rule)
    }

    /// Returns the names that [`plant`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }
}

/// State that no image holds, so that a test can see it found: each tick counts, and every fifth leaves a note.
#[cfg(planted)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hidden(u8);

#[cfg(planted)]
impl Hidden {
    const PERIOD: u8 = 5;

    /// Counts a tick; true for every fifth.
    pub(crate) fn tick(&mut self) -> bool {
        self.0 = if self.0 >= Self::PERIOD { 1 } else { self.0.saturating_add(1) };
        self.0 == Self::PERIOD
    }
}

#[cfg(planted)]
pub(crate) use choice::broken;
#[cfg(planted)]
pub use choice::{names, plant};

/// True where the rule is broken on purpose; never in a build without `--cfg planted`.
#[cfg(not(planted))]
pub(crate) const fn broken(_rule: Rule) -> bool {
    false
}
