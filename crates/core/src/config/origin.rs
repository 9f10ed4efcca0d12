//! Where a configuration was read: the file and the line of each key, for errors that are found
//! after parsing.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The file and lines of a configuration; empty for one that was made without a file.
#[derive(Clone, Default)]
pub struct Origin {
    file: Option<Arc<str>>,
    /// Lines by dotted key, list entries by number: `rules[2].when`.
    lines: Arc<BTreeMap<String, usize>>,
}

impl fmt::Debug for Origin {
    /// Prints nothing, so that two configurations with the same settings look the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Origin")
    }
}

impl Origin {
    pub(super) fn new(file: &str, map: &Map) -> Self {
        Self { file: Some(file.into()), lines: Arc::new(map.lines.clone()) }
    }

    /// `"job.toml:12: "` for a key, or for the nearest table around it that the file has; empty
    /// without a file.
    #[must_use]
    pub fn place(&self, key: &str) -> String {
        let Some(file) = &self.file else { return String::new() };
        let mut key = key;
        loop {
            if let Some(line) = self.lines.get(key) {
                return format!("{file}:{line}: ");
            }
            match key.rfind(['.', '[']) {
                Some(at) => key = &key[..at],
                None => return format!("{file}: "),
            }
        }
    }
}

/// The place of every key of a text.
#[derive(Debug, Default)]
pub(super) struct Map {
    lines: BTreeMap<String, usize>,
    /// Dotted keys with the bytes that their values take.
    values: Vec<(String, Range<usize>)>,
}

impl Map {
    pub(super) fn of(text: &str, table: &DeTable<'_>) -> Self {
        let starts: Vec<usize> =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut map = Self::default();
        map.table("", table, &starts);
        map
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>, starts: &[usize]) {
        for (name, value) in table {
            let dot = if prefix.is_empty() { "" } else { "." };
            let key = format!("{prefix}{dot}{}", name.get_ref());
            self.lines.insert(key.clone(), line_of(starts, name.span().start));
            self.value(key, value, starts);
        }
    }

    fn value(&mut self, key: String, value: &Spanned<DeValue<'_>>, starts: &[usize]) {
        match value.get_ref() {
            DeValue::Table(table) => self.table(&key, table, starts),
            DeValue::Array(list) => {
                for (i, entry) in list.iter().enumerate() {
                    let key = format!("{key}[{i}]");
                    self.lines.insert(key.clone(), line_of(starts, entry.span().start));
                    self.value(key, entry, starts);
                }
            }
            _ => {}
        }
        self.values.push((key, value.span()));
    }

    /// The innermost key whose value is at these bytes.
    pub(super) fn key_at(&self, at: &Range<usize>) -> Option<&str> {
        let around = self.values.iter().filter(|(_, span)| span.start <= at.start && at.end <= span.end);
        around.min_by_key(|(_, span)| span.len()).map(|(key, _)| key.as_str())
    }
}

fn line_of(starts: &[usize], byte: usize) -> usize {
    starts.partition_point(|s| *s <= byte).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_lines_and_those_that_are_absent_the_line_around_them() {
        let text = "[windows]\npane = \"1m\"\n\n[[rules]]\nname = \"a\"\n[[rules]]\nname = \"b\"\nwindow = [\n \"x\"]\n";
        let map = Map::of(text, DeTable::parse(text).unwrap().get_ref());
        let origin = Origin::new("job.toml", &map);
        for (key, place) in [
            ("windows.pane", "job.toml:2: "),
            ("windows.lateness", "job.toml:1: "),
            ("rules[1].name", "job.toml:7: "),
            ("rules[1].when", "job.toml:6: "),
            ("rules[1].window[0]", "job.toml:9: "),
            ("alerts.webhook", "job.toml: "),
        ] {
            assert_eq!(origin.place(key), place, "{key}");
        }
        assert_eq!(Origin::default().place("windows.pane"), "");
        let at = text.find("\"1m\"").unwrap();
        assert_eq!(map.key_at(&(at..at + 4)), Some("windows.pane"));
    }
}
