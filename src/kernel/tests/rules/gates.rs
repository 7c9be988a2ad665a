//! The pre-trade gates: each refuses by its own code at its limit, lets pass what is one unit inside it, and leaves
//! closes, hedges and containment alone.
//!
//! Source: specs/contract kernel document, section 1; acceptance tests of the areas pretrade and quantize.

use drillfold_kernel::{
    effect::{Effect, Note, OrderRequest},
    event::{
        Action, BookSnapshot, Boot, CancelRefusal, EdgeInputs, Event, GroupProposal, Instrument, InstrumentKind,
        IntentClass, IntentRecord, LedgerRecord, LegProposal, Level, Metadata, OperatorCommand, OrderType, PublicTrade,
        Ticker, TimeInForce, TlsmState, VenueState,
    },
    identity::{Fields, intent_hash, label},
    registry::{ModeReason as M, OpenPermissionReason as C, RejectReason as R, RiskState},
    sizing::Size,
    units::{InstrumentId, NANO, Ppm, Price, Qty, Side, TradeId, UnderlyingId},
};

use crate::{
    kernel_rules::{boots, leg, long},
    rig::{BEAT_MS, FUTURE, Feed, Match, PERPETUAL, Rig, START, any_market, sample, ticker},
};

/// The third instrument, where a test lists one.
const THIRD: InstrumentId = InstrumentId(2);
/// The structure that proposals have.
const STRUCTURE: u64 = 7;

/// Tells an event that proposes; returns what was sent, or the first refusal.
#[track_caller]
pub fn told(rig: &mut Rig, event: Event) -> Result<Vec<OrderRequest>, R> {
    rig.forget_sent();
    let before = rig.refusals().len();
    rig.tell(event);
    match rig.refusals().get(before) {
        Some(code) => {
            assert_eq!(rig.sent(), [], "{code:?} and an order all the same");
            Err(*code)
        }
        None => Ok(rig.sent()),
    }
}

/// Proposes a buy of 1000 USD of the perpetual at the best ask, changed; the group has an id of its own.
#[track_caller]
pub fn propose(rig: &mut Rig, change: impl FnOnce(&mut GroupProposal)) -> Result<Vec<OrderRequest>, R> {
    let mut proposal = GroupProposal {
        strategy_id: "strategy".into(),
        group_id: format!("g{:011}", rig.seq),
        structure_fingerprint: STRUCTURE,
        edge: EdgeInputs::net(Some(10_000)),
        legs: vec![leg(PERPETUAL, Side::Buy, 1000)],
    };
    change(&mut proposal);
    told(rig, Event::GroupProposed(proposal))
}

/// Proposes one leg.
#[track_caller]
pub fn propose_leg(rig: &mut Rig, leg: LegProposal) -> Result<Vec<OrderRequest>, R> {
    propose(rig, |group| group.legs = vec![leg])
}

/// A reduce-only leg.
pub fn reducing(action: Action, instrument: InstrumentId, side: Side, usd: i64) -> LegProposal {
    LegProposal { action, reduce_only: Some(true), ..leg(instrument, side, usd) }
}

/// A rig after a boot that differs from the healthy one, Active, with fresh market data and no market monitor in the way.
#[track_caller]
pub fn active(change: impl FnOnce(&mut Boot)) -> Rig {
    let mut rig = boots(|boot| {
        any_market(boot);
        change(boot);
    });
    rig.settle();
    rig.wait(1000);
    rig.market_data();
    rig
}

/// Asserts that an order passes, and lets the venue lose it.
#[track_caller]
fn passes(rig: &mut Rig, change: impl FnOnce(&mut GroupProposal)) -> OrderRequest {
    let mut sent = propose(rig, change).unwrap_or_else(|code| panic!("refused with {code:?}"));
    assert_eq!(sent.len(), 1);
    let order = sent.remove(0);
    rig.answer_all();
    rig.cancel(&order.label);
    order
}

/// The venue takes the orders of the last proposal and fills them.
#[track_caller]
fn filled(rig: &mut Rig, change: impl FnOnce(&mut GroupProposal)) {
    for order in propose(rig, change).unwrap_or_else(|code| panic!("refused with {code:?}")) {
        rig.answer_all();
        rig.fill_open(&order.label, order.qty);
    }
}

/// An edge that is net already.
fn net(cents: i64) -> EdgeInputs {
    EdgeInputs::net(Some(cents))
}

fn usd(price: i64) -> Price {
    Price(price * NANO)
}

/// Installs a book whose levels are prices and amounts in whole units.
#[track_caller]
fn install(rig: &mut Rig, instrument: InstrumentId, bids: &[(Price, i64)], asks: &[(Price, i64)]) {
    let level = |(price, qty): &(Price, i64)| Level { price: *price, qty: Qty(qty * NANO) };
    let change_id = rig.kernel.feeds.books[instrument.index()].change_id.unwrap_or(1);
    rig.tell(Event::BookSnapshot(BookSnapshot {
        instrument,
        change_id,
        bids: bids.iter().map(level).collect(),
        asks: asks.iter().map(level).collect(),
    }));
}

/// Lists a third instrument, not subscribed.
fn list(boot: &mut Boot, name: &str, kind: InstrumentKind, underlying: u8) {
    let of = &boot.instruments[0];
    let third =
        Instrument { name: name.into(), kind, underlying: UnderlyingId(underlying), subscribed: false, ..of.clone() };
    boot.instruments.push(third);
}

/// A rig with an option at 0.05 coins beside perpetual and future.
fn with_option() -> Rig {
    let mut rig = active(|boot| {
        list(boot, "BTC-27MAR26-100000-C", InstrumentKind::Option, 0);
        let option = boot.instruments.last_mut().unwrap();
        (option.tick_size, option.amount_step) = (Some(Price(NANO / 2000)), Some(Qty(NANO / 10)));
        option.min_amount = option.amount_step;
    });
    rig.tell(Event::TickerReceived(Ticker { delta: Some(Ppm(500_000)), ..ticker(THIRD) }));
    let at = |price: i64| Price(price * NANO / 2000);
    install(&mut rig, THIRD, &[(at(99), 100)], &[(at(101), 100)]);
    rig
}

/// A buy of 0.3 of the option at its best ask.
fn option_leg() -> LegProposal {
    LegProposal { qty: Qty(NANO / 10 * 3), price: Price(NANO / 2000 * 101), ..leg(THIRD, Side::Buy, 0) }
}

// ---- preflight ----

#[test]
fn at_004_016_017_018_019_913_914_915_preflight_refuses_order_types() {
    let mut rig = with_option();
    let legs = [leg(PERPETUAL, Side::Buy, 1000), leg(FUTURE, Side::Sell, 1000), option_leg()];
    for base in legs {
        let sent = propose_leg(&mut rig, base.clone()).expect("a limit order passes");
        assert_eq!((sent.len(), sent[0].instrument), (1, base.instrument));
        for (order_type, code) in [
            (OrderType::Market, R::OrderTypeMarketForbidden),
            (OrderType::StopMarket, R::OrderTypeStopForbidden),
            (OrderType::StopLimit, R::OrderTypeStopForbidden),
        ] {
            assert_eq!(propose_leg(&mut rig, LegProposal { order_type, ..base.clone() }), Err(code), "{base:?}");
        }
        let linked = LegProposal { linked: true, ..base.clone() };
        assert_eq!(propose_leg(&mut rig, linked), Err(R::LinkedOrderTypeForbidden));
    }
    rig.shows(&[]);
    // The same for an order that would reduce: a type is never rewritten.
    let mut rig = long();
    let market = LegProposal { order_type: OrderType::Market, ..reducing(Action::Close, PERPETUAL, Side::Sell, 500) };
    assert_eq!(propose_leg(&mut rig, market), Err(R::OrderTypeMarketForbidden));
}

#[test]
fn at_916_a_post_only_order_must_not_cross() {
    let mut rig = active(|_| ());
    let half = Price(NANO / 2);
    for (side, touch, away) in
        [(Side::Buy, usd(100_001), usd(100_001).minus(half)), (Side::Sell, usd(99_999), usd(99_999).plus(half))]
    {
        let at = |price| LegProposal { post_only: true, price, ..leg(PERPETUAL, side, 1000) };
        assert_eq!(propose_leg(&mut rig, at(touch)), Err(R::PostOnlyWouldCross));
        passes(&mut rig, |group| group.legs = vec![at(away)]);
        passes(&mut rig, |group| group.legs = vec![LegProposal { post_only: false, ..at(touch) }]);
    }
}

// ---- liquidity ----

/// A book in which 2000 USD take one level at the best price and one at `second`, on both sides.
#[track_caller]
fn two_levels(rig: &mut Rig, second: Price) {
    let apart = second.minus(usd(100_000));
    let below = usd(99_990).minus(Price(apart.0 / 10_000 * 9_999));
    install(rig, PERPETUAL, &[(usd(99_990), 1000), (below, 1000)], &[(usd(100_000), 1000), (second, 1000)]);
}

#[test]
fn at_222_317_slippage_above_ten_basis_points_is_refused() {
    let buy = LegProposal { price: usd(100_300), ..leg(PERPETUAL, Side::Buy, 2000) };
    let sell = LegProposal { price: usd(99_000), ..leg(PERPETUAL, Side::Sell, 2000) };
    let mut rig = active(|_| ());
    // Half of the amount 200 USD above the best price: 100 of 100,000 on average, which is ten basis points.
    two_levels(&mut rig, usd(100_200));
    passes(&mut rig, |group| group.legs = vec![buy.clone()]);
    passes(&mut rig, |group| group.legs = vec![sell.clone()]);
    two_levels(&mut rig, usd(100_200).plus(Price(NANO / 2)));
    assert_eq!(propose_leg(&mut rig, buy.clone()), Err(R::ExpectedSlippageTooHigh));
    two_levels(&mut rig, usd(100_220));
    assert_eq!(propose_leg(&mut rig, sell), Err(R::ExpectedSlippageTooHigh));
    assert_eq!(propose_leg(&mut rig, buy.clone()), Err(R::ExpectedSlippageTooHigh));
    let note = Note::LiquidityGateReject { instrument: PERPETUAL, wap: usd(100_110), slippage_bps: 11 };
    assert!(rig.effects.contains(&Effect::Note(note)), "{:?}", rig.effects);
    // A smaller order finds what it needs, a larger one finds nothing at any price.
    passes(&mut rig, |group| group.legs = vec![LegProposal { qty: Qty(1000 * NANO), ..buy.clone() }]);
    let larger = LegProposal { qty: Qty(2010 * NANO), ..buy.clone() };
    assert_eq!(propose_leg(&mut rig, larger), Err(R::InsufficientDepthWithinBudget));
    // No later gate is asked: one that lacks its limit would degrade.
    let mut rig = active(|boot| boot.config.min_edge_usd = None);
    two_levels(&mut rig, usd(100_220));
    assert_eq!(propose_leg(&mut rig, buy), Err(R::ExpectedSlippageTooHigh));
    rig.risk(RiskState::Healthy);
}

#[test]
fn at_222_an_emergency_close_goes_out_in_a_book_too_thin_for_an_open() {
    let mut rig = active(|_| ());
    rig.matching = |_| Match::Rest;
    let sent = propose(&mut rig, |group| {
        group.legs = vec![leg(PERPETUAL, Side::Buy, 2000), leg(FUTURE, Side::Sell, 2000)];
    });
    let labels: Vec<String> = sent.expect("a pair passes").into_iter().map(|order| order.label).collect();
    rig.answer_all();
    for id in [PERPETUAL, FUTURE] {
        install(&mut rig, id, &[(usd(99_999), 10), (usd(90_000), 9000)], &[(usd(100_001), 10), (usd(110_000), 9000)]);
    }
    assert_eq!(propose_leg(&mut rig, leg(PERPETUAL, Side::Buy, 2000)), Err(R::ExpectedSlippageTooHigh));
    rig.fill(&labels[0], Qty(2000 * NANO));
    rig.cancel(&labels[1]);
    let closes = |rig: &Rig| {
        let close = |order: &&OrderRequest| order.class == IntentClass::EmergencyClose;
        rig.sent().iter().filter(close).count()
    };
    assert_eq!(closes(&rig), 1, "{:?}", rig.effects);
}

#[test]
fn at_344_909_an_open_needs_a_usable_book() {
    let mut rig = active(|boot| list(boot, "BTC-25SEP26", InstrumentKind::Future, 0));
    // None at all, one side, both sides.
    let third = || leg(THIRD, Side::Buy, 1000);
    assert_eq!(propose_leg(&mut rig, third()), Err(R::LiquidityGateNoL2));
    install(&mut rig, THIRD, &[(usd(99_999), 9000)], &[]);
    assert_eq!(propose_leg(&mut rig, third()), Err(R::LiquidityGateNoL2));
    install(&mut rig, THIRD, &[(usd(99_999), 9000)], &[(usd(100_001), 9000)]);
    passes(&mut rig, |group| group.legs = vec![third()]);
    // Old.
    install(&mut rig, THIRD, &[(usd(99_999), 9000)], &[(usd(100_001), 9000)]);
    rig.pass(1000);
    passes(&mut rig, |group| group.legs = vec![third()]);
    rig.pass(1);
    assert_eq!(propose_leg(&mut rig, third()), Err(R::LiquidityGateNoL2));
}

#[test]
fn at_421_without_a_book_cancels_pass_and_placements_do_not() {
    let mut rig = long();
    rig.matching = |_| Match::Rest;
    let open = propose_leg(&mut rig, leg(PERPETUAL, Side::Buy, 1000)).expect("it passes")[0].clone();
    rig.answer_all();
    rig.change(PERPETUAL);
    rig.pass(1000);
    let close = || reducing(Action::Close, PERPETUAL, Side::Sell, 100);
    let hedge = || reducing(Action::Hedge, PERPETUAL, Side::Sell, 110);
    assert_eq!(propose_leg(&mut rig, close()).map(|sent| sent.len()), Ok(1));
    assert_eq!(propose_leg(&mut rig, hedge()).map(|sent| sent.len()), Ok(1));
    rig.pass(1);
    assert_eq!(propose_leg(&mut rig, close()), Err(R::LiquidityGateNoL2));
    assert_eq!(propose_leg(&mut rig, hedge()), Err(R::LiquidityGateNoL2));
    rig.tell(Event::CancelProposed { intent: open.intent });
    assert!(rig.effects.iter().any(|effect| matches!(effect, Effect::Cancel(cancel) if cancel.label == open.label)));
}

// ---- margin ----

#[test]
fn at_206_227_300_912_no_open_without_margin_headroom() {
    let mut rig = long();
    // Utilisation in parts per million; 72,000 of maintenance margin on 100,000 of equity is 0.72.
    for (mm_util, passes) in [(699_999, true), (700_000, false), (720_000, false), (849_999, false)] {
        let now = rig.now;
        rig.tell(Event::MarginSampled(sample(mm_util, now)));
        rig.shows(&[]);
        let open = propose(&mut rig, |_| ()).map(|sent| sent.len());
        assert_eq!(open, if passes { Ok(1) } else { Err(R::MarginHeadroomRejectOpens) }, "{mm_util}");
        for action in [Action::Close, Action::Hedge] {
            let sent = propose_leg(&mut rig, reducing(action, PERPETUAL, Side::Sell, 100));
            assert_eq!(sent.map(|sent| sent.len()), Ok(1), "{mm_util}");
        }
    }
}

// ---- edge and fees ----

#[test]
fn at_015_243_932_the_net_edge_reaches_its_minimum_or_nothing_goes() {
    let mut rig = active(|_| ());
    let inputs =
        |gross, fee, slippage| EdgeInputs { gross_usd_cents: gross, fee_usd_cents: fee, slippage_usd_cents: slippage };
    passes(&mut rig, |group| group.edge = inputs(Some(400), Some(200), Some(100)));
    let cases = [
        (inputs(Some(399), Some(200), Some(100)), R::NetEdgeTooLow),
        (inputs(Some(400), Some(201), Some(100)), R::NetEdgeTooLow),
        (inputs(Some(400), Some(200), Some(101)), R::NetEdgeTooLow),
        // Less than its fees.
        (inputs(Some(200), Some(201), Some(0)), R::NetEdgeTooLow),
        (inputs(None, Some(0), Some(0)), R::NetEdgeInputMissing),
        (inputs(Some(400), None, Some(0)), R::NetEdgeInputMissing),
        (inputs(Some(400), Some(0), None), R::NetEdgeInputMissing),
        (inputs(Some(400), Some(0), Some(-1)), R::NetEdgeInputMissing),
    ];
    for (edge, code) in cases {
        assert_eq!(propose(&mut rig, |group| group.edge = edge), Err(code), "{edge:?}");
        rig.risk(RiskState::Healthy);
    }
    // A close needs no edge.
    let mut rig = long();
    let sent = propose(&mut rig, |group| {
        group.edge = inputs(None, None, None);
        group.legs = vec![reducing(Action::Close, PERPETUAL, Side::Sell, 100)];
    });
    assert_eq!(sent.map(|sent| sent.len()), Ok(1));
}

#[test]
fn at_032_244_318_320_fees_of_a_soft_stale_model_carry_the_buffer() {
    let mut rig = active(|_| ());
    let edge =
        |gross| EdgeInputs { gross_usd_cents: Some(gross), fee_usd_cents: Some(1000), slippage_usd_cents: Some(0) };
    // With a minimum of 100 cents: 1100 at the plain rate, 1300 at 1.2 times it.
    for (age_ms, gross_min) in [(0, 1100), (300_000, 1100), (300_001, 1300), (900_000, 1300)] {
        let cached_at = Some(rig.now.before(age_ms));
        rig.tell(Event::FeeModelRead { cached_at });
        rig.shows(&[]);
        passes(&mut rig, |group| group.edge = edge(gross_min));
        let short = propose(&mut rig, |group| group.edge = edge(gross_min - 1));
        assert_eq!(short, Err(R::NetEdgeTooLow), "{age_ms}");
    }
    // Hard-stale is no longer a matter of rates.
    let cached_at = Some(rig.now.before(900_001));
    rig.tell(Event::FeeModelRead { cached_at });
    rig.shows(&[M::ReduceonlyFeeModelHardStale, M::ReduceonlyRiskstateDegraded]);
    assert_eq!(propose(&mut rig, |group| group.edge = edge(100_000)), Err(R::TradingModeForbids));
}

#[test]
fn at_223_an_immediate_order_keeps_its_limit_and_is_not_chased() {
    let mut rig = active(|_| ());
    rig.matching = |_| Match::Rest;
    install(&mut rig, PERPETUAL, &[(usd(99_900), 9000)], &[(usd(100_100), 9000)]);
    let immediate = LegProposal {
        price: usd(100_100),
        time_in_force: TimeInForce::ImmediateOrCancel,
        ..leg(PERPETUAL, Side::Buy, 1000)
    };
    let too_little = propose(&mut rig, |group| (group.edge, group.legs) = (net(99), vec![immediate.clone()]));
    assert_eq!(too_little, Err(R::NetEdgeTooLow));
    let sent = propose(&mut rig, |group| (group.edge, group.legs) = (net(100), vec![immediate]));
    let order = sent.expect("the edge at the limit is the minimum").remove(0);
    assert_eq!((order.price, order.time_in_force), (usd(100_100), TimeInForce::ImmediateOrCancel));
    rig.answer_all();
    rig.fill(&order.label, Qty(400 * NANO));
    rig.cancel(&order.label);
    rig.forget_sent();
    rig.wait(10_000);
    assert_eq!(rig.sent(), [], "nothing chases what was not filled");
    rig.shows(&[]);
}

// ---- inventory ----

/// Limit of the delta in the tests of inventory: 0.01 BTC, which is 1000 USD at the mark.
const DELTA_LIMIT: i64 = NANO / 100;

/// A rig that is long so many USD of a limit of 1000.
fn leaning(usd: i64) -> Rig {
    let mut rig = active(|boot| boot.config.delta_limit = Some(DELTA_LIMIT));
    rig.matching = |_| Match::Rest;
    if usd > 0 {
        filled(&mut rig, |group| group.legs = vec![leg(PERPETUAL, Side::Buy, usd)]);
    }
    rig
}

#[test]
fn at_030_282_the_limit_moves_away_from_the_market_by_the_bias() {
    let half_ticks = |price: Price| (usd(100_001).0 - price.0) / (NANO / 2);
    // A third of the limit is one tick of three, more is two, nine tenths are all three.
    for (held, ticks) in [(0, 0), (330, 1), (340, 2), (660, 2), (670, 3), (900, 3)] {
        let mut rig = leaning(held);
        let order = passes(&mut rig, |group| group.legs = vec![leg(PERPETUAL, Side::Buy, 10)]);
        assert_eq!(half_ticks(order.price), ticks, "{held}");
        assert_eq!(rig.kernel.orders.intents[&order.intent].record.price, order.price);
        // Its identity is that of the proposal.
        let group_id = order.label.split(':').nth(2).unwrap();
        let (qty, price) = (Qty(10 * NANO), usd(100_001));
        let of = Fields { instrument: "BTC-PERPETUAL", side: Side::Buy, qty, price, group_id, leg: 0 };
        assert_eq!(order.intent, intent_hash(&of));
        let order = passes(&mut rig, |group| group.legs = vec![leg(PERPETUAL, Side::Sell, 10)]);
        assert_eq!(order.price, usd(99_999), "{held}");
    }
}

#[test]
fn at_224_281_the_minimum_edge_leans_against_the_inventory() {
    let mut rig = leaning(900);
    let with = |rig: &mut Rig, side, cents| {
        propose(rig, |group| (group.edge, group.legs) = (net(cents), vec![leg(PERPETUAL, side, 10)]))
            .map(|sent| sent.len())
    };
    // 0.9 of the limit, half of it as the factor: 45 % more for buyers, as much less for sellers.
    assert_eq!(with(&mut rig, Side::Buy, 144), Err(R::InventorySkew));
    assert_eq!(with(&mut rig, Side::Sell, 54), Err(R::NetEdgeTooLow));
    assert_eq!(with(&mut rig, Side::Sell, 55), Ok(1));
    let mut rig = leaning(900);
    assert_eq!(with(&mut rig, Side::Buy, 145), Ok(1));
    let mut rig = leaning(0);
    assert_eq!(with(&mut rig, Side::Buy, 99), Err(R::NetEdgeTooLow));
    assert_eq!(with(&mut rig, Side::Buy, 100), Ok(1));
}

#[test]
fn at_934_the_inventory_counts_what_is_pending() {
    let mut rig = leaning(0);
    let small = |rig: &mut Rig, cents| {
        propose(rig, |group| (group.edge, group.legs) = (net(cents), vec![leg(PERPETUAL, Side::Buy, 10)]))
    };
    let resting = propose_leg(&mut rig, leg(PERPETUAL, Side::Buy, 900)).expect("it passes").remove(0);
    rig.answer_all();
    assert_eq!(small(&mut rig, 144), Err(R::InventorySkew));
    // What has ended reserves nothing.
    rig.cancel(&resting.label);
    assert_eq!(small(&mut rig, 100).map(|sent| sent.len()), Ok(1));
}

#[test]
fn at_043_922_424_gates_without_their_limit_refuse_and_degrade() {
    type Forget = fn(&mut Boot);
    let cases: [(Forget, R); 5] = [
        (|boot| boot.config.delta_limit = None, R::InventorySkewDeltaLimitMissing),
        // Zero is no limit either.
        (|boot| boot.config.delta_limit = Some(0), R::InventorySkewDeltaLimitMissing),
        (|boot| boot.config.portfolio_exposure_limit = None, R::GlobalExposureBudgetExceeded),
        (|boot| boot.config.min_edge_usd = None, R::NetEdgeInputMissing),
        (|boot| boot.config.expiry_delist_buffer_s = None, R::InstrumentExpiredOrDelisted),
    ];
    for (forget, code) in cases {
        let mut rig = active(forget);
        let close = reducing(Action::Close, PERPETUAL, Side::Sell, 100);
        assert_eq!(propose_leg(&mut rig, close).map(|sent| sent.len()), Ok(1), "{code:?}");
        rig.risk(RiskState::Healthy);
        assert_eq!(propose(&mut rig, |_| ()), Err(code));
        rig.shows(&[M::ReduceonlyRiskstateDegraded]);
    }
}

// ---- exposure ----

#[test]
fn at_225_910_only_what_fits_the_budget_is_reserved() {
    let mut rig = active(|boot| boot.config.delta_limit = Some(3 * DELTA_LIMIT));
    rig.matching = |_| Match::Rest;
    let mut labels = Vec::new();
    for place in 0..5 {
        match propose(&mut rig, |_| ()) {
            Ok(sent) if place < 3 => labels.push(sent[0].label.clone()),
            Err(R::PendingExposureBudgetExceeded) if place >= 3 => {}
            other => panic!("{place}: {other:?}"),
        }
        rig.answer_all();
    }
    // Filled is held, which takes as much room; cancelled is room again.
    rig.fill(&labels[0], Qty(1000 * NANO));
    assert_eq!(propose(&mut rig, |_| ()), Err(R::PendingExposureBudgetExceeded));
    rig.cancel(&labels[1]);
    assert_eq!(propose(&mut rig, |_| ()).map(|sent| sent.len()), Ok(1));
    // The other side has room of its own; closes need none.
    assert_eq!(propose_leg(&mut rig, leg(PERPETUAL, Side::Sell, 1000)).map(|sent| sent.len()), Ok(1));
    let close = reducing(Action::Close, PERPETUAL, Side::Sell, 100);
    assert_eq!(propose_leg(&mut rig, close).map(|sent| sent.len()), Ok(1));
}

#[test]
fn at_910_the_budget_is_inclusive() {
    // 1000 USD at the best ask of 100,001.
    let moved = 1000 * NANO / 100_001;
    for (limit, fits) in [(moved, true), (moved - 1, false)] {
        let mut rig = active(|boot| boot.config.delta_limit = Some(limit));
        let found = propose(&mut rig, |_| ()).map(|sent| sent.len());
        assert_eq!(found, if fits { Ok(1) } else { Err(R::PendingExposureBudgetExceeded) }, "{limit}");
    }
    // The legs of one group count together.
    let mut rig = active(|boot| boot.config.delta_limit = Some(moved));
    let twice = propose(&mut rig, |group| {
        group.legs = vec![leg(PERPETUAL, Side::Buy, 1000), leg(FUTURE, Side::Buy, 1000)];
    });
    assert_eq!(twice, Err(R::AssemblyFailed));
    assert!(rig.refusals().contains(&R::PendingExposureBudgetExceeded));
}

/// A rig with an ETH perpetual at 4000 USD, and a portfolio limit in BTC.
fn two_coins(limit_btc: i64, change: impl FnOnce(&mut Boot)) -> Rig {
    let mut rig = active(|boot| {
        list(boot, "ETH-PERPETUAL", InstrumentKind::Perpetual, 1);
        change(boot);
        boot.config.portfolio_exposure_limit = Some(limit_btc);
        boot.config.self_trade_min_self_notional_usd = 1_000_000_000;
        boot.config.self_trade_notional_trip_usd = 1_000_000_000;
    });
    rig.matching = |_| Match::Rest;
    let at = |price: i64| Some(usd(price));
    rig.tell(Event::TickerReceived(Ticker { index: at(4000), mark: at(4000), last: at(4000), ..ticker(THIRD) }));
    install(&mut rig, THIRD, &[(usd(4000), 900_000)], &[(usd(4000).plus(Price(NANO / 2)), 900_000)]);
    rig
}

/// A leg in ETH.
fn eth(side: Side, amount: i64) -> LegProposal {
    LegProposal { price: usd(4000), ..leg(THIRD, side, amount) }
}

/// A leg in BTC at its index.
fn btc(side: Side, amount: i64) -> LegProposal {
    LegProposal { price: usd(100_000), ..leg(PERPETUAL, side, amount) }
}

#[test]
fn at_226_911_the_correlated_portfolio_has_a_budget() {
    // 0.6 BTC worth of ETH; with x BTC beside it 0.36 + x^2 + 1.6 * 0.6 * x is at most 1 up to x = 0.4528.
    let mut rig = two_coins(NANO, |_| ());
    filled(&mut rig, |group| group.legs = vec![eth(Side::Buy, 60_000)]);
    filled(&mut rig, |group| group.legs = vec![btc(Side::Buy, 45_000)]);
    assert_eq!(propose_leg(&mut rig, btc(Side::Buy, 300)), Err(R::GlobalExposureBudgetExceeded));
    assert_eq!(propose_leg(&mut rig, eth(Side::Buy, 300)), Err(R::GlobalExposureBudgetExceeded));
    passes(&mut rig, |group| group.legs = vec![btc(Side::Buy, 250)]);
    // What lowers the total passes, and so does what reduces.
    passes(&mut rig, |group| group.legs = vec![btc(Side::Sell, 10_000)]);
    let close = reducing(Action::Close, PERPETUAL, Side::Sell, 100);
    assert_eq!(propose_leg(&mut rig, close).map(|sent| sent.len()), Ok(1));
    // Without the other coin the same order passes.
    let mut rig = two_coins(NANO, |_| ());
    filled(&mut rig, |group| group.legs = vec![btc(Side::Buy, 45_000)]);
    passes(&mut rig, |group| group.legs = vec![btc(Side::Buy, 300)]);
}

#[test]
fn at_929_the_portfolio_budget_counts_what_is_pending() {
    let mut rig = two_coins(NANO, |_| ());
    let resting = propose_leg(&mut rig, eth(Side::Buy, 60_000)).expect("it passes").remove(0);
    rig.answer_all();
    filled(&mut rig, |group| group.legs = vec![btc(Side::Buy, 45_000)]);
    assert_eq!(propose_leg(&mut rig, btc(Side::Buy, 300)), Err(R::GlobalExposureBudgetExceeded));
    passes(&mut rig, |group| group.legs = vec![btc(Side::Buy, 250)]);
    rig.cancel(&resting.label);
    passes(&mut rig, |group| group.legs = vec![btc(Side::Buy, 300)]);
}

#[test]
fn at_226_each_pair_of_coins_has_its_correlation() {
    // Of BTC, ETH and a third coin two are held, each worth 0.6 BTC. The square of the total is 0.72 and twice the
    // correlation times 0.36: 1.296 for BTC and ETH, 1.152 for either of them and the rest.
    for (coins, square) in [([0, 1], 1_296), ([0, 2], 1_152), ([1, 2], 1_152)] {
        for (limit, fits) in [(square + 4, true), (square - 4, false)] {
            // The root of thousandths, in 1e-9 of a BTC.
            let limit_btc = (limit * 1_000_000 * NANO).isqrt();
            let mut rig = two_coins(limit_btc, |boot| {
                list(boot, "SOL-PERPETUAL", InstrumentKind::Perpetual, 2);
            });
            let fourth = InstrumentId(3);
            let at = |price: i64| Some(usd(price));
            rig.tell(Event::TickerReceived(Ticker { index: at(200), mark: at(200), last: at(200), ..ticker(fourth) }));
            install(&mut rig, fourth, &[(usd(200), 900_000)], &[(usd(200).plus(Price(NANO / 2)), 900_000)]);
            let buys = [
                btc(Side::Buy, 60_000),
                eth(Side::Buy, 60_000),
                LegProposal { price: usd(200), ..leg(fourth, Side::Buy, 60_000) },
            ];
            filled(&mut rig, |group| group.legs = vec![buys[coins[0]].clone()]);
            let second = propose_leg(&mut rig, buys[coins[1]].clone()).map(|sent| sent.len());
            let expected = if fits { Ok(1) } else { Err(R::GlobalExposureBudgetExceeded) };
            assert_eq!(second, expected, "{coins:?} {limit}");
        }
    }
}

#[test]
fn the_portfolio_is_valued_at_the_index_and_without_one_at_the_mark() {
    // 60,000 USD of ETH are 15 ETH at the mark, and so many tenths of a BTC at the index.
    let eth_at = |index: Option<Price>| Ticker { index, mark: Some(usd(4000)), last: Some(usd(4000)), ..ticker(THIRD) };
    for (index, worth_tenths) in [(Some(usd(8000)), 12), (Some(usd(2000)), 3), (None, 6), (Some(Price(0)), 6)] {
        for (limit, fits) in [(worth_tenths * NANO / 10 + 10_000, true), (worth_tenths * NANO / 10 - 10_000, false)] {
            let mut rig = two_coins(limit, |_| ());
            rig.tell(Event::TickerReceived(eth_at(index)));
            let found = propose_leg(&mut rig, eth(Side::Buy, 60_000)).map(|sent| sent.len());
            let expected = if fits { Ok(1) } else { Err(R::GlobalExposureBudgetExceeded) };
            assert_eq!(found, expected, "{index:?} {limit}");
        }
    }
}

#[test]
fn exposure_is_the_net_of_each_underlying_and_the_sum_of_their_amounts() {
    let (bitcoin, ether) = (UnderlyingId(0), UnderlyingId(1));
    let mut rig = two_coins(1000 * NANO, |_| ());
    assert_eq!(rig.kernel.total_exposure(), 0);
    filled(&mut rig, |group| group.legs = vec![btc(Side::Buy, 1000)]);
    filled(&mut rig, |group| group.legs = vec![LegProposal { price: usd(99_999), ..leg(FUTURE, Side::Sell, 400) }]);
    filled(&mut rig, |group| group.legs = vec![eth(Side::Sell, 400)]);
    assert_eq!((rig.kernel.net_exposure(bitcoin), rig.kernel.net_exposure(ether)), (6 * NANO / 1000, -NANO / 10));
    assert_eq!(rig.kernel.total_exposure(), 106 * NANO / 1000);
    // An option counts by its delta, one where that is unknown.
    let mut rig = with_option();
    rig.matching = |_| Match::Rest;
    filled(&mut rig, |group| group.legs = vec![option_leg()]);
    for (delta, coins) in
        [(Some(Ppm(500_000)), NANO / 100 * 15), (None, NANO / 10 * 3), (Some(Ppm(-100_000)), -NANO / 100 * 3)]
    {
        rig.tell(Event::TickerReceived(Ticker { delta, ..ticker(THIRD) }));
        assert_eq!(rig.kernel.net_exposure(bitcoin), coins);
        assert_eq!(rig.kernel.total_exposure(), coins.abs());
    }
}

#[test]
fn a_position_without_a_price_stops_opens_until_it_has_one_or_its_instrument_is_gone() {
    let book = |price: i64| [(usd(price), 9000)];
    // In the order's own underlying no inventory is known then, in another one no portfolio.
    for (underlying, code) in [(0, R::InventorySkew), (1, R::GlobalExposureBudgetExceeded)] {
        let held = || {
            let mut rig = active(|boot| list(boot, "SOL-PERPETUAL", InstrumentKind::Perpetual, underlying));
            rig.matching = |_| Match::Rest;
            install(&mut rig, THIRD, &book(99_999), &book(100_001));
            filled(&mut rig, |group| group.legs = vec![leg(THIRD, Side::Buy, 1000)]);
            let resting = propose_leg(&mut rig, leg(THIRD, Side::Buy, 10)).expect("it passes").remove(0);
            rig.answer_all();
            install(&mut rig, THIRD, &[], &[]);
            assert_eq!(propose(&mut rig, |_| ()), Err(code));
            (rig, resting)
        };
        let (mut rig, _) = held();
        rig.tell(Event::TickerReceived(ticker(THIRD)));
        passes(&mut rig, |_| ());
        let (mut rig, resting) = held();
        let metadata = Metadata { expires_at: Some(rig.now), ..metadata() };
        rig.tell(Event::InstrumentFetched { instrument: THIRD, metadata });
        rig.tell(Event::CancelProposed { intent: resting.intent });
        assert_eq!(propose(&mut rig, |_| ()), Err(code));
        rig.tell(Event::CancelRefused { label: resting.label, cause: CancelRefusal::OrderbookClosed });
        passes(&mut rig, |_| ());
    }
}

// ---- self-impact ----

/// A rig whose market has traded `public_usd` in the last ten seconds, of which we bought `own_usd`.
fn impact(public_usd: i64, own_usd: i64) -> Rig {
    let mut rig = active(|boot| {
        boot.config.self_trade_fraction_trip = 250_000;
        boot.config.self_trade_min_self_notional_usd = 10_000;
        boot.config.self_trade_notional_trip_usd = 150_000;
    });
    rig.matching = |_| Match::Rest;
    rig.withhold(Feed::MarketData);
    // What was traded before leaves the window.
    let since = rig.now;
    while rig.now.since(since) <= 10_000 {
        rig.wait(400);
        rig.change(PERPETUAL);
    }
    public(&mut rig, public_usd);
    filled(&mut rig, |group| group.legs = vec![leg(PERPETUAL, Side::Buy, own_usd)]);
    rig
}

/// One public trade of an amount.
#[track_caller]
fn public(rig: &mut Rig, amount_usd: i64) {
    let trade_seq = rig.kernel.feeds.trades[PERPETUAL.index()].last_seq.map_or(1, |last| last + 1);
    let trade = PublicTrade {
        trade_id: TradeId(1_000_000 + trade_seq),
        trade_seq,
        price: usd(100_000),
        qty: Qty(amount_usd * NANO),
        side: Side::Buy,
    };
    rig.tell(Event::TradesReceived { instrument: PERPETUAL, trades: vec![trade] });
}

#[test]
fn the_market_s_amounts_are_kept_for_the_window_and_no_longer() {
    let mut rig = active(|_| ());
    rig.withhold(Feed::MarketData);
    let first = rig.now.after(1);
    rig.now = first;
    public(&mut rig, 1000);
    let oldest = |rig: &Rig| rig.kernel.feeds.trades[PERPETUAL.index()].volume.front().map(|(at, _)| *at);
    rig.now = first.after(10_000);
    public(&mut rig, 1000);
    assert_eq!(oldest(&rig), Some(first));
    rig.now = first.after(10_001);
    public(&mut rig, 1000);
    assert_eq!(oldest(&rig), Some(first.after(10_000)));
}

#[test]
fn at_955_956_957_the_self_impact_guard() {
    let active = Err(R::FeedbackLoopGuardActive);
    for (public_usd, own_usd, expected) in [
        (100_000, 40_000, active),
        // At the fraction, and just below it.
        (160_000, 40_000, active),
        (160_010, 40_000, Ok(1)),
        // At the smallest own notional, and just below it.
        (20_000, 10_000, active),
        (20_000, 9_990, Ok(1)),
        // By the notional alone, at it and just below it.
        (10_000_000, 200_000, active),
        (10_000_000, 150_000, active),
        (10_000_000, 149_990, Ok(1)),
        (200_000, 20_000, Ok(1)),
    ] {
        let mut rig = impact(public_usd, own_usd);
        // The trades feed is one second old, which is fresh.
        rig.wait(500);
        rig.change(PERPETUAL);
        rig.wait(500);
        let other_way = propose_leg(&mut rig, leg(PERPETUAL, Side::Sell, 1000));
        assert_eq!(other_way.map(|sent| sent.len()), Ok(1), "{public_usd} {own_usd}");
        let found = propose(&mut rig, |_| ()).map(|sent| sent.len());
        assert_eq!(found, expected, "{public_usd} {own_usd}");
        rig.shows(&[]);
        let close = reducing(Action::Close, PERPETUAL, Side::Sell, 100);
        assert_eq!(propose_leg(&mut rig, close).map(|sent| sent.len()), Ok(1));
    }
}

#[test]
fn at_955_the_cooldown_holds_for_its_structure() {
    let mut rig = impact(100_000, 40_000);
    assert_eq!(propose(&mut rig, |_| ()), Err(R::FeedbackLoopGuardActive));
    let tripped = rig.now;
    // From now on every OPEN of the structure is refused, in either direction; another structure may sell.
    let sell = || vec![leg(PERPETUAL, Side::Sell, 1000)];
    assert_eq!(propose(&mut rig, |group| group.legs = sell()), Err(R::FeedbackLoopGuardActive));
    let other = |group: &mut GroupProposal| (group.structure_fingerprint, group.legs) = (8, sell());
    assert_eq!(propose(&mut rig, other).map(|sent| sent.len()), Ok(1));
    rig.forget_sent();
    let until = |rig: &mut Rig, ms: i64| {
        while rig.now.since(tripped) < ms {
            let left = ms - rig.now.since(tripped);
            rig.wait(left.min(400));
            rig.change(PERPETUAL);
            public(rig, 1000);
        }
    };
    until(&mut rig, 299_999);
    assert_eq!(propose(&mut rig, |_| ()), Err(R::FeedbackLoopGuardActive));
    until(&mut rig, 300_000);
    assert_eq!(propose(&mut rig, |_| ()).map(|sent| sent.len()), Ok(1));
}

// ---- quantisation and sizes ----

/// A fetched record with every value.
pub fn metadata() -> Metadata {
    Metadata {
        tick_size: Some(Price(NANO / 2)),
        amount_step: Some(Qty(10 * NANO)),
        min_amount: Some(Qty(10 * NANO)),
        contract_multiplier: Some(Qty(10 * NANO)),
        expires_at: None,
    }
}

#[test]
fn at_219_a_price_off_the_grid_is_never_made_worse() {
    let mut rig = active(|_| ());
    let off = Price(NANO / 5);
    for (side, raw, sent) in [
        (Side::Buy, usd(99_000).plus(off), usd(99_000)),
        (Side::Sell, usd(101_000).plus(off), usd(101_000).plus(Price(NANO / 2))),
        (Side::Buy, usd(99_000), usd(99_000)),
        (Side::Sell, usd(101_000), usd(101_000)),
    ] {
        let order =
            passes(&mut rig, |group| group.legs = vec![LegProposal { price: raw, ..leg(PERPETUAL, side, 1000) }]);
        assert_eq!(order.price, sent, "{side:?}");
    }
}

#[test]
fn at_277_amounts_in_coins_and_in_usd() {
    let index = usd(100_000);
    let option = Size::of(InstrumentKind::Option, Qty(NANO / 10 * 3), index).unwrap();
    assert_eq!((option.amount, option.qty_coin), (Qty(NANO / 10 * 3), Qty(NANO / 10 * 3)));
    assert_eq!((option.qty_usd, option.notional_usd), (None, Qty(30_000 * NANO)));
    for kind in [InstrumentKind::Perpetual, InstrumentKind::Future] {
        let inverse = Size::of(kind, Qty(30_000 * NANO), index).unwrap();
        assert_eq!((inverse.amount, inverse.qty_usd), (Qty(30_000 * NANO), Some(Qty(30_000 * NANO))));
        assert_eq!((inverse.qty_coin, inverse.notional_usd), (Qty(NANO / 10 * 3), Qty(30_000 * NANO)));
    }
    assert_eq!(Size::of(InstrumentKind::Option, Qty(NANO), Price(0)), None);
    // An amount goes to the wire in the instrument's unit; contracts that disagree with it go nowhere.
    let mut rig = with_option();
    let record = Metadata {
        tick_size: Some(Price(NANO / 2000)),
        amount_step: Some(Qty(NANO / 10)),
        min_amount: Some(Qty(NANO / 10)),
        contract_multiplier: Some(Qty(NANO)),
        expires_at: None,
    };
    rig.tell(Event::InstrumentFetched { instrument: THIRD, metadata: record });
    let stated = |contracts| LegProposal { contracts: Some(contracts), ..option_leg() };
    let sent = propose_leg(&mut rig, stated(Qty(NANO / 10 * 3))).expect("it passes");
    assert_eq!(sent[0].qty, Qty(NANO / 10 * 3));
    assert_eq!(propose_leg(&mut rig, stated(Qty(3 * NANO))), Err(R::ContractsAmountMismatch));
    rig.risk(RiskState::Degraded);
}

#[test]
fn at_280_920_contracts_and_amount_agree_within_the_tolerance() {
    let fetch = |rig: &mut Rig, contract_multiplier| {
        let metadata = Metadata { contract_multiplier, amount_step: Some(Qty(NANO)), ..metadata() };
        rig.tell(Event::InstrumentFetched { instrument: PERPETUAL, metadata });
    };
    // 100 contracts of 9.99 USD are 999: one part in a thousand of an amount of 1000.
    let hundred = || LegProposal { contracts: Some(Qty(100 * NANO)), ..leg(PERPETUAL, Side::Buy, 1000) };
    for (multiplier, agrees) in [
        (10 * NANO, true),
        (9_990_000_000, true),
        (9_989_999_999, false),
        (10_010_000_000, true),
        (10_010_000_001, false),
    ] {
        let mut rig = active(|_| ());
        fetch(&mut rig, Some(Qty(multiplier)));
        let found = propose_leg(&mut rig, hundred()).map(|sent| sent.len());
        if agrees {
            assert_eq!(found, Ok(1), "{multiplier}");
            rig.risk(RiskState::Healthy);
        } else {
            assert_eq!(found, Err(R::ContractsAmountMismatch), "{multiplier}");
            rig.shows(&[M::ReduceonlyRiskstateDegraded]);
            // It leaves with a run that began after it.
            rig.wait(7000);
            rig.shows(&[]);
        }
    }
    // Contracts of an unknown size can't be compared.
    let mut rig = active(|_| ());
    assert_eq!(propose_leg(&mut rig, hundred()), Err(R::InstrumentMetadataMissing));
    for unusable in [None, Some(Qty(0))] {
        fetch(&mut rig, unusable);
        assert_eq!(propose_leg(&mut rig, hundred()), Err(R::InstrumentMetadataMissing));
        rig.risk(RiskState::Healthy);
    }
}

#[test]
fn at_908_926_what_cannot_be_quantised_is_refused() {
    let fetch = |rig: &mut Rig, metadata| rig.tell(Event::InstrumentFetched { instrument: PERPETUAL, metadata });
    let mut rig = active(|_| ());
    let amount = |amount: i64| LegProposal { qty: Qty(amount), ..leg(PERPETUAL, Side::Buy, 0) };
    fetch(&mut rig, Metadata { min_amount: Some(Qty(20 * NANO)), ..metadata() });
    assert_eq!(propose_leg(&mut rig, amount(30 * NANO - 1)).map(|sent| sent[0].qty), Ok(Qty(20 * NANO)));
    assert_eq!(propose_leg(&mut rig, amount(20 * NANO)).map(|sent| sent[0].qty), Ok(Qty(20 * NANO)));
    assert_eq!(propose_leg(&mut rig, amount(20 * NANO - 1)), Err(R::TooSmallAfterQuantization));
    for broken in [
        Metadata { tick_size: None, ..metadata() },
        Metadata { amount_step: None, ..metadata() },
        Metadata { min_amount: None, ..metadata() },
        Metadata { tick_size: Some(Price(0)), ..metadata() },
        Metadata { amount_step: Some(Qty(-1)), ..metadata() },
        Metadata { min_amount: Some(Qty(0)), ..metadata() },
    ] {
        fetch(&mut rig, broken);
        assert_eq!(propose(&mut rig, |_| ()), Err(R::InstrumentMetadataMissing), "{broken:?}");
    }
    fetch(&mut rig, metadata());
    assert_eq!(propose(&mut rig, |_| ()).map(|sent| sent.len()), Ok(1));
}

// ---- across the gates ----

#[test]
fn at_930_every_family_of_refusals_speaks_the_registry() {
    let mut rig = long();
    rig.matching = |_| Match::Rest;
    let resting = propose_leg(&mut rig, reducing(Action::Close, PERPETUAL, Side::Sell, 100)).expect("it passes");
    rig.answer_all();
    let mut codes = Vec::new();
    let mut refused = |code: Result<Vec<OrderRequest>, R>| codes.push(code.expect_err("it is refused"));
    refused(propose_leg(&mut rig, leg(PERPETUAL, Side::Buy, 1)));
    refused(propose_leg(&mut rig, LegProposal { order_type: OrderType::Market, ..leg(PERPETUAL, Side::Buy, 1000) }));
    refused(propose_leg(&mut rig, leg(PERPETUAL, Side::Buy, 100_000_000)));
    refused(propose_leg(&mut rig, LegProposal { price: usd(1), ..leg(PERPETUAL, Side::Buy, 2000) }));
    rig.tell(Event::ClockDriftSampled { drift_ms: None });
    refused(told(&mut rig, Event::CancelProposed { intent: resting[0].intent }));
    assert_eq!(
        codes,
        [
            R::TooSmallAfterQuantization,
            R::OrderTypeMarketForbidden,
            R::InsufficientDepthWithinBudget,
            R::PendingExposureBudgetExceeded,
            R::RiskIncreasingCancelReplaceForbidden,
        ]
    );
    assert!(codes.iter().all(|code| R::ALL.contains(code) && R::from_token(code.token()) == Some(*code)));
}

/// The ledger of a crash between recording and sending: one OPEN that was never marked sent.
fn unsent() -> (Vec<LedgerRecord>, String) {
    let (qty, price) = (Qty(1000 * NANO), usd(100_000));
    let group_id = "g00000000001";
    let of = Fields { instrument: "BTC-PERPETUAL", side: Side::Buy, qty, price, group_id, leg: 0 };
    let intent = intent_hash(&of);
    let wire = label("strategy", group_id, 0, intent).unwrap();
    let record = IntentRecord {
        intent,
        group_id: group_id.into(),
        leg: 0,
        class: IntentClass::Open,
        instrument: PERPETUAL,
        side: Side::Buy,
        qty,
        price,
        reduce_only: false,
        time_in_force: TimeInForce::GoodTilCancelled,
        label: wire.clone(),
        at: START,
    };
    let group = LedgerRecord::Group {
        group_id: group_id.into(),
        strategy_id: "strategy".into(),
        structure_fingerprint: STRUCTURE,
        legs: 1,
        at: START,
    };
    (vec![group, LedgerRecord::Intent(Box::new(record))], wire)
}

#[test]
fn at_935_an_unsent_intent_passes_every_gate_or_fails() {
    type Spoil = fn(&mut Boot);
    let cases: [(Spoil, Option<R>); 6] = [
        (|_| (), None),
        (|boot| boot.config.expiry_delist_buffer_s = None, Some(R::InstrumentExpiredOrDelisted)),
        (|boot| boot.config.mm_util_reject_opens = 100_000, Some(R::MarginHeadroomRejectOpens)),
        (|boot| boot.config.delta_limit = Some(NANO / 200), Some(R::PendingExposureBudgetExceeded)),
        (|boot| boot.config.portfolio_exposure_limit = Some(NANO / 200), Some(R::GlobalExposureBudgetExceeded)),
        (|boot| boot.config.delta_limit = None, Some(R::InventorySkewDeltaLimitMissing)),
    ];
    for (spoil, code) in cases {
        let (ledger, label) = unsent();
        let mut rig = boots(|boot| {
            boot.ledger = ledger;
            spoil(boot);
        });
        rig.matching = |_| Match::Rest;
        rig.wait(3000);
        rig.latched(&[]);
        assert_eq!(rig.refusals(), code.into_iter().collect::<Vec<_>>());
        let sent: Vec<&VenueState> =
            rig.orders.iter().filter(|order| order.label == label).map(|order| &order.state).collect();
        assert_eq!(sent.len(), usize::from(code.is_none()), "{code:?}");
        let state = rig.kernel.orders.intents.values().next().map(|order| order.state);
        assert_eq!(state, Some(if code.is_none() { TlsmState::Acked } else { TlsmState::Failed }), "{code:?}");
    }
}

#[test]
fn at_953_old_public_trades_stay_latched_until_a_trade_comes() {
    let mut rig = active(|boot| boot.config.public_trade_feed_max_age_ms = 100);
    rig.withhold(Feed::MarketData);
    rig.change(PERPETUAL);
    rig.now = rig.now.after(101);
    rig.change(PERPETUAL);
    assert!(propose(&mut rig, |_| ()).is_err());
    rig.latched(&[C::WsTradesGapReconcileRequired]);
    // Runs succeed all the while, and clear nothing.
    let runs = |rig: &Rig| rig.noted(|note| *note == Note::RunSucceeded);
    let before = runs(&rig);
    rig.wait(500);
    assert!(runs(&rig) > before);
    rig.latched(&[C::WsTradesGapReconcileRequired]);
    public(&mut rig, 100);
    rig.latched(&[C::WsTradesGapReconcileRequired]);
    // What an operator says makes the next run.
    rig.tell(Event::OperatorCommanded(OperatorCommand::AdoptPositions { incident_id: "INC-1".into() }));
    rig.wait(500);
    rig.latched(&[]);
}

#[test]
fn at_953_old_public_trades_latch_an_unsent_intent_too() {
    let (ledger, _) = unsent();
    let mut rig = boots(|boot| {
        boot.ledger = ledger;
        boot.config.public_trade_feed_max_age_ms = -1;
    });
    for _ in 0..30 {
        if rig.refusals().is_empty() {
            rig.wait(BEAT_MS);
        }
    }
    rig.latched(&[C::WsTradesGapReconcileRequired]);
    assert_eq!(rig.refusals(), [R::OpenPermissionLatched]);
}
