//! The session-aware two-sample test (F4): could chance explain a window, when requests of one
//! session are alike?
//!
//! People re-roll one prompt many times, so the sampling unit is the session, not the request. A
//! sample keeps 32 sub-sums keyed by hash(session), of a feature vector and of the number of
//! events; these are additive, and nothing else is needed. How much the buckets' means differ shows
//! how much the mean of such a sample varies by chance.
//!
//! Against the plain cluster-robust test it adds what small p-values need: weights that no single
//! session dominates, a variance corrected for leverage, unbiased second and third moments of the
//! covariance, an F tail that matches three moments, and a lower limit on the p-value that few
//! buckets can give. Two forms: [`PreparedVector`] for embeddings, tokens and shares of bins,
//! [`PreparedScalar`] for means and rates. Both do work that depends on the baseline alone only
//! once.

mod scalar;
#[cfg(test)]
mod tests;
mod vector;

use ndarray::Array2;

pub use scalar::{Estimate, PreparedScalar};
pub use vector::{PreparedVector, VectorKind};

/// Session buckets of a sample.
pub const BUCKETS: usize = 32;
/// Buckets that a window must fill to be judged.
pub const MIN_WINDOW_BUCKETS: usize = 8;
/// Effective sessions that a baseline must have to be judged against.
pub const MIN_BASELINE_SESSIONS: f64 = 20.0;
/// Weight in events that a baseline must have to be judged against.
pub const MIN_BASELINE_EVENTS: f64 = 100.0;
/// Relative size below which a difference or a standard error is rounding: constants whose sums
/// differ in the last bits must not count as different.
const ROUNDING: f64 = 1e-12;

/// What 32 session buckets keep of a sample of vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums {
    /// Sum of the feature vectors in each bucket (32 × D).
    pub s: Array2<f64>,
    /// Number of events in each bucket, ≥ 0.
    pub n: [f64; BUCKETS],
}

impl Sums {
    /// An empty sample of `dimension`-dimensional vectors.
    pub fn new(dimension: usize) -> Self {
        Self { s: Array2::zeros((BUCKETS, dimension)), n: [0.0; BUCKETS] }
    }

    /// Components of a vector, D.
    pub fn dimension(&self) -> usize {
        self.s.ncols()
    }

    /// Multiplies each component by its scale; see [`token_scales`] and [`category_scales`]. Window
    /// and baseline must be scaled alike, by the baseline's scales.
    ///
    /// # Panics
    /// If there is not one scale for each component.
    pub fn scale_columns(&mut self, scales: &[f64]) {
        assert_eq!(scales.len(), self.dimension(), "one scale for each component");
        for mut row in self.s.rows_mut() {
            row.iter_mut().zip(scales).for_each(|(x, scale)| *x *= scale);
        }
    }
}

/// The result of comparing a window with its baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Judgement {
    /// The probability, 0 to 1, that a window of the baseline's own traffic would differ as much.
    PValue(f64),
    /// There is too little to judge by.
    Insufficient(Reason),
}

impl Judgement {
    /// The p-value, where there is one.
    pub fn p_value(self) -> Option<f64> {
        match self {
            Self::PValue(p) => Some(p),
            Self::Insufficient(_) => None,
        }
    }

    /// A p-value; NaN where sums were too large to square.
    fn of(p: f64) -> Self {
        if p.is_nan() { Self::Insufficient(Reason::NotFinite) } else { Self::PValue(p.clamp(0.0, 1.0)) }
    }
}

/// Why a window can't be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// The window's sessions fill fewer than [`MIN_WINDOW_BUCKETS`] buckets.
    #[error("the window has too few sessions")]
    FewWindowBuckets,
    /// The baseline has fewer than [`MIN_BASELINE_SESSIONS`] effective sessions.
    #[error("the baseline has too few sessions")]
    FewBaselineSessions,
    /// The baseline has fewer than [`MIN_BASELINE_EVENTS`] events.
    #[error("the baseline has too few events")]
    FewBaselineEvents,
    /// The sums are not finite, or too large to be squared.
    #[error("the sums are too large to compare")]
    NotFinite,
}

/// Scales that let rare tokens count: 1/√max(share, floor), with share = (count + ½)/(events + 1)
/// from the baseline and floor = max(4/D, 16/events). `counts`: events that touched each of the D
/// token bins.
pub fn token_scales(counts: &[f64], events: f64) -> Vec<f64> {
    scales(counts, events, (4.0 / counts.len() as f64).max(16.0 / events))
}

/// Scales that let rare categories count: as [`token_scales`], with a floor of 0.01.
pub fn category_scales(counts: &[f64], events: f64) -> Vec<f64> {
    scales(counts, events, 0.01)
}

fn scales(counts: &[f64], events: f64, floor: f64) -> Vec<f64> {
    counts.iter().map(|count| 1.0 / ((count + 0.5) / (events + 1.0)).max(floor).sqrt()).collect()
}

/// How much each bucket counts in a mean; buckets of weight 0 are not in use.
#[derive(Debug, Clone)]
struct Weights {
    w: [f64; BUCKETS],
    /// Σ w.
    total: f64,
    /// Buckets in use, k.
    used: usize,
}

impl Weights {
    /// Events, capped at three times the median of the filled buckets, so that one session can't
    /// dominate the mean.
    fn capped(n: &[f64; BUCKETS]) -> Self {
        let most = 3.0 * median_of_filled(n);
        Self::of(n.map(|x| x.min(most)))
    }

    /// Events, without the buckets above three times the median of the filled ones: a scalar's mean
    /// takes a bucket whole or not at all.
    fn trimmed(n: &[f64; BUCKETS]) -> Self {
        let most = 3.0 * median_of_filled(n);
        Self::of(n.map(|x| if x > most { 0.0 } else { x }))
    }

    fn of(w: [f64; BUCKETS]) -> Self {
        // Values that are not above zero have no weight, so that the total is never smaller than a
        // part.
        let w = w.map(|x| if x > 0.0 { x } else { 0.0 });
        Self { total: w.iter().sum(), used: w.iter().filter(|&&x| x > 0.0).count(), w }
    }

    /// The buckets in use.
    fn buckets(&self) -> impl Iterator<Item = usize> {
        (0..BUCKETS).filter(|&b| self.w[b] > 0.0)
    }

    /// A bucket's share of the weight, a_b.
    fn share(&self, bucket: usize) -> f64 {
        self.w[bucket] / self.total
    }

    /// Σ a_b²: the leverage that all buckets have together.
    fn concentration(&self) -> f64 {
        self.buckets().map(|b| self.share(b).powi(2)).sum()
    }

    /// The leverage that a bucket's residual has lost to the mean, which it is part of.
    fn leverage(&self, bucket: usize, concentration: f64) -> f64 {
        (1.0 - 2.0 * self.share(bucket) + concentration).max(1e-9)
    }

    /// The number of sessions that would spread over the buckets as unevenly as these weights (a
    /// second-moment sketch).
    fn effective_sessions(&self) -> f64 {
        const B: f64 = BUCKETS as f64;
        let even = self.total / B;
        let spread: f64 = self.w.iter().map(|w| (w - even).powi(2)).sum::<f64>() * B / (B - 1.0);
        self.total * self.total / spread.max(1e-30)
    }

    /// Effective sessions, at most one an event.
    fn sessions(&self) -> f64 {
        self.effective_sessions().min(self.total)
    }

    /// Degrees of freedom of a sample's own variance, at least 1.
    fn freedom(&self) -> f64 {
        let (mut squares, mut fourths) = (0.0, 0.0);
        for b in self.buckets() {
            let square = self.share(b).powi(2);
            squares += square;
            fourths += square * square;
        }
        (squares * squares / fourths).min(self.used as f64 - 1.0).max(1.0)
    }

    /// Why windows can't be judged against a baseline of these weights, if they can't.
    fn lacking(&self) -> Option<Reason> {
        if !self.total.is_finite() {
            Some(Reason::NotFinite)
        } else if self.effective_sessions() < MIN_BASELINE_SESSIONS || self.used == 0 {
            Some(Reason::FewBaselineSessions)
        } else if self.total < MIN_BASELINE_EVENTS {
            Some(Reason::FewBaselineEvents)
        } else {
            None
        }
    }
}

/// The median of the filled buckets, 0 where none is; of two in the middle their mean.
fn median_of_filled(n: &[f64; BUCKETS]) -> f64 {
    let mut filled = [0.0; BUCKETS];
    let mut k = 0;
    for &x in n.iter().filter(|&&x| x > 0.0) {
        filled[k] = x;
        k += 1;
    }
    let filled = &mut filled[..k];
    filled.sort_unstable_by(f64::total_cmp);
    match k {
        0 => 0.0,
        _ if k % 2 == 1 => filled[k / 2],
        _ => 0.5 * (filled[k / 2 - 1] + filled[k / 2]),
    }
}

/// The least p-value that a window can have whose sessions fill these buckets (`n`: events in each),
/// where it is judged as vectors of this kind.
pub fn least_p(kind: VectorKind, n: &[f64; BUCKETS]) -> f64 {
    floor(kind.floor_base(), n.iter().filter(|n| **n > 0.0).count())
}

/// The least p-value that a window of `buckets` filled buckets can have.
fn floor(base: f64, buckets: usize) -> f64 {
    base.powi(-(buckets.min(BUCKETS) as i32))
}
