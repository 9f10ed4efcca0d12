//! The baselines that hold for windows starting in one UTC day: rolling ones from the days before it, and pins.
//!
//! A segment's baselines are merged and prepared when one of its windows is judged for the first time: most segments of a wide
//! grouping are too small to ever be.

use super::prepared::{BaselineInfo, Prepared};
use super::strata::{Children, strata};
use crate::config::Baselines;
use crate::config::features::Feature;
use crate::config::segments::Groupings;
use crate::enrich::Shown;
use crate::event::time::DAY;
use crate::sketch::{Sketch, UnlikeSketches};
use crate::window::{PaneRow, Segment, SketchSet};
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::{Arc, OnceLock};

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

/// Days that left the baselines of a segment's feature, as their starts in microseconds. Segments
/// are known by their identity ([`Shown::identity`]): exclusions are read back from a public table.
pub type Excluded = FxHashMap<(Segment, usize), Vec<i64>>;

/// Days, by segment: where a set's baselines come from.
pub trait DaySource: Send + Sync {
    /// The segments that have any rows.
    fn segments(&self) -> Vec<Segment>;

    /// A segment's days, late additions among them.
    ///
    /// # Errors
    /// A message when they can't be read.
    fn rows_of(&self, segment: &Segment) -> Result<Vec<PaneRow>, String>;
}

/// What a set is made with.
#[derive(Debug, Clone)]
pub struct BaselineRecipe {
    /// Which baselines there are.
    pub config: Baselines,
    /// The features.
    pub features: Arc<[Feature]>,
    /// The groupings.
    pub groupings: Arc<Groupings>,
    /// The pins.
    pub pins: Arc<[Pin]>,
    /// What segments are known by in exclusions.
    pub shown: Shown,
}

/// One segment's baselines by feature, in the order of the configuration, pins behind.
pub type SegmentBaselines = Arc<Vec<Vec<Arc<Prepared>>>>;

/// The baselines of one day.
pub struct BaselineSet {
    recipe: BaselineRecipe,
    /// Start of the day whose windows are judged, microseconds.
    day: i64,
    excluded: Excluded,
    days: Vec<Arc<dyn DaySource>>,
    ready: Mutex<FxHashMap<Segment, SegmentBaselines>>,
    children: OnceLock<Children>,
}

/// What is summed up for one baseline of one segment.
struct Sum {
    contents: SketchSet,
    days: Vec<FxHashSet<i64>>,
}

impl BaselineSet {
    /// The set for windows that start in the day beginning at `day`; `days` hold what was known when that day began.
    #[must_use]
    pub fn new(recipe: BaselineRecipe, day: i64, excluded: Excluded, days: Vec<Arc<dyn DaySource>>) -> Self {
        Self { recipe, day, excluded, days, ready: Mutex::default(), children: OnceLock::new() }
    }

    /// A segment's baselines.
    ///
    /// # Errors
    /// A message when its days can't be read or were made by another definition.
    pub fn get(&self, segment: &Segment) -> Result<SegmentBaselines, String> {
        if let Some(ready) = self.ready.lock().get(segment) {
            return Ok(Arc::clone(ready));
        }
        // Prepared outside the lock: two threads may do it twice, and come to the same.
        let made = Arc::new(self.prepare(segment)?);
        Ok(Arc::clone(self.ready.lock().entry(segment.clone()).or_insert(made)))
    }

    fn prepare(&self, segment: &Segment) -> Result<Vec<Vec<Arc<Prepared>>>, String> {
        let features = &self.recipe.features;
        let mut out: Vec<Vec<Arc<Prepared>>> = vec![Vec::new(); features.len()];
        let children = self.children.get_or_init(|| {
            let pinned = self.recipe.pins.iter().flat_map(|p| p.rows.iter().map(|r| r.segment.clone()));
            let all: FxHashSet<Segment> = self.days.iter().flat_map(|d| d.segments()).chain(pinned).collect();
            Children::of(&self.recipe.groupings, features, all)
        });
        let own = children.get(segment);
        let sums = self.sums(segment)?;
        let of_children: Vec<Vec<Sum>> =
            own.iter().map(|c| self.sums(&c.segment)).collect::<Result<_, _>>()?;
        for (i, &days) in self.recipe.config.rolling_days.iter().enumerate() {
            let parts: Vec<&SketchSet> = of_children.iter().map(|s| &s[i].contents).collect();
            for (f, feature) in features.iter().enumerate() {
                let Some(Some(sketch)) = sums[i].contents.sketches.get(f) else { continue };
                let n = sums[i].days[f].len() as u16;
                let about = BaselineInfo {
                    name: format!("rolling_{days}d").into(),
                    id: baseline_id(&format!("rolling_{days}d@{}", self.day), sketch),
                    days: n,
                    enough_days: n >= self.recipe.config.min_days(days),
                    hours: f64::from(n) * 24.0,
                };
                let strata = strata(feature, f, own, &parts);
                out[f].push(Arc::new(Prepared::new(about, feature, sketch, strata.as_deref())));
            }
        }
        for pin in self.recipe.pins.iter() {
            let row = |s: &Segment| pin.rows.iter().find(|r| r.segment == *s).map(|r| &r.contents);
            let Some(contents) = row(segment) else { continue };
            let none = SketchSet::default();
            let parts: Vec<&SketchSet> = own.iter().map(|c| row(&c.segment).unwrap_or(&none)).collect();
            for (f, feature) in features.iter().enumerate() {
                let Some(Some(sketch)) = contents.sketches.get(f) else { continue };
                let about = BaselineInfo {
                    name: format!("pinned:{}", pin.name).into(),
                    id: baseline_id(&pin.name, sketch),
                    days: pin.days,
                    enough_days: true,
                    hours: pin.hours,
                };
                let strata = strata(feature, f, own, &parts);
                out[f].push(Arc::new(Prepared::new(about, feature, sketch, strata.as_deref())));
            }
        }
        Ok(out)
    }

    /// A segment's rolling baselines, summed, in the order of the configuration.
    fn sums(&self, segment: &Segment) -> Result<Vec<Sum>, String> {
        let lengths = &self.recipe.config.rolling_days;
        let features = self.recipe.features.len();
        let grouping = &self.recipe.groupings.all[segment.grouping as usize];
        let name = self.recipe.shown.identity(grouping, &segment.name);
        let known_as = Segment { name, ..segment.clone() };
        let flagged: Vec<Option<&Vec<i64>>> =
            (0..features).map(|f| self.excluded.get(&(known_as.clone(), f))).collect();
        let mut sums: Vec<Sum> = lengths.iter().map(|_| Sum::of(features)).collect();
        let mut ascending: Vec<usize> = (0..lengths.len()).collect();
        ascending.sort_by_key(|i| lengths[*i]);
        for source in &self.days {
            for row in source.rows_of(segment)? {
                // What was added to a day after this one began does not count in its baselines.
                if row.start >= self.day || row.close_at > self.day {
                    continue;
                }
                let reach = |i: &&usize| row.start >= self.day - i64::from(lengths[**i]) * DAY;
                for (f, sketch) in row.contents.sketches.into_iter().enumerate() {
                    let Some(sketch) = sketch else { continue };
                    if flagged[f].is_none() {
                        // Every longer baseline holds the shorter ones: each day is added to the shortest, and these to the longer below.
                        if let Some(&i) = ascending.iter().find(reach) {
                            sums[i].add(f, row.start, sketch).map_err(|e| e.to_string())?;
                        }
                        continue;
                    }
                    for &i in ascending.iter().filter(reach) {
                        if !leaves(flagged[f], self.day, lengths[i], row.start) {
                            sums[i].add(f, row.start, sketch.clone()).map_err(|e| e.to_string())?;
                        }
                    }
                }
            }
        }
        for pair in ascending.windows(2) {
            let shorter = std::mem::replace(&mut sums[pair[0]], Sum::of(0));
            let longer = &mut sums[pair[1]];
            let nested = |f: &usize| flagged[*f].is_none();
            longer.contents.merge_wanted(&shorter.contents, &|f| nested(&f)).map_err(|e| e.to_string())?;
            for f in (0..features).filter(nested) {
                longer.days[f].extend(&shorter.days[f]);
            }
            sums[pair[0]] = shorter;
        }
        sums.iter_mut().for_each(|sum| sum.contents.settle());
        Ok(sums)
    }
}

impl Sum {
    fn of(features: usize) -> Self {
        Self {
            contents: SketchSet { sketches: vec![None; features] },
            days: vec![FxHashSet::default(); features],
        }
    }

    fn add(&mut self, feature: usize, day: i64, sketch: Box<Sketch>) -> Result<(), UnlikeSketches> {
        self.days[feature].insert(day);
        match &mut self.contents.sketches[feature] {
            Some(s) => s.merge(&sketch)?,
            slot => *slot = Some(sketch),
        }
        Ok(())
    }
}

/// Whether a flagged day leaves a baseline: the newest flagged days do, at most half of the baseline's days, so that what came before
/// the drift stays the norm as long as possible and a lasting change is the norm in the end.
#[must_use]
pub fn leaves(flagged: Option<&Vec<i64>>, day: i64, days: u16, candidate: i64) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::features::builtin;
    use crate::sketch::{Body, RateSketch, SketchId};

    struct Kept(Vec<PaneRow>);

    impl DaySource for Kept {
        fn segments(&self) -> Vec<Segment> {
            self.0.iter().map(|r| r.segment.clone()).collect()
        }
        fn rows_of(&self, segment: &Segment) -> Result<Vec<PaneRow>, String> {
            Ok(self.0.iter().filter(|r| r.segment == *segment).cloned().collect())
        }
    }

    fn day_row(day: i64, feature: usize) -> PaneRow {
        let mut rate = RateSketch::default();
        for i in 0..day as u64 {
            rate.add(i % 2 == 0, (i % 32) as u8, i, (i, "r"));
        }
        let mut contents = SketchSet { sketches: vec![None; 2] };
        contents.sketches[feature] = Some(Box::new(Sketch { id: SketchId(1), body: Body::Rate(rate) }));
        let segment = Segment { grouping: 0, name: "".into() };
        PaneRow { start: day * DAY, close_at: (day + 1) * DAY, segment, contents }
    }

    /// Two features of which one has flagged days; baselines of 28 and of 7 days, in this order.
    #[test]
    fn longer_baselines_hold_the_days_of_shorter_ones_less_the_flagged() {
        let segment = Segment { grouping: 0, name: "".into() };
        let rows: Vec<PaneRow> = (1..40).flat_map(|d| [day_row(d, 0), day_row(d, 1)]).collect();
        let mut excluded = Excluded::default();
        excluded.insert((segment.clone(), 1), vec![25 * DAY, 33 * DAY]);
        let recipe = BaselineRecipe {
            config: Baselines { rolling_days: vec![28, 7], ..Baselines::default() },
            features: builtin()[..2].to_vec().into(),
            groupings: Arc::new(Groupings::new(&[vec![]]).unwrap()),
            pins: Arc::new([]),
            shown: Shown::default(),
        };
        let set = BaselineSet::new(recipe, 35 * DAY, excluded, vec![Arc::new(Kept(rows))]);
        let sums = set.sums(&segment).unwrap();
        let n = |i: usize, f: usize| sums[i].contents.sketches[f].as_ref().unwrap().n() as i64;
        let days = |from: i64| (from..35).sum::<i64>();
        assert_eq!([n(0, 0), n(1, 0)], [days(7), days(28)]);
        assert_eq!([n(0, 1), n(1, 1)], [days(7) - 25 - 33, days(28) - 33]);
        assert_eq!([0, 1].map(|i| sums[i].days[0].len()), [28, 7]);
        assert_eq!([0, 1].map(|i| sums[i].days[1].len()), [26, 6]);
    }

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
