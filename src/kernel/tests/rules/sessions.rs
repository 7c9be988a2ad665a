//! Inputs and their ages, margin, certificate, clock, bunker and the private session: one test a rule, both sides of every
//! limit, and each time what an OPEN and a close come to.
//!
//! Source: kernel contract sections 2 and 5.

use drillfold_kernel::{
    Kernel,
    effect::Effect,
    event::{Certificate, CloseCause, Event, Sample, Socket},
    registry::{
        CONTRACT_VERSION, F1CertState, ModeReason as M, OpenPermissionReason as C, RejectReason, RiskState, TradingMode,
    },
    units::{PPM, Seq},
};

use crate::{
    kernel_rules::{boots, long},
    orders::{opens_go, reduces_only},
    rig::{BEAT_MS, FUTURE, Feed, PERPETUAL, Rig, START, certificate, healthy_boot, sample},
};

const MISSING: M = M::ReduceonlyInputMissingOrStale;
const FEES: M = M::ReduceonlyFeeModelHardStale;
const DEGRADED: M = M::ReduceonlyRiskstateDegraded;
const HIGH: M = M::ReduceonlyMarginMmUtilHigh;
const BUNKER: M = M::ReduceonlyBunkerModeActive;
const LATCHED: M = M::ReduceonlyOpenPermissionLatched;

/// Something done to a rig.
type Change = fn(&mut Rig);
/// What becomes of a certificate.
type Turn = fn(Certificate) -> Option<Certificate>;

// ---- ages ----

#[test]
fn at_001_295_a_margin_older_than_its_maximum_blocks_opens() {
    let mut rig = long();
    rig.withhold(Feed::Margin);
    rig.tell(Event::MarginSampled(sample(100_000, rig.now.before(30_000))));
    rig.shows(&[]);
    opens_go(&mut rig);
    rig.pass(1);
    rig.shows(&[MISSING]);
    reduces_only(&mut rig, RejectReason::TradingModeForbids);
}

#[test]
fn at_296_old_disk_samples_block_opens() {
    for second in [false, true] {
        let mut rig = long();
        rig.withhold(Feed::Disks);
        let (old, new) = (sample(400_000, rig.now.before(30_000)), sample(400_000, rig.now));
        let (primary, secondary) = if second { (new, old) } else { (old, new) };
        rig.tell(Event::DiskSampled { primary, secondary });
        rig.shows(&[]);
        rig.pass(1);
        rig.shows(&[MISSING]);
        reduces_only(&mut rig, RejectReason::TradingModeForbids);
    }
}

#[test]
fn at_033_042_245_319_a_fee_model_hard_stale_or_missing_degrades() {
    let mut rig = long();
    rig.withhold(Feed::Fees);
    rig.tell(Event::FeeModelRead { cached_at: Some(rig.now.before(900_000)) });
    rig.shows(&[]);
    rig.risk(RiskState::Healthy);
    opens_go(&mut rig);
    rig.pass(1);
    rig.shows(&[FEES, DEGRADED]);
    rig.risk(RiskState::Degraded);
    reduces_only(&mut rig, RejectReason::TradingModeForbids);
    rig.wait(1000);
    reduces_only(&mut rig, RejectReason::TradingModeForbids);
    rig.tell(Event::FeeModelRead { cached_at: Some(rig.now) });
    rig.shows(&[]);
    // Missing is as good as hard-stale, and an input that is missing besides.
    rig.tell(Event::FeeModelRead { cached_at: None });
    rig.shows(&[FEES, DEGRADED, MISSING]);
    reduces_only(&mut rig, RejectReason::TradingModeForbids);
}

#[test]
fn at_031_a_fee_models_age_counts_across_a_restart() {
    for (age, reasons) in [(900_000, &[][..]), (900_001, &[FEES, DEGRADED][..])] {
        let mut rig = Rig::active();
        rig.withhold(Feed::Fees);
        let cached_at = rig.now;
        rig.tell(Event::FeeModelRead { cached_at: Some(cached_at) });
        rig.restart(age - 10_000, |boot| boot.fee_cached_at = Some(cached_at));
        rig.wait(10_000);
        rig.now = cached_at.after(age);
        rig.tell(Event::LoopTicked);
        rig.shows(reasons);
        if reasons.is_empty() {
            continue;
        }
        rig.wait(5000);
        rig.shows(reasons);
        rig.tell(Event::FeeModelRead { cached_at: Some(rig.now) });
        rig.shows(&[]);
    }
}

#[test]
fn at_112_348_349_350_413_a_missing_input_blocks_opens_and_no_close() {
    let changes: [fn(&mut drillfold_kernel::event::Boot); 4] = [
        |boot| boot.heartbeat_at = None,
        |boot| boot.session_flag_readable = false,
        |boot| boot.margin.at = None,
        |boot| boot.disk_primary.at = None,
    ];
    for change in changes {
        let mut rig = long();
        let ledger = rig.ledger();
        rig.restart(1000, |boot| {
            change(boot);
            boot.ledger = ledger;
        });
        assert!(rig.status().mode_reasons.contains(&MISSING));
        assert_eq!(rig.status().trading_mode, TradingMode::ReduceOnly);
        rig.tell(Event::Subscribed);
        rig.snapshot(PERPETUAL);
        rig.snapshot(FUTURE);
        reduces_only(&mut rig, RejectReason::OpenPermissionLatched);
    }
}

#[test]
fn at_315_336_351_a_policy_past_its_maximum_age_is_stale() {
    let mut rig = long();
    rig.withhold(Feed::Policy);
    rig.tell(Event::PolicyReceived { generated_at: Some(rig.now.before(300_000)) });
    rig.shows(&[]);
    opens_go(&mut rig);
    rig.pass(1);
    rig.shows(&[M::ReduceonlyPolicyStale]);
    reduces_only(&mut rig, RejectReason::TradingModeForbids);
    rig.tell(Event::PolicyReceived { generated_at: Some(rig.now) });
    rig.shows(&[]);
}

// ---- margin ----

#[test]
fn at_207_228_301_1051_the_reduce_band_blocks_opens() {
    for (value, reasons) in [(849_999, &[][..]), (850_000, &[HIGH][..]), (900_000, &[HIGH][..]), (949_999, &[HIGH][..])]
    {
        let mut rig = long();
        rig.withhold(Feed::Margin);
        rig.tell(Event::MarginSampled(sample(value, rig.now)));
        rig.shows(reasons);
        rig.risk(RiskState::Healthy);
        if reasons.is_empty() {
            continue;
        }
        reduces_only(&mut rig, RejectReason::TradingModeForbids);
    }
}

#[test]
fn at_302_208_the_kill_band_begins_at_its_threshold() {
    for (value, mode) in [(949_999, TradingMode::ReduceOnly), (950_000, TradingMode::Kill)] {
        let mut rig = long();
        rig.tell(Event::MarginSampled(sample(value, rig.now)));
        assert_eq!(rig.status().trading_mode, mode);
        // The emergency flatten goes in that very event, and under Kill alone.
        let flattens = rig.sent().iter().filter(|order| order.class.is_containment()).count();
        assert_eq!(flattens, usize::from(mode == TradingMode::Kill));
    }
}

#[test]
fn at_1054_value_and_time_come_in_one_event_and_no_mixture_is_ever_active() {
    let mut rig = Rig::active();
    rig.withhold(Feed::Margin);
    let old = sample(100_000, rig.now.before(30_001));
    let new = sample(851_000, rig.now);
    // Every order in which a reader could see the two pairs, and their halves without the other half.
    let halves = [Sample { at: None, ..new }, Sample { value: None, ..new }];
    rig.tell(Event::MarginSampled(old));
    rig.shows(&[MISSING]);
    for first in [halves[0], halves[1], old] {
        let mut rig = Rig::active();
        rig.withhold(Feed::Margin);
        rig.tell(Event::MarginSampled(old));
        rig.shows(&[MISSING]);
        rig.tell(Event::MarginSampled(first));
        rig.shows(&[MISSING]);
        rig.tell(Event::MarginSampled(new));
        rig.shows(&[HIGH]);
        rig.tell(Event::MarginSampled(old));
        rig.shows(&[HIGH, MISSING]);
    }
}

#[test]
fn at_1069_each_kill_needs_its_second_signal() {
    let (full, free) = (920_000, 919_999);
    for (second, reasons) in
        [(full, &[M::KillDiskWatermarkKill][..]), (free, &[DEGRADED, M::ReduceonlyDiskKillUnconfirmed][..])]
    {
        let mut rig = Rig::active();
        let (primary, secondary) = (sample(full, rig.now), sample(second, rig.now));
        rig.tell(Event::DiskSampled { primary, secondary });
        rig.shows(reasons);
    }
    // A second sample that is missing confirms nothing.
    let mut rig = Rig::active();
    let primary = sample(full, rig.now);
    rig.tell(Event::DiskSampled { primary, secondary: Sample::default() });
    assert_eq!(rig.status().trading_mode, TradingMode::ReduceOnly);
    for (silent, killed) in
        [(&[Feed::Heartbeats][..], false), (&[Feed::Ticks][..], false), (&[Feed::Heartbeats, Feed::Ticks][..], true)]
    {
        let mut rig = Rig::active();
        silent.iter().for_each(|feed| rig.withhold(*feed));
        rig.wait(11_000);
        assert_eq!(rig.status().mode_reasons.contains(&M::KillWatchdogHeartbeatStale), killed);
        assert_eq!(rig.status().mode_reasons.contains(&M::ReduceonlyWatchdogUnconfirmed), !killed);
    }
    for (terminations, killed) in [(2, false), (3, true)] {
        let mut rig = Rig::active();
        for _ in 0..terminations {
            rig.tell(Event::VenueErrored { code: 10_028 });
            rig.tell(Event::Authenticated);
        }
        assert_eq!(rig.status().mode_reasons.contains(&M::KillRateLimitSessionTermination), killed);
        assert_eq!(rig.status().mode_reasons.contains(&M::ReduceonlySessionKillUnconfirmed), !killed);
    }
}

// ---- axes, each alone ----

#[test]
fn at_1050_1052_one_axis_alone_gives_its_one_reason() {
    let mut rig = long();
    rig.pass(2001);
    rig.shows(&[BUNKER]);
    let mut rig = long();
    rig.change_after_gap(FUTURE, 1);
    rig.shows(&[LATCHED]);
    rig.risk(RiskState::Healthy);
}

// ---- certificate ----

#[test]
fn at_003_the_expiry_is_generation_plus_window() {
    let mut rig = Rig::active();
    rig.withhold(Feed::Certificate);
    let generated = rig.now;
    rig.tell(Event::CertificateRead(Some(certificate(generated))));
    rig.pass(1000);
    assert_eq!(rig.status().f1_cert_state, F1CertState::Pass);
    assert_eq!(rig.status().f1_cert_expires_at, Some(generated.after(86_400_000)));
}

#[test]
fn at_012_020_410_a_certificate_binds_three_things_as_texts() {
    assert_eq!(CONTRACT_VERSION, "5.2");
    let good = certificate(Rig::active().now);
    let cases: [(Certificate, bool); 6] = [
        // Nothing else is compared: a certificate carries no policy hash that could differ.
        (good.clone(), true),
        (Certificate { contract_version: "5.2".into(), ..good.clone() }, true),
        (Certificate { contract_version: "v5.2".into(), ..good.clone() }, false),
        (Certificate { contract_version: "5.20".into(), ..good.clone() }, false),
        (Certificate { build_id: "build-2".into(), ..good.clone() }, false),
        (Certificate { runtime_config_hash: "hash-2".into(), ..good }, false),
    ];
    for (read, passes) in cases {
        let mut rig = long();
        rig.withhold(Feed::Certificate);
        rig.tell(Event::CertificateRead(Some(Certificate { generated_at: rig.now, ..read })));
        if passes {
            rig.shows(&[]);
            opens_go(&mut rig);
        } else {
            rig.shows(&[M::ReduceonlyF1CertInvalid]);
            assert_eq!(rig.status().f1_cert_state, F1CertState::Invalid);
            reduces_only(&mut rig, RejectReason::TradingModeForbids);
        }
    }
}

#[test]
fn at_021_294_412_423_a_certificate_that_fails_blocks_at_once() {
    const WINDOW_MS: i64 = 86_400_000;
    let good = |rig: &Rig, age: i64| Some(certificate(rig.now.before(age)));
    let cases: [(Turn, i64, F1CertState); 4] = [
        (Some, WINDOW_MS, F1CertState::Pass),
        (Some, WINDOW_MS + 1, F1CertState::Stale),
        (|read| Some(Certificate { passed: false, ..read }), 0, F1CertState::Fail),
        (|_| None, 0, F1CertState::Missing),
    ];
    for (turn, age, state) in cases {
        let mut rig = long();
        rig.withhold(Feed::Certificate);
        rig.tell(Event::CertificateRead(good(&rig, 0)));
        opens_go(&mut rig);
        let read = good(&rig, age).and_then(turn);
        rig.tell(Event::CertificateRead(read));
        assert_eq!(rig.status().f1_cert_state, state);
        assert_eq!(rig.status().f1_cert_expires_at.is_none(), state == F1CertState::Missing);
        if state == F1CertState::Pass {
            rig.shows(&[]);
        } else {
            rig.shows(&[M::ReduceonlyF1CertInvalid]);
            reduces_only(&mut rig, RejectReason::TradingModeForbids);
        }
    }
}

// ---- clock ----

#[test]
fn at_108_273_314_clock_drift_degrades_and_never_kills() {
    let mut rig = long();
    for (drift_ms, reasons) in
        [(Some(50), &[][..]), (Some(51), &[DEGRADED][..]), (Some(i64::MAX), &[DEGRADED][..]), (None, &[DEGRADED][..])]
    {
        rig.tell(Event::ClockDriftSampled { drift_ms });
        rig.shows(reasons);
        if !reasons.is_empty() {
            rig.risk(RiskState::Degraded);
            reduces_only(&mut rig, RejectReason::TradingModeForbids);
        }
    }
    rig.tell(Event::ClockDriftSampled { drift_ms: Some(50) });
    rig.shows(&[]);
    opens_go(&mut rig);
}

// ---- bunker ----

#[test]
fn at_205_a_network_reading_that_is_unknown_is_bunker() {
    let rig = boots(|boot| boot.round_trips_ms.clear());
    assert!(rig.status().bunker_mode_active);
    rig.shows(&[LATCHED, BUNKER]);
    // The first answers make it known; the calm has to last all the same.
    let mut rig = rig;
    rig.wait(1000);
    rig.shows(&[BUNKER]);
    // A round trip of no time is one; a negative one is no number of its domain, and tells nothing.
    for (round_trip_ms, unknown) in [(0, false), (-1, true)] {
        let mut boot = healthy_boot(START);
        boot.round_trips_ms = vec![round_trip_ms];
        let mut kernel = Kernel::down();
        kernel.apply(Seq(1), START, &Event::Booted(Box::new(boot)), &mut Vec::new());
        assert_eq!(kernel.status().map(|status| status.bunker_mode_active), Some(unknown), "{round_trip_ms}");
    }
    // No request answered within its window: at exactly 30 s one still is, a millisecond later none. Time-outs alone
    // decide nothing here: no share of them is over the limit.
    let mut rig = boots(|boot| boot.config.request_timeout_rate_limit = PPM);
    rig.settle();
    rig.withhold(Feed::Answers);
    let answered = rig.kernel.monitors.bunker.requests.iter().rev().find(|request| request.round_trip_ms.is_some());
    let at = answered.expect("something was answered").at;
    rig.wait(30_000 - rig.now.since(at));
    assert!(!rig.status().bunker_mode_active);
    rig.pass(1);
    rig.shows(&[BUNKER]);
}

#[test]
fn a_share_of_time_outs_at_exactly_the_limit_is_no_bunker() {
    let first_time_out = |limit: i64| {
        // One request more than usual makes the share one of eight, a whole number of parts per million.
        let mut rig = boots(|boot| {
            boot.config.request_timeout_rate_limit = limit;
            boot.round_trips_ms.push(50);
        });
        rig.settle();
        rig.withhold(Feed::Answers);
        while rig.kernel.monitors.bunker.timed_out == 0 {
            rig.wait(BEAT_MS);
        }
        rig
    };
    let bunker = first_time_out(PPM).kernel.monitors.bunker;
    let (late, all) = (i64::from(bunker.timed_out), i64::from(bunker.counted));
    let share = late * PPM / all;
    assert_eq!(share * all, late * PPM, "{late} of {all}");
    for (limit, on) in [(share, false), (share - 1, true)] {
        assert_eq!(first_time_out(limit).status().bunker_mode_active, on);
    }
}

#[test]
fn at_209_267_transport_lag_past_its_limit_is_bunker_and_closes_pass() {
    for (lag, on) in [(2000, false), (2001, true)] {
        let mut rig = long();
        for socket in [Socket::Public, Socket::Private] {
            rig.tell(Event::FrameHeard(socket));
        }
        rig.pass(lag);
        assert_eq!(rig.status().bunker_mode_active, on);
        rig.shows(if on { &[BUNKER] } else { &[] });
        if on {
            reduces_only(&mut rig, RejectReason::TradingModeForbids);
        }
    }
}

#[test]
fn at_115_268_298_bunker_ends_after_120_s_of_unbroken_calm() {
    let enter = || {
        let mut rig = Rig::active();
        rig.withhold(Feed::PrivateFrames);
        while !rig.status().bunker_mode_active {
            rig.wait(100);
        }
        rig.resume(Feed::PrivateFrames);
        rig.tell(Event::FrameHeard(Socket::Private));
        rig
    };
    let mut rig = enter();
    rig.wait(119_999);
    rig.shows(&[BUNKER]);
    rig.pass(1);
    rig.shows(&[]);
    // A breach in between starts the count again.
    let mut rig = enter();
    rig.wait(100_000);
    rig.withhold(Feed::PrivateFrames);
    while rig.kernel.transport_lag_ms().is_some_and(|lag| lag <= 2000) {
        rig.wait(100);
    }
    rig.resume(Feed::PrivateFrames);
    rig.tell(Event::FrameHeard(Socket::Private));
    rig.wait(119_999);
    rig.shows(&[BUNKER]);
    rig.pass(1);
    rig.shows(&[]);
}

#[test]
fn at_345_slow_round_trips_enter_on_the_third_second_in_a_row() {
    for (round_trip_ms, enters) in [(750, false), (751, true)] {
        let mut rig = Rig::active();
        rig.round_trip_ms = round_trip_ms;
        rig.wait(60_000);
        assert_eq!(rig.status().bunker_mode_active, enters);
    }
}

// ---- private session ----

#[test]
fn at_240_330_409_a_termination_backs_off_and_resumes_only_after_a_run() {
    for cause in [CloseCause::SessionEnded, CloseCause::KeyRevoked, CloseCause::Lost] {
        let mut rig = long();
        rig.tell(Event::SocketClosed { socket: Socket::Private, cause });
        let unconfirmed = cause != CloseCause::Lost;
        let mut reasons = vec![LATCHED, DEGRADED];
        reasons.extend(unconfirmed.then_some(M::ReduceonlySessionKillUnconfirmed));
        rig.shows(&reasons);
        rig.latched(&[C::SessionTerminationReconcileRequired]);
        rig.risk(RiskState::Degraded);
        assert_eq!(rig.status().terminations_count_5m, i64::from(unconfirmed));
        reduces_only(&mut rig, RejectReason::OpenPermissionLatched);
        // Connected again after the back-off, not before.
        let backoff = rig.boot.config.reconnect_backoff_initial_ms;
        let connects = |rig: &Rig| rig.effects.contains(&Effect::ConnectPrivate);
        rig.pass(backoff - 1);
        assert!(!connects(&rig));
        rig.pass(1);
        assert!(connects(&rig));
        // Authenticated is not enough.
        rig.withhold(Feed::Answers);
        rig.answer_all();
        rig.answer_all();
        rig.tell(Event::Authenticated);
        rig.wait(500);
        rig.shows(&reasons);
        rig.resume(Feed::Answers);
        rig.settle();
        rig.latched(&[]);
        rig.risk(RiskState::Healthy);
        rig.market_data();
        opens_go(&mut rig);
    }
}

#[test]
fn a_lost_socket_is_connected_after_the_back_off_and_again_where_nothing_answers() {
    for (socket, connect) in [(Socket::Public, Effect::ConnectPublic), (Socket::Private, Effect::ConnectPrivate)] {
        let mut rig = boots(|boot| boot.config.ws_stale_threshold_ms = 1_000_000);
        rig.settle();
        let backoff = rig.boot.config.reconnect_backoff_initial_ms;
        let unanswered = rig.boot.config.rest_timeout_ms + backoff;
        let connects = |rig: &Rig| rig.effects.contains(&connect);
        rig.tell(Event::SocketClosed { socket, cause: CloseCause::Lost });
        assert!(!connects(&rig));
        for due in [backoff, unanswered, unanswered] {
            rig.pass(due - 1);
            assert!(!connects(&rig), "{socket:?} {due}");
            rig.pass(1);
            assert!(connects(&rig), "{socket:?} {due}");
        }
    }
}

#[test]
fn at_106_133_the_window_of_failed_fetches_is_inclusive() {
    for (last, degraded) in [(300_000, true), (300_001, false)] {
        let mut rig = long();
        rig.tell(Event::LimitsFetched { succeeded: false });
        rig.wait(150_000);
        rig.tell(Event::LimitsFetched { succeeded: false });
        rig.shows(&[]);
        rig.wait(last - 150_000);
        rig.tell(Event::LimitsFetched { succeeded: false });
        rig.shows(if degraded { &[DEGRADED] } else { &[] });
        if degraded {
            rig.market_data();
            reduces_only(&mut rig, RejectReason::TradingModeForbids);
        }
    }
}

// ---- feeds ----

#[test]
fn at_202_271_272_408_a_gap_pauses_opens_in_its_own_event_until_rebuilt_and_reconciled() {
    let gaps: [(Change, C); 4] = [
        (|rig| rig.change_after_gap(FUTURE, 1), C::WsBookGapReconcileRequired),
        (|rig| rig.trade_after_gap(FUTURE, 1), C::WsTradesGapReconcileRequired),
        (|rig| rig.trade_numbered(FUTURE, 1), C::WsTradesGapReconcileRequired),
        (
            |rig| {
                rig.trade_after_gap(PERPETUAL, 5);
            },
            C::WsTradesGapReconcileRequired,
        ),
    ];
    for (gap, code) in gaps {
        let mut rig = long();
        rig.withhold(Feed::Answers);
        gap(&mut rig);
        rig.latched(&[code]);
        rig.shows(&[LATCHED]);
        rig.risk(RiskState::Healthy);
        let asked = rig.effects.iter().any(|effect| {
            use drillfold_kernel::effect::RestQuery;
            matches!(effect, Effect::Rest { query: RestQuery::Book(_) | RestQuery::RecentTrades(_), .. })
        });
        assert!(asked, "a REST pull in the very event");
        reduces_only(&mut rig, RejectReason::OpenPermissionLatched);
        rig.wait(1000);
        rig.latched(&[code]);
        rig.resume(Feed::Answers);
        rig.wait(60_000);
        rig.latched(&[]);
        rig.market_data();
        opens_go(&mut rig);
    }
}

#[test]
fn a_resubscription_without_its_snapshot_is_repeated_after_the_request_timeout() {
    let mut rig = long();
    rig.withhold(Feed::Snapshots);
    let asked = |rig: &Rig| rig.all.iter().filter(|(_, effect)| matches!(effect, Effect::ResubscribeBook(_))).count();
    rig.change_after_gap(FUTURE, 1);
    assert_eq!(asked(&rig), 1);
    for before in 1..3 {
        rig.wait(1999);
        assert_eq!(asked(&rig), before);
        rig.pass(1);
        assert!(rig.effects.contains(&Effect::ResubscribeBook(FUTURE)), "{:?}", rig.effects);
        assert_eq!(asked(&rig), before + 1);
    }
    // Its snapshot ends it.
    rig.snapshot(FUTURE);
    rig.wait(4000);
    assert_eq!(asked(&rig), 3);
    // On a closed socket there is nobody to ask: opening it subscribes anew.
    rig.change_after_gap(FUTURE, 1);
    rig.tell(Event::SocketClosed { socket: Socket::Public, cause: CloseCause::Lost });
    rig.pass(2000);
    rig.pass(2000);
    assert_eq!(asked(&rig), 4);
}

#[test]
fn a_public_trade_is_known_again_for_the_look_back_and_forgotten_after_it() {
    for (age_ms, known) in [(300_000, true), (300_001, false)] {
        let mut rig = Rig::active();
        rig.trade_after_gap(PERPETUAL, 0);
        let trade_seq = rig.kernel.feeds.trades[PERPETUAL.index()].last_seq.expect("it was processed");
        let counts = |rig: &Rig| (rig.kernel.feeds.trades_processed, rig.kernel.feeds.trades_dropped);
        let (processed, dropped) = counts(&rig);
        rig.now = rig.now.after(age_ms);
        rig.trade_numbered(PERPETUAL, trade_seq);
        let expected = if known { (processed, dropped + 1) } else { (processed + 1, dropped) };
        assert_eq!(counts(&rig), expected, "{age_ms}");
        let step_back = C::WsTradesGapReconcileRequired;
        assert_eq!(rig.status().open_permission_reason_codes.contains(&step_back), !known, "{age_ms}");
    }
}

#[test]
fn at_946_947_948_silence_blocks_opens_and_reconnects() {
    for (lag, stale) in [(3000, false), (3001, true)] {
        let mut rig = long();
        rig.withhold(Feed::MarketData);
        rig.withhold(Feed::Snapshots);
        // Keep-alive answers are no data.
        let payload = rig.now;
        while rig.now.since(payload) < 2900 {
            rig.pass(100);
            rig.tell(Event::FrameHeard(Socket::Public));
            rig.tell(Event::FrameHeard(Socket::Private));
        }
        rig.pass(lag - rig.now.since(payload));
        rig.latched(if stale { &[C::WsDataStaleReconcileRequired] } else { &[] });
        assert_eq!(rig.effects.contains(&Effect::ConnectPublic), stale);
        assert_eq!(rig.status().ws_event_lag_ms, lag);
        rig.risk(RiskState::Healthy);
    }
}

#[test]
fn at_953_public_trades_past_their_maximum_age_latch_at_the_next_open() {
    use crate::{
        kernel_rules::{group, leg},
        orders::placed,
        rig::ticker,
    };
    use drillfold_kernel::units::Side;
    for (age, latched) in [(5000, false), (5001, true)] {
        let mut rig = Rig::active();
        rig.wait(1000);
        rig.market_data();
        let last = rig.now;
        rig.withhold(Feed::MarketData);
        while rig.now.since(last) < 4800 {
            rig.wait(200);
            rig.change(PERPETUAL);
            rig.tell(Event::TickerReceived(ticker(PERPETUAL)));
            rig.tell(Event::TickerReceived(ticker(FUTURE)));
        }
        rig.pass(age - rig.now.since(last));
        rig.tell(group("group0000001", vec![leg(PERPETUAL, Side::Buy, 500)]));
        let code = [C::WsTradesGapReconcileRequired];
        rig.latched(if latched { &code } else { &[] });
        assert_eq!(placed(&rig).len(), usize::from(!latched));
        let refused = [RejectReason::OpenPermissionLatched];
        assert_eq!(rig.refusals(), if latched { &refused[..] } else { &[] });
    }
}

// ---- operator and ledger ----

#[test]
fn at_229_906_925_a_degraded_risk_state_refuses_opens_and_no_close() {
    use drillfold_kernel::event::OutputQueue;
    for queue in [OutputQueue::Telemetry, OutputQueue::StatusWriter, OutputQueue::OrderEvents] {
        for (depth, full) in [(7, false), (8, true)] {
            let mut rig = long();
            rig.tell(Event::OutputQueueSampled { queue, depth, capacity: 8 });
            rig.shows(if full { &[DEGRADED] } else { &[] });
            if full {
                rig.wait(100);
                rig.market_data();
                reduces_only(&mut rig, RejectReason::TradingModeForbids);
                rig.tell(Event::OutputQueueSampled { queue, depth: 7, capacity: 8 });
                rig.shows(&[]);
            }
        }
    }
}

#[test]
fn at_430_a_boot_blocks_opens_until_its_run() {
    let mut rig = Rig::booted();
    crate::orders::open_refused(&mut rig, RejectReason::OpenPermissionLatched);
    rig.settle();
    rig.market_data();
    opens_go(&mut rig);
}

#[test]
fn at_011_only_a_successful_run_clears_a_feed_gap() {
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.trade_after_gap(FUTURE, 1);
    rig.withhold(Feed::Answers);
    rig.wait(60_000);
    rig.latched(&[C::WsTradesGapReconcileRequired]);
    rig.resume(Feed::Answers);
    rig.wait(60_000);
    rig.latched(&[]);
}
