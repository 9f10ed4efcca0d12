//! Categories: events per value and session bucket.

use super::codec::{DecodeError, Reader, Writer};
use super::columns::spilled;
use super::distinct::Distinct;
use super::session::{BucketSums, SESSION_BUCKETS};
use super::sorted_values::{CategoryValue, Cell, SortedValues, ValueSum};
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// The value under which the rest is counted.
pub const OTHER: &str = "__other__";
/// Values kept per sketch while it is filled; later new ones are folded into [`OTHER`]. A guard
/// against hostile input, far above the useful number of values.
pub const MAX_VALUES: usize = 4096;

/// Values kept of a chunk, an hour or a day, once all partitions are merged: see
/// [`CategorySketch::fold`].
pub const MAX_STRETCH_VALUES: usize = 1024;

/// Lists of values that a sum keeps separately before it merges them into one.
const MOST_LISTS: usize = 32;

/// The sketch of a categorical feature. An event counts once in each value it carries (several for
/// LoRAs), and in [`OTHER`] once for each of its values that were folded.
///
/// Its values are the sum of those that were counted one by one and of lists that don't change: so
/// a window's sum shares the lists of its hours instead of copying each name.
#[derive(Debug, Clone, Default)]
pub struct CategorySketch {
    counted: HashMap<Arc<str>, Held>,
    lists: SmallVec<[Arc<SortedValues>; 1]>,
    events: BucketSums,
    sessions: Distinct,
}

impl PartialEq for CategorySketch {
    fn eq(&self, other: &Self) -> bool {
        self.events == other.events && self.sessions == other.sessions && self.values() == other.values()
    }
}

impl Eq for CategorySketch {}

/// What is kept of a value that is counted.
#[derive(Debug, Clone, Default)]
struct Held {
    users: u64,
    /// Ascending. Most values of an open-ended category have one bucket.
    cells: SmallVec<[Cell; 1]>,
}

impl Held {
    fn bump(&mut self, bucket: u8, n: u64) {
        match self.cells.binary_search_by_key(&bucket, |c| c.0) {
            Ok(i) => self.cells[i].1 = self.cells[i].1.saturating_add(n),
            Err(i) => self.cells.insert(i, (bucket, n)),
        }
    }

    fn merge(&mut self, users: u64, cells: &[Cell]) {
        self.users |= users;
        cells.iter().for_each(|(b, n)| self.bump(*b, *n));
    }

    fn named<'a>(&'a self, name: &'a str) -> CategoryValue<'a> {
        CategoryValue { name, users: self.users, cells: &self.cells }
    }
}

/// The bit of a user; an event that names none adds no bit, so that unknown users never make a
/// value look common.
fn bit(user: Option<u64>) -> u64 {
    user.map_or(0, |u| 1 << (u & 63))
}

impl CategorySketch {
    /// Counts one event.
    pub fn add<'a>(
        &mut self,
        values: impl IntoIterator<Item = &'a Arc<str>>,
        bucket: u8,
        session: u64,
        user: Option<u64>,
    ) {
        self.count_all();
        for v in values {
            if self.counted.len() >= MAX_VALUES && !self.counted.contains_key(v) {
                self.count_one(OTHER, || Arc::from(OTHER), bucket, user);
            } else {
                self.count_one(v, || Arc::clone(v), bucket, user);
            }
        }
        self.events.add(bucket, 1, 0);
        self.sessions.add(session);
    }

    /// Counts one event's values as they are, however many there are already: as merging a sketch
    /// of that event would.
    pub fn add_names<'a>(
        &mut self,
        values: impl IntoIterator<Item = &'a str>,
        bucket: u8,
        session: u64,
        user: Option<u64>,
    ) {
        for v in values {
            self.count_one(v, || Arc::from(v), bucket, user);
        }
        self.events.add(bucket, 1, 0);
        self.sessions.add(session);
    }

    fn count_one(&mut self, v: &str, new: impl FnOnce() -> Arc<str>, bucket: u8, user: Option<u64>) {
        let held = match self.counted.get_mut(v) {
            Some(held) => held,
            None => self.counted.entry(new()).or_default(),
        };
        held.users |= bit(user);
        held.bump(bucket, 1);
    }

    /// Counts the values of all lists one by one.
    fn count_all(&mut self) {
        for list in std::mem::take(&mut self.lists) {
            for value in list.iter() {
                match self.counted.get_mut(value.name) {
                    Some(held) => held.merge(value.users, value.cells),
                    None => {
                        let held = Held { users: value.users, cells: SmallVec::from_slice(value.cells) };
                        self.counted.insert(Arc::from(value.name), held);
                    }
                }
            }
        }
    }

    /// Adds another's counts and unites users and sessions.
    pub fn merge(&mut self, other: &Self) {
        for (v, theirs) in &other.counted {
            match self.counted.get_mut(v) {
                Some(mine) => mine.merge(theirs.users, &theirs.cells),
                None => {
                    self.counted.insert(Arc::clone(v), theirs.clone());
                }
            }
        }
        self.lists.extend(other.lists.iter().cloned());
        if self.lists.len() > MOST_LISTS {
            self.unite_lists();
        }
        self.events.merge(&other.events);
        self.sessions.merge(&other.sessions);
    }

    /// Merges all lists but the largest into one, so that values added a few at a time don't copy
    /// the largest list each time.
    fn unite_lists(&mut self) {
        let most = self.lists.iter().map(|l| l.len()).sum::<usize>() / 2;
        let (large, small): (Vec<_>, Vec<_>) = self.lists.drain(..).partition(|l| l.len() > most);
        let small: Vec<&SortedValues> = small.iter().map(Arc::as_ref).collect();
        self.lists.extend(large);
        self.lists.push(Arc::new(SortedValues::sum(&small)));
    }

    /// Merges its values into one list, so that adding it to several sums is cheap.
    pub fn settle(&mut self) {
        if !self.counted.is_empty() || self.lists.len() > 1 {
            self.lists = SmallVec::from_buf([self.values()]);
            self.counted = HashMap::new();
        }
    }

    /// Takes off the sums that were once added; users and sessions stay as they are.
    pub fn subtract(&mut self, other: &Self) {
        self.count_all();
        for theirs in other.values().iter() {
            if let Some(mine) = self.counted.get_mut(theirs.name) {
                for (b, n) in theirs.cells {
                    if let Ok(i) = mine.cells.binary_search_by_key(b, |c| c.0) {
                        mine.cells[i].1 = mine.cells[i].1.saturating_sub(*n);
                    }
                }
                mine.cells.retain(|c| c.1 > 0);
            }
        }
        self.counted.retain(|_, held| !held.cells.is_empty());
        self.events.subtract(&other.events);
    }

    /// Bounds the values to `most`, of which [`OTHER`] is one, and returns how many were folded
    /// into it. With more than that, the values of a single session bucket are folded first: these
    /// are nearly always of one session, and so no evidence about others. Of the rest the most
    /// frequent stay, of equally frequent ones the first by name: the result depends on the sketch
    /// alone.
    pub fn fold(&mut self, most: usize) -> u64 {
        if self.kept() <= most {
            return 0;
        }
        if self.lists.is_empty() {
            // Not sorted first: few of the names may be left.
            let last = LastLeft::of(self.counted.iter().map(|(v, held)| held.named(v)), most);
            let (mut other, mut folded) = (Held::default(), 0);
            self.counted.retain(|v, held| {
                let stays = last.leaves(&held.named(v));
                if !stays {
                    other.merge(held.users, &held.cells);
                    folded += 1;
                }
                stays
            });
            self.counted.entry(Arc::from(OTHER)).or_default().merge(other.users, &other.cells);
            self.counted.shrink_to_fit();
            return folded;
        }
        self.settle();
        let all = self.values();
        if all.len() <= most {
            return 0;
        }
        let last = LastLeft::of(all.iter(), most);
        let (mut left, mut other, mut folded) = (SortedValues::default(), ValueSum::default(), 0);
        for value in all.iter() {
            if last.leaves(&value) {
                left.push(value);
            } else {
                other.add(&value);
                folded += 1;
            }
        }
        let mut of_other = SortedValues::default();
        of_other.push(CategoryValue { name: OTHER, users: other.users(), cells: &other.cells() });
        self.lists = SmallVec::from_buf([Arc::new(SortedValues::sum(&[&left, &of_other]))]);
        folded
    }

    /// Bytes of memory in addition to its own size, about; names count as if nobody shared them.
    pub(super) fn memory_bytes(&self) -> usize {
        let each = size_of::<(Arc<str>, Held)>() + 2 * size_of::<usize>();
        let counted = self.counted.iter().map(|(v, held)| each + v.len() + spilled(&held.cells));
        let lists = self.lists.iter().map(|list| size_of::<SortedValues>() + list.memory_bytes());
        counted.chain(lists).sum::<usize>()
            + spilled(&self.lists)
            + self.events.memory_bytes()
            + self.sessions.memory_bytes()
    }

    /// Events counted.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.events.n()
    }

    /// How many values are kept, or a few more: a value in several lists counts in each.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.counted.len() + self.lists.iter().map(|l| l.len()).sum::<usize>()
    }

    /// Its values, sorted.
    #[must_use]
    pub fn values(&self) -> Arc<SortedValues> {
        let lists = self.lists();
        match &lists[..] {
            [] => Arc::default(),
            [one] => Arc::clone(one),
            several => {
                let several: Vec<&SortedValues> = several.iter().map(Arc::as_ref).collect();
                Arc::new(SortedValues::sum(&several))
            }
        }
    }

    /// The lists that its values are the sum of: a value may be in several of them.
    #[must_use]
    pub fn lists(&self) -> SmallVec<[Arc<SortedValues>; 1]> {
        let mut lists = self.lists.clone();
        if !self.counted.is_empty() {
            let mut sorted: Vec<CategoryValue<'_>> =
                self.counted.iter().map(|(v, held)| held.named(v)).collect();
            sorted.sort_unstable_by_key(|v| v.name);
            let mut list = SortedValues::with_capacity(sorted.len());
            sorted.into_iter().for_each(|v| list.push(v));
            list.shrink();
            lists.push(Arc::new(list));
        }
        lists
    }

    /// What is kept of a value, in the list of those counted and in the others.
    fn of<'s>(&'s self, value: &'s str) -> impl Iterator<Item = CategoryValue<'s>> {
        let counted = self.counted.get(value).map(|held| held.named(value));
        counted.into_iter().chain(self.lists.iter().filter_map(move |list| list.get(value)))
    }

    /// Events that carry a value.
    #[must_use]
    pub fn count(&self, value: &str) -> u64 {
        self.of(value).fold(0, |sum, v| sum.saturating_add(v.count()))
    }

    /// Bit `hash(user) mod 64` of every user who sent a value.
    #[must_use]
    pub fn users(&self, value: &str) -> u64 {
        self.of(value).fold(0, |all, v| all | v.users)
    }

    /// Events per session bucket.
    #[must_use]
    pub fn events(&self) -> &BucketSums {
        &self.events
    }

    /// Distinct sessions.
    #[must_use]
    pub fn sessions(&self) -> &Distinct {
        &self.sessions
    }

    pub(super) fn write(&self, w: &mut Writer) {
        let values = self.values();
        w.uint(values.len() as u64);
        for value in values.iter() {
            w.text(value.name);
            w.uint(value.users);
            w.u8(value.cells.len() as u8);
            for &(b, n) in value.cells {
                w.u8(b);
                w.uint(n);
            }
        }
        self.events.write(w);
        self.sessions.write(w);
    }

    /// Reads a sketch back; `with_users` is false for bytes written before users were kept.
    pub(super) fn read(r: &mut Reader<'_>, with_users: bool) -> Result<Self, DecodeError> {
        let n = r.length()?;
        let mut list = SortedValues::with_capacity(n.min(MAX_VALUES));
        let mut cells: SmallVec<[Cell; SESSION_BUCKETS]> = SmallVec::new();
        for _ in 0..n {
            let name = r.text()?;
            if list.last_name().is_some_and(|last| last >= name) {
                return r.impossible("category");
            }
            let users = if with_users { r.uint()? } else { 0 };
            cells.clear();
            for _ in 0..r.u8()? {
                let c = (r.u8()?, r.uint()?);
                if c.0 as usize >= SESSION_BUCKETS || cells.last().is_some_and(|l| l.0 >= c.0) {
                    return r.impossible("session bucket");
                }
                cells.push(c);
            }
            list.push(CategoryValue { name, users, cells: &cells });
        }
        let mut out = Self { events: BucketSums::read(r)?, sessions: Distinct::read(r)?, ..Self::default() };
        if !list.is_empty() {
            out.lists.push(Arc::new(list));
        }
        Ok(out)
    }
}

/// The last of the values that are left where they are bounded, by rank: see
/// [`CategorySketch::fold`].
struct LastLeft(Option<(Reverse<u64>, String)>);

impl LastLeft {
    /// Of these values, where `most` are left.
    fn of<'a>(values: impl Iterator<Item = CategoryValue<'a>>, most: usize) -> Self {
        let of_several = values.filter(|v| v.name != OTHER && v.cells.len() > 1);
        let mut ranks: Vec<(Reverse<u64>, &str)> = of_several.map(|v| (Reverse(v.count()), v.name)).collect();
        let room = most.saturating_sub(1);
        let last = if ranks.len() > room {
            (room > 0).then(|| *ranks.select_nth_unstable(room - 1).1)
        } else {
            ranks.into_iter().max()
        };
        Self(last.map(|(count, name)| (count, name.to_owned())))
    }

    /// Whether a value is left.
    fn leaves(&self, value: &CategoryValue<'_>) -> bool {
        let ranks = |(count, name): &(Reverse<u64>, String)| {
            (Reverse(value.count()), value.name) <= (*count, name.as_str())
        };
        value.name == OTHER || value.cells.len() > 1 && self.0.as_ref().is_some_and(ranks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[(&str, &[u8])]) -> CategorySketch {
        let mut s = CategorySketch::default();
        for (v, buckets) in values {
            for b in *buckets {
                s.add([&Arc::from(*v)], *b, u64::from(*b), Some(u64::from(*b)));
            }
        }
        s
    }

    fn names(s: &CategorySketch) -> Vec<String> {
        s.values().iter().map(|v| v.name.to_owned()).collect()
    }

    #[test]
    fn unknown_users_never_make_a_value_look_common() {
        let mut s = CategorySketch::default();
        let name: Arc<str> = "x".into();
        (0..100).for_each(|i| s.add([&name], 0, i, None));
        assert_eq!((s.users("x"), s.users("y")), (0, 0));
        s.add([&name], 0, 1, Some(3));
        s.add_names(["x"], 0, 1, Some(67));
        assert_eq!(s.users("x").count_ones(), 1, "two users with one bit count as one");
    }

    #[test]
    fn what_is_folded_stays_in_the_sums() {
        let mut s = of(&[("a", &[1, 2, 3]), ("b", &[1, 2]), ("c", &[1, 2]), ("d", &[4, 4, 4, 4, 4])]);
        assert_eq!((s.clone().fold(4), s.n()), (0, 12));
        let before = s.clone();
        assert_eq!(s.fold(3), 2, "d of one bucket, and c behind b by name");
        assert_eq!(names(&s), [OTHER, "a", "b"]);
        assert_eq!(s.count(OTHER), 7);
        assert_eq!(s.values().get(OTHER).unwrap().cells, [(1, 1), (2, 1), (4, 5)]);
        assert_eq!(s.users(OTHER), 1 << 1 | 1 << 2 | 1 << 4);
        assert_eq!((s.events(), s.sessions()), (before.events(), before.sessions()));
        assert_eq!(s.fold(3), 0);
        assert_eq!(s.fold(2), 1);
        assert_eq!((names(&s), s.count(OTHER)), (vec![OTHER.to_owned(), "a".to_owned()], 9));
        assert_eq!((s.fold(1), s.count(OTHER), names(&s).len()), (1, 12, 1));
        let mut singles = of(&[("a", &[1]), ("b", &[2]), ("c", &[3])]);
        assert_eq!((singles.fold(2), names(&singles)), (3, vec![OTHER.to_owned()]));
    }

    #[test]
    fn folding_does_not_depend_on_the_order_of_what_was_added() {
        let events: Vec<(String, u8)> = (0..600u32)
            .map(|i| (format!("v{}", i.wrapping_mul(2_654_435_761) % 97), (i % 32) as u8))
            .collect();
        let sum = |order: Vec<&(String, u8)>| {
            let mut s = CategorySketch::default();
            order.iter().for_each(|(v, b)| s.add([&Arc::from(v.as_str())], *b, u64::from(*b), None));
            s.fold(20);
            s
        };
        let forth = sum(events.iter().collect());
        assert_eq!(forth, sum(events.iter().rev().collect()));
        assert_eq!((forth.values().len(), forth.n()), (20, 600));
        assert_eq!(forth.values().iter().map(|v| v.count()).sum::<u64>(), 600);
    }

    /// Lists, values counted one by one, and both together give the same sum, whatever came first
    /// and was merged on the way.
    #[test]
    fn a_sum_does_not_depend_on_how_its_values_are_kept() {
        let one = |i: usize| {
            let name = |k: usize| Arc::<str>::from(format!("v{}", (i * 7 + k * 3) % 23));
            let mut s = CategorySketch::default();
            (0..4).for_each(|k| s.add([&name(k)], ((i + k) % 32) as u8, i as u64, Some(k as u64)));
            s
        };
        let parts: Vec<CategorySketch> = (0..3 * MOST_LISTS).map(one).collect();
        let mut counted = CategorySketch::default();
        parts.iter().for_each(|part| counted.merge(part));
        assert!(counted.lists.is_empty());
        let mut listed = CategorySketch::default();
        for (i, part) in parts.iter().rev().enumerate() {
            let mut part = part.clone();
            if i % 3 > 0 {
                part.settle();
            }
            listed.merge(&part);
            assert!(listed.lists.len() <= MOST_LISTS);
        }
        assert!(listed.lists.len() > 1 && !listed.counted.is_empty());
        let bytes = |s: &CategorySketch| {
            let mut w = Writer::default();
            s.write(&mut w);
            w.bytes
        };
        assert_eq!(listed, counted);
        assert_eq!(bytes(&listed), bytes(&counted));
        assert_eq!((listed.count("v5"), listed.users("v5")), (counted.count("v5"), counted.users("v5")));
        let mut settled = listed.clone();
        settled.settle();
        assert_eq!((settled.lists.len(), settled.counted.len(), settled.kept()), (1, 0, 23));
        for most in [30, 23, 9, 2] {
            let folded = counted.fold(most);
            assert_eq!((listed.fold(most), settled.fold(most)), (folded, folded));
            assert!(listed == counted && settled == counted);
        }
        // Counting continues from a list.
        let more: Arc<str> = "more".into();
        [&mut counted, &mut listed].into_iter().for_each(|s| s.add([&more], 1, 1, None));
        assert_eq!(listed, counted);
    }

    #[test]
    fn a_full_sketch_counts_further_values_as_other() {
        let mut s = CategorySketch::default();
        for i in 0..MAX_VALUES + 10 {
            s.add([&Arc::from(format!("v{i}"))], 0, 0, Some(i as u64));
        }
        assert_eq!((s.values().len(), s.count(OTHER)), (MAX_VALUES + 1, 10));
    }
}
