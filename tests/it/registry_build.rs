//! Drill 8, trigger A, for real: a spoilt reason-code manifest fails the build of the kernel, and the registry check, with
//! the token's name.

use std::{fs, path::Path};

use serde_json::Value;

use crate::project::{build_folder, cargo, done, program, root};

const MANIFEST: &str = "status_reason_registries_manifest.json";
const LOCK: &str = "registry.lock.json";

/// One spoilt manifest.
struct Spoilt {
    kind: &'static str,
    manifest: Value,
    /// The token that must be named.
    token: String,
}

/// Returns the five kinds. Tokens are taken from the manifest itself.
fn spoilt() -> Vec<Spoilt> {
    let text = fs::read_to_string(root().join("specs/status").join(MANIFEST)).expect("the manifest is there");
    let manifest: Value = serde_json::from_str(&text).expect("the manifest is JSON");
    let tier = |name: &str| -> Vec<Value> {
        manifest["registries"]["ModeReasonCode"][name].as_array().expect("a tier is a list").clone()
    };
    let (kill, reduce_only) = (tier("Kill"), tier("ReduceOnly"));
    let code = |entry: &Value| entry["code"].as_str().expect("an entry has a code").to_owned();
    let with = |changes: &[(&str, &Vec<Value>)]| {
        let mut manifest = manifest.clone();
        for (tier, entries) in changes {
            manifest["registries"]["ModeReasonCode"][*tier] = Value::Array((*entries).clone());
        }
        manifest
    };
    let fake = format!("{}_FAKE", code(&kill[0]));
    let mut added = kill.clone();
    let mut entry = kill[0].clone();
    entry["code"] = fake.clone().into();
    added.push(entry);
    let mut renamed = kill.clone();
    renamed[1]["code"] = fake.clone().into();
    let mut reordered = kill.clone();
    reordered.swap(0, 1);
    let mut duplicated = kill.clone();
    duplicated.push(kill[1].clone());
    let (mut fewer, mut more) = (kill.clone(), reduce_only);
    more.push(fewer.remove(1));
    vec![
        Spoilt { kind: "fake", manifest: with(&[("Kill", &added)]), token: fake.clone() },
        Spoilt { kind: "renamed", manifest: with(&[("Kill", &renamed)]), token: code(&kill[1]) },
        Spoilt { kind: "reordered", manifest: with(&[("Kill", &reordered)]), token: code(&kill[0]) },
        Spoilt { kind: "duplicated", manifest: with(&[("Kill", &duplicated)]), token: code(&kill[1]) },
        Spoilt {
            kind: "wrong tier",
            manifest: with(&[("Kill", &fewer), ("ReduceOnly", &more)]),
            token: code(&kill[1]),
        },
    ]
}

/// Builds the kernel from the registry in a folder; returns whether it was built and what was said.
fn build_kernel(registry: &Path) -> (bool, String) {
    let target = build_folder("it-registry").display().to_string();
    let arguments = ["build", "--package", "drillfold-kernel", "--offline", "--locked", "--target-dir", &target];
    cargo(&arguments, &[("DRILLFOLD_REGISTRY_DIR", registry.as_os_str())])
}

#[test]
fn a_spoilt_manifest_fails_the_build_with_the_tokens_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in [MANIFEST, LOCK] {
        fs::copy(root().join("specs/status").join(file), folder.path().join(file)).expect("the registry can be copied");
    }
    let (built, said) = build_kernel(folder.path());
    assert!(built, "the copy as it is must build: {said}");
    for Spoilt { kind, manifest, token } in spoilt() {
        let text = serde_json::to_string_pretty(&manifest).expect("JSON can be written");
        fs::write(folder.path().join(MANIFEST), text).expect("the copy can be written");
        let (built, said) = build_kernel(folder.path());
        assert!(!built, "a {kind} token builds: {said}");
        let named = said.lines().any(|line| line.contains("registry: ") && line.contains(&token));
        assert!(named, "{kind}: {token} is not named: {said}");
    }
}

#[test]
fn a_spoilt_manifest_fails_the_check_with_the_tokens_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(MANIFEST);
    let check = |path: &Path| {
        let path = path.display().to_string();
        done(program(["registry", "check", "--manifest", &path]))
    };
    let whole = check(&root().join("specs/status").join(MANIFEST));
    assert_eq!(whole.code, 0, "{}{}", whole.out, whole.err);
    for Spoilt { kind, manifest, token } in spoilt() {
        fs::write(&path, manifest.to_string()).expect("the folder can be written");
        let found = check(&path);
        assert_eq!(found.code, 1, "{kind}: {}{}", found.out, found.err);
        assert!(found.out.contains(&token), "{kind}: {token} is not named: {}", found.out);
    }
}
