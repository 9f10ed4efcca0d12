//! The bins of a category: the most frequent values of a baseline, one for the rest of them, one
//! for what is new. However open-ended a category is, comparing costs the same.

use crate::drift::Sums;
use crate::drift::session_test::{BUCKETS, MIN_WINDOW_BUCKETS};
use crate::sketch::{CategorySketch, CategoryValue, Cell, OTHER, SortedValues, ValueSum};
use rustc_hash::FxBuildHasher;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Bins that a baseline's values have, the one for the rest included.
const MOST_BINS: usize = 256;
/// The share of a window's events, as one of so many, at which a value is frequent.
const FREQUENT: u64 = 64;
/// Bins of the test of several values an event: the most frequent values each have one.
const OWN_BINS: usize = 32;
/// Bins that all other values share in that test, by a hash of their name. Which bin a value has does
/// not depend on the day, so values that come and go seldom look like a change of all.
const SHARED_BINS: usize = 32;
/// Slots by which values that may be frequent are looked for.
const SLOTS: usize = 4096;

/// The bins of the test where an event may carry several values, as of LoRAs: those that come and go
/// would otherwise be new every day.
#[derive(Debug, Clone)]
pub struct SharedBins {
    /// The values that have a bin of their own, ascending, each with its bin.
    own: Vec<(Arc<str>, usize)>,
}

impl SharedBins {
    /// Bins.
    pub const COUNT: usize = OWN_BINS + SHARED_BINS;

    /// The bins of a baseline.
    #[must_use]
    pub fn of(baseline: &CategorySketch) -> Self {
        let mut all: Vec<(u64, Arc<str>)> = Vec::new();
        for value in baseline.values().iter().filter(|v| *v.name != *OTHER) {
            all.push((value.count(), Arc::from(value.name)));
        }
        all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        all.truncate(OWN_BINS);
        let mut own: Vec<_> = all.into_iter().enumerate().map(|(bin, (_, name))| (name, bin)).collect();
        own.sort();
        Self { own }
    }

    /// A sketch's events in each bin by session bucket; an event counts once for each of its values.
    #[must_use]
    pub fn sums(&self, sketch: &CategorySketch) -> Sums {
        let mut sums = Sums::new(Self::COUNT);
        for list in &sketch.lists() {
            for value in list.iter() {
                let bin = self.bin(value.name);
                value.cells.iter().for_each(|&(b, n)| sums.s[(b as usize, bin)] += n as f64);
            }
        }
        sketch.events().iter().for_each(|(b, n, _)| sums.n[b as usize] = n as f64);
        sums
    }

    fn bin(&self, name: &str) -> usize {
        match self.own.binary_search_by(|(own, _)| (**own).cmp(name)) {
            Ok(i) => self.own[i].1,
            Err(_) => OWN_BINS + (fnv1a(name) % SHARED_BINS as u64) as usize,
        }
    }
}

/// FNV-1a, 64 bit: the same in every build, so that verdicts are.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// A baseline's bins.
#[derive(Debug, Clone)]
pub struct CategoryBins {
    /// The values, ascending, with a bitmap of the users who sent each.
    values: Vec<(Arc<str>, u64)>,
    /// The place of [`OTHER`] among them.
    other: Option<usize>,
}

impl CategoryBins {
    /// The bins of a baseline, and its events in each.
    #[must_use]
    pub fn of(baseline: &CategorySketch) -> (Self, Vec<u64>, Sums) {
        let mut few = baseline.clone();
        few.fold(MOST_BINS);
        Self::of_few(&few)
    }

    fn of_few(baseline: &CategorySketch) -> (Self, Vec<u64>, Sums) {
        let values: Vec<_> = baseline.values().iter().map(|v| (Arc::from(v.name), v.users)).collect();
        let other = values.iter().position(|(v, _): &(Arc<str>, _)| **v == *OTHER);
        let bins = Self { values, other };
        let (counts, sums) = bins.sums(baseline);
        (bins, counts, sums)
    }

    /// A window's events in each bin.
    #[must_use]
    pub fn counts(&self, window: &CategorySketch) -> Vec<u64> {
        let mut counts = vec![0; self.values.len() + 1];
        self.each(window, |bin, cells| counts[bin] += cells.iter().map(|c| c.1).sum::<u64>());
        counts
    }

    /// A window's events in each bin, also by session bucket.
    #[must_use]
    pub fn sums(&self, window: &CategorySketch) -> (Vec<u64>, Sums) {
        let (mut counts, mut sums) = (vec![0; self.values.len() + 1], Sums::new(self.values.len() + 1));
        self.each(window, |bin, cells| {
            for &(b, n) in cells {
                counts[bin] += n;
                sums.s[(b as usize, bin)] += n as f64;
            }
        });
        sums.n = [0.0; BUCKETS];
        window.events().iter().for_each(|(b, n, _)| sums.n[b as usize] = n as f64);
        (counts, sums)
    }

    /// The value of a bin with a bitmap of the users who sent it in the baseline or in a window;
    /// `None` for the bin of what is new.
    #[must_use]
    pub fn value(&self, bin: usize, window: &CategorySketch) -> Option<(&str, u64)> {
        self.values.get(bin).map(|(v, users)| (&**v, users | window.users(v)))
    }

    /// Hands over all cells of a window with the bin of their value, those of one value maybe in
    /// several goes. The window's lists are read one after the other, and not merged: bins add up,
    /// and of a value that has none it is enough to know whether it is frequent.
    fn each(&self, window: &CategorySketch, mut take: impl FnMut(usize, &[Cell])) {
        let lists = window.lists();
        let mut unknown = Vec::new();
        for list in &lists {
            self.place(list, |value, bin| match bin {
                Some(bin) => take(bin, value.cells),
                None => unknown.push(value),
            });
        }
        let new = self.values.len();
        let Some(other) = self.other else { return unknown.iter().for_each(|value| take(new, value.cells)) };
        let frequent = frequent(&unknown, window.n());
        for value in unknown {
            let is_new = !frequent.is_empty() && frequent.binary_search(&value.name).is_ok();
            take(if is_new { new } else { other }, value.cells);
        }
    }

    /// The values of a list, with their bin where they have one. Values and bins ascend, so one
    /// walk finds all.
    fn place<'l>(&self, list: &'l SortedValues, mut take: impl FnMut(CategoryValue<'l>, Option<usize>)) {
        let (mut at, few) = (0, list.len() < self.values.len() / 8);
        for value in list.iter() {
            if few {
                at += self.values[at..].partition_point(|known| *known.0 < *value.name);
            }
            let bin = loop {
                match self.values.get(at).map(|(known, _)| (**known).cmp(value.name)) {
                    Some(Ordering::Less) => at += 1,
                    Some(Ordering::Equal) => break Some(at),
                    Some(Ordering::Greater) | None => break None,
                }
            };
            take(value, bin);
        }
    }
}

/// Of the values that are not among a folded baseline's those that are new, sorted. Any may have
/// been one of the rare ones, unless it is frequent in the window, which has `n` events, and came in
/// as many session buckets as any judgement takes. One value may stand in several places.
fn frequent<'l>(unknown: &[CategoryValue<'l>], n: u64) -> Vec<&'l str> {
    // First by slot of their hash: most slots have too few events for any of their values.
    let slot = |name: &str| FxBuildHasher.hash_one(name) as usize % SLOTS;
    let enough = |count: u64| count.saturating_mul(FREQUENT) >= n;
    let mut slots = vec![0u64; SLOTS];
    for value in unknown {
        let count = &mut slots[slot(value.name)];
        *count = count.saturating_add(value.count());
    }
    if !slots.iter().any(|count| *count > 0 && enough(*count)) {
        return Vec::new();
    }
    let mut sums: BTreeMap<&'l str, ValueSum> = BTreeMap::new();
    for value in unknown.iter().filter(|value| enough(slots[slot(value.name)])) {
        sums.entry(value.name).or_default().add(value);
    }
    let new = |sum: &ValueSum| {
        let cells = sum.cells();
        enough(cells.iter().fold(0, |count, c| c.1.saturating_add(count)))
            && cells.len() >= MIN_WINDOW_BUCKETS
    };
    sums.into_iter().filter(|(_, sum)| new(sum)).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events of a value each, in 32 sessions.
    fn sketch(events: impl IntoIterator<Item = (String, u64)>) -> CategorySketch {
        let mut s = CategorySketch::default();
        for (i, (value, n)) in events.into_iter().enumerate() {
            for k in 0..n {
                let session = (i as u64 + k) % 32;
                s.add([&Arc::from(value.as_str())], session as u8, session, Some(session));
            }
        }
        s
    }

    fn tail(from: usize, n: usize) -> impl Iterator<Item = (String, u64)> {
        (from..from + n).map(|i| (format!("t{i:05}"), 1))
    }

    #[test]
    fn of_few_values_each_has_a_bin_and_what_is_unknown_is_new() {
        let (bins, counts, _) = CategoryBins::of(&sketch([("a".into(), 30), ("c".into(), 10)]));
        assert_eq!(counts, [30, 10, 0]);
        let window = sketch([("a".into(), 5), ("b".into(), 1), ("d".into(), 40)]);
        assert_eq!(bins.counts(&window), [5, 0, 41]);
        assert_eq!(bins.value(2, &window), None);
        assert_eq!(bins.value(0, &window), Some(("a", (1 << 30) - 1)));
        let (_, users) = bins.value(1, &window).unwrap();
        assert_eq!(users.count_ones(), 10, "of the baseline, as the window has none");
    }

    #[test]
    fn of_many_values_the_frequent_have_bins_and_rare_ones_of_the_window_are_no_news() {
        let frequent = || [("a".to_owned(), 300), ("b".to_owned(), 300)];
        let (bins, counts, sums) = CategoryBins::of(&sketch(frequent().into_iter().chain(tail(0, 5_000))));
        assert_eq!(bins.values.iter().map(|v| &*v.0).collect::<Vec<_>>(), [OTHER, "a", "b"]);
        assert_eq!(counts, [5_000, 300, 300, 0]);
        assert_eq!(sums.n.iter().sum::<f64>(), 5_600.0);
        let window = |fresh: u64| {
            let fresh = (fresh > 0).then(|| ("fresh".to_owned(), fresh));
            sketch(frequent().into_iter().chain(tail(9_000, 400)).chain(fresh))
        };
        assert_eq!(bins.counts(&window(0)), [400, 300, 300, 0], "other names, and as rare");
        assert_eq!(bins.counts(&window(40)), [400, 300, 300, 40], "one in 26 is news");
        assert_eq!(bins.counts(&window(12)), [412, 300, 300, 0]);
        assert_eq!(bins.sums(&window(40)).0, bins.counts(&window(40)));
        // As frequent, but of few sessions.
        let mut of_one = window(0);
        (0..200).for_each(|_| of_one.add([&"one".into()], 3, 3, None));
        assert_eq!(bins.counts(&of_one), [600, 300, 300, 0]);
    }

    /// A value is frequent by its sum, not by what one list has of it.
    #[test]
    fn bins_of_a_sum_of_lists_are_those_of_one_list() {
        let known = [("a".to_owned(), 300), ("b".to_owned(), 300)];
        let (bins, ..) = CategoryBins::of(&sketch(known.into_iter().chain(tail(0, 5_000))));
        let part = |i: usize| {
            let mut part = sketch([("a".into(), 9), ("few".into(), 20)]);
            part.merge(&sketch(tail(6_000 + 40 * i, 50)));
            (0..=i % 2).for_each(|k| part.add([&"fresh".into()], ((2 * i + k) % 32) as u8, i as u64, None));
            part
        };
        let (mut lists, mut counted) = (CategorySketch::default(), CategorySketch::default());
        for i in 0..20 {
            let mut settled = part(i);
            counted.merge(&settled);
            if i > 2 {
                settled.settle();
            }
            lists.merge(&settled);
        }
        assert!(lists.lists().len() > 10);
        assert_eq!(counted, lists);
        let (counts, sums) = bins.sums(&lists);
        assert_eq!(counts, bins.sums(&counted).0);
        assert_eq!(sums.s, bins.sums(&counted).1.s);
        assert_eq!(counts[1], 180);
        assert_eq!((lists.count("fresh") * FREQUENT >= lists.n(), counts[3]), (true, 430));
    }
}
