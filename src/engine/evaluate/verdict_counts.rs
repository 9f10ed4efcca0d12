//! What an evaluation could judge and what it could not, as cheap counts for progress and the
//! summary.

use super::settings::EvaluationSettings;
use crate::baseline::BaselineName;
use crate::config::Baselines;
use crate::config::features::FeatureKind;
use crate::event::time::{DAY, floor};
use crate::store::rows::{Verdict, WindowRow};
use serde::Serialize;
use std::sync::Arc;

/// Rows with and without a verdict, and why some have none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerdictCounts {
    /// Rows that are `ok` or `drift`.
    pub judged: u64,
    /// Rows that are `insufficient_data`.
    pub insufficient: u64,
    /// Of these, rows whose baseline has too few days.
    pub lacking_days: u64,
    /// Of these, segments with too few sessions for any test.
    pub small: u64,
}

/// Features of a grouping by which no segment could be judged, because all their baselines lack
/// days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeaturesLackingDays {
    /// The grouping's name; empty for all traffic.
    pub grouping: Arc<str>,
    /// So many features.
    pub features: usize,
    /// The total.
    pub of: usize,
    /// Days that the nearest of them lacks.
    pub days: u16,
}

/// How near the newest windows are to a baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NearestBaseline {
    /// Start of the day whose windows these are, microseconds.
    pub day: i64,
    /// The most days that a baseline had.
    pub has: u16,
    /// The days that it needs.
    pub needs: u16,
}

/// What is known of one feature in one grouping, at the newest tick.
#[derive(Debug, Clone, Copy, Default)]
struct FeatureCoverage {
    any: bool,
    judged: bool,
    /// Days that the nearest baseline lacks; 0 where none does.
    lacks: u16,
}

/// Counts rows as they are judged.
#[derive(Debug, Clone, Default)]
pub struct VerdictCounter {
    /// Baselines by their name in rows, with the days that each needs.
    needs: Vec<(Arc<str>, u16)>,
    groupings: Vec<Arc<str>>,
    counts: VerdictCounts,
    /// Per grouping and feature.
    coverage: Vec<Vec<FeatureCoverage>>,
    nearest: Option<NearestBaseline>,
}

/// The days that each configured baseline needs, by its name in `windows`.
fn needs(config: &Baselines) -> Vec<(Arc<str>, u16)> {
    BaselineName::configured(config).map(|name| (name.text(), name.needed_days(config))).collect()
}

impl VerdictCounts {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.judged += other.judged;
        self.insufficient += other.insufficient;
        self.lacking_days += other.lacking_days;
        self.small += other.small;
    }
}

impl VerdictCounter {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(settings: &EvaluationSettings) -> Self {
        let groupings: Vec<Arc<str>> = settings.groupings.all.iter().map(|g| Arc::clone(&g.name)).collect();
        Self {
            needs: needs(&settings.config.baselines),
            coverage: vec![vec![FeatureCoverage::default(); settings.features.len()]; groupings.len()],
            groupings,
            ..Self::default()
        }
    }

    /// A tick's rows follow.
    pub fn begin(&mut self) {
        self.coverage.iter_mut().flatten().for_each(|s| *s = FeatureCoverage::default());
    }

    /// Counts a row of a grouping and feature, by their indexes.
    pub fn count(&mut self, row: &WindowRow, grouping: usize, feature: usize, kind: FeatureKind) {
        let Some(verdict) = row.verdict else { return };
        let Some(seen) = self.coverage.get_mut(grouping).and_then(|g| g.get_mut(feature)) else { return };
        // A small segment has only a row of its volume, which says nothing about features.
        if kind == FeatureKind::Volume {
            self.counts.insufficient += 1;
            self.counts.small += 1;
            return;
        }
        seen.any = true;
        if verdict != Verdict::InsufficientData {
            self.counts.judged += 1;
            seen.judged = true;
            return;
        }
        self.counts.insufficient += 1;
        let Some(&(_, needs)) = self.needs.iter().find(|n| n.0 == row.baseline) else { return };
        let (has, day) = (row.baseline_days, floor(row.start, DAY));
        if has >= needs {
            return;
        }
        self.counts.lacking_days += 1;
        let lacks = needs - has;
        seen.lacks = if seen.lacks == 0 { lacks } else { seen.lacks.min(lacks) };
        let nearer = |n: &NearestBaseline| day > n.day || (day == n.day && lacks < n.needs - n.has);
        if self.nearest.as_ref().is_none_or(nearer) {
            self.nearest = Some(NearestBaseline { day, has, needs });
        }
    }

    /// The counts since the last call.
    pub fn drain_counts(&mut self) -> VerdictCounts {
        std::mem::take(&mut self.counts)
    }

    /// How near the newest windows that lack days are to a baseline.
    #[must_use]
    pub fn nearest(&self) -> Option<NearestBaseline> {
        self.nearest
    }

    /// What could not be judged at the newest tick.
    #[must_use]
    pub fn waiting(&self) -> Vec<FeaturesLackingDays> {
        let of = |(grouping, seen): (&Arc<str>, &Vec<FeatureCoverage>)| {
            let lacking = seen.iter().filter(|s| !s.judged && s.lacks > 0);
            Some(FeaturesLackingDays {
                grouping: Arc::clone(grouping),
                features: lacking.clone().count(),
                of: seen.iter().filter(|s| s.any).count(),
                days: lacking.map(|s| s.lacks).min()?,
            })
        };
        self.groupings.iter().zip(&self.coverage).filter_map(of).collect()
    }
}

/// Why a run that read events could judge nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Unjudged {
    /// Baselines have too few days.
    Days {
        /// Days that a baseline needs.
        needs_days: u16,
        /// Days that there were.
        days: u16,
        /// The first and the last day with events; the first is unknown where the run continued an
        /// earlier one.
        from: Option<String>,
        /// See `from`.
        to: String,
        /// Windows from this day on can be judged, once there are events on every day until then.
        judged_from: String,
    },
    /// Segments, or their baselines, have too few sessions.
    Sessions,
    /// No window reached its end.
    NoWindow,
}

fn day(t: i64) -> String {
    let mut text = crate::event::time::text(t);
    text.truncate(10);
    text
}

impl Unjudged {
    /// Why nothing was judged, if nothing was: from the counts of a whole run, the event times that
    /// it evaluated (from where, unless it continued an earlier run, and to where), and how near
    /// the newest windows were to a baseline.
    #[must_use]
    pub fn of(
        counts: &VerdictCounts,
        windows: u64,
        evaluated: (Option<i64>, i64),
        nearest: Option<NearestBaseline>,
    ) -> Option<Self> {
        if counts.judged > 0 {
            return None;
        }
        if windows == 0 {
            return Some(Self::NoWindow);
        }
        let Some(near) = nearest else { return Some(Self::Sessions) };
        Some(Self::Days {
            needs_days: near.needs,
            // The newest windows' own day is one more.
            days: near.has + 1,
            from: evaluated.0.map(day),
            to: day(evaluated.1),
            judged_from: day(near.day + i64::from(near.needs - near.has) * DAY),
        })
    }

    /// One line for people.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Days { needs_days, days, from, to, judged_from } => {
                let days = if *days == 1 { "1 day".to_owned() } else { format!("{days} days") };
                let range = match from {
                    Some(from) => format!("this input has {days} ({from} to {to})"),
                    None => format!("this output has {days} so far (to {to})"),
                };
                let needed = if *needs_days == 1 { "day" } else { "days" };
                format!(
                    "nothing could be judged: baselines need {needs_days} {needed} of data before a window, {range}; \
                     windows from {judged_from} on can be judged"
                )
            }
            Self::Sessions => "nothing could be judged: windows or their baselines hold too few sessions for a test; take \
                               longer windows (windows.rolling) or fewer dimensions ([[segments]]), and see the view coverage"
                .to_owned(),
            Self::NoWindow => {
                "nothing could be judged: the events span no whole window (windows.rolling)".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::{Scores, Side};

    const BEGIN: i64 = 1_767_225_600_000_000;

    fn row(start: i64, baseline: &str, days: u16, verdict: Option<Verdict>) -> WindowRow {
        WindowRow {
            start,
            end: start + DAY,
            window: "24h".into(),
            segment_by: "".into(),
            segment: "".into(),
            identity: "".into(),
            feature: "error".into(),
            kind: "rate",
            baseline: baseline.into(),
            baseline_id: None,
            baseline_days: days,
            baseline_hours: Some(crate::baseline::BlocksOfWeek::ALL),
            now: Side::default(),
            then: Side::default(),
            scores: Scores::default(),
            alpha: None,
            verdict,
            complete: true,
            contributors: Vec::new(),
            examples: Vec::new(),
        }
    }

    fn judging() -> VerdictCounter {
        VerdictCounter {
            needs: needs(&Baselines { rolling_days: vec![7, 28], ..Baselines::default() }),
            groupings: vec!["".into(), "tenant".into()],
            coverage: vec![vec![FeatureCoverage::default(); 3]; 2],
            ..VerdictCounter::default()
        }
    }

    #[test]
    fn what_waits_for_days_is_counted_by_grouping_until_any_baseline_judges_it() {
        let (ok, scarce) = (Some(Verdict::Ok), Some(Verdict::InsufficientData));
        let mut j = judging();
        j.begin();
        for feature in 0..3 {
            j.count(&row(BEGIN, "rolling_7d", 1, scarce), 1, feature, FeatureKind::Rate);
            j.count(&row(BEGIN, "rolling_28d", 1, scarce), 1, feature, FeatureKind::Rate);
        }
        j.count(&row(BEGIN, "rolling_7d", 4, ok), 0, 0, FeatureKind::Rate);
        j.count(&row(BEGIN, "rolling_28d", 4, scarce), 0, 0, FeatureKind::Rate);
        j.count(&row(BEGIN, "rolling_7d", 4, scarce), 0, 1, FeatureKind::Rate);
        j.count(&row(BEGIN, "rolling_7d", 0, None), 0, 2, FeatureKind::Volume);
        j.count(&row(BEGIN, "rolling_7d", 0, scarce), 1, 2, FeatureKind::Volume);
        let tenants = FeaturesLackingDays { grouping: "tenant".into(), features: 3, of: 3, days: 3 };
        assert_eq!(j.waiting(), [tenants], "all traffic has a judged feature and one with too few sessions");
        assert_eq!(j.nearest(), Some(NearestBaseline { day: BEGIN, has: 1, needs: 4 }));
        let counts = j.drain_counts();
        assert_eq!(counts, VerdictCounts { judged: 1, insufficient: 9, lacking_days: 7, small: 1 });
        j.begin();
        assert_eq!((j.drain_counts(), j.waiting()), (VerdictCounts::default(), Vec::new()));
    }

    #[test]
    fn a_run_that_judged_nothing_says_what_is_missing() {
        let scarce = Some(Verdict::InsufficientData);
        let mut j = judging();
        j.count(&row(BEGIN, "rolling_7d", 0, scarce), 0, 0, FeatureKind::Rate);
        j.count(&row(BEGIN, "rolling_28d", 0, scarce), 0, 0, FeatureKind::Rate);
        let counts = j.drain_counts();
        let text =
            |from, to, windows| Unjudged::of(&counts, windows, (from, to), j.nearest()).map(|u| u.text());
        assert_eq!(
            text(Some(BEGIN), BEGIN + DAY, 2).unwrap(),
            "nothing could be judged: baselines need 4 days of data before a window, this input has 1 day (2026-01-01 to \
             2026-01-02); windows from 2026-01-05 on can be judged"
        );
        assert!(text(None, BEGIN + DAY, 2).unwrap().contains("this output has 1 day so far (to 2026-01-02)"));
        assert!(text(None, BEGIN + DAY, 0).unwrap().contains("span no whole window"));
        let few = VerdictCounts { insufficient: 3, ..VerdictCounts::default() };
        assert_eq!(Unjudged::of(&few, 3, (None, BEGIN), None), Some(Unjudged::Sessions));
        let some = VerdictCounts { judged: 1, ..few };
        assert_eq!(Unjudged::of(&some, 4, (None, BEGIN), j.nearest()), None);
    }
}
