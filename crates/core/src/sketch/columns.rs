//! A map in two sorted columns: keys apart from what they count.
//!
//! A sketch of dense traffic is larger than the processor's caches, and there are hundreds of them: looking a key up costs what it has
//! to fetch. Keys by themselves are a few KB; what they count is touched once, when its place is known.

use smallvec::{Array, SmallVec};
use std::cmp::Ordering;
use std::fmt::Debug;

/// A list that starts inside of its owner: `[u16; 8]` has room for eight there.
pub(super) trait Column: Array<Item: Copy + Default + Debug + Eq> {}

impl<A: Array<Item: Copy + Default + Debug + Eq>> Column for A {}

/// Keys, ascending, and a value for each. The first of both stand inside of the sketch, so that the smallest take no memory of their own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns<K: Column, V: Column> {
    keys: SmallVec<K>,
    values: SmallVec<V>,
}

impl<K: Column, V: Column> Clone for Columns<K, V> {
    fn clone(&self) -> Self {
        // In one piece and of the exact size; the derived one copies item by item into the next power of two.
        Self { keys: SmallVec::from_slice(&self.keys), values: SmallVec::from_slice(&self.values) }
    }
}

impl<K: Column, V: Column> Default for Columns<K, V> {
    fn default() -> Self {
        Self { keys: SmallVec::new(), values: SmallVec::new() }
    }
}

impl<K: Column<Item: Ord>, V: Column> Columns<K, V> {
    /// No keys yet, and room for `n`.
    pub fn with_capacity(n: usize) -> Self {
        Self { keys: SmallVec::with_capacity(n), values: SmallVec::with_capacity(n) }
    }

    /// A key's value, which is the default where it is new.
    pub fn at(&mut self, key: K::Item) -> &mut V::Item {
        let i = self.keys.binary_search(&key).unwrap_or_else(|i| {
            self.keys.insert(i, key);
            self.values.insert(i, V::Item::default());
            i
        });
        &mut self.values[i]
    }

    /// Appends a key above all others; `false` and nothing where it is not.
    #[must_use]
    pub fn push(&mut self, key: K::Item, value: V::Item) -> bool {
        let above = self.keys.last().is_none_or(|last| *last < key);
        if above {
            self.keys.push(key);
            self.values.push(value);
        }
        above
    }

    /// A key's value.
    pub fn get(&self, key: K::Item) -> Option<V::Item> {
        self.keys.binary_search(&key).ok().map(|i| self.values[i])
    }

    /// Bytes of memory beside itself.
    pub fn memory_bytes(&self) -> usize {
        spilled(&self.keys) + spilled(&self.values)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Keys and values, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (K::Item, V::Item)> + '_ {
        self.keys.iter().copied().zip(self.values.iter().copied())
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> &[V::Item] {
        &self.values
    }

    /// Adds another's: `add` puts a value to the one that is there, what is new is inserted. Grows the lists at most once and takes no
    /// room beside them.
    pub fn merge(&mut self, other: &Self, add: impl Fn(&mut V::Item, &V::Item)) {
        // Ascending first: adds where there is a place, and counts what has none.
        let (mut i, mut new) = (0, 0);
        let (keys, values) = (&self.keys[..], &mut self.values[..]);
        let few = other.keys.len() < keys.len() / 16;
        for (key, value) in other.keys.iter().zip(&other.values) {
            if few {
                i += keys[i..].partition_point(|mine| mine < key);
            } else {
                while keys.get(i).is_some_and(|mine| mine < key) {
                    i += 1;
                }
            }
            if keys.get(i) == Some(key) {
                add(&mut values[i], value);
            } else {
                new += 1;
            }
        }
        if new > 0 {
            let mine = self.len();
            self.keys.resize(mine + new, other.keys[0]);
            self.values.resize(mine + new, V::Item::default());
            insert_new(&mut self.keys, &mut self.values, mine, (&other.keys, &other.values));
        }
    }

    /// Takes another off: `take` takes one value off another and says whether anything is left. What only the other has is passed over.
    pub fn subtract(&mut self, other: &Self, take: impl Fn(&mut V::Item, &V::Item) -> bool) {
        let (mut kept, mut theirs) = (0, 0);
        let (keys, values) = (&mut self.keys[..], &mut self.values[..]);
        for i in 0..keys.len() {
            let key = keys[i];
            while other.keys.get(theirs).is_some_and(|o| *o < key) {
                theirs += 1;
            }
            let left = other.keys.get(theirs) != Some(&key) || take(&mut values[i], &other.values[theirs]);
            if left {
                (keys[kept], values[kept]) = (key, values[i]);
                kept += 1;
            }
        }
        self.keys.truncate(kept);
        self.values.truncate(kept);
    }
}

/// Bytes that a list takes outside of its owner.
pub(super) fn spilled<A: Array>(list: &SmallVec<A>) -> usize {
    if list.spilled() { list.capacity() * size_of::<A::Item>() } else { 0 }
}

/// Inserts what only the other has into columns whose first `mine` items are their own and which have grown by as many as are new: from
/// the end on, so that everything moves once.
pub(super) fn insert_new<K: Copy + Ord, V: Copy>(
    keys: &mut [K],
    values: &mut [V],
    mut mine: usize,
    other: (&[K], &[V]),
) {
    let (mut to, mut theirs) = (keys.len(), other.0.len());
    // `to - mine` keys are still to come from the other; at none the rest stands where it belongs.
    while to > mine {
        let order = match mine {
            0 => Ordering::Less,
            _ => keys[mine - 1].cmp(&other.0[theirs - 1]),
        };
        to -= usize::from(order != Ordering::Equal);
        match order {
            Ordering::Greater => {
                mine -= 1;
                (keys[to], values[to]) = (keys[mine], values[mine]);
            }
            Ordering::Less => {
                theirs -= 1;
                (keys[to], values[to]) = (other.0[theirs], other.1[theirs]);
            }
            // Both have it: it was added before, and moves with the next step.
            Ordering::Equal => theirs -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Counts = Columns<[u16; 2], [u64; 1]>;

    fn counts(of: &BTreeMap<u16, u64>) -> Counts {
        let mut out = Counts::with_capacity(of.len());
        assert!(of.iter().all(|(k, v)| out.push(*k, *v)));
        out
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_does(
            a: BTreeMap<u16, u8>, b: BTreeMap<u16, u8>, near in any::<bool>(), added: Vec<u16>,
        ) {
            // Near each other, so that many keys are in both.
            let key = |k: u16| if near { k % 64 } else { k };
            let of = |m: &BTreeMap<u16, u8>| m.iter().map(|(k, n)| (key(*k), u64::from(*n) + 1)).collect::<BTreeMap<_, _>>();
            let (a, b) = (of(&a), of(&b));
            let (mut want, mut got) = (a.clone(), counts(&a));
            for k in added {
                *want.entry(key(k)).or_default() += 1;
                *got.at(key(k)) += 1;
            }
            let before = got.clone();
            for (k, n) in &b {
                *want.entry(*k).or_default() += n;
            }
            got.merge(&counts(&b), |x, y| *x += y);
            prop_assert!(got.iter().eq(want.iter().map(|(k, n)| (*k, *n))));
            prop_assert!(want.keys().all(|k| got.get(*k) == want.get(k).copied()));
            got.subtract(&counts(&b), |x, y| { *x -= y; *x > 0 });
            prop_assert_eq!(&got, &before);
            // Of what only the other has nothing is taken.
            got.subtract(&counts(&b), |_, _| false);
            prop_assert!(got.iter().eq(before.iter().filter(|c| !b.contains_key(&c.0))));
        }
    }

    #[test]
    fn keys_are_pushed_in_order_only() {
        let mut c = Counts::default();
        assert!(c.push(3, 1) && !c.push(3, 1) && !c.push(2, 1) && c.push(4, 1));
        assert_eq!((c.len(), c.get(2)), (2, None));
    }
}
