//! A drill on a running system: what its answers show over time, and the checklist's seven files made of them.
//!
//! [`Watch`] is told of each request what was answered and when, and says when there is nothing more to wait for. It has
//! neither network nor clock: times come with the answers, from any start.
//!
//! Time to safe is the time from the clock's start to the receipt of the first status under which an OPEN would be refused
//! and behind which none came that allowed it. So it is an upper bound; the request behind which the last status that
//! allowed it came gives the lower one.
//!
//! Source: drill checklist, evidence required for every drill, evidence capture script; decision 11.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde_json::Value;

use super::pack::Pack;
use crate::contract::{
    document::to_text,
    open_permission::document_refuses_open,
    tolerance::{Comparison, DrillTolerance, Ruling},
    validator::{BuiltInSchema, Finding, Options, Validator, ValidatorError, verdict_lines},
};

/// Ways in which a request can give no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// Nobody took the connection.
    Refused,
    /// No complete answer in time.
    TimedOut,
    /// The connection ended in the middle, or what came was no HTTP.
    Broken,
    /// The answer pointed elsewhere.
    Redirected,
    /// The answer was not 200.
    Status,
    /// The answer was larger than any status.
    TooLarge,
    /// The answer was no JSON object.
    NotJson,
    /// The answer did not say whether an OPEN would be refused.
    Unclear,
}

impl FailureKind {
    /// Returns the kind as reports name it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::TimedOut => "no answer in time",
            Self::Broken => "broken answer",
            Self::Redirected => "redirect",
            Self::Status => "status not 200",
            Self::TooLarge => "answer too large",
            Self::NotJson => "no JSON object",
            Self::Unclear => "does not say whether an OPEN would be refused",
        }
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A JSON object.
    Document(Value),
    /// Nothing that could be a status.
    Failed {
        /// Which way.
        kind: FailureKind,
        /// What was said.
        reason: String,
    },
}

impl Answer {
    /// Reads an answer's bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let failed = |reason| Self::Failed { kind: FailureKind::NotJson, reason };
        match serde_json::from_slice(bytes) {
            Ok(document @ Value::Object(_)) => Self::Document(document),
            Ok(_) => failed("the answer is JSON, and no object".to_owned()),
            Err(error) => failed(format!("the answer is not JSON: {error}")),
        }
    }
}

/// A request with its answer, times from any start.
#[derive(Clone, Debug, PartialEq)]
pub struct Poll {
    /// When it was asked.
    pub asked: Duration,
    /// When the answer was complete, or given up.
    pub received: Duration,
    /// The answer.
    pub answer: Answer,
}

/// What a drill's status is held against.
#[derive(Debug)]
pub struct Expectation {
    /// The expected document.
    pub document: Value,
    /// What may differ from it.
    pub tolerance: DrillTolerance,
    validator: Validator,
}

/// What is wrong with a status before the trigger.
#[derive(Clone, Debug, PartialEq)]
pub enum BadBaseline {
    /// It is not valid.
    Invalid(Vec<Finding>),
    /// It refuses an OPEN already.
    Blocked,
}

impl Expectation {
    /// Returns an expectation, with the built-in validator for running systems.
    ///
    /// # Errors
    /// [`ValidatorError`] if the program was built with damaged files.
    pub fn new(document: Value, tolerance: DrillTolerance) -> Result<Self, ValidatorError> {
        Ok(Self { document, tolerance, validator: Validator::built_in(BuiltInSchema::Min)? })
    }

    /// Says what is wrong with a status before the trigger, if anything is.
    #[must_use]
    pub fn bad_baseline(&self, document: &Value) -> Option<BadBaseline> {
        let findings = self.findings(document);
        if !findings.is_empty() {
            return Some(BadBaseline::Invalid(findings));
        }
        // A valid status says whether it refuses; one that does not say would be none to start from.
        (document_refuses_open(document) != Some(false)).then_some(BadBaseline::Blocked)
    }

    fn findings(&self, document: &Value) -> Vec<Finding> {
        self.validator.validate(document, Options::default())
    }
}

/// How often requests failed in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// How often.
    pub count: u64,
    /// What was said the first time.
    pub first: String,
    /// When the first one was given up, from the clock's start.
    pub first_at: Duration,
    /// When the last one was.
    pub last_at: Duration,
}

/// When it was safe, from the clock's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Safe {
    /// The receipt of the first status that refused an OPEN and behind which none allowed it.
    pub received: Duration,
    /// When the last status that allowed one was asked for; `None` where none was seen since the clock's start.
    pub allowed: Option<Duration>,
}

/// Requests since the clock's start, one after the other.
#[derive(Debug)]
pub struct Watch<'a> {
    expectation: &'a Expectation,
    baseline: Option<&'a Value>,
    started: Duration,
    within: Duration,
    requests: u64,
    failures: BTreeMap<FailureKind, Failures>,
    /// The last document, and when it was received.
    last: Option<(Value, Duration)>,
    refusing_since: Option<Duration>,
    allowed: Option<Duration>,
    relapses: u64,
}

/// What was captured.
#[derive(Clone, Debug, PartialEq)]
pub struct Captured {
    /// The status: the first that is safe, valid and as expected, else the last.
    pub observed: Value,
    /// When it was received, from the clock's start.
    pub observed_at: Duration,
    /// It, compared with the expected one.
    pub comparison: Comparison,
    /// What the validator finds in it.
    pub findings: Vec<Finding>,
    /// When it was safe; `None`: never, or not any more.
    pub safe: Option<Safe>,
    /// When the last status that allowed an OPEN was asked for.
    pub allowed: Option<Duration>,
    /// How often an OPEN was allowed again after it had been refused.
    pub relapses: u64,
    /// Requests since the clock's start.
    pub requests: u64,
    /// Those that gave no status.
    pub failures: BTreeMap<FailureKind, Failures>,
}

impl<'a> Watch<'a> {
    /// Begins to watch; `started` is the clock's start, `within` how long there is from it on.
    #[must_use]
    pub const fn begin(
        expectation: &'a Expectation,
        baseline: Option<&'a Value>,
        started: Duration,
        within: Duration,
    ) -> Self {
        Self {
            expectation,
            baseline,
            started,
            within,
            requests: 0,
            failures: BTreeMap::new(),
            last: None,
            refusing_since: None,
            allowed: None,
            relapses: 0,
        }
    }

    /// Returns the time left, at a time.
    #[must_use]
    pub const fn left(&self, now: Duration) -> Duration {
        self.started.saturating_add(self.within).saturating_sub(now)
    }

    /// Takes a request's answer. True where nothing is left to wait for: the status is safe, valid and as expected, or the
    /// time is over. What comes after the deadline does not count.
    pub fn take(&mut self, poll: Poll) -> bool {
        let is_late = self.left(poll.received).is_zero();
        if is_late {
            return true;
        }
        let (asked, received) = (poll.asked.saturating_sub(self.started), poll.received.saturating_sub(self.started));
        self.requests += 1;
        match poll.answer {
            Answer::Failed { kind, reason } => {
                self.failed(kind, reason, received);
                false
            }
            Answer::Document(document) => {
                let refuses = document_refuses_open(&document);
                match refuses {
                    Some(true) => {
                        self.refusing_since.get_or_insert(received);
                    }
                    Some(false) => {
                        self.relapses += u64::from(self.refusing_since.take().is_some());
                        self.allowed = Some(asked);
                    }
                    None => self.failed(FailureKind::Unclear, unclear(&document), received),
                }
                let is_met = refuses == Some(true)
                    && self.compare(&document).holds()
                    && self.expectation.findings(&document).is_empty();
                self.last = Some((document, received));
                is_met
            }
        }
    }

    /// Ends the watch; the failures alone where no status ever came.
    ///
    /// # Errors
    /// The failures.
    pub fn finish(mut self) -> Result<Captured, BTreeMap<FailureKind, Failures>> {
        let Some((observed, observed_at)) = self.last.take() else {
            return Err(self.failures);
        };
        Ok(Captured {
            comparison: self.compare(&observed),
            findings: self.expectation.findings(&observed),
            observed,
            observed_at,
            safe: self.refusing_since.map(|received| Safe { received, allowed: self.allowed }),
            allowed: self.allowed,
            relapses: self.relapses,
            requests: self.requests,
            failures: self.failures,
        })
    }

    fn compare(&self, document: &Value) -> Comparison {
        self.expectation.tolerance.compare(&self.expectation.document, document, self.baseline)
    }

    fn failed(&mut self, kind: FailureKind, reason: String, at: Duration) {
        let new = Failures { count: 0, first: reason, first_at: at, last_at: at };
        let failures = self.failures.entry(kind).or_insert(new);
        failures.count += 1;
        failures.last_at = at;
    }
}

/// Names the keys by which an OPEN could be refused, as they stand in a document that does not say.
fn unclear(document: &Value) -> String {
    let keys = ["trading_mode", "open_permission_blocked_latch", "wal_queue_depth", "wal_queue_capacity"];
    let shown = keys.map(|key| format!("{key} {}", document.get(key).map_or("missing".to_owned(), Value::to_string)));
    shown.join(", ")
}

impl Captured {
    /// True where an OPEN was refused in time, and the observed status is valid and as expected.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.safe.is_some() && self.findings.is_empty() && self.comparison.holds()
    }

    /// Returns the time to safe in whole milliseconds, rounded up.
    #[must_use]
    pub fn time_to_safe_ms(&self) -> Option<u128> {
        self.safe.map(|safe| ms_up(safe.received))
    }
}

/// How a drill was triggered, and from when its time counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A command; the clock starts the instant before it.
    Command {
        /// The command, as the shell got it.
        command: String,
        /// How long it took; `None` where it had not ended with the capture.
        took: Option<Duration>,
    },
    /// A person, who was told so when the clock started.
    Person,
    /// Something before, or beside, the first request, at which the clock starts.
    Unknown,
}

/// What was done beside the requests, for the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The drill's name.
    pub name: String,
    /// The endpoint, without a user or password.
    pub url: String,
    /// What was done, in the words of who did it.
    pub note: Option<String>,
    /// The trigger.
    pub trigger: Trigger,
    /// Wall-clock time of the clock's start, UTC.
    pub started: String,
    /// True where the system was asked before the trigger, and allowed an OPEN.
    pub has_baseline: bool,
    /// Where the expected document came from.
    pub expected: String,
    /// Where the tolerance came from.
    pub tolerance: String,
    /// The deadline.
    pub within: Duration,
    /// Time from one request to the next.
    pub poll: Duration,
    /// Longest time of one request.
    pub timeout: Duration,
}

/// Makes the seven files of a capture.
#[must_use]
pub fn captured_pack(record: &Record, expectation: &Expectation, captured: &Captured) -> Pack {
    let mut files = Pack::new();
    let mut put = |name: &str, text: String| {
        files.insert(name.to_owned(), text.into_bytes());
    };
    let validation = verdict_lines("observed_status.json", &captured.findings);
    put("trigger.md", trigger_page(record));
    put("observed_status.json", to_text(&captured.observed));
    put("expected_status.json", to_text(&expectation.document));
    put("diff.txt", captured.comparison.to_text());
    put("validation.log", validation.iter().map(|line| format!("{line}\n")).collect());
    put("time_to_safe_ms", captured.time_to_safe_ms().map_or_else(|| "never\n".to_owned(), |ms| format!("{ms}\n")));
    put("notes.md", notes(record, expectation, captured));
    files
}

fn trigger_page(record: &Record) -> String {
    let mut text = format!("# {}: trigger\n\n", record.name);
    let _ = writeln!(
        text,
        "System: `{}`. The clock started at {} by the clock of the machine that asked.\n",
        record.url, record.started
    );
    match &record.trigger {
        Trigger::Command { command, took } => {
            text.push_str("It was started the instant before this command:\n\n");
            for line in command.lines() {
                let _ = writeln!(text, "    {line}");
            }
            match took {
                Some(took) => {
                    let _ = writeln!(text, "\nThe command ended with exit code 0 after {} ms.", ms_up(*took));
                }
                None => text.push_str("\nThe command was still running when the capture ended.\n"),
            }
        }
        Trigger::Person => text.push_str("It was started when a person was told to trigger the drill.\n"),
        Trigger::Unknown => {
            text.push_str("It was started with the first request; what triggered the drill was not watched.\n")
        }
    }
    text.push_str("\n## What was done\n\n");
    match &record.note {
        Some(note) => {
            let _ = writeln!(text, "{}", note.trim_end());
        }
        None => text.push_str("No note was given.\n"),
    }
    text
}

fn notes(record: &Record, expectation: &Expectation, captured: &Captured) -> String {
    let verdict = if captured.holds() { "The capture **holds**." } else { "The capture does **not** hold." };
    let mut text = format!(
        "# {}: notes\n\n{verdict} It is one run of a running system, which can't be made again.\n",
        record.name
    );
    let broken = captured.comparison.lines.iter().filter(|line| line.ruling == Ruling::Breaks).count();
    let safe = match captured.time_to_safe_ms() {
        Some(ms) => format!("within {ms} ms"),
        None => format!("not within {} ms", record.within.as_millis()),
    };
    let differ = match broken {
        0 => "the observed status is as expected, within the tolerance".to_owned(),
        count => format!("the observed status is not as expected, at {count} places: see diff.txt"),
    };
    let validity = match captured.findings.len() {
        0 => "the observed status is valid".to_owned(),
        count => format!("the observed status is not valid, {count} findings: see validation.log"),
    };
    let rows = [
        (captured.safe.is_some(), format!("an OPEN is refused: {safe}")),
        (captured.comparison.holds(), differ),
        (captured.findings.is_empty(), validity),
    ];
    let list = |wanted: bool, text: &mut String| {
        let mut none = true;
        for (_, says) in rows.iter().filter(|(holds, _)| *holds == wanted) {
            none = false;
            let _ = writeln!(text, "- {says}");
        }
        if none {
            text.push_str("Nothing.\n");
        }
    };
    text.push_str("\n## Proven\n\n");
    list(true, &mut text);
    text.push_str("\n## Failed\n\n");
    list(false, &mut text);
    time_to_safe(record, captured, &mut text);
    requests(record, captured, &mut text);
    held_against(record, expectation, captured, &mut text);
    text.push_str(concat!(
        "\n## Risks and what is not proven\n\n",
        "- The status says that an OPEN would be refused; no OPEN was tried.\n",
        "- What the status does not show was not looked at: orders sent, reconciliation, how the latch clears.\n",
        "- The system's answers were taken as they came; nothing shows that they are of the build under drill but `build_id`.\n",
    ));
    text
}

fn time_to_safe(record: &Record, captured: &Captured, text: &mut String) {
    text.push_str("\n## Time to safe\n\n");
    match captured.safe {
        Some(Safe { received, allowed: Some(allowed) }) => {
            let (last, first) = (allowed.as_millis(), ms_up(received));
            let _ = writeln!(
                text,
                "At most {first} ms: then a status that refuses an OPEN had arrived. More than {last} ms: then the last status that allowed one was asked for."
            );
        }
        Some(Safe { received, allowed: None }) => {
            let _ = writeln!(
                text,
                "At most {} ms: the first status since the clock's start refuses an OPEN already.",
                ms_up(received)
            );
        }
        None => text.push_str("Never: no status that refuses an OPEN arrived, or one that allows it came after it.\n"),
    }
    match captured.relapses {
        0 => {}
        count => {
            let _ = writeln!(
                text,
                "\nAn OPEN was allowed again after it had been refused, so often: {count}. The time is that of the last refusal."
            );
        }
    }
    match record.trigger {
        Trigger::Command { .. } => {}
        Trigger::Person => text.push_str("\nThe time includes the reaction of the person who was told to trigger.\n"),
        Trigger::Unknown => {
            text.push_str("\nThe time counts from the first request, not from the trigger, which was not watched.\n")
        }
    }
    if !record.has_baseline {
        text.push_str("\nThe system was not asked before: nothing shows that it allowed an OPEN until the trigger.\n");
    }
}

fn requests(record: &Record, captured: &Captured, text: &mut String) {
    text.push_str("\n## Requests\n\n");
    let (poll, timeout) = (record.poll.as_millis(), record.timeout.as_millis());
    let observed_at = ms_up(captured.observed_at);
    let _ = writeln!(
        text,
        "Since the clock's start: {}, {poll} ms apart, each given up after {timeout} ms; deadline {} ms. The observed status arrived after {observed_at} ms.",
        captured.requests,
        record.within.as_millis()
    );
    if captured.failures.is_empty() {
        text.push_str("\nEach gave a status.\n");
        return;
    }
    text.push_str("\n| without a status | times | first, ms | last, ms | the first time |\n|---|---|---|---|---|\n");
    for (kind, failures) in &captured.failures {
        let Failures { count, first, first_at, last_at } = failures;
        let first = first.replace('|', "\\|").replace(['\n', '\r'], " ");
        let _ = writeln!(text, "| {} | {count} | {} | {} | {first} |", kind.word(), ms_up(*first_at), ms_up(*last_at));
    }
}

fn held_against(record: &Record, expectation: &Expectation, captured: &Captured, text: &mut String) {
    text.push_str("\n## Held against\n\n");
    let _ = writeln!(text, "Expected: {}. Tolerance: {}.", record.expected, record.tolerance);
    let unasked: Vec<&str> = expectation.tolerance.against_baseline().collect();
    if !record.has_baseline && !unasked.is_empty() {
        let _ = writeln!(
            text,
            "\nWithout a status before the trigger, that these rose since was not checked: {}.",
            unasked.join(", ")
        );
    }
    let extra: Vec<&str> = captured
        .comparison
        .lines
        .iter()
        .filter(|line| line.rule == "extra")
        .map(|line| line.difference.path.as_str())
        .collect();
    if !extra.is_empty() {
        let _ = writeln!(text, "\nKeys that the contract does not have: {}.", extra.join(", "));
    }
}

/// Returns whole milliseconds, rounded up: what is published as an upper bound must be one.
#[must_use]
pub fn ms_up(time: Duration) -> u128 {
    time.as_nanos().div_ceil(1_000_000)
}

#[cfg(test)]
mod tests;
