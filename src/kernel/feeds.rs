//! Continuity of books and trades, liveness of the feed. Source: kernel contract section 4.

use alloc::{vec, vec::Vec};

use crate::{
    config::seconds,
    effect::{Effect, Note, RestQuery},
    event::{BookDelta, BookSnapshot, Channel, InstrumentKind, PublicTrade, Socket, Ticker},
    ladder::Ladder,
    planted::{self, Rule},
    registry::OpenPermissionReason,
    state::{Book, Continuity, Hole, Kernel, Purpose, TradeFeed},
    units::{InstrumentId, NANO, Price, Qty, RequestId, Side, TimeMs, UnderlyingId, mul_div},
};

impl Book {
    /// Returns the best price of the side that an order of `side` would trade with.
    pub(crate) fn best_against(&self, side: Side) -> Option<Price> {
        self.levels_against(side).next().map(|(price, _)| price)
    }

    /// Returns the amount that an order of `side` limited to `limit` would find.
    pub(crate) fn depth_within(&self, side: Side, limit: Price) -> Qty {
        self.levels_against(side)
            .take_while(|(price, _)| match side {
                Side::Buy => *price <= limit,
                Side::Sell => *price >= limit,
            })
            .fold(Qty::ZERO, |sum, (_, qty)| sum.plus(qty))
    }

    /// Returns the levels that an order of `side` would trade with, best first.
    pub(crate) fn levels_against(&self, side: Side) -> impl Iterator<Item = (Price, Qty)> + '_ {
        match side {
            Side::Buy => &self.asks,
            Side::Sell => &self.bids,
        }
        .levels()
    }

    fn install(&mut self, snapshot: &BookSnapshot, now: TimeMs) {
        self.change_id = Some(snapshot.change_id);
        self.updated_at = Some(now);
        self.bids = Ladder::of(&snapshot.bids, Side::Buy);
        self.asks = Ladder::of(&snapshot.asks, Side::Sell);
    }

    fn change(&mut self, change: &impl BookDelta, now: TimeMs) {
        self.change_id = Some(change.change_id());
        self.updated_at = Some(now);
        for level in change.bids() {
            self.bids.put(level, Side::Buy);
        }
        for level in change.asks() {
            self.asks.put(level, Side::Sell);
        }
    }
}

impl TradeFeed {
    /// Remembers an id; false where it was already known.
    fn remember(&mut self, id: crate::units::TradeId, now: TimeMs, lookback_ms: i64) -> bool {
        while let Some((at, old)) = self.recent.front().copied()
            && now.since(at) > lookback_ms
        {
            self.recent.pop_front();
            self.known.remove(&old);
        }
        if !self.known.insert(id) {
            return false;
        }
        self.recent.push_back((now, id));
        true
    }

    /// Counts an amount towards what the market traded within the window.
    fn count(&mut self, qty: Qty, now: TimeMs, window_ms: i64) {
        while self.volume.front().is_some_and(|(at, _)| now.since(*at) > window_ms) {
            self.volume.pop_front();
        }
        self.volume.push_back((now, qty));
    }
}

impl Kernel {
    /// Returns `ws_event_lag_ms`: time since the last market-data payload, before the first one since boot.
    #[must_use]
    pub fn market_data_lag_ms(&self) -> i64 {
        self.now().since(self.feeds.last_payload_at.unwrap_or(self.core.booted.at))
    }

    /// Trips on silence and keeps the watches that clearing conditions read. Source: AT-946, AT-947, AT-948.
    pub(crate) fn advance_feeds(&mut self, effects: &mut Vec<Effect>) {
        self.follow_lag();
        let lag = self.market_data_lag_ms();
        let threshold = self.config().ws_stale_threshold_ms;
        let late = if planted::broken(Rule::StaleBoundary) { lag >= threshold } else { lag > threshold };
        let active = self.feeds.payload_since_subscription && lag <= self.config().ws_zombie_activity_window_ms;
        let watched = active || !self.is_flat();
        if late && watched && !self.feeds.silent {
            self.feeds.silent = true;
            self.set_latch(OpenPermissionReason::WsDataStaleReconcileRequired);
            self.connect_public(effects);
        }
        self.repeat_resubscriptions(effects);
    }

    /// Keeps since when the lag has been within what the staleness code clears at.
    fn follow_lag(&mut self) {
        let calm = self.market_data_lag_ms() <= self.config().ws_stale_clear_lag_ms;
        self.feeds.lag_calm_since = calm.then(|| self.feeds.lag_calm_since.unwrap_or_else(|| self.now()));
    }

    /// A resubscription whose snapshot does not come is repeated.
    fn repeat_resubscriptions(&mut self, effects: &mut Vec<Effect>) {
        let now = self.now();
        let timeout = self.core.config.rest_timeout_ms;
        if !self.session.public.open {
            return;
        }
        for (index, (instrument, book)) in self.core.instruments.iter().zip(&mut self.feeds.books).enumerate() {
            if let Continuity::Awaiting(since) = book.continuity
                && instrument.subscribed
                && now.since(since) >= timeout
            {
                book.continuity = Continuity::Awaiting(now);
                effects.push(Effect::ResubscribeBook(instrument_id(index)));
            }
        }
    }

    /// Notes a payload: the lag starts again, a silence ends.
    fn payload(&mut self) {
        self.heard(Socket::Public);
        let now = self.now();
        self.feeds.last_payload_at = Some(now);
        self.feeds.payload_since_subscription = true;
        self.follow_lag();
        if self.feeds.silent {
            // The silence is one occurrence and ends here: only a run begun from now on can clear its code.
            self.feeds.silent = false;
            self.set_latch(OpenPermissionReason::WsDataStaleReconcileRequired);
        }
    }

    /// Installs a snapshot; of two the newer change id wins.
    pub(crate) fn book_snapshot(&mut self, snapshot: &BookSnapshot, _effects: &mut [Effect]) {
        self.payload();
        self.install_book(snapshot, true);
    }

    /// Takes a book that was asked for over REST.
    pub(crate) fn book_pulled(&mut self, request: RequestId, snapshot: &BookSnapshot) {
        if let Some(book) = self.feeds.books.get_mut(snapshot.instrument.index())
            && book.pull == Some(request)
        {
            book.pull = None;
        }
        self.install_book(snapshot, false);
        if let Some(book) = self.feeds.books.get_mut(snapshot.instrument.index()) {
            book.pulled_change_id = book.pulled_change_id.max(Some(snapshot.change_id));
        }
    }

    fn install_book(&mut self, snapshot: &BookSnapshot, from_stream: bool) {
        let now = self.now();
        let Some(book) = self.feeds.books.get_mut(snapshot.instrument.index()) else {
            return;
        };
        let rebuilt = from_stream && book.continuity != Continuity::Live;
        let newer = book.change_id.is_none_or(|known| snapshot.change_id >= known);
        if newer || (rebuilt && book.updated_at.is_none()) {
            book.install(snapshot, now);
        }
        if rebuilt {
            book.pull_wanted = false;
            let was_gap = matches!(book.continuity, Continuity::Awaiting(_));
            book.continuity = Continuity::Live;
            if was_gap {
                self.ask_run();
            }
        }
    }

    /// Applies a change that follows the last one; anything else is a gap.
    pub(crate) fn book_changed(&mut self, change: &impl BookDelta, effects: &mut Vec<Effect>) {
        self.payload();
        let now = self.now();
        let Some(book) = self.feeds.books.get_mut(change.instrument().index()) else {
            return;
        };
        match book.continuity {
            Continuity::Awaiting(_) => {}
            // The stream's snapshot may be older than the book that came over REST.
            Continuity::Live if book.pulled_change_id.is_some_and(|pulled| change.change_id() <= pulled) => {}
            Continuity::Live
                if book.change_id == Some(change.prev_change_id()) || planted::broken(Rule::BookContinuity) =>
            {
                book.change(change, now);
            }
            Continuity::Live | Continuity::Fresh => self.book_gap(change.instrument(), effects),
        }
    }

    /// Latches, resubscribes and wants a book over REST. Source: AT-271, AT-408.
    fn book_gap(&mut self, instrument: InstrumentId, effects: &mut Vec<Effect>) {
        let now = self.now();
        self.feeds.last_book_gap_at = Some(now);
        if let Some(book) = self.feeds.books.get_mut(instrument.index()) {
            book.continuity = Continuity::Awaiting(now);
            book.pull_wanted = true;
        }
        effects.push(Effect::Note(Note::Gap(instrument)));
        effects.push(Effect::ResubscribeBook(instrument));
        self.set_latch(OpenPermissionReason::WsBookGapReconcileRequired);
    }

    /// Asks for a book over REST unless one is on its way.
    pub(crate) fn pull_book(&mut self, instrument: InstrumentId, effects: &mut Vec<Effect>) {
        if let Some(book) = self.feeds.books.get_mut(instrument.index()) {
            book.pull_wanted = false;
        }
        let waits = self
            .feeds
            .books
            .get(instrument.index())
            .and_then(|book| book.pull)
            .is_some_and(|pull| self.session.pending.contains_key(&pull));
        if waits {
            return;
        }
        let pull = self.ask(RestQuery::Book(instrument), Purpose::Book(instrument), effects);
        if let Some(book) = self.feeds.books.get_mut(instrument.index()) {
            book.pull = Some(pull);
        }
    }

    /// Processes each trade once; then checks that the sequence has no hole.
    pub(crate) fn trades_received(
        &mut self,
        instrument: InstrumentId,
        trades: &[PublicTrade],
        effects: &mut Vec<Effect>,
    ) {
        self.payload();
        let now = self.now();
        self.feeds.public_trades_at = Some(now);
        self.feeds.trades_guard = false;
        let lookback = seconds(self.config().reconcile_trade_lookback_sec);
        let window = seconds(self.config().feedback_loop_window_s);
        let mut gap = None;
        let Some(feed) = self.feeds.trades.get_mut(instrument.index()) else {
            return;
        };
        for trade in trades {
            let new = feed.remember(trade.trade_id, now, lookback);
            if !new && !planted::broken(Rule::TradeDedup) {
                self.feeds.trades_dropped = self.feeds.trades_dropped.saturating_add(1);
                effects.push(Effect::Note(Note::DuplicateTrade(instrument)));
                continue;
            }
            self.feeds.trades_processed = self.feeds.trades_processed.saturating_add(1);
            feed.count(trade.qty, now, window);
            if let Some(hole) = &mut feed.hole {
                hole.newest_seq = hole.newest_seq.max(trade.trade_seq);
                continue;
            }
            let follows = feed.last_seq.is_none_or(|last| last.checked_add(1) == Some(trade.trade_seq));
            if follows {
                feed.last_seq = Some(trade.trade_seq);
            } else if gap.is_none() {
                gap = Some(trade.trade_seq.max(feed.last_seq.unwrap_or(0)));
            } else {
                gap = gap.map(|newest| newest.max(trade.trade_seq));
            }
        }
        if let Some(newest_seq) = gap {
            self.trades_gap(instrument, newest_seq, effects);
        }
    }

    /// Latches and wants the recent trades over REST. Source: AT-202, AT-272.
    fn trades_gap(&mut self, instrument: InstrumentId, newest_seq: u64, effects: &mut Vec<Effect>) {
        effects.push(Effect::Note(Note::Gap(instrument)));
        if let Some(feed) = self.feeds.trades.get_mut(instrument.index()) {
            feed.hole = Some(Hole { pull: None, newest_seq });
        }
        self.set_latch(OpenPermissionReason::WsTradesGapReconcileRequired);
    }

    /// Fills a hole from the trades pulled over REST: each id is processed once, the newest number is the new last.
    pub(crate) fn trades_pulled(&mut self, request: RequestId, instrument: InstrumentId, trades: &[PublicTrade]) {
        let now = self.now();
        let lookback = seconds(self.config().reconcile_trade_lookback_sec);
        let Some(feed) = self.feeds.trades.get_mut(instrument.index()) else {
            return;
        };
        let Some(hole) = feed.hole.filter(|hole| hole.pull == Some(request)) else {
            return;
        };
        let mut newest = hole.newest_seq;
        for trade in trades {
            if feed.remember(trade.trade_id, now, lookback) {
                self.feeds.trades_processed = self.feeds.trades_processed.saturating_add(1);
            }
            newest = newest.max(trade.trade_seq);
        }
        feed.last_seq = Some(newest);
        feed.hole = None;
        self.ask_run();
    }

    /// Raises the trades code where public trades are too old for the self-impact guard; true where it did.
    /// Source: AT-953.
    pub(crate) fn guard_public_trades(&mut self) -> bool {
        let age_max = self.config().public_trade_feed_max_age_ms;
        let now = self.now();
        let last = self.feeds.public_trades_at.unwrap_or(self.core.booted.at);
        let old = now.since(last) > age_max;
        if old {
            self.feeds.trades_guard = true;
            self.set_latch(OpenPermissionReason::WsTradesGapReconcileRequired);
        }
        old
    }

    /// Keeps a ticker.
    pub(crate) fn ticker_received(&mut self, ticker: &Ticker, _effects: &mut [Effect]) {
        self.payload();
        let now = self.now();
        if let Some(slot) = self.feeds.tickers.get_mut(ticker.instrument.index()) {
            *slot = Some((*ticker, now));
        }
        self.ticker_read(ticker.instrument);
    }

    /// Counts a frame that can't be used; on a subscribed market-data channel it is a gap.
    pub(crate) fn frame_rejected(
        &mut self,
        socket: Socket,
        instrument: Option<InstrumentId>,
        channel: Channel,
        effects: &mut Vec<Effect>,
    ) {
        self.heard(socket);
        self.feeds.frames_rejected = self.feeds.frames_rejected.saturating_add(1);
        effects.push(Effect::Note(Note::FrameRejected(instrument)));
        let Some(instrument) = instrument.filter(|id| self.instrument(*id).is_some_and(|of| of.subscribed)) else {
            return;
        };
        match channel {
            Channel::Book => self.book_gap(instrument, effects),
            Channel::Trades => {
                let newest =
                    self.feeds.trades.get(instrument.index()).and_then(|feed| feed.last_seq).unwrap_or_default();
                self.trades_gap(instrument, newest, effects);
            }
            Channel::Ticker | Channel::Other => {}
        }
    }

    /// Marks every book as waiting for the snapshot of a resubscription.
    pub(crate) fn await_snapshots(&mut self) {
        let now = self.now();
        self.feeds.payload_since_subscription = false;
        for book in &mut self.feeds.books {
            book.continuity = Continuity::Awaiting(now);
        }
    }

    /// Returns the best price that an order of `side` would trade at: from a book, else a ticker, both no older than
    /// `l2_book_snapshot_max_age_ms`. Source: AT-937.
    pub(crate) fn best_price(&self, instrument: InstrumentId, side: Side) -> Option<Price> {
        self.usable_book(instrument).and_then(|book| book.best_against(side)).or_else(|| {
            let (ticker, at) = self.feeds.tickers.get(instrument.index())?.as_ref()?;
            if self.now().since(*at) > self.config().l2_book_snapshot_max_age_ms {
                return None;
            }
            match side {
                Side::Buy => ticker.best_ask,
                Side::Sell => ticker.best_bid,
            }
            .filter(|price| price.0 > 0)
        })
    }

    /// Returns an instrument's book where it is fresh enough to trade on and has both sides. Source: AT-344, AT-421.
    pub(crate) fn usable_book(&self, instrument: InstrumentId) -> Option<&Book> {
        let age_max = self.config().l2_book_snapshot_max_age_ms;
        self.feeds.books.get(instrument.index()).filter(|book| {
            book.updated_at.is_some_and(|at| self.now().since(at) <= age_max)
                && book.bids.levels().next().is_some()
                && book.asks.levels().next().is_some()
        })
    }

    /// Returns how many nano-coins an amount of an instrument moves at a price, rounded towards zero: inverse contracts
    /// amount over price, options amount times delta (1 where unknown).
    pub(crate) fn coins_of(&self, instrument: InstrumentId, qty: Qty, price: Price) -> i64 {
        match self.instrument(instrument).map(|of| of.kind) {
            Some(InstrumentKind::Perpetual | InstrumentKind::Future) => mul_div(qty.0, NANO, price.0),
            Some(InstrumentKind::Option) => mul_div(qty.0, self.delta_of(instrument), crate::units::PPM),
            None => 0,
        }
    }

    /// Returns an option's delta in parts per million; one where it is unknown.
    pub(crate) fn delta_of(&self, instrument: InstrumentId) -> i64 {
        self.feeds
            .tickers
            .get(instrument.index())
            .and_then(Option::as_ref)
            .and_then(|(ticker, _)| ticker.delta)
            .map_or(crate::units::PPM, |delta| delta.0)
    }

    /// Returns a price for valuing a position: mark or index of the last ticker, else the book's best.
    pub(crate) fn valuation_price(&self, instrument: InstrumentId) -> Option<Price> {
        let ticker = self.feeds.tickers.get(instrument.index()).and_then(Option::as_ref).map(|(ticker, _)| ticker);
        ticker
            .and_then(|ticker| ticker.mark.or(ticker.index))
            .or_else(|| self.feeds.books.get(instrument.index()).and_then(|book| book.best_against(Side::Buy)))
            .filter(|price| price.0 > 0)
    }

    /// Returns the net exposure of an underlying in nano-coins, over positions; unpriced positions count for nothing.
    #[must_use]
    pub fn net_exposure(&self, underlying: UnderlyingId) -> i64 {
        let mut net = 0i64;
        for (index, (instrument, qty)) in self.core.instruments.iter().zip(&self.orders.positions).enumerate() {
            if instrument.underlying == underlying && !qty.is_zero() {
                net = net.saturating_add(self.position_coins(instrument_id(index)));
            }
        }
        net
    }

    /// Returns the absolute net exposures of all underlyings, summed, in nano-coins.
    #[must_use]
    pub fn total_exposure(&self) -> i64 {
        let underlyings = self.core.instruments.iter().map(|of| of.underlying.0).max();
        underlyings.map_or(0, |last| {
            (0..=last)
                .map(|of| self.net_exposure(UnderlyingId(of)).saturating_abs())
                .fold(0i64, |sum, exposure| sum.saturating_add(exposure))
        })
    }

    /// Returns the nano-coins of an instrument's position, signed; none in an instrument that is gone for good.
    #[must_use]
    pub fn position_coins(&self, instrument: InstrumentId) -> i64 {
        if self.is_gone(instrument) {
            return 0;
        }
        let qty = self.orders.positions.get(instrument.index()).copied().unwrap_or_default();
        let price = match self.instrument(instrument).map(|of| of.kind) {
            Some(InstrumentKind::Option) => Some(Price(NANO)),
            _ => self.valuation_price(instrument),
        };
        price.map_or(0, |price| self.coins_of(instrument, qty, price))
    }

    /// Returns the reference perpetual of an underlying: the configured one, else the first perpetual of it.
    pub(crate) fn perpetual_of(&self, underlying: UnderlyingId) -> Option<InstrumentId> {
        let fits = |id: &InstrumentId| {
            self.instrument(*id).is_some_and(|of| of.kind == InstrumentKind::Perpetual && of.underlying == underlying)
        };
        self.core
            .reference_instrument
            .filter(fits)
            .or_else(|| (0..self.core.instruments.len()).map(instrument_id).find(|id| fits(id)))
    }

    /// Sizes the per-instrument tables for a boot's instrument table.
    pub(crate) fn size_feeds(&mut self) {
        let count = self.core.instruments.len();
        self.feeds.books = vec![Book::default(); count];
        self.feeds.trades = vec![TradeFeed::default(); count];
        self.feeds.tickers = vec![None; count];
        self.orders.positions = vec![Qty::ZERO; count];
    }
}

/// Returns the id of the instrument at a place of the table.
pub(crate) fn instrument_id(index: usize) -> InstrumentId {
    InstrumentId(u16::try_from(index).unwrap_or(u16::MAX))
}
