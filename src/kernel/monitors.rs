//! Host inputs, causes of the risk state, margin bands, bunker, watchdog, overrides and the latched Kill reasons.
//! Source: kernel contract section 2.

use alloc::{borrow::ToOwned, vec::Vec};

use crate::{
    config::seconds,
    effect::{Effect, Note},
    event::{Event, Override, Sample},
    planted::{self, Rule},
    registry::{CONTRACT_VERSION, F1CertState, ModeReason, OpenPermissionReason, RiskState, is_known_reason_token},
    resolver::ReasonSet,
    slot::{KillLatch, Slot},
    state::{Band, Bunker, Cause, Dated, EndedRequest, Kernel, Pair},
    units::{PPM, Ppm, Stamp, TimeMs},
};

impl Pair {
    /// Takes a sample, value and time at once; one that is missing or outside 0 to 1 leaves the last good pair.
    /// Source: AT-349, AT-350, AT-1054.
    pub(crate) fn take(&mut self, sample: Sample) {
        match (sample.value, sample.at) {
            (Some(value), Some(at)) if (0..=PPM).contains(&value.0) => {
                *self = Self { value: Some(value), at: Some(at), readable: true };
            }
            _ => self.readable = false,
        }
    }

    /// Returns the value where it is readable and not older than `age_max_ms`. Source: AT-001, AT-295, AT-296.
    pub(crate) fn fresh(&self, now: TimeMs, age_max_ms: i64) -> Option<Ppm> {
        let at = self.at.filter(|_| self.readable)?;
        self.value.filter(|_| now.since(at) <= age_max_ms)
    }
}

impl Dated {
    /// Takes a time; a missing one leaves the last good one.
    pub(crate) fn take(&mut self, at: Option<TimeMs>) {
        match at {
            Some(at) => *self = Self { at: Some(at), readable: true },
            None => self.readable = false,
        }
    }

    /// True where the last good time is known and older than `age_max_ms`. Source: AT-031, AT-315, AT-319.
    pub(crate) fn older_than(&self, now: TimeMs, age_max_ms: i64) -> bool {
        self.at.is_some_and(|at| now.since(at) > age_max_ms)
    }
}

impl Band {
    /// Follows a fresh sample: in at `enter`, out once below `clear` for `clear_ms`.
    fn follow(&mut self, value: Option<Ppm>, enter: i64, clear: i64, clear_ms: i64, now: TimeMs) {
        let Some(value) = value else {
            self.clear_since = None;
            return;
        };
        if value.0 >= enter {
            *self = Self { on: true, clear_since: None };
        } else if value.0 >= clear {
            self.clear_since = None;
        } else if self.on {
            let since = *self.clear_since.get_or_insert(now);
            if now.since(since) >= clear_ms {
                *self = Self { on: false, clear_since: None };
            }
        }
    }
}

impl Bunker {
    /// Returns the 95th percentile (nearest rank) of the round trips of the 30 s before `moment`; `None` without any.
    pub(crate) fn http_p95_ms(&self, moment: TimeMs) -> Option<i64> {
        let mut trips: Vec<i64> = self
            .requests
            .iter()
            .filter(|request| moment.since(request.at) <= P95_WINDOW_MS)
            .filter_map(|request| request.round_trip_ms)
            .collect();
        trips.sort_unstable();
        let rank = trips.len().saturating_mul(95).div_ceil(100);
        trips.get(rank.saturating_sub(1)).copied()
    }

    /// Evaluates the p95 at each whole second that has passed.
    fn evaluate(&mut self, now: TimeMs, limit_ms: i64) {
        let due = now.since(self.evaluated_at).checked_div(SECOND_MS).unwrap_or(0);
        // Evaluations of a long gap see empty windows; the last of them tell as much as all.
        let passed_over = due.saturating_sub(EVALUATIONS_AT_ONCE).max(0);
        self.evaluated_at = self.evaluated_at.after(passed_over.saturating_mul(SECOND_MS));
        for _ in passed_over..due {
            self.evaluated_at = self.evaluated_at.after(SECOND_MS);
            let within = self.http_p95_ms(self.evaluated_at).is_some_and(|p95| p95 <= limit_ms);
            self.breaches = if within { 0 } else { self.breaches.saturating_add(1) };
        }
    }

    /// Takes a request that ended.
    fn push(&mut self, request: EndedRequest) {
        self.counted = self.counted.saturating_add(u32::from(request.counts));
        self.timed_out = self.timed_out.saturating_add(u32::from(request.is_timeout()));
        self.requests.push_back(request);
    }

    /// Drops what has left every window.
    fn forget(&mut self, now: TimeMs) {
        let old = |request: &EndedRequest| now.since(request.at) > TIMEOUT_WINDOW_MS;
        while let Some(request) = self.requests.front().copied().filter(old) {
            self.requests.pop_front();
            self.counted = self.counted.saturating_sub(u32::from(request.counts));
            self.timed_out = self.timed_out.saturating_sub(u32::from(request.is_timeout()));
        }
    }

    /// True where a window holds no request.
    fn is_unknown(&self, now: TimeMs) -> bool {
        let answered = self.requests.iter().rfind(|request| request.round_trip_ms.is_some());
        self.counted == 0 || answered.is_none_or(|request| now.since(request.at) > P95_WINDOW_MS)
    }
}

impl EndedRequest {
    fn is_timeout(&self) -> bool {
        self.counts && self.round_trip_ms.is_none()
    }
}

/// Window of the round trips' percentile.
pub(crate) const P95_WINDOW_MS: i64 = 30_000;
/// Window of the request time-out rate.
pub(crate) const TIMEOUT_WINDOW_MS: i64 = 60_000;
/// Between two evaluations of the percentile.
pub(crate) const SECOND_MS: i64 = 1000;
/// More evaluations than this in one event would see nothing but empty windows.
const EVALUATIONS_AT_ONCE: i64 = 64;

impl Kernel {
    /// Takes a host sample.
    pub(crate) fn take_sample(&mut self, event: &Event) {
        let now = self.now();
        let stamp = self.core.stamp;
        let monitors = &mut self.monitors;
        match event {
            Event::LoopTicked => monitors.loop_tick.take(Some(now)),
            Event::HeartbeatSeen => monitors.heartbeat.take(Some(now)),
            Event::MarginSampled(sample) => self.margin_sampled(*sample),
            Event::DiskSampled { primary, secondary } => {
                monitors.disk_primary.take(*primary);
                monitors.disk_secondary.take(*secondary);
            }
            Event::PolicyReceived { generated_at } => monitors.policy.take(*generated_at),
            Event::CertificateRead(certificate) => monitors.certificate.clone_from(certificate),
            Event::FeeModelRead { cached_at } => monitors.fee_model.take(*cached_at),
            Event::ClockDriftSampled { drift_ms } => monitors.drift_ms = *drift_ms,
            Event::OverrideSampled { producer, signal } => {
                if let Some(slot) = monitors.producers.reported.get_mut(producer.index()) {
                    *slot = *signal;
                }
            }
            Event::MaintenanceAnnounced(window) => {
                // What ended before it left the announcements was not withdrawn.
                let ended = monitors.maintenance.map(|old| old.ends_at).filter(|end| now > *end);
                monitors.maintenance_ended = monitors.maintenance_ended.max(ended);
                monitors.maintenance = *window;
                self.announcements_read();
            }
            // What counts is how long ago the last valid answer came.
            Event::AnnouncementsUnavailable => {}
            Event::VolatilityIndexRead { value } => self.volatility_read(*value),
            Event::LimitsFetched { succeeded } => {
                if *succeeded {
                    monitors.limits_failures.clear();
                    monitors.settle(Cause::LimitsFetch);
                } else {
                    monitors.limits_failures.push(now);
                    self.limits_failed(stamp);
                }
            }
            Event::OutputQueueSampled { queue, depth, capacity } => {
                let place = match queue {
                    crate::event::OutputQueue::Telemetry => 0,
                    crate::event::OutputQueue::StatusWriter => 1,
                    crate::event::OutputQueue::OrderEvents => 2usize,
                };
                if let Some(full) = monitors.queues_full.get_mut(place) {
                    *full = depth >= capacity;
                }
            }
            Event::GroupLockSampled { held } => monitors.lock_held = *held,
            Event::LimiterSampled { credits } => monitors.credits = Some(*credits),
            _ => {}
        }
    }

    /// Takes a margin sample. A finite value above 1 is unparseable for the status and Kill all the same (decision 33).
    pub(crate) fn margin_sampled(&mut self, sample: Sample) {
        self.monitors.margin.take(sample);
        if sample.at.is_some() && sample.value.is_some_and(|value| value.0 > PPM) {
            self.monitors.margin_kill = Band { on: true, clear_since: None };
            self.monitors.margin_reduce = Band { on: true, clear_since: None };
        }
        self.follow_bands();
    }

    /// Degrades with the last of `limits_fetch_failures_trip_count` failures in the window. Source: AT-106, AT-133.
    fn limits_failed(&mut self, stamp: Stamp) {
        let window = seconds(self.config().limits_fetch_failure_window_s);
        let trips = usize::try_from(self.config().limits_fetch_failures_trip_count).unwrap_or(usize::MAX);
        let failures = &mut self.monitors.limits_failures;
        failures.retain(|at| stamp.at.since(*at) <= window);
        if failures.len() >= trips {
            self.monitors.raise(Cause::LimitsFetch, stamp);
        }
    }

    /// Brings bands, producers, watchdog and bunker up to the present. Source: AT-132, AT-297.
    pub(crate) fn advance_monitors(&mut self) {
        let now = self.now();
        self.follow_bands();
        self.follow_producers();
        let silence_ms = seconds(self.config().watchdog_reduceonly_s);
        let silent =
            self.monitors.heartbeat.older_than(now, silence_ms) || self.monitors.loop_tick.older_than(now, silence_ms);
        if silent {
            self.monitors.emergency = Some(self.core.stamp);
        }
        self.advance_bunker();
    }

    /// Moves both bands of mm_util along: in at a threshold, out below the lower one for its hold. Source: AT-207, AT-208,
    /// AT-228, AT-301, AT-302.
    pub(crate) fn follow_bands(&mut self) {
        let now = self.now();
        let config = self.config();
        let (age, enter, clear, hold) = (
            config.mm_util_max_age_ms,
            config.mm_util_reduceonly,
            config.mm_util_reduceonly_clear,
            seconds(config.mm_util_reduceonly_clear_s),
        );
        let (kill_enter, kill_clear, kill_hold) =
            (config.mm_util_kill, config.mm_util_kill_clear, seconds(config.mm_util_kill_clear_s));
        let value = self.monitors.margin.fresh(now, age);
        self.monitors.margin_reduce.follow(value, enter, clear, hold, now);
        self.monitors.margin_kill.follow(value, kill_enter, kill_clear, kill_hold, now);
    }

    /// Evaluates the network: p95 once a second, transport lag and time-outs always. Any of them past its limit or unknown
    /// enters bunker mode; unbroken calm of `bunker_exit_stable_s` leaves it. Source: AT-115, AT-205, AT-209, AT-267,
    /// AT-268, AT-298, AT-345.
    pub(crate) fn advance_bunker(&mut self) {
        let now = self.now();
        let lag = self.transport_lag_ms();
        let config = &self.core.config;
        let bunker = &mut self.monitors.bunker;
        bunker.evaluate(now, config.http_p95_limit_ms);
        bunker.forget(now);
        let timeouts_high = i64::from(bunker.timed_out).saturating_mul(PPM)
            > i64::from(bunker.counted).saturating_mul(config.request_timeout_rate_limit);
        let lag_high = lag.is_none_or(|lag| lag > config.bunker_jitter_threshold_ms);
        let enters = i64::from(bunker.breaches) >= config.http_p95_consecutive_windows
            || lag_high
            || timeouts_high
            || bunker.is_unknown(now);
        let calm = !enters && bunker.breaches == 0;
        if enters {
            bunker.on = true;
        }
        if !calm {
            bunker.calm_since = None;
        } else if bunker.on {
            let since = *bunker.calm_since.get_or_insert(now);
            if now.since(since) >= seconds(config.bunker_exit_stable_s) {
                bunker.on = false;
                bunker.calm_since = None;
            }
        }
    }

    /// Notes that a REST request ended; without a round trip it timed out. An answer that came later than that does not
    /// count as another request.
    /// A negative round trip is no number of its domain and enters nothing.
    pub(crate) fn rest_ended(&mut self, round_trip_ms: Option<i64>, counts: bool) {
        if round_trip_ms.is_some_and(|trip| trip < 0) {
            return;
        }
        let at = self.now();
        self.monitors.bunker.push(EndedRequest { at, round_trip_ms, counts });
    }

    /// Brings every cause of the risk state in line with its condition; maintenance begins `maintenance_lead_s` before its
    /// window. Source: kernel contract section 2; AT-042, AT-108, AT-232, AT-245, AT-273, AT-314, AT-924, AT-925; AT-104, AT-279
    /// for the age of metadata.
    pub(crate) fn update_causes(&mut self) {
        let now = self.now();
        let stamp = self.core.stamp;
        let config = &self.core.config;
        let monitors = &mut self.monitors;

        let last_run = self.session.reconcile.last_success.map(|(started, _)| started.at);
        monitors.maintenance_ended = monitors.maintenance_ended.filter(|end| last_run.is_none_or(|run| run <= *end));
        let announced = monitors.maintenance.is_some_and(|window| {
            now >= window.starts_at.before(seconds(config.maintenance_lead_s))
                && last_run.is_none_or(|run| run <= window.ends_at)
        });
        monitors.set_cause(Cause::Maintenance, announced || monitors.maintenance_ended.is_some(), stamp);
        let clean =
            self.groups.clean_since.is_some_and(|since| now.since(since) >= seconds(config.containment_clean_s));
        if clean {
            monitors.settle(Cause::GroupContainment);
        }
        let stable = seconds(config.wal_recover_stable_s);
        let drained = i64::from(self.ledger.depth) < config.wal_queue_capacity
            && self.ledger.last_failure_at.max(self.ledger.last_full_at).is_none_or(|at| now.since(at) >= stable);
        if drained {
            monitors.settle(Cause::LedgerBackPressure);
        }
        if self.latch.trigger(OpenPermissionReason::SessionTerminationReconcileRequired).is_none() {
            monitors.settle(Cause::SessionEnded);
        }
        let calm =
            self.session.rate_limited.last().is_none_or(|at| now.since(*at) >= seconds(config.rate_limit_recover_s));
        if calm {
            monitors.settle(Cause::RateLimited);
        }
        match monitors.disk_primary.value {
            Some(used) if used.0 >= config.disk_degraded_pct => monitors.raise(Cause::DiskHigh, stamp),
            Some(used) if used.0 < config.disk_pause_archives_pct => monitors.settle(Cause::DiskHigh),
            Some(_) | None => {}
        }
        let drifts = monitors.drift_ms.is_none_or(|drift| drift > config.time_drift_threshold_ms);
        monitors.set_cause(Cause::ClockDrift, drifts, stamp);
        let ttl = seconds(config.instrument_cache_ttl_s);
        let stale = self.core.instruments.iter().any(|of| of.subscribed && now.since(of.fetched_at) > ttl);
        monitors.set_cause(Cause::MetadataStale, stale, stamp);
        let fee_stale =
            !monitors.fee_model.readable || monitors.fee_model.older_than(now, seconds(config.fee_cache_hard_s));
        monitors.set_cause(Cause::FeeModel, fee_stale, stamp);
        let queue_full = monitors.queues_full.iter().any(|full| *full);
        monitors.set_cause(Cause::OutputQueue, queue_full, stamp);
        let lock_held = monitors.lock_held;
        monitors.set_cause(Cause::GroupLock, lock_held, stamp);
    }

    /// Returns the risk state that the active causes give.
    #[must_use]
    pub fn risk_state(&self) -> RiskState {
        self.active_causes()
            .map(|(cause, _)| cause.risk_state())
            .max_by_key(|state| severity(*state))
            .unwrap_or(RiskState::Healthy)
    }

    /// Returns the certificate's state. No grace, no last-known-good; nothing but build, configuration and contract version
    /// is bound. Source: AT-012, AT-020, AT-021, AT-294, AT-410, AT-412, AT-423.
    #[must_use]
    pub fn certificate_state(&self) -> F1CertState {
        let Some(certificate) = &self.monitors.certificate else {
            return F1CertState::Missing;
        };
        let bound = certificate.build_id == self.core.build_id
            && certificate.runtime_config_hash == self.core.runtime_config_hash
            && certificate.contract_version == CONTRACT_VERSION;
        if !bound {
            F1CertState::Invalid
        } else if !certificate.passed {
            F1CertState::Fail
        } else if self.now().since(certificate.generated_at) > seconds(self.config().f1_cert_freshness_window_s) {
            F1CertState::Stale
        } else {
            F1CertState::Pass
        }
    }

    /// Returns the most severe signal of all: what the producers ask for and what those outside the kernel reported last.
    /// Severity decides, never the order. Source: AT-418.
    #[must_use]
    pub fn effective_override(&self) -> Override {
        let producers = &self.monitors.producers;
        producers.signals.iter().chain(&producers.reported).copied().max().unwrap_or(Override::ForceReduceOnly)
    }

    /// Returns how many terminations were counted within the window.
    #[must_use]
    pub fn terminations_in_window(&self) -> i64 {
        self.count_in_window(&self.session.terminations)
    }

    /// Returns how many HTTP 429 came within the window.
    #[must_use]
    pub fn rate_limited_in_window(&self) -> i64 {
        self.count_in_window(&self.session.rate_limited)
    }

    fn count_in_window(&self, times: &[TimeMs]) -> i64 {
        let now = self.now();
        let window = seconds(self.config().count_window_s);
        i64::try_from(times.iter().filter(|at| now.since(**at) <= window).count()).unwrap_or(i64::MAX)
    }

    /// Returns every mode reason whose predicate holds now, latched Kill reasons not counted. What a certificate, an
    /// evidence chain, a replay or a style of execution beyond these says is no input. Source: AT-033, AT-112, AT-336,
    /// AT-337, AT-348, AT-413, AT-416, AT-918, AT-991, AT-1055, AT-1066, AT-1067, AT-1068, AT-1069, AT-1070.
    pub(crate) fn predicates(&self) -> ReasonSet {
        let now = self.now();
        let config = self.config();
        let monitors = &self.monitors;

        let kill_ms = seconds(config.watchdog_kill_s);
        let heartbeat_stale = monitors.heartbeat.older_than(now, kill_ms);
        let tick_stale = monitors.loop_tick.older_than(now, kill_ms);

        let risk = self.risk_state();
        let signal = self.effective_override();

        let session_killed = self.session.killed == Some(true);
        let confirmed = self.session.count_readable
            && if planted::broken(Rule::SessionKillBoundary) {
                self.terminations_in_window() > config.rate_limit_kill_min_10028
            } else {
                self.terminations_in_window() >= config.rate_limit_kill_min_10028
            };

        let disk_max = config.disk_used_max_age_ms;
        let disk_full = |pair: &Pair| pair.fresh(now, disk_max).is_some_and(|used| used.0 >= config.disk_kill_pct);
        let disk_kill = disk_full(&monitors.disk_primary) && disk_full(&monitors.disk_secondary);
        let primary_full = monitors.disk_primary.value.is_some_and(|used| used.0 >= config.disk_kill_pct);

        let policy_stale =
            !monitors.policy.readable || monitors.policy.older_than(now, seconds(config.max_policy_age_sec));
        let fee_stale =
            !monitors.fee_model.readable || monitors.fee_model.older_than(now, seconds(config.fee_cache_hard_s));

        let input_missing = monitors.margin.fresh(now, config.mm_util_max_age_ms).is_none()
            || monitors.disk_primary.fresh(now, disk_max).is_none()
            || monitors.disk_secondary.fresh(now, disk_max).is_none()
            || !monitors.heartbeat.readable
            || !monitors.loop_tick.readable
            || self.session.killed.is_none()
            || !self.session.count_readable
            || !monitors.policy.readable
            || !monitors.fee_model.readable;

        ReasonSet::EMPTY
            .with(ModeReason::KillWatchdogHeartbeatStale, heartbeat_stale && tick_stale)
            .with(ModeReason::KillRiskstateKill, risk == RiskState::Kill)
            .with(ModeReason::KillMarginMmUtilCritical, monitors.margin_kill.on)
            .with(ModeReason::KillRateLimitSessionTermination, session_killed && confirmed)
            .with(ModeReason::KillDiskWatermarkKill, disk_kill)
            .with(ModeReason::KillCortexForceKill, signal == Override::ForceKill)
            .with(ModeReason::ReduceonlyRiskstateMaintenance, risk == RiskState::Maintenance)
            .with(ModeReason::ReduceonlyEmergencyReduceonlyActive, monitors.emergency.is_some())
            .with(ModeReason::ReduceonlyOpenPermissionLatched, self.latch.is_set())
            .with(ModeReason::ReduceonlyBunkerModeActive, monitors.bunker.on)
            .with(ModeReason::ReduceonlyF1CertInvalid, self.certificate_state() != F1CertState::Pass)
            // The evidence chain is no input under the CSP profile, which is the only one this kernel enforces.
            .with(ModeReason::ReduceonlyEvidenceChainNotGreen, false)
            .with(ModeReason::ReduceonlyCortexForceReduceOnly, signal == Override::ForceReduceOnly)
            .with(ModeReason::ReduceonlyFeeModelHardStale, fee_stale)
            .with(ModeReason::ReduceonlyRiskstateDegraded, risk == RiskState::Degraded)
            .with(ModeReason::ReduceonlyPolicyStale, policy_stale)
            .with(ModeReason::ReduceonlyMarginMmUtilHigh, monitors.margin_reduce.on)
            .with(ModeReason::ReduceonlyInputMissingOrStale, input_missing)
            .with(ModeReason::ReduceonlyWatchdogUnconfirmed, heartbeat_stale != tick_stale)
            .with(ModeReason::ReduceonlyDiskKillUnconfirmed, primary_full && !disk_kill)
            .with(ModeReason::ReduceonlySessionKillUnconfirmed, session_killed && !confirmed)
    }

    /// Looks a token up in the registry; an unknown one is a violation that kills. True where it is known.
    pub(crate) fn guard_token(&mut self, token: &str, effects: &mut Vec<Effect>) -> bool {
        if is_known_reason_token(token) {
            return true;
        }
        effects.push(Effect::Note(Note::UnknownToken(token.to_owned())));
        self.latch_kill(ModeReason::KillCortexForceKill, true);
        false
    }

    /// Latches every Kill reason whose predicate holds and that the registry says stays.
    pub(crate) fn latch_kills(&mut self, predicates: ReasonSet) {
        for reason in ModeReason::ALL {
            if reason.tier() == crate::registry::Tier::Kill && reason.latched() && predicates.has(reason) {
                self.latch_kill(reason, false);
            }
        }
    }

    fn latch_kill(&mut self, reason: ModeReason, by_registry_guard: bool) {
        let latches = &mut self.monitors.kill_latches;
        let key = (reason, by_registry_guard);
        let Err(place) = latches.binary_search_by_key(&key, |latch| (latch.reason, latch.by_registry_guard)) else {
            return;
        };
        let latch = KillLatch {
            reason,
            by_registry_guard,
            raised_at: self.core.stamp.at,
            build_id: self.core.build_id.clone(),
            runtime_config_hash: self.core.runtime_config_hash.clone(),
            incident_reset: false,
            rebooted: false,
            reauthenticated: false,
            reconciled: false,
        };
        latches.insert(place, latch);
    }

    /// Drops every latched Kill reason that all its conditions have released and whose predicate is false.
    pub(crate) fn release_kills(&mut self, predicates: ReasonSet) {
        let now = self.now();
        let config = self.config();
        let kill_ms = seconds(config.watchdog_kill_s);
        let beats = |dated: &Dated| dated.readable && !dated.older_than(now, kill_ms);
        let alive = beats(&self.monitors.heartbeat) && beats(&self.monitors.loop_tick);
        let roomy = |pair: &Pair| {
            pair.fresh(now, config.disk_used_max_age_ms).is_some_and(|used| used.0 < config.disk_kill_pct)
        };
        let disks = roomy(&self.monitors.disk_primary) && roomy(&self.monitors.disk_secondary);
        self.monitors.kill_latches.retain(|latch| {
            let released = match latch.reason {
                ModeReason::KillWatchdogHeartbeatStale => latch.incident_reset && latch.rebooted && alive,
                ModeReason::KillRiskstateKill => latch.incident_reset,
                ModeReason::KillRateLimitSessionTermination => {
                    latch.reauthenticated && latch.reconciled && latch.incident_reset
                }
                ModeReason::KillDiskWatermarkKill => latch.rebooted && disks,
                // By the registry guard: only a boot of another build or configuration, which drops it there.
                ModeReason::KillCortexForceKill => !latch.by_registry_guard && latch.incident_reset,
                _ => true,
            };
            !released || predicates.has(latch.reason)
        });
    }

    /// Adds the latched Kill reasons to what the predicates say.
    pub(crate) fn with_latched_kills(&self, predicates: ReasonSet) -> ReasonSet {
        self.monitors.kill_latches.iter().fold(predicates, |set, latch| set.with(latch.reason, true))
    }

    /// Takes an operator's closing of an incident.
    pub(crate) fn incident_reset(&mut self, reason: ModeReason) {
        if reason == ModeReason::KillRiskstateKill {
            self.monitors.settle(Cause::OperatorKill);
            self.monitors.settle(Cause::LedgerDamaged);
        }
        if reason == ModeReason::KillCortexForceKill && self.effective_override() == Override::ForceKill {
            // A reset counts only while no producer asks for Kill.
            return;
        }
        for latch in self.monitors.kill_latches.iter_mut().filter(|latch| latch.reason == reason) {
            latch.incident_reset = true;
        }
    }

    /// Returns what a restart must not soften.
    pub(crate) fn slot(&self) -> Slot {
        Slot {
            kill_latches: self.monitors.kill_latches.clone(),
            margin_reduce_band: self.monitors.margin_reduce.on,
            margin_kill_band: self.monitors.margin_kill.on,
            emergency_triggered_at: self.monitors.emergency.map(|stamp| stamp.at),
            session_killed: self.session.killed == Some(true),
            terminations: self.session.terminations.clone(),
            rate_limited: self.session.rate_limited.clone(),
            override_cooldowns: self.running_cooldowns(),
            bunker: self.monitors.bunker.on,
        }
    }

    /// Takes the sticky slot over from the last process; its times go on ageing, held-for times start again.
    pub(crate) fn load_slot(&mut self, slot: &Slot) {
        let (build_id, hash) = (self.core.build_id.clone(), self.core.runtime_config_hash.clone());
        self.monitors.kill_latches = kept_latches(slot, &build_id, &hash);
        self.monitors.margin_reduce.on = slot.margin_reduce_band;
        self.monitors.margin_kill.on = slot.margin_kill_band;
        // Any event of this boot is later than the trigger; only its time counts for the cooldown.
        self.monitors.emergency = slot.emergency_triggered_at.map(|at| Stamp { seq: self.core.stamp.seq, at });
        self.monitors.bunker.on = slot.bunker;
        self.load_cooldowns(slot);
        self.session.terminations.clone_from(&slot.terminations);
        self.session.rate_limited.clone_from(&slot.rate_limited);
        if self.session.killed == Some(false) && slot.session_killed {
            self.session.killed = Some(true);
        }
    }
}

fn kept_latches(slot: &Slot, build_id: &str, runtime_config_hash: &str) -> Vec<KillLatch> {
    let mut kept: Vec<KillLatch> = slot
        .kill_latches
        .iter()
        .filter(|latch| {
            let rebuilt = latch.build_id != build_id || latch.runtime_config_hash != runtime_config_hash;
            !(latch.by_registry_guard && (rebuilt || planted::broken(Rule::StickyGuard)))
        })
        .cloned()
        .collect();
    for latch in &mut kept {
        latch.rebooted = true;
    }
    kept.sort_by_key(|latch| (latch.reason, latch.by_registry_guard));
    kept
}

const fn severity(state: RiskState) -> u8 {
    match state {
        RiskState::Healthy => 0,
        RiskState::Degraded => 1,
        RiskState::Maintenance => 2,
        RiskState::Kill => 3,
    }
}
