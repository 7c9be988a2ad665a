//! The nearest known name to one that is not known, for messages.

/// Longest name in bytes for which a suggestion is looked for; the work grows with the product of the lengths.
const LENGTH_MAX: usize = 80;

/// Returns the known name nearest to `name`, if one is near enough to be meant: at most a third of the letters differ, or
/// every word of the name stands in the known one, too.
///
/// Of equally near names the first one wins. Letters' case and the difference of `-` and `_` count nothing.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.is_empty() || name.len() > LENGTH_MAX {
        return None;
    }
    let wanted = folded(name);
    let near = (wanted.len() / 3).max(1);
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= LENGTH_MAX)
        .filter_map(|candidate| {
            let folded = folded(candidate);
            let distance = distance(&wanted, &folded);
            let worded = || has_words(&folded, &wanted);
            if distance <= near {
                Some((distance, candidate))
            } else if worded() {
                Some((distance.saturating_add(LENGTH_MAX), candidate))
            } else {
                None
            }
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns `; did you mean` with the nearest known name, or nothing.
#[must_use]
pub fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

fn folded(name: &str) -> Vec<char> {
    name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Tells whether `name` has two words or more and `candidate` has all of them.
fn has_words(candidate: &[char], name: &[char]) -> bool {
    let words = |text: &[char]| text.split(|c| matches!(c, '_' | '.')).map(<[char]>::to_vec).collect::<Vec<_>>();
    let (wanted, found) = (words(name), words(candidate));
    wanted.len() > 1 && wanted.iter().all(|word| !word.is_empty() && found.contains(word))
}

/// Counts insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["ws_stale_threshold_ms", "ws_stale_clear_s", "wal_queue_depth"];
        for (name, expected) in [
            ("ws_stale_treshold_ms", Some("ws_stale_threshold_ms")),
            ("WS-STALE-CLEAR-S", Some("ws_stale_clear_s")),
            ("wal_qeuue_depth", Some("wal_queue_depth")),
            ("wal_depth", Some("wal_queue_depth")),
            ("latency", None),
            ("depth", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
        assert_eq!(nearest(&"x".repeat(1000), known), None);
    }

    #[test]
    fn a_swap_of_neighbours_counts_once() {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&letters("ab"), &letters("ba")), 1);
        assert_eq!(distance(&letters("kitten"), &letters("sitting")), 3);
        assert_eq!(distance(&letters(""), &letters("abc")), 3);
    }
}
