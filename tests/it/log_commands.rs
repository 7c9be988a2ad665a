//! `drillfold log`, as a person or a script uses it.

use std::{fs, path::Path};

use drillfold::{
    storage::{DiskStorage, Durability},
    wal::read_log,
};
use drillfold_kernel::event::Event;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    log_rig::{BuiltLog, at, event, in_batches, in_segments},
    project::{Done, done, program, root},
};

/// A folder with one log, `x.wal`.
fn folder_with(bytes: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("x.wal"), bytes).expect("the log is written");
    folder
}

fn log(folder: &TempDir, arguments: &[&str]) -> Done {
    let mut command = program(["log"]);
    command.args(arguments).current_dir(folder.path());
    done(command)
}

/// Returns a log whose last record is not whole, and one with a flipped bit in the middle.
fn damaged(built: &BuiltLog) -> [Vec<u8>; 2] {
    let torn = built.bytes[..built.bytes.len() - 9].to_vec();
    let mut corrupt = built.bytes.clone();
    corrupt[built.ends[40] + 30] ^= 1;
    [torn, corrupt]
}

#[test]
fn every_committed_log_is_sound() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("wal-logs")).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|ending| ending == "wal") {
            let found = done(program(["log".as_ref(), "verify".as_ref(), path.as_os_str()]));
            assert_eq!(found.code, 0, "{}{}", found.out, found.err);
            assert!(found.out.contains("sound and sealed"), "{}", found.out);
            count += 1;
        }
    }
    assert!(count >= 9, "{count} logs");
}

#[test]
fn verify_names_damage_with_its_place() {
    let built = in_batches(100, 16, false);
    let folder = folder_with(&built.bytes);
    let sound = log(&folder, &["verify", "x.wal"]);
    assert_eq!((sound.code, sound.out.as_str()), (0, "x.wal: sound, not sealed: 100 events in 1 segments\n"));
    let [torn, corrupt] = damaged(&built);
    let cases = [(torn, built.ends.len() - 2, 100, "torn_tail"), (corrupt, 40, 36, "corruption")];
    for (bytes, record, seq, kind) in cases {
        let folder = folder_with(&bytes);
        let found = log(&folder, &["verify", "x.wal"]);
        assert_eq!(found.code, 1, "{}{}", found.out, found.err);
        let place = format!("{kind}: x.wal: byte {}, event {seq}: ", built.ends[record]);
        assert!(found.out.starts_with(&place), "{place:?} is not in {}", found.out);
        let found = log(&folder, &["verify", "x.wal", "--format", "json"]);
        assert_eq!(found.code, 1);
        let document: Value = serde_json::from_str(&found.out).expect("it is JSON");
        assert_eq!(document["schema"], "drillfold/log-verify/v1");
        assert_eq!((&document["sound"], &document["finding_count"]), (&json!(false), &json!(1)));
        let finding = &document["findings"][0];
        assert_eq!((&finding["kind"], &finding["offset"]), (&json!(kind), &json!(built.ends[record])));
        assert_eq!((&finding["file"], &finding["seq"]), (&json!("x.wal"), &json!(seq)));
    }
}

#[test]
fn repair_copies_what_is_sound() {
    let built = in_batches(100, 16, false);
    let [torn, corrupt] = damaged(&built);
    let folder = folder_with(&torn);
    let found = log(&folder, &["repair", "x.wal", "y.wal"]);
    assert_eq!(found.code, 0, "{}{}", found.out, found.err);
    assert!(found.out.contains("before event 100: torn tail"), "{}", found.out);
    let copy = fs::read(folder.path().join("y.wal")).expect("the copy is there");
    let events: Vec<Event> =
        read_log("y.wal", &copy).expect("it is sound").entries.into_iter().map(|entry| entry.event).collect();
    assert_eq!(events, built.events[..99]);
    assert_eq!(fs::read(folder.path().join("x.wal")).expect("the log is there"), torn);
    let again = log(&folder, &["repair", "x.wal", "y.wal"]);
    assert_eq!(again.code, 2);
    assert!(again.err.contains("y.wal: it exists already and is not overwritten"), "{}", again.err);

    let folder = folder_with(&corrupt);
    let refused = log(&folder, &["repair", "x.wal", "y.wal"]);
    assert_eq!(refused.code, 1, "{}{}", refused.out, refused.err);
    assert!(refused.err.contains("--cut-at-corruption"), "{}", refused.err);
    assert!(!folder.path().join("y.wal").exists());
    let found = log(&folder, &["repair", "x.wal", "y.wal", "--cut-at-corruption"]);
    assert_eq!(found.code, 0, "{}{}", found.out, found.err);
    assert_eq!(log(&folder, &["verify", "y.wal"]).code, 0);
    let names: Vec<_> = fs::read_dir(folder.path())
        .expect("it is there")
        .map(|entry| entry.expect("it is listed").file_name())
        .collect();
    assert_eq!(names.len(), 2, "nothing is left over: {names:?}");
}

#[test]
fn stat_counts() {
    let built = in_batches(100, 16, false);
    let [torn, corrupt] = damaged(&built);
    let folder = folder_with(&torn);
    let found = log(&folder, &["stat", "x.wal", "--format", "json"]);
    assert_eq!(found.code, 0, "{}", found.err);
    let document: Value = serde_json::from_str(&found.out).expect("it is JSON");
    for (key, expected) in [
        ("schema", json!("drillfold/log-stat/v1")),
        ("events", json!(99)),
        ("first_seq", json!(1)),
        ("last_seq", json!(99)),
        ("first_at_ms", json!(at(1).0)),
        ("least_at_ms", json!(at(1).0)),
        ("greatest_at_ms", json!(at(99).0)),
        ("marks", json!(2)),
        ("batches", json!(8)),
        ("sealed", json!(false)),
        ("damage", json!(null)),
    ] {
        assert_eq!(document[key], expected, "{key}");
    }
    assert_eq!(document["segments"][0]["tail"]["kind"], "torn");
    let kinds = document["kinds"].as_array().expect("it is a list");
    assert_eq!(kinds.iter().filter_map(|kind| kind["count"].as_u64()).sum::<u64>(), 99);
    assert!(kinds.iter().any(|kind| kind["kind"] == "BookChanged"));
    let text = log(&folder, &["stat", "x.wal"]);
    assert!(text.out.contains("events           99\n") && text.out.contains("torn tail of"), "{}", text.out);
    let folder = folder_with(&corrupt);
    let found = log(&folder, &["stat", "x.wal"]);
    assert_eq!(found.code, 2);
    assert!(found.out.contains("events           35\n") && found.err.contains("byte "), "{}{}", found.out, found.err);
}

/// Returns the lines of a dump as JSON.
fn dumped(folder: &TempDir, arguments: &[&str]) -> Vec<Value> {
    let found = log(folder, &[&["dump", "x.wal"], arguments].concat());
    assert_eq!(found.code, 0, "{arguments:?}: {}", found.err);
    found.out.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[test]
fn dump_prints_what_is_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = DiskStorage::new(Durability::Unsynced);
    in_segments(&disk, &folder.path().join("x.wal"), 3000, 1100, true);
    let numbers =
        |lines: &[Value]| lines.iter().map(|line| line["seq"].as_u64().expect("a number")).collect::<Vec<_>>();
    let all = dumped(&folder, &[]);
    assert_eq!(numbers(&all), (1..=3000).collect::<Vec<u64>>());
    for line in &all {
        let seq = line["seq"].as_u64().expect("a number");
        assert_eq!(line["at_ms"], at(seq).0);
        let kind = line["kind"].as_str().expect("a name");
        let expected = serde_json::to_value(event(seq)).expect("an event is JSON");
        match expected.get(kind) {
            Some(fields) => assert_eq!(line["event"], *fields),
            None => assert_eq!((line["event"].clone(), expected), (Value::Null, json!(kind))),
        }
    }
    assert_eq!(numbers(&dumped(&folder, &["--from-seq", "1099", "--to-seq", "1102"])), [1099, 1100, 1101, 1102]);
    let (from, to) = (at(2250).0.to_string(), at(2253).0.to_string());
    assert_eq!(numbers(&dumped(&folder, &["--from-time", &from, "--to-time", &to])), [2250, 2251, 2252, 2253]);
    let tickers = dumped(&folder, &["--kind", "TickerReceived,LoopTicked", "--to-seq", "20"]);
    assert_eq!(numbers(&tickers), [2, 8, 10, 16, 18]);
    let marks = dumped(&folder, &["--marks", "--from-seq", "2001", "--to-seq", "2001"]);
    assert_eq!(marks.len(), 2);
    assert_eq!(marks[0]["mark"], json!({ "kind": "step", "step_index": 1, "name": "before 2001" }));
    assert_eq!(dumped(&folder, &["--from-seq", "4000"]), Vec::<Value>::new());
}

#[test]
fn what_is_wrong_is_said() {
    let built = in_batches(100, 16, false);
    let folder = folder_with(&damaged(&built)[1]);
    fs::write(folder.path().join("other.wal"), "no log").expect("it is written");
    for (arguments, code, expected) in [
        (vec!["verify", "none.wal"], 2, "none.wal: no such file"),
        (vec!["verify", "other.wal"], 2, "other.wal: not a log"),
        (vec!["repair", "other.wal", "y.wal"], 2, "not a log"),
        (vec!["repair", "x.wal", "x.wal"], 2, "it exists already"),
        (vec!["dump", "x.wal", "--kind", "BookChange"], 2, "did you mean `BookChanged`?"),
        (vec!["dump", "x.wal"], 2, "x.wal: byte "),
    ] {
        let found = log(&folder, &arguments);
        assert_eq!(found.code, code, "{arguments:?}: {}{}", found.out, found.err);
        assert!(found.err.contains(expected), "{arguments:?}: {}", found.err);
    }
    assert!(Path::new(&folder.path().join("x.wal")).exists());
}
