//! Lists of what a command knows by name.

use serde::Serialize;

/// A name that may be given, and what it stands for.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Named {
    name: &'static str,
    about: &'static str,
}

impl Named {
    /// One of a list.
    pub fn new(name: &'static str, about: &'static str) -> Named {
        Named { name, about }
    }
}

/// Lists under their titles, all names as wide as the longest.
pub fn listing(lists: &[(&str, &[Named])]) -> String {
    let all = lists.iter().flat_map(|(_, list)| list.iter());
    let width = all.map(|named| named.name.len()).max().unwrap_or(0);
    let line = |Named { name, about }: &Named| format!("  {name:width$}  {about}\n");
    let lines = |list: &[Named]| list.iter().map(line).collect::<String>();
    lists.iter().map(|(title, list)| format!("{title}:\n{}", lines(list))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_line_up_over_all_lists() {
        let (short, long) = ([Named::new("a", "one")], [Named::new("long", "two")]);
        let expected = "first:\n  a     one\nsecond:\n  long  two\n";
        assert_eq!(listing(&[("first", &short), ("second", &long)]), expected);
    }
}
