//! What the status says, field by field.
//!
//! Source: kernel contract section 2; status contract.

use drillfold_kernel::{
    event::{Event, GroupFailure, LedgerRecord, OperatorCommand, TimeInForce},
    registry::{ModeReason as M, OpenPermissionReason as C, Profile, RiskState, Tier, TradingMode},
    units::{Seq, Side, TimeMs},
};

use crate::{
    kernel_rules::{boots, ghost, group, leg},
    orders::placed,
    rig::{FUTURE, Feed, PERPETUAL, Rig, START, sample},
};

#[test]
fn at_024_025_026_351_reasons_are_those_of_the_winning_tier_in_registry_order() {
    let mut rig = Rig::active();
    assert_eq!((rig.status().trading_mode, rig.status().mode_reasons), (TradingMode::Active, vec![]));
    // One reason alone: itself, nothing else.
    rig.withhold(Feed::Policy);
    rig.tell(Event::PolicyReceived { generated_at: Some(rig.now.before(300_000)) });
    rig.shows(&[]);
    rig.pass(1);
    rig.shows(&[M::ReduceonlyPolicyStale]);
    // Several, told in another order than the registry's.
    rig.tell(Event::MarginSampled(sample(860_000, rig.now)));
    rig.tell(Event::CertificateRead(None));
    rig.shows(&[M::ReduceonlyF1CertInvalid, M::ReduceonlyPolicyStale, M::ReduceonlyMarginMmUtilHigh]);
    // A Kill reason takes over alone, and leaves nothing behind.
    rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
    rig.shows(&[M::KillRiskstateKill]);
    rig.tell(Event::OperatorCommanded(OperatorCommand::IncidentReset {
        token: M::KillRiskstateKill.token().into(),
        incident_id: "INC-1".into(),
    }));
    rig.shows(&[M::ReduceonlyF1CertInvalid, M::ReduceonlyPolicyStale, M::ReduceonlyMarginMmUtilHigh]);
    let status = rig.status();
    assert!(status.mode_reasons.iter().all(|reason| reason.tier() == Tier::ReduceOnly));
    assert!(status.mode_reasons.is_sorted_by_key(|reason| reason.index()));
}

#[test]
fn a_reason_knows_since_which_event_it_holds() {
    let mut rig = Rig::booted();
    let latched = rig.kernel.reason_since(M::ReduceonlyOpenPermissionLatched);
    assert_eq!(latched.map(|stamp| (stamp.seq, stamp.at)), Some((Seq(1), START)));
    rig.settle();
    assert_eq!(rig.kernel.reason_since(M::ReduceonlyOpenPermissionLatched), None);
    rig.withhold(Feed::Certificate);
    rig.tell(Event::CertificateRead(None));
    let since = (Seq(rig.seq), rig.now);
    rig.wait(1000);
    let found = rig.kernel.reason_since(M::ReduceonlyF1CertInvalid);
    assert_eq!(found.map(|stamp| (stamp.seq, stamp.at)), Some(since));
}

#[test]
fn the_mode_knows_since_which_event_it_holds() {
    let since = |rig: &Rig| (rig.kernel.core.mode_since.seq, rig.kernel.core.mode_since.at);
    let mut rig = Rig::booted();
    assert_eq!(since(&rig), (Seq(1), START));
    // Another mode begins with the event that brings it, and another reason of the same mode begins none.
    rig.settle();
    let latch_cleared = since(&rig);
    assert!(latch_cleared > (Seq(1), START));
    rig.withhold(Feed::Certificate);
    rig.tell(Event::CertificateRead(None));
    let certificate_gone = (Seq(rig.seq), rig.now);
    rig.pass(100);
    rig.tell(Event::PolicyReceived { generated_at: None });
    rig.shows(&[M::ReduceonlyF1CertInvalid, M::ReduceonlyPolicyStale, M::ReduceonlyInputMissingOrStale]);
    assert_eq!(since(&rig), certificate_gone);
    rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
    let killed = (Seq(rig.seq), rig.now);
    rig.pass(100);
    assert_eq!(since(&rig), killed);
    // A boot begins its mode anew, the one that the last process ended in as well.
    rig.restart(1000, |_| ());
    rig.shows(&[M::KillRiskstateKill]);
    assert_eq!(since(&rig), (Seq(rig.seq), rig.now));
}

#[test]
fn at_010_027_342_the_latch_says_why_or_says_nothing() {
    let rig = Rig::active();
    let status = rig.status();
    assert!(!status.open_permission_blocked_latch && !status.open_permission_requires_reconcile);
    assert_eq!(status.open_permission_reason_codes, []);
    let rig = Rig::booted();
    let status = rig.status();
    assert!(status.open_permission_blocked_latch && status.open_permission_requires_reconcile);
    assert_eq!(status.open_permission_reason_codes, [C::RestartReconcileRequired]);
}

#[test]
fn at_411_certificate_and_evidence_are_no_codes() {
    let mut rig = Rig::active();
    rig.withhold(Feed::Certificate);
    rig.tell(Event::CertificateRead(None));
    rig.shows(&[M::ReduceonlyF1CertInvalid]);
    rig.latched(&[]);
    let token = M::ReduceonlyEvidenceChainNotGreen.token().to_owned();
    rig.tell(Event::TokenReported { subsystem: "evidence".into(), token });
    rig.wait(10_000);
    rig.latched(&[]);
    // Beside a code that is set they neither add one nor keep it.
    rig.change_after_gap(PERPETUAL, 1);
    rig.latched(&[C::WsBookGapReconcileRequired]);
    rig.wait(40_000);
    rig.latched(&[]);
}

#[test]
fn at_212_352_353_403_connectivity_is_degraded_by_bunker_or_latch() {
    let rig = Rig::active();
    assert!(!rig.status().connectivity_degraded && !rig.status().bunker_mode_active);
    // Bunker alone.
    let mut rig = Rig::active();
    rig.withhold(Feed::PrivateFrames);
    rig.wait(2500);
    assert!(rig.status().bunker_mode_active && rig.status().connectivity_degraded);
    rig.latched(&[]);
    rig.shows(&[M::ReduceonlyBunkerModeActive]);
    // The latch alone.
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.trade_after_gap(FUTURE, 1);
    rig.latched(&[C::WsTradesGapReconcileRequired]);
    assert!(!rig.status().bunker_mode_active && rig.status().connectivity_degraded);
    let mut rig = Rig::active();
    rig.tell(Event::OrderUpdated(ghost()));
    rig.latched(&[C::InventoryMismatchReconcileRequired]);
    assert!(rig.status().connectivity_degraded);
    let rig = Rig::booted();
    rig.latched(&[C::RestartReconcileRequired]);
    assert!(rig.status().connectivity_degraded);
}

#[test]
fn at_028_406_the_policy_time_is_passed_on_unchanged() {
    let mut rig = Rig::active();
    rig.withhold(Feed::Policy);
    let generated = rig.now.before(122_999);
    rig.tell(Event::PolicyReceived { generated_at: Some(generated) });
    let shown = |rig: &Rig| (rig.status().last_policy_update_ts, rig.status().policy_age_sec);
    assert_eq!(shown(&rig), (generated, 122));
    rig.pass(1);
    assert_eq!(shown(&rig), (generated, 123));
    // One that is missing leaves the last one.
    rig.tell(Event::PolicyReceived { generated_at: None });
    assert_eq!(shown(&rig), (generated, 123));
    // At boot as well.
    let rig = boots(|boot| boot.policy_generated_at = Some(TimeMs(START.0 - 7)));
    assert_eq!(shown(&rig), (TimeMs(START.0 - 7), 0));
}

#[test]
fn at_907_927_counters_stay_within_their_bounds() {
    let mut rig = boots(|boot| boot.config.wal_queue_capacity = 8);
    rig.settle();
    rig.withhold(Feed::Writer);
    let mut deepest = 0;
    for place in 0..8 {
        rig.market_data();
        rig.tell(group(&format!("group000000{place}"), vec![leg(PERPETUAL, Side::Buy, 500)]));
        rig.wait(500);
        let status = rig.status();
        assert!(status.wal_queue_capacity == 8 && i64::from(status.wal_queue_depth) <= status.wal_queue_capacity);
        deepest = deepest.max(status.wal_queue_depth);
    }
    assert_eq!(deepest, 8);
    assert!(rig.status().wal_queue_enqueue_failures > 0);
    assert_eq!(rig.status().atomic_naked_events_24h, 0);
}

#[test]
fn at_927_an_atomic_naked_event_counts_for_a_day() {
    const DAY_MS: i64 = 86_400_000;
    for (age, count) in [(DAY_MS - 1, 1), (DAY_MS, 0)] {
        let record = LedgerRecord::AtomicNaked {
            group_id: "group0000001".into(),
            strategy_id: "strategy".into(),
            exposure_before: 1,
            exposure_after: 0,
            time_to_neutral_ms: 1,
            close_attempts: 1,
            hedge_used: false,
            cause: GroupFailure::LegRejected,
            mode: 1,
            at: START.before(age),
        };
        let mut rig = boots(|boot| boot.ledger = vec![record]);
        assert_eq!(rig.status().atomic_naked_events_24h, count);
        // A day is over while the process runs as well.
        rig.pass(1);
        assert_eq!(rig.status().atomic_naked_events_24h, 0);
    }
}

#[test]
fn at_416_991_1070_1055_governance_and_style_are_no_inputs() {
    for subsystem in ["evidence", "snapshot_writer", "replay"] {
        let mut rig = Rig::active();
        assert_eq!(rig.status().enforced_profile, Profile::Csp);
        let token = M::ReduceonlyEvidenceChainNotGreen.token().to_owned();
        rig.tell(Event::TokenReported { subsystem: subsystem.into(), token });
        rig.wait(61_000);
        rig.shows(&[]);
        rig.risk(RiskState::Healthy);
        rig.market_data();
        // Whatever the style of execution, an OPEN goes.
        for (place, time_in_force) in
            [TimeInForce::ImmediateOrCancel, TimeInForce::GoodTilCancelled].into_iter().enumerate()
        {
            let mut open = leg(PERPETUAL, Side::Buy, 500);
            open.time_in_force = time_in_force;
            rig.tell(group(&format!("group000000{place}"), vec![open]));
        }
        assert_eq!((placed(&rig).len(), rig.refusals()), (2, vec![]));
    }
}
