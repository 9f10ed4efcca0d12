//! Judging a window: every segment and feature against its baselines, within the alarm budget.

use super::evaluate::{EvaluateError, Settings};
use super::rolling::{Merged, parallel};
use crate::baseline::{BaselineSet, Compared, Prepared, SegmentStrata, side, strata_of};
use crate::config::features::Kind;
use crate::config::units::Span;
use crate::drift::{Dimensions, Side, alpha};
use crate::enrich::token_text;
use crate::event::time::HOUR;
use crate::sketch::{Body, Sketch};
use crate::store::rows::{Scores, Verdict, WindowRow};
use crate::window::{Contents, Segment};
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::time::Duration;

/// One window at one evaluation.
#[derive(Debug, Clone, Copy)]
pub struct Tick {
    /// Start, microseconds.
    pub start: i64,
    /// End, microseconds.
    pub end: i64,
    /// Length, microseconds.
    pub length: i64,
    /// Every partition had passed the end.
    pub complete: bool,
}

/// A row with the segment and feature it is about.
pub type Judged = (WindowRow, Segment, usize);

/// Judges windows.
pub struct Judge {
    settings: Arc<Settings>,
}

/// A comparison before the alarm budget is known.
struct Row<'m> {
    segment: &'m Segment,
    feature: usize,
    sketch: &'m Sketch,
    now: Side,
    baseline: Option<(Arc<Prepared>, Compared)>,
}

impl Judge {
    /// A judge with these settings.
    #[must_use]
    pub fn new(settings: Arc<Settings>) -> Self {
        Self { settings }
    }

    /// All rows of one window, in the order of segments, features and baselines.
    ///
    /// # Errors
    /// When a window's sketches and a baseline's were made by unlike definitions.
    pub fn window(
        &self,
        tick: &Tick,
        merged: &Merged,
        set: &BaselineSet,
    ) -> Result<Vec<Judged>, EvaluateError> {
        let s = &self.settings;
        let strata: Vec<SegmentStrata<'_>> = s
            .features
            .iter()
            .enumerate()
            .map(|(f, feature)| strata_of(feature, f, &s.groupings, merged.iter().map(|(s, c)| (s, c))))
            .collect();
        let compared =
            parallel(merged, |(segment, contents)| self.segment(tick, segment, contents, set, &strata));
        let mut rows = Vec::new();
        for part in compared {
            rows.extend(part?);
        }
        let alphas = self.alphas(tick, &rows);
        let examples: FxHashMap<&Segment, Vec<Arc<str>>> = merged
            .iter()
            .map(|(segment, c)| (segment, self.requests(c.sketches.iter().flatten().map(|s| &**s))))
            .collect();
        Ok(rows
            .iter()
            .map(|r| (self.finish(tick, r, alphas, &examples), r.segment.clone(), r.feature))
            .collect())
    }

    fn segment<'m>(
        &self,
        tick: &Tick,
        segment: &'m Segment,
        contents: &'m Contents,
        set: &BaselineSet,
        strata: &[SegmentStrata<'_>],
    ) -> Result<Vec<Row<'m>>, EvaluateError> {
        let mut rows = Vec::new();
        for (f, sketch) in contents.sketches.iter().enumerate() {
            let Some(sketch) = sketch.as_deref() else { continue };
            let feature = &self.settings.features[f];
            let mut now = side(sketch);
            if feature.kind == Kind::Volume {
                now.value = Some(sketch.n() as f64 / (tick.length as f64 / HOUR as f64));
            }
            let baselines = set.get(segment, f);
            if baselines.is_empty() {
                rows.push(Row { segment, feature: f, sketch, now, baseline: None });
            }
            for b in baselines {
                let own = strata[f].get(segment).map(Vec::as_slice);
                let compared = b.compare(feature, sketch, own)?;
                rows.push(Row {
                    segment,
                    feature: f,
                    sketch,
                    now,
                    baseline: Some((Arc::clone(b), compared)),
                });
            }
        }
        Ok(rows)
    }

    /// The levels for groupings of one dimension at most, and of several.
    fn alphas(&self, tick: &Tick, rows: &[Row<'_>]) -> [f64; 2] {
        let judged = |several: bool| {
            let of = rows.iter().filter(|r| self.several(r.segment) == several && judged_p(r).is_some());
            of.count() as u64
        };
        let budget = self.settings.config.alerts.false_alarms_per_quarter;
        let length = Duration::from_micros(tick.length.unsigned_abs());
        let lengths = self.settings.config.windows.rolling.len();
        [
            alpha(budget, Dimensions::AtMostOne, judged(false), length, lengths),
            alpha(budget, Dimensions::Several, judged(true), length, lengths),
        ]
    }

    fn several(&self, segment: &Segment) -> bool {
        self.settings.groupings.all[segment.grouping as usize].by.len() > 1
    }

    /// Example requests of a segment: the volume's.
    fn requests<'s>(&self, sketches: impl Iterator<Item = &'s Sketch>) -> Vec<Arc<str>> {
        let volume = |s: &&Sketch| matches!(&s.body, Body::Rate(r) if r.hits() == 0);
        sketches.filter(volume).find_map(ids).unwrap_or_default()
    }

    fn finish(
        &self,
        tick: &Tick,
        row: &Row<'_>,
        alphas: [f64; 2],
        examples: &FxHashMap<&Segment, Vec<Arc<str>>>,
    ) -> WindowRow {
        let s = &self.settings;
        let feature = &s.features[row.feature];
        let alpha = alphas[usize::from(self.several(row.segment))];
        let p = judged_p(row);
        let verdict = match (&row.baseline, p) {
            _ if feature.kind == Kind::Volume => None,
            (Some((_, c)), Some(p)) if p < alpha && c.material_p.is_some_and(|m| m < alpha) => {
                Some(Verdict::Drift)
            }
            (Some(_), Some(_)) => Some(Verdict::Ok),
            _ => Some(Verdict::InsufficientData),
        };
        let drift = verdict == Some(Verdict::Drift);
        let about = row.baseline.as_ref().map(|(b, _)| b);
        let contributors = match about {
            Some(b) if drift => b.contributors(row.sketch, s.config.privacy.min_users, token_text),
            _ => Vec::new(),
        };
        let examples = if drift {
            ids(row.sketch).or_else(|| examples.get(row.segment).cloned()).unwrap_or_default()
        } else {
            Vec::new()
        };
        WindowRow {
            start: tick.start,
            end: tick.end,
            window: Span(tick.length).to_string().into(),
            segment_by: Arc::clone(&s.groupings.all[row.segment.grouping as usize].name),
            segment: Arc::clone(&row.segment.name),
            feature: Arc::clone(&s.names.features[row.feature]),
            kind: feature.kind.name(),
            baseline: about.map_or_else(|| self.first_baseline(), |b| Arc::clone(&b.about.name)),
            baseline_id: about.map(|b| Arc::clone(&b.about.id)),
            baseline_days: about.map_or(0, |b| b.about.days),
            now: row.now,
            then: about.map_or_else(Side::default, |b| b.side),
            scores: row
                .baseline
                .as_ref()
                .map_or_else(Scores::default, |(_, c)| Scores { p_value: p, ..c.scores }),
            alpha: p.map(|_| alpha),
            verdict,
            complete: tick.complete,
            contributors,
            examples,
        }
    }

    /// What a row is named after whose segment has no baseline at all yet.
    fn first_baseline(&self) -> Arc<str> {
        let days = self.settings.config.baselines.rolling_days.first();
        days.map_or_else(|| Arc::from(""), |d| format!("rolling_{d}d").into())
    }
}

/// The p-value of a row whose baseline has the days it needs.
fn judged_p(row: &Row<'_>) -> Option<f64> {
    row.baseline.as_ref().filter(|(b, _)| b.about.enough_days).and_then(|(_, c)| c.scores.p_value)
}

fn ids(sketch: &Sketch) -> Option<Vec<Arc<str>>> {
    match &sketch.body {
        Body::Rate(r) => {
            Some(r.examples().ids().map(Arc::from).collect::<Vec<_>>()).filter(|v| !v.is_empty())
        }
        _ => None,
    }
}
