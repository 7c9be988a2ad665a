//! Random sequences of events: sane ones, on which kernel and reference must agree at every event, and absurd ones, which
//! the kernel must survive and answer twice the same.

use drillfold_kernel::{
    Kernel,
    effect::Effect,
    event::{
        Boot, Certificate, Channel, CloseCause, Event, MaintenanceWindow, OperatorCommand, OutputQueue, Override, Producer,
        Socket,
    },
    registry::ModeReason,
    units::{NANO, PPM, Ppm, Qty, Seq, TimeMs},
};
use proptest::prelude::*;

use crate::{
    kernel_rules::pair,
    rig::{FUTURE, Feed, PERPETUAL, Rig, START, certificate, sample},
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
    Certificate { passed: bool, bound: bool, age_ms: i64 },
    /// Maintenance from and for so many milliseconds.
    Maintenance(i64, i64),
    /// A policy or fee model of this age.
    Policy(i64),
    Fees(i64),
    BookGap,
    TradesGap(u64),
    /// The venue refuses the next request.
    Refuse(i32),
    /// A pair of legs; how many of the first are filled before the second is refused, if it is.
    Pair { filled_usd: i64, refused: bool },
    /// Crash, down time, another build.
    Restart { down_ms: i64, rebuilt: bool },
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
        Feed::PublicFrames,
        Feed::PrivateFrames,
        Feed::Answers,
    ])
}

fn signal() -> impl Strategy<Value = Event> {
    let producer = prop::sample::select(Producer::ALL.to_vec());
    let signal = prop::sample::select(vec![Override::None, Override::None, Override::ForceReduceOnly, Override::ForceKill]);
    (producer, signal).prop_map(|(producer, signal)| Event::OverrideSampled { producer, signal })
}

fn told() -> impl Strategy<Value = Event> {
    let closed = |socket| {
        prop::sample::select(vec![CloseCause::Lost, CloseCause::SessionEnded, CloseCause::KeyRevoked])
            .prop_map(move |cause| Event::SocketClosed { socket, cause })
    };
    let reset = prop::sample::select(ModeReason::ALL.to_vec()).prop_map(|reason| {
        Event::OperatorCommanded(OperatorCommand::IncidentReset { token: reason.token().into(), incident_id: "I".into() })
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
        1 => (200_000..400_000_i64).prop_map(Step::Policy),
        1 => (800_000..1_000_000_i64).prop_map(Step::Fees),
        2 => Just(Step::BookGap),
        2 => (1..5_u64).prop_map(Step::TradesGap),
        2 => prop::sample::select(vec![429, 500]).prop_map(Step::Refuse),
        3 => (0..=100_i64, any::<bool>()).prop_map(|(tens, refused)| Step::Pair { filled_usd: tens * 10, refused }),
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
            rig.tell(Event::MaintenanceAnnounced(Some(MaintenanceWindow { starts_at, ends_at: starts_at.after(length) })));
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
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn prop_kernel_and_reference_agree_on_sane_sequences(steps in prop::collection::vec(step(), 1..60)) {
        let mut rig = Rig::active();
        for (place, step) in steps.into_iter().enumerate() {
            play(&mut rig, step, place);
        }
    }
}
