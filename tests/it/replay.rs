//! The log alone rebuilds every status, chain hash and state; what is changed or damaged is found.

use std::fs;

use drillfold::{
    contract::document::document,
    replay::replay,
    wal::{Checkpoint, LogEncoder, Trace, read_log},
};
use drillfold_kernel::{event::Event, units::Price};
use serde_json::Value;

use crate::project::{Done, ProjectCopy, base_runs, done, program, root};

#[test]
fn replay_reaches_the_statuses_and_hashes_of_the_run() {
    for base in base_runs() {
        let recorded = &base.outcome.recorded;
        let mut checkpoints = Vec::new();
        let take = |checkpoint: &Checkpoint| checkpoints.push(checkpoint.clone());
        let found = replay("log", &recorded.log, Some(("trace", &recorded.trace)), take).expect("the log is whole");
        assert_eq!(found.divergence, None, "{}", base.name());
        assert_eq!(found.event_count, base.outcome.timeline.events.len() as u64);
        assert_eq!(checkpoints.last(), Some(&recorded.last));
        assert_eq!(found.snapshots.len(), base.outcome.snapshots.len());
        for taken in &found.snapshots {
            let run = &base.outcome.snapshots[&taken.name];
            assert_eq!((taken.seq, taken.at), (run.seq, run.at), "{} {}", base.name(), taken.name);
            assert_eq!(taken.status.as_ref().map(document), run.document, "{} {}", base.name(), taken.name);
        }
        let trace = Trace::read("trace", &recorded.trace).expect("the trace is whole");
        assert_eq!(trace.checkpoints, checkpoints, "{}", base.name());
        assert!(trace.checkpoints.len() > 1, "{}: too few checkpoints to find anything", base.name());
    }
}

#[test]
fn committed_logs_replay_to_the_goldens() {
    for base in base_runs() {
        let log = format!("wal-logs/{}.wal", base.name());
        let whole = replayed(&[&log]);
        assert_eq!(whole.code, 0, "{log}: {}{}", whole.out, whole.err);
        assert!(whole.out.contains("checkpoints of the trace agree"), "{log}: {}", whole.out);
        for (snapshot, golden) in &base.references.goldens {
            let Done { code, out, err } = replayed(&[&log, "--snapshot", snapshot, "--format", "json"]);
            assert_eq!(code, 0, "{log} {snapshot}: {err}");
            let found: Value = serde_json::from_str(&out).expect("it is JSON");
            assert_eq!(found["schema"], "drillfold/replay/v1");
            assert_eq!(found["drill"], base.name());
            assert_eq!(found["status"], golden.document, "{log} {snapshot}");
        }
    }
}

fn replayed(arguments: &[&str]) -> Done {
    let mut command = program(["replay"]);
    command.args(arguments).current_dir(root());
    done(command)
}

/// The form through which builds are compared; it never changes.
#[test]
fn checkpoints_have_their_fixed_form() {
    for base in base_runs() {
        let log = format!("wal-logs/{}.wal", base.name());
        let Done { code, out, err } = replayed(&[&log, "--checkpoints", "--format", "jsonl"]);
        assert_eq!(code, 0, "{log}: {err}");
        let bytes = fs::read(root().join("wal-logs").join(format!("{}.trace", base.name()))).expect("it is there");
        let trace = Trace::read("trace", &bytes).expect("the trace is whole");
        assert_eq!(out.lines().count(), trace.checkpoints.len(), "{log}");
        for (line, checkpoint) in out.lines().zip(&trace.checkpoints) {
            let found: Value = serde_json::from_str(line).expect("each line is JSON");
            let object = found.as_object().expect("each line is an object");
            assert_eq!(object.keys().collect::<Vec<_>>(), ["seq", "at_ms", "chain", "state", "leaves"], "{line}");
            assert_eq!(found["seq"], checkpoint.seq.0);
            assert_eq!(found["at_ms"], checkpoint.at.0);
            assert_eq!(found["chain"], checkpoint.chain.to_string());
            assert_eq!(found["state"], checkpoint.state.to_string());
            let leaves = found["leaves"].as_object().expect("leaves are an object");
            let names = ["core", "feeds", "orders", "ledger", "groups", "session", "latch", "monitors"];
            assert_eq!(leaves.keys().collect::<Vec<_>>(), names, "{line}");
            assert_eq!(trace.header.components, names);
            for (leaf, digest) in leaves.values().zip(&checkpoint.leaves) {
                assert_eq!(*leaf, digest.to_string());
                let text = leaf.as_str().expect("a hash is text");
                let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                assert!(text.len() == 32 && text.bytes().all(lower_hex), "{text}");
            }
        }
    }
}

/// Writes a copy of a log in which one sample of the margin has no value: the mode depends on it.
fn changed_log(log: &[u8]) -> (Vec<u8>, u64) {
    let decoded = read_log("log", log).expect("the log is whole");
    let mut encoder = LogEncoder::new(&decoded.header).expect("the header was written before");
    let earliest = decoded.entries.len() as u64 / 20;
    let mut changed = None;
    let mut marks = decoded.marks.iter().peekable();
    for entry in &decoded.entries {
        while let Some(placed) = marks.next_if(|placed| placed.seq <= entry.seq) {
            encoder.mark(placed.at, &placed.mark).expect("the mark was written before");
        }
        let mut event = entry.event.clone();
        if changed.is_none()
            && entry.seq.0 >= earliest
            && let Event::OwnTraded(trades) = &mut event
            && let Some(trade) = trades.first_mut()
        {
            // The record of the trade is an effect, so the chain must part here.
            trade.price = trade.price.plus(Price(1));
            changed = Some(entry.seq.0);
        }
        encoder.event(entry.at, &event).expect("the event fits");
    }
    for placed in marks {
        encoder.mark(placed.at, &placed.mark).expect("the mark was written before");
    }
    encoder.end().expect("the log ends");
    (encoder.take_pending(), changed.expect("the log has an own trade after its first events"))
}

#[test]
fn a_changed_event_is_found_at_its_checkpoint() {
    let copy = ProjectCopy::new();
    for base in base_runs() {
        let log = format!("wal-logs/{}.wal", base.name());
        let path = copy.path().join(&log);
        let (bytes, seq) = changed_log(&fs::read(&path).expect("the log is there"));
        fs::write(&path, bytes).expect("the copy can be written");
        let Done { code, out, err } = done(copy.drillfold(["replay", &log]));
        assert_eq!(code, 1, "{log}: {out}{err}");
        let line =
            out.lines().find(|line| line.starts_with("differs from its trace: ")).expect("the difference is named");
        let numbers: Vec<u64> =
            line.split(|letter: char| !letter.is_ascii_digit()).filter_map(|text| text.parse().ok()).collect();
        let [same_until, differs_at] = numbers[..2] else { panic!("{line}") };
        assert!(same_until < seq && seq <= differs_at, "{log}: event {seq} was changed: {line}");
        let judged = done(copy.drillfold(["check", &log]));
        assert_eq!(judged.code, 1, "{log}: {}{}", judged.out, judged.err);
        assert!(judged.out.contains(&format!("differs at event {differs_at}")), "{}", judged.out);
    }
}

#[test]
fn a_damaged_log_can_not_be_replayed() {
    let copy = ProjectCopy::new();
    for base in base_runs() {
        let log = format!("wal-logs/{}.wal", base.name());
        let path = copy.path().join(&log);
        let whole = fs::read(&path).expect("the log is there");
        for place in [3, whole.len() / 3, whole.len() / 2] {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x40;
            fs::write(&path, bytes).expect("the copy can be written");
            let Done { code, out, err } = done(copy.drillfold(["replay", &log]));
            assert_eq!(code, 2, "{log} byte {place}: {out}{err}");
            assert!(err.contains(&log), "{err}");
            if place > 3 {
                let offset = err.split(": byte ").nth(1).unwrap_or_else(|| panic!("no offset: {err}"));
                let digits: String = offset.chars().take_while(char::is_ascii_digit).collect();
                let offset: usize = digits.parse().unwrap_or_else(|_| panic!("no offset: {err}"));
                assert!(offset <= place && place - offset < 64 * 1024, "byte {place}: {err}");
            }
            assert_eq!(done(copy.drillfold(["check", &log])).code, 125, "{log} byte {place}");
        }
    }
}

#[test]
fn what_is_not_there_is_said() {
    let copy = ProjectCopy::new();
    let log = "wal-logs/drill_2_market_data_stale.wal";
    for (arguments, code, expected) in [
        (vec!["replay", "wal-logs/none.wal"], 2, "wal-logs/none.wal"),
        (vec!["replay", log, "--snapshot", "nobody"], 2, "tripped"),
        (vec!["replay", log, "--trace", "none.trace"], 2, "none.trace"),
        (vec!["replay", log, "--trace", "wal-logs/drill_5_ws_book_gap.trace"], 2, "another log"),
        (vec!["check", "wal-logs/none.wal"], 125, "wal-logs/none.wal"),
        (vec!["check", "scenarios/none.toml"], 125, "scenarios/none.toml"),
        (vec!["check", log], 0, ""),
        (vec!["check", "scenarios/drill_8_unknown_token.toml"], 0, ""),
    ] {
        let found = done(copy.drillfold(&arguments));
        assert_eq!(found.code, code, "{arguments:?}: {}{}", found.out, found.err);
        assert!(found.err.contains(expected), "{arguments:?}: {}", found.err);
    }
}
