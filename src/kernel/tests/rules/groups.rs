//! Groups and containment: rescue, emergency close, hedge, the churn breaker, and the same under Kill.
//!
//! Source: kernel contract section 7.

use drillfold_kernel::{
    effect::{CancelReason, CorrectiveAction, Effect, Note, OrderRequest, RestQuery, Route},
    event::{
        BookSnapshot, CloseCause, EdgeInputs, Event, GroupFailure, GroupProposal, GroupState, IntentClass,
        LedgerRecord, LegProposal, Level, OperatorCommand, OwnTrade, Socket, Ticker, VenueOrder, VenueState,
    },
    registry::{ModeReason as M, RejectReason, TradingMode},
    state::Cause,
    units::{InstrumentId, NANO, OrderId, PPM, Ppm, Price, Qty, Side, TradeId, UnderlyingId},
};

use crate::{
    kernel_rules::{boots, group, leg, long, mixed_fill, pair},
    orders::{cancels, close_goes, corrected, open_refused, placed},
    rig::{BEAT_MS, FUTURE, Feed, Match, PERPETUAL, Rig, book, sample, ticker},
};

const GROUP: &str = "group0000001";

/// Classes of the containment orders so far.
fn classes(rig: &Rig) -> Vec<IntentClass> {
    placed(rig).into_iter().map(|order| order.class).filter(|class| class.is_containment()).collect()
}

/// Lets the venue deal with everything sent until nothing more is.
fn play_out(rig: &mut Rig) {
    for _ in 0..20 {
        rig.answer_all();
    }
}

/// A pair of 1000 USD: the first leg fills in full, the second is refused; nothing else has reached the venue yet.
fn half_filled(rig: &mut Rig, sides: [Side; 2]) {
    half_filled_later(rig, sides, EdgeInputs::net(Some(10_000)), 0);
}

/// The same for a group with this edge, whose legs rest so long before anything becomes of them.
fn half_filled_later(rig: &mut Rig, sides: [Side; 2], edge: EdgeInputs, later_ms: i64) {
    rig.wait(1000);
    rig.market_data();
    rig.tell(Event::FeeModelRead { cached_at: Some(rig.now) });
    let legs = vec![leg(PERPETUAL, sides[0], 1000), leg(FUTURE, sides[1], 1000)];
    let Event::GroupProposed(proposal) = group(GROUP, legs) else { panic!("a proposal") };
    rig.tell(Event::GroupProposed(GroupProposal { edge, ..proposal }));
    let sent = rig.sent();
    rig.withhold(Feed::Fees);
    rig.pass(later_ms);
    rig.market_data();
    let matching = std::mem::replace(&mut rig.matching, Match::usual);
    rig.receive(&sent[0]);
    rig.matching = matching;
    rig.fill(&sent[0].label, Qty(1000 * NANO));
    rig.forget_sent();
    rig.tell(Event::OrderRejected { label: sent[1].label.clone(), code: 11_029 });
}

/// A rig that tries no rescue, so that a close comes first.
fn without_rescue() -> Rig {
    let mut rig = boots(|boot| boot.config.rescue_attempts_max = 0);
    rig.settle();
    rig
}

/// A group of these legs at their limits. Of each so many USD fill, and what is left of it is cancelled; those without an
/// amount are refused, last of all. Nothing else has reached the venue yet.
fn ended(rig: &mut Rig, legs: &[(LegProposal, Option<i64>)]) {
    rig.market_data();
    rig.tell(group(GROUP, legs.iter().map(|(leg, _)| leg.clone()).collect()));
    let sent = rig.sent();
    let matching = std::mem::replace(&mut rig.matching, Match::usual);
    for (order, filled) in sent.iter().zip(legs.iter().map(|(_, filled)| filled)) {
        if let Some(usd) = filled {
            rig.receive(order);
            rig.fill(&order.label, Qty(usd * NANO));
            rig.cancel(&order.label);
        }
    }
    rig.matching = matching;
    rig.forget_sent();
    for (order, _) in sent.iter().zip(legs).filter(|(_, (_, filled))| filled.is_none()) {
        rig.tell(Event::OrderRejected { label: order.label.clone(), code: 11_029 });
    }
}

/// A leg at a limit of its own.
fn leg_at(instrument: InstrumentId, side: Side, usd: i64, price: i64) -> LegProposal {
    LegProposal { price: Price(price * NANO), ..leg(instrument, side, usd) }
}

/// The containment orders so far: class, instrument, side and whole USD.
fn contained(rig: &Rig) -> Vec<(IntentClass, InstrumentId, Side, i64)> {
    placed(rig)
        .into_iter()
        .filter(|order| order.class.is_containment())
        .map(|order| (order.class, order.instrument, order.side, order.qty.0 / NANO))
        .collect()
}

const PAIR: [Side; 2] = [Side::Buy, Side::Sell];

#[test]
fn at_117_235_two_rescues_then_three_closes_then_one_hedge() {
    use IntentClass::{EmergencyClose, EmergencyHedge, Rescue};
    // The venue's depth has vanished: nothing finds a counterpart but the hedge.
    let mut rig = Rig::active();
    rig.matching = |order| match order.class {
        Rescue | EmergencyClose => Match::Nothing,
        _ => Match::usual(order),
    };
    half_filled(&mut rig, PAIR);
    play_out(&mut rig);
    assert_eq!(
        classes(&rig),
        [Rescue, Rescue, EmergencyClose, EmergencyClose, EmergencyClose, EmergencyHedge],
        "bounded, and in this order"
    );
    let hedge = placed(&rig).pop().expect("the hedge");
    assert!(hedge.reduce_only);
    assert_eq!(corrected(&rig, CorrectiveAction::ReduceOnlyDeltaHedge), 1);
    assert_eq!(corrected(&rig, CorrectiveAction::EmergencyFlattenGroup), 1);
    assert!(rig.kernel.group_exposure(GROUP).abs() < NANO / 1000);
    assert!(rig.kernel.groups.all[GROUP].state == GroupState::Flattened);
    // A rescue that is taken ends it without any close.
    let mut rig = Rig::active();
    half_filled(&mut rig, PAIR);
    play_out(&mut rig);
    assert_eq!(classes(&rig), [Rescue]);
    assert_eq!(rig.kernel.groups.all[GROUP].state, GroupState::Flattened);
}

#[test]
fn at_235_a_restart_counts_the_rescues_that_were_tried() {
    let mut rig = Rig::active();
    rig.withhold(Feed::Venue);
    half_filled(&mut rig, PAIR);
    assert_eq!((classes(&rig), rig.kernel.groups.all[GROUP].rescues), (vec![IntentClass::Rescue], 1));
    let ledger = rig.ledger();
    rig.restart(1000, |boot| boot.ledger = ledger);
    assert_eq!(rig.kernel.groups.all[GROUP].rescues, 1);
}

#[test]
fn at_283_a_rescue_crosses_the_spread_by_two_ticks() {
    // The best prices are 99,999 and 100,001, the tick is a half.
    for (sides, price) in [(PAIR, 99_998), ([Side::Sell, Side::Buy], 100_002)] {
        let mut rig = Rig::active();
        half_filled(&mut rig, sides);
        let rescue = placed(&rig).pop().expect("a rescue");
        assert_eq!((rescue.class, rescue.price), (IntentClass::Rescue, Price(price * NANO)));
    }
}

#[test]
fn at_936_236_327_gates_stop_a_rescue_and_never_a_close() {
    // The net edge is at its minimum (1 USD) as long as fees count plainly. A millisecond later they carry the buffer of a
    // soft-stale model: a fee of 5 cents becomes 6, and the edge is a cent short. Without fees it stays.
    for (fee_usd_cents, later_ms, rescued) in [(5, 1000, true), (5, 1001, false), (0, 1001, true)] {
        let mut rig = boots(|boot| boot.config.fee_cache_soft_s = 1);
        rig.settle();
        let edge = EdgeInputs {
            gross_usd_cents: Some(100 + fee_usd_cents),
            fee_usd_cents: Some(fee_usd_cents),
            slippage_usd_cents: Some(0),
        };
        half_filled_later(&mut rig, PAIR, edge, later_ms);
        let first = if rescued { IntentClass::Rescue } else { IntentClass::EmergencyClose };
        assert_eq!(classes(&rig), [first], "{fee_usd_cents} {later_ms}");
    }
    // Liquidity within two ticks: exactly what is needed, and one step less.
    for (depth, rescued) in [(1000, true), (990, false)] {
        let mut rig = Rig::active();
        rig.wait(1000);
        rig.market_data();
        rig.tell(group(GROUP, vec![leg(PERPETUAL, Side::Buy, 1000), leg(FUTURE, Side::Sell, 1000)]));
        let sent = rig.sent();
        rig.receive(&sent[0]);
        rig.fill(&sent[0].label, Qty(1000 * NANO));
        rig.forget_sent();
        let thin = |price: i64| vec![Level { price: Price(price * NANO), qty: Qty(depth * NANO) }];
        let whole = book(FUTURE, 10_000);
        rig.tell(Event::BookSnapshot(BookSnapshot { bids: thin(99_999), asks: thin(100_001), ..whole }));
        rig.tell(Event::OrderRejected { label: sent[1].label.clone(), code: 11_029 });
        let first = if rescued { IntentClass::Rescue } else { IntentClass::EmergencyClose };
        assert_eq!(classes(&rig), [first], "{depth}");
    }
}

#[test]
fn at_328_a_flatten_goes_within_the_second() {
    let mut rig = without_rescue();
    half_filled(&mut rig, PAIR);
    let rejected = rig.now;
    assert_eq!(classes(&rig), [IntentClass::EmergencyClose], "in the very event of the refusal");
    play_out(&mut rig);
    assert!(rig.now.since(rejected) <= 200);
    assert!(rig.kernel.group_exposure(GROUP).abs() < NANO / 1000);
}

#[test]
fn at_116_220_a_group_is_not_complete_before_its_last_leg_and_keeps_its_first_failure() {
    let (mut rig, labels) = {
        let mut rig = Rig::active();
        rig.wait(1000);
        rig.matching = |order| if order.class.is_containment() { Match::Nothing } else { Match::Rest };
        let labels = pair(&mut rig, GROUP, 1000);
        rig.answer_all();
        (rig, labels)
    };
    let of = |rig: &Rig| (rig.kernel.groups.all[GROUP].state, rig.kernel.groups.all[GROUP].failure);
    rig.fill(&labels[0], Qty(1000 * NANO));
    assert_eq!(of(&rig), (GroupState::Dispatched, None));
    rig.shows(&[]);
    rig.cancel(&labels[1]);
    assert_eq!(of(&rig), (GroupState::Flattening, Some(GroupFailure::LegCancelled)));
    // Whatever comes later, also a late fill of the cancelled leg or a refusal of it, changes nothing about that.
    rig.tell(Event::OrderRejected { label: labels[1].clone(), code: 11_029 });
    rig.fill(&labels[1], Qty(400 * NANO));
    assert_eq!(of(&rig).1, Some(GroupFailure::LegCancelled));
    let recorded: Vec<GroupState> = rig
        .ledger()
        .iter()
        .filter_map(|record| match record {
            LedgerRecord::GroupTransition { group_id, state, .. } if group_id == GROUP => Some(*state),
            _ => None,
        })
        .collect();
    assert!(recorded.contains(&GroupState::MixedFailed) && !recorded.contains(&GroupState::Complete));
    open_refused(&mut rig, RejectReason::TradingModeForbids);
}

#[test]
fn a_failed_group_cancels_its_other_orders_but_none_of_containment() {
    let mut rig = Rig::active();
    rig.wait(1000);
    let labels = pair(&mut rig, GROUP, 1000);
    let first = rig.sent().swap_remove(0);
    rig.forget_sent();
    rig.receive(&first);
    rig.withhold(Feed::Venue);
    rig.wait(300);
    rig.tell(Event::OrderRejected { label: labels[1].clone(), code: 11_029 });
    assert_eq!(cancels(&rig), [CancelReason::GroupFailed]);
    // Without an answer it asks again once the time for one is over, at whatever event comes next.
    let timeout_ms = rig.kernel.core.config.rest_timeout_ms;
    rig.wait(timeout_ms - BEAT_MS);
    let asked = |rig: &Rig| rig.all.iter().filter(|(_, effect)| matches!(effect, Effect::Cancel(_))).count();
    assert_eq!((asked(&rig), rig.status().trading_mode), (1, TradingMode::Active));
    rig.wait(BEAT_MS);
    assert_eq!(asked(&rig), 2);
    // A ledger that refused the record of the group's flattening shows it MixedFailed, with a close on its way.
    let mut rig = without_rescue();
    rig.withhold(Feed::Venue);
    half_filled(&mut rig, PAIR);
    assert_eq!(classes(&rig), [IntentClass::EmergencyClose]);
    let mut ledger = rig.ledger();
    ledger.retain(|record| !matches!(record, LedgerRecord::GroupTransition { state: GroupState::Flattening, .. }));
    rig.restart(1000, |boot| boot.ledger = ledger);
    assert_eq!(rig.kernel.groups.all[GROUP].state, GroupState::Flattening);
    assert_eq!(rig.kernel.orders.live.len(), 1);
    assert_eq!(cancels(&rig), []);
}

#[test]
fn a_leg_that_traded_and_is_then_known_nowhere_is_lost() {
    let mut rig = Rig::active();
    rig.wait(1000);
    pair(&mut rig, GROUP, 1000);
    let sent = rig.sent();
    rig.forget_sent();
    rig.receive(&sent[0]);
    rig.fill(&sent[0].label, Qty(1000 * NANO));
    let traded = &sent[1];
    let trade = OwnTrade {
        trade_id: TradeId(77),
        order_id: OrderId(77),
        label: traded.label.clone(),
        instrument: traded.instrument,
        side: traded.side,
        price: traded.price,
        qty: Qty(400 * NANO),
        at: rig.now,
    };
    rig.own_trades.push(trade.clone());
    rig.tell(Event::OwnTraded(vec![trade]));
    rig.wait(8000);
    assert_eq!(rig.kernel.groups.all[GROUP].failure, Some(GroupFailure::LegLost));
}

#[test]
fn at_278_a_leg_may_lack_no_more_than_the_epsilon() {
    let cases = [(0, GroupState::Complete), (1, GroupState::Complete), (2, GroupState::Flattened)];
    // Whether the venue says cancelled or filled of what little is missing.
    for ((missing, state), end) in
        cases.into_iter().flat_map(|case| [VenueState::Cancelled, VenueState::Filled].map(|end| (case, end)))
    {
        let mut rig = Rig::active();
        rig.wait(1000);
        rig.matching = |order| if order.class.is_containment() { Match::Nothing } else { Match::Rest };
        let labels = pair(&mut rig, GROUP, 1000);
        rig.answer_all();
        rig.fill(&labels[0], Qty(1000 * NANO));
        rig.fill(&labels[1], Qty(1000 * NANO - missing));
        let partial = rig.orders.iter().find(|order| order.label == labels[1]).expect("it rests").clone();
        rig.tell(Event::OrderUpdated(VenueOrder { state: end, ..partial }));
        // What little is missing is neutral at once; the failure tells.
        let failure = (missing > 1).then_some(GroupFailure::LegPartial);
        let found = &rig.kernel.groups.all[GROUP];
        assert_eq!((found.state, found.failure), (state, failure), "{missing}");
    }
}

#[test]
fn at_221_the_third_flatten_of_a_structure_blacklists_its_opens() {
    for (flattens, trips) in [(2, 0), (3, 1)] {
        let mut rig = Rig::active();
        rig.wait(1000);
        rig.matching = |order| if order.class.is_containment() { Match::usual(order) } else { Match::Rest };
        // In flight together, since the first flatten stops OPEN.
        let groups: Vec<Vec<String>> = (0..flattens)
            .map(|place| {
                rig.forget_sent();
                pair(&mut rig, &format!("group00000{place:02}"), 1000)
            })
            .collect();
        rig.forget_sent();
        let orders: Vec<OrderRequest> = placed(&rig);
        for order in &orders {
            rig.receive(order);
        }
        for labels in &groups {
            rig.fill(&labels[0], Qty(1000 * NANO));
            rig.cancel(&labels[1]);
        }
        let tripped_at = rig.now;
        assert_eq!(rig.noted(|note| matches!(note, Note::ChurnBreakerTrip(7))), trips);
        assert_eq!(corrected(&rig, CorrectiveAction::EmergencyFlattenGroup), flattens);
        rig.wait(400_000);
        rig.shows(&[]);
        rig.market_data();
        let before = placed(&rig).len();
        rig.tell(group("group0000090", vec![leg(PERPETUAL, Side::Buy, 500)]));
        assert_eq!(placed(&rig).len() - before, 1 - trips);
        if trips == 0 {
            continue;
        }
        assert_eq!(rig.refusals().last(), Some(&RejectReason::ChurnBreakerActive));
        // Another structure is not concerned, nor is what reduces.
        let Event::GroupProposed(other) = group("group0000091", vec![leg(PERPETUAL, Side::Buy, 500)]) else {
            panic!("a proposal")
        };
        rig.tell(Event::GroupProposed(GroupProposal { structure_fingerprint: 8, ..other }));
        assert_eq!(placed(&rig).len() - before, 1);
        close_goes(&mut rig);
        // Fifteen minutes, to the millisecond.
        let left = 900_000 - rig.now.since(tripped_at);
        rig.wait(left - 1);
        rig.market_data();
        rig.tell(group("group0000092", vec![leg(PERPETUAL, Side::Buy, 500)]));
        assert_eq!(rig.refusals().last(), Some(&RejectReason::ChurnBreakerActive));
        rig.pass(1);
        let before = placed(&rig).len();
        rig.tell(group("group0000093", vec![leg(PERPETUAL, Side::Buy, 500)]));
        assert_eq!(placed(&rig).len() - before, 1);
    }
}

#[test]
fn flattens_and_naked_events_are_remembered_over_any_number_of_events() {
    let mut rig = without_rescue();
    rig.wait(1000);
    rig.matching = |order| if order.class.is_containment() { Match::usual(order) } else { Match::Rest };
    let groups: Vec<Vec<String>> = (0..3)
        .map(|place| {
            rig.forget_sent();
            pair(&mut rig, &format!("group00000{place:02}"), 1000)
        })
        .collect();
    rig.forget_sent();
    for order in placed(&rig) {
        rig.receive(&order);
    }
    let flatten = |rig: &mut Rig, labels: &[String]| {
        rig.fill(&labels[0], Qty(1000 * NANO));
        rig.cancel(&labels[1]);
        play_out(rig);
    };
    flatten(&mut rig, &groups[0]);
    flatten(&mut rig, &groups[1]);
    let tripped = |rig: &Rig| rig.noted(|note| matches!(note, Note::ChurnBreakerTrip(7)));
    assert_eq!((rig.status().atomic_naked_events_24h, tripped(&rig)), (2, 0));
    // What memory no longer needs goes every 1024 events.
    for _ in 0..1024 {
        rig.pass(0);
    }
    assert_eq!(rig.status().atomic_naked_events_24h, 2);
    flatten(&mut rig, &groups[2]);
    assert_eq!((rig.status().atomic_naked_events_24h, tripped(&rig)), (3, 1));
    // A day after the last nothing of them is left.
    rig.pass(86_400_000);
    for _ in 0..1024 {
        rig.pass(0);
    }
    assert_eq!(rig.status().atomic_naked_events_24h, 0);
    assert!(rig.kernel.ledger.naked_events.is_empty() && rig.kernel.groups.flattens.is_empty());
}

#[test]
fn at_939_a_group_that_cannot_be_recorded_sends_no_leg() {
    let filled_queue = |spare: i64| {
        // How much two single orders put into the queue.
        let singles = |capacity: i64| {
            let mut rig = boots(|boot| boot.config.wal_queue_capacity = capacity);
            rig.settle();
            rig.wait(1000);
            rig.withhold(Feed::Writer);
            rig.withhold(Feed::Venue);
            rig.market_data();
            for place in 0..2 {
                rig.tell(group(&format!("group000000{place}"), vec![leg(PERPETUAL, Side::Buy, 500)]));
            }
            rig
        };
        let depth = i64::from(singles(1024).status().wal_queue_depth);
        singles(depth + spare)
    };
    let mut rig = filled_queue(0);
    rig.shows(&[]);
    rig.forget_sent();
    rig.tell(group("group0000009", vec![leg(PERPETUAL, Side::Buy, 500), leg(FUTURE, Side::Sell, 500)]));
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.refusals(), [RejectReason::RecordedBeforeDispatchFailed; 2]);
    assert_eq!(rig.status().wal_queue_enqueue_failures, 1);
    rig.shows(&[M::ReduceonlyRiskstateDegraded]);
    // With room for the group and the first leg, that leg goes.
    let mut rig = filled_queue(2);
    rig.forget_sent();
    rig.tell(group("group0000009", vec![leg(PERPETUAL, Side::Buy, 500), leg(FUTURE, Side::Sell, 500)]));
    assert_eq!(rig.sent().iter().filter(|order| order.class == IntentClass::Open).count(), 1);
    // The group has failed by the leg that did not go, and the one that did is cancelled.
    assert_eq!(rig.kernel.groups.all["group0000009"].failure, Some(GroupFailure::LegRefused));
    assert_eq!(cancels(&rig), [CancelReason::GroupFailed]);
}

#[test]
fn a_group_has_one_to_eight_legs() {
    for (legs, goes) in [(0, false), (1, true), (8, true), (9, false)] {
        let mut rig = Rig::active();
        rig.wait(1000);
        rig.market_data();
        rig.tell(group(GROUP, vec![leg(PERPETUAL, Side::Buy, 10); legs]));
        assert_eq!(rig.sent().len(), if goes { legs } else { 0 }, "{legs}");
        assert_eq!(rig.refusals().is_empty(), goes, "{legs}");
        assert!(goes || rig.refusals().contains(&RejectReason::AssemblyFailed), "{legs}");
    }
}

#[test]
fn containment_is_reduce_only_where_it_takes_from_the_position_and_no_more() {
    // Long 1000 of the perpetual beside the pair, so a rescue that buys it adds to a position.
    let mut rig = long();
    let pair = vec![leg(PERPETUAL, Side::Buy, 500), leg(FUTURE, Side::Sell, 500)];
    rig.tell(group("group0000002", pair));
    let sent = rig.sent();
    rig.receive(&sent[1]);
    rig.fill(&sent[1].label, Qty(500 * NANO));
    rig.forget_sent();
    rig.market_data();
    rig.tell(Event::OrderRejected { label: sent[0].label.clone(), code: 11_029 });
    let rescue = rig.sent().pop().expect("a rescue");
    assert_eq!((rescue.class, rescue.instrument, rescue.side), (IntentClass::Rescue, PERPETUAL, Side::Buy));
    assert!(!rescue.reduce_only);
}

#[test]
fn at_924_a_group_lock_that_is_held_blocks_opens_and_nothing_else() {
    let mut rig = long();
    rig.tell(Event::GroupLockSampled { held: true });
    rig.shows(&[M::ReduceonlyRiskstateDegraded]);
    open_refused(&mut rig, RejectReason::TradingModeForbids);
    // There is no lock to wait for: the loop ticks on, and what reduces goes in the event that proposes it.
    let tick = rig.status().loop_tick_last_ts_ms;
    rig.wait(100);
    assert!(rig.status().loop_tick_last_ts_ms > tick);
    close_goes(&mut rig);
    rig.tell(Event::GroupLockSampled { held: false });
    rig.shows(&[]);
}

#[test]
fn at_211_one_event_tells_how_a_group_was_neutralised() {
    for (closes_fill, attempts, hedged) in [(true, 1, false), (false, 3, true)] {
        let mut rig = without_rescue();
        rig.matching = if closes_fill {
            Match::usual
        } else {
            |order| match order.class {
                IntentClass::EmergencyClose => Match::Nothing,
                _ => Match::usual(order),
            }
        };
        half_filled(&mut rig, PAIR);
        rig.pass(300);
        play_out(&mut rig);
        rig.wait(20_000);
        let events: Vec<LedgerRecord> =
            rig.ledger().into_iter().filter(|record| matches!(record, LedgerRecord::AtomicNaked { .. })).collect();
        let [event] = events.as_slice() else { panic!("exactly one: {events:?}") };
        let LedgerRecord::AtomicNaked {
            group_id,
            strategy_id,
            exposure_before,
            exposure_after,
            time_to_neutral_ms,
            close_attempts,
            hedge_used,
            cause,
            mode,
            at,
        } = event
        else {
            panic!("filtered")
        };
        assert_eq!((group_id.as_str(), strategy_id.as_str()), (GROUP, "strategy"));
        assert_eq!((*close_attempts, *hedge_used), (attempts, hedged));
        assert!(*exposure_before > *exposure_after && *exposure_after < NANO / 1000);
        assert_eq!(*time_to_neutral_ms, 300);
        assert_eq!((*cause, usize::from(*mode)), (GroupFailure::LegRejected, TradingMode::ReduceOnly.index()));
        assert!(at.0 > 0);
        assert_eq!(rig.status().atomic_naked_events_24h, 1);
    }
    // A group that completes has none.
    let mut rig = Rig::active();
    rig.wait(1000);
    for label in pair(&mut rig, GROUP, 1000) {
        rig.answer_all();
        rig.fill(&label, Qty(1000 * NANO));
    }
    rig.wait(5000);
    assert_eq!(rig.status().atomic_naked_events_24h, 0);
}

#[test]
fn at_211_a_hedge_of_an_earlier_round_was_used_all_the_same() {
    let mut rig = without_rescue();
    rig.matching = |order| if order.class.is_containment() { Match::Nothing } else { Match::usual(order) };
    half_filled(&mut rig, PAIR);
    play_out(&mut rig);
    assert_eq!(classes(&rig).last(), Some(&IntentClass::EmergencyHedge));
    rig.matching = Match::usual;
    rig.wait(20_000);
    // The first close of the second round ends it.
    let of_two_rounds =
        |record: &LedgerRecord| matches!(record, LedgerRecord::AtomicNaked { close_attempts: 1, hedge_used: true, .. });
    assert_eq!(rig.ledger().iter().filter(|record| of_two_rounds(record)).count(), 1);
}

#[test]
fn a_rescue_completes_its_own_leg_and_no_other() {
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.market_data();
    let legs = vec![leg(PERPETUAL, Side::Buy, 1000), leg(FUTURE, Side::Sell, 500), leg(PERPETUAL, Side::Sell, 500)];
    rig.tell(group(GROUP, legs));
    let sent = rig.sent();
    rig.receive(&sent[0]);
    rig.fill(&sent[0].label, Qty(1000 * NANO));
    rig.forget_sent();
    rig.withhold(Feed::Venue);
    for refused in &sent[1..] {
        rig.tell(Event::OrderRejected { label: refused.label.clone(), code: 11_029 });
    }
    // The first is filled; it sold as much as the second leg lacks, but in another instrument.
    rig.resume(Feed::Venue);
    play_out(&mut rig);
    let rescues: Vec<_> = placed(&rig)
        .into_iter()
        .filter(|order| order.class.is_containment())
        .map(|order| (order.class, order.instrument, order.side, order.qty))
        .collect();
    let of = |instrument| (IntentClass::Rescue, instrument, Side::Sell, Qty(500 * NANO));
    assert_eq!(rescues, [of(FUTURE), of(PERPETUAL)]);
}

#[test]
fn every_containment_order_lowers_exposure_and_turns_none() {
    use IntentClass::{EmergencyClose, Rescue};
    let rescue = (Rescue, FUTURE, Side::Sell);
    let close = (EmergencyClose, PERPETUAL, Side::Sell);
    let buys = |usd| leg_at(PERPETUAL, Side::Buy, usd, 99_999);
    let sells = |usd| leg(FUTURE, Side::Sell, usd);
    let cases = [
        // The leg that is missing takes back what the other one filled: all of it.
        ([(sells(1000), None), (buys(1000), Some(1000))], rescue, 1000),
        // It would take back more than that, and leave 400 on the other side.
        ([(sells(1000), None), (buys(1000), Some(600))], close, 600),
        // The first leg that lacks something would add to what there is.
        ([(buys(1000), Some(600)), (sells(1000), None)], close, 600),
        // The future trades in steps of 100. Short 50 for long 50 is within one of them, but it lowers nothing.
        ([(sells(100), None), (buys(100), Some(100))], rescue, 100),
        ([(sells(100), None), (buys(100), Some(50))], close, 50),
    ];
    for (legs, (class, instrument, side), usd) in cases {
        let mut rig = boots(|boot| boot.instruments[1].min_amount = Some(Qty(100 * NANO)));
        rig.settle();
        rig.wait(1000);
        ended(&mut rig, &legs);
        assert_eq!(contained(&rig), [(class, instrument, side, usd)], "{legs:?}");
    }
}

#[test]
fn a_close_takes_no_more_than_the_account_still_holds_and_the_hedge_the_rest() {
    use IntentClass::{EmergencyClose, EmergencyHedge};
    // The group buys 1000 of a future in which the account was short before.
    let close = |usd| (EmergencyClose, FUTURE, Side::Sell, usd);
    let hedge = (EmergencyHedge, PERPETUAL, Side::Sell, 990);
    for (short, first) in [(0, close(1000)), (600, close(400)), (1000, hedge), (1600, hedge)] {
        let mut rig = without_rescue();
        rig.wait(1000);
        if short > 0 {
            rig.market_data();
            rig.tell(group("group0000002", vec![leg(FUTURE, Side::Sell, short)]));
            let label = rig.sent()[0].label.clone();
            rig.answer_all();
            rig.fill(&label, Qty(short * NANO));
        }
        ended(&mut rig, &[(leg(FUTURE, Side::Buy, 1000), Some(1000)), (leg(PERPETUAL, Side::Sell, 1000), None)]);
        assert_eq!(contained(&rig), [first], "{short}");
    }
}

#[test]
fn the_smallest_tradable_amount_is_closed_and_less_is_neutral() {
    use IntentClass::{EmergencyClose, EmergencyHedge};
    // The smallest amount is 10 USD of either; everything is valued at 100,000.
    let sells = |instrument| leg_at(instrument, Side::Sell, 10, 100_000);
    let refused = (leg(FUTURE, Side::Buy, 10), None);
    for (filled, expected) in [(10, &[(EmergencyClose, PERPETUAL, Side::Buy, 10)][..]), (9, &[])] {
        let mut rig = without_rescue();
        rig.wait(1000);
        ended(&mut rig, &[(sells(PERPETUAL), Some(filled)), refused.clone()]);
        assert_eq!(contained(&rig), expected, "{filled}");
        let state = if filled < 10 { GroupState::Flattened } else { GroupState::Flattening };
        assert_eq!(rig.kernel.groups.all[GROUP].state, state);
    }
    // Six of each are less than either can close, but one perpetual takes back both.
    let mut rig = without_rescue();
    rig.wait(1000);
    ended(&mut rig, &[(sells(PERPETUAL), Some(6)), (sells(FUTURE), Some(6)), refused]);
    assert_eq!(contained(&rig), [(EmergencyHedge, PERPETUAL, Side::Buy, 10)]);
}

#[test]
fn the_cause_leaves_a_minute_after_the_very_event_that_ended_containment() {
    let mut rig = without_rescue();
    half_filled(&mut rig, PAIR);
    let close = rig.sent().pop().expect("a close");
    rig.forget_sent();
    rig.pass(100);
    // The order's end first, the trade that it counts last: that one ends the group.
    let order = VenueOrder {
        order_id: OrderId(77),
        label: close.label.clone(),
        instrument: close.instrument,
        side: close.side,
        price: close.price,
        qty: close.qty,
        filled: close.qty,
        reduce_only: close.reduce_only,
        state: VenueState::Filled,
    };
    rig.tell(Event::OrderUpdated(order));
    let trade = OwnTrade {
        trade_id: TradeId(77),
        order_id: OrderId(77),
        label: close.label,
        instrument: close.instrument,
        side: close.side,
        price: close.price,
        qty: close.qty,
        at: rig.now,
    };
    let is_contained = |rig: &Rig| rig.kernel.active_causes().any(|(cause, _)| cause == Cause::GroupContainment);
    rig.tell(Event::OwnTraded(vec![trade]));
    assert_eq!(rig.kernel.groups.all[GROUP].state, GroupState::Flattened);
    rig.pass(59_999);
    assert!(is_contained(&rig));
    rig.pass(1);
    assert!(!is_contained(&rig));
}

#[test]
fn at_937_938_a_close_is_priced_by_the_book_then_the_ticker_then_not_at_all() {
    let ticks = |best: i64| Price(best * NANO - 5 * NANO / 2);
    // The ticker says something else than the book, to tell them apart.
    let other =
        Ticker { best_bid: Some(Price(99_900 * NANO)), best_ask: Some(Price(99_902 * NANO)), ..ticker(PERPETUAL) };
    let stranded = |book_age: i64, quoted: Ticker, ticker_age: i64| {
        let mut rig = Rig::active();
        rig.wait(1000);
        rig.market_data();
        rig.tell(group(GROUP, vec![leg(PERPETUAL, Side::Buy, 1000), leg(FUTURE, Side::Sell, 1000)]));
        let sent = rig.sent();
        rig.receive(&sent[0]);
        rig.fill(&sent[0].label, Qty(1000 * NANO));
        rig.forget_sent();
        rig.matching = |_| Match::Nothing;
        rig.withhold(Feed::Answers);
        rig.pass(book_age - ticker_age);
        rig.tell(Event::TickerReceived(quoted));
        rig.pass(ticker_age);
        rig.tell(Event::OrderRejected { label: sent[1].label.clone(), code: 11_029 });
        rig
    };
    let closes = |rig: &Rig| -> Vec<Price> {
        placed(rig).iter().filter(|order| order.class == IntentClass::EmergencyClose).map(|order| order.price).collect()
    };
    // At exactly the maximum age the book still counts; past it the ticker does.
    // A rescue needs the other book as well, which is as old.
    let mut rig = stranded(1000, other, 500);
    play_out(&mut rig);
    assert_eq!(closes(&rig)[0], ticks(99_999));
    let mut rig = stranded(1001, other, 1000);
    play_out(&mut rig);
    assert_eq!(closes(&rig)[0], ticks(99_900));
    // Without either: no order, no attempt used up, a book is asked for.
    let without = |best_bid| Ticker { best_bid, ..other };
    for (quoted, ticker_age) in [(other, 1001), (without(None), 500), (without(Some(Price(0))), 500)] {
        let mut rig = stranded(1001, quoted, ticker_age);
        play_out(&mut rig);
        assert_eq!(closes(&rig), []);
        assert_eq!(rig.refusals(), [RejectReason::EmergencyCloseNoPrice]);
        assert!(rig.noted(|note| *note == Note::EmergencyCloseNoPrice(PERPETUAL)) == 1);
        let asked = rig.asked.iter().find(|(_, (query, _))| *query == RestQuery::Book(PERPETUAL)).map(|(id, _)| *id);
        assert_eq!(rig.kernel.groups.all[GROUP].round.map(|round| round.closes), Some(0));
        rig.answer(asked.expect("a book is asked for"));
        assert_eq!(closes(&rig), [ticks(99_999)]);
    }
    // A missing and an unusable book are as good as an old one.
    let mut rig = without_rescue();
    half_filled(&mut rig, PAIR);
    assert_eq!(closes(&rig), [ticks(99_999)]);
}

// ---- Kill ----

/// What kills, and which reason says so.
type Killer = (fn(&mut Rig), M);

const KILLERS: [Killer; 6] = [
    (|rig| rig.tell(Event::MarginSampled(sample(950_000, rig.now))), M::KillMarginMmUtilCritical),
    (|rig| rig.tell(Event::OperatorCommanded(OperatorCommand::Kill)), M::KillRiskstateKill),
    (
        |rig| {
            let (primary, secondary) = (sample(920_000, rig.now), sample(920_000, rig.now));
            rig.tell(Event::DiskSampled { primary, secondary });
        },
        M::KillDiskWatermarkKill,
    ),
    (
        |rig| {
            for _ in 0..3 {
                rig.tell(Event::SocketClosed { socket: Socket::Private, cause: CloseCause::SessionEnded });
                rig.tell(Event::Authenticated);
            }
        },
        M::KillRateLimitSessionTermination,
    ),
    (
        |rig| {
            rig.withhold(Feed::Heartbeats);
            rig.withhold(Feed::Ticks);
            rig.wait(10_600);
        },
        M::KillWatchdogHeartbeatStale,
    ),
    (
        |rig| rig.tell(Event::TokenReported { subsystem: "s".into(), token: "NO_SUCH_TOKEN".into() }),
        M::KillCortexForceKill,
    ),
];

/// Asserts that an exposed account under Kill is closed by containment alone, and stands still only when flat.
#[track_caller]
fn closes_under_kill(mut rig: Rig, kill: fn(&mut Rig), reason: M) {
    rig.matching = |order| if order.class.is_containment() { Match::Nothing } else { Match::Rest };
    rig.market_data();
    kill(&mut rig);
    assert!(rig.status().mode_reasons.contains(&reason), "{:?}", rig.status().mode_reasons);
    assert_eq!(rig.status().trading_mode, TradingMode::Kill);
    let opens = |rig: &Rig| placed(rig).iter().filter(|order| order.class == IntentClass::Open).count();
    let before = opens(&rig);
    rig.market_data();
    play_out(&mut rig);
    let sent = classes(&rig);
    assert!(sent.contains(&IntentClass::EmergencyClose) && sent.contains(&IntentClass::EmergencyHedge), "{sent:?}");
    assert!(rig.kernel.is_exposed());
    let code = open_refusal(&mut rig);
    assert!(matches!(code, RejectReason::TradingModeForbids | RejectReason::OpenPermissionLatched), "{code:?}");
    // With exposure what reduces is legal; flat, nothing is.
    close_goes(&mut rig);
    rig.answer_all();
    rig.matching = |order| if order.class.is_containment() { Match::Fill } else { Match::Rest };
    for _ in 0..80 {
        rig.wait(100);
        rig.market_data();
    }
    assert!(!rig.kernel.is_exposed(), "{:?}", rig.kernel.orders.positions);
    assert_eq!(opens(&rig), before);
}

fn open_refusal(rig: &mut Rig) -> RejectReason {
    let before = rig.refusals().len();
    let id = format!("group{:07}", rig.seq);
    rig.tell(group(&id, vec![leg(PERPETUAL, Side::Buy, 500)]));
    rig.refusals()[before]
}

#[test]
fn at_338_208_302_339_346_347_1049_every_kill_closes_what_is_exposed() {
    for (kill, reason) in KILLERS {
        closes_under_kill(long(), kill, reason);
    }
}

#[test]
fn at_013_340_neither_bunker_nor_a_full_ledger_nor_a_lost_socket_stops_containment() {
    let kill: fn(&mut Rig) = |rig| rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
    let mut rig = long();
    rig.pass(2001);
    assert!(rig.status().bunker_mode_active);
    closes_under_kill(rig, kill, M::KillRiskstateKill);
    // The ledger refuses every record.
    let mut rig = long();
    rig.withhold(Feed::Writer);
    rig.kernel.core.config.wal_queue_capacity = 1;
    let mut bare = rig.kernel.clone();
    let mut effects = Vec::new();
    for command in [OperatorCommand::Kill, OperatorCommand::EmergencyReduceOnly] {
        rig.seq += 1;
        bare.apply(drillfold_kernel::units::Seq(rig.seq), rig.now, &Event::OperatorCommanded(command), &mut effects);
    }
    let sent = |effects: &[Effect]| {
        effects.iter().filter(|effect| matches!(effect, Effect::Place(order) if order.class.is_containment())).count()
    };
    assert_eq!(sent(&effects), 1);
    assert!(bare.status().is_some_and(|status| status.wal_queue_enqueue_failures > 0));
    // Without a private socket the way is REST.
    let mut rig = long();
    rig.tell(Event::SocketClosed { socket: Socket::Private, cause: CloseCause::Lost });
    kill(&mut rig);
    let routes: Vec<Route> = rig.sent().iter().map(|order| order.route).collect();
    assert_eq!(routes, [Route::Rest]);
}

#[test]
fn under_kill_nothing_goes_once_flat() {
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
    rig.market_data();
    let mut close = leg(PERPETUAL, Side::Sell, 500);
    close.reduce_only = Some(true);
    rig.tell(group(GROUP, vec![close]));
    assert_eq!((rig.sent(), rig.refusals()), (vec![], vec![RejectReason::TradingModeForbids]));
}

#[test]
fn another_round_begins_once_its_time_is_over() {
    let killed: fn(&mut Rig) = |rig| rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
    let failed: fn(&mut Rig) = |rig| half_filled(rig, PAIR);
    for begin in [killed, failed] {
        let mut rig = boots(|boot| boot.config.rescue_attempts_max = 0);
        rig.settle();
        rig.wait(1000);
        rig.market_data();
        rig.tell(group("group0000002", vec![leg(PERPETUAL, Side::Buy, 1000)]));
        let label = rig.sent()[0].label.clone();
        rig.answer_all();
        rig.fill(&label, Qty(1000 * NANO));
        rig.matching = |order| if order.class.is_containment() { Match::Nothing } else { Match::Rest };
        begin(&mut rig);
        play_out(&mut rig);
        assert_eq!(classes(&rig).len(), 4);
        rig.wait(4999);
        rig.market_data();
        assert_eq!(classes(&rig).len(), 4);
        rig.pass(1);
        assert_eq!(classes(&rig).len(), 5);
    }
}

#[test]
fn under_kill_each_underlying_closes_its_own_positions_of_the_sign_of_its_net_exposure() {
    use IntentClass::EmergencyClose;
    // The second instrument belongs to the same underlying or to another.
    let cases = [
        (0, [(PERPETUAL, Side::Buy, 1000), (FUTURE, Side::Sell, 400)], vec![(PERPETUAL, Side::Sell, 600)]),
        (0, [(PERPETUAL, Side::Buy, 400), (FUTURE, Side::Buy, 1000)], vec![(FUTURE, Side::Sell, 1000)]),
        (
            1,
            [(PERPETUAL, Side::Buy, 500), (FUTURE, Side::Buy, 1000)],
            vec![(PERPETUAL, Side::Sell, 500), (FUTURE, Side::Sell, 1000)],
        ),
        (
            1,
            [(PERPETUAL, Side::Buy, 1000), (FUTURE, Side::Sell, 400)],
            vec![(PERPETUAL, Side::Sell, 1000), (FUTURE, Side::Buy, 400)],
        ),
    ];
    for (underlying, positions, expected) in cases {
        let mut rig = boots(|boot| boot.instruments[1].underlying = UnderlyingId(underlying));
        rig.settle();
        rig.wait(1000);
        rig.market_data();
        for (place, (instrument, side, usd)) in positions.into_iter().enumerate() {
            rig.tell(group(&format!("group000000{place}"), vec![leg(instrument, side, usd)]));
            let label = rig.sent()[0].label.clone();
            rig.answer_all();
            rig.fill(&label, Qty(usd * NANO));
        }
        rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
        let expected: Vec<_> =
            expected.into_iter().map(|(instrument, side, usd)| (EmergencyClose, instrument, side, usd)).collect();
        assert_eq!(contained(&rig), expected, "{positions:?}");
    }
}

#[test]
fn under_kill_an_underlying_without_exposure_ends_no_group_of_another() {
    let mut rig = boots(|boot| {
        boot.instruments[1].underlying = UnderlyingId(1);
        boot.config.rescue_attempts_max = 0;
    });
    rig.settle();
    // Nothing is closed, so the first leg's underlying stays exposed; the second leg's never was.
    rig.matching = |order| if order.class.is_containment() { Match::Nothing } else { Match::Rest };
    half_filled(&mut rig, PAIR);
    rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
    rig.wait(5000);
    assert_eq!(rig.kernel.groups.all[GROUP].state, GroupState::Flattening);
    assert!(rig.kernel.is_exposed());
    // Once it is closed, the group ends.
    rig.matching = Match::usual;
    rig.wait(20_000);
    assert_eq!(rig.kernel.groups.all[GROUP].state, GroupState::Flattened);
    assert!(!rig.kernel.is_exposed());
}

#[test]
fn under_kill_the_smallest_tradable_amount_is_closed_and_less_is_left() {
    for (filled, closes) in [(10, 1), (9, 0)] {
        let mut rig = Rig::active();
        rig.wait(1000);
        ended(&mut rig, &[(leg(PERPETUAL, Side::Buy, 10), Some(filled))]);
        rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
        assert_eq!(contained(&rig), vec![(IntentClass::EmergencyClose, PERPETUAL, Side::Sell, 10); closes], "{filled}");
    }
}

#[test]
fn rounds_under_kill_are_bounded_until_an_operators_word() {
    let mut rig = long();
    rig.matching = |order| if order.class.is_containment() { Match::Nothing } else { Match::Rest };
    rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
    rig.wait(80_000);
    let exhausted = |rig: &Rig| rig.noted(|note| matches!(note, Note::RoundsExhausted(_)));
    assert_eq!(exhausted(&rig), 1);
    // Ten rounds of three closes and a hedge.
    assert_eq!(classes(&rig).len(), 40);
    rig.wait(60_000);
    assert_eq!((classes(&rig).len(), exhausted(&rig)), (40, 1));
    let named = rig.all.iter().rev().find_map(|(_, effect)| match effect {
        Effect::Note(Note::RoundsExhausted(id)) => Some(id.clone()),
        _ => None,
    });
    let group_id = named.expect("it names the last order's group");
    rig.tell(Event::OperatorCommanded(OperatorCommand::ResumeContainment { group_id }));
    rig.wait(2000);
    assert_eq!(classes(&rig).len(), 44);
}

#[test]
fn a_mixed_group_under_kill_ends_with_its_event() {
    let mut rig = Rig::active();
    rig.matching = |order| if order.class.is_containment() { Match::Nothing } else { Match::Rest };
    mixed_fill(&mut rig);
    rig.mm_util = Ppm(PPM);
    rig.samples();
    rig.matching = Match::usual;
    rig.wait(10_000);
    assert!(rig.kernel.total_exposure() < NANO / 1000);
    assert_eq!(rig.status().atomic_naked_events_24h, 1);
}
