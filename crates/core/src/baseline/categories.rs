//! The bins of a category: the most frequent values of a baseline, one for the rest of them, one
//! for what is new. However open-ended a category is, comparing costs the same.

use crate::drift::Sums;
use crate::drift::session_test::{BUCKETS, MIN_WINDOW_BUCKETS};
use crate::sketch::{CategorySketch, OTHER};
use std::cmp::Ordering;
use std::sync::Arc;

/// Bins that a baseline's values have, the one for the rest included.
const MOST_BINS: usize = 256;
/// The share of a window's events, as one of so many, at which a value is frequent.
const FREQUENT: u64 = 64;

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
        if baseline.values().len() <= MOST_BINS {
            return Self::of_few(baseline);
        }
        let mut few = baseline.clone();
        few.fold(MOST_BINS);
        Self::of_few(&few)
    }

    fn of_few(baseline: &CategorySketch) -> (Self, Vec<u64>, Sums) {
        let values: Vec<_> = baseline.values().map(|(v, _)| (Arc::clone(v), baseline.users(v))).collect();
        let other = values.iter().position(|(v, _)| **v == *OTHER);
        let bins = Self { values, other };
        let (counts, sums) = bins.sums(baseline);
        (bins, counts, sums)
    }

    /// A window's events in each bin.
    #[must_use]
    pub fn counts(&self, window: &CategorySketch) -> Vec<u64> {
        let mut counts = vec![0; self.values.len() + 1];
        for (bin, cells) in self.placed(window) {
            counts[bin] += cells.iter().map(|c| c.1).sum::<u64>();
        }
        counts
    }

    /// A window's events in each bin, also by session bucket.
    #[must_use]
    pub fn sums(&self, window: &CategorySketch) -> (Vec<u64>, Sums) {
        let (mut counts, mut sums) = (vec![0; self.values.len() + 1], Sums::new(self.values.len() + 1));
        for (bin, cells) in self.placed(window) {
            for &(b, n) in cells {
                counts[bin] += n;
                sums.s[(b as usize, bin)] += n as f64;
            }
        }
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

    /// A sketch's cells with the bin of their value. Values and bins ascend, so one walk finds all.
    fn placed<'s>(&'s self, window: &'s CategorySketch) -> impl Iterator<Item = (usize, &'s [(u8, u64)])> {
        let (mut at, n) = (0, window.n());
        window.values().map(move |(v, cells)| {
            loop {
                match self.values.get(at).map(|(known, _)| (**known).cmp(&**v)) {
                    Some(Ordering::Less) => at += 1,
                    Some(Ordering::Equal) => return (at, cells),
                    Some(Ordering::Greater) | None => return (self.unknown(cells, n), cells),
                }
            }
        })
    }

    /// The bin of a value that is not among the baseline's. Where these are all that the baseline
    /// had, it is new. Where rare ones were folded, it may have been one of them, unless it is
    /// frequent in the window and came in as many session buckets as any judgement takes.
    fn unknown(&self, cells: &[(u8, u64)], n: u64) -> usize {
        let frequent = || {
            let count = cells.iter().map(|c| c.1).sum::<u64>();
            count.saturating_mul(FREQUENT) >= n && cells.len() >= MIN_WINDOW_BUCKETS
        };
        match self.other {
            Some(other) if !frequent() => other,
            _ => self.values.len(),
        }
    }
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
}
