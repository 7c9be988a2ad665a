//! Every acceptance test of the contract leads to its rule in the code and to a test that passes.
//!
//! A test carries out the acceptance tests whose numbers begin its name: `at_297_337_watchdog_limits`. A rule names its
//! acceptance tests in a comment: `AT-297`. From these two marks, the catalogue `specs/acceptance.toml` and a run of the tests
//! comes `specs/acceptance.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    process::Command,
};

use serde::Deserialize;

use crate::{
    documents::compare,
    project::{cargo_output, files_below, root, target_folder},
};

/// Acceptance tests by area; numbers as they stand in ids.
type Areas = BTreeMap<String, Vec<String>>;

/// What there is to prove.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    core: Areas,
    pretrade: Areas,
    later: Areas,
    /// Why an id has no test.
    left_out: BTreeMap<String, String>,
}

/// A test that carries out acceptance tests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Proof {
    /// The file, from the project's root.
    file: String,
    /// The function.
    name: String,
}

#[test]
fn every_acceptance_test_leads_to_a_rule_and_to_a_test_that_passes() {
    let catalogue: Catalogue = toml::from_str(include_str!("../../specs/acceptance.toml")).unwrap();
    let (rules, proofs) = (rules(), proofs());
    let results = results();
    let known: BTreeSet<&String> = [&catalogue.core, &catalogue.pretrade, &catalogue.later]
        .into_iter()
        .flat_map(BTreeMap::values)
        .flatten()
        .collect();
    let strangers: Vec<&String> = proofs.keys().chain(rules.keys()).filter(|id| !known.contains(id)).collect();
    assert!(strangers.is_empty(), "specs/acceptance.toml has no {strangers:?}");

    let mut missing = Vec::new();
    let mut text = String::new();
    let mut summary = String::new();
    for (scope, areas) in [("core", &catalogue.core), ("pretrade", &catalogue.pretrade), ("later", &catalogue.later)] {
        let (mut all, mut passing) = (0, 0);
        text += &format!("\n## {scope}\n");
        for (area, ids) in areas {
            text += &format!("\n**{area}**\n\n| id | rule | test | result |\n|---|---|---|---|\n");
            for id in ids {
                all += 1;
                let (row, passes) = row(id, rules.get(id), proofs.get(id), &results, &catalogue);
                passing += usize::from(passes);
                text += &row;
                let excused = catalogue.left_out.contains_key(id);
                if !passes && !excused {
                    missing.push(format!("AT-{id} ({area})"));
                }
                assert!(!(passes && excused), "AT-{id} is left out and has a test that passes");
            }
        }
        summary += &format!("| {scope} | {all} | {passing} | {} |\n", all - passing);
    }
    let document = format!(
        "# Acceptance tests\n\n\
         Made by `tests/it/acceptance.rs` from `specs/acceptance.toml`, the comments of `src/`, the names of the tests and a run of\n\
         them. An id without a test that passes fails there, unless it is left out with a reason.\n\n\
         | scope | ids | passing | left out |\n|---|---|---|---|\n{summary}{text}"
    );
    assert!(missing.is_empty(), "{} ids lack a rule or a test that passes: {missing:?}", missing.len());
    let path = root().join("specs/acceptance.md");
    compare("specs/acceptance.md", &fs::read_to_string(path).unwrap_or_default(), &document);
}

/// Returns a line of the table, and whether rule and passing test are there.
fn row(
    id: &str,
    rules: Option<&BTreeSet<String>>,
    proofs: Option<&BTreeSet<Proof>>,
    results: &BTreeMap<String, bool>,
    catalogue: &Catalogue,
) -> (String, bool) {
    if let Some(reason) = catalogue.left_out.get(id).filter(|_| proofs.is_none()) {
        return (format!("| AT-{id} | | left out: {reason} | |\n"), false);
    }
    let places: Vec<String> = rules.into_iter().flatten().cloned().collect();
    let tests: Vec<String> =
        proofs.into_iter().flatten().map(|proof| format!("`{}` in {}", proof.name, proof.file)).collect();
    let outcomes: Vec<bool> =
        proofs.into_iter().flatten().map(|proof| results.get(&proof.name).copied().unwrap_or(false)).collect();
    let passes = !places.is_empty() && !outcomes.is_empty() && outcomes.iter().all(|passed| *passed);
    let result = if outcomes.iter().all(|passed| *passed) && !outcomes.is_empty() { "passes" } else { "FAILS" };
    (format!("| AT-{id} | {} | {} | {result} |\n", places.join("<br>"), tests.join("<br>")), passes)
}

/// Returns the places in `src/` whose comments name an acceptance test, by number.
fn rules() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, bytes) in files_below(&root().join("src")) {
        if !name.ends_with(".rs") || name.ends_with("/tests.rs") || name.starts_with("kernel/tests/") {
            continue;
        }
        let text = String::from_utf8(bytes).unwrap();
        let code = &text[..text.find("#[cfg(test)]\nmod").unwrap_or(text.len())];
        let lines: Vec<&str> = code.lines().collect();
        for (place, line) in lines.iter().enumerate() {
            let Some(comment) = line.trim_start().strip_prefix("//") else {
                continue;
            };
            // A module's comment belongs to its file; documentation to the item behind it; any other comment, and that of a
            // variant or a field, to the item it stands in.
            let inside = || lines[..place].iter().rev().find_map(|line| item_of(line));
            let item = match comment.chars().next() {
                Some('!') => None,
                Some('/') => {
                    lines[place..].iter().find(|line| is_code(line)).and_then(|line| item_of(line)).or_else(inside)
                }
                _ => inside(),
            };
            let at = item.map_or(format!("src/{name}"), |item| format!("src/{name} `{item}`"));
            for id in ids_in(comment) {
                found.entry(id).or_default().insert(at.clone());
            }
        }
    }
    found
}

/// Returns the numbers of the acceptance tests that a text names.
fn ids_in(text: &str) -> Vec<String> {
    let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
    text.split("AT-").skip(1).map(digits).filter(|id| id.len() >= 3).collect()
}

/// True for a line that is neither a comment nor an attribute.
fn is_code(line: &str) -> bool {
    !["//", "#"].iter().any(|mark| line.trim_start().starts_with(mark))
}

/// Returns the name of the function or type that a line of code begins.
fn item_of(line: &str) -> Option<String> {
    let mut words = Some(line)
        .filter(|line| is_code(line))?
        .split([' ', '(', '<', ':', '{', ';', '='])
        .filter(|word| !word.is_empty());
    words.find(|word| ["fn", "struct", "enum", "trait", "const", "impl", "mod"].contains(word))?;
    words.find(|word| *word != "fn").map(str::to_owned)
}

/// Returns the tests that carry out acceptance tests, by number.
fn proofs() -> BTreeMap<String, BTreeSet<Proof>> {
    let mut found: BTreeMap<String, BTreeSet<Proof>> = BTreeMap::new();
    for folder in ["src", "tests"] {
        for (name, bytes) in files_below(&root().join(folder)) {
            if !name.ends_with(".rs") {
                continue;
            }
            let text = String::from_utf8(bytes).unwrap();
            for line in text.lines().filter_map(|line| line.trim_start().strip_prefix("fn at_")) {
                let name_end = line.find('(').unwrap_or(line.len());
                let proof = Proof { file: format!("{folder}/{name}"), name: format!("at_{}", &line[..name_end]) };
                for id in
                    line[..name_end].split('_').take_while(|word| word.chars().all(|letter| letter.is_ascii_digit()))
                {
                    found.entry(id.to_owned()).or_default().insert(proof.clone());
                }
            }
        }
    }
    found
}

/// Runs every test whose name begins with a number of an acceptance test, and returns by name whether it passed.
fn results() -> BTreeMap<String, bool> {
    let filters: Vec<String> = (0..10).map(|digit| format!("at_{digit}")).collect();
    let mut arguments = vec!["test", "--locked", "--workspace", "--lib", "--test", "rules", "--no-fail-fast", "--"];
    arguments.extend(filters.iter().map(String::as_str));
    let built = cargo_output(&arguments, &[("CARGO_TARGET_DIR", target_folder().as_os_str())]);
    let own = Command::new(env::current_exe().unwrap()).args(&filters).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&built.stdout), String::from_utf8_lossy(&own.stdout));
    let results: BTreeMap<String, bool> = said
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "))
        .map(|(path, outcome)| (path.rsplit("::").next().unwrap_or(path).to_owned(), outcome == "ok"))
        .collect();
    assert!(!results.is_empty(), "no test was run: {}", String::from_utf8_lossy(&built.stderr));
    results
}
