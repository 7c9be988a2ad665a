//! The coverage ledger: what of the contract's lists a set of runs exercised, and in which trading mode.
//!
//! It is gathered beside a run from events, effects and the kernel's projections, and printed as one page
//! (`specs/coverage.md`) in which what no run reached is named as such. The lists are those of the kernel's types and of the
//! registry, so that a token which is added stands on the page before any run shows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use drillfold_kernel::{
    Kernel,
    effect::Effect,
    event::{Event, GroupState, LedgerRecord, TlsmState},
    registry::{ModeReason, OpenPermissionReason, RejectReason, TradingMode},
    resolver::ReasonSet,
    state::Cause,
    units::{IntentHash, TimeMs},
};

use super::{
    facts::{EVENT_KINDS, event_kind},
    run::Outcome,
};
use crate::{replay::Folder, scenario::model::ACTION_KINDS};

/// A list of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum List {
    Reasons,
    Codes,
    Causes,
    Left,
    Modes,
    Lifecycle,
    Groups,
    Steps,
    Refusals,
    Events,
}

impl List {
    const ALL: [Self; 10] = [
        Self::Reasons,
        Self::Codes,
        Self::Causes,
        Self::Left,
        Self::Modes,
        Self::Lifecycle,
        Self::Groups,
        Self::Steps,
        Self::Refusals,
        Self::Events,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Reasons => "Mode reasons",
            Self::Codes => "Latch codes",
            Self::Causes => "Causes of the risk state",
            Self::Left => "What left, by which event",
            Self::Modes => "Changes of the mode",
            Self::Lifecycle => "Lifecycle of intents",
            Self::Groups => "Groups",
            Self::Steps => "Steps that took effect",
            Self::Refusals => "Refusals",
            Self::Events => "Events",
        }
    }

    const fn says(self) -> &'static str {
        match self {
            Self::Reasons => {
                "Active after an event; under Kill a reduce-only reason is active without being published."
            }
            Self::Codes | Self::Causes => "Set after an event.",
            Self::Left => {
                "A reason, code or cause that was there before the event and not after it. A restart drops what it does not \
                 read back; that counts as `Booted`."
            }
            Self::Modes => "From one event to the next; `down` is no process.",
            Self::Lifecycle => "Steps as the ledger records them.",
            Self::Groups => "Steps as the ledger records them, and that the legs of a group were sent.",
            Self::Steps => "Mode just before the step.",
            Self::Refusals => "Mode after the event in which the intent was refused.",
            Self::Events => "Mode after the event; before it, where the process died.",
        }
    }

    /// Returns everything that the list could have, in its own order.
    fn all(self) -> Vec<String> {
        let reasons = || ModeReason::ALL.iter().map(|reason| reason.token().to_owned());
        let codes = || OpenPermissionReason::ALL.iter().map(|code| code.token().to_owned());
        let causes = || Cause::ALL.iter().map(|cause| format!("{cause:?}"));
        match self {
            Self::Reasons => reasons().collect(),
            Self::Codes => codes().collect(),
            Self::Causes => causes().collect(),
            Self::Left => reasons().chain(codes()).chain(causes()).collect(),
            Self::Modes => mode_changes(),
            Self::Lifecycle => {
                use TlsmState::{Acked, Canceled, Created, Failed, Filled, PartiallyFilled, Sent};
                let order = [Created, Sent, Acked, PartiallyFilled, Filled, Canceled, Failed];
                onward(&order, |state| !state.is_terminal())
            }
            Self::Groups => {
                use GroupState::{Complete, Dispatched, Flattened, Flattening, MixedFailed, New};
                let order = [New, Dispatched, Complete, MixedFailed, Flattening, Flattened];
                onward(&order, |state| !matches!(state, Complete | Flattened))
            }
            Self::Steps => ACTION_KINDS.iter().map(|kind| (*kind).to_owned()).collect(),
            Self::Refusals => RejectReason::ALL.iter().map(|code| code.token().to_owned()).collect(),
            Self::Events => EVENT_KINDS.iter().map(|kind| (*kind).to_owned()).collect(),
        }
    }
}

const DOWN: &str = "down";

fn step_name(from: &str, to: &str) -> String {
    format!("{from} to {to}")
}

fn mode_changes() -> Vec<String> {
    let modes = || std::iter::once(DOWN).chain(TradingMode::ALL.iter().map(|mode| mode.token()));
    let pairs = modes().flat_map(|from| modes().map(move |to| (from, to)));
    pairs.filter(|(from, to)| from != to).map(|(from, to)| step_name(from, to)).collect()
}

/// Returns every step from a state that may be left to a later one.
fn onward<T: Copy + std::fmt::Debug>(order: &[T], may_be_left: impl Fn(&T) -> bool) -> Vec<String> {
    let from = order.iter().enumerate().filter(|(_, state)| may_be_left(state));
    from.flat_map(|(place, from)| {
        order.iter().skip(place.saturating_add(1)).map(move |to| step_name(&format!("{from:?}"), &format!("{to:?}")))
    })
    .collect()
}

/// What one run exercised.
#[derive(Clone, Debug, Default)]
pub struct Exercised {
    seen: BTreeMap<(List, String), BTreeSet<usize>>,
    reasons: ReasonSet,
    codes: BTreeSet<OpenPermissionReason>,
    causes: BTreeSet<Cause>,
    mode: Option<TradingMode>,
    /// When the mode changed, and to what; `None` is down.
    modes: Vec<(TimeMs, Option<TradingMode>)>,
    intents: BTreeMap<IntentHash, TlsmState>,
    groups: BTreeMap<String, GroupState>,
}

impl Exercised {
    /// Looks at one event after it was folded.
    pub fn look(&mut self, event: &Event, folder: &Folder) {
        let kernel = folder.kernel();
        let mode = kernel.core.up.then_some(kernel.core.resolution.mode);
        let kind = event_kind(event);
        self.see(List::Events, kind.to_owned(), mode.or(self.mode));
        if let Event::Booted(boot) = event {
            self.intents.clear();
            self.groups.clear();
            for record in &boot.ledger {
                self.follow(record, None);
            }
        }
        for effect in folder.effects() {
            match effect {
                Effect::Enqueue(record) => self.follow(record, mode),
                Effect::Refuse(refusal) => self.see(List::Refusals, refusal.code.token().to_owned(), mode),
                _ => {}
            }
        }
        if mode != self.mode {
            let name = |mode: Option<TradingMode>| mode.map_or(DOWN, TradingMode::token);
            self.see(List::Modes, step_name(name(self.mode), name(mode)), mode.or(self.mode));
            self.mode = mode;
            self.modes.push((folder.at(), mode));
        }
        // What a process knew leaves with it only where the next one does not read it back.
        if mode.is_some() {
            self.compare(kernel, kind, mode);
        }
    }

    /// Takes what only the whole run tells: which steps took effect.
    pub fn end(&mut self, outcome: &Outcome) {
        for (step, effects) in outcome.scenario.steps.iter().zip(&outcome.step_effects) {
            if *effects == 0 {
                continue;
            }
            let at = outcome.scenario.start.after(step.at_ms);
            let before = self.modes.iter().rev().find(|(changed, _)| *changed < at);
            let mode = before.and_then(|(_, mode)| *mode);
            self.see(List::Steps, step.action.kind().to_owned(), mode);
        }
    }

    fn compare(&mut self, kernel: &Kernel, kind: &str, mode: Option<TradingMode>) {
        let active = kernel.core.resolution.active;
        let codes: BTreeSet<OpenPermissionReason> = kernel.latch.codes().collect();
        let causes: BTreeSet<Cause> = kernel.active_causes().map(|(cause, _)| cause).collect();
        let gone = self.reasons.iter().filter(|reason| !active.has(*reason)).map(|reason| reason.token().to_owned());
        let gone = gone.chain(self.codes.difference(&codes).map(|code| code.token().to_owned()));
        let gone = gone.chain(self.causes.difference(&causes).map(|cause| format!("{cause:?}")));
        for name in gone.collect::<Vec<_>>() {
            self.see(List::Left, format!("{name}, by {kind}"), mode);
        }
        for reason in active.iter() {
            self.see(List::Reasons, reason.token().to_owned(), mode);
        }
        for code in &codes {
            self.see(List::Codes, code.token().to_owned(), mode);
        }
        for cause in &causes {
            self.see(List::Causes, format!("{cause:?}"), mode);
        }
        (self.reasons, self.codes, self.causes) = (active, codes, causes);
        // That the legs of a group were sent is no record of its own.
        for id in &kernel.groups.open {
            let sent = kernel.groups.all.get(id).is_some_and(|group| group.state == GroupState::Dispatched);
            if sent && let Some(state) = self.groups.get_mut(id).filter(|state| **state == GroupState::New) {
                *state = GroupState::Dispatched;
                let name = step_name(&format!("{:?}", GroupState::New), &format!("{:?}", GroupState::Dispatched));
                self.see(List::Groups, name, mode);
            }
        }
    }

    /// Follows the records of intents and groups; those that a boot reads back are no steps.
    fn follow(&mut self, record: &LedgerRecord, mode: Option<TradingMode>) {
        match record {
            LedgerRecord::Group { group_id, .. } => {
                self.groups.insert(group_id.clone(), GroupState::New);
            }
            LedgerRecord::Intent(intent) => {
                self.intents.insert(intent.intent, TlsmState::Created);
            }
            LedgerRecord::Transition { intent, state, .. } => {
                if let Some(from) = self.intents.insert(*intent, *state).filter(|_| mode.is_some()) {
                    self.see(List::Lifecycle, step_name(&format!("{from:?}"), &format!("{state:?}")), mode);
                }
            }
            LedgerRecord::GroupTransition { group_id, state, .. } => {
                if let Some(from) = self.groups.insert(group_id.clone(), *state).filter(|_| mode.is_some()) {
                    self.see(List::Groups, step_name(&format!("{from:?}"), &format!("{state:?}")), mode);
                }
            }
            LedgerRecord::OwnTrade { .. }
            | LedgerRecord::Ghost { .. }
            | LedgerRecord::Adopted { .. }
            | LedgerRecord::AtomicNaked { .. } => {}
        }
    }

    fn see(&mut self, list: List, item: String, mode: Option<TradingMode>) {
        self.seen.entry((list, item)).or_default().extend(mode.map(TradingMode::index));
    }
}

/// One item of a list: the modes in which it was seen, and the first run that showed it.
struct Row<'a> {
    item: &'a str,
    modes: BTreeSet<usize>,
    first: &'a str,
}

/// Returns the page over these runs, each with its name, in their order.
pub fn page<'a>(runs: impl Iterator<Item = (&'a str, &'a Exercised)>) -> String {
    let mut rows: BTreeMap<(List, &str), Row<'a>> = BTreeMap::new();
    for (name, run) in runs {
        for ((list, item), modes) in &run.seen {
            let row = rows.entry((*list, item)).or_insert_with(|| Row { item, modes: BTreeSet::new(), first: name });
            row.modes.extend(modes);
        }
    }
    let mut text = String::from(
        "# What the scenarios exercise\n\nWritten by `drillfold run --coverage specs/coverage.md --update` and compared by \
         a test. A cross is a trading mode in\nwhich at least one run showed the item; the last column names the first of \
         them.\n",
    );
    for list in List::ALL {
        let seen: Vec<&Row<'_>> = rows.iter().filter(|((of, _), _)| *of == list).map(|(_, row)| row).collect();
        let all = list.all();
        let of_item = |row: &Row<'_>, item: &str| row.item.split(", by ").next() == Some(item);
        let met = all.iter().filter(|item| seen.iter().any(|row| of_item(row, item))).count();
        // Writing into a text can't fail.
        let _ = write!(text, "\n## {}\n\n{}\n\n{met} of {} shown.\n\n", list.title(), list.says(), all.len());
        text.push_str("| item | Active | ReduceOnly | Kill | first |\n|---|---|---|---|---|\n");
        for item in &all {
            let mut of: Vec<&&Row<'_>> = seen.iter().filter(|row| of_item(row, item)).collect();
            of.sort_by_key(|row| row.item);
            for row in &of {
                text.push_str(&line(row));
            }
            if of.is_empty() {
                let _ = writeln!(text, "| `{item}` | | | | never |");
            }
        }
        for row in seen.iter().filter(|row| !all.iter().any(|item| of_item(row, item))) {
            text.push_str(&line(row));
        }
    }
    text
}

fn line(row: &Row<'_>) -> String {
    let cell = |mode: &TradingMode| if row.modes.contains(&mode.index()) { " x |" } else { " |" };
    let cells: String = TradingMode::ALL.iter().map(cell).collect();
    format!("| `{}` |{cells} {} |\n", row.item, row.first)
}

/// Returns what one page shows as exercised and the other does not.
#[must_use]
pub fn lost_items(before: &str, after: &str) -> Vec<String> {
    let after = shown(after);
    shown(before).into_iter().filter(|item| !after.contains(item)).collect()
}

/// Returns everything that a page shows: list, item and, where it has any, mode.
fn shown(page: &str) -> BTreeSet<String> {
    let mut shown = BTreeSet::new();
    let mut list = "";
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            list = title;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, item, modes @ .., first, _] = cells.as_slice() else { continue };
        if !item.starts_with('`') || *first == "never" {
            continue;
        }
        shown.insert(format!("{list}: {item}"));
        for (mode, _) in TradingMode::ALL.iter().zip(modes).filter(|(_, cell)| **cell == "x") {
            shown.insert(format!("{list}: {item} in {}", mode.token()));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(item: &str, mode: TradingMode) -> Exercised {
        let mut run = Exercised::default();
        run.see(List::Events, item.to_owned(), Some(mode));
        run
    }

    #[test]
    fn a_page_names_modes_first_run_and_what_never_came() {
        let (first, second) = (run("LoopTicked", TradingMode::Active), run("LoopTicked", TradingMode::Kill));
        let text = page([("a", &first), ("b", &second)].into_iter());
        assert!(text.contains("\n| `LoopTicked` | x | | x | a |\n"), "{text}");
        assert!(text.contains("\n| `Crashed` | | | | never |\n"), "{text}");
        assert!(text.contains(&format!("1 of {} shown.", EVENT_KINDS.len())), "{text}");
    }

    #[test]
    fn an_item_or_a_mode_that_is_no_longer_shown_is_lost() {
        let runs = [run("LoopTicked", TradingMode::Active), run("LoopTicked", TradingMode::Kill)];
        let text = |runs: &[Exercised]| page(runs.iter().map(|run| ("a", run)));
        let both = text(&runs);
        assert_eq!(lost_items(&both, &both), [""; 0]);
        assert_eq!(lost_items(&both, &text(&runs[..1])), ["Events: `LoopTicked` in Kill"]);
        assert_eq!(
            lost_items(&both, &text(&[])),
            ["Events: `LoopTicked`", "Events: `LoopTicked` in Active", "Events: `LoopTicked` in Kill"]
        );
    }

    #[test]
    fn an_item_that_no_list_names_is_shown_all_the_same() {
        let text = page([("a", &run("Unheard", TradingMode::Active))].into_iter());
        assert!(text.contains("\n| `Unheard` | x | | | a |\n"), "{text}");
    }
}
