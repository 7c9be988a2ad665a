//! The world as a whole, driven by a kernel so small that it only echoes: it subscribes, authenticates, sends what is
//! proposed and asks a few questions.

use std::collections::BTreeMap;

use drillfold_kernel::{
    config::Config,
    effect::{CancelReason, CancelRequest, Effect, OrderRequest, RestQuery, Route},
    event::{
        Action as LegAction, BookChange, BookSnapshot, CloseCause, Event, GroupProposal, InstrumentKind, IntentClass,
        IntentRecord, LedgerRecord, LegProposal, Level, OperatorCommand, OrderType, Override, Producer, RestAnswer,
        SlotReading, Socket, TimeInForce, TlsmState, VenueState,
    },
    identity::{Fields, intent_hash, label, parse_label},
    slot::Slot,
    units::{InstrumentId, IntentHash, NANO, Ppm, Price, Qty, RequestId, Side, TimeMs},
};
use proptest::prelude::*;

use super::*;
use crate::{
    exchange::MarketData,
    scenario::model::{
        Action, Announcements, CrashPoint, Host, HostInput, InputState, InstrumentSetup, Latency, LedgerWriter, Market,
        MarketStress, Scenario, Step, Strategy, Withheld, World,
    },
};

const START: TimeMs = TimeMs(1_767_603_600_000);
const BTC: InstrumentId = InstrumentId(0);

fn instrument(name: &str, kind: InstrumentKind, tick: i64, step: i64, mid: i64, level: i64) -> InstrumentSetup {
    InstrumentSetup {
        name: name.into(),
        kind,
        underlying: "BTC".into(),
        tick_size: Price(tick),
        amount_step: Qty(step),
        min_amount: Qty(step),
        mid: Price(mid),
        level_qty: Qty(level),
        delta: None,
        synthetic: true,
    }
}

fn scenario(steps: Vec<Step>) -> Scenario {
    Scenario {
        name: "world".into(),
        variant: None,
        drill: None,
        matrix: None,
        title: String::new(),
        shows: String::new(),
        seed: 7,
        start: START,
        duration_ms: 10_000,
        events_max: 100_000,
        build_id: "drill-build-1".into(),
        config: Vec::new(),
        world: World {
            instruments: vec![
                instrument(
                    "BTC-PERPETUAL",
                    InstrumentKind::Perpetual,
                    NANO / 2,
                    10 * NANO,
                    60_000 * NANO,
                    50_000 * NANO,
                ),
                instrument(
                    "BTC-26JUN26-60000-C",
                    InstrumentKind::Option,
                    NANO / 2_000,
                    NANO / 10,
                    NANO / 20,
                    50 * NANO,
                ),
            ],
            market: Market {
                book_every_ms: 100,
                book_jitter_ms: 40,
                trades_every_ms: 300,
                ticker_every_ms: 500,
                levels: 4,
                walk_ticks: 2,
                index: vec![("BTC".into(), Price(60_000 * NANO))],
            },
            recording: None,
            keepalives: true,
            latency: Latency { public_ms: (2, 90), private_ms: (2, 30), rest_ms: (5, 40) },
            host: Host {
                sample_every_ms: 1_000,
                heartbeat_every_ms: 1_000,
                refresh_every_ms: 5_000,
                mm_util: Ppm(100_000),
                disk: Ppm(400_000),
                disk_secondary: Ppm(400_000),
                drift_ms: 3,
                volatility: Ppm(500_000),
            },
            ledger: LedgerWriter { drain_every_ms: 20, batch: 64 },
            withhold: Vec::new(),
        },
        strategy: Strategy {
            open_every_ms: 250,
            close_every_ms: 900,
            cancel_every_ms: 1_300,
            resting_every: 4,
            instruments: vec![0],
            open_qty: Qty(100 * NANO),
            close_qty: Qty(50 * NANO),
            position_max: Qty(300 * NANO),
            from_ms: 500,
        },
        steps,
        snapshots: Vec::new(),
        expectations: Vec::new(),
        risks: Vec::new(),
        digest: [0; 32],
    }
}

fn step(at_ms: i64, action: Action) -> Step {
    Step { at_ms, trigger: false, says: format!("at {at_ms}"), action }
}

fn deployment() -> Deployment {
    Deployment {
        config: Config { loop_tick_ms: 100, poll_s: 60, instrument_cache_ttl_s: 3_600, ..Config::default() },
        runtime_config_hash: "c0ffee".into(),
        reference_instrument: Some("BTC-PERPETUAL".into()),
    }
}

/// The echo.
#[derive(Default)]
struct Echo {
    ticks: u64,
    requests: u64,
    labels: BTreeMap<IntentHash, String>,
    orders_over_rest: bool,
    change_ids: BTreeMap<InstrumentId, u64>,
}

impl Echo {
    fn apply(&mut self, at: TimeMs, event: &Event) -> Vec<Effect> {
        match event {
            Event::Booted(_) => vec![
                Effect::Authenticate,
                Effect::Subscribe,
                Effect::WriteSlot(Box::new(Slot { bunker: true, ..Slot::default() })),
            ],
            Event::SocketOpened(Socket::Public) => vec![Effect::Subscribe],
            Event::SocketOpened(Socket::Private) => vec![Effect::Authenticate],
            Event::SocketClosed { socket: Socket::Public, .. } => vec![Effect::ConnectPublic],
            Event::SocketClosed { socket: Socket::Private, .. } => vec![Effect::ConnectPrivate],
            Event::AuthenticationRefused { .. } => vec![Effect::Authenticate],
            Event::LoopTicked => self.tick(),
            Event::GroupProposed(proposal) => self.send(at, proposal),
            Event::CancelProposed { intent } => vec![Effect::Cancel(CancelRequest {
                order_id: None,
                label: self.labels[intent].clone(),
                why: CancelReason::Strategy,
                route: Route::Socket,
            })],
            Event::BookSnapshot(snapshot) => {
                self.change_ids.insert(snapshot.instrument, snapshot.change_id);
                Vec::new()
            }
            Event::BookChanged(change) => {
                let before = self.change_ids.insert(change.instrument, change.change_id);
                if before == Some(change.prev_change_id) {
                    Vec::new()
                } else {
                    vec![Effect::ResubscribeBook(change.instrument)]
                }
            }
            _ => Vec::new(),
        }
    }

    fn tick(&mut self) -> Vec<Effect> {
        self.ticks += 1;
        if !self.ticks.is_multiple_of(10) {
            return Vec::new();
        }
        let queries = [
            RestQuery::OpenOrders,
            RestQuery::Positions,
            RestQuery::OwnTrades { since: START },
            RestQuery::OrderHistory { labels: self.labels.values().cloned().collect() },
            RestQuery::Book(BTC),
            RestQuery::RecentTrades(BTC),
        ];
        let mut effects = vec![Effect::KeepAlivePublic, Effect::KeepAlivePrivate];
        for query in queries {
            self.requests += 1;
            effects.push(Effect::Rest { request: RequestId(self.requests), query });
        }
        effects
    }

    fn send(&mut self, at: TimeMs, proposal: &GroupProposal) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (leg, order) in (0_u16..).zip(&proposal.legs) {
            let class = if order.reduce_only == Some(true) { IntentClass::Close } else { IntentClass::Open };
            let intent = intent_hash(&Fields {
                instrument: "any",
                side: order.side,
                qty: order.qty,
                price: order.price,
                group_id: &proposal.group_id,
                leg,
            });
            let label = label(&proposal.strategy_id, &proposal.group_id, leg, intent).unwrap();
            self.labels.insert(intent, label.clone());
            effects.push(Effect::Enqueue(LedgerRecord::Intent(Box::new(IntentRecord {
                intent,
                group_id: proposal.group_id.clone(),
                leg,
                class,
                instrument: order.instrument,
                side: order.side,
                qty: order.qty,
                price: order.price,
                reduce_only: order.reduce_only == Some(true),
                time_in_force: order.time_in_force,
                label: label.clone(),
                at,
            }))));
            effects.push(Effect::Place(Box::new(OrderRequest {
                intent,
                class,
                label,
                instrument: order.instrument,
                side: order.side,
                qty: order.qty,
                price: order.price,
                reduce_only: order.reduce_only == Some(true),
                time_in_force: order.time_in_force,
                route: if self.orders_over_rest { Route::Rest } else { Route::Socket },
            })));
            effects.push(Effect::Enqueue(LedgerRecord::Transition {
                intent,
                state: TlsmState::Sent,
                order_id: None,
                at,
            }));
        }
        effects
    }
}

struct Run {
    inputs: Vec<Input>,
    simulation: Simulation,
}

impl Run {
    fn events(&self) -> impl Iterator<Item = (i64, &Event)> {
        self.inputs.iter().map(|input| (input.at.since(START), &input.event))
    }

    /// Returns the times, in ms from the start, of the events that fit.
    fn times(&self, fits: impl Fn(&Event) -> bool) -> Vec<i64> {
        self.events().filter(|(_, event)| fits(event)).map(|(at, _)| at).collect()
    }

    fn boots(&self) -> Vec<(i64, &drillfold_kernel::event::Boot)> {
        self.events()
            .filter_map(|(at, event)| match event {
                Event::Booted(boot) => Some((at, &**boot)),
                _ => None,
            })
            .collect()
    }

    fn trade_seqs(&self, instrument: InstrumentId) -> Vec<u64> {
        self.events()
            .filter_map(|(_, event)| match event {
                Event::TradesReceived { instrument: of, trades } if *of == instrument => Some(trades[0].trade_seq),
                _ => None,
            })
            .collect()
    }

    fn gaps(&self) -> Vec<InstrumentId> {
        let mut last = BTreeMap::new();
        let mut gaps = Vec::new();
        for (_, event) in self.events() {
            match event {
                Event::BookSnapshot(snapshot) => {
                    last.insert(snapshot.instrument, snapshot.change_id);
                }
                Event::BookChanged(change)
                    if last.insert(change.instrument, change.change_id) != Some(change.prev_change_id) =>
                {
                    gaps.push(change.instrument);
                }
                _ => {}
            }
        }
        gaps
    }
}

fn run_with(scenario: &Scenario, mut echo: Echo, recording: Option<Vec<RecordedInput>>) -> Run {
    let mut simulation = Simulation::new(scenario, deployment(), recording).unwrap();
    let mut inputs = Vec::new();
    while let Some(input) = simulation.next() {
        let effects = echo.apply(input.at, &input.event);
        inputs.push(input);
        simulation.carry_out(&effects);
    }
    Run { inputs, simulation }
}

fn run(scenario: &Scenario) -> Run {
    run_with(scenario, Echo::default(), None)
}

fn run_steps(steps: Vec<Step>) -> Run {
    run(&scenario(steps))
}

fn is_payload(event: &Event) -> bool {
    matches!(
        event,
        Event::BookSnapshot(_) | Event::BookChanged(_) | Event::TradesReceived { .. } | Event::TickerReceived(_)
    )
}

fn is_open(event: &Event) -> bool {
    matches!(event, Event::GroupProposed(proposal) if proposal.legs[0].reduce_only == Some(false))
}

fn stops_between(times: &[i64], from: i64, to: i64) -> bool {
    times.iter().all(|at| *at < from || *at > to)
}

#[test]
fn the_seed_decides_and_nothing_else() {
    let base = scenario(vec![step(4_000, Action::DropPublicSocket), step(6_000, Action::TooManyRequests)]);
    assert_eq!(run(&base).inputs, run(&base).inputs);
    let other = Scenario { seed: 8, ..base.clone() };
    assert_ne!(run(&base).inputs, run(&other).inputs);
}

#[test]
fn everything_flows() {
    let run = run_steps(Vec::new());
    let count = |fits: fn(&Event) -> bool| run.times(fits).len();
    assert_eq!(run.inputs[0].at, START);
    assert!(matches!(run.inputs[0].event, Event::Booted(_)));
    assert_eq!(run.times(|event| *event == Event::LoopTicked), (1..=100).map(|n| n * 100).collect::<Vec<_>>());
    assert_eq!(count(|event| *event == Event::Authenticated), 1);
    assert_eq!(count(|event| *event == Event::Subscribed), 1);
    assert_eq!(count(|event| matches!(event, Event::BookSnapshot(_))), 2);
    assert!(count(|event| matches!(event, Event::BookChanged(_))) > 120);
    assert!(count(|event| matches!(event, Event::TickerReceived(_))) > 30);
    assert_eq!(count(is_open), 39);
    assert!(count(|event| matches!(event, Event::OwnTraded(_))) > 20);
    assert!(count(|event| matches!(event, Event::CancelProposed { .. })) > 3);
    assert!(count(|event| matches!(event, Event::OrderUpdated(order) if order.state == VenueState::Cancelled)) > 3);
    assert!(count(|event| matches!(event, Event::OrderUpdated(order) if order.reduce_only)) > 10);
    assert!(count(|event| matches!(event, Event::FrameHeard(Socket::Public))) >= 9);
    assert!(count(|event| matches!(event, Event::FrameHeard(Socket::Private))) >= 9);
    assert!(count(|event| matches!(event, Event::LedgerDrained { .. })) > 30);
    assert_eq!(count(|event| matches!(event, Event::HeartbeatSeen)), 10);
    assert_eq!(count(|event| matches!(event, Event::CertificateRead(Some(_)))), 2);
    assert_eq!(count(|event| matches!(event, Event::OrderRejected { .. })), 0);
    assert_eq!(count(|event| matches!(event, Event::RestRefused { .. })), 0);
    assert!(count(|event| matches!(event, Event::RestAnswered { .. })) >= 54);
    assert!(run.inputs.windows(2).all(|pair| pair[0].at <= pair[1].at));
    assert_eq!(run.simulation.ending(), Some(Ending::Duration));
}

#[test]
fn sockets_keep_order_in_spite_of_wide_delays() {
    let run = run_steps(Vec::new());
    assert_eq!(run.gaps(), []);
    for instrument in [BTC, InstrumentId(1)] {
        let seqs = run.trade_seqs(instrument);
        assert!(seqs.len() > 25 && seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    }
    // Acknowledgement, fill, final state: each order's reports come in this order.
    let mut last: BTreeMap<String, u8> = BTreeMap::new();
    for (_, event) in run.events() {
        let (label, stage) = match event {
            Event::OrderUpdated(order) if order.filled.is_zero() && order.state == VenueState::Open => {
                (&order.label, 1)
            }
            Event::OwnTraded(trades) => (&trades[0].label, 2),
            Event::OrderUpdated(order) => (&order.label, 3),
            _ => continue,
        };
        let before = last.insert(label.clone(), stage).unwrap_or(0);
        assert!(before < stage, "{label}: {before} then {stage}");
    }
}

#[test]
fn rest_answers_carry_the_venues_time_within_their_round_trip() {
    let run = run_steps(Vec::new());
    let mut overtaken = false;
    let mut last = 0;
    for input in &run.inputs {
        if let Event::RestAnswered { request, venue_time, round_trip_ms, .. } = &input.event {
            let sent_at = input.at.before(*round_trip_ms);
            assert!((10..=80).contains(round_trip_ms) && sent_at < *venue_time && *venue_time < input.at);
            overtaken |= request.0 < last;
            last = request.0;
        }
    }
    assert!(overtaken, "requests are independent of each other");
}

#[test]
fn a_venue_without_keepalives_is_heard_on_the_private_socket_only() {
    let mut scenario = scenario(Vec::new());
    scenario.world.keepalives = false;
    let run = run(&scenario);
    assert!(run.times(|event| *event == Event::FrameHeard(Socket::Public)).is_empty());
    assert!(run.times(|event| *event == Event::FrameHeard(Socket::Private)).len() >= 9);
}

#[test]
fn a_stopped_feed_ends_with_a_payload_on_a_tick() {
    #[track_caller]
    fn check(stop_ms: i64, last_ms: i64) {
        let run = run_steps(vec![step(stop_ms, Action::StopMarketData), step(7_000, Action::ResumeMarketData)]);
        let payloads = run.times(is_payload);
        assert!(payloads.contains(&last_ms));
        assert!(stops_between(&payloads, last_ms + 1, 7_000), "{payloads:?}");
        assert!(payloads.iter().any(|at| *at > 7_000));
        let heard = run.times(|event| *event == Event::FrameHeard(Socket::Public));
        assert!(heard.iter().any(|at| (stop_ms..7_000).contains(at)));
        let seqs = run.trade_seqs(BTC);
        let holes = seqs.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
        assert_eq!(holes, 0, "{seqs:?}");
        assert!(run.simulation.step_effects()[0] > 50);
        assert_eq!(run.simulation.step_effects()[1], 1);
        let mark = run.inputs.iter().flat_map(|input| &input.marks).find(|mark| mark.step == 0).unwrap();
        assert_eq!(mark.at.since(START), stop_ms);
    }
    check(3_000, 3_000);
    check(3_050, 3_000);
    check(3_099, 3_000);
    check(3_100, 3_100);
}

#[test]
fn a_subscription_made_during_a_stop_gets_its_snapshots_at_the_resumption() {
    let run = run_steps(vec![
        step(3_000, Action::StopMarketData),
        step(4_000, Action::DropPublicSocket),
        step(7_000, Action::ResumeMarketData),
    ]);
    let opened = run.times(|event| *event == Event::SocketOpened(Socket::Public));
    let subscribed = run.times(|event| *event == Event::Subscribed);
    assert!(opened.len() == 1 && subscribed.len() == 2 && subscribed[1] < 4_500);
    let snapshots = run.times(|event| matches!(event, Event::BookSnapshot(_)));
    assert_eq!(snapshots.len(), 4);
    assert!(snapshots[2] > 7_000 && snapshots[3] < 7_200);
    assert_eq!(run.gaps(), []);
}

#[test]
fn a_feed_that_comes_back_without_a_subscription_shows_the_gap() {
    let run = run_steps(vec![step(3_000, Action::StopMarketData), step(5_000, Action::ResumeMarketData)]);
    assert!(!run.gaps().is_empty());
}

#[test]
fn lost_changes_are_gaps_and_a_resubscription_heals_them() {
    let run = run_steps(vec![step(3_000, Action::DropBookChanges { instrument: 0, count: 2 })]);
    assert_eq!(run.simulation.step_effects(), [2]);
    let gaps = run.gaps();
    assert!(!gaps.is_empty() && gaps.iter().all(|instrument| *instrument == BTC));
    let snapshots = run.times(|event| matches!(event, Event::BookSnapshot(snapshot) if snapshot.instrument == BTC));
    assert!(snapshots.len() >= 2 && snapshots[1] > 3_000 && snapshots[1] < 3_800);
}

#[test]
fn trade_faults_do_what_they_say() {
    #[track_caller]
    fn check(action: Action, struck: u64, fits: fn(&[u64]) -> bool) {
        let run = run_steps(vec![step(3_000, action)]);
        assert_eq!(run.simulation.step_effects(), [struck]);
        assert!(fits(&run.trade_seqs(BTC)), "{:?}", run.trade_seqs(BTC));
        let others = run.trade_seqs(InstrumentId(1));
        assert!(others.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }
    check(Action::DropTrades { instrument: 0, count: 3 }, 3, |seqs| {
        seqs.windows(2).filter(|pair| pair[1] == pair[0] + 4).count() == 1
    });
    check(Action::RepeatTrades { instrument: 0, count: 2 }, 2, |seqs| {
        seqs.windows(2).filter(|pair| pair[1] == pair[0]).count() == 2
    });
    check(Action::StepBackTrades { instrument: 0, by: 5 }, 1, |seqs| {
        seqs.windows(3).filter(|three| three[1] + 4 == three[0] && three[2] == three[0] + 2).count() == 1
    });
    let run = run_steps(vec![step(3_000, Action::RepeatOwnTrades { count: 2 })]);
    let messages: Vec<&Event> =
        run.events().map(|(_, event)| event).filter(|event| matches!(event, Event::OwnTraded(_))).collect();
    assert_eq!(messages.windows(2).filter(|pair| pair[0] == pair[1]).count(), 2);
}

#[test]
fn order_faults_do_what_they_say() {
    let run = run_steps(vec![step(
        3_000,
        Action::RejectOrders { instrument: Some(0), only_legs: true, count: 2, code: 10_009 },
    )]);
    let codes = run.times(|event| matches!(event, Event::OrderRejected { code: 10_009, .. }));
    assert_eq!((codes.len(), run.simulation.step_effects()), (2, &[2][..]));

    let run = run_steps(vec![step(3_000, Action::StarveOrders { instrument: None, count: 3, fill: Ppm(500_000) })]);
    assert_eq!(run.simulation.step_effects(), [3]);
    let starved = run.times(|event| {
        matches!(event, Event::OrderUpdated(order)
            if order.state == VenueState::Cancelled && order.filled > Qty::ZERO && order.filled < order.qty)
    });
    assert_eq!(starved.len(), 3);

    let other = run_steps(vec![step(
        3_000,
        Action::RejectOrders { instrument: Some(1), only_legs: false, count: 2, code: 10_009 },
    )]);
    assert_eq!(other.simulation.step_effects(), [0]);
}

#[test]
fn a_session_ended_with_10028_says_so_and_closes() {
    let run = run_steps(vec![step(3_000, Action::TooManyRequests)]);
    let errored = run.times(|event| *event == Event::VenueErrored { code: 10_028 });
    let closed =
        run.times(|event| *event == Event::SocketClosed { socket: Socket::Private, cause: CloseCause::SessionEnded });
    assert!(errored.len() == 1 && closed.len() == 1 && errored[0] <= closed[0]);
    let authenticated = run.times(|event| *event == Event::Authenticated);
    assert!(authenticated.len() == 2 && authenticated[1] > closed[0]);
    let told = run.times(|event| matches!(event, Event::OrderUpdated(_) | Event::OwnTraded(_)));
    assert!(stops_between(&told, closed[0], authenticated[1]));
    assert_eq!(run.simulation.step_effects(), [1]);
}

#[test]
fn sessions_end_in_each_way() {
    #[track_caller]
    fn check(action: Action, cause: CloseCause, refusals: usize, refused_with: i32, effects: u64) {
        let run = run_steps(vec![step(3_000, action)]);
        let closed = run.times(|event| matches!(event, Event::SocketClosed { socket: Socket::Private, .. }));
        assert_eq!(closed.len(), 1);
        assert!(run.events().any(|(_, event)| *event == Event::SocketClosed { socket: Socket::Private, cause }));
        let refused = run.times(|event| *event == Event::AuthenticationRefused { code: refused_with });
        assert_eq!(refused.len(), refusals);
        assert_eq!(run.simulation.step_effects(), [effects]);
        assert_eq!(run.times(|event| *event == Event::Authenticated).len(), 2);
    }
    check(Action::EndSession, CloseCause::SessionEnded, 0, 0, 1);
    check(Action::RevokeKey { refused: 3 }, CloseCause::KeyRevoked, 3, 13_004, 4);
    check(Action::RevokeKey { refused: 0 }, CloseCause::KeyRevoked, 0, 13_004, 1);
    check(Action::DropPrivateSocket, CloseCause::Lost, 0, 0, 1);
}

#[test]
fn refused_authentications_have_their_code() {
    let run = run_steps(vec![
        step(2_900, Action::RefuseAuthentication { count: 2, code: 10_028 }),
        step(3_000, Action::DropPrivateSocket),
    ]);
    assert_eq!(run.times(|event| *event == Event::AuthenticationRefused { code: 10_028 }).len(), 2);
    assert_eq!(run.simulation.step_effects(), [2, 1]);
}

#[test]
fn rest_faults_do_what_they_say() {
    let run = run_steps(vec![
        step(2_900, Action::RefuseRest { count: 2, code: 429 }),
        step(4_900, Action::LoseRest { count: 3 }),
    ]);
    assert_eq!(run.times(|event| matches!(event, Event::RestRefused { code: 429, .. })).len(), 2);
    let healthy = run_steps(Vec::new());
    let answered = |run: &Run| run.times(|event| matches!(event, Event::RestAnswered { .. })).len();
    assert_eq!(answered(&run) + 5, answered(&healthy));
    assert_eq!(run.simulation.step_effects(), [2, 3]);
}

#[test]
fn orders_over_rest_need_no_socket() {
    let mut quiet = scenario(vec![step(400, Action::RefuseRest { count: 1, code: 429 })]);
    quiet.strategy.resting_every = 0;
    let echo = Echo { orders_over_rest: true, ..Echo::default() };
    let run = run_with(&quiet, echo, None);
    assert_eq!(run.times(|event| matches!(event, Event::OrderRejected { code: 429, .. })).len(), 1);
    assert!(run.times(|event| matches!(event, Event::OwnTraded(_))).len() > 20);
}

#[test]
fn a_crash_silences_everything_and_loses_the_queue() {
    for flush in [false, true] {
        let mut crashing = scenario(vec![step(3_000, Action::Crash { down_ms: 2_000, flush, damage: false })]);
        // The writer is too slow to have drained much.
        crashing.world.ledger = LedgerWriter { drain_every_ms: 1_000, batch: 5 };
        let run = run(&crashing);
        assert_eq!(run.times(|event| *event == Event::Crashed), [3_000]);
        let all = run.times(|_| true);
        assert!(stops_between(&all, 3_001, 4_999));
        let boots = run.boots();
        assert_eq!(boots.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 5_000]);
        assert_eq!((boots[0].1.ledger.len(), &boots[0].1.slot), (0, &SlotReading::Absent));
        // Four records by the first beat, five of the many by the second; a flush saves the rest.
        let survived = boots[1].1.ledger.len();
        assert!(if flush { survived > 20 } else { survived == 9 }, "{survived}");
        assert!(matches!(&boots[1].1.slot, SlotReading::Read(slot) if slot.bunker));
        assert_eq!(boots[1].1.margin.at, Some(START.after(5_000)));
        assert_eq!(boots[1].1.tickers.len(), 2);
        assert_eq!(boots[1].1.round_trips_ms.len(), 3);
        assert_eq!(run.gaps(), []);
        assert!(run.times(is_open).iter().any(|at| *at > 5_000));
    }
}

/// What the ledger and the venue know of the intent at whose point the process died.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    recorded: bool,
    sent_mark: bool,
    at_venue: bool,
    told_ack: bool,
    told_fill: bool,
}

#[test]
fn crash_points_leave_what_they_say() {
    #[track_caller]
    fn check(point: CrashPoint, expected: &Left) {
        let mut crashing = scenario(vec![step(3_000, Action::CrashAt { point, nth: 2, down_ms: 1_500 })]);
        crashing.strategy.resting_every = 0;
        crashing.strategy.close_every_ms = 0;
        let run = run(&crashing);
        assert_eq!(run.simulation.step_effects(), [1], "{point:?}");
        let crashed = run.times(|event| *event == Event::Crashed);
        assert_eq!(crashed.len(), 1);
        let boot = run.boots()[1];
        assert_eq!(boot.0, crashed[0] + 1_500);
        // The intent in question: the last one proposed before the crash.
        let group = run
            .events()
            .filter(|(at, event)| *at <= crashed[0] && is_open(event))
            .filter_map(|(_, event)| match event {
                Event::GroupProposed(proposal) => Some(proposal.group_id.clone()),
                _ => None,
            })
            .last()
            .unwrap();
        let of_group = |label: &str| parse_label(label).is_some_and(|parts| parts.group_id == group);
        let record = boot.1.ledger.iter().find_map(|record| match record {
            LedgerRecord::Intent(intent) if intent.group_id == group => Some(intent.intent),
            _ => None,
        });
        let left = Left {
            recorded: record.is_some(),
            sent_mark: boot.1.ledger.iter().any(|entry| {
                matches!(entry, LedgerRecord::Transition { intent, state: TlsmState::Sent, .. } if Some(*intent) == record)
            }),
            at_venue: run.simulation.venue().own_trades(START).iter().any(|trade| of_group(&trade.label)),
            told_ack: run.events().any(|(_, event)| {
                matches!(event, Event::OrderUpdated(order) if order.state == VenueState::Open && of_group(&order.label))
            }),
            told_fill: run.events().any(|(_, event)| {
                matches!(event, Event::OwnTraded(trades) if of_group(&trades[0].label))
            }),
        };
        assert_eq!(&left, expected, "{point:?}");
    }
    let nothing = Left { recorded: false, sent_mark: false, at_venue: false, told_ack: false, told_fill: false };
    check(CrashPoint::BeforeRecord, &nothing);
    check(CrashPoint::AfterRecord, &Left { recorded: true, ..nothing });
    check(CrashPoint::BeforeSentRecord, &Left { recorded: true, at_venue: true, ..nothing });
    let sent = Left { recorded: true, sent_mark: true, at_venue: true, ..nothing };
    check(CrashPoint::AfterSend, &sent);
    check(CrashPoint::BeforeAck, &sent);
    let acked = Left { told_ack: true, ..sent };
    check(CrashPoint::AfterAck, &acked);
    check(CrashPoint::BeforeFill, &acked);
    check(CrashPoint::AfterFill, &Left { told_fill: true, ..acked });
}

#[test]
fn a_crash_in_reconciliation_comes_with_the_positions() {
    let run = run_steps(vec![step(0, Action::CrashAt { point: CrashPoint::InReconciliation, nth: 3, down_ms: 500 })]);
    let crashed = run.times(|event| *event == Event::Crashed);
    assert!(crashed.len() == 1 && (3_000..3_100).contains(&crashed[0]));
    let positions = run.times(|event| matches!(event, Event::RestAnswered { answer: RestAnswer::Positions(_), .. }));
    assert_eq!(positions.iter().filter(|at| **at <= crashed[0]).count(), 2);
}

#[test]
fn a_redeployed_build_has_its_own_certificate() {
    let run = run_steps(vec![step(3_000, Action::Redeploy { build_id: "drill-build-2".into(), down_ms: 700 })]);
    let boots = run.boots();
    assert_eq!(boots[1].0, 3_700);
    assert_eq!(boots[1].1.build_id, "drill-build-2");
    assert_eq!(boots[1].1.certificate.as_ref().unwrap().build_id, "drill-build-2");
    assert_eq!(boots[0].1.certificate.as_ref().unwrap().build_id, "drill-build-1");
    let later = run.events().filter_map(|(at, event)| match event {
        Event::CertificateRead(Some(certificate)) if at > 3_700 => Some(certificate.build_id.as_str()),
        _ => None,
    });
    assert!(later.eq(["drill-build-2"; 2]));
    assert_eq!(boots[0].1.runtime_config_hash, "c0ffee");
}

#[test]
fn a_stalled_writer_drains_nothing() {
    let run = run_steps(vec![step(3_000, Action::StallLedger), step(5_000, Action::ResumeLedger)]);
    let drained = run.times(|event| matches!(event, Event::LedgerDrained { .. }));
    assert!(stops_between(&drained, 3_000, 4_999) && drained.iter().any(|at| *at >= 5_000));
    assert!(run.simulation.step_effects()[0] > 50);
    assert_eq!(run.simulation.step_effects()[1], 1);
}

#[test]
fn samples_change_at_once_and_go_on() {
    let run = run_steps(vec![
        step(3_050, Action::SetMargin(Ppm(960_000))),
        step(3_060, Action::SetDisk { primary: Ppm(930_000), secondary: Ppm(940_000) }),
        step(3_070, Action::SetDrift(80)),
        step(3_080, Action::SetOverride { producer: Producer::Basis, signal: Override::ForceKill }),
        step(3_090, Action::SetHeartbeat(false)),
        step(8_500, Action::SetHeartbeat(true)),
    ]);
    let margins =
        run.times(|event| matches!(event, Event::MarginSampled(sample) if sample.value == Some(Ppm(960_000))));
    assert_eq!(margins[..3], [3_050, 3_060, 4_000]);
    let overrides = run.times(|event| matches!(event, Event::OverrideSampled { .. }));
    assert_eq!(overrides, [3_080]);
    assert_eq!(run.times(|event| *event == Event::ClockDriftSampled { drift_ms: Some(80) })[0], 3_070);
    assert_eq!(run.times(|event| *event == Event::HeartbeatSeen), [1_000, 2_000, 3_000, 9_000, 10_000]);
    assert_eq!(run.simulation.step_effects(), [1; 6]);
}

#[test]
fn a_pace_that_changes_begins_anew() {
    let run = run_steps(vec![
        step(3_010, Action::SetStrategy { open_every_ms: Some(700), close_every_ms: Some(0), cancel_every_ms: None }),
        step(9_000, Action::SetStrategy { open_every_ms: Some(700), close_every_ms: None, cancel_every_ms: None }),
    ]);
    let opens: Vec<i64> = run.times(is_open).into_iter().filter(|at| *at > 3_010).collect();
    assert_eq!(opens[..3], [3_710, 4_410, 5_110]);
    let closes = run.times(|event| matches!(event, Event::GroupProposed(_)) && !is_open(event));
    assert!(!closes.is_empty() && closes.iter().all(|at| *at < 3_010));
    assert_eq!(run.simulation.step_effects(), [1, 0]);
}

#[test]
fn inputs_go_in_while_there_is_a_process() {
    let leg = |side, instrument| LegProposal {
        instrument: InstrumentId(instrument),
        side,
        action: LegAction::Place,
        reduce_only: Some(false),
        qty: Qty(10 * NANO),
        price: Price::ZERO,
        time_in_force: TimeInForce::ImmediateOrCancel,
        order_type: OrderType::Limit,
        linked: false,
        post_only: false,
        contracts: None,
    };
    let group = Action::ProposeGroup { net_edge_usd_cents: None, legs: vec![leg(Side::Buy, 0), leg(Side::Sell, 1)] };
    let token = Action::ReportToken { subsystem: "svi".into(), token: "FAKE".into() };
    let run = run_steps(vec![
        step(2_000, group.clone()),
        step(2_001, token.clone()),
        step(2_002, Action::Operator(OperatorCommand::Kill)),
        step(3_000, Action::Crash { down_ms: 1_000, flush: false, damage: false }),
        step(3_500, group),
        step(3_500, token),
        step(3_500, Action::Crash { down_ms: 1, flush: false, damage: false }),
    ]);
    assert_eq!(run.simulation.step_effects(), [1, 1, 1, 1, 0, 0, 0]);
    let legs = run.events().find_map(|(at, event)| match event {
        Event::GroupProposed(proposal) if at == 2_000 && proposal.legs.len() == 2 => Some(&proposal.legs),
        _ => None,
    });
    assert!(legs.unwrap().iter().all(|leg| leg.price > Price::ZERO));
    assert_eq!(run.times(|event| matches!(event, Event::TokenReported { .. })), [2_001]);
    assert_eq!(run.times(|event| matches!(event, Event::OperatorCommanded(_))), [2_002]);
}

#[test]
fn marks_stand_before_the_next_event_in_their_order() {
    let mut steps = vec![
        step(0, Action::RepeatOwnTrades { count: 0 }),
        step(3_050, Action::StallLedger),
        step(3_050, Action::ResumeLedger),
        step(10_000, Action::LoseRest { count: 0 }),
    ];
    steps[1].trigger = true;
    let mut run = run_steps(steps);
    let marks: Vec<&Mark> = run.inputs.iter().flat_map(|input| &input.marks).collect();
    assert_eq!(
        marks.iter().map(|mark| (mark.step, mark.trigger)).collect::<Vec<_>>()[..3],
        [(0, false), (1, true), (2, false)]
    );
    let carrier = run.inputs.iter().find(|input| input.marks.len() == 2).unwrap();
    assert!(carrier.at >= carrier.marks[1].at && carrier.marks[0].says == "at 3050");
    assert!(run.inputs[0].marks.is_empty());
    let trailing = run.simulation.trailing_marks().len();
    assert_eq!(run.inputs.iter().map(|input| input.marks.len()).sum::<usize>() + trailing, 4);
}

#[test]
fn a_run_stops_at_its_event_limit() {
    let limited = Scenario { events_max: 50, ..scenario(Vec::new()) };
    let run = run(&limited);
    assert_eq!((run.inputs.len(), run.simulation.ending()), (50, Some(Ending::EventLimit)));
}

#[test]
fn a_boot_lacks_what_is_withheld() {
    let mut withholding = scenario(Vec::new());
    withholding.world.withhold = vec![
        Withheld::Margin,
        Withheld::DiskPrimary,
        Withheld::DiskSecondary,
        Withheld::Heartbeat,
        Withheld::LoopTick,
        Withheld::Policy,
        Withheld::Certificate,
        Withheld::FeeModel,
        Withheld::Drift,
        Withheld::Overrides,
        Withheld::RoundTrips,
        Withheld::SessionFlag,
        Withheld::SessionCount,
    ];
    let run = run(&withholding);
    let boot = run.boots()[0].1;
    assert_eq!((boot.margin.value, boot.disk_primary.at, boot.disk_secondary.at), (None, None, None));
    assert_eq!((boot.heartbeat_at, boot.loop_tick_at, boot.policy_generated_at), (None, None, None));
    assert_eq!((boot.fee_cached_at, boot.drift_ms), (None, None));
    assert_eq!(boot.overrides, [None; 3]);
    assert!(boot.certificate.is_none() && boot.round_trips_ms.is_empty());
    assert!(!boot.session_flag_readable && !boot.session_count_readable);
}

fn recording(instrument: u16) -> Vec<RecordedInput> {
    let instrument = InstrumentId(instrument);
    let level = |price: i64| Level { price: Price(price * NANO / 2_000), qty: Qty(5 * NANO) };
    let snapshot = MarketData::Snapshot(BookSnapshot {
        instrument,
        change_id: 100,
        bids: vec![level(99)],
        asks: vec![level(101)],
    });
    let mut inputs = vec![RecordedInput { at_ms: 1_000, message: RecordedMessage::Data(snapshot) }];
    for number in 0..20_u64 {
        let change = BookChange {
            instrument,
            prev_change_id: 100 + number,
            change_id: 101 + number,
            bids: vec![level(98)],
            asks: Vec::new(),
        };
        let at_ms = 1_200 + i64::try_from(number).unwrap() * 300;
        inputs.push(RecordedInput { at_ms, message: RecordedMessage::Data(MarketData::Changed(change)) });
    }
    inputs
}

#[test]
fn a_recording_plays_and_its_books_can_be_asked_for_again() {
    let mut recorded = scenario(vec![step(3_000, Action::DropPublicSocket)]);
    recorded.world.instruments[1].synthetic = false;
    let run = run_with(&recorded, Echo::default(), Some(recording(1)));
    assert_eq!(run.gaps(), []);
    let ids: Vec<u64> = run
        .events()
        .filter_map(|(_, event)| match event {
            Event::BookSnapshot(snapshot) if snapshot.instrument == InstrumentId(1) => Some(snapshot.change_id),
            _ => None,
        })
        .collect();
    assert!(ids.len() == 2 && ids[0] == 100 && ids[1] > 105, "{ids:?}");
    let changes =
        run.times(|event| matches!(event, Event::BookChanged(change) if change.instrument == InstrumentId(1)));
    assert!(changes.len() >= 18 && run.trade_seqs(InstrumentId(1)).is_empty());
}

#[test]
fn worlds_that_cannot_be_are_refused() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut Scenario, &mut Deployment), recording: Vec<RecordedInput>, expected: &str) {
        let (mut scenario, mut deployment) = (scenario(Vec::new()), deployment());
        change(&mut scenario, &mut deployment);
        let error = Simulation::new(&scenario, deployment, Some(recording)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    check(|_, d| d.config.loop_tick_ms = 0, vec![], "loop_tick_ms is 0, expected 1 ms or more");
    check(|s, _| s.duration_ms = -1, vec![], "duration is -1, expected 0 or more");
    check(|s, _| s.strategy.instruments = vec![2], vec![], "the strategy names instrument 2, the table has 2");
    check(
        |s, _| s.steps = vec![step(1, Action::DropTrades { instrument: 9, count: 1 })],
        vec![],
        "a step names instrument 9, the table has 2",
    );
    check(|_, _| (), recording(7), "the recording names instrument 7, the table has 2");
    check(
        |_, d| d.reference_instrument = Some("ETH-PERPETUAL".into()),
        vec![],
        "reference instrument ETH-PERPETUAL is not listed, list it in the scenario's world",
    );
    check(
        |_, _| (),
        recording(1),
        "instrument BTC-26JUN26-60000-C is recorded and synthetic, set synthetic = false for it",
    );
    let mut backwards = recording(1);
    backwards.swap(3, 4);
    check(
        |s, _| s.world.instruments[1].synthetic = false,
        backwards,
        "recorded input 4 is at 1800 ms, after one at 2100 ms; sort the recording by time",
    );
    check(
        |s, _| s.steps = vec![step(1, Action::Crash { down_ms: -5, flush: false, damage: false })],
        vec![],
        "step.down is -5, expected 0 or more",
    );
    check(
        |s, _| s.world.instruments[0].tick_size = Price(0),
        vec![],
        "venue: instrument BTC-PERPETUAL: tick_size must be positive, found 0",
    );
}

/// Every action with its strength set to zero.
fn zero_strength() -> impl proptest::strategy::Strategy<Value = Action> {
    let base = scenario(Vec::new());
    prop::sample::select(vec![
        Action::DropBookChanges { instrument: 0, count: 0 },
        Action::DropTrades { instrument: 1, count: 0 },
        Action::RepeatTrades { instrument: 0, count: 0 },
        Action::StepBackTrades { instrument: 0, by: 0 },
        Action::RepeatOwnTrades { count: 0 },
        Action::RejectOrders { instrument: None, only_legs: false, count: 0, code: 1 },
        Action::StarveOrders { instrument: None, count: 0, fill: Ppm(0) },
        Action::StarveOrders { instrument: None, count: 9, fill: Ppm(1_000_000) },
        Action::ResumeMarketData,
        Action::ResumeLedger,
        Action::CrashAt { point: CrashPoint::AfterRecord, nth: 0, down_ms: 100 },
        Action::RefuseAuthentication { count: 0, code: 1 },
        Action::RefuseRest { count: 0, code: 429 },
        Action::LoseRest { count: 0 },
        Action::SetMargin(base.world.host.mm_util),
        Action::SetDisk { primary: base.world.host.disk, secondary: base.world.host.disk_secondary },
        Action::SetHeartbeat(true),
        Action::SetDrift(base.world.host.drift_ms),
        Action::SetOverride { producer: Producer::Cortex, signal: Override::None },
        Action::SetMarket(MarketStress::default()),
        Action::Announce(Announcements::Nothing),
        Action::SetStrategy { open_every_ms: None, close_every_ms: None, cancel_every_ms: None },
        Action::SetStrategy { open_every_ms: Some(250), close_every_ms: Some(900), cancel_every_ms: Some(1_300) },
    ])
}

mod property_tests {
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn prop_faults_of_strength_zero_change_nothing(
            seed in any::<u64>(),
            steps in prop::collection::vec((0_i64..6_000, zero_strength()), 1..8),
        ) {
            let mut steps: Vec<Step> = steps.into_iter().map(|(at_ms, action)| step(at_ms, action)).collect();
            steps.sort_by_key(|step| step.at_ms);
            let count = steps.len();
            let healthy = Scenario { seed, duration_ms: 6_000, ..scenario(Vec::new()) };
            let faulty = Scenario { steps, ..healthy.clone() };
            let (healthy, faulty) = (run(&healthy), run(&faulty));
            let bare = |run: &Run| -> Vec<(TimeMs, Event)> {
                run.inputs.iter().map(|input| (input.at, input.event.clone())).collect()
            };
            prop_assert_eq!(bare(&healthy), bare(&faulty));
            prop_assert_eq!(faulty.simulation.step_effects(), &vec![0; count]);
        }

        #[test]
        fn prop_a_stop_of_the_feed_leaves_no_hole_in_the_trades(
            seed in any::<u64>(),
            stop_ms in 1_500_i64..4_000,
            stopped_ms in 500_i64..4_000,
            reconnect in any::<bool>(),
        ) {
            let mut steps = vec![step(stop_ms, Action::StopMarketData)];
            if reconnect {
                steps.push(step(stop_ms + stopped_ms - 50, Action::DropPublicSocket));
            }
            steps.push(step(stop_ms + stopped_ms, Action::ResumeMarketData));
            let run = run(&Scenario { seed, ..scenario(steps) });
            for instrument in [BTC, InstrumentId(1)] {
                let seqs = run.trade_seqs(instrument);
                prop_assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{:?}", seqs);
            }
            let last = stop_ms - stop_ms % 100;
            let payloads = run.times(is_payload);
            prop_assert!(payloads.contains(&last) && stops_between(&payloads, last + 1, stop_ms + stopped_ms));
        }

        #[test]
        fn prop_any_timeline_ends_without_a_panic(
            seed in any::<u64>(),
            steps in prop::collection::vec((0_i64..8_000, 0_usize..22, 0_u32..5), 0..12),
        ) {
            let mut steps: Vec<Step> = steps
                .into_iter()
                .map(|(at_ms, kind, count)| step(at_ms, fault(kind, count)))
                .collect();
            steps.sort_by_key(|step| step.at_ms);
            let faulty = Scenario { seed, ..scenario(steps) };
            let (first, second) = (run(&faulty), run(&faulty));
            prop_assert_eq!(first.inputs, second.inputs);
            prop_assert_eq!(first.simulation.ending(), Some(Ending::Duration));
        }
    }

    fn fault(kind: usize, count: u32) -> Action {
        let points = [
            CrashPoint::BeforeRecord,
            CrashPoint::AfterRecord,
            CrashPoint::BeforeAck,
            CrashPoint::AfterFill,
            CrashPoint::InReconciliation,
        ];
        match kind {
            0 => Action::StopMarketData,
            1 => Action::ResumeMarketData,
            2 => Action::DropBookChanges { instrument: 0, count },
            3 => Action::DropTrades { instrument: 1, count },
            4 => Action::StarveOrders { instrument: None, count, fill: Ppm(300_000) },
            5 => Action::StallLedger,
            6 => Action::ResumeLedger,
            7 => Action::Crash { down_ms: i64::from(count) * 100, flush: count > 2, damage: count > 3 },
            8 => Action::CrashAt { point: points[count as usize % points.len()], nth: count, down_ms: 300 },
            9 => Action::Redeploy { build_id: format!("b{count}"), down_ms: 100 },
            10 => Action::TooManyRequests,
            11 => Action::RevokeKey { refused: count },
            12 => Action::DropPrivateSocket,
            13 => Action::DropPublicSocket,
            14 => Action::LoseRest { count },
            15 => Action::SetInput { input: HostInput::LoopTick, state: InputState::Silent },
            16 => Action::SetInput { input: HostInput::DiskPrimary, state: InputState::Unreadable },
            17 => Action::SetLatency {
                public_ms: Some((i64::from(count), i64::from(count) * 50)),
                private_ms: None,
                rest_ms: Some((0, i64::from(count) * 100)),
            },
            18 => Action::Announce(Announcements::Maintenance { in_ms: i64::from(count) * 100, for_ms: 500 }),
            19 => Action::StrayOrder { instrument: 0, side: Side::Buy, qty: Qty(100 * NANO), rests: count > 2 },
            20 => Action::ShiftPosition { instrument: 1, qty: Qty(i64::from(count) * NANO) },
            _ => Action::RejectOrders { instrument: None, only_legs: false, count, code: 1 },
        }
    }
}
