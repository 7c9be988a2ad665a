//! The difference of two status documents: by key, type-aware, in a stable order.
//!
//! Keys come in the order of the expected document, then those that only the found one has, sorted.

use std::fmt;

use serde_json::Value;

/// One place at which two documents differ.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Difference {
    /// Path of the value: `mode_reasons`, `owner_view.unblock[0].current`.
    pub path: String,
    /// What was expected; `None` where the key should not be.
    pub expected: Option<Value>,
    /// What was found; `None` where the key is missing.
    pub found: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
        write!(f, "{}: expected {}, found {}", self.path, shown(&self.expected), shown(&self.found))
    }
}

/// Returns every place at which two documents differ. Objects are compared key by key, arrays of objects entry by entry;
/// any other value, a list of tokens too, is compared as a whole.
#[must_use]
pub fn diff(expected: &Value, found: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    compare("", expected, found, &mut differences);
    differences
}

/// Returns the differences as `diff.txt` has them, a line each; empty where there are none.
#[must_use]
pub fn to_text(differences: &[Difference]) -> String {
    differences.iter().map(|difference| format!("{difference}\n")).collect()
}

fn compare(path: &str, expected: &Value, found: &Value, differences: &mut Vec<Difference>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (key, value) in expected {
                let path = joined(path, key);
                match found.get(key) {
                    Some(other) => compare(&path, value, other, differences),
                    None => differences.push(Difference { path, expected: Some(value.clone()), found: None }),
                }
            }
            let mut extra: Vec<&String> = found.keys().filter(|key| !expected.contains_key(*key)).collect();
            extra.sort();
            for key in extra {
                differences.push(Difference {
                    path: joined(path, key),
                    expected: None,
                    found: found.get(key).cloned(),
                });
            }
        }
        (Value::Array(left), Value::Array(right)) if left.iter().chain(right).any(Value::is_object) => {
            for place in 0..left.len().max(right.len()) {
                let path = format!("{path}[{place}]");
                match (left.get(place), right.get(place)) {
                    (Some(expected), Some(found)) => compare(&path, expected, found, differences),
                    (expected, found) => {
                        differences.push(Difference { path, expected: expected.cloned(), found: found.cloned() })
                    }
                }
            }
        }
        (expected, found) if expected == found => {}
        (expected, found) => differences.push(Difference {
            path: path.to_owned(),
            expected: Some(expected.clone()),
            found: Some(found.clone()),
        }),
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(expected: &Value, found: &Value, lines: &[&str]) {
        let text: Vec<String> = diff(expected, found).iter().map(ToString::to_string).collect();
        assert_eq!(text, lines);
    }

    #[test]
    fn equal_documents_have_no_difference() {
        check(&json!({"a": [1, {"b": null}]}), &json!({"a": [1, {"b": null}]}), &[]);
    }

    #[test]
    fn every_difference_is_named_by_its_path() {
        check(
            &json!({"a": 1, "list": ["x"], "view": {"rows": [{"k": "v"}]}, "gone": true}),
            &json!({"a": "1", "list": ["x", "y"], "view": {"rows": [{"k": "w"}, {"k": "z"}]}, "new": 0}),
            &[
                "a: expected 1, found \"1\"",
                "list: expected [\"x\"], found [\"x\",\"y\"]",
                "view.rows[0].k: expected \"v\", found \"w\"",
                "view.rows[1]: expected nothing, found {\"k\":\"z\"}",
                "gone: expected true, found nothing",
                "new: expected nothing, found 0",
            ],
        );
    }
}
