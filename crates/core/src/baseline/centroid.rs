//! A baseline of embeddings made ready: its centroid, the test over its projection, and what explains a drift.

use crate::drift::{
    Contributor, Judgement, PreparedVector, Scores, Sums, VectorKind, centroid_cosine, centroid_l2,
};
use crate::sketch::VectorSketch;
use std::sync::Arc;

/// Example requests named with a drift.
const EXAMPLES: usize = 5;

/// A prepared baseline of embeddings.
#[derive(Debug, Clone)]
pub struct PreparedCentroid {
    /// Mean of the unit vectors; empty without any.
    mean: Vec<f64>,
    /// Mean of the projections.
    projected: Vec<f64>,
    test: PreparedVector,
}

impl PreparedCentroid {
    /// Prepares a baseline's sketch.
    #[must_use]
    pub fn new(s: &VectorSketch) -> Self {
        let sums = projected_sums(s);
        let n = (s.n() as f64).max(1.0);
        Self {
            mean: s.mean().unwrap_or_default(),
            projected: sums.s.columns().into_iter().map(|c| c.sum() / n).collect(),
            test: PreparedVector::new(&sums, VectorKind::Embedding),
        }
    }

    /// Sets the distances of the centroids and judges the window.
    pub fn compare(&self, window: &VectorSketch, scores: &mut Scores) -> Judgement {
        if let Some(now) = window.mean().filter(|m| m.len() == self.mean.len()) {
            scores.centroid_cosine = centroid_cosine(&self.mean, &now);
            scores.centroid_l2 = centroid_l2(&self.mean, &now);
        }
        if window.projected_length() != self.projected.len() {
            // One of the two is empty: sketches of one id have projections of one length.
            return Judgement::Insufficient(crate::drift::Reason::FewWindowBuckets);
        }
        self.test.score(&projected_sums(window))
    }

    /// Sampled requests of the window by their distance from the baseline's centroid in the projection, farthest first.
    #[must_use]
    pub fn farthest(&self, window: &VectorSketch) -> Vec<Arc<str>> {
        let distance = |p: &mut dyn Iterator<Item = f64>| -> f64 {
            p.zip(&self.projected).map(|(x, m)| (x - m).powi(2)).sum()
        };
        let mut all: Vec<(f64, &Arc<str>)> =
            window.samples().map(|(id, mut p)| (distance(&mut p), id)).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        all.into_iter().take(EXAMPLES).map(|(_, id)| Arc::clone(id)).collect()
    }

    /// For each named style (a unit vector) the cosine of the window's centroid with it, the baseline's, and by how much the first is
    /// larger; what the window has moved towards comes first.
    #[must_use]
    pub fn towards(&self, window: &VectorSketch, styles: &[(Arc<str>, Vec<f64>)]) -> Vec<Contributor> {
        let Some(now) = window.mean() else { return Vec::new() };
        let cosine = |a: &[f64], b: &[f64]| centroid_cosine(a, b).map(|d| 1.0 - d);
        let mut all: Vec<Contributor> = styles
            .iter()
            .filter(|(_, s)| s.len() == now.len() && s.len() == self.mean.len())
            .filter_map(|(name, style)| {
                let (share, baseline_share) = (cosine(&now, style)?, cosine(&self.mean, style)?);
                let contribution = share - baseline_share;
                Some(Contributor { key: format!("style:{name}"), share, baseline_share, contribution })
            })
            .collect();
        all.sort_by(|a, b| b.contribution.total_cmp(&a.contribution).then_with(|| a.key.cmp(&b.key)));
        all
    }
}

fn projected_sums(s: &VectorSketch) -> Sums {
    let mut sums = Sums::new(s.projected_length());
    for (bucket, n, p) in s.projected() {
        sums.n[bucket as usize] = n as f64;
        sums.s.row_mut(bucket as usize).iter_mut().zip(p).for_each(|(to, x)| *to = x);
    }
    sums
}
