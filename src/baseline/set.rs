//! The baselines that hold for windows starting in one UTC day: rolling ones from the days before it, and pins.

use super::prepared::{About, Prepared, Strata};
use crate::config::Baselines;
use crate::config::features::Feature;
use crate::config::segments::{Groupings, parts};
use crate::event::time::DAY;
use crate::event::{Text, column};
use crate::sketch::{Sketch, UnlikeSketches};
use crate::window::{Contents, PaneRow, Segment};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// A named baseline of a fixed range.
#[derive(Debug, Clone)]
pub struct Pin {
    /// Its name, without `pinned:`.
    pub name: String,
    /// Hours that it covers.
    pub hours: f64,
    /// Days that it covers.
    pub days: u16,
    /// Its sketches.
    pub rows: Vec<PaneRow>,
}

/// Days that left the baselines of a segment's feature, as days since 1970.
pub type Excluded = FxHashMap<(Segment, usize), Vec<i64>>;

/// Per segment and feature, its baselines in the order of the configuration.
#[derive(Debug, Default)]
pub struct BaselineSet {
    prepared: FxHashMap<Segment, Vec<Vec<Arc<Prepared>>>>,
}

/// What is being summed up for one baseline: contents and the days that each feature has data of.
#[derive(Default)]
struct Sum {
    contents: Contents,
    days: Vec<FxHashSet<i64>>,
}

/// Sums up days for one day's baselines.
pub struct Builder<'a> {
    config: &'a Baselines,
    features: &'a [Feature],
    groupings: &'a Groupings,
    /// Start of the day whose windows are judged, microseconds.
    day: i64,
    excluded: &'a Excluded,
    sums: Vec<FxHashMap<Segment, Sum>>,
}

/// The dimension whose values a feature's mean is compared within, for segments of a grouping: the index of the grouping that has it
/// on top of the segment's own dimensions, if one is configured.
#[must_use]
pub fn stratifying_grouping(groupings: &Groupings, grouping: usize, by: Text) -> Option<usize> {
    let own = &groupings.all[grouping].by;
    if own.contains(&by) {
        return None;
    }
    groupings.all.iter().position(|g| {
        g.by.len() == own.len() + 1 && g.by.contains(&by) && own.iter().all(|d| g.by.contains(d))
    })
}

/// One feature's strata, by segment.
pub type SegmentStrata<'s> = FxHashMap<Segment, Vec<(Arc<str>, &'s Sketch)>>;

/// The sketches of feature `f` within each value of its stratifying dimension, by segment.
pub fn strata_of<'s>(
    feature: &Feature,
    f: usize,
    groupings: &Groupings,
    all: impl Iterator<Item = (&'s Segment, &'s Contents)>,
) -> SegmentStrata<'s> {
    let mut out = SegmentStrata::default();
    let Some(by) = feature.stratify else { return out };
    let parents: Vec<(usize, usize)> = (0..groupings.all.len())
        .filter_map(|g| stratifying_grouping(groupings, g, by).map(|fine| (g, fine)))
        .collect();
    let name = column(by.path());
    for (segment, contents) in all {
        let Some(Some(sketch)) = contents.sketches.get(f) else { continue };
        for &(coarse, fine) in parents.iter().filter(|p| p.1 == segment.grouping as usize) {
            let parent = Segment {
                grouping: coarse as u16,
                name: groupings.coarser(fine, &segment.name, coarse).into(),
            };
            if let Some((_, value)) = parts(&segment.name).find(|(k, _)| *k == name) {
                out.entry(parent).or_default().push((Arc::from(value), sketch));
            }
        }
    }
    for list in out.values_mut() {
        list.sort_by(|a, b| a.0.cmp(&b.0));
    }
    out
}

impl<'a> Builder<'a> {
    /// A builder for the windows that start in the day beginning at `day`.
    #[must_use]
    pub fn new(
        config: &'a Baselines,
        features: &'a [Feature],
        groupings: &'a Groupings,
        day: i64,
        excluded: &'a Excluded,
    ) -> Self {
        let sums = config.rolling_days.iter().map(|_| FxHashMap::default()).collect();
        Self { config, features, groupings, day, excluded, sums }
    }

    /// Whether a day's row can count in any of the baselines.
    #[must_use]
    pub fn wants(&self, row: &PaneRow) -> bool {
        let longest = self.config.rolling_days.iter().copied().max().unwrap_or(0);
        row.start < self.day && row.start >= self.day - i64::from(longest) * DAY && row.close_at <= self.day
    }

    /// Adds one segment's day (or a late addition to it).
    ///
    /// # Errors
    /// When its sketches were made by another definition.
    pub fn add(&mut self, row: &PaneRow) -> Result<(), UnlikeSketches> {
        if !self.wants(row) {
            return Ok(());
        }
        for (i, &days) in self.config.rolling_days.iter().enumerate() {
            if row.start < self.day - i64::from(days) * DAY {
                continue;
            }
            let sum = self.sums[i].entry(row.segment.clone()).or_default();
            sum.days.resize_with(self.features.len(), FxHashSet::default);
            sum.contents.sketches.resize_with(self.features.len(), || None);
            for (f, sketch) in row.contents.sketches.iter().enumerate() {
                let Some(sketch) = sketch else { continue };
                if leaves(self.excluded.get(&(row.segment.clone(), f)), self.day, days, row.start) {
                    continue;
                }
                sum.days[f].insert(row.start);
                match &mut sum.contents.sketches[f] {
                    Some(s) => s.merge(sketch)?,
                    slot => *slot = Some(sketch.clone()),
                }
            }
        }
        Ok(())
    }

    /// The finished set, with the pins behind the rolling baselines.
    #[must_use]
    pub fn finish(self, pins: &[Pin]) -> BaselineSet {
        let mut set = BaselineSet::default();
        for (i, sums) in self.sums.iter().enumerate() {
            let days = self.config.rolling_days[i];
            let about = |f: usize, sum: &Sum, sketch: &Sketch| About {
                name: format!("rolling_{days}d").into(),
                id: baseline_id(&format!("rolling_{days}d@{}", self.day), sketch),
                days: sum.days[f].len() as u16,
                enough_days: sum.days[f].len() as u16 >= self.config.min_days(days),
                hours: sum.days[f].len() as f64 * 24.0,
            };
            self.prepare(&mut set, sums.iter().map(|(s, sum)| (s, &sum.contents)), |segment, f, sketch| {
                about(f, &sums[segment], sketch)
            });
        }
        for pin in pins {
            let about = |sketch: &Sketch| About {
                name: format!("pinned:{}", pin.name).into(),
                id: baseline_id(&pin.name, sketch),
                days: pin.days,
                enough_days: true,
                hours: pin.hours,
            };
            self.prepare(&mut set, pin.rows.iter().map(|r| (&r.segment, &r.contents)), |_, _, sketch| {
                about(sketch)
            });
        }
        set
    }

    fn prepare<'s>(
        &self,
        set: &mut BaselineSet,
        all: impl Iterator<Item = (&'s Segment, &'s Contents)> + Clone,
        about: impl Fn(&Segment, usize, &Sketch) -> About,
    ) {
        for (f, feature) in self.features.iter().enumerate() {
            let strata = strata_of(feature, f, self.groupings, all.clone());
            for (segment, contents) in all.clone() {
                let Some(Some(sketch)) = contents.sketches.get(f) else { continue };
                let own: Option<&Strata<'_>> = strata.get(segment).map(Vec::as_slice);
                let prepared = Prepared::new(about(segment, f, sketch), feature, sketch, own);
                let features = set
                    .prepared
                    .entry(segment.clone())
                    .or_insert_with(|| vec![Vec::new(); self.features.len()]);
                features[f].push(Arc::new(prepared));
            }
        }
    }
}

/// Whether a flagged day leaves a baseline: the newest flagged days do, at most half of the baseline's days, so that what came before
/// the drift stays the norm as long as possible and a lasting change is the norm in the end.
fn leaves(flagged: Option<&Vec<i64>>, day: i64, days: u16, candidate: i64) -> bool {
    let Some(flagged) = flagged else { return false };
    let from = day - i64::from(days) * DAY;
    let newer = flagged.iter().filter(|d| **d >= from && **d < day && **d > candidate).count();
    flagged.contains(&candidate) && newer < usize::from(days / 2)
}

fn baseline_id(name: &str, sketch: &Sketch) -> Arc<str> {
    let mut h = blake3::Hasher::new();
    h.update(name.as_bytes());
    h.update(&sketch.encode());
    h.finalize().to_hex()[..16].into()
}

impl BaselineSet {
    /// The baselines of a segment's feature.
    #[must_use]
    pub fn get(&self, segment: &Segment, feature: usize) -> &[Arc<Prepared>] {
        self.prepared.get(segment).map_or(&[], |f| f[feature].as_slice())
    }

    /// Segments that have any.
    #[must_use]
    pub fn len(&self) -> usize {
        self.prepared.len()
    }

    /// Whether no segment has any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prepared.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_flagged_days_leave_up_to_half() {
        let day = |d: i64| d * DAY;
        let flagged: Vec<i64> = (10..17).map(day).collect();
        let left: Vec<i64> = (7..17).filter(|d| leaves(Some(&flagged), day(17), 7, day(*d))).collect();
        assert_eq!(left, [14, 15, 16]);
        assert!(!leaves(Some(&flagged), day(17), 7, day(9)));
        assert!(!leaves(None, day(17), 7, day(16)));
    }
}
