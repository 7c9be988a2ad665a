//! `drillfold replay` and `drillfold check`.

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use drillfold_kernel::units::Seq;
use serde::Serialize;
use serde_json::json;

use super::{
    EXIT_DIFFERS, EXIT_HOLDS,
    logs::{PlaceText, Progress, TraceFile, open_log, with_images},
    project::Project,
    run::{RunArgs, simulate_all},
};
use crate::{
    contract::{
        diff::to_text,
        document::{document, to_text as status_text},
    },
    inspect::{Line, Shadow, Standing, looks, replay_heavily, state_at, timeline},
    replay::{Replay, Strides, Walk, fold_to, replay_files, trace_log},
    storage::Storage as _,
    text::time::moment,
    wal::{Checkpoint, Digests},
};

/// Options of `drillfold replay`.
#[derive(Clone, Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").args([
    "checkpoints", "snapshot", "at", "timeline", "status_every", "events", "heavy", "write_trace",
])))]
pub struct ReplayArgs {
    /// The log
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Its trace [default: the file beside it with the ending .trace, where there is one]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Do without a trace: fold from the log's beginning, compare nothing
    #[arg(long, conflicts_with = "trace")]
    no_trace: bool,
    /// Print the checkpoints' hashes instead of the status
    #[arg(long)]
    checkpoints: bool,
    /// Print the status at this snapshot mark of the log instead of the last one
    #[arg(long, value_name = "NAME")]
    snapshot: Option<String>,
    /// Print the status after an event, going there from the trace's last state image before it: an event's number, a
    /// moment (2026-01-05T09:00:10.25Z), milliseconds since the epoch (@1767603610250) or since the first event (+10s)
    #[arg(long, value_name = "PLACE")]
    at: Option<PlaceText>,
    /// With --at: print the whole state instead of the status
    #[arg(long, requires = "at")]
    state: bool,
    /// With --state: tell which event last changed this part of the state (orders.live); can be given again
    #[arg(long, value_name = "PATH", requires = "state")]
    written: Vec<String>,
    /// Print a line for each change of mode, reasons, latch, risk causes, positions and open orders
    #[arg(long)]
    timeline: bool,
    /// Print the status after every so many events
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..))]
    status_every: Option<u64>,
    /// Print what the kernel did at each event, and the hashes of its state, from --from-seq to --to-seq
    #[arg(long, requires = "from_seq", requires = "to_seq")]
    events: bool,
    /// With --events: the first event
    #[arg(long, value_name = "SEQ", requires = "events", value_parser = clap::value_parser!(u64).range(1..))]
    from_seq: Option<u64>,
    /// With --events: the last event
    #[arg(long, value_name = "SEQ", requires = "events")]
    to_seq: Option<u64>,
    /// With --events: every so many events only, and the last one
    #[arg(long, value_name = "EVENTS", requires = "events", default_value_t = 1)]
    every: u64,
    /// Encode and decode the whole state after every event, fold on from each checkpoint too, and compare
    #[arg(long)]
    heavy: bool,
    /// Write the trace that this build makes of the log
    #[arg(long, value_name = "FILE")]
    write_trace: Option<PathBuf>,
    /// Events from one checkpoint to the next [default: 65536 with --write-trace, 256 with --heavy]
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint_stride: Option<u32>,
    /// With --write-trace: events from one state image to the next; 0 for none
    #[arg(long, value_name = "EVENTS", default_value_t = Strides::LONG.image, requires = "write_trace")]
    image_stride: u32,
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
    let mut out = BufWriter::new(out);
    let code = replay_to(project, args, &mut out, err);
    // What was found before an error is shown before it.
    out.flush()?;
    code
}

fn replay_to(project: &Project, args: &ReplayArgs, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    if let Some(file) = &args.write_trace {
        return write_trace(project, args, file, out, err);
    }
    if args.timeline {
        return print_timeline(project, args, out);
    }
    if args.heavy {
        return heavily(project, args, out);
    }
    let trace = if args.no_trace { None } else { TraceFile::find(project, &args.log, args.trace.as_deref())? };
    if let Some(place) = args.at {
        return at(project, args, place, trace.as_ref(), out);
    }
    if let Some(every) = args.status_every {
        return print_statuses(project, args, every, out);
    }
    if let (Some(first), Some(last)) = (args.from_seq, args.to_seq) {
        return print_events(project, args, (Seq(first), Seq(last)), trace.as_ref(), out);
    }
    let progress = Progress::new();
    let found = if args.checkpoints {
        let mut checkpoints = Vec::new();
        let found = folded(project, &args.log, trace.as_ref(), |checkpoint| {
            progress.at(checkpoint.seq, err);
            checkpoints.push(checkpoint.clone());
        })?;
        print_checkpoints(&found, &checkpoints, args.format, out)?;
        found
    } else {
        let found = folded(project, &args.log, trace.as_ref(), |checkpoint| progress.at(checkpoint.seq, err))?;
        progress.end(err);
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
        writeln!(said, "to find the event: drillfold bisect {}", args.log.display())?;
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
    trace: Option<&TraceFile>,
    take: impl FnMut(&Checkpoint),
) -> anyhow::Result<Replay> {
    let name = trace.map(TraceFile::name);
    let trace = name.as_deref().zip(trace.map(|trace| &*trace.bytes));
    // The trace's hashes cover what was made of the events, the log's digest the events themselves: both are compared.
    let mut files = open_log(project, log, Digests::Check)?;
    Ok(replay_files(&mut files, trace, take)?)
}

fn write_trace(
    project: &Project,
    args: &ReplayArgs,
    file: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<u8> {
    let strides =
        Strides { checkpoint: args.checkpoint_stride.unwrap_or(Strides::LONG.checkpoint), image: args.image_stride };
    let mut files = open_log(project, &args.log, Digests::Check)?;
    let mut trace = project.storage().create_new(file)?;
    let progress = Progress::new();
    let last = trace_log(&mut files, strides, |seq, bytes| -> anyhow::Result<()> {
        progress.at(seq, err);
        Ok(trace.append(&bytes)?)
    })?;
    progress.end(err);
    writeln!(out, "{}: {} events, state {}", file.display(), last.seq.0, last.state)?;
    Ok(EXIT_HOLDS)
}

fn print_timeline(project: &Project, args: &ReplayArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut files = open_log(project, &args.log, Digests::Check)?;
    let mut lines = Vec::new();
    let count = timeline(&mut files, |line| -> anyhow::Result<()> {
        match args.format {
            ReplayFormat::Human => writeln!(out, "{}", timeline_text(line))?,
            ReplayFormat::Json => lines.push(line.document()),
            ReplayFormat::Jsonl => writeln!(out, "{}", line.document())?,
        }
        Ok(())
    })?;
    match args.format {
        ReplayFormat::Human => writeln!(out, "{}: {count} events", files.header().drill)?,
        ReplayFormat::Json => {
            let whole = json!({ "schema": "drillfold/timeline/v1", "events": count, "lines": lines });
            writeln!(out, "{}", serde_json::to_string_pretty(&whole)?)?;
        }
        ReplayFormat::Jsonl => {}
    }
    Ok(EXIT_HOLDS)
}

fn timeline_text(line: &Line) -> String {
    match line {
        Line::Mark { seq, at, kind, name } => format!("{:>8}  {}  {kind}: {name}", seq.0, moment(at.0)),
        Line::Change { seq, at, event, standing } => {
            format!("{:>8}  {}  {event}\n{:>10}{standing}", seq.0, moment(at.0), "")
        }
    }
}

fn heavily(project: &Project, args: &ReplayArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut files = open_log(project, &args.log, Digests::Check)?;
    let found = replay_heavily(&mut files, args.checkpoint_stride.unwrap_or(Strides::DRILL.checkpoint))?;
    if args.format != ReplayFormat::Human {
        let whole = json!({
            "schema": "drillfold/heavy/v1",
            "events": found.event_count,
            "checkpoints": found.checkpoint_count,
            "loss": found.loss,
        });
        writeln!(out, "{whole}")?;
    } else if let Some(loss) = &found.loss {
        let how = match loss.shadow {
            Shadow::EachEvent => "was encoded and decoded after every event",
            Shadow::SinceCheckpoint => "was decoded at the last checkpoint",
        };
        let what = if loss.is_observable { "did something else" } else { "has another state" };
        writeln!(
            out,
            "state images lose something: at event {} ({}) a kernel whose state {how}, last after event {}, {what}",
            loss.seq.0,
            moment(loss.at.0),
            loss.image_seq.0
        )?;
        write!(out, "{}", to_text(&loss.differences))?;
    } else {
        writeln!(
            out,
            "{}: {} events, {} checkpoints: state images lose nothing",
            files.header().drill,
            found.event_count,
            found.checkpoint_count
        )?;
    }
    Ok(if found.loss.is_some() { EXIT_DIFFERS } else { EXIT_HOLDS })
}

fn at(
    project: &Project,
    args: &ReplayArgs,
    place: PlaceText,
    trace: Option<&TraceFile>,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    if args.state {
        let found = with_images(project, &args.log, trace, |files, images| {
            let place = place.in_log(files)?;
            Ok(state_at(files, images, place, &args.written)?)
        })?;
        print_document(&found, args.format, out)?;
        return Ok(EXIT_HOLDS);
    }
    let (drill, folder) = with_images(project, &args.log, trace, |files, images| {
        let place = place.in_log(files)?;
        Ok((files.header().drill.clone(), fold_to(files, images, place)?))
    })?;
    let document = folder.kernel().status().as_ref().map(document);
    if args.format == ReplayFormat::Human {
        write!(out, "{}", document.as_ref().map_or_else(|| "no process was up\n".to_owned(), status_text))?;
        writeln!(out, "{drill}: after event {}, {}", folder.seq().0, moment(folder.at().0))?;
        return Ok(EXIT_HOLDS);
    }
    let whole = json!({
        "schema": "drillfold/replay-at/v1",
        "drill": drill,
        "seq": folder.seq().0,
        "at_ms": folder.at().0,
        "status": document,
    });
    print_document(&whole, args.format, out)?;
    Ok(EXIT_HOLDS)
}

/// Prints one document: indented, or for [`ReplayFormat::Jsonl`] on one line.
fn print_document(whole: &impl Serialize, format: ReplayFormat, out: &mut dyn Write) -> anyhow::Result<()> {
    let is_line = format == ReplayFormat::Jsonl;
    let text = if is_line { serde_json::to_string(whole)? } else { serde_json::to_string_pretty(whole)? };
    writeln!(out, "{text}")?;
    Ok(())
}

fn print_statuses(project: &Project, args: &ReplayArgs, every: u64, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut files = open_log(project, &args.log, Digests::Check)?;
    let mut walk = Walk::before(&mut files, None, Seq(0), Strides::LONG)?;
    let mut documents = Vec::new();
    while let Some((seq, at, _)) = walk.next()? {
        if !seq.0.is_multiple_of(every) {
            continue;
        }
        let status = walk.folder().kernel().status().as_ref().map(document);
        let whole = json!({ "seq": seq.0, "at_ms": at.0, "status": status });
        match args.format {
            ReplayFormat::Human => {
                writeln!(out, "{:>8}  {}  {}", seq.0, moment(at.0), Standing::of(walk.folder().kernel()))?
            }
            ReplayFormat::Json => documents.push(whole),
            ReplayFormat::Jsonl => writeln!(out, "{whole}")?,
        }
    }
    if args.format == ReplayFormat::Json {
        let whole = json!({ "schema": "drillfold/statuses/v1", "statuses": documents });
        print_document(&whole, args.format, out)?;
    }
    Ok(EXIT_HOLDS)
}

fn print_events(
    project: &Project,
    args: &ReplayArgs,
    window: (Seq, Seq),
    trace: Option<&TraceFile>,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let found = with_images(project, &args.log, trace, |files, images| Ok(looks(files, images, window, args.every)?))?;
    match args.format {
        ReplayFormat::Human => {
            for look in found {
                writeln!(out, "{:>8}  {}  {}", look.seq, moment(look.at_ms), look.event)?;
                writeln!(out, "          {}", look.standing())?;
                for effect in &look.effects {
                    writeln!(out, "          -> {effect}")?;
                }
            }
        }
        ReplayFormat::Json => {
            let whole = json!({ "schema": "drillfold/events/v1", "events": found });
            writeln!(out, "{}", serde_json::to_string_pretty(&whole)?)?;
        }
        ReplayFormat::Jsonl => {
            for look in found {
                writeln!(out, "{}", serde_json::to_string(&look)?)?;
            }
        }
    }
    Ok(EXIT_HOLDS)
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
        return print_document(&whole, args.format, out);
    }
    write!(out, "{}", document.as_ref().map_or_else(|| "no process was up\n".to_owned(), status_text))?;
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
    let trace = TraceFile::find(project, &args.path, None)?;
    let found = folded(project, &args.path, trace.as_ref(), |_| ())?;
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
