//! The thresholds of the runtime configuration, as integers.
//!
//! Defaults live in `specs/config/defaults.toml` alone; the kernel has none. A boot event carries every value by its name,
//! so that a replay has no other source of them.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// How a configured number becomes an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Taken as it is; the unit ends the name.
    Whole,
    /// A ratio in parts per million.
    Ppm,
    /// In 1e-9.
    Nano,
}

/// A name the kernel does not have, or one that it needs and was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The value of this name is missing.
    Missing(&'static str),
    /// The pair at this place names nothing the kernel knows.
    Unknown(usize),
}

macro_rules! config {
    (required { $($name:ident $scale:ident,)* } optional { $($opt:ident $opt_scale:ident,)* }) => {
        /// Every threshold by the name it has in `specs/config/defaults.toml`; times in the unit that ends the name,
        /// ratios in parts per million, epsilons in 1e-9. An optional one has no default: `None` blocks what needs it.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "each field is documented by the default of its name")]
        pub struct Config {
            $(pub $name: i64,)*
            $(pub $opt: Option<i64>,)*
        }

        impl Config {
            /// Names and scales of all values that must be given.
            pub const REQUIRED: &'static [(&'static str, Scale)] = &[$((stringify!($name), Scale::$scale),)*];
            /// Names and scales of all values that have no default.
            pub const OPTIONAL: &'static [(&'static str, Scale)] = &[$((stringify!($opt), Scale::$opt_scale),)*];

            /// Returns all values that are given, in the order of the names.
            #[must_use]
            pub fn pairs(&self) -> Vec<(&'static str, i64)> {
                let mut pairs = alloc::vec![$((stringify!($name), self.$name),)*];
                $(if let Some(value) = self.$opt { pairs.push((stringify!($opt), value)); })*
                pairs
            }

            /// Builds a configuration from named values.
            ///
            /// # Errors
            /// A required name that is missing, or a name that is not known.
            pub fn from_pairs<'a>(pairs: impl Iterator<Item = (&'a str, i64)>) -> Result<Self, ConfigError> {
                let mut config = Self::default();
                let mut given = [false; Self::REQUIRED.len()];
                for (place, (name, value)) in pairs.enumerate() {
                    match name {
                        $(stringify!($name) => config.$name = value,)*
                        $(stringify!($opt) => config.$opt = Some(value),)*
                        _ => return Err(ConfigError::Unknown(place)),
                    }
                    for (seen, (known, _)) in given.iter_mut().zip(Self::REQUIRED) {
                        if *known == name {
                            *seen = true;
                        }
                    }
                }
                for (seen, (known, _)) in given.iter().zip(Self::REQUIRED) {
                    if !seen {
                        return Err(ConfigError::Missing(known));
                    }
                }
                Ok(config)
            }
        }
    };
}

config! {
    required {
        mm_util_max_age_ms Whole,
        disk_used_max_age_ms Whole,
        max_policy_age_sec Whole,
        f1_cert_freshness_window_s Whole,
        l2_book_snapshot_max_age_ms Whole,
        time_drift_threshold_ms Whole,
        fee_cache_soft_s Whole,
        fee_cache_hard_s Whole,
        mm_util_reject_opens Ppm,
        mm_util_reduceonly Ppm,
        mm_util_reduceonly_clear Ppm,
        mm_util_reduceonly_clear_s Whole,
        mm_util_kill Ppm,
        mm_util_kill_clear Ppm,
        mm_util_kill_clear_s Whole,
        disk_pause_archives_pct Ppm,
        disk_degraded_pct Ppm,
        disk_kill_pct Ppm,
        loop_tick_ms Whole,
        watchdog_reduceonly_s Whole,
        watchdog_kill_s Whole,
        emergency_reduceonly_cooldown_s Whole,
        rate_limit_kill_min_10028 Whole,
        count_window_s Whole,
        reconnect_backoff_initial_ms Whole,
        reconnect_backoff_max_ms Whole,
        rate_limit_recover_s Whole,
        limits_fetch_failures_trip_count Whole,
        limits_fetch_failure_window_s Whole,
        keepalive_ms Whole,
        http_p95_limit_ms Whole,
        http_p95_consecutive_windows Whole,
        bunker_jitter_threshold_ms Whole,
        request_timeout_rate_limit Ppm,
        bunker_exit_stable_s Whole,
        ws_stale_threshold_ms Whole,
        ws_zombie_activity_window_ms Whole,
        ws_stale_clear_lag_ms Whole,
        ws_stale_clear_s Whole,
        book_gap_quiet_s Whole,
        position_reconcile_epsilon Nano,
        reconcile_trade_lookback_sec Whole,
        reconcile_interval_s Whole,
        rest_timeout_ms Whole,
        sweeper_interval_s Whole,
        stale_order_sec Whole,
        wal_queue_capacity Whole,
        wal_recover_stable_s Whole,
        atomic_qty_epsilon Nano,
        rescue_attempts_max Whole,
        rescue_cross_spread_ticks Whole,
        close_attempts_max Whole,
        close_buffer_ticks Whole,
        containment_clean_s Whole,
        containment_retry_s Whole,
        containment_rounds_max Whole,
        group_lock_max_wait_ms Whole,
        churn_trips Whole,
        churn_window_s Whole,
        churn_blacklist_s Whole,
        cancel_open_batch_max Whole,
        cancel_open_budget_ms Whole,
        cortex_input_max_age_ms Whole,
        spread_max_bps Whole,
        spread_kill_bps Whole,
        depth_min_usd Whole,
        depth_kill_min_usd Whole,
        depth_levels Whole,
        cortex_kill_window_s Whole,
        dvol_jump_pct Ppm,
        dvol_jump_window_s Whole,
        dvol_cooldown_s Whole,
        spread_depth_cooldown_s Whole,
        basis_price_max_age_ms Whole,
        basis_reduceonly_bps Whole,
        basis_reduceonly_window_s Whole,
        basis_reduceonly_cooldown_s Whole,
        basis_kill_bps Whole,
        basis_kill_window_s Whole,
        poll_s Whole,
        maintenance_lead_s Whole,
        exchange_health_stale_s Whole,
        instrument_cache_ttl_s Whole,
        max_slippage_bps Whole,
        contracts_amount_match_tolerance Ppm,
        fee_stale_buffer Ppm,
        inventory_skew_k Ppm,
        inventory_skew_tick_penalty_max Whole,
        public_trade_feed_max_age_ms Whole,
        feedback_loop_window_s Whole,
        feedback_loop_cooldown_s Whole,
        self_trade_fraction_trip Ppm,
        self_trade_min_self_notional_usd Whole,
        self_trade_notional_trip_usd Whole,
    }
    optional {
        expiry_delist_buffer_s Whole,
        delta_limit Nano,
        portfolio_exposure_limit Nano,
        min_edge_usd Whole,
    }
}

/// Returns seconds as milliseconds.
#[must_use]
pub const fn seconds(s: i64) -> i64 {
    s.saturating_mul(1000)
}
