//! What a continuous integration service is told of a set of runs: JUnit XML, a Markdown summary, annotations.
//!
//! None of it has a time of day or a duration of the host: the same runs give the same bytes. A duration in it is simulated.

use std::fmt::Write as _;

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::{pack::DrillRun, signoff::DrillLine};
use crate::{
    judge::report::{Report as Judgement, Verdict},
    wal::Digest256,
};

/// A run and where its scenario is.
#[derive(Clone, Debug)]
pub struct CiRun<'a> {
    /// The scenario's file, from the project's folder on, with slashes.
    pub file: String,
    /// The run.
    pub run: &'a DrillRun,
}

/// A committed file that was compared with what the runs made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The file, as a person names it.
    pub path: String,
    /// What is wrong with it and what to do; `None` where it is the same.
    pub fault: Option<String>,
}

/// What a service is told.
#[derive(Clone, Debug)]
pub struct CiReport<'a> {
    /// The runs, in their order.
    pub runs: Vec<CiRun<'a>>,
    /// The committed files that were compared.
    pub compared: &'a [Compared],
    /// The command that makes the same runs again.
    pub reproduce: String,
}

impl CiReport<'_> {
    /// Returns JUnit XML: a suite a folder of scenarios with a case a run, and a suite of the committed files. What did not
    /// pass is a failure; what could not be judged (vacuous, inconclusive) is an error.
    ///
    /// # Errors
    /// The XML can't be written.
    pub fn junit(&self) -> Result<String, SerializeError> {
        let mut report = Report::new("drillfold");
        for runs in self.runs.chunk_by(|one, other| folder(&one.file) == folder(&other.file)) {
            let mut suite = TestSuite::new(runs.first().map_or("", |run| folder(&run.file)));
            suite.add_test_cases(runs.iter().map(case));
            report.add_test_suite(suite);
        }
        if !self.compared.is_empty() {
            let mut suite = TestSuite::new("committed files");
            for Compared { path, fault } in self.compared {
                let mut status = TestCaseStatus::success();
                if let Some(fault) = fault {
                    status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_type("differs").set_message(fault.as_str());
                }
                let mut case = TestCase::new(path.as_str(), status);
                case.set_classname("committed files");
                suite.add_test_case(case);
            }
            report.add_test_suite(suite);
        }
        report.to_string()
    }

    /// Returns a summary in GitHub's Markdown: a table of the drills, what failed and why, the command that repeats it.
    #[must_use]
    pub fn summary(&self) -> String {
        let failed: Vec<&CiRun<'_>> = self.runs.iter().filter(|run| !run.run.passed()).collect();
        let all = self.runs.len();
        let mut text = format!("## Chaos drills: {} of {all} runs pass\n\n", all.saturating_sub(failed.len()));
        let drills = || self.runs.iter().map(|run| run.run).filter(|run| run.outcome.scenario.drill.is_some());
        if drills().next().is_some() {
            text.push_str("| drill | verdict | mode at tripped | time to safe | checks | variants |\n");
            text.push_str("|---|---|---|---|---|---|\n");
            for run in drills().filter(|run| run.outcome.scenario.variant.is_none()) {
                let line = DrillLine::of(run);
                let name = &run.outcome.scenario.name;
                let variants =
                    || drills().filter(|of| of.outcome.scenario.variant.is_some() && of.outcome.scenario.name == *name);
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {} | {}/{} | {}/{} |",
                    markdown(&line.title),
                    mark(line.verdict),
                    markdown(line.mode.as_deref().unwrap_or("-")),
                    line.time_to_safe(),
                    line.checks_held,
                    line.checks,
                    variants().filter(|of| of.passed()).count(),
                    variants().count(),
                );
            }
            text.push('\n');
        }
        if !failed.is_empty() {
            text.push_str("### What failed\n\n");
        }
        for CiRun { file, run } in &failed {
            let reason = reason(&run.report);
            let _ = writeln!(
                text,
                "- **{}** ({}, {}): {}",
                markdown(&run.report.name),
                run.report.verdict,
                markdown(file),
                markdown(reason)
            );
        }
        let faults = || self.compared.iter().filter_map(|of| Some((&of.path, of.fault.as_ref()?)));
        if faults().next().is_some() {
            let _ = write!(text, "{}### Committed files that differ\n\n", if failed.is_empty() { "" } else { "\n" });
        }
        for (path, fault) in faults() {
            let _ = writeln!(text, "- {}: {}", markdown(path), markdown(fault));
        }
        if !failed.is_empty() || faults().next().is_some() {
            text.push('\n');
        }
        let _ = writeln!(text, "Again: {}", markdown(&self.reproduce));
        text
    }

    /// Returns GitHub's workflow commands that mark each file with what is wrong with it, a line each.
    #[must_use]
    pub fn annotations(&self) -> String {
        let mut text = String::new();
        for CiRun { file, run } in self.runs.iter().filter(|run| !run.run.passed()) {
            let reason = reason(&run.report);
            annotation(file, &run.report.name, &format!("{}: {reason}", run.report.verdict), &mut text);
        }
        for Compared { path, fault } in self.compared {
            if let Some(fault) = fault {
                annotation(path, "committed file differs", fault, &mut text);
            }
        }
        text
    }
}

/// Returns JUnit XML that says why there are no runs to report of.
///
/// # Errors
/// The XML can't be written.
pub fn junit_of_error(error: &str) -> Result<String, SerializeError> {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_type(Verdict::Error.to_string()).set_message(first_line(error)).set_description(error);
    let mut suite = TestSuite::new("drillfold");
    suite.add_test_case(TestCase::new("run", status));
    let mut report = Report::new("drillfold");
    report.add_test_suite(suite);
    report.to_string()
}

/// Returns the workflow command that says why there are no runs to report of.
#[must_use]
pub fn annotation_of_error(error: &str) -> String {
    format!("::error title=drillfold::{}\n", escaped(error, false))
}

fn case(of: &CiRun<'_>) -> TestCase {
    let DrillRun { outcome, report } = of.run;
    let mut status = match report.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Vacuous | Verdict::Inconclusive | Verdict::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if report.verdict != Verdict::Pass {
        let list = report.failures().fold(String::new(), |mut text, check| {
            let _ = writeln!(text, "{}: {} ({})", check.subject, check.seen, check.says);
            text
        });
        let reason = reason(report);
        status.set_type(report.verdict.to_string()).set_message(reason).set_description(list);
    }
    let mut case = TestCase::new(report.name.as_str(), status);
    case.set_classname(folder(&of.file)).set_assertions(report.checks.len());
    let safe = outcome.time_to_safe_ms().map(|ms| ("time_to_safe_ms", ms.to_string()));
    let properties = [
        ("seed", outcome.scenario.seed.to_string()),
        ("scenario_sha256", Digest256(outcome.scenario.digest).to_string()),
        ("events", outcome.timeline.events.len().to_string()),
        ("simulated_ms", outcome.scenario.duration_ms.to_string()),
        ("chain", outcome.recorded.last.chain.to_string()),
        ("state", outcome.recorded.last.state.to_string()),
    ];
    for (name, value) in properties.iter().chain(&safe) {
        case.add_property((*name, value.as_str()));
    }
    case
}

fn reason(report: &Judgement) -> &str {
    report.reason.as_deref().unwrap_or("no reason is known")
}

fn folder(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn mark(verdict: Verdict) -> String {
    match verdict {
        Verdict::Pass => "✅ pass".to_owned(),
        verdict => format!("❌ {verdict}"),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Writes a text so that Markdown shows it as it is, on one line.
fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' => escaped.push(' '),
            // CommonMark: a backslash before any ASCII punctuation makes it mean itself.
            character if character.is_ascii_punctuation() && !".,:;-/()'=".contains(character) => {
                escaped.push('\\');
                escaped.push(character);
            }
            character => escaped.push(character),
        }
    }
    escaped
}

fn annotation(file: &str, title: &str, message: &str, text: &mut String) {
    let _ = writeln!(
        text,
        "::error file={},title={}::{}",
        escaped(file, true),
        escaped(title, true),
        escaped(message, false)
    );
}

/// Escapes a text of a workflow command; a property has two more signs that mean something.
fn escaped(text: &str, is_property: bool) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    if is_property { text.replace(':', "%3A").replace(',', "%2C") } else { text }
}

#[cfg(test)]
mod tests {
    use pulldown_cmark::{Event, Options, Parser};

    use super::*;

    #[test]
    fn any_text_stands_in_a_table_as_it_is() {
        for text in [
            "a|b",
            "*a* _b_ `c`",
            "<b>x</b>",
            "[a](b)",
            "a\\b",
            "https://a.b/c?d=e&f",
            "1. x",
            "# x",
            "- x",
            "a ~~b~~ &amp;",
        ] {
            let table = format!("| h |\n|---|\n| {} |\n", markdown(text));
            let mut shown = String::new();
            let mut cells = 0;
            for event in Parser::new_ext(&table, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
                match event {
                    Event::Text(part) => shown.push_str(&part),
                    Event::Start(pulldown_cmark::Tag::TableCell) => cells += 1,
                    Event::Code(part) | Event::Html(part) | Event::InlineHtml(part) => panic!("{text}: {part}"),
                    _ => {}
                }
            }
            assert_eq!((shown.strip_prefix('h'), cells), (Some(text), 2), "{table}");
        }
    }

    #[test]
    fn an_annotation_is_one_line() {
        let mut text = String::new();
        annotation("a,b:c.toml", "100%", "one\ntwo: 50%, three", &mut text);
        assert_eq!(text, "::error file=a%2Cb%3Ac.toml,title=100%25::one%0Atwo: 50%25, three\n");
    }

    #[test]
    fn an_error_is_an_error_in_junit() {
        let xml = junit_of_error("scenarios/x.toml: no such <key>\nsecond line").expect("it can be written");
        let read = junit_parser::from_reader(xml.as_bytes()).expect("it is JUnit");
        assert_eq!((read.tests, read.errors, read.failures), (1, 1, 0));
        let case = &read.suites[0].cases[0];
        assert_eq!(case.status.error_as_ref().message, "scenarios/x.toml: no such <key>");
        assert!(case.status.error_as_ref().text.contains("second line"));
    }
}
