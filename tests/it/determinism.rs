//! The same bytes everywhere: in another process, folder, time zone, locale and environment, with other numbers of threads,
//! in a debug and a release build.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use drillfold::{
    scenario::model::{Action, Scenario, Step},
    wal::{DecodedLog, read_log},
};

use crate::project::{
    Done, FOLDERS, ProjectCopy, all_scenarios, base_runs, build_folder, cargo, done, program_at, simulate,
};

/// Names an already built release program, so that no test builds one.
const RELEASE_VARIABLE: &str = "DRILLFOLD_IT_RELEASE";

/// Everything a run wrote, by path, and what it printed.
type Written = BTreeMap<String, Vec<u8>>;

/// Where and how the program runs.
struct Surroundings {
    binary: PathBuf,
    below: &'static str,
    variables: &'static [(&'static str, &'static str)],
    jobs: &'static str,
    /// The working folder is another one, and the project is named by `--root`.
    from_elsewhere: bool,
}

impl Surroundings {
    fn plain() -> Self {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_drillfold"));
        Self { binary, below: "p", variables: &[], jobs: "1", from_elsewhere: false }
    }
}

/// Runs all drills in a copy from which everything they write was taken away, and returns what they wrote.
fn written(around: &Surroundings) -> Written {
    let copy = ProjectCopy::below(around.below);
    let path = copy.path();
    for folder in ["wal-logs", "evidence", "fixtures/status"] {
        std::fs::remove_dir_all(path.join(folder)).expect("the copy can be changed");
    }
    let root = path.display().to_string();
    let mut arguments = vec!["run", "--evidence", "--update", "--jobs", around.jobs];
    if around.from_elsewhere {
        arguments.extend(["--root", root.as_str()]);
    }
    let mut command: Command = program_at(&around.binary, arguments);
    command.envs(around.variables.iter().copied());
    command.current_dir(if around.from_elsewhere { Path::new("/") } else { path.as_path() });
    let Done { code, out, err } = done(command);
    assert_eq!(code, 0, "{out}{err}");
    let mut files = Written::new();
    for folder in FOLDERS {
        for (name, bytes) in crate::project::files_below(&path.join(folder)) {
            files.insert(format!("{folder}/{name}"), bytes);
        }
    }
    // A temporary folder's own name may not be in any file.
    let temporary = std::env::temp_dir().display().to_string();
    for (name, bytes) in &files {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains(&temporary), "{name} names a folder of this machine");
    }
    files.insert("standard output".to_owned(), out.into_bytes());
    files
}

/// What the plain run writes, made once.
fn plain() -> &'static Written {
    static PLAIN: OnceLock<Written> = OnceLock::new();
    PLAIN.get_or_init(|| written(&Surroundings::plain()))
}

#[track_caller]
fn assert_same(found: &Written) {
    let names = |written: &Written| written.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(plain()));
    for (name, bytes) in plain() {
        assert!(found.get(name) == Some(bytes), "{name} differs");
    }
}

#[test]
fn everything_is_written() {
    let files = plain();
    for base in base_runs() {
        for ending in ["wal", "trace"] {
            let name = format!("wal-logs/{}.{ending}", base.name());
            let bytes = files.get(&name).unwrap_or_else(|| panic!("{name} is missing"));
            assert!(bytes.len() <= 256 * 1024, "{name} has {} bytes", bytes.len());
        }
        let pack = format!("evidence/phase2/{}/", base.name());
        assert!(files.keys().filter(|name| name.starts_with(&pack)).count() >= 7, "{pack}");
    }
}

#[test]
fn other_folder_time_zone_locale_environment_and_threads() {
    let around = Surroundings {
        below: "a/project/folder with a space/and a rather long name, so that nothing depends on it",
        variables: &[
            ("TZ", "Pacific/Kiritimati"),
            ("LANG", "tr_TR.UTF-8"),
            ("LC_ALL", "de_DE.UTF-8"),
            ("COLUMNS", "40"),
            ("NO_COLOR", "1"),
            ("RUST_BACKTRACE", "1"),
            ("DRILLFOLD_SEED", "77"),
            ("HOME", "/nowhere"),
        ],
        jobs: "2",
        from_elsewhere: true,
        ..Surroundings::plain()
    };
    assert_same(&written(&around));
}

#[test]
fn another_process() {
    assert_same(&written(&Surroundings { jobs: "7", ..Surroundings::plain() }));
}

/// Returns the release build of the program: the named one, or one that is built here. It has no network client, as that is
/// most of the building and none of a run.
fn release() -> PathBuf {
    if let Some(path) = std::env::var_os(RELEASE_VARIABLE).filter(|path| !path.is_empty()) {
        return PathBuf::from(path);
    }
    let folder = build_folder("it-release");
    let target = folder.display().to_string();
    let arguments = ["build", "--release", "--offline", "--locked", "--no-default-features", "--target-dir", &target];
    let (built, said) = cargo(&arguments, &[]);
    assert!(built, "{said}");
    folder.join(format!("release/drillfold{}", std::env::consts::EXE_SUFFIX))
}

#[test]
fn a_release_build() {
    assert_same(&written(&Surroundings { binary: release(), ..Surroundings::plain() }));
}

#[test]
fn twice_in_one_process() {
    for base in base_runs() {
        let again = simulate(&base.outcome.scenario);
        let (first, second) = (&base.outcome.recorded, &again.recorded);
        assert!(first.log == second.log, "{}: logs differ", base.name());
        assert!(first.trace == second.trace, "{}: traces differ", base.name());
        assert_eq!(base.outcome.snapshots, again.snapshots);
    }
}

/// Returns the events of a run, with their times.
fn events(scenario: &Scenario) -> Vec<drillfold::wal::LogEntry> {
    let DecodedLog { entries, .. } = read_log("log", &simulate(scenario).recorded.log).expect("the log is whole");
    entries
}

/// Returns an action without strength, where it has one.
fn weakened(action: &Action) -> Option<Action> {
    let mut weak = action.clone();
    match &mut weak {
        Action::DropBookChanges { count, .. }
        | Action::DropTrades { count, .. }
        | Action::RepeatTrades { count, .. }
        | Action::RepeatOwnTrades { count }
        | Action::RejectOrders { count, .. }
        | Action::StarveOrders { count, .. }
        | Action::RefuseAuthentication { count, .. }
        | Action::RefuseRest { count, .. }
        | Action::LoseRest { count } => *count = 0,
        Action::StepBackTrades { by, .. } => *by = 0,
        _ => return None,
    }
    Some(weak)
}

/// A scenario without the judging, whose snapshots a weakened fault may never reach.
fn bare(scenario: &Scenario, steps: Vec<Step>) -> Scenario {
    Scenario { steps, snapshots: Vec::new(), expectations: Vec::new(), ..scenario.clone() }
}

#[test]
fn a_fault_of_strength_zero_changes_no_event() {
    let mut tried = 0;
    for scenario in all_scenarios() {
        for (place, step) in scenario.steps.iter().enumerate() {
            let Some(action) = weakened(&step.action) else { continue };
            tried += 1;
            let mut with = scenario.steps.clone();
            with[place].action = action;
            let mut without = scenario.steps.clone();
            without.remove(place);
            let same = events(&bare(&scenario, with)) == events(&bare(&scenario, without));
            assert!(same, "{}: `{}` with strength zero changes events", scenario.full_name(), step.says);
        }
    }
    assert!(tried >= 10, "only {tried} faults have a strength");
}

/// Every fault that has a strength, also those that no drill has.
#[test]
fn each_kind_of_fault_of_strength_zero_changes_no_event() {
    let base = &base_runs()[5].outcome.scenario;
    let plain = events(&bare(base, Vec::new()));
    let kinds = [
        Action::DropBookChanges { instrument: 0, count: 0 },
        Action::DropTrades { instrument: 0, count: 0 },
        Action::RepeatTrades { instrument: 0, count: 0 },
        Action::RepeatOwnTrades { count: 0 },
        Action::RejectOrders { instrument: None, only_legs: false, count: 0, code: 10009 },
        Action::StarveOrders { instrument: None, count: 0, fill: drillfold_kernel::units::Ppm(0) },
        Action::RefuseAuthentication { count: 0, code: 13004 },
        Action::RefuseRest { count: 0, code: 429 },
        Action::LoseRest { count: 0 },
    ];
    for action in kinds {
        let step = Step { at_ms: 5_000, trigger: true, says: "nothing".to_owned(), action };
        assert!(events(&bare(base, vec![step.clone()])) == plain, "{:?}", step.action);
    }
}
