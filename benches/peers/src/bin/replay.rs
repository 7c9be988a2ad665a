//! Replay of the same market data by drillfold and by hftbacktest, in one process.
//!
//! The market data is that of `benches/scenarios/market_data.toml`: eight instruments, about 1,650 events a second, 97 % of
//! them book changes, into which levels are put within 20 ticks of a middle that stands still; one in eight deletes. The
//! books never cross. It is measured with one level in each change, where both sides have the same number of events, and
//! with one or two in the shares of a recorded Deribit feed (49 to 128), where hftbacktest has an event for each level.
//!
//! drillfold maps the log's files, checks each frame's CRC-32C, checks and decodes its payload, folds it into the whole
//! state, keeps the chain of hashes and compares state hashes with the trace. hftbacktest has its events in memory, as
//! records of 64 bytes that are made before the time begins, and gives each to its local and its exchange side, which both
//! keep the book; the strategy looks at the best prices every 100 ms of simulated time and sends nothing. Afterwards its
//! best prices are compared with a sorted book's.
//!
//! `cargo run --release --bin replay`; the log's folder is the argument, or the system's temporary one.
//! `DRILLFOLD_BENCH_EVENTS` sets how many events, 2,000,000 unless it says otherwise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use drillfold::replay::{Strides, Tracer, replay_files};
use drillfold::scenario;
use drillfold::storage::{DiskStorage, Durability};
use drillfold::wal::{
    Access, Digests, DurabilityPolicy, LogFiles, LogReader, LogWriter, ReadOptions, RecordBody, WriterOptions,
};
use drillfold_kernel::event::{Event, Level, PublicTrade};
use drillfold_kernel::units::{InstrumentId, NANO, Price, Qty, Side, TimeMs};
use drillfold_peers::{Failure, Pairs, ROUNDS, event_count, print_cpu_pressure, print_head};
use hftbacktest::backtest::assettype::LinearAsset;
use hftbacktest::backtest::data::Data;
use hftbacktest::backtest::models::{
    CommonFees, ConstantLatency, PowerProbQueueFunc3, ProbQueueModel, TradingValueFeeModel,
};
use hftbacktest::backtest::{Backtest, DataSource, ExchangeKind, L2AssetBuilder};
use hftbacktest::depth::{HashMapMarketDepth, L2MarketDepth, MarketDepth, ROIVectorMarketDepth};
use hftbacktest::types::{
    BUY_EVENT, Bot, DEPTH_EVENT, EXCH_EVENT, ElapseResult, Event as HftEvent, LOCAL_EVENT, SELL_EVENT, TRADE_EVENT,
};

/// Events a second of simulated time, as the scenario has them.
const EVENTS_PER_S: usize = 1_648;

/// Between two levels of a book.
const TICK: i64 = NANO / 2;

/// Around which price the books stand, in ticks.
const MIDDLE_TICKS: i64 = 120_000;

/// How far from the middle a level can be, in ticks.
const REACH_TICKS: u64 = 20;

/// USD of a lot: five levels of one lot are as deep as the market monitors want a market to be.
const LOT_USD: i64 = 100_000;

const STEP_NS: i64 = 100_000_000;

fn main() -> Result<(), Failure> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let wanted = event_count(2_000_000)?;
    for levels in [Levels::One, Levels::AsRecorded] {
        let folder = tempfile::tempdir_in(&parent)?;
        compare(&folder.path().join("market_data.wal"), wanted, levels)?;
    }
    Ok(())
}

/// One replay; returns how long it took.
type Turn<'a> = dyn Fn() -> Result<Duration, Failure> + 'a;

/// How many levels a book change has.
#[derive(Clone, Copy)]
enum Levels {
    One,
    /// One or two, as 49 to 128.
    AsRecorded,
}

impl Levels {
    const fn count(self, change_id: u64) -> u64 {
        match self {
            Self::One => 1,
            Self::AsRecorded if change_id * 97 % 177 < 49 => 1,
            Self::AsRecorded => 2,
        }
    }
}

fn compare(log: &Path, wanted: usize, levels: Levels) -> Result<(), Failure> {
    let disk = DiskStorage::new(Durability::Unsynced);
    let made = make(&disk, log, wanted, levels)?;
    let peer_count: usize = made.feeds.iter().map(|feed| feed.events.len()).sum();
    println!(
        "\n{} events in the log, {} of them book changes with {:.2} levels each; {peer_count} records for hftbacktest; {ROUNDS} rounds",
        made.event_count,
        made.change_count,
        made.level_count as f64 / made.change_count as f64,
    );
    let eight: Vec<Source> = made.feeds.iter().map(Source::new).collect();
    let one = [Source::new(&merged(&made.feeds))];
    let trace = made.trace.as_slice();

    let replay = |digests| -> Result<Duration, Failure> {
        let began = Instant::now();
        let mut files = LogFiles::open(&disk, log, ReadOptions { digests, access: Access::Mapped })?;
        let found = replay_files(&mut files, Some(("trace", trace)), |_| ())?;
        let time = began.elapsed();
        if found.divergence.is_some() || found.event_count != made.event_count as u64 {
            return Err(format!("{} events, {:?}", found.event_count, found.divergence).into());
        }
        // A book with a gap would latch, and then be spared its changes; a market that the monitors mistrust would be looked
        // at after each of them.
        let reasons = found.status.map(|status| (status.mode_reasons, status.open_permission_reason_codes));
        if reasons.as_ref().is_none_or(|(reasons, _)| !reasons.is_empty()) {
            return Err(format!("the replay does not end in a calm market: {reasons:?}").into());
        }
        Ok(time)
    };
    let hash_map = || HashMapMarketDepth::new(0.5, 1.0);
    let vector = || {
        let price = |ticks: i64| ticks as f64 * 0.5;
        ROIVectorMarketDepth::new(0.5, 1.0, price(MIDDLE_TICKS - 1_000), price(MIDDLE_TICKS + 1_000))
    };
    let reference = || hft_replay(hash_map, &eight);
    let contenders: [(&str, usize, &Turn<'_>); 6] = [
        ("hftbacktest, hash maps, eight books (against itself)", peer_count, &reference),
        ("hftbacktest, hash map, all in one book", peer_count, &|| hft_replay(hash_map, &one)),
        ("hftbacktest, vectors, eight books", peer_count, &|| hft_replay(vector, &eight)),
        ("hftbacktest, vector, all in one book", peer_count, &|| hft_replay(vector, &one)),
        ("drillfold, trace verified", made.event_count, &|| replay(Digests::Skip)),
        ("drillfold, trace and event digest verified", made.event_count, &|| replay(Digests::Check)),
    ];
    print_cpu_pressure("before");
    let mut pairs = vec![Pairs::default(); contenders.len()];
    for _ in 0..ROUNDS {
        for ((_, _, turn), pairs) in contenders.iter().zip(&mut pairs) {
            let theirs = reference()?;
            pairs.push(theirs, turn()?);
        }
    }
    print_cpu_pressure("after");
    print_head("hash maps");
    for ((name, event_count, _), pairs) in contenders.iter().zip(&pairs) {
        pairs.print(name, *event_count);
    }
    Ok(())
}

/// What both sides replay.
struct Made {
    event_count: usize,
    change_count: usize,
    level_count: usize,
    trace: Vec<u8>,
    /// By instrument.
    feeds: Vec<Feed>,
}

/// Market data as hftbacktest takes it, and the book it leads to.
#[derive(Default)]
struct Feed {
    events: Vec<HftEvent>,
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
}

impl Feed {
    fn levels(&mut self, at: TimeMs, side: Side, levels: &[Level]) {
        for level in levels {
            let (ticks, flag) = (level.price.0 / TICK, DEPTH_EVENT);
            self.events.push(hft_event(at, flag, side, level.price, level.qty));
            let book = match side {
                Side::Buy => &mut self.bids,
                Side::Sell => &mut self.asks,
            };
            if level.qty.0 == 0 {
                book.remove(&ticks);
            } else {
                book.insert(ticks, level.qty.0);
            }
        }
    }

    fn trades(&mut self, at: TimeMs, trades: &[PublicTrade]) {
        let events = trades.iter().map(|trade| hft_event(at, TRADE_EVENT, trade.side, trade.price, trade.qty));
        self.events.extend(events);
    }

    /// Returns the best bid and ask, in ticks.
    fn best(&self) -> (Option<i64>, Option<i64>) {
        (self.bids.keys().next_back().copied(), self.asks.keys().next().copied())
    }
}

/// Returns an event that both sides of hftbacktest see, the exchange a millisecond before.
fn hft_event(at: TimeMs, flag: u64, side: Side, price: Price, qty: Qty) -> HftEvent {
    let side = match side {
        Side::Buy => BUY_EVENT,
        Side::Sell => SELL_EVENT,
    };
    HftEvent {
        ev: flag | side | EXCH_EVENT | LOCAL_EVENT,
        exch_ts: (at.0 - 1) * 1_000_000,
        local_ts: at.0 * 1_000_000,
        px: price.0 as f64 / NANO as f64,
        qty: qty.0 as f64 / NANO as f64,
        order_id: 0,
        ival: 0,
        fval: 0.0,
    }
}

/// Returns all market data as of one instrument, in the order of time.
fn merged(feeds: &[Feed]) -> Feed {
    let events = feeds.iter().flat_map(|feed| feed.events.iter().cloned()).collect();
    let mut all = Feed { events, ..Feed::default() };
    all.events.sort_by_key(|event| event.local_ts);
    for event in all.events.iter().filter(|event| event.ev & 0xff == DEPTH_EVENT) {
        let book = if event.ev & BUY_EVENT == BUY_EVENT { &mut all.bids } else { &mut all.asks };
        let (ticks, lots) = ((event.px * 2.0) as i64, event.qty as i64);
        if lots == 0 {
            book.remove(&ticks);
        } else {
            book.insert(ticks, lots);
        }
    }
    all
}

/// Makes the log, its trace and the same market data for the other side.
fn make(disk: &DiskStorage, log: &Path, wanted: usize, levels: Levels) -> Result<Made, Failure> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/market_data.toml");
    let seconds = wanted.div_ceil(EVENTS_PER_S).max(12);
    // Without orders: the levels that are put in are not those at which the simulated venue filled them.
    let text = std::fs::read_to_string(&path)?
        .replace("open_every = \"60s\"", "open_every = \"0s\"")
        .replace("duration = \"600s\"", &format!("duration = \"{seconds}s\""))
        .replace("at = \"599s\"", &format!("at = \"{}s\"", seconds - 1));
    let scenario = scenario::parse(&path.display().to_string(), &text)?.remove(0);
    let recorded = drillfold::judge::run::run(&scenario, None)?.recorded.log;
    let mut reader = LogReader::open("recorded", &recorded)?;
    let header = reader.header().clone();

    let mut tracer = Tracer::new(&header, Strides::LONG)?;
    let options = WriterOptions { preallocate_bytes: 0, ..WriterOptions::segmented(DurabilityPolicy::Never) };
    let mut writer = LogWriter::create(Arc::new(*disk), log, &header, options)?;
    let mut made = Made { event_count: 0, change_count: 0, level_count: 0, trace: Vec::new(), feeds: Vec::new() };
    while let Some(record) = reader.next_record()? {
        let RecordBody::Event(raw) = record.body else { continue };
        let mut event = raw.decode()?;
        match &mut event {
            Event::BookSnapshot(book) => {
                book.bids = (1..=REACH_TICKS).map(|place| level(Side::Buy, place, 1)).collect();
                book.asks = (1..=REACH_TICKS).map(|place| level(Side::Sell, place, 1)).collect();
                let feed = feed_of(&mut made.feeds, book.instrument);
                feed.levels(record.at, Side::Buy, &book.bids);
                feed.levels(record.at, Side::Sell, &book.asks);
            }
            Event::BookChanged(change) => {
                let id = change.change_id;
                let side = if id % 2 == 0 { Side::Buy } else { Side::Sell };
                // The two sides take turns; what is deleted moves through the places.
                let turn = id / 2;
                let changed: Vec<Level> = (0..levels.count(id))
                    .map(|place| level(side, (turn * 7 + place) % REACH_TICKS + 1, (turn * 5 + turn / 40 + place) % 8))
                    .collect();
                made.change_count += 1;
                made.level_count += changed.len();
                feed_of(&mut made.feeds, change.instrument).levels(record.at, side, &changed);
                (change.bids, change.asks) = match side {
                    Side::Buy => (changed, Vec::new()),
                    Side::Sell => (Vec::new(), changed),
                };
            }
            Event::TradesReceived { instrument, trades } => {
                feed_of(&mut made.feeds, *instrument).trades(record.at, trades);
            }
            _ => {}
        }
        writer.event(record.at, &event)?;
        made.event_count += 1;
        tracer.step(record.at, &event)?;
    }
    writer.finish()?;
    tracer.finish()?;
    made.trace = tracer.take_pending();
    Ok(made)
}

/// Returns a level so many ticks from the middle, of so many lots.
fn level(side: Side, place: u64, lots: u64) -> Level {
    let away = place.cast_signed();
    let ticks = match side {
        Side::Buy => MIDDLE_TICKS - away,
        Side::Sell => MIDDLE_TICKS + away,
    };
    Level { price: Price(ticks * TICK), qty: Qty(lots.cast_signed() * LOT_USD * NANO) }
}

fn feed_of(feeds: &mut Vec<Feed>, instrument: InstrumentId) -> &mut Feed {
    let place = usize::from(instrument.0);
    if feeds.len() <= place {
        feeds.resize_with(place + 1, Feed::default);
    }
    &mut feeds[place]
}

/// Events in hftbacktest's own memory, and what they lead to.
struct Source {
    data: Data<HftEvent>,
    best: (Option<i64>, Option<i64>),
}

impl Source {
    fn new(feed: &Feed) -> Self {
        Self { data: Data::from_data(&feed.events), best: feed.best() }
    }
}

/// Replays each source into a book of its own; building the engine is not timed.
fn hft_replay<D>(depth: impl Fn() -> D + Copy + 'static, sources: &[Source]) -> Result<Duration, Failure>
where
    D: MarketDepth + L2MarketDepth + 'static,
{
    let mut engine = Backtest::builder();
    for source in sources {
        let asset = L2AssetBuilder::new()
            .data(vec![DataSource::Data(source.data.clone())])
            .latency_model(ConstantLatency::new(1_000_000, 1_000_000))
            .asset_type(LinearAsset::new(1.0))
            .fee_model(TradingValueFeeModel::new(CommonFees::new(0.0, 0.0005)))
            .exchange(ExchangeKind::NoPartialFillExchange)
            .queue_model(ProbQueueModel::<_, D>::new(PowerProbQueueFunc3::new(3.0)))
            .depth(depth)
            .build()?;
        engine = engine.add_asset(asset);
    }
    let mut engine = engine.build()?;
    let began = Instant::now();
    let mut seen = 0_i64;
    while engine.elapse(STEP_NS)? != ElapseResult::EndOfData {
        seen = seen.wrapping_add(engine.depth(0).best_bid_tick());
    }
    let time = began.elapsed();
    std::hint::black_box(seen);
    for (place, source) in sources.iter().enumerate() {
        let depth = engine.depth(place);
        let found = (Some(depth.best_bid_tick()), Some(depth.best_ask_tick()));
        if found != source.best {
            return Err(format!("book {place} ends at {found:?}, a sorted book at {:?}", source.best).into());
        }
    }
    Ok(time)
}
