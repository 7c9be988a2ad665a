//! The names that expressions may ask for: the keys of `/status` and facts about the run.
//!
//! **Invariant:** the tables fix each name's type, so that an expression is checked before anything runs; who evaluates
//! answers by the place in [`NAMES`].

use drillfold_kernel::{
    event::Event,
    registry::{F1CertState, ModeReason, OpenPermissionReason, OwnerReason, Profile, RiskState, TradingMode},
};

use super::expr::{Expr, ExprError, ExprErrorKind, Mention, Type};
use crate::text::nearest::suggestion;

/// The keys of `/status` with their types. Key 35, `owner_view`, is an object: its two texts have names of their own.
///
/// Source: contract 5.2, status document.
pub const STATUS_KEYS: [(&str, Type); 36] = [
    ("status_schema_version", Type::Number),
    ("contract_version", Type::Text),
    ("build_id", Type::Text),
    ("runtime_config_hash", Type::Text),
    ("supported_profiles", Type::List),
    ("enforced_profile", Type::Text),
    ("trading_mode", Type::Text),
    ("risk_state", Type::Text),
    ("bunker_mode_active", Type::Bool),
    ("connectivity_degraded", Type::Bool),
    ("mode_reasons", Type::List),
    ("open_permission_blocked_latch", Type::Bool),
    ("open_permission_reason_codes", Type::List),
    ("open_permission_requires_reconcile", Type::Bool),
    ("policy_age_sec", Type::Number),
    ("last_policy_update_ts", Type::Number),
    ("f1_cert_state", Type::Text),
    ("f1_cert_expires_at", Type::NumberOrNull),
    ("disk_used_pct", Type::Number),
    ("disk_used_last_update_ts_ms", Type::Number),
    ("disk_used_pct_secondary", Type::Number),
    ("disk_used_secondary_last_update_ts_ms", Type::Number),
    ("mm_util", Type::Number),
    ("mm_util_last_update_ts_ms", Type::Number),
    ("loop_tick_last_ts_ms", Type::Number),
    ("wal_queue_depth", Type::Number),
    ("wal_queue_capacity", Type::Number),
    ("wal_queue_enqueue_failures", Type::Number),
    ("atomic_naked_events_24h", Type::Number),
    ("429_count_5m", Type::Number),
    ("10028_count_5m", Type::Number),
    ("deribit_http_p95_ms", Type::Number),
    ("ws_event_lag_ms", Type::Number),
    ("open_permission_semantics_version", Type::Number),
    ("owner_view.primary_owner_reason_code", Type::Text),
    ("owner_view.owner_message", Type::Text),
];

/// Facts about the run that `/status` does not tell, with their types. Counts are since the run's first event and do not
/// start again at a boot.
pub const FACTS: [(&str, Type); 40] = [
    // Coins, absolute, net per underlying, summed.
    ("exposure", Type::Number),
    // Coins, absolute, summed over the groups that failed.
    ("group_exposure", Type::Number),
    ("open_orders", Type::Number),
    ("open_dispatched", Type::Number),
    ("reducing_dispatched", Type::Number),
    ("containment_dispatched", Type::Number),
    ("cancels_dispatched", Type::Number),
    ("open_refused", Type::Number),
    ("refused_by_mode", Type::Number),
    ("refused_by_latch", Type::Number),
    ("refused_by_record", Type::Number),
    ("refused_total", Type::Number),
    ("sends_total", Type::Number),
    ("duplicate_sends", Type::Number),
    ("trades_processed", Type::Number),
    ("duplicate_trades", Type::Number),
    ("own_trades_processed", Type::Number),
    ("duplicate_own_trades", Type::Number),
    ("runs_started", Type::Number),
    ("runs_succeeded", Type::Number),
    ("runs_failed", Type::Number),
    ("ticks", Type::Number),
    ("terminations", Type::Number),
    ("boots", Type::Number),
    // Null before the trigger.
    ("since_trigger_ms", Type::NumberOrNull),
    // Name of the event's kind: LoopTicked.
    ("event", Type::Text),
    // True for the event that shows a gap in a feed.
    ("gap_event", Type::Bool),
    // True for an event in which such an order, cancel or refusal went out.
    ("sent_open", Type::Bool),
    ("sent_reducing", Type::Bool),
    ("sent_containment", Type::Bool),
    ("sent_cancel", Type::Bool),
    ("refused_open", Type::Bool),
    // Time since the last completed loop tick.
    ("tick_age_ms", Type::NumberOrNull),
    // True while the process is down.
    ("down", Type::Bool),
    ("naked_events", Type::Number),
    ("close_attempts", Type::Number),
    ("hedges", Type::Number),
    ("rescues", Type::Number),
    ("ghosts_canceled", Type::Number),
    ("unsent_resent", Type::Number),
];

/// All names that an expression may ask for: [`STATUS_KEYS`], then [`FACTS`]. Places in it are what an evaluation asks by.
pub const NAMES: [(&str, Type); STATUS_KEYS.len() + FACTS.len()] = {
    let mut names = [("", Type::Null); STATUS_KEYS.len() + FACTS.len()];
    let mut place = 0;
    while place < STATUS_KEYS.len() {
        names[place] = STATUS_KEYS[place];
        place += 1;
    }
    while place < names.len() {
        names[place] = FACTS[place - STATUS_KEYS.len()];
        place += 1;
    }
    names
};

macro_rules! event_kinds {
    ($($pattern:pat => $name:literal,)*) => {
        /// The names that the fact `event` may have: the event's variant in the kernel.
        pub const EVENT_KINDS: &[&str] = &[$($name,)*];

        /// Returns what the fact `event` is for this event.
        #[must_use]
        pub const fn event_kind(event: &Event) -> &'static str {
            match event {
                $($pattern => $name,)*
            }
        }
    };
}

event_kinds! {
    Event::Booted(_) => "Booted",
    Event::Crashed => "Crashed",
    Event::LoopTicked => "LoopTicked",
    Event::HeartbeatSeen => "HeartbeatSeen",
    Event::MarginSampled(_) => "MarginSampled",
    Event::DiskSampled { .. } => "DiskSampled",
    Event::PolicyReceived { .. } => "PolicyReceived",
    Event::CertificateRead(_) => "CertificateRead",
    Event::FeeModelRead { .. } => "FeeModelRead",
    Event::ClockDriftSampled { .. } => "ClockDriftSampled",
    Event::OverrideSampled { .. } => "OverrideSampled",
    Event::MaintenanceAnnounced(_) => "MaintenanceAnnounced",
    Event::AnnouncementsUnavailable => "AnnouncementsUnavailable",
    Event::VolatilityIndexRead { .. } => "VolatilityIndexRead",
    Event::LimitsFetched { .. } => "LimitsFetched",
    Event::OutputQueueSampled { .. } => "OutputQueueSampled",
    Event::GroupLockSampled { .. } => "GroupLockSampled",
    Event::InstrumentRefreshed(_) => "InstrumentRefreshed",
    Event::InstrumentFetched { .. } => "InstrumentFetched",
    Event::LimiterSampled { .. } => "LimiterSampled",
    Event::BookSnapshot(_) => "BookSnapshot",
    Event::BookChanged(_) => "BookChanged",
    Event::TradesReceived { .. } => "TradesReceived",
    Event::TickerReceived(_) => "TickerReceived",
    Event::FrameHeard(_) => "FrameHeard",
    Event::FrameRejected { .. } => "FrameRejected",
    Event::SocketOpened(_) => "SocketOpened",
    Event::SocketClosed { .. } => "SocketClosed",
    Event::Authenticated => "Authenticated",
    Event::AuthenticationRefused { .. } => "AuthenticationRefused",
    Event::VenueErrored { .. } => "VenueErrored",
    Event::Subscribed => "Subscribed",
    Event::OrderUpdated(_) => "OrderUpdated",
    Event::OrderRejected { .. } => "OrderRejected",
    Event::CancelRefused { .. } => "CancelRefused",
    Event::OwnTraded(_) => "OwnTraded",
    Event::RestAnswered { .. } => "RestAnswered",
    Event::RestRefused { .. } => "RestRefused",
    Event::LedgerDrained { .. } => "LedgerDrained",
    Event::GroupProposed(_) => "GroupProposed",
    Event::CancelProposed { .. } => "CancelProposed",
    Event::ReplaceProposed { .. } => "ReplaceProposed",
    Event::OperatorCommanded(_) => "OperatorCommanded",
    Event::TokenReported { .. } => "TokenReported",
}

/// The texts that a name can be, where they are known; a list's elements likewise.
fn known_texts(name: &str) -> Option<Vec<&'static str>> {
    macro_rules! tokens {
        ($of:ident) => {
            Some($of::ALL.iter().map(|value| value.token()).collect())
        };
    }
    match name {
        "trading_mode" => tokens!(TradingMode),
        "risk_state" => tokens!(RiskState),
        "mode_reasons" => tokens!(ModeReason),
        "open_permission_reason_codes" => tokens!(OpenPermissionReason),
        "f1_cert_state" => tokens!(F1CertState),
        "supported_profiles" | "enforced_profile" => tokens!(Profile),
        "owner_view.primary_owner_reason_code" => tokens!(OwnerReason),
        "event" => Some(EVENT_KINDS.to_vec()),
        _ => None,
    }
}

/// Returns the texts that the mentioned name can be, where the mentioned text is none of them.
#[must_use]
pub fn impossible(mention: &Mention) -> Option<Vec<&'static str>> {
    known_texts(&mention.name).filter(|known| !known.contains(&mention.text.as_str()))
}

/// Parses a condition over [`NAMES`] whose texts are all possible.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse_condition(text: &str) -> Result<Expr, ExprError> {
    let expr = Expr::parse_condition(text, &NAMES)?;
    for mention in expr.mentions() {
        if let Some(known) = impossible(mention) {
            let suggestion = suggestion(&mention.text, known.iter().copied());
            let kind = ExprErrorKind::NeverSo { name: mention.name.clone(), text: mention.text.clone(), suggestion };
            return Err(ExprError { kind, span: mention.span.clone(), text: text.to_owned() });
        }
    }
    Ok(expr)
}

/// Returns a name's place in [`NAMES`].
#[must_use]
pub fn place(name: &str) -> Option<usize> {
    NAMES.iter().position(|(known, _)| *known == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use drillfold_kernel::registry::CSP_MINIMUM_KEYS;

    use super::*;

    #[test]
    fn every_status_key_has_a_name_in_order() {
        let keys: Vec<&str> = STATUS_KEYS.iter().map(|(name, _)| name.split('.').next().unwrap_or(name)).collect();
        for key in CSP_MINIMUM_KEYS {
            assert!(keys.contains(&key), "{key}");
        }
        for key in keys {
            assert!(CSP_MINIMUM_KEYS.contains(&key), "{key}");
        }
    }

    #[test]
    fn every_fact_is_documented() {
        let page = include_str!("../../specs/expressions.md");
        for (name, _) in FACTS {
            assert!(page.contains(&format!("`{name}`")), "specs/expressions.md lacks {name}");
        }
    }

    #[test]
    fn event_kinds_are_the_variants_names() {
        for event in [Event::Crashed, Event::LoopTicked, Event::Subscribed, Event::LimitsFetched { succeeded: true }] {
            let printed = format!("{event:?}");
            assert!(printed.starts_with(event_kind(&event)), "{printed}");
        }
        let unique: BTreeSet<&str> = EVENT_KINDS.iter().copied().collect();
        assert_eq!(unique.len(), EVENT_KINDS.len());
    }

    #[test]
    fn names_are_unique_and_expressions() {
        let unique: BTreeSet<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        assert_eq!(unique.len(), NAMES.len());
        for (at, (name, result)) in NAMES.iter().enumerate() {
            let expr = Expr::parse(name, &NAMES).unwrap();
            assert_eq!(expr.names().collect::<Vec<_>>(), [(at, *name)]);
            assert_eq!(expr.result(), *result);
            assert_eq!(place(name), Some(at));
        }
        assert_eq!(place("nothing"), None);
    }
}
