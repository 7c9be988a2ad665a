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
    ("latch_needs_run", &[]),
    ("mode_gate", &[]),
    ("latch_gate", &[]),
    ("no_resend", &[]),
    ("stale_boundary", &[]),
    ("session_kill_boundary", &[]),
    ("trade_dedup", &[]),
    ("record_before_dispatch", &[]),
    ("book_continuity", &[]),
    ("sticky_guard", &[]),
    ("containment_reduces", &[]),
    ("gap_quiet_time", &[]),
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
