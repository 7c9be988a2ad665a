//! `git bisect run drillfold check`: the commit that broke a scenario is found.

use std::{fs, path::Path, process::Command};

use crate::project::{ProjectCopy, done};

/// Git with nothing of the machine's own settings.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(folder).args(arguments);
    for (name, value) in [
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_AUTHOR_NAME", "a"),
        ("GIT_AUTHOR_EMAIL", "a@example.org"),
        ("GIT_COMMITTER_NAME", "a"),
        ("GIT_COMMITTER_EMAIL", "a@example.org"),
    ] {
        command.env(name, value);
    }
    command.env_remove("CI");
    let found = done(command);
    assert_eq!(found.code, 0, "git {arguments:?}: {}{}", found.out, found.err);
    found.out
}

#[test]
fn git_bisect_finds_the_commit_that_broke_a_scenario() {
    const SCENARIO: &str = "scenarios/drill_5_ws_book_gap.toml";
    let copy = ProjectCopy::new();
    let folder = copy.path();
    let commit = |says: &str| {
        git(&folder, &["add", "--all"]);
        git(&folder, &["commit", "--quiet", "--message", says]);
        git(&folder, &["rev-parse", "HEAD"]).trim().to_owned()
    };
    let edit = |from: &str, to: &str| {
        let path = folder.join(SCENARIO);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    };
    git(&folder, &["init", "--quiet"]);
    let good = commit("all drills pass");
    let mut broke = String::new();
    for step in 1..=9 {
        match step {
            // Not a scenario at all for two commits: these can't be tested.
            3 => edit("[world.market]", "[world.market"),
            5 => edit("[world.market\n", "[world.market]\n"),
            6 => edit("book_every = \"80ms\"", "book_every = \"90ms\""),
            _ => edit("# Drill 5", &format!("# Edit {step}\n# Drill 5")),
        }
        let hash = commit(&format!("edit {step}"));
        if step == 6 {
            broke = hash;
        }
    }
    git(&folder, &["bisect", "start", "HEAD", &good]);
    let said = git(&folder, &["bisect", "run", env!("CARGO_BIN_EXE_drillfold"), "check", SCENARIO]);
    assert!(said.contains(&format!("{broke} is the first bad commit")), "{said}");
}
