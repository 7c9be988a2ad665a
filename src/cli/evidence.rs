//! `drillfold evidence`: build the packs and compare them with the committed ones, or hold packs against the same ones made
//! again. Capturing from a running system is in `capture`.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::{
    EXIT_DIFFERS, EXIT_HOLDS, Format,
    capture::{CaptureArgs, capture},
    project::Project,
    run::{RunArgs, SimulatedDrill, print_faults, simulate_all},
};
use crate::{
    contract::document::document,
    evidence::{
        Compared, DRILLS, DrillRun, FileVerdict, PROOF, PROVENANCE_FILE, Pack, Revision, SHEET_FILES, Sources, pack,
        provenance, sheets, strict_findings, verify_files,
    },
    judge::references::{TRIPPED, golden_file},
    replay,
    storage::{EntryKind, Storage as _},
};

/// Where packs are, below the project's folder.
const PACKS: &str = "evidence/phase2";

/// Folders below a pack's own that are looked into.
const PACK_DEPTH_MAX: u32 = 8;

/// Largest file of a pack, bytes, inclusive.
const PACK_FILE_SIZE_BYTES_MAX: u64 = 64 << 20;

/// Options of `drillfold evidence`.
#[derive(Clone, Debug, clap::Args)]
pub struct EvidenceArgs {
    #[command(subcommand)]
    command: EvidenceCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum EvidenceCommand {
    /// Run the drills and build their packs; the committed ones are compared, and written only with --update
    Build(BuildArgs),
    /// Make packs again from what is in them, and say of each file: same, different, missing, extra
    Verify(VerifyArgs),
    /// Carry out a drill on a running system: ask for its status, measure the time to safe, write the seven files
    Capture(Box<CaptureArgs>),
}

#[derive(Clone, Debug, clap::Args)]
struct BuildArgs {
    /// Scenario files or folders [default: scenarios/]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write the packs (refused where CI is set)
    #[arg(long)]
    update: bool,
    /// Write the packs into this folder, which must not be there yet, with a record of what built them; compare nothing
    #[arg(long, value_name = "DIR", conflicts_with = "update")]
    out: Option<PathBuf>,
    /// Runs at a time [default: the machine's cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

#[derive(Clone, Debug, clap::Args)]
struct VerifyArgs {
    /// A pack, or a folder of packs
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Name the files that are the same too
    #[arg(long)]
    verbose: bool,
    /// Runs at a time [default: the machine's cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

/// Carries out `drillfold evidence`.
///
/// # Errors
/// What could not be checked.
pub fn evidence(
    project: &Project,
    args: &EvidenceArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<u8> {
    match &args.command {
        EvidenceCommand::Build(args) => build(project, args, out, err),
        EvidenceCommand::Verify(args) => verify(project, args, out),
        EvidenceCommand::Capture(args) => capture(project, args, out, err),
    }
}

fn build(project: &Project, args: &BuildArgs, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    let BuildArgs { paths, update, out: folder, jobs } = args;
    if *update && std::env::var_os("CI").is_some() {
        bail!("--update is refused where CI is set");
    }
    let run = RunArgs { paths: paths.clone(), jobs: *jobs, ..RunArgs::default() };
    let drills = simulate_all(project, &run)?;
    let good = match folder {
        Some(folder) => write_out(project, &drills, paths.is_empty(), folder, out).map(|()| true)?,
        None => {
            let mut compared = Vec::new();
            write_or_compare(project, &drills, paths.is_empty(), *update, &mut compared, out)?;
            print_faults(&compared, err)?;
            compared.iter().all(|file| file.fault.is_none())
        }
    };
    let passed = drills.iter().all(|drill| drill.run.passed());
    Ok(if passed && good { EXIT_HOLDS } else { EXIT_DIFFERS })
}

/// A set of runs as packs.
struct Built {
    /// The drills' runs, variants too.
    runs: Vec<DrillRun>,
    /// Packs by folder name.
    packs: BTreeMap<String, Pack>,
}

/// Builds the packs of all drills among the runs.
fn packs_of(project: &Project, drills: &[SimulatedDrill]) -> anyhow::Result<Built> {
    let of_drills = drills.iter().filter(|drill| drill.run.outcome.scenario.drill.is_some());
    let runs: Vec<DrillRun> = of_drills.map(|drill| drill.run.clone()).collect();
    let mut packs = BTreeMap::new();
    for drill in drills {
        let scenario = &drill.run.outcome.scenario;
        if scenario.drill.is_none() || scenario.variant.is_some() {
            continue;
        }
        let variants: Vec<DrillRun> = runs
            .iter()
            .filter(|run| run.outcome.scenario.name == scenario.name && run.outcome.scenario.variant.is_some())
            .cloned()
            .collect();
        let files = pack(&drill.run, &variants, &drill.references, &sources(project, drill, &variants)?)
            .with_context(|| format!("build the pack of {}", scenario.name))?;
        packs.insert(scenario.name.clone(), files);
    }
    Ok(Built { runs, packs })
}

/// Reads the files that a drill's runs are made of and held against.
fn sources(project: &Project, drill: &SimulatedDrill, variants: &[DrillRun]) -> anyhow::Result<Sources> {
    let scenario = &drill.run.outcome.scenario;
    let folder = drill.file.parent().unwrap_or(Path::new("."));
    let mut sources = Sources::new();
    let file = format!("{}.toml", scenario.name);
    sources.insert(format!("scenarios/{file}"), project.storage().read(&drill.file)?);
    let runs = std::iter::once(&drill.run).chain(variants);
    for recording in runs.filter_map(|run| run.outcome.scenario.world.recording.as_ref()) {
        // It lies below its scenario's folder (SCN0039), so its name does not lead out of the pack.
        sources.insert(format!("scenarios/{recording}"), project.storage().read(&folder.join(recording))?);
    }
    let goldens = scenario.snapshots.iter().filter_map(|snapshot| golden_file(scenario, &snapshot.name));
    let others = goldens.map(|golden| format!("fixtures/status/{golden}"));
    for path in others.chain([format!("specs/drills/{file}")]) {
        if let Some(bytes) = project.bytes_if_there(&project.path(&path))? {
            sources.insert(path, bytes);
        }
    }
    Ok(sources)
}

/// Builds the packs of all drills among the runs and compares them with the committed ones, or writes them; each file goes to
/// `compared`. What stands beside the packs belongs to a whole set of runs only.
///
/// # Errors
/// What could not be built, read or written.
pub fn write_or_compare(
    project: &Project,
    drills: &[SimulatedDrill],
    whole: bool,
    update: bool,
    compared: &mut Vec<Compared>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let Built { runs, packs } = packs_of(project, drills)?;
    let before = compared.len();
    let mut keep = |below: String, bytes: &[u8]| -> anyhow::Result<()> {
        let path = project.path(&below);
        let fault = if update {
            project.write(&path, bytes)?;
            None
        } else {
            match project.bytes_if_there(&path)? {
                Some(committed) if committed == bytes => None,
                Some(_) => Some("differs from this run; `--update` accepts this run's".to_owned()),
                None => Some("missing; `--update` writes it".to_owned()),
            }
        };
        compared.push(Compared { path: path.display().to_string(), fault });
        Ok(())
    };
    for (name, files) in &packs {
        for (file, bytes) in files {
            keep(format!("{PACKS}/{name}/{file}"), bytes)?;
        }
    }
    if whole {
        for (file, bytes) in sheets(&runs, &packs)? {
            keep(format!("{PACKS}/{file}"), &bytes)?;
        }
    }
    let count = compared.len().saturating_sub(before);
    for (name, files) in &packs {
        extra_files(project, name, files, compared)?;
    }
    let same = compared.iter().skip(before).all(|file| file.fault.is_none());
    let what = match (update, same) {
        (true, _) => "written",
        (false, true) => "equal to the committed ones",
        (false, false) => "not all equal to the committed ones",
    };
    writeln!(out, "evidence: {} packs, {count} files, {what}", packs.len())?;
    Ok(())
}

/// Writes the packs into a folder of their own, each with its provenance.
fn write_out(
    project: &Project,
    drills: &[SimulatedDrill],
    whole: bool,
    folder: &Path,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if project.storage().entry_kind(folder)?.is_some() {
        bail!("{}: is there already; packs are written into a new folder", folder.display());
    }
    let Built { runs, packs } = packs_of(project, drills)?;
    let revision = revision(project);
    let mut count = 0usize;
    for (name, files) in &packs {
        let of = folder.join(name);
        for (file, bytes) in files {
            project.write(&of.join(file), bytes)?;
            count += 1;
        }
        if let Some(base) = runs.iter().find(|run| run.report.name == *name) {
            project.write(&of.join(PROVENANCE_FILE), &provenance(base, files, revision.as_ref()))?;
            count += 1;
        }
    }
    if whole {
        for (file, bytes) in sheets(&runs, &packs)? {
            project.write(&folder.join(file), &bytes)?;
            count += 1;
        }
    }
    writeln!(out, "evidence: {} packs, {count} files, written to {}", packs.len(), folder.display())?;
    Ok(())
}

/// Asks git for the revision of the project's folder; `None` where it is none of git's, or there is no git.
fn revision(project: &Project) -> Option<Revision> {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(project.path(".")).args(arguments).stdin(Stdio::null());
        let output = command.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let id = git(&["rev-parse", "HEAD"])?;
    Some(Revision { id, is_modified: git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty()) })
}

/// What was found of one pack.
struct Verified {
    name: String,
    files: BTreeMap<String, FileVerdict>,
    /// What else was looked at, and whether it is as it should be.
    checks: Vec<PackCheck>,
    /// The runs, where they could be made again.
    again: Option<(Vec<DrillRun>, Pack)>,
}

struct PackCheck {
    what: &'static str,
    holds: bool,
    seen: String,
}

impl Verified {
    fn holds(&self) -> bool {
        self.files.values().all(FileVerdict::holds) && self.checks.iter().all(|check| check.holds)
    }
}

fn verify(project: &Project, args: &VerifyArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let is_pack = project.storage().entry_kind(&args.path.join(PROOF))?.is_some();
    let mut folders = Vec::new();
    let mut beside = Vec::new();
    if is_pack {
        folders.push(args.path.clone());
    } else {
        for entry in project.storage().list(&args.path)? {
            match entry.kind {
                EntryKind::Folder => folders.push(args.path.join(entry.name)),
                EntryKind::File | EntryKind::Other => beside.push(entry.name),
            }
        }
    }
    if folders.is_empty() {
        bail!("{}: no pack and no folder of packs; a pack has a folder {PROOF}", args.path.display());
    }
    let mut verified = Vec::new();
    for folder in &folders {
        verified.push(verify_pack(project, folder, args.jobs)?);
    }
    let sheets = verify_beside(project, &args.path, &beside, &verified)?;
    let holds = verified.iter().all(Verified::holds) && sheets.values().all(FileVerdict::holds);
    match args.format {
        Format::Human => print_verified(&verified, &sheets, args.verbose, out)?,
        Format::Json => writeln!(out, "{:#}", verified_document(&verified, &sheets, holds))?,
    }
    Ok(if holds { EXIT_HOLDS } else { EXIT_DIFFERS })
}

/// Makes a pack again from what lies in its proof, and holds it against that.
fn verify_pack(project: &Project, folder: &Path, jobs: Option<u16>) -> anyhow::Result<Verified> {
    let mut found = Pack::new();
    read_below(project, folder, "", PACK_DEPTH_MAX, &mut found)?;
    // `.` is a folder without a name.
    let place = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let name = place.file_name().unwrap_or(place.as_os_str()).to_string_lossy().into_owned();
    let own = Project::new(folder.join(PROOF));
    let mut checks = Vec::new();
    let mut check = |what, result: Result<String, String>| {
        let holds = result.is_ok();
        checks.push(PackCheck { what, holds, seen: result.unwrap_or_else(|seen| seen) });
    };
    let again = run_again(&own, jobs);
    check(
        "run again",
        match &again {
            Ok((runs, _)) => {
                let failed: Vec<&str> =
                    runs.iter().filter(|run| !run.passed()).map(|run| run.report.name.as_str()).collect();
                let passed = format!("{} of {} runs pass", runs.len() - failed.len(), runs.len());
                if failed.is_empty() { Ok(passed) } else { Err(format!("{passed}, not {}", failed.join(", "))) }
            }
            Err(error) => Err(format!("the scenario in it can't be run: {error:#}")),
        },
    );
    check("log", replay_again(&found));
    check("status", valid_status(&found)?);
    let again = again.ok();
    let files = verify_files(&found, again.as_ref().map(|(_, pack)| pack));
    Ok(Verified { name, files, checks, again })
}

/// Runs the one scenario of a pack's proof with its variants, and builds its pack.
fn run_again(own: &Project, jobs: Option<u16>) -> anyhow::Result<(Vec<DrillRun>, Pack)> {
    let drills = simulate_all(own, &RunArgs { jobs, ..RunArgs::default() })?;
    let Built { runs, packs } = packs_of(own, &drills)?;
    let count = packs.len();
    match (packs.into_values().next(), count) {
        (Some(pack), 1) => Ok((runs, pack)),
        _ => bail!("it has {count} drills, not one"),
    }
}

/// Folds the log of a pack, compares it with its trace, and its status at `tripped` with the observed one.
fn replay_again(found: &Pack) -> Result<String, String> {
    let of_kind = |ending: &str| {
        let folder = format!("{PROOF}/wal-logs/");
        let is_one = |path: &&String| path.starts_with(&folder) && path.ends_with(ending);
        let path = found.keys().find(is_one).ok_or_else(|| format!("no file {folder}*{ending}"))?;
        Ok::<_, String>((path.as_str(), found.get(path).map_or(&[][..], Vec::as_slice)))
    };
    let ((name, log), trace) = (of_kind(".wal")?, of_kind(".trace")?);
    let replayed =
        replay::replay(name, log, Some(trace), |_| ()).map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
    if let Some(divergence) = replayed.divergence {
        return Err(format!("{name} parts from its trace by event {}", divergence.differs_at.0));
    }
    let tripped = replayed.snapshots.iter().find(|snapshot| snapshot.name == TRIPPED);
    let status = tripped.and_then(|snapshot| snapshot.status.as_ref()).map(document);
    let observed = found.get("observed_status.json").and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
    if status.is_none() || status != observed {
        return Err(format!("the status at `{TRIPPED}` in {name} is not observed_status.json"));
    }
    let (events, checkpoints) = (replayed.event_count, replayed.compared.unwrap_or_default());
    Ok(format!("{events} events lead to {checkpoints} recorded checkpoints and to observed_status.json"))
}

/// Validates the observed status, strictly and against the exact schema.
fn valid_status(found: &Pack) -> anyhow::Result<Result<String, String>> {
    let Some(observed) = found.get("observed_status.json") else {
        return Ok(Err("no observed_status.json".to_owned()));
    };
    Ok(match serde_json::from_slice::<Value>(observed) {
        Err(error) => Err(format!("observed_status.json: no JSON: {error}")),
        Ok(status) => match strict_findings(&status)?.first() {
            None => Ok("observed_status.json is valid, strictly".to_owned()),
            Some(finding) => Err(format!("observed_status.json: {finding}")),
        },
    })
}

/// Holds what lies beside the packs against the same made of all their runs. Single packs have nothing beside them; a whole
/// checklist of them does.
fn verify_beside(
    project: &Project,
    folder: &Path,
    beside: &[String],
    verified: &[Verified],
) -> anyhow::Result<BTreeMap<String, FileVerdict>> {
    let mut verdicts: BTreeMap<String, FileVerdict> =
        beside.iter().map(|name| (name.clone(), FileVerdict::Extra)).collect();
    let is_there = |name: &&str| beside.iter().any(|there| there == name);
    if SHEET_FILES.iter().any(is_there) || verified.len() == DRILLS {
        let runs: Vec<DrillRun> =
            verified.iter().flat_map(|pack| &pack.again).flat_map(|(runs, _)| runs.clone()).collect();
        let packs: BTreeMap<String, Pack> =
            verified.iter().filter_map(|pack| Some((pack.name.clone(), pack.again.as_ref()?.1.clone()))).collect();
        for (name, again) in sheets(&runs, &packs)? {
            let verdict = if !is_there(&name.as_str()) {
                FileVerdict::Missing
            } else {
                let found = project.storage().read_at_most(&folder.join(&name), PACK_FILE_SIZE_BYTES_MAX)?;
                FileVerdict::of(&again, &found)
            };
            verdicts.insert(name, verdict);
        }
    }
    Ok(verdicts)
}

fn print_verified(
    verified: &[Verified],
    sheets: &BTreeMap<String, FileVerdict>,
    verbose: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let shown = |verdict: &FileVerdict| verbose || *verdict != FileVerdict::Same;
    for pack in verified {
        let same = pack.files.values().filter(|verdict| **verdict == FileVerdict::Same).count();
        let word = if pack.holds() { "holds" } else { "DOES NOT HOLD" };
        writeln!(out, "{}: {word}, {same} of {} files the same", pack.name, pack.files.len())?;
        for check in &pack.checks {
            writeln!(out, "  {} {}: {}", if check.holds { "ok  " } else { "FAIL" }, check.what, check.seen)?;
        }
        for (path, verdict) in pack.files.iter().filter(|(_, verdict)| shown(verdict)) {
            writeln!(out, "  {path}: {verdict}")?;
        }
    }
    for (path, verdict) in sheets.iter().filter(|(_, verdict)| shown(verdict)) {
        writeln!(out, "{path}: {verdict}")?;
    }
    let held = verified.iter().filter(|pack| pack.holds()).count();
    writeln!(out, "{held} of {} packs hold", verified.len())?;
    Ok(())
}

fn verified_document(verified: &[Verified], sheets: &BTreeMap<String, FileVerdict>, holds: bool) -> Value {
    let verdicts = |files: &BTreeMap<String, FileVerdict>| -> Vec<Value> {
        files
            .iter()
            .map(|(path, verdict)| match verdict {
                FileVerdict::Different(how) => json!({ "path": path, "verdict": verdict.word(), "how": how }),
                _ => json!({ "path": path, "verdict": verdict.word() }),
            })
            .collect()
    };
    let packs: Vec<Value> = verified
        .iter()
        .map(|pack| {
            let checks: Vec<Value> = pack
                .checks
                .iter()
                .map(|check| json!({ "what": check.what, "holds": check.holds, "seen": check.seen }))
                .collect();
            json!({ "name": pack.name, "holds": pack.holds(), "checks": checks, "files": verdicts(&pack.files) })
        })
        .collect();
    json!({ "schema": "drillfold/evidence_verify/v1", "holds": holds, "packs": packs, "beside": verdicts(sheets) })
}

/// Reads every file below a folder, by path below it.
fn read_below(project: &Project, folder: &Path, prefix: &str, depth: u32, files: &mut Pack) -> anyhow::Result<()> {
    for entry in project.storage().list(folder)? {
        let path = format!("{prefix}{}", entry.name);
        let place = folder.join(&entry.name);
        match (entry.kind, depth.checked_sub(1)) {
            (EntryKind::Folder, Some(depth)) => read_below(project, &place, &format!("{path}/"), depth, files)?,
            (EntryKind::File, _) => {
                files.insert(path, project.storage().read_at_most(&place, PACK_FILE_SIZE_BYTES_MAX)?);
            }
            (EntryKind::Folder | EntryKind::Other, _) => {
                bail!("{}: neither a file nor a folder of a pack", place.display());
            }
        }
    }
    Ok(())
}

/// Finds files of a pack that the build did not make.
fn extra_files(project: &Project, name: &str, files: &Pack, compared: &mut Vec<Compared>) -> anyhow::Result<()> {
    let folder = project.path(PACKS).join(name);
    if project.storage().entry_kind(&folder)? != Some(EntryKind::Folder) {
        return Ok(());
    }
    let mut found = Pack::new();
    read_below(project, &folder, "", PACK_DEPTH_MAX, &mut found)?;
    for path in found.keys().filter(|path| !files.contains_key(*path) && *path != PROVENANCE_FILE) {
        let fault = Some("not part of the pack".to_owned());
        compared.push(Compared { path: folder.join(path).display().to_string(), fault });
    }
    Ok(())
}
