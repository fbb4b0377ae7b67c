//! What somebody probably meant when they wrote something unknown.

/// The one of `known` that is closest to `word`, if it is close enough to be what was meant: at most
/// a third of the letters differ, and never fewer than one may. Of equals the first wins.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance_max = (word.chars().count() / 3).max(1);
    let measured = known.into_iter().map(|candidate| (distance(word, candidate), candidate));
    let near = measured.filter(|(distance, _)| *distance <= distance_max);
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Letters to add, remove, change or swap with their neighbor to get from `from` to `to`: the
/// optimal string alignment distance (Boytsov 2011, section 2.2.1).
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, &a) in from.iter().enumerate() {
        let mut row = vec![i + 1; to.len() + 1];
        for (j, &b) in to.iter().enumerate() {
            let changed = last[j] + usize::from(a != b);
            let mut best = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a == to[j - 1] && b == from[i - 1] {
                best = best.min(before_last[j - 1] + 1);
            }
            row[j + 1] = best;
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (from, to, expected) in
            [("", "", 0), ("", "ab", 2), ("seeds", "seedz", 1), ("sedes", "seeds", 1), ("quic", "http", 4)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }

    #[test]
    fn suggests_only_what_is_close() {
        let known = ["quic", "advertise", "http"];
        assert_eq!(closest("quick", known), Some("quic"));
        assert_eq!(closest("advertize", known), Some("advertise"));
        assert_eq!(closest("htttp", known), Some("http"));
        assert_eq!(closest("bind", known), None);
        assert_eq!(closest("", known), None);
    }
}
