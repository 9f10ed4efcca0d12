//! What a segment's baselines hold: its days' sketches, merged.

use super::days::BaselineDays;
use super::hours::HoursOfDay;
use super::set::BaselineSet;
use super::week::BlocksOfWeek;
use crate::event::time::{DAY, floor};
use crate::sketch::{Sketch, UnlikeSketches};
use crate::window::{Segment, SketchSet};
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// What is summed up for one baseline of one segment.
#[derive(Debug, Clone)]
pub struct BaselineSum {
    /// The sketches.
    pub contents: SketchSet,
    /// The days with data that they are made of, by feature.
    pub days: Vec<FxHashSet<i64>>,
}

impl BaselineSet {
    /// What a baseline of these days holds of a segment.
    ///
    /// # Errors
    /// A message when they can't be read or were made by another definition.
    pub fn sum(&self, days: BaselineDays, segment: &Segment) -> Result<BaselineSum, String> {
        let mut sums = self.sums(&[days], segment, BlocksOfWeek::ALL, &|_| true)?;
        Ok(sums.pop().unwrap_or_else(|| BaselineSum::of(self.recipe.features.len())))
    }

    /// A segment's rolling baselines of these hours, summed.
    pub(super) fn sums_of_hours(
        &self,
        segment: &Segment,
        hours: HoursOfDay,
    ) -> Result<Vec<BaselineSum>, String> {
        let days: Vec<BaselineDays> = self.rolling.iter().map(|(_, days)| *days).collect();
        if hours == HoursOfDay::ALL || !self.days.iter().all(|source| source.is_in_blocks()) {
            return self.sums(&days, segment, BlocksOfWeek::every_day(hours), &|_| true);
        }
        let mut total: Option<Vec<BaselineSum>> = None;
        for block in HoursOfDay::blocks().filter(|block| hours.contains(*block)) {
            let known = self.ready.lock().blocks.get(&block).and_then(|of| of.get(segment)).cloned();
            let of_block = match known {
                Some(sums) => sums,
                None => {
                    let made = self.sums(&days, segment, BlocksOfWeek::every_day(block), &|_| true)?;
                    let made = Arc::new(made);
                    let mut ready = self.ready.lock();
                    ready.blocks.entry(block).or_default().insert(segment.clone(), Arc::clone(&made));
                    made
                }
            };
            match &mut total {
                None => total = Some(of_block.as_ref().clone()),
                Some(total) => {
                    for (sum, more) in total.iter_mut().zip(of_block.iter()) {
                        sum.merge(more).map_err(|e| e.to_string())?;
                    }
                }
            }
        }
        Ok(total.unwrap_or_default())
    }

    /// A segment's rolling baselines of these days, summed, in their order.
    pub(super) fn sums(
        &self,
        of: &[BaselineDays],
        segment: &Segment,
        blocks: BlocksOfWeek,
        wanted: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<BaselineSum>, String> {
        let features = self.recipe.features.len();
        let grouping = &self.recipe.groupings.all[segment.grouping as usize];
        let name = self.recipe.shown.identity(grouping, &segment.name);
        let known_as = Segment { name, ..segment.clone() };
        let flagged: Vec<Option<&Vec<i64>>> =
            (0..features).map(|f| self.excluded.get(&(known_as.clone(), f))).collect();
        let held: Vec<Option<i64>> = (0..features).map(|f| self.held_at(segment, f)).collect();
        let any_held = held.iter().any(Option::is_some);
        // Every longer baseline holds the shorter ones where no day is left out.
        let nested = |f: usize| flagged[f].is_none() && held[f].is_none();
        let mut sums: Vec<BaselineSum> = of.iter().map(|_| BaselineSum::of(features)).collect();
        let mut ascending: Vec<usize> = (0..of.len()).collect();
        ascending.sort_by_key(|i| of[*i].count());
        for source in &self.days {
            for row in source.rows_of(segment, blocks)? {
                let takes = |i: &&usize| of[**i].takes(row.start, row.close_at);
                let shortest = ascending.iter().find(takes).copied();
                if shortest.is_none() && !any_held {
                    continue;
                }
                for (f, sketch) in row.contents.sketches.into_iter().enumerate().filter(|(f, _)| wanted(*f)) {
                    let Some(sketch) = sketch else { continue };
                    if nested(f) {
                        // Each day is added to the shortest, and these to the longer below.
                        if let Some(shortest) = shortest {
                            sums[shortest].add(f, row.start, sketch).map_err(|e| e.to_string())?;
                        }
                        continue;
                    }
                    for &i in &ascending {
                        let days = held[f].map_or(of[i], |day| of[i].ending(day));
                        if days.takes(row.start, row.close_at) && !days.excludes(flagged[f], row.start) {
                            sums[i].add(f, row.start, sketch.clone()).map_err(|e| e.to_string())?;
                        }
                    }
                }
            }
        }
        for pair in ascending.windows(2) {
            let shorter = std::mem::replace(&mut sums[pair[0]], BaselineSum::of(0));
            let longer = &mut sums[pair[1]];
            longer.contents.merge_wanted(&shorter.contents, &nested).map_err(|e| e.to_string())?;
            for f in (0..features).filter(|f| nested(*f)) {
                longer.days[f].extend(&shorter.days[f]);
            }
            sums[pair[0]] = shorter;
        }
        sums.iter_mut().for_each(|sum| sum.contents.settle());
        Ok(sums)
    }
}

impl BaselineSum {
    fn of(features: usize) -> Self {
        Self {
            contents: SketchSet { sketches: vec![None; features] },
            days: vec![FxHashSet::default(); features],
        }
    }

    fn merge(&mut self, other: &Self) -> Result<(), UnlikeSketches> {
        self.contents.merge(&other.contents)?;
        self.days.iter_mut().zip(&other.days).for_each(|(own, other)| own.extend(other));
        Ok(())
    }

    /// Adds a feature's sketch of a row that starts at `start`.
    fn add(&mut self, feature: usize, start: i64, sketch: Box<Sketch>) -> Result<(), UnlikeSketches> {
        self.days[feature].insert(floor(start, DAY));
        match &mut self.contents.sketches[feature] {
            Some(s) => s.merge(&sketch)?,
            slot => *slot = Some(sketch),
        }
        Ok(())
    }
}
