//! Tails: the share of events above a high quantile of the baseline. A mean hardly moves when one
//! request in twenty becomes five times slower; this share does.
//!
//! No pane depends on the limit: sketches count values by session bucket, in steps of a fifth
//! ([`tail_step`](crate::config::features::tail_step)), and the limit is the lower end of a step.

use super::missing::PerBucket;
use super::prepared::Strata;
use crate::drift::{BUCKETS, Contributor, Edge, Estimate, PreparedScalar, Reason, bin_label, terms};
use crate::sketch::{Body, NumericSketch, Sketch};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The share of a baseline's events that must be above the limit: it is the highest step that
/// leaves so many.
const LEAST_SHARE: f64 = 0.01;
/// Where so many are above it, it limits no tail: half of the values lie in one step, for example.
const LARGEST_SHARE: f64 = 0.25;
/// Events that a stratum of a baseline needs for a limit of its own.
const MIN_STRATUM: u64 = 200;

/// A limit, and the share of the baseline's events above it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct TailLimit {
    /// Values from here on are above.
    from: f64,
    share: f64,
}

/// The tail of a baseline, prepared to judge many windows.
#[derive(Debug, Clone)]
pub struct PreparedTail {
    /// That of all events; `None` where they have no tail.
    limit: Option<TailLimit>,
    /// Those of the strata; empty where it has none.
    strata: FxHashMap<Arc<str>, TailLimit>,
    test: PreparedScalar,
}

/// Events above their limit, and all.
struct Above {
    /// Above, less what the baseline's share predicts within strata.
    sums: PerBucket,
    events: PerBucket,
    above: f64,
    /// Sum of squares around the predicted shares.
    squares: f64,
}

impl PreparedTail {
    /// Prepares a baseline; its strata are the same events by model version, for example.
    #[must_use]
    pub fn new(baseline: &NumericSketch, strata: Option<&Strata<'_>>) -> Self {
        let of_stratum = |(name, sketch): &(Arc<str>, &Sketch)| match numbers(sketch) {
            Some(s) if s.n() >= MIN_STRATUM => Some((Arc::clone(name), limit_of(s)?)),
            _ => None,
        };
        let mut made = Self {
            limit: limit_of(baseline),
            strata: strata.unwrap_or_default().iter().filter_map(of_stratum).collect(),
            test: PreparedScalar::new(&[0.0; BUCKETS], &[0.0; BUCKETS], 0.0),
        };
        if let Some(above) = made.above(baseline, strata) {
            made.test = PreparedScalar::new(&above.sums, &above.events, above.squares);
        }
        made
    }

    /// The share of the baseline's events above their limit.
    #[must_use]
    pub fn share(&self, baseline: &NumericSketch, strata: Option<&Strata<'_>>) -> Option<f64> {
        self.above(baseline, strata).map(|above| above.share())
    }

    /// How far a window's share is from the baseline's, and the window's share.
    ///
    /// # Errors
    /// Why there is too little to judge by.
    pub fn compare(
        &self,
        window: &NumericSketch,
        strata: Option<&Strata<'_>>,
    ) -> Result<(Estimate, f64), Reason> {
        let above = self.above(window, strata).ok_or(Reason::FewBaselineEvents)?;
        Ok((self.test.estimate(&above.sums, &above.events)?, above.share()))
    }

    /// The range above the limit of all events, with the shares that lie there.
    #[must_use]
    pub fn contributors(&self, window: &NumericSketch) -> Vec<Contributor> {
        let Some(limit) = self.limit else { return Vec::new() };
        let n = window.n().max(1) as f64;
        let share = hits(window, limit.from).iter().sum::<f64>() / n;
        // The term of PSI, over the two sides of the limit, of as many events.
        let sides = |share: f64| [(share * n).round() as u64, ((1.0 - share) * n).round() as u64];
        let contribution = terms(&sides(limit.share), &sides(share))[0];
        vec![Contributor {
            key: bin_label(&[Edge::just_below(limit.from)], 1),
            share,
            baseline_share: limit.share,
            contribution,
        }]
    }

    /// `None` where there is no limit.
    fn above(&self, s: &NumericSketch, strata: Option<&Strata<'_>>) -> Option<Above> {
        let mut out = Above { sums: [0.0; BUCKETS], events: [0.0; BUCKETS], above: 0.0, squares: 0.0 };
        if self.strata.is_empty() {
            // A single stratum, from whose share nothing is taken off.
            out.add(s, TailLimit { share: 0.0, ..self.limit? });
            out.squares = out.above;
            return Some(out);
        }
        // Events of strata that the baseline does not know are left out, as for means.
        for (name, sketch) in strata.unwrap_or_default() {
            if let (Some(limit), Some(s)) = (self.strata.get(name), numbers(sketch)) {
                out.add(s, *limit);
            }
        }
        Some(out)
    }
}

impl Above {
    fn add(&mut self, s: &NumericSketch, limit: TailLimit) {
        let hits = hits(s, limit.from);
        let (mut above, mut events) = (0.0, 0.0);
        for (bucket, count, _) in s.events().iter() {
            let bucket = usize::from(bucket);
            self.sums[bucket] += hits[bucket] - limit.share * count as f64;
            self.events[bucket] += count as f64;
            above += hits[bucket];
            events += count as f64;
        }
        self.above += above;
        self.squares += above * (1.0 - 2.0 * limit.share) + events * limit.share * limit.share;
    }

    fn share(&self) -> f64 {
        self.above / self.events.iter().sum::<f64>().max(1.0)
    }
}

fn numbers(sketch: &Sketch) -> Option<&NumericSketch> {
    match &sketch.body {
        Body::Numeric(s) => Some(s),
        _ => None,
    }
}

/// The highest step that has [`LEAST_SHARE`] of the values in it or above.
fn limit_of(s: &NumericSketch) -> Option<TailLimit> {
    let values = s.quantiles().values();
    let n = values.iter().map(|v| v.1).sum::<u64>() as f64;
    let mut above = 0;
    values
        .iter()
        .rev()
        .find_map(|(value, count)| {
            above += count;
            let share = above as f64 / n;
            (share >= LEAST_SHARE).then_some(TailLimit { from: *value, share })
        })
        .filter(|limit| limit.share <= LARGEST_SHARE)
}

/// Values from `from` on, by session bucket.
fn hits(s: &NumericSketch, from: f64) -> PerBucket {
    let mut out = [0.0; BUCKETS];
    for (value, bucket, n) in s.quantiles().by_session() {
        if value >= from {
            out[usize::from(bucket)] += n as f64;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::features::tail_step;
    use crate::sketch::{SketchId, session_bucket};

    /// `sessions` sessions of 5 requests that take a second and a bit; of `slow` in a thousand
    /// requests `factor` times as long.
    fn traffic(seed: u64, sessions: u64, slow: u64, factor: f64) -> NumericSketch {
        let mut s = NumericSketch::default();
        for i in 0..5 * sessions {
            let h = |salt: u64| {
                let x = ((seed << 40) | (i << 8) | salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11
            };
            let session = (seed << 32) | (i / 5);
            let x = 1000.0 + (h(1) % 1000) as f64 + if h(2) % 50 == 0 { 3000.0 } else { 0.0 };
            let x = if h(3) % 1000 < slow { x * factor } else { x };
            let bucket = session_bucket(session.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            s.add(tail_step(x), x, x, bucket, session, true);
        }
        s
    }

    fn p(tail: &PreparedTail, window: &NumericSketch) -> f64 {
        tail.compare(window, None).unwrap().0.judge(0.0).p_value().unwrap()
    }

    #[test]
    fn a_few_requests_that_become_much_slower_are_found_and_a_mean_that_moves_is_not() {
        let tail = PreparedTail::new(&traffic(1, 2000, 0, 1.0), None);
        let limit = tail.limit.unwrap();
        assert!((3000.0..4200.0).contains(&limit.from) && (0.01..0.03).contains(&limit.share), "{limit:?}");
        assert!(p(&tail, &traffic(2, 200, 0, 1.0)) > 1e-3);
        assert!(p(&tail, &traffic(3, 200, 60, 5.0)) < 1e-6);
        let (estimate, share) = tail.compare(&traffic(3, 200, 60, 5.0), None).unwrap();
        assert!((estimate.difference - (share - limit.share)).abs() < 0.01, "{share}");
        let named = &tail.contributors(&traffic(3, 200, 60, 5.0))[0];
        assert!(named.key.starts_with("≥ ") && named.share > 2.0 * named.baseline_share, "{named:?}");
    }

    #[test]
    fn what_has_no_tail_is_not_judged() {
        let mut constant = NumericSketch::default();
        (0..1000u64).for_each(|i| constant.add(7.0, 7.0, 7.0, (i % 32) as u8, i, true));
        let tail = PreparedTail::new(&constant, None);
        assert_eq!(tail.compare(&constant, None).unwrap_err(), Reason::FewBaselineEvents);
        assert_eq!(tail.share(&constant, None), None);
        assert_eq!(tail.contributors(&constant), []);
    }

    #[test]
    fn a_change_of_mix_is_no_change_of_the_tail() {
        let of = |s: &NumericSketch| Sketch { id: SketchId(1), body: Body::Numeric(s.clone()) };
        let merged = |a: &NumericSketch, b: &NumericSketch| {
            let mut sum = a.clone();
            sum.merge(b);
            sum
        };
        // The second version is three times as slow throughout.
        let (fast, slow) = (traffic(1, 2000, 0, 1.0), traffic(2, 200, 1000, 3.0));
        let (a, b) = (of(&fast), of(&slow));
        let strata: [(Arc<str>, &Sketch); 2] = [("a".into(), &a), ("b".into(), &b)];
        let all = merged(&fast, &slow);
        let (within, together) = (PreparedTail::new(&all, Some(&strata)), PreparedTail::new(&all, None));
        // In the window, half of the requests are of the second.
        let (fast, slow) = (traffic(3, 200, 0, 1.0), traffic(4, 200, 1000, 3.0));
        let (a, b) = (of(&fast), of(&slow));
        let strata: [(Arc<str>, &Sketch); 2] = [("a".into(), &a), ("b".into(), &b)];
        let all = merged(&fast, &slow);
        let p_within = within.compare(&all, Some(&strata)).unwrap().0.judge(0.0).p_value().unwrap();
        assert!(p_within > 1e-3 && p(&together, &all) < 1e-6, "{p_within}");
        assert!(within.share(&all, Some(&strata)).unwrap() < 0.05);
    }
}
