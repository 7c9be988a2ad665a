//! Every expected value counts: one that is changed makes its drill fail, and the failure names drill, snapshot, key,
//! expected and found.

use std::{collections::BTreeMap, fs};

use drillfold::judge::{
    references::{DrillExpectation, Golden, References, golden_file},
    report::{Report, Strictness, Verdict, judge},
};
use serde_json::{Value, json};

use crate::project::{BaseRun, ProjectCopy, base_runs, done, in_parallel, root};

/// A value changed in one place, with what a failure must say of it.
#[derive(Clone, Debug)]
pub(crate) struct Flip {
    /// The whole changed value.
    pub(crate) changed: Value,
    /// Path of the place: keys with dots, places of a list in brackets.
    pub(crate) place: String,
    /// Outermost key of the place.
    key: String,
    /// What kind of change it is.
    kind: Kind,
    /// What stands there after the change, as JSON; `None` where something was taken away.
    expected: Option<String>,
    /// What stood there before, as JSON; `None` where something was added.
    found: Option<String>,
}

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Leaf,
    KeyAdded,
    KeyGone,
    EntryAdded,
    EntryGone,
}

/// Returns the value with each leaf changed in turn, each list with one entry more and one less, and each key left out.
pub(crate) fn flips(value: &Value) -> Vec<Flip> {
    let mut found = Vec::new();
    visit(value, "", &mut |kind, place, changed, expected, before| {
        let key = place.split(['.', '[']).next().unwrap_or_default().to_owned();
        let text = |value: Option<&Value>| value.map(Value::to_string);
        found.push(Flip { changed, place: place.to_owned(), key, kind, expected: text(expected), found: text(before) });
    });
    found
}

type Put<'a> = dyn FnMut(Kind, &str, Value, Option<&Value>, Option<&Value>) + 'a;

fn visit(value: &Value, place: &str, put: &mut Put<'_>) {
    match value {
        Value::Object(entries) => {
            for (key, entry) in entries {
                let inner = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                let with = |changed| {
                    let mut entries = entries.clone();
                    entries.insert(key.clone(), changed);
                    Value::Object(entries)
                };
                visit(entry, &inner, &mut |kind, place, changed, expected, found| {
                    put(kind, place, with(changed), expected, found);
                });
                let mut fewer = entries.clone();
                fewer.shift_remove(key);
                put(Kind::KeyGone, &inner, Value::Object(fewer), None, Some(entry));
            }
            let inner = if place.is_empty() { "nobody_knows".to_owned() } else { format!("{place}.nobody_knows") };
            let mut more = entries.clone();
            more.insert("nobody_knows".to_owned(), json!(1));
            put(Kind::KeyAdded, &inner, Value::Object(more), Some(&json!(1)), None);
        }
        Value::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                let with = |changed| {
                    let mut entries = entries.clone();
                    entries[index] = changed;
                    Value::Array(entries)
                };
                let inner = format!("{place}[{index}]");
                visit(entry, &inner, &mut |kind, place, changed, expected, found| {
                    put(kind, place, with(changed), expected, found);
                });
            }
            let added = entries.last().cloned().unwrap_or_else(|| json!("NOBODY_KNOWS"));
            put(
                Kind::EntryAdded,
                place,
                Value::Array([&entries[..], std::slice::from_ref(&added)].concat()),
                Some(&added),
                None,
            );
            if let Some((last, before)) = entries.split_last() {
                put(Kind::EntryGone, place, Value::Array(before.to_vec()), None, Some(last));
            }
        }
        leaf => {
            let changed = flipped(leaf);
            put(Kind::Leaf, place, changed.clone(), Some(&changed), Some(leaf));
        }
    }
}

fn flipped(leaf: &Value) -> Value {
    match leaf {
        Value::Null => json!(0),
        Value::Bool(value) => json!(!value),
        Value::Number(number) => match number.as_i64() {
            Some(value) => json!(value + 1),
            None => json!(number.as_f64().expect("a number is an integer or has a fraction") + 1.0),
        },
        Value::String(text) => json!(format!("{text}_X")),
        Value::Array(_) | Value::Object(_) => unreachable!("only leaves are flipped"),
    }
}

/// True where a text names what a flip must be named by.
fn names(text: &str, flip: &Flip) -> bool {
    let Some((before, rest)) = text.split_once("expected ") else { return false };
    let Some((expected, found)) = rest.rsplit_once(", found ") else { return false };
    before.contains(&flip.key)
        && flip.expected.as_ref().is_none_or(|value| expected.contains(value))
        && flip.found.as_ref().is_none_or(|value| found.contains(value))
}

/// Asserts that a report fails for a flip, in so many words.
pub(crate) fn assert_fails(report: &Report, subject: &str, flip: &Flip) {
    assert_eq!(report.verdict, Verdict::Fail, "{subject}: {} may be anything", flip.place);
    let named = report.failures().any(|check| check.subject.contains(subject) && names(&check.seen, flip));
    let failures: Vec<_> = report.failures().collect();
    assert!(
        named,
        "{subject}: {}: expected {:?}, found {:?} are not named in {failures:#?}",
        flip.place, flip.expected, flip.found
    );
}

fn judged(base: &BaseRun, references: &References) -> Report {
    judge(&base.outcome, references, Strictness::Exact).expect("the run can be judged")
}

#[test]
fn every_drill_passes_before_anything_is_flipped() {
    for base in base_runs() {
        let report = judged(base, &base.references);
        let failures: Vec<_> = report.failures().collect();
        assert_eq!(report.verdict, Verdict::Pass, "{}: {:?} {failures:#?}", base.name(), report.reason);
    }
}

#[test]
fn every_leaf_of_every_golden_counts() {
    let mut cases = Vec::new();
    let mut files = 0;
    for base in base_runs() {
        for (snapshot, golden) in &base.references.goldens {
            files += 1;
            for flip in flips(&golden.document) {
                cases.push((base, snapshot, golden, flip));
            }
        }
    }
    let committed = fs::read_dir(root().join("fixtures/status"))
        .expect("goldens are there")
        .filter(|entry| {
            entry.as_ref().is_ok_and(|entry| entry.path().extension().is_some_and(|ending| ending == "json"))
        })
        .count();
    assert_eq!(files, committed, "a golden in fixtures/status/ belongs to no snapshot");
    in_parallel(&cases, |(base, snapshot, golden, flip)| {
        let mut references = base.references.clone();
        let spoilt = Golden { file: golden.file.clone(), document: flip.changed.clone() };
        references.goldens.insert((*snapshot).clone(), spoilt);
        assert_fails(&judged(base, &references), &format!("{} snapshot {snapshot}", base.name()), flip);
    });
    println!("{} flips in {files} goldens", cases.len());
}

#[test]
fn a_golden_that_is_missing_fails() {
    for base in base_runs() {
        for snapshot in base.references.goldens.keys() {
            let mut references = base.references.clone();
            references.goldens.remove(snapshot);
            let report = judged(base, &references);
            let file = golden_file(&base.outcome.scenario, snapshot).expect("a golden's name");
            assert_eq!(report.verdict, Verdict::Fail);
            assert!(report.failures().any(|check| check.seen.contains(&file)), "{file}");
        }
    }
}

/// Returns a drill's expectation as it stands in its file, as JSON, and back.
fn expectation_of(base: &BaseRun) -> Value {
    let text = fs::read_to_string(root().join(format!("specs/drills/{}.toml", base.name()))).expect("it is there");
    let table: toml::Table = toml::from_str(&text).expect("it is TOML");
    serde_json::to_value(table).expect("TOML has a JSON form")
}

#[test]
fn every_leaf_of_every_drills_expectation_counts() {
    let mut cases = Vec::new();
    for base in base_runs() {
        for flip in flips(&expectation_of(base)) {
            cases.push((base, flip));
        }
    }
    let mut by_drill: BTreeMap<&str, usize> = BTreeMap::new();
    for (base, _) in &cases {
        *by_drill.entry(base.name()).or_default() += 1;
    }
    assert!(by_drill.values().all(|count| *count > 20), "{by_drill:?}");
    in_parallel(&cases, |(base, flip)| {
        let parts: Vec<&str> = flip.place.split(['.', '[']).collect();
        let name = parts.last().copied().unwrap_or_default();
        let text = toml::to_string(&flip.changed).expect("JSON without null has a TOML form");
        let expectation = match DrillExpectation::parse("spoilt.toml", &text) {
            Ok(expectation) => expectation,
            // A table that must be there is not, or one that the file can't have is: exit code 2, by name.
            Err(error) => {
                assert!(matches!(flip.kind, Kind::KeyAdded | Kind::KeyGone), "{}: {error}", flip.place);
                assert!(error.to_string().contains(name), "{}: {error}", flip.place);
                return;
            }
        };
        if flip.kind == Kind::KeyGone && parts[0] == "snapshots" {
            // Asking for less of a snapshot contradicts nothing.
            return;
        }
        let references = References { expectation: Some(expectation), ..base.references.clone() };
        let report = judged(base, &references);
        match parts.as_slice() {
            ["drill"] => assert_fails(&report, &format!("{} drill", base.name()), flip),
            ["snapshots", snapshot, key, ..] => {
                let flip = Flip { key: (*key).to_owned(), ..flip.clone() };
                assert_fails(&report, &format!("{} snapshot {snapshot}", base.name()), &flip);
            }
            ["criteria", criterion] => {
                assert_eq!(report.verdict, Verdict::Fail, "{}", flip.place);
                let subject = format!("{} criterion {criterion}", base.name());
                let named = report.failures().any(|check| check.subject == subject && check.seen.contains(criterion));
                assert!(named, "{subject}");
                if flip.kind == Kind::Leaf {
                    let flip = Flip { key: (*criterion).to_owned(), ..flip.clone() };
                    assert_fails(&report, &subject, &flip);
                }
            }
            other => panic!("the file of {} has something that is not flipped: {other:?}", base.name()),
        }
    });
    println!("{} flips in 8 files", cases.len());
}

/// Ten flips through the program itself: what it prints, and exit code 1.
#[test]
fn ten_flips_through_the_program() {
    let copy = ProjectCopy::new();
    let mut cases = Vec::new();
    for (place, base) in base_runs().iter().enumerate() {
        let snapshots: Vec<&String> = base.references.goldens.keys().collect();
        let snapshot = snapshots[place % snapshots.len()];
        let document = &base.references.goldens[snapshot].document;
        let leaves: Vec<Flip> = flips(document).into_iter().filter(|flip| flip.kind == Kind::Leaf).collect();
        let flip = leaves[(place * 11 + 6) % leaves.len()].clone();
        let file =
            format!("fixtures/status/{}", golden_file(&base.outcome.scenario, snapshot).expect("a golden's name"));
        let text = serde_json::to_string_pretty(&flip.changed).expect("a document can be written");
        cases.push((base, file, text, snapshot.clone(), flip));
    }
    for (base, key) in [(&base_runs()[1], "ws_event_lag_ms"), (&base_runs()[7], "mode_reasons")] {
        let flip = flips(&expectation_of(base))
            .into_iter()
            .find(|flip| flip.kind == Kind::Leaf && flip.place.starts_with(&format!("snapshots.tripped.{key}")))
            .expect("the checklist names it");
        let flip = Flip { key: key.to_owned(), ..flip };
        let text = toml::to_string(&flip.changed).expect("JSON without null has a TOML form");
        cases.push((base, format!("specs/drills/{}.toml", base.name()), text, "tripped".to_owned(), flip));
    }
    assert_eq!(cases.len(), 10);
    for (base, file, text, snapshot, flip) in cases {
        let path = copy.path().join(&file);
        let whole = fs::read(&path).expect("the file is there");
        fs::write(&path, text).expect("the copy can be written");
        let found = done(copy.drillfold(["run", &format!("scenarios/{}.toml", base.name())]));
        fs::write(&path, whole).expect("the copy can be written");
        assert_eq!(found.code, 1, "{file} {}: {}{}", flip.place, found.out, found.err);
        let subject = format!("{} snapshot {snapshot}", base.name());
        let named = found.out.lines().any(|line| line.contains(&subject) && names(line, &flip));
        assert!(named, "{file} {}: {}", flip.place, found.out);
        let whole_again = done(copy.drillfold(["run", &format!("scenarios/{}.toml", base.name())]));
        assert_eq!(whole_again.code, 0, "{}: {}{}", base.name(), whole_again.out, whole_again.err);
    }
}
