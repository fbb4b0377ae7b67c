//! Tables for people: plain ASCII borders, numbers to the right.

use comfy_table::presets::ASCII_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Table};

/// To which side a column's cells go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table with these columns; `empty` stands for it when there are no rows. Ends with a newline.
///
/// Control characters are shown as `?`: what other nodes and agents say must not drive the terminal.
pub fn table(columns: &[(&str, Side)], rows: Vec<Vec<String>>, empty: &str) -> String {
    if rows.is_empty() {
        return format!("{empty}\n");
    }
    let mut table = Table::new();
    table.load_style(ASCII_FULL_CONDENSED);
    table.set_header(columns.iter().map(|(title, side)| cell(title, *side)));
    for row in rows {
        table.add_row(columns.iter().zip(row).map(|((_, side), text)| cell(&text, *side)));
    }
    format!("{table}\n")
}

/// Lines of a title and its value, the values under each other. Control characters as in [`table`].
pub fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(title, _)| title.chars().count()).max().unwrap_or(0);
    facts.iter().map(|(title, value)| format!("{title:width$}  {}\n", printable(value))).collect()
}

fn cell(text: &str, side: Side) -> Cell {
    let alignment = match side {
        Side::Left => CellAlignment::Left,
        Side::Right => CellAlignment::Right,
    };
    Cell::new(printable(text)).set_alignment(alignment)
}

/// The text with `?` for each control character.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A number with a comma before every three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_right_aligned_and_borders_are_plain() {
        let columns = [("NAME", Side::Left), ("AGENTS", Side::Right)];
        let rows =
            vec![vec!["a".to_owned(), "7".to_owned()], vec!["bb\x1b[31m".to_owned(), "12,345".to_owned()]];
        let expected = "\
+---------+--------+
| NAME    | AGENTS |
+==================+
| a       |      7 |
| bb?[31m | 12,345 |
+---------+--------+
";
        assert_eq!(table(&columns, rows, "none"), expected);
        assert_eq!(table(&columns, vec![], "no nodes"), "no nodes\n");
    }

    #[test]
    fn digits_are_grouped_by_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn facts_line_up() {
        assert_eq!(facts(&[("a", "1".to_owned()), ("long", "2".to_owned())]), "a     1\nlong  2\n");
    }
}
