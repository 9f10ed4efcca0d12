//! F4 for scalars: means and rates.

use super::{BUCKETS, Judgement, MIN_WINDOW_BUCKETS, ROUNDING, Reason, Weights, floor};
use crate::drift::tails::{f_sf, two_sided_t};

/// A baseline of a mean or a rate, prepared to judge many windows.
#[derive(Debug, Clone)]
pub struct PreparedScalar {
    mean: f64,
    /// Variance of the baseline's mean.
    variance: f64,
    /// Correlation of two events of one session, 0 to 1.
    rho: f64,
    /// The variance of an event that is alone in its session; predicts a window's.
    unit: f64,
    freedom: f64,
    lacking: Option<Reason>,
}

impl PreparedScalar {
    /// Prepares a baseline of `s` (sums of the value by bucket), `n` (events by bucket) and `q2`
    /// (the sum of squares of all values). Too small a baseline is accepted; its windows have
    /// insufficient data.
    pub fn new(s: &[f64; BUCKETS], n: &[f64; BUCKETS], q2: f64) -> Self {
        let weights = Weights::trimmed(n);
        let lacking = weights.lacking();
        if lacking.is_some() {
            return Self { mean: 0.0, variance: 0.0, rho: 1.0, unit: 0.0, freedom: 1.0, lacking };
        }
        let (mean, variance) = mean_and_variance(s, n, &weights);
        let sessions = weights.sessions();
        let per_session = (weights.total / sessions).max(1.0);
        let population = q2 / n.iter().sum::<f64>() - mean * mean;
        let design_effect = variance * weights.total / population.max(1e-300);
        let rho = if per_session > 1.2 {
            ((design_effect - 1.0) / (per_session - 1.0).max(0.2)).clamp(0.0, 1.0)
        } else {
            1.0
        };
        let unit = variance / spread(rho, weights.total, sessions);
        Self { mean, variance, rho, unit, freedom: weights.freedom(), lacking }
    }

    /// Judges a window of `s1` (sums by bucket) and `n1` (events by bucket). `tolerance` is a
    /// difference of means that does not matter: what is tested is the part beyond it.
    pub fn score(&self, s1: &[f64; BUCKETS], n1: &[f64; BUCKETS], tolerance: f64) -> Judgement {
        match self.estimate(s1, n1) {
            Ok(estimate) => estimate.judge(tolerance),
            Err(reason) => Judgement::Insufficient(reason),
        }
    }

    /// How far a window's mean is from the baseline's, of `s1` (sums by bucket) and `n1` (events by
    /// bucket).
    ///
    /// # Errors
    /// Why there is too little to judge by.
    pub fn estimate(&self, s1: &[f64; BUCKETS], n1: &[f64; BUCKETS]) -> Result<Estimate, Reason> {
        let weights = Weights::trimmed(n1);
        if weights.used < MIN_WINDOW_BUCKETS {
            return Err(Reason::FewWindowBuckets);
        }
        if let Some(reason) = self.lacking {
            return Err(reason);
        }
        let (mean, own) = mean_and_variance(s1, n1, &weights);
        let sessions = weights.sessions();
        let predicted = self.unit * spread(self.rho, weights.total, sessions);
        // The window's own variance and the predicted one, each as far as its freedom carries it.
        let freedom = weights.freedom();
        let trust = freedom / (freedom + self.freedom);
        let blended = trust * own + (1.0 - trust) * predicted;
        let variance = blended + self.variance;
        if !(mean.is_finite() && self.mean.is_finite() && variance.is_finite()) {
            return Err(Reason::NotFinite);
        }
        let rounding = ROUNDING * mean.abs().max(self.mean.abs());
        let (part1, part2) = (blended / variance, self.variance / variance);
        let freedom = 1.0 / (part1 * part1 / (freedom + self.freedom) + part2 * part2 / self.freedom);
        Ok(Estimate { difference: mean - self.mean, variance, freedom, rounding, used: weights.used })
    }
}

/// How far a window's mean is from its baseline's, and how exactly that is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The window's mean less the baseline's, on the test's scale.
    pub difference: f64,
    /// Variance of the difference.
    variance: f64,
    freedom: f64,
    /// A difference or a standard error of this size is rounding.
    rounding: f64,
    /// Buckets of the window in use.
    used: usize,
}

impl Estimate {
    /// Another difference, as exactly known.
    #[must_use]
    pub fn with_difference(self, difference: f64) -> Self {
        Self { difference, ..self }
    }

    /// The probability that chance explains the part of the difference beyond `tolerance`.
    pub fn judge(&self, tolerance: f64) -> Judgement {
        let beyond = (self.difference.abs() - tolerance).max(0.0);
        if self.is_constant() {
            // Neither sample varies: any difference is beyond chance, within the limit that the
            // number of buckets sets.
            return Judgement::PValue(if beyond <= self.rounding { 1.0 } else { floor(2.5, self.used) });
        }
        let ratio = beyond / self.variance.sqrt();
        Judgement::of(f_sf(ratio * ratio, 1.0, self.freedom))
    }

    /// The difference that chance exceeds with probability `level`: half the width of an interval
    /// that covers the true difference with probability 1 − `level`. 0 where neither sample varies.
    /// `level` is within (0, 1].
    pub fn half_width(&self, level: f64) -> f64 {
        if self.is_constant() || level >= 1.0 {
            return 0.0;
        }
        two_sided_t(level, self.freedom) * self.variance.sqrt()
    }

    fn is_constant(&self) -> bool {
        self.variance.sqrt() <= self.rounding || self.variance <= 0.0
    }
}

/// How the variance of a mean falls with its events and sessions, at a correlation `rho` within a
/// session.
fn spread(rho: f64, events: f64, sessions: f64) -> f64 {
    (1.0 - rho) / events + rho / sessions
}

/// The weighted mean of the buckets' means, and its leverage-corrected variance.
fn mean_and_variance(s: &[f64; BUCKETS], n: &[f64; BUCKETS], weights: &Weights) -> (f64, f64) {
    let mean: f64 = weights.buckets().map(|b| weights.share(b) / n[b] * s[b]).sum();
    let concentration = weights.concentration();
    let of_bucket = |b: usize| (weights.share(b) * (s[b] / n[b] - mean)).powi(2);
    let variance = weights.buckets().map(|b| of_bucket(b) / weights.leverage(b, concentration)).sum();
    (mean, variance)
}
