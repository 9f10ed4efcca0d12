//! How far a window is from its baseline, over bins, over sorted values and over mean vectors.
//!
//! `a` are the baseline's counts and `b` the window's, bin by bin, `n` and `m` their sums. Shares
//! are smoothed after Jeffreys, p_i = (a_i+½)/(n+B/2) and q_i = (b_i+½)/(m+B/2), so an empty bin is
//! finite. All logarithms are natural. Without data there is no distance: `None`, never NaN.

use super::tails::deviance;

/// The distances over bins, from one pass over the counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distances {
    /// Population stability index, Σ (q−p)·ln(q/p): symmetric, ≥ 0.
    pub psi: f64,
    /// The part of `psi` that the sizes of the samples do not explain; see [`psi_excess`].
    pub psi_excess: f64,
    /// KL(q‖p), the window from the baseline: ≥ 0.
    pub kl: f64,
    /// Jensen-Shannon divergence (not its root): 0 to ln 2.
    pub js: f64,
}

/// PSI, PSI excess, KL and JS of aligned counts; `None` where a side is empty.
///
/// # Panics
/// If the two lists are not equally long.
pub fn distances(a: &[u64], b: &[u64]) -> Option<Distances> {
    let shares = Smoothed::new(a, b)?;
    let (mut psi, mut kl, mut js) = (0.0, 0.0, 0.0);
    for (p, q) in shares.pairs() {
        psi += psi_term(p, q);
        kl += deviance(q, p);
        js += js_term(p, q);
    }
    Some(Distances { psi, psi_excess: psi_excess(psi, a.len(), shares.n, shares.m), kl, js })
}

/// The population stability index alone.
///
/// # Panics
/// If the two lists are not equally long.
pub fn psi(a: &[u64], b: &[u64]) -> Option<f64> {
    Some(Smoothed::new(a, b)?.pairs().map(|(p, q)| psi_term(p, q)).sum())
}

/// max(0, psi − (B−1)·(1/n + 1/m)): PSI less its average without drift.
pub fn psi_excess(psi: f64, bins: usize, n: u64, m: u64) -> f64 {
    let expected = bins.saturating_sub(1) as f64 * (1.0 / n as f64 + 1.0 / m as f64);
    (psi - expected).max(0.0)
}

/// KL(q‖p), the window from the baseline.
///
/// # Panics
/// If the two lists are not equally long.
pub fn kl(a: &[u64], b: &[u64]) -> Option<f64> {
    Some(Smoothed::new(a, b)?.pairs().map(|(p, q)| deviance(q, p)).sum())
}

/// ½KL(q‖h) + ½KL(p‖h), h = (p+q)/2.
///
/// # Panics
/// If the two lists are not equally long.
pub fn js(a: &[u64], b: &[u64]) -> Option<f64> {
    Some(Smoothed::new(a, b)?.pairs().map(|(p, q)| js_term(p, q)).sum())
}

/// Each bin's signed PSI term: its contribution to [`psi`], positive where the window's share has
/// grown and negative where it has shrunk. Empty where a side is empty.
///
/// # Panics
/// If the two lists are not equally long.
pub fn terms(a: &[u64], b: &[u64]) -> Vec<f64> {
    let Some(shares) = Smoothed::new(a, b) else { return Vec::new() };
    shares.pairs().map(|(p, q)| if q < p { -psi_term(p, q) } else { psi_term(p, q) }).collect()
}

/// Both sides' counts with their sums, known to be non-empty.
struct Smoothed<'a> {
    a: &'a [u64],
    b: &'a [u64],
    n: u64,
    m: u64,
}

impl<'a> Smoothed<'a> {
    fn new(a: &'a [u64], b: &'a [u64]) -> Option<Self> {
        assert_eq!(a.len(), b.len(), "baseline and window must be counted over the same bins");
        let (n, m) = (a.iter().sum(), b.iter().sum());
        (n > 0 && m > 0).then_some(Self { a, b, n, m })
    }

    fn pairs(&self) -> impl Iterator<Item = (f64, f64)> {
        let half_bins = self.a.len() as f64 / 2.0;
        let (n, m) = (self.n as f64 + half_bins, self.m as f64 + half_bins);
        let share = |count: u64, total: f64| (count as f64 + 0.5) / total;
        self.a.iter().zip(self.b).map(move |(&a, &b)| (share(a, n), share(b, m)))
    }
}

fn psi_term(p: f64, q: f64) -> f64 {
    let growth = (q - p) / p;
    // ln_1p keeps the digits of a small change, ln those of a share that all but vanished.
    let log_ratio = if growth.abs() < 0.5 { growth.ln_1p() } else { (q / p).ln() };
    (q - p) * log_ratio
}

fn js_term(p: f64, q: f64) -> f64 {
    let h = 0.5 * (p + q);
    0.5 * (deviance(q, h) + deviance(p, h))
}

/// First Wasserstein distance of two weighted lists sorted by value, in units of `baseline_sd`: the
/// area between their distribution functions. `None` where a side has no weight or the standard
/// deviation is not positive.
pub fn wasserstein(baseline: &[(f64, u64)], window: &[(f64, u64)], baseline_sd: f64) -> Option<f64> {
    let weigh = |list: &[(f64, u64)]| list.iter().map(|&(_, weight)| i128::from(weight)).sum::<i128>();
    let (n, m) = (weigh(baseline), weigh(window));
    if n == 0 || m == 0 || baseline_sd.is_nan() || baseline_sd <= 0.0 {
        return None;
    }
    // Exact in integers, so equal distributions have distance 0 whatever their sizes; 64-bit ones
    // where they suffice.
    let narrow = n.checked_mul(m).and_then(|product| i64::try_from(product).ok()).is_some();
    let area = if narrow {
        let (n, m) = (n as i64, m as i64);
        area(baseline, window, |left, right| ((left as i64) * m - (right as i64) * n).unsigned_abs() as f64)
    } else {
        area(baseline, window, |left, right| {
            (i128::from(left) * m - i128::from(right) * n).unsigned_abs() as f64
        })
    };
    let distance = area / (n as f64 * m as f64) / baseline_sd;
    distance.is_finite().then_some(distance)
}

/// The area between two distribution functions; `gap` computes their distance at a value from the
/// weights below it on either side.
fn area(baseline: &[(f64, u64)], window: &[(f64, u64)], gap: impl Fn(u64, u64) -> f64) -> f64 {
    let (mut left, mut right) = (baseline, window);
    let (mut below_left, mut below_right) = (0u64, 0u64);
    let mut last: Option<f64> = None;
    let mut area = 0.0;
    loop {
        let from_left = match (left.first(), right.first()) {
            (Some(l), Some(r)) => l.0 <= r.0,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return area,
        };
        let list = if from_left { &mut left } else { &mut right };
        let Some((&(value, weight), rest)) = list.split_first() else { return area };
        *list = rest;
        if let Some(last) = last {
            area += (value - last) * gap(below_left, below_right);
        }
        let below = if from_left { &mut below_left } else { &mut below_right };
        *below = below.saturating_add(weight);
        last = Some(value);
    }
}

/// 1 − cos of the angle between two mean vectors, 0 to 2; `None` where one of them is zero.
///
/// # Panics
/// If the two are not equally long.
pub fn centroid_cosine(baseline: &[f64], window: &[f64]) -> Option<f64> {
    let (u, v) = (norm(baseline), norm(window));
    if !(u > 0.0 && v > 0.0 && u.is_finite() && v.is_finite()) {
        return None;
    }
    // Half the squared chord is 1 − cos without its cancellation at small angles.
    let chord: f64 = aligned(baseline, window).map(|(x, y)| (x / u - y / v).powi(2)).sum();
    Some((0.5 * chord).min(2.0))
}

/// Euclidean distance of two mean vectors; `None` where they are empty or not finite.
///
/// # Panics
/// If the two are not equally long.
pub fn centroid_l2(baseline: &[f64], window: &[f64]) -> Option<f64> {
    let distance = aligned(baseline, window).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
    (!baseline.is_empty() && distance.is_finite()).then_some(distance)
}

fn norm(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn aligned<'a>(u: &'a [f64], v: &'a [f64]) -> impl Iterator<Item = (f64, f64)> + 'a {
    assert_eq!(u.len(), v.len(), "centroids must have the same dimension");
    u.iter().copied().zip(v.iter().copied())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::fixture::{assert_agrees, counts, number, numbers, pairs};
    use super::*;

    fn fixture() -> Value {
        serde_json::from_str(include_str!("../../../../fixtures/statistics/distances.json")).unwrap()
    }

    #[test]
    fn binned_distances_agree_with_the_reference() {
        for case in fixture()["binned"].as_array().unwrap() {
            let (a, b) = (counts(case, "a"), counts(case, "b"));
            let got = distances(&a, &b).unwrap();
            assert_agrees(got.psi, number(case, "psi"), "psi");
            assert_agrees(got.psi_excess, number(case, "psi_excess"), "psi_excess");
            assert_agrees(got.kl, number(case, "kl"), "kl");
            assert_agrees(got.js, number(case, "js"), "js");
            for (got, want) in terms(&a, &b).into_iter().zip(numbers(case, "terms")) {
                assert_agrees(got, want, "term");
            }
        }
    }

    #[test]
    fn wasserstein_agrees_with_the_reference() {
        for case in fixture()["wasserstein"].as_array().unwrap() {
            let got = wasserstein(&pairs(case, "u"), &pairs(case, "v"), number(case, "sd")).unwrap();
            assert_agrees(got, number(case, "distance"), "wasserstein");
        }
    }

    #[test]
    fn centroid_distances_agree_with_the_reference() {
        for case in fixture()["centroids"].as_array().unwrap() {
            let (u, v) = (numbers(case, "u"), numbers(case, "v"));
            assert_agrees(centroid_cosine(&u, &v).unwrap(), number(case, "cosine"), "cosine");
            assert_agrees(centroid_l2(&u, &v).unwrap(), number(case, "l2"), "l2");
        }
    }

    #[test]
    fn what_has_no_data_has_no_distance() {
        assert_eq!(distances(&[], &[]), None);
        assert_eq!(distances(&[0, 0], &[1, 2]), None);
        assert_eq!(psi(&[1, 2], &[0, 0]), None);
        assert!(terms(&[0, 0], &[1, 2]).is_empty());
        assert_eq!(wasserstein(&[], &[(1.0, 1)], 1.0), None);
        assert_eq!(wasserstein(&[(1.0, 0)], &[(1.0, 1)], 1.0), None);
        assert_eq!(wasserstein(&[(1.0, 1)], &[(2.0, 1)], 0.0), None);
        assert_eq!(wasserstein(&[(1.0, 1)], &[(2.0, 1)], f64::NAN), None);
        assert_eq!(centroid_cosine(&[0.0, 0.0], &[1.0, 0.0]), None);
        assert_eq!(centroid_l2(&[], &[]), None);
    }

    #[test]
    fn the_same_shares_are_at_wasserstein_distance_zero() {
        let (small, large) = ([(0.1, 1), (0.7, 2)], [(0.1, 1_000), (0.7, 2_000)]);
        assert_eq!(wasserstein(&small, &large, 3.0), Some(0.0));
    }

    #[test]
    fn wide_weights_give_the_distance_of_narrow_ones() {
        let (a, b) = ([(0.1, 3), (0.7, 2), (1.5, 9)], [(0.2, 1), (0.7, 5), (4.0, 2)]);
        let wide = |list: [(f64, u64); 3]| list.map(|(x, weight)| (x, weight << 40));
        let narrow = wasserstein(&a, &b, 2.0).unwrap();
        let got = wasserstein(&wide(a), &wide(b), 2.0).unwrap();
        assert!((got - narrow).abs() <= 1e-15 * narrow, "{got} instead of {narrow}");
    }

    #[test]
    fn a_grown_bin_contributes_upwards() {
        let signed = terms(&[50, 50], &[80, 20]);
        assert!(signed[0] > 0.0 && signed[1] < 0.0);
    }

    fn two_counts() -> impl Strategy<Value = (Vec<u64>, Vec<u64>)> {
        (1..40usize).prop_flat_map(|bins| {
            let side = || prop::collection::vec(prop_oneof![Just(0u64), 0..100u64, 0..1u64 << 40], bins);
            (side(), side())
        })
    }

    proptest! {
        #[test]
        fn distances_are_bounded_and_psi_and_js_are_symmetric((a, b) in two_counts()) {
            if let Some(there) = distances(&a, &b) {
                let back = distances(&b, &a).unwrap();
                prop_assert!((there.psi - back.psi).abs() <= 1e-9 * there.psi);
                prop_assert!((there.js - back.js).abs() <= 1e-9 * there.js);
                prop_assert!(there.psi >= 0.0 && there.kl >= 0.0 && there.psi.is_finite() && there.kl.is_finite());
                prop_assert!((0.0..=2f64.ln() * (1.0 + 1e-12)).contains(&there.js));
                prop_assert!((0.0..=there.psi).contains(&there.psi_excess));
                let magnitudes: f64 = terms(&a, &b).iter().map(|t| t.abs()).sum();
                prop_assert!((magnitudes - there.psi).abs() <= 1e-9 * there.psi);
                // PSI is the sum of the two directed divergences.
                prop_assert!((there.kl + back.kl - there.psi).abs() <= 1e-9 * there.psi);
            } else {
                prop_assert!(a.iter().sum::<u64>() == 0 || b.iter().sum::<u64>() == 0);
            }
        }

        #[test]
        fn a_shift_moves_the_wasserstein_distance_by_as_much(
            mut values in prop::collection::vec((-1e3..1e3f64, 1..50u64), 1..30), shift in 0.0..100.0f64,
        ) {
            values.sort_by(|x, y| x.0.total_cmp(&y.0));
            let moved: Vec<_> = values.iter().map(|&(v, w)| (v + shift, w)).collect();
            let distance = wasserstein(&values, &moved, 2.0).unwrap();
            prop_assert!((distance - shift / 2.0).abs() <= 1e-9 * (1.0 + shift));
        }
    }
}
