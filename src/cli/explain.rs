//! `drillfold explain`.

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use serde_json::json;

use super::{
    EXIT_HOLDS, Format,
    logs::{PlaceText, TraceFile, with_images},
    project::Project,
};
use crate::{
    inspect::{Clearing, EventAt, Explanation, MarkAt, Need, Root, explain},
    replay::Place,
    text::time::moment,
};

/// Options of `drillfold explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// The log
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// After which event: its number, a moment (2026-01-05T09:00:10.25Z), milliseconds since the epoch (@1767603610250) or
    /// since the first event (+10s) [default: the last one]
    #[arg(long, value_name = "PLACE")]
    at: Option<PlaceText>,
    /// Its trace [default: the file beside it with the ending .trace, where there is one]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Do without a trace: fold from the log's beginning
    #[arg(long, conflicts_with = "trace")]
    no_trace: bool,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Carries out `drillfold explain`.
///
/// # Errors
/// A log or trace that can't be read, a place that the log has not.
pub fn run(project: &Project, args: &ExplainArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let trace = if args.no_trace { None } else { TraceFile::find(project, &args.log, args.trace.as_deref())? };
    let (drill, found) = with_images(project, &args.log, trace.as_ref(), |files, images| {
        let place = match args.at {
            Some(place) => place.in_log(files)?,
            None => Place::End,
        };
        Ok((files.header().drill.clone(), explain(files, images, place)?))
    })?;
    let mut out = BufWriter::new(out);
    match args.format {
        Format::Human => text(&found, &mut out)?,
        Format::Json => {
            let whole = json!({
                "schema": "drillfold/explanation/v1",
                "drill": drill,
                "explanation": found,
            });
            writeln!(out, "{}", serde_json::to_string_pretty(&whole)?)?;
        }
    }
    out.flush()?;
    Ok(EXIT_HOLDS)
}

fn text(found: &Explanation, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "after event {}, {}: ", found.seq, moment(found.at_ms))?;
    if !found.up {
        return writeln!(out, "no process was up");
    }
    writeln!(out, "{}", found.mode)?;
    if let Some(since) = &found.mode_since {
        writeln!(out, "  since {}", event(since))?;
    }
    if let Some(trigger) = &found.trigger {
        let since = found.since_trigger_ms().unwrap_or_default();
        writeln!(out, "  trigger, {since} ms before: {}", mark(trigger))?;
    }
    for reason in &found.reasons {
        let hidden = if reason.published { "" } else { " (hidden by a higher tier)" };
        writeln!(out, "\n{}{hidden}", reason.reason)?;
        writeln!(out, "  since {}", event(&reason.since))?;
        for root in &reason.roots {
            let (what, of) = match root {
                Root::Event { since } => (String::new(), since),
                Root::Code { code, raised } => (format!("{code} <- "), raised),
                Root::Cause { cause, since } => (format!("{cause} <- "), since),
            };
            writeln!(out, "  {} <- {} <- {what}{}", found.mode, reason.reason, chain(of))?;
        }
        if found.codes.is_empty() || !reason.roots.iter().any(|root| matches!(root, Root::Code { .. })) {
            clears(&reason.clears, out)?;
        }
        needs(&reason.needs, out)?;
    }
    for code in &found.codes {
        writeln!(out, "\n{}", code.code)?;
        writeln!(out, "  raised by {}", event(&code.raised))?;
        if code.renewed.seq != code.raised.seq {
            writeln!(out, "  renewed by {}", event(&code.renewed))?;
        }
        clears(&code.clears, out)?;
        needs(&code.needs, out)?;
    }
    if !found.refused.is_empty() {
        writeln!(out, "\nrefused since")?;
        for refused in &found.refused {
            writeln!(
                out,
                "  {} x {}, first at event {}, last at event {}",
                refused.count, refused.code, refused.first_seq, refused.last_seq
            )?;
        }
    }
    Ok(())
}

fn needs(needs: &[Need], out: &mut dyn Write) -> io::Result<()> {
    for need in needs {
        let mark = if need.holds { "ok     " } else { "missing" };
        writeln!(out, "    {mark}  {}: {}, needed {}", need.what, need.current, need.target)?;
    }
    Ok(())
}

fn event(event: &EventAt) -> String {
    format!("event {}, {}: {}", event.seq, moment(event.at_ms), event.event)
}

/// An event with what was noted at it and the mark before it, from effect to cause.
fn chain(event: &EventAt) -> String {
    let mut parts = event.notes.clone();
    parts.push(format!("event {} ({})", event.seq, event.event));
    if let Some(mark) = &event.mark {
        parts.push(format!("{} ({})", mark.kind, mark.name));
    }
    parts.join(" <- ")
}

fn mark(mark: &MarkAt) -> String {
    format!("{}, before event {}: {}", moment(mark.at_ms), mark.before_seq, mark.name)
}

fn clears(clearing: &Clearing, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  clears by {}: {}", clearing.kind, clearing.condition)?;
    if !clearing.current.is_empty() {
        writeln!(out, "    now {}", clearing.current)?;
    }
    writeln!(out, "    target {}", clearing.target)
}
