//! Axes, trading mode and mode reasons: a pure function of one snapshot of predicates.
//! Source: kernel contract section 2; AT-1048, AT-1053, AT-024 to AT-026.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::registry::{ModeReason, Tier, TradingMode};

/// A set of mode reasons; iterates in registry order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonSet(u32);

impl ReasonSet {
    /// The set without any reason.
    pub const EMPTY: Self = Self(0);

    /// Returns the set with `reason` in it where `active`.
    #[must_use]
    pub const fn with(self, reason: ModeReason, active: bool) -> Self {
        if active { Self(self.0 | Self::bit(reason)) } else { self }
    }

    /// True where `reason` is in the set.
    #[must_use]
    pub const fn has(self, reason: ModeReason) -> bool {
        self.0 & Self::bit(reason) != 0
    }

    /// True where no reason is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the reasons in registry order.
    pub fn iter(self) -> impl Iterator<Item = ModeReason> {
        ModeReason::ALL.into_iter().filter(move |reason| self.has(*reason))
    }

    /// Returns those of one tier.
    #[must_use]
    pub fn of_tier(self, tier: Tier) -> Self {
        self.iter().filter(|reason| reason.tier() == tier).fold(Self::EMPTY, |set, reason| set.with(reason, true))
    }

    const fn bit(reason: ModeReason) -> u32 {
        match 1u32.checked_shl(reason.index() as u32) {
            Some(bit) => bit,
            None => 0,
        }
    }
}

const _: () = assert!(ModeReason::ALL.len() <= 32, "a reason set has 32 bits");

/// Risk to capital, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CapitalRisk {
    /// Kill band, risk state Kill, or an override that kills.
    Critical,
    /// Reduce band.
    Warning,
    /// Nothing.
    Safe,
}

/// Integrity of the market's picture, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MarketIntegrity {
    /// Reserved; nothing produces it.
    Broken,
    /// Bunker mode.
    Stressed,
    /// Nothing.
    Stable,
}

/// Integrity of our own system, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SystemIntegrity {
    /// A confirmed watchdog, disk or session kill.
    Failing,
    /// Any other reduce-only reason.
    Degraded,
    /// Nothing.
    Healthy,
}

/// The three axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axes {
    /// Capital.
    pub capital: CapitalRisk,
    /// Market.
    pub market: MarketIntegrity,
    /// System.
    pub system: SystemIntegrity,
}

/// What one snapshot resolves to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// The axes.
    pub axes: Axes,
    /// The mode.
    pub mode: TradingMode,
    /// All active reasons of the winning tier; empty exactly when Active.
    pub reasons: ReasonSet,
    /// All active reasons of both tiers.
    pub active: ReasonSet,
}

impl Default for Resolution {
    fn default() -> Self {
        resolve(ReasonSet::EMPTY)
    }
}

impl Resolution {
    /// Returns the published reasons in registry order.
    #[must_use]
    pub fn reasons(&self) -> Vec<ModeReason> {
        self.reasons.iter().collect()
    }
}

/// Resolves the mode from the axes. FAILING or CRITICAL is Kill; anything else that is not best is ReduceOnly.
/// Source: AT-1048, AT-1053.
#[must_use]
pub const fn mode_of(axes: Axes) -> TradingMode {
    match axes {
        Axes { system: SystemIntegrity::Failing, .. } | Axes { capital: CapitalRisk::Critical, .. } => {
            TradingMode::Kill
        }
        Axes { capital: CapitalRisk::Safe, market: MarketIntegrity::Stable, system: SystemIntegrity::Healthy } => {
            TradingMode::Active
        }
        Axes { .. } => TradingMode::ReduceOnly,
    }
}

/// Resolves axes, mode and published reasons from the active reasons: all of the winning tier, none of the other, in
/// registry order. Source: AT-024, AT-025, AT-026, AT-351, AT-417.
#[must_use]
pub fn resolve(active: ReasonSet) -> Resolution {
    let mut axes =
        Axes { capital: CapitalRisk::Safe, market: MarketIntegrity::Stable, system: SystemIntegrity::Healthy };
    for reason in active.iter() {
        match axis_of(reason) {
            Axis::Capital(level) => axes.capital = axes.capital.min(level),
            Axis::Market(level) => axes.market = axes.market.min(level),
            Axis::System(level) => axes.system = axes.system.min(level),
        }
    }
    let mode = mode_of(axes);
    let reasons = match mode {
        TradingMode::Kill => active.of_tier(Tier::Kill),
        TradingMode::ReduceOnly => active.of_tier(Tier::ReduceOnly),
        TradingMode::Active => ReasonSet::EMPTY,
    };
    Resolution { axes, mode, reasons, active }
}

enum Axis {
    Capital(CapitalRisk),
    Market(MarketIntegrity),
    System(SystemIntegrity),
}

/// Returns the axis that a reason speaks for and how bad it makes it. Source: kernel contract section 2; AT-1050,
/// AT-1051, AT-1052.
const fn axis_of(reason: ModeReason) -> Axis {
    match reason {
        ModeReason::KillRiskstateKill | ModeReason::KillMarginMmUtilCritical | ModeReason::KillCortexForceKill => {
            Axis::Capital(CapitalRisk::Critical)
        }
        ModeReason::ReduceonlyMarginMmUtilHigh => Axis::Capital(CapitalRisk::Warning),
        ModeReason::ReduceonlyBunkerModeActive => Axis::Market(MarketIntegrity::Stressed),
        ModeReason::KillWatchdogHeartbeatStale
        | ModeReason::KillRateLimitSessionTermination
        | ModeReason::KillDiskWatermarkKill => Axis::System(SystemIntegrity::Failing),
        ModeReason::ReduceonlyRiskstateMaintenance
        | ModeReason::ReduceonlyEmergencyReduceonlyActive
        | ModeReason::ReduceonlyOpenPermissionLatched
        | ModeReason::ReduceonlyF1CertInvalid
        | ModeReason::ReduceonlyEvidenceChainNotGreen
        | ModeReason::ReduceonlyCortexForceReduceOnly
        | ModeReason::ReduceonlyFeeModelHardStale
        | ModeReason::ReduceonlyRiskstateDegraded
        | ModeReason::ReduceonlyPolicyStale
        | ModeReason::ReduceonlyInputMissingOrStale
        | ModeReason::ReduceonlyWatchdogUnconfirmed
        | ModeReason::ReduceonlyDiskKillUnconfirmed
        | ModeReason::ReduceonlySessionKillUnconfirmed => Axis::System(SystemIntegrity::Degraded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPITAL: [CapitalRisk; 3] = [CapitalRisk::Critical, CapitalRisk::Warning, CapitalRisk::Safe];
    const MARKET: [MarketIntegrity; 3] = [MarketIntegrity::Broken, MarketIntegrity::Stressed, MarketIntegrity::Stable];
    const SYSTEM: [SystemIntegrity; 3] =
        [SystemIntegrity::Failing, SystemIntegrity::Degraded, SystemIntegrity::Healthy];

    fn all_axes() -> Vec<Axes> {
        let mut all = Vec::new();
        for capital in CAPITAL {
            for market in MARKET {
                for system in SYSTEM {
                    all.push(Axes { capital, market, system });
                }
            }
        }
        all
    }

    #[test]
    fn at_1048_the_27_triples_give_1_active_11_reduce_only_15_kill() {
        let count = |mode| all_axes().into_iter().filter(|axes| mode_of(*axes) == mode).count();
        assert_eq!(count(TradingMode::Active), 1);
        assert_eq!(count(TradingMode::ReduceOnly), 11);
        assert_eq!(count(TradingMode::Kill), 15);
    }

    #[test]
    fn at_1053_a_worse_axis_never_gives_a_looser_mode() {
        let severity = |axes| match mode_of(axes) {
            TradingMode::Active => 0,
            TradingMode::ReduceOnly => 1,
            TradingMode::Kill => 2,
        };
        for a in all_axes() {
            for b in all_axes() {
                if b.capital <= a.capital && b.market <= a.market && b.system <= a.system {
                    assert!(severity(b) >= severity(a), "{a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn at_025_every_combination_of_reasons_shows_one_tier_in_registry_order() {
        // The reserved evidence-chain reason included: 2^21 subsets, all of them.
        for bits in 0u32..(1 << ModeReason::ALL.len()) {
            let resolution = resolve(ReasonSet(bits));
            let kill = ReasonSet(bits).of_tier_mask(Tier::Kill);
            let expected = match (bits == 0, kill.is_empty()) {
                (true, _) => TradingMode::Active,
                (false, true) => TradingMode::ReduceOnly,
                (false, false) => TradingMode::Kill,
            };
            assert_eq!(resolution.mode, expected);
            let published = if kill.is_empty() { ReasonSet(bits) } else { kill };
            assert_eq!(resolution.reasons, published);
        }
    }

    impl ReasonSet {
        fn of_tier_mask(self, tier: Tier) -> Self {
            let mut mask = 0;
            for (index, reason) in ModeReason::ALL.iter().enumerate() {
                if reason.tier() == tier {
                    mask |= 1 << index;
                }
            }
            Self(self.0 & mask)
        }
    }
}
