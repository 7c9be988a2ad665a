//! Finding out why: points of a log, explanations, conditions, differing runs.

use std::path::Path;

use drillfold::{
    contract::document::document,
    inspect::{
        Line, OwnRun, RecordedRun, Root, Standing, diff_logs, explain, first_holding, looks, needs_of_code, part_runs,
        replay_heavily, state_at, timeline,
    },
    judge::{facts::parse_condition, run::Outcome},
    replay::{Images, Place, ReplayError, Strides, TraceLogError, Walk, fold_to, replay, trace_log},
    storage::{MemoryStorage, Storage},
    wal::{Access, Digests, LogFiles, LogReader, ReadOptions, RecordBody, Trace, TraceEncoder},
};
use drillfold_kernel::{
    registry::TradingMode,
    units::{Seq, TimeMs},
};

use crate::project::{all_scenarios, base_runs, in_parallel, simulate};

const LOG: &str = "x.wal";

/// Returns a storage with one log in it.
fn stored(log: &[u8]) -> MemoryStorage {
    let storage = MemoryStorage::new();
    storage.create_new(Path::new(LOG)).unwrap().append(log).unwrap();
    storage
}

fn open(storage: &MemoryStorage) -> LogFiles<'_> {
    let options = ReadOptions { digests: Digests::Skip, access: Access::Positional };
    LogFiles::open(storage, Path::new(LOG), options).unwrap()
}

/// Returns the trace that this build makes of the stored log.
fn traced(storage: &MemoryStorage, strides: Strides) -> Vec<u8> {
    let mut bytes = Vec::new();
    trace_log(&mut open(storage), strides, |_, part| -> Result<(), TraceLogError> {
        bytes.extend_from_slice(&part);
        Ok(())
    })
    .unwrap();
    bytes
}

fn event_count(outcome: &Outcome) -> u64 {
    outcome.recorded.last.seq.0
}

/// The first event that a step of the world can have caused, by its mark in the log.
fn seq_of_trigger(log: &[u8]) -> Option<u64> {
    let mut reader = LogReader::open(LOG, log).unwrap();
    while let Some(record) = reader.next_record().unwrap() {
        if matches!(&record.body, RecordBody::Mark(mark) if mark.kind.name() == "trigger") {
            return Some(record.seq.0);
        }
    }
    None
}

#[test]
fn a_point_is_reached_by_any_way_with_the_same_state() {
    in_parallel(base_runs(), |of| {
        let (storage, name) = (stored(&of.outcome.recorded.log), of.name());
        let trace = Trace::read("x.trace", &of.outcome.recorded.trace).unwrap();
        // The strides of drills give few images; closer ones try more ways.
        let bytes = traced(&storage, Strides { checkpoint: 8, image: 64 });
        let close = Trace::read("close.trace", &bytes).unwrap();
        let mut files = open(&storage);
        let header = files.header().clone();
        let last = event_count(&of.outcome);
        let mut walked = open(&storage);
        let mut walk = Walk::before(&mut walked, None, Seq(0), Strides::DRILL).unwrap();
        for seq in 1..=last {
            walk.next().unwrap().unwrap();
            if !(seq.is_multiple_of(97) || seq == last || seq % 64 < 2) {
                continue;
            }
            for images in [Images::of(&trace, &header).unwrap(), Images::of(&close, &header).unwrap(), None] {
                let folder = fold_to(&mut files, images, Place::Seq(Seq(seq))).unwrap();
                assert_eq!((folder.seq(), folder.at()), (Seq(seq), walk.folder().at()), "{name}");
                assert_eq!(folder.kernel(), walk.folder().kernel(), "{name} after event {seq}");
            }
        }
        let images = Images::of(&close, &header).unwrap();
        assert!(images.is_some(), "{name}");
        let by_image = Walk::before(&mut files, images, Seq(last), Strides::DRILL).unwrap();
        assert_eq!(by_image.started(), Seq(last / 64 * 64), "{name}: the images are used");
    });
}

#[test]
fn a_moment_is_after_its_last_event() {
    let of = &base_runs()[4];
    let storage = stored(&of.outcome.recorded.log);
    let mut files = open(&storage);
    for (seq, at) in &of.outcome.timeline.events {
        let expected = of.outcome.timeline.events.iter().rev().find(|(_, other)| other <= at).unwrap().0;
        if seq.0.is_multiple_of(101) {
            let folder = fold_to(&mut files, None, Place::Time(*at)).unwrap();
            assert_eq!(folder.seq(), expected);
        }
    }
    assert_eq!(fold_to(&mut files, None, Place::Time(TimeMs(0))).unwrap().seq(), Seq(0));
    assert_eq!(fold_to(&mut files, None, Place::Time(TimeMs(i64::MAX))).unwrap().seq().0, event_count(&of.outcome));
    assert_eq!(fold_to(&mut files, None, Place::End).unwrap().seq().0, event_count(&of.outcome));
    let beyond = fold_to(&mut files, None, Place::Seq(Seq(event_count(&of.outcome) + 1))).unwrap_err();
    assert!(matches!(beyond, ReplayError::Beyond { .. }), "{beyond}");
}

#[test]
fn snapshots_are_what_replay_at_their_events_shows() {
    in_parallel(base_runs(), |of| {
        let storage = stored(&of.outcome.recorded.log);
        for (name, taken) in &of.outcome.snapshots {
            let folder = fold_to(&mut open(&storage), None, Place::Seq(taken.seq)).unwrap();
            assert_eq!(folder.kernel().status().as_ref().map(document), taken.document, "{}: {name}", of.name());
        }
    });
}

#[test]
fn an_explanation_names_the_trigger_that_the_scenario_marks() {
    let scenarios = all_scenarios();
    in_parallel(&scenarios, |scenario| {
        let outcome = simulate(scenario);
        let name = scenario.full_name();
        let Some(tripped) = outcome.snapshots.get("tripped") else { return };
        let trigger = scenario.steps.iter().find(|step| step.trigger).map_or("", |step| step.says.as_str());
        let seq = seq_of_trigger(&outcome.recorded.log).unwrap();
        let storage = stored(&outcome.recorded.log);
        let found = explain(&mut open(&storage), None, Place::Seq(tripped.seq)).unwrap();

        assert_ne!(found.mode, TradingMode::Active.token(), "{name}");
        let named = found.trigger.as_ref().unwrap_or_else(|| panic!("{name}: no trigger in {found:#?}"));
        assert_eq!((named.name.as_str(), named.kind, named.before_seq), (trigger, "trigger", seq), "{name}");
        assert!(!found.reasons.is_empty(), "{name}");
        assert!(found.mode_since.as_ref().is_some_and(|since| since.seq >= seq), "{name}: {found:#?}");
        for reason in &found.reasons {
            assert!(reason.since.seq >= seq, "{name}: {}", reason.reason);
            for root in &reason.roots {
                assert!(root.event().seq >= seq && root.event().seq <= tripped.seq.0, "{name}: {root:?}");
            }
            assert!(!reason.clears.condition.is_empty(), "{name}: {}", reason.reason);
        }
        for code in &found.codes {
            let of_code = |root: &Root| matches!(root, Root::Code { code: known, .. } if *known == code.code);
            let latched = found.reasons.iter().flat_map(|reason| &reason.roots).any(of_code);
            assert!(latched || found.mode == TradingMode::Kill.token(), "{name}: {}", code.code);
        }
    });
}

/// A code is cleared at the first event after which all that it waited for holds, and not while anything is missing.
#[test]
fn what_a_code_waits_for_is_what_clears_it() {
    let cleared = in_parallel(base_runs(), |of| {
        let storage = stored(&of.outcome.recorded.log);
        let mut files = open(&storage);
        let mut walk = Walk::before(&mut files, None, Seq(0), Strides::DRILL).unwrap();
        let mut cleared = 0;
        let mut codes = Vec::new();
        while let Some((seq, at, _)) = walk.next().unwrap() {
            let kernel = walk.folder().kernel();
            let now: Vec<_> = kernel.latch.codes().collect();
            for code in &now {
                let needs = needs_of_code(kernel, *code, at);
                // All but the run of reconciliation is the code's own condition.
                let own = needs.iter().rev().skip(1).all(|need| need.holds);
                assert_eq!(own, kernel.code_may_clear(*code), "{}: {code:?} at {seq:?}: {needs:?}", of.name());
            }
            for code in codes.iter().filter(|code| !now.contains(code)) {
                let needs = needs_of_code(kernel, *code, at);
                assert!(!kernel.core.up || needs.iter().all(|need| need.holds), "{}: {needs:?}", of.name());
                cleared += 1;
            }
            codes = now;
        }
        cleared
    });
    assert!(cleared.iter().filter(|count| **count > 0).count() >= 5, "{cleared:?}");
}

#[test]
fn an_explanation_tells_what_was_refused_since() {
    let of = &base_runs()[2];
    let tripped = &of.outcome.snapshots["tripped"];
    let storage = stored(&of.outcome.recorded.log);
    let found = explain(&mut open(&storage), None, Place::Seq(tripped.seq)).unwrap();
    let since = found.mode_since.as_ref().unwrap().seq;
    let images = None;
    let looks = looks(&mut open(&storage), images, (Seq(since), tripped.seq), 1).unwrap();
    let expected = looks.iter().flat_map(|look| &look.effects).filter(|effect| effect.get("Refuse").is_some()).count();
    assert!(expected > 0);
    assert_eq!(found.refused.iter().map(|refused| refused.count).sum::<u64>(), expected as u64);
}

#[test]
fn a_timeline_has_a_line_for_every_change_and_no_other() {
    let of = &base_runs()[6];
    let storage = stored(&of.outcome.recorded.log);
    let mut lines = Vec::new();
    let count = timeline(&mut open(&storage), |line| -> Result<(), ReplayError> {
        if let Line::Change { seq, standing, .. } = line {
            lines.push((*seq, standing.clone()));
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(count, event_count(&of.outcome));
    let mut files = open(&storage);
    let mut walk = Walk::before(&mut files, None, Seq(0), Strides::DRILL).unwrap();
    let mut expected = Vec::new();
    let mut last = Standing::of(walk.folder().kernel());
    while let Some((seq, _, _)) = walk.next().unwrap() {
        let now = Standing::of(walk.folder().kernel());
        if now != last {
            expected.push((seq, now.clone()));
            last = now;
        }
    }
    assert!(expected.len() > 20, "{}", expected.len());
    assert_eq!(lines, expected);
}

#[test]
fn the_first_event_after_which_a_condition_holds_is_found() {
    let conditions = [
        r#"trading_mode != "Active""#,
        r#"trading_mode != "Active" && wal_queue_depth > 1000"#,
        "open_orders >= 3",
        "refused_total > 0",
        "since_trigger_ms >= 1000",
        r#"event == "RestAnswered" && runs_succeeded >= 2"#,
    ];
    in_parallel(base_runs(), |of| {
        let storage = stored(&of.outcome.recorded.log);
        for text in conditions {
            let condition = parse_condition(text).unwrap();
            let (found, looked_at) = first_holding(&mut open(&storage), &condition).unwrap();
            // The scenario's own timeline answers the same question: an expectation's columns come from the same names.
            let by_hand = holds_first(&of.outcome, text);
            assert_eq!(found.as_ref().map(|found| found.seq), by_hand, "{}: {text}", of.name());
            assert_eq!(looked_at, by_hand.unwrap_or(event_count(&of.outcome)), "{}: {text}", of.name());
            if let Some(found) = found {
                assert!(found.before.iter().all(|one| one.seq < found.seq) && found.before.len() <= 3);
                assert!(found.after.iter().all(|one| one.seq > found.seq) && found.after.len() <= 3);
                let names: Vec<&str> = found.values.iter().map(|value| value.name.as_str()).collect();
                assert_eq!(names, condition.names().map(|(_, name)| name).collect::<Vec<_>>());
            }
        }
    });
}

/// Folds the log and asks after every event.
fn holds_first(outcome: &Outcome, text: &str) -> Option<u64> {
    let condition = parse_condition(text).unwrap();
    let mut reader = LogReader::open(LOG, &outcome.recorded.log).unwrap();
    let mut folder = drillfold::replay::Folder::new(Strides::DRILL);
    let mut observer = drillfold::judge::observe::Observer::default();
    while let Some(record) = reader.next_record().unwrap() {
        match &record.body {
            RecordBody::Event(raw) => {
                let event = raw.decode().unwrap();
                folder.step(record.at, &event).unwrap();
                observer.after(record.seq, record.at, &event, folder.effects(), folder.kernel());
                let cells: Vec<_> =
                    (0..drillfold::judge::facts::NAMES.len()).map(|place| observer.cell(place)).collect();
                if condition.holds(&|place| cells[place].value()) {
                    return Some(record.seq.0);
                }
            }
            RecordBody::Mark(mark) if mark.kind.name() == "trigger" => observer.trigger(record.at),
            _ => {}
        }
    }
    None
}

#[test]
fn a_condition_is_refused_with_its_place() {
    let refused = parse_condition(r#"trading_mode != "Actve" && open_orders > 1"#).unwrap_err();
    assert_eq!(&refused.text[refused.span.clone()], r#""Actve""#);
    assert!(refused.to_string().contains("did you mean `Active`?"), "{refused}");
    let refused = parse_condition("wal_queue_dept > 1").unwrap_err();
    assert!(refused.rendered().contains("^^^"), "{}", refused.rendered());
}

#[test]
fn logs_are_compared_event_effect_and_status() {
    let of = &base_runs()[4];
    let other = &base_runs()[5];
    let (left, right) = (stored(&of.outcome.recorded.log), stored(&other.outcome.recorded.log));
    let same = diff_logs(&mut open(&left), &mut open(&left)).unwrap();
    assert_eq!((same.equal_count, same.difference), (event_count(&of.outcome), None));
    let found = diff_logs(&mut open(&left), &mut open(&right)).unwrap();
    let difference = found.difference.unwrap();
    assert_eq!(difference.event.seq, found.equal_count + 1);
    assert!(difference.status.is_some());

    // One changed event: everything before it is equal, and what it does shows at it.
    let changed = with_a_lost_change(&of.outcome);
    let found = diff_logs(&mut open(&left), &mut open(&stored(&changed.0))).unwrap();
    let difference = found.difference.unwrap();
    assert_eq!(difference.event.seq, changed.1);
    assert_ne!(difference.event.left, difference.event.right);
    assert!(difference.effect.is_some_and(|effect| effect.seq >= changed.1));
}

/// Returns the log without its 50th book change, and that event's number.
fn with_a_lost_change(outcome: &Outcome) -> (Vec<u8>, u64) {
    let mut reader = LogReader::open(LOG, &outcome.recorded.log).unwrap();
    let mut log = drillfold::wal::LogEncoder::new(reader.header()).unwrap();
    let (mut seen, mut lost) = (0, 0);
    while let Some(record) = reader.next_record().unwrap() {
        let RecordBody::Event(raw) = &record.body else { continue };
        let event = raw.decode().unwrap();
        if raw.record_type.event_name() == Some("BookChanged") {
            seen += 1;
            if seen == 50 {
                lost = record.seq.0;
                continue;
            }
        }
        log.event(record.at, &event).unwrap();
    }
    log.end().unwrap();
    (log.take_pending(), lost)
}

#[test]
fn a_heavy_replay_finds_nothing_missing_in_any_drill() {
    in_parallel(base_runs(), |of| {
        let storage = stored(&of.outcome.recorded.log);
        let found = replay_heavily(&mut open(&storage), 64).unwrap();
        assert_eq!((found.loss, found.event_count), (None, event_count(&of.outcome)), "{}", of.name());
        assert_eq!(found.checkpoint_count, event_count(&of.outcome) / 64);
    });
}

#[test]
fn runs_that_do_the_same_have_nothing_to_part() {
    in_parallel(base_runs(), |of| {
        let storage = stored(&of.outcome.recorded.log);
        let mut files = open(&storage);
        let mut left = RecordedRun::new("x.trace", &of.outcome.recorded.trace);
        let mut right = OwnRun::new(&mut files, of.outcome.recorded.trace.clone());
        assert_eq!(part_runs(&mut left, &mut right).unwrap(), None, "{}", of.name());
    });
}

/// A trace of another log with the same beginning is as good as one of another build.
#[test]
fn a_recorded_run_parts_at_the_very_event() {
    let of = &base_runs()[4];
    let (changed, lost) = with_a_lost_change(&of.outcome);
    let storage = stored(&changed);
    let own = replay(LOG, &changed, None, |_| ()).unwrap();
    assert!(own.event_count > lost);
    let bytes = traced(&storage, Strides::DRILL);
    let mut files = open(&storage);
    let mut left = RecordedRun::new("x.trace", &of.outcome.recorded.trace);
    let found = part_runs(&mut left, &mut OwnRun::new(&mut files, bytes)).unwrap().unwrap();
    let observable = found.observable.unwrap();
    // The lost change shows at the next one of its instrument.
    let seq = observable.exactly().unwrap().0;
    assert!(seq >= lost && seq < lost + 40, "{seq} {lost}");
    assert_eq!(found.same_until, (lost - 1) / 256 * 256);
    assert!(observable.left.is_none() && observable.right.is_some(), "a recorded run can't be folded again");
    assert!(found.components.contains(&"feeds".to_owned()), "{:?}", found.components);
}

/// A build that noted no behaviours still leads to the stretch between two checkpoints.
#[test]
fn a_trace_without_behaviours_leads_to_a_stretch() {
    let of = &base_runs()[4];
    let (changed, lost) = with_a_lost_change(&of.outcome);
    let recorded = Trace::read("x.trace", &of.outcome.recorded.trace).unwrap();
    let mut older = TraceEncoder::new(&recorded.header).unwrap();
    for checkpoint in &recorded.checkpoints {
        older.checkpoint(checkpoint).unwrap();
    }
    older.finish(&recorded.last.unwrap()).unwrap();
    let older = older.take_pending();

    let storage = stored(&changed);
    let bytes = traced(&storage, Strides::DRILL);
    let mut files = open(&storage);
    let mut left = RecordedRun::new("x.trace", &older);
    let found = part_runs(&mut left, &mut OwnRun::new(&mut files, bytes)).unwrap().unwrap();
    let observable = found.observable.unwrap();
    assert_eq!(observable.exactly(), None);
    assert!((observable.first_seq..=observable.last_seq).contains(&lost), "{observable:?}");
    assert_eq!(observable.last_seq - observable.first_seq, 255);
}

#[test]
fn the_event_that_last_changed_a_part_is_told() {
    let of = &base_runs()[4];
    let storage = stored(&of.outcome.recorded.log);
    let tripped = &of.outcome.snapshots["tripped"];
    let paths =
        ["latch".to_owned(), "orders.positions".to_owned(), "core.build_id".to_owned(), "nothing.here".to_owned()];
    let found = state_at(&mut open(&storage), None, Place::Seq(tripped.seq), &paths).unwrap();
    let written = |path: &str| found.written.iter().find(|one| one.path == path).unwrap().seq;
    let raised = explain(&mut open(&storage), None, Place::Seq(tripped.seq)).unwrap().codes[0].raised.seq;
    assert_eq!(written("latch"), Some(raised));
    assert!(written("orders.positions").is_none_or(|seq| seq < raised));
    // Booting is further back than is looked.
    assert_eq!(written("core.build_id"), None);
    assert_eq!(written("nothing.here"), None);
    assert_eq!(found.state["latch"]["codes"][1]["raised"]["seq"], raised);
}

/// Returns the number of a log's last event.
pub fn last_event(log: &Path) -> u64 {
    replay(LOG, &std::fs::read(log).unwrap(), None, |_| ()).unwrap().event_count
}

/// Returns the number of the event that is the `count`-th of its kind.
pub fn seq_of_kind(log: &Path, kind: &str, count: usize) -> u64 {
    let bytes = std::fs::read(log).unwrap();
    let mut reader = LogReader::open(LOG, &bytes).unwrap();
    let mut seen = 0;
    while let Some(record) = reader.next_record().unwrap() {
        if matches!(&record.body, RecordBody::Event(raw) if raw.record_type.event_name() == Some(kind)) {
            seen += 1;
            if seen == count {
                return record.seq.0;
            }
        }
    }
    panic!("the log has no {count} of {kind}");
}
