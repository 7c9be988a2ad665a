//! The validator through the program: it accepts what is committed and refuses what is not a status.

use std::{fs, path::PathBuf};

use crate::project::{base_runs, done, files_below, matrix_runs, program, root};

const SCHEMA: &str = "specs/status/status_csp_exact.schema.json";

/// Returns all goldens and all observed statuses of the packs.
fn committed() -> Vec<PathBuf> {
    let goldens = files_below(&root().join("fixtures/status"))
        .into_keys()
        .filter(|name| name.ends_with(".json"))
        .map(|name| root().join("fixtures/status").join(name));
    let packs = files_below(&root().join("evidence"))
        .into_keys()
        .filter(|name| name.ends_with("/observed_status.json"))
        .map(|name| root().join("evidence").join(name));
    goldens.chain(packs).collect()
}

#[test]
fn goldens_and_observed_statuses_are_valid_strictly() {
    let files = committed();
    let goldens: usize = base_runs().iter().chain(matrix_runs()).map(|base| base.references.goldens.len()).sum();
    assert_eq!(files.len(), goldens + 8, "{files:?}");
    for file in files {
        let file = file.display().to_string();
        for arguments in [
            vec!["validate", "--strict", "--file", &file],
            vec!["validate", "--strict", "--derive-owner-view", "--file", &file],
            vec!["validate", "--strict", "--schema", SCHEMA, "--file", &file],
        ] {
            let mut command = program(&arguments);
            command.current_dir(root());
            let found = done(command);
            assert_eq!(found.code, 0, "{arguments:?}: {}{}", found.out, found.err);
            assert_eq!(found.out.lines().count(), 1, "{}", found.out);
            assert!(found.out.starts_with("VALID "), "{}", found.out);
        }
    }
}

#[test]
fn exit_codes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let golden = root().join("fixtures/status/market_data_stale.json");
    let text = fs::read_to_string(&golden).expect("the golden is there");
    let file = folder.path().join("status.json");
    let name = file.display().to_string();
    let extra = text.replacen('{', "{\n  \"nobody_knows\": 1,", 1);
    let wrong = text.replacen("\"open_permission_blocked_latch\": true", "\"open_permission_blocked_latch\": false", 1);
    assert_ne!(wrong, text, "the golden has a set latch");
    let cases: [(&[u8], &[&str], i32); 12] = [
        (text.as_bytes(), &["--strict"], 0),
        (extra.as_bytes(), &[], 0),
        (extra.as_bytes(), &["--strict"], 1),
        (wrong.as_bytes(), &[], 1),
        (b"[]", &[], 1),
        (b"{", &[], 2),
        (b"\xff", &[], 2),
        (b"", &[], 2),
        (text.as_bytes(), &["--schema", "nowhere.json"], 2),
        (text.as_bytes(), &["--manifest", "nowhere.json"], 2),
        (text.as_bytes(), &["--url", "http://127.0.0.1:9/status"], 2),
        (text.as_bytes(), &["--timeout", "-1"], 2),
    ];
    for (bytes, options, code) in cases {
        fs::write(&file, bytes).expect("the folder can be written");
        let mut command = program(["validate", "--file", &name]);
        command.args(options);
        let found = done(command);
        assert_eq!(found.code, code, "{options:?} {:?}: {}{}", String::from_utf8_lossy(bytes), found.out, found.err);
        let mut quiet = program(["validate", "--quiet", "--file", &name]);
        quiet.args(options);
        let quiet = done(quiet);
        assert_eq!(quiet.code, code);
        assert_eq!(quiet.out, "");
    }
    fs::remove_file(&file).expect("the file is there");
    assert_eq!(done(program(["validate", "--file", &name])).code, 2);
    assert_eq!(done(program(["validate"])).code, 2);
}
