//! Which names are written as text outside the confidential folders, and what replaces the others.
//!
//! A client may send anything as the name of a LoRA, even a whole prompt. So a name that clients
//! choose is shown once `privacy.min_users` users have sent it. Until then its keyed hash is
//! written instead.

use super::hash::{DEFAULT_KEY, IdHasher};
use crate::config::segments::{Grouping, MISSING, OTHER, name_of, parts, plain, write_name, written_parts};
use crate::event::ChosenBy;
use std::borrow::Cow;
use std::sync::Arc;

/// Decides what is shown of names.
#[derive(Debug, Clone)]
pub struct Shown {
    hasher: IdHasher,
    min_users: u32,
}

impl Default for Shown {
    /// With the publicly known key and the default of `privacy.min_users`.
    fn default() -> Self {
        Self::new(IdHasher::new(DEFAULT_KEY), crate::config::Privacy::default().min_users)
    }
}

impl Shown {
    /// Shows what at least `min_users` users sent, and hashes of the rest.
    #[must_use]
    pub fn new(hasher: IdHasher, min_users: u32) -> Self {
        Self { hasher, min_users }
    }

    /// A value as it is shown; `users` is a bitmap of the users who sent it.
    #[must_use]
    pub fn value<'v>(&self, chosen: ChosenBy, value: &'v str, users: u64) -> Cow<'v, str> {
        let ours = value == MISSING || value == OTHER || value.starts_with('#');
        let at_once = match chosen {
            ChosenBy::Operator => true,
            ChosenBy::Service => is_code(value),
            ChosenBy::Client => false,
        };
        if ours || at_once || users.count_ones() >= self.min_users {
            return Cow::Borrowed(value);
        }
        // A backslash marks a name that could be taken for one of our own words.
        let name = value.strip_prefix('\\').unwrap_or(value);
        Cow::Owned(format!("#{:016x}", self.hasher.name(name)))
    }

    /// A segment's name as it is shown; `users` is a bitmap of the users who were seen in it.
    #[must_use]
    pub fn segment(&self, grouping: &Grouping, name: &Arc<str>, users: u64) -> Arc<str> {
        if grouping.is_operators() {
            return Arc::clone(name);
        }
        let own: Vec<(String, String)> = parts(name).map(|(c, v)| (c.to_string(), v.to_string())).collect();
        let values = grouping.by.iter().zip(&own);
        let values: Vec<(&str, Cow<'_, str>)> =
            values.map(|(d, (column, v))| (column.as_str(), self.value(d.chosen_by(), v, users))).collect();
        let mut shown = String::new();
        write_name(&mut shown, values.iter().map(|(column, v)| (*column, &**v)));
        shown.into()
    }

    /// The identity of a segment in everything that is written: its name with the hashes of all
    /// names that clients chose. The same for the segment's own name and for its shown form, at any
    /// time.
    #[must_use]
    pub fn identity(&self, grouping: &Grouping, name: &Arc<str>) -> Arc<str> {
        Self { hasher: self.hasher.clone(), min_users: u32::MAX }.segment(grouping, name, 0)
    }

    /// A glob over segments as one over their [`Shown::identity`], as far as it says the names in
    /// full: `params_sampler=euler,tenant=*`.
    #[must_use]
    pub fn identities(&self, groupings: &[Grouping], pattern: &str) -> String {
        let parts: Option<Vec<(&str, &str)>> = written_parts(pattern).map(|(c, v)| Some((c, v?))).collect();
        let parts = parts.unwrap_or_default();
        let same = |g: &&Grouping| g.columns.iter().map(String::as_str).eq(parts.iter().map(|p| p.0));
        let Some(grouping) = groupings.iter().find(same).filter(|g| !g.is_operators()) else {
            return pattern.to_owned();
        };
        let part = |(d, (column, value)): (&crate::event::Text, &(&str, &str))| {
            if value.contains(['*', '?', '[', '{']) {
                return format!("{column}={value}");
            }
            name_of([(*column, &*self.value(d.chosen_by(), &plain(value), 0))])
        };
        grouping.by.iter().zip(&parts).map(part).collect::<Vec<_>>().join(",")
    }
}

/// Whether a value looks machine-made: no spaces, only ASCII.
fn is_code(value: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._:/@+-".contains(&b);
    (1..=64).contains(&value.len()) && value.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::segments::Groupings;

    fn shown() -> Shown {
        Shown::new(IdHasher::new("a key"), 3)
    }

    #[test]
    fn a_name_of_clients_needs_users_and_one_of_the_operator_does_not() {
        let s = shown();
        let hash = format!("#{:016x}", IdHasher::new("a key").name("my secret"));
        assert_eq!(s.value(ChosenBy::Client, "my secret", 0b11), hash);
        assert_eq!(s.value(ChosenBy::Client, "my secret", 0b111), "my secret");
        assert_eq!(s.value(ChosenBy::Operator, "my secret", 0), "my secret");
        assert_eq!(
            s.value(ChosenBy::Service, "out of memory", 0),
            s.value(ChosenBy::Client, "out of memory", 0)
        );
        assert_eq!(s.value(ChosenBy::Service, "out of memory", 0b10101), "out of memory");
        for code in ["oom", "pt-BR", "E:42/a@b+c_d.e"] {
            assert_eq!(s.value(ChosenBy::Service, code, 0), code);
        }
        for ours in [MISSING, OTHER, "#00000000000000ab"] {
            assert_eq!(s.value(ChosenBy::Client, ours, 0), ours);
        }
        assert_ne!(s.value(ChosenBy::Client, "x", 0), Shown::default().value(ChosenBy::Client, "x", 0));
    }

    #[test]
    fn a_segment_shows_what_clients_chose_once_enough_users_were_seen() {
        let s = shown();
        let lists = [vec!["tenant".into()], vec!["tenant".into(), "params.sampler".into()]];
        let groupings = Groupings::new(&lists).unwrap().all;
        let (own, name): (Arc<str>, Arc<str>) = ("tenant=a".into(), "params_sampler=x,tenant=a".into());
        assert_eq!(s.segment(&groupings[0], &own, 0), own);
        assert_eq!(s.segment(&groupings[1], &name, 0b111), name);
        let hidden = s.segment(&groupings[1], &name, 0b11);
        assert_eq!(*hidden, format!("params_sampler={},tenant=a", s.value(ChosenBy::Client, "x", 0)));
        for of in [&name, &hidden] {
            assert_eq!(s.identity(&groupings[1], of), hidden);
        }
        let other: Arc<str> = "params_sampler=__other__,tenant=__other__".into();
        assert_eq!(s.segment(&groupings[1], &other, 0), other);
    }

    #[test]
    fn a_pattern_that_says_a_name_finds_its_hash() {
        let s = shown();
        let lists = [vec!["tenant".into()], vec!["tenant".into(), "params.sampler".into()]];
        let groupings = Groupings::new(&lists).unwrap().all;
        let (hash, odd) = (s.value(ChosenBy::Client, "x", 0), s.value(ChosenBy::Client, "a, b=c", 0));
        for (pattern, want) in [
            ("", String::new()),
            ("*", "*".to_owned()),
            ("tenant=x", "tenant=x".to_owned()),
            ("params_sampler=x,tenant=*", format!("params_sampler={hash},tenant=*")),
            ("params_sampler=x*,tenant=a", "params_sampler=x*,tenant=a".to_owned()),
            (r"params_sampler=a\, b\=c,tenant=d\,e", format!(r"params_sampler={odd},tenant=d\,e")),
            (r"params_sampler=a\, b\=*,tenant=d", r"params_sampler=a\, b\=*,tenant=d".to_owned()),
            ("params_sampler", "params_sampler".to_owned()),
        ] {
            assert_eq!(s.identities(&groupings, pattern), want, "{pattern}");
        }
    }
}
