//! Generates the reason-code enums from the registry manifest, after checking the manifest against its lock.
//!
//! A fake, missing, renamed, reordered, duplicated or wrong-tier token fails the build, and every finding names its
//! token. `DRILLFOLD_REGISTRY_DIR` may name another folder with the two files, so that a test can prove that.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use drillfold_registry::{Lock, Registry, check, generate_rust};

const MANIFEST: &str = "status_reason_registries_manifest.json";
const LOCK: &str = "registry.lock.json";
const DIR_VARIABLE: &str = "DRILLFOLD_REGISTRY_DIR";

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed={DIR_VARIABLE}");
    match generate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(lines) => {
            for line in lines {
                eprintln!("registry: {line}");
                println!("cargo::error=registry: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn generate() -> Result<(), Vec<String>> {
    let dir = registry_dir()?;
    let (manifest_path, lock_path) = (dir.join(MANIFEST), dir.join(LOCK));
    for path in [&manifest_path, &lock_path] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let registry = Registry::parse(&read(&manifest_path)?).map_err(|error| told(MANIFEST, &error))?;
    let lock = Lock::parse(&read(&lock_path)?).map_err(|error| told(LOCK, &error))?;
    let findings = check(&registry, &lock);
    if !findings.is_empty() {
        return Err(findings.iter().map(ToString::to_string).collect());
    }
    let out = PathBuf::from(variable("OUT_DIR")?).join("registry.rs");
    fs::write(&out, generate_rust(&registry)).map_err(|error| vec![format!("cannot write registry.rs: {error}")])
}

fn registry_dir() -> Result<PathBuf, Vec<String>> {
    if let Some(dir) = env::var_os(DIR_VARIABLE).filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir));
    }
    Ok(Path::new(&variable("CARGO_MANIFEST_DIR")?).join("../../specs/status"))
}

fn variable(name: &str) -> Result<std::ffi::OsString, Vec<String>> {
    env::var_os(name).ok_or_else(|| vec![format!("{name} is not set, build with cargo")])
}

fn read(path: &Path) -> Result<String, Vec<String>> {
    fs::read_to_string(path).map_err(|error| vec![format!("cannot read {}: {error}", path.display())])
}

fn told(file: &str, error: &dyn std::error::Error) -> Vec<String> {
    match error.source() {
        Some(source) => vec![format!("{file}: {error}: {source}")],
        None => vec![format!("{file}: {error}")],
    }
}
