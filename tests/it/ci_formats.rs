//! What a CI service is told of a set of runs, read back by readers that are not ours.

use std::{fs, path::Path, process::Command};

use junit_parser::{TestCase, TestSuites};
use pulldown_cmark::{Event, Options, Parser, Tag};

use crate::project::{Done, ProjectCopy, all_scenarios, done, matrix_scenarios, root};

/// What a run told.
struct Told {
    code: i32,
    err: String,
    junit: TestSuites,
    summary: String,
}

fn run(copy: &ProjectCopy, more: &[&str]) -> Told {
    let arguments = ["run", "--junit", "told/junit.xml", "--summary", "told/summary.md", "--annotate"];
    let Done { code, err, .. } = done(copy.drillfold(arguments.iter().chain(more)));
    let folder = copy.path().join("told");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let junit = junit_parser::from_reader(read("junit.xml").as_bytes()).expect("it is JUnit");
    Told { code, err, junit, summary: read("summary.md") }
}

fn cases(junit: &TestSuites) -> Vec<&TestCase> {
    junit.suites.iter().flat_map(|suite| &suite.cases).collect()
}

/// Returns the case of a name.
fn case<'a>(junit: &'a TestSuites, name: &str) -> &'a TestCase {
    let named = cases(junit).into_iter().find(|case| case.original_name == name);
    named.unwrap_or_else(|| panic!("no case {name}"))
}

/// Returns how many tables a Markdown text has and their rows, heads not counted.
fn tables(markdown: &str) -> Vec<usize> {
    let mut tables = Vec::new();
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Table(_)) => tables.push(0),
            Event::Start(Tag::TableRow) => *tables.last_mut().expect("a row is in a table") += 1,
            _ => {}
        }
    }
    tables
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).expect("the file is there");
    assert!(text.contains(from), "{}", path.display());
    fs::write(path, text.replace(from, to)).expect("the copy can be changed");
}

#[test]
fn runs_that_pass_are_green_everywhere() {
    let copy = ProjectCopy::new();
    let Told { code, err, junit, summary } = run(&copy, &["--evidence"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let runs = all_scenarios().len() + matrix_scenarios().len();
    let all = cases(&junit);
    assert!(all.iter().all(|case| case.status.is_success()));
    assert_eq!((junit.tests, junit.failures, junit.errors), (all.len() as u64, 0, 0));
    let of = |name: &str| junit.suites.iter().find(|suite| suite.name == name).expect("the suite is there");
    let committed = of("committed files");
    assert_eq!(all.len() - committed.cases.len(), runs);
    // Log and trace of eight drills, and every file of the packs and beside them.
    assert!(committed.cases.len() > 16 + 150, "{}", committed.cases.len());
    let drill = case(&junit, "drill_2_market_data_stale");
    let property = |name: &str| drill.properties.hashmap.get(name).map(String::as_str);
    assert_eq!((property("seed"), property("time_to_safe_ms")), (Some("2"), Some("3016")));
    assert_eq!(drill.classname.as_deref(), Some("scenarios"));
    assert_eq!(tables(&summary), [8]);
    assert!(summary.starts_with(&format!("## Chaos drills: {runs} of {runs} runs pass\n")), "{summary}");

    // The same runs tell the same; a summary goes on where another left off, as GitHub's file does.
    let again = run(&copy, &["--evidence", "--jobs", "1"]);
    assert_eq!(again.summary, summary.repeat(2));
    assert_eq!(again.junit.tests, junit.tests);
}

#[test]
fn what_fails_is_named_with_its_reason_and_its_file() {
    let copy = ProjectCopy::new();
    let path = copy.path();
    edit(&path.join("fixtures/status/market_data_stale.json"), "\"ReduceOnly\"", "\"Kill\"");
    let log = path.join("wal-logs/drill_5_ws_book_gap.wal");
    let bytes = fs::read(&log).expect("the log is there");
    fs::write(&log, &bytes[1..]).expect("the copy can be changed");
    // No trades, so none that could be lost.
    edit(&path.join("scenarios/drill_6_ws_trades_gap.toml"), "trades_every = \"400ms\"", "trades_every = \"0s\"");

    let Told { code, err, junit, summary } = run(&copy, &[]);
    assert_eq!(code, 1, "{err}");
    let stale = case(&junit, "drill_2_market_data_stale").status.failure_as_ref();
    assert_eq!(stale.failure_type, "fail");
    assert!(stale.message.contains("trading_mode: expected \"Kill\", found \"ReduceOnly\""), "{}", stale.message);
    assert!(stale.text.contains("snapshot tripped"), "{}", stale.text);
    let gap = case(&junit, "drill_6_ws_trades_gap").status.error_as_ref();
    assert_eq!(gap.error_type, "vacuous");
    let differs = case(&junit, "wal-logs/drill_5_ws_book_gap.wal").status.failure_as_ref();
    assert!(differs.message.contains("differs from this run"), "{}", differs.message);

    for line in [
        "::error file=scenarios/drill_2_market_data_stale.toml,title=drill_2_market_data_stale::fail: ",
        "::error file=scenarios/drill_6_ws_trades_gap.toml,title=drill_6_ws_trades_gap::vacuous: ",
        "::error file=wal-logs/drill_5_ws_book_gap.wal,title=committed file differs::differs from this run",
    ] {
        assert!(err.lines().any(|said| said.starts_with(line)), "{line}\n{err}");
    }
    assert_eq!(tables(&summary), [8]);
    for part in ["### What failed", "**drill\\_2\\_market\\_data\\_stale** (fail", "### Committed files that differ"] {
        assert!(summary.contains(part), "{part}\n{summary}");
    }
}

#[test]
fn runs_that_can_not_be_made_are_an_error() {
    let copy = ProjectCopy::new();
    edit(&copy.path().join("scenarios/drill_1_partial_fill.toml"), "drill = 1", "drill = ");
    let Told { code, err, junit, summary } = run(&copy, &[]);
    assert_eq!((code, summary.as_str()), (2, ""));
    assert_eq!((junit.tests, junit.errors), (1, 1));
    let error = cases(&junit)[0].status.error_as_ref();
    assert!(error.text.contains("drill_1_partial_fill.toml"), "{}", error.text);
    let lines: Vec<&str> = err.lines().filter(|line| line.starts_with("::error title=drillfold::")).collect();
    assert_eq!(lines.len(), 1, "{err}");
    assert!(lines[0].contains("drill_1_partial_fill.toml") && lines[0].contains("%0A"), "{err}");
}

/// Returns the commands of the program in a workflow or a document, as a shell takes them.
fn commands(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.split_once("target/release/drillfold"));
    lines
        .map(|(before, rest)| {
            assert!(["- run: ", "- "].contains(&before.trim_start()), "{before}");
            format!("drillfold{rest}")
        })
        .collect()
}

#[test]
fn the_workflows_run_as_they_are_and_fail_on_drift() {
    let program = Path::new(env!("CARGO_BIN_EXE_drillfold")).parent().expect("the program lies in a folder");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").expect("there is a search path"));
    for (file, expected) in [(".github/workflows/drills.yml", 3), ("specs/ci.md", 2)] {
        let text = fs::read_to_string(root().join(file)).expect("the file is there");
        let commands = commands(&text);
        assert_eq!(commands.len(), expected, "{file}");
        let copy = ProjectCopy::new();
        let run = |command: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", command]).current_dir(copy.path());
            done({
                shell.env("PATH", &path).env("CI", "true").env("GITHUB_STEP_SUMMARY", "summary.md");
                shell
            })
        };
        for command in &commands {
            let Done { code, out, err } = run(command);
            assert_eq!(code, 0, "{command}\n{out}{err}");
        }
        fs::remove_dir_all(copy.path().join("drills")).expect("they wrote what is uploaded");
        edit(&copy.path().join("evidence/phase2/drill_1_partial_fill/notes.md"), "pass", "fine");
        let codes: Vec<i32> = commands.iter().map(|command| run(command).code).collect();
        assert_eq!(codes.get(..2), Some(&[1, 1][..]), "{commands:?}");
    }
}
