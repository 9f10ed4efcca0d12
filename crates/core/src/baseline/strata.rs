//! Strata: the finer segments within which a feature's mean is compared, so that a change of mix is no drift of the feature.

use crate::config::features::Feature;
use crate::config::segments::{Groupings, parts};
use crate::event::{Text, column};
use crate::sketch::Sketch;
use crate::window::{Segment, SketchSet};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A finer segment of a segment, with one more dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The finer segment.
    pub segment: Segment,
    /// The dimension that it has on top.
    pub by: Text,
    /// Its value of that dimension.
    pub value: Arc<str>,
}

/// The finer segments of every segment, for the dimensions that features are stratified by.
#[derive(Debug, Default)]
pub struct Children {
    by_parent: FxHashMap<Segment, Vec<Child>>,
}

impl Children {
    /// Finds the finer ones among `all`.
    #[must_use]
    pub fn of(groupings: &Groupings, features: &[Feature], all: impl IntoIterator<Item = Segment>) -> Self {
        let mut dims: Vec<Text> = features.iter().filter_map(|f| f.stratify).collect();
        dims.sort_unstable();
        dims.dedup();
        let pairs: Vec<(usize, usize, Text)> = dims
            .iter()
            .flat_map(|&by| {
                (0..groupings.all.len())
                    .filter_map(move |g| Some((g, stratifying_grouping(groupings, g, by)?, by)))
            })
            .collect();
        let mut by_parent: FxHashMap<Segment, Vec<Child>> = FxHashMap::default();
        for segment in all {
            for &(coarse, _, by) in pairs.iter().filter(|p| p.1 == segment.grouping as usize) {
                let name = column(by.path());
                let Some((_, value)) = parts(&segment.name).find(|(k, _)| *k == name) else { continue };
                let parent = Segment {
                    grouping: coarse as u16,
                    name: groupings.coarser(segment.grouping as usize, &segment.name, coarse).into(),
                };
                by_parent.entry(parent).or_default().push(Child {
                    segment: segment.clone(),
                    by,
                    value: Arc::from(value),
                });
            }
        }
        for list in by_parent.values_mut() {
            list.sort_by(|a, b| a.segment.cmp(&b.segment));
        }
        Self { by_parent }
    }

    /// The finer segments of one.
    #[must_use]
    pub fn get(&self, segment: &Segment) -> &[Child] {
        self.by_parent.get(segment).map_or(&[], Vec::as_slice)
    }
}

/// The grouping that has `by` on top of a grouping's own dimensions, if one is configured.
fn stratifying_grouping(groupings: &Groupings, grouping: usize, by: Text) -> Option<usize> {
    let own = &groupings.all[grouping].by;
    if own.contains(&by) {
        return None;
    }
    groupings.all.iter().position(|g| {
        g.by.len() == own.len() + 1 && g.by.contains(&by) && own.iter().all(|d| g.by.contains(d))
    })
}

/// Feature `f`'s sketch in each stratum; `contents` are those of `children`, in their order. `None` where the feature isn't
/// stratified or has no strata here.
#[must_use]
pub fn strata<'s>(
    feature: &Feature,
    f: usize,
    children: &[Child],
    contents: &[&'s SketchSet],
) -> Option<Vec<(Arc<str>, &'s Sketch)>> {
    let by = feature.stratify?;
    let list: Vec<_> = children
        .iter()
        .zip(contents)
        .filter(|(c, _)| c.by == by)
        .filter_map(|(c, contents)| Some((Arc::clone(&c.value), contents.sketches.get(f)?.as_deref()?)))
        .collect();
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::features::builtin;

    #[test]
    fn the_default_groupings_stratify_latency_by_model_version() {
        let groupings = Config::default().groupings().unwrap();
        let features = builtin();
        let g = |name: &str| groupings.index_of(name).unwrap() as u16;
        let fine =
            Segment { grouping: g("model_version,tenant"), name: "model_version=M2,tenant=birch".into() };
        let children = Children::of(&groupings, &features, [fine.clone()]);
        let parent = Segment { grouping: g("tenant"), name: "tenant=birch".into() };
        assert_eq!(
            children.get(&parent),
            [Child { segment: fine, by: Text::ModelVersion, value: "M2".into() }]
        );
        let other = Segment { grouping: g("tenant"), name: "tenant=dune".into() };
        assert!(children.get(&other).is_empty());
    }
}
