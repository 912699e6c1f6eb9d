//! How answers are shown: tables for people, JSON for programs, ids for shells.

use std::fmt::Display;
use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// How answers are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// One id a line.
    Ids,
}

/// The way out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// How answers are wanted.
    pub(crate) format: Format,
    /// Sizes as plain numbers.
    pub(crate) raw_bytes: bool,
}

/// One column: its heading and the path of the value in a row, such as `extend_info.size`.
pub(crate) type Column = (&'static str, &'static str);

impl Output {
    /// Shows a list.
    pub(crate) fn list(&self, rows: &[Value], columns: &[Column]) {
        match self.format {
            Format::Json => print_json(&Value::from(rows.to_vec())),
            Format::Ids => rows.iter().for_each(|row| print_line(cell(row, "id"))),
            Format::Table => {
                let mut table = new_table();
                table.set_header(columns.iter().map(|(heading, _)| *heading));
                for row in rows {
                    table.add_row(columns.iter().map(|(_, path)| self.shown(row, path)));
                }
                print_line(table);
            }
        }
    }

    /// Shows one thing.
    pub(crate) fn one(&self, row: &Value, columns: &[Column]) {
        match self.format {
            Format::Json => print_json(row),
            Format::Ids => print_line(cell(row, "id")),
            Format::Table => {
                let mut table = new_table();
                for (heading, path) in columns {
                    table.add_row([(*heading).to_owned(), self.shown(row, path)]);
                }
                print_line(table);
            }
        }
    }

    /// Says that something was done; programs read the exit code instead.
    pub(crate) fn done(&self, sentence: &str) {
        if self.format == Format::Table {
            print_line(sentence);
        }
    }

    /// A value that stands alone, such as an invitation.
    pub(crate) fn value(&self, name: &str, value: &str) {
        match self.format {
            Format::Json => print_json(&serde_json::json!({ name: value })),
            Format::Table | Format::Ids => print_line(value),
        }
    }

    fn shown(&self, row: &Value, path: &str) -> String {
        let value = at(row, path);
        match value.as_u64() {
            Some(bytes) if path.ends_with("_bytes") && !self.raw_bytes => size(bytes),
            _ => printable(&text_of(value)),
        }
    }
}

/// The value at a path of keys; null if there is none.
pub(crate) fn at<'a>(row: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(row, |value, key| &value[key])
}

/// The value at a path as text; empty if there is none.
pub(crate) fn cell(row: &Value, path: &str) -> String {
    text_of(at(row, path))
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(members) => members.iter().map(text_of).collect::<Vec<_>>().join(", "),
        Value::Object(map) if map.contains_key("name") => text_of(&map["name"]),
        other => other.to_string(),
    }
}

/// A text that cannot steer the terminal: others may have written it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A size in IEC units, such as `1.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit_bytes = 1024u64;
    if bytes < unit_bytes {
        return format!("{bytes} B");
    }
    let mut unit = units[0];
    for next in &units[1..] {
        if bytes / 1024 < unit_bytes {
            break;
        }
        unit_bytes *= 1024;
        unit = next;
    }
    let tenths = u128::from(bytes) * 10 / u128::from(unit_bytes);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// One line on standard output. Whoever reads it may have seen enough and closed it.
pub(crate) fn print_line(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Pretty JSON on standard output.
pub(crate) fn print_json(value: &Value) {
    print_line(serde_json::to_string_pretty(value).expect("a JSON value can be written"));
}

fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_are_shown_in_iec_units() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn texts_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc"), "a [2Jb  c");
    }

    #[test]
    fn cells_are_found_by_path_and_missing_ones_are_empty() {
        let row = json!({ "a": { "b": 1 }, "list": [{ "name": "x" }, { "name": "y" }] });
        assert_eq!(cell(&row, "a.b"), "1");
        assert_eq!(cell(&row, "a.c.d"), "");
        assert_eq!(cell(&row, "list"), "x, y");
    }
}
