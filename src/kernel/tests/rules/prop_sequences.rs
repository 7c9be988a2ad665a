//! Random sequences of events: sane ones, on which kernel and reference must agree at every event, and absurd ones, which
//! the kernel must survive and answer twice the same.

use std::collections::BTreeSet;

use drillfold_kernel::{
    Kernel,
    config::Config,
    effect::{Effect, OrderRequest},
    event::{
        Action, BookChange, BookSnapshot, Boot, CancelRefusal, Certificate, Channel, CloseCause, EdgeInputs, Event,
        GroupProposal, LegProposal, Level, MaintenanceWindow, Metadata, OperatorCommand, OrderType, OutputQueue,
        Override, OwnTrade, Producer, PublicTrade, RestAnswer, Sample, Socket, Ticker, TimeInForce, VenueOrder,
        VenuePosition, VenueState,
    },
    registry::{F1CertState, ModeReason, Tier, TradingMode},
    status::Status,
    units::{InstrumentId, IntentHash, NANO, OrderId, PPM, Ppm, Price, Qty, RequestId, Seq, Side, TimeMs, TradeId},
};
use proptest::prelude::*;

use crate::{
    gates,
    kernel_rules::{group, leg, pair},
    rig::{FUTURE, Feed, PERPETUAL, Rig, START, certificate, config, healthy_boot, sample},
};

/// One step of a sane sequence.
#[derive(Clone, Debug)]
enum Step {
    /// The world runs on.
    Wait(i64),
    /// Nothing at all happens for a while.
    Gap(i64),
    /// A feed stops.
    Withhold(Feed),
    /// Every feed flows again.
    ResumeAll,
    /// The margin from now on.
    Margin(i64),
    /// Both disks from now on.
    Disks(i64, i64),
    /// A single event at the present time.
    Tell(Event),
    /// An event that depends on the present time.
    Certificate {
        passed: bool,
        bound: bool,
        age_ms: i64,
    },
    /// Maintenance from and for so many milliseconds.
    Maintenance(i64, i64),
    /// The perpetual's book has its best prices so many basis points apart, and so many USD on each.
    Quotes {
        apart_bps: i64,
        usd: i64,
    },
    /// The perpetual's index and last price from now on, in basis points above its mark.
    Prices {
        index_bps: i64,
        last_bps: i64,
    },
    /// A policy or fee model of this age.
    Policy(i64),
    Fees(i64),
    BookGap,
    TradesGap(u64),
    /// The venue refuses the next request.
    Refuse(i32),
    /// A pair of legs; how many of the first are filled before the second is refused, if it is.
    Pair {
        filled_usd: i64,
        refused: bool,
    },
    /// The strategy proposes one leg; its order rests.
    Single {
        sell: bool,
        reduce_only: bool,
    },
    /// The future's record says that it expires in so many milliseconds.
    Expires(i64),
    /// The venue refuses to cancel the oldest open order.
    CancelRefused(CancelRefusal),
    /// The strategy proposes a leg of 1000 USD that states so many contracts of ten.
    Contracts(i64),
    /// The venue fills so much of the oldest open order.
    FillOldest(i64),
    /// The venue cancels the oldest open order.
    CancelOldest,
    /// An order that the ledger does not know stands at the venue, reported or not.
    Ghost {
        reported: bool,
    },
    /// A trade of an order that the ledger does not know.
    Orphan,
    /// A position that no trade explains, zero again to end it.
    Unexplained(i64),
    /// Round trips from now on.
    RoundTrip(i64),
    /// Samples of this age.
    OldSamples(i64),
    /// Crash, down time, another build.
    Restart {
        down_ms: i64,
        rebuilt: bool,
    },
}

fn feed() -> impl Strategy<Value = Feed> {
    prop::sample::select(vec![
        Feed::Ticks,
        Feed::Heartbeats,
        Feed::Margin,
        Feed::Disks,
        Feed::Policy,
        Feed::Certificate,
        Feed::Fees,
        Feed::MarketData,
        Feed::Volatility,
        Feed::Announcements,
        Feed::PublicFrames,
        Feed::PrivateFrames,
        Feed::Answers,
        Feed::Writer,
        Feed::Venue,
    ])
}

fn signal() -> impl Strategy<Value = Event> {
    let producer = prop::sample::select(Producer::ALL.to_vec());
    let signal =
        prop::sample::select(vec![Override::None, Override::None, Override::ForceReduceOnly, Override::ForceKill]);
    (producer, signal).prop_map(|(producer, signal)| Event::OverrideSampled { producer, signal })
}

fn told() -> impl Strategy<Value = Event> {
    let closed = |socket| {
        prop::sample::select(vec![CloseCause::Lost, CloseCause::SessionEnded, CloseCause::KeyRevoked])
            .prop_map(move |cause| Event::SocketClosed { socket, cause })
    };
    let reset = prop::sample::select(ModeReason::ALL.to_vec()).prop_map(|reason| {
        Event::OperatorCommanded(OperatorCommand::IncidentReset {
            token: reason.token().into(),
            incident_id: "I".into(),
        })
    });
    let queue = prop::sample::select(vec![OutputQueue::Telemetry, OutputQueue::StatusWriter, OutputQueue::OrderEvents]);
    let channel = prop::sample::select(vec![Channel::Book, Channel::Trades, Channel::Other]);
    prop_oneof![
        3 => signal(),
        2 => prop::option::of(0..120_i64).prop_map(|drift_ms| Event::ClockDriftSampled { drift_ms }),
        3 => any::<bool>().prop_map(|succeeded| Event::LimitsFetched { succeeded }),
        2 => (queue, 0..10_u32).prop_map(|(queue, depth)| Event::OutputQueueSampled { queue, depth, capacity: 5 }),
        1 => any::<bool>().prop_map(|held| Event::GroupLockSampled { held }),
        4 => prop::sample::select(vec![10028, 10028, 10004]).prop_map(|code| Event::VenueErrored { code }),
        2 => closed(Socket::Private),
        1 => closed(Socket::Public),
        1 => prop::sample::select(vec![10028, 13004]).prop_map(|code| Event::AuthenticationRefused { code }),
        3 => reset,
        1 => Just(Event::OperatorCommanded(OperatorCommand::Kill)),
        1 => Just(Event::OperatorCommanded(OperatorCommand::EmergencyReduceOnly)),
        1 => prop::sample::select(vec!["NOT_A_TOKEN", "NetEdgeTooLow", "KILL_RISKSTATE_KILL"])
            .prop_map(|token| Event::TokenReported { subsystem: "risk".into(), token: token.into() }),
        2 => channel.prop_map(|channel| Event::FrameRejected {
            socket: Socket::Public,
            instrument: Some(PERPETUAL),
            channel
        }),
        1 => Just(Event::PolicyReceived { generated_at: None }),
        1 => Just(Event::FeeModelRead { cached_at: None }),
        1 => Just(Event::CertificateRead(None)),
        1 => Just(Event::MaintenanceAnnounced(None)),
        1 => Just(Event::AnnouncementsUnavailable),
        2 => prop::option::of(440_000..560_000_i64)
            .prop_map(|value| Event::VolatilityIndexRead { value: value.map(Ppm) }),
        1 => Just(Event::MarginSampled(Default::default())),
        1 => Just(Event::DiskSampled { primary: Default::default(), secondary: Default::default() }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop_oneof![1..1000_i64, 1000..10_000_i64, 10_000..70_000_i64].prop_map(Step::Wait),
        2 => prop_oneof![1..3000_i64, 3000..12_000_i64].prop_map(Step::Gap),
        5 => feed().prop_map(Step::Withhold),
        5 => Just(Step::ResumeAll),
        3 => prop_oneof![Just(100_000), 690_000..PPM].prop_map(Step::Margin),
        3 => (prop_oneof![Just(100_000), 790_000..PPM], 790_000..PPM).prop_map(|(a, b)| Step::Disks(a, b)),
        14 => told().prop_map(Step::Tell),
        1 => (any::<bool>(), any::<bool>(), 0..100_000_000_i64)
            .prop_map(|(passed, bound, age_ms)| Step::Certificate { passed, bound, age_ms }),
        2 => (-10_000..4_000_000_i64, 1..60_000_i64).prop_map(|(start, length)| Step::Maintenance(start, length)),
        2 => (prop::sample::select(vec![1, 25, 26, 80]), prop::sample::select(vec![99_999, 250_000, 900_000]))
            .prop_map(|(apart_bps, usd)| Step::Quotes { apart_bps, usd }),
        2 => (prop::sample::select(vec![0, 0, 55, -160]), prop::sample::select(vec![0, 0, -55, 160]))
            .prop_map(|(index_bps, last_bps)| Step::Prices { index_bps, last_bps }),
        1 => (200_000..400_000_i64).prop_map(Step::Policy),
        1 => (800_000..1_000_000_i64).prop_map(Step::Fees),
        2 => Just(Step::BookGap),
        2 => (1..5_u64).prop_map(Step::TradesGap),
        2 => prop::sample::select(vec![429, 500]).prop_map(Step::Refuse),
        3 => (0..=100_i64, any::<bool>()).prop_map(|(tens, refused)| Step::Pair { filled_usd: tens * 10, refused }),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(sell, reduce_only)| Step::Single { sell, reduce_only }),
        1 => (-1000..100_000_i64).prop_map(Step::Expires),
        1 => prop::sample::select(CANCEL_REFUSALS.to_vec()).prop_map(Step::CancelRefused),
        1 => (98..103_i64).prop_map(Step::Contracts),
        2 => (1..=100_i64).prop_map(|tens| Step::FillOldest(tens * 10)),
        1 => Just(Step::CancelOldest),
        1 => any::<bool>().prop_map(|reported| Step::Ghost { reported }),
        1 => Just(Step::Orphan),
        1 => prop::sample::select(vec![0, 0, 5, 10, 1000]).prop_map(Step::Unexplained),
        1 => prop::sample::select(vec![20, 20, 700, 751, 900]).prop_map(Step::RoundTrip),
        1 => (0..40_000_i64).prop_map(Step::OldSamples),
        2 => (0..20_000_i64, any::<bool>()).prop_map(|(down_ms, rebuilt)| Step::Restart { down_ms, rebuilt }),
    ]
}

/// Plays one step; kernel and reference are compared after every event of it.
fn play(rig: &mut Rig, step: Step, place: usize) {
    match step {
        Step::Wait(ms) => rig.wait(ms),
        Step::Gap(ms) => rig.pass(ms),
        Step::Withhold(feed) => rig.withhold(feed),
        Step::ResumeAll => rig.withheld.clear(),
        Step::Margin(value) => rig.mm_util = Ppm(value),
        Step::Disks(primary, secondary) => rig.disks = (Ppm(primary), Ppm(secondary)),
        Step::Tell(event) => rig.tell(event),
        Step::Certificate { passed, bound, age_ms } => {
            let mut read = certificate(rig.now.before(age_ms));
            read.passed = passed;
            if !bound {
                read.build_id = "other".into();
            }
            rig.tell(Event::CertificateRead(Some(read)));
        }
        Step::Maintenance(start, length) => {
            let starts_at = rig.now.after(start);
            rig.tell(Event::MaintenanceAnnounced(Some(MaintenanceWindow {
                starts_at,
                ends_at: starts_at.after(length),
            })));
        }
        Step::Quotes { apart_bps, usd } => {
            let level = |away: i64| Level { price: Price((100_000 + 5 * away) * NANO), qty: Qty(usd * NANO) };
            rig.install(vec![level(-apart_bps)], vec![level(apart_bps)]);
        }
        Step::Prices { index_bps, last_bps } => {
            rig.ticker.index = Some(Price((100_000 + 10 * index_bps) * NANO));
            rig.ticker.last = Some(Price((100_000 + 10 * last_bps) * NANO));
        }
        Step::Policy(age) => rig.tell(Event::PolicyReceived { generated_at: Some(rig.now.before(age)) }),
        Step::Fees(age) => rig.tell(Event::FeeModelRead { cached_at: Some(rig.now.before(age)) }),
        Step::BookGap => rig.change_after_gap(PERPETUAL, 1),
        Step::TradesGap(skipped) => rig.trade_after_gap(FUTURE, skipped),
        Step::Refuse(code) => {
            if let Some(request) = rig.asked.keys().next().copied() {
                rig.asked.remove(&request);
                rig.tell(Event::RestRefused { request, code, round_trip_ms: 20 });
            }
        }
        Step::Pair { filled_usd, refused } => {
            let labels = pair(rig, &format!("group{place:07}"), 1000);
            rig.answer_all();
            if let [first, second] = &labels[..] {
                rig.fill_open(first, Qty(filled_usd * NANO));
                if refused {
                    rig.cancel(second);
                } else {
                    rig.fill_open(second, Qty(1000 * NANO));
                }
            }
        }
        Step::Single { sell, reduce_only } => {
            rig.market_data();
            let side = if sell { Side::Sell } else { Side::Buy };
            let mut proposed = leg(PERPETUAL, side, 100);
            proposed.reduce_only = Some(reduce_only);
            rig.tell(group(&format!("single{place:06}"), vec![proposed]));
            rig.answer_all();
        }
        Step::Expires(ms) => {
            let record = Metadata { expires_at: Some(rig.now.after(ms)), ..gates::metadata() };
            rig.tell(Event::InstrumentFetched { instrument: FUTURE, metadata: record });
        }
        Step::CancelRefused(cause) => {
            if let Some(label) = rig.oldest_open() {
                rig.tell(Event::CancelRefused { label, cause });
            }
        }
        Step::Contracts(contracts) => {
            rig.market_data();
            rig.tell(Event::InstrumentFetched { instrument: PERPETUAL, metadata: gates::metadata() });
            let mut proposed = leg(PERPETUAL, Side::Buy, 1000);
            proposed.contracts = Some(Qty(contracts * NANO));
            rig.tell(group(&format!("contracts{place:03}"), vec![proposed]));
            rig.answer_all();
        }
        Step::FillOldest(usd) => {
            if let Some(label) = rig.oldest_open() {
                rig.fill(&label, Qty(usd * NANO));
            }
        }
        Step::CancelOldest => {
            if let Some(label) = rig.oldest_open() {
                rig.cancel(&label);
            }
        }
        Step::Ghost { reported } => {
            let order = VenueOrder {
                order_id: OrderId(7_000_000 + place as u64),
                label: format!("s4:strategy:ghost{place:07}:0:{place:016x}"),
                instrument: PERPETUAL,
                side: Side::Buy,
                price: Price(90_000 * NANO),
                qty: Qty(100 * NANO),
                filled: Qty::ZERO,
                reduce_only: false,
                state: VenueState::Open,
            };
            rig.orders.push(order.clone());
            if reported {
                rig.tell(Event::OrderUpdated(order));
            }
        }
        Step::Orphan => {
            let trade = OwnTrade {
                trade_id: TradeId(8_000_000 + place as u64),
                order_id: OrderId(8_000_000 + place as u64),
                label: format!("s4:strategy:orphan{place:06}:0:{place:016x}"),
                instrument: FUTURE,
                side: Side::Sell,
                price: Price(100_000 * NANO),
                qty: Qty(100 * NANO),
                at: rig.now,
            };
            rig.own_trades.push(trade.clone());
            rig.tell(Event::OwnTraded(vec![trade]));
        }
        Step::Unexplained(usd) => {
            rig.unexplained.insert(PERPETUAL, Qty(usd * NANO));
        }
        Step::RoundTrip(ms) => rig.round_trip_ms = ms,
        Step::OldSamples(age) => {
            let at = rig.now.before(age);
            rig.tell(Event::MarginSampled(sample(rig.mm_util.0, at)));
            rig.tell(Event::DiskSampled { primary: sample(rig.disks.0.0, at), secondary: sample(rig.disks.1.0, at) });
        }
        Step::Restart { down_ms, rebuilt } => {
            let ledger = rig.ledger();
            let build = if rebuilt { "build-2" } else { "build-1" };
            rig.restart(down_ms, |boot: &mut Boot| {
                boot.ledger = ledger;
                boot.build_id = build.into();
                boot.certificate = boot.certificate.take().map(|read| Certificate { build_id: build.into(), ..read });
            });
        }
    }
}

proptest! {
    #[test]
    fn prop_kernel_and_reference_agree_on_sane_sequences(steps in prop::collection::vec(step(), 1..60)) {
        let mut rig = Rig::down();
        let mut boot = healthy_boot(START);
        boot.config.wal_queue_capacity = 64;
        rig.boot(boot);
        rig.settle();
        for (place, step) in steps.into_iter().enumerate() {
            play(&mut rig, step, place);
        }
    }
}

// ---- absurd sequences ----

/// Numbers that break things: limits, zero, small, near the present.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => -3..4_i64,
        2 => prop::sample::select(vec![i64::MIN, i64::MIN + 1, i64::MAX, i64::MAX - 1]),
        2 => any::<i64>(),
        4 => 0..2_000_000_i64,
        4 => (-100_000..100_000_i64).prop_map(|offset| START.0 + offset),
        4 => (1..1000_i64).prop_map(|units| units * NANO),
    ]
}

fn unsigned() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..12_u64, 1 => Just(u64::MAX), 1 => Just(u64::MAX - 1), 1 => any::<u64>()]
}

fn time() -> impl Strategy<Value = TimeMs> {
    number().prop_map(TimeMs)
}

fn instrument() -> impl Strategy<Value = InstrumentId> {
    prop_oneof![6 => 0..3_u16, 1 => Just(u16::MAX)].prop_map(InstrumentId)
}

fn side() -> impl Strategy<Value = Side> {
    prop::sample::select(vec![Side::Buy, Side::Sell])
}

fn token() -> impl Strategy<Value = String> {
    let known = ModeReason::ALL.into_iter().map(|reason| reason.token().to_owned());
    prop_oneof![prop::sample::select(known.collect::<Vec<_>>()), ".{0,80}"]
}

/// Labels of ours and others, some of which meet the intents of the proposals below.
fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0..3_u8, 0..4_u8, 0..4_u64).prop_map(|(group, leg, hash)| format!("s4:strategy:group000000{group}:{leg}:{hash:016x}")),
        1 => ".{0,80}",
        1 => Just("s4:::::".to_owned()),
    ]
}

fn any_sample() -> impl Strategy<Value = Sample> {
    (prop::option::of(number().prop_map(Ppm)), prop::option::of(time())).prop_map(|(value, at)| Sample { value, at })
}

fn levels() -> impl Strategy<Value = Vec<Level>> {
    prop::collection::vec(
        (number(), number()).prop_map(|(price, qty)| Level { price: Price(price), qty: Qty(qty) }),
        0..4,
    )
}

fn any_book() -> impl Strategy<Value = BookSnapshot> {
    (instrument(), unsigned(), levels(), levels()).prop_map(|(instrument, change_id, bids, asks)| BookSnapshot {
        instrument,
        change_id,
        bids,
        asks,
    })
}

fn public_trades() -> impl Strategy<Value = Vec<PublicTrade>> {
    let trade = (unsigned(), unsigned(), number(), number(), side()).prop_map(|(id, trade_seq, price, qty, side)| {
        PublicTrade { trade_id: TradeId(id), trade_seq, price: Price(price), qty: Qty(qty), side }
    });
    prop::collection::vec(trade, 0..4)
}

fn any_ticker() -> impl Strategy<Value = Ticker> {
    let price = || prop::option::of(number().prop_map(Price));
    (instrument(), price(), price(), price(), price(), price(), prop::option::of(number().prop_map(Ppm))).prop_map(
        |(instrument, best_bid, best_ask, mark, index, last, delta)| Ticker {
            instrument,
            best_bid,
            best_ask,
            mark,
            index,
            last,
            delta,
        },
    )
}

fn venue_order() -> impl Strategy<Value = VenueOrder> {
    let state =
        prop::sample::select(vec![VenueState::Open, VenueState::Filled, VenueState::Cancelled, VenueState::Rejected]);
    ((unsigned(), label(), instrument(), side()), (number(), number(), number()), any::<bool>(), state).prop_map(
        |((id, label, instrument, side), (price, qty, filled), reduce_only, state)| VenueOrder {
            order_id: OrderId(id),
            label,
            instrument,
            side,
            price: Price(price),
            qty: Qty(qty),
            filled: Qty(filled),
            reduce_only,
            state,
        },
    )
}

fn own_trade() -> impl Strategy<Value = OwnTrade> {
    ((unsigned(), unsigned(), label()), (instrument(), side()), (number(), number(), time())).prop_map(
        |((id, order, label), (instrument, side), (price, qty, at))| OwnTrade {
            trade_id: TradeId(id),
            order_id: OrderId(order),
            label,
            instrument,
            side,
            price: Price(price),
            qty: Qty(qty),
            at,
        },
    )
}

fn rest_answer() -> impl Strategy<Value = RestAnswer> {
    let position = (instrument(), number()).prop_map(|(instrument, qty)| VenuePosition { instrument, qty: Qty(qty) });
    prop_oneof![
        prop::collection::vec(venue_order(), 0..3).prop_map(RestAnswer::OpenOrders),
        prop::collection::vec(position, 0..3).prop_map(RestAnswer::Positions),
        prop::collection::vec(own_trade(), 0..3).prop_map(RestAnswer::OwnTrades),
        prop::collection::vec(venue_order(), 0..3).prop_map(RestAnswer::OrderHistory),
        any_book().prop_map(RestAnswer::Book),
        (instrument(), public_trades())
            .prop_map(|(instrument, trades)| RestAnswer::RecentTrades { instrument, trades }),
    ]
}

const ORDER_TYPES: [OrderType; 4] = [OrderType::Limit, OrderType::Market, OrderType::StopMarket, OrderType::StopLimit];

const CANCEL_REFUSALS: [CancelRefusal; 6] = [
    CancelRefusal::InvalidInstrument,
    CancelRefusal::NotFound,
    CancelRefusal::OrderbookClosed,
    CancelRefusal::InstrumentNotOpen,
    CancelRefusal::AlreadyGone,
    CancelRefusal::Other,
];

fn metadata() -> impl Strategy<Value = Metadata> {
    let some = || prop::option::of(number());
    (some(), some(), some(), some(), prop::option::of(time())).prop_map(|(tick, step, min, multiplier, expires_at)| {
        Metadata {
            tick_size: tick.map(Price),
            amount_step: step.map(Qty),
            min_amount: min.map(Qty),
            contract_multiplier: multiplier.map(Qty),
            expires_at,
        }
    })
}

fn proposal() -> impl Strategy<Value = GroupProposal> {
    let action = prop::sample::select(vec![Action::Place, Action::Close, Action::Hedge, Action::Unknown]);
    let lives = prop::sample::select(vec![TimeInForce::GoodTilCancelled, TimeInForce::ImmediateOrCancel]);
    let kinds = (prop::sample::select(ORDER_TYPES.to_vec()), any::<bool>(), any::<bool>(), prop::option::of(number()));
    let any_leg = ((instrument(), side(), action), prop::option::of(any::<bool>()), (number(), number()), lives, kinds)
        .prop_map(|((instrument, side, action), reduce_only, (qty, price), time_in_force, kinds)| LegProposal {
            instrument,
            side,
            action,
            reduce_only,
            qty: Qty(qty),
            price: Price(price),
            time_in_force,
            order_type: kinds.0,
            linked: kinds.1,
            post_only: kinds.2,
            contracts: kinds.3.map(Qty),
        });
    let good_leg =
        (0..2_u16, side(), 1..50_i64).prop_map(|(place, side, tens)| leg(InstrumentId(place), side, tens * 10));
    let legs = prop::collection::vec(prop_oneof![2 => good_leg, 1 => any_leg], 0..4);
    let cents = || prop::option::of(number());
    let edge = (cents(), cents(), cents()).prop_map(|(gross_usd_cents, fee_usd_cents, slippage_usd_cents)| {
        EdgeInputs { gross_usd_cents, fee_usd_cents, slippage_usd_cents }
    });
    let good_edge = (-100..100_000_i64).prop_map(|cents| EdgeInputs::net(Some(cents)));
    (0..3_u8, unsigned(), prop_oneof![3 => good_edge, 1 => edge], legs).prop_map(
        |(group, structure_fingerprint, edge, legs)| GroupProposal {
            strategy_id: "strategy".into(),
            group_id: format!("group000000{group}"),
            structure_fingerprint,
            edge,
            legs,
        },
    )
}

fn command() -> impl Strategy<Value = OperatorCommand> {
    prop_oneof![
        (token(), ".{0,3}").prop_map(|(token, incident_id)| OperatorCommand::IncidentReset { token, incident_id }),
        Just(OperatorCommand::Kill),
        Just(OperatorCommand::EmergencyReduceOnly),
        ".{0,3}".prop_map(|incident_id| OperatorCommand::AdoptPositions { incident_id }),
        (0..3_u8).prop_map(|group| OperatorCommand::ResumeContainment { group_id: format!("group000000{group}") }),
    ]
}

fn absurd_boot() -> impl Strategy<Value = Event> {
    let config = prop_oneof![
        3 => Just(config()),
        1 => (0..Config::REQUIRED.len(), number()).prop_map(|(place, value)| {
            // One threshold that makes no sense.
            let good = config();
            let name = Config::REQUIRED[place].0;
            let pairs = good.pairs().into_iter().map(|(known, old)| (known, if known == name { value } else { old }));
            Config::from_pairs(pairs.collect::<Vec<_>>().into_iter()).expect("every name is given")
        }),
    ];
    let times =
        (prop::option::of(time()), prop::option::of(time()), prop::option::of(time()), prop::option::of(time()));
    let window =
        prop::option::of((time(), time()).prop_map(|(starts_at, ends_at)| MaintenanceWindow { starts_at, ends_at }));
    let readable = (any::<bool>(), any::<bool>(), any::<bool>());
    let trips = prop::collection::vec(number(), 0..3);
    let metadata = prop::collection::vec((prop::option::of(number()), prop::option::of(number()), any::<bool>()), 0..3);
    ((config, any_sample(), any_sample(), any_sample()), times, window, readable, trips, metadata).prop_map(
        |((config, margin, primary, secondary), times, maintenance, readable, round_trips_ms, metadata)| {
            let mut boot = healthy_boot(START);
            boot.config = config;
            boot.margin = margin;
            boot.disk_primary = primary;
            boot.disk_secondary = secondary;
            (boot.heartbeat_at, boot.loop_tick_at, boot.policy_generated_at, boot.fee_cached_at) = times;
            boot.maintenance = maintenance;
            (boot.session_flag_readable, boot.session_count_readable, boot.ledger_damaged) = readable;
            boot.round_trips_ms = round_trips_ms;
            for (instrument, (tick, step, subscribed)) in boot.instruments.iter_mut().zip(metadata) {
                instrument.tick_size = tick.map(Price);
                instrument.amount_step = step.map(Qty);
                instrument.subscribed = subscribed;
            }
            Event::Booted(Box::new(boot))
        },
    )
}

fn absurd() -> impl Strategy<Value = Event> {
    let socket = || prop::sample::select(vec![Socket::Public, Socket::Private]);
    let host = prop_oneof![
        Just(Event::LoopTicked),
        Just(Event::HeartbeatSeen),
        any_sample().prop_map(Event::MarginSampled),
        (any_sample(), any_sample()).prop_map(|(primary, secondary)| Event::DiskSampled { primary, secondary }),
        prop::option::of(time()).prop_map(|generated_at| Event::PolicyReceived { generated_at }),
        prop::option::of(time()).prop_map(|read| Event::CertificateRead(read.map(certificate))),
        prop::option::of(time()).prop_map(|cached_at| Event::FeeModelRead { cached_at }),
        prop::option::of(number()).prop_map(|drift_ms| Event::ClockDriftSampled { drift_ms }),
        prop::option::of((time(), time())).prop_map(|read| Event::MaintenanceAnnounced(
            read.map(|(starts_at, ends_at)| MaintenanceWindow { starts_at, ends_at })
        )),
        prop::option::of(number()).prop_map(|value| Event::VolatilityIndexRead { value: value.map(Ppm) }),
        instrument().prop_map(Event::InstrumentRefreshed),
        (instrument(), metadata()).prop_map(|(instrument, metadata)| Event::InstrumentFetched { instrument, metadata }),
        (label(), prop::sample::select(CANCEL_REFUSALS.to_vec()))
            .prop_map(|(label, cause)| Event::CancelRefused { label, cause }),
        number().prop_map(|credits| Event::LimiterSampled { credits }),
        any::<u32>().prop_map(|records| Event::LedgerDrained { records }),
        Just(Event::Crashed),
        absurd_boot(),
        told(),
    ];
    let feeds = prop_oneof![
        any_book().prop_map(Event::BookSnapshot),
        (any_book(), unsigned()).prop_map(|(book, prev_change_id)| Event::BookChanged(BookChange {
            instrument: book.instrument,
            prev_change_id,
            change_id: book.change_id,
            bids: book.bids,
            asks: book.asks,
        })),
        (instrument(), public_trades()).prop_map(|(instrument, trades)| Event::TradesReceived { instrument, trades }),
        any_ticker().prop_map(Event::TickerReceived),
        socket().prop_map(Event::FrameHeard),
        socket().prop_map(Event::SocketOpened),
        Just(Event::Subscribed),
        Just(Event::Authenticated),
    ];
    let venue = prop_oneof![
        venue_order().prop_map(Event::OrderUpdated),
        (label(), any::<i32>()).prop_map(|(label, code)| Event::OrderRejected { label, code }),
        prop::collection::vec(own_trade(), 0..3).prop_map(Event::OwnTraded),
        (unsigned(), time(), number(), rest_answer()).prop_map(|(request, venue_time, round_trip_ms, answer)| {
            Event::RestAnswered { request: RequestId(request), venue_time, round_trip_ms, answer }
        }),
        (unsigned(), any::<i32>(), number()).prop_map(|(request, code, round_trip_ms)| Event::RestRefused {
            request: RequestId(request),
            code,
            round_trip_ms
        }),
    ];
    let strategy = prop_oneof![
        3 => proposal().prop_map(Event::GroupProposed),
        1 => unsigned().prop_map(|intent| Event::CancelProposed { intent: IntentHash(intent) }),
        1 => (unsigned(), proposal())
            .prop_map(|(intent, replacement)| Event::ReplaceProposed { intent: IntentHash(intent), replacement }),
        2 => command().prop_map(Event::OperatorCommanded),
        1 => token().prop_map(|token| Event::TokenReported { subsystem: String::new(), token }),
    ];
    prop_oneof![3 => host, 3 => feeds, 4 => venue, 3 => strategy]
}

/// An absurd event, or one that answers what the kernel asked or sent, so that absurd sequences get somewhere.
#[derive(Clone, Debug)]
enum Move {
    Event(Event),
    AnswerOldest(RestAnswer),
    FillLatest(i64),
    AckLatest(VenueState),
}

fn any_move() -> impl Strategy<Value = Move> {
    let state = prop::sample::select(vec![VenueState::Open, VenueState::Filled, VenueState::Cancelled]);
    prop_oneof![
        6 => absurd().prop_map(Move::Event),
        2 => rest_answer().prop_map(Move::AnswerOldest),
        1 => number().prop_map(Move::FillLatest),
        1 => state.prop_map(Move::AckLatest),
    ]
}

/// Plays absurd moves from a healthy start; returns the kernel and everything it asked for.
fn survive(moves: &[(i64, Move)]) -> (Kernel, Vec<Effect>) {
    let (mut kernel, mut all, mut effects) = (Kernel::down(), Vec::new(), Vec::new());
    let mut rig = Rig::active();
    std::mem::swap(&mut kernel, &mut rig.kernel);
    let (mut seq, mut at) = (rig.seq, rig.now);
    let mut asked: Vec<RequestId> = Vec::new();
    let mut placed: Option<OrderRequest> = None;
    for (ms, step) in moves {
        seq += 1;
        at = TimeMs(at.0.saturating_add(*ms));
        let of_latest = |state, filled| {
            let order = placed.as_ref()?;
            Some(VenueOrder {
                order_id: OrderId(seq),
                label: order.label.clone(),
                instrument: order.instrument,
                side: order.side,
                price: order.price,
                qty: order.qty,
                filled,
                reduce_only: order.reduce_only,
                state,
            })
        };
        let event = match step {
            Move::Event(event) => event.clone(),
            Move::AnswerOldest(answer) => {
                let request = if asked.is_empty() { RequestId(0) } else { asked.remove(0) };
                Event::RestAnswered { request, venue_time: at, round_trip_ms: 20, answer: answer.clone() }
            }
            Move::FillLatest(qty) => match of_latest(VenueState::Open, Qty(*qty)) {
                None => Event::LoopTicked,
                Some(order) => Event::OwnTraded(vec![OwnTrade {
                    trade_id: TradeId(seq),
                    order_id: order.order_id,
                    label: order.label,
                    instrument: order.instrument,
                    side: order.side,
                    price: order.price,
                    qty: Qty(*qty),
                    at,
                }]),
            },
            Move::AckLatest(state) => of_latest(*state, Qty::ZERO).map_or(Event::LoopTicked, Event::OrderUpdated),
        };
        effects.clear();
        kernel.apply(Seq(seq), at, &event, &mut effects);
        for effect in &effects {
            match effect {
                Effect::Rest { request, .. } => asked.push(*request),
                Effect::Place(order) => placed = Some((**order).clone()),
                _ => {}
            }
        }
        all.extend(effects.iter().cloned());
        if let Some(status) = kernel.status() {
            coherent(&status);
        }
    }
    (kernel, all)
}

/// What every status must satisfy, whatever happened. Source: status document, conditional rules.
fn coherent(status: &Status) {
    let tiers: BTreeSet<Tier> = status.mode_reasons.iter().map(|reason| reason.tier()).collect();
    let expected = match status.trading_mode {
        TradingMode::Active => BTreeSet::new(),
        TradingMode::ReduceOnly => BTreeSet::from([Tier::ReduceOnly]),
        TradingMode::Kill => BTreeSet::from([Tier::Kill]),
    };
    assert_eq!(tiers, expected);
    assert!(status.mode_reasons.is_sorted_by(|a, b| a < b));
    assert!(status.open_permission_reason_codes.is_sorted_by(|a, b| a < b));
    let latched = !status.open_permission_reason_codes.is_empty();
    assert_eq!(status.open_permission_blocked_latch, latched);
    assert_eq!(status.open_permission_requires_reconcile, latched);
    assert!(!latched || status.trading_mode != TradingMode::Active);
    assert_eq!(status.connectivity_degraded, latched || status.bunker_mode_active);
    assert_eq!(status.f1_cert_state == F1CertState::Missing, status.f1_cert_expires_at.is_none());
    assert!(!status.mode_reasons.contains(&ModeReason::ReduceonlyEvidenceChainNotGreen));
    for ratio in [status.mm_util, status.disk_used_pct, status.disk_used_pct_secondary] {
        assert!((0..=PPM).contains(&ratio.0));
    }
    assert!(status.policy_age_sec >= 0 && status.ws_event_lag_ms >= 0 && status.deribit_http_p95_ms >= 0);
}

proptest! {
    #[test]
    fn prop_absurd_sequences_neither_panic_nor_differ(
        moves in prop::collection::vec((prop_oneof![8 => 0..3000_i64, 1 => -5000..400_000_i64, 1 => number()], any_move()), 1..80),
    ) {
        let first = survive(&moves);
        let second = survive(&moves);
        prop_assert!(first == second);
    }
}
