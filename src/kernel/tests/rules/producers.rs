//! The override producers: Cortex, exchange health and basis, with the reference beside them at every event.
//!
//! Limits are tested on both sides, one unit apart: 1e-9 USD of a price or a depth, one millisecond, one millionth of the
//! volatility index.
//!
//! Source: specs/contract kernel document, section 2, override; acceptance tests of Cortex, basis and exchange health.

use drillfold_kernel::{
    event::{
        Action, Boot, Event, InstrumentKind, Level, MaintenanceWindow, OperatorCommand, Override, Producer, Ticker,
    },
    registry::{ModeReason as M, OpenPermissionReason as C, RejectReason, RiskState},
    units::{NANO, Price, Qty, Side},
};

use crate::{
    kernel_rules::{boots, group, leg, long},
    rig::{FUTURE, Feed, PERPETUAL, Rig, START, healthy_boot, ticker, volatility},
};

const REDUCE: M = M::ReduceonlyCortexForceReduceOnly;
const KILL: M = M::KillCortexForceKill;
const LATCHED: M = M::ReduceonlyOpenPermissionLatched;

/// A price around 100,000 USD.
const MIDDLE: i64 = 100_000 * NANO;
/// A basis point of it.
const BPS: i64 = 10 * NANO;

fn level(price: i64, qty: i64) -> Level {
    Level { price: Price(price), qty: Qty(qty) }
}

/// The perpetual's book becomes one whose best prices are so far apart, deep enough.
fn spread(rig: &mut Rig, apart: i64) {
    let bid = MIDDLE - apart / 2;
    rig.install(vec![level(bid, 1_000_000 * NANO)], vec![level(bid + apart, 1_000_000 * NANO)]);
}

/// The perpetual's book becomes one with so many USD, in 1e-9, on each side.
fn depth(rig: &mut Rig, bids: i64, asks: i64) {
    rig.install(vec![level(99_999 * NANO, bids)], vec![level(100_001 * NANO, asks)]);
}

/// Returns how many orders an OPEN proposed now leads to; a refusal is the mode's.
#[track_caller]
fn opens(rig: &mut Rig) -> usize {
    let refused = rig.refusals().len();
    rig.market_data();
    rig.forget_sent();
    let id = format!("open{:08}", rig.seq);
    rig.tell(group(&id, vec![leg(PERPETUAL, Side::Buy, 100)]));
    let sent = rig.sent().len();
    let refusals = rig.refusals().split_off(refused);
    assert_eq!(refusals, vec![RejectReason::TradingModeForbids; 1 - sent]);
    rig.answer_all();
    sent
}

/// Returns how many orders a reducing proposal leads to now.
#[track_caller]
fn closes(rig: &mut Rig) -> usize {
    rig.market_data();
    rig.forget_sent();
    let id = format!("close{:07}", rig.seq);
    let mut close = leg(PERPETUAL, Side::Sell, 10);
    (close.action, close.reduce_only) = (Action::Close, Some(true));
    rig.tell(group(&id, vec![close]));
    let sent = rig.sent().len();
    rig.answer_all();
    sent
}

/// Asserts what each producer asks for.
#[track_caller]
fn asks(rig: &Rig, cortex: Override, health: Override, basis: Override) {
    assert_eq!(rig.kernel.monitors.producers.signals, [cortex, health, basis]);
}

/// A rig that has booted with a change and is Active.
#[track_caller]
fn active(change: impl FnOnce(&mut Boot)) -> Rig {
    let mut rig = boots(change);
    rig.settle();
    rig
}

fn reset(reason: M) -> Event {
    let (token, incident_id) = (reason.token().into(), "I".into());
    Event::OperatorCommanded(OperatorCommand::IncidentReset { token, incident_id })
}

/// Lets the world run without its own market data, in steps in which `market` says what comes instead.
#[track_caller]
fn instead(rig: &mut Rig, ms: i64, market: impl Fn(&mut Rig)) {
    rig.withhold(Feed::MarketData);
    let mut left = ms;
    while left > 0 {
        let step = left.min(200);
        rig.wait(step);
        left -= step;
        if left > 0 {
            market(rig);
        }
    }
}

// ---- Cortex: spread and depth ----

#[test]
fn at_284_a_spread_above_its_limit_reduces() {
    for (apart, reasons) in [(25 * BPS, &[][..]), (25 * BPS + 2, &[REDUCE]), (26 * BPS, &[REDUCE])] {
        let mut rig = Rig::active();
        spread(&mut rig, apart);
        rig.shows(reasons);
        assert_eq!(opens(&mut rig), usize::from(reasons.is_empty()), "{apart}");
    }
}

#[test]
fn at_286_a_depth_below_its_limit_reduces() {
    let limit = 300_000 * NANO;
    for (bids, asks, reasons) in [
        (limit, limit, &[][..]),
        (limit - 1, limit, &[REDUCE]),
        (limit, limit - 1, &[REDUCE]),
        (299_999 * NANO, 299_999 * NANO, &[REDUCE]),
    ] {
        let mut rig = Rig::active();
        depth(&mut rig, bids, asks);
        rig.shows(reasons);
        assert_eq!(opens(&mut rig), usize::from(reasons.is_empty()), "{bids} {asks}");
    }
}

/// What breaks a kill limit, and what does not by one unit.
type Breaks = fn(&mut Rig);
/// What is done to a rig, and what it breaks.
type Case = (fn(&mut Rig), Breaks);

#[test]
fn at_045_285_288_289_a_kill_level_held_for_its_window_kills() {
    let cases: [(Breaks, bool); 4] = [
        (|rig| spread(rig, 75 * BPS), true),
        (|rig| spread(rig, 75 * BPS - 2), false),
        (|rig| depth(rig, 100_000 * NANO, 900_000 * NANO), true),
        (|rig| depth(rig, 100_000 * NANO + 1, 100_000 * NANO + 1), false),
    ];
    for (breaks, kills) in cases {
        let mut rig = Rig::active();
        breaks(&mut rig);
        rig.shows(&[REDUCE]);
        rig.wait(9_000);
        rig.shows(&[REDUCE]);
        rig.wait(999);
        rig.shows(&[REDUCE]);
        rig.pass(1);
        rig.shows(if kills { &[KILL] } else { &[REDUCE] });
        assert_eq!(opens(&mut rig), 0);
        rig.wait(5_000);
        rig.shows(if kills { &[KILL] } else { &[REDUCE] });
    }
}

#[test]
fn at_289_a_breach_of_nine_seconds_that_comes_again_starts_anew() {
    let mut rig = Rig::active();
    for _ in 0..3 {
        spread(&mut rig, 80 * BPS);
        rig.wait(9_999);
        rig.snapshot(PERPETUAL);
        rig.shows(&[REDUCE]);
    }
    spread(&mut rig, 80 * BPS);
    rig.wait(10_000);
    rig.shows(&[KILL]);
}

#[test]
fn at_293_a_spread_or_depth_blocks_until_its_cooldown_is_over() {
    let cases: [Breaks; 2] = [|rig| spread(rig, 26 * BPS), |rig| depth(rig, 299_999 * NANO, 900_000 * NANO)];
    for breaks in cases {
        for held_ms in [0, 3_000] {
            let mut rig = long();
            breaks(&mut rig);
            rig.wait(held_ms);
            rig.snapshot(PERPETUAL);
            for _ in 0..2 {
                rig.shows(&[REDUCE]);
                assert_eq!((opens(&mut rig), closes(&mut rig)), (0, 1));
                rig.wait(59_900);
            }
            rig.wait(199);
            rig.shows(&[REDUCE]);
            assert_eq!((opens(&mut rig), closes(&mut rig)), (0, 1));
            rig.pass(1);
            rig.shows(&[]);
            assert_eq!((opens(&mut rig), closes(&mut rig)), (1, 1));
        }
    }
}

#[test]
fn at_420_depth_is_the_smaller_side_of_five_levels() {
    // Bids of 320,000 USD and asks of 280,000 on five levels each; what lies behind does not count.
    let bids: Vec<Level> = (0..6).map(|away| level(MIDDLE - BPS - away * NANO, 64_000 * NANO)).collect();
    let asks = [30, 80, 50, 20, 100, 999]
        .into_iter()
        .zip(0..)
        .map(|(usd, away)| level(MIDDLE + away * NANO, usd * 1000 * NANO));
    let asks: Vec<Level> = asks.collect();
    for turned in [false, true] {
        for (limit, reasons) in [(280_000, &[][..]), (280_001, &[REDUCE])] {
            let mut rig = active(|boot| boot.config.depth_min_usd = limit);
            let (bids, asks) = if turned {
                let mirror =
                    |levels: &[Level]| levels.iter().map(|at| level(2 * MIDDLE - at.price.0, at.qty.0)).collect();
                (mirror(&asks), mirror(&bids))
            } else {
                (bids.clone(), asks.clone())
            };
            rig.install(bids, asks);
            rig.shows(reasons);
        }
    }
    // An option's price and amount are in coins: 5 levels of 0.02 x 28 coins at 100,000 USD a coin.
    let side = |sign: i64| (1..=6).map(|away| level(NANO / 50 + sign * away, 28 * NANO)).collect::<Vec<Level>>();
    for (limit, reasons) in [(279_999, &[][..]), (280_001, &[REDUCE])] {
        let mut rig = active(|boot| {
            boot.instruments[0].kind = InstrumentKind::Option;
            boot.config.depth_min_usd = limit;
        });
        rig.install(side(-1), side(1));
        rig.shows(reasons);
    }
}

#[test]
fn a_side_without_levels_has_no_depth() {
    let mut rig = Rig::active();
    rig.install(vec![level(MIDDLE, 900_000 * NANO)], Vec::new());
    rig.shows(&[REDUCE]);
    rig.wait(10_000);
    rig.shows(&[KILL]);
}

#[test]
fn a_change_of_the_book_is_looked_at_on_the_short_way_too() {
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.tell(Event::HeartbeatSeen);
    assert!(rig.kernel.calm_until().is_some());
    // Beyond the five best levels, and another instrument's: nothing.
    rig.change_levels(vec![level(99_000 * NANO, NANO)], Vec::new());
    rig.change(FUTURE);
    rig.shows(&[]);
    // The best levels go, until those that are left are too thin.
    rig.change_levels((1..=4).map(|away| level(MIDDLE - away * NANO, 0)).collect(), Vec::new());
    rig.shows(&[]);
    rig.change_levels(vec![level(MIDDLE - 5 * NANO, 0)], Vec::new());
    rig.shows(&[REDUCE]);
}

// ---- Cortex: the volatility index ----

/// A rig whose volatility index stands at 0.5, then at 0.51, and so long after the 0.5 at `value`.
#[track_caller]
fn rises(mut rig: Rig, after_ms: i64, value: i64) -> Rig {
    rig.withhold(Feed::Volatility);
    rig.tell(volatility(500_000));
    let mut left = after_ms;
    while left > 0 {
        let step = left.min(1000);
        rig.wait(step);
        left -= step;
        if left > 0 {
            rig.tell(volatility(510_000));
        }
    }
    rig.shows(&[]);
    rig.tell(volatility(value));
    rig
}

#[test]
fn at_231_290_a_rise_of_a_tenth_reduces() {
    for (value, reasons) in [(550_000, &[REDUCE][..]), (549_999, &[])] {
        let mut rig = rises(Rig::active(), 30_000, value);
        rig.shows(reasons);
        assert_eq!(opens(&mut rig), usize::from(reasons.is_empty()));
    }
}

#[test]
fn at_291_a_rise_counts_within_its_window() {
    for (after_ms, reasons) in [(59_000, &[REDUCE][..]), (60_000, &[REDUCE]), (60_001, &[]), (61_000, &[])] {
        rises(Rig::active(), after_ms, 550_000).shows(reasons);
    }
}

#[test]
fn at_290_292_a_rise_blocks_until_its_cooldown_is_over() {
    // At this moment the 0.5 is just within the window, so the signal holds for the last time.
    let mut rig = rises(long(), 60_000, 550_000);
    rig.resume(Feed::Volatility);
    for _ in 0..2 {
        rig.shows(&[REDUCE]);
        assert_eq!((opens(&mut rig), closes(&mut rig)), (0, 1));
        rig.wait(149_900);
    }
    rig.wait(199);
    rig.shows(&[REDUCE]);
    assert_eq!((opens(&mut rig), closes(&mut rig)), (0, 1));
    rig.pass(1);
    rig.shows(&[]);
    assert_eq!(opens(&mut rig), 1);
}

#[test]
fn a_rise_that_stays_holds_until_its_low_has_left_the_window() {
    let mut rig = Rig::active();
    rig.withhold(Feed::Volatility);
    rig.tell(volatility(500_000));
    rig.tell(volatility(600_000));
    let hold = |rig: &mut Rig, ms: i64| {
        for _ in 0..ms / 1000 {
            rig.wait(1000);
            rig.tell(volatility(600_000));
        }
    };
    hold(&mut rig, 359_000);
    rig.wait(999);
    rig.shows(&[REDUCE]);
    rig.pass(1);
    rig.shows(&[]);
}

// ---- Cortex: ages ----

#[test]
fn cortex_counts_as_reduce_only_once_an_input_is_too_old_and_has_no_cooldown_for_it() {
    // Basis reads the same ticker, so its limit is out of the way.
    let rig = || active(|boot| boot.config.basis_price_max_age_ms = 1_000_000);
    let cases: [Case; 3] = [
        (
            |rig| rig.tell(Event::TickerReceived(ticker(PERPETUAL))),
            |rig| {
                rig.change(FUTURE);
                rig.tell(Event::TickerReceived(ticker(PERPETUAL)));
            },
        ),
        (|rig| rig.change(PERPETUAL), |rig| rig.change(PERPETUAL)),
        (|_| (), |rig| rig.market_data()),
    ];
    for (input, (last, others)) in cases.into_iter().enumerate() {
        let mut rig = rig();
        rig.wait(2000);
        rig.market_data();
        rig.tell(volatility(500_000));
        last(&mut rig);
        if input == 2 {
            rig.withhold(Feed::Volatility);
        }
        instead(&mut rig, 5000, others);
        rig.shows(&[]);
        rig.pass(1);
        rig.shows(&[REDUCE]);
        asks(&rig, Override::ForceReduceOnly, Override::None, Override::None);
        rig.market_data();
        rig.tell(volatility(500_000));
        rig.shows(&[]);
    }
}

#[test]
fn a_broken_book_keeps_its_last_reading_which_ages() {
    let mut rig = Rig::active();
    rig.withhold(Feed::Snapshots);
    rig.withhold(Feed::Answers);
    rig.change(PERPETUAL);
    rig.change_after_gap(PERPETUAL, 1);
    instead(&mut rig, 5000, |rig| rig.tell(Event::TickerReceived(ticker(PERPETUAL))));
    asks(&rig, Override::None, Override::None, Override::None);
    rig.pass(1);
    asks(&rig, Override::ForceReduceOnly, Override::None, Override::None);
}

#[test]
fn a_stale_input_breaks_a_window_that_kills() {
    let mut rig = Rig::active();
    spread(&mut rig, 80 * BPS);
    rig.wait(2_000);
    rig.withhold(Feed::Volatility);
    rig.wait(9_000);
    rig.shows(&[REDUCE]);
    rig.tell(volatility(500_000));
    rig.resume(Feed::Volatility);
    rig.wait(9_900);
    rig.shows(&[REDUCE]);
    rig.wait(100);
    rig.shows(&[KILL]);
}

#[test]
fn a_failed_reading_of_the_index_leaves_the_last_one() {
    let mut rig = Rig::active();
    rig.tell(volatility(500_000));
    rig.withhold(Feed::Volatility);
    for value in [None, Some(0), Some(-1)] {
        rig.wait(1000);
        rig.tell(Event::VolatilityIndexRead { value: value.map(drillfold_kernel::units::Ppm) });
        rig.shows(&[]);
    }
    rig.wait(2000);
    rig.shows(&[]);
    rig.pass(1);
    rig.shows(&[REDUCE]);
}

// ---- basis ----

/// Changes one price of the perpetual's ticker.
fn priced(rig: &mut Rig, change: impl FnOnce(&mut Ticker)) {
    change(&mut rig.ticker);
    let ticker = rig.ticker;
    rig.tell(Event::TickerReceived(ticker));
}

#[test]
fn at_951_963_a_basis_held_for_its_window_reduces() {
    let limit = 50 * BPS;
    for (apart, trips) in [(limit, true), (-limit, true), (limit - 1, false), (1 - limit, false)] {
        for of_index in [true, false] {
            let mut rig = Rig::active();
            priced(&mut rig, |ticker| {
                let price = Some(Price(MIDDLE + apart));
                *(if of_index { &mut ticker.index } else { &mut ticker.last }) = price;
            });
            rig.wait(4_999);
            rig.shows(&[]);
            rig.pass(1);
            rig.shows(if trips { &[REDUCE] } else { &[] });
            rig.wait(10_000);
            rig.shows(if trips { &[REDUCE] } else { &[] });
            let asked = if trips { Override::ForceReduceOnly } else { Override::None };
            asks(&rig, Override::None, Override::None, asked);
            assert_eq!(opens(&mut rig), usize::from(!trips));
        }
    }
}

#[test]
fn at_951_a_book_change_alone_lets_a_basis_reach_its_window() {
    let mut rig = Rig::active();
    // Half a second away from the whole ones since the boot: then the network is looked at, whatever the event.
    rig.wait(1_500 - rig.now.since(START) % 1_000);
    priced(&mut rig, |ticker| ticker.last = Some(Price(MIDDLE + 60 * BPS)));
    rig.wait(4_950);
    for (ms, reasons) in [(49, &[][..]), (1, &[REDUCE])] {
        rig.now = rig.now.after(ms);
        rig.change(FUTURE);
        rig.shows(reasons);
    }
}

#[test]
fn at_951_a_basis_that_goes_in_time_was_none() {
    let mut rig = Rig::active();
    for _ in 0..3 {
        priced(&mut rig, |ticker| ticker.last = Some(Price(MIDDLE + 60 * BPS)));
        rig.wait(4_999);
        priced(&mut rig, |ticker| ticker.last = Some(Price(MIDDLE)));
        rig.shows(&[]);
        rig.wait(1000);
        rig.shows(&[]);
    }
}

#[test]
fn at_952_a_basis_of_the_kill_level_held_for_its_window_kills() {
    let limit = 150 * BPS;
    for (apart, reasons) in [(limit, &[KILL][..]), (limit - 1, &[REDUCE]), (-limit, &[KILL])] {
        let mut rig = Rig::active();
        priced(&mut rig, |ticker| ticker.index = Some(Price(MIDDLE + apart)));
        rig.wait(4_999);
        rig.shows(&[]);
        rig.pass(1);
        rig.shows(reasons);
        assert_eq!(opens(&mut rig), 0);
    }
}

#[test]
fn at_954_a_price_that_is_missing_reduces_until_it_is_back() {
    let cases: [fn(&mut Ticker); 5] = [
        |ticker| ticker.mark = None,
        |ticker| ticker.index = None,
        |ticker| ticker.last = None,
        |ticker| ticker.mark = Some(Price::ZERO),
        |ticker| ticker.index = Some(Price(-1)),
    ];
    for withheld in cases {
        let mut rig = Rig::active();
        priced(&mut rig, withheld);
        rig.shows(&[REDUCE]);
        asks(&rig, Override::None, Override::None, Override::ForceReduceOnly);
        assert_eq!(opens(&mut rig), 0);
        rig.wait(20_000);
        rig.shows(&[REDUCE]);
        priced(&mut rig, |of| *of = ticker(PERPETUAL));
        rig.shows(&[]);
        assert_eq!(opens(&mut rig), 1);
    }
}

#[test]
fn at_954_958_a_ticker_is_fresh_at_exactly_its_maximum_age() {
    // Cortex reads the same ticker, so its limit is out of the way.
    let mut rig = active(|boot| boot.config.cortex_input_max_age_ms = 1_000_000);
    rig.tell(Event::TickerReceived(ticker(PERPETUAL)));
    instead(&mut rig, 5000, |rig| rig.change(PERPETUAL));
    rig.shows(&[]);
    rig.pass(1);
    rig.shows(&[REDUCE]);
    asks(&rig, Override::None, Override::None, Override::ForceReduceOnly);
    assert_eq!(opens(&mut rig), 1, "the proposal came with a fresh ticker");
}

#[test]
fn at_959_a_basis_blocks_until_its_own_cooldown_is_over() {
    let mut rig = long();
    priced(&mut rig, |ticker| ticker.index = Some(Price(MIDDLE + 51 * BPS)));
    rig.wait(5_000);
    rig.shows(&[REDUCE]);
    priced(&mut rig, |of| *of = ticker(PERPETUAL));
    rig.wait(120_000);
    rig.shows(&[REDUCE]);
    assert_eq!((opens(&mut rig), closes(&mut rig)), (0, 1));
    rig.wait(179_999);
    rig.shows(&[REDUCE]);
    assert_eq!((opens(&mut rig), closes(&mut rig)), (0, 1));
    rig.pass(1);
    rig.shows(&[]);
    assert_eq!(opens(&mut rig), 1);
}

// ---- exchange health ----

#[test]
fn at_204_299_announcements_unusable_for_three_minutes_reduce() {
    let mut rig = Rig::active();
    rig.withhold(Feed::Announcements);
    rig.tell(Event::MaintenanceAnnounced(None));
    for _ in 0..2 {
        rig.wait(60_000);
        rig.tell(Event::AnnouncementsUnavailable);
        rig.shows(&[]);
    }
    rig.wait(59_000);
    rig.shows(&[]);
    assert_eq!(opens(&mut rig), 1);
    rig.wait(999);
    rig.shows(&[]);
    rig.pass(1);
    rig.shows(&[REDUCE]);
    asks(&rig, Override::None, Override::ForceReduceOnly, Override::None);
    assert_eq!(opens(&mut rig), 0);
    rig.tell(Event::AnnouncementsUnavailable);
    rig.wait(60_000);
    rig.shows(&[REDUCE]);
    rig.tell(Event::MaintenanceAnnounced(None));
    rig.shows(&[]);
    assert_eq!(opens(&mut rig), 1);
}

#[test]
fn at_232_a_maintenance_announced_within_the_lead_reduces() {
    for (in_ms, within) in [(1_800_000, true), (3_600_000, true), (3_600_001, false)] {
        let mut rig = long();
        let starts_at = rig.now.after(in_ms);
        let window = MaintenanceWindow { starts_at, ends_at: starts_at.after(600_000) };
        rig.tell(Event::MaintenanceAnnounced(Some(window)));
        rig.shows(if within { &[M::ReduceonlyRiskstateMaintenance] } else { &[] });
        rig.risk(if within { RiskState::Maintenance } else { RiskState::Healthy });
        assert_eq!((opens(&mut rig), closes(&mut rig)), (usize::from(!within), 1));
    }
}

// ---- together ----

#[test]
fn at_418_the_most_severe_producer_wins_in_one_event() {
    // Cortex kills in the very event in which exchange health reduces.
    let mut rig = Rig::active();
    rig.withhold(Feed::Announcements);
    rig.tell(Event::MaintenanceAnnounced(None));
    rig.wait(170_000);
    spread(&mut rig, 80 * BPS);
    rig.wait(9_999);
    asks(&rig, Override::ForceReduceOnly, Override::None, Override::None);
    rig.pass(1);
    asks(&rig, Override::ForceKill, Override::ForceReduceOnly, Override::None);
    rig.shows(&[KILL]);
    // And basis kills while those before it only reduce.
    let mut rig = Rig::active();
    spread(&mut rig, 30 * BPS);
    priced(&mut rig, |ticker| ticker.last = Some(Price(MIDDLE + 200 * BPS)));
    rig.wait(5_000);
    asks(&rig, Override::ForceReduceOnly, Override::None, Override::ForceKill);
    rig.shows(&[KILL]);
    // A report from outside is one candidate more, until it says otherwise.
    let mut rig = Rig::active();
    spread(&mut rig, 30 * BPS);
    rig.tell(Event::OverrideSampled { producer: Producer::Cortex, signal: Override::None });
    rig.shows(&[REDUCE]);
    rig.tell(Event::OverrideSampled { producer: Producer::Cortex, signal: Override::ForceKill });
    rig.shows(&[KILL]);
}

#[test]
fn a_kill_of_the_market_is_released_once_no_producer_asks_for_it() {
    let mut rig = Rig::active();
    spread(&mut rig, 80 * BPS);
    rig.wait(10_000);
    rig.tell(reset(KILL));
    rig.shows(&[KILL]);
    rig.snapshot(PERPETUAL);
    rig.wait(1_000);
    rig.shows(&[KILL]);
    rig.restart(1_000, |_| ());
    rig.shows(&[KILL]);
    rig.tell(reset(KILL));
    // The cooldown goes on.
    rig.shows(&[LATCHED, REDUCE]);
    rig.wait(10_000);
    rig.shows(&[REDUCE]);
}

#[test]
fn cooldowns_survive_a_restart_and_go_on_ageing_and_windows_start_anew() {
    let mut rig = Rig::active();
    spread(&mut rig, 80 * BPS);
    rig.wait(9_000);
    let held = rig.now;
    rig.restart(20_000, |_| ());
    rig.shows(&[LATCHED, REDUCE]);
    rig.wait(120_000 - rig.now.since(held) - 1);
    rig.shows(&[REDUCE]);
    rig.pass(1);
    rig.shows(&[]);
    priced(&mut rig, |ticker| ticker.last = Some(Price(MIDDLE + 60 * BPS)));
    rig.wait(5_000);
    rig.shows(&[REDUCE]);
    priced(&mut rig, |of| *of = ticker(PERPETUAL));
    let held = rig.now;
    rig.restart(299_999, |_| ());
    assert_eq!(rig.now.since(held), 299_999);
    rig.shows(&[LATCHED, REDUCE]);
    rig.pass(1);
    rig.shows(&[LATCHED]);
    // A kill window that was nearly full starts again at the boot.
    rig.settle();
    spread(&mut rig, 80 * BPS);
    rig.wait(9_900);
    rig.restart(0, |_| ());
    spread(&mut rig, 80 * BPS);
    rig.wait(1_000);
    assert!(!rig.status().mode_reasons.contains(&KILL));
}

#[test]
fn a_boots_reading_stands_until_the_kernel_has_its_own_and_ages() {
    for (place, own) in [(0, Producer::Cortex), (1, Producer::ExchangeHealth), (2, Producer::Basis)] {
        for (signal, reasons) in [
            (Some(Override::None), &[LATCHED][..]),
            (Some(Override::ForceReduceOnly), &[LATCHED, REDUCE]),
            (None, &[LATCHED, REDUCE]),
            (Some(Override::ForceKill), &[KILL]),
        ] {
            let mut rig = Rig::down();
            let mut boot = healthy_boot(START);
            boot.overrides[place] = signal;
            rig.boot(boot);
            rig.shows(reasons);
            assert_eq!(own.index(), place);
            rig.wait(2_000);
            if own == Producer::ExchangeHealth {
                rig.tell(Event::MaintenanceAnnounced(None));
            }
            // Its own readings are there: only what is latched is left.
            asks(&rig, Override::None, Override::None, Override::None);
            rig.shows(if signal == Some(Override::ForceKill) { &[KILL] } else { &[] });
        }
    }
    // Without any market the readings of the boot grow old.
    let mut rig = Rig::down();
    rig.withhold(Feed::Volatility);
    rig.boot(healthy_boot(START));
    rig.wait(5_000);
    asks(&rig, Override::None, Override::None, Override::None);
    rig.pass(1);
    asks(&rig, Override::ForceReduceOnly, Override::None, Override::None);
    rig.latched(&[] as &[C]);
}

#[test]
fn without_a_reference_instrument_nothing_is_read() {
    let mut rig = Rig::down();
    let mut boot = healthy_boot(START);
    boot.reference_instrument = None;
    rig.boot(boot);
    rig.wait(5_000);
    rig.shows(&[]);
    rig.pass(1);
    rig.shows(&[REDUCE]);
    asks(&rig, Override::ForceReduceOnly, Override::None, Override::ForceReduceOnly);
}
