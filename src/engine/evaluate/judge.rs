//! Judging a window: every segment and feature against its baselines, within the alarm budget.

use super::rolling::{SegmentParts, is_judged};
use super::segment_users::SegmentUsers;
use super::settings::EvaluationSettings;
use crate::baseline::{
    BaselineName, BaselineSet, Child, Children, Compared, Prepared, WindowBlocks, side, strata,
};
use crate::config::features::FeatureKind;
use crate::config::units::Span;
use crate::drift::{Dimensions, Side, alpha, tolerance_level};
use crate::engine::error::EvaluationError;
use crate::enrich::token_text;
use crate::event::time::HOUR;
use crate::sketch::{Body, Sketch};
use crate::store::rows::{Scores, Verdict, WindowRow};
use crate::window::{Segment, SegmentSum, SketchSet};
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::time::Duration;

/// How a segment is called.
struct SegmentLabels {
    /// In tables and alerts.
    shown: Arc<str>,
    /// By identity, which does not change.
    identity: Arc<str>,
}

/// The level of the rows of one kind of grouping at one evaluation.
#[derive(Debug, Clone, Copy)]
struct Level {
    alpha: f64,
    /// Rows whose least possible p-value is this or more take no part.
    limit: f64,
}

/// One window at one evaluation.
#[derive(Debug, Clone, Copy)]
pub struct WindowBounds {
    /// Start, microseconds.
    pub start: i64,
    /// End, microseconds.
    pub end: i64,
    /// Length, microseconds.
    pub length: i64,
    /// Whether every partition had passed the end.
    pub complete: bool,
    /// What it is compared with.
    pub blocks: WindowBlocks,
}

/// A row with the segment and feature it is about.
pub type JudgedRow = (WindowRow, Segment, usize);

/// Judges windows.
pub struct Judge {
    settings: Arc<EvaluationSettings>,
}

/// A comparison before the alarm budget is known.
struct Comparison {
    feature: usize,
    now: Side,
    baseline: Option<(Arc<Prepared>, Compared)>,
}

/// Segments whose rows are made at once, so that those of ten thousand are never in memory
/// together.
const SLICE: usize = 512;

/// A segment's window, compared. Its merged sums are dropped: those of ten thousand segments would
/// be most of the job's memory.
struct SegmentWindow<'r> {
    segment: &'r Segment,
    parts: &'r [&'r SegmentSum],
    /// Too few sessions for any test.
    small: bool,
    rows: Vec<Comparison>,
}

impl Judge {
    /// A judge with these settings.
    #[must_use]
    pub fn new(settings: Arc<EvaluationSettings>) -> Self {
        Self { settings }
    }

    /// All rows of one window, in the order of segments, features and baselines, passed to `take`
    /// in slices. A segment whose sessions fill fewer buckets than any test needs gets one row, of
    /// its volume. `seen` has the users that were seen in each segment.
    ///
    /// # Errors
    /// When days can't be read, or a window's sketches and a baseline's were made by different
    /// definitions; and the errors of `take`.
    pub fn window(
        &self,
        tick: &WindowBounds,
        parts: &[SegmentParts<'_>],
        set: &BaselineSet,
        seen: &SegmentUsers,
        mut take: impl FnMut(Vec<JudgedRow>) -> Result<(), EvaluationError>,
    ) -> Result<(), EvaluationError> {
        let s = &self.settings;
        let children = Children::of(&s.groupings, &s.features, parts.iter().map(|p| p.0.clone()));
        let at: FxHashMap<&Segment, usize> = parts.iter().enumerate().map(|(i, p)| (p.0, i)).collect();
        let compared = parts.par_iter().map(|(segment, own)| {
            if !is_judged(SegmentSum::buckets_of(own)) {
                return self.small(tick, segment, own);
            }
            let finer = children.get(segment);
            let of = |c: &Child| at.get(&c.segment).map_or(&[][..], |i| parts[*i].1.as_slice());
            let sums: Vec<SketchSet> = finer
                .iter()
                .map(|c| SegmentSum::sum(of(c), |f| s.features[f].stratify.is_some()))
                .collect::<Result<_, _>>()?;
            self.full(tick, segment, own, finer, &sums.iter().collect::<Vec<_>>(), set)
        });
        let all: Vec<SegmentWindow<'_>> = compared.collect::<Result<_, EvaluationError>>()?;
        let alphas = self.alphas(tick, &all);
        for slice in all.chunks(SLICE) {
            let finished =
                slice.par_iter().map(|of| self.finish_segment(tick, of, seen.users(of.segment), alphas));
            let rows: Vec<Vec<JudgedRow>> = finished.collect::<Result<_, EvaluationError>>()?;
            take(rows.into_iter().flatten().collect())?;
        }
        Ok(())
    }

    fn finish_segment(
        &self,
        tick: &WindowBounds,
        of: &SegmentWindow<'_>,
        users: u64,
        alphas: [Level; 2],
    ) -> Result<Vec<JudgedRow>, EvaluationError> {
        let names = &self.settings.names;
        let grouping = names.grouping(of.segment);
        let called = SegmentLabels {
            shown: names.shown.segment(grouping, &of.segment.name, users),
            identity: names.shown.identity(grouping, &of.segment.name),
        };
        let mut rows: Vec<JudgedRow> = of
            .rows
            .iter()
            .map(|r| (self.finish(tick, of, r, &called, alphas), of.segment.clone(), r.feature))
            .collect();
        if rows.iter().any(|r| r.0.verdict == Some(Verdict::Drift)) {
            // Merged once more, for the contributors: few segments drift.
            let contents = SegmentSum::sum(of.parts, |_| true)?;
            for (row, about) in rows.iter_mut().zip(&of.rows) {
                self.explain(&mut row.0, about, &contents);
            }
        }
        Ok(rows)
    }

    /// Adds contributors and examples to a row that drifted.
    fn explain(&self, row: &mut WindowRow, about: &Comparison, contents: &SketchSet) {
        let sketch = contents.sketches.get(about.feature).and_then(Option::as_deref);
        if let (Some(Verdict::Drift), Some((baseline, _)), Some(sketch)) =
            (row.verdict, &about.baseline, sketch)
        {
            let (min_users, shown) = (self.settings.config.privacy.min_users, &self.settings.names.shown);
            let chosen = self.settings.features[about.feature].from.chosen_by();
            let value = |v: &str, users| shown.value(chosen, v, users).into_owned();
            row.contributors = baseline.contributors(sketch, min_users, token_text, value);
            if let Body::Vector(_) = sketch.body {
                row.contributors = baseline.towards(sketch, &self.settings.styles);
                row.examples = baseline.farthest(sketch);
                return;
            }
            row.examples = ids(sketch).unwrap_or_else(|| self.requests(contents));
        }
    }

    fn small<'r>(
        &self,
        tick: &WindowBounds,
        segment: &'r Segment,
        parts: &'r [&'r SegmentSum],
    ) -> Result<SegmentWindow<'r>, EvaluationError> {
        let volume = |f: usize| self.settings.features[f].kind == FeatureKind::Volume;
        let contents = SegmentSum::sum(parts, volume)?;
        let sketches = contents.sketches.iter().enumerate().filter_map(|(f, s)| Some((f, s.as_deref()?)));
        let rows = sketches
            .map(|(f, s)| Comparison { feature: f, now: self.now(tick, f, s), baseline: None })
            .collect();
        Ok(SegmentWindow { segment, parts, small: true, rows })
    }

    fn full<'r>(
        &self,
        tick: &WindowBounds,
        segment: &'r Segment,
        parts: &'r [&'r SegmentSum],
        finer: &[Child],
        sums: &[&SketchSet],
        set: &BaselineSet,
    ) -> Result<SegmentWindow<'r>, EvaluationError> {
        let contents = SegmentSum::sum(parts, |_| true)?;
        let baselines = set.get(segment, &tick.blocks).map_err(EvaluationError::History)?;
        let mut rows = Vec::new();
        for (f, sketch) in contents.sketches.iter().enumerate() {
            let Some(sketch) = sketch.as_deref() else { continue };
            let feature = &self.settings.features[f];
            let now = self.now(tick, f, sketch);
            if baselines[f].is_empty() {
                rows.push(Comparison { feature: f, now, baseline: None });
            }
            let strata = strata(feature, f, finer, sums);
            for b in &baselines[f] {
                // A baseline that lacks days can't judge: the row says how much it has, and no
                // statistic is worth computing.
                let compared = if b.about.can_judge(&tick.blocks) {
                    b.compare(feature, sketch, strata.as_deref())?
                } else {
                    Compared::default()
                };
                rows.push(Comparison { feature: f, now, baseline: Some((Arc::clone(b), compared)) });
            }
        }
        Ok(SegmentWindow { segment, parts, small: false, rows })
    }

    fn now(&self, tick: &WindowBounds, f: usize, sketch: &Sketch) -> Side {
        let mut now = side(sketch);
        if self.settings.features[f].kind == FeatureKind::Volume {
            now.value = Some(sketch.n() as f64 / (tick.length as f64 / HOUR as f64));
        }
        if self.settings.features[f].kind == FeatureKind::Tail {
            // Its value is the share above a limit that the baseline has.
            (now.value, now.quantiles) = (None, None);
        }
        now
    }

    /// The levels for groupings of one dimension at most, and of several. Rows that could not reach
    /// their level whatever they hold take no part of the budget.
    fn alphas(&self, tick: &WindowBounds, all: &[SegmentWindow<'_>]) -> [Level; 2] {
        let budget = self.settings.config.alerts.false_alarms_per_quarter;
        let length = Duration::from_micros(tick.length.unsigned_abs());
        let lengths = self.settings.config.windows.rolling.len();
        [(Dimensions::AtMostOne, false), (Dimensions::Several, true)].map(|(dimensions, several)| {
            let of = all.iter().filter(|s| self.several(s.segment) == several);
            let judged = of.flat_map(|s| &s.rows).filter(|r| judged_p(r).is_some());
            let least: Vec<f64> = judged.filter_map(|r| Some(r.baseline.as_ref()?.1.least_p)).collect();
            let level = |streams: usize| alpha(budget, dimensions, streams as u64, length, lengths);
            let (streams, limit) = within_reach(least, level);
            Level { alpha: level(streams), limit }
        })
    }

    fn several(&self, segment: &Segment) -> bool {
        self.settings.groupings.all[segment.grouping as usize].by.len() > 1
    }

    /// Example requests of a segment: the volume's.
    fn requests(&self, contents: &SketchSet) -> Vec<Arc<str>> {
        let all = contents.sketches.iter().zip(&self.settings.features);
        all.filter(|(_, f)| f.kind == FeatureKind::Volume)
            .find_map(|(s, _)| ids(s.as_deref()?))
            .unwrap_or_default()
    }

    fn finish(
        &self,
        tick: &WindowBounds,
        of: &SegmentWindow<'_>,
        row: &Comparison,
        called: &SegmentLabels,
        alphas: [Level; 2],
    ) -> WindowRow {
        let s = &self.settings;
        let feature = &s.features[row.feature];
        let Level { alpha, limit } = alphas[usize::from(self.several(of.segment))];
        let material = alpha.max(tolerance_level(Duration::from_micros(tick.length.unsigned_abs())));
        let p = judged_p(row);
        let verdict = match (&row.baseline, p) {
            _ if of.small => Some(Verdict::InsufficientData),
            _ if feature.kind == FeatureKind::Volume => None,
            (Some((_, c)), Some(_)) if c.least_p >= limit => Some(Verdict::InsufficientData),
            (Some((_, c)), Some(p)) if p < alpha && c.material_p.is_some_and(|m| m < material) => {
                Some(Verdict::Drift)
            }
            (Some(_), Some(_)) => Some(Verdict::Ok),
            _ => Some(Verdict::InsufficientData),
        };
        let about = row.baseline.as_ref().map(|(b, _)| b);
        let is_judged = verdict != Some(Verdict::InsufficientData);
        let scores = row.baseline.as_ref().map_or_else(Scores::default, |(_, c)| {
            let change = c.change.filter(|_| p.is_some());
            let effect = change.map(|change| change.effect(is_judged.then_some((alpha, material))));
            Scores { p_value: p, effect: effect.unwrap_or_default(), ..c.scores }
        });
        let own_value = row.baseline.as_ref().and_then(|(_, c)| c.value);
        WindowRow {
            start: tick.start,
            end: tick.end,
            window: Span(tick.length).to_string().into(),
            segment_by: Arc::clone(&s.groupings.all[of.segment.grouping as usize].name),
            segment: Arc::clone(&called.shown),
            identity: Arc::clone(&called.identity),
            feature: Arc::clone(&s.names.features[row.feature]),
            kind: feature.kind.name(),
            baseline: about.map_or_else(|| self.first_baseline(), |b| Arc::clone(&b.about.name)),
            baseline_id: about.map(|b| Arc::clone(&b.about.id)),
            baseline_days: about.map_or(0, |b| b.about.days),
            baseline_hours: about.map(|b| b.about.blocks),
            now: Side { value: own_value.or(row.now.value), ..row.now },
            then: about.map_or_else(Side::default, |b| b.side),
            scores,
            alpha: p.map(|_| alpha).filter(|_| is_judged),
            verdict,
            complete: tick.complete,
            contributors: Vec::new(),
            examples: Vec::new(),
        }
    }

    /// The baseline that a row names when its segment has no baseline at all yet.
    fn first_baseline(&self) -> Arc<str> {
        let first = BaselineName::configured(&self.settings.config.baselines).next();
        first.map_or_else(|| Arc::from(""), |name| name.text())
    }
}

/// The p-value of a row; none where its baseline can't judge it.
fn judged_p(row: &Comparison) -> Option<f64> {
    row.baseline.as_ref().and_then(|(_, c)| c.scores.p_value)
}

/// How many rows share a budget, of those with these least p-values: as many as there can be so that
/// each could reach its level, all or none of equal ones. Also the least p-value from which on a row
/// is not among them.
fn within_reach(mut least: Vec<f64>, level: impl Fn(usize) -> f64) -> (usize, f64) {
    least.sort_unstable_by(f64::total_cmp);
    let limit = |m: usize| least.get(m).copied().unwrap_or(f64::INFINITY);
    let found = (1..=least.len()).rev().find(|m| least[m - 1] < limit(*m) && least[m - 1] < level(*m));
    found.map_or((0, 0.0), |m| (m, limit(m)))
}

fn ids(sketch: &Sketch) -> Option<Vec<Arc<str>>> {
    match &sketch.body {
        Body::Rate(r) => {
            Some(r.examples().ids().map(Arc::from).collect::<Vec<_>>()).filter(|v| !v.is_empty())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_cannot_reach_their_level_take_no_part_of_it() {
        let level = |streams: usize| 1e-3 / streams.max(1) as f64;
        let limitless = vec![0.0; 10];
        let within = |least: Vec<f64>| within_reach(least, level).0;
        assert_eq!(within_reach(limitless.clone(), level), (10, f64::INFINITY));
        let few = |least: f64, n: usize| limitless.iter().copied().chain(vec![least; n]).collect::<Vec<_>>();
        assert_eq!(within_reach(few(1e-2, 90), level), (10, 1e-2), "the rest have the budget to themselves");
        assert_eq!(within(few(9e-6, 90)), 100);
        assert_eq!(within_reach(few(1.1e-5, 90), level), (10, 1.1e-5), "all or none of equals");
        assert_eq!(within_reach(vec![0.5; 3], level), (0, 0.0));
        assert_eq!(within(Vec::new()), 0);
    }
}
