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

/// Keys, ascending, and a value for each. Both lists start inside of the sketch, so that small ones take no memory of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns<K: Column, V: Column> {
    keys: SmallVec<K>,
    values: SmallVec<V>,
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
        let few = other.keys.len() < self.keys.len() / 16;
        for (key, value) in other.keys.iter().zip(&other.values) {
            if few {
                i += self.keys[i..].partition_point(|mine| mine < key);
            } else {
                while self.keys.get(i).is_some_and(|mine| mine < key) {
                    i += 1;
                }
            }
            if self.keys.get(i) == Some(key) {
                add(&mut self.values[i], value);
            } else {
                new += 1;
            }
        }
        if new > 0 {
            self.insert_new(other, new);
        }
    }

    /// Inserts the `new` keys that only the other has, from the end on, so that everything moves once.
    fn insert_new(&mut self, other: &Self, new: usize) {
        let (mut mine, mut theirs) = (self.len(), other.len());
        let mut to = mine + new;
        self.keys.resize(to, other.keys[0]);
        self.values.resize(to, V::Item::default());
        // `to - mine` keys are still to come from the other; at none the rest stands where it belongs.
        while to > mine {
            let order = match mine {
                0 => Ordering::Less,
                _ => self.keys[mine - 1].cmp(&other.keys[theirs - 1]),
            };
            to -= usize::from(order != Ordering::Equal);
            match order {
                Ordering::Greater => {
                    mine -= 1;
                    self.keys[to] = self.keys[mine];
                    self.values[to] = self.values[mine];
                }
                Ordering::Less => {
                    theirs -= 1;
                    self.keys[to] = other.keys[theirs];
                    self.values[to] = other.values[theirs];
                }
                // Both have it: it was added before, and moves with the next step.
                Ordering::Equal => theirs -= 1,
            }
        }
    }

    /// Takes another off: `take` takes one value off another and says whether anything is left. What only the other has is passed over.
    pub fn subtract(&mut self, other: &Self, take: impl Fn(&mut V::Item, &V::Item) -> bool) {
        let (mut kept, mut theirs) = (0, 0);
        for i in 0..self.keys.len() {
            let key = self.keys[i];
            while other.keys.get(theirs).is_some_and(|o| *o < key) {
                theirs += 1;
            }
            let left =
                other.keys.get(theirs) != Some(&key) || take(&mut self.values[i], &other.values[theirs]);
            if left {
                self.keys[kept] = key;
                self.values[kept] = self.values[i];
                kept += 1;
            }
        }
        self.keys.truncate(kept);
        self.values.truncate(kept);
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
            got.subtract(&before, |x, y| { *x -= y; *x > 0 });
            prop_assert_eq!(got.len(), 0);
        }
    }

    #[test]
    fn keys_are_pushed_in_order_only() {
        let mut c = Counts::default();
        assert!(c.push(3, 1) && !c.push(3, 1) && !c.push(2, 1) && c.push(4, 1));
        assert_eq!((c.len(), c.get(2)), (2, None));
    }
}
