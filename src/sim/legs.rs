//! The legs of a long log: one world after the other, each with faults strewn over its time from one seed.
//!
//! A leg is a scenario of its own: a venue without orders, an empty ledger, a process that starts and, at the end, stops.
//! So what a world remembers (its ledger, its orders, its trades) is bounded by a leg, however long the log gets. In a leg
//! every kind of fault comes as often as [`Fault::per_leg`] says, in an order and at moments that are drawn:
//!
//! ```text
//!   start   fault  settles   calm   fault  settles   calm ...   the process stops | start of the next leg
//! ```
//!
//! After a fault comes at least the time in which the layer settles, before the next one; what is left of the leg is
//! divided among the pauses at random.

use std::fmt::Write as _;

use drillfold_kernel::units::TimeMs;

use super::prng::{Prng, Stream};
use crate::{
    exchange::Draw as _,
    scenario::{self, error::ScenarioErrors, model::Scenario},
};

/// The world of every leg: a scenario without seed, start, duration and timeline.
const WORLD: &str = include_str!("../../specs/config/long_log.toml");

/// Name of the build that every leg starts. Source: specs/config/long_log.toml.
const BUILD_ID: &str = "long-log-build-1";

/// When the first leg starts: 2026-01-05T09:00:00Z.
const START: TimeMs = TimeMs(1_767_603_600_000);

/// How long a leg lasts, ms.
const LEG_MS: i64 = 600_000;

/// From the end of a leg to the start of the next one, ms.
const PAUSE_MS: i64 = 1_000;

/// How long nothing fails at the start of a leg, ms: the process reconciles.
const SETTLES_AT_START_MS: i64 = 8_000;

/// Instruments that lose messages.
const LOSING: [&str; 5] =
    ["BTC-PERPETUAL", "BTC-26JUN26", "BTC-26JUN26-60000-C", "ETH-PERPETUAL", "ETH-26JUN26-3000-C"];

/// Points at which a process dies between the steps of an order. Each leaves other traces in ledger and venue.
const POINTS: [&str; 5] = ["after_record", "before_sent_record", "after_send", "before_ack", "before_fill"];

/// What goes wrong in a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The network loses a book change.
    LostBookChange,
    /// The network loses a trade message.
    LostTrades,
    /// A trade's number steps back.
    TradesStepBack,
    /// The network delivers trade messages twice.
    DoubledTrades,
    /// The network delivers own trades twice.
    DoubledOwnTrades,
    /// The venue sends no market data for some seconds.
    SilentMarketData,
    /// The venue answers 10028 and closes the private socket.
    EndedSession,
    /// The private socket is lost.
    LostPrivateSocket,
    /// The public socket is lost.
    LostPublicSocket,
    /// The venue refuses an order.
    RefusedOrder,
    /// The venue fills one leg of a group and refuses the other.
    RefusedLeg,
    /// The process is killed, with records that are not durable.
    Crash,
    /// The process is killed between the steps of an order, which the next one finds in doubt.
    CrashWithOrder,
    /// The ledger's writer stops for a while under a busy strategy.
    StalledLedger,
    /// The venue refuses a REST request with 429.
    RefusedRequest,
    /// The venue does not answer a REST request.
    LostAnswer,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 16] = [
        Self::LostBookChange,
        Self::LostTrades,
        Self::TradesStepBack,
        Self::DoubledTrades,
        Self::DoubledOwnTrades,
        Self::SilentMarketData,
        Self::EndedSession,
        Self::LostPrivateSocket,
        Self::LostPublicSocket,
        Self::RefusedOrder,
        Self::RefusedLeg,
        Self::Crash,
        Self::CrashWithOrder,
        Self::StalledLedger,
        Self::RefusedRequest,
        Self::LostAnswer,
    ];

    /// Returns what happened, for people.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::LostBookChange => "the network loses a book change",
            Self::LostTrades => "the network loses a trade message",
            Self::TradesStepBack => "a trade's number steps back",
            Self::DoubledTrades => "the network delivers two trade messages twice",
            Self::DoubledOwnTrades => "the network delivers an own-trade message twice",
            Self::SilentMarketData => "the venue stops sending market data",
            Self::EndedSession => "the venue answers 10028 and closes the private socket",
            Self::LostPrivateSocket => "the private socket is lost",
            Self::LostPublicSocket => "the public socket is lost",
            Self::RefusedOrder => "the venue refuses an order",
            Self::RefusedLeg => "the venue refuses a leg of a group",
            Self::Crash => "the process is killed",
            Self::CrashWithOrder => "the process is killed with an order in doubt",
            Self::StalledLedger => "the ledger's writer stops",
            Self::RefusedRequest => "the venue refuses a REST request",
            Self::LostAnswer => "the venue does not answer a REST request",
        }
    }

    /// Returns how often it comes in a leg.
    #[must_use]
    pub const fn per_leg(self) -> u32 {
        match self {
            Self::LostBookChange | Self::LostTrades | Self::RefusedOrder => 3,
            Self::DoubledTrades | Self::Crash => 2,
            Self::TradesStepBack
            | Self::DoubledOwnTrades
            | Self::SilentMarketData
            | Self::EndedSession
            | Self::LostPrivateSocket
            | Self::LostPublicSocket
            | Self::RefusedLeg
            | Self::CrashWithOrder
            | Self::StalledLedger
            | Self::RefusedRequest
            | Self::LostAnswer => 1,
        }
    }

    /// Returns for how many ms no other fault comes: as long as it lasts and as the layer needs to settle.
    const fn settles_ms(self) -> i64 {
        match self {
            Self::DoubledTrades | Self::DoubledOwnTrades | Self::RefusedOrder => 4_000,
            Self::LostTrades | Self::TradesStepBack | Self::LostPrivateSocket => 5_000,
            Self::EndedSession | Self::LostPublicSocket | Self::Crash => 8_000,
            Self::CrashWithOrder => 13_000,
            Self::LostBookChange => 14_000,
            Self::SilentMarketData | Self::RefusedLeg | Self::RefusedRequest => 28_000,
            Self::StalledLedger => 30_000,
            // One request in a minute's fifty is a share that makes the layer wary until the minute is over.
            Self::LostAnswer => 85_000,
        }
    }
}

/// One leg.
#[derive(Clone, Debug)]
pub struct Leg {
    /// Its world and its timeline.
    pub scenario: Scenario,
    /// The fault that each step of the timeline is; `None` for steps that only end one.
    pub faults: Vec<Option<Fault>>,
}

/// The legs of one seed, one after the other without end.
#[derive(Clone, Debug)]
pub struct Legs {
    seeds: Prng,
    start: TimeMs,
}

impl Legs {
    /// Returns the legs of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seeds: Prng::new(seed, Stream::Legs), start: START }
    }

    /// Makes the next leg. It starts after the end of the one before and has a seed of its own.
    ///
    /// # Errors
    /// What is wrong with its text: a defect of the text or of what is written around it, never of the seed.
    #[expect(clippy::should_implement_trait, reason = "there is no last leg, and each can fail")]
    pub fn next(&mut self) -> Result<Leg, ScenarioErrors> {
        let seed = self.seeds.between(i64::MIN, i64::MAX).cast_unsigned();
        let Timeline { text: steps, faults } = timeline(seed);
        let start_ms = self.start.0;
        self.start = self.start.after(LEG_MS).after(PAUSE_MS);
        let text = format!("seed = \"{seed:#x}\"\nstart = {start_ms}\nduration = \"{LEG_MS}ms\"\n{WORLD}{steps}");
        let scenario = scenario::parse("long_log.toml", &text)?.swap_remove(0);
        Ok(Leg { scenario, faults })
    }
}

/// A timeline as it is written.
#[derive(Debug, Default)]
struct Timeline {
    text: String,
    faults: Vec<Option<Fault>>,
}

impl Timeline {
    fn step(&mut self, at_ms: i64, fault: Option<Fault>, says: &str, action: &str) {
        // Writing into a text can't fail.
        let _ = write!(self.text, "\n[[step]]\nat = \"{at_ms}ms\"\nsays = \"{says}\"\ndo.{action}\n");
        self.faults.push(fault);
    }

    /// Writes what is done for a fault at a moment.
    fn fault(&mut self, at_ms: i64, fault: Fault, prng: &mut Prng) {
        let action = match fault {
            Fault::LostBookChange => format!("drop_book_changes = {}", messages(prng, 1)),
            Fault::LostTrades => format!("drop_trades = {}", messages(prng, 1)),
            Fault::TradesStepBack => {
                format!("step_back_trades = {{ instrument = \"{}\", by = 3 }}", one_of(&LOSING, prng))
            }
            Fault::DoubledTrades => format!("repeat_trades = {}", messages(prng, 2)),
            Fault::DoubledOwnTrades => "repeat_own_trades = { count = 1 }".into(),
            Fault::SilentMarketData => "stop_market_data = {}".into(),
            Fault::EndedSession => "too_many_requests = {}".into(),
            Fault::LostPrivateSocket => "drop_private_socket = {}".into(),
            Fault::LostPublicSocket => "drop_public_socket = {}".into(),
            Fault::RefusedOrder => "reject_orders = { only_legs = true, count = 1, code = 10009 }".into(),
            Fault::RefusedLeg => {
                "reject_orders = { instrument = \"BTC-PERPETUAL\", only_legs = true, count = 1, code = 10009 }".into()
            }
            Fault::Crash => {
                let (down_ms, flush) = (prng.between(200, 1_500), prng.between(0, 1) == 1);
                format!("crash = {{ down = \"{down_ms}ms\", flush = {flush} }}")
            }
            Fault::CrashWithOrder => {
                let (point, down_ms) = (one_of(&POINTS, prng), prng.between(200, 1_500));
                format!("crash_at = {{ point = \"{point}\", nth = 1, down = \"{down_ms}ms\" }}")
            }
            Fault::StalledLedger => "stall_ledger = {}".into(),
            Fault::RefusedRequest => "refuse_rest = { count = 1, code = 429 }".into(),
            Fault::LostAnswer => "lose_rest = { count = 1 }".into(),
        };
        self.step(at_ms, Some(fault), fault.says(), &action);
        match fault {
            Fault::SilentMarketData => {
                let silent_ms = prng.between(3_500, 4_500);
                self.step(at_ms + silent_ms, None, "the venue sends market data again", "resume_market_data = {}");
            }
            Fault::RefusedLeg => {
                // More than lies within two ticks, so that the group is closed and not rescued.
                let legs = "{ instrument = \"BTC-26JUN26-60000-C\", side = \"buy\", qty = 11 }, \
                            { instrument = \"BTC-PERPETUAL\", side = \"sell\", qty = 330000 }";
                let action = format!("propose_group = {{ net_edge_usd = 50, legs = [{legs}] }}");
                self.step(at_ms, None, "the strategy proposes a call with its hedge", &action);
            }
            Fault::StalledLedger => {
                let busy = "set_strategy = { open_every = \"100ms\", close_every = \"150ms\" }";
                self.step(at_ms, None, "the strategy becomes busy", busy);
                let stalled_ms = prng.between(3_000, 6_000);
                self.step(at_ms + stalled_ms, None, "the ledger's writer goes on", "resume_ledger = {}");
                let calm = "set_strategy = { open_every = \"2s\", close_every = \"3s\" }";
                self.step(at_ms + stalled_ms, None, "the strategy becomes calm", calm);
            }
            // Where the ledger lacks trades that are older than a reconciliation looks back, only an operator helps.
            Fault::Crash => self.adopt(at_ms + 4_000),
            Fault::CrashWithOrder => self.adopt(at_ms + 9_000),
            Fault::LostBookChange
            | Fault::LostTrades
            | Fault::TradesStepBack
            | Fault::DoubledTrades
            | Fault::DoubledOwnTrades
            | Fault::EndedSession
            | Fault::LostPrivateSocket
            | Fault::LostPublicSocket
            | Fault::RefusedOrder
            | Fault::RefusedRequest
            | Fault::LostAnswer => {}
        }
    }

    fn adopt(&mut self, at_ms: i64) {
        let action = "operator.adopt_positions = { incident_id = \"after a restart\" }";
        self.step(at_ms, None, "an operator adopts the venue's positions", action);
    }
}

/// Strews the faults of a leg over its time.
fn timeline(seed: u64) -> Timeline {
    let mut prng = Prng::new(seed, Stream::Faults);
    let mut waiting: Vec<Fault> = Vec::new();
    for fault in Fault::ALL {
        waiting.extend((0..fault.per_leg()).map(|_| fault));
    }
    let settles_ms: i64 = waiting.iter().map(|fault| fault.settles_ms()).sum();
    let calm_ms = LEG_MS - SETTLES_AT_START_MS - settles_ms;
    let mut calm_before: Vec<i64> = waiting.iter().map(|_| prng.between(0, calm_ms)).collect();
    calm_before.sort_unstable();
    let mut timeline = Timeline::default();
    let mut settled_ms = SETTLES_AT_START_MS;
    for calm_ms in calm_before {
        let fault = waiting.swap_remove(place(waiting.len(), &mut prng));
        timeline.fault(settled_ms + calm_ms, fault, &mut prng);
        settled_ms += fault.settles_ms();
    }
    let stop = format!("redeploy = {{ build_id = \"{BUILD_ID}\", down = \"{PAUSE_MS}ms\" }}");
    timeline.step(LEG_MS, None, "the process stops, and with it the leg", &stop);
    timeline
}

/// Draws a place among so many.
fn place(count: usize, prng: &mut Prng) -> usize {
    let last = i64::try_from(count).unwrap_or(i64::MAX).saturating_sub(1);
    usize::try_from(prng.between(0, last)).unwrap_or(0)
}

fn one_of<'t>(texts: &[&'t str], prng: &mut Prng) -> &'t str {
    texts.get(place(texts.len(), prng)).copied().unwrap_or_default()
}

fn messages(prng: &mut Prng, count: u32) -> String {
    format!("{{ instrument = \"{}\", count = {count} }}", one_of(&LOSING, prng))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leg_is_a_scenario_with_a_step_for_each_of_its_faults() {
        let per_leg: u32 = Fault::ALL.iter().map(|fault| fault.per_leg()).sum();
        for seed in 0..40 {
            let mut legs = Legs::new(seed);
            let [one, two] = [legs.next().unwrap(), legs.next().unwrap()];
            assert_ne!((one.scenario.seed, &one.faults), (two.scenario.seed, &two.faults));
            assert_eq!(two.scenario.start, one.scenario.start.after(one.scenario.duration_ms).after(PAUSE_MS));
            for Leg { scenario, faults } in [one, two] {
                assert_eq!((scenario.steps.len(), scenario.build_id.as_str()), (faults.len(), BUILD_ID));
                assert_eq!(faults.iter().flatten().count(), per_leg as usize);
            }
        }
    }
}
