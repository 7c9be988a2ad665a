//! What can be wrong with a scenario file: stable codes, places, and how they are shown.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use thiserror::Error;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $title:literal;)*) => {
        /// What kind of thing is wrong. A code keeps its meaning forever; new ones are added at the end.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All codes in order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the code as it is shown: `SCN0001`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// Returns what it stands for, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)*
                }
            }
        }
    };
}

codes! {
    /// The text is not TOML.
    Syntax = "SCN0001", "not valid TOML";
    /// A key that the format does not have.
    UnknownKey = "SCN0002", "unknown key";
    /// A key that must be there is not.
    MissingKey = "SCN0003", "missing key";
    /// A value has the wrong type.
    WrongType = "SCN0004", "wrong type";
    /// A value is none of those that are possible here.
    UnknownValue = "SCN0005", "unknown value";
    /// The file is of another version.
    SchemaVersion = "SCN0006", "other version of the format";
    /// A name has letters that names do not have, or a meaning of its own.
    NameFormat = "SCN0007", "unusable name";
    /// The name differs from the file's.
    NameDiffers = "SCN0008", "name differs from the file's";
    /// The number of the drill is out of range, or the name does not say it.
    DrillNumber = "SCN0009", "wrong drill number";
    /// The seed is negative or no number.
    SeedRange = "SCN0010", "seed out of range";
    /// The start is no moment.
    BadMoment = "SCN0011", "not a moment";
    /// A text is no duration.
    BadDuration = "SCN0012", "not a duration";
    /// A duration that must be more than nothing is nothing.
    ZeroDuration = "SCN0013", "duration is zero";
    /// A count is outside its limits.
    OutOfRange = "SCN0014", "out of range";
    /// An override names nothing that can be configured.
    UnknownConfig = "SCN0015", "unknown configuration name";
    /// An override has an unusable value.
    BadConfig = "SCN0016", "unusable configuration value";
    /// A step or a snapshot is earlier than the one before it.
    TimeBackwards = "SCN0017", "time goes backwards";
    /// A step is later than the end.
    StepAfterEnd = "SCN0018", "step after the end";
    /// More than one step is the trigger.
    TwoTriggers = "SCN0019", "two triggers";
    /// A drill has no trigger.
    NoTrigger = "SCN0020", "no trigger";
    /// A snapshot is later than the end.
    SnapshotAfterEnd = "SCN0021", "snapshot after the end";
    /// Two snapshots have one name.
    DuplicateSnapshot = "SCN0022", "duplicate snapshot";
    /// A snapshot can't be reached.
    SnapshotNever = "SCN0023", "snapshot is never taken";
    /// A snapshot has no moment, or two.
    SnapshotWhen = "SCN0024", "snapshot needs exactly one of `at` and `when`";
    /// A range begins or ends at nothing.
    UnknownBound = "SCN0025", "unknown end of a range";
    /// A range ends before it begins.
    RangeBackwards = "SCN0026", "range ends before it begins";
    /// An instrument is not listed.
    UnknownInstrument = "SCN0027", "unknown instrument";
    /// An instrument is listed twice.
    DuplicateInstrument = "SCN0028", "duplicate instrument";
    /// A criterion's id has another form.
    CriterionFormat = "SCN0029", "unusable criterion id";
    /// An expression is wrong.
    Expression = "SCN0030", "wrong expression";
    /// A text in an expression is none of those that its name can be.
    UnknownToken = "SCN0031", "unknown token in an expression";
    /// An expectation asks nothing, or two things.
    ExpectationKind = "SCN0032", "expectation needs exactly one kind";
    /// Two variants have one name.
    DuplicateVariant = "SCN0033", "duplicate variant";
    /// The highest delay is below the lowest.
    LatencyReversed = "SCN0034", "delay range is reversed";
    /// A number is not positive, too fine or too large.
    BadNumber = "SCN0035", "unusable number";
    /// A price or an amount is no multiple of its step.
    OffGrid = "SCN0036", "not a multiple of the step";
    /// A drill never shows that its danger was reached.
    NoSometimes = "SCN0037", "no `sometimes` expectation";
    /// A scenario expects nothing.
    NoExpectation = "SCN0038", "no expectation";
    /// A recording lies elsewhere than below the scenario's folder.
    RecordingPath = "SCN0039", "unusable recording path";
    /// Instruments without what moves them: an index price, a recording.
    MissingWorld = "SCN0040", "the world lacks something";
    /// A text is empty.
    EmptyText = "SCN0041", "empty text";
    /// The built-in defaults are unusable; the program is at fault.
    Defaults = "SCN0042", "built-in scenario defaults are unusable";
    /// A drill is a row of no matrix: its goldens have names of their own.
    DrillAndMatrix = "SCN0043", "both a drill and a row of a matrix";
}

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// The file, as it was named to the parser.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Where it stands, in bytes of the text.
    pub span: Range<usize>,
    /// What is wrong, in words.
    pub message: String,
    /// What was expected, in words; may be empty.
    pub expected: String,
    /// The variant it concerns, where the scenario itself is free of it.
    pub variant: Option<String>,
    /// The place with the lines around it, for people.
    rendered: String,
}

impl Finding {
    pub(super) fn new(
        code: Code,
        (file, text): (&str, &str),
        span: Range<usize>,
        message: String,
        expected: String,
        variant: Option<&str>,
    ) -> Self {
        let span = inside(text, span);
        let before = text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |place| place + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let variant = variant.map(str::to_owned);
        let title = match &variant {
            Some(variant) => format!("{message} (in variant `{variant}`)"),
            None => message.clone(),
        };
        let annotation = AnnotationKind::Primary.span(span.clone()).label(expected.clone());
        let snippet = Snippet::source(text).path(file).annotation(annotation);
        let report = [Level::ERROR.primary_title(title).id(code.as_str()).element(snippet)];
        let rendered = Renderer::plain().render(&report);
        Self { code, file: file.to_owned(), line, column, span, message, expected, variant, rendered }
    }
}

/// Shows code, message, file, line and column, and the lines of the text with a mark.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered)
    }
}

/// All that is wrong with a scenario file, by place; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ScenarioErrors {
    /// The findings, by place.
    pub findings: Vec<Finding>,
}

impl fmt::Display for ScenarioErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, finding) in self.findings.iter().enumerate() {
            if place > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

/// Returns the nearest range that lies inside the text and on its characters; what lies behind the last word is moved to
/// its end, so that there is a line to show.
fn inside(text: &str, span: Range<usize>) -> Range<usize> {
    let end = text.trim_end().len();
    let floor = |mut place: usize| {
        place = place.min(end);
        while !text.is_char_boundary(place) {
            place -= 1;
        }
        place
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbered_in_order() {
        for (place, code) in Code::ALL.iter().enumerate() {
            assert_eq!(code.as_str(), format!("SCN{:04}", place + 1));
            assert!(!code.title().is_empty());
        }
    }

    #[test]
    fn every_code_is_documented() {
        let page = include_str!("../../specs/scenarios.md");
        for code in Code::ALL {
            let row = format!("| {} | {} |", code.as_str(), code.title());
            assert!(page.contains(&row), "specs/scenarios.md lacks: {row}");
        }
    }

    #[test]
    fn any_range_is_shown() {
        let text = "a = \"ä\"\n\tb = 1\n";
        for (span, line, column) in
            [(0..1, 1, 1), (4..8, 1, 5), (6..7, 1, 6), (10..11, 2, 2), (16..99, 2, 7), (99..120, 2, 7), (0..0, 1, 1)]
        {
            let finding =
                Finding::new(Code::Syntax, ("f.toml", text), span.clone(), "wrong".into(), "right".into(), None);
            assert_eq!((finding.line, finding.column), (line, column), "{span:?}");
            let shown = finding.to_string();
            assert!(shown.starts_with("error[SCN0001]: wrong\n"), "{shown}");
            assert!(shown.contains(&format!("f.toml:{line}:{column}")), "{shown}");
        }
        let empty = Finding::new(Code::Syntax, ("f.toml", ""), 0..0, "wrong".into(), String::new(), Some("v"));
        assert!(empty.to_string().contains("wrong (in variant `v`)"));
    }
}
