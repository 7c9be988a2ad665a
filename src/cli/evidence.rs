//! `drillfold evidence`: build the packs, or compare them with the committed ones.

use std::{collections::BTreeMap, io::Write, path::PathBuf};

use super::{
    EXIT_DIFFERS, EXIT_HOLDS,
    project::Project,
    run::{RunArgs, SimulatedDrill, simulate_all},
};
use crate::{
    evidence::{DrillRun, Pack, pack, registry_proof, signoff},
    storage::{EntryKind, Storage as _},
};

/// The drill whose pack holds the proof of the registry check.
const REGISTRY_DRILL: u8 = 8;

/// Where packs are, below the project's folder.
const PACKS: &str = "evidence/phase2";

/// Options of `drillfold evidence`.
#[derive(Clone, Debug, clap::Args)]
pub struct EvidenceArgs {
    #[command(subcommand)]
    command: EvidenceCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum EvidenceCommand {
    /// Run the drills and build their packs; the committed ones are compared, and written only with --update
    Build {
        /// Scenario files or folders [default: scenarios/]
        #[arg(value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Write the packs (refused where CI is set)
        #[arg(long)]
        update: bool,
        /// Runs at a time [default: the machine's cores]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        jobs: Option<u16>,
    },
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
    let EvidenceCommand::Build { paths, update, jobs } = &args.command;
    if *update && std::env::var_os("CI").is_some() {
        anyhow::bail!("--update is refused where CI is set");
    }
    let run = RunArgs { paths: paths.clone(), jobs: *jobs, ..RunArgs::default() };
    let drills = simulate_all(project, &run)?;
    let same = write_or_compare(project, &drills, paths.is_empty(), *update, out, err)?;
    let passed = drills.iter().all(|drill| drill.run.passed());
    Ok(if passed && same { EXIT_HOLDS } else { EXIT_DIFFERS })
}

/// Builds the packs of all drills among the runs and compares them with the committed ones, or writes them. The sign-off
/// sheet belongs to a whole set of runs only. True where nothing differs.
///
/// # Errors
/// What could not be built, read or written.
pub fn write_or_compare(
    project: &Project,
    drills: &[SimulatedDrill],
    whole: bool,
    update: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<bool> {
    let of_drills = drills.iter().filter(|drill| drill.run.outcome.scenario.drill.is_some());
    let runs: Vec<DrillRun> = of_drills.map(|drill| drill.run.clone()).collect();
    let mut packs: BTreeMap<String, Pack> = BTreeMap::new();
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
        let mut files = pack(&drill.run, &variants, &drill.references)?;
        if scenario.drill == Some(REGISTRY_DRILL) {
            let (proof, as_expected) = registry_proof();
            anyhow::ensure!(as_expected, "the registry check does not refuse every spoilt manifest by name:\n{proof}");
            files.insert("proof/registry_check.txt".to_owned(), proof.into_bytes());
        }
        packs.insert(scenario.name.clone(), files);
    }
    let mut same = true;
    let mut count = 0usize;
    for (name, files) in &packs {
        for (file, bytes) in files {
            same &= keep(project, &format!("{PACKS}/{name}/{file}"), bytes, update, err)?;
            count += 1;
        }
        same &= no_extra(project, name, files, err)?;
    }
    if whole {
        let sheet = signoff(&runs, &packs);
        same &= keep(project, &format!("{PACKS}/SIGNOFF.md"), sheet.as_bytes(), update, err)?;
        count += 1;
    }
    let what = match (update, same) {
        (true, _) => "written",
        (false, true) => "equal to the committed ones",
        (false, false) => "not all equal to the committed ones",
    };
    writeln!(out, "evidence: {} packs, {count} files, {what}", packs.len())?;
    Ok(same)
}

/// Writes a file, or compares it with the committed one. True where nothing differs.
fn keep(project: &Project, below: &str, bytes: &[u8], update: bool, err: &mut dyn Write) -> anyhow::Result<bool> {
    let path = project.path(below);
    if update {
        project.write(&path, bytes)?;
        return Ok(true);
    }
    match project.bytes_if_there(&path)? {
        Some(committed) if committed == bytes => Ok(true),
        Some(_) => {
            writeln!(err, "{}: differs from this run; `--update` accepts this run's", path.display())?;
            Ok(false)
        }
        None => {
            writeln!(err, "{}: missing; `--update` writes it", path.display())?;
            Ok(false)
        }
    }
}

/// Reports files of a pack that the build did not make.
fn no_extra(project: &Project, name: &str, files: &Pack, err: &mut dyn Write) -> anyhow::Result<bool> {
    let folder = project.path(PACKS).join(name);
    if project.storage().entry_kind(&folder)? != Some(EntryKind::Folder) {
        return Ok(true);
    }
    let mut same = true;
    for entry in project.storage().list(&folder)? {
        let known = match entry.kind {
            EntryKind::Folder => files.keys().any(|file| file.starts_with(&format!("{}/", entry.name))),
            _ => files.contains_key(&entry.name),
        };
        if !known {
            writeln!(err, "{}: not part of the pack", folder.join(&entry.name).display())?;
            same = false;
        }
    }
    Ok(same)
}
