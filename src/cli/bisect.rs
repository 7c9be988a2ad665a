//! `drillfold bisect`.

use std::{
    ffi::OsStr,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use drillfold_kernel::units::Seq;
use serde_json::json;

use super::{
    EXIT_DIFFERS, EXIT_HOLDS, Format,
    logs::{Progress, TraceFile, open_log},
    project::Project,
};
use crate::{
    contract::diff::to_text,
    inspect::{
        Beginning, Holding, Look, OwnRun, PartError, Parting, RecordedRun, Run, StateAt, WRITTEN_WITHIN_EVENTS,
        first_holding, part_runs,
    },
    judge::facts::parse_condition,
    replay::{Strides, trace_log},
    storage::Storage as _,
    text::{clip::clipped, time::moment},
    wal::{Digests, Trace},
};

/// Options of `drillfold bisect`.
#[derive(Clone, Debug, clap::Args)]
pub struct BisectArgs {
    /// The log
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Find the first event after which this holds (specs/expressions.md), such as 'trading_mode != "Active"'
    #[arg(long, value_name = "EXPRESSION", conflicts_with_all = ["against", "trace"])]
    when: Option<String>,
    /// Compare this build with another one: the path of its binary
    #[arg(long, value_name = "BINARY", conflicts_with = "trace")]
    against: Option<PathBuf>,
    /// An argument for the other binary, before its command; can be given again
    #[arg(long, value_name = "ARGUMENT", requires = "against", allow_hyphen_values = true)]
    against_arg: Vec<String>,
    /// The recorded trace to compare this build with [default: the file beside the log with the ending .trace]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Carries out `drillfold bisect`. Nothing to find is exit code 0: a condition that never holds, two runs that agree.
///
/// # Errors
/// What can't be read, folded or compared.
pub fn run(project: &Project, args: &BisectArgs, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    let mut out = BufWriter::new(out);
    let code = match &args.when {
        Some(text) => when(project, args, text, &mut out),
        None => builds(project, args, &mut out, err),
    };
    out.flush()?;
    code
}

fn when(project: &Project, args: &BisectArgs, text: &str, out: &mut dyn Write) -> anyhow::Result<u8> {
    let condition = parse_condition(text).map_err(|error| anyhow::anyhow!("{}", error.rendered()))?;
    let mut files = open_log(project, &args.log, Digests::Check)?;
    let (found, looked_at) = first_holding(&mut files, &condition)?;
    match args.format {
        Format::Json => {
            let whole = json!({
                "schema": "drillfold/holding/v1",
                "condition": text,
                "events": looked_at,
                "found": found,
            });
            writeln!(out, "{}", serde_json::to_string_pretty(&whole)?)?;
        }
        Format::Human => match &found {
            Some(holding) => holding_text(holding, out)?,
            None => writeln!(out, "it holds after none of the {looked_at} events")?,
        },
    }
    Ok(if found.is_some() { EXIT_DIFFERS } else { EXIT_HOLDS })
}

fn holding_text(found: &Holding, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "holds first after event {}, {}", found.seq, moment(found.at_ms))?;
    for value in &found.values {
        writeln!(out, "  {}: {} -> {}", value.name, value.before, value.after)?;
    }
    writeln!(out)?;
    for one in &found.before {
        writeln!(out, "  {:>8}  {}  {}", one.seq, moment(one.at_ms), one.event)?;
    }
    writeln!(out, "> {:>8}  {}  {}", found.seq, moment(found.at_ms), found.event)?;
    for one in &found.after {
        writeln!(out, "  {:>8}  {}  {}", one.seq, moment(one.at_ms), one.event)?;
    }
    writeln!(out, "\nwhat the event changed in the status (expected: before, found: after)")?;
    write!(out, "{}", to_text(&found.changes))
}

fn builds(project: &Project, args: &BisectArgs, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    let recorded = TraceFile::find(project, &args.log, args.trace.as_deref())?;
    let strides = match &recorded {
        Some(trace) => strides_of(&trace.read()?),
        None => Strides::LONG,
    };
    anyhow::ensure!(
        args.against.is_some() || recorded.is_some(),
        "{}: no trace beside it to compare this build with; name one with --trace, or another build with --against",
        args.log.display()
    );
    // The other build folds the log while this one does.
    let other = match &args.against {
        Some(program) => Some(OtherBuild::begin(project, program, &args.against_arg, &args.log, strides)?),
        None => None,
    };
    let mut own = Vec::new();
    let progress = Progress::new();
    trace_log(&mut open_log(project, &args.log, Digests::Check)?, strides, |seq, bytes| -> anyhow::Result<()> {
        progress.at(seq, err);
        own.extend_from_slice(&bytes);
        Ok(())
    })?;
    progress.end(err);
    let mut left: Box<dyn Run + '_> = match (other, &recorded) {
        (Some(other), _) => Box::new(other.finish()?),
        (None, Some(trace)) => Box::new(RecordedRun::new(&trace.name(), &trace.bytes)),
        (None, None) => return Ok(EXIT_HOLDS),
    };
    let mut files = open_log(project, &args.log, Digests::Skip)?;
    let mut right = OwnRun::new(&mut files, own);
    let found = part_runs(left.as_mut(), &mut right)?;
    match (&found, args.format) {
        (None, Format::Human) => writeln!(out, "{} and this build do the same", left.name())?,
        (Some(parting), Format::Human) => parting_text(parting, out)?,
        (found, Format::Json) => writeln!(out, "{}", serde_json::to_string_pretty(found)?)?,
    }
    Ok(if found.is_some() { EXIT_DIFFERS } else { EXIT_HOLDS })
}

fn strides_of(trace: &Trace<'_>) -> Strides {
    Strides { checkpoint: trace.header.checkpoint_stride_events, image: trace.header.image_stride_events }
}

fn parting_text(found: &Parting, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "left: {}; right: {}", found.left.name, found.right.name)?;
    writeln!(out, "the same until event {}", found.same_until)?;
    match &found.observable {
        Some(beginning) => {
            writeln!(out, "\nfirst observable difference: {}", place(beginning))?;
            sides(beginning, out)?;
        }
        None => writeln!(out, "\nnothing observable differs")?,
    }
    match &found.state {
        Some(beginning) => {
            writeln!(out, "\nfirst difference of the state: {}", place(beginning))?;
            writeln!(out, "  components: {}", found.components.join(", "))?;
        }
        None => writeln!(out, "\nno difference of the state, or none that can be compared")?,
    }
    if let Some(difference) = &found.difference {
        writeln!(out, "\nparts of the state that differ after event {}: {}", difference.seq, difference.part_count)?;
        for part in &difference.parts {
            let shown = |value: &Option<serde_json::Value>| {
                value
                    .as_ref()
                    .map_or_else(|| "nothing".to_owned(), |value| clipped(&value.to_string(), SHOWN_LENGTH_MAX))
            };
            let written = |seq: Option<u64>| match seq {
                Some(seq) => format!("event {seq}"),
                None => format!("none of the last {WRITTEN_WITHIN_EVENTS} events"),
            };
            writeln!(out, "  {}", part.path)?;
            writeln!(out, "    left   {}, last changed by {}", shown(&part.left), written(part.left_written))?;
            writeln!(out, "    right  {}, last changed by {}", shown(&part.right), written(part.right_written))?;
        }
        let rest = difference.part_count - difference.parts.len();
        if rest > 0 {
            writeln!(out, "  and {rest} more")?;
        }
    }
    let again = &found.met_again;
    writeln!(out)?;
    if let Some(last) = again.last_differing {
        writeln!(out, "{} events differ, the last is event {last}", again.differing_events)?;
    }
    match again.state_same_at {
        Some(seq) => writeln!(out, "the states are the same again at the checkpoint of event {seq}"),
        None => writeln!(out, "the states do not meet again"),
    }
}

fn place(beginning: &Beginning) -> String {
    match (beginning.exactly(), beginning.left.as_ref().or(beginning.right.as_ref())) {
        (Some(Seq(seq)), Some(look)) => format!("event {seq}, {}: {}", moment(look.at_ms), look.event),
        (Some(Seq(seq)), None) => format!("event {seq}"),
        (None, _) => format!("between event {} and event {}", beginning.first_seq, beginning.last_seq),
    }
}

fn sides(beginning: &Beginning, out: &mut dyn Write) -> io::Result<()> {
    let sides = [("left", &beginning.left), ("right", &beginning.right)];
    for (place, (side, look)) in sides.iter().enumerate() {
        let Some(look) = look else { continue };
        writeln!(out, "  {side:5}  {}", look.standing())?;
        // What both did in the same order says nothing about the difference.
        let (_, other) = sides[1 - place];
        let others = other.as_ref().map(|other| other.effects.as_slice()).unwrap_or_default();
        let same = look.effects.iter().zip(others).take_while(|(own, other)| own == other).count();
        if same > 0 {
            writeln!(out, "         -> {same} effects that are the same")?;
        }
        for effect in &look.effects[same..] {
            writeln!(out, "         -> {}", clipped(&effect.to_string(), SHOWN_LENGTH_MAX))?;
        }
    }
    Ok(())
}

/// Longest value or effect that is printed for people, characters.
const SHOWN_LENGTH_MAX: usize = 160;

/// Another drillfold, asked through its command line (specs/replay-output.md).
struct OtherBuild<'p> {
    project: &'p Project,
    program: PathBuf,
    arguments: Vec<String>,
    name: String,
    log: PathBuf,
    trace_path: PathBuf,
    trace: Vec<u8>,
}

impl<'p> OtherBuild<'p> {
    /// Has the other build begin to make a trace of the log.
    fn begin(
        project: &'p Project,
        program: &Path,
        arguments: &[String],
        log: &Path,
        strides: Strides,
    ) -> Result<BegunBuild<'p>, PartError> {
        let name = [program.display().to_string()].into_iter().chain(arguments.iter().cloned()).collect::<Vec<_>>();
        let file = format!("drillfold-bisect-{}.trace", std::process::id());
        let other = Self {
            project,
            program: program.to_owned(),
            arguments: arguments.to_vec(),
            name: name.join(" "),
            log: log.to_owned(),
            trace_path: std::env::temp_dir().join(file),
            trace: Vec::new(),
        };
        let options = [
            "--write-trace".to_owned(),
            other.trace_path.display().to_string(),
            "--checkpoint-stride".to_owned(),
            strides.checkpoint.to_string(),
            "--image-stride".to_owned(),
            strides.image.to_string(),
        ];
        let mut command = other.command(&options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let process = command.spawn().map_err(|error| other.not_started(&error))?;
        Ok(BegunBuild { other, process, options: options.join(" ") })
    }

    fn command(&self, options: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg("replay").arg(&self.log).args(options);
        command
    }

    fn not_started(&self, error: &io::Error) -> PartError {
        self.failed(format!("could not be started: {error}"))
    }

    fn failed(&self, what: impl Into<String>) -> PartError {
        PartError::Program { program: self.name.clone(), what: what.into() }
    }

    /// Has it replay the log and returns what it printed.
    fn ask(&self, options: &[&str]) -> Result<String, PartError> {
        let answer = self.command(options).output().map_err(|error| self.not_started(&error))?;
        self.answered(&answer, &options.join(" "))
    }

    fn answered(&self, answer: &Output, options: &str) -> Result<String, PartError> {
        if answer.status.success() {
            return String::from_utf8(answer.stdout.clone())
                .map_err(|_| self.failed("its output is no text; is it drillfold?"));
        }
        let said = String::from_utf8_lossy(&answer.stderr);
        let said = said.lines().next().unwrap_or("it said nothing");
        Err(self.failed(format!(
            "{} at `replay {options}`: {said}; is it a drillfold that knows these options?",
            answer.status
        )))
    }
}

/// Another drillfold that makes its trace.
struct BegunBuild<'p> {
    other: OtherBuild<'p>,
    process: Child,
    options: String,
}

impl<'p> BegunBuild<'p> {
    /// Waits for the trace.
    fn finish(self) -> Result<OtherBuild<'p>, PartError> {
        let Self { mut other, process, options } = self;
        let answer = process.wait_with_output().map_err(|error| other.not_started(&error))?;
        other.answered(&answer, &options)?;
        let read = other.project.storage().read(&other.trace_path);
        other.trace = read.map_err(|_| other.failed("it made no trace; is it drillfold?"))?;
        Ok(other)
    }
}

impl Drop for OtherBuild<'_> {
    fn drop(&mut self) {
        // A trace that stays behind in the system's temporary folder harms nobody.
        let _ = self.project.storage().remove(&self.trace_path);
    }
}

impl Run for OtherBuild<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn trace(&self) -> &[u8] {
        &self.trace
    }

    fn looks(&mut self, first: Seq, last: Seq, every: u64) -> Result<Option<Vec<Look>>, PartError> {
        let trace = self.trace_path.display().to_string();
        let (first, last, every) = (first.0.to_string(), last.0.to_string(), every.to_string());
        let options = [
            "--trace",
            &trace,
            "--events",
            "--from-seq",
            &first,
            "--to-seq",
            &last,
            "--every",
            &every,
            "--format",
            "jsonl",
        ];
        let text = self.ask(&options)?;
        let looks = text.lines().map(serde_json::from_str::<Look>).collect::<Result<Vec<_>, _>>();
        looks.map(Some).map_err(|error| self.failed(format!("its events can't be read: {error}")))
    }

    fn state(&mut self, seq: Seq, paths: &[String]) -> Result<Option<StateAt>, PartError> {
        let (trace, seq) = (self.trace_path.display().to_string(), seq.0.to_string());
        let mut options = vec!["--trace", &trace, "--at", &seq, "--state", "--format", "jsonl"];
        for path in paths {
            options.extend(["--written", path]);
        }
        let text = self.ask(&options)?;
        serde_json::from_str(&text).map(Some).map_err(|error| self.failed(format!("its state can't be read: {error}")))
    }
}
