//! A scenario file as a person writes it: tables and values with their places in the text.
//!
//! The doc comments here are what an editor shows, by way of `specs/scenario.schema.json`. A rule that may complain about a
//! value finds its place in [`At`]. Actions are tagged from outside (`do.crash = { ... }`), each with a table of its own,
//! because only then an error points at the very value that is wrong.

use std::{
    borrow::{Borrow, Cow},
    cmp::Ordering,
    collections::BTreeMap,
    fmt,
    ops::Range,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

use crate::{
    contract::config,
    text::{decimal, time},
};

/// A value with its place in the text, in bytes; an empty place at 0 is that of a default.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for At<T> {}

impl<T: PartialOrd> PartialOrd for At<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl<T: Ord> Ord for At<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value.cmp(&other.value)
    }
}

impl Borrow<str> for At<String> {
    fn borrow(&self) -> &str {
        &self.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { span: spanned.span(), value: spanned.into_inner() })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// One table that lies over another: what it gives counts, the rest comes from below.
pub(super) trait Layer: Sized {
    /// Returns this one over `below`.
    fn over(self, below: Self) -> Self;

    /// Returns this one without places in a text.
    fn detached(self) -> Self;
}

impl<T> Layer for Option<At<T>> {
    fn over(self, below: Self) -> Self {
        self.or(below)
    }

    fn detached(self) -> Self {
        self.map(|at| At { span: 0..0, ..at })
    }
}

impl<T> Layer for Option<[At<T>; 2]> {
    fn over(self, below: Self) -> Self {
        self.or(below)
    }

    fn detached(self) -> Self {
        self.map(|pair| pair.map(|at| At { span: 0..0, ..at }))
    }
}

impl Layer for Option<Vec<At<String>>> {
    fn over(self, below: Self) -> Self {
        self.or(below)
    }

    fn detached(self) -> Self {
        self.map(|list| list.into_iter().map(|at| At { span: 0..0, ..at }).collect())
    }
}

impl Layer for Option<Vec<At<Withhold>>> {
    fn over(self, below: Self) -> Self {
        self.or(below)
    }

    fn detached(self) -> Self {
        self.map(|list| list.into_iter().map(|at| At { span: 0..0, ..at }).collect())
    }
}

impl Layer for Option<Vec<At<Instrument>>> {
    fn over(self, below: Self) -> Self {
        self.or(below)
    }

    fn detached(self) -> Self {
        self.map(|list| list.into_iter().map(|at| At { span: 0..0, value: at.value.detached() }).collect())
    }
}

impl<T> Layer for BTreeMap<At<String>, At<T>> {
    fn over(self, mut below: Self) -> Self {
        for (name, value) in self {
            // Taken out first: an insertion alone would keep the place of the name below.
            below.remove(&name);
            below.insert(name, value);
        }
        below
    }

    fn detached(self) -> Self {
        self.into_iter().map(|(name, at)| (At { span: 0..0, ..name }, At { span: 0..0, ..at })).collect()
    }
}

macro_rules! layer {
    ($name:ident { $($field:ident)* }) => {
        impl Layer for $name {
            fn over(self, below: Self) -> Self {
                Self { $($field: self.$field.over(below.$field),)* }
            }

            fn detached(self) -> Self {
                Self { $($field: self.$field.detached(),)* }
            }
        }
    };
}

/// A length of time with its unit, such as "200ms", "5s", "1.5s", "2m" or "1h".
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Duration(pub(super) String);

/// When a step happens: "6s" from the start, or "+4s" after the step before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct When(pub(super) String);

/// A moment in UTC, such as "2026-01-05T09:00:00Z", or milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Moment(pub(super) Option<i64>);

/// A number that is kept exactly; with more than 15 digits it stands in quotes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decimal(pub(super) String);

/// Seed of every random stream: an integer from 0, or hexadecimal in quotes where it needs more than 63 bits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seed(pub(super) Option<u64>);

struct TextVisitor(&'static str);

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(TextVisitor("a duration with its unit in quotes, such as \"200ms\" or \"5s\""))
            .map(Self)
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor("a time with its unit in quotes, such as \"6s\" or \"+4s\"")).map(Self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Moment;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a moment in quotes, such as \"2026-01-05T09:00:00Z\", or milliseconds since the epoch")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Moment, E> {
                Ok(Moment(time::in_range(value)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Moment, E> {
                Ok(Moment(time::moment_ms(text)))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Decimal;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Decimal, E> {
                Ok(Decimal(value.to_string()))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Decimal, E> {
                decimal::float_text(value).map(Decimal).ok_or_else(|| {
                    E::custom(format!("number {value} can't be kept exactly; write its digits in quotes"))
                })
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Decimal, E> {
                Ok(Decimal(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Seed;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer from 0, or hexadecimal in quotes such as \"0xfeed\"")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Seed, E> {
                Ok(Seed(u64::try_from(value).ok()))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Seed, E> {
                let digits = text.strip_prefix("0x").filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
                Ok(Seed(digits.and_then(|digits| u64::from_str_radix(digits, 16).ok())))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

macro_rules! value_schema {
    ($($name:ident $schema:tt)*) => {
        $(impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })*
    };
}

value_schema! {
    Duration {
        "type": "string",
        "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$",
        "description": "A length of time with its unit, such as \"200ms\", \"5s\", \"1.5s\", \"1m30s\" or \"1h\"."
    }
    When {
        "type": "string",
        "pattern": r"^\+?([0-9]+(\.[0-9]+)?(ms|s|m|h))+$",
        "description": "A time from the start (\"6s\"), or after the step before it (\"+4s\")."
    }
    Moment {
        "type": ["string", "integer"],
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,3})?Z$",
        "minimum": 0,
        "description": "A moment in UTC (\"2026-01-05T09:00:00Z\"), or milliseconds since the epoch."
    }
    Decimal {
        "type": ["number", "string"],
        "pattern": r"^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$",
        "description": "A number that is kept exactly; with more than 15 digits it stands in quotes."
    }
    Seed {
        "type": ["integer", "string"],
        "minimum": 0,
        "pattern": "^0x[0-9a-fA-F]{1,16}$",
        "description": "Seed of every random stream: an integer from 0, or hexadecimal in quotes."
    }
}

fn config_schema(_: &mut SchemaGenerator) -> Schema {
    let values: serde_json::Map<String, serde_json::Value> = config::names()
        .into_iter()
        .map(|name| {
            let kind = if name == config::REFERENCE_INSTRUMENT { "string" } else { "number" };
            (name.to_owned(), serde_json::json!({ "type": kind }))
        })
        .collect();
    json_schema!({ "type": "object", "properties": values, "additionalProperties": false })
}

/// A scenario: what the world is, what happens to it, and what must hold.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "drillfold scenario", rename = "Scenario")]
pub(super) struct Scenario {
    /// Version of this format: "drillfold/scenario/v1".
    pub(super) schema: At<String>,
    /// Name, the same as the file's: lower-case letters, digits and underscores.
    pub(super) name: At<String>,
    /// Number of the checklist's drill, 1 to 8, if it is one; its name then begins with "drill_N_".
    pub(super) drill: Option<At<i64>>,
    /// The matrix that it is a row of, if it is one: its snapshots then have goldens in fixtures/status/MATRIX/.
    pub(super) matrix: Option<At<Matrix>>,
    /// One line for tables.
    pub(super) title: At<String>,
    /// What the scenario shows, in words.
    pub(super) shows: At<String>,
    /// Seed of every random stream.
    pub(super) seed: At<Seed>,
    /// Simulated time of the first event.
    pub(super) start: Option<At<Moment>>,
    /// How long the simulation runs, at most seven days.
    pub(super) duration: At<Duration>,
    /// Most events the run may have.
    pub(super) events_max: Option<At<i64>>,
    /// The build that is drilled.
    pub(super) build_id: Option<At<String>>,
    /// What the scenario leaves open.
    pub(super) risks: Option<Vec<At<String>>>,
    /// Overrides of the runtime configuration, by the names of specs/config/defaults.toml.
    #[serde(default)]
    #[schemars(schema_with = "config_schema")]
    pub(super) config: BTreeMap<At<String>, At<toml::Value>>,
    /// The world at the start.
    #[serde(default)]
    pub(super) world: World,
    /// What the strategy keeps proposing; a pace of "0s" switches that part off.
    #[serde(default)]
    pub(super) strategy: Strategy,
    /// The timeline, in the order of time.
    #[serde(default)]
    pub(super) step: Vec<At<Step>>,
    /// Named statuses to take, in the order of time.
    #[serde(default)]
    pub(super) snapshot: Vec<At<Snapshot>>,
    /// What must hold.
    #[serde(default)]
    pub(super) expect: Vec<At<Expect>>,
    /// The same scenario with differences: tables are merged key by key, lists replace the scenario's.
    #[serde(default)]
    pub(super) variant: Vec<At<Variant>>,
}

/// A set of scenarios that goes through a list of the contract row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Matrix {
    /// Mode reasons and latch codes.
    Reasons,
    /// Crashes.
    Crash,
    /// Reconciliation.
    Reconcile,
}

/// The same scenario with differences: tables are merged key by key, lists replace the scenario's.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Variant {
    /// Name: lower-case letters, digits and underscores.
    pub(super) name: At<String>,
    /// What the variant shows, in words.
    pub(super) shows: At<String>,
    /// One line for tables.
    pub(super) title: Option<At<String>>,
    /// Seed of every random stream.
    pub(super) seed: Option<At<Seed>>,
    /// Simulated time of the first event.
    pub(super) start: Option<At<Moment>>,
    /// How long the simulation runs.
    pub(super) duration: Option<At<Duration>>,
    /// Most events the run may have.
    pub(super) events_max: Option<At<i64>>,
    /// The build that is drilled.
    pub(super) build_id: Option<At<String>>,
    /// What the variant leaves open.
    pub(super) risks: Option<Vec<At<String>>>,
    /// Overrides of the runtime configuration.
    #[serde(default)]
    #[schemars(schema_with = "config_schema")]
    pub(super) config: BTreeMap<At<String>, At<toml::Value>>,
    /// The world at the start.
    #[serde(default)]
    pub(super) world: World,
    /// What the strategy keeps proposing.
    #[serde(default)]
    pub(super) strategy: Strategy,
    /// The timeline.
    pub(super) step: Option<Vec<At<Step>>>,
    /// Named statuses to take.
    pub(super) snapshot: Option<Vec<At<Snapshot>>>,
    /// What must hold.
    pub(super) expect: Option<Vec<At<Expect>>>,
}

/// The world at the start.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct World {
    /// Instruments the venue lists; all are subscribed.
    pub(super) instrument: Option<Vec<At<Instrument>>>,
    /// How the synthetic market moves; a pace of "0s" switches that part off.
    pub(super) market: Market,
    /// Path of a recorded feed, relative to the scenario file, that is played beside the synthetic market.
    pub(super) recording: Option<At<String>>,
    /// False where the venue answers no keep-alives on the public socket, so that it is silent where its feed is.
    pub(super) keepalives: Option<At<bool>>,
    /// One-way delays, lowest and highest.
    pub(super) latency: Latency,
    /// What the host reports, and how often.
    pub(super) host: Host,
    /// How the writer of the ledger drains its queue.
    pub(super) ledger: Ledger,
    /// Inputs that the boot lacks.
    pub(super) withhold: Option<Vec<At<Withhold>>>,
}

layer!(World { instrument market recording keepalives latency host ledger withhold });

/// One listed instrument; only its name is needed, the rest has defaults of its kind.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Instrument {
    /// The venue's name, such as "BTC-PERPETUAL" or "BTC-26JUN26-60000-C".
    pub(super) name: Option<At<String>>,
    /// What it is; by default as its name ends.
    pub(super) kind: Option<At<Kind>>,
    /// Its underlying; by default as its name begins.
    pub(super) underlying: Option<At<String>>,
    /// Smallest price step.
    pub(super) tick_size: Option<At<Decimal>>,
    /// Smallest amount step: USD for perpetuals and futures, coins for options.
    pub(super) amount_step: Option<At<Decimal>>,
    /// Smallest order.
    pub(super) min_amount: Option<At<Decimal>>,
    /// Mid price at the start.
    pub(super) mid: Option<At<Decimal>>,
    /// Amount on each level of the synthetic book.
    pub(super) level_qty: Option<At<Decimal>>,
    /// Option delta, -1 to 1.
    pub(super) delta: Option<At<Decimal>>,
    /// False where its market data come from the recording only.
    pub(super) synthetic: Option<At<bool>>,
}

layer!(Instrument { name kind underlying tick_size amount_step min_amount mid level_qty delta synthetic });

/// What an instrument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Inverse perpetual: amounts in USD.
    Perpetual,
    /// Inverse future: amounts in USD.
    Future,
    /// Option: amounts in coins.
    Option,
}

/// How the synthetic market moves; a pace of "0s" switches that part off.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Market {
    /// A book change of each instrument every so often.
    pub(super) book_every: Option<At<Duration>>,
    /// Random part added to `book_every`, from 0 to this.
    pub(super) book_jitter: Option<At<Duration>>,
    /// A public trade of each instrument every so often.
    pub(super) trades_every: Option<At<Duration>>,
    /// A ticker of each instrument every so often.
    pub(super) ticker_every: Option<At<Duration>>,
    /// Levels a side.
    pub(super) levels: Option<At<i64>>,
    /// Largest step of the mid price at a change, in ticks.
    pub(super) walk_ticks: Option<At<i64>>,
    /// Index price in USD of each underlying.
    #[schemars(with = "BTreeMap<String, Decimal>")]
    pub(super) index: BTreeMap<At<String>, At<Decimal>>,
}

layer!(Market { book_every book_jitter trades_every ticker_every levels walk_ticks index });

/// One-way delays, lowest and highest.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Latency {
    /// Venue to us on the public socket.
    pub(super) public: Option<[At<Duration>; 2]>,
    /// Each way on the private socket.
    pub(super) private: Option<[At<Duration>; 2]>,
    /// Each way over REST.
    pub(super) rest: Option<[At<Duration>; 2]>,
}

layer!(Latency { public private rest });

/// What the host reports, and how often.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Host {
    /// Samples of margin and disks every so often.
    pub(super) sample_every: Option<At<Duration>>,
    /// The watchdog's heartbeat every so often.
    pub(super) heartbeat_every: Option<At<Duration>>,
    /// Policy, certificate and fee model every so often.
    pub(super) refresh_every: Option<At<Duration>>,
    /// Maintenance-margin utilisation; 1 is all of it.
    pub(super) mm_util: Option<At<Decimal>>,
    /// Use of the primary disk; 1 is full.
    pub(super) disk: Option<At<Decimal>>,
    /// Use of the second disk; 1 is full.
    pub(super) disk_secondary: Option<At<Decimal>>,
    /// Clock drift.
    pub(super) drift: Option<At<Duration>>,
    /// The volatility index, read each second; 0.5 is 50 %.
    pub(super) volatility: Option<At<Decimal>>,
}

layer!(Host { sample_every heartbeat_every refresh_every mm_util disk disk_secondary drift volatility });

/// How the writer of the ledger drains its queue.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ledger {
    /// A batch every so often.
    pub(super) drain_every: Option<At<Duration>>,
    /// Records a batch at most.
    pub(super) batch: Option<At<i64>>,
}

layer!(Ledger { drain_every batch });

/// An input that a boot may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Withhold {
    /// The margin sample.
    Margin,
    /// The sample of the primary disk.
    DiskPrimary,
    /// The sample of the second disk.
    DiskSecondary,
    /// The watchdog's heartbeat.
    Heartbeat,
    /// The loop's last tick.
    LoopTick,
    /// The policy's generation time.
    Policy,
    /// The certificate.
    Certificate,
    /// The fee model's time.
    FeeModel,
    /// The clock drift.
    Drift,
    /// The signals of the override producers.
    Overrides,
    /// The round trips of the handshake.
    RoundTrips,
    /// The session-kill flag.
    SessionFlag,
    /// The count of 10028.
    SessionCount,
}

/// What the strategy keeps proposing; a pace of "0s" switches that part off.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Strategy {
    /// An OPEN of one leg every so often.
    pub(super) open_every: Option<At<Duration>>,
    /// A reduce-only close every so often, while there is a position.
    pub(super) close_every: Option<At<Duration>>,
    /// A cancel of a resting order every so often, while there is one.
    pub(super) cancel_every: Option<At<Duration>>,
    /// Every so many OPENs, one rests far from the market instead of crossing; 0 never.
    pub(super) resting_every: Option<At<i64>>,
    /// Instruments it trades; by default the first one.
    pub(super) instruments: Option<Vec<At<String>>>,
    /// Amount of an OPEN.
    pub(super) open_qty: Option<At<Decimal>>,
    /// Amount of a close.
    pub(super) close_qty: Option<At<Decimal>>,
    /// Above this absolute position no crossing OPEN is proposed in its direction.
    pub(super) position_max: Option<At<Decimal>>,
    /// When it begins, from the start.
    pub(super) from: Option<At<Duration>>,
}

layer!(Strategy { open_every close_every cancel_every resting_every instruments open_qty close_qty position_max from });

/// One step of the timeline.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// When: from the start ("6s"), or after the step before it ("+4s").
    pub(super) at: At<When>,
    /// True for the one step that is the drill's trigger.
    pub(super) trigger: Option<At<bool>>,
    /// What happens, in words.
    pub(super) says: At<String>,
    /// What happens: one action, such as `do.crash = { down = "2s" }`.
    #[serde(rename = "do")]
    pub(super) action: At<Action>,
}

/// What a step does to the world or feeds in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    /// The venue stops sending market data; keep-alives go on.
    StopMarketData(Nothing),
    /// The venue sends market data again.
    ResumeMarketData(Nothing),
    /// The network loses the next book changes of an instrument.
    DropBookChanges(OnInstrument),
    /// The network loses the next trade messages of an instrument.
    DropTrades(OnInstrument),
    /// The network delivers the next trade messages of an instrument twice.
    RepeatTrades(OnInstrument),
    /// The venue's next trade of an instrument has a number that is too low.
    StepBackTrades(StepBackTrades),
    /// The network delivers the next own-trade messages twice.
    RepeatOwnTrades(Count),
    /// The venue refuses the next orders that match.
    RejectOrders(RejectOrders),
    /// The venue leaves the next matching immediate orders unfilled, or fills a share of them.
    StarveOrders(StarveOrders),
    /// The strategy proposes this group.
    ProposeGroup(ProposeGroup),
    /// The writer of the ledger stops draining.
    StallLedger(Nothing),
    /// The writer of the ledger drains again.
    ResumeLedger(Nothing),
    /// The process is killed now and starts again later.
    Crash(Crash),
    /// The process is killed when a point is reached.
    CrashAt(CrashAt),
    /// A clean stop, and a start with another build.
    Redeploy(Redeploy),
    /// The venue answers 10028 on the private socket and then closes it.
    TooManyRequests(Nothing),
    /// The venue ends the private session.
    EndSession(Nothing),
    /// The key is revoked: the session ends, and so many authentications are refused.
    RevokeKey(RevokeKey),
    /// The next authentications are refused.
    RefuseAuthentication(Refuse),
    /// The private socket is lost.
    DropPrivateSocket(Nothing),
    /// The public socket is lost.
    DropPublicSocket(Nothing),
    /// The next REST requests are refused.
    RefuseRest(Refuse),
    /// The next REST requests are not answered at all.
    LoseRest(Count),
    /// A subsystem reports with a reason token, known or not.
    ReportToken(ReportToken),
    /// An operator acts.
    Operator(Operator),
    /// The margin utilisation from now on.
    SetMargin(SetMargin),
    /// The use of the disks from now on.
    SetDisk(SetDisk),
    /// The watchdog's heartbeat stops or goes on.
    SetHeartbeat(SetHeartbeat),
    /// The clock drift from now on.
    SetDrift(SetDrift),
    /// How an input of the host comes from now on.
    SetInput(SetInput),
    /// The certificate on disk from now on.
    SetCertificate(SetCertificate),
    /// One-way delays from now on; what is not given stays.
    SetLatency(SetLatency),
    /// The account limits are fetched.
    FetchLimits(FetchLimits),
    /// An output queue of the loop is sampled.
    SampleQueue(SampleQueue),
    /// The group lock is tried.
    TryGroupLock(TryGroupLock),
    /// The rate limiter's bucket is sampled.
    SampleLimiter(SampleLimiter),
    /// The venue takes an order with a label of ours that this process never sent.
    StrayOrder(StrayOrder),
    /// The venue's books show another position, by no trade of ours.
    ShiftPosition(ShiftPosition),
    /// An override producer's signal from now on.
    SetOverride(SetOverride),
    /// The reference instrument's market from now on; what is not given is as the world has it, so `{}` ends the stress.
    SetMarket(SetMarket),
    /// What the venue announces from now on; it is polled at once.
    Announce(Announce),
    /// The strategy's pace from now on; what is not given stays.
    SetStrategy(SetStrategy),
}

/// Nothing to say: `{}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

const fn one() -> u32 {
    1
}

/// How many.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Count {
    /// How many; 0 changes nothing.
    #[serde(default = "one")]
    pub(super) count: u32,
}

/// Which instrument, and how many.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OnInstrument {
    /// The instrument's name.
    pub(super) instrument: At<String>,
    /// How many; 0 changes nothing.
    #[serde(default = "one")]
    pub(super) count: u32,
}

/// A trade's number that is too low.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StepBackTrades {
    /// The instrument's name.
    pub(super) instrument: At<String>,
    /// By how much; 0 changes nothing.
    pub(super) by: u64,
}

/// Which orders the venue refuses.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RejectOrders {
    /// The instrument's name; without it any.
    pub(super) instrument: Option<At<String>>,
    /// True: only orders of the strategy's groups, not containment.
    #[serde(default)]
    pub(super) only_legs: bool,
    /// How many; 0 changes nothing.
    #[serde(default = "one")]
    pub(super) count: u32,
    /// The venue's error code, such as 10009.
    pub(super) code: i32,
}

/// Which orders find nothing to trade with.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StarveOrders {
    /// The instrument's name; without it any.
    pub(super) instrument: Option<At<String>>,
    /// How many; 0 changes nothing.
    #[serde(default = "one")]
    pub(super) count: u32,
    /// Share that is filled all the same, 0 to 1; by default none.
    pub(super) fill: Option<At<Decimal>>,
}

/// A group of legs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProposeGroup {
    /// Net edge in USD; without it a gate that needs it refuses the group.
    pub(super) net_edge_usd: Option<At<Decimal>>,
    /// The legs, at least one.
    pub(super) legs: At<Vec<Leg>>,
}

/// One leg of a group.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Leg {
    /// The instrument's name.
    pub(super) instrument: At<String>,
    /// Direction.
    pub(super) side: Side,
    /// What it is meant to do.
    #[serde(default)]
    pub(super) action: LegAction,
    /// As the strategy sets it; missing is not true.
    pub(super) reduce_only: Option<bool>,
    /// Amount.
    pub(super) qty: At<Decimal>,
    /// Limit price; without it the leg crosses the market by ten ticks.
    pub(super) price: Option<At<Decimal>>,
    /// How long it lives.
    #[serde(default)]
    pub(super) time_in_force: TimeInForce,
}

/// Direction of a leg.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Side {
    /// Adds to the position.
    Buy,
    /// Takes from the position.
    Sell,
}

/// What a leg is meant to do.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LegAction {
    /// A new order.
    #[default]
    Place,
    /// Reduce the position in this instrument.
    Close,
    /// Reduce exposure through another instrument.
    Hedge,
    /// Something the kernel does not know.
    Unknown,
}

/// How long an order lives.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TimeInForce {
    /// Fill what can be filled, cancel the rest.
    #[default]
    ImmediateOrCancel,
    /// Rest until filled or cancelled.
    GoodTilCancelled,
}

/// A kill and a start.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Crash {
    /// How long the process is down.
    pub(super) down: At<Duration>,
    /// True: what waits in the ledger's queue still reaches the disk.
    #[serde(default)]
    pub(super) flush: bool,
    /// True: the next start finds the ledger damaged beyond a torn tail.
    #[serde(default)]
    pub(super) damage: bool,
}

/// A kill at a point in the life of an intent.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CrashAt {
    /// Where.
    pub(super) point: CrashPoint,
    /// At which occurrence after the step, from 1.
    pub(super) nth: Option<At<i64>>,
    /// How long the process is down.
    pub(super) down: At<Duration>,
}

/// Where a crash strikes.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CrashPoint {
    /// Before the intent's record reached the queue.
    BeforeRecord,
    /// The record is durable, nothing is sent.
    AfterRecord,
    /// The order is sent, its mark is not recorded.
    BeforeSentRecord,
    /// The order is sent and marked, no acknowledgement yet.
    AfterSend,
    /// The acknowledgement arrived and was not processed.
    BeforeAck,
    /// The acknowledgement is processed.
    AfterAck,
    /// The venue filled, the message was not processed.
    BeforeFill,
    /// The fill is processed.
    AfterFill,
    /// Between the requests of a run of reconciliation.
    InReconciliation,
}

/// A stop, and a start with another build.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Redeploy {
    /// The new build.
    pub(super) build_id: At<String>,
    /// How long the process is down.
    pub(super) down: At<Duration>,
}

/// A key that is revoked.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeKey {
    /// How many authentications are refused.
    pub(super) refused: u32,
}

/// Requests that are refused.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refuse {
    /// How many; 0 changes nothing.
    #[serde(default = "one")]
    pub(super) count: u32,
    /// HTTP status or the venue's error code, such as 429 or 13004.
    pub(super) code: i32,
}

/// A report with a reason token.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportToken {
    /// Who reports.
    pub(super) subsystem: At<String>,
    /// The token, known or not.
    pub(super) token: At<String>,
}

/// What an operator does.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operator {
    /// Closes an incident for one Kill reason.
    IncidentReset(IncidentReset),
    /// Stops everything that adds risk, with Kill.
    Kill(Nothing),
    /// Raises emergency reduce-only.
    EmergencyReduceOnly(Nothing),
    /// Adopts positions that no trade explains.
    AdoptPositions(AdoptPositions),
    /// Starts containment of a group again.
    ResumeContainment(ResumeContainment),
}

/// An incident that is closed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IncidentReset {
    /// The Kill reason's token, known or not.
    pub(super) token: At<String>,
    /// The incident's id.
    pub(super) incident_id: At<String>,
}

/// Positions that are adopted.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdoptPositions {
    /// The incident's id.
    pub(super) incident_id: At<String>,
}

/// Containment that starts again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResumeContainment {
    /// The group.
    pub(super) group_id: At<String>,
}

/// The margin from now on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetMargin {
    /// Maintenance-margin utilisation; 1 is all of it.
    pub(super) mm_util: At<Decimal>,
}

/// The disks from now on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetDisk {
    /// Use of the primary disk; 1 is full.
    pub(super) primary: At<Decimal>,
    /// Use of the second disk; 1 is full.
    pub(super) secondary: At<Decimal>,
}

/// The heartbeat from now on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetHeartbeat {
    /// False stops it.
    pub(super) on: bool,
}

/// The clock drift from now on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetDrift {
    /// Absolute drift.
    pub(super) drift: At<Duration>,
}

/// How an input comes from now on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetInput {
    /// Which.
    pub(super) input: HostInput,
    /// How.
    pub(super) state: InputState,
}

/// What the host reports by itself.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum HostInput {
    /// The margin sample.
    Margin,
    /// The sample of the primary disk.
    DiskPrimary,
    /// The sample of the second disk.
    DiskSecondary,
    /// The watchdog's heartbeat.
    Heartbeat,
    /// The loop's tick.
    LoopTick,
    /// The policy.
    Policy,
    /// The certificate.
    Certificate,
    /// The fee model.
    FeeModel,
    /// The clock drift.
    Drift,
    /// The instruments' metadata.
    Metadata,
}

/// How an input of the host comes.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum InputState {
    /// At its pace, new each time.
    Fresh,
    /// Nothing new: the last reading goes on ageing.
    Silent,
    /// It can't be read. What is only ever seen to come (heartbeat, tick, metadata) is silent.
    Unreadable,
}

/// The certificate from now on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetCertificate {
    /// What it says.
    pub(super) state: CertificateState,
}

/// What the certificate on disk says.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CertificateState {
    /// It passes and binds what runs.
    Passed,
    /// It binds what runs and says FAIL.
    Failed,
    /// It binds another build.
    OtherBuild,
    /// It binds another configuration.
    OtherConfig,
    /// It binds another version of the contract.
    OtherContract,
}

/// One-way delays from now on, lowest and highest; what is not given stays.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetLatency {
    /// As in `[world.latency]`.
    pub(super) public: Option<[At<Duration>; 2]>,
    /// As in `[world.latency]`.
    pub(super) private: Option<[At<Duration>; 2]>,
    /// As in `[world.latency]`.
    pub(super) rest: Option<[At<Duration>; 2]>,
}

/// A fetch of the account limits.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FetchLimits {
    /// True where it succeeds.
    pub(super) succeeds: bool,
    /// How often, at this moment.
    #[serde(default = "one")]
    pub(super) count: u32,
}

/// A sample of an output queue.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SampleQueue {
    /// Which.
    pub(super) queue: OutputQueue,
    /// Items waiting.
    pub(super) depth: u32,
    /// Its bound.
    pub(super) capacity: u32,
}

/// The loop's output queues.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OutputQueue {
    /// Telemetry.
    Telemetry,
    /// The status writer.
    StatusWriter,
    /// Order events.
    OrderEvents,
}

/// A try of the group lock.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TryGroupLock {
    /// True where it can't be had in time.
    pub(super) held: bool,
}

/// A sample of the rate limiter's bucket.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SampleLimiter {
    /// Credits left; 0 or less is pressure.
    pub(super) credits: i64,
}

/// An order that nobody here sent.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StrayOrder {
    /// The instrument's name.
    pub(super) instrument: At<String>,
    /// Direction.
    pub(super) side: Side,
    /// Amount.
    pub(super) qty: At<Decimal>,
    /// True: it rests far from the market. False: it is filled at once.
    #[serde(default)]
    pub(super) rests: bool,
}

/// A position that changes without a trade.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ShiftPosition {
    /// The instrument's name.
    pub(super) instrument: At<String>,
    /// In which direction.
    pub(super) side: Side,
    /// By how much.
    pub(super) qty: At<Decimal>,
}

/// A producer's signal from now on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetOverride {
    /// Who asks.
    pub(super) producer: Producer,
    /// For what.
    pub(super) signal: Signal,
}

/// Who may force a milder mode away.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Producer {
    /// Spread, depth and volatility of the reference instrument.
    Cortex,
    /// Announcements.
    ExchangeHealth,
    /// Mark, index and last price.
    Basis,
}

/// What a producer asks for.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Signal {
    /// Nothing.
    None,
    /// No new risk.
    ForceReduceOnly,
    /// Kill.
    ForceKill,
}

/// The reference instrument's market from now on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetMarket {
    /// The best prices are at least so many basis points of their middle apart.
    pub(super) spread_bps: Option<At<i64>>,
    /// USD on the five best levels of each side.
    pub(super) depth_usd: Option<At<i64>>,
    /// The index is so many basis points of the mark above it.
    pub(super) basis_bps: Option<At<i64>>,
    /// The volatility index; 0.55 is 55 %.
    pub(super) volatility: Option<At<Decimal>>,
}

/// What the venue announces.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Announce {
    /// Nothing; a maintenance that was announced is withdrawn.
    Nothing(Nothing),
    /// A maintenance.
    Maintenance(Maintenance),
    /// The announcements can't be read.
    Unreachable(Nothing),
}

/// A maintenance.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Maintenance {
    /// How long after the step it starts.
    #[serde(rename = "in")]
    pub(super) lead: At<Duration>,
    /// How long it lasts.
    #[serde(rename = "for")]
    pub(super) length: At<Duration>,
}

/// The strategy's pace from now on; what is not given stays.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetStrategy {
    /// As in `[strategy]`.
    pub(super) open_every: Option<At<Duration>>,
    /// As in `[strategy]`.
    pub(super) close_every: Option<At<Duration>>,
    /// As in `[strategy]`.
    pub(super) cancel_every: Option<At<Duration>>,
}

/// A named status to take, at a time or when an expression first holds.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["at"] }, { "required": ["when"] }]))]
pub(super) struct Snapshot {
    /// Its name, such as "baseline", "tripped" or "cleared".
    pub(super) name: At<String>,
    /// After the last event at or before this time from the start.
    pub(super) at: Option<At<Duration>>,
    /// After the first event for which this expression holds, once the trigger and the snapshots before it are past.
    pub(super) when: Option<At<String>>,
}

/// Something that must hold, of exactly one kind; expressions are those of specs/expressions.md.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["always"] }, { "required": ["never"] }, { "required": ["sometimes"] },
    { "required": ["within_ticks"] }, { "required": ["until"] }, { "required": ["never_rises"] },
    { "required": ["grows"] },
]))]
pub(super) struct Expect {
    /// Id of the criterion that it proves: lower-case words joined by hyphens.
    pub(super) criterion: At<String>,
    /// What it says, in words.
    pub(super) says: At<String>,
    /// First event it looks at: "start", "trigger" or a snapshot; by default the start.
    pub(super) from: Option<At<String>>,
    /// Last event it looks at: "trigger", a snapshot or "end"; by default the end.
    pub(super) to: Option<At<String>>,
    /// Holds after every event.
    pub(super) always: Option<At<String>>,
    /// Holds after no event.
    pub(super) never: Option<At<String>>,
    /// Holds after at least one event.
    pub(super) sometimes: Option<At<String>>,
    /// Holds at the latest so many loop ticks after the first event.
    pub(super) within_ticks: Option<At<WithinTicks>>,
    /// What is forbidden does not hold before the release does, and the release comes.
    pub(super) until: Option<At<Until>>,
    /// A number that never rises.
    pub(super) never_rises: Option<At<String>>,
    /// A number that grows by exactly this much.
    pub(super) grows: Option<At<Grows>>,
}

/// Holds at the latest so many loop ticks after the first event.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WithinTicks {
    /// How many ticks.
    pub(super) ticks: u32,
    /// What must hold.
    pub(super) holds: At<String>,
}

/// What is forbidden does not hold before the release does, and the release comes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Until {
    /// What ends the ban.
    pub(super) release: At<String>,
    /// What must not be before.
    pub(super) forbidden: At<String>,
}

/// A number that grows by exactly this much.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Grows {
    /// Which.
    pub(super) value: At<String>,
    /// By how much; by default not at all.
    #[serde(default)]
    pub(super) by: i64,
}

/// What a scenario has where it says nothing: `specs/config/scenario.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Defaults {
    pub(super) start: At<Moment>,
    pub(super) events_max: At<i64>,
    pub(super) build_id: At<String>,
    pub(super) world: World,
    pub(super) strategy: Strategy,
    pub(super) instrument: Kinds,
}

/// Defaults of instruments, by kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kinds {
    pub(super) perpetual: Instrument,
    pub(super) future: Instrument,
    pub(super) option: Instrument,
}
