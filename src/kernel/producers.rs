//! The override producers: Cortex and basis on the reference instrument's market, exchange health on the venue's
//! announcements. Source: kernel contract section 2, override; config `[cortex]`, `[basis]`, `[exchange_health]`.
//!
//! A producer whose inputs are missing or too old asks for ForceReduceOnly and for nothing else until they are fresh
//! again: then its held-for times start anew, and its cooldown goes on unseen. What a boot brings of a producer is its
//! reading at the boot's time, until it has a reading of its own.
//!
//! Readings are looked at twice an event: when time has moved on, and when the event is taken. So a signal that ends with
//! an event held until then, and its cooldown runs from there.

use alloc::{vec, vec::Vec};

use crate::{
    config::seconds,
    event::{Boot, InstrumentKind, Override, Producer, Reading},
    slot::Slot,
    state::{Book, Cooldown, FirstReading, Kernel},
    units::{InstrumentId, NANO, PPM, Ppm, Price, Side, TimeMs, mul_div},
};

/// Basis points in one.
const BPS: i128 = 10_000;

/// Basis points in two, for a spread that is compared with twice the middle.
const TWICE_BPS: i64 = 20_000;

/// What a reading of the market breaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Breach {
    /// A limit above which no new risk is taken.
    reduce: bool,
    /// A limit that kills where it is broken for a while.
    kill: bool,
}

impl Cooldown {
    /// Follows a signal: it runs from the last moment the signal held. True while the signal holds or the cooldown runs.
    fn follow(&mut self, holds: bool, now: TimeMs, cooldown_ms: i64) -> bool {
        if holds {
            self.ends_at = self.ends_at.max(Some(now.after(cooldown_ms)));
        }
        self.ends_at = self.ends_at.filter(|end| now < *end);
        holds || self.ends_at.is_some()
    }
}

impl FirstReading {
    /// Returns what a boot's entry of [`Boot::overrides`] says.
    fn of(boot: &Boot, producer: Producer) -> Self {
        match boot.overrides.get(producer.index()).copied().flatten() {
            Some(signal) => Self::Read(signal),
            None => Self::Missing,
        }
    }
}

impl Book {
    /// Returns the USD notional of the smaller side's best `levels` levels in 1e-9 USD: price times quantity, level by
    /// level. An inverse contract's amount is that product already; an option's price and amount are in coins, which
    /// `index` prices. `None` where it has none. Source: AT-420.
    fn depth_usd(&self, kind: InstrumentKind, levels: usize, index: Option<Price>) -> Option<i64> {
        let side = |side: Side| {
            let mut sum = 0i64;
            for (price, qty) in self.levels_against(side).take(levels) {
                let notional = match kind {
                    InstrumentKind::Perpetual | InstrumentKind::Future => qty.0,
                    InstrumentKind::Option => mul_div(mul_div(price.0, qty.0, NANO), index?.0, NANO),
                };
                sum = sum.saturating_add(notional);
            }
            Some(sum)
        };
        Some(side(Side::Buy)?.min(side(Side::Sell)?))
    }

    /// Returns the distance of the best prices and twice their middle; `None` where a side is empty.
    fn spread(&self) -> Option<(i128, i128)> {
        let bid = i128::from(self.best_against(Side::Sell)?.0);
        let ask = i128::from(self.best_against(Side::Buy)?.0);
        Some((ask.saturating_sub(bid), ask.saturating_add(bid)))
    }
}

impl Kernel {
    /// Takes the boot's readings of the producers, and the cooldowns that the last process left.
    pub(crate) fn boot_producers(&mut self, boot: &Boot) {
        let now = self.now();
        let producers = &mut self.monitors.producers;
        producers.cortex.first = FirstReading::of(boot, Producer::Cortex);
        producers.basis.first = FirstReading::of(boot, Producer::Basis);
        producers.exchange_health.first = FirstReading::of(boot, Producer::ExchangeHealth);
        let read = producers.exchange_health.first != FirstReading::Missing;
        producers.exchange_health.answered_at = read.then_some(now);
    }

    /// Takes over the cooldowns that ran when the slot was written; they have gone on ageing.
    pub(crate) fn load_cooldowns(&mut self, slot: &Slot) {
        let end = |producer: Producer| slot.override_cooldowns.get(producer.index()).copied().flatten();
        self.monitors.producers.cortex.cooldown.ends_at = end(Producer::Cortex);
        self.monitors.producers.basis.cooldown.ends_at = end(Producer::Basis);
    }

    /// Returns the ends of the cooldowns that run, in the order of [`Producer::ALL`]; nothing where none runs.
    pub(crate) fn running_cooldowns(&self) -> Vec<Option<TimeMs>> {
        let producers = &self.monitors.producers;
        let (cortex, basis) = (producers.cortex.cooldown.ends_at, producers.basis.cooldown.ends_at);
        if cortex.is_none() && basis.is_none() { Vec::new() } else { vec![cortex, None, basis] }
    }

    /// Takes a reading of the volatility index. One that failed, or is no positive number, leaves the last, which ages.
    /// Source: AT-231, AT-290.
    pub(crate) fn volatility_read(&mut self, value: Option<Ppm>) {
        let now = self.now();
        let window_ms = seconds(self.config().dvol_jump_window_s);
        let Some(value) = value.filter(|value| value.0 > 0) else { return };
        let readings = &mut self.monitors.producers.cortex.volatility;
        // Kept are those that no later one undercuts: the first of them is the lowest of its window.
        while readings.back().is_some_and(|(_, last)| *last >= value) {
            readings.pop_back();
        }
        readings.push_back((now, value));
        while readings.front().is_some_and(|(at, _)| now.since(*at) > window_ms) {
            readings.pop_front();
        }
    }

    /// Notes that the announcements were read, whatever they say. Source: AT-204, AT-299.
    pub(crate) fn announcements_read(&mut self) {
        let now = self.now();
        let health = &mut self.monitors.producers.exchange_health;
        health.first = FirstReading::Superseded;
        health.answered_at = Some(now);
    }

    /// Notes that a ticker has come over the socket: from now on basis reads tickers alone.
    pub(crate) fn ticker_read(&mut self, instrument: InstrumentId) {
        if self.core.reference_instrument == Some(instrument) {
            self.monitors.producers.basis.first = FirstReading::Superseded;
        }
    }

    /// Brings every producer's signal up to the present time and readings.
    pub(crate) fn follow_producers(&mut self) {
        let signals = [self.follow_cortex(), self.exchange_health(), self.follow_basis()];
        self.monitors.producers.signals = signals;
    }

    /// True where each producer reads for itself, has no held-for time or cooldown running and asks for nothing, so that
    /// only a breach or age can change that.
    pub(crate) fn producers_are_settled(&self) -> bool {
        let producers = &self.monitors.producers;
        producers.cortex.first == FirstReading::Superseded
            && producers.basis.first == FirstReading::Superseded
            && producers.cortex.kill_since.is_none()
            && producers.basis.kill_since.is_none()
            && producers.basis.reduce_since.is_none()
            && producers.cortex.cooldown.ends_at.is_none()
            && producers.basis.cooldown.ends_at.is_none()
            && producers.signals.iter().all(|signal| *signal == Override::None)
    }

    /// Returns the last moment at which every input of the producers, as read by now, is fresh; `None` where one is missing.
    pub(crate) fn producers_fresh_until(&self) -> Option<TimeMs> {
        let config = self.config();
        let cortex = self.cortex_read_at()?.after(config.cortex_input_max_age_ms);
        let basis = self.reference_ticker()?.1.after(config.basis_price_max_age_ms);
        let health = self.monitors.producers.exchange_health.answered_at?;
        Some(cortex.min(basis).min(health.after(seconds(config.exchange_health_stale_s)).before(1)))
    }

    /// True where what market data have changed surely breaks no limit of a producer. Before they came none was broken.
    #[inline]
    pub(crate) fn is_within_market_limits(&self, reading: Reading) -> bool {
        let (Reading::Book { instrument, .. } | Reading::Ticker(instrument)) = reading;
        if self.core.reference_instrument != Some(instrument) {
            return true;
        }
        match reading {
            Reading::Book { bids, asks, .. } => self.is_book_sound(instrument, bids, asks),
            // An option's depth is valued at the ticker's index.
            Reading::Ticker(_) => {
                self.basis_breach() == Some(Breach::default()) && self.is_book_sound(instrument, true, true)
            }
        }
    }

    #[inline]
    fn is_book_sound(&self, instrument: InstrumentId, bids: bool, asks: bool) -> bool {
        self.is_book_ample(instrument, bids, asks) || self.exact_book_breach() == Breach::default()
    }

    /// True for a book of an inverse contract whose spread breaks nothing, and neither does the depth of those of its sides
    /// that are asked for; found with small numbers and no more levels than it takes. False where that does not decide.
    #[inline]
    fn is_book_ample(&self, instrument: InstrumentId, bids: bool, asks: bool) -> bool {
        let config = self.config();
        let inverse = self.instrument(instrument).is_some_and(|of| of.kind != InstrumentKind::Option);
        let Some(book) = self.feeds.books.get(instrument.index()).filter(|_| inverse) else { return false };
        let (Some(bid), Some(ask)) = (book.best_against(Side::Sell), book.best_against(Side::Buy)) else {
            return false;
        };
        // What saturates is left to the exact comparison.
        let spread = ask.0.saturating_sub(bid.0).saturating_mul(TWICE_BPS);
        let widest = config.spread_max_bps.min(config.spread_kill_bps.saturating_sub(1));
        if spread > widest.saturating_mul(ask.0.saturating_add(bid.0)) || spread == i64::MAX {
            return false;
        }
        let least = config.depth_min_usd.max(config.depth_kill_min_usd.saturating_add(1)).saturating_mul(NANO);
        let levels = usize::try_from(config.depth_levels).unwrap_or(0);
        let is_deep = |side: Side| {
            let mut sum = 0i64;
            book.levels_against(side).take(levels).any(|(_, qty)| {
                sum = sum.saturating_add(qty.0);
                sum >= least
            })
        };
        (!bids || is_deep(Side::Sell)) && (!asks || is_deep(Side::Buy))
    }

    /// Spread and depth of the reference instrument's book, and jumps of the volatility index. Stale: no book or ticker of
    /// that instrument, or no index, for more than `cortex_input_max_age_ms`; a broken book keeps its last reading.
    /// Source: AT-045, AT-231, AT-284, AT-285, AT-286, AT-288, AT-289, AT-290, AT-292, AT-293.
    fn follow_cortex(&mut self) -> Override {
        let now = self.now();
        let own = self.cortex_read_at();
        if own.is_some() {
            self.monitors.producers.cortex.first = FirstReading::Superseded;
        }
        let book = self.book_breach();
        let jumped = self.volatility_jumped();
        let config = &self.core.config;
        let cortex = &mut self.monitors.producers.cortex;
        let (read_at, first) = match cortex.first {
            FirstReading::Missing => (None, Override::None),
            FirstReading::Read(signal) => (Some(self.core.booted.at), signal),
            FirstReading::Superseded => (own, Override::None),
        };
        if read_at.is_none_or(|at| now.since(at) > config.cortex_input_max_age_ms) {
            cortex.kill_since = None;
            return Override::ForceReduceOnly;
        }
        let killed = held(&mut cortex.kill_since, book.kill, now, seconds(config.cortex_kill_window_s));
        let thin = cortex.cooldown.follow(book.reduce, now, seconds(config.spread_depth_cooldown_s));
        let wild = cortex.cooldown.follow(jumped, now, seconds(config.dvol_cooldown_s));
        first.max(signal(killed, thin || wild))
    }

    /// Announcements without a valid answer for `exchange_health_stale_s` or longer ask for ForceReduceOnly; what they
    /// announce is a cause of the risk state. Source: AT-204, AT-232, AT-299.
    fn exchange_health(&self) -> Override {
        let health = &self.monitors.producers.exchange_health;
        let stale_ms = seconds(self.config().exchange_health_stale_s);
        if health.answered_at.is_none_or(|at| self.now().since(at) >= stale_ms) {
            return Override::ForceReduceOnly;
        }
        match health.first {
            FirstReading::Read(signal) => signal,
            FirstReading::Missing | FirstReading::Superseded => Override::None,
        }
    }

    /// Distance of mark, index and last price of the reference instrument's ticker. Missing: a price that the last ticker
    /// lacks; stale: older than `basis_price_max_age_ms`.
    /// Source: AT-951, AT-952, AT-954, AT-958, AT-959, AT-963.
    fn follow_basis(&mut self) -> Override {
        let now = self.now();
        let breach = self.basis_breach();
        let ticker_at = self.reference_ticker().map(|(_, at)| at);
        let config = &self.core.config;
        let basis = &mut self.monitors.producers.basis;
        let (read_at, first) = match basis.first {
            FirstReading::Missing => (None, Override::None),
            FirstReading::Read(signal) => (Some(self.core.booted.at), signal),
            FirstReading::Superseded => (ticker_at.filter(|_| breach.is_some()), Override::None),
        };
        if read_at.is_none_or(|at| now.since(at) > config.basis_price_max_age_ms) {
            basis.kill_since = None;
            basis.reduce_since = None;
            return Override::ForceReduceOnly;
        }
        let breach = breach.unwrap_or_default();
        let killed = held(&mut basis.kill_since, breach.kill, now, seconds(config.basis_kill_window_s));
        let apart = held(&mut basis.reduce_since, breach.reduce, now, seconds(config.basis_reduceonly_window_s));
        let reduces = basis.cooldown.follow(apart, now, seconds(config.basis_reduceonly_cooldown_s));
        first.max(signal(killed, reduces))
    }

    /// Returns the time of the oldest of Cortex's own inputs; `None` where one was never read.
    fn cortex_read_at(&self) -> Option<TimeMs> {
        let book = self.feeds.books.get(self.core.reference_instrument?.index())?.updated_at?;
        let (_, ticker) = self.reference_ticker()?;
        let (volatility, _) = self.monitors.producers.cortex.volatility.back()?;
        Some(book.min(ticker).min(*volatility))
    }

    fn reference_ticker(&self) -> Option<(&crate::event::Ticker, TimeMs)> {
        let (ticker, at) = self.feeds.tickers.get(self.core.reference_instrument?.index())?.as_ref()?;
        Some((ticker, *at))
    }

    /// Returns what the reference instrument's book breaks; nothing before it was ever read. A side without levels has no
    /// depth. Spread in bps of the middle: above `spread_max_bps`, at or above `spread_kill_bps`. Depth: below
    /// `depth_min_usd`, at or below `depth_kill_min_usd`; unknown, it breaks the first.
    fn book_breach(&self) -> Breach {
        if self.core.reference_instrument.is_some_and(|instrument| self.is_book_ample(instrument, true, true)) {
            return Breach::default();
        }
        self.exact_book_breach()
    }

    /// As [`Self::book_breach`], worked out in full.
    fn exact_book_breach(&self) -> Breach {
        let config = self.config();
        let read = self.core.reference_instrument.and_then(|id| {
            let book = self.feeds.books.get(id.index()).filter(|book| book.updated_at.is_some())?;
            Some((book, self.instrument(id)?.kind))
        });
        let Some((book, kind)) = read else { return Breach::default() };
        // The spread in bps is `apart` over half of `twice_middle`.
        let (apart, twice_middle) = book.spread().unwrap_or((0, 1));
        let spread = apart.saturating_mul(2).saturating_mul(BPS);
        let limit = |bps: i64| i128::from(bps).saturating_mul(twice_middle);
        let index = self.reference_ticker().and_then(|(ticker, _)| ticker.index);
        let depth = book.depth_usd(kind, usize::try_from(config.depth_levels).unwrap_or(0), index);
        let usd = |limit: i64| limit.saturating_mul(NANO);
        Breach {
            reduce: spread > limit(config.spread_max_bps)
                || depth.is_none_or(|depth| depth < usd(config.depth_min_usd)),
            kill: spread >= limit(config.spread_kill_bps)
                || depth.is_some_and(|depth| depth <= usd(config.depth_kill_min_usd)),
        }
    }

    /// True where the last reading of the volatility index is higher by `dvol_jump_pct` or more than another one no older
    /// than `dvol_jump_window_s`. Source: AT-231, AT-290, AT-291.
    fn volatility_jumped(&self) -> bool {
        let config = self.config();
        let window_ms = seconds(config.dvol_jump_window_s);
        let readings = &self.monitors.producers.cortex.volatility;
        let lowest = readings.iter().find(|(at, _)| self.now().since(*at) <= window_ms);
        let (Some((_, low)), Some((_, last))) = (lowest, readings.back()) else { return false };
        let risen = i128::from(last.0).saturating_sub(i128::from(low.0)).saturating_mul(i128::from(PPM));
        risen >= i128::from(low.0).saturating_mul(i128::from(config.dvol_jump_pct))
    }

    /// Returns what the reference instrument's ticker breaks: max(|mark - last|, |mark - index|) / mark at or above
    /// `basis_reduceonly_bps`, `basis_kill_bps`. `None` where a price is missing or not positive.
    fn basis_breach(&self) -> Option<Breach> {
        let (ticker, _) = self.reference_ticker()?;
        let price = |price: Option<Price>| price.map(|price| i128::from(price.0)).filter(|price| *price > 0);
        let (mark, index, last) = (price(ticker.mark)?, price(ticker.index)?, price(ticker.last)?);
        let away = |other: i128| mark.saturating_sub(other).saturating_abs();
        let apart = away(last).max(away(index)).saturating_mul(BPS);
        let breaks = |bps: i64| apart >= i128::from(bps).saturating_mul(mark);
        Some(Breach { reduce: breaks(self.config().basis_reduceonly_bps), kill: breaks(self.config().basis_kill_bps) })
    }
}

/// Follows a condition that counts once it has held for a while; true where it has.
fn held(since: &mut Option<TimeMs>, holds: bool, now: TimeMs, for_ms: i64) -> bool {
    *since = holds.then(|| since.unwrap_or(now));
    since.is_some_and(|since| now.since(since) >= for_ms)
}

const fn signal(kills: bool, reduces: bool) -> Override {
    match (kills, reduces) {
        (true, _) => Override::ForceKill,
        (false, true) => Override::ForceReduceOnly,
        (false, false) => Override::None,
    }
}
