//! A pack held against the same pack made again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

use super::{
    pack::Pack,
    proof::{PROVENANCE_FILE, SUMS_FILE, provenance_fault},
};
use crate::contract::{config::sha256_hex, diff::diff};

/// Signatures over the sums, as ssh-keygen and minisign name them.
const SIGNATURE_FILES: [&str; 2] = ["proof/SHA256SUMS.sig", "proof/SHA256SUMS.minisig"];

/// What was found of one file of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileVerdict {
    /// As it is when made again, and as the sums have it.
    Same,
    /// Not so; each way in which it differs.
    Different(Vec<String>),
    /// Not there.
    Missing,
    /// There, and no part of the pack.
    Extra,
    /// A signature over the sums, which is for the program that made it to check.
    Signature,
}

impl FileVerdict {
    /// Compares a file with the same made again.
    #[must_use]
    pub fn of(again: &[u8], found: &[u8]) -> Self {
        if again == found { Self::Same } else { Self::Different(vec![first_difference(again, found)]) }
    }

    /// True where nothing is wrong with the file that can be seen here.
    #[must_use]
    pub fn holds(&self) -> bool {
        matches!(self, Self::Same | Self::Signature)
    }

    /// Returns the verdict in a word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Different(_) => "different",
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Signature => "signature",
        }
    }
}

impl fmt::Display for FileVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same | Self::Missing | Self::Extra => f.write_str(self.word()),
            Self::Different(how) => write!(f, "{}: {}", self.word(), how.join("; ")),
            Self::Signature => write!(f, "{}, not checked here", self.word()),
        }
    }
}

/// Holds the files of a pack against its own sums and against the pack as it was made again, where it could be. Every file
/// that is there or should be has a verdict.
#[must_use]
pub fn verify_files(found: &Pack, again: Option<&Pack>) -> BTreeMap<String, FileVerdict> {
    let sums = found.get(SUMS_FILE).map_or(&[][..], Vec::as_slice);
    let (listed, mut sums_faults) = parse_sums(sums);
    let mut paths: BTreeSet<&String> = found.keys().chain(listed.keys()).collect();
    paths.extend(again.iter().flat_map(|again| again.keys()));
    let sums_file = SUMS_FILE.to_owned();
    paths.insert(&sums_file);
    let mut verdicts = BTreeMap::new();
    for path in paths {
        let Some(bytes) = found.get(path) else {
            verdicts.insert(path.clone(), FileVerdict::Missing);
            continue;
        };
        let expected = again.map(|again| again.get(path));
        let mut how = Vec::new();
        let is_own = [SUMS_FILE, PROVENANCE_FILE].contains(&path.as_str());
        if path == PROVENANCE_FILE {
            how.extend(provenance_fault(bytes, sums));
        } else if path == SUMS_FILE {
            how.append(&mut sums_faults);
        } else if let Some(sum) = listed.get(path)
            && *sum != sha256_hex(bytes)
        {
            how.push(format!("its SHA-256 is not the one in {SUMS_FILE}"));
        }
        if let Some(Some(expected)) = expected
            && expected != bytes
        {
            how.push(first_difference(expected, bytes));
        }
        let is_known = is_own || expected.map_or(listed.contains_key(path), |expected| expected.is_some());
        let verdict = match (is_known, how.is_empty()) {
            (false, _) if SIGNATURE_FILES.contains(&path.as_str()) => FileVerdict::Signature,
            (false, _) => FileVerdict::Extra,
            (true, true) => FileVerdict::Same,
            (true, false) => FileVerdict::Different(how),
        };
        verdicts.insert(path.clone(), verdict);
    }
    verdicts
}

/// Reads sums as `sha256sum` writes them: the sum of each path, and what is wrong with lines that are none.
fn parse_sums(bytes: &[u8]) -> (BTreeMap<String, String>, Vec<String>) {
    let (mut listed, mut faults) = (BTreeMap::new(), Vec::new());
    let Ok(text) = std::str::from_utf8(bytes) else {
        return (listed, vec!["not UTF-8 text".to_owned()]);
    };
    for (number, line) in (1..).zip(text.lines()) {
        let sum_and_path = line.split_once("  ").filter(|(sum, path)| {
            let is_sum = sum.len() == 64 && sum.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
            is_sum && !path.is_empty()
        });
        match sum_and_path {
            None => faults.push(format!("line {number} is no SHA-256 with two spaces and a path behind it")),
            Some((sum, path)) => {
                if listed.insert(path.to_owned(), sum.to_owned()).is_some() {
                    faults.push(format!("line {number} lists {path} again"));
                }
            }
        }
    }
    (listed, faults)
}

/// Says where two files first differ: by key where both are JSON documents, by line where both are text, by byte otherwise.
fn first_difference(expected: &[u8], found: &[u8]) -> String {
    let documents = (serde_json::from_slice::<Value>(expected), serde_json::from_slice::<Value>(found));
    if let (Ok(expected), Ok(found)) = documents
        && let Some(difference) = diff(&expected, &found).first()
    {
        return shortened(&difference.to_string());
    }
    if let (Ok(expected), Ok(found)) = (std::str::from_utf8(expected), std::str::from_utf8(found)) {
        let (mut left, mut right) = (expected.split('\n'), found.split('\n'));
        for number in 1.. {
            match (left.next(), right.next()) {
                (None, None) => break,
                (left, right) if left == right => {}
                (Some(left), Some(right)) => {
                    return format!("line {number}: expected {:?}, found {:?}", shortened(left), shortened(right));
                }
                (Some(_), None) => return format!("ends before line {number}"),
                (None, Some(_)) => return format!("goes on at line {number}"),
            }
        }
    }
    let at = expected.iter().zip(found).position(|(expected, found)| expected != found);
    let at = at.unwrap_or_else(|| expected.len().min(found.len()));
    format!("byte {at} of {}; made again it has {}", found.len(), expected.len())
}

/// Longest piece of a file in a message, characters.
const SHOWN_MAX: usize = 160;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::proof::sums;

    fn pack() -> Pack {
        let mut files: Pack = [("notes.md", "one\ntwo\n"), ("a.json", "{\"a\": 1}"), ("proof/x.wal", "\u{1}\u{2}")]
            .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
            .into();
        let sums = sums(&files);
        files.insert(SUMS_FILE.to_owned(), sums.into_bytes());
        files
    }

    fn all_the_same(verdicts: &BTreeMap<String, FileVerdict>) -> bool {
        verdicts.values().all(|verdict| *verdict == FileVerdict::Same)
    }

    #[test]
    fn a_pack_is_the_same_with_and_without_being_made_again() {
        let pack = pack();
        for again in [None, Some(&pack)] {
            let verdicts = verify_files(&pack, again);
            assert_eq!(verdicts.len(), 4);
            assert!(all_the_same(&verdicts), "{verdicts:?}");
        }
    }

    #[test]
    fn what_is_changed_missing_or_extra_is_named() {
        let whole = pack();
        for again in [None, Some(&whole)] {
            let verdict = |found: &Pack, path: &str| verify_files(found, again).get(path).cloned();
            for path in whole.keys() {
                let mut found = whole.clone();
                found.remove(path);
                assert_eq!(verdict(&found, path), Some(FileVerdict::Missing), "{path}");
                let mut found = whole.clone();
                if let Some(byte) = found.get_mut(path).and_then(|bytes| bytes.first_mut()) {
                    *byte ^= 1;
                }
                // Without the pack made again a sum that changed tells on the file that it is of.
                let verdicts = verify_files(&found, again);
                assert!(!all_the_same(&verdicts), "{path}");
                if again.is_some() || path != SUMS_FILE {
                    assert!(matches!(verdicts.get(path), Some(FileVerdict::Different(_))), "{path}: {verdicts:?}");
                }
            }
            let mut found = whole.clone();
            found.insert("proof/more".to_owned(), Vec::new());
            assert_eq!(verdict(&found, "proof/more"), Some(FileVerdict::Extra));
            let mut found = whole.clone();
            found.insert(SIGNATURE_FILES[0].to_owned(), b"signed".to_vec());
            assert_eq!(verdict(&found, SIGNATURE_FILES[0]), Some(FileVerdict::Signature));
            assert!(verify_files(&found, again).values().all(FileVerdict::holds));
        }
    }

    #[test]
    fn a_difference_says_where() {
        let said = |expected: &str, found: &str| first_difference(expected.as_bytes(), found.as_bytes());
        assert_eq!(said("{\"a\": {\"b\": 1}}", "{\"a\": {\"b\": 2}}"), "a.b: expected 1, found 2");
        assert_eq!(said("one\ntwo\n", "one\n2\n"), "line 2: expected \"two\", found \"2\"");
        assert_eq!(said("one\n", "one"), "ends before line 2");
        assert_eq!(said("one", "one\nmore"), "goes on at line 2");
        assert_eq!(first_difference(&[0xff, 1, 2], &[0xff, 2]), "byte 1 of 2; made again it has 3");
        // The same value written in another way is a difference all the same.
        assert_eq!(said("{\"a\":1}", "{\"a\": 1}"), "line 1: expected \"{\\\"a\\\":1}\", found \"{\\\"a\\\": 1}\"");
    }

    #[test]
    fn sums_that_are_none_are_told_by_line() {
        let sum = "0".repeat(64);
        let text = format!("{sum}  a\nnothing\n{sum} b\n{sum}  a\n");
        let (listed, faults) = parse_sums(text.as_bytes());
        assert_eq!(listed.len(), 1);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[2].contains("line 4"), "{faults:?}");
    }
}
