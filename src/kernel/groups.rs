//! Atomic groups: from legs to Complete or MixedFailed. Source: kernel contract section 7; AT-116, AT-220, AT-278.

use alloc::{collections::VecDeque, string::String, vec::Vec};

use crate::{
    config::seconds,
    effect::{CancelReason, CorrectiveAction, Effect, Note},
    event::{EdgeInputs, GroupFailure, GroupState, IntentClass, LedgerRecord, TlsmState},
    state::{Cause, Group, Kernel, Order},
    units::{IntentHash, TimeMs},
};

impl Group {
    /// Returns a group whose legs are not recorded yet.
    pub(crate) const fn new(strategy_id: String, structure_fingerprint: u64, edge: EdgeInputs, legs: u16) -> Self {
        Self {
            strategy_id,
            structure_fingerprint,
            edge,
            legs,
            intents: Vec::new(),
            state: GroupState::New,
            failure: None,
            exposed_at: None,
            exposure_max: 0,
            rounds: 0,
            round: None,
            next_round_at: TimeMs(0),
            rescues: 0,
            last_closes: 0,
            hedged: false,
            neutralised_coins: 0,
            ended_at: None,
        }
    }

    /// True while a failure is being dealt with.
    #[must_use]
    pub const fn is_contained(&self) -> bool {
        matches!(self.state, GroupState::MixedFailed | GroupState::Flattening)
    }
}

impl Kernel {
    /// Returns a group's orders.
    pub(crate) fn orders_of<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = &'a Order> + 'a {
        group.intents.iter().filter_map(|intent| self.orders.intents.get(intent))
    }

    /// Returns a group's signed exposure in nano-coins: the sum of its orders' fills, less what Kill containment took back.
    #[must_use]
    pub fn group_exposure(&self, group_id: &str) -> i64 {
        self.groups.all.get(group_id).map_or(0, |group| {
            let filled = self.orders_of(group).fold(0i64, |sum, order| sum.saturating_add(order.filled_coins));
            filled.saturating_add(group.neutralised_coins)
        })
    }

    /// True where a group is MixedFailed or Flattening and any of its orders has a fill.
    pub(crate) fn is_contained_with_fill(&self, group_id: &str) -> bool {
        self.groups
            .all
            .get(group_id)
            .is_some_and(|group| group.is_contained() && self.orders_of(group).any(|order| !order.filled.is_zero()))
    }

    /// Forgets naked events older than a day and flattens older than the churn window.
    pub(crate) fn forget_old_groups(&mut self) {
        const DAY_MS: i64 = 86_400_000;
        let now = self.now();
        let window = seconds(self.config().churn_window_s);
        self.ledger.naked_events.retain(|at| now.since(*at) < DAY_MS);
        self.groups.flattens.retain(|_, times| {
            times.retain(|at| now.since(*at) <= window);
            !times.is_empty()
        });
    }

    /// Brings blacklists and memory up to the present.
    pub(crate) fn advance_groups(&mut self) {
        let now = self.now();
        self.groups.blacklist.retain(|_, until| now < *until);
        if self.core.stamp.seq.0.is_multiple_of(FORGET_EVERY_EVENTS) {
            self.forget_old_orders();
        }
    }

    /// Moves every open group along after an event.
    pub(crate) fn advance_groups_after(&mut self, effects: &mut Vec<Effect>) {
        let open: Vec<String> = self.groups.open.iter().cloned().collect();
        for id in &open {
            self.advance_group(id, effects);
        }
        let contained = self.groups.open.iter().any(|id| self.is_contained_with_fill(id));
        if contained {
            self.groups.clean_since = None;
        } else {
            let now = self.now();
            self.groups.clean_since = self.groups.clean_since.or(Some(now));
        }
    }

    fn advance_group(&mut self, id: &str, effects: &mut Vec<Effect>) {
        let Some(group) = self.groups.all.get(id) else {
            self.groups.open.remove(id);
            return;
        };
        if matches!(group.state, GroupState::New | GroupState::Dispatched) {
            self.judge_legs(id, effects);
        }
        let Some(group) = self.groups.all.get(id) else {
            return;
        };
        if group.state == GroupState::MixedFailed {
            self.cancel_rest_of_group(id, effects);
            let filled =
                self.groups.all.get(id).is_some_and(|group| self.orders_of(group).any(|order| !order.filled.is_zero()));
            if filled {
                self.begin_containment(id, effects);
            } else if self.all_ended(id) {
                self.end_group(id, GroupState::Flattened, effects);
            }
        }
        self.note_exposure(id);
    }

    /// Looks at a group's legs for the first failure or for completion.
    fn judge_legs(&mut self, id: &str, effects: &mut Vec<Effect>) {
        let Some(group) = self.groups.all.get(id) else {
            return;
        };
        let legs: Vec<&Order> = self.orders_of(group).filter(|order| !order.record.class.is_containment()).collect();
        if legs.is_empty() {
            return;
        }
        let any_fill = legs.iter().any(|order| !order.filled.is_zero());
        let all_ended = legs.iter().all(|order| order.state.is_terminal());
        let complete = usize::from(group.legs) == legs.len();
        if group.legs == 1 {
            if all_ended {
                let end = if any_fill { GroupState::Complete } else { GroupState::Flattened };
                self.end_group(id, end, effects);
            }
            return;
        }
        let epsilon = self.config().atomic_qty_epsilon;
        let failure = legs.iter().find_map(|order| failure_of(order, epsilon));
        match failure {
            Some(failure) => self.fail_group(id, failure, effects),
            None if !complete => self.fail_group(id, GroupFailure::LegRefused, effects),
            None if all_ended => self.end_group(id, GroupState::Complete, effects),
            None => {}
        }
    }

    /// Seeds the first failure, which is never overwritten.
    pub(crate) fn fail_group(&mut self, id: &str, failure: GroupFailure, effects: &mut Vec<Effect>) {
        if let Some(group) = self.groups.all.get_mut(id)
            && group.failure.is_none()
        {
            group.failure = Some(failure);
            self.move_group(id, GroupState::MixedFailed, effects);
        }
    }

    /// Moves a group and records the step.
    pub(crate) fn move_group(&mut self, id: &str, state: GroupState, effects: &mut Vec<Effect>) {
        let at = self.now();
        let Some(group) = self.groups.all.get_mut(id) else {
            return;
        };
        if group.state == state {
            return;
        }
        group.state = state;
        let record = LedgerRecord::GroupTransition { group_id: id.into(), state, failure: group.failure, at };
        self.enqueue(record, effects);
    }

    fn begin_containment(&mut self, id: &str, effects: &mut Vec<Effect>) {
        let stamp = self.core.stamp;
        self.move_group(id, GroupState::Flattening, effects);
        let action = CorrectiveAction::EmergencyFlattenGroup;
        effects.push(Effect::Note(Note::Corrected { action, of: id.into() }));
        self.groups.clean_since = None;
        self.monitors.raise(Cause::GroupContainment, stamp);
        self.monitors.emergency = Some(stamp);
        self.count_flatten(id, effects);
    }

    /// Counts a flatten of the group's structure; more than `churn_trips` in the window blacklist it. Source: AT-221.
    fn count_flatten(&mut self, id: &str, effects: &mut Vec<Effect>) {
        let now = self.now();
        let Some(group) = self.groups.all.get(id) else {
            return;
        };
        let key = (group.strategy_id.clone(), group.structure_fingerprint);
        let window = seconds(self.config().churn_window_s);
        let until = now.after(seconds(self.config().churn_blacklist_s));
        let trips = usize::try_from(self.config().churn_trips).unwrap_or(usize::MAX);
        let times: &mut VecDeque<TimeMs> = self.groups.flattens.entry(key.clone()).or_default();
        times.retain(|at| now.since(*at) <= window);
        times.push_back(now);
        if times.len() > trips {
            effects.push(Effect::Note(Note::ChurnBreakerTrip(key.1)));
            self.groups.blacklist.insert(key, until);
        }
    }

    /// Asks to cancel what a failed group still has open; containment orders are left alone.
    fn cancel_rest_of_group(&mut self, id: &str, effects: &mut Vec<Effect>) {
        let Some(group) = self.groups.all.get(id) else {
            return;
        };
        let open: Vec<IntentHash> = self
            .orders_of(group)
            .filter(|order| !order.state.is_terminal() && order.sent.is_some() && !order.record.class.is_containment())
            .map(|order| order.record.intent)
            .collect();
        for intent in open {
            self.ask_cancel(intent, CancelReason::GroupFailed, effects);
        }
    }

    /// True where no order of the group can change any more.
    pub(crate) fn all_ended(&self, id: &str) -> bool {
        self.groups.all.get(id).is_some_and(|group| self.orders_of(group).all(|order| order.state.is_terminal()))
    }

    /// Ends a group.
    pub(crate) fn end_group(&mut self, id: &str, state: GroupState, effects: &mut Vec<Effect>) {
        let now = self.now();
        self.move_group(id, state, effects);
        if let Some(group) = self.groups.all.get_mut(id) {
            group.ended_at = Some(now);
            group.round = None;
        }
        self.groups.open.remove(id);
    }

    /// Keeps the largest exposure of a group and when a failed one was first exposed.
    fn note_exposure(&mut self, id: &str) {
        let exposure = self.group_exposure(id).saturating_abs();
        let now = self.now();
        if let Some(group) = self.groups.all.get_mut(id) {
            group.exposure_max = group.exposure_max.max(exposure);
            if exposure != 0 && group.failure.is_some() && group.exposed_at.is_none() {
                group.exposed_at = Some(now);
            }
        }
    }

    /// Takes a fill that came after its order had ended: an ended group is contained again.
    pub(crate) fn late_fill(&mut self, intent: IntentHash) {
        let Some(order) = self.orders.intents.get(&intent) else {
            return;
        };
        let id = order.record.group_id.clone();
        if let Some(group) = self.groups.all.get_mut(&id)
            && group.legs > 1
            && group.ended_at.is_some()
        {
            group.ended_at = None;
            group.state = GroupState::MixedFailed;
            group.failure = group.failure.or(Some(GroupFailure::LegPartial));
            self.groups.open.insert(id);
        }
    }
}

/// How often memory is trimmed, in events.
pub(crate) const FORGET_EVERY_EVENTS: u64 = 1024;

/// Returns why a leg failed, if it did.
fn failure_of(order: &Order, epsilon: i64) -> Option<GroupFailure> {
    let missing = order.record.qty.minus(order.filled).0;
    match order.state {
        TlsmState::Failed if order.acked_at.is_none() && order.order_id.is_none() => Some(GroupFailure::LegRejected),
        TlsmState::Failed => Some(GroupFailure::LegLost),
        TlsmState::Canceled if missing <= epsilon => None,
        TlsmState::Canceled if order.filled.is_zero() => Some(GroupFailure::LegCancelled),
        TlsmState::Canceled => Some(GroupFailure::LegPartial),
        TlsmState::Filled if missing > epsilon => Some(GroupFailure::LegPartial),
        TlsmState::Filled | TlsmState::Created | TlsmState::Sent | TlsmState::Acked | TlsmState::PartiallyFilled => {
            None
        }
    }
}

/// True for the classes a strategy proposes that only reduce.
pub(crate) const fn reduces(class: IntentClass) -> bool {
    !matches!(class, IntentClass::Open)
}
