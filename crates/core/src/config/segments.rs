//! Segments: the groupings a job watches, which of them are made from which, and the names of
//! segments.

use super::near::nearest;
use crate::event::{ChosenBy, Text, column, dimension};
use std::borrow::Cow;
use std::sync::Arc;

/// The groupings without configuration: the whole stream, the three dimensions in which incidents
/// usually occur, and the pairs with the model version, which distinguish a change of traffic
/// between versions from a change within one.
pub const DEFAULT: &[&[&str]] = &[
    &[],
    &["tenant"],
    &["region"],
    &["model_version"],
    &["model_version", "tenant"],
    &["model_version", "region"],
];

/// Stands for a dimension that an event doesn't carry.
pub const MISSING: &str = "__missing__";
/// Takes the segments above the cap.
pub const OTHER: &str = "__other__";

/// One grouping: a set of dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouping {
    /// Its dimensions, sorted by column name.
    pub by: Vec<Text>,
    /// `segment_by`: the columns joined by commas; empty for the whole stream.
    pub name: Arc<str>,
    /// The columns of its dimensions.
    pub columns: Vec<String>,
    /// The positions of its dimensions in [`Groupings::dimensions`].
    pub positions: Vec<usize>,
    /// The grouping (by index) that it is merged from; itself where it is sketched directly.
    pub parent: usize,
}

impl Grouping {
    /// Whether the operator alone chooses the values of its dimensions, so that all are shown.
    #[must_use]
    pub fn is_operators(&self) -> bool {
        self.by.iter().all(|d| d.chosen_by() == ChosenBy::Operator)
    }
}

/// All groupings of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groupings {
    /// In the order of the configuration.
    pub all: Vec<Grouping>,
    /// Every dimension that any of them uses, sorted by column name.
    pub dimensions: Vec<Text>,
}

impl Groupings {
    /// Groupings from lists of dimension names.
    ///
    /// # Errors
    /// Which list is wrong, and a message, when a name is not a dimension, or is listed twice, or
    /// two lists are equal.
    pub fn new(lists: &[Vec<String>]) -> Result<Self, (usize, String)> {
        let mut all: Vec<Grouping> = Vec::new();
        for (entry, list) in lists.iter().enumerate() {
            let wrong = |message: String| (entry, message);
            let mut by = Vec::new();
            for name in list {
                let d = dimension(name).ok_or_else(|| {
                    let known: Vec<String> = Text::ALL.iter().map(|t| column(t.path())).collect();
                    let meant = nearest(name, known.iter().map(String::as_str))
                        .map_or_else(String::new, |n| format!("; did you mean {n:?}?"));
                    wrong(format!("{name:?} is not a dimension{meant}; dimensions are {}", known.join(", ")))
                })?;
                if by.contains(&d) {
                    return Err(wrong(format!("{name:?} is given twice in one grouping; remove one")));
                }
                by.push(d);
            }
            by.sort_by_key(|d| column(d.path()));
            let columns: Vec<String> = by.iter().map(|d| column(d.path())).collect();
            let name: Arc<str> = columns.join(",").into();
            if all.iter().any(|g| g.name == name) {
                return Err(wrong(format!("the grouping by {name:?} is given twice; remove one")));
            }
            all.push(Grouping { by, name, columns, positions: Vec::new(), parent: 0 });
        }
        let contains = |a: &Grouping, b: &Grouping| b.by.iter().all(|d| a.by.contains(d));
        let maximal: Vec<usize> = (0..all.len())
            .filter(|j| (0..all.len()).all(|k| k == *j || !contains(&all[k], &all[*j])))
            .collect();
        for i in 0..all.len() {
            // The smallest grouping that contains it and is contained in no other: the fewest
            // segments to merge.
            let parent = maximal
                .iter()
                .copied()
                .filter(|&j| contains(&all[j], &all[i]))
                .min_by_key(|&j| all[j].by.len());
            all[i].parent = parent.unwrap_or(i);
        }
        let mut dimensions: Vec<Text> = all.iter().flat_map(|g| g.by.iter().copied()).collect();
        dimensions.sort_by_key(|d| column(d.path()));
        dimensions.dedup();
        for g in &mut all {
            g.positions = g.by.iter().filter_map(|d| dimensions.iter().position(|x| x == d)).collect();
        }
        Ok(Self { all, dimensions })
    }

    /// Indices of the groupings that are sketched directly.
    pub fn direct(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.all.len()).filter(|&i| self.all[i].parent == i)
    }

    /// The grouping with this `segment_by`.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|g| &*g.name == name)
    }

    /// The segment of grouping `to` that a segment of grouping `from` belongs to; `to`'s dimensions
    /// are among `from`'s.
    #[must_use]
    pub fn coarser(&self, from: usize, segment: &str, to: usize) -> String {
        if from == to {
            return segment.to_owned();
        }
        let mut out = String::new();
        // Copied as they are, with their escapes.
        for (dimension, part) in self.all[from].by.iter().zip(raw_parts(segment)) {
            if self.all[to].by.contains(dimension) {
                if !out.is_empty() {
                    out.push(',');
                }
                out.push_str(part);
            }
        }
        out
    }
}

/// Writes a segment's name, `tenant=birch,region=eu`, from columns and values, replacing what
/// `name` had. A `=`, `,` or `\` in them is escaped with a backslash. [`parts`] is the inverse.
pub fn write_name<'n>(name: &mut String, parts: impl Iterator<Item = (&'n str, &'n str)>) {
    name.clear();
    for (column, value) in parts {
        if !name.is_empty() {
            name.push(',');
        }
        push_escaped(name, column);
        name.push('=');
        push_escaped(name, value);
    }
}

/// A segment's name as [`write_name`] makes it.
#[must_use]
pub fn name_of<'n>(parts: impl IntoIterator<Item = (&'n str, &'n str)>) -> String {
    let mut name = String::new();
    write_name(&mut name, parts.into_iter());
    name
}

fn push_escaped(name: &mut String, mut text: &str) {
    // Byte by byte, since this is done for every event.
    while let Some(at) = text.bytes().position(|b| matches!(b, b'=' | b',' | b'\\')) {
        name.push_str(&text[..at]);
        name.push('\\');
        name.push_str(&text[at..=at]);
        text = &text[at + 1..];
    }
    name.push_str(text);
}

/// The value of each dimension of a segment: `tenant=birch` gives `("tenant", "birch")`.
pub fn parts(segment: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    written_parts(segment).filter_map(|(column, value)| Some((plain(column), plain(value?))))
}

/// Column and value of each part of a segment's name, or of a glob over names, with their escapes;
/// no value where the part has none. [`plain`] takes the escapes off.
pub fn written_parts(segment: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    raw_parts(segment).map(|part| split_at(part, b'='))
}

/// The parts of a segment's name between its commas, with their escapes.
fn raw_parts(segment: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(segment).filter(|s| !s.is_empty());
    std::iter::from_fn(move || {
        let (part, behind) = split_at(rest?, b',');
        rest = behind;
        Some(part)
    })
}

/// The text before the first `mark` that is not escaped, and the text after it.
fn split_at(text: &str, mark: u8) -> (&str, Option<&str>) {
    let mut escaped = false;
    for (i, b) in text.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b if b == mark => return (&text[..i], Some(&text[i + 1..])),
            _ => {}
        }
    }
    (text, None)
}

/// A text without its escaping backslashes.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(lists: &[&[&str]]) -> Groupings {
        Groupings::new(&lists.iter().map(|l| l.iter().map(|s| (*s).to_owned()).collect()).collect::<Vec<_>>())
            .unwrap()
    }

    #[test]
    fn coarser_groupings_come_from_finer_ones() {
        let g = of(&[&[], &["tenant"], &["region", "model_version", "tenant"]]);
        assert_eq!(g.direct().collect::<Vec<_>>(), [2]);
        assert_eq!(&*g.all[2].name, "model_version,region,tenant");
        let fine = "model_version=M2,region=eu,tenant=birch";
        assert_eq!(g.coarser(2, fine, 1), "tenant=birch");
        assert_eq!(g.coarser(2, fine, 0), "");
        assert_eq!(parts(fine).last(), Some(("tenant".into(), "birch".into())));
    }

    #[test]
    fn what_separates_is_escaped_in_values() {
        let odd = [("model_version", "a=b, c"), ("region", "\\#1"), ("tenant", "Müller & Söhne")];
        let name = name_of(odd);
        assert_eq!(name, r"model_version=a\=b\, c,region=\\#1,tenant=Müller & Söhne");
        let g = of(&[&[], &["tenant"], &["region", "model_version"], &["region", "model_version", "tenant"]]);
        assert_eq!(g.coarser(3, &name, 1), "tenant=Müller & Söhne");
        assert_eq!(g.coarser(3, &name, 2), name_of(odd.into_iter().take(2)));
        assert_eq!(g.coarser(3, &name, 0), "");
    }

    proptest! {
        #[test]
        fn every_name_parses_back(dimensions in prop::collection::vec((any::<String>(), any::<String>()), 0..4)) {
            let name = name_of(dimensions.iter().map(|(c, v)| (c.as_str(), v.as_str())));
            let back: Vec<_> = parts(&name).map(|(c, v)| (c.into_owned(), v.into_owned())).collect();
            prop_assert_eq!(back, dimensions);
        }

        #[test]
        fn names_of_few_characters_parse_back(dimensions in prop::collection::vec(("[a=,\\\\]{0,4}", "[a=,\\\\]{0,4}"), 0..4)) {
            let name = name_of(dimensions.iter().map(|(c, v)| (c.as_str(), v.as_str())));
            let back: Vec<_> = parts(&name).map(|(c, v)| (c.into_owned(), v.into_owned())).collect();
            prop_assert_eq!(back, dimensions);
        }

        #[test]
        fn no_text_is_too_odd_to_parse(text in any::<String>()) {
            parts(&text).for_each(drop);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let err = |l: &[&[&str]]| {
            Groupings::new(&l.iter().map(|l| l.iter().map(|s| (*s).to_owned()).collect()).collect::<Vec<_>>())
                .unwrap_err()
        };
        let (entry, message) = err(&[&[], &["tenants"]]);
        assert!(entry == 1 && message.contains("\"tenants\" is not a dimension; did you mean \"tenant\"?"));
        assert!(err(&[&["tenant", "tenant"]]).1.contains("twice"));
        assert!(err(&[&["tenant"], &["tenant"]]).1.contains("twice"));
    }
}
