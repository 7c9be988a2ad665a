//! The small machines, explored exhaustively through real events: from a start, every message is told in every state that
//! any sequence of messages reaches, breadth first, with the states that were seen set aside. What distinguishes two states
//! is written down as a key; the counts are printed and asserted, so that a smaller search is noticed.
//!
//! | machine | messages | depth | states | transitions |
//! |---|---|---|---|---|
//! | order | 11 | until nothing new is found | 120 | 1,320 |
//! | group of two legs | 5 a leg, 2 for containment | 12 | 30,908 | 255,060 |
//! | latch | 4 codes beside the boot's, an answer, a refusal, a tick | until nothing new is found | 605 | 4,235 |
//!
//! Source: kernel contract sections 3, 6 and 7; AT-220, AT-230, AT-011.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use drillfold_kernel::{
    Kernel,
    effect::{Effect, Note, RestQuery},
    event::{
        CloseCause, Event, GroupState, IntentClass, LedgerRecord, OwnTrade, RestAnswer, Socket, TlsmState, VenueOrder,
        VenueState,
    },
    registry::{OpenPermissionReason as C, TradingMode},
    resolver::{ReasonSet, mode_of, resolve},
    units::{IntentHash, NANO, OrderId, Price, Qty, RequestId, Seq, Side, TimeMs, TradeId},
};

use crate::{
    kernel_rules::{boots, ghost, group, leg},
    rig::{FUTURE, PERPETUAL, Rig, book, config},
};

/// A kernel on its own: cheap to copy, told one event after another.
#[derive(Clone)]
struct Node {
    kernel: Kernel,
    seq: u64,
    now: TimeMs,
}

impl Node {
    fn of(rig: &Rig) -> Self {
        Self { kernel: rig.kernel.clone(), seq: rig.seq, now: rig.now }
    }

    fn tell(&mut self, event: &Event) -> Vec<Effect> {
        self.seq += 1;
        let mut effects = Vec::new();
        self.kernel.apply(Seq(self.seq), self.now, event, &mut effects);
        effects
    }
}

// ---- orders ----

/// An order as the venue may report it; amounts in USD.
fn report(
    label: &str,
    id: u64,
    of: (drillfold_kernel::units::InstrumentId, Side),
    filled: i64,
    state: VenueState,
) -> Event {
    Event::OrderUpdated(VenueOrder {
        order_id: OrderId(id),
        label: label.into(),
        instrument: of.0,
        side: of.1,
        price: Price(100_000 * NANO),
        qty: Qty(1000 * NANO),
        filled: Qty(filled * NANO),
        reduce_only: false,
        state,
    })
}

fn trade(label: &str, id: u64, of: (drillfold_kernel::units::InstrumentId, Side), usd: i64, at: TimeMs) -> Event {
    Event::OwnTraded(vec![OwnTrade {
        trade_id: TradeId(id),
        order_id: OrderId(1),
        label: label.into(),
        instrument: of.0,
        side: of.1,
        price: Price(100_000 * NANO),
        qty: Qty(usd * NANO),
        at,
    }])
}

/// Where a step of the lifecycle may lead.
fn may_follow(from: TlsmState, to: TlsmState) -> bool {
    use TlsmState::{Acked, Canceled, Created, Failed, Filled, PartiallyFilled, Sent};
    let rank = |state| match state {
        Created => 0,
        Sent => 1,
        Acked => 2,
        PartiallyFilled => 3,
        Filled | Canceled | Failed => 4,
    };
    from == to || (!from.is_terminal() && rank(to) > rank(from))
}

/// Every state of an order, whether recorded or sent at first, meets every message: no step back, no step out of an end, no
/// fill lost or counted twice: 120 states of the key, 1,320 transitions.
#[test]
fn at_230_every_state_of_an_order_meets_every_message() {
    let of = (PERPETUAL, Side::Buy);
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.market_data();
    rig.tell(group("group0000001", vec![leg(PERPETUAL, Side::Buy, 1000)]));
    let order = rig.sent()[0].clone();
    let unsent: Vec<LedgerRecord> =
        rig.ledger().into_iter().take_while(|record| !matches!(record, LedgerRecord::Transition { .. })).collect();
    let recorded = boots(|boot| boot.ledger = unsent);
    let label = order.label.as_str();
    let messages = [
        report(label, 1, of, 0, VenueState::Open),
        report(label, 1, of, 500, VenueState::Open),
        report(label, 1, of, 1000, VenueState::Filled),
        report(label, 1, of, 0, VenueState::Cancelled),
        report(label, 1, of, 500, VenueState::Cancelled),
        report(label, 1, of, 0, VenueState::Rejected),
        Event::OrderRejected { label: label.into(), code: 11_029 },
        trade(label, 1, of, 500, rig.now),
        trade(label, 2, of, 500, rig.now),
        Event::CancelProposed { intent: order.intent },
        Event::LoopTicked,
    ];
    let key = |node: &Node| {
        let order = &node.kernel.orders.intents[&order.intent];
        (
            (order.state, order.filled, order.venue_end, order.order_id, order.acked_at.is_some()),
            (order.sent.is_some(), order.cancel_asked_at.is_some()),
            node.kernel.orders.own_trades.keys().copied().collect::<Vec<_>>(),
            (node.kernel.orders.positions[0], node.kernel.orders.live.len()),
            node.kernel.groups.all.values().map(|group| (group.state, group.failure)).collect::<Vec<_>>(),
        )
    };
    let mut seen = Vec::new();
    let mut states = BTreeSet::new();
    let mut transitions = 0;
    let mut queue: VecDeque<Node> = [Node::of(&rig), Node::of(&recorded)].into();
    while let Some(node) = queue.pop_front() {
        let here = key(&node);
        if seen.contains(&here) {
            continue;
        }
        states.insert(here.0.0);
        let before = node.kernel.orders.intents[&order.intent].clone();
        for message in &messages {
            let mut next = node.clone();
            next.tell(message);
            transitions += 1;
            let after = &next.kernel.orders.intents[&order.intent];
            assert!(may_follow(before.state, after.state), "{:?} -> {:?} by {message:?}", before.state, after.state);
            let told =
                [TradeId(1), TradeId(2)].iter().filter(|id| next.kernel.orders.own_trades.contains_key(id)).count();
            assert_eq!(after.filled, Qty(500 * NANO * told as i64), "no fill is lost or counted twice");
            assert_eq!(next.kernel.orders.positions[0], after.filled);
            assert_eq!(
                next.kernel.orders.live.contains(&order.intent),
                after.sent.is_some() && !after.state.is_terminal()
            );
            if after.state == TlsmState::Filled {
                // All of it, by trades or by the venue's word that waits for none.
                assert!(after.filled >= after.record.qty, "{after:?}");
            }
            queue.push_back(next);
        }
        seen.push(here);
    }
    println!(
        "order: {} states of the key, {transitions} transitions, {} of 7 lifecycle states",
        seen.len(),
        states.len()
    );
    assert_eq!(states.len(), 7, "{states:?}");
    assert!(seen.len() >= 100 && transitions == seen.len() * messages.len());
}

// ---- groups ----

/// How many messages the longest sequence has.
const DEPTH_MAX: u32 = 12;

/// A group's step that the contract allows; a late fill, and nothing else, opens an ended group again.
fn group_may_follow(from: GroupState, to: GroupState) -> bool {
    use GroupState::{Complete, Dispatched, Flattened, Flattening, MixedFailed, New};
    from == to
        || matches!(
            (from, to),
            (New, Dispatched)
                | (New | Dispatched, MixedFailed | Flattening | Complete | Flattened)
                | (MixedFailed, Flattening | Flattened)
                | (Flattening, Flattened)
        )
}

/// All interleavings, twelve messages long, of what the venue may say of two legs and of the containment orders that
/// follow, duplicates and contradictions included: 30,908 states of the key, 255,060 transitions. All at one moment, so
/// that a round's pause is where a sequence rests.
#[test]
fn at_220_278_every_interleaving_of_a_pair_of_legs() {
    const GROUP: &str = "group0000001";
    let mut rig = Rig::active();
    rig.wait(1000);
    rig.market_data();
    rig.tell(group(GROUP, vec![leg(PERPETUAL, Side::Buy, 1000), leg(FUTURE, Side::Sell, 1000)]));
    let sent = rig.sent();
    let sides = [(PERPETUAL, Side::Buy), (FUTURE, Side::Sell)];
    let mut messages = Vec::new();
    for (place, order) in sent.iter().enumerate() {
        let (label, of, id) = (order.label.as_str(), sides[place], place as u64 + 1);
        messages.extend([
            report(label, id, of, 0, VenueState::Open),
            trade(label, 10 * id, of, 500, rig.now),
            trade(label, 10 * id + 1, of, 500, rig.now),
            report(label, id, of, 0, VenueState::Cancelled),
            Event::OrderRejected { label: label.into(), code: 11_029 },
        ]);
    }
    let legs: Vec<IntentHash> = sent.iter().map(|order| order.intent).collect();
    // Containment orders in flight: each is then filled or finds nobody.
    let flying = |node: &Node| {
        node.kernel
            .groups
            .all
            .get(GROUP)
            .and_then(|group| {
                group.intents.iter().find(|intent| {
                    let order = &node.kernel.orders.intents[*intent];
                    order.record.class.is_containment() && !order.state.is_terminal()
                })
            })
            .map(|intent| node.kernel.orders.intents[intent].record.clone())
    };
    let key = |node: &Node| {
        let group = &node.kernel.groups.all[GROUP];
        let orders: Vec<_> = group
            .intents
            .iter()
            .map(|intent| {
                let order = &node.kernel.orders.intents[intent];
                (
                    order.record.class,
                    order.state,
                    order.filled,
                    order.order_id.is_some(),
                    order.cancel_asked_at.is_some(),
                )
            })
            .collect();
        format!("{:?}", (group.state, group.failure, group.rescues, group.round, group.rounds, orders))
    };
    let mut seen = BTreeSet::new();
    let mut transitions = 0_u64;
    let mut reached = BTreeMap::<GroupState, u64>::new();
    let mut deepest = 0;
    let mut queue: VecDeque<(Node, u32)> = [(Node::of(&rig), 0)].into();
    seen.insert(key(&Node::of(&rig)));
    while let Some((node, depth)) = queue.pop_front() {
        deepest = deepest.max(depth);
        let before = node.kernel.groups.all[GROUP].clone();
        *reached.entry(before.state).or_default() += 1;
        if depth == DEPTH_MAX {
            continue;
        }
        let mut steps = messages.clone();
        if let Some(record) = flying(&node) {
            let of = (record.instrument, record.side);
            let usd = record.qty.0 / NANO;
            let id = 1000 + before.intents.len() as u64;
            steps.push(trade(&record.label, id, of, usd, node.now));
            steps.push(report(&record.label, id, of, 0, VenueState::Cancelled));
        }
        for step in steps {
            let mut next = node.clone();
            let filled = |node: &Node| node.kernel.orders.own_trades.len();
            let fills = filled(&next);
            next.tell(&step);
            transitions += 1;
            let after = &next.kernel.groups.all[GROUP];
            let late = filled(&next) > fills
                && matches!(before.state, GroupState::Flattened | GroupState::Complete)
                && after.is_contained();
            assert!(
                group_may_follow(before.state, after.state) || late,
                "{:?} -> {:?} by {step:?}",
                before.state,
                after.state
            );
            assert!(before.failure.is_none() || after.failure == before.failure, "the first failure stays");
            let leg_orders: Vec<_> = legs.iter().map(|leg| &next.kernel.orders.intents[leg]).collect();
            if after.state == GroupState::Complete {
                assert!(leg_orders.iter().all(|order| order.state.is_terminal() && order.filled == order.record.qty));
                assert_eq!(after.failure, None);
            }
            // Own trades sum up to what the orders have filled, whatever the order of messages.
            let signed: i64 = after
                .intents
                .iter()
                .map(|intent| &next.kernel.orders.intents[intent])
                .map(|order| order.record.side.sign(order.filled.0))
                .sum();
            let positions: i64 = next.kernel.orders.positions.iter().map(|qty| qty.0).sum();
            assert_eq!(signed, positions);
            // Nothing but containment is sent once a leg has failed.
            let opens = after
                .intents
                .iter()
                .filter(|intent| next.kernel.orders.intents[*intent].record.class == IntentClass::Open)
                .count();
            assert_eq!(opens, 2);
            if seen.insert(key(&next)) {
                queue.push_back((next, depth + 1));
            }
        }
    }
    println!("group: {} states of the key, {transitions} transitions, depth {deepest}; {reached:?}", seen.len());
    for state in [GroupState::Dispatched, GroupState::Complete, GroupState::Flattening, GroupState::Flattened] {
        assert!(reached.contains_key(&state), "{state:?} is never reached");
    }
    assert!(seen.len() > 20_000 && deepest == DEPTH_MAX, "{}", seen.len());
}

// ---- the latch ----

/// What sets a code; what its own condition needs comes along, so that the run alone decides.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Set(C),
    /// The run's outstanding request is answered.
    Answer,
    /// The run's outstanding request is refused.
    Refuse,
    /// Nothing but a tick.
    Tick,
}

/// The latch by the contract's sentence alone: a code leaves in the event of a successful run that began no earlier than
/// the code was last raised, and at no other time.
#[derive(Clone, Debug, Default)]
struct Model {
    raised: BTreeMap<C, u64>,
    run: Option<u64>,
}

impl Model {
    fn hear(&mut self, seq: u64, sets: Option<C>, effects: &[Effect]) {
        if let Some(code) = sets {
            self.raised.insert(code, seq);
        }
        for effect in effects {
            match effect {
                Effect::Note(Note::RunStarted) => self.run = Some(seq),
                Effect::Note(Note::RunFailed(_)) => self.run = None,
                Effect::Note(Note::RunSucceeded) => {
                    let begun = self.run.take().expect("a run that succeeds began");
                    self.raised.retain(|_, raised| *raised > begun);
                }
                _ => {}
            }
        }
    }

    /// Which codes are set, and whether the run going on can clear each.
    fn key(&self) -> (Vec<(C, bool)>, bool) {
        let clears = |raised: u64| self.run.is_some_and(|begun| raised <= begun);
        (self.raised.iter().map(|(code, raised)| (*code, clears(*raised))).collect(), self.run.is_some())
    }
}

fn outstanding(kernel: &Kernel) -> Option<RequestId> {
    kernel.session.reconcile.run.as_ref().map(|run| run.request)
}

fn turn(node: &mut Node, model: &mut Model, what: Turn, queries: &mut BTreeMap<RequestId, RestQuery>) {
    let asked = outstanding(&node.kernel).and_then(|request| queries.get(&request).cloned());
    let mut tell = |node: &mut Node, event: Event, sets: Option<C>| {
        let effects = node.tell(&event);
        for effect in &effects {
            if let Effect::Rest { request, query } = effect {
                queries.insert(*request, query.clone());
            }
        }
        model.hear(node.seq, sets, &effects);
        let found: Vec<C> = node.kernel.latch.codes().collect();
        assert_eq!(found, model.raised.keys().copied().collect::<Vec<_>>(), "after {event:?}");
        let mode = node.kernel.core.resolution.mode;
        assert!(found.is_empty() || mode != TradingMode::Active);
    };
    let answer = |node: &Node, request: RequestId, query: &RestQuery| Event::RestAnswered {
        request,
        venue_time: node.now,
        round_trip_ms: 20,
        answer: match query {
            RestQuery::OpenOrders => RestAnswer::OpenOrders(Vec::new()),
            RestQuery::Positions => RestAnswer::Positions(Vec::new()),
            RestQuery::OwnTrades { .. } => RestAnswer::OwnTrades(Vec::new()),
            RestQuery::OrderHistory { .. } => RestAnswer::OrderHistory(Vec::new()),
            RestQuery::Book(id) => RestAnswer::Book(book(*id, 1)),
            RestQuery::RecentTrades(id) => RestAnswer::RecentTrades { instrument: *id, trades: Vec::new() },
        },
    };
    let snapshot = |change_id: u64| Event::BookSnapshot(book(FUTURE, change_id));
    match what {
        Turn::Set(C::WsBookGapReconcileRequired) => {
            let rejected = Event::FrameRejected {
                socket: Socket::Public,
                instrument: Some(FUTURE),
                channel: drillfold_kernel::event::Channel::Book,
            };
            tell(node, rejected, Some(C::WsBookGapReconcileRequired));
            let change_id = 1_000_000 + node.seq;
            tell(node, snapshot(change_id), None);
        }
        Turn::Set(C::WsTradesGapReconcileRequired) => {
            let rejected = Event::FrameRejected {
                socket: Socket::Public,
                instrument: Some(FUTURE),
                channel: drillfold_kernel::event::Channel::Trades,
            };
            tell(node, rejected, Some(C::WsTradesGapReconcileRequired));
            let pull = node.kernel.feeds.trades[FUTURE.index()].hole.and_then(|hole| hole.pull).expect("it is pulled");
            let pulled = answer(node, pull, &RestQuery::RecentTrades(FUTURE));
            tell(node, pulled, None);
        }
        Turn::Set(C::InventoryMismatchReconcileRequired) => {
            tell(node, Event::OrderUpdated(ghost()), Some(C::InventoryMismatchReconcileRequired));
        }
        Turn::Set(C::SessionTerminationReconcileRequired) => {
            let lost = Event::SocketClosed { socket: Socket::Private, cause: CloseCause::Lost };
            tell(node, lost, Some(C::SessionTerminationReconcileRequired));
            tell(node, Event::Authenticated, None);
        }
        Turn::Set(C::RestartReconcileRequired | C::WsDataStaleReconcileRequired) | Turn::Tick => {
            tell(node, Event::LoopTicked, None);
        }
        Turn::Answer => {
            if let Some(request) = outstanding(&node.kernel) {
                let query = asked.expect("the run's request was seen");
                let answered = answer(node, request, &query);
                tell(node, answered, None);
            }
        }
        Turn::Refuse => {
            if let Some(request) = outstanding(&node.kernel) {
                tell(node, Event::RestRefused { request, code: 500, round_trip_ms: 20 }, None);
            }
        }
    }
}

/// Every subset of codes, with setting, renewing, answering and refusing at every stage of a run: 605 states of the key,
/// 4,235 transitions, 32 subsets. Staleness is left out: it needs time, which the other codes do not.
#[test]
fn at_010_011_every_interleaving_of_codes_and_runs() {
    let mut rig = boots(|boot| {
        boot.config.book_gap_quiet_s = 0;
        boot.config.ws_stale_clear_s = 0;
    });
    rig.tell(Event::Subscribed);
    rig.snapshot(PERPETUAL);
    rig.snapshot(FUTURE);
    rig.tell(Event::Authenticated);
    assert_eq!(config().reconcile_interval_s, rig.boot.config.reconcile_interval_s);
    let turns = [
        Turn::Set(C::WsBookGapReconcileRequired),
        Turn::Set(C::WsTradesGapReconcileRequired),
        Turn::Set(C::InventoryMismatchReconcileRequired),
        Turn::Set(C::SessionTerminationReconcileRequired),
        Turn::Answer,
        Turn::Refuse,
        Turn::Tick,
    ];
    let queries: BTreeMap<RequestId, RestQuery> =
        rig.asked.iter().map(|(id, (query, _))| (*id, query.clone())).collect();
    // The boot's code was set by the first event, before its run began or within the same event.
    let first = Model {
        raised: BTreeMap::from([(C::RestartReconcileRequired, 1)]),
        run: rig.kernel.session.reconcile.run.as_ref().map(|run| run.started.seq.0),
    };
    let key = |node: &Node, model: &Model| {
        let reconcile = &node.kernel.session.reconcile;
        let stage = reconcile.run.as_ref().map(|run| (run.stage as u8, run.ghost));
        let hole = node.kernel.feeds.trades.iter().any(|feed| feed.hole.is_some());
        (model.key(), stage, reconcile.wanted, hole)
    };
    let mut seen = BTreeSet::new();
    let mut subsets = BTreeSet::new();
    let mut transitions = 0_u64;
    let start = Node::of(&rig);
    seen.insert(key(&start, &first));
    let mut queue = VecDeque::from([(start, first, queries)]);
    while let Some((node, model, queries)) = queue.pop_front() {
        subsets.insert(model.raised.keys().copied().collect::<Vec<_>>());
        for what in turns {
            let (mut node, mut model, mut queries) = (node.clone(), model.clone(), queries.clone());
            turn(&mut node, &mut model, what, &mut queries);
            transitions += 1;
            if seen.insert(key(&node, &model)) {
                queries.retain(|request, _| Some(*request) == outstanding(&node.kernel));
                queue.push_back((node, model, queries));
            }
        }
    }
    println!("latch: {} states of the key, {transitions} transitions, {} subsets of codes", seen.len(), subsets.len());
    // The boot's code can be set with any of the four, until its run succeeds.
    assert_eq!(subsets.len(), 32, "{subsets:?}");
    assert_eq!(transitions, seen.len() as u64 * turns.len() as u64);
}

// ---- the resolver ----

/// All 2^21 sets of reasons: mode, tier, order, nothing left out, nothing added, and the same answer from the axes.
#[test]
fn at_025_026_417_every_set_of_reasons() {
    use drillfold_kernel::registry::{ModeReason, Tier};
    let count = ModeReason::ALL.len();
    assert_eq!(count, 21);
    let of_kill: Vec<bool> = ModeReason::ALL.iter().map(|reason| reason.tier() == Tier::Kill).collect();
    let mut modes = [0_u32; 3];
    for bits in 0..1_u32 << count {
        let active = (0..count).filter(|place| bits >> place & 1 == 1);
        let set = active.clone().fold(ReasonSet::EMPTY, |set, place| set.with(ModeReason::ALL[place], true));
        let resolution = resolve(set);
        let kill = active.clone().any(|place| of_kill[place]);
        let mode = match (bits, kill) {
            (0, _) => TradingMode::Active,
            (_, false) => TradingMode::ReduceOnly,
            (_, true) => TradingMode::Kill,
        };
        assert_eq!((resolution.mode, mode_of(resolution.axes)), (mode, mode), "{bits:021b}");
        // In ascending place, which is registry order; of one tier; all of it.
        assert!(resolution.reasons.iter().map(ModeReason::index).eq(active.filter(|place| of_kill[*place] == kill)));
        modes[mode.index()] += 1;
    }
    println!("resolver: 2097152 sets, by mode {modes:?}");
    assert_eq!(modes.iter().sum::<u32>(), 2_097_152);
}

/// All ordered pairs of reasons: raising the second beside the first never loosens the mode, and shows one tier in order.
#[test]
fn at_025_026_1053_every_pair_of_reasons() {
    use drillfold_kernel::registry::ModeReason;
    let mut pairs = 0;
    for first in ModeReason::ALL {
        let alone = resolve(ReasonSet::EMPTY.with(first, true));
        assert_eq!(alone.reasons(), [first]);
        for second in ModeReason::ALL {
            let both = resolve(ReasonSet::EMPTY.with(first, true).with(second, true));
            let shown = both.reasons();
            assert!(alone.mode.index() <= both.mode.index());
            assert!(shown.iter().all(|reason| reason.tier() == shown[0].tier()));
            assert!(shown.is_sorted_by_key(|reason| reason.index()));
            let mut expected = vec![first, second];
            expected.sort_by_key(|reason| reason.index());
            expected.dedup();
            if first.tier() != second.tier() {
                expected.truncate(1);
            }
            assert_eq!(shown, expected);
            pairs += 1;
        }
    }
    assert_eq!(pairs, 441);
}
