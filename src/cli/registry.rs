//! `drillfold registry`: the reason-code registry against its lock, and the lock of a changed registry.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use drillfold_registry::{Lock, Registry};

use crate::contract::registry_check::check_registry;
use crate::contract::{MANIFEST, REGISTRY_LOCK};

/// Manifest, lock and generated code agree.
pub const EXIT_AGREES: u8 = 0;
/// Something differs, and each finding names its token.
pub const EXIT_DIFFERS: u8 = 1;
/// Nothing was checked: a missing or unreadable file.
pub const EXIT_UNCHECKED: u8 = 2;

/// Options of `drillfold registry`.
#[derive(Clone, Debug, clap::Args)]
pub struct RegistryArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: RegistryCommand,
}

/// The subcommands of `drillfold registry`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum RegistryCommand {
    /// Check a reason-code manifest against its lock and the generated code
    Check {
        /// Manifest to check [default: the built-in one]
        #[arg(long, value_name = "FILE")]
        manifest: Option<PathBuf>,
        /// Lock to check it against [default: the built-in one]
        #[arg(long, value_name = "FILE")]
        lock: Option<PathBuf>,
    },
    /// Print the lock of a manifest, to be committed after a deliberate change of tokens
    Lock {
        /// Manifest to lock [default: the built-in one]
        #[arg(long, value_name = "FILE")]
        manifest: Option<PathBuf>,
    },
}

/// Carries out `drillfold registry` and returns its exit code: [`EXIT_AGREES`], [`EXIT_DIFFERS`] or
/// [`EXIT_UNCHECKED`].
///
/// `check` prints `registry ok: ...` or a line a finding; `lock` prints the lock's JSON.
pub fn registry(args: &RegistryArgs, out: &mut dyn Write) -> u8 {
    let (code, text) = match &args.command {
        RegistryCommand::Check { manifest, lock } => check(manifest.as_deref(), lock.as_deref()),
        RegistryCommand::Lock { manifest } => lock_of(manifest.as_deref()),
    }
    .unwrap_or_else(|reason| (EXIT_UNCHECKED, format!("error: {reason}\n")));
    // A reader that has gone away does not change the verdict.
    let _ = out.write_all(text.as_bytes());
    code
}

fn check(manifest: Option<&Path>, lock: Option<&Path>) -> Result<(u8, String), String> {
    let manifest = read("manifest", manifest, MANIFEST)?;
    let lock = read("lock", lock, REGISTRY_LOCK)?;
    let report = check_registry(&manifest, &lock).map_err(|error| with_source(&error))?;
    let code = if report.findings.is_empty() { EXIT_AGREES } else { EXIT_DIFFERS };
    Ok((code, report.lines.iter().map(|line| format!("{line}\n")).collect()))
}

fn lock_of(manifest: Option<&Path>) -> Result<(u8, String), String> {
    let manifest = read("manifest", manifest, MANIFEST)?;
    let registry = Registry::parse(&manifest).map_err(|error| with_source(&error))?;
    Ok((EXIT_AGREES, Lock::of(&registry).to_json()))
}

fn read(what: &str, path: Option<&Path>, built_in: &str) -> Result<String, String> {
    match path {
        Some(path) => {
            fs::read_to_string(path).map_err(|error| format!("cannot read {what} {}: {error}", path.display()))
        }
        None => Ok(built_in.to_owned()),
    }
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: RegistryArgs,
    }

    fn run(args: &[&str]) -> (u8, String) {
        let cli = Cli::try_parse_from([&["registry"], args].concat()).expect("good arguments");
        let mut out = Vec::new();
        let code = registry(&cli.args, &mut out);
        (code, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn built_in_registry_is_ok() {
        let (code, text) = run(&["check"]);
        assert_eq!(code, 0);
        assert!(text.starts_with("registry ok: contract 5.2, "), "{text}");
        assert_eq!(run(&["lock"]), (0, REGISTRY_LOCK.to_owned()));
    }

    /// The five kinds of bad manifest of drill 8, trigger A, each named by its token.
    #[test]
    fn five_kinds_of_bad_manifest() {
        let kill = |code: &str| format!("\"{code}\"");
        let [first, second] = ["KILL_RISKSTATE_KILL", "KILL_MARGIN_MM_UTIL_CRITICAL"].map(kill);
        let manifest: serde_json::Value = serde_json::from_str(MANIFEST).expect("the manifest is JSON");
        let with = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut manifest = manifest.clone();
            change(&mut manifest["registries"]["ModeReasonCode"]);
            manifest.to_string()
        };
        let list = |reasons: &mut serde_json::Value, tier: &str| -> Vec<serde_json::Value> {
            reasons[tier].as_array().expect("a list").clone()
        };
        let cases = [
            (
                with(&|reasons| {
                    let mut kill = list(reasons, "Kill");
                    let mut fake = kill[0].clone();
                    fake["code"] = "KILL_FAKE".into();
                    kill.push(fake);
                    reasons["Kill"] = kill.into();
                }),
                "fake token KILL_FAKE",
            ),
            (MANIFEST.replace(&first, "\"KILL_OTHER\""), "renamed token KILL_RISKSTATE_KILL"),
            (
                MANIFEST.replace(&first, "\"-\"").replace(&second, &first).replace("\"-\"", &second),
                "reordered token KILL_",
            ),
            (
                with(&|reasons| {
                    let mut kill = list(reasons, "Kill");
                    kill.push(kill[1].clone());
                    reasons["Kill"] = kill.into();
                }),
                "duplicated token KILL_RISKSTATE_KILL",
            ),
            (
                with(&|reasons| {
                    let mut kill = list(reasons, "Kill");
                    let mut reduce_only = list(reasons, "ReduceOnly");
                    reduce_only.push(kill.remove(1));
                    reasons["Kill"] = kill.into();
                    reasons["ReduceOnly"] = reduce_only.into();
                }),
                "wrong tier of token KILL_RISKSTATE_KILL",
            ),
        ];
        let dir = tempfile::tempdir().expect("a folder");
        for (text, expected) in cases {
            let path = dir.path().join("manifest.json");
            fs::write(&path, text).expect("the folder can be written");
            let (code, lines) = run(&["check", "--manifest", &path.display().to_string()]);
            assert_eq!((code, lines.lines().count()), (1, 1), "{lines}");
            assert!(lines.starts_with(expected), "{lines}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_2() {
        for args in [
            ["check", "--manifest", "nowhere.json"],
            ["check", "--lock", "nowhere.json"],
            ["lock", "--manifest", "nowhere.json"],
        ] {
            let (code, text) = run(&args);
            assert_eq!(code, 2);
            assert!(text.starts_with("error: cannot read "), "{text}");
        }
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("torn.json");
        fs::write(&path, "{").expect("the folder can be written");
        let (code, text) = run(&["check", "--manifest", &path.display().to_string()]);
        assert_eq!(code, 2);
        assert!(text.starts_with("error: manifest is not valid JSON, mend the syntax: "), "{text}");
    }
}
