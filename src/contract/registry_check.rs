//! The registry check as a library call: manifest against lock, and both against the generated enums.

use std::fmt;

use drillfold_kernel::registry::{
    CONTRACT_VERSION, CSP_MINIMUM_KEYS, DeploymentEnvironment, F1CertState, ModeReason, OpenPermissionReason,
    OwnerReason, Profile, RejectReason, RiskState, Tier, TradingMode,
};
use drillfold_registry::{Finding, Lock, LockError, ManifestError, Registry, check, digest};

/// Why a registry could not be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum RegistryCheckError {
    /// The manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The lock cannot be read.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// One thing that a registry check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryFinding {
    /// The manifest contradicts its lock or itself.
    Registry(Finding),
    /// Manifest and lock agree with each other and not with the enums that this program was built with. Rebuild it.
    Generated {
        /// List concerned, such as `ModeReasonCode.Kill`.
        list: String,
        /// First place at which they differ, counted from 0.
        index: usize,
        /// What the manifest has there.
        manifest: Option<String>,
        /// What the program has there.
        program: Option<String>,
    },
}

impl fmt::Display for RegistryFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(finding) => finding.fmt(f),
            Self::Generated { list, index, manifest, program } => write!(
                f,
                "generated code: {list} has {} at index {index}, the manifest has {}; rebuild the program from this \
                 manifest",
                program.as_deref().unwrap_or("nothing"),
                manifest.as_deref().unwrap_or("nothing")
            ),
        }
    }
}

/// What a registry check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryReport {
    /// Everything found; empty if the registry may be used.
    pub findings: Vec<RegistryFinding>,
    /// Lines for a reader: one a finding, or a single one that says what was compared.
    pub lines: Vec<String>,
}

/// Checks a manifest against its lock and, if they agree, against the enums of this program.
///
/// # Errors
///
/// [`RegistryCheckError`] if either text is not a manifest or lock at all.
///
/// Source: checklist drill 8, trigger A.
pub fn check_registry(manifest: &str, lock: &str) -> Result<RegistryReport, RegistryCheckError> {
    let registry = Registry::parse(manifest)?;
    let lock = Lock::parse(lock)?;
    let mut findings: Vec<RegistryFinding> =
        check(&registry, &lock).into_iter().map(RegistryFinding::Registry).collect();
    if findings.is_empty() {
        findings = against_generated(&registry);
    }
    let lines = if findings.is_empty() {
        let tokens: usize = registry.lists().iter().map(|(_, codes)| codes.len()).sum();
        vec![format!(
            "registry ok: contract {}, {tokens} tokens, {} status keys, {}",
            registry.contract_version,
            registry.csp_minimum_keys.len(),
            digest(&registry)
        )]
    } else {
        findings.iter().map(ToString::to_string).collect()
    };
    Ok(RegistryReport { findings, lines })
}

fn against_generated(registry: &Registry) -> Vec<RegistryFinding> {
    let keys: Vec<&str> = registry.csp_minimum_keys.iter().map(String::as_str).collect();
    let mut of_manifest = vec![
        ("contract_version".to_owned(), vec![registry.contract_version.as_str()]),
        ("csp_minimum_keys".to_owned(), keys),
    ];
    of_manifest.extend(registry.lists());
    let of_program = generated_lists();
    let mut findings = Vec::new();
    for ((list, manifest), (_, program)) in of_manifest.iter().zip(&of_program) {
        let longest = manifest.len().max(program.len());
        if let Some(index) = (0..longest).find(|&index| manifest.get(index) != program.get(index)) {
            findings.push(RegistryFinding::Generated {
                list: list.clone(),
                index,
                manifest: manifest.get(index).map(|token| (*token).to_owned()),
                program: program.get(index).map(|token| (*token).to_owned()),
            });
        }
    }
    findings
}

/// Returns the lists that the enums of this program give, in the order of [`Registry::lists`], after the contract
/// version and the minimum keys.
fn generated_lists() -> Vec<(&'static str, Vec<&'static str>)> {
    let of_tier = |tier: Tier| -> Vec<&'static str> {
        ModeReason::ALL.into_iter().filter(|reason| reason.tier() == tier).map(ModeReason::token).collect()
    };
    vec![
        ("contract_version", vec![CONTRACT_VERSION]),
        ("csp_minimum_keys", CSP_MINIMUM_KEYS.to_vec()),
        ("TradingMode", TradingMode::ALL.map(TradingMode::token).to_vec()),
        ("RiskState", RiskState::ALL.map(RiskState::token).to_vec()),
        ("F1CertState", F1CertState::ALL.map(F1CertState::token).to_vec()),
        ("Profile", Profile::ALL.map(Profile::token).to_vec()),
        ("DeploymentEnvironment", DeploymentEnvironment::ALL.map(DeploymentEnvironment::token).to_vec()),
        ("ModeReasonCode.Kill", of_tier(Tier::Kill)),
        ("ModeReasonCode.ReduceOnly", of_tier(Tier::ReduceOnly)),
        ("OpenPermissionReasonCode", OpenPermissionReason::ALL.map(OpenPermissionReason::token).to_vec()),
        ("RejectReasonCode", RejectReason::ALL.map(RejectReason::token).to_vec()),
        ("OwnerReasonCode", OwnerReason::ALL.map(OwnerReason::token).to_vec()),
    ]
}

#[cfg(test)]
mod tests {
    use drillfold_kernel::registry::REGISTRY_DIGEST;
    use serde_json::Value;

    use super::*;
    use crate::contract::{MANIFEST, REGISTRY_LOCK};

    #[test]
    fn built_in_registry_is_the_one_generated_from() {
        let report = check_registry(MANIFEST, REGISTRY_LOCK).expect("both are read");
        assert_eq!(report.findings, []);
        assert_eq!(report.lines, [format!("registry ok: contract 5.2, 100 tokens, 35 status keys, {REGISTRY_DIGEST}")]);
    }

    #[test]
    fn names_of_lists_are_in_the_same_order() {
        let registry = Registry::parse(MANIFEST).expect("the manifest is read");
        let expected: Vec<String> = registry.lists().into_iter().map(|(name, _)| name).collect();
        let found: Vec<&str> = generated_lists().into_iter().skip(2).map(|(name, _)| name).collect();
        assert_eq!(found, expected);
    }

    /// A change that manifest and lock agree on is still not what the program was built from.
    #[test]
    fn an_agreed_change_needs_a_rebuild() {
        let mut manifest: Value = serde_json::from_str(MANIFEST).expect("the manifest is JSON");
        let values = manifest["registries"]["RejectReasonCode"]["values"].as_array_mut().expect("a list");
        values.pop();
        let text = manifest.to_string();
        let lock = Lock::of(&Registry::parse(&text).expect("the manifest is read")).to_json();
        let report = check_registry(&text, &lock).expect("both are read");
        assert_eq!(
            report.lines,
            [
                "generated code: RejectReasonCode has DuplicateIntent at index 32, the manifest has nothing; rebuild the \
              program from this manifest"
            ]
        );
    }

    #[test]
    fn findings_name_the_token() {
        let text = MANIFEST.replace("\"KILL_RISKSTATE_KILL\"", "\"KILL_FAKE\"");
        let report = check_registry(&text, REGISTRY_LOCK).expect("both are read");
        assert_eq!(report.findings.len(), 1);
        assert!(report.lines[0].contains("KILL_FAKE"), "{:?}", report.lines);
    }

    #[test]
    fn what_is_no_registry_is_an_error() {
        assert!(matches!(check_registry("{", REGISTRY_LOCK), Err(RegistryCheckError::Manifest(_))));
        assert!(matches!(check_registry(MANIFEST, "[]"), Err(RegistryCheckError::Lock(_))));
    }
}
