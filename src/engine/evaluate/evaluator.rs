//! The evaluator: from committed panes to hours, windows and alerts, in event-time order.
//!
//! Everything here is a function of the panes offered, the settings, the baselines and the marks up
//! to which it may go; files, clocks and threads are not its concern. A row counts from the first
//! tick at or after its closing time, so what a tick includes does not depend on when or from which
//! partition rows came.

use super::drifting::DriftMemory;
use super::judge::{Judge, WindowBounds};
use super::merging::SegmentSumMerger;
use super::pending::{PendingPanes, StretchSegment};
use super::rolling::WindowParts;
use super::segment_users::SegmentUsers;
use super::settings::EvaluationSettings;
use super::tick_rows::TickRows;
use super::types::{EvaluatorState, History, Outputs};
use super::verdict_counts::VerdictCounter;
use crate::alert::AlertBook;
use crate::baseline::{
    Accept, BLOCK, BaselineName, BaselineRecipe, BaselineSet, Excluded, HeldBaselines, WindowBlocks,
};
use crate::config::features::FeatureKind;
use crate::config::segments::{OTHER, write_name};
use crate::engine::error::EvaluationError;
use crate::engine::progress::EvaluatorBytes;
use crate::event::time::{DAY, HOUR, floor};
use crate::sketch::MAX_STRETCH_VALUES;
use crate::store::panes::{self, PackedRows};
use crate::store::rows::Verdict;
use crate::window::{PackedError, Pane, PaneRow, Segment, SegmentSum, SketchSet, packed};
use arrow::array::RecordBatch;
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Values of a category that a stretch keeps; few in tests, so that some are folded.
const STRETCH_VALUES: usize = if cfg!(test) { 3 } else { MAX_STRETCH_VALUES };

/// Segments whose hours are turned into rows at a time: all unpacked at once would be most of the
/// job's memory. Few in this crate's tests, so that they see several.
const HOURS_AT_ONCE: usize = if cfg!(test) { 2 } else { 4096 };

mod days;
mod restoring;

use days::recently_accepted;

/// The evaluator.
pub struct Evaluator {
    settings: Arc<EvaluationSettings>,
    judge: Judge,
    verdict_counts: VerdictCounter,
    recipe: BaselineRecipe,
    /// The names of the baselines of days.
    rolling_names: Vec<Arc<str>>,
    history: Box<dyn History>,
    /// Ticks: the greatest common divisor of all slides and an hour.
    tick: i64,
    at: Option<i64>,
    pending: PendingPanes,
    window_parts: WindowParts,
    /// Rows of the current hour, by the hour that they belong to.
    hour: BTreeMap<i64, FxHashMap<Segment, SegmentSum>>,
    /// Hours of the current day, by the start of the block that they belong to.
    day: BTreeMap<i64, FxHashMap<Segment, Vec<Arc<SegmentSum>>>>,
    admitted: Vec<FxHashSet<Arc<str>>>,
    segment_users: SegmentUsers,
    /// Rows that were merged before a restart, until all of them are there.
    restored: PendingPanes,
    folded: u64,
    folded_values: u64,
    drifting: DriftMemory,
    excluded: Excluded,
    /// What was accepted, as of the newest baselines.
    accepts: Vec<Accept>,
    baselines: BTreeMap<i64, Arc<BaselineSet>>,
    /// The hours of the day that windows of the current hour were compared with, by the day of their
    /// baselines.
    blocks_in_use: BTreeMap<i64, Vec<WindowBlocks>>,
    book: AlertBook,
    windows: u64,
    /// Rows of windows and hours.
    rows_to_commit: usize,
    /// Earlier days that hours of the current day were added to.
    late_days: BTreeSet<i64>,
    /// What was evaluated since the last commit.
    outputs: Outputs,
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Evaluator {
    /// An evaluator, new or restored from a checkpoint. `excluded` are the exclusions decided
    /// before.
    #[must_use]
    pub fn new(
        settings: Arc<EvaluationSettings>,
        history: Box<dyn History>,
        state: EvaluatorState,
        excluded: Excluded,
    ) -> Self {
        let windows = &settings.config.windows;
        let tick = windows.rolling.iter().fold(HOUR, |g, r| gcd(g, r.slide()));
        let admitted = settings
            .groupings
            .all
            .iter()
            .map(|g| {
                state.admitted.get(&*g.name).into_iter().flatten().map(|s| Arc::from(s.as_str())).collect()
            })
            .collect();
        // Groupings and features that the configuration no longer has are ignored.
        let stream = |by: &str, name: String, feature: &str| {
            let grouping = settings.groupings.index_of(by)? as u16;
            let f = settings.names.features.iter().position(|f| **f == *feature)?;
            Some((Segment { grouping, name: name.into() }, f))
        };
        let judged = state
            .judged_windows
            .into_iter()
            .filter_map(|(by, name, feature, length, j)| Some(((stream(&by, name, &feature)?, length), j)));
        let held = state
            .held
            .into_iter()
            .filter_map(|(by, name, feature, held)| Some((stream(&by, name, &feature)?, held)));
        let longest = windows.rolling.iter().map(|r| r.length()).max().unwrap_or(0);
        let drifting = DriftMemory::new(longest, judged.collect::<Vec<_>>(), held.collect::<Vec<_>>());
        let recipe = BaselineRecipe {
            config: settings.config.baselines.clone(),
            features: settings.features.clone().into(),
            groupings: Arc::clone(&settings.groupings),
            pins: settings.pins.clone().into(),
            shown: settings.names.shown.clone(),
        };
        Self {
            judge: Judge::new(Arc::clone(&settings)),
            verdict_counts: VerdictCounter::new(&settings),
            recipe,
            rolling_names: BaselineName::configured(&settings.config.baselines).map(|n| n.text()).collect(),
            history,
            tick,
            at: state.at,
            pending: PendingPanes::new(tick),
            window_parts: WindowParts::new(&windows.rolling),
            hour: BTreeMap::new(),
            day: BTreeMap::new(),
            admitted,
            segment_users: SegmentUsers::new(&settings.groupings, &state.seen),
            restored: PendingPanes::new(tick),
            folded: 0,
            folded_values: 0,
            drifting,
            excluded,
            accepts: Vec::new(),
            baselines: BTreeMap::new(),
            blocks_in_use: BTreeMap::new(),
            book: state.book,
            windows: state.windows,
            rows_to_commit: 0,
            late_days: state.late_days.into_iter().collect(),
            outputs: Outputs::default(),
            settings,
        }
    }

    /// What a checkpoint keeps.
    #[must_use]
    pub fn state(&self) -> EvaluatorState {
        let sorted = |g: &FxHashSet<Arc<str>>| {
            let mut v: Vec<String> = g.iter().map(|s| s.to_string()).collect();
            v.sort();
            v
        };
        let groupings = &self.settings.groupings.all;
        let by = |s: &Segment| groupings[s.grouping as usize].name.to_string();
        let feature = |f: usize| self.settings.names.features[f].to_string();
        EvaluatorState {
            at: self.at,
            book: self.book.clone(),
            admitted: groupings
                .iter()
                .zip(&self.admitted)
                .map(|(g, a)| (g.name.to_string(), sorted(a)))
                .collect(),
            judged_windows: self
                .drifting
                .today()
                .map(|(((s, f), length), j)| (by(s), s.name.to_string(), feature(*f), *length, *j))
                .collect(),
            held: self
                .drifting
                .held()
                .map(|((s, f), held)| (by(s), s.name.to_string(), feature(*f), *held))
                .collect(),
            windows: self.windows,
            seen: self.segment_users.state(&self.settings.groupings),
            late_days: self.late_days.iter().copied().collect(),
        }
    }

    /// Rows of windows and hours that wait for their commit.
    #[must_use]
    pub fn rows_to_commit(&self) -> usize {
        self.rows_to_commit
    }

    /// Returns the outputs that wait for a commit.
    pub fn drain_outputs(&mut self) -> Outputs {
        self.rows_to_commit = 0;
        self.outputs.verdicts = self.verdict_counts.drain_counts();
        std::mem::take(&mut self.outputs)
    }

    /// What could be judged recently, and what not.
    #[must_use]
    pub fn verdict_counts(&self) -> &VerdictCounter {
        &self.verdict_counts
    }

    /// Event time from which rows that wait will be evaluated.
    #[must_use]
    pub fn begins(&self) -> Option<i64> {
        self.at.or_else(|| self.pending.first().map(|(from, start)| floor(start.min(from), self.tick)))
    }

    /// The last tick evaluated.
    #[must_use]
    pub fn at(&self) -> Option<i64> {
        self.at
    }

    /// Events' panes folded into `__other__` by the cap on segments.
    #[must_use]
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// Values of categories counted as `__other__` beyond the limit: in chunks, hours and days.
    #[must_use]
    pub fn folded_values(&self) -> u64 {
        self.folded_values
    }

    /// Length of the longest window that is merged from chunks, whose rows a restart needs again.
    #[must_use]
    pub fn fine_length(&self) -> i64 {
        self.window_parts.fine_length()
    }

    /// Start of the oldest hour that a restart at the last tick would need again.
    #[must_use]
    pub fn needs_hours_from(&self) -> i64 {
        self.at.map_or(i64::MIN, |t| floor(t, DAY).min(t - self.window_parts.long_length()))
    }

    /// Earlier days that hours of the current day were added to, which a restart needs again.
    #[must_use]
    pub fn late_days(&self) -> &BTreeSet<i64> {
        &self.late_days
    }

    /// Rows that wait for their tick.
    #[must_use]
    pub fn pending(&self) -> &PendingPanes {
        &self.pending
    }

    /// About how many bytes of memory its state takes: panes that wait for their tick, chunks, and
    /// hours, those of the current day included. Baselines and rows that wait for their commit are
    /// not included.
    #[must_use]
    pub fn memory(&self) -> EvaluatorBytes {
        let (chunks, hours) = self.window_parts.memory();
        let current: usize =
            self.hour.values().flat_map(FxHashMap::values).map(SegmentSum::memory_bytes).sum();
        let days = self.day.values().flat_map(FxHashMap::values).flatten();
        // Those that no window keeps. Where windows last a day or more there are none, and no need
        // to check each.
        let of_day_alone: usize = if self.window_parts.long_length() >= DAY {
            0
        } else {
            days.filter(|hour| Arc::strong_count(hour) == 1).map(|hour| hour.memory_bytes()).sum()
        };
        EvaluatorBytes { waiting_panes: self.pending.memory(), chunks, hours: hours + current + of_day_alone }
    }

    /// Length of a tick, microseconds.
    #[must_use]
    pub fn tick_length(&self) -> i64 {
        self.tick
    }

    /// Accepts rows; they wait until a tick reaches them. `floor` is the tick after which they may
    /// count, where they arrived after the evaluation of their time (a partition that had been cut
    /// off).
    ///
    /// # Errors
    /// When their sketches were made by different definitions.
    pub fn offer(&mut self, rows: Vec<Pane>, floor: Option<i64>) -> Result<(), EvaluationError> {
        let from = |row: &Pane| row.close_at.max(floor.unwrap_or(i64::MIN));
        Ok(self.pending.add(rows.into_iter().map(|row| (from(&row), row)))?)
    }

    /// Evaluates every tick up to `mark`; rows are complete up to `complete`. Stops after `most`
    /// ticks that had windows, so that commits come in time; true when it is done.
    ///
    /// # Errors
    /// When sketches, rules or history fail.
    pub fn advance(&mut self, mark: i64, complete: i64, most: usize) -> Result<bool, EvaluationError> {
        let mut left = most;
        loop {
            let next = match (self.at, self.pending.first()) {
                // The last tick may be of a configuration with other ticks.
                (Some(t), _) => floor(t, self.tick) + self.tick,
                (None, Some((from, start))) => floor(start.min(from), self.tick) + self.tick,
                (None, None) => return Ok(true),
            };
            if next > mark {
                return Ok(true);
            }
            if left == 0 {
                return Ok(false);
            }
            left -= 1;
            let next = self.skip_gap(next, mark)?;
            self.evaluate_tick(next, next <= complete)?;
            self.at = Some(next);
        }
    }

    /// The next tick: `next`, or, where nothing at all happened for days, the beginning of the day
    /// in which something does.
    fn skip_gap(&mut self, next: i64, mark: i64) -> Result<i64, EvaluationError> {
        let first = self.pending.first().map_or(next, |(from, _)| floor(from.min(mark), DAY));
        let still = self.window_parts.is_empty()
            && self.hour.is_empty()
            && self.day.is_empty()
            && self.drifting.is_empty();
        if !still || first - next < 3 * DAY {
            return Ok(next);
        }
        self.at = Some(first);
        self.restore_baselines()?;
        Ok(first)
    }

    fn evaluate_tick(&mut self, t: i64, complete: bool) -> Result<(), EvaluationError> {
        if self.at.is_none() {
            self.build_baselines(floor(t, DAY))?;
        }
        // One after the other, as a restart adds them again.
        while let Some(due) = self.pending.first_tick().filter(|due| *due <= t) {
            let rows = self.pending.drain_due(due)?;
            self.merge_due(rows, t, true)?;
        }
        self.window_parts.settle_chunks();
        if t % HOUR == 0 {
            self.close_hour(t)?;
        }
        self.window_parts.forget(t);
        self.judge_windows(t, complete)?;
        if t % DAY == 0 {
            self.close_day(t)?;
        }
        Ok(())
    }

    /// Merges rows into every grouping that is made from their own, at tick `t`.
    fn merge_due(
        &mut self,
        mut rows: Vec<(StretchSegment, SegmentSum)>,
        t: i64,
        into_hour: bool,
    ) -> Result<(), EvaluationError> {
        let settings = Arc::clone(&self.settings);
        // Read back once: each is merged into several groupings.
        rows.par_iter_mut().try_for_each(|(_, filling)| filling.unpack())?;
        let mut made_of: FxHashMap<StretchSegment, Vec<usize>> = FxHashMap::default();
        // The cap on segments admits them in the order of rows.
        for (i, ((start, from), _)) in rows.iter().enumerate() {
            if !into_hour && !self.window_parts.reaches(*start, t) {
                continue;
            }
            let direct = from.grouping as usize;
            for (g, grouping) in settings.groupings.all.iter().enumerate() {
                if grouping.parent == direct {
                    let name = self.admit(g, settings.groupings.coarser(direct, &from.name, g));
                    made_of.entry((*start, Segment { grouping: g as u16, name })).or_default().push(i);
                }
            }
        }
        let window_parts = &self.window_parts;
        let volume = settings.features.iter().position(|f| f.kind == FeatureKind::Volume);
        let sums = made_of.into_par_iter().map(|((start, segment), of)| {
            let (first, more) = of.split_first().expect("every place is made of a row");
            let mut sum = rows[*first].1.clone();
            more.iter().try_for_each(|i| sum.merge(&rows[*i].1))?;
            let named = settings.groupings.all[segment.grouping as usize].is_operators();
            let users = volume.filter(|_| !named).map_or(Ok(0), |v| sum.users(v))?;
            let folded = sum.fold(STRETCH_VALUES)?;
            let chunk = window_parts.reaches(start, t).then(|| sum.clone());
            Ok((start, segment, users, folded, chunk, sum))
        });
        let sums: Vec<_> = sums.collect::<Result<_, PackedError>>()?;
        drop(rows);
        let mut hours = SegmentSumMerger::new();
        for (start, segment, users, folded, chunk, sum) in sums {
            self.folded_values += folded;
            self.segment_users.add(&segment, users);
            if into_hour {
                let hour = self.hour.entry(floor(start, HOUR)).or_default();
                hours.add((floor(start, HOUR), segment.clone()), sum, |(_, segment)| hour.remove(segment));
            }
            if let Some(chunk) = chunk {
                self.window_parts.add_chunk(start, segment, chunk)?;
            }
        }
        for ((hour, segment), sum) in hours.sums()? {
            self.hour.entry(hour).or_default().insert(segment, sum);
        }
        Ok(())
    }

    /// The segment's own name while the grouping has room, `__other__` after.
    fn admit(&mut self, grouping: usize, name: String) -> Arc<str> {
        if let Some(known) = self.admitted[grouping].get(name.as_str()) {
            return Arc::clone(known);
        }
        if self.admitted[grouping].len() < self.settings.config.windows.max_segments {
            let name: Arc<str> = name.into();
            self.admitted[grouping].insert(Arc::clone(&name));
            return name;
        }
        self.folded += 1;
        let columns = &self.settings.groupings.all[grouping].columns;
        let mut other = name;
        write_name(&mut other, columns.iter().map(|c| (c.as_str(), OTHER)));
        other.into()
    }

    fn close_hour(&mut self, t: i64) -> Result<(), EvaluationError> {
        let settings = Arc::clone(&self.settings);
        for (hour, segments) in std::mem::take(&mut self.hour) {
            let mut segments = sorted(segments);
            while !segments.is_empty() {
                let some = segments.drain(..segments.len().min(HOURS_AT_ONCE)).collect::<Vec<_>>();
                let packed = some.into_par_iter().map(|(segment, mut filling)| {
                    let folded = filling.fold(STRETCH_VALUES)?;
                    let mut contents = SketchSet::default();
                    filling.add_to(&mut contents, |_| true)?;
                    filling.pack();
                    let row = PaneRow { start: hour, close_at: t, segment: segment.clone(), contents };
                    Ok((row, (segment, filling, folded)))
                });
                let (rows, packed): (Vec<PaneRow>, Vec<_>) = packed.collect::<Result<_, PackedError>>()?;
                for batch in panes::batches(&rows, HOUR, &settings.names)? {
                    self.rows_to_commit += batch.num_rows();
                    self.outputs.hours.push((hour, batch));
                }
                for (segment, packed, folded) in packed {
                    self.folded_values += folded;
                    self.add_hour(hour, segment, packed, true);
                }
            }
            if floor(hour, DAY) < floor(t - 1, DAY) {
                self.late_days.insert(floor(hour, DAY));
            }
        }
        Ok(self.window_parts.settle(t)?)
    }

    fn add_hour(&mut self, hour: i64, segment: Segment, packed: SegmentSum, of_this_day: bool) {
        let packed = Arc::new(packed);
        self.window_parts.add_hour(hour, &segment, Arc::clone(&packed));
        if of_this_day {
            self.day.entry(floor(hour, BLOCK)).or_default().entry(segment).or_default().push(packed);
        }
    }

    fn judge_windows(&mut self, t: i64, complete: bool) -> Result<(), EvaluationError> {
        let settings = Arc::clone(&self.settings);
        let mut taken = TickRows::new(&settings, &self.book);
        let mut begun = false;
        for rolling in &settings.config.windows.rolling {
            if t % rolling.slide() != 0 {
                continue;
            }
            let start = t - rolling.length();
            let parts = self.window_parts.window(start, t, rolling.slide());
            if parts.is_empty() {
                continue;
            }
            let day = floor(start, DAY);
            let set = match self.baselines.get(&day) {
                Some(set) => Arc::clone(set),
                // A window that began before the first tick: there is no earlier data.
                None => {
                    let (excluded, held) = (Excluded::default(), HeldBaselines::default());
                    Arc::new(BaselineSet::new(self.recipe.clone(), day, excluded, held, Vec::new()))
                }
            };
            let blocks = WindowBlocks::of(settings.config.baselines.weekend, start, t);
            let tick = WindowBounds { start, end: t, length: rolling.length(), complete, blocks };
            self.blocks_in_use.entry(day).or_default().push(blocks);
            if !std::mem::replace(&mut begun, true) {
                self.verdict_counts.begin();
            }
            let (drifting, verdict_counts, users) =
                (&mut self.drifting, &mut self.verdict_counts, &self.segment_users);
            let mut began = Vec::new();
            self.judge.window(&tick, &parts, &set, users, |rows| {
                rows.into_iter().try_for_each(|(row, segment, feature)| {
                    verdict_counts.count(
                        &row,
                        segment.grouping as usize,
                        feature,
                        settings.features[feature].kind,
                    );
                    if let Some(v @ (Verdict::Ok | Verdict::Drift)) = row.verdict
                        && self.rolling_names.contains(&row.baseline)
                    {
                        let stream = (segment, feature);
                        let is_accepted = || recently_accepted(&settings, &self.accepts, &stream, t);
                        let drifts = v == Verdict::Drift;
                        if let Some(day) = drifting.observe(&stream, (start, t), drifts, is_accepted) {
                            began.push((stream, day));
                        }
                    }
                    taken.push(row)
                })
            })?;
            self.hold(&began);
        }
        let (batches, observed) = taken.finish()?;
        if t % HOUR == 0 {
            let in_use = std::mem::take(&mut self.blocks_in_use);
            self.baselines
                .iter()
                .for_each(|(day, set)| set.keep_only(in_use.get(day).map_or(&[], Vec::as_slice)));
        }
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        self.windows += rows as u64;
        self.rows_to_commit += rows;
        self.outputs.windows.extend(batches.into_iter().map(|b| (t, b)));
        let observed: Vec<_> = observed.iter().map(|(j, row)| settings.rules.observation(j, row)).collect();
        self.outputs.alerts.extend(self.book.step(t, settings.config.alerts.stale_after.0, &observed));
        Ok(())
    }
}

fn sorted<T>(segments: FxHashMap<Segment, T>) -> Vec<(Segment, T)> {
    let mut v: Vec<_> = segments.into_iter().collect();
    v.sort_by(|a, b| a.0.cmp(&b.0));
    v
}
