//! What stands under `proof/` in a pack: all that a stranger needs to make the pack again, and how they see that they have it.
//!
//! The folder is a small project of its own: the drill's scenario with its recorded feed, its goldens, its expectation, its
//! log and its trace lie where a project has them, so every command takes it as its `--root`. Beside them stand the log's
//! timeline, an in-toto statement of the result, and `SHA256SUMS` over every file of the pack.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use serde_json::{Value, json};

use super::pack::{DrillRun, Pack, PackError};
use crate::{
    contract::{MANIFEST, REGISTRY_LOCK, SCHEMA_EXACT, SCHEMA_MIN, config::sha256_hex},
    inspect::timeline,
    judge::report::Verdict,
    storage::{MemoryStorage, Storage as _},
    wal::{Access, Digests, LogFiles, ReadOptions, event_schema_fingerprint},
};

/// The folder of a pack that holds all but the checklist's seven files.
pub const PROOF: &str = "proof";

/// The sums of a pack's files, below the pack's folder.
pub const SUMS_FILE: &str = "proof/SHA256SUMS";

/// The record of what built a pack. No part of the pack: it is not listed in the sums, and not committed.
pub const PROVENANCE_FILE: &str = "proof/provenance.json";

/// The in-toto statement of a drill's result.
const STATEMENT_FILE: &str = "proof/test-result.intoto.json";

/// Source: in-toto attestation framework, test result predicate.
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// Files that a drill's runs are made of and held against, by path below the project's folder.
pub type Sources = BTreeMap<String, Vec<u8>>;

/// Adds what the runs are made of and what they recorded, then the statement, then the sums.
pub(super) fn add_proof(
    base: &DrillRun,
    variants: &[DrillRun],
    sources: &Sources,
    files: &mut Pack,
) -> Result<(), PackError> {
    let recorded = &base.outcome.recorded;
    let name = &base.outcome.scenario.name;
    for (path, bytes) in sources {
        files.insert(format!("{PROOF}/{path}"), bytes.clone());
    }
    files.insert(format!("{PROOF}/wal-logs/{name}.wal"), recorded.log.clone());
    files.insert(format!("{PROOF}/wal-logs/{name}.trace"), recorded.trace.clone());
    files.insert(format!("{PROOF}/timeline.jsonl"), timeline_of(&recorded.log)?.into_bytes());
    let statement = statement(base, variants, files);
    files.insert(STATEMENT_FILE.to_owned(), format!("{statement:#}\n").into_bytes());
    let sums = sums(files);
    files.insert(SUMS_FILE.to_owned(), sums.into_bytes());
    Ok(())
}

/// Returns a log's timeline, a JSON document a line: what `drillfold replay --timeline --format jsonl` prints.
fn timeline_of(log: &[u8]) -> Result<String, PackError> {
    let storage = MemoryStorage::new();
    let path = Path::new("log.wal");
    storage.replace(path, log)?;
    let options = ReadOptions { digests: Digests::Check, access: Access::Positional };
    let mut files = LogFiles::open(&storage, path, options)?;
    let mut text = String::new();
    timeline(&mut files, |line| -> Result<(), PackError> {
        let _ = writeln!(text, "{}", line.document());
        Ok(())
    })?;
    Ok(text)
}

/// Returns the unsigned statement that the runs had their results over these files.
fn statement(base: &DrillRun, variants: &[DrillRun], files: &Pack) -> Value {
    let digest = |bytes: &[u8]| json!({ "sha256": sha256_hex(bytes) });
    let subject: Vec<Value> =
        files.iter().map(|(path, bytes)| json!({ "name": path, "digest": digest(bytes) })).collect();
    let contract = [
        ("status_csp_min.schema.json", SCHEMA_MIN),
        ("status_csp_exact.schema.json", SCHEMA_EXACT),
        ("status_reason_registries_manifest.json", MANIFEST),
        ("registry.lock.json", REGISTRY_LOCK),
    ];
    let configuration: Vec<Value> =
        contract.iter().map(|(name, text)| json!({ "name": name, "digest": digest(text.as_bytes()) })).collect();
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    for run in std::iter::once(base).chain(variants) {
        for check in &run.report.checks {
            let name = format!("{}: {}: {}", run.report.name, check.subject, check.says);
            if check.holds { passed.push(name) } else { failed.push(name) }
        }
        // A verdict can be other than pass with no failed check: vacuous, inconclusive.
        if run.report.verdict != Verdict::Pass {
            failed.push(format!("{}: verdict {}", run.report.name, run.report.verdict));
        }
    }
    json!({
        "_type": STATEMENT_TYPE,
        "subject": subject,
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "result": if failed.is_empty() { "PASSED" } else { "FAILED" },
            "configuration": configuration,
            "passedTests": passed,
            "warnedTests": [],
            "failedTests": failed,
        },
    })
}

/// Returns the sums of files as `sha256sum` writes them, sorted by path; the sums themselves and the provenance are left out.
pub(super) fn sums(files: &Pack) -> String {
    let listed = files.iter().filter(|(path, _)| ![SUMS_FILE, PROVENANCE_FILE].contains(&path.as_str()));
    listed.fold(String::new(), |mut text, (path, bytes)| {
        let _ = writeln!(text, "{}  {path}", sha256_hex(bytes));
        text
    })
}

/// The revision of the project that a pack was built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The version control system's name for it.
    pub id: String,
    /// True where files differ from it.
    pub is_modified: bool,
}

/// Returns the record of what built a pack, with the digest of its sums. Its last key is the SHA-256 of the record with that
/// key empty, so that no byte of it changes unnoticed.
#[must_use]
pub fn provenance(base: &DrillRun, files: &Pack, revision: Option<&Revision>) -> Vec<u8> {
    let scenario = &base.outcome.scenario;
    let sums = files.get(SUMS_FILE).map_or(&[][..], Vec::as_slice);
    let hash = |text: &str| Value::from(sha256_hex(text.as_bytes()));
    let record = json!({
        "schema": "drillfold/provenance/v1",
        "drill": scenario.name,
        "seed": scenario.seed,
        "tool": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
        "source": revision.map(|revision| json!({ "revision": revision.id, "modified": revision.is_modified })),
        "event_schema": event_schema_fingerprint().to_string(),
        "registry_lock_sha256": hash(REGISTRY_LOCK),
        "manifest_sha256": hash(MANIFEST),
        "status_schema_min_sha256": hash(SCHEMA_MIN),
        "status_schema_exact_sha256": hash(SCHEMA_EXACT),
        "sums_sha256": sha256_hex(sums),
        "record_sha256": "",
    });
    sealed(record)
}

/// Writes a record with its own digest in it.
fn sealed(mut record: Value) -> Vec<u8> {
    let mut put = |digest: String| {
        if let Some(slot) = record.get_mut("record_sha256") {
            *slot = digest.into();
        }
        format!("{record:#}\n")
    };
    let unsealed = put(String::new());
    put(sha256_hex(unsealed.as_bytes())).into_bytes()
}

/// Returns what is wrong with a provenance record beside these sums; `None` where nothing is.
pub(super) fn provenance_fault(record: &[u8], sums: &[u8]) -> Option<String> {
    let parsed: Value = match serde_json::from_slice(record) {
        Ok(parsed) => parsed,
        Err(error) => return Some(format!("no JSON: {error}")),
    };
    if parsed.get("record_sha256").and_then(Value::as_str).is_none() {
        return Some("has no digest of itself".to_owned());
    }
    let sums_digest = parsed.get("sums_sha256").and_then(Value::as_str).unwrap_or_default().to_owned();
    if sealed(parsed) != record {
        return Some("is not what its own digest says".to_owned());
    }
    (sums_digest != sha256_hex(sums)).then(|| format!("is the record of other sums than {SUMS_FILE}"))
}
