//! Names as they are written: admitted, escaped or hashed once per value and thread, and shared.

use super::IdHasher;
use crate::event::text::{archived, escape, hashed, is_hashed, is_name, normal};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Values kept per table; beyond that it is cleared.
const MAX_VALUES: usize = 1 << 16;
/// Bytes of raw text kept per table; beyond that it is cleared.
const MAX_BYTES: usize = 8 << 20;
/// Longest value that is kept, in bytes: a longer one is not a name, and a text of that length
/// hardly occurs twice.
const MAX_KEPT: usize = 2048;

/// How a field's values are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NameForm {
    /// The values come from an archive, which has them in written form.
    pub archived: bool,
    /// They are always written as their hash.
    pub hidden: bool,
}

/// What a raw value is written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrittenName {
    /// Its text or its hash; `None` where the value is blank.
    pub text: Option<Arc<str>>,
    /// It is not a name, and so written as its hash.
    pub refused: bool,
}

impl WrittenName {
    fn of(raw: &str, way: NameForm, hasher: &IdHasher) -> Self {
        if way.archived && is_hashed(raw) {
            return Self { text: Some(raw.into()), refused: false };
        }
        let name = normal(if way.archived { archived(raw) } else { raw });
        if name.is_empty() {
            return Self { text: None, refused: false };
        }
        let fits = is_name(&name);
        let text = if fits && !way.hidden {
            escape(&name).as_ref().into()
        } else {
            hashed(hasher.name(&name)).into()
        };
        Self { text: Some(text), refused: !fits && !way.hidden }
    }
}

/// Raw values of one form and how they are written.
#[derive(Debug, Default)]
struct NameTable {
    known: FxHashMap<Box<str>, WrittenName>,
    bytes: usize,
}

/// Values seen recently; one table per form, since each form writes a raw value differently.
#[derive(Debug, Default)]
pub(super) struct NameCache {
    tables: [NameTable; 4],
}

impl NameCache {
    pub(super) fn get(&mut self, raw: &str, way: NameForm, hasher: &IdHasher) -> WrittenName {
        let table = &mut self.tables[usize::from(way.archived) + 2 * usize::from(way.hidden)];
        if let Some(known) = table.known.get(raw) {
            return known.clone();
        }
        let known = WrittenName::of(raw, way, hasher);
        if raw.len() <= MAX_KEPT {
            if table.known.len() >= MAX_VALUES || table.bytes >= MAX_BYTES {
                table.known.clear();
                table.bytes = 0;
            }
            table.bytes += raw.len();
            table.known.insert(raw.into(), known.clone());
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: NameForm = NameForm { archived: false, hidden: false };
    const HIDDEN: NameForm = NameForm { archived: false, hidden: true };
    const ARCHIVED: NameForm = NameForm { archived: true, hidden: false };

    fn text(names: &mut NameCache, raw: &str, way: NameForm) -> String {
        names.get(raw, way, &IdHasher::new("k")).text.map_or_else(String::new, |t| t.to_string())
    }

    #[test]
    fn one_value_is_written_in_each_field_as_that_field_wants_it() {
        let mut names = NameCache::default();
        for _ in 0..2 {
            assert_eq!(text(&mut names, "Acme Inc.", PLAIN), "Acme Inc.");
            let hash = text(&mut names, "Acme Inc.", HIDDEN);
            assert!(is_hashed(&hash), "{hash}");
            assert_eq!(text(&mut names, &hash, ARCHIVED), hash, "a hash of ours stays");
            assert_eq!(text(&mut names, &hash, PLAIN), format!("\\{hash}"), "one of a producer's is a name");
            assert_eq!(text(&mut names, " \n", PLAIN), "");
            assert_eq!(text(&mut names, "__invalid__", ARCHIVED), "", "nobody knows what it was");
        }
    }

    #[test]
    fn what_is_no_name_keeps_its_identity_and_is_called_refused() {
        let (mut names, hasher) = (NameCache::default(), IdHasher::new("k"));
        let (a, b) = ("a cat ".repeat(40), "a dog ".repeat(40));
        for _ in 0..2 {
            let (cat, dog) = (names.get(&a, PLAIN, &hasher), names.get(&b, PLAIN, &hasher));
            assert!(cat.refused && dog.refused && cat != dog);
            assert!(is_hashed(&cat.text.unwrap()));
            assert_eq!(
                names.get(&format!(" {a}\n"), PLAIN, &hasher).text,
                names.get(&a, HIDDEN, &hasher).text
            );
            assert!(!names.get(&a, HIDDEN, &hasher).refused, "it was asked for");
        }
        assert_ne!(text(&mut names, &a, PLAIN), {
            let other = IdHasher::new("another key");
            NameCache::default().get(&a, PLAIN, &other).text.unwrap().to_string()
        });
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let (mut names, hasher) = (NameCache::default(), IdHasher::new("k"));
        for i in 0..20_000 {
            names.get(&format!("{i} {}", "x".repeat(1000)), PLAIN, &hasher);
            assert!(names.tables[0].bytes <= MAX_BYTES + MAX_KEPT);
        }
        names.get(&"y".repeat(MAX_KEPT + 1), PLAIN, &hasher);
        assert!(names.tables[0].known.keys().all(|k| k.len() <= MAX_KEPT));
    }

    proptest! {
        #[test]
        fn what_an_archive_holds_is_read_as_what_was_written(raw in any::<String>(), hidden in any::<bool>()) {
            let mut names = NameCache::default();
            let written = text(&mut names, &raw, NameForm { archived: false, hidden });
            for later in [hidden, true] {
                let fresh = text(&mut names, &raw, NameForm { archived: false, hidden: later });
                prop_assert_eq!(text(&mut names, &written, NameForm { archived: true, hidden: later }), fresh);
            }
        }
    }
}
