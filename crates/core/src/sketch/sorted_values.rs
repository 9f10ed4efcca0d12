//! A category's values in a few flat lists, in order of their names. They don't change once they are made, so that sums share
//! them, and are read without a step from one piece of memory to the next.

use super::session::SESSION_BUCKETS;
use smallvec::SmallVec;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// A session bucket, and the events in it.
pub type Cell = (u8, u64);

/// A value of a category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CategoryValue<'a> {
    /// Its name.
    pub name: &'a str,
    /// Bit `hash(user) mod 64` of every user who sent it: never more bits than distinct users.
    pub users: u64,
    /// Events by session bucket, ascending.
    pub cells: &'a [Cell],
}

impl CategoryValue<'_> {
    /// Events that carry it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.cells.iter().fold(0, |sum, c| sum.saturating_add(c.1))
    }
}

/// Values, ascending by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SortedValues {
    /// All names, one behind the other.
    names: String,
    /// The cells of all values, one behind the other.
    cells: Vec<Cell>,
    values: Vec<Ends>,
}

/// Where the name and the cells of a value end; they begin where those before them end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ends {
    name: usize,
    cells: usize,
    users: u64,
}

impl SortedValues {
    /// Room for as many values, and no values yet.
    pub(super) fn with_capacity(values: usize) -> Self {
        Self { cells: Vec::with_capacity(values), values: Vec::with_capacity(values), ..Self::default() }
    }

    /// Appends a value, whose name is above all others, and whose cells ascend.
    pub(super) fn push(&mut self, value: CategoryValue<'_>) {
        debug_assert!(self.last_name().is_none_or(|last| last < value.name), "names ascend");
        self.names.push_str(value.name);
        self.cells.extend_from_slice(value.cells);
        self.values.push(Ends { name: self.names.len(), cells: self.cells.len(), users: value.users });
    }

    /// Frees memory that is not used.
    pub(super) fn shrink(&mut self) {
        self.names.shrink_to_fit();
        self.cells.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    /// The highest name.
    pub(super) fn last_name(&self) -> Option<&str> {
        Some(self.at(self.values.len().checked_sub(1)?).name)
    }

    fn at(&self, i: usize) -> CategoryValue<'_> {
        let (name, cells) = match i.checked_sub(1) {
            Some(before) => (self.values[before].name, self.values[before].cells),
            None => (0, 0),
        };
        let ends = self.values[i];
        CategoryValue {
            name: &self.names[name..ends.name],
            users: ends.users,
            cells: &self.cells[cells..ends.cells],
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All, ascending by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = CategoryValue<'_>> {
        (0..self.values.len()).map(|i| self.at(i))
    }

    /// A value by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<CategoryValue<'_>> {
        let (mut from, mut to) = (0, self.values.len());
        while from < to {
            let middle = from + (to - from) / 2;
            let value = self.at(middle);
            match value.name.cmp(name) {
                Ordering::Less => from = middle + 1,
                Ordering::Equal => return Some(value),
                Ordering::Greater => to = middle,
            }
        }
        None
    }

    /// Bytes of memory beside itself.
    pub(super) fn memory_bytes(&self) -> usize {
        self.names.capacity()
            + self.cells.capacity() * size_of::<Cell>()
            + self.values.capacity() * size_of::<Ends>()
    }

    /// The sum of several: a value that stands in more than one has the users and the cells of all.
    pub(super) fn sum(parts: &[&Self]) -> Self {
        let mut out = Self::with_capacity(parts.iter().map(|p| p.len()).max().unwrap_or(0));
        // The next value of each part, the least name on top.
        let mut next = BinaryHeap::with_capacity(parts.len());
        next.extend(
            parts
                .iter()
                .enumerate()
                .filter(|(_, p)| !p.is_empty())
                .map(|(i, p)| Reverse((p.at(0).name, i, 0))),
        );
        let mut same: SmallVec<[CategoryValue<'_>; 8]> = SmallVec::new();
        while let Some(&Reverse((name, of, i))) = next.peek() {
            let part = parts[of];
            same.push(part.at(i));
            match next.peek_mut() {
                Some(mut least) if i + 1 < part.len() => {
                    *least = Reverse((part.at(i + 1).name, of, i + 1));
                }
                Some(least) => drop(PeekMut::pop(least)),
                None => {}
            }
            if next.peek().is_none_or(|Reverse(other)| other.0 != name) {
                out.push_sum(&same);
                same.clear();
            }
        }
        out.shrink();
        out
    }

    /// Appends the sum of values of one name.
    fn push_sum(&mut self, same: &[CategoryValue<'_>]) {
        if let [value] = same {
            return self.push(*value);
        }
        let mut sum = ValueSum::default();
        same.iter().for_each(|value| sum.add(value));
        if let Some(first) = same.first() {
            self.push(CategoryValue { name: first.name, users: sum.users, cells: &sum.cells() });
        }
    }
}

/// The sum of what is kept of one value.
#[derive(Debug, Clone, Copy, Default)]
pub struct ValueSum {
    users: u64,
    used: u32,
    counts: [u64; SESSION_BUCKETS],
}

impl ValueSum {
    /// Adds a value of the same name.
    pub fn add(&mut self, value: &CategoryValue<'_>) {
        self.users |= value.users;
        for &(bucket, n) in value.cells {
            self.used |= 1 << bucket;
            let count = &mut self.counts[usize::from(bucket)];
            *count = count.saturating_add(n);
        }
    }

    /// Bit `hash(user) mod 64` of every user.
    #[must_use]
    pub fn users(&self) -> u64 {
        self.users
    }

    /// Events by session bucket, ascending.
    #[must_use]
    pub fn cells(&self) -> SmallVec<[Cell; SESSION_BUCKETS]> {
        let used = (0..SESSION_BUCKETS as u8).filter(|b| self.used & 1 << b != 0);
        used.map(|b| (b, self.counts[usize::from(b)])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Plain = BTreeMap<String, (u64, BTreeMap<u8, u64>)>;

    fn sorted(plain: &Plain) -> SortedValues {
        let mut out = SortedValues::default();
        for (name, (users, cells)) in plain {
            let cells: Vec<Cell> = cells.iter().map(|(b, n)| (*b, *n)).collect();
            out.push(CategoryValue { name, users: *users, cells: &cells });
        }
        out
    }

    fn plain() -> impl Strategy<Value = Plain> {
        let cells = prop::collection::btree_map(0u8..32, 1u64..9, 1..4);
        prop::collection::btree_map("[ab]{0,3}", (any::<u64>(), cells), 0..12)
    }

    proptest! {
        #[test]
        fn a_sum_holds_what_maps_would(parts in prop::collection::vec(plain(), 0..6)) {
            let mut want = Plain::new();
            for (name, (users, cells)) in parts.iter().flatten() {
                let sum = want.entry(name.clone()).or_default();
                sum.0 |= users;
                cells.iter().for_each(|(b, n)| *sum.1.entry(*b).or_default() += n);
            }
            let lists: Vec<SortedValues> = parts.iter().map(sorted).collect();
            let sum = SortedValues::sum(&lists.iter().collect::<Vec<_>>());
            prop_assert_eq!(&sum, &sorted(&want));
            for value in sum.iter() {
                prop_assert_eq!(sum.get(value.name), Some(value));
                prop_assert_eq!(value.count(), want[value.name].1.values().sum::<u64>());
            }
            prop_assert_eq!(sum.get("c"), None);
            prop_assert_eq!(sum.last_name(), want.keys().last().map(String::as_str));
        }
    }
}
