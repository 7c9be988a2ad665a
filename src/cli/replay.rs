//! `drillfold replay` and `drillfold check`.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    EXIT_DIFFERS, EXIT_HOLDS,
    project::Project,
    run::{RunArgs, simulate_all},
};
use crate::{
    contract::document::{document, to_text},
    replay::{Replay, replay_files},
    storage::Storage as _,
    wal::{Access, Checkpoint, Digests, LogFiles, ReadOptions},
};

/// Options of `drillfold replay`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// The log
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Its trace [default: the file beside it with the ending .trace, where there is one]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print the checkpoints' hashes instead of the status
    #[arg(long)]
    checkpoints: bool,
    /// Print the status at this snapshot mark of the log instead of the last one
    #[arg(long, value_name = "NAME", conflicts_with = "checkpoints")]
    snapshot: Option<String>,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value_t)]
    format: ReplayFormat,
}

/// Output format of `drillfold replay`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum ReplayFormat {
    /// Text.
    #[default]
    Human,
    /// One JSON document.
    Json,
    /// A JSON document a line.
    Jsonl,
}

/// Options of `drillfold check`.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// A scenario (.toml) or a log
    #[arg(value_name = "SCENARIO|LOG")]
    path: PathBuf,
}

/// Carries out `drillfold replay`.
///
/// # Errors
/// A log or trace that can't be read.
pub fn replay(project: &Project, args: &ReplayArgs, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    let found = if args.checkpoints {
        let mut checkpoints = Vec::new();
        let found =
            folded(project, &args.log, args.trace.as_deref(), |checkpoint| checkpoints.push(checkpoint.clone()))?;
        print_checkpoints(&found, &checkpoints, args.format, out)?;
        found
    } else {
        let found = folded(project, &args.log, args.trace.as_deref(), |_| ())?;
        status(&found, args, out)?;
        found
    };
    if let Some(divergence) = &found.divergence {
        let mut said = Vec::new();
        writeln!(
            said,
            "differs from its trace: same until event {}, different at event {}: {}",
            divergence.same_until.0,
            divergence.differs_at.0,
            divergence.what.join(", ")
        )?;
        if args.format == ReplayFormat::Human {
            out.write_all(&said)?
        } else {
            err.write_all(&said)?
        };
        return Ok(EXIT_DIFFERS);
    }
    Ok(EXIT_HOLDS)
}

fn folded(
    project: &Project,
    log: &Path,
    trace: Option<&Path>,
    take: impl FnMut(&Checkpoint),
) -> anyhow::Result<Replay> {
    let beside = log.with_extension("trace");
    let trace = match trace {
        Some(path) => Some((path.display().to_string(), project.storage().read(path)?)),
        None => project.bytes_if_there(&beside)?.map(|bytes| (beside.display().to_string(), bytes)),
    };
    let trace = trace.as_ref().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    // The trace's hashes cover what was made of the events, the log's digest the events themselves: both are compared.
    let options = ReadOptions { digests: Digests::Check, access: Access::Mapped };
    let mut files = LogFiles::open(project.storage(), log, options)?;
    Ok(replay_files(&mut files, trace, take)?)
}

/// Prints a line a checkpoint. The form is fixed: later builds are compared through it (specs/replay-output.md).
fn print_checkpoints(
    found: &Replay,
    checkpoints: &[Checkpoint],
    format: ReplayFormat,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut documents = Vec::new();
    for checkpoint in checkpoints {
        let leaves: serde_json::Map<String, serde_json::Value> = found
            .components
            .iter()
            .zip(&checkpoint.leaves)
            .map(|(name, leaf)| (name.clone(), leaf.to_string().into()))
            .collect();
        documents.push(json!({
            "seq": checkpoint.seq.0,
            "at_ms": checkpoint.at.0,
            "chain": checkpoint.chain.to_string(),
            "state": checkpoint.state.to_string(),
            "leaves": leaves,
        }));
    }
    match format {
        ReplayFormat::Human => {
            for checkpoint in checkpoints {
                writeln!(out, "{:>8}  chain {}  state {}", checkpoint.seq.0, checkpoint.chain, checkpoint.state)?;
            }
        }
        ReplayFormat::Json => {
            let whole = json!({ "schema": "drillfold/checkpoints/v1", "checkpoints": documents });
            writeln!(out, "{}", serde_json::to_string_pretty(&whole)?)?;
        }
        ReplayFormat::Jsonl => {
            for document in documents {
                writeln!(out, "{document}")?;
            }
        }
    }
    Ok(())
}

fn status(found: &Replay, args: &ReplayArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let shown = match &args.snapshot {
        None => found.status.as_ref(),
        Some(name) => {
            let Some(taken) = found.snapshots.iter().find(|taken| taken.name == *name) else {
                let known: Vec<&str> = found.snapshots.iter().map(|taken| taken.name.as_str()).collect();
                anyhow::bail!("the log has no snapshot {name:?}; it has: {}", known.join(", "));
            };
            taken.status.as_ref()
        }
    };
    let document = shown.map(document);
    if args.format != ReplayFormat::Human {
        let whole = json!({
            "schema": "drillfold/replay/v1",
            "drill": found.header.drill,
            "events": found.event_count,
            "at_ms": found.at.0,
            "status": document,
        });
        let text =
            if args.format == ReplayFormat::Json { serde_json::to_string_pretty(&whole)? } else { whole.to_string() };
        writeln!(out, "{text}")?;
        return Ok(());
    }
    write!(out, "{}", document.as_ref().map_or_else(|| "no process was up\n".to_owned(), to_text))?;
    let compared = match (found.compared, &found.divergence) {
        (None, _) => "no trace to compare with".to_owned(),
        (Some(count), None) => format!("all {count} checkpoints of the trace agree"),
        (Some(count), Some(_)) => format!("{count} checkpoints compared"),
    };
    writeln!(out, "{}: {} events, {compared}", found.header.drill, found.event_count)?;
    Ok(())
}

/// Carries out `drillfold check`.
///
/// # Errors
/// What could not be judged; the caller's exit code is then [`super::EXIT_UNTESTABLE`].
pub fn check(project: &Project, args: &CheckArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    if args.path.extension().is_some_and(|ending| ending == "toml") {
        let run = RunArgs { paths: vec![args.path.clone()], ..RunArgs::default() };
        let drills = simulate_all(project, &run)?;
        let mut good = true;
        for drill in &drills {
            let report = &drill.run.report;
            good &= drill.run.passed();
            writeln!(out, "{}: {} {}", report.name, report.verdict, report.reason.as_deref().unwrap_or_default())?;
        }
        return Ok(if good { EXIT_HOLDS } else { EXIT_DIFFERS });
    }
    let found = folded(project, &args.path, None, |_| ())?;
    anyhow::ensure!(found.compared.is_some(), "{}: no trace beside it to judge it by", args.path.display());
    match &found.divergence {
        None => {
            writeln!(out, "{}: as recorded", args.path.display())?;
            Ok(EXIT_HOLDS)
        }
        Some(divergence) => {
            writeln!(out, "{}: differs at event {}", args.path.display(), divergence.differs_at.0)?;
            Ok(EXIT_DIFFERS)
        }
    }
}
