//! Drill 8, trigger A: five kinds of bad manifest, each put through the registry check.
//!
//! Source: drill checklist, drill 8.

use std::fmt::Write as _;

use crate::contract::{MANIFEST, REGISTRY_LOCK, registry_check::check_registry};

/// Returns what `registry check` says of the real manifest and of five spoilt ones, and whether it is as it should be: the
/// real one accepted, each spoilt one refused with its token's name.
#[must_use]
pub fn registry_proof() -> (String, bool) {
    let mut text = String::new();
    let mut as_expected = true;
    for (title, manifest, token) in cases() {
        let (refused, lines) = match check_registry(&manifest, REGISTRY_LOCK) {
            Ok(report) => (!report.findings.is_empty(), report.lines),
            Err(error) => (true, vec![error.to_string()]),
        };
        let named = token.as_ref().is_none_or(|token| lines.iter().any(|line| line.contains(token.as_str())));
        as_expected &= refused == token.is_some() && named;
        let _ = writeln!(text, "# {title}: {}", if refused { "refused" } else { "accepted" });
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
        text.push('\n');
    }
    (text, as_expected)
}

/// Returns each case's title, its manifest, and the token that must be named.
fn cases() -> Vec<(&'static str, String, Option<String>)> {
    let kill = drillfold_kernel::registry::ModeReason::ALL.map(|reason| reason.token());
    let [first, second, ..] = kill;
    let reduce_only = kill.last().copied().unwrap_or_default();
    let quoted = |token: &str| format!("\"{token}\"");
    let fake = format!("{first}_FAKE");
    let entry = |token: &str| -> Option<(usize, usize)> {
        // An entry is the object around the line that has the token as its code.
        let at = MANIFEST.find(&quoted(token))?;
        let open = MANIFEST.get(..at)?.rfind('{')?;
        let close = at + MANIFEST.get(at..)?.find('}')? + 1;
        Some((open, close))
    };
    let entry_text = |token: &str| entry(token).and_then(|(open, close)| MANIFEST.get(open..close)).unwrap_or_default();
    let (one, two) = (entry_text(first), entry_text(second));
    let added = MANIFEST.replacen(one, &format!("{one},\n{}", one.replacen(&quoted(first), &quoted(&fake), 1)), 1);
    let renamed = MANIFEST.replacen(&quoted(second), &quoted(&fake), 1);
    let reordered = MANIFEST.replacen(one, "@one@", 1).replacen(two, one, 1).replacen("@one@", two, 1);
    let duplicated = MANIFEST.replacen(one, &format!("{one},\n{one}"), 1);
    let moved = entry_text(reduce_only);
    let wrong_tier = MANIFEST.replacen(one, &format!("{one},\n{moved}"), 1);
    vec![
        ("the manifest as it is", MANIFEST.to_owned(), None),
        ("a fake token", added, Some(fake.clone())),
        ("a renamed token", renamed, Some(fake)),
        ("two tokens in another order", reordered, Some(first.to_owned())),
        ("a token twice", duplicated, Some(first.to_owned())),
        ("a token in the wrong tier", wrong_tier, Some(reduce_only.to_owned())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_manifest_is_accepted_and_each_spoilt_one_is_refused_by_name() {
        let (text, as_expected) = registry_proof();
        assert!(as_expected, "{text}");
        assert_eq!(text.matches(": refused").count(), 5, "{text}");
        assert_eq!(text.matches(": accepted").count(), 1, "{text}");
    }
}
