//! `drillfold serve LOG` as a process: a log replayed at a pace, and one that is followed while it is written.

use std::{fs, time::Duration};

use drillfold::{
    storage::{DiskStorage, Durability},
    wal::{DurabilityPolicy, LogWriter, WriterOptions, read_log},
};
use serde_json::Value;

use crate::{
    project::{base_runs, root},
    serve_restart::{Folded, Serving, until},
};

#[test]
fn a_replayed_log_pauses_at_each_snapshot_with_the_status_of_the_run() {
    for base in base_runs() {
        let log = format!("wal-logs/{}.wal", base.name());
        for (name, taken) in &base.outcome.snapshots {
            let mut serving = Serving::start(&[&log, "--speed", "max", "--pause-at", name]);
            serving.says(&format!("paused at {name}")).expect("it pauses");
            assert_eq!(serving.status(), taken.document, "{log} at {name}");
        }
    }
}

#[test]
fn a_replayed_log_keeps_its_pace_and_rests_at_its_end() {
    let log = "wal-logs/drill_2_market_data_stale.wal";
    let mut slow = Serving::start(&[log, "--speed", "1"]);
    slow.says("http://").expect("it listens");
    let mut whole = Serving::start(&[log, "--speed", "max"]);
    whole.says("the log has ended").expect("it comes to its end");
    assert_eq!(whole.status(), Folded::read(&root().join(log)).statuses.last().unwrap().clone());
    // The drill lasts 95 s and trips after 13 s of them.
    let shown = slow.status().expect("it has begun");
    assert_eq!(shown["ws_event_lag_ms"].as_i64().map(|lag| lag < 1_000), Some(true), "{shown}");
}

#[test]
fn a_followed_log_is_shown_as_it_grows_and_no_longer_when_it_stops() {
    let storage = std::sync::Arc::new(DiskStorage::new(Durability::Synced));
    let source = read_log("source", &fs::read(root().join("wal-logs/drill_5_ws_book_gap.wal")).unwrap()).unwrap();
    let folded = Folded::read(&root().join("wal-logs/drill_5_ws_book_gap.wal"));
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("x.wal");
    let options = WriterOptions::segmented(DurabilityPolicy::EveryEvent);
    let mut writer = LogWriter::create(storage, &log, &source.header, options).unwrap();
    let mut entries = source.entries.iter();
    let mut write = |writer: &mut LogWriter, count: usize| -> Option<Value> {
        let mut last = None;
        for entry in entries.by_ref().take(count) {
            writer.event(entry.at, &entry.event).unwrap();
            last = folded.after(entry.seq).cloned();
        }
        last
    };
    write(&mut writer, 100);
    let mut serving = Serving::start(&[log.to_str().unwrap(), "--follow"]);
    serving.says("http://").expect("it listens");
    for _ in 0..5 {
        let last = write(&mut writer, 200).expect("the log is longer");
        until("the last status is shown", || serving.status().as_ref() == Some(&last));
    }
    // Nobody writes: what is known is old, and is not shown as if it were not.
    until("nothing is shown any more", || serving.status().is_none());
    let last = write(&mut writer, 1).expect("the log is longer");
    until("it is shown again", || serving.status().as_ref() == Some(&last));
    write(&mut writer, usize::MAX);
    writer.finish().unwrap();
    serving.says("the log has ended").expect("a sealed log grows no more");
    assert_eq!(serving.status().as_ref(), folded.statuses.last().unwrap().as_ref());
    // Longer than it takes to be called silent.
    std::thread::sleep(Duration::from_millis(2_500));
    assert!(serving.status().is_some(), "the end of a run is not silence");
}
