//! The lock: the tokens of every registry in order, and their digest bound to the contract version.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::manifest::{Registry, shortened};

/// Version of the lock's layout that this crate reads and writes.
const LOCK_VERSION: u64 = 1;

/// The lock as it stands in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Version of the contract that the tokens were agreed for.
    pub contract_version: String,
    /// Digest over the canonical form, `sha256:` and 64 lowercase hexadecimal digits.
    pub digest: String,
    /// Keys that every `/status` document must carry, in order.
    pub csp_minimum_keys: Vec<String>,
    /// Registries (tiers of mode reasons as `ModeReasonCode.Kill` and so on) with their tokens in order.
    pub lists: Vec<(String, Vec<String>)>,
}

/// Why a lock could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The text is not JSON. Restore the file, or write a new one after a deliberate change.
    #[error("registry lock is not valid JSON, restore it or write it anew with `drillfold registry lock`")]
    Json(#[source] serde_json::Error),
    /// A field is missing or has another type or form than the one expected.
    #[error("registry lock field `{at}` must be {expected}, found {found}")]
    Field {
        /// Path from the root.
        at: String,
        /// What the field has to be.
        expected: &'static str,
        /// What stands there, shortened; `null` if nothing does.
        found: String,
    },
}

impl Lock {
    /// Makes the lock of a registry. This is how a deliberate change of tokens is sealed.
    #[must_use]
    pub fn of(registry: &Registry) -> Self {
        let lists = registry
            .lists()
            .into_iter()
            .map(|(name, codes)| (name, codes.into_iter().map(str::to_owned).collect()))
            .collect();
        Self {
            contract_version: registry.contract_version.clone(),
            digest: digest(registry),
            csp_minimum_keys: registry.csp_minimum_keys.clone(),
            lists,
        }
    }

    /// Reads a lock from JSON text.
    ///
    /// # Errors
    ///
    /// [`LockError`] naming the first field that cannot be read.
    pub fn parse(json: &str) -> Result<Self, LockError> {
        let root: Value = serde_json::from_str(json).map_err(LockError::Json)?;
        if root["lock_version"].as_u64() != Some(LOCK_VERSION) {
            return Err(wrong("lock_version", "1, the only layout version there is", &root["lock_version"]));
        }
        let mut lists = Vec::new();
        for (name, value) in object("registries", &root["registries"])? {
            let at = format!("registries.{name}");
            if value.is_object() {
                for (tier, tokens) in object(&at, value)? {
                    lists.push((format!("{name}.{tier}"), texts(&format!("{at}.{tier}"), tokens)?));
                }
            } else {
                lists.push((name.clone(), texts(&at, value)?));
            }
        }
        Ok(Self {
            contract_version: text("contract_version", &root["contract_version"])?,
            digest: text("digest", &root["digest"])?,
            csp_minimum_keys: texts("csp_minimum_keys", &root["csp_minimum_keys"])?,
            lists,
        })
    }

    /// Returns the lock as the JSON text of its file, with a final line break.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut registries = Map::new();
        for (name, codes) in &self.lists {
            match name.split_once('.') {
                Some((registry, tier)) => {
                    let tiers = registries.entry(registry).or_insert_with(|| json!({}));
                    if let Some(tiers) = tiers.as_object_mut() {
                        tiers.insert(tier.to_owned(), json!(codes));
                    }
                }
                None => {
                    registries.insert(name.clone(), json!(codes));
                }
            }
        }
        let root = json!({
            "lock_version": LOCK_VERSION,
            "contract_version": self.contract_version,
            "digest": self.digest,
            "csp_minimum_keys": self.csp_minimum_keys,
            "registries": registries,
        });
        format!("{root:#}\n")
    }

    /// Returns the tokens of one list, or none if the lock has no such list.
    #[must_use]
    pub fn list(&self, name: &str) -> Option<&[String]> {
        self.lists.iter().find(|(list, _)| list == name).map(|(_, codes)| codes.as_slice())
    }

    /// Returns the digest that the lock's own tokens give; it differs from [`Lock::digest`] if the file was edited by
    /// hand.
    #[must_use]
    pub fn digest_of_tokens(&self) -> String {
        let lists: Vec<(String, Vec<&str>)> =
            self.lists.iter().map(|(name, codes)| (name.clone(), codes.iter().map(String::as_str).collect())).collect();
        sealed(&canonical(&self.contract_version, &self.csp_minimum_keys, &lists))
    }
}

/// Returns the text that the digest is taken over.
///
/// UTF-8, one item a line, each line ended by a line feed: `contract_version V`, then `csp_minimum_keys K` for each
/// key, then `LIST TOKEN` for each token of each registry in order, with tiers written `ModeReasonCode.Kill`. Any
/// language rebuilds it from the manifest in a few lines.
#[must_use]
pub fn canonical_form(registry: &Registry) -> String {
    canonical(&registry.contract_version, &registry.csp_minimum_keys, &registry.lists())
}

/// Returns the SHA-256 digest of [`canonical_form`] as `sha256:` and 64 lowercase hexadecimal digits.
#[must_use]
pub fn digest(registry: &Registry) -> String {
    sealed(&canonical_form(registry))
}

fn canonical(contract_version: &str, keys: &[String], lists: &[(String, Vec<&str>)]) -> String {
    let mut form = format!("contract_version {contract_version}\n");
    for key in keys {
        form.push_str(&format!("csp_minimum_keys {key}\n"));
    }
    for (name, codes) in lists {
        for code in codes {
            form.push_str(&format!("{name} {code}\n"));
        }
    }
    form
}

fn sealed(form: &str) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(form.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn wrong(at: &str, expected: &'static str, found: &Value) -> LockError {
    LockError::Field { at: at.to_owned(), expected, found: shortened(found) }
}

fn object<'a>(at: &str, value: &'a Value) -> Result<&'a Map<String, Value>, LockError> {
    value.as_object().ok_or_else(|| wrong(at, "an object", value))
}

fn text(at: &str, value: &Value) -> Result<String, LockError> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(at, "a text", value))
}

fn texts(at: &str, value: &Value) -> Result<Vec<String>, LockError> {
    let list = value.as_array().ok_or_else(|| wrong(at, "a list of texts", value))?;
    list.iter().enumerate().map(|(index, item)| text(&format!("{at}[{index}]"), item)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::manifest::tests::MANIFEST;

    /// The committed lock.
    pub(crate) const LOCK: &str = include_str!("../../specs/status/registry.lock.json");

    #[test]
    fn committed_lock_is_what_the_manifest_gives() {
        let registry = Registry::parse(MANIFEST).expect("the committed manifest is read");
        assert_eq!(Lock::of(&registry).to_json(), LOCK);
    }

    #[test]
    fn writing_and_reading_give_the_same_lock() {
        let lock = Lock::parse(LOCK).expect("the committed lock is read");
        assert_eq!(Lock::parse(&lock.to_json()).expect("our own text is read"), lock);
        assert_eq!(lock.digest_of_tokens(), lock.digest);
    }

    #[test]
    fn digest_is_bound_to_version_order_and_list() {
        let registry = Registry::parse(MANIFEST).expect("the committed manifest is read");
        let original = digest(&registry);
        let mut other = registry.clone();
        other.contract_version = "5.3".to_owned();
        assert_ne!(digest(&other), original);
        let mut other = registry.clone();
        other.reject_reasons.swap(0, 1);
        assert_ne!(digest(&other), original);
        let mut other = registry.clone();
        let moved = other.reject_reasons.remove(32);
        other.owner_reasons.insert(0, moved);
        assert_ne!(digest(&other), original);
        let mut other = registry;
        other.reject_reasons[0].text.push_str(" Reworded.");
        assert_eq!(digest(&other), original);
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Value), expected: &str) {
        let mut value: Value = serde_json::from_str(LOCK).expect("the committed lock is JSON");
        change(&mut value);
        let error = Lock::parse(&value.to_string()).expect_err("the changed lock is refused");
        assert!(error.to_string().contains(expected), "{error} does not contain {expected}");
    }

    #[test]
    fn malformed_locks_are_refused_by_path() {
        refused(|l| l["lock_version"] = 9.into(), "`lock_version` must be 1");
        refused(|l| l["digest"] = Value::Null, "`digest` must be a text");
        refused(|l| l["registries"] = 1.into(), "`registries` must be an object");
        refused(|l| l["registries"]["Profile"] = "CSP".into(), "`registries.Profile` must be a list");
        refused(|l| l["registries"]["ModeReasonCode"]["Kill"][0] = 1.into(), "`registries.ModeReasonCode.Kill[0]`");
        refused(|l| *l = Value::Null, "`lock_version`");
        assert!(matches!(Lock::parse("{"), Err(LockError::Json(_))));
    }
}
