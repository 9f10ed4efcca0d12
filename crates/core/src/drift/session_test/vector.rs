//! F4 for vectors: embeddings, presence of tokens, shares of bins.

use ndarray::Array2;

use super::{BUCKETS, Judgement, MIN_WINDOW_BUCKETS, ROUNDING, Reason, Sums, Weights, floor};
use crate::drift::tails::f_sf;

/// What the vectors are; the calibration of the tail depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VectorKind {
    /// Projected, centred embeddings.
    Embedding,
    /// Presence of tokens in an event, scaled by [`super::token_scales`].
    Tokens,
    /// Shares of bins that add to one, all of which a window is likely to hold: deciles, as they are.
    Bins,
    /// Shares of categories that add to one, scaled by [`super::category_scales`]. A window that
    /// lacks the rare ones has hardly any variance of its own, so it is taken to vary at least as
    /// much as so many sessions of the baseline.
    Categories,
    /// How often each of several values came with an event, in fixed bins, scaled by
    /// [`super::token_scales`]: as [`Self::Tokens`], and a window is taken to vary at least as much as
    /// with [`Self::Categories`].
    Several,
}

impl VectorKind {
    /// The floor of p falls by this factor with each filled bucket.
    pub(super) fn floor_base(self) -> f64 {
        if self.is_shares() { 2.0 } else { 2.5 }
    }

    /// Whether the components are shares that add to one.
    fn is_shares(self) -> bool {
        matches!(self, Self::Bins | Self::Categories)
    }
}

/// A baseline prepared to judge many windows: everything that does not depend on the window.
#[derive(Debug, Clone)]
pub struct PreparedVector {
    kind: VectorKind,
    mean: Vec<f64>,
    /// Variance of the mean, summed over components.
    trace: f64,
    /// tr Σ²/(tr Σ)²: one over the number of directions that matter.
    th2: f64,
    /// Freedom of the numerator that matches the third moment, before it is bounded by the
    /// directions.
    skew_freedom: f64,
    /// Freedom of the baseline's own variance.
    freedom: f64,
    /// Effective sessions, at most one an event.
    sessions: f64,
    lacking: Option<Reason>,
}

impl PreparedVector {
    /// Prepares a baseline. Too small a baseline is accepted; its windows have insufficient data.
    pub fn new(baseline: &Sums, kind: VectorKind) -> Self {
        let dimension = baseline.dimension();
        let weights = Weights::capped(&baseline.n);
        let lacking = weights.lacking();
        if lacking.is_some() {
            let mean = vec![0.0; dimension];
            return Self {
                kind,
                mean,
                trace: 0.0,
                th2: 1.0,
                skew_freedom: 1.0,
                freedom: 1.0,
                sessions: 1.0,
                lacking,
            };
        }
        let mean = mean(baseline, &weights);
        let trace = trace(baseline, &weights, &mean);
        let (th2, th3) = shape(baseline, &weights, &mean);
        let (mut th2, th3) = (th2.clamp(1e-4, 1.0), th3.clamp(1e-9, 1.0));
        if kind.is_shares() {
            // Shares add to one, so one direction is none.
            th2 = th2.max(1.0 / dimension.saturating_sub(1).max(1) as f64);
        }
        let calibration = if kind.is_shares() { 1.0 } else { 0.65 };
        let skew_freedom = calibration * th2.powi(3) / (th3 * th3);
        let (freedom, sessions) = (weights.freedom(), weights.sessions());
        Self { kind, mean, trace, th2, skew_freedom, freedom, sessions, lacking }
    }

    /// Judges a window against the baseline.
    ///
    /// # Panics
    /// If the window's vectors are not of the baseline's dimension.
    pub fn score(&self, window: &Sums) -> Judgement {
        assert_eq!(window.dimension(), self.mean.len(), "window and baseline must have the same dimension");
        let weights = Weights::capped(&window.n);
        if weights.used < MIN_WINDOW_BUCKETS {
            return Judgement::Insufficient(Reason::FewWindowBuckets);
        }
        if let Some(reason) = self.lacking {
            return Judgement::Insufficient(reason);
        }
        let mean = mean(window, &weights);
        let mut own = trace(window, &weights, &mean);
        if matches!(self.kind, VectorKind::Categories | VectorKind::Several) {
            own = own.max(self.trace * self.sessions / weights.sessions());
        }
        let squared: f64 = mean.iter().zip(&self.mean).map(|(x, y)| (x - y).powi(2)).sum();
        let variance = own + self.trace;
        let magnitude = norm2(&mean).max(norm2(&self.mean));
        if !(squared.is_finite() && variance.is_finite() && magnitude.is_finite()) {
            return Judgement::Insufficient(Reason::NotFinite);
        }
        let least = floor(self.kind.floor_base(), weights.used);
        let rounding = ROUNDING * ROUNDING * magnitude;
        if variance <= rounding {
            // Neither sample varies: any difference is beyond chance, within the limit that the
            // number of buckets sets.
            return Judgement::PValue(if squared <= rounding { 1.0 } else { least });
        }

        let mut th2 = self.th2;
        if matches!(self.kind, VectorKind::Tokens | VectorKind::Several) {
            // New words add directions that the baseline does not have, or remove most of its own.
            th2 = th2.max(second_moment(window, &weights, &mean).clamp(1e-4, 1.0));
        }
        let directions = 1.0 / th2;
        let numerator = self.skew_freedom.clamp(1.0, directions);
        let (part1, part2) = (own / variance, self.trace / variance);
        let denominator = 1.0
            / (part1 * part1 / (directions * weights.freedom())
                + part2 * part2 / (directions * self.freedom));
        Judgement::of(tail(squared / variance, directions, numerator, denominator).max(least))
    }
}

/// P(T/trace > t) by an F with three matched moments: `directions` h = 1/th2, `numerator` ν =
/// th2³/th3², `freedom` that of the trace.
fn tail(t: f64, directions: f64, numerator: f64, freedom: f64) -> f64 {
    let r = (numerator / directions).sqrt();
    let d = t - 1.0 + r;
    if d <= 0.0 {
        return 1.0;
    }
    f_sf(d / r, numerator, freedom * (d / t.max(1e-12)).powi(2))
}

fn norm2(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum()
}

/// The weighted mean of the buckets' means.
fn mean(sums: &Sums, weights: &Weights) -> Vec<f64> {
    let mut mean = vec![0.0; sums.dimension()];
    for b in weights.buckets() {
        let f = weights.share(b) / sums.n[b];
        mean.iter_mut().zip(sums.s.row(b)).for_each(|(m, s)| *m += f * s);
    }
    mean
}

/// A bucket's residual a_b·(S_b/N_b − μ); over the buckets they sum to zero.
fn residual<'a>(
    sums: &'a Sums,
    weights: &Weights,
    mean: &'a [f64],
    bucket: usize,
) -> impl Iterator<Item = f64> + 'a {
    let a = weights.share(bucket);
    let f = a / sums.n[bucket];
    sums.s.row(bucket).into_iter().zip(mean).map(move |(s, m)| f * s - a * m)
}

/// The leverage-corrected variance of the mean, summed over components.
fn trace(sums: &Sums, weights: &Weights, mean: &[f64]) -> f64 {
    let concentration = weights.concentration();
    let of_bucket = |b| residual(sums, weights, mean, b).map(|r| r * r).sum::<f64>();
    weights.buckets().map(|b| of_bucket(b) / weights.leverage(b, concentration)).sum()
}

/// tr Σ²/(tr Σ)² and tr Σ³/(tr Σ)³ of the covariance of a bucket's residual, without the diagonal's
/// bias.
fn shape(sums: &Sums, weights: &Weights, mean: &[f64]) -> (f64, f64) {
    let Some(products) = off_diagonal(sums, weights, mean) else { return (1.0, 1.0) };
    let cubed = products.dot(&products);
    let cubes: f64 = cubed.iter().zip(&products.t()).map(|(x, y)| x * y).sum();
    let k = weights.used as f64;
    (squares(&products, k), cubes * k * k / ((k - 3.0) * (k - 4.0)))
}

/// The first of [`shape`]'s two.
fn second_moment(sums: &Sums, weights: &Weights, mean: &[f64]) -> f64 {
    off_diagonal(sums, weights, mean).map_or(1.0, |products| squares(&products, weights.used as f64))
}

fn squares(products: &Array2<f64>, k: f64) -> f64 {
    products.iter().map(|x| x * x).sum::<f64>() * k / (k - 3.0)
}

/// Products of the residuals of different buckets in use (k × k, diagonal 0), without the part that
/// is due to the common mean, divided by their unbiased trace. `None` for fewer than five buckets,
/// and where the residuals do not vary or are too large to square.
fn off_diagonal(sums: &Sums, weights: &Weights, mean: &[f64]) -> Option<Array2<f64>> {
    if weights.used < 5 {
        return None;
    }
    let mut residuals = Vec::with_capacity(weights.used * mean.len());
    let mut shares = [0.0; BUCKETS];
    for (i, b) in weights.buckets().enumerate() {
        residuals.extend(residual(sums, weights, mean, b));
        shares[i] = weights.share(b);
    }
    let residuals = Array2::from_shape_vec((weights.used, mean.len()), residuals).ok()?;
    let mut products = residuals.dot(&residuals.t());
    let trace = products.diag().sum();
    if !trace.is_finite() || trace <= 0.0 {
        return None;
    }
    // Divided before anything is squared: no product is above the trace, so the moments can't
    // overflow.
    let diagonal = products.diag().mapv(|own| own / trace);
    let k = weights.used as f64;
    let (once, twice) = (k / (k - 2.0), k * k / ((k - 1.0) * (k - 2.0)));
    for ((i, j), product) in products.indexed_iter_mut() {
        let mean_part =
            once * (diagonal[i] * shares[j] + shares[i] * diagonal[j]) - twice * shares[i] * shares[j];
        *product = if i == j { 0.0 } else { (*product / trace + mean_part) * (k - 1.0) / k };
    }
    Some(products)
}
