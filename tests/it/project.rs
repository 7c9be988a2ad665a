//! What the tests share: the project's folder and copies of it, the program, the drills' runs.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use drillfold::{
    cli::Project,
    feed,
    judge::{
        references::References,
        run::{Outcome, run},
    },
    scenario::model::Scenario,
    sim::RecordedInput,
};
use tempfile::TempDir;

/// What a run reads and writes, below the project's folder.
pub const FOLDERS: [&str; 5] = ["scenarios", "fixtures", "specs", "wal-logs", "evidence"];

/// A drill's base run or a run of a matrix, simulated once for all tests.
pub struct BaseRun {
    /// The run.
    pub outcome: Outcome,
    /// What it is held against.
    pub references: References,
}

impl BaseRun {
    /// Returns the drill's name.
    pub fn name(&self) -> &str {
        &self.outcome.scenario.name
    }
}

/// Returns the project's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns a folder for builds that a test makes, beside the builds of the tests themselves.
pub fn build_folder(name: &str) -> PathBuf {
    target_folder().join(name)
}

/// Returns the folder that the tests themselves were built in.
pub fn target_folder() -> &'static Path {
    let binary = Path::new(env!("CARGO_BIN_EXE_drillfold"));
    binary.ancestors().nth(2).expect("the program lies in target/profile/")
}

/// Returns the drills' scenario files in order: those that lie in `scenarios/` itself.
pub fn scenario_files() -> Vec<PathBuf> {
    every_file().into_iter().filter(|file| file.parent() == Some(&root().join("scenarios"))).collect()
}

/// Returns every scenario file of the project.
fn every_file() -> Vec<PathBuf> {
    Project::new(root().to_owned()).scenario_files(&[]).expect("scenarios are there")
}

/// Returns every scenario and variant of a file.
pub fn scenarios(file: &Path) -> Vec<Scenario> {
    Project::new(root().to_owned()).scenarios(file).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns every drill and variant.
pub fn all_scenarios() -> Vec<Scenario> {
    scenario_files().iter().flat_map(|file| scenarios(file)).collect()
}

/// Returns every scenario and variant of the matrices: those in folders below `scenarios/`.
pub fn matrix_scenarios() -> Vec<Scenario> {
    let drills = scenario_files();
    every_file().iter().filter(|file| !drills.contains(file)).flat_map(|file| scenarios(file)).collect()
}

/// Returns what a scenario is held against.
pub fn references(scenario: &Scenario) -> References {
    Project::new(root().to_owned()).references(scenario).expect("references can be read")
}

/// Returns the recorded feed of a scenario that plays one.
pub fn recording_of(scenario: &Scenario) -> Option<Vec<RecordedInput>> {
    scenario.world.recording.as_ref().map(|name| {
        let path = root().join("scenarios").join(name);
        let text = fs::read_to_string(&path).expect("the recording is there");
        let names: Vec<&str> = scenario.world.instruments.iter().map(|of| of.name.as_str()).collect();
        feed::recorded_inputs(name, &text, &names).expect("the recording is readable")
    })
}

/// Simulates a scenario, with its recorded feed where it has one.
#[track_caller]
pub fn simulate(scenario: &Scenario) -> Outcome {
    run(scenario, recording_of(scenario)).unwrap_or_else(|error| panic!("{}: {error:?}", scenario.full_name()))
}

/// Returns the eight drills' base runs.
pub fn base_runs() -> &'static [BaseRun] {
    static RUNS: OnceLock<Vec<BaseRun>> = OnceLock::new();
    RUNS.get_or_init(|| {
        let bases: Vec<Scenario> = all_scenarios().into_iter().filter(|of| of.variant.is_none()).collect();
        assert_eq!(bases.len(), 8, "the checklist has eight drills");
        in_parallel(&bases, |scenario| BaseRun { outcome: simulate(scenario), references: references(scenario) })
    })
}

/// Returns the runs of the matrices, variants too.
pub fn matrix_runs() -> &'static [BaseRun] {
    static RUNS: OnceLock<Vec<BaseRun>> = OnceLock::new();
    RUNS.get_or_init(|| {
        in_parallel(&matrix_scenarios(), |scenario| BaseRun {
            outcome: simulate(scenario),
            references: references(scenario),
        })
    })
}

/// Does the same with every item on all cores; results in the order of the items.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let place = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(item) = items.get(place)
                {
                    let result = work(item);
                    results.lock().expect("no worker failed").push((place, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no worker failed");
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

/// A copy of the project's data in a temporary folder.
pub struct ProjectCopy {
    folder: TempDir,
    below: PathBuf,
}

impl ProjectCopy {
    /// Copies everything that a run reads and writes.
    pub fn new() -> Self {
        Self::below("p")
    }

    /// As [`ProjectCopy::new`], at a path of another length.
    pub fn below(path: &str) -> Self {
        let copy = Self { folder: tempfile::tempdir().expect("a temporary folder"), below: PathBuf::from(path) };
        for folder in FOLDERS {
            copy_folder(&root().join(folder), &copy.path().join(folder));
        }
        copy
    }

    /// Returns the copy's folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(&self.below)
    }

    /// Returns the program, run in the copy's folder.
    pub fn drillfold<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = program(arguments);
        command.current_dir(self.path());
        command
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the copy can be written");
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.expect("the folder can be read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("the file has a type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else if entry.path().extension().is_none_or(|ending| ending != "new") {
            fs::copy(entry.path(), target).expect("the file can be copied");
        }
    }
}

/// Returns the program with arguments; `CI` is not set for it, so that `--update` is allowed.
pub fn program<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    program_at(Path::new(env!("CARGO_BIN_EXE_drillfold")), arguments)
}

/// As [`program`], for another build of it.
pub fn program_at<S: AsRef<OsStr>>(binary: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments).env_remove("CI");
    command
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs a command to its end; no command may panic.
#[track_caller]
pub fn done(mut command: Command) -> Done {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?} can't be run: {error}"));
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    let (out, err) = (text(stdout), text(stderr));
    assert!(!err.contains("panicked"), "{command:?} panicked:\n{err}");
    Done { code: status.code().unwrap_or_else(|| panic!("{command:?} was killed:\n{out}\n{err}")), out, err }
}

/// Runs cargo in the project's folder, without what cargo's own run of the tests put into the environment, and returns
/// whether it succeeded and what it said.
pub fn cargo(arguments: &[&str], variables: &[(&str, &OsStr)]) -> (bool, String) {
    let output = cargo_output(arguments, variables);
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// As [`cargo`], and returns all that it put out.
pub fn cargo_output(arguments: &[&str], variables: &[(&str, &OsStr)]) -> Output {
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.args(arguments).current_dir(root());
    for name in
        ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "CARGO_MAKEFLAGS"]
    {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    command.output().expect("cargo can be run")
}

/// Returns every file below a folder by its path there, with its bytes.
pub fn files_below(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    fn visit(folder: &Path, prefix: &str, files: &mut std::collections::BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let entry = entry.expect("the folder can be read");
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().expect("the file has a type").is_dir() {
                visit(&entry.path(), &format!("{name}/"), files);
            } else {
                files.insert(name, fs::read(entry.path()).expect("the file can be read"));
            }
        }
    }
    let mut files = std::collections::BTreeMap::new();
    visit(folder, "", &mut files);
    files
}
