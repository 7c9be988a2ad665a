//! `drillfold run`: simulate, judge, compare or accept what is committed.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, bail};
use drillfold_kernel::registry::TradingMode;
use serde_json::{Value, json};

use super::{EXIT_DIFFERS, EXIT_HOLDS, Format, evidence::write_or_compare, project::Project};
use crate::{
    contract::document::to_text,
    evidence::{CiReport, CiRun, Compared, DrillRun, annotation_of_error, junit_of_error},
    feed,
    judge::{
        coverage::{Exercised, lost_items, page},
        references::{References, TRIPPED, golden_file},
        report::{Strictness, Verdict, judge},
        run::{Taken, run_watched},
    },
    scenario::model::Scenario,
    sim::RecordedInput,
};

/// Options of `drillfold run`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RunArgs {
    /// Scenario files or folders, with the folders in them [default: scenarios/]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Build the evidence packs as well and compare them with the committed ones
    #[arg(long)]
    pub evidence: bool,
    /// Run under another seed; values may differ then, verdict, reasons and latch codes may not
    #[arg(long, value_name = "N", conflicts_with_all = ["evidence", "update"])]
    pub seed: Option<u64>,
    /// Run under every seed from A up to, not including, B
    #[arg(long, value_name = "A..B", value_parser = seeds, conflicts_with_all = ["evidence", "update", "seed"])]
    pub seeds: Option<(u64, u64)>,
    /// Runs at a time [default: the machine's cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Only scenarios and variants whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Parse and check everything, print the timeline, simulate nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Accept what the run shows: write goldens, logs, traces and packs (refused where CI is set)
    #[arg(long)]
    pub update: bool,
    /// Write the log and the trace of every run into this folder, for `replay`, `explain` and `bisect`
    #[arg(long, value_name = "DIR")]
    pub logs: Option<PathBuf>,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Compare what the runs exercised with this file, the coverage ledger; with --update write it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "seeds"])]
    pub coverage: Option<PathBuf>,
    /// List every check, not only those that fail
    #[arg(long)]
    pub verbose: bool,
    /// Write a JUnit XML report of the runs and of the committed files that were compared
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Append a Markdown summary to this file, as to GitHub's $GITHUB_STEP_SUMMARY
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Print GitHub's workflow commands that mark each file with what is wrong with it
    #[arg(long)]
    pub annotate: bool,
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let parse = |part: &str| part.parse::<u64>().map_err(|error| format!("{part:?}: {error}"));
    let (first, last) = text.split_once("..").ok_or("expected A..B")?;
    let (first, last) = (parse(first)?, parse(last)?);
    if first < last { Ok((first, last)) } else { Err("expected A below B".to_owned()) }
}

/// A run with what it was held against.
#[derive(Clone, Debug)]
pub struct SimulatedDrill {
    /// The run and its judgement.
    pub run: DrillRun,
    /// What it was held against.
    pub references: References,
    /// Its scenario file.
    pub file: PathBuf,
    /// Folder of that, below the project's where it lies there.
    pub folder: PathBuf,
    /// What it exercised.
    pub exercised: Exercised,
}

/// Something to simulate.
#[derive(Clone, Debug)]
struct Task {
    scenario: Scenario,
    file: PathBuf,
    strictness: Strictness,
}

/// Simulates and judges every scenario and variant of the files, in their order, `jobs` at a time.
///
/// # Errors
/// A file that can't be read or a scenario that can't be run; the first in the order of the files.
pub fn simulate_all(project: &Project, args: &RunArgs) -> anyhow::Result<Vec<SimulatedDrill>> {
    let tasks = tasks(project, args)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let jobs = args.jobs.map_or(cores, usize::from).min(tasks.len().max(1));
    let next = AtomicUsize::new(0);
    let results: Mutex<BTreeMap<usize, anyhow::Result<SimulatedDrill>>> = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let place = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(task) = tasks.get(place)
                {
                    let result = simulate_one(project, task);
                    results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(place, result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_values().collect()
}

fn tasks(project: &Project, args: &RunArgs) -> anyhow::Result<Vec<Task>> {
    let mut tasks = Vec::new();
    for file in project.scenario_files(&args.paths)? {
        for scenario in project.scenarios(&file)? {
            let wanted = args.filter.as_ref().is_none_or(|filter| scenario.full_name().contains(filter.as_str()));
            if !wanted {
                continue;
            }
            let own = scenario.seed;
            let seeds = match (args.seed, args.seeds) {
                (Some(seed), _) => seed..seed.saturating_add(1),
                (None, Some((first, last))) => first..last,
                (None, None) => own..own.saturating_add(1),
            };
            for seed in seeds {
                let strictness = if seed == own { Strictness::Exact } else { Strictness::Reasons };
                let scenario = Scenario { seed, ..scenario.clone() };
                tasks.push(Task { scenario, file: file.clone(), strictness });
            }
        }
    }
    if tasks.is_empty() {
        bail!("no scenario matches; `drillfold list` shows what there is");
    }
    Ok(tasks)
}

fn simulate_one(project: &Project, task: &Task) -> anyhow::Result<SimulatedDrill> {
    let recording = recording(project, &task.file, &task.scenario)?;
    let mut exercised = Exercised::default();
    let outcome = run_watched(&task.scenario, recording, |_, event, folder| exercised.look(event, folder))?;
    exercised.end(&outcome);
    let references = project.references(&task.scenario)?;
    let report = judge(&outcome, &references, task.strictness)?;
    let folder = project.below(task.file.parent().unwrap_or(Path::new("."))).to_owned();
    let file = task.file.clone();
    Ok(SimulatedDrill { run: DrillRun { outcome, report }, references, file, folder, exercised })
}

/// Reads the recorded feed that a scenario plays, if it has one; it is named from the scenario's file.
pub(super) fn recording(
    project: &Project,
    file: &Path,
    scenario: &Scenario,
) -> anyhow::Result<Option<Vec<RecordedInput>>> {
    let Some(name) = &scenario.world.recording else {
        return Ok(None);
    };
    let path = file.parent().unwrap_or(Path::new(".")).join(name);
    let text = project.text(&path)?;
    let names: Vec<&str> = scenario.world.instruments.iter().map(|of| of.name.as_str()).collect();
    let inputs = feed::recorded_inputs(&path.display().to_string(), &text, &names)
        .with_context(|| format!("read the recording of {}", scenario.full_name()))?;
    Ok(Some(inputs))
}

/// Carries out `drillfold run`.
///
/// # Errors
/// What could not be checked.
pub fn run(project: &Project, args: &RunArgs, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    if args.update && std::env::var_os("CI").is_some() {
        bail!("--update is refused where CI is set: accept goldens where a person looks at them");
    }
    if args.dry_run {
        return dry_run(project, args, out);
    }
    let drills = match simulate_all(project, args) {
        Ok(drills) => drills,
        Err(error) => {
            let text = format!("{error:#}");
            if let Some(file) = &args.junit {
                project.write(file, junit_of_error(&text)?.as_bytes())?;
            }
            if args.annotate {
                err.write_all(annotation_of_error(&text).as_bytes())?;
            }
            return Err(error);
        }
    };
    judged(project, args, drills, out, err)
}

/// Shows runs, compares what is committed with them or accepts it, and reports.
fn judged(
    project: &Project,
    args: &RunArgs,
    mut drills: Vec<SimulatedDrill>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<u8> {
    if args.update {
        accept_goldens(project, &mut drills)?;
    }
    match args.format {
        Format::Human => table(&drills, args, out)?,
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&as_json(&drills))?)?,
    }
    if let Some(folder) = &args.logs {
        write_logs(project, folder, &drills)?;
    }
    let mut compared = Vec::new();
    let exact = args.seed.is_none() && args.seeds.is_none();
    if exact {
        keep(project, args, &drills, &mut compared, err)?;
    }
    if let Some(file) = &args.coverage {
        keep_coverage(project, args, file, &drills, &mut compared, err)?;
    }
    let mut said = Vec::new();
    if args.evidence {
        let whole = args.paths.is_empty() && args.filter.is_none();
        write_or_compare(project, &drills, whole, args.update, &mut compared, &mut said)?;
    }
    print_faults(&compared, err)?;
    match args.format {
        Format::Human => out.write_all(&said)?,
        Format::Json => err.write_all(&said)?,
    }
    tell_ci(project, args, &drills, &compared, err)?;
    if args.format == Format::Human {
        let failed = drills.iter().filter(|drill| !drill.run.passed()).count();
        writeln!(out, "{} of {} runs pass", drills.len().saturating_sub(failed), drills.len())?;
        writeln!(out, "reproduce: {}", reproduce(args))?;
    }
    let good = drills.iter().all(|drill| drill.run.passed()) && compared.iter().all(|file| file.fault.is_none());
    Ok(if good { EXIT_HOLDS } else { EXIT_DIFFERS })
}

/// Prints each committed file that differs, with what to do.
pub(super) fn print_faults(compared: &[Compared], err: &mut dyn Write) -> anyhow::Result<()> {
    for Compared { path, fault } in compared {
        if let Some(fault) = fault {
            writeln!(err, "{path}: {fault}")?;
        }
    }
    Ok(())
}

/// Writes what a CI service is told, as far as it is asked for.
fn tell_ci(
    project: &Project,
    args: &RunArgs,
    drills: &[SimulatedDrill],
    compared: &[Compared],
    err: &mut dyn Write,
) -> anyhow::Result<()> {
    let shown = |path: &Path| path.display().to_string().replace('\\', "/");
    let runs = drills.iter().map(|drill| CiRun { file: shown(project.below(&drill.file)), run: &drill.run }).collect();
    let report = CiReport { runs, compared, reproduce: reproduce(args) };
    if let Some(file) = &args.junit {
        project.write(file, report.junit()?.as_bytes())?;
    }
    if let Some(file) = &args.summary {
        let mut text = project.bytes_if_there(file)?.unwrap_or_default();
        text.extend(report.summary().into_bytes());
        project.write(file, &text)?;
    }
    if args.annotate {
        err.write_all(report.annotations().as_bytes())?;
    }
    Ok(())
}

/// Compares the coverage ledger with what the runs exercised, or writes it.
fn keep_coverage(
    project: &Project,
    args: &RunArgs,
    file: &Path,
    drills: &[SimulatedDrill],
    compared: &mut Vec<Compared>,
    err: &mut dyn Write,
) -> anyhow::Result<()> {
    let text = coverage_page(drills);
    if args.update {
        project.write(file, text.as_bytes())?;
        return Ok(());
    }
    let committed =
        project.bytes_if_there(file)?.map_or_else(String::new, |bytes| String::from_utf8_lossy(&bytes).into());
    for lost in lost_items(&committed, &text) {
        writeln!(err, "{}: no longer exercised: {lost}", file.display())?;
    }
    let fault = (committed != text).then(|| "differs from these runs; `--update` accepts them".to_owned());
    compared.push(Compared { path: file.display().to_string(), fault });
    Ok(())
}

/// Returns the coverage ledger of these runs.
#[must_use]
pub fn coverage_page(drills: &[SimulatedDrill]) -> String {
    page(drills.iter().map(|drill| (drill.run.report.name.as_str(), &drill.exercised)))
}

/// Writes log and trace of every run, named like the run: `drill_1_partial_fill.hedge.seed_7.wal`, seed and variant where
/// there are several.
fn write_logs(project: &Project, folder: &Path, drills: &[SimulatedDrill]) -> anyhow::Result<()> {
    for drill in drills {
        let outcome = &drill.run.outcome;
        let scenario = &outcome.scenario;
        let mut name = scenario.full_name().replace('/', ".");
        let seeds = drills.iter().filter(|other| other.run.outcome.scenario.full_name() == scenario.full_name());
        if seeds.count() > 1 {
            name.push_str(&format!(".seed_{}", scenario.seed));
        }
        for (ending, bytes) in [("wal", &outcome.recorded.log), ("trace", &outcome.recorded.trace)] {
            project.write(&folder.join(format!("{name}.{ending}")), bytes)?;
        }
    }
    Ok(())
}

/// Returns the line that makes the same run again.
fn reproduce(args: &RunArgs) -> String {
    let mut line = String::from("drillfold run");
    for path in &args.paths {
        line.push_str(&format!(" {}", path.display()));
    }
    if args.evidence {
        line.push_str(" --evidence");
    }
    if let Some(seed) = args.seed {
        line.push_str(&format!(" --seed {seed}"));
    }
    if let Some((first, last)) = args.seeds {
        line.push_str(&format!(" --seeds {first}..{last}"));
    }
    if let Some(filter) = &args.filter {
        line.push_str(&format!(" --filter {filter:?}"));
    }
    if let Some(file) = &args.coverage {
        line.push_str(&format!(" --coverage {}", file.display()));
    }
    line
}

/// Writes every golden that differs and judges again against what was accepted.
fn accept_goldens(project: &Project, drills: &mut [SimulatedDrill]) -> anyhow::Result<()> {
    for drill in drills.iter_mut() {
        for (path, document) in differing_goldens(project, drill) {
            project.write(&path, to_text(document).as_bytes())?;
        }
        let outcome = &drill.run.outcome;
        drill.references = project.references(&outcome.scenario)?;
        drill.run.report = judge(outcome, &drill.references, Strictness::Exact)?;
    }
    Ok(())
}

/// Returns the goldens of a run that are not what it shows, with what it shows.
fn differing_goldens<'a>(project: &Project, drill: &'a SimulatedDrill) -> Vec<(PathBuf, &'a Value)> {
    let outcome = &drill.run.outcome;
    let mut differing = Vec::new();
    for (name, taken) in &outcome.snapshots {
        if let Taken { document: Some(document), .. } = taken
            && drill.references.goldens.get(name).is_none_or(|golden| golden.document != *document)
            && let Some(file) = golden_file(&outcome.scenario, name)
        {
            differing.push((project.path("fixtures/status").join(file), document));
        }
    }
    differing
}

/// Shows goldens that differ, compares logs and traces with what is committed, or writes those. A golden that differs is a
/// failed check of its own.
fn keep(
    project: &Project,
    args: &RunArgs,
    drills: &[SimulatedDrill],
    compared: &mut Vec<Compared>,
    err: &mut dyn Write,
) -> anyhow::Result<()> {
    for drill in drills {
        for (path, document) in differing_goldens(project, drill) {
            if std::env::var_os("CI").is_none() {
                let beside = path.with_extension("json.new");
                project.write(&beside, to_text(document).as_bytes())?;
                writeln!(err, "{}: differs from this run; see {}", path.display(), beside.display())?;
            }
        }
        let outcome = &drill.run.outcome;
        let scenario = &outcome.scenario;
        if scenario.drill.is_none() || scenario.variant.is_some() {
            continue;
        }
        for (ending, bytes) in [("wal", &outcome.recorded.log), ("trace", &outcome.recorded.trace)] {
            let path = project.path("wal-logs").join(format!("{}.{ending}", scenario.name));
            if args.update {
                project.write(&path, bytes)?;
                continue;
            }
            let fault = match project.bytes_if_there(&path)? {
                Some(committed) if committed == *bytes => None,
                Some(_) => Some("differs from this run; `drillfold run --update` accepts this run's".to_owned()),
                None => Some("missing; `drillfold run --update` accepts this run's".to_owned()),
            };
            compared.push(Compared { path: path.display().to_string(), fault });
        }
    }
    Ok(())
}

/// Prints a table for each folder.
fn table(drills: &[SimulatedDrill], args: &RunArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    for (place, group) in drills.chunk_by(|one, other| one.folder == other.folder).enumerate() {
        if place > 0 {
            writeln!(out)?;
        }
        let of_drills = group.iter().any(|drill| drill.run.outcome.scenario.drill.is_some());
        let folder = group.first().filter(|_| !of_drills).map(|drill| drill.folder.display().to_string());
        rows(group, args, folder.as_deref().filter(|folder| !folder.is_empty()).unwrap_or("drill"), out)?;
    }
    Ok(())
}

fn rows(drills: &[SimulatedDrill], args: &RunArgs, head: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let width = drills.iter().map(|drill| shown_name(drill, args).len()).max().unwrap_or(0).max(head.len());
    writeln!(
        out,
        "{head:width$}  {:12}  {:10}  {:>7}  {:>7}  reasons at tripped",
        "verdict", "mode", "safe ms", "checks"
    )?;
    for drill in drills {
        let DrillRun { outcome, report } = &drill.run;
        let tripped = outcome.snapshots.get(TRIPPED).and_then(|taken| taken.document.as_ref());
        let mode = tripped.and_then(|document| document.get("trading_mode")?.as_str()).unwrap_or("-");
        let safe = outcome.time_to_safe_ms().map_or_else(|| "-".to_owned(), |ms| ms.to_string());
        let checks = format!("{}/{}", report.passed(), report.checks.len());
        writeln!(
            out,
            "{:width$}  {:12}  {mode:10}  {safe:>7}  {checks:>7}  {}",
            shown_name(drill, args),
            report.verdict,
            reasons(tripped)
        )?;
        if let Some(reason) = &report.reason {
            writeln!(out, "    {reason}")?;
        }
        let skip = usize::from(report.reason.is_some() && report.verdict == Verdict::Fail);
        for check in
            report.checks.iter().filter(|check| args.verbose || !check.holds).skip(if args.verbose { 0 } else { skip })
        {
            let mark = if check.holds { "ok  " } else { "FAIL" };
            writeln!(out, "    {mark} {}: {} ({})", check.subject, check.seen, check.says)?;
        }
    }
    Ok(())
}

fn shown_name(drill: &SimulatedDrill, args: &RunArgs) -> String {
    let scenario = &drill.run.outcome.scenario;
    let seed = if args.seeds.is_some() { format!(" seed {}", scenario.seed) } else { String::new() };
    match &scenario.variant {
        Some(variant) => format!("  /{variant}{seed}"),
        None => format!("{}{seed}", scenario.name),
    }
}

/// Returns the reasons of a status, with the latch's codes where it is set.
fn reasons(document: Option<&Value>) -> String {
    let list = |key: &str| -> Vec<&str> {
        document
            .and_then(|document| document.get(key)?.as_array())
            .map(|tokens| tokens.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default()
    };
    let codes = list("open_permission_reason_codes");
    let reasons = list("mode_reasons").join(" ");
    if codes.is_empty() { reasons } else { format!("{reasons} [{}]", codes.join(" ")) }
}

fn as_json(drills: &[SimulatedDrill]) -> Value {
    let runs: Vec<Value> = drills
        .iter()
        .map(|drill| {
            let DrillRun { outcome, report } = &drill.run;
            let checks: Vec<Value> = report
                .checks
                .iter()
                .map(|check| {
                    json!({
                        "subject": check.subject, "says": check.says, "holds": check.holds, "seen": check.seen,
                    })
                })
                .collect();
            let snapshots: BTreeMap<&String, Value> = outcome
                .snapshots
                .iter()
                .map(|(name, taken)| {
                    (name, json!({ "seq": taken.seq.0, "at_ms": taken.at.0, "status": taken.document }))
                })
                .collect();
            json!({
                "name": report.name,
                "drill": outcome.scenario.drill,
                "variant": outcome.scenario.variant,
                "seed": outcome.scenario.seed,
                "verdict": report.verdict.to_string(),
                "reason": report.reason,
                "time_to_safe_ms": outcome.time_to_safe_ms(),
                "events": outcome.timeline.events.len(),
                "chain": outcome.recorded.last.chain.to_string(),
                "state": outcome.recorded.last.state.to_string(),
                "checks": checks,
                "snapshots": snapshots,
            })
        })
        .collect();
    json!({ "schema": "drillfold/run/v1", "runs": runs, "modes": TradingMode::ALL.map(TradingMode::token) })
}

fn dry_run(project: &Project, args: &RunArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    for task in tasks(project, args)? {
        let scenario = &task.scenario;
        writeln!(out, "{} seed {} for {} ms", scenario.full_name(), scenario.seed, scenario.duration_ms)?;
        for step in &scenario.steps {
            let role = if step.trigger { " (trigger)" } else { "" };
            writeln!(out, "  {:>8} ms  {}{role}", step.at_ms, step.says)?;
        }
        let (snapshots, expectations) = (scenario.snapshots.len(), scenario.expectations.len());
        writeln!(out, "  {snapshots} snapshots, {expectations} expectations")?;
    }
    Ok(EXIT_HOLDS)
}
