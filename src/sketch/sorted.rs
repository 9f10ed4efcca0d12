//! Adding one short sorted list to another in place: what a category's cells and hashes have in common. Long ones are [`super::columns`].

use smallvec::{Array, SmallVec};
use std::cmp::Ordering;
use std::ops::DerefMut;

/// A list that can grow.
pub(super) trait List<T>: DerefMut<Target = [T]> {
    /// Makes room for `more` items and fills it.
    fn grow(&mut self, more: usize, filler: T);
}

impl<T: Clone> List<T> for Vec<T> {
    fn grow(&mut self, more: usize, filler: T) {
        self.resize(self.len() + more, filler);
    }
}

impl<T: Clone, A: Array<Item = T>> List<T> for SmallVec<A> {
    fn grow(&mut self, more: usize, filler: T) {
        self.resize(self.len() + more, filler);
    }
}

/// Adds `from` to `into`, both ascending by `key` without repeats: `add` puts an item that both have into the one that is there, what
/// is new is inserted. Grows the list at most once and takes no room beside it.
pub(super) fn merge<T: Copy, K: Ord>(
    into: &mut impl List<T>,
    from: &[T],
    key: impl Fn(&T) -> K,
    add: impl Fn(&mut T, &T),
) {
    // Ascending first: adds where there is a place, and counts what has none.
    let (mut i, mut new) = (0, 0);
    let few = from.len() < into.len() / 16;
    for f in from {
        let k = key(f);
        if few {
            i += into[i..].partition_point(|mine| key(mine) < k);
        } else {
            while into.get(i).is_some_and(|mine| key(mine) < k) {
                i += 1;
            }
        }
        match into.get_mut(i) {
            Some(mine) if key(mine) == k => add(mine, f),
            _ => new += 1,
        }
    }
    insert_new(into, from, new, |a, b| key(a).cmp(&key(b)));
}

/// Inserts the `new` items of `from` that `into` does not have, from the end on, so that every item moves once.
pub(super) fn insert_new<T: Copy>(
    into: &mut impl List<T>,
    from: &[T],
    new: usize,
    order: impl Fn(&T, &T) -> Ordering,
) {
    let Some(&filler) = from.first().filter(|_| new > 0) else { return };
    let (mut mine, mut theirs) = (into.len(), from.len());
    into.grow(new, filler);
    let mut to = into.len();
    // `to - mine` items are still to come from the other list; at none the rest stands where it belongs.
    while to > mine {
        let order = match mine {
            0 => Ordering::Less,
            _ => order(&into[mine - 1], &from[theirs - 1]),
        };
        to -= usize::from(order != Ordering::Equal);
        match order {
            Ordering::Greater => {
                mine -= 1;
                into[to] = into[mine];
            }
            Ordering::Less => {
                theirs -= 1;
                into[to] = from[theirs];
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

    proptest! {
        #[test]
        fn it_adds_as_a_map_does(a: BTreeMap<u8, u32>, b: BTreeMap<u8, u32>) {
            let list = |m: &BTreeMap<u8, u32>| m.iter().map(|(&k, &n)| (k, u64::from(n))).collect::<Vec<_>>();
            let mut want = a.iter().map(|(&k, &n)| (k, u64::from(n))).collect::<BTreeMap<_, _>>();
            for (k, n) in &b {
                *want.entry(*k).or_default() += u64::from(*n);
            }
            let mut got = list(&a);
            merge(&mut got, &list(&b), |x| x.0, |x, y| x.1 += y.1);
            prop_assert_eq!(got, want.into_iter().collect::<Vec<_>>());
        }
    }
}
