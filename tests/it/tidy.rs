//! House rules: which room may know which, and what may stand nowhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;

use crate::project::{files_below, root};

/// Which rooms a room may use, and of which only some modules. Any other arrow fails.
const ARROWS: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("storage", &[]),
    ("exchange", &[]),
    ("contract", &["text"]),
    // A recording becomes inputs of the simulation.
    ("feed", &["text", "exchange::MarketData", "sim::RecordedInput", "sim::RecordedMessage"]),
    // Expressions are checked where a scenario is, by the judge's own parser and table of names.
    ("scenario", &["contract", "text", "judge::expr", "judge::facts"]),
    ("sim", &["exchange", "scenario"]),
    ("wal", &["storage"]),
    ("replay", &["storage", "wal"]),
    ("judge", &["sim", "replay", "scenario", "wal", "contract", "text"]),
    ("inspect", &["judge", "replay", "wal", "contract", "text"]),
    ("evidence", &["judge", "inspect", "replay", "contract", "wal", "storage", "text"]),
    // What the page shows is validated first, by the contract's own rules.
    ("serve", &["contract"]),
    // A feed's frames become events by the feed room's table; the played venue keeps books as the simulated one does.
    ("shadow", &["exchange::Book", "exchange::codes", "feed", "sim::PublicRequest", "text", "wal::Direction"]),
    (
        "cli",
        &[
            "contract", "evidence", "feed", "inspect", "judge", "replay", "scenario", "serve", "shadow", "sim",
            "storage", "text", "wal",
        ],
    ),
];

/// Modules of the kernel that a room may use, where it may not use all of it.
const KERNEL_MODULES: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("storage", &[]),
    ("exchange", &["event", "units"]),
    ("feed", &["event", "units"]),
    ("scenario", &["event", "registry", "units"]),
];

/// Crates that belong to one place, by the files that may name them.
const CRATES: &[(&str, &[&str])] = &[
    ("bincode", &["wal/image.rs"]),
    ("memmap2", &["storage/map.rs"]),
    ("rkyv", &["wal/"]),
    ("jsonschema", &["contract/validator.rs", "contract/validator/"]),
    ("rand_chacha", &["sim/"]),
    ("clap", &["cli/"]),
    ("anyhow", &["cli/"]),
    ("ureq", &["cli/fetch.rs"]),
    ("hyper", &["serve/"]),
    ("governor", &["serve/limits.rs"]),
    ("prometheus_client", &["serve/metrics.rs"]),
    ("tokio_io_timeout", &["serve/server.rs"]),
    ("socket2", &["serve/server.rs"]),
    ("tokio", &["serve/", "shadow/client.rs", "shadow/venue.rs"]),
    ("tokio_tungstenite", &["shadow/client.rs", "shadow/venue.rs"]),
    ("futures_util", &["shadow/client.rs", "shadow/venue.rs"]),
    ("rustls", &["shadow/client.rs"]),
    ("webpki_roots", &["shadow/client.rs"]),
    ("annotate_snippets", &["scenario/"]),
    ("schemars", &["scenario/"]),
];

/// Files outside of the storage room that read files named on the command line.
const READS_FILES: &[&str] = &["cli/registry.rs", "cli/validate.rs"];

/// Files that write a log or answer requests while something else goes on: they may use a thread, listen, and measure how
/// long something has waited.
const MAY_WAIT: &[(&str, &str)] = &[
    ("wal/queued_writer.rs", "std::thread"),
    ("wal/clock.rs", "Instant"),
    ("serve/server.rs", "std::thread"),
    ("serve/server.rs", "std::net"),
    // Addresses, for counting clients apart and telling a host's address from its name.
    ("serve/limits.rs", "std::net"),
    ("serve/admit.rs", "std::net"),
    ("serve/stop.rs", "std::thread"),
    // A second signal ends the process at once.
    ("serve/stop.rs", "std::process"),
    // A live feed is folded on one thread and carried by another; its events have the host's time.
    ("shadow/client.rs", "std::thread"),
    ("shadow/venue.rs", "std::thread"),
    ("shadow/venue.rs", "std::net"),
    ("shadow/venue.rs", "Instant"),
    ("cli/serve/feed.rs", "SystemTime"),
    // A capture of a running system says when it was made.
    ("cli/capture.rs", "SystemTime"),
];

/// A source file: its path below `src/`, its code without comments and with empty texts, and its texts.
struct Source {
    name: String,
    code: String,
    texts: Vec<String>,
}

impl Source {
    fn room(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// True for a file of the crate itself, not of the kernel's or the registry's.
    fn is_ours(&self) -> bool {
        !["kernel", "registry"].contains(&self.room())
    }
}

/// Returns every Rust file below `src/`, without its tests.
fn sources() -> Vec<Source> {
    files_below(&root().join("src"))
        .into_iter()
        .filter(|(name, _)| name.ends_with(".rs") && !name.ends_with("/tests.rs") && !name.starts_with("kernel/tests/"))
        .map(|(name, bytes)| {
            let text = String::from_utf8(bytes).expect("sources are UTF-8");
            let (code, texts) = split(&text[..tests_begin(&text)]);
            Source { name, code, texts }
        })
        .collect()
}

/// Returns where the tests of a file begin: they stand at its end.
fn tests_begin(text: &str) -> usize {
    let mut places = text.match_indices("#[cfg(test)]\n");
    let begin = places.find(|(at, mark)| {
        text[at + mark.len()..].lines().next().is_some_and(|line| line.split(' ').any(|word| word == "mod"))
    });
    begin.map_or(text.len(), |(at, _)| at)
}

/// Splits Rust text into its code, without comments and with empty texts, and its texts.
fn split(text: &str) -> (String, Vec<String>) {
    let letters: Vec<char> = text.chars().collect();
    let starts = |at: usize, what: &str| {
        what.chars().enumerate().all(|(place, letter)| letters.get(at + place) == Some(&letter))
    };
    let (mut code, mut texts, mut at) = (String::new(), Vec::new(), 0);
    while at < letters.len() {
        if starts(at, "//") {
            while at < letters.len() && letters[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            while at < letters.len() && !starts(at, "*/") {
                at += 1;
            }
            at += 2;
        } else if starts(at, "r\"")
            || starts(at, "r#") && letters[at + 1..].iter().find(|letter| **letter != '#') == Some(&'"')
        {
            let hashes = letters[at + 1..].iter().take_while(|letter| **letter == '#').count();
            let end = format!("\"{}", "#".repeat(hashes));
            at += 2 + hashes;
            let mut found = String::new();
            while at < letters.len() && !starts(at, &end) {
                found.push(letters[at]);
                at += 1;
            }
            at += end.len();
            code.push_str("\"\"");
            texts.push(found);
        } else if letters[at] == '"' {
            at += 1;
            let mut found = String::new();
            while at < letters.len() && letters[at] != '"' {
                if letters[at] == '\\' {
                    found.push(letters[at]);
                    at += 1;
                }
                found.extend(letters.get(at));
                at += 1;
            }
            at += 1;
            code.push_str("\"\"");
            texts.push(found);
        } else if letters[at] == '\'' && (letters.get(at + 1) == Some(&'\\') || letters.get(at + 2) == Some(&'\'')) {
            // A letter; a lifetime has no closing quote two places on.
            at += if letters.get(at + 1) == Some(&'\\') { 3 } else { 2 };
            while at < letters.len() && letters[at] != '\'' {
                at += 1;
            }
            at += 1;
            code.push_str("' '");
        } else {
            code.push(letters[at]);
            at += 1;
        }
    }
    (code, texts)
}

/// Returns what follows `prefix` in the code: paths of at most two parts, groups in braces taken apart.
fn paths(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_') {
            continue;
        }
        branches(&code[at + prefix.len()..], "", 2, &mut found);
    }
    found
}

/// Collects the paths at the beginning of a text, to a depth; returns how much of it they take.
fn branches(text: &str, above: &str, depth: usize, found: &mut BTreeSet<String>) -> usize {
    let joined = |name: &str| if above.is_empty() { name.to_owned() } else { format!("{above}::{name}") };
    let mut at = text.len() - text.trim_start().len();
    if text[at..].starts_with('{') {
        at += 1;
        loop {
            at += text[at..].len() - text[at..].trim_start_matches([' ', '\n', '\t', ',']).len();
            if text[at..].is_empty() || text[at..].starts_with('}') {
                return (at + 1).min(text.len());
            }
            let taken = branches(&text[at..], above, depth, found);
            at += taken.max(1);
        }
    }
    let name: String = text[at..].chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    at += name.len();
    let path = joined(&name);
    let mut inner = BTreeSet::new();
    if text[at..].starts_with("::") {
        let below = if depth > 1 { path.as_str() } else { "" };
        at += 2 + branches(&text[at + 2..], below, depth.saturating_sub(1), &mut inner);
    }
    if let Some(rest) = text[at..].trim_start().strip_prefix("as ") {
        let alias = rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').count();
        at = text.len() - rest.len() + alias;
    }
    if depth > 1 && !inner.is_empty() {
        found.extend(inner);
    } else {
        found.insert(path);
    }
    at
}

#[test]
fn paths_are_taken_apart() {
    let (code, texts) =
        split("use crate::{a::{b, c::d}, e as f, // crate::no\n g}; let x = crate::h::i::j(\"crate::k\", '\"');");
    let found: Vec<String> = paths(&code, "crate::").into_iter().collect();
    assert_eq!(found, ["a::b", "a::c", "e", "g", "h::i"]);
    assert_eq!(texts, ["crate::k"]);
    assert_eq!(split("r#\"a\"b\"# 'x' 'a \"c\\\"d\"").1, ["a\"b", "c\\\"d"]);
}

#[test]
fn arrows_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let kernel: BTreeMap<&str, &[&str]> = KERNEL_MODULES.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.is_ours() && source.name.contains('/')) {
        let room = source.room();
        let Some(may) = allowed.get(room) else {
            wrong.push(format!("{}: no rule for the room {room}", source.name));
            continue;
        };
        for path in paths(&source.code, "crate::") {
            let target = path.split("::").next().unwrap_or_default();
            // `crate::MANIFEST` and the like would have no room; there is no such thing in lib.rs.
            if target != room && !may.contains(&target) && !may.contains(&path.as_str()) {
                wrong.push(format!("{}: {room} may not use {path}", source.name));
            }
        }
        if let Some(may) = kernel.get(room) {
            for path in paths(&source.code, "drillfold_kernel::") {
                let module = path.split("::").next().unwrap_or_default();
                if !may.contains(&module) {
                    wrong.push(format!("{}: {room} may not use the kernel's {path}", source.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Arrows are only checked if each room has a rule, and each rule a room.
#[test]
fn the_map_is_whole() {
    let rooms: BTreeSet<String> = fs::read_dir(root().join("src"))
        .expect("src is there")
        .filter_map(|entry| {
            let entry = entry.expect("src can be read");
            entry.file_type().expect("it has a type").is_dir().then(|| entry.file_name().to_string_lossy().into_owned())
        })
        .collect();
    let ruled: BTreeSet<String> =
        ARROWS.iter().map(|(room, _)| *room).chain(["kernel", "registry"]).map(str::to_owned).collect();
    assert_eq!(rooms, ruled);
    if let Ok(map) = fs::read_to_string(root().join("specs/ARCHITECTURE.md")) {
        for room in &rooms {
            assert!(map.contains(&format!("`{room}")) || map.contains(&format!("src/{room}")), "the map has no {room}");
        }
    }
}

#[test]
fn the_kernel_is_pure() {
    let all = sources();
    let lib = all.iter().find(|source| source.name == "kernel/lib.rs").expect("the kernel has a lib.rs");
    for line in ["#![no_std]", "#![forbid(unsafe_code)]"] {
        assert!(lib.code.lines().any(|of| of.trim() == line), "the kernel lacks {line}");
    }
    for source in all.iter().filter(|source| source.room() == "kernel" && source.name != "kernel/build.rs") {
        for word in ["std", "f32", "f64", "HashMap", "HashSet", "unsafe", "println", "thread_local"] {
            assert!(!has_word(&source.code, word), "{}: {word}", source.name);
        }
    }
}

/// True where a word stands in code, not as a part of another one.
fn has_word(code: &str, word: &str) -> bool {
    let is_part = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    code.match_indices(word)
        .any(|(at, _)| !is_part(code[..at].chars().next_back()) && !is_part(code[at + word.len()..].chars().next()))
}

#[test]
fn unsafe_code_is_in_one_place() {
    for source in sources() {
        let unsafe_code = has_word(&source.code, "unsafe") && source.name != "storage/map.rs";
        assert!(!unsafe_code, "{}: unsafe; only a memory map needs it", source.name);
    }
}

#[test]
fn nothing_depends_on_a_host_or_on_hashing() {
    for source in sources() {
        for word in ["HashMap", "HashSet", "SystemTime", "Instant", "RandomState", "thread_rng", "getrandom"] {
            let allowed = MAY_WAIT.contains(&(source.name.as_str(), word));
            assert!(allowed || !has_word(&source.code, word), "{}: {word}", source.name);
        }
        let may_open = ["storage/disk.rs", "kernel/build.rs"].contains(&source.name.as_str())
            || READS_FILES.contains(&source.name.as_str());
        if !may_open {
            let opens = has_word(&source.code, "fs") || source.code.contains("File::open");
            assert!(!opens, "{}: std::fs; files are the storage room's", source.name);
        }
        let may_look_around = source.name == "main.rs" || source.name == "kernel/build.rs" || source.room() == "cli";
        if !may_look_around {
            // The number of the process is in the name of a temporary file, which is renamed before anyone sees it.
            let code = source.code.replace("std::process::id()", "");
            for word in ["std::env", "std::process", "std::thread", "std::net"] {
                let allowed = MAY_WAIT.contains(&(source.name.as_str(), word));
                assert!(allowed || !code.contains(word), "{}: {word}", source.name);
            }
        }
    }
}

#[test]
fn crates_stay_in_their_places() {
    for source in sources().iter().filter(|source| source.is_ours()) {
        for (name, places) in CRATES {
            let used = source.code.contains(&format!("{name}::"));
            assert!(!used || places.iter().any(|place| source.name.starts_with(place)), "{}: {name}", source.name);
        }
    }
}

/// Returns the registry's tokens that can be mistaken for nothing else: those with an underscore, and the reject reasons.
fn tokens() -> BTreeSet<String> {
    let path = root().join("specs/status/status_reason_registries_manifest.json");
    let manifest: Value =
        serde_json::from_str(&fs::read_to_string(path).expect("the manifest is there")).expect("it is JSON");
    fn collect(value: &Value, tokens: &mut BTreeSet<String>) {
        match value {
            Value::Object(entries) => {
                tokens.extend(entries.get("code").and_then(Value::as_str).map(str::to_owned));
                entries.values().for_each(|entry| collect(entry, tokens));
            }
            Value::Array(entries) => entries.iter().for_each(|entry| collect(entry, tokens)),
            Value::String(text) => tokens.extend(Some(text.clone())),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut tokens = BTreeSet::new();
    collect(&manifest["registries"], &mut tokens);
    let is_token = |text: &String| {
        text.contains('_')
            && text.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
    };
    let mut reject_reasons = BTreeSet::new();
    collect(&manifest["registries"]["RejectReasonCode"], &mut reject_reasons);
    let is_name =
        |text: &String| text.chars().filter(char::is_ascii_uppercase).count() > 1 && !text.contains([' ', '.']);
    tokens.into_iter().filter(is_token).chain(reject_reasons.into_iter().filter(is_name)).collect()
}

#[test]
fn no_token_is_typed_by_hand() {
    let tokens = tokens();
    for known in ["KILL_RISKSTATE_KILL", "RESTART_RECONCILE_REQUIRED"] {
        assert!(tokens.contains(known), "{known} is not among {} tokens", tokens.len());
    }
    let mut wrong = Vec::new();
    for source in sources() {
        for text in &source.texts {
            for token in &tokens {
                if has_word(text, token) {
                    wrong.push(format!("{}: {token} in {text:?}", source.name));
                }
            }
            let alike = !text.ends_with('_')
                && (text.starts_with("KILL_")
                    || text.starts_with("REDUCEONLY_")
                    || text.ends_with("_RECONCILE_REQUIRED"));
            if alike && !tokens.iter().any(|token| has_word(text, token)) {
                wrong.push(format!("{}: {text:?} looks like a token", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_undone() {
    for folder in ["src", "scenarios", "specs"] {
        for (name, bytes) in files_below(&root().join(folder)) {
            let text = String::from_utf8_lossy(&bytes);
            for word in [concat!("TO", "DO"), concat!("FIX", "ME")] {
                assert!(!has_word(&text, word), "{folder}/{name}: {word}");
            }
        }
    }
    for source in sources() {
        for word in ["todo!", "unimplemented!", "dbg!"] {
            assert!(!source.code.contains(word), "{}: {word}", source.name);
        }
    }
}
