//! Weekends: which features of a segment differ between working days and weekends, and the
//! baselines of these, made of days of the window's own kind.
//!
//! A feature is compared with days of one kind only where it must be: all days together judge
//! better, since there are more of them.

use super::about::BaselineInfo;
use super::days::BaselineDays;
use super::prepared::Prepared;
use super::set::{BaselineSet, SegmentBaselines};
use super::week::{BlocksOfWeek, WindowBlocks};
use crate::window::Segment;
use std::sync::Arc;

/// Level of the test whether weekends differ. What it misses differs by less than one window could
/// show, since a baseline has many times as much data.
const DIFFERS: f64 = 1e-3;
/// Days of its kind that a baseline needs before it judges windows of this kind, whatever share of
/// its days must have data.
const LEAST_DAYS: u16 = 4;

impl BaselineSet {
    /// For every feature, whether a segment's weekends differ from its working days.
    pub(super) fn seasonal(&self, segment: &Segment) -> Result<Arc<[bool]>, String> {
        if let Some(known) = self.ready.lock().seasonal.get(segment) {
            return Ok(Arc::clone(known));
        }
        let found = self.find_seasonal(segment)?;
        Ok(Arc::clone(self.ready.lock().seasonal.entry(segment.clone()).or_insert(found)))
    }

    fn find_seasonal(&self, segment: &Segment) -> Result<Arc<[bool]>, String> {
        let features = &self.recipe.features;
        let weekend = self.recipe.config.weekend;
        let longest = self.rolling.iter().map(|(_, days)| *days).max_by_key(BaselineDays::count);
        let Some(longest) = longest.filter(|_| weekend.count() > 0) else {
            return Ok(vec![false; features.len()].into());
        };
        let sum = |of_weekend: bool| {
            let blocks = BlocksOfWeek::of_kind(weekend, of_weekend);
            self.sums(&[longest], segment, blocks, &|_| true).map(|mut sums| sums.remove(0))
        };
        let (working, weekends) = (sum(false)?, sum(true)?);
        let pairs = working.contents.sketches.iter().zip(&weekends.contents.sketches).zip(features.iter());
        let differs = pairs.map(|((working, weekend), feature)| {
            let (Some(working), Some(weekend)) = (working, weekend) else { return Ok(false) };
            let about = BaselineInfo::of_all_hours("");
            let compared = Prepared::new(about, feature, working, None).compare(feature, weekend, None);
            Ok(compared.map_err(|e| e.to_string())?.scores.p_value.is_some_and(|p| p < DIFFERS))
        });
        differs.collect()
    }

    /// A segment's baselines for a window, where some of its features are seasonal: those of the
    /// other features, and all pins, are the ones for all days.
    pub(super) fn of_its_kind(
        &self,
        segment: &Segment,
        window: &WindowBlocks,
        seasonal: &[bool],
        all_days: &SegmentBaselines,
    ) -> Result<SegmentBaselines, String> {
        let days: Vec<BaselineDays> = self.rolling.iter().map(|(_, days)| *days).collect();
        let sums = |of: &Segment| self.sums(&days, of, window.alike, &|f| seasonal[f]);
        let rolling = self.prepare_rolling(segment, window.alike, &sums)?;
        let of_feature = |(f, own): (usize, Vec<Arc<Prepared>>)| {
            if !seasonal[f] {
                return all_days[f].clone();
            }
            let is_rolling =
                |b: &Prepared| self.rolling.iter().any(|(name, _)| *name.text() == *b.about.name);
            own.into_iter().chain(all_days[f].iter().filter(|b| !is_rolling(b)).cloned()).collect()
        };
        Ok(Arc::new(rolling.into_iter().enumerate().map(of_feature).collect()))
    }

    /// The days with data that a baseline needs to judge windows of these blocks.
    pub(super) fn needed_days(&self, needed: u16, days: &BaselineDays, blocks: BlocksOfWeek) -> u16 {
        let (count, of_week) = (days.count(), blocks.days());
        if of_week == 7 {
            return needed;
        }
        let possible = f64::from(count) * f64::from(of_week) / 7.0;
        let share = f64::from(needed) / f64::from(count.max(1));
        ((possible * share).ceil() as u16).max(LEAST_DAYS)
    }
}
