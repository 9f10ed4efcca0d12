//! Fits a reference to vectors: principal components by linfa's eigendecomposition, clusters by its k-means.
//!
//! linfa's own PCA is not used: its iteration starts from random vectors and returns what it has where it does not
//! converge. The covariance and its full decomposition have one answer, whatever the rank. The same input gives the same
//! bits on one kind of processor; on another, matrix products may differ in the last place, so a reference is fitted once
//! and its file shared.

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_clustering::{KMeans, KMeansError, KMeansInit};
use linfa_linalg::LinalgError;
use linfa_linalg::eigh::{EigSort, EighInto};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView1, Axis, s};
use rand_xoshiro::Xoshiro256Plus;
use rand_xoshiro::rand_core::SeedableRng;

use super::projection::{MAX_CLUSTERS, MAX_COMPONENTS, MAX_DIMENSION, Method, Reference, ReferenceInfo};

/// Vectors that a fit needs for every component: with four, sampling inflates the variance of a direction of noise at
/// most (1 + √¼)² = 2.25 times (Marchenko, Pastur), and so what it is divided by 1.2 times; with fewer, the last
/// components describe the sample rather than the service.
const VECTORS_PER_COMPONENT: usize = 4;
/// Vectors that a cluster is worth on average; fewer clusters are made of fewer vectors.
const VECTORS_PER_CLUSTER: usize = 25;
/// Components with less variance, as a part of the first one's, are rounding.
const LEAST_VARIANCE: f64 = 1e-6;
/// Vectors of length one with less variance in all are one vector and the rounding of `f32`.
const LEAST_TOTAL: f64 = 1e-12;
/// Added to every eigenvalue, as a part of their sum, and taken off again: the solver stops by comparing with its
/// diagonal, and without full rank that would be zero.
const RIDGE: f64 = 1e-10;
/// Vectors that enter the covariance at once.
const ROWS: usize = 1024;
/// Starts of k-means, of which the best is kept.
const STARTS: usize = 10;

/// Why there is no reference for these vectors.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// Too few for the components.
    #[error(
        "a reference needs at least {needed} vectors ({VECTORS_PER_COMPONENT} for each component), there are {got}"
    )]
    TooFew {
        /// Vectors there are.
        got: usize,
        /// Vectors that would do.
        needed: usize,
    },
    /// Empty or enormous vectors.
    #[error("vectors must have from 1 to {MAX_DIMENSION} numbers, the first has {0}")]
    Dimension(usize),
    /// Vectors of different lengths.
    #[error("vector {index} has {got} numbers, the first has {expected}")]
    Ragged {
        /// Which vector, from 0.
        index: usize,
        /// Numbers it has.
        got: usize,
        /// Numbers of the first.
        expected: usize,
    },
    /// A NaN or an infinity.
    #[error("vector {0} has a number that is not finite")]
    NotFinite(usize),
    /// All zeros.
    #[error("vector {0} is all zeros and has no direction")]
    Zero(usize),
    /// No two directions.
    #[error("the vectors all point the same way, so nothing can be told apart by them")]
    Same,
    /// More clusters than a reference holds.
    #[error("a reference has at most {MAX_CLUSTERS} clusters, {0} were asked for")]
    Clusters(usize),
    /// The decomposition failed.
    #[error("the covariance could not be decomposed: {0}")]
    Solver(#[from] LinalgError),
    /// The clustering failed.
    #[error("the projections could not be clustered: {0}")]
    Cluster(#[from] KMeansError),
}

impl Reference {
    /// Fits a reference to embeddings of one dimension D, of any length: they are normalised first.
    ///
    /// Its directions are their first principal components, at most 64, without those of less than 10⁻⁶ of the first
    /// one's variance λ; each is divided by λ^¼, which keeps more weight on what varies much than whitening and less
    /// than none would. The sign of a component is such that its largest entry is positive. At most `clusters` clusters
    /// (fewer for fewer than 25 vectors each) come from k-means on the projections, largest first; `seed` is of its
    /// starts. Time grows with D³ and with vectors × D².
    ///
    /// # Errors
    /// Vectors that can't be used, fewer than 4 for each of the min(64, D) components, or a failing solver.
    pub fn fit<V: AsRef<[f32]>>(vectors: &[V], clusters: usize, seed: u64) -> Result<Self, FitError> {
        if clusters > MAX_CLUSTERS {
            return Err(FitError::Clusters(clusters));
        }
        let units = units(vectors)?;
        let dimension = units.ncols();
        let Some(mean) = units.mean_axis(Axis(0)) else {
            return Err(FitError::TooFew { got: 0, needed: VECTORS_PER_COMPONENT });
        };
        let principal = principal(&units, &mean)?;

        let centre: Vec<f32> = mean.iter().map(|x| *x as f32).collect();
        let directions: Vec<f32> = principal.directions.iter().map(|x| *x as f32).collect();
        let about = ReferenceInfo {
            method: Method::Principal,
            vectors: units.nrows() as u64,
            explained: (principal.explained * 1e6).round() / 1e6,
        };
        let name = format!("principal-{dimension}");
        let bare = Self::from_parts(name.clone(), about.clone(), &centre, &directions, &[]);
        // Clustered as they will be looked up: by the rounded numbers.
        let mut projected = Array2::zeros((units.nrows(), bare.components()));
        for (unit, mut row) in units.rows().into_iter().zip(projected.rows_mut()) {
            // Rows of arrays in standard layout are slices.
            if let (Some(unit), Some(out)) = (unit.as_slice(), row.as_slice_mut()) {
                bare.project(unit, out);
            }
        }
        let clusters = clusters.min(units.nrows() / VECTORS_PER_CLUSTER);
        if clusters == 0 {
            return Ok(bare);
        }
        let clusters = cluster(projected, clusters, seed)?;
        Ok(Self::from_parts(name, about, &centre, &directions, &clusters))
    }
}

/// The vectors, checked and of length one, n × D.
fn units<V: AsRef<[f32]>>(vectors: &[V]) -> Result<Array2<f64>, FitError> {
    let dimension = vectors.first().map_or(1, |v| v.as_ref().len());
    if !(1..=MAX_DIMENSION).contains(&dimension) {
        return Err(FitError::Dimension(dimension));
    }
    let needed = VECTORS_PER_COMPONENT * dimension.min(MAX_COMPONENTS);
    if vectors.len() < needed {
        return Err(FitError::TooFew { got: vectors.len(), needed });
    }
    let mut units = Array2::zeros((vectors.len(), dimension));
    let mut unit = Vec::with_capacity(dimension);
    for (index, vector) in vectors.iter().enumerate() {
        let vector = vector.as_ref();
        if vector.len() != dimension {
            return Err(FitError::Ragged { index, got: vector.len(), expected: dimension });
        }
        if !Reference::unit(vector, &mut unit) {
            let finite = vector.iter().all(|x| x.is_finite());
            return Err(if finite { FitError::Zero(index) } else { FitError::NotFinite(index) });
        }
        units.row_mut(index).assign(&ArrayView1::from(&unit));
    }
    Ok(units)
}

/// What is kept of the decomposition.
struct Principal {
    /// D × K, each divided by λ^¼.
    directions: Array2<f64>,
    /// Share of the variance that they hold.
    explained: f64,
}

fn principal(units: &Array2<f64>, mean: &Array1<f64>) -> Result<Principal, FitError> {
    let dimension = units.ncols();
    // An odd side, with zeros for what is added: the solver walks columns, and those of an even one (512) fall on the
    // same few cache lines, which takes it eight times as long.
    let side = dimension | 1;
    let mut covariance = Array2::zeros((side, side));
    for block in units.axis_chunks_iter(Axis(0), ROWS) {
        let moved = &block - mean;
        let mut corner = covariance.slice_mut(s![..dimension, ..dimension]);
        general_mat_mul(1.0, &moved.t(), &moved, 1.0, &mut corner);
    }
    covariance /= (units.nrows() - 1) as f64;
    let total = covariance.diag().sum();
    if total <= LEAST_TOTAL {
        return Err(FitError::Same);
    }
    covariance.diag_mut().mapv_inplace(|x| x + RIDGE * total);
    let (values, vectors) = covariance.eigh_into()?.sort_eig_desc();
    let values: Vec<f64> = values.iter().map(|v| v - RIDGE * total).collect();

    let least = values[0] * LEAST_VARIANCE;
    let components = values.iter().take(dimension.min(MAX_COMPONENTS)).take_while(|v| **v >= least).count();
    let mut directions = vectors.slice(s![..dimension, ..components]).to_owned();
    for (mut column, value) in directions.columns_mut().into_iter().zip(&values) {
        let largest = column.iter().fold(0.0f64, |a, b| if b.abs() > a.abs() { *b } else { a });
        column /= value.sqrt().sqrt().copysign(largest);
    }
    Ok(Principal { directions, explained: (values[..components].iter().sum::<f64>() / total).min(1.0) })
}

/// Centres of clusters of the rows, C × K, the cluster with most rows first; none are empty.
fn cluster(rows: Array2<f64>, clusters: usize, seed: u64) -> Result<Vec<f32>, FitError> {
    let components = rows.ncols();
    let dataset = DatasetBase::from(rows);
    // k-means++: the parallel start that linfa has as well draws by thread, and so differs by the number of processors.
    let model = KMeans::params_with_rng(clusters, Xoshiro256Plus::seed_from_u64(seed))
        .init_method(KMeansInit::KMeansPlusPlus)
        .n_runs(STARTS)
        .fit(&dataset)?;
    // Counted here: the model's counts are those of its last start, not of its best.
    let centres: Vec<Vec<f32>> =
        model.centroids().rows().into_iter().map(|c| c.iter().map(|x| *x as f32).collect()).collect();
    let mut counts = vec![0usize; centres.len()];
    for row in dataset.records().rows() {
        let distance = |c: &[f32]| c.iter().zip(row).map(|(c, x)| (x - f64::from(*c)).powi(2)).sum::<f64>();
        let distances = centres.iter().map(|c| distance(c));
        let nearest = distances.enumerate().fold((0, f64::INFINITY), |a, b| if b.1 < a.1 { b } else { a });
        counts[nearest.0] += 1;
    }
    let mut order: Vec<usize> = (0..centres.len()).filter(|c| counts[*c] > 0).collect();
    order.sort_by_key(|c| std::cmp::Reverse(counts[*c]));
    let mut sorted = Vec::with_capacity(order.len() * components);
    for c in order {
        sorted.extend_from_slice(&centres[c]);
    }
    Ok(sorted)
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
