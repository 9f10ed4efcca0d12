//! The fixed projection that embeddings pass before they enter sums, and the content clusters behind it.
//!
//! Applying a reference is plain arithmetic in one order, without fused operations: every machine gets the same bits,
//! so that sums of different machines and of a replay can be merged and compared.

use serde::{Deserialize, Serialize};

/// Largest number of components K: what a sketch keeps of an embedding.
pub const MAX_COMPONENTS: usize = 64;
/// Largest dimension D of an embedding.
pub const MAX_DIMENSION: usize = 8192;
/// Largest number of clusters C.
pub const MAX_CLUSTERS: usize = 256;

/// Outputs that are summed at once: few enough for the registers, many enough to hide an addition's latency.
const BLOCK: usize = 8;

/// How a reference was made; nothing of it enters a projection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceInfo {
    /// Where the directions come from.
    pub method: Method,
    /// Vectors it was fitted on; 0 for random directions.
    pub vectors: u64,
    /// Share of the vectors' variance that the directions hold, in millionths rounded; 0 for random directions.
    pub explained: f64,
}

/// Where directions come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Orthonormal, the same for every embedding of a dimension.
    Random,
    /// Principal components of vectors, each divided by the fourth root of its variance.
    Principal,
}

/// A projection of D numbers to K ≤ 64, and the centres of clusters in those K.
///
/// All numbers are of `f32` precision, so that a reference that was written to a file and read again is the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    name: String,
    about: ReferenceInfo,
    dimension: usize,
    components: usize,
    /// D numbers, subtracted before the projection.
    centre: Vec<f64>,
    /// In blocks of [`BLOCK`] components: for every input dimension the block's entries, zeros where K is no multiple.
    directions: Vec<f64>,
    /// C × K, one cluster after the other.
    clusters: Vec<f64>,
}

impl Reference {
    /// Fixed random orthonormal directions, min(64, D) of them, around 0 and without clusters: what serves where there
    /// are no vectors to fit. The same on every machine and in every version.
    ///
    /// # Panics
    /// If the dimension is 0 or above [`MAX_DIMENSION`].
    #[must_use]
    pub fn random(dimension: usize) -> Self {
        assert!((1..=MAX_DIMENSION).contains(&dimension), "a dimension is from 1 to {MAX_DIMENSION}");
        let components = dimension.min(MAX_COMPONENTS);
        let mut normal = Normal::new("driftglass reference, random directions, 1", dimension);
        let mut rows: Vec<Vec<f64>> = Vec::with_capacity(components);
        while rows.len() < components {
            let mut row: Vec<f64> = (0..dimension).map(|_| normal.sample()).collect();
            // Twice is enough for orthogonality to rounding (Kahan, Parlett: "twice is enough").
            let before = norm(&row);
            for _ in 0..2 {
                for done in &rows {
                    let dot: f64 = done.iter().zip(&row).map(|(a, b)| a * b).sum();
                    row.iter_mut().zip(done).for_each(|(x, d)| *x -= dot * d);
                }
            }
            let length = norm(&row);
            // Only the last of few dimensions can come out nearly dependent; another draw will not.
            if length > 1e-6 * before {
                row.iter_mut().for_each(|x| *x /= length);
                rows.push(row);
            }
        }
        let mut directions = Vec::with_capacity(dimension * components);
        for d in 0..dimension {
            directions.extend(rows.iter().map(|r| r[d] as f32));
        }
        let about = ReferenceInfo { method: Method::Random, vectors: 0, explained: 0.0 };
        Self::from_parts(format!("random-{dimension}"), about, &vec![0.0; dimension], &directions, &[])
    }

    /// Puts a reference together: `centre` of D numbers, `directions` D × K by input dimension, `clusters` C × K. The
    /// caller has checked the shapes.
    pub(super) fn from_parts(
        name: String,
        about: ReferenceInfo,
        centre: &[f32],
        directions: &[f32],
        clusters: &[f32],
    ) -> Self {
        let dimension = centre.len();
        let components = directions.len() / dimension;
        let mut blocks = vec![0.0; components.div_ceil(BLOCK) * dimension * BLOCK];
        for (d, row) in directions.chunks_exact(components).enumerate() {
            for (k, x) in row.iter().enumerate() {
                blocks[((k / BLOCK) * dimension + d) * BLOCK + k % BLOCK] = f64::from(*x);
            }
        }
        Self {
            name,
            about,
            dimension,
            components,
            centre: centre.iter().copied().map(f64::from).collect(),
            directions: blocks,
            clusters: clusters.iter().copied().map(f64::from).collect(),
        }
    }

    /// The same under another name, which is for people: it does not enter [`Reference::id`].
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it was made.
    #[must_use]
    pub fn about(&self) -> &ReferenceInfo {
        &self.about
    }

    /// D: numbers in an embedding.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// K: numbers in a projection.
    #[must_use]
    pub fn components(&self) -> usize {
        self.components
    }

    /// C: number of clusters, 0 where there are none.
    #[must_use]
    pub fn cluster_count(&self) -> usize {
        self.clusters.len() / self.components
    }

    /// What an embedding is moved by before it is projected, D numbers.
    #[must_use]
    pub fn centre(&self) -> &[f64] {
        &self.centre
    }

    /// The entry of component `k` for input dimension `d`, scaled as it is applied.
    ///
    /// # Panics
    /// If either is out of range.
    #[must_use]
    pub fn direction(&self, d: usize, k: usize) -> f64 {
        assert!(d < self.dimension && k < self.components, "no such entry of a direction");
        self.directions[((k / BLOCK) * self.dimension + d) * BLOCK + k % BLOCK]
    }

    /// The clusters' centres, K numbers each.
    pub fn clusters(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.clusters.chunks_exact(self.components)
    }

    /// Writes `vector` divided by its euclidean length to `out`, whatever `out` held. False, with `out` empty, where
    /// there is no direction to keep: a vector of zeros, or one with a number that is not finite.
    pub fn unit(vector: &[f32], out: &mut Vec<f64>) -> bool {
        out.clear();
        // Squares of f32 neither overflow nor vanish in f64. Eight sums, because one would wait for each addition.
        let mut sums = [0.0; 8];
        let (chunks, rest) = vector.as_chunks::<8>();
        for chunk in chunks {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(*x) * f64::from(*x);
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            *sum += f64::from(*x) * f64::from(*x);
        }
        let [a, b, c, d, e, f, g, h] = sums;
        let squared = ((a + b) + (c + d)) + ((e + f) + (g + h));
        if !(squared.is_finite() && squared > 0.0) {
            return false;
        }
        let length = squared.sqrt();
        out.extend(vector.iter().map(|x| f64::from(*x) / length));
        true
    }

    /// The K numbers of a vector of length one (see [`Reference::unit`]): Σ (x_d − centre_d)·direction_dk.
    ///
    /// # Panics
    /// If `unit` is not of D numbers or `out` not of K.
    pub fn project(&self, unit: &[f64], out: &mut [f64]) {
        assert_eq!(unit.len(), self.dimension, "the vector must be of the reference's dimension");
        assert_eq!(
            out.len(),
            self.components,
            "the projection has as many numbers as the reference components"
        );
        let blocks = self.directions.as_chunks::<BLOCK>().0.chunks_exact(self.dimension);
        for (out, block) in out.chunks_mut(BLOCK).zip(blocks) {
            // Every output has one sum over the input in its order; a block of them fills the vector registers.
            let mut sums = [0.0; BLOCK];
            for ((x, centre), row) in unit.iter().zip(&self.centre).zip(block) {
                let moved = x - centre;
                for (sum, direction) in sums.iter_mut().zip(row) {
                    *sum += moved * direction;
                }
            }
            out.copy_from_slice(&sums[..out.len()]);
        }
    }

    /// The cluster whose centre is nearest to a projection; of equally near ones the first. `None` where there are no
    /// clusters or the projection is not finite.
    ///
    /// # Panics
    /// If `projected` is not of K numbers.
    #[must_use]
    pub fn cluster(&self, projected: &[f64]) -> Option<usize> {
        assert_eq!(
            projected.len(),
            self.components,
            "a projection has as many numbers as the reference components"
        );
        let mut nearest = None;
        let mut least = f64::INFINITY;
        for (i, centre) in self.clusters().enumerate() {
            let distance: f64 = centre.iter().zip(projected).map(|(c, x)| (x - c) * (x - c)).sum();
            if distance < least {
                (nearest, least) = (Some(i), distance);
            }
        }
        nearest
    }

    /// What tells references apart whose projections or clusters differ: the first 64 bits of a BLAKE3 hash of all that
    /// gives them their meaning. Sums under different ids must not be merged.
    #[must_use]
    pub fn id(&self) -> u64 {
        let mut h = blake3::Hasher::new();
        h.update(b"driftglass reference 1\0");
        for n in [self.dimension, self.components, self.cluster_count()] {
            h.update(&(n as u64).to_le_bytes());
        }
        for part in self.parts() {
            let bytes: Vec<u8> = part.iter().flat_map(|x| x.to_le_bytes()).collect();
            h.update(&bytes);
        }
        let mut first = [0; 8];
        first.copy_from_slice(&h.finalize().as_bytes()[..8]);
        u64::from_le_bytes(first)
    }

    /// Centre, directions (D × K) and clusters (C × K) as they were given to [`Reference::from_parts`].
    pub(super) fn parts(&self) -> [Vec<f32>; 3] {
        let directions = (0..self.dimension)
            .flat_map(|d| (0..self.components).map(move |k| self.direction(d, k) as f32))
            .collect();
        let narrow = |v: &[f64]| v.iter().map(|x| *x as f32).collect();
        [narrow(&self.centre), directions, narrow(&self.clusters)]
    }
}

/// Euclidean length, summed in order.
pub(super) fn norm(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Standard normal numbers that are the same on every machine: bits of BLAKE3's stream, functions of `libm`.
pub(super) struct Normal(blake3::OutputReader);

impl Normal {
    /// A stream of its own for every purpose and number.
    pub(super) fn new(purpose: &str, number: usize) -> Self {
        let mut h = blake3::Hasher::new();
        h.update(purpose.as_bytes());
        h.update(&(number as u64).to_le_bytes());
        Self(h.finalize_xof())
    }

    /// One number, by Box and Muller's transform.
    pub(super) fn sample(&mut self) -> f64 {
        let mut bytes = [[0; 8]; 2];
        self.0.fill(bytes.as_flattened_mut());
        // 53 bits each; the first is above 0, where the logarithm is finite.
        let [u, v] = bytes.map(|b| (u64::from_le_bytes(b) >> 11) as f64);
        let unit = 1.0 / (1u64 << 53) as f64;
        (-2.0 * libm::log((u + 1.0) * unit)).sqrt() * libm::cos(std::f64::consts::TAU * (v * unit))
    }
}

#[cfg(test)]
#[path = "projection_tests.rs"]
pub(super) mod tests;
