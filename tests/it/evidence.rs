//! Packs that a stranger can check: built, carried away, made again, damaged.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use drillfold::{contract::config::sha256_hex, evidence::SHEET_FILES};
use serde_json::Value;
use tempfile::TempDir;

use crate::project::{Done, ProjectCopy, base_runs, done, files_below, in_parallel, program, root};

const SUMS: &str = "proof/SHA256SUMS";

/// Packs that were built into a folder of their own, away from the project.
fn built() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let packs = folder.path().join("packs");
    let mut command = program(["evidence", "build", "--out"]);
    let Done { code, out, err } = done({
        command.arg(&packs).current_dir(root());
        command
    });
    assert_eq!(code, 0, "{out}{err}");
    (folder, packs)
}

/// Verifies in a folder that is no project.
fn verify(path: &Path, more: &[&str]) -> Done {
    let mut command = program(["evidence", "verify"]);
    command.arg(path).args(more).current_dir(path);
    done(command)
}

/// Returns the verdict on each file of the only pack at `path`, and whether it holds.
fn verdicts(path: &Path) -> (bool, BTreeMap<String, String>) {
    let Done { code, out, err } = verify(path, &["--format", "json"]);
    let document: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let [pack] = document["packs"].as_array().expect("a list").as_slice() else { panic!("{out}") };
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let files = pack["files"].as_array().expect("a list").iter();
    let files = files.map(|file| (text(&file["path"]), text(&file["verdict"]))).collect();
    assert_eq!(code, i32::from(document["holds"] != true), "{out}");
    (code == 0, files)
}

#[test]
fn packs_built_anywhere_hold_by_themselves() {
    let (_folder, packs) = built();
    let Done { code, out, err } = verify(&packs, &[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.ends_with("8 of 8 packs hold\n"), "{out}");
    // The committed ones are the same, but for the record of what built them.
    let committed = files_below(&root().join("evidence/phase2"));
    let mut files = files_below(&packs);
    files.retain(|path, _| !path.ends_with("proof/provenance.json"));
    assert_eq!(files.keys().collect::<Vec<_>>(), committed.keys().collect::<Vec<_>>());
    for (path, bytes) in &committed {
        assert!(files.get(path) == Some(bytes), "{path}");
    }
    let Done { code, out, err } = verify(&root().join("evidence/phase2"), &[]);
    assert_eq!(code, 0, "{out}{err}");
    let mut inside = program(["evidence", "verify", "."]);
    inside.current_dir(packs.join("drill_1_partial_fill"));
    let Done { code, out, .. } = done(inside);
    assert!(code == 0 && out.starts_with("drill_1_partial_fill: holds"), "{out}");
}

#[test]
fn a_packs_proof_is_a_project() {
    let (_folder, packs) = built();
    let proof = packs.join("drill_5_ws_book_gap/proof");
    let mut command = program(["run", "--root"]);
    command.arg(&proof).current_dir(&packs);
    let Done { code, out, err } = done(command);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("drill_5_ws_book_gap") && out.contains("/recorded_feed"), "{out}");
}

#[test]
fn a_byte_changed_in_any_file_of_any_pack_is_found_and_named() {
    let (_folder, packs) = built();
    in_parallel(base_runs(), |base| {
        let pack = packs.join(base.name());
        assert!(verdicts(&pack).0, "{}", base.name());
        let files = files_below(&pack);
        assert!(files.len() >= 18, "{}", files.len());
        for (path, bytes) in &files {
            let place = pack.join(path);
            let mut changed = bytes.clone();
            let at = changed.len() / 2;
            match changed.get_mut(at) {
                Some(byte) => *byte ^= 1,
                None => changed.push(b'\n'),
            }
            fs::write(&place, changed).expect("the pack can be changed");
            let (holds, found) = verdicts(&pack);
            assert!(!holds, "{path}");
            assert_eq!(found.get(path).map(String::as_str), Some("different"), "{path}: {found:?}");
            fs::remove_file(&place).expect("the pack can be changed");
            // Who built a pack need not be told.
            let (holds, found) = verdicts(&pack);
            let may_miss = path == "proof/provenance.json";
            assert_eq!(holds, may_miss, "{path}");
            assert_eq!(found.get(path).map(String::as_str), (!may_miss).then_some("missing"), "{path}: {found:?}");
            fs::write(&place, bytes).expect("the pack can be changed");
        }
        fs::write(pack.join("proof/more.md"), "").expect("the pack can be changed");
        let (holds, found) = verdicts(&pack);
        assert!(!holds && found.get("proof/more.md").is_some_and(|verdict| verdict == "extra"), "{found:?}");
        fs::remove_file(pack.join("proof/more.md")).expect("the pack can be changed");
        assert!(verdicts(&pack).0, "{}", base.name());
    });
    for name in SHEET_FILES {
        let sheet = packs.join(name);
        let text = fs::read_to_string(&sheet).expect("the sheet is there");
        let changed = text.replacen("8 of 8", "9 of 8", 1);
        assert_ne!(text, changed, "{name}");
        fs::write(&sheet, changed).expect("the sheet can be changed");
        let Done { code, out, .. } = verify(&packs, &[]);
        assert_eq!(code, 1, "{out}");
        assert!(out.contains(&format!("{name}: different")) && out.contains("8 of 8 packs hold"), "{out}");
        fs::remove_file(&sheet).expect("the sheet can be removed");
        let Done { code, out, .. } = verify(&packs, &[]);
        assert_eq!(code, 1, "{out}");
        assert!(out.contains(&format!("{name}: missing")), "{out}");
        fs::write(&sheet, text).expect("the sheet can be changed");
    }
    assert_eq!(verify(&packs, &[]).code, 0);
}

#[test]
fn packs_are_the_same_at_any_path_for_any_user_and_in_any_number_of_threads() {
    let build = |below: &str, jobs: &str, variables: &[(&str, &str)]| {
        let copy = ProjectCopy::below(below);
        let packs = copy.path().join("packs");
        let mut command = copy.drillfold(["evidence", "build", "--jobs", jobs, "--out"]);
        command.arg(&packs).envs(variables.iter().copied());
        let Done { code, out, err } = done(command);
        assert_eq!(code, 0, "{out}{err}");
        files_below(&packs)
    };
    let plain = build("p", "1", &[]);
    let user = [
        ("USER", "somebody"),
        ("LOGNAME", "somebody"),
        ("HOME", "/nowhere"),
        ("HOSTNAME", "elsewhere"),
        ("TZ", "America/St_Johns"),
        ("LANG", "tr_TR.UTF-8"),
        ("LC_ALL", "ar_EG.UTF-8"),
        ("SOURCE_DATE_EPOCH", "1"),
    ];
    let other = build("another/folder with a space", "3", &user);
    assert_eq!(plain.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    for (path, bytes) in &plain {
        assert!(other.get(path) == Some(bytes), "{path}");
    }
    // The record of what built them among them.
    assert!(plain.contains_key("drill_1_partial_fill/proof/provenance.json"));
}

#[test]
fn every_point_of_the_sign_off_has_a_command_that_proves_it() {
    let text = fs::read_to_string(root().join("evidence/phase2/signoff.json")).expect("the sign-off is there");
    let signoff: Value = serde_json::from_str(&text).expect("it is JSON");
    let points = signoff["points"].as_array().expect("a list");
    assert_eq!(points.len(), 8);
    let sheet = fs::read_to_string(root().join("evidence/phase2/SIGNOFF.md")).expect("the sheet is there");
    let copy = ProjectCopy::new();
    let program = Path::new(env!("CARGO_BIN_EXE_drillfold")).parent().expect("the program lies in a folder");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").expect("there is a search path"));
    let run = |command: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(copy.path()).env("PATH", &path).env_remove("CI");
        done(shell)
    };
    let mut proven = 0;
    for point in points {
        let command = point["command"].as_str().expect("a text");
        assert!(sheet.contains(&format!("`{command}`")), "{command}");
        if point["result"] == "left to a person" {
            assert_eq!(point["id"], "owner-dashboard");
            continue;
        }
        assert_eq!(point["result"], "holds");
        let Done { code, out, err } = run(command);
        assert_eq!(code, 0, "{command}\n{out}{err}");
        proven += 1;
    }
    assert_eq!(proven, 7);
    // The commands are no formality: each fails where its point does.
    let edit = |path: &str, from: &str, to: &str| {
        let place = copy.path().join(path);
        let text = fs::read_to_string(&place).expect("the file is there");
        assert!(text.contains(from), "{path}");
        fs::write(&place, text.replace(from, to)).expect("the copy can be changed");
    };
    edit("fixtures/status/market_data_stale.json", "REDUCEONLY_OPEN_PERMISSION_LATCHED", "MADE_UP");
    edit("evidence/phase2/drill_3_wal_backpressure/observed_status.json", "\"ReduceOnly\"", "\"Active\"");
    let long = "one more line\n".repeat(80);
    fs::write(copy.path().join("evidence/phase2/drill_4_crash_restart/notes.md"), long + "and one\n")
        .expect("the copy can be changed");
    for point in points.iter().filter(|point| point["result"] == "holds") {
        let command = point["command"].as_str().expect("a text");
        assert_ne!(run(command).code, 0, "{command}");
    }
}

#[test]
fn new_sums_over_an_edited_file_do_not_help() {
    let (_folder, packs) = built();
    let pack = packs.join("drill_1_partial_fill");
    let read = |path: &str| fs::read_to_string(pack.join(path)).expect("the file is there");
    for (path, from, to) in [
        ("notes.md", "Verdict **pass**", "Verdict **PASS**"),
        ("time_to_safe_ms", "18", "17"),
        ("proof/fixtures/status/partial_fill_containment.json", "\"ReduceOnly\"", "\"Kill\""),
    ] {
        let (before, sums) = (read(path), read(SUMS));
        let after = before.replacen(from, to, 1);
        assert_ne!(before, after, "{path}");
        let sum = |text: &str| sha256_hex(text.as_bytes());
        fs::write(pack.join(path), &after).expect("the pack can be changed");
        fs::write(pack.join(SUMS), sums.replace(&sum(&before), &sum(&after))).expect("the pack can be changed");
        let (holds, found) = verdicts(&pack);
        assert!(!holds, "{path}: {found:?}");
        fs::write(pack.join(path), &before).expect("the pack can be changed");
        fs::write(pack.join(SUMS), &sums).expect("the pack can be changed");
    }
    assert!(verdicts(&pack).0);
}

#[test]
fn what_is_no_pack_could_not_be_checked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Done { code, err, .. } = verify(folder.path(), &[]);
    assert_eq!(code, 2);
    assert!(err.contains("no pack and no folder of packs"), "{err}");
    // An empty folder among packs is a pack of which everything is missing.
    fs::create_dir(folder.path().join("drill_9")).expect("the folder can be made");
    let Done { code, out, err } = verify(folder.path(), &[]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("proof/SHA256SUMS: missing") && out.contains("0 of 1 packs hold"), "{out}");
}

#[test]
fn packs_are_written_into_a_new_folder_only() {
    let copy = ProjectCopy::new();
    let Done { code, err, .. } = done(copy.drillfold(["evidence", "build", "--out", "evidence"]));
    assert_eq!(code, 2);
    assert!(err.contains("is there already"), "{err}");
}
