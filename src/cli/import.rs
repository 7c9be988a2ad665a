//! `drillfold import`: a recording of a feed becomes a log, and a scenario that plays it.

use std::{collections::BTreeSet, io::Write, path::PathBuf};

use anyhow::bail;
use serde_json::{Value, json};

use super::{
    EXIT_DIFFERS, EXIT_HOLDS, Format,
    project::Project,
    run::{RunArgs, simulate_all},
};
use crate::{
    feed::survey::{Survey, Surveyed, survey},
    scenario,
    storage::Storage as _,
    text::{
        decimal::{self, NANO_DIGITS},
        time::moment,
    },
};

/// Largest recording that is read, in bytes, inclusive.
const RECORDING_SIZE_BYTES_MAX: u64 = 1 << 30;

/// Most instruments that a scenario lists.
const INSTRUMENTS_MAX: usize = 1_000;

/// Options of `drillfold import`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    #[command(subcommand)]
    command: ImportCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum ImportCommand {
    /// Read a recording of Deribit's WebSocket feed; write its scenario, its feed, and the log and trace of a run of it
    Deribit(DeribitArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct DeribitArgs {
    /// The recording: lines of `TIME: JSON`, or JSON Lines with `time` and `frame`
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name of the scenario, of its feed and of its log
    #[arg(long, value_name = "NAME", default_value = "recorded_feed")]
    name: String,
    /// Write into this folder, which gets a project's layout [default: the project's own]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// After how many ms without market data they are stale; a recording has pauses of its own
    #[arg(long, value_name = "MS", default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..))]
    stale_threshold_ms: u32,
    /// The world answers no keep-alives on the public socket, so that a pause of the recording is a silent line
    #[arg(long)]
    no_keepalives: bool,
    /// Read and report only; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Carries out `drillfold import`. [`EXIT_HOLDS`] where everything could be read, [`EXIT_DIFFERS`] where lines or frames could
/// not; what could is written all the same.
///
/// # Errors
/// A recording without market data, files that are there already, what can't be read, run or written.
pub fn import(project: &Project, args: &ImportArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let ImportCommand::Deribit(args) = &args.command;
    let shown = args.file.display();
    let bytes = project.storage().read_at_most(&args.file, RECORDING_SIZE_BYTES_MAX)?;
    let Surveyed { survey, feed } = survey(&bytes);
    if survey.instruments.is_empty() {
        let first =
            survey.faults.first().map_or_else(String::new, |fault| format!("; line {} {}", fault.line, fault.what));
        bail!("{shown}: no market data in {} lines{first}", survey.lines);
    }
    if survey.instruments.len() > INSTRUMENTS_MAX {
        bail!("{shown}: {} instruments, and a scenario has at most {INSTRUMENTS_MAX}", survey.instruments.len());
    }
    let text = scenario_text(args, &survey);
    let target = args.out.clone().map_or_else(|| project.clone(), Project::new);
    let written = [
        target.path("scenarios").join(format!("{}.toml", args.name)),
        target.path("scenarios/feeds").join(format!("{}.txt", args.name)),
        target.path("wal-logs").join(format!("{}.wal", args.name)),
        target.path("wal-logs").join(format!("{}.trace", args.name)),
    ];
    let [scenario_file, feed_file, log, trace] = &written;
    // Before anything is written: the name may be none of a scenario.
    scenario::parse(&scenario_file.display().to_string(), &text)?;
    let mut run = None;
    if !args.dry_run {
        if let Some(there) =
            written.iter().find(|path| project.storage().entry_kind(path).is_ok_and(|kind| kind.is_some()))
        {
            bail!("{}: is there already; name the import with --name, or write elsewhere with --out", there.display());
        }
        target.write(feed_file, feed.as_bytes())?;
        target.write(scenario_file, text.as_bytes())?;
        let runs = simulate_all(&target, &RunArgs { paths: vec![scenario_file.clone()], ..RunArgs::default() })?;
        let Some(simulated) = runs.into_iter().next() else {
            bail!("{}: nothing to run", scenario_file.display());
        };
        target.write(log, &simulated.run.outcome.recorded.log)?;
        target.write(trace, &simulated.run.outcome.recorded.trace)?;
        run = Some(simulated.run);
    }
    let document = report(&survey, run.as_ref().map(|run| run.outcome.recorded.last.chain.to_string()));
    match args.format {
        Format::Json => writeln!(out, "{document:#}")?,
        Format::Human => {
            print(&survey, out)?;
            if let Some(run) = &run {
                let events = run.outcome.timeline.events.len();
                writeln!(out, "{events} events, chain hash {}", run.outcome.recorded.last.chain)?;
                for path in &written {
                    writeln!(out, "wrote {}", path.display())?;
                }
            }
        }
    }
    Ok(if survey.fault_count == 0 { EXIT_HOLDS } else { EXIT_DIFFERS })
}

/// Writes the scenario that plays the feed: the recorded instruments, nothing synthetic, no orders.
fn scenario_text(args: &DeribitArgs, survey: &Survey) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let (first_us, last_us) = (survey.first_us.unwrap_or(0), survey.last_us.unwrap_or(0));
    let duration_s = last_us.saturating_sub(first_us) / 1_000_000 + 2;
    let last_ms = last_us.saturating_sub(first_us) / 1_000;
    let (changes, snapshots, tickers) = (survey.changes > 0, survey.snapshots > 0, survey.tickers > 0);
    let heard = match (changes, snapshots, tickers) {
        (true, _, _) => "BookChanged",
        (false, true, _) => "BookSnapshot",
        (false, false, true) => "TickerReceived",
        (false, false, false) => "TradesReceived",
    };
    let mut text = format!(
        "# Written by `drillfold import deribit`.\n\
         schema = \"drillfold/scenario/v1\"\n\
         name = {}\n\
         title = \"A recorded feed\"\n\
         shows = \"what the layer makes of the public feed recorded from {} to {}\"\n\
         seed = 1\n\
         duration = \"{duration_s}s\"\n\
         events_max = 10000000\n\n\
         [config]\n\
         ws_stale_threshold_ms = {}   # a recording has pauses of its own, here of up to {} ms\n",
        quoted(&args.name),
        moment(first_us / 1_000),
        moment(last_us / 1_000),
        args.stale_threshold_ms,
        survey.longest_pause_us / 1_000,
    );
    let perpetual = survey.instruments.iter().find(|name| name.ends_with("-PERPETUAL"));
    if let Some(name) = perpetual {
        text.push_str(&format!("reference_instrument = {}\n", quoted(name)));
    }
    text.push_str(&format!("\n[world]\nrecording = {}\n", quoted(&format!("feeds/{}.txt", args.name))));
    if args.no_keepalives {
        text.push_str("keepalives = false\n");
    }
    text.push_str("\n[world.market.index]\n");
    let underlyings: BTreeSet<&str> =
        survey.instruments.iter().map(|name| name.split('-').next().unwrap_or_default()).collect();
    for underlying in underlyings {
        // Without a ticker of it the index is unknown; nothing that is recorded depends on it.
        let price =
            survey.indices.get(underlying).map_or("1".to_owned(), |price| decimal::plain(price.0.into(), NANO_DIGITS));
        text.push_str(&format!("{} = {price}\n", quoted(underlying)));
    }
    for name in &survey.instruments {
        text.push_str(&format!("\n[[world.instrument]]\nname = {}\nsynthetic = false\n", quoted(name)));
    }
    text.push_str(&format!(
        "\n[strategy]\nopen_every = \"0s\"\nclose_every = \"0s\"\ncancel_every = \"0s\"\n\
         \n[[snapshot]]\nname = \"last\"\nat = \"{last_ms}ms\"\n\
         \n[[expect]]\ncriterion = \"heard\"\nsays = \"the recorded feed arrives\"\nsometimes = 'event == \"{heard}\"'\n"
    ));
    text
}

fn print(survey: &Survey, out: &mut dyn Write) -> anyhow::Result<()> {
    let at = |us: Option<i64>| us.map_or_else(|| "-".to_owned(), |us| moment(us / 1_000));
    writeln!(
        out,
        "{} lines, {} frames received, {} to {}",
        survey.lines,
        survey.received,
        at(survey.first_us),
        at(survey.last_us)
    )?;
    writeln!(
        out,
        "{} instruments: {} book messages ({} snapshots, {} changes), {} tickers, {} trades",
        survey.instruments.len(),
        survey.snapshots.saturating_add(survey.changes),
        survey.snapshots,
        survey.changes,
        survey.tickers,
        survey.trades
    )?;
    writeln!(
        out,
        "{} heartbeats, {} answers; longest pause {} ms",
        survey.heartbeats,
        survey.answers,
        survey.longest_pause_us / 1_000
    )?;
    for (code, count) in &survey.refusals {
        writeln!(out, "refused with {code}: {count} times")?;
    }
    for (what, names) in [("channel", &survey.unknown_channels), ("field", &survey.unknown_fields)] {
        for (name, count) in names {
            writeln!(out, "unknown {what} {name}: {count} times, kept")?;
        }
    }
    writeln!(out, "{} gaps, {} errors", survey.gap_count, survey.fault_count)?;
    for gap in &survey.gaps {
        let before = gap.before.map_or_else(|| "no snapshot".to_owned(), |before| format!("state {before}"));
        writeln!(out, "line {}: gap of {}: {before}, the change follows {}", gap.line, gap.instrument, gap.follows)?;
    }
    for fault in &survey.faults {
        writeln!(out, "line {} {}", fault.line, fault.what)?;
    }
    Ok(())
}

fn report(survey: &Survey, chain: Option<String>) -> Value {
    let gaps: Vec<Value> = survey
        .gaps
        .iter()
        .map(|gap| json!({ "line": gap.line, "instrument": gap.instrument, "before": gap.before, "follows": gap.follows }))
        .collect();
    let faults: Vec<Value> =
        survey.faults.iter().map(|fault| json!({ "line": fault.line, "what": fault.what })).collect();
    json!({
        "schema": "drillfold/import/v1",
        "lines": survey.lines,
        "connections": survey.connections,
        "sent": survey.sent,
        "received": survey.received,
        "instruments": survey.instruments,
        "snapshots": survey.snapshots,
        "changes": survey.changes,
        "tickers": survey.tickers,
        "trades": survey.trades,
        "heartbeats": survey.heartbeats,
        "answers": survey.answers,
        "refusals": survey.refusals.iter().map(|(code, count)| (code.to_string(), *count)).collect::<std::collections::BTreeMap<_, _>>(),
        "unknown_channels": survey.unknown_channels,
        "unknown_fields": survey.unknown_fields,
        "longest_pause_ms": survey.longest_pause_us / 1_000,
        "gap_count": survey.gap_count,
        "gaps": gaps,
        "error_count": survey.fault_count,
        "errors": faults,
        "chain": chain,
    })
}
