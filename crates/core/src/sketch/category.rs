//! Categories: events per value and session bucket.

use super::codec::{DecodeError, Reader, Writer};
use super::columns::spilled;
use super::distinct::Distinct;
use super::session::{BucketSums, SESSION_BUCKETS};
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The value that takes what no longer fits.
pub const OTHER: &str = "__other__";
/// Values kept per sketch while it is filled; later new ones are folded into [`OTHER`]. A guard
/// against hostile input, far above what a category is good for.
pub const MAX_VALUES: usize = 4096;

/// Values kept of a chunk, an hour or a day, once all partitions are merged: see
/// [`CategorySketch::fold`]. Few in this crate's tests, so that they see what happens beyond.
pub const MAX_STRETCH_VALUES: usize = if cfg!(test) { 3 } else { 1024 };

/// The sketch of a categorical feature. An event counts once in each value it carries (several for
/// LoRAs), and in [`OTHER`] once for each of its values that were folded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CategorySketch {
    values: BTreeMap<Arc<str>, Held>,
    events: BucketSums,
    sessions: Distinct,
}

/// What is kept of a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Held {
    /// Bit `hash(user) mod 64` of every user who sent it: never more bits than distinct users.
    users: u64,
    /// (session bucket, events), ascending. Most values of an open-ended category have one bucket.
    cells: SmallVec<[(u8, u64); 1]>,
}

impl Held {
    fn bump(&mut self, bucket: u8, n: u64) {
        match self.cells.binary_search_by_key(&bucket, |c| c.0) {
            Ok(i) => self.cells[i].1 = self.cells[i].1.saturating_add(n),
            Err(i) => self.cells.insert(i, (bucket, n)),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.users |= other.users;
        other.cells.iter().for_each(|(b, n)| self.bump(*b, *n));
    }

    fn count(&self) -> u64 {
        self.cells.iter().fold(0, |sum, c| sum.saturating_add(c.1))
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
        for v in values {
            if !self.values.contains_key(v) && self.values.len() >= MAX_VALUES {
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
        let held = match self.values.get_mut(v) {
            Some(held) => held,
            None => self.values.entry(new()).or_default(),
        };
        held.users |= bit(user);
        held.bump(bucket, 1);
    }

    /// Adds another's counts and unites users and sessions.
    pub fn merge(&mut self, other: &Self) {
        for (v, theirs) in &other.values {
            match self.values.get_mut(v) {
                Some(mine) => mine.merge(theirs),
                None => {
                    self.values.insert(Arc::clone(v), theirs.clone());
                }
            }
        }
        self.events.merge(&other.events);
        self.sessions.merge(&other.sessions);
    }

    /// Takes off the sums that were once added; users and sessions stay as they are.
    pub fn subtract(&mut self, other: &Self) {
        for (v, theirs) in &other.values {
            if let Some(mine) = self.values.get_mut(v) {
                for (b, n) in &theirs.cells {
                    if let Ok(i) = mine.cells.binary_search_by_key(b, |c| c.0) {
                        mine.cells[i].1 = mine.cells[i].1.saturating_sub(*n);
                    }
                }
                mine.cells.retain(|c| c.1 > 0);
            }
        }
        self.values.retain(|_, held| !held.cells.is_empty());
        self.events.subtract(&other.events);
    }

    /// Bounds the values to `most`, of which [`OTHER`] is one, and returns how many were folded
    /// into it. With more than that, the values of a single session bucket are folded first: they
    /// come from one session as good as always, and say nothing of the others. Of the rest the
    /// most frequent stay, of equally frequent ones the first by name: what stays depends on what
    /// the sketch holds and on nothing else.
    pub fn fold(&mut self, most: usize) -> u64 {
        if self.values.len() <= most {
            return 0;
        }
        let of_several = self.values.iter().filter(|(v, held)| &***v != OTHER && held.cells.len() > 1);
        let mut ranks: Vec<(Reverse<u64>, Arc<str>)> =
            of_several.map(|(v, held)| (Reverse(held.count()), Arc::clone(v))).collect();
        let room = most.saturating_sub(1);
        let last = if ranks.len() > room {
            (room > 0).then(|| ranks.select_nth_unstable(room - 1).1.clone())
        } else {
            ranks.into_iter().max()
        };
        let stays = |v: &Arc<str>, held: &Held| {
            let rank = |last: &(Reverse<u64>, Arc<str>)| (Reverse(held.count()), v) <= (last.0, &last.1);
            held.cells.len() > 1 && last.as_ref().is_some_and(rank)
        };
        let (mut other, mut folded) = (Held::default(), 0);
        self.values.retain(|v, held| {
            let stays = &**v == OTHER || stays(v, held);
            if !stays {
                other.merge(held);
                folded += 1;
            }
            stays
        });
        self.values.entry(Arc::from(OTHER)).or_default().merge(&other);
        folded
    }

    /// Bytes of memory beside itself, about: of the map's nodes it counts what is used, and names
    /// as if nobody shared them.
    pub(super) fn held(&self) -> usize {
        let each = size_of::<(Arc<str>, Held)>() + 2 * size_of::<usize>();
        let values = self.values.iter().map(|(v, held)| each + v.len() + spilled(&held.cells));
        values.sum::<usize>() + self.events.held() + self.sessions.held()
    }

    /// Events counted.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.events.n()
    }

    /// Values and their events per session bucket, sorted by value.
    pub fn values(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &[(u8, u64)])> {
        self.values.iter().map(|(v, held)| (v, held.cells.as_slice()))
    }

    /// Events that carry a value.
    #[must_use]
    pub fn count(&self, value: &str) -> u64 {
        self.values.get(value).map_or(0, Held::count)
    }

    /// Bit `hash(user) mod 64` of every user who sent a value.
    #[must_use]
    pub fn users(&self, value: &str) -> u64 {
        self.values.get(value).map_or(0, |held| held.users)
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
        w.uint(self.values.len() as u64);
        for (v, held) in &self.values {
            w.text(v);
            w.uint(held.users);
            w.u8(held.cells.len() as u8);
            for &(b, n) in &held.cells {
                w.u8(b);
                w.uint(n);
            }
        }
        self.events.write(w);
        self.sessions.write(w);
    }

    /// Reads a sketch back; `with_users` is false for what was written before users were kept.
    pub(super) fn read(r: &mut Reader<'_>, with_users: bool) -> Result<Self, DecodeError> {
        let mut out = Self::default();
        for _ in 0..r.length()? {
            let v: Arc<str> = Arc::from(r.text()?);
            if out.values.last_key_value().is_some_and(|l| l.0 >= &v) {
                return r.impossible("category");
            }
            let mut held = Held { users: if with_users { r.uint()? } else { 0 }, ..Held::default() };
            for _ in 0..r.u8()? {
                let c = (r.u8()?, r.uint()?);
                if c.0 as usize >= SESSION_BUCKETS || held.cells.last().is_some_and(|l| l.0 >= c.0) {
                    return r.impossible("session bucket");
                }
                held.cells.push(c);
            }
            out.values.insert(v, held);
        }
        out.events = BucketSums::read(r)?;
        out.sessions = Distinct::read(r)?;
        Ok(out)
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

    fn names(s: &CategorySketch) -> Vec<&str> {
        s.values().map(|(v, _)| &**v).collect()
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
        assert_eq!(s.values().next().unwrap().1, [(1, 1), (2, 1), (4, 5)]);
        assert_eq!(s.users(OTHER), 1 << 1 | 1 << 2 | 1 << 4);
        assert_eq!((s.events(), s.sessions()), (before.events(), before.sessions()));
        assert_eq!(s.fold(3), 0);
        assert_eq!(s.fold(2), 1);
        assert_eq!((names(&s), s.count(OTHER)), (vec![OTHER, "a"], 9));
        assert_eq!((s.fold(1), s.count(OTHER), names(&s).len()), (1, 12, 1));
        let mut singles = of(&[("a", &[1]), ("b", &[2]), ("c", &[3])]);
        assert_eq!((singles.fold(2), names(&singles)), (3, vec![OTHER]));
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
        assert_eq!(forth.values().flat_map(|v| v.1).map(|c| c.1).sum::<u64>(), 600);
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
