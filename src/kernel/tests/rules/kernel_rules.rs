//! One small test a rule of the safety kernel, with the reference beside it at every event.
//!
//! Limits are tested on both sides, one unit apart. A test's name begins with the acceptance test it carries out.
//!
//! Source: specs/contract acceptance tests; kernel document, sections 2 to 7.

use drillfold_kernel::{
    effect::Note,
    event::{
        Action, BookChange, Boot, Certificate, Channel, CloseCause, EdgeInputs, Event, GroupProposal, LegProposal,
        MaintenanceWindow, OperatorCommand, OrderType, OutputQueue, Override, OwnTrade, Producer, Sample, SlotReading,
        Socket, TimeInForce, VenueOrder, VenueState,
    },
    registry::{F1CertState, ModeReason as M, OpenPermissionReason as C, RejectReason, RiskState, TradingMode},
    units::{InstrumentId, NANO, OrderId, PPM, Ppm, Price, Qty, Seq, Side, TimeMs, TradeId},
};

use crate::rig::{FUTURE, Feed, Match, PERPETUAL, Rig, START, book, certificate, healthy_boot, sample, ticker};

const LATCHED: M = M::ReduceonlyOpenPermissionLatched;
const DEGRADED: M = M::ReduceonlyRiskstateDegraded;
const MISSING: M = M::ReduceonlyInputMissingOrStale;
const EMERGENCY: M = M::ReduceonlyEmergencyReduceonlyActive;
const SESSION: C = C::SessionTerminationReconcileRequired;

/// Something done to a boot or a rig.
type Change<T> = fn(&mut T);
/// An event made for a moment.
type At = fn(TimeMs) -> Event;

/// An operator's incident reset of one Kill reason.
pub fn reset(reason: M) -> Event {
    Event::OperatorCommanded(OperatorCommand::IncidentReset {
        token: reason.token().into(),
        incident_id: "INC-1".into(),
    })
}

/// A rig after a boot that differs from the healthy one.
pub fn boots(change: impl FnOnce(&mut Boot)) -> Rig {
    let mut rig = Rig::down();
    let mut boot = healthy_boot(START);
    change(&mut boot);
    rig.boot(boot);
    rig
}

// ---- boot and latch ----

#[test]
fn at_430_boot_shows_the_latch_alone() {
    let rig = Rig::booted();
    rig.shows(&[LATCHED]);
    rig.latched(&[C::RestartReconcileRequired]);
    rig.risk(RiskState::Healthy);
    assert!(rig.status().connectivity_degraded);
}

#[test]
fn at_011_a_successful_run_clears_the_restart_code() {
    let rig = Rig::active();
    rig.latched(&[]);
    assert!(!rig.status().connectivity_degraded);
    rig.shows(&[]);
}

#[test]
fn at_011_nothing_clears_the_latch_without_answers() {
    let mut rig = Rig::booted();
    rig.withhold(Feed::Answers);
    rig.wait(30_000);
    rig.latched(&[C::RestartReconcileRequired]);
}

#[test]
fn nothing_is_heard_before_the_first_boot_and_after_a_crash() {
    let mut rig = Rig::down();
    rig.tell(Event::LoopTicked);
    assert!(rig.kernel.status().is_none());
    let mut rig = Rig::active();
    rig.tell(Event::Crashed);
    assert!(rig.kernel.status().is_none());
    rig.tell(Event::HeartbeatSeen);
    assert!(rig.kernel.status().is_none());
}

/// The rig takes every other change of a book so, and compares what it leads to with the full way.
#[test]
fn a_book_change_is_taken_without_an_event_while_nothing_is_due_and_else_left_alone() {
    // An odd number: at some even ones the kernel forgets what is old.
    let seq = |rig: &Rig| Seq((rig.seq + 1) | 1);
    let next = |rig: &Rig| BookChange {
        instrument: FUTURE,
        prev_change_id: rig.kernel.feeds.books.get(FUTURE.index()).and_then(|book| book.change_id).unwrap_or_default(),
        change_id: u64::MAX,
        bids: Vec::new(),
        asks: Vec::new(),
    };
    let left_alone = |rig: &Rig, at: TimeMs| {
        let (mut kernel, mut effects) = (rig.kernel.clone(), Vec::new());
        assert!(!kernel.apply_book_change(seq(rig), at, &next(rig), &mut effects));
        assert_eq!((kernel == rig.kernel, effects), (true, vec![]));
    };
    let mut rig = Rig::down();
    left_alone(&rig, rig.now);
    rig.boot(healthy_boot(START));
    left_alone(&rig, rig.now);
    rig.settle();
    rig.wait(1000);
    rig.tell(Event::HeartbeatSeen);
    let due = |rig: &Rig| rig.kernel.calm_until().expect("nothing is due yet");
    rig.now = due(&rig).before(10);
    rig.market_data();
    let until = due(&rig);
    assert!(until >= rig.now);
    let (mut kernel, mut effects) = (rig.kernel.clone(), Vec::new());
    assert!(kernel.apply_book_change(seq(&rig), until, &next(&rig), &mut effects));
    assert_eq!((kernel.seq(), effects), (seq(&rig), vec![]));
    assert_eq!(kernel.feeds.books[FUTURE.index()].change_id, Some(u64::MAX));
    left_alone(&rig, until.after(1));
    rig.tell(Event::Crashed);
    left_alone(&rig, rig.now);
}

// ---- critical inputs ----

#[test]
fn at_413_each_missing_input_of_a_boot_blocks() {
    let none = Sample::default();
    let cases: &[(&str, Change<Boot>, &[M])] = &[
        ("mm_util", |boot| boot.margin.value = None, &[LATCHED, MISSING]),
        ("mm_util time", |boot| boot.margin.at = None, &[LATCHED, MISSING]),
        ("disk", |boot| boot.disk_primary.value = None, &[LATCHED, MISSING]),
        ("disk time", |boot| boot.disk_primary.at = None, &[LATCHED, MISSING]),
        ("second disk", |boot| boot.disk_secondary.value = None, &[LATCHED, MISSING]),
        ("second disk time", |boot| boot.disk_secondary.at = None, &[LATCHED, MISSING]),
        ("heartbeat", |boot| boot.heartbeat_at = None, &[LATCHED, MISSING]),
        ("loop tick", |boot| boot.loop_tick_at = None, &[LATCHED, MISSING]),
        ("session flag", |boot| boot.session_flag_readable = false, &[LATCHED, MISSING]),
        ("session count", |boot| boot.session_count_readable = false, &[LATCHED, MISSING]),
        ("policy", |boot| boot.policy_generated_at = None, &[LATCHED, M::ReduceonlyPolicyStale, MISSING]),
        ("fees", |boot| boot.fee_cached_at = None, &[LATCHED, M::ReduceonlyFeeModelHardStale, DEGRADED, MISSING]),
        ("drift", |boot| boot.drift_ms = None, &[LATCHED, DEGRADED]),
        ("certificate", |boot| boot.certificate = None, &[LATCHED, M::ReduceonlyF1CertInvalid]),
        ("cortex", |boot| boot.overrides[0] = None, &[LATCHED, M::ReduceonlyCortexForceReduceOnly]),
        ("exchange health", |boot| boot.overrides[1] = None, &[LATCHED, M::ReduceonlyCortexForceReduceOnly]),
        ("basis", |boot| boot.overrides[2] = None, &[LATCHED, M::ReduceonlyCortexForceReduceOnly]),
        ("overrides", |boot| boot.overrides.clear(), &[LATCHED, M::ReduceonlyCortexForceReduceOnly]),
        ("round trips", |boot| boot.round_trips_ms.clear(), &[LATCHED, M::ReduceonlyBunkerModeActive]),
    ];
    for (name, change, reasons) in cases {
        let rig = boots(*change);
        assert_eq!(rig.status().mode_reasons, *reasons, "{name}");
        assert_eq!(rig.status().open_permission_reason_codes, [C::RestartReconcileRequired], "{name}");
    }
    // The same while running, for what can go missing again.
    let cases: &[(Event, &[M])] = &[
        (Event::MarginSampled(none), &[MISSING]),
        (Event::DiskSampled { primary: none, secondary: sample(400_000, START) }, &[MISSING]),
        (Event::PolicyReceived { generated_at: None }, &[M::ReduceonlyPolicyStale, MISSING]),
        (Event::FeeModelRead { cached_at: None }, &[M::ReduceonlyFeeModelHardStale, DEGRADED, MISSING]),
        (Event::ClockDriftSampled { drift_ms: None }, &[DEGRADED]),
        (Event::CertificateRead(None), &[M::ReduceonlyF1CertInvalid]),
    ];
    for (event, reasons) in cases {
        let mut rig = Rig::active();
        rig.tell(event.clone());
        rig.shows(reasons);
    }
}

#[test]
fn at_348_an_unreadable_session_flag_stays_missing() {
    let mut rig = boots(|boot| boot.session_flag_readable = false);
    rig.wait(12_000);
    rig.shows(&[MISSING]);
}

#[test]
fn at_349_350_numbers_outside_their_domain_are_unparseable() {
    for bad in [-1, i64::MIN] {
        let mut rig = Rig::active();
        rig.tell(Event::MarginSampled(sample(bad, rig.now)));
        rig.shows(&[MISSING]);
        rig.samples();
        rig.shows(&[]);
        for secondary in [false, true] {
            let (good, bad) = (sample(400_000, rig.now), sample(bad, rig.now));
            let (primary, second) = if secondary { (good, bad) } else { (bad, good) };
            rig.tell(Event::DiskSampled { primary, secondary: second });
            rig.shows(&[MISSING]);
            rig.samples();
            rig.shows(&[]);
        }
    }
    let mut rig = Rig::active();
    let beyond = sample(PPM + 1, rig.now);
    rig.tell(Event::DiskSampled { primary: beyond, secondary: beyond });
    rig.shows(&[MISSING]);
}

#[test]
fn at_295_margin_is_fresh_at_exactly_its_maximum_age() {
    let mut rig = Rig::active();
    rig.samples();
    rig.withhold(Feed::Margin);
    rig.wait(30_000);
    rig.shows(&[]);
    rig.tell_after(1, Event::LoopTicked);
    rig.shows(&[MISSING]);
    rig.samples();
    rig.resume(Feed::Margin);
    rig.samples();
    rig.shows(&[]);
}

#[test]
fn at_296_disks_are_fresh_at_exactly_their_maximum_age() {
    let mut rig = Rig::active();
    rig.samples();
    rig.withhold(Feed::Disks);
    rig.wait(30_000);
    rig.shows(&[]);
    rig.tell_after(1, Event::LoopTicked);
    rig.shows(&[MISSING]);
}

#[test]
fn at_315_policy_is_fresh_at_exactly_its_maximum_age() {
    let mut rig = Rig::active();
    rig.samples();
    rig.withhold(Feed::Policy);
    rig.wait(300_000);
    rig.shows(&[]);
    assert_eq!(rig.status().policy_age_sec, 300);
    rig.tell_after(1, Event::LoopTicked);
    rig.shows(&[M::ReduceonlyPolicyStale]);
    assert_eq!(rig.status().policy_age_sec, 300);
}

#[test]
fn at_319_fees_are_fresh_at_exactly_their_maximum_age() {
    let mut rig = Rig::active();
    rig.samples();
    rig.withhold(Feed::Fees);
    rig.wait(900_000);
    rig.shows(&[]);
    rig.tell_after(1, Event::LoopTicked);
    rig.shows(&[M::ReduceonlyFeeModelHardStale, DEGRADED]);
    rig.risk(RiskState::Degraded);
    rig.tell(Event::FeeModelRead { cached_at: Some(rig.now) });
    rig.shows(&[]);
}

#[test]
fn at_406_policy_age_rounds_down_and_the_time_is_unchanged() {
    let mut rig = Rig::active();
    let generated = rig.now.before(123_999);
    rig.tell(Event::PolicyReceived { generated_at: Some(generated) });
    assert_eq!(rig.status().policy_age_sec, 123);
    assert_eq!(rig.status().last_policy_update_ts, generated);
    rig.tell(Event::PolicyReceived { generated_at: None });
    assert_eq!(rig.status().last_policy_update_ts, generated);
}

// ---- certificate ----

#[test]
fn at_003_294_certificate_is_fresh_at_exactly_its_window() {
    let window = 86_400_000;
    for (age, state) in [(1000, F1CertState::Pass), (window, F1CertState::Pass), (window + 1, F1CertState::Stale)] {
        let mut rig = Rig::active();
        let generated = rig.now.before(age);
        rig.tell(Event::CertificateRead(Some(certificate(generated))));
        assert_eq!(rig.status().f1_cert_state, state);
        assert_eq!(rig.status().f1_cert_expires_at, Some(generated.after(window)));
        rig.shows(if state == F1CertState::Pass { &[] } else { &[M::ReduceonlyF1CertInvalid] });
        rig.latched(&[]);
    }
}

#[test]
fn at_020_423_certificate_binding_and_verdict() {
    let good = certificate(START);
    let other = || "other".to_owned();
    let cases = [
        (Some(Certificate { build_id: other(), ..good.clone() }), F1CertState::Invalid),
        (Some(Certificate { runtime_config_hash: other(), ..good.clone() }), F1CertState::Invalid),
        (Some(Certificate { contract_version: "5.1".into(), ..good.clone() }), F1CertState::Invalid),
        (Some(Certificate { passed: false, build_id: other(), ..good.clone() }), F1CertState::Invalid),
        (Some(Certificate { passed: false, ..good.clone() }), F1CertState::Fail),
        (Some(Certificate { passed: false, generated_at: TimeMs(0), ..good.clone() }), F1CertState::Fail),
        (None, F1CertState::Missing),
    ];
    for (read, state) in cases {
        let mut rig = Rig::active();
        let none = read.is_none();
        rig.tell(Event::CertificateRead(read));
        assert_eq!(rig.status().f1_cert_state, state);
        assert_eq!(rig.status().f1_cert_expires_at.is_none(), none);
        rig.shows(&[M::ReduceonlyF1CertInvalid]);
        rig.tell(Event::CertificateRead(Some(good.clone())));
        rig.shows(&[]);
    }
}

// ---- margin ----

#[test]
fn at_301_302_margin_thresholds_are_inclusive() {
    let high = M::ReduceonlyMarginMmUtilHigh;
    let critical = M::KillMarginMmUtilCritical;
    for (value, reasons) in [
        (849_999, &[][..]),
        (850_000, &[high][..]),
        (949_999, &[high][..]),
        (950_000, &[critical][..]),
        (PPM, &[critical][..]),
        // Above one it is no publishable value, and Kill all the same.
        (PPM + 1, &[critical][..]),
        (i64::MAX, &[critical][..]),
    ] {
        let mut rig = Rig::active();
        rig.tell(Event::MarginSampled(sample(value, rig.now)));
        rig.shows(reasons);
    }
}

#[test]
fn margin_bands_leave_after_their_hold_below_their_clear_threshold() {
    for (enter, still, below, hold_ms, reason) in [
        (850_000, 800_000, 799_999, 60_000, M::ReduceonlyMarginMmUtilHigh),
        (950_000, 900_000, 899_999, 300_000, M::KillMarginMmUtilCritical),
    ] {
        let mut rig = Rig::active();
        rig.mm_util = Ppm(enter);
        rig.samples();
        rig.shows(&[reason]);
        rig.mm_util = Ppm(still);
        rig.samples();
        rig.wait(hold_ms + 20_000);
        assert!(rig.status().mode_reasons.contains(&reason));
        rig.mm_util = Ppm(below);
        rig.samples();
        rig.wait(hold_ms - 1);
        assert!(rig.status().mode_reasons.contains(&reason));
        rig.tell_after(1, Event::LoopTicked);
        assert!(!rig.status().mode_reasons.contains(&reason));
    }
}

#[test]
fn a_stale_margin_sample_restarts_the_clear_time_and_keeps_the_band() {
    let mut rig = Rig::active();
    rig.mm_util = Ppm(860_000);
    rig.samples();
    rig.mm_util = Ppm(100_000);
    rig.samples();
    rig.withhold(Feed::Margin);
    rig.wait(30_001);
    rig.shows(&[M::ReduceonlyMarginMmUtilHigh, MISSING]);
    rig.resume(Feed::Margin);
    rig.samples();
    rig.wait(59_999);
    rig.shows(&[M::ReduceonlyMarginMmUtilHigh]);
    rig.tell_after(1, Event::LoopTicked);
    rig.shows(&[]);
}

#[test]
fn margin_bands_survive_a_restart() {
    let mut rig = Rig::active();
    rig.mm_util = Ppm(960_000);
    rig.samples();
    rig.mm_util = Ppm(100_000);
    rig.restart(1000, |_| ());
    rig.shows(&[M::KillMarginMmUtilCritical]);
    rig.wait(299_900);
    rig.shows(&[M::KillMarginMmUtilCritical]);
    rig.wait(200);
    rig.shows(&[]);
}

// ---- disk ----

#[test]
fn at_1067_339_disk_thresholds() {
    let kill = M::KillDiskWatermarkKill;
    let unconfirmed = M::ReduceonlyDiskKillUnconfirmed;
    for (primary, secondary, reasons) in [
        (849_999, 0, &[][..]),
        (850_000, 0, &[DEGRADED][..]),
        (919_999, 999_999, &[DEGRADED][..]),
        (920_000, 919_999, &[DEGRADED, unconfirmed][..]),
        (920_000, 920_000, &[kill][..]),
        (400_000, 990_000, &[][..]),
    ] {
        let mut rig = Rig::active();
        let now = rig.now;
        rig.tell(Event::DiskSampled { primary: sample(primary, now), secondary: sample(secondary, now) });
        rig.shows(reasons);
    }
    let mut rig = Rig::active();
    let now = rig.now;
    rig.tell(Event::DiskSampled { primary: sample(920_000, now), secondary: Sample::default() });
    rig.shows(&[DEGRADED, MISSING, unconfirmed]);
    rig.tell(Event::DiskSampled { primary: sample(920_000, now), secondary: sample(950_000, now.before(30_001)) });
    rig.shows(&[DEGRADED, MISSING, unconfirmed]);
}

#[test]
fn disk_degradation_clears_below_the_lower_mark() {
    let mut rig = Rig::active();
    for (primary, degraded) in [(850_000, true), (800_000, true), (799_999, false), (849_999, false)] {
        rig.tell(Event::DiskSampled { primary: sample(primary, rig.now), secondary: sample(0, rig.now) });
        rig.shows(if degraded { &[DEGRADED] } else { &[] });
    }
}

#[test]
fn disk_kill_stays_until_a_restart_with_good_samples() {
    let mut rig = Rig::active();
    rig.disks = (Ppm(930_000), Ppm(930_000));
    rig.samples();
    rig.shows(&[M::KillDiskWatermarkKill]);
    rig.disks = (Ppm(100_000), Ppm(100_000));
    rig.wait(20_000);
    rig.tell(reset(M::KillDiskWatermarkKill));
    rig.shows(&[M::KillDiskWatermarkKill]);
    rig.restart(1000, |boot| boot.disk_secondary.value = Some(Ppm(920_000)));
    rig.shows(&[M::KillDiskWatermarkKill]);
    rig.samples();
    rig.shows(&[LATCHED]);
    rig.settle();
}

// ---- watchdog and emergency ----

#[test]
fn at_297_337_1066_watchdog_limits() {
    let kill = M::KillWatchdogHeartbeatStale;
    let unconfirmed = M::ReduceonlyWatchdogUnconfirmed;
    for (withheld, at_6s, at_11s) in [
        (&[Feed::Heartbeats][..], &[EMERGENCY][..], &[EMERGENCY, unconfirmed][..]),
        (&[Feed::Ticks][..], &[EMERGENCY][..], &[EMERGENCY, unconfirmed][..]),
        (&[Feed::Heartbeats, Feed::Ticks][..], &[EMERGENCY][..], &[kill][..]),
    ] {
        let mut rig = Rig::active();
        rig.wait(5000 - rig.now.since(START) % 5000);
        rig.tell(Event::HeartbeatSeen);
        rig.tell(Event::LoopTicked);
        for feed in withheld {
            rig.withhold(*feed);
        }
        rig.wait(5000);
        rig.shows(&[]);
        rig.pass(1);
        rig.shows(at_6s);
        rig.wait(4999);
        rig.shows(at_6s);
        rig.pass(1);
        rig.shows(at_11s);
    }
}

#[test]
fn at_132_emergency_ends_with_a_run_begun_after_its_cooldown() {
    let mut rig = Rig::active();
    rig.tell(Event::OperatorCommanded(OperatorCommand::EmergencyReduceOnly));
    rig.shows(&[EMERGENCY]);
    rig.wait(299_900);
    rig.shows(&[EMERGENCY]);
    rig.wait(6000);
    rig.shows(&[]);
}

#[test]
fn emergency_outlives_its_cooldown_without_a_run() {
    let mut rig = Rig::active();
    rig.tell(Event::OperatorCommanded(OperatorCommand::EmergencyReduceOnly));
    rig.wait(250_000);
    rig.restart(1000, |_| ());
    rig.withhold(Feed::Answers);
    rig.wait(100_000);
    assert!(rig.status().mode_reasons.contains(&EMERGENCY));
    rig.resume(Feed::Answers);
    rig.wait(6000);
    assert!(!rig.status().mode_reasons.contains(&EMERGENCY));
}

#[test]
fn a_silence_triggers_the_emergency_as_long_as_it_lasts() {
    let mut rig = Rig::active();
    rig.withhold(Feed::Heartbeats);
    rig.wait(9000);
    rig.shows(&[EMERGENCY]);
    rig.resume(Feed::Heartbeats);
    rig.wait(300_000);
    rig.shows(&[EMERGENCY]);
    rig.wait(8000);
    rig.shows(&[]);
}

#[test]
fn watchdog_kill_needs_reset_restart_and_life() {
    let kill = M::KillWatchdogHeartbeatStale;
    let mut rig = Rig::active();
    rig.pass(10_001);
    rig.shows(&[kill]);
    rig.wait(1000);
    rig.shows(&[kill]);
    rig.restart(1000, |_| ());
    rig.wait(3000);
    rig.shows(&[kill]);
    rig.tell(reset(kill));
    assert!(!rig.status().mode_reasons.contains(&kill));
    // In the other order.
    let mut rig = Rig::active();
    rig.pass(10_001);
    rig.tell(reset(kill));
    rig.shows(&[kill]);
    rig.restart(1000, |boot| boot.heartbeat_at = None);
    rig.shows(&[kill]);
    rig.tell(Event::HeartbeatSeen);
    assert!(!rig.status().mode_reasons.contains(&kill));
}

#[test]
fn at_112_a_missing_heartbeat_is_no_kill_and_no_emergency() {
    let mut rig = boots(|boot| boot.heartbeat_at = None);
    rig.withhold(Feed::Heartbeats);
    rig.withhold(Feed::Ticks);
    rig.wait(4000);
    rig.shows(&[MISSING]);
    rig.wait(8000);
    rig.shows(&[EMERGENCY, MISSING, M::ReduceonlyWatchdogUnconfirmed]);
}

#[test]
fn what_a_long_gap_made_stale_trips_before_the_event_that_ends_it() {
    let mut rig = Rig::active();
    rig.tell_after(10_001, Event::LoopTicked);
    rig.shows(&[M::KillWatchdogHeartbeatStale]);
    rig.latched(&[C::WsDataStaleReconcileRequired]);
    let mut rig = Rig::active();
    let id = PERPETUAL;
    rig.now = rig.now.after(3001);
    rig.change(id);
    rig.latched(&[C::WsDataStaleReconcileRequired]);
    assert_eq!(rig.status().ws_event_lag_ms, 0);
}

// ---- risk state ----

#[test]
fn at_314_clock_drift_limit() {
    for (drift, degraded) in [(Some(50), false), (Some(51), true), (None, true)] {
        let mut rig = Rig::active();
        rig.tell(Event::ClockDriftSampled { drift_ms: drift });
        rig.shows(if degraded { &[DEGRADED] } else { &[] });
        rig.tell(Event::ClockDriftSampled { drift_ms: Some(50) });
        rig.shows(&[]);
    }
}

#[test]
fn at_106_133_three_failed_limits_fetches_in_300_s() {
    let failed = Event::LimitsFetched { succeeded: false };
    let mut rig = Rig::active();
    rig.tell(failed.clone());
    rig.tell(failed.clone());
    rig.shows(&[]);
    rig.tell(failed.clone());
    rig.shows(&[DEGRADED]);
    rig.tell(Event::LimitsFetched { succeeded: true });
    rig.shows(&[]);
    rig.tell(failed.clone());
    rig.tell(failed.clone());
    rig.shows(&[]);
    for (gap_ms, degraded) in [(150_000, true), (150_001, false), (200_000, false)] {
        let mut rig = Rig::active();
        for _ in 0..2 {
            rig.tell(failed.clone());
            rig.wait(gap_ms);
        }
        rig.tell(failed.clone());
        rig.shows(if degraded { &[DEGRADED] } else { &[] });
    }
}

#[test]
fn at_925_924_queues_and_group_lock() {
    let mut rig = Rig::active();
    let sampled = |queue, depth| Event::OutputQueueSampled { queue, depth, capacity: 8 };
    rig.tell(sampled(OutputQueue::Telemetry, 7));
    rig.shows(&[]);
    rig.tell(sampled(OutputQueue::Telemetry, 8));
    rig.tell(sampled(OutputQueue::OrderEvents, 9));
    rig.shows(&[DEGRADED]);
    rig.tell(sampled(OutputQueue::Telemetry, 7));
    rig.shows(&[DEGRADED]);
    rig.tell(sampled(OutputQueue::OrderEvents, 0));
    rig.shows(&[]);
    rig.tell(Event::GroupLockSampled { held: true });
    rig.shows(&[DEGRADED]);
    rig.tell(Event::GroupLockSampled { held: false });
    rig.shows(&[]);
}

#[test]
fn at_279_metadata_is_fresh_at_exactly_its_ttl() {
    let mut rig = Rig::active();
    rig.tell(Event::InstrumentRefreshed(PERPETUAL));
    let refreshed = rig.now;
    rig.wait(3_600_000 - refreshed.since(START));
    rig.shows(&[]);
    rig.pass(1);
    rig.shows(&[DEGRADED]);
    rig.tell(Event::InstrumentRefreshed(FUTURE));
    rig.shows(&[]);
    rig.wait(3_600_000 - rig.now.since(refreshed));
    rig.shows(&[]);
    rig.pass(1);
    rig.shows(&[DEGRADED]);
}

#[test]
fn rate_limit_degrades_for_its_recovery_time_and_is_counted() {
    let mut rig = Rig::active();
    let request = rig.ask_once();
    rig.tell(Event::RestRefused { request, code: 429, round_trip_ms: 20 });
    rig.shows(&[DEGRADED]);
    assert_eq!(rig.status().rate_limited_count_5m, 1);
    rig.wait(59_999);
    rig.shows(&[DEGRADED]);
    rig.pass(1);
    rig.shows(&[]);
    rig.restart(1000, |_| ());
    rig.risk(RiskState::Healthy);
    assert_eq!(rig.status().rate_limited_count_5m, 1);
    rig.wait(238_900);
    assert_eq!(rig.status().rate_limited_count_5m, 1);
    rig.wait(200);
    assert_eq!(rig.status().rate_limited_count_5m, 0);
}

#[test]
fn at_918_operator_kill_ends_by_an_incident_reset_only() {
    let kill = M::KillRiskstateKill;
    let mut rig = Rig::active();
    rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
    rig.shows(&[kill]);
    rig.risk(RiskState::Kill);
    rig.wait(10_000);
    rig.tell(reset(M::KillCortexForceKill));
    rig.shows(&[kill]);
    // A reset names its incident.
    let unnamed = OperatorCommand::IncidentReset { token: kill.token().into(), incident_id: String::new() };
    rig.tell(Event::OperatorCommanded(unnamed));
    rig.shows(&[kill]);
    rig.tell(reset(kill));
    rig.shows(&[]);
    rig.risk(RiskState::Healthy);
}

#[test]
fn the_most_severe_cause_gives_the_risk_state_in_whatever_order_causes_come() {
    let (kill, reset) = (Event::OperatorCommanded(OperatorCommand::Kill), reset(M::KillRiskstateKill));
    let drifts = |drift_ms| Event::ClockDriftSampled { drift_ms: Some(drift_ms) };
    let announced = |window| Event::MaintenanceAnnounced(window);
    let mut rig = Rig::active();
    let window = MaintenanceWindow { starts_at: rig.now, ends_at: rig.now.after(600_000) };
    for (event, state) in [
        (drifts(51), RiskState::Degraded),
        (announced(Some(window)), RiskState::Maintenance),
        (kill, RiskState::Kill),
        (announced(None), RiskState::Kill),
        (drifts(50), RiskState::Kill),
        (announced(Some(window)), RiskState::Kill),
        (drifts(51), RiskState::Kill),
        (reset, RiskState::Maintenance),
        (announced(None), RiskState::Degraded),
        (drifts(50), RiskState::Healthy),
    ] {
        rig.tell(event);
        rig.risk(state);
    }
}

#[test]
fn an_operator_kill_is_not_shed_by_a_crash() {
    let mut rig = Rig::active();
    rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
    rig.restart(1000, |_| ());
    rig.shows(&[M::KillRiskstateKill]);
    rig.wait(7000);
    rig.shows(&[M::KillRiskstateKill]);
    rig.tell(reset(M::KillRiskstateKill));
    rig.shows(&[]);
}

#[test]
fn a_damaged_ledger_or_slot_is_kill() {
    for change in [|boot: &mut Boot| boot.ledger_damaged = true, |boot: &mut Boot| boot.slot = SlotReading::Damaged] {
        let mut rig = boots(change);
        rig.shows(&[M::KillRiskstateKill]);
        rig.risk(RiskState::Kill);
        rig.wait(6000);
        rig.tell(reset(M::KillRiskstateKill));
        rig.shows(&[]);
    }
}

#[test]
fn at_232_maintenance_lead_is_inclusive_and_ends_by_a_run() {
    let maintenance = M::ReduceonlyRiskstateMaintenance;
    let mut rig = Rig::active();
    let window = |starts_at: TimeMs| MaintenanceWindow { starts_at, ends_at: starts_at.after(600_000) };
    rig.tell(Event::MaintenanceAnnounced(Some(window(rig.now.after(3_600_001)))));
    rig.shows(&[]);
    rig.pass(1);
    rig.shows(&[maintenance]);
    rig.risk(RiskState::Maintenance);
    rig.tell(Event::MaintenanceAnnounced(None));
    rig.shows(&[]);
    rig.withhold(Feed::Announcements);
    rig.tell(Event::MaintenanceAnnounced(Some(MaintenanceWindow {
        starts_at: rig.now.after(1000),
        ends_at: rig.now.after(60_000),
    })));
    rig.wait(59_999);
    rig.shows(&[maintenance]);
    rig.withhold(Feed::Answers);
    rig.wait(30_000);
    assert!(rig.status().risk_state == RiskState::Maintenance);
    rig.resume(Feed::Answers);
    rig.wait(10_000);
    assert!(rig.status().risk_state != RiskState::Maintenance);
}

#[test]
fn at_232_a_book_change_alone_lets_the_lead_of_a_maintenance_begin() {
    let mut rig = Rig::active();
    rig.wait(1000);
    // Nothing else is due before the lead begins.
    while rig.kernel.calm_until() < Some(rig.now.after(50)) {
        rig.wait(100);
    }
    let starts_at = rig.now.after(3_600_050);
    rig.tell(Event::MaintenanceAnnounced(Some(MaintenanceWindow { starts_at, ends_at: starts_at.after(1000) })));
    assert_eq!(rig.kernel.calm_until(), Some(rig.now.after(49)));
    for (ms, reasons) in [(49, &[][..]), (1, &[M::ReduceonlyRiskstateMaintenance][..])] {
        rig.now = rig.now.after(ms);
        rig.change(FUTURE);
        rig.shows(reasons);
    }
}

#[test]
fn a_maintenance_that_ended_owes_a_run_however_late_or_short_it_was_announced() {
    let maintenance = M::ReduceonlyRiskstateMaintenance;
    let mut rig = Rig::active();
    let announce = |rig: &mut Rig, from: i64, to: i64| {
        let window = MaintenanceWindow { starts_at: rig.now.after(from), ends_at: rig.now.after(to) };
        rig.tell(Event::MaintenanceAnnounced(Some(window)));
    };
    let ended_by_a_run = |rig: &mut Rig| {
        rig.shows(&[maintenance]);
        rig.wait(10_000);
        rig.shows(&[]);
    };
    // Told only after its end.
    announce(&mut rig, -20_000, -1);
    ended_by_a_run(&mut rig);
    // No longer announced after its end, or another announced in its place.
    for next in [None, Some(MaintenanceWindow { starts_at: START.after(90_000_000), ends_at: START.after(90_060_000) })]
    {
        announce(&mut rig, -20_000, 1);
        rig.pass(2);
        rig.tell(Event::MaintenanceAnnounced(next));
        ended_by_a_run(&mut rig);
    }
}

// ---- overrides and tokens ----

#[test]
fn at_418_the_most_severe_override_wins() {
    let all = [Override::None, Override::ForceReduceOnly, Override::ForceKill];
    for cortex in all {
        for health in all {
            for basis in all {
                let mut rig = Rig::active();
                for (producer, signal) in Producer::ALL.into_iter().zip([cortex, health, basis]) {
                    rig.tell(Event::OverrideSampled { producer, signal });
                }
                rig.shows(match cortex.max(health).max(basis) {
                    Override::None => &[],
                    Override::ForceReduceOnly => &[M::ReduceonlyCortexForceReduceOnly],
                    Override::ForceKill => &[M::KillCortexForceKill],
                });
            }
        }
    }
}

#[test]
fn a_market_kill_ends_by_a_reset_once_no_producer_asks_for_it() {
    let kill = M::KillCortexForceKill;
    let mut rig = Rig::active();
    let says = |signal| Event::OverrideSampled { producer: Producer::Basis, signal };
    rig.tell(says(Override::ForceKill));
    rig.tell(reset(kill));
    rig.shows(&[kill]);
    rig.tell(says(Override::None));
    rig.shows(&[kill]);
    rig.wait(1000);
    rig.shows(&[kill]);
    rig.restart(1000, |boot| boot.build_id = "build-1".into());
    rig.shows(&[kill]);
    rig.tell(reset(kill));
    rig.shows(&[LATCHED]);
}

#[test]
fn an_unknown_token_is_kill_until_another_build_or_configuration() {
    let kill = M::KillCortexForceKill;
    let unknown = |token: &str| Event::TokenReported { subsystem: "risk".into(), token: token.into() };
    for event in [
        unknown("KILL_NEVER_HEARD_OF"),
        unknown(""),
        unknown("kill_riskstate_kill"),
        Event::OperatorCommanded(OperatorCommand::IncidentReset {
            token: "NOT_A_TOKEN".into(),
            incident_id: "I".into(),
        }),
    ] {
        let mut rig = Rig::active();
        rig.tell(event);
        rig.shows(&[kill]);
        rig.tell(reset(kill));
        rig.wait(6000);
        rig.shows(&[kill]);
        rig.restart(1000, |_| ());
        rig.shows(&[kill]);
        rig.latched(&[C::RestartReconcileRequired]);
        rig.wait(6000);
        rig.shows(&[kill]);
        let mut other = certificate(rig.now);
        other.build_id = "build-2".into();
        rig.restart(1000, |boot| {
            boot.build_id = "build-2".into();
            boot.certificate = Some(other);
        });
        rig.shows(&[LATCHED]);
        rig.settle();
    }
    let mut rig = Rig::active();
    for token in ["KILL_RISKSTATE_KILL", "WS_BOOK_GAP_RECONCILE_REQUIRED", "NetEdgeTooLow"] {
        rig.tell(unknown(token));
        rig.shows(&[]);
    }
    // An owner's code is no reason.
    rig.tell(unknown("STATE_IDLE_HEALTHY"));
    rig.shows(&[kill]);
}

// ---- session ----

#[test]
fn at_240_409_a_termination_flags_counts_and_latches() {
    let unconfirmed = M::ReduceonlySessionKillUnconfirmed;
    let closed = |cause| Event::SocketClosed { socket: Socket::Private, cause };
    for (event, reasons, count) in [
        (Event::VenueErrored { code: 10028 }, &[LATCHED, DEGRADED, unconfirmed][..], 1),
        (closed(CloseCause::SessionEnded), &[LATCHED, DEGRADED, unconfirmed][..], 1),
        (closed(CloseCause::KeyRevoked), &[LATCHED, DEGRADED, unconfirmed][..], 1),
        (closed(CloseCause::Lost), &[LATCHED, DEGRADED][..], 0),
    ] {
        let mut rig = Rig::active();
        rig.tell(event);
        rig.shows(reasons);
        rig.latched(&[SESSION]);
        rig.risk(RiskState::Degraded);
        assert_eq!(rig.status().terminations_count_5m, count);
        rig.wait(10_000);
        rig.shows(&[]);
        assert_eq!(rig.status().terminations_count_5m, count);
    }
    // Another error code and a lost public socket are none of these.
    let mut rig = Rig::active();
    rig.tell(Event::VenueErrored { code: 10004 });
    rig.tell(Event::SocketClosed { socket: Socket::Public, cause: CloseCause::Lost });
    rig.shows(&[]);
}

#[test]
fn a_termination_counts_once_a_session() {
    let mut rig = Rig::active();
    rig.tell(Event::VenueErrored { code: 10028 });
    rig.tell(Event::VenueErrored { code: 10028 });
    rig.tell(Event::SocketClosed { socket: Socket::Private, cause: CloseCause::SessionEnded });
    assert_eq!(rig.status().terminations_count_5m, 1);
    rig.tell(Event::AuthenticationRefused { code: 10028 });
    assert_eq!(rig.status().terminations_count_5m, 2);
    rig.tell(Event::AuthenticationRefused { code: 13004 });
    assert_eq!(rig.status().terminations_count_5m, 2);
    rig.tell(Event::AuthenticationRefused { code: 10028 });
    assert_eq!(rig.status().terminations_count_5m, 3);
    rig.shows(&[M::KillRateLimitSessionTermination]);
}

#[test]
fn at_1068_346_the_third_termination_in_five_minutes_is_kill() {
    let kill = M::KillRateLimitSessionTermination;
    let unconfirmed = M::ReduceonlySessionKillUnconfirmed;
    let mut rig = Rig::active();
    for _ in 0..2 {
        rig.tell(Event::VenueErrored { code: 10028 });
        rig.shows(&[LATCHED, DEGRADED, unconfirmed]);
        rig.wait(40_000);
    }
    rig.tell(Event::VenueErrored { code: 10028 });
    rig.shows(&[kill]);
    rig.wait(20_000);
    rig.shows(&[kill]);
    rig.tell(reset(kill));
    assert!(!rig.status().mode_reasons.contains(&kill));
}

/// The run that a gap of trades begins while the session is down ends after the session is back: it proves nothing about
/// what happened in between. The reference, asked after every event, knows that.
#[test]
fn a_run_begun_before_the_new_session_releases_no_rate_limit_kill() {
    let kill = M::KillRateLimitSessionTermination;
    let mut rig = Rig::active();
    rig.tell(Event::VenueErrored { code: 10028 });
    rig.tell(Event::AuthenticationRefused { code: 10028 });
    rig.wait(2000);
    rig.tell(Event::VenueErrored { code: 10028 });
    rig.tell(reset(kill));
    rig.wait(301);
    rig.trade_after_gap(FUTURE, 1);
    rig.wait(1000);
    rig.shows(&[]);
}

#[test]
fn the_session_flag_survives_a_restart() {
    let mut rig = Rig::active();
    rig.tell(Event::VenueErrored { code: 10028 });
    rig.restart(1000, |_| ());
    rig.shows(&[LATCHED, DEGRADED, M::ReduceonlySessionKillUnconfirmed]);
    rig.latched(&[C::RestartReconcileRequired, SESSION]);
    assert_eq!(rig.status().terminations_count_5m, 1);
    rig.wait(10_000);
    rig.shows(&[]);
}

// ---- feeds ----

#[test]
fn at_271_408_a_book_gap_latches_until_quiet_and_reconciled() {
    let mut rig = Rig::active();
    rig.change_after_gap(PERPETUAL, 1);
    rig.shows(&[LATCHED]);
    rig.risk(RiskState::Healthy);
    rig.latched(&[C::WsBookGapReconcileRequired]);
    rig.wait(9_900);
    rig.latched(&[C::WsBookGapReconcileRequired]);
    rig.wait(6_000);
    rig.shows(&[]);
}

#[test]
fn a_change_told_twice_is_a_gap() {
    let mut rig = Rig::active();
    rig.change(PERPETUAL);
    rig.shows(&[]);
    rig.change_again(PERPETUAL);
    rig.latched(&[C::WsBookGapReconcileRequired]);
}

#[test]
fn a_change_before_any_snapshot_is_a_gap() {
    let mut rig = Rig::booted();
    rig.change(PERPETUAL);
    rig.latched(&[C::RestartReconcileRequired, C::WsBookGapReconcileRequired]);
}

#[test]
fn a_change_while_a_resubscription_waits_raises_nothing() {
    let mut rig = Rig::active();
    rig.change_after_gap(PERPETUAL, 1);
    rig.wait(20_000);
    rig.shows(&[]);
    rig.change_after_gap(PERPETUAL, 1);
    let gaps = rig.noted(|note| matches!(note, Note::Gap(_)));
    rig.change_after_gap(PERPETUAL, 7);
    rig.change_after_gap(PERPETUAL, 7);
    assert_eq!(rig.noted(|note| matches!(note, Note::Gap(_))), gaps);
    rig.wait(20_000);
    rig.shows(&[]);
}

#[test]
fn of_a_pulled_book_and_an_older_snapshot_the_newer_stays() {
    let known = |rig: &Rig| rig.kernel.feeds.books[PERPETUAL.index()].change_id;
    let mut rig = Rig::active();
    rig.withhold(Feed::Snapshots);
    let before = known(&rig);
    rig.change_after_gap(PERPETUAL, 5);
    rig.answer_all();
    let pulled = known(&rig);
    assert!(pulled > before);
    rig.tell(Event::BookSnapshot(book(PERPETUAL, pulled.expect("a book") - 1)));
    assert_eq!(known(&rig), pulled);
    // It was the snapshot that was waited for, all the same.
    let gaps = rig.noted(|note| matches!(note, Note::Gap(_)));
    rig.change(PERPETUAL);
    assert!(known(&rig) > pulled);
    assert_eq!(rig.noted(|note| matches!(note, Note::Gap(_))), gaps);
}

#[test]
fn at_202_272_a_trades_gap_latches_until_pulled_and_reconciled() {
    for skipped in [1, 5] {
        let mut rig = Rig::active();
        rig.wait(1000);
        rig.trade_after_gap(FUTURE, skipped);
        rig.shows(&[LATCHED]);
        rig.latched(&[C::WsTradesGapReconcileRequired]);
        rig.risk(RiskState::Healthy);
        rig.withhold(Feed::Answers);
        rig.wait(1000);
        rig.latched(&[C::WsTradesGapReconcileRequired]);
        rig.resume(Feed::Answers);
        rig.wait(7000);
        rig.shows(&[]);
    }
    // A step back is one as well, a repeated trade is none.
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.trade_numbered(PERPETUAL, 501);
    rig.latched(&[]);
    rig.trade_numbered(PERPETUAL, 400);
    rig.latched(&[C::WsTradesGapReconcileRequired]);
}

#[test]
fn at_947_silence_latches_above_the_limit_and_clears_after_a_calm_minute() {
    let mut rig = Rig::active();
    rig.market_data();
    rig.withhold(Feed::MarketData);
    rig.wait(3000);
    rig.shows(&[]);
    rig.pass(1);
    rig.shows(&[LATCHED]);
    rig.latched(&[C::WsDataStaleReconcileRequired]);
    rig.risk(RiskState::Healthy);
    assert!(!rig.status().bunker_mode_active);
    rig.wait(20_000);
    rig.resume(Feed::MarketData);
    rig.wait(59_900);
    rig.latched(&[C::WsDataStaleReconcileRequired]);
    rig.wait(6_000);
    rig.shows(&[]);
}

#[test]
fn at_948_silence_without_exposure_or_activity_does_not_latch() {
    // Flat, and the payloads before the last subscription count no more.
    let mut rig = Rig::active();
    rig.withhold(Feed::MarketData);
    rig.withhold(Feed::Snapshots);
    rig.tell(Event::SocketClosed { socket: Socket::Public, cause: CloseCause::Lost });
    rig.wait(60_000);
    rig.latched(&[]);
    assert!(rig.status().ws_event_lag_ms > 60_000);
}

#[test]
fn silence_from_the_boot_on_counts_as_exposed_while_positions_are_not_known() {
    let mut rig = Rig::booted();
    for feed in [Feed::MarketData, Feed::Snapshots, Feed::Answers] {
        rig.withhold(feed);
    }
    rig.wait(3000);
    rig.latched(&[C::RestartReconcileRequired]);
    rig.pass(1);
    rig.latched(&[C::RestartReconcileRequired, C::WsDataStaleReconcileRequired]);
}

#[test]
fn silence_from_the_boot_on_is_no_staleness_once_flat_is_known() {
    let mut rig = Rig::booted();
    rig.withhold(Feed::MarketData);
    rig.withhold(Feed::Snapshots);
    rig.wait(10_000);
    rig.latched(&[C::RestartReconcileRequired]);
}

#[test]
fn at_209_timeouts_enter_bunker_in_their_own_event() {
    let mut rig = Rig::booted();
    rig.withhold(Feed::Answers);
    rig.wait(1900);
    assert!(!rig.status().bunker_mode_active);
    rig.wait(100);
    assert!(rig.status().bunker_mode_active);
}

#[test]
fn at_946_one_quiet_instrument_is_no_silence() {
    let mut rig = Rig::active();
    rig.withhold(Feed::MarketData);
    for _ in 0..20 {
        rig.wait(1000);
        // The producers read the perpetual; the future is the one that keeps silent.
        rig.change(PERPETUAL);
        rig.tell(Event::TickerReceived(ticker(PERPETUAL)));
    }
    rig.shows(&[]);
}

#[test]
fn a_rejected_frame_of_a_market_data_channel_is_a_gap() {
    for (instrument, channel, codes) in [
        (Some(PERPETUAL), Channel::Book, &[C::WsBookGapReconcileRequired][..]),
        (Some(PERPETUAL), Channel::Trades, &[C::WsTradesGapReconcileRequired][..]),
        (Some(PERPETUAL), Channel::Other, &[][..]),
        (None, Channel::Other, &[][..]),
        (Some(InstrumentId(99)), Channel::Book, &[][..]),
        (None, Channel::Book, &[][..]),
        (None, Channel::Trades, &[][..]),
        (Some(PERPETUAL), Channel::Ticker, &[][..]),
    ] {
        let mut rig = Rig::active();
        rig.tell(Event::FrameRejected { socket: Socket::Public, instrument, channel });
        rig.latched(codes);
    }
}

// ---- bunker ----

#[test]
fn at_267_298_bunker_by_transport_lag() {
    for feed in [Feed::PublicFrames, Feed::PrivateFrames] {
        let mut rig = Rig::active();
        rig.wait(1000);
        rig.withhold(Feed::MarketData);
        rig.tell(Event::FrameHeard(Socket::Public));
        rig.tell(Event::FrameHeard(Socket::Private));
        rig.withhold(feed);
        rig.wait(2000);
        rig.shows(&[]);
        rig.pass(1);
        rig.shows(&[M::ReduceonlyBunkerModeActive]);
        rig.resume(Feed::MarketData);
        rig.resume(feed);
        rig.tell(Event::FrameHeard(Socket::Public));
        rig.tell(Event::FrameHeard(Socket::Private));
        rig.wait(119_999);
        assert!(rig.status().bunker_mode_active);
        rig.pass(1);
        assert!(!rig.status().bunker_mode_active);
    }
}

#[test]
fn a_book_change_alone_finds_a_lag_of_the_private_socket() {
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.tell(Event::FrameHeard(Socket::Private));
    rig.withhold(Feed::PrivateFrames);
    rig.wait(1900);
    for (ms, reasons) in [(100, &[][..]), (1, &[M::ReduceonlyBunkerModeActive][..])] {
        rig.now = rig.now.after(ms);
        rig.change(FUTURE);
        rig.shows(reasons);
    }
}

#[test]
fn at_267_a_new_connection_is_no_frame() {
    let mut rig = Rig::active();
    rig.tell(Event::FrameHeard(Socket::Public));
    rig.tell(Event::FrameHeard(Socket::Private));
    rig.tell(Event::SocketClosed { socket: Socket::Private, cause: CloseCause::Lost });
    rig.pass(1500);
    rig.tell(Event::FrameHeard(Socket::Public));
    rig.tell(Event::SocketOpened(Socket::Private));
    assert_eq!(rig.kernel.transport_lag_ms(), Some(1500));
    rig.tell(Event::FrameHeard(Socket::Private));
    assert_eq!(rig.kernel.transport_lag_ms(), Some(0));
}

#[test]
fn at_345_bunker_on_the_third_slow_second() {
    let mut rig = Rig::active();
    rig.wait(40_000);
    rig.round_trip_ms = 750;
    rig.wait(40_000);
    rig.shows(&[]);
    rig.round_trip_ms = 751;
    rig.wait(40_000);
    rig.shows(&[M::ReduceonlyBunkerModeActive]);
    rig.round_trip_ms = 20;
    rig.wait(170_000);
    rig.shows(&[]);
}

#[test]
fn bunker_by_timeouts_and_by_silence_of_rest() {
    let mut rig = Rig::active();
    rig.wait(10_000);
    rig.withhold(Feed::Answers);
    rig.wait(10_000);
    rig.shows(&[M::ReduceonlyBunkerModeActive]);
    rig.wait(60_000);
    rig.resume(Feed::Answers);
    rig.wait(200_000);
    rig.shows(&[]);
}

#[test]
fn bunker_survives_a_restart() {
    let mut rig = Rig::active();
    rig.pass(2500);
    assert!(rig.status().bunker_mode_active);
    rig.restart(500, |_| ());
    rig.shows(&[LATCHED, M::ReduceonlyBunkerModeActive]);
    rig.wait(119_900);
    assert!(rig.status().bunker_mode_active);
    rig.wait(200);
    assert!(!rig.status().bunker_mode_active);
}

// ---- orders and groups ----

pub fn leg(instrument: InstrumentId, side: Side, usd: i64) -> LegProposal {
    let price = match side {
        Side::Buy => 100_001,
        Side::Sell => 99_999,
    };
    LegProposal {
        instrument,
        side,
        action: Action::Place,
        reduce_only: None,
        qty: Qty(usd * NANO),
        price: Price(price * NANO),
        time_in_force: TimeInForce::GoodTilCancelled,
        order_type: OrderType::Limit,
        linked: false,
        post_only: false,
        contracts: None,
    }
}

pub fn group(group_id: &str, legs: Vec<LegProposal>) -> Event {
    Event::GroupProposed(GroupProposal {
        strategy_id: "strategy".into(),
        group_id: group_id.into(),
        structure_fingerprint: 7,
        edge: EdgeInputs::net(Some(10_000)),
        legs,
    })
}

/// Proposes a pair of legs and returns the labels sent.
pub fn pair(rig: &mut Rig, group_id: &str, usd: i64) -> Vec<String> {
    rig.market_data();
    rig.tell(group(group_id, vec![leg(PERPETUAL, Side::Buy, usd), leg(FUTURE, Side::Sell, usd)]));
    rig.sent().into_iter().map(|order| order.label).collect()
}

#[test]
fn at_278_a_pair_that_fills_equally_leaves_the_mode_alone() {
    let mut rig = Rig::active();
    rig.wait(1000);
    let labels = pair(&mut rig, "group0000001", 1000);
    rig.answer_all();
    for label in &labels {
        rig.fill(label, Qty(1000 * NANO));
    }
    rig.wait(20_000);
    rig.shows(&[]);
}

/// Leg A fills, then the venue refuses leg B; containment's own orders wait at the venue's door.
pub fn mixed_fill(rig: &mut Rig) {
    rig.wait(1000);
    let legs = pair(rig, "group0000001", 1000);
    let sent = rig.sent();
    let usual = std::mem::replace(&mut rig.matching, Match::usual);
    rig.receive(&sent[0]);
    rig.matching = usual;
    rig.fill(&legs[0], Qty(1000 * NANO));
    rig.shows(&[]);
    rig.forget_sent();
    rig.tell(Event::OrderRejected { label: legs[1].clone(), code: 11_029 });
}

#[test]
fn at_116_a_mixed_fill_degrades_and_raises_the_emergency() {
    let mut rig = Rig::active();
    mixed_fill(&mut rig);
    rig.shows(&[EMERGENCY, DEGRADED]);
    rig.latched(&[]);
    rig.risk(RiskState::Degraded);
    rig.wait(59_000);
    rig.shows(&[EMERGENCY, DEGRADED]);
    rig.wait(10_000);
    rig.shows(&[EMERGENCY]);
    rig.wait(300_000);
    rig.shows(&[]);
}

#[test]
fn a_late_fill_of_a_flattened_group_is_containment_again() {
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.matching = |order| match order.instrument {
        FUTURE => Match::Reject,
        _ => Match::usual(order),
    };
    let labels = pair(&mut rig, "group0000001", 1000);
    rig.answer_all();
    rig.shows(&[]);
    rig.fill(&labels[0], Qty(1000 * NANO));
    rig.shows(&[EMERGENCY, DEGRADED]);
    rig.wait(59_000);
    rig.shows(&[EMERGENCY, DEGRADED]);
    assert!(rig.positions().is_empty());
}

#[test]
fn at_118_containment_lasts_as_long_as_nobody_takes_its_orders() {
    let mut rig = Rig::active();
    rig.matching = |_| Match::Nothing;
    mixed_fill(&mut rig);
    rig.wait(80_000);
    rig.shows(&[EMERGENCY, DEGRADED]);
    assert!(rig.noted(|note| matches!(note, Note::RoundsExhausted(_))) > 0);
    rig.matching = Match::usual;
    rig.tell(Event::OperatorCommanded(OperatorCommand::ResumeContainment { group_id: "group0000001".into() }));
    rig.wait(70_000);
    rig.shows(&[EMERGENCY]);
    rig.wait(250_000);
    rig.shows(&[]);
}

#[test]
fn a_group_that_ends_without_any_fill_raises_nothing() {
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.matching = |_| Match::Reject;
    pair(&mut rig, "group0000001", 1000);
    rig.wait(20_000);
    rig.shows(&[]);
}

#[test]
fn containment_survives_a_restart() {
    let mut rig = Rig::active();
    mixed_fill(&mut rig);
    let ledger = rig.ledger();
    rig.restart(1000, |boot| boot.ledger = ledger);
    rig.shows(&[EMERGENCY, LATCHED, DEGRADED]);
    rig.latched(&[C::RestartReconcileRequired]);
    rig.wait(20_000);
    rig.shows(&[EMERGENCY, DEGRADED]);
    rig.wait(70_000);
    rig.shows(&[EMERGENCY]);
}

#[test]
fn a_late_fill_survives_a_restart() {
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.matching = |order| match order.instrument {
        FUTURE => Match::Reject,
        _ => Match::usual(order),
    };
    let labels = pair(&mut rig, "group0000001", 1000);
    rig.answer_all();
    rig.fill(&labels[0], Qty(1000 * NANO));
    rig.shows(&[EMERGENCY, DEGRADED]);
    let ledger = rig.ledger();
    rig.restart(1000, |boot| boot.ledger = ledger);
    rig.shows(&[EMERGENCY, LATCHED, DEGRADED]);
}

#[test]
fn exposure_alone_makes_silence_stale() {
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.market_data();
    rig.tell(group("group0000001", vec![leg(PERPETUAL, Side::Buy, 1000)]));
    let label = rig.sent()[0].label.clone();
    rig.answer_all();
    rig.fill(&label, Qty(1000 * NANO));
    rig.withhold(Feed::MarketData);
    rig.withhold(Feed::Snapshots);
    rig.tell(Event::SocketClosed { socket: Socket::Public, cause: CloseCause::Lost });
    rig.wait(2900);
    rig.latched(&[]);
    rig.wait(200);
    rig.latched(&[C::WsDataStaleReconcileRequired]);
}

#[test]
fn at_305_a_position_that_no_trade_explains_latches() {
    for (extra, codes) in [(10 * NANO, &[][..]), (10 * NANO + 1, &[C::InventoryMismatchReconcileRequired][..])] {
        let mut rig = Rig::active();
        rig.wait(1000);
        rig.unexplained.insert(PERPETUAL, Qty(extra));
        rig.wait(10_000);
        rig.latched(codes);
        rig.wait(10_000);
        rig.latched(codes);
        rig.unexplained.clear();
        rig.wait(10_000);
        rig.shows(&[]);
    }
}

/// An open order with our label that the ledger does not know.
pub fn ghost() -> VenueOrder {
    VenueOrder {
        order_id: OrderId(7_000_000),
        label: "s4:strategy:group0000009:0:00000000000000aa".into(),
        instrument: PERPETUAL,
        side: Side::Buy,
        price: Price(90_000 * NANO),
        qty: Qty(100 * NANO),
        filled: Qty::ZERO,
        reduce_only: false,
        state: VenueState::Open,
    }
}

#[test]
fn at_122_a_ghost_order_latches_until_it_is_gone() {
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.orders.push(ghost());
    rig.wait(6000);
    rig.latched(&[C::InventoryMismatchReconcileRequired]);
    rig.wait(30_000);
    rig.shows(&[]);
}

#[test]
fn a_ghost_order_reported_on_the_socket_latches() {
    let mut rig = Rig::active();
    rig.orders.push(ghost());
    rig.tell(Event::OrderUpdated(ghost()));
    rig.latched(&[C::InventoryMismatchReconcileRequired]);
    // What has ended, or is not ours, is none.
    for order in
        [VenueOrder { state: VenueState::Cancelled, ..ghost() }, VenueOrder { label: "by-hand".into(), ..ghost() }]
    {
        let mut rig = Rig::active();
        rig.tell(Event::OrderUpdated(order));
        rig.latched(&[]);
    }
}

#[test]
fn an_orphan_fill_latches_unless_another_code_is_set() {
    let trade = |rig: &Rig| OwnTrade {
        trade_id: TradeId(5),
        order_id: OrderId(6),
        label: "s4:strategy:group0000009:0:00000000000000aa".into(),
        instrument: PERPETUAL,
        side: Side::Buy,
        price: Price(100_000 * NANO),
        qty: Qty(100 * NANO),
        at: rig.now,
    };
    let mut rig = Rig::active();
    rig.wait(1000);
    let orphan = trade(&rig);
    rig.own_trades.push(orphan.clone());
    rig.tell(Event::OwnTraded(vec![orphan]));
    rig.latched(&[C::InventoryMismatchReconcileRequired]);
    rig.wait(10_000);
    rig.shows(&[]);
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.change_after_gap(PERPETUAL, 1);
    let orphan = trade(&rig);
    rig.own_trades.push(orphan.clone());
    rig.tell(Event::OwnTraded(vec![orphan]));
    rig.latched(&[C::WsBookGapReconcileRequired]);
}

#[test]
fn at_953_an_open_on_old_public_trades_latches() {
    let mut rig = Rig::active();
    rig.wait(1000);
    let base = rig.now;
    rig.withhold(Feed::MarketData);
    while rig.now.since(base) < 5000 {
        rig.wait(200);
        rig.change(PERPETUAL);
        rig.tell(Event::TickerReceived(ticker(PERPETUAL)));
    }
    rig.shows(&[]);
    rig.pass(1000);
    rig.change(PERPETUAL);
    rig.tell(group("group0000001", vec![leg(PERPETUAL, Side::Buy, 1000)]));
    rig.latched(&[C::WsTradesGapReconcileRequired]);
    assert_eq!(rig.refusals(), [RejectReason::OpenPermissionLatched]);
    rig.resume(Feed::MarketData);
    rig.wait(10_000);
    rig.shows(&[]);
}

#[test]
fn at_921_a_label_too_long_degrades_until_a_later_run() {
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.market_data();
    rig.tell(group(
        "a-group-id-that-is-much-longer-than-the-label-may-ever-become",
        vec![leg(PERPETUAL, Side::Buy, 1000)],
    ));
    rig.shows(&[DEGRADED]);
    assert_eq!(rig.refusals(), [RejectReason::LabelTooLong]);
    rig.wait(7000);
    rig.shows(&[]);
}

#[test]
fn at_922_424_an_open_at_a_gate_without_its_limit_degrades_until_a_boot_that_has_it() {
    for forget in [
        |boot: &mut Boot| boot.config.delta_limit = None,
        |boot: &mut Boot| boot.config.portfolio_exposure_limit = None,
        |boot: &mut Boot| boot.config.min_edge_usd = None,
    ] {
        let mut rig = boots(forget);
        rig.settle();
        rig.wait(1000);
        rig.market_data();
        rig.tell(group("group0000001", vec![leg(PERPETUAL, Side::Buy, 1000)]));
        assert_eq!(rig.sent(), []);
        assert_eq!(rig.refusals().len(), 1);
        rig.wait(20_000);
        rig.shows(&[DEGRADED]);
        rig.restart(1000, |_| ());
        rig.settle();
    }
}

#[test]
fn at_906_a_refused_enqueue_degrades_until_stable() {
    let mut rig = boots(|boot| boot.config.wal_queue_capacity = 8);
    rig.settle();
    rig.wait(1000);
    rig.withhold(Feed::Writer);
    for place in 0..4 {
        rig.market_data();
        rig.tell(group(&format!("group000000{place}"), vec![leg(PERPETUAL, Side::Buy, 1000 + 10 * place)]));
    }
    assert!(rig.status().wal_queue_enqueue_failures > 0);
    rig.shows(&[DEGRADED]);
    rig.latched(&[]);
    rig.wait(70_000);
    rig.shows(&[DEGRADED]);
    rig.resume(Feed::Writer);
    rig.wait(59_800);
    rig.shows(&[DEGRADED]);
    rig.wait(20_000);
    rig.shows(&[]);
    assert!(rig.status().wal_queue_enqueue_failures > 0);
}

// ---- small spaces, enumerated ----

/// Makes one axis worse; returns the reasons of both tiers that this alone would give.
fn worsen(rig: &mut Rig, axis: &str, level: u8) -> Vec<M> {
    let now = rig.now;
    match (axis, level) {
        ("capital", 1) => {
            rig.tell(Event::MarginSampled(sample(850_000, now)));
            vec![M::ReduceonlyMarginMmUtilHigh]
        }
        ("capital", 2) => {
            rig.tell(Event::MarginSampled(sample(950_000, now)));
            vec![M::KillMarginMmUtilCritical]
        }
        ("market", 1) => {
            rig.tell(Event::FrameHeard(Socket::Public));
            vec![M::ReduceonlyBunkerModeActive]
        }
        ("system", 1) => {
            rig.tell(Event::PolicyReceived { generated_at: Some(now.before(300_001)) });
            vec![M::ReduceonlyPolicyStale]
        }
        ("system", 2) => {
            rig.tell(Event::DiskSampled { primary: sample(920_000, now), secondary: sample(920_000, now) });
            vec![M::KillDiskWatermarkKill]
        }
        _ => Vec::new(),
    }
}

/// The reasons of the winning tier, in registry order.
fn winning(mut reasons: Vec<M>) -> Vec<M> {
    reasons.sort_unstable();
    reasons.dedup();
    let tier = reasons.first().map(|reason| reason.tier());
    reasons.retain(|reason| Some(reason.tier()) == tier);
    reasons
}

#[test]
fn at_1048_1053_every_reachable_triple_of_axes() {
    let mut modes = std::collections::BTreeMap::new();
    for capital in 0..3 {
        // BROKEN is reserved: nothing produces it.
        for market in 0..2 {
            for system in 0..3 {
                let mut rig = Rig::active();
                if market == 1 {
                    rig.withhold(Feed::PrivateFrames);
                    rig.wait(2500);
                    rig.resume(Feed::PrivateFrames);
                }
                let mut reasons = worsen(&mut rig, "capital", capital);
                reasons.extend(worsen(&mut rig, "market", market));
                reasons.extend(worsen(&mut rig, "system", system));
                rig.shows(&winning(reasons));
                modes.insert([capital, market, system], rig.status().trading_mode);
            }
        }
    }
    for (a, better) in &modes {
        for (b, worse) in &modes {
            let nowhere_better = a.iter().zip(b).all(|(a, b)| a <= b);
            assert!(!nowhere_better || better.index() <= worse.index(), "{a:?} {b:?}");
        }
    }
    let count = |mode| modes.values().filter(|found| **found == mode).count();
    assert_eq!([count(TradingMode::Active), count(TradingMode::ReduceOnly), count(TradingMode::Kill)], [1, 7, 10]);
}

#[test]
fn at_417_every_subset_of_independent_reasons_is_listed_whole_and_in_order() {
    let switches: &[(At, M)] = &[
        (|now| Event::MarginSampled(sample(860_000, now)), M::ReduceonlyMarginMmUtilHigh),
        (|_| Event::CertificateRead(None), M::ReduceonlyF1CertInvalid),
        (|now| Event::PolicyReceived { generated_at: Some(now.before(300_001)) }, M::ReduceonlyPolicyStale),
        (|_| Event::ClockDriftSampled { drift_ms: Some(51) }, DEGRADED),
        (|_| Event::OperatorCommanded(OperatorCommand::EmergencyReduceOnly), EMERGENCY),
        (
            |_| Event::OverrideSampled { producer: Producer::Basis, signal: Override::ForceReduceOnly },
            M::ReduceonlyCortexForceReduceOnly,
        ),
        (
            |_| Event::FrameRejected { socket: Socket::Public, instrument: Some(FUTURE), channel: Channel::Book },
            LATCHED,
        ),
        (|_| Event::TokenReported { subsystem: "s".into(), token: "?".into() }, M::KillCortexForceKill),
        (|now| Event::MarginSampled(sample(960_000, now)), M::KillMarginMmUtilCritical),
    ];
    for subset in 0..1_usize << switches.len() {
        let mut rig = Rig::active();
        let mut reasons = Vec::new();
        for (place, (event, reason)) in switches.iter().enumerate() {
            if subset >> place & 1 == 1 {
                rig.tell(event(rig.now));
                reasons.push(*reason);
            }
        }
        rig.shows(&winning(reasons));
    }
}

#[test]
fn at_212_403_every_subset_of_latch_codes_is_listed_in_order_and_clears() {
    let switches: &[(Change<Rig>, C)] = &[
        (|rig| rig.change_after_gap(PERPETUAL, 1), C::WsBookGapReconcileRequired),
        (|rig| rig.trade_after_gap(FUTURE, 1), C::WsTradesGapReconcileRequired),
        (|rig| rig.pass(3001), C::WsDataStaleReconcileRequired),
        (|rig| rig.tell(Event::OrderUpdated(ghost())), C::InventoryMismatchReconcileRequired),
        (|rig| rig.tell(Event::SocketClosed { socket: Socket::Private, cause: CloseCause::Lost }), SESSION),
    ];
    for subset in 0..1_usize << switches.len() {
        let mut rig = Rig::active();
        rig.wait(500);
        let mut codes = Vec::new();
        // The silence first: it must not find its own market data in the others.
        for place in [2, 0, 1, 3, 4] {
            let (set, code) = switches[place];
            if subset >> place & 1 == 1 {
                set(&mut rig);
                codes.push(code);
            }
        }
        codes.sort_unstable();
        rig.latched(&codes);
        assert_eq!(rig.status().connectivity_degraded, rig.status().bunker_mode_active || !codes.is_empty());
        rig.wait(80_000);
        rig.latched(&[]);
    }
}

/// A rig that is long 1000 USD of the perpetual, all of it known.
pub fn long() -> Rig {
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.market_data();
    rig.tell(group("group0000001", vec![leg(PERPETUAL, Side::Buy, 1000)]));
    let label = rig.sent()[0].label.clone();
    rig.answer_all();
    rig.fill(&label, Qty(1000 * NANO));
    rig.wait(1000);
    rig.market_data();
    rig
}

#[test]
fn at_010_229_1049_open_never_and_close_always_outside_active() {
    let blocks: &[(Change<Rig>, RejectReason)] = &[
        (|rig| rig.tell(Event::ClockDriftSampled { drift_ms: None }), RejectReason::TradingModeForbids),
        (|rig| rig.tell(Event::CertificateRead(None)), RejectReason::TradingModeForbids),
        (|rig| rig.change_after_gap(FUTURE, 1), RejectReason::OpenPermissionLatched),
        (
            |rig| rig.tell(Event::OperatorCommanded(OperatorCommand::EmergencyReduceOnly)),
            RejectReason::TradingModeForbids,
        ),
        (|rig| rig.tell(Event::OperatorCommanded(OperatorCommand::Kill)), RejectReason::TradingModeForbids),
        (|rig| rig.tell(Event::LimiterSampled { credits: 0 }), RejectReason::RateLimitBrownout),
    ];
    for (block, code) in blocks {
        let mut rig = long();
        rig.matching = |_| Match::Rest;
        block(&mut rig);
        rig.forget_sent();
        for (action, reduce_only) in [(Action::Place, None), (Action::Place, Some(false)), (Action::Unknown, None)] {
            let mut open = leg(PERPETUAL, Side::Buy, 500);
            (open.action, open.reduce_only) = (action, reduce_only);
            rig.tell(group("group0000002", vec![open]));
            assert_eq!(rig.refusals().last(), Some(code));
            assert_eq!(rig.sent(), [], "{code:?}");
        }
        let mut close = leg(PERPETUAL, Side::Sell, 500);
        (close.action, close.reduce_only) = (Action::Close, Some(true));
        rig.tell(group("group0000003", vec![close]));
        assert_eq!(rig.sent().len(), 1, "{code:?} {:?}", rig.effects);
        assert!(rig.sent()[0].reduce_only);
    }
}

#[test]
fn at_421_a_close_needs_a_usable_book() {
    let mut rig = long();
    rig.pass(1001);
    let mut close = leg(PERPETUAL, Side::Sell, 500);
    (close.action, close.reduce_only) = (Action::Close, Some(true));
    rig.tell(group("group0000003", vec![close]));
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.refusals(), [RejectReason::LiquidityGateNoL2]);
}

#[test]
fn at_1065_orders_without_reduce_only_are_cancelled_outside_active() {
    let mut rig = long();
    rig.tell(group("group0000002", vec![leg(PERPETUAL, Side::Buy, 500)]));
    let open = rig.sent()[0].label.clone();
    let mut close = leg(PERPETUAL, Side::Sell, 500);
    (close.action, close.reduce_only) = (Action::Close, Some(true));
    rig.tell(group("group0000003", vec![close]));
    let kept = rig.sent()[1].label.clone();
    rig.answer_all();
    rig.tell(Event::ClockDriftSampled { drift_ms: None });
    rig.wait(1000);
    let state = |label: &str| rig.orders.iter().find(|order| order.label == label).map(|order| order.state);
    assert_eq!(state(&open), Some(VenueState::Cancelled));
    assert_eq!(state(&kept), Some(VenueState::Open));
}
