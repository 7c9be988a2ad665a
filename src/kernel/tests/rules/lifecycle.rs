//! The life of instruments: metadata and its age, expiry, and answers that say an instrument is gone.
//!
//! Source: specs/contract kernel document, section 1; acceptance tests of the area lifecycle.

use drillfold_kernel::{
    effect::{Effect, Note, RunFailure},
    event::{
        Action, CancelRefusal, Event, IntentClass, LedgerRecord, Metadata, OperatorCommand, TlsmState, VenueState,
    },
    registry::{ModeReason as M, RejectReason as R, RiskState},
    units::{InstrumentId, NANO, Price, Qty, Side},
};

use crate::{
    gates::{active, metadata, propose, propose_leg, reducing},
    kernel_rules::leg,
    rig::{FUTURE, Match, PERPETUAL, Rig},
};

/// Answers that say an instrument is gone, once its expiry has passed.
const TERMINAL: [CancelRefusal; 4] = [
    CancelRefusal::InvalidInstrument,
    CancelRefusal::NotFound,
    CancelRefusal::OrderbookClosed,
    CancelRefusal::InstrumentNotOpen,
];

/// The future's record says that it expires in so many milliseconds.
#[track_caller]
fn expires_in(rig: &mut Rig, ms: i64) {
    let expires_at = Some(rig.now.after(ms));
    rig.tell(Event::InstrumentFetched { instrument: FUTURE, metadata: Metadata { expires_at, ..metadata() } });
}

/// A rig with an order of ours resting in the future and one in the perpetual; returns their labels in this order.
fn resting() -> (Rig, String, String) {
    let mut rig = active(|_| ());
    rig.matching = |_| Match::Rest;
    let mut rest = |instrument| {
        let order = propose_leg(&mut rig, leg(instrument, Side::Buy, 1000)).expect("it passes").remove(0);
        rig.answer_all();
        order.label
    };
    let (future, perpetual) = (rest(FUTURE), rest(PERPETUAL));
    rig.forget_sent();
    (rig, future, perpetual)
}

fn cancel(rig: &Rig, label: &str) -> Event {
    let order = rig.kernel.orders.intents.values().find(|order| order.record.label == label);
    Event::CancelProposed { intent: order.expect("the ledger has it").record.intent }
}

fn state(rig: &Rig, label: &str) -> TlsmState {
    let order = rig.kernel.orders.intents.values().find(|order| order.record.label == label);
    order.expect("the ledger has it").state
}

/// Cancels that the kernel asked for so far, by label.
fn cancels(rig: &Rig, of: &str) -> usize {
    let asked = |effect: &Effect| matches!(effect, Effect::Cancel(cancel) if cancel.label == of);
    rig.all.iter().filter(|(_, effect)| asked(effect)).count()
}

/// Orders that the kernel sent in an instrument so far.
fn placed(rig: &Rig, of: InstrumentId) -> usize {
    let sent = |effect: &Effect| matches!(effect, Effect::Place(order) if order.instrument == of);
    rig.all.iter().filter(|(_, effect)| sent(effect)).count()
}

#[test]
fn at_104_279_old_metadata_degrades_and_stops_opens_alone() {
    let mut rig = active(|_| ());
    rig.matching = |_| Match::Rest;
    let order = propose_leg(&mut rig, leg(PERPETUAL, Side::Buy, 1000)).expect("it passes").remove(0);
    rig.answer_all();
    rig.fill(&order.label, Qty(1000 * NANO));
    for id in [PERPETUAL, FUTURE] {
        rig.tell(Event::InstrumentFetched { instrument: id, metadata: metadata() });
    }
    let fetched = rig.now;
    rig.wait(3_600_000 - 400);
    rig.market_data();
    rig.wait(400);
    assert_eq!(rig.now.since(fetched), 3_600_000);
    rig.market_data();
    rig.shows(&[]);
    assert_eq!(propose(&mut rig, |_| ()).map(|sent| sent.len()), Ok(1));
    rig.pass(1);
    rig.risk(RiskState::Degraded);
    rig.shows(&[M::ReduceonlyRiskstateDegraded]);
    assert_eq!(propose(&mut rig, |_| ()), Err(R::TradingModeForbids));
    for action in [Action::Close, Action::Hedge] {
        let sent = propose_leg(&mut rig, reducing(action, PERPETUAL, Side::Sell, 100));
        assert_eq!(sent.map(|sent| sent.len()), Ok(1));
    }
    // A fetched record is fresh again.
    for id in [PERPETUAL, FUTURE] {
        rig.risk(RiskState::Degraded);
        rig.tell(Event::InstrumentFetched { instrument: id, metadata: metadata() });
    }
    rig.shows(&[]);
}

#[test]
fn at_333_sizes_follow_the_fetched_record() {
    let mut rig = active(|boot| boot.config.inventory_skew_tick_penalty_max = 0);
    let mut sent_under = |record: Metadata| {
        rig.tell(Event::InstrumentFetched { instrument: PERPETUAL, metadata: record });
        let mut proposed = leg(PERPETUAL, Side::Buy, 1234);
        (proposed.price, proposed.contracts) = (Price(99_987 * NANO), Some(Qty(1234 * NANO / 10)));
        let sent = propose_leg(&mut rig, proposed);
        rig.forget_sent();
        sent.map(|sent| (sent[0].qty.0 / NANO, sent[0].price.0 / NANO))
    };
    assert_eq!(sent_under(metadata()), Ok((1230, 99_987)));
    assert_eq!(sent_under(Metadata { tick_size: Some(Price(50 * NANO)), ..metadata() }), Ok((1230, 99_950)));
    assert_eq!(sent_under(Metadata { amount_step: Some(Qty(100 * NANO)), ..metadata() }), Ok((1200, 99_987)));
    let minimum = Metadata { min_amount: Some(Qty(1240 * NANO)), ..metadata() };
    assert_eq!(sent_under(minimum), Err(R::TooSmallAfterQuantization));
    let multiplier = Metadata { contract_multiplier: Some(Qty(NANO)), ..metadata() };
    assert_eq!(sent_under(multiplier), Err(R::ContractsAmountMismatch));
}

#[test]
fn at_950_965_no_open_close_to_expiry() {
    // The buffer is 60 s.
    for (left_ms, passes) in [(120_000, true), (60_001, true), (60_000, false), (30_000, false), (-1000, false)] {
        let mut rig = active(|_| ());
        rig.matching = |_| Match::Rest;
        let order = propose_leg(&mut rig, leg(FUTURE, Side::Buy, 1000)).expect("it passes").remove(0);
        rig.answer_all();
        rig.fill(&order.label, Qty(1000 * NANO));
        expires_in(&mut rig, left_ms);
        let open = propose_leg(&mut rig, leg(FUTURE, Side::Buy, 1000)).map(|sent| sent.len());
        assert_eq!(open, if passes { Ok(1) } else { Err(R::InstrumentExpiredOrDelisted) }, "{left_ms}");
        // Other instruments, and what reduces, go on.
        assert_eq!(propose(&mut rig, |_| ()).map(|sent| sent.len()), Ok(1));
        for action in [Action::Close, Action::Hedge] {
            let sent = propose_leg(&mut rig, reducing(action, FUTURE, Side::Sell, 100));
            assert_eq!(sent.map(|sent| sent.len()), Ok(1), "{left_ms}");
        }
        rig.shows(&[]);
    }
}

#[test]
fn at_949_960_a_cancel_in_an_expired_instrument_is_done() {
    for cause in TERMINAL {
        let (mut rig, future, perpetual) = resting();
        expires_in(&mut rig, 0);
        let asked = cancel(&rig, &future);
        rig.tell_after(1000, asked);
        assert_eq!(cancels(&rig, &future), 1);
        rig.forget_sent();
        rig.tell(Event::CancelRefused { label: future.clone(), cause });
        assert_eq!(state(&rig, &future), TlsmState::Canceled, "{cause:?}");
        assert_eq!(rig.noted(|note| *note == Note::ExpiredOrDelisted(FUTURE)), 1);
        assert!(rig.kernel.is_gone(FUTURE) && !rig.kernel.is_gone(PERPETUAL));
        // The same cancel once more: nothing goes out, nothing is written.
        let ledger = rig.ledger();
        let again = cancel(&rig, &future);
        rig.tell_after(1, again);
        assert_eq!(rig.effects, []);
        rig.tell(Event::CancelRefused { label: future.clone(), cause });
        assert_eq!((cancels(&rig, &future), rig.ledger()), (1, ledger));
        // Everything else carries on.
        rig.shows(&[]);
        rig.market_data();
        assert_eq!(propose_leg(&mut rig, leg(FUTURE, Side::Buy, 1000)), Err(R::InstrumentExpiredOrDelisted));
        let close = reducing(Action::Close, FUTURE, Side::Sell, 100);
        assert_eq!(propose_leg(&mut rig, close), Err(R::InstrumentExpiredOrDelisted));
        assert_eq!(propose(&mut rig, |_| ()).map(|sent| sent.len()), Ok(1));
        let asked = cancel(&rig, &perpetual);
        rig.tell(asked);
        assert_eq!(cancels(&rig, &perpetual), 1);
    }
}

#[test]
fn at_949_no_order_in_an_instrument_that_is_gone_is_cancelled() {
    let (mut rig, first, _) = resting();
    let second = propose_leg(&mut rig, leg(FUTURE, Side::Buy, 990)).expect("it passes").remove(0).label;
    rig.answer_all();
    expires_in(&mut rig, 0);
    let asked = cancel(&rig, &first);
    rig.tell_after(1000, asked);
    rig.forget_sent();
    rig.tell(Event::CancelRefused { label: first, cause: CancelRefusal::OrderbookClosed });
    assert_eq!(state(&rig, &second), TlsmState::Acked);
    let asked = cancel(&rig, &second);
    rig.tell(asked);
    assert_eq!(cancels(&rig, &second), 0);
}

#[test]
fn at_966_an_ordinary_answer_leaves_the_instrument_active() {
    // A cancel that succeeds.
    let (mut rig, future, _) = resting();
    let asked = cancel(&rig, &future);
    rig.tell(asked);
    rig.answer_all();
    assert_eq!(state(&rig, &future), TlsmState::Canceled);
    assert!(!rig.kernel.is_gone(FUTURE));
    // The order is gone already: a run finds out how.
    let (mut rig, future, _) = resting();
    let asked = cancel(&rig, &future);
    rig.tell(asked);
    rig.forget_sent();
    let place = rig.orders.iter().position(|order| order.label == future).unwrap();
    rig.orders[place].state = VenueState::Cancelled;
    rig.tell(Event::CancelRefused { label: future.clone(), cause: CancelRefusal::AlreadyGone });
    assert!(!rig.kernel.is_gone(FUTURE));
    rig.wait(1000);
    assert_eq!(state(&rig, &future), TlsmState::Canceled);
    assert_eq!(propose_leg(&mut rig, leg(FUTURE, Side::Buy, 1000)).map(|sent| sent.len()), Ok(1));
    // In an expired one as well: that an order is gone says nothing of its instrument.
    let (mut rig, future, _) = resting();
    expires_in(&mut rig, 0);
    let asked = cancel(&rig, &future);
    rig.tell(asked);
    rig.forget_sent();
    rig.tell(Event::CancelRefused { label: future.clone(), cause: CancelRefusal::AlreadyGone });
    assert!(!rig.kernel.is_gone(FUTURE) && state(&rig, &future) == TlsmState::Acked);
    // An answer that would end an expired instrument does nothing to one that has not expired, up to the last moment.
    for cause in TERMINAL {
        let (mut rig, future, _) = resting();
        expires_in(&mut rig, 1);
        let asked = cancel(&rig, &future);
        rig.tell(asked);
        rig.forget_sent();
        rig.tell(Event::CancelRefused { label: future.clone(), cause });
        assert!(!rig.kernel.is_gone(FUTURE) && state(&rig, &future) == TlsmState::Acked);
        // The request was answered, so it may go out again at once.
        let again = cancel(&rig, &future);
        rig.tell_after(1, again);
        assert_eq!(cancels(&rig, &future), 2);
        rig.forget_sent();
        rig.tell(Event::CancelRefused { label: future.clone(), cause });
        assert!(rig.kernel.is_gone(FUTURE) && state(&rig, &future) == TlsmState::Canceled);
    }
}

/// A rig that holds 1000 USD of both instruments, of which the future has just expired.
fn holding_both() -> Rig {
    let mut rig = active(|_| ());
    rig.matching = |_| Match::Rest;
    for instrument in [FUTURE, PERPETUAL] {
        let order = propose_leg(&mut rig, leg(instrument, Side::Buy, 1000)).expect("it passes").remove(0);
        rig.answer_all();
        rig.fill(&order.label, Qty(1000 * NANO));
    }
    expires_in(&mut rig, 0);
    rig
}

#[test]
fn at_961_a_flatten_goes_on_past_an_expired_instrument() {
    let mut rig = holding_both();
    rig.now = rig.now.after(1000);
    // Kill flattens the portfolio, the largest position first; both are alike, so the perpetual comes first.
    rig.matching = |order| if order.instrument == FUTURE { Match::Reject } else { Match::Fill };
    let before = (placed(&rig, FUTURE), placed(&rig, PERPETUAL));
    rig.market_data();
    rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
    for _ in 0..20 {
        for order in rig.sent().into_iter().filter(|order| order.instrument == FUTURE) {
            assert_eq!(order.class, IntentClass::EmergencyClose);
            rig.forget_sent();
            rig.tell(Event::OrderRejected { label: order.label, code: 13_020 });
        }
        rig.wait(100);
        rig.market_data();
    }
    assert!(rig.kernel.is_gone(FUTURE));
    assert_eq!(rig.noted(|note| *note == Note::ExpiredOrDelisted(FUTURE)), 1);
    let held = |id: InstrumentId| rig.kernel.orders.positions[id.index()];
    assert_eq!(held(PERPETUAL), Qty::ZERO);
    assert!(placed(&rig, FUTURE) <= before.0 + 1 && placed(&rig, PERPETUAL) > before.1);
    rig.shows(&[M::KillRiskstateKill]);
}

#[test]
fn at_962_a_settled_instrument_is_never_touched_again() {
    let mut rig = holding_both();
    let order = propose_leg(&mut rig, reducing(Action::Close, FUTURE, Side::Sell, 100)).expect("it passes").remove(0);
    rig.answer_all();
    let asked = cancel(&rig, &order.label);
    rig.tell_after(1000, asked);
    rig.forget_sent();
    let settled = rig.orders.iter().position(|of| of.label == order.label).unwrap();
    rig.orders[settled].state = VenueState::Cancelled;
    rig.tell(Event::CancelRefused { label: order.label.clone(), cause: CancelRefusal::OrderbookClosed });
    assert!(rig.kernel.is_gone(FUTURE));
    // The venue has settled what was held; no trade says so.
    rig.unexplained.insert(FUTURE, Qty(-1000 * NANO));
    let (asked, sent) = (cancels(&rig, &order.label), placed(&rig, FUTURE));
    rig.wait(1000);
    assert_eq!(rig.kernel.orders.positions[FUTURE.index()], Qty::ZERO);
    let adopted = |record: &LedgerRecord| {
        matches!(record, LedgerRecord::Adopted { instrument: FUTURE, qty: Qty(0), incident_id, .. }
            if incident_id == R::InstrumentExpiredOrDelisted.token())
    };
    assert_eq!(rig.ledger().iter().filter(|record| adopted(record)).count(), 1);
    assert_eq!(rig.noted(|note| *note == Note::RunFailed(RunFailure::PositionMismatch)), 0);
    rig.shows(&[]);
    // Whatever comes, nothing more is tried there.
    rig.tell(Event::OperatorCommanded(OperatorCommand::Kill));
    rig.wait(40_000);
    assert_eq!((cancels(&rig, &order.label), placed(&rig, FUTURE)), (asked, sent));
}

#[test]
fn at_962_a_position_that_an_active_instrument_lost_is_a_mismatch() {
    let mut rig = holding_both();
    rig.unexplained.insert(FUTURE, Qty(-1000 * NANO));
    rig.wait(10_000);
    assert!(rig.noted(|note| *note == Note::RunFailed(RunFailure::PositionMismatch)) > 0);
    assert_eq!(rig.kernel.orders.positions[FUTURE.index()], Qty(1000 * NANO));
}
