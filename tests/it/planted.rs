//! Planted bugs: each rule that a build can break on purpose is noticed by some drill. A check that never fails proves
//! nothing.
//!
//! The build with `--cfg planted` is made here, in a folder of its own; no other build can break a rule.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde_json::Value;

use crate::project::{ProjectCopy, build_folder, cargo, done, in_parallel, program};

/// Which runs fail for which broken rule: drill, or drill/variant.
const CAUGHT_BY: &[(&str, &[&str])] = &[
    (
        "latch_needs_run",
        &[
            "drill_2_market_data_stale",
            "drill_4_crash_restart",
            "drill_4_crash_restart/after_ack",
            "drill_4_crash_restart/after_fill",
            "drill_4_crash_restart/after_record",
            "drill_4_crash_restart/after_send",
            "drill_4_crash_restart/before_ack",
            "drill_4_crash_restart/before_fill",
            "drill_4_crash_restart/before_record",
            "drill_4_crash_restart/before_sent_record",
            "drill_4_crash_restart/in_reconciliation",
            "drill_5_ws_book_gap",
            "drill_6_ws_trades_gap",
            "drill_8_unknown_token",
        ],
    ),
    (
        "mode_gate",
        &[
            "drill_1_partial_fill",
            "drill_1_partial_fill/hedge",
            "drill_1_partial_fill/partial_close",
            "drill_1_partial_fill/rescue",
            "drill_1_partial_fill/rescue_would_add",
            "drill_1_partial_fill/three_closes",
            "drill_3_wal_backpressure",
            "drill_3_wal_backpressure/first_refusal_is_an_open",
            "drill_7_session_termination/escalation",
            "drill_8_unknown_token",
        ],
    ),
    (
        "latch_gate",
        &[
            "drill_2_market_data_stale",
            "drill_4_crash_restart",
            "drill_4_crash_restart/after_ack",
            "drill_4_crash_restart/after_fill",
            "drill_4_crash_restart/after_record",
            "drill_4_crash_restart/after_send",
            "drill_4_crash_restart/before_ack",
            "drill_4_crash_restart/before_fill",
            "drill_4_crash_restart/before_record",
            "drill_4_crash_restart/before_sent_record",
            "drill_4_crash_restart/in_reconciliation",
            "drill_5_ws_book_gap",
            "drill_5_ws_book_gap/recorded_feed",
            "drill_6_ws_trades_gap",
            "drill_6_ws_trades_gap/doubled_own_trades",
            "drill_6_ws_trades_gap/step_back",
            "drill_7_session_termination",
            "drill_7_session_termination/bare_disconnect",
            "drill_7_session_termination/escalation",
            "drill_7_session_termination/revoked_key",
            "drill_8_unknown_token",
        ],
    ),
    (
        "no_resend",
        &[
            "drill_4_crash_restart",
            "drill_4_crash_restart/after_ack",
            "drill_4_crash_restart/after_fill",
            "drill_4_crash_restart/after_record",
            "drill_4_crash_restart/after_send",
            "drill_4_crash_restart/before_ack",
            "drill_4_crash_restart/before_fill",
            "drill_4_crash_restart/before_record",
            "drill_4_crash_restart/before_sent_record",
            "drill_4_crash_restart/in_reconciliation",
            "drill_8_unknown_token",
        ],
    ),
    ("stale_boundary", &["drill_2_market_data_stale", "drill_2_market_data_stale/real_threshold"]),
    ("session_kill_boundary", &["drill_7_session_termination/escalation"]),
    ("trade_dedup", &["drill_6_ws_trades_gap"]),
    ("record_before_dispatch", &["drill_3_wal_backpressure/first_refusal_is_an_open"]),
    ("book_continuity", &["drill_5_ws_book_gap", "drill_5_ws_book_gap/recorded_feed"]),
    ("sticky_guard", &["drill_8_unknown_token"]),
    ("containment_reduces", &["drill_1_partial_fill/rescue_would_add"]),
    ("gap_quiet_time", &["drill_5_ws_book_gap", "drill_5_ws_book_gap/recorded_feed"]),
];

/// Returns the planted build of the program. It has no network client, and its dependencies are optimised little: both only
/// make the building long.
fn planted() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let folder = build_folder("planted");
        let target = folder.display().to_string();
        let light = ["--config", "profile.dev.debug=false", "--config", "profile.dev.package.\"*\".opt-level=1"];
        let mut arguments = vec!["build", "--offline", "--locked", "--no-default-features", "--target-dir", &target];
        arguments.extend(light);
        let (built, said) = cargo(&arguments, &[("RUSTFLAGS", OsStr::new("--cfg planted"))]);
        assert!(built, "{said}");
        folder.join(format!("debug/drillfold{}", std::env::consts::EXE_SUFFIX))
    })
}

/// Returns the verdict of each run of all drills and variants, by name.
fn verdicts(copy: &ProjectCopy, rule: Option<&str>) -> BTreeMap<String, String> {
    let mut arguments = Vec::new();
    if let Some(rule) = rule {
        arguments.extend(["--plant", rule]);
    }
    arguments.extend(["run", "--filter", "drill_", "--jobs", "1", "--format", "json"]);
    let mut command = crate::project::program_at(planted(), arguments);
    // With CI set nothing is written beside goldens that differ.
    command.current_dir(copy.path()).env("CI", "true");
    let found = done(command);
    assert!(found.code <= 1, "{rule:?}: {}", found.err);
    let document: Value = serde_json::from_str(&found.out).expect("it is JSON");
    let runs = document["runs"].as_array().expect("runs are a list");
    let text = |value: &Value| value.as_str().expect("it is text").to_owned();
    runs.iter().map(|run| (text(&run["name"]), text(&run["verdict"]))).collect()
}

/// Returns the names of the rules that the planted build knows.
fn known_rules() -> BTreeSet<String> {
    let refused = done(crate::project::program_at(planted(), ["--plant", "nonsense", "list"]));
    assert_eq!(refused.code, 2, "{}", refused.err);
    let (_, known) = refused.err.trim().split_once("known: ").expect("the known rules are listed");
    known.split(", ").map(str::to_owned).collect()
}

#[test]
fn the_planted_build_passes_where_nothing_is_broken() {
    let copy = ProjectCopy::new();
    let failed: Vec<_> = verdicts(&copy, None).into_iter().filter(|(_, verdict)| verdict != "pass").collect();
    assert!(failed.is_empty(), "{failed:?}");
    let whole = done({
        let mut command = crate::project::program_at(planted(), ["run", "--evidence"]);
        command.current_dir(copy.path());
        command
    });
    assert_eq!(whole.code, 0, "{}{}", whole.out, whole.err);
}

#[test]
fn every_broken_rule_is_caught_by_its_drills() {
    // `whole_image` breaks no rule of the layer but one of replay; it is the heavy replay's to find.
    let rules = CAUGHT_BY.iter().map(|(rule, _)| *rule).chain(["whole_image"]);
    let recorded: BTreeSet<String> = rules.map(str::to_owned).collect();
    assert_eq!(known_rules(), recorded, "the table lists other rules than the planted build knows");
    let copy = ProjectCopy::new();
    let found = in_parallel(CAUGHT_BY, |(rule, _)| -> BTreeSet<String> {
        verdicts(&copy, Some(rule)).into_iter().filter(|(_, verdict)| verdict != "pass").map(|(name, _)| name).collect()
    });
    let mut wrong = Vec::new();
    for ((rule, expected), found) in CAUGHT_BY.iter().zip(found) {
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        if found.is_empty() {
            wrong.push(format!("    // no drill notices {rule}: make one sharper"));
        } else if found != expected {
            let names: Vec<String> = found.iter().map(|name| format!("{name:?}")).collect();
            wrong.push(format!("    ({rule:?}, &[{}]),", names.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "CAUGHT_BY is not what the drills show:\n{}", wrong.join("\n"));
}

/// What one build does at each event of a log, from its dump.
fn dump(binary: &Path, plant: Option<&str>, log: &Path, last: u64) -> Vec<Value> {
    let mut arguments: Vec<String> = plant.iter().flat_map(|rule| ["--plant".to_owned(), (*rule).to_owned()]).collect();
    arguments.extend(["replay".to_owned(), log.display().to_string()]);
    let window = format!("--no-trace --events --from-seq 1 --to-seq {last} --format jsonl");
    arguments.extend(window.split(' ').map(str::to_owned));
    let found = done(crate::project::program_at(binary, arguments));
    assert_eq!(found.code, 0, "{}", found.err);
    found.out.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect()
}

/// Returns the first event at which any of the keys differ.
fn first_difference(left: &[Value], right: &[Value], keys: &[&str]) -> Option<u64> {
    assert_eq!(left.len(), right.len());
    let differs = |(left, right): &(&Value, &Value)| keys.iter().any(|key| left[*key] != right[*key]);
    left.iter().zip(right).find(differs).and_then(|(left, _)| left["seq"].as_u64())
}

#[test]
fn bisect_names_the_event_at_which_each_broken_rule_first_shows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let logs = folder.path().join("logs");
    let copy = ProjectCopy::new();
    let recorded = done(copy.drillfold(["run".as_ref(), "--logs".as_ref(), logs.as_os_str()]));
    assert_eq!(recorded.code, 0, "{}", recorded.err);
    let own = Path::new(env!("CARGO_BIN_EXE_drillfold"));
    let exact = in_parallel(CAUGHT_BY, |(rule, runs)| {
        // A rule may show in no more than what the world then sends: the log has what it sent to a sound kernel.
        let shows = runs.iter().find_map(|run| {
            let log = logs.join(format!("{}.wal", run.replace('/', ".")));
            let planted = planted().as_os_str();
            let bisected = done(program([
                "bisect".as_ref(),
                log.as_os_str(),
                "--against".as_ref(),
                planted,
                "--against-arg".as_ref(),
                "--plant".as_ref(),
                "--against-arg".as_ref(),
                OsStr::new(rule),
                "--format".as_ref(),
                "json".as_ref(),
            ]));
            assert!(bisected.code <= 1, "{rule}: {}", bisected.err);
            let report: Value = serde_json::from_str(&bisected.out).expect("it is JSON");
            (bisected.code == 1).then_some((log, report))
        });
        let Some((log, report)) = shows else { return format!("{rule} shows in no log") };
        let last = crate::inspect::last_event(&log);
        let (sound, broken) = (dump(own, None, &log, last), dump(planted(), Some(rule), &log, last));
        let observable = first_difference(&sound, &broken, &["mode", "reasons", "codes", "effects"]);
        let state = first_difference(&sound, &broken, &["leaves"]);
        for (what, expected) in [("observable", observable), ("state", state)] {
            let found = report[what]["first_seq"].as_u64();
            assert_eq!(found, expected, "{rule}: {what}");
            assert_eq!(report[what]["last_seq"], report[what]["first_seq"], "{rule}: {what}");
        }
        let meets = report["met_again"]["differing_events"].as_u64().unwrap_or_default();
        assert_eq!(meets > 0, observable.is_some(), "{rule}");
        String::new()
    });
    let missing: Vec<&String> = exact.iter().filter(|said| !said.is_empty()).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(exact.len() >= 12);
}

#[test]
fn a_heavy_replay_finds_state_that_images_miss() {
    let log = crate::project::root().join("wal-logs/drill_5_ws_book_gap.wal");
    let heavy = |plant: &[&str]| {
        let mut arguments: Vec<&OsStr> = plant.iter().map(OsStr::new).collect();
        arguments.extend([OsStr::new("replay"), log.as_os_str(), OsStr::new("--heavy")]);
        done(crate::project::program_at(planted(), arguments))
    };
    let sound = heavy(&[]);
    assert_eq!(sound.code, 0, "{}{}", sound.out, sound.err);
    let lost = heavy(&["--plant", "whole_image"]);
    assert_eq!(lost.code, 1, "{}{}", lost.out, lost.err);
    // The fifth tick is the first at which the lost count matters.
    let fifth = crate::inspect::seq_of_kind(&log, "LoopTicked", 5);
    assert!(lost.out.contains(&format!("at event {fifth} ")), "{}", lost.out);
}

#[test]
fn no_other_build_can_break_a_rule() {
    let refused = done(program(["--plant", "mode_gate", "list"]));
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("--plant"), "{}", refused.err);
}
