//! `drillfold evidence capture`: a drill on a running system, from the status before its trigger to the seven files.
//!
//! What the answers mean is [`Watch`]'s; here are the network, the clock and the trigger.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};

use super::{
    EXIT_DIFFERS, EXIT_HOLDS, Format,
    fetch::{FetchError, checked_timeout, fetch, timeout_s},
    project::Project,
};
use crate::{
    contract::{
        tolerance::{Ruling, Tolerance, status_keys},
        validator::verdict_lines,
    },
    evidence::{
        Answer, BadBaseline, Captured, Expectation, FailureKind, Poll, Record, Trigger, Watch, captured_pack, ms_up,
    },
    judge::references::{self, Golden},
    storage::Storage as _,
    text::time::moment,
    wal::{Clock as _, SystemClock},
};

/// Where captures are, below the project's folder.
const CAPTURES: &str = "evidence/live";

/// Longest time from the clock's start to the deadline, in seconds, inclusive.
const WITHIN_S_MAX: f64 = 86_400.0;

/// How long is waited before the baseline is asked for the second time; the wait doubles each time.
const RETRY_WAIT: Duration = Duration::from_millis(100);

/// Largest file that is read as an expected status or a tolerance, bytes, inclusive.
const FILE_SIZE_BYTES_MAX: u64 = 1024 * 1024;

/// Options of `drillfold evidence capture`.
#[derive(Clone, Debug, clap::Args)]
pub struct CaptureArgs {
    /// The system's status, asked directly and without following redirects
    #[arg(long, value_name = "URL")]
    url: String,
    /// The drill, by its number in the checklist
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    drill: u8,
    /// Write the seven files into this folder, which must not be there yet [default: evidence/live/<the drill's name>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Expected status [default: the project's golden document of the drill]
    #[arg(long, value_name = "FILE")]
    expected: Option<PathBuf>,
    /// What may differ from it [default: built in, specs/status/tolerance.toml]
    #[arg(long, value_name = "FILE")]
    tolerance: Option<PathBuf>,
    /// Trigger the drill with this shell command; the clock starts with it [default: a person does, when told to]
    #[arg(long, value_name = "COMMAND")]
    trigger: Option<String>,
    /// Do not ask for a status before the trigger: the system is down, or blocks OPENs already. Without --trigger the clock
    /// starts with the first request
    #[arg(long)]
    no_baseline: bool,
    /// Seconds from the clock's start in which the system must be safe and as expected
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = within_s)]
    within: f64,
    /// Milliseconds from one request to the next
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    poll_ms: u32,
    /// Seconds after which one request is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = timeout_s)]
    timeout: f64,
    /// How often the status before the trigger is asked for again: after 100 ms, 200 ms, and so on
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=10))]
    retries: u8,
    /// What was done to trigger the drill, for trigger.md
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Carries out `drillfold evidence capture`. [`EXIT_HOLDS`] where the system was safe, valid and as expected in time;
/// [`EXIT_DIFFERS`] where it was not, or where the status before the trigger does not allow to find out.
///
/// # Errors
/// What kept anything from being captured; nothing is written then.
pub fn capture(project: &Project, args: &CaptureArgs, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    let (name, golden) = references::drill(args.drill).ok_or_else(|| anyhow!("there is no drill {}", args.drill))?;
    let folder = args.out.clone().unwrap_or_else(|| project.path(CAPTURES).join(name));
    if project.storage().entry_kind(&folder)?.is_some() {
        bail!("{}: is there already; a capture is written into a new folder, name one with --out", folder.display());
    }
    let (expected, expected_from) = expected(project, args, &golden)?;
    let (tolerance, tolerance_from) = tolerance(project, args)?;
    let expectation = Expectation::new(expected, tolerance.for_drill(args.drill))?;
    let timeout = checked_timeout(args.timeout).map_err(|reason| anyhow!(reason))?;
    let system = System {
        url: &args.url,
        timeout,
        poll: Duration::from_millis(u64::from(args.poll_ms)),
        clock: SystemClock::start(),
    };

    let baseline = if args.no_baseline { None } else { Some(baseline(&system, args.retries)?) };
    if let Some(bad) = baseline.as_ref().and_then(|document| expectation.bad_baseline(document)) {
        return refuse(args, &bad, out);
    }
    let within = Duration::from_secs_f64(args.within);
    let (captured, trigger, started) = watch(&system, args, &expectation, baseline.as_ref(), within, err)?;
    let record = Record {
        name: name.to_owned(),
        url: without_user(&args.url),
        note: args.note.clone(),
        trigger,
        started,
        has_baseline: baseline.is_some(),
        expected: expected_from,
        tolerance: tolerance_from,
        within,
        poll: system.poll,
        timeout,
    };
    project.storage().create_folder_filled(&folder, &captured_pack(&record, &expectation, &captured))?;
    match args.format {
        Format::Human => print(&record, &captured, &folder, out)?,
        Format::Json => writeln!(out, "{:#}", report(args.drill, &record, &captured, &folder))?,
    }
    Ok(if captured.holds() { EXIT_HOLDS } else { EXIT_DIFFERS })
}

fn within_s(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    if seconds > 0.0 && seconds <= WITHIN_S_MAX {
        Ok(seconds)
    } else {
        Err(format!("it must be above 0 and at most {WITHIN_S_MAX} seconds, found {seconds}"))
    }
}

/// Reads the expected status, and says where it came from.
fn expected(project: &Project, args: &CaptureArgs, golden: &str) -> anyhow::Result<(Value, String)> {
    let path = args.expected.clone().unwrap_or_else(|| project.path("fixtures/status").join(golden));
    let shown = path.display();
    if args.expected.is_none() && project.storage().entry_kind(&path)?.is_none() {
        bail!(
            "{shown}: no golden document of drill {} here; name the expected status with --expected, or the project's folder with --root",
            args.drill
        );
    }
    let text = text(project, &path)?;
    let document = Golden::parse(&shown.to_string(), &text)?.document;
    let missing: Vec<String> = status_keys()?.into_iter().filter(|key| document.get(key).is_none()).collect();
    if !missing.is_empty() {
        bail!("{shown}: no whole status document, it lacks {}", missing.join(", "));
    }
    Ok((document, format!("`{}`", project.below(&path).display())))
}

/// Reads the tolerance, and says where it came from.
fn tolerance(project: &Project, args: &CaptureArgs) -> anyhow::Result<(Tolerance, String)> {
    let Some(path) = &args.tolerance else {
        return Ok((Tolerance::built_in()?, "the built-in one".to_owned()));
    };
    let tolerance = Tolerance::parse(&path.display().to_string(), &text(project, path)?)?;
    Ok((tolerance, format!("`{}`", project.below(path).display())))
}

fn text(project: &Project, path: &Path) -> anyhow::Result<String> {
    let bytes = project.storage().read_at_most(path, FILE_SIZE_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|_| anyhow!("{}: not UTF-8 text", path.display()))
}

/// The system that is asked.
struct System<'a> {
    url: &'a str,
    /// Longest time of one request.
    timeout: Duration,
    /// Time from one request to the next.
    poll: Duration,
    clock: SystemClock,
}

impl System<'_> {
    /// Asks for the status, with at most `time` to answer.
    fn ask(&self, time: Duration) -> Result<Answer, FetchError> {
        fetch(self.url, time.min(self.timeout)).map(|bytes| Answer::of_bytes(&bytes))
    }
}

/// Asks for the status before the trigger, again where nothing usable comes.
fn baseline(system: &System<'_>, retries: u8) -> anyhow::Result<Value> {
    let mut wait = RETRY_WAIT;
    let mut tried = 0;
    loop {
        tried += 1;
        let (reason, is_final) = match system.ask(system.timeout) {
            Ok(Answer::Document(document)) => return Ok(document),
            Ok(Answer::Failed { reason, .. }) => (reason, false),
            Err(error) => (error.to_string(), kind(&error).is_none_or(|kind| kind == FailureKind::Redirected)),
        };
        if is_final || tried > u32::from(retries) {
            let times = if tried == 1 { "once".to_owned() } else { format!("{tried} times") };
            bail!("no status of {} before the trigger, asked {times}: {reason}", without_user(system.url));
        }
        thread::sleep(wait);
        wait = wait.saturating_mul(2);
    }
}

/// Says in which way a fetch failed; `None` where no other one can succeed either.
const fn kind(error: &FetchError) -> Option<FailureKind> {
    match error {
        FetchError::Refused { .. } => Some(FailureKind::Refused),
        FetchError::TimedOut { .. } => Some(FailureKind::TimedOut),
        FetchError::Broken { .. } => Some(FailureKind::Broken),
        FetchError::Redirected { .. } => Some(FailureKind::Redirected),
        FetchError::Status { .. } => Some(FailureKind::Status),
        FetchError::TooLarge => Some(FailureKind::TooLarge),
        FetchError::Address { .. } => None,
        #[cfg(not(feature = "net"))]
        FetchError::Without => None,
    }
}

/// Starts the clock with the trigger and asks until nothing is left to wait for. Returns what was captured, the trigger's
/// record, and when the clock started.
fn watch(
    system: &System<'_>,
    args: &CaptureArgs,
    expectation: &Expectation,
    baseline: Option<&Value>,
    within: Duration,
    err: &mut dyn Write,
) -> anyhow::Result<(Captured, Trigger, String)> {
    if args.trigger.is_none() && baseline.is_some() {
        // Who has to trigger must see it; if nobody can, the time would measure nothing.
        writeln!(err, "trigger now: {} is being asked every {} ms", without_user(system.url), args.poll_ms)?;
        err.flush()?;
    }
    let wall = wall_clock();
    let started = system.clock.now();
    let mut running = args.trigger.as_deref().map(|command| Running::start(command, system.clock)).transpose()?;
    let mut watch = Watch::begin(expectation, baseline, started, within);
    loop {
        let asked = system.clock.now();
        let left = watch.left(asked);
        if left.is_zero() {
            break;
        }
        let answer = match system.ask(left) {
            Ok(answer) => answer,
            Err(error) => match kind(&error) {
                Some(kind) => Answer::Failed { kind, reason: error.to_string() },
                None => bail!("no status of {}: {error}", without_user(system.url)),
            },
        };
        let is_over = watch.take(Poll { asked, received: system.clock.now(), answer });
        if let Some(running) = &mut running {
            running.look()?;
        }
        if is_over {
            break;
        }
        let now = system.clock.now();
        thread::sleep((asked + system.poll).saturating_sub(now).min(watch.left(now)));
    }
    let trigger = match (running, &args.trigger) {
        (Some(running), Some(command)) => {
            let took = running.wait(watch.left(system.clock.now()))?.map(|ended| ended.saturating_sub(started));
            Trigger::Command { command: command.clone(), took }
        }
        _ if baseline.is_some() => Trigger::Person,
        _ => Trigger::Unknown,
    };
    let captured = watch.finish().map_err(|failures| {
        let failures: Vec<String> = failures
            .iter()
            .map(|(kind, failures)| format!("{} ({}, first: {})", kind.word(), failures.count, failures.first))
            .collect();
        let failures =
            if failures.is_empty() { "nothing was answered in time".to_owned() } else { failures.join("; ") };
        anyhow!("no status of {} within {} ms of the trigger: {failures}", without_user(system.url), within.as_millis())
    })?;
    Ok((captured, trigger, wall))
}

/// A trigger command at work. A thread waits for its end, so that the time it took does not depend on slow answers.
struct Running {
    ends: Receiver<(std::io::Result<ExitStatus>, Duration)>,
    ended: Option<Duration>,
}

impl Running {
    /// Starts a command. What it prints goes to standard error, so that standard output stays the report's.
    fn start(command: &str, clock: SystemClock) -> anyhow::Result<Self> {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(std::io::stderr());
        let mut child = shell.spawn().with_context(|| format!("start the trigger {command:?} with sh"))?;
        let (sender, ends) = channel();
        thread::spawn(move || {
            let status = child.wait();
            // Nobody listens any more where the capture has ended before the command.
            let _ = sender.send((status, clock.now()));
        });
        Ok(Self { ends, ended: None })
    }

    /// Looks whether it has ended; one that failed is an error.
    fn look(&mut self) -> anyhow::Result<()> {
        if self.ended.is_none() {
            match self.ends.try_recv() {
                Ok((status, at)) => self.ended = Some(successful(status, at)?),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
            }
        }
        Ok(())
    }

    /// Waits for its end at most so long; `None` where it goes on. It is left alone then: it may hold the fault in place.
    fn wait(self, time: Duration) -> anyhow::Result<Option<Duration>> {
        if self.ended.is_some() {
            return Ok(self.ended);
        }
        match self.ends.recv_timeout(time) {
            Ok((status, at)) => successful(status, at).map(Some),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(None),
        }
    }
}

fn successful(status: std::io::Result<ExitStatus>, at: Duration) -> anyhow::Result<Duration> {
    let status = status.context("wait for the trigger")?;
    if !status.success() {
        bail!("the trigger failed ({status}); nothing was captured");
    }
    Ok(at)
}

/// Returns the time of the machine's wall clock: a capture records what happened once, and when.
fn wall_clock() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    moment(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Returns a URL without user and password, which must not get into evidence.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// Says why the status before the trigger is none to start from.
fn refuse(args: &CaptureArgs, bad: &BadBaseline, out: &mut dyn Write) -> anyhow::Result<u8> {
    let name = format!("the status of {} before the trigger", without_user(&args.url));
    let (lines, why) = match bad {
        BadBaseline::Invalid(findings) => (
            verdict_lines(&name, findings),
            "nothing was captured: the status before the trigger must be valid, or be left out with --no-baseline",
        ),
        BadBaseline::Blocked => (
            vec![format!("BLOCKED {name}")],
            "nothing was captured: an OPEN is refused already, so a time to safe can't be measured; bring the system to \
             Active first, or leave this status out with --no-baseline",
        ),
    };
    match args.format {
        Format::Human => {
            for line in lines {
                writeln!(out, "{line}")?;
            }
            writeln!(out, "{why}")?;
        }
        Format::Json => {
            let document = json!({
                "schema": "drillfold/evidence_capture/v1", "drill": args.drill, "holds": false, "out": null,
                "why": why, "before": lines,
            });
            writeln!(out, "{document:#}")?;
        }
    }
    Ok(EXIT_DIFFERS)
}

fn print(record: &Record, captured: &Captured, folder: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let word = if captured.holds() { "holds" } else { "DOES NOT HOLD" };
    writeln!(out, "{}: {word}, written to {}", record.name, folder.display())?;
    let mark = |holds: bool| if holds { "ok  " } else { "FAIL" };
    let safe = match (captured.time_to_safe_ms(), captured.safe.and_then(|safe| safe.allowed)) {
        (Some(ms), Some(allowed)) => format!("within {ms} ms, after more than {} ms", allowed.as_millis()),
        (Some(ms), None) => format!("within {ms} ms"),
        (None, _) => format!("not within {} ms", record.within.as_millis()),
    };
    writeln!(out, "  {} an OPEN is refused: {safe}", mark(captured.safe.is_some()))?;
    writeln!(out, "  {} the status is as expected, within the tolerance", mark(captured.comparison.holds()))?;
    for line in captured.comparison.lines.iter().filter(|line| line.ruling == Ruling::Breaks) {
        writeln!(out, "       {line}")?;
    }
    writeln!(out, "  {} the status is valid", mark(captured.findings.is_empty()))?;
    for finding in &captured.findings {
        writeln!(out, "       {finding}")?;
    }
    writeln!(out, "  requests since the clock's start: {}", captured.requests)?;
    for (kind, failures) in &captured.failures {
        writeln!(out, "       {}: {}, first: {}", kind.word(), failures.count, failures.first)?;
    }
    Ok(())
}

fn report(drill: u8, record: &Record, captured: &Captured, folder: &Path) -> Value {
    let differences: Vec<Value> = captured
        .comparison
        .lines
        .iter()
        .map(|line| {
            let difference = &line.difference;
            json!({
                "path": difference.path, "expected": difference.expected, "found": difference.found,
                "rule": line.rule, "bound": line.bound, "allowed": line.ruling == Ruling::Allowed,
            })
        })
        .collect();
    let failures: Vec<Value> = captured
        .failures
        .iter()
        .map(|(kind, failures)| json!({ "what": kind.word(), "count": failures.count, "first": failures.first }))
        .collect();
    let findings: Vec<String> = captured.findings.iter().map(ToString::to_string).collect();
    let ms = |time: u128| u64::try_from(time).unwrap_or(u64::MAX);
    let took = match &record.trigger {
        Trigger::Command { took, .. } => took.map(|took| ms(ms_up(took))),
        Trigger::Person | Trigger::Unknown => None,
    };
    json!({
        "schema": "drillfold/evidence_capture/v1",
        "drill": drill,
        "holds": captured.holds(),
        "out": folder.display().to_string(),
        "time_to_safe_ms": captured.time_to_safe_ms().map(ms),
        "allowed_ms": captured.allowed.map(|allowed| ms(allowed.as_millis())),
        "relapses": captured.relapses,
        "as_expected": captured.comparison.holds(),
        "valid": captured.findings.is_empty(),
        "findings": findings,
        "differences": differences,
        "requests": captured.requests,
        "failures": failures,
        "trigger_ms": took,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_does_not_get_into_evidence() {
        for (url, shown) in [
            ("http://host:1/api", "http://host:1/api"),
            ("http://user:pass@host:1/api?a=b@c", "http://host:1/api?a=b@c"),
            ("https://a@b:c@host", "https://host"),
            ("http://host?to=a@b", "http://host?to=a@b"),
            ("not a url", "not a url"),
        ] {
            assert_eq!(without_user(url), shown);
        }
    }

    #[test]
    fn a_deadline_is_a_number_of_seconds() {
        assert_eq!(within_s("0.5"), Ok(0.5));
        for text in ["0", "-1", "nan", "inf", "86401", "soon", ""] {
            assert!(within_s(text).is_err(), "{text}");
        }
    }
}
