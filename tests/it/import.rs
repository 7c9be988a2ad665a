//! Recordings of a real feed: imported, and driving drills.

use std::{collections::BTreeMap, fs, path::Path};

use drillfold::{
    cli::Project,
    feed::{deribit, deribit::Message, recorded_inputs},
    judge::run::run_watched,
    scenario::model::Scenario,
};
use drillfold_kernel::{
    effect::{Effect, Note},
    event::{Event, Socket},
    registry::OpenPermissionReason,
};
use serde_json::Value;

use crate::project::{Done, done, files_below, in_parallel, program, root};

const RECORDING: &str = "scenarios/feeds/deribit-2021-04-05.txt";

fn recording() -> String {
    fs::read_to_string(root().join(RECORDING)).expect("the recording is there")
}

/// Imports a file into a folder and returns what the command said.
fn import(file: &Path, out: &Path, more: &[&str]) -> Done {
    let mut command = program(["import", "deribit"]);
    command.arg(file).arg("--out").arg(out).args(more).current_dir(out.parent().expect("it lies in a folder"));
    done(command)
}

/// Returns the scenario that an import of the recording writes.
fn imported_scenario(more: &[&str]) -> Scenario {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("p");
    let Done { code, err, .. } = import(&root().join(RECORDING), &out, more);
    assert_eq!(code, 0, "{err}");
    Project::new(out.clone()).scenarios(&out.join("scenarios/recorded_feed.toml")).expect("it is a scenario").remove(0)
}

/// What a run of a feed shows.
#[derive(Debug, Default, PartialEq)]
struct Shown {
    /// Codes as the latch got them, with the last book change before: its instrument and number.
    latched: Vec<(OpenPermissionReason, Option<(u16, u64)>)>,
    gaps: usize,
    changes: usize,
    chain: String,
}

/// Runs a feed in the scenario of the import.
fn shown(scenario: &Scenario, feed: &str) -> Shown {
    let names: Vec<&str> = scenario.world.instruments.iter().map(|of| of.name.as_str()).collect();
    let inputs = recorded_inputs("feed", feed, &names).expect("the feed is sound");
    let mut shown = Shown::default();
    let mut before: Vec<OpenPermissionReason> = Vec::new();
    let outcome = run_watched(scenario, Some(inputs), |_, event, folder| {
        let change = match event {
            Event::BookChanged(change) => Some((change.instrument.0, change.change_id)),
            _ => None,
        };
        shown.changes += usize::from(change.is_some());
        shown.gaps += folder.effects().iter().filter(|effect| matches!(effect, Effect::Note(Note::Gap(_)))).count();
        let codes: Vec<OpenPermissionReason> = folder.kernel().latch.codes().collect();
        shown.latched.extend(codes.iter().filter(|code| !before.contains(code)).map(|code| (*code, change)));
        before = codes;
    })
    .unwrap_or_else(|error| panic!("{error:?}"));
    shown.chain = outcome.recorded.last.chain.to_string();
    shown
}

/// The boot's own latch, which every run begins with.
const BOOT: (OpenPermissionReason, Option<(u16, u64)>) = (OpenPermissionReason::RestartReconcileRequired, None);

#[test]
fn the_recording_imports_whole_and_replays_to_one_digest() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let Done { code, out, err } = import(&root().join(RECORDING), &one, &["--format", "json"]);
    assert_eq!(code, 0, "{out}{err}");
    let report: Value = serde_json::from_str(&out).expect("it is JSON");
    let count = |key: &str| report[key].as_u64().expect("a count");
    assert_eq!((count("snapshots") + count("changes"), count("changes"), count("tickers")), (187, 177, 273));
    assert_eq!((count("gap_count"), count("error_count"), count("trades")), (0, 0, 0));

    // The same again, with words; the files are the same.
    let Done { code, out, .. } = import(&root().join(RECORDING), &two, &["--format", "human"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("187 book messages (10 snapshots, 177 changes), 273 tickers"), "{out}");
    assert!(out.contains("0 gaps, 0 errors"), "{out}");
    let files = files_below(&one);
    assert!(files == files_below(&two));
    let feed = files.get("scenarios/feeds/recorded_feed.txt").expect("the feed is written");
    assert!(*feed == format!("{}\n", recording().trim_end()).into_bytes());

    // The log's hashes are those of the trace, the scenario makes the same log, and the digest is the report's.
    let chain = report["chain"].as_str().expect("a digest");
    let mut replay = program(["replay", "wal-logs/recorded_feed.wal", "--format", "json"]);
    replay.current_dir(&one);
    let Done { code, out, err } = done(replay);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("\"events\": 2466"), "{out}");
    let scenario = imported_scenario(&[]);
    let whole = shown(&scenario, &recording());
    assert_eq!((whole.chain.as_str(), whole.gaps, whole.changes), (chain, 0, 177));
    assert_eq!(whole.latched, [BOOT]);
    let mut run = program(["run", "scenarios/recorded_feed.toml"]);
    run.current_dir(&one);
    let Done { code, out, err } = done(run);
    assert_eq!(code, 0, "{out}{err}");

    // A name that a scenario can't have leads nowhere.
    let three = folder.path().join("three");
    for name in ["../two/x", "A b", ""] {
        let Done { code, err, .. } = import(&root().join(RECORDING), &three, &["--name", name]);
        assert_eq!(code, 2, "{name}: {err}");
        assert!(err.contains("SCN0007") || err.contains("SCN0039"), "{name}: {err}");
        assert!(!three.exists() && !two.join("x.toml").exists(), "{name}");
    }

    // What is there is not written over.
    let Done { code, err, .. } = import(&root().join(RECORDING), &one, &[]);
    assert_eq!(code, 2);
    assert!(err.contains("is there already"), "{err}");
}

#[test]
fn json_lines_import_like_the_lines_of_the_recorder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lines: String = recording()
        .lines()
        .filter_map(|line| line.split_once(": ").filter(|(time, _)| time.starts_with('1')))
        .map(|(time, frame)| format!("{{\"time\": {time}, \"frame\": {frame}}}\n"))
        .collect();
    let file = folder.path().join("recording.jsonl");
    fs::write(&file, lines).expect("the file can be written");
    let Done { code, out, err } = import(&file, &folder.path().join("p"), &[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("187 book messages (10 snapshots, 177 changes), 273 tickers"), "{out}");
}

#[test]
fn each_change_that_is_cut_out_is_one_gap_at_the_next_change_of_its_book() {
    let scenario = imported_scenario(&[]);
    let names: Vec<&str> = scenario.world.instruments.iter().map(|of| of.name.as_str()).collect();
    let text = recording();
    let lines: Vec<&str> = text.lines().collect();
    let changes: Vec<(usize, u16, u64)> = lines
        .iter()
        .enumerate()
        .filter_map(|(place, line)| {
            let (_, frame) = line.split_once(": ")?;
            deribit::parse(frame).ok()?.into_iter().find_map(|message| match message {
                Message::Changed { instrument, change_id, .. } => {
                    let index = names.iter().position(|name| *name == instrument)?;
                    Some((place, u16::try_from(index).ok()?, change_id))
                }
                _ => None,
            })
        })
        .collect();
    assert_eq!(changes.len(), 177);
    let found = in_parallel(&changes, |(cut, instrument, _)| {
        let feed: Vec<&str> =
            lines.iter().enumerate().filter(|(place, _)| place != cut).map(|(_, line)| *line).collect();
        let next = changes.iter().find(|(place, of, _)| place > cut && of == instrument);
        (shown(&scenario, &feed.join("\n")), next.map(|(_, of, id)| (*of, *id)))
    });
    let mut with_a_later_one = 0;
    for (shown, next) in found {
        match next {
            Some(next) => {
                with_a_later_one += 1;
                let gap = (OpenPermissionReason::WsBookGapReconcileRequired, Some(next));
                assert_eq!((shown.latched, shown.gaps), (vec![BOOT, gap], 1));
            }
            None => assert_eq!((shown.latched, shown.gaps), (vec![BOOT], 0)),
        }
    }
    assert!(with_a_later_one > 150, "{with_a_later_one}");
}

#[test]
fn a_recording_that_stops_is_stale_and_a_10028_ends_the_session() {
    let scenario = imported_scenario(&[]);
    let text = recording();
    let lines: Vec<&str> = text.lines().collect();
    // A minute of it, then silence.
    let time = |line: &str| line.split([':', ' ']).next().and_then(|time| time.parse::<f64>().ok());
    let first = lines.iter().find_map(|line| time(line)).expect("a line has a time");
    let minute: Vec<&str> =
        lines.iter().copied().filter(|line| time(line).is_none_or(|at| at < first + 60.0)).collect();
    assert!(minute.len() < lines.len());
    let stopped = shown(&scenario, &minute.join("\n"));
    let codes: Vec<OpenPermissionReason> = stopped.latched.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [BOOT.0, OpenPermissionReason::WsDataStaleReconcileRequired]);

    let at = lines.iter().position(|line| time(line).is_some_and(|at| at > first + 60.0)).expect("it is long enough");
    let refusal = format!(
        "{}: {}",
        first + 60.0,
        r#"{"jsonrpc":"2.0","id":99,"error":{"code":10028,"message":"too_many_requests"}}"#
    );
    let mut refused = lines.clone();
    refused.insert(at, &refusal);
    let refused = shown(&scenario, &refused.join("\n"));
    let codes: Vec<OpenPermissionReason> = refused.latched.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [BOOT.0, OpenPermissionReason::SessionTerminationReconcileRequired]);
}

#[test]
fn without_keepalives_a_pause_of_the_recording_is_a_silent_line() {
    // Events that only show that the public line lives, and the longest transport lag.
    let heard = |more: &[&str]| {
        let scenario = imported_scenario(more);
        let names: Vec<&str> = scenario.world.instruments.iter().map(|of| of.name.as_str()).collect();
        let inputs = recorded_inputs("feed", &recording(), &names).expect("the feed is sound");
        let (mut alive, mut lag_ms, mut bunker) = (0, 0, false);
        run_watched(&scenario, Some(inputs), |_, event, folder| {
            alive += usize::from(*event == Event::FrameHeard(Socket::Public));
            lag_ms = lag_ms.max(folder.kernel().transport_lag_ms().unwrap_or(0));
            bunker |= folder.kernel().status().is_some_and(|status| status.bunker_mode_active);
        })
        .unwrap_or_else(|error| panic!("{error:?}"));
        (alive, lag_ms, bunker)
    };
    let (alive, lag_ms, bunker) = heard(&[]);
    assert!(alive > 100 && lag_ms < 2_000 && !bunker, "{alive} {lag_ms} {bunker}");
    let (alive, lag_ms, bunker) = heard(&["--no-keepalives"]);
    assert!(alive == 0 && lag_ms > 2_500 && bunker, "{alive} {lag_ms} {bunker}");
}

#[test]
fn what_can_not_be_used_is_told_by_line_and_all_else_is_imported() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = recording();
    let mut lines: Vec<&str> = text.lines().collect();
    let bad = [
        (30, "1617653000: {broken"),
        (31, "not a line"),
        (
            32,
            r#"1617653000: {"method":"subscription","params":{"channel":"book.X.raw","data":{"instrument_name":"X","change_id":-1,"bids":[],"asks":[]}}}"#,
        ),
        (33, r#"1617653000: {"method":"subscription","params":{"channel":"perpetual.X.raw","data":{"interest":1}}}"#),
    ];
    for (place, line) in bad {
        lines.insert(place, line);
    }
    let file = folder.path().join("recording.txt");
    fs::write(&file, lines.join("\n")).expect("the file can be written");
    let Done { code, out, err } = import(&file, &folder.path().join("p"), &["--format", "json"]);
    assert_eq!(code, 1, "{out}{err}");
    let report: Value = serde_json::from_str(&out).expect("it is JSON");
    let faults: BTreeMap<u64, &str> = report["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|fault| (fault["line"].as_u64().expect("a line"), fault["what"].as_str().expect("a text")))
        .collect();
    assert_eq!(faults.keys().copied().collect::<Vec<_>>(), [31, 32, 33], "{faults:?}");
    assert_eq!(report["unknown_channels"]["perpetual.X.raw"], 1);
    assert_eq!((&report["changes"], &report["tickers"]), (&177.into(), &273.into()));

    fs::write(&file, "nothing\nof use\n").expect("the file can be written");
    let Done { code, err, .. } = import(&file, &folder.path().join("q"), &[]);
    assert_eq!(code, 2);
    assert!(err.contains("no market data in 2 lines; line 1 is of no known form"), "{err}");
}
