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
    arguments.extend(["run", "--jobs", "1", "--format", "json"]);
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
    let recorded: BTreeSet<String> = CAUGHT_BY.iter().map(|(rule, _)| (*rule).to_owned()).collect();
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

#[test]
fn no_other_build_can_break_a_rule() {
    let refused = done(program(["--plant", "mode_gate", "list"]));
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("--plant"), "{}", refused.err);
}
