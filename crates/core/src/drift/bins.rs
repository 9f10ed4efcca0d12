//! Into which bins numbers and tokens are counted before their distance is taken; always the
//! baseline's bins.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most frequent tokens that have a bin of their own; all others share one.
pub const TOKEN_BINS: usize = 256;

/// The border between two numeric bins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// The value of the border.
    pub value: f64,
    /// Whether `value` itself belongs to the bin below the border (≤) or to the one above it (<).
    pub inclusive: bool,
}

impl Edge {
    /// The border that has `value` below it.
    pub fn at(value: f64) -> Self {
        Self { value, inclusive: true }
    }

    /// The border just below `value`.
    pub fn just_below(value: f64) -> Self {
        Self { value, inclusive: false }
    }

    /// Whether `value` is above this border. NaN is above none.
    fn is_passed_by(&self, value: f64) -> bool {
        if self.inclusive { value > self.value } else { value >= self.value }
    }
}

/// The borders between the deciles of a baseline, from its values with their weights, sorted by
/// value.
///
/// The i-th decile is the least value with at least i tenths of the weight at or below it, and
/// belongs to the bin below its border. Where deciles repeat, the value is a point mass and has its
/// own bin, between a border just below it and one at it: a constant 30 has the bins `< 30`, `30`
/// and `> 30`. So there are at most ten bins, the outer ones open, and one more bin than borders.
/// No weight, no borders: a single bin.
pub fn decile_edges(sorted: &[(f64, u64)]) -> Vec<Edge> {
    let total: u128 = sorted.iter().map(|&(_, weight)| u128::from(weight)).sum();
    let mut edges: Vec<Edge> = Vec::with_capacity(9);
    if total == 0 {
        return edges;
    }
    let mut below = 0u128;
    let mut tenth = 1u128;
    for &(value, weight) in sorted {
        below += u128::from(weight);
        let mut deciles = 0;
        while tenth < 10 && tenth * total <= below * 10 {
            tenth += 1;
            deciles += 1;
        }
        if deciles > 1 {
            edges.push(Edge::just_below(value));
        }
        if deciles > 0 {
            edges.push(Edge::at(value));
        }
    }
    edges
}

/// The bin of a value: 0 below the first border, `edges.len()` above the last. NaN falls in the
/// first bin.
pub fn bin_of(edges: &[Edge], value: f64) -> usize {
    edges.partition_point(|edge| edge.is_passed_by(value))
}

/// The weight in each of the `edges.len() + 1` bins.
pub fn bin_counts(edges: &[Edge], values: &[(f64, u64)]) -> Vec<u64> {
    let mut counts = vec![0; edges.len() + 1];
    for &(value, weight) in values {
        counts[bin_of(edges, value)] += weight;
    }
    counts
}

/// What to call a bin: "≤ 12.5", "12.5 – 14" (above the first, up to and with the second), "30"
/// (that value alone), "14 – <30", "> 90"; "any value" for the only bin, or one that does not
/// exist.
pub fn bin_label(edges: &[Edge], bin: usize) -> String {
    let below = bin.checked_sub(1).and_then(|i| edges.get(i));
    match (below, edges.get(bin)) {
        (None, None) => "any value".to_owned(),
        (None, Some(to)) => format!("{} {}", if to.inclusive { "≤" } else { "<" }, Short(to.value)),
        (Some(from), None) => format!("{} {}", if from.inclusive { ">" } else { "≥" }, Short(from.value)),
        (Some(from), Some(to)) if from.value == to.value => Short(to.value).to_string(),
        (Some(from), Some(to)) => {
            let (at_least, less) =
                (if from.inclusive { "" } else { "≥" }, if to.inclusive { "" } else { "<" });
            format!("{at_least}{} – {less}{}", Short(from.value), Short(to.value))
        }
    }
}

/// A number in at most six significant digits: enough to distinguish edges, short enough to read.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded: f64 = format!("{:.5e}", self.0).parse().unwrap_or(self.0);
        let magnitude = rounded.abs();
        if magnitude != 0.0 && !(1e-5..1e12).contains(&magnitude) {
            write!(f, "{rounded:e}")
        } else {
            write!(f, "{rounded}")
        }
    }
}

/// Bins of tokens: the baseline's most frequent ones, each its own bin in order of frequency, and
/// one for the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBins {
    /// Tokens by bin: most frequent first, equally frequent ones by id.
    tokens: Vec<u32>,
    /// (token, bin) sorted by token, for look-up.
    by_token: Vec<(u32, u32)>,
}

/// The bins of a baseline, from each token (once) and its count: the [`TOKEN_BINS`] most frequent
/// (of equally frequent ones the lower id first), and one for the rest. A baseline with fewer
/// distinct tokens has a bin for each of them and the one for the rest. Tokens counted zero times
/// have no bin.
pub fn token_bins(counts: impl Iterator<Item = (u32, u64)>) -> TokenBins {
    let mut counts: Vec<(u32, u64)> = counts.filter(|&(_, count)| count > 0).collect();
    let order = |x: &(u32, u64), y: &(u32, u64)| y.1.cmp(&x.1).then(x.0.cmp(&y.0));
    if counts.len() > TOKEN_BINS {
        counts.select_nth_unstable_by(TOKEN_BINS, order);
        counts.truncate(TOKEN_BINS);
    }
    counts.sort_unstable_by(order);
    let tokens: Vec<u32> = counts.into_iter().map(|(token, _)| token).collect();
    let mut by_token: Vec<(u32, u32)> = tokens.iter().copied().zip(0..).collect();
    by_token.sort_unstable();
    TokenBins { tokens, by_token }
}

impl TokenBins {
    /// Number of bins B, with the one for the rest: 257 unless the baseline has fewer than 256
    /// distinct tokens.
    pub fn bins(&self) -> usize {
        self.tokens.len() + 1
    }

    /// The tokens that have a bin, by bin; the last bin, the rest, has none.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The bin of a token.
    pub fn bin_of(&self, token: u32) -> usize {
        match self.by_token.binary_search_by_key(&token, |&(token, _)| token) {
            Ok(at) => self.by_token[at].1 as usize,
            Err(_) => self.tokens.len(),
        }
    }

    /// The occurrences in each bin.
    pub fn counts(&self, counts: impl Iterator<Item = (u32, u64)>) -> Vec<u64> {
        let mut binned = vec![0; self.bins()];
        for (token, count) in counts {
            binned[self.bin_of(token)] += count;
        }
        binned
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(edges: &[Edge]) -> Vec<String> {
        (0..=edges.len()).map(|bin| bin_label(edges, bin)).collect()
    }

    #[test]
    fn a_spread_baseline_has_ten_equal_bins() {
        let values: Vec<(f64, u64)> = (1..=100).map(|v| (f64::from(v), 1)).collect();
        let edges = decile_edges(&values);
        assert_eq!(edges, [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0].map(Edge::at));
        assert_eq!(bin_counts(&edges, &values), [10; 10]);
        assert_eq!(bin_of(&edges, 10.0), 0);
        assert_eq!(bin_of(&edges, 10.0000001), 1);
        assert_eq!(bin_of(&edges, -1e300), 0);
        assert_eq!(bin_of(&edges, f64::INFINITY), 9);
    }

    #[test]
    fn a_constant_has_a_bin_of_its_own() {
        let edges = decile_edges(&[(30.0, 1_000)]);
        assert_eq!(edges, [Edge::just_below(30.0), Edge::at(30.0)]);
        assert_eq!(labels(&edges), ["< 30", "30", "> 30"]);
        assert_eq!(bin_counts(&edges, &[(29.0, 1), (30.0, 2), (31.0, 4)]), [1, 2, 4]);
    }

    #[test]
    fn a_point_mass_in_a_spread_baseline_has_a_bin_of_its_own() {
        let mut values: Vec<(f64, u64)> = (1..=70).map(|v| (f64::from(v) / 10.0, 1)).collect();
        values.push((7.5, 30));
        let edges = decile_edges(&values);
        assert_eq!(labels(&edges)[7..], ["7 – <7.5", "7.5", "> 7.5"]);
        assert_eq!(bin_counts(&edges, &values)[8], 30);
    }

    #[test]
    fn labels_read_as_ranges() {
        let edges = [Edge::at(12.5), Edge::at(14.0), Edge::just_below(90.0)];
        assert_eq!(labels(&edges), ["≤ 12.5", "12.5 – 14", "14 – <90", "≥ 90"]);
        assert_eq!(bin_label(&[], 0), "any value");
        assert_eq!(Short(0.1 + 0.2).to_string(), "0.3");
        assert_eq!(Short(1234.56789).to_string(), "1234.57");
        assert_eq!(Short(2.5e-9).to_string(), "2.5e-9");
        assert_eq!(Short(-1e20).to_string(), "-1e20");
    }

    #[test]
    fn no_baseline_is_one_bin() {
        assert!(decile_edges(&[]).is_empty());
        assert!(decile_edges(&[(5.0, 0)]).is_empty());
        assert_eq!(bin_of(&[], 3.0), 0);
    }

    #[test]
    fn equally_frequent_tokens_rank_by_id() {
        let bins = token_bins([(9, 5), (2, 5), (7, 8), (4, 0)].into_iter());
        assert_eq!(bins.tokens(), [7, 2, 9]);
        assert_eq!(bins.bins(), 4);
        assert_eq!([7, 2, 9, 4, 1000].map(|t| bins.bin_of(t)), [0, 1, 2, 3, 3]);
    }

    #[test]
    fn the_rest_shares_the_257th_bin() {
        let bins = token_bins((0..1000).map(|t| (t, 10 + u64::from(t >= 900))));
        assert_eq!(bins.bins(), 257);
        assert_eq!(bins.tokens()[0], 900);
        assert_eq!(*bins.tokens().last().unwrap(), 155);
        let counts = bins.counts([(900, 3), (155, 2), (156, 7), (40_000, 1)].into_iter());
        assert_eq!((counts[0], counts[255], counts[256]), (3, 2, 8));
    }

    proptest! {
        #[test]
        fn bins_are_ten_at_most_in_order_and_complete(
            values in prop::collection::vec((prop_oneof![-5.0..5.0f64, (0..4i32).prop_map(f64::from)], 0..30u64), 0..60),
        ) {
            let mut sorted = values;
            sorted.sort_by(|x, y| x.0.total_cmp(&y.0));
            sorted.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same { kept.1 += later.1; }
                same
            });
            let edges = decile_edges(&sorted);
            prop_assert!(edges.len() <= 9);
            for pair in edges.windows(2) {
                let rank = |e: &Edge| (e.value, e.inclusive);
                prop_assert!(rank(&pair[0]) < rank(&pair[1]));
            }
            let total: u64 = sorted.iter().map(|v| v.1).sum();
            prop_assert_eq!(bin_counts(&edges, &sorted).iter().sum::<u64>(), total);
            for &(value, _) in &sorted {
                let bin = bin_of(&edges, value);
                prop_assert!(bin == 0 || edges[bin - 1].is_passed_by(value));
                prop_assert!(bin == edges.len() || !edges[bin].is_passed_by(value));
            }
        }
    }
}
