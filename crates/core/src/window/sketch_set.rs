//! The sketches of one segment, one for each feature.

use crate::config::features::FeatureKind;
use crate::sketch::{
    Body, CategorySketch, MissingSketch, NumericSketch, RateSketch, Sketch, SketchId, TokenSketch,
    UnlikeSketches, VectorSketch,
};

/// What one segment's events left in a stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SketchSet {
    /// Sketches by feature index; `None` where no event carried the feature.
    pub sketches: Vec<Option<Box<Sketch>>>,
}

impl SketchSet {
    /// Adds another stretch, or another partition's part of the same one.
    ///
    /// # Errors
    /// When sketches of one feature were made by different definitions.
    pub fn merge(&mut self, other: &Self) -> Result<(), UnlikeSketches> {
        self.merge_wanted(other, &|_| true)
    }

    /// As [`SketchSet::merge`], of the wanted features only.
    ///
    /// # Errors
    /// As there.
    pub fn merge_wanted(
        &mut self,
        other: &Self,
        wanted: &impl Fn(usize) -> bool,
    ) -> Result<(), UnlikeSketches> {
        self.room_for(other);
        for (f, (mine, theirs)) in self.sketches.iter_mut().zip(&other.sketches).enumerate() {
            match (mine, theirs) {
                (_, None) => {}
                _ if !wanted(f) => {}
                (Some(a), Some(b)) => a.merge(b)?,
                (a @ None, Some(b)) => *a = Some(b.clone()),
            }
        }
        Ok(())
    }

    /// Adds another stretch and keeps its sketches where there was none, instead of copying them.
    ///
    /// # Errors
    /// As [`SketchSet::merge`].
    pub fn absorb(&mut self, other: Self) -> Result<(), UnlikeSketches> {
        self.room_for(&other);
        for (mine, theirs) in self.sketches.iter_mut().zip(other.sketches) {
            match (mine, theirs) {
                (_, None) => {}
                (Some(a), Some(b)) => a.merge(&b)?,
                (a @ None, b) => *a = b,
            }
        }
        Ok(())
    }

    /// Bounds the values of each category to `most`; returns how many were folded. What is left is
    /// cheap to copy and to add to several sums.
    pub fn fold(&mut self, most: usize) -> u64 {
        let all = self.sketches.iter_mut().flatten();
        let folded = all.map(|s| match &mut s.body {
            Body::Category(c) => c.fold(most),
            _ => 0,
        });
        let folded = folded.sum();
        self.settle();
        folded
    }

    /// Makes it cheap to copy and to add to several sums.
    pub fn settle(&mut self) {
        for sketch in self.sketches.iter_mut().flatten() {
            if let Body::Category(c) = &mut sketch.body {
                c.settle();
            }
        }
    }

    fn room_for(&mut self, other: &Self) {
        if self.sketches.len() < other.sketches.len() {
            self.sketches.resize_with(other.sketches.len(), || None);
        }
    }

    /// About how many bytes of memory its sketches take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let places = self.sketches.capacity() * size_of::<Option<Box<Sketch>>>();
        places + self.sketches.iter().flatten().map(|s| s.memory_bytes()).sum::<usize>()
    }

    /// Which session buckets any event filled, as a bitmap.
    #[must_use]
    pub fn filled_buckets(&self) -> u32 {
        self.sketches.iter().flatten().fold(0, |set, s| set | s.events().used())
    }
}

/// An empty sketch for a kind of feature.
#[must_use]
pub fn empty(kind: FeatureKind, id: SketchId) -> Sketch {
    let body = match kind {
        FeatureKind::Tokens => Body::Tokens(TokenSketch::default()),
        FeatureKind::Categorical => Body::Category(CategorySketch::default()),
        FeatureKind::Numeric | FeatureKind::Tail => Body::Numeric(NumericSketch::default()),
        FeatureKind::Rate | FeatureKind::Volume => Body::Rate(RateSketch::default()),
        FeatureKind::Embedding => Body::Vector(VectorSketch::default()),
        FeatureKind::Missing => Body::Missing(MissingSketch::default()),
    };
    Sketch { id, body }
}
