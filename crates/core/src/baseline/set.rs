//! The baselines that hold for windows starting in one UTC day: rolling ones from the days before
//! it, and pins.
//!
//! A segment's baselines are merged and prepared when one of its windows is judged for the first
//! time: most segments of a wide grouping are too small to ever be.

use super::about::{BaselineInfo, UnseenDays};
use super::days::BaselineDays;
use super::hours::HoursOfDay;
use super::name::BaselineName;
use super::pin::Pin;
use super::prepared::Prepared;
use super::strata::{Children, strata};
use super::sums::BaselineSum;
use super::week::{BlocksOfWeek, WindowBlocks};
use crate::config::Baselines;
use crate::config::features::Feature;
use crate::config::segments::Groupings;
use crate::enrich::Shown;
use crate::event::time::{DAY, floor};
use crate::sketch::Sketch;
use crate::window::{PaneRow, Segment, SketchSet};
use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

/// Days that left the baselines of a segment's feature, as their starts in microseconds. Segments
/// are known by their identity ([`Shown::identity`]): exclusions are read back from a public table.
pub type Excluded = FxHashMap<(Segment, usize), Vec<i64>>;

/// Segments' features that keep the baselines of an earlier day, as its start in microseconds: what
/// came since is a drift that goes on. Segments are known by their identity, as in [`Excluded`].
pub type HeldBaselines = FxHashMap<(Segment, usize), i64>;

/// Days, by segment: where a set's baselines come from.
pub trait DaySource: Send + Sync {
    /// The segments that have any rows.
    fn segments(&self) -> Vec<Segment>;

    /// A segment's rows of these blocks of the week, late additions among them. A row that is not
    /// split by hours, as the days of earlier builds, belongs to all of its day.
    ///
    /// # Errors
    /// A message when they can't be read.
    fn rows_of(&self, segment: &Segment, blocks: BlocksOfWeek) -> Result<Vec<PaneRow>, String>;

    /// Whether its rows are split by blocks.
    fn is_in_blocks(&self) -> bool;
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

/// What was made ready, so that it is made once.
#[derive(Default)]
pub(super) struct ReadyBaselines {
    /// Of all days, by hours of the day.
    all_days: FxHashMap<HoursOfDay, FxHashMap<Segment, SegmentBaselines>>,
    /// Of days of a window's kind, where a segment has seasonal features.
    of_its_kind: FxHashMap<WindowBlocks, FxHashMap<Segment, SegmentBaselines>>,
    /// Sums of single blocks of the day, of windows that overlap some: they are merged for every
    /// set of blocks.
    pub(super) blocks: FxHashMap<HoursOfDay, FxHashMap<Segment, Arc<Vec<BaselineSum>>>>,
    /// Which features of a segment are seasonal.
    pub(super) seasonal: FxHashMap<Segment, Arc<[bool]>>,
}

/// The baselines of one day.
pub struct BaselineSet {
    pub(super) recipe: BaselineRecipe,
    /// The baselines that are made of days, in the order of the configuration.
    pub(super) rolling: Vec<(BaselineName, BaselineDays)>,
    /// Start of the day whose windows are judged, microseconds.
    day: i64,
    pub(super) excluded: Excluded,
    held: RwLock<HeldBaselines>,
    pub(super) days: Vec<Arc<dyn DaySource>>,
    pub(super) ready: Mutex<ReadyBaselines>,
    children: OnceLock<Children>,
}

impl BaselineSet {
    /// The set for windows that start in the day beginning at `day`; `days` hold what was known when
    /// that day began, of [`BaselineDays::of_longest`], and of as many days before those that are
    /// held.
    #[must_use]
    pub fn new(
        recipe: BaselineRecipe,
        day: i64,
        excluded: Excluded,
        held: HeldBaselines,
        days: Vec<Arc<dyn DaySource>>,
    ) -> Self {
        let rolling = BaselineName::configured(&recipe.config)
            .filter_map(|name| BaselineDays::of(&name, day).map(|days| (name, days)))
            .collect();
        let (held, ready) = (RwLock::new(held), Mutex::default());
        Self { recipe, rolling, day, excluded, held, days, ready, children: OnceLock::new() }
    }

    /// Holds a segment's feature at the baselines of an earlier day, unless it is held at those of
    /// a day before. `known_as` is its identity.
    pub fn hold(&self, segment: &Segment, known_as: Segment, feature: usize, day: i64) {
        let key = (known_as, feature);
        if day >= self.day || self.held.read().get(&key).is_some_and(|own| *own <= day) {
            return;
        }
        self.held.write().insert(key, day);
        let children = self.children();
        let concerns =
            |own: &Segment| own == segment || children.get(own).iter().any(|c| c.segment == *segment);
        let mut ready = self.ready.lock();
        ready.all_days.values_mut().for_each(|of| of.retain(|own, _| !concerns(own)));
        ready.of_its_kind.values_mut().for_each(|of| of.retain(|own, _| !concerns(own)));
        ready.blocks.values_mut().for_each(|of| of.retain(|own, _| own != segment));
        ready.seasonal.remove(segment);
    }

    /// The day whose baselines a segment's feature is held at, if it is.
    pub(super) fn held_at(&self, segment: &Segment, feature: usize) -> Option<i64> {
        let held = self.held.read();
        if held.is_empty() {
            return None;
        }
        let grouping = &self.recipe.groupings.all[segment.grouping as usize];
        let name = self.recipe.shown.identity(grouping, &segment.name);
        held.get(&(Segment { name, ..segment.clone() }, feature)).copied()
    }

    fn children(&self) -> &Children {
        self.children.get_or_init(|| {
            let pinned = self.recipe.pins.iter().flat_map(|p| p.rows.iter().map(|r| r.segment.clone()));
            let all: FxHashSet<Segment> = self.days.iter().flat_map(|d| d.segments()).chain(pinned).collect();
            Children::of(&self.recipe.groupings, &self.recipe.features, all)
        })
    }

    /// The days that one of the configured baselines holds; `None` where it is no such, or a pin.
    #[must_use]
    pub fn days_of(&self, name: &BaselineName) -> Option<BaselineDays> {
        self.rolling.iter().find(|(own, _)| own == name).map(|(_, days)| *days)
    }

    /// The segments of its days.
    #[must_use]
    pub fn segments(&self) -> BTreeSet<Segment> {
        self.days.iter().flat_map(|source| source.segments()).collect()
    }

    /// Of a baseline's days those that have data, of any segment.
    ///
    /// # Errors
    /// A message when they can't be read.
    pub fn days_with_data(&self, days: BaselineDays) -> Result<BTreeSet<i64>, String> {
        let mut found = BTreeSet::new();
        for source in &self.days {
            for segment in source.segments() {
                let rows = source.rows_of(&segment, BlocksOfWeek::ALL)?;
                let taken = rows.iter().filter(|r| days.takes(r.start, r.close_at));
                found.extend(taken.map(|r| floor(r.start, DAY)));
            }
        }
        Ok(found)
    }

    /// How many of a baseline's days are flagged as drifted, over all segments and features.
    #[must_use]
    pub fn flagged(&self, days: BaselineDays) -> usize {
        self.excluded.values().flatten().filter(|day| days.contains(**day)).count()
    }

    /// A segment's baselines for a window: of the hours of the day that it overlaps, and of days of
    /// its kind for the features whose weekends differ.
    ///
    /// # Errors
    /// A message when its days can't be read or were made by another definition.
    pub fn get(&self, segment: &Segment, window: &WindowBlocks) -> Result<SegmentBaselines, String> {
        if let Some(ready) = self.ready.lock().of_its_kind.get(window).and_then(|of| of.get(segment)) {
            return Ok(Arc::clone(ready));
        }
        // Prepared outside the lock: two threads may do it twice, and come to the same.
        let all_days = self.of_all_days(segment, window.hours)?;
        let seasonal = self.seasonal(segment)?;
        let made = if seasonal.contains(&true) && window.alike != BlocksOfWeek::ALL {
            self.of_its_kind(segment, window, &seasonal, &all_days)?
        } else {
            all_days
        };
        let mut ready = self.ready.lock();
        Ok(Arc::clone(ready.of_its_kind.entry(*window).or_default().entry(segment.clone()).or_insert(made)))
    }

    fn of_all_days(&self, segment: &Segment, hours: HoursOfDay) -> Result<SegmentBaselines, String> {
        if let Some(ready) = self.ready.lock().all_days.get(&hours).and_then(|of| of.get(segment)) {
            return Ok(Arc::clone(ready));
        }
        let sums = |of: &Segment| self.sums_of_hours(of, hours);
        let mut made = self.prepare_rolling(segment, BlocksOfWeek::every_day(hours), &sums)?;
        self.prepare_pins(segment, hours, &mut made)?;
        let mut ready = self.ready.lock();
        let of = ready.all_days.entry(hours).or_default();
        Ok(Arc::clone(of.entry(segment.clone()).or_insert(Arc::new(made))))
    }

    /// Drops prepared baselines of other windows: windows move on, and seldom come back to the same
    /// part of the day.
    pub fn keep_only(&self, windows: &[WindowBlocks]) {
        let mut ready = self.ready.lock();
        ready.of_its_kind.retain(|own, _| windows.contains(own));
        ready.all_days.retain(|own, _| windows.iter().any(|window| window.hours == *own));
        let parts = windows.iter().map(|window| window.hours).filter(|hours| *hours != HoursOfDay::ALL);
        ready.blocks.retain(|own, _| parts.clone().any(|hours| hours.contains(*own)));
    }

    /// A segment's rolling baselines of some blocks of the week, by feature; `sums` makes those of
    /// a segment.
    pub(super) fn prepare_rolling(
        &self,
        segment: &Segment,
        blocks: BlocksOfWeek,
        sums: &dyn Fn(&Segment) -> Result<Vec<BaselineSum>, String>,
    ) -> Result<Vec<Vec<Arc<Prepared>>>, String> {
        let features = &self.recipe.features;
        let mut out: Vec<Vec<Arc<Prepared>>> = vec![Vec::new(); features.len()];
        let own = self.children().get(segment);
        let of_children: Vec<Vec<BaselineSum>> =
            own.iter().map(|c| sums(&c.segment)).collect::<Result<_, _>>()?;
        let sums = sums(segment)?;
        for (i, (baseline, days)) in self.rolling.iter().enumerate() {
            let (name, part) = (baseline.text(), part_of_id(blocks));
            let needed = self.needed_days(baseline.needed_days(&self.recipe.config), days, blocks);
            let parts: Vec<&SketchSet> = of_children.iter().map(|s| &s[i].contents).collect();
            for (f, feature) in features.iter().enumerate() {
                let Some(Some(sketch)) = sums[i].contents.sketches.get(f) else { continue };
                let with_data = &sums[i].days[f];
                let n = with_data.len() as u16;
                let day = self.held_at(segment, f).unwrap_or(self.day);
                let about = BaselineInfo {
                    name: Arc::clone(&name),
                    id: baseline_id(&format!("{baseline}@{day}{part}"), sketch),
                    days: n,
                    enough_days: n >= needed,
                    blocks,
                    unseen: self.unseen(days, with_data),
                    hours: with_data.iter().map(|day| f64::from(blocks.hours_on(*day).count())).sum(),
                };
                let strata = strata(feature, f, own, &parts);
                out[f].push(Arc::new(Prepared::new(about, feature, sketch, strata.as_deref())));
            }
        }
        Ok(out)
    }

    fn prepare_pins(
        &self,
        segment: &Segment,
        hours: HoursOfDay,
        out: &mut [Vec<Arc<Prepared>>],
    ) -> Result<(), String> {
        let own = self.children().get(segment);
        for pin in self.recipe.pins.iter() {
            let Some(contents) = pin.sum(segment, hours)? else { continue };
            let name = BaselineName::pin(&pin.name).text();
            let parts: Vec<SketchSet> = own
                .iter()
                .map(|c| Ok(pin.sum(&c.segment, hours)?.unwrap_or_default()))
                .collect::<Result<_, String>>()?;
            let parts: Vec<&SketchSet> = parts.iter().collect();
            let (held, blocks) = (pin.held(hours), BlocksOfWeek::every_day(pin.hours_of_day(hours)));
            let made_of = format!("{}{}", pin.name, part_of_id(blocks));
            for (f, feature) in self.recipe.features.iter().enumerate() {
                let Some(Some(sketch)) = contents.sketches.get(f) else { continue };
                let about = BaselineInfo {
                    name: Arc::clone(&name),
                    id: baseline_id(&made_of, sketch),
                    days: held.days,
                    enough_days: true,
                    blocks,
                    unseen: UnseenDays::default(),
                    hours: f64::from(held.hours),
                };
                let strata = strata(feature, f, own, &parts);
                out[f].push(Arc::new(Prepared::new(about, feature, sketch, strata.as_deref())));
            }
        }
        Ok(())
    }

    /// The kinds of day that a baseline of a week or more has not seen.
    fn unseen(&self, days: &BaselineDays, with_data: &FxHashSet<i64>) -> UnseenDays {
        let weekend = self.recipe.config.weekend;
        if weekend.count() == 0 || days.count() < 7 {
            return UnseenDays::default();
        }
        let kind = BlocksOfWeek::of_kind(weekend, true);
        let weekends = with_data.iter().filter(|day| kind.contains(**day)).count();
        UnseenDays { working_days: weekends == with_data.len(), weekend: weekends == 0 }
    }
}

/// What a part of the week adds to a baseline's id: nothing where it holds all.
fn part_of_id(blocks: BlocksOfWeek) -> String {
    if blocks == BlocksOfWeek::ALL { String::new() } else { format!("@{blocks}") }
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
    use crate::config::Weekend;
    use crate::config::features::builtin;
    use crate::sketch::{Body, RateSketch, SketchId};

    struct Kept(Vec<PaneRow>);

    impl DaySource for Kept {
        fn segments(&self) -> Vec<Segment> {
            self.0.iter().map(|r| r.segment.clone()).collect()
        }
        fn is_in_blocks(&self) -> bool {
            true
        }
        fn rows_of(&self, segment: &Segment, blocks: BlocksOfWeek) -> Result<Vec<PaneRow>, String> {
            let of = |r: &&PaneRow| r.segment == *segment && blocks.contains(r.start);
            Ok(self.0.iter().filter(of).cloned().collect())
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
        let set = BaselineSet::new(
            recipe,
            35 * DAY,
            excluded,
            HeldBaselines::default(),
            vec![Arc::new(Kept(rows))],
        );
        let all = [28, 7].map(|days| set.days_of(&BaselineName::Rolling { days }).unwrap());
        assert_eq!(set.days_of(&BaselineName::Rolling { days: 6 }), None);
        let sums = set.sums(&all, &segment, BlocksOfWeek::ALL, &|_| true).unwrap();
        let n = |i: usize, f: usize| sums[i].contents.sketches[f].as_ref().unwrap().n() as i64;
        let days = |from: i64| (from..35).sum::<i64>();
        assert_eq!([n(0, 0), n(1, 0)], [days(7), days(28)]);
        assert_eq!([n(0, 1), n(1, 1)], [days(7) - 25 - 33, days(28) - 33]);
        assert_eq!([0, 1].map(|i| sums[i].days[0].len()), [28, 7]);
        assert_eq!([0, 1].map(|i| sums[i].days[1].len()), [26, 6]);
        for (days, together) in all.into_iter().zip(&sums) {
            let alone = set.sum(days, &segment).unwrap();
            assert_eq!(alone.days, together.days);
            assert_eq!(alone.contents, together.contents);
            assert_eq!(set.days_with_data(days).unwrap().len(), usize::from(days.count()));
        }
        assert_eq!(all.map(|days| set.flagged(days)), [2, 1]);
        let window = WindowBlocks::of(Weekend::default(), 35 * DAY, 36 * DAY);
        // Held at the baselines of an earlier day, the other feature stays where it is.
        let before = set.get(&segment, &window).unwrap();
        set.hold(&segment, segment.clone(), 1, 30 * DAY);
        let held = set.sums(&all, &segment, BlocksOfWeek::ALL, &|_| true).unwrap();
        let n = |i: usize, f: usize| held[i].contents.sketches[f].as_ref().unwrap().n() as i64;
        assert_eq!([n(0, 0), n(1, 0)], [days(7), days(28)]);
        let until_30 = |from: i64| (from..30).sum::<i64>();
        assert_eq!([n(0, 1), n(1, 1)], [until_30(2) - 25, until_30(23) - 25]);
        assert_eq!([0, 1].map(|i| held[i].days[1].len()), [27, 6]);
        let after = set.get(&segment, &window).unwrap();
        assert_eq!(before[0][1].about.id, after[0][1].about.id);
        assert_ne!(before[1][1].about.id, after[1][1].about.id, "prepared again");
        set.hold(&segment, segment.clone(), 1, 31 * DAY);
        assert_eq!(set.held_at(&segment, 1), Some(30 * DAY), "the earliest");
        set.hold(&segment, segment.clone(), 0, 35 * DAY);
        assert_eq!(set.get(&segment, &window).unwrap()[0][0].about.id, before[0][0].about.id);
    }
}
