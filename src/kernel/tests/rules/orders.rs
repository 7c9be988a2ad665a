//! Intents, their orders, cancels and replacements, the sweeper, crashes and the limiter: one test a rule, both sides of
//! every limit.
//!
//! Source: kernel contract sections 1, 3, 5, 6 and 8.

use drillfold_kernel::{
    effect::{CancelReason, CorrectiveAction, Effect, Note, OrderRequest, RestQuery, Route, RunFailure},
    event::{
        Action, Channel, CloseCause, EdgeInputs, Event, GroupProposal, GroupState, IntentClass, LedgerRecord,
        LegProposal, OperatorCommand, OwnTrade, RestAnswer, Socket, TimeInForce, TlsmState, VenueOrder, VenueState,
    },
    registry::{ModeReason as M, OpenPermissionReason as C, RejectReason, TradingMode},
    units::{IntentHash, NANO, OrderId, Price, Qty, RequestId, Side, TradeId},
};

use crate::{
    kernel_rules::{boots, ghost, group, leg, long, mixed_fill},
    rig::{FUTURE, Feed, Match, PERPETUAL, Rig, START},
};

const DEGRADED: M = M::ReduceonlyRiskstateDegraded;
const FORBIDDEN: RejectReason = RejectReason::RiskIncreasingCancelReplaceForbidden;

/// Something done to a rig.
type Change = fn(&mut Rig);

/// A reduce-only order that closes.
pub fn closing(side: Side, usd: i64) -> LegProposal {
    LegProposal { action: Action::Close, reduce_only: Some(true), ..leg(PERPETUAL, side, usd) }
}

/// Everything placed so far.
pub fn placed(rig: &Rig) -> Vec<OrderRequest> {
    let order = |(_, effect): &(_, Effect)| match effect {
        Effect::Place(order) => Some((**order).clone()),
        _ => None,
    };
    rig.all.iter().filter_map(order).collect()
}

/// Reasons of the cancels that the last event asked for.
pub fn cancels(rig: &Rig) -> Vec<CancelReason> {
    let why = |effect: &Effect| match effect {
        Effect::Cancel(cancel) => Some(cancel.why),
        _ => None,
    };
    rig.effects.iter().filter_map(why).collect()
}

/// Corrective actions so far.
pub fn corrected(rig: &Rig, wanted: CorrectiveAction) -> usize {
    rig.noted(|note| matches!(note, Note::Corrected { action, .. } if *action == wanted))
}

/// State of an intent.
fn state(rig: &Rig, intent: IntentHash) -> TlsmState {
    rig.kernel.orders.intents[&intent].state
}

/// The strategy proposes a group of its own for each leg; what it sent.
fn propose(rig: &mut Rig, proposed: LegProposal) -> Option<OrderRequest> {
    let id = format!("group{:07}", rig.seq);
    let before = placed(rig).len();
    rig.tell(group(&id, vec![proposed]));
    placed(rig).get(before).cloned()
}

/// Proposes an OPEN that must be refused with a code, before anything is sent or recorded.
#[track_caller]
pub fn open_refused(rig: &mut Rig, code: RejectReason) {
    let before = rig.refusals().len();
    let sent = propose(rig, leg(PERPETUAL, Side::Buy, 500));
    assert_eq!(sent, None);
    assert_eq!(rig.refusals()[before..], [code]);
    assert!(!rig.effects.iter().any(|effect| matches!(effect, Effect::Enqueue(_))));
}

/// Proposes an OPEN that must go out.
#[track_caller]
pub fn opens_go(rig: &mut Rig) {
    let sent = propose(rig, leg(PERPETUAL, Side::Buy, 10));
    assert!(sent.is_some_and(|order| order.class == IntentClass::Open), "{:?}", rig.effects);
}

/// Proposes an OPEN that must be refused with a code and a close that must go out.
#[track_caller]
pub fn reduces_only(rig: &mut Rig, code: RejectReason) {
    open_refused(rig, code);
    close_goes(rig);
}

/// Proposes a close of a long position that must go out.
#[track_caller]
pub fn close_goes(rig: &mut Rig) -> OrderRequest {
    rig.market_data();
    let sent = propose(rig, closing(Side::Sell, 10)).expect("a close always goes");
    assert!(sent.reduce_only);
    sent
}

/// The venue has an order that the kernel has not heard of since it sent it.
fn at_venue(rig: &mut Rig, order: &OrderRequest, filled: Qty, state: VenueState) -> VenueOrder {
    let known = VenueOrder {
        order_id: OrderId(rig.orders.len() as u64 + 1),
        label: order.label.clone(),
        instrument: order.instrument,
        side: order.side,
        price: order.price,
        qty: order.qty,
        filled,
        reduce_only: order.reduce_only,
        state,
    };
    rig.orders.push(known.clone());
    if !filled.is_zero() {
        let trade = trade_of(rig, &known, filled);
        rig.own_trades.push(trade);
    }
    known
}

fn trade_of(rig: &Rig, order: &VenueOrder, qty: Qty) -> OwnTrade {
    OwnTrade {
        trade_id: TradeId(900_000 + rig.own_trades.len() as u64),
        order_id: order.order_id,
        label: order.label.clone(),
        instrument: order.instrument,
        side: order.side,
        price: order.price,
        qty,
        at: rig.now,
    }
}

/// A rig with one OPEN of 1000 USD sent, of which the kernel hears nothing more.
fn sent_one() -> (Rig, OrderRequest) {
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.market_data();
    let order = propose(&mut rig, leg(PERPETUAL, Side::Buy, 1000)).expect("it was sent");
    rig.forget_sent();
    (rig, order)
}

// ---- classification ----

#[test]
fn at_110_201_what_is_not_provably_reducing_is_an_open() {
    let blocks: [(Change, RejectReason); 2] = [
        (|rig| rig.change_after_gap(FUTURE, 1), RejectReason::OpenPermissionLatched),
        (|rig| rig.tell(Event::CertificateRead(None)), RejectReason::TradingModeForbids),
    ];
    for (block, code) in blocks {
        let mut rig = long();
        block(&mut rig);
        for action in [Action::Place, Action::Close, Action::Hedge, Action::Unknown] {
            for reduce_only in [None, Some(false), Some(true)] {
                rig.market_data();
                let reduces = reduce_only == Some(true) && action != Action::Unknown;
                let before = rig.refusals().len();
                let proposed = LegProposal { action, reduce_only, ..leg(PERPETUAL, Side::Sell, 10) };
                let sent = propose(&mut rig, proposed);
                assert_eq!(sent.is_some(), reduces, "{action:?} {reduce_only:?}");
                assert_eq!(rig.refusals().len() > before, !reduces);
                assert!(reduces || rig.refusals().last() == Some(&code), "{action:?} {reduce_only:?}");
                let class = if action == Action::Hedge { IntentClass::Hedge } else { IntentClass::Close };
                assert!(sent.is_none_or(|order| order.class == class && order.reduce_only));
            }
        }
    }
}

// ---- cancel and replace ----

/// Long 1000, a reduce-only close of 500 and an OPEN of 500 resting; their intents in this order.
fn with_resting_orders() -> (Rig, OrderRequest, OrderRequest) {
    let mut rig = long();
    rig.matching = |_| Match::Rest;
    let protective = propose(&mut rig, closing(Side::Sell, 500)).expect("sent");
    let open = propose(&mut rig, leg(PERPETUAL, Side::Buy, 500)).expect("sent");
    rig.answer_all();
    rig.market_data();
    (rig, protective, open)
}

fn replace(rig: &mut Rig, old: &OrderRequest, by: LegProposal) {
    let replacement = GroupProposal {
        strategy_id: "strategy".into(),
        group_id: format!("group{:07}", rig.seq),
        structure_fingerprint: 7,
        edge: EdgeInputs::net(Some(10_000)),
        legs: vec![by],
    };
    rig.tell(Event::ReplaceProposed { intent: old.intent, replacement });
}

#[test]
fn at_010_119_120_401_402_what_raises_exposure_is_refused_and_the_rest_passes() {
    let guards: [Change; 5] = [
        |rig| rig.change_after_gap(FUTURE, 1),
        |rig| rig.trade_after_gap(FUTURE, 1),
        |rig| {
            rig.pass(2001);
            assert!(rig.status().bunker_mode_active);
        },
        |rig| rig.tell(Event::ClockDriftSampled { drift_ms: None }),
        |rig| {
            let ledger = rig.ledger();
            rig.restart(100, |boot| boot.ledger = ledger);
            rig.latched(&[C::RestartReconcileRequired]);
            rig.tell(Event::Subscribed);
            rig.snapshot(PERPETUAL);
            rig.snapshot(FUTURE);
        },
    ];
    for guard in guards {
        let ready = || {
            let (mut rig, protective, open) = with_resting_orders();
            guard(&mut rig);
            rig.forget_sent();
            (rig, protective, open)
        };
        // What would leave more exposure, lie further in its direction, or drop protection.
        let refused: [(bool, LegProposal); 6] = [
            (true, closing(Side::Sell, 490)),
            (true, leg(PERPETUAL, Side::Sell, 500)),
            (true, LegProposal { instrument: FUTURE, ..closing(Side::Sell, 500) }),
            (false, leg(PERPETUAL, Side::Buy, 510)),
            (false, leg(FUTURE, Side::Buy, 10)),
            (false, leg(PERPETUAL, Side::Sell, 2510)),
        ];
        for (of_protective, by) in refused {
            let (mut rig, protective, open) = ready();
            let before = rig.refusals().len();
            replace(&mut rig, if of_protective { &protective } else { &open }, by.clone());
            assert_eq!(rig.refusals()[before..], [FORBIDDEN], "{by:?}");
            assert_eq!((cancels(&rig), rig.sent()), (vec![], vec![]), "{by:?}");
        }
        // Dropping a protective order.
        let (mut rig, protective, open) = ready();
        rig.tell(Event::CancelProposed { intent: protective.intent });
        assert_eq!((rig.refusals().last(), cancels(&rig)), (Some(&FORBIDDEN), vec![]));
        // What harms nothing: the same protection at another price, and a plain cancel.
        let by = LegProposal { price: Price(99_990 * NANO), ..closing(Side::Sell, 500) };
        replace(&mut rig, &protective, by);
        assert_eq!(cancels(&rig), [CancelReason::Strategy]);
        rig.tell(Event::CancelProposed { intent: open.intent });
        assert_eq!(cancels(&rig), [CancelReason::Strategy]);
        let (mut rig, _, open) = ready();
        replace(&mut rig, &open, leg(PERPETUAL, Side::Buy, 500));
        assert_eq!(cancels(&rig), [CancelReason::Strategy]);
        // A close passes all the while, an OPEN does not.
        close_goes(&mut rig);
        let before = rig.refusals().len();
        assert_eq!(propose(&mut rig, leg(PERPETUAL, Side::Buy, 10)), None);
        assert_eq!(rig.refusals().len(), before + 1);
    }
}

#[test]
fn a_cancel_passes_unless_under_kill_with_nothing_left() {
    // Under Kill an order that rests can be cancelled.
    let (mut rig, _, open) = with_resting_orders();
    rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
    rig.forget_sent();
    let refused = rig.refusals().len();
    rig.tell(Event::CancelProposed { intent: open.intent });
    assert_eq!((cancels(&rig), rig.refusals().len()), (vec![CancelReason::Strategy], refused));
    // Nothing is left: it is refused under Kill and there alone.
    let (mut rig, order) = sent_one();
    at_venue(&mut rig, &order, Qty::ZERO, VenueState::Open);
    rig.cancel(&order.label);
    assert!(rig.kernel.is_flat());
    rig.tell(Event::CancelProposed { intent: order.intent });
    assert_eq!((cancels(&rig), rig.refusals()), (vec![], vec![]));
    rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
    rig.tell(Event::CancelProposed { intent: order.intent });
    assert_eq!((cancels(&rig), rig.refusals()), (vec![], vec![RejectReason::TradingModeForbids]));
}

#[test]
fn nothing_is_cancelled_that_has_ended_or_was_never_sent() {
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.market_data();
    let order = propose(&mut rig, leg(PERPETUAL, Side::Buy, 1000)).expect("it was sent");
    rig.answer_all();
    rig.fill(&order.label, Qty(1000 * NANO));
    rig.tell(Event::CancelProposed { intent: order.intent });
    assert_eq!((state(&rig, order.intent), cancels(&rig)), (TlsmState::Filled, vec![]));
    let (mut rig, order) = sent_one();
    let ledger = cut(&rig.ledger(), step_to(TlsmState::Sent));
    rig.restart(1000, |boot| boot.ledger = ledger);
    rig.tell(Event::CancelProposed { intent: order.intent });
    assert_eq!((state(&rig, order.intent), cancels(&rig)), (TlsmState::Created, vec![]));
}

#[test]
fn at_402_a_replacement_waits_for_the_cancel_and_then_passes_every_gate() {
    // With nothing wrong the larger order is allowed: cancel now, the new order once the old one has ended.
    let (mut rig, _, open) = with_resting_orders();
    replace(&mut rig, &open, leg(PERPETUAL, Side::Buy, 510));
    assert_eq!((cancels(&rig), rig.sent().len()), (vec![CancelReason::Strategy], 0));
    // A second one for the same order is none.
    replace(&mut rig, &open, leg(PERPETUAL, Side::Buy, 520));
    assert_eq!(rig.refusals().last(), Some(&RejectReason::DuplicateIntent));
    // The cancel is not repeated before the time-out, and then it is.
    rig.forget_sent();
    rig.pass(1999);
    assert_eq!(cancels(&rig), []);
    rig.pass(1);
    assert_eq!(cancels(&rig), [CancelReason::Strategy]);
    rig.market_data();
    rig.answer_all();
    let last = placed(&rig).last().cloned().expect("the new order");
    assert_eq!((last.qty, state(&rig, open.intent)), (Qty(510 * NANO), TlsmState::Canceled));
    // The gates of the moment in which it would go out decide: here the book is too old by then.
    let (mut rig, _, open) = with_resting_orders();
    replace(&mut rig, &open, leg(PERPETUAL, Side::Buy, 510));
    let before = placed(&rig).len();
    rig.pass(1001);
    rig.cancel(&open.label);
    assert_eq!((placed(&rig).len(), rig.refusals().last()), (before, Some(&RejectReason::LiquidityGateNoL2)));
    // The old order filled first: both together would be more than either.
    let (mut rig, _, open) = with_resting_orders();
    replace(&mut rig, &open, leg(PERPETUAL, Side::Buy, 510));
    let before = placed(&rig).len();
    rig.fill(&open.label, Qty(10 * NANO));
    rig.cancel(&open.label);
    assert_eq!((placed(&rig).len(), rig.refusals().last()), (before, Some(&FORBIDDEN)));
    // What has ended can't be replaced.
    replace(&mut rig, &open, leg(PERPETUAL, Side::Buy, 500));
    assert_eq!(rig.refusals().last(), Some(&RejectReason::DuplicateIntent));
}

#[test]
fn at_931_a_mode_that_turns_before_the_dispatch_stops_it() {
    let turns: [(Change, RejectReason); 3] = [
        (|rig| rig.tell(Event::CertificateRead(None)), RejectReason::TradingModeForbids),
        (|rig| rig.tell(Event::OperatorCommanded(OperatorCommand::Kill)), RejectReason::TradingModeForbids),
        (|rig| rig.change_after_gap(FUTURE, 1), RejectReason::OpenPermissionLatched),
    ];
    for (turn, code) in turns {
        let (mut rig, _, open) = with_resting_orders();
        replace(&mut rig, &open, leg(PERPETUAL, Side::Buy, 500));
        turn(&mut rig);
        rig.forget_sent();
        let opens = |rig: &Rig| placed(rig).iter().filter(|order| order.class == IntentClass::Open).count();
        let before = opens(&rig);
        rig.cancel(&open.label);
        assert_eq!((opens(&rig), rig.refusals().last()), (before, Some(&code)));
    }
    // Within one event: the first leg's refused record turns the mode before the second goes.
    let mut rig = boots(|boot| boot.config.wal_queue_capacity = 3);
    rig.settle();
    rig.wait(1000);
    rig.market_data();
    rig.tell(group("group0000001", vec![leg(PERPETUAL, Side::Buy, 500), leg(FUTURE, Side::Sell, 500)]));
    assert_eq!(rig.sent().iter().filter(|order| order.class == IntentClass::Open).count(), 1);
    assert_eq!(rig.refusals(), [RejectReason::RecordedBeforeDispatchFailed]);
    rig.shows(&[DEGRADED]);
    open_refused(&mut rig, RejectReason::TradingModeForbids);
}

#[test]
fn at_1065_a_batch_a_tick_until_none_is_left() {
    let mut rig = long();
    rig.matching = |_| Match::Rest;
    let kept = propose(&mut rig, closing(Side::Sell, 500)).expect("sent");
    for _ in 0..101 {
        propose(&mut rig, leg(PERPETUAL, Side::Buy, 10)).expect("sent");
    }
    rig.answer_all();
    rig.withhold(Feed::Venue);
    rig.tell(Event::ClockDriftSampled { drift_ms: None });
    assert_eq!(cancels(&rig), []);
    let at = rig.now;
    for expected in [50, 50, 1, 0] {
        rig.tell(Event::LoopTicked);
        // The batch takes none of the time that the budget allows.
        assert_eq!(rig.now, at);
        assert_eq!(cancels(&rig), vec![CancelReason::ModeNotActive; expected]);
        open_refused(&mut rig, RejectReason::TradingModeForbids);
    }
    rig.resume(Feed::Venue);
    rig.answer_all();
    let open: Vec<&str> =
        rig.orders.iter().filter(|order| order.state == VenueState::Open).map(|order| order.label.as_str()).collect();
    assert_eq!(open, [kept.label.as_str()]);
}

#[test]
fn at_203_237_the_emergency_cancels_opens_and_keeps_what_reduces() {
    let (mut rig, protective, open) = with_resting_orders();
    let hedge = LegProposal { action: Action::Hedge, ..closing(Side::Sell, 200) };
    let hedge = propose(&mut rig, hedge).expect("sent");
    rig.answer_all();
    rig.withhold(Feed::Heartbeats);
    rig.wait(4000);
    let of = |rig: &Rig, order: &OrderRequest| state(rig, order.intent);
    assert_eq!(of(&rig, &open), TlsmState::Acked);
    rig.wait(3000);
    rig.shows(&[M::ReduceonlyEmergencyReduceonlyActive]);
    assert_eq!(of(&rig, &open), TlsmState::Canceled);
    assert_eq!((of(&rig, &protective), of(&rig, &hedge)), (TlsmState::Acked, TlsmState::Acked));
}

// ---- identity ----

#[test]
fn at_343_a_hash_depends_on_content_and_never_on_time() {
    let sent = |wait_ms: i64, proposed: LegProposal| {
        let mut rig = Rig::active();
        rig.wait(1000 + wait_ms);
        rig.market_data();
        rig.tell(group("group0000001", vec![proposed]));
        rig.sent()[0].clone()
    };
    let base = leg(PERPETUAL, Side::Buy, 500);
    let first = sent(0, base.clone());
    let later = sent(7300, base.clone());
    assert_eq!((first.intent, &first.label), (later.intent, &later.label));
    // Raw values that quantise alike are alike.
    let raw = LegProposal { qty: Qty(509 * NANO), ..base.clone() };
    assert_eq!(sent(0, raw).intent, first.intent);
    for other in [
        leg(PERPETUAL, Side::Buy, 510),
        leg(PERPETUAL, Side::Sell, 500),
        leg(FUTURE, Side::Buy, 500),
        LegProposal { price: Price(100_000 * NANO), ..base },
    ] {
        assert_ne!(sent(0, other).intent, first.intent);
    }
}

#[test]
fn at_041_a_label_of_64_characters_goes_and_one_of_65_is_refused() {
    // "s4:" + "strategy" + ":" + group + ":0:" + 16 digits.
    for (length, goes) in [(33, true), (34, false)] {
        let mut rig = Rig::active();
        rig.wait(1000);
        rig.market_data();
        rig.tell(group(&"g".repeat(length), vec![leg(PERPETUAL, Side::Buy, 500)]));
        let labels: Vec<usize> = rig.sent().iter().map(|order| order.label.len()).collect();
        assert_eq!(labels, if goes { vec![64] } else { vec![] });
        assert_eq!(rig.refusals(), if goes { vec![] } else { vec![RejectReason::LabelTooLong] });
        rig.shows(if goes { &[] } else { &[DEGRADED] });
    }
}

#[test]
fn at_217_a_shared_label_is_told_apart_by_hash_then_instrument_side_and_amount() {
    let (rig, order) = sent_one();
    let Some(LedgerRecord::Intent(record)) =
        rig.ledger().into_iter().find(|record| matches!(record, LedgerRecord::Intent(_)))
    else {
        panic!("the intent was recorded")
    };
    let (hash_b, at) = (IntentHash(0xbb), rig.now);
    // A second intent of the same group and leg, which differs in exactly one respect.
    let others: [fn(&mut drillfold_kernel::event::IntentRecord); 3] =
        [|other| other.instrument = FUTURE, |other| other.side = Side::Sell, |other| other.qty = Qty(600 * NANO)];
    let booted = |other: &drillfold_kernel::event::IntentRecord| {
        let mut ledger = rig.ledger();
        ledger.push(LedgerRecord::Intent(Box::new(other.clone())));
        ledger.push(LedgerRecord::Transition { intent: hash_b, state: TlsmState::Sent, order_id: None, at });
        let mut rig = boots(|boot| boot.ledger = ledger);
        rig.tell(Event::Subscribed);
        rig
    };
    let reported = |of: &drillfold_kernel::event::IntentRecord, hash: u64| VenueOrder {
        order_id: OrderId(5),
        label: format!("{}:{hash:016x}", order.label.rsplit_once(':').expect("a label").0),
        instrument: of.instrument,
        side: of.side,
        price: of.price,
        qty: of.qty,
        filled: Qty::ZERO,
        reduce_only: false,
        state: VenueState::Open,
    };
    for change in others {
        let mut other = (*record).clone();
        other.intent = hash_b;
        other.label = order.label.replace(&format!("{:016x}", record.intent.0), &format!("{:016x}", hash_b.0));
        change(&mut other);
        // The hash decides before anything else: it names A although everything else is B's.
        let mut rig = booted(&other);
        rig.tell(Event::OrderUpdated(reported(&other, record.intent.0)));
        assert_eq!((state(&rig, record.intent), state(&rig, hash_b)), (TlsmState::Acked, TlsmState::Sent));
        // A hash that neither has: the respect in which they differ decides.
        for (of, acked) in [(&*record, record.intent), (&other, hash_b)] {
            let mut rig = booted(&other);
            rig.tell(Event::OrderUpdated(reported(of, 0xcc)));
            let waiting = if acked == hash_b { record.intent } else { hash_b };
            assert_eq!((state(&rig, acked), state(&rig, waiting)), (TlsmState::Acked, TlsmState::Sent));
            assert!(!rig.status().mode_reasons.contains(&DEGRADED));
        }
    }
    // Nothing tells them apart: Degraded, no OPEN, and a run is asked for.
    let mut other = (*record).clone();
    (other.intent, other.qty) = (hash_b, Qty(600 * NANO));
    other.label = format!("{}:{:016x}", order.label.rsplit_once(':').expect("a label").0, hash_b.0);
    let mut rig = booted(&other);
    rig.wait(100);
    let mut neither = reported(&other, 0xcc);
    neither.qty = Qty(700 * NANO);
    rig.tell(Event::OrderUpdated(neither));
    assert!(rig.status().mode_reasons.contains(&DEGRADED));
    assert_eq!((state(&rig, record.intent), state(&rig, hash_b)), (TlsmState::Sent, TlsmState::Sent));
    assert!(rig.kernel.session.reconcile.wanted || rig.kernel.session.reconcile.run.is_some());
    open_refused(&mut rig, RejectReason::OpenPermissionLatched);
}

#[test]
fn at_928_a_known_hash_is_a_no_op() {
    let (mut rig, order) = sent_one();
    let again = group(order.label.split(':').nth(2).expect("a group"), vec![leg(PERPETUAL, Side::Buy, 1000)]);
    let ledger = rig.ledger().len();
    rig.tell(again.clone());
    assert_eq!((rig.sent().len(), rig.ledger().len()), (0, ledger));
    assert_eq!(rig.refusals(), [RejectReason::DuplicateIntent]);
    // After a restart as well, from the ledger.
    at_venue(&mut rig, &order, Qty::ZERO, VenueState::Open);
    let records = rig.ledger();
    rig.restart(1000, |boot| boot.ledger = records);
    rig.settle();
    rig.market_data();
    let (before, ledger) = (placed(&rig).len(), rig.ledger().len());
    rig.tell(again);
    assert_eq!((placed(&rig).len(), rig.ledger().len()), (before, ledger));
    assert_eq!(rig.refusals().last(), Some(&RejectReason::DuplicateIntent));
}

#[test]
fn a_known_group_or_ghost_is_a_duplicate_as_much_as_a_known_intent() {
    // Another order under the id of a known group.
    let (mut rig, order) = sent_one();
    let group_id = order.label.split(':').nth(2).expect("a group").to_owned();
    rig.tell(group(&group_id, vec![leg(PERPETUAL, Side::Buy, 990)]));
    assert_eq!((rig.sent(), rig.refusals()), (vec![], vec![RejectReason::DuplicateIntent]));
    // The venue still has what no ledger tells of: it is a ghost, and the same intent is none.
    at_venue(&mut rig, &order, Qty::ZERO, VenueState::Open);
    rig.restart(1000, |_| ());
    rig.settle();
    rig.market_data();
    assert!(rig.kernel.orders.ghosts.contains_key(&order.intent) && rig.kernel.orders.intents.is_empty());
    let before = (placed(&rig).len(), rig.refusals().len());
    rig.tell(group(&group_id, vec![leg(PERPETUAL, Side::Buy, 1000)]));
    assert_eq!((placed(&rig).len(), &rig.refusals()[before.1..]), (before.0, &[RejectReason::DuplicateIntent][..]));
}

#[test]
fn a_ghost_is_remembered_for_twice_the_look_back() {
    let (mut rig, order) = sent_one();
    at_venue(&mut rig, &order, Qty::ZERO, VenueState::Open);
    rig.restart(1000, |boot| boot.config.reconcile_trade_lookback_sec = 100);
    rig.settle();
    let seen_at = *rig.kernel.orders.ghosts.get(&order.intent).expect("a ghost");
    // What is old is looked for every 1,024 events.
    let rounds = |rig: &Rig| rig.kernel.core.stamp.seq.0 / 1024;
    let first = rounds(&rig);
    while rounds(&rig) == first {
        rig.wait(1000);
    }
    assert!(rig.now.since(seen_at) < 200_000 && rig.kernel.orders.ghosts.contains_key(&order.intent));
    rig.wait(200_000);
    let last = rounds(&rig);
    while rounds(&rig) == last {
        rig.wait(1000);
    }
    assert!(rig.kernel.orders.ghosts.is_empty());
}

#[test]
fn at_933_a_reconnect_sends_nothing_twice() {
    let (mut rig, order) = sent_one();
    at_venue(&mut rig, &order, Qty::ZERO, VenueState::Open);
    rig.tell(Event::SocketClosed { socket: Socket::Private, cause: CloseCause::Lost });
    // Its order may stand: only OPENs are cancelled while the session is gone, so none is withheld from the count.
    rig.withhold(Feed::Venue);
    rig.wait(10_000);
    assert_eq!(state(&rig, order.intent), TlsmState::Acked);
    assert_eq!(placed(&rig).len(), 1);
    assert_eq!(rig.noted(|note| matches!(note, Note::GhostOrderCanceled(_))), 0);
}

// ---- reconciliation of orders and trades ----

#[test]
fn at_210_121_a_fill_without_acknowledgement_is_found_and_applied() {
    for (filled, end) in [(1000, VenueState::Filled), (400, VenueState::Open)] {
        let (mut rig, order) = sent_one();
        at_venue(&mut rig, &order, Qty(filled * NANO), end);
        rig.wait(7000);
        let expected = if filled == 1000 { TlsmState::Filled } else { TlsmState::PartiallyFilled };
        assert_eq!(state(&rig, order.intent), expected);
        assert_eq!(rig.kernel.orders.intents[&order.intent].filled, Qty(filled * NANO));
        assert_eq!(placed(&rig).len(), 1);
        // The group ends with its leg; what is partly filled goes on.
        let group_id = order.label.split(':').nth(2).expect("a group");
        assert_eq!(rig.kernel.groups.all[group_id].ended_at.is_some(), filled == 1000);
    }
}

#[test]
fn at_269_121_a_trade_seen_over_rest_is_dropped_when_the_socket_brings_it() {
    let (mut rig, order) = sent_one();
    at_venue(&mut rig, &order, Qty(1000 * NANO), VenueState::Filled);
    rig.wait(7000);
    assert_eq!(rig.kernel.orders.positions[0], Qty(1000 * NANO));
    let late = rig.own_trades.clone();
    let ledger = rig.ledger().len();
    rig.tell(Event::OwnTraded(late));
    assert_eq!(rig.kernel.orders.positions[0], Qty(1000 * NANO));
    assert_eq!(rig.ledger().len(), ledger);
    assert!(rig.effects.contains(&Effect::Note(Note::DuplicateOwnTrade(order.intent))));
}

#[test]
fn at_270_an_own_trade_is_recorded_before_it_is_applied_and_once() {
    let (mut rig, order) = sent_one();
    let known = at_venue(&mut rig, &order, Qty::ZERO, VenueState::Open);
    let trade = trade_of(&rig, &known, Qty(1000 * NANO));
    rig.tell(Event::OwnTraded(vec![trade.clone()]));
    let place = |wanted: fn(&LedgerRecord) -> bool| {
        rig.effects.iter().position(|effect| matches!(effect, Effect::Enqueue(record) if wanted(record)))
    };
    let recorded = place(|record| matches!(record, LedgerRecord::OwnTrade { .. })).expect("recorded");
    let stepped = place(|record| matches!(record, LedgerRecord::Transition { state: TlsmState::Filled, .. }));
    assert!(Some(recorded) < stepped);
    rig.own_trades.push(trade.clone());
    for again in [vec![trade.clone()], vec![trade.clone(), trade]] {
        rig.tell(Event::OwnTraded(again));
        assert_eq!(rig.kernel.orders.positions[0], Qty(1000 * NANO));
        assert!(!rig.effects.iter().any(|effect| matches!(effect, Effect::Enqueue(_))));
    }
}

#[test]
fn at_270_a_trade_older_than_twice_the_look_back_leaves_memory_and_is_a_no_op_all_the_same() {
    for (age_ms, kept) in [(600_000, true), (600_001, false)] {
        let mut rig = long();
        let old = rig.own_trades[0].clone();
        rig.wait(1000);
        rig.market_data();
        let newer = propose(&mut rig, leg(PERPETUAL, Side::Buy, 500)).expect("it goes");
        rig.receive(&newer);
        rig.fill_open(&newer.label, newer.qty);
        let recent = rig.own_trades[1].clone();
        assert!(recent.at > old.at);
        // Memory is looked through every so many events.
        while !(rig.seq + 1).is_multiple_of(1024) {
            rig.pass(0);
        }
        rig.now = old.at.after(age_ms);
        rig.pass(0);
        let orders = &rig.kernel.orders;
        let known = |trade: &OwnTrade| orders.own_trades.contains_key(&trade.trade_id);
        let fill_known = |trade: &OwnTrade| orders.recent_fills.iter().any(|fill| fill.at == trade.at);
        let intent_known = |label: &str| orders.intents.values().any(|order| order.record.label == label);
        assert_eq!([known(&old), fill_known(&old), intent_known(&old.label)], [kept; 3], "{age_ms}");
        assert_eq!([known(&recent), fill_known(&recent), intent_known(&recent.label)], [true; 3], "{age_ms}");
        // Either comes again, which changes nothing; a trade unknown so far does, however little newer than the old one.
        for (trade, held) in [
            (old.clone(), 1500),
            (recent, 1500),
            (OwnTrade { trade_id: TradeId(77), label: "by-hand".into(), at: old.at.after(1), ..old }, 2500),
        ] {
            rig.tell(Event::OwnTraded(vec![trade]));
            assert_eq!(rig.kernel.orders.positions[0], Qty(held * NANO), "{age_ms}");
        }
    }
}

#[test]
fn at_305_positions_agree_on_either_side_of_a_fill_in_the_venues_own_millisecond() {
    // The venue shows no position; a fill of 1000 USD happened in this millisecond, or one before or after it.
    for (later_ms, agrees) in [(-1, true), (0, true), (1, false)] {
        let mut rig = long();
        let filled_at = rig.own_trades[0].at;
        rig.withhold(Feed::Answers);
        let request = loop {
            match rig.asked.iter().next().map(|(request, (query, _))| (*request, query.clone())) {
                Some((request, RestQuery::Positions)) => break request,
                Some((request, _)) => rig.answer(request),
                None => rig.wait(100),
            }
        };
        rig.asked.remove(&request);
        let venue_time = filled_at.after(later_ms);
        let answer = RestAnswer::Positions(Vec::new());
        rig.tell(Event::RestAnswered { request, venue_time, round_trip_ms: 20, answer });
        rig.resume(Feed::Answers);
        rig.wait(1000);
        let mismatches = rig.noted(|note| *note == Note::RunFailed(RunFailure::PositionMismatch));
        assert_eq!(mismatches == 0, agrees, "{later_ms}");
    }
}

/// Answers a run up to its question for own trades; how far back that reaches.
fn look_back_ms(rig: &mut Rig) -> i64 {
    rig.withhold(Feed::Answers);
    for _ in 0..100 {
        match rig.asked.iter().next().map(|(request, asked)| (*request, asked.clone())) {
            Some((_, (RestQuery::OwnTrades { since }, asked_at))) => return asked_at.since(since),
            Some((request, _)) => rig.answer(request),
            None => rig.wait(100),
        }
    }
    panic!("no run asks for own trades");
}

#[test]
fn at_306_own_trades_are_asked_for_over_the_look_back_and_a_missing_one_keeps_the_latch() {
    let mut rig = Rig::active();
    assert_eq!(look_back_ms(&mut rig), 300_000);
    // The first run of a boot goes back to the ledger's newest record, where that is older.
    for (down_ms, reaches_ms) in [(200_000, 300_000), (400_000, 400_000)] {
        let (mut rig, _) = sent_one();
        let ledger = rig.ledger();
        rig.restart(down_ms, |boot| boot.ledger = ledger);
        let started = rig.kernel.session.reconcile.last_started_at;
        rig.now = started;
        assert_eq!(look_back_ms(&mut rig), reaches_ms);
    }
    // The venue's position has a trade that its trades of the look-back lack.
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.change_after_gap(FUTURE, 1);
    rig.unexplained.insert(PERPETUAL, Qty(20 * NANO));
    rig.wait(60_000);
    rig.latched(&[C::WsBookGapReconcileRequired, C::InventoryMismatchReconcileRequired]);
    rig.unexplained.clear();
    rig.wait(10_000);
    rig.latched(&[]);
}

#[test]
fn positions_are_adopted_at_an_operator_s_word_with_an_incident_id() {
    let mut rig = long();
    rig.unexplained.insert(PERPETUAL, Qty(20 * NANO));
    rig.wait(10_000);
    rig.latched(&[C::InventoryMismatchReconcileRequired]);
    let adopt = |incident_id: &str| {
        Event::OperatorCommanded(OperatorCommand::AdoptPositions { incident_id: incident_id.into() })
    };
    let adopted = |rig: &Rig| -> Vec<LedgerRecord> {
        rig.ledger().into_iter().filter(|record| matches!(record, LedgerRecord::Adopted { .. })).collect()
    };
    // Without an incident nothing is adopted, however often a run fails.
    rig.tell(adopt(""));
    rig.wait(10_000);
    rig.latched(&[C::InventoryMismatchReconcileRequired]);
    assert_eq!((adopted(&rig), rig.kernel.orders.positions[0]), (vec![], Qty(1000 * NANO)));
    // With one, what differs is recorded and taken over, and the run that it asks for clears the code.
    let at = rig.now;
    rig.tell(adopt("INC-1"));
    let record =
        LedgerRecord::Adopted { instrument: PERPETUAL, qty: Qty(1020 * NANO), incident_id: "INC-1".into(), at };
    assert_eq!((adopted(&rig), rig.kernel.orders.positions[0]), (vec![record], Qty(1020 * NANO)));
    rig.wait(500);
    rig.latched(&[]);
}

#[test]
fn an_order_sent_in_the_event_that_starts_a_run_is_not_in_doubt() {
    let mut rig = Rig::active();
    let due = rig.kernel.session.reconcile.last_started_at.after(rig.boot.config.reconcile_interval_s * 1000);
    rig.wait(due.since(rig.now) - 1);
    rig.market_data();
    rig.now = due;
    let order = propose(&mut rig, leg(PERPETUAL, Side::Buy, 500)).expect("it was sent");
    let run = rig.kernel.session.reconcile.run.as_ref().expect("a run is due");
    assert_eq!(rig.kernel.orders.intents[&order.intent].sent, Some(run.started));
    // The venue has not heard of it when it answers.
    rig.forget_sent();
    rig.withhold(Feed::Venue);
    rig.wait(1000);
    assert_eq!(state(&rig, order.intent), TlsmState::Sent);
    // By the next run it has to be there.
    rig.wait(6000);
    assert_eq!(state(&rig, order.intent), TlsmState::Failed);
}

#[test]
fn at_230_a_fill_before_its_acknowledgement_is_taken_and_noted() {
    let (mut rig, order) = sent_one();
    let known = at_venue(&mut rig, &order, Qty::ZERO, VenueState::Open);
    let trade = trade_of(&rig, &known, Qty(1000 * NANO));
    rig.own_trades.push(trade.clone());
    rig.tell(Event::OwnTraded(vec![trade]));
    assert!(rig.effects.contains(&Effect::Note(Note::FillBeforeAck(order.intent))));
    let records = rig.ledger();
    assert!(records.iter().any(|record| matches!(record, LedgerRecord::OwnTrade { .. })));
    assert!(records.iter().any(|record| {
        matches!(record, LedgerRecord::Transition { intent, state: TlsmState::Filled, .. } if *intent == order.intent)
    }));
    rig.tell(Event::OrderUpdated(known));
    assert_eq!(state(&rig, order.intent), TlsmState::Filled);
    // In the usual order nothing is noted.
    let (mut rig, order) = sent_one();
    rig.receive(&order);
    rig.fill(&order.label, Qty(1000 * NANO));
    assert_eq!(rig.noted(|note| matches!(note, Note::FillBeforeAck(_))), 0);
    assert_eq!(state(&rig, order.intent), TlsmState::Filled);
}

// ---- sweeper ----

#[test]
fn at_122_329_a_ghost_is_cancelled_by_name_and_what_is_not_ours_is_left() {
    // Without the run of the timer the sweep looks all the same.
    let mut rig = boots(|boot| boot.config.reconcile_interval_s = 100_000);
    rig.settle();
    rig.wait(1000);
    let by_hand = VenueOrder { label: "by-hand".into(), order_id: OrderId(7_000_001), ..ghost() };
    rig.orders.extend([ghost(), by_hand]);
    assert_eq!(corrected(&rig, CorrectiveAction::CancelStaleOrder), 0);
    rig.wait(10_000);
    assert!(corrected(&rig, CorrectiveAction::CancelStaleOrder) > 0);
    assert!(rig.noted(|note| *note == Note::GhostOrderCanceled(OrderId(7_000_000))) > 0);
    // Not before the sweep: the timer of runs is far away.
    assert_eq!(rig.noted(|note| *note == Note::GhostOrderCanceled(OrderId(7_000_001))), 0);
    let open: Vec<&str> =
        rig.orders.iter().filter(|order| order.state == VenueState::Open).map(|order| &*order.label).collect();
    assert_eq!(open, ["by-hand"]);
    // The socket is lost right after a send: the order is gone from the venue, and the ledger says so, within 10 s.
    let (mut rig, order) = sent_one();
    at_venue(&mut rig, &order, Qty::ZERO, VenueState::Open);
    rig.tell(Event::SocketClosed { socket: Socket::Private, cause: CloseCause::Lost });
    rig.wait(10_000);
    assert_eq!(rig.orders[0].state, VenueState::Cancelled);
    assert_eq!(state(&rig, order.intent), TlsmState::Canceled);
}

#[test]
fn at_123_an_intent_known_nowhere_is_failed_after_trades_and_history() {
    let (mut rig, order) = sent_one();
    let at_send = rig.all.len();
    rig.wait(8000);
    assert_eq!(state(&rig, order.intent), TlsmState::Failed);
    let place = |wanted: &dyn Fn(&Effect) -> bool| {
        rig.all[at_send..].iter().position(|(_, effect)| wanted(effect)).expect("it happened")
    };
    let failed =
        place(&|effect| matches!(effect, Effect::Enqueue(LedgerRecord::Transition { state: TlsmState::Failed, .. })));
    let trades = place(&|effect| matches!(effect, Effect::Rest { query: RestQuery::OwnTrades { .. }, .. }));
    let history = place(
        &|effect| matches!(effect, Effect::Rest { query: RestQuery::OrderHistory { labels }, .. } if labels.contains(&order.label)),
    );
    assert!(trades < history && history < failed);
    rig.shows(&[]);
    // Known to the history alone it is what the history says; known to trades it is filled.
    for (filled, venue, expected) in
        [(0, VenueState::Cancelled, TlsmState::Canceled), (1000, VenueState::Filled, TlsmState::Filled)]
    {
        let (mut rig, order) = sent_one();
        at_venue(&mut rig, &order, Qty(filled * NANO), venue);
        rig.wait(8000);
        assert_eq!(state(&rig, order.intent), expected);
    }
}

/// A rig whose OPEN is exactly 30 s old, or `more` older, at its third sweep; just before that sweep.
fn before_third_sweep(more: i64) -> (Rig, OrderRequest) {
    before_third_sweep_of(more, leg(PERPETUAL, Side::Buy, 1000))
}

/// The same with this OPEN, which rests whatever it asks for.
fn before_third_sweep_of(more: i64, open: LegProposal) -> (Rig, OrderRequest) {
    let mut rig = Rig::active();
    while rig.now != rig.kernel.session.swept_at {
        rig.wait(100);
    }
    rig.wait(10_000 - more);
    rig.market_data();
    let order = propose(&mut rig, open).expect("sent");
    rig.matching = |_| Match::Rest;
    rig.answer_all();
    rig.matching = Match::usual;
    rig.wait(more);
    rig.wait(29_900);
    assert_eq!(state(&rig, order.intent), TlsmState::Acked);
    (rig, order)
}

#[test]
fn at_124_303_old_orders_are_cancelled_and_replaced_only_while_nothing_is_wrong() {
    for (more, cancelled) in [(0, false), (1, true)] {
        let (mut rig, order) = before_third_sweep(more);
        rig.market_data();
        let replaced =
            |rig: &Rig| placed(rig).iter().filter(|sent| sent.time_in_force == TimeInForce::ImmediateOrCancel).count();
        rig.matching = |order| match order.time_in_force {
            TimeInForce::ImmediateOrCancel => Match::Nothing,
            TimeInForce::GoodTilCancelled => Match::Rest,
        };
        rig.wait(100);
        rig.wait(200);
        let expected = if cancelled { TlsmState::Canceled } else { TlsmState::Acked };
        assert_eq!(state(&rig, order.intent), expected);
        assert_eq!(corrected(&rig, CorrectiveAction::CancelStaleOrder), usize::from(cancelled));
        assert_eq!(
            (corrected(&rig, CorrectiveAction::ReplaceIoc), replaced(&rig)),
            (usize::from(cancelled), usize::from(cancelled))
        );
        // The next sweep has the younger one too.
        rig.wait(10_000);
        assert_eq!(state(&rig, order.intent), TlsmState::Canceled);
    }
    // A replaced order stands in for what is left, at its own limit; less a tick (half a USD) for the inventory that it adds to.
    let (mut rig, order) = before_third_sweep(1);
    rig.fill(&order.label, Qty(400 * NANO));
    rig.market_data();
    rig.wait(300);
    let stand_in = placed(&rig).last().cloned().expect("the replacement");
    let limit = order.price.minus(Price(NANO / 2));
    assert_eq!((stand_in.qty, stand_in.price), (Qty(600 * NANO), limit));
    assert_eq!((stand_in.time_in_force, stand_in.class), (TimeInForce::ImmediateOrCancel, IntentClass::Open));
    // Of one that fills while its cancel is on its way nothing is left to replace.
    let (mut rig, order) = before_third_sweep(1);
    rig.withhold(Feed::Venue);
    rig.market_data();
    rig.wait(100);
    assert_eq!(corrected(&rig, CorrectiveAction::CancelStaleOrder), 1);
    rig.fill(&order.label, Qty(1000 * NANO));
    rig.wait(300);
    assert_eq!((corrected(&rig, CorrectiveAction::ReplaceIoc), rig.refusals()), (0, vec![]));
    // Degraded, latched or not Active: cancelled all the same, never replaced.
    let wrongs: [Change; 3] = [
        |rig| rig.tell(Event::ClockDriftSampled { drift_ms: Some(51) }),
        |rig| rig.change_after_gap(FUTURE, 1),
        |rig| rig.tell(Event::CertificateRead(None)),
    ];
    for wrong in wrongs {
        let (mut rig, order) = before_third_sweep(1);
        rig.withhold(Feed::Certificate);
        rig.market_data();
        wrong(&mut rig);
        rig.wait(300);
        assert_eq!(state(&rig, order.intent), TlsmState::Canceled);
        rig.wait(20_000);
        assert_eq!((corrected(&rig, CorrectiveAction::ReplaceIoc), placed(&rig).len()), (0, 1));
    }
    // One that is to be replaced already is replaced by that, not by what is left of it.
    let (mut rig, order) = before_third_sweep(1);
    rig.withhold(Feed::Venue);
    replace(&mut rig, &order, leg(PERPETUAL, Side::Buy, 510));
    rig.market_data();
    rig.wait(100);
    assert_eq!(corrected(&rig, CorrectiveAction::CancelStaleOrder), 1);
    rig.cancel(&order.label);
    let stand_in = placed(&rig).last().cloned().expect("the replacement");
    assert_eq!((stand_in.qty, stand_in.time_in_force), (Qty(510 * NANO), TimeInForce::GoodTilCancelled));
    // A reduce-only order as old stays.
    let mut rig = long();
    rig.matching = |_| Match::Rest;
    let kept = propose(&mut rig, closing(Side::Sell, 500)).expect("sent");
    rig.wait(50_000);
    assert_eq!(state(&rig, kept.intent), TlsmState::Acked);
}

#[test]
fn an_immediate_order_that_hangs_is_cancelled_and_not_replaced() {
    let hanging = LegProposal { time_in_force: TimeInForce::ImmediateOrCancel, ..leg(PERPETUAL, Side::Buy, 1000) };
    let (mut rig, order) = before_third_sweep_of(1, hanging);
    rig.market_data();
    rig.wait(300);
    assert_eq!(state(&rig, order.intent), TlsmState::Canceled);
    assert_eq!(corrected(&rig, CorrectiveAction::CancelStaleOrder), 1);
    assert_eq!((corrected(&rig, CorrectiveAction::ReplaceIoc), placed(&rig).len()), (0, 1));
}

#[test]
fn corrective_actions_are_the_closed_list() {
    let names: Vec<&str> = CorrectiveAction::ALL.into_iter().map(CorrectiveAction::name).collect();
    assert_eq!(names, ["CancelStaleOrder", "ReplaceIOC", "EmergencyFlattenGroup", "ReduceOnlyDeltaHedge"]);
}

// ---- crashes ----

/// Records up to, not including, the first that `ends` fits.
fn cut(ledger: &[LedgerRecord], ends: impl Fn(&LedgerRecord) -> bool) -> Vec<LedgerRecord> {
    ledger.iter().take_while(|record| !ends(record)).cloned().collect()
}

fn step_to(wanted: TlsmState) -> impl Fn(&LedgerRecord) -> bool {
    move |record| matches!(record, LedgerRecord::Transition { state, .. } if *state == wanted)
}

#[test]
fn at_233_234_940_a_crash_around_the_acknowledgement_sends_nothing_again() {
    // Not acknowledged; acknowledged and not recorded; filled and not recorded; not known at all.
    let cases = [
        (Some((0, VenueState::Open)), false, TlsmState::Acked),
        (Some((0, VenueState::Open)), true, TlsmState::Acked),
        (Some((1000, VenueState::Filled)), true, TlsmState::Filled),
        (Some((400, VenueState::Open)), false, TlsmState::PartiallyFilled),
        (None, false, TlsmState::Failed),
    ];
    for (venue, heard, expected) in cases {
        let (mut rig, order) = sent_one();
        if let Some((filled, venue_state)) = venue {
            let known = at_venue(&mut rig, &order, Qty(filled * NANO), venue_state);
            if heard {
                rig.tell(Event::OrderUpdated(VenueOrder { filled: Qty::ZERO, state: VenueState::Open, ..known }));
            }
        }
        let ledger = cut(&rig.ledger(), step_to(TlsmState::Acked));
        rig.restart(1000, |boot| boot.ledger = ledger);
        rig.withhold(Feed::Venue);
        rig.settle();
        assert_eq!(state(&rig, order.intent), expected);
        let found = &rig.kernel.orders.intents[&order.intent];
        assert!(found.acked_at.is_some() || expected != TlsmState::Acked);
        let filled = venue.map_or(0, |(filled, _)| filled);
        assert_eq!((found.filled, rig.kernel.orders.positions[0]), (Qty(filled * NANO), Qty(filled * NANO)));
        assert_eq!(placed(&rig).len(), 1);
        let recorded = rig.ledger().iter().rev().any(|record| {
            matches!(record, LedgerRecord::Transition { intent, state, .. } if *intent == order.intent && *state == expected)
        });
        assert!(recorded);
    }
}

#[test]
fn at_234_a_fill_found_after_the_crash_of_a_pair_starts_containment() {
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.market_data();
    rig.tell(group("group0000001", vec![leg(PERPETUAL, Side::Buy, 1000), leg(FUTURE, Side::Sell, 1000)]));
    let sent = rig.sent();
    rig.forget_sent();
    // The venue took and filled the first leg; the second never arrived.
    at_venue(&mut rig, &sent[0], Qty(1000 * NANO), VenueState::Filled);
    let ledger = rig.ledger();
    rig.restart(1000, |boot| boot.ledger = ledger);
    rig.wait(20_000);
    assert_eq!((state(&rig, sent[0].intent), state(&rig, sent[1].intent)), (TlsmState::Filled, TlsmState::Failed));
    assert!(placed(&rig).iter().any(|order| order.class.is_containment()));
    assert_eq!(placed(&rig).iter().filter(|order| order.class == IntentClass::Open).count(), 2);
    assert!(rig.kernel.group_exposure("group0000001").abs() < NANO / 1000);
}

#[test]
fn at_935_an_unsent_intent_goes_once_over_two_restarts_and_only_after_the_run() {
    let (mut rig, order) = sent_one();
    let ledger = cut(&rig.ledger(), step_to(TlsmState::Sent));
    let before = rig.all.len();
    let older: Vec<LedgerRecord> = ledger.clone();
    rig.restart(1000, |boot| boot.ledger = ledger);
    assert_eq!(state(&rig, order.intent), TlsmState::Created);
    rig.withhold(Feed::Answers);
    rig.wait(1500);
    assert_eq!(placed(&rig).len(), 1, "nothing goes before the run");
    rig.resume(Feed::Answers);
    rig.settle();
    let since = &rig.all[before..];
    let place = |wanted: &dyn Fn(&Effect) -> bool| since.iter().position(|(_, effect)| wanted(effect));
    let succeeded = place(&|effect| *effect == Effect::Note(Note::RunSucceeded));
    let sent = place(&|effect| matches!(effect, Effect::Place(_)));
    assert!(succeeded.is_some() && succeeded < sent);
    let resent: Vec<OrderRequest> = placed(&rig)[1..].to_vec();
    assert_eq!(resent.iter().map(|order| order.intent).collect::<Vec<_>>(), [order.intent]);
    assert!(rig.kernel.orders.intents[&order.intent].sent.is_some());
    // The second restart, with all that is durable by then.
    let mut durable = older;
    durable.extend(since.iter().filter_map(|(_, effect)| match effect {
        Effect::Enqueue(record) => Some(record.clone()),
        _ => None,
    }));
    rig.restart(1000, |boot| boot.ledger = durable);
    rig.settle();
    rig.wait(10_000);
    assert_eq!(placed(&rig).len(), 2);
    // Known to the venue in its history: it was sent, its mark was lost, and it is not sent again.
    let (mut rig, order) = sent_one();
    let ledger = cut(&rig.ledger(), step_to(TlsmState::Sent));
    at_venue(&mut rig, &order, Qty::ZERO, VenueState::Cancelled);
    rig.restart(1000, |boot| boot.ledger = ledger);
    rig.settle();
    assert_eq!((placed(&rig).len(), state(&rig, order.intent)), (1, TlsmState::Canceled));
}

#[test]
fn an_open_order_of_an_intent_that_was_never_sent_is_a_ghost_and_an_ended_one_is_none() {
    let ghost = [C::RestartReconcileRequired, C::InventoryMismatchReconcileRequired];
    for (venue_state, codes) in [(VenueState::Open, &ghost[..]), (VenueState::Cancelled, &ghost[..1])] {
        let (mut rig, order) = sent_one();
        let ledger = cut(&rig.ledger(), step_to(TlsmState::Sent));
        rig.restart(1000, |boot| boot.ledger = ledger);
        let report = at_venue(&mut rig, &order, Qty::ZERO, venue_state);
        rig.tell(Event::OrderUpdated(report));
        rig.latched(codes);
    }
}

#[test]
fn at_935_nothing_of_a_failed_group_and_nothing_of_containment_is_sent_again() {
    let after_restart = |rig: &mut Rig, ledger: Vec<LedgerRecord>, unsent: IntentHash| {
        let before = rig.all.len();
        rig.restart(1000, |boot| boot.ledger = ledger);
        rig.withhold(Feed::Venue);
        assert_eq!(state(rig, unsent), TlsmState::Created);
        rig.wait(5000);
        rig.latched(&[]);
        assert_eq!(state(rig, unsent), TlsmState::Failed);
        let again = |(_, effect): &(_, Effect)| matches!(effect, Effect::Place(order) if order.intent == unsent);
        assert!(!rig.all[before..].iter().any(again));
    };
    let sent = |record: &LedgerRecord, of: IntentHash| matches!(record, LedgerRecord::Transition { intent, .. } if *intent == of);
    // The first leg was refused, the second never left.
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.market_data();
    rig.tell(group("group0000001", vec![leg(PERPETUAL, Side::Buy, 1000), leg(FUTURE, Side::Sell, 1000)]));
    let legs = rig.sent();
    rig.forget_sent();
    rig.tell(Event::OrderRejected { label: legs[0].label.clone(), code: 11_029 });
    let ledger = rig.ledger().into_iter().filter(|record| !sent(record, legs[1].intent)).collect();
    after_restart(&mut rig, ledger, legs[1].intent);
    // A close of containment was recorded and never left.
    let mut rig = long();
    rig.withhold(Feed::Venue);
    rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
    let close = rig.sent().pop().expect("Kill closes what is exposed");
    assert_eq!(close.class, IntentClass::EmergencyClose);
    rig.forget_sent();
    let ledger = cut(&rig.ledger(), |record| sent(record, close.intent));
    after_restart(&mut rig, ledger, close.intent);
}

#[test]
fn a_resent_order_makes_its_group_a_dispatched_one() {
    let (mut rig, order) = sent_one();
    let ledger = cut(&rig.ledger(), step_to(TlsmState::Sent));
    rig.restart(1000, |boot| boot.ledger = ledger);
    let group_id = order.label.split(':').nth(2).expect("a group");
    assert_eq!(rig.kernel.groups.all[group_id].state, GroupState::New);
    rig.settle();
    assert_eq!((placed(&rig).len(), rig.kernel.groups.all[group_id].state), (2, GroupState::Dispatched));
}

#[test]
fn at_941_a_crash_within_a_run_starts_it_over_with_the_same_result() {
    for answered in 0..4 {
        let (mut rig, order) = sent_one();
        at_venue(&mut rig, &order, Qty(400 * NANO), VenueState::Open);
        let ledger = rig.ledger();
        let cut_at = rig.all.len();
        rig.restart(1000, |boot| boot.ledger = ledger.clone());
        rig.withhold(Feed::Answers);
        rig.withhold(Feed::Venue);
        rig.wait(100);
        for _ in 0..answered {
            if let Some(request) = rig.asked.keys().next().copied() {
                rig.answer(request);
            }
        }
        rig.market_data();
        let refused = rig.status().open_permission_blocked_latch;
        if refused {
            open_refused(&mut rig, RejectReason::OpenPermissionLatched);
        }
        // What the run had recorded may be durable.
        let mut durable = ledger;
        durable.extend(rig.all[cut_at..].iter().filter_map(|(_, effect)| match effect {
            Effect::Enqueue(record) => Some(record.clone()),
            _ => None,
        }));
        rig.restart(1000, |boot| boot.ledger = durable);
        rig.risk(drillfold_kernel::registry::RiskState::Healthy);
        rig.latched(&[C::RestartReconcileRequired]);
        open_refused(&mut rig, RejectReason::OpenPermissionLatched);
        rig.resume(Feed::Answers);
        rig.settle();
        let found = &rig.kernel.orders.intents[&order.intent];
        assert_eq!((found.state, found.filled), (TlsmState::PartiallyFilled, Qty(400 * NANO)), "{answered}");
        assert_eq!(rig.kernel.orders.positions[0], Qty(400 * NANO));
        assert_eq!(placed(&rig).len(), 1);
        let reduces = closing(Side::Sell, 400);
        rig.market_data();
        assert!(propose(&mut rig, reduces).is_some());
    }
}

// ---- the limiter ----

#[test]
fn at_919_an_open_under_pressure_is_a_brownout() {
    // The last request of the bucket goes, the next OPEN does not.
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.market_data();
    rig.tell(Event::LimiterSampled { credits: 1 });
    assert!(propose(&mut rig, leg(PERPETUAL, Side::Buy, 500)).is_some());
    open_refused(&mut rig, RejectReason::RateLimitBrownout);
    rig.tell(Event::LimiterSampled { credits: 1 });
    assert!(propose(&mut rig, leg(PERPETUAL, Side::Buy, 500)).is_some());
    // A burst of 429 for as long as its cause lasts.
    let mut rig = Rig::active();
    let request = rig.ask_once();
    rig.tell(Event::RestRefused { request, code: 429, round_trip_ms: 20 });
    rig.wait(59_800);
    rig.market_data();
    open_refused(&mut rig, RejectReason::RateLimitBrownout);
    rig.wait(200);
    rig.market_data();
    rig.shows(&[]);
    assert!(propose(&mut rig, leg(PERPETUAL, Side::Buy, 500)).is_some());
}

fn pulls(rig: &Rig) -> usize {
    let data = |effect: &&(_, Effect)| {
        matches!(effect.1, Effect::Rest { query: RestQuery::Book(_) | RestQuery::RecentTrades(_), .. })
    };
    rig.all.iter().filter(data).count()
}

#[test]
fn at_239_data_is_shed_first_then_open_and_reducing_orders_never() {
    // A round of containment is six orders. The run that a gap starts takes one request, the refresh comes after it.
    for (credits, refreshed) in [(8, 1), (7, 0)] {
        let mut rig = long();
        rig.withhold(Feed::Answers);
        let before = pulls(&rig);
        rig.tell(Event::LimiterSampled { credits });
        rig.change_after_gap(FUTURE, 1);
        assert_eq!(pulls(&rig) - before, refreshed, "{credits}");
        // Shed, not forgotten: with a fuller bucket it goes.
        rig.tell(Event::LimiterSampled { credits: 100 });
        assert_eq!(pulls(&rig) - before, 1);
    }
    // Down to nothing: OPEN next, the others go on.
    let mut rig = long();
    rig.matching = |_| Match::Rest;
    let resting = propose(&mut rig, leg(PERPETUAL, Side::Buy, 500)).expect("sent");
    rig.answer_all();
    rig.tell(Event::LimiterSampled { credits: 6 });
    rig.market_data();
    assert!(propose(&mut rig, leg(PERPETUAL, Side::Buy, 10)).is_some(), "data is shed at this level, OPEN is not");
    rig.tell(Event::LimiterSampled { credits: 0 });
    open_refused(&mut rig, RejectReason::RateLimitBrownout);
    rig.tell(Event::CancelProposed { intent: resting.intent });
    assert_eq!(cancels(&rig), [CancelReason::Strategy]);
    close_goes(&mut rig);
    let hedge = LegProposal { action: Action::Hedge, ..closing(Side::Sell, 100) };
    assert!(propose(&mut rig, hedge).is_some_and(|order| order.class == IntentClass::Hedge));
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.tell(Event::LimiterSampled { credits: 2 });
    mixed_fill(&mut rig);
    rig.tell(Event::LimiterSampled { credits: 0 });
    rig.matching = |_| Match::Nothing;
    rig.answer_all();
    rig.answer_all();
    rig.answer_all();
    assert!(placed(&rig).iter().any(|order| order.class == IntentClass::EmergencyClose));
}

#[test]
fn at_238_data_never_takes_what_orders_and_cancels_need() {
    const BUCKET: i64 = 20;
    let refresh = Event::FrameRejected { socket: Socket::Public, instrument: Some(FUTURE), channel: Channel::Trades };
    // Data alone: down to what one round needs, and nothing more until the bucket is sampled again.
    let mut rig = long();
    rig.withhold(Feed::Answers);
    let before = pulls(&rig);
    rig.tell(Event::LimiterSampled { credits: BUCKET });
    for _ in 0..100 {
        rig.tell(refresh.clone());
    }
    // One request went to the run that the first gap started.
    assert_eq!(pulls(&rig) - before, 20 - 6 - 1);
    // A hundred mixed: whatever their order, every hedge and cancel is served at once, and data gets the rest.
    let mut rig = long();
    rig.matching = |_| Match::Rest;
    let mut resting = Vec::new();
    for _ in 0..5 {
        resting.push(propose(&mut rig, leg(PERPETUAL, Side::Buy, 10)).expect("sent"));
    }
    rig.answer_all();
    rig.withhold(Feed::Answers);
    rig.tell(Event::LimiterSampled { credits: BUCKET });
    let (data_before, placed_before) = (pulls(&rig), placed(&rig).len());
    let mut cancelled = 0;
    for place in 0..100 {
        rig.market_data();
        if place % 10 == 9 {
            let hedge = LegProposal { action: Action::Hedge, ..closing(Side::Sell, 10) };
            if place % 20 == 9 {
                assert!(propose(&mut rig, hedge).is_some());
            } else {
                let intent = resting[cancelled].intent;
                rig.tell(Event::CancelProposed { intent });
                assert_eq!(cancels(&rig), [CancelReason::Strategy]);
                cancelled += 1;
            }
        } else {
            rig.tell(refresh.clone());
        }
    }
    let served = (placed(&rig).len() - placed_before, cancelled, pulls(&rig) - data_before);
    assert_eq!((served.0, served.1), (5, 5));
    assert!(served.2 <= (BUCKET - 6 - 1) as usize && served.2 > 0, "{served:?}");
}

#[test]
fn a_tick_cancels_before_it_refreshes() {
    let mut rig = long();
    rig.matching = |_| Match::Rest;
    propose(&mut rig, leg(PERPETUAL, Side::Buy, 10)).expect("sent");
    rig.answer_all();
    rig.withhold(Feed::Answers);
    rig.tell(Event::LimiterSampled { credits: 0 });
    rig.change_after_gap(FUTURE, 1);
    rig.tell(Event::LimiterSampled { credits: 8 });
    rig.change_after_gap(PERPETUAL, 1);
    rig.tell(Event::LimiterSampled { credits: 0 });
    rig.trade_after_gap(FUTURE, 1);
    rig.kernel.forget_calm();
    rig.tell(Event::LoopTicked);
    assert_eq!(cancels(&rig), [CancelReason::ModeNotActive]);
    // The refresh that the tick sheds comes with the next sample.
    let before = pulls(&rig);
    rig.tell(Event::LimiterSampled { credits: 100 });
    assert_eq!(pulls(&rig), before + 1);
}

#[test]
fn without_a_private_session_cancels_and_reducing_orders_go_over_rest() {
    let (mut rig, protective, open) = with_resting_orders();
    assert_eq!((protective.route, open.route), (Route::Socket, Route::Socket));
    rig.tell(Event::SocketClosed { socket: Socket::Private, cause: CloseCause::Lost });
    rig.tell(Event::LoopTicked);
    let routes: Vec<Route> = rig
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Cancel(cancel) => Some(cancel.route),
            _ => None,
        })
        .collect();
    assert_eq!(routes, [Route::Rest]);
    assert_eq!(close_goes(&mut rig).route, Route::Rest);
    assert_eq!(rig.status().trading_mode, TradingMode::ReduceOnly);
    // A socket that is open but not authenticated is no session yet.
    rig.tell(Event::SocketOpened(Socket::Private));
    assert_eq!(close_goes(&mut rig).route, Route::Rest);
    rig.tell(Event::Authenticated);
    assert_eq!(close_goes(&mut rig).route, Route::Socket);
}

#[test]
fn an_answer_nobody_waits_for_is_dropped() {
    let mut rig = Rig::active();
    let answer = RestAnswer::OpenOrders(vec![ghost()]);
    let request = RequestId(9_999_999);
    rig.tell(Event::RestAnswered { request, venue_time: START, round_trip_ms: 20, answer });
    assert_eq!(rig.effects, [Effect::Note(Note::AnswerDropped(request))]);
}
