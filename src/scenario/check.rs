//! The rules: from the tables as they were written to checked scenarios.
//!
//! Every rule reports and goes on with a harmless value, so that one reading finds all there is. A variant is checked as
//! the whole scenario that it makes; what was found in the scenario itself is not said again.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Range, RangeInclusive},
};

use drillfold_kernel::{
    event::{
        Action as LegAction, InstrumentKind, LegProposal, OperatorCommand, OrderType, OutputQueue, Override, Producer,
        TimeInForce,
    },
    units::{InstrumentId, PPM, Ppm, Price, Qty, Side, TimeMs},
};
use sha2::{Digest, Sha256};

use super::{
    DEFAULTS, SCHEMA_VERSION,
    error::{Code, Finding, ScenarioErrors},
    model::{
        Action, Announcements, Bound, CertificateState, CrashPoint, Expectation, ExpectationKind, Host, HostInput,
        InputState, InstrumentSetup, Latency, LedgerWriter, Market, MarketStress, Matrix, Scenario, Snapshot,
        SnapshotWhen, Step, Strategy, Withheld, World,
    },
    raw::{self, At, Layer as _},
};
use crate::{
    contract::config::{ConfigError, REFERENCE_INSTRUMENT, RuntimeConfig},
    judge::{
        expr::{Expr, ExprError, Type},
        facts::{NAMES, impossible},
    },
    text::{
        decimal::{self, DecimalError, NANO_DIGITS, PPM_DIGITS},
        nearest::{nearest, suggestion},
        time,
    },
};

/// Most events that a run may be allowed.
const EVENTS_MAX: i64 = 10_000_000;

/// Most basis points by which a step may widen a spread or move an index.
const STRESS_BPS_MAX: i64 = 5_000;

/// Most USD that a step may put on the best levels of a side.
const STRESS_DEPTH_USD_MAX: i64 = 1_000_000_000;

/// Most levels a side of a synthetic book.
const LEVELS_MAX: i64 = 1_000;

/// Most instruments.
const INSTRUMENTS_MAX: usize = 1_000;

/// Longest name.
const NAME_LENGTH_MAX: usize = 64;

/// Numbers of the checklist's drills.
const DRILLS: RangeInclusive<i64> = 1..=8;

/// Names that ends of ranges have and snapshots can't.
const BOUND_NAMES: [&str; 3] = ["start", "trigger", "end"];

/// Parses and checks a file.
pub(super) fn scenarios(file: &str, text: &str) -> Result<Vec<Scenario>, ScenarioErrors> {
    let failed = |finding| ScenarioErrors { findings: vec![finding] };
    let base: raw::Scenario = toml::from_str(text).map_err(|error| failed(shape_finding((file, text), &error)))?;
    let defaults: raw::Defaults = toml::from_str(DEFAULTS).map_err(|error| {
        let message = format!("built-in scenario defaults are unusable: {}", error.message());
        failed(Finding::new(Code::Defaults, (file, text), 0..0, message, String::new(), None))
    })?;
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();

    let mut found = Findings { file, text, list: Vec::new() };
    found.variants(&base.variant);
    let mut scenarios = Vec::new();
    for variant in std::iter::once(None).chain(base.variant.iter().map(Some)) {
        let merged = merged(&base, variant.map(|at| &at.value), &defaults);
        let mut rules = Rules {
            raw: &merged,
            defaults: &defaults,
            variant: variant.map(|at| at.value.name.value.as_str()),
            home: base.name.span.clone(),
            instruments: Vec::new(),
            found: &mut found,
        };
        scenarios.push(rules.scenario(digest));
    }
    found.list.sort_by_key(|finding| (finding.span.start, finding.code));
    if found.list.is_empty() { Ok(scenarios) } else { Err(ScenarioErrors { findings: found.list }) }
}

/// How an expression is parsed: as a condition, or as a number.
type ParseExpr = fn(&str, &[(&str, Type)]) -> Result<Expr, ExprError>;

/// Turns an error of the tables' shape into a finding with a code of its own kind.
fn shape_finding(source: (&str, &str), error: &toml::de::Error) -> Finding {
    let message = error.message();
    // Only the wording tells what kind of error it is; an unexpected one is still an error, of the general kind.
    let code = if message.starts_with("unknown field") {
        Code::UnknownKey
    } else if message.starts_with("missing field") {
        Code::MissingKey
    } else if message.starts_with("unknown variant") {
        Code::UnknownValue
    } else if message.starts_with("invalid type")
        || message.starts_with("invalid value")
        || message.starts_with("invalid length")
        || message.starts_with("number ")
        || message.starts_with("wanted exactly")
    {
        Code::WrongType
    } else {
        Code::Syntax
    };
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (message, expected) = match (code, message.split_once(", expected ")) {
        (Code::UnknownKey, None) => {
            (format!("unknown key `{}`", quoted.next().unwrap_or_default()), "expected nothing here".to_owned())
        }
        (Code::UnknownKey | Code::UnknownValue, Some((_, expected))) => {
            let name = quoted.next().unwrap_or_default();
            let kind = if code == Code::UnknownKey { "unknown key" } else { "unknown value" };
            (format!("{kind} `{name}`{}", suggestion(name, quoted)), format!("expected {expected}"))
        }
        (Code::MissingKey, _) => (format!("missing key `{}`", quoted.next().unwrap_or_default()), String::new()),
        (Code::WrongType, Some((found, expected))) => {
            let found = found.split_once(": ").map_or(found, |(_, found)| found);
            (format!("wrong type: {found}"), format!("expected {expected}"))
        }
        _ => (message.trim_end().replace('\n', ", "), String::new()),
    };
    Finding::new(code, source, error.span().unwrap_or(0..0), message, expected, None)
}

/// Returns the scenario with a variant's differences over it, and all of it over the defaults.
fn merged(base: &raw::Scenario, variant: Option<&raw::Variant>, defaults: &raw::Defaults) -> raw::Scenario {
    let mut merged = base.clone();
    if let Some(variant) = variant.cloned() {
        merged.shows = variant.shows;
        merged.title = variant.title.unwrap_or(merged.title);
        merged.seed = variant.seed.unwrap_or(merged.seed);
        merged.start = variant.start.or(merged.start);
        merged.duration = variant.duration.unwrap_or(merged.duration);
        merged.events_max = variant.events_max.or(merged.events_max);
        merged.build_id = variant.build_id.or(merged.build_id);
        merged.risks = variant.risks.or(merged.risks);
        merged.config = variant.config.over(merged.config);
        merged.world = variant.world.over(merged.world);
        merged.strategy = variant.strategy.over(merged.strategy);
        merged.step = variant.step.unwrap_or(merged.step);
        merged.snapshot = variant.snapshot.unwrap_or(merged.snapshot);
        merged.expect = variant.expect.unwrap_or(merged.expect);
    }
    let nowhere = |at: &At<String>| At { span: 0..0, value: at.value.clone() };
    merged.start = merged.start.or_else(|| Some(At { span: 0..0, value: defaults.start.value.clone() }));
    merged.events_max = merged.events_max.or(Some(At { span: 0..0, value: defaults.events_max.value }));
    merged.build_id = merged.build_id.or_else(|| Some(nowhere(&defaults.build_id)));
    merged.world = merged.world.over(defaults.world.clone().detached());
    merged.strategy = merged.strategy.over(defaults.strategy.clone().detached());
    merged
}

/// All findings of a file.
struct Findings<'a> {
    file: &'a str,
    text: &'a str,
    list: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, code: Code, span: Range<usize>, message: String, expected: String, variant: Option<&str>) {
        let finding = Finding::new(code, (self.file, self.text), span, message, expected, variant);
        let known = self.list.iter().any(|other| {
            let same = (other.code, &other.span) == (finding.code, &finding.span);
            same && (variant.is_some() || other.message == finding.message)
        });
        if !known {
            self.list.push(finding);
        }
    }

    fn variants(&mut self, variants: &[At<raw::Variant>]) {
        let mut names = BTreeSet::new();
        for variant in variants {
            let name = &variant.value.name;
            if !is_name(&name.value) {
                let message = format!("`{}` can't name a variant", name.value);
                self.add(Code::NameFormat, name.span.clone(), message, NAME_EXPECTED.into(), None);
            } else if !names.insert(&name.value) {
                let message = format!("variant `{}` stands twice", name.value);
                self.add(Code::DuplicateVariant, name.span.clone(), message, "expected a name of its own".into(), None);
            }
        }
    }
}

const NAME_EXPECTED: &str = "expected a lower-case letter, then lower-case letters, digits and underscores, at most 64";

fn is_name(text: &str) -> bool {
    text.len() <= NAME_LENGTH_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn is_criterion(text: &str) -> bool {
    text.len() <= NAME_LENGTH_MAX
        && text
            .split('-')
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
}

/// The smallest value that a number may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Least {
    Positive,
    Zero,
}

/// The rules over one scenario or variant, with defaults filled in.
struct Rules<'a, 'f> {
    raw: &'a raw::Scenario,
    defaults: &'a raw::Defaults,
    variant: Option<&'a str>,
    /// Where a finding points that has no place of its own: the scenario's name.
    home: Range<usize>,
    /// Names of the listed instruments.
    instruments: Vec<String>,
    found: &'a mut Findings<'f>,
}

impl Rules<'_, '_> {
    fn scenario(&mut self, digest: [u8; 32]) -> Scenario {
        let raw = self.raw;
        self.head();
        // An unreadable duration must not make every step a late one.
        let duration_ms = match self.some_duration(&raw.duration, "duration") {
            0 => time::DURATION_MAX_MS,
            ms => ms,
        };
        let world = self.world();
        let strategy = self.strategy(&world);
        let (steps, trigger_ms) = self.steps(duration_ms);
        let snapshots = self.snapshots(duration_ms, trigger_ms);
        let expectations = self.expectations(&snapshots, trigger_ms);
        let events_max = self.count(raw.events_max.as_ref(), "events_max", 1..=EVENTS_MAX);
        Scenario {
            name: raw.name.value.clone(),
            variant: self.variant.map(str::to_owned),
            drill: raw.drill.as_ref().and_then(|drill| u8::try_from(drill.value).ok()),
            matrix: raw.matrix.as_ref().map(|matrix| matrix_of(matrix.value)),
            title: self.text(&raw.title, "title"),
            shows: self.text(&raw.shows, "shows"),
            seed: self.seed(),
            start: self.start(),
            duration_ms,
            events_max: u64::try_from(events_max).unwrap_or(0),
            build_id: self.optional_text(raw.build_id.as_ref(), "build_id"),
            config: self.config(),
            world,
            strategy,
            steps,
            snapshots,
            expectations,
            risks: raw.risks.iter().flatten().map(|risk| self.text(risk, "a risk")).collect(),
            digest,
        }
    }

    fn report(&mut self, code: Code, span: &Range<usize>, message: impl Into<String>, expected: impl Into<String>) {
        let span = if span.is_empty() { self.home.clone() } else { span.clone() };
        self.found.add(code, span, message.into(), expected.into(), self.variant);
    }

    fn head(&mut self) {
        let raw = self.raw;
        if raw.schema.value != SCHEMA_VERSION {
            let message = format!("the file is of version `{}`", raw.schema.value);
            self.report(Code::SchemaVersion, &raw.schema.span, message, format!("expected \"{SCHEMA_VERSION}\""));
        }
        let name = &raw.name;
        let stem = self.found.file.rsplit(['/', '\\']).next().unwrap_or_default();
        let stem = stem.strip_suffix(".toml").unwrap_or(stem).to_owned();
        if !is_name(&name.value) {
            let message = format!("`{}` can't name a scenario", name.value);
            self.report(Code::NameFormat, &name.span, message, NAME_EXPECTED);
        } else if name.value != stem {
            let message = format!("the scenario is named `{}`, its file `{stem}`", name.value);
            self.report(Code::NameDiffers, &name.span, message, "expected one name for both");
        }
        if let Some(drill) = raw.drill.as_ref().filter(|_| is_name(&name.value)) {
            if !DRILLS.contains(&drill.value) {
                let message = format!("there is no drill {}", drill.value);
                self.report(Code::DrillNumber, &drill.span, message, "expected 1 to 8");
            } else if !name.value.starts_with(&format!("drill_{}_", drill.value)) {
                let message = format!("`{}` does not name drill {}", name.value, drill.value);
                let expected = format!("expected a name that begins with `drill_{}_`, or no number", drill.value);
                self.report(Code::DrillNumber, &drill.span, message, expected);
            }
        }
        if let (Some(_), Some(matrix)) = (&raw.drill, &raw.matrix) {
            let message = "the scenario is a drill and a row of a matrix";
            self.report(Code::DrillAndMatrix, &matrix.span, message, "expected one of the two");
        }
    }

    fn seed(&mut self) -> u64 {
        let seed = &self.raw.seed;
        if seed.value.0.is_none() {
            let expected =
                "expected 0 to 9223372036854775807, or hexadecimal in quotes: \"0x...\" with at most 16 digits";
            self.report(Code::SeedRange, &seed.span, "seed out of range", expected);
        }
        seed.value.0.unwrap_or(0)
    }

    fn start(&mut self) -> TimeMs {
        let Some(start) = &self.raw.start else {
            return TimeMs(0);
        };
        if start.value.0.is_none() {
            let expected = "expected a moment in UTC such as \"2026-01-05T09:00:00Z\", or milliseconds since the epoch";
            self.report(Code::BadMoment, &start.span, "the start is no moment of the years 1970 to 2199", expected);
        }
        TimeMs(start.value.0.unwrap_or(0))
    }

    fn text(&mut self, text: &At<String>, name: &str) -> String {
        if text.value.trim().is_empty() {
            self.report(Code::EmptyText, &text.span, format!("{name} is empty"), "expected a text");
        }
        text.value.clone()
    }

    fn optional_text(&mut self, text: Option<&At<String>>, name: &str) -> String {
        text.map_or_else(String::new, |text| self.text(text, name))
    }

    fn duration(&mut self, at: &At<raw::Duration>) -> i64 {
        time::duration_ms(&at.value.0).unwrap_or_else(|| {
            self.bad_duration(&at.span, &at.value.0);
            0
        })
    }

    fn bad_duration(&mut self, span: &Range<usize>, text: &str) {
        let expected = "expected whole milliseconds with units from h, m, s and ms, such as \"1m30s\", at most 168h";
        self.report(Code::BadDuration, span, format!("\"{text}\" is no duration"), expected);
    }

    fn duration_or_zero(&mut self, at: Option<&At<raw::Duration>>) -> i64 {
        at.map_or(0, |at| self.duration(at))
    }

    /// Reads a duration that must be more than nothing.
    fn some_duration(&mut self, at: &At<raw::Duration>, name: &str) -> i64 {
        let ms = self.duration(at);
        if ms == 0 && time::duration_ms(&at.value.0).is_some() {
            self.report(Code::ZeroDuration, &at.span, format!("`{name}` is zero"), "expected more than 0s");
        }
        ms
    }

    fn count(&mut self, at: Option<&At<i64>>, name: &str, range: RangeInclusive<i64>) -> i64 {
        let Some(at) = at else {
            return *range.start();
        };
        if !range.contains(&at.value) {
            let expected = format!("expected {} to {}", range.start(), range.end());
            self.report(Code::OutOfRange, &at.span, format!("`{name}` = {} is out of range", at.value), expected);
        }
        at.value
    }

    fn number(&mut self, at: &At<raw::Decimal>, name: &str, digits: u32, least: Least) -> i64 {
        let text = &at.value.0;
        let (value, problem) = match decimal::parse(text, digits) {
            Ok(value) if value < 0 => (0, Some("below zero".to_owned())),
            Ok(0) if least == Least::Positive => (0, Some("zero".to_owned())),
            Ok(value) => (value, None),
            Err(error) => (0, Some(error.to_string())),
        };
        if let Some(problem) = problem {
            let bound = if least == Least::Positive { "above zero" } else { "from zero" };
            let expected = format!("expected a number {bound} with at most {digits} digits after the point");
            self.report(Code::BadNumber, &at.span, format!("`{name}` = {text} is {problem}"), expected);
        }
        value
    }

    fn nano(&mut self, at: Option<&At<raw::Decimal>>, name: &str, least: Least) -> i64 {
        at.map_or(0, |at| self.number(at, name, NANO_DIGITS, least))
    }

    fn ratio(&mut self, at: Option<&At<raw::Decimal>>, name: &str) -> Ppm {
        Ppm(at.map_or(0, |at| self.number(at, name, PPM_DIGITS, Least::Zero)))
    }

    fn instrument(&mut self, name: &At<String>) -> usize {
        self.instruments.iter().position(|listed| *listed == name.value).unwrap_or_else(|| {
            let listed = self.instruments.iter().map(String::as_str);
            let message = format!("instrument `{}` is not listed{}", name.value, suggestion(&name.value, listed));
            let expected = format!("expected one of {}", quoted_list(&self.instruments));
            self.report(Code::UnknownInstrument, &name.span, message, expected);
            0
        })
    }

    fn world(&mut self) -> World {
        let world = &self.raw.world;
        let index = self.index_prices();
        let recording = world.recording.as_ref().map(|path| {
            self.recording(path);
            path.value.clone()
        });
        let instruments = self.instrument_setups(&index);
        let used: BTreeSet<&str> = instruments.iter().map(|setup| setup.underlying.as_str()).collect();
        let market = &world.market;
        let mut withhold: Vec<Withheld> = Vec::new();
        for input in world.withhold.iter().flatten().map(|at| withheld(at.value)) {
            if !withhold.contains(&input) {
                withhold.push(input);
            }
        }
        World {
            market: Market {
                book_every_ms: self.duration_or_zero(market.book_every.as_ref()),
                book_jitter_ms: self.duration_or_zero(market.book_jitter.as_ref()),
                trades_every_ms: self.duration_or_zero(market.trades_every.as_ref()),
                ticker_every_ms: self.duration_or_zero(market.ticker_every.as_ref()),
                levels: u16::try_from(self.count(market.levels.as_ref(), "levels", 1..=LEVELS_MAX)).unwrap_or(1),
                walk_ticks: self.count(market.walk_ticks.as_ref(), "walk_ticks", 0..=1_000_000),
                index: index
                    .iter()
                    .filter(|(name, _)| used.contains(name.as_str()))
                    .map(|(name, price)| (name.clone(), *price))
                    .collect(),
            },
            latency: Latency {
                public_ms: self.delays(world.latency.public.as_ref(), "public"),
                private_ms: self.delays(world.latency.private.as_ref(), "private"),
                rest_ms: self.delays(world.latency.rest.as_ref(), "rest"),
            },
            host: Host {
                sample_every_ms: self.duration_or_zero(world.host.sample_every.as_ref()),
                heartbeat_every_ms: self.duration_or_zero(world.host.heartbeat_every.as_ref()),
                refresh_every_ms: self.duration_or_zero(world.host.refresh_every.as_ref()),
                mm_util: self.ratio(world.host.mm_util.as_ref(), "mm_util"),
                disk: self.ratio(world.host.disk.as_ref(), "disk"),
                disk_secondary: self.ratio(world.host.disk_secondary.as_ref(), "disk_secondary"),
                drift_ms: self.duration_or_zero(world.host.drift.as_ref()),
                volatility: self.ratio(world.host.volatility.as_ref(), "volatility"),
            },
            ledger: LedgerWriter {
                drain_every_ms: world.ledger.drain_every.as_ref().map_or(0, |at| self.some_duration(at, "drain_every")),
                batch: u32::try_from(self.count(world.ledger.batch.as_ref(), "batch", 1..=1_000_000)).unwrap_or(1),
            },
            instruments,
            recording,
            keepalives: world.keepalives.as_ref().is_none_or(|keepalives| keepalives.value),
            withhold,
        }
    }

    fn index_prices(&mut self) -> BTreeMap<String, Price> {
        let index = &self.raw.world.market.index;
        index
            .iter()
            .map(|(name, price)| {
                let price = self.number(price, &format!("index of {}", name.value), NANO_DIGITS, Least::Positive);
                (name.value.clone(), Price(price))
            })
            .collect()
    }

    fn recording(&mut self, path: &At<String>) {
        let text = path.value.as_str();
        let outside = text.split('/').any(|part| part == "..");
        let absolute = text.starts_with('/') || text.contains('\\') || text.contains(':');
        let empty = text.split('/').any(|part| part.trim().is_empty() || part == ".");
        if outside || absolute || empty {
            let message = format!("\"{text}\" does not lie below the scenario's folder");
            let expected =
                "expected a path with `/` relative to the scenario file, without `..`, such as \"feeds/a.txt\"";
            self.report(Code::RecordingPath, &path.span, message, expected);
        }
    }

    fn delays(&mut self, pair: Option<&[At<raw::Duration>; 2]>, name: &str) -> (i64, i64) {
        let Some([lowest, highest]) = pair else {
            return (0, 0);
        };
        let (low, high) = (self.duration(lowest), self.duration(highest));
        if low > high && time::duration_ms(&highest.value.0).is_some() {
            let message = format!("`{name}` runs from {low} ms to {high} ms");
            self.report(Code::LatencyReversed, &lowest.span, message, "expected the lowest delay, then the highest");
        }
        (low, high)
    }

    fn instrument_setups(&mut self, index: &BTreeMap<String, Price>) -> Vec<InstrumentSetup> {
        let listed = self.raw.world.instrument.as_deref().unwrap_or_default();
        if listed.is_empty() || listed.len() > INSTRUMENTS_MAX {
            let message = format!("the venue lists {} instruments", listed.len());
            self.report(Code::OutOfRange, &(0..0), message, format!("expected 1 to {INSTRUMENTS_MAX}"));
        }
        let mut setups: Vec<InstrumentSetup> = Vec::new();
        for at in listed.iter().take(INSTRUMENTS_MAX) {
            let Some(name) = &at.value.name else {
                self.report(Code::MissingKey, &at.span, "missing key `name`", "expected the venue's name");
                continue;
            };
            if name.value.is_empty() || name.value.contains(|c: char| c.is_whitespace() || c.is_control()) {
                let message = format!("{:?} can't name an instrument", name.value);
                self.report(Code::NameFormat, &name.span, message, "expected the venue's name without white space");
            }
            if setups.iter().any(|setup| setup.name == name.value) {
                let message = format!("instrument `{}` stands twice", name.value);
                self.report(Code::DuplicateInstrument, &name.span, message, "expected each instrument once");
                continue;
            }
            self.instruments.push(name.value.clone());
            let setup = self.instrument_setup(at, name, index);
            setups.push(setup);
        }
        setups
    }

    fn instrument_setup(
        &mut self,
        at: &At<raw::Instrument>,
        name: &At<String>,
        index: &BTreeMap<String, Price>,
    ) -> InstrumentSetup {
        let own = &at.value;
        let kind = own.kind.as_ref().map_or_else(|| kind_of(&name.value), |kind| kind.value);
        let (kind, below) = match kind {
            raw::Kind::Perpetual => (InstrumentKind::Perpetual, &self.defaults.instrument.perpetual),
            raw::Kind::Future => (InstrumentKind::Future, &self.defaults.instrument.future),
            raw::Kind::Option => (InstrumentKind::Option, &self.defaults.instrument.option),
        };
        let full = own.clone().over(below.clone().detached());
        let underlying = match &own.underlying {
            Some(underlying) => self.text(underlying, "underlying"),
            None => name.value.split('-').next().unwrap_or_default().to_owned(),
        };
        if !index.contains_key(&underlying) {
            let message = format!("`{}` has no index price of {underlying}", name.value);
            let expected = format!("expected a price in world.market.index.{underlying}");
            self.report(Code::MissingWorld, &name.span, message, expected);
        }
        let tick_size = self.nano(full.tick_size.as_ref(), "tick_size", Least::Positive);
        let amount_step = self.nano(full.amount_step.as_ref(), "amount_step", Least::Positive);
        let min_amount = self.nano(full.min_amount.as_ref(), "min_amount", Least::Positive);
        let level_qty = self.nano(full.level_qty.as_ref(), "level_qty", Least::Positive);
        let mid = match &full.mid {
            Some(mid) => self.number(mid, "mid", NANO_DIGITS, Least::Positive),
            None => index.get(&underlying).map_or(0, |price| price.0),
        };
        let span = |field: &Option<At<raw::Decimal>>| field.as_ref().map_or(0..0, |at| at.span.clone());
        for (value, step, field, step_name, span) in [
            (mid, tick_size, "mid", "tick_size", span(&own.mid)),
            (min_amount, amount_step, "min_amount", "amount_step", span(&own.min_amount)),
            (level_qty, amount_step, "level_qty", "amount_step", span(&own.level_qty)),
        ] {
            let span = if span.is_empty() { &name.span } else { &span };
            self.on_grid((value, field), (step, step_name), &name.value, span);
        }
        let synthetic = full.synthetic.as_ref().is_none_or(|synthetic| synthetic.value);
        if !synthetic && self.raw.world.recording.is_none() {
            let span = full.synthetic.map_or(0..0, |at| at.span);
            let message = format!("`{}` has no market data", name.value);
            self.report(Code::MissingWorld, &span, message, "expected `world.recording`, or synthetic = true");
        }
        let delta = self.delta(kind, own.delta.as_ref(), full.delta.as_ref(), &name.value);
        InstrumentSetup {
            name: name.value.clone(),
            kind,
            underlying,
            tick_size: Price(tick_size),
            amount_step: Qty(amount_step),
            min_amount: Qty(min_amount),
            mid: Price(mid),
            level_qty: Qty(level_qty),
            delta,
            synthetic,
        }
    }

    /// Reads an option's delta; a default one turns its sign for a put.
    fn delta(
        &mut self,
        kind: InstrumentKind,
        own: Option<&At<raw::Decimal>>,
        full: Option<&At<raw::Decimal>>,
        name: &str,
    ) -> Option<Ppm> {
        let at = full?;
        let text = &at.value.0;
        let expected = "expected -1 to 1 with at most 6 digits after the point, for an option";
        match (kind, decimal::parse(text, PPM_DIGITS)) {
            (InstrumentKind::Perpetual | InstrumentKind::Future, _) => {
                let message = format!("`{name}` is no option and has no delta");
                self.report(Code::BadNumber, &at.span, message, expected);
                None
            }
            (InstrumentKind::Option, Ok(value)) if (-PPM..=PPM).contains(&value) => {
                let put = own.is_none() && name.ends_with("-P");
                Some(if put { Ppm(value).negated() } else { Ppm(value) })
            }
            (InstrumentKind::Option, read) => {
                let problem = read.err().unwrap_or(DecimalError::TooLarge);
                self.report(Code::BadNumber, &at.span, format!("`delta` = {text} is {problem}"), expected);
                None
            }
        }
    }

    /// Tells whether a value is a multiple of its step, and reports it where it is not.
    fn on_grid(
        &mut self,
        (value, name): (i64, &str),
        (step, step_name): (i64, &str),
        instrument: &str,
        span: &Range<usize>,
    ) -> bool {
        let off = step > 0 && value % step != 0;
        if off {
            let plain = |value: i64| decimal::plain(i128::from(value), NANO_DIGITS);
            let message = format!("`{name}` = {} is off the grid of `{instrument}`", plain(value));
            self.report(
                Code::OffGrid,
                span,
                message,
                format!("expected a multiple of `{step_name}` = {}", plain(step)),
            );
        }
        !off
    }

    fn strategy(&mut self, world: &World) -> Strategy {
        let raw = &self.raw.strategy;
        let instruments: Vec<usize> = match &raw.instruments {
            Some(names) => {
                let mut places: Vec<usize> = Vec::new();
                for name in names {
                    let place = self.instrument(name);
                    if !places.contains(&place) {
                        places.push(place);
                    }
                }
                places
            }
            None if world.instruments.is_empty() => Vec::new(),
            None => vec![0],
        };
        let open_qty = self.nano(raw.open_qty.as_ref(), "open_qty", Least::Positive);
        let close_qty = self.nano(raw.close_qty.as_ref(), "close_qty", Least::Positive);
        for (value, name, at) in [(open_qty, "open_qty", &raw.open_qty), (close_qty, "close_qty", &raw.close_qty)] {
            let span = at.as_ref().map_or(0..0, |at| at.span.clone());
            for setup in instruments.iter().filter_map(|place| world.instruments.get(*place)) {
                let on_grid = self.on_grid((value, name), (setup.amount_step.0, "amount_step"), &setup.name, &span);
                if on_grid && value > 0 && value < setup.min_amount.0 {
                    let plain = |value: i64| decimal::plain(i128::from(value), NANO_DIGITS);
                    let message = format!("`{name}` = {} is too small for `{}`", plain(value), setup.name);
                    let expected = format!("expected at least `min_amount` = {}", plain(setup.min_amount.0));
                    self.report(Code::BadNumber, &span, message, expected);
                }
            }
        }
        let resting = self.count(raw.resting_every.as_ref(), "resting_every", 0..=i64::from(u32::MAX));
        Strategy {
            open_every_ms: self.duration_or_zero(raw.open_every.as_ref()),
            close_every_ms: self.duration_or_zero(raw.close_every.as_ref()),
            cancel_every_ms: self.duration_or_zero(raw.cancel_every.as_ref()),
            resting_every: u32::try_from(resting).unwrap_or(0),
            instruments,
            open_qty: Qty(open_qty),
            close_qty: Qty(close_qty),
            position_max: Qty(self.nano(raw.position_max.as_ref(), "position_max", Least::Zero)),
            from_ms: self.duration_or_zero(raw.from.as_ref()),
        }
    }

    fn config(&mut self) -> Vec<(String, toml::Value)> {
        let config = &self.raw.config;
        let overrides: Vec<(String, toml::Value)> =
            config.iter().map(|(name, value)| (name.value.clone(), value.value.clone())).collect();
        match RuntimeConfig::new(&overrides) {
            Err(errors) => {
                for error in errors.0 {
                    let unknown = matches!(error, ConfigError::UnknownName { .. });
                    let entry = error.name().and_then(|name| config.get_key_value(name));
                    let trips = match &error {
                        ConfigError::ClearsAboveTrip { trips, .. } => config.get_key_value(*trips),
                        _ => None,
                    };
                    let span = entry
                        .or(trips)
                        .map_or(0..0, |(name, value)| if unknown { name.span.clone() } else { value.span.clone() });
                    let code = if unknown { Code::UnknownConfig } else { Code::BadConfig };
                    let expected = if unknown { "expected a name of specs/config/defaults.toml" } else { "" };
                    self.report(code, &span, error.to_string(), expected);
                }
            }
            Ok(RuntimeConfig { reference_instrument: Some(instrument), .. }) => {
                let span = config.get(REFERENCE_INSTRUMENT).map_or(0..0, |at| at.span.clone());
                self.instrument(&At { value: instrument, span });
            }
            Ok(_) => {}
        }
        overrides
    }

    /// Returns the timeline, and when its trigger is.
    fn steps(&mut self, duration_ms: i64) -> (Vec<Step>, Option<i64>) {
        let mut steps: Vec<Step> = Vec::new();
        let mut trigger_ms = None;
        let mut before: i64 = 0;
        for at in &self.raw.step {
            let step = &at.value;
            let text = step.at.value.0.as_str();
            let (relative, digits) = text.strip_prefix('+').map_or((false, text), |digits| (true, digits));
            let at_ms = match time::duration_ms(digits) {
                Some(ms) if relative => before.saturating_add(ms),
                Some(ms) => ms,
                None => {
                    self.bad_duration(&step.at.span, text);
                    before
                }
            };
            if at_ms < before {
                let message = format!("step at {at_ms} ms stands after one at {before} ms");
                self.report(Code::TimeBackwards, &step.at.span, message, "expected steps in the order of time");
            }
            if at_ms > duration_ms {
                let message = format!("step at {at_ms} ms is later than the end at {duration_ms} ms");
                self.report(
                    Code::StepAfterEnd,
                    &step.at.span,
                    message,
                    "expected an earlier step or a longer duration",
                );
            }
            before = before.max(at_ms);
            let mark = step.trigger.as_ref().filter(|trigger| trigger.value);
            if let Some(mark) = mark {
                if trigger_ms.is_some() {
                    let expected = "expected one step with trigger = true";
                    self.report(Code::TwoTriggers, &mark.span, "a second step is the trigger", expected);
                }
                trigger_ms = trigger_ms.or(Some(at_ms));
            }
            steps.push(Step {
                at_ms,
                trigger: mark.is_some(),
                says: self.text(&step.says, "says"),
                action: self.action(&step.action.value),
            });
        }
        if self.is_proof() && trigger_ms.is_none() {
            let expected = "expected one step with trigger = true";
            self.report(Code::NoTrigger, &self.home.clone(), "no step is the drill's trigger", expected);
        }
        (steps, trigger_ms)
    }

    /// True for what proves something of the contract, and therefore has to show that its danger was reached.
    const fn is_proof(&self) -> bool {
        self.raw.drill.is_some() || self.raw.matrix.is_some()
    }

    fn action(&mut self, action: &raw::Action) -> Action {
        match action {
            raw::Action::StopMarketData(_) => Action::StopMarketData,
            raw::Action::ResumeMarketData(_) => Action::ResumeMarketData,
            raw::Action::DropBookChanges(on) => {
                Action::DropBookChanges { instrument: self.instrument(&on.instrument), count: on.count }
            }
            raw::Action::DropTrades(on) => {
                Action::DropTrades { instrument: self.instrument(&on.instrument), count: on.count }
            }
            raw::Action::RepeatTrades(on) => {
                Action::RepeatTrades { instrument: self.instrument(&on.instrument), count: on.count }
            }
            raw::Action::StepBackTrades(step) => {
                Action::StepBackTrades { instrument: self.instrument(&step.instrument), by: step.by }
            }
            raw::Action::RepeatOwnTrades(own) => Action::RepeatOwnTrades { count: own.count },
            raw::Action::RejectOrders(orders) => Action::RejectOrders {
                instrument: orders.instrument.as_ref().map(|name| self.instrument(name)),
                only_legs: orders.only_legs,
                count: orders.count,
                code: orders.code,
            },
            raw::Action::StarveOrders(orders) => Action::StarveOrders {
                instrument: orders.instrument.as_ref().map(|name| self.instrument(name)),
                count: orders.count,
                fill: self.share(orders.fill.as_ref()),
            },
            raw::Action::ProposeGroup(group) => self.group(group),
            raw::Action::StallLedger(_) => Action::StallLedger,
            raw::Action::ResumeLedger(_) => Action::ResumeLedger,
            raw::Action::Crash(crash) => {
                let down_ms = self.some_duration(&crash.down, "down");
                Action::Crash { down_ms, flush: crash.flush, damage: crash.damage }
            }
            raw::Action::CrashAt(crash) => Action::CrashAt {
                point: crash_point(crash.point),
                nth: u32::try_from(self.count(crash.nth.as_ref(), "nth", 1..=i64::from(u32::MAX))).unwrap_or(1),
                down_ms: self.some_duration(&crash.down, "down"),
            },
            raw::Action::Redeploy(build) => Action::Redeploy {
                build_id: self.text(&build.build_id, "build_id"),
                down_ms: self.some_duration(&build.down, "down"),
            },
            raw::Action::TooManyRequests(_) => Action::TooManyRequests,
            raw::Action::EndSession(_) => Action::EndSession,
            raw::Action::RevokeKey(key) => Action::RevokeKey { refused: key.refused },
            raw::Action::RefuseAuthentication(refuse) => {
                Action::RefuseAuthentication { count: refuse.count, code: refuse.code }
            }
            raw::Action::DropPrivateSocket(_) => Action::DropPrivateSocket,
            raw::Action::DropPublicSocket(_) => Action::DropPublicSocket,
            raw::Action::RefuseRest(refuse) => Action::RefuseRest { count: refuse.count, code: refuse.code },
            raw::Action::LoseRest(lose) => Action::LoseRest { count: lose.count },
            raw::Action::ReportToken(report) => Action::ReportToken {
                subsystem: self.text(&report.subsystem, "subsystem"),
                token: report.token.value.clone(),
            },
            raw::Action::Operator(operator) => Action::Operator(self.operator(operator)),
            raw::Action::SetMargin(set) => Action::SetMargin(self.ratio(Some(&set.mm_util), "mm_util")),
            raw::Action::SetDisk(set) => Action::SetDisk {
                primary: self.ratio(Some(&set.primary), "primary"),
                secondary: self.ratio(Some(&set.secondary), "secondary"),
            },
            raw::Action::SetHeartbeat(set) => Action::SetHeartbeat(set.on),
            raw::Action::SetDrift(set) => Action::SetDrift(self.duration(&set.drift)),
            raw::Action::SetInput(set) => {
                Action::SetInput { input: host_input(set.input), state: input_state(set.state) }
            }
            raw::Action::SetCertificate(set) => Action::SetCertificate(certificate_state(set.state)),
            raw::Action::SetLatency(set) => Action::SetLatency {
                public_ms: set.public.as_ref().map(|pair| self.delays(Some(pair), "public")),
                private_ms: set.private.as_ref().map(|pair| self.delays(Some(pair), "private")),
                rest_ms: set.rest.as_ref().map(|pair| self.delays(Some(pair), "rest")),
            },
            raw::Action::FetchLimits(fetch) => Action::FetchLimits { succeeds: fetch.succeeds, count: fetch.count },
            raw::Action::SampleQueue(sample) => Action::SampleQueue {
                queue: match sample.queue {
                    raw::OutputQueue::Telemetry => OutputQueue::Telemetry,
                    raw::OutputQueue::StatusWriter => OutputQueue::StatusWriter,
                    raw::OutputQueue::OrderEvents => OutputQueue::OrderEvents,
                },
                depth: sample.depth,
                capacity: sample.capacity,
            },
            raw::Action::TryGroupLock(lock) => Action::TryGroupLock(lock.held),
            raw::Action::SampleLimiter(sample) => Action::SampleLimiter(sample.credits),
            raw::Action::StrayOrder(order) => Action::StrayOrder {
                instrument: self.instrument(&order.instrument),
                side: side(order.side),
                qty: Qty(self.number(&order.qty, "qty", NANO_DIGITS, Least::Positive)),
                rests: order.rests,
            },
            raw::Action::ShiftPosition(shift) => Action::ShiftPosition {
                instrument: self.instrument(&shift.instrument),
                qty: Qty(side(shift.side).sign(self.number(&shift.qty, "qty", NANO_DIGITS, Least::Positive))),
            },
            raw::Action::SetOverride(set) => {
                Action::SetOverride { producer: producer(set.producer), signal: signal(set.signal) }
            }
            raw::Action::SetMarket(set) => Action::SetMarket(self.market_stress(set)),
            raw::Action::Announce(announce) => Action::Announce(self.announcements(announce)),
            raw::Action::SetStrategy(set) => Action::SetStrategy {
                open_every_ms: set.open_every.as_ref().map(|at| self.duration(at)),
                close_every_ms: set.close_every.as_ref().map(|at| self.duration(at)),
                cancel_every_ms: set.cancel_every.as_ref().map(|at| self.duration(at)),
            },
        }
    }

    fn market_stress(&mut self, set: &raw::SetMarket) -> MarketStress {
        let bps = |check: &mut Self, at: Option<&At<i64>>, name: &str| {
            at.map_or(0, |at| check.count(Some(at), name, 0..=STRESS_BPS_MAX))
        };
        MarketStress {
            spread_bps: bps(self, set.spread_bps.as_ref(), "spread_bps"),
            depth_usd: set.depth_usd.as_ref().map(|at| self.count(Some(at), "depth_usd", 5..=STRESS_DEPTH_USD_MAX)),
            basis_bps: bps(self, set.basis_bps.as_ref(), "basis_bps"),
            volatility: set.volatility.as_ref().map(|at| self.ratio(Some(at), "volatility")),
        }
    }

    fn announcements(&mut self, announce: &raw::Announce) -> Announcements {
        match announce {
            raw::Announce::Nothing(_) => Announcements::Nothing,
            raw::Announce::Unreachable(_) => Announcements::Unreachable,
            raw::Announce::Maintenance(window) => Announcements::Maintenance {
                in_ms: self.duration(&window.lead),
                for_ms: self.some_duration(&window.length, "for"),
            },
        }
    }

    fn share(&mut self, at: Option<&At<raw::Decimal>>) -> Ppm {
        let share = self.ratio(at, "fill");
        if let Some(at) = at.filter(|_| share.0 > PPM) {
            let message = format!("`fill` = {} is more than all", at.value.0);
            self.report(Code::OutOfRange, &at.span, message, "expected 0 to 1");
        }
        share
    }

    fn group(&mut self, group: &raw::ProposeGroup) -> Action {
        if group.legs.value.is_empty() {
            self.report(Code::OutOfRange, &group.legs.span, "the group has no legs", "expected at least one leg");
        }
        let net_edge_usd_cents = group.net_edge_usd.as_ref().map(|at| {
            decimal::parse(&at.value.0, 2).unwrap_or_else(|error| {
                let message = format!("`net_edge_usd` = {} is {error}", at.value.0);
                self.report(Code::BadNumber, &at.span, message, "expected USD with at most 2 digits after the point");
                0
            })
        });
        let legs = group
            .legs
            .value
            .iter()
            .map(|leg| LegProposal {
                instrument: InstrumentId(u16::try_from(self.instrument(&leg.instrument)).unwrap_or(0)),
                side: side(leg.side),
                action: match leg.action {
                    raw::LegAction::Place => LegAction::Place,
                    raw::LegAction::Close => LegAction::Close,
                    raw::LegAction::Hedge => LegAction::Hedge,
                    raw::LegAction::Unknown => LegAction::Unknown,
                },
                reduce_only: leg.reduce_only,
                qty: Qty(self.number(&leg.qty, "qty", NANO_DIGITS, Least::Positive)),
                price: Price(self.nano(leg.price.as_ref(), "price", Least::Positive)),
                time_in_force: match leg.time_in_force {
                    raw::TimeInForce::ImmediateOrCancel => TimeInForce::ImmediateOrCancel,
                    raw::TimeInForce::GoodTilCancelled => TimeInForce::GoodTilCancelled,
                },
                order_type: OrderType::Limit,
                linked: false,
                post_only: false,
                contracts: None,
            })
            .collect();
        Action::ProposeGroup { net_edge_usd_cents, legs }
    }

    fn operator(&mut self, operator: &raw::Operator) -> OperatorCommand {
        match operator {
            raw::Operator::IncidentReset(reset) => OperatorCommand::IncidentReset {
                token: reset.token.value.clone(),
                incident_id: self.text(&reset.incident_id, "incident_id"),
            },
            raw::Operator::Kill(_) => OperatorCommand::Kill,
            raw::Operator::EmergencyReduceOnly(_) => OperatorCommand::EmergencyReduceOnly,
            raw::Operator::AdoptPositions(adopt) => {
                OperatorCommand::AdoptPositions { incident_id: self.text(&adopt.incident_id, "incident_id") }
            }
            raw::Operator::ResumeContainment(resume) => {
                OperatorCommand::ResumeContainment { group_id: self.text(&resume.group_id, "group_id") }
            }
        }
    }

    fn snapshots(&mut self, duration_ms: i64, trigger_ms: Option<i64>) -> Vec<Snapshot> {
        let mut snapshots: Vec<Snapshot> = Vec::new();
        // The earliest time that the next snapshot can have.
        let mut earliest_ms: i64 = 0;
        for at in &self.raw.snapshot {
            let snapshot = &at.value;
            let name = &snapshot.name;
            if !is_name(&name.value) || BOUND_NAMES.contains(&name.value.as_str()) {
                let message = format!("`{}` can't name a snapshot", name.value);
                let expected = format!("{NAME_EXPECTED}; not start, trigger or end");
                self.report(Code::NameFormat, &name.span, message, expected);
            }
            if snapshots.iter().any(|other| other.name == name.value) {
                let message = format!("snapshot `{}` stands twice", name.value);
                self.report(Code::DuplicateSnapshot, &name.span, message, "expected a name of its own");
            }
            let when = match (&snapshot.at, &snapshot.when) {
                (Some(time), None) => {
                    let at_ms = self.snapshot_time(time, duration_ms, earliest_ms);
                    earliest_ms = earliest_ms.max(at_ms);
                    SnapshotWhen::At(at_ms)
                }
                (None, Some(condition)) => {
                    // Conditions count from the trigger on, where there is one.
                    earliest_ms = earliest_ms.max(trigger_ms.unwrap_or(0));
                    if earliest_ms == duration_ms {
                        let message = format!("snapshot `{}` can't come before the end and is never taken", name.value);
                        self.report(Code::SnapshotNever, &name.span, message, "expected a longer duration");
                    }
                    self.snapshot_condition(condition, &name.value)
                }
                (at, when) => {
                    let message = if at.is_some() && when.is_some() {
                        format!("snapshot `{}` has both `at` and `when`", name.value)
                    } else {
                        format!("snapshot `{}` has neither `at` nor `when`", name.value)
                    };
                    self.report(Code::SnapshotWhen, &name.span, message, "expected exactly one of them");
                    SnapshotWhen::At(0)
                }
            };
            snapshots.push(Snapshot { name: name.value.clone(), when });
        }
        snapshots
    }

    fn snapshot_time(&mut self, time: &At<raw::Duration>, duration_ms: i64, earliest_ms: i64) -> i64 {
        let at_ms = self.duration(time);
        if at_ms > duration_ms {
            let message = format!("snapshot at {at_ms} ms is later than the end at {duration_ms} ms");
            let expected = "expected an earlier snapshot or a longer duration";
            self.report(Code::SnapshotAfterEnd, &time.span, message, expected);
        }
        if at_ms < earliest_ms {
            let message = format!("snapshot at {at_ms} ms stands after one at {earliest_ms} ms");
            self.report(Code::TimeBackwards, &time.span, message, "expected snapshots in the order of time");
        }
        at_ms
    }

    fn snapshot_condition(&mut self, condition: &At<String>, name: &str) -> SnapshotWhen {
        if let Some(expr) = self.expression(condition, Expr::parse_condition)
            && expr.names().next().is_none()
        {
            let message = format!("snapshot `{name}` waits for something that never changes");
            self.report(Code::SnapshotNever, &condition.span, message, "expected a status key or a fact");
        }
        SnapshotWhen::Holds(condition.value.clone())
    }

    fn expectations(&mut self, snapshots: &[Snapshot], trigger_ms: Option<i64>) -> Vec<Expectation> {
        let mut expectations = Vec::new();
        for at in &self.raw.expect {
            let expect = &at.value;
            if !is_criterion(&expect.criterion.value) {
                let message = format!("`{}` can't be a criterion's id", expect.criterion.value);
                let expected =
                    "expected lower-case words and digits joined by single hyphens, such as `latch-immediate`";
                self.report(Code::CriterionFormat, &expect.criterion.span, message, expected);
            }
            let says = self.text(&expect.says, "says");
            let from = self.bound(expect.from.as_ref(), Bound::Start, snapshots, trigger_ms);
            let to = self.bound(expect.to.as_ref(), Bound::End, snapshots, trigger_ms);
            let span = expect.from.as_ref().or(expect.to.as_ref()).map_or(0..0, |at| at.span.clone());
            if let (Some(from), Some(to)) = (&from, &to)
                && is_backwards(from, to, snapshots, trigger_ms)
            {
                let message =
                    format!("the range from `{}` to `{}` ends before it begins", bound_name(from), bound_name(to));
                self.report(Code::RangeBackwards, &span, message, "expected the earlier end first");
            }
            let kind = self.expectation_kind(expect);
            expectations.push(Expectation {
                criterion: expect.criterion.value.clone(),
                says,
                from: from.unwrap_or(Bound::Start),
                to: to.unwrap_or(Bound::End),
                kind,
            });
        }
        let shown = self.raw.expect.iter().any(|expect| expect.value.sometimes.is_some());
        if expectations.is_empty() {
            let expected = "expected at least one [[expect]]";
            self.report(Code::NoExpectation, &self.home.clone(), "the scenario expects nothing", expected);
        } else if self.is_proof() && !shown {
            let message = "the drill never shows that its danger was reached";
            let expected = "expected at least one [[expect]] with `sometimes`";
            self.report(Code::NoSometimes, &self.home.clone(), message, expected);
        }
        expectations
    }

    fn bound(
        &mut self,
        at: Option<&At<String>>,
        default: Bound,
        snapshots: &[Snapshot],
        trigger_ms: Option<i64>,
    ) -> Option<Bound> {
        let Some(at) = at else {
            return Some(default);
        };
        let bound = match at.value.as_str() {
            "start" => Some(Bound::Start),
            "end" => Some(Bound::End),
            "trigger" => trigger_ms.map(|_| Bound::Trigger),
            name => snapshots.iter().any(|other| other.name == name).then(|| Bound::Snapshot(name.to_owned())),
        };
        if bound.is_none() {
            let known: Vec<&str> =
                BOUND_NAMES.iter().copied().chain(snapshots.iter().map(|snapshot| snapshot.name.as_str())).collect();
            let message = if at.value == "trigger" {
                "a range ends at the trigger, but no step is one".to_owned()
            } else {
                format!("`{}` is no snapshot{}", at.value, suggestion(&at.value, known.iter().copied()))
            };
            let expected = format!("expected one of {}", quoted_list(&known));
            self.report(Code::UnknownBound, &at.span, message, expected);
        }
        bound
    }

    fn expectation_kind(&mut self, expect: &raw::Expect) -> ExpectationKind {
        let mut kinds = Vec::new();
        for (at, kind) in [
            (&expect.always, ExpectationKind::Always as fn(String) -> ExpectationKind),
            (&expect.never, ExpectationKind::Never),
            (&expect.sometimes, ExpectationKind::Sometimes),
        ] {
            if let Some(at) = at {
                self.expression(at, Expr::parse_condition);
                kinds.push(kind(at.value.clone()));
            }
        }
        if let Some(at) = &expect.within_ticks {
            self.expression(&at.value.holds, Expr::parse_condition);
            kinds.push(ExpectationKind::WithinTicks { ticks: at.value.ticks, holds: at.value.holds.value.clone() });
        }
        if let Some(At { value: until, .. }) = &expect.until {
            self.expression(&until.release, Expr::parse_condition);
            self.expression(&until.forbidden, Expr::parse_condition);
            let (release, forbidden) = (until.release.value.clone(), until.forbidden.value.clone());
            kinds.push(ExpectationKind::Until { release, forbidden });
        }
        if let Some(at) = &expect.never_rises {
            self.expression(at, Expr::parse_number);
            kinds.push(ExpectationKind::NeverRises(at.value.clone()));
        }
        if let Some(At { value: grows, .. }) = &expect.grows {
            self.expression(&grows.value, Expr::parse_number);
            kinds.push(ExpectationKind::Grows { value: grows.value.value.clone(), by: grows.by });
        }
        if kinds.len() != 1 {
            let message = match kinds.len() {
                0 => "the expectation asks nothing".to_owned(),
                count => format!("the expectation asks {count} things"),
            };
            let expected = "expected exactly one of always, never, sometimes, within_ticks, until, never_rises, grows";
            self.report(Code::ExpectationKind, &expect.criterion.span, message, expected);
        }
        kinds.into_iter().next().unwrap_or(ExpectationKind::Always(String::new()))
    }

    /// Parses an expression and looks its texts up in the registry.
    fn expression(&mut self, at: &At<String>, parse: ParseExpr) -> Option<Expr> {
        match parse(&at.value, &NAMES) {
            Err(error) => {
                let span = self.inner_span(at, &error.span);
                self.report(Code::Expression, &span, error.kind.to_string(), "see specs/expressions.md");
                None
            }
            Ok(expr) => {
                for mention in expr.mentions() {
                    if let Some(known) = impossible(mention) {
                        let near = nearest(&mention.text, known.iter().copied());
                        let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                        let message = format!("`{}` is never `{}`{hint}", mention.name, mention.text);
                        let expected = if known.len() <= 8 {
                            format!("expected one of {}", quoted_list(&known))
                        } else {
                            "expected one that exists; see specs/status/status_reason_registries_manifest.json"
                                .to_owned()
                        };
                        let span = self.inner_span(at, &mention.span);
                        self.report(Code::UnknownToken, &span, message, expected);
                    }
                }
                Some(expr)
            }
        }
    }

    /// Returns where a part of a text stands in the file; the whole text where escapes hide it.
    fn inner_span(&self, at: &At<String>, inner: &Range<usize>) -> Range<usize> {
        let written = self.found.text.get(at.span.clone()).unwrap_or_default();
        match written.find(at.value.as_str()) {
            Some(offset) if !at.value.is_empty() => {
                let start = at.span.start + offset + inner.start;
                let end = at.span.start + offset + inner.end;
                // A place at the end of the text has no width; the mark is then the closing quote.
                start..end.max(start + 1)
            }
            Some(_) | None => at.span.clone(),
        }
    }
}

/// What an instrument is by its name: `BTC-PERPETUAL`, `BTC-26JUN26`, `BTC-26JUN26-60000-C`.
fn kind_of(name: &str) -> raw::Kind {
    let parts: Vec<&str> = name.split('-').collect();
    match parts.as_slice() {
        [_, "PERPETUAL"] => raw::Kind::Perpetual,
        [_, _, _, "C" | "P"] => raw::Kind::Option,
        _ => raw::Kind::Future,
    }
}

/// Tells whether a range certainly ends before it begins; ends that only a run can order are taken as in order.
fn is_backwards(from: &Bound, to: &Bound, snapshots: &[Snapshot], trigger_ms: Option<i64>) -> bool {
    let place = |name: &str| snapshots.iter().position(|snapshot| snapshot.name == name);
    let when = |name: &str| {
        place(name).and_then(|place| snapshots.get(place)).map(|snapshot| match snapshot.when {
            SnapshotWhen::At(ms) => Some(ms),
            SnapshotWhen::Holds(_) => None,
        })
    };
    match (from, to) {
        (Bound::Start, Bound::Start) | (Bound::End, Bound::End) => true,
        (Bound::Start, _) | (_, Bound::End) => false,
        (Bound::End, _) | (_, Bound::Start) => true,
        (Bound::Trigger, Bound::Trigger) => false,
        (Bound::Snapshot(from), Bound::Snapshot(to)) => place(from) > place(to),
        // A condition counts from the trigger on.
        (Bound::Snapshot(from), Bound::Trigger) => {
            when(from).zip(trigger_ms).is_some_and(|(at, trigger)| at.is_none_or(|at| at > trigger))
        }
        (Bound::Trigger, Bound::Snapshot(to)) => {
            when(to).zip(trigger_ms).is_some_and(|(at, trigger)| at.is_some_and(|at| at < trigger))
        }
    }
}

fn bound_name(bound: &Bound) -> &str {
    match bound {
        Bound::Start => "start",
        Bound::Trigger => "trigger",
        Bound::Snapshot(name) => name,
        Bound::End => "end",
    }
}

fn quoted_list<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

const fn withheld(input: raw::Withhold) -> Withheld {
    match input {
        raw::Withhold::Margin => Withheld::Margin,
        raw::Withhold::DiskPrimary => Withheld::DiskPrimary,
        raw::Withhold::DiskSecondary => Withheld::DiskSecondary,
        raw::Withhold::Heartbeat => Withheld::Heartbeat,
        raw::Withhold::LoopTick => Withheld::LoopTick,
        raw::Withhold::Policy => Withheld::Policy,
        raw::Withhold::Certificate => Withheld::Certificate,
        raw::Withhold::FeeModel => Withheld::FeeModel,
        raw::Withhold::Drift => Withheld::Drift,
        raw::Withhold::Overrides => Withheld::Overrides,
        raw::Withhold::RoundTrips => Withheld::RoundTrips,
        raw::Withhold::SessionFlag => Withheld::SessionFlag,
        raw::Withhold::SessionCount => Withheld::SessionCount,
    }
}

const fn crash_point(point: raw::CrashPoint) -> CrashPoint {
    match point {
        raw::CrashPoint::BeforeRecord => CrashPoint::BeforeRecord,
        raw::CrashPoint::AfterRecord => CrashPoint::AfterRecord,
        raw::CrashPoint::BeforeSentRecord => CrashPoint::BeforeSentRecord,
        raw::CrashPoint::AfterSend => CrashPoint::AfterSend,
        raw::CrashPoint::BeforeAck => CrashPoint::BeforeAck,
        raw::CrashPoint::AfterAck => CrashPoint::AfterAck,
        raw::CrashPoint::BeforeFill => CrashPoint::BeforeFill,
        raw::CrashPoint::AfterFill => CrashPoint::AfterFill,
        raw::CrashPoint::InReconciliation => CrashPoint::InReconciliation,
    }
}

const fn matrix_of(matrix: raw::Matrix) -> Matrix {
    match matrix {
        raw::Matrix::Reasons => Matrix::Reasons,
        raw::Matrix::Crash => Matrix::Crash,
        raw::Matrix::Reconcile => Matrix::Reconcile,
    }
}

const fn side(side: raw::Side) -> Side {
    match side {
        raw::Side::Buy => Side::Buy,
        raw::Side::Sell => Side::Sell,
    }
}

const fn host_input(input: raw::HostInput) -> HostInput {
    match input {
        raw::HostInput::Margin => HostInput::Margin,
        raw::HostInput::DiskPrimary => HostInput::DiskPrimary,
        raw::HostInput::DiskSecondary => HostInput::DiskSecondary,
        raw::HostInput::Heartbeat => HostInput::Heartbeat,
        raw::HostInput::LoopTick => HostInput::LoopTick,
        raw::HostInput::Policy => HostInput::Policy,
        raw::HostInput::Certificate => HostInput::Certificate,
        raw::HostInput::FeeModel => HostInput::FeeModel,
        raw::HostInput::Drift => HostInput::Drift,
        raw::HostInput::Metadata => HostInput::Metadata,
    }
}

const fn input_state(state: raw::InputState) -> InputState {
    match state {
        raw::InputState::Fresh => InputState::Fresh,
        raw::InputState::Silent => InputState::Silent,
        raw::InputState::Unreadable => InputState::Unreadable,
    }
}

const fn certificate_state(state: raw::CertificateState) -> CertificateState {
    match state {
        raw::CertificateState::Passed => CertificateState::Passed,
        raw::CertificateState::Failed => CertificateState::Failed,
        raw::CertificateState::OtherBuild => CertificateState::OtherBuild,
        raw::CertificateState::OtherConfig => CertificateState::OtherConfig,
        raw::CertificateState::OtherContract => CertificateState::OtherContract,
    }
}

const fn producer(producer: raw::Producer) -> Producer {
    match producer {
        raw::Producer::Cortex => Producer::Cortex,
        raw::Producer::ExchangeHealth => Producer::ExchangeHealth,
        raw::Producer::Basis => Producer::Basis,
    }
}

const fn signal(signal: raw::Signal) -> Override {
    match signal {
        raw::Signal::None => Override::None,
        raw::Signal::ForceReduceOnly => Override::ForceReduceOnly,
        raw::Signal::ForceKill => Override::ForceKill,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scenario::{parse, template};

    const GOOD: &str = r#"#:schema ../specs/scenario.schema.json

schema = "drillfold/scenario/v1"
name = "drill_2_sample"
drill = 2
title = "Market data stale"
shows = "what it shows"
seed = 2
duration = "80s"

[config]
ws_stale_threshold_ms = 3000
mm_util_kill = 0.95
reference_instrument = "BTC-PERPETUAL"

[world]
withhold = ["margin", "margin", "fee_model"]

[[world.instrument]]
name = "BTC-PERPETUAL"

[[world.instrument]]
name = "BTC-26JUN26-60000-P"
mid = 0.0405

[world.latency]
rest = ["20ms", "30ms"]

[strategy]
open_every = "250ms"

[[step]]
at = "6s"
trigger = true
says = "the venue stops sending market data"
do.stop_market_data = {}

[[step]]
at = "+4s"
says = "a group"
do.propose_group = { net_edge_usd = 12.5, legs = [
    { instrument = "BTC-PERPETUAL", side = "buy", qty = 100 },
    { instrument = "BTC-26JUN26-60000-P", side = "sell", qty = 0.1, price = 0.05, time_in_force = "good_til_cancelled" },
] }

[[snapshot]]
name = "baseline"
at = "5s"

[[snapshot]]
name = "tripped"
when = "ws_event_lag_ms == 3200"

[[snapshot]]
name = "cleared"
when = 'trading_mode == "Active" && since_trigger_ms > 0'

[[expect]]
criterion = "latch-immediate"
says = "the latch is set at once"
always = "ws_event_lag_ms <= 3000 || open_permission_blocked_latch"
from = "trigger"
to = "cleared"

[[expect]]
criterion = "danger-reached"
says = "data are stale"
sometimes = "contains(open_permission_reason_codes, 'WS_DATA_STALE_RECONCILE_REQUIRED')"

[[expect]]
criterion = "open-blocked"
says = "no OPEN while blocked"
grows = { value = "open_dispatched" }
from = "tripped"
to = "cleared"

[[variant]]
name = "slow"
shows = "a slow network"
seed = 3
config = { mm_util_kill = 0.96 }
world.latency.public = ["100ms", "200ms"]
world.market.index = { BTC = 50000 }

[[variant]]
name = "short"
shows = "other lists"
duration = "70s"
[[variant.step]]
at = "1.5s"
trigger = true
says = "a crash"
do.crash_at = { point = "after_send", down = "2s" }
"#;

    fn good() -> Vec<Scenario> {
        match parse("scenarios/drill_2_sample.toml", GOOD) {
            Ok(scenarios) => scenarios,
            Err(errors) => panic!("{errors}"),
        }
    }

    fn findings(text: &str) -> Vec<Finding> {
        match parse("scenarios/drill_2_sample.toml", text) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.findings,
        }
    }

    #[test]
    fn a_file_becomes_a_scenario_and_its_variants() {
        let scenarios = good();
        let names: Vec<_> = scenarios.iter().map(|s| (s.name.as_str(), s.variant.as_deref())).collect();
        assert_eq!(
            names,
            [("drill_2_sample", None), ("drill_2_sample", Some("slow")), ("drill_2_sample", Some("short"))]
        );
        let base = &scenarios[0];
        assert_eq!((base.drill, base.seed, base.duration_ms, base.events_max), (Some(2), 2, 80_000, 200_000));
        assert_eq!(base.start, TimeMs(1_767_603_600_000));
        assert_eq!(base.build_id, "drill-build-1");
        assert_eq!(base.world.withhold, [Withheld::Margin, Withheld::FeeModel]);
        assert_eq!(base.world.latency, Latency { public_ms: (2, 12), private_ms: (3, 15), rest_ms: (20, 30) });
        assert_eq!(base.world.market.index, [("BTC".to_owned(), Price(60_000_000_000_000))]);
        let [perpetual, put] = base.world.instruments.as_slice() else { panic!() };
        assert_eq!((perpetual.kind, perpetual.mid), (InstrumentKind::Perpetual, Price(60_000_000_000_000)));
        assert_eq!((perpetual.tick_size, perpetual.delta), (Price(500_000_000), None));
        assert_eq!((put.kind, put.mid, put.delta), (InstrumentKind::Option, Price(40_500_000), Some(Ppm(-500_000))));
        assert_eq!((put.underlying.as_str(), put.synthetic), ("BTC", true));
        assert_eq!(base.strategy.instruments, [0]);
        assert_eq!((base.strategy.open_every_ms, base.strategy.close_every_ms), (250, 1_000));
        let steps: Vec<_> = base.steps.iter().map(|step| (step.at_ms, step.trigger)).collect();
        assert_eq!(steps, [(6_000, true), (10_000, false)]);
        let Action::ProposeGroup { net_edge_usd_cents, legs } = &base.steps[1].action else { panic!() };
        assert_eq!(*net_edge_usd_cents, Some(1_250));
        assert_eq!((legs[0].price, legs[0].time_in_force), (Price(0), TimeInForce::ImmediateOrCancel));
        assert_eq!((legs[1].instrument, legs[1].side, legs[1].qty), (InstrumentId(1), Side::Sell, Qty(100_000_000)));
        assert_eq!(base.snapshots[0].when, SnapshotWhen::At(5_000));
        assert_eq!(base.expectations[0].from, Bound::Trigger);
        assert_eq!(base.expectations[0].to, Bound::Snapshot("cleared".into()));
        assert_eq!(base.expectations[1].to, Bound::End);
        assert_eq!(base.expectations[2].kind, ExpectationKind::Grows { value: "open_dispatched".into(), by: 0 });

        let slow = &scenarios[1];
        assert_eq!((slow.seed, slow.shows.as_str(), slow.duration_ms), (3, "a slow network", 80_000));
        assert_eq!(slow.world.latency, Latency { public_ms: (100, 200), private_ms: (3, 15), rest_ms: (20, 30) });
        assert_eq!(slow.world.market.index, [("BTC".to_owned(), Price(50_000_000_000_000))]);
        let config: Vec<_> = slow.config.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            config,
            ["mm_util_kill=0.96", "reference_instrument=\"BTC-PERPETUAL\"", "ws_stale_threshold_ms=3000"]
        );
        assert_eq!((&slow.steps, &slow.expectations), (&base.steps, &base.expectations));

        let short = &scenarios[2];
        assert_eq!((short.seed, short.duration_ms), (2, 70_000));
        assert_eq!(short.steps.len(), 1);
        assert_eq!(short.steps[0].at_ms, 1_500);
        assert_eq!(short.steps[0].action, Action::CrashAt { point: CrashPoint::AfterSend, nth: 1, down_ms: 2_000 });
        assert_eq!(short.expectations, base.expectations);
        assert_eq!(base.digest, short.digest);
    }

    #[test]
    fn every_action_is_read() {
        for (action, expected) in [
            ("resume_market_data = {}", Action::ResumeMarketData),
            (
                "drop_book_changes = { instrument = 'BTC-PERPETUAL' }",
                Action::DropBookChanges { instrument: 0, count: 1 },
            ),
            (
                "drop_trades = { instrument = 'BTC-PERPETUAL', count = 0 }",
                Action::DropTrades { instrument: 0, count: 0 },
            ),
            (
                "repeat_trades = { instrument = 'BTC-26JUN26-60000-P', count = 2 }",
                Action::RepeatTrades { instrument: 1, count: 2 },
            ),
            (
                "step_back_trades = { instrument = 'BTC-PERPETUAL', by = 7 }",
                Action::StepBackTrades { instrument: 0, by: 7 },
            ),
            ("repeat_own_trades = {}", Action::RepeatOwnTrades { count: 1 }),
            (
                "reject_orders = { only_legs = true, code = 10009 }",
                Action::RejectOrders { instrument: None, only_legs: true, count: 1, code: 10009 },
            ),
            (
                "starve_orders = { instrument = 'BTC-PERPETUAL', count = 3, fill = 0.25 }",
                Action::StarveOrders { instrument: Some(0), count: 3, fill: Ppm(250_000) },
            ),
            ("stall_ledger = {}", Action::StallLedger),
            ("resume_ledger = {}", Action::ResumeLedger),
            ("crash = { down = '2s', flush = true }", Action::Crash { down_ms: 2_000, flush: true, damage: false }),
            ("redeploy = { build_id = 'b2', down = '1s' }", Action::Redeploy { build_id: "b2".into(), down_ms: 1_000 }),
            ("too_many_requests = {}", Action::TooManyRequests),
            ("end_session = {}", Action::EndSession),
            ("revoke_key = { refused = 2 }", Action::RevokeKey { refused: 2 }),
            ("refuse_authentication = { code = 13004 }", Action::RefuseAuthentication { count: 1, code: 13004 }),
            ("drop_private_socket = {}", Action::DropPrivateSocket),
            ("drop_public_socket = {}", Action::DropPublicSocket),
            ("refuse_rest = { count = 5, code = 429 }", Action::RefuseRest { count: 5, code: 429 }),
            ("lose_rest = { count = 5 }", Action::LoseRest { count: 5 }),
            (
                "report_token = { subsystem = 'risk', token = 'NOT_A_TOKEN' }",
                Action::ReportToken { subsystem: "risk".into(), token: "NOT_A_TOKEN".into() },
            ),
            ("operator.kill = {}", Action::Operator(OperatorCommand::Kill)),
            ("operator.emergency_reduce_only = {}", Action::Operator(OperatorCommand::EmergencyReduceOnly)),
            (
                "operator.incident_reset = { token = 'X', incident_id = 'I-1' }",
                Action::Operator(OperatorCommand::IncidentReset { token: "X".into(), incident_id: "I-1".into() }),
            ),
            (
                "operator.adopt_positions = { incident_id = 'I-1' }",
                Action::Operator(OperatorCommand::AdoptPositions { incident_id: "I-1".into() }),
            ),
            (
                "operator.resume_containment = { group_id = 'g' }",
                Action::Operator(OperatorCommand::ResumeContainment { group_id: "g".into() }),
            ),
            ("set_margin = { mm_util = 1.01 }", Action::SetMargin(Ppm(1_010_000))),
            (
                "set_disk = { primary = 0.93, secondary = 0.9 }",
                Action::SetDisk { primary: Ppm(930_000), secondary: Ppm(900_000) },
            ),
            ("set_heartbeat = { on = false }", Action::SetHeartbeat(false)),
            ("set_drift = { drift = '60ms' }", Action::SetDrift(60)),
            (
                "set_input = { input = 'fee_model', state = 'silent' }",
                Action::SetInput { input: HostInput::FeeModel, state: InputState::Silent },
            ),
            ("set_certificate = { state = 'other_build' }", Action::SetCertificate(CertificateState::OtherBuild)),
            (
                "set_latency = { rest = ['1s', '2s'] }",
                Action::SetLatency { public_ms: None, private_ms: None, rest_ms: Some((1_000, 2_000)) },
            ),
            ("fetch_limits = { succeeds = false, count = 3 }", Action::FetchLimits { succeeds: false, count: 3 }),
            (
                "sample_queue = { queue = 'order_events', depth = 4, capacity = 4 }",
                Action::SampleQueue { queue: OutputQueue::OrderEvents, depth: 4, capacity: 4 },
            ),
            ("try_group_lock = { held = true }", Action::TryGroupLock(true)),
            ("sample_limiter = { credits = -1 }", Action::SampleLimiter(-1)),
            (
                "stray_order = { instrument = 'BTC-PERPETUAL', side = 'sell', qty = 50, rests = true }",
                Action::StrayOrder { instrument: 0, side: Side::Sell, qty: Qty(50_000_000_000), rests: true },
            ),
            (
                "shift_position = { instrument = 'BTC-PERPETUAL', side = 'sell', qty = 50 }",
                Action::ShiftPosition { instrument: 0, qty: Qty(-50_000_000_000) },
            ),
            (
                "set_override = { producer = 'exchange_health', signal = 'force_kill' }",
                Action::SetOverride { producer: Producer::ExchangeHealth, signal: Override::ForceKill },
            ),
            ("set_market = {}", Action::SetMarket(MarketStress::default())),
            (
                "set_market = { spread_bps = 30, depth_usd = 250000, basis_bps = 60, volatility = 0.55 }",
                Action::SetMarket(MarketStress {
                    spread_bps: 30,
                    depth_usd: Some(250_000),
                    basis_bps: 60,
                    volatility: Some(Ppm(550_000)),
                }),
            ),
            ("announce.nothing = {}", Action::Announce(Announcements::Nothing)),
            ("announce.unreachable = {}", Action::Announce(Announcements::Unreachable)),
            (
                "announce.maintenance = { in = '30m', for = '1h' }",
                Action::Announce(Announcements::Maintenance { in_ms: 1_800_000, for_ms: 3_600_000 }),
            ),
            (
                "set_strategy = { open_every = '0s' }",
                Action::SetStrategy { open_every_ms: Some(0), close_every_ms: None, cancel_every_ms: None },
            ),
        ] {
            let text = GOOD.replacen("stop_market_data = {}", action, 1);
            match parse("drill_2_sample.toml", &text) {
                Ok(scenarios) => assert_eq!(scenarios[0].steps[0].action, expected, "{action}"),
                Err(errors) => panic!("{action}: {errors}"),
            }
        }
    }

    #[test]
    fn each_mistake_has_its_code_and_place() {
        let mut wrong: Vec<String> = Vec::new();
        // What is replaced by what; the code; the text that the mark begins at; what the message begins with.
        for (from, to, code, mark, message) in [
            ("seed = 2\n", "seed = \n", Code::Syntax, "\nduration", ""),
            ("seed = 2\n", "sede = 2\n", Code::UnknownKey, "sede", "unknown key `sede`; did you mean `seed`?"),
            (
                "open_every =",
                "open_evry =",
                Code::UnknownKey,
                "open_evry",
                "unknown key `open_evry`; did you mean `open_every`?",
            ),
            (
                "do.stop_market_data = {}",
                "do.stop_market_data = { x = 1 }",
                Code::UnknownKey,
                "x = 1",
                "unknown key `x`",
            ),
            ("title = \"Market data stale\"\n", "", Code::MissingKey, "#:schema", "missing key `title`"),
            ("drill = 2", "drill = \"2\"", Code::WrongType, "\"2\"", "wrong type: string \"2\""),
            ("duration = \"80s\"", "duration = 80", Code::WrongType, "80", "wrong type: integer `80`"),
            ("[\"20ms\", \"30ms\"]", "[\"20ms\"]", Code::WrongType, "[\"20ms\"]", "wrong type: invalid length 1"),
            (
                "qty = 0.1,",
                "qty = 123456789.123456789,",
                Code::WrongType,
                "123456789.1",
                "number 123456789.12345679 can't be kept",
            ),
            ("count", "count", Code::Syntax, "", ""),
            (
                "do.stop_market_data = {}",
                "do.drop_trades = { instrument = \"BTC-PERPETUAL\", count = -1 }",
                Code::WrongType,
                "-1",
                "wrong type: integer `-1`",
            ),
            (
                "do.stop_market_data = {}",
                "do.stop_marketdata = {}",
                Code::UnknownValue,
                "stop_marketdata",
                "unknown value `stop_marketdata`; did you mean `stop_market_data`?",
            ),
            ("do.stop_market_data = {}", "do = {}", Code::WrongType, "", ""),
            (
                "do.stop_market_data = {}",
                "do.stop_market_data = {}\ndo.crash = { down = \"1s\" }",
                Code::WrongType,
                "",
                "",
            ),
            ("side = \"buy\"", "side = \"bye\"", Code::UnknownValue, "\"bye\"", "unknown value `bye`"),
            (
                "scenario/v1",
                "scenario/v2",
                Code::SchemaVersion,
                "\"drillfold",
                "the file is of version `drillfold/scenario/v2`",
            ),
            ("drill_2_sample", "Drill-2", Code::NameFormat, "\"Drill-2\"", "`Drill-2` can't name a scenario"),
            (
                "drill_2_sample",
                "drill_2_other",
                Code::NameDiffers,
                "\"drill_2_other\"",
                "the scenario is named `drill_2_other`, its file `drill_2_sample`",
            ),
            ("drill = 2", "drill = 9", Code::DrillNumber, "9", "there is no drill 9"),
            ("drill = 2", "drill = 3", Code::DrillNumber, "3", "`drill_2_sample` does not name drill 3"),
            ("seed = 2\n", "seed = -2\n", Code::SeedRange, "-2", "seed out of range"),
            ("seed = 2\n", "seed = \"0x1ffffffffffffffff\"\n", Code::SeedRange, "\"0x", "seed out of range"),
            (
                "seed = 2\n",
                "seed = 2\nstart = \"2026-01-32T00:00:00Z\"\n",
                Code::BadMoment,
                "\"2026",
                "the start is no moment",
            ),
            ("\"80s\"", "\"80\"", Code::BadDuration, "\"80\"", "\"80\" is no duration"),
            ("\"250ms\"", "\"-250ms\"", Code::BadDuration, "\"-250ms\"", "\"-250ms\" is no duration"),
            ("\"+4s\"", "\"+4\"", Code::BadDuration, "\"+4\"", "\"+4\" is no duration"),
            ("down = \"2s\"", "down = \"0s\"", Code::ZeroDuration, "\"0s\"", "`down` is zero"),
            ("seed = 2\n", "seed = 2\nevents_max = 0\n", Code::OutOfRange, "0\n", "`events_max` = 0 is out of range"),
            (
                "[world.latency]",
                "[world.market]\nlevels = 1001\n[world.latency]",
                Code::OutOfRange,
                "1001",
                "`levels` = 1001 is out of range",
            ),
            ("after_send\",", "after_send\", nth = 0,", Code::OutOfRange, "0,", "`nth` = 0 is out of range"),
            ("legs = [", "leggs = [", Code::UnknownKey, "leggs", "unknown key `leggs`; did you mean `legs`?"),
            (
                "ws_stale_threshold_ms",
                "ws_stale_treshold_ms",
                Code::UnknownConfig,
                "ws_stale_tr",
                "unknown configuration name `ws_stale_treshold_ms`; did you mean",
            ),
            (
                "= 3000\n",
                "= \"3s\"\n",
                Code::BadConfig,
                "\"3s\"",
                "`ws_stale_threshold_ms` is a string, expected an integer",
            ),
            (
                "mm_util_kill = 0.95\n",
                "mm_util_kill = 0.8\n",
                Code::BadConfig,
                "0.8",
                "`mm_util_kill_clear` = 0.9 clears above",
            ),
            ("\"+4s\"", "\"3s\"", Code::TimeBackwards, "\"3s\"", "step at 3000 ms stands after one at 6000 ms"),
            (
                "\"+4s\"",
                "\"+75s\"",
                Code::StepAfterEnd,
                "\"+75s\"",
                "step at 81000 ms is later than the end at 80000 ms",
            ),
            (
                "says = \"a group\"",
                "trigger = true\nsays = \"a group\"",
                Code::TwoTriggers,
                "true\nsays = \"a group",
                "a second step is the trigger",
            ),
            (
                "at = \"5s\"",
                "at = \"80.001s\"",
                Code::SnapshotAfterEnd,
                "\"80.001s\"",
                "snapshot at 80001 ms is later than the end at 80000 ms",
            ),
            (
                "name = \"cleared\"",
                "name = \"tripped\"",
                Code::DuplicateSnapshot,
                "\"tripped\"\nwhen = 't",
                "snapshot `tripped` stands twice",
            ),
            ("name = \"tripped\"", "name = \"end\"", Code::NameFormat, "\"end\"", "`end` can't name a snapshot"),
            (
                "\"ws_event_lag_ms == 3200\"",
                "\"3200 == 3200\"",
                Code::SnapshotNever,
                "\"3200",
                "snapshot `tripped` waits for something that never changes",
            ),
            (
                "at = \"5s\"\n",
                "at = \"5s\"\nwhen = \"gap_event\"\n",
                Code::SnapshotWhen,
                "\"baseline\"",
                "snapshot `baseline` has both",
            ),
            ("at = \"5s\"\n", "\n", Code::SnapshotWhen, "\"baseline\"", "snapshot `baseline` has neither"),
            (
                "when = \"ws_event_lag_ms == 3200\"",
                "at = \"4s\"",
                Code::TimeBackwards,
                "\"4s\"",
                "snapshot at 4000 ms stands after one at 5000 ms",
            ),
            (
                "to = \"cleared\"",
                "to = \"cleard\"",
                Code::UnknownBound,
                "\"cleard\"",
                "`cleard` is no snapshot; did you mean `cleared`?",
            ),
            (
                "from = \"tripped\"\nto = \"cleared\"",
                "from = \"cleared\"\nto = \"tripped\"",
                Code::RangeBackwards,
                "\"cleared\"\nto = \"tr",
                "the range from `cleared` to `tripped` ends before it begins",
            ),
            (
                "to = \"cleared\"",
                "to = \"baseline\"",
                Code::RangeBackwards,
                "\"trigger\"",
                "the range from `trigger` to `baseline`",
            ),
            (
                "from = \"tripped\"",
                "from = \"end\"",
                Code::RangeBackwards,
                "\"end\"",
                "the range from `end` to `cleared`",
            ),
            (
                "{ instrument = \"BTC-PERPETUAL\"",
                "{ instrument = \"BTC-PERPETUL\"",
                Code::UnknownInstrument,
                "\"BTC-PERPETUL\"",
                "instrument `BTC-PERPETUL` is not listed; did you mean `BTC-PERPETUAL`?",
            ),
            (
                "reference_instrument = \"BTC-PERPETUAL\"",
                "reference_instrument = \"ETH-PERPETUAL\"",
                Code::UnknownInstrument,
                "\"ETH-PERPETUAL\"",
                "instrument `ETH-PERPETUAL` is not listed",
            ),
            (
                "[strategy]\n",
                "[strategy]\ninstruments = [\"X\"]\n",
                Code::UnknownInstrument,
                "\"X\"",
                "instrument `X` is not listed",
            ),
            (
                "name = \"BTC-26JUN26-60000-P\"\nmid = 0.0405",
                "name = \"BTC-PERPETUAL\"",
                Code::DuplicateInstrument,
                "\"BTC-PERPETUAL\"\n\n[world.latency]",
                "instrument `BTC-PERPETUAL` stands twice",
            ),
            (
                "latch-immediate",
                "Latch immediate",
                Code::CriterionFormat,
                "\"Latch",
                "`Latch immediate` can't be a criterion's id",
            ),
            (
                "ws_event_lag_ms <= 3000",
                "ws_event_lag <= 3000",
                Code::Expression,
                "ws_event_lag <=",
                "unknown name `ws_event_lag`; did you mean `ws_event_lag_ms`?",
            ),
            (
                "ws_event_lag_ms <= 3000 ||",
                "ws_event_lag_ms ||",
                Code::Expression,
                "ws_event_lag_ms ||",
                "expected a boolean, found a number",
            ),
            (
                "value = \"open_dispatched\"",
                "value = \"down\"",
                Code::Expression,
                "down",
                "expected a number, found a boolean",
            ),
            (
                "== 3200\"",
                "==\"",
                Code::Expression,
                "\"\n\n[[snapshot]]\nname = \"cleared\"",
                "expected a value, found the end",
            ),
            (
                "'WS_DATA_STALE_",
                "'WS_DATA_STAIL_",
                Code::UnknownToken,
                "'WS_DATA_STAIL_",
                "`open_permission_reason_codes` is never `WS_DATA_STAIL_RECONCILE_REQUIRED`; did you mean `WS_DATA_STALE_RECONCILE_REQUIRED`?",
            ),
            (
                "\"Active\"",
                "\"active\"",
                Code::UnknownToken,
                "\"active\"",
                "`trading_mode` is never `active`; did you mean `Active`?",
            ),
            (
                "ws_event_lag_ms == 3200",
                "event == 'LoopTick'",
                Code::UnknownToken,
                "'LoopTick'",
                "`event` is never `LoopTick`; did you mean `LoopTicked`?",
            ),
            (
                "sometimes =",
                "never = \"gap_event\"\nsometimes =",
                Code::ExpectationKind,
                "\"danger-reached\"",
                "the expectation asks 2 things",
            ),
            (
                "grows = { value = \"open_dispatched\" }\n",
                "",
                Code::ExpectationKind,
                "\"open-blocked\"",
                "the expectation asks nothing",
            ),
            (
                "name = \"short\"",
                "name = \"slow\"",
                Code::DuplicateVariant,
                "\"slow\"\nshows = \"other",
                "variant `slow` stands twice",
            ),
            ("name = \"short\"", "name = \"a b\"", Code::NameFormat, "\"a b\"", "`a b` can't name a variant"),
            (
                "[\"20ms\", \"30ms\"]",
                "[\"30ms\", \"20ms\"]",
                Code::LatencyReversed,
                "\"30ms\"",
                "`rest` runs from 30 ms to 20 ms",
            ),
            ("qty = 0.1,", "qty = 0,", Code::BadNumber, "0, price", "`qty` = 0 is zero"),
            ("qty = 0.1,", "qty = -5,", Code::BadNumber, "-5", "`qty` = -5 is below zero"),
            (
                "qty = 0.1,",
                "qty = \"0.0000000001\",",
                Code::BadNumber,
                "\"0.0000000001\"",
                "`qty` = 0.0000000001 is finer than 9 digits",
            ),
            ("qty = 0.1,", "qty = \"much\",", Code::BadNumber, "\"much\"", "`qty` = much is not a decimal number"),
            (
                "net_edge_usd = 12.5",
                "net_edge_usd = 12.505",
                Code::BadNumber,
                "12.505",
                "`net_edge_usd` = 12.505 is finer than 2 digits",
            ),
            ("mid = 0.0405", "mid = 0.0405\ndelta = -1.5", Code::BadNumber, "-1.5", "`delta` = -1.5"),
            (
                "[strategy]\n",
                "[strategy]\nclose_qty = 0.5\n",
                Code::OffGrid,
                "0.5",
                "`close_qty` = 0.5 is off the grid of `BTC-PERPETUAL`",
            ),
            (
                "mid = 0.0405",
                "mid = 0.0404",
                Code::OffGrid,
                "0.0404",
                "`mid` = 0.0404 is off the grid of `BTC-26JUN26-60000-P`",
            ),
            (
                "withhold =",
                "recording = \"/tmp/a.txt\"\nwithhold =",
                Code::RecordingPath,
                "\"/tmp",
                "\"/tmp/a.txt\" does not lie below",
            ),
            (
                "withhold =",
                "recording = \"feeds/../../a.txt\"\nwithhold =",
                Code::RecordingPath,
                "\"feeds",
                "\"feeds/../../a.txt\" does not lie below",
            ),
            ("withhold =", "recording = \"\"\nwithhold =", Code::RecordingPath, "\"\"", "\"\" does not lie below"),
            (
                "mid = 0.0405",
                "synthetic = false",
                Code::MissingWorld,
                "false",
                "`BTC-26JUN26-60000-P` has no market data",
            ),
            (
                "mid = 0.0405",
                "mid = 0.0405\n[[world.instrument]]\nname = \"SOL-PERPETUAL\"\nmid = 100",
                Code::MissingWorld,
                "\"SOL-PERPETUAL\"",
                "`SOL-PERPETUAL` has no index price of SOL",
            ),
            ("\"Market data stale\"", "\" \"", Code::EmptyText, "\" \"", "title is empty"),
        ] {
            if from == to {
                continue;
            }
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let found = findings(&text);
            let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
            // A name that is lost is missed where it is used; nothing else may follow.
            let hit = found.first().filter(|hit| {
                found.iter().skip(1).all(|other| other.code >= Code::UnknownBound && other.code < Code::CriterionFormat)
                    && hit.code == code
                    && hit.message.starts_with(message)
                    && text.get(hit.span.start..).unwrap_or_default().starts_with(mark)
            });
            let Some(hit) = hit else {
                wrong.push(format!("{to:?} gives {}\n", shown.join("\n")));
                continue;
            };
            assert_eq!(hit.line, text[..hit.span.start].matches('\n').count() + 1);
            assert!(
                hit.to_string().contains(&format!("scenarios/drill_2_sample.toml:{}:{}", hit.line, hit.column)),
                "{hit}"
            );
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn what_a_drill_needs_is_asked_for() {
        let quiet = GOOD.replace("trigger = true\n", "").replace("from = \"trigger\"\n", "");
        let found = findings(&quiet);
        assert_eq!(found.iter().map(|finding| finding.code).collect::<Vec<_>>(), [Code::NoTrigger]);
        assert!(findings(&quiet.replace("drill = 2\n", "")).is_empty());

        let safe = GOOD.replace("sometimes =", "never =");
        assert_eq!(findings(&safe).iter().map(|finding| finding.code).collect::<Vec<_>>(), [Code::NoSometimes]);

        let start = GOOD.find("[[expect]]").unwrap();
        let end = GOOD.find("[[variant]]").unwrap();
        let idle = format!("{}{}", &GOOD[..start], &GOOD[end..]);
        assert_eq!(findings(&idle).iter().map(|finding| finding.code).collect::<Vec<_>>(), [Code::NoExpectation]);

        let late = GOOD.replace("at = \"5s\"", "at = \"80s\"").replace("\"70s\"", "\"80s\"");
        assert_eq!(
            findings(&late).iter().map(|finding| finding.code).collect::<Vec<_>>(),
            [Code::SnapshotNever, Code::SnapshotNever]
        );

        let at_the_end =
            GOOD.replace("at = \"6s\"", "at = \"80s\"").replace("\"+4s\"", "\"+0s\"").replace("\"70s\"", "\"80s\"");
        let codes: Vec<Code> = findings(&at_the_end).iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [Code::SnapshotNever, Code::SnapshotNever]);

        let early = GOOD.replace("from = \"trigger\"\nto = \"cleared\"", "from = \"tripped\"\nto = \"trigger\"");
        let codes: Vec<Code> = findings(&early).iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [Code::RangeBackwards]);

        let zero = GOOD.replace("duration = \"80s\"", "duration = \"0s\"");
        assert!(findings(&zero).iter().any(|finding| finding.code == Code::ZeroDuration));
    }

    #[test]
    fn all_findings_come_at_once_and_once() {
        let text = GOOD
            .replace("seed = 2\n", "seed = -2\n")
            .replace("\"250ms\"", "\"250\"")
            .replace("latch-immediate", "Latch")
            .replace("ws_event_lag_ms == 3200", "nothing");
        let codes: Vec<Code> = findings(&text).iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [Code::SeedRange, Code::BadDuration, Code::Expression, Code::CriterionFormat]);
    }

    #[test]
    fn a_variants_own_mistake_names_it() {
        let text = GOOD.replace("duration = \"70s\"", "duration = \"1s\"");
        let found = findings(&text);
        assert!(found.iter().all(|finding| finding.variant.as_deref() == Some("short")), "{found:?}");
        let codes: Vec<Code> = found.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [Code::SnapshotAfterEnd, Code::StepAfterEnd]);
        assert!(found[0].to_string().contains("(in variant `short`)"));
    }

    #[test]
    fn a_finding_shows_its_line() {
        let text = GOOD.replace("|| open_permission_blocked_latch", "|| open_permission_latch");
        let found = findings(&text);
        assert_eq!(
            found[0].to_string(),
            "error[SCN0030]: unknown name `open_permission_latch`; did you mean `open_permission_blocked_latch`?\n  \
             --> scenarios/drill_2_sample.toml:61:38\n   |\n61 | always = \"ws_event_lag_ms <= 3000 || open_permission_latch\"\n   \
             |                                      ^^^^^^^^^^^^^^^^^^^^^ see specs/expressions.md"
        );
    }

    #[test]
    fn defaults_make_a_whole_world() {
        let text = r#"
            schema = "drillfold/scenario/v1"
            name = "small"
            title = "small"
            shows = "defaults"
            seed = "0xffffffffffffffff"
            duration = "1s"
            [[expect]]
            criterion = "a"
            says = "b"
            never = "false"
        "#;
        let scenarios = parse("small", text).unwrap();
        let [scenario] = scenarios.as_slice() else { panic!() };
        assert_eq!(scenario.seed, u64::MAX);
        let names: Vec<_> = scenario.world.instruments.iter().map(|setup| setup.name.as_str()).collect();
        assert_eq!(names, ["BTC-PERPETUAL", "BTC-26JUN26-60000-C"]);
        assert_eq!(scenario.world.instruments[1].delta, Some(Ppm(500_000)));
        assert!(scenario.world.market.book_every_ms > 0 && scenario.strategy.open_every_ms > 0);
        assert!(scenario.world.ledger.batch > 0 && scenario.world.host.sample_every_ms > 0);
    }

    #[test]
    fn templates_parse() {
        let text = template("my_scenario");
        match parse("my_scenario.toml", &text) {
            Ok(scenarios) => assert_eq!(scenarios.len(), 2),
            Err(errors) => panic!("{errors}"),
        }
    }

    proptest! {
        #[test]
        fn prop_any_text_is_answered(text in "\\PC{0,200}") {
            if let Err(errors) = parse("a.toml", &text) {
                prop_assert!(!errors.to_string().is_empty());
            }
        }

        #[test]
        fn prop_a_cut_or_changed_file_is_answered(from in 0..GOOD.len(), length in 0_usize..40, new in "[ -~\n]{0,12}") {
            let to = (from + length).min(GOOD.len());
            let text = format!("{}{new}{}", &GOOD[..from], &GOOD[to..]);
            if let Err(errors) = parse("drill_2_sample.toml", &text) {
                prop_assert!(!errors.findings.is_empty());
                for finding in &errors.findings {
                    prop_assert!(text.get(finding.span.clone()).is_some());
                }
            }
        }
    }
}
