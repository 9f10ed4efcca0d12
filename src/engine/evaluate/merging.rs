//! Merging what segments hold, segment by segment on all cores. A sum is the same in any order.

use crate::window::{PackedError, SegmentSum};
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use std::hash::Hash;

/// What is added to what, by place.
#[derive(Debug)]
pub struct SegmentSumMerger<K> {
    places: FxHashMap<K, Vec<SegmentSum>>,
}

impl<K: Eq + Hash + Send> SegmentSumMerger<K> {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { places: FxHashMap::default() }
    }

    /// Adds a part of a place; `present` is asked once for what is there already.
    pub fn add(&mut self, place: K, part: SegmentSum, present: impl FnOnce(&K) -> Option<SegmentSum>) {
        match self.places.get_mut(&place) {
            Some(parts) => parts.push(part),
            None => {
                let parts = present(&place).into_iter().chain([part]).collect();
                self.places.insert(place, parts);
            }
        }
    }

    /// The sum of each place.
    ///
    /// # Errors
    /// When sketches of one feature were made by different definitions.
    pub fn sums(self) -> Result<Vec<(K, SegmentSum)>, PackedError> {
        let sum = |(place, parts): (K, Vec<SegmentSum>)| {
            let mut parts = parts.into_iter();
            let mut sum = parts.next()?;
            Some(parts.try_for_each(|p| sum.merge(&p)).map(|()| (place, sum)))
        };
        self.places.into_par_iter().filter_map(sum).collect()
    }
}
