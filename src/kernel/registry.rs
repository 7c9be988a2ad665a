//! The reason codes: enums generated from the registry manifest at build time.
//!
//! No token is typed by hand anywhere else: whoever needs one names its variant, and a token that leaves the manifest
//! leaves the code at compile time. The manifest, its lock and the generator are described in `drillfold-registry`.
//!
//! **Invariant:** the order of variants is the order of the registry, which is the order of emission.
//!
//! Source: contract 5.2, reason-code registries.

include!(concat!(env!("OUT_DIR"), "/registry.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_indices_lead_back() {
        fn check<T: Copy + PartialEq + core::fmt::Debug>(
            all: &[T],
            token: fn(T) -> &'static str,
            from_token: fn(&str) -> Option<T>,
            index: fn(T) -> usize,
            from_index: fn(u8) -> Option<T>,
        ) {
            for (place, value) in all.iter().enumerate() {
                assert_eq!(from_token(token(*value)), Some(*value));
                assert_eq!(index(*value), place);
                assert_eq!(from_index(u8::try_from(place).unwrap_or(u8::MAX)), Some(*value));
            }
            assert_eq!(from_index(u8::try_from(all.len()).unwrap_or(u8::MAX)), None);
            assert_eq!(from_token(""), None);
        }
        macro_rules! check_all {
            ($($name:ident)*) => {
                $(check(&$name::ALL, $name::token, $name::from_token, $name::index, $name::from_index);)*
            };
        }
        check_all!(
            TradingMode RiskState F1CertState Profile DeploymentEnvironment ModeReason OpenPermissionReason
            RejectReason OwnerReason
        );
    }

    #[test]
    fn tiers_follow_prefixes_and_order() {
        for reason in ModeReason::ALL {
            match reason.tier() {
                Tier::Kill => assert!(reason.token().starts_with("KILL_")),
                Tier::ReduceOnly => assert!(reason.token().starts_with("REDUCEONLY_")),
            }
        }
        assert!(ModeReason::ALL.is_sorted_by_key(|reason| reason.tier()));
        assert!(ModeReason::ALL.is_sorted());
    }

    #[test]
    fn reasons_are_known_and_others_are_not() {
        assert!(ModeReason::ALL.iter().all(|reason| is_known_reason_token(reason.token())));
        assert!(OpenPermissionReason::ALL.iter().all(|reason| is_known_reason_token(reason.token())));
        assert!(RejectReason::ALL.iter().all(|reason| is_known_reason_token(reason.token())));
        for token in ["", "KILL_FAKE", "kill_riskstate_kill", OwnerReason::StateIdleHealthy.token()] {
            assert!(!is_known_reason_token(token), "{token}");
        }
    }

    #[test]
    fn every_reason_but_the_latchs_speaks_to_the_owner() {
        for reason in ModeReason::ALL {
            let silent = reason == ModeReason::ReduceonlyOpenPermissionLatched;
            assert_eq!(reason.owner().is_none(), silent);
            assert_eq!(reason.shows().is_empty(), silent);
            assert_eq!(reason.target().is_empty(), silent);
            assert!(!reason.condition().is_empty() && !reason.text().is_empty());
        }
        for reason in OpenPermissionReason::ALL {
            assert!(reason.owner().is_some() && !reason.shows().is_empty());
        }
    }
}
