//! The end of a day: its blocks are written, what drifted leaves the baselines, and the baselines of
//! the next day are made.

use super::*;
use crate::baseline::{BaselineDays, accepted, accepted_at};
use crate::engine::evaluate::drifting::SegmentFeature;
use crate::engine::evaluate::types::{DayBatch, Exclusion};

/// Whether a stream was accepted so recently that its shortest baseline may still be a mixture.
pub(super) fn recently_accepted(
    settings: &EvaluationSettings,
    accepts: &[Accept],
    stream: &SegmentFeature,
    t: i64,
) -> bool {
    if accepts.is_empty() {
        return false;
    }
    let shortest = settings.config.baselines.rolling_days.iter().copied().min().unwrap_or(0);
    let (segment, feature) = (settings.names.identity(&stream.0), stream.1);
    // As the newest baselines heed it.
    let at = accepted_at(accepts, floor(t, DAY), &settings.names.features)(&segment.name, feature);
    at.is_some_and(|at| t < at + i64::from(shortest) * DAY)
}

impl Evaluator {
    /// Holds streams at the baselines of a day, in windows that start later.
    pub(super) fn hold(&self, began: &[(SegmentFeature, i64)]) {
        if !self.settings.config.baselines.exclude_drifted {
            return;
        }
        for ((segment, feature), day) in began {
            let known_as = self.settings.names.identity(segment);
            self.baselines.values().for_each(|set| set.hold(segment, known_as.clone(), *feature, *day));
        }
    }

    pub(super) fn close_day(&mut self, t: i64) -> Result<(), EvaluationError> {
        self.late_days.clear();
        let settings = Arc::clone(&self.settings);
        let mut rows = PackedRows::in_blocks(&settings.names);
        for (block, segments) in std::mem::take(&mut self.day) {
            // Packed again at once: the sums of ten thousand segments would be most of the job's
            // memory.
            let sums = sorted(segments).into_par_iter().map(|(segment, hours)| {
                let parts: Vec<&SegmentSum> = hours.iter().map(Arc::as_ref).collect();
                let mut bytes = Vec::new();
                let mut sum = SegmentSum::sum(&parts, |_| true)?;
                let folded = sum.fold(STRETCH_VALUES);
                packed::write(&sum, &mut bytes);
                Ok((segment, bytes, folded))
            });
            for (segment, sum, folded) in sums.collect::<Result<Vec<_>, PackedError>>()? {
                self.folded_values += folded;
                rows.push(block, t, segment, &sum)?;
            }
        }
        let batches = rows.finish()?;
        self.outputs.days.extend(batches.into_iter().map(|rows| DayBatch { close_at: t, rows }));
        self.exclude_drifted(t)?;
        self.build_baselines(t)?;
        let longest = self.settings.config.windows.rolling.iter().map(|r| r.length()).max().unwrap_or(0);
        self.baselines.retain(|day, _| *day >= floor(t - longest, DAY));
        Ok(())
    }

    /// Notes the days that leave the baselines after the day that ends at `t`, and releases what was
    /// held.
    fn exclude_drifted(&mut self, t: i64) -> Result<(), EvaluationError> {
        self.accepts = self.history.accepts()?;
        let settings = Arc::clone(&self.settings);
        let names = &settings.names;
        let excluded = &self.excluded;
        let is_known = |stream: &SegmentFeature, day: i64| {
            let known_as = (names.identity(&stream.0), stream.1);
            excluded.get(&known_as).is_some_and(|days| days.contains(&day))
        };
        let mut days = self.drifting.close_day(t, is_known);
        if !settings.config.baselines.exclude_drifted {
            return Ok(());
        }
        for day in &days {
            let known_as = (names.identity(&day.stream.0), day.stream.1);
            self.excluded.entry(known_as).or_default().push(day.day);
        }
        let (excluded, baselines) = (&self.excluded, &settings.config.baselines);
        let has_clean_days = |stream: &SegmentFeature| {
            let flagged = excluded.get(&(names.identity(&stream.0), stream.1));
            BaselineName::configured(baselines).all(|name| {
                let Some(days) = BaselineDays::of(&name, t) else { return true };
                let flagged = flagged.into_iter().flatten().filter(|day| days.contains(**day)).count();
                usize::from(days.count()) >= flagged + usize::from(name.needed_days(baselines))
            })
        };
        let latest = accepted_at(&self.accepts, t, &names.features);
        let accepted = |stream: &SegmentFeature| latest(&names.identity(&stream.0).name, stream.1);
        days.extend(self.drifting.release(t, accepted, has_clean_days));
        let users = &self.segment_users;
        self.outputs.exclusions.extend(days.into_iter().map(|day| {
            let (segment, feature) = day.stream;
            let grouping = names.grouping(&segment);
            let shown = names.shown.segment(grouping, &segment.name, users.users(&segment));
            Exclusion {
                day: day.day,
                segment: names.identity(&segment),
                shown,
                feature,
                judged: day.judged.judged,
                drifted: day.judged.drifted,
                reason: day.reason,
                decided_at: t,
            }
        }));
        Ok(())
    }

    /// Makes the baselines of windows that start in the day that begins at `day`.
    pub(super) fn build_baselines(&mut self, day: i64) -> Result<(), EvaluationError> {
        let settings = Arc::clone(&self.settings);
        let names = &settings.names;
        let longest = BaselineDays::of_longest(&settings.config.baselines, day);
        let exclude = settings.config.baselines.exclude_drifted;
        let held: HeldBaselines = self
            .drifting
            .held_in(day)
            .filter(|_| exclude)
            .map(|((segment, feature), at)| ((names.identity(segment), *feature), at))
            .collect();
        // A stream may be held at the baselines of a day before this one, and will be in windows that
        // begin now and drift later.
        let windows = settings.config.windows.rolling.iter().map(|r| r.length()).max().unwrap_or(0);
        let reach = if exclude { floor(windows + DAY - 1, DAY) + DAY } else { 0 };
        let oldest = held.values().copied().min().unwrap_or(day).min(day - reach);
        let mut days = self.history.days(longest.ending(oldest).from(), longest.until())?;
        if !self.outputs.days.is_empty() {
            days.push(self.history.pending(&self.outputs.days)?);
        }
        self.accepts = self.history.accepts()?;
        let excluded = accepted(&self.excluded, &self.accepts, day, &names.features);
        let set = BaselineSet::new(self.recipe.clone(), day, excluded, held, days);
        self.baselines.insert(day, Arc::new(set));
        Ok(())
    }
}
