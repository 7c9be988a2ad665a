//! How long nothing is due: the short way of ordinary market data and of the watchdog's beats.
//!
//! Most events of a long log are market data that come while the mode is Active and no timer is due. Such an event
//! changes its own feed and nothing else: what the full way would work out again for it is what the last event has
//! worked out. A beat only moves on the time of the last one; the note keeps to the older time, and so ends earlier than
//! it would have to. After each event that went the full way the kernel notes until when that holds. The note is no part of
//! the state: a kernel without it goes the full way and comes to the same state, which tests compare event by event.

use alloc::string::String;

use crate::{
    config::seconds,
    event::{Event, GroupState, Socket},
    groups::FORGET_EVERY_EVENTS,
    monitors::{P95_WINDOW_MS, SECOND_MS, TIMEOUT_WINDOW_MS},
    registry::TradingMode,
    state::{Dated, Kernel, Pair},
    units::TimeMs,
};

/// Until when, inclusive, an ordinary event changes nothing but its feed or beat; `None` where each goes the full way.
///
/// Equal to every other: it is worked out from the state and no part of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calm(Option<TimeMs>);

impl PartialEq for Calm {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Calm {}

impl Kernel {
    /// Makes the next event go the full way, whatever it is. The state it leads to is the same.
    pub fn forget_calm(&mut self) {
        self.calm = Calm::default();
    }

    /// Returns until when, inclusive, an ordinary event can go the short way; `None` where none can.
    #[must_use]
    pub const fn calm_until(&self) -> Option<TimeMs> {
        self.calm.0
    }

    /// True where `event`, at the time that is set already, can change its feed, or a beat's time, alone.
    pub(crate) fn is_calm_for(&self, event: &Event) -> bool {
        let ordinary = matches!(
            event,
            Event::LoopTicked
                | Event::HeartbeatSeen
                | Event::BookChanged(_)
                | Event::BookSnapshot(_)
                | Event::TradesReceived { .. }
                | Event::TickerReceived(_)
                | Event::FrameHeard(Socket::Public | Socket::Private)
        );
        ordinary && self.is_calm_now()
    }

    /// True where market data, at the time that is set already, can change its feed alone.
    #[inline]
    pub(crate) fn is_calm_now(&self) -> bool {
        self.calm.0.is_some_and(|until| self.now() <= until)
            && !self.core.stamp.seq.0.is_multiple_of(FORGET_EVERY_EVENTS)
            && self.feeds_flow()
    }

    /// True where the lags that market data themselves keep short are within every limit.
    fn feeds_flow(&self) -> bool {
        let config = self.config();
        let lag_max = config.ws_stale_clear_lag_ms.min(config.ws_stale_threshold_ms);
        self.market_data_lag_ms() <= lag_max
            && self.transport_lag_ms().is_some_and(|lag| lag <= config.bunker_jitter_threshold_ms)
    }

    /// Notes until when nothing is due.
    pub(crate) fn note_calm(&mut self) {
        self.calm = Calm(if self.is_settled() { self.nothing_due_until() } else { None });
    }

    /// True where no reason is active and nothing that is under way needs a look after every event.
    fn is_settled(&self) -> bool {
        !cfg!(planted)
            && self.core.up
            && self.core.resolution.mode == TradingMode::Active
            && !self.latch.is_set()
            && self.monitors.causes.iter().all(Option::is_none)
            && self.monitors.emergency.is_none()
            && self.producers_are_settled()
            && self.monitors.bunker.breaches == 0
            && self.groups_rest()
            && self.groups.clean_since.is_some()
            && self.orders.unsent.is_empty()
            && self.orders.replacements.is_empty()
            && self.books_whole()
            && self.feeds.trades.iter().all(|feed| feed.hole.is_none())
            && self.feeds.lag_calm_since.is_some()
            && !self.feeds.silent
            && [&self.session.public, &self.session.private]
                .iter()
                .all(|socket| socket.open && socket.reconnect_at.is_none())
    }

    /// True where every open group waits for the venue alone: one that has failed asks for cancels until it has ended.
    fn groups_rest(&self) -> bool {
        let waits = |id: &String| self.groups.all.get(id).is_some_and(|group| group.state == GroupState::Dispatched);
        self.groups.open.iter().all(waits)
    }

    /// Returns the last moment before anything that depends on time alone can change; `None` where that is unknown.
    fn nothing_due_until(&self) -> Option<TimeMs> {
        let config = self.config();
        // What happens once so many milliseconds have passed, and what happens once more than so many have.
        let at_after = |since: TimeMs, ms: i64| since.after(ms).before(1);
        let later_than = |since: TimeMs, ms: i64| since.after(ms);
        let pair = |pair: &Pair, age_max_ms: i64| pair.at.map(|at| later_than(at, age_max_ms));
        let dated = |dated: &Dated, age_max_ms: i64| dated.at.map(|at| later_than(at, age_max_ms));

        let Self { core, groups, session, monitors, .. } = self;
        let window = seconds(config.count_window_s);
        let mut until =
            later_than(monitors.certificate.as_ref()?.generated_at, seconds(config.f1_cert_freshness_window_s))
                .min(pair(&monitors.margin, config.mm_util_max_age_ms)?)
                .min(pair(&monitors.disk_primary, config.disk_used_max_age_ms)?)
                .min(pair(&monitors.disk_secondary, config.disk_used_max_age_ms)?)
                .min(dated(&monitors.policy, seconds(config.max_policy_age_sec))?)
                .min(dated(&monitors.fee_model, seconds(config.fee_cache_hard_s))?)
                .min(at_after(monitors.bunker.evaluated_at, SECOND_MS))
                .min(at_after(session.reconcile.last_started_at, seconds(config.reconcile_interval_s)))
                .min(at_after(session.swept_at, seconds(config.sweeper_interval_s)))
                .min(self.producers_fresh_until()?);
        for beat in [&monitors.heartbeat, &monitors.loop_tick] {
            let silence_ms = seconds(config.watchdog_reduceonly_s.min(config.watchdog_kill_s));
            until = until.min(dated(beat, silence_ms)?);
        }
        for socket in [&session.public, &session.private] {
            until = until.min(at_after(socket.keepalive_at, config.keepalive_ms));
        }
        for pending in session.pending.values() {
            until = until.min(at_after(pending.sent_at, config.rest_timeout_ms));
        }
        for counted in session.terminations.iter().chain(&session.rate_limited) {
            until = until.min(later_than(*counted, window));
        }
        for forbidden_until in groups.blacklist.values() {
            until = until.min(forbidden_until.before(1));
        }
        let requests = &monitors.bunker.requests;
        let answered = requests.iter().rfind(|request| request.round_trip_ms.is_some())?;
        until =
            until.min(later_than(answered.at, P95_WINDOW_MS)).min(later_than(requests.front()?.at, TIMEOUT_WINDOW_MS));
        if let Some(window) = monitors.maintenance {
            let begins = window.starts_at.before(seconds(config.maintenance_lead_s));
            if self.now() < begins {
                until = until.min(begins.before(1));
            }
        }
        for instrument in core.instruments.iter().filter(|instrument| instrument.subscribed) {
            until = until.min(later_than(instrument.fetched_at, seconds(config.instrument_cache_ttl_s)));
        }
        Some(until)
    }
}
