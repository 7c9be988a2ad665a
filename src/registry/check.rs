//! The registry against its lock and against itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::generate::variant_name;
use crate::lock::Lock;
use crate::manifest::{CSP_MINIMUM_KEY_COUNT, Registry, Tier};

/// One thing that is wrong with a registry. Each names the token concerned, and [`fmt::Display`] gives a line that
/// says where it stands and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The manifest has a token that nobody agreed on.
    Fake {
        /// List that it stands in, such as `ModeReasonCode.Kill`.
        list: String,
        /// The token.
        token: String,
    },
    /// The manifest lacks a token of the lock.
    Missing {
        /// List that it belongs to.
        list: String,
        /// The token.
        token: String,
    },
    /// At one place a token of the lock is gone and an unknown one stands there.
    Renamed {
        /// List concerned.
        list: String,
        /// Token of the lock.
        from: String,
        /// Token of the manifest.
        to: String,
    },
    /// A token stands at another place than in the lock. Order is meaning: tokens are emitted in it.
    Reordered {
        /// List concerned.
        list: String,
        /// The token.
        token: String,
        /// Place in the lock, counted from 0.
        expected_index: usize,
        /// Place in the manifest, counted from 0.
        found_index: usize,
    },
    /// A token occurs more than once in one registry.
    Duplicated {
        /// List of the second occurrence.
        list: String,
        /// The token.
        token: String,
    },
    /// A mode reason stands in another tier than its prefix or the lock says.
    WrongTier {
        /// The token.
        token: String,
        /// Tier in the manifest.
        found: Tier,
        /// Tier that it belongs to; none if its prefix announces no tier.
        expected: Option<Tier>,
    },
    /// Two different tokens would give the same Rust name.
    NameClash {
        /// List of the second token.
        list: String,
        /// The second token.
        token: String,
        /// The first one.
        with: String,
    },
    /// A reason names an owner code that `OwnerReasonCode` does not have.
    OwnerUnknown {
        /// The reason.
        token: String,
        /// The owner code that it names.
        owner: String,
    },
    /// A reason shows a key that no `/status` document has.
    ShowsUnknown {
        /// The reason.
        token: String,
        /// The key that it names.
        key: String,
    },
    /// The number of minimum keys is not the contract's.
    KeyCount {
        /// How many there are.
        found: usize,
    },
    /// The manifest is for another contract version than the lock.
    ContractVersion {
        /// Version of the lock.
        expected: String,
        /// Version of the manifest.
        found: String,
    },
    /// The lock's digest does not belong to the tokens that stand in the lock.
    LockDigest {
        /// Digest that the lock's tokens give.
        expected: String,
        /// Digest that the lock states.
        found: String,
    },
    /// The lock has a list that the manifest does not know.
    ListUnknown {
        /// The list.
        list: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fake { list, token } => {
                write!(f, "fake token {token}: {list} has it and the lock does not; remove it")
            }
            Self::Missing { list, token } => {
                write!(f, "missing token {token}: the lock has it and {list} does not; restore it")
            }
            Self::Renamed { list, from, to } => {
                write!(f, "renamed token {from}: {list} has {to} in its place; restore {from}")
            }
            Self::Reordered { list, token, expected_index, found_index } => write!(
                f,
                "reordered token {token}: at index {found_index} of {list}, the lock has it at {expected_index}; \
                 restore the order"
            ),
            Self::Duplicated { list, token } => {
                write!(f, "duplicated token {token}: it occurs again in {list}; keep one")
            }
            Self::WrongTier { token, found, expected: Some(expected) } => write!(
                f,
                "wrong tier of token {token}: it stands in tier {} and belongs to tier {}; move it",
                found.name(),
                expected.name()
            ),
            Self::WrongTier { token, found, expected: None } => write!(
                f,
                "wrong tier of token {token}: it stands in tier {} without the prefix {}; correct its name",
                found.name(),
                found.prefix()
            ),
            Self::NameClash { list, token, with } => {
                write!(f, "token {token} of {list} gives the same Rust name as {with}; rename one")
            }
            Self::OwnerUnknown { token, owner } => {
                write!(f, "token {token}: owner code {owner} is not in OwnerReasonCode; correct it")
            }
            Self::ShowsUnknown { token, key } => {
                write!(f, "token {token}: shown key {key} is not in csp_minimum_keys; correct it")
            }
            Self::KeyCount { found } => {
                write!(f, "csp_minimum_keys has {found} keys, the contract has {CSP_MINIMUM_KEY_COUNT}; restore them")
            }
            Self::ContractVersion { expected, found } => {
                write!(f, "contract_version is {found}, the lock is for {expected}; agree on one and lock it")
            }
            Self::LockDigest { expected, found } => write!(
                f,
                "lock states digest {found}, its tokens and contract version give {expected}; restore the lock, or \
                 write it anew with `drillfold registry lock` after a deliberate change"
            ),
            Self::ListUnknown { list } => {
                write!(f, "lock has a list {list} that the manifest does not know; restore the lock")
            }
        }
    }
}

/// Name under which findings about `csp_minimum_keys` are reported.
const KEYS: &str = "csp_minimum_keys";

/// Checks a registry against its lock and against itself; no findings mean that it may be built.
///
/// Findings come in a fixed order: versions and digest, then list after list, then references. Together they are
/// complete: if there is none, the tokens, their order, their tiers, the minimum keys and the contract version all
/// equal the lock's.
#[must_use]
pub fn check(registry: &Registry, lock: &Lock) -> Vec<Finding> {
    let mut findings = Vec::new();
    if registry.contract_version != lock.contract_version {
        findings.push(Finding::ContractVersion {
            expected: lock.contract_version.clone(),
            found: registry.contract_version.clone(),
        });
    }
    let expected = lock.digest_of_tokens();
    if expected != lock.digest {
        findings.push(Finding::LockDigest { expected, found: lock.digest.clone() });
    }
    check_keys(registry, lock, &mut findings);
    let moved = check_tiers(registry, lock, &mut findings);
    check_lists(registry, lock, &moved, &mut findings);
    check_references(registry, &mut findings);
    findings
}

fn check_keys(registry: &Registry, lock: &Lock, findings: &mut Vec<Finding>) {
    if registry.csp_minimum_keys.len() != CSP_MINIMUM_KEY_COUNT {
        findings.push(Finding::KeyCount { found: registry.csp_minimum_keys.len() });
    }
    let found: Vec<&str> = registry.csp_minimum_keys.iter().map(String::as_str).collect();
    let expected: Vec<&str> = lock.csp_minimum_keys.iter().map(String::as_str).collect();
    let found = without_repeats(KEYS, &found, &mut BTreeSet::new(), findings);
    compare(KEYS, &expected, &found, findings);
}

/// Reports mode reasons in a wrong tier and returns their tokens, which are then left out of the comparison of lists:
/// one mistake, one finding.
fn check_tiers(registry: &Registry, lock: &Lock, findings: &mut Vec<Finding>) -> BTreeSet<String> {
    let mut locked_tier = BTreeMap::new();
    for tier in Tier::ALL {
        for code in lock.list(&format!("ModeReasonCode.{}", tier.name())).unwrap_or_default() {
            locked_tier.insert(code.as_str(), tier);
        }
    }
    let mut in_their_tier = BTreeSet::new();
    for reason in &registry.mode_reasons {
        let code = reason.token.code.as_str();
        if locked_tier.get(code) == Some(&reason.tier) {
            in_their_tier.insert(code);
        }
    }
    let mut moved = BTreeSet::new();
    for reason in &registry.mode_reasons {
        let code = reason.token.code.as_str();
        let by_prefix = Tier::of_prefix(code);
        let expected = locked_tier.get(code).copied().or(by_prefix);
        if expected != Some(reason.tier) || by_prefix != Some(reason.tier) {
            let expected = if expected == Some(reason.tier) { by_prefix } else { expected };
            findings.push(Finding::WrongTier { token: code.to_owned(), found: reason.tier, expected });
            // A token that also stands where it belongs is compared there, and its second place is a duplicate.
            if expected.is_some() && locked_tier.contains_key(code) && !in_their_tier.contains(code) {
                moved.insert(code.to_owned());
            }
        }
    }
    moved
}

fn check_lists(registry: &Registry, lock: &Lock, moved: &BTreeSet<String>, findings: &mut Vec<Finding>) {
    let lists = registry.lists();
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut names: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (list, codes) in &lists {
        // Both tiers are one registry, so that a token in both is a duplicate.
        let registry_name = list.split('.').next().unwrap_or(list).to_owned();
        let found = without_repeats(list, codes, seen.entry(registry_name.clone()).or_default(), findings);
        for code in &found {
            let names = names.entry(registry_name.clone()).or_default();
            if let Some(with) = names.insert(variant_name(code), (*code).to_owned()) {
                findings.push(Finding::NameClash { list: list.clone(), token: (*code).to_owned(), with });
            }
        }
        let expected: Vec<&str> = lock.list(list).unwrap_or_default().iter().map(String::as_str).collect();
        let stays = |code: &&str| !(list.starts_with("ModeReasonCode.") && moved.contains(*code));
        let expected: Vec<&str> = expected.into_iter().filter(stays).collect();
        let found: Vec<&str> = found.into_iter().filter(stays).collect();
        compare(list, &expected, &found, findings);
    }
    for (list, _) in &lock.lists {
        if !lists.iter().any(|(known, _)| known == list) {
            findings.push(Finding::ListUnknown { list: list.clone() });
        }
    }
}

/// Reports repeated tokens and returns each token once, at its first place.
fn without_repeats<'a>(
    list: &str,
    codes: &[&'a str],
    seen: &mut BTreeSet<String>,
    findings: &mut Vec<Finding>,
) -> Vec<&'a str> {
    let mut once = Vec::with_capacity(codes.len());
    for code in codes {
        if seen.insert((*code).to_owned()) {
            once.push(*code);
        } else {
            findings.push(Finding::Duplicated { list: list.to_owned(), token: (*code).to_owned() });
        }
    }
    once
}

/// Compares two lists without repeats: unknown and absent tokens, paired into renames where they have the same place,
/// and tokens out of order.
fn compare(list: &str, expected: &[&str], found: &[&str], findings: &mut Vec<Finding>) {
    let mut absent: Vec<usize> = (0..expected.len()).filter(|&index| !found.contains(&expected[index])).collect();
    for (index, code) in found.iter().enumerate() {
        if expected.contains(code) {
            continue;
        }
        let twin = absent.iter().position(|&gone| gone == index || same_neighbours(expected, gone, found, index));
        match twin {
            Some(twin) => findings.push(Finding::Renamed {
                list: list.to_owned(),
                from: expected[absent.remove(twin)].to_owned(),
                to: (*code).to_owned(),
            }),
            None => findings.push(Finding::Fake { list: list.to_owned(), token: (*code).to_owned() }),
        }
    }
    for index in absent {
        findings.push(Finding::Missing { list: list.to_owned(), token: expected[index].to_owned() });
    }
    check_order(list, expected, found, findings);
}

/// Tells whether two places lie between the same tokens.
fn same_neighbours(expected: &[&str], at: usize, found: &[&str], index: usize) -> bool {
    let before = |list: &[&str], index: usize| index.checked_sub(1).and_then(|i| list.get(i)).map(|s| (*s).to_owned());
    let after = |list: &[&str], index: usize| list.get(index + 1).map(|s| (*s).to_owned());
    before(expected, at) == before(found, index) && after(expected, at) == after(found, index)
}

/// Reports the fewest tokens that have to move for the common tokens to stand in the lock's order: all outside a
/// longest increasing run of their places in the lock.
fn check_order(list: &str, expected: &[&str], found: &[&str], findings: &mut Vec<Finding>) {
    let common: Vec<(usize, usize)> = found
        .iter()
        .enumerate()
        .filter_map(|(found_index, code)| {
            expected.iter().position(|other| other == code).map(|expected_index| (expected_index, found_index))
        })
        .collect();
    // run[i]: length of the longest increasing run that begins at i, and the next place in it.
    let mut run: Vec<(usize, Option<usize>)> = vec![(1, None); common.len()];
    for i in (0..common.len()).rev() {
        for j in i + 1..common.len() {
            if common[j].0 > common[i].0 && run[j].0 + 1 > run[i].0 {
                run[i] = (run[j].0 + 1, Some(j));
            }
        }
    }
    let mut kept = BTreeSet::new();
    let longest = run.iter().map(|(length, _)| *length).max().unwrap_or(0);
    let mut next = run.iter().position(|(length, _)| *length == longest);
    while let Some(index) = next {
        kept.insert(index);
        next = run[index].1;
    }
    for (index, (expected_index, found_index)) in common.iter().enumerate() {
        if !kept.contains(&index) {
            findings.push(Finding::Reordered {
                list: list.to_owned(),
                token: found[*found_index].to_owned(),
                expected_index: *expected_index,
                found_index: *found_index,
            });
        }
    }
}

fn check_references(registry: &Registry, findings: &mut Vec<Finding>) {
    let modes = registry.mode_reasons.iter().map(|reason| (&reason.token.code, &reason.shown));
    let opens = registry.open_permission_reasons.iter().map(|reason| (&reason.token.code, &reason.shown));
    for (token, shown) in modes.chain(opens) {
        let Some(shown) = shown else { continue };
        if !registry.owner_reasons.iter().any(|owner| owner.code == shown.owner) {
            findings.push(Finding::OwnerUnknown { token: token.clone(), owner: shown.owner.clone() });
        }
        for key in &shown.shows {
            if !registry.csp_minimum_keys.contains(key) {
                findings.push(Finding::ShowsUnknown { token: token.clone(), key: key.clone() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::lock::tests::LOCK;
    use crate::manifest::tests::{MANIFEST, changed};

    fn findings(change: impl FnOnce(&mut Value)) -> Vec<Finding> {
        let registry = Registry::parse(&changed(change)).expect("the changed manifest is read");
        check(&registry, &Lock::parse(LOCK).expect("the committed lock is read"))
    }

    #[track_caller]
    fn finds(change: impl FnOnce(&mut Value), expected: &[&str]) {
        let found: Vec<String> = findings(change).iter().map(Finding::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found} does not contain {expected}");
        }
    }

    fn kill(manifest: &mut Value) -> &mut Vec<Value> {
        manifest["registries"]["ModeReasonCode"]["Kill"].as_array_mut().expect("a list")
    }

    fn reduce_only(manifest: &mut Value) -> &mut Vec<Value> {
        manifest["registries"]["ModeReasonCode"]["ReduceOnly"].as_array_mut().expect("a list")
    }

    fn rejects(manifest: &mut Value) -> &mut Vec<Value> {
        manifest["registries"]["RejectReasonCode"]["values"].as_array_mut().expect("a list")
    }

    #[test]
    fn committed_registry_has_no_findings() {
        let registry = Registry::parse(MANIFEST).expect("the committed manifest is read");
        assert_eq!(check(&registry, &Lock::parse(LOCK).expect("the committed lock is read")), []);
    }

    #[test]
    fn fake_tokens_are_named() {
        finds(
            |m| {
                let mut fake = kill(m)[0].clone();
                fake["code"] = "KILL_FAKE".into();
                kill(m).insert(3, fake);
            },
            &["fake token KILL_FAKE: ModeReasonCode.Kill"],
        );
        finds(
            |m| rejects(m).push(json!({"code": "BadMood", "text": "No."})),
            &["fake token BadMood: RejectReasonCode"],
        );
    }

    #[test]
    fn missing_tokens_are_named() {
        finds(|m| drop(reduce_only(m).remove(3)), &["missing token REDUCEONLY_BUNKER_MODE_ACTIVE"]);
        finds(|m| drop(rejects(m).pop()), &["missing token DuplicateIntent: the lock has it and RejectReasonCode"]);
        finds(|m| m["registries"]["RejectReasonCode"]["values"] = json!([]), &["missing token"; 33]);
    }

    #[test]
    fn renamed_tokens_are_paired() {
        finds(
            |m| kill(m)[2]["code"] = "KILL_MARGIN".into(),
            &["renamed token KILL_MARGIN_MM_UTIL_CRITICAL: ModeReasonCode.Kill has KILL_MARGIN"],
        );
        finds(
            |m| {
                rejects(m)[9]["code"] = "PricerOdd".into();
                rejects(m).remove(0);
            },
            &["renamed token PricerInputInvalid", "missing token TooSmallAfterQuantization"],
        );
    }

    #[test]
    fn reordered_tokens_are_the_fewest_that_move() {
        finds(
            |m| {
                let first = rejects(m).remove(0);
                rejects(m).push(first);
            },
            &["reordered token TooSmallAfterQuantization: at index 32 of RejectReasonCode, the lock has it at 0"],
        );
        finds(|m| kill(m).swap(1, 2), &["reordered token KILL_"]);
        finds(|m| kill(m).reverse(), &["reordered token KILL_"; 5]);
        finds(
            |m| m["csp_minimum_keys"].as_array_mut().expect("a list").swap(0, 1),
            &["of csp_minimum_keys, the lock has it at"],
        );
    }

    #[test]
    fn duplicated_tokens_are_named_once_each() {
        finds(
            |m| {
                let copy = kill(m)[1].clone();
                kill(m).push(copy);
            },
            &["duplicated token KILL_RISKSTATE_KILL: it occurs again in ModeReasonCode.Kill"],
        );
        finds(
            |m| {
                let copy = kill(m)[1].clone();
                reduce_only(m).push(copy);
            },
            &["wrong tier of token KILL_RISKSTATE_KILL", "duplicated token KILL_RISKSTATE_KILL"],
        );
    }

    #[test]
    fn wrong_tiers_are_named() {
        finds(
            |m| {
                let entry = kill(m).remove(1);
                reduce_only(m).push(entry);
            },
            &["wrong tier of token KILL_RISKSTATE_KILL: it stands in tier ReduceOnly and belongs to tier Kill"],
        );
        finds(
            |m| {
                let mut entry = kill(m)[1].clone();
                entry["code"] = "REDUCEONLY_NEW".into();
                kill(m).push(entry);
            },
            &["wrong tier of token REDUCEONLY_NEW", "fake token REDUCEONLY_NEW"],
        );
        finds(
            |m| {
                let mut entry = kill(m)[1].clone();
                entry["code"] = "BAD_DAY".into();
                kill(m).push(entry);
            },
            &["wrong tier of token BAD_DAY: it stands in tier Kill without the prefix KILL_", "fake token BAD_DAY"],
        );
    }

    #[test]
    fn a_lock_that_follows_a_wrong_tier_does_not_excuse_it() {
        let text = changed(|m| {
            let entry = kill(m).remove(1);
            reduce_only(m).push(entry);
        });
        let registry = Registry::parse(&text).expect("the changed manifest is read");
        let found = check(&registry, &Lock::of(&registry));
        assert_eq!(
            found,
            [Finding::WrongTier {
                token: "KILL_RISKSTATE_KILL".to_owned(),
                found: Tier::ReduceOnly,
                expected: Some(Tier::Kill)
            }]
        );
    }

    #[test]
    fn versions_and_digests_are_bound() {
        finds(|m| m["contract_version"] = "5.3".into(), &["contract_version is 5.3, the lock is for 5.2"]);
        let registry = Registry::parse(MANIFEST).expect("the committed manifest is read");
        let mut lock = Lock::parse(LOCK).expect("the committed lock is read");
        lock.digest.replace_range(7..8, "x");
        assert!(matches!(check(&registry, &lock).as_slice(), [Finding::LockDigest { .. }]));

        // Token and lock changed alike, digest left as it was.
        let text = changed(|m| rejects(m)[0]["code"] = "Tiny".into());
        let registry = Registry::parse(&text).expect("the changed manifest is read");
        let mut lock = Lock::of(&registry);
        lock.digest = Lock::parse(LOCK).expect("the committed lock is read").digest;
        assert!(matches!(check(&registry, &lock).as_slice(), [Finding::LockDigest { .. }]));
    }

    #[test]
    fn references_must_exist() {
        finds(
            |m| kill(m)[0]["owner"] = "NOBODY".into(),
            &["token KILL_WATCHDOG_HEARTBEAT_STALE: owner code NOBODY is not in OwnerReasonCode"],
        );
        finds(
            |m| m["registries"]["OpenPermissionReasonCode"]["values"][3]["shows"][0] = "mood".into(),
            &["token WS_DATA_STALE_RECONCILE_REQUIRED: shown key mood is not in csp_minimum_keys"],
        );
    }

    #[test]
    fn minimum_keys_are_counted_and_unique() {
        finds(
            |m| drop(m["csp_minimum_keys"].as_array_mut().expect("a list").pop()),
            &["csp_minimum_keys has 34 keys", "missing token owner_view"],
        );
        finds(
            |m| m["csp_minimum_keys"][34] = "build_id".into(),
            &["duplicated token build_id", "missing token owner_view"],
        );
        finds(
            |m| m["csp_minimum_keys"].as_array_mut().expect("a list").push("mood".into()),
            &["csp_minimum_keys has 36 keys", "fake token mood"],
        );
    }

    #[test]
    fn names_that_clash_in_rust_are_found() {
        let text = changed(|m| {
            rejects(m)[0]["code"] = "AB_C1".into();
            rejects(m)[1]["code"] = "AB_C_1".into();
        });
        let registry = Registry::parse(&text).expect("the changed manifest is read");
        let found = check(&registry, &Lock::of(&registry));
        assert!(matches!(found.as_slice(), [Finding::NameClash { .. }]), "{found:?}");
    }
}
