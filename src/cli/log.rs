//! `drillfold log`: looking inside a log, checking it, copying what is sound of a damaged one, and generating long ones.
//!
//! Every command reads a record at a time: memory does not grow with the log. The output for programs is described in
//! specs/log-commands.md.

use std::{
    io::{self, BufWriter, Write},
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::Arc,
};

use drillfold_kernel::{
    event::Event,
    units::{Seq, TimeMs},
};
use serde_json::{Value, json};

use super::{EXIT_DIFFERS, EXIT_HOLDS, EXIT_UNCHECKED, Format, logs::Progress, project::Project};
use crate::{
    inspect,
    judge::generate::{self, Order},
    storage::Storage as _,
    text::{decimal, nearest::suggestion},
    wal::{
        Access, AtCorruption, Digest128, Digests, Direction, DurabilityPolicy, Finding, LogError, LogFiles, LogRecord,
        LogWriter, ReadOptions, RecordBody, RecordError, RecordType, RepairError, SegmentSummary, Statistics, Tail,
        Verification, WriterOptions, event_names, is_known_event_schema, log_statistics, repair_log, verify_log,
    },
};

/// Options of `drillfold log`.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum LogCommand {
    /// Check everything about a log: frames, numbers, digests, index, payloads (0 sound, 1 damaged)
    Verify(VerifyArgs),
    /// Copy the sound prefix of a log into a new one; the damaged log is not touched
    Repair(RepairArgs),
    /// Say what is in a log
    Stat(StatArgs),
    /// Print the events of a log, one JSON object a line
    Dump(DumpArgs),
    /// Print the frames that a live feed brought, one JSON object a line, as `drillfold import deribit` takes them
    Frames(FramesArgs),
    /// Write a long log with its trace: busy market data, a strategy, faults from a seed
    Generate(GenerateArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct VerifyArgs {
    /// The log: its first file; the other segments are found beside it
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Debug, clap::Args)]
struct RepairArgs {
    /// The log: its first file; the other segments are found beside it
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// The copy, which must not exist yet; it becomes one sealed file
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Also where records that were durable are damaged: copy what is before them and give up the rest
    #[arg(long)]
    cut_at_corruption: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct StatArgs {
    /// The log: its first file; the other segments are found beside it
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Debug, clap::Args)]
struct DumpArgs {
    /// The log: its first file; the other segments are found beside it
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Only events of these kinds, as the kernel spells them (BookChanged,TickerReceived)
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Begin with the event of this number
    #[arg(long, value_name = "SEQ")]
    from_seq: Option<u64>,
    /// End with the event of this number
    #[arg(long, value_name = "SEQ")]
    to_seq: Option<u64>,
    /// Begin with the first event whose time reaches this one, milliseconds since the epoch
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    from_time: Option<i64>,
    /// Leave out what is later than this, milliseconds since the epoch
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    to_time: Option<i64>,
    /// Print marks too, at their places
    #[arg(long)]
    marks: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct FramesArgs {
    /// The log: its first file; the other segments are found beside it
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Print the frames that were sent to the venue, in place of those received
    #[arg(long)]
    sent: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct GenerateArgs {
    /// The log's first file, which must not exist yet; the other segments and the trace (.trace) are written beside it
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Seed of everything
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Events of the log, exactly
    #[arg(long, value_name = "N", default_value = "1000000")]
    events: NonZeroU64,
}

/// Carries out `drillfold log`.
///
/// # Errors
/// A log that can't be read, or a copy that can't be written.
pub fn log(project: &Project, args: &LogArgs, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    let mut out = BufWriter::new(out);
    let done = match &args.command {
        LogCommand::Verify(args) => verify(project, args, &mut out),
        LogCommand::Repair(args) => repair(project, args, &mut out, err),
        LogCommand::Stat(args) => stat(project, args, &mut out, err),
        LogCommand::Dump(args) => dump(project, args, &mut out),
        LogCommand::Frames(args) => frames(project, args, &mut out),
        LogCommand::Generate(args) => generate(project, args, &mut out, err),
    };
    // What was found before an error is shown before it.
    let flushed = out.flush();
    match done {
        // A reader that has gone away wanted no more.
        Err(error) if is_broken_pipe(&error) => Ok(EXIT_HOLDS),
        Ok(code) if flushed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) => Ok(code),
        Ok(code) => flushed.map(|()| code).map_err(Into::into),
        Err(error) => Err(error),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn verify(project: &Project, args: &VerifyArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let found = verify_log(project.storage(), &args.log, Access::Mapped)?;
    match args.format {
        Format::Human => verify_text(&args.log, &found, out)?,
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&verify_document(&found))?)?,
    }
    Ok(if found.is_sound() { EXIT_HOLDS } else { EXIT_DIFFERS })
}

fn verify_text(log: &Path, found: &Verification, out: &mut dyn Write) -> io::Result<()> {
    for Finding { kind, file, offset, seq, message } in &found.findings {
        writeln!(out, "{}: {file}: byte {offset}, event {}: {message}", kind.name(), seq.0)?;
    }
    let listed = found.findings.len() as u64;
    if listed < found.finding_count {
        writeln!(out, "and {} more findings", found.finding_count - listed)?;
    }
    if let Some(path) = &found.unfinished {
        writeln!(out, "{}: was begun and never held a record; it counts as absent", path.display())?;
    }
    if found.not_decoded_count > 0 {
        let count = found.not_decoded_count;
        writeln!(out, "{count} events have a schema that this build does not know; their payloads were not decoded")?;
    }
    let events: u64 = found.segments.iter().map(|segment| segment.summary.event_count).sum();
    let verdict = match (found.is_sound(), is_sealed(&found.segments)) {
        (true, true) => "sound and sealed",
        (true, false) => "sound, not sealed",
        (false, _) => "DAMAGED",
    };
    writeln!(out, "{}: {verdict}: {events} events in {} segments", log.display(), found.segments.len())
}

fn verify_document(found: &Verification) -> Value {
    let findings: Vec<Value> = found
        .findings
        .iter()
        .map(|finding| {
            json!({
                "kind": finding.kind.name(),
                "file": finding.file,
                "offset": finding.offset,
                "seq": finding.seq.0,
                "message": finding.message,
            })
        })
        .collect();
    json!({
        "schema": "drillfold/log-verify/v1",
        "sound": found.is_sound(),
        "sealed": is_sealed(&found.segments),
        "finding_count": found.finding_count,
        "findings": findings,
        "not_decoded_count": found.not_decoded_count,
        "unfinished_segment": found.unfinished.as_ref().map(|path| path.display().to_string()),
        "segments": found.segments.iter().map(segment_document).collect::<Vec<Value>>(),
    })
}

fn is_sealed(segments: &[SegmentSummary]) -> bool {
    segments.last().is_some_and(|segment| segment.summary.end.is_some())
}

fn segment_document(segment: &SegmentSummary) -> Value {
    let summary = &segment.summary;
    let (tail, at, bytes, fault) = match &summary.tail {
        Tail::Clean => ("clean", summary.sound_bytes, 0, None),
        Tail::Zeroed { offset, bytes } => ("zeroed", *offset, *bytes, None),
        Tail::Torn { offset, bytes, fault } => ("torn", *offset, *bytes, Some(fault.to_string())),
    };
    json!({
        "file": segment.path.display().to_string(),
        "bytes": segment.size_bytes,
        "sound_bytes": summary.sound_bytes,
        "events": summary.event_count,
        "marks": summary.mark_count,
        "frames": summary.feed_frame_count,
        "unknown": summary.unknown_count,
        "next_seq": summary.next_seq.0,
        "durable_seq": summary.durable_seq.0,
        "sealed": summary.end.is_some(),
        "event_digest": summary.end.map(|end| end.event_digest.to_string()),
        "tail": { "kind": tail, "offset": at, "bytes": bytes, "fault": fault },
    })
}

fn repair(project: &Project, args: &RepairArgs, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    let at_corruption = if args.cut_at_corruption { AtCorruption::Cut } else { AtCorruption::Refuse };
    let done = match repair_log(project.storage(), &args.log, &args.out, at_corruption) {
        Ok(done) => done,
        Err(refused @ RepairError::Corrupt { .. }) => {
            writeln!(err, "error: {refused}")?;
            writeln!(err, "nothing was written; --cut-at-corruption copies what is before it")?;
            return Ok(EXIT_DIFFERS);
        }
        Err(error) => return Err(error.into()),
    };
    match &done.cut {
        None => writeln!(out, "{}: nothing to cut", args.log.display())?,
        Some(cut) => {
            let (file, offset, bytes) = (&cut.file, cut.offset, cut.bytes);
            writeln!(out, "{file}: cut at byte {offset}, before event {}: {}", cut.next_seq.0, cut.reason)?;
            let what = if cut.corruption { ", among them what was durable" } else { "" };
            writeln!(out, "{bytes} bytes behind it were not copied{what}")?;
        }
    }
    let (events, bytes) = (done.end.event_count, done.size_bytes);
    writeln!(out, "{}: {events} events, {bytes} bytes, sealed", args.out.display())?;
    Ok(EXIT_HOLDS)
}

fn stat(project: &Project, args: &StatArgs, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    let found = log_statistics(project.storage(), &args.log, Access::Mapped)?;
    match args.format {
        Format::Human => stat_text(&found, out)?,
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&stat_document(&found))?)?,
    }
    if let Some(damage) = &found.damage {
        out.flush()?;
        writeln!(err, "error: {damage}; what is behind it was not counted")?;
        return Ok(EXIT_UNCHECKED);
    }
    Ok(EXIT_HOLDS)
}

fn stat_text(found: &Statistics, out: &mut dyn Write) -> io::Result<()> {
    let header = &found.header;
    let known = if is_known_event_schema(header.event_schema) { "" } else { " (unknown to this build)" };
    writeln!(out, "drill            {}", header.drill)?;
    writeln!(out, "seed             {}", header.seed)?;
    writeln!(out, "scenario         {}", header.scenario_digest)?;
    writeln!(out, "event schema     {}{known}", header.event_schema)?;
    writeln!(out, "written by       drillfold {}", header.tool_version)?;
    let range = |first: u64, last: u64| format!("{first} to {last}");
    let numbers = found.first.zip(found.last).map(|((first, _), (last, _))| range(first.0, last.0));
    let times = found.times.map(|(first, last)| format!("{} to {} ms", first.0, last.0));
    writeln!(out, "events           {}", found.event_count())?;
    writeln!(out, "numbers          {}", numbers.as_deref().unwrap_or("none"))?;
    writeln!(out, "times            {}", times.as_deref().unwrap_or("none"))?;
    let marks: u64 = found.segments.iter().map(|segment| segment.summary.mark_count).sum();
    writeln!(out, "marks            {marks}")?;
    if found.feed_frames.count > 0 {
        writeln!(out, "frames           {}, {} bytes", found.feed_frames.count, found.feed_frames.payload_bytes)?;
    }
    writeln!(out, "batches          {}", found.batch_count)?;
    writeln!(out, "\n{:>12} {:>14}  kind", "events", "payload bytes")?;
    for (record_type, kind) in &found.kinds {
        writeln!(out, "{:>12} {:>14}  {}", kind.count, kind.payload_bytes, kind_name(*record_type))?;
    }
    writeln!(out)?;
    for segment in &found.segments {
        let (summary, bytes) = (&segment.summary, segment.size_bytes);
        let sealed = if summary.end.is_some() { "sealed" } else { "not sealed" };
        let tail = match &summary.tail {
            Tail::Clean => String::new(),
            Tail::Zeroed { bytes, .. } => format!(", {bytes} unused bytes at its end"),
            Tail::Torn { offset, bytes, fault } => {
                format!(", torn tail of {bytes} bytes from byte {offset} on: {fault}")
            }
        };
        let path = segment.path.display();
        writeln!(out, "{path}: {} events, {bytes} bytes, {sealed}{tail}", summary.event_count)?;
    }
    if let Some(path) = &found.unfinished {
        writeln!(out, "{}: was begun and never held a record", path.display())?;
    }
    Ok(())
}

fn stat_document(found: &Statistics) -> Value {
    let header = &found.header;
    let kinds: Vec<Value> = found
        .kinds
        .iter()
        .map(|(record_type, kind)| {
            json!({
                "kind": kind_name(*record_type),
                "version": record_type.version,
                "count": kind.count,
                "payload_bytes": kind.payload_bytes,
            })
        })
        .collect();
    let sum = |of: fn(&SegmentSummary) -> u64| found.segments.iter().map(of).sum::<u64>();
    json!({
        "schema": "drillfold/log-stat/v1",
        "drill": header.drill,
        "seed": header.seed,
        "scenario_digest": header.scenario_digest.to_string(),
        "event_schema": header.event_schema.to_string(),
        "event_schema_known": is_known_event_schema(header.event_schema),
        "tool_version": header.tool_version,
        "events": found.event_count(),
        "first_seq": found.first.map(|(seq, _)| seq.0),
        "last_seq": found.last.map(|(seq, _)| seq.0),
        "first_at_ms": found.first.map(|(_, at)| at.0),
        "last_at_ms": found.last.map(|(_, at)| at.0),
        "least_at_ms": found.times.map(|(least, _)| least.0),
        "greatest_at_ms": found.times.map(|(_, greatest)| greatest.0),
        "marks": sum(|segment| segment.summary.mark_count),
        "frames": found.feed_frames.count,
        "frame_text_bytes": found.feed_frames.payload_bytes,
        "batches": found.batch_count,
        "unknown": sum(|segment| segment.summary.unknown_count),
        "bytes": sum(|segment| segment.size_bytes),
        "sealed": is_sealed(&found.segments),
        "kinds": kinds,
        "segments": found.segments.iter().map(segment_document).collect::<Vec<Value>>(),
        "unfinished_segment": found.unfinished.as_ref().map(|path| path.display().to_string()),
        "damage": found.damage.as_ref().map(ToString::to_string),
    })
}

/// Returns the event's name, or its number where this build has no event of that kind.
fn kind_name(record_type: RecordType) -> String {
    record_type.event_name().map_or_else(|| format!("{:#06x}", record_type.kind), str::to_owned)
}

fn dump(project: &Project, args: &DumpArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    for kind in &args.kind {
        let known = event_names().any(|name| name == kind);
        anyhow::ensure!(known, "there is no event {kind:?}{}", suggestion(kind, event_names()));
    }
    let options = ReadOptions { digests: Digests::Skip, access: Access::Mapped };
    let mut files = LogFiles::open(project.storage(), &args.log, options)?;
    let mut first = args.from_seq.map(Seq);
    if let Some(at) = args.from_time {
        let Some(found) = files.seek_time(TimeMs(at))? else {
            return Ok(EXIT_HOLDS);
        };
        first = Some(first.map_or(found, |first| first.max(found)));
    }
    if let Some(seq) = first {
        files.seek_seq(seq)?;
    }
    let mut line = Line { event: Event::LoopTicked, schema: None };
    loop {
        let decodes = line.decodes(files.segment_header().event_schema);
        let Some(record) = files.next_record()? else {
            return Ok(EXIT_HOLDS);
        };
        if args.to_seq.is_some_and(|last| record.seq.0 > last) {
            return Ok(EXIT_HOLDS);
        }
        if args.to_time.is_some_and(|last| record.at > TimeMs(last)) {
            continue;
        }
        let (offset, seq) = (record.offset, record.seq);
        match line.document(&record, args, decodes) {
            Ok(Some(document)) => writeln!(out, "{document}")?,
            Ok(None) => {}
            Err(fault) => {
                let file = files.segment_path().display().to_string();
                return Err(LogError::Decode { file, offset, seq, fault }.into());
            }
        }
    }
}

/// What is kept from one line of a dump to the next.
struct Line {
    event: Event,
    schema: Option<(Digest128, bool)>,
}

impl Line {
    /// True where this build decodes events of that schema. Schemas change between segments at most.
    fn decodes(&mut self, schema: Digest128) -> bool {
        match self.schema {
            Some((last, decodes)) if last == schema => decodes,
            Some(_) | None => {
                let decodes = is_known_event_schema(schema);
                self.schema = Some((schema, decodes));
                decodes
            }
        }
    }

    /// Returns the object of a record that is to be printed.
    fn document(
        &mut self,
        record: &LogRecord<'_>,
        args: &DumpArgs,
        decodes: bool,
    ) -> Result<Option<Value>, RecordError> {
        let LogRecord { seq, at, .. } = record;
        match &record.body {
            RecordBody::Event(raw) => {
                let name = raw.record_type.event_name();
                let chosen = args.kind.is_empty() || name.is_some_and(|name| args.kind.iter().any(|kind| kind == name));
                if !chosen {
                    return Ok(None);
                }
                let event = if decodes {
                    raw.decode_into(&mut self.event)?;
                    inspect::fields(&self.event)
                } else {
                    Value::Null
                };
                let kind = kind_name(raw.record_type);
                Ok(Some(json!({ "seq": seq.0, "at_ms": at.0, "kind": kind, "event": event })))
            }
            RecordBody::Mark(mark) if args.marks => {
                let fields = json!({ "kind": mark.kind.name(), "step_index": mark.step_index, "name": mark.name });
                Ok(Some(json!({ "seq": seq.0, "at_ms": at.0, "kind": "mark", "mark": fields })))
            }
            RecordBody::Mark(_)
            | RecordBody::Frame(_)
            | RecordBody::Batch { .. }
            | RecordBody::Index(_)
            | RecordBody::End(_)
            | RecordBody::Unknown(_) => Ok(None),
        }
    }
}

/// Prints each frame as it was kept, as a text: it need not be JSON.
fn frames(project: &Project, args: &FramesArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let wanted = if args.sent { Direction::Sent } else { Direction::Received };
    let options = ReadOptions { digests: Digests::Skip, access: Access::Mapped };
    let mut files = LogFiles::open(project.storage(), &args.log, options)?;
    while let Some(record) = files.next_record()? {
        if let RecordBody::Frame(frame) = record.body
            && frame.direction == wanted
        {
            let time = decimal::plain(record.at.0.into(), 3);
            writeln!(out, "{}", json!({ "time": time, "frame": frame.text }))?;
        }
    }
    Ok(EXIT_HOLDS)
}

fn generate(project: &Project, args: &GenerateArgs, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    let (path, trace_path) = (&args.out, args.out.with_extension("trace"));
    anyhow::ensure!(*path != trace_path, "{}: the log can't have the name of its trace", path.display());
    for path in [path, &trace_path] {
        let there = project.storage().entry_kind(path)?.is_some();
        anyhow::ensure!(!there, "{}: it exists already and is not overwritten", path.display());
    }
    let mut trace = project.storage().create_new(&trace_path)?;
    let progress = Progress::new();
    let order = Order { seed: args.seed, event_count: args.events };
    let done = generate::generate(
        order,
        |header| -> anyhow::Result<LogWriter> {
            // Nothing is lost that another run would not make again: only sealed segments wait for the disk.
            let options = WriterOptions { preallocate_bytes: 0, ..WriterOptions::segmented(DurabilityPolicy::Never) };
            Ok(LogWriter::create(Arc::new(*project.storage()), path, header, options)?)
        },
        |seq, bytes| {
            progress.at(seq, err);
            Ok(trace.append(&bytes)?)
        },
    )?;
    trace.sync()?;
    progress.end(err);
    let (events, legs, state) = (done.last.seq.0, done.leg_count, done.last.state);
    writeln!(out, "{}: {events} events in {legs} legs, state {state}", path.display())?;
    for (fault, count) in &done.faults {
        writeln!(out, "{count:>8}  {}", fault.says())?;
    }
    Ok(EXIT_HOLDS)
}
